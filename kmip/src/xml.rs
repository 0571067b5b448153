//! KMIP in XML: messages to and from the bytes of TTLV, as the profiles' XML encoding says them.
//!
//! ```text
//! <RequestHeader>                                                     a Structure
//! <BatchCount type="Integer" value="1"/>                              anything else
//! <TTLV tag="0x540001" name="Example" type="Boolean" value="true"/>   any tag, the name is passed over
//! ```
//!
//! There are no declarations of a document type, no entities but the five, no processing instructions and no text outside tags.

use std::borrow::Cow;

use quick_xml::XmlVersion;
use quick_xml::errors::Error as XmlError;
use quick_xml::events::{BytesDecl, BytesStart, Event};
use quick_xml::reader::Reader;

use crate::error::Error;
use crate::tag::Tag;
use crate::text::{
    EXPANSION, Said, Siblings, TOO_DEEP, TextError, TextFault, date_text, enumeration_text, item_type, malformed, mask_text, message,
    push_hexadecimal, tag, tag_text, type_name, write as write_value,
};
use crate::ttlv::{DEPTH_MAX, Item, ItemType, Open, Writer};
use crate::version::ProtocolVersion;

/// The element that may stand for any tag.
const ANY: &str = "TTLV";

/// Reads a message of at most `bytes_max` in TTLV.
///
/// # Errors
/// The first thing that is wrong with the text. Nothing of a value is in it but names that are none.
pub fn read(text: &[u8], bytes_max: usize) -> Result<Vec<u8>, TextError> {
    let characters = std::str::from_utf8(text)
        .map_err(|error| TextError::at(text, error.valid_up_to(), malformed("UTF-8")))?
        .trim_start_matches('\u{FEFF}');
    let mut ttlv = Vec::with_capacity(bytes_max.min(text.len()));
    let mut reader = Reader::from_str(characters);
    reader.config_mut().enable_all_checks(true);
    let mut document = Document {
        out: Writer::new(&mut ttlv, ProtocolVersion::LATEST),
        open: vec![],
        siblings: Siblings::default(),
        is_begun: false,
        bytes_max,
    };
    let skipped = text.len() - characters.len();
    loop {
        let begins = position(reader.buffer_position());
        let event = reader.read_event().map_err(|error| {
            let at = position(reader.error_position()).max(begins);
            TextError::at(text, skipped + at, malformed(what_xml_wants(&error)))
        })?;
        if document.take(event).map_err(|fault| TextError::at(text, skipped + begins, fault))? == Progress::Done {
            return Ok(ttlv);
        }
    }
}

fn position(offset: u64) -> usize {
    usize::try_from(offset).expect("an offset in a buffer")
}

const fn what_xml_wants(error: &XmlError) -> &'static str {
    match error {
        XmlError::IllFormed(_) => "an end tag of the element that was begun last",
        XmlError::InvalidAttr(_) => "attributes as name=\"value\"",
        _ => "well-formed XML",
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Goes,
    Done,
}

/// An element whose end tag is awaited.
enum Element {
    /// A structure, and what was known outside it.
    Structure(Open, Siblings),
    /// Anything else, which has nothing inside it.
    Value,
}

/// A message under construction.
struct Document<'o> {
    out: Writer<'o>,
    open: Vec<Element>,
    siblings: Siblings,
    /// Whether its one element was begun.
    is_begun: bool,
    bytes_max: usize,
}

impl Document<'_> {
    fn take(&mut self, event: Event<'_>) -> Result<Progress, TextFault> {
        match event {
            Event::Start(start) => {
                let element = self.begin(&start)?;
                self.open.push(element);
            }
            Event::Empty(start) => {
                let element = self.begin(&start)?;
                self.end(element);
            }
            Event::End(_) => {
                let element = self.open.pop().ok_or(malformed("no end tag without a start tag"))?;
                self.end(element);
            }
            Event::Text(text) if text.chars().all(|c| matches!(c, ' ' | '\t' | '\r' | '\n')) => {}
            Event::Comment(_) => {}
            Event::Decl(declaration) if !self.is_begun => check_declaration(&declaration)?,
            Event::Eof if self.open.is_empty() && self.is_begun => return Ok(Progress::Done),
            Event::Eof => return Err(malformed("a whole message in one element")),
            Event::Text(_) | Event::CData(_) | Event::GeneralRef(_) => {
                return Err(malformed("no text between elements: values are attributes"));
            }
            Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {
                return Err(malformed("elements only: there are no declarations or instructions"));
            }
        }
        Ok(Progress::Goes)
    }

    fn begin(&mut self, start: &BytesStart<'_>) -> Result<Element, TextFault> {
        match self.open.last() {
            None if self.is_begun => return Err(malformed("the end of the text after the message")),
            Some(Element::Value) => return Err(malformed("nothing inside an item that has a value")),
            None | Some(Element::Structure(..)) => self.is_begun = true,
        }
        let Attributes { tag, kind, value } = Attributes::of(start)?;
        let element = match (kind, value) {
            (ItemType::Structure, None) if self.open.len() >= DEPTH_MAX => return Err(TOO_DEEP),
            (ItemType::Structure, None) => Element::Structure(self.out.open(tag), std::mem::take(&mut self.siblings)),
            (kind, Some(value)) => {
                write_value(&mut self.out, tag, kind, &Said::Text(value), &mut self.siblings)?;
                Element::Value
            }
            (_, None) => return Err(TextFault::Value { field: tag.name(), expected: "given as the attribute value" }),
        };
        if self.open.is_empty() && matches!(element, Element::Value) {
            return Err(malformed("a message, which is a Structure"));
        }
        if self.out.position() > self.bytes_max {
            return Err(TextFault::TooLong { bytes_max: self.bytes_max });
        }
        Ok(element)
    }

    fn end(&mut self, element: Element) {
        if let Element::Structure(open, outside) = element {
            self.out.close(open);
            self.siblings = outside;
        }
    }
}

/// A text without a declaration, or with this one, is UTF-8.
fn check_declaration(declaration: &BytesDecl<'_>) -> Result<(), TextFault> {
    match declaration.encoding() {
        None => Ok(()),
        Some(Ok(encoding)) if encoding.eq_ignore_ascii_case("utf-8") || encoding.eq_ignore_ascii_case("us-ascii") => Ok(()),
        Some(_) => Err(malformed("an XML declaration of the encoding UTF-8, or none")),
    }
}

/// What a start tag says.
struct Attributes<'t> {
    tag: Tag,
    kind: ItemType,
    value: Option<Cow<'t, str>>,
}

impl<'t> Attributes<'t> {
    fn of(start: &'t BytesStart<'_>) -> Result<Self, TextFault> {
        let (mut tag_name, mut kind, mut value) = (None, None, None);
        // Twice the same is told below; the library would compare each with each.
        for attribute in start.attributes().with_checks(false) {
            let attribute = attribute.map_err(|_| malformed("attributes as name=\"value\""))?;
            let place = match attribute.key.into_inner() {
                "tag" => &mut tag_name,
                "type" => &mut kind,
                "value" => &mut value,
                "name" | "xmlns" => continue,
                prefixed if prefixed.starts_with("xmlns:") => continue,
                _ => return Err(malformed("no attributes but tag, name, type and value")),
            };
            let text = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|_| malformed("no entities but the five of XML"))?;
            if !text.chars().all(is_xml) {
                return Err(malformed("characters of XML 1.0"));
            }
            if place.replace(text).is_some() {
                return Err(malformed("each attribute only once"));
            }
        }
        let tag = match (start.local_name().into_inner(), tag_name) {
            (ANY, Some(name)) => tag(&name)?,
            (ANY, None) => return Err(malformed("an attribute tag, for TTLV may be any field")),
            (name, None) => tag(name)?,
            (_, Some(_)) => return Err(malformed("the attribute tag only with the element TTLV")),
        };
        Ok(Self { tag, kind: kind.map_or(Ok(ItemType::Structure), |name| item_type(&name))?, value })
    }
}

/// Whether XML 1.0 has this character.
const fn is_xml(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..)
}

/// Writes a message given in TTLV. A character that XML 1.0 does not have becomes U+FFFD.
///
/// # Errors
/// The bytes are no message in TTLV.
pub fn write(ttlv: &[u8]) -> Result<Vec<u8>, Error> {
    let mut text = Vec::with_capacity(ttlv.len() * EXPANSION);
    item(message(ttlv)?, &mut text, 0, &mut Siblings::default())?;
    Ok(text)
}

fn item(item_: Item<'_>, out: &mut Vec<u8>, depth: usize, siblings: &mut Siblings) -> Result<(), Error> {
    let name = tag_text(item_.tag);
    let is_named = !name.starts_with("0x");
    let element = if is_named { &name } else { ANY };
    out.resize(out.len() + 2 * depth, b' ');
    push(out, &["<", element]);
    if !is_named {
        push(out, &[" tag=\"", &name, "\""]);
    }
    if item_.kind != ItemType::Structure {
        push(out, &[" type=\"", type_name(item_.kind), "\" value=\""]);
        value(item_, out, siblings.list_of(item_.tag))?;
        siblings.note_item(&item_);
        push(out, &["\"/>\n"]);
        return Ok(());
    }
    push(out, &[">\n"]);
    let (mut fields, mut inside) = (item_.fields()?, Siblings::default());
    while let Some(field) = fields.next_item()? {
        item(field, out, depth + 1, &mut inside)?;
    }
    out.resize(out.len() + 2 * depth, b' ');
    push(out, &["</", element, ">\n"]);
    Ok(())
}

fn value(item: Item<'_>, out: &mut Vec<u8>, list: Tag) -> Result<(), Error> {
    match item.kind {
        ItemType::Structure => {}
        ItemType::Integer => {
            let number = item.integer()?;
            push(out, &[&mask_text(list, number, " ").unwrap_or_else(|| number.to_string())]);
        }
        ItemType::LongInteger => push(out, &[&item.long_integer()?.to_string()]),
        ItemType::BigInteger => push_hexadecimal(out, item.big_integer()?.0),
        ItemType::Enumeration => push(out, &[&enumeration_text(list, item.enumeration()?)]),
        ItemType::Boolean => push(out, &[if item.boolean()? { "true" } else { "false" }]),
        ItemType::TextString => push_escaped(out, item.text()?),
        ItemType::ByteString => push_hexadecimal(out, item.bytes()?.0),
        ItemType::DateTime => push(out, &[&date_text(item.date_time()?)]),
        ItemType::Interval => push(out, &[&item.interval()?.0.to_string()]),
    }
    Ok(())
}

fn push(out: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}

/// Appends a value so that a reader gets it back as it was: white space other than a blank would become one.
fn push_escaped(out: &mut Vec<u8>, text: &str) {
    let mut utf8 = [0; 4];
    for c in text.chars() {
        let escaped = match c {
            '<' => "&lt;",
            '>' => "&gt;",
            '&' => "&amp;",
            '"' => "&quot;",
            '\t' => "&#9;",
            '\n' => "&#10;",
            '\r' => "&#13;",
            c if is_xml(c) => c.encode_utf8(&mut utf8),
            _ => "\u{FFFD}",
        };
        out.extend_from_slice(escaped.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ttlv::{ByteString, DateTime};

    const BYTES_MAX: usize = 4096;

    fn check_read(text: &str, expected: &str) {
        let ttlv = read(text.as_bytes(), BYTES_MAX).unwrap_or_else(|error| panic!("{text}: {error}"));
        let written = write(&ttlv).expect("just read");
        assert_eq!(String::from_utf8(written).expect("text").replace("\n", "").replace("  ", ""), expected);
    }

    fn check_refused(text: &str, expected: &str) {
        let error = read(text.as_bytes(), BYTES_MAX).expect_err(text).to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }

    #[test]
    fn a_message_is_read_in_every_form_that_the_profile_has() {
        let plain = "<RequestMessage><RequestHeader><BatchCount type=\"Integer\" value=\"1\"/></RequestHeader></RequestMessage>";
        check_read(plain, plain);
        check_read(&format!("\u{FEFF}<?xml version='1.0' encoding='utf-8'?>\n<!-- why -->\n{plain}\n<!-- so -->\n"), plain);
        check_read(
            "<k:RequestMessage xmlns:k='urn:x' type='Structure'> <TTLV tag='0x420077' name='RequestHeader'>\
             <BatchCount value='0x00000001' type='Integer'></BatchCount></TTLV></k:RequestMessage>",
            plain,
        );
        check_read("<TTLV tag='RequestMessage'/>", "<RequestMessage></RequestMessage>");
        let extension = "<RequestMessage><TTLV tag=\"0x540001\" type=\"Boolean\" value=\"true\"/></RequestMessage>";
        check_read(extension, extension);
        let attribute = "<Attribute><AttributeName type=\"TextString\" value=\"Cryptographic Usage Mask\"/>\
                         <AttributeValue type=\"Integer\" value=\"Encrypt Decrypt\"/></Attribute>";
        check_read(attribute, attribute);
        check_read(&attribute.replace("Encrypt Decrypt", "0x0000000c"), attribute);
        check_read(&attribute.replace("Encrypt Decrypt", "0"), &attribute.replace("Encrypt Decrypt", "0"));
    }

    #[test]
    fn text_comes_back_with_its_marks_and_white_space() {
        let mut ttlv = vec![];
        let mut out = Writer::new(&mut ttlv, ProtocolVersion::LATEST);
        let open = out.open(Tag::REQUEST_MESSAGE);
        out.text(Tag::NAME_VALUE, "a<b>&\"c'\t\r\n d  e \u{FFFD}\u{10FFFF}");
        out.bytes(Tag::DATA, ByteString(&[0, 255]));
        out.date_time(Tag::ACTIVATION_DATE, DateTime(-1));
        out.close(open);
        assert_eq!(read(&write(&ttlv).expect("a message"), BYTES_MAX).as_deref(), Ok(&*ttlv));
    }

    /// XML 1.0 cannot say them, not even by number; the answer must be readable all the same.
    #[test]
    fn characters_that_xml_does_not_have_are_replaced() {
        let mut ttlv = vec![];
        let mut out = Writer::new(&mut ttlv, ProtocolVersion::LATEST);
        let open = out.open(Tag::RESPONSE_MESSAGE);
        out.text(Tag::NAME_VALUE, "a\0b\u{1B}c\u{FFFF}d");
        out.close(open);
        let text = String::from_utf8(write(&ttlv).expect("a message")).expect("text");
        assert!(text.contains("value=\"a\u{FFFD}b\u{FFFD}c\u{FFFD}d\""), "{text}");
        check_refused("<Name><NameValue type='TextString' value='a&#0;b'/></Name>", "entities");
        check_refused("<Name><NameValue type='TextString' value='a&#27;b'/></Name>", "characters of XML 1.0");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        check_refused("<RequestMessage>\n  <BatchCont type='Integer' value='1'/>", "line 2, column 3: there is no field \"BatchCont\"");
        check_refused("<Name><NameType type='Enumeration' value='Url'/></Name>", "Name Type has no value \"Url\"");
        check_refused("<Name><NameType type='Enum' value='Uri'/></Name>", "no item type \"Enum\"");
        check_refused("<Name><NameValue type='TextString'/></Name>", "Name Value should be given as the attribute value");
        check_refused("<Name><NameValue type='TextString' value='a' value='b'/></Name>", "only once");
        check_refused("<Name><NameValue type='TextString' value='a' x='b'/></Name>", "no attributes but");
        check_refused("<Name><NameValue type='TextString' value=a/></Name>", "attributes as");
        check_refused("<Name><NameValue type='TextString' value='a'>b</NameValue></Name>", "no text between");
        check_refused("<Name><NameValue type='TextString' value='a'><Name/></NameValue></Name>", "nothing inside");
        check_refused("<Name value='a'/>", "whose fields stand inside");
        check_refused("<Name tag='0x420053'/>", "only with the element TTLV");
        check_refused("<TTLV/>", "an attribute tag");
        check_refused("<Name><TTLV tag='0x430001' type='Boolean' value='true'/></Name>", "no field \"0x430001\"");
        check_refused("<NameValue type='TextString' value='a'/>", "a message, which is a Structure");
    }

    #[test]
    fn what_is_more_or_less_than_one_element_is_refused() {
        check_refused("", "a whole message");
        check_refused("<!-- only -->", "a whole message");
        check_refused("<Name>", "a whole message");
        check_refused("<Name></Link>", "an end tag");
        check_refused("</Name>", "end tag");
        check_refused("<Name/><Name/>", "the end of the text");
        check_refused("<Name/>x", "no text between");
        check_refused("<Name", "well-formed");
        check_refused("{\"tag\": \"Name\"}", "no text between");
    }

    #[test]
    fn nothing_is_declared_expanded_or_fetched() {
        check_refused("<!DOCTYPE Name [<!ENTITY a 'b'>]><Name/>", "no declarations");
        check_refused("<!DOCTYPE Name SYSTEM 'file:///etc/passwd'><Name/>", "no declarations");
        check_refused("<Name><NameValue type='TextString' value='&a;'/></Name>", "no entities");
        check_refused("<Name>&a;</Name>", "no text between");
        check_refused("<Name><![CDATA[a]]></Name>", "no text between");
        check_refused("<?xml-stylesheet href='x'?><Name/>", "no declarations");
        check_refused("<?xml version='1.0' encoding='utf-16'?><Name/>", "UTF-8");
        let error = read(b"<Name>\xFF</Name>", BYTES_MAX).expect_err("not UTF-8");
        assert_eq!((error.line, error.column, error.fault), (1, 7, malformed("UTF-8")));
    }

    #[test]
    fn depth_and_length_are_those_of_ttlv() {
        let nested = |depth: usize| format!("{}{}", "<Name>".repeat(depth), "</Name>".repeat(depth));
        check_read(&nested(DEPTH_MAX), &nested(DEPTH_MAX));
        check_refused(&nested(DEPTH_MAX + 1), "at most 32 structures");
        check_refused(&"<D>".repeat(1_000_000), "at most 32 structures");
        let long = |items: usize| format!("<Name>{}</Name>", "<D/>".repeat(items));
        let fits = read(long(BYTES_MAX / 8 - 1).as_bytes(), BYTES_MAX).map(|ttlv| ttlv.len());
        assert_eq!(fits, Ok(BYTES_MAX));
        check_refused(&long(BYTES_MAX / 8), "more than 4096 bytes");
        check_refused(&long(1_000_000), "more than 4096 bytes");
    }
}
