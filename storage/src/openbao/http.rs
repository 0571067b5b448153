//! HTTP/1.1 over TLS to one server: connections that are kept, deadlines, and a bound on every answer. Redirects are not followed.
//!
//! A client library for Vault's API was considered: it follows redirects and reads answers of any size, and nothing but reading, writing, listing and
//! deleting is asked for here.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes as Body;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use super::url::Url;

/// Connections at a time.
const CONNECTIONS_MAX: usize = 16;
/// A connection that was not used for so long is not used any more: the server may be about to close it.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// Room for an answer's head, in bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// So long nobody waits for a server that has just let somebody wait in vain.
const REST: Duration = Duration::from_millis(500);

/// One request.
pub(super) struct Call<'c> {
    pub(super) method: Method,
    /// Below `/v1/`, encoded.
    pub(super) path: &'c str,
    pub(super) headers: &'c [(HeaderName, HeaderValue)],
    pub(super) body: Body,
    /// Longest answer that is read, in bytes.
    pub(super) answer_bytes_max: usize,
}

/// What the server has answered.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Body,
}

/// Why there is no answer. The request may have been done, and may still be.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    #[error("no answer in time")]
    Late,
    #[error("an answer longer than any that was asked for")]
    TooLong,
    #[error("{0}")]
    Broken(String),
    /// The certificate is not that of the server that was named.
    #[error("{0}")]
    Untrusted(String),
}

fn broken(error: &(dyn std::error::Error + 'static)) -> Lost {
    let told = error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
    if crate::is_untrusted(error) { Lost::Untrusted(told) } else { Lost::Broken(told) }
}

/// The way to one server.
pub(super) struct Way {
    url: Url,
    tls: Arc<ClientConfig>,
    timeout: Duration,
    idle: Mutex<Vec<Kept>>,
    room: Semaphore,
    /// Until then the server is taken for one that does not answer.
    rests_until: Mutex<Option<Instant>>,
}

struct Kept {
    sender: SendRequest<Full<Body>>,
    used: Instant,
}

impl Way {
    /// - `timeout`: of one request, and of waiting for its turn.
    pub(super) fn new(url: Url, tls: Arc<ClientConfig>, timeout: Duration) -> Self {
        Self { url, tls, timeout, idle: Mutex::default(), room: Semaphore::new(CONNECTIONS_MAX), rests_until: Mutex::default() }
    }

    /// Asks; once more on a new connection if a kept one turns out to be closed, so every call has to bear to be made twice.
    pub(super) async fn ask(&self, call: &Call<'_>) -> Result<Answer, Lost> {
        if self.rests() {
            return Err(Lost::Late);
        }
        // Whoever waits behind others of this node has not been kept waiting by the server yet.
        let room = timeout(self.timeout, self.room.acquire()).await.map_err(|_| Lost::Late)?;
        let _room = room.map_err(|error| broken(&error))?;
        if self.rests() {
            return Err(Lost::Late);
        }
        match timeout(self.timeout, self.ask_with_room(call)).await {
            Ok(answered) => answered,
            Err(_) => {
                // Those that come next do not wait as long for the same server, so that a queue of them does not grow (F7).
                *held(&self.rests_until) = Some(Instant::now() + REST);
                Err(Lost::Late)
            }
        }
    }

    /// Lets go of the connections that are kept: what was answered on one of them was no answer, so that whoever answers there is not the server.
    pub(super) fn part(&self) {
        held(&self.idle).clear();
    }

    fn rests(&self) -> bool {
        held(&self.rests_until).is_some_and(|until| Instant::now() < until)
    }

    async fn ask_with_room(&self, call: &Call<'_>) -> Result<Answer, Lost> {
        while let Some(kept) = self.kept() {
            match self.ask_on(kept, call).await {
                Err(Lost::Broken(_)) => {}
                answered => return answered,
            }
        }
        self.ask_on(self.connect().await?, call).await
    }

    fn kept(&self) -> Option<Kept> {
        let mut idle = held(&self.idle);
        idle.retain(|kept| kept.used.elapsed() < IDLE_MAX && !kept.sender.is_closed());
        idle.pop()
    }

    async fn ask_on(&self, mut kept: Kept, call: &Call<'_>) -> Result<Answer, Lost> {
        let mut request = Request::builder().method(call.method.clone()).uri(format!("/v1/{}", call.path));
        request = request.header(header::HOST, self.url.authority());
        for (name, value) in call.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(call.body.clone())).map_err(|error| broken(&error))?;
        kept.sender.ready().await.map_err(|error| broken(&error))?;
        let response = kept.sender.send_request(request).await.map_err(|error| broken(&error))?;
        let status = response.status();
        let closes = response.headers().get(header::CONNECTION).is_some_and(|value| value == "close");
        let body = Limited::new(response.into_body(), call.answer_bytes_max).collect().await;
        let body =
            body.map_err(|error| if error.is::<http_body_util::LengthLimitError>() { Lost::TooLong } else { broken(&*error) })?.to_bytes();
        if !closes {
            kept.used = Instant::now();
            held(&self.idle).push(kept);
        }
        Ok(Answer { status, body })
    }

    async fn connect(&self) -> Result<Kept, Lost> {
        let socket = TcpStream::connect((&*self.url.host, self.url.port)).await.map_err(|error| broken(&error))?;
        socket.set_nodelay(true).map_err(|error| broken(&error))?;
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        let stream = connector.connect(self.url.name.clone(), socket).await.map_err(|error| broken(&error))?;
        let mut http = http1::Builder::new();
        let (sender, connection) =
            http.max_buf_size(HEAD_BYTES_MAX).handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
        // It ends with the connection, and what ends it is told to whoever waits for an answer.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Kept { sender, used: Instant::now() })
    }
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}

/// Each change under these locks is one assignment, push or pop.
fn held<T>(slot: &Mutex<T>) -> MutexGuard<'_, T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}
