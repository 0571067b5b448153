//! KMIP over HTTPS: `POST /kmip` with one TTLV message, answered by one; a KMIP failure is HTTP 200 like a success.

use std::sync::Arc;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, header};
use keys::policy::Action;
use keys::port::Clock;
use keys::record::{Origin, Outcome};
use kmip::Caller;
use tokio::sync::Mutex;
use zeroize::Zeroize;

use super::body::{NoBody, collect};
use super::pace::Pace;
use super::{Closed, delegation, media_type, misframed};
use crate::admin::status::problem;
use crate::answer::answer;
use crate::listener::{Arrival, Gate, shut};
use crate::node::Node;
use crate::system::SystemClock;

/// Where messages are posted.
const PATH: &str = "/kmip";
/// The media type of a TTLV message.
const TTLV: &str = "application/octet-stream";

/// A whole response.
pub type Answer = Response<Full<Bytes>>;

/// One client and what is remembered between its requests; HTTP/1.1 has one at a time, so nobody ever waits for it.
struct Conversation {
    node: Arc<Node>,
    caller: Caller,
    gate: Gate,
}

/// Serves one connection until it ends.
pub async fn serve(arrival: Arrival) {
    let Arrival { stream, peer, gate, node, stop } = arrival;
    let (session, address, idle) = (peer.session, peer.address, node.config.kmip.idle_timeout);
    let caller = Caller::new(peer.principal, session, node.config.kmip.credentials);
    let conversation = Arc::new(Mutex::new(Conversation { node: Arc::clone(&node), caller, gate }));
    let respond = |request, pace| {
        let conversation = Arc::clone(&conversation);
        async move { conversation.lock().await.respond(request, pace).await }
    };
    let Err(error) = super::serve(stream, idle, stop, respond).await else { return };
    tracing::debug!(session = session.0, %address, %error, "connection ended");
    // hyper has answered 400; such a head, with a folded line for example, may be an attempt to smuggle one.
    if error.is_parse() {
        note(&node, session, Outcome::Invalid);
    }
}

fn note(node: &Node, session: keys::id::SessionId, outcome: Outcome) {
    if let Err(error) = node.note(session, Action::Connect, outcome) {
        tracing::error!(%error, session = session.0, "a refused request is not in the audit log");
    }
}

impl Conversation {
    async fn respond(&mut self, request: Request<Incoming>, pace: Pace) -> Result<Answer, Closed> {
        let session = self.caller.session();
        if let Err(why) = self.gate.check(SystemClock.now()) {
            shut(&self.node, Origin::Https, session, &why);
            return Err(Closed);
        }
        if let Some(name) = delegation(request.headers()) {
            tracing::warn!(session = session.0, header = name, "request refused: only an edge may speak for a client");
            note(&self.node, session, Outcome::Denied);
            return Ok(closing(problem(StatusCode::BAD_REQUEST, &format!("only an edge may send {name}"))));
        }
        let mut message = match message(request, self.node.config.kmip.message_bytes_max).await? {
            Ok(message) => message,
            Err(refused) => {
                note(&self.node, session, Outcome::Invalid);
                return Ok(refused);
            }
        };
        pace.answering();
        let mut output = Vec::new();
        // Boxed: hyper moves the future of each request about, and keeps room for it as long as the connection lives.
        if Box::pin(answer(&self.node, Origin::Https, &mut self.caller, &message, &mut output)).await {
            message.zeroize();
        }
        let mut response = Response::new(Full::from(output));
        response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(TTLV));
        response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
        Ok(response)
    }
}

/// The KMIP message that a request carries, of at most `bytes_max`, or the answer to a request that carries none.
///
/// # Errors
/// [`Closed`]: the request ended early, or is not framed as HTTP says.
pub async fn message(request: Request<Incoming>, bytes_max: usize) -> Result<Result<Vec<u8>, Answer>, Closed> {
    if let Some(refused) = refuse(&request) {
        return Ok(Err(refused));
    }
    match collect(request.into_body(), bytes_max).await {
        Ok(message) => Ok(Ok(message)),
        Err(NoBody::TooLarge) => Ok(Err(closing(too_large(bytes_max)))),
        Err(NoBody::Broken) => Err(Closed),
    }
}

/// The answer to a request that is no message, by its head alone.
fn refuse<B>(request: &Request<B>) -> Option<Answer> {
    if let Some(why) = misframed(request) {
        return Some(closing(problem(StatusCode::BAD_REQUEST, why)));
    }
    if request.uri().path() != PATH {
        return Some(problem(StatusCode::NOT_FOUND, "KMIP is at /kmip").map(Full::new));
    }
    if request.method() != Method::POST {
        let mut refused = problem(StatusCode::METHOD_NOT_ALLOWED, "post a KMIP message").map(Full::new);
        refused.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("POST"));
        return Some(refused);
    }
    let is_ttlv = media_type(request.headers()).is_some_and(|kind| kind == TTLV);
    (!is_ttlv || is_encoded(request.headers())).then(|| {
        let detail = format!("send a TTLV message as {TTLV}, without a Content-Encoding");
        problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, &detail).map(Full::new)
    })
}

fn is_encoded(headers: &HeaderMap) -> bool {
    headers.get_all(header::CONTENT_ENCODING).iter().any(|coding| coding != "identity")
}

fn too_large(bytes_max: usize) -> Response<Bytes> {
    problem(StatusCode::PAYLOAD_TOO_LARGE, &format!("a message has at most {bytes_max} bytes (kmip.message_max)"))
}

/// An answer after which the connection ends: what follows on it may not be a request.
fn closing(response: Response<Bytes>) -> Answer {
    let mut response = response.map(Full::new);
    response.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(request: hyper::http::request::Builder, expected: Option<u16>) {
        let request = request.body(()).expect("a legal request");
        let refused = refuse(&request).map(|answer| answer.status().as_u16());
        assert_eq!(refused, expected, "{request:?}");
    }

    #[test]
    fn a_request_is_refused_by_its_head_alone() {
        let post = || Request::post("/kmip").header("host", "h");
        let ttlv = || post().header("content-type", TTLV);
        check(ttlv(), None);
        check(post().header("content-type", "Application/Octet-Stream; x=y"), None);
        check(ttlv().header("content-encoding", "identity"), None);
        check(ttlv().header("content-encoding", "gzip"), Some(415));
        for kind in ["text/xml", "application/json", "application/octet-streams", ""] {
            check(post().header("content-type", kind), Some(415));
        }
        check(post(), Some(415));
        check(ttlv().header("content-type", TTLV), Some(400));
        check(ttlv().header("host", "other"), Some(400));
        check(Request::post("/kmip").header("content-type", TTLV), Some(400));
        for path in ["/", "/kmip/", "/KMIP", "/kmip/x", "/api/v1/status"] {
            check(Request::post(path).header("host", "h").header("content-type", TTLV), Some(404));
        }
        for method in ["GET", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"] {
            check(Request::builder().method(method).uri("/kmip").header("host", "h"), Some(405));
        }
    }
}
