//! How XML and JSON say values, and what can be wrong with a text that should be a message.
//!
//! Both are transcoders to and from the bytes of TTLV: nothing here knows a message, only the names in the published tables. A text is
//! read in one pass into an output that stops at the receiver's limit, and an item takes at least as many bytes of text as of TTLV
//! (an empty structure aside, by a factor of two), so a text costs no more memory than its own length and that limit.

use std::borrow::Cow;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use jiff::Timestamp;
use jiff::tz::Offset;

use crate::attribute::AttributeName;
use crate::error::{Error, excerpt};
use crate::names::{bits_of, name_of, tag_named, values_of};
use crate::tag::Tag;
use crate::ttlv::{BigInteger, DateTime, Interval, Item, ItemType, Writer};

/// What is wrong with a text, with the place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {fault}")]
pub struct TextError {
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in bytes.
    pub column: usize,
    /// What it is.
    pub fault: TextFault,
}

/// What can be wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextFault {
    /// It is not what belongs there.
    #[error("there should be {expected}")]
    Malformed {
        /// What should have stood there.
        expected: &'static str,
    },
    /// No field has this name.
    #[error("there is no field {name:?}: use the standard's name in camel case, or 0x and six digits")]
    UnknownField {
        /// The name, cut to 64 characters.
        name: String,
    },
    /// No type of item has this name.
    #[error("there is no item type {name:?}: use Integer, TextString and so on, or leave it out for a Structure")]
    UnknownType {
        /// The name, cut to 64 characters.
        name: String,
    },
    /// No value of an enumeration, or bit of a mask, has this name.
    #[error("{field} has no value {name:?}: use the standard's name in camel case, or 0x and eight digits")]
    UnknownValue {
        /// The field's name in the standard.
        field: &'static str,
        /// The name, cut to 64 characters.
        name: String,
    },
    /// A value that its type cannot have.
    #[error("{field} should be {expected}")]
    Value {
        /// The field's name in the standard.
        field: &'static str,
        /// What its type takes.
        expected: &'static str,
    },
    /// The message would have more bytes in TTLV than its receiver takes.
    #[error("the message has more than {bytes_max} bytes in TTLV: send less at once")]
    TooLong {
        /// The receiver's limit.
        bytes_max: usize,
    },
}

impl TextError {
    /// A fault at this byte of the text.
    pub(crate) fn at(text: &[u8], offset: usize, fault: TextFault) -> Self {
        let before = &text[..offset.min(text.len())];
        let line_begins = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        Self { line: 1 + before.iter().filter(|byte| **byte == b'\n').count(), column: 1 + before.len() - line_begins, fault }
    }
}

/// The fault of something else in a place.
pub(crate) const fn malformed(expected: &'static str) -> TextFault {
    TextFault::Malformed { expected }
}

/// The most structures inside each other, as a fault.
pub(crate) const TOO_DEEP: TextFault = malformed("at most 32 structures inside each other");

/// The tag that is named, or given as 0x and six digits.
pub(crate) fn tag(name: &str) -> Result<Tag, TextFault> {
    let of_number = |number: u64| Tag::of(<[u8; 3]>::try_from(&number.to_be_bytes()[5..]).expect("three bytes"));
    let found = if name.starts_with("0x") { hexadecimal(name, 6).and_then(of_number) } else { tag_named(name) };
    found.ok_or_else(|| TextFault::UnknownField { name: excerpt(name) })
}

/// The type that is named.
pub(crate) fn item_type(name: &str) -> Result<ItemType, TextFault> {
    let found = ItemType::ALL.into_iter().find(|kind| type_name(*kind) == name);
    found.ok_or_else(|| TextFault::UnknownType { name: excerpt(name) })
}

/// The type's name, in camel case.
pub(crate) const fn type_name(kind: ItemType) -> &'static str {
    match kind {
        ItemType::Structure => "Structure",
        ItemType::Integer => "Integer",
        ItemType::LongInteger => "LongInteger",
        ItemType::BigInteger => "BigInteger",
        ItemType::Enumeration => "Enumeration",
        ItemType::Boolean => "Boolean",
        ItemType::TextString => "TextString",
        ItemType::ByteString => "ByteString",
        ItemType::DateTime => "DateTime",
        ItemType::Interval => "Interval",
    }
}

/// The tag's name in camel case, or its number.
pub(crate) fn tag_text(tag: Tag) -> Cow<'static, str> {
    name_of(tag).map_or_else(|| format!("0x{:06x}", tag.number()).into(), Cow::Borrowed)
}

/// Where the names of values come from among the fields of one structure.
///
/// Attribute Value has no list of its own: it is whatever the Attribute Name before it says.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Siblings {
    attribute: Option<Tag>,
}

impl Siblings {
    /// The tag whose list names the values of a field.
    pub(crate) fn list_of(self, tag: Tag) -> Tag {
        if tag == Tag::ATTRIBUTE_VALUE { self.attribute.unwrap_or(tag) } else { tag }
    }

    /// Takes notice of a Text String among the fields.
    pub(crate) fn note(&mut self, tag: Tag, text: &str) {
        if tag == Tag::ATTRIBUTE_NAME {
            self.attribute = AttributeName::of(text).map(|name| name.row().tag);
        }
    }

    /// Takes notice of an item among the fields.
    pub(crate) fn note_item(&mut self, item: &Item<'_>) {
        if let Ok(text) = item.text() {
            self.note(item.tag, text);
        }
    }
}

/// A value as a text says it.
#[derive(Debug)]
pub(crate) enum Said<'t> {
    /// Characters, in JSON between quotes.
    Text(Cow<'t, str>),
    /// A whole number.
    Number(i128),
    /// True or false.
    Boolean(bool),
}

/// Writes a value under its tag, and takes notice of it among its siblings.
pub(crate) fn write(out: &mut Writer<'_>, tag: Tag, kind: ItemType, said: &Said<'_>, siblings: &mut Siblings) -> Result<(), TextFault> {
    let field = tag.name();
    let value = |expected| TextFault::Value { field, expected };
    let list = siblings.list_of(tag);
    match (kind, said) {
        (ItemType::Structure, _) => return Err(value("a Structure, whose fields stand inside it")),
        (ItemType::Integer, Said::Number(number)) => {
            out.integer(tag, i32::try_from(*number).map_err(|_| value("an Integer of 32 bit"))?);
        }
        (ItemType::Integer, Said::Text(text)) => out.integer(tag, integer(text, field, list)?),
        (ItemType::LongInteger, Said::Number(number)) => {
            out.long_integer(tag, i64::try_from(*number).map_err(|_| value("a Long Integer of 64 bit"))?);
        }
        (ItemType::LongInteger, Said::Text(text)) => {
            let number = hexadecimal(text, 16).map(u64::cast_signed).or_else(|| text.parse().ok());
            out.long_integer(tag, number.ok_or_else(|| value("a decimal number of 64 bit, or 0x and 16 digits"))?);
        }
        (ItemType::BigInteger, Said::Number(number)) => {
            let bytes = number.to_be_bytes();
            let fits = i64::try_from(*number).is_ok();
            out.big_integer(tag, BigInteger(if fits { &bytes[8..] } else { &bytes }));
        }
        (ItemType::BigInteger, Said::Text(text)) => {
            let digits = text.strip_prefix("0x").unwrap_or(text).as_bytes();
            let bytes = HEXLOWER_PERMISSIVE.decode(digits).ok().filter(|bytes| !bytes.is_empty() && bytes.len().is_multiple_of(8));
            out.big_integer(tag, BigInteger(&bytes.ok_or_else(|| value("hexadecimal digits, a positive multiple of 16"))?));
        }
        (ItemType::Enumeration, Said::Text(text)) => out.enumeration(tag, enumeration(text, field, list)?),
        (ItemType::Boolean, Said::Boolean(yes)) => out.boolean(tag, *yes),
        (ItemType::Boolean, Said::Text(text)) => match (&**text, hexadecimal(text, 16)) {
            ("true" | "1", _) | (_, Some(1)) => out.boolean(tag, true),
            ("false" | "0", _) | (_, Some(0)) => out.boolean(tag, false),
            _ => return Err(value("true or false")),
        },
        (ItemType::TextString, Said::Text(text)) => {
            siblings.note(tag, text);
            out.text(tag, text);
        }
        (ItemType::ByteString, Said::Text(text)) => {
            let digits = text.as_bytes();
            let bytes = HEXLOWER_PERMISSIVE.decode_len(digits.len()).map_err(|_| value("hexadecimal digits, two a byte"))?;
            out.bytes_with(tag, |out| {
                let begin = out.len();
                out.resize(begin + bytes, 0);
                HEXLOWER_PERMISSIVE.decode_mut(digits, &mut out[begin..]).map_err(|_| value("hexadecimal digits, two a byte"))
            })?;
        }
        (ItemType::DateTime, Said::Text(text)) => {
            let seconds = hexadecimal(text, 16).map(u64::cast_signed).or_else(|| text.parse().ok().map(Timestamp::as_second));
            out.date_time(tag, DateTime(seconds.ok_or_else(|| value("a date and time of ISO 8601 with its zone, or 0x and 16 digits"))?));
        }
        (ItemType::Interval, Said::Number(number)) => {
            out.interval(tag, Interval(u32::try_from(*number).map_err(|_| value("an Interval of 32 bit"))?));
        }
        (ItemType::Interval, Said::Text(text)) => {
            let seconds = hexadecimal(text, 8).and_then(|number| u32::try_from(number).ok()).or_else(|| text.parse().ok());
            out.interval(tag, Interval(seconds.ok_or_else(|| value("a decimal number of seconds, or 0x and 8 digits"))?));
        }
        (ItemType::Enumeration, _) => return Err(value("a name or a hexadecimal number, as text")),
        (ItemType::TextString | ItemType::ByteString | ItemType::DateTime, _) => return Err(value("text")),
        (ItemType::Integer | ItemType::LongInteger | ItemType::BigInteger | ItemType::Interval, Said::Boolean(_)) => {
            return Err(value("a number"));
        }
        (ItemType::Boolean, Said::Number(_)) => return Err(value("true or false")),
    }
    Ok(())
}

/// A decimal or hexadecimal number, or for a mask the names of its bits between spaces or bars.
fn integer(text: &str, field: &'static str, list: Tag) -> Result<i32, TextFault> {
    let decimal = TextFault::Value { field, expected: "a decimal number of 32 bit, or 0x and 8 digits" };
    let of_hexadecimal = |text| hexadecimal(text, 8).and_then(|number| u32::try_from(number).ok());
    if let Some(number) = text.parse().ok().or_else(|| of_hexadecimal(text).map(u32::cast_signed)) {
        return Ok(number);
    }
    let bits = bits_of(list).ok_or(decimal)?;
    let mut mask = 0;
    for name in text.split(|c: char| c == '|' || c.is_whitespace()).filter(|name| !name.is_empty()) {
        let bit = bits.number(name).or_else(|| of_hexadecimal(name));
        mask |= bit.ok_or_else(|| TextFault::UnknownValue { field, name: excerpt(name) })?;
    }
    Ok(mask.cast_signed())
}

/// A name of the field's list, or a hexadecimal number.
fn enumeration(text: &str, field: &'static str, list: Tag) -> Result<u32, TextFault> {
    let number = hexadecimal(text, 8).and_then(|number| u32::try_from(number).ok());
    let number = number.or_else(|| values_of(list).and_then(|names| names.number(text)));
    number.ok_or_else(|| TextFault::UnknownValue { field, name: excerpt(text) })
}

/// The number after 0x, of at most so many digits.
fn hexadecimal(text: &str, digits_max: usize) -> Option<u64> {
    let digits = text.strip_prefix("0x")?;
    let is_number = (1..=digits_max).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_number.then(|| u64::from_str_radix(digits, 16).expect("at most 16 digits"))
}

/// The names of a mask's bits, or `None` if it has none, or some without a name, or is no mask.
pub(crate) fn mask_text(list: Tag, mask: i32, separator: &str) -> Option<String> {
    let bits = bits_of(list).filter(|_| mask != 0)?;
    let set = (0..32).map(|bit| 1 << bit).filter(|bit| mask.cast_unsigned() & bit != 0);
    Some(set.map(|bit| bits.name(bit)).collect::<Option<Vec<_>>>()?.join(separator))
}

/// The name of an enumeration's value, or its number.
pub(crate) fn enumeration_text(list: Tag, number: u32) -> Cow<'static, str> {
    let name = values_of(list).and_then(|names| names.name(number));
    name.map_or_else(|| format!("0x{number:08x}").into(), Cow::Borrowed)
}

/// The time by ISO 8601 in UTC, or its number where the calendar has no year of four digits.
pub(crate) fn date_text(time: DateTime) -> String {
    const YEAR_1: i64 = -62_135_596_800;
    match Timestamp::from_second(time.0) {
        Ok(timestamp) if time.0 >= YEAR_1 => timestamp.display_with_offset(Offset::UTC).to_string(),
        _ => format!("0x{:016x}", time.0),
    }
}

/// Appends bytes as hexadecimal digits; they may be a key, so there is no other copy.
pub(crate) fn push_hexadecimal(out: &mut Vec<u8>, bytes: &[u8]) {
    let begin = out.len();
    out.resize(begin + 2 * bytes.len(), 0);
    HEXLOWER.encode_mut(bytes, &mut out[begin..]);
}

/// How much longer than TTLV a text is expected to be.
pub(crate) const EXPANSION: usize = 4;

/// The one item of a message in TTLV.
pub(crate) fn message(ttlv: &[u8]) -> Result<Item<'_>, Error> {
    let message = Item::only(ttlv)?;
    message.expect(ItemType::Structure)?;
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::ProtocolVersion;

    fn written(tag: Tag, kind: ItemType, said: Said<'_>) -> Result<Vec<u8>, TextFault> {
        let mut bytes = vec![];
        write(&mut Writer::new(&mut bytes, ProtocolVersion::LATEST), tag, kind, &said, &mut Siblings::default())?;
        Ok(bytes)
    }

    /// A text and another way to say the same.
    fn check_same(tag: Tag, kind: ItemType, one: &str, other: &str) {
        let [one, other] = [one, other].map(|text| written(tag, kind, Said::Text(text.into())));
        assert!(one.is_ok(), "{one:?}");
        assert_eq!(one, other);
    }

    fn check_refused(tag: Tag, kind: ItemType, text: &str) {
        let refused = written(tag, kind, Said::Text(text.into()));
        assert!(matches!(refused, Err(TextFault::Value { .. } | TextFault::UnknownValue { .. })), "{text}: {refused:?}");
    }

    #[test]
    fn a_value_can_be_said_by_name_or_by_number() {
        check_same(Tag::BATCH_COUNT, ItemType::Integer, "-1", "0xffffffff");
        check_same(Tag::CRYPTOGRAPHIC_USAGE_MASK, ItemType::Integer, "Encrypt Decrypt CertificateSign", "0x0000100C");
        check_same(Tag::CRYPTOGRAPHIC_USAGE_MASK, ItemType::Integer, "Encrypt|Decrypt", "Decrypt 0x0000004");
        check_same(Tag::CRYPTOGRAPHIC_USAGE_MASK, ItemType::Integer, "", "0");
        check_same(Tag::STORAGE_STATUS_MASK, ItemType::Integer, "OnLineStorage | ArchivalStorage", "3");
        check_same(Tag::USAGE_LIMITS_TOTAL, ItemType::LongInteger, "-2", "0xfffffffffffffffe");
        check_same(Tag::MODULUS, ItemType::BigInteger, "00000000000000FF", "0x00000000000000ff");
        check_same(Tag::OBJECT_TYPE, ItemType::Enumeration, "SymmetricKey", "0x00000002");
        check_same(Tag::BATCH_ORDER_OPTION, ItemType::Boolean, "true", "0x0000000000000001");
        check_same(Tag::BATCH_ORDER_OPTION, ItemType::Boolean, "0", "false");
        check_same(Tag::DATA, ItemType::ByteString, "a1B2", "A1b2");
        check_same(Tag::ACTIVATION_DATE, ItemType::DateTime, "2001-01-01T10:00:00+10:00", "0x000000003a4fc880");
        check_same(Tag::ACTIVATION_DATE, ItemType::DateTime, "1970-01-01T00:00:06Z", "1970-01-01T00:00:06.75+00:00");
        check_same(Tag::LEASE_TIME, ItemType::Interval, "4294967295", "0xFFFFFFFF");
    }

    #[test]
    fn a_value_of_another_type_or_range_is_refused() {
        for text in ["", "2147483648", "0x", "0x123456789", "0x+1", "Encrypt", "1 2", "1.0"] {
            check_refused(Tag::BATCH_COUNT, ItemType::Integer, text);
        }
        for text in ["Encrypt, Decrypt", "encrypt", "Encrypt 4", "0x1ffffffff"] {
            check_refused(Tag::CRYPTOGRAPHIC_USAGE_MASK, ItemType::Integer, text);
        }
        for text in ["", "00", "0x000000000000000g", "00000000000000ff0"] {
            check_refused(Tag::MODULUS, ItemType::BigInteger, text);
        }
        for text in ["", "2", "symmetricKey", "Symmetric Key", "AES", "0x100000000"] {
            check_refused(Tag::OBJECT_TYPE, ItemType::Enumeration, text);
        }
        for text in ["", "True", "2", "0x2"] {
            check_refused(Tag::BATCH_ORDER_OPTION, ItemType::Boolean, text);
        }
        for text in ["a", "0xa1", "a1 b2", "g0"] {
            check_refused(Tag::DATA, ItemType::ByteString, text);
        }
        for text in ["", "2001-01-01", "2001-01-01T10:00:00", "2001-02-30T10:00:00Z", "12"] {
            check_refused(Tag::ACTIVATION_DATE, ItemType::DateTime, text);
        }
        for text in ["-1", "4294967296"] {
            check_refused(Tag::LEASE_TIME, ItemType::Interval, text);
        }
        assert!(written(Tag::BATCH_COUNT, ItemType::Integer, Said::Number(1 << 31)).is_err());
        assert!(written(Tag::BATCH_COUNT, ItemType::Integer, Said::Boolean(true)).is_err());
        assert!(written(Tag::OBJECT_TYPE, ItemType::Enumeration, Said::Number(2)).is_err());
        assert!(written(Tag::DATA, ItemType::ByteString, Said::Number(2)).is_err());
        assert!(written(Tag::ATTRIBUTE, ItemType::Structure, Said::Text("".into())).is_err());
    }

    #[test]
    fn an_attribute_value_is_named_by_the_attribute_name_before_it() {
        let check = |name: &str, is_known: bool| {
            let mut bytes = vec![];
            let mut out = Writer::new(&mut bytes, ProtocolVersion::LATEST);
            let mut siblings = Siblings::default();
            let text = |text: &str| Said::Text(text.to_owned().into());
            write(&mut out, Tag::ATTRIBUTE_NAME, ItemType::TextString, &text(name), &mut siblings).expect("text");
            let value = write(&mut out, Tag::ATTRIBUTE_VALUE, ItemType::Enumeration, &text("AES"), &mut siblings);
            assert_eq!(value.is_ok(), is_known, "{name}: {value:?}");
        };
        check("Cryptographic Algorithm", true);
        check("Object Type", false);
        check("x-Cryptographic Algorithm", false);
    }

    #[test]
    fn a_tag_has_a_name_or_six_digits() {
        assert_eq!(tag("IVCounterNonce"), Ok(Tag::IV_COUNTER_NONCE));
        assert_eq!(tag("0x42003d"), Ok(Tag::IV_COUNTER_NONCE));
        assert_eq!(tag_text(Tag::of([0x54, 0, 1]).expect("an extension")), "0x540001");
        for name in ["", "IV/Counter/Nonce", "ivCounterNonce", "42003d", "0x430001", "0x000042", "0x"] {
            assert_eq!(tag(name), Err(TextFault::UnknownField { name: name.into() }));
        }
    }

    #[test]
    fn a_time_outside_the_calendar_is_a_number() {
        let check = |seconds, text: &str| assert_eq!(date_text(DateTime(seconds)), text);
        check(6, "1970-01-01T00:00:06+00:00");
        check(-62_135_596_800, "0001-01-01T00:00:00+00:00");
        check(-62_135_596_801, "0xfffffff1886e08ff");
        check(i64::MAX, "0x7fffffffffffffff");
    }

    #[test]
    fn a_fault_is_found_by_line_and_column() {
        let error = TextError::at(b"one\ntwo\nthree", 10, malformed("four"));
        assert_eq!(error.to_string(), "line 3, column 3: there should be four");
    }
}
