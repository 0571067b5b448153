//! A core and its edges: how they begin, and how an edge reaches its core.

use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use keys::Error;
use keys::cluster;
use keys::edge::roots;
use keys::entropy::Randomness;
use keys::envelope::ObjectKeyId;
use keys::hierarchy::MasterKey;
use keys::id::{ClusterId, RowId, ScopeName, SessionId, Time};
use keys::lease::{Lease, Leases};
use keys::policy::verb::{UnwrapObjectKey, WrapObjectKey};
use keys::policy::{Grants, Principal, Role};
use keys::port::{Clock, Entropy, Keystore, Pace, Upstream, UpstreamError};
use keys::references::{EdgeKey, References};
use keys::registry::Registry;
use keys::vault::{EdgeParts, Parts, Vault};
use secret::Bytes;

use super::executor::{Place, Work, pause};
use super::plant::Plant;
use super::ports::{SimAudit, SimEntropy, SimPairs, SimStore, SimTime, lock};
use super::random::Dice;

/// How long an edge goes on without its core.
pub(crate) const HOLDS: Duration = Duration::from_secs(60);
/// Wrapped object keys that it keeps ready for each service.
const POOL_KEYS: usize = 3;
/// Whose records are the appliance's own.
pub(crate) const SYSTEM: SessionId = SessionId(1);

/// Tasks that began inside others.
pub(crate) type Born = Rc<RefCell<Vec<(Place, Work)>>>;

/// What of a node outlives its memory, and the vault in it.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) store: Arc<SimStore>,
    pub(crate) audit: Arc<SimAudit>,
    pub(crate) time: Arc<SimTime>,
    pub(crate) entropy: Arc<SimEntropy>,
    pub(crate) vault: Rc<RefCell<Option<Arc<Vault>>>>,
    plant: Plant,
    born: Born,
}

impl Node {
    pub(crate) fn new(place: Place, dice: &Dice, plant: Plant, born: &Born) -> Self {
        // What is planted in a store is planted in the core's, but for what only an edge's can do.
        let in_store = if (place == 0) == (plant != Plant::HidesObjects) { plant } else { Plant::Nothing };
        Self {
            place,
            store: Arc::new(SimStore::new(dice, in_store)),
            audit: Arc::default(),
            time: Arc::default(),
            entropy: Arc::new(SimEntropy::new(dice.fork(), in_store)),
            vault: Rc::default(),
            plant,
            born: Rc::clone(born),
        }
    }

    pub(crate) fn opened(&self) -> Option<Arc<Vault>> {
        self.vault.borrow().clone()
    }

    pub(crate) fn randomness(&self) -> Randomness {
        Randomness::new(Arc::clone(&self.entropy) as Arc<dyn Entropy>)
    }

    fn parts(&self, registry: Registry) -> Parts {
        let forgets = self.plant == Plant::ForgetsTheTime;
        if forgets {
            self.time.jump(-3_600_000);
        }
        Parts {
            registry,
            store: Arc::<SimStore>::clone(&self.store),
            audit: Arc::<SimAudit>::clone(&self.audit),
            clock: Arc::<SimTime>::clone(&self.time),
            pace: Arc::<SimTime>::clone(&self.time),
            entropy: Arc::<SimEntropy>::clone(&self.entropy),
            system: SYSTEM,
            next_outbox: self.store.reopen(),
            not_before: if forgets { Time::default() } else { self.audit.latest() },
        }
    }

    fn run(&self, work: impl Future<Output = ()> + 'static) {
        self.born.borrow_mut().push((self.place, Box::pin(work)));
    }

    /// A new cluster.
    pub(crate) async fn found(&self, cluster: ClusterId, master: &MasterKey) -> Result<Arc<Vault>, Error> {
        let genesis = cluster::found(cluster, master, &self.randomness(), Clock::now(&*self.time), [0; 32])?;
        let vault = self.core(genesis.registry)?;
        let mut unit = vault.begin(SYSTEM);
        vault.stage_genesis(&mut unit, genesis.rows);
        let _receipt = unit.commit().await?;
        Ok(vault)
    }

    /// Opens what is stored with the MasterKey.
    pub(crate) async fn unseal(&self, cluster: ClusterId, master: &MasterKey) -> Result<Arc<Vault>, Error> {
        let store: Arc<dyn Keystore> = Arc::<SimStore>::clone(&self.store);
        self.core(cluster::load(&store, cluster, master).await?.registry)
    }

    fn core(&self, registry: Registry) -> Result<Arc<Vault>, Error> {
        let (vault, writer) = Vault::core(self.parts(registry))?;
        self.run(writer.run());
        Ok(vault)
    }

    /// The same store as it is now, and a node on it that hears of nothing that comes later.
    pub(crate) fn left_behind(&self) -> Self {
        Self { store: Arc::new(self.store.copied()), vault: Rc::default(), ..self.clone() }
    }

    /// What a start of an edge does: a lease, the group's roots, a vault.
    pub(crate) async fn start_edge(&self, upstream: Arc<SimUpstream>) -> Result<Arc<Vault>, Error> {
        let asked = Pace::now(&*self.time);
        let lease = upstream.lease().await?;
        let rows: Arc<dyn Keystore> = Arc::<SimStore>::clone(&self.store);
        let (registry, root) = roots(&rows, &*upstream, &lease, &self.randomness()).await?;
        let leases = Leases::new(lease, asked, Clock::now(&*self.time), HOLDS);
        let (pool_keys, cache_bytes, pairs, stretcher) = (POOL_KEYS, 1 << 20, Arc::new(SimPairs), Arc::new(SimPairs));
        let edge =
            EdgeParts { leases, upstream, pairs, stretcher, pool_keys, cache_bytes, l4_ttl: None, is_ephemeral: false, shared_as: None };
        let (vault, writer) = Vault::edge(self.parts(registry), edge)?;
        self.run(writer.run());
        if let Some(row) = root {
            let mut unit = vault.begin(SYSTEM);
            vault.stage_edge_roots(&mut unit, row);
            let _receipt = unit.commit().await?;
        }
        Ok(vault)
    }
}

/// The way to the core, for every edge.
#[derive(Default)]
pub(crate) struct Link {
    core: Mutex<Option<Arc<Vault>>>,
    /// Grows when the core goes: calls that are on the way then come to nothing.
    life: AtomicU64,
    /// Calls and answers are lost now and then.
    pub(crate) is_lossy: AtomicBool,
    pub(crate) is_cut: AtomicBool,
}

impl Link {
    pub(crate) fn set(&self, core: Option<Arc<Vault>>) {
        *lock(&self.core) = core;
        self.life.fetch_add(1, Ordering::Relaxed);
    }

    /// Does what the core is asked for, unless it goes meanwhile.
    async fn severed<T>(&self, work: impl Future<Output = T> + Send) -> Option<T> {
        let mut work = pin!(work);
        let born = self.life.load(Ordering::Relaxed);
        std::future::poll_fn(|context| {
            if self.life.load(Ordering::Relaxed) != born {
                return Poll::Ready(None);
            }
            work.as_mut().poll(context).map(Some)
        })
        .await
    }
}

/// What an edge was told last of its lease.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    /// When it asked, by its clock that nobody sets.
    pub(crate) asked: Duration,
    /// The same in the story.
    pub(crate) tick: u64,
    /// `None`: it was refused.
    pub(crate) lease: Option<Lease>,
}

/// A core as an edge reaches it: the core's own verbs, over a way on which calls and answers are lost.
pub(crate) struct SimUpstream {
    pub(crate) link: Arc<Link>,
    pub(crate) group: ScopeName,
    pub(crate) time: Arc<SimTime>,
    pub(crate) dice: Dice,
    pub(crate) tick: Arc<AtomicU64>,
    pub(crate) heard: Arc<Mutex<Option<Heard>>>,
    /// Answers instead of the core.
    pub(crate) stale: Arc<Mutex<Option<Arc<Vault>>>>,
    /// By what the core tells edges of one group apart.
    pub(crate) edge: EdgeKey,
    pub(crate) plant: Plant,
}

fn refused(error: Error) -> UpstreamError {
    match error {
        Error::Forged => UpstreamError::Forged,
        Error::Raced | Error::Unavailable { .. } => UpstreamError::Unavailable { what: error.to_string() },
        other => UpstreamError::Refused { why: other.to_string() },
    }
}

fn lost(what: &str) -> UpstreamError {
    UpstreamError::Unavailable { what: what.to_owned() }
}

impl SimUpstream {
    fn core(&self) -> Option<Arc<Vault>> {
        lock(&self.stale).clone().or_else(|| lock(&self.link.core).clone())
    }

    fn is_lost(&self) -> bool {
        self.link.is_cut.load(Ordering::Relaxed) || (self.link.is_lossy.load(Ordering::Relaxed) && self.dice.percent(8))
    }

    /// The core and what this edge may do there, if the call arrives.
    async fn enter(&self) -> Result<Arc<Vault>, UpstreamError> {
        pause(self.dice.within(0..3)).await;
        self.core().filter(|_| !self.is_lost()).ok_or_else(|| lost("the call is lost"))
    }

    /// What came of it, if the answer arrives.
    async fn leave<T>(&self, done: Option<Result<T, Error>>) -> Result<T, UpstreamError> {
        let answer = done.ok_or_else(|| lost("the core went away"))?.map_err(refused);
        pause(self.dice.within(0..3)).await;
        if self.is_lost() { Err(lost("the answer is lost")) } else { answer }
    }

    async fn grants(&self, core: &Vault) -> Result<Grants, Error> {
        let principal = Principal { role: Role::Edge, tenant: None, service: Some(self.group.clone()), certificate: [0; 32] };
        core.grants(&principal).await
    }

    /// Remembers what the edge has heard, unless that is older than what it knows.
    fn hear(&self, heard: Heard) {
        let mut last = lock(&self.heard);
        if last.as_ref().is_none_or(|last| last.tick <= heard.tick) {
            *last = Some(heard);
        }
    }
}

async fn wrap_one(core: &Vault, grants: &Grants, l3: RowId, id: ObjectKeyId, plain: &[u8]) -> Result<Vec<u8>, Error> {
    let unit = core.begin(SessionId(9));
    let (group, _, authorized) = core.authorize_edge::<WrapObjectKey>(&unit, grants, l3).await?;
    core.wrap_object_key(&unit, (&group, authorized), id, plain).await
}

async fn unwrap_one(core: &Vault, grants: &Grants, l3: RowId, id: ObjectKeyId, wrapped: &[u8]) -> Result<Bytes, Error> {
    let unit = core.begin(SessionId(9));
    let (group, _, authorized) = core.authorize_edge::<UnwrapObjectKey>(&unit, grants, l3).await?;
    core.unwrap_object_key(&unit, (&group, authorized), id, wrapped).await
}

#[async_trait]
impl Upstream for SimUpstream {
    async fn wrap(&self, l3: RowId, keys: &[(ObjectKeyId, &Bytes)]) -> Result<Vec<Vec<u8>>, UpstreamError> {
        let core = self.enter().await?;
        let done = self.link.severed(async {
            let grants = self.grants(&core).await?;
            let mut wrapped = Vec::with_capacity(keys.len());
            for (id, key) in keys {
                let plain = key.expose(<[u8]>::to_vec);
                wrapped.push(wrap_one(&core, &grants, l3, *id, &plain).await?);
            }
            Ok(wrapped)
        });
        self.leave(done.await).await
    }

    async fn unwrap(&self, l3: RowId, id: ObjectKeyId, wrapped: &[u8]) -> Result<Bytes, UpstreamError> {
        let core = self.enter().await?;
        let done = self.link.severed(async { unwrap_one(&core, &self.grants(&core).await?, l3, id, wrapped).await });
        self.leave(done.await).await
    }

    async fn unwrap_each(&self, keys: &[(RowId, ObjectKeyId, &[u8])]) -> Result<Vec<Result<Bytes, UpstreamError>>, UpstreamError> {
        let core = self.enter().await?;
        let done = self.link.severed(async {
            let grants = self.grants(&core).await?;
            let mut opened = Vec::with_capacity(keys.len());
            for (l3, id, wrapped) in keys {
                opened.push(match unwrap_one(&core, &grants, *l3, *id, wrapped).await.map_err(refused) {
                    Err(UpstreamError::Unavailable { what }) => return Err(Error::Unavailable { what }),
                    told => told,
                });
            }
            Ok(opened)
        });
        self.leave(done.await).await
    }

    async fn lease(&self) -> Result<Lease, UpstreamError> {
        let (asked, tick) = (Pace::now(&*self.time), self.tick.load(Ordering::Relaxed));
        let core = self.enter().await?;
        let done = self.link.severed(async { core.lease(&self.grants(&core).await?).await });
        let answer = self.leave(done.await).await;
        match &answer {
            Ok(lease) => self.hear(Heard { asked, tick, lease: Some(lease.clone()) }),
            Err(UpstreamError::Refused { .. }) => self.hear(Heard { asked, tick, lease: None }),
            Err(_) => {}
        }
        answer
    }

    async fn report(&self, references: &References) -> Result<(), UpstreamError> {
        let core = self.enter().await?;
        let lease = lock(&self.heard).as_ref().and_then(|heard| heard.lease.clone());
        let Some(arrived) = self.plant.reported(references, lease.as_ref()) else { return Ok(()) };
        let done = self.link.severed(async { core.take_references(&self.grants(&core).await?, self.edge, arrived).await });
        self.leave(done.await).await
    }

    /// What a core does for clients is tested with the protocol.
    async fn forward(&self, _client: &[Vec<u8>], _request: uuid::Uuid, _message: &[u8]) -> Result<Vec<u8>, UpstreamError> {
        Err(lost("the simulation forwards nothing"))
    }
}
