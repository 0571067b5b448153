//! The re-key of the MasterKey, after it may have become known to others (C8).
//!
//! Three steps, each a call of [`Node::rekey_master`], so that people have time for theirs:
//!
//! | step | the slots | the keystore |
//! |---|---|---|
//! | prepare | for each slot one more, of the same custodian and label, of generation g + 1; people's wait for their shards | g |
//! | switch | every new one counts and opens, else it is refused; then the old ones are removed | g, then g + 1, in one transaction |
//! | abandon | the new ones are removed | g |
//!
//! The keystore says which generation is in force, so at every instant the slots of that generation open it (F12). A crash before the transaction
//! leaves new slots, which the next `prepare` or `abandon` removes; a crash after it leaves old ones, which the next unseal removes.
//!
//! Between prepare and switch nobody keeps the new MasterKey: a new slot opens it again. Only where each of them needs a person it stays in locked
//! memory, for as long as the node is open; after a seal or a restart such a re-key is prepared anew.
//!
//! The new slots may carry another roster of custodians. They are made by the word of those of before, who have approved the others by name; the cluster
//! record takes the others' hash in the transaction of the switch. Until then their votes count for nothing, and afterwards only theirs do.
//!
//! What the old MasterKey has opened may be known as well, so a switch ends with a new version of the IVK, and the keys are brought under that one. Data
//! copied before the switch opens under the old one for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use keys::cluster::{self, Cluster, Roots};
use keys::entropy::Randomness;
use keys::hierarchy::{GenerateError, IntegrityKeys, MasterKey};
use keys::id::{ClusterId, KeyVersion, SessionId};
use keys::master::Rekeyed;
use keys::policy::Action;
use keys::port::Clock;
use keys::record::Outcome;
use keys::registry::Registry;
use keys::rotate::NewIvk;
use seal::{Approval, Consent, Expected, Label, Listing, NewSlot, Opened, Roster, Seal, Slot, SlotId};

use super::{Authority, Node, Open, SlotError, UnsealError, blocking};
use crate::system::{SystemClock, SystemEntropy};

/// A step of a re-key.
#[derive(Debug)]
pub enum RekeyStep {
    /// Makes a new MasterKey, and a new slot for each that is there. What an earlier try has left is removed first.
    Prepare {
        /// The first approved state of each new slot that a TPM opens, or has a part in, by the slot's label.
        approvals: BTreeMap<Label, Approval>,
        /// Who approves ceremonies after the switch, if it is to be others than now.
        roster: Option<Roster>,
    },
    /// Wraps the roots under the new MasterKey, and removes the old slots.
    Switch,
    /// Removes the new slots; the MasterKey stays what it is.
    Abandon,
}

/// What a step has done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RekeyReport {
    /// The generation that is in force now.
    pub generation: u32,
    /// The new slots.
    pub made: Vec<SlotId>,
    /// Those of them that wait until people have read their shards back.
    pub waiting: Vec<Label>,
    /// Root records that were wrapped anew, by a switch.
    pub roots: Option<Rekeyed>,
    /// Who approves ceremonies from now on, if a switch has changed that.
    pub roster: Option<Roster>,
    /// The version of the IVK that a switch has made, because those before may be known too.
    pub ivk: Option<KeyVersion>,
    /// Slots that were removed.
    pub removed: Vec<SlotId>,
    /// Why old slots are still there after a switch, and what removes them.
    pub left: Option<String>,
}

/// Why a step was not taken.
#[derive(Debug, thiserror::Error)]
pub enum RekeyError {
    /// The roots are wrapped by an open node.
    #[error("the node is sealed: run `strongroom unseal` first")]
    Sealed,
    /// This node has no slots.
    #[error("an edge has no MasterKey: re-key at its core")]
    Edge,
    /// There is nothing to make new slots after.
    #[error("no slot of the MasterKey in force can be read: add one with `strongroom slot add` first")]
    NoSlots,
    /// A TPM's slot begins with an approved state.
    #[error(
        "slot `{label}` follows the state of a TPM: sign one for the new slot with `strongroom slot tpm-policy sign --custodian TPM --key KEY --out FILE` (without --slot), and give that approval for `{label}`"
    )]
    ApprovalNeeded {
        /// The slot, and the one that is to follow it.
        label: Label,
    },
    /// An approval for what needs none.
    #[error(
        "an approval is given for `{label}`, which is no slot that a TPM opens: leave it out, or name the slot as `strongroom slot list` does"
    )]
    ApprovalUnwanted {
        /// What it was given for.
        label: Label,
    },
    /// No slot carries the roster that the cluster record names.
    #[error("no slot has the cluster's custodians in it: restore a slot file from a backup")]
    NoRoster,
    /// A new slot was not made; none is left.
    #[error("slot `{label}` cannot be made anew: {source}; mend its device or remove the slot, and prepare the re-key again")]
    NotMade {
        /// Which.
        label: Label,
        /// Why.
        source: seal::Error,
    },
    /// There are no new slots.
    #[error("no re-key is prepared: prepare it first")]
    NotPrepared,
    /// People have not given their shards back.
    #[error(
        "the new slots {} wait for their shards: write them with `strongroom slot shards`, and have each keeper give theirs back",
        names(labels)
    )]
    Waiting {
        /// Which slots.
        labels: Vec<Label>,
    },
    /// The slots are not those that were there.
    #[error("the slots were changed since the re-key was prepared ({}): prepare it again", names(labels))]
    SlotsChanged {
        /// Those that are of one generation only, or have another custodian.
        labels: Vec<Label>,
    },
    /// Nothing opens the new MasterKey without a person.
    #[error(
        "the new MasterKey is not at hand, because the node was sealed since, and its slots need people: prepare the re-key again; {source}"
    )]
    NextLost {
        /// How the slots were tried.
        source: seal::Error,
    },
    /// What was stored is not what was to be stored.
    #[error(
        "the roots are stored under the new MasterKey, but do not open again: {source}; the old slots were kept, restore the keystore from a copy"
    )]
    ReadBack {
        /// What does not open.
        source: keys::Error,
    },
    /// Who has asked may not.
    #[error(transparent)]
    Authority(#[from] SlotError),
    /// The slots, or their devices.
    #[error(transparent)]
    Slots(#[from] seal::Error),
    /// The cluster's roots, or their commit.
    #[error(transparent)]
    Roots(#[from] keys::Error),
    /// The audit log does not take the record.
    #[error("audit log: {what}")]
    Audit {
        /// Why.
        what: String,
    },
}

impl From<UnsealError> for RekeyError {
    fn from(error: UnsealError) -> Self {
        Self::Audit { what: error.to_string() }
    }
}

impl From<GenerateError> for RekeyError {
    fn from(error: GenerateError) -> Self {
        Self::Roots(error.into())
    }
}

fn names(labels: &[Label]) -> String {
    labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ")
}

/// What a step needs for as long as it takes: a node that is sealed meanwhile keeps this until it has ended.
struct Job {
    seal: Arc<Seal>,
    open: Arc<Open>,
    /// The MasterKey in force.
    master: Arc<MasterKey>,
    cluster: Cluster,
}

impl Job {
    fn integrity(&self) -> &IntegrityKeys {
        self.open.vault.registry().integrity()
    }

    /// The cluster, and the generation that the keystore says.
    fn in_force(&self) -> (ClusterId, u32) {
        (self.cluster.id, self.cluster.master_generation)
    }

    fn next(&self) -> Result<u32, keys::Error> {
        let next = self.cluster.master_generation.checked_add(1);
        next.ok_or_else(|| keys::Error::Unavailable { what: "the MasterKey has no next generation".to_owned() })
    }

    fn expected(&self, generation: u32) -> Expected {
        Expected { cluster: Some(self.cluster.id), generation: Some(generation) }
    }

    /// Removes the slots of every generation but the one in force.
    fn clear(&self) -> Result<Vec<SlotId>, seal::Error> {
        let removed = self.seal.remove_generations(.., self.in_force(), (&self.master, self.integrity()))?;
        Ok(removed.into_iter().map(|removed| removed.id).collect())
    }

    /// A new slot for each that is there.
    fn plan(&self, mut approvals: BTreeMap<Label, Approval>, roster: Option<Roster>) -> Result<Vec<NewSlot>, RekeyError> {
        let (slots, generation) = (self.seal.list()?.of_generation(Some(self.cluster.master_generation)).slots, self.next()?);
        if slots.is_empty() {
            return Err(RekeyError::NoSlots);
        }
        let (rosters, hash) = (slots.iter().map(|slot| slot.roster.clone()), self.cluster.roster_hash);
        let of_before = rosters.chain([Roster::empty()]).find(|roster| roster.hash() == hash).ok_or(RekeyError::NoRoster)?;
        let roster = roster.unwrap_or(of_before);
        let mut plan = Vec::with_capacity(slots.len());
        for Slot { header, .. } in slots {
            let wants_approval = self.seal.follows_platform(&header.custodian)?;
            let approval = if wants_approval { approvals.remove(&header.label) } else { None };
            if wants_approval && approval.is_none() {
                return Err(RekeyError::ApprovalNeeded { label: header.label });
            }
            plan.push(NewSlot {
                custodian: header.custodian,
                label: header.label,
                cluster: self.cluster.id,
                generation,
                roster: roster.clone(),
                approval,
                created: SystemClock.now(),
            });
        }
        match approvals.into_keys().next() {
            Some(label) => Err(RekeyError::ApprovalUnwanted { label }),
            None => Ok(plan),
        }
    }

    /// Makes the new slots, all or none.
    fn make(&self, plan: Vec<NewSlot>, master: &MasterKey) -> Result<Vec<Slot>, RekeyError> {
        let randomness = Randomness::new(Arc::new(SystemEntropy));
        let mut made = Vec::with_capacity(plan.len());
        for new in plan {
            let label = new.label.clone();
            match self.seal.add(new, (master, self.integrity()), &randomness, Consent::default()) {
                Ok(slot) => made.push(slot),
                Err(source) => {
                    // Whatever of them stays opens nothing that is stored, and the next try removes it.
                    if let Err(error) = self.clear() {
                        tracing::warn!(%error, "new slots of a re-key that failed are still there");
                    }
                    return Err(RekeyError::NotMade { label, source });
                }
            }
        }
        Ok(made)
    }

    /// Does each slot have its follower, and each follower what it follows?
    fn must_match(&self, listing: &Listing, pending: &[Slot]) -> Result<(), RekeyError> {
        let next = self.next()?;
        let of = |slots: &[Slot], generation: u32| -> BTreeSet<(Label, Label)> {
            let of = slots.iter().filter(|slot| slot.header.generation == generation);
            of.map(|Slot { header, .. }| (header.label.clone(), header.custodian.clone())).collect()
        };
        let (old, new, waiting) = (of(&listing.slots, self.cluster.master_generation), of(&listing.slots, next), of(pending, next));
        if new.is_empty() && waiting.is_empty() {
            return Err(RekeyError::NotPrepared);
        }
        let follow: BTreeSet<_> = new.union(&waiting).cloned().collect();
        let labels: BTreeSet<Label> = old.symmetric_difference(&follow).map(|(label, _)| label.clone()).collect();
        if !labels.is_empty() {
            return Err(RekeyError::SlotsChanged { labels: labels.into_iter().collect() });
        }
        if !waiting.is_empty() {
            return Err(RekeyError::Waiting { labels: waiting.into_iter().map(|(label, _)| label).collect() });
        }
        Ok(())
    }
}

impl Node {
    /// Takes a step of a re-key; `session` is told of in the audit log.
    ///
    /// The step runs on a task of its own: a caller who goes away does not leave it half done.
    ///
    /// # Errors
    /// [`RekeyError`]. The MasterKey in force is then the one of before, and opens by the slots of before, but for `ReadBack`.
    pub async fn rekey_master(
        self: &Arc<Self>,
        session: SessionId,
        authority: Authority,
        step: RekeyStep,
    ) -> Result<RekeyReport, RekeyError> {
        let node = Arc::clone(self);
        tokio::spawn(async move { node.take_step(session, authority, step).await }).await.expect("the step does not panic")
    }

    async fn take_step(&self, session: SessionId, authority: Authority, step: RekeyStep) -> Result<RekeyReport, RekeyError> {
        let _nobody_else = self.jobs.try_lock().map_err(|_| seal::Error::Busy)?;
        let job = self.begin_rekey().await?;
        let _roster = authority.roster(&job.cluster)?;
        let (seal, open) = (Arc::clone(&job.seal), Arc::clone(&job.open));
        let taken = match step {
            RekeyStep::Prepare { approvals, roster } => self.prepare(session, job, approvals, roster).await,
            RekeyStep::Switch => self.switch(session, job).await,
            RekeyStep::Abandon => self.abandon(session, job).await,
        };
        self.slots().table = seal.settle_table(open.vault.registry().integrity()).err().map(|error| error.to_string());
        self.probe_slots().await;
        taken
    }

    async fn begin_rekey(&self) -> Result<Job, RekeyError> {
        let seal = Arc::clone(self.seal_slots().ok_or(RekeyError::Edge)?);
        let open = self.open().ok_or(RekeyError::Sealed)?;
        let master = self.master(&seal).await?;
        let Roots { cluster, .. } = cluster::load(&self.store, self.identity.cluster, &master).await?;
        Ok(Job { seal, open, master, cluster })
    }

    async fn prepare(
        &self,
        session: SessionId,
        job: Job,
        approvals: BTreeMap<Label, Approval>,
        roster: Option<Roster>,
    ) -> Result<RekeyReport, RekeyError> {
        let (generation, next) = (job.cluster.master_generation, job.next()?);
        let plan = job.plan(approvals, roster)?;
        self.slots().next = None;
        self.note_own(session, Action::AddSlot, Outcome::Intended)?;
        let prepared = blocking(move || {
            let removed = job.clear()?;
            let master = MasterKey::generate(&Randomness::new(Arc::new(SystemEntropy)))?;
            let made = job.make(plan, &master)?;
            // A slot that opens without a person keeps the key better than this process does.
            let is_kept = job.seal.unseal(job.expected(next), None).is_ok();
            Ok::<_, RekeyError>((removed, made, job.seal.pending()?, (!is_kept).then(|| Arc::new(master))))
        })
        .await;
        let outcome = if prepared.is_ok() { Outcome::Success } else { Outcome::Unavailable };
        self.note_own(session, Action::AddSlot, outcome)?;
        let (removed, made, pending, master) = prepared?;
        if let Some(master) = master {
            let mut slots = self.slots();
            // A node that was sealed meanwhile keeps nothing.
            slots.next = self.open().map(|_| (next, master));
        }
        let waiting = pending.into_iter().filter(|slot| slot.header.generation == next).map(|slot| slot.header.label).collect();
        let made: Vec<SlotId> = made.into_iter().map(|slot| slot.header.id).collect();
        tracing::info!(slots = made.len(), generation = next, "re-key of the MasterKey prepared");
        Ok(RekeyReport { generation, made, waiting, removed, ..RekeyReport::default() })
    }

    async fn switch(&self, session: SessionId, job: Job) -> Result<RekeyReport, RekeyError> {
        let (cluster, generation) = job.in_force();
        let next = job.next()?;
        job.must_match(&job.seal.list()?, &job.seal.pending()?)?;
        let kept = self.slots().next.clone().filter(|(of, _)| *of == next);
        let (job, new, roster) = blocking(move || {
            let new = match kept {
                Some((_, new)) => new,
                None => match job.seal.unseal(job.expected(next), None) {
                    Ok(Opened { master, .. }) => Arc::new(master),
                    Err(source) => return Err(RekeyError::NextLost { source }),
                },
            };
            let proven = job.seal.prove_generation(job.expected(next), (&new, job.integrity()))?;
            let roster = only_roster(&proven)?;
            Ok((job, new, roster))
        })
        .await?;

        let mut unit = job.open.vault.begin(session);
        let rekeyed = job.open.vault.rekey_master(&mut unit, (&job.master, &new), roster.hash()).await?;
        let roster = Some(roster).filter(|roster| roster.hash() != job.cluster.roster_hash);
        let lost = unit.lost();
        if let Err(error) = unit.commit().await {
            self.note_all(&lost);
            return Err(keys::Error::from(error).into());
        }
        // C18: from now on only what was just stored opens the roots.
        let again = cluster::load(&self.store, cluster, &new).await;
        self.take_over(&new);
        again.map_err(|source| RekeyError::ReadBack { source })?;
        tracing::info!(from = generation, to = next, "the MasterKey was replaced");

        let Job { seal, open, .. } = job;
        let (keys, domain) = (Arc::clone(&new), Arc::clone(&open));
        let removed = blocking(move || seal.remove_generations(.., (cluster, next), (&keys, domain.vault.registry().integrity()))).await;
        let outcome = if removed.is_ok() { Outcome::Success } else { Outcome::Unavailable };
        let noted = self.note_own(session, Action::RemoveSlot, outcome);
        let (removed, left) = match removed {
            Ok(removed) => (removed.into_iter().map(|removed| removed.id).collect(), None),
            Err(error) => {
                (Vec::new(), Some(format!("old slots are still there ({error}): they open nothing, and go with the next unseal")))
            }
        };
        noted?;
        let compromised = NewIvk { is_compromised: true, ..NewIvk::default() };
        let (ivk, left) = match self.rotate_under(session, &open, &new, compromised).await {
            Ok(rotated) => (Some(rotated.version), left),
            Err(error) => {
                let undone = format!("the IVK was not rotated ({error}): run `strongroom ivk rotate --compromised`");
                (None, Some(left.map_or_else(|| undone.clone(), |left| format!("{left}; {undone}"))))
            }
        };
        let made = self.seal_slots().map(|seal| seal.list()).transpose()?.unwrap_or_default().of_generation(Some(next));
        let made = made.slots.into_iter().map(|slot| slot.header.id).collect();
        Ok(RekeyReport { generation: next, made, roots: Some(rekeyed), roster, ivk, removed, left, waiting: Vec::new() })
    }

    /// From now on this is the MasterKey: if the node keeps one, it keeps this.
    fn take_over(&self, new: &Arc<MasterKey>) {
        let mut slots = self.slots();
        slots.next = None;
        if slots.master.is_some() {
            slots.master = Some(Arc::clone(new));
        }
    }

    async fn abandon(&self, session: SessionId, job: Job) -> Result<RekeyReport, RekeyError> {
        let generation = job.cluster.master_generation;
        self.slots().next = None;
        self.note_own(session, Action::RemoveSlot, Outcome::Intended)?;
        let removed = blocking(move || job.clear()).await;
        let outcome = if removed.is_ok() { Outcome::Success } else { Outcome::Unavailable };
        self.note_own(session, Action::RemoveSlot, outcome)?;
        let removed = removed?;
        tracing::info!(slots = removed.len(), "the re-key of the MasterKey was abandoned");
        Ok(RekeyReport { generation, removed, ..RekeyReport::default() })
    }
}

/// The roster of slots that were proven: they were made in one step, so they have one.
fn only_roster(slots: &[Slot]) -> Result<Roster, RekeyError> {
    let first = slots.first().ok_or(RekeyError::NotPrepared)?;
    let others = slots.iter().filter(|slot| slot.roster != first.roster).map(|slot| slot.header.label.clone());
    match others.collect::<Vec<_>>() {
        labels if labels.is_empty() => Ok(first.roster.clone()),
        labels => Err(RekeyError::SlotsChanged { labels }),
    }
}

/// Removes what a switch had no time to remove, now that the roots are known to open by another slot. A failure is told by a standing warning.
pub(super) async fn remove_old_slots(seal: &Arc<Seal>, cluster: &Cluster, registry: Registry, master: MasterKey) -> (Registry, MasterKey) {
    let (seal, cluster, generation) = (Arc::clone(seal), cluster.id, cluster.master_generation);
    blocking(move || {
        let is_old = |slots: Vec<Slot>| slots.iter().any(|slot| slot.header.cluster == cluster && slot.header.generation < generation);
        let listed = seal.list().map(|listing| listing.slots).and_then(|listed| Ok(is_old(listed) || is_old(seal.pending()?)));
        if listed.unwrap_or(false) {
            match seal.remove_generations(..generation, (cluster, generation), (&master, registry.integrity())) {
                Ok(removed) => tracing::info!(slots = removed.len(), "slots of a MasterKey that was replaced are removed"),
                Err(error) => tracing::warn!(%error, "slots of a MasterKey that was replaced are still there"),
            }
        }
        (registry, master)
    })
    .await
}

/// What is to be done about slots of another generation than the one in force, if there are any.
pub(super) fn warnings_of(listing: &Listing, generation: Option<u32>) -> Vec<String> {
    let Some(generation) = generation else { return Vec::new() };
    let (mut newer, mut warnings) = (0, Vec::new());
    for Slot { header, .. } in &listing.slots {
        if header.generation < generation {
            warnings.push(format!(
                "slot `{}` ({}) is of a MasterKey that was replaced: the next unseal removes it, or `strongroom slot remove {}`",
                header.label, header.id, header.id
            ));
        }
        newer += usize::from(header.generation > generation);
    }
    if newer > 0 {
        warnings.push(format!("a re-key of the MasterKey is prepared ({newer} new slots): switch to it, or abandon it"));
    }
    warnings
}
