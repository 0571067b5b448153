//! The boot road: memory, self-tests, files, unseal, listeners, ready; and the way back down.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use audit::Log;
use hsm::{Device, DeviceProcess, ProcessSettings};
use keys::id::{RowId, Time};
use keys::policy::Action;
use keys::port::Keystore;
use keys::record::{Origin, Outcome};
use sd_notify::NotifyState;
use seal::{CustodianSettings, Means, PinSource, Pkcs11Settings, Recipient, Seal, SealSettings, ShamirSettings, Tpm2Settings};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{Id, JoinSet};
use tokio::time::timeout;

use crate::admin::{routes, server};
use crate::awaiter;
use crate::config::{self, Config};
use crate::confine::ConfineError;
use crate::http;
use crate::keystore::{self, Opened};
use crate::layout::{Layout, LayoutError};
use crate::listener::Door;
use crate::logging::LogLevel;
use crate::mover::Mover;
use crate::node::{Custody, Node, NodeParts, OUTBOX_PAGE_RECORDS, UnsealError};
use crate::passed::{Passed, PassedError};
use crate::plugin;
use crate::reencryptor::Reencryptor;
use crate::reload::Reloader;
use crate::renewer::Renewer;
use crate::role::edge;
use crate::role::upstream::Cores;
use crate::rotator::Rotator;
use crate::sandbox::Confinement;
use crate::session;
use crate::sessions::Sessions;
use crate::stop::{self, Stop};
use crate::sweeper::Sweeper;
use crate::system;
use crate::tls::{self, TlsError};
use crate::vitals::{self, tell};

/// Longest time for one job of the device process.
const DEVICE_DEADLINE: Duration = Duration::from_secs(30);
/// How long connections may finish what they are at when the node stops.
const DRAIN_WITHIN: Duration = Duration::from_secs(10);

/// What the process needs beside connections: store, log, admin connections, device processes.
const DESCRIPTORS_KEPT: u64 = 256;
/// How long a start waits for the first unseal before it says that it is ready.
const READY_WITHIN: Duration = Duration::from_secs(10);
/// How long after a keystore was found away it is asked again, doubled with each further time.
const KEYSTORE_PAUSE_LEAST: Duration = Duration::from_millis(250);
/// Never longer than this.
const KEYSTORE_PAUSE_MOST: Duration = Duration::from_secs(5);
/// Numbers of sessions that a start leaves out which cannot see what waits in its keystore: more than a log can have lost with the machine's power.
const SESSIONS_LEFT_OUT: u64 = 1 << 20;
/// How often streams are looked at whose time is over.
const STREAMS_SWEPT_EVERY: Duration = Duration::from_secs(10);
/// How often answers are looked at whose time is over.
const ANSWERS_FORGOTTEN_EVERY: Duration = Duration::from_secs(60);
/// How long each of the last steps may take.
const END_WITHIN: Duration = Duration::from_secs(5);
/// Longer, because sealing itself waits for requests under way and for the log.
const SEAL_WITHIN: Duration = Duration::from_secs(12);

/// Why the node does not start, or not stop in good order.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// Key memory cannot be had.
    #[error(transparent)]
    Memory(#[from] secret::ArenaError),
    /// The process cannot be hardened.
    #[error("cannot harden the process: {0}")]
    Harden(#[from] nix::Error),
    /// A self-test failed: this machine or build computes wrongly.
    #[error("{0}; do not use this installation")]
    SelfTest(#[from] cipher::selftest::SelfTestFailed),
    /// The node's own files.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The configuration refers to what is not there.
    #[error(transparent)]
    Config(#[from] config::ConfigError),
    /// What the service manager has passed is not what the configuration says.
    #[error(transparent)]
    Passed(#[from] PassedError),
    /// The seal section cannot be meant.
    #[error("seal: {0}")]
    Seal(#[from] seal::Error),
    /// The folder is that of a node of the other role.
    #[error("{} belongs to a node of the other role: correct `role` or `data_dir`", .data_dir.display())]
    OtherRole {
        /// The folder.
        data_dir: PathBuf,
    },
    /// The node exists, its keystore does not.
    #[error("the keystore {} is missing: put it back from a copy; nothing was made in its place", .path.display())]
    StoreMissing {
        /// Where it should be.
        path: PathBuf,
    },
    /// The configuration names other keystores than rows are in.
    #[error(
        "{row} lies in keystore {from}, and `routing` has it in {to}: put `routing` back as it was, start, and run `strongroom keystore migrate --from {from} --to {to}`"
    )]
    RowsElsewhere {
        /// The first such row.
        row: RowId,
        /// Where it lies.
        from: String,
        /// Where the configuration has it.
        to: String,
    },
    /// The configuration was changed before rows had come to where they are being moved.
    #[error(
        "rows are being moved from keystore {from} to {to}: put `routing` back as it was until `strongroom keystore migrate --status` says that none are"
    )]
    RowsMoving {
        /// From where.
        from: String,
        /// Where to.
        to: String,
    },
    /// The configuration does not know a keystore that has rows.
    #[error(
        "rows lie in keystore {keystore}, which is not under `keystores` any more: put it back; `strongroom keystore migrate` moves rows elsewhere"
    )]
    KeystoreGone {
        /// Which.
        keystore: String,
    },
    /// A certificate or key for the way to the keystore.
    #[error("keystores.{keystore}: {source}")]
    StoreTls {
        /// Which keystore.
        keystore: String,
        /// What is wrong.
        #[source]
        source: TlsError,
    },
    /// The plugin of a keystore is not started.
    #[error("keystores.{keystore}.grpc: {source}")]
    Plugin {
        /// Which keystore.
        keystore: String,
        /// Why not.
        #[source]
        source: ConfineError,
    },
    /// There is no such user.
    #[error("keystores.{keystore}.grpc.user: this machine has no user `{user}`: correct the name, or make the user")]
    PluginUser {
        /// Which keystore.
        keystore: String,
        /// The name.
        user: String,
    },
    /// The plugin has rows of another cluster.
    #[error("keystores.{keystore}.grpc: the plugin holds a cluster already: give it an empty place; nothing was made")]
    PluginTaken {
        /// Which keystore.
        keystore: String,
    },
    /// The plugin changes one row at a time, and several edges are to use it.
    #[error(
        "keystores.{keystore}.grpc: edge.shared is true, and the plugin has no capability `batch`, or was without it when this edge's rows came to it: share a plugin that had it from the beginning, or a PostgreSQL database; or set edge.shared to false and use this one by one edge alone"
    )]
    PluginUnshared {
        /// Which keystore.
        keystore: String,
    },
    /// The keystore's password cannot be had.
    #[error("the keystore's password in {}: {what}", .path.display())]
    Password {
        /// The credential.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The keystore does not open.
    #[error(transparent)]
    Store(#[from] keys::port::StoreError),
    /// The audit log does not open.
    #[error(transparent)]
    Audit(#[from] audit::AuditError),
    /// The log or the store does not work.
    #[error(transparent)]
    Unseal(#[from] UnsealError),
    /// A certificate or key for TLS.
    #[error("listeners.{listener}: {source}")]
    Tls {
        /// Which listener.
        listener: &'static str,
        /// What is wrong.
        #[source]
        source: TlsError,
    },
    /// A listener cannot be bound.
    #[error("listeners.{listener}.bind: cannot listen on {address} ({source}): free the port or choose another")]
    Bind {
        /// Which listener.
        listener: &'static str,
        /// Where.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The admin socket cannot be bound.
    #[error("admin socket {path}: {source}")]
    Socket {
        /// Where.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A part of the node ended by itself.
    #[error("{what} has failed ({why}): the node ends and has to be started again")]
    Fallen {
        /// Which part.
        what: &'static str,
        /// Why.
        why: String,
    },
    /// A step of the way down did not end.
    #[error("{what} took longer than {limit:?}: look at the disk below data_dir and at the devices")]
    Late {
        /// Which step.
        what: &'static str,
        /// How long it may take.
        limit: Duration,
    },
    /// The runtime failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Locks memory, hardens the process and proves the algorithms; before anything secret exists.
///
/// # Errors
/// [`BootError::Memory`] names the limit that is too small; [`BootError::SelfTest`]; [`BootError::Io`] if there are no threads left.
pub fn prepare_process(config: &Config) -> Result<secret::Report, BootError> {
    let memory = secret::arena::init(config.memory)?;
    system::harden()?;
    tls::seed()?;
    cipher::selftest::run()?;
    keys::wrap::self_test()?;
    Ok(memory)
}

/// The seal as configured, with a device process per job.
///
/// # Errors
/// [`BootError::Seal`], [`BootError::Config`].
pub fn open_seal(config: &Config, layout: &Layout) -> Result<Seal, BootError> {
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let program = std::env::current_exe()?;
    let variables = config.seal.custodians.iter().flat_map(config::Custodian::environment);
    let environment = variables.map(|(name, value)| (name.clone(), value.clone()));
    let device: Arc<dyn Device> = Arc::new(DeviceProcess::new(ProcessSettings {
        program: config.seal.device(program.parent().unwrap_or(Path::new("/"))),
        latch_dir: layout.latch(),
        environment: environment.collect(),
        deadline: DEVICE_DEADLINE,
    }));
    let custodians = config.seal.custodians.iter().map(|custodian| custodian_settings(custodian, credentials.as_deref()));
    Ok(Seal::new(SealSettings { slots_dir: layout.slots(), custodians: custodians.collect::<Result<_, _>>()? }, &device)?)
}

fn custodian_settings(custodian: &config::Custodian, credentials: Option<&Path>) -> Result<CustodianSettings, BootError> {
    let means = match &custodian.means {
        config::Means::Pkcs11(config::Pkcs11 { token, key, pin, .. }) => {
            let pin = match pin {
                Some(credential) => PinSource::Credential(credential.path(credentials)?),
                None => PinSource::Typed,
            };
            Means::Pkcs11(Pkcs11Settings { module: token.module.clone(), token: token.name.clone(), key: key.clone(), pin })
        }
        config::Means::Tpm2(config::Tpm2 { tpm, pcrs, pin }) => {
            let pin = match pin {
                Some(config::TpmPin::Credential(credential)) => Some(PinSource::Credential(credential.path(credentials)?)),
                Some(config::TpmPin::Typed) => Some(PinSource::Typed),
                None => None,
            };
            Means::Tpm2(Tpm2Settings { tpm: tpm.clone(), pcrs: pcrs.clone(), pin })
        }
        config::Means::Age(recipient) => Means::Person(Recipient::Age(*recipient)),
        config::Means::Card(key) => Means::Person(Recipient::Card(key.clone())),
        config::Means::Shamir(config::Shamir { threshold, keepers }) => {
            let keepers = keepers.iter().map(|keeper| keeper.parse()).collect::<Result<_, seal::Error>>()?;
            Means::Shamir(ShamirSettings { threshold: *threshold, keepers })
        }
    };
    let region = custodian.region.as_deref().map(str::parse).transpose()?;
    Ok(CustodianSettings { name: custodian.name.parse()?, region, means })
}

/// Runs a node until it is told to stop.
///
/// - `file`: where `config` came from, to be read again on SIGHUP.
/// - `held`: how its key memory is protected, and how far it is held to the places that it writes to.
/// - `log`: to be told when `log.level` changes with it.
/// - `passed`: sockets that are bound already.
///
/// # Errors
/// [`BootError`] says what to mend; [`BootError::Fallen`] that the node has to be started again.
pub async fn run(
    file: PathBuf,
    config: Config,
    held: (secret::Report, Confinement),
    log: LogLevel,
    mut passed: Passed,
) -> Result<(), BootError> {
    passed.check(&config.listeners)?;
    let mut signals = Signals::catch()?;
    let hangup = signal(SignalKind::hangup())?;
    let descriptors = system::raise_descriptors()?;
    let layout = Layout::new(&config.data_dir);
    let _lock = layout.lock()?;
    let mut starting = JoinSet::new();
    starting.spawn(vitals::starting());
    let opened = tokio::select! {
        opened = open_node(config, held, &layout) => opened,
        () = signals.stop() => return Ok(()),
    };
    let node = Arc::new(opened?);
    if !node.awaits_keystore() {
        node.resume_ceremony().await;
        node.reconcile().await?;
    }
    drop(starting);
    node.record_start()?;

    let admin = server::bind(&node.socket);
    let admin = admin.map_err(|source| BootError::Socket { path: node.socket.display().to_string(), source })?;
    let mut reloader = Reloader::new(file, Arc::clone(&node), log);
    let told = &node.config.listeners;
    let doors = [&told.kmip, &told.https, &told.admin].into_iter().flatten().count() as u64;
    let share = descriptors.saturating_sub(DESCRIPTORS_KEPT) / doors.max(1);
    let kmip = open_door(&node, &mut reloader, &mut passed, "kmip", told.kmip.as_ref(), Origin::Kmip, share).await?;
    let https = open_door(&node, &mut reloader, &mut passed, "https", told.https.as_ref(), Origin::Https, share).await?;
    let admin_door = open_door(&node, &mut reloader, &mut passed, "admin", told.admin.as_ref(), Origin::Admin, share).await?;
    let health = bind_health(&node, &mut passed).await?;
    let ((stopper, stop), (keepers_stopper, keepers_stop)) = (stop::stop(), stop::stop());
    let (mut listeners, mut keepers) = (Tasks::default(), Tasks::default());
    keepers.spawn("the teller of the service manager", vitals::keep(Arc::clone(&node), keepers_stop.clone()));
    keepers.spawn("the audit log's flusher", flush_audit(Arc::clone(&node), keepers_stop.clone()));
    keepers.spawn("the sweeper of idle streams", forget_idle_streams(Arc::clone(&node), keepers_stop.clone()));
    keepers.spawn("the forgetter of old answers", forget_answers(Arc::clone(&node), keepers_stop.clone()));
    keepers.spawn("the prober of the slots", probe_slots(Arc::clone(&node), keepers_stop.clone()));
    keepers.spawn("the keeper of the edge", edge::keep(Arc::clone(&node), keepers_stop.clone()));
    keepers.spawn("the keeper of the IVK's schedule", Rotator::new(Arc::clone(&node)).run(keepers_stop.clone()));
    keepers.spawn("the keeper of keys that are due", Renewer::new(Arc::clone(&node)).run(keepers_stop.clone()));
    keepers.spawn("the keeper of old versions", Reencryptor::new(Arc::clone(&node)).run(keepers_stop.clone()));
    keepers.spawn("the mover of rows between keystores", Mover::new(Arc::clone(&node)).run(keepers_stop.clone()));
    keepers.spawn("the sweeper of the keystore", Sweeper::new(Arc::clone(&node)).run(keepers_stop.clone()));
    keepers.spawn("the keeper of keystores that are away", awaiter::keep(Arc::clone(&node), keepers_stop.clone()));
    keepers.spawn("the keeper of the plugin", plugin::keep(Arc::clone(&node), keepers_stop.clone()));
    keepers.spawn("the keeper of the listeners' trust", reloader.run(hangup, keepers_stop));
    listeners.spawn("the admin server", server::serve(admin, Arc::clone(&node), stop.clone()));
    if let Some(door) = kmip {
        listeners.spawn("the KMIP listener", pass(door.run(stop.clone(), DRAIN_WITHIN, session::serve)));
    }
    if let Some(door) = https {
        listeners.spawn("the HTTPS listener", pass(door.run(stop.clone(), DRAIN_WITHIN, http::kmip::serve)));
    }
    if let Some(door) = admin_door {
        let router = routes::router(Arc::clone(&node));
        let serve = move |arrival| server::serve_arrival(arrival, router.clone());
        listeners.spawn("the admin listener", pass(door.run(stop.clone(), DRAIN_WITHIN, serve)));
    }
    if let Some(socket) = health {
        listeners.spawn("the health listener", http::health::serve(socket, Arc::clone(&node), stop));
    }

    let served = tokio::select! {
        () = signals.stop() => Ok(()),
        fallen = listeners.fallen() => Err(fallen),
        fallen = keepers.fallen() => Err(fallen),
        never = open_and_tell(&node) => match never {},
    };
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
    stopper.stop();
    listeners.finish(DRAIN_WITHIN + END_WITHIN).await;
    keepers_stopper.stop();
    keepers.finish(END_WITHIN).await;
    let ended = end(&node).await;
    served.and(ended)
}

/// Tries to unseal and says that the node is ready, sealed or not; neither a device nor a keystore that does not answer delays that for ever.
async fn open_and_tell(node: &Node) -> Infallible {
    let mut unseal = pin!(open_as_configured(node));
    let within = timeout(READY_WITHIN, &mut unseal).await;
    if let Ok(Err(error)) = &within {
        tracing::error!(%error, "starting sealed");
    }
    tell(&[NotifyState::Ready, NotifyState::Status(&node.standing())]);
    tracing::info!(state = node.status().state, "ready");
    // Reading the configuration and describing the routes took megabytes that nothing needs again.
    secret::WipingHeap.give_back();
    if within.is_err() {
        if let Err(error) = unseal.await {
            tracing::error!(%error, "still sealed");
        }
        tell(&[NotifyState::Status(&node.standing())]);
    }
    pending().await
}

/// Unseals once the keystore answers. No device is asked before: a login is not to be in vain. An edge goes on by itself.
async fn open_as_configured(node: &Node) -> Result<(), UnsealError> {
    let mut has_waited = node.awaits_keystore();
    let mut unsealed = node.unseal(node.system, None).await;
    let mut pause = KEYSTORE_PAUSE_LEAST;
    while let Err(UnsealError::Keystore { .. }) = unsealed {
        if pause == KEYSTORE_PAUSE_LEAST {
            tell(&[NotifyState::Status(&node.standing())]);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(KEYSTORE_PAUSE_MOST);
        unsealed = match node.look_after_keystore().await {
            Ok(()) => {
                if std::mem::take(&mut has_waited) {
                    node.resume_ceremony().await;
                }
                // What an operator has ordered meanwhile counts.
                if node.is_sealed_by_request() { Ok(()) } else { node.unseal(node.system, None).await }
            }
            Err(away) => Err(away),
        };
    }
    unsealed
}

/// The last records, and every key forgotten.
async fn end(node: &Arc<Node>) -> Result<(), BootError> {
    let noting = Arc::clone(node);
    let noted = tokio::task::spawn_blocking(move || noting.note_own(noting.system, Action::Stop, Outcome::Success));
    let noted = bounded("recording the stop", END_WITHIN, noted).await;
    let sealed = bounded("sealing", SEAL_WITHIN, node.seal(node.system)).await;
    bounded("flushing the audit log", END_WITHIN, node.flush_audit()).await?;
    noted?.map_err(io::Error::from)??;
    Ok(sealed??)
}

async fn bounded<T>(what: &'static str, limit: Duration, work: impl Future<Output = T>) -> Result<T, BootError> {
    timeout(limit, work).await.map_err(|_| BootError::Late { what, limit })
}

async fn open_node(config: Config, (memory, confinement): (secret::Report, Confinement), layout: &Layout) -> Result<Node, BootError> {
    let identity = layout.identity()?;
    if identity.edge.is_some() != config.edge.is_some() {
        return Err(BootError::OtherRole { data_dir: config.data_dir });
    }
    let custody = match &config.edge {
        Some(edge) => Custody::Core(Arc::new(Cores::new(edge))),
        None => Custody::Slots(Arc::new(open_seal(&config, layout)?)),
    };
    let Opened { store, embedded, keystores } = keystore::open(&config, layout, identity.log).await?;
    let (log, report) = Log::open(&layout.audit(), config.audit, identity.log)?;
    if report.repaired_bytes > 0 {
        tracing::warn!(bytes = report.repaired_bytes, "audit log: a torn last line was removed");
    }
    let (last_session, last_time) = match &keystores {
        // What waits there counts when the node opens.
        Some(keystores) if keystores.awaits_default() => (report.last_session + SESSIONS_LEFT_OUT, report.last_time),
        _ => last_seen(&store, &report).await?,
    };
    Ok(Node::new(NodeParts {
        config,
        identity,
        memory,
        confinement,
        store,
        embedded,
        keystores,
        audit: Arc::new(log),
        custody,
        sessions: Sessions::after(last_session),
        last_outbox: report.outbox_last,
        last_time,
        socket: layout.socket(),
    }))
}

/// The highest session number and the latest time, also of records that became durable with their change but have not reached the log.
async fn last_seen(store: &Arc<dyn Keystore>, report: &audit::OpenReport) -> Result<(u64, Time), BootError> {
    let (mut session, mut time, mut after) = (report.last_session, report.last_time, report.outbox);
    loop {
        let page = store.outbox(after, OUTBOX_PAGE_RECORDS).await?;
        let Some(last) = page.last() else { return Ok((session, time)) };
        after = last.seq;
        for entry in &page {
            session = session.max(entry.record.session.0);
            time = time.max(entry.record.time);
        }
    }
}

/// The work of a listener that does not fail.
async fn pass(work: impl Future<Output = ()>) -> io::Result<()> {
    work.await;
    Ok(())
}

/// The port of the health listener, unless it is turned off.
async fn bind_health(node: &Node, passed: &mut Passed) -> Result<Option<TcpListener>, BootError> {
    let Some(address) = node.config.listeners.health else { return Ok(None) };
    let bound = passed.bind("health", address).await;
    bound.map(Some).map_err(|source| BootError::Bind { listener: "health", address, source })
}

/// A door for one listener, if the configuration has it; nobody is let in before it runs.
async fn open_door(
    node: &Arc<Node>,
    reloader: &mut Reloader,
    passed: &mut Passed,
    listener: &'static str,
    told: Option<&config::Listener>,
    origin: Origin,
    descriptors: u64,
) -> Result<Option<Door>, BootError> {
    let Some(told) = told else { return Ok(None) };
    let trusted = reloader.open(listener, told).map_err(|source| BootError::Tls { listener, source })?;
    let bind = |source| BootError::Bind { listener, address: told.bind, source };
    let socket = passed.bind(listener, told.bind).await.map_err(bind)?;
    Door::new(socket, trusted, origin, Arc::clone(node), descriptors).map(Some).map_err(bind)
}

/// Signs and syncs the audit log when a group is due.
async fn flush_audit(node: Arc<Node>, mut stop: Stop) -> io::Result<()> {
    loop {
        tokio::select! {
            () = tokio::time::sleep(audit::FLUSH_INTERVAL) => {}
            () = stop.requested() => return Ok(()),
        }
        node.tell_of_refusals();
        node.flush_audit().await;
    }
}

/// Drops operations in parts that nobody has gone on with in time, so that what they have collected does not stay in memory; and has grants resolved anew once a
/// keystore that was away may have taken a change of them.
async fn forget_idle_streams(node: Arc<Node>, mut stop: Stop) -> io::Result<()> {
    loop {
        tokio::select! {
            () = tokio::time::sleep(STREAMS_SWEPT_EVERY) => {}
            () = stop.requested() => return Ok(()),
        }
        if let Some(open) = node.open() {
            open.vault.forget_idle_streams();
            open.vault.end_doubt().await;
        }
    }
}

/// Removes what a core has answered to edges' clients when nobody may ask for it again.
async fn forget_answers(node: Arc<Node>, mut stop: Stop) -> io::Result<()> {
    loop {
        tokio::select! {
            () = tokio::time::sleep(ANSWERS_FORGOTTEN_EVERY) => {}
            () = stop.requested() => return Ok(()),
        }
        if let Some(open) = node.open()
            && let Err(error) = open.vault.forget_answers().await
        {
            tracing::warn!(%error, "old answers are not removed");
        }
    }
}

/// Opens every unattended slot from time to time, so that a lost device is noticed while another slot still opens.
async fn probe_slots(node: Arc<Node>, mut stop: Stop) -> io::Result<()> {
    loop {
        tokio::select! {
            () = tokio::time::sleep(node.config.seal.probe_interval) => node.probe_slots().await,
            () = stop.requested() => return Ok(()),
        }
    }
}

/// The signals that mean stop, from a service manager or a person.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on none of them ends the process by itself.
    fn catch() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for one that means stop.
    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Tasks that run until they are told to stop: one that ends before leaves a node that only looks whole.
#[derive(Default)]
struct Tasks {
    running: JoinSet<io::Result<()>>,
    names: HashMap<Id, &'static str>,
}

impl Tasks {
    fn spawn(&mut self, name: &'static str, work: impl Future<Output = io::Result<()>> + Send + 'static) {
        let id = self.running.spawn(work).id();
        self.names.insert(id, name);
    }

    /// Waits for the first that ends untold.
    async fn fallen(&mut self) -> BootError {
        let (id, why) = match self.running.join_next_with_id().await {
            None => return pending().await,
            Some(Ok((id, Ok(())))) => (id, "it ended".to_owned()),
            Some(Ok((id, Err(error)))) => (id, error.to_string()),
            Some(Err(error)) => (error.id(), error.to_string()),
        };
        BootError::Fallen { what: self.names.get(&id).copied().unwrap_or("a task"), why }
    }

    /// Waits for all of them, which were told to stop, and cuts what is left.
    async fn finish(mut self, limit: Duration) {
        let all = async { while self.running.join_next().await.is_some() {} };
        if timeout(limit, all).await.is_err() {
            tracing::warn!(tasks = self.running.len(), "cut what did not finish within {limit:?}");
        }
    }
}
