//! Add, Modify and Delete Attribute: every attribute by its rules, indexes, names, dates and groups.

use futures_executor::block_on;
use keys::policy::Action;
use keys::record::Outcome;
use kmip::ttlv::{ByteString, DateTime, Interval, Value};
use kmip::*;

use crate::world::*;
use ProtocolVersion::{V1_0, V1_1, V1_2, V1_4};
use ResultReason::{IllegalOperation, IndexOutOfBounds, InvalidField, ItemNotFound, PermissionDenied};

/// What is expected of the three operations on a new, Pre-Active key; `None` is success.
pub(crate) struct Rule {
    pub(crate) value: AttributeValue<'static>,
    add: Option<ResultReason>,
    modify: Option<ResultReason>,
    delete: Option<ResultReason>,
}

/// A value of each attribute, grouped by what section 3 and section 11 say of it. Written from the standard's tables, not from the code's.
pub(crate) fn rules() -> Vec<Rule> {
    use AttributeValue as A;
    let future = DateTime(START + 1000);
    let bytes = Some(ByteString(b"x"));
    let rng = RngParameters {
        rng_algorithm: RngAlgorithm::Unspecified,
        cryptographic_algorithm: None,
        cryptographic_length: None,
        hashing_algorithm: None,
        drbg_algorithm: None,
        recommended_curve: None,
        fips186_variation: None,
        prediction_resistance: None,
    };
    let servers = vec![
        A::UniqueIdentifier("L3-1"),
        A::ObjectType(ObjectType::SymmetricKey),
        A::CertificateType(CertificateType::X509),
        A::CertificateLength(1),
        A::X509CertificateIdentifier(X509CertificateIdentifier { issuer: bytes, serial_number: bytes }),
        A::X509CertificateSubject(X509CertificateSubject { distinguished_name: bytes, alternative_names: vec![] }),
        A::X509CertificateIssuer(X509CertificateIssuer { distinguished_name: bytes, alternative_names: vec![] }),
        A::CertificateIdentifier(CertificateIdentifier { issuer: Some("x"), serial_number: None }),
        A::CertificateSubject(CertificateSubject { distinguished_name: Some("x"), alternative_names: vec![] }),
        A::CertificateIssuer(CertificateIssuer { distinguished_name: Some("x"), alternative_names: vec![] }),
        A::DigitalSignatureAlgorithm(DigitalSignatureAlgorithm::DsaWithSha1),
        A::Digest(Digest { hashing_algorithm: Some(HashingAlgorithm::Sha256), digest_value: bytes, key_format_type: None }),
        A::LeaseTime(Interval(1)),
        A::State(State::Active),
        A::InitialDate(future),
        A::DestroyDate(future),
        A::CompromiseOccurrenceDate(future),
        A::CompromiseDate(future),
        A::RevocationReason(RevocationReason { code: Some(RevocationReasonCode::Unspecified), message: None }),
        A::ArchiveDate(future),
        A::LastChangeDate(future),
        A::KeyValuePresent(true),
        A::AlwaysSensitive(true),
        A::NeverExtractable(true),
        A::Custom("y-layer", Value::TextString("L2")),
        A::Custom("y-new", Value::Integer(1)),
        A::Link(Link { link_type: Some(LinkType::ReplacementObjectLink), linked_object_identifier: Some("L3-1") }),
        A::Link(Link { link_type: Some(LinkType::ReplacedObjectLink), linked_object_identifier: Some("L3-1") }),
    ];
    let kept = vec![
        named("a name"),
        A::CryptographicParameters(CryptographicParameters { block_cipher_mode: Some(BlockCipherMode::Gcm), ..Default::default() }),
        A::ApplicationSpecificInformation(ApplicationSpecificInformation { namespace: Some("ssl"), data: Some("a") }),
        A::ContactInformation("me"),
        A::AlternativeName(AlternativeName { value: Some("n"), name_type: Some(AlternativeNameType::Uri) }),
        A::Description("d"),
        A::Comment("c"),
        A::Custom("x-Product", Value::TextString("p")),
    ];
    let fixed = vec![A::OperationPolicyName("default")];
    let dates = vec![A::ActivationDate(future), A::ProcessStartDate(future), A::ProtectStopDate(future), A::DeactivationDate(future)];
    let always_there = vec![
        A::CryptographicAlgorithm(CryptographicAlgorithm::Aes),
        A::CryptographicLength(256),
        A::CryptographicUsageMask(CryptographicUsageMask(48)),
        A::Fresh(false),
        A::OriginalCreationDate(DateTime(START)),
        A::RandomNumberGenerator(rng),
    ];
    let none_of_a_core = vec![
        A::KeyValueLocation(KeyValueLocation { value: Some("x"), location_type: Some(KeyValueLocationType::Uri) }),
        A::Pkcs12FriendlyName("x"),
        A::UsageLimits(UsageLimits { total: Some(1), count: None, unit: Some(UsageLimitsUnit::Byte) }),
    ];
    let none_and_fixed = vec![
        A::CryptographicDomainParameters(CryptographicDomainParameters { qlength: Some(1), recommended_curve: None }),
        A::StorageStatusMask(StorageStatusMask::ON_LINE),
    ];
    let (denied, invalid, missing, illegal) = (Some(PermissionDenied), Some(InvalidField), Some(ItemNotFound), Some(IllegalOperation));
    let rule = |add, modify, delete| move |value| Rule { value, add, modify, delete };
    let mut rules: Vec<Rule> = vec![];
    rules.extend(servers.into_iter().map(rule(denied, denied, denied)));
    rules.extend(kept.into_iter().map(rule(None, invalid, missing)));
    rules.extend(fixed.into_iter().map(rule(None, denied, denied)));
    rules.extend(dates.into_iter().map(rule(None, invalid, denied)));
    rules.extend(always_there.into_iter().map(rule(illegal, denied, denied)));
    rules.extend(none_of_a_core.into_iter().map(rule(denied, invalid, missing)));
    rules.extend(none_and_fixed.into_iter().map(rule(denied, denied, denied)));
    // The key is in its service's group, which stays; it becomes Sensitive, and does not become Extractable.
    rules.push(rule(None, denied, denied)(A::ObjectGroup("vip")));
    rules.push(rule(illegal, None, denied)(A::Sensitive(true)));
    rules.push(rule(illegal, denied, denied)(A::Extractable(true)));
    rules
}

#[test]
fn each_attribute_is_added_modified_and_deleted_as_its_rule_table_says_in_every_version() {
    let world = World::found();
    let mut admin = world.admin();
    let mut cells = 0;
    for version in ProtocolVersion::ALL {
        for Rule { value, add, modify, delete } in rules() {
            let (name, since) = (value.name(), value.standard().map_or(V1_0, |name| name.row().since));
            if !value.legal_in(version) && since <= version {
                continue; // A value of a later version: the reading of values is tested elsewhere.
            }
            let id = admin.create(version, &wish("billing", &[])).expect("a plain key");
            let case = format!("{name} ({value:?}) in {version}");
            let expected = |rule: Option<ResultReason>, unknown| if since > version { Some(unknown) } else { rule };
            // A server's Link is refused by its kind, but the key has no Link that could be deleted.
            let has_none = matches!(value, AttributeValue::Link(_)).then_some(ItemNotFound);
            let delete = has_none.or(delete);
            assert_eq!(
                admin.modify(version, &id, None, value.clone()).err().map(reason_of),
                expected(modify, InvalidField),
                "modify {case}"
            );
            assert_eq!(admin.delete(version, &id, name, None).err().map(reason_of), expected(delete, ItemNotFound), "delete {case}");
            assert_eq!(admin.add(version, &id, value).err().map(reason_of), expected(add, InvalidField), "add {case}");
            admin.destroy(&id).expect("it is Pre-Active, and its name is for the next version");
            cells += 3;
        }
    }
    counted(cells);
    assert!(cells > 700, "{cells}");
}

fn reason_of(failed: Failed) -> ResultReason {
    failed.reason
}

#[test]
fn every_attribute_of_the_table_has_a_rule() {
    let rules = rules();
    for name in AttributeName::ALL.iter().filter(|name| **name != AttributeName::Link) {
        assert!(rules.iter().any(|rule| rule.value.standard() == Some(*name)), "{name:?}");
    }
}

#[test]
fn a_date_can_be_set_in_the_states_that_section_3_names_and_in_no_other() {
    use AttributeValue as A;
    let names: [fn(DateTime) -> A<'static>; 4] = [A::ActivationDate, A::ProcessStartDate, A::ProtectStopDate, A::DeactivationDate];
    let mut cells = 0;
    for (index, name) in names.into_iter().enumerate() {
        for has_one in [false, true] {
            for state in [State::PreActive, State::Active, State::Deactivated, State::Compromised, State::Destroyed] {
                let world = World::found();
                let mut admin = world.admin();
                let given: Vec<_> = has_one.then(|| name(DateTime(START + 500))).into_iter().collect();
                let id = admin.create(V1_4, &wish("billing", &given)).expect("a date in the future");
                brought_to(&mut admin, &id, state);
                // An Active key has an Activation Date, and revoking sets a Deactivation Date.
                let has_one = !admin.instances(&id, name(DateTime(0)).name()).is_empty();
                let value = name(DateTime(START + 400));
                let set = if has_one { admin.modify(V1_4, &id, None, value) } else { admin.add(V1_4, &id, value) };
                // What an Active key has protected stays readable, so it gets no Process Start Date ahead.
                let is_interrupted = index == 1 && !has_one;
                let is_allowed = state == State::PreActive || (state == State::Active && index > 0 && !is_interrupted);
                let case = format!("{:?} in {state:?}, has one: {has_one}", name(DateTime(0)).name());
                assert_eq!(set.map_err(reason_of), if is_allowed { Ok(None) } else { Err(PermissionDenied) }, "{case}");
                cells += 1;
            }
        }
    }
    counted(cells);
}

fn brought_to(admin: &mut Client<'_>, id: &str, state: State) {
    if [State::Active, State::Deactivated].contains(&state) {
        admin.activate(id).expect("it is Pre-Active");
    }
    match state {
        State::Deactivated => admin.revoke(id, RevocationReasonCode::Unspecified).map(drop).expect("it is Active"),
        State::Compromised => admin.revoke(id, RevocationReasonCode::KeyCompromise).map(drop).expect("it is Pre-Active"),
        State::Destroyed => admin.destroy(id).map(drop).expect("it is Pre-Active"),
        _ => {}
    }
    assert_eq!(admin.state(id), state);
}

#[test]
fn a_date_that_is_reached_is_fixed() {
    use AttributeValue as A;
    let world = World::found();
    let mut admin = world.admin();
    let at = |seconds| DateTime(START + seconds);
    let dates = [A::ActivationDate(at(1)), A::ProcessStartDate(at(10)), A::ProtectStopDate(at(20)), A::DeactivationDate(at(30))];
    let id = admin.create(V1_4, &wish("billing", &dates)).expect("the dates are in order");
    let moved = |admin: &mut Client<'_>, value| admin.modify(V1_4, &id, None, value).map_err(reason_of);
    world.wait(5);
    assert_eq!(moved(&mut admin, A::ActivationDate(at(6))), Err(PermissionDenied));
    assert_eq!(moved(&mut admin, A::ProcessStartDate(at(12))), Ok(None));
    world.wait(6);
    assert_eq!(moved(&mut admin, A::ProcessStartDate(at(13))), Ok(None));
    world.wait(2);
    assert_eq!(moved(&mut admin, A::ProcessStartDate(at(14))), Err(PermissionDenied));
    assert_eq!(moved(&mut admin, A::ProtectStopDate(at(31))), Err(InvalidField));
    assert_eq!(moved(&mut admin, A::ProtectStopDate(at(12))), Ok(None), "it may be in the past");
    assert_eq!(moved(&mut admin, A::ProtectStopDate(at(20))), Err(PermissionDenied));
    assert_eq!(moved(&mut admin, A::DeactivationDate(at(40))), Ok(None));
    world.wait(30);
    assert_eq!(moved(&mut admin, A::DeactivationDate(at(50))), Err(PermissionDenied));
    assert_eq!(admin.state(&id), State::Deactivated);
}

#[test]
fn a_date_in_the_past_takes_effect_at_once_and_never_back() {
    use AttributeValue as A;
    let world = World::found();
    let mut admin = world.admin();
    let id = admin.create(V1_0, &wish("billing", &[A::ActivationDate(DateTime(START + 100))])).expect("a date in the future");
    assert_eq!(why(admin.modify(V1_0, &id, None, A::ActivationDate(DateTime(i64::MAX)))), InvalidField);
    assert_eq!(why(admin.add(V1_0, &id, A::DeactivationDate(DateTime(START + 99)))), InvalidField, "it would precede the other");
    admin.modify(V1_0, &id, None, A::ActivationDate(DateTime(START - 1))).expect("transition 4");
    assert_eq!(admin.state(&id), State::Active);
    admin.add(V1_0, &id, A::DeactivationDate(DateTime(START))).expect("transition 6");
    assert_eq!(admin.state(&id), State::Deactivated);
    assert_eq!(why(admin.modify(V1_0, &id, None, A::DeactivationDate(DateTime(START + 100)))), PermissionDenied);
    let other = admin.create(V1_0, &wish("billing", &[])).expect("a plain key");
    let ended = admin.add(V1_0, &other, A::DeactivationDate(DateTime(START - 1)));
    assert_eq!(why(ended), InvalidField, "a Pre-Active key is not past its end before it begins");
}

#[test]
fn the_index_of_an_instance_never_changes_and_the_next_is_above_all() {
    let world = World::found();
    let (mut admin, id) = (world.admin(), world.key());
    for (index, name) in [(0, "zero"), (1, "one"), (2, "two")] {
        assert_eq!(admin.add(V1_1, &id, named(name)), Ok(Some(index)));
    }
    let gone = admin.delete(V1_1, &id, "Name", Some(1)).expect("it is there");
    assert!(gone.contains("one") && gone.contains("Some(1)"), "{gone}");
    let indexes = |admin: &mut Client<'_>| admin.instances(&id, "Name").iter().map(|instance| instance.0).collect::<Vec<_>>();
    assert_eq!(indexes(&mut admin), [Some(0), Some(2)]);
    assert_eq!(why(admin.modify(V1_1, &id, Some(1), named("x"))), ItemNotFound);
    assert_eq!(why(admin.delete(V1_1, &id, "Name", Some(1))), ItemNotFound);
    assert_eq!(admin.modify(V1_1, &id, Some(2), named("second")), Ok(Some(2)));
    assert_eq!(admin.add(V1_1, &id, named("three")), Ok(Some(3)));
    assert_eq!(admin.modify(V1_1, &id, None, named("null")), Ok(Some(0)), "left out, it is 0");
    let gone = admin.delete(V1_1, &id, "Name", None).expect("left out, it is 0");
    assert!(gone.contains("null"), "{gone}");
    assert_eq!(why(admin.delete(V1_1, &id, "Name", None)), ItemNotFound, "there is no 0 any more");
    assert_eq!(indexes(&mut admin), [Some(2), Some(3)]);
    assert_eq!(admin.locate(V1_1, &[named("second")]), Ok(vec![id.clone()]));
    assert_eq!(admin.locate(V1_1, &[named("two")]), Ok(vec![]));
    for name in ["x-a", "Application Specific Information", "Object Group"] {
        let value = |text| match name {
            "x-a" => AttributeValue::Custom(name, Value::TextString(text)),
            "Object Group" => AttributeValue::ObjectGroup(text),
            _ => {
                AttributeValue::ApplicationSpecificInformation(ApplicationSpecificInformation { namespace: Some("ssl"), data: Some(text) })
            }
        };
        // The key is in its service's group.
        let first = i32::from(name == "Object Group");
        for (index, text) in [(first, "a"), (first + 1, "b"), (first + 2, "c")] {
            assert_eq!(admin.add(V1_1, &id, value(text)), Ok(Some(index)), "{name}");
        }
        admin.delete(V1_1, &id, name, Some(first + 1)).expect("it is there");
        let left: Vec<_> =
            admin.instances(&id, name).into_iter().map(|instance| instance.0).filter(|index| *index >= Some(first)).collect();
        assert_eq!(left, [Some(first), Some(first + 2)], "{name}");
    }
}

#[test]
fn an_index_is_never_given_to_add_and_never_negative() {
    let world = World::found();
    let (mut admin, id) = (world.admin(), world.key());
    for index in [0, 1] {
        let attribute = Attribute { index: Some(index), value: named("n") };
        let request = AddAttributeRequest { unique_identifier: Some(&id), attribute };
        assert_eq!(why(admin.call(V1_4, &request, |_| ())), InvalidField, "{index}");
    }
    assert_eq!(why(admin.modify(V1_4, &id, Some(-1), named("n"))), InvalidField);
    admin.add(V1_4, &id, named("n")).expect("the name is free");
    assert_eq!(why(admin.delete(V1_4, &id, "Name", Some(-1))), ItemNotFound);
    assert_eq!(why(admin.delete(V1_4, &id, "Name", Some(i32::MAX))), ItemNotFound);
}

#[test]
fn the_indexes_of_1_0_are_stricter_than_later_ones() {
    let world = World::found();
    let (mut admin, id) = (world.admin(), world.key());
    for name in ["a", "b"] {
        admin.add(V1_0, &id, named(name)).expect("the name is free");
    }
    // 11.16 of 1.0: several instances want an index; what cannot have several takes none.
    assert_eq!(why(admin.delete(V1_0, &id, "Name", None)), InvalidField);
    admin.delete(V1_0, &id, "Name", Some(1)).expect("it is there");
    admin.delete(V1_0, &id, "Name", None).expect("there is one");
    for (version, expected) in [(V1_0, Err(ItemNotFound)), (V1_1, Ok(None)), (V1_4, Ok(None))] {
        admin.add(version, &id, AttributeValue::ContactInformation("me")).expect("it has none");
        let modified = admin.modify(version, &id, Some(0), AttributeValue::ContactInformation("you"));
        assert_eq!(modified.map_err(reason_of), expected, "{version}");
        let deleted = admin.delete(version, &id, "Contact Information", Some(0));
        assert_eq!(deleted.is_ok(), version > V1_0, "{version}");
        if version == V1_0 {
            admin.delete(version, &id, "Contact Information", None).expect("without an index");
        }
    }
}

#[test]
fn a_name_of_another_key_is_an_illegal_operation_and_a_freed_one_is_free() {
    let world = World::found();
    let (mut admin, id, other) = (world.admin(), world.key(), world.key());
    admin.add(V1_2, &id, named("one")).expect("the name is free");
    admin.add(V1_2, &other, named("two")).expect("the name is free");
    assert_eq!(why(admin.add(V1_2, &other, named("one"))), IllegalOperation);
    assert_eq!(why(admin.add(V1_2, &id, named("one"))), IllegalOperation, "its own is taken too");
    assert_eq!(why(admin.modify(V1_2, &other, Some(0), named("one"))), IllegalOperation);
    assert_eq!(admin.locate(V1_2, &[named("two")]), Ok(vec![other.clone()]), "nothing changed");
    admin.modify(V1_2, &id, None, named("three")).expect("the name is free");
    admin.modify(V1_2, &other, None, named("one")).expect("it is free now");
    admin.delete(V1_2, &other, "Name", None).expect("it is there");
    admin.add(V1_2, &id, named("one")).expect("it is free again");
    let mut payroll = world.admin();
    let elsewhere = payroll.create(V1_2, &wish("payroll", &[named("one")])).expect("names are a service's own");
    assert_eq!(payroll.locate(V1_2, &[named("one")]).map(|found| found.len()), Ok(2));
    assert_ne!(elsewhere, id);
}

#[test]
fn a_name_lost_in_a_race_is_an_illegal_operation_here() {
    let world = World::found();
    let ids = [world.key(), world.key()];
    block_on(async {
        let [mut one, mut other] = [world.admin(), world.admin()];
        let now = keys::id::Time::from_seconds(START);
        let message = |id: &str| {
            let mut batch = Batch::new(V1_0);
            batch.push(&AddAttributeRequest { unique_identifier: Some(id), attribute: bare(named("both")) }).expect("1.0 has it");
            batch.finish().bytes
        };
        let messages = [message(&ids[0]), message(&ids[1])];
        let unit = world.vault.begin(one.caller.session());
        let (first, first_unit) = dispatch(Some(&world.vault), &mut one.caller, unit, &messages[0], now, vec![]).await;
        let unit = world.vault.begin(other.caller.session());
        let (second, second_unit) = dispatch(Some(&world.vault), &mut other.caller, unit, &messages[1], now, vec![]).await;
        let receipt = first_unit.commit().await.expect("the first one wins");
        assert_eq!(only_item(&first.release(receipt)).1, ResultStatus::Success);
        let error = second_unit.commit().await.expect_err("the name is taken");
        assert_eq!(only_item(&second.withhold(&error)).2, Some(IllegalOperation));
    });
}

#[test]
fn the_instances_that_a_key_keeps_are_bounded() {
    let world = World::found();
    let (mut admin, id) = (world.admin(), world.key());
    for index in 0..16 {
        admin.add(V1_4, &id, named(&format!("name {index}"))).expect("sixteen are kept");
    }
    assert_eq!(why(admin.add(V1_4, &id, named("one more"))), IndexOutOfBounds);
    for index in 0..64 {
        admin.add(V1_4, &id, AttributeValue::Custom("x-a", Value::Integer(index))).expect("sixty-four are kept");
    }
    assert_eq!(why(admin.add(V1_4, &id, AttributeValue::Comment("c"))), IndexOutOfBounds);
    admin.modify(V1_4, &id, Some(63), AttributeValue::Custom("x-a", Value::Integer(-1))).expect("none is added");
    for index in 1..16 {
        admin.add(V1_4, &id, AttributeValue::ObjectGroup(&format!("group {index}"))).expect("sixteen with the service's");
    }
    assert_eq!(why(admin.add(V1_4, &id, AttributeValue::ObjectGroup("one more"))), IndexOutOfBounds);
}

#[test]
fn the_group_of_its_service_stays_and_that_of_another_service_never_comes() {
    use AttributeValue as A;
    let world = World::found();
    let (mut admin, id) = (world.admin(), world.key());
    assert_eq!(admin.add(V1_0, &id, A::ObjectGroup("vip")), Ok(Some(1)));
    assert_eq!(why(admin.add(V1_0, &id, A::ObjectGroup("payroll"))), InvalidField);
    assert_eq!(why(admin.modify(V1_0, &id, Some(1), A::ObjectGroup("payroll"))), InvalidField);
    assert_eq!(why(admin.modify(V1_0, &id, Some(0), A::ObjectGroup("other"))), PermissionDenied);
    assert_eq!(why(admin.delete(V1_0, &id, "Object Group", Some(0))), PermissionDenied);
    admin.modify(V1_0, &id, Some(1), A::ObjectGroup("globex")).expect("another tenant's names are just words");
    admin.modify(V1_0, &id, Some(0), A::ObjectGroup("billing")).expect("it stays what it is");
    admin.delete(V1_0, &id, "Object Group", Some(1)).expect("it is there");
    assert_eq!(admin.instances(&id, "Object Group").len(), 1);
}

#[test]
fn a_key_becomes_sensitive_and_ceases_to_be_extractable_and_its_past_is_remembered() {
    use AttributeValue as A;
    let world = World::found();
    let mut admin = world.admin();
    let id = admin.create(V1_4, &wish("billing", &[A::Extractable(true)])).expect("a plain key");
    let flags = |admin: &mut Client<'_>| {
        ["Sensitive", "Always Sensitive", "Extractable", "Never Extractable"].map(|name| admin.instances(&id, name)[0].1.contains("true"))
    };
    assert_eq!(flags(&mut admin), [false, false, true, false]);
    admin.modify(V1_4, &id, None, A::Extractable(false)).expect("a key may be kept in");
    admin.modify(V1_4, &id, None, A::Sensitive(true)).expect("a key may be hidden");
    assert_eq!(flags(&mut admin), [true, false, false, false]);
    assert_eq!(why(admin.modify(V1_4, &id, None, A::Extractable(true))), PermissionDenied);
    assert_eq!(why(admin.modify(V1_4, &id, None, A::Sensitive(false))), PermissionDenied);
    admin.modify(V1_4, &id, None, A::Extractable(false)).expect("nothing changes");
    assert_eq!(flags(&mut admin), [true, false, false, false]);
    for (name, value) in [("Never Extractable", A::NeverExtractable(false)), ("Always Sensitive", A::AlwaysSensitive(false))] {
        assert_eq!(admin.locate(V1_4, &[value, A::UniqueIdentifier(&id)]), Ok(vec![id.clone()]), "{name}");
    }
}

#[test]
fn application_data_is_never_made_up() {
    let world = World::found();
    let (mut admin, id) = (world.admin(), world.key());
    let information =
        |data| AttributeValue::ApplicationSpecificInformation(ApplicationSpecificInformation { namespace: Some("ssl"), data });
    assert_eq!(why(admin.add(V1_4, &id, information(None))), ResultReason::ApplicationNamespaceNotSupported);
    admin.add(V1_4, &id, information(Some("a"))).expect("the data is given");
    assert_eq!(why(admin.modify(V1_4, &id, None, information(None))), ResultReason::ApplicationNamespaceNotSupported);
}

#[test]
fn a_default_key_gets_names_and_no_end() {
    use AttributeValue as A;
    let world = World::found();
    let (mut admin, id) = (world.admin(), world.default_key());
    admin.add(V1_4, &id, named("main")).expect("the name is free");
    for value in [A::DeactivationDate(DateTime(START + 10)), A::ProtectStopDate(DateTime(START + 10))] {
        assert_eq!(why(admin.add(V1_4, &id, value)), PermissionDenied);
    }
    assert_eq!(admin.state(&id), State::Active);
}

#[test]
fn an_attribute_is_deleted_only_in_a_version_that_has_it() {
    let world = World::found();
    let (mut admin, id) = (world.admin(), world.key());
    admin.add(V1_4, &id, AttributeValue::Comment("of 1.4")).expect("it has none");
    let link = |link_type| AttributeValue::Link(Link { link_type: Some(link_type), linked_object_identifier: Some("x") });
    admin.add(V1_4, &id, link(LinkType::ParentLink)).expect("any link is kept");
    for version in [V1_0, V1_1] {
        assert_eq!(why(admin.delete(version, &id, "Comment", None)), ItemNotFound, "{version}");
        assert_eq!(why(admin.delete(version, &id, "Link", None)), ItemNotFound, "{version}");
    }
    for name in ["Nonsense", "", "name", "z-a"] {
        assert_eq!(why(admin.delete(V1_4, &id, name, None)), ItemNotFound, "{name}");
    }
    admin.delete(V1_2, &id, "Link", None).expect("1.2 has such links");
    admin.delete(V1_4, &id, "Comment", None).expect("1.4 has comments");
}

#[test]
fn what_vmware_and_synology_send_is_taken() {
    let world = World::found();
    let mut admin = world.admin();
    let mut batch = Batch::new(V1_1);
    let create = batch.push(&create_request(&wish("billing", &[]))).expect("1.0 has Create");
    let texts = [("x-Product", "vSphere"), ("x-Product_Version", "8"), ("x-Vendor", "VMware")];
    let adds = texts.map(|(name, text)| {
        let attribute = bare(AttributeValue::Custom(name, Value::TextString(text)));
        batch.push(&AddAttributeRequest { unique_identifier: None, attribute }).expect("1.0 has Add Attribute")
    });
    let sent = batch.finish();
    let answer = admin.ask(&sent.bytes);
    let answers = sent.answers(&answer).expect("it answers this request");
    let id = answers.get(&create).expect("a plain key").unique_identifier.to_owned();
    for (slot, (name, _)) in adds.iter().zip(texts) {
        let added = answers.get(slot).expect("it is about the new key");
        assert_eq!((added.unique_identifier, added.attribute.value.name()), (id.as_str(), name));
    }
    let outcomes = world.outcomes();
    assert_eq!(outcomes[outcomes.len() - 3..], [(Action::AddAttribute, Outcome::Success); 3]);
    // A Pre-Active key is renamed, and the answer repeats the new name.
    admin.add(V1_2, &id, named("disk")).expect("the name is free");
    assert_eq!(admin.modify(V1_2, &id, None, named("disk 2")), Ok(Some(0)));
}

#[test]
fn a_refused_change_leaves_no_trace_but_its_record() {
    let world = World::found();
    let (mut admin, id) = (world.admin(), world.key());
    let before = world.store.rows().get(&row_id(&id)).cloned();
    world.take_records();
    for value in [AttributeValue::State(State::Destroyed), AttributeValue::CryptographicUsageMask(CryptographicUsageMask(48))] {
        assert!(admin.modify(V1_4, &id, None, value).is_err());
    }
    assert_eq!(why(world.service().add(V1_4, &id, named("n"))), PermissionDenied);
    assert_eq!(world.store.rows().get(&row_id(&id)).cloned(), before);
    let denied = |action| (action, Outcome::Denied);
    assert_eq!(world.outcomes(), [denied(Action::ModifyAttribute), denied(Action::ModifyAttribute), denied(Action::AddAttribute)]);
}

/// Activate and Revoke set a date of their own time, which another one may precede; that is no edit's fault.
#[test]
fn a_key_whose_dates_were_overtaken_is_still_edited_and_replaced() {
    use AttributeValue as A;
    let world = World::found();
    let mut admin = world.admin();
    let at = |seconds| DateTime(START + seconds);
    for offset in [None, Some(Interval(0))] {
        let id = admin.create(V1_4, &wish("billing", &[A::ProcessStartDate(at(1000)), A::ProtectStopDate(at(2000))])).expect("in order");
        world.wait(1500);
        admin.activate(&id).expect("it is new");
        admin.add(V1_4, &id, A::Comment("edited")).expect("no date is edited");
        admin.add(V1_4, &id, A::DeactivationDate(at(9000))).expect("it is in order with the others");
        let request = ReKeyRequest { unique_identifier: Some(&id), offset, template_attribute: None };
        admin.call(V1_4, &request, |answer| answer.unique_identifier.to_owned()).expect("an Active key");
        world.wait(-1500);
    }
    let id = admin.create(V1_4, &wish("billing", &[A::ActivationDate(at(0)), A::ProcessStartDate(at(9000))])).expect("in order");
    admin.revoke(&id, RevocationReasonCode::CessationOfOperation).expect("it is Active");
    admin.add(V1_4, &id, A::Comment("edited")).expect("no date is edited");
}
