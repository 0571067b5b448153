//! Encrypt and Decrypt: what is offered, in which form by version, and what is refused.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use keys::budget::IV_BLOCK;
use keys::policy::Action;
use keys::record::Outcome;
use kmip::ttlv::ByteString;
use kmip::*;

use crate::world::*;
use ProtocolVersion::{V1_2, V1_3, V1_4};

/// What Encrypt returns.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sealed {
    data: Vec<u8>,
    iv: Vec<u8>,
    tag: Option<Vec<u8>>,
}

fn with(mode: BlockCipherMode) -> CryptographicParameters<'static> {
    CryptographicParameters { block_cipher_mode: Some(mode), ..CryptographicParameters::default() }
}

fn gcm() -> CryptographicParameters<'static> {
    with(BlockCipherMode::Gcm)
}

fn cbc() -> CryptographicParameters<'static> {
    CryptographicParameters { padding_method: Some(PaddingMethod::Pkcs5), ..with(BlockCipherMode::Cbc) }
}

fn encrypt(client: &mut Client<'_>, version: ProtocolVersion, request: &EncryptRequest<'_>) -> Result<Sealed, Failed> {
    client.call(version, request, |answer| {
        assert_eq!(Some(answer.unique_identifier), request.unique_identifier);
        let bytes = |field: Option<ByteString<'_>>| field.map(|bytes| bytes.0.to_vec());
        let (data, iv) = (bytes(answer.data).expect("a whole answer"), bytes(answer.iv_counter_nonce).expect("the server made one"));
        Sealed { data, iv, tag: bytes(answer.authentication_tag) }
    })
}

fn decrypt(client: &mut Client<'_>, version: ProtocolVersion, request: &DecryptRequest<'_>) -> Result<Vec<u8>, Failed> {
    client.call(version, request, |answer| answer.data.expect("a whole answer").0.to_vec())
}

fn opening<'a>(id: &'a str, parameters: Option<CryptographicParameters<'a>>, sealed: &'a Sealed) -> DecryptRequest<'a> {
    DecryptRequest {
        unique_identifier: Some(id),
        cryptographic_parameters: parameters,
        data: Some(ByteString(&sealed.data)),
        iv_counter_nonce: Some(ByteString(&sealed.iv)),
        authentication_tag: sealed.tag.as_deref().map(ByteString),
        ..DecryptRequest::default()
    }
}

fn sealing<'a>(id: &'a str, parameters: Option<CryptographicParameters<'a>>, data: &'a [u8]) -> EncryptRequest<'a> {
    let (unique_identifier, data) = (Some(id), Some(ByteString(data)));
    EncryptRequest { unique_identifier, cryptographic_parameters: parameters, data, ..EncryptRequest::default() }
}

#[test]
fn what_is_encrypted_decrypts_in_every_version_mode_length_and_key_size() {
    let world = World::found();
    let (mut admin, mut service) = (world.admin(), world.service());
    for bits in [128, 192, 256] {
        let mut attributes = wish("billing", &[]);
        attributes[1] = AttributeValue::CryptographicLength(bits);
        let id = admin.create(V1_2, &attributes).expect("a plain key");
        admin.activate(&id).expect("a new key activates");
        for version in [V1_2, V1_3, V1_4] {
            for parameters in [None, Some(cbc()), Some(gcm())] {
                for length in [0, 1, 15, 16, 17, 1024, 16 * 1024] {
                    let data: Vec<u8> = (0..length).map(|index| u8::try_from(index % 251).expect("below 251")).collect();
                    let sealed = encrypt(&mut service, version, &sealing(&id, parameters.clone(), &data)).expect("an Active key encrypts");
                    let opened = decrypt(&mut service, version, &opening(&id, parameters.clone(), &sealed));
                    assert_eq!(opened, Ok(data), "{bits} {version} {parameters:?}");
                }
            }
        }
    }
}

#[test]
fn the_tag_has_its_own_field_in_1_4_and_ends_the_data_before() {
    let world = World::found();
    let (mut service, id) = (world.service(), world.key());
    let new = encrypt(&mut service, V1_4, &sealing(&id, Some(gcm()), b"sixteen bytes...")).expect("it encrypts");
    assert_eq!((new.data.len(), new.iv.len(), new.tag.as_ref().map(Vec::len)), (16, 12, Some(16)));
    let old = encrypt(&mut service, V1_3, &sealing(&id, Some(gcm()), b"sixteen bytes...")).expect("it encrypts");
    assert_eq!((old.data.len(), old.iv.len(), &old.tag), (32, 12, &None));
    // Either kind opens in either version: data outlives its client's version.
    let joined = Sealed { data: [new.data.as_slice(), new.tag.as_deref().expect("checked")].concat(), tag: None, ..new.clone() };
    let split = Sealed { data: old.data[..16].to_vec(), tag: Some(old.data[16..].to_vec()), ..old.clone() };
    for (version, sealed) in [(V1_2, &joined), (V1_4, &joined), (V1_4, &split), (V1_4, &old), (V1_4, &new)] {
        assert_eq!(decrypt(&mut service, version, &opening(&id, Some(gcm()), sealed)).as_deref(), Ok(b"sixteen bytes...".as_slice()));
    }
}

#[test]
fn additional_data_is_authenticated() {
    let world = World::found();
    let (mut service, id) = (world.service(), world.key());
    let request = EncryptRequest { additional_data: Some(ByteString(b"row 7")), ..sealing(&id, Some(gcm()), b"a cell") };
    let sealed = encrypt(&mut service, V1_4, &request).expect("it encrypts");
    let open = |additional| DecryptRequest { additional_data: additional, ..opening(&id, Some(gcm()), &sealed) };
    assert_eq!(decrypt(&mut service, V1_4, &open(Some(ByteString(b"row 7")))).as_deref(), Ok(b"a cell".as_slice()));
    for wrong in [None, Some(ByteString(b"row 8"))] {
        assert_eq!(why(decrypt(&mut service, V1_4, &open(wrong))), ResultReason::CryptographicFailure);
    }
    let unauthenticated = EncryptRequest { cryptographic_parameters: Some(cbc()), ..request };
    assert_eq!(why(encrypt(&mut service, V1_4, &unauthenticated)), ResultReason::InvalidField);
}

#[test]
fn whatever_is_wrong_with_a_ciphertext_the_answer_is_the_same() {
    let world = World::found();
    let (mut service, [id, other]) = (world.service(), [world.key(), world.key()]);
    let flipped = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        bytes[0] ^= 1;
        bytes
    };
    let good = encrypt(&mut service, V1_4, &sealing(&id, Some(gcm()), b"a secret")).expect("it encrypts");
    let tag = good.tag.clone().expect("1.4 has the field");
    let bad = [
        Sealed { data: flipped(&good.data), ..good.clone() },
        Sealed { iv: flipped(&good.iv), ..good.clone() },
        Sealed { tag: Some(flipped(&tag)), ..good.clone() },
        Sealed { tag: Some(tag[..12].to_vec()), ..good.clone() },
        Sealed { tag: Some(vec![]), ..good.clone() },
        Sealed { tag: None, ..good.clone() },
        Sealed { data: vec![], tag: None, ..good.clone() },
        Sealed { iv: good.iv[..11].to_vec(), ..good.clone() },
        Sealed { iv: vec![], ..good.clone() },
    ];
    world.take_records();
    let mut answers: Vec<_> = bad.iter().map(|sealed| decrypt(&mut service, V1_4, &opening(&id, Some(gcm()), sealed))).collect();
    answers.push(decrypt(&mut service, V1_4, &opening(&other, Some(gcm()), &good)));
    let good = encrypt(&mut service, V1_2, &sealing(&id, Some(cbc()), b"a secret")).expect("it encrypts");
    let bad = [
        Sealed { iv: flipped(&good.iv[..15]), ..good.clone() },
        Sealed { data: good.data[1..].to_vec(), ..good.clone() },
        Sealed { data: vec![], ..good.clone() },
    ];
    answers.extend(bad.iter().map(|sealed| decrypt(&mut service, V1_2, &opening(&id, Some(cbc()), sealed))));
    for answer in &answers {
        let failed = answer.as_ref().expect_err("it does not verify");
        assert_eq!((failed.reason, failed.message.as_str()), (ResultReason::CryptographicFailure, "the data cannot be decrypted"));
    }
    let refused = world.take_records().into_iter().filter(|record| record.outcome == Outcome::Refused && record.action == Action::Decrypt);
    assert_eq!(refused.filter(|record| record.object.is_some()).count(), answers.len());
}

#[test]
fn parameters_that_are_not_offered_are_refused_by_name() {
    let world = World::found();
    let (mut service, id) = (world.service(), world.key());
    let mut check = |parameters: CryptographicParameters<'static>, reason, word: &str| {
        for answer in [
            encrypt(&mut service, V1_4, &sealing(&id, Some(parameters.clone()), b"data")).map(|_| ()),
            decrypt(&mut service, V1_4, &opening(&id, Some(parameters.clone()), &Sealed { data: vec![0; 32], iv: vec![0; 16], tag: None }))
                .map(|_| ()),
        ] {
            let failed = answer.expect_err(word);
            assert_eq!(failed.reason, reason, "{parameters:?}");
            assert!(failed.message.contains(word), "{}", failed.message);
        }
    };
    let (unsupported, invalid) = (ResultReason::FeatureNotSupported, ResultReason::InvalidField);
    for mode in BlockCipherMode::ALL.iter().filter(|mode| !matches!(mode, BlockCipherMode::Cbc | BlockCipherMode::Gcm)) {
        check(with(*mode), unsupported, "Block Cipher Mode");
    }
    check(with(BlockCipherMode::Extension(0x8000_0002)), unsupported, "Block Cipher Mode");
    for padding in [PaddingMethod::None, PaddingMethod::Zeros, PaddingMethod::Iso10126] {
        check(CryptographicParameters { padding_method: Some(padding), ..cbc() }, unsupported, "Padding Method");
    }
    check(CryptographicParameters { padding_method: Some(PaddingMethod::Pkcs5), ..gcm() }, unsupported, "Padding Method");
    for tag_length in [-1, 0, 4, 12, 15, 17, 128] {
        check(CryptographicParameters { tag_length: Some(tag_length), ..gcm() }, ResultReason::GeneralFailure, "Tag Length");
    }
    check(CryptographicParameters { iv_length: Some(128), ..gcm() }, unsupported, "IV Length");
    check(CryptographicParameters { iv_length: Some(96), ..cbc() }, unsupported, "IV Length");
    check(CryptographicParameters { counter_length: Some(32), ..gcm() }, unsupported, "counter");
    check(CryptographicParameters { initial_counter_value: Some(1), ..gcm() }, unsupported, "counter");
    check(CryptographicParameters { cryptographic_algorithm: Some(CryptographicAlgorithm::TripleDES), ..cbc() }, invalid, "AES");
}

#[test]
fn parameters_that_say_what_is_done_anyway_are_taken() {
    let world = World::found();
    let (mut service, id) = (world.service(), world.key());
    let aes = Some(CryptographicAlgorithm::Aes);
    let explicit = CryptographicParameters {
        cryptographic_algorithm: aes,
        random_iv: Some(true),
        iv_length: Some(96),
        tag_length: Some(16),
        padding_method: Some(PaddingMethod::None),
        ..gcm()
    };
    assert_eq!(encrypt(&mut service, V1_2, &sealing(&id, Some(explicit), b"data")).map(|sealed| sealed.iv.len()), Ok(12));
    let bare = CryptographicParameters { cryptographic_algorithm: aes, ..CryptographicParameters::default() };
    assert_eq!(encrypt(&mut service, V1_2, &sealing(&id, Some(bare), b"data")).map(|sealed| sealed.iv.len()), Ok(16));
}

#[test]
fn without_parameters_the_keys_own_first_ones_count_and_else_cbc() {
    let world = World::found();
    let (mut admin, mut service) = (world.admin(), world.service());
    let both = [AttributeValue::CryptographicParameters(gcm()), AttributeValue::CryptographicParameters(cbc())];
    let id = admin.create(V1_2, &wish("billing", &both)).expect("a plain key");
    admin.activate(&id).expect("a new key activates");
    let sealed = encrypt(&mut service, V1_4, &sealing(&id, None, b"data")).expect("it encrypts");
    assert_eq!((sealed.iv.len(), sealed.tag.is_some()), (12, true));
    assert_eq!(decrypt(&mut service, V1_4, &opening(&id, None, &sealed)).as_deref(), Ok(b"data".as_slice()));
    // What the request says counts before what the key says.
    assert_eq!(encrypt(&mut service, V1_4, &sealing(&id, Some(cbc()), b"data")).map(|sealed| sealed.iv.len()), Ok(16));
    // Any parameters may be stored; they are judged when they are used.
    let xts = admin.create(V1_2, &wish("billing", &[AttributeValue::CryptographicParameters(with(BlockCipherMode::Xts))])).expect("stored");
    admin.activate(&xts).expect("a new key activates");
    assert_eq!(why(encrypt(&mut service, V1_2, &sealing(&xts, None, b"data"))), ResultReason::FeatureNotSupported);
}

#[test]
fn a_core_makes_every_iv_itself_and_never_the_same_again() {
    let world = World::found();
    let (mut service, id) = (world.service(), world.key());
    for parameters in [cbc(), gcm()] {
        let request = EncryptRequest { iv_counter_nonce: Some(ByteString(&[0; 12])), ..sealing(&id, Some(parameters.clone()), b"data") };
        let failed = encrypt(&mut service, V1_2, &request).expect_err("the IV is the server's");
        assert_eq!(failed.reason, ResultReason::InvalidField);
        assert!(failed.message.contains("IV/Counter/Nonce"), "{}", failed.message);
        let mut ivs: Vec<_> = (0..100)
            .map(|_| encrypt(&mut service, V1_2, &sealing(&id, Some(parameters.clone()), b"data")).expect("it encrypts").iv)
            .collect();
        ivs.sort_unstable();
        ivs.dedup();
        assert_eq!(ivs.len(), 100);
    }
}

#[test]
fn one_block_of_ivs_is_reserved_for_many_encryptions_and_none_for_a_refused_one() {
    let world = World::found();
    let (mut admin, mut service) = (world.admin(), world.service());
    let id = admin.create(V1_2, &wish("billing", &[])).expect("a plain key");
    let reserved = |world: &World| {
        let mut records = std::mem::take(&mut *world.audit.records());
        records.retain(|record| record.action == Action::ReserveIvs);
        records.len()
    };
    reserved(&world);
    assert_eq!(why(encrypt(&mut service, V1_2, &sealing(&id, Some(gcm()), b"data"))), ResultReason::PermissionDenied);
    assert_eq!(reserved(&world), 0);
    admin.activate(&id).expect("a new key activates");
    for _ in 0..50 {
        encrypt(&mut service, V1_2, &sealing(&id, Some(gcm()), b"data")).expect("it encrypts");
    }
    assert_eq!(reserved(&world), 1, "{IV_BLOCK} at once");
}

#[test]
fn a_whole_request_may_say_that_it_is_whole() {
    let world = World::found();
    let (mut service, id) = (world.service(), world.key());
    let mut check = |init, last, data: Option<&[u8]>| {
        let request = EncryptRequest { init_indicator: init, final_indicator: last, data: data.map(ByteString), ..sealing(&id, None, b"") };
        encrypt(&mut service, V1_3, &request).map(|sealed| sealed.data.len()).map_err(|failed| failed.reason)
    };
    let data = Some(b"data".as_slice());
    assert_eq!(check(None, None, None), Err(ResultReason::InvalidMessage));
    assert_eq!(check(Some(true), Some(true), data), Ok(16));
    assert_eq!(check(Some(true), Some(true), None), Ok(16));
    assert_eq!(check(Some(false), Some(false), data), Ok(16));
}

#[test]
fn decrypt_needs_data_and_iv() {
    let world = World::found();
    let (mut service, id) = (world.service(), world.key());
    let sealed = Sealed { data: vec![0; 16], iv: vec![0; 16], tag: None };
    for request in [
        DecryptRequest { data: None, ..opening(&id, None, &sealed) },
        DecryptRequest { iv_counter_nonce: None, ..opening(&id, None, &sealed) },
    ] {
        assert_eq!(why(decrypt(&mut service, V1_2, &request)), ResultReason::InvalidMessage);
    }
    let tagged = DecryptRequest { authentication_tag: Some(ByteString(&[0; 16])), ..opening(&id, Some(cbc()), &sealed) };
    assert_eq!(why(decrypt(&mut service, V1_4, &tagged)), ResultReason::InvalidField);
}

#[test]
fn a_key_for_keys_does_not_encrypt_data() {
    let world = World::found();
    let mut admin = world.admin();
    let mut attributes = wish("billing", &[]);
    attributes[2] = AttributeValue::CryptographicUsageMask(CryptographicUsageMask(0x30));
    let id = admin.create(V1_2, &attributes).expect("a plain key");
    admin.activate(&id).expect("a new key activates");
    assert_eq!(why(encrypt(&mut world.service(), V1_2, &sealing(&id, None, b"data"))), ResultReason::PermissionDenied);
}

#[test]
fn a_warm_encrypt_is_answered_without_waiting() {
    let world = World::found();
    let (mut service, id) = (world.service(), world.key());
    encrypt(&mut service, V1_4, &sealing(&id, Some(gcm()), b"data")).expect("it encrypts");
    let mut batch = Batch::new(V1_4);
    batch.push(&sealing(&id, Some(gcm()), b"data")).expect("1.2 has Encrypt");
    let message = batch.finish().bytes;
    let mut now = Context::from_waker(Waker::noop());
    let unit = world.vault.begin(service.caller.session());
    let time = keys::id::Time::from_seconds(START);
    let Poll::Ready((response, unit)) =
        pin!(dispatch(Some(&world.vault), &mut service.caller, unit, &message, time, vec![])).poll(&mut now)
    else {
        panic!("dispatch waits for something");
    };
    let Poll::Ready(receipt) = pin!(unit.commit()).poll(&mut now) else { panic!("a commit without changes waits for something") };
    assert_eq!(only_item(&response.release(receipt.expect("the log is well"))).1, ResultStatus::Success);
}
