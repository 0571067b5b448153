//! Slots that come and go while the node serves.

use std::sync::Arc;

use keys::cluster::{self, Cluster, Roots};
use keys::entropy::Randomness;
use keys::hierarchy::MasterKey;
use keys::id::ClusterId;
use keys::port::Clock;
use keys::registry::Registry;
use seal::{Approval, Approved, Attempt, Consent, Expected, Label, NewSlot, Removed, Roster, Seal};

use super::{Node, blocking};
use crate::system::{SystemClock, SystemEntropy};

/// A slot that is to be made.
pub(crate) struct SlotOrder {
    /// The custodian that is to keep its key.
    pub(crate) custodian: Label,
    /// What people will call it.
    pub(crate) label: Label,
    /// Make the key on the token if it has none of that name.
    pub(crate) make_key: bool,
    /// The first state of the platform in which a TPM's slot may open.
    pub(crate) approval: Option<Approval>,
}

/// Why the slots are as they were.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    /// An edge.
    #[error("an edge has no slots: its core opens it; run this at the core")]
    Edge,
    /// The cluster's custodians have to approve it.
    #[error("the custodians of this cluster have to approve a change of its slots: run `strongroom ceremony start`")]
    NeedsCeremony,
    /// Others than the cluster's custodians have approved it.
    #[error("the approvals are of another roster than the cluster's: start the ceremony anew")]
    OtherRoster,
    /// The custodian opens only with a person.
    #[error(
        "custodian `{name}` needs a PIN, which the node has to have itself: name a credential for it under seal.custodians, and restart strongroomd"
    )]
    NeedsCredential {
        /// The custodian.
        name: Label,
    },
    /// The slots, or their devices.
    #[error(transparent)]
    Slots(seal::Error),
    /// The cluster's roots.
    #[error(transparent)]
    Roots(#[from] keys::Error),
}

impl From<seal::Error> for SlotError {
    fn from(error: seal::Error) -> Self {
        match error {
            seal::Error::NeedsPin { name } => Self::NeedsCredential { name },
            other => Self::Slots(other),
        }
    }
}

/// What a change of the slots needs, for as long as it takes: a node that is sealed meanwhile keeps this copy until the change has ended.
pub(super) struct Job {
    pub(super) seal: Arc<Seal>,
    master: Arc<MasterKey>,
    pub(super) registry: Registry,
    cluster: ClusterId,
    generation: u32,
    roster: Roster,
}

/// By whose word the slots are changed.
pub enum Authority {
    /// An operator's alone: enough where there are no custodians.
    Operator,
    /// The custodians' too.
    Custodians(Approved),
    /// Of whoever had the slot made that is proven now.
    Before,
}

impl Authority {
    /// Whose word it is; nobody's but where there are custodians.
    pub(super) fn roster(&self, cluster: &Cluster) -> Result<Roster, SlotError> {
        match self {
            Self::Operator if cluster.roster_hash != Roster::empty().hash() => Err(SlotError::NeedsCeremony),
            Self::Custodians(approved) if approved.roster().hash() != cluster.roster_hash => Err(SlotError::OtherRoster),
            Self::Custodians(approved) => Ok(approved.roster().clone()),
            Self::Operator | Self::Before => Ok(Roster::empty()),
        }
    }
}

impl Job {
    fn expected(&self) -> Expected {
        Expected { cluster: Some(self.cluster), generation: Some(self.generation) }
    }
}

impl Node {
    /// Seals the MasterKey in a further slot.
    ///
    /// # Errors
    /// [`SlotError`]; the slots are then as they were.
    pub(crate) async fn add_slot(&self, order: SlotOrder, authority: Authority) -> Result<seal::Slot, SlotError> {
        self.change_slots(authority, move |job| {
            let SlotOrder { custodian, label, make_key, approval } = order;
            let (cluster, generation, created) = (job.cluster, job.generation, SystemClock.now());
            let new = NewSlot { custodian, label, cluster, generation, roster: job.roster.clone(), approval, created };
            let consent = Consent { make_key, ..Consent::default() };
            let keys = (&*job.master, job.registry.integrity());
            job.seal.add(new, keys, &Randomness::new(Arc::new(SystemEntropy)), consent)
        })
        .await
    }

    /// Removes a slot, by id or label, after another one has opened without a person.
    ///
    /// # Errors
    /// [`SlotError`]; unless the disk has failed, the slots are then as they were.
    pub(crate) async fn remove_slot(&self, name: String, authority: Authority) -> Result<Removed, SlotError> {
        self.change_slots(authority, move |job| job.seal.remove(&name, job.expected(), (&job.master, job.registry.integrity()), None)).await
    }

    /// Does `work` with the MasterKey in hand, then looks how the slots stand.
    pub(super) async fn change_slots<T: Send + 'static>(
        &self,
        authority: Authority,
        work: impl FnOnce(&Job) -> Result<T, seal::Error> + Send + 'static,
    ) -> Result<T, SlotError> {
        let _nobody_else = self.jobs.try_lock().map_err(|_| seal::Error::Busy)?;
        let job = self.begin_job(authority).await?;
        let (done, table) = blocking(move || {
            let done = work(&job);
            let table = job.seal.settle_table(job.registry.integrity());
            (done, table.err().map(|error| error.to_string()))
        })
        .await;
        self.slots().table = table;
        let done = done?;
        self.probe_slots().await;
        Ok(done)
    }

    /// The MasterKey that is in memory, or else what a slot yields now.
    pub(super) async fn master(&self, seal: &Arc<Seal>) -> Result<Arc<MasterKey>, seal::Error> {
        let resident = self.slots().master.clone();
        match resident {
            Some(master) => Ok(master),
            None => {
                let (seal, expected) = (Arc::clone(seal), self.expected().await);
                Ok(Arc::new(blocking(move || seal.unseal(expected, None)).await?.master))
            }
        }
    }

    /// The MasterKey, and what else a change of the slots needs, if it may be made.
    async fn begin_job(&self, authority: Authority) -> Result<Job, SlotError> {
        let seal = Arc::clone(self.seal_slots().ok_or(SlotError::Edge)?);
        let master = self.master(&seal).await?;
        let Roots { registry, cluster, .. } = cluster::load(&self.store, self.identity.cluster, &master).await?;
        let roster = authority.roster(&cluster)?;
        Ok(Job { seal, master, registry, cluster: cluster.id, generation: cluster.master_generation, roster })
    }
}

/// What is to be done about a slot after its last try, if anything; that one needs a person is no fault, nor that it is of another generation.
pub(super) fn warnings_of(Attempt { slot, label, failure, ailing, .. }: &Attempt) -> Vec<String> {
    let is_fault = |failure: &&seal::Error| !matches!(failure, seal::Error::NeedsPin { .. } | seal::Error::WrongGeneration { .. });
    let fails = failure.iter().filter(is_fault).map(|why| {
        format!(
            "slot `{label}` ({slot}) does not open: {why}; mend its device and run `strongroom slot verify {slot}`, or remove the slot and add another"
        )
    });
    let misses = ailing.iter().map(|(keeper, why)| {
        format!("slot `{label}`: the shard of `{keeper}` does not open: {why}; mend its device, or add the slot anew with keepers that are there")
    });
    fails.chain(misses).collect()
}
