//! How an edge stores an object's material: under an object key of its own, beside that key as its core has wrapped it.
//!
//! ```text
//! material of an L4   fmt u8 = 1 | object key's id 16 | length u32 | object key, wrapped under an L3 at core | material, wrapped under the object key
//! ```
//! A service's attribute key is stored the same way: what lies under it there is the service's id, so that a wrong key is known before it is used.
//!
//! A new version of the L3 changes the middle part only. The outer parts name no L3: what the material is wrapped by is the object key, a chain of
//! one. All numbers are big-endian. Source: docs/SECURITY.md, C1 and C2.

use uuid::Uuid;

use crate::id::{ChainId, KeyVersion};
use crate::row::ParentRef;
use crate::wrap::WrapError;

const FORMAT: u8 = 1;
const HEAD_BYTES: usize = 1 + 16 + 4;

/// An object key's identifier, by which core knows it too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ObjectKeyId(pub [u8; 16]);

impl ObjectKeyId {
    /// The object key as a parent.
    #[must_use]
    pub fn parent(self) -> ParentRef {
        ParentRef { chain: ChainId::new(Uuid::from_bytes(self.0)), version: KeyVersion::FIRST }
    }
}

/// An object key as its core has wrapped it, and what is wrapped under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// Which object key.
    pub id: ObjectKeyId,
    /// What core has returned.
    pub wrapped: &'a [u8],
    /// A C1 blob under the object key.
    pub sealed: &'a [u8],
}

impl<'a> Envelope<'a> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + self.wrapped.len() + self.sealed.len());
        bytes.push(FORMAT);
        bytes.extend_from_slice(&self.id.0);
        bytes.extend_from_slice(&u32::try_from(self.wrapped.len()).expect("a blob of 32 bytes is short").to_be_bytes());
        bytes.extend_from_slice(self.wrapped);
        bytes.extend_from_slice(self.sealed);
        bytes
    }

    /// Takes stored bytes apart.
    ///
    /// # Errors
    /// [`WrapError::NotABlob`] if they are cut or of another format.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, WrapError> {
        let not = |what| WrapError::NotABlob { what };
        let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>().ok_or(not("length"))?;
        if head[0] != FORMAT {
            return Err(not("format of an envelope"));
        }
        let (id, length) = head[1..].split_first_chunk().expect("the head has room for it");
        let length = u32::from_be_bytes(length.try_into().expect("the head has room for it"));
        let (wrapped, sealed) = usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length)).ok_or(not("length"))?;
        Ok(Self { id: ObjectKeyId(*id), wrapped, sealed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_reads_as_it_was_written() {
        for (wrapped, sealed) in [(&b"wrapped"[..], &b"sealed"[..]), (b"wrapped", b""), (b"", b"")] {
            let envelope = Envelope { id: ObjectKeyId([7; 16]), wrapped, sealed };
            assert_eq!(Envelope::decode(&envelope.encode()).expect("it is whole"), envelope);
        }
    }

    #[test]
    fn the_layout_is_what_the_head_of_the_file_says() {
        let envelope = Envelope { id: ObjectKeyId([7; 16]), wrapped: b"ab", sealed: b"c" };
        assert_eq!(envelope.encode(), [&[1][..], &[7; 16], &[0, 0, 0, 2], b"ab", b"c"].concat());
    }

    #[test]
    fn cut_and_newer_envelopes_are_refused() {
        let bytes = Envelope { id: ObjectKeyId([7; 16]), wrapped: b"ab", sealed: b"" }.encode();
        for end in 0..bytes.len() {
            assert!(Envelope::decode(&bytes[..end]).is_err(), "{end}");
        }
        assert!(Envelope::decode(&[&[2], &bytes[1..]].concat()).is_err());
    }
}
