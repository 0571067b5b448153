//! The authorization matrix of an edge, every cell of it: verb, state and who asks (F28).

use cipher::keywrap::KeyWrap;
use futures_executor::block_on;
use keys::Error;
use keys::attributes::Attributes;
use keys::export::Frame;
use keys::id::{Layer, RowId, SessionId};
use keys::lifecycle::{Event, State};
use keys::policy::verb::{Check, Get, GetAttributeList, GetAttributes, Sign, SignatureVerify, UsesMaterial, WrapWith};
use keys::policy::{Grants, Role, Verb};
use keys::vault::Vault;

use super::matrix::report;
use super::{edit, rekey, swept, view};
use crate::fakes::edge::{Edge, Site, make};
use crate::{change, decrypts, encrypts, named};

/// Who asks: the object's own service, its tenant's admin, and everybody to whom there is no such object.
const ASKERS: [(&str, Role, &str, &str); 10] = [
    ("own", Role::Service, "acme", "billing"),
    ("admin", Role::TenantAdmin, "acme", "billing"),
    ("another service", Role::Service, "acme", "payroll"),
    ("another tenant's service", Role::Service, "globex", "billing"),
    ("another tenant's admin", Role::TenantAdmin, "globex", "billing"),
    ("no service", Role::Service, "acme", "nothing"),
    ("edge", Role::Edge, "acme", "billing"),
    ("operator", Role::Operator, "acme", "billing"),
    ("custodian", Role::Custodian, "acme", "billing"),
    ("auditor", Role::Auditor, "acme", "billing"),
];

/// What can be done to an object, the states (by their initials) in which it can, and whether the admin may too: Pre-Active, Active, Deprecated,
/// Retired, Compromised, Destroyed, destroYed compromised.
const BY_STATE: [(&str, &str, bool); 19] = [
    ("Encrypt", "A", false),
    ("Decrypt", "AD", false),
    ("Sign", "A", false),
    ("Signature Verify", "AD", false),
    ("Wrap with it", "A", false),
    ("Get", "PADC", false),
    ("Get wrapped", "PADC", false),
    ("Get Attributes", "PADRCXY", true),
    ("Get Attribute List", "PADRCXY", true),
    ("Check", "PADRCXY", true),
    ("Locate", "PADRCXY", true),
    ("Edit", "PADC", false),
    ("ReKey", "PADC", false),
    ("Activate", "P", true),
    ("Revoke", "PA", true),
    ("Revoke: compromised", "PADRX", true),
    ("Retire", "D", true),
    ("Reactivate", "", true),
    ("Destroy", "PDRC", true),
];

/// A fresh object of acme's billing in `state`.
async fn in_state(edge: &Edge, own: &Grants, state: State, usage_mask: u32, name: &str) -> RowId {
    let attributes = Attributes { usage_mask, extractable: true, ..named(name) };
    let id = make(&edge.vault, own, attributes, None).await.expect("the name is free");
    let path: &[Event] = match state {
        State::PreActive => &[],
        State::Active => &[Event::Activate],
        State::Deprecated => &[Event::Activate, Event::Deprecate],
        State::Retired => &[Event::Activate, Event::Deprecate, Event::Retire],
        State::Compromised => &[Event::Activate, Event::Compromise],
        State::Destroyed => &[Event::Destroy],
        State::DestroyedCompromised => &[Event::Activate, Event::Compromise, Event::Destroy],
    };
    for event in path {
        change(&edge.vault, own, id, *event).await.expect("the path is one of the table's");
    }
    assert_eq!(view(&edge.vault, own, id).await.state, state);
    id
}

async fn leaves(vault: &Vault, grants: &Grants, id: RowId, with: RowId) -> Result<(), Error> {
    let mut unit = vault.begin(SessionId(2));
    let object = grants.check::<Get>(&vault.header(&unit, grants, id).await?)?;
    let with = grants.check::<WrapWith>(&vault.header(&unit, grants, with).await?)?;
    vault.export(&mut unit, object, with, KeyWrap::Kw, |_| Ok::<_, Error>(Frame::default())).await?;
    Ok(unit.commit().await.map(|_| ())?)
}

async fn reveals(vault: &Vault, grants: &Grants, id: RowId) -> Result<(), Error> {
    let mut unit = vault.begin(SessionId(2));
    let object = grants.check::<Get>(&vault.header(&unit, grants, id).await?)?;
    let (bytes, _) = vault.reveal(&mut unit, object, |bytes, _| bytes.len()).await?;
    assert_eq!(bytes, 32);
    Ok(unit.commit().await.map(|_| ())?)
}

async fn uses<V: UsesMaterial>(vault: &Vault, grants: &Grants, id: RowId) -> Result<(), Error> {
    let unit = vault.begin(SessionId(2));
    let authorized = grants.check::<V>(&vault.header(&unit, grants, id).await?)?;
    assert_eq!(vault.open(&unit, authorized, |bytes, _| Ok(bytes.len())).await?, 32);
    Ok(())
}

async fn looks<V: Verb>(vault: &Vault, grants: &Grants, id: RowId) -> Result<(), Error> {
    let unit = vault.begin(SessionId(2));
    let header = vault.header(&unit, grants, id).await?;
    vault.attributes(&unit, grants.check::<V>(&header)?).await.map(|_| ())
}

async fn locates(vault: &Vault, grants: &Grants, id: RowId) -> Result<(), Error> {
    let found = vault.find(&vault.begin(SessionId(2)), grants, Layer::L4, Vec::new(), |_| true).await?;
    if found.contains(&id) { Ok(()) } else { Err(Error::NotFound) }
}

async fn tried(vault: &Vault, grants: &Grants, what: &str, id: RowId, (object, wrapper): (RowId, RowId)) -> Result<(), Error> {
    match what {
        "Encrypt" => encrypts(vault, grants, id).await.map(|_| ()),
        "Decrypt" => decrypts(vault, grants, id).await.map(|_| ()),
        "Sign" => uses::<Sign>(vault, grants, id).await,
        "Signature Verify" => uses::<SignatureVerify>(vault, grants, id).await,
        "Wrap with it" => leaves(vault, grants, object, id).await,
        "Get" => reveals(vault, grants, id).await,
        "Get wrapped" => leaves(vault, grants, id, wrapper).await,
        "Get Attributes" => looks::<GetAttributes>(vault, grants, id).await,
        "Get Attribute List" => looks::<GetAttributeList>(vault, grants, id).await,
        "Check" => looks::<Check>(vault, grants, id).await,
        "Locate" => locates(vault, grants, id).await,
        "Edit" => edit(vault, grants, id, |attributes| attributes.sensitive = true).await.map(|_| ()),
        "ReKey" => rekey(vault, grants, id).await.map(|_| ()),
        "Activate" => change(vault, grants, id, Event::Activate).await,
        "Revoke" => change(vault, grants, id, Event::Deprecate).await,
        "Revoke: compromised" => change(vault, grants, id, Event::Compromise).await,
        "Retire" => change(vault, grants, id, Event::Retire).await,
        "Reactivate" => change(vault, grants, id, Event::Reactivate).await,
        _ => change(vault, grants, id, Event::Destroy).await,
    }
}

#[test]
fn every_verb_is_done_in_the_states_and_for_whom_the_list_says_and_for_nobody_else() {
    block_on(async {
        let site = Site::found().await;
        let edge = site.edge().await;
        let own = edge.billing().await;
        let object = in_state(&edge, &own, State::Active, 0x0C, "object").await;
        let wrapper = in_state(&edge, &own, State::Active, 0x30, "wrapper").await;
        let mut askers = Vec::new();
        for (who, role, tenant, service) in ASKERS {
            askers.push((who, edge.grants(role, tenant, service).await.expect("nothing is disabled")));
        }
        let mut cells = 0;
        for (what, allowed, admins_too) in BY_STATE {
            for (state, letter) in State::ALL.into_iter().zip("PADRCXY".chars()) {
                let usage_mask = if what == "Wrap with it" { 0x30 } else { 0x0F };
                let shared = in_state(&edge, &own, state, usage_mask, &format!("{what} {state:?}")).await;
                let of_admin = in_state(&edge, &own, state, usage_mask, &format!("{what} {state:?} by the admin")).await;
                // Strangers first, because the owner changes it.
                for (who, grants) in askers.iter().rev() {
                    let id = if *who == "admin" { of_admin } else { shared };
                    let before = edge.store.rows().clone();
                    let outcome = tried(&edge.vault, grants, what, id, (object, wrapper)).await;
                    let cell = format!("{what} of an object that is {state:?} by {who}");
                    let is_owner = *who == "own" || *who == "admin" && admins_too;
                    match outcome {
                        Ok(()) => assert!(is_owner && allowed.contains(letter), "{cell}"),
                        Err(Error::WrongState { is, .. }) => {
                            assert!(is_owner && !allowed.contains(letter), "{cell}");
                            assert_eq!(is, state, "{cell}");
                        }
                        Err(Error::Denied { .. }) => assert!(*who == "admin" && !admins_too, "{cell}"),
                        Err(Error::NotFound) => assert!(*who != "own" && *who != "admin", "{cell}"),
                        Err(other) => panic!("{cell}: {other}"),
                    }
                    if !is_owner || !allowed.contains(letter) {
                        assert_eq!(*edge.store.rows(), before, "{cell}: nothing is changed");
                    }
                    cells += 1;
                }
            }
        }
        assert_eq!(swept(&edge.vault, 64).await, []);
        report("edge: verb, state, asker", cells);
    });
}
