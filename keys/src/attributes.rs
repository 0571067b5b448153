//! What is known of a key beside its bytes: names, mask, dates and the rest, sealed in the row and open only in memory.
//!
//! ```text
//! sealed content   fmt u8 = 1 | postcard(Attributes)
//! ```

use serde::{Deserialize, Serialize};

use crate::id::Time;
use crate::lifecycle::Dates;

const FORMAT: u8 = 1;
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
    pub object_groups: Vec<String>,
    /// SHA-256 of the material, as KMIP's Digest attribute shows it. C7: it never leaves the sealed attributes but to who may read them.
    pub digest: Option<[u8; 32]>,
    /// Sensitive.
    pub sensitive: bool,
    /// Extractable.
    pub extractable: bool,
    /// Everything else a client has set, as its protocol encodes it, in the order set.
    pub others: Vec<Other>,
}

/// A KMIP Name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Name {
    /// Name Value.
    pub value: String,
    /// Name Type, by its number in the standard.
    pub kind: u32,
}

/// A KMIP Revocation Reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// Revocation Reason Code, by its number in the standard.
    pub code: u32,
    /// Revocation Message.
    pub message: Option<String>,
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

/// Encodes the content of a row that is sealed beside or instead of material.
pub(crate) fn encode<T: Serialize>(content: &T) -> Vec<u8> {
    postcard::to_extend(content, vec![FORMAT]).expect("content is plain data and memory grows")
}

/// The inverse of [`encode`].
pub(crate) fn decode<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, NewerContent> {
    let (format, body) = bytes.split_first().ok_or(NewerContent { format: 0 })?;
    match postcard::take_from_bytes(body) {
        Ok((content, [])) if *format == FORMAT => Ok(content),
        _ => Err(NewerContent { format: *format }),
    }
}

impl Attributes {
    /// Marks a change at `now`.
    pub(crate) fn touch(&mut self, now: Time) {
        self.dates.last_change = now;
    }
}
