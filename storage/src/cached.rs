//! Rows of a keystore that is far away, kept for a while.
//!
//! What is kept is what the store answered, wrapped and MACed as it came, so whoever reads it checks it as if it came from the store. A change lets go
//! of the rows that it names before it is acknowledged, also one that failed. Of another node's change nothing is heard: its row may be served for
//! as long as rows are kept, and a change on top of it conflicts, which lets go of it too. Searches always ask the store.
//!
//! A row that is kept is there for whoever's scope shows its owner. That a store has none is kept for those of the scope in which it was asked.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use keys::id::{Layer, OutboxSeq, RowId, TenantId};
use keys::port::{Batch, Change, Keystore, OutboxEntry, Query, Scope, StoreError};
use keys::row::{Row, Term};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

/// What a row takes beside its bytes: its place in the table, and the allocator's part.
const BESIDES_BYTES: usize = 128;
/// As rows are, roughly; how many places the table begins with follows from it.
const USUAL_ROW_BYTES: u64 = 1024;

/// So many places of answers that nobody waits for any more may be left, each of 64 bytes or so.
const FLIGHTS_LEFT_MAX: usize = 1024;

/// How much is kept, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Most memory for rows, in bytes.
    pub bytes: u64,
    /// Longest that one is served after the store was asked for it.
    pub life: Duration,
}

/// How often rows were asked for.
#[derive(Debug, Default)]
pub struct Counts {
    hits: AtomicU64,
    misses: AtomicU64,
}

impl Counts {
    /// Rows that were kept, or that another call was about to bring.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// Rows that the store was asked for.
    #[must_use]
    pub fn misses(&self) -> u64 {
        self.misses.load(Ordering::Relaxed)
    }
}

/// A keystore whose rows are kept for a while. Also that there is none of an id is kept, but of a name's.
pub struct Cached {
    store: Arc<dyn Keystore>,
    rows: Cache<RowId, Kept, Bytes>,
    life: Duration,
    /// What the store is being asked for. Who is the first to want a row asks, the others wait for that answer.
    flights: Mutex<HashMap<RowId, Flight>>,
    /// Counts what was asked for, so that an answer is told from a later one.
    asked: AtomicU64,
    counts: Arc<Counts>,
}

#[derive(Clone)]
struct Kept {
    row: Option<Arc<Row>>,
    scope: Scope,
    asked: Instant,
}

impl Kept {
    /// Does it tell whether `scope` shows such a row?
    fn is_for(&self, scope: Scope) -> bool {
        self.row.is_some() || self.scope == scope || self.scope == Scope::Node
    }
}

type Answer = Result<Option<Arc<Row>>, Arc<StoreError>>;

#[derive(Clone)]
struct Flight {
    number: u64,
    scope: Scope,
    /// Gone with the last who waits for it.
    answer: WeakShared<BoxFuture<'static, Answer>>,
    asked: Instant,
}

#[derive(Clone)]
struct Bytes;

impl Weighter<RowId, Kept> for Bytes {
    fn weight(&self, _: &RowId, kept: &Kept) -> u64 {
        let row_bytes = kept.row.as_ref().map_or(0, |row| {
            let blobs = [&row.material, &row.attributes].into_iter().flatten().map(Vec::len).sum::<usize>();
            size_of::<Row>() + blobs + row.terms.len() * size_of::<Term>()
        });
        (row_bytes + BESIDES_BYTES) as u64
    }
}

impl Cached {
    /// Keeps rows of `store`.
    #[must_use]
    pub fn new(store: Arc<dyn Keystore>, Settings { bytes, life }: Settings, counts: Arc<Counts>) -> Self {
        let places = usize::try_from(bytes / USUAL_ROW_BYTES).unwrap_or(usize::MAX).max(1);
        Self { store, rows: Cache::with_weighter(places, bytes, Bytes), life, flights: Mutex::default(), asked: AtomicU64::new(0), counts }
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<RowId, Flight>> {
        // Every place is written whole or not at all.
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer that is under way, or one that is asked for now.
    fn ask(&self, scope: Scope, id: RowId) -> (Shared<BoxFuture<'static, Answer>>, Flight) {
        let mut flights = self.flights();
        if let Some((answer, flight)) =
            flights.get(&id).filter(|flight| flight.scope == scope).and_then(|flight| Some((flight.answer.upgrade()?, flight.clone())))
        {
            self.counts.hits.fetch_add(1, Ordering::Relaxed);
            return (answer, flight);
        }
        self.counts.misses.fetch_add(1, Ordering::Relaxed);
        let store = Arc::clone(&self.store);
        let answer = async move { store.retrieve_for(scope, id).await.map(|row| row.map(Arc::new)).map_err(Arc::new) }.boxed().shared();
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        let flight = Flight { number, scope, answer: answer.downgrade().expect("it has not been asked yet"), asked: Instant::now() };
        if flights.len() >= FLIGHTS_LEFT_MAX {
            flights.retain(|_, flight| flight.answer.upgrade().is_some());
        }
        flights.insert(id, flight.clone());
        (answer, flight)
    }

    /// Keeps what came, unless the row was changed since it was asked for.
    fn land(&self, id: RowId, flight: &Flight, answer: &Answer) {
        let mut flights = self.flights();
        if flights.get(&id).is_none_or(|under_way| under_way.number != flight.number) {
            return;
        }
        flights.remove(&id);
        // Whoever asks for the claim on a free name means to claim it: that is to fail here if it cannot be done, and not when it has begun.
        if let Ok(row) = answer
            && (row.is_some() || id.layer != Layer::Name)
        {
            self.rows.insert(id, Kept { row: row.clone(), scope: flight.scope, asked: flight.asked });
        }
    }

    fn let_go(&self, ids: &[RowId]) {
        let mut flights = self.flights();
        for id in ids {
            flights.remove(id);
            self.rows.remove(id);
        }
    }
}

#[async_trait]
impl Keystore for Cached {
    async fn retrieve(&self, id: RowId) -> Result<Option<Row>, StoreError> {
        self.retrieve_for(Scope::Node, id).await
    }

    async fn retrieve_for(&self, scope: Scope, id: RowId) -> Result<Option<Row>, StoreError> {
        let kept = self.rows.get(&id).filter(|kept| kept.asked.elapsed() < self.life && kept.is_for(scope));
        if let Some(Kept { row, .. }) = kept {
            self.counts.hits.fetch_add(1, Ordering::Relaxed);
            return Ok(row.filter(|row| scope.shows(&row.header.owner)).as_deref().cloned());
        }
        let (answer, flight) = self.ask(scope, id);
        let answer = answer.await;
        self.land(id, &flight, &answer);
        answer.map(|row| row.as_deref().cloned()).map_err(again)
    }

    async fn find(&self, query: &Query) -> Result<Vec<Row>, StoreError> {
        self.store.find(query).await
    }

    async fn find_for(&self, scope: Scope, query: &Query) -> Result<Vec<Row>, StoreError> {
        self.store.find_for(scope, query).await
    }

    async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let changed: Vec<RowId> = batch.changes.iter().map(Change::id).collect();
        let outcome = self.store.commit(batch).await;
        self.let_go(&changed);
        outcome
    }

    async fn commit_within(&self, tenants: &[TenantId], batch: Batch) -> Result<(), StoreError> {
        let changed: Vec<RowId> = batch.changes.iter().map(Change::id).collect();
        let outcome = self.store.commit_within(tenants, batch).await;
        self.let_go(&changed);
        outcome
    }

    async fn outbox(&self, after: OutboxSeq, limit: usize) -> Result<Vec<OutboxEntry>, StoreError> {
        self.store.outbox(after, limit).await
    }
}

/// The error of a call that several wait for, for each of them.
fn again(error: Arc<StoreError>) -> StoreError {
    match &*error {
        StoreError::Conflict { id } => StoreError::Conflict { id: *id },
        StoreError::Full { at } => StoreError::Full { at: at.clone() },
        StoreError::Unavailable { what, .. } => StoreError::Unavailable { what, source: Box::new(error) },
        StoreError::Sealed { at } => StoreError::Sealed { at: at.clone() },
        StoreError::Denied { at, what } => StoreError::Denied { at: at.clone(), what: what.clone() },
        StoreError::Poisoned => StoreError::Poisoned,
        StoreError::Corrupt { what, at } => StoreError::Corrupt { what: what.clone(), at: at.clone() },
    }
}
