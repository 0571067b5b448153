//! The boot road: memory, self-tests, files, unseal, listeners, ready; and the way back down.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use audit::Log;
use hsm::{Device, DeviceProcess, ProcessSettings};
use keys::policy::Action;
use keys::port::Keystore;
use keys::record::Outcome;
use sd_notify::NotifyState;
use seal::{CustodianSettings, Means, PinSource, Pkcs11Settings, Seal, SealSettings};
use storage::embedded::Embedded;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::admin::server;
use crate::config::{self, Config};
use crate::layout::{Layout, LayoutError};
use crate::listener::KmipListener;
use crate::node::{Node, NodeParts, UnsealError};
use crate::sessions::Sessions;
use crate::stop::{self, Stop};
use crate::system::{self, SystemClock};
use crate::tls::ServerTls;

/// Longest time for one job of the device process.
const DEVICE_DEADLINE: Duration = Duration::from_secs(30);
/// How long connections may finish what they are at when the node stops.
const DRAIN_WITHIN: Duration = Duration::from_secs(10);

/// Why the node does not start.
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
    /// The seal section cannot be meant.
    #[error("seal: {0}")]
    Seal(#[from] seal::Error),
    /// The node exists, its keystore does not.
    #[error("the keystore {} is missing: put it back from a copy; nothing was made in its place", .path.display())]
    StoreMissing {
        /// Where it should be.
        path: PathBuf,
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
    #[error("listeners.kmip: {0}")]
    Tls(#[from] crate::tls::TlsError),
    /// A listener cannot be bound.
    #[error("listeners.kmip.bind: cannot listen on {address} ({source}): free the port or choose another")]
    Bind {
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
    /// The runtime failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Locks memory, hardens the process and proves the algorithms; before anything secret exists.
///
/// # Errors
/// [`BootError::Memory`] names the limit that is too small; [`BootError::SelfTest`].
pub fn prepare_process(config: &Config) -> Result<secret::Report, BootError> {
    let memory = secret::arena::init(config.memory)?;
    system::harden()?;
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
    let device: Arc<dyn Device> = Arc::new(DeviceProcess::new(ProcessSettings {
        program: config.seal.device(program.parent().unwrap_or(Path::new("/"))),
        latch_dir: layout.latch(),
        environment: config.seal.custodians.iter().flat_map(|custodian| custodian.pkcs11.environment.clone()).collect(),
        deadline: DEVICE_DEADLINE,
    }));
    let custodians = config.seal.custodians.iter().map(|custodian| custodian_settings(custodian, credentials.as_deref()));
    Ok(Seal::new(SealSettings { slots_dir: layout.slots(), custodians: custodians.collect::<Result<_, _>>()? }, &device)?)
}

fn custodian_settings(custodian: &config::Custodian, credentials: Option<&Path>) -> Result<CustodianSettings, BootError> {
    let config::Pkcs11 { token, key, pin, .. } = &custodian.pkcs11;
    let pin = match pin {
        Some(credential) => PinSource::Credential(credential.path(credentials)?),
        None => PinSource::Typed,
    };
    let means = Means::Pkcs11(Pkcs11Settings { module: token.module.clone(), token: token.name.clone(), key: key.clone(), pin });
    Ok(CustodianSettings { name: custodian.name.parse()?, means })
}

/// Runs a node until it is told to stop.
///
/// # Errors
/// [`BootError`] says what to mend.
pub async fn run(config: Config, memory: secret::Report) -> Result<(), BootError> {
    let (stopper, stop) = stop::stop();
    let node = Arc::new(open_node(config, memory)?);
    node.reconcile().await?;
    node.record_start()?;
    let flusher = tokio::spawn(flush_audit(Arc::clone(&node), stop.clone()));

    let admin = server::bind(&node.socket);
    let admin = admin.map_err(|source| BootError::Socket { path: node.socket.display().to_string(), source })?;
    let kmip = bind_kmip(&node).await?;
    let admin = tokio::spawn(server::serve(admin, Arc::clone(&node), stop.clone()));
    if let Err(error) = node.unseal(node.system, None).await {
        tracing::error!(%error, "starting sealed");
    }
    let kmip = kmip.map(|kmip| tokio::spawn(kmip.run(stop.clone())));
    let prober = tokio::spawn(probe_slots(Arc::clone(&node), stop.clone()));
    tell(&[NotifyState::Ready, NotifyState::Status(&node.status().state)]);
    tracing::info!(state = node.status().state, "ready");

    wait_for_stop().await?;
    tell(&[NotifyState::Stopping]);
    stopper.stop();
    let sessions = async {
        if let Some(kmip) = kmip {
            let _ended = kmip.await;
        }
        let _ended = admin.await;
    };
    if tokio::time::timeout(DRAIN_WITHIN, sessions).await.is_err() {
        tracing::warn!("connections cut that did not finish in time");
    }
    prober.abort();
    let _ended = flusher.await;
    let noted = node.note(node.system, Action::Stop, Outcome::Success);
    node.seal(node.system).await?;
    node.flush_audit().await;
    Ok(noted?)
}

fn open_node(config: Config, memory: secret::Report) -> Result<Node, BootError> {
    let layout = Layout::new(&config.data_dir);
    let identity = layout.identity()?;
    let seal = Arc::new(open_seal(&config, &layout)?);
    if !layout.store().exists() {
        return Err(BootError::StoreMissing { path: layout.store() });
    }
    let store: Arc<dyn Keystore> = Arc::new(Embedded::open(&layout.store())?);
    let (log, report) = Log::open(&layout.audit(), config.audit, identity.log)?;
    if report.repaired_bytes > 0 {
        tracing::warn!(bytes = report.repaired_bytes, "audit log: a torn last line was removed");
    }
    let sessions = Sessions::after(report.last_session);
    let last_outbox = report.outbox_last;
    Ok(Node::new(NodeParts { last_outbox, config, identity, memory, store, audit: Arc::new(log), seal, sessions, socket: layout.socket() }))
}

async fn bind_kmip(node: &Arc<Node>) -> Result<Option<KmipListener>, BootError> {
    let Some(listener) = &node.config.listeners.kmip else { return Ok(None) };
    let tls = ServerTls::load(&listener.cert, &listener.key, &listener.client_ca, Arc::new(SystemClock))?;
    let address = listener.bind;
    let socket = TcpListener::bind(address).await.map_err(|source| BootError::Bind { address, source })?;
    Ok(Some(KmipListener::new(socket, tls, Arc::clone(node))))
}

/// Signs and syncs the audit log when a group is due.
async fn flush_audit(node: Arc<Node>, mut stop: Stop) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(audit::FLUSH_INTERVAL) => {}
            () = stop.requested() => return,
        }
        node.flush_audit().await;
    }
}

/// Opens every unattended slot from time to time, so that a lost device is noticed while another slot still opens (F11).
async fn probe_slots(node: Arc<Node>, mut stop: Stop) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(node.config.seal.probe_interval) => node.probe_slots().await,
            () = stop.requested() => return,
        }
    }
}

async fn wait_for_stop() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Tells the service manager, if there is one.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager was not told");
    }
}
