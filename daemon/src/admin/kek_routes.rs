//! The routes of the key-encrypting key, which is the IVK: its versions, its rotation, and the walk that brings keys under the newest one.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use cipher::aead::Aead;
use keys::cluster::IvkStatus;
use keys::id::KeyVersion;
use keys::lifecycle;
use keys::policy::Action;
use keys::record::Outcome;
use keys::rotate::NewIvk;

use crate::admin::act::{Answer, Deed, act, tend};
use crate::admin::document::Refusals;
use crate::admin::peer::Call;
use crate::admin::sent::{Named, Sent};
use crate::admin::status::Refused;
use crate::admin::types::{GenerateKek, IvkInfo, KekGenerated, KekRotated, KekSchedule, KekStatus, ReencryptionInfo, RotateKek};
use crate::node::{Node, RetireError, ivk_due};
use crate::reencryptor::Progress;
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
    Ok(Json(KekStatus { versions: versions.iter().map(ivk_info).collect(), reencryption: reencryption_info(&node) }))
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
        let new = NewIvk { aead: aead(algorithm)?, is_compromised: false, request: request_name(&headers)? };
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
    let RotateKek { algorithm, compromised } = sent.json()?;
    Ok(NewIvk { aead: aead(algorithm)?, is_compromised: compromised, request: request_name(headers)? })
}

fn aead(name: Option<String>) -> Answer<Option<Aead>> {
    let names = || Aead::ALL.map(Aead::name).join(", ");
    let named = |name: String| Aead::ALL.into_iter().find(|aead| aead.name() == name);
    name.map(|name| named(name).ok_or_else(|| Refused::invalid(format!("algorithm: one of {}", names())))).transpose()
}

fn request_name(headers: &HeaderMap) -> Answer<Option<[u8; 32]>> {
    let request = headers.get(IDEMPOTENCY_KEY).map(|name| match name.as_bytes() {
        name if (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&name.len()) => Ok(cipher::mac::sha256(&[name])),
        _ => Err(Refused::invalid(format!("{IDEMPOTENCY_KEY}: 1 to {IDEMPOTENCY_KEY_BYTES_MAX} bytes"))),
    });
    request.transpose()
}

fn millis_since(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// When the IVK is rotated by itself.
#[utoipa::path(get, path = "/api/v1/kek/schedule", tag = "kek", responses((status = 200, description = "As asked", body = KekSchedule), Refusals))]
pub(super) async fn kek_schedule(State(node): State<Arc<Node>>, Extension(call): Extension<Call>) -> Answer<Json<KekSchedule>> {
    let every = node.config.ivk_every;
    let (due, now) = act(&node, &call, INSPECT, async |vault, _unit, _subject| {
        let versions = vault.ivk_status().await?;
        let due = every.map(|every| ivk_due(&versions, node.identity.cluster, every)).transpose()?;
        Ok((due, vault.now()))
    })
    .await?;
    let every = every.map(|every| humantime::format_duration(every).to_string());
    Ok(Json(KekSchedule { every, next: due.map(rfc3339), overdue: due.is_some_and(|due| due < now) }))
}

/// Archives a version of the IVK, if no key lies under it any more. For operators.
#[utoipa::path(
    post, path = "/api/v1/kek/versions/{version}/retire", tag = "kek", params(("version" = u32, Path, description = "Its number")),
    responses((status = 200, description = "As asked", body = KekStatus), Refusals)
)]
pub(super) async fn retire_kek(State(node): State<Arc<Node>>, Extension(call): Extension<Call>, version: Named) -> Answer<Json<KekStatus>> {
    let retired = async {
        call.check(Action::RetireIvk, None)?;
        let text = version.text()?;
        let unknown = || Refused::not_found(format!("there is no IVK version `{text}`: see `strongroom ivk status`"));
        let number = text.parse().map_err(|_| unknown())?;
        let open = node.unsealed()?;
        node.retire_ivk(call.session, KeyVersion(number)).await.map_err(|error| match error {
            RetireError::InUse { .. } => Refused::conflict(error.to_string()),
            RetireError::Keys(keys::Error::NotFound) => unknown(),
            RetireError::Keys(error) => error.into(),
            RetireError::Turn(error) => error.into(),
        })?;
        Ok::<_, Refused>(open.vault.ivk_status().await?)
    };
    match retired.await {
        // It has left its record itself, in one unit with the change.
        Ok(versions) => {
            node.metrics.requests.count(call.origin, Action::RetireIvk, Outcome::Success);
            Ok(Json(KekStatus { versions: versions.iter().map(ivk_info).collect(), reencryption: reencryption_info(&node) }))
        }
        Err(refused) => {
            call.note(&node, Action::RetireIvk, refused.outcome)?;
            Err(refused)
        }
    }
}

/// How far the walk has come that brings keys under the newest versions.
#[utoipa::path(
    get, path = "/api/v1/kek/reencryption", tag = "kek", responses((status = 200, description = "As asked", body = ReencryptionInfo), Refusals)
)]
pub(super) async fn reencryption(State(node): State<Arc<Node>>, Extension(call): Extension<Call>) -> Answer<Json<ReencryptionInfo>> {
    tend(&node, &call, INSPECT, async { Ok(Json(reencryption_info(&node))) }).await
}

/// Has a walk begin, although nothing is known to be due. For operators.
#[utoipa::path(
    post, path = "/api/v1/kek/reencryption/start", tag = "kek",
    responses((status = 200, description = "It begins", body = ReencryptionInfo), Refusals)
)]
pub(super) async fn start_reencryption(State(node): State<Arc<Node>>, Extension(call): Extension<Call>) -> Answer<Json<ReencryptionInfo>> {
    control(&node, &call, |node| node.reencryption.start()).await
}

/// Holds the walk until it is resumed, or the node is restarted. For operators.
#[utoipa::path(
    post, path = "/api/v1/kek/reencryption/pause", tag = "kek",
    responses((status = 200, description = "It is held", body = ReencryptionInfo), Refusals)
)]
pub(super) async fn pause_reencryption(State(node): State<Arc<Node>>, Extension(call): Extension<Call>) -> Answer<Json<ReencryptionInfo>> {
    control(&node, &call, |node| node.reencryption.pause(true)).await
}

/// Lets the walk go on. For operators.
#[utoipa::path(
    post, path = "/api/v1/kek/reencryption/resume", tag = "kek",
    responses((status = 200, description = "It goes on", body = ReencryptionInfo), Refusals)
)]
pub(super) async fn resume_reencryption(State(node): State<Arc<Node>>, Extension(call): Extension<Call>) -> Answer<Json<ReencryptionInfo>> {
    control(&node, &call, |node| node.reencryption.pause(false)).await
}

async fn control(node: &Arc<Node>, call: &Call, change: impl FnOnce(&Node)) -> Answer<Json<ReencryptionInfo>> {
    let work = async {
        if node.seal_slots().is_none() {
            return Err(Refused::conflict("an edge wraps its object keys anew by itself: ask its core".to_owned()));
        }
        let _is_open = node.unsealed()?;
        change(node);
        Ok(Json(reencryption_info(node)))
    };
    tend(node, call, CONTROL, work).await
}

pub(super) fn reencryption_info(node: &Node) -> ReencryptionInfo {
    let Progress { is_walking, began, ended, looked, moved, refused, refused_count, expected, error, .. } = node.reencryption.progress();
    let state = match (node.reencryption.is_paused(), is_walking, ended) {
        (true, ..) => "paused",
        (false, true, _) => "walking",
        (false, false, Some(_)) if error.is_none() => "done",
        (false, false, _) => "waiting",
    };
    ReencryptionInfo {
        state: state.to_owned(),
        began: began.map(rfc3339),
        ended: ended.map(rfc3339),
        looked_at: looked,
        of: expected,
        moved,
        refused: refused_count,
        refusals: refused.into_iter().map(|finding| format!("{}: {}", finding.row, finding.what)).collect(),
        error,
    }
}

fn state_name(state: lifecycle::State) -> &'static str {
    match state {
        lifecycle::State::PreActive => "pre-active",
        lifecycle::State::Active => "active",
        lifecycle::State::Deprecated => "deprecated",
        lifecycle::State::Retired => "retired",
        lifecycle::State::Compromised => "compromised",
        lifecycle::State::Destroyed | lifecycle::State::DestroyedCompromised => "destroyed",
    }
}

fn ivk_info(status: &IvkStatus) -> IvkInfo {
    IvkInfo {
        version: status.version.0,
        algorithm: status.aead.name().to_owned(),
        bits: 256,
        status: state_name(status.state).to_owned(),
        created: rfc3339(status.created),
        rotated: status.rotated.map(rfc3339),
    }
}
