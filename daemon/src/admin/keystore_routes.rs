//! The routes of the keystores: what belongs to which, whether they answer, and moving rows between them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use keys::cluster::cluster_row;
use keys::id::TenantId;
use keys::policy::Action;
use storage::routed::{Class, Placement};
use uuid::Uuid;

use crate::admin::act::{Answer, Deed, tend};
use crate::admin::document::Refusals;
use crate::admin::peer::Call;
use crate::admin::sent::Sent;
use crate::admin::status::Refused;
use crate::admin::types::{KeystoreHealth, KeystoreInfo, MigrateKeystore, MigrationInfo};
use crate::causes::told;
use crate::config::LAYERS;
use crate::keystore::{Keystores, Migration, Move, MoveError, Progress};
use crate::node::Node;

const INSPECT: Deed = Deed::new(Action::Inspect, None);
const MIGRATE: Deed = Deed::new(Action::MigrateKeystore, None);
const ABORT: Deed = Deed::new(Action::AbortMigration, None);

impl From<MoveError> for Refused {
    fn from(error: MoveError) -> Self {
        let text = told(&error);
        match error {
            MoveError::Unknown { .. } => Self::not_found(text),
            MoveError::UnderWay { .. } | MoveError::Nothing { .. } | MoveError::Idle | MoveError::Switched { .. } | MoveError::Shared => {
                Self::conflict(text)
            }
            MoveError::NotOpen { .. } | MoveError::Gone | MoveError::Differs { .. } | MoveError::Store(_) | MoveError::Layout(_) => {
                Self::unavailable(text)
            }
        }
    }
}

/// Every keystore of this node, and what belongs to it.
#[utoipa::path(get, path = "/api/v1/keystores", tag = "keystores", responses((status = 200, description = "As asked", body = [KeystoreInfo]), Refusals))]
pub(super) async fn list_keystores(State(node): State<Arc<Node>>, Extension(call): Extension<Call>) -> Answer<Json<Vec<KeystoreInfo>>> {
    tend(&node, &call, INSPECT, async { Ok(Json(node.keystores.as_deref().map(keystore_infos).unwrap_or_default())) }).await
}

/// Whether each keystore answers a read, and how fast.
#[utoipa::path(
    get, path = "/api/v1/keystores/health", tag = "keystores",
    responses((status = 200, description = "As asked, whatever was found", body = [KeystoreHealth]), Refusals)
)]
pub(super) async fn keystore_health(State(node): State<Arc<Node>>, Extension(call): Extension<Call>) -> Answer<Json<Vec<KeystoreHealth>>> {
    let work = async {
        let Some(keystores) = node.keystores.as_deref() else { return Ok(Json(Vec::new())) };
        let mut found = Vec::new();
        for name in keystores.kinds().into_keys() {
            found.push(health_of(keystores, name).await);
        }
        Ok(Json(found))
    };
    tend(&node, &call, INSPECT, work).await
}

/// How far rows have come that are being moved.
#[utoipa::path(get, path = "/api/v1/keystores/migration", tag = "keystores", responses((status = 200, description = "As asked", body = MigrationInfo), Refusals))]
pub(super) async fn migration(State(node): State<Arc<Node>>, Extension(call): Extension<Call>) -> Answer<Json<MigrationInfo>> {
    tend(&node, &call, INSPECT, async { Ok(Json(migration_info(&node))) }).await
}

/// Has rows moved from one keystore to another, in the background, while they are used. For operators.
#[utoipa::path(
    post, path = "/api/v1/keystores/migration", tag = "keystores", request_body = MigrateKeystore,
    responses((status = 202, description = "It begins", body = MigrationInfo), Refusals)
)]
pub(super) async fn migrate(
    State(node): State<Arc<Node>>,
    Extension(call): Extension<Call>,
    sent: Sent,
) -> Answer<(StatusCode, Json<MigrationInfo>)> {
    let work = async {
        let MigrateKeystore { from, to, layers, tenant } = sent.json()?;
        if from == to {
            return Err(Refused::invalid("`from` and `to` are the same keystore: name two".to_owned()));
        }
        let layer = |text: &String| {
            let known = LAYERS.iter().find(|(name, _)| name == text);
            known.map(|(_, layer)| *layer).ok_or_else(|| Refused::invalid(format!("layers: `{text}` is none: use L2, L2.1, L3 and L4")))
        };
        let layers: BTreeSet<_> = layers.iter().map(layer).collect::<Answer<_>>()?;
        let tenant = match tenant {
            Some(text) => Some(tenant_of(&node, &text).await?),
            None => None,
        };
        keystores(&node)?.order(&Class { layers, tenant }, &from, &to).await?;
        Ok((StatusCode::ACCEPTED, Json(migration_info(&node))))
    };
    tend(&node, &call, MIGRATE, work).await
}

/// Has rows that are being moved stay where they are, as long as they still belong there. For operators.
#[utoipa::path(
    post, path = "/api/v1/keystores/migration/abort", tag = "keystores",
    responses((status = 200, description = "They stay; their copies are removed", body = MigrationInfo), Refusals)
)]
pub(super) async fn abort_migration(State(node): State<Arc<Node>>, Extension(call): Extension<Call>) -> Answer<Json<MigrationInfo>> {
    let work = async {
        keystores(&node)?.abort()?;
        Ok(Json(migration_info(&node)))
    };
    tend(&node, &call, ABORT, work).await
}

fn keystores(node: &Node) -> Answer<&Keystores> {
    node.keystores.as_deref().ok_or_else(|| Refused::conflict("this edge is ephemeral: it has no keystore to move anything to".to_owned()))
}

/// By its id, or where it is known by its name.
async fn tenant_of(node: &Node, text: &str) -> Answer<TenantId> {
    if let Some(id) = Uuid::try_parse(text).ok().map(TenantId::new).filter(|id| *id != TenantId::SYSTEM) {
        return Ok(id);
    }
    let name = text.parse().map_err(|error| Refused::invalid(format!("tenant: {error}, or its id")))?;
    let found = node.unsealed()?.vault.tenant_by_name(&name).await?;
    Ok(found
        .ok_or_else(|| Refused::not_found(format!("there is no tenant `{name}`: `strongroom tenant list` shows their names and ids")))?
        .id)
}

fn keystore_infos(keystores: &Keystores) -> Vec<KeystoreInfo> {
    let placement = keystores.routed().placement();
    let used = placement.stores();
    let (filling, emptying) = match keystores.migration() {
        Some(Migration { step: Move::Copy(_), to, .. }) => (Some(to), None),
        Some(Migration { step: Move::Clear(_), from, .. }) => (None, Some(from)),
        Some(Migration { step: Move::Undo(_), to, .. }) => (None, Some(to)),
        None => (None, None),
    };
    let info = |(name, kind): (String, &str)| {
        let state = match () {
            () if filling.as_ref() == Some(&name) => "filling",
            () if emptying.as_ref() == Some(&name) => "emptying",
            () if used.contains(&*name) => "in use",
            () => "unused",
        };
        KeystoreInfo { rows: rows_of(&placement, &name), kind: kind.to_owned(), state: state.to_owned(), name }
    };
    keystores.kinds().into_iter().map(info).collect()
}

/// What belongs to a keystore, in words.
fn rows_of(placement: &Placement, name: &str) -> Vec<String> {
    let rules = placement.rules().iter().filter(|rule| rule.keystore == name).map(|rule| {
        let layers: Vec<&str> = LAYERS.iter().filter(|(_, layer)| rule.class.layers.contains(layer)).map(|(name, _)| *name).collect();
        let layers = if layers.is_empty() { "all keys".to_owned() } else { layers.join(", ") };
        rule.class.tenant.map_or_else(|| layers.clone(), |tenant| format!("{layers} of tenant {tenant}"))
    });
    rules.chain((placement.home() == name).then(|| "everything else (default)".to_owned())).collect()
}

async fn health_of(keystores: &Keystores, name: String) -> KeystoreHealth {
    let Some(store) = keystores.routed().keystore(&name) else {
        return KeystoreHealth { name, state: "unused".to_owned(), micros: None, error: None };
    };
    let asked = Instant::now();
    let answer = store.retrieve(cluster_row()).await;
    let micros = u64::try_from(asked.elapsed().as_micros()).ok();
    match answer {
        Ok(_) => KeystoreHealth { name, state: "ok".to_owned(), micros, error: None },
        Err(error) => KeystoreHealth { name, state: "failing".to_owned(), micros, error: Some(told(&error)) },
    }
}

fn migration_info(node: &Node) -> MigrationInfo {
    let Some(Migration { from, to, step, progress }) = node.keystores.as_deref().and_then(Keystores::migration) else {
        return MigrationInfo { state: "none".to_owned(), from: None, to: None, doing: None, rows: 0, error: None };
    };
    let state = match step {
        Move::Copy(_) => "copying",
        Move::Clear(_) => "clearing",
        Move::Undo(_) => "undoing",
    };
    let Progress { rows, doing, error } = progress;
    let doing = (!doing.is_empty()).then(|| doing.to_owned());
    MigrationInfo { state: state.to_owned(), from: Some(from), to: Some(to), doing, rows, error }
}
