//! The routes of seal slots: what opens the MasterKey, whether it does, and in which states of the platform.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use data_encoding::{BASE64, HEXLOWER};
use keys::policy::Action;
use keys::record::Outcome;
use seal::{Approval, CustodianKind, Label, Removed};

use crate::admin::act::{Answer, Deed, tend};
use crate::admin::document::Refusals;
use crate::admin::peer::Call;
use crate::admin::sent::{Named, Sent};
use crate::admin::status::Refused;
use crate::admin::types::{AddSlot, ApprovalInfo, Approve, SlotDevice, SlotInfo, SlotRemoved, SlotVerified, VerifySlot};
use crate::config;
use crate::node::{Authority, Node, SlotOrder};
use crate::system::rfc3339;

/// What is shown of a slot that does not count yet.
const WAITS: &str =
    "waits for its shards: `strongroom slot shards` writes them, and each keeper gives theirs by `strongroom unseal --shard-prompt`";

/// All seal slots, and files among them that are none.
#[utoipa::path(get, path = "/api/v1/slots", tag = "node", responses((status = 200, description = "As asked", body = [SlotInfo]), Refusals))]
pub(super) async fn slots(State(node): State<Arc<Node>>, Extension(call): Extension<Call>) -> Answer<Json<Vec<SlotInfo>>> {
    let list = async { Ok(node.seal_slots().map(|seal| Ok::<_, seal::Error>((seal.list()?, seal.pending()?))).transpose()?) };
    let Some((listing, pending)) = tend(&node, &call, Deed::new(Action::Inspect, None), list).await? else { return Ok(Json(Vec::new())) };
    let good = listing.slots.iter().chain(&pending).map(|slot| slot_info(&node, slot));
    let bad = listing.unreadable.iter().map(|file| SlotInfo {
        id: file.file.clone(),
        label: String::new(),
        custodian: String::new(),
        kind: String::new(),
        created: None,
        generation: None,
        probe: file.why.to_string(),
        by_hand: false,
        opens: None,
        devices: Vec::new(),
    });
    Ok(Json(good.chain(bad).collect()))
}

/// Seals the MasterKey in a further slot, which is listed once it has opened from the medium. For operators.
#[utoipa::path(
    post, path = "/api/v1/slots", tag = "node", request_body = AddSlot,
    responses((status = 201, description = "It is made, and has opened", body = SlotInfo), Refusals)
)]
pub(super) async fn add_slot(
    State(node): State<Arc<Node>>,
    Extension(call): Extension<Call>,
    sent: Sent,
) -> Answer<(StatusCode, Json<SlotInfo>)> {
    let adding = async move {
        let work = async {
            let order = order(sent.json()?)?;
            let _is_open = node.unsealed()?;
            node.note_own(call.session, Action::AddSlot, Outcome::Intended)?;
            let slot = node.add_slot(order, Authority::Operator).await?;
            Ok(slot_info(&node, &slot))
        };
        tend(&node, &call, Deed::new(Action::AddSlot, None), work).await
    };
    // On a task of its own, so that a client that hangs up does not leave a device job without its record.
    let made = tokio::spawn(adding).await.expect("adding does not panic");
    made.map(|slot| (StatusCode::CREATED, Json(slot)))
}

pub(super) fn order(AddSlot { custodian, label, make_key, approval }: AddSlot) -> Answer<SlotOrder> {
    let named = |field: &str, text: &str| text.parse::<Label>().map_err(|error| Refused::invalid(format!("{field}: {error}")));
    let label = named("label", label.as_deref().unwrap_or(&custodian))?;
    let approval = approval.map(|approval| approval_in(&approval)).transpose()?;
    Ok(SlotOrder { custodian: named("custodian", &custodian)?, label, make_key, approval })
}

/// Removes a seal slot, after another one has opened without a person. What its custodian keeps stays. For operators.
#[utoipa::path(
    delete, path = "/api/v1/slots/{slot}", tag = "node", params(("slot" = String, Path, description = "Its id or label")),
    responses((status = 200, description = "It is gone", body = SlotRemoved), Refusals)
)]
pub(super) async fn remove_slot(State(node): State<Arc<Node>>, Extension(call): Extension<Call>, slot: Named) -> Answer<Json<SlotRemoved>> {
    let removing = async move {
        let work = async {
            let name = slot.text()?.to_owned();
            let _is_open = node.unsealed()?;
            node.note_own(call.session, Action::RemoveSlot, Outcome::Intended)?;
            Ok(removed_info(&node.remove_slot(name, Authority::Operator).await?))
        };
        tend(&node, &call, Deed::new(Action::RemoveSlot, None), work).await
    };
    // On a task of its own, as for a slot that is added.
    tokio::spawn(removing).await.expect("removing does not panic").map(Json)
}

fn removed_info(Removed { id, slot }: &Removed) -> SlotRemoved {
    let header = slot.as_ref().map(|slot| &slot.header);
    let stays = match header.map(|header| (header.kind, &header.custodian)) {
        Some((CustodianKind::Tpm2, custodian)) => format!("the TPM of custodian `{custodian}` has kept nothing of it"),
        Some((CustodianKind::Shamir, custodian)) => {
            format!("the keys on the devices of the keepers of `{custodian}` stay: destroy them there, if no other slot uses them")
        }
        Some((_, custodian)) => {
            format!("the key on the token of custodian `{custodian}` stays: destroy it there, if no other slot uses it")
        }
        None => "its file could not be read, so what its custodian has kept is not known".to_owned(),
    };
    SlotRemoved { id: id.to_string(), label: header.map(|header| header.label.to_string()).unwrap_or_default(), stays }
}

/// Test-opens one seal slot by a real round trip through its device. For operators.
#[utoipa::path(
    post, path = "/api/v1/slots/{slot}/verify", tag = "node", params(("slot" = String, Path, description = "Its id or label")),
    request_body = VerifySlot, responses((status = 200, description = "As asked", body = SlotVerified), Refusals)
)]
pub(super) async fn verify_slot(
    State(node): State<Arc<Node>>,
    Extension(call): Extension<Call>,
    slot: Named,
    sent: Sent,
) -> Answer<Json<SlotVerified>> {
    let started = Instant::now();
    // On a task of its own, so that a client that hangs up does not leave a device job without its record.
    let verifying = async move {
        let work = async {
            let VerifySlot { retry_pin } = sent.json()?;
            Ok(node.verify_slot(slot.text()?.to_owned(), retry_pin).await?)
        };
        tend(&node, &call, Deed::new(Action::VerifySlot, None), work).await
    };
    let slot = tokio::spawn(verifying).await.expect("verifying does not panic")?;
    let millis = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(Json(SlotVerified { id: slot.header.id.to_string(), label: slot.header.label.to_string(), millis }))
}

/// The states of the platform in which a TPM's slot may open.
#[utoipa::path(
    get, path = "/api/v1/slots/{slot}/approvals", tag = "node", params(("slot" = String, Path, description = "Its id or label")),
    responses((status = 200, description = "As asked", body = [ApprovalInfo]), Refusals)
)]
pub(super) async fn approvals(
    State(node): State<Arc<Node>>,
    Extension(call): Extension<Call>,
    slot: Named,
) -> Answer<Json<Vec<ApprovalInfo>>> {
    let list = async { Ok(node.approvals(slot.text()?)?) };
    let approvals = tend(&node, &call, Deed::new(Action::Inspect, None), list).await?;
    Ok(Json(approvals.iter().map(approval_info).collect()))
}

/// Approves a state of the platform, by an approval that the slot's release key has signed. Works while the node is sealed. For operators.
#[utoipa::path(
    post, path = "/api/v1/slots/approvals", tag = "node", request_body = Approve,
    responses((status = 200, description = "It counts from now on", body = ApprovalInfo), Refusals)
)]
pub(super) async fn approve(State(node): State<Arc<Node>>, Extension(call): Extension<Call>, sent: Sent) -> Answer<Json<ApprovalInfo>> {
    // On a task of its own, so that what is done is recorded also if the client hangs up.
    let approving = async move {
        let work = async {
            let Approve { approval } = sent.json()?;
            let approval = approval_in(&approval)?;
            let info = approval_info(&approval);
            node.approve(approval).await?;
            Ok(info)
        };
        tend(&node, &call, Deed::new(Action::ApproveState, None), work).await
    };
    tokio::spawn(approving).await.expect("approving does not panic").map(Json)
}

pub(super) fn approval_in(base64: &str) -> Answer<Approval> {
    let bytes = BASE64.decode(base64.as_bytes()).map_err(|error| Refused::invalid(format!("approval: no Base64: {error}")))?;
    Approval::decode(&bytes).map_err(|error| Refused::invalid(format!("approval: {error}")))
}

fn approval_info(approval: &Approval) -> ApprovalInfo {
    ApprovalInfo {
        note: approval.note.to_string(),
        created: rfc3339(approval.created),
        pcrs: config::pcrs_text(&approval.state.pcrs),
        digest: HEXLOWER.encode(&approval.state.digest),
        policy_gen: approval.state.policy_gen,
    }
}

pub(super) fn slot_info(node: &Node, slot: &seal::Slot) -> SlotInfo {
    let header = &slot.header;
    // One that was removed meanwhile is shown as what it was.
    let split = node.seal_slots().and_then(|seal| seal.keepers(&header.id.to_string()).ok().flatten());
    let waits = split.as_ref().is_some_and(|(_, keepers)| keepers.is_pending);
    SlotInfo {
        by_hand: split.is_some_and(|(_, keepers)| keepers.need_people()),
        id: header.id.to_string(),
        label: header.label.to_string(),
        custodian: header.custodian.to_string(),
        kind: header.kind.to_string(),
        created: Some(rfc3339(header.created)),
        generation: Some(header.generation),
        probe: if waits { WAITS.to_owned() } else { node.last_try(header.id) },
        opens: node.opens(header.id),
        devices: slot.devices().into_iter().map(|(device, is_needed)| SlotDevice { device, is_needed }).collect(),
    }
}
