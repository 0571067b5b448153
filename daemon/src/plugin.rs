//! The plugin behind a keystore: started if the configuration says so, asked after its health, ended and started anew when it hangs.
//!
//! The thread that starts the process waits for its end: the process dies with the thread that has started it, and a thread of the runtime may end.

use std::collections::HashMap;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use keys::policy::Action;
use keys::port::StoreError;
use keys::record::Outcome;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use plugin::{SOCKET_VARIABLE, STATE_VARIABLE};
use storage::grpc::{Grpc, Rows, Settings};

use crate::confine::{ConfineError, HASH_BYTES, Pinned, REFUSED_CODE};
use crate::node::Node;
use crate::stop::Stop;

/// How often a plugin is asked after its health.
const HEALTH_EVERY: Duration = Duration::from_secs(5);
/// A plugin of the node's own that does not answer so often in a row is ended and started anew.
const SILENCES_MAX: u32 = 2;
/// How long it is waited before a plugin that has ended is started anew, doubled with each further time.
const PAUSE_LEAST: Duration = Duration::from_millis(100);
/// Never longer than this.
const PAUSE_MOST: Duration = Duration::from_secs(10);
/// One that ran for so long has started well.
const RAN_WELL: Duration = Duration::from_secs(30);
/// Most events that wait to be written into the audit log.
const EVENTS_MAX: usize = 1024;

/// A program that the node starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Its absolute path.
    pub path: PathBuf,
    /// What it has to be.
    pub sha256: [u8; HASH_BYTES],
    /// Its arguments.
    pub arguments: Vec<String>,
    /// The one folder in which it may write; its socket is there too.
    pub state: PathBuf,
    /// The program that confines it: `strongroomd`.
    pub confine: PathBuf,
}

impl Program {
    /// The socket that it is told to listen on.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.state.join("socket")
    }

    fn spawn(&self) -> io::Result<Child> {
        let parent = std::process::id().to_string();
        let state = self.state.as_os_str();
        let mut command = Command::new(&self.confine);
        command.args(["confine", "--sha256", &HEXLOWER.encode(&self.sha256), "--parent", &parent, "--state"]);
        command.arg(state).arg("--").arg(&self.path).args(&self.arguments);
        command.env_clear().env(SOCKET_VARIABLE, self.socket()).env(STATE_VARIABLE, state).env("TMPDIR", state);
        command.env("PATH", "/usr/local/bin:/usr/bin:/bin").env("LANG", "C.UTF-8");
        command.current_dir(&self.state).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn()
    }
}

/// Keeps a program running.
#[derive(Debug)]
pub struct PluginSupervisor {
    shared: Arc<Shared>,
    keeping: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    program: Program,
    state: Mutex<State>,
    changed: Condvar,
    starts: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    is_stopped: bool,
    /// The process, while it is not reaped.
    process: Option<Pid>,
    /// How the last process ended.
    ended: Option<ExitStatus>,
    /// For the audit log, oldest first.
    events: Vec<(Action, Outcome)>,
}

impl PluginSupervisor {
    /// Starts a program that is the pinned one, and starts it anew whenever it ends, until this value is dropped.
    ///
    /// # Errors
    /// [`ConfineError`]; nothing was started.
    ///
    /// # Panics
    /// If the system has no thread left.
    pub fn start(name: &str, program: Program) -> Result<Self, ConfineError> {
        let _pinned = Pinned::open(&program.path, program.sha256)?;
        let (state, changed) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { name: name.to_owned(), program, state, changed, starts: AtomicU64::new(0) });
        let kept = Arc::clone(&shared);
        let keeping = std::thread::Builder::new().name("plugin".to_owned()).spawn(move || kept.keep());
        Ok(Self { shared, keeping: Some(keeping.expect("the system has a thread left")) })
    }

    /// Ends the process; another is started.
    pub fn restart(&self) {
        if let Some(process) = self.shared.state().process {
            let _ended = kill(process, Signal::SIGKILL);
        }
    }

    /// How the process ended that ran last, if one has ended.
    #[must_use]
    pub fn ended(&self) -> Option<ExitStatus> {
        self.shared.state().ended
    }

    fn events(&self) -> Vec<(Action, Outcome)> {
        std::mem::take(&mut self.shared.state().events)
    }
}

impl Drop for PluginSupervisor {
    fn drop(&mut self) {
        self.shared.state().is_stopped = true;
        self.restart();
        self.shared.changed.notify_all();
        if let Some(keeping) = self.keeping.take() {
            let _ended = keeping.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, action: Action, outcome: Outcome) {
        let mut state = self.state();
        if state.events.len() < EVENTS_MAX {
            state.events.push((action, outcome));
        }
    }

    fn keep(&self) {
        let mut failures = 0;
        loop {
            let began = Instant::now();
            let ended = {
                let mut state = self.state();
                if state.is_stopped {
                    return;
                }
                // Under the lock, so that whoever stops finds the process.
                self.program.spawn().inspect(|child| state.process = Some(Pid::from_raw(child.id().cast_signed())))
            };
            match ended.and_then(|child| self.wait(child)) {
                Ok(status) if status.code() == Some(REFUSED_CODE.into()) => {
                    tracing::error!(keystore = %self.name, program = %self.program.path.display(), "the plugin was not started: see above");
                    self.note(Action::RefusePlugin, Outcome::Denied);
                }
                Ok(_) if self.state().is_stopped => return,
                Ok(status) => {
                    let (signal, code) = (status.signal(), status.code());
                    tracing::error!(keystore = %self.name, ?signal, ?code, "the plugin has ended, and is started anew");
                    self.note(Action::EndPlugin, Outcome::Unavailable);
                }
                Err(error) => {
                    tracing::error!(keystore = %self.name, %error, "the plugin cannot be started");
                    self.note(Action::RefusePlugin, Outcome::Unavailable);
                }
            }
            failures = if began.elapsed() > RAN_WELL { 0 } else { failures + 1 };
            let pause = PAUSE_LEAST.saturating_mul(1 << u32::min(failures, 10).saturating_sub(1)).min(PAUSE_MOST);
            let waited = self.changed.wait_timeout_while(self.state(), pause, |state| !state.is_stopped);
            drop(waited);
        }
    }

    /// Waits for the end of the process. It is reaped under the lock: until then its number is nobody else's.
    fn wait(&self, mut child: Child) -> io::Result<ExitStatus> {
        self.starts.fetch_add(1, Ordering::Relaxed);
        tracing::info!(keystore = %self.name, program = %self.program.path.display(), process = child.id(), "the plugin is started");
        self.note(Action::StartPlugin, Outcome::Success);
        let process = Pid::from_raw(child.id().cast_signed());
        while let Err(nix::errno::Errno::EINTR) = waitid(Id::Pid(process), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {}
        let mut state = self.state();
        state.process = None;
        let ended = child.wait()?;
        state.ended = Some(ended);
        Ok(ended)
    }
}

/// A keystore behind a plugin, as the node looks after it.
pub struct Plugin {
    /// What the operator calls the keystore.
    pub name: String,
    /// Where it is.
    pub settings: Settings,
    /// What keeps it running; `None` if its own unit does.
    pub supervisor: Option<PluginSupervisor>,
    /// The way to it, once it has answered.
    way: OnceLock<Way>,
    is_serving: AtomicBool,
}

/// As what a plugin is used.
#[derive(Clone)]
enum Way {
    Transactions(Arc<Grpc>),
    Rows(Arc<Rows>),
}

impl Way {
    async fn health(&self) -> Result<(), StoreError> {
        match self {
            Self::Transactions(grpc) => grpc.health().await,
            Self::Rows(rows) => rows.health().await,
        }
    }
}

/// How a plugin stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginFigures {
    /// What the operator calls the keystore.
    pub keystore: String,
    /// It was well when it was asked last.
    pub is_serving: bool,
    /// How often the node has started it; `None` if its own unit does.
    pub starts: Option<u64>,
}

impl Plugin {
    /// One that has not answered yet.
    #[must_use]
    pub fn new(settings: Settings, supervisor: Option<PluginSupervisor>) -> Self {
        Self { name: settings.name.clone(), settings, supervisor, way: OnceLock::new(), is_serving: AtomicBool::new(false) }
    }

    /// Connects to one with transactions.
    ///
    /// # Errors
    /// As [`Grpc::open`].
    pub async fn open(&self) -> Result<Arc<Grpc>, StoreError> {
        let grpc = Arc::new(Grpc::open(self.settings.clone()).await?);
        self.is_open(Way::Transactions(Arc::clone(&grpc)));
        Ok(grpc)
    }

    /// Connects to one that is asked for single rows only.
    ///
    /// # Errors
    /// As [`Rows::open`].
    pub async fn open_rows(&self) -> Result<Arc<Rows>, StoreError> {
        let rows = Arc::new(Rows::open(self.settings.clone()).await?);
        self.is_open(Way::Rows(Arc::clone(&rows)));
        Ok(rows)
    }

    fn is_open(&self, way: Way) {
        self.is_serving.store(true, Ordering::Relaxed);
        // Whoever opens it once more asks another way, which stands or falls as this one.
        let _first = self.way.set(way);
    }

    /// How it stands.
    #[must_use]
    pub fn figures(&self) -> PluginFigures {
        let starts = self.supervisor.as_ref().map(|supervisor| supervisor.shared.starts.load(Ordering::Relaxed));
        PluginFigures { keystore: self.name.clone(), is_serving: self.is_serving.load(Ordering::Relaxed), starts }
    }

    /// `None` while it has not answered at all: one that takes long to start is not ended for it.
    async fn look(&self) -> Option<Result<(), StoreError>> {
        let health = self.way.get()?.health().await;
        let was = self.is_serving.swap(health.is_ok(), Ordering::Relaxed);
        match &health {
            Ok(()) if !was => tracing::info!(keystore = %self.name, "the plugin serves again"),
            Err(error) if was => {
                let why = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
                tracing::warn!(keystore = %self.name, why, "the plugin does not serve");
            }
            _ => {}
        }
        Some(health)
    }
}

/// Looks after the plugins of a node, if it has any, and tells the audit log what became of them.
///
/// # Errors
/// None; it is a keeper as others are.
pub async fn keep(node: Arc<Node>, mut stop: Stop) -> io::Result<()> {
    let mut silences: HashMap<String, u32> = HashMap::new();
    loop {
        let plugins = node.keystores.as_ref().map_or_else(Vec::new, |keystores| keystores.plugins());
        for (action, outcome) in plugins.iter().filter_map(|plugin| plugin.supervisor.as_ref()).flat_map(PluginSupervisor::events) {
            if let Err(error) = node.note_own(node.system, action, outcome) {
                tracing::error!(%error, "what became of the plugin is not in the audit log");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(HEALTH_EVERY) => {}
            () = stop.requested() => return Ok(()),
        }
        for plugin in &plugins {
            let silences = silences.entry(plugin.name.clone()).or_default();
            *silences = if plugin.look().await.is_none_or(|health| health.is_ok()) { 0 } else { *silences + 1 };
            if let Some(supervisor) = plugin.supervisor.as_ref().filter(|_| *silences >= SILENCES_MAX) {
                tracing::error!(keystore = %plugin.name, "the plugin hangs: it is ended");
                supervisor.restart();
                *silences = 0;
            }
        }
    }
}
