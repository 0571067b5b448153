//! Create, Register and Get at an edge: what a service entrusts to it comes back as it was, and only as its attributes allow.

use keys::policy::{Action, Role};
use keys::record::Outcome;
use kmip::ttlv::{ByteString, DateTime};
use kmip::*;

use crate::world::*;
use ProtocolVersion::{V1_0, V1_1, V1_3, V1_4};
use ResultReason as R;

pub(crate) const KEY: [u8; 32] = *b"a key of thirty-two bytes, raw..";

/// A managed object as a test speaks of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Thing {
    pub(crate) kind: ObjectType,
    pub(crate) format: Option<KeyFormatType>,
    /// Secret Data Type or Opaque Data Type.
    pub(crate) secret: Option<SecretDataType>,
    pub(crate) algorithm: Option<CryptographicAlgorithm>,
    pub(crate) bits: Option<i32>,
    pub(crate) material: Vec<u8>,
}

pub(crate) fn key(material: &[u8]) -> Thing {
    let (algorithm, bits) = (Some(CryptographicAlgorithm::Aes), i32::try_from(material.len() * 8).ok());
    Thing { kind: ObjectType::SymmetricKey, format: Some(KeyFormatType::Raw), secret: None, algorithm, bits, material: material.to_vec() }
}

pub(crate) fn secret(secret: SecretDataType, format: KeyFormatType, material: &[u8]) -> Thing {
    let (kind, format, secret) = (ObjectType::SecretData, Some(format), Some(secret));
    Thing { kind, format, secret, algorithm: None, bits: None, material: material.to_vec() }
}

pub(crate) fn opaque(material: &[u8]) -> Thing {
    Thing { kind: ObjectType::OpaqueObject, format: None, secret: None, algorithm: None, bits: None, material: material.to_vec() }
}

const OPAQUE_TYPE: OpaqueDataType = OpaqueDataType::Extension(0x8000_0007);

impl Thing {
    fn block(&self) -> KeyBlock<'_> {
        let format = self.format.expect("an object with a Key Block has one");
        let material = ByteString(&self.material);
        let key_material = match format {
            KeyFormatType::TransparentSymmetricKey => KeyMaterial::TransparentSymmetricKey(TransparentSymmetricKey { key: material }),
            _ => KeyMaterial::Bytes(material),
        };
        KeyBlock {
            key_format_type: format,
            key_compression_type: None,
            key_value: Some(KeyValue::Plain(PlainKeyValue { key_material, attributes: vec![] })),
            cryptographic_algorithm: self.algorithm,
            cryptographic_length: self.bits,
            key_wrapping_data: None,
        }
    }

    pub(crate) fn object(&self) -> ManagedObject<'_> {
        match self.kind {
            ObjectType::SecretData => ManagedObject::SecretData(SecretData {
                secret_data_type: self.secret.expect("Secret Data has a type"),
                key_block: self.block(),
            }),
            ObjectType::OpaqueObject => {
                ManagedObject::OpaqueObject(OpaqueObject { opaque_data_type: OPAQUE_TYPE, opaque_data_value: ByteString(&self.material) })
            }
            _ => ManagedObject::SymmetricKey(SymmetricKey { key_block: self.block() }),
        }
    }

    pub(crate) fn request<'a>(&'a self, attributes: &[AttributeValue<'a>]) -> RegisterRequest<'a> {
        registering(self.object(), attributes)
    }

    fn of(object: &ManagedObject<'_>) -> Self {
        let kind = object.object_type();
        let (block, secret) = match object {
            ManagedObject::SymmetricKey(key) => (&key.key_block, None),
            ManagedObject::SecretData(secret) => (&secret.key_block, Some(secret.secret_data_type)),
            ManagedObject::OpaqueObject(opaque) => {
                assert_eq!(opaque.opaque_data_type, OPAQUE_TYPE);
                return self::opaque(opaque.opaque_data_value.0);
            }
            other => panic!("not one of these: {other:?}"),
        };
        assert_eq!((block.key_compression_type, block.key_wrapping_data.is_some()), (None, false));
        let Some(KeyValue::Plain(value)) = &block.key_value else { panic!("not in the clear: {block:?}") };
        let material = match &value.key_material {
            KeyMaterial::Bytes(bytes) => bytes.0.to_vec(),
            KeyMaterial::TransparentSymmetricKey(key) => key.key.0.to_vec(),
            other => panic!("not of these: {other:?}"),
        };
        let (algorithm, bits) = (block.cryptographic_algorithm, block.cryptographic_length);
        Self { kind, format: Some(block.key_format_type), secret, algorithm, bits, material }
    }
}

pub(crate) fn registering<'a>(object: ManagedObject<'a>, attributes: &[AttributeValue<'a>]) -> RegisterRequest<'a> {
    let attributes = attributes.iter().cloned().map(bare).collect();
    RegisterRequest { object_type: object.object_type(), template_attribute: TemplateAttribute { names: vec![], attributes }, object }
}

pub(crate) fn register(client: &mut Client<'_>, version: ProtocolVersion, request: &RegisterRequest<'_>) -> Result<String, Failed> {
    client.call(version, request, |answer| answer.unique_identifier.to_owned())
}

pub(crate) fn mask(bits: i32) -> AttributeValue<'static> {
    AttributeValue::CryptographicUsageMask(CryptographicUsageMask(bits))
}

pub(crate) fn plainly(id: &str) -> GetRequest<'_> {
    GetRequest { unique_identifier: Some(id), ..GetRequest::default() }
}

pub(crate) fn get(client: &mut Client<'_>, version: ProtocolVersion, request: &GetRequest<'_>) -> Result<Thing, Failed> {
    client.call(version, request, |answer| {
        assert_eq!((Some(answer.unique_identifier), answer.object_type), (request.unique_identifier, answer.object.object_type()));
        Thing::of(&answer.object)
    })
}

#[test]
fn keys_of_every_offered_algorithm_and_length_are_made_and_returned() {
    use CryptographicAlgorithm as A;
    let world = World::edge();
    let mut service = world.service();
    let mut cases = 0;
    let hmacs = [
        (A::HmacSha1, 160),
        (A::HmacSha224, 224),
        (A::HmacSha256, 256),
        (A::HmacSha384, 384),
        (A::HmacSha512, 512),
        (A::HmacSha3_224, 224),
        (A::HmacSha3_256, 256),
        (A::HmacSha3_384, 384),
        (A::HmacSha3_512, 512),
    ];
    let mut check = |algorithm, asked: Option<i32>, bits: i32, version| {
        let mut attributes = vec![AttributeValue::CryptographicAlgorithm(algorithm), mask(DATA)];
        attributes.extend(asked.map(AttributeValue::CryptographicLength));
        let id = service.create(version, &attributes).expect("it is offered");
        assert_eq!(row_id(&id).layer, keys::id::Layer::L4);
        let made = get(&mut service, version, &plainly(&id)).expect("it is the service's");
        let bytes = if algorithm == A::TripleDES { bits / 7 } else { bits / 8 };
        assert_eq!((made.algorithm, made.bits, made.material.len()), (Some(algorithm), Some(bits), usize::try_from(bytes).expect("few")));
        assert!(algorithm != A::TripleDES || made.material.iter().all(|byte| byte.count_ones() % 2 == 1), "odd parity");
        assert_eq!(service.state(&id), State::PreActive);
        cases += 1;
    };
    for bits in [128, 192, 256] {
        for version in ProtocolVersion::ALL {
            check(A::Aes, Some(bits), bits, version);
        }
    }
    check(A::Aes, None, 256, V1_0);
    for (algorithm, usual) in hmacs {
        let version = if matches!(algorithm, A::HmacSha3_224 | A::HmacSha3_256 | A::HmacSha3_384 | A::HmacSha3_512) { V1_4 } else { V1_0 };
        check(algorithm, None, usual, version);
        for bits in [112, 120, 4096] {
            check(algorithm, Some(bits), bits, version);
        }
    }
    for algorithm in [A::ChaCha20, A::ChaCha20Poly1305] {
        for asked in [None, Some(256)] {
            check(algorithm, asked, 256, V1_4);
        }
    }
    // SKFF-M-4: the parity bits are not counted.
    for (asked, bits) in [(None, 168), (Some(168), 168), (Some(112), 112)] {
        check(A::TripleDES, asked, bits, V1_0);
    }
    counted(cases);
}

/// SKFF-M-9 and -10 ask for them; only what is made here has them, and no generator is named that is not ours.
#[test]
fn a_key_that_is_made_says_when_and_by_which_generator_and_one_that_is_brought_does_not() {
    let world = World::edge();
    let mut service = world.service();
    let generator = |client: &mut Client<'_>, version, id: &str| {
        let request = GetAttributesRequest { unique_identifier: Some(id), attribute_names: vec!["Random Number Generator"] };
        client.call(version, &request, |answer| {
            answer.attributes.iter().map(|attribute| format!("{:?}", attribute.value)).collect::<Vec<_>>().join(" ")
        })
    };
    let wish = [AttributeValue::CryptographicAlgorithm(CryptographicAlgorithm::Aes), mask(DATA)];
    let made = service.create(V1_0, &wish).expect("it is offered");
    let said = generator(&mut service, V1_4, &made).expect("1.4 has it");
    assert!(said.contains("Unspecified") && !said.contains("Some"), "{said}");
    let again = ReKeyRequest { unique_identifier: Some(&made), offset: None, template_attribute: None };
    let again = service.call(V1_4, &again, |answer| answer.unique_identifier.to_owned()).expect("it is replaced");
    assert_eq!(generator(&mut service, V1_4, &again), Ok(said));
    let brought = register(&mut service, V1_4, &key(&KEY).request(&[mask(DATA)])).expect("it is kept");
    assert_eq!(generator(&mut service, V1_4, &brought), Ok(String::new()));
    let date = |client: &mut Client<'_>, id: &str| {
        let request = GetAttributesRequest { unique_identifier: Some(id), attribute_names: vec!["Original Creation Date"] };
        client.call(V1_4, &request, |answer| answer.attributes.iter().map(|one| one.value.clone().name().len()).sum::<usize>())
    };
    assert_eq!(date(&mut service, &brought), Ok(0), "nobody has said it");
    assert_eq!(date(&mut service, &again), Ok("Original Creation Date".len()));
    let own = AttributeValue::OriginalCreationDate(DateTime(7));
    let dated = service.create(V1_4, &[&wish[..], &[own]].concat()).expect("a client may say it");
    assert_eq!(date(&mut service, &dated), Ok("Original Creation Date".len()), "once");
    let other = RngParameters { rng_algorithm: RngAlgorithm::Drbg, ..unspecified() };
    let asked = [&wish[..], &[AttributeValue::RandomNumberGenerator(other)]].concat();
    let failed = service.create(V1_4, &asked).expect_err("it is not ours");
    assert_eq!(failed.reason, R::InvalidField);
    assert!(failed.message.starts_with("Random Number Generator: keys are made by the system's"), "{}", failed.message);
    // Whoever names the one that there is gets it, and is told so: such a request was refused once.
    let asked = [&wish[..], &[AttributeValue::RandomNumberGenerator(unspecified())]].concat();
    let named = service.create(V1_4, &asked).expect("it is ours");
    assert_eq!(generator(&mut service, V1_4, &named), generator(&mut service, V1_4, &made));
    let again = TemplateAttribute { names: vec![], attributes: vec![bare(AttributeValue::RandomNumberGenerator(unspecified()))] };
    let again = ReKeyRequest { unique_identifier: Some(&named), offset: None, template_attribute: Some(again) };
    let again = service.call(V1_4, &again, |answer| answer.unique_identifier.to_owned()).expect("it is replaced");
    assert_eq!(generator(&mut service, V1_4, &again), generator(&mut service, V1_4, &made));
}

fn unspecified() -> RngParameters {
    RngParameters {
        rng_algorithm: RngAlgorithm::Unspecified,
        cryptographic_algorithm: None,
        cryptographic_length: None,
        hashing_algorithm: None,
        drbg_algorithm: None,
        recommended_curve: None,
        fips186_variation: None,
        prediction_resistance: None,
    }
}

#[test]
fn a_triple_des_key_is_registered_with_its_parity_bits_counted_or_not() {
    let world = World::edge();
    let mut service = world.service();
    let mut check = |bits: i32, is_kept: bool| {
        let mut thing = key(&[0x01; 24]);
        (thing.algorithm, thing.bits) = (Some(CryptographicAlgorithm::TripleDES), Some(bits));
        let registered = register(&mut service, V1_0, &thing.request(&[mask(DATA)]));
        assert_eq!(registered.is_ok(), is_kept, "{bits}: {registered:?}");
        if let Ok(id) = registered {
            let got = get(&mut service, V1_0, &plainly(&id)).expect("it is the service's");
            assert_eq!((got.bits, got.material), (Some(bits), vec![0x01; 24]));
        }
    };
    check(168, true);
    check(192, true);
    check(112, false);
}

#[test]
fn algorithms_lengths_and_types_that_are_not_offered_are_refused_by_field() {
    use CryptographicAlgorithm as A;
    let world = World::edge();
    let mut service = world.service();
    let mut check = |algorithm, bits, field: &str| {
        let attributes = [AttributeValue::CryptographicAlgorithm(algorithm), mask(DATA), AttributeValue::CryptographicLength(bits)];
        let failed = service.create(V1_4, &attributes).expect_err("it is not offered");
        assert_eq!(failed.reason, R::InvalidField, "{algorithm:?} {bits}");
        assert!(failed.message.starts_with(field), "{}", failed.message);
    };
    for bits in [0, -1, 8, 127, 129, 512, i32::MAX, i32::MIN] {
        check(A::Aes, bits, "Cryptographic Length");
    }
    for bits in [0, -8, 104, 111, 113, 4097, 4104, i32::MAX] {
        check(A::HmacSha256, bits, "Cryptographic Length");
    }
    for bits in [0, 128, 512] {
        check(A::ChaCha20, bits, "Cryptographic Length");
    }
    for bits in [0, 56, 128, 192, 256] {
        check(A::TripleDES, bits, "Cryptographic Length");
    }
    for algorithm in [A::Rsa, A::Dsa, A::Blowfish, A::HmacMd5, A::Extension(0x8000_0001)] {
        check(algorithm, 256, "Cryptographic Algorithm");
    }
    let before = world.store.rows().len();
    for missing in [vec![mask(DATA)], vec![AttributeValue::CryptographicAlgorithm(A::Aes)]] {
        assert_eq!(why(service.create(V1_4, &missing)), R::InvalidMessage);
    }
    let mut other = create_request(&wish("billing", &[]));
    for object_type in [ObjectType::SecretData, ObjectType::OpaqueObject, ObjectType::PrivateKey, ObjectType::Template] {
        other.object_type = object_type;
        assert_eq!(why(service.call(V1_4, &other, |_| ())), R::InvalidField, "{object_type:?}");
    }
    assert_eq!(world.store.rows().len(), before, "nothing was stored");
}

#[test]
fn what_is_registered_is_returned_as_it_was_in_every_version() {
    let world = World::edge();
    let mut service = world.service();
    let things = [
        key(&KEY),
        key(&KEY[..16]),
        key(&KEY[..24]),
        Thing { algorithm: Some(CryptographicAlgorithm::HmacSha256), bits: Some(8), ..key(b"x") },
        Thing { algorithm: Some(CryptographicAlgorithm::TripleDES), bits: Some(192), ..key(&KEY[..24]) },
        secret(SecretDataType::Password, KeyFormatType::Raw, b"correct horse battery staple"),
        secret(SecretDataType::Password, KeyFormatType::Opaque, b"p"),
        secret(SecretDataType::Seed, KeyFormatType::Raw, &[0; 1000]),
        opaque(b"whatever it is"),
        opaque(&vec![0x5A; 100_000]),
    ];
    for version in ProtocolVersion::ALL {
        for thing in &things {
            // No name, and either no mask or one that allows nothing.
            for attributes in [vec![], vec![mask(0)]] {
                let id = register(&mut service, version, &thing.request(&attributes)).expect("it is kept");
                assert_eq!(get(&mut service, version, &plainly(&id)).as_ref(), Ok(thing), "{version}");
                for other in ProtocolVersion::ALL {
                    assert_eq!(get(&mut service, other, &plainly(&id)).as_ref(), Ok(thing), "{version} {other}");
                }
            }
        }
    }
    counted(things.len() * 5 * 2 * 6);
}

#[test]
fn a_key_comes_in_the_format_that_is_asked_for_whichever_it_was_registered_in() {
    let world = World::edge();
    let mut service = world.service();
    let raw = key(&KEY);
    let transparent = Thing { format: Some(KeyFormatType::TransparentSymmetricKey), ..key(&KEY) };
    for registered in [&raw, &transparent] {
        let id = register(&mut service, V1_0, &registered.request(&[mask(DATA)])).expect("it is kept");
        for (asked, expected) in
            [(None, &raw), (Some(KeyFormatType::Raw), &raw), (Some(KeyFormatType::TransparentSymmetricKey), &transparent)]
        {
            let request = GetRequest { key_format_type: asked, ..plainly(&id) };
            assert_eq!(get(&mut service, V1_3, &request).as_ref(), Ok(expected), "{asked:?}");
        }
        for asked in [KeyFormatType::Opaque, KeyFormatType::Pkcs1, KeyFormatType::X509] {
            let request = GetRequest { key_format_type: Some(asked), ..plainly(&id) };
            assert_eq!(why(get(&mut service, V1_3, &request)), R::KeyFormatTypeNotSupported, "{asked:?}");
        }
        let compressed = GetRequest { key_compression_type: Some(KeyCompressionType::EcPublicKeyTypeUncompressed), ..plainly(&id) };
        assert_eq!(why(get(&mut service, V1_3, &compressed)), R::KeyCompressionTypeNotSupported);
    }
    let id = register(&mut service, V1_0, &secret(SecretDataType::Password, KeyFormatType::Opaque, b"p").request(&[])).expect("kept");
    let request = GetRequest { key_format_type: Some(KeyFormatType::Raw), ..plainly(&id) };
    assert_eq!(why(get(&mut service, V1_3, &request)), R::KeyFormatTypeNotSupported, "it was said what it is");
}

#[test]
fn a_registration_that_contradicts_itself_is_refused_and_keeps_nothing() {
    use AttributeValue as A;
    let world = World::edge();
    let mut service = world.service();
    let (good, wrapping) = (
        key(&KEY),
        KeyWrappingData {
            wrapping_method: WrappingMethod::Encrypt,
            encryption_key_information: None,
            mac_signature_key_information: None,
            mac_signature: None,
            iv_counter_nonce: None,
            encoding_option: None,
        },
    );
    let block = |edit: &dyn Fn(&mut KeyBlock<'_>)| {
        let mut block = good.block();
        edit(&mut block);
        registering(ManagedObject::SymmetricKey(SymmetricKey { key_block: block }), &[mask(DATA)])
    };
    let algorithm = |other| A::CryptographicAlgorithm(other);
    let wrapped = KeyValue::Wrapped(ByteString(&KEY));
    let cases: Vec<(&str, RegisterRequest<'_>, R)> = vec![
        ("another algorithm", good.request(&[algorithm(CryptographicAlgorithm::HmacSha256)]), R::InvalidField),
        ("another length", good.request(&[A::CryptographicLength(128)]), R::InvalidField),
        ("another length in the block", block(&|block| block.cryptographic_length = Some(128)), R::InvalidField),
        ("a negative length", block(&|block| block.cryptographic_length = Some(-256)), R::InvalidField),
        ("no algorithm", block(&|block| block.cryptographic_algorithm = None), R::InvalidMessage),
        ("another type", RegisterRequest { object_type: ObjectType::SecretData, ..good.request(&[]) }, R::InvalidField),
        ("another type", RegisterRequest { object_type: ObjectType::PrivateKey, ..good.request(&[]) }, R::InvalidField),
        ("wrapped, and in the clear", block(&|block| block.key_wrapping_data = Some(wrapping.clone())), R::InvalidMessage),
        ("wrapped by nothing", block(&|block| block.key_value = Some(wrapped.clone())), R::InvalidMessage),
        ("no key", block(&|block| block.key_value = None), R::InvalidMessage),
        ("another format", block(&|block| block.key_format_type = KeyFormatType::Pkcs8), R::KeyFormatTypeNotSupported),
        ("opaque", block(&|block| block.key_format_type = KeyFormatType::Opaque), R::KeyFormatTypeNotSupported),
        ("not transparent", block(&|block| block.key_format_type = KeyFormatType::TransparentSymmetricKey), R::InvalidField),
        (
            "compressed",
            block(&|block| block.key_compression_type = Some(KeyCompressionType::EcPublicKeyTypeUncompressed)),
            R::KeyCompressionTypeNotSupported,
        ),
        ("a negative mask", good.request(&[mask(-1)]), R::InvalidField),
        ("two masks", good.request(&[mask(4), mask(8)]), R::InvalidField),
        ("the server's", good.request(&[A::State(State::Active)]), R::InvalidField),
        ("the server's", good.request(&[A::Custom("y-secret-data-type", ttlv::Value::Enumeration(1))]), R::InvalidField),
    ];
    let before = world.store.rows().len();
    for (what, request, reason) in &cases {
        let failed = register(&mut service, V1_4, request).expect_err(what);
        assert_eq!(failed.reason, *reason, "{what}: {}", failed.message);
    }
    let short = Thing { bits: Some(120), ..key(&KEY[..15]) };
    assert_eq!(why(register(&mut service, V1_4, &short.request(&[]))), R::InvalidField, "no AES key");
    let transparent =
        Thing { format: Some(KeyFormatType::TransparentSymmetricKey), ..secret(SecretDataType::Seed, KeyFormatType::Raw, b"s") };
    assert_eq!(why(register(&mut service, V1_4, &transparent.request(&[]))), R::KeyFormatTypeNotSupported);
    let large = opaque(&vec![1; keys::edge::MATERIAL_BYTES_MAX + 1]);
    assert_eq!(why(register(&mut service, V1_4, &large.request(&[]))), R::InvalidField, "too large");
    assert_eq!(world.store.rows().len(), before, "nothing was stored");
    counted(cases.len() + 3);
}

#[test]
fn an_edge_in_memory_and_a_core_register_nothing_and_an_admin_neither() {
    let request = key(&KEY);
    let memory = World::edge_with(None, true);
    assert_eq!(why(register(&mut memory.service(), V1_4, &request.request(&[mask(DATA)]))), R::PermissionDenied);
    memory.service().create(V1_4, &wish("billing", &[])).expect("what it makes itself can be had anew");
    let core = World::found();
    assert_eq!(why(register(&mut core.service(), V1_4, &request.request(&[]))), R::OperationNotSupported);
    let edge = World::edge();
    for (role, tenant, service) in [
        (Role::TenantAdmin, "acme", ""),
        (Role::Operator, "", ""),
        (Role::Auditor, "", ""),
        (Role::Edge, "", "west"),
        (Role::Service, "acme", "nothing"),
        (Role::Service, "nobody", "billing"),
    ] {
        let mut client = edge.client(role, tenant, service);
        assert_eq!(why(register(&mut client, V1_4, &request.request(&[]))), R::PermissionDenied, "{role:?} {tenant}");
        if role != Role::TenantAdmin {
            assert_eq!(why(client.create(V1_4, &wish("billing", &[]))), R::PermissionDenied, "{role:?} {tenant}");
        }
    }
}

#[test]
fn get_goes_by_sensitive_extractable_state_and_owner() {
    use AttributeValue as A;
    let world = World::edge();
    let mut service = world.service();
    let thing = key(&KEY);
    let make = |service: &mut Client<'_>, more: &[A<'static>]| {
        register(service, V1_4, &thing.request(&[[mask(DATA)].as_slice(), more].concat())).expect("it is kept")
    };
    let plain = make(&mut service, &[]);
    assert_eq!(get(&mut service, V1_4, &plainly(&plain)).as_ref(), Ok(&thing), "Pre-Active");
    service.activate(&plain).expect("it is new");
    assert_eq!(get(&mut service, V1_4, &plainly(&plain)).as_ref(), Ok(&thing), "Active");
    service.revoke(&plain, RevocationReasonCode::Superseded).expect("it is Active");
    assert_eq!(get(&mut service, V1_4, &plainly(&plain)).as_ref(), Ok(&thing), "Deactivated");
    service.destroy(&plain).expect("it is Deactivated");
    assert_eq!(why(get(&mut service, V1_4, &plainly(&plain))), R::IllegalOperation, "destroyed");
    let leaked = make(&mut service, &[]);
    service.revoke(&leaked, RevocationReasonCode::KeyCompromise).expect("it is new");
    assert_eq!(get(&mut service, V1_4, &plainly(&leaked)).as_ref(), Ok(&thing), "Compromised: its owner's to clean up after");
    let sensitive = make(&mut service, &[A::Sensitive(true)]);
    assert_eq!(why(get(&mut service, V1_4, &plainly(&sensitive))), R::Sensitive);
    assert_eq!(why(get(&mut service, V1_3, &plainly(&sensitive))), R::PermissionDenied, "1.3 has no such reason");
    let stays = make(&mut service, &[A::Extractable(false)]);
    assert_eq!(why(get(&mut service, V1_4, &plainly(&stays))), R::NotExtractable);
    let created = service.create(V1_4, &wish("billing", &[A::Sensitive(true)])).expect("a plain key");
    assert_eq!(why(get(&mut service, V1_4, &plainly(&created))), R::Sensitive);
    let mine = make(&mut service, &[]);
    for (role, tenant, name, reason) in [
        (Role::TenantAdmin, "acme", "", R::PermissionDenied),
        (Role::Service, "acme", "payroll", R::ItemNotFound),
        (Role::Service, "globex", "billing", R::ItemNotFound),
        (Role::TenantAdmin, "globex", "", R::ItemNotFound),
        (Role::Edge, "", "west", R::ItemNotFound),
        (Role::Operator, "", "", R::ItemNotFound),
    ] {
        assert_eq!(why(get(&mut world.client(role, tenant, name), V1_4, &plainly(&mine))), reason, "{role:?} {tenant} {name}");
    }
}

#[test]
fn an_object_is_fresh_until_it_was_returned() {
    let world = World::edge();
    let mut service = world.service();
    let id = service.create(V1_4, &wish("billing", &[])).expect("a plain key");
    let fresh = |service: &mut Client<'_>| service.instances(&id, "Fresh")[0].1.clone();
    assert_eq!(fresh(&mut service), "Fresh(true)");
    world.take_records();
    let commits = || world.store.commits.load(std::sync::atomic::Ordering::Relaxed);
    let before = commits();
    get(&mut service, V1_4, &plainly(&id)).expect("it is the service's");
    assert_eq!(commits(), before + 1);
    assert_eq!(world.outcomes(), [(Action::Get, Outcome::Success)]);
    assert_eq!(fresh(&mut service), "Fresh(false)");
    get(&mut service, V1_4, &plainly(&id)).expect("it is the service's");
    assert_eq!(commits(), before + 1, "that is said once");
}

pub(crate) fn specification(with: &str) -> KeyWrappingSpecification<'_> {
    KeyWrappingSpecification {
        wrapping_method: WrappingMethod::Encrypt,
        encryption_key_information: Some(WrappingKeyInformation { unique_identifier: with, cryptographic_parameters: None }),
        mac_signature_key_information: None,
        attribute_names: vec![],
        encoding_option: Some(EncodingOption::NoEncoding),
    }
}

fn wrapped(client: &mut Client<'_>, version: ProtocolVersion, id: &str, with: &str) -> Result<Vec<u8>, Failed> {
    let request = GetRequest { key_wrapping_specification: Some(specification(with)), ..plainly(id) };
    client.call(version, &request, |answer| match &answer.object {
        ManagedObject::SymmetricKey(SymmetricKey { key_block: KeyBlock { key_value: Some(KeyValue::Wrapped(bytes)), .. } }) => {
            bytes.0.to_vec()
        }
        other => panic!("not a wrapped key: {other:?}"),
    })
}

pub(crate) const WRAPPER: [u8; 16] = *b"wraps other keys";

pub(crate) fn for_wrapping(service: &mut Client<'_>, thing: &Thing, bits: i32) -> String {
    let mode = CryptographicParameters { block_cipher_mode: Some(BlockCipherMode::NISTKeyWrap), ..CryptographicParameters::default() };
    let attributes = [mask(bits), AttributeValue::CryptographicParameters(mode)];
    let id = register(service, V1_4, &thing.request(&attributes)).expect("it is kept");
    service.activate(&id).expect("it is new");
    id
}

#[test]
fn a_sensitive_key_leaves_wrapped_by_an_l4_that_may_wrap_and_by_nothing_else() {
    use AttributeValue as A;
    let world = World::edge();
    let mut service = world.service();
    let id = register(&mut service, V1_4, &key(&KEY).request(&[mask(DATA), A::Sensitive(true)])).expect("it is kept");
    let with = for_wrapping(&mut service, &key(&WRAPPER), 0x10);
    world.take_records();
    let bytes = wrapped(&mut service, V1_4, &id, &with).expect("that is how it leaves");
    assert_eq!(world.outcomes(), [(Action::Get, Outcome::Success), (Action::Get, Outcome::Success)], "the wrapping key has one too");
    let mut plain = [0; 32];
    cipher::keywrap::KeyWrap::Kw.unwrap(&WRAPPER, &bytes, &mut plain).expect("it was wrapped by that key");
    assert_eq!(plain, KEY);
    // Of 1.1 and before, the reasons are other ones, the way is the same.
    assert!(wrapped(&mut service, V1_1, &id, &with).is_ok());
    let for_data = for_wrapping(&mut service, &key(&WRAPPER), DATA);
    assert_eq!(why(wrapped(&mut service, V1_4, &id, &for_data)), R::PermissionDenied, "it is for data");
    assert_eq!(why(wrapped(&mut service, V1_4, &id, &id)), R::ItemNotFound, "it has no parameters for that");
    assert_eq!(why(wrapped(&mut service, V1_4, &with, &with)), R::PermissionDenied, "itself");
    let hmac = Thing { algorithm: Some(CryptographicAlgorithm::HmacSha256), ..key(&KEY) };
    let hmac = for_wrapping(&mut service, &hmac, 0x10);
    assert_eq!(why(wrapped(&mut service, V1_4, &id, &hmac)), R::PermissionDenied, "no AES key");
    let password = for_wrapping(&mut service, &secret(SecretDataType::Password, KeyFormatType::Raw, &WRAPPER), 0x10);
    assert_eq!(why(wrapped(&mut service, V1_4, &id, &password)), R::IllegalOperation, "no key at all");
    let stays = register(&mut service, V1_4, &key(&KEY).request(&[mask(DATA), A::Extractable(false)])).expect("it is kept");
    assert_eq!(why(wrapped(&mut service, V1_4, &stays, &with)), R::NotExtractable);
    let blob = register(&mut service, V1_4, &opaque(&KEY).request(&[])).expect("kept");
    assert_eq!(why(wrapped(&mut service, V1_4, &blob, &with)), R::FeatureNotSupported, "it has no Key Block");
    let l3 = "L3-01890a5d-ac96-774b-bcce-b302099a8057";
    assert_eq!(why(wrapped(&mut service, V1_4, &id, l3)), R::PermissionDenied, "that one is held by a core");
    let theirs = for_wrapping(&mut world.client(Role::Service, "globex", "billing"), &key(&WRAPPER), 0x10);
    assert_eq!(why(wrapped(&mut service, V1_4, &id, &theirs)), R::ItemNotFound);
    service.revoke(&with, RevocationReasonCode::Superseded).expect("it is Active");
    assert_eq!(why(wrapped(&mut service, V1_4, &id, &with)), R::PermissionDenied, "it does not protect any more");
}

#[test]
fn the_digest_is_for_the_service_and_not_for_the_admin() {
    let world = World::edge();
    let (mut service, mut admin) = (world.service(), world.admin());
    let id = register(&mut service, V1_4, &key(&KEY).request(&[mask(DATA)])).expect("it is kept");
    let request = GetAttributesRequest { unique_identifier: Some(&id), attribute_names: vec!["Digest"] };
    let shown = service.call(V1_4, &request, |answer| match answer.attributes.as_slice() {
        [Attribute { value: AttributeValue::Digest(digest), .. }] => digest.digest_value.map(|value| value.0.to_vec()),
        other => panic!("not one Digest: {other:?}"),
    });
    assert_eq!(shown, Ok(Some(cipher::mac::sha256(&[&KEY]).to_vec())));
    assert_eq!(admin.instances(&id, "Digest"), []);
    assert!(!admin.instances(&id, "State").is_empty(), "of the rest the admin is told");
    let names = GetAttributeListRequest { unique_identifier: Some(&id) };
    let lists = |client: &mut Client<'_>| client.call(V1_4, &names, |answer| answer.attribute_names.contains(&"Digest"));
    assert_eq!((lists(&mut service), lists(&mut admin)), (Ok(true), Ok(false)));
}

#[test]
fn a_core_s_key_is_asked_for_at_the_core_and_an_edge_s_object_at_no_core() {
    let (edge, core) = (World::edge(), World::found());
    let (mut service, mut admin) = (edge.service(), edge.admin());
    let l3 = admin.create(V1_4, &wish("billing", &[])).expect("a tenant-admin's keys are made by the core");
    assert!(l3.starts_with("L3-"), "{l3}");
    let stored = |id: &str| edge.store.rows().contains_key(&row_id(id));
    assert!(!stored(&l3), "the edge keeps nothing of it");
    admin.activate(&l3).expect("it is the admin's");
    assert_eq!((admin.state(&l3), service.state(&l3)), (State::Active, State::Active));
    assert_eq!(why(get(&mut service, V1_4, &plainly(&l3))), R::PermissionDenied, "it does not leave");
    assert_eq!(why(service.activate(&l3)), R::PermissionDenied);
    for (role, tenant, name) in [(Role::Service, "acme", "payroll"), (Role::TenantAdmin, "globex", "")] {
        let request = GetAttributesRequest { unique_identifier: Some(&l3), attribute_names: vec![] };
        assert_eq!(why(edge.client(role, tenant, name).call(V1_4, &request, |_| ())), R::ItemNotFound, "{tenant} {name}");
    }
    let l4 = service.create(V1_4, &wish("billing", &[])).expect("a plain key");
    assert!(stored(&l4));
    for mut client in [core.service(), core.admin()] {
        let failed = client.activate(&l4).expect_err("it is an edge's");
        assert_eq!((failed.reason, failed.message.contains("held by an edge")), (R::PermissionDenied, true), "{}", failed.message);
    }
    for unknown in ["nonsense", "01890a5d-ac96-774b-bcce-b302099a8057", "L3-01890a5d-ac96-774b-bcce-b302099a8057"] {
        assert_eq!(why(admin.activate(unknown)), R::ItemNotFound, "{unknown}");
    }
}
