//! Sign and Signature Verify in parts at an edge: what comes out is what comes out of the whole, and whose and which stream it is.

use cipher::pair::{Curve, PairKind};
use keys::policy::{Action, Role};
use keys::record::Outcome;
use kmip::ttlv::ByteString;
use kmip::*;

use crate::pairs::{Parameters, RSA, active, by_name, ecdsa, judging, made, mask, pair_request, pss, signing, wanted};
use crate::world::*;
use ProtocolVersion::{V1_3, V1_4};
use ResultReason as R;

/// What an answer has.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Signature(Vec<u8>),
    Validity(ValidityIndicator),
    Value(Vec<u8>),
}

const VALID: Result<Told, Failed> = Ok(Told::Validity(ValidityIndicator::Valid));
const INVALID: Result<Told, Failed> = Ok(Told::Validity(ValidityIndicator::Invalid));

fn sign(client: &mut Client<'_>, request: &SignRequest<'_>) -> Result<Told, Failed> {
    client.call(V1_3, request, |answer| match (answer.signature_data, answer.correlation_value) {
        (Some(signature), None) => Told::Signature(signature.0.to_vec()),
        (None, Some(value)) => Told::Value(value.0.to_vec()),
        both => panic!("the one or the other: {both:?}"),
    })
}

fn verify(client: &mut Client<'_>, request: &SignatureVerifyRequest<'_>) -> Result<Told, Failed> {
    client.call(V1_4, request, |answer| match answer.correlation_value {
        None => Told::Validity(answer.validity_indicator),
        Some(value) => {
            assert_eq!(answer.validity_indicator, ValidityIndicator::Unknown, "nobody knows yet");
            Told::Value(value.0.to_vec())
        }
    })
}

fn of(told: Result<Told, Failed>) -> Vec<u8> {
    match told.expect("this succeeds") {
        Told::Signature(bytes) | Told::Value(bytes) => bytes,
        Told::Validity(validity) => panic!("{validity:?}"),
    }
}

/// The first part of a signature.
fn first<'a>(id: &'a str, way: &Parameters, data: &'a [u8]) -> SignRequest<'a> {
    SignRequest { init_indicator: Some(true), ..signing(id, way, data) }
}

/// A later part, which repeats no parameters.
fn next<'a>(id: &'a str, value: &'a [u8], data: &'a [u8]) -> SignRequest<'a> {
    let (unique_identifier, data, correlation_value) = (Some(id), Some(ByteString(data)), Some(ByteString(value)));
    SignRequest { unique_identifier, data, correlation_value, ..SignRequest::default() }
}

fn last<'a>(id: &'a str, value: &'a [u8], data: &'a [u8]) -> SignRequest<'a> {
    SignRequest { final_indicator: Some(true), ..next(id, value, data) }
}

fn judging_first<'a>(id: &'a str, way: &Parameters, data: &'a [u8]) -> SignatureVerifyRequest<'a> {
    SignatureVerifyRequest { init_indicator: Some(true), signature_data: None, ..judging(id, way, data, b"") }
}

fn judging_last<'a>(id: &'a str, value: &'a [u8], data: &'a [u8], signature: Option<&'a [u8]>) -> SignatureVerifyRequest<'a> {
    SignatureVerifyRequest {
        unique_identifier: Some(id),
        data: Some(ByteString(data)),
        signature_data: signature.map(ByteString),
        correlation_value: Some(ByteString(value)),
        final_indicator: Some(true),
        ..SignatureVerifyRequest::default()
    }
}

#[test]
fn each_way_signs_and_verifies_in_parts_what_it_does_at_once() {
    use DigitalSignatureAlgorithm as D;
    use HashingAlgorithm as H;
    let world = World::edge();
    let mut service = world.service();
    let text: Vec<u8> = (0..=250).collect();
    let ways: [(PairKind, &[Parameters]); 3] = [
        (RSA, &[pss(), Parameters { hashing_algorithm: Some(H::Sha512), ..pss() }, by_name(D::Sha384WithRsaEncryptionPkcs1V1_5)]),
        (PairKind::Ec(Curve::P256), &[ecdsa(H::Sha256)]),
        (PairKind::Ec(Curve::P521), &[ecdsa(H::Sha256), by_name(D::EcdsaWithSha512)]),
    ];
    for (kind, ways) in ways {
        let [private, public] = active(&mut service, kind);
        for way in ways {
            for cuts in [[0, 0], [1, 128], [64, 250], [251, 251]] {
                let value = of(sign(&mut service, &first(&private, way, &text[..cuts[0]])));
                assert_eq!(of(sign(&mut service, &next(&private, &value, &text[cuts[0]..cuts[1]]))), value, "the value stays");
                let signature = of(sign(&mut service, &last(&private, &value, &text[cuts[1]..])));
                assert_eq!(verify(&mut service, &judging(&public, way, &text, &signature)), VALID, "{way:?} cut at {cuts:?}");
                assert_eq!(why(sign(&mut service, &last(&private, &value, b""))), R::ItemNotFound, "it has ended");
            }
            let signature = of(sign(&mut service, &signing(&private, way, &text)));
            let mut other = signature.clone();
            other[20] ^= 1;
            for (signature, data, expected) in [(&signature, &text[..], VALID), (&signature, &text[1..], INVALID), (&other, &text, INVALID)]
            {
                // With the signature first, in the middle, or last.
                for place in 0..3 {
                    let at = |here| Some(&signature[..]).filter(|_| place == here);
                    let begin = SignatureVerifyRequest { signature_data: at(0).map(ByteString), ..judging_first(&public, way, &data[..7]) };
                    let value = of(verify(&mut service, &begin));
                    let middle = SignatureVerifyRequest { final_indicator: None, ..judging_last(&public, &value, &data[7..70], at(1)) };
                    assert_eq!(of(verify(&mut service, &middle)), value);
                    assert_eq!(verify(&mut service, &judging_last(&public, &value, &data[70..], at(2))), expected, "{way:?} {place}");
                }
            }
        }
    }
}

#[test]
fn a_stream_is_of_one_operation_one_key_and_one_client() {
    let world = World::edge();
    let mut service = world.service();
    let mut other = world.client(Role::Service, "acme", "payroll");
    let way = ecdsa(HashingAlgorithm::Sha256);
    let ([private, public], [sibling, _]) =
        (active(&mut service, PairKind::Ec(Curve::P256)), active(&mut service, PairKind::Ec(Curve::P256)));
    let value = of(sign(&mut service, &first(&private, &way, b"one")));
    let _before = world.take_records();
    assert_eq!(why(sign(&mut service, &next(&sibling, &value, b"two"))), R::ItemNotFound);
    assert_eq!(why(sign(&mut other, &next(&private, &value, b"two"))), R::ItemNotFound);
    assert_eq!(why(verify(&mut service, &judging_last(&public, &value, b"two", Some(b"any")))), R::ItemNotFound);
    assert_eq!(of(sign(&mut service, &next(&private, &value, b"two"))), value, "none of them has ended it");
    let repeated = SignRequest { cryptographic_parameters: Some(way.clone()), ..last(&private, &value, b"three") };
    let signature = of(sign(&mut service, &repeated));
    assert_eq!(verify(&mut service, &judging(&public, &way, b"onetwothree", &signature)), VALID);
    let signs = (Action::Sign, Outcome::Success);
    assert_eq!(world.outcomes().into_iter().filter(|told| *told == signs).count(), 2, "each part has a record");
    // Other parameters are of another stream.
    let value = of(sign(&mut service, &first(&private, &way, b"one")));
    let changed = SignRequest { cryptographic_parameters: Some(ecdsa(HashingAlgorithm::Sha512)), ..last(&private, &value, b"two") };
    assert_eq!(why(sign(&mut service, &changed)), R::ItemNotFound);
    let value = of(verify(&mut service, &judging_first(&public, &way, b"one")));
    let changed = SignatureVerifyRequest {
        cryptographic_parameters: Some(ecdsa(HashingAlgorithm::Sha384)),
        ..judging_last(&public, &value, b"two", Some(&signature))
    };
    assert_eq!(why(verify(&mut service, &changed)), R::ItemNotFound);
}

#[test]
fn rights_and_limits_are_looked_at_in_every_part() {
    let world = World::edge();
    let mut service = world.service();
    let way = ecdsa(HashingAlgorithm::Sha256);
    let [private, public] = active(&mut service, PairKind::Ec(Curve::P256));
    let begun = of(sign(&mut service, &first(&private, &way, b"one")));
    let judged = of(verify(&mut service, &judging_first(&public, &way, b"one")));
    for id in [&private, &public] {
        service.revoke(id, RevocationReasonCode::CessationOfOperation).expect("it is Active");
    }
    assert_eq!(why(sign(&mut service, &last(&private, &begun, b"two"))), R::PermissionDenied);
    assert_eq!(why(verify(&mut service, &judging_last(&public, &judged, b"two", Some(b"any")))), R::ItemNotFound, "another state");
    // A signature in parts is one.
    let limit = AttributeValue::UsageLimits(UsageLimits { total: Some(1), count: None, unit: Some(UsageLimitsUnit::Object) });
    let request = pair_request(&wanted(PairKind::Ec(Curve::P256)), &[mask(1), limit], &[mask(2)]);
    let [limited, _] = made(&mut service, V1_4, &request).expect("it is offered");
    service.activate(&limited).expect("it is new");
    let value = of(sign(&mut service, &first(&limited, &way, b"one")));
    let value = of(sign(&mut service, &next(&limited, &value, b"two")));
    sign(&mut service, &last(&limited, &value, b"three")).expect("it is the same signature");
    assert_eq!(why(sign(&mut service, &first(&limited, &way, b"one"))), R::PermissionDenied);
}

#[test]
fn what_has_no_parts_or_cannot_be_right_is_refused_at_once() {
    use HashingAlgorithm as H;
    let world = World::edge();
    let mut service = world.service();
    let [private, public] = active(&mut service, RSA);
    for request in [first(&private, &pss(), b""), next(&private, b"anything", b"")] {
        let digested = SignRequest { data: None, digested_data: Some(ByteString(&[7; 32])), ..request };
        assert_eq!(why(service.call(V1_4, &digested, |_| ())), R::InvalidField, "a digest in parts");
    }
    let salted = Parameters { salt_length: Some(223), ..pss() };
    let cases = [
        (Parameters::default(), R::InvalidField),
        (salted, R::InvalidField),
        (Parameters { hashing_algorithm: Some(H::Sha1), ..pss() }, R::FeatureNotSupported),
        (ecdsa(H::Sha256), R::InvalidField),
    ];
    for (way, reason) in cases {
        assert_eq!(why(service.call(V1_4, &first(&private, &way, b"one"), |_| ())), reason, "{way:?}");
        assert_eq!(why(verify(&mut service, &judging_first(&public, &way, b"one"))), reason, "{way:?}");
    }
    assert_eq!(why(sign(&mut service, &last(&private, b"0123456789abcdef", b""))), R::ItemNotFound);
    let begun = |service: &mut Client<'_>| of(verify(service, &judging_first(&public, &pss(), b"one")));
    let long = SignatureVerifyRequest { signature_data: Some(ByteString(&[0; 513])), ..judging_first(&public, &pss(), b"one") };
    assert_eq!(why(verify(&mut service, &long)), R::InvalidField);
    let value = begun(&mut service);
    assert_eq!(why(verify(&mut service, &judging_last(&public, &value, b"two", None))), R::InvalidMessage, "no signature");
    let early = SignatureVerifyRequest { signature_data: Some(ByteString(&[0; 256])), ..judging_first(&public, &pss(), b"one") };
    let value = of(verify(&mut service, &early));
    assert_eq!(why(verify(&mut service, &judging_last(&public, &value, b"two", Some(&[0; 256])))), R::InvalidField, "two signatures");
    // All at once, with both indicators.
    let whole = SignRequest { final_indicator: Some(true), ..first(&private, &pss(), b"text") };
    let signature = of(sign(&mut service, &whole));
    let judged = SignatureVerifyRequest {
        final_indicator: Some(true),
        signature_data: Some(ByteString(&signature)),
        ..judging_first(&public, &pss(), b"text")
    };
    assert_eq!(verify(&mut service, &judged), VALID);
}
