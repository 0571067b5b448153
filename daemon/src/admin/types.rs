//! What goes over the admin interface, for server and command line both.

mod ceremony;
mod edge;
mod kek;
mod key;
mod keystore;
mod node;
mod shard;
mod slot;
mod tenant;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use ceremony::{
    CastVote, CeremonyInfo, DestroyIvk, IvkFound, NewCeremony, NewRoster, RekeyInfo, RekeyOrder, RekeyedRoots, RemoveSlot, SignedManifest,
};
pub use edge::{EdgeGroupInfo, EnrolEdges, GiveUpEdge};
pub use kek::{
    GenerateKek, IvkInfo, KekGenerated, KekRotated, KekSchedule, KekStatus, ReencryptionInfo, RenewalInfo, RotateKek, ScheduleInfo,
};
pub use key::{KeyInfo, KeyLayer, KeyList, KeyState, KeysWanted, RepairInfo, RepairKey, RevokeKey, RotateKey, WrappedByInfo};
pub use keystore::{KeystoreHealth, KeystoreInfo, MigrateKeystore, MigrationInfo};
pub use node::{Memory, Status, UnsealBy};
pub use shard::{ShardInfo, ShardProgress, SplitInfo};
pub use slot::{AddSlot, ApprovalInfo, Approve, SlotDevice, SlotInfo, SlotRemoved, SlotVerified, VerifySlot};
pub use tenant::{DisableTenant, NewService, NewTenant, ResourceInfo, ServiceDeployed, ServiceInfo, TenantInfo};

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
