//! KMIP in JSON: messages to and from the bytes of TTLV, as the profiles' JSON encoding says them.
//!
//! ```text
//! {"tag": "BatchCount", "type": "Integer", "value": 1}      the type may be left out of a Structure
//! {"tag": "RequestHeader", "value": [{...}, {...}]}         whose value are its fields
//! {"tag": "0x540001", "type": "Boolean", "value": true}     any tag
//! ```
//!
//! The three may stand in any order, so a structure is written before its tag is known, and gets it at its end.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;

use crate::error::Error;
use crate::tag::Tag;
use crate::text::{
    EXPANSION, Said, Siblings, TOO_DEEP, TextError, TextFault, date_text, enumeration_text, item_type, malformed, mask_text, message,
    push_hexadecimal, tag, tag_text, type_name, write as write_value,
};
use crate::ttlv::{DEPTH_MAX, Item, ItemType, Writer};
use crate::version::ProtocolVersion;

/// Whole numbers from here on are not exact in every reader of JSON, so they are said as hexadecimal text.
const EXACT_MAX: u64 = 1 << 52;

/// Reads a message of at most `bytes_max` in TTLV.
///
/// # Errors
/// The first thing that is wrong with the text. Nothing of a value is in it but names that are none.
pub fn read(text: &[u8], bytes_max: usize) -> Result<Vec<u8>, TextError> {
    let mut ttlv = Vec::with_capacity(bytes_max.min(text.len()));
    let out = Writer::new(&mut ttlv, ProtocolVersion::LATEST);
    let mut document = Document { out, bytes_max, fault: None };
    let mut reader = serde_json::Deserializer::from_slice(text);
    let item = ItemSeed { document: &mut document, depth: 0, siblings: &mut Siblings::default() };
    match item.deserialize(&mut reader).and_then(|()| reader.end()) {
        Ok(()) => Ok(ttlv),
        Err(error) => {
            let fault = document.fault.unwrap_or(malformed(what_json_wants(&error)));
            Err(TextError { line: error.line(), column: error.column(), fault })
        }
    }
}

fn what_json_wants(error: &serde_json::Error) -> &'static str {
    match error.classify() {
        Category::Eof => "a whole message",
        Category::Data => "an object with tag, type and value",
        Category::Io | Category::Syntax => "well-formed JSON, and nothing after the message",
    }
}

/// A message under construction.
struct Document<'o> {
    out: Writer<'o>,
    bytes_max: usize,
    /// What was found wrong: the library's errors have room for words only.
    fault: Option<TextFault>,
}

impl Document<'_> {
    fn refuse<E: serde::de::Error>(&mut self, fault: TextFault) -> E {
        self.fault = Some(fault);
        E::custom("refused")
    }
}

/// Reads one item into the document.
struct ItemSeed<'s, 'o> {
    document: &'s mut Document<'o>,
    /// Structures around it.
    depth: usize,
    siblings: &'s mut Siblings,
}

impl<'de> DeserializeSeed<'de> for ItemSeed<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ItemSeed<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an item")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { document, depth, siblings } = self;
        let begins = document.out.position();
        let (mut named, mut typed, mut value) = (None, None, None);
        while let Some(Text(key)) = map.next_key()? {
            match &*key {
                "tag" if named.is_none() => {
                    let Text(name) = map.next_value()?;
                    named = Some(tag(&name).map_err(|fault| document.refuse(fault))?);
                }
                "type" if typed.is_none() => {
                    let Text(name) = map.next_value()?;
                    typed = Some(item_type(&name).map_err(|fault| document.refuse(fault))?);
                }
                "value" if value.is_none() => value = Some(map.next_value_seed(ValueSeed { document, depth })?),
                // For people.
                "name" => drop(map.next_value::<Text<'_>>()?),
                _ => return Err(document.refuse(malformed("tag, type and value, each once"))),
            }
        }
        let Some(tag) = named else { return Err(document.refuse(malformed("a tag in each item"))) };
        let kind = typed.unwrap_or(ItemType::Structure);
        let done = match value {
            None => Err(TextFault::Value { field: tag.name(), expected: "given as value" }),
            Some(Value::Fields) if kind == ItemType::Structure => {
                document.out.set_tag(begins, tag);
                Ok(())
            }
            Some(Value::Fields) => Err(TextFault::Value { field: tag.name(), expected: "no list, which a Structure has" }),
            Some(Value::Said(_)) if depth == 0 => Err(malformed("a message, which is a Structure")),
            Some(Value::Said(said)) => write_value(&mut document.out, tag, kind, &said, siblings),
        };
        done.map_err(|fault| document.refuse(fault))?;
        document.check_length()
    }
}

impl Document<'_> {
    fn check_length<E: serde::de::Error>(&mut self) -> Result<(), E> {
        let bytes_max = self.bytes_max;
        if self.out.position() > bytes_max { Err(self.refuse(TextFault::TooLong { bytes_max })) } else { Ok(()) }
    }
}

/// What stands under `value`.
enum Value<'de> {
    /// The fields of a structure; they are written, without its tag.
    Fields,
    /// Anything else.
    Said(Said<'de>),
}

/// Reads a value; fields go into the document.
struct ValueSeed<'s, 'o> {
    document: &'s mut Document<'o>,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_, '_> {
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value<'de>, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_, '_> {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut fields: A) -> Result<Value<'de>, A::Error> {
        let Self { document, depth } = self;
        if depth >= DEPTH_MAX {
            return Err(document.refuse(TOO_DEEP));
        }
        // Any tag, until the item's own is known.
        let open = document.out.open(Tag::ATTRIBUTE_VALUE);
        document.check_length()?;
        let mut siblings = Siblings::default();
        while fields.next_element_seed(ItemSeed { document, depth: depth + 1, siblings: &mut siblings })?.is_some() {}
        document.out.close(open);
        Ok(Value::Fields)
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, text: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::Said(Said::Text(Cow::Borrowed(text))))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Value<'de>, E> {
        Ok(Value::Said(Said::Text(Cow::Owned(text.to_owned()))))
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Value<'de>, E> {
        Ok(Value::Said(Said::Number(number.into())))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Value<'de>, E> {
        Ok(Value::Said(Said::Number(number.into())))
    }

    fn visit_bool<E: serde::de::Error>(self, yes: bool) -> Result<Value<'de>, E> {
        Ok(Value::Said(Said::Boolean(yes)))
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<Value<'de>, E> {
        Err(self.document.refuse(malformed("a whole number of at most 64 bit")))
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Value<'de>, E> {
        Err(self.document.refuse(malformed("a value other than null")))
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Value<'de>, A::Error> {
        Err(self.document.refuse(malformed("a list of items, text, a number or a Boolean")))
    }
}

/// A text, borrowed if it has no escapes.
struct Text<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct Characters;
        impl<'de> Visitor<'de> for Characters {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text")
            }

            fn visit_borrowed_str<E: serde::de::Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        reader.deserialize_str(Characters)
    }
}

/// Writes a message given in TTLV.
///
/// # Errors
/// The bytes are no message in TTLV.
pub fn write(ttlv: &[u8]) -> Result<Vec<u8>, Error> {
    let mut text = Vec::with_capacity(ttlv.len() * EXPANSION);
    item(message(ttlv)?, &mut text, &mut Siblings::default())?;
    Ok(text)
}

fn item(item_: Item<'_>, out: &mut Vec<u8>, siblings: &mut Siblings) -> Result<(), Error> {
    push(out, &["{\"tag\":\"", &tag_text(item_.tag), "\","]);
    if item_.kind != ItemType::Structure {
        push(out, &["\"type\":\"", type_name(item_.kind), "\",\"value\":"]);
        value(item_, out, siblings.list_of(item_.tag))?;
        siblings.note_item(&item_);
        push(out, &["}"]);
        return Ok(());
    }
    push(out, &["\"value\":["]);
    let (mut fields, mut inside, mut separator) = (item_.fields()?, Siblings::default(), "");
    while let Some(field) = fields.next_item()? {
        push(out, &[std::mem::replace(&mut separator, ",")]);
        item(field, out, &mut inside)?;
    }
    push(out, &["]}"]);
    Ok(())
}

fn value(item: Item<'_>, out: &mut Vec<u8>, list: Tag) -> Result<(), Error> {
    match item.kind {
        ItemType::Structure => {}
        ItemType::Integer => {
            let number = item.integer()?;
            match mask_text(list, number, "|") {
                Some(names) => push(out, &["\"", &names, "\""]),
                None => push(out, &[&number.to_string()]),
            }
        }
        ItemType::LongInteger => {
            let number = item.long_integer()?;
            if number.unsigned_abs() < EXACT_MAX {
                push(out, &[&number.to_string()]);
            } else {
                push(out, &["\"", &format!("0x{number:016x}"), "\""]);
            }
        }
        ItemType::BigInteger => {
            push(out, &["\"0x"]);
            push_hexadecimal(out, item.big_integer()?.0);
            push(out, &["\""]);
        }
        ItemType::Enumeration => push(out, &["\"", &enumeration_text(list, item.enumeration()?), "\""]),
        ItemType::Boolean => push(out, &[if item.boolean()? { "true" } else { "false" }]),
        ItemType::TextString => serde_json::to_writer(out, item.text()?).expect("text goes into a buffer"),
        ItemType::ByteString => {
            push(out, &["\""]);
            push_hexadecimal(out, item.bytes()?.0);
            push(out, &["\""]);
        }
        ItemType::DateTime => push(out, &["\"", &date_text(item.date_time()?), "\""]),
        ItemType::Interval => push(out, &[&item.interval()?.0.to_string()]),
    }
    Ok(())
}

fn push(out: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES_MAX: usize = 4096;

    fn check_read(text: &str, expected: &str) {
        let ttlv = read(text.as_bytes(), BYTES_MAX).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(String::from_utf8(write(&ttlv).expect("just read")).expect("text"), expected);
    }

    fn check_refused(text: &str, expected: &str) {
        let error = read(text.as_bytes(), BYTES_MAX).expect_err(text).to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }

    /// An item alone in a message.
    fn within(item: &str) -> String {
        format!("{{\"tag\":\"RequestMessage\",\"value\":[{item}]}}")
    }

    fn check_item(text: &str, expected: &str) {
        check_read(&within(text), &within(expected));
    }

    #[test]
    fn a_message_is_read_in_every_form_that_the_profile_has() {
        let one = r#"{"tag":"BatchCount","type":"Integer","value":1}"#;
        check_item(one, one);
        check_item(r#" { "value" : 1 , "type" : "Integer" , "tag" : "0x42000D" } "#, one);
        check_item(r#"{"t\u0061g":"BatchCount","name":"x","type":"Integer","value":"0x00000001"}"#, one);
        check_item(r#"{"value":[],"type":"Structure","tag":"Name"}"#, r#"{"tag":"Name","value":[]}"#);
        let extension = r#"{"tag":"0x540001","type":"Boolean","value":true}"#;
        check_item(extension, extension);
        let long = r#"{"tag":"UsageLimitsTotal","type":"LongInteger","value":4503599627370495}"#;
        check_item(long, long);
        check_item(&long.replace("495", "496"), &long.replace("4503599627370495", "\"0x0010000000000000\""));
        let big = r#"{"tag":"Modulus","type":"BigInteger","value":"0xffffffffffffffff"}"#;
        check_item(&big.replace("\"0xffffffffffffffff\"", "-1"), big);
        check_item(&big.replace("\"0xffffffffffffffff\"", "18446744073709551615"), &big.replace("0x", "0x0000000000000000"));
        let mask = r#"{"tag":"Attribute","value":[{"tag":"AttributeName","type":"TextString","value":"Cryptographic Usage Mask"},{"tag":"AttributeValue","type":"Integer","value":"Encrypt|Decrypt"}]}"#;
        check_item(mask, mask);
        check_item(&mask.replace("\"Encrypt|Decrypt\"", "12"), mask);
        let text = r#"{"tag":"NameValue","type":"TextString","value":"a\"\\\u0000\n b"}"#;
        check_item(text, text);
        let date = r#"{"tag":"ActivationDate","type":"DateTime","value":"2001-01-01T00:00:00+00:00"}"#;
        check_item(&date.replace("2001-01-01T00:00:00+00:00", "0x000000003a4fc880"), date);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        check_refused(&within("\n{\"tag\":\"BatchCont\"}"), "line 2, column 19: there is no field \"BatchCont\"");
        check_refused(&within(r#"{"tag":"NameType","type":"Enumeration","value":"Url"}"#), "Name Type has no value \"Url\"");
        check_refused(&within(r#"{"tag":"NameType","type":"Enumeration","value":2}"#), "Name Type should be a name");
        check_refused(&within(r#"{"tag":"NameType","type":"Enum","value":"Uri"}"#), "no item type \"Enum\"");
        check_refused(&within(r#"{"tag":"BatchCount","type":"Integer","value":1.5}"#), "a whole number");
        check_refused(&within(r#"{"tag":"BatchCount","type":"Integer","value":null}"#), "other than null");
        check_refused(&within(r#"{"tag":"BatchCount","type":"Integer","value":{}}"#), "a list of items");
        check_refused(&within(r#"{"tag":"BatchCount","type":"Integer","value":[]}"#), "Batch Count should be no list");
        check_refused(&within(r#"{"tag":"BatchCount","type":"Integer"}"#), "Batch Count should be given as value");
        check_refused(&within(r#"{"tag":"BatchCount","tag":"BatchCount"}"#), "each once");
        check_refused(&within(r#"{"tag":"BatchCount","Type":"Integer"}"#), "tag, type and value");
        check_refused(&within(r#"{"type":"Integer","value":1}"#), "a tag in each item");
        check_refused(&within(r#"{"tag":"Name","value":"a"}"#), "whose fields stand inside");
        check_refused(&within(r#"{"name":[[]],"tag":"Name","value":[]}"#), "an object");
        check_refused(&within("1"), "an object");
        check_refused(r#"{"tag":"BatchCount","type":"Integer","value":1}"#, "a message, which is a Structure");
    }

    /// A value of the wrong type must not be quoted: it may be a key.
    #[test]
    fn an_error_does_not_repeat_a_value() {
        for item in [r#"{"tag":5551234,"value":[]}"#, r#"{"tag":"KeyMaterial","type":"ByteString","value":5551234.5}"#, "\"5551234\""] {
            let error = read(within(item).as_bytes(), BYTES_MAX).expect_err(item).to_string();
            assert!(!error.contains("5551234"), "{error}");
        }
        let error = read(within(r#"{"tag":"KeyMaterial","type":"ByteString","value":"55512345z"}"#).as_bytes(), BYTES_MAX);
        assert!(!error.expect_err("no digits").to_string().contains("5551234"));
    }

    #[test]
    fn what_is_more_or_less_than_one_message_is_refused() {
        check_refused("", "a whole message");
        check_refused(r#"{"tag":"Name","value":["#, "a whole message");
        check_refused(r#"{"tag":"Name","value":[]} x"#, "nothing after");
        check_refused("<Name/>", "well-formed JSON");
        check_refused("[]", "an object");
        check_refused("{\"tag\":\"Name\",\"value\":[],}", "well-formed JSON");
        let error = read(b"{\"tag\":\"\xFF\"}", BYTES_MAX).expect_err("not UTF-8");
        assert_eq!(error.line, 1);
    }

    #[test]
    fn depth_and_length_are_those_of_ttlv() {
        let nested = |depth: usize| format!("{}{}", r#"{"tag":"Name","value":["#.repeat(depth), "]}".repeat(depth));
        check_read(&nested(DEPTH_MAX), &nested(DEPTH_MAX));
        check_refused(&nested(DEPTH_MAX + 1), "at most 32 structures");
        check_refused(&r#"{"value":["#.repeat(1_000_000), "at most 32 structures");
        let long = |items: usize| within(&vec![r#"{"tag":"D","value":[]}"#; items].join(","));
        let fits = read(long(BYTES_MAX / 8 - 1).as_bytes(), BYTES_MAX).map(|ttlv| ttlv.len());
        assert_eq!(fits, Ok(BYTES_MAX));
        check_refused(&long(BYTES_MAX / 8), "more than 4096 bytes");
    }
}
