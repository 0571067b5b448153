//! The routes of the key-encrypting key, which is the IVK: its versions, its rotation, and the walk that brings keys under the newest one.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use cipher::aead::Aead;
use keys::cluster::IvkStatus;
use keys::id::KeyVersion;
use keys::lifecycle;
use keys::order::Order;
use keys::policy::Action;
use keys::record::Outcome;
use keys::rotate::NewIvk;

use crate::admin::act::{Answer, Deed, Tries, act, tend};
use crate::admin::ceremony_routes;
use crate::admin::document::Refusals;
use crate::admin::peer::Call;
use crate::admin::sent::{Named, Sent};
use crate::admin::status::Refused;
use crate::admin::types::{
    CeremonyInfo, DestroyIvk, GenerateKek, IvkFound, IvkInfo, KekGenerated, KekRotated, KekSchedule, KekStatus, NewCeremony,
    ReencryptionInfo, RenewalInfo, RotateKek, ScheduleInfo,
};
use crate::config::{Ivk, rate_text};
use crate::node::{Node, RetireError};
use crate::reencryptor::{LastWalk, Progress};
use crate::schedule::Schedule;
use crate::system::rfc3339;

/// Names a request, so that it is done once however often it comes.
const IDEMPOTENCY_KEY: &str = "Idempotency-Key";
/// Longest such name in bytes.
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

const INSPECT: Deed = Deed::new(Action::Inspect, None);
const CONTROL: Deed = Deed::new(Action::ControlReencryption, None);

/// Every version of the IVK, and how far the keys have come that it wraps.
#[utoipa::path(get, path = "/api/v1/kek/status", tag = "kek", responses((status = 200, description = "As asked", body = KekStatus), Refusals))]
pub(super) async fn kek_status(State(node): State<Arc<Node>>, Extension(call): Extension<Call>) -> Answer<Json<KekStatus>> {
    let versions = act(&node, &call, INSPECT, async |vault, _unit, _subject| Ok(vault.ivk_status().await?)).await?;
    Ok(Json(status_of(&node, &versions).await?))
}

/// Makes a version of the IVK that waits, Pre-Active and wrapping nothing, until the next rotation makes it the Active one. There is at most one that waits. For
/// operators.
#[utoipa::path(
    post, path = "/api/v1/kek/generate", tag = "kek", request_body = GenerateKek,
    params(("Idempotency-Key" = Option<String>, Header, description = "Names the request: if it comes again, also after a restart, it is told what it has done")),
    responses((status = 201, description = "It waits", body = KekGenerated), Refusals)
)]
pub(super) async fn generate_kek(
    State(node): State<Arc<Node>>,
    Extension(call): Extension<Call>,
    headers: HeaderMap,
    sent: Sent,
) -> Answer<(StatusCode, Json<KekGenerated>)> {
    let started = Instant::now();
    let generated = async {
        call.check(Action::GenerateIvk, None)?;
        let GenerateKek { algorithm } = sent.json()?;
        let new =
            NewIvk { aead: aead(algorithm)?, is_compromised: false, renews: false, off_boarded: None, request: request_name(&headers)? };
        let _is_open = node.unsealed()?;
        Ok::<_, Refused>(node.generate_ivk(call.session, new).await?)
    };
    match generated.await {
        Ok(made) => {
            // Unless it was done before, it has left its record itself, in one unit with the change.
            if made.is_repeated {
                call.note(&node, Action::GenerateIvk, Outcome::Success)?;
            } else {
                node.metrics.requests.count(call.origin, Action::GenerateIvk, Outcome::Success);
            }
            let (version, algorithm) = (made.version.0, made.aead.name().to_owned());
            Ok((StatusCode::CREATED, Json(KekGenerated { version, algorithm, repeated: made.is_repeated, millis: millis_since(started) })))
        }
        Err(refused) => {
            call.note(&node, Action::GenerateIvk, refused.outcome)?;
            Err(refused)
        }
    }
}

/// Makes the next version of the IVK, or the one that waits, the Active one, which wraps from then on. Keys under the one before are brought under it in the background. For operators.
#[utoipa::path(
    post, path = "/api/v1/kek/rotate", tag = "kek", request_body = RotateKek,
    params(("Idempotency-Key" = Option<String>, Header, description = "Names the request: if it comes again, also after a restart, it is told what it has done")),
    responses((status = 200, description = "It is in force", body = KekRotated), Refusals)
)]
pub(super) async fn rotate_kek(
    State(node): State<Arc<Node>>,
    Extension(call): Extension<Call>,
    headers: HeaderMap,
    sent: Sent,
) -> Answer<Json<KekRotated>> {
    let started = Instant::now();
    let rotated = async {
        call.check(Action::RotateIvk, None)?;
        let new = new_ivk(&headers, &sent)?;
        let _is_open = node.unsealed()?;
        Ok::<_, Refused>(node.rotate_ivk(call.session, new).await?)
    };
    match rotated.await {
        Ok(rotated) => {
            // Unless it was done before, it has left its record itself, in one unit with the change.
            if rotated.is_repeated {
                call.note(&node, Action::RotateIvk, Outcome::Success)?;
            } else {
                node.metrics.requests.count(call.origin, Action::RotateIvk, Outcome::Success);
            }
            let (version, replaced) = (rotated.version.0, rotated.replaced.0);
            Ok(Json(KekRotated { version, replaced, repeated: rotated.is_repeated, millis: millis_since(started) }))
        }
        Err(refused) => {
            call.note(&node, Action::RotateIvk, refused.outcome)?;
            Err(refused)
        }
    }
}

fn new_ivk(headers: &HeaderMap, sent: &Sent) -> Answer<NewIvk> {
    let RotateKek { algorithm, compromised, rekey_dependents } = sent.json()?;
    if rekey_dependents && !compromised {
        return Err(Refused::invalid("rekey_dependents: only with `compromised`; otherwise what lies below keeps its material".to_owned()));
    }
    Ok(NewIvk {
        aead: aead(algorithm)?,
        is_compromised: compromised,
        renews: rekey_dependents,
        off_boarded: None,
        request: request_name(headers)?,
    })
}

fn aead(name: Option<String>) -> Answer<Option<Aead>> {
    let names = || Aead::ALL.map(Aead::name).join(", ");
    let named = |name: String| Aead::ALL.into_iter().find(|aead| aead.name() == name);
    name.map(|name| named(name).ok_or_else(|| Refused::invalid(format!("algorithm: one of {}", names())))).transpose()
}

/// SHA-256 of what the caller calls its request, if it does.
pub(super) fn request_name(headers: &HeaderMap) -> Answer<Option<[u8; 32]>> {
    let request = headers.get(IDEMPOTENCY_KEY).map(|name| match name.as_bytes() {
        name if (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&name.len()) => Ok(cipher::mac::sha256(&[name])),
        _ => Err(Refused::invalid(format!("{IDEMPOTENCY_KEY}: 1 to {IDEMPOTENCY_KEY_BYTES_MAX} bytes"))),
    });
    request.transpose()
}

fn millis_since(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// When the IVK, the keys of tenants and resources, and services' default keys are rotated by themselves.
#[utoipa::path(get, path = "/api/v1/kek/schedule", tag = "kek", responses((status = 200, description = "As asked", body = KekSchedule), Refusals))]
pub(super) async fn kek_schedule(State(node): State<Arc<Node>>, Extension(call): Extension<Call>) -> Answer<Json<KekSchedule>> {
    let Ivk { schedule, tenants, resources, services, replace_expired } = &node.config.ivk;
    let (due, now) = act(&node, &call, INSPECT, async |vault, _unit, _subject| {
        let versions = vault.ivk_status().await?;
        let now = vault.now();
        Ok((node.ivk_due(&versions, now)?, now))
    })
    .await?;
    let ScheduleInfo { every, at } = schedule_info(schedule);
    Ok(Json(KekSchedule {
        every,
        at,
        next: due.map(rfc3339),
        overdue: due.is_some_and(|due| due < now),
        tenants: schedule_info(tenants),
        resources: schedule_info(resources),
        services: schedule_info(services),
        replace_expired: *replace_expired,
    }))
}

fn schedule_info(schedule: &Schedule) -> ScheduleInfo {
    match schedule {
        Schedule::OnDemand => ScheduleInfo { every: None, at: None },
        Schedule::Every(every) => ScheduleInfo { every: Some(humantime::format_duration(*every).to_string()), at: None },
        Schedule::At(calendar) => ScheduleInfo { every: None, at: Some(calendar.text().to_owned()) },
    }
}

/// Archives a version of the IVK, if no key lies under it any more. For operators.
#[utoipa::path(
    post, path = "/api/v1/kek/versions/{version}/retire", tag = "kek", params(("version" = u32, Path, description = "Its number")),
    responses((status = 200, description = "As asked", body = KekStatus), Refusals)
)]
pub(super) async fn retire_kek(State(node): State<Arc<Node>>, Extension(call): Extension<Call>, version: Named) -> Answer<Json<KekStatus>> {
    let retired = async {
        call.check(Action::RetireIvk, None)?;
        let number = number(&version)?;
        let open = node.unsealed()?;
        node.retire_ivk(call.session, number).await.map_err(|error| match error {
            RetireError::InUse { .. } => Refused::conflict(error.to_string()),
            RetireError::Keys(keys::Error::NotFound) => no_such_version(&number.0.to_string()),
            RetireError::Keys(error) => error.into(),
            RetireError::Turn(error) => error.into(),
        })?;
        Ok::<_, Refused>(open.vault.ivk_status().await?)
    };
    match retired.await {
        // It has left its record itself, in one unit with the change.
        Ok(versions) => {
            node.metrics.requests.count(call.origin, Action::RetireIvk, Outcome::Success);
            Ok(Json(status_of(&node, &versions).await?))
        }
        Err(refused) => {
            call.note(&node, Action::RetireIvk, refused.outcome)?;
            Err(refused)
        }
    }
}

/// Destroys a version of the IVK for ever, if no key lies under it: asks the custodians, and does it with their last approval; where there are none it is done
/// at once. For operators.
#[utoipa::path(
    post, path = "/api/v1/kek/versions/{version}/destroy", tag = "kek", params(("version" = u32, Path, description = "Its number")),
    responses((status = 201, description = "They are asked, or it is done: `state` tells", body = CeremonyInfo), Refusals)
)]
pub(super) async fn destroy_kek(
    State(node): State<Arc<Node>>,
    Extension(call): Extension<Call>,
    version: Named,
) -> Answer<(StatusCode, Json<CeremonyInfo>)> {
    match call.check(Action::DestroyIvk, None).and_then(|()| number(&version)) {
        Ok(KeyVersion(version)) => {
            let asked = NewCeremony::IvkDestroy(DestroyIvk { version, found: None });
            ceremony_routes::ask(node, call, Ok(asked)).await
        }
        Err(refused) => {
            call.note(&node, Action::DestroyIvk, refused.outcome)?;
            Err(refused)
        }
    }
}

fn number(version: &Named) -> Answer<KeyVersion> {
    let text = version.text()?;
    text.parse().map(KeyVersion).map_err(|_| no_such_version(text))
}

fn no_such_version(text: &str) -> Refused {
    Refused::not_found(format!("there is no IVK version `{text}`: see `strongroom ivk status`"))
}

/// How far the walk has come that brings keys under the newest versions.
#[utoipa::path(
    get, path = "/api/v1/kek/reencryption", tag = "kek", responses((status = 200, description = "As asked", body = ReencryptionInfo), Refusals)
)]
pub(super) async fn reencryption(State(node): State<Arc<Node>>, Extension(call): Extension<Call>) -> Answer<Json<ReencryptionInfo>> {
    tend(&node, &call, INSPECT, async { Ok(Json(reencryption_info(&node).await?)) }).await
}

/// Has a walk begin, although nothing is known to be due. For operators.
#[utoipa::path(
    post, path = "/api/v1/kek/reencryption/start", tag = "kek",
    responses((status = 200, description = "It begins", body = ReencryptionInfo), Refusals)
)]
pub(super) async fn start_reencryption(State(node): State<Arc<Node>>, Extension(call): Extension<Call>) -> Answer<Json<ReencryptionInfo>> {
    let work = async {
        let _is_open = node.unsealed()?;
        node.reencryption.start();
        Ok(Json(reencryption_info(&node).await?))
    };
    tend(&node, &call, CONTROL, work).await
}

/// Holds the walk until it is resumed, also over a restart. For operators.
#[utoipa::path(
    post, path = "/api/v1/kek/reencryption/pause", tag = "kek",
    responses((status = 200, description = "It is held", body = ReencryptionInfo), Refusals)
)]
pub(super) async fn pause_reencryption(State(node): State<Arc<Node>>, Extension(call): Extension<Call>) -> Answer<Json<ReencryptionInfo>> {
    hold(&node, &call, true).await
}

/// Lets the walk go on. For operators.
#[utoipa::path(
    post, path = "/api/v1/kek/reencryption/resume", tag = "kek",
    responses((status = 200, description = "It goes on", body = ReencryptionInfo), Refusals)
)]
pub(super) async fn resume_reencryption(State(node): State<Arc<Node>>, Extension(call): Extension<Call>) -> Answer<Json<ReencryptionInfo>> {
    hold(&node, &call, false).await
}

/// Holds the walk or lets it go on, here and after a restart.
async fn hold(node: &Arc<Node>, call: &Call, is_paused: bool) -> Answer<Json<ReencryptionInfo>> {
    let mut tries = Tries::default();
    loop {
        let held = act(node, call, CONTROL, async |vault, unit, _subject| {
            Ok(vault.change_walk(unit, |state| state.is_paused = is_paused).await?)
        });
        let held = held.await;
        if !tries.again(&held) {
            held?;
            node.reencryption.pause(is_paused);
            return Ok(Json(reencryption_info(node).await?));
        }
    }
}

pub(super) async fn reencryption_info(node: &Node) -> Answer<ReencryptionInfo> {
    let Progress { is_walking, is_resumed, began, ended, looked, moved, refused, refused_count, expected, error, .. } =
        node.reencryption.progress();
    let limits = node.reencryption.limits();
    let state = match (node.reencryption.is_paused(), is_walking, ended) {
        (true, ..) => "paused",
        (false, true, _) => "walking",
        (false, false, Some(_)) if error.is_none() => "done",
        (false, false, _) => "waiting",
    };
    Ok(ReencryptionInfo {
        state: state.to_owned(),
        began: began.map(rfc3339),
        ended: ended.map(rfc3339),
        looked_at: looked,
        of: expected,
        moved,
        refused: refused_count,
        refusals: refused.into_iter().map(|finding| format!("{}: {}", finding.row, finding.what)).collect(),
        error,
        resumed: is_resumed,
        rate: rate_text(limits.rate),
        cpu: format!("{}%", limits.cpu),
        urgent: node.reencryption.is_urgent(),
        renewals: renewals(node).await?,
        renewed: node.renewed.load(Ordering::Relaxed),
    })
}

/// The orders that wait; a node that is sealed knows of none.
async fn renewals(node: &Node) -> Answer<Vec<RenewalInfo>> {
    let Some(open) = node.open() else { return Ok(Vec::new()) };
    let mut renewals = Vec::new();
    for Order { tenant, until } in open.vault.orders().await? {
        let tenant = match tenant {
            Some(id) => Some(open.vault.tenant(id).await.map_or_else(|_| id.to_string(), |tenant| tenant.name.to_string())),
            None => None,
        };
        renewals.push(RenewalInfo { tenant, until: rfc3339(until) });
    }
    Ok(renewals)
}

/// What was found of a version that is to be destroyed.
pub(super) fn found(status: &IvkStatus, shreds: u64) -> IvkFound {
    IvkFound {
        status: state_name(status.state),
        algorithm: status.aead.name().to_owned(),
        created: rfc3339(status.created),
        rotated: status.rotated.map(rfc3339),
        keys: 0,
        shreds,
    }
}

async fn status_of(node: &Node, versions: &[IvkStatus]) -> Answer<KekStatus> {
    let walk = node.reencryption.progress();
    let versions = versions.iter().map(|status| ivk_info(status, &walk)).collect();
    Ok(KekStatus { versions, reencryption: reencryption_info(node).await? })
}

fn ivk_info(status: &IvkStatus, walk: &Progress) -> IvkInfo {
    // What came to wrap, or ceased to, after the walk had begun it knows nothing of.
    let changed = status.rotated.or(status.activated).unwrap_or(status.created);
    let of_then = |last: &&LastWalk| changed <= last.began;
    let keys = match status.state {
        // It has never wrapped anything.
        lifecycle::State::PreActive => Some(0),
        _ => walk.last.as_ref().filter(of_then).map(|last| last.under.get(&status.version).copied().unwrap_or(0)),
    };
    let Prospect { can_retire, can_destroy, advice } = prospect(status, keys, walk.refused_count);
    IvkInfo {
        version: status.version.0,
        algorithm: status.aead.name().to_owned(),
        bits: 256,
        status: state_name(status.state),
        created: rfc3339(status.created),
        rotated: status.rotated.map(rfc3339),
        destroyed: status.destroyed.map(rfc3339),
        keys,
        can_retire,
        can_destroy,
        advice,
    }
}

fn state_name(state: lifecycle::State) -> String {
    let name = match state {
        lifecycle::State::PreActive => "pre-active",
        lifecycle::State::Active => "active",
        lifecycle::State::Deprecated => "deprecated",
        lifecycle::State::Retired => "retired",
        lifecycle::State::Compromised => "compromised",
        lifecycle::State::Destroyed => "destroyed",
        lifecycle::State::DestroyedCompromised => "destroyed-compromised",
    };
    name.to_owned()
}

/// What may become of a version.
#[derive(Debug, Default, PartialEq, Eq)]
struct Prospect {
    can_retire: bool,
    can_destroy: bool,
    advice: Option<String>,
}

/// - `keys`: how many lay under it when the last walk passed them.
/// - `refused`: how many the walk could not read.
fn prospect(status: &IvkStatus, keys: Option<u64>, refused: u64) -> Prospect {
    use lifecycle::State as S;
    let version = status.version.0;
    let shut = |advice: String| Prospect { advice: Some(advice), ..Prospect::default() };
    match (status.state, keys) {
        (S::PreActive | S::Active | S::Destroyed | S::DestroyedCompromised, _) => Prospect::default(),
        _ if refused > 0 => {
            shut(format!("{refused} keys do not verify, and nobody can tell where they lie: see `strongroom reencrypt status`"))
        }
        (S::Retired, _) => Prospect {
            can_retire: false,
            can_destroy: true,
            advice: Some(format!("nothing needs it: have it destroyed by `strongroom ivk destroy {version}`")),
        },
        (S::Deprecated | S::Compromised, None) => shut("the keys are not looked through yet: see `strongroom reencrypt status`".to_owned()),
        (S::Deprecated | S::Compromised, Some(keys @ 1..)) => {
            shut(format!("{keys} keys have to come under a newer version: see `strongroom reencrypt status`"))
        }
        (S::Deprecated, Some(0)) => Prospect {
            can_retire: true,
            can_destroy: true,
            advice: Some(format!("no key lies under it: archive it by `strongroom ivk retire {version}`")),
        },
        (S::Compromised, Some(0)) => Prospect {
            can_retire: false,
            can_destroy: true,
            advice: Some(format!("no key lies under it: have it destroyed by `strongroom ivk destroy {version}`")),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use keys::id::Time;
    use lifecycle::State;

    use super::*;

    #[test]
    fn a_walk_knows_nothing_of_a_version_that_came_or_was_demoted_after_it_had_begun() {
        let time = Time::from_seconds;
        let walk = |began| Progress {
            last: Some(LastWalk { began: time(began), under: BTreeMap::from([(KeyVersion(7), 3)]) }),
            ..Progress::default()
        };
        let status = |rotated: Option<i64>| IvkStatus {
            version: KeyVersion(7),
            aead: Aead::Aes256Gcm,
            state: if rotated.is_some() { State::Deprecated } else { State::Active },
            created: time(0),
            activated: None,
            rotated: rotated.map(time),
            destroyed: None,
        };
        let keys = |rotated, walk: &Progress| ivk_info(&status(rotated), walk).keys;
        assert_eq!([keys(Some(10), &walk(10)), keys(Some(11), &walk(10)), keys(None, &walk(10))], [Some(3), None, Some(3)]);
        assert_eq!(keys(Some(10), &Progress::default()), None);
        let other = |activated: Option<i64>, created| {
            let other = IvkStatus { version: KeyVersion(8), activated: activated.map(time), created: time(created), ..status(None) };
            ivk_info(&other, &walk(10)).keys
        };
        assert_eq!([other(None, 10), other(None, 11)], [Some(0), None]);
        assert_eq!([other(Some(10), 9), other(Some(11), 9)], [Some(0), None], "it was generated long before");
        let waits = IvkStatus { state: State::PreActive, ..status(None) };
        assert_eq!(ivk_info(&waits, &Progress::default()).keys, Some(0));
    }

    #[test]
    fn what_may_become_of_a_version_follows_its_state_and_what_the_walk_has_found() {
        let check = |state, keys, refused, can: [bool; 2], words: &str| {
            let time = Time::from_seconds(0);
            let status = IvkStatus {
                version: KeyVersion(7),
                aead: Aead::Aes256Gcm,
                state,
                created: time,
                activated: None,
                rotated: None,
                destroyed: None,
            };
            let told = prospect(&status, keys, refused);
            assert_eq!([told.can_retire, told.can_destroy], can, "{state:?} {keys:?} {refused}");
            assert!(told.advice.as_deref().unwrap_or("nothing").contains(words), "{state:?} {keys:?} {refused}: {told:?}");
        };
        let no = [false, false];
        for (keys, refused) in [(None, 0), (Some(0), 0), (Some(9), 1)] {
            check(State::Active, keys, refused, no, "nothing");
            check(State::Destroyed, keys, refused, no, "nothing");
            check(State::DestroyedCompromised, keys, refused, no, "nothing");
        }
        check(State::Deprecated, None, 0, no, "not looked through");
        check(State::Deprecated, Some(3), 0, no, "3 keys have to come");
        check(State::Deprecated, Some(0), 2, no, "2 keys do not verify");
        check(State::Deprecated, Some(0), 0, [true, true], "ivk retire 7");
        check(State::Compromised, Some(1), 0, no, "1 keys have to come");
        check(State::Compromised, Some(0), 0, [false, true], "ivk destroy 7");
        check(State::Retired, None, 0, [false, true], "ivk destroy 7");
        check(State::Retired, None, 1, no, "do not verify");
    }
}
