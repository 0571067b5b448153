//! The connection to a plugin: made when it is needed, judged by who answers and by what it says of itself, left alone for a while when it fails.

use std::error::Error as _;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use keys::port::StoreError;
use plugin::v1::keystore_operations_client::KeystoreOperationsClient;
use plugin::v1::{CapabilitiesRequest, CapabilitiesResponse, HealthRequest, HealthResponse};
use plugin::{ANSWER_BYTES_MAX, COMMIT_BYTES, PROTOCOL, REQUEST_BYTES_MAX};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status};
use tower::service_fn;
use uuid::Uuid;

use super::wire::words;

/// How long a plugin that failed is left alone, doubled with each further failure.
const PAUSE_LEAST: Duration = Duration::from_millis(50);
/// Never longer than this.
const PAUSE_MOST: Duration = Duration::from_secs(1);

/// Where a plugin is, and who it has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// What the operator calls the keystore.
    pub name: String,
    /// The Unix socket that it listens on.
    pub socket: PathBuf,
    /// The user that has to be at the other end; `None`: this process's own, or root.
    pub user: Option<u32>,
    /// How long one call may take, connecting and trying again included.
    pub timeout: Duration,
    /// Whose commits and audit records they are.
    pub node: Uuid,
}

/// Why a plugin is no keystore.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// Nobody listens.
    #[error("no plugin at {}: {source}; start its unit, or look into its log", .socket.display())]
    Connect {
        /// Where.
        socket: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Somebody else listens.
    #[error("the user at {} has the number {is}, and has to have {wants}: correct keystores.*.grpc.user, or find out who listens there", .socket.display())]
    WrongUser {
        /// Where.
        socket: PathBuf,
        /// Who it is.
        is: u32,
        /// Who it has to be.
        wants: u32,
    },
    /// It speaks another protocol.
    #[error("the plugin speaks protocol {is}, and this release speaks {PROTOCOL}: install releases that fit")]
    Protocol {
        /// Its choice.
        is: u32,
    },
    /// It has no transactions.
    #[error(
        "the plugin `{plugin}` has no capability `batch` and had it when this node's rows came to it: put the release of before back, or move the rows by `strongroom keystore migrate`"
    )]
    NoBatch {
        /// What it calls itself.
        plugin: String,
    },
    /// It does not answer in time.
    #[error("the plugin did not answer within {within:?}")]
    Late {
        /// The time of a call.
        within: Duration,
    },
    /// It was left alone, because it has just failed.
    #[error("the plugin has just failed ({why}); it is asked again in {left:?}")]
    Rests {
        /// How.
        why: String,
        /// For how long still.
        left: Duration,
    },
    /// It refused, or broke off.
    #[error("the plugin fails with {code:?}: {what}")]
    Failed {
        /// gRPC's code.
        code: Code,
        /// What it, or the transport, says.
        what: String,
    },
    /// What is to be sent is too long.
    #[error("{bytes} bytes are more than one request may have ({REQUEST_BYTES_MAX}): make smaller requests, or fewer at a time")]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
}

impl PluginError {
    /// Might it be over with nothing changed here?
    pub(crate) fn is_absence(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Late { .. } | Self::Rests { .. } => true,
            Self::Failed { code, .. } => {
                !matches!(code, Code::DataLoss | Code::Unimplemented | Code::InvalidArgument | Code::FailedPrecondition)
            }
            Self::WrongUser { .. } | Self::Protocol { .. } | Self::NoBatch { .. } | Self::TooLong { .. } => false,
        }
    }
}

impl From<PluginError> for StoreError {
    fn from(error: PluginError) -> Self {
        Self::Unavailable { what: "the plugin does not serve", source: Box::new(error) }
    }
}

/// What a plugin has said of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct About {
    pub(super) name: String,
    pub(super) batch: bool,
    /// The node's last commit.
    pub(super) last: Option<[u8; COMMIT_BYTES]>,
}

/// Generated client on a connection that was judged.
pub(super) type Client = KeystoreOperationsClient<Channel>;

pub(super) struct Link {
    pub(super) settings: Settings,
    state: Mutex<State>,
    /// One connects at a time.
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    client: Option<(u64, Client)>,
    /// Counts connections, so that a failure of an old one does not end a new one.
    made: u64,
    failures: u32,
    paused_until: Option<Instant>,
    why: String,
}

impl Link {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, state: Mutex::default(), connecting: tokio::sync::Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn late(&self) -> PluginError {
        PluginError::Late { within: self.settings.timeout }
    }

    /// The time by which a call that begins now must have ended.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.settings.timeout
    }

    /// One call. `judge` says whether what a new connection's plugin says of itself can be true.
    pub(super) async fn call<T, F>(
        &self,
        deadline: Instant,
        judge: &(dyn Fn(&About) -> Result<(), StoreError> + Sync),
        ask: impl FnOnce(Client) -> F,
    ) -> Result<T, Called>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let (number, client) = self.client(deadline, judge).await.map_err(Called::NotBegun)?;
        let failed = match timeout_at(deadline, ask(client)).await {
            Ok(Ok(answer)) => {
                self.answered();
                return Ok(answer.into_inner());
            }
            Ok(Err(status)) if status.source().is_none() && !is_transports(status.code()) => {
                self.answered();
                return Err(Called::Refused { status, keystore: self.settings.name.clone() });
            }
            Ok(Err(status)) => failure(&status),
            Err(_) => self.late(),
        };
        self.failed(Some(number), &failed);
        Err(Called::Broken(failed))
    }

    /// A call that may be made twice; once more on a new connection, if the one that was kept turns out to have broken.
    pub(super) async fn twice<T, F>(
        &self,
        deadline: Instant,
        judge: &(dyn Fn(&About) -> Result<(), StoreError> + Sync),
        ask: impl Fn(Client) -> F,
    ) -> Result<T, Called>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        match self.call(deadline, judge, &ask).await {
            Err(Called::Broken(_)) if Instant::now() + PAUSE_LEAST < deadline => {
                // Long enough for a plugin that has failed once to be asked again.
                sleep((2 * PAUSE_LEAST).min(deadline.saturating_duration_since(Instant::now()))).await;
                self.call(deadline, judge, &ask).await
            }
            called => called,
        }
    }

    /// Whether the plugin says that it can do its work.
    pub(super) async fn health(&self, judge: &(dyn Fn(&About) -> Result<(), StoreError> + Sync)) -> Result<(), StoreError> {
        let health = async |mut client: Client| client.health(HealthRequest {}).await;
        let HealthResponse { serving, detail } = self.call(self.deadline(), judge, health).await?;
        if serving {
            return Ok(());
        }
        Err(PluginError::Failed { code: Code::Unavailable, what: words(&detail) }.into())
    }

    async fn client(
        &self,
        deadline: Instant,
        judge: &(dyn Fn(&About) -> Result<(), StoreError> + Sync),
    ) -> Result<(u64, Client), StoreError> {
        let kept = || self.state().client.clone();
        if let Some(kept) = kept() {
            return Ok(kept);
        }
        let _turn = timeout_at(deadline, self.connecting.lock()).await.map_err(|_| self.late())?;
        if let Some(kept) = kept() {
            return Ok(kept);
        }
        if let Some(rests) = self.rests() {
            return Err(rests.into());
        }
        let made = timeout_at(deadline, self.connect()).await.unwrap_or_else(|_| Err(self.late()));
        let (client, about) = made.inspect_err(|failed| self.failed(None, failed)).map_err(|failed| told(failed, &self.settings.name))?;
        judge(&about)?;
        let mut state = self.state();
        state.made += 1;
        let made = (state.made, client);
        state.client = Some(made.clone());
        Ok(made)
    }

    /// A new connection, and what the plugin says of itself.
    async fn connect(&self) -> Result<(Client, About), PluginError> {
        let Settings { socket, user, node, .. } = &self.settings;
        let refused = |source| PluginError::Connect { socket: socket.clone(), source };
        let stream = UnixStream::connect(socket).await.map_err(refused)?;
        let is = stream.peer_cred().map_err(refused)?.uid();
        let own = nix::unistd::geteuid().as_raw();
        let wants = user.unwrap_or(own);
        if is != wants && (user.is_some() || is != 0) {
            return Err(PluginError::WrongUser { socket: socket.clone(), is, wants });
        }
        // The one stream that was judged: nothing is connected anew behind our back.
        let once = Mutex::new(Some(TokioIo::new(stream)));
        let connector = service_fn(move |_| {
            let stream = once.lock().unwrap_or_else(PoisonError::into_inner).take();
            std::future::ready(stream.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)))
        });
        let endpoint = Endpoint::from_static("http://plugin");
        let channel = endpoint.connect_with_connector(connector).await.map_err(|error| transport(&error))?;
        let mut client =
            KeystoreOperationsClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX).max_encoding_message_size(REQUEST_BYTES_MAX);
        let release = env!("CARGO_PKG_VERSION").to_owned();
        let request = CapabilitiesRequest { protocols: vec![PROTOCOL], node: node.as_bytes().to_vec(), release };
        let said = client.capabilities(request).await.map_err(|status| failure(&status))?.into_inner();
        let CapabilitiesResponse { protocol, name, batch, last_commit, .. } = said;
        if protocol != PROTOCOL {
            return Err(PluginError::Protocol { is: protocol });
        }
        let garbled = || PluginError::Failed { code: Code::DataLoss, what: "its last commit has no name of 16 bytes".to_owned() };
        let last = if last_commit.is_empty() { None } else { Some(last_commit.try_into().map_err(|_| garbled())?) };
        Ok((client, About { name: words(&name), batch, last }))
    }

    fn rests(&self) -> Option<PluginError> {
        let state = self.state();
        let left = state.paused_until?.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
        Some(PluginError::Rests { why: state.why.clone(), left })
    }

    fn answered(&self) {
        let mut state = self.state();
        state.failures = 0;
        state.paused_until = None;
    }

    /// Whoever comes next connects anew, and not at once: so a queue of calls does not wait for a plugin that has stopped (F7).
    fn failed(&self, number: Option<u64>, why: &PluginError) {
        let mut state = self.state();
        if number.is_some() && state.client.as_ref().map(|(number, _)| *number) != number {
            return;
        }
        state.client = None;
        let pause = PAUSE_LEAST.saturating_mul(1 << state.failures.min(8)).min(PAUSE_MOST);
        state.failures = state.failures.saturating_add(1);
        state.paused_until = Some(Instant::now() + pause);
        state.why = why.to_string();
    }
}

/// How a call ended that did not end well.
#[derive(Debug)]
pub(super) enum Called {
    /// The plugin has not heard of it.
    NotBegun(StoreError),
    /// It answered with a refusal of its own.
    Refused {
        /// What it says.
        status: Status,
        /// What the operator calls the keystore.
        keystore: String,
    },
    /// The connection is of no use any more, and nobody knows what the plugin did.
    Broken(PluginError),
}

impl From<Called> for StoreError {
    fn from(called: Called) -> Self {
        match called {
            Called::NotBegun(error) => error,
            Called::Refused { status, keystore } => told(failure(&status), &keystore),
            Called::Broken(error) => error.into(),
        }
    }
}

/// Codes by which the transport tells that it has failed, or that an answer was too long to be read.
fn is_transports(code: Code) -> bool {
    matches!(code, Code::Unknown | Code::Cancelled | Code::Internal | Code::OutOfRange)
}

/// A plugin's refusal that its operators can end is that of the place behind it.
fn told(error: PluginError, keystore: &str) -> StoreError {
    match error {
        PluginError::Failed { code: Code::PermissionDenied | Code::Unauthenticated, what } => {
            StoreError::Denied { at: format!("{keystore} (a plugin)"), what }
        }
        other => other.into(),
    }
}

fn failure(status: &Status) -> PluginError {
    PluginError::Failed { code: status.code(), what: words(status.message()) }
}

fn transport(error: &tonic::transport::Error) -> PluginError {
    let why = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    PluginError::Failed { code: Code::Unavailable, what: words(&why) }
}
