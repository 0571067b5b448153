//! Fakes behind the domain's ports.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use cipher::derive::Stretch;
use cipher::pair::{self, Pair, PairKind};
use keys::envelope::ObjectKeyId;
use keys::id::{Layer, OutboxSeq, RowId, SessionId, TenantId, Time};
use keys::lease::Lease;
use keys::policy::verb::{UnwrapObjectKey, WrapObjectKey};
use keys::policy::{Grants, Principal, Role};
use keys::port::{
    AuditSink, AuditUnavailable, Batch, Change, Clock, Entropy, EntropyError, Keystore, OutboxEntry, Pace, PairError, PairMaker, Query,
    Scope, StoreError, StretchError, Stretcher, Upstream, UpstreamError,
};
use keys::record::{Record, SessionRecord};
use keys::references::{EdgeKey, References};
use keys::row::Row;
use keys::vault::Vault;
use kmip::{Caller, Credentials, dispatch};
use secret::Bytes;

/// Rows in a map, those of tenants kept apart as a database does; may be told to fail.
#[derive(Default)]
pub(crate) struct FakeStore {
    rows: Mutex<BTreeMap<RowId, Row>>,
    pub(crate) commits: AtomicU64,
    pub(crate) full: AtomicBool,
    /// Rows of services that searches gave out.
    pub(crate) services_found: AtomicUsize,
}

impl FakeStore {
    pub(crate) fn rows(&self) -> MutexGuard<'_, BTreeMap<RowId, Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Keystore for FakeStore {
    async fn retrieve(&self, id: RowId) -> Result<Option<Row>, StoreError> {
        Ok(self.rows().get(&id).cloned())
    }

    async fn find(&self, query: &Query) -> Result<Vec<Row>, StoreError> {
        self.find_for(Scope::Node, query).await
    }

    async fn retrieve_for(&self, scope: Scope, id: RowId) -> Result<Option<Row>, StoreError> {
        Ok(self.retrieve(id).await?.filter(|row| scope.shows(&row.header.owner)))
    }

    async fn commit_within(&self, tenants: &[TenantId], batch: Batch) -> Result<(), StoreError> {
        let is_foreign = |row: &Row| !tenants.contains(&row.header.owner.tenant);
        let hits = |change: &&Change| change.row().is_some_and(is_foreign) || self.rows().get(&change.id()).is_some_and(is_foreign);
        let foreign = batch.changes.iter().find(hits).map(Change::id);
        foreign.map_or(Ok(()), |id| Err(StoreError::Conflict { id }))?;
        self.commit(batch).await
    }

    async fn find_for(&self, scope: Scope, query: &Query) -> Result<Vec<Row>, StoreError> {
        let fits = |row: &&Row| {
            row.header.id.layer == query.layer
                && scope.shows(&row.header.owner)
                && query.before.is_none_or(|before| row.header.id < before)
                && query.terms.iter().all(|term| row.terms.contains(term))
        };
        let found: Vec<Row> = self.rows().values().rev().filter(fits).take(query.limit).cloned().collect();
        if query.layer == Layer::Service {
            self.services_found.fetch_add(found.len(), Ordering::Relaxed);
        }
        Ok(found)
    }

    async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        if self.full.load(Ordering::Relaxed) {
            return Err(StoreError::Full { at: "/secret/path".to_owned() });
        }
        let mut rows = self.rows();
        for change in &batch.changes {
            if rows.get(&change.id()).map(|row| row.header.generation) != change.expected() {
                return Err(StoreError::Conflict { id: change.id() });
            }
        }
        for change in batch.changes {
            match change.row() {
                Some(row) => rows.insert(row.header.id, row.clone()),
                None => rows.remove(&change.id()),
            };
        }
        self.commits.fetch_add(1, Ordering::Relaxed);
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
    pub(crate) down: AtomicBool,
}

impl FakeAudit {
    pub(crate) fn records(&self) -> MutexGuard<'_, Vec<Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.ready()?;
        self.records().extend_from_slice(records);
        Ok(())
    }

    fn append_own(&self, records: &[Record]) -> Result<(), AuditUnavailable> {
        self.append(records)
    }

    fn settle(&self, entries: &[OutboxEntry]) -> Result<(), AuditUnavailable> {
        self.ready()?;
        self.records().extend(entries.iter().map(|entry| entry.record));
        Ok(())
    }

    fn settled(&self) -> OutboxSeq {
        OutboxSeq(0)
    }
}

/// A clock that stands where it is put, in seconds.
pub(crate) struct FakeClock(pub(crate) AtomicI64);

impl Clock for FakeClock {
    fn now(&self) -> Time {
        Time::from_seconds(self.0.load(Ordering::Relaxed))
    }
}

/// Stands still unless a test moves it; counts who waits.
#[derive(Default)]
pub(crate) struct FakePace {
    waits: AtomicU64,
    millis: AtomicU64,
}

impl FakePace {
    pub(crate) fn waits(&self) -> u64 {
        self.waits.load(Ordering::Relaxed)
    }

    pub(crate) fn pass(&self, time: Duration) {
        self.millis.fetch_add(u64::try_from(time.as_millis()).expect("tests are short"), Ordering::Relaxed);
    }
}

#[async_trait]
impl Pace for FakePace {
    fn now(&self) -> Duration {
        Duration::from_millis(self.millis.load(Ordering::Relaxed))
    }

    async fn reach(&self, until: Duration) {
        assert!(until > self.now(), "it is over already");
        self.waits.fetch_add(1, Ordering::Relaxed);
    }
}

/// Distinct, not random.
#[derive(Default)]
pub(crate) struct Counting(AtomicU64);

impl Counting {
    pub(crate) fn starting_at(number: u64) -> Self {
        Self(AtomicU64::new(number))
    }
}

impl Entropy for Counting {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), EntropyError> {
        for chunk in buffer.chunks_mut(8) {
            let number = self.0.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
            let mixed = (number ^ (number >> 31)).wrapping_mul(0xBF58_476D_1CE4_E5B9).to_le_bytes();
            chunk.copy_from_slice(&mixed[..chunk.len()]);
        }
        Ok(())
    }
}

/// A core as its edges reach it: its own verbs, with the grants of an edge of the group `west`.
pub(crate) struct FakeUpstream {
    pub(crate) core: Arc<Vault>,
}

impl FakeUpstream {
    async fn grants(&self) -> Result<Grants, UpstreamError> {
        self.core.grants(&west()).await.map_err(refused)
    }
}

fn west() -> Principal {
    Principal { role: Role::Edge, tenant: None, service: Some("west".parse().expect("a name")), certificate: [0; 32] }
}

fn refused(error: keys::Error) -> UpstreamError {
    match error {
        keys::Error::Forged => UpstreamError::Forged,
        other => UpstreamError::Refused { why: other.to_string() },
    }
}

#[async_trait]
impl Upstream for FakeUpstream {
    async fn wrap(&self, l3: RowId, keys: &[(ObjectKeyId, &Bytes)]) -> Result<Vec<Vec<u8>>, UpstreamError> {
        let (unit, grants) = (self.core.begin(SessionId(1)), self.grants().await?);
        let mut wrapped = Vec::new();
        for (id, key) in keys {
            let plain = key.expose(<[u8]>::to_vec);
            let (group, _, authorized) = self.core.authorize_edge::<WrapObjectKey>(&unit, &grants, l3).await.map_err(refused)?;
            wrapped.push(self.core.wrap_object_key(&unit, (&group, authorized), *id, &plain).await.map_err(refused)?);
        }
        Ok(wrapped)
    }

    async fn unwrap(&self, l3: RowId, id: ObjectKeyId, wrapped: &[u8]) -> Result<Bytes, UpstreamError> {
        let (unit, grants) = (self.core.begin(SessionId(1)), self.grants().await?);
        let (group, _, authorized) = self.core.authorize_edge::<UnwrapObjectKey>(&unit, &grants, l3).await.map_err(refused)?;
        self.core.unwrap_object_key(&unit, (&group, authorized), id, wrapped).await.map_err(refused)
    }

    async fn unwrap_each(&self, keys: &[(RowId, ObjectKeyId, &[u8])]) -> Result<Vec<Result<Bytes, UpstreamError>>, UpstreamError> {
        let mut opened = Vec::new();
        for (l3, id, wrapped) in keys {
            opened.push(self.unwrap(*l3, *id, wrapped).await);
        }
        Ok(opened)
    }

    async fn report(&self, references: &References) -> Result<(), UpstreamError> {
        self.core.take_references(&self.grants().await?, EdgeKey([7; 32]), references.clone()).await.map_err(refused)
    }

    async fn lease(&self) -> Result<Lease, UpstreamError> {
        self.core.lease(&self.grants().await?).await.map_err(refused)
    }

    /// The one certificate of a test's client is who it is, in words.
    async fn forward(&self, client: &[Vec<u8>], _request: uuid::Uuid, message: &[u8]) -> Result<Vec<u8>, UpstreamError> {
        let words = client.first().and_then(|words| std::str::from_utf8(words).ok()).expect("tests' clients have one");
        let words: Vec<&str> = words.split('/').collect();
        let [role, tenant, service] = words[..] else { panic!("not a client's: {words:?}") };
        let scope = |text: &str| Some(text).filter(|text| !text.is_empty()).map(|text| text.parse().expect("a name"));
        let role = Role::from_name(role).expect("a role");
        let principal = Principal { role, tenant: scope(tenant), service: scope(service), certificate: [0; 32] };
        let mut caller = Caller::new(principal, SessionId(1), Credentials::Ignore).vouched_by(west());
        let unit = self.core.begin(SessionId(1));
        let (response, unit) = dispatch(Some(&self.core), &mut caller, unit, message, self.core.now(), vec![]).await;
        let receipt = unit.commit().await.expect("the fakes are well");
        Ok(response.release(receipt))
    }
}

/// Makes pairs, and derives from passwords, where it stands; pairs may be told to fail.
#[derive(Default)]
pub(crate) struct InlinePairs {
    pub(crate) broken: AtomicBool,
}

#[async_trait]
impl PairMaker for InlinePairs {
    async fn make(&self, kind: PairKind) -> Result<Pair, PairError> {
        if self.broken.load(Ordering::Relaxed) { Err(cipher::Error::Refused.into()) } else { Ok(pair::generate(kind)?) }
    }
}

#[async_trait]
impl Stretcher for InlinePairs {
    async fn stretch(&self, stretch: Stretch) -> Result<Bytes, StretchError> {
        Ok(stretch.run()?)
    }
}
