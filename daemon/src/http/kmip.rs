//! KMIP over HTTPS: `POST /kmip` with one message, answered by one in the same encoding; a KMIP failure is HTTP 200 like a success.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use cipher::mac::sha256;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, header};
use keys::answers::Forwarded;
use keys::id::{Layer, RowId, SessionId};
use keys::policy::{Action, NodeRole, Principal, Role};
use keys::port::{AuditSink, Clock};
use keys::record::{Origin, Outcome, Record};
use kmip::Caller;
use tokio::sync::Mutex;
use uuid::Uuid;

use super::body::{NoBody, collect};
use super::edge::{LEASE_PATH, REFERENCES_PATH, lease, references};
use super::encoding::Encoding;
use super::pace::Pace;
use super::{Closed, media_type, misframed};
use crate::admin::status::{problem, problem_of};
use crate::answer::{answer, answer_again, answer_text};
use crate::delegation::{self, CHANNEL_BYTES, Vouched, channel};
use crate::listener::{Arrival, Gate, shut};
use crate::node::Node;
use crate::system::SystemClock;

/// Where messages are posted.
pub const PATH: &str = "/kmip";

/// A whole response.
pub type Answer = Response<Full<Bytes>>;

/// Most clients of one edge's connection that are remembered between their requests; all are forgotten when there are more.
const VOUCHED_MAX: usize = 256;

/// One client and what is remembered between its requests; HTTP/1.1 has one at a time, so nobody ever waits for it.
struct Conversation {
    node: Arc<Node>,
    caller: Caller,
    gate: Gate,
    address: SocketAddr,
    /// What binds an edge's signatures to this connection; `None` below TLS 1.3.
    channel: Option<[u8; CHANNEL_BYTES]>,
    /// The number of the last request for which an edge has vouched.
    last_seq: u64,
    /// The clients for which it has vouched, by their certificates.
    vouched: HashMap<[u8; 32], (Principal, Caller)>,
}

/// Serves one connection until it ends.
pub async fn serve(arrival: Arrival) {
    let Arrival { stream, peer, gate, node, stop } = arrival;
    let (session, address, idle) = (peer.session, peer.address, node.config.kmip.idle_timeout);
    let mut caller = Caller::new(peer.principal, session, node.config.kmip.settings);
    if node.config.edge.is_some() {
        caller = caller.with_chain(gate.chain().iter().map(|der| der.to_vec()).collect());
    }
    let channel = channel(stream.get_ref().1);
    let (node_of, vouched) = (Arc::clone(&node), HashMap::new());
    let conversation = Conversation { node: node_of, caller, gate, address, channel, last_seq: 0, vouched };
    let conversation = Arc::new(Mutex::new(conversation));
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

fn note(node: &Node, session: SessionId, outcome: Outcome) {
    note_as(node, session, Action::Connect, outcome);
}

fn note_as(node: &Node, session: SessionId, action: Action, outcome: Outcome) {
    if let Err(error) = node.note(session, action, outcome) {
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
        if let Some(name) = delegation::header(request.headers()) {
            return self.respond_to_vouched(name, request, pace).await;
        }
        if request.method() == Method::GET && request.uri().path() == LEASE_PATH && misframed(&request).is_none() {
            pace.answering();
            let principal = self.gate.principal().clone();
            return Ok(Box::pin(lease(&self.node, &principal, session)).await);
        }
        if request.method() == Method::POST && request.uri().path() == REFERENCES_PATH && misframed(&request).is_none() {
            let principal = self.gate.principal().clone();
            return Box::pin(references(&self.node, &principal, session, request, pace)).await;
        }
        let bytes_max = self.node.config.kmip.message_bytes_max;
        let (encoding, body) = match message(request, &Encoding::ALL, bytes_max).await? {
            Ok(message) => message,
            Err(refused) => {
                note(&self.node, session, Outcome::Invalid);
                return Ok(refused);
            }
        };
        pace.answering();
        let mut output = Vec::new();
        // Boxed: hyper moves the future of each request about, and keeps room for it as long as the connection lives.
        match encoding.read(body, bytes_max) {
            Ok(message) => Box::pin(answer(&self.node, Origin::Https, &mut self.caller, &message, &mut output)).await,
            Err(error) => Box::pin(answer_text(&self.node, Origin::Https, &mut self.caller, &error, &mut output)).await,
        }
        Ok(answered(encoding, output))
    }
}

impl Conversation {
    /// A request of an edge for one of its clients. Whatever is wrong with it ends the connection, and is in the audit log.
    async fn respond_to_vouched(&mut self, name: &'static str, request: Request<Incoming>, pace: Pace) -> Result<Answer, Closed> {
        let session = self.caller.session();
        let refuse = |why: String, outcome| {
            tracing::warn!(session = session.0, header = name, why, "request for another client refused");
            note_as(&self.node, session, Action::Delegate, outcome);
            closing(problem(StatusCode::BAD_REQUEST, &why))
        };
        let edge = self.gate.principal().clone();
        let Some(channel) = self.channel.filter(|_| edge.role == Role::Edge && self.node.config.role == NodeRole::Core) else {
            return Ok(refuse(format!("only an edge may send {name}, to a core over TLS 1.3"), Outcome::Denied));
        };
        let vouched = match Vouched::read(request.headers()) {
            Ok(vouched) => vouched,
            Err(error) => return Ok(refuse(error.to_string(), Outcome::Invalid)),
        };
        // Between nodes there is one encoding.
        let message = match message(request, &[Encoding::Ttlv], self.node.config.kmip.message_bytes_max).await? {
            Ok((_, message)) => message,
            Err(refused) => {
                note_as(&self.node, session, Action::Delegate, Outcome::Invalid);
                return Ok(refused);
            }
        };
        let Some(open) = self.node.open() else {
            return Ok(closing(problem(StatusCode::SERVICE_UNAVAILABLE, self.node.sealed_for_edges())));
        };
        let (group, keys) = match open.vault.delegation_keys(&edge).await {
            Ok(found) => found,
            Err(error) => return Ok(refuse(error.to_string(), error.outcome())),
        };
        let signed = delegation::Request { method: "POST", path: PATH, body: &message };
        if let Err(error) = vouched.check(&keys, &channel, self.last_seq, signed) {
            return Ok(refuse(error.to_string(), Outcome::Denied));
        }
        self.last_seq = vouched.seq;
        let client = match self.gate.judge_other(&vouched.chain, SystemClock.now()) {
            Ok(client) => client,
            Err(why) => return Ok(refuse(format!("the client's certificate: {why}"), Outcome::Denied)),
        };
        pace.answering();
        let node = Arc::clone(&self.node);
        let asked = sha256(&[&client.certificate, &message]);
        let forwarded = Forwarded { group, request: vouched.request, asked };
        let Some(caller) = self.client(&edge, client, vouched.request) else {
            return Ok(closing(problem(StatusCode::SERVICE_UNAVAILABLE, "the audit log cannot be written")));
        };
        let mut output = Vec::new();
        if let Err(error) = Box::pin(answer_again(&node, caller, &message, &forwarded, &mut output)).await {
            note_as(&node, session, Action::Delegate, error.outcome());
            return Ok(closing(problem_of(error)));
        }
        Ok(answered(Encoding::Ttlv, output))
    }

    /// The client for which the edge vouches, with a session of its own in the audit log, which names the edge and the request first.
    fn client(&mut self, edge: &Principal, client: Principal, request: Uuid) -> Option<&mut Caller> {
        let certificate = client.certificate;
        if self.vouched.len() >= VOUCHED_MAX {
            self.vouched.clear();
        }
        // A certificate that the identity rules name otherwise than before is another client.
        if self.vouched.get(&certificate).is_none_or(|(known, _)| *known != client) {
            let group = edge.service.as_ref().map(ToString::to_string).unwrap_or_default();
            let peer = format!("{} by edge {group} of session {}", self.address, self.caller.session().0);
            let session = self.node.session(Origin::Https, Some(&client), &peer).ok()?;
            let caller = Caller::new(client.clone(), session, self.node.config.kmip.settings).vouched_by(edge.clone());
            self.vouched.insert(certificate, (client, caller));
        }
        let (_, caller) = self.vouched.get_mut(&certificate)?;
        let object = Some(RowId::new(Layer::Request, request));
        let (time, session) = (SystemClock.now(), caller.session());
        let record = Record { time, session, action: Action::Delegate, object, version: None, generation: None, outcome: Outcome::Success };
        self.node.audit.append(&[record]).ok()?;
        Some(caller)
    }
}

fn answered(encoding: Encoding, output: Vec<u8>) -> Answer {
    let body = match encoding.write(output) {
        Ok(body) => body,
        Err(error) => return closing(problem(StatusCode::BAD_GATEWAY, &format!("the core's answer is no message: {error}"))),
    };
    let mut response = Response::new(Full::from(body));
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(encoding.media_type()));
    // The HTTPS profile asks for the first; keys ask for the second.
    response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-cache, no-store"));
    response
}

/// The KMIP message that a request carries in one of these encodings, of at most `bytes_max` in TTLV, or the answer to one that carries none.
///
/// # Errors
/// [`Closed`]: the request ended early, or is not framed as HTTP says.
pub async fn message(
    request: Request<Incoming>,
    encodings: &[Encoding],
    bytes_max: usize,
) -> Result<Result<(Encoding, Vec<u8>), Answer>, Closed> {
    let encoding = match encoding(&request, encodings) {
        Ok(encoding) => encoding,
        Err(refused) => return Ok(Err(*refused)),
    };
    let bytes_max = encoding.body_bytes_max(bytes_max);
    match collect(request.into_body(), bytes_max).await {
        Ok(message) => Ok(Ok((encoding, message))),
        Err(NoBody::TooLarge) => Ok(Err(closing(too_large(bytes_max)))),
        Err(NoBody::Broken) => Err(Closed),
    }
}

/// How the message of a request is encoded, or the answer to a request that is none, by its head alone.
fn encoding<B>(request: &Request<B>, encodings: &[Encoding]) -> Result<Encoding, Box<Answer>> {
    if let Some(why) = misframed(request) {
        return Err(Box::new(closing(problem(StatusCode::BAD_REQUEST, why))));
    }
    if request.uri().path() != PATH {
        return Err(Box::new(problem(StatusCode::NOT_FOUND, "KMIP is at /kmip").map(Full::new)));
    }
    if request.method() != Method::POST {
        let mut refused = problem(StatusCode::METHOD_NOT_ALLOWED, "post a KMIP message").map(Full::new);
        refused.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("POST"));
        return Err(Box::new(refused));
    }
    let kind = media_type(request.headers()).unwrap_or_default();
    let found = encodings.iter().copied().find(|encoding| encoding.media_type() == kind);
    found.filter(|_| !is_encoded(request.headers())).ok_or_else(|| {
        let kinds: Vec<&str> = encodings.iter().map(|encoding| encoding.media_type()).collect();
        let detail = format!("send a KMIP message as {}, without a Content-Encoding", kinds.join(" or "));
        Box::new(problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, &detail).map(Full::new))
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

    const TTLV: &str = "application/octet-stream";

    fn check(request: hyper::http::request::Builder, expected: Result<Encoding, u16>) {
        let request = request.body(()).expect("a legal request");
        let found = encoding(&request, &Encoding::ALL).map_err(|answer| answer.status().as_u16());
        assert_eq!(found, expected, "{request:?}");
    }

    #[test]
    fn a_request_is_refused_by_its_head_alone() {
        let post = || Request::post("/kmip").header("host", "h");
        let ttlv = || post().header("content-type", TTLV);
        check(ttlv(), Ok(Encoding::Ttlv));
        check(post().header("content-type", "Application/Octet-Stream; x=y"), Ok(Encoding::Ttlv));
        check(post().header("content-type", "text/xml; charset=utf-8"), Ok(Encoding::TextXml));
        check(post().header("content-type", "application/xml"), Ok(Encoding::ApplicationXml));
        check(post().header("content-type", "application/JSON"), Ok(Encoding::Json));
        check(ttlv().header("content-encoding", "identity"), Ok(Encoding::Ttlv));
        check(ttlv().header("content-encoding", "gzip"), Err(415));
        check(post().header("content-type", "text/xml").header("content-encoding", "gzip"), Err(415));
        for kind in ["text/plain", "text/json", "application/octet-streams", "application/kmip+xml", ""] {
            check(post().header("content-type", kind), Err(415));
        }
        check(post(), Err(415));
        check(ttlv().header("content-type", TTLV), Err(400));
        check(ttlv().header("content-type", "text/xml"), Err(400));
        check(ttlv().header("host", "other"), Err(400));
        check(Request::post("/kmip").header("content-type", TTLV), Err(400));
        for path in ["/", "/kmip/", "/KMIP", "/kmip/x", "/api/v1/status"] {
            check(Request::post(path).header("host", "h").header("content-type", TTLV), Err(404));
        }
        for method in ["GET", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"] {
            check(Request::builder().method(method).uri("/kmip").header("host", "h"), Err(405));
        }
    }
}
