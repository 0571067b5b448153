//! Get and Export: a key leaves wrapped by another one, as the specification says, or not at all.

use cipher::keywrap::KeyWrap;
use futures_executor::block_on;
use keys::policy::verb::{self, UsesMaterial};
use keys::policy::{Action, Principal, Role};
use keys::record::Outcome;
use kmip::ttlv::{ByteString, Item, Value};
use kmip::*;

use crate::world::*;
use ProtocolVersion::{V1_0, V1_1, V1_3, V1_4};
use ResultReason as R;

const BOTH: i32 = 48;

/// What a Get or Export that succeeded returned.
#[derive(Clone, Debug, PartialEq)]
struct Got {
    wrapped: Vec<u8>,
    information: String,
    encoding: Option<EncodingOption>,
    bits: Option<i32>,
}

fn extractable(world: &World, bits: i32) -> String {
    let mut attributes = wish("billing", &[AttributeValue::Extractable(true), AttributeValue::Comment("kept together")]);
    attributes[1] = AttributeValue::CryptographicLength(bits);
    let mut admin = world.admin();
    let id = admin.create(V1_4, &attributes).expect("a plain key");
    admin.activate(&id).expect("it is new");
    id
}

fn mode(mode: BlockCipherMode) -> CryptographicParameters<'static> {
    CryptographicParameters { block_cipher_mode: Some(mode), ..CryptographicParameters::default() }
}

/// An Active key for wrapping, whose parameters name these algorithms.
fn wrapping_key(world: &World, modes: &[BlockCipherMode]) -> String {
    let parameters: Vec<_> = modes.iter().map(|one| AttributeValue::CryptographicParameters(mode(*one))).collect();
    let mut attributes = wish("billing", &parameters);
    attributes[2] = AttributeValue::CryptographicUsageMask(CryptographicUsageMask(BOTH));
    let mut admin = world.admin();
    let id = admin.create(V1_4, &attributes).expect("a key for keys");
    admin.activate(&id).expect("it is new");
    id
}

fn specification(with: &str) -> KeyWrappingSpecification<'_> {
    KeyWrappingSpecification {
        wrapping_method: WrappingMethod::Encrypt,
        encryption_key_information: Some(WrappingKeyInformation { unique_identifier: with, cryptographic_parameters: None }),
        mac_signature_key_information: None,
        attribute_names: vec![],
        encoding_option: None,
    }
}

fn request<'a>(id: &'a str, specification: Option<KeyWrappingSpecification<'a>>) -> GetRequest<'a> {
    GetRequest { unique_identifier: Some(id), key_wrapping_specification: specification, ..GetRequest::default() }
}

fn key_block<'o, 'a>(object: &'o ManagedObject<'a>) -> &'o KeyBlock<'a> {
    let ManagedObject::SymmetricKey(key) = object else { panic!("not a key: {object:?}") };
    &key.key_block
}

fn got(object: &ManagedObject<'_>) -> Got {
    let block = key_block(object);
    assert_eq!((block.key_format_type, block.cryptographic_algorithm), (KeyFormatType::Raw, Some(CryptographicAlgorithm::Aes)));
    let data = block.key_wrapping_data.as_ref().expect("it is wrapped");
    assert_eq!((data.wrapping_method, &data.mac_signature_key_information, data.iv_counter_nonce), (WrappingMethod::Encrypt, &None, None));
    let Some(KeyValue::Wrapped(ByteString(wrapped))) = block.key_value else { panic!("not wrapped bytes: {:?}", block.key_value) };
    let information = data.encryption_key_information.as_ref().expect("the wrapping key is named");
    let mode = information.cryptographic_parameters.as_ref().and_then(|parameters| parameters.block_cipher_mode);
    let information = format!("{} {}", information.unique_identifier, mode.map_or("?", BlockCipherMode::name));
    Got { wrapped: wrapped.to_vec(), information, encoding: data.encoding_option, bits: block.cryptographic_length }
}

fn get(client: &mut Client<'_>, version: ProtocolVersion, request: &GetRequest<'_>) -> Result<Got, Failed> {
    client.call(version, request, |answer| {
        assert_eq!((answer.object_type, Some(answer.unique_identifier)), (ObjectType::SymmetricKey, request.unique_identifier));
        got(&answer.object)
    })
}

/// The bytes of a key, as only the domain may lend them.
fn material<V: UsesMaterial>(world: &World, role: Role, id: &str) -> Vec<u8> {
    block_on(async {
        let name = |text: &str| Some(text.parse().expect("a name"));
        let principal = Principal { role, tenant: name("acme"), service: name("billing"), certificate: [0; 32] };
        let grants = world.vault.grants(&principal).await.expect("the store is well");
        let unit = world.vault.begin(keys::id::SessionId(1));
        let header = world.vault.header(&unit, &grants, row_id(id)).await.expect("it is there");
        let authorized = grants.check::<V>(&header).expect("the role may");
        world.vault.open(&unit, authorized, |bytes, _| Ok(bytes.to_vec())).await.expect("it is Active")
    })
}

fn unwrapped(world: &World, with: &str, how: KeyWrap, wrapped: &[u8]) -> Vec<u8> {
    let key = material::<verb::WrapWith>(world, Role::TenantAdmin, with);
    let mut plain = vec![0; wrapped.len() - 8];
    let bytes = how.unwrap(&key, wrapped, &mut plain).expect("it was wrapped under this key in this way");
    plain.truncate(bytes);
    plain
}

#[test]
fn a_key_comes_wrapped_in_each_way_version_and_length_and_unwraps_to_itself() {
    let world = World::found();
    let with = wrapping_key(&world, &[BlockCipherMode::NISTKeyWrap, BlockCipherMode::AESKeyWrapPadding]);
    let mut admin = world.admin();
    let mut cases = 0;
    for bits in [128, 192, 256] {
        let id = extractable(&world, bits);
        let own = material::<verb::Encrypt>(&world, Role::Service, &id);
        for version in ProtocolVersion::ALL {
            for (how, asked) in [
                (KeyWrap::Kw, None),
                (KeyWrap::Kw, Some(BlockCipherMode::NISTKeyWrap)),
                (KeyWrap::Kwp, Some(BlockCipherMode::AESKeyWrapPadding)),
            ] {
                for encoding in [None, Some(EncodingOption::NoEncoding), Some(EncodingOption::TtlvEncoding)] {
                    let mut wanted = specification(&with);
                    wanted.encoding_option = encoding.filter(|_| version > V1_0);
                    let information = wanted.encryption_key_information.as_mut().expect("just given");
                    information.cryptographic_parameters = asked.map(mode);
                    let wanted_encoding = wanted.encoding_option;
                    let is_bare = wanted_encoding == Some(EncodingOption::NoEncoding);
                    let got = get(&mut admin, version, &request(&id, Some(wanted))).expect("the key is Extractable");
                    let name = if how == KeyWrap::Kw { "NISTKeyWrap" } else { "AESKeyWrapPadding" };
                    // AX-M-2: who did not name it is not told it.
                    let expected = (format!("{with} {name}"), wanted_encoding, Some(bits));
                    assert_eq!((got.information, got.encoding, got.bits), expected, "{version}");
                    let plain = unwrapped(&world, &with, how, &got.wrapped);
                    if is_bare {
                        assert_eq!(plain, own);
                    } else {
                        let item = Item::only(&plain).expect("TTLV");
                        assert_eq!(item.tag, Tag::KEY_VALUE);
                        let value = PlainKeyValue::decode(item, Rules::of(version)).expect("a Key Value");
                        assert_eq!(value, PlainKeyValue { key_material: KeyMaterial::Bytes(ByteString(&own)), attributes: vec![] });
                    }
                    cases += 1;
                }
            }
        }
    }
    counted(cases);
}

#[test]
fn attributes_that_are_named_are_wrapped_with_the_key() {
    let world = World::found();
    let (id, with) = (extractable(&world, 192), wrapping_key(&world, &[BlockCipherMode::NISTKeyWrap]));
    let mut wanted = specification(&with);
    wanted.attribute_names = vec!["State", "Comment", "x-none", "y-layer", "Cryptographic Length", "Digest"];
    for version in [V1_0, V1_4] {
        let got = get(&mut world.admin(), version, &request(&id, Some(wanted.clone()))).expect("the key is Extractable");
        let plain = unwrapped(&world, &with, KeyWrap::Kw, &got.wrapped);
        let value = PlainKeyValue::decode(Item::only(&plain).expect("TTLV"), Rules::of(version)).expect("a Key Value");
        let own = material::<verb::Encrypt>(&world, Role::Service, &id);
        assert_eq!(value.key_material, KeyMaterial::Bytes(ByteString(&own)));
        let names: Vec<_> = value.attributes.iter().map(|attribute| attribute.value.name()).collect();
        let expected: &[&str] = if version == V1_4 {
            &["Cryptographic Length", "State", "Comment", "y-layer"]
        } else {
            &["Cryptographic Length", "State", "y-layer"]
        };
        assert_eq!(names, expected, "{version}");
    }
}

#[test]
fn a_key_that_was_returned_is_not_fresh_any_more() {
    let world = World::found();
    let (id, with) = (extractable(&world, 256), wrapping_key(&world, &[BlockCipherMode::NISTKeyWrap]));
    let mut admin = world.admin();
    let fresh = |client: &mut Client<'_>| client.instances(&id, "Fresh")[0].1.contains("true");
    assert!(fresh(&mut admin));
    let commits = || world.store.commits.load(std::sync::atomic::Ordering::Relaxed);
    let (before, one) = (commits(), get(&mut admin, V1_4, &request(&id, Some(specification(&with)))).expect("it is Extractable"));
    assert!(!fresh(&mut admin));
    assert_eq!(commits() - before, 1);
    assert_eq!(get(&mut admin, V1_4, &request(&id, Some(specification(&with)))), Ok(one), "wrapping is deterministic");
    assert_eq!(commits() - before, 1, "the second time nothing changes");
    assert_eq!(admin.locate(V1_1, &[AttributeValue::Fresh(false)]), Ok(vec![id.clone()]));
    world.take_records();
    admin.call(V1_4, &request(&id, Some(specification(&with))), |_| ()).expect("it is Extractable");
    let told =
        |world: &World| -> Vec<_> { world.take_records().iter().map(|record| (record.action, record.object, record.outcome)).collect() };
    let both = |outcome| [&id, &with].map(|key| (Action::Get, Some(row_id(key)), outcome));
    assert_eq!(told(&world), both(Outcome::Success), "the second says under which key it left");
    admin.revoke(&with, RevocationReasonCode::Unspecified).expect("it is Active");
    world.take_records();
    assert_eq!(why(admin.call(V1_4, &request(&id, Some(specification(&with))), |_| ())), R::PermissionDenied);
    assert_eq!(told(&world), both(Outcome::WrongState));
}

#[test]
fn what_a_core_does_not_return_is_refused_by_the_reason_of_its_version() {
    let world = World::found();
    let (id, closed) = (extractable(&world, 256), world.key());
    let with = wrapping_key(&world, &[BlockCipherMode::NISTKeyWrap, BlockCipherMode::Cbc]);
    let [bare, data, idle, loose] =
        [wrapping_key(&world, &[]), world.key(), wrapping_key(&world, &[BlockCipherMode::NISTKeyWrap]), extractable(&world, 256)];
    let mut admin = world.admin();
    admin.revoke(&idle, RevocationReasonCode::Unspecified).expect("it is Active");
    admin.add(V1_4, &loose, AttributeValue::CryptographicParameters(mode(BlockCipherMode::NISTKeyWrap))).expect("any parameters");
    let foreign = world.client(Role::TenantAdmin, "globex", "").create(V1_0, &wish("billing", &[])).expect("a plain key");
    let dead = extractable(&world, 256);
    admin.revoke(&dead, RevocationReasonCode::Unspecified).and_then(|_| admin.destroy(&dead)).expect("it goes");
    let l2 = admin.locate(V1_0, &[AttributeValue::Custom("y-layer", Value::TextString("L2"))]).expect("an admin looks")[0].clone();
    let spec = |change: &dyn Fn(&mut KeyWrappingSpecification<'_>)| {
        let mut wanted = specification(&with);
        change(&mut wanted);
        Some(wanted)
    };
    let by = |mode_asked| {
        let mut wanted = specification(&with);
        wanted.encryption_key_information.as_mut().expect("given").cryptographic_parameters = Some(mode(mode_asked));
        Some(wanted)
    };
    let plain = |specification| request(&id, specification);
    let none = R::FeatureNotSupported;
    let cases: Vec<(&str, GetRequest<'_>, R, R, ProtocolVersion)> = vec![
        // What is asked, the reason in 1.4, the reason before that, and the first version that can ask.
        ("unwrapped", plain(None), R::Sensitive, R::PermissionDenied, V1_0),
        ("not extractable", request(&closed, Some(specification(&with))), R::NotExtractable, R::PermissionDenied, V1_0),
        ("not extractable, unwrapped", request(&closed, None), R::NotExtractable, R::PermissionDenied, V1_0),
        ("destroyed", request(&dead, Some(specification(&with))), R::IllegalOperation, R::IllegalOperation, V1_0),
        (
            "another format",
            GetRequest { key_format_type: Some(KeyFormatType::TransparentSymmetricKey), ..plain(spec(&|_| ())) },
            R::KeyFormatTypeNotSupported,
            R::KeyFormatTypeNotSupported,
            V1_0,
        ),
        (
            "compressed",
            GetRequest { key_compression_type: Some(KeyCompressionType::EcPublicKeyTypeUncompressed), ..plain(spec(&|_| ())) },
            R::KeyCompressionTypeNotSupported,
            R::KeyCompressionTypeNotSupported,
            V1_0,
        ),
        ("as registered", GetRequest { key_wrap_type: Some(KeyWrapType::AsRegistered), ..plain(spec(&|_| ())) }, none, none, V1_4),
        ("not wrapped", GetRequest { key_wrap_type: Some(KeyWrapType::NotWrapped), ..plain(None) }, none, none, V1_4),
        ("signed", plain(spec(&|wanted| wanted.wrapping_method = WrappingMethod::MacSign)), none, none, V1_0),
        ("TR-31", plain(spec(&|wanted| wanted.wrapping_method = WrappingMethod::Tr31)), none, none, V1_0),
        (
            "a MAC too",
            plain(spec(&|wanted| {
                wanted.mac_signature_key_information =
                    Some(WrappingKeyInformation { unique_identifier: "1", cryptographic_parameters: None })
            })),
            none,
            none,
            V1_0,
        ),
        ("no wrapping key", plain(spec(&|wanted| wanted.encryption_key_information = None)), R::InvalidMessage, R::InvalidMessage, V1_0),
        (
            "bare with attributes",
            plain(spec(&|wanted| {
                wanted.encoding_option = Some(EncodingOption::NoEncoding);
                wanted.attribute_names = vec!["State"];
            })),
            R::EncodingOptionError,
            R::EncodingOptionError,
            V1_1,
        ),
        (
            "another encoding",
            plain(spec(&|wanted| wanted.encoding_option = Some(EncodingOption::Extension(0x8000_0001)))),
            R::EncodingOptionError,
            R::EncodingOptionError,
            V1_1,
        ),
        (
            "a name twice",
            plain(spec(&|wanted| wanted.attribute_names = vec!["State", "State"])),
            R::InvalidMessage,
            R::InvalidMessage,
            V1_0,
        ),
        ("a mode of the key that wraps nothing", plain(by(BlockCipherMode::Cbc)), none, none, V1_0),
        ("a mode that the key does not have", plain(by(BlockCipherMode::AESKeyWrapPadding)), R::ItemNotFound, R::ItemNotFound, V1_0),
        ("a key without parameters", plain(Some(specification(&bare))), R::ItemNotFound, R::ItemNotFound, V1_0),
        ("a key for data without parameters", plain(Some(specification(&data))), R::ItemNotFound, R::ItemNotFound, V1_0),
        ("a key for data", plain(Some(specification(&loose))), R::PermissionDenied, R::PermissionDenied, V1_0),
        ("a key that has ended", plain(Some(specification(&idle))), R::PermissionDenied, R::PermissionDenied, V1_0),
        ("itself", request(&loose, Some(specification(&loose))), R::PermissionDenied, R::PermissionDenied, V1_0),
        ("another tenant's key", plain(Some(specification(&foreign))), R::ItemNotFound, R::ItemNotFound, V1_0),
        ("nobody's key", plain(Some(specification("L3-01890a5d-ac96-774b-bcce-b302099a8057"))), R::ItemNotFound, R::ItemNotFound, V1_0),
        ("no identifier", plain(Some(specification("wrap"))), R::ItemNotFound, R::ItemNotFound, V1_0),
        ("an L4", plain(Some(specification("01890a5d-ac96-774b-bcce-b302099a8057"))), R::PermissionDenied, R::PermissionDenied, V1_0),
        ("an L2", plain(Some(specification(&l2))), R::PermissionDenied, R::PermissionDenied, V1_0),
        ("an L2 to be wrapped", request(&l2, Some(specification(&with))), R::PermissionDenied, R::PermissionDenied, V1_0),
    ];
    let mut cells = 0;
    for (case, request, in_1_4, before, since) in &cases {
        for version in ProtocolVersion::ALL.into_iter().filter(|version| version >= since) {
            let expected = if version == V1_4 { *in_1_4 } else { *before };
            assert_eq!(get(&mut admin, version, request).map_err(|failed| failed.reason), Err(expected), "{case} in {version}");
            cells += 1;
        }
        let GetRequest { unique_identifier, key_format_type, key_wrap_type, key_compression_type, key_wrapping_specification } =
            request.clone();
        let export = ExportRequest { unique_identifier, key_format_type, key_wrap_type, key_compression_type, key_wrapping_specification };
        let exported = admin.call(V1_4, &export, |_| ()).map_err(|failed| failed.reason);
        // Of a destroyed key, Export returns what is left.
        assert_eq!(exported, if *case == "destroyed" { Ok(()) } else { Err(*in_1_4) }, "{case}");
        cells += 1;
    }
    counted(cells);
    assert!(world.admin().instances(&id, "Fresh")[0].1.contains("true"), "nothing left");
}

#[test]
fn nobodys_and_anothers_wrapping_key_get_the_same_bytes() {
    let world = World::found();
    let id = extractable(&world, 256);
    let foreign = world.client(Role::TenantAdmin, "globex", "").create(V1_0, &wish("billing", &[])).expect("a plain key");
    let mut admin = world.admin();
    let mut ask = |with: &str| {
        let mut batch = Batch::new(V1_3);
        batch.push(&request(&id, Some(specification(with)))).expect("1.0 has Get");
        admin.ask(&batch.finish().bytes)
    };
    let absent = ask("L3-01890a5d-ac96-774b-bcce-b302099a8057");
    for with in [foreign.as_str(), "", "wrap", "L3-", "L9-01890a5d-ac96-774b-bcce-b302099a8057"] {
        assert_eq!(ask(with), absent, "{with}");
    }
}

#[test]
fn export_adds_all_attributes_and_fills_the_placeholder() {
    let world = World::found();
    let (id, with) = (extractable(&world, 256), wrapping_key(&world, &[BlockCipherMode::AESKeyWrapPadding]));
    let mut admin = world.admin();
    let names = admin.call(V1_4, &GetAttributeListRequest { unique_identifier: Some(&id) }, |answer| {
        answer.attribute_names.iter().map(ToString::to_string).collect::<Vec<_>>()
    });
    let mut batch = Batch::new(V1_4);
    let mut wanted = specification(&with);
    wanted.encoding_option = Some(EncodingOption::NoEncoding);
    let export = ExportRequest { unique_identifier: Some(&id), key_wrapping_specification: Some(wanted), ..ExportRequest::default() };
    let export = batch.push(&export).expect("1.4 has Export");
    let look = batch.push(&GetAttributesRequest { unique_identifier: None, attribute_names: vec!["Fresh"] }).expect("1.0 has it");
    let sent = batch.finish();
    let answer = admin.ask(&sent.bytes);
    let answers = sent.answers(&answer).expect("it answers this request");
    let exported = answers.get(&export).expect("it is Extractable");
    let mut told: Vec<_> = exported.attributes.iter().map(|attribute| attribute.value.name().to_owned()).collect();
    told.dedup();
    assert_eq!(Ok(told), names);
    let own = material::<verb::Encrypt>(&world, Role::Service, &id);
    assert_eq!(unwrapped(&world, &with, KeyWrap::Kwp, &got(&exported.object).wrapped), own);
    let looked = answers.get(&look).expect("the placeholder has it");
    assert_eq!((looked.unique_identifier, &looked.attributes[0].value), (id.as_str(), &AttributeValue::Fresh(false)));
    admin.revoke(&id, RevocationReasonCode::Unspecified).and_then(|_| admin.destroy(&id)).expect("it goes");
    let left = ExportRequest { unique_identifier: Some(&id), ..ExportRequest::default() };
    let state = admin.call(V1_4, &left, |answer| {
        let block = key_block(&answer.object);
        assert_eq!((&block.key_value, &block.key_wrapping_data), (&None, &None));
        answer.attributes.iter().any(|attribute| attribute.value == AttributeValue::State(State::Destroyed))
    });
    assert_eq!(state, Ok(true));
}

#[test]
fn a_wrapping_key_wraps_keys_and_no_data() {
    let world = World::found();
    let with = wrapping_key(&world, &[BlockCipherMode::NISTKeyWrap]);
    let data = Some(ByteString(b"data"));
    let encrypt = EncryptRequest { unique_identifier: Some(&with), data, ..EncryptRequest::default() };
    assert_eq!(why(world.service().call(V1_4, &encrypt, |_| ())), R::PermissionDenied);
    for mask in [CryptographicUsageMask(16), CryptographicUsageMask(32)] {
        let mut attributes = wish("billing", &[AttributeValue::CryptographicParameters(mode(BlockCipherMode::NISTKeyWrap))]);
        attributes[2] = AttributeValue::CryptographicUsageMask(mask);
        let mut admin = world.admin();
        let half = admin.create(V1_4, &attributes).expect("half a mask");
        admin.activate(&half).expect("it is new");
        let id = extractable(&world, 128);
        assert_eq!(why(get(&mut admin, V1_4, &request(&id, Some(specification(&half))))), R::PermissionDenied, "{mask:?}");
    }
}
