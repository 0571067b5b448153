//! What stands behind the domain's ports in a simulation: a transactional store with faults, a log, clocks, randomness.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use cipher::derive::Stretch;
use cipher::pair::{self, Pair, PairKind};
use keys::id::{ChainId, Generation, KeyVersion, Layer, OutboxSeq, RowId, Time};
use keys::lifecycle::State;
use keys::port::{
    AuditSink, AuditUnavailable, Batch, Clock, Entropy, EntropyError, Keystore, OutboxEntry, Pace, PairError, PairMaker, Query, StoreError,
    StretchError, Stretcher,
};
use keys::record::{Record, SessionRecord};
use keys::row::{ParentRef, Row};
use secret::Bytes;
use uuid::Uuid;

use super::executor::pause;
use super::plant::Plant;
use super::random::Dice;

/// When the story begins.
pub(crate) const START_SECONDS: i64 = 1_800_000_000;
/// Most times that a call lets others go first.
const PAUSES_MAX: u64 = 4;

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How a call to the store fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fails {
    /// Nothing was done.
    Before,
    /// It is durable, but that is not said; nothing more is written before a restart.
    After,
    /// A commit only: somebody else was first, it says, and nothing was done.
    Conflict,
}

impl Fails {
    /// All that there are.
    pub(crate) const ALL: [Self; 3] = [Self::Before, Self::After, Self::Conflict];
}

/// One durable commit: each row before and after it, and its records.
#[derive(Debug)]
pub(crate) struct Durable {
    pub(crate) rows: Vec<(RowId, Option<Row>, Option<Row>)>,
    pub(crate) outbox: Vec<OutboxEntry>,
}

#[derive(Debug, Default)]
struct Tables {
    rows: BTreeMap<RowId, Row>,
    outbox: BTreeMap<OutboxSeq, Record>,
    /// Outbox numbers of commits that failed: they may have become durable, so they are never used again.
    burnt: Vec<OutboxSeq>,
    is_poisoned: bool,
    journal: Vec<Durable>,
    commits: u64,
    /// How many more calls succeed before one fails.
    failing: Option<(u64, Fails)>,
}

/// A node's store: it outlives the node's memory.
pub(crate) struct SimStore {
    dice: Dice,
    plant: Plant,
    /// Calls fail now and then.
    pub(crate) is_stormy: AtomicBool,
    tables: Mutex<Tables>,
}

impl SimStore {
    pub(crate) fn new(dice: &Dice, plant: Plant) -> Self {
        Self { dice: dice.clone(), plant, is_stormy: AtomicBool::new(false), tables: Mutex::default() }
    }

    /// What is stored now, in a store of its own that nobody else changes.
    pub(crate) fn copied(&self) -> Self {
        let copy = Self::new(&self.dice, Plant::Nothing);
        lock(&copy.tables).rows = lock(&self.tables).rows.clone();
        copy
    }

    /// What has become durable since this was asked last.
    pub(crate) fn take_journal(&self) -> Vec<Durable> {
        std::mem::take(&mut lock(&self.tables).journal)
    }

    /// Outbox numbers whose commit failed without a word about it.
    pub(crate) fn burnt(&self) -> Vec<OutboxSeq> {
        lock(&self.tables).burnt.clone()
    }

    /// Nothing more is written before a restart.
    pub(crate) fn is_poisoned(&self) -> bool {
        lock(&self.tables).is_poisoned
    }

    /// A restart: what is stored is checked and can be written to again. Returns the first outbox number that was never used.
    pub(crate) fn reopen(&self) -> OutboxSeq {
        let mut tables = lock(&self.tables);
        tables.is_poisoned = false;
        OutboxSeq(tables.outbox.keys().next_back().map_or(1, |last| last.0 + 1))
    }

    /// Lets the call after so many others fail.
    pub(crate) fn fail_after(&self, calls: u64, how: Fails) {
        lock(&self.tables).failing = Some((calls, how));
    }

    /// Whether the call that was to fail has not come; it will not come any more.
    pub(crate) fn take_failing(&self) -> bool {
        lock(&self.tables).failing.take().is_some()
    }

    pub(crate) fn row(&self, id: RowId) -> Option<Row> {
        lock(&self.tables).rows.get(&id).cloned()
    }

    /// What of an edge lies under a version of an L3: its objects, and the keys of their attributes.
    pub(crate) fn under(&self, parent: ParentRef) -> Vec<RowId> {
        let tables = lock(&self.tables);
        let lies_there = |row: &&Row| is_wrapped_by_core(row) && row.header.parent == parent;
        tables.rows.values().filter(lies_there).map(|row| row.header.id).collect()
    }

    /// Lets others go first, and says whether the call fails.
    async fn called(&self) -> Option<Fails> {
        pause(self.dice.within(0..PAUSES_MAX)).await;
        let mut tables = lock(&self.tables);
        match tables.failing.take() {
            Some((0, how)) => return Some(how),
            Some((left, how)) => tables.failing = Some((left - 1, how)),
            None => {}
        }
        drop(tables);
        if !self.is_stormy.load(Ordering::Relaxed) || !self.dice.percent(3) {
            return None;
        }
        Some(match self.dice.within(0..10) {
            0..3 => Fails::After,
            3..5 => Fails::Conflict,
            _ => Fails::Before,
        })
    }

    async fn read(&self) -> Result<(), StoreError> {
        match self.called().await {
            Some(Fails::Before | Fails::After) => Err(unavailable("read")),
            Some(Fails::Conflict) | None => Ok(()),
        }
    }
}

/// Is something in this row of an edge wrapped under an L3?
pub(crate) fn is_wrapped_by_core(row: &Row) -> bool {
    matches!(row.header.id.layer, Layer::L4 | Layer::AttributeKey) && row.material.is_some()
}

fn unavailable(what: &'static str) -> StoreError {
    StoreError::Unavailable { what, source: "the simulation says so".into() }
}

#[async_trait]
impl Keystore for SimStore {
    async fn retrieve(&self, id: RowId) -> Result<Option<Row>, StoreError> {
        self.read().await?;
        Ok(lock(&self.tables).rows.get(&id).cloned())
    }

    async fn find(&self, query: &Query) -> Result<Vec<Row>, StoreError> {
        self.read().await?;
        let tables = lock(&self.tables);
        let (oldest, newest) = (RowId::new(query.layer, Uuid::nil()), RowId::new(query.layer, Uuid::max()));
        let fits = |row: &&Row| {
            query.before.is_none_or(|before| row.header.id < before)
                && query.terms.iter().all(|term| row.terms.contains(term))
                && !self.plant.hides(query, row)
        };
        Ok(tables.rows.range(oldest..=newest).rev().map(|(_, row)| row).filter(fits).take(query.limit).cloned().collect())
    }

    async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let fails = self.called().await;
        let burn = |tables: &mut Tables| tables.burnt.extend(batch.outbox.iter().map(|entry| entry.seq));
        {
            let mut tables = lock(&self.tables);
            if tables.is_poisoned {
                burn(&mut tables);
                return Err(StoreError::Poisoned);
            }
            if fails == Some(Fails::Before) {
                burn(&mut tables);
                return Err(if self.dice.percent(50) {
                    unavailable("commit")
                } else {
                    StoreError::Full { at: "the simulation".to_owned() }
                });
            }
            if let (Some(Fails::Conflict), Some(change)) = (fails, batch.changes.first()) {
                // A writer that is refused twice leaves its numbers out.
                burn(&mut tables);
                return Err(StoreError::Conflict { id: change.id() });
            }
            tables.commit(batch, self.plant)?;
            tables.is_poisoned = fails == Some(Fails::After);
        }
        pause(self.dice.within(0..PAUSES_MAX)).await;
        if fails == Some(Fails::After) { Err(StoreError::Poisoned) } else { Ok(()) }
    }

    async fn outbox(&self, after: OutboxSeq, limit: usize) -> Result<Vec<OutboxEntry>, StoreError> {
        self.read().await?;
        let tables = lock(&self.tables);
        let later = tables.outbox.iter().filter(|(seq, _)| **seq > after);
        Ok(later.take(limit).map(|(seq, record)| OutboxEntry { seq: *seq, record: *record }).collect())
    }
}

impl Tables {
    /// All of it or nothing, as the conformance suite of keystores has it.
    fn commit(&mut self, batch: Batch, plant: Plant) -> Result<(), StoreError> {
        let mut staged: BTreeMap<RowId, Option<Generation>> = BTreeMap::new();
        for change in &batch.changes {
            let id = change.id();
            let stored = staged.get(&id).copied().unwrap_or_else(|| self.rows.get(&id).map(|row| row.header.generation));
            if stored != change.expected() {
                return Err(StoreError::Conflict { id });
            }
            staged.insert(id, change.row().map(|row| row.header.generation));
        }
        self.commits += 1;
        let batch = plant.meddled(self.commits, batch);
        let active: BTreeMap<ChainId, KeyVersion> = self
            .rows
            .values()
            .filter(|row| row.header.id.layer == Layer::L21 && row.header.state == State::Active)
            .map(|row| (row.header.chain, row.header.version))
            .collect();
        let mut rows = Vec::new();
        for change in batch.changes {
            let (id, after) = (change.id(), change.row().cloned());
            let before = match &after {
                Some(row) => self.rows.insert(id, row.clone()),
                None => self.rows.remove(&id),
            };
            let after = after.map(|row| {
                let active = active.get(&row.header.chain).filter(|_| before.is_none()).copied();
                plant.told(row, active)
            });
            rows.push((id, before, after));
        }
        self.outbox.extend(batch.outbox.iter().map(|entry| (entry.seq, entry.record)));
        self.journal.push(Durable { rows, outbox: batch.outbox });
        Ok(())
    }
}

/// A node's log, which outlives its memory: of what it says, only the time matters to a start.
#[derive(Default)]
pub(crate) struct SimAudit {
    latest_millis: AtomicI64,
    settled: AtomicU64,
    pub(crate) is_down: AtomicBool,
}

impl SimAudit {
    /// No record is later.
    pub(crate) fn latest(&self) -> Time {
        Time::from_millis(self.latest_millis.load(Ordering::Relaxed))
    }

    fn take(&self, records: &[Record]) -> Result<(), AuditUnavailable> {
        self.ready()?;
        for record in records {
            self.latest_millis.fetch_max(record.time.millis(), Ordering::Relaxed);
        }
        Ok(())
    }
}

impl AuditSink for SimAudit {
    fn ready(&self) -> Result<(), AuditUnavailable> {
        if self.is_down.load(Ordering::Relaxed) { Err(AuditUnavailable { why: "the simulation says so".to_owned() }) } else { Ok(()) }
    }

    fn session(&self, _session: &SessionRecord) -> Result<(), AuditUnavailable> {
        self.ready()
    }

    fn append(&self, records: &[Record]) -> Result<(), AuditUnavailable> {
        self.take(records)
    }

    fn append_own(&self, records: &[Record]) -> Result<(), AuditUnavailable> {
        self.take(records)
    }

    fn settle(&self, entries: &[OutboxEntry]) -> Result<(), AuditUnavailable> {
        for entry in entries {
            self.take(&[entry.record])?;
            self.settled.fetch_max(entry.seq.0, Ordering::Relaxed);
        }
        Ok(())
    }

    fn settled(&self) -> OutboxSeq {
        OutboxSeq(self.settled.load(Ordering::Relaxed))
    }
}

/// Both clocks of a node; they move when the story says so, and the one that people set also back.
pub(crate) struct SimTime {
    day_millis: AtomicI64,
    pace_millis: AtomicU64,
}

impl Default for SimTime {
    fn default() -> Self {
        Self { day_millis: AtomicI64::new(START_SECONDS * 1000), pace_millis: AtomicU64::default() }
    }
}

impl SimTime {
    /// Time passes, by both clocks.
    pub(crate) fn pass(&self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).expect("a story is short");
        self.pace_millis.fetch_add(millis, Ordering::Relaxed);
        self.jump(i64::try_from(millis).expect("a story is short"));
    }

    /// Somebody sets the clock.
    pub(crate) fn jump(&self, millis: i64) {
        self.day_millis.fetch_add(millis, Ordering::Relaxed);
    }
}

impl Clock for SimTime {
    fn now(&self) -> Time {
        Time::from_millis(self.day_millis.load(Ordering::Relaxed))
    }
}

#[async_trait]
impl Pace for SimTime {
    fn now(&self) -> Duration {
        Duration::from_millis(self.pace_millis.load(Ordering::Relaxed))
    }

    async fn reach(&self, _until: Duration) {
        pause(1).await;
    }
}

/// Bytes that follow from the seed.
pub(crate) struct SimEntropy {
    dice: Dice,
    plant: Plant,
    draws: AtomicU64,
    first: Mutex<Vec<u8>>,
}

impl SimEntropy {
    pub(crate) fn new(dice: Dice, plant: Plant) -> Self {
        Self { dice, plant, draws: AtomicU64::default(), first: Mutex::default() }
    }
}

impl Entropy for SimEntropy {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), EntropyError> {
        for chunk in buffer.chunks_mut(8) {
            let bytes = self.dice.next().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
        if self.plant.repeats(self.draws.fetch_add(u64::from(buffer.len() == 32), Ordering::Relaxed), buffer.len()) {
            let mut first = lock(&self.first);
            if first.is_empty() {
                first.extend_from_slice(buffer);
            }
            buffer.copy_from_slice(&first);
        }
        Ok(())
    }
}

/// Makes pairs, and derives from passwords, where it stands.
pub(crate) struct SimPairs;

#[async_trait]
impl PairMaker for SimPairs {
    async fn make(&self, kind: PairKind) -> Result<Pair, PairError> {
        Ok(pair::generate(kind)?)
    }
}

#[async_trait]
impl Stretcher for SimPairs {
    async fn stretch(&self, stretch: Stretch) -> Result<Bytes, StretchError> {
        Ok(stretch.run()?)
    }
}
