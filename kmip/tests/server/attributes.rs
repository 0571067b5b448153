//! Get Attributes and Get Attribute List: what is shown, to whom, in which version.

use keys::policy::Role;
use kmip::ttlv::{DateTime, Value};
use kmip::*;

use crate::world::*;
use ProtocolVersion::{V1_0, V1_2, V1_3, V1_4};

/// The named attributes of a key, as text; all if none is named.
fn told(client: &mut Client<'_>, version: ProtocolVersion, id: &str, names: &[&str]) -> Vec<String> {
    let request = GetAttributesRequest { unique_identifier: Some(id), attribute_names: names.to_vec() };
    let told = client.call(version, &request, |answer| {
        assert_eq!(answer.unique_identifier, id);
        answer.attributes.iter().map(|attribute| format!("{:?}", attribute.value)).collect()
    });
    told.expect("the key is the client's")
}

fn listed(client: &mut Client<'_>, version: ProtocolVersion, id: &str) -> Vec<String> {
    let request = GetAttributeListRequest { unique_identifier: Some(id) };
    let listed = client.call(version, &request, |answer| answer.attribute_names.iter().map(ToString::to_string).collect());
    listed.expect("the key is the client's")
}

#[test]
fn only_what_is_named_and_there_is_told_and_an_unknown_name_is_no_error() {
    let world = World::found();
    let (mut service, id) = (world.service(), world.key());
    let names = ["Cryptographic Length", "Compromise Date", "x-nothing", "Nonsense", "Sensitive", "", "state"];
    assert_eq!(told(&mut service, V1_3, &id, &names), ["CryptographicLength(256)"]);
    assert_eq!(told(&mut service, V1_3, &id, &["Destroy Date"]), Vec::<String>::new());
    assert_eq!(told(&mut service, V1_4, &id, &["Sensitive", "State"]), ["State(Active)", "Sensitive(false)"]);
}

#[test]
fn the_same_name_twice_is_an_invalid_message() {
    let world = World::found();
    let (mut service, id) = (world.service(), world.key());
    let request = GetAttributesRequest { unique_identifier: Some(&id), attribute_names: vec!["State", "Name", "State"] };
    assert_eq!(why(service.call(V1_0, &request, |_| ())), ResultReason::InvalidMessage);
}

#[test]
fn where_a_key_stands_is_told_to_who_asks_for_it_by_name() {
    let world = World::found();
    let (mut service, id) = (world.service(), world.key());
    let l2 = world.admin().locate(V1_0, &[AttributeValue::Custom("y-layer", Value::TextString("L2"))]).expect("an admin looks");
    let text = |name, value: &str| format!("{:?}", AttributeValue::Custom(name, Value::TextString(value)));
    let expected = [
        text("y-layer", "L3"),
        text("y-parent", &l2[0]),
        text("y-service", "billing"),
        format!("{:?}", AttributeValue::Custom("y-version", Value::Integer(1))),
    ];
    assert_eq!(told(&mut service, V1_0, &id, &["y-layer", "y-parent", "y-service", "y-version"]), expected);
    assert!(told(&mut service, V1_0, &id, &[]).iter().all(|attribute| !attribute.contains("y-")));
    for name in ["y-layer", "y-parent", "y-service", "y-version"] {
        assert!(listed(&mut service, V1_0, &id).contains(&name.to_owned()), "{name}");
    }
}

#[test]
fn a_tenant_admin_may_look_at_its_l2_and_its_service_may_not() {
    let world = World::found();
    let l2 = world.admin().locate(V1_0, &[AttributeValue::Custom("y-layer", Value::TextString("L2"))]).expect("an admin looks")[0].clone();
    let text = |name, value: &str| format!("{:?}", AttributeValue::Custom(name, Value::TextString(value)));
    assert_eq!(
        told(&mut world.admin(), V1_0, &l2, &["y-layer", "y-parent", "y-service"]),
        [text("y-layer", "L2"), text("y-parent", "IVK.1")]
    );
    let request = GetAttributesRequest { unique_identifier: Some(&l2), attribute_names: vec![] };
    assert_eq!(why(world.service().call(V1_0, &request, |_| ())), ResultReason::ItemNotFound);
    assert_eq!(why(world.admin().destroy(&l2)), ResultReason::PermissionDenied);
    assert_eq!(world.service().locate(V1_0, &[AttributeValue::Custom("y-layer", Value::TextString("L2"))]), Ok(vec![]));
}

#[test]
fn a_digest_is_shown_to_nobody_at_a_core() {
    let world = World::found();
    let id = world.key();
    for role in [Role::Service, Role::TenantAdmin] {
        let mut client = world.client(role, "acme", "billing");
        assert_eq!(told(&mut client, V1_4, &id, &["Digest"]), Vec::<String>::new());
        assert!(!listed(&mut client, V1_4, &id).contains(&"Digest".to_owned()));
    }
}

#[test]
fn no_version_is_told_an_attribute_or_a_value_that_it_does_not_have() {
    let world = World::found();
    let (mut admin, mut service) = (world.admin(), world.service());
    let parameters = CryptographicParameters {
        block_cipher_mode: Some(BlockCipherMode::Aead),
        tag_length: Some(16),
        mask_generator: Some(MaskGenerator::Mgf1),
        ..CryptographicParameters::default()
    };
    let new = [
        AttributeValue::CryptographicParameters(parameters),
        AttributeValue::Comment("of 1.4"),
        AttributeValue::AlternativeName(AlternativeName { value: Some("of 1.2"), name_type: Some(AlternativeNameType::Uri) }),
        AttributeValue::Link(Link { link_type: Some(LinkType::Pkcs12PasswordLink), linked_object_identifier: Some("x") }),
    ];
    let id = admin.create(V1_4, &wish("billing", &new)).expect("1.4 has all of it");
    for version in ProtocolVersion::ALL {
        // Reading is as strict as the version: an illegal attribute, field or value would be an error.
        let told = told(&mut service, version, &id, &[]);
        let listed = listed(&mut service, version, &id);
        let has = |name: &str| told.iter().any(|attribute| attribute.starts_with(name));
        assert_eq!((has("Comment"), listed.contains(&"Comment".to_owned())), (version == V1_4, version == V1_4));
        assert_eq!((has("AlternativeName"), listed.contains(&"Alternative Name".to_owned())), (version >= V1_2, version >= V1_2));
        assert_eq!((has("Fresh"), has("CryptographicParameters")), (version > V1_0, true));
        assert_eq!(has("Extractable"), version == V1_4);
    }
}

#[test]
fn what_changes_moves_last_change_date_and_not_initial_date() {
    let world = World::found();
    let mut admin = world.admin();
    let id = admin.create(V1_0, &wish("billing", &[])).expect("a plain key");
    world.wait(50);
    admin.activate(&id).expect("a new key activates");
    let date = |name: fn(DateTime) -> AttributeValue<'static>, seconds| format!("{:?}", name(DateTime(START + seconds)));
    let expected =
        [date(AttributeValue::InitialDate, 0), date(AttributeValue::ActivationDate, 50), date(AttributeValue::LastChangeDate, 50)];
    assert_eq!(told(&mut admin, V1_0, &id, &["Initial Date", "Activation Date", "Last Change Date"]), expected);
}

#[test]
fn a_destroyed_key_keeps_its_attributes() {
    let world = World::found();
    let mut admin = world.admin();
    let id = admin.create(V1_0, &wish("billing", &[named("gone")])).expect("the name is free");
    admin.destroy(&id).expect("a Pre-Active key is destroyed");
    let told = told(&mut admin, V1_0, &id, &["Name", "State", "Destroy Date", "Cryptographic Length"]);
    assert_eq!(told.len(), 4);
    assert!(told[0].contains("gone") && told[2] == "State(Destroyed)" && told[3].contains(&START.to_string()), "{told:?}");
}
