//! The authorization matrix, every cell of it: action, layer, role and node against a list written by hand, and verb against state (F28).

use cipher::keywrap::KeyWrap;
use futures_executor::block_on;
use keys::Error;
use keys::attributes::Attributes;
use keys::export::Frame;
use keys::id::{Layer, RowId, SessionId};
use keys::lifecycle::{Event, State};
use keys::policy::verb::{Check, Export, Get, GetAttributes, WrapWith};
use keys::policy::{Action, Grants, NodeRole, Refusal, Role, Verb, Verdict, verb, verdict};
use keys::row::Header;
use keys::vault::Vault;

use super::{edit, rekey, view};
use crate::fakes::{World, settle};
use crate::{change, create, decrypts, encrypts, named};

/// What a core allows: action, the layers (none: it names no object), the initials of the roles. service, tenant-admin, edge, operator, custodian,
/// auditor. Nothing else is allowed anywhere, but for `ANYWHERE`.
const CORE: &[(Action, &[Option<Layer>], &str)] = &[
    (Action::Create, &[Some(Layer::L3)], "t"),
    (Action::ReKey, &[Some(Layer::L2), Some(Layer::L21), Some(Layer::L3)], "t"),
    (Action::RollBack, &[Some(Layer::L21)], "t"),
    (Action::Locate, &[None], "st"),
    (Action::Check, &[Some(Layer::L3)], "st"),
    (Action::Get, &[Some(Layer::L3)], "t"),
    (Action::Export, &[Some(Layer::L3)], "t"),
    (Action::GetAttributes, &[Some(Layer::L3)], "st"),
    (Action::GetAttributes, &[Some(Layer::L2), Some(Layer::L21)], "t"),
    (Action::GetAttributeList, &[Some(Layer::L3)], "st"),
    (Action::GetAttributeList, &[Some(Layer::L2), Some(Layer::L21)], "t"),
    (Action::AddAttribute, &[Some(Layer::L3)], "t"),
    (Action::ModifyAttribute, &[Some(Layer::L3)], "t"),
    (Action::DeleteAttribute, &[Some(Layer::L3)], "t"),
    (Action::Activate, &[Some(Layer::L3)], "t"),
    (Action::Revoke, &[Some(Layer::L2), Some(Layer::L21), Some(Layer::L3)], "t"),
    (Action::Destroy, &[Some(Layer::L2), Some(Layer::L21), Some(Layer::L3)], "t"),
    (Action::Encrypt, &[Some(Layer::L3)], "s"),
    (Action::Decrypt, &[Some(Layer::L3)], "s"),
    (Action::WrapObjectKey, &[Some(Layer::L3)], "e"),
    (Action::UnwrapObjectKey, &[Some(Layer::L3)], "e"),
    (Action::EnrolEdge, &[None], "o"),
    (Action::RevokeEdge, &[None], "o"),
    (Action::Inspect, &[Some(Layer::EdgeGroup)], "oa"),
    (Action::Unseal, &[None], "o"),
    (Action::Seal, &[None], "o"),
    (Action::CreateTenant, &[None], "o"),
    (Action::CreateService, &[None], "o"),
    (Action::VerifySlot, &[None], "o"),
    (Action::ApproveState, &[None], "o"),
    (Action::ListShards, &[None], "oac"),
    (Action::StartCeremony, &[None], "oc"),
    (Action::Vote, &[None], "oc"),
    (Action::EndCeremony, &[None], "oc"),
    (Action::GiveShard, &[None], "oc"),
    (Action::AddSlot, &[None], "o"),
    (Action::RemoveSlot, &[None], "o"),
    (Action::GenerateIvk, &[None], "o"),
    (Action::RotateIvk, &[None], "o"),
    (Action::RetireIvk, &[None], "o"),
    (Action::DestroyIvk, &[None], "o"),
    (Action::ControlReencryption, &[None], "o"),
    (Action::MigrateKeystore, &[None], "o"),
    (Action::AbortMigration, &[None], "o"),
    (Action::RepairKey, &[None], "o"),
    (Action::ReportRotation, &[None], "oa"),
    (Action::Inspect, &[None], "oa"),
    (Action::Inspect, &[Some(Layer::Tenant), Some(Layer::Service)], "toa"),
    (Action::ListKeys, &[None], "toa"),
    (Action::DisableTenant, &[None], "o"),
    (Action::EnableTenant, &[None], "o"),
    (Action::RetireKey, &[Some(Layer::L2), Some(Layer::L21), Some(Layer::L3)], "t"),
    (Action::DeployService, &[None], "ot"),
    (Action::RenewLease, &[None], "e"),
    (Action::ReportReferences, &[None], "e"),
];

/// The same for an edge.
const EDGE: &[(Action, &[Option<Layer>], &str)] = &[
    (Action::Create, &[Some(Layer::L4)], "s"),
    (Action::CreateKeyPair, &[Some(Layer::L4)], "s"),
    (Action::ReKeyKeyPair, &[Some(Layer::L4)], "s"),
    (Action::Register, &[Some(Layer::L4)], "s"),
    (Action::Import, &[Some(Layer::L4)], "s"),
    (Action::Export, &[Some(Layer::L4)], "s"),
    (Action::ReKey, &[Some(Layer::L4)], "s"),
    (Action::Get, &[Some(Layer::L4)], "s"),
    (Action::Encrypt, &[Some(Layer::L4)], "s"),
    (Action::Decrypt, &[Some(Layer::L4)], "s"),
    (Action::Sign, &[Some(Layer::L4)], "s"),
    (Action::SignatureVerify, &[Some(Layer::L4)], "s"),
    (Action::ObtainLease, &[Some(Layer::L4)], "s"),
    (Action::GetUsageAllocation, &[Some(Layer::L4)], "s"),
    (Action::Archive, &[Some(Layer::L4)], "st"),
    (Action::Recover, &[Some(Layer::L4)], "st"),
    (Action::DeriveKey, &[Some(Layer::L4)], "s"),
    (Action::Mac, &[Some(Layer::L4)], "s"),
    (Action::MacVerify, &[Some(Layer::L4)], "s"),
    (Action::RngRetrieve, &[None], "st"),
    (Action::RngSeed, &[None], "st"),
    (Action::Hash, &[None], "st"),
    (Action::AddAttribute, &[Some(Layer::L4)], "s"),
    (Action::ModifyAttribute, &[Some(Layer::L4)], "s"),
    (Action::DeleteAttribute, &[Some(Layer::L4)], "s"),
    (Action::GetAttributes, &[Some(Layer::L4)], "st"),
    (Action::GetAttributeList, &[Some(Layer::L4)], "st"),
    (Action::Check, &[Some(Layer::L4)], "st"),
    (Action::Locate, &[None], "st"),
    (Action::Activate, &[Some(Layer::L4)], "st"),
    (Action::Revoke, &[Some(Layer::L4)], "st"),
    (Action::Destroy, &[Some(Layer::L4)], "st"),
    (Action::Unseal, &[None], "o"),
    (Action::Seal, &[None], "o"),
    (Action::ControlReencryption, &[None], "o"),
    (Action::MigrateKeystore, &[None], "o"),
    (Action::AbortMigration, &[None], "o"),
    (Action::Inspect, &[None], "oa"),
];

const ANYWHERE: [Action; 2] = [Action::Query, Action::DiscoverVersions];

fn initial(role: Role) -> char {
    role.name().chars().next().expect("a role has a name")
}

fn expected(action: Action, node: NodeRole, layer: Option<Layer>, role: Role) -> Verdict {
    let table = match node {
        NodeRole::Core => CORE,
        NodeRole::Edge => EDGE,
    };
    let listed = table.iter().any(|(known, layers, roles)| *known == action && layers.contains(&layer) && roles.contains(initial(role)));
    let anywhere = ANYWHERE.contains(&action) && layer.is_none();
    let is_cores = CORE.iter().any(|(known, layers, roles)| *known == action && layers.contains(&layer) && roles.contains(initial(role)));
    let is_key_of_core = matches!(layer, Some(Layer::L2 | Layer::L21 | Layer::L3));
    if node == NodeRole::Edge && is_key_of_core && is_cores && matches!(role, Role::Service | Role::TenantAdmin) {
        return Verdict::Upstream;
    }
    if anywhere || listed { Verdict::Here } else { Verdict::Refused }
}

#[test]
fn every_cell_of_the_policy_table_is_what_the_list_says() {
    let layers: Vec<Option<Layer>> = (0..=u8::MAX).filter_map(|number| Layer::try_from(number).ok()).map(Some).chain([None]).collect();
    let mut cells = 0;
    for action in Action::ALL {
        for node in [NodeRole::Core, NodeRole::Edge] {
            for layer in &layers {
                for role in Role::ALL {
                    assert_eq!(
                        verdict(action, node, *layer, role),
                        expected(action, node, *layer, role),
                        "{action:?} {node:?} {layer:?} {role:?}"
                    );
                    cells += 1;
                }
            }
        }
    }
    assert_eq!(cells, Action::ALL.len() * 2 * layers.len() * Role::ALL.len());
    report("action, node, layer, role", cells);
}

#[expect(clippy::print_stdout, reason = "F28: the test says how many cells it asserted")]
pub(super) fn report(what: &str, cells: usize) {
    println!("{what}: {cells} cells");
}

/// What becomes of each verb on a key of its own, by who asks.
fn asked<V: Verb>(header: &Header, askers: &[Grants]) -> Vec<Result<(), Refusal>> {
    askers.iter().map(|grants| grants.check::<V>(header).map(|_| ())).collect()
}

#[test]
fn another_owners_key_does_not_exist_for_any_verb() {
    block_on(async {
        let (_world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let (other_admin, other_service) = settle(&vault, "globex", "billing").await;
        let mut unit = vault.begin(SessionId(1));
        vault.create_service(&mut unit, &crate::fakes::name("acme"), &crate::fakes::name("shop")).await.expect("the name is free");
        let _receipt = unit.commit().await.expect("the fakes are well");
        let sibling = crate::fakes::grants(&vault, Role::Service, "acme", "shop").await;
        let mut strangers = vec![other_admin, other_service, sibling];
        for role in [Role::Edge, Role::Operator, Role::Custodian, Role::Auditor] {
            strangers.push(crate::fakes::grants(&vault, role, "acme", "billing").await);
        }
        let id = create(&vault, &service, named("k")).await.expect("the name is free");
        let header = view(&vault, &admin, id).await.header;
        let (none, own, admins, services) =
            (Err(Refusal::NotFound), [service, admin], [Err(Refusal::Denied), Ok(())], [Ok(()), Err(Refusal::Denied)]);
        let mut cells = 0;
        let mut check = |found: Vec<Result<(), Refusal>>, mine: Vec<Result<(), Refusal>>, wants: [Result<(), Refusal>; 2]| {
            assert!(found.iter().all(|verdict| *verdict == none), "{found:?}");
            assert_eq!(mine, wants);
            cells += found.len() + mine.len();
        };
        macro_rules! rows {
            ($($verb:ident: $wants:expr),* $(,)?) => { $(check(asked::<verb::$verb>(&header, &strangers), asked::<verb::$verb>(&header, &own), $wants);)* };
        }
        rows! {
            Encrypt: services, Decrypt: services, GetAttributes: [Ok(()), Ok(())], GetAttributeList: [Ok(()), Ok(())], Check: [Ok(()), Ok(())],
            Activate: admins, Revoke: admins, Destroy: admins, ReKey: admins, AddAttribute: admins, ModifyAttribute: admins, DeleteAttribute: admins,
            Get: admins, Export: admins, WrapWith: admins, UnwrapWith: [Err(Refusal::Denied), Err(Refusal::Denied)],
        }
        report("verb, owner or stranger", cells);
    });
}

/// A fresh key in `state`, which may leave or wrap as its mask says.
async fn in_state(vault: &Vault, admin: &Grants, service: &Grants, state: State, usage_mask: u32, name: String) -> RowId {
    let attributes = Attributes { usage_mask, extractable: true, ..named(&name) };
    let id = create(vault, service, attributes).await.expect("the name is free");
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
        change(vault, admin, id, *event).await.expect("the path is one of the table's");
    }
    assert_eq!(view(vault, admin, id).await.state, state);
    id
}

async fn exports<V: verb::Exports>(vault: &Vault, admin: &Grants, id: RowId, with: RowId) -> Result<(), Error> {
    let mut unit = vault.begin(SessionId(2));
    let object = admin.check::<V>(&vault.header(&unit, admin, id).await?)?;
    let with = admin.check::<WrapWith>(&vault.header(&unit, admin, with).await?)?;
    vault.export(&mut unit, object, with, KeyWrap::Kw, |_| Ok::<_, Error>(Frame::default())).await?;
    Ok(unit.commit().await.map(|_| ())?)
}

async fn looks<V: Verb>(vault: &Vault, grants: &Grants, id: RowId) -> Result<(), Error> {
    let unit = vault.begin(SessionId(2));
    let header = vault.header(&unit, grants, id).await?;
    vault.attributes(&unit, grants.check::<V>(&header)?).await.map(|_| ())
}

/// What can be done to a key, and the states (by their initials) in which it can: Pre-Active, Active, Deprecated, Retired, Compromised, Destroyed,
/// destroYed compromised.
const BY_STATE: [(&str, &str); 15] = [
    ("Encrypt", "A"),
    ("Decrypt", "AD"),
    ("Wrap with it", "A"),
    ("Get", "PAD"),
    ("Export", "PAD"),
    ("Get Attributes", "PADRCXY"),
    ("Check", "PADRCXY"),
    ("Add Attribute", "PADC"),
    ("ReKey", "PADC"),
    ("Activate", "P"),
    ("Revoke", "PA"),
    ("Revoke: compromised", "PADRX"),
    ("Retire", "D"),
    ("Reactivate", ""),
    ("Destroy", "PDRC"),
];

async fn tried(
    vault: &Vault,
    (admin, service): (&Grants, &Grants),
    what: &str,
    id: RowId,
    (object, wrapper): (RowId, RowId),
) -> Result<(), Error> {
    match what {
        "Encrypt" => encrypts(vault, service, id).await.map(|_| ()),
        "Decrypt" => decrypts(vault, service, id).await.map(|_| ()),
        "Wrap with it" => exports::<Get>(vault, admin, object, id).await,
        "Get" => exports::<Get>(vault, admin, id, wrapper).await,
        "Export" => exports::<Export>(vault, admin, id, wrapper).await,
        "Get Attributes" => looks::<GetAttributes>(vault, service, id).await,
        "Check" => looks::<Check>(vault, service, id).await,
        "Add Attribute" => edit(vault, admin, id, |attributes| attributes.sensitive = true).await.map(|_| ()),
        "ReKey" => rekey(vault, admin, id).await.map(|_| ()),
        "Activate" => change(vault, admin, id, Event::Activate).await,
        "Revoke" => change(vault, admin, id, Event::Deprecate).await,
        "Revoke: compromised" => change(vault, admin, id, Event::Compromise).await,
        "Retire" => change(vault, admin, id, Event::Retire).await,
        "Reactivate" => change(vault, admin, id, Event::Reactivate).await,
        _ => change(vault, admin, id, Event::Destroy).await,
    }
}

#[test]
fn every_verb_is_done_in_the_states_that_the_list_says_and_in_no_other() {
    block_on(async {
        let (_world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let object = in_state(&vault, &admin, &service, State::Active, 0x0C, "object".to_owned()).await;
        let wrapper = in_state(&vault, &admin, &service, State::Active, 0x30, "wrapper".to_owned()).await;
        let mut cells = 0;
        for (what, allowed) in BY_STATE {
            for (state, letter) in State::ALL.into_iter().zip("PADRCXY".chars()) {
                let usage_mask = if what == "Wrap with it" { 0x30 } else { 0x0C };
                let id = in_state(&vault, &admin, &service, state, usage_mask, format!("{what} {state:?}")).await;
                match tried(&vault, (&admin, &service), what, id, (object, wrapper)).await {
                    Ok(()) => assert!(allowed.contains(letter), "{what} of a key that is {state:?}"),
                    Err(Error::WrongState { is, .. }) => {
                        assert_eq!(is, state, "{what}");
                        assert!(!allowed.contains(letter), "{what} of a key that is {state:?}");
                    }
                    Err(other) => panic!("{what} of a key that is {state:?}: {other}"),
                }
                cells += 1;
            }
        }
        super::must_be_sound(&vault, &admin, &service).await;
        report("verb, state", cells);
    });
}
