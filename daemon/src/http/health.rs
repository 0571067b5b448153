//! The health listener: is the process alive, can it serve, and what does it count; plain HTTP for the machine itself.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Method, Request, Response, StatusCode, header};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::Closed;
use crate::admin::status::problem;
use crate::metrics::MEDIA_TYPE;
use crate::node::Node;
use crate::stop::Stop;

/// Most connections at a time: probes and scrapers are few, and everybody else may wait.
const CONNECTIONS_MAX: usize = 32;
/// A connection without a request is closed after this time.
const IDLE: Duration = Duration::from_secs(60);
/// How long to wait before accepting again when the system has run out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often the log is told that nobody can be let in.
const ACCEPT_TOLD_EVERY: Duration = Duration::from_secs(10);

/// Serves until told to stop.
///
/// # Errors
/// Never now; the type is that of every listener.
pub async fn serve(socket: TcpListener, node: Arc<Node>, mut stop: Stop) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let mut told: Option<Instant> = None;
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
            (socket.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            biased;
            () = stop.requested() => break,
            Some(_ended) = connections.join_next() => continue,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((stream, _address)) => {
                let connection = connection(stream, Arc::clone(&node), stop.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(error) => {
                if told.is_none_or(|told| told.elapsed() > ACCEPT_TOLD_EVERY) {
                    tracing::warn!(%error, "health listener: cannot accept");
                    told = Some(Instant::now());
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    while connections.join_next().await.is_some() {}
    Ok(())
}

async fn connection(stream: TcpStream, node: Arc<Node>, stop: Stop) {
    let answer = |request: Request<_>, pace: super::pace::Pace| {
        // A body would be thrown away unread.
        pace.answering();
        let node = Arc::clone(&node);
        async move { Ok::<_, Closed>(answer(&node, request.method(), request.uri().path()).await) }
    };
    if let Err(error) = super::serve(stream, IDLE, stop, answer).await {
        tracing::debug!(%error, "health connection ended");
    }
}

async fn answer(node: &Arc<Node>, method: &Method, path: &str) -> Response<Full<Bytes>> {
    if !["/healthz", "/readyz", "/metrics"].contains(&path) {
        return problem(StatusCode::NOT_FOUND, "here are /healthz, /readyz and /metrics").map(Full::new);
    }
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut refused = problem(StatusCode::METHOD_NOT_ALLOWED, "use GET").map(Full::new);
        refused.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match path {
        "/metrics" => page(StatusCode::OK, MEDIA_TYPE, node.metrics.expose(node.figures().await)),
        "/readyz" => match node.ready().await {
            Ok(()) => page(StatusCode::OK, PLAIN, "ready\n".to_owned()),
            Err(why) => page(StatusCode::SERVICE_UNAVAILABLE, PLAIN, format!("{why}\n")),
        },
        _ => page(StatusCode::OK, PLAIN, "alive\n".to_owned()),
    }
}

const PLAIN: &str = "text/plain; charset=utf-8";

fn page(status: StatusCode, kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let response = Response::builder().status(status).header(header::CONTENT_TYPE, kind).header(header::CACHE_CONTROL, "no-store");
    response.body(Full::from(text)).expect("the headers are constants")
}
