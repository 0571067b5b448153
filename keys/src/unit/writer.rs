//! The writer: it makes units durable, in groups that share one transaction with their audit records and the digests of their buckets.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use futures_channel::mpsc;
use futures_util::StreamExt;
use secret::{Bytes, scrubbed_polls};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{CommitError, Pending, UnitSender, WAITING_UNITS_MAX, record_header};
use crate::cache::Cache;
use crate::doubt::Doubt;
use crate::entropy::Randomness;
use crate::error::Error;
use crate::freshness::{Bucket, bucket_of, bucket_row, row_mac};
use crate::id::{ChainId, Generation, KeyVersion, Layer, OutboxSeq, RowId, TenantId};
use crate::port::{AuditSink, Batch, Change, OutboxEntry, Parent, StoreError};
use crate::record::Record;
use crate::row::{Header, ParentRef, Row};
use crate::sharing::{Telling, node_row, part_row};
use crate::shelf::Shelf;
use crate::wrap::WrapError;
use crate::{attributes, lifecycle};

/// Most units that share one commit.
pub const GROUP_UNITS_MAX: usize = 256;
/// After so many rows of a group the writer lets others have their turn: half a millisecond or so.
const ROWS_AT_ONCE: usize = 64;

/// What the writer works with.
pub struct WriterParts {
    /// Where rows go, and how they are believed.
    pub(crate) shelf: Shelf,
    /// Where records go once they are durable.
    pub audit: Arc<dyn AuditSink>,
    /// Salts.
    pub randomness: Arc<Randomness>,
    /// Purged before a change is acknowledged.
    pub cache: Arc<Cache>,
    /// The same for parent keys.
    pub parent: Arc<dyn Parent>,
    /// Grows when a tenant, a service or a resource has changed, so that grants are resolved again.
    pub policy_epoch: Arc<AtomicU64>,
    /// Grows when what edges are told may have changed.
    pub lease_epoch: Arc<AtomicU64>,
    /// Changes of what these two are about that had no clear end.
    pub(crate) doubt: Arc<Doubt>,
    /// Grows when a version above other keys was replaced.
    pub parents_epoch: Arc<AtomicU64>,
    /// The first outbox number that was never used.
    pub next: OutboxSeq,
}

/// A key of which something lies under a version of another key, on a core, of a destroyed one its attributes; or at an edge an object whose object key does.
fn is_wrapped_key(row: &Row) -> bool {
    match row.header.id.layer {
        Layer::L2 | Layer::L21 | Layer::L3 => row.material.is_some() || row.attributes.is_some(),
        Layer::L4 | Layer::AttributeKey => row.material.is_some(),
        _ => false,
    }
}

/// Does a change of an object concern a node that keeps it? A row of any other layer is kept by nobody, and one that nobody could know yet neither; and
/// where only the object key was wrapped anew, what is kept is still true.
fn is_felt(before: Option<&Row>, after: Option<&Row>) -> bool {
    let Some(before) = before.filter(|before| before.header.id.layer == Layer::L4) else { return false };
    let is_alike = |after: &Row| {
        let (one, other) = (&before.header, &after.header);
        (one.state, one.expiry) == (other.state, other.expiry) && (&before.attributes, &before.terms) == (&after.attributes, &after.terms)
    };
    !after.is_some_and(is_alike)
}

/// The Active versions of new chains that a unit makes itself, so that nobody can have replaced them.
fn made_by(changes: &[Change]) -> BTreeSet<ParentRef> {
    let made = changes.iter().filter_map(|change| match change {
        Change::Insert(row) => Some(&row.header)
            .filter(|header| (header.version, header.state) == (KeyVersion::FIRST, lifecycle::State::Active) && is_wrapped_key(row)),
        Change::Update { .. } | Change::Delete { .. } => None,
    });
    made.map(|header| ParentRef { chain: header.chain, version: header.version }).collect()
}

/// Lets the other tasks of this thread have their turn, between so many rows of a large group.
async fn give_way(rows: usize) {
    let mut is_due = rows.is_multiple_of(ROWS_AT_ONCE) && rows > 0;
    poll_fn(|context| {
        if std::mem::take(&mut is_due) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    })
    .await;
}

/// The one maker of durable changes on a node. It ends when the last [`UnitSender`] is gone.
pub struct Writer {
    parts: WriterParts,
    receiver: mpsc::Receiver<Pending>,
    buckets: BTreeMap<u16, (Option<Generation>, Bucket)>,
    /// What it has told the other nodes of the store, if there are any.
    telling: Option<Telling>,
    /// The last commit was sent to the store and nobody knows how it ended.
    is_unclear: bool,
}

/// Makes a writer and the sender that reaches it.
#[must_use]
pub fn writer(parts: WriterParts) -> (UnitSender, Writer) {
    let (sender, receiver) = mpsc::channel(WAITING_UNITS_MAX);
    (UnitSender(sender), Writer { parts, receiver, buckets: BTreeMap::new(), telling: None, is_unclear: false })
}

/// A group under construction.
#[derive(Default)]
struct Group {
    rows: BTreeMap<RowId, Met>,
    /// Whose changes they are.
    units: Vec<Pending>,
    /// Chains of parents in which a version comes or changes its state.
    chains: BTreeSet<ChainId>,
}

/// What the group does to one row.
struct Met {
    /// The row before the group.
    before: Option<Box<Row>>,
    /// Which unit's which change is the last one.
    last: (usize, usize),
}

impl Group {
    /// Takes in a unit, and the rows that its changes are the first to meet.
    fn join(&mut self, unit: Pending, first: Vec<(RowId, Met)>) {
        self.rows.extend(first);
        for (place, change) in unit.changes.iter().enumerate() {
            let before = self.rows.get(&change.id()).and_then(|met| met.before.as_ref()).map(|row| row.header.state);
            let replaces =
                |row: &&Row| matches!(row.header.id.layer, Layer::Ivk | Layer::L2 | Layer::L21) && before != Some(row.header.state);
            self.chains.extend(change.row().filter(replaces).map(|row| row.header.chain));
            self.rows.entry(change.id()).and_modify(|met| met.last = (self.units.len(), place));
        }
        self.units.push(unit);
    }

    fn after(&self, met: &Met) -> Option<&Row> {
        let (unit, place) = met.last;
        self.units[unit].changes[place].row()
    }

    /// Every row, as it was before the group and as it is after it.
    fn rows(&self) -> impl Iterator<Item = (RowId, Option<&Row>, Option<&Row>)> {
        self.rows.iter().map(|(id, met)| (*id, met.before.as_deref(), self.after(met)))
    }

    /// Whose rows it means to change; buckets are the appliance's own. What a changed row takes the place of is not asked: had it another owner, it would be
    /// the wrong one.
    fn tenants(&self) -> Vec<TenantId> {
        let owners = self.rows().filter_map(|(_, before, after)| after.or(before)).map(|row| row.header.owner.tenant);
        owners.chain([TenantId::SYSTEM]).collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn changes(&self) -> impl Iterator<Item = Change> {
        self.rows().filter_map(|(id, before, after)| {
            let expected = before.map(|row| row.header.generation);
            match after {
                Some(row) => Some(change_of(expected, row.clone())),
                None => expected.map(|expected| Change::Delete { id, expected }),
            }
        })
    }
}

/// How a group finds out whether a row that a unit inserts is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inserts {
    /// The store refuses the whole group then. An identifier is fresh, and a name was looked up when it was claimed, so that is rare.
    Tried,
    /// Each is looked up.
    LookedUp,
}

impl Writer {
    /// Commits group after group until every sender is gone.
    pub async fn run(mut self) {
        while let Some(first) = self.receiver.next().await {
            let mut pending = vec![first];
            while pending.len() < GROUP_UNITS_MAX {
                let Ok(next) = self.receiver.try_recv() else { break };
                pending.push(next);
            }
            self.write(pending).await;
        }
    }

    async fn write(&mut self, pending: Vec<Pending>) {
        let next = self.parts.next;
        let mut group = self.group(pending, Inserts::Tried).await;
        let mut outcome = self.commit(&group).await;
        if matches!(outcome, Err(CommitError::Conflict { .. })) {
            // Nothing of it is stored, the outbox numbers neither. Whose change it was that did not fit is found by looking at every row.
            self.parts.next = next;
            self.give_up(&group);
            group = self.group(group.units, Inserts::LookedUp).await;
            outcome = self.commit(&group).await;
        }
        match outcome {
            Ok(()) => {}
            Err(CommitError::Conflict { .. }) => self.give_up(&group),
            Err(_) => self.leave_open(&group),
        }
        for unit in group.units {
            answer(unit, outcome.clone());
        }
    }

    /// Whatever the store holds now, what is in memory may not be it.
    fn give_up(&mut self, group: &Group) {
        self.buckets.clear();
        self.telling = None;
        self.let_go(group);
    }

    /// The same while the store does not answer. Grants stay what they were until it does: nobody was told that they have changed, and resolving them
    /// anew would refuse everybody for as long as it is away.
    fn leave_open(&mut self, group: &Group) {
        self.buckets.clear();
        self.telling = None;
        self.let_go_of_keys(group);
        if std::mem::take(&mut self.is_unclear) {
            self.parts.doubt.begin(is_policy(group), changes_leases(group));
        }
    }

    /// The store has answered, so that it is decided what became of a change before.
    fn end_doubt(&self) {
        self.parts.doubt.end(&self.parts.policy_epoch, &self.parts.lease_epoch);
    }

    /// Joins the units whose expectations hold; the others are answered.
    async fn group(&self, pending: Vec<Pending>, inserts: Inserts) -> Group {
        let mut group = Group::default();
        for mut unit in pending {
            let replaced = std::mem::take(&mut unit.replaced);
            match self.admit(&group, &unit.changes, replaced, inserts).await {
                Ok(first) => group.join(unit, first),
                Err(error) => {
                    if matches!(error, CommitError::Conflict { .. }) {
                        // It may have been made from what is not so any more.
                        self.end_doubt();
                    }
                    answer(unit, Err(error));
                }
            }
        }
        group
    }

    /// Do all expectations of a unit hold on top of the units before it? Returns the rows that it is the first to change.
    async fn admit(
        &self,
        group: &Group,
        changes: &[Change],
        mut replaced: BTreeMap<RowId, Box<Row>>,
        inserts: Inserts,
    ) -> Result<Vec<(RowId, Met)>, CommitError> {
        self.parts.audit.ready().map_err(|error| CommitError::Unavailable { what: error.to_string() })?;
        let (mut first, made, mut protects) = (Vec::new(), made_by(changes), None);
        for (number, change) in changes.iter().enumerate() {
            give_way(number).await;
            let id = change.id();
            let is = match group.rows.get(&id) {
                Some(met) => group.after(met).map(|row| row.header.generation),
                None => {
                    let met = self.before(change, replaced.remove(&id), inserts).await?;
                    let generation = met.before.as_ref().map(|row| row.header.generation);
                    first.push((id, met));
                    generation
                }
            };
            // A row that does not grow was made from one that is older than what the unit staged of it before.
            let grows = change.row().is_none_or(|row| change.expected().is_none_or(|expected| row.header.generation > expected));
            if is != change.expected() || !grows {
                return Err(CommitError::Conflict { id });
            }
            let before = first.last().filter(|(at, _)| *at == id).and_then(|(_, met)| met.before.as_ref());
            let comes_under = |row: &&Row| is_wrapped_key(row) && before.is_none_or(|before| before.header.parent != row.header.parent);
            let is_asked = |row: &&Row| protects != Some(row.header.parent) && !made.contains(&row.header.parent);
            if let Some(row) = change.row().filter(comes_under).filter(is_asked) {
                self.must_lie_under_an_active_parent(group, row).await?;
                protects = Some(row.header.parent);
            }
        }
        Ok(first)
    }

    /// A key comes under a version that is Active at its commit, not only when it was wrapped: else a rotation in between would leave it under one that
    /// is taken for left. A unit that loses that race is done again, and then wraps under the newer version.
    async fn must_lie_under_an_active_parent(&self, group: &Group, row: &Row) -> Result<(), CommitError> {
        let Header { id, parent, .. } = row.header;
        if group.chains.contains(&parent.chain) {
            return Err(CommitError::Conflict { id });
        }
        match self.parts.parent.must_protect(parent).await {
            Ok(()) => Ok(()),
            Err(WrapError::Parent { .. } | WrapError::Replaced { .. }) => Err(CommitError::Conflict { id }),
            Err(error) => Err(CommitError::Unavailable { what: error.to_string() }),
        }
    }

    /// The row that a change meets in the store: the one that its unit says it replaces, unless a newer one was seen. The store refuses the group if
    /// it holds another, and nobody says what is replaced when the units are looked at again.
    async fn before(&self, change: &Change, replaced: Option<Box<Row>>, inserts: Inserts) -> Result<Met, CommitError> {
        let (shelf, last) = (&self.parts.shelf, (0, 0));
        let is_it =
            |row: &Row| Some(row.header.generation) == change.expected() && shelf.seen.is_current(row.header.id, row.header.generation);
        if let Some(row) = replaced.filter(|row| is_it(row)) {
            return Ok(Met { before: Some(row), last });
        }
        if inserts == Inserts::Tried && change.expected().is_none() && !shelf.seen.knows(change.id()) {
            return Ok(Met { before: None, last });
        }
        let before = shelf.row(change.id()).await.map_err(|error| CommitError::Unavailable { what: error.to_string() })?;
        Ok(Met { before: before.map(Box::new), last })
    }

    async fn commit(&mut self, group: &Group) -> Result<(), CommitError> {
        if group.units.iter().all(|unit| unit.changes.is_empty() && unit.records.is_empty()) {
            return Ok(());
        }
        let mut changes: Vec<Change> = group.changes().collect();
        let failed = |error: Error| CommitError::Unavailable { what: error.to_string() };
        let mut own = scrubbed_polls(self.bucket_changes(group)).await.map_err(failed)?;
        own.extend(self.tell(group).await.map_err(failed)?);
        changes.extend_from_slice(&own);
        let outbox = self.number(group.units.iter().flat_map(|unit| &unit.records));
        let settled = Some(self.parts.audit.settled());
        let leaving: Vec<RowId> = group.rows().filter(|(_, _, after)| after.is_none()).map(|(id, _, _)| id).collect();
        leaving.iter().for_each(|id| self.parts.shelf.seen.leave(*id));
        let tenants = group.tenants();
        let committed = self.parts.shelf.store.commit_within(&tenants, Batch { changes, outbox: outbox.clone(), settled }).await;
        if committed.is_err() {
            leaving.iter().for_each(|id| self.parts.shelf.seen.stay(*id));
        }
        self.is_unclear = !matches!(committed, Ok(()) | Err(StoreError::Conflict { .. } | StoreError::Full { .. }));
        committed.map_err(unavailable)?;
        self.end_doubt();
        self.remember(group.rows().map(|(id, _, after)| (id, after)));
        self.remember(own.iter().map(|change| (change.id(), change.row())));
        let ivks = group.rows().filter_map(|(id, _, after)| after.filter(|_| id.layer == Layer::Ivk));
        ivks.for_each(|row| self.parts.shelf.registry.settle(&row.header));
        self.let_go(group);
        // The records are durable in the outbox. If the log cannot take them now it says so by `ready`, and takes them at its next start.
        let _logged_later = self.parts.audit.settle(&outbox);
        Ok(())
    }

    /// Outbox numbers are never reused, not even after a failed commit that may yet turn out to be durable.
    fn number<'r>(&mut self, records: impl Iterator<Item = &'r Record>) -> Vec<OutboxEntry> {
        let mut number = |record: &Record| {
            let seq = self.parts.next;
            self.parts.next = OutboxSeq(seq.0 + 1);
            OutboxEntry { seq, record: *record }
        };
        records.map(&mut number).collect()
    }

    /// The buckets of all rows of the group, with old rows counted out and new ones in.
    async fn bucket_changes(&mut self, group: &Group) -> Result<Vec<Change>, Error> {
        let registry = Arc::clone(&self.parts.shelf.registry);
        let mut touched = BTreeMap::new();
        for (place, (id, met)) in group.rows.iter().enumerate() {
            give_way(place).await;
            let Some(number) = bucket_of(registry.integrity(), *id) else { continue };
            if let std::collections::btree_map::Entry::Vacant(entry) = touched.entry(number) {
                entry.insert(self.bucket(number).await?);
            }
            let (_, bucket) = touched.get_mut(&number).expect("just inserted");
            met.before.iter().for_each(|row| bucket.subtract(&row_mac(registry.integrity(), row)));
            group.after(met).into_iter().for_each(|row| bucket.add(&row_mac(registry.integrity(), row)));
        }
        let mut changes = Vec::with_capacity(touched.len());
        for (number, (generation, mut bucket)) in touched {
            bucket.seq += 1;
            let row = self.seal_own(self.bucket_id(number), generation, &bucket).await?;
            self.buckets.insert(number, (Some(row.header.generation), bucket));
            changes.push(change_of(generation, row));
        }
        Ok(changes)
    }

    async fn bucket(&self, number: u16) -> Result<(Option<Generation>, Bucket), Error> {
        if let Some(known) = self.buckets.get(&number) {
            return Ok(*known);
        }
        self.own(self.bucket_id(number)).await
    }

    /// The record of a bucket, or of this node's part of it.
    fn bucket_id(&self, number: u16) -> RowId {
        self.parts.shelf.sharing.as_ref().map_or_else(|| bucket_row(number), |sharing| part_row(number, sharing.own))
    }

    /// What is told to the other nodes of the store with this group.
    async fn tell(&mut self, group: &Group) -> Result<Option<Change>, Error> {
        let Some(sharing) = self.parts.shelf.sharing.clone() else { return Ok(None) };
        let (id, now) = (node_row(sharing.own), sharing.pace.now());
        // The first time, to join, it is a change like any other.
        if group.rows.contains_key(&id) {
            return Ok(None);
        }
        let mut telling = match self.telling.take() {
            Some(telling) => telling,
            None => self.own(id).await.map(|(generation, told)| Telling::new(generation, told, now))?,
        };
        let before = telling.generation;
        telling.next(group.rows().filter(|(_, before, after)| is_felt(*before, *after)).map(|(id, _, _)| id), now);
        let row = self.seal_own(id, before, &telling.told).await?;
        self.telling = Some(telling);
        Ok(Some(change_of(before, row)))
    }

    /// A record that only the writer changes: its generation, and what it holds.
    async fn own<T: Default + DeserializeOwned>(&self, id: RowId) -> Result<(Option<Generation>, T), Error> {
        let Some(row) = self.parts.shelf.row(id).await? else {
            return Ok((None, T::default()));
        };
        let registry = &self.parts.shelf.registry;
        let blob = row.attributes.as_deref().ok_or_else(|| Error::corrupt("it has no content", row.header.id))?;
        let content = self.parts.parent.unwrap(row.header.parent, &[(registry.attributes_binding(&row.header), blob)]).await?;
        let content = content[0].expose(attributes::decode).map_err(|error| Error::corrupt(&error.to_string(), row.header.id))?;
        Ok((Some(row.header.generation), content))
    }

    async fn seal_own<T: Serialize>(&self, id: RowId, generation: Option<Generation>, content: &T) -> Result<Row, Error> {
        let mut header = record_header(id, self.parts.shelf.registry.records(), TenantId::SYSTEM);
        header.generation = generation.map_or(Generation::FIRST, Generation::next);
        header.attributes_seq = header.generation.0;
        let content = attributes::encode(content);
        let content = Bytes::init_with(content.len(), |bytes| bytes.copy_from_slice(&content))?;
        let binding = self.parts.shelf.registry.attributes_binding(&header);
        let blob = self.parts.parent.wrap(header.parent, &[(binding, &content)]).await?.pop();
        Ok(self.parts.shelf.registry.seal_row(header, None, blob, Vec::new()))
    }

    /// Marks what was just made durable as seen, so that nothing older is believed any more.
    fn remember<'r>(&self, rows: impl Iterator<Item = (RowId, Option<&'r Row>)>) {
        for (id, after) in rows {
            match after {
                // The store has just accepted the row on top of what had been seen, so it is not older than that.
                Some(row) => drop(self.parts.shelf.seen.check(row)),
                None => self.parts.shelf.seen.forget(id),
            }
        }
    }

    /// Lets go of what was kept of the changed rows; precedes the answer.
    fn let_go(&self, group: &Group) {
        // First: who finds that a parent was replaced shall not find the record that named it a second time.
        if is_policy(group) {
            self.parts.policy_epoch.fetch_add(1, Ordering::AcqRel);
        }
        if changes_leases(group) {
            self.parts.lease_epoch.fetch_add(1, Ordering::AcqRel);
        }
        self.let_go_of_keys(group);
    }

    fn let_go_of_keys(&self, group: &Group) {
        for (id, before, after) in group.rows() {
            self.parts.cache.purge(id);
            // Nothing else is a parent, so nothing else is kept extracted.
            let parents = before.into_iter().chain(after).filter(|_| matches!(id.layer, Layer::L2 | Layer::L21));
            for row in parents {
                self.parts.parent.forget(ParentRef { chain: row.header.chain, version: row.header.version });
            }
        }
        let is_active = |row: &Row| row.header.state == lifecycle::State::Active;
        let is_replaced = |(id, before, after): (RowId, Option<&Row>, Option<&Row>)| {
            matches!(id.layer, Layer::Ivk | Layer::L2 | Layer::L21) && before.is_some_and(is_active) && !after.is_some_and(is_active)
        };
        if group.rows().any(is_replaced) {
            self.parts.parents_epoch.fetch_add(1, Ordering::AcqRel);
        }
    }
}

/// Do grants follow from a row of it?
fn is_policy(group: &Group) -> bool {
    group.rows.keys().any(|id| matches!(id.layer, Layer::Tenant | Layer::Service | Layer::EdgeGroup | Layer::Resource))
}

/// Do edges' leases? The state of an L3 is part of them too; a new one that is in one comes with a change of its service.
fn changes_leases(group: &Group) -> bool {
    is_policy(group) || group.rows().any(|(id, before, _)| id.layer == Layer::L3 && before.is_some())
}

fn answer(Pending { announced, done, .. }: Pending, outcome: Result<(), CommitError>) {
    // What is told of has ended.
    drop(announced);
    // A connection that went away does not wait for its answer any more; the change stays made.
    let _gone = done.send(outcome);
}

fn unavailable(error: StoreError) -> CommitError {
    match error {
        StoreError::Conflict { id } => CommitError::Conflict { id },
        other => CommitError::Unavailable { what: other.to_string() },
    }
}

fn change_of(expected: Option<Generation>, row: Row) -> Change {
    match expected {
        None => Change::Insert(row),
        Some(expected) => Change::Update { expected, row },
    }
}
