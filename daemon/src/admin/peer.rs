//! Who calls the admin interface, and one admitted call of theirs.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::serve::IncomingStream;
use keys::id::{Layer, ScopeName, SessionId};
use keys::policy::{Action, NodeRole, Principal, Role, Verdict, verdict};
use keys::record::{Origin, Outcome};
use nix::unistd::Uid;
use tokio::net::UnixListener;

use crate::admin::calls::TooMany;
use crate::admin::status::Refused;
use crate::node::Node;

/// What works for an operator at the node itself while the audit log cannot be written.
const NEEDS_NO_LOG: [&str; 2] = ["/api/v1/status", "/api/v1/seal"];

/// Who is at the other end.
#[derive(Debug, Clone)]
pub enum AdminPeer {
    /// Somebody on this machine, on the Unix socket.
    Local(LocalPeer),
    /// Somebody with a certificate, whose connection has a session in the audit log.
    Known {
        /// As the identity rules say.
        principal: Principal,
        /// Its number in the audit log.
        session: SessionId,
    },
}

/// Who is at the other end of the Unix socket, as the kernel says.
#[derive(Debug, Clone, Copy)]
pub struct LocalPeer {
    /// Its user, `None` if the kernel did not say.
    pub user: Option<Uid>,
    /// Its process, 0 if the kernel did not say.
    pub process: i32,
}

impl LocalPeer {
    /// Root and the daemon's own user are operators; nobody else is anything.
    #[must_use]
    pub fn is_operator(&self) -> bool {
        self.user.is_some_and(|user| user.is_root() || user == Uid::effective())
    }
}

impl Connected<IncomingStream<'_, UnixListener>> for AdminPeer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        let credentials = stream.io().peer_cred().ok();
        Self::Local(LocalPeer {
            user: credentials.as_ref().map(|peer| Uid::from_raw(peer.uid())),
            process: credentials.and_then(|peer| peer.pid()).unwrap_or(0),
        })
    }
}

/// One admitted call.
#[derive(Debug, Clone)]
pub struct Call {
    /// Its number in the audit log.
    pub session: SessionId,
    /// How it came.
    pub origin: Origin,
    /// As whom.
    pub principal: Principal,
}

impl Call {
    /// May the caller do this, by the one policy table?
    ///
    /// # Errors
    /// [`Refused::denied`].
    pub fn check(&self, action: Action, layer: Option<Layer>) -> Result<(), Refused> {
        match verdict(action, NodeRole::Core, layer, self.principal.role) {
            Verdict::Here => Ok(()),
            Verdict::Upstream | Verdict::Refused => Err(Refused::denied_as(self.principal.role, &allowed(action, layer))),
        }
    }

    /// Does a caller who may see tenants see this one? A tenant-admin sees its own; any other is to it as if there were none.
    #[must_use]
    pub fn sees(&self, tenant: &str) -> bool {
        self.principal.role != Role::TenantAdmin || self.own_tenant() == Some(tenant)
    }

    /// The tenant of a tenant-admin, the only one that it sees.
    #[must_use]
    pub fn own_tenant(&self) -> Option<&str> {
        let Principal { role, tenant, .. } = &self.principal;
        tenant.as_ref().filter(|_| *role == Role::TenantAdmin).map(ScopeName::as_str)
    }

    /// Is it a call of somebody who has to help a node whose disk is full?
    #[must_use]
    pub fn is_operators(&self) -> bool {
        self.principal.role == Role::Operator
    }

    /// Notes how the call ended, in the audit log and in the metrics.
    ///
    /// # Errors
    /// The audit log cannot be written.
    pub fn note(&self, node: &Node, action: Action, outcome: Outcome) -> Result<(), Refused> {
        node.metrics.requests.count(self.origin, action, outcome);
        let noted =
            if self.is_operators() { node.note_own(self.session, action, outcome) } else { node.note(self.session, action, outcome) };
        Ok(noted?)
    }
}

/// The roles that may do this.
fn allowed(action: Action, layer: Option<Layer>) -> Vec<Role> {
    Role::ALL.into_iter().filter(|role| verdict(action, NodeRole::Core, layer, *role) == Verdict::Here).collect()
}

/// Lets a caller in who is somebody: on the socket under a session of its own for each call, so that the log says which process asked.
///
/// # Errors
/// Nobody, or the audit log cannot take the session.
pub async fn admit(
    State(node): State<Arc<Node>>,
    ConnectInfo(peer): ConnectInfo<AdminPeer>,
    mut request: Request,
    next: Next,
) -> Result<Response, Refused> {
    let begun = Instant::now();
    let call = match peer {
        AdminPeer::Local(peer) => local(&node, peer, request.uri().path())?,
        AdminPeer::Known { principal, session } => {
            if let Err(too_many) = node.calls.admit(&principal.certificate) {
                return later(&node, session, too_many);
            }
            Call { session, origin: Origin::Admin, principal }
        }
    };
    let origin = call.origin;
    request.extensions_mut().insert(call);
    let response = next.run(request).await;
    node.metrics.requests.took(origin, begun.elapsed());
    Ok(response)
}

/// Tells a client that calls too often when to come again.
fn later(node: &Node, session: SessionId, TooMany { wait, is_told }: TooMany) -> Result<Response, Refused> {
    node.metrics.requests.count(Origin::Admin, Action::LimitCalls, Outcome::Denied);
    if is_told {
        node.note(session, Action::LimitCalls, Outcome::Denied)?;
    }
    let seconds = wait.as_secs() + 1;
    let detail = format!("more calls came than `admin.calls_per_second` lets through: come again in {seconds} s");
    let mut response = Refused::too_many(detail).into_response();
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    Ok(response)
}

fn local(node: &Node, peer: LocalPeer, path: &str) -> Result<Call, Refused> {
    let who = format!("uid {} pid {}", peer.user.map_or(-1, |user| i64::from(user.as_raw())), peer.process);
    let operator = Principal { role: Role::Operator, tenant: None, service: None, certificate: [0; 32] };
    let session = match node.session(Origin::Socket, peer.is_operator().then_some(&operator), &who) {
        Ok(session) => session,
        // How an operator learns what is wrong with the log, and how keys are wiped in any case (F15).
        Err(_) if peer.is_operator() && NEEDS_NO_LOG.contains(&path) => node.system,
        Err(error) => return Err(error.into()),
    };
    if !peer.is_operator() {
        node.note(session, Action::Connect, Outcome::Denied)?;
        return Err(Refused::denied());
    }
    Ok(Call { session, origin: Origin::Socket, principal: operator })
}
