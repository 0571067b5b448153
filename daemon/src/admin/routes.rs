//! The routes of the admin interface: each authorizes, does one thing, and leaves one record in the audit log.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json, Router, middleware};
use keys::id::{Layer, ScopeName, TenantId};
use keys::policy::{Action, NodeRole, Role};
use keys::port::{AuditSink, Clock};
use keys::record::Outcome;
use keys::resource::Resource;
use keys::rotate::NewIvk;
use keys::tenancy::{Service, Tenant};
use keys::vault::Vault;
use seal::PIN_BYTES_MAX;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::admin::act::{Answer, Deed, Tries, act, outcome_of, tend};
use crate::admin::document::{self, Refusals};
use crate::admin::peer::{self, Call};
use crate::admin::sent::{Named, Sent};
use crate::admin::status::Refused;
use crate::admin::types::{DisableTenant, Memory, NewService, NewTenant, ResourceInfo, ServiceInfo, Status, TenantInfo, UnsealBy};
use crate::admin::{
    ceremony_routes, edge_routes, kek_routes, key_routes, keystore_routes, report_routes, service_routes, shard_routes, slot_routes,
};
use crate::node::{Node, Typed};
use crate::system::{SystemClock, rfc3339};

/// Looks at tenants, or at one.
const INSPECT_TENANT: Deed = Deed::new(Action::Inspect, Some(Layer::Tenant));

/// All routes with what the document says of them.
#[must_use]
pub fn documented() -> OpenApiRouter<Arc<Node>> {
    OpenApiRouter::with_openapi(document::head())
        .routes(routes!(status))
        .routes(routes!(unseal))
        .routes(routes!(seal))
        .routes(routes!(tenants, create_tenant))
        .routes(routes!(tenant))
        .routes(routes!(disable_tenant))
        .routes(routes!(enable_tenant))
        .routes(routes!(services, create_service))
        .routes(routes!(service_routes::service_deployed))
        .routes(routes!(key_routes::list_keys))
        .routes(routes!(key_routes::show_key))
        .routes(routes!(key_routes::rotate_key))
        .routes(routes!(key_routes::roll_key_back))
        .routes(routes!(key_routes::revoke_key))
        .routes(routes!(key_routes::retire_key))
        .routes(routes!(key_routes::destroy_key))
        .routes(routes!(key_routes::repair_key))
        .routes(routes!(keystore_routes::list_keystores))
        .routes(routes!(keystore_routes::keystore_health))
        .routes(routes!(keystore_routes::migration, keystore_routes::migrate))
        .routes(routes!(keystore_routes::abort_migration))
        .routes(routes!(edge_routes::edges, edge_routes::enrol_edges))
        .routes(routes!(edge_routes::revoke_edges))
        .routes(routes!(edge_routes::give_up_edge))
        .routes(routes!(slot_routes::slots, slot_routes::add_slot))
        .routes(routes!(slot_routes::remove_slot))
        .routes(routes!(slot_routes::verify_slot))
        .routes(routes!(slot_routes::approvals))
        .routes(routes!(slot_routes::approve))
        .routes(routes!(shard_routes::shards))
        .routes(routes!(shard_routes::give_shard))
        .routes(routes!(ceremony_routes::ceremonies, ceremony_routes::start_ceremony))
        .routes(routes!(ceremony_routes::cast_vote))
        .routes(routes!(ceremony_routes::cancel_ceremony))
        .routes(routes!(ceremony_routes::manifest))
        .routes(routes!(kek_routes::kek_status))
        .routes(routes!(kek_routes::generate_kek))
        .routes(routes!(kek_routes::rotate_kek))
        .routes(routes!(kek_routes::kek_schedule))
        .routes(routes!(kek_routes::retire_kek))
        .routes(routes!(kek_routes::destroy_kek))
        .routes(routes!(kek_routes::reencryption))
        .routes(routes!(kek_routes::start_reencryption))
        .routes(routes!(kek_routes::pause_reencryption))
        .routes(routes!(kek_routes::resume_reencryption))
        .routes(routes!(report_routes::rotation))
        .routes(routes!(openapi))
}

/// All routes over one node.
pub fn router(node: Arc<Node>) -> Router {
    let (router, _document) = documented().split_for_parts();
    router
        .fallback(absent)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(Arc::clone(&node), peer::admit))
        .with_state(node)
}

/// There is nothing at this path.
async fn absent(State(node): State<Arc<Node>>, Extension(call): Extension<Call>) -> Refused {
    let refused = Refused::not_found("there is no such route: /api/v1/openapi.json tells what there is".to_owned());
    call.note(&node, Action::Unsupported, refused.outcome).err().unwrap_or(refused)
}

/// What is at this path is not done by this method.
async fn wrong_method(State(node): State<Arc<Node>>, Extension(call): Extension<Call>) -> Refused {
    let refused = Refused::method();
    call.note(&node, Action::Unsupported, refused.outcome).err().unwrap_or(refused)
}

/// The state of the node; works in every state.
#[utoipa::path(get, path = "/api/v1/status", tag = "node", responses((status = 200, description = "As asked", body = Status), Refusals))]
async fn status(State(node): State<Arc<Node>>, Extension(call): Extension<Call>) -> Answer<Json<Status>> {
    let allowed = call.check(Action::Inspect, None);
    match call.note(&node, Action::Inspect, outcome_of(&allowed)) {
        // Status must work while the log does not: it is how an operator learns that.
        Err(_) if call.is_operators() => {}
        noted => noted?,
    }
    allowed.map(|()| Json(node.status()))
}

/// Opens the node's keys, by a device or with the typed PIN of a custodian. For operators.
#[utoipa::path(
    post, path = "/api/v1/unseal", tag = "node", params(UnsealBy),
    request_body(content = String, content_type = "application/octet-stream", description = "Empty, or a PIN"),
    responses((status = 200, description = "As asked", body = Status), Refusals)
)]
async fn unseal(
    State(node): State<Arc<Node>>,
    Extension(call): Extension<Call>,
    sent: Sent,
) -> ([(HeaderName, &'static str); 1], Answer<Json<Status>>) {
    // A PIN that was typed lies in the connection's buffer for as long as there is one.
    ([(header::CONNECTION, "close")], unseal_as_asked(node, call, sent).await)
}

async fn unseal_as_asked(node: Arc<Node>, call: Call, sent: Sent) -> Answer<Json<Status>> {
    let typed = match call.check(Action::Unseal, None).and_then(|()| typed(&sent)) {
        Ok(typed) => typed,
        Err(refused) => {
            call.note(&node, Action::Unseal, refused.outcome)?;
            return Err(refused);
        }
    };
    // On a task of its own, so that a client that hangs up does not leave the node half-way. It leaves the record itself.
    let unsealing = Arc::clone(&node);
    let unsealed = tokio::spawn(async move { unsealing.unseal(call.session, typed).await }).await.expect("unsealing does not panic");
    let unsealed = unsealed.map_err(Refused::from);
    node.metrics.requests.count(call.origin, Action::Unseal, outcome_of(&unsealed));
    unsealed.map(|()| Json(node.status()))
}

fn typed(sent: &Sent) -> Answer<Option<Typed>> {
    let UnsealBy { custodian, retry_pin } = sent.query()?;
    let body = sent.bytes()?;
    if body.len() > PIN_BYTES_MAX {
        return Err(Refused::invalid(format!("a PIN has at most {PIN_BYTES_MAX} bytes")));
    }
    match (custodian, body.is_empty()) {
        (None, true) => Ok(None),
        (Some(custodian), false) => {
            let custodian = custodian.parse().map_err(|error: seal::Error| Refused::invalid(error.to_string()))?;
            let pin = secret::Bytes::init_with(body.len(), |pin| pin.copy_from_slice(body)).map_err(keys::Error::from)?;
            Ok(Some(Typed { custodian, pin, retry_pin }))
        }
        (Some(_), true) => Err(Refused::invalid("a custodian is named, but the body holds no PIN".to_owned())),
        (None, false) => Err(Refused::invalid("name the custodian whose PIN this is: ?custodian=NAME".to_owned())),
    }
}

/// Forgets the node's keys. For operators.
#[utoipa::path(post, path = "/api/v1/seal", tag = "node", responses((status = 200, description = "As asked", body = Status), Refusals))]
async fn seal(State(node): State<Arc<Node>>, Extension(call): Extension<Call>) -> Answer<Json<Status>> {
    if let Err(refused) = call.check(Action::Seal, None) {
        call.note(&node, Action::Seal, refused.outcome)?;
        return Err(refused);
    }
    let sealing = Arc::clone(&node);
    let noted = tokio::spawn(async move { sealing.seal(call.session).await }).await.expect("sealing does not panic");
    node.metrics.requests.count(call.origin, Action::Seal, Outcome::Success);
    if let Err(error) = noted {
        // The keys are gone, which is what was asked for; the status shows what is wrong with the log.
        tracing::error!(%error, "sealed, but not recorded");
    }
    Ok(Json(node.status()))
}

/// All tenants; a tenant-admin sees its own.
#[utoipa::path(get, path = "/api/v1/tenants", tag = "tenants", responses((status = 200, description = "As asked", body = [TenantInfo]), Refusals))]
async fn tenants(State(node): State<Arc<Node>>, Extension(call): Extension<Call>) -> Answer<Json<Vec<TenantInfo>>> {
    let list = act(&node, &call, INSPECT_TENANT, async |vault, _unit, _subject| match (call.principal.role, &call.principal.tenant) {
        (Role::TenantAdmin, Some(own)) => Ok(vault.tenant_by_name(own).await?.into_iter().collect()),
        (Role::TenantAdmin, None) => Ok(Vec::new()),
        _ => Ok(vault.tenants().await?),
    })
    .await?;
    Ok(Json(list.into_iter().map(tenant_info).collect()))
}

/// One tenant, with its resources.
#[utoipa::path(
    get, path = "/api/v1/tenants/{tenant}", tag = "tenants", params(("tenant" = String, Path, description = "Its name")),
    responses((status = 200, description = "As asked", body = TenantInfo), Refusals)
)]
async fn tenant(State(node): State<Arc<Node>>, Extension(call): Extension<Call>, name: Named) -> Answer<Json<TenantInfo>> {
    let found = act(&node, &call, INSPECT_TENANT, async |vault, _unit, _subject| {
        let tenant = existing_tenant(vault, &call, name.text()?).await?;
        let resources = vault.resources(tenant.id).await?;
        Ok(TenantInfo { resources: resources.into_iter().map(resource_info).collect(), ..tenant_info(tenant) })
    });
    Ok(Json(found.await?))
}

/// Makes a tenant with version 1 of its key (L2). For operators.
#[utoipa::path(
    post, path = "/api/v1/tenants", tag = "tenants", request_body = NewTenant, responses((status = 201, description = "Made", body = TenantInfo), Refusals)
)]
async fn create_tenant(
    State(node): State<Arc<Node>>,
    Extension(call): Extension<Call>,
    sent: Sent,
) -> Answer<(StatusCode, Json<TenantInfo>)> {
    let mut tries = Tries::default();
    let made = loop {
        let made = act(&node, &call, Deed::new(Action::CreateTenant, None), async |vault, unit, _subject| {
            let name = scope_name(&sent.json::<NewTenant>()?.name)?;
            if name.is_reserved() {
                return Err(Refused::invalid(format!("`{name}` is the appliance's own tenant: choose another name")));
            }
            Ok(vault.create_tenant(unit, &name).await?)
        });
        let made = made.await;
        if !tries.again(&made) {
            break made?;
        }
    };
    node.unsealed()?.vault.read_back(&made).await?;
    Ok((StatusCode::CREATED, Json(tenant_info(made))))
}

/// Serves a tenant nothing from now on: at once here, at edges with their next lease. Of one that has left for good the IVK is rotated afterwards. For operators.
#[utoipa::path(
    post, path = "/api/v1/tenants/{tenant}/disable", tag = "tenants", params(("tenant" = String, Path, description = "The tenant's name")),
    request_body(content = Option<DisableTenant>, content_type = "application/json", description = "How; empty: it may come back"),
    responses((status = 200, description = "Disabled", body = TenantInfo), Refusals)
)]
async fn disable_tenant(
    State(node): State<Arc<Node>>,
    Extension(call): Extension<Call>,
    tenant: Named,
    sent: Sent,
) -> Answer<Json<TenantInfo>> {
    let asked = || if sent.bytes()?.is_empty() { Ok(DisableTenant::default()) } else { sent.json::<DisableTenant>() };
    let disabled = set_disabled(&node, &call, &tenant, true, || asked().map(drop)).await?;
    if asked()?.off_board {
        rotate_for(&node, &call, disabled.id).await?;
    }
    Ok(Json(tenant_info(disabled)))
}

/// Rotates the IVK because a tenant has left.
async fn rotate_for(node: &Arc<Node>, call: &Call, tenant: TenantId) -> Answer<()> {
    let rotated = async {
        call.check(Action::RotateIvk, None)?;
        Ok::<_, Refused>(node.rotate_ivk(call.session, NewIvk { off_boarded: Some(tenant), ..NewIvk::default() }).await?)
    };
    match rotated.await {
        // It has left its record itself, in one unit with the change.
        Ok(_) => node.metrics.requests.count(call.origin, Action::RotateIvk, Outcome::Success),
        Err(refused) => {
            call.note(node, Action::RotateIvk, refused.outcome)?;
            let why = refused.detail();
            return Err(Refused::unavailable(format!("the tenant is disabled, but the IVK was not rotated ({why}): run the same again")));
        }
    }
    Ok(())
}

/// Serves a tenant again that was disabled. For operators.
#[utoipa::path(
    post, path = "/api/v1/tenants/{tenant}/enable", tag = "tenants", params(("tenant" = String, Path, description = "The tenant's name")),
    responses((status = 200, description = "Enabled", body = TenantInfo), Refusals)
)]
async fn enable_tenant(State(node): State<Arc<Node>>, Extension(call): Extension<Call>, tenant: Named) -> Answer<Json<TenantInfo>> {
    Ok(Json(tenant_info(set_disabled(&node, &call, &tenant, false, || Ok(())).await?)))
}

async fn set_disabled(
    node: &Node,
    call: &Call,
    tenant: &Named,
    is_disabled: bool,
    is_understood: impl Fn() -> Answer<()>,
) -> Answer<Tenant> {
    let action = if is_disabled { Action::DisableTenant } else { Action::EnableTenant };
    act(node, call, Deed::new(action, None), async |vault, unit, _subject| {
        is_understood()?;
        let name = scope_name(tenant.text()?)?;
        if name.is_reserved() {
            return Err(Refused::invalid(format!("`{name}` is the appliance's own tenant: revoke an edge group instead")));
        }
        vault.set_tenant_disabled(unit, &name, is_disabled).await.map_err(|error| match error {
            keys::Error::NotFound => Refused::not_found(format!("there is no tenant `{name}`: see `strongroom tenant list`")),
            other => other.into(),
        })
    })
    .await
}

/// All services of a tenant.
#[utoipa::path(
    get, path = "/api/v1/tenants/{tenant}/services", tag = "tenants", params(("tenant" = String, Path, description = "The tenant's name")),
    responses((status = 200, description = "As asked", body = [ServiceInfo]), Refusals)
)]
async fn services(State(node): State<Arc<Node>>, Extension(call): Extension<Call>, tenant: Named) -> Answer<Json<Vec<ServiceInfo>>> {
    let list = act(&node, &call, INSPECT_TENANT, async |vault, _unit, _subject| {
        let tenant = existing_tenant(vault, &call, tenant.text()?).await?;
        let mut list = Vec::new();
        for service in vault.services(tenant.id).await? {
            let resource = match vault.resource_of(&service).await {
                // A damaged key does not hide its service: the list of keys names it.
                Err(keys::Error::Corrupt { .. } | keys::Error::NotFound) => None,
                found => found?,
            };
            list.push(service_info(tenant.name.as_str(), service, resource));
        }
        Ok(list)
    })
    .await?;
    Ok(Json(list))
}

/// Makes a service with version 1 of its default key (L3, Active), and its resource with version 1 of its key (L2.1) if one is named that is not there yet.
/// For operators.
#[utoipa::path(
    post, path = "/api/v1/tenants/{tenant}/services", tag = "tenants",
    params(("tenant" = String, Path, description = "The tenant's name")), request_body = NewService,
    responses((status = 201, description = "Made", body = ServiceInfo), Refusals)
)]
async fn create_service(
    State(node): State<Arc<Node>>,
    Extension(call): Extension<Call>,
    tenant: Named,
    sent: Sent,
) -> Answer<(StatusCode, Json<ServiceInfo>)> {
    let mut tries = Tries::default();
    let (owner, made, resource) = loop {
        let made = act(&node, &call, Deed::new(Action::CreateService, None), async |vault, unit, _subject| {
            let owner = existing_tenant(vault, &call, tenant.text()?).await?;
            if owner.name.is_reserved() {
                return Err(Refused::invalid("the services of this tenant are edge groups: see `strongroom edge enrol`".to_owned()));
            }
            let NewService { name, resource } = sent.json()?;
            let resource = resource.map(|name| scope_name(&name)).transpose()?;
            let (made, resource) = vault.create_service_of(unit, &owner.name, &scope_name(&name)?, resource.as_ref()).await?;
            Ok((owner, made, resource))
        });
        let made = made.await;
        if !tries.again(&made) {
            break made?;
        }
    };
    if let Some(resource) = &resource {
        node.unsealed()?.vault.read_back_resource(resource).await?;
    }
    Ok((StatusCode::CREATED, Json(service_info(owner.name.as_str(), made, resource))))
}

/// This document.
#[utoipa::path(
    get, path = "/api/v1/openapi.json", tag = "node",
    responses((status = 200, description = "OpenAPI 3.1", body = Object, content_type = "application/json"), Refusals)
)]
async fn openapi(State(node): State<Arc<Node>>, Extension(call): Extension<Call>) -> Answer<Response> {
    let json = tend(&node, &call, INSPECT_TENANT, async { Ok(document::json()) }).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], json).into_response())
}

/// The tenant of this name, if there is one and the caller may know of it.
pub(super) async fn existing_tenant(vault: &Vault, call: &Call, name: &str) -> Answer<Tenant> {
    let wanted = scope_name(name)?;
    // Nothing is looked up that the caller may not see, so that neither time nor a damaged row tells of it.
    let found = if call.sees(name) { vault.tenant_by_name(&wanted).await? } else { None };
    found.ok_or_else(|| Refused::not_found(format!("there is no tenant `{name}`: see `strongroom tenant list`")))
}

pub(super) fn scope_name(text: &str) -> Answer<ScopeName> {
    text.parse().map_err(|error: keys::id::NotAName| Refused::invalid(error.to_string()))
}

fn tenant_info(tenant: Tenant) -> TenantInfo {
    let status = if tenant.is_disabled { "disabled" } else { "enabled" }.to_owned();
    TenantInfo { name: tenant.name.to_string(), id: tenant.id.to_string(), key: tenant.key.to_string(), status, resources: Vec::new() }
}

fn resource_info(Resource { name, key, parent, newest, .. }: Resource) -> ResourceInfo {
    ResourceInfo { name: name.to_string(), key: key.to_string(), version: parent.version.0, newest: newest.0 }
}

fn service_info(tenant: &str, service: Service, resource: Option<Resource>) -> ServiceInfo {
    ServiceInfo {
        tenant: tenant.to_owned(),
        name: service.name.to_string(),
        id: service.id.to_string(),
        default_key: service.default_key.to_string(),
        resource: resource.map(|resource| resource.name.to_string()),
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
            role: match self.config.role {
                NodeRole::Core => "core",
                NodeRole::Edge => "edge",
            }
            .to_owned(),
            cluster: self.identity.cluster.to_string(),
            state: if open.is_some() { "unsealed" } else { "sealed" }.to_owned(),
            since: rfc3339(since),
            reason,
            masterkey: open.as_ref().filter(|_| self.seal_slots().is_some()).map(|_| self.masterkey()),
            memory: Memory { backing: format!("{:?}", self.memory.backing).to_lowercase(), arena_bytes: self.memory.arena_bytes },
            confinement: Some(self.confinement.name().to_owned()),
            kmip: self.config.listeners.kmip.as_ref().map(|listener| listener.bind.to_string()),
            audit: self.audit.ready().map_or_else(|error| error.to_string(), |()| "writable".to_owned()),
            shards: self.progress().iter().map(shard_routes::shard_progress).collect(),
            swept: self.metrics.sweep.ended_at().map(rfc3339),
            warnings: self.warnings().into_iter().map(|(_, warning)| warning).collect(),
            pid: std::process::id(),
        }
    }
}
