//! Re-key Key Pair: what the new pair has, what becomes of the old one, which Public Key belongs to a Private Key, and what is no pair.

use cipher::pair::{Curve, PairKind, generate};
use keys::policy::{Action, Role};
use keys::record::Outcome;
use kmip::ttlv::{ByteString, DateTime, Interval, Value};
use kmip::*;

use crate::pairs::*;
use crate::world::*;
use AttributeValue as A;
use ProtocolVersion::{V1_1, V1_2, V1_4};
use ResultReason as R;

const P256: PairKind = PairKind::Ec(Curve::P256);

fn named_pair(client: &mut Client<'_>, more: &[A<'_>], names: [&str; 2]) -> [String; 2] {
    let common = [&wanted(P256)[..], more].concat();
    let request = pair_request(&common, &[mask(SIGN), named(names[0])], &[mask(VERIFY), named(names[1])]);
    made(client, V1_4, &request).expect("it is offered")
}

fn again(private: &str) -> ReKeyKeyPairRequest<'_> {
    ReKeyKeyPairRequest { private_key_unique_identifier: Some(private), ..ReKeyKeyPairRequest::default() }
}

fn rekeyed(client: &mut Client<'_>, version: ProtocolVersion, request: &ReKeyKeyPairRequest<'_>) -> Result<[String; 2], Failed> {
    client.call(version, request, |answer| {
        assert_eq!((&answer.private_key_template_attribute, &answer.public_key_template_attribute), (&None, &None));
        [answer.private_key_unique_identifier.to_owned(), answer.public_key_unique_identifier.to_owned()]
    })
}

fn link(kind: LinkType, to: &str) -> A<'_> {
    A::Link(Link { link_type: Some(kind), linked_object_identifier: Some(to) })
}

fn links(client: &mut Client<'_>, id: &str) -> Vec<String> {
    client.instances(id, "Link").into_iter().map(|(_, value)| value).collect()
}

fn told(client: &mut Client<'_>, id: &str, name: &str) -> Vec<String> {
    client.instances(id, name).into_iter().map(|(_, value)| value).collect()
}

#[test]
fn a_pair_gives_its_place_to_another_of_its_kind_in_every_version() {
    let world = World::edge();
    let mut service = world.service();
    for version in ProtocolVersion::ALL.into_iter().filter(|version| *version >= V1_1) {
        let names = [format!("private {version}"), format!("public {version}")];
        let old = named_pair(&mut service, &[A::Custom("x-a", Value::Integer(7))], [&names[0], &names[1]]);
        for id in &old {
            service.activate(id).expect("it is new");
        }
        world.wait(10);
        world.take_records();
        let new = rekeyed(&mut service, version, &again(&old[0])).expect("an Active pair");
        let records = world.take_records();
        assert!(records.iter().all(|record| (record.action, record.outcome) == (Action::ReKeyKeyPair, Outcome::Success)));
        let objects: Vec<_> = records.iter().filter_map(|record| record.object).map(|id| id.to_string()).collect();
        assert_eq!(objects, new, "each half has a record");
        for (place, (was, is)) in old.iter().zip(&new).enumerate() {
            assert_eq!((service.state(was), service.state(is)), (State::Active, State::Active), "{version}");
            assert_eq!(service.locate(version, &[named(&names[place])]), Ok(vec![is.clone()]));
            assert_eq!(service.instances(was, "Name"), []);
            for name in ["x-a", "Cryptographic Length", "Cryptographic Domain Parameters", "Cryptographic Usage Mask", "Object Type"] {
                assert_eq!(service.instances(is, name), service.instances(was, name), "{name}");
            }
            assert_eq!(told(&mut service, is, "Initial Date"), [format!("InitialDate({:?})", DateTime(world.now()))]);
            assert_eq!(told(&mut service, is, "Original Creation Date"), [format!("OriginalCreationDate({:?})", DateTime(world.now()))]);
            assert_eq!(told(&mut service, is, "Random Number Generator").len(), 1);
            let (kind, other) = [(LinkType::PublicKeyLink, 1), (LinkType::PrivateKeyLink, 0)][place];
            let of_old = [link(kind, &old[other]), link(LinkType::ReplacementObjectLink, is)].map(|link| format!("{link:?}"));
            let of_new = [link(LinkType::ReplacedObjectLink, was), link(kind, &new[other])].map(|link| format!("{link:?}"));
            assert_eq!(links(&mut service, was), of_old, "{version}");
            assert_eq!(links(&mut service, is), of_new, "{version}");
        }
        if version >= V1_2 {
            let way = ecdsa(HashingAlgorithm::Sha256);
            let signature = sign(&mut service, version, &signing(&new[0], &way, b"text")).expect("it is Active");
            assert_eq!(verify(&mut service, version, &judging(&new[1], &way, b"text", &signature)), VALID);
            assert_eq!(verify(&mut service, version, &judging(&old[1], &way, b"text", &signature)), INVALID, "another pair");
            sign(&mut service, version, &signing(&old[0], &way, b"text")).expect("the old one stays Active");
        }
        assert_eq!(why(rekeyed(&mut service, version, &again(&old[0]))), R::PermissionDenied, "it was replaced already");
        rekeyed(&mut service, version, &again(&new[0])).expect("the newest one");
    }
}

#[test]
fn rsa_pairs_are_replaced_with_their_length() {
    let world = World::edge();
    let mut service = world.service();
    let [private, public] = active(&mut service, RSA);
    let new = rekeyed(&mut service, V1_4, &again(&private)).expect("an Active pair");
    for (was, is) in [private, public].iter().zip(&new) {
        assert_eq!(told(&mut service, is, "Cryptographic Length"), ["CryptographicLength(2048)"]);
        assert_eq!(told(&mut service, is, "Cryptographic Algorithm"), told(&mut service, was, "Cryptographic Algorithm"));
    }
    let way =
        Parameters { padding_method: Some(PaddingMethod::Pss), hashing_algorithm: Some(HashingAlgorithm::Sha256), ..Parameters::default() };
    let signature = sign(&mut service, V1_4, &signing(&new[0], &way, b"text")).expect("it is Active");
    assert_eq!(verify(&mut service, V1_4, &judging(&new[1], &way, b"text", &signature)), VALID);
}

#[test]
fn an_offset_moves_the_dates_of_both_halves() {
    let world = World::edge();
    let mut service = world.service();
    let date = |seconds| DateTime(START + seconds);
    let old = named_pair(&mut service, &[A::ActivationDate(date(0)), A::DeactivationDate(date(1000))], ["a", "b"]);
    world.wait(10);
    let later = |offset| ReKeyKeyPairRequest { offset: Some(Interval(offset)), ..again(&old[0]) };
    let own = template(&[A::DeactivationDate(date(5000))]);
    for request in [
        ReKeyKeyPairRequest { common_template_attribute: own.clone(), ..later(0) },
        ReKeyKeyPairRequest { private_key_template_attribute: own.clone(), ..later(0) },
        ReKeyKeyPairRequest { public_key_template_attribute: own, ..later(0) },
        ReKeyKeyPairRequest { common_template_attribute: template(&[A::ActivationDate(date(5))]), ..later(1) },
    ] {
        assert_eq!(why(rekeyed(&mut service, V1_4, &request)), R::InvalidMessage, "the one or the other");
    }
    let new = rekeyed(&mut service, V1_4, &later(100)).expect("an Active pair");
    for id in &new {
        assert_eq!(service.state(id), State::PreActive);
        assert_eq!(told(&mut service, id, "Activation Date"), [format!("ActivationDate({:?})", date(110))]);
        assert_eq!(told(&mut service, id, "Deactivation Date"), [format!("DeactivationDate({:?})", date(1110))]);
    }
    world.wait(100);
    assert_eq!([service.state(&old[0]), service.state(&new[0]), service.state(&new[1])], [State::Active; 3]);
    // Without one they are copied, where they have not passed.
    let third = rekeyed(&mut service, V1_4, &again(&new[0])).expect("an Active pair");
    assert_eq!(told(&mut service, &third[1], "Deactivation Date"), [format!("DeactivationDate({:?})", date(1110))]);
    let idle = named_pair(&mut service, &[A::DeactivationDate(date(9000))], ["c", "d"]);
    let request = ReKeyKeyPairRequest { offset: Some(Interval(0)), ..again(&idle[0]) };
    assert_eq!(why(rekeyed(&mut service, V1_4, &request)), R::IllegalOperation, "no Activation Date to count from");
}

#[test]
fn templates_change_what_is_copied_of_one_half_or_of_both() {
    let world = World::edge();
    let mut service = world.service();
    let old = named_pair(&mut service, &[A::Comment("old"), A::ContactInformation("me")], ["a", "b"]);
    let request = ReKeyKeyPairRequest {
        common_template_attribute: template(&[
            A::Comment("both"),
            A::ObjectGroup("vip"),
            A::CryptographicAlgorithm(CryptographicAlgorithm::Ecdsa),
            A::CryptographicLength(256),
            curve(RecommendedCurve::P256),
        ]),
        private_key_template_attribute: template(&[A::Comment("mine"), named("c"), A::ObjectGroup("own"), mask(SIGN)]),
        public_key_template_attribute: template(&[mask(VERIFY)]),
        ..again(&old[0])
    };
    let [private, public] = rekeyed(&mut service, V1_4, &request).expect("nothing of it contradicts the pair");
    assert_eq!(told(&mut service, &private, "Comment"), ["Comment(\"mine\")"]);
    assert_eq!(told(&mut service, &public, "Comment"), ["Comment(\"both\")"]);
    assert_eq!(told(&mut service, &private, "Object Group").len(), 2, "of what there are several, all");
    assert_eq!(told(&mut service, &public, "Object Group").len(), 1);
    assert_eq!(told(&mut service, &public, "Contact Information"), ["ContactInformation(\"me\")"], "copied");
    assert_eq!(service.locate(V1_4, &[named("c")]), Ok(vec![private.clone()]));
    assert_eq!(service.locate(V1_4, &[named("b")]), Ok(vec![public]));
    named_pair(&mut service, &[], ["a", "e"]);
    let before = world.store.rows().clone();
    let asked = |values: &[A<'static>]| template(values);
    let names = Some(TemplateAttribute { names: vec![Name { value: Some("t"), name_type: Some(NameType::Uri) }], attributes: vec![] });
    let cases = [
        ("another algorithm", asked(&[A::CryptographicAlgorithm(CryptographicAlgorithm::Rsa)]), R::InvalidField),
        ("another length", asked(&[A::CryptographicLength(384)]), R::InvalidField),
        ("another curve", asked(&[curve(RecommendedCurve::P384)]), R::InvalidField),
        ("another mask", asked(&[mask(SIGN | VERIFY)]), R::InvalidField),
        ("a server's attribute", asked(&[A::State(State::Active)]), R::InvalidField),
        ("one thing twice", asked(&[A::Comment("a"), A::Comment("b")]), R::InvalidField),
        ("a name that is taken", asked(&[named("a")]), R::InvalidField),
        ("a forged link", asked(&[link(LinkType::ReplacedObjectLink, "x")]), R::InvalidField),
        ("a template", names, R::ItemNotFound),
    ];
    for (what, own, reason) in cases {
        for request in [
            ReKeyKeyPairRequest { private_key_template_attribute: own.clone(), ..again(&private) },
            ReKeyKeyPairRequest { public_key_template_attribute: own.clone(), ..again(&private) },
        ] {
            assert_eq!(why(rekeyed(&mut service, V1_4, &request)), reason, "{what}");
        }
    }
    let both = ReKeyKeyPairRequest { common_template_attribute: asked(&[named("one")]), ..again(&private) };
    assert_eq!(why(rekeyed(&mut service, V1_4, &both)), R::InvalidField, "one name for both");
    assert_eq!(*world.store.rows(), before);
}

#[test]
fn each_state_of_a_pair_is_replaced_as_re_key_replaces_a_key() {
    let world = World::edge();
    let mut service = world.service();
    for (state, next) in [
        (State::PreActive, Some(State::PreActive)),
        (State::Active, Some(State::Active)),
        (State::Deactivated, Some(State::Active)),
        (State::Compromised, Some(State::Active)),
        (State::Destroyed, None),
    ] {
        // Whichever half is in that state.
        for place in 0..2 {
            let old = named_pair(&mut service, &[], [&format!("{state:?} {place} a"), &format!("{state:?} {place} b")]);
            let half = &old[place];
            if [State::Active, State::Deactivated].contains(&state) {
                service.activate(half).expect("it is new");
            }
            match state {
                State::Deactivated => drop(service.revoke(half, RevocationReasonCode::Superseded).expect("it is Active")),
                State::Compromised => drop(service.revoke(half, RevocationReasonCode::KeyCompromise).expect("it is Pre-Active")),
                State::Destroyed => drop(service.destroy(half).expect("it is Pre-Active")),
                _ => {}
            }
            let before = world.store.rows().clone();
            match (rekeyed(&mut service, V1_4, &again(&old[0])), next) {
                (Ok(new), Some(next)) => {
                    assert_eq!((service.state(half), service.state(&new[place])), (state, next));
                    assert_eq!(service.state(&new[1 - place]), State::PreActive, "each half goes by its own dates");
                }
                (refused, None) => {
                    assert_eq!(why(refused), R::PermissionDenied, "{state:?} {place}");
                    assert_eq!(*world.store.rows(), before);
                }
                (refused, Some(_)) => panic!("{state:?} {place}: {refused:?}"),
            }
        }
    }
}

fn register(client: &mut Client<'_>, object: ManagedObject<'_>) -> String {
    let template_attribute = template(&[mask(SIGN | VERIFY)]).expect("there is one");
    let request = RegisterRequest { object_type: object.object_type(), template_attribute, object };
    client.call(V1_4, &request, |answer| answer.unique_identifier.to_owned()).expect("it is kept")
}

fn block(key_format_type: KeyFormatType, bytes: &[u8]) -> KeyBlock<'_> {
    KeyBlock {
        key_format_type,
        key_compression_type: None,
        key_value: Some(KeyValue::Plain(PlainKeyValue { key_material: KeyMaterial::Bytes(ByteString(bytes)), attributes: vec![] })),
        cryptographic_algorithm: None,
        cryptographic_length: None,
        key_wrapping_data: None,
    }
}

/// Both halves of a pair that was made elsewhere, without a link.
fn brought(client: &mut Client<'_>) -> [String; 2] {
    let pair = generate(P256).expect("the generator works");
    let private = pair
        .private
        .expose(|bytes| register(client, ManagedObject::PrivateKey(PrivateKey { key_block: block(KeyFormatType::ECPrivateKey, bytes) })));
    let public =
        pair.public.expose(|bytes| register(client, ManagedObject::PublicKey(PublicKey { key_block: block(KeyFormatType::X509, bytes) })));
    [private, public]
}

#[test]
fn a_pair_that_was_brought_is_replaced_when_its_halves_are_linked_to_each_other() {
    let world = World::edge();
    let mut service = world.service();
    let [private, public] = brought(&mut service);
    let [_, stranger] = brought(&mut service);
    assert_eq!(why(rekeyed(&mut service, V1_4, &again(&private))), R::PermissionDenied, "no link");
    service.add(V1_4, &private, link(LinkType::PublicKeyLink, &public)).expect("a client may link");
    let refused = rekeyed(&mut service, V1_4, &again(&private)).expect_err("one link");
    assert!(refused.reason == R::PermissionDenied && refused.message.contains("each half has one to the other"), "{}", refused.message);
    service.add(V1_4, &public, link(LinkType::PrivateKeyLink, &private)).expect("a client may link");
    service.add(V1_4, &private, link(LinkType::PublicKeyLink, &stranger)).expect("a client may link");
    assert_eq!(why(rekeyed(&mut service, V1_4, &again(&private))), R::PermissionDenied, "two links");
    service.delete(V1_4, &private, "Link", Some(1)).expect("it is the client's");
    let new = rekeyed(&mut service, V1_4, &again(&private)).expect("a pair");
    let get = GetRequest { unique_identifier: Some(&new[0]), ..GetRequest::default() };
    let format = service.call(V1_4, &get, |answer| match answer.object {
        ManagedObject::PrivateKey(PrivateKey { key_block }) => key_block.key_format_type,
        other => panic!("{other:?}"),
    });
    assert_eq!(format, Ok(KeyFormatType::ECPrivateKey));
}

fn import(client: &mut Client<'_>, unique_identifier: &str, object: ManagedObject<'_>, attributes: &[A<'_>]) {
    let attributes = attributes.iter().cloned().map(bare).collect();
    let request = ImportRequest { unique_identifier, replace_existing: None, key_wrap_type: None, attributes, object };
    client.call(V1_4, &request, |_| ()).expect("it is new here");
}

/// Both halves of a pair as another server had them, under its identifiers and linked by those.
#[test]
fn a_pair_that_was_imported_is_replaced_although_its_links_name_what_it_was_elsewhere() {
    let world = World::edge();
    let mut service = world.service();
    // What another vendor calls its objects, and what another edge does.
    for [private, public] in [["pairs/7", "pairs/7.pub"], ["01890a5d-ac96-774b-bcce-b302099a8057", "01890a5d-ac96-774b-bcce-b302099a8058"]]
    {
        let pair = generate(P256).expect("the generator works");
        let date = || A::ActivationDate(DateTime(START - 500));
        pair.private.expose(|bytes| {
            let key_block = block(KeyFormatType::ECPrivateKey, bytes);
            let attributes = [mask(SIGN), named("mine"), date(), link(LinkType::PublicKeyLink, public)];
            import(&mut service, private, ManagedObject::PrivateKey(PrivateKey { key_block }), &attributes);
        });
        pair.public.expose(|bytes| {
            let key_block = block(KeyFormatType::X509, bytes);
            let attributes = [mask(VERIFY), date(), link(LinkType::PrivateKeyLink, private)];
            import(&mut service, public, ManagedObject::PublicKey(PublicKey { key_block }), &attributes);
        });
        let new = rekeyed(&mut service, V1_4, &again(private)).expect("a pair");
        assert_eq!(service.locate(V1_4, &[named("mine")]), Ok(vec![new[0].clone()]), "the name moves");
        for (place, was) in [private, public].into_iter().enumerate() {
            let (kind, other) = [(LinkType::PublicKeyLink, public), (LinkType::PrivateKeyLink, private)][place];
            assert_eq!((service.state(was), service.state(&new[place])), (State::Active, State::Active));
            let of_old = [link(kind, other), link(LinkType::ReplacementObjectLink, &new[place])].map(|link| format!("{link:?}"));
            assert_eq!(links(&mut service, was), of_old);
            let of_new = links(&mut service, &new[place]);
            assert_eq!(of_new.len(), 2, "{of_new:?}");
            assert_eq!(of_new[1], format!("{:?}", link(kind, &new[1 - place])));
            assert_eq!(told(&mut service, &new[place], "y-imported-as"), Vec::<String>::new(), "it was made here");
            assert_eq!(
                told(&mut service, &new[place], "Original Creation Date"),
                [format!("OriginalCreationDate({:?})", DateTime(world.now()))]
            );
        }
        let way = ecdsa(HashingAlgorithm::Sha256);
        let signature = sign(&mut service, V1_4, &signing(&new[0], &way, b"text")).expect("it is Active");
        assert_eq!(verify(&mut service, V1_4, &judging(&new[1], &way, b"text", &signature)), VALID);
        assert_eq!(verify(&mut service, V1_4, &judging(public, &way, b"text", &signature)), INVALID, "another pair");
        assert_eq!(why(rekeyed(&mut service, V1_4, &again(private))), R::PermissionDenied, "it was replaced already");
        service.revoke(&new[0], RevocationReasonCode::Superseded).expect("it is Active");
        service.destroy(&new[0]).expect("it is Deactivated");
    }
}

#[test]
fn what_is_no_pair_or_not_ones_own_has_no_replacement() {
    let world = World::edge();
    let mut service = world.service();
    let [private, public] = named_pair(&mut service, &[], ["a", "b"]);
    let [other_private, other_public] = brought(&mut service);
    let key = service.create(V1_4, &wish("billing", &[])).expect("a plain key");
    let foreign = named_pair(&mut world.client(Role::Service, "acme", "payroll"), &[], ["a", "b"]);
    for (to, reason) in [
        ("not an identifier", R::PermissionDenied),
        (key.as_str(), R::PermissionDenied),
        (&public, R::PermissionDenied),
        (&private, R::PermissionDenied),
        ("01890a5d-ac96-774b-bcce-b302099a8057", R::ItemNotFound),
        (&foreign[1], R::ItemNotFound),
        ("L3-01890a5d-ac96-774b-bcce-b302099a8057", R::PermissionDenied),
    ] {
        service.add(V1_4, &other_private, link(LinkType::PublicKeyLink, to)).expect("a link is what a client says");
        assert_eq!(why(rekeyed(&mut service, V1_4, &again(&other_private))), reason, "{to}");
        let index = service.instances(&other_private, "Link")[0].0;
        service.delete(V1_4, &other_private, "Link", index).expect("it is the client's");
    }
    let before = world.store.rows().clone();
    for (id, reason) in [
        (key.as_str(), R::PermissionDenied),
        (&public, R::PermissionDenied),
        (&other_public, R::PermissionDenied),
        ("01890a5d-ac96-774b-bcce-b302099a8057", R::ItemNotFound),
        ("nothing", R::ItemNotFound),
        (&foreign[0], R::ItemNotFound),
        ("L3-01890a5d-ac96-774b-bcce-b302099a8057", R::PermissionDenied),
    ] {
        assert_eq!(why(rekeyed(&mut service, V1_4, &again(id))), reason, "{id}");
    }
    for (role, tenant, name, reason) in [
        (Role::TenantAdmin, "acme", "", R::PermissionDenied),
        (Role::TenantAdmin, "globex", "", R::ItemNotFound),
        (Role::Service, "acme", "payroll", R::ItemNotFound),
        (Role::Operator, "", "", R::ItemNotFound),
    ] {
        assert_eq!(why(rekeyed(&mut world.client(role, tenant, name), V1_4, &again(&private))), reason, "{role:?} {tenant} {name}");
    }
    assert_eq!(why(rekeyed(&mut World::found().service(), V1_4, &again(&private))), R::PermissionDenied, "a core says that an edge does");
    assert_eq!(*world.store.rows(), before);
    for half in [&private, &public] {
        service.call(V1_4, &ArchiveRequest { unique_identifier: Some(half) }, |_| ()).expect("it is at hand");
        assert_eq!(why(rekeyed(&mut service, V1_4, &again(&private))), R::ObjectArchived);
        service.call(V1_4, &RecoverRequest { unique_identifier: Some(half) }, |_| ()).expect("it is archived");
    }
    rekeyed(&mut service, V1_4, &again(&private)).expect("it is still a pair");
}

#[test]
fn a_batch_replaces_the_pair_that_it_made_and_goes_on_with_the_new_private_key() {
    let world = World::edge();
    let mut service = world.service();
    let before = world.store.rows().len();
    for fails in [true, false] {
        let mut batch = Batch::new(V1_4);
        batch.on_error(BatchErrorContinuationOption::Undo);
        let request = pair_request(&wanted(P256), &[mask(SIGN), named("a")], &[mask(VERIFY), named("b")]);
        let first = batch.push(&request).expect("1.4 has it");
        let second = batch.push(&ReKeyKeyPairRequest::default()).expect("1.4 has it");
        let activated = batch.push(&ActivateRequest::default()).expect("1.4 has it");
        if fails {
            batch.push(&ActivateRequest { unique_identifier: Some("nothing") }).expect("1.4 has it");
        }
        let sent = batch.finish();
        let answer = service.ask(&sent.bytes);
        let answers = sent.answers(&answer).expect("it fits the request");
        if fails {
            assert!(answers.get(&second).is_err(), "undone");
            // The service's attribute key is there from its first object on.
            assert!(world.store.rows().len() <= before + 1, "nothing of it is left");
            assert_eq!(service.locate(V1_4, &[]), Ok(vec![]));
            continue;
        }
        let (old, new) = (answers.get(&first).expect("made"), answers.get(&second).expect("replaced"));
        assert_ne!(old.private_key_unique_identifier, new.private_key_unique_identifier);
        assert_eq!(answers.get(&activated).expect("it is new").unique_identifier, new.private_key_unique_identifier);
        assert_eq!(service.locate(V1_4, &[named("a")]), Ok(vec![new.private_key_unique_identifier.to_owned()]));
        assert_eq!(service.state(new.private_key_unique_identifier), State::Active);
        assert_eq!(service.state(old.private_key_unique_identifier), State::PreActive);
    }
}
