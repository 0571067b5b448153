//! Keystores over the admin interface.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One keystore of the node, part of the list at `GET /api/v1/keystores`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeystoreInfo {
    /// Its name in the configuration, or `embedded`.
    pub name: String,
    /// What it is.
    pub kind: String,
    /// Which rows belong to it, in words, in the order of the rules.
    pub rows: Vec<String>,
    /// `in use`, `unused`, `filling` while rows come that will belong to it, or `emptying` while what is left there is removed.
    pub state: String,
}

/// Whether a keystore answers, part of the list at `GET /api/v1/keystores/health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeystoreHealth {
    /// Its name.
    pub name: String,
    /// `ok`, `failing`, or `unused`: it is not open and nobody has asked it.
    pub state: String,
    /// How long a read took, in microseconds.
    pub micros: Option<u64>,
    /// Why it fails.
    pub error: Option<String>,
}

/// `POST /api/v1/keystores/migration`: which rows are to be moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MigrateKeystore {
    /// The keystore that they belong to.
    pub from: String,
    /// The one that they are to belong to.
    pub to: String,
    /// Only keys of these layers (`L2`, `L2.1`, `L3`, `L4`); left out with `tenant`: everything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<String>,
    /// Only keys of this tenant: its id, or at a core its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
}

/// `GET /api/v1/keystores/migration`: rows on their way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MigrationInfo {
    /// `none`; `copying`; `clearing`: they have come, what is left is removed; `undoing`: they stay, their copies are removed.
    pub state: String,
    /// From which keystore.
    pub from: Option<String>,
    /// To which.
    pub to: Option<String>,
    /// What is being done, in words.
    pub doing: Option<String>,
    /// How many rows that has gone through.
    pub rows: u64,
    /// Why it waits; it goes on by itself.
    pub error: Option<String>,
}
