//! Shards that people give, one after the other, until a slot opens by them or counts from now on (C11, C12).
//!
//! They lie in locked memory for as long as it takes and no longer than [`COLLECT_WITHIN`]; a seal or a restart drops them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use keys::id::SessionId;
use seal::{Consent, Label, PlainShard, SlotId, Weighed};

use crate::node::{Authority, Node, RekeyError, RekeyStep, SlotError, UnsealError, blocking};

/// Shards of one slot are dropped so long after the first of them.
const COLLECT_WITHIN: Duration = Duration::from_secs(15 * 60);
/// What a wrong shard costs whoever gave it.
const WRONG_COSTS: Duration = Duration::from_secs(1);
/// No more wrong shards than this are looked at in [`WRONG_WITHIN`].
const WRONG_MAX: usize = 5;
const WRONG_WITHIN: Duration = Duration::from_secs(60);

/// What people have given so far.
#[derive(Default)]
pub(crate) struct Collecting {
    slots: BTreeMap<SlotId, Collection>,
    /// When shards were refused.
    wrong: VecDeque<Instant>,
}

struct Collection {
    of: Weighed,
    given: Vec<(Label, Arc<PlainShard>)>,
    since: Instant,
}

/// What became of a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Taken {
    /// More are wanted.
    Collecting,
    /// The node is open.
    Unsealed,
    /// The slot counts from now on.
    Listed,
    /// It was the last that a re-key waited for: the new MasterKey is in force.
    Rekeyed,
    /// The node is open, and would open by these.
    Verified,
}

/// How far a slot is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Progress {
    /// What the shard is of.
    pub of: Weighed,
    /// What became of it.
    pub taken: Taken,
    /// Whose shards were given.
    pub given: Vec<Label>,
    /// How many people's shards it takes.
    pub wants: usize,
}

/// Why a shard was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShardError {
    /// It is not one, or not of a slot that is here.
    #[error(transparent)]
    Wrong(#[from] seal::Error),
    /// Too many were wrong of late.
    #[error("{WRONG_MAX} shards were wrong within {} s: wait {seconds} s before giving another", WRONG_WITHIN.as_secs())]
    TooMany {
        /// How long, rounded up.
        seconds: u64,
    },
    /// Enough were given, but the node does not open.
    #[error(transparent)]
    Unseal(#[from] UnsealError),
    /// All were given, but the slot does not count.
    #[error(transparent)]
    Slots(#[from] SlotError),
    /// A new slot is put on record under a key of the open node.
    #[error("the slot is new, and the node is sealed: unseal it first, by the shards or devices of another slot")]
    Sealed,
    /// All were given, the slot counts, and the MasterKey was not replaced.
    #[error("the slot counts, but the MasterKey is still the one of before: {0}")]
    Rekey(#[from] RekeyError),
    /// This node has no slots.
    #[error("an edge has no slots: give the shard to its core")]
    NoSlots,
}

impl Collecting {
    /// How long until another wrong shard is looked at.
    fn pause(&mut self, now: Instant) -> Option<Duration> {
        self.wrong.retain(|at| now.duration_since(*at) < WRONG_WITHIN);
        let oldest = self.wrong.front().filter(|_| self.wrong.len() >= WRONG_MAX)?;
        Some((*oldest + WRONG_WITHIN).saturating_duration_since(now))
    }

    /// Drops what was given for slots whose time is over.
    fn drop_over(&mut self, now: Instant) {
        self.slots.retain(|_, collection| now.saturating_duration_since(collection.since) < COLLECT_WITHIN);
    }

    /// Takes a shard in; says whose were given for its slot.
    ///
    /// Once all are there the same one may come again: what they were given for was not done.
    fn take(&mut self, of: &Weighed, shard: PlainShard, now: Instant) -> Result<Vec<Label>, seal::Error> {
        let fresh = || Collection { of: of.clone(), given: Vec::new(), since: now };
        let collection = self.slots.entry(of.slot).or_insert_with(fresh);
        match collection.given.iter().any(|(keeper, _)| *keeper == of.keeper) {
            false => collection.given.push((of.keeper.clone(), Arc::new(shard))),
            true if collection.given.len() < wants(of) => return Err(seal::Error::ShardTwice { keeper: of.keeper.clone() }),
            true => {}
        }
        Ok(collection.given.iter().map(|(keeper, _)| keeper.clone()).collect())
    }

    fn shards(&self, slot: SlotId) -> Vec<Arc<PlainShard>> {
        let given = self.slots.get(&slot).map(|collection| collection.given.iter());
        given.into_iter().flatten().map(|(_, shard)| Arc::clone(shard)).collect()
    }
}

/// How many people it takes: all to have the slot count, else as many as its devices leave.
fn wants(of: &Weighed) -> usize {
    if of.is_pending { of.people.len() } else { usize::from(of.threshold).saturating_sub(of.devices).max(1) }
}

impl Node {
    fn collecting(&self) -> MutexGuard<'_, Collecting> {
        self.collecting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The shards that were given to open slots.
    pub(super) fn given_shards(&self) -> Vec<Arc<PlainShard>> {
        let collecting = self.collecting();
        let opening = collecting.slots.iter().filter(|(_, collection)| !collection.of.is_pending);
        opening.flat_map(|(slot, _)| collecting.shards(*slot)).collect()
    }

    /// Drops the shards that were given to open slots, or all.
    pub(super) fn drop_shards(&self, all: bool) {
        self.collecting().slots.retain(|_, collection| !all && collection.of.is_pending);
    }

    /// What slots wait for, by their collections.
    #[must_use]
    pub(crate) fn progress(&self) -> Vec<Progress> {
        let collecting = self.collecting();
        let each = collecting.slots.values().map(|Collection { of, given, .. }| {
            let given = given.iter().map(|(keeper, _)| keeper.clone()).collect();
            Progress { of: of.clone(), taken: Taken::Collecting, given, wants: wants(of) }
        });
        each.collect()
    }

    /// Takes a person's shard: to open the node, to have a new slot count, or, while the node is open, to see that it would open.
    ///
    /// # Errors
    /// [`ShardError`]; a wrong shard takes a second to be told, and after five within a minute none is looked at.
    pub(crate) async fn submit_shard(self: Arc<Self>, session: SessionId, text: &[u8]) -> Result<Progress, ShardError> {
        let Some(seal) = self.seal_slots().cloned() else { return Err(ShardError::NoSlots) };
        if let Some(pause) = self.collecting().pause(Instant::now()) {
            return Err(ShardError::TooMany { seconds: pause.as_secs() + 1 });
        }
        let (of, shard) = match self.weigh(&seal, text).await {
            Ok(weighed) => weighed,
            Err(error) => {
                self.collecting().wrong.push_back(Instant::now());
                tokio::time::sleep(WRONG_COSTS).await;
                return Err(error.into());
            }
        };
        let wants = wants(&of);
        if of.is_pending && self.open().is_none() {
            return Err(ShardError::Sealed);
        }
        let given = self.collecting().take(&of, shard, Instant::now())?;
        if given.len() == 1 {
            tokio::spawn(Arc::clone(&self).drop_late());
        }
        let taken = match given.len() < wants {
            true => Taken::Collecting,
            false if of.is_pending => {
                self.admit(of.slot).await?;
                if self.expected().await.generation.is_some_and(|generation| of.generation > generation) {
                    self.switch_if_all_count(session).await?
                } else {
                    Taken::Listed
                }
            }
            false if self.open().is_some() => {
                let (name, expected, shards) = (of.slot.to_string(), self.expected().await, self.collecting().shards(of.slot));
                blocking(move || seal.verify(&name, expected, Consent { shards: &shards, ..Consent::default() })).await?;
                self.collecting().slots.remove(&of.slot);
                Taken::Verified
            }
            false => {
                self.unseal(session, None).await?;
                Taken::Unsealed
            }
        };
        Ok(Progress { of, taken, given, wants })
    }

    /// Has a slot count that waited for its shards.
    async fn admit(&self, slot: SlotId) -> Result<(), ShardError> {
        let shards = self.collecting().shards(slot);
        self.change_slots(Authority::Before, move |job| job.seal.admit(slot, &shards, job.registry.integrity())).await?;
        self.collecting().slots.remove(&slot);
        Ok(())
    }

    /// Ends a re-key that has waited for this slot, unless it waits for another one too. Those who had it prepared were asked then.
    async fn switch_if_all_count(self: &Arc<Self>, session: SessionId) -> Result<Taken, ShardError> {
        match self.rekey_master(session, Authority::Before, RekeyStep::Switch).await {
            Ok(_) => Ok(Taken::Rekeyed),
            Err(RekeyError::Waiting { .. }) => Ok(Taken::Listed),
            Err(error) => Err(error.into()),
        }
    }

    async fn weigh(&self, seal: &Arc<seal::Seal>, text: &[u8]) -> Result<(Weighed, PlainShard), seal::Error> {
        let shard = PlainShard::parse(text)?;
        let (seal, cluster) = (Arc::clone(seal), self.identity.cluster);
        blocking(move || seal.weigh(&shard, cluster).map(|of| (of, shard))).await
    }

    /// Drops what is given for a slot now, once its time is over.
    async fn drop_late(self: Arc<Self>) {
        tokio::time::sleep(COLLECT_WITHIN).await;
        self.collecting().drop_over(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weighed(is_pending: bool, threshold: u8, devices: usize) -> Weighed {
        let label = |text: &str| text.parse::<Label>().expect("a label");
        Weighed {
            slot: SlotId::from_bytes([1; 16]),
            label: label("board"),
            keeper: label("anna"),
            threshold,
            generation: 1,
            people: vec![label("anna"), label("ben"), label("clara")],
            devices,
            is_pending,
        }
    }

    #[test]
    fn all_prove_a_slot_and_as_many_open_it_as_devices_leave() {
        assert_eq!(wants(&weighed(true, 2, 0)), 3);
        assert_eq!(wants(&weighed(false, 2, 0)), 2);
        assert_eq!(wants(&weighed(false, 3, 1)), 2);
        assert_eq!(wants(&weighed(false, 2, 2)), 1);
    }

    /// The text of a shard that is nobody's secret.
    fn shard(line: usize) -> PlainShard {
        let text = include_str!("../../../seal/tests/golden/shards-v1.txt").lines().nth(line).expect("there are five");
        PlainShard::parse(text.as_bytes()).expect("a whole shard")
    }

    #[test]
    fn shards_are_dropped_fifteen_minutes_after_the_first_of_their_slot() {
        let (mut collecting, begun) = (Collecting::default(), Instant::now());
        let after = |minutes: u64| begun + Duration::from_secs(minutes * 60);
        let of = |keeper: &str| Weighed { keeper: keeper.parse().expect("a label"), ..weighed(false, 3, 0) };
        let other = Weighed { slot: SlotId::from_bytes([2; 16]), ..weighed(true, 2, 0) };
        collecting.take(&of("anna"), shard(0), begun).expect("it is the first");
        collecting.take(&other, shard(1), after(10)).expect("it is the first");
        // A later one does not prolong it.
        assert_eq!(collecting.take(&of("ben"), shard(2), after(14)).expect("it is another").len(), 2);
        let given = collecting.shards(SlotId::from_bytes([1; 16]));
        let kept: Vec<_> = given.iter().map(Arc::downgrade).collect();
        drop(given);
        collecting.drop_over(after(15) - Duration::from_millis(1));
        assert_eq!(collecting.slots.len(), 2);
        assert!(kept.iter().all(|shard| shard.strong_count() == 1));
        collecting.drop_over(after(15));
        assert_eq!(collecting.slots.keys().copied().collect::<Vec<_>>(), [other.slot]);
        assert!(kept.iter().all(|shard| shard.strong_count() == 0), "nobody else holds them");
        // The one who was first begins again, and the time with them.
        assert_eq!(collecting.take(&of("anna"), shard(0), after(16)).expect("it was dropped").len(), 1);
        collecting.drop_over(after(25));
        assert_eq!(collecting.slots.keys().copied().collect::<Vec<_>>(), [SlotId::from_bytes([1; 16])]);
        collecting.drop_over(after(31));
        assert!(collecting.slots.is_empty());
    }

    #[test]
    fn the_sixth_wrong_shard_within_a_minute_waits() {
        let (mut collecting, now) = (Collecting::default(), Instant::now());
        for second in 0..4 {
            collecting.wrong.push_back(now + Duration::from_secs(second));
        }
        assert_eq!(collecting.pause(now + Duration::from_secs(4)), None);
        collecting.wrong.push_back(now + Duration::from_secs(4));
        assert_eq!(collecting.pause(now + Duration::from_secs(10)), Some(Duration::from_secs(50)));
        assert_eq!(collecting.pause(now + Duration::from_secs(60)), None);
    }
}
