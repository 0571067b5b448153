//! Keys that come and go wrapped at an edge: what Get has wrapped Register opens again, with the key that is for that and for nothing else.

use cipher::key_form::{self, PrivateForm, PublicForm};
use cipher::keywrap::KeyWrap;
use cipher::pair::{Curve, PairKind, generate};
use keys::policy::{Action, Role};
use keys::record::Outcome;
use kmip::ttlv::{ByteString, Writer};
use kmip::*;

use crate::edge::{KEY, Thing, WRAPPER, for_wrapping, get, key, mask, opaque, plainly, register, registering, secret, specification};
use crate::world::*;
use AttributeValue as A;
use EncodingOption::{NoEncoding, TtlvEncoding};
use ProtocolVersion::{V1_0, V1_4};
use ResultReason as R;

const BOTH: i32 = 0x30;

/// A key as it is wrapped, and what is said of it beside that.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Packed {
    kind: ObjectType,
    format: KeyFormatType,
    algorithm: Option<CryptographicAlgorithm>,
    bits: Option<i32>,
    bytes: Vec<u8>,
}

fn mode(mode: BlockCipherMode) -> CryptographicParameters<'static> {
    CryptographicParameters { block_cipher_mode: Some(mode), ..CryptographicParameters::default() }
}

fn name(how: KeyWrap) -> BlockCipherMode {
    match how {
        KeyWrap::Kw => BlockCipherMode::NISTKeyWrap,
        KeyWrap::Kwp => BlockCipherMode::AESKeyWrapPadding,
    }
}

fn wrap(how: KeyWrap, key: &[u8], plain: &[u8]) -> Vec<u8> {
    let mut out = vec![0; how.wrapped_bytes(plain.len()).expect("the length fits")];
    how.wrap(key, plain, &mut out).expect("lengths fit");
    out
}

fn in_ttlv(material: &[u8], attributes: Vec<Attribute<'_>>) -> Vec<u8> {
    let mut bytes = vec![];
    let value = PlainKeyValue { key_material: KeyMaterial::Bytes(ByteString(material)), attributes };
    value.encode(Tag::KEY_VALUE, &mut Writer::new(&mut bytes, V1_4));
    bytes
}

fn aes(bytes: Vec<u8>) -> Packed {
    let (algorithm, bits) = (Some(CryptographicAlgorithm::Aes), Some(256));
    Packed { kind: ObjectType::SymmetricKey, format: KeyFormatType::Raw, algorithm, bits, bytes }
}

fn data<'a>(with: &'a str, how: Option<BlockCipherMode>, encoding_option: Option<EncodingOption>) -> KeyWrappingData<'a> {
    let information = WrappingKeyInformation { unique_identifier: with, cryptographic_parameters: how.map(mode) };
    KeyWrappingData {
        wrapping_method: WrappingMethod::Encrypt,
        encryption_key_information: Some(information),
        mac_signature_key_information: None,
        mac_signature: None,
        iv_counter_nonce: None,
        encoding_option,
    }
}

impl Packed {
    fn object<'a>(&'a self, data: KeyWrappingData<'a>) -> ManagedObject<'a> {
        let key_block = KeyBlock {
            key_format_type: self.format,
            key_compression_type: None,
            key_value: Some(KeyValue::Wrapped(ByteString(&self.bytes))),
            cryptographic_algorithm: self.algorithm,
            cryptographic_length: self.bits,
            key_wrapping_data: Some(data),
        };
        match self.kind {
            ObjectType::PrivateKey => ManagedObject::PrivateKey(PrivateKey { key_block }),
            ObjectType::PublicKey => ManagedObject::PublicKey(PublicKey { key_block }),
            ObjectType::SecretData => ManagedObject::SecretData(SecretData { secret_data_type: SecretDataType::Password, key_block }),
            _ => ManagedObject::SymmetricKey(SymmetricKey { key_block }),
        }
    }

    fn of(object: &ManagedObject<'_>) -> Self {
        let block = object.key_block().expect("a key");
        let Some(KeyValue::Wrapped(bytes)) = &block.key_value else { panic!("not wrapped: {block:?}") };
        Self {
            kind: object.object_type(),
            format: block.key_format_type,
            algorithm: block.cryptographic_algorithm,
            bits: block.cryptographic_length,
            bytes: bytes.0.to_vec(),
        }
    }
}

fn get_wrapped(client: &mut Client<'_>, request: &GetRequest<'_>) -> Result<Packed, Failed> {
    client.call(V1_4, request, |answer| Packed::of(&answer.object))
}

fn asking<'a>(id: &'a str, with: &'a str, how: KeyWrap, encoding: EncodingOption) -> GetRequest<'a> {
    let mut wanted = specification(with);
    wanted.encoding_option = Some(encoding);
    wanted.encryption_key_information.as_mut().expect("given").cryptographic_parameters = Some(mode(name(how)));
    GetRequest { key_wrapping_specification: Some(wanted), ..plainly(id) }
}

/// Format and material of an object in the clear.
fn clear(client: &mut Client<'_>, id: &str, format: Option<KeyFormatType>) -> Result<(KeyFormatType, Vec<u8>), Failed> {
    let request = GetRequest { key_format_type: format, ..plainly(id) };
    client.call(V1_4, &request, |answer| {
        let block = answer.object.key_block().expect("a key");
        let Some(KeyValue::Plain(PlainKeyValue { key_material: KeyMaterial::Bytes(bytes), .. })) = &block.key_value else {
            panic!("not bytes in the clear: {block:?}")
        };
        (block.key_format_type, bytes.0.to_vec())
    })
}

/// An Active key with these bytes for wrapping both ways.
fn wrapper(client: &mut Client<'_>, bits: i32) -> String {
    let id = for_wrapping(client, &key(&WRAPPER), bits);
    client.add(V1_4, &id, A::CryptographicParameters(mode(BlockCipherMode::AESKeyWrapPadding))).expect("it may have several");
    id
}

fn pair(kind: PairKind) -> (Vec<u8>, Vec<u8>) {
    let pair = generate(kind).expect("it is offered");
    (pair.private.expose(<[u8]>::to_vec), pair.public.expose(<[u8]>::to_vec))
}

/// Halves of pairs in formats that have bytes.
fn halves() -> Vec<(ObjectType, KeyFormatType, Vec<u8>)> {
    let mut all = vec![];
    for kind in [PairKind::Rsa { bits: 2048 }, PairKind::Ec(Curve::P256), PairKind::Ec(Curve::P521)] {
        let (private, public) = pair(kind);
        let own = if matches!(kind, PairKind::Rsa { .. }) {
            (KeyFormatType::Pkcs1, PrivateForm::Pkcs1)
        } else {
            (KeyFormatType::ECPrivateKey, PrivateForm::EcPrivateKey)
        };
        for (format, form) in [own, (KeyFormatType::Pkcs8, PrivateForm::Pkcs8)] {
            let bytes = key_form::write_private(&private, form).expect("it can be written so");
            all.push((ObjectType::PrivateKey, format, bytes.expose(<[u8]>::to_vec)));
        }
        let bytes = key_form::write_public(&public, PublicForm::SubjectPublicKeyInfo).expect("it can be written so");
        all.push((ObjectType::PublicKey, KeyFormatType::X509, bytes.expose(<[u8]>::to_vec)));
    }
    all
}

#[test]
fn what_comes_wrapped_in_each_way_is_the_object_that_was_wrapped() {
    let world = World::edge();
    let mut service = world.service();
    let with = wrapper(&mut service, 0x20);
    let mut things = vec![
        (ObjectType::SymmetricKey, KeyFormatType::Raw, KEY.to_vec()),
        (ObjectType::SecretData, KeyFormatType::Opaque, b"a password of no whole blocks".to_vec()),
        (ObjectType::SecretData, KeyFormatType::Raw, b"p".to_vec()),
    ];
    things.extend(halves());
    let mut cases = 0;
    for (kind, format, material) in &things {
        for how in KeyWrap::ALL {
            for encoding in [None, Some(TtlvEncoding), Some(NoEncoding)] {
                let plain = if encoding == Some(NoEncoding) { material.clone() } else { in_ttlv(material, vec![]) };
                if how.wrapped_bytes(plain.len()).is_err() {
                    continue;
                }
                let of_aes = aes(wrap(how, &WRAPPER, &plain));
                let packed = match kind {
                    ObjectType::SymmetricKey => of_aes,
                    _ => Packed { kind: *kind, format: *format, algorithm: None, bits: None, ..of_aes },
                };
                // Without parameters of its own the first of the wrapping key's counts, which is KW.
                for said in [Some(name(how)), None].into_iter().filter(|said| said.is_some() || how == KeyWrap::Kw) {
                    world.take_records();
                    let object = packed.object(data(&with, said, encoding));
                    let id = register(&mut service, V1_4, &registering(object, &[mask(DATA)])).expect("it opens");
                    assert_eq!(world.outcomes(), [(Action::Register, Outcome::Success); 2], "the wrapping key has a record too");
                    assert_eq!(clear(&mut service, &id, None), Ok((*format, material.clone())), "{kind:?} {how:?} {encoding:?}");
                    assert_eq!(service.instances(&id, "Sensitive")[0].1, "Sensitive(false)", "who has the wrapping key has this one");
                    cases += 1;
                }
            }
        }
    }
    // Older versions know the way by other names of its fields only.
    let packed = aes(wrap(KeyWrap::Kw, &WRAPPER, &in_ttlv(&KEY, vec![])));
    register(&mut service, V1_0, &registering(packed.object(data(&with, None, None)), &[])).expect("1.0 has it");
    counted(cases + 1);
}

#[test]
fn what_get_has_wrapped_register_opens_again_for_every_kind_of_key() {
    let world = World::edge();
    let mut service = world.service();
    let with = wrapper(&mut service, BOTH);
    let plain = |kind: ObjectType, format: KeyFormatType, material: &[u8]| {
        let value = |material| KeyBlock {
            key_format_type: format,
            key_compression_type: None,
            key_value: Some(KeyValue::Plain(PlainKeyValue { key_material: KeyMaterial::Bytes(ByteString(material)), attributes: vec![] })),
            cryptographic_algorithm: None,
            cryptographic_length: None,
            key_wrapping_data: None,
        };
        let object = match kind {
            ObjectType::PrivateKey => ManagedObject::PrivateKey(PrivateKey { key_block: value(material) }),
            _ => ManagedObject::PublicKey(PublicKey { key_block: value(material) }),
        };
        register(&mut world.service(), V1_4, &registering(object, &[mask(1), A::Sensitive(true)])).expect("it is kept")
    };
    let mut ids: Vec<(String, Vec<u8>)> = halves().into_iter().map(|(kind, format, bytes)| (plain(kind, format, &bytes), bytes)).collect();
    let sensitive = [mask(DATA), A::Sensitive(true)];
    for thing in [key(&KEY), key(&KEY[..24]), secret(SecretDataType::Password, KeyFormatType::Opaque, b"of odd length")] {
        ids.push((register(&mut service, V1_4, &thing.request(&sensitive)).expect("it is kept"), thing.material));
    }
    let mut cases = 0;
    for (id, material) in &ids {
        assert_eq!(why(service.call(V1_4, &plainly(id), |_| ())), R::Sensitive);
        for (how, encoding) in [(KeyWrap::Kw, TtlvEncoding), (KeyWrap::Kwp, TtlvEncoding), (KeyWrap::Kwp, NoEncoding)] {
            let packed = get_wrapped(&mut service, &asking(id, &with, how, encoding)).expect("so it leaves");
            assert!(!packed.bytes.windows(12).any(|bytes| material.windows(12).any(|own| own == bytes)), "nothing in the clear");
            let object = packed.object(data(&with, Some(name(how)), Some(encoding)));
            let again = register(&mut service, V1_4, &registering(object, &[])).expect("it opens again");
            assert_eq!(clear(&mut service, &again, None).map(|(_, bytes)| bytes).as_ref(), Ok(material), "{how:?} {encoding:?}");
            cases += 1;
        }
    }
    let odd = &ids.last().expect("the password").0;
    assert_eq!(why(get_wrapped(&mut service, &asking(odd, &with, KeyWrap::Kw, NoEncoding))), R::InvalidField, "KW takes whole blocks");
    let rsa = &ids[0].0;
    let mut transparent = asking(rsa, &with, KeyWrap::Kwp, TtlvEncoding);
    transparent.key_format_type = Some(KeyFormatType::TransparentRsaPrivateKey);
    assert_eq!(why(get_wrapped(&mut service, &transparent)), R::KeyFormatTypeNotSupported, "it has no bytes");
    let mut pkcs8 = asking(rsa, &with, KeyWrap::Kwp, NoEncoding);
    pkcs8.key_format_type = Some(KeyFormatType::Pkcs8);
    assert_eq!(get_wrapped(&mut service, &pkcs8).map(|packed| packed.format), Ok(KeyFormatType::Pkcs8), "in the format that is asked for");
    counted(cases + 3);
}

#[test]
fn attributes_that_were_wrapped_with_a_key_come_with_it_and_cannot_be_contradicted() {
    let world = World::edge();
    let mut service = world.service();
    let with = wrapper(&mut service, BOTH);
    let said = [mask(DATA), A::Comment("kept together"), A::Sensitive(true)];
    let id = register(&mut service, V1_4, &key(&KEY).request(&said)).expect("it is kept");
    let mut request = asking(&id, &with, KeyWrap::Kw, TtlvEncoding);
    let names = vec!["Cryptographic Usage Mask", "Comment", "State", "Sensitive", "y-layer", "Unique Identifier"];
    request.key_wrapping_specification.as_mut().expect("given").attribute_names = names;
    let packed = get_wrapped(&mut service, &request).expect("so it leaves");
    let object = || packed.object(data(&with, None, Some(TtlvEncoding)));
    let again = register(&mut service, V1_4, &registering(object(), &[mask(DATA)])).expect("it says what was said before");
    for name in ["Cryptographic Usage Mask", "Comment", "Sensitive"] {
        assert_eq!(service.instances(&again, name), service.instances(&id, name), "{name}");
    }
    let rows = world.store.rows().len();
    for other in [mask(0x30), A::Sensitive(false)] {
        assert_eq!(why(register(&mut service, V1_4, &registering(object(), &[other]))), R::InvalidField);
    }
    assert_eq!(world.store.rows().len(), rows);
}

/// Who may have a key wrapped only must not have it in the clear by bringing it back.
#[test]
fn what_a_key_has_wrapped_that_nobody_has_in_the_clear_is_sensitive_whatever_its_client_says() {
    let world = World::edge();
    let mut service = world.service();
    let made = |service: &mut Client<'_>, more: A<'static>| {
        let mut wish = wish("billing", &[more, A::CryptographicParameters(mode(BlockCipherMode::NISTKeyWrap))]);
        wish[2] = mask(BOTH);
        let id = service.create(V1_4, &wish).expect("a key for keys");
        service.activate(&id).expect("it is new");
        id
    };
    let id = register(&mut service, V1_4, &key(&KEY).request(&[mask(DATA), A::Sensitive(true)])).expect("it is kept");
    for with in [made(&mut service, A::Sensitive(true)), made(&mut service, A::Extractable(false))] {
        let packed = get_wrapped(&mut service, &asking(&id, &with, KeyWrap::Kw, NoEncoding)).expect("so it leaves");
        for more in [vec![], vec![A::Sensitive(false)]] {
            let object = packed.object(data(&with, None, Some(NoEncoding)));
            let again = register(&mut service, V1_4, &registering(object, &[vec![mask(DATA)], more].concat())).expect("it opens");
            assert_eq!(service.instances(&again, "Sensitive")[0].1, "Sensitive(true)");
            assert_eq!(why(get(&mut service, V1_4, &plainly(&again))), R::Sensitive);
            assert_eq!(why(service.modify(V1_4, &again, None, A::Sensitive(false))), R::PermissionDenied);
        }
    }
}

/// ECB and CBC would open what KW has wrapped, block by block.
#[test]
fn no_key_wraps_or_unwraps_that_does_anything_else() {
    let world = World::edge();
    let mut service = world.service();
    let id = register(&mut service, V1_4, &key(&KEY).request(&[mask(DATA), A::Sensitive(true)])).expect("it is kept");
    let packed = aes(wrap(KeyWrap::Kw, &WRAPPER, &KEY));
    let mut cases = 0;
    for bit in (0..20).map(|bit| 1 << bit) {
        let with = wrapper(&mut service, BOTH | bit);
        let rows = world.store.rows().clone();
        world.take_records();
        let left = get_wrapped(&mut service, &asking(&id, &with, KeyWrap::Kw, NoEncoding));
        let object = packed.object(data(&with, None, Some(NoEncoding)));
        let came = register(&mut service, V1_4, &registering(object, &[mask(DATA)]));
        if [0x10, 0x20, 0x40].contains(&bit) {
            assert!(left.is_ok() && came.is_ok(), "{bit:#x}");
        } else {
            assert_eq!((why(left), why(came)), (R::PermissionDenied, R::PermissionDenied), "{bit:#x}");
            let denied = |action| [(action, Outcome::Denied); 2];
            assert_eq!(world.outcomes(), [denied(Action::Get), denied(Action::Register)].concat(), "{bit:#x}");
            assert_eq!(*world.store.rows(), rows, "{bit:#x}");
        }
        cases += 1;
    }
    for (bits, may_wrap) in [(0x10, true), (0x20, false), (0x40, false), (0, false)] {
        let with = wrapper(&mut service, bits);
        let left = get_wrapped(&mut service, &asking(&id, &with, KeyWrap::Kw, NoEncoding));
        let object = packed.object(data(&with, None, Some(NoEncoding)));
        let came = register(&mut service, V1_4, &registering(object, &[mask(DATA)]));
        assert_eq!((left.is_ok(), came.is_ok()), (may_wrap, bits == 0x20), "{bits:#x}");
        cases += 1;
    }
    counted(cases);
}

#[test]
fn a_blob_that_was_cut_changed_or_wrapped_otherwise_is_refused_and_keeps_nothing() {
    let world = World::edge();
    let mut service = world.service();
    let with = wrapper(&mut service, 0x20);
    let other = for_wrapping(&mut service, &key(b"not the same key"), 0x20);
    let mut blobs: Vec<(&str, Vec<u8>)> = vec![];
    let good = wrap(KeyWrap::Kw, &WRAPPER, &KEY);
    for bit in 0..good.len() * 8 {
        let mut flipped = good.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        blobs.push((&with, flipped));
    }
    blobs.extend((0..good.len()).map(|end| (with.as_str(), good[..end].to_vec())));
    blobs.push((&with, [&good[..], &[0; 8]].concat()));
    blobs.push((&with, vec![0; 64 * 1024 + 16]));
    blobs.push((&with, wrap(KeyWrap::Kwp, &WRAPPER, &KEY)));
    blobs.push((&other, good.clone()));
    let rows = world.store.rows().clone();
    for (with, bytes) in &blobs {
        let packed = aes(bytes.clone());
        world.take_records();
        let object = packed.object(data(with, Some(BlockCipherMode::NISTKeyWrap), Some(NoEncoding)));
        let failed = register(&mut service, V1_4, &registering(object, &[mask(DATA)])).expect_err("it does not open");
        assert_eq!(failed.reason, R::CryptographicFailure, "{}", failed.message);
        assert_eq!(failed.message, "the key does not unwrap: it was wrapped by another key or in another way, or was changed since");
        assert_eq!(world.outcomes(), [(Action::Register, Outcome::Refused); 2]);
    }
    assert_eq!(*world.store.rows(), rows, "nothing was stored");
    counted(blobs.len());
}

#[test]
fn a_wrapping_key_that_cannot_unwrap_here_is_refused_by_its_reason() {
    let world = World::edge();
    let mut service = world.service();
    let good = wrapper(&mut service, 0x20);
    let hmac = Thing { algorithm: Some(CryptographicAlgorithm::HmacSha256), bits: Some(128), ..key(&WRAPPER) };
    let hmac = for_wrapping(&mut service, &hmac, 0x20);
    let password = for_wrapping(&mut service, &secret(SecretDataType::Password, KeyFormatType::Raw, &WRAPPER), 0x20);
    let parameters = A::CryptographicParameters(mode(BlockCipherMode::NISTKeyWrap));
    let early = register(&mut service, V1_4, &key(&WRAPPER).request(&[mask(0x20), parameters])).expect("it is kept");
    let bare = register(&mut service, V1_4, &key(&WRAPPER).request(&[mask(0x20)])).expect("it is kept");
    service.activate(&bare).expect("it is new");
    let [ended, leaked, gone, away] = [(); 4].map(|()| wrapper(&mut service, 0x20));
    service.revoke(&ended, RevocationReasonCode::Superseded).expect("it is Active");
    service.revoke(&leaked, RevocationReasonCode::KeyCompromise).expect("it is Active");
    service.revoke(&gone, RevocationReasonCode::Superseded).and_then(|_| service.destroy(&gone)).expect("it goes");
    service.call(V1_0, &ArchiveRequest { unique_identifier: Some(&away) }, |_| ()).expect("it is put away");
    let theirs = wrapper(&mut world.client(Role::Service, "globex", "billing"), 0x20);
    let packed = aes(wrap(KeyWrap::Kw, &WRAPPER, &KEY));
    let kw = Some(BlockCipherMode::NISTKeyWrap);
    let plain = |with| data(with, None, Some(NoEncoding));
    let other = |edit: &dyn Fn(&mut KeyWrappingData<'_>)| {
        let mut data = data(&good, None, Some(NoEncoding));
        edit(&mut data);
        data
    };
    let l3 = "L3-01890a5d-ac96-774b-bcce-b302099a8057";
    let cases: Vec<(&str, KeyWrappingData<'_>, R)> = vec![
        ("nobody's key", plain("01890a5d-ac96-774b-bcce-b302099a8057"), R::ItemNotFound),
        ("no identifier", plain("wrap"), R::ItemNotFound),
        ("another's key", plain(&theirs), R::ItemNotFound),
        ("a core's key", plain(l3), R::PermissionDenied),
        ("an HMAC key", plain(&hmac), R::PermissionDenied),
        ("a password", plain(&password), R::IllegalOperation),
        ("a Pre-Active key", plain(&early), R::PermissionDenied),
        ("a compromised key", plain(&leaked), R::PermissionDenied),
        ("a destroyed key", data(&gone, kw, Some(NoEncoding)), R::PermissionDenied),
        ("an archived key", plain(&away), R::ObjectArchived),
        ("a key without parameters", plain(&bare), R::ItemNotFound),
        ("a mode that wraps nothing", data(&good, Some(BlockCipherMode::Cbc), Some(NoEncoding)), R::FeatureNotSupported),
        ("TTLV that is none", data(&good, kw, Some(TtlvEncoding)), R::EncodingOptionError),
        ("another encoding", data(&good, kw, Some(EncodingOption::Extension(0x8000_0001))), R::EncodingOptionError),
        ("a MAC too", other(&|data| data.wrapping_method = WrappingMethod::EncryptThenMacSign), R::FeatureNotSupported),
        ("a MAC's value", other(&|data| data.mac_signature = Some(ByteString(b"mac"))), R::FeatureNotSupported),
        ("an IV", other(&|data| data.iv_counter_nonce = Some(ByteString(&[0; 8]))), R::InvalidField),
        ("no wrapping key", other(&|data| data.encryption_key_information = None), R::InvalidMessage),
    ];
    let rows = world.store.rows().clone();
    for (case, data, reason) in &cases {
        let request = registering(packed.object(data.clone()), &[mask(DATA)]);
        let failed = register(&mut service, V1_4, &request).expect_err(case);
        assert_eq!(failed.reason, *reason, "{case}: {}", failed.message);
    }
    assert_eq!(*world.store.rows(), rows, "nothing was stored");
    // Given with the key, parameters need not be the wrapping key's own; and one that has ended still opens what it wrapped.
    for (with, how) in [(&bare, kw), (&ended, None)] {
        register(&mut service, V1_4, &registering(packed.object(data(with, how, Some(NoEncoding))), &[])).expect("it opens");
    }
    let short = Packed { bits: Some(128), ..packed.clone() };
    assert_eq!(why(register(&mut service, V1_4, &registering(short.object(plain(&good)), &[]))), R::InvalidField, "it is longer");
    counted(cases.len() + 3);
}

#[test]
fn key_wrap_type_says_whether_the_form_of_the_registration_is_wanted_which_is_kept_only_in_the_clear() {
    let world = World::edge();
    let mut service = world.service();
    let with = wrapper(&mut service, BOTH);
    let packed = aes(wrap(KeyWrap::Kw, &WRAPPER, &KEY));
    let wrapped = register(&mut service, V1_4, &registering(packed.object(data(&with, None, Some(NoEncoding))), &[])).expect("it opens");
    let open = register(&mut service, V1_4, &key(&KEY).request(&[])).expect("it is kept");
    let again = service.rekey(V1_4, &wrapped).expect("it is Pre-Active");
    let mut check = |id: &str, key_wrap_type, expected: Result<(), R>| {
        let (key_wrap_type, request) = (Some(key_wrap_type), plainly(id));
        let got = service.call(V1_4, &GetRequest { key_wrap_type, ..request }, |_| ()).map_err(|failed| failed.reason);
        let export = ExportRequest { unique_identifier: Some(id), key_wrap_type, ..ExportRequest::default() };
        let exported = service.call(V1_4, &export, |_| ()).map_err(|failed| failed.reason);
        assert_eq!((got, exported), (expected, expected), "{key_wrap_type:?}");
    };
    check(&wrapped, KeyWrapType::NotWrapped, Ok(()));
    check(&wrapped, KeyWrapType::AsRegistered, Err(R::FeatureNotSupported));
    check(&again, KeyWrapType::AsRegistered, Ok(()));
    check(&open, KeyWrapType::NotWrapped, Ok(()));
    check(&open, KeyWrapType::AsRegistered, Ok(()));
    check(&open, KeyWrapType::Extension(0x8000_0001), Err(R::FeatureNotSupported));
    let both = GetRequest { key_wrap_type: Some(KeyWrapType::NotWrapped), ..asking(&open, &with, KeyWrap::Kw, NoEncoding) };
    assert_eq!(why(service.call(V1_4, &both, |_| ())), R::FeatureNotSupported, "the one or the other");
    let blob = register(&mut service, V1_4, &opaque(b"no key").request(&[])).expect("it is kept");
    assert_eq!(why(service.call(V1_4, &asking(&blob, &with, KeyWrap::Kwp, NoEncoding), |_| ())), R::FeatureNotSupported);
}
