//! How the node stands, for those who watch it from outside.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use keys::id::Time;
use keys::lifecycle::State;
use keys::port::{AuditSink, Clock};
use tokio::time::timeout;

use super::{Custody, Node, blocking};
use crate::metrics::{Figures, IvkFigures};
use crate::notices::Topic;
use crate::system::SystemClock;
use crate::tls;

/// So long a page of metrics waits for the records of the IVK.
const IVK_WITHIN: Duration = Duration::from_secs(1);

impl Node {
    /// Gathers how the node stands. Waits for a stuck disk no longer than the audit log does.
    pub async fn figures(self: &Arc<Self>) -> Figures {
        let node = Arc::clone(self);
        let figures = blocking(move || node.look()).await;
        let ivk = timeout(IVK_WITHIN, self.ivk_figures()).await.ok().flatten();
        let walk = self.reencryption.progress();
        Figures { ivk, is_walking: walk.is_walking, is_walk_failing: walk.error.is_some(), ..figures }
    }

    async fn ivk_figures(&self) -> Option<IvkFigures> {
        let vault = Arc::clone(&self.open()?.vault);
        let versions = vault.ivk_status().await.ok()?;
        let active = versions.iter().find(|ivk| ivk.state == State::Active)?;
        let seconds = |later: Time, earlier: Time| (later.millis() - earlier.millis()) / 1000;
        Some(IvkFigures {
            version: active.version.0,
            age_seconds: seconds(vault.now(), active.created),
            due_seconds: self.ivk_due(&versions, vault.now()).ok()?.map(|due| seconds(due, vault.now())),
            compromised: versions.iter().filter(|ivk| ivk.state == State::Compromised).count(),
        })
    }

    fn look(&self) -> Figures {
        let open = self.open();
        let listing = self.seal_slots().and_then(|seal| seal.list().ok()).unwrap_or_default().of_generation(self.slots().generation);
        let (slot_opens, tried) = {
            let slots = self.slots();
            // That nobody has typed a PIN says nothing of the slot.
            let told = slots.attempts.iter().filter(|attempt| !matches!(attempt.failure, Some(seal::Error::NeedsPin { .. })));
            let opens = told.map(|attempt| (attempt.slot.to_string(), attempt.failure.is_none()));
            (opens.collect::<Vec<_>>(), slots.tried)
        };
        let age = |then: Instant| then.elapsed();
        let system_clock = SystemClock.now();
        let clock = open.as_ref().map_or(system_clock, |open| open.vault.now());
        let behind_millis = clock.millis().saturating_sub(system_clock.millis());
        let standing = self.warnings();
        let warnings = Topic::ALL.map(|topic| (topic, standing.iter().filter(|(about, _)| *about == topic).count()));
        Figures {
            is_edge: self.config.edge.is_some(),
            unsealed: open.is_some(),
            ready: self.serves().is_ok(),
            warnings: warnings.to_vec(),
            clock,
            clock_behind: Duration::from_millis(u64::try_from(behind_millis).unwrap_or(0)),
            slots: listing.slots.len(),
            slots_good: slot_opens.iter().filter(|(_, opens)| *opens).count(),
            slots_independent: listing.independent(),
            slot_opens,
            probe_age: tried.map(age),
            audit_writable: self.audit.ready().is_ok(),
            audit: self.audit.figures(),
            audit_sync_age: self.synced.lock().unwrap_or_else(PoisonError::into_inner).map(age),
            cache: open.as_ref().map(|open| open.vault.cache_figures()).unwrap_or_default(),
            edge: open.as_ref().and_then(|open| open.vault.edge_figures()),
            core_calls: match &self.custody {
                Custody::Core(cores) => Some(cores.counts()),
                Custody::Slots(_) => None,
            },
            upstream_until: self.upstream_until(),
            store_failing: self.metrics.store.failing().is_some(),
            keystores: self.keystores.iter().flat_map(|keystores| keystores.answered()).collect(),
            plugins: self.keystores.iter().flat_map(|keystores| keystores.plugins()).map(|plugin| plugin.figures()).collect(),
            keys_short_of_ivs: open.as_ref().map_or(0, |open| open.vault.keys_short_of_ivs().len()),
            arena_bytes: self.memory.arena_bytes,
            arena_used_bytes: secret::arena::used_bytes(),
            ivk: None,
            is_walking: false,
            is_walk_paused: self.reencryption.is_paused(),
            is_walk_failing: false,
        }
    }

    /// Why the node cannot serve keys now; nothing of it names a tenant (T12).
    ///
    /// # Errors
    /// One line for a probe.
    pub async fn ready(self: &Arc<Self>) -> Result<(), &'static str> {
        let node = Arc::clone(self);
        blocking(move || node.serves()).await
    }

    fn serves(&self) -> Result<(), &'static str> {
        match (self.open(), self.audit.ready()) {
            (None, _) if self.awaits_keystore() => Err("sealed: waiting for its keystore"),
            (None, _) => Err("sealed"),
            (Some(_), Err(_)) => Err("the audit log cannot be written"),
            (Some(open), Ok(())) if open.vault.check_lease().is_err() => Err("no core has been heard of for too long"),
            (Some(_), Ok(())) => Ok(()),
        }
    }

    /// The file is read anew for every connection, so what counts is what it holds now.
    fn upstream_until(&self) -> Option<Time> {
        let cert = &self.config.edge.as_ref()?.cert;
        let chain = tls::chain(cert).ok()?;
        tls::dates(cert, chain.first()?).ok().map(|(_, until)| until)
    }
}
