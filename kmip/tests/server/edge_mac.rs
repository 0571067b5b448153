//! MAC, MAC Verify, Hash and the generator at an edge: what comes out, whole and in parts, and what is refused.

use keys::policy::{Action, Role};
use keys::record::Outcome;
use kmip::ttlv::ByteString;
use kmip::*;

use crate::world::*;
use CryptographicAlgorithm as A;
use ProtocolVersion::{V1_2, V1_3, V1_4};
use ResultReason as R;

/// MAC Generate and MAC Verify.
const MACS: i32 = 0x180;
const TEXT: &[u8] = b"what do ya want for nothing?";
const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";

/// What an answer has.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Mac(Vec<u8>),
    Validity(ValidityIndicator),
    Hash(Vec<u8>),
    Value(Vec<u8>),
}

fn with(algorithm: A) -> Option<CryptographicParameters<'static>> {
    Some(CryptographicParameters { cryptographic_algorithm: Some(algorithm), ..Default::default() })
}

fn of_mode(mode: BlockCipherMode) -> Option<CryptographicParameters<'static>> {
    Some(CryptographicParameters { block_cipher_mode: Some(mode), ..Default::default() })
}

fn hashing(hash: HashingAlgorithm) -> CryptographicParameters<'static> {
    CryptographicParameters { hashing_algorithm: Some(hash), ..Default::default() }
}

fn mac(client: &mut Client<'_>, version: ProtocolVersion, request: &MacRequest<'_>) -> Result<Told, Failed> {
    client.call(version, request, |answer| match (answer.mac_data, answer.correlation_value) {
        (Some(mac), None) => Told::Mac(mac.0.to_vec()),
        (None, Some(value)) => Told::Value(value.0.to_vec()),
        both => panic!("the one or the other: {both:?}"),
    })
}

fn verify(client: &mut Client<'_>, version: ProtocolVersion, request: &MacVerifyRequest<'_>) -> Result<Told, Failed> {
    client.call(version, request, |answer| match answer.correlation_value {
        None => Told::Validity(answer.validity_indicator),
        Some(value) => {
            assert_eq!(answer.validity_indicator, ValidityIndicator::Unknown, "nobody knows yet");
            Told::Value(value.0.to_vec())
        }
    })
}

fn hash(client: &mut Client<'_>, version: ProtocolVersion, request: &HashRequest<'_>) -> Result<Told, Failed> {
    client.call(version, request, |answer| match (answer.data, answer.correlation_value) {
        (Some(data), None) => Told::Hash(data.0.to_vec()),
        (None, Some(value)) => Told::Value(value.0.to_vec()),
        both => panic!("the one or the other: {both:?}"),
    })
}

fn over<'a>(id: &'a str, parameters: Option<CryptographicParameters<'a>>, data: &'a [u8]) -> MacRequest<'a> {
    let (unique_identifier, data) = (Some(id), Some(ByteString(data)));
    MacRequest { unique_identifier, cryptographic_parameters: parameters, data, ..MacRequest::default() }
}

fn against<'a>(id: &'a str, parameters: Option<CryptographicParameters<'a>>, data: &'a [u8], mac: &'a [u8]) -> MacVerifyRequest<'a> {
    let (unique_identifier, data, mac_data) = (Some(id), Some(ByteString(data)), Some(ByteString(mac)));
    MacVerifyRequest { unique_identifier, cryptographic_parameters: parameters, data, mac_data, ..MacVerifyRequest::default() }
}

fn of(told: Result<Told, Failed>) -> Vec<u8> {
    match told.expect("this succeeds") {
        Told::Mac(bytes) | Told::Hash(bytes) | Told::Value(bytes) => bytes,
        Told::Validity(validity) => panic!("{validity:?}"),
    }
}

/// An Active key of these bytes, for MACs.
fn key(client: &mut Client<'_>, algorithm: A, material: &[u8], mask: i32, more: &[AttributeValue<'_>]) -> String {
    let block = KeyBlock {
        key_format_type: KeyFormatType::Raw,
        key_compression_type: None,
        key_value: Some(KeyValue::Plain(PlainKeyValue { key_material: KeyMaterial::Bytes(ByteString(material)), attributes: vec![] })),
        cryptographic_algorithm: Some(algorithm),
        cryptographic_length: i32::try_from(material.len() * 8).ok(),
        key_wrapping_data: None,
    };
    let mut attributes = vec![bare(AttributeValue::CryptographicUsageMask(CryptographicUsageMask(mask)))];
    attributes.extend(more.iter().cloned().map(bare));
    let request = RegisterRequest {
        object_type: ObjectType::SymmetricKey,
        template_attribute: TemplateAttribute { names: vec![], attributes },
        object: ManagedObject::SymmetricKey(SymmetricKey { key_block: block }),
    };
    let id = client.call(V1_4, &request, |answer| answer.unique_identifier.to_owned()).expect("a plain key");
    client.activate(&id).expect("it is new");
    id
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal")).collect()
}

/// CS-AC-M-4 to 7 of the published cases, and case 2 of RFC 4231.
#[test]
fn codes_and_hashes_are_those_of_the_published_cases_in_every_version() {
    let world = World::edge();
    let mut service = world.service();
    let data = hex("01020304050607080910111213141516");
    let material = hex("0123456789abcdef0123456789abcdef");
    let parameters = AttributeValue::CryptographicParameters(with(A::HmacSha256).expect("some"));
    let aes = key(&mut service, A::Aes, &material, MACS | DATA, &[parameters]);
    let expected = hex("c911e78196d64c30f631bb079ea37b97a95936d4da764d6a171df030c895ecf9");
    let own = key(&mut service, A::HmacSha256, b"Jefe", MACS, &[]);
    let jefe = hex("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    for version in [V1_2, V1_3, V1_4] {
        assert_eq!(of(mac(&mut service, version, &over(&aes, None, &data))), expected, "{version}");
        let valid = Ok(Told::Validity(ValidityIndicator::Valid));
        assert_eq!(verify(&mut service, version, &against(&aes, None, &data, &expected)), valid, "{version}");
        assert_eq!(of(mac(&mut service, version, &over(&own, None, TEXT))), jefe, "{version}");
        let sha_256 = HashRequest {
            cryptographic_parameters: hashing(HashingAlgorithm::Sha256),
            data: Some(ByteString(&data)),
            correlation_value: None,
            init_indicator: None,
            final_indicator: None,
        };
        let expected = hex("ad41233d22cf9322e3a7ff49a13da434797abed3bab80950a1a0d4e582b7ea72");
        assert_eq!(of(hash(&mut service, version, &sha_256)), expected, "{version}");
    }
}

#[test]
fn every_code_is_the_same_in_parts_and_verifies_only_as_it_is() {
    let world = World::edge();
    let mut service = world.service();
    let algorithms = [
        (A::Aes, 16),
        (A::HmacSha1, 20),
        (A::HmacSha224, 28),
        (A::HmacSha256, 32),
        (A::HmacSha384, 48),
        (A::HmacSha512, 64),
        (A::HmacSha3_224, 28),
        (A::HmacSha3_256, 32),
        (A::HmacSha3_384, 48),
        (A::HmacSha3_512, 64),
    ];
    let text: Vec<u8> = (0..=250).collect();
    let mut codes = vec![];
    for (algorithm, bytes) in algorithms {
        let id = key(&mut service, algorithm, KEY, MACS, &[]);
        let parameters = if algorithm == A::Aes { of_mode(BlockCipherMode::Cmac) } else { None };
        let whole = of(mac(&mut service, V1_4, &over(&id, parameters.clone(), &text)));
        assert_eq!(whole.len(), bytes, "{algorithm:?}");
        for cuts in [[0, 0], [1, 16], [64, 128], [250, 251]] {
            let first = MacRequest { init_indicator: Some(true), ..over(&id, parameters.clone(), &text[..cuts[0]]) };
            let value = of(mac(&mut service, V1_3, &first));
            let next = |data| MacRequest { correlation_value: Some(ByteString(&value)), ..over(&id, None, data) };
            assert_eq!(of(mac(&mut service, V1_4, &next(&text[cuts[0]..cuts[1]]))), value, "the value stays");
            let last = MacRequest { final_indicator: Some(true), ..next(&text[cuts[1]..]) };
            assert_eq!(of(mac(&mut service, V1_4, &last)), whole, "{algorithm:?} cut at {cuts:?}");
            assert_eq!(why(mac(&mut service, V1_4, &last)), R::ItemNotFound, "it has ended");
        }
        let mut check = |claimed: &[u8], data: &[u8], expected| {
            let told = verify(&mut service, V1_4, &against(&id, parameters.clone(), data, claimed));
            assert_eq!(told, Ok(Told::Validity(expected)), "{algorithm:?}");
            // In parts, with the code first or last.
            for is_early in [true, false] {
                let early = Some(ByteString(claimed)).filter(|_| is_early);
                let late = Some(ByteString(claimed)).filter(|_| !is_early);
                let whole = against(&id, parameters.clone(), &data[..7], claimed);
                let first = MacVerifyRequest { init_indicator: Some(true), mac_data: early, ..whole };
                let value = match verify(&mut service, V1_4, &first) {
                    Ok(Told::Value(value)) => value,
                    other => panic!("{other:?}"),
                };
                let (correlation_value, final_indicator) = (Some(ByteString(&value)), Some(true));
                let last =
                    MacVerifyRequest { correlation_value, final_indicator, mac_data: late, ..against(&id, None, &data[7..], claimed) };
                assert_eq!(verify(&mut service, V1_4, &last), Ok(Told::Validity(expected)), "{algorithm:?}");
            }
        };
        check(&whole, &text, ValidityIndicator::Valid);
        check(&whole, &text[..250], ValidityIndicator::Invalid);
        check(&whole[1..], &text, ValidityIndicator::Invalid);
        check(&whole[..bytes - 1], &text, ValidityIndicator::Invalid);
        check(b"", &text, ValidityIndicator::Invalid);
        codes.push(whole);
    }
    codes.sort();
    codes.dedup();
    assert_eq!(codes.len(), algorithms.len(), "no two are the same");
}

#[test]
fn mask_state_role_and_kind_of_object_decide() {
    let world = World::edge();
    let (mut service, mut admin) = (world.service(), world.admin());
    let generates = key(&mut service, A::HmacSha256, KEY, 0x80, &[]);
    let verifies = key(&mut service, A::HmacSha256, KEY, 0x100, &[]);
    let code = of(mac(&mut service, V1_4, &over(&generates, None, TEXT)));
    assert_eq!(why(mac(&mut service, V1_4, &over(&verifies, None, TEXT))), R::PermissionDenied);
    assert_eq!(why(verify(&mut service, V1_4, &against(&generates, None, TEXT, &code))), R::PermissionDenied);
    let valid = Ok(Told::Validity(ValidityIndicator::Valid));
    assert_eq!(verify(&mut service, V1_4, &against(&verifies, None, TEXT, &code)), valid);
    assert_eq!(why(mac(&mut admin, V1_4, &over(&generates, None, TEXT))), R::PermissionDenied);
    let mut other = world.client(Role::Service, "globex", "billing");
    assert_eq!(why(mac(&mut other, V1_4, &over(&generates, None, TEXT))), R::ItemNotFound);
    let aes = key(&mut service, A::Aes, KEY, MACS, &[]);
    let begun = of(mac(&mut service, V1_4, &MacRequest { init_indicator: Some(true), ..over(&generates, None, TEXT) }));
    for id in [&generates, &verifies] {
        service.revoke(id, RevocationReasonCode::CessationOfOperation).expect("it is Active");
    }
    let last = MacRequest { correlation_value: Some(ByteString(&begun)), final_indicator: Some(true), ..over(&generates, None, b"") };
    assert_eq!(why(mac(&mut service, V1_4, &last)), R::PermissionDenied, "the rights are looked at in every part");
    assert_eq!(why(mac(&mut service, V1_4, &over(&generates, None, TEXT))), R::PermissionDenied);
    assert_eq!(verify(&mut service, V1_4, &against(&verifies, None, TEXT, &code)), valid, "what was protected is still processed");
    // What is asked for has to fit the key.
    let refused = [
        (&aes, None, R::InvalidField),
        (&aes, of_mode(BlockCipherMode::CbcMac), R::FeatureNotSupported),
        (&aes, of_mode(BlockCipherMode::Gcm), R::FeatureNotSupported),
        (&aes, with(A::HmacMd5), R::FeatureNotSupported),
        (&aes, with(A::Rsa), R::FeatureNotSupported),
    ];
    for (id, parameters, reason) in refused {
        assert_eq!(why(mac(&mut service, V1_4, &over(id, parameters.clone(), TEXT))), reason, "{parameters:?}");
    }
    let sha_512 = key(&mut service, A::HmacSha512, KEY, MACS, &[]);
    for parameters in [with(A::HmacSha256), with(A::Aes), Some(hashing(HashingAlgorithm::Sha256))] {
        assert_eq!(why(mac(&mut service, V1_4, &over(&sha_512, parameters.clone(), TEXT))), R::InvalidField, "{parameters:?}");
    }
    let by_hash = of(mac(&mut service, V1_4, &over(&aes, Some(hashing(HashingAlgorithm::Sha256)), TEXT)));
    assert_eq!(by_hash, of(mac(&mut service, V1_4, &over(&aes, with(A::HmacSha256), TEXT))));
    assert_eq!(by_hash, code, "the same key bytes");
    assert_eq!(
        why(verify(&mut service, V1_4, &MacVerifyRequest { mac_data: None, ..against(&sha_512, None, TEXT, b"") })),
        R::InvalidMessage
    );
}

#[test]
fn a_stream_is_of_one_kind_one_key_and_one_client() {
    let world = World::edge();
    let mut service = world.service();
    let (id, sibling) = (key(&mut service, A::HmacSha256, KEY, MACS, &[]), key(&mut service, A::HmacSha256, KEY, MACS, &[]));
    let mut other = world.client(Role::Service, "acme", "payroll");
    let mut begun = || of(mac(&mut service, V1_4, &MacRequest { init_indicator: Some(true), ..over(&id, None, TEXT) }));
    let value = begun();
    let next = |id, value| MacRequest { correlation_value: Some(ByteString(value)), ..over(id, None, TEXT) };
    let as_hash = |value| HashRequest {
        cryptographic_parameters: hashing(HashingAlgorithm::Sha256),
        data: Some(ByteString(TEXT)),
        correlation_value: Some(ByteString(value)),
        init_indicator: None,
        final_indicator: None,
    };
    assert_eq!(why(mac(&mut service, V1_4, &next(&sibling, &value))), R::ItemNotFound);
    let verifying = MacVerifyRequest { correlation_value: Some(ByteString(&value)), ..against(&id, None, TEXT, b"") };
    assert_eq!(why(verify(&mut service, V1_4, &verifying)), R::ItemNotFound);
    assert_eq!(why(hash(&mut service, V1_4, &as_hash(&value))), R::ItemNotFound);
    assert_eq!(why(mac(&mut other, V1_4, &next(&id, &value))), R::ItemNotFound);
    assert_eq!(of(mac(&mut service, V1_4, &next(&id, &value))), value, "none of them has ended it");
    // A hash is nobody else's either, and goes on with the same function only.
    let first = HashRequest { correlation_value: None, init_indicator: Some(true), ..as_hash(b"") };
    let value = of(hash(&mut service, V1_4, &first));
    assert_eq!(why(hash(&mut other, V1_4, &as_hash(&value))), R::ItemNotFound);
    let another = HashRequest { cryptographic_parameters: hashing(HashingAlgorithm::Sha3_256), ..as_hash(&value) };
    assert_eq!(why(hash(&mut service, V1_4, &another)), R::ItemNotFound);
    let last = HashRequest { final_indicator: Some(true), ..as_hash(&value) };
    let in_parts = of(hash(&mut service, V1_4, &last));
    let twice = [TEXT, TEXT].concat();
    let whole = HashRequest { data: Some(ByteString(&twice)), correlation_value: None, ..as_hash(b"") };
    assert_eq!(of(hash(&mut service, V1_4, &whole)), in_parts);
}

#[test]
fn every_hash_of_the_standard_is_offered_and_the_generator_gives_what_is_asked() {
    let world = World::edge();
    let mut service = world.service();
    let mut lengths = vec![];
    for function in HashingAlgorithm::ALL {
        let cryptographic_parameters = hashing(*function);
        let (data, correlation_value, init_indicator, final_indicator) = (Some(ByteString(TEXT)), None, None, None);
        let request = HashRequest { cryptographic_parameters, data, correlation_value, init_indicator, final_indicator };
        lengths.push(of(hash(&mut service, V1_4, &request)).len());
    }
    assert_eq!(lengths, [16, 16, 16, 20, 28, 32, 48, 64, 20, 24, 64, 28, 32, 28, 32, 48, 64]);
    let retrieve =
        |client: &mut Client<'_>, data_length| client.call(V1_2, &RngRetrieveRequest { data_length }, |answer| answer.data.0.to_vec());
    for length in [1, 32, 65_536] {
        let bytes = retrieve(&mut service, length).expect("it is offered");
        assert_eq!(bytes.len(), usize::try_from(length).expect("positive"));
        assert_ne!(retrieve(&mut service, length.max(16)), Ok(bytes));
    }
    for length in [i32::MIN, -1, 0, 65_537, i32::MAX] {
        assert_eq!(why(retrieve(&mut service, length)), R::InvalidField, "{length}");
    }
    // CS-RNG-O-3.
    let seed = RngSeedRequest { data: ByteString(&[7; 32]) };
    assert_eq!(service.call(V1_4, &seed, |answer| answer.data_length), Ok(0));
    let _before = world.take_records();
    drop(retrieve(&mut world.admin(), 16).expect("it names no object"));
    drop(retrieve(&mut world.client(Role::Operator, "", ""), 16).expect_err("an operator has no use for it"));
    service.call(V1_4, &seed, |_| ()).expect("it is ignored");
    let told = [(Action::RngRetrieve, Outcome::Success), (Action::RngRetrieve, Outcome::Denied), (Action::RngSeed, Outcome::Success)];
    assert_eq!(world.outcomes(), told);
}

#[test]
fn a_core_makes_no_codes_and_no_hashes() {
    let world = World::found();
    let mut service = world.service();
    let id = world.key();
    assert_eq!(why(mac(&mut service, V1_4, &over(&id, with(A::HmacSha256), TEXT))), R::OperationNotSupported);
    assert_eq!(why(service.call(V1_4, &RngRetrieveRequest { data_length: 16 }, |_| ())), R::OperationNotSupported);
    let l4 = "01890a5d-ac96-774b-bcce-b302099a8057";
    assert_eq!(why(mac(&mut service, V1_4, &over(l4, None, TEXT))), R::PermissionDenied, "it is for an edge");
}
