//! Locate by every filter, alone and together.

use keys::policy::Role;
use kmip::ttlv::{ByteString, DateTime, Value};
use kmip::*;

use crate::world::*;
use ProtocolVersion::{V1_0, V1_2, V1_3, V1_4};

/// Three keys of acme's billing, an hour apart: `a` Pre-Active with everything set, `b` Active, `c` revoked as compromised.
struct Keys {
    a: String,
    b: String,
    c: String,
    default: String,
}

fn keys(world: &World) -> Keys {
    use AttributeValue as A;
    let mut admin = world.admin();
    let a = [
        named("a"),
        A::Name(Name { value: Some("urn:a"), name_type: Some(NameType::Uri) }),
        A::ActivationDate(DateTime(START + 90_000)),
        A::OriginalCreationDate(DateTime(START - 90_000)),
        A::ObjectGroup("archive"),
        A::Sensitive(true),
        A::Extractable(true),
        A::ContactInformation("ops"),
        A::Comment("why"),
        A::OperationPolicyName("default"),
        A::Link(Link { link_type: Some(LinkType::ParentLink), linked_object_identifier: Some("elsewhere") }),
        A::ApplicationSpecificInformation(ApplicationSpecificInformation { namespace: Some("ssl"), data: Some("www") }),
        A::Custom("x-text", Value::TextString("one")),
        A::Custom("x-text", Value::TextString("two")),
        A::Custom("x-bytes", Value::ByteString(ByteString(&[1, 2, 3]))),
    ];
    // Newest first is told apart by the millisecond.
    world.wait(1);
    let a = admin.create(V1_4, &wish("billing", &a)).expect("all of it is legal");
    world.wait(3599);
    let mut small = wish("billing", &[named("b")]);
    small[1] = A::CryptographicLength(128);
    small[2] = A::CryptographicUsageMask(CryptographicUsageMask(0x30));
    let b = admin.create(V1_4, &small).expect("a plain key");
    admin.activate(&b).expect("a new key activates");
    world.wait(3600);
    let c = admin.create(V1_4, &wish("billing", &[named("c")])).expect("a plain key");
    admin.revoke(&c, RevocationReasonCode::KeyCompromise).expect("a Pre-Active key is declared compromised");
    admin.create(V1_4, &wish("payroll", &[named("a")])).expect("another service's");
    Keys { a, b, c, default: world.default_key() }
}

#[test]
fn each_filter_finds_what_matches_newest_first() {
    use AttributeValue as A;
    let world = World::found();
    let Keys { a, b, c, default } = keys(&world);
    let (a, b, c, d) = (a.as_str(), b.as_str(), c.as_str(), default.as_str());
    let text = |name, value| A::Custom(name, Value::TextString(value));
    let at = |seconds| DateTime(START + seconds);
    let cases: Vec<(Vec<AttributeValue<'_>>, Vec<&str>)> = vec![
        (vec![], vec![c, b, a, d]),
        (vec![A::UniqueIdentifier(b)], vec![b]),
        (vec![A::UniqueIdentifier("L3-nothing")], vec![]),
        (vec![named("a")], vec![a]),
        (vec![named("nobody's")], vec![]),
        (vec![A::Name(Name { value: Some("urn:a"), name_type: None })], vec![a]),
        (vec![A::Name(Name { value: Some("urn:a"), name_type: Some(NameType::UninterpretedTextString) })], vec![]),
        (vec![A::Name(Name { value: None, name_type: Some(NameType::Uri) })], vec![a]),
        (vec![A::Name(Name { value: None, name_type: None })], vec![c, b, a]),
        (vec![named("a"), named("b")], vec![]),
        (vec![A::ObjectType(ObjectType::SymmetricKey)], vec![c, b, a, d]),
        (vec![A::ObjectType(ObjectType::SecretData)], vec![]),
        (vec![A::CryptographicAlgorithm(CryptographicAlgorithm::Aes), A::CryptographicLength(128)], vec![b]),
        (vec![A::CryptographicAlgorithm(CryptographicAlgorithm::Rsa)], vec![]),
        (vec![A::CryptographicUsageMask(CryptographicUsageMask(0x10))], vec![b]),
        (vec![A::CryptographicUsageMask(CryptographicUsageMask(0x14))], vec![]),
        (vec![A::CryptographicUsageMask(CryptographicUsageMask(0))], vec![c, b, a, d]),
        (vec![A::State(State::PreActive)], vec![a]),
        (vec![A::State(State::Active)], vec![b, d]),
        (vec![A::State(State::Compromised)], vec![c]),
        (vec![A::State(State::Destroyed)], vec![]),
        (vec![A::RevocationReason(RevocationReason { code: Some(RevocationReasonCode::KeyCompromise), message: None })], vec![c]),
        (vec![A::RevocationReason(RevocationReason { code: None, message: Some("said the test") })], vec![c]),
        (vec![A::RevocationReason(RevocationReason { code: None, message: Some("said another") })], vec![]),
        (vec![A::ObjectGroup("billing")], vec![c, b, a, d]),
        (vec![A::ObjectGroup("billing"), A::ObjectGroup("archive")], vec![a]),
        (vec![A::ObjectGroup("payroll")], vec![]),
        (vec![A::Sensitive(true)], vec![a]),
        (vec![A::AlwaysSensitive(false), A::NeverExtractable(true)], vec![c, b, d]),
        (vec![A::Extractable(true)], vec![a]),
        (vec![A::Fresh(true)], vec![c, b, a, d]),
        (vec![A::Fresh(false)], vec![]),
        (vec![A::ContactInformation("ops")], vec![a]),
        (vec![A::ContactInformation("op")], vec![]),
        (vec![A::Comment("why")], vec![a]),
        (vec![A::OperationPolicyName("default")], vec![a]),
        (vec![A::Link(Link { link_type: None, linked_object_identifier: Some("elsewhere") })], vec![a]),
        (vec![A::Link(Link { link_type: Some(LinkType::ChildLink), linked_object_identifier: Some("elsewhere") })], vec![]),
        (vec![A::ApplicationSpecificInformation(ApplicationSpecificInformation { namespace: Some("ssl"), data: None })], vec![a]),
        (vec![A::ApplicationSpecificInformation(ApplicationSpecificInformation { namespace: Some("ssl"), data: Some("ftp") })], vec![]),
        (vec![text("x-text", "one"), text("x-text", "two")], vec![a]),
        (vec![text("x-text", "three")], vec![]),
        (vec![text("x-other", "one")], vec![]),
        (vec![A::Custom("x-bytes", Value::ByteString(ByteString(&[1, 2, 3])))], vec![a]),
        (vec![A::Custom("x-bytes", Value::TextString("\u{1}\u{2}\u{3}"))], vec![]),
        (vec![A::InitialDate(at(3600))], vec![b]),
        (vec![A::InitialDate(at(3600)), A::InitialDate(at(7200))], vec![c, b]),
        (vec![A::InitialDate(at(7200)), A::InitialDate(at(3600))], vec![c, b]),
        (vec![A::InitialDate(at(2)), A::InitialDate(at(3599))], vec![]),
        (vec![A::ActivationDate(at(90_000))], vec![a]),
        (vec![A::ActivationDate(DateTime(i64::MAX))], vec![c]),
        (vec![A::ActivationDate(at(3600)), A::ActivationDate(DateTime(i64::MAX))], vec![c, b, a]),
        (vec![A::CompromiseDate(at(7200))], vec![c]),
        (vec![A::CompromiseOccurrenceDate(DateTime(0))], vec![c]),
        (vec![A::LastChangeDate(at(7200))], vec![c]),
        (vec![A::OriginalCreationDate(DateTime(START - 90_000))], vec![a]),
        (vec![A::ArchiveDate(at(0))], vec![]),
        (vec![A::Digest(Digest { hashing_algorithm: Some(HashingAlgorithm::Sha256), digest_value: None, key_format_type: None })], vec![]),
        (vec![text("y-layer", "L3")], vec![c, b, a, d]),
        (vec![text("y-layer", "L4")], vec![]),
        (vec![text("y-service", "billing")], vec![c, b, a, d]),
        (vec![text("y-service", "payroll")], vec![]),
        (vec![text("y-service", "No Name")], vec![]),
        (vec![A::Custom("y-version", Value::Integer(1))], vec![c, b, a, d]),
        (vec![A::Custom("y-version", Value::Integer(2))], vec![]),
        (vec![text("y-version", "1")], vec![]),
        (vec![text("y-parent", a)], vec![]),
        (vec![text("y-parent", "IVK.1")], vec![]),
        (vec![named("b"), A::State(State::Active), A::CryptographicLength(128), text("y-layer", "L3")], vec![b]),
        (vec![named("b"), A::State(State::PreActive)], vec![]),
    ];
    let mut service = world.service();
    for (filters, expected) in cases {
        let found = service.locate(V1_4, &filters).expect("the filters are legal");
        assert_eq!(found, expected, "{filters:?}");
    }
    let l2 = world.admin().locate(V1_0, &[text("y-layer", "L2")]).expect("an admin looks");
    assert_eq!(service.locate(V1_4, &[text("y-parent", &l2[0])]), Ok([c, b, a, d].map(ToOwned::to_owned).to_vec()));
    let foreign = world.client(Role::TenantAdmin, "globex", "").locate(V1_0, &[text("y-layer", "L2")]).expect("an admin looks");
    assert_eq!(service.locate(V1_4, &[text("y-parent", &foreign[0])]), Ok(vec![]));
    assert_eq!(world.admin().locate(V1_4, &[named("a")]).map(|found| found.len()), Ok(2), "an admin sees all services");
    assert_eq!(world.client(Role::Service, "globex", "billing").locate(V1_4, &[named("a")]), Ok(vec![]));
}

#[test]
fn a_destroyed_key_is_found_by_who_asks_for_destroyed_ones() {
    use AttributeValue as A;
    let world = World::found();
    let mut admin = world.admin();
    let id = admin.create(V1_0, &wish("billing", &[named("gone")])).expect("the name is free");
    admin.destroy(&id).expect("a Pre-Active key is destroyed");
    assert_eq!(admin.locate(V1_0, &[named("gone")]), Ok(vec![]));
    assert_eq!(admin.locate(V1_0, &[A::UniqueIdentifier(&id)]), Ok(vec![]), "SKFF-M-5");
    for filter in [A::State(State::Destroyed), A::DestroyDate(DateTime(START))] {
        assert_eq!(admin.locate(V1_0, &[named("gone"), A::UniqueIdentifier(&id), filter]), Ok(vec![id.clone()]));
    }
}

#[test]
fn what_nobody_understands_is_an_invalid_field() {
    use AttributeValue as A;
    let world = World::found();
    let mut service = world.service();
    let date = |seconds| A::InitialDate(DateTime(seconds));
    for filters in [vec![A::Custom("y-colour", Value::TextString("red"))], vec![date(1), date(2), date(3)]] {
        assert_eq!(why(service.locate(V1_0, &filters)), ResultReason::InvalidField, "{filters:?}");
    }
    for request in [
        LocateRequest { maximum_items: Some(-1), ..LocateRequest::default() },
        LocateRequest { offset_items: Some(-1), ..LocateRequest::default() },
        LocateRequest { object_group_member: Some(ObjectGroupMember::Extension(0x8000_0000)), ..LocateRequest::default() },
    ] {
        assert_eq!(why(service.call(V1_3, &request, |_| ())), ResultReason::InvalidField, "{request:?}");
    }
}

#[test]
fn pages_join_to_the_whole_and_say_how_many_there_are() {
    let world = World::found();
    let mut admin = world.admin();
    let mut create = || {
        world.wait(1);
        admin.create(V1_0, &wish("payroll", &[])).expect("a plain key")
    };
    let mut ids: Vec<_> = (0..7).map(|_| create()).collect();
    ids.reverse();
    let page = |client: &mut Client<'_>, version, maximum_items, offset_items| {
        let attributes = vec![bare(AttributeValue::ObjectGroup("payroll")), bare(AttributeValue::State(State::PreActive))];
        let request = LocateRequest { maximum_items, offset_items, attributes, ..LocateRequest::default() };
        let read = |answer: LocateResponse<'_>| {
            (answer.located_items, answer.unique_identifiers.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        client.call(version, &request, read).expect("the filters are legal")
    };
    let pages = [(0, 3), (3, 3), (6, 3)].map(|(offset, most)| page(&mut admin, V1_3, Some(most), Some(offset)));
    assert!(pages.iter().all(|page| page.0 == Some(7)));
    assert_eq!(pages.iter().flat_map(|page| page.1.clone()).collect::<Vec<_>>(), ids);
    assert_eq!(page(&mut admin, V1_3, None, Some(7)), (Some(7), vec![]));
    assert_eq!(page(&mut admin, V1_3, Some(0), None), (Some(7), vec![]));
    assert_eq!(page(&mut admin, V1_2, Some(2), None), (None, ids[..2].to_vec()), "before 1.3 there is no such count");
    assert_eq!(page(&mut admin, V1_4, None, None), (None, ids), "SKFF-M-5: who asks for no page is not told");
}

#[test]
fn a_name_inside_a_template_attribute_counts_in_either_form() {
    let world = World::found();
    let Keys { b, .. } = keys(&world);
    let name = Name { value: Some("b"), name_type: Some(NameType::UninterpretedTextString) };
    let nested = TemplateAttribute { names: vec![], attributes: vec![bare(AttributeValue::Name(name))] };
    let direct = TemplateAttribute { names: vec![name], attributes: vec![] };
    for template in [nested, direct] {
        let request = LocateRequest { maximum_items: Some(1), template_attribute: Some(template), ..LocateRequest::default() };
        for version in ProtocolVersion::ALL {
            let found = world.service().call(version, &request, |answer| answer.unique_identifiers.join(" "));
            assert_eq!(found.as_deref(), Ok(b.as_str()), "{version}");
        }
    }
}

#[test]
fn the_storage_status_says_where_to_look_as_field_and_as_attribute() {
    let world = World::found();
    let Keys { b, .. } = keys(&world);
    let (on_line, archival) = (StorageStatusMask::ON_LINE, StorageStatusMask::ARCHIVAL);
    for (mask, expected) in
        [(on_line, vec![b.clone()]), (StorageStatusMask(3), vec![b]), (archival, vec![]), (StorageStatusMask(0), vec![])]
    {
        let field = LocateRequest { storage_status_mask: Some(mask), attributes: vec![bare(named("b"))], ..LocateRequest::default() };
        let found = world.service().call(V1_0, &field, |answer| answer.unique_identifiers.iter().map(ToString::to_string).collect());
        assert_eq!(found, Ok(expected.clone()), "{mask:?}");
        assert_eq!(world.service().locate(V1_0, &[named("b"), AttributeValue::StorageStatusMask(mask)]), Ok(expected));
    }
}

#[test]
fn the_default_member_of_a_group_is_the_services_default_key() {
    let world = World::found();
    let Keys { default, .. } = keys(&world);
    let member = |member| LocateRequest {
        object_group_member: Some(member),
        attributes: vec![bare(AttributeValue::ObjectGroup("billing"))],
        ..LocateRequest::default()
    };
    let read = |answer: LocateResponse<'_>| answer.unique_identifiers.iter().map(ToString::to_string).collect::<Vec<_>>();
    let mut admin = world.admin();
    assert_eq!(admin.call(V1_2, &member(ObjectGroupMember::GroupMemberDefault), read), Ok(vec![default.clone()]));
    assert_eq!(admin.call(V1_2, &member(ObjectGroupMember::GroupMemberFresh), read).map(|found| found.len()), Ok(4));
}

/// In a batch the default is the one that the batch has made: whoever goes on with what Locate found does not hit the key before it.
#[test]
fn the_default_member_of_a_group_is_the_one_that_the_batch_has_made() {
    let world = World::found();
    let mut admin = world.admin();
    let old = world.default_key();
    let mut batch = Batch::new(V1_2);
    let rekeyed = batch.push(&ReKeyRequest { unique_identifier: Some(&old), ..ReKeyRequest::default() }).expect("1.0 has Re-key");
    let found = LocateRequest {
        object_group_member: Some(ObjectGroupMember::GroupMemberDefault),
        attributes: vec![bare(AttributeValue::ObjectGroup("billing"))],
        ..LocateRequest::default()
    };
    let found = batch.push(&found).expect("1.1 has the field");
    let sent = batch.finish();
    let answer = admin.ask(&sent.bytes);
    let answers = sent.answers(&answer).expect("it fits the request");
    let new = answers.get(&rekeyed).expect("it is replaced").unique_identifier;
    assert_eq!(answers.get(&found).expect("it is found").unique_identifiers, [new]);
}
