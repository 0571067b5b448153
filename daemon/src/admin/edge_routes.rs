//! The routes of edge groups: which edges may wrap their object keys under which tenants' keys. For operators; auditors look.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use data_encoding::HEXLOWER;
use keys::Error;
use keys::edges::EdgeGroup;
use keys::id::{Layer, ScopeName};
use keys::policy::Action;
use keys::references::EdgeKey;
use keys::vault::Vault;

use crate::admin::act::{Answer, Deed, act};
use crate::admin::document::Refusals;
use crate::admin::peer::Call;
use crate::admin::routes::scope_name;
use crate::admin::sent::{Named, Sent};
use crate::admin::status::Refused;
use crate::admin::types::{EdgeGroupInfo, EnrolEdges, GiveUpEdge};
use crate::node::Node;

/// All edge groups.
#[utoipa::path(get, path = "/api/v1/edges", tag = "edges", responses((status = 200, description = "As asked", body = [EdgeGroupInfo]), Refusals))]
pub(super) async fn edges(State(node): State<Arc<Node>>, Extension(call): Extension<Call>) -> Answer<Json<Vec<EdgeGroupInfo>>> {
    let listed = act(&node, &call, Deed::new(Action::Inspect, Some(Layer::EdgeGroup)), async |vault, _unit, _subject| {
        let mut groups = Vec::new();
        for group in vault.edge_groups().await? {
            groups.push(info(vault, group).await?);
        }
        Ok(groups)
    });
    Ok(Json(listed.await?))
}

/// Enrols an edge group for tenants, or one that is enrolled for further ones; one that was revoked is not revoked any more. For operators.
#[utoipa::path(
    post, path = "/api/v1/edges", tag = "edges", request_body = EnrolEdges,
    responses((status = 201, description = "Enrolled", body = EdgeGroupInfo), Refusals)
)]
pub(super) async fn enrol_edges(
    State(node): State<Arc<Node>>,
    Extension(call): Extension<Call>,
    sent: Sent,
) -> Answer<(StatusCode, Json<EdgeGroupInfo>)> {
    let enrolled = act(&node, &call, Deed::new(Action::EnrolEdge, None), async |vault, unit, _subject| {
        let EnrolEdges { group, tenants, keys } = sent.json()?;
        let group = scope_name(&group)?;
        let tenants = tenants.iter().map(|tenant| scope_name(tenant)).collect::<Answer<Vec<ScopeName>>>()?;
        let keys = keys.iter().map(|key| delegation_key(key)).collect::<Answer<Vec<_>>>()?;
        for tenant in &tenants {
            if tenant.is_reserved() || vault.tenant_by_name(tenant).await?.is_none() {
                return Err(Refused::not_found(format!("there is no tenant `{tenant}`: see `strongroom tenant list`")));
            }
        }
        vault.ensure_system_tenant().await?;
        let enrolled = vault.enrol_edges(unit, &group, &tenants, &keys).await?;
        info(vault, enrolled).await
    });
    Ok((StatusCode::CREATED, Json(enrolled.await?)))
}

/// Refuses the edges of a group everything, from now on. For operators.
#[utoipa::path(
    post, path = "/api/v1/edges/{group}/revoke", tag = "edges", params(("group" = String, Path, description = "Its name")),
    responses((status = 200, description = "Revoked", body = EdgeGroupInfo), Refusals)
)]
pub(super) async fn revoke_edges(
    State(node): State<Arc<Node>>,
    Extension(call): Extension<Call>,
    group: Named,
) -> Answer<Json<EdgeGroupInfo>> {
    let revoked = act(&node, &call, Deed::new(Action::RevokeEdge, None), async |vault, unit, _subject| {
        let name = scope_name(group.text()?)?;
        let revoked = vault.revoke_edges(unit, &name).await.map_err(|error| match error {
            Error::NotFound => Refused::not_found(format!("there is no edge group `{name}`: see `strongroom edge list`")),
            other => other.into(),
        })?;
        info(vault, revoked).await
    });
    Ok(Json(revoked.await?))
}

/// Gives up one edge of a group: it speaks for no client any more, and keys are retired without waiting for it. For operators.
#[utoipa::path(
    post, path = "/api/v1/edges/{group}/give-up", tag = "edges", params(("group" = String, Path, description = "Its name")),
    request_body = GiveUpEdge,
    responses((status = 200, description = "Given up", body = EdgeGroupInfo), Refusals)
)]
pub(super) async fn give_up_edge(
    State(node): State<Arc<Node>>,
    Extension(call): Extension<Call>,
    group: Named,
    sent: Sent,
) -> Answer<Json<EdgeGroupInfo>> {
    let given_up = act(&node, &call, Deed::new(Action::RevokeEdge, None), async |vault, unit, _subject| {
        let GiveUpEdge { key } = sent.json()?;
        let (name, edge) = (scope_name(group.text()?)?, EdgeKey(delegation_key(&key)?));
        let given_up = vault.give_up_edge(unit, &name, edge).await.map_err(|error| match error {
            Error::NotFound => Refused::not_found(format!("group `{name}` has no edge of that key: see `strongroom edge enrol {name}`")),
            other => other.into(),
        })?;
        info(vault, given_up).await
    });
    Ok(Json(given_up.await?))
}

fn delegation_key(text: &str) -> Answer<[u8; 32]> {
    let key = HEXLOWER.decode(text.as_bytes()).ok().and_then(|key| key.try_into().ok());
    key.ok_or_else(|| {
        Refused::invalid("a delegation key is 64 lower-case hex digits, as `strongroom init` of the edge has printed them".to_owned())
    })
}

async fn info(vault: &Vault, group: EdgeGroup) -> Answer<EdgeGroupInfo> {
    let mut tenants = Vec::new();
    for tenant in &group.tenants {
        tenants.push(vault.tenant(*tenant).await?.name.to_string());
    }
    Ok(EdgeGroupInfo {
        name: group.name.to_string(),
        id: group.id.to_string(),
        key: group.default_key.to_string(),
        tenants,
        keys: group.keys.iter().map(|key| HEXLOWER.encode(key)).collect(),
        status: if group.is_revoked { "revoked" } else { "enrolled" }.to_owned(),
    })
}
