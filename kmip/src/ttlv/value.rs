//! The values of TTLV items for which Rust has no type of its own.

use super::{Item, ItemType, Writer};
use crate::error::Error;
use crate::tag::Tag;

/// Bytes, shown by their number only: they may be plaintext.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ByteString<'a>(pub &'a [u8]);

/// A signed integer of any size: two's complement, big endian, a positive multiple of eight bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BigInteger<'a>(pub &'a [u8]);

/// A number without a sign, big endian: a Big Integer that is not negative, without the zeros that it begins with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Unsigned<'a>(pub &'a [u8]);

/// A point in time, in seconds since 1970-01-01 00:00:00 UTC, without leap seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DateTime(pub i64);

/// A length of time in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval(pub u32);

/// A structure that is passed on as it came: well-formed throughout, its fields not interpreted.
#[derive(Clone, Copy, Debug)]
pub struct Structure<'a>(Item<'a>);

/// A value of any type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// A sequence of items.
    Structure(Structure<'a>),
    /// 32 bit, signed.
    Integer(i32),
    /// 64 bit, signed.
    LongInteger(i64),
    /// Any size, signed.
    BigInteger(BigInteger<'a>),
    /// 32 bit, unsigned, from some list.
    Enumeration(u32),
    /// Yes or no.
    Boolean(bool),
    /// UTF-8.
    TextString(&'a str),
    /// Any bytes.
    ByteString(ByteString<'a>),
    /// Seconds since 1970.
    DateTime(DateTime),
    /// Seconds.
    Interval(Interval),
}

impl<'a> Structure<'a> {
    /// Takes a structure as it is, after a look at everything inside it.
    pub fn read(item: &Item<'a>) -> Result<Self, Error> {
        item.expect(ItemType::Structure)?;
        item.check()?;
        Ok(Self(*item))
    }

    /// The fields as they are on the wire.
    pub(super) const fn encoded(&self) -> &'a [u8] {
        self.0.value()
    }

    /// Whether one of the fields is itself a structure.
    #[must_use]
    pub fn is_nested(&self) -> bool {
        let mut fields = self.0.fields().expect("checked when the structure was taken");
        std::iter::from_fn(|| fields.next_item().expect("checked when the structure was taken"))
            .any(|field| field.kind == ItemType::Structure)
    }
}

impl<'a> Value<'a> {
    /// The value of an item, whatever its type.
    pub fn read(item: Item<'a>) -> Result<Self, Error> {
        Ok(match item.kind {
            ItemType::Structure => Self::Structure(Structure::read(&item)?),
            ItemType::Integer => Self::Integer(item.integer()?),
            ItemType::LongInteger => Self::LongInteger(item.long_integer()?),
            ItemType::BigInteger => Self::BigInteger(item.big_integer()?),
            ItemType::Enumeration => Self::Enumeration(item.enumeration()?),
            ItemType::Boolean => Self::Boolean(item.boolean()?),
            ItemType::TextString => Self::TextString(item.text()?),
            ItemType::ByteString => Self::ByteString(item.bytes()?),
            ItemType::DateTime => Self::DateTime(item.date_time()?),
            ItemType::Interval => Self::Interval(item.interval()?),
        })
    }

    /// Writes the value under this tag.
    pub fn write(&self, tag: Tag, out: &mut Writer<'_>) {
        match *self {
            Self::Structure(value) => out.structure(tag, value),
            Self::Integer(value) => out.integer(tag, value),
            Self::LongInteger(value) => out.long_integer(tag, value),
            Self::BigInteger(value) => out.big_integer(tag, value),
            Self::Enumeration(value) => out.enumeration(tag, value),
            Self::Boolean(value) => out.boolean(tag, value),
            Self::TextString(value) => out.text(tag, value),
            Self::ByteString(value) => out.bytes(tag, value),
            Self::DateTime(value) => out.date_time(tag, value),
            Self::Interval(value) => out.interval(tag, value),
        }
    }
}

/// Equal in their fields, whatever their own tags.
impl PartialEq for Structure<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.encoded() == other.encoded()
    }
}

impl std::fmt::Debug for ByteString<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ByteString({} B)", self.0.len())
    }
}

impl std::fmt::Debug for BigInteger<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BigInteger({} B)", self.0.len())
    }
}

impl std::fmt::Debug for Unsigned<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Unsigned({} B)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_secret_is_shown_by_its_length() {
        let mut bytes = vec![];
        let mut out = Writer::new(&mut bytes, crate::ProtocolVersion::V1_4);
        let open = out.open(Tag::CREDENTIAL_VALUE);
        out.text(Tag::PASSWORD, "correct horse");
        out.close(open);
        let structure = Structure::read(&Item::only(&bytes).expect("just written")).expect("just written");
        let shown = format!("{structure:?} {:?} {:?} {:?}", ByteString(b"horse"), BigInteger(b"horse..."), Unsigned(b"horse"));
        assert!(!shown.contains("horse") && shown.contains("5 B"), "{shown}");
    }
}
