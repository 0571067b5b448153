//! HTTP/1.1 on a connection that may be trusted to nobody: limits and deadlines first, then whatever is spoken on top.
//!
//! hyper frames the messages; what it does not bound is bounded here: the time of a request from its first byte, the time between requests, the
//! time that a peer takes for an answer ([`pace`]), and the size of a body ([`body`]). A request that was read to its end is answered to its end,
//! also when its peer hangs up meanwhile, so that what was done is also recorded.

use std::pin::pin;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, Version, header};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::stop::Stop;
use crate::wiped::Wiped;

pub mod body;
pub mod edge;
pub mod encoding;
pub mod health;
pub mod kmip;
pub mod pace;

use pace::{Pace, Paced};

/// Most bytes of a request's head, and of what is read ahead of a body.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// Most header fields of a request.
const HEADERS_MAX: usize = 64;

/// The connection has to end without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection may not go on")]
pub struct Closed;

/// Serves requests, one after the other, until the peer or a deadline or `stop` ends the connection.
///
/// - `idle`: how long a connection may be without a request.
/// - `answer`: gets the pace of the connection, to be told when a request is whole.
///
/// # Errors
/// hyper's: a head that is no HTTP was answered with 400 or 431 before ([`hyper::Error::is_parse`]).
pub async fn serve<S, B, F>(stream: S, idle: Duration, mut stop: Stop, answer: impl Fn(Request<Incoming>, Pace) -> F) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
    B: Body<Data: Send, Error: std::error::Error + Send + Sync> + 'static,
    F: Future<Output = Result<Response<B>, Closed>>,
{
    let pace = Pace::default();
    let io = TokioIo::new(Paced::new(Wiped::for_http(stream), pace.clone(), idle));
    let service = service_fn(|request: Request<Incoming>| {
        let (pace, answered) = (pace.clone(), pace.clone());
        pace.with_body(request.body().size_hint().exact());
        let answer = answer(request, pace);
        async move {
            let response = answer.await;
            answered.waiting();
            response
        }
    });
    let mut http = http1::Builder::new();
    // A peer that hangs up early does not cut short what is done for it.
    http.half_close(true).max_buf_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX);
    let mut connection = pin!(http.serve_connection(io, service));
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = stop.requested() => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

/// What is wrong with the head of a request that hyper lets through (RFC 9112, 3.2), if anything. A Content-Length beside a Transfer-Encoding
/// needs no check: hyper takes the chunks and drops the length (RFC 9112, 6.3).
#[must_use]
pub fn misframed<B>(request: &Request<B>) -> Option<&'static str> {
    let headers = request.headers();
    let count = |name| headers.get_all(name).iter().count();
    if count(header::HOST) > 1 || (request.version() == Version::HTTP_11 && count(header::HOST) == 0) {
        return Some("an HTTP/1.1 request has one Host header");
    }
    (count(header::CONTENT_TYPE) > 1).then_some("a request has one Content-Type")
}

/// The media type of a request's body without its parameters, in lower case.
#[must_use]
pub fn media_type(headers: &hyper::HeaderMap) -> Option<String> {
    let text = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

#[cfg(test)]
mod tests;
