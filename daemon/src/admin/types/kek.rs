//! The IVK: its versions, their schedule, and re-encryption below them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `POST /api/v1/kek/rotate`: how the IVK is to go on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateKek {
    /// How the new version wraps: AES-256-GCM, XChaCha20-Poly1305 or AES-256-GCM-SIV. Absent: as the one that waits, or else as the one before.
    #[serde(default)]
    pub algorithm: Option<String>,
    /// The versions so far may be known to others: they are compromised, and nothing but re-encryption opens them any more.
    #[serde(default)]
    pub compromised: bool,
    /// With `compromised`: each tenant's key and each service's default key get a next version with new material too, in the background.
    #[serde(default)]
    pub rekey_dependents: bool,
}

/// `POST /api/v1/kek/generate`: a version of the IVK that waits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GenerateKek {
    /// How it will wrap: AES-256-GCM, XChaCha20-Poly1305 or AES-256-GCM-SIV. Absent: as the Active one.
    #[serde(default)]
    pub algorithm: Option<String>,
}

/// What was generated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KekGenerated {
    /// Its number.
    pub version: u32,
    /// How it will wrap.
    pub algorithm: String,
    /// A request with this Idempotency-Key has done it before.
    pub repeated: bool,
    /// How long it took, in milliseconds, the custodian's device included.
    pub millis: u64,
}

/// What a rotation has done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KekRotated {
    /// The version that wraps from now on.
    pub version: u32,
    /// The one that did.
    pub replaced: u32,
    /// A request with this Idempotency-Key has done it before.
    pub repeated: bool,
    /// How long it took, in milliseconds, the custodian's device included.
    pub millis: u64,
}

/// `GET /api/v1/kek/schedule`: when the IVK is rotated by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KekSchedule {
    /// How long a version wraps, as `ivk.rotate_every` says, if it does.
    pub every: Option<String>,
    /// When it is rotated, as `ivk.rotate_at` says: times in UTC as cron has them. Without either, when somebody asks.
    pub at: Option<String>,
    /// When the next version is made, in RFC 3339: up to a tenth of the interval later, or 15 minutes, by a draw of the cluster's own.
    pub next: Option<String>,
    /// That time is over, and no rotation has succeeded since: status says why.
    pub overdue: bool,
    /// When each tenant's key (L2) is rotated by itself, counted from when its Active version was made.
    pub tenants: ScheduleInfo,
    /// The same for each resource's key (L2.1); one that was rolled back to counts from then.
    #[serde(default)]
    pub resources: ScheduleInfo,
    /// The same for each service's default key (L3).
    pub services: ScheduleInfo,
    /// A further key of a service that has ended by its dates gets a next version.
    pub replace_expired: bool,
}

/// When keys are rotated by themselves: after an interval or at times of a calendar; without either, when somebody asks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScheduleInfo {
    /// How old a version gets.
    pub every: Option<String>,
    /// Times in UTC, as cron has them.
    pub at: Option<String>,
}

/// `GET /api/v1/kek/status`: the IVK, and how far what it wraps has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KekStatus {
    /// Its versions, newest first.
    pub versions: Vec<IvkInfo>,
    /// The walk that brings keys under the newest versions.
    pub reencryption: ReencryptionInfo,
}

/// `GET /api/v1/kek/reencryption`: the walk that brings keys under the newest versions of what wraps them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReencryptionInfo {
    /// `walking`, `paused`, `waiting` or `done`.
    pub state: String,
    /// When the walk began, in RFC 3339.
    pub began: Option<String>,
    /// When the last whole walk ended, in RFC 3339.
    pub ended: Option<String>,
    /// Keys that the walk has looked at.
    pub looked_at: u64,
    /// About how many there are: as many as the whole walk before has looked at.
    pub of: Option<u64>,
    /// Keys that came under a newer version.
    pub moved: u64,
    /// Keys that stay where they are, because they do not verify.
    pub refused: u64,
    /// The first of them, and what is wrong.
    pub refusals: Vec<String>,
    /// Why the walk waits.
    pub error: Option<String>,
    /// It goes on from where one was before a restart or a seal.
    pub resumed: bool,
    /// Most keys that it moves each second, as `reencrypt.rate` says.
    pub rate: String,
    /// Its share of one processor, as `reencrypt.cpu` says.
    pub cpu: String,
    /// A version is compromised: neither limit counts until its keys are moved.
    pub urgent: bool,
    /// What gets new material because a key above it is compromised, until all of it has.
    pub renewals: Vec<RenewalInfo>,
    /// Keys that got a next version by themselves since the node was started: below a compromised key, by a schedule, or because they ended.
    pub renewed: u64,
}

/// An order to give what lies below a compromised key new material, part of [`ReencryptionInfo`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RenewalInfo {
    /// What lies below this tenant's key; absent: below the IVK.
    pub tenant: Option<String>,
    /// Whatever was made up to then, in RFC 3339.
    pub until: String,
}

/// One IVK version, part of [`KekStatus`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IvkInfo {
    /// Sequential number.
    pub version: u32,
    /// Algorithm of its wraps.
    pub algorithm: String,
    /// Its size in bits.
    pub bits: u32,
    /// `pre-active`, `active`, `deprecated`, `retired`, `compromised`, `destroyed` or `destroyed-compromised`.
    pub status: String,
    /// When it was made, in RFC 3339.
    pub created: String,
    /// When it was demoted, in RFC 3339.
    pub rotated: Option<String>,
    /// When its key was destroyed, in RFC 3339.
    #[serde(default)]
    pub destroyed: Option<String>,
    /// Tenants' keys that lay under it when the last whole walk had passed them; absent until a walk has begun since it came to wrap or was demoted, and ended.
    #[serde(default)]
    pub keys: Option<u64>,
    /// It would be archived, as far as the last walk knows.
    #[serde(default)]
    pub can_retire: bool,
    /// The custodians would be asked to have it destroyed, as far as the last walk knows.
    #[serde(default)]
    pub can_destroy: bool,
    /// What to do next about it, if anything.
    #[serde(default)]
    pub advice: Option<String>,
}
