//! Derive Key at an edge: what each method makes, from what, and what is refused.

use cipher::{Hash, Mac, Padding, derive, mode};
use keys::policy::{Action, Role};
use keys::record::Outcome;
use kmip::ttlv::ByteString;
use kmip::*;

use crate::world::*;
use AttributeValue as A;
use DerivationMethod as M;
use ProtocolVersion::{V1_0, V1_4};
use ResultReason as R;

const KEY: &[u8; 32] = b"a key of thirty-two bytes, raw..";
const DATA: &[u8] = b"label\0context and sixteen bytes.";
/// Derive Key.
pub(crate) const DERIVES: i32 = 0x200;

fn mask(bits: i32) -> A<'static> {
    A::CryptographicUsageMask(CryptographicUsageMask(bits))
}

/// An Active object of these bytes: a key with an algorithm, Secret Data without.
fn base(client: &mut Client<'_>, algorithm: Option<CryptographicAlgorithm>, material: &[u8], more: &[A<'_>]) -> String {
    let block = KeyBlock {
        key_format_type: KeyFormatType::Raw,
        key_compression_type: None,
        key_value: Some(KeyValue::Plain(PlainKeyValue { key_material: KeyMaterial::Bytes(ByteString(material)), attributes: vec![] })),
        cryptographic_algorithm: algorithm,
        cryptographic_length: algorithm.and(i32::try_from(material.len() * 8).ok()),
        key_wrapping_data: None,
    };
    let object = match algorithm {
        Some(_) => ManagedObject::SymmetricKey(SymmetricKey { key_block: block }),
        None => ManagedObject::SecretData(SecretData { secret_data_type: SecretDataType::Password, key_block: block }),
    };
    let attributes = more.iter().cloned().map(bare).collect();
    let template_attribute = TemplateAttribute { names: vec![], attributes };
    let request = RegisterRequest { object_type: object.object_type(), template_attribute, object };
    let id = client.call(V1_4, &request, |answer| answer.unique_identifier.to_owned()).expect("a plain object");
    client.activate(&id).expect("it is new");
    id
}

fn hashing(hash: HashingAlgorithm) -> Option<CryptographicParameters<'static>> {
    Some(CryptographicParameters { hashing_algorithm: Some(hash), ..Default::default() })
}

fn by_mode(mode: BlockCipherMode, padding: PaddingMethod) -> Option<CryptographicParameters<'static>> {
    Some(CryptographicParameters { block_cipher_mode: Some(mode), padding_method: Some(padding), ..Default::default() })
}

fn cmac() -> Option<CryptographicParameters<'static>> {
    Some(CryptographicParameters { block_cipher_mode: Some(BlockCipherMode::Cmac), ..Default::default() })
}

fn with_data(parameters: Option<CryptographicParameters<'static>>) -> DerivationParameters<'static> {
    DerivationParameters { cryptographic_parameters: parameters, derivation_data: Some(ByteString(DATA)), ..Default::default() }
}

/// An AES-256 key for data, or as many bits of Secret Data.
pub(crate) fn asks<'a>(ids: &[&'a str], method: M, parameters: DerivationParameters<'a>, secret_bits: Option<i32>) -> DeriveKeyRequest<'a> {
    let algorithm = A::CryptographicAlgorithm(CryptographicAlgorithm::Aes);
    let (object_type, attributes) = match secret_bits {
        None => (ObjectType::SymmetricKey, vec![algorithm, A::CryptographicLength(256), mask(12)]),
        Some(bits) => (ObjectType::SecretData, vec![A::CryptographicLength(bits), mask(DERIVES)]),
    };
    DeriveKeyRequest {
        object_type,
        unique_identifiers: ids.to_vec(),
        derivation_method: method,
        derivation_parameters: parameters,
        template_attribute: TemplateAttribute { names: vec![], attributes: attributes.into_iter().map(bare).collect() },
    }
}

pub(crate) fn derived(client: &mut Client<'_>, version: ProtocolVersion, request: &DeriveKeyRequest<'_>) -> Result<String, Failed> {
    client.call(version, request, |answer| answer.unique_identifier.to_owned())
}

pub(crate) fn material(client: &mut Client<'_>, id: &str) -> Vec<u8> {
    let told = client.call(V1_4, &GetRequest { unique_identifier: Some(id), ..GetRequest::default() }, |answer| {
        let block = match &answer.object {
            ManagedObject::SymmetricKey(key) => &key.key_block,
            ManagedObject::SecretData(secret) => &secret.key_block,
            other => panic!("nothing else is derived: {other:?}"),
        };
        match &block.key_value {
            Some(KeyValue::Plain(PlainKeyValue { key_material: KeyMaterial::Bytes(bytes), .. })) => bytes.0.to_vec(),
            other => panic!("{other:?}"),
        }
    });
    told.expect("it is the client's")
}

#[test]
fn each_method_makes_what_its_document_says_in_every_version() {
    let world = World::edge();
    let mut service = world.service();
    let aes = base(&mut service, Some(CryptographicAlgorithm::Aes), KEY, &[mask(DERIVES)]);
    let hmac = base(&mut service, Some(CryptographicAlgorithm::HmacSha512), KEY, &[mask(DERIVES)]);
    let password = base(&mut service, None, b"password", &[mask(DERIVES)]);
    let data = base(&mut service, None, DATA, &[mask(DERIVES)]);
    let without = |parameters| DerivationParameters { derivation_data: None, ..with_data(parameters) };
    let salted = DerivationParameters {
        salt: Some(ByteString(b"salt")),
        iteration_count: Some(4096),
        derivation_data: None,
        ..with_data(hashing(HashingAlgorithm::Sha256))
    };
    let iv = DerivationParameters {
        initialization_vector: Some(ByteString(&[9; 16])),
        ..with_data(by_mode(BlockCipherMode::Cbc, PaddingMethod::Pkcs5))
    };
    let expected = |fill: &dyn Fn(&mut [u8])| {
        let mut bytes = vec![0; 32];
        fill(&mut bytes);
        bytes
    };
    let sha_256 = || hashing(HashingAlgorithm::Sha256);
    let cases = [
        (vec![&*aes], M::Hash, without(sha_256()), expected(&|out| derive::hash(Hash::Sha256, KEY, out).expect("it fits"))),
        (
            vec![&*aes],
            M::Hmac,
            with_data(sha_256()),
            expected(&|out| derive::mac(Mac::Hmac(Hash::Sha256), KEY, DATA, out).expect("it fits")),
        ),
        // The key says enough, whatever the parameters do.
        (
            vec![&*hmac],
            M::Hmac,
            with_data(sha_256()),
            expected(&|out| derive::mac(Mac::Hmac(Hash::Sha512), KEY, DATA, out).expect("it fits")),
        ),
        (
            vec![&*aes, &*data],
            M::Hmac,
            without(sha_256()),
            expected(&|out| derive::mac(Mac::Hmac(Hash::Sha256), KEY, DATA, out).expect("it fits")),
        ),
        (
            vec![&*aes],
            M::Encrypt,
            iv,
            expected(&|out| derive::encryption(mode::Mode::Cbc(Padding::Pkcs5), KEY, &[9; 16], DATA, out).expect("it fits")),
        ),
        (
            vec![&*aes],
            M::Nist800_108C,
            with_data(sha_256()),
            expected(&|out| derive::counter_mode(Mac::Hmac(Hash::Sha256), KEY, DATA, out).expect("it fits")),
        ),
        (
            vec![&*aes],
            M::Nist800_108C,
            with_data(cmac()),
            expected(&|out| derive::counter_mode(Mac::Cmac, KEY, DATA, out).expect("it fits")),
        ),
        (
            vec![&*password],
            M::Pbkdf2,
            salted,
            expected(&|out| {
                let stretch = derive::Stretch::new(Hash::Sha256, b"password", b"salt", 4096, out.len()).expect("it fits");
                stretch.run().expect("the arena has room").expose(|derived| out.copy_from_slice(derived));
            }),
        ),
        (
            vec![&*aes],
            M::Nist800_108F,
            with_data(sha_256()),
            expected(&|out| derive::feedback_mode(Mac::Hmac(Hash::Sha256), KEY, &[], DATA, out).expect("it fits")),
        ),
        (
            vec![&*aes],
            M::Nist800_108F,
            DerivationParameters { initialization_vector: Some(ByteString(&[9; 16])), ..with_data(cmac()) },
            expected(&|out| derive::feedback_mode(Mac::Cmac, KEY, &[9; 16], DATA, out).expect("it fits")),
        ),
        (
            vec![&*aes],
            M::Nist800_108Dpi,
            with_data(sha_256()),
            expected(&|out| derive::double_pipeline_mode(Mac::Hmac(Hash::Sha256), KEY, DATA, out).expect("it fits")),
        ),
        (
            vec![&*hmac, &*data],
            M::Nist800_108Dpi,
            without(None),
            expected(&|out| derive::double_pipeline_mode(Mac::Hmac(Hash::Sha512), KEY, DATA, out).expect("it fits")),
        ),
    ];
    for (ids, method, parameters, expected) in cases {
        for version in ProtocolVersion::ALL {
            let _before = world.take_records();
            let id = derived(&mut service, version, &asks(&ids, method, parameters.clone(), None)).expect("it is offered");
            assert_eq!(world.outcomes(), [(Action::DeriveKey, Outcome::Success)]);
            assert_eq!(material(&mut service, &id), expected, "{method:?} in {version}");
            let secret = derived(&mut service, version, &asks(&ids, method, parameters.clone(), Some(80))).expect("it is offered");
            assert_eq!(material(&mut service, &secret), expected[..10], "{method:?} in {version}: a shorter one is its front");
        }
    }
}

#[test]
fn what_is_derived_is_linked_with_what_it_comes_from_and_as_sensitive() {
    let world = World::edge();
    let mut service = world.service();
    let key = base(&mut service, Some(CryptographicAlgorithm::Aes), KEY, &[mask(DERIVES)]);
    let data = base(&mut service, None, DATA, &[mask(DERIVES)]);
    let parameters = DerivationParameters { derivation_data: None, ..with_data(hashing(HashingAlgorithm::Sha256)) };
    let id = derived(&mut service, V1_4, &asks(&[&key, &data], M::Hmac, parameters, None)).expect("it is offered");
    let links = |client: &mut Client<'_>, id: &str| {
        let request = GetAttributesRequest { unique_identifier: Some(id), attribute_names: vec!["Link"] };
        let told = client.call(V1_4, &request, |answer| {
            let link = |attribute: &Attribute<'_>| match attribute.value {
                A::Link(link) => (link.link_type.expect("a type"), link.linked_object_identifier.expect("an object").to_owned()),
                ref other => panic!("{other:?}"),
            };
            answer.attributes.iter().map(link).collect::<Vec<_>>()
        });
        told.expect("it is the client's")
    };
    let base_link = LinkType::DerivationBaseObjectLink;
    assert_eq!(links(&mut service, &id), [(base_link, key.clone()), (base_link, data.clone())]);
    for one in [&key, &data] {
        assert_eq!(links(&mut service, one), [(LinkType::DerivedKeyLink, id.clone())]);
    }
    // The newest links stay.
    let mut ids = vec![id];
    for _ in 0..40 {
        ids.push(
            derived(&mut service, V1_4, &asks(&[&key], M::Hmac, with_data(hashing(HashingAlgorithm::Sha1)), Some(128))).expect("again"),
        );
    }
    let told: Vec<_> = links(&mut service, &key).into_iter().map(|(_, id)| id).collect();
    assert_eq!(told, ids[ids.len() - 32..]);
    // From a Sensitive key only Sensitive ones come.
    let sensitive = base(&mut service, Some(CryptographicAlgorithm::Aes), KEY, &[mask(DERIVES), A::Sensitive(true)]);
    let id =
        derived(&mut service, V1_4, &asks(&[&sensitive], M::Hmac, with_data(hashing(HashingAlgorithm::Sha256)), None)).expect("offered");
    let get = GetRequest { unique_identifier: Some(&id), ..GetRequest::default() };
    assert_eq!(why(service.call(V1_4, &get, |_| ())), R::Sensitive);
    // Also from Sensitive data: who has the key could else have them by decrypting what was derived.
    let hidden = base(&mut service, None, DATA, &[mask(DERIVES), A::Sensitive(true)]);
    let ecb = DerivationParameters { derivation_data: None, ..with_data(by_mode(BlockCipherMode::Ecb, PaddingMethod::None)) };
    let id = derived(&mut service, V1_4, &asks(&[&key, &hidden], M::Encrypt, ecb, None)).expect("offered");
    let get = GetRequest { unique_identifier: Some(&id), ..GetRequest::default() };
    assert_eq!(why(service.call(V1_4, &get, |_| ())), R::Sensitive);
    // A limit counts what is derived.
    let limit = A::UsageLimits(UsageLimits { total: Some(1), count: None, unit: Some(UsageLimitsUnit::Object) });
    let limited = base(&mut service, Some(CryptographicAlgorithm::Aes), KEY, &[mask(DERIVES), limit]);
    let request = asks(&[&limited], M::Hmac, with_data(hashing(HashingAlgorithm::Sha256)), None);
    derived(&mut service, V1_4, &request).expect("one");
    assert_eq!(why(derived(&mut service, V1_4, &request)), R::InvalidField);
}

#[test]
fn what_cannot_be_derived_or_not_from_that_is_refused_and_leaves_nothing() {
    let world = World::edge();
    let mut service = world.service();
    let aes = base(&mut service, Some(CryptographicAlgorithm::Aes), KEY, &[mask(DERIVES | 12)]);
    let unfit = base(&mut service, Some(CryptographicAlgorithm::Aes), KEY, &[mask(12)]);
    let data = base(&mut service, None, DATA, &[mask(DERIVES)]);
    // What a certificate or a half of a pair is written as was taken for a key once.
    let [private, public] = crate::pairs::halves();
    let block = |key_format_type, bytes| KeyBlock {
        key_format_type,
        key_compression_type: None,
        key_value: Some(KeyValue::Plain(PlainKeyValue { key_material: KeyMaterial::Bytes(ByteString(bytes)), attributes: vec![] })),
        cryptographic_algorithm: None,
        cryptographic_length: None,
        key_wrapping_data: None,
    };
    let der = crate::pairs::certificate();
    let no_keys = [
        ManagedObject::PrivateKey(PrivateKey { key_block: block(KeyFormatType::Pkcs8, &private) }),
        ManagedObject::PublicKey(PublicKey { key_block: block(KeyFormatType::X509, &public) }),
        ManagedObject::Certificate(Certificate { certificate_type: CertificateType::X509, certificate_value: ByteString(&der) }),
    ];
    let no_keys = no_keys.map(|object| {
        let template_attribute = TemplateAttribute { names: vec![], attributes: vec![bare(mask(DERIVES))] };
        let request = RegisterRequest { object_type: object.object_type(), template_attribute, object };
        let id = service.call(V1_4, &request, |answer| answer.unique_identifier.to_owned()).expect("it is kept");
        service.activate(&id).expect("it is new");
        id
    });
    let sha_1 = || with_data(hashing(HashingAlgorithm::Sha1));
    let sha_256 = || with_data(hashing(HashingAlgorithm::Sha256));
    let without = |parameters: DerivationParameters<'static>| DerivationParameters { derivation_data: None, ..parameters };
    let salted = |count| DerivationParameters { salt: Some(ByteString(b"salt")), iteration_count: Some(count), ..without(sha_256()) };
    let gcm = by_mode(BlockCipherMode::Gcm, PaddingMethod::None);
    let cases = [
        // More than the method puts out: 32 bytes are wanted, or 33.
        (vec![&*aes], M::Hmac, sha_1(), None, R::CryptographicFailure),
        (vec![&*aes], M::Hash, without(sha_1()), None, R::CryptographicFailure),
        (vec![&*aes], M::Encrypt, with_data(by_mode(BlockCipherMode::Ecb, PaddingMethod::None)), Some(264), R::CryptographicFailure),
        // Ambiguous data, and none.
        (vec![&*aes, &*data], M::Hmac, sha_256(), None, R::InvalidMessage),
        (vec![&*aes], M::Hash, sha_256(), None, R::InvalidMessage),
        (vec![&*data], M::Pbkdf2, DerivationParameters { derivation_data: Some(ByteString(DATA)), ..salted(1) }, None, R::InvalidMessage),
        (vec![&*aes], M::Hmac, without(sha_256()), None, R::InvalidField),
        (vec![&*aes], M::Nist800_108C, without(sha_256()), None, R::InvalidField),
        // Parameters that are missing, or of another method.
        (vec![&*aes], M::Hash, DerivationParameters::default(), None, R::InvalidField),
        (vec![&*aes], M::Encrypt, with_data(gcm), None, R::InvalidField),
        (vec![&*aes], M::Hmac, DerivationParameters { salt: Some(ByteString(b"salt")), ..sha_256() }, None, R::InvalidField),
        (
            vec![&*aes],
            M::Hmac,
            DerivationParameters { initialization_vector: Some(ByteString(&[0; 16])), ..sha_256() },
            None,
            R::InvalidField,
        ),
        (vec![&*data], M::Pbkdf2, without(sha_256()), None, R::InvalidField),
        (vec![&*data], M::Pbkdf2, salted(0), None, R::InvalidField),
        (vec![&*data], M::Pbkdf2, salted(-1), None, R::InvalidField),
        (vec![&*data], M::Pbkdf2, salted(2_000_001), None, R::InvalidField),
        (vec![&*data], M::Pbkdf2, salted(1_000_001), Some(264), R::CryptographicFailure),
        (
            vec![&*data],
            M::Pbkdf2,
            DerivationParameters { initialization_vector: Some(ByteString(&[9; 16])), ..salted(1) },
            None,
            R::InvalidField,
        ),
        (vec![&*aes], M::Nist800_108F, without(sha_256()), None, R::InvalidField),
        (vec![&*aes], M::Nist800_108Dpi, without(sha_256()), None, R::InvalidField),
        (
            vec![&*aes],
            M::Nist800_108F,
            DerivationParameters { initialization_vector: Some(ByteString(&[9; 16])), ..sha_256() },
            None,
            R::CryptographicFailure,
        ),
        (
            vec![&*aes],
            M::Nist800_108Dpi,
            DerivationParameters { initialization_vector: Some(ByteString(&[9; 32])), ..sha_256() },
            None,
            R::InvalidField,
        ),
        (vec![&*aes], M::AsymmetricKey, sha_256(), None, R::InvalidField),
        // Objects that are not for it.
        (vec![&*unfit], M::Hmac, sha_256(), None, R::InvalidField),
        (vec![&*no_keys[0]], M::Hmac, sha_256(), None, R::InvalidField),
        (vec![&*no_keys[1]], M::Hash, without(sha_256()), None, R::InvalidField),
        (vec![&*no_keys[2]], M::Hmac, sha_256(), None, R::InvalidField),
        (vec![&*aes, &*unfit], M::Hmac, without(sha_256()), None, R::InvalidField),
        (vec![&*aes, &*aes], M::Hmac, without(sha_256()), None, R::InvalidField),
        (vec![&*aes, &*data, &*data], M::Hmac, without(sha_256()), None, R::InvalidField),
        (vec!["01890a5d-ac96-774b-bcce-b302099a8057"], M::Hmac, sha_256(), None, R::ItemNotFound),
        // Lengths.
        (vec![&*aes], M::Nist800_108C, sha_256(), Some(0), R::InvalidField),
        (vec![&*aes], M::Nist800_108C, sha_256(), Some(12), R::InvalidField),
        (vec![&*aes], M::Nist800_108C, sha_256(), Some(65_544), R::InvalidField),
    ];
    let rows = world.store.rows().len();
    for (index, (ids, method, parameters, bits, reason)) in cases.into_iter().enumerate() {
        assert_eq!(why(derived(&mut service, V1_4, &asks(&ids, method, parameters, bits))), reason, "{index}: {method:?}");
    }
    assert_eq!(world.store.rows().len(), rows, "nothing was made");
    let request = asks(&[&aes], M::Hmac, sha_256(), None);
    let nothing = DeriveKeyRequest { template_attribute: TemplateAttribute { names: vec![], attributes: vec![] }, ..request.clone() };
    assert_eq!(why(derived(&mut service, V1_0, &nothing)), R::InvalidField, "neither algorithm nor length");
    let opaque = DeriveKeyRequest { object_type: ObjectType::OpaqueObject, ..request.clone() };
    assert_eq!(why(derived(&mut service, V1_0, &opaque)), R::InvalidField);
    assert_eq!(why(derived(&mut world.admin(), V1_4, &request)), R::PermissionDenied);
    assert_eq!(why(derived(&mut world.client(Role::Service, "acme", "payroll"), V1_4, &request)), R::ItemNotFound);
    service.call(V1_4, &ArchiveRequest { unique_identifier: Some(&aes) }, |_| ()).expect("it is at hand");
    assert_eq!(why(derived(&mut service, V1_4, &request)), R::ObjectArchived);
    service.call(V1_4, &RecoverRequest { unique_identifier: Some(&aes) }, |_| ()).expect("it is archived");
    service.revoke(&aes, RevocationReasonCode::CessationOfOperation).expect("it is Active");
    assert_eq!(why(derived(&mut service, V1_4, &request)), R::InvalidField, "deriving is protecting");
}
