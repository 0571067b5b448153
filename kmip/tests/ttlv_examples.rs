//! The encoding examples of section 9.1.2, byte for byte.

use kmip::ttlv::{BigInteger, ByteString, DateTime, Interval, Item, Value, Writer};
use kmip::{ProtocolVersion, Tag};

/// The tag that all examples use.
const TAG: Tag = Tag::COMPROMISE_DATE;

fn written(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut bytes = vec![];
    write(&mut Writer::new(&mut bytes, ProtocolVersion::V1_0));
    bytes
}

/// The bytes of an example as the standard prints them.
fn bytes(example: &str) -> Vec<u8> {
    example.split([' ', '|']).filter(|byte| !byte.is_empty()).map(|byte| u8::from_str_radix(byte, 16).expect("hex")).collect()
}

fn check(value: Value<'_>, example: &str) {
    let example = bytes(example);
    assert_eq!(written(|out| value.write(TAG, out)), example, "{value:?}");
    let item = Item::only(&example).expect("an example of the standard");
    assert_eq!((item.tag, Value::read(item)), (TAG, Ok(value)));
}

#[test]
fn an_integer_is_encoded_as_in_the_standard() {
    check(Value::Integer(8), "42 00 20 | 02 | 00 00 00 04 | 00 00 00 08 00 00 00 00");
}

#[test]
fn a_long_integer_is_encoded_as_in_the_standard() {
    check(Value::LongInteger(123_456_789_000_000_000), "42 00 20 | 03 | 00 00 00 08 | 01 B6 9B 4B A5 74 92 00");
}

#[test]
fn a_big_integer_is_encoded_as_in_the_standard() {
    let value = 1_234_567_890_000_000_000_000_000_000_i128.to_be_bytes();
    check(Value::BigInteger(BigInteger(&value)), "42 00 20 | 04 | 00 00 00 10 | 00 00 00 00 03 FD 35 EB 6B C2 DF 46 18 08 00 00");
}

#[test]
fn an_enumeration_is_encoded_as_in_the_standard() {
    check(Value::Enumeration(255), "42 00 20 | 05 | 00 00 00 04 | 00 00 00 FF 00 00 00 00");
}

#[test]
fn a_boolean_is_encoded_as_in_the_standard() {
    check(Value::Boolean(true), "42 00 20 | 06 | 00 00 00 08 | 00 00 00 00 00 00 00 01");
}

#[test]
fn a_text_string_is_encoded_as_in_the_standard() {
    check(Value::TextString("Hello World"), "42 00 20 | 07 | 00 00 00 0B | 48 65 6C 6C 6F 20 57 6F 72 6C 64 00 00 00 00 00");
}

#[test]
fn a_byte_string_is_encoded_as_in_the_standard() {
    check(Value::ByteString(ByteString(&[1, 2, 3])), "42 00 20 | 08 | 00 00 00 03 | 01 02 03 00 00 00 00 00");
}

#[test]
fn a_date_time_is_encoded_as_in_the_standard() {
    check(Value::DateTime(DateTime(1_205_495_800)), "42 00 20 | 09 | 00 00 00 08 | 00 00 00 00 47 DA 67 F8");
}

#[test]
fn an_interval_is_encoded_as_in_the_standard() {
    check(Value::Interval(Interval(10 * 24 * 60 * 60)), "42 00 20 | 0A | 00 00 00 04 | 00 0D 2F 00 00 00 00 00");
}

#[test]
fn a_structure_is_encoded_as_in_the_standard() {
    let example = bytes(
        "42 00 20 | 01 | 00 00 00 20 | 42 00 04 | 05 | 00 00 00 04 | 00 00 00 FE 00 00 00 00 \
         | 42 00 05 | 02 | 00 00 00 04 | 00 00 00 FF 00 00 00 00",
    );
    let ours = written(|out| {
        let open = out.open(TAG);
        out.enumeration(Tag::APPLICATION_SPECIFIC_INFORMATION, 254);
        out.integer(Tag::ARCHIVE_DATE, 255);
        out.close(open);
    });
    assert_eq!(ours, example);
    let mut fields = Item::only(&example).and_then(|item| item.fields()).expect("an example of the standard");
    let mut next = || fields.next_item().expect("an example of the standard");
    assert_eq!(next().map(|field| field.enumeration()), Some(Ok(254)));
    assert_eq!(next().map(|field| field.integer()), Some(Ok(255)));
    assert!(next().is_none());
}
