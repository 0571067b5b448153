//! A simulated appliance: a core with its tenants, and edges whose core is that very vault, reached by its own verbs.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use keys::Error;
use keys::attributes::Attributes;
use keys::edge::{NewObject, roots};
use keys::entropy::Randomness;
use keys::envelope::ObjectKeyId;
use keys::id::{ClusterId, OutboxSeq, RowId, SessionId, Time};
use keys::lease::{Lease, Leases};
use keys::policy::verb::{UnwrapObjectKey, WrapObjectKey};
use keys::policy::{Grants, Principal, Role};
use keys::port::{Entropy, Keystore, Pace, Upstream, UpstreamError};
use keys::references::{EdgeKey, References};
use keys::row::{Algorithm, ObjectType, Row};
use keys::sharing::NodeTag;
use keys::vault::{EdgeParts, Parts, Vault};
use secret::Bytes;

use super::{Counting, FakeAudit, FakeClock, FakePace, FakeStore, InlinePairs, START_SECONDS, World, drive, name, settle};

/// How long an edge of the tests goes on without its core.
pub(crate) const HOLDS: Duration = Duration::from_secs(60);
/// Wrapped object keys that it keeps ready for each service.
pub(crate) const POOL_KEYS: usize = 8;

/// What an upstream is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// What the core says.
    Well,
    /// It is not there.
    Down,
    /// It refuses everything.
    Refuses,
    /// One wrapped key less than was asked for.
    OneLess,
    /// None at all.
    Nothing,
    /// One wrapped key more.
    OneMore,
    /// An opened key lacks a byte.
    ShortKey,
    /// Another key than was wrapped, of the right length.
    OtherKey,
    /// It says that nothing it opens was made for its place.
    Forged,
    /// A lease of another cluster.
    Stranger,
}

/// How often an upstream was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Calls {
    pub(crate) wraps: u64,
    pub(crate) unwraps: u64,
    pub(crate) leases: u64,
}

/// A core as an edge of one group reaches it: the core's own verbs, with the grants of an edge.
pub(crate) struct FakeUpstream {
    core: Mutex<Arc<Vault>>,
    group: String,
    /// By what the core tells edges of one group apart.
    edge: EdgeKey,
    calls: Mutex<Calls>,
    mood: Mutex<Mood>,
    /// How many more calls succeed before one fails.
    failing: Mutex<Option<u64>>,
    /// Everything that the edge has sent, as it was.
    sent: Mutex<Vec<Vec<u8>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FakeUpstream {
    pub(crate) fn new(core: &Arc<Vault>, group: &str) -> Self {
        Self::of(core, group, EdgeKey([7; 32]))
    }

    /// One of several edges of a group.
    pub(crate) fn of(core: &Arc<Vault>, group: &str, edge: EdgeKey) -> Self {
        let (calls, failing, sent) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { core: Mutex::new(Arc::clone(core)), group: group.to_owned(), edge, calls, mood: Mutex::new(Mood::Well), failing, sent }
    }

    /// Another core answers from now on.
    pub(crate) fn set_core(&self, core: &Arc<Vault>) {
        *lock(&self.core) = Arc::clone(core);
    }

    fn core(&self) -> Arc<Vault> {
        Arc::clone(&lock(&self.core))
    }

    pub(crate) fn set(&self, mood: Mood) {
        *lock(&self.mood) = mood;
    }

    pub(crate) fn fail_after(&self, calls: Option<u64>) {
        *lock(&self.failing) = calls;
    }

    /// Whether the call that was to fail has not come yet.
    pub(crate) fn is_to_fail(&self) -> bool {
        lock(&self.failing).is_some()
    }

    /// Calls since this was asked last.
    pub(crate) fn take_calls(&self) -> Calls {
        std::mem::take(&mut *lock(&self.calls))
    }

    pub(crate) fn sent(&self) -> Vec<Vec<u8>> {
        lock(&self.sent).clone()
    }

    fn call(&self, count: impl FnOnce(&mut Calls)) -> Result<Mood, UpstreamError> {
        count(&mut lock(&self.calls));
        let down = || UpstreamError::Unavailable { what: "told to".to_owned() };
        let mut failing = lock(&self.failing);
        match failing.take() {
            Some(0) => return Err(down()),
            Some(left) => *failing = Some(left - 1),
            None => {}
        }
        match *lock(&self.mood) {
            Mood::Down => Err(down()),
            Mood::Refuses => Err(UpstreamError::Refused { why: "told to".to_owned() }),
            mood => Ok(mood),
        }
    }

    async fn grants(&self) -> Result<Grants, UpstreamError> {
        let principal = Principal { role: Role::Edge, tenant: None, service: Some(name(&self.group)), certificate: [0; 32] };
        self.core().grants(&principal).await.map_err(refused)
    }

    async fn wrap_one(&self, l3: RowId, id: ObjectKeyId, plain: &[u8]) -> Result<Vec<u8>, Error> {
        let core = self.core();
        let unit = core.begin(SessionId(9));
        let grants = self.grants().await?;
        let (group, _, authorized) = core.authorize_edge::<WrapObjectKey>(&unit, &grants, l3).await?;
        core.wrap_object_key(&unit, (&group, authorized), id, plain).await
    }

    async fn unwrap_one(&self, l3: RowId, id: ObjectKeyId, wrapped: &[u8]) -> Result<Bytes, Error> {
        let core = self.core();
        let unit = core.begin(SessionId(9));
        let grants = self.grants().await?;
        let (group, _, authorized) = core.authorize_edge::<UnwrapObjectKey>(&unit, &grants, l3).await?;
        core.unwrap_object_key(&unit, (&group, authorized), id, wrapped).await
    }
}

fn refused(error: Error) -> UpstreamError {
    match error {
        Error::Forged => UpstreamError::Forged,
        Error::Raced | Error::Unavailable { .. } => UpstreamError::Unavailable { what: error.to_string() },
        other => UpstreamError::Refused { why: other.to_string() },
    }
}

#[async_trait]
impl Upstream for FakeUpstream {
    async fn wrap(&self, l3: RowId, keys: &[(ObjectKeyId, &Bytes)]) -> Result<Vec<Vec<u8>>, UpstreamError> {
        assert!(keys.len() <= keys::port::WRAPPED_KEYS_MAX, "{} keys at once", keys.len());
        let mood = self.call(|calls| calls.wraps += 1)?;
        let mut wrapped = Vec::new();
        for (id, key) in keys {
            let plain = key.expose(<[u8]>::to_vec);
            lock(&self.sent).push(plain.clone());
            wrapped.push(self.wrap_one(l3, *id, &plain).await.map_err(refused)?);
        }
        match mood {
            Mood::OneLess => drop(wrapped.pop()),
            Mood::OneMore => wrapped.push(vec![7; 90]),
            Mood::Nothing => wrapped.clear(),
            _ => {}
        }
        Ok(wrapped)
    }

    async fn unwrap(&self, l3: RowId, id: ObjectKeyId, wrapped: &[u8]) -> Result<Bytes, UpstreamError> {
        let mood = self.call(|calls| calls.unwraps += 1)?;
        lock(&self.sent).push(wrapped.to_vec());
        let opened = self.unwrap_one(l3, id, wrapped).await.map_err(refused)?;
        let other = |bytes: usize| Ok(Bytes::init_with(bytes, |key| key.fill(0x77)).expect("the arena has room"));
        match mood {
            Mood::ShortKey => other(31),
            Mood::OtherKey => other(32),
            Mood::Forged => Err(UpstreamError::Forged),
            _ => Ok(opened),
        }
    }

    async fn unwrap_each(&self, keys: &[(RowId, ObjectKeyId, &[u8])]) -> Result<Vec<Result<Bytes, UpstreamError>>, UpstreamError> {
        assert!(keys.len() <= keys::port::WRAPPED_KEYS_MAX, "{} keys at once", keys.len());
        let mut opened = Vec::new();
        for (l3, id, wrapped) in keys {
            match self.unwrap(*l3, *id, wrapped).await {
                Err(UpstreamError::Unavailable { what }) => return Err(UpstreamError::Unavailable { what }),
                told => opened.push(told),
            }
        }
        Ok(opened)
    }

    async fn lease(&self) -> Result<Lease, UpstreamError> {
        let mood = self.call(|calls| calls.leases += 1)?;
        let lease = self.core().lease(&self.grants().await?).await.map_err(refused)?;
        match mood {
            Mood::Stranger => Ok(Lease { cluster: ClusterId::new(uuid::Uuid::from_bytes([0xC2; 16])), ..lease }),
            _ => Ok(lease),
        }
    }

    async fn report(&self, references: &References) -> Result<(), UpstreamError> {
        self.call(|_| ())?;
        self.core().take_references(&self.grants().await?, self.edge, references.clone()).await.map_err(refused)
    }

    /// What a core does for clients is tested with the protocol.
    async fn forward(&self, _client: &[Vec<u8>], _request: uuid::Uuid, _message: &[u8]) -> Result<Vec<u8>, UpstreamError> {
        Err(UpstreamError::Unavailable { what: "the fake forwards nothing".to_owned() })
    }
}

/// A core with its tenants, and two edge groups enrolled for them.
pub(crate) struct Site {
    pub(crate) world: World,
    pub(crate) core: Arc<Vault>,
}

/// What an edge of the tests is told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EdgeSettings {
    pub(crate) pool_keys: usize,
    pub(crate) l4_ttl: Option<Duration>,
    pub(crate) is_ephemeral: bool,
    pub(crate) shared_as: Option<NodeTag>,
}

impl Default for EdgeSettings {
    fn default() -> Self {
        Self { pool_keys: POOL_KEYS, l4_ttl: None, is_ephemeral: false, shared_as: None }
    }
}

/// An edge of a group, with what it stands on.
pub(crate) struct Edge {
    pub(crate) vault: Arc<Vault>,
    pub(crate) store: Arc<FakeStore>,
    pub(crate) audit: Arc<FakeAudit>,
    pub(crate) clock: Arc<FakeClock>,
    pub(crate) pace: Arc<FakePace>,
    pub(crate) upstream: Arc<FakeUpstream>,
    entropy: Arc<Counting>,
    settings: EdgeSettings,
}

impl Site {
    /// Tenant `acme` with `billing` and `payroll`, and tenant `globex` with `billing`; the group `west` serves both, `east` acme alone.
    pub(crate) async fn found() -> Self {
        let (world, core) = World::found().await;
        settle(&core, "acme", "billing").await;
        settle(&core, "globex", "billing").await;
        let site = Self { world, core };
        let mut unit = site.core.begin(SessionId(1));
        site.core.create_service(&mut unit, &name("acme"), &name("payroll")).await.expect("the name is free");
        let _receipt = unit.commit().await.expect("the fakes are well");
        site.core.ensure_system_tenant().await.expect("the fakes are well");
        site.enrol("west", &["acme", "globex"]).await;
        site.enrol("east", &["acme"]).await;
        site
    }

    pub(crate) async fn enrol(&self, group: &str, tenants: &[&str]) {
        let tenants: Vec<_> = tenants.iter().map(|tenant| name(tenant)).collect();
        let mut unit = self.core.begin(SessionId(1));
        self.core.enrol_edges(&mut unit, &name(group), &tenants, &[]).await.expect("the tenants are there");
        let _receipt = unit.commit().await.expect("the fakes are well");
    }

    pub(crate) async fn revoke(&self, group: &str) {
        let mut unit = self.core.begin(SessionId(1));
        self.core.revoke_edges(&mut unit, &name(group)).await.expect("it is enrolled");
        let _receipt = unit.commit().await.expect("the fakes are well");
    }

    pub(crate) async fn disable(&self, tenant: &str, is_disabled: bool) {
        let mut unit = self.core.begin(SessionId(1));
        self.core.set_tenant_disabled(&mut unit, &name(tenant), is_disabled).await.expect("it is there");
        let _receipt = unit.commit().await.expect("the fakes are well");
    }

    /// An edge of `west` with a store of its own.
    pub(crate) async fn edge(&self) -> Edge {
        self.edge_with(EdgeSettings::default()).await
    }

    pub(crate) async fn edge_with(&self, settings: EdgeSettings) -> Edge {
        self.edge_of("west", &Arc::default(), settings).await.expect("the group is enrolled")
    }

    /// An edge on what `store` has of its group.
    pub(crate) async fn edge_of(&self, group: &str, store: &Arc<FakeStore>, settings: EdgeSettings) -> Result<Edge, Error> {
        self.edge_by(FakeUpstream::new(&self.core, group), store, settings).await
    }

    /// Two edges of one group on one store.
    pub(crate) async fn two_edges(&self) -> (Edge, Edge) {
        let sharing = |number| EdgeSettings { shared_as: Some(node(number)), ..EdgeSettings::default() };
        let first = self.edge_with(sharing(1)).await;
        let second = self.edge_of("west", &first.store, sharing(2)).await.expect("the group's roots open");
        (first, second)
    }

    /// An edge that reaches its core by `upstream`.
    pub(crate) async fn edge_by(&self, upstream: FakeUpstream, store: &Arc<FakeStore>, settings: EdgeSettings) -> Result<Edge, Error> {
        let upstream = Arc::new(upstream);
        let (clock, pace) = (Arc::new(FakeClock(AtomicI64::new(START_SECONDS))), Arc::new(FakePace::default()));
        let (entropy, audit) = (Arc::clone(&self.world.entropy), Arc::default());
        let vault = opened(store, &audit, &clock, &pace, &entropy, &upstream, settings).await?;
        upstream.take_calls();
        Ok(Edge { vault, store: Arc::clone(store), audit, clock, pace, upstream, entropy, settings })
    }
}

/// How the node of that number is known to those that share a store with it.
pub(crate) fn node(number: u8) -> NodeTag {
    NodeTag::of(uuid::Builder::from_random_bytes([number; 16]).into_uuid())
}

/// What a start of an edge does: a lease, the group's roots, a vault.
async fn opened(
    store: &Arc<FakeStore>,
    audit: &Arc<FakeAudit>,
    clock: &Arc<FakeClock>,
    pace: &Arc<FakePace>,
    entropy: &Arc<Counting>,
    upstream: &Arc<FakeUpstream>,
    EdgeSettings { pool_keys, l4_ttl, is_ephemeral, shared_as }: EdgeSettings,
) -> Result<Arc<Vault>, Error> {
    let asked = pace.now();
    let lease = upstream.lease().await?;
    let randomness = Randomness::new(Arc::clone(entropy) as Arc<dyn Entropy>);
    let rows: Arc<dyn Keystore> = Arc::<FakeStore>::clone(store);
    let (registry, root) = roots(&rows, &**upstream, &lease, &randomness).await?;
    let leases = Leases::new(lease, asked, Time::from_seconds(clock.0.load(Ordering::Relaxed)), HOLDS);
    let parts = Parts {
        registry,
        store: rows,
        audit: Arc::<FakeAudit>::clone(audit),
        clock: Arc::<FakeClock>::clone(clock),
        pace: Arc::<FakePace>::clone(pace),
        entropy: Arc::<Counting>::clone(entropy),
        system: SessionId(1),
        next_outbox: OutboxSeq(1),
        not_before: Time::default(),
    };
    let upstream: Arc<dyn Upstream> = Arc::<FakeUpstream>::clone(upstream);
    let (pairs, stretcher) = (Arc::new(InlinePairs), Arc::new(InlinePairs));
    let edge = EdgeParts { leases, upstream, pairs, stretcher, pool_keys, cache_bytes: 1 << 20, l4_ttl, is_ephemeral, shared_as };
    let (vault, writer) = Vault::edge(parts, edge)?;
    drive(writer);
    if let Some(row) = root {
        let mut unit = vault.begin(SessionId(1));
        vault.stage_edge_roots(&mut unit, row);
        let _receipt = unit.commit().await?;
    }
    vault.join().await?;
    Ok(vault)
}

impl Edge {
    /// The same edge, begun again on what it has stored; what its start asked of the core is not counted.
    pub(crate) async fn restart(&mut self) {
        self.vault = self.try_restart().await.expect("the group's roots open");
        self.upstream.take_calls();
    }

    pub(crate) async fn try_restart(&self) -> Result<Arc<Vault>, Error> {
        opened(&self.store, &self.audit, &self.clock, &self.pace, &self.entropy, &self.upstream, self.settings).await
    }

    /// What a service may do here.
    pub(crate) async fn service(&self, tenant: &str, service: &str) -> Result<Grants, Error> {
        self.grants(Role::Service, tenant, service).await
    }

    pub(crate) async fn grants(&self, role: Role, tenant: &str, service: &str) -> Result<Grants, Error> {
        let principal = Principal { role, tenant: Some(name(tenant)), service: Some(name(service)), certificate: [0; 32] };
        self.vault.grants(&principal).await
    }

    /// What a service may do here, which the lease has.
    pub(crate) async fn billing(&self) -> Grants {
        self.service("acme", "billing").await.expect("acme is served")
    }

    pub(crate) fn row(&self, id: RowId) -> Row {
        Row::decode(&self.store.rows()[&id]).expect("a stored row decodes")
    }

    /// How many opened object keys the edge keeps.
    pub(crate) fn kept(&self) -> usize {
        self.vault.edge_figures().expect("it is an edge").opened
    }
}

/// An AES-256 key of the service behind `grants`, with random bytes or those that are given.
pub(crate) async fn make(vault: &Vault, grants: &Grants, attributes: Attributes, material: Option<&[u8]>) -> Result<RowId, Error> {
    let material = material.map(|plain| Bytes::init_with(plain.len(), |bytes| bytes.copy_from_slice(plain)).expect("the arena has room"));
    let (object_type, algorithm) = (ObjectType::SYMMETRIC_KEY, Algorithm::AES);
    let mut unit = vault.begin(SessionId(2));
    let view = vault.create_object(&mut unit, grants, NewObject { object_type, algorithm, bits: 256, attributes, material }).await?;
    let _receipt = unit.commit().await?;
    Ok(view.header.id)
}
