//! The routes of seal slots: what opens the MasterKey, whether it does, and in which states of the platform.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::{Extension, Json};
use data_encoding::{BASE64, HEXLOWER};
use keys::policy::Action;
use seal::Approval;

use crate::admin::act::{Answer, Deed, tend};
use crate::admin::document::Refusals;
use crate::admin::peer::Call;
use crate::admin::sent::{Named, Sent};
use crate::admin::status::Refused;
use crate::admin::types::{ApprovalInfo, Approve, SlotInfo, SlotVerified, VerifySlot};
use crate::config;
use crate::node::Node;
use crate::system::rfc3339;

/// All seal slots, and files among them that are none.
#[utoipa::path(get, path = "/api/v1/slots", tag = "node", responses((status = 200, description = "As asked", body = [SlotInfo]), Refusals))]
pub(super) async fn slots(State(node): State<Arc<Node>>, Extension(call): Extension<Call>) -> Answer<Json<Vec<SlotInfo>>> {
    let list = async { Ok(node.seal_slots().map(|seal| seal.list()).transpose()?) };
    let Some(listing) = tend(&node, &call, Deed::new(Action::Inspect, None), list).await? else { return Ok(Json(Vec::new())) };
    let good = listing.slots.iter().map(|slot| slot_info(&node, slot));
    let bad = listing.unreadable.iter().map(|file| SlotInfo {
        id: file.file.clone(),
        label: String::new(),
        custodian: String::new(),
        kind: String::new(),
        created: None,
        generation: None,
        probe: file.why.to_string(),
    });
    Ok(Json(good.chain(bad).collect()))
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
            let bytes = BASE64.decode(approval.as_bytes()).map_err(|error| Refused::invalid(format!("approval: no Base64: {error}")))?;
            let approval = Approval::decode(&bytes).map_err(|error| Refused::invalid(format!("approval: {error}")))?;
            let info = approval_info(&approval);
            node.approve(approval).await?;
            Ok(info)
        };
        tend(&node, &call, Deed::new(Action::ApproveState, None), work).await
    };
    tokio::spawn(approving).await.expect("approving does not panic").map(Json)
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

fn slot_info(node: &Node, slot: &seal::Slot) -> SlotInfo {
    let header = &slot.header;
    SlotInfo {
        id: header.id.to_string(),
        label: header.label.to_string(),
        custodian: header.custodian.to_string(),
        kind: header.kind.to_string(),
        created: Some(rfc3339(header.created)),
        generation: Some(header.generation),
        probe: node.last_try(header.id),
    }
}
