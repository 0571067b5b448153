//! Original Creation Date and Random Number Generator: when and how an object was made, of whatever a node has made itself.

use kmip::ttlv::{ByteString, DateTime};
use kmip::*;

use crate::world::*;
use AttributeValue as A;
use ProtocolVersion::{V1_2, V1_3, V1_4};
use ResultReason as R;

const NAMES: [&str; 2] = ["Original Creation Date", "Random Number Generator"];

fn generator(rng_algorithm: RngAlgorithm) -> A<'static> {
    A::RandomNumberGenerator(RngParameters {
        rng_algorithm,
        cryptographic_algorithm: None,
        cryptographic_length: None,
        hashing_algorithm: None,
        drbg_algorithm: None,
        recommended_curve: None,
        fips186_variation: None,
        prediction_resistance: None,
    })
}

fn made_at(seconds: i64) -> A<'static> {
    A::OriginalCreationDate(DateTime(START + seconds))
}

/// Both attributes, as text.
fn told(client: &mut Client<'_>, version: ProtocolVersion, id: &str) -> Vec<String> {
    let request = GetAttributesRequest { unique_identifier: Some(id), attribute_names: NAMES.to_vec() };
    let told = client.call(version, &request, |answer| answer.attributes.iter().map(|one| format!("{:?}", one.value)).collect());
    told.expect("it is the client's")
}

fn listed(client: &mut Client<'_>, version: ProtocolVersion, id: &str) -> Vec<String> {
    let request = GetAttributeListRequest { unique_identifier: Some(id) };
    let names = client.call(version, &request, |answer| answer.attribute_names.iter().map(ToString::to_string).collect::<Vec<_>>());
    names.expect("it is the client's").into_iter().filter(|name| NAMES.contains(&name.as_str())).collect()
}

fn both(seconds: i64) -> [String; 2] {
    [format!("{:?}", made_at(seconds)), format!("{:?}", generator(RngAlgorithm::Unspecified))]
}

fn rekey_with<'a>(client: &mut Client<'_>, id: &'a str, attributes: &[A<'a>]) -> Result<String, Failed> {
    let attributes = attributes.iter().cloned().map(bare).collect();
    let template_attribute = Some(TemplateAttribute { names: vec![], attributes });
    let request = ReKeyRequest { unique_identifier: Some(id), offset: None, template_attribute };
    client.call(V1_4, &request, |answer| answer.unique_identifier.to_owned())
}

#[test]
fn every_key_of_a_core_tells_when_it_was_made_and_that_the_system_s_generator_made_it() {
    let world = World::found();
    let mut admin = world.admin();
    let default = world.default_key();
    world.wait(10);
    let key = admin.create(V1_4, &wish("billing", &[])).expect("a plain key");
    admin.activate(&key).expect("it is new");
    world.wait(50);
    for (id, seconds) in [(&default, 0), (&key, 10)] {
        let new = admin.rekey(V1_4, id).expect("it is Active");
        assert_eq!(told(&mut admin, V1_4, id), both(seconds));
        assert_eq!(told(&mut admin, V1_4, &new), both(60), "not copied");
        // Each version is told what it has.
        for version in ProtocolVersion::ALL {
            let known = usize::from(version >= V1_2) + usize::from(version >= V1_3);
            assert_eq!(told(&mut world.service(), version, &new), both(60)[..known], "{version}");
            assert_eq!(listed(&mut admin, version, &new), NAMES[..known], "{version}");
        }
    }
    let l2 = admin.locate(V1_4, &[A::Custom("y-layer", ttlv::Value::TextString("L2"))]).expect("an admin looks")[0].clone();
    assert_eq!(told(&mut admin, V1_4, &l2), both(0));
    assert_eq!(admin.locate(V1_4, &[made_at(10)]), Ok(vec![key.clone()]));
    assert_eq!(admin.locate(V1_4, &[made_at(60), made_at(61)]).map(|found| found.len()), Ok(2));
    assert_eq!(admin.locate(V1_4, &[generator(RngAlgorithm::Unspecified)]).map(|found| found.len()), Ok(5));
    assert_eq!(admin.locate(V1_4, &[generator(RngAlgorithm::Drbg)]), Ok(vec![]));
}

#[test]
fn a_client_may_say_another_date_of_a_core_s_key_once_and_no_other_generator() {
    let world = World::found();
    let mut admin = world.admin();
    let key = admin.create(V1_4, &wish("billing", &[made_at(-90), generator(RngAlgorithm::Unspecified)])).expect("it is ours");
    assert_eq!(told(&mut admin, V1_4, &key), both(-90));
    assert_eq!(admin.locate(V1_4, &[made_at(-90)]), Ok(vec![key.clone()]));
    assert_eq!(admin.locate(V1_4, &[made_at(0), generator(RngAlgorithm::Unspecified)]).map(|found| found.contains(&key)), Ok(false));
    for value in [made_at(-91), generator(RngAlgorithm::Unspecified)] {
        assert_eq!(why(admin.add(V1_4, &key, value.clone())), R::IllegalOperation, "it has one");
        assert_eq!(why(admin.modify(V1_4, &key, None, value)), R::PermissionDenied);
    }
    let failed = admin.create(V1_4, &wish("billing", &[generator(RngAlgorithm::Drbg)])).expect_err("it is not ours");
    assert!(failed.reason == R::InvalidField && failed.message.starts_with("Random Number Generator"), "{}", failed.message);
    assert_eq!(why(rekey_with(&mut admin, &key, &[generator(RngAlgorithm::Drbg)])), R::InvalidField);
    let new = rekey_with(&mut admin, &key, &[generator(RngAlgorithm::Unspecified)]).expect("it is ours");
    assert_eq!(told(&mut admin, V1_4, &new), both(0));
}

fn register(client: &mut Client<'_>, attributes: &[A<'_>]) -> Result<String, Failed> {
    let attributes = attributes.iter().cloned().map(bare).collect();
    let key_material = KeyMaterial::Bytes(ByteString(&[7; 32]));
    let key_block = KeyBlock {
        key_format_type: KeyFormatType::Raw,
        key_compression_type: None,
        key_value: Some(KeyValue::Plain(PlainKeyValue { key_material, attributes: vec![] })),
        cryptographic_algorithm: Some(CryptographicAlgorithm::Aes),
        cryptographic_length: Some(256),
        key_wrapping_data: None,
    };
    let object = ManagedObject::SymmetricKey(SymmetricKey { key_block });
    let template_attribute = TemplateAttribute { names: vec![], attributes };
    let request = RegisterRequest { object_type: object.object_type(), template_attribute, object };
    client.call(V1_4, &request, |answer| answer.unique_identifier.to_owned())
}

#[test]
fn what_is_brought_to_an_edge_has_what_its_client_says_and_once() {
    let world = World::edge();
    let mut service = world.service();
    let mask = A::CryptographicUsageMask(CryptographicUsageMask(DATA | 0x200));
    let plain = register(&mut service, std::slice::from_ref(&mask)).expect("it is kept");
    assert_eq!(told(&mut service, V1_4, &plain), Vec::<String>::new());
    for value in [made_at(-7), generator(RngAlgorithm::Drbg)] {
        service.add(V1_4, &plain, value.clone()).expect("nobody has said it yet");
        assert_eq!(why(service.add(V1_4, &plain, value.clone())), R::IllegalOperation);
        assert_eq!(why(service.modify(V1_4, &plain, None, value)), R::PermissionDenied);
    }
    let said = register(&mut service, &[mask, made_at(-7), generator(RngAlgorithm::Drbg)]).expect("it is kept");
    for id in [&plain, &said] {
        assert_eq!(told(&mut service, V1_4, id), [format!("{:?}", made_at(-7)), format!("{:?}", generator(RngAlgorithm::Drbg))]);
    }
    let mut found = service.locate(V1_4, &[generator(RngAlgorithm::Drbg)]).expect("a client searches");
    found.sort_unstable();
    let mut expected = vec![plain.clone(), said];
    expected.sort_unstable();
    assert_eq!(found, expected);
    let same = register(&mut service, &[made_at(-7), generator(RngAlgorithm::Unspecified)]).expect("it is kept");
    assert_eq!(told(&mut service, V1_4, &same), both(-7));
    service.destroy(&same).expect("it is Pre-Active");
    // What the edge makes of it was made by the edge.
    service.activate(&plain).expect("it is new");
    world.wait(20);
    let new = service.rekey(V1_4, &plain).expect("it is Active");
    assert_eq!(told(&mut service, V1_4, &new), both(20));
    let wanted = wish("billing", &[generator(RngAlgorithm::Unspecified)]);
    let derive = |attributes: &[A<'static>]| DeriveKeyRequest {
        object_type: ObjectType::SymmetricKey,
        unique_identifiers: vec![&plain],
        derivation_method: DerivationMethod::Hmac,
        derivation_parameters: DerivationParameters {
            cryptographic_parameters: Some(CryptographicParameters {
                hashing_algorithm: Some(HashingAlgorithm::Sha256),
                ..CryptographicParameters::default()
            }),
            derivation_data: Some(ByteString(b"label")),
            ..DerivationParameters::default()
        },
        template_attribute: TemplateAttribute { names: vec![], attributes: attributes.iter().cloned().map(bare).collect() },
    };
    let derived = service.call(V1_4, &derive(&wanted), |answer| answer.unique_identifier.to_owned()).expect("it is for that");
    assert_eq!(told(&mut service, V1_4, &derived), both(20));
    assert_eq!(why(service.call(V1_4, &derive(&wish("billing", &[generator(RngAlgorithm::Drbg)])), |_| ())), R::InvalidField);
    let made = service.create(V1_4, &wanted).expect("it is ours");
    assert_eq!(told(&mut service, V1_4, &made), both(20));
    assert_eq!(service.locate(V1_4, &[generator(RngAlgorithm::Unspecified)]).map(|found| found.len()), Ok(3));
    let dated = service.create(V1_4, &wish("billing", &[made_at(-90)])).expect("a client may say it");
    assert_eq!(told(&mut service, V1_4, &dated), both(-90), "its own date, and only that");
}
