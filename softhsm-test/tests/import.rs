//! Objects that come and go at a real edge: exported and imported, wrapped and in the clear, over crashes, and what must not come of it.

use cipher::keywrap::KeyWrap;
use daemon::kmip_client::{KmipClient, KmipError};
use kmip::ttlv::{ByteString, Item, Writer};
use kmip::{
    Attribute, AttributeValue as A, BlockCipherMode, CryptographicAlgorithm, CryptographicParameters, CryptographicUsageMask, Decode,
    DecryptRequest, Encode, EncodingOption, ExportRequest, ExportResponse, GetRequest, ImportRequest, KeyBlock, KeyFormatType, KeyMaterial,
    KeyValue, KeyWrapType, KeyWrappingData, KeyWrappingSpecification, ManagedObject, PlainKeyValue, ProtocolVersion, RegisterRequest,
    ResultReason, RevocationReasonCode, Rules, State, SymmetricKey, Tag, TemplateAttribute, WrappingKeyInformation, WrappingMethod,
};
use softhsm_test::requests::{self, Secret};
use softhsm_test::{Edge, Who};

const WRAPPER: [u8; 32] = *b"what both ends of the road know.";
const KEY: [u8; 32] = *b"thirty-two bytes that were named";

fn refusal<T>(outcome: Result<T, KmipError>) -> ResultReason {
    match outcome {
        Err(KmipError::Kmip(kmip::Error::Refused { reason: Some(reason), .. })) => reason,
        Err(error) => panic!("not a refusal: {error}"),
        Ok(_) => panic!("it was done"),
    }
}

/// What Export answers, as it came.
fn exported(client: &mut KmipClient, id: &str) -> Result<Vec<u8>, KmipError> {
    let answer = client.call(&ExportRequest { unique_identifier: Some(id), ..ExportRequest::default() })?;
    let mut bytes = Vec::new();
    answer.encode(Tag::RESPONSE_PAYLOAD, &mut Writer::new(&mut bytes, ProtocolVersion::V1_4));
    Ok(bytes)
}

fn import(client: &mut KmipClient, id: &str, exported: &[u8], replaces: bool) -> Result<(), KmipError> {
    let item = Item::only(exported).expect("it was written by us");
    let ExportResponse { attributes, object, .. } =
        ExportResponse::decode(item, Rules::of_response(ProtocolVersion::V1_4)).expect("likewise");
    import_as(client, id, object, attributes, replaces)
}

fn import_as(
    client: &mut KmipClient,
    id: &str,
    object: ManagedObject<'_>,
    attributes: Vec<Attribute<'_>>,
    replaces: bool,
) -> Result<(), KmipError> {
    let key_wrap_type = Some(KeyWrapType::NotWrapped);
    let request = ImportRequest { unique_identifier: id, replace_existing: replaces.then_some(true), key_wrap_type, attributes, object };
    let answer = client.call(&request)?;
    assert_eq!(answer.unique_identifier, id);
    Ok(())
}

fn bare(value: A<'_>) -> Attribute<'_> {
    Attribute { index: None, value }
}

fn mask(bits: CryptographicUsageMask) -> Attribute<'static> {
    bare(A::CryptographicUsageMask(bits))
}

/// A key that comes in the clear or, with the wrapping key's identifier, wrapped.
fn key<'a>(bytes: &'a [u8], with: Option<&'a str>) -> ManagedObject<'a> {
    let key_value = match with {
        None => KeyValue::Plain(PlainKeyValue { key_material: KeyMaterial::Bytes(ByteString(bytes)), attributes: Vec::new() }),
        Some(_) => KeyValue::Wrapped(ByteString(bytes)),
    };
    let information = |unique_identifier| WrappingKeyInformation { unique_identifier, cryptographic_parameters: Some(kw()) };
    let key_wrapping_data = with.map(|with| KeyWrappingData {
        wrapping_method: WrappingMethod::Encrypt,
        encryption_key_information: Some(information(with)),
        mac_signature_key_information: None,
        mac_signature: None,
        iv_counter_nonce: None,
        encoding_option: Some(EncodingOption::NoEncoding),
    });
    ManagedObject::SymmetricKey(SymmetricKey {
        key_block: KeyBlock {
            key_format_type: KeyFormatType::Raw,
            key_compression_type: None,
            key_value: Some(key_value),
            cryptographic_algorithm: Some(CryptographicAlgorithm::Aes),
            cryptographic_length: Some(256),
            key_wrapping_data,
        },
    })
}

fn kw() -> CryptographicParameters<'static> {
    CryptographicParameters { block_cipher_mode: Some(BlockCipherMode::NISTKeyWrap), ..CryptographicParameters::default() }
}

fn register(client: &mut KmipClient, object: ManagedObject<'_>, attributes: Vec<Attribute<'_>>) -> Result<String, KmipError> {
    let template_attribute = TemplateAttribute { names: Vec::new(), attributes };
    let answer = client.call(&RegisterRequest { object_type: object.object_type(), template_attribute, object })?;
    Ok(answer.unique_identifier.to_owned())
}

/// An Active wrapping key of these bytes.
fn wrapper(client: &mut KmipClient, bits: CryptographicUsageMask) -> String {
    let id = register(client, key(&WRAPPER, None), vec![mask(bits), bare(A::CryptographicParameters(kw()))]).expect("the edge keeps it");
    requests::activate(client, &id).expect("it is new");
    id
}

fn wrapped_get(client: &mut KmipClient, id: &str, with: &str) -> Result<Vec<u8>, KmipError> {
    let specification = KeyWrappingSpecification {
        wrapping_method: WrappingMethod::Encrypt,
        encryption_key_information: Some(WrappingKeyInformation { unique_identifier: with, cryptographic_parameters: None }),
        mac_signature_key_information: None,
        attribute_names: Vec::new(),
        encoding_option: Some(EncodingOption::NoEncoding),
    };
    let answer = client.call(&GetRequest {
        unique_identifier: Some(id),
        key_wrapping_specification: Some(specification),
        ..GetRequest::default()
    })?;
    match &answer.object.key_block().expect("a key").key_value {
        Some(KeyValue::Wrapped(bytes)) => Ok(bytes.0.to_vec()),
        other => panic!("not wrapped: {other:?}"),
    }
}

/// How many records the edge's log has; all of them verify.
fn records(edge: &Edge) -> u64 {
    let said: serde_json::Value = serde_json::from_str(&edge.ask(&["--json", "audit", "verify"])).expect("it is JSON");
    said["records"].as_u64().expect("a number")
}

#[test]
fn a_key_moves_with_its_past_outlives_a_crash_and_stays_its_service_s_own() {
    let mut edge = Edge::prepared();
    edge.start_both();
    let (mut from, mut to) = (edge.connect(Who::Service), edge.connect(Who::OtherService));
    let id = requests::create(&mut from, "invoices").expect("the service may");
    requests::activate(&mut from, &id).expect("it is new");
    let secret = requests::encrypt(&mut from, &id, b"an invoice".to_vec()).expect("it is Active");
    let moved = exported(&mut from, &id).expect("it is its own");
    assert_eq!(refusal(import(&mut from, &id, &moved, false)), ResultReason::ObjectAlreadyExists);
    assert_eq!(refusal(import(&mut from, &id, &moved, true)), ResultReason::PermissionDenied, "it is Active");
    // The identifier is another tenant's here, and any text might be another server's.
    for name in [&*id, "kms-7/ключ"] {
        assert_eq!(refusal(requests::get(&mut to, name)), ResultReason::ItemNotFound);
        let named = |attribute: &Attribute<'_>| !matches!(attribute.value, A::Name(_));
        let item = Item::only(&moved).expect("it was written by us");
        let answer = ExportResponse::decode(item, Rules::of_response(ProtocolVersion::V1_4)).expect("likewise");
        let attributes = answer.attributes.into_iter().filter(named).collect();
        import_as(&mut to, name, answer.object, attributes, false).expect("nobody's, as far as it is told");
    }
    let check = |from: &mut KmipClient, to: &mut KmipClient| {
        for name in [&*id, "kms-7/ключ"] {
            let secret = Secret { key: name.to_owned(), ..secret.clone() };
            assert_eq!(requests::decrypt(to, &secret).expect("it is the same key"), b"an invoice");
        }
        assert_eq!(requests::decrypt(from, &secret).expect("it is still there"), b"an invoice");
        assert_eq!(requests::look(from, &id).expect("it is there").state, State::Active);
    };
    check(&mut from, &mut to);
    requests::revoke(&mut to, &id, RevocationReasonCode::Superseded).expect("its own");
    requests::destroy(&mut to, &id).expect("it is Deactivated");
    assert_eq!(refusal(import(&mut to, &id, &moved, true)), ResultReason::PermissionDenied, "what was destroyed does not come back");
    check_own(&mut from, &secret);
    let second = "kms-8";
    let attributes = || vec![mask(CryptographicUsageMask::DECRYPT)];
    import_as(&mut to, second, key(&WRAPPER, None), attributes(), false).expect("it is new");
    import_as(&mut to, second, key(&KEY, None), attributes(), true).expect("it is Pre-Active");

    drop((from, to));
    edge.kill();
    edge.start();
    let (mut from, mut to) = (edge.connect(Who::Service), edge.connect(Who::OtherService));
    check_own(&mut from, &secret);
    assert_eq!(requests::get(&mut to, second).expect("it is its own"), KEY, "what was acknowledged");
    assert_eq!(requests::look(&mut to, &id).expect("it is there").state, State::Destroyed);
    assert_eq!(refusal(requests::get(&mut from, second)), ResultReason::ItemNotFound);
    let kept = Secret { key: "kms-7/ключ".to_owned(), ..secret.clone() };
    assert_eq!(requests::decrypt(&mut to, &kept).expect("it is there"), b"an invoice");
    drop((from, to));
    edge.stop_both();
}

fn check_own(client: &mut KmipClient, secret: &Secret) {
    assert_eq!(requests::decrypt(client, secret).expect("nothing was done to it"), secret.plain);
}

#[test]
fn what_was_wrapped_opens_with_its_own_key_alone_and_every_trick_leaves_a_record_and_nothing_else() {
    let mut edge = Edge::prepared();
    edge.start_both();
    let mut client = edge.connect(Who::Service);
    let both = CryptographicUsageMask::WRAP_KEY.with(CryptographicUsageMask::UNWRAP_KEY);
    let data = CryptographicUsageMask::ENCRYPT.with(CryptographicUsageMask::DECRYPT);
    let with = wrapper(&mut client, both);
    let id = register(&mut client, key(&KEY, None), vec![mask(data), bare(A::Sensitive(true))]).expect("the edge keeps it");
    assert_eq!(refusal(requests::get(&mut client, &id)), ResultReason::Sensitive);
    assert_eq!(refusal(exported(&mut client, &id)), ResultReason::Sensitive);
    let blob = wrapped_get(&mut client, &id, &with).expect("so it leaves");
    let mut plain = [0; 32];
    KeyWrap::Kw.unwrap(&WRAPPER, &blob, &mut plain).expect("RFC 3394");
    assert_eq!(plain, KEY);
    // Registered wrapped, it is the same key: one decrypts what the other has encrypted.
    requests::activate(&mut client, &id).expect("it is new");
    let secret = requests::encrypt(&mut client, &id, b"an invoice".to_vec()).expect("it is Active");
    let again = register(&mut client, key(&blob, Some(&with)), vec![mask(data)]).expect("it opens");
    requests::activate(&mut client, &again).expect("it is new");
    assert_eq!(requests::decrypt(&mut client, &Secret { key: again, ..secret.clone() }).expect("it is the same key"), b"an invoice");
    import_as(&mut client, "kms-7", key(&blob, Some(&with)), vec![mask(data), bare(A::State(State::Active))], false).expect("it opens");
    assert_eq!(requests::decrypt(&mut client, &Secret { key: "kms-7".to_owned(), ..secret }).expect("it is the same key"), b"an invoice");

    // A key that is made here, which nobody has in the clear: what it wrapped must not come back in the clear either.
    let sheltered =
        register(&mut client, key(&KEY, None), vec![mask(both), bare(A::CryptographicParameters(kw())), bare(A::Sensitive(true))])
            .expect("the edge keeps it");
    requests::activate(&mut client, &sheltered).expect("it is new");
    let hidden = wrapped_get(&mut client, &id, &sheltered).expect("so it leaves");
    let back = register(&mut client, key(&hidden, Some(&sheltered)), vec![mask(data), bare(A::Sensitive(false))]).expect("it opens");
    assert_eq!(refusal(requests::get(&mut client, &back)), ResultReason::Sensitive);

    // Wrap with a key that also decrypts, and ECB would open what KW has closed.
    let loose = wrapper(&mut client, both.with(data));
    let (wraps, opens) = (CryptographicUsageMask::WRAP_KEY, CryptographicUsageMask::UNWRAP_KEY);
    let (only_wraps, only_opens) = (wrapper(&mut client, wraps), wrapper(&mut client, opens));
    let theirs = wrapper(&mut edge.connect(Who::OtherService), both);
    let before = records(&edge);
    let ecb = CryptographicParameters { block_cipher_mode: Some(BlockCipherMode::Ecb), ..CryptographicParameters::default() };
    let ecb = DecryptRequest {
        unique_identifier: Some(&with),
        cryptographic_parameters: Some(ecb),
        data: Some(ByteString(&blob[..32])),
        ..DecryptRequest::default()
    };
    assert_eq!(refusal(client.call(&ecb)), ResultReason::PermissionDenied, "a wrapping key decrypts nothing");
    assert_eq!(refusal(wrapped_get(&mut client, &id, &loose)), ResultReason::PermissionDenied);
    assert_eq!(refusal(wrapped_get(&mut client, &id, &only_opens)), ResultReason::PermissionDenied);
    assert_eq!(refusal(wrapped_get(&mut client, &id, &theirs)), ResultReason::ItemNotFound);
    let mut flipped = blob.clone();
    flipped[11] ^= 0x20;
    for (with, bytes, reason) in [
        (&loose, &blob[..], ResultReason::PermissionDenied),
        (&only_wraps, &blob[..], ResultReason::PermissionDenied),
        (&theirs, &blob[..], ResultReason::ItemNotFound),
        (&sheltered, &blob[..], ResultReason::CryptographicFailure),
        (&with, &flipped[..], ResultReason::CryptographicFailure),
        (&with, &blob[..32], ResultReason::CryptographicFailure),
        (&with, &blob[..7], ResultReason::CryptographicFailure),
    ] {
        assert_eq!(refusal(register(&mut client, key(bytes, Some(with)), vec![mask(data)])), reason);
        assert_eq!(refusal(import_as(&mut client, "kms-9", key(bytes, Some(with)), vec![mask(data)], false)), reason);
    }
    assert_eq!(refusal(requests::get(&mut client, "kms-9")), ResultReason::ItemNotFound, "nothing was kept");
    // The decryption and the look at what was not kept have one each; the wrapped Gets and the tries to bring something back, two.
    let (alone, with_a_wrapper) = (2, 3 + 2 * 7);
    let grown = records(&edge) - before;
    assert!(grown >= alone + 2 * with_a_wrapper, "each is in the log, with the key that it tried: {grown}");
    drop(client);
    edge.stop_both();
}
