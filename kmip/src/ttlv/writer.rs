//! Appends TTLV items to an output buffer.

use super::{BigInteger, ByteString, DateTime, HEADER_BYTES, Interval, Item, ItemType, Structure, Unsigned};
use crate::tag::Tag;
use crate::version::ProtocolVersion;

/// Writes items for one protocol version straight to the end of a buffer.
pub struct Writer<'o> {
    out: &'o mut Vec<u8>,
    version: ProtocolVersion,
}

/// A structure that has been begun; [`Writer::close`] fills in its length.
#[must_use = "a structure without its length is not TTLV: close it"]
pub struct Open {
    value_begins: usize,
}

impl<'o> Writer<'o> {
    /// A writer that appends to `out` what is legal in `version`.
    pub fn new(out: &'o mut Vec<u8>, version: ProtocolVersion) -> Self {
        Self { out, version }
    }

    /// The version that decides which fields are written.
    #[must_use]
    pub const fn version(&self) -> ProtocolVersion {
        self.version
    }

    /// Bytes in the buffer so far.
    #[must_use]
    pub fn position(&self) -> usize {
        self.out.len()
    }

    /// Takes back everything written since `position`, which lies outside every structure begun since.
    pub fn rewind(&mut self, position: usize) {
        self.out.truncate(position);
    }

    /// Begins a structure.
    pub fn open(&mut self, tag: Tag) -> Open {
        self.header(tag, ItemType::Structure, 0);
        Open { value_begins: self.out.len() }
    }

    /// Ends a structure: everything written since [`Writer::open`] is inside it.
    pub fn close(&mut self, open: Open) {
        let length = length_field(self.out.len() - open.value_begins);
        self.out[open.value_begins - size_of::<u32>()..open.value_begins].copy_from_slice(&length);
    }

    /// Writes an Integer.
    pub fn integer(&mut self, tag: Tag, value: i32) {
        self.raw(tag, ItemType::Integer, &value.to_be_bytes());
    }

    /// Writes a Long Integer.
    pub fn long_integer(&mut self, tag: Tag, value: i64) {
        self.raw(tag, ItemType::LongInteger, &value.to_be_bytes());
    }

    /// Writes a Big Integer.
    pub fn big_integer(&mut self, tag: Tag, value: BigInteger<'_>) {
        assert!(!value.0.is_empty() && value.0.len().is_multiple_of(8), "a Big Integer has a positive multiple of eight bytes");
        self.raw(tag, ItemType::BigInteger, value.0);
    }

    /// Writes a number without a sign as a Big Integer: with so many zeros before it that it is not taken for a negative one.
    pub fn unsigned(&mut self, tag: Tag, Unsigned(value): Unsigned<'_>) {
        let length = (value.len() + 1).next_multiple_of(8);
        self.header(tag, ItemType::BigInteger, length);
        self.out.resize(self.out.len() + length - value.len(), 0);
        self.out.extend_from_slice(value);
    }

    /// Writes an Enumeration by its number.
    pub fn enumeration(&mut self, tag: Tag, value: u32) {
        self.raw(tag, ItemType::Enumeration, &value.to_be_bytes());
    }

    /// Writes a Boolean.
    pub fn boolean(&mut self, tag: Tag, value: bool) {
        self.raw(tag, ItemType::Boolean, &u64::from(value).to_be_bytes());
    }

    /// Writes a Text String.
    pub fn text(&mut self, tag: Tag, value: &str) {
        self.raw(tag, ItemType::TextString, value.as_bytes());
    }

    /// Writes a Byte String.
    pub fn bytes(&mut self, tag: Tag, value: ByteString<'_>) {
        self.raw(tag, ItemType::ByteString, value.0);
    }

    /// Writes a Date-Time.
    pub fn date_time(&mut self, tag: Tag, value: DateTime) {
        self.raw(tag, ItemType::DateTime, &value.0.to_be_bytes());
    }

    /// Writes a Byte String that `fill` appends to the buffer itself; if it fails, nothing is written.
    pub fn bytes_with<R, E>(&mut self, tag: Tag, fill: impl FnOnce(&mut Vec<u8>) -> Result<R, E>) -> Result<R, E> {
        let item_begins = self.out.len();
        self.header(tag, ItemType::ByteString, 0);
        let value_begins = self.out.len();
        let filled = fill(self.out);
        if filled.is_err() {
            self.out.truncate(item_begins);
            return filled;
        }
        let length = self.out.len() - value_begins;
        self.out[value_begins - size_of::<u32>()..value_begins].copy_from_slice(&length_field(length));
        self.out.resize(value_begins + length.next_multiple_of(8), 0);
        filled
    }

    /// Replaces the value of an Integer that was written at `position`.
    pub fn set_integer(&mut self, position: usize, value: i32) {
        let value_begins = position + HEADER_BYTES;
        self.out[value_begins..value_begins + size_of::<i32>()].copy_from_slice(&value.to_be_bytes());
    }

    /// Replaces the tag of an item that was written at `position`.
    pub(crate) fn set_tag(&mut self, position: usize, tag: Tag) {
        self.out[position..position + 3].copy_from_slice(&tag.bytes());
    }

    /// Writes an Interval.
    pub fn interval(&mut self, tag: Tag, value: Interval) {
        self.raw(tag, ItemType::Interval, &value.0.to_be_bytes());
    }

    /// Writes the fields of a structure that was read elsewhere.
    pub fn structure(&mut self, tag: Tag, value: Structure<'_>) {
        self.raw(tag, ItemType::Structure, value.encoded());
    }

    /// Writes the value of an item that was read elsewhere.
    pub fn item(&mut self, tag: Tag, item: Item<'_>) {
        self.raw(tag, item.kind, item.value());
    }

    /// Appends whole items that were written elsewhere, for the same version.
    pub fn encoded(&mut self, items: &[u8]) {
        self.out.extend_from_slice(items);
    }

    /// Writes an item whose value is encoded already, without its padding.
    fn raw(&mut self, tag: Tag, kind: ItemType, value: &[u8]) {
        let padding = value.len().next_multiple_of(8) - value.len();
        self.out.reserve(HEADER_BYTES + value.len() + padding);
        self.header(tag, kind, value.len());
        self.out.extend_from_slice(value);
        self.out.extend_from_slice(&[0; 8][..padding]);
    }

    fn header(&mut self, tag: Tag, kind: ItemType, length: usize) {
        let [tag0, tag1, tag2] = tag.bytes();
        let [length0, length1, length2, length3] = length_field(length);
        self.out.extend_from_slice(&[tag0, tag1, tag2, kind as u8, length0, length1, length2, length3]);
    }
}

fn length_field(length: usize) -> [u8; 4] {
    u32::try_from(length).expect("messages are limited far below 4 GiB").to_be_bytes()
}
