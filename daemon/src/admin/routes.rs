//! The routes of the admin interface: each authorizes, does one thing, and leaves one record in the audit log.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, Query, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use keys::id::{ScopeName, SessionId};
use keys::policy::{Action, NodeRole, Role, Verdict, verdict};
use keys::port::{AuditSink, Clock};
use keys::record::{Origin, Outcome, Record};
use keys::tenancy::{Service, Tenant};
use keys::unit::Unit;
use keys::vault::Vault;
use seal::PIN_BYTES_MAX;

use crate::admin::server::LocalPeer;
use crate::admin::status::Refused;
use crate::admin::types::{
    IvkInfo, Memory, NewService, NewTenant, ServiceInfo, SlotInfo, SlotVerified, Status, TenantInfo, UnsealBy, VerifySlot,
};
use crate::node::{Node, Open, Typed};
use crate::system::{SystemClock, rfc3339};

/// Longest request body (C24).
const BODY_BYTES_MAX: usize = 256 * 1024;

/// What works while the audit log cannot be written.
const NEEDS_NO_LOG: [&str; 2] = ["/api/v1/status", "/api/v1/seal"];

type Answer<T> = Result<T, Refused>;

/// All routes over one node.
pub fn router(node: Arc<Node>) -> Router {
    Router::new()
        .route("/api/v1/status", get(status))
        .route("/api/v1/unseal", post(unseal))
        .route("/api/v1/seal", post(seal))
        .route("/api/v1/tenants", get(tenants).post(create_tenant))
        .route("/api/v1/tenants/{tenant}", get(tenant))
        .route("/api/v1/tenants/{tenant}/services", get(services).post(create_service))
        .route("/api/v1/slots", get(slots))
        .route("/api/v1/slots/{slot}/verify", post(verify_slot))
        .route("/api/v1/ivk", get(ivk))
        .layer(middleware::from_fn_with_state(Arc::clone(&node), admit))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(node)
}

/// One admitted call.
#[derive(Debug, Clone, Copy)]
struct Call {
    session: SessionId,
}

/// Lets operators in, each call under a session of its own, so that the log says which process asked.
async fn admit(
    State(node): State<Arc<Node>>,
    ConnectInfo(peer): ConnectInfo<LocalPeer>,
    mut request: Request,
    next: Next,
) -> Answer<Response> {
    let who = format!("uid {} pid {}", peer.user.map_or(-1, |user| i64::from(user.as_raw())), peer.process);
    let session = match node.operator_session(&who, peer.is_operator()) {
        Ok(session) => session,
        // How an operator learns what is wrong with the log, and how keys are wiped in any case (F15).
        Err(_) if peer.is_operator() && NEEDS_NO_LOG.contains(&request.uri().path()) => node.system,
        Err(refused) => return Err(refused),
    };
    if !peer.is_operator() {
        node.note(session, Action::Connect, Outcome::Denied)?;
        return Err(Refused::denied());
    }
    request.extensions_mut().insert(Call { session });
    Ok(next.run(request).await)
}

impl Node {
    fn operator_session(&self, who: &str, is_operator: bool) -> Answer<SessionId> {
        let operator = keys::policy::Principal { role: Role::Operator, tenant: None, service: None, certificate: [0; 32] };
        Ok(self.session(Origin::Socket, is_operator.then_some(&operator), who)?)
    }

    fn unsealed(&self) -> Answer<Arc<Open>> {
        self.open().ok_or_else(|| Refused::sealed(&self.sealed().map(|(_, reason)| reason).unwrap_or_default()))
    }
}

/// Runs `work` in a unit if the policy table lets an operator do `action`; leaves one record, commits, then answers.
async fn act<T>(node: &Node, call: Call, action: Action, work: impl AsyncFnOnce(&Vault, &mut Unit) -> Answer<T>) -> Answer<T> {
    let open = node.unsealed();
    let mut unit = node.begin(call.session);
    let outcome = match open {
        Err(refused) => Err(refused),
        Ok(_) if verdict(action, NodeRole::Core, None, Role::Operator) != Verdict::Here => Err(Refused::denied()),
        Ok(open) => work(&open.vault, &mut unit).await,
    };
    if outcome.is_err() {
        unit.undo();
    }
    unit.record(Record {
        time: SystemClock.now(),
        session: call.session,
        action,
        object: None,
        version: None,
        generation: None,
        outcome: outcome.as_ref().err().map_or(Outcome::Success, |refused| refused.outcome),
    });
    let lost = unit.lost();
    let _receipt = unit.commit().await.inspect_err(|_| node.note_all(&lost)).map_err(keys::Error::from)?;
    outcome
}

async fn status(State(node): State<Arc<Node>>, Extension(call): Extension<Call>) -> Answer<Json<Status>> {
    // Status must work while the log does not: it is how an operator learns that.
    let _unwritten = node.note(call.session, Action::Inspect, Outcome::Success);
    Ok(Json(node.status()))
}

async fn unseal(
    State(node): State<Arc<Node>>,
    Extension(call): Extension<Call>,
    Query(UnsealBy { custodian, retry_pin }): Query<UnsealBy>,
    body: Bytes,
) -> Answer<Json<Status>> {
    if body.len() > PIN_BYTES_MAX {
        return Err(Refused::invalid(format!("a PIN has at most {PIN_BYTES_MAX} bytes")));
    }
    let typed = match (custodian, body.is_empty()) {
        (None, true) => None,
        (Some(custodian), false) => {
            let custodian = custodian.parse().map_err(|error: seal::Error| Refused::invalid(error.to_string()))?;
            let pin = secret::Bytes::init_with(body.len(), |pin| pin.copy_from_slice(&body)).map_err(keys::Error::from)?;
            Some(Typed { custodian, pin, retry_pin })
        }
        (Some(_), true) => return Err(Refused::invalid("a custodian is named, but the body holds no PIN".to_owned())),
        (None, false) => return Err(Refused::invalid("name the custodian whose PIN this is: ?custodian=NAME".to_owned())),
    };
    // On a task of its own, so that a client that hangs up does not leave the node half-way.
    let unsealing = Arc::clone(&node);
    tokio::spawn(async move { unsealing.unseal(call.session, typed).await }).await.expect("unsealing does not panic")?;
    Ok(Json(node.status()))
}

async fn seal(State(node): State<Arc<Node>>, Extension(call): Extension<Call>) -> Answer<Json<Status>> {
    let sealing = Arc::clone(&node);
    let noted = tokio::spawn(async move { sealing.seal(call.session).await }).await.expect("sealing does not panic");
    if let Err(error) = noted {
        // The keys are gone, which is what was asked for; the status shows what is wrong with the log.
        tracing::error!(%error, "sealed, but not recorded");
    }
    Ok(Json(node.status()))
}

async fn tenants(State(node): State<Arc<Node>>, Extension(call): Extension<Call>) -> Answer<Json<Vec<TenantInfo>>> {
    let list = act(&node, call, Action::Inspect, async |vault, _unit| Ok(vault.tenants().await?)).await?;
    Ok(Json(list.into_iter().map(tenant_info).collect()))
}

async fn tenant(State(node): State<Arc<Node>>, Extension(call): Extension<Call>, Path(name): Path<String>) -> Answer<Json<TenantInfo>> {
    let found = act(&node, call, Action::Inspect, async |vault, _unit| existing_tenant(vault, &name).await).await?;
    Ok(Json(tenant_info(found)))
}

async fn create_tenant(
    State(node): State<Arc<Node>>,
    Extension(call): Extension<Call>,
    Json(new): Json<NewTenant>,
) -> Answer<(StatusCode, Json<TenantInfo>)> {
    let made = act(&node, call, Action::CreateTenant, async |vault, unit| {
        let name = scope_name(&new.name)?;
        Ok(vault.create_tenant(unit, &name).await?)
    })
    .await?;
    node.unsealed()?.vault.read_back(&made).await?;
    Ok((StatusCode::CREATED, Json(tenant_info(made))))
}

async fn services(
    State(node): State<Arc<Node>>,
    Extension(call): Extension<Call>,
    Path(tenant): Path<String>,
) -> Answer<Json<Vec<ServiceInfo>>> {
    let list = act(&node, call, Action::Inspect, async |vault, _unit| {
        let tenant = existing_tenant(vault, &tenant).await?;
        Ok(vault.services(tenant.id).await?)
    })
    .await?;
    Ok(Json(list.into_iter().map(|service| service_info(&tenant, service)).collect()))
}

async fn create_service(
    State(node): State<Arc<Node>>,
    Extension(call): Extension<Call>,
    Path(tenant): Path<String>,
    Json(new): Json<NewService>,
) -> Answer<(StatusCode, Json<ServiceInfo>)> {
    let made = act(&node, call, Action::CreateService, async |vault, unit| {
        let owner = existing_tenant(vault, &tenant).await?;
        let name = scope_name(&new.name)?;
        Ok(vault.create_service(unit, &owner.name, &name).await?)
    })
    .await?;
    Ok((StatusCode::CREATED, Json(service_info(&tenant, made))))
}

async fn ivk(State(node): State<Arc<Node>>, Extension(call): Extension<Call>) -> Answer<Json<Vec<IvkInfo>>> {
    let list = act(&node, call, Action::Inspect, async |vault, _unit| Ok(vault.ivk_status().await?)).await?;
    Ok(Json(list.iter().map(ivk_info).collect()))
}

async fn slots(State(node): State<Arc<Node>>, Extension(call): Extension<Call>) -> Answer<Json<Vec<SlotInfo>>> {
    node.note(call.session, Action::Inspect, Outcome::Success)?;
    let listing = node.seal.list()?;
    let good = listing.slots.iter().map(|slot| slot_info(&node, slot));
    let bad = listing.unreadable.iter().map(|file| SlotInfo {
        id: file.file.clone(),
        label: String::new(),
        custodian: String::new(),
        kind: String::new(),
        created: None,
        generation: None,
        probe: file.why.to_string(),
    });
    Ok(Json(good.chain(bad).collect()))
}

async fn verify_slot(
    State(node): State<Arc<Node>>,
    Extension(call): Extension<Call>,
    Path(slot): Path<String>,
    Json(VerifySlot { retry_pin }): Json<VerifySlot>,
) -> Answer<Json<SlotVerified>> {
    let started = Instant::now();
    let verified = node.verify_slot(slot, retry_pin).await.map_err(Refused::from);
    node.note(call.session, Action::VerifySlot, verified.as_ref().err().map_or(Outcome::Success, |refused| refused.outcome))?;
    let slot = verified?;
    let millis = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(Json(SlotVerified { id: slot.header.id.to_string(), label: slot.header.label.to_string(), millis }))
}

fn slot_info(node: &Node, slot: &seal::Slot) -> SlotInfo {
    let header = &slot.header;
    SlotInfo {
        id: header.id.to_string(),
        label: header.label.to_string(),
        custodian: header.custodian.to_string(),
        kind: header.kind.to_string(),
        created: Some(rfc3339(header.created)),
        generation: Some(header.generation),
        probe: node.last_try(header.id),
    }
}

async fn existing_tenant(vault: &Vault, name: &str) -> Answer<Tenant> {
    let found = vault.tenant_by_name(&scope_name(name)?).await?;
    found.ok_or_else(|| Refused::not_found(format!("there is no tenant `{name}`: see `strongroom tenant list`")))
}

fn scope_name(text: &str) -> Answer<ScopeName> {
    text.parse().map_err(|error: keys::id::NotAName| Refused::invalid(error.to_string()))
}

fn tenant_info(tenant: Tenant) -> TenantInfo {
    TenantInfo { name: tenant.name.to_string(), id: tenant.id.to_string(), key: tenant.key.to_string() }
}

fn service_info(tenant: &str, service: Service) -> ServiceInfo {
    ServiceInfo {
        tenant: tenant.to_owned(),
        name: service.name.to_string(),
        id: service.id.to_string(),
        default_key: service.default_key.to_string(),
    }
}

fn ivk_info(status: &keys::cluster::IvkStatus) -> IvkInfo {
    IvkInfo {
        version: status.version.0,
        algorithm: status.aead.name().to_owned(),
        bits: 256,
        status: format!("{:?}", status.state).to_lowercase(),
        created: rfc3339(status.created),
        rotated: status.rotated.map(rfc3339),
    }
}

impl Node {
    /// What `status` shows; works in every state.
    #[must_use]
    pub fn status(&self) -> Status {
        let open = self.open();
        let (since, reason) = match (&open, self.sealed()) {
            (Some(open), _) => (open.since, None),
            (None, Some((since, reason))) => (since, Some(reason)),
            (None, None) => (SystemClock.now(), None),
        };
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            role: "core".to_owned(),
            cluster: self.identity.cluster.to_string(),
            state: if open.is_some() { "unsealed" } else { "sealed" }.to_owned(),
            since: rfc3339(since),
            reason,
            masterkey: open.as_ref().map(|_| self.masterkey()),
            memory: Memory { backing: format!("{:?}", self.memory.backing).to_lowercase(), arena_bytes: self.memory.arena_bytes },
            kmip: self.config.listeners.kmip.as_ref().map(|listener| listener.bind.to_string()),
            audit: self.audit.ready().map_or_else(|error| error.to_string(), |()| "writable".to_owned()),
            warnings: self.warnings(),
            pid: std::process::id(),
        }
    }
}
