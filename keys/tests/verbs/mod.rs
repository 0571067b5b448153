//! The verbs that change where a key stands, and what must hold after any of them.

mod deploy;
mod destroy;
mod edge;
mod edge_faults;
mod edge_lease;
mod edge_matrix;
mod edge_shared;
mod edge_usage;
mod edge_walk;
mod edit;
mod export;
mod faults;
mod import;
mod list;
mod master;
mod matrix;
mod parents;
mod races;
mod rekey;
mod renew;
mod repair;
mod resource;
mod revoke;
mod rotate;
mod sweep;
mod walk_record;

use std::collections::BTreeMap;

use keys::Error;
use keys::attributes::Attributes;
use keys::id::{Layer, RowId, SessionId};
use keys::lifecycle::State;
use keys::list::{KeyFilter, KeyPage, LISTED_KEYS_MAX, ListedKey};
use keys::policy::verb::{GetAttributes, ModifyAttribute, ReKey};
use keys::policy::{Grants, Role};
use keys::reencrypt::{Cursor, Walked};
use keys::sweep::Finding;
use keys::vault::{Vault, View};

use crate::fakes::grants;

async fn rekey(vault: &Vault, admin: &Grants, id: RowId) -> Result<View, Error> {
    rekey_with(vault, admin, id, |attributes| attributes).await
}

async fn rekey_with(vault: &Vault, admin: &Grants, id: RowId, edit: impl FnOnce(Attributes) -> Attributes) -> Result<View, Error> {
    let mut unit = vault.begin(SessionId(2));
    let header = vault.header(&unit, admin, id).await?;
    let new = vault.rekey(&mut unit, admin.check::<ReKey>(&header)?, |_, attributes, _| Ok::<_, Error>(edit(attributes))).await?;
    let _receipt = unit.commit().await?;
    Ok(new)
}

/// The Active version of the default L3 of acme's billing.
async fn newest_l3(core: &Vault) -> RowId {
    default_key(core, &grants(core, Role::Service, "acme", "billing").await).await
}

/// A new version of it; returns the old one.
async fn rekey_l3(core: &Vault) -> RowId {
    let (admin, old) = (grants(core, Role::TenantAdmin, "acme", "billing").await, newest_l3(core).await);
    rekey(core, &admin, old).await.expect("a default key is replaced");
    old
}

/// One step of a walk, committed; what the last one at an edge claims is kept for the next lease.
async fn step(vault: &Vault, cursor: Option<Cursor>, limit: usize) -> Result<Walked, Error> {
    let mut unit = vault.begin(SessionId(1));
    let mut walked = vault.reencrypt(&mut unit, cursor, limit).await?;
    let _receipt = unit.commit().await?;
    if let Some(references) = walked.references.take() {
        vault.note_references(references);
    }
    Ok(walked)
}

/// One whole walk: how many rows came under a newer version, and what was refused.
async fn walk(vault: &Vault, limit: usize) -> Result<(usize, Vec<Finding>), Error> {
    let (mut moved, mut refused, mut cursor) = (0, Vec::new(), None);
    loop {
        let walked = match step(vault, cursor.clone(), limit).await {
            Err(Error::Raced) => continue,
            walked => walked?,
        };
        moved += walked.moved;
        refused.extend(walked.refused);
        cursor = walked.next;
        if cursor.is_none() {
            return Ok((moved, refused));
        }
    }
}

async fn walked(vault: &Vault, limit: usize) -> (usize, Vec<Finding>) {
    walk(vault, limit).await.expect("core and store are well")
}

async fn edit(vault: &Vault, admin: &Grants, id: RowId, edit: impl FnOnce(&mut Attributes)) -> Result<View, Error> {
    let mut unit = vault.begin(SessionId(2));
    let header = vault.header(&unit, admin, id).await?;
    let edited = |view: &View, _| {
        let mut attributes = (*view.attributes).clone();
        edit(&mut attributes);
        Ok::<_, Error>(attributes)
    };
    let view = vault.edit(&mut unit, admin.check::<ModifyAttribute>(&header)?, edited).await?;
    let _receipt = unit.commit().await?;
    Ok(view)
}

async fn view(vault: &Vault, admin: &Grants, id: RowId) -> View {
    let unit = vault.begin(SessionId(2));
    let header = vault.header(&unit, admin, id).await.expect("it is there");
    vault.attributes(&unit, admin.check::<GetAttributes>(&header).expect("it is the admin's")).await.expect("it opens")
}

async fn default_key(vault: &Vault, service: &Grants) -> RowId {
    vault.service(service.service().expect("a service")).await.expect("it is stored").default_key
}

fn filter(layer: Layer) -> KeyFilter {
    KeyFilter { tenant: None, service: None, layer, before: None, limit: LISTED_KEYS_MAX }
}

async fn l3(vault: &Vault, admin: &Grants) -> KeyPage {
    vault.keys(admin, &filter(Layer::L3)).await.expect("the store is well")
}

/// A whole pass, in steps of `limit` rows.
async fn swept(vault: &Vault, limit: usize) -> Vec<Finding> {
    let (mut cursor, mut findings) = (None, Vec::new());
    loop {
        let swept = vault.sweep(cursor, limit).await.expect("the store is well");
        findings.extend(swept.findings);
        cursor = swept.next;
        if cursor.is_none() {
            break;
        }
    }
    findings
}

/// C23 and C18: every row opens, versions of a chain have no gap, at most one is Active, and of the default chain exactly one, the newest.
async fn must_be_sound(vault: &Vault, admin: &Grants, service: &Grants) {
    assert_eq!(swept(vault, 64).await, []);
    let page = l3(vault, admin).await;
    assert_eq!(page.refused, []);
    let mut chains: BTreeMap<_, Vec<ListedKey>> = BTreeMap::new();
    for key in page.keys {
        chains.entry(key.header.chain).or_default().push(key);
    }
    let default = default_key(vault, service).await;
    for versions in chains.values_mut() {
        versions.sort_by_key(|key| key.header.version);
        let numbers: Vec<u32> = versions.iter().map(|key| key.header.version.0).collect();
        assert_eq!(numbers, (1..).take(numbers.len()).collect::<Vec<u32>>());
        let active: Vec<RowId> = versions.iter().filter(|key| key.state == State::Active).map(|key| key.header.id).collect();
        assert!(active.len() <= 1, "{active:?}");
        let newest = versions.last().expect("a chain has a version").header.id;
        assert!(active.iter().all(|id| *id == newest));
        if versions.iter().any(|key| key.header.id == default) {
            assert_eq!(active, [default]);
        }
    }
}
