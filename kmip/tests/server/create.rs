//! What Create takes, what it stores, and what it refuses.

use std::sync::atomic::Ordering;

use futures_executor::block_on;
use keys::policy::{Action, Role};
use keys::record::Outcome;
use kmip::ttlv::{BigInteger, ByteString, DateTime, Interval, Value};
use kmip::*;

use crate::world::*;
use ProtocolVersion::{V1_0, V1_2, V1_3, V1_4};

/// Everything that a client may set in 1.4, each with a value that reads back as it is.
fn everything() -> Vec<AttributeValue<'static>> {
    use AttributeValue as A;
    wish(
        "billing",
        &[
            named("one"),
            A::Name(Name { value: Some("urn:two"), name_type: Some(NameType::Uri) }),
            A::CryptographicParameters(CryptographicParameters {
                block_cipher_mode: Some(BlockCipherMode::Cbc),
                ..CryptographicParameters::default()
            }),
            A::OperationPolicyName("default"),
            A::ActivationDate(DateTime(START + 10)),
            A::ProcessStartDate(DateTime(START + 20)),
            A::ProtectStopDate(DateTime(START + 30)),
            A::DeactivationDate(DateTime(START + 40)),
            A::ObjectGroup("archive"),
            A::Fresh(true),
            A::Link(Link { link_type: Some(LinkType::ParentLink), linked_object_identifier: Some("elsewhere") }),
            A::ApplicationSpecificInformation(ApplicationSpecificInformation { namespace: Some("ssl"), data: Some("www.example.com") }),
            A::ContactInformation("ops@example.com"),
            A::AlternativeName(AlternativeName { value: Some("dns"), name_type: Some(AlternativeNameType::DnsName) }),
            A::OriginalCreationDate(DateTime(START - 1)),
            A::Description("what it is"),
            A::Comment("what else"),
            A::Sensitive(true),
            A::Extractable(true),
            A::Custom("x-a", Value::TextString("text")),
            A::Custom("x-a", Value::TextString("text again")),
            A::Custom("x-b", Value::Integer(-7)),
            A::Custom("x-c", Value::LongInteger(7)),
            A::Custom("x-d", Value::Enumeration(7)),
            A::Custom("x-e", Value::Boolean(true)),
            A::Custom("x-f", Value::ByteString(ByteString(&[1, 2, 3]))),
            A::Custom("x-g", Value::DateTime(DateTime(7))),
            A::Custom("x-h", Value::Interval(Interval(7))),
            A::Custom("x-i", Value::BigInteger(BigInteger(&[0, 0, 0, 0, 0, 0, 0, 7]))),
        ],
    )
}

#[test]
fn everything_that_is_set_reads_back() {
    let world = World::found();
    let id = world.admin().create(V1_4, &everything()).expect("all of it is legal");
    let request = GetAttributesRequest { unique_identifier: Some(&id), attribute_names: vec![] };
    let missing = world.service().call(V1_4, &request, |answer| {
        let has = |wanted: &AttributeValue<'_>| answer.attributes.iter().any(|attribute| attribute.value == *wanted);
        let missing: Vec<_> = everything().iter().filter(|wanted| !has(wanted)).map(|wanted| format!("{wanted:?}")).collect();
        let second =
            answer.attributes.iter().find(|attribute| attribute.value == AttributeValue::Custom("x-a", Value::TextString("text again")));
        assert_eq!(second.and_then(|attribute| attribute.index), Some(1));
        missing
    });
    assert_eq!(missing, Ok(vec![]));
}

#[test]
fn what_only_the_server_sets_is_read_only() {
    let world = World::found();
    let mut admin = world.admin();
    use AttributeValue as A;
    let date = DateTime(START);
    let read_only = [
        A::UniqueIdentifier("L3-1"),
        A::ObjectType(ObjectType::SymmetricKey),
        A::Digest(Digest { hashing_algorithm: Some(HashingAlgorithm::Sha256), digest_value: None, key_format_type: None }),
        A::LeaseTime(Interval(1)),
        A::State(State::Active),
        A::InitialDate(date),
        A::DestroyDate(date),
        A::CompromiseDate(date),
        A::LastChangeDate(date),
        A::AlwaysSensitive(true),
        A::NeverExtractable(true),
        A::Custom("y-layer", Value::TextString("L2")),
        A::Custom("y-anything", Value::Integer(1)),
    ];
    for attribute in read_only {
        let failed = admin.create(V1_4, &wish("billing", std::slice::from_ref(&attribute))).expect_err("it is the server's");
        assert_eq!(failed.reason, ResultReason::InvalidField, "{attribute:?}");
        assert!(failed.message.contains("read only") && failed.message.contains(attribute.name()), "{}", failed.message);
    }
}

#[test]
fn what_cannot_be_kept_or_meant_is_refused_with_its_name() {
    let world = World::found();
    let mut admin = world.admin();
    use AttributeValue as A;
    let invalid = ResultReason::InvalidField;
    let date = |seconds| DateTime(START + seconds);
    let cases: Vec<(Vec<AttributeValue<'_>>, ResultReason, &str)> = vec![
        (vec![A::Fresh(false)], invalid, "Fresh"),
        (
            vec![A::UsageLimits(UsageLimits { total: Some(1), count: None, unit: Some(UsageLimitsUnit::Byte) })],
            ResultReason::FeatureNotSupported,
            "Usage Limits",
        ),
        (
            vec![A::ApplicationSpecificInformation(ApplicationSpecificInformation { namespace: Some("ssl"), data: None })],
            ResultReason::ApplicationNamespaceNotSupported,
            "Application Data",
        ),
        (vec![A::CryptographicDomainParameters(CryptographicDomainParameters::default())], invalid, "Cryptographic Domain Parameters"),
        (vec![A::Pkcs12FriendlyName("x")], invalid, "PKCS#12 Friendly Name"),
        (vec![A::ActivationDate(date(2)), A::ProcessStartDate(date(1))], invalid, "Process Start Date"),
        (vec![A::ProtectStopDate(date(2)), A::DeactivationDate(date(1))], invalid, "Protect Stop Date"),
        (vec![A::ActivationDate(date(2)), A::DeactivationDate(date(1))], invalid, "Deactivation Date"),
        (vec![A::ActivationDate(DateTime(i64::MAX))], invalid, "Activation Date"),
        (vec![A::DeactivationDate(DateTime(i64::MIN))], invalid, "Deactivation Date"),
        (vec![A::ContactInformation("a"), A::ContactInformation("b")], invalid, "Contact Information"),
        (vec![A::CryptographicLength(128)], invalid, "Cryptographic Length"),
        (vec![named("twice"), named("twice")], invalid, "Name"),
        (vec![A::Custom("x-long", Value::TextString(Box::leak("x".repeat(70_000).into_boxed_str())))], invalid, "65536"),
    ];
    for (attributes, reason, word) in cases {
        let failed = admin.create(V1_4, &wish("billing", &attributes)).expect_err(word);
        assert_eq!(failed.reason, reason, "{word}: {}", failed.message);
        assert!(failed.message.contains(word), "{}", failed.message);
    }
    let names: Vec<_> = (0..17).map(|index| index.to_string()).collect();
    let names: Vec<_> = names.iter().map(|name| named(name)).collect();
    assert_eq!(why(admin.create(V1_4, &wish("billing", &names))), ResultReason::IndexOutOfBounds);
    assert_eq!(world.store.rows().len(), World::found().store.rows().len(), "nothing of it was stored");
}

#[test]
fn a_key_keeps_64_attributes_and_is_in_16_groups_and_no_more() {
    use AttributeValue as A;
    let world = World::found();
    let mut admin = world.admin();
    let mut create = |more: Vec<AttributeValue<'_>>| {
        admin.create(V1_4, &wish("billing", &more)).map_err(|failed| {
            assert_eq!(failed.reason, ResultReason::IndexOutOfBounds, "{}", failed.message);
            failed.message
        })
    };
    let kept = |count| (0..count).map(|index| A::Custom("x-a", Value::Integer(index))).collect::<Vec<_>>();
    create(kept(64)).expect("64 are kept");
    assert_eq!(create(kept(65)), Err("x-a: a key has at most 64 attributes that the server only keeps".to_owned()));
    let mixed = [kept(64), vec![A::Comment("one more")]].concat();
    assert_eq!(create(mixed), Err("Comment: a key has at most 64 attributes that the server only keeps".to_owned()));
    let names: Vec<_> = (0..16).map(|index| format!("group {index}")).collect();
    let groups = |count: usize| names.iter().take(count).map(|name| A::ObjectGroup(name)).collect::<Vec<_>>();
    create(groups(15)).expect("with the service's own, 16 groups");
    assert_eq!(create(groups(16)), Err("Object Group: a key is in at most 16".to_owned()));
}

#[test]
fn a_date_that_contradicts_another_is_refused_with_both_names() {
    use AttributeValue as A;
    let world = World::found();
    let mut admin = world.admin();
    let activation = |seconds| A::ActivationDate(DateTime(START + seconds));
    let process_start = |seconds| A::ProcessStartDate(DateTime(START + seconds));
    let protect_stop = |seconds| A::ProtectStopDate(DateTime(START + seconds));
    let deactivation = |seconds| A::DeactivationDate(DateTime(START + seconds));
    let contradictions = [
        [activation(2), process_start(1)],
        [activation(2), protect_stop(1)],
        [activation(2), deactivation(1)],
        [process_start(2), deactivation(1)],
        [protect_stop(2), deactivation(1)],
    ];
    for dates in contradictions {
        let failed = admin.create(V1_0, &wish("billing", &dates)).expect_err("the second precedes the first");
        assert_eq!(failed.reason, ResultReason::InvalidField, "{dates:?}");
        assert_eq!(failed.message, format!("{}: it precedes {}", dates[1].name(), dates[0].name()));
    }
    for passed in [protect_stop(0), protect_stop(-1), deactivation(0), deactivation(-1)] {
        let failed = admin.create(V1_0, &wish("billing", std::slice::from_ref(&passed))).expect_err("it could never be used");
        assert_eq!(failed.reason, ResultReason::InvalidField, "{passed:?}");
        assert!(failed.message.contains(passed.name()) && failed.message.contains("Activation Date"), "{}", failed.message);
    }
    let same = [activation(1), process_start(1), protect_stop(1), deactivation(1)];
    let over = [activation(-9), protect_stop(-5), deactivation(-5)];
    for legal in [same.as_slice(), &over, &[protect_stop(1)], &[deactivation(1)], &[protect_stop(1), process_start(2)]] {
        admin.create(V1_0, &wish("billing", legal)).expect("nothing contradicts");
    }
}

#[test]
fn algorithm_length_and_mask_are_those_of_an_aes_key_for_data_or_for_keys() {
    let world = World::found();
    let mut admin = world.admin();
    let mut check = |position: usize, attribute: Option<AttributeValue<'static>>| {
        let mut attributes = wish("billing", &[]);
        match attribute {
            Some(attribute) => attributes[position] = attribute,
            None => drop(attributes.remove(position)),
        }
        admin.create(V1_0, &attributes).map(|_| ()).map_err(|failed| failed.reason)
    };
    let mask = |bits| Some(AttributeValue::CryptographicUsageMask(CryptographicUsageMask(bits)));
    for good in [0, 4, 8, 12, 0x10, 0x20, 0x30] {
        assert_eq!(check(2, mask(good)), Ok(()), "{good}");
    }
    for bad in [1, 2, 0x14, 0x2C, 0x3C, 0x40, 0x4C, 0x80, 0x200, -1, i32::MIN] {
        assert_eq!(check(2, mask(bad)), Err(ResultReason::InvalidField), "{bad}");
    }
    assert_eq!(check(2, None), Err(ResultReason::InvalidMessage));
    for bad in [-1, 0, 1, 64, 129, 512, i32::MAX] {
        assert_eq!(check(1, Some(AttributeValue::CryptographicLength(bad))), Err(ResultReason::InvalidField), "{bad}");
    }
    assert_eq!(check(1, None), Ok(()), "the server chooses 256");
    assert_eq!(check(0, None), Err(ResultReason::InvalidMessage));
    for bad in [CryptographicAlgorithm::TripleDES, CryptographicAlgorithm::Rsa, CryptographicAlgorithm::HmacSha256] {
        assert_eq!(check(0, Some(AttributeValue::CryptographicAlgorithm(bad))), Err(ResultReason::InvalidField));
    }
}

#[test]
fn object_group_names_the_service_and_may_be_left_out_where_there_is_only_one() {
    let world = World::found();
    let (mut acme, mut globex) = (world.admin(), world.client(Role::TenantAdmin, "globex", ""));
    let without = &wish("", &[])[..3];
    let failed = acme.create(V1_0, without).expect_err("acme has two services");
    assert_eq!(failed.reason, ResultReason::InvalidField);
    assert!(failed.message.contains("billing") && failed.message.contains("payroll"), "{}", failed.message);
    assert_eq!(why(acme.create(V1_0, &wish("nothing", &[]))), ResultReason::InvalidField);
    assert_eq!(why(acme.create(V1_0, &wish("billing", &[AttributeValue::ObjectGroup("payroll")]))), ResultReason::InvalidField);
    let id = globex.create(V1_0, without).expect("globex has one service");
    let mut service = world.client(Role::Service, "globex", "billing");
    assert_eq!(service.locate(V1_0, &[AttributeValue::ObjectGroup("billing"), AttributeValue::UniqueIdentifier(&id)]), Ok(vec![id]));
    let id = acme.create(V1_0, &wish("payroll", &[])).expect("a plain key");
    assert_eq!(world.service().locate(V1_0, &[AttributeValue::UniqueIdentifier(&id)]), Ok(vec![]));
}

#[test]
fn a_named_service_is_looked_up_alone() {
    let world = World::found();
    let names: Vec<_> = (0..20).map(|index| format!("service-{index}")).collect();
    block_on(world.settle("initech", &names.iter().map(String::as_str).collect::<Vec<_>>()));
    let mut admin = world.client(Role::TenantAdmin, "initech", "");
    let mut looked_at = |service: &str, more: &[AttributeValue<'_>]| {
        let before = world.store.services_found.load(Ordering::Relaxed);
        let made = admin.create(V1_0, &wish(service, more)).map(|_| ()).map_err(|failed| failed.message);
        (made, world.store.services_found.load(Ordering::Relaxed) - before)
    };
    let group = AttributeValue::ObjectGroup;
    assert_eq!(looked_at("service-7", &[]), (Ok(()), 1));
    assert_eq!(looked_at("service-7", &[]), (Ok(()), 0), "it is remembered");
    assert_eq!(looked_at("No Scope Name", &[group("service-9"), group("elsewhere"), group("service-9")]), (Ok(()), 1));
    let (failed, rows) = looked_at("service-10", &[group("service-11")]);
    let message = failed.expect_err("a key is of one service");
    assert!(message.contains("service-10") && message.contains("service-11"), "{message}");
    assert_eq!(rows, 2);
    let (failed, rows) = looked_at("No Scope Name", &[group("billing")]);
    assert!(failed.expect_err("neither is a service here").starts_with("Object Group"));
    assert_eq!(rows, 0);
}

#[test]
fn there_are_no_templates_to_name() {
    let world = World::found();
    let mut request = create_request(&wish("billing", &[]));
    request.template_attribute.names.push(Name { value: Some("gold"), name_type: Some(NameType::UninterpretedTextString) });
    assert_eq!(why(world.admin().call(V1_2, &request, |_| ())), ResultReason::ItemNotFound);
}

#[test]
fn a_name_is_unique_in_its_service_until_its_key_is_destroyed() {
    let world = World::found();
    let mut admin = world.admin();
    let id = admin.create(V1_0, &wish("billing", &[named("k")])).expect("the name is free");
    world.take_records();
    let failed = admin.create(V1_0, &wish("billing", &[named("k")])).expect_err("the name is taken");
    assert_eq!(failed.reason, ResultReason::InvalidField);
    assert_eq!(world.outcomes(), [(Action::Create, Outcome::Invalid)]);
    admin.create(V1_0, &wish("payroll", &[named("k")])).expect("another service's names are its own");
    admin.destroy(&id).expect("a Pre-Active key is destroyed");
    let again = admin.create(V1_0, &wish("billing", &[named("k")])).expect("the name is free again");
    assert_eq!(world.service().locate(V1_0, &[named("k")]), Ok(vec![again]));
}

#[test]
fn an_attribute_of_a_later_version_is_no_attribute_in_an_earlier_one() {
    let world = World::found();
    let mut batch = Batch::new(V1_4);
    batch.push(&create_request(&wish("billing", &[AttributeValue::Sensitive(true)]))).expect("1.0 has Create");
    let mut bytes = batch.finish().bytes;
    // The client half would leave it out, so the version is changed afterwards: the minor number is the 16 bytes after the major one.
    let minor = bytes.windows(3).position(|tag| tag == Tag::PROTOCOL_VERSION_MINOR.bytes()).expect("every header has one");
    bytes[minor + 11] = 3;
    assert_eq!(Request::decode(&bytes).map(|request| request.rules.version).expect("still a request"), V1_3);
    assert_eq!(only_item(&world.admin().ask(&bytes)).2, Some(ResultReason::InvalidField));
}
