//! The node itself: its status, and how it is unsealed.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ShardProgress;

/// `GET /api/v1/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// Version of the running program.
    pub version: String,
    /// The node's role.
    pub role: String,
    /// The cluster's id.
    pub cluster: String,
    /// `sealed` or `unsealed`.
    pub state: String,
    /// Since when, in RFC 3339.
    pub since: String,
    /// Why it is sealed; absent when unsealed.
    pub reason: Option<String>,
    /// `wiped after each job` or `resident (why)`; absent while sealed.
    pub masterkey: Option<String>,
    /// What protects key memory: `secretmem` or `mlock`, with its size in bytes.
    pub memory: Memory,
    /// Is the process held to the places that it writes to: `whole`, `partial` on an older kernel, or `absent`?
    #[serde(default)]
    pub confinement: Option<String>,
    /// Address of the KMIP listener, if it serves one.
    pub kmip: Option<String>,
    /// Can the audit log be written?
    pub audit: String,
    /// What slots are waiting for, of those whose shards are being given.
    #[serde(default)]
    pub shards: Vec<ShardProgress>,
    /// When the last whole sweep of the keystore ended, in RFC 3339; absent before the first since the start. What it found is in `warnings`.
    #[serde(default)]
    pub swept: Option<String>,
    /// Standing warnings, each with what to do.
    pub warnings: Vec<String>,
    /// Process id.
    pub pid: u32,
}

/// Part of [`Status`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Memory {
    /// `secretmem` or `mlock`.
    pub backing: String,
    /// Size of the arena in bytes.
    pub arena_bytes: usize,
}

/// Query of `POST /api/v1/unseal`, whose body is empty or a PIN.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct UnsealBy {
    /// The custodian whose PIN the body is.
    #[serde(default)]
    pub custodian: Option<String>,
    /// Spend one login although an earlier PIN was refused.
    #[serde(default)]
    pub retry_pin: bool,
}
