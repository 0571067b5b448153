//! An edge's way to its core: KMIP and leases over HTTPS, on a few connections that are kept, with deadlines.
//!
//! Every call may be repeated: what the core does for an edge itself leaves nothing behind there, and what it does for a client it knows by the name of the
//! request. So a call that fails on a kept connection is made once
//! more on a new one, and one that fails at a core is made at the next: also if that core answers, but is sealed or broken. A core that gives no
//! answer is left alone for a while, up to a second, so that an edge without a core says so at once.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use cipher::sign::{SEED_BYTES, public_from_seed};
use data_encoding::HEXLOWER;
use http_body_util::Full;
use hyper::body::Bytes as Body;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use keys::envelope::ObjectKeyId;
use keys::id::RowId;
use keys::lease::Lease;
use keys::port::{Upstream, UpstreamError};
use keys::references::References;
use kmip::ttlv::ByteString;
use kmip::{
    Batch, BatchErrorContinuationOption, BlockCipherMode, CryptographicParameters, DecryptRequest, DecryptResponse, EncryptRequest,
    ProtocolVersion, ResultReason, Sent,
};
use secret::{Bytes, Key};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{timeout, timeout_at};
use tokio_rustls::TlsConnector;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::admin::types::Problem;
use crate::config;
use crate::delegation::{self, CHANNEL_BYTES, Vouched, channel};
use crate::http::body::collect;
use crate::http::edge::{LEASE_PATH, REFERENCES_PATH, Report};
use crate::http::kmip::PATH as KMIP_PATH;
use crate::tls::ClientTls;
use crate::wiped::Wiped;

/// How long a call may take, all tries together (F18).
const CALL_WITHIN: Duration = Duration::from_secs(2);
/// How long a connection may take to be made.
const CONNECT_WITHIN: Duration = Duration::from_millis(1500);
/// Connections to cores at a time.
const CONNECTIONS_MAX: usize = 8;
/// A connection that was not used for so long is not used any more: the core may be about to close it.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// Longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// How long a core that failed is left alone, doubled with each further failure.
const PAUSE_LEAST: Duration = Duration::from_millis(50);
/// Never longer than this.
const PAUSE_MOST: Duration = Duration::from_secs(1);
/// The vendor's Block Cipher Mode under which an L3 wraps object keys.
const OBJECT_KEY_WRAP: BlockCipherMode = BlockCipherMode::Extension(0x8000_0001);

/// What an edge asks of its cores.
#[derive(Clone, Copy)]
enum Asked {
    Lease,
    Wrap,
    Unwrap,
    Forward,
    Report,
}

/// The names of [`Asked`], in its order.
const ASKED: [&str; 5] = ["lease", "wrap", "unwrap", "forward", "report"];

/// An edge's calls to its cores since the start.
#[derive(Debug, Clone, Copy)]
pub struct CoreCalls {
    /// How many of each kind.
    pub made: [(&'static str, u64); ASKED.len()],
    /// How many of all got no answer that could be used.
    pub failures: u64,
}

/// The cores above an edge.
pub struct Cores {
    settings: config::Edge,
    cores: Vec<Core>,
    /// Which of them is asked first: the one that answered last.
    preferred: AtomicUsize,
    room: Semaphore,
    /// As [`ASKED`].
    calls: [AtomicU64; ASKED.len()],
    failures: AtomicU64,
    /// The key by which this edge vouches for its clients, while it is open.
    signer: Mutex<Option<Arc<Key<SEED_BYTES>>>>,
}

/// One core, and how it stands.
struct Core {
    at: config::Upstream,
    idle: Mutex<Vec<Connection>>,
    health: Mutex<Health>,
}

/// A connection to a core.
struct Connection {
    sender: SendRequest<Full<Body>>,
    /// What binds signatures to it; `None` below TLS 1.3.
    channel: Option<[u8; CHANNEL_BYTES]>,
    /// How many requests were signed on it.
    signed: u64,
    used: Instant,
}

/// One HTTP request.
#[derive(Clone, Copy)]
struct Call<'a> {
    method: &'a Method,
    path: &'a str,
    body: &'a Body,
    /// In whose name, if it is not the edge's own.
    client: Option<(&'a [Vec<u8>], Uuid)>,
}

#[derive(Default)]
struct Health {
    failures: u32,
    /// Not asked before.
    paused_until: Option<Instant>,
    /// How it failed last.
    why: String,
}

/// Why a core gave no answer that can be used.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("{0}")]
    Tls(#[from] crate::tls::TlsError),
    #[error("{0}")]
    Connect(#[from] std::io::Error),
    #[error("the edge has no key to vouch for its clients, or the connection is not TLS 1.3")]
    Signer,
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("its answer is longer than {ANSWER_BYTES_MAX} bytes or broke off")]
    Body,
    #[error("it did not answer in time")]
    Late,
}

impl Cores {
    /// The cores that `settings` name; nothing is connected yet.
    #[must_use]
    pub fn new(settings: &config::Edge) -> Self {
        let core = |at: &config::Upstream| Core { at: at.clone(), idle: Mutex::default(), health: Mutex::default() };
        Self {
            settings: settings.clone(),
            cores: settings.upstreams.iter().map(core).collect(),
            preferred: AtomicUsize::new(0),
            room: Semaphore::new(CONNECTIONS_MAX),
            calls: Default::default(),
            failures: AtomicU64::new(0),
            signer: Mutex::default(),
        }
    }

    /// From now on the edge vouches for its clients by this key, or by none.
    pub fn set_signer(&self, seed: Option<Key<SEED_BYTES>>) {
        *self.signer.lock().unwrap_or_else(PoisonError::into_inner) = seed.map(Arc::new);
    }

    /// The calls that were made since the start.
    #[must_use]
    pub fn counts(&self) -> CoreCalls {
        let made = std::array::from_fn(|asked| (ASKED[asked], self.calls[asked].load(Ordering::Relaxed)));
        CoreCalls { made, failures: self.failures.load(Ordering::Relaxed) }
    }

    fn signer(&self) -> Option<Arc<Key<SEED_BYTES>>> {
        self.signer.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One HTTP exchange with whichever core answers.
    ///
    /// One in a client's name may be a change, so once it may have reached a core it is made again there only, where its name is known.
    /// - `usable`: an answer that is `Unavailable` by it is none, and the next core is asked.
    async fn call(
        &self,
        asked: Asked,
        method: Method,
        path: &str,
        body: Vec<u8>,
        client: Option<(&[Vec<u8>], Uuid)>,
        usable: &(dyn Fn(&Answered) -> Result<(), UpstreamError> + Sync),
    ) -> Result<Answered, UpstreamError> {
        self.calls[asked as usize].fetch_add(1, Ordering::Relaxed);
        let until = tokio::time::Instant::now() + CALL_WITHIN;
        let unavailable = |what: String| {
            self.failures.fetch_add(1, Ordering::Relaxed);
            UpstreamError::Unavailable { what }
        };
        let permit = timeout_at(until, self.room.acquire()).await;
        let _permit = permit.map_err(|_| unavailable("too many calls are under way".to_owned()))?.expect("the semaphore is never closed");
        let body = Body::from(body);
        let call = Call { method: &method, path, body: &body, client };
        let first = self.preferred.load(Ordering::Relaxed);
        let mut told = Vec::new();
        for turn in 0..self.cores.len() {
            let index = (first + turn) % self.cores.len();
            let core = &self.cores[index];
            if let Some((left, why)) = core.pause() {
                told.push(format!("{}: {why} (asked again in {left:?})", core.at.authority()));
                continue;
            }
            // A silent core leaves time for the next one, unless the call could not be made there anyway.
            let is_last = turn + 1 == self.cores.len() || client.is_some();
            let now = tokio::time::Instant::now();
            let turn_until = if is_last { until } else { now + until.saturating_duration_since(now) / 2 };
            match timeout_at(turn_until, core.exchange(self, call)).await.unwrap_or(Err(Failed::Late)) {
                Ok(answer) => {
                    core.health().failures = 0;
                    if let Err(UpstreamError::Unavailable { what }) = usable(&answer) {
                        told.push(format!("{}: {what}", core.at.authority()));
                        continue;
                    }
                    if index != first {
                        self.preferred.store(index, Ordering::Relaxed);
                    }
                    return Ok(answer);
                }
                Err(failed) => {
                    core.failed(&failed);
                    let may_be_done = client.is_some() && !failed.is_before_sending();
                    told.push(format!("{}: {failed}", core.at.authority()));
                    if may_be_done {
                        told.push("whether it was done is not known: look before repeating it".to_owned());
                        break;
                    }
                }
            }
        }
        Err(unavailable(told.join("; ")))
    }

    /// One KMIP message of the edge itself.
    async fn ask(&self, asked: Asked, sent: &Sent) -> Result<Vec<u8>, UpstreamError> {
        let usable = |answer: &Answered| {
            let refusal = sent.answers(message(answer, false)?).map_err(refused)?.refusal();
            refusal.map_or(Ok(()), |refusal| Err(refused(refusal)))
        };
        let answer = self.call(asked, Method::POST, KMIP_PATH, sent.bytes.clone(), None, &usable).await?;
        message(&answer, false)?;
        Ok(answer.body)
    }
}

/// What came back.
struct Answered {
    status: StatusCode,
    body: Vec<u8>,
}

/// The KMIP message that came back.
fn message(Answered { status, body }: &Answered, is_clients: bool) -> Result<&[u8], UpstreamError> {
    match *status {
        StatusCode::OK => Ok(body),
        StatusCode::BAD_REQUEST if is_clients => Err(UpstreamError::Refused { why: detail(*status, body) }),
        status => Err(UpstreamError::Unavailable { what: detail(status, body) }),
    }
}

/// The lease that came back.
fn lease(Answered { status, body }: &Answered) -> Result<Lease, UpstreamError> {
    match *status {
        StatusCode::OK => serde_json::from_slice(body).map_err(|error| UpstreamError::Unavailable {
            what: format!("the core's lease does not read ({error}): run releases that fit"),
        }),
        StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => Err(UpstreamError::Refused { why: detail(*status, body) }),
        status => Err(UpstreamError::Unavailable { what: detail(status, body) }),
    }
}

/// What a core says of a refusal.
fn detail(status: StatusCode, body: &[u8]) -> String {
    serde_json::from_slice::<Problem>(body).map_or_else(|_| format!("the core answers HTTP {status}"), |problem| problem.detail)
}

impl Failed {
    /// Did it fail before the core can have seen anything?
    fn is_before_sending(&self) -> bool {
        match self {
            Self::Tls(_) | Self::Connect(_) | Self::Signer => true,
            Self::Http(error) => error.is_canceled(),
            Self::Body | Self::Late => false,
        }
    }
}

impl Core {
    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long it is left alone still, if it is, and why.
    fn pause(&self) -> Option<(Duration, String)> {
        let health = self.health();
        let left = health.paused_until?.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
        Some((left, health.why.clone()))
    }

    fn failed(&self, why: &Failed) {
        let mut health = self.health();
        let pause = PAUSE_LEAST.saturating_mul(1 << health.failures.min(8)).min(PAUSE_MOST);
        health.failures = health.failures.saturating_add(1);
        health.paused_until = Some(Instant::now() + pause);
        health.why = why.to_string();
    }

    /// A kept connection, the one used last first: it is the least likely to have been closed.
    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|idle| idle.used.elapsed() < IDLE_MAX && !idle.sender.is_closed());
        idle.pop()
    }

    async fn exchange(&self, cores: &Cores, call: Call<'_>) -> Result<Answered, Failed> {
        // One that the core has closed meanwhile, or that broke, tells nothing: a new one does.
        if let Some(connection) = self.take_idle()
            && let Ok(answer) = self.send(cores, connection, call).await
        {
            return Ok(answer);
        }
        let connection = self.connect(&cores.settings).await?;
        match self.send(cores, connection, call).await {
            // The core may have done it and knows what it has answered.
            Err(failed) if call.client.is_some() && !failed.is_before_sending() => {
                let connection = self.connect(&cores.settings).await?;
                self.send(cores, connection, call).await
            }
            sent => sent,
        }
    }

    async fn send(&self, cores: &Cores, mut connection: Connection, call: Call<'_>) -> Result<Answered, Failed> {
        connection.sender.ready().await?;
        let Call { method, path, body, client } = call;
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.at.authority())
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .body(Full::new(body.clone()))
            .expect("a method, a path and two headers of ours");
        if let Some(client) = client {
            connection.signed += 1;
            let (seed, channel) = cores.signer().zip(connection.channel).ok_or(Failed::Signer)?;
            let message = delegation::Request { method: method.as_str(), path, body };
            request.headers_mut().extend(seed.expose(|seed| Vouched::headers(seed, &channel, connection.signed, client, message)));
        }
        let response = connection.sender.send_request(request).await?;
        let status = response.status();
        let closes = response.headers().get(header::CONNECTION).is_some_and(|value| value == "close");
        let answer = collect(response.into_body(), ANSWER_BYTES_MAX).await.map_err(|_| Failed::Body)?;
        if !closes {
            connection.used = Instant::now();
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
        Ok(Answered { status, body: answer })
    }

    /// A new connection. The files of its certificate are read anew, so that a renewed one is used at once.
    async fn connect(&self, settings: &config::Edge) -> Result<Connection, Failed> {
        let late = || std::io::Error::new(std::io::ErrorKind::TimedOut, "no connection in time");
        let connecting = async {
            let config::Edge { ca, cert, key, .. } = settings;
            let tls = ClientTls::load(ca, cert, key, &self.at.host)?;
            let socket = TcpStream::connect((self.at.host.as_str(), self.at.port)).await?;
            socket.set_nodelay(true)?;
            let stream = TlsConnector::from(tls.config()).connect(tls.server_name(), Wiped::for_tls(socket)).await?;
            let channel = channel(stream.get_ref().1);
            let (sender, connection) = http1::handshake(TokioIo::new(Wiped::for_http(stream))).await?;
            // It ends with the connection.
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "connection to a core ended");
                }
            });
            Ok(Connection { sender, channel, signed: 0, used: Instant::now() })
        };
        timeout(CONNECT_WITHIN, connecting).await.unwrap_or_else(|_| Err(late().into()))
    }
}

fn parameters() -> CryptographicParameters<'static> {
    CryptographicParameters { block_cipher_mode: Some(OBJECT_KEY_WRAP), ..CryptographicParameters::default() }
}

/// Asks for an object key to be opened.
fn unwrapping<'a>(l3: &'a str, id: &'a ObjectKeyId, wrapped: &'a [u8]) -> DecryptRequest<'a> {
    DecryptRequest {
        unique_identifier: Some(l3),
        cryptographic_parameters: Some(parameters()),
        data: Some(ByteString(wrapped)),
        additional_data: Some(ByteString(&id.0)),
        ..DecryptRequest::default()
    }
}

fn opened(answer: DecryptResponse<'_>) -> Result<Bytes, UpstreamError> {
    let data = answer.data.ok_or_else(without_data)?.0;
    let key = Bytes::init_with(data.len(), |key| key.copy_from_slice(data));
    key.map_err(|full| UpstreamError::Unavailable { what: full.to_string() })
}

/// Whether a report was taken.
fn reported(Answered { status, body }: &Answered) -> Result<(), UpstreamError> {
    match *status {
        StatusCode::NO_CONTENT => Ok(()),
        StatusCode::FORBIDDEN => Err(UpstreamError::Refused { why: detail(*status, body) }),
        status => Err(UpstreamError::Unavailable { what: detail(status, body) }),
    }
}

/// What a core's KMIP answer of no success means for an edge.
fn refused(error: kmip::Error) -> UpstreamError {
    let what = error.to_string();
    match error {
        kmip::Error::Refused { reason: Some(ResultReason::CryptographicFailure), .. } => UpstreamError::Forged,
        kmip::Error::Refused {
            reason: Some(ResultReason::PermissionDenied | ResultReason::ItemNotFound | ResultReason::ObjectArchived),
            message,
            ..
        } => UpstreamError::Refused { why: message },
        _ => UpstreamError::Unavailable { what },
    }
}

#[async_trait]
impl Upstream for Cores {
    async fn wrap(&self, l3: RowId, keys: &[(ObjectKeyId, &Bytes)]) -> Result<Vec<Vec<u8>>, UpstreamError> {
        let l3 = l3.to_string();
        let keys: Vec<_> = keys.iter().map(|(id, key)| (id, key.expose(|key| Zeroizing::new(key.to_vec())))).collect();
        let mut batch = Batch::new(ProtocolVersion::V1_4);
        batch.on_error(BatchErrorContinuationOption::Stop);
        let mut slots = Vec::with_capacity(keys.len());
        for (id, key) in &keys {
            let slot = batch.push(&EncryptRequest {
                unique_identifier: Some(&l3),
                cryptographic_parameters: Some(parameters()),
                data: Some(ByteString(key)),
                additional_data: Some(ByteString(&id.0)),
                ..EncryptRequest::default()
            });
            slots.push(slot.map_err(refused)?);
        }
        let sent = batch.finish();
        let answer = self.ask(Asked::Wrap, &sent).await?;
        let answers = sent.answers(&answer).map_err(refused)?;
        if let Some(refusal) = answers.refusal() {
            return Err(refused(refusal));
        }
        let blob = |slot: &_| {
            let answer = answers.get::<EncryptRequest<'_>>(slot).map_err(refused)?;
            answer.data.map(|data| data.0.to_vec()).ok_or_else(without_data)
        };
        slots.iter().map(blob).collect()
    }

    async fn unwrap(&self, l3: RowId, id: ObjectKeyId, wrapped: &[u8]) -> Result<Bytes, UpstreamError> {
        let l3 = l3.to_string();
        let mut batch = Batch::new(ProtocolVersion::V1_4);
        let slot = batch.push(&unwrapping(&l3, &id, wrapped)).map_err(refused)?;
        let sent = batch.finish();
        let answer = self.ask(Asked::Unwrap, &sent).await?;
        opened(sent.answers(&answer).and_then(|answers| answers.get(&slot)).map_err(refused)?)
    }

    async fn unwrap_each(&self, keys: &[(RowId, ObjectKeyId, &[u8])]) -> Result<Vec<Result<Bytes, UpstreamError>>, UpstreamError> {
        let l3s: Vec<String> = keys.iter().map(|(l3, ..)| l3.to_string()).collect();
        let mut batch = Batch::new(ProtocolVersion::V1_4);
        batch.on_error(BatchErrorContinuationOption::Continue);
        let mut slots = Vec::with_capacity(keys.len());
        for (l3, (_, id, wrapped)) in l3s.iter().zip(keys) {
            slots.push(batch.push(&unwrapping(l3, id, wrapped)).map_err(refused)?);
        }
        let sent = batch.finish();
        let answer = self.ask(Asked::Unwrap, &sent).await?;
        let answers = sent.answers(&answer).map_err(refused)?;
        Ok(slots.iter().map(|slot| opened(answers.get(slot).map_err(refused)?)).collect())
    }

    async fn report(&self, references: &References) -> Result<(), UpstreamError> {
        let signer = self.signer().ok_or_else(|| UpstreamError::Unavailable { what: "the edge is closed".to_owned() })?;
        let edge = HEXLOWER.encode(&signer.expose(public_from_seed));
        let report = Report { edge, references: references.clone() };
        let body = serde_json::to_vec(&report).expect("texts, numbers and lists always print");
        reported(&self.call(Asked::Report, Method::POST, REFERENCES_PATH, body, None, &reported).await?)
    }

    async fn lease(&self) -> Result<Lease, UpstreamError> {
        lease(&self.call(Asked::Lease, Method::GET, LEASE_PATH, Vec::new(), None, &|answer| lease(answer).map(drop)).await?)
    }

    async fn forward(&self, client: &[Vec<u8>], request: Uuid, message: &[u8]) -> Result<Vec<u8>, UpstreamError> {
        // Whatever a core answers is the client's: it may have been done.
        let answer = self.call(Asked::Forward, Method::POST, KMIP_PATH, message.to_vec(), Some((client, request)), &|_| Ok(())).await?;
        self::message(&answer, true).map(<[u8]>::to_vec)
    }
}

fn without_data() -> UpstreamError {
    UpstreamError::Unavailable { what: "the core answers a success without data".to_owned() }
}
