//! One running node: its store, log and seal, and whether it is open or sealed.

mod ceremony;
mod destroy;
mod edge;
mod figures;
mod rekey;
mod rotation;
mod shards;
mod slots;
mod tried;
mod waiting;

pub(crate) use ceremony::{CeremonyError, Next, Running, Starter};
pub use destroy::DestroyError;
pub(crate) use edge::{edge_parts, shared_as};
pub use rekey::{RekeyError, RekeyReport, RekeyStep};
pub use rotation::RetireError;
pub(crate) use shards::{Progress, ShardError, Taken};
pub(crate) use slots::SlotOrder;
pub use slots::{Authority, SlotError};
pub use waiting::WAITING;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use audit::Log;
use keys::cluster::{self, Roots};
use keys::floor::CrlFloors;
use keys::hierarchy::MasterKey;
use keys::id::{ClusterId, OutboxSeq, ScopeName, SessionId, Time};
use keys::policy::{Action, Principal};
use keys::port::{AuditSink, AuditUnavailable, Clock, Keystore, StoreError};
use keys::record::{Origin, Outcome, Record, SessionRecord};
use keys::registry::Registry;
use keys::unit::{Unit, Writer};
use keys::vault::{Parts, Vault};
use seal::{Attempt, Label, Residency, Roster, Seal, TypedPin};
use secret::Bytes;
use storage::cached::Cached;
use storage::embedded::Embedded;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::admin::calls::Calls;
use crate::causes::told;
use crate::config::Config;
use crate::keystore::Keystores;
use crate::layout::Identity;
use crate::metrics::{Counted, Metrics};
use crate::node::shards::Collecting;
use crate::notices::{Notices, Topic};
use crate::reencryptor::Reencryption;
use crate::refusals::Refusals;
use crate::role::upstream::Cores;
use crate::sandbox::{self, Confinement};
use crate::sessions::Sessions;
use crate::system::{SystemClock, SystemEntropy, SystemPace};

/// Records that one look into the outbox brings.
pub(crate) const OUTBOX_PAGE_RECORDS: usize = 1000;
/// How long sealing waits for requests under way.
const SEAL_WITHIN: Duration = Duration::from_secs(5);
/// How long unsealing waits until the listeners believe no CRL below the numbers that are stored.
const BELIEVE_WITHIN: Duration = Duration::from_secs(5);

/// A node of a cluster, from start to stop.
pub struct Node {
    /// What it was told.
    pub config: Config,
    /// Who it is.
    pub identity: Identity,
    /// How its key memory is protected.
    pub memory: secret::Report,
    /// How far it is held to the places that it writes to.
    pub confinement: Confinement,
    /// Where its rows are.
    pub store: Arc<dyn Keystore>,
    /// The same, for what a keystore on the node's own disk can tell besides; `None` for an edge that keeps nothing.
    pub embedded: Option<Arc<Embedded>>,
    /// Its keystores one by one; `None` for an edge that keeps nothing.
    pub keystores: Option<Arc<Keystores>>,
    /// Its log.
    pub audit: Arc<Log>,
    /// By what it opens.
    pub custody: Custody,
    /// Numbers for connections.
    pub sessions: Sessions,
    /// The appliance's own session.
    pub system: SessionId,
    /// Where the admin socket is.
    pub socket: PathBuf,
    /// What its parts have to warn of.
    pub notices: Notices,
    /// What it counts of its own work.
    pub metrics: Metrics,
    /// How keys come under new versions of what wraps them.
    pub reencryption: Reencryption,
    /// Keys that got a next version by themselves.
    pub renewed: AtomicU64,
    /// How often the admin interface was called of late.
    pub(crate) calls: Calls,
    /// Certificates that were refused of late.
    pub(crate) refusals: Refusals,
    state: RwLock<State>,
    /// An operator has sealed it, so it does not open by itself.
    by_request: AtomicBool,
    /// Told when it opens or is sealed.
    changed: Notify,
    slots: Mutex<Slots>,
    collecting: Mutex<Collecting>,
    /// One at a time changes the slots or the MasterKey in them; the next one is refused.
    jobs: tokio::sync::Mutex<()>,
    ceremony: Mutex<Option<Running>>,
    /// The domain's clock never shows less, also after a seal or a restart.
    newest_millis: AtomicI64,
    /// No outbox number up to this one is used again.
    last_outbox: Mutex<OutboxSeq>,
    /// One unseal or seal at a time; holds the writer of the open domain.
    writer: tokio::sync::Mutex<Option<JoinHandle<()>>>,
    /// When all of the audit log was last known to be on disk.
    synced: Mutex<Option<Instant>>,
    /// Who keeps the trust of the listeners.
    trust: OnceLock<mpsc::Sender<FoundFloors>>,
}

/// By what a node opens.
#[derive(Clone)]
pub enum Custody {
    /// A core: by its slots.
    Slots(Arc<Seal>),
    /// An edge: by its core.
    Core(Arc<Cores>),
}

/// Sealed is a state, not an error.
enum State {
    Sealed { since: Time, reason: String },
    Open(Arc<Open>),
}

/// An unsealed node's keys. Dropping the last one wipes them.
pub struct Open {
    /// The domain.
    pub vault: Arc<Vault>,
    /// Since when.
    pub since: Time,
}

/// The CRL numbers that an unseal has found: the node is not open before they are believed (C21).
pub struct FoundFloors {
    /// The numbers.
    pub floors: CrlFloors,
    /// To be told when no list below them is in force.
    pub believed: oneshot::Sender<()>,
}

/// What is known of the slots, by the last time each was tried.
struct Slots {
    attempts: Vec<Attempt>,
    tried: Option<Instant>,
    residency: Residency,
    /// Kept only while the residency rule says so; a job holds it until it has ended.
    master: Option<Arc<MasterKey>>,
    /// A MasterKey that is to be the next one, by its generation, while none of its slots opens without a person.
    next: Option<(u32, Arc<MasterKey>)>,
    /// The generation of the MasterKey, as the keystore said last.
    generation: Option<u32>,
    /// What is wrong with the table of slots, if anything.
    table: Option<String>,
}

impl Slots {
    fn new() -> Self {
        Self { attempts: Vec::new(), tried: None, residency: Residency::of(&[]), master: None, next: None, generation: None, table: None }
    }

    fn forget(&mut self) {
        (self.master, self.next) = (None, None);
    }
}

/// A PIN that an operator typed.
pub struct Typed {
    /// Whose PIN.
    pub custodian: Label,
    /// The PIN.
    pub pin: Bytes,
    /// Try it once although an earlier one was refused.
    pub retry_pin: bool,
}

/// Why a node did not become open.
#[derive(Debug, thiserror::Error)]
pub enum UnsealError {
    /// A commit that was under way when the node was sealed has not ended.
    #[error("a change from before the seal has not ended yet: try again; if it never ends, restart strongroomd")]
    StillClosing,
    /// The keystore does not answer; no device was asked.
    #[error("{WAITING}: {}", told(.source))]
    Keystore {
        /// Why not.
        source: StoreError,
    },
    /// No slot opened.
    #[error(transparent)]
    Slots(#[from] seal::Error),
    /// A slot opened, but the roots in the store did not.
    #[error(transparent)]
    Roots(#[from] keys::Error),
    /// The listeners' trust did not take up the CRL numbers that are stored.
    #[error("the CRL numbers in the keystore were not taken up within {BELIEVE_WITHIN:?}: unseal again")]
    Trust,
    /// The configuration is an edge's, the folder a core's, or the other way round.
    #[error("data_dir belongs to a node of the other role: correct `role` or `data_dir`")]
    NoEdge,
    /// The core's certificate rules or its operator say that this edge is of another group or cluster than when it was made.
    #[error(
        "the core says that this edge is of the group {group} in cluster {cluster}, which it was not made for: use another data_dir, or the certificate that it was made with"
    )]
    OtherGroup {
        /// The core's cluster.
        cluster: ClusterId,
        /// What the core calls the group.
        group: ScopeName,
    },
    /// The store has lost what everything in it is checked by.
    #[error("the keystore holds no integrity key: put it back from a copy; nothing was made in its place")]
    NoIntegrityKey,
    /// The audit log does not take the key or the record.
    #[error("audit log: {what}")]
    Audit {
        /// Why.
        what: String,
    },
}

/// What a node is built from, once its files are open.
pub struct NodeParts {
    /// What it was told.
    pub config: Config,
    /// Who it is.
    pub identity: Identity,
    /// How its key memory is protected.
    pub memory: secret::Report,
    /// How far it is held to the places that it writes to.
    pub confinement: Confinement,
    /// Where its rows are.
    pub store: Arc<dyn Keystore>,
    /// The same, for what a keystore on the node's own disk can tell besides; `None` for an edge that keeps nothing.
    pub embedded: Option<Arc<Embedded>>,
    /// Its keystores one by one; `None` for an edge that keeps nothing.
    pub keystores: Option<Arc<Keystores>>,
    /// Its log.
    pub audit: Arc<Log>,
    /// By what it opens.
    pub custody: Custody,
    /// Numbers for connections.
    pub sessions: Sessions,
    /// The highest outbox number in the log.
    pub last_outbox: OutboxSeq,
    /// The latest time in the log.
    pub last_time: Time,
    /// Where the admin socket is.
    pub socket: PathBuf,
}

impl Node {
    /// A sealed node.
    #[must_use]
    pub fn new(parts: NodeParts) -> Self {
        let system = parts.sessions.next();
        let metrics = Metrics::default();
        let mut store: Arc<dyn Keystore> = Arc::new(Counted::new(parts.store, Arc::clone(&metrics.store)));
        // Above what counts: a keystore that is not asked does not answer.
        // Nor of what others change, who tell which keys they have changed and not which rows.
        let is_shared = parts.config.edge.as_ref().is_some_and(|edge| edge.is_shared);
        if !parts.config.keystores.is_empty() && parts.config.row_cache.bytes > 0 && !is_shared {
            store = Arc::new(Cached::new(store, parts.config.row_cache, Arc::clone(&metrics.rows)));
        }
        Self {
            calls: Calls::new(parts.config.admin.calls_per_second),
            config: parts.config,
            identity: parts.identity,
            memory: parts.memory,
            confinement: parts.confinement,
            store,
            embedded: parts.embedded,
            keystores: parts.keystores,
            audit: parts.audit,
            custody: parts.custody,
            by_request: AtomicBool::new(false),
            changed: Notify::new(),
            sessions: parts.sessions,
            system,
            socket: parts.socket,
            notices: Notices::default(),
            metrics,
            reencryption: Reencryption::default(),
            renewed: AtomicU64::new(0),
            refusals: Refusals::default(),
            state: RwLock::new(State::Sealed { since: SystemClock.now(), reason: "not unsealed since start".to_owned() }),
            slots: Mutex::new(Slots::new()),
            collecting: Mutex::default(),
            jobs: tokio::sync::Mutex::default(),
            ceremony: Mutex::default(),
            newest_millis: AtomicI64::new(parts.last_time.millis()),
            last_outbox: Mutex::new(parts.last_outbox),
            writer: tokio::sync::Mutex::new(None),
            synced: Mutex::new(None),
            trust: OnceLock::new(),
        }
    }

    /// The open domain, if the node is unsealed.
    #[must_use]
    pub fn open(&self) -> Option<Arc<Open>> {
        match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Open(open) => Some(Arc::clone(open)),
            State::Sealed { .. } => None,
        }
    }

    /// Since when and why the node is sealed, if it is.
    #[must_use]
    pub fn sealed(&self) -> Option<(Time, String)> {
        match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Open(_) => None,
            State::Sealed { since, reason } => Some((*since, reason.clone())),
        }
    }

    fn become_state(&self, state: State) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
        self.changed.notify_waiters();
    }

    /// Waits until the node opens or is sealed. What happens between the call and the first poll is not missed.
    pub fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Did an operator seal it?
    #[must_use]
    pub fn is_sealed_by_request(&self) -> bool {
        self.by_request.load(Ordering::Relaxed)
    }

    /// How it stands, in one line for the service manager.
    #[must_use]
    pub fn standing(&self) -> String {
        match self.sealed() {
            None => "unsealed".to_owned(),
            Some((_, reason)) => format!("sealed: {reason}"),
        }
    }

    /// A unit for `session`, on an open or a sealed node.
    #[must_use]
    pub fn begin(&self, session: SessionId) -> Unit {
        match self.open() {
            Some(open) => open.vault.begin(session),
            None => Unit::new(session, Arc::<Log>::clone(&self.audit), None),
        }
    }

    /// Opens a session in the audit log and returns its number.
    ///
    /// # Errors
    /// The log cannot be written: the peer is not served.
    pub fn session(&self, origin: Origin, principal: Option<&Principal>, peer: &str) -> Result<SessionId, UnsealError> {
        let session = self.sessions.next();
        self.audit.session(&session_record(session, origin, principal, peer)).map_err(log_error)?;
        Ok(session)
    }

    /// Writes the appliance's own session and that it has started.
    ///
    /// # Errors
    /// The log cannot be written.
    pub fn record_start(&self) -> Result<(), UnsealError> {
        let peer = format!("strongroomd {} pid {}", env!("CARGO_PKG_VERSION"), std::process::id());
        self.audit.session(&session_record(self.system, Origin::System, None, &peer)).map_err(log_error)?;
        self.note_own(self.system, Action::Start, Outcome::Success)
    }

    /// Writes one record that concerns no object.
    ///
    /// # Errors
    /// The log cannot be written.
    pub fn note(&self, session: SessionId, action: Action, outcome: Outcome) -> Result<(), UnsealError> {
        self.audit.append(&[plain(session, action, outcome)]).map_err(log_error)
    }

    /// As [`Node::note`], of what the node does itself or for its operator: on a full disk too, if it is sealing, stopping or looking.
    ///
    /// # Errors
    /// The log cannot be written.
    pub fn note_own(&self, session: SessionId, action: Action, outcome: Outcome) -> Result<(), UnsealError> {
        self.audit.append_own(&[plain(session, action, outcome)]).map_err(log_error)
    }

    /// Writes the records of what was not done; a log that cannot take them says so itself, and nobody is told of a success.
    pub fn note_all(&self, records: &[Record]) {
        if let Err(error) = self.audit.append(records) {
            tracing::error!(%error, "refused requests are not in the audit log");
        }
    }

    /// Opens the MasterKey by the first slot that yields it, then the roots, then the domain. A typed PIN serves the custodian that needs one.
    ///
    /// # Errors
    /// [`UnsealError`] says slot by slot why not; the node stays sealed.
    pub async fn unseal(&self, session: SessionId, typed: Option<Typed>) -> Result<(), UnsealError> {
        let mut writer = self.writer.lock().await;
        if self.open().is_some() {
            return Ok(());
        }
        if let Some(running) = writer.as_mut() {
            // It may still commit what was under way when the node was sealed, under numbers that must not be used twice.
            timeout(SEAL_WITHIN, running).await.map_err(|_| UnsealError::StillClosing)?.map_err(|_| UnsealError::StillClosing)?;
            *writer = None;
        }
        self.by_request.store(false, Ordering::Relaxed);
        // A person had a part in it, by a PIN or by shards.
        let by_hand = typed.is_some() || !self.given_shards().is_empty();
        let unsealed = match self.try_open(typed).await {
            Ok(unsealed) => self.note_own(session, Action::Unseal, Outcome::Success).map(|()| unsealed),
            Err(error) => Err(self.note_own(session, Action::Unseal, Outcome::Unavailable).err().unwrap_or(error)),
        };
        match unsealed {
            Ok((open, running)) => {
                *writer = Some(running);
                self.become_state(State::Open(Arc::new(open)));
                self.drop_shards(false);
            }
            Err(error) => {
                self.forget();
                self.become_state(State::Sealed { since: SystemClock.now(), reason: error.to_string() });
                return Err(error);
            }
        }
        drop(writer);
        if by_hand {
            // A person opened one slot; whether another opens without one decides what becomes of the MasterKey.
            self.probe_slots().await;
        }
        Ok(())
    }

    /// Drops what the node itself holds of the keys; the domain goes with its last user.
    fn forget(&self) {
        self.slots().forget();
        self.audit.clear_key();
        if let Custody::Core(cores) = &self.custody {
            cores.set_signer(None);
        }
    }

    async fn try_open(&self, typed: Option<Typed>) -> Result<(Open, JoinHandle<()>), UnsealError> {
        self.look_after_keystore().await?;
        match &self.custody {
            Custody::Slots(seal) => self.try_unseal(seal, typed).await,
            Custody::Core(upstream) => self.try_lease(upstream).await,
        }
    }

    fn parts(&self, registry: Registry, next_outbox: OutboxSeq) -> Parts {
        Parts {
            registry,
            store: Arc::clone(&self.store),
            audit: Arc::<Log>::clone(&self.audit),
            clock: Arc::new(SystemClock),
            pace: Arc::new(SystemPace),
            entropy: Arc::new(SystemEntropy),
            system: self.system,
            next_outbox,
            not_before: Time::from_millis(self.newest_millis.load(Ordering::Relaxed)),
        }
    }

    async fn try_unseal(&self, seal: &Arc<Seal>, typed: Option<Typed>) -> Result<(Open, JoinHandle<()>), UnsealError> {
        let started = Instant::now();
        let (checked, seal) = (Arc::clone(seal), Arc::clone(seal));
        let (expected, shards) = (self.expected().await, self.given_shards());
        let opened = blocking(move || {
            let typed = typed.as_ref().map(|Typed { custodian, pin, retry_pin }| TypedPin { custodian, pin, retry_pin: *retry_pin });
            seal.unseal_by(expected, typed, &shards)
        })
        .await?;
        let Roots { registry, cluster, audit_seed } = cluster::load(&self.store, self.identity.cluster, &opened.master).await?;
        self.audit.set_key(audit_seed).map_err(|error| UnsealError::Audit { what: error.to_string() })?;
        let (registry, master) = rekey::remove_old_slots(&checked, &cluster, registry, opened.master).await;
        let table = checked.settle_table(registry.integrity()).err().map(|error| error.to_string());
        let next_outbox = self.reconcile().await?;
        let (vault, writer) = Vault::core(self.parts(registry, next_outbox))?;
        self.raise_floors(&vault).await?;
        let running = spawn_writer(writer);
        tracing::info!(slot = %opened.slot.header.label, elapsed = ?started.elapsed(), "unsealed");
        let residency = Residency::of(&opened.attempts);
        let master = (residency != Residency::WipedAfterJobs).then(|| Arc::new(master));
        let (attempts, tried, generation) = (opened.attempts, Some(Instant::now()), Some(cluster.master_generation));
        *self.slots() = Slots { attempts, tried, residency, master, next: None, generation, table };
        Ok((Open { vault, since: SystemClock.now() }, running))
    }

    /// Tells every later unseal's CRL numbers to whoever asks first: the keeper of the listeners' trust.
    #[must_use]
    pub fn follow_floors(&self) -> mpsc::Receiver<FoundFloors> {
        let (sender, receiver) = mpsc::channel(1);
        let _has_a_keeper = self.trust.set(sender);
        receiver
    }

    /// Has the listeners believe no CRL below the numbers that are stored.
    async fn raise_floors(&self, vault: &Vault) -> Result<(), UnsealError> {
        let Some(trust) = self.trust.get() else { return Ok(()) };
        let raised = timeout(BELIEVE_WITHIN, async {
            let floors = match vault.crl_floors().await {
                Ok(floors) => floors,
                // One damaged record does not keep everybody from their keys. It is said again with each try to store numbers.
                Err(error @ keys::Error::Corrupt { .. }) => {
                    tracing::error!(%error, "the CRL numbers of before are lost");
                    return Ok(());
                }
                Err(error) => return Err(UnsealError::from(error)),
            };
            let (believed, answer) = oneshot::channel();
            if trust.send(FoundFloors { floors, believed }).await.is_ok() {
                // A keeper that has ended has no listener to keep.
                let _ended = answer.await;
            }
            Ok(())
        });
        raised.await.unwrap_or(Err(UnsealError::Trust))
    }

    /// Standing warnings, each with what to do, and what each is about.
    #[must_use]
    pub fn warnings(&self) -> Vec<(Topic, String)> {
        let mut told = Told(self.slots().table.iter().map(|table| (Topic::Slots, table.clone())).collect());
        match self.seal_slots().map(|seal| seal.list()) {
            Some(Ok(listing)) => {
                let generation = self.slots().generation;
                told.say(Topic::Rekey, rekey::warnings_of(&listing, generation));
                let listing = listing.of_generation(generation);
                told.say(Topic::SecondSlot, listing.too_few().map(|few| few.to_string()));
                told.say(Topic::Roster, listing.roster().and_then(Roster::one_alone).map(|alone| alone.to_string()));
                told.say(Topic::Slots, listing.unreadable.iter().map(|file| format!("{}: {}", file.file, file.why)));
                self.slots().attempts.iter().for_each(|attempt| told.say(Topic::Slots, slots::warnings_of(attempt)));
            }
            Some(Err(error)) => told.say(Topic::Slots, [error.to_string()]),
            None => {}
        }
        if self.config.edge.as_ref().is_some_and(|edge| edge.is_ephemeral) {
            told.say(Topic::VolatileStore, ["volatile store: objects are gone when this process ends (edge.ephemeral)".to_owned()]);
        }
        if let Some(Err(error)) = self.open().map(|open| open.vault.check_lease()) {
            told.say(Topic::Lease, [format!("nothing is served: {error}; look at the cores in edge.upstreams")]);
        }
        told.0.extend(self.notices.all());
        told.say(Topic::Keystores, self.keystores.iter().flat_map(|keystores| keystores.warnings()));
        let cannot_write = self.embedded.as_ref().and_then(|embedded| embedded.writable().err());
        told.say(Topic::KeystoreFile, cannot_write.map(|error| error.to_string()));
        // A file of the node's own says itself why it cannot be written, and can be read all the same.
        let is_elsewhere = self.keystores.as_ref().is_none_or(|keystores| keystores.reach_elsewhere());
        told.say(Topic::KeystoreAnswers, self.metrics.store.failing().filter(|_| is_elsewhere));
        if self.memory.backing == secret::Backing::Mlock {
            told.say(Topic::Memory, ["key memory is only locked, not hidden from root: this kernel has no memfd_secret".to_owned()]);
        }
        told.say(Topic::Confinement, (self.confinement == Confinement::Absent).then(|| sandbox::ABSENT.to_owned()));
        for (key, ivs) in self.open().iter().flat_map(|open| open.vault.keys_short_of_ivs()) {
            told.say(Topic::Ivs, [format!("{key} has reserved {ivs} random IVs of {}: rotate it", keys::budget::IVS_MAX)]);
        }
        if self.config.listeners.kmip.is_none() {
            told.say(Topic::KmipListener, ["no KMIP listener: set listeners.kmip".to_owned()]);
        }
        told.0
    }

    /// Brings records that became durable with their change, but not yet to the log, into the log; returns the first unused outbox number.
    ///
    /// # Errors
    /// The store's or the log's.
    pub async fn reconcile(&self) -> Result<OutboxSeq, UnsealError> {
        let mut last = self.audit.settled();
        loop {
            let page = self.store.outbox(last, OUTBOX_PAGE_RECORDS).await.map_err(keys::Error::from)?;
            let Some(entry) = page.last() else { break };
            last = entry.seq;
            let newest = page.iter().map(|entry| entry.record.time.millis()).max();
            self.newest_millis.fetch_max(newest.unwrap_or(i64::MIN), Ordering::Relaxed);
            self.audit.reconcile(&page).map_err(log_error)?;
        }
        let mut used = self.last_outbox.lock().unwrap_or_else(PoisonError::into_inner);
        *used = last.max(*used);
        Ok(OutboxSeq(used.0 + 1))
    }

    /// Forgets every key. Requests under way end first; the log signs what it has, then forgets its key too.
    ///
    /// # Errors
    /// The log cannot be written: the node seals all the same.
    pub async fn seal(&self, session: SessionId) -> Result<(), UnsealError> {
        let mut writer = self.writer.lock().await;
        self.by_request.store(true, Ordering::Relaxed);
        self.drop_shards(true);
        let Some(open) = self.open() else {
            self.forget();
            return Ok(());
        };
        self.newest_millis.fetch_max(open.vault.now().millis(), Ordering::Relaxed);
        drop(open);
        let noted = self.note_own(session, Action::Seal, Outcome::Success);
        self.become_state(State::Sealed { since: SystemClock.now(), reason: "sealed by request".to_owned() });
        self.slots().forget();
        // The writer ends with the last request that holds the domain. One that hangs in a commit is kept, and no unseal goes past it.
        if let Some(running) = writer.as_mut()
            && timeout(SEAL_WITHIN, running).await.is_ok()
        {
            *writer = None;
        }
        let _late = timeout(SEAL_WITHIN, self.flush_audit()).await;
        self.forget();
        noted
    }

    /// Signs and syncs the log's open group, and closes gaps that failed commits have left in the outbox's numbers.
    pub async fn flush_audit(&self) {
        let audit = Arc::clone(&self.audit);
        match blocking(move || audit.flush()).await {
            Ok(()) => *self.synced.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now()),
            Err(error) => tracing::error!(%error, "audit log not flushed"),
        }
        if self.audit.needs_reconcile()
            && let Err(error) = self.reconcile().await
        {
            tracing::error!(%error, "audit log not reconciled with the outbox");
        }
    }
}

/// Warnings under way.
struct Told(Vec<(Topic, String)>);

impl Told {
    fn say(&mut self, about: Topic, warnings: impl IntoIterator<Item = String>) {
        self.0.extend(warnings.into_iter().map(|warning| (about, warning)));
    }
}

/// Runs the writer on a thread of its own, so that a commit waits for the disk where it stands and takes no hop to one that may.
fn spawn_writer(writer: Writer) -> JoinHandle<()> {
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || runtime.block_on(writer.run()))
}

/// Runs what waits for devices or disks on a thread that may wait.
async fn blocking<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> R {
    tokio::task::spawn_blocking(work).await.expect("the work does not panic")
}

pub(crate) fn log_error(error: AuditUnavailable) -> UnsealError {
    UnsealError::Audit { what: error.to_string() }
}

fn plain(session: SessionId, action: Action, outcome: Outcome) -> Record {
    Record { time: SystemClock.now(), session, action, object: None, version: None, generation: None, outcome }
}

fn session_record(session: SessionId, origin: Origin, principal: Option<&Principal>, peer: &str) -> SessionRecord {
    let text = |name: Option<&ScopeName>| name.map(ToString::to_string).unwrap_or_default();
    SessionRecord {
        time: SystemClock.now(),
        session,
        origin,
        role: principal.map(|principal| principal.role),
        tenant: text(principal.and_then(|principal| principal.tenant.as_ref())),
        service: text(principal.and_then(|principal| principal.service.as_ref())),
        certificate: principal.map_or([0; 32], |principal| principal.certificate),
        peer: peer.chars().filter(|c| !c.is_control()).collect(),
    }
}
