//! Several nodes on one keystore: what each tells the others of its commits, and for how long what a node keeps of rows may be used.
//!
//! Rows are changed by compare-and-swap, so what must be decided once (a name, a share of a usage limit, a block of IVs, the next generation of a row)
//! is decided by the store, and needs nothing of this. What nodes need besides lies in records of each one's own, which nobody else writes, so that they
//! never conflict: its part of the digest of each bucket, whose sum over all nodes is the bucket's, and what it tells: with each commit, in its
//! transaction, which objects were changed of late. Every other node reads that again and again ([`Vault::hear`]), and lets go of what it kept of them.
//! One that has not heard the others for [`HEARD_FOR`] uses nothing that it kept: it asks the store again, and if that does not answer, neither
//! does the node.
//!
//! **Why no notifications.** A node that hears nothing cannot tell silence from a lost connection, so it would have to ask again and again all the same; and not every store has them.
//!
//! **Why a node is told that it shares.** What a lone node writes and asks is less, and it may go on from memory while its store is away. A store
//! that has once been shared says so by the nodes' records, and opens for nobody who does not know of it ([`Vault::join`]).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::lock::Mutex as TurnLock;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::budget::RowHeader;
use crate::error::Error;
use crate::freshness::BUCKETS;
use crate::id::{Generation, Layer, RowId, TenantId};
use crate::policy::Action;
use crate::port::{Change, Pace, Query};
use crate::record::{Outcome, Record};
use crate::row::Row;
use crate::vault::Vault;

/// So long a node uses what it keeps of rows after it has asked what the others have changed.
pub const HEARD_FOR: Duration = Duration::from_secs(2);
/// Most nodes of a keystore, with those that are gone for ever.
pub const NODES_MAX: usize = 64;
/// Most changed objects that a node tells of; who has not heard of more lets go of everything.
const TOLD_MAX: usize = 256;
/// So long they are told: who has not heard anything for so long keeps nothing that it uses.
const TOLD_FOR: Duration = Duration::from_secs(4);
/// In the place of a bucket's number: a node's own record.
const NODE: u16 = u16::MAX;

/// A node among those that share a keystore: the end of its audit log's identifier, which is random.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeTag([u8; 14]);

impl NodeTag {
    /// Of a node whose audit log has this identifier.
    #[must_use]
    pub fn of(log: Uuid) -> Self {
        Self(*log.as_bytes().last_chunk().expect("a UUID has 16 bytes"))
    }
}

fn numbered(number: u16, NodeTag(tag): NodeTag) -> RowId {
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    bytes[2..].copy_from_slice(&tag);
    RowId::new(Layer::Bucket, Uuid::from_bytes(bytes))
}

/// The id of a node's part of a bucket: `bucket u16 | node 14`. That of a node which shares with nobody is [`crate::freshness::bucket_row`].
#[must_use]
pub fn part_row(bucket: u16, node: NodeTag) -> RowId {
    numbered(bucket, node)
}

/// The id of what a node tells of its commits: `0xFFFF | node 14`, so that these come before all parts of buckets in a search.
#[must_use]
pub fn node_row(node: NodeTag) -> RowId {
    numbered(NODE, node)
}

fn number_of(id: RowId) -> Option<(u16, NodeTag)> {
    let (number, tag) = id.uuid.as_bytes().split_first_chunk().expect("a UUID has 16 bytes");
    let tag = NodeTag(tag.try_into().expect("14 are left"));
    (id.layer == Layer::Bucket && id.uuid.as_u128() >= u128::from(BUCKETS)).then_some((u16::from_be_bytes(*number), tag))
}

/// The node that tells by this record.
fn node_of(id: RowId) -> Option<NodeTag> {
    number_of(id).filter(|(number, _)| *number == NODE).map(|(_, tag)| tag)
}

/// The bucket of which this is a record, or a part.
pub(crate) fn bucket_number(id: RowId) -> Option<u16> {
    let whole = u16::try_from(id.uuid.as_u128()).ok().filter(|_| id.layer == Layer::Bucket);
    whole.or_else(|| number_of(id).map(|(number, _)| number)).filter(|number| *number < BUCKETS)
}

/// Those that may be parts of a bucket lie below this id and above the next lower bucket's.
pub(crate) fn above_parts(bucket: u16) -> RowId {
    numbered(bucket + 1, NodeTag([0; 14]))
}

/// The sealed content of a node's record: which objects it has changed of late.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Told {
    /// What was changed in later generations of the record than this one, is in `changed`.
    after: u64,
    /// Generations of the record, oldest first, and what was changed with them.
    changed: VecDeque<(u64, RowId)>,
}

impl Told {
    /// Adds what is changed with this generation of the record.
    fn add(&mut self, generation: Generation, changed: impl Iterator<Item = RowId>) {
        self.changed.extend(changed.map(|id| (generation.0, id)));
        if let Some(surplus) = self.changed.len().checked_sub(TOLD_MAX + 1) {
            self.forget(self.changed[surplus].0);
        }
    }

    /// Drops what came with this generation of the record or before it.
    fn forget(&mut self, until: u64) {
        self.after = self.after.max(until);
        self.changed.retain(|(generation, _)| *generation > until);
    }

    /// What was changed after this generation of the record; `None`: nobody knows any more.
    fn since(&self, heard: Generation) -> Option<impl Iterator<Item = RowId>> {
        let later = self.changed.iter().filter(move |(generation, _)| *generation > heard.0).map(|(_, id)| *id);
        (heard.0 >= self.after).then_some(later)
    }
}

/// What a node has told, as its writer knows it.
#[derive(Debug, Default)]
pub(crate) struct Telling {
    pub(crate) generation: Option<Generation>,
    pub(crate) told: Told,
    /// When what was told.
    times: VecDeque<(Duration, u64)>,
}

impl Telling {
    pub(crate) fn new(generation: Option<Generation>, told: Told, now: Duration) -> Self {
        let times = generation.into_iter().map(|generation| (now, generation.0)).collect();
        Self { generation, told, times }
    }

    /// What is told with the next generation of the record.
    pub(crate) fn next(&mut self, changed: impl Iterator<Item = RowId>, now: Duration) {
        let next = self.generation.map_or(Generation::FIRST, Generation::next);
        while let Some((_, generation)) = self.times.pop_front_if(|(time, _)| now.saturating_sub(*time) > TOLD_FOR) {
            self.told.forget(generation);
        }
        self.told.add(next, changed);
        self.times.push_back((now, next.0));
        self.generation = Some(next);
    }
}

/// A node's share in a keystore that others use too.
pub(crate) struct Sharing {
    pub(crate) own: NodeTag,
    pub(crate) pace: Arc<dyn Pace>,
    pub(crate) hearing: Arc<Hearing>,
    /// The record of each other node, as it was heard last.
    heard: Mutex<BTreeMap<NodeTag, Generation>>,
    /// One at a time hears.
    turn: TurnLock<()>,
}

impl Sharing {
    pub(crate) fn new(own: NodeTag, pace: Arc<dyn Pace>) -> Self {
        let hearing = Hearing { pace: Arc::clone(&pace), until: AtomicU64::new(0), epoch: AtomicU64::new(0) };
        Self { own, pace, hearing: Arc::new(hearing), heard: Mutex::default(), turn: TurnLock::new(()) }
    }

    fn heard(&self) -> MutexGuard<'_, BTreeMap<NodeTag, Generation>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// May what is kept of rows be used? It is asked at each use.
pub(crate) struct Hearing {
    pace: Arc<dyn Pace>,
    /// In nanoseconds of the pace.
    until: AtomicU64,
    /// Grows before anything is let go of because of others.
    epoch: AtomicU64,
}

impl std::fmt::Debug for Hearing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hearing").field("until", &self.until).field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

impl Hearing {
    pub(crate) fn is_fresh(&self) -> bool {
        nanos(self.pace.now()) < self.until.load(Ordering::Acquire)
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    fn heard(&self, asked: Duration) {
        self.until.fetch_max(nanos(asked + HEARD_FOR), Ordering::AcqRel);
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Vault {
    /// Takes part in the keystore: in one that is shared by a record of the node's own, after it has heard the others; in another one by finding that it is not.
    ///
    /// # Errors
    /// [`Error::Denied`] if others share the keystore and this node does not know, or if they are too many; the store's.
    pub async fn join(&self) -> Result<(), Error> {
        let Some(sharing) = &self.shelf.sharing else {
            return match self.nodes(1).await?.is_empty() {
                true => Ok(()),
                false => Err(Error::Denied { why: "several edges share this keystore: set edge.shared to true" }),
            };
        };
        let nodes = self.hear().await?;
        if nodes.contains(&sharing.own) {
            return Ok(());
        }
        if nodes.len() >= NODES_MAX {
            return Err(Error::Denied { why: "64 nodes have used this keystore, and no more may: use another database" });
        }
        let id = node_row(sharing.own);
        let mut telling = Telling::default();
        telling.next(std::iter::empty(), sharing.pace.now());
        let row = self.record_row(RowHeader { id, owner: TenantId::SYSTEM, expected: None }, &telling.told, Vec::new()).await?;
        let (time, session, action) = (self.now(), self.system, Action::JoinKeystore);
        let (object, generation) = (Some(id), Some(row.header.generation));
        let mut unit = self.begin(self.system);
        unit.record(Record { time, session, action, object, version: None, generation, outcome: Outcome::Success });
        unit.stage(Change::Insert(row));
        let _receipt = unit.commit().await?;
        Ok(())
    }

    /// Does any node share the keystore?
    ///
    /// # Errors
    /// The store's.
    pub async fn is_shared(&self) -> Result<bool, Error> {
        Ok(!self.nodes(1).await?.is_empty())
    }

    /// Hears what the other nodes have changed, and lets go of what is kept of it. Returns who shares the keystore; nobody, if this node is alone with it.
    ///
    /// # Errors
    /// The store's; [`Error::Corrupt`] if what one tells is damaged, gone or old. What is kept is used no longer than [`HEARD_FOR`] after the last time.
    pub async fn hear(&self) -> Result<BTreeSet<NodeTag>, Error> {
        let Some(sharing) = &self.shelf.sharing else { return Ok(BTreeSet::new()) };
        let _turn = sharing.turn.lock().await;
        let asked = sharing.pace.now();
        let known = sharing.heard().clone();
        // One more than there were, with this one.
        let nodes = self.nodes(known.len() + 2).await?;
        if let Some(lost) = known.keys().find(|node| !nodes.contains_key(node)) {
            return Err(Error::corrupt("the keystore has lost what a node tells the others", node_row(*lost)));
        }
        let (mut now, mut changed, mut is_all) = (BTreeMap::new(), BTreeSet::new(), false);
        for (node, row) in nodes.iter().filter(|(node, _)| **node != sharing.own) {
            let generation = row.header.generation;
            now.insert(*node, generation);
            if known.get(node) == Some(&generation) {
                continue;
            }
            let told: Told = self.content(row).await?;
            match known.get(node).and_then(|heard| told.since(*heard)) {
                Some(since) => changed.extend(since),
                None => is_all = true,
            }
        }
        if is_all || !changed.is_empty() {
            // First: what was read before this is kept by nobody who comes after it.
            sharing.hearing.epoch.fetch_add(1, Ordering::AcqRel);
        }
        match is_all {
            true => self.cache.keep_those(|_| false),
            false => changed.into_iter().for_each(|id| self.cache.purge(id)),
        }
        *sharing.heard() = now;
        sharing.hearing.heard(asked);
        Ok(nodes.into_keys().collect())
    }

    /// What the nodes tell that share the keystore.
    ///
    /// - `expected`: so many are looked for at first.
    async fn nodes(&self, expected: usize) -> Result<BTreeMap<NodeTag, Row>, Error> {
        let mut limit = expected;
        let page = loop {
            let query = Query { layer: Layer::Bucket, terms: Vec::new(), before: None, limit };
            let page = self.shelf.store.find(&query).await?;
            if page.len() < limit || limit > NODES_MAX || page.iter().any(|row| node_of(row.header.id).is_none()) {
                break page;
            }
            limit *= 2;
        };
        let mut nodes = BTreeMap::new();
        for hint in page {
            let Some(node) = node_of(hint.header.id) else { continue };
            let is_sound = self.shelf.registry.check_row(&hint).is_ok() && self.shelf.seen.check(&hint).is_ok();
            let row = if is_sound { hint } else { self.shelf.existing(hint.header.id).await? };
            nodes.insert(node, row);
        }
        Ok(nodes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::freshness::bucket_row;

    fn tag(number: u128) -> NodeTag {
        NodeTag::of(uuid::Builder::from_random_bytes(number.to_be_bytes()).into_uuid())
    }

    fn object(number: u128) -> RowId {
        RowId::new(Layer::L4, Uuid::from_u128(number))
    }

    fn ids(numbers: std::ops::Range<u128>) -> Vec<RowId> {
        numbers.map(object).collect()
    }

    #[test]
    fn records_of_buckets_and_nodes_are_told_apart() {
        for bucket in [0, 1, BUCKETS - 1] {
            for number in [0, 1, u128::MAX] {
                let part = part_row(bucket, tag(number));
                assert_eq!((bucket_number(part), node_of(part)), (Some(bucket), None));
                assert!(part < above_parts(bucket) && (bucket == 0 || part > above_parts(bucket - 1)));
                assert!(part < node_row(tag(number)));
            }
            assert_eq!((bucket_number(bucket_row(bucket)), node_of(bucket_row(bucket))), (Some(bucket), None));
        }
        assert_eq!((bucket_number(node_row(tag(7))), node_of(node_row(tag(7)))), (None, Some(tag(7))));
        assert_eq!(bucket_number(RowId::new(Layer::L4, Uuid::nil())), None);
        assert_ne!(tag(7), tag(8));
    }

    #[test]
    fn who_has_heard_a_part_hears_the_rest() {
        let mut told = Told::default();
        told.add(Generation(1), ids(0..2).into_iter());
        told.add(Generation(2), std::iter::empty());
        told.add(Generation(3), ids(2..3).into_iter());
        let since = |heard| told.since(Generation(heard)).map(Iterator::collect::<Vec<_>>);
        assert_eq!((since(0), since(1), since(2), since(3)), (Some(ids(0..3)), Some(ids(2..3)), Some(ids(2..3)), Some(vec![])));
    }

    #[test]
    fn who_has_missed_more_than_is_told_knows_it() {
        let mut told = Told::default();
        let many = TOLD_MAX as u128;
        told.add(Generation(1), ids(0..many).into_iter());
        assert_eq!(told.since(Generation(0)).map(Iterator::count), Some(TOLD_MAX));
        told.add(Generation(2), ids(0..1).into_iter());
        assert!(told.since(Generation(0)).is_none());
        assert_eq!(told.since(Generation(1)).map(Iterator::collect::<Vec<_>>), Some(ids(0..1)));
        // One commit alone may be too much to be told.
        told.add(Generation(3), ids(0..many + 1).into_iter());
        assert!(told.since(Generation(2)).is_none() && told.since(Generation(3)).is_some());
        assert!(told.changed.is_empty());
    }

    #[test]
    fn what_was_told_long_enough_is_told_no_more() {
        let mut telling = Telling::default();
        telling.next(ids(0..3).into_iter(), Duration::ZERO);
        telling.next(ids(3..5).into_iter(), TOLD_FOR);
        assert_eq!(telling.told.changed.len(), 5);
        telling.next(std::iter::empty(), TOLD_FOR + Duration::from_nanos(1));
        assert_eq!(telling.told.since(Generation(1)).map(Iterator::collect::<Vec<_>>), Some(ids(3..5)));
        assert!(telling.told.since(Generation(0)).is_none());
        assert_eq!(telling.generation, Some(Generation(3)));
        // After a restart of the node, what is stored is told as long once more.
        let mut again = Telling::new(telling.generation, telling.told.clone(), Duration::ZERO);
        again.next(std::iter::empty(), TOLD_FOR);
        assert_eq!(again.told.changed.len(), 2);
        again.next(std::iter::empty(), TOLD_FOR + Duration::from_nanos(1));
        assert!(again.told.changed.is_empty());
    }
}
