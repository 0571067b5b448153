//! Re-key, Locate, Query and Check at an edge, and its clients' rights.

use std::time::Duration;

use keys::id::Layer;
use keys::policy::{Action, Role};
use keys::record::Outcome;
use kmip::ttlv::{ByteString, DateTime, Interval, Value};
use kmip::*;

use crate::world::*;
use CryptographicUsageMask as Mask;
use ProtocolVersion::{V1_0, V1_4};
use ResultReason as R;

fn template<'a>(values: &[AttributeValue<'a>]) -> Option<TemplateAttribute<'a>> {
    Some(TemplateAttribute { names: vec![], attributes: values.iter().cloned().map(bare).collect() })
}

fn rekey_as(
    client: &mut Client<'_>,
    id: &str,
    offset: Option<u32>,
    template_attribute: Option<TemplateAttribute<'_>>,
) -> Result<String, Failed> {
    let request = ReKeyRequest { unique_identifier: Some(id), offset: offset.map(Interval), template_attribute };
    client.call(V1_4, &request, |answer| answer.unique_identifier.to_owned())
}

fn active(client: &mut Client<'_>, more: &[AttributeValue<'_>]) -> String {
    let id = client.create(V1_4, &wish("billing", more)).expect("a plain key");
    client.activate(&id).expect("it is new");
    id
}

fn encrypts(client: &mut Client<'_>, id: &str) -> Result<(), Failed> {
    let request = EncryptRequest { unique_identifier: Some(id), data: Some(ByteString(b"an invoice")), ..EncryptRequest::default() };
    client.call(V1_4, &request, |_| ())
}

fn registered(client: &mut Client<'_>, object: ManagedObject<'_>) -> String {
    let mask = bare(AttributeValue::CryptographicUsageMask(Mask(DATA)));
    let template_attribute = TemplateAttribute { names: vec![], attributes: vec![mask] };
    let request = RegisterRequest { object_type: object.object_type(), template_attribute, object };
    client.call(V1_4, &request, |answer| answer.unique_identifier.to_owned()).expect("it is kept")
}

fn password() -> ManagedObject<'static> {
    let key_material = KeyMaterial::Bytes(ByteString(b"correct horse"));
    let key_block = KeyBlock {
        key_format_type: KeyFormatType::Raw,
        key_compression_type: None,
        key_value: Some(KeyValue::Plain(PlainKeyValue { key_material, attributes: vec![] })),
        cryptographic_algorithm: None,
        cryptographic_length: None,
        key_wrapping_data: None,
    };
    ManagedObject::SecretData(SecretData { secret_data_type: SecretDataType::Password, key_block })
}

fn opaque() -> ManagedObject<'static> {
    ManagedObject::OpaqueObject(OpaqueObject {
        opaque_data_type: OpaqueDataType::Extension(0x8000_0001),
        opaque_data_value: ByteString(b"whatever"),
    })
}

#[test]
fn a_replaced_key_stays_active_and_loses_its_name_to_its_replacement() {
    let world = World::edge();
    let mut service = world.service();
    for version in ProtocolVersion::ALL {
        let name = format!("invoices {version}");
        let old = active(&mut service, &[named(&name), AttributeValue::Custom("x-a", Value::Integer(7))]);
        world.take_records();
        let new = service.rekey(version, &old).expect("an Active key is replaced");
        assert_eq!(world.outcomes(), [(Action::ReKey, Outcome::Success)]);
        assert_eq!((service.state(&old), service.state(&new)), (State::Active, State::Active));
        assert_eq!(service.locate(version, &[named(&name)]), Ok(vec![new.clone()]));
        assert_eq!(service.instances(&old, "Name"), []);
        assert_eq!(service.instances(&new, "x-a"), service.instances(&old, "x-a"));
        let link = |service: &mut Client<'_>, id: &str| service.instances(id, "Link").pop().expect("a link").1;
        let (of_old, of_new) = (link(&mut service, &old), link(&mut service, &new));
        assert!(of_old.contains("ReplacementObjectLink") && of_old.contains(&new), "{of_old}");
        assert!(of_new.contains("ReplacedObjectLink") && of_new.contains(&old), "{of_new}");
        encrypts(&mut service, &old).expect("it stays Active");
        encrypts(&mut service, &new).expect("it is Active");
        assert_eq!(why(service.rekey(version, &old)), R::PermissionDenied, "it was replaced already");
    }
}

#[test]
fn an_offset_says_when_the_replacement_begins() {
    use AttributeValue as A;
    let world = World::edge();
    let mut service = world.service();
    let old = active(&mut service, &[A::DeactivationDate(DateTime(START + 1000))]);
    let new = rekey_as(&mut service, &old, Some(100), None).expect("an offset in the future");
    assert_eq!(service.state(&new), State::PreActive);
    assert_eq!(why(encrypts(&mut service, &new)), R::PermissionDenied);
    assert_eq!(service.instances(&new, "Deactivation Date")[0].1, format!("DeactivationDate({:?})", DateTime(START + 1100)));
    world.wait(100);
    assert_eq!((service.state(&old), service.state(&new)), (State::Active, State::Active), "both");
    encrypts(&mut service, &new).expect("its time has come");
    world.wait(900);
    assert_eq!((service.state(&old), service.state(&new)), (State::Deactivated, State::Active));
    world.wait(100);
    assert_eq!(service.state(&new), State::Deactivated);
    let now = active(&mut service, &[]);
    let at_once = rekey_as(&mut service, &now, Some(0), None).expect("an offset of nothing");
    assert_eq!(service.state(&at_once), State::Active);
    let both = rekey_as(&mut service, &at_once, Some(1), template(&[A::ActivationDate(DateTime(START))]));
    assert_eq!(why(both), R::InvalidMessage, "the one or the other");
    let dated = rekey_as(&mut service, &at_once, None, template(&[A::ActivationDate(DateTime(world.now() + 50))])).expect("a later date");
    assert_eq!(service.state(&dated), State::PreActive);
}

#[test]
fn only_the_key_s_own_service_replaces_it_and_what_is_no_key_has_no_replacement() {
    let world = World::edge();
    let mut service = world.service();
    let id = active(&mut service, &[named("k")]);
    let before = world.store.rows().len();
    for (role, tenant, name, reason) in [
        (Role::TenantAdmin, "acme", "", R::PermissionDenied),
        (Role::TenantAdmin, "globex", "", R::ItemNotFound),
        (Role::Service, "acme", "payroll", R::ItemNotFound),
        (Role::Service, "globex", "billing", R::ItemNotFound),
        (Role::Operator, "", "", R::ItemNotFound),
    ] {
        assert_eq!(why(world.client(role, tenant, name).rekey(V1_0, &id)), reason, "{role:?} {tenant} {name}");
    }
    assert_eq!(world.store.rows().len(), before);
    for object in [password(), opaque()] {
        let id = registered(&mut service, object.clone());
        let before = world.store.rows().len();
        assert_eq!(why(service.rekey(V1_4, &id)), R::PermissionDenied, "{:?}", object.object_type());
        assert_eq!(world.store.rows().len(), before);
    }
    let gone = active(&mut service, &[]);
    service.revoke(&gone, RevocationReasonCode::Superseded).expect("it is Active");
    service.destroy(&gone).expect("it is Deactivated");
    assert_eq!(why(service.rekey(V1_4, &gone)), R::PermissionDenied, "it is destroyed");
}

#[test]
fn a_search_finds_one_s_own_and_nothing_else() {
    let world = World::edge();
    let clients = [("acme", "billing"), ("acme", "payroll"), ("globex", "billing")];
    let mut ids = Vec::new();
    for (tenant, service) in clients {
        let mut client = world.client(Role::Service, tenant, service);
        // All of them may have the same name: it is unique in each service.
        let id = client.create(V1_0, &wish(service, &[named("shared"), AttributeValue::ObjectGroup("vip")])).expect("the name is free");
        assert_eq!(why(client.create(V1_0, &wish(service, &[named("shared")]))), R::InvalidField, "and taken now");
        ids.push(id);
    }
    let group = AttributeValue::ObjectGroup("vip");
    for ((tenant, service), id) in clients.into_iter().zip(&ids) {
        let mut client = world.client(Role::Service, tenant, service);
        for filter in [vec![], vec![named("shared")], vec![group.clone()], vec![AttributeValue::State(State::PreActive)]] {
            assert_eq!(client.locate(V1_0, &filter), Ok(vec![id.clone()]), "{tenant} {service} {filter:?}");
        }
        for other in ids.iter().filter(|other| *other != id) {
            assert_eq!(client.locate(V1_0, &[AttributeValue::UniqueIdentifier(other)]), Ok(vec![]));
        }
    }
    let mut of_acme = world.admin().locate(V1_0, &[named("shared")]).expect("an admin searches its tenant");
    of_acme.sort_unstable();
    let mut expected = ids[..2].to_vec();
    expected.sort_unstable();
    assert_eq!(of_acme, expected);
    assert_eq!(world.client(Role::TenantAdmin, "globex", "").locate(V1_0, &[]), Ok(vec![ids[2].clone()]));
    for (role, tenant, service) in [(Role::Service, "acme", "nothing"), (Role::Service, "nobody", "billing")] {
        assert_eq!(world.client(role, tenant, service).locate(V1_0, &[]), Ok(vec![]));
    }
    for role in [Role::Operator, Role::Auditor, Role::Edge, Role::Custodian] {
        assert_eq!(why(world.client(role, "", "").locate(V1_0, &[])), R::PermissionDenied, "{role:?}");
    }
}

#[test]
fn a_search_tells_kinds_of_objects_apart() {
    let world = World::edge();
    let mut service = world.service();
    let key = service.create(V1_0, &wish("billing", &[])).expect("a plain key");
    let (secret, blob) = (registered(&mut service, password()), registered(&mut service, opaque()));
    let mut check = |object_type, id: &str| {
        assert_eq!(service.locate(V1_0, &[AttributeValue::ObjectType(object_type)]), Ok(vec![id.to_owned()]), "{object_type:?}");
    };
    check(ObjectType::SymmetricKey, &key);
    check(ObjectType::SecretData, &secret);
    check(ObjectType::OpaqueObject, &blob);
    assert_eq!(service.locate(V1_0, &[AttributeValue::ObjectType(ObjectType::Certificate)]), Ok(vec![]));
    for id in [&key, &secret, &blob] {
        assert_eq!(row_id(id).layer, Layer::L4);
    }
}

#[test]
fn an_edge_says_what_it_offers_and_a_core_says_something_else() {
    let query = QueryRequest { functions: vec![QueryFunction::QueryOperations, QueryFunction::QueryObjects] };
    let told = |world: &World| {
        let told = world.service().call(V1_4, &query, |answer| (answer.operations.clone(), answer.object_types.clone()));
        told.expect("anybody may ask")
    };
    let (edge, core) = (told(&World::edge()), told(&World::found()));
    assert!(edge.0.contains(&Operation::Import) && edge.0.contains(&Operation::Export));
    assert!(!core.0.contains(&Operation::Import) && core.0.contains(&Operation::Export));
    use ObjectType as T;
    assert_eq!(edge.1, [T::Certificate, T::SymmetricKey, T::PublicKey, T::PrivateKey, T::Template, T::SecretData, T::OpaqueObject]);
    assert_eq!(core.1, [ObjectType::SymmetricKey]);
}

#[test]
fn each_operation_that_an_edge_offers_is_listed_in_the_versions_that_have_it() {
    use Operation as O;
    let world = World::edge();
    let (query, other) = (QueryRequest { functions: vec![QueryFunction::QueryOperations] }, QueryFunction::QueryCapabilities);
    let offered = [
        O::Create,
        O::CreateKeyPair,
        O::Register,
        O::ReKey,
        O::DeriveKey,
        O::Locate,
        O::Check,
        O::Get,
        O::GetAttributes,
        O::GetAttributeList,
        O::AddAttribute,
        O::ModifyAttribute,
        O::DeleteAttribute,
        O::ObtainLease,
        O::GetUsageAllocation,
        O::Activate,
        O::Revoke,
        O::Destroy,
        O::Archive,
        O::Recover,
        O::Query,
        O::ReKeyKeyPair,
        O::DiscoverVersions,
        O::Encrypt,
        O::Decrypt,
        O::Sign,
        O::SignatureVerify,
        O::Mac,
        O::MacVerify,
        O::RngRetrieve,
        O::RngSeed,
        O::Hash,
        O::Import,
        O::Export,
    ];
    for version in ProtocolVersion::ALL {
        let told = world.service().call(version, &query, |answer| answer.operations.clone()).expect("anybody may ask");
        let expected: Vec<_> = offered.into_iter().filter(|operation| operation.since() <= version).collect();
        assert_eq!(told, expected, "{version}");
    }
    let mode = |world: &World| {
        let query = QueryRequest { functions: vec![other] };
        world.service().call(V1_4, &query, |answer| answer.capability_information[0].rng_mode).expect("anybody may ask")
    };
    assert_eq!((mode(&world), mode(&World::found())), (Some(RngMode::SharedInstantiation), None));
}

/// The bits that Check says the client may not use the key for, or none.
fn against(client: &mut Client<'_>, id: &str, mask: i32) -> Result<(), R> {
    let request = CheckRequest { unique_identifier: Some(id), cryptographic_usage_mask: Some(Mask(mask)), ..CheckRequest::default() };
    client.call(V1_4, &request, |_| ()).map_err(|failed| failed.reason)
}

/// A key with this usage mask that was brought into this state.
fn of_state(service: &mut Client<'_>, state: State, mask: i32) -> String {
    let mut attributes = wish("billing", &[]);
    attributes[2] = AttributeValue::CryptographicUsageMask(Mask(mask));
    let id = service.create(V1_4, &attributes).expect("an edge's key may be for both");
    if matches!(state, State::Active | State::Deactivated) {
        service.activate(&id).expect("it is new");
    }
    match state {
        State::Compromised => drop(service.revoke(&id, RevocationReasonCode::KeyCompromise).expect("it is new")),
        State::Deactivated => drop(service.revoke(&id, RevocationReasonCode::Superseded).expect("it is Active")),
        _ => {}
    }
    id
}

#[test]
fn check_goes_by_state_mask_and_role() {
    let world = World::edge();
    let (mut service, mut admin) = (world.service(), world.admin());
    let mut cells = 0;
    for (state, may) in [(State::PreActive, 0), (State::Active, 0x04 | 0x08), (State::Deactivated, 0x08), (State::Compromised, 0)] {
        let id = of_state(&mut service, state, 0x04 | 0x08 | 0x10);
        for bit in [0x01, 0x04, 0x08, 0x10, 0x20, 0x04 | 0x08] {
            let expected = if may & bit == bit { Ok(()) } else { Err(R::PermissionDenied) };
            assert_eq!(against(&mut service, &id, bit), expected, "{state:?} {bit:#x}");
            assert_eq!(against(&mut admin, &id, bit), Err(R::PermissionDenied), "an admin uses nothing: {state:?} {bit:#x}");
            cells += 2;
        }
        assert_eq!(against(&mut service, &id, 0), Ok(()), "{state:?}");
        // What else a key is for, it does not wrap.
        let for_keys = of_state(&mut service, state, 0x30);
        let may = [(0x10, state == State::Active), (0x20, matches!(state, State::Active | State::Deactivated))];
        for (bit, is_allowed) in may {
            assert_eq!(against(&mut service, &for_keys, bit).is_ok(), is_allowed, "{state:?} {bit:#x}");
            cells += 1;
        }
        for (tenant, name) in [("acme", "payroll"), ("globex", "billing")] {
            assert_eq!(against(&mut world.client(Role::Service, tenant, name), &id, 0), Err(R::ItemNotFound));
        }
        cells += 3;
    }
    counted(cells);
}

#[test]
fn without_a_lease_nothing_is_answered_but_that() {
    let world = World::edge();
    let (mut service, mut admin) = (world.service(), world.admin());
    let id = active(&mut service, &[]);
    world.pace.pass(HOLDS - Duration::from_millis(1));
    encrypts(&mut service, &id).expect("there is a millisecond left");
    world.pace.pass(Duration::from_millis(1));
    world.take_records();
    for failed in [
        encrypts(&mut service, &id).expect_err("it is over"),
        service.create(V1_0, &wish("billing", &[])).expect_err("it is over"),
        service.locate(V1_0, &[]).expect_err("it is over"),
        service.activate(&id).expect_err("it is over"),
        admin.destroy(&id).expect_err("it is over"),
        admin.activate("nonsense").expect_err("it is over"),
    ] {
        assert_eq!(failed.reason, R::GeneralFailure, "{}", failed.message);
        assert!(failed.message.contains("has not heard from its core"), "{}", failed.message);
    }
    assert!(world.outcomes().iter().all(|(_, outcome)| *outcome == Outcome::Unavailable));
    futures_executor::block_on(world.vault.renew_lease()).expect("the core is well");
    encrypts(&mut service, &id).expect("it is renewed");
}

#[test]
fn a_service_governs_its_own_objects_and_an_admin_those_of_its_tenant() {
    let world = World::edge();
    let (mut service, mut admin) = (world.service(), world.admin());
    let id = service.create(V1_0, &wish("billing", &[named("k")])).expect("a plain key");
    for (tenant, name) in [("acme", "payroll"), ("globex", "billing")] {
        let mut stranger = world.client(Role::Service, tenant, name);
        assert_eq!(why(stranger.activate(&id)), R::ItemNotFound);
        assert_eq!(why(stranger.destroy(&id)), R::ItemNotFound);
        assert_eq!(why(stranger.add(V1_0, &id, AttributeValue::ContactInformation("me"))), R::ItemNotFound);
    }
    assert_eq!(why(admin.add(V1_0, &id, AttributeValue::ContactInformation("me"))), R::PermissionDenied);
    assert_eq!(why(admin.delete(V1_0, &id, "Name", None)), R::PermissionDenied);
    service.add(V1_0, &id, AttributeValue::ContactInformation("me")).expect("it is its own");
    service.delete(V1_0, &id, "Name", None).expect("it is its own");
    admin.activate(&id).expect("an admin governs");
    encrypts(&mut service, &id).expect("it is Active");
    admin.revoke(&id, RevocationReasonCode::Superseded).expect("an admin governs");
    admin.destroy(&id).expect("an admin governs");
    assert_eq!(service.state(&id), State::Destroyed);
}

#[test]
fn what_the_server_keeps_of_a_registration_is_no_client_s_to_change() {
    let world = World::edge();
    let mut service = world.service();
    let id = registered(&mut service, password());
    for name in ["y-secret-data-type", "y-key-format-type"] {
        let value = AttributeValue::Custom(name, Value::Enumeration(2));
        assert_eq!(service.instances(&id, name).len(), 1, "{name}");
        for refused in [
            service.add(V1_4, &id, value.clone()).map(drop),
            service.modify(V1_4, &id, None, value).map(drop),
            service.delete(V1_4, &id, name, None).map(drop),
        ] {
            let reason = why(refused);
            assert!(matches!(reason, R::InvalidField | R::PermissionDenied), "{name}: {reason:?}");
        }
    }
    let request = GetRequest { unique_identifier: Some(&id), ..GetRequest::default() };
    assert_eq!(service.call(V1_4, &request, |answer| answer.object == password()), Ok(true));
}

#[test]
fn an_end_that_an_edge_has_set_comes_and_one_that_its_client_has_set_stands() {
    let world = World::edge_with(Some(Duration::from_secs(1000)), false);
    let mut service = world.service();
    let id = active(&mut service, &[]);
    let own = active(&mut service, &[AttributeValue::DeactivationDate(DateTime(START + 5000))]);
    world.wait(1000);
    assert_eq!((service.state(&id), service.state(&own)), (State::Deactivated, State::Active));
    let new = service.rekey(V1_4, &id).expect("what ended is replaced");
    assert_eq!(service.state(&new), State::Active);
    world.wait(1000);
    assert_eq!(service.state(&new), State::Deactivated);
}

#[test]
fn one_message_makes_activates_uses_and_returns_an_object_and_leaves_nothing_where_it_fails() {
    let world = World::edge();
    let mut service = world.service();
    for undoes in [false, true] {
        let before = world.store.rows().clone();
        let mut batch = Batch::new(V1_4);
        let attributes = wish("billing", &[named("k")]);
        let made = batch.push(&create_request(&attributes)).expect("1.4 has it");
        batch.push(&ActivateRequest::default()).expect("1.4 has it");
        let data = EncryptRequest { data: Some(ByteString(b"an invoice")), ..EncryptRequest::default() };
        let sealed = batch.push(&data).expect("1.4 has it");
        let got = batch.push(&GetRequest::default()).expect("1.4 has it");
        let found = batch.push(&LocateRequest::default()).expect("1.4 has it");
        let sent = batch.finish();
        if undoes {
            world.store.full.store(true, std::sync::atomic::Ordering::Relaxed);
            let (_, withheld) = service.try_ask(&sent.bytes);
            assert!(withheld.is_some(), "nothing of it is acknowledged");
            world.store.full.store(false, std::sync::atomic::Ordering::Relaxed);
            assert_eq!(*world.store.rows(), before);
            continue;
        }
        let answer = service.ask(&sent.bytes);
        let answers = sent.answers(&answer).expect("it is whole");
        let id = answers.get(&made).expect("it is made").unique_identifier;
        assert_eq!(answers.get(&sealed).expect("it is Active").unique_identifier, id);
        assert_eq!(answers.get(&got).expect("it is the service's").unique_identifier, id);
        assert_eq!(answers.get(&found).expect("it is the service's").unique_identifiers, [id]);
        assert_eq!(service.state(id), State::Active);
        assert_eq!(service.instances(id, "Fresh")[0].1, "Fresh(false)");
        service.revoke(id, RevocationReasonCode::Superseded).expect("it is Active");
        service.destroy(id).expect("it is Deactivated");
    }
    assert_eq!(service.create(V1_4, &wish("billing", &[named("k")])).map(|_| ()), Ok(()), "the name is free");
}

#[test]
fn an_object_of_nothing_is_kept_as_nothing() {
    let world = World::edge();
    let mut service = world.service();
    let object = ManagedObject::OpaqueObject(OpaqueObject {
        opaque_data_type: OpaqueDataType::Extension(0x8000_0001),
        opaque_data_value: ByteString(b""),
    });
    let id = registered(&mut service, object.clone());
    let request = GetRequest { unique_identifier: Some(&id), ..GetRequest::default() };
    assert_eq!(service.call(V1_4, &request, |answer| answer.object == object), Ok(true));
    service.destroy(&id).expect("it is Pre-Active");
}
