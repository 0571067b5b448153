//! Encrypt and Decrypt at an edge: every mode, padding, tag and way to an IV, whole and in parts, and what is refused of them.

use keys::policy::Action;
use keys::record::Outcome;
use kmip::ttlv::ByteString;
use kmip::*;

use crate::world::*;
use BlockCipherMode::{Cbc, Ctr, Ecb, Gcm};
use ProtocolVersion::{V1_2, V1_3, V1_4};
use ResultReason as R;

/// What an answer to Encrypt or Decrypt has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Out {
    data: Vec<u8>,
    iv: Option<Vec<u8>>,
    tag: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
}

type Parameters = CryptographicParameters<'static>;

fn with(mode: BlockCipherMode) -> Parameters {
    Parameters { block_cipher_mode: Some(mode), ..Parameters::default() }
}

fn padded(mode: BlockCipherMode, padding: PaddingMethod) -> Parameters {
    Parameters { padding_method: Some(padding), ..with(mode) }
}

fn owned(field: Option<ByteString<'_>>) -> Option<Vec<u8>> {
    field.map(|bytes| bytes.0.to_vec())
}

fn encrypt(client: &mut Client<'_>, version: ProtocolVersion, request: &EncryptRequest<'_>) -> Result<Out, Failed> {
    client.call(version, request, |answer| {
        let (iv, tag, value) = (owned(answer.iv_counter_nonce), owned(answer.authentication_tag), owned(answer.correlation_value));
        Out { data: owned(answer.data).expect("every answer has some, if only none"), iv, tag, value }
    })
}

fn decrypt(client: &mut Client<'_>, version: ProtocolVersion, request: &DecryptRequest<'_>) -> Result<Out, Failed> {
    client.call(version, request, |answer| Out {
        data: owned(answer.data).expect("every answer has some, if only none"),
        value: owned(answer.correlation_value),
        ..Out::default()
    })
}

fn sealing<'a>(id: &'a str, parameters: &Parameters, iv: Option<&'a [u8]>, data: &'a [u8]) -> EncryptRequest<'a> {
    EncryptRequest {
        unique_identifier: Some(id),
        cryptographic_parameters: Some(parameters.clone()),
        data: Some(ByteString(data)),
        iv_counter_nonce: iv.map(ByteString),
        ..EncryptRequest::default()
    }
}

fn opening<'a>(id: &'a str, parameters: &Parameters, iv: Option<&'a [u8]>, sealed: &'a Out) -> DecryptRequest<'a> {
    DecryptRequest {
        unique_identifier: Some(id),
        cryptographic_parameters: Some(parameters.clone()),
        data: Some(ByteString(&sealed.data)),
        iv_counter_nonce: iv.or(sealed.iv.as_deref()).map(ByteString),
        authentication_tag: sealed.tag.as_deref().map(ByteString),
        ..DecryptRequest::default()
    }
}

/// An Active AES key of the service, with some attributes more.
fn aes(service: &mut Client<'_>, bits: i32, more: &[AttributeValue<'_>]) -> String {
    let mut attributes = wish("billing", more);
    attributes[1] = AttributeValue::CryptographicLength(bits);
    let id = service.create(V1_4, &attributes).expect("a plain key");
    service.activate(&id).expect("it is new");
    id
}

fn numbered(length: usize) -> Vec<u8> {
    (0..=250).cycle().take(length).collect()
}

const PADDINGS: [PaddingMethod; 5] =
    [PaddingMethod::None, PaddingMethod::Pkcs5, PaddingMethod::Zeros, PaddingMethod::AnsiX9_23, PaddingMethod::Iso10126];

/// Every way without a tag that an edge offers.
fn plain_ways() -> Vec<Parameters> {
    let mut ways = vec![with(Ctr), padded(Ctr, PaddingMethod::None), with(Cbc), with(Ecb), Parameters::default()];
    ways.extend(PADDINGS.into_iter().flat_map(|padding| [padded(Cbc, padding), padded(Ecb, padding)]));
    ways
}

/// Does the way take data of any length?
fn takes(way: &Parameters, length: usize) -> bool {
    let is_stream = matches!(way.block_cipher_mode, Some(Ctr | Gcm));
    // CS-BC-M-1 and -4: ECB without a Padding Method has none.
    let usual = if way.block_cipher_mode == Some(Ecb) { PaddingMethod::None } else { PaddingMethod::Pkcs5 };
    is_stream || way.padding_method.unwrap_or(usual) != PaddingMethod::None || length.is_multiple_of(16)
}

/// What comes back of data: zeros that fill a block cannot be told from it.
fn back(way: &Parameters, data: &[u8]) -> Vec<u8> {
    let mut data = data.to_vec();
    if way.padding_method == Some(PaddingMethod::Zeros) {
        data.resize(data.len().next_multiple_of(16), 0);
    }
    data
}

#[test]
fn every_mode_and_padding_opens_what_it_has_sealed_with_either_s_iv() {
    let world = World::edge();
    let mut service = world.service();
    let mut cases = 0;
    for bits in [128, 192, 256] {
        let id = aes(&mut service, bits, &[]);
        for version in [V1_2, V1_3, V1_4] {
            for way in plain_ways() {
                let has_iv = way.block_cipher_mode != Some(Ecb);
                for length in [0, 1, 15, 16, 17, 32, 1000] {
                    let data = numbered(length);
                    for iv in [None, Some([0x1F; 16].as_slice())] {
                        if iv.is_some() && !has_iv {
                            continue;
                        }
                        let sealed = encrypt(&mut service, version, &sealing(&id, &way, iv, &data));
                        if !takes(&way, length) {
                            assert_eq!(why(sealed), R::InvalidField, "{way:?} {length}");
                            continue;
                        }
                        let sealed = sealed.expect("it is offered");
                        assert_eq!(sealed.iv.as_ref().map(Vec::len), (has_iv && iv.is_none()).then_some(16), "{way:?}");
                        assert!(length == 0 || sealed.data != data);
                        let opened = decrypt(&mut service, version, &opening(&id, &way, iv, &sealed)).map(|out| out.data);
                        assert_eq!(opened, Ok(back(&way, &data)), "{way:?} {length} {version}");
                        cases += 1;
                    }
                }
            }
        }
    }
    counted(cases);
}

#[test]
fn gcm_takes_ivs_of_1_to_128_bytes_and_tags_of_12_to_16() {
    let world = World::edge();
    let mut service = world.service();
    let id = aes(&mut service, 256, &[]);
    let ivs = [None, Some(1), Some(8), Some(12), Some(16), Some(60), Some(128)];
    let mut cases = 0;
    for version in [V1_2, V1_4] {
        for tag_length in [None, Some(12), Some(13), Some(14), Some(15), Some(16)] {
            for iv_bytes in ivs {
                let way = Parameters { tag_length, ..with(Gcm) };
                let own = iv_bytes.map(numbered);
                let data = numbered(100);
                let request = sealing(&id, &way, own.as_deref(), &data);
                let sealed = encrypt(&mut service, version, &request).expect("it is offered");
                let tag_bytes = usize::try_from(tag_length.unwrap_or(16)).expect("short");
                match version {
                    V1_4 => assert_eq!((sealed.data.len(), sealed.tag.as_ref().map(Vec::len)), (100, Some(tag_bytes))),
                    _ => assert_eq!((sealed.data.len(), &sealed.tag), (100 + tag_bytes, &None)),
                }
                assert_eq!(sealed.iv.as_ref().map(Vec::len), own.is_none().then_some(12), "the client knows its own");
                let open = opening(&id, &way, own.as_deref(), &sealed);
                assert_eq!(decrypt(&mut service, version, &open).map(|out| out.data), Ok(data.clone()), "{tag_length:?} {iv_bytes:?}");
                // A shorter tag is the front of a longer one, so its length is not the sender's to choose.
                let other = Parameters { tag_length: Some(if tag_bytes == 12 { 13 } else { 12 }), ..with(Gcm) };
                let wrong = DecryptRequest { cryptographic_parameters: Some(other), ..open.clone() };
                assert_eq!(why(decrypt(&mut service, version, &wrong)), R::CryptographicFailure);
                let mut flipped = sealed.clone();
                flipped.data[0] ^= 1;
                let wrong = opening(&id, &way, own.as_deref(), &flipped);
                assert_eq!(why(decrypt(&mut service, version, &wrong)), R::CryptographicFailure);
                cases += 3;
            }
        }
    }
    counted(cases);
}

#[test]
fn known_answers_come_out_of_a_key_that_was_registered() {
    let world = World::edge();
    let mut service = world.service();
    let bytes = |hex: &str| -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("the test's own")).collect()
    };
    // SP 800-38A, F.1.1, F.2.1 and F.5.1: the first block under the same AES-128 key.
    let key = bytes("2b7e151628aed2a6abf7158809cf4f3c");
    let plain = bytes("6bc1bee22e409f96e93d7e117393172a");
    let block = KeyBlock {
        key_format_type: KeyFormatType::Raw,
        key_compression_type: None,
        key_value: Some(KeyValue::Plain(PlainKeyValue { key_material: KeyMaterial::Bytes(ByteString(&key)), attributes: vec![] })),
        cryptographic_algorithm: Some(CryptographicAlgorithm::Aes),
        cryptographic_length: Some(128),
        key_wrapping_data: None,
    };
    let attributes = vec![bare(AttributeValue::CryptographicUsageMask(CryptographicUsageMask(DATA)))];
    let request = RegisterRequest {
        object_type: ObjectType::SymmetricKey,
        template_attribute: TemplateAttribute { names: vec![], attributes },
        object: ManagedObject::SymmetricKey(SymmetricKey { key_block: block }),
    };
    let id = service.call(V1_2, &request, |answer| answer.unique_identifier.to_owned()).expect("it is kept");
    service.activate(&id).expect("it is new");
    for (mode, iv, expected) in [
        (Ecb, "", "3ad77bb40d7a3660a89ecaf32466ef97"),
        (Cbc, "000102030405060708090a0b0c0d0e0f", "7649abac8119b246cee98e9b12e9197d"),
        (Ctr, "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff", "874d6191b620e3261bef6864990db6ce"),
    ] {
        let iv = bytes(iv);
        let own = Some(iv.as_slice()).filter(|iv| !iv.is_empty());
        let sealed = encrypt(&mut service, V1_2, &sealing(&id, &padded(mode, PaddingMethod::None), own, &plain)).expect("it is offered");
        assert_eq!(sealed.data, bytes(expected), "{mode:?}");
    }
}

#[test]
fn wrong_ivs_tags_and_parameters_are_refused_by_the_name_of_their_field() {
    let world = World::edge();
    let mut service = world.service();
    let id = aes(&mut service, 256, &[]);
    let (iv16, long) = ([1; 16], [1; 129]);
    let of = |mode, edit: &dyn Fn(&mut Parameters)| {
        let mut parameters = with(mode);
        edit(&mut parameters);
        parameters
    };
    let cases: Vec<(&str, Parameters, Option<&[u8]>, R)> = vec![
        ("IV/Counter/Nonce", with(Ecb), Some(&iv16), R::InvalidField),
        ("IV/Counter/Nonce", with(Ecb), Some(&[]), R::InvalidField),
        ("IV/Counter/Nonce", with(Cbc), Some(&iv16[..12]), R::InvalidField),
        ("IV/Counter/Nonce", with(Cbc), Some(&[]), R::InvalidField),
        ("IV/Counter/Nonce", with(Ctr), Some(&iv16[..15]), R::InvalidField),
        ("IV/Counter/Nonce", with(Ctr), Some(&long), R::InvalidField),
        ("IV/Counter/Nonce", with(Gcm), Some(&[]), R::InvalidField),
        ("IV/Counter/Nonce", with(Gcm), Some(&long), R::InvalidField),
        ("IV/Counter/Nonce", of(Gcm, &|one| one.random_iv = Some(true)), Some(&iv16), R::InvalidField),
        ("IV/Counter/Nonce", of(Cbc, &|one| one.random_iv = Some(true)), Some(&iv16), R::InvalidField),
        ("IV Length", of(Gcm, &|one| one.iv_length = Some(96)), Some(&iv16), R::InvalidField),
        ("IV Length", of(Gcm, &|one| one.iv_length = Some(128)), None, R::FeatureNotSupported),
        ("IV Length", of(Cbc, &|one| one.iv_length = Some(96)), None, R::FeatureNotSupported),
        ("IV Length", of(Ecb, &|one| one.iv_length = Some(128)), None, R::FeatureNotSupported),
        // CS-BC-M-GCM-1 has this reason for both.
        ("Tag Length", of(Gcm, &|one| one.tag_length = Some(11)), None, R::GeneralFailure),
        ("Tag Length", of(Gcm, &|one| one.tag_length = Some(17)), None, R::GeneralFailure),
        ("Tag Length", of(Gcm, &|one| one.tag_length = Some(-1)), None, R::GeneralFailure),
        ("Padding Method", padded(Gcm, PaddingMethod::Pkcs5), None, R::FeatureNotSupported),
        ("Padding Method", padded(Ctr, PaddingMethod::Zeros), None, R::FeatureNotSupported),
        ("Padding Method", padded(Cbc, PaddingMethod::Oaep), None, R::FeatureNotSupported),
        ("Padding Method", padded(Ecb, PaddingMethod::Ssl3), None, R::FeatureNotSupported),
        ("Block Cipher Mode", with(BlockCipherMode::Xts), None, R::FeatureNotSupported),
        ("Block Cipher Mode", with(BlockCipherMode::Cfb), None, R::FeatureNotSupported),
        ("Block Cipher Mode", with(BlockCipherMode::NISTKeyWrap), None, R::FeatureNotSupported),
        ("Cryptographic Parameters", of(Ctr, &|one| one.counter_length = Some(32)), None, R::FeatureNotSupported),
        ("Cryptographic Parameters", of(Gcm, &|one| one.fixed_field_length = Some(32)), None, R::FeatureNotSupported),
        (
            "Cryptographic Algorithm",
            of(Cbc, &|one| one.cryptographic_algorithm = Some(CryptographicAlgorithm::TripleDES)),
            None,
            R::InvalidField,
        ),
    ];
    for (field, way, iv, reason) in &cases {
        let failed = encrypt(&mut service, V1_4, &sealing(&id, way, *iv, b"sixteen bytes...")).expect_err(field);
        assert_eq!(failed.reason, *reason, "{way:?}: {}", failed.message);
        assert!(failed.message.contains(field), "{way:?}: {}", failed.message);
    }
    for mode in [Cbc, Ecb, Ctr] {
        let request = EncryptRequest { additional_data: Some(ByteString(b"row 7")), ..sealing(&id, &with(mode), None, b"data") };
        assert_eq!(why(encrypt(&mut service, V1_4, &request)), R::InvalidField, "{mode:?}");
    }
    counted(cases.len() + 3);
}

#[test]
fn what_does_not_decrypt_says_so_in_one_way_and_what_is_missing_by_its_name() {
    let world = World::edge();
    let mut service = world.service();
    let id = aes(&mut service, 256, &[]);
    let iv = [7; 16];
    let open = |service: &mut Client<'_>, way: &Parameters, iv: Option<&[u8]>, data: &[u8]| {
        let sealed = Out { data: data.to_vec(), ..Out::default() };
        decrypt(service, V1_4, &opening(&id, way, iv, &sealed))
    };
    for mode in [Cbc, Ecb] {
        let own = Some(iv.as_slice()).filter(|_| mode == Cbc);
        for length in [0, 1, 15, 17] {
            let refused = open(&mut service, &padded(mode, PaddingMethod::Pkcs5), own, &numbered(length)).expect_err("no whole blocks");
            assert_eq!((refused.reason, refused.message.as_str()), (R::CryptographicFailure, "the data cannot be decrypted"), "{mode:?}");
        }
        for padding in [PaddingMethod::Pkcs5, PaddingMethod::AnsiX9_23] {
            let refused = open(&mut service, &padded(mode, padding), own, &[0x3B; 32]).expect_err("no such padding");
            assert_eq!((refused.reason, refused.message.as_str()), (R::CryptographicFailure, "the data cannot be decrypted"), "{mode:?}");
        }
    }
    for mode in [Cbc, Ctr, Gcm] {
        assert_eq!(why(open(&mut service, &with(mode), None, &[0; 32])), R::InvalidMessage, "{mode:?}: without an IV");
    }
    assert_eq!(why(open(&mut service, &with(Ecb), Some(&iv), &[0; 32])), R::InvalidField, "with one");
    for length in [0, 1, 15, 17] {
        for mode in [Cbc, Ctr] {
            assert_eq!(why(open(&mut service, &with(mode), Some(&numbered(length)), &[0; 32])), R::CryptographicFailure, "{mode:?}");
        }
    }
    for length in [0, 129] {
        assert_eq!(why(open(&mut service, &with(Gcm), Some(&numbered(length)), &[0; 32])), R::CryptographicFailure, "{length}");
    }
}

#[test]
fn an_iv_of_the_client_s_is_recorded_as_such_with_gcm_and_refused_where_the_edge_makes_all() {
    let world = World::edge();
    let mut service = world.service();
    let id = aes(&mut service, 256, &[]);
    world.take_records();
    let iv = [9; 16];
    for (way, own, action) in [
        (with(Gcm), None, Action::Encrypt),
        (with(Gcm), Some(iv.as_slice()), Action::EncryptWithOwnIv),
        (with(Cbc), Some(iv.as_slice()), Action::Encrypt),
        (with(Ctr), Some(iv.as_slice()), Action::Encrypt),
        (padded(Ecb, PaddingMethod::Pkcs5), None, Action::Encrypt),
    ] {
        encrypt(&mut service, V1_4, &sealing(&id, &way, own, b"data")).expect("it is offered");
        assert_eq!(world.outcomes(), [(action, Outcome::Success)], "{way:?}");
    }
    let settings = Settings { gcm_caller_iv: CallerIvs::Refuse, ..Settings::from(Credentials::Ignore) };
    let mut strict = world.client_with(keys::policy::Role::Service, "acme", "billing", settings);
    for init_indicator in [None, Some(true)] {
        let request = EncryptRequest { init_indicator, ..sealing(&id, &with(Gcm), Some(&iv), b"data") };
        let refused = encrypt(&mut strict, V1_4, &request).expect_err("it makes them itself");
        assert_eq!((refused.reason, refused.message.contains("IV/Counter/Nonce")), (R::InvalidField, true));
    }
    assert!(world.outcomes().iter().all(|(_, outcome)| *outcome == Outcome::Invalid));
    let made = encrypt(&mut strict, V1_4, &sealing(&id, &with(Gcm), None, b"data")).expect("the edge makes it");
    assert_eq!(made.iv.as_ref().map(Vec::len), Some(12));
    encrypt(&mut strict, V1_4, &sealing(&id, &with(Cbc), Some(&iv), b"data")).expect("it is about GCM");
    decrypt(&mut strict, V1_4, &opening(&id, &with(Gcm), None, &made)).expect("whoever's IV it was");
}

#[test]
fn ivs_that_the_edge_makes_are_never_the_same() {
    let world = World::edge();
    let mut service = world.service();
    let id = aes(&mut service, 128, &[]);
    for mode in [Gcm, Cbc, Ctr] {
        let request = sealing(&id, &with(mode), None, b"data");
        let mut ivs: Vec<_> = (0..100).map(|_| encrypt(&mut service, V1_4, &request).expect("it encrypts").iv).collect();
        ivs.sort_unstable();
        ivs.dedup();
        assert_eq!((ivs.len(), ivs[0].is_some()), (100, true), "{mode:?}");
    }
}

#[test]
fn only_an_active_aes_key_that_is_for_it_encrypts() {
    use AttributeValue as A;
    let world = World::edge();
    let mut service = world.service();
    let refused = |service: &mut Client<'_>, id: &str| why(encrypt(service, V1_4, &sealing(id, &with(Cbc), None, b"data")));
    for algorithm in [CryptographicAlgorithm::HmacSha256, CryptographicAlgorithm::HmacSha3_512, CryptographicAlgorithm::ChaCha20] {
        let mask = CryptographicUsageMask(DATA);
        let id = service.create(V1_4, &[A::CryptographicAlgorithm(algorithm), A::CryptographicUsageMask(mask)]).expect("it is offered");
        service.activate(&id).expect("it is new");
        assert_eq!(refused(&mut service, &id), R::InvalidField, "{algorithm:?}");
        for way in [with(Gcm), with(Ctr), Parameters::default()] {
            assert_eq!(why(encrypt(&mut service, V1_4, &sealing(&id, &way, None, b"data"))), R::InvalidField, "{algorithm:?}");
        }
    }
    // A password of 16 bytes is no key, whatever its attributes say.
    let block = KeyBlock {
        key_format_type: KeyFormatType::Raw,
        key_compression_type: None,
        key_value: Some(KeyValue::Plain(PlainKeyValue { key_material: KeyMaterial::Bytes(ByteString(&[7; 16])), attributes: vec![] })),
        cryptographic_algorithm: None,
        cryptographic_length: None,
        key_wrapping_data: None,
    };
    let password = ManagedObject::SecretData(SecretData { secret_data_type: SecretDataType::Password, key_block: block });
    let blob = ManagedObject::OpaqueObject(OpaqueObject {
        opaque_data_type: OpaqueDataType::Extension(0x8000_0001),
        opaque_data_value: ByteString(&[7; 16]),
    });
    for object in [password, blob] {
        let attributes = [A::CryptographicUsageMask(CryptographicUsageMask(DATA)), A::CryptographicAlgorithm(CryptographicAlgorithm::Aes)];
        let template_attribute = TemplateAttribute { names: vec![], attributes: attributes.into_iter().map(bare).collect() };
        let request = RegisterRequest { object_type: object.object_type(), template_attribute, object };
        let id = service.call(V1_4, &request, |answer| answer.unique_identifier.to_owned()).expect("it is kept");
        service.activate(&id).expect("it is new");
        assert_eq!(refused(&mut service, &id), R::InvalidField);
    }
    let mut attributes = wish("billing", &[]);
    attributes[2] = A::CryptographicUsageMask(CryptographicUsageMask(8));
    let id = service.create(V1_4, &attributes).expect("a plain key");
    assert_eq!(refused(&mut service, &id), R::PermissionDenied, "Pre-Active");
    service.activate(&id).expect("it is new");
    assert_eq!(refused(&mut service, &id), R::PermissionDenied, "it only decrypts");
    let id = aes(&mut service, 256, &[]);
    for (role, tenant, name, reason) in [
        (keys::policy::Role::TenantAdmin, "acme", "", R::PermissionDenied),
        (keys::policy::Role::Service, "acme", "payroll", R::ItemNotFound),
        (keys::policy::Role::Service, "globex", "billing", R::ItemNotFound),
    ] {
        assert_eq!(refused(&mut world.client(role, tenant, name), &id), reason);
    }
    let sealed = encrypt(&mut service, V1_4, &sealing(&id, &with(Cbc), None, b"data")).expect("it is Active");
    service.revoke(&id, RevocationReasonCode::Superseded).expect("it is Active");
    assert_eq!(refused(&mut service, &id), R::PermissionDenied, "Deactivated");
    assert_eq!(decrypt(&mut service, V1_4, &opening(&id, &with(Cbc), None, &sealed)).map(|out| out.data), Ok(b"data".to_vec()));
}

#[test]
fn without_parameters_the_key_s_own_first_ones_count() {
    let world = World::edge();
    let mut service = world.service();
    for (own, data, iv) in [(with(Ctr), 5, true), (padded(Ecb, PaddingMethod::Zeros), 16, false), (with(Cbc), 16, true)] {
        let id = aes(&mut service, 256, &[AttributeValue::CryptographicParameters(own.clone())]);
        let request = EncryptRequest { cryptographic_parameters: None, ..sealing(&id, &own, None, b"12345") };
        let sealed = encrypt(&mut service, V1_4, &request).expect("it is offered");
        assert_eq!((sealed.data.len(), sealed.iv.is_some()), (data, iv), "{own:?}");
        let request = DecryptRequest { cryptographic_parameters: None, ..opening(&id, &own, None, &sealed) };
        assert_eq!(decrypt(&mut service, V1_4, &request).map(|out| out.data), Ok(back(&own, b"12345")));
    }
}

/// Pieces of `data` of these lengths, over and over; at least two.
fn cut<'d>(data: &'d [u8], lengths: &[usize]) -> Vec<&'d [u8]> {
    let (mut pieces, mut rest) = (Vec::new(), data);
    for length in lengths.iter().cycle() {
        if rest.len() <= *length && !pieces.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at((*length).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    pieces
}

fn encrypt_in_parts(client: &mut Client<'_>, id: &str, way: &Parameters, iv: Option<&[u8]>, pieces: &[&[u8]]) -> Result<Out, Failed> {
    let (last, pieces) = pieces.split_last().expect("there are two pieces");
    let mut all = Out::default();
    let mut value: Option<Vec<u8>> = None;
    for piece in pieces {
        let out = match &value {
            None => encrypt(client, V1_4, &EncryptRequest { init_indicator: Some(true), ..sealing(id, way, iv, piece) })?,
            Some(value) => encrypt(client, V1_4, &next(id, value, piece, false))?,
        };
        all.data.extend(out.data);
        all.iv = all.iv.or(out.iv);
        assert!(out.value.is_some() && out.tag.is_none());
        value = out.value;
    }
    let out = encrypt(client, V1_4, &next(id, value.as_deref().expect("it goes on"), last, true))?;
    all.data.extend(out.data);
    Ok(Out { tag: out.tag, ..all })
}

fn next<'a>(id: &'a str, value: &'a [u8], data: &'a [u8], is_last: bool) -> EncryptRequest<'a> {
    EncryptRequest {
        unique_identifier: Some(id),
        correlation_value: Some(ByteString(value)),
        data: Some(ByteString(data)),
        final_indicator: Some(is_last),
        ..EncryptRequest::default()
    }
}

fn next_opening<'a>(id: &'a str, value: &'a [u8], data: &'a [u8], tag: Option<&'a [u8]>, is_last: bool) -> DecryptRequest<'a> {
    DecryptRequest {
        unique_identifier: Some(id),
        correlation_value: Some(ByteString(value)),
        data: Some(ByteString(data)),
        final_indicator: Some(is_last),
        authentication_tag: tag.map(ByteString),
        ..DecryptRequest::default()
    }
}

fn decrypt_in_parts(
    client: &mut Client<'_>,
    id: &str,
    way: &Parameters,
    iv: Option<&[u8]>,
    sealed: &Out,
    lengths: &[usize],
) -> Result<Vec<u8>, Failed> {
    let pieces = cut(&sealed.data, lengths);
    let (last, pieces) = pieces.split_last().expect("there are two pieces");
    let (mut all, mut value) = (Vec::new(), None::<Vec<u8>>);
    for piece in pieces {
        let out = match &value {
            None => {
                let begun = Out { data: piece.to_vec(), iv: sealed.iv.clone(), ..Out::default() };
                decrypt(client, V1_4, &DecryptRequest { init_indicator: Some(true), ..opening(id, way, iv, &begun) })?
            }
            Some(value) => decrypt(client, V1_4, &next_opening(id, value, piece, None, false))?,
        };
        all.extend(out.data);
        value = out.value;
    }
    let value = value.expect("it goes on");
    all.extend(decrypt(client, V1_4, &next_opening(id, &value, last, sealed.tag.as_deref(), true))?.data);
    Ok(all)
}

#[test]
fn in_parts_of_any_length_comes_out_what_comes_out_whole() {
    let world = World::edge();
    let mut service = world.service();
    let id = aes(&mut service, 256, &[]);
    let mut ways = plain_ways();
    ways.extend([None, Some(12), Some(13)].map(|tag_length| Parameters { tag_length, ..with(Gcm) }));
    let cuts: [&[usize]; 7] = [&[16], &[1], &[15, 17], &[5, 0, 40], &[32, 1, 1], &[100], &[0, 16, 3]];
    let mut cases = 0;
    for way in &ways {
        let iv = [0x2E; 16];
        let iv = Some(iv.as_slice()).filter(|_| way.block_cipher_mode != Some(Ecb));
        // Its last block is filled at random.
        let is_random = way.padding_method == Some(PaddingMethod::Iso10126);
        for length in [0, 1, 16, 31, 32, 33, 97, 160] {
            let data = numbered(length);
            if !takes(way, length) {
                let refused = encrypt_in_parts(&mut service, &id, way, iv, &cut(&data, &[16]));
                assert_eq!(why(refused), R::InvalidField, "{way:?} {length}");
                continue;
            }
            let whole = encrypt(&mut service, V1_4, &sealing(&id, way, iv, &data)).expect("it is offered");
            for lengths in cuts {
                let parts = encrypt_in_parts(&mut service, &id, way, iv, &cut(&data, lengths)).expect("it is offered");
                let same = if is_random { whole.data.len() & !15 } else { whole.data.len() }.min(length & !15);
                assert_eq!(
                    (parts.data.len(), &parts.data[..same]),
                    (whole.data.len(), &whole.data[..same]),
                    "{way:?} {length} {lengths:?}"
                );
                assert!(is_random || parts == whole, "{way:?} {length} {lengths:?}");
                for sealed in [&parts, &whole] {
                    let opened = decrypt_in_parts(&mut service, &id, way, iv, sealed, lengths);
                    assert_eq!(opened, Ok(back(way, &data)), "{way:?} {length} {lengths:?}");
                }
                cases += 3;
            }
        }
    }
    counted(cases);
}

#[test]
fn in_parts_with_an_iv_of_the_edge_s_every_mode_opens_again() {
    let world = World::edge();
    let mut service = world.service();
    let id = aes(&mut service, 192, &[]);
    let data = numbered(100);
    for way in plain_ways().iter().chain(&[with(Gcm)]).filter(|way| takes(way, 100)) {
        let parts = encrypt_in_parts(&mut service, &id, way, None, &cut(&data, &[16, 7])).expect("it is offered");
        assert_eq!(parts.iv.is_some(), way.block_cipher_mode != Some(Ecb), "{way:?}");
        assert_eq!(decrypt(&mut service, V1_4, &opening(&id, way, None, &parts)).map(|out| out.data), Ok(back(way, &data)), "{way:?}");
    }
}

#[test]
fn a_stream_goes_on_as_what_it_began_as_or_not_at_all() {
    let world = World::edge();
    let mut service = world.service();
    let (id, other_key) = (aes(&mut service, 256, &[]), aes(&mut service, 256, &[]));
    let ways = [
        padded(Cbc, PaddingMethod::Pkcs5),
        padded(Cbc, PaddingMethod::None),
        padded(Ecb, PaddingMethod::Pkcs5),
        with(Ctr),
        with(Gcm),
        Parameters { tag_length: Some(12), ..with(Gcm) },
    ];
    let mut cases = 0;
    for way in &ways {
        for other in &ways {
            let begin = EncryptRequest { init_indicator: Some(true), ..sealing(&id, way, None, b"sixteen bytes...") };
            let value = encrypt(&mut service, V1_4, &begin).expect("it is offered").value.expect("it goes on");
            let request = EncryptRequest { cryptographic_parameters: Some(other.clone()), ..next(&id, &value, b"sixteen bytes...", true) };
            let went_on = encrypt(&mut service, V1_4, &request);
            if way == other {
                went_on.expect("the same once more");
            } else {
                assert_eq!(why(went_on), R::ItemNotFound, "{way:?} as {other:?}");
            }
            cases += 1;
        }
        let begin = EncryptRequest { init_indicator: Some(true), ..sealing(&id, way, None, b"sixteen bytes...") };
        let value = encrypt(&mut service, V1_4, &begin).expect("it is offered").value.expect("it goes on");
        let with_iv = EncryptRequest { iv_counter_nonce: Some(ByteString(&[1; 16])), ..next(&id, &value, b"", true) };
        assert_eq!(why(encrypt(&mut service, V1_4, &with_iv)), R::InvalidField, "the IV came first or never");
        assert_eq!(why(decrypt(&mut service, V1_4, &next_opening(&id, &value, b"", None, true))), R::ItemNotFound, "the other way round");
        assert_eq!(why(encrypt(&mut service, V1_4, &next(&other_key, &value, b"", true))), R::ItemNotFound, "another key");
        let mut stranger = world.client(keys::policy::Role::Service, "acme", "payroll");
        assert_eq!(why(encrypt(&mut stranger, V1_4, &next(&id, &value, b"", true))), R::ItemNotFound, "another service");
        cases += 4;
    }
    counted(cases);
}
