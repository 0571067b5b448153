//! The client's half against answers of a server, right and wrong ones.

use kmip::ttlv::{ByteString, DateTime, Writer};
use kmip::*;

use ProtocolVersion::{V1_0, V1_1, V1_2, V1_4};

/// A batch of Create, Activate and Encrypt, the latter two on what the first one makes.
fn batch() -> (Sent, Slot<CreateRequest<'static>>, Slot<ActivateRequest<'static>>, Slot<EncryptRequest<'static>>) {
    let mut batch = Batch::new(V1_2);
    batch.on_error(BatchErrorContinuationOption::Undo);
    batch.maximum_response_size(4096);
    let attribute = |value| Attribute { index: None, value };
    let create = CreateRequest {
        object_type: ObjectType::SymmetricKey,
        template_attribute: TemplateAttribute {
            names: vec![],
            attributes: vec![
                attribute(AttributeValue::CryptographicAlgorithm(CryptographicAlgorithm::Aes)),
                attribute(AttributeValue::CryptographicLength(256)),
            ],
        },
    };
    let create = batch.push(&create).expect("1.0 has Create");
    let activate = batch.push(&ActivateRequest::default()).expect("1.0 has Activate");
    let encrypt = EncryptRequest { data: Some(ByteString(b"plaintext")), ..EncryptRequest::default() };
    let encrypt = batch.push(&encrypt).expect("1.2 has Encrypt");
    (batch.finish(), create, activate, encrypt)
}

/// What the server says to each item in turn.
type Says<'a> = &'a dyn Fn(&mut Writer<'_>);

/// An answer to `sent`, item by item, echoing operations and identifiers.
fn answer(sent: &Sent, version: ProtocolVersion, items: &[Says<'_>]) -> Vec<u8> {
    let request = Request::decode(&sent.bytes).expect("the client writes legal requests");
    let mut bytes = vec![];
    let mut out = Writer::new(&mut bytes, version);
    let message = out.open(Tag::RESPONSE_MESSAGE);
    let header = out.open(Tag::RESPONSE_HEADER);
    VersionNumber::from(version).encode(Tag::PROTOCOL_VERSION, &mut out);
    out.date_time(Tag::TIME_STAMP, DateTime(1_700_000_000));
    out.integer(Tag::BATCH_COUNT, i32::try_from(items.len()).expect("few"));
    out.close(header);
    for (says, request) in items.iter().zip(&request.message.items) {
        let item = out.open(Tag::BATCH_ITEM);
        request.operation.encode(Tag::OPERATION, &mut out);
        request.unique_batch_item_id.expect("the client sends one").encode(Tag::UNIQUE_BATCH_ITEM_ID, &mut out);
        says(&mut out);
        out.close(item);
    }
    out.close(message);
    bytes
}

fn success(out: &mut Writer<'_>, payload: &dyn Encode) {
    ResultStatus::Success.encode(Tag::RESULT_STATUS, out);
    payload.encode(Tag::RESPONSE_PAYLOAD, out);
}

fn created(out: &mut Writer<'_>) {
    success(out, &CreateResponse { object_type: ObjectType::SymmetricKey, unique_identifier: "L3-1", template_attribute: None });
}

fn activated(out: &mut Writer<'_>) {
    success(out, &ActivateResponse { unique_identifier: "L3-1" });
}

fn denied(out: &mut Writer<'_>) {
    ResultStatus::OperationFailed.encode(Tag::RESULT_STATUS, out);
    ResultReason::PermissionDenied.encode(Tag::RESULT_REASON, out);
    out.text(Tag::RESULT_MESSAGE, "not yours");
}

#[test]
fn a_batch_says_what_its_header_promises() {
    let (sent, ..) = batch();
    let request = Request::decode(&sent.bytes).expect("the client writes legal requests");
    let header = &request.message.header;
    assert_eq!((header.protocol_version, header.batch_count), (V1_2.into(), 3));
    assert_eq!(header.batch_error_continuation_option, Some(BatchErrorContinuationOption::Undo));
    assert_eq!((header.batch_order_option, header.maximum_response_size), (Some(true), Some(4096)));
    let read = CreateRequest::decode(request.message.items[0].payload, request.rules).expect("the first item is Create");
    assert_eq!(read.template_attribute.attributes[1].value, AttributeValue::CryptographicLength(256));
    assert_eq!(Frames::of_requests(MESSAGE_BYTES_MAX).next(&sent.bytes), Ok(Framing::Message(sent.bytes.len())));
}

#[test]
fn a_single_operation_has_no_batch_options() {
    let mut batch = Batch::new(V1_1);
    batch.on_error(BatchErrorContinuationOption::Continue);
    batch.push(&DiscoverVersionsRequest::default()).expect("1.1 has Discover Versions");
    let sent = batch.finish();
    let request = Request::decode(&sent.bytes).expect("the client writes legal requests");
    assert_eq!(request.message.header.batch_error_continuation_option, None);
    assert_eq!(request.message.header.batch_order_option, None);
}

#[test]
fn an_operation_of_a_later_version_is_not_sent() {
    let refused = Batch::new(V1_0).push(&DiscoverVersionsRequest::default()).err();
    assert_eq!(refused, Some(Error::NotInVersion { field: "Discover Versions", version: V1_0 }));
    assert!(Batch::new(V1_1).push(&EncryptRequest::default()).is_err());
}

#[test]
fn each_answer_comes_out_with_its_own_type() {
    let (sent, create, activate, encrypt) = batch();
    let encrypted = EncryptResponse {
        unique_identifier: "L3-1",
        data: Some(ByteString(b"ciphertext")),
        iv_counter_nonce: None,
        correlation_value: None,
        authentication_tag: None,
    };
    let bytes = answer(&sent, V1_2, &[&created, &activated, &|out| success(out, &encrypted)]);
    let answers = sent.answers(&bytes).expect("it fits");
    assert_eq!(answers.get(&create).expect("created").unique_identifier, "L3-1");
    assert_eq!(answers.get(&activate), Ok(ActivateResponse { unique_identifier: "L3-1" }));
    assert_eq!(answers.get(&encrypt), Ok(encrypted));
}

#[test]
fn a_registered_object_is_known_by_the_answer() {
    for version in ProtocolVersion::ALL {
        let object = OpaqueObject { opaque_data_type: OpaqueDataType::Extension(0x8000_0000), opaque_data_value: ByteString(b"anything") };
        let request = RegisterRequest {
            object_type: ObjectType::OpaqueObject,
            template_attribute: TemplateAttribute::default(),
            object: ManagedObject::OpaqueObject(object),
        };
        let mut batch = Batch::new(version);
        let register = batch.push(&request).expect("1.0 has Register");
        let sent = batch.finish();
        let registered = RegisterResponse { unique_identifier: "L4-1", template_attribute: None };
        let bytes = answer(&sent, version, &[&|out| success(out, &registered)]);
        assert_eq!(sent.answers(&bytes).expect("it fits").get(&register), Ok(registered));
    }
}

#[test]
fn a_failed_operation_is_told_apart_from_one_never_reached() {
    let (sent, create, activate, encrypt) = batch();
    let bytes = answer(&sent, V1_2, &[&created, &denied]);
    let answers = sent.answers(&bytes).expect("a server that stopped answers fewer items");
    assert!(answers.get(&create).is_ok());
    let refused = Error::Refused {
        operation: Some(Operation::Activate),
        status: ResultStatus::OperationFailed,
        reason: Some(ResultReason::PermissionDenied),
        message: "not yours".to_owned(),
    };
    assert_eq!(answers.get(&activate), Err(refused));
    assert_eq!(answers.get(&encrypt), Err(Error::Mismatched { what: "the server stopped before this operation" }));
}

#[test]
fn an_answer_in_another_version_is_refused() {
    let (sent, ..) = batch();
    let bytes = answer(&sent, V1_4, &[&created]);
    assert_eq!(sent.answers(&bytes).err(), Some(Error::Mismatched { what: "it is in another protocol version" }));
}

#[test]
fn an_answer_to_other_operations_is_refused() {
    let (sent, ..) = batch();
    let mut other = Batch::new(V1_2);
    other.push(&ActivateRequest::default()).expect("1.0 has Activate");
    let bytes = answer(&other.finish(), V1_2, &[&activated]);
    assert_eq!(sent.answers(&bytes).err(), Some(Error::Mismatched { what: "it answers another operation" }));
}

#[test]
fn items_in_another_order_are_refused() {
    let mut batch = Batch::new(V1_2);
    for _ in 0..2 {
        batch.push(&ActivateRequest::default()).expect("1.0 has Activate");
    }
    let sent = batch.finish();
    let mut bytes = answer(&sent, V1_2, &[&activated, &activated]);
    let last = bytes.windows(8).rposition(|id| id == 1_u64.to_be_bytes()).expect("the second item's identifier");
    bytes[last + 7] = 9;
    assert_eq!(sent.answers(&bytes).err(), Some(Error::Mismatched { what: "it has another Unique Batch Item ID" }));
}

#[test]
fn a_server_that_could_not_read_the_request_is_heard() {
    let (sent, ..) = batch();
    let unreadable = Unreadable { version: V1_4, error: Error::OtherMajorVersion { major: 2, minor: 0 } };
    let mut bytes = vec![];
    unreadable.answer(DateTime(0), &mut bytes);
    match sent.answers(&bytes).err() {
        Some(Error::Refused { operation: None, reason: Some(ResultReason::InvalidMessage), .. }) => (),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_success_without_its_payload_is_refused() {
    let (sent, create, ..) = batch();
    let bytes = answer(&sent, V1_2, &[&|out| ResultStatus::Success.encode(Tag::RESULT_STATUS, out)]);
    let answers = sent.answers(&bytes).expect("it fits");
    assert_eq!(answers.get(&create).err(), Some(Error::Mismatched { what: "a success without a payload" }));
}

#[test]
fn an_answer_cut_anywhere_is_refused() {
    let (sent, ..) = batch();
    let bytes = answer(&sent, V1_2, &[&created, &activated]);
    for end in 0..bytes.len() {
        assert!(sent.answers(&bytes[..end]).is_err(), "{end} of {} bytes", bytes.len());
    }
}
