//! Derive Key by Asymmetric Key at an edge: two parties agree on a key, and what does not agree.

use cipher::key_form::{PublicForm, write_public};
use cipher::pair::{Curve, PairKind, generate};
use keys::policy::{Action, Role};
use keys::record::Outcome;
use kmip::ttlv::{ByteString, Unsigned};
use kmip::*;

use crate::edge_derive::{DERIVES, asks, derived, material};
use crate::pairs::{RSA, SIGN, made, mask, pair_request, template, wanted};
use crate::world::*;
use AttributeValue as A;
use DerivationMethod as M;
use ProtocolVersion::V1_4;
use ResultReason as R;

/// An Active pair for that.
fn pair(client: &mut Client<'_>, kind: PairKind, more: &[A<'_>]) -> [String; 2] {
    let own = [&[mask(DERIVES)], more].concat();
    let pair = made(client, V1_4, &pair_request(&wanted(kind), &own, &[mask(DERIVES)])).expect("it is offered");
    for id in &pair {
        client.activate(id).expect("it is new");
    }
    pair
}

/// An Active object that came from elsewhere.
fn brought(client: &mut Client<'_>, object: ManagedObject<'_>) -> String {
    let template_attribute = template(&[mask(DERIVES)]).expect("there is one");
    let request = RegisterRequest { object_type: object.object_type(), template_attribute, object };
    let id = client.call(V1_4, &request, |answer| answer.unique_identifier.to_owned()).expect("it is kept");
    client.activate(&id).expect("it is new");
    id
}

fn block(key_format_type: KeyFormatType, key_material: KeyMaterial<'_>) -> KeyBlock<'_> {
    KeyBlock {
        key_format_type,
        key_compression_type: None,
        key_value: Some(KeyValue::Plain(PlainKeyValue { key_material, attributes: vec![] })),
        cryptographic_algorithm: None,
        cryptographic_length: None,
        key_wrapping_data: None,
    }
}

fn none() -> DerivationParameters<'static> {
    DerivationParameters::default()
}

fn by(parameters: CryptographicParameters<'static>) -> DerivationParameters<'static> {
    DerivationParameters { cryptographic_parameters: Some(parameters), ..none() }
}

fn by_algorithm(algorithm: CryptographicAlgorithm) -> DerivationParameters<'static> {
    by(CryptographicParameters { cryptographic_algorithm: Some(algorithm), ..CryptographicParameters::default() })
}

#[test]
fn two_parties_agree_on_a_key_by_their_own_private_and_the_others_public_key() {
    let world = World::edge();
    let [mut alice, mut bob] = [world.service(), world.client(Role::Service, "acme", "payroll")];
    for of in Curve::ALL {
        let [alices, bobs] = [&mut alice, &mut bob].map(|party| pair(party, PairKind::Ec(of), &[]));
        let sent = |from: &mut Client<'_>, public: &str, to: &mut Client<'_>| {
            let get = GetRequest { unique_identifier: Some(public), key_format_type: Some(KeyFormatType::X509), ..GetRequest::default() };
            let der = from.call(V1_4, &get, |answer| match &answer.object {
                ManagedObject::PublicKey(key) => match &key.key_block.key_value {
                    Some(KeyValue::Plain(PlainKeyValue { key_material: KeyMaterial::Bytes(bytes), .. })) => bytes.0.to_vec(),
                    other => panic!("{other:?}"),
                },
                other => panic!("{other:?}"),
            });
            let der = der.expect("it is the client's");
            let key_block = block(KeyFormatType::X509, KeyMaterial::Bytes(ByteString(&der)));
            brought(to, ManagedObject::PublicKey(PublicKey { key_block }))
        };
        let [of_bob, of_alice] = [sent(&mut bob, &bobs[1], &mut alice), sent(&mut alice, &alices[1], &mut bob)];
        world.take_records();
        let key = derived(&mut alice, V1_4, &asks(&[&alices[0], &of_bob], M::AsymmetricKey, none(), None)).expect("it is offered");
        assert_eq!(world.outcomes(), [(Action::DeriveKey, Outcome::Success)]);
        let whole = i32::try_from(of.bytes() * 8).expect("a length");
        let secret = asks(&[&of_alice, &bobs[0]], M::AsymmetricKey, by_algorithm(CryptographicAlgorithm::Ecdh), Some(whole));
        let secret = derived(&mut bob, V1_4, &secret).expect("in whichever order");
        let secret = material(&mut bob, &secret);
        assert_eq!((secret.len(), &secret[..32]), (of.bytes(), &material(&mut alice, &key)[..]), "{of:?}");
        let longer = asks(&[&of_alice, &bobs[0]], M::AsymmetricKey, none(), Some(whole + 8));
        assert_eq!(why(derived(&mut bob, V1_4, &longer)), R::CryptographicFailure, "{of:?}: that is all there is");
        let links = alice.instances(&key, "Link");
        let base =
            |id| format!("{:?}", A::Link(Link { link_type: Some(LinkType::DerivationBaseObjectLink), linked_object_identifier: Some(id) }));
        assert_eq!(links.into_iter().map(|(_, link)| link).collect::<Vec<_>>(), [base(&alices[0]), base(&of_bob)]);
        assert_eq!(alice.instances(&of_bob, "Link").len(), 1, "a link to what was derived");
    }
}

/// RFC 5903, 8.1: the initiator's private key, the responder's public key, and the x coordinate of what both compute.
#[test]
fn what_is_agreed_is_that_of_its_document() {
    let world = World::edge();
    let mut service = world.service();
    let bytes = |hex: &str| data_encoding::HEXUPPER.decode(hex.as_bytes()).expect("it is hexadecimal");
    let scalar = bytes("C88F01F510D9AC3F70A292DAA2316DE544E9AAB8AFE84049C62A9C57862D1433");
    let x = "D12DFB5289C8D4F81208B70270398C342296970A0BCCB74C736FC7554494BF63";
    let y = "56FBF3CA366CC23E8157854C13C58D6AAC23F046ADA30F8353E74F33039872AB";
    let point = bytes(&["04", x, y].concat());
    let recommended_curve = RecommendedCurve::P256;
    let private = TransparentEcPrivateKey { recommended_curve, d: Unsigned(&scalar) };
    let key_block = block(KeyFormatType::TransparentEcPrivateKey, KeyMaterial::TransparentEcPrivateKey(private));
    let private = brought(&mut service, ManagedObject::PrivateKey(PrivateKey { key_block }));
    let public = TransparentEcPublicKey { recommended_curve, q_string: ByteString(&point) };
    let key_block = block(KeyFormatType::TransparentEcPublicKey, KeyMaterial::TransparentEcPublicKey(public));
    let public = brought(&mut service, ManagedObject::PublicKey(PublicKey { key_block }));
    let id = derived(&mut service, V1_4, &asks(&[&private, &public], M::AsymmetricKey, none(), Some(256))).expect("it is offered");
    assert_eq!(material(&mut service, &id), bytes("D6840F6B42F6EDAFD13116E0E12565202FEF8E9ECE7DCE03812464D04B9442DE"));
}

#[test]
fn what_does_not_agree_is_refused_and_leaves_nothing() {
    let world = World::edge();
    let mut service = world.service();
    let p256 = PairKind::Ec(Curve::P256);
    let [private, public] = pair(&mut service, p256, &[]);
    let [other_private, other_public] = pair(&mut service, p256, &[]);
    let [p384_private, p384_public] = pair(&mut service, PairKind::Ec(Curve::P384), &[]);
    let [rsa_private, rsa_public] = pair(&mut service, RSA, &[]);
    let [signs, verifies] = made(&mut service, V1_4, &pair_request(&wanted(p256), &[mask(SIGN)], &[mask(2)])).expect("it is offered");
    let [idle, idle_public] = made(&mut service, V1_4, &pair_request(&wanted(p256), &[mask(DERIVES)], &[mask(DERIVES)])).expect("offered");
    for id in [&signs, &verifies] {
        service.activate(id).expect("it is new");
    }
    let key_block = KeyBlock {
        cryptographic_algorithm: Some(CryptographicAlgorithm::Aes),
        cryptographic_length: Some(256),
        ..block(KeyFormatType::Raw, KeyMaterial::Bytes(ByteString(&[7; 32])))
    };
    let aes = brought(&mut service, ManagedObject::SymmetricKey(SymmetricKey { key_block }));
    let ecdh = || by_algorithm(CryptographicAlgorithm::Ecdh);
    let hashed = by(CryptographicParameters { hashing_algorithm: Some(HashingAlgorithm::Sha256), ..CryptographicParameters::default() });
    let parameters = DerivationParameters::default;
    let cases = [
        ("one", vec![&*private], none()),
        ("one twice", vec![&*private, &*private], none()),
        ("three", vec![&*private, &*public, &*other_public], none()),
        ("two private keys", vec![&*private, &*other_private], none()),
        ("two public keys", vec![&*public, &*other_public], none()),
        ("a symmetric key", vec![&*private, &*aes], none()),
        ("no half at all", vec![&*aes, &*other_public], none()),
        ("two curves", vec![&*private, &*p384_public], none()),
        ("two curves", vec![&*p384_private, &*public], none()),
        ("RSA", vec![&*rsa_private, &*rsa_public], none()),
        ("a private key of another use", vec![&*signs, &*public], none()),
        ("a public key of another use", vec![&*private, &*verifies], none()),
        ("a private key that is not Active", vec![&*idle, &*public], none()),
        ("a public key that is not Active", vec![&*private, &*idle_public], none()),
        ("a hash", vec![&*private, &*other_public], hashed),
        ("another algorithm", vec![&*private, &*other_public], by_algorithm(CryptographicAlgorithm::Aes)),
        ("data", vec![&*private, &*other_public], DerivationParameters { derivation_data: Some(ByteString(b"data")), ..ecdh() }),
        ("an IV", vec![&*private, &*other_public], DerivationParameters { initialization_vector: Some(ByteString(b"iv")), ..parameters() }),
        ("a salt", vec![&*private, &*other_public], DerivationParameters { salt: Some(ByteString(b"salt")), ..parameters() }),
    ];
    let before = world.store.rows().clone();
    for (what, ids, parameters) in cases {
        let request = asks(&ids, M::AsymmetricKey, parameters, None);
        assert_eq!(why(derived(&mut service, V1_4, &request)), R::InvalidField, "{what}");
    }
    let agreeing = asks(&[&private, &other_public], M::AsymmetricKey, ecdh(), None);
    let unknown = asks(&[&private, "01890a5d-ac96-774b-bcce-b302099a8057"], M::AsymmetricKey, none(), None);
    assert_eq!(why(derived(&mut service, V1_4, &unknown)), R::ItemNotFound);
    let mut stranger = world.client(Role::Service, "acme", "payroll");
    assert_eq!(why(derived(&mut stranger, V1_4, &agreeing)), R::ItemNotFound);
    assert_eq!(why(derived(&mut world.admin(), V1_4, &agreeing)), R::PermissionDenied);
    assert_eq!(*world.store.rows(), before, "nothing was made");
    service.call(V1_4, &ArchiveRequest { unique_identifier: Some(&other_public) }, |_| ()).expect("it is at hand");
    assert_eq!(why(derived(&mut service, V1_4, &agreeing)), R::ObjectArchived);
    service.call(V1_4, &RecoverRequest { unique_identifier: Some(&other_public) }, |_| ()).expect("it is archived");
    derived(&mut service, V1_4, &agreeing).expect("now they agree");
}

#[test]
fn what_comes_of_a_sensitive_private_key_is_sensitive_and_its_limit_counts() {
    let world = World::edge();
    let mut service = world.service();
    let p256 = PairKind::Ec(Curve::P256);
    let limit = A::UsageLimits(UsageLimits { total: Some(1), count: None, unit: Some(UsageLimitsUnit::Object) });
    let [private, _] = pair(&mut service, p256, &[A::Sensitive(true), limit]);
    let other = generate(p256).expect("the generator works").public;
    let other = other.expose(|stored| write_public(stored, PublicForm::SubjectPublicKeyInfo)).expect("there is such a form");
    let other = other.expose(|der| {
        let key_block = block(KeyFormatType::X509, KeyMaterial::Bytes(ByteString(der)));
        brought(&mut service, ManagedObject::PublicKey(PublicKey { key_block }))
    });
    let request = asks(&[&private, &other], M::AsymmetricKey, none(), None);
    let id = derived(&mut service, V1_4, &request).expect("one");
    let get = GetRequest { unique_identifier: Some(&id), ..GetRequest::default() };
    assert_eq!(why(service.call(V1_4, &get, |_| ())), R::Sensitive);
    assert_eq!(why(derived(&mut service, V1_4, &request)), R::InvalidField);
}
