//! What a message may contain in which protocol version, and what its answer then says.

use kmip::ttlv::{BigInteger, ByteString, DateTime, Item, Value, Writer};
use kmip::*;

use ProtocolVersion::{V1_0, V1_1, V1_2, V1_3, V1_4};

/// A request whose header has these fields between Protocol Version and Batch Count, and one Query.
fn request(major: i32, minor: i32, header: impl Fn(&mut Writer<'_>)) -> Vec<u8> {
    message(major, minor, header, |out| query_item(out, |_| ()))
}

fn message(major: i32, minor: i32, header: impl Fn(&mut Writer<'_>), items: impl Fn(&mut Writer<'_>)) -> Vec<u8> {
    written(|out| {
        let message = out.open(Tag::REQUEST_MESSAGE);
        let open = out.open(Tag::REQUEST_HEADER);
        VersionNumber { major, minor }.encode(Tag::PROTOCOL_VERSION, out);
        header(out);
        out.integer(Tag::BATCH_COUNT, 1);
        out.close(open);
        items(out);
        out.close(message);
    })
}

fn query_item(out: &mut Writer<'_>, more: impl Fn(&mut Writer<'_>)) {
    let item = out.open(Tag::BATCH_ITEM);
    Operation::Query.encode(Tag::OPERATION, out);
    QueryRequest { functions: vec![QueryFunction::QueryOperations] }.encode(Tag::REQUEST_PAYLOAD, out);
    more(out);
    out.close(item);
}

fn written(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut bytes = vec![];
    write(&mut Writer::new(&mut bytes, V1_4));
    bytes
}

fn refused(bytes: &[u8]) -> Unreadable {
    Request::decode(bytes).map(|request| request.message).expect_err("this message is not legal")
}

/// Decodes what `write` writes, as a type that borrows nothing.
fn decoded<T>(rules: Rules, write: impl FnOnce(&mut Writer<'_>)) -> Result<T, Error>
where
    T: for<'a> Decode<'a>,
{
    T::decode(Item::only(&written(write)).expect("just written"), rules)
}

// Headers.

#[test]
fn a_plain_request_is_read_in_each_version() {
    for version in ProtocolVersion::ALL {
        let number = VersionNumber::from(version);
        let bytes = request(number.major, number.minor, |_| ());
        let request = Request::decode(&bytes).expect("a legal request");
        assert_eq!((request.rules, request.message.items.len()), (Rules::of(version), 1));
        assert_eq!(request.message.items[0].operation.known_in(version), Some(Operation::Query));
    }
}

#[test]
fn a_field_of_1_4_is_refused_in_an_older_header() {
    for minor in 0..4 {
        let bytes = request(1, minor, |out| out.text(Tag::CLIENT_CORRELATION_VALUE, "order 66"));
        let version = VersionNumber { major: 1, minor }.spoken().expect("spoken here");
        let unreadable = refused(&bytes);
        assert_eq!(unreadable, Unreadable { version, error: Error::NotInVersion { field: "Client Correlation Value", version } });
        assert_eq!(reason(&unreadable.error), ResultReason::InvalidField);
    }
    let bytes = request(1, 4, |out| out.text(Tag::CLIENT_CORRELATION_VALUE, "order 66"));
    let request = Request::decode(&bytes).expect("legal in 1.4");
    assert_eq!(request.message.header.client_correlation_value, Some("order 66"));
}

#[test]
fn an_unknown_field_is_refused_in_a_known_version_and_passed_over_in_a_later_one() {
    let with_it = |minor| request(1, minor, |out| out.text(Tag::of([0x42, 0x01, 0x25]).expect("a tag"), "from 1.5"));
    let unreadable = refused(&with_it(4));
    assert!(matches!(unreadable.error, Error::Unknown { field: "a field that the standard does not name", .. }), "{unreadable:?}");
    assert_eq!(reason(&unreadable.error), ResultReason::InvalidField);
    let bytes = with_it(5);
    let request = Request::decode(&bytes).expect("unknown fields of a later version are no error");
    assert_eq!(request.rules.version, V1_4);
}

#[test]
fn what_is_passed_over_is_still_ttlv() {
    let mut bytes = request(1, 9, |out| out.boolean(Tag::of([0x42, 0x01, 0x25]).expect("a tag"), true));
    let position = bytes.windows(3).position(|tag| tag == [0x42, 0x01, 0x25]).expect("just written");
    bytes[position + 15] = 2;
    assert_eq!(refused(&bytes).error, Error::Malformed { offset: position, expected: "a Boolean of 0 or 1" });
}

#[test]
fn another_major_version_is_answered_in_1_4() {
    for (major, minor) in [(2, 0), (2, 1), (3, 0), (0, 9), (-1, 0)] {
        let unreadable = refused(&request(major, minor, |_| ()));
        assert_eq!(unreadable, Unreadable { version: V1_4, error: Error::OtherMajorVersion { major, minor } });
    }
}

#[test]
fn an_unreadable_request_gets_one_failed_item_without_operation() {
    let unreadable = refused(&request(2, 1, |_| ()));
    let mut bytes = vec![];
    unreadable.answer(DateTime(1_700_000_000), &mut bytes);
    let answer = ResponseMessage::read(&bytes).expect("our own answer");
    assert_eq!(answer.header.protocol_version, V1_4.into());
    assert_eq!(answer.header.time_stamp, DateTime(1_700_000_000));
    let [item] = answer.items.as_slice() else { panic!("one item, not {answer:?}") };
    assert_eq!((item.operation, item.payload), (None, None));
    assert_eq!((item.result_status, item.result_reason), (ResultStatus::OperationFailed, Some(ResultReason::InvalidMessage)));
    assert_eq!(item.result_message, Some("protocol version 2.1 is not spoken here: use 1.0 to 1.4"));
}

#[test]
fn a_field_that_stands_twice_is_refused() {
    let twice = |out: &mut Writer<'_>| {
        out.integer(Tag::MAXIMUM_RESPONSE_SIZE, 1);
        out.integer(Tag::MAXIMUM_RESPONSE_SIZE, 1);
    };
    let unreadable = refused(&request(1, 2, twice));
    assert!(matches!(unreadable.error, Error::Duplicate { field: "Maximum Response Size", .. }), "{unreadable:?}");
    assert_eq!((unreadable.version, reason(&unreadable.error)), (V1_2, ResultReason::InvalidMessage));
    let unreadable = refused(&request(1, 2, |out| out.integer(Tag::BATCH_COUNT, 1)));
    assert!(matches!(unreadable.error, Error::Duplicate { field: "Batch Count", .. }), "{unreadable:?}");
}

#[test]
fn a_field_of_the_wrong_type_is_refused_where_it_stands() {
    let bytes = request(1, 2, |out| out.long_integer(Tag::MAXIMUM_RESPONSE_SIZE, 1));
    // Message and header 8 each, Protocol Version 8 + 2 x 16.
    assert_eq!(refused(&bytes).error, Error::Malformed { offset: 56, expected: "an Integer" });
}

#[test]
fn the_order_of_fields_is_free_but_for_the_version() {
    let bytes = request(1, 4, |out| {
        out.date_time(Tag::TIME_STAMP, DateTime(0));
        out.boolean(Tag::BATCH_ORDER_OPTION, true);
        out.integer(Tag::MAXIMUM_RESPONSE_SIZE, 4096);
    });
    let request = Request::decode(&bytes).expect("order is free");
    assert_eq!(request.message.header.maximum_response_size, Some(4096));
    let version_last = written(|out| {
        let message = out.open(Tag::REQUEST_MESSAGE);
        let header = out.open(Tag::REQUEST_HEADER);
        out.integer(Tag::BATCH_COUNT, 1);
        VersionNumber { major: 1, minor: 0 }.encode(Tag::PROTOCOL_VERSION, out);
        out.close(header);
        query_item(out, |_| ());
        out.close(message);
    });
    let error = Error::Malformed { offset: 8, expected: "a header that begins with Protocol Version" };
    assert_eq!(refused(&version_last), Unreadable { version: V1_4, error });
}

#[test]
fn a_response_is_no_request() {
    let mut bytes = vec![];
    refused(&request(2, 0, |_| ())).answer(DateTime(0), &mut bytes);
    assert_eq!(refused(&bytes).error, Error::Malformed { offset: 0, expected: "a message of the other direction" });
    assert!(ResponseMessage::read(&request(1, 4, |_| ())).is_err());
}

#[test]
fn credentials_are_read_and_not_shown() {
    let bytes = request(1, 0, |out| {
        let authentication = out.open(Tag::AUTHENTICATION);
        let credential = out.open(Tag::CREDENTIAL);
        CredentialType::UsernameAndPassword.encode(Tag::CREDENTIAL_TYPE, out);
        let value = out.open(Tag::CREDENTIAL_VALUE);
        out.text(Tag::USERNAME, "radosgw");
        out.text(Tag::PASSWORD, "hunter2");
        out.close(value);
        out.close(credential);
        out.close(authentication);
    });
    let request = Request::decode(&bytes).expect("Ceph's header");
    let credentials = &request.message.header.authentication.as_ref().expect("it was there").credentials;
    assert_eq!(credentials[0].credential_type, CredentialType::UsernameAndPassword);
    assert!(!format!("{request:?}").contains("hunter2"));
}

// Batches.

#[test]
fn the_batch_count_has_to_be_true() {
    let none = message(1, 4, |_| (), |_| ());
    assert!(matches!(refused(&none).error, Error::Missing { field: "Batch Item", .. }));
    let two = message(1, 4, |_| (), |out| (0..2).for_each(|_| query_item(out, |_| ())));
    assert!(matches!(refused(&two).error, Error::Invalid { field: "Batch Count", .. }));
}

#[test]
fn a_batch_has_at_most_64_items() {
    let error = |items: usize| {
        let bytes = message(1, 4, |_| (), |out| (0..items).for_each(|_| query_item(out, |_| ())));
        refused(&bytes).error
    };
    assert!(matches!(error(BATCH_ITEMS_MAX), Error::Invalid { field: "Batch Count", .. }), "64 are fine, but the count says 1");
    assert!(matches!(error(BATCH_ITEMS_MAX + 1), Error::TooMany { field: "Batch Item", most: 64, .. }));
}

#[test]
fn an_unknown_operation_leaves_the_message_readable() {
    for (number, version, known) in [(0x99, V1_4, None), (0x1F, V1_1, None), (0x1F, V1_2, Some(Operation::Encrypt)), (0x2A, V1_3, None)] {
        assert_eq!(OperationNumber(number).known_in(version), known);
    }
    let bytes = message(
        1,
        4,
        |_| (),
        |out| {
            let item = out.open(Tag::BATCH_ITEM);
            out.enumeration(Tag::OPERATION, 0x99);
            out.bytes(Tag::UNIQUE_BATCH_ITEM_ID, ByteString(b"7"));
            let payload = out.open(Tag::REQUEST_PAYLOAD);
            out.text(Tag::of([0x54, 0, 1]).expect("an extension's tag"), "whatever");
            out.close(payload);
            out.close(item);
        },
    );
    let request = Request::decode(&bytes).expect("the payload is not looked at yet");
    assert_eq!(request.message.items[0].unique_batch_item_id, Some(ByteString(b"7")));
}

#[test]
fn a_critical_extension_is_refused_and_another_passed_over() {
    let with_extension = |critical| {
        message(
            1,
            4,
            |_| (),
            |out| {
                query_item(out, |out| {
                    let extension = out.open(Tag::MESSAGE_EXTENSION);
                    out.text(Tag::VENDOR_IDENTIFICATION, "Acme");
                    out.boolean(Tag::CRITICALITY_INDICATOR, critical);
                    let contents = out.open(Tag::VENDOR_EXTENSION);
                    out.close(contents);
                    out.close(extension);
                });
            },
        )
    };
    assert!(Request::decode(&with_extension(false)).is_ok());
    let unreadable = refused(&with_extension(true));
    assert_eq!(unreadable.error, Error::CriticalExtension { vendor: "Acme".to_owned() });
    assert_eq!(reason(&unreadable.error), ResultReason::FeatureNotSupported);
}

// Payloads.

#[test]
fn a_value_of_a_later_version_is_refused() {
    let check = |function: QueryFunction, version, legal: bool| {
        let write = |out: &mut Writer<'_>| QueryRequest { functions: vec![function] }.encode(Tag::REQUEST_PAYLOAD, out);
        let read = decoded::<QueryRequest>(Rules::of(version), write);
        assert_eq!(read.is_ok(), legal, "{function:?} in {version}: {read:?}");
    };
    check(QueryFunction::QueryOperations, V1_0, true);
    check(QueryFunction::QueryExtensionMap, V1_0, false);
    check(QueryFunction::QueryExtensionMap, V1_1, true);
    check(QueryFunction::QueryProfiles, V1_2, false);
    check(QueryFunction::QueryProfiles, V1_3, true);
    check(QueryFunction::Extension(0x8000_0005), V1_0, true);
}

#[test]
fn a_query_without_functions_is_refused() {
    let empty = |out: &mut Writer<'_>| QueryRequest { functions: vec![] }.encode(Tag::REQUEST_PAYLOAD, out);
    let missing = Error::Missing { offset: 0, field: "Query Function" };
    assert_eq!(decoded::<QueryRequest>(Rules::of(V1_4), empty), Err(missing));
}

#[test]
fn a_field_repeats_at_most_1024_times() {
    for (times, legal) in [(1024, true), (1025, false)] {
        let versions = vec![VersionNumber { major: 1, minor: 4 }; times];
        let write = |out: &mut Writer<'_>| DiscoverVersionsRequest { versions }.encode(Tag::REQUEST_PAYLOAD, out);
        assert_eq!(decoded::<DiscoverVersionsRequest>(Rules::of(V1_4), write).is_ok(), legal, "{times} times");
    }
}

#[test]
fn an_answer_leaves_out_what_its_version_does_not_have() {
    let answer = EncryptResponse {
        unique_identifier: "L3-1",
        data: Some(ByteString(b"ciphertext")),
        iv_counter_nonce: Some(ByteString(b"nonce")),
        correlation_value: Some(ByteString(b"c")),
        authentication_tag: Some(ByteString(b"tag")),
    };
    let fields = |version| {
        let mut bytes = vec![];
        answer.encode(Tag::RESPONSE_PAYLOAD, &mut Writer::new(&mut bytes, version));
        let mut fields = Item::only(&bytes).and_then(|item| item.fields()).expect("just written");
        std::iter::from_fn(|| fields.next_item().expect("just written").map(|field| field.tag)).collect::<Vec<_>>()
    };
    let all = [Tag::UNIQUE_IDENTIFIER, Tag::DATA, Tag::IV_COUNTER_NONCE, Tag::CORRELATION_VALUE, Tag::AUTHENTICATED_ENCRYPTION_TAG];
    assert_eq!(fields(V1_2), all[..3]);
    assert_eq!(fields(V1_3), all[..4]);
    assert_eq!(fields(V1_4), all);
}

// Attributes.

fn attribute(rules: Rules, name: &str, write: impl FnOnce(&mut Writer<'_>), run: impl FnOnce(Result<Attribute<'_>, Error>)) {
    let bytes = written(|out| {
        let open = out.open(Tag::ATTRIBUTE);
        out.text(Tag::ATTRIBUTE_NAME, name);
        write(out);
        out.close(open);
    });
    run(Attribute::decode(Item::only(&bytes).expect("just written"), rules));
}

/// Where the value begins when the name takes `name_bytes`.
fn value_offset(name: &str) -> usize {
    16 + name.len().next_multiple_of(8)
}

#[test]
fn a_standard_attribute_of_another_type_is_refused_by_name() {
    for name in AttributeName::ALL.iter().map(|name| name.row().name) {
        // No attribute of the standard is a Big Integer.
        let write = |out: &mut Writer<'_>| out.big_integer(Tag::ATTRIBUTE_VALUE, BigInteger(&[0; 8]));
        attribute(Rules::of(V1_4), name, write, |read| match read {
            Err(Error::Invalid { offset, field, .. }) => assert_eq!((offset, field), (value_offset(name), name)),
            other => panic!("{name}: {other:?}"),
        });
    }
    let text = |out: &mut Writer<'_>| out.text(Tag::ATTRIBUTE_VALUE, "256");
    let error = Error::Invalid { offset: 40, field: "Cryptographic Length", why: "its value is an Integer" };
    attribute(Rules::of(V1_4), "Cryptographic Length", text, |read| assert_eq!(read, Err(error)));
}

#[test]
fn an_attribute_of_a_later_version_is_refused_and_never_sent() {
    let write = |out: &mut Writer<'_>| out.boolean(Tag::ATTRIBUTE_VALUE, true);
    let error = Error::NotInVersion { field: "Sensitive", version: V1_3 };
    attribute(Rules::of(V1_3), "Sensitive", write, |read| assert_eq!(read, Err(error)));
    let attribute = |value| Attribute { index: None, value };
    let answer = GetAttributesResponse {
        unique_identifier: "1",
        attributes: vec![
            attribute(AttributeValue::Sensitive(true)),
            attribute(AttributeValue::State(State::Active)),
            // The attribute is of 1.0, its value of 1.4.
            attribute(AttributeValue::CryptographicAlgorithm(CryptographicAlgorithm::ChaCha20)),
            attribute(AttributeValue::Link(Link { link_type: Some(LinkType::ParentLink), linked_object_identifier: Some("2") })),
        ],
    };
    for (version, names) in
        [(V1_0, &["State"][..]), (V1_2, &["State", "Link"]), (V1_4, &["Sensitive", "State", "Cryptographic Algorithm", "Link"])]
    {
        let mut bytes = vec![];
        answer.encode(Tag::RESPONSE_PAYLOAD, &mut Writer::new(&mut bytes, version));
        let item = Item::only(&bytes).expect("just written");
        let read = GetAttributesResponse::decode(item, Rules::of_response(version)).expect("legal in its version");
        assert_eq!(read.attributes.iter().map(|attribute| attribute.value.name()).collect::<Vec<_>>(), names, "{version}");
    }
}

#[test]
fn a_name_that_is_neither_standard_nor_custom_is_refused() {
    for name in ["", "name", "Name ", "X-Product", "z-layer", "x", "-x"] {
        let write = |out: &mut Writer<'_>| out.text(Tag::ATTRIBUTE_VALUE, "v");
        attribute(Rules::of(V1_4), name, write, |read| {
            assert_eq!(read, Err(Error::UnknownAttribute { offset: value_offset(name), name: name.to_owned() }));
        });
    }
    let long = "n".repeat(10_000);
    attribute(
        Rules::of(V1_4),
        &long,
        |out| out.text(Tag::ATTRIBUTE_VALUE, "v"),
        |read| {
            assert!(read.expect_err("unknown").to_string().len() < 200, "an error does not repeat a long name");
        },
    );
}

#[test]
fn a_custom_attribute_has_any_type_but_no_nested_structure() {
    let check = |legal: bool, write: &dyn Fn(&mut Writer<'_>)| {
        let write = |out: &mut Writer<'_>| {
            let value = out.open(Tag::ATTRIBUTE_VALUE);
            write(out);
            out.close(value);
        };
        attribute(Rules::of(V1_0), "x-Vendor", write, |read| match read {
            Ok(Attribute { value: AttributeValue::Custom("x-Vendor", Value::Structure(_)), .. }) => assert!(legal),
            Err(Error::Invalid { field: "Custom Attribute", .. }) => assert!(!legal),
            other => panic!("{other:?}"),
        });
    };
    check(true, &|_| ());
    check(true, &|out| out.text(Tag::USERNAME, "flat"));
    check(false, &|out| {
        let inner = out.open(Tag::NAME);
        out.close(inner);
    });
}

#[test]
fn an_attribute_says_its_name_and_its_value_once() {
    let error = |write: &dyn Fn(&mut Writer<'_>)| {
        let bytes = written(|out| {
            let open = out.open(Tag::ATTRIBUTE);
            write(out);
            out.close(open);
        });
        Attribute::decode(Item::only(&bytes).expect("just written"), Rules::of(V1_4)).expect_err("not an attribute")
    };
    let name = |out: &mut Writer<'_>| out.text(Tag::ATTRIBUTE_NAME, "Comment");
    let value = |out: &mut Writer<'_>| out.text(Tag::ATTRIBUTE_VALUE, "v");
    assert!(matches!(error(&|_| ()), Error::Missing { field: "Attribute Name", .. }));
    assert!(matches!(error(&value), Error::Missing { field: "Attribute Name", .. }));
    assert!(matches!(error(&name), Error::Missing { field: "Attribute Value", .. }));
    assert!(matches!(error(&|out| [name, name].iter().for_each(|write| write(out))), Error::Duplicate { field: "Attribute Name", .. }));
    let two_values = |out: &mut Writer<'_>| {
        name(out);
        value(out);
        value(out);
    };
    assert!(matches!(error(&two_values), Error::Duplicate { field: "Attribute Value", .. }));
    let negative_index = |out: &mut Writer<'_>| {
        name(out);
        out.integer(Tag::ATTRIBUTE_INDEX, -1);
        value(out);
    };
    assert!(matches!(error(&negative_index), Error::Invalid { field: "Attribute Index", .. }));
}

#[test]
fn only_locate_names_part_of_a_structure() {
    let link = |out: &mut Writer<'_>| {
        let value = out.open(Tag::ATTRIBUTE_VALUE);
        out.text(Tag::LINKED_OBJECT_IDENTIFIER, "L3-1");
        out.close(value);
    };
    attribute(Rules::of(V1_4), "Link", link, |read| {
        assert_eq!(read, Err(Error::Missing { offset: value_offset("Link"), field: "Link Type" }));
    });
    attribute(Rules::of(V1_4).locating(), "Link", link, |read| {
        let value = AttributeValue::Link(Link { link_type: None, linked_object_identifier: Some("L3-1") });
        assert_eq!(read, Ok(Attribute { index: None, value }));
    });
}
