//! Re-key: what the replacement has, what becomes of the key it replaces, and what cannot be meant.

use kmip::ttlv::{ByteString, DateTime, Interval, Value};
use kmip::*;

use crate::world::*;
use ProtocolVersion::{V1_0, V1_2, V1_4};
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
    client.call(V1_4, &request, |answer| {
        assert_eq!(answer.template_attribute, None);
        answer.unique_identifier.to_owned()
    })
}

fn one(client: &mut Client<'_>, id: &str, name: &str) -> Option<String> {
    let mut instances = client.instances(id, name);
    assert!(instances.len() < 2, "{instances:?}");
    instances.pop().map(|instance| instance.1)
}

fn encrypts(client: &mut Client<'_>, id: &str) -> Result<(Vec<u8>, Vec<u8>), Failed> {
    let request = EncryptRequest { unique_identifier: Some(id), data: Some(ByteString(b"an invoice")), ..EncryptRequest::default() };
    client.call(V1_2, &request, |answer| (answer.data.expect("whole").0.to_vec(), answer.iv_counter_nonce.expect("whole").0.to_vec()))
}

fn decrypts(client: &mut Client<'_>, id: &str, (data, iv): &(Vec<u8>, Vec<u8>)) -> Result<Vec<u8>, Failed> {
    let (data, iv_counter_nonce) = (Some(ByteString(data)), Some(ByteString(iv)));
    let request = DecryptRequest { unique_identifier: Some(id), data, iv_counter_nonce, ..DecryptRequest::default() };
    client.call(V1_2, &request, |answer| answer.data.expect("whole").0.to_vec())
}

#[test]
fn a_replacement_takes_names_and_attributes_over_in_every_version() {
    use AttributeValue as A;
    for version in ProtocolVersion::ALL {
        let world = World::found();
        let (mut admin, mut service) = (world.admin(), world.service());
        let more =
            [named("first"), named("second"), A::Custom("x-a", Value::Integer(7)), A::ObjectGroup("vip"), A::ContactInformation("me")];
        let old = admin.create(version, &wish("billing", &more)).expect("a plain key");
        admin.activate(&old).expect("it is new");
        admin.delete(V1_4, &old, "Name", Some(0)).expect("it is there");
        let sealed = encrypts(&mut service, &old).expect("it is Active");
        world.wait(60);
        let new = admin.rekey(version, &old).expect("an Active key");
        assert_ne!(new, old);
        assert_eq!((admin.state(&old), admin.state(&new)), (State::Deactivated, State::Active), "{version}");
        assert_eq!(service.locate(version, &[named("second")]), Ok(vec![new.clone()]));
        assert_eq!(admin.instances(&old, "Name"), []);
        assert_eq!(admin.instances(&new, "Name")[0].0, Some(1), "an index goes with its name");
        assert_eq!(admin.instances(&new, "Object Group").len(), 2);
        for name in ["x-a", "Contact Information", "Cryptographic Length", "Cryptographic Usage Mask"] {
            assert_eq!(admin.instances(&new, name), admin.instances(&old, name), "{name}");
        }
        let date = |seconds| Some(format!("{:?}", DateTime(START + seconds)));
        let told = |client: &mut Client<'_>, id: &str, name| {
            one(client, id, name).map(|text| text.split_once('(').expect("a value").1.trim_end_matches(')').to_owned() + ")")
        };
        assert_eq!(told(&mut admin, &new, "Initial Date"), date(60));
        assert_eq!(told(&mut admin, &new, "Activation Date"), date(0), "copied");
        assert_eq!(told(&mut admin, &old, "Deactivation Date"), date(60));
        assert_eq!(told(&mut admin, &old, "Last Change Date"), date(60));
        for name in ["Deactivation Date", "Revocation Reason", "Compromise Date", "Destroy Date"] {
            assert_eq!(one(&mut admin, &new, name), None, "{name}");
        }
        let link = |client: &mut Client<'_>, id: &str| client.instances(id, "Link").pop().expect("a link");
        assert_eq!(
            link(&mut admin, &old),
            (
                Some(0),
                format!("{:?}", A::Link(Link { link_type: Some(LinkType::ReplacementObjectLink), linked_object_identifier: Some(&new) }))
            )
        );
        assert_eq!(
            link(&mut admin, &new),
            (
                Some(0),
                format!("{:?}", A::Link(Link { link_type: Some(LinkType::ReplacedObjectLink), linked_object_identifier: Some(&old) }))
            )
        );
        assert_eq!(why(encrypts(&mut service, &old)), R::PermissionDenied);
        assert_eq!(decrypts(&mut service, &old, &sealed).as_deref(), Ok(b"an invoice".as_slice()));
        // One time in 256 what comes out ends like a padding.
        assert_ne!(decrypts(&mut service, &new, &sealed).ok().as_deref(), Some(b"an invoice".as_slice()), "other bytes");
        encrypts(&mut service, &new).expect("it is Active");
        let version_of = |client: &mut Client<'_>, id: &str| one(client, id, "y-version").expect("it has one");
        assert!(version_of(&mut admin, &old).contains("Integer(1)") && version_of(&mut admin, &new).contains("Integer(2)"));
    }
}

#[test]
fn a_key_is_found_by_its_links() {
    let world = World::found();
    let (mut admin, old) = (world.admin(), world.key());
    world.wait(1);
    let new = admin.rekey(V1_0, &old).expect("an Active key");
    world.wait(1);
    let third = admin.rekey(V1_0, &new).expect("an Active key");
    let mut find = |link_type, target| admin.locate(V1_0, &[AttributeValue::Link(Link { link_type, linked_object_identifier: target })]);
    assert_eq!(find(Some(LinkType::ReplacementObjectLink), Some(new.as_str())), Ok(vec![old.clone()]));
    assert_eq!(find(Some(LinkType::ReplacedObjectLink), Some(new.as_str())), Ok(vec![third.clone()]));
    assert_eq!(find(None, Some(new.as_str())), Ok(vec![third.clone(), old.clone()]));
    assert_eq!(find(Some(LinkType::ReplacementObjectLink), None), Ok(vec![new.clone(), old.clone()]));
    assert_eq!(find(Some(LinkType::PublicKeyLink), None), Ok(vec![]));
}

#[test]
fn the_links_of_a_client_and_those_of_the_server_keep_their_indexes() {
    let world = World::found();
    let (mut admin, old) = (world.admin(), world.key());
    let link = |target| AttributeValue::Link(Link { link_type: Some(LinkType::PublicKeyLink), linked_object_identifier: Some(target) });
    let kinds = |client: &mut Client<'_>, id: &str| {
        let all = client.instances(id, "Link");
        all.into_iter().map(|(index, text)| (index.expect("several are possible"), text.contains("PublicKey"))).collect::<Vec<_>>()
    };
    assert_eq!([admin.add(V1_4, &old, link("a")), admin.add(V1_4, &old, link("b"))], [Ok(Some(0)), Ok(Some(1))]);
    let new = rekey_as(&mut admin, &old, None, template(&[link("c")])).expect("an Active key");
    assert_eq!(kinds(&mut admin, &old), [(0, true), (1, true), (2, false)]);
    assert_eq!(kinds(&mut admin, &new), [(0, false), (1, true)]);
    admin.delete(V1_4, &old, "Link", Some(1)).expect("it is the client's");
    assert_eq!(admin.add(V1_4, &old, link("d")), Ok(Some(3)));
    assert_eq!(kinds(&mut admin, &old), [(0, true), (2, false), (3, true)]);
    assert_eq!(why(admin.delete(V1_4, &old, "Link", Some(2))), R::PermissionDenied);
    assert_eq!(why(admin.modify(V1_4, &new, None, link("x"))), R::PermissionDenied);
    let forged = AttributeValue::Link(Link { link_type: Some(LinkType::ReplacedObjectLink), linked_object_identifier: Some("x") });
    assert_eq!(why(rekey_as(&mut admin, &new, None, template(&[forged]))), R::InvalidField);
}

#[test]
fn a_template_puts_its_attributes_in_place_of_the_copied_ones() {
    use AttributeValue as A;
    let world = World::found();
    let mut admin = world.admin();
    let more = [named("old"), named("older"), A::ContactInformation("me"), A::Comment("kept")];
    let old = admin.create(V1_4, &wish("billing", &more)).expect("a plain key");
    admin.activate(&old).expect("it is new");
    let wanted =
        [named("new"), A::ContactInformation("you"), A::CryptographicLength(256), A::CryptographicUsageMask(CryptographicUsageMask(12))];
    let new = rekey_as(&mut admin, &old, None, template(&wanted)).expect("an Active key");
    assert_eq!(admin.locate(V1_4, &[named("new")]), Ok(vec![new.clone()]));
    assert_eq!(admin.locate(V1_4, &[named("old")]), Ok(vec![]));
    assert_eq!(admin.instances(&new, "Name").len(), 1);
    assert!(one(&mut admin, &new, "Contact Information").is_some_and(|text| text.contains("you")));
    assert!(one(&mut admin, &new, "Comment").is_some_and(|text| text.contains("kept")));
    admin.create(V1_4, &wish("billing", &[named("old")])).expect("nobody holds the name");
}

#[test]
fn what_a_replacement_cannot_be_is_refused_and_changes_nothing() {
    use AttributeValue as A;
    let world = World::found();
    let (mut admin, old) = (world.admin(), world.key());
    world.admin().create(V1_4, &wish("billing", &[named("taken")])).expect("the name is free");
    let date = DateTime(START + 100);
    let names = Some(TemplateAttribute { names: vec![Name { value: Some("t"), name_type: Some(NameType::Uri) }], attributes: vec![] });
    let cases: Vec<(&str, Option<u32>, Option<TemplateAttribute<'_>>, R)> = vec![
        ("another algorithm", None, template(&[A::CryptographicAlgorithm(CryptographicAlgorithm::TripleDES)]), R::InvalidField),
        ("another length", None, template(&[A::CryptographicLength(128)]), R::InvalidField),
        ("another mask", None, template(&[A::CryptographicUsageMask(CryptographicUsageMask(48))]), R::InvalidField),
        ("a server's attribute", None, template(&[A::State(State::Active)]), R::InvalidField),
        ("a server's custom attribute", None, template(&[A::Custom("y-layer", Value::TextString("L2"))]), R::InvalidField),
        ("one thing twice", None, template(&[A::ContactInformation("a"), A::ContactInformation("b")]), R::InvalidField),
        ("a name that is taken", None, template(&[named("taken")]), R::InvalidField),
        ("a template", None, names, R::ItemNotFound),
        ("activated later", None, template(&[A::ActivationDate(date)]), R::InvalidField),
        ("ended before", None, template(&[A::DeactivationDate(DateTime(START - 1))]), R::InvalidField),
        ("an offset", Some(1), None, R::FeatureNotSupported),
        ("offset and activation", Some(0), template(&[A::ActivationDate(date)]), R::InvalidMessage),
        ("offset and process start", Some(0), template(&[A::ProcessStartDate(date)]), R::InvalidMessage),
        ("offset and protect stop", Some(1), template(&[A::ProtectStopDate(date)]), R::InvalidMessage),
        ("offset and deactivation", Some(0), template(&[A::DeactivationDate(date)]), R::InvalidMessage),
    ];
    let before = world.store.rows().clone();
    for (case, offset, template, reason) in cases {
        assert_eq!(rekey_as(&mut admin, &old, offset, template).map_err(|failed| failed.reason), Err(reason), "{case}");
    }
    assert_eq!(*world.store.rows(), before);
    let new = admin.rekey(V1_4, &old).expect("an Active key");
    let again = admin.rekey(V1_4, &old).expect_err("only the newest is replaced");
    assert!(again.reason == R::PermissionDenied && again.message.contains(&new), "{}", again.message);
    admin.revoke(&new, RevocationReasonCode::Unspecified).and_then(|_| admin.destroy(&new)).expect("it goes");
    assert_eq!(why(admin.rekey(V1_4, &new)), R::PermissionDenied, "nothing is left of it");
    assert_eq!(why(world.service().rekey(V1_4, &new)), R::PermissionDenied);
}

#[test]
fn an_offset_of_zero_moves_all_dates_by_as_much_as_the_activation() {
    use AttributeValue as A;
    let world = World::found();
    let mut admin = world.admin();
    let at = |seconds| DateTime(START + seconds);
    let dates = [A::ActivationDate(at(0)), A::ProcessStartDate(at(10)), A::ProtectStopDate(at(2000)), A::DeactivationDate(at(3000))];
    let old = admin.create(V1_4, &wish("billing", &dates)).expect("the dates are in order");
    world.wait(500);
    let new = rekey_as(&mut admin, &old, Some(0), None).expect("an Active key");
    for (name, date) in [("Activation Date", 500), ("Process Start Date", 510), ("Protect Stop Date", 2500), ("Deactivation Date", 3500)] {
        let told = one(&mut admin, &new, name).expect("it is copied");
        assert!(told.contains(&(START + date).to_string()), "{name}: {told}");
    }
    let idle = admin.create(V1_4, &wish("billing", &[A::DeactivationDate(at(9000))])).expect("a plain key");
    assert_eq!(why(rekey_as(&mut admin, &idle, Some(0), None)), R::IllegalOperation, "no Activation Date to count from");
}

#[test]
fn each_state_is_replaced_as_it_should_be() {
    let world = World::found();
    let mut admin = world.admin();
    for (state, then, next) in [
        (State::PreActive, State::Deactivated, State::PreActive),
        (State::Active, State::Deactivated, State::Active),
        (State::Deactivated, State::Deactivated, State::Active),
        (State::Compromised, State::Compromised, State::Active),
    ] {
        let old = admin.create(V1_4, &wish("billing", &[])).expect("a plain key");
        if [State::Active, State::Deactivated].contains(&state) {
            admin.activate(&old).expect("it is new");
        }
        match state {
            State::Deactivated => drop(admin.revoke(&old, RevocationReasonCode::Unspecified).expect("it is Active")),
            State::Compromised => drop(admin.revoke(&old, RevocationReasonCode::KeyCompromise).expect("it is Pre-Active")),
            _ => {}
        }
        let new = admin.rekey(V1_4, &old).unwrap_or_else(|failed| panic!("{state:?}: {}", failed.message));
        assert_eq!((admin.state(&old), admin.state(&new)), (then, next), "{state:?}");
    }
}

#[test]
fn a_default_key_is_replaced_and_its_successor_is_the_default() {
    let world = World::found();
    let old = world.default_key();
    let mut admin = world.admin();
    let new = admin.rekey(V1_0, &old).expect("it is replaced, never revoked");
    assert_eq!(world.default_key(), new);
    encrypts(&mut world.service(), &new).expect("it is Active");
    assert_eq!(why(admin.revoke(&new, RevocationReasonCode::Unspecified)), R::PermissionDenied);
    admin.revoke(&old, RevocationReasonCode::KeyCompromise).expect("it is the default no more");
}

#[test]
fn a_template_neither_takes_the_group_of_the_service_nor_brings_anothers() {
    use AttributeValue as A;
    let world = World::found();
    let (mut admin, old) = (world.admin(), world.key());
    for (groups, reason) in [
        (vec![A::ObjectGroup("vip")], R::PermissionDenied),
        (vec![A::ObjectGroup("payroll")], R::InvalidField),
        (vec![A::ObjectGroup("billing"), A::ObjectGroup("payroll")], R::InvalidField),
    ] {
        assert_eq!(why(rekey_as(&mut admin, &old, None, template(&groups))), reason, "{groups:?}");
    }
    let both = [A::ObjectGroup("billing"), A::ObjectGroup("vip")];
    let new = rekey_as(&mut admin, &old, None, template(&both)).expect("an Active key");
    assert_eq!(admin.instances(&new, "Object Group").len(), 2);
}
