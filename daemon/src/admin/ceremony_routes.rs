//! The routes of ceremonies: what the custodians are asked, what they say, and what came of it.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use data_encoding::HEXLOWER;
use keys::id::KeyVersion;
use keys::policy::Action;
use keys::port::Clock;
use keys::record::{Origin, Outcome};
use seal::{CustodianKey, Roster, Vote};
use uuid::Uuid;

use crate::admin::act::{Answer, Deed, outcome_of, tend};
use crate::admin::document::Refusals;
use crate::admin::kek_routes::found;
use crate::admin::peer::Call;
use crate::admin::sent::{Named, Sent};
use crate::admin::slot_routes::{approval_in, order, slot_info};
use crate::admin::status::Refused;
use crate::admin::types::{
    CastVote, CeremonyInfo, DestroyIvk, NewCeremony, NewRoster, RekeyInfo, RekeyOrder, RekeyedRoots, RemoveSlot, SignedManifest, SlotInfo,
};
use crate::node::{Authority, CeremonyError, DestroyError, Node, RekeyError, RekeyReport, RekeyStep, Running, Starter};
use crate::system::{SystemClock, rfc3339};

/// The ceremony that is under way, if there is one.
#[utoipa::path(
    get, path = "/api/v1/ceremonies", tag = "node", responses((status = 200, description = "As asked", body = [CeremonyInfo]), Refusals)
)]
pub(super) async fn ceremonies(State(node): State<Arc<Node>>, Extension(call): Extension<Call>) -> Answer<Json<Vec<CeremonyInfo>>> {
    let look = async { Ok(node.ceremony().iter().map(|running| info(running, "collecting")).collect()) };
    tend(&node, &call, Deed::new(Action::ListShards, None), look).await.map(Json)
}

/// Asks the custodians to approve something; it waits for them for 15 minutes. For operators and custodians.
#[utoipa::path(
    post, path = "/api/v1/ceremonies", tag = "node", request_body = NewCeremony,
    responses((status = 201, description = "They are asked", body = CeremonyInfo), Refusals)
)]
pub(super) async fn start_ceremony(
    State(node): State<Arc<Node>>,
    Extension(call): Extension<Call>,
    sent: Sent,
) -> Answer<(StatusCode, Json<CeremonyInfo>)> {
    ask(node, call, sent.json()).await
}

/// Asks the custodians; where there are none, nobody can be asked, and what no other command does is done at once.
pub(super) async fn ask(node: Arc<Node>, call: Call, asked: Answer<NewCeremony>) -> Answer<(StatusCode, Json<CeremonyInfo>)> {
    let is_done_alone = matches!(asked, Ok(NewCeremony::Rekey(_) | NewCeremony::IvkDestroy(_))) && node.has_no_custodians().await;
    // On a task of its own, so that a client that hangs up does not leave it half done.
    let asking = async move {
        let work = async {
            let asked = checked(&node, asked?).await?;
            if is_done_alone {
                let rekey = alone(&node, &call, asked.clone()).await?;
                return Ok(alone_info(&node, asked, &call, rekey));
            }
            Ok(info(&node.start_ceremony(asked, starter(&call)).await?, "collecting"))
        };
        tend(&node, &call, Deed::new(Action::StartCeremony, None), work).await.map(|started| (StatusCode::CREATED, Json(started)))
    };
    tokio::spawn(asking).await.expect("a ceremony does not panic")
}

/// Does by an operator's word what there is nobody to be asked about.
async fn alone(node: &Arc<Node>, call: &Call, asked: NewCeremony) -> Answer<Option<RekeyInfo>> {
    match asked {
        NewCeremony::Rekey(order) => rekey(node, call, Authority::Operator, order).await.map(Some),
        NewCeremony::IvkDestroy(order) => {
            call.check(Action::DestroyIvk, None)?;
            destroy(node, call, Authority::Operator, order).await.map(|()| None)
        }
        NewCeremony::SlotAdd(_) | NewCeremony::SlotRemove(_) => Err(seal::Error::NoRoster.into()),
    }
}

/// Takes a custodian's signed vote; with enough of them what was asked is done before this answers. For operators and custodians.
#[utoipa::path(
    post, path = "/api/v1/ceremonies/{ceremony}/votes", tag = "node", params(("ceremony" = String, Path, description = "Its id")),
    request_body = CastVote, responses((status = 200, description = "It counts", body = CeremonyInfo), Refusals)
)]
pub(super) async fn cast_vote(
    State(node): State<Arc<Node>>,
    Extension(call): Extension<Call>,
    ceremony: Named,
    sent: Sent,
) -> Answer<Json<CeremonyInfo>> {
    // On a task of its own, so that a client that hangs up does not leave a ceremony half done.
    let voting = async move {
        let work = async { Ok(node.cast_vote(id(&ceremony)?, sent.json::<CastVote>()?.into()).await?) };
        match tend(&node, &call, Deed::new(Action::Vote, None), work).await? {
            crate::node::Next::Wait(running) => {
                let is_cancelled = running.ceremony.standing() == seal::Standing::Cancelled;
                Ok(info(&running, if is_cancelled { "cancelled" } else { "collecting" }))
            }
            crate::node::Next::Execute(running) => execute(&node, &call, &running).await,
        }
    };
    tokio::spawn(voting).await.expect("a vote does not panic").map(Json)
}

/// Cancels a ceremony, for who has started it; others cancel it by votes.
#[utoipa::path(
    delete, path = "/api/v1/ceremonies/{ceremony}", tag = "node", params(("ceremony" = String, Path, description = "Its id")),
    responses((status = 200, description = "It is cancelled", body = CeremonyInfo), Refusals)
)]
pub(super) async fn cancel_ceremony(
    State(node): State<Arc<Node>>,
    Extension(call): Extension<Call>,
    ceremony: Named,
) -> Answer<Json<CeremonyInfo>> {
    let work = async { Ok(info(&node.cancel_ceremony(id(&ceremony)?, starter(&call)).await?, "cancelled")) };
    tend(&node, &call, Deed::new(Action::EndCeremony, None), work).await.map(Json)
}

/// What was done in a ceremony, signed by the node.
#[utoipa::path(
    get, path = "/api/v1/ceremonies/{ceremony}/manifest", tag = "node", params(("ceremony" = String, Path, description = "Its id")),
    responses((status = 200, description = "As asked", body = SignedManifest), Refusals)
)]
pub(super) async fn manifest(
    State(node): State<Arc<Node>>,
    Extension(call): Extension<Call>,
    ceremony: Named,
) -> Answer<Json<SignedManifest>> {
    let look = async {
        let id = id(&ceremony)?;
        node.ceremony_manifest(id).ok_or_else(|| Refused::not_found(format!("no ceremony {id} has ended here")))
    };
    tend(&node, &call, Deed::new(Action::ListShards, None), look).await.map(Json)
}

/// Does what was approved, under the session of whoever brought the last vote, and ends the ceremony.
async fn execute(node: &Arc<Node>, call: &Call, running: &Running) -> Answer<CeremonyInfo> {
    let by = authority(running);
    let done = match running.asked.clone() {
        NewCeremony::SlotAdd(slot) => add(node, call, by, slot).await.map(|slot| (Some(slot), None)),
        NewCeremony::SlotRemove(RemoveSlot { slot }) => remove(node, call, by, slot).await.map(|()| (None, None)),
        NewCeremony::Rekey(order) => rekey(node, call, by, order).await.map(|report| (None, Some(report))),
        NewCeremony::IvkDestroy(order) => destroy(node, call, by, order).await.map(|()| (None, None)),
    };
    let (outcome, told, (slot, rekey)) = match done {
        Ok(made) => (Outcome::Success, "done".to_owned(), made),
        Err(refused) => (refused.outcome, format!("failed: {}", refused.detail()), (None, None)),
    };
    node.end_ceremony(running, &told, slot.as_ref().map(|slot| slot.id.clone()), rekey.as_ref());
    call.note(node, Action::EndCeremony, outcome)?;
    Ok(CeremonyInfo { slot, rekey, ..info(running, &told) })
}

async fn add(node: &Node, call: &Call, by: Authority, slot: crate::admin::types::AddSlot) -> Answer<SlotInfo> {
    node.note_own(call.session, Action::AddSlot, Outcome::Intended)?;
    let made = async { Ok(node.add_slot(order(slot)?, by).await?) }.await;
    call.note(node, Action::AddSlot, outcome_of(&made))?;
    made.map(|slot| slot_info(node, &slot))
}

async fn remove(node: &Node, call: &Call, by: Authority, slot: String) -> Answer<()> {
    node.note_own(call.session, Action::RemoveSlot, Outcome::Intended)?;
    let gone = node.remove_slot(slot, by).await.map(drop).map_err(Refused::from);
    call.note(node, Action::RemoveSlot, outcome_of(&gone))?;
    gone
}

/// Destroys a version of the IVK. What is done leaves its record in one unit with the change.
async fn destroy(node: &Arc<Node>, call: &Call, by: Authority, order: DestroyIvk) -> Answer<()> {
    let gone = node.destroy_ivk(call.session, KeyVersion(order.version), by).await.map(drop).map_err(Refused::from);
    match &gone {
        Ok(()) => node.metrics.requests.count(call.origin, Action::DestroyIvk, Outcome::Success),
        Err(refused) => call.note(node, Action::DestroyIvk, refused.outcome)?,
    }
    gone
}

/// Makes a new MasterKey and its slots, and puts it in force, unless people have to read their shards back first: then with the last of them.
async fn rekey(node: &Arc<Node>, call: &Call, by: Authority, order: RekeyOrder) -> Answer<RekeyInfo> {
    let RekeyOrder { approvals, roster, abandon } = order;
    if abandon {
        if roster.is_some() {
            return Err(Refused::invalid("roster: left out when a re-key is given up".to_owned()));
        }
        return Ok(rekey_info(node.rekey_master(call.session, by, RekeyStep::Abandon).await?));
    }
    let approvals = approvals.iter().map(|(label, approval)| Ok((label_of(label)?, approval_in(approval)?))).collect::<Answer<_>>()?;
    let roster = roster.as_ref().map(roster_of).transpose()?;
    let prepared = node.rekey_master(call.session, by, RekeyStep::Prepare { approvals, roster }).await?;
    if !prepared.waiting.is_empty() {
        return Ok(rekey_info(prepared));
    }
    Ok(rekey_info(node.rekey_master(call.session, Authority::Before, RekeyStep::Switch).await?))
}

fn label_of(text: &str) -> Answer<seal::Label> {
    text.parse().map_err(|error| Refused::invalid(format!("approvals: {error}")))
}

fn roster_of(roster: &NewRoster) -> Answer<Roster> {
    roster.roster().map_err(|error| Refused::invalid(format!("roster: {error}")))
}

fn rekey_info(report: RekeyReport) -> RekeyInfo {
    let RekeyReport { generation, made, waiting, roots, roster, ivk, removed, left } = report;
    RekeyInfo {
        generation,
        made: made.iter().map(ToString::to_string).collect(),
        waiting: waiting.iter().map(ToString::to_string).collect(),
        roots: roots.map(|roots| RekeyedRoots { integrity_keys: roots.integrity_keys, ivks: roots.ivks, audit_keys: roots.audit_keys }),
        roster: roster.as_ref().map(NewRoster::of),
        ivk: ivk.map(|version| version.0),
        removed: removed.iter().map(ToString::to_string).collect(),
        left,
    }
}

/// What is told where nobody was asked.
fn alone_info(node: &Node, asked: NewCeremony, call: &Call, rekey: Option<RekeyInfo>) -> CeremonyInfo {
    CeremonyInfo {
        id: String::new(),
        cluster: node.identity.cluster.to_string(),
        asked,
        starter: starter(call).0,
        started: rfc3339(SystemClock.now()),
        seconds_left: 0,
        wants: 0,
        custodians: Vec::new(),
        approved: Vec::new(),
        cancelled: Vec::new(),
        state: "done".to_owned(),
        slot: None,
        rekey,
    }
}

fn authority(running: &Running) -> Authority {
    running.ceremony.approval().map_or(Authority::Operator, Authority::Custodians)
}

/// What is asked, with what the node knows of it; what cannot be done is not asked for.
async fn checked(node: &Node, asked: NewCeremony) -> Answer<NewCeremony> {
    match asked {
        NewCeremony::IvkDestroy(DestroyIvk { found: Some(_), .. }) => {
            Err(Refused::invalid("found: left out, because the node says what it has found".to_owned()))
        }
        NewCeremony::IvkDestroy(DestroyIvk { version, found: None }) => {
            let (status, shreds) = node.ivk_to_destroy(KeyVersion(version)).await?;
            Ok(NewCeremony::IvkDestroy(DestroyIvk { version, found: Some(found(&status, shreds)) }))
        }
        other => check(node, &other).map(|()| other),
    }
}

fn check(node: &Node, asked: &NewCeremony) -> Answer<()> {
    match asked {
        NewCeremony::IvkDestroy(_) => Ok(()),
        NewCeremony::SlotAdd(slot) => {
            let custodian = order(slot.clone())?.custodian.to_string();
            if node.config.seal.custodians.iter().all(|known| known.name != custodian) {
                return Err(seal::Error::NoCustodian { name: order(slot.clone())?.custodian }.into());
            }
            Ok(())
        }
        NewCeremony::Rekey(RekeyOrder { approvals, roster, .. }) => {
            let _sound = roster.as_ref().map(roster_of).transpose()?;
            approvals.iter().try_for_each(|(label, approval)| label_of(label).and_then(|_| approval_in(approval)).map(drop))
        }
        NewCeremony::SlotRemove(RemoveSlot { slot }) => {
            let seal = node.seal_slots().ok_or(CeremonyError::Edge)?;
            let is_pending =
                seal.pending()?.iter().any(|pending| pending.header.label.as_str() == slot || pending.header.id.to_string() == *slot);
            if is_pending { Ok(()) } else { Ok(seal.list()?.find(slot).map(drop)?) }
        }
    }
}

fn starter(call: &Call) -> Starter {
    Starter(match call.origin {
        Origin::Socket => "an operator at the node's socket".to_owned(),
        _ => format!("the {} with certificate {}", call.principal.role.name(), HEXLOWER.encode(&call.principal.certificate)),
    })
}

fn id(named: &Named) -> Answer<Uuid> {
    let text = named.text()?;
    text.parse().map_err(|_| Refused::invalid(format!("`{text}` is no id of a ceremony: see `strongroom ceremony status`")))
}

fn info(running: &Running, state: &str) -> CeremonyInfo {
    let Running { ceremony, asked, starter, started, .. } = running;
    let hex = |keys: &mut dyn Iterator<Item = CustodianKey>| keys.map(|key| HEXLOWER.encode(&key.0)).collect();
    CeremonyInfo {
        id: ceremony.question.id.to_string(),
        cluster: ceremony.question.cluster.to_string(),
        asked: asked.clone(),
        starter: starter.0.clone(),
        started: rfc3339(*started),
        seconds_left: running.left().as_secs(),
        wants: ceremony.roster().threshold(),
        custodians: hex(&mut ceremony.roster().custodians().iter().copied()),
        approved: hex(&mut ceremony.voters(Vote::Approve)),
        cancelled: hex(&mut ceremony.voters(Vote::Cancel)),
        state: if state == "collecting" && running.is_executing { "executing" } else { state }.to_owned(),
        slot: None,
        rekey: None,
    }
}

impl From<RekeyError> for Refused {
    fn from(error: RekeyError) -> Self {
        match error {
            RekeyError::Authority(error) => Self::from(error),
            RekeyError::ApprovalNeeded { .. } | RekeyError::ApprovalUnwanted { .. } => Self::invalid(error.to_string()),
            RekeyError::NotPrepared | RekeyError::Waiting { .. } | RekeyError::SlotsChanged { .. } | RekeyError::NextLost { .. } => {
                Self::conflict(error.to_string())
            }
            other => Self::unavailable(other.to_string()),
        }
    }
}

impl From<DestroyError> for Refused {
    fn from(error: DestroyError) -> Self {
        match error {
            DestroyError::NoSuch { .. } => Self::not_found(error.to_string()),
            DestroyError::Active { .. } | DestroyError::Gone { .. } | DestroyError::InUse { .. } | DestroyError::NeedsCeremony => {
                Self::conflict(error.to_string())
            }
            DestroyError::Turn(error) => error.into(),
            DestroyError::Keys(error) => error.into(),
        }
    }
}

impl From<CeremonyError> for Refused {
    fn from(error: CeremonyError) -> Self {
        match error {
            CeremonyError::NoSuch { .. } => Self::not_found(error.to_string()),
            CeremonyError::UnderWay { .. } | CeremonyError::Executing => Self::conflict(error.to_string()),
            CeremonyError::Votes(seal::Error::VotedTwice { .. }) => Self::conflict(error.to_string()),
            CeremonyError::Votes(seal::Error::NotOnRoster { .. }) | CeremonyError::NotStarter => Self::forbidden(error.to_string()),
            CeremonyError::Votes(seal::Error::NoRoster) | CeremonyError::Signature => Self::invalid(error.to_string()),
            CeremonyError::Votes(_)
            | CeremonyError::Sealed
            | CeremonyError::Edge
            | CeremonyError::Io { .. }
            | CeremonyError::Entropy(_)
            | CeremonyError::Log(_) => Self::unavailable(error.to_string()),
        }
    }
}
