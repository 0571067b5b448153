//! Where the admin interface is served: the Unix socket, for root and the daemon's own user; and a TLS port, for whom a certificate names.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::service::TowerToHyperService;
use keys::id::SessionId;
use keys::policy::Action;
use keys::port::Clock;
use keys::record::{Origin, Outcome};
use tokio::net::UnixListener;
use tokio::sync::Mutex;

use crate::admin::peer::AdminPeer;
use crate::admin::routes;
use crate::admin::status::problem;
use crate::delegation;
use crate::http::pace::Pace;
use crate::http::{self, Closed};
use crate::listener::{Arrival, shut};
use crate::node::Node;
use crate::stop::Stop;
use crate::system::SystemClock;

/// A connection of an administrator without a request is closed after this time.
const IDLE: Duration = Duration::from_secs(300);

/// Binds the socket, readable and writable by its owner alone; a socket left by a killed process is replaced.
///
/// # Errors
/// Another process is listening there, or the folder cannot be written.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another strongroomd is listening there"));
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves the admin interface on the socket until told to stop.
///
/// # Errors
/// The socket failed.
pub async fn serve(listener: UnixListener, node: Arc<Node>, mut stop: Stop) -> io::Result<()> {
    let service = routes::router(node).into_make_service_with_connect_info::<AdminPeer>();
    axum::serve(listener, service)
        .with_graceful_shutdown(async move {
            stop.requested().await;
        })
        .await
}

/// Serves the admin interface on one connection of a TLS port until it ends.
pub async fn serve_arrival(arrival: Arrival, router: Router) {
    let Arrival { stream, peer, gate, node, stop } = arrival;
    let (session, address) = (peer.session, peer.address);
    let admin = AdminPeer::Known { principal: peer.principal, session };
    let service = TowerToHyperService::new(router);
    let gate = Mutex::new(gate);
    let answer = |request: Request<Incoming>, pace: Pace| {
        let (admin, service, gate, node) = (admin.clone(), &service, &gate, &node);
        async move {
            if let Err(why) = gate.lock().await.check(SystemClock.now()) {
                shut(node, Origin::Admin, session, &why);
                return Err(Closed);
            }
            if let Some(name) = delegation::header(request.headers()) {
                tracing::warn!(session = session.0, header = name, "request refused: only an edge may speak for a client");
                note(node, session, Outcome::Denied);
                return Ok(closing(&format!("only an edge may send {name}")));
            }
            if let Some(why) = http::misframed(&request) {
                note(node, session, Outcome::Invalid);
                return Ok(closing(why));
            }
            let (mut head, body) = request.into_parts();
            head.extensions.insert(ConnectInfo(admin));
            head.extensions.insert(pace);
            Ok(service.call(Request::from_parts(head, Body::new(body))).await.unwrap_or_else(|never| match never {}))
        }
    };
    let Err(error) = http::serve(stream, IDLE, stop, answer).await else { return };
    tracing::debug!(session = session.0, %address, %error, "admin connection ended");
    if error.is_parse() {
        note(&node, session, Outcome::Invalid);
    }
}

fn note(node: &Node, session: SessionId, outcome: Outcome) {
    if let Err(error) = node.note(session, Action::Connect, outcome) {
        tracing::error!(%error, session = session.0, "a refused request is not in the audit log");
    }
}

/// An answer after which the connection ends: what follows on it may not be a request.
fn closing(why: &str) -> Response<Body> {
    let mut response = problem(StatusCode::BAD_REQUEST, why).map(Body::from);
    response.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    response
}
