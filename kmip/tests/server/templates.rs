//! Templates: kept, returned and found as objects, and what they add to the requests that name them.

use keys::id::Layer;
use keys::policy::{Action, Role};
use keys::record::Outcome;
use kmip::ttlv::{ByteString, DateTime, Interval, Value};
use kmip::*;

use crate::pairs::{SIGN, VERIFY, curve, made, mask, pair_request};
use crate::world::*;
use AttributeValue as A;
use CryptographicAlgorithm as Algorithm;
use ProtocolVersion::{V1_0, V1_1, V1_2, V1_4};
use ResultReason as R;

fn name(value: &str) -> Name<'_> {
    Name { value: Some(value), name_type: Some(NameType::UninterpretedTextString) }
}

/// A Template-Attribute that names Templates and has attributes.
fn with<'a>(names: &[&'a str], values: &[A<'a>]) -> TemplateAttribute<'a> {
    let names = names.iter().map(|value| name(value)).collect();
    TemplateAttribute { names, attributes: values.iter().cloned().map(bare).collect() }
}

fn holding<'a>(values: &[A<'a>]) -> ManagedObject<'a> {
    ManagedObject::Template(Template { attributes: values.iter().cloned().map(bare).collect() })
}

fn register(client: &mut Client<'_>, version: ProtocolVersion, own: &[A<'_>], values: &[A<'_>]) -> Result<String, Failed> {
    let request = RegisterRequest { object_type: ObjectType::Template, template_attribute: with(&[], own), object: holding(values) };
    client.call(version, &request, |answer| answer.unique_identifier.to_owned())
}

fn template(client: &mut Client<'_>, called: &str, values: &[A<'_>]) -> String {
    register(client, V1_4, &[named(called)], values).expect("it is kept")
}

/// The attributes of a Template, with their indexes.
fn got(client: &mut Client<'_>, version: ProtocolVersion, id: &str) -> Result<Vec<(Option<i32>, String)>, Failed> {
    client.call(version, &GetRequest { unique_identifier: Some(id), ..GetRequest::default() }, |answer| {
        assert_eq!((answer.object_type, answer.unique_identifier), (ObjectType::Template, id));
        let ManagedObject::Template(template) = answer.object else { panic!("{:?}", answer.object) };
        template.attributes.iter().map(|one| (one.index, format!("{:?}", one.value))).collect()
    })
}

fn create(client: &mut Client<'_>, version: ProtocolVersion, template_attribute: TemplateAttribute<'_>) -> Result<String, Failed> {
    let request = CreateRequest { object_type: ObjectType::SymmetricKey, template_attribute };
    client.call(version, &request, |answer| answer.unique_identifier.to_owned())
}

fn told(client: &mut Client<'_>, id: &str, name: &str) -> Vec<String> {
    client.instances(id, name).into_iter().map(|(_, value)| value).collect()
}

fn aes(bits: i32) -> Vec<A<'static>> {
    vec![A::CryptographicAlgorithm(Algorithm::Aes), A::CryptographicLength(bits), mask(DATA)]
}

fn text(name: &'static str, value: &'static str) -> A<'static> {
    A::Custom(name, Value::TextString(value))
}

fn shown(values: &[A<'_>]) -> Vec<String> {
    values.iter().map(|value| format!("{value:?}")).collect()
}

#[test]
fn a_template_is_kept_returned_found_used_and_gone_in_every_version() {
    let world = World::edge();
    let mut service = world.service();
    service.create(V1_4, &wish("billing", &[])).expect("the service has an attribute key from here on");
    let others = service.locate(V1_4, &[]).expect("a client searches");
    let kept = |layer| world.store.rows().keys().filter(|id| id.layer == layer).count();
    for version in ProtocolVersion::ALL {
        let called = format!("usual {version}");
        let values =
            [&aes(192)[..], &[A::ObjectGroup("vip"), A::ObjectGroup("own"), A::ContactInformation("me"), text("x-a", "b")]].concat();
        world.take_records();
        let id = register(&mut service, version, &[named(&called)], &values).expect("it is kept");
        assert_eq!(world.outcomes(), [(Action::Register, Outcome::Success)]);
        let content: Vec<_> = got(&mut service, version, &id).expect("it is one's own").into_iter().map(|(_, value)| value).collect();
        assert_eq!(content, shown(&values), "{version}");
        assert_eq!(got(&mut service, version, &id).expect("it is one's own")[4].0, Some(1), "an instance has an index");
        for filter in [vec![named(&called)], vec![A::ObjectType(ObjectType::Template)], vec![A::UniqueIdentifier(&id)]] {
            assert_eq!(service.locate(version, &filter), Ok(vec![id.clone()]), "{filter:?}");
        }
        let key = create(&mut service, version, with(&[&called], &[])).expect("the Template says all of it");
        assert_eq!(told(&mut service, &key, "Cryptographic Length"), ["CryptographicLength(192)"]);
        assert_eq!(told(&mut service, &key, "Object Group"), shown(&values[3..5]));
        assert_eq!(told(&mut service, &key, "x-a"), shown(&values[6..]));
        assert_eq!(told(&mut service, &key, "Name"), Vec::<String>::new(), "that is the Template's own");
        service.destroy(&key).expect("it is Pre-Active");
        let before = (kept(Layer::L4), kept(Layer::Name));
        world.take_records();
        service.destroy(&id).expect("a Template has no state that forbids it");
        assert_eq!(world.outcomes(), [(Action::Destroy, Outcome::Success)]);
        assert_eq!((kept(Layer::L4), kept(Layer::Name)), (before.0 - 1, before.1 - 1), "neither it nor its name is left");
        assert_eq!(service.locate(version, &[A::ObjectType(ObjectType::Template)]), Ok(vec![]));
        assert_eq!(why(got(&mut service, version, &id)), R::ItemNotFound);
        assert_eq!(why(service.destroy(&id)), R::ItemNotFound);
        assert_eq!(why(create(&mut service, version, with(&[&called], &aes(256)))), R::ItemNotFound);
        let again = template(&mut service, &called, &values);
        service.destroy(&again).expect("its name was free");
    }
    assert_eq!(service.locate(V1_4, &[]), Ok(others));
    assert_eq!((kept(Layer::L4), kept(Layer::Name)), (1 + ProtocolVersion::ALL.len(), 0), "each key has left a tombstone");
}

#[test]
fn no_version_is_returned_an_attribute_that_it_does_not_have() {
    let world = World::edge();
    let mut service = world.service();
    let values = [&aes(128)[..], &[A::Comment("of 1.4"), A::Sensitive(true)]].concat();
    let id = template(&mut service, "t", &values);
    for version in ProtocolVersion::ALL {
        let known = if version == V1_4 { 5 } else { 3 };
        assert_eq!(got(&mut service, version, &id).expect("it is one's own").len(), known, "{version}");
        let key = create(&mut service, version, with(&["t"], &[])).expect("what it says counts in every version");
        assert_eq!(told(&mut service, &key, "Sensitive"), ["Sensitive(true)"]);
    }
}

#[test]
fn a_template_has_its_names_and_dates_and_shows_what_it_holds_and_nothing_else() {
    let world = World::edge();
    let mut service = world.service();
    let id = template(&mut service, "t", &[&aes(128)[..], &[A::ActivationDate(DateTime(START - 9))]].concat());
    let request = GetAttributeListRequest { unique_identifier: Some(&id) };
    let listed = service.call(V1_4, &request, |answer| answer.attribute_names.iter().map(ToString::to_string).collect::<Vec<_>>());
    let expected = [
        "Unique Identifier",
        "Name",
        "Object Type",
        "Cryptographic Algorithm",
        "Cryptographic Length",
        "Cryptographic Usage Mask",
        "Initial Date",
        "Activation Date",
        "Last Change Date",
        "y-layer",
        "y-parent",
        "y-service",
        "y-version",
    ];
    assert_eq!(listed, Ok(expected.map(str::to_owned).to_vec()));
    assert_eq!(told(&mut service, &id, "Object Type"), ["ObjectType(Template)"]);
    assert_eq!(told(&mut world.admin(), &id, "Name").len(), 1, "an admin looks");
    // What it holds is for what is made with it, so it is not found by that, nor by what it does not have.
    service.create(V1_4, &wish("billing", &[])).expect("something is found");
    for filter in [
        A::State(State::PreActive),
        A::State(State::Active),
        A::Fresh(true),
        A::Sensitive(false),
        A::Extractable(false),
        A::CryptographicUsageMask(CryptographicUsageMask(0)),
        A::CryptographicLength(0),
        A::CryptographicAlgorithm(Algorithm::Aes),
        A::ActivationDate(DateTime(START - 9)),
        A::ActivationDate(DateTime(i64::MAX)),
    ] {
        assert!(!service.locate(V1_4, std::slice::from_ref(&filter)).expect("a client searches").contains(&id), "{filter:?}");
    }
    for filter in [A::InitialDate(DateTime(START)), A::LastChangeDate(DateTime(START)), A::Name(Name { value: Some("t"), name_type: None })]
    {
        assert!(service.locate(V1_4, std::slice::from_ref(&filter)).expect("a client searches").contains(&id), "{filter:?}");
    }
    assert!(service.locate(V1_4, &[]).expect("a client searches").contains(&id));
}

#[test]
fn what_several_templates_say_is_joined_and_the_request_s_own_counts_first() {
    let world = World::edge();
    let mut service = world.service();
    template(&mut service, "one", &[&aes(128)[..], &[A::ContactInformation("one"), A::ObjectGroup("one"), A::ObjectGroup("all")]].concat());
    template(
        &mut service,
        "two",
        &[A::CryptographicLength(192), A::ContactInformation("two"), A::ObjectGroup("two"), A::ObjectGroup("all")],
    );
    let groups = |client: &mut Client<'_>, id: &str| {
        let mut groups = told(client, id, "Object Group");
        groups.sort_unstable();
        groups
    };
    for (names, own, bits, contact) in [
        (["one", "two"], vec![], 192, "two"),
        (["two", "one"], vec![], 128, "one"),
        (["one", "two"], vec![A::CryptographicLength(256)], 256, "two"),
        (["two", "one"], vec![A::ContactInformation("me"), A::ObjectGroup("all")], 128, "me"),
    ] {
        let id = create(&mut service, V1_4, with(&names, &own)).expect("together they say all");
        assert_eq!(told(&mut service, &id, "Cryptographic Length"), [format!("CryptographicLength({bits})")]);
        assert_eq!(told(&mut service, &id, "Contact Information"), [format!("ContactInformation({contact:?})")]);
        assert_eq!(groups(&mut service, &id), shown(&[A::ObjectGroup("all"), A::ObjectGroup("one"), A::ObjectGroup("two")]), "once each");
    }
    assert_eq!(why(create(&mut service, V1_4, with(&["two"], &[]))), R::InvalidMessage, "no algorithm is said by anybody");
    // The same name once more adds nothing, and a name's type counts.
    create(&mut service, V1_4, with(&["one", "one"], &[])).expect("it is the same");
    let uri = Name { value: Some("one"), name_type: Some(NameType::Uri) };
    let other = TemplateAttribute { names: vec![uri], attributes: vec![] };
    assert_eq!(why(create(&mut service, V1_4, other)), R::ItemNotFound);
}

#[test]
fn every_operation_that_makes_an_object_takes_templates() {
    let world = World::edge();
    let mut service = world.service();
    template(&mut service, "aes", &aes(256));
    template(&mut service, "both", &[A::CryptographicAlgorithm(Algorithm::Ecdsa), curve(RecommendedCurve::P256), A::Comment("both")]);
    template(&mut service, "signs", &[mask(SIGN), A::Comment("signs")]);
    template(&mut service, "verifies", &[mask(VERIFY)]);
    template(&mut service, "contact", &[A::ContactInformation("from a Template")]);
    // Table 168, 4.2: own attributes, own Templates, common attributes, common Templates.
    let request = CreateKeyPairRequest {
        common_template_attribute: Some(with(&["both"], &[A::ContactInformation("common")])),
        private_key_template_attribute: Some(with(&["signs"], &[])),
        public_key_template_attribute: Some(with(&["verifies", "contact"], &[])),
    };
    let [private, public] = made(&mut service, V1_2, &request).expect("together they say all");
    let comment =
        |client: &mut Client<'_>, id: &str| told(client, id, "Comment").concat() + &told(client, id, "Contact Information").concat();
    assert_eq!(comment(&mut service, &private), "Comment(\"signs\")ContactInformation(\"common\")");
    assert_eq!(comment(&mut service, &public), "Comment(\"both\")ContactInformation(\"from a Template\")");
    assert_eq!(told(&mut service, &public, "Cryptographic Usage Mask"), shown(&[mask(VERIFY)]));
    let request = ReKeyKeyPairRequest {
        private_key_unique_identifier: Some(&private),
        common_template_attribute: Some(with(&["contact"], &[])),
        private_key_template_attribute: Some(with(&[], &[A::ContactInformation("mine")])),
        ..ReKeyKeyPairRequest::default()
    };
    let new = service
        .call(V1_1, &request, |answer| [answer.private_key_unique_identifier.to_owned(), answer.public_key_unique_identifier.to_owned()]);
    let [private, public] = new.expect("a pair");
    assert_eq!(comment(&mut service, &private), "Comment(\"signs\")ContactInformation(\"mine\")");
    assert_eq!(comment(&mut service, &public), "Comment(\"both\")ContactInformation(\"from a Template\")");
    // Register, whose key is for deriving, Re-key and Derive Key.
    let key_material = KeyMaterial::Bytes(ByteString(&[7; 32]));
    let key_block = KeyBlock {
        key_format_type: KeyFormatType::Raw,
        key_compression_type: None,
        key_value: Some(KeyValue::Plain(PlainKeyValue { key_material, attributes: vec![] })),
        cryptographic_algorithm: None,
        cryptographic_length: None,
        key_wrapping_data: None,
    };
    let object = ManagedObject::SymmetricKey(SymmetricKey { key_block });
    let template_attribute = with(&["aes", "contact"], &[mask(0x200)]);
    let request = RegisterRequest { object_type: object.object_type(), template_attribute, object };
    let base = service.call(V1_0, &request, |answer| answer.unique_identifier.to_owned()).expect("it is kept");
    assert_eq!(comment(&mut service, &base), "ContactInformation(\"from a Template\")");
    service.activate(&base).expect("it is new");
    let request = DeriveKeyRequest {
        object_type: ObjectType::SymmetricKey,
        unique_identifiers: vec![&base],
        derivation_method: DerivationMethod::Hash,
        derivation_parameters: DerivationParameters {
            cryptographic_parameters: Some(CryptographicParameters {
                hashing_algorithm: Some(HashingAlgorithm::Sha256),
                ..CryptographicParameters::default()
            }),
            ..DerivationParameters::default()
        },
        template_attribute: with(&["contact", "aes"], &[]),
    };
    let derived = service.call(V1_0, &request, |answer| answer.unique_identifier.to_owned()).expect("the Template says the length");
    assert_eq!(told(&mut service, &derived, "Cryptographic Length"), ["CryptographicLength(256)"]);
    assert_eq!(comment(&mut service, &derived), "ContactInformation(\"from a Template\")");
    let key = create(&mut service, V1_4, with(&["aes"], &[A::ContactInformation("old")])).expect("the Template says the rest");
    let rekey = |names: &[&'static str], offset: Option<u32>| ReKeyRequest {
        unique_identifier: Some(&key),
        offset: offset.map(Interval),
        template_attribute: Some(with(names, &[])),
    };
    template(&mut service, "dated", &[A::DeactivationDate(DateTime(START + 9))]);
    assert_eq!(why(service.call(V1_0, &rekey(&["dated"], Some(0)), |_| ())), R::InvalidMessage, "Offset, or dates");
    assert_eq!(why(service.call(V1_0, &rekey(&["nobody's"], None), |_| ())), R::ItemNotFound);
    let new = service.call(V1_0, &rekey(&["contact", "aes"], None), |answer| answer.unique_identifier.to_owned()).expect("a key");
    assert_eq!(comment(&mut service, &new), "ContactInformation(\"from a Template\")");
}

#[test]
fn a_template_that_is_not_one_s_own_is_as_one_that_is_not_there() {
    let world = World::edge();
    let mut service = world.service();
    let id = template(&mut service, "t", &aes(256));
    service.create(V1_4, &wish("billing", &[named("a key")])).expect("the name is free");
    let unknown = create(&mut service, V1_4, with(&["nobody's"], &[])).expect_err("there is none");
    assert_eq!(unknown.reason, R::ItemNotFound);
    let before = world.store.rows().clone();
    for (tenant, other) in [("acme", "payroll"), ("globex", "billing")] {
        let mut other = world.client(Role::Service, tenant, other);
        assert_eq!(create(&mut other, V1_4, with(&["t"], &aes(256))), Err(unknown.clone()), "{tenant}");
        assert_eq!(why(got(&mut other, V1_4, &id)), R::ItemNotFound);
        assert_eq!(why(other.destroy(&id)), R::ItemNotFound);
        assert_eq!(other.locate(V1_4, &[named("t")]), Ok(vec![]));
    }
    assert_eq!(create(&mut service, V1_4, with(&["a key"], &aes(256))), Err(unknown), "that is no Template");
    let nameless = TemplateAttribute { names: vec![Name { value: None, name_type: None }], attributes: vec![] };
    assert_eq!(why(create(&mut service, V1_4, nameless)), R::InvalidMessage);
    for (role, reason) in [(Role::TenantAdmin, R::PermissionDenied), (Role::Operator, R::ItemNotFound)] {
        assert_eq!(why(got(&mut world.client(role, "acme", ""), V1_4, &id)), reason, "{role:?}");
        assert_eq!(why(register(&mut world.client(role, "acme", ""), V1_4, &[named("u")], &aes(256))), R::PermissionDenied);
    }
    assert_eq!(*world.store.rows(), before);
    // A core has none.
    let core = World::found();
    assert_eq!(why(create(&mut core.admin(), V1_4, with(&["t"], &wish("billing", &[])))), R::ItemNotFound);
    assert_eq!(why(register(&mut core.admin(), V1_4, &[named("t")], &aes(256))), R::PermissionDenied);
    // Of an archived one that is said, and nothing is made with it.
    service.call(V1_0, &ArchiveRequest { unique_identifier: Some(&id) }, |_| ()).expect("it is at hand");
    assert_eq!(why(create(&mut service, V1_4, with(&["t"], &[]))), R::ObjectArchived);
    assert_eq!(why(got(&mut service, V1_4, &id)), R::ObjectArchived);
    assert_eq!(why(service.destroy(&id)), R::ObjectArchived);
    service.call(V1_0, &RecoverRequest { unique_identifier: Some(&id) }, |_| ()).expect("it is archived");
    create(&mut service, V1_4, with(&["t"], &[])).expect("it is at hand again");
    world.admin().destroy(&id).expect("an admin governs the tenant's objects");
    assert_eq!(why(create(&mut service, V1_4, with(&["t"], &[]))), R::ItemNotFound);
}

#[test]
fn what_no_object_could_be_made_with_is_not_kept() {
    let world = World::edge();
    let mut service = world.service();
    service.create(V1_4, &wish("billing", &[named("taken")])).expect("the name is free");
    let before = world.store.rows().clone();
    let link = A::Link(Link { link_type: Some(LinkType::ParentLink), linked_object_identifier: Some("x") });
    let domain = A::CryptographicDomainParameters(CryptographicDomainParameters { qlength: Some(160), recommended_curve: None });
    let limits = A::UsageLimits(UsageLimits { total: Some(0), count: None, unit: Some(UsageLimitsUnit::Byte) });
    let cases: Vec<(&str, Vec<A<'_>>, Vec<A<'_>>, R)> = vec![
        ("a name inside", vec![], vec![named("t")], R::InvalidField),
        ("a server's attribute", vec![], vec![A::State(State::Active)], R::InvalidField),
        ("a server's custom attribute", vec![], vec![text("y-layer", "L2")], R::InvalidField),
        ("a link", vec![], vec![link], R::InvalidField),
        ("what is new has been served to nobody", vec![], vec![A::Fresh(false)], R::InvalidField),
        ("one thing twice", vec![], vec![A::CryptographicLength(128), A::CryptographicLength(256)], R::InvalidField),
        ("one thing inside and beside", vec![A::CryptographicLength(128)], vec![A::CryptographicLength(256)], R::InvalidField),
        ("an end before the beginning", vec![], vec![A::ActivationDate(DateTime(9)), A::DeactivationDate(DateTime(8))], R::InvalidField),
        ("no date", vec![], vec![A::ActivationDate(DateTime(i64::MAX))], R::InvalidField),
        ("no limit", vec![], vec![limits], R::InvalidField),
        ("Qlength", vec![], vec![domain], R::InvalidField),
        ("no mask", vec![], vec![mask(-1)], R::InvalidField),
        ("what nobody keeps", vec![], vec![A::Pkcs12FriendlyName("x")], R::InvalidField),
        ("a name that is taken", vec![named("taken")], aes(256), R::InvalidField),
        (
            "an application without data",
            vec![],
            vec![A::ApplicationSpecificInformation(ApplicationSpecificInformation { namespace: Some("ssl"), data: None })],
            R::ApplicationNamespaceNotSupported,
        ),
        ("too much", vec![], vec![A::Custom("x-long", Value::TextString(Box::leak("x".repeat(70_000).into_boxed_str())))], R::InvalidField),
        ("too many", vec![], vec![text("x-a", "b"); 65], R::IndexOutOfBounds),
    ];
    for (what, own, values, reason) in cases {
        assert_eq!(why(register(&mut service, V1_4, &own, &values)), reason, "{what}");
    }
    let names = RegisterRequest { object_type: ObjectType::Template, template_attribute: with(&["t"], &[]), object: holding(&aes(256)) };
    assert_eq!(why(service.call(V1_4, &names, |_| ())), R::InvalidField, "of another Template");
    let wrong = RegisterRequest { object_type: ObjectType::OpaqueObject, template_attribute: with(&[], &[]), object: holding(&aes(256)) };
    assert_eq!(why(service.call(V1_4, &wrong, |_| ())), R::InvalidField, "of another type");
    assert_eq!(*world.store.rows(), before);
    // Beside it there may be what is for the objects, too; and where it is to be stored.
    let own = [named("t"), A::OperationPolicyName("default"), A::StorageStatusMask(StorageStatusMask::ON_LINE)];
    let id = register(&mut service, V1_0, &own, &aes(256)).expect("it is kept");
    assert_eq!(got(&mut service, V1_0, &id).map(|values| values.len()), Ok(4));
    let key = create(&mut service, V1_0, with(&["t"], &[])).expect("it says all of it");
    assert_eq!(told(&mut service, &key, "Operation Policy Name"), ["OperationPolicyName(\"default\")"]);
    // What is wrong for one kind of object only shows when that is made.
    template(&mut service, "pair", &[A::CryptographicAlgorithm(Algorithm::Rsa), A::CryptographicLength(1024), mask(SIGN)]);
    assert_eq!(why(made(&mut service, V1_4, &pair_request(&[], &[], &[]))), R::InvalidMessage);
    let common = CreateKeyPairRequest { common_template_attribute: Some(with(&["pair"], &[])), ..CreateKeyPairRequest::default() };
    assert_eq!(why(made(&mut service, V1_4, &common)), R::InvalidField);
}

#[test]
fn what_a_template_holds_is_added_to_changed_and_removed() {
    let world = World::edge();
    let mut service = world.service();
    let id = template(&mut service, "t", &aes(128));
    // Not when the key is made, but when it is used, it counts that a key's length cannot change.
    assert_eq!(service.modify(V1_4, &id, None, A::CryptographicLength(256)), Ok(None));
    assert_eq!(service.add(V1_4, &id, A::ObjectGroup("a")), Ok(Some(0)));
    assert_eq!(service.add(V1_4, &id, A::ObjectGroup("b")), Ok(Some(1)));
    assert_eq!(service.add(V1_4, &id, A::DeactivationDate(DateTime(START + 50))), Ok(None));
    assert_eq!(service.add(V1_4, &id, A::Sensitive(true)), Ok(None));
    assert_eq!(service.modify(V1_4, &id, None, A::Sensitive(false)), Ok(None));
    assert!(service.delete(V1_4, &id, "Object Group", Some(0)).is_ok_and(|gone| gone.contains("\"a\"")));
    assert_eq!(service.add(V1_4, &id, named("second")), Ok(Some(1)), "a Template's own");
    let key = create(&mut service, V1_4, with(&["second"], &[])).expect("it says all of it");
    assert_eq!(told(&mut service, &key, "Cryptographic Length"), ["CryptographicLength(256)"]);
    assert_eq!(told(&mut service, &key, "Object Group"), shown(&[A::ObjectGroup("b")]));
    assert_eq!(told(&mut service, &key, "Deactivation Date"), shown(&[A::DeactivationDate(DateTime(START + 50))]));
    assert_eq!(service.modify(V1_4, &id, Some(1), named("third")), Ok(Some(1)));
    assert_eq!(why(create(&mut service, V1_4, with(&["second"], &[]))), R::ItemNotFound);
    for (value, add, modify) in [
        (A::CryptographicLength(192), Some(R::IllegalOperation), None),
        (A::State(State::Active), Some(R::PermissionDenied), Some(R::PermissionDenied)),
        (text("y-a", "b"), Some(R::PermissionDenied), Some(R::PermissionDenied)),
        (A::ActivationDate(DateTime(START + 51)), Some(R::InvalidField), Some(R::InvalidField)),
        (A::Fresh(true), Some(R::InvalidField), Some(R::InvalidField)),
        (A::Comment("c"), None, None),
        (A::CertificateLength(1), Some(R::PermissionDenied), Some(R::PermissionDenied)),
    ] {
        assert_eq!(service.add(V1_4, &id, value.clone()).err().map(|failed| failed.reason), add, "add {value:?}");
        assert_eq!(service.modify(V1_4, &id, None, value.clone()).err().map(|failed| failed.reason), modify, "modify {value:?}");
    }
    for (name, reason) in [
        ("Unique Identifier", Some(R::PermissionDenied)),
        ("Initial Date", Some(R::PermissionDenied)),
        ("State", Some(R::PermissionDenied)),
        ("Cryptographic Length", None),
        ("Cryptographic Usage Mask", None),
        ("Usage Limits", Some(R::ItemNotFound)),
        ("Nonsense", Some(R::ItemNotFound)),
    ] {
        assert_eq!(service.delete(V1_4, &id, name, None).err().map(|failed| failed.reason), reason, "{name}");
    }
    assert_eq!(why(create(&mut service, V1_4, with(&["third"], &[]))), R::InvalidMessage, "no mask is said by anybody");
    for mut other in [world.admin(), world.client(Role::Service, "globex", "billing")] {
        assert!(other.add(V1_4, &id, A::Comment("c")).is_err());
    }
}

#[test]
fn a_template_is_no_key_and_has_no_state() {
    let world = World::edge();
    let mut service = world.service();
    let id = template(&mut service, "t", &aes(256));
    let key = service.create(V1_4, &wish("billing", &[])).expect("a plain key");
    let before = world.store.rows().clone();
    assert_eq!(why(service.activate(&id)), R::IllegalOperation);
    assert_eq!(why(service.revoke(&id, RevocationReasonCode::Superseded)), R::IllegalOperation);
    assert_eq!(why(service.revoke(&id, RevocationReasonCode::KeyCompromise)), R::IllegalOperation);
    assert_eq!(why(service.rekey(V1_4, &id)), R::PermissionDenied);
    let unique_identifier = Some(id.as_str());
    let data = Some(ByteString(b"an invoice"));
    assert_eq!(
        why(service.call(V1_4, &EncryptRequest { unique_identifier, data, ..EncryptRequest::default() }, |_| ())),
        R::PermissionDenied
    );
    assert_eq!(why(service.call(V1_4, &ObtainLeaseRequest { unique_identifier }, |_| ())), R::PermissionDenied);
    let allocation = GetUsageAllocationRequest { unique_identifier, usage_limits_count: 1 };
    assert_eq!(why(service.call(V1_4, &allocation, |_| ())), R::IllegalOperation);
    let specification = |with| {
        Some(KeyWrappingSpecification {
            wrapping_method: WrappingMethod::Encrypt,
            encryption_key_information: Some(WrappingKeyInformation { unique_identifier: with, cryptographic_parameters: None }),
            mac_signature_key_information: None,
            attribute_names: vec![],
            encoding_option: None,
        })
    };
    for (request, reason) in [
        (GetRequest { key_wrapping_specification: specification(&key), ..GetRequest::default() }, R::InvalidField),
        (GetRequest { key_format_type: Some(KeyFormatType::Raw), ..GetRequest::default() }, R::KeyFormatTypeNotSupported),
        (
            GetRequest { key_compression_type: Some(KeyCompressionType::EcPublicKeyTypeUncompressed), ..GetRequest::default() },
            R::KeyCompressionTypeNotSupported,
        ),
    ] {
        assert_eq!(why(service.call(V1_4, &GetRequest { unique_identifier, ..request }, |_| ())), reason);
    }
    let wraps = GetRequest { unique_identifier: Some(&key), key_wrapping_specification: specification(&id), ..GetRequest::default() };
    assert_eq!(why(service.call(V1_4, &wraps, |_| ())), R::IllegalOperation, "it is no key");
    assert_eq!(*world.store.rows(), before);
}

#[test]
fn a_batch_makes_a_template_and_a_key_with_it_and_lets_go_of_the_template() {
    let world = World::edge();
    let mut service = world.service();
    let request =
        RegisterRequest { object_type: ObjectType::Template, template_attribute: with(&[], &[named("t")]), object: holding(&aes(192)) };
    let mut batch = Batch::new(V1_4);
    let kept = batch.push(&request).expect("1.4 has it");
    let key = CreateRequest { object_type: ObjectType::SymmetricKey, template_attribute: with(&["t"], &[]) };
    let first = batch.push(&key).expect("1.4 has it");
    let found = LocateRequest { attributes: vec![bare(named("t"))], ..LocateRequest::default() };
    batch.push(&found).expect("1.4 has it");
    let gone = batch.push(&DestroyRequest::default()).expect("1.4 has it");
    let last = batch.push(&key).expect("1.4 has it");
    let sent = batch.finish();
    let answer = service.ask(&sent.bytes);
    let answers = sent.answers(&answer).expect("it fits the request");
    let made = answers.get(&first).expect("the Template is there").unique_identifier;
    assert_eq!(answers.get(&gone).expect("it is there").unique_identifier, answers.get(&kept).expect("kept").unique_identifier);
    assert_eq!(failed(answers.get(&last).expect_err("the Template is gone")).reason, R::ItemNotFound);
    assert_eq!(told(&mut service, made, "Cryptographic Length"), ["CryptographicLength(192)"]);
    assert_eq!(service.locate(V1_4, &[A::ObjectType(ObjectType::Template)]), Ok(vec![]));
    template(&mut service, "t", &aes(128));
    // So many Templates as searches are named in one message.
    create(&mut service, V1_4, with(&["t"; 16], &[])).expect("so many are looked up");
    assert_eq!(why(create(&mut service, V1_4, with(&["t"; 17], &[]))), R::GeneralFailure);
}

#[test]
fn an_edge_that_forgets_takes_no_template_and_one_that_ends_keys_ends_none() {
    let forgets = World::edge_with(None, true);
    assert_eq!(why(register(&mut forgets.service(), V1_4, &[named("t")], &aes(256))), R::PermissionDenied);
    let ends = World::edge_with(Some(std::time::Duration::from_secs(60)), false);
    let mut service = ends.service();
    let id = template(&mut service, "t", &aes(256));
    let key = create(&mut service, V1_4, with(&["t"], &[])).expect("it says all of it");
    assert_eq!(told(&mut service, &key, "Deactivation Date").len(), 1);
    assert_eq!(told(&mut service, &id, "Deactivation Date"), Vec::<String>::new());
    ends.wait(3600);
    create(&mut service, V1_4, with(&["t"], &[])).expect("a Template has no end");
}
