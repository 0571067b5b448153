//! How an edge opens: by its core, which opens the keys of the edge's group and says whom they are for.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use audit::LogId;
use keys::edge;
use keys::entropy::Randomness;
use keys::lease::{Lease, Leases};
use keys::policy::Action;
use keys::port::{Clock, Pace, Upstream};
use keys::record::Outcome;
use keys::sharing::NodeTag;
use keys::vault::{EdgeParts, Vault};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::{Node, Open, State, UnsealError, spawn_writer};
use crate::config;
use crate::role::upstream::Cores;
use crate::system::{SystemClock, SystemEntropy, SystemPace};
use crate::workers::Workers;

/// How long after the interval a lease may still be renewed: the time of a call, and some. A shorter `offline_ttl` counts as that.
const LEASE_SLACK: Duration = Duration::from_millis(2500);

impl Node {
    /// Tries to open a node that is closed without anybody's wish: an edge whose core did not answer. Only a success is recorded.
    ///
    /// # Errors
    /// As [`Node::unseal`].
    pub async fn reopen(&self) -> Result<(), UnsealError> {
        let mut writer = self.writer.lock().await;
        if self.open().is_some() || self.by_request.load(Ordering::Relaxed) || writer.is_some() {
            return Ok(());
        }
        match self.try_open(None).await {
            Ok((open, running)) => {
                self.note_own(self.system, Action::Unseal, Outcome::Success)?;
                *writer = Some(running);
                self.become_state(State::Open(Arc::new(open)));
                Ok(())
            }
            Err(error) => {
                self.forget();
                let since = self.sealed().map_or_else(|| SystemClock.now(), |(since, _)| since);
                self.become_state(State::Sealed { since, reason: error.to_string() });
                Err(error)
            }
        }
    }

    /// An edge opens by its core: the lease, and the group's own keys.
    pub(super) async fn try_lease(&self, cores: &Arc<Cores>) -> Result<(Open, JoinHandle<()>), UnsealError> {
        let (started, asked) = (Instant::now(), SystemPace.now());
        let (Some(settings), Some(own)) = (&self.config.edge, &self.identity.edge) else { return Err(UnsealError::NoEdge) };
        let upstream: Arc<dyn Upstream> = Arc::<Cores>::clone(cores);
        let lease = upstream.lease().await.map_err(keys::Error::from)?;
        if (lease.cluster, lease.group.id) != (self.identity.cluster, own.group) {
            return Err(UnsealError::OtherGroup { cluster: lease.cluster, group: lease.group.name });
        }
        let seed = edge::open_root(&*upstream, &lease, &own.audit_key).await?;
        cores.set_signer(Some(edge::open_root(&*upstream, &lease, &own.delegation_key).await?));
        let randomness = Randomness::new(Arc::new(SystemEntropy));
        let (registry, made) = edge::roots(&self.store, &*upstream, &lease, &randomness).await?;
        if made.is_some() && !settings.is_ephemeral {
            return Err(UnsealError::NoIntegrityKey);
        }
        self.audit.set_key(seed).map_err(|error| UnsealError::Audit { what: error.to_string() })?;
        let next_outbox = self.reconcile().await?;
        let parts = EdgeParts { shared_as: shared_as(settings, self.identity.log), ..edge_parts(settings, lease, asked, &upstream) };
        let (vault, writer) = Vault::edge(self.parts(registry, next_outbox), parts)?;
        self.raise_floors(&vault).await?;
        let running = spawn_writer(writer);
        if let Some(row) = made {
            let mut unit = vault.begin(self.system);
            vault.stage_edge_roots(&mut unit, row);
            let _receipt = unit.commit().await.map_err(keys::Error::from)?;
        }
        vault.join().await?;
        tracing::info!(elapsed = ?started.elapsed(), "opened by the core");
        Ok((Open { vault, since: SystemClock.now() }, running))
    }
}

/// What the vault of an edge is made of.
///
/// - `asked`: when the core was asked for the lease.
pub(crate) fn edge_parts(settings: &config::Edge, lease: Lease, asked: Duration, upstream: &Arc<dyn Upstream>) -> EdgeParts {
    // A lease that is renewed in time never ends: not being heard for one interval and the time of a call is no absence yet.
    let holds = settings.offline_ttl.max(settings.lease + LEASE_SLACK);
    let workers = Arc::<Workers>::default();
    EdgeParts {
        leases: Leases::new(lease, asked, SystemClock.now(), holds),
        upstream: Arc::clone(upstream),
        pairs: Arc::clone(&workers) as _,
        stretcher: workers,
        pool_keys: settings.pool_keys,
        cache_bytes: settings.cache_bytes,
        l4_ttl: settings.l4_ttl,
        is_ephemeral: settings.is_ephemeral,
        shared_as: None,
    }
}

/// How an edge is known to those that share its keystore: by its audit log, which is its own.
pub(crate) fn shared_as(settings: &config::Edge, log: LogId) -> Option<NodeTag> {
    settings.is_shared.then(|| NodeTag::of(Uuid::from_bytes(log.0)))
}
