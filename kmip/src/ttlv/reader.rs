//! Reads TTLV items one after another, borrowing from the input.

use super::{BigInteger, ByteString, DEPTH_MAX, DateTime, HEADER_BYTES, Interval, ItemType, Unsigned};
use crate::error::Error;
use crate::tag::Tag;

/// Hands out the items of one structure, or of a whole input, in their order.
///
/// Each item is checked for everything its own header says (tag, type, length, padding) when it is handed out; what is inside a
/// structure is checked when that structure is read.
pub struct Reader<'a> {
    rest: &'a [u8],
    offset: usize,
    depth: usize,
}

/// One item: a header that has been checked, and a value that has not been looked at yet.
///
/// It is also the form in which something is kept undecoded until it is known what it is.
#[derive(Clone, Copy)]
pub struct Item<'a> {
    /// Which field it is.
    pub tag: Tag,
    /// How its value is to be read.
    pub kind: ItemType,
    /// Where its header begins, in bytes from the start of the message.
    pub offset: usize,
    value: &'a [u8],
    /// Structures around this item.
    depth: usize,
}

impl<'a> Reader<'a> {
    /// The next item, or `None` at the end of the structure.
    pub fn next_item(&mut self) -> Result<Option<Item<'a>>, Error> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let malformed = |at: usize, expected| Err(Error::Malformed { offset: self.offset + at, expected });
        let Some((header, after)) = self.rest.split_first_chunk::<HEADER_BYTES>() else {
            return malformed(0, "an item header of 8 bytes");
        };
        let [tag0, tag1, tag2, kind, length @ ..] = *header;
        let Some(tag) = Tag::of([tag0, tag1, tag2]) else {
            return malformed(0, "a tag that begins with 42 or 54");
        };
        let Some(kind) = ItemType::of(kind) else {
            return malformed(3, "an item type from 01 to 0A");
        };
        let length = u32::from_be_bytes(length) as usize;
        if let Some(expected) = kind.complaint_about_length(length) {
            return malformed(4, expected);
        }
        let Some(padded) = length.checked_next_multiple_of(8).filter(|padded| *padded <= after.len()) else {
            return malformed(4, "a length within what encloses the item");
        };
        let (value, padding) = after[..padded].split_at(length);
        if padding.iter().any(|byte| *byte != 0) {
            return malformed(HEADER_BYTES + length, "padding of zeros");
        }
        let offset = self.offset;
        self.rest = &after[padded..];
        self.offset += HEADER_BYTES + padded;
        Ok(Some(Item { tag, kind, offset, value, depth: self.depth }))
    }
}

impl<'a> Item<'a> {
    /// The one item that `input` consists of.
    ///
    /// - Errors: `Malformed` if there is none, or anything behind it.
    pub fn only(input: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader { rest: input, offset: 0, depth: 0 };
        let item = reader.next_item()?.ok_or(Error::Malformed { offset: 0, expected: "an item header of 8 bytes" })?;
        if !reader.rest.is_empty() {
            return Err(Error::Malformed { offset: reader.offset, expected: "the end of the message" });
        }
        Ok(item)
    }

    /// The items inside this structure.
    ///
    /// - Errors: `Malformed` if it is no structure, or the 33rd inside each other.
    pub fn fields(&self) -> Result<Reader<'a>, Error> {
        self.expect(ItemType::Structure)?;
        if self.depth >= DEPTH_MAX {
            return Err(self.malformed("at most 32 structures inside each other"));
        }
        Ok(Reader { rest: self.value, offset: self.offset + HEADER_BYTES, depth: self.depth + 1 })
    }

    /// The value of an Integer.
    pub fn integer(&self) -> Result<i32, Error> {
        Ok(i32::from_be_bytes(self.bytes_of(ItemType::Integer)?))
    }

    /// The value of a Long Integer.
    pub fn long_integer(&self) -> Result<i64, Error> {
        Ok(i64::from_be_bytes(self.bytes_of(ItemType::LongInteger)?))
    }

    /// The value of a Big Integer.
    pub fn big_integer(&self) -> Result<BigInteger<'a>, Error> {
        self.expect(ItemType::BigInteger)?;
        Ok(BigInteger(self.value))
    }

    /// The value of a Big Integer that is not negative.
    ///
    /// - Errors: `Malformed` if it is.
    pub fn unsigned(&self) -> Result<Unsigned<'a>, Error> {
        let BigInteger(value) = self.big_integer()?;
        if value.first().is_some_and(|first| first.leading_ones() > 0) {
            return Err(self.malformed("a Big Integer that is not negative"));
        }
        let zeros = value.iter().take_while(|byte| **byte == 0).count();
        Ok(Unsigned(&value[zeros..]))
    }

    /// The number of an Enumeration, from its list or not.
    pub fn enumeration(&self) -> Result<u32, Error> {
        Ok(u32::from_be_bytes(self.bytes_of(ItemType::Enumeration)?))
    }

    /// The value of a Boolean.
    ///
    /// - Errors: `Malformed` if it is neither 0 nor 1.
    pub fn boolean(&self) -> Result<bool, Error> {
        match u64::from_be_bytes(self.bytes_of(ItemType::Boolean)?) {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.malformed("a Boolean of 0 or 1")),
        }
    }

    /// The characters of a Text String.
    ///
    /// - Errors: `Malformed` if they are not UTF-8.
    pub fn text(&self) -> Result<&'a str, Error> {
        self.expect(ItemType::TextString)?;
        std::str::from_utf8(self.value).map_err(|_| self.malformed("a Text String in UTF-8"))
    }

    /// The bytes of a Byte String.
    pub fn bytes(&self) -> Result<ByteString<'a>, Error> {
        self.expect(ItemType::ByteString)?;
        Ok(ByteString(self.value))
    }

    /// The value of a Date-Time.
    pub fn date_time(&self) -> Result<DateTime, Error> {
        Ok(DateTime(i64::from_be_bytes(self.bytes_of(ItemType::DateTime)?)))
    }

    /// The value of an Interval.
    pub fn interval(&self) -> Result<Interval, Error> {
        Ok(Interval(u32::from_be_bytes(self.bytes_of(ItemType::Interval)?)))
    }

    /// Checks the value and all that is inside it, for what is passed on or passed over without being decoded.
    pub fn check(&self) -> Result<(), Error> {
        match self.kind {
            ItemType::Structure => {
                let mut fields = self.fields()?;
                while let Some(field) = fields.next_item()? {
                    field.check()?;
                }
                Ok(())
            }
            ItemType::Boolean => self.boolean().map(|_| ()),
            ItemType::TextString => self.text().map(|_| ()),
            // Every value of the right length is one of these.
            ItemType::Integer
            | ItemType::LongInteger
            | ItemType::BigInteger
            | ItemType::Enumeration
            | ItemType::ByteString
            | ItemType::DateTime
            | ItemType::Interval => Ok(()),
        }
    }

    /// Refuses an item of another type.
    pub fn expect(&self, kind: ItemType) -> Result<(), Error> {
        if self.kind == kind { Ok(()) } else { Err(self.malformed(kind.name())) }
    }

    /// Length of the value, in bytes.
    #[must_use]
    pub const fn value_bytes(&self) -> usize {
        self.value.len()
    }

    /// The value without header and padding.
    pub(super) const fn value(&self) -> &'a [u8] {
        self.value
    }

    fn malformed(&self, expected: &'static str) -> Error {
        Error::Malformed { offset: self.offset, expected }
    }

    fn bytes_of<const N: usize>(&self, kind: ItemType) -> Result<[u8; N], Error> {
        self.expect(kind)?;
        Ok(*self.value.first_chunk().expect("the length was checked against the type when the item was read"))
    }
}

/// Without the value, which may be a secret.
impl std::fmt::Debug for Item<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {:?} of {} B at byte {}", self.tag, self.kind, self.value.len(), self.offset)
    }
}

/// Equal in what is on the wire, wherever it stood.
impl PartialEq for Item<'_> {
    fn eq(&self, other: &Self) -> bool {
        (self.tag, self.kind, self.value) == (other.tag, other.kind, other.value)
    }
}
