//! TTLV, the tag-type-length-value encoding of section 9.1.
//!
//! ```text
//! byte  0       3      4           8                     8 + length
//!       | tag   | type | length    | value ...           | zeros up to a multiple of 8 |
//! ```
//!
//! All numbers are big endian; the length counts the value without the zeros. Reading is strict: no other padding, no length but the
//! type's own, no bytes after the end, no nesting deeper than [`DEPTH_MAX`].

mod reader;
mod value;
mod writer;

pub use reader::{Item, Reader};
pub use value::{BigInteger, ByteString, DateTime, Interval, Structure, Unsigned, Value};
pub use writer::{Open, Writer};

/// How many structures may stand inside each other, the message itself being the first.
pub const DEPTH_MAX: usize = 32;

/// Length of tag, type and length in front of each value, in bytes.
pub const HEADER_BYTES: usize = 8;

/// The ten types of section 9.1.1.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ItemType {
    /// A sequence of items.
    Structure = 1,
    /// 32 bit, signed.
    Integer,
    /// 64 bit, signed.
    LongInteger,
    /// Any multiple of 64 bit, signed.
    BigInteger,
    /// 32 bit, unsigned, from a published list.
    Enumeration,
    /// 0 or 1 in 64 bit.
    Boolean,
    /// UTF-8.
    TextString,
    /// Any bytes.
    ByteString,
    /// Seconds since 1970, 64 bit, signed.
    DateTime,
    /// Seconds, 32 bit, unsigned.
    Interval,
}

impl ItemType {
    /// All types, in the order of their numbers, which begin with 1.
    pub const ALL: [Self; 10] = [
        Self::Structure,
        Self::Integer,
        Self::LongInteger,
        Self::BigInteger,
        Self::Enumeration,
        Self::Boolean,
        Self::TextString,
        Self::ByteString,
        Self::DateTime,
        Self::Interval,
    ];

    /// The type with this number.
    #[must_use]
    pub fn of(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }

    /// The type with its article, as errors name what they wanted.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Structure => "a Structure",
            Self::Integer => "an Integer",
            Self::LongInteger => "a Long Integer",
            Self::BigInteger => "a Big Integer",
            Self::Enumeration => "an Enumeration",
            Self::Boolean => "a Boolean",
            Self::TextString => "a Text String",
            Self::ByteString => "a Byte String",
            Self::DateTime => "a Date-Time",
            Self::Interval => "an Interval",
        }
    }

    /// What is wrong with a value of this length, in the form "there should be ..."; `None` if nothing is (9.1.1.3).
    fn complaint_about_length(self, length: usize) -> Option<&'static str> {
        match self {
            Self::Integer | Self::Enumeration | Self::Interval => (length != 4).then_some("a length of 4"),
            Self::LongInteger | Self::Boolean | Self::DateTime => (length != 8).then_some("a length of 8"),
            Self::Structure => (!length.is_multiple_of(8)).then_some("a length that is a multiple of 8"),
            Self::BigInteger => (length == 0 || !length.is_multiple_of(8)).then_some("a length that is a positive multiple of 8"),
            Self::TextString | Self::ByteString => None,
        }
    }
}
