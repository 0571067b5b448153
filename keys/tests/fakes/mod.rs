//! Fakes behind the domain's ports, and a founded vault on top of them.

pub(crate) mod edge;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use cipher::derive::Stretch;
use cipher::pair::{self, Pair, PairKind};
use keys::cluster;
use keys::entropy::Randomness;
use keys::hierarchy::MasterKey;
use keys::id::{ClusterId, Layer, OutboxSeq, RowId, ScopeName, SessionId, TenantId, Time};
use keys::lifecycle::State;
use keys::policy::{Grants, Principal, Role};
use keys::port::{
    AuditSink, AuditUnavailable, Batch, Change, Clock, Entropy, EntropyError, Keystore, OutboxEntry, Pace, PairError, PairMaker, Query,
    Scope, StoreError, StretchError, Stretcher,
};
use keys::record::{Record, SessionRecord};
use keys::row::{Header, Row};
use keys::unit::Writer;
use keys::vault::{Parts, Vault};
use secret::Bytes;

/// Rows in a map, as their stored bytes, those of tenants kept apart as a database does; may be told to fail.
#[derive(Default)]
pub(crate) struct FakeStore {
    pub(crate) rows: Mutex<BTreeMap<RowId, Vec<u8>>>,
    pub(crate) commits: AtomicU64,
    pub(crate) full: AtomicBool,
    /// Commits, and then says that it failed.
    pub(crate) lies: AtomicBool,
    /// Searches return whatever is of the layer.
    pub(crate) mixes_up: AtomicBool,
    /// Searches are not answered.
    pub(crate) is_deaf: AtomicBool,
    /// Nothing is answered.
    pub(crate) is_away: AtomicBool,
    /// How many more commits succeed before one fails, and whether that one is made all the same.
    pub(crate) failing: Mutex<Option<(u64, Fails)>>,
    /// What happens once in the middle of a call, between the rows and whoever asked.
    meanwhile: Mutex<Vec<Meanwhile>>,
}

struct Meanwhile {
    call: Call,
    what: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// A call of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// Reading a row of this layer.
    Retrieve(Layer),
    /// Searching this layer.
    Find(Layer),
    /// A commit that goes well.
    Commit,
}

/// How a commit fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fails {
    /// Nothing is written.
    Before,
    /// It is durable, but that is not said.
    After,
}

impl FakeStore {
    /// Has something happen in the middle of the next such call: after it has read or written, and before it answers.
    pub(crate) fn meanwhile(&self, call: Call, what: impl Future<Output = ()> + Send + 'static) {
        self.meanwhile.lock().unwrap_or_else(PoisonError::into_inner).push(Meanwhile { call, what: Box::pin(what) });
    }

    async fn pass(&self, call: Call) {
        let due = {
            let mut waiting = self.meanwhile.lock().unwrap_or_else(PoisonError::into_inner);
            let at = waiting.iter().position(|waiting| waiting.call == call);
            at.map(|at| waiting.swap_remove(at).what)
        };
        if let Some(due) = due {
            due.await;
        }
    }

    pub(crate) fn rows(&self) -> MutexGuard<'_, BTreeMap<RowId, Vec<u8>>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn edit(&self, id: RowId, edit: impl FnOnce(&mut Row)) {
        let mut rows = self.rows();
        let mut row = Row::decode(&rows[&id]).expect("a stored row decodes");
        edit(&mut row);
        rows.insert(id, row.encode());
    }
}

fn decode(bytes: &[u8]) -> Row {
    Row::decode(bytes).expect("a stored row decodes")
}

impl FakeStore {
    fn must_be_there(&self) -> Result<(), StoreError> {
        match self.is_away.load(Ordering::Relaxed) {
            true => Err(StoreError::Unavailable { what: "any call", source: "told to".into() }),
            false => Ok(()),
        }
    }

    /// Whether this commit is the one to fail.
    fn fails(&self) -> Option<Fails> {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        match failing.take() {
            Some((0, how)) => Some(how),
            Some((left, how)) => {
                *failing = Some((left - 1, how));
                None
            }
            None => None,
        }
    }
}

#[async_trait]
impl Keystore for FakeStore {
    async fn retrieve(&self, id: RowId) -> Result<Option<Row>, StoreError> {
        self.must_be_there()?;
        let unreadable = |error: keys::row::RowError| StoreError::Corrupt { what: error.to_string(), at: id.to_string() };
        let row = self.rows().get(&id).map(|bytes| Row::decode(bytes).map_err(unreadable)).transpose();
        self.pass(Call::Retrieve(id.layer)).await;
        row
    }

    async fn find(&self, query: &Query) -> Result<Vec<Row>, StoreError> {
        self.find_for(Scope::Node, query).await
    }

    async fn retrieve_for(&self, scope: Scope, id: RowId) -> Result<Option<Row>, StoreError> {
        Ok(self.retrieve(id).await?.filter(|row| scope.shows(&row.header.owner)))
    }

    async fn commit_within(&self, tenants: &[TenantId], batch: Batch) -> Result<(), StoreError> {
        let is_foreign = |row: &Row| !tenants.contains(&row.header.owner.tenant);
        let hits = |change: &&Change| {
            let stored = self.rows().get(&change.id()).and_then(|bytes| Row::decode(bytes).ok());
            stored.iter().chain(change.row()).any(is_foreign)
        };
        let foreign = batch.changes.iter().find(hits).map(Change::id);
        foreign.map_or(Ok(()), |id| Err(StoreError::Conflict { id }))?;
        self.commit(batch).await
    }

    async fn find_for(&self, scope: Scope, query: &Query) -> Result<Vec<Row>, StoreError> {
        self.must_be_there()?;
        if self.is_deaf.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable { what: "search", source: "told to".into() });
        }
        let fits = |row: &Row| {
            row.header.id.layer == query.layer
                && scope.shows(&row.header.owner)
                && query.before.is_none_or(|before| row.header.id < before)
                && (self.mixes_up.load(Ordering::Relaxed) || query.terms.iter().all(|term| row.terms.contains(term)))
        };
        let found = {
            let rows = self.rows();
            let newest = RowId::new(query.layer, uuid::Uuid::max());
            let below = rows.range(..=query.before.map_or(newest, |before| before.min(newest))).rev();
            let all = below.take_while(|(id, _)| id.layer == query.layer).filter_map(|(_, bytes)| Row::decode(bytes).ok());
            all.filter(fits).take(query.limit).collect()
        };
        self.pass(Call::Find(query.layer)).await;
        Ok(found)
    }

    async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        self.must_be_there()?;
        if self.full.load(Ordering::Relaxed) {
            return Err(StoreError::Full { at: "the fake".to_owned() });
        }
        let fails = self.fails();
        if fails == Some(Fails::Before) {
            return Err(StoreError::Poisoned);
        }
        {
            let mut rows = self.rows();
            for change in &batch.changes {
                let stored = rows.get(&change.id()).map(|bytes| decode(bytes).header.generation);
                if stored != change.expected() {
                    return Err(StoreError::Conflict { id: change.id() });
                }
            }
            for change in batch.changes {
                match change.row() {
                    Some(row) => rows.insert(row.header.id, row.encode()),
                    None => rows.remove(&change.id()),
                };
            }
        }
        self.commits.fetch_add(1, Ordering::Relaxed);
        if self.lies.load(Ordering::Relaxed) || fails == Some(Fails::After) {
            return Err(StoreError::Poisoned);
        }
        self.pass(Call::Commit).await;
        Ok(())
    }

    async fn outbox(&self, _after: OutboxSeq, _limit: usize) -> Result<Vec<OutboxEntry>, StoreError> {
        Ok(Vec::new())
    }
}

/// Keeps records in memory; may be told to refuse.
#[derive(Default)]
pub(crate) struct FakeAudit {
    records: Mutex<Vec<Record>>,
    seqs: Mutex<Vec<OutboxSeq>>,
    pub(crate) down: AtomicBool,
}

impl FakeAudit {
    /// Everything noted so far.
    pub(crate) fn records(&self) -> Vec<Record> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The outbox numbers of everything settled so far.
    pub(crate) fn seqs(&self) -> Vec<OutboxSeq> {
        self.seqs.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn take(&self, records: impl Iterator<Item = Record>) -> Result<(), AuditUnavailable> {
        self.ready()?;
        self.records.lock().unwrap_or_else(PoisonError::into_inner).extend(records);
        Ok(())
    }
}

impl AuditSink for FakeAudit {
    fn ready(&self) -> Result<(), AuditUnavailable> {
        if self.down.load(Ordering::Relaxed) { Err(AuditUnavailable { why: "told to".to_owned() }) } else { Ok(()) }
    }

    fn session(&self, _session: &SessionRecord) -> Result<(), AuditUnavailable> {
        self.ready()
    }

    fn append(&self, records: &[Record]) -> Result<(), AuditUnavailable> {
        self.take(records.iter().copied())
    }

    fn append_own(&self, records: &[Record]) -> Result<(), AuditUnavailable> {
        self.take(records.iter().copied())
    }

    fn settle(&self, entries: &[OutboxEntry]) -> Result<(), AuditUnavailable> {
        self.seqs.lock().unwrap_or_else(PoisonError::into_inner).extend(entries.iter().map(|entry| entry.seq));
        self.take(entries.iter().map(|entry| entry.record))
    }

    fn settled(&self) -> OutboxSeq {
        OutboxSeq(0)
    }
}

/// A clock that stands where it is put.
pub(crate) struct FakeClock(pub(crate) AtomicI64);

impl Clock for FakeClock {
    fn now(&self) -> Time {
        Time::from_seconds(self.0.load(Ordering::Relaxed))
    }
}

/// A clock that nobody but the test moves; nothing waits.
#[derive(Default)]
pub(crate) struct FakePace(AtomicU64);

impl FakePace {
    pub(crate) fn pass(&self, time: Duration) {
        self.0.fetch_add(u64::try_from(time.as_millis()).expect("tests are short"), Ordering::Relaxed);
    }
}

#[async_trait]
impl Pace for FakePace {
    fn now(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }

    async fn reach(&self, _until: Duration) {}
}

/// Distinct, not random; may be told to fail or to stick.
#[derive(Default)]
pub(crate) struct Counting {
    drawn: AtomicU64,
    pub(crate) dead: AtomicBool,
    pub(crate) stuck: AtomicBool,
}

impl Entropy for Counting {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), EntropyError> {
        if self.dead.load(Ordering::Relaxed) {
            return Err(EntropyError { why: "told to".to_owned() });
        }
        if self.stuck.load(Ordering::Relaxed) {
            buffer.fill(0x55);
            return Ok(());
        }
        for chunk in buffer.chunks_mut(8) {
            let number = self.drawn.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
            let mixed = (number ^ (number >> 31)).wrapping_mul(0xBF58_476D_1CE4_E5B9).to_le_bytes();
            chunk.copy_from_slice(&mixed[..chunk.len()]);
        }
        Ok(())
    }
}

/// A founded core with fakes all around.
pub(crate) struct World {
    pub(crate) store: Arc<FakeStore>,
    pub(crate) audit: Arc<FakeAudit>,
    pub(crate) clock: Arc<FakeClock>,
    pub(crate) pace: Arc<FakePace>,
    pub(crate) entropy: Arc<Counting>,
    pub(crate) master: MasterKey,
    pub(crate) cluster: ClusterId,
    /// What the audit log remembers of the time, in seconds.
    pub(crate) not_before: AtomicI64,
}

pub(crate) const START_SECONDS: i64 = 1_800_000_000;

impl World {
    /// A new cluster, stored.
    pub(crate) async fn found() -> (Self, Arc<Vault>) {
        let entropy = Arc::new(Counting::default());
        let randomness = Randomness::new(Arc::clone(&entropy) as Arc<dyn Entropy>);
        let master = MasterKey::generate(&randomness).expect("the arena has room");
        let cluster = ClusterId::new(uuid::Uuid::from_bytes([0xC1; 16]));
        let clock = Arc::new(FakeClock(AtomicI64::new(START_SECONDS)));
        let (store, audit, pace, not_before) = (Arc::default(), Arc::default(), Arc::default(), AtomicI64::default());
        let world = Self { store, audit, clock, pace, entropy, master, cluster, not_before };
        let genesis = cluster::found(cluster, &world.master, &randomness, world.clock.now(), [0; 32]).expect("the arena has room");
        let vault = world.vault(genesis.registry);
        let mut unit = vault.begin(SessionId(1));
        vault.stage_genesis(&mut unit, genesis.rows);
        let _receipt = unit.commit().await.expect("the fakes are well");
        (world, vault)
    }

    /// The same cluster, unsealed again from what is stored.
    pub(crate) async fn unseal(&self) -> Result<Arc<Vault>, keys::Error> {
        self.unsealed_by(&self.master).await
    }

    /// As [`World::unseal`], by another MasterKey.
    pub(crate) async fn unsealed_by(&self, master: &MasterKey) -> Result<Arc<Vault>, keys::Error> {
        let store: Arc<dyn Keystore> = Arc::<FakeStore>::clone(&self.store);
        Ok(self.vault(cluster::load(&store, self.cluster, master).await?.registry))
    }

    /// A row as it is stored.
    pub(crate) fn row(&self, id: RowId) -> Row {
        Row::decode(&self.store.rows()[&id]).expect("a stored row decodes")
    }

    /// What is stored of a layer.
    pub(crate) fn rows(&self, layer: Layer) -> BTreeMap<RowId, Row> {
        let rows = self.store.rows();
        let of_layer = rows.iter().filter(|(id, _)| id.layer == layer);
        of_layer.map(|(id, bytes)| (*id, Row::decode(bytes).expect("a stored row decodes"))).collect()
    }

    /// Writes a key into the store as if it had come to this state.
    pub(crate) fn set_state(&self, vault: &Vault, id: RowId, state: State) {
        let row = self.row(id);
        let header = Header { state, generation: row.header.generation.next(), ..row.header };
        let material = row.material.filter(|_| !state.is_destroyed());
        let row = vault.registry().seal_row(header, material, row.attributes, row.terms);
        self.store.rows().insert(id, row.encode());
    }

    fn vault(&self, registry: keys::registry::Registry) -> Arc<Vault> {
        let parts = Parts {
            registry,
            store: Arc::<FakeStore>::clone(&self.store),
            audit: Arc::<FakeAudit>::clone(&self.audit),
            clock: Arc::<FakeClock>::clone(&self.clock),
            pace: Arc::<FakePace>::clone(&self.pace),
            entropy: Arc::<Counting>::clone(&self.entropy),
            system: SessionId(1),
            next_outbox: OutboxSeq(1),
            not_before: Time::from_seconds(self.not_before.load(Ordering::Relaxed)),
        };
        let (vault, writer) = Vault::core(parts).expect("the arena has room");
        drive(writer);
        vault
    }
}

/// Runs the writer on a thread of its own until the vault is gone.
fn drive(writer: Writer) {
    std::thread::spawn(move || futures_executor::block_on(writer.run()));
}

/// A tenant with one service; returns the grants of its admin and of the service.
pub(crate) async fn settle(vault: &Vault, tenant: &str, service: &str) -> (Grants, Grants) {
    let mut unit = vault.begin(SessionId(1));
    vault.create_tenant(&mut unit, &name(tenant)).await.expect("the name is free");
    let _receipt = unit.commit().await.expect("the fakes are well");
    let mut unit = vault.begin(SessionId(1));
    vault.create_service(&mut unit, &name(tenant), &name(service)).await.expect("the name is free");
    let _receipt = unit.commit().await.expect("the fakes are well");
    (grants(vault, Role::TenantAdmin, tenant, service).await, grants(vault, Role::Service, tenant, service).await)
}

pub(crate) async fn grants(vault: &Vault, role: Role, tenant: &str, service: &str) -> Grants {
    let principal = Principal { role, tenant: Some(name(tenant)), service: Some(name(service)), certificate: [0; 32] };
    vault.grants(&principal).await.expect("the fakes are well")
}

pub(crate) fn name(text: &str) -> ScopeName {
    text.parse().expect("the test's names are names")
}

/// Makes pairs, and derives from passwords, where it stands.
pub(crate) struct InlinePairs;

#[async_trait]
impl PairMaker for InlinePairs {
    async fn make(&self, kind: PairKind) -> Result<Pair, PairError> {
        Ok(pair::generate(kind)?)
    }
}

#[async_trait]
impl Stretcher for InlinePairs {
    async fn stretch(&self, stretch: Stretch) -> Result<Bytes, StretchError> {
        Ok(stretch.run()?)
    }
}
