//! Edge groups.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `POST /api/v1/edges`: enrols an edge group for tenants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnrolEdges {
    /// The group's name, as the certificates of its edges have it.
    pub group: String,
    /// Names of the tenants whose objects they may keep; at least one for a new group.
    pub tenants: Vec<String>,
    /// Public keys by which its edges vouch for clients, 64 hex digits each, as `strongroom init` of an edge prints them.
    #[serde(default)]
    pub keys: Vec<String>,
}

/// `POST /api/v1/edges/{group}/give-up`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GiveUpEdge {
    /// The edge's delegation key, as its group lists it.
    pub key: String,
}

/// An edge group, in answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EdgeGroupInfo {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// Identifier of the Active version of its own L3.
    pub key: String,
    /// Names of its tenants.
    pub tenants: Vec<String>,
    /// Public keys by which its edges vouch for clients.
    pub keys: Vec<String>,
    /// `enrolled` or `revoked`.
    pub status: String,
}
