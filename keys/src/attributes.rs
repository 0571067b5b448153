//! What is known of a key beside its bytes: names, mask, dates and the rest, sealed in the row and open only in memory.
//!
//! ```text
//! attributes of a key         fmt u8 = 3 | postcard(Attributes)
//! content of another record   fmt u8 = 1 | postcard(the record)
//! ```
//! Attributes of format 1, which knew no links, and of format 2, which knew no Usage Limits and no archive, are read, and written back as format 3 with
//! the key's next change.

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::id::{RowId, Time};
use crate::lifecycle::Dates;
use crate::row::Header;

/// Format of the content of records.
const FORMAT: u8 = 1;
/// Format of the attributes of keys.
const ATTRIBUTES_FORMAT: u8 = 3;
/// The bits of a Cryptographic Usage Mask for data: Encrypt and Decrypt.
const MASK_DATA: u32 = 0x04 | 0x08;
/// The bits for other keys: Wrap Key and Unwrap Key.
pub const MASK_KEYS: u32 = 0x10 | 0x20;
/// The bit by which a key may leave: nothing is done with its bytes.
const MASK_EXPORT: u32 = 0x40;
/// Most bytes that the attributes of one object may take.
pub const ATTRIBUTES_BYTES_MAX: usize = 64 * 1024;
/// Most names that one object may have.
pub const NAMES_MAX: usize = 16;

/// Attributes of one object. Field names and meanings are those of KMIP 1.4 chapter 3.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Attributes {
    /// Name: unique per service among live objects.
    pub names: Vec<Name>,
    /// Cryptographic Usage Mask.
    pub usage_mask: u32,
    /// All dates from which the state follows.
    pub dates: Dates,
    /// Why it was revoked.
    pub revocation: Option<Revocation>,
    /// Object Group.
    pub object_groups: Vec<Group>,
    /// SHA-256 of the material, as KMIP's Digest attribute shows it. C7: it never leaves the sealed attributes but to who may read them.
    pub digest: Option<[u8; 32]>,
    /// Sensitive.
    pub sensitive: bool,
    /// Extractable.
    pub extractable: bool,
    /// Everything else a client has set, as its protocol encodes it, in the order set.
    pub others: Vec<Other>,
    /// Always Sensitive: it has been sensitive since it was made. Kept by the domain.
    pub always_sensitive: bool,
    /// Never Extractable: it has not been extractable since it was made. Kept by the domain.
    pub never_extractable: bool,
    /// The material has left in some form: the opposite of Fresh. Kept by the domain.
    pub served: bool,
    /// Replaced and Replacement Object Link. Kept by the domain; links of other types are among `others`.
    pub links: Links,
    /// Usage Limits: how much the key may protect. What is left of that is counted elsewhere.
    pub usage_limits: Option<UsageLimits>,
    /// Archive Date, while the object is archived. Kept by the domain.
    pub archived: Option<Time>,
}

/// The Total and the Unit of KMIP's Usage Limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageLimits {
    /// Usage Limits Total.
    pub total: u64,
    /// Usage Limits Unit, by its number in the standard.
    pub unit: u32,
}

impl UsageLimits {
    /// The unit Byte.
    pub const BYTES: u32 = 1;
    /// The unit Object.
    pub const OBJECTS: u32 = 2;
}

/// Attributes as format 2 has them.
#[derive(Deserialize)]
#[cfg_attr(test, derive(Serialize))]
struct AttributesV2 {
    names: Vec<Name>,
    usage_mask: u32,
    dates: Dates,
    revocation: Option<Revocation>,
    object_groups: Vec<Group>,
    digest: Option<[u8; 32]>,
    sensitive: bool,
    extractable: bool,
    others: Vec<Other>,
    always_sensitive: bool,
    never_extractable: bool,
    served: bool,
    links: Links,
}

impl From<AttributesV2> for Attributes {
    fn from(old: AttributesV2) -> Self {
        let AttributesV2 { names, usage_mask, dates, revocation, object_groups, digest, sensitive, extractable, others, .. } = old;
        let AttributesV2 { always_sensitive, never_extractable, served, links, .. } = old;
        Self {
            names,
            usage_mask,
            dates,
            revocation,
            object_groups,
            digest,
            sensitive,
            extractable,
            others,
            always_sensitive,
            never_extractable,
            served,
            links,
            usage_limits: None,
            archived: None,
        }
    }
}

/// Where a key stands between the versions before and after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Links {
    /// The version that it replaces.
    pub replaced: Option<RowId>,
    /// The version that replaces it; with none, it is the newest of its chain.
    pub replacement: Option<RowId>,
    /// Attribute Index of the link to the replacement; the link to what it replaces has 0.
    pub replacement_index: u32,
}

/// Attributes as format 1 has them. Neither Sensitive nor Extractable could change then, so what held last has always held.
#[derive(Deserialize)]
#[cfg_attr(test, derive(Serialize))]
struct AttributesV1 {
    /// Value and kind; their indexes were their places.
    names: Vec<(String, u32)>,
    usage_mask: u32,
    dates: Dates,
    revocation: Option<Revocation>,
    object_groups: Vec<String>,
    digest: Option<[u8; 32]>,
    sensitive: bool,
    extractable: bool,
    others: Vec<Other>,
}

impl From<AttributesV1> for Attributes {
    fn from(old: AttributesV1) -> Self {
        let AttributesV1 { names, usage_mask, dates, revocation, object_groups, digest, sensitive, extractable, others } = old;
        let (always_sensitive, never_extractable) = (sensitive, !extractable);
        let names = (0..).zip(names).map(|(index, (value, kind))| Name { value, kind, index }).collect();
        let object_groups = (0..).zip(object_groups).map(|(index, value)| Group { value, index }).collect();
        Self {
            names,
            usage_mask,
            dates,
            revocation,
            object_groups,
            digest,
            sensitive,
            extractable,
            others,
            always_sensitive,
            never_extractable,
            served: false,
            links: Links::default(),
            usage_limits: None,
            archived: None,
        }
    }
}

/// A KMIP Name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Name {
    /// Name Value.
    pub value: String,
    /// Name Type, by its number in the standard.
    pub kind: u32,
    /// Attribute Index; the same as long as the name is there.
    pub index: u32,
}

/// A KMIP Object Group.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Group {
    /// What the group is called.
    pub value: String,
    /// Attribute Index; the same as long as the key is in the group.
    pub index: u32,
}

/// A KMIP Revocation Reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// Revocation Reason Code, by its number in the standard.
    pub code: u32,
    /// Revocation Message.
    pub message: Option<String>,
}

impl Revocation {
    /// Does the reason say that somebody else may know the key? KMIP 1.4 §9.1.3.2.19: Key Compromise or CA Compromise.
    #[must_use]
    pub fn is_compromise(&self) -> bool {
        matches!(self.code, 2 | 3)
    }
}

/// An attribute that the domain stores and shows but does not act on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Other {
    /// Attribute Name.
    pub name: String,
    /// Attribute Index.
    pub index: u32,
    /// Attribute Value, as one encoded TTLV item.
    pub value: Vec<u8>,
}

/// The sealed content of a row does not decode, although its tag verified: written by a newer release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("sealed content of format {format} is newer than this release knows; upgrade strongroom")]
pub struct NewerContent {
    format: u8,
}

/// Encodes the content of a record that is no key.
pub(crate) fn encode<T: Serialize>(content: &T) -> Vec<u8> {
    encode_as(FORMAT, content)
}

/// The inverse of [`encode`].
pub(crate) fn decode<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, NewerContent> {
    let (format, body) = split(bytes)?;
    if format == FORMAT { decode_body(format, body) } else { Err(NewerContent { format }) }
}

fn encode_as<T: Serialize>(format: u8, content: &T) -> Vec<u8> {
    postcard::to_extend(content, vec![format]).expect("content is plain data and memory grows")
}

fn split(bytes: &[u8]) -> Result<(u8, &[u8]), NewerContent> {
    bytes.split_first().map(|(format, body)| (*format, body)).ok_or(NewerContent { format: 0 })
}

fn decode_body<T: for<'de> Deserialize<'de>>(format: u8, body: &[u8]) -> Result<T, NewerContent> {
    match postcard::take_from_bytes(body) {
        Ok((content, [])) => Ok(content),
        _ => Err(NewerContent { format }),
    }
}

impl Attributes {
    /// The attributes of a key as they are sealed.
    pub(crate) fn encode(&self) -> Vec<u8> {
        encode_as(ATTRIBUTES_FORMAT, self)
    }

    /// The inverse of [`Attributes::encode`], for this format and those before.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, NewerContent> {
        let (format, body) = split(bytes)?;
        match format {
            1 => Ok(decode_body::<AttributesV1>(format, body)?.into()),
            2 => Ok(decode_body::<AttributesV2>(format, body)?.into()),
            ATTRIBUTES_FORMAT => decode_body(format, body),
            _ => Err(NewerContent { format }),
        }
    }

    /// The Attribute Index that the next Link gets: above all that there are, so that none changes (KMIP 1.4 §2.1.1).
    pub(crate) fn next_link_index(&self) -> u32 {
        let kept = self.others.iter().filter(|other| other.name == "Link").map(|other| other.index + 1);
        kept.chain(self.links.replaced.map(|_| 1)).max().unwrap_or(0)
    }

    /// Marks a change at `now`.
    pub(crate) fn touch(&mut self, now: Time) {
        self.dates.last_change = now;
    }

    /// Is the object for wrapping and unwrapping keys, and for nothing else that is done with its bytes? Who could have it decrypt as well would read what it
    /// wraps.
    #[must_use]
    pub fn is_for_keys_alone(&self) -> bool {
        self.usage_mask & !(MASK_KEYS | MASK_EXPORT) == 0
    }

    /// What no path may seal into a key of a core: Usage Limits, which it does not count, or a mask for data and for keys at once. Who may unwrap with
    /// such a key could have it decrypt what it wraps.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub(crate) fn must_fit(&self, header: &Header) -> Result<(), Error> {
        let joins = self.usage_mask & MASK_DATA != 0 && self.usage_mask & MASK_KEYS != 0;
        if header.id.layer == crate::id::Layer::L3 && joins {
            return Err(Error::invalid("Cryptographic Usage Mask", "Encrypt and Decrypt, or Wrap Key and Unwrap Key, never both"));
        }
        if header.id.layer == crate::id::Layer::L3 && self.usage_limits.is_some() {
            return Err(Error::invalid("Usage Limits", "a core counts none"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What release 0.1 sealed for a key with one of everything, byte for byte.
    const FORMAT_1: &str = include_str!("../tests/golden/attributes-v1.txt");

    /// The same of the format after it, which no release has had.
    const FORMAT_2: &str = include_str!("../tests/golden/attributes-v2.txt");

    fn of_format_1() -> AttributesV1 {
        AttributesV1 {
            names: vec![("invoices".to_owned(), 1)],
            usage_mask: 0x0C,
            dates: Dates {
                initial: Time::from_seconds(1_800_000_000),
                activation: Some(Time::from_seconds(1_800_000_001)),
                ..Dates::default()
            },
            revocation: Some(Revocation { code: 4, message: Some("superseded".to_owned()) }),
            object_groups: vec!["billing".to_owned()],
            digest: Some([0xD1; 32]),
            sensitive: true,
            extractable: false,
            others: vec![Other { name: "x-tag".to_owned(), index: 0, value: vec![1, 2, 3] }],
        }
    }

    fn fixture() -> Vec<u8> {
        hex(FORMAT_1)
    }

    fn hex(fixture: &str) -> Vec<u8> {
        let hex: String = fixture.lines().filter(|line| !line.starts_with('#')).collect();
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("the fixture is hexadecimal")).collect()
    }

    #[test]
    fn attributes_of_format_1_are_still_read() {
        assert_eq!(encode_as(1, &of_format_1()), fixture(), "the fixture is what format 1 was");
        let read = Attributes::decode(&fixture()).expect("the fixture is whole");
        assert_eq!(read, Attributes::from(of_format_1()));
        assert_eq!((read.always_sensitive, read.never_extractable, read.served), (true, true, false));
        assert_eq!(Attributes::decode(&read.encode()).as_ref(), Ok(&read));
    }

    fn of_format_2() -> AttributesV2 {
        let AttributesV1 { usage_mask, dates, revocation, digest, sensitive, extractable, others, .. } = of_format_1();
        AttributesV2 {
            names: vec![Name { value: "invoices".to_owned(), kind: 1, index: 3 }],
            usage_mask,
            dates,
            revocation,
            object_groups: vec![Group { value: "billing".to_owned(), index: 2 }],
            digest,
            sensitive,
            extractable,
            others,
            always_sensitive: true,
            never_extractable: true,
            served: true,
            links: Links {
                replaced: None,
                replacement: Some(RowId::new(crate::id::Layer::L4, uuid::Uuid::from_u128(7))),
                replacement_index: 1,
            },
        }
    }

    #[test]
    fn attributes_of_format_2_are_still_read() {
        assert_eq!(encode_as(2, &of_format_2()), hex(FORMAT_2), "the fixture is what format 2 was");
        let read = Attributes::decode(&hex(FORMAT_2)).expect("the fixture is whole");
        assert_eq!(read, Attributes::from(of_format_2()));
        assert_eq!((read.served, read.usage_limits, read.archived), (true, None, None));
        assert_eq!(Attributes::decode(&read.encode()).as_ref(), Ok(&read));
    }

    #[test]
    fn cut_longer_and_newer_attributes_are_refused() {
        let bytes = Attributes::from(of_format_1()).encode();
        for end in 0..bytes.len() {
            assert!(Attributes::decode(&bytes[..end]).is_err(), "{end}");
        }
        assert!(Attributes::decode(&[&bytes[..], &[0]].concat()).is_err());
        let newer = [&[4], &bytes[1..]].concat();
        assert_eq!(Attributes::decode(&newer), Err(NewerContent { format: 4 }));
        assert_eq!(decode::<Dates>(&bytes), Err(NewerContent { format: 3 }), "attributes are no record");
    }
}
