//! Managed objects, registered and returned: the tag says which it is, there is exactly one, its key comes in several forms.

use kmip::ttlv::{BigInteger, ByteString, Item, Unsigned, Writer};
use kmip::*;

use ProtocolVersion::{V1_3, V1_4};

const ONE_OF: &str = "Certificate, Symmetric Key, Private Key, Public Key, Template, Secret Data or Opaque Object";

fn key_block(key_format_type: KeyFormatType, key_value: KeyValue<'static>) -> KeyBlock<'static> {
    KeyBlock {
        key_format_type,
        key_compression_type: None,
        key_value: Some(key_value),
        cryptographic_algorithm: None,
        cryptographic_length: None,
        key_wrapping_data: None,
    }
}

fn plain(key_material: KeyMaterial<'static>) -> KeyValue<'static> {
    KeyValue::Plain(PlainKeyValue { key_material, attributes: vec![] })
}

fn key(key_block: KeyBlock<'static>) -> ManagedObject<'static> {
    ManagedObject::SymmetricKey(SymmetricKey { key_block })
}

/// One object of each type.
fn objects() -> [ManagedObject<'static>; 7] {
    let bytes = || plain(KeyMaterial::Bytes(ByteString(b"correct horse")));
    [
        ManagedObject::Certificate(Certificate {
            certificate_type: CertificateType::X509,
            certificate_value: ByteString(b"correct horse"),
        }),
        key(key_block(KeyFormatType::Raw, bytes())),
        ManagedObject::PrivateKey(PrivateKey { key_block: key_block(KeyFormatType::Pkcs8, bytes()) }),
        ManagedObject::PublicKey(PublicKey { key_block: key_block(KeyFormatType::X509, bytes()) }),
        ManagedObject::SecretData(SecretData {
            secret_data_type: SecretDataType::Password,
            key_block: key_block(KeyFormatType::Opaque, bytes()),
        }),
        ManagedObject::OpaqueObject(OpaqueObject {
            opaque_data_type: OpaqueDataType::Extension(0x8000_0000),
            opaque_data_value: ByteString(b"correct horse"),
        }),
        ManagedObject::Template(Template { attributes: vec![Attribute { index: None, value: AttributeValue::ContactInformation("me") }] }),
    ]
}

fn written(version: ProtocolVersion, write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut bytes = vec![];
    write(&mut Writer::new(&mut bytes, version));
    bytes
}

/// Hands on a Get response that says Symmetric Key and has these fields at its end.
fn got<T>(rules: Rules, write: impl FnOnce(&mut Writer<'_>), run: impl FnOnce(Result<GetResponse<'_>, Error>) -> T) -> T {
    let bytes = written(V1_4, |out| {
        let payload = out.open(Tag::RESPONSE_PAYLOAD);
        ObjectType::SymmetricKey.encode(Tag::OBJECT_TYPE, out);
        out.text(Tag::UNIQUE_IDENTIFIER, "L3-1");
        write(out);
        out.close(payload);
    });
    run(GetResponse::decode(Item::only(&bytes).expect("just written"), rules))
}

fn refused(write: impl FnOnce(&mut Writer<'_>)) -> Error {
    got(Rules::of(V1_4), write, |read| read.expect_err("this payload is not legal"))
}

/// Writes some fields.
type Writes<'f> = &'f dyn Fn(&mut Writer<'_>);

/// Whether an error is the expected one.
type Fits<'f> = &'f dyn Fn(&Error) -> bool;

/// Writes an object under its own tag.
fn put(object: &ManagedObject<'_>, out: &mut Writer<'_>) {
    object.encode(object.tag(), out);
}

fn empty(tag: Tag, out: &mut Writer<'_>) {
    let open = out.open(tag);
    out.close(open);
}

#[test]
fn an_object_stands_under_its_own_tag_in_each_version() {
    let tags =
        [Tag::CERTIFICATE, Tag::SYMMETRIC_KEY, Tag::PRIVATE_KEY, Tag::PUBLIC_KEY, Tag::SECRET_DATA, Tag::OPAQUE_OBJECT, Tag::TEMPLATE];
    for version in ProtocolVersion::ALL {
        for (object, tag) in objects().into_iter().zip(tags) {
            let answer = GetResponse { object_type: object.object_type(), unique_identifier: "L3-1", object };
            assert!(answer.legal_in(version));
            let bytes = written(version, |out| answer.encode(Tag::RESPONSE_PAYLOAD, out));
            let item = Item::only(&bytes).expect("just written");
            let mut fields = item.fields().expect("a payload");
            let last = std::iter::from_fn(|| fields.next_item().expect("just written")).last();
            assert_eq!(last.map(|field| field.tag), Some(tag), "{version}");
            assert_eq!(GetResponse::decode(item, Rules::of_response(version)), Ok(answer), "{version}");
        }
    }
}

#[test]
fn an_answer_with_a_symmetric_key_has_these_bytes() {
    let wrapped = key_block(KeyFormatType::Raw, KeyValue::Wrapped(ByteString(b"8 bytes.")));
    let answer = GetResponse { object_type: ObjectType::SymmetricKey, unique_identifier: "L3-1", object: key(wrapped) };
    let expected = b"\x42\x00\x7C\x01\0\0\0\x50\
        \x42\x00\x57\x05\0\0\0\x04\0\0\0\x02\0\0\0\0\
        \x42\x00\x94\x07\0\0\0\x04L3-1\0\0\0\0\
        \x42\x00\x8F\x01\0\0\0\x28\
        \x42\x00\x40\x01\0\0\0\x20\
        \x42\x00\x42\x05\0\0\0\x04\0\0\0\x01\0\0\0\0\
        \x42\x00\x45\x08\0\0\0\x088 bytes.";
    assert_eq!(written(V1_4, |out| answer.encode(Tag::RESPONSE_PAYLOAD, out)), expected);
}

#[test]
fn an_object_is_not_what_object_type_says_but_what_its_tag_says() {
    for object in objects() {
        got(
            Rules::of(V1_4),
            |out| put(&object, out),
            |read| {
                let read = read.expect("to compare the two is the operation's");
                assert_eq!((read.object_type, read.object.object_type()), (ObjectType::SymmetricKey, object.object_type()));
            },
        );
    }
    let types = objects().map(|object| object.object_type());
    use ObjectType as T;
    assert_eq!(types, [T::Certificate, T::SymmetricKey, T::PrivateKey, T::PublicKey, T::SecretData, T::OpaqueObject, T::Template]);
}

#[test]
fn two_objects_are_refused_of_one_type_and_of_two() {
    for first in objects() {
        for second in objects() {
            let error = refused(|out| [&first, &second].into_iter().for_each(|object| put(object, out)));
            assert!(matches!(error, Error::Duplicate { field: ONE_OF, .. }), "{error}");
            assert_eq!(reason(&error), ResultReason::InvalidMessage);
        }
    }
}

#[test]
fn a_payload_without_an_object_is_refused() {
    let error = refused(|_| ());
    assert_eq!(error, Error::Missing { offset: 0, field: ONE_OF });
    assert_eq!(reason(&error), ResultReason::InvalidMessage);
}

#[test]
fn an_object_that_is_not_read_here_is_refused_by_name() {
    let others = [Tag::SPLIT_KEY, Tag::PGP_KEY, Tag::of([0x54, 0, 1]).expect("a tag")];
    for tag in others {
        let error = refused(|out| empty(tag, out));
        assert!(matches!(error, Error::Unknown { field, .. } if field == tag.name()), "{error}");
        assert_eq!(reason(&error), ResultReason::InvalidField);
        // Beside one that is, too; a later minor version passes over it.
        let [one, ..] = objects();
        let both = |out: &mut Writer<'_>| {
            empty(tag, out);
            put(&one, out);
        };
        assert!(matches!(refused(both), Error::Unknown { .. }));
        let later = Rules::of(V1_4).passing_over_unknown_fields();
        got(later, both, |read| assert_eq!(read.map(|answer| answer.object), Ok(one.clone())));
        got(later, |out| empty(tag, out), |read| assert!(matches!(read, Err(Error::Missing { field: ONE_OF, .. }))));
    }
}

#[test]
fn an_object_has_all_its_fields_and_no_others() {
    let within = |tag: Tag, write: Writes<'_>| {
        refused(|out| {
            let open = out.open(tag);
            write(out);
            out.close(open);
        })
    };
    let nothing = |_: &mut Writer<'_>| ();
    let block = |out: &mut Writer<'_>| key_block(KeyFormatType::Raw, KeyValue::Wrapped(ByteString(b""))).encode(Tag::KEY_BLOCK, out);
    let password = |out: &mut Writer<'_>| SecretDataType::Password.encode(Tag::SECRET_DATA_TYPE, out);
    let vendor = |out: &mut Writer<'_>| out.enumeration(Tag::OPAQUE_DATA_TYPE, 0x8000_0000);
    let missing = |field| move |error: &Error| matches!(error, Error::Missing { field: which, .. } if *which == field);
    let cases: [(Tag, Writes<'_>, Fits<'_>); 11] = [
        (Tag::TEMPLATE, &nothing, &missing("Attribute")),
        (Tag::TEMPLATE, &block, &|error| matches!(error, Error::Unknown { field: "Key Block", .. })),
        (Tag::SYMMETRIC_KEY, &nothing, &missing("Key Block")),
        (Tag::SECRET_DATA, &block, &missing("Secret Data Type")),
        (Tag::SECRET_DATA, &password, &missing("Key Block")),
        (Tag::OPAQUE_OBJECT, &nothing, &missing("Opaque Data Type")),
        (Tag::OPAQUE_OBJECT, &vendor, &missing("Opaque Data Value")),
        (Tag::SYMMETRIC_KEY, &password, &|error| matches!(error, Error::Unknown { field: "Secret Data Type", .. })),
        (Tag::OPAQUE_OBJECT, &block, &|error| matches!(error, Error::Unknown { field: "Key Block", .. })),
        (Tag::SECRET_DATA, &|out| out.enumeration(Tag::SECRET_DATA_TYPE, 3), &|error| {
            matches!(error, Error::Invalid { field: "Secret Data Type", .. })
        }),
        (Tag::OPAQUE_OBJECT, &|out| out.enumeration(Tag::OPAQUE_DATA_TYPE, 1), &|error| {
            matches!(error, Error::Invalid { field: "Opaque Data Type", .. })
        }),
    ];
    for (tag, write, fits) in cases {
        let error = within(tag, write);
        assert!(fits(&error), "{tag:?}: {error}");
    }
    let error = refused(|out| out.bytes(Tag::OPAQUE_OBJECT, ByteString(b"no structure")));
    assert!(matches!(error, Error::Malformed { expected: "a Structure", .. }), "{error}");
}

#[test]
fn an_export_has_an_object_in_1_4_only() {
    let attributes = vec![Attribute { index: None, value: AttributeValue::State(State::Active) }];
    for object in objects() {
        let answer =
            ExportResponse { object_type: object.object_type(), unique_identifier: "L3-1", attributes: attributes.clone(), object };
        let bytes = written(V1_4, |out| answer.encode(Tag::RESPONSE_PAYLOAD, out));
        let item = Item::only(&bytes).expect("just written");
        assert_eq!(ExportResponse::decode(item, Rules::of_response(V1_4)), Ok(answer.clone()));
        assert!(ProtocolVersion::ALL.into_iter().all(|version| answer.legal_in(version) == (version == V1_4)));
        let only_object = written(V1_4, |out| {
            let payload = out.open(Tag::RESPONSE_PAYLOAD);
            put(&answer.object, out);
            out.close(payload);
        });
        let read = ExportResponse::decode(Item::only(&only_object).expect("just written"), Rules::of(V1_3));
        assert_eq!(read, Err(Error::NotInVersion { field: answer.object.tag().name(), version: V1_3 }));
    }
}

#[test]
fn any_object_is_registered_in_each_version() {
    for version in ProtocolVersion::ALL {
        for object in objects() {
            let attributes =
                vec![Attribute { index: None, value: AttributeValue::CryptographicUsageMask(CryptographicUsageMask::DERIVE_KEY) }];
            let template_attribute = TemplateAttribute { names: vec![], attributes };
            let request = RegisterRequest { object_type: object.object_type(), template_attribute, object };
            let mut batch = Batch::new(version);
            batch.push(&request).expect("1.0 has Register");
            let sent = batch.finish();
            let read = Request::decode(&sent.bytes).expect("the client writes legal requests");
            assert_eq!(read.message.items[0].operation, Operation::Register.into());
            assert_eq!(RegisterRequest::decode(read.message.items[0].payload, read.rules), Ok(request), "{version}");
        }
    }
}

#[test]
fn a_register_request_has_type_attributes_and_one_object() {
    let request = RegisterRequest {
        object_type: ObjectType::SecretData,
        template_attribute: TemplateAttribute::default(),
        object: objects()[4].clone(),
    };
    let bytes = |fields: &[Tag]| {
        written(V1_4, |out| {
            let payload = out.open(Tag::REQUEST_PAYLOAD);
            for tag in fields {
                match *tag {
                    Tag::OBJECT_TYPE => request.object_type.encode(*tag, out),
                    Tag::TEMPLATE_ATTRIBUTE => request.template_attribute.encode(*tag, out),
                    Tag::SECRET_DATA => request.object.encode(*tag, out),
                    other => empty(other, out),
                }
            }
            out.close(payload);
        })
    };
    let whole = [Tag::SECRET_DATA, Tag::TEMPLATE_ATTRIBUTE, Tag::OBJECT_TYPE];
    for version in ProtocolVersion::ALL {
        let check = |fields: &[Tag], fits: Fits<'_>| {
            let bytes = bytes(fields);
            let read = RegisterRequest::decode(Item::only(&bytes).expect("just written"), Rules::of(version));
            let error = read.expect_err("this payload is not legal");
            assert!(fits(&error), "{fields:?} in {version}: {error}");
        };
        let read = bytes(&whole);
        let read = RegisterRequest::decode(Item::only(&read).expect("just written"), Rules::of(version));
        assert_eq!(read.as_ref(), Ok(&request), "the order of fields is free");
        check(&whole[1..], &|error| matches!(error, Error::Missing { field: ONE_OF, .. }));
        check(&whole[..2], &|error| matches!(error, Error::Missing { field: "Object Type", .. }));
        check(&[whole[0], whole[2]], &|error| matches!(error, Error::Missing { field: "Template-Attribute", .. }));
        check(&[&whole[..], &whole[..1]].concat(), &|error| matches!(error, Error::Duplicate { field: ONE_OF, .. }));
        check(&[&whole[..], &[Tag::OPAQUE_OBJECT]].concat(), &|error| matches!(error, Error::Duplicate { field: ONE_OF, .. }));
        check(&[&whole[..], &[Tag::SPLIT_KEY]].concat(), &|error| matches!(error, Error::Unknown { field: "Split Key", .. }));
        check(&[&whole[..], &[Tag::NAME]].concat(), &|error| matches!(error, Error::Unknown { field: "Name", .. }));
    }
}

// The key inside.

#[test]
fn a_key_value_is_plain_transparent_wrapped_or_absent() {
    let transparent = TransparentSymmetricKey { key: ByteString(b"correct horse") };
    let blocks = [
        key_block(KeyFormatType::Raw, plain(KeyMaterial::Bytes(ByteString(b"correct horse")))),
        key_block(KeyFormatType::TransparentSymmetricKey, plain(KeyMaterial::TransparentSymmetricKey(transparent))),
        key_block(KeyFormatType::Raw, KeyValue::Wrapped(ByteString(b"wrapped"))),
        KeyBlock { key_value: None, ..key_block(KeyFormatType::Raw, KeyValue::Wrapped(ByteString(b""))) },
    ];
    for block in blocks.into_iter().chain(transparent_blocks()).map(key) {
        got(Rules::of(V1_4), |out| put(&block, out), |read| assert_eq!(read.map(|answer| answer.object), Ok(block.clone())));
    }
}

/// A key of a pair as its numbers, in each format.
fn transparent_blocks() -> [KeyBlock<'static>; 4] {
    let (n, curve) = (Unsigned(&[0xC5; 13]), RecommendedCurve::P256);
    let rsa_private = TransparentRsaPrivateKey {
        modulus: n,
        private_exponent: Some(n),
        public_exponent: None,
        p: Some(Unsigned(&[1])),
        q: None,
        prime_exponent_p: None,
        prime_exponent_q: None,
        crt_coefficient: Some(Unsigned(&[0x80; 8])),
    };
    let rsa_public = TransparentRsaPublicKey { modulus: n, public_exponent: Unsigned(&[1, 0, 1]) };
    let ec_private = TransparentEcPrivateKey { recommended_curve: curve, d: n };
    let ec_public = TransparentEcPublicKey { recommended_curve: curve, q_string: ByteString(&[4; 65]) };
    [
        (KeyFormatType::TransparentRsaPrivateKey, KeyMaterial::TransparentRsaPrivateKey(rsa_private)),
        (KeyFormatType::TransparentRsaPublicKey, KeyMaterial::TransparentRsaPublicKey(rsa_public)),
        (KeyFormatType::TransparentEcPrivateKey, KeyMaterial::TransparentEcPrivateKey(ec_private)),
        (KeyFormatType::TransparentEcPublicKey, KeyMaterial::TransparentEcPublicKey(ec_public)),
    ]
    .map(|(format, material)| key_block(format, plain(material)))
}

#[test]
fn a_number_without_a_sign_is_a_big_integer_of_whole_eights_that_is_not_negative() {
    let check = |number: &[u8], wire: &[u8]| {
        let bytes = written(V1_4, |out| Unsigned(number).encode(Tag::MODULUS, out));
        assert_eq!(&bytes[8..], wire, "{number:?}");
        assert_eq!(Unsigned::decode(Item::only(&bytes).expect("just written"), Rules::of(V1_4)), Ok(Unsigned(number)));
    };
    check(&[], &[0; 8]);
    check(&[1], &[0, 0, 0, 0, 0, 0, 0, 1]);
    check(&[0x7F; 7], &[0, 0x7F, 0x7F, 0x7F, 0x7F, 0x7F, 0x7F, 0x7F]);
    check(&[0x80; 8], &[[0; 8], [0x80; 8]].concat());
    let negative = written(V1_4, |out| BigInteger(&[0x80; 8]).encode(Tag::MODULUS, out));
    let read = Unsigned::decode(Item::only(&negative).expect("just written"), Rules::of(V1_4));
    assert!(matches!(read, Err(Error::Malformed { expected: "a Big Integer that is not negative", .. })), "{read:?}");
}

#[test]
fn key_material_is_bytes_or_a_structure_with_one_key() {
    let read = |write: Writes<'_>| {
        let bytes = written(V1_4, |out| {
            let value = out.open(Tag::KEY_VALUE);
            write(out);
            out.close(value);
        });
        KeyValue::decode(Item::only(&bytes).expect("just written"), Rules::of(V1_4)).map(|_| ())
    };
    let transparent = |fields: &[Tag]| {
        read(&|out| {
            let material = out.open(Tag::KEY_MATERIAL);
            fields.iter().for_each(|tag| out.bytes(*tag, ByteString(b"correct horse")));
            out.close(material);
        })
    };
    assert_eq!(transparent(&[Tag::KEY]), Ok(()));
    assert!(matches!(transparent(&[]), Err(Error::Missing { field: "Key", .. })));
    assert!(matches!(transparent(&[Tag::KEY, Tag::KEY]), Err(Error::Duplicate { field: "Key", .. })));
    assert!(matches!(transparent(&[Tag::KEY, Tag::MODULUS]), Err(Error::Unknown { field: "Modulus", .. })));
    assert!(matches!(read(&|out| out.text(Tag::KEY_MATERIAL, "text")), Err(Error::Malformed { expected: "a Byte String", .. })));
    assert!(matches!(read(&|_| ()), Err(Error::Missing { field: "Key Material", .. })));
}

#[test]
fn an_object_is_shown_without_its_secret() {
    let transparent = KeyMaterial::TransparentSymmetricKey(TransparentSymmetricKey { key: ByteString(b"correct horse") });
    let transparent = key(key_block(KeyFormatType::TransparentSymmetricKey, plain(transparent)));
    // A Template has no secret.
    let objects = objects().into_iter().filter(|object| !matches!(object, ManagedObject::Template(_)));
    for object in objects.chain([transparent]) {
        let shown = format!("{object:?}");
        assert!(!shown.contains("horse") && shown.contains("13 B"), "{shown}");
    }
}
