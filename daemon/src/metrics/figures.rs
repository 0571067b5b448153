//! How the node stands at one moment.

use std::time::Duration;

use keys::cache::CacheFigures;
use keys::edge::EdgeFigures;
use keys::id::Time;

use crate::notices::Topic;
use crate::plugin::PluginFigures;
use crate::role::upstream::CoreCalls;

/// How a node stands; gathered when somebody asks.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// It is an edge.
    pub is_edge: bool,
    /// It can use its keys.
    pub unsealed: bool,
    /// It serves keys.
    pub ready: bool,
    /// Standing warnings, by what they are about.
    pub warnings: Vec<(Topic, usize)>,
    /// The time that keys and certificates follow.
    pub clock: Time,
    /// How far the system's clock is behind that.
    pub clock_behind: Duration,
    /// Slot files that can be read.
    pub slots: usize,
    /// Slots that opened when they were last tried.
    pub slots_good: usize,
    /// Slots that do not fall with one device: 0, 1, or 2 for more as well.
    pub slots_independent: usize,
    /// Each slot that was tried, by its id, and whether it opened then.
    pub slot_opens: Vec<(String, bool)>,
    /// How long ago the slots were last tried; `None`: not since start.
    pub probe_age: Option<Duration>,
    /// The audit log takes records.
    pub audit_writable: bool,
    /// How long the log is; `None` while it does not answer.
    pub audit: Option<audit::Figures>,
    /// How long ago all of the log was known to be on disk; `None`: not since start.
    pub audit_sync_age: Option<Duration>,
    /// The cache of opened keys; all zero while sealed.
    pub cache: CacheFigures,
    /// What an edge keeps ready; `None` on a core and while it is closed.
    pub edge: Option<EdgeFigures>,
    /// Calls of an edge to its cores since the start; `None` on a core.
    pub core_calls: Option<CoreCalls>,
    /// When the certificate ends by which an edge speaks to its cores; `None` on a core, and if the file cannot be read.
    pub upstream_until: Option<Time>,
    /// The keystore did not answer when it was last asked.
    pub store_failing: bool,
    /// Keystores that are no file of the node's own and have rows, and whether each has answered since the start.
    pub keystores: Vec<(String, bool)>,
    /// The plugins behind keystores.
    pub plugins: Vec<PluginFigures>,
    /// Keys whose budget of random IVs runs short.
    pub keys_short_of_ivs: usize,
    /// Size of the arena, in bytes.
    pub arena_bytes: usize,
    /// How much of it is in use, in bytes.
    pub arena_used_bytes: usize,
    /// The IVK; `None` on an edge, while sealed, and while the store does not answer.
    pub ivk: Option<IvkFigures>,
    /// A walk brings keys under newer versions.
    pub is_walking: bool,
    /// Somebody has paused that.
    pub is_walk_paused: bool,
    /// It does not go on by itself now.
    pub is_walk_failing: bool,
}

/// How the IVK stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IvkFigures {
    /// The Active version.
    pub version: u32,
    /// Since it was made.
    pub age_seconds: i64,
    /// Until the schedule rotates it; negative if that is overdue, `None` without a schedule.
    pub due_seconds: Option<i64>,
    /// Compromised versions that are still there.
    pub compromised: usize,
}
