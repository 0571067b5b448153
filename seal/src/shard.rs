//! A shard as it was split: what a keeper protects, and what a person types (C11).
//!
//! ```text
//! bytes  cluster_id 16 | split_id 16 | threshold u8 | x u8 | share 32
//! text   "SRSHARD1", then, in Base32 (RFC 4648), the bytes and the first 4 bytes of their SHA3-256; all in groups of 8 between hyphens
//! ```
//! The text is read with or without hyphens and spaces, in either case of its letters.

use cipher::mac::{ct_eq, sha3_256};
use data_encoding::BASE32_NOPAD;
use keys::id::ClusterId;
use secret::Bytes;
use uuid::Uuid;

use crate::Error;
use crate::custodian::SLOT_KEY_BYTES;

/// Bytes of a split's id.
pub(crate) const SPLIT_ID_BYTES: usize = 16;
const HEAD_BYTES: usize = 16 + SPLIT_ID_BYTES + 2;
pub(crate) const SHARD_BYTES: usize = HEAD_BYTES + SLOT_KEY_BYTES;

const PREFIX: &[u8] = b"SRSHARD1";
const CHECK_BYTES: usize = 4;
const GROUP_BYTES: usize = 8;
/// Characters of the text without hyphens: Base32 takes 8 for 5 bytes, and the bytes are a multiple of 5.
const TEXT_BYTES: usize = PREFIX.len() + (SHARD_BYTES + CHECK_BYTES) / 5 * 8;
/// Most bytes of a text as it is sent or typed, with room for spaces.
pub const SHARD_TEXT_BYTES_MAX: usize = 512;

/// Which split a shard is of, and where it lies in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) cluster: ClusterId,
    pub(crate) split: [u8; SPLIT_ID_BYTES],
    pub(crate) threshold: u8,
    pub(crate) x: u8,
}

impl Head {
    fn encode(&self) -> Vec<u8> {
        [self.cluster.as_bytes(), &self.split[..], &[self.threshold, self.x]].concat()
    }
}

/// An open shard.
#[derive(Debug)]
pub struct PlainShard {
    head: Head,
    bytes: Bytes,
}

impl PlainShard {
    /// The shard at `head`, whose share `fill` writes.
    pub(crate) fn try_new(head: Head, fill: impl FnOnce(&mut [u8]) -> Result<(), Error>) -> Result<Self, Error> {
        let bytes = Bytes::try_init_with(SHARD_BYTES, |place| {
            let (to, share) = place.split_at_mut(HEAD_BYTES);
            to.copy_from_slice(&head.encode());
            fill(share)
        })?;
        Ok(Self { head, bytes })
    }

    /// What a keeper has opened.
    ///
    /// # Errors
    /// `ShardUnreadable` if it is no shard.
    pub(crate) fn from_bytes(bytes: Bytes) -> Result<Self, Error> {
        let head = bytes.expose(|bytes| {
            let (cluster, rest) = bytes.split_first_chunk::<16>()?;
            let (split, rest) = rest.split_first_chunk()?;
            let ([threshold, x], share) = rest.split_first_chunk()?;
            let cluster = ClusterId::new(Uuid::from_bytes(*cluster));
            (share.len() == SLOT_KEY_BYTES && *x != 0).then_some(Head { cluster, split: *split, threshold: *threshold, x: *x })
        });
        head.map(|head| Self { head, bytes }).ok_or(Error::ShardUnreadable)
    }

    /// Reads the text that a person has.
    ///
    /// # Errors
    /// `ShardUnreadable`: it is none, or a character is wrong.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        if text.len() > SHARD_TEXT_BYTES_MAX {
            return Err(Error::ShardUnreadable);
        }
        let packed = Bytes::try_init_with(TEXT_BYTES, |place| {
            let meant = text.iter().filter(|byte| **byte != b'-' && !byte.is_ascii_whitespace());
            let mut places = place.iter_mut();
            for byte in meant {
                *places.next().ok_or(Error::ShardUnreadable)? = byte.to_ascii_uppercase();
            }
            places.next().map_or(Ok(()), |_| Err(Error::ShardUnreadable))
        })?;
        let checked = Bytes::try_init_with(SHARD_BYTES + CHECK_BYTES, |place| {
            packed.expose(|packed| {
                let base32 = packed.strip_prefix(PREFIX).ok_or(Error::ShardUnreadable)?;
                BASE32_NOPAD.decode_mut(base32, place).map(drop).map_err(|_| Error::ShardUnreadable)
            })
        })?;
        let bytes = Bytes::try_init_with(SHARD_BYTES, |place| {
            checked.expose(|checked| {
                let (bytes, check) = checked.split_at(SHARD_BYTES);
                place.copy_from_slice(bytes);
                if ct_eq(&sha3_256(bytes)[..CHECK_BYTES], check) { Ok(()) } else { Err(Error::ShardUnreadable) }
            })
        })?;
        Self::from_bytes(bytes)
    }

    /// The text for a person.
    pub(crate) fn text(&self) -> Result<Bytes, Error> {
        let checked = Bytes::init_with(SHARD_BYTES + CHECK_BYTES, |place| {
            let (to, check) = place.split_at_mut(SHARD_BYTES);
            self.bytes.expose(|bytes| to.copy_from_slice(bytes));
            check.copy_from_slice(&self.digest()[..CHECK_BYTES]);
        })?;
        let packed = Bytes::init_with(TEXT_BYTES, |place| {
            let (prefix, base32) = place.split_at_mut(PREFIX.len());
            prefix.copy_from_slice(PREFIX);
            checked.expose(|checked| BASE32_NOPAD.encode_mut(checked, base32));
        })?;
        let groups = TEXT_BYTES / GROUP_BYTES;
        Ok(Bytes::init_with(TEXT_BYTES + groups - 1, |place| {
            place.fill(b'-');
            packed.expose(|packed| {
                for (to, group) in place.chunks_mut(GROUP_BYTES + 1).zip(packed.chunks_exact(GROUP_BYTES)) {
                    to[..GROUP_BYTES].copy_from_slice(group);
                }
            });
        })?)
    }

    pub(crate) fn head(&self) -> Head {
        self.head
    }

    /// SHA3-256 of all of it.
    pub(crate) fn digest(&self) -> [u8; 32] {
        self.bytes.expose(sha3_256)
    }

    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Runs `work` on its share.
    pub(crate) fn expose_share<R>(&self, work: impl FnOnce(&[u8]) -> R) -> R {
        self.bytes.expose(|bytes| work(&bytes[HEAD_BYTES..]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard() -> PlainShard {
        let head = Head { cluster: ClusterId::new(Uuid::from_bytes([0xC1; 16])), split: [0x51; 16], threshold: 3, x: 4 };
        PlainShard::try_new(head, |share| {
            share.fill(0x5A);
            Ok(())
        })
        .expect("the arena has room")
    }

    fn text() -> String {
        shard().text().expect("the arena has room").expose(|text| String::from_utf8(text.to_vec()).expect("ASCII"))
    }

    #[test]
    fn a_shard_is_read_as_it_was_written_however_it_is_typed() {
        let text = text();
        assert_eq!(text.len(), 134);
        for typed in [text.clone(), text.to_lowercase(), text.replace('-', ""), text.replace('-', "\n  "), format!(" {text}\n")] {
            let read = PlainShard::parse(typed.as_bytes()).expect("it is whole");
            assert_eq!((read.head(), read.digest()), (shard().head(), shard().digest()));
            read.expose_share(|share| assert_eq!(share, [0x5A; 32]));
        }
    }

    #[test]
    fn every_wrong_character_is_noticed() {
        let text = text();
        for (at, right) in text.bytes().enumerate().filter(|(_, byte)| *byte != b'-') {
            for wrong in [b'A', b'B', b'7', b'1', b'!', 0xC3] {
                let mut typed = text.clone().into_bytes();
                typed[at] = wrong;
                assert!(wrong == right || matches!(PlainShard::parse(&typed), Err(Error::ShardUnreadable)), "character {at}");
            }
            let mut short = text.clone().into_bytes();
            short.remove(at);
            assert!(matches!(PlainShard::parse(&short), Err(Error::ShardUnreadable)), "without character {at}");
        }
        assert!(matches!(PlainShard::parse(format!("{text}A").as_bytes()), Err(Error::ShardUnreadable)));
        assert!(matches!(PlainShard::parse(b""), Err(Error::ShardUnreadable)));
        assert!(matches!(PlainShard::parse(&vec![b' '; SHARD_TEXT_BYTES_MAX + 1]), Err(Error::ShardUnreadable)));
    }
}
