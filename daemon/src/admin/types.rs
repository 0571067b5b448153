//! What goes over the admin interface, for server and command line both.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

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
    /// Address of the KMIP listener, if it serves one.
    pub kmip: Option<String>,
    /// Can the audit log be written?
    pub audit: String,
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

/// `POST /api/v1/tenants`: makes a tenant with version 1 of its L2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTenant {
    /// Its name.
    pub name: String,
}

/// A tenant, in answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TenantInfo {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// Identifier of the Active version of its L2.
    pub key: String,
}

/// `POST /api/v1/tenants/{tenant}/services`: makes a service with version 1 of its default L3.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewService {
    /// Its name.
    pub name: String,
}

/// A service, in answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServiceInfo {
    /// Its tenant's name.
    pub tenant: String,
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// Identifier of the Active version of its default L3.
    pub default_key: String,
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

/// `GET /api/v1/slots`: one seal slot, or a file in its folder that is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SlotInfo {
    /// Its id, or the file's name.
    pub id: String,
    /// Its label; empty if it could not be read.
    pub label: String,
    /// Name of the custodian that keeps its key.
    pub custodian: String,
    /// Its kind, as `pkcs11`.
    pub kind: String,
    /// When it was made, in RFC 3339.
    pub created: Option<String>,
    /// MasterKey generation.
    pub generation: Option<u32>,
    /// `good`, `failed: why` or `not probed`; why it could not be read.
    pub probe: String,
}

/// `POST /api/v1/slots/{slot}/verify`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifySlot {
    /// Spend one login although an earlier PIN was refused.
    #[serde(default)]
    pub retry_pin: bool,
}

/// Answer to [`VerifySlot`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SlotVerified {
    /// The slot.
    pub id: String,
    /// Its label.
    pub label: String,
    /// How long the device took, in milliseconds.
    pub millis: u64,
}

/// `GET /api/v1/ivk`: one IVK version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IvkInfo {
    /// Sequential number.
    pub version: u32,
    /// Algorithm of its wraps.
    pub algorithm: String,
    /// Its size in bits.
    pub bits: u32,
    /// `active`, `deprecated`, `retired` or `compromised`.
    pub status: String,
    /// When it was made, in RFC 3339.
    pub created: String,
    /// When it was demoted, in RFC 3339.
    pub rotated: Option<String>,
}

/// RFC 9457 problem details: the body of every refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Short name of the kind of problem.
    pub title: String,
    /// HTTP status, repeated.
    pub status: u16,
    /// What happened and what to do next.
    pub detail: String,
}
