//! The routes of keys: lists and headers for who runs, audits or governs them, rotation, revocation and retirement for their tenant-admin.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use keys::Error;
use keys::attributes::Revocation;
use keys::id::{Layer, RowId, Time};
use keys::lifecycle;
use keys::list::{KeyFilter, LISTED_KEYS_MAX, ListedKey};
use keys::policy::{Action, Authorized, Grants, Verb, verb};
use keys::record::Subject;
use keys::repair::{Repair, RepairError};
use keys::retire::RetireError;
use keys::row::Header;
use keys::unit::Unit;
use keys::uses::Uses;
use keys::vault::Vault;
use kmip::{CryptographicAlgorithm, RevocationReasonCode};

use crate::admin::act::{Answer, Deed, Tries, act};
use crate::admin::document::Refusals;
use crate::admin::peer::Call;
use crate::admin::routes::{existing_tenant, scope_name};
use crate::admin::sent::{Named, Sent};
use crate::admin::status::Refused;
use crate::admin::types::{KeyInfo, KeyLayer, KeyList, KeyState, KeysWanted, RepairInfo, RepairKey, RevokeKey, RotateKey, WrappedByInfo};
use crate::node::Node;
use crate::system::rfc3339;

/// Keys on a page, if the caller does not say.
const PAGE_KEYS: usize = 100;

/// Keys, newest first, page by page. An operator and an auditor see those of every tenant, a tenant-admin its own, with their names.
#[utoipa::path(
    get, path = "/api/v1/keys", tag = "keys", params(KeysWanted), responses((status = 200, description = "As asked", body = KeyList), Refusals)
)]
pub(super) async fn list_keys(State(node): State<Arc<Node>>, Extension(call): Extension<Call>, sent: Sent) -> Answer<Json<KeyList>> {
    let listed = act(&node, &call, Deed::new(Action::ListKeys, None), async |vault, _unit, _subject| {
        let wanted = sent.query::<KeysWanted>()?;
        let filter = filter(vault, &call, &wanted).await?;
        let page = vault.keys(&vault.grants(&call.principal).await?, &filter).await?;
        let keys = page.keys.into_iter().map(key_info).filter(|key| wanted.state.is_none_or(|state| key.state == state));
        Ok(KeyList {
            keys: keys.collect(),
            refused: page.refused.iter().map(RowId::to_string).collect(),
            next: page.next.map(|id| id.to_string()),
        })
    });
    Ok(Json(listed.await?))
}

async fn filter(vault: &Vault, call: &Call, wanted: &KeysWanted) -> Answer<KeyFilter> {
    let layer = wanted.layer.map_or(Layer::L3, Layer::from);
    let limit = wanted.limit.unwrap_or(PAGE_KEYS);
    if !(1..=LISTED_KEYS_MAX).contains(&limit) {
        return Err(Refused::invalid(format!("limit: 1 to {LISTED_KEYS_MAX}")));
    }
    let before = wanted.before.as_deref().map(|text| text.parse::<RowId>().ok().filter(|id| id.layer == layer));
    let before = before.map(|id| id.ok_or_else(|| Refused::invalid("before: give what stood in `next` of the page before".to_owned())));
    // A tenant-admin need not name the only tenant that it sees.
    let tenant = wanted.tenant.as_deref().or_else(|| call.own_tenant());
    let tenant = match tenant {
        Some(name) => Some(existing_tenant(vault, call, name).await?),
        None => None,
    };
    let service = match (&tenant, &wanted.service) {
        (_, None) => None,
        (None, Some(_)) => return Err(Refused::invalid("service: name its tenant too".to_owned())),
        (Some(tenant), Some(name)) => {
            let found = vault.service_by_name(tenant.id, &scope_name(name)?).await?;
            let none = || Refused::not_found(format!("`{0}` has no service `{name}`: see `strongroom service list {0}`", tenant.name));
            Some(found.ok_or_else(none)?.id)
        }
    };
    Ok(KeyFilter { tenant: tenant.map(|tenant| tenant.id), service, layer, before: before.transpose()?, limit })
}

/// One version of a key, seen as in the list.
#[utoipa::path(
    get, path = "/api/v1/keys/{key}", tag = "keys", params(("key" = String, Path, description = "Its identifier")),
    responses((status = 200, description = "As asked", body = KeyInfo), Refusals)
)]
pub(super) async fn show_key(State(node): State<Arc<Node>>, Extension(call): Extension<Call>, key: Named) -> Answer<Json<KeyInfo>> {
    let deed = Deed::new(Action::ListKeys, None).of(identifier(&key));
    let found = act(&node, &call, deed, async |vault, _unit, subject| {
        let id = subject.object.ok_or_else(no_such_key)?;
        let found = vault.key(&vault.grants(&call.principal).await?, id).await.map_err(refused)?;
        *subject = Subject::from(&found.header);
        Ok(found)
    });
    Ok(Json(key_info(found.await?)))
}

/// Replaces the newest version of an L3, or of a tenant's L2 or L2.1, by the next one, which takes over its names and is Active at once; the old one still decrypts.
/// For the tenant-admin.
///
/// The new version has fresh material and every other attribute that a KMIP Re-key copies. What the old one has encrypted stays as it is.
#[utoipa::path(
    post, path = "/api/v1/keys/{key}/rotate", tag = "keys", params(("key" = String, Path, description = "Identifier of the newest version")),
    request_body(content = Option<RotateKey>, content_type = "application/json", description = "How; empty: as a matter of routine"),
    responses((status = 201, description = "The new version", body = KeyInfo), Refusals)
)]
pub(super) async fn rotate_key(
    State(node): State<Arc<Node>>,
    Extension(call): Extension<Call>,
    key: Named,
    sent: Sent,
) -> Answer<(StatusCode, Json<KeyInfo>)> {
    let deed = Deed::new(Action::ReKey, Some(Layer::L3)).of(identifier(&key));
    let mut tries = Tries::default();
    let made = loop {
        let made = act(&node, &call, deed, async |vault, unit, subject| {
            let (grants, authorized) = authorized::<verb::ReKey>(vault, unit, &call, subject).await?;
            let new = match how(&sent)? {
                RotateKey { compromised: true, rekey_dependents } => vault.rekey_compromised(unit, authorized, rekey_dependents).await,
                RotateKey { compromised: false, .. } => vault.rekey(unit, authorized, |_old, copied, _now| Ok::<_, Error>(copied)).await,
            };
            let new = new.map_err(refused)?;
            *subject = Subject::from(&new.header);
            Ok(vault.described(&grants, new).await?)
        });
        let made = made.await;
        if !tries.again(&made) {
            break made?;
        }
    };
    if how(&sent)?.compromised {
        node.reencryption.hurry();
    }
    Ok((StatusCode::CREATED, Json(key_info(made))))
}

fn how(sent: &Sent) -> Answer<RotateKey> {
    let how = if sent.bytes()?.is_empty() { RotateKey::default() } else { sent.json()? };
    if how.rekey_dependents && !how.compromised {
        return Err(Refused::invalid("rekey_dependents: only with `compromised`; otherwise what lies below keeps its material".to_owned()));
    }
    Ok(how)
}

/// Makes an earlier version of an L2.1 the Active one again, and the Active one Deprecated. For the tenant-admin.
///
/// The version takes over the names; keys come under it in the background. A version that is archived, compromised or destroyed does not come back.
#[utoipa::path(
    post, path = "/api/v1/keys/{key}/rollback", tag = "keys", params(("key" = String, Path, description = "Identifier of a Deprecated version of an L2.1")),
    responses((status = 200, description = "The version, Active again", body = KeyInfo), Refusals)
)]
pub(super) async fn roll_key_back(State(node): State<Arc<Node>>, Extension(call): Extension<Call>, key: Named) -> Answer<Json<KeyInfo>> {
    let deed = Deed::new(Action::RollBack, Some(Layer::L21)).of(identifier(&key));
    let mut tries = Tries::default();
    let active = loop {
        let active = act(&node, &call, deed, async |vault, unit, subject| {
            let (grants, header) = known(vault, unit, &call, subject).await?;
            if header.id.layer != Layer::L21 {
                return Err(Refused::conflict(format!("{} is no L2.1, and nothing else is rolled back: rotate it instead", header.id)));
            }
            let authorized = grants.check::<verb::RollBack>(&header).map_err(|refusal| refused(refusal.into()))?;
            let active = vault.roll_back(unit, authorized).await.map_err(refused)?;
            *subject = Subject::from(&active.header);
            Ok(vault.described(&grants, active).await?)
        });
        let active = active.await;
        if !tries.again(&active) {
            break active?;
        }
    };
    Ok(Json(key_info(active)))
}

/// Takes a key out of use. For the tenant-admin. A service's default key, and the Active version of an L2 or L2.1, is not revoked: rotate it first.
#[utoipa::path(
    post, path = "/api/v1/keys/{key}/revoke", tag = "keys", params(("key" = String, Path, description = "Its identifier")), request_body = RevokeKey,
    responses((status = 200, description = "The key as it is now", body = KeyInfo), Refusals)
)]
pub(super) async fn revoke_key(
    State(node): State<Arc<Node>>,
    Extension(call): Extension<Call>,
    key: Named,
    sent: Sent,
) -> Answer<Json<KeyInfo>> {
    let deed = Deed::new(Action::Revoke, Some(Layer::L3)).of(identifier(&key));
    let mut tries = Tries::default();
    let revoked = loop {
        let revoked = act(&node, &call, deed, async |vault, unit, subject| {
            let (revocation, occurred) = revocation(sent.json()?)?;
            let (grants, authorized) = authorized::<verb::Revoke>(vault, unit, &call, subject).await?;
            let revoked = vault.revoke(unit, authorized, revocation, occurred).await.map_err(refused)?;
            *subject = Subject::from(&revoked.header);
            Ok(vault.described(&grants, revoked).await?)
        });
        let revoked = revoked.await;
        if !tries.again(&revoked) {
            break revoked?;
        }
    };
    Ok(Json(key_info(revoked)))
}

/// Archives a version of a key that another one has replaced: it refuses every use, and never comes back. For the tenant-admin.
///
/// Of a tenant's L2 or a resource's L2.1 only if no key lies under it any more. Of a service's L3 only after every edge that holds objects of its tenant
/// has said that none of them lies under it; what clients have encrypted directly under it becomes unreadable.
#[utoipa::path(
    post, path = "/api/v1/keys/{key}/retire", tag = "keys", params(("key" = String, Path, description = "Its identifier")),
    responses((status = 200, description = "The key as it is now", body = KeyInfo), Refusals)
)]
pub(super) async fn retire_key(State(node): State<Arc<Node>>, Extension(call): Extension<Call>, key: Named) -> Answer<Json<KeyInfo>> {
    let id = identifier(&key);
    let mut tries = Tries::default();
    loop {
        let retired = match id {
            Some(RowId { layer: Layer::L2 | Layer::L21, .. }) => retire_parent(&node, &call, id).await,
            _ => retire_l3(&node, &call, id).await,
        };
        if !tries.again(&retired) {
            return Ok(Json(key_info(retired?)));
        }
    }
}

async fn retire_l3(node: &Node, call: &Call, id: Option<RowId>) -> Answer<ListedKey> {
    let deed = Deed::new(Action::RetireKey, Some(Layer::L3)).of(id);
    act(node, call, deed, async |vault, unit, subject| {
        let (grants, authorized) = authorized::<verb::RetireKey>(vault, unit, call, subject).await?;
        let retired = vault.retire_key(unit, authorized).await.map_err(not_left)?;
        *subject = Subject::from(&retired.header);
        Ok(vault.described(&grants, retired).await?)
    })
    .await
}

/// Destroys a key for ever: its material is removed, a tombstone with its attributes stays. For the tenant-admin.
///
/// An L3 that is neither Active nor a service's default key, once edges have left it: what clients have encrypted directly under it becomes unreadable.
/// An L2 or L2.1 that is archived, or that is compromised and no key lies under it any more.
#[utoipa::path(
    post, path = "/api/v1/keys/{key}/destroy", tag = "keys", params(("key" = String, Path, description = "Its identifier")),
    responses((status = 200, description = "What is left of it", body = KeyInfo), Refusals)
)]
pub(super) async fn destroy_key(State(node): State<Arc<Node>>, Extension(call): Extension<Call>, key: Named) -> Answer<Json<KeyInfo>> {
    let id = identifier(&key);
    let mut tries = Tries::default();
    loop {
        let destroyed = destroy(&node, &call, id).await;
        if !tries.again(&destroyed) {
            return Ok(Json(key_info(destroyed?)));
        }
    }
}

async fn destroy(node: &Node, call: &Call, id: Option<RowId>) -> Answer<ListedKey> {
    let deed = Deed::new(Action::Destroy, Some(Layer::L3)).of(id);
    // Before the domain is taken for the change. Of any other version nothing needs to be looked for.
    let looked = match id {
        Some(RowId { layer: Layer::L2 | Layer::L21, .. }) => looked_under::<verb::Destroy>(node, call, id).await.map(Some),
        _ => Ok(None),
    };
    act(node, call, deed, async |vault, unit, subject| {
        let (grants, authorized) = authorized::<verb::Destroy>(vault, unit, call, subject).await?;
        let destroyed = match looked? {
            Some(Under::Looked(uses)) => {
                let unused = uses.unused().ok_or_else(|| in_use(&uses))?;
                vault.destroy_compromised(unit, authorized, unused).await.map_err(refused)
            }
            Some(Under::Nothing) | None => vault.destroy_left(unit, authorized).await.map_err(not_left),
        };
        let destroyed = destroyed?;
        *subject = Subject::from(&destroyed.header);
        Ok(vault.described(&grants, destroyed).await?)
    })
    .await
}

fn not_left(error: RetireError) -> Refused {
    match error {
        RetireError::Held { .. } => Refused::conflict(error.to_string()),
        RetireError::Keys(error) => refused(error),
    }
}

fn in_use(uses: &Uses) -> Refused {
    Refused::conflict(format!("{} keys lie under it: wait until re-encryption has brought them under a newer version", uses.keys))
}

async fn retire_parent(node: &Node, call: &Call, id: Option<RowId>) -> Answer<ListedKey> {
    let deed = Deed::new(Action::RetireKey, id.map(|id| id.layer)).of(id);
    // Before the domain is taken for the change, because sealing waits for whoever holds it. What is found counts for who may know it only.
    let looked = looked_under::<verb::RetireKey>(node, call, id).await;
    act(node, call, deed, async |vault, unit, subject| {
        let (grants, authorized) = authorized::<verb::RetireKey>(vault, unit, call, subject).await?;
        let Under::Looked(uses) = looked? else {
            let what = "a Compromised version is not archived: once no key lies under it, `strongroom key destroy` removes it";
            return Err(Refused::conflict(what.to_owned()));
        };
        let retired = vault.retire_parent(unit, authorized, uses.unused().ok_or_else(|| in_use(&uses))?).await.map_err(refused)?;
        *subject = Subject::from(&retired.header);
        Ok(vault.described(&grants, retired).await?)
    })
    .await
}

/// Seals a key anew whose stored blobs name another algorithm than the record of what wraps them, which is why it is refused. For operators; auditors may ask
/// what would be done.
///
/// The blobs must open by the algorithm that they name, under the key that wraps them and for the place where they are. Whatever else is wrong with a key is not
/// mended: restore it from a backup. Re-encryption begins anew afterwards.
#[utoipa::path(
    post, path = "/api/v1/keys/{key}/repair", tag = "keys", params(("key" = String, Path, description = "Its identifier")),
    request_body(content = Option<RepairKey>, content_type = "application/json", description = "How; empty: it is done"),
    responses((status = 200, description = "What was done, or would be", body = RepairInfo), Refusals)
)]
pub(super) async fn repair_key(
    State(node): State<Arc<Node>>,
    Extension(call): Extension<Call>,
    key: Named,
    sent: Sent,
) -> Answer<Json<RepairInfo>> {
    let asked = || if sent.bytes()?.is_empty() { Ok(RepairKey::default()) } else { sent.json::<RepairKey>() };
    let is_dry = asked().is_ok_and(|asked| asked.dry_run);
    let action = if is_dry { Action::Inspect } else { Action::RepairKey };
    let deed = Deed::new(action, None).of(identifier(&key));
    let mut tries = Tries::default();
    let info = loop {
        let done = act(&node, &call, deed, async |vault, unit, subject| {
            let _understood = asked()?;
            let id = subject.object.ok_or_else(no_such_key)?;
            let repair = if is_dry { vault.would_repair(id).await } else { vault.repair(unit, id).await };
            let repair = repair.map_err(unrepaired)?;
            *subject = Subject::from(&repair.header);
            repair_info(vault, repair, !is_dry).await
        });
        let done = done.await;
        if !tries.again(&done) {
            break done?;
        }
    };
    if let Some(id) = identifier(&key).filter(|_| !is_dry) {
        node.unsealed()?.vault.read_back_key(id).await?;
        node.reencryption.start();
    }
    Ok(Json(info))
}

fn unrepaired(error: RepairError) -> Refused {
    match error {
        RepairError::Sound(_) | RepairError::Above { .. } | RepairError::Beyond { .. } => Refused::conflict(error.to_string()),
        RepairError::Keys(error) => refused(error),
    }
}

async fn repair_info(vault: &Vault, repair: Repair, repaired: bool) -> Answer<RepairInfo> {
    let Repair { header, found, recorded } = repair;
    let tenant = header.owner.tenant;
    let tenant = vault.tenant(tenant).await.map_or_else(|_| tenant.to_string(), |tenant| tenant.name.to_string());
    let above = vault.parent_of(&header).await?;
    Ok(RepairInfo {
        id: header.id.to_string(),
        tenant,
        found: found.name().to_owned(),
        recorded: recorded.name().to_owned(),
        wrapped_by: WrappedByInfo { id: above.map(|id| id.to_string()), version: header.parent.version.0 },
        repaired,
    })
}

/// What was found of a version that its tenant-admin wants to end.
enum Under {
    /// What lies under it.
    Looked(Uses),
    /// Its state alone says what becomes of it.
    Nothing,
}

/// What lies under a key that the caller may do `V` to, if that is in the state that makes a look of it: to retire one a Deprecated one, to destroy one a
/// Compromised one.
async fn looked_under<V: Verb>(node: &Node, call: &Call, id: Option<RowId>) -> Answer<Under> {
    let open = node.unsealed()?;
    let (unit, id) = (node.begin(call.session), id.ok_or_else(no_such_key)?);
    let grants = open.vault.grants(&call.principal).await?;
    let header = open.vault.header(&unit, &grants, id).await.map_err(refused)?;
    let _may = grants.check::<V>(&header).map_err(|refusal| refused(refusal.into()))?;
    // To archive a version, or to destroy one that cannot be archived; what is archived was looked under before.
    let is_compromised = header.state == lifecycle::State::Compromised;
    if is_compromised != (V::ACTION == Action::Destroy) {
        return Ok(Under::Nothing);
    }
    let look = open.vault.look_under(&header)?;
    drop(open);
    Ok(Under::Looked(node.look_through(look).await?))
}

/// The proof that the caller may do `V` to the key of the subject, of which the record then says which version it was.
async fn authorized<V: Verb>(vault: &Vault, unit: &Unit, call: &Call, subject: &mut Subject) -> Answer<(Grants, Authorized<V>)> {
    let (grants, header) = known(vault, unit, call, subject).await?;
    let authorized = grants.check::<V>(&header).map_err(|refusal| refused(refusal.into()))?;
    *subject = Subject::from(&header);
    Ok((grants, authorized))
}

/// The key of the subject, to whom it exists.
async fn known(vault: &Vault, unit: &Unit, call: &Call, subject: &Subject) -> Answer<(Grants, Header)> {
    let id = subject.object.ok_or_else(no_such_key)?;
    let grants = vault.grants(&call.principal).await?;
    let header = vault.header(unit, &grants, id).await.map_err(refused)?;
    Ok((grants, header))
}

/// What the body asks for, as KMIP would store it: with a date of whole seconds.
fn revocation(RevokeKey { reason, message, compromise_occurred }: RevokeKey) -> Answer<(Revocation, Option<Time>)> {
    let code = RevocationReasonCode::ALL.iter().find(|code| code.name() == reason);
    let names = || RevocationReasonCode::ALL.iter().map(|code| code.name()).collect::<Vec<_>>().join(", ");
    let code = code.ok_or_else(|| Refused::invalid(format!("reason: one of {}", names())))?;
    let revocation = Revocation { code: code.number(), message };
    if compromise_occurred.is_some() && !revocation.is_compromise() {
        return Err(Refused::invalid("compromise_occurred: only with Key Compromise or CA Compromise".to_owned()));
    }
    let time = |text: String| {
        let stamp = text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second).filter(|second| *second >= FIRST_SECOND);
        stamp.map(Time::from_seconds).ok_or_else(|| Refused::invalid("compromise_occurred: a time like 2026-01-31T12:00:00Z".to_owned()))
    };
    Ok((revocation, compromise_occurred.map(time).transpose()?))
}

/// 0001-01-01T00:00:00Z: no date in KMIP is earlier.
const FIRST_SECOND: i64 = -62_135_596_800;

/// What the path names; `None` if it is nobody's identifier.
fn identifier(key: &Named) -> Option<RowId> {
    key.text().ok()?.parse().ok()
}

/// An unknown, a malformed and another tenant's identifier have the same answer.
fn no_such_key() -> Refused {
    Refused::not_found("there is no such key: see `strongroom key list`".to_owned())
}

fn refused(error: Error) -> Refused {
    match error {
        Error::NotFound => no_such_key(),
        other => Refused::from(other),
    }
}

fn key_info(key: ListedKey) -> KeyInfo {
    let ListedKey { header, state, created, tenant, service, resource, names, wrapped_by } = key;
    let service = header.owner.service.map(|id| service.map_or_else(|| id.to_string(), |name| name.to_string()));
    KeyInfo {
        id: header.id.to_string(),
        layer: header.id.layer.into(),
        tenant: tenant.map_or_else(|| header.owner.tenant.to_string(), |name| name.to_string()),
        service,
        resource: resource.map(|name| name.to_string()),
        chain: header.chain.to_string(),
        version: header.version.0,
        state: state.into(),
        algorithm: CryptographicAlgorithm::of(header.algorithm.0).map_or("unknown", CryptographicAlgorithm::name).to_owned(),
        bits: header.bits,
        created: rfc3339(created),
        expiry: header.expiry.map(rfc3339),
        generation: header.generation.0,
        wrapped_by: WrappedByInfo { id: wrapped_by.id.map(|id| id.to_string()), version: wrapped_by.version.0 },
        names,
    }
}

impl From<KeyLayer> for Layer {
    fn from(layer: KeyLayer) -> Self {
        match layer {
            KeyLayer::L2 => Self::L2,
            KeyLayer::L21 => Self::L21,
            KeyLayer::L3 => Self::L3,
        }
    }
}

impl From<Layer> for KeyLayer {
    /// Of what a list of keys has: everything else is no key of a tenant.
    fn from(layer: Layer) -> Self {
        match layer {
            Layer::L2 => Self::L2,
            Layer::L21 => Self::L21,
            _ => Self::L3,
        }
    }
}

impl From<lifecycle::State> for KeyState {
    fn from(state: lifecycle::State) -> Self {
        match state {
            lifecycle::State::PreActive => Self::PreActive,
            lifecycle::State::Active => Self::Active,
            lifecycle::State::Deprecated => Self::Deprecated,
            lifecycle::State::Retired => Self::Retired,
            lifecycle::State::Compromised => Self::Compromised,
            lifecycle::State::Destroyed => Self::Destroyed,
            lifecycle::State::DestroyedCompromised => Self::DestroyedCompromised,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(reason: &str, occurred: Option<&str>) -> Answer<(Revocation, Option<Time>)> {
        revocation(RevokeKey { reason: reason.to_owned(), message: None, compromise_occurred: occurred.map(str::to_owned) })
    }

    #[test]
    fn a_revocation_is_taken_by_the_names_of_the_standard_only() {
        for code in RevocationReasonCode::ALL {
            assert_eq!(asked(code.name(), None).expect("it is the standard's").0.code, code.number());
        }
        for reason in ["", "superseded", "Key-Compromise", "Boredom", "2", "a vendor's extension"] {
            let refused = asked(reason, None).expect_err(reason);
            assert!(format!("{refused:?}").contains("Cessation of Operation"), "{refused:?}");
        }
    }

    #[test]
    fn a_compromise_has_occurred_at_a_time_and_nothing_else_has() {
        let (_, occurred) = asked("Key Compromise", Some("2026-01-31T12:00:00.9Z")).expect("a time");
        assert_eq!(occurred.map(Time::seconds), Some(1_769_860_800));
        for (reason, time) in [
            ("Superseded", "2026-01-31T12:00:00Z"),
            ("Key Compromise", "yesterday"),
            ("Key Compromise", "2026-01-31"),
            ("CA Compromise", "-000001-01-01T00:00:00Z"),
            ("CA Compromise", ""),
        ] {
            assert!(asked(reason, Some(time)).is_err(), "{reason} {time}");
        }
    }
}
