//! Key pairs at an edge: made, brought and returned in every format, and what is signed, verified, encrypted and decrypted with them.

use cipher::key_form::{self, PrivateForm, PublicForm};
use cipher::pair::{Curve, Pair, PairKind, generate};
use keys::policy::{Action, Role};
use keys::record::Outcome;
use kmip::ttlv::{ByteString, Unsigned};
use kmip::*;

use crate::world::*;
use CryptographicAlgorithm as Algorithm;
use CryptographicUsageMask as Mask;
use ProtocolVersion::{V1_0, V1_2, V1_3, V1_4};
use ResultReason as R;

pub(crate) type Parameters = CryptographicParameters<'static>;

pub(crate) const RSA: PairKind = PairKind::Rsa { bits: 2048 };
pub(crate) const SIGN: i32 = 1;
pub(crate) const VERIFY: i32 = 2;
const ENCRYPT: i32 = 4;
const DECRYPT: i32 = 8;

pub(crate) fn template<'a>(values: &[AttributeValue<'a>]) -> Option<TemplateAttribute<'a>> {
    Some(TemplateAttribute { names: vec![], attributes: values.iter().cloned().map(bare).collect() })
}

pub(crate) fn mask(bits: i32) -> AttributeValue<'static> {
    AttributeValue::CryptographicUsageMask(Mask(bits))
}

pub(crate) fn curve(curve: RecommendedCurve) -> AttributeValue<'static> {
    let parameters = CryptographicDomainParameters { qlength: None, recommended_curve: Some(curve) };
    AttributeValue::CryptographicDomainParameters(parameters)
}

pub(crate) fn wanted(kind: PairKind) -> Vec<AttributeValue<'static>> {
    match kind {
        PairKind::Rsa { bits } => vec![
            AttributeValue::CryptographicAlgorithm(Algorithm::Rsa),
            AttributeValue::CryptographicLength(i32::try_from(bits).expect("a length")),
        ],
        PairKind::Ec(of) => vec![
            AttributeValue::CryptographicAlgorithm(Algorithm::Ecdsa),
            curve(match of {
                Curve::P256 => RecommendedCurve::P256,
                Curve::P384 => RecommendedCurve::P384,
                Curve::P521 => RecommendedCurve::P521,
            }),
        ],
    }
}

pub(crate) fn pair_request<'a>(
    common: &[AttributeValue<'a>],
    private: &[AttributeValue<'a>],
    public: &[AttributeValue<'a>],
) -> CreateKeyPairRequest<'a> {
    CreateKeyPairRequest {
        common_template_attribute: template(common),
        private_key_template_attribute: template(private),
        public_key_template_attribute: template(public),
    }
}

/// The identifiers of the private and of the public half.
pub(crate) fn made(client: &mut Client<'_>, version: ProtocolVersion, request: &CreateKeyPairRequest<'_>) -> Result<[String; 2], Failed> {
    client
        .call(version, request, |answer| [answer.private_key_unique_identifier.to_owned(), answer.public_key_unique_identifier.to_owned()])
}

/// An Active pair for signing, and for encrypting where it can.
pub(crate) fn active(client: &mut Client<'_>, kind: PairKind) -> [String; 2] {
    let request = pair_request(&wanted(kind), &[mask(SIGN | DECRYPT)], &[mask(VERIFY | ENCRYPT)]);
    let pair = made(client, V1_4, &request).expect("it is offered");
    for id in &pair {
        client.activate(id).expect("it is new");
    }
    pair
}

pub(crate) fn pss() -> Parameters {
    Parameters { padding_method: Some(PaddingMethod::Pss), hashing_algorithm: Some(HashingAlgorithm::Sha256), ..Parameters::default() }
}

pub(crate) fn ecdsa(hash: HashingAlgorithm) -> Parameters {
    Parameters { cryptographic_algorithm: Some(Algorithm::Ecdsa), hashing_algorithm: Some(hash), ..Parameters::default() }
}

pub(crate) fn by_name(algorithm: DigitalSignatureAlgorithm) -> Parameters {
    Parameters { digital_signature_algorithm: Some(algorithm), ..Parameters::default() }
}

pub(crate) fn signing<'a>(id: &'a str, parameters: &Parameters, data: &'a [u8]) -> SignRequest<'a> {
    SignRequest {
        unique_identifier: Some(id),
        cryptographic_parameters: Some(parameters.clone()),
        data: Some(ByteString(data)),
        ..SignRequest::default()
    }
}

pub(crate) fn sign(client: &mut Client<'_>, version: ProtocolVersion, request: &SignRequest<'_>) -> Result<Vec<u8>, Failed> {
    client.call(version, request, |answer| answer.signature_data.expect("it is done at once").0.to_vec())
}

pub(crate) fn judging<'a>(id: &'a str, parameters: &Parameters, data: &'a [u8], signature: &'a [u8]) -> SignatureVerifyRequest<'a> {
    SignatureVerifyRequest {
        unique_identifier: Some(id),
        cryptographic_parameters: Some(parameters.clone()),
        data: Some(ByteString(data)),
        signature_data: Some(ByteString(signature)),
        ..SignatureVerifyRequest::default()
    }
}

pub(crate) fn verify(
    client: &mut Client<'_>,
    version: ProtocolVersion,
    request: &SignatureVerifyRequest<'_>,
) -> Result<ValidityIndicator, Failed> {
    client.call(version, request, |answer| answer.validity_indicator)
}

pub(crate) const VALID: Result<ValidityIndicator, Failed> = Ok(ValidityIndicator::Valid);
pub(crate) const INVALID: Result<ValidityIndicator, Failed> = Ok(ValidityIndicator::Invalid);

#[test]
fn a_pair_lives_from_its_making_to_its_end_in_every_version() {
    let world = World::edge();
    let mut service = world.service();
    for version in ProtocolVersion::ALL {
        let names = [format!("private {version}"), format!("public {version}")];
        let request = pair_request(&wanted(RSA), &[named(&names[0]), mask(SIGN)], &[named(&names[1]), mask(VERIFY)]);
        world.take_records();
        let [private, public] = made(&mut service, version, &request).expect("it is offered");
        let records = world.take_records();
        assert!(records.iter().all(|record| (record.action, record.outcome) == (Action::CreateKeyPair, Outcome::Success)));
        let objects: Vec<_> = records.iter().filter_map(|record| record.object).map(|id| id.to_string()).collect();
        assert_eq!(objects, [private.clone(), public.clone()], "each half has a record");
        assert_eq!(service.locate(version, &[named(&names[0])]), Ok(vec![private.clone()]));
        assert_eq!(service.locate(version, &[named(&names[1])]), Ok(vec![public.clone()]));
        assert_eq!(service.state(&private), State::PreActive);
        let links = [(&private, &public, "PublicKeyLink"), (&public, &private, "PrivateKeyLink")];
        for (of, to, kind) in links {
            let link = service.instances(of, "Link");
            assert!(link.len() == 1 && link[0].1.contains(kind) && link[0].1.contains(to.as_str()), "{link:?}");
        }
        if version < V1_2 {
            continue;
        }
        assert_eq!(why(sign(&mut service, version, &signing(&private, &pss(), b"text"))), R::PermissionDenied, "Pre-Active");
        service.activate(&private).expect("it is new");
        service.activate(&public).expect("it is new");
        let signature = sign(&mut service, version, &signing(&private, &pss(), b"text")).expect("it is Active");
        assert_eq!(signature.len(), 256);
        assert_eq!(verify(&mut service, version, &judging(&public, &pss(), b"text", &signature)), VALID);
        assert_eq!(verify(&mut service, version, &judging(&public, &pss(), b"other", &signature)), INVALID);
        for id in [&private, &public] {
            assert_eq!(why(service.destroy(id)), R::PermissionDenied, "it is Active");
            service.revoke(id, RevocationReasonCode::Superseded).expect("it is Active");
        }
        assert_eq!(why(sign(&mut service, version, &signing(&private, &pss(), b"text"))), R::PermissionDenied, "C23: it signs no more");
        assert_eq!(verify(&mut service, version, &judging(&public, &pss(), b"text", &signature)), VALID, "C23: it still verifies");
        for id in [&private, &public] {
            service.destroy(id).expect("it is Deactivated");
        }
        assert_eq!(why(verify(&mut service, version, &judging(&public, &pss(), b"text", &signature))), R::PermissionDenied);
        assert_eq!(made(&mut service, version, &request).map(|_| ()), Ok(()), "its names are free again");
    }
}

#[test]
fn every_kind_is_made_with_the_attributes_of_its_templates() {
    use AttributeValue as A;
    let world = World::edge();
    let mut service = world.service();
    let told = |service: &mut Client<'_>, id: &str, name: &str| {
        service.instances(id, name).into_iter().map(|(_, value)| value).collect::<Vec<_>>()
    };
    for (of, bits, format) in [(Curve::P256, 256, "ECPrivateKey"), (Curve::P384, 384, "ECPrivateKey"), (Curve::P521, 521, "ECPrivateKey")] {
        let common = [&wanted(PairKind::Ec(of))[..], &[A::Sensitive(true), A::Comment("both"), mask(VERIFY)]].concat();
        let request = pair_request(&common, &[mask(SIGN), A::Comment("mine")], &[A::Sensitive(false)]);
        let [private, public] = made(&mut service, V1_4, &request).expect("it is offered");
        assert_eq!(told(&mut service, &private, "Cryptographic Length"), [format!("CryptographicLength({bits})")]);
        assert!(told(&mut service, &public, "Cryptographic Domain Parameters")[0].contains(&format!("P{bits}")));
        assert_eq!(told(&mut service, &private, "Object Type"), ["ObjectType(PrivateKey)"]);
        assert_eq!(told(&mut service, &public, "Object Type"), ["ObjectType(PublicKey)"]);
        // Table 166: of what there is one of, a half's own.
        assert_eq!(told(&mut service, &private, "Comment"), ["Comment(\"mine\")"]);
        assert_eq!(told(&mut service, &public, "Comment"), ["Comment(\"both\")"]);
        assert_eq!(told(&mut service, &private, "Sensitive"), ["Sensitive(true)"]);
        assert_eq!(told(&mut service, &public, "Sensitive"), ["Sensitive(false)"]);
        assert_eq!(told(&mut service, &private, "Cryptographic Usage Mask"), [format!("{:?}", mask(SIGN))]);
        assert_eq!(told(&mut service, &public, "Cryptographic Usage Mask"), [format!("{:?}", mask(VERIFY))]);
        assert!(told(&mut service, &private, "Digest")[0].contains(format));
        assert!(told(&mut service, &public, "Digest")[0].contains("X509"));
    }
    // A length is enough, and of RSA neither is needed.
    let sized = [A::CryptographicAlgorithm(Algorithm::Ec), A::CryptographicLength(384), mask(SIGN)];
    made(&mut service, V1_2, &pair_request(&sized, &[], &[])).expect("P-384");
    let plain = [A::CryptographicAlgorithm(Algorithm::Rsa), mask(SIGN)];
    let [private, _] = made(&mut service, V1_0, &pair_request(&plain, &[], &[])).expect("2048 bits");
    assert_eq!(told(&mut service, &private, "Cryptographic Length"), ["CryptographicLength(2048)"]);
    let found = service.locate(V1_4, &[A::ObjectType(ObjectType::PrivateKey), A::CryptographicAlgorithm(Algorithm::Rsa)]);
    assert_eq!(found, Ok(vec![private.clone()]));
    assert_eq!(why(service.rekey(V1_4, &private)), R::PermissionDenied, "Re-key is for symmetric keys");
}

#[test]
fn a_pair_that_cannot_be_made_is_refused_and_nothing_of_it_is_left() {
    use AttributeValue as A;
    let world = World::edge();
    let mut service = world.service();
    let algorithm = A::CryptographicAlgorithm;
    let ec = wanted(PairKind::Ec(Curve::P256));
    active(&mut service, PairKind::Ec(Curve::P256));
    let taken = pair_request(&ec, &[mask(SIGN), named("taken")], &[mask(VERIFY)]);
    made(&mut service, V1_4, &taken).expect("the name is free");
    let before = world.store.rows().len();
    let qlength = CryptographicDomainParameters { qlength: Some(160), recommended_curve: None };
    let both = [mask(SIGN)];
    let cases: Vec<(&str, CreateKeyPairRequest<'_>, R)> = vec![
        ("nothing", CreateKeyPairRequest::default(), R::InvalidMessage),
        ("no mask", pair_request(&ec, &[mask(SIGN)], &[]), R::InvalidMessage),
        ("no algorithm", pair_request(&[A::CryptographicLength(256)], &both, &both), R::InvalidMessage),
        ("AES", pair_request(&[algorithm(Algorithm::Aes)], &both, &both), R::InvalidField),
        ("DSA", pair_request(&[algorithm(Algorithm::Dsa)], &both, &both), R::InvalidField),
        ("RSA-1024", pair_request(&[algorithm(Algorithm::Rsa), A::CryptographicLength(1024)], &both, &both), R::InvalidField),
        ("RSA-2049", pair_request(&[algorithm(Algorithm::Rsa), A::CryptographicLength(2049)], &both, &both), R::InvalidField),
        ("a negative length", pair_request(&[algorithm(Algorithm::Rsa), A::CryptographicLength(-2048)], &both, &both), R::InvalidField),
        ("RSA on a curve", pair_request(&[algorithm(Algorithm::Rsa), curve(RecommendedCurve::P256)], &both, &both), R::InvalidField),
        ("no curve", pair_request(&[algorithm(Algorithm::Ecdsa)], &both, &both), R::InvalidField),
        ("P-224", pair_request(&[algorithm(Algorithm::Ecdsa), curve(RecommendedCurve::P224)], &both, &both), R::InvalidField),
        ("255 bits", pair_request(&[algorithm(Algorithm::Ecdsa), A::CryptographicLength(255)], &both, &both), R::InvalidField),
        ("two lengths", pair_request(&ec, &[mask(SIGN), A::CryptographicLength(384)], &both), R::InvalidField),
        ("Qlength", pair_request(&[algorithm(Algorithm::Ecdsa), A::CryptographicDomainParameters(qlength)], &both, &both), R::InvalidField),
        (
            "two algorithms",
            pair_request(
                &[curve(RecommendedCurve::P256)],
                &[mask(SIGN), algorithm(Algorithm::Ecdsa)],
                &[mask(VERIFY), algorithm(Algorithm::Ecdh)],
            ),
            R::InvalidField,
        ),
        ("a server's attribute", pair_request(&[&ec[..], &[A::State(State::Active)]].concat(), &both, &both), R::InvalidField),
        ("twice in one template", pair_request(&[&ec[..], &ec[..1]].concat(), &both, &both), R::InvalidField),
        ("a name that is taken", pair_request(&ec, &[mask(SIGN)], &[mask(VERIFY), named("taken")]), R::InvalidField),
        ("one name for both", pair_request(&[&ec[..], &[named("one")]].concat(), &both, &both), R::InvalidField),
    ];
    for (what, request, reason) in cases {
        assert_eq!(why(made(&mut service, V1_4, &request)), reason, "{what}");
        assert_eq!(world.store.rows().len(), before, "{what}");
    }
    let good = pair_request(&ec, &both, &both);
    assert_eq!(why(made(&mut world.admin(), V1_4, &good)), R::PermissionDenied, "an admin makes none");
    assert_eq!(why(made(&mut world.client(Role::Operator, "", ""), V1_4, &good)), R::PermissionDenied);
    assert_eq!(why(made(&mut World::found().service(), V1_4, &good)), R::PermissionDenied, "a core says that an edge does");
    assert_eq!(world.store.rows().len(), before);
}

#[test]
fn each_way_to_sign_verifies_whole_and_by_its_digest_and_in_no_other_way() {
    use DigitalSignatureAlgorithm as D;
    use HashingAlgorithm as H;
    let world = World::edge();
    let mut service = world.service();
    let pkcs1 =
        |hash| Parameters { padding_method: Some(PaddingMethod::Pkcs1V1_5), hashing_algorithm: Some(hash), ..Parameters::default() };
    let pss_with = |hash| Parameters { hashing_algorithm: Some(hash), ..by_name(D::RsassaPssPkcs1V2_1) };
    let ways: Vec<(PairKind, Vec<Parameters>)> = vec![
        (
            RSA,
            vec![
                pkcs1(H::Sha256),
                by_name(D::Sha384WithRsaEncryptionPkcs1V1_5),
                pkcs1(H::Sha512),
                pss(),
                pss_with(H::Sha384),
                pss_with(H::Sha512),
            ],
        ),
        (PairKind::Ec(Curve::P256), vec![ecdsa(H::Sha256)]),
        (PairKind::Ec(Curve::P384), vec![by_name(D::EcdsaWithSha384)]),
        (PairKind::Ec(Curve::P521), vec![ecdsa(H::Sha256), ecdsa(H::Sha384), by_name(D::EcdsaWithSha512)]),
    ];
    for (kind, ways) in ways {
        let [private, public] = active(&mut service, kind);
        for (place, way) in ways.iter().enumerate() {
            let signature = sign(&mut service, V1_4, &signing(&private, way, b"text")).expect("it is offered");
            for (other_place, other) in ways.iter().enumerate() {
                let verdict = verify(&mut service, V1_2, &judging(&public, other, b"text", &signature));
                assert_eq!(verdict, if place == other_place { VALID } else { INVALID }, "{kind:?} {way:?} {other:?}");
            }
        }
    }
    // By a digest that the client has made.
    let [private, public] = active(&mut service, PairKind::Ec(Curve::P256));
    let digest = cipher::mac::sha256(&[b"text"]);
    let digested = SignRequest { data: None, digested_data: Some(ByteString(&digest)), ..signing(&private, &ecdsa(H::Sha256), b"") };
    let signature = sign(&mut service, V1_4, &digested).expect("1.4 has the field");
    assert_eq!(verify(&mut service, V1_4, &judging(&public, &ecdsa(H::Sha256), b"text", &signature)), VALID);
    let by_digest = |digest, signature| SignatureVerifyRequest {
        data: None,
        digested_data: Some(ByteString(digest)),
        ..judging(&public, &ecdsa(H::Sha256), b"", signature)
    };
    assert_eq!(verify(&mut service, V1_4, &by_digest(&digest, &signature)), VALID);
    assert_eq!(verify(&mut service, V1_4, &by_digest(&[7; 32], &signature)), INVALID);
    assert_eq!(why(verify(&mut service, V1_4, &by_digest(&[7; 20], &signature))), R::InvalidField);
    // What the key says holds where the request says nothing.
    let own = AttributeValue::CryptographicParameters(ecdsa(H::Sha256));
    for id in [&private, &public] {
        service.add(V1_4, id, own.clone()).expect("a key may have some");
    }
    let silent = SignRequest { cryptographic_parameters: None, ..signing(&private, &ecdsa(H::Sha256), b"text") };
    let signature = sign(&mut service, V1_4, &silent).expect("the key says how");
    let silent = SignatureVerifyRequest { cryptographic_parameters: None, ..judging(&public, &ecdsa(H::Sha256), b"text", &signature) };
    assert_eq!(verify(&mut service, V1_4, &silent), VALID);
}

/// CS-AC-M-1 signs with a salt of 222 bytes, and CS-AC-M-2 verifies without saying how long it is.
#[test]
fn pss_has_the_salt_and_the_mask_that_are_asked_for() {
    use HashingAlgorithm as H;
    let world = World::edge();
    let mut service = world.service();
    let [private, public] = active(&mut service, RSA);
    let of = |salt, mask| Parameters { salt_length: Some(salt), mask_generator_hash: Some(mask), ..pss() };
    let ways = [of(32, H::Sha256), of(0, H::Sha256), of(222, H::Sha256), of(20, H::Sha1), of(32, H::Sha1), of(64, H::Sha512)];
    let any = |mask| Parameters { mask_generator_hash: Some(mask), ..pss() };
    for way in &ways {
        let signature = sign(&mut service, V1_4, &signing(&private, way, b"text")).expect("there is room");
        let mut judged = |parameters: &Parameters, data| verify(&mut service, V1_4, &judging(&public, parameters, data, &signature));
        for other in &ways {
            assert_eq!(judged(other, b"text"), if way == other { VALID } else { INVALID }, "{way:?} {other:?}");
        }
        for mask in [H::Sha1, H::Sha256, H::Sha384, H::Sha512] {
            let expected = if way.mask_generator_hash == Some(mask) { VALID } else { INVALID };
            assert_eq!(judged(&any(mask), b"text"), expected, "{way:?} {mask:?}");
            assert_eq!(judged(&any(mask), b"other"), INVALID, "{way:?} {mask:?}");
        }
    }
    // What is left out when it is signed.
    for (left_out, meant) in [(pss(), &ways[0]), (any(H::Sha1), &ways[3]), (any(H::Sha512), &ways[5])] {
        let signature = sign(&mut service, V1_4, &signing(&private, &left_out, b"text")).expect("it is offered");
        assert_eq!(verify(&mut service, V1_4, &judging(&public, meant, b"text", &signature)), VALID, "{meant:?}");
    }
}

#[test]
fn what_cannot_be_signed_or_judged_is_refused_for_its_reason() {
    use DigitalSignatureAlgorithm as D;
    use HashingAlgorithm as H;
    let world = World::edge();
    let mut service = world.service();
    let ([rsa, rsa_public], [ec, ec_public]) = (active(&mut service, RSA), active(&mut service, PairKind::Ec(Curve::P256)));
    let rsa_with = |hash| Parameters { hashing_algorithm: Some(hash), ..pss() };
    let cases: Vec<(&str, &str, Parameters, R)> = vec![
        ("no parameters", &rsa, Parameters::default(), R::InvalidField),
        ("no padding", &rsa, Parameters { hashing_algorithm: Some(H::Sha256), ..Parameters::default() }, R::InvalidField),
        ("no hash", &rsa, Parameters { hashing_algorithm: None, ..pss() }, R::InvalidField),
        ("no hash for PSS", &rsa, by_name(D::RsassaPssPkcs1V2_1), R::InvalidField),
        ("OAEP", &rsa, Parameters { padding_method: Some(PaddingMethod::Oaep), ..pss() }, R::InvalidField),
        ("SHA-1", &rsa, rsa_with(H::Sha1), R::FeatureNotSupported),
        ("SHA-1 by name", &rsa, by_name(D::Sha1WithRsaEncryptionPkcs1V1_5), R::FeatureNotSupported),
        ("SHA-224", &rsa, rsa_with(H::Sha224), R::FeatureNotSupported),
        ("MD5", &rsa, by_name(D::Md5WithRsaEncryptionPkcs1V1_5), R::FeatureNotSupported),
        ("ECDSA with RSA", &rsa, by_name(D::EcdsaWithSha256), R::InvalidField),
        ("another algorithm", &rsa, Parameters { cryptographic_algorithm: Some(Algorithm::Ecdsa), ..pss() }, R::InvalidField),
        (
            "two hashes",
            &rsa,
            Parameters { hashing_algorithm: Some(H::Sha512), ..by_name(D::Sha256WithRsaEncryptionPkcs1V1_5) },
            R::InvalidField,
        ),
        (
            "two paddings",
            &rsa,
            Parameters { padding_method: Some(PaddingMethod::Pss), ..by_name(D::Sha256WithRsaEncryptionPkcs1V1_5) },
            R::InvalidField,
        ),
        ("a salt without room", &rsa, Parameters { salt_length: Some(223), ..pss() }, R::InvalidField),
        ("a salt without room for SHA-512", &rsa, Parameters { salt_length: Some(191), ..rsa_with(H::Sha512) }, R::InvalidField),
        ("a negative salt", &rsa, Parameters { salt_length: Some(-1), ..pss() }, R::InvalidField),
        (
            "an unknown mask",
            &rsa,
            Parameters { mask_generator: Some(MaskGenerator::Extension(0x8000_0001)), ..pss() },
            R::FeatureNotSupported,
        ),
        ("a mask of SHA-224", &rsa, Parameters { mask_generator_hash: Some(H::Sha224), ..pss() }, R::FeatureNotSupported),
        ("another trailer", &rsa, Parameters { trailer_field: Some(2), ..pss() }, R::FeatureNotSupported),
        ("RSA with EC", &ec, by_name(D::Sha256WithRsaEncryptionPkcs1V1_5), R::InvalidField),
        ("PSS with EC", &ec, pss(), R::InvalidField),
        ("SHA-512 with P-256", &ec, ecdsa(H::Sha512), R::FeatureNotSupported),
    ];
    for (what, id, parameters, reason) in cases {
        assert_eq!(why(sign(&mut service, V1_4, &signing(id, &parameters, b"text"))), reason, "{what}");
    }
    let usual = Parameters {
        salt_length: Some(32),
        mask_generator: Some(MaskGenerator::Mgf1),
        mask_generator_hash: Some(H::Sha256),
        trailer_field: Some(1),
        ..pss()
    };
    let signature = sign(&mut service, V1_4, &signing(&rsa, &usual, b"text")).expect("what is usual may be said");
    // Of SHA-1 nothing is signed here, and nothing is believed.
    for weak in [rsa_with(H::Sha1), by_name(D::Sha1WithRsaEncryptionPkcs1V1_5)] {
        assert_eq!(verify(&mut service, V1_4, &judging(&rsa_public, &weak, b"text", &signature)), INVALID);
    }
    for (what, id) in [("the public half", &rsa_public), ("a public point", &ec_public)] {
        assert_eq!(why(sign(&mut service, V1_4, &signing(id, &pss(), b"text"))), R::PermissionDenied, "{what}");
    }
    assert_eq!(why(verify(&mut service, V1_4, &judging(&rsa, &pss(), b"text", &signature))), R::PermissionDenied, "the private half");
    let aes = service.create(V1_4, &wish("billing", &[])).expect("a plain key");
    assert_eq!(why(sign(&mut service, V1_4, &signing(&aes, &pss(), b"text"))), R::PermissionDenied, "a symmetric key");
    // Parts and their fields.
    let good = signing(&rsa, &pss(), b"text");
    let next = SignRequest { correlation_value: Some(ByteString(b"anything")), ..good.clone() };
    assert_eq!(why(sign(&mut service, V1_3, &next)), R::ItemNotFound);
    let at_once = SignRequest { init_indicator: Some(true), final_indicator: Some(true), ..good.clone() };
    sign(&mut service, V1_3, &at_once).expect("that is all of it");
    assert_eq!(why(sign(&mut service, V1_4, &SignRequest { data: None, ..good.clone() })), R::InvalidMessage);
    let twice = SignRequest { digested_data: Some(ByteString(&[7; 32])), ..good.clone() };
    assert_eq!(why(sign(&mut service, V1_4, &twice)), R::InvalidField);
    let silent = SignatureVerifyRequest { signature_data: None, ..judging(&rsa_public, &pss(), b"text", b"") };
    assert_eq!(why(verify(&mut service, V1_4, &silent)), R::InvalidMessage);
    // Whose key it is, and what it is for.
    for (role, tenant, name, reason) in [
        (Role::TenantAdmin, "acme", "", R::PermissionDenied),
        (Role::Service, "acme", "payroll", R::ItemNotFound),
        (Role::Service, "globex", "billing", R::ItemNotFound),
    ] {
        assert_eq!(why(sign(&mut world.client(role, tenant, name), V1_4, &good)), reason, "{role:?} {tenant} {name}");
    }
    let request = pair_request(&wanted(PairKind::Ec(Curve::P256)), &[mask(DECRYPT)], &[mask(ENCRYPT)]);
    let [other, other_public] = made(&mut service, V1_4, &request).expect("it is offered");
    service.activate(&other).expect("it is new");
    service.activate(&other_public).expect("it is new");
    let way = ecdsa(H::Sha256);
    assert_eq!(why(sign(&mut service, V1_4, &signing(&other, &way, b"text"))), R::PermissionDenied, "the mask lacks Sign");
    assert_eq!(why(verify(&mut service, V1_4, &judging(&other_public, &way, b"text", b""))), R::PermissionDenied, "the mask lacks Verify");
}

fn oaep(hash: HashingAlgorithm) -> Parameters {
    Parameters {
        padding_method: Some(PaddingMethod::Oaep),
        hashing_algorithm: Some(hash),
        mask_generator_hash: Some(hash),
        ..Parameters::default()
    }
}

fn seal(client: &mut Client<'_>, version: ProtocolVersion, id: &str, parameters: &Parameters, data: &[u8]) -> Result<Vec<u8>, Failed> {
    let request = EncryptRequest {
        unique_identifier: Some(id),
        cryptographic_parameters: Some(parameters.clone()),
        data: Some(ByteString(data)),
        ..EncryptRequest::default()
    };
    client.call(version, &request, |answer| answer.data.expect("it is done at once").0.to_vec())
}

fn unseal(client: &mut Client<'_>, version: ProtocolVersion, id: &str, parameters: &Parameters, data: &[u8]) -> Result<Vec<u8>, Failed> {
    let request = DecryptRequest {
        unique_identifier: Some(id),
        cryptographic_parameters: Some(parameters.clone()),
        data: Some(ByteString(data)),
        ..DecryptRequest::default()
    };
    client.call(version, &request, |answer| answer.data.expect("it is done at once").0.to_vec())
}

#[test]
fn rsa_encrypts_with_the_one_half_and_decrypts_with_the_other() {
    use HashingAlgorithm as H;
    let world = World::edge();
    let mut service = world.service();
    let [private, public] = active(&mut service, RSA);
    let pkcs1 = Parameters { padding_method: Some(PaddingMethod::Pkcs1V1_5), ..Parameters::default() };
    let labelled = Parameters { p_source: Some(ByteString(b"label")), ..oaep(H::Sha256) };
    let mixed = Parameters { mask_generator_hash: Some(H::Sha256), ..oaep(H::Sha384) };
    let labelled_mixed = Parameters { p_source: Some(ByteString(b"label")), ..mixed.clone() };
    let ways = [oaep(H::Sha1), oaep(H::Sha256), oaep(H::Sha384), oaep(H::Sha512), labelled, pkcs1.clone(), mixed.clone(), labelled_mixed];
    for (place, way) in ways.iter().enumerate() {
        let sealed = seal(&mut service, V1_4, &public, way, b"secret").expect("it is offered");
        assert_eq!(sealed.len(), 256);
        for (other_place, other) in ways.iter().enumerate() {
            let opened = unseal(&mut service, V1_4, &private, other, &sealed);
            match place == other_place {
                true => assert_eq!(opened, Ok(b"secret".to_vec()), "{way:?}"),
                false => assert_eq!(why(opened), R::CryptographicFailure, "{way:?} {other:?}"),
            }
        }
        // Whatever is wrong with it, the answer is one.
        let told =
            |service: &mut Client<'_>, data: &[u8]| unseal(service, V1_4, &private, way, data).expect_err("it is not what was sealed");
        let refused = told(&mut service, &sealed[1..]);
        assert_eq!(refused.reason, R::CryptographicFailure);
        let mut other = sealed.clone();
        other[9] ^= 1;
        for wrong in [&other[..], &[0; 256], &[0xFF; 256], &[]] {
            assert_eq!(told(&mut service, wrong), refused);
        }
    }
    // Before 1.4 there was one hash for both; in 1.4 the one of MGF1 is SHA-1 if nobody says so.
    let short = Parameters { mask_generator_hash: None, ..oaep(H::Sha256) };
    let sealed = seal(&mut service, V1_2, &public, &short, b"secret").expect("it is meant for both");
    assert_eq!(unseal(&mut service, V1_4, &private, &oaep(H::Sha256), &sealed), Ok(b"secret".to_vec()));
    let sealed = seal(&mut service, V1_4, &public, &short, b"secret").expect("it is meant for the label alone");
    let told = Parameters { mask_generator_hash: Some(H::Sha1), ..short.clone() };
    assert_eq!(unseal(&mut service, V1_4, &private, &told, &sealed), Ok(b"secret".to_vec()));
    assert_eq!(why(unseal(&mut service, V1_2, &private, &short, &sealed)), R::CryptographicFailure);
    let plain = Parameters { padding_method: Some(PaddingMethod::Oaep), ..Parameters::default() };
    let sealed = seal(&mut service, V1_4, &public, &plain, b"secret").expect("SHA-1 for both");
    assert_eq!(unseal(&mut service, V1_4, &private, &oaep(H::Sha1), &sealed), Ok(b"secret".to_vec()));
    let [ec, ec_public] = active(&mut service, PairKind::Ec(Curve::P256));
    let cases = [
        ("SHA-224", &public, oaep(H::Sha224), R::FeatureNotSupported),
        ("a mask of SHA-224", &public, Parameters { mask_generator_hash: Some(H::Sha224), ..oaep(H::Sha256) }, R::FeatureNotSupported),
        ("no padding", &public, Parameters::default(), R::InvalidField),
        ("PSS", &public, pss(), R::InvalidField),
        ("a block mode", &public, Parameters { block_cipher_mode: Some(BlockCipherMode::Cbc), ..pkcs1.clone() }, R::InvalidField),
        ("AES", &public, Parameters { cryptographic_algorithm: Some(Algorithm::Aes), ..pkcs1.clone() }, R::InvalidField),
        ("the other half", &private, pkcs1.clone(), R::PermissionDenied),
        ("a point", &ec_public, pkcs1.clone(), R::InvalidField),
    ];
    for (what, id, parameters, reason) in cases {
        assert_eq!(why(seal(&mut service, V1_4, id, &parameters, b"secret")), reason, "{what}");
    }
    assert_eq!(why(unseal(&mut service, V1_4, &public, &pkcs1, &[0; 256])), R::PermissionDenied, "the public half");
    assert_eq!(why(unseal(&mut service, V1_4, &ec, &pkcs1, &[0; 256])), R::InvalidField, "a scalar");
    assert_eq!(why(seal(&mut service, V1_4, &public, &oaep(H::Sha256), &[7; 191])), R::InvalidField, "one byte too long");
    assert!(seal(&mut service, V1_4, &public, &oaep(H::Sha256), &[7; 190]).is_ok());
    assert_eq!(why(seal(&mut service, V1_4, &public, &mixed, &[7; 159])), R::InvalidField, "the hash of the label counts");
    assert!(seal(&mut service, V1_4, &public, &mixed, &[7; 158]).is_ok());
    let with_iv = EncryptRequest {
        unique_identifier: Some(&public),
        cryptographic_parameters: Some(pkcs1),
        data: Some(ByteString(b"secret")),
        iv_counter_nonce: Some(ByteString(&[0; 16])),
        ..EncryptRequest::default()
    };
    assert_eq!(why(service.call(V1_4, &with_iv, |_| ())), R::InvalidField);
}

// Formats.

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

fn registered(client: &mut Client<'_>, object: ManagedObject<'_>, attributes: &[AttributeValue<'_>]) -> Result<String, Failed> {
    let template_attribute = template(attributes).expect("some");
    let request = RegisterRequest { object_type: object.object_type(), template_attribute, object };
    client.call(V1_4, &request, |answer| answer.unique_identifier.to_owned())
}

/// What Get returns in a format: which that is, and the whole Key Material as it stands on the wire.
fn got(client: &mut Client<'_>, id: &str, key_format_type: Option<KeyFormatType>) -> Result<(KeyFormatType, Vec<u8>), Failed> {
    let request = GetRequest { unique_identifier: Some(id), key_format_type, ..GetRequest::default() };
    client.call(V1_4, &request, |answer| {
        let (ManagedObject::PrivateKey(PrivateKey { key_block }) | ManagedObject::PublicKey(PublicKey { key_block })) = &answer.object
        else {
            panic!("no half of a pair: {:?}", answer.object)
        };
        assert!(key_block.cryptographic_algorithm.is_some() && key_block.cryptographic_length.is_some());
        let Some(KeyValue::Plain(value)) = &key_block.key_value else { panic!("not in the clear") };
        (key_block.key_format_type, on_the_wire(&value.key_material))
    })
}

fn on_the_wire(material: &KeyMaterial<'_>) -> Vec<u8> {
    let mut bytes = vec![];
    material.encode(Tag::KEY_MATERIAL, &mut ttlv::Writer::new(&mut bytes, V1_4));
    bytes
}

/// Hands every form of a private key to `run`, as a client that has made it would write it.
fn each_private(pair: &Pair, kind: PairKind, mut run: impl FnMut(KeyFormatType, KeyMaterial<'_>)) {
    use KeyFormatType as F;
    let mut bytes = |form, format| {
        let written = pair.private.expose(|stored| key_form::write_private(stored, form)).expect("there is such a form");
        written.expose(|bytes| run(format, KeyMaterial::Bytes(ByteString(bytes))));
    };
    bytes(PrivateForm::Pkcs8, F::Pkcs8);
    match kind {
        PairKind::Rsa { .. } => bytes(PrivateForm::Pkcs1, F::Pkcs1),
        PairKind::Ec(_) => bytes(PrivateForm::EcPrivateKey, F::ECPrivateKey),
    }
    pair.private.expose(|stored| match kind {
        PairKind::Rsa { .. } => {
            let parts = key_form::rsa_parts(stored).expect("it is stored so");
            let key = TransparentRsaPrivateKey {
                modulus: Unsigned(parts.modulus),
                private_exponent: Some(Unsigned(parts.private_exponent)),
                public_exponent: Some(Unsigned(parts.public_exponent)),
                p: Some(Unsigned(parts.p)),
                q: Some(Unsigned(parts.q)),
                prime_exponent_p: Some(Unsigned(parts.prime_exponent_p)),
                prime_exponent_q: Some(Unsigned(parts.prime_exponent_q)),
                crt_coefficient: Some(Unsigned(parts.crt_coefficient)),
            };
            run(F::TransparentRsaPrivateKey, KeyMaterial::TransparentRsaPrivateKey(key));
        }
        PairKind::Ec(_) => {
            let (_, d) = key_form::ec_parts(stored).expect("it is stored so");
            for format in [F::TransparentEcPrivateKey, F::TransparentEcdsaPrivateKey] {
                let key = TransparentEcPrivateKey { recommended_curve: RecommendedCurve::P256, d: Unsigned(d) };
                run(format, KeyMaterial::TransparentEcPrivateKey(key));
            }
        }
    });
}

/// The same of a public key.
fn each_public(pair: &Pair, kind: PairKind, mut run: impl FnMut(KeyFormatType, KeyMaterial<'_>)) {
    use KeyFormatType as F;
    let mut bytes = |form, format| {
        let written = pair.public.expose(|stored| key_form::write_public(stored, form)).expect("there is such a form");
        written.expose(|bytes| run(format, KeyMaterial::Bytes(ByteString(bytes))));
    };
    bytes(PublicForm::SubjectPublicKeyInfo, F::X509);
    if let PairKind::Rsa { .. } = kind {
        bytes(PublicForm::Pkcs1, F::Pkcs1);
    }
    pair.public.expose(|stored| match kind {
        PairKind::Rsa { .. } => {
            let (modulus, exponent) = key_form::rsa_public_parts(stored).expect("it is stored so");
            let key = TransparentRsaPublicKey { modulus: Unsigned(modulus), public_exponent: Unsigned(exponent) };
            run(F::TransparentRsaPublicKey, KeyMaterial::TransparentRsaPublicKey(key));
        }
        PairKind::Ec(_) => {
            let (_, q) = key_form::ec_public_parts(stored).expect("it is stored so");
            for format in [F::TransparentEcPublicKey, F::TransparentEcdsaPublicKey] {
                let key = TransparentEcPublicKey { recommended_curve: RecommendedCurve::P256, q_string: ByteString(q) };
                run(format, KeyMaterial::TransparentEcPublicKey(key));
            }
        }
    });
}

#[test]
fn a_key_that_came_in_one_format_leaves_in_each_and_signs() {
    let world = World::edge();
    let mut service = world.service();
    let mut cells = 0;
    for (kind, way) in [(RSA, pss()), (PairKind::Ec(Curve::P256), ecdsa(HashingAlgorithm::Sha256))] {
        let pair = generate(kind).expect("the generator works");
        let (mut privates, mut publics) = (Vec::new(), Vec::new());
        each_private(&pair, kind, |format, material| {
            let wire = on_the_wire(&material);
            let object = ManagedObject::PrivateKey(PrivateKey { key_block: block(format, material) });
            let id = registered(&mut service, object, &[mask(SIGN)]).expect("the format is offered");
            privates.push((format, wire, id));
        });
        each_public(&pair, kind, |format, material| {
            let wire = on_the_wire(&material);
            let object = ManagedObject::PublicKey(PublicKey { key_block: block(format, material) });
            let id = registered(&mut service, object, &[mask(VERIFY)]).expect("the format is offered");
            publics.push((format, wire, id));
        });
        for half in [&privates, &publics] {
            for (came_in, _, id) in half {
                for (format, wire, _) in half {
                    assert_eq!(got(&mut service, id, Some(*format)), Ok((*format, wire.clone())), "{came_in:?} to {format:?}");
                    cells += 1;
                }
                let (usual, _) = got(&mut service, id, None).expect("it is one's own");
                let is_bytes = !format!("{came_in:?}").starts_with("Transparent");
                assert!(!is_bytes || usual == *came_in, "{came_in:?} is returned as {usual:?}");
                assert_eq!(why(got(&mut service, id, Some(KeyFormatType::Raw))), R::KeyFormatTypeNotSupported);
                assert_eq!(why(got(&mut service, id, Some(KeyFormatType::Pkcs12))), R::KeyFormatTypeNotSupported);
            }
        }
        let digests: Vec<_> = privates.iter().map(|(.., id)| service.instances(id, "Digest")).collect();
        assert!(digests.windows(2).all(|two| two[0] == two[1]), "one key, one digest: {digests:?}");
        for (.., private) in &privates {
            service.activate(private).expect("it is new");
            let signature = sign(&mut service, V1_4, &signing(private, &way, b"text")).expect("it is Active");
            for (.., public) in &publics {
                let _already = service.activate(public);
                assert_eq!(verify(&mut service, V1_4, &judging(public, &way, b"text", &signature)), VALID);
            }
        }
    }
    counted(cells);
}

fn private(format: KeyFormatType, bytes: &[u8]) -> ManagedObject<'_> {
    ManagedObject::PrivateKey(PrivateKey { key_block: block(format, KeyMaterial::Bytes(ByteString(bytes))) })
}

fn public(format: KeyFormatType, bytes: &[u8]) -> ManagedObject<'_> {
    ManagedObject::PublicKey(PublicKey { key_block: block(format, KeyMaterial::Bytes(ByteString(bytes))) })
}

#[test]
fn a_key_that_is_none_or_not_what_is_said_of_it_is_not_registered() {
    use AttributeValue as A;
    use KeyFormatType as F;
    let world = World::edge();
    let mut service = world.service();
    let (rsa, ec) = (generate(RSA).expect("the generator works"), generate(PairKind::Ec(Curve::P256)).expect("the generator works"));
    let mut refused = |what: &str, object: ManagedObject<'_>, attributes: &[AttributeValue<'_>], reason: R| {
        let before = world.store.rows().len();
        assert_eq!(why(registered(&mut service, object, attributes)), reason, "{what}");
        assert_eq!(world.store.rows().len(), before, "{what}");
    };
    rsa.private.expose(|stored| {
        refused("cut", private(F::Pkcs1, &stored[..100]), &[], R::InvalidField);
        refused("another format", private(F::Pkcs8, stored), &[], R::InvalidField);
        refused("a curve's", private(F::ECPrivateKey, stored), &[], R::InvalidField);
        refused("no format of keys of pairs", private(F::Raw, stored), &[], R::KeyFormatTypeNotSupported);
        refused("a public format", private(F::X509, stored), &[], R::KeyFormatTypeNotSupported);
        refused("no structure", private(F::TransparentRsaPrivateKey, stored), &[], R::InvalidField);
        refused("a public object", public(F::Pkcs1, stored), &[], R::InvalidField);
        refused("another length", private(F::Pkcs1, stored), &[A::CryptographicLength(4096)], R::InvalidField);
        refused("another algorithm", private(F::Pkcs1, stored), &[A::CryptographicAlgorithm(Algorithm::Ecdsa)], R::InvalidField);
        refused("a curve", private(F::Pkcs1, stored), &[curve(RecommendedCurve::P256)], R::InvalidField);
        let parts = key_form::rsa_parts(stored).expect("it is stored so");
        let half_known = TransparentRsaPrivateKey {
            modulus: Unsigned(parts.modulus),
            private_exponent: Some(Unsigned(parts.private_exponent)),
            public_exponent: Some(Unsigned(parts.public_exponent)),
            p: None,
            q: None,
            prime_exponent_p: None,
            prime_exponent_q: None,
            crt_coefficient: None,
        };
        let object = |key| {
            let key_block = block(F::TransparentRsaPrivateKey, KeyMaterial::TransparentRsaPrivateKey(key));
            ManagedObject::PrivateKey(PrivateKey { key_block })
        };
        refused("without its primes", object(half_known.clone()), &[], R::FeatureNotSupported);
        let swapped = TransparentRsaPrivateKey {
            p: Some(Unsigned(parts.q)),
            q: Some(Unsigned(parts.q)),
            prime_exponent_p: Some(Unsigned(parts.prime_exponent_p)),
            prime_exponent_q: Some(Unsigned(parts.prime_exponent_q)),
            crt_coefficient: Some(Unsigned(parts.crt_coefficient)),
            ..half_known
        };
        refused("numbers that do not fit", object(swapped), &[], R::InvalidField);
    });
    ec.private.expose(|stored| {
        refused("another curve", private(F::ECPrivateKey, stored), &[curve(RecommendedCurve::P384)], R::InvalidField);
        refused("RSA", private(F::ECPrivateKey, stored), &[A::CryptographicAlgorithm(Algorithm::Rsa)], R::InvalidField);
    });
    ec.public.expose(|stored| {
        let (_, q) = key_form::ec_public_parts(stored).expect("it is stored so");
        let transparent = |recommended_curve, q| {
            let key = TransparentEcPublicKey { recommended_curve, q_string: ByteString(q) };
            ManagedObject::PublicKey(PublicKey { key_block: block(F::TransparentEcPublicKey, KeyMaterial::TransparentEcPublicKey(key)) })
        };
        refused("no point", transparent(RecommendedCurve::P256, &q[1..]), &[], R::InvalidField);
        refused("a point of another curve", transparent(RecommendedCurve::P384, q), &[], R::InvalidField);
        refused("a curve that is not offered", transparent(RecommendedCurve::P224, q), &[], R::FeatureNotSupported);
        let mut compressed = block(F::X509, KeyMaterial::Bytes(ByteString(stored)));
        compressed.key_compression_type = Some(KeyCompressionType::EcPublicKeyTypeX9_62CompressedPrime);
        refused("compressed", ManagedObject::PublicKey(PublicKey { key_block: compressed }), &[], R::KeyCompressionTypeNotSupported);
    });
}

/// Made with OpenSSL: P-256, signed by itself with ECDSA and SHA-256, CN=strongroom test, serial number 0x5EC1, one name in Subject Alternative Name.
const CERTIFICATE: &str = include_str!("certificate.txt");

/// The halves of a new pair on P-256, as PKCS#8 and as X.509.
pub(crate) fn halves() -> [Vec<u8>; 2] {
    let pair = generate(PairKind::Ec(Curve::P256)).expect("the generator works");
    let private = pair.private.expose(|stored| key_form::write_private(stored, PrivateForm::Pkcs8)).expect("there is such a form");
    let public =
        pair.public.expose(|stored| key_form::write_public(stored, PublicForm::SubjectPublicKeyInfo)).expect("there is such a form");
    [private, public].map(|half| half.expose(<[u8]>::to_vec))
}

pub(crate) fn certificate() -> Vec<u8> {
    let hex: String = CERTIFICATE.split_whitespace().collect();
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("it is hexadecimal")).collect()
}

#[test]
fn a_certificate_is_kept_with_what_it_says_of_itself() {
    use AttributeValue as A;
    let world = World::edge();
    let mut service = world.service();
    let der = certificate();
    let object =
        |bytes| ManagedObject::Certificate(Certificate { certificate_type: CertificateType::X509, certificate_value: ByteString(bytes) });
    let length = i32::try_from(der.len()).expect("it is short");
    let said = [A::CertificateLength(length), A::CertificateType(CertificateType::X509), mask(VERIFY)];
    let by = A::DigitalSignatureAlgorithm(DigitalSignatureAlgorithm::EcdsaWithSha256);
    let id = registered(&mut service, object(&der), &[&said[..], &[by, named("a certificate")]].concat()).expect("it is one");
    let returned = |service: &mut Client<'_>, format| {
        let request = GetRequest { unique_identifier: Some(&id), key_format_type: format, ..GetRequest::default() };
        service.call(V1_4, &request, |answer| answer.object == object(&der) && answer.object_type == ObjectType::Certificate)
    };
    assert_eq!((returned(&mut service, None), returned(&mut service, Some(KeyFormatType::X509))), (Ok(true), Ok(true)));
    assert_eq!(why(returned(&mut service, Some(KeyFormatType::Raw))), R::KeyFormatTypeNotSupported);
    let mut one = |name: &str| {
        let mut told = service.instances(&id, name);
        assert_eq!(told.len(), 1, "{name}: {told:?}");
        told.remove(0).1
    };
    assert_eq!(one("Certificate Length"), format!("CertificateLength({length})"));
    assert_eq!(one("Certificate Type"), "CertificateType(X509)");
    assert_eq!(one("Digital Signature Algorithm"), "DigitalSignatureAlgorithm(EcdsaWithSha256)");
    assert_eq!(one("Cryptographic Algorithm"), "CryptographicAlgorithm(Ecdsa)");
    assert_eq!(one("Cryptographic Length"), "CryptographicLength(256)");
    assert!(one("Digest").contains("X509"));
    let subject = [&[0x30, 0x1A, 0x31, 0x18, 0x30, 0x16, 0x06, 0x03, 0x55, 0x04, 0x03, 0x0C, 0x0F][..], b"strongroom test"].concat();
    let request = GetAttributesRequest {
        unique_identifier: Some(&id),
        attribute_names: vec!["X.509 Certificate Identifier", "X.509 Certificate Subject", "X.509 Certificate Issuer"],
    };
    let told = service.call(V1_4, &request, |answer| {
        let values: Vec<_> = answer.attributes.iter().map(|attribute| &attribute.value).collect();
        let [A::X509CertificateIdentifier(identifier), A::X509CertificateSubject(of), A::X509CertificateIssuer(by)] = values[..] else {
            panic!("not these three: {values:?}")
        };
        assert_eq!(identifier.serial_number.map(|serial| serial.0.to_vec()), Some(vec![0x5E, 0xC1]));
        assert_eq!([identifier.issuer, of.distinguished_name, by.distinguished_name], [Some(ByteString(&subject)); 3]);
        let names: Vec<_> = of.alternative_names.iter().map(|name| name.0.to_vec()).collect();
        assert_eq!((names, by.alternative_names.len()), (vec![[&[0x82, 0x0C][..], b"test.example"].concat()], 0));
    });
    assert_eq!(told, Ok(()));
    let found = service.locate(V1_4, &[A::ObjectType(ObjectType::Certificate), A::CertificateType(CertificateType::X509)]);
    assert_eq!(found, Ok(vec![id.clone()]));
    let wrong = [
        ("cut", der[..der.len() - 1].to_vec(), vec![]),
        ("longer", [&der[..], &[0]].concat(), vec![]),
        ("no certificate", b"-----BEGIN CERTIFICATE-----".to_vec(), vec![]),
        ("another length", der.clone(), vec![A::CertificateLength(1)]),
        ("another algorithm", der.clone(), vec![A::CryptographicAlgorithm(Algorithm::Rsa)]),
        ("signed otherwise", der.clone(), vec![A::DigitalSignatureAlgorithm(DigitalSignatureAlgorithm::EcdsaWithSha1)]),
    ];
    for (what, bytes, attributes) in &wrong {
        assert_eq!(why(registered(&mut service, object(bytes), attributes)), R::InvalidField, "{what}");
    }
    let pgp = ManagedObject::Certificate(Certificate { certificate_type: CertificateType::Pgp, certificate_value: ByteString(&der) });
    assert_eq!(why(registered(&mut service, pgp, &[])), R::FeatureNotSupported);
    assert_eq!(why(service.delete(V1_4, &id, "Certificate Length", None)), R::PermissionDenied, "the server's own");
    service.activate(&id).expect("it is new");
    service.revoke(&id, RevocationReasonCode::Superseded).expect("it is Active");
    service.destroy(&id).expect("it is Deactivated");
}
