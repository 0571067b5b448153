//! Messages as text that a person can read and write, independent of what any operation means by them.
//!
//! `Tag=VALUE` is an item, `Tag{...}` a structure; a tag is its published name without spaces and other marks. `"Name"=VALUE` and `"Name"{...}` stand
//! for a whole Attribute. Values: `-1` Integer, `-1L` Long Integer, `0xff` Byte String, `big0xff` Big Integer, `#2A` Enumeration
//! (hexadecimal), `true` Boolean, `"text"` Text String, `@0` Date-Time, `9s` Interval. `$name` stands for a text or for bytes, by
//! [`Bindings`]; in a pattern `*` stands for any value.

use std::collections::BTreeMap;
use std::fmt::Write;

use data_encoding::HEXLOWER;

use crate::error::{Error, excerpt};
use crate::tag::Tag;
use crate::ttlv::{BigInteger, ByteString, DEPTH_MAX, DateTime, Interval, Item, ItemType, Writer};
use crate::version::ProtocolVersion;

/// Items that were read from text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notation(Vec<Node>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    tag: Tag,
    value: Written,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Written {
    Structure(Vec<Node>),
    Integer(i32),
    LongInteger(i64),
    BigInteger(Vec<u8>),
    Enumeration(u32),
    Boolean(bool),
    Text(String),
    Bytes(Vec<u8>),
    DateTime(i64),
    Interval(u32),
    Variable(String),
    Anything,
}

/// What a `$name` stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bound {
    /// A Text String.
    Text(String),
    /// A Byte String.
    Bytes(Vec<u8>),
}

/// What each `$name` stands for.
pub type Bindings = BTreeMap<String, Bound>;

/// Why a text is no notation, or cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotationError {
    /// Something else has to stand here.
    #[error("{expected} is expected before `{rest}`")]
    Expected {
        /// What.
        expected: &'static str,
        /// What follows.
        rest: String,
    },
    /// The standard has no such tag.
    #[error("there is no tag {0}")]
    NoSuchTag(String),
    /// A `$name` stands for nothing yet, or `*` is to be written.
    #[error("${0} stands for nothing")]
    Unbound(String),
}

/// How an answer differs from what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// There is no such item.
    Missing(String),
    /// It has another value.
    Other {
        /// Which item.
        item: String,
        /// What was expected.
        expected: String,
        /// What came.
        came: String,
    },
    /// The answer is no TTLV.
    Malformed(Error),
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing(item) => write!(f, "{item} is missing"),
            Self::Other { item, expected, came } => write!(f, "{item} is {came} instead of {expected}"),
            Self::Malformed(error) => write!(f, "{error}"),
        }
    }
}

impl Notation {
    /// Reads a text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(text: &str) -> Result<Self, NotationError> {
        let mut scanner = Scanner { rest: text, depth: 0 };
        let nodes = scanner.nodes()?;
        if scanner.rest.is_empty() { Ok(Self(nodes)) } else { Err(scanner.expected("an item")) }
    }

    /// Writes the items as they go over the wire.
    ///
    /// # Errors
    /// `Unbound` if a variable has no value.
    pub fn encoded(&self, bound: &Bindings) -> Result<Vec<u8>, NotationError> {
        let mut bytes = Vec::new();
        // The version of a writer leaves out fields of other versions; here nothing is left out.
        let mut out = Writer::new(&mut bytes, ProtocolVersion::LATEST);
        self.0.iter().try_for_each(|node| node.write(&mut out, bound))?;
        Ok(bytes)
    }

    /// Whether a structure has all these items, others or not; what `$name` has met for the first time is bound.
    ///
    /// # Errors
    /// The first difference.
    pub fn find_in(&self, structure: &Item<'_>, bound: &mut Bindings) -> Result<(), Difference> {
        all_in(&self.0, structure, bound)
    }
}

/// Reads a text and writes it as it goes over the wire.
///
/// # Errors
/// As [`Notation::read`] and [`Notation::encoded`].
pub fn encode(text: &str, bound: &Bindings) -> Result<Vec<u8>, NotationError> {
    Notation::read(text)?.encoded(bound)
}

/// A whole Request Message in notation.
///
/// - `header`: what stands between Protocol Version and Batch Count.
/// - `items`: what stands in each Batch Item.
#[must_use]
pub fn request((major, minor): (i32, i32), header: &str, items: &[&str]) -> String {
    let version = format!("ProtocolVersion{{ProtocolVersionMajor={major} ProtocolVersionMinor={minor}}}");
    let items: Vec<String> = items.iter().map(|item| format!("BatchItem{{{item}}}")).collect();
    format!("RequestMessage{{RequestHeader{{{version} {header} BatchCount={}}} {}}}", items.len(), items.join(" "))
}

/// One item as text; with `hide`, of Byte Strings and Big Integers only the lengths.
///
/// # Errors
/// `Malformed` where something inside is no TTLV.
pub fn show(item: &Item<'_>, hide: bool) -> Result<String, Error> {
    let mut text = String::new();
    show_into(item, hide, &mut text)?;
    Ok(text)
}

impl Node {
    fn write(&self, out: &mut Writer<'_>, bound: &Bindings) -> Result<(), NotationError> {
        match &self.value {
            Written::Structure(nodes) => {
                let open = out.open(self.tag);
                nodes.iter().try_for_each(|node| node.write(out, bound))?;
                out.close(open);
            }
            Written::Integer(number) => out.integer(self.tag, *number),
            Written::LongInteger(number) => out.long_integer(self.tag, *number),
            Written::BigInteger(bytes) => out.big_integer(self.tag, BigInteger(bytes)),
            Written::Enumeration(number) => out.enumeration(self.tag, *number),
            Written::Boolean(flag) => out.boolean(self.tag, *flag),
            Written::Text(text) => out.text(self.tag, text),
            Written::Bytes(bytes) => out.bytes(self.tag, ByteString(bytes)),
            Written::DateTime(seconds) => out.date_time(self.tag, DateTime(*seconds)),
            Written::Interval(seconds) => out.interval(self.tag, Interval(*seconds)),
            Written::Variable(name) => match bound.get(name) {
                Some(Bound::Text(text)) => out.text(self.tag, text),
                Some(Bound::Bytes(bytes)) => out.bytes(self.tag, ByteString(bytes)),
                None => return Err(NotationError::Unbound(name.clone())),
            },
            Written::Anything => return Err(NotationError::Unbound("*".to_owned())),
        }
        Ok(())
    }

    /// Whether this describes the item; says why not.
    fn fits(&self, item: &Item<'_>, bound: &mut Bindings) -> Result<(), Difference> {
        match &self.value {
            Written::Structure(nodes) => all_in(nodes, item, bound),
            Written::Anything => Ok(()),
            Written::Variable(name) => {
                let met = match item.kind {
                    ItemType::TextString => item.text().map(|text| Bound::Text(text.to_owned())),
                    _ => item.bytes().map(|bytes| Bound::Bytes(bytes.0.to_vec())),
                };
                let met = met.map_err(Difference::Malformed)?;
                if *bound.entry(name.clone()).or_insert_with(|| met.clone()) == met {
                    return Ok(());
                }
                Err(self.differs(item, format!("the same as before (${name})")))
            }
            _ => {
                let mut wanted = Vec::new();
                let written = self.write(&mut Writer::new(&mut wanted, ProtocolVersion::LATEST), bound);
                written.expect("a plain value needs no binding");
                let wanted = Item::only(&wanted).expect("one item was written");
                let shown = |item| show(item, false).map_err(Difference::Malformed);
                if wanted.kind == item.kind && shown(&wanted)? == shown(item)? {
                    return Ok(());
                }
                Err(self.differs(item, value_of(&wanted)))
            }
        }
    }

    fn differs(&self, item: &Item<'_>, expected: String) -> Difference {
        Difference::Other { item: self.tag.name().to_owned(), expected, came: value_of(item) }
    }

    /// Whether the item is of this kind at all: it has the tag, and if it is an attribute, the name.
    fn may_be(&self, item: &Item<'_>) -> bool {
        let is_called = |wanted| {
            item.fields().is_ok_and(|mut fields| {
                let name = fields.next_item().ok().flatten();
                name.is_some_and(|name| name.text() == Ok(wanted))
            })
        };
        item.tag == self.tag && attribute_name(self).is_none_or(is_called)
    }

    /// How the item is called in a difference: an attribute by its own name.
    fn title(&self) -> String {
        let name = attribute_name(self).unwrap_or_else(|| self.tag.name());
        name.to_owned()
    }
}

fn attribute_name(node: &Node) -> Option<&str> {
    let Written::Structure(nodes) = &node.value else { return None };
    match nodes.first() {
        Some(Node { tag: Tag::ATTRIBUTE_NAME, value: Written::Text(name) }) if node.tag == Tag::ATTRIBUTE => Some(name),
        _ => None,
    }
}

/// Each of `nodes` has to fit one item of the structure; if several have the tag, one of them.
fn all_in(nodes: &[Node], structure: &Item<'_>, bound: &mut Bindings) -> Result<(), Difference> {
    let items = items_of(structure).map_err(Difference::Malformed)?;
    for node in nodes {
        let mut difference = Difference::Missing(node.title());
        let mut fits = |item: &&Item<'_>| {
            let mut tried = bound.clone();
            let outcome = node.fits(item, &mut tried);
            match outcome {
                Ok(()) => *bound = tried,
                Err(ref why) => difference = why.clone(),
            }
            outcome.is_ok()
        };
        if !items.iter().filter(|item| node.may_be(item)).any(|item| fits(&item)) {
            return Err(difference);
        }
    }
    Ok(())
}

fn items_of<'a>(structure: &Item<'a>) -> Result<Vec<Item<'a>>, Error> {
    let mut reader = structure.fields()?;
    let mut items = Vec::new();
    while let Some(item) = reader.next_item()? {
        items.push(item);
    }
    Ok(items)
}

/// A value without its tag, short, and of bytes only how many.
fn value_of(item: &Item<'_>) -> String {
    let shown = show(item, true).unwrap_or_else(|error| error.to_string());
    let value = shown.split_once('=').map_or(shown.as_str(), |(_, value)| value);
    excerpt(value)
}

fn show_into(item: &Item<'_>, hide: bool, text: &mut String) -> Result<(), Error> {
    const FITS: &str = "a string takes whatever is written";
    text.push_str(&short_name(item.tag));
    let bytes = |prefix: &str, bytes: &[u8]| match hide {
        true => format!("={prefix}{} bytes", bytes.len()),
        false => format!("={prefix}0x{}", HEXLOWER.encode(bytes)),
    };
    match item.kind {
        ItemType::Structure => {
            text.push('{');
            for (number, inner) in items_of(item)?.iter().enumerate() {
                if number > 0 {
                    text.push(' ');
                }
                show_into(inner, hide, text)?;
            }
            text.push('}');
        }
        ItemType::Integer => write!(text, "={}", item.integer()?).expect(FITS),
        ItemType::LongInteger => write!(text, "={}L", item.long_integer()?).expect(FITS),
        ItemType::BigInteger => text.push_str(&bytes("big", item.big_integer()?.0)),
        ItemType::Enumeration => write!(text, "=#{:X}", item.enumeration()?).expect(FITS),
        ItemType::Boolean => write!(text, "={}", item.boolean()?).expect(FITS),
        ItemType::TextString => write!(text, "=\"{}\"", item.text()?).expect(FITS),
        ItemType::ByteString => text.push_str(&bytes("", item.bytes()?.0)),
        ItemType::DateTime => write!(text, "=@{}", item.date_time()?.0).expect(FITS),
        ItemType::Interval => write!(text, "={}s", item.interval()?.0).expect(FITS),
    }
    Ok(())
}

/// A published name as one word.
fn short_name(tag: Tag) -> String {
    tag.name().chars().filter(char::is_ascii_alphanumeric).collect()
}

struct Scanner<'t> {
    rest: &'t str,
    depth: usize,
}

impl<'t> Scanner<'t> {
    fn nodes(&mut self) -> Result<Vec<Node>, NotationError> {
        let mut nodes = Vec::new();
        loop {
            self.rest = self.rest.trim_start();
            if self.rest.is_empty() || self.rest.starts_with('}') {
                return Ok(nodes);
            }
            nodes.push(self.node()?);
        }
    }

    fn node(&mut self) -> Result<Node, NotationError> {
        if self.take("\"") {
            let name = self.quoted()?.to_owned();
            let name = Node { tag: Tag::ATTRIBUTE_NAME, value: Written::Text(name) };
            let value = Node { tag: Tag::ATTRIBUTE_VALUE, value: self.behind_tag()? };
            return Ok(Node { tag: Tag::ATTRIBUTE, value: Written::Structure(vec![name, value]) });
        }
        let word = self.word(char::is_ascii_alphanumeric);
        let tag = Tag::TABLE.iter().map(|(tag, _)| *tag).find(|tag| short_name(*tag) == word);
        let tag = tag.ok_or_else(|| NotationError::NoSuchTag(excerpt(word)))?;
        Ok(Node { tag, value: self.behind_tag()? })
    }

    fn behind_tag(&mut self) -> Result<Written, NotationError> {
        if self.take("=") {
            return self.value();
        }
        self.must_take("{", "= or {")?;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.expected("at most 32 structures inside each other"));
        }
        let nodes = self.nodes()?;
        self.depth -= 1;
        self.must_take("}", "}")?;
        Ok(Written::Structure(nodes))
    }

    fn value(&mut self) -> Result<Written, NotationError> {
        if self.take("\"") {
            return Ok(Written::Text(self.quoted()?.to_owned()));
        }
        if self.take("*") {
            return Ok(Written::Anything);
        }
        let before = self.rest;
        let word = self.word(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '#' | '@' | '$'));
        let read = match word {
            "true" => Some(Written::Boolean(true)),
            "false" => Some(Written::Boolean(false)),
            _ => scalar(word),
        };
        self.rest = if read.is_some() { self.rest } else { before };
        read.ok_or_else(|| self.expected("a value"))
    }

    fn quoted(&mut self) -> Result<&'t str, NotationError> {
        let (text, rest) = self.rest.split_once('"').ok_or_else(|| self.expected("a closing quotation mark"))?;
        self.rest = rest;
        Ok(text)
    }

    fn word(&mut self, belongs: impl Fn(&char) -> bool) -> &'t str {
        let end = self.rest.find(|c: char| !belongs(&c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn take(&mut self, what: &str) -> bool {
        let rest = self.rest.strip_prefix(what);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn must_take(&mut self, what: &str, expected: &'static str) -> Result<(), NotationError> {
        if self.take(what) { Ok(()) } else { Err(self.expected(expected)) }
    }

    fn expected(&self, expected: &'static str) -> NotationError {
        NotationError::Expected { expected, rest: excerpt(self.rest) }
    }
}

fn scalar(word: &str) -> Option<Written> {
    let hexadecimal = |digits: &str| HEXLOWER.decode(digits.to_ascii_lowercase().as_bytes()).ok();
    if let Some(name) = word.strip_prefix('$') {
        return (!name.is_empty()).then(|| Written::Variable(name.to_owned()));
    }
    if let Some(digits) = word.strip_prefix('#') {
        return u32::from_str_radix(digits, 16).ok().map(Written::Enumeration);
    }
    if let Some(seconds) = word.strip_prefix('@') {
        return seconds.parse().ok().map(Written::DateTime);
    }
    if let Some(digits) = word.strip_prefix("big0x") {
        return hexadecimal(digits).map(Written::BigInteger);
    }
    if let Some(digits) = word.strip_prefix("0x") {
        return hexadecimal(digits).map(Written::Bytes);
    }
    if let Some(number) = word.strip_suffix('L') {
        return number.parse().ok().map(Written::LongInteger);
    }
    if let Some(seconds) = word.strip_suffix('s') {
        return seconds.parse().ok().map(Written::Interval);
    }
    word.parse().ok().map(Written::Integer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing() -> Bindings {
        Bindings::new()
    }

    #[test]
    fn every_type_is_written_and_shown_again() {
        let text = "Attribute{AttributeName=\"x-a\" AttributeIndex=-1 AttributeValue{OffsetItems=7L ModulusP=big0x0000000000000001 State=#80000001 \
                    Fresh=true Data=0x00ff Comment=\"two words\" TimeStamp=@0 LeaseTime=9s}}";
        let text = text.replace("ModulusP", &short_name(Tag::P)).replace("OffsetItems", &short_name(Tag::USAGE_LIMITS_TOTAL));
        let bytes = encode(&text, &nothing()).expect("it is right");
        assert_eq!(show(&Item::only(&bytes).expect("one item"), false).as_deref(), Ok(text.as_str()));
    }

    #[test]
    fn the_bytes_are_those_of_the_standards_examples() {
        let check = |text: &str, hexadecimal: &str| {
            let bytes = encode(text, &nothing()).expect("it is right");
            assert_eq!(HEXLOWER.encode(&bytes), hexadecimal, "{text}");
        };
        check("CompromiseDate=8", "4200200200000004 0000000800000000".replace(' ', "").as_str());
        check("CompromiseDate=#FF", "4200200500000004 000000ff00000000".replace(' ', "").as_str());
        check("CompromiseDate=0x010203", "4200200800000003 0102030000000000".replace(' ', "").as_str());
        check("CompromiseDate=@1205495800", "4200200900000008 0000000047da67f8".replace(' ', "").as_str());
    }

    #[test]
    fn an_attribute_is_short_for_its_name_and_value() {
        let short = Notation::read("\"Name\"{NameValue=\"n\" NameType=#1} \"x-a\"=1");
        let long = "Attribute{AttributeName=\"Name\" AttributeValue{NameValue=\"n\" NameType=#1}} Attribute{AttributeName=\"x-a\" AttributeValue=1}";
        assert_eq!(short, Notation::read(long));
    }

    #[test]
    fn what_is_no_notation_is_refused_with_where() {
        for bad in [
            "Name",
            "Name=",
            "Name{",
            "Nome=1",
            "Name=1}",
            "Name=\"a",
            "Name=0xf",
            "Name=#",
            "Name=$",
            "Name=yes",
            "=1",
            "Name=99999999999",
        ] {
            assert!(Notation::read(bad).is_err(), "{bad}");
        }
        assert!(Notation::read(&"Name{".repeat(40)).is_err());
        let unbound = encode("UniqueIdentifier=$key", &nothing());
        assert_eq!(unbound, Err(NotationError::Unbound("key".to_owned())));
    }

    fn found(pattern: &str, answer: &str, bound: &mut Bindings) -> Result<(), Difference> {
        let bytes = encode(answer, &nothing()).expect("it is right");
        Notation::read(pattern).expect("it is right").find_in(&Item::only(&bytes).expect("one item"), bound)
    }

    #[test]
    fn a_pattern_finds_its_items_among_others_and_binds_what_it_meets_first() {
        let mut bound = nothing();
        let answer = "ResponsePayload{ObjectType=#2 UniqueIdentifier=\"k\" \"State\"=#1 \"x-a\"=1 \"x-b\"=2}";
        assert_eq!(found("UniqueIdentifier=$key \"x-b\"=2 ObjectType=*", answer, &mut bound), Ok(()));
        assert_eq!(bound.get("key"), Some(&Bound::Text("k".to_owned())));
        assert_eq!(found("UniqueIdentifier=$key", answer, &mut bound), Ok(()), "the same again");
        let other = answer.replace("\"k\"", "\"l\"");
        assert!(matches!(found("UniqueIdentifier=$key", &other, &mut bound), Err(Difference::Other { .. })));
    }

    #[test]
    fn a_difference_names_the_item_and_never_tells_bytes() {
        let check = |pattern: &str, expected: &str| {
            let answer = "ResponsePayload{KeyMaterial=0x0102 \"State\"=#1 \"x-a\"=\"v\"}";
            let difference = found(pattern, answer, &mut nothing()).expect_err("it differs");
            assert_eq!(difference.to_string(), expected);
        };
        check("KeyMaterial=0x0103", "Key Material is 2 bytes instead of 2 bytes");
        check("\"State\"=#2", "Attribute Value is #1 instead of #2");
        check("\"x-a\"=1", "Attribute Value is \"v\" instead of 1");
        check("\"x-c\"=1", "x-c is missing");
        check("Data=*", "Data is missing");
    }
}
