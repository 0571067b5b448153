//! Tenants' and services' keys.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// `POST /api/v1/keys/{key}/rotate`: how the key is to go on; an empty body stands for its defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateKey {
    /// The version so far may be known to others: it is compromised, and does nothing any more but to have what lies under it moved.
    #[serde(default)]
    pub compromised: bool,
    /// With `compromised`, of a tenant's key: each L2.1 and L3 below that is in use or waits for it gets a next version with new material too, in the background. What
    /// clients keep at edges (L4) is theirs to replace, and an edge that keeps its store goes on under the group's integrity key that it has.
    #[serde(default)]
    pub rekey_dependents: bool,
}

/// `POST /api/v1/keys/{key}/repair`; an empty body stands for its defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RepairKey {
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// A key whose stored blobs name another algorithm than the record of what wraps them, and what is done about that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RepairInfo {
    /// The key.
    pub id: String,
    /// Whose it is: the tenant's name; its id, if the tenant's record does not verify.
    pub tenant: String,
    /// The algorithm that its blobs name, and that they open by.
    pub found: String,
    /// What the record of the version that wrapped it says.
    pub recorded: String,
    /// Which version of what is above wraps it afterwards, by the algorithm of that one's record.
    pub wrapped_by: WrappedByInfo,
    /// It was done; otherwise it would be.
    pub repaired: bool,
}

/// What kind of key it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, ValueEnum)]
pub enum KeyLayer {
    /// A tenant's key, below an IVK
    #[value(name = "L2")]
    L2,
    /// A tenant's key for a resource or a version
    #[serde(rename = "L2.1")]
    #[value(name = "L2.1")]
    L21,
    /// A service's key
    #[value(name = "L3")]
    L3,
}

/// Where a key is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum KeyState {
    /// Made, not yet in use
    PreActive,
    /// Encrypts and decrypts
    Active,
    /// Decrypts only
    Deprecated,
    /// Archived: neither
    Retired,
    /// Known or feared to be known by others: neither
    Compromised,
    /// Its material is gone
    Destroyed,
    /// Its material is gone, and was compromised
    DestroyedCompromised,
}

/// Query of `GET /api/v1/keys`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct KeysWanted {
    /// Of this tenant only, by name. Left out: of every tenant that the caller sees, which is a tenant-admin's own.
    pub tenant: Option<String>,
    /// Of this service of the tenant only, by name.
    pub service: Option<String>,
    /// Of this layer; L3 if left out.
    #[param(inline)]
    pub layer: Option<KeyLayer>,
    /// In this state only: a page then has fewer keys than asked for, or none, before the last one.
    #[param(inline)]
    pub state: Option<KeyState>,
    /// So many keys are looked at for one page: 1 to 1000, 100 if left out.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<usize>,
    /// What stood in `next` of the page before.
    pub before: Option<String>,
}

/// Keys, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyList {
    /// Those that verify.
    pub keys: Vec<KeyInfo>,
    /// Identifiers of those that do not verify; they are not used.
    pub refused: Vec<String>,
    /// Where the next page begins: `before` of the next request. Absent from the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// One version of a key, in answers. Key material is never in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyInfo {
    /// Its identifier.
    pub id: String,
    /// What kind of key it is.
    pub layer: KeyLayer,
    /// Its tenant's name; the tenant's id, if the tenant's record does not verify.
    pub tenant: String,
    /// Its service's name, for an L3; the service's id, if the service's record does not verify.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Name of the resource that an L2.1 is for, or that an L3 lies under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// The chain that it is a version of.
    pub chain: String,
    /// Which version of the chain.
    pub version: u32,
    /// Its state now, by its dates.
    pub state: KeyState,
    /// What it is for, by the name in KMIP.
    pub algorithm: String,
    /// Its size in bits.
    pub bits: u32,
    /// When it was made, in RFC 3339.
    pub created: String,
    /// When it stops protecting, in RFC 3339, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiry: Option<String>,
    /// How often its record has changed.
    pub generation: u64,
    /// Which key version wraps it.
    pub wrapped_by: WrappedByInfo,
    /// Its names, for its tenant-admin only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<String>>,
}

/// The key version that wraps a key. Old bytes of a key, also of a destroyed one, may survive in free pages of the keystore and in backups; whoever has them and
/// this version can open them, until this version is destroyed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WrappedByInfo {
    /// Its identifier; absent for an IVK, which is known by its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its number in its chain.
    pub version: u32,
}

/// `POST /api/v1/keys/{key}/revoke`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeKey {
    /// KMIP's Revocation Reason Code: `Unspecified`, `Key Compromise`, `CA Compromise`, `Affiliation Changed`, `Superseded`, `Cessation of Operation` or
    /// `Privilege Withdrawn`. The two compromises make the key Compromised, which then neither encrypts nor decrypts; any other lets it decrypt.
    #[schema(example = "Superseded")]
    pub reason: String,
    /// A remark that is kept with the reason.
    #[serde(default)]
    pub message: Option<String>,
    /// With a compromise: since when, in RFC 3339; if left out, since the key was made.
    #[serde(default)]
    pub compromise_occurred: Option<String>,
}
