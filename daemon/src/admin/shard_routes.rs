//! The routes of shards: who keeps them, and what people give of them.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderName, header};
use axum::{Extension, Json};
use data_encoding::{BASE64, HEXLOWER};
use keys::policy::Action;
use seal::{Keepers, Keeping, Label, Recipient, Slot};

use crate::admin::act::{Answer, Deed, tend};
use crate::admin::document::Refusals;
use crate::admin::peer::Call;
use crate::admin::sent::{Named, Sent};
use crate::admin::status::Refused;
use crate::admin::types::{ShardInfo, ShardProgress, SplitInfo};
use crate::node::{Node, Progress, ShardError, Taken};
use crate::system::rfc3339;

/// Who keeps the shards of a slot, and what they keep. For operators, auditors and custodians.
#[utoipa::path(
    get, path = "/api/v1/slots/{slot}/shards", tag = "node", params(("slot" = String, Path, description = "Its id or label")),
    responses((status = 200, description = "As asked", body = SplitInfo), Refusals)
)]
pub(super) async fn shards(State(node): State<Arc<Node>>, Extension(call): Extension<Call>, slot: Named) -> Answer<Json<SplitInfo>> {
    let look = async {
        let name = slot.text()?;
        let seal = node.seal_slots().ok_or_else(|| seal::Error::NoSuchSlot { name: name.to_owned() })?;
        let Some((slot, keepers)) = seal.keepers(name)? else {
            return Err(Refused::invalid(format!("slot `{name}` is opened by one device: nobody keeps shards of it")));
        };
        Ok(split_info(&slot, keepers))
    };
    tend(&node, &call, Deed::new(Action::ListShards, None), look).await.map(Json)
}

/// Takes a shard that a person has opened: to unseal the node, to have a new slot count, or, while the node is open, to see
/// that it would open. For operators and custodians.
#[utoipa::path(
    post, path = "/api/v1/shards", tag = "node",
    request_body(content = String, content_type = "application/octet-stream", description = "The line that begins with SRSHARD1"),
    responses((status = 200, description = "It was taken", body = ShardProgress), Refusals)
)]
pub(super) async fn give_shard(
    State(node): State<Arc<Node>>,
    Extension(call): Extension<Call>,
    sent: Sent,
) -> ([(HeaderName, &'static str); 1], Answer<Json<ShardProgress>>) {
    // On a task of its own, so that a client that hangs up does not leave the node half-way.
    let giving = async move {
        let work = async { Ok(Arc::clone(&node).submit_shard(call.session, sent.bytes()?).await?) };
        tend(&node, &call, Deed::new(Action::GiveShard, None), work).await
    };
    let taken = tokio::spawn(giving).await.expect("taking a shard does not panic");
    // A shard lies in the connection's buffer for as long as there is one.
    ([(header::CONNECTION, "close")], taken.map(|progress| Json(shard_progress(&progress))))
}

/// How a slot's key is split, for people.
pub(crate) fn split_info(slot: &Slot, keepers: Keepers) -> SplitInfo {
    SplitInfo {
        slot: slot.header.id.to_string(),
        label: slot.header.label.to_string(),
        cluster: slot.header.cluster.to_string(),
        created: rfc3339(slot.header.created),
        threshold: keepers.threshold,
        is_pending: keepers.is_pending,
        shards: keepers.shards.into_iter().map(shard_info).collect(),
    }
}

fn shard_info(shard: Keeping) -> ShardInfo {
    let (age_file, card_file) = match &shard.recipient {
        None => (None, None),
        Some(Recipient::Age(_)) => (Some(BASE64.encode(&shard.protected)), None),
        Some(Recipient::Card(key)) => (None, Some(BASE64.encode(&key.file(&shard.protected)))),
    };
    ShardInfo {
        point: shard.point,
        keeper: shard.keeper.to_string(),
        region: shard.region.as_ref().map(ToString::to_string),
        kind: shard.kind.to_string(),
        recipient: shard.recipient.as_ref().map(|recipient| recipient.to_string()),
        plain_sha3_256: HEXLOWER.encode(&shard.plain_digest),
        age_file,
        card_file,
    }
}

/// How far a slot is, for people.
pub(super) fn shard_progress(progress: &Progress) -> ShardProgress {
    let Progress { of, taken, given, wants } = progress;
    let missing = |keeper: &&Label| !given.contains(keeper);
    ShardProgress {
        slot: of.slot.to_string(),
        label: of.label.to_string(),
        keeper: of.keeper.to_string(),
        outcome: match taken {
            Taken::Collecting => "collecting",
            Taken::Unsealed => "unsealed",
            Taken::Listed => "listed",
            Taken::Rekeyed => "rekeyed",
            Taken::Verified => "verified",
        }
        .to_owned(),
        given: given.iter().map(ToString::to_string).collect(),
        wants: *wants,
        missing: of.people.iter().filter(missing).map(ToString::to_string).collect(),
    }
}

impl From<ShardError> for Refused {
    fn from(error: ShardError) -> Self {
        match error {
            ShardError::Wrong(error @ seal::Error::ShardTwice { .. }) => Self::conflict(error.to_string()),
            ShardError::Wrong(
                error @ (seal::Error::ShardUnreadable
                | seal::Error::ShardForeign { .. }
                | seal::Error::ShardOld
                | seal::Error::ShardUnfit { .. }),
            ) => Self::invalid(error.to_string()),
            ShardError::TooMany { .. } => Self::too_many(error.to_string()),
            ShardError::Sealed
            | ShardError::NoSlots
            | ShardError::Wrong(_)
            | ShardError::Unseal(_)
            | ShardError::Slots(_)
            | ShardError::Rekey(_) => Self::unavailable(error.to_string()),
        }
    }
}
