//! Tenants, their resources and their services.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

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
    /// `enabled`, or `disabled`: nothing of it is served, here and at edges.
    pub status: String,
    /// What it keeps keys for under an L2.1 each, newest first; absent from the list of tenants.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<ResourceInfo>,
}

/// A resource of a tenant, part of [`TenantInfo`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ResourceInfo {
    /// Its name.
    pub name: String,
    /// Identifier of the Active version of its L2.1.
    pub key: String,
    /// The number of that version.
    pub version: u32,
    /// The number of the newest version; after a roll-back that is not the Active one.
    pub newest: u32,
}

/// `POST /api/v1/tenants/{tenant}/services`: makes a service with version 1 of its default L3.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewService {
    /// Its name.
    pub name: String,
    /// Name of the tenant's resource whose L2.1 wraps its keys; made, with version 1 of that, if there is none. Left out: the tenant's L2 wraps them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
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
    /// Name of the resource whose L2.1 wraps its keys; absent if the tenant's L2 wraps them, or the records that say so do not verify.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
}

/// `POST /api/v1/tenants/{tenant}/disable`; an empty body stands for its defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DisableTenant {
    /// The tenant has left: the IVK is rotated as well, which the audit log tells with the reason.
    #[serde(default)]
    pub off_board: bool,
}

/// `POST /api/v1/tenants/{tenant}/services/{service}/deployed`: what became of the service's default key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServiceDeployed {
    /// Its version in force; of a request that came again, the one that it has led to.
    pub key: String,
    /// The number of that version.
    pub version: u32,
    /// The version is new; else the one before was made less than a minute ago, or for this request.
    pub rotated: bool,
    /// A request with this Idempotency-Key has done it before.
    pub repeated: bool,
}
