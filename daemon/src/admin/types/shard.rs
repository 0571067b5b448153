//! The shards of a slot that is split.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /api/v1/slots/{slot}/shards`: how a slot's key is split.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SplitInfo {
    /// The slot's id.
    pub slot: String,
    /// Its label.
    pub label: String,
    /// The cluster's id.
    pub cluster: String,
    /// When it was made, in RFC 3339.
    pub created: String,
    /// How many shards open it.
    pub threshold: u8,
    /// Does it wait for its shards to be read back? It does not count before.
    pub is_pending: bool,
    /// All shards.
    pub shards: Vec<ShardInfo>,
}

/// Part of [`SplitInfo`]: one shard, as everybody may see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ShardInfo {
    /// Its number.
    pub point: u8,
    /// The custodian that keeps it.
    pub keeper: String,
    /// Where, if the configuration said so.
    pub region: Option<String>,
    /// `age` or `card` for a person, else the kind of the device.
    pub kind: String,
    /// What it is encrypted to, of a person: an age recipient, or `sha256:` and the digest in hex of a card's public key (SubjectPublicKeyInfo).
    pub recipient: Option<String>,
    /// SHA3-256 of the open shard in hex.
    pub plain_sha3_256: String,
    /// The encrypted shard as an age file in Base64, of a person with an age identity.
    pub age_file: Option<String>,
    /// The encrypted shard in Base64 as `strongroom unseal --card` opens it, of a person with a smart card.
    #[serde(default)]
    pub card_file: Option<String>,
}

/// `POST /api/v1/shards`: what became of a shard, and how far its slot is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ShardProgress {
    /// The slot's id.
    pub slot: String,
    /// Its label.
    pub label: String,
    /// Whose shard it was.
    pub keeper: String,
    /// `collecting`: more are wanted; `unsealed`: the node is open; `listed`: the new slot counts; `verified`: the node is open,
    /// and would open by these shards; `rekeyed`: the new MasterKey is in force.
    pub outcome: String,
    /// Whose shards were given.
    pub given: Vec<String>,
    /// How many people's shards it takes.
    pub wants: usize,
    /// Whose were not.
    pub missing: Vec<String>,
}
