//! A stored record: visible header, sealed blobs, search terms, and the MAC over all of it.
//!
//! ```text
//! row   "SRR1" | fmt u8 = 1 | postcard(Row)
//! MAC   HMAC-SHA-256(K_meta, "SRR1" | fmt | postcard(header) | postcard(terms) | SHA-256(material) | SHA-256(attributes)), absent blob = 32 zero bytes
//! ```
//! Source: SECURITY C3. Every store keeps the row's bytes as they are; nothing of a row is believed before its MAC is checked.

use cipher::aead::Aead;
use serde::{Deserialize, Serialize};

use crate::id::{ChainId, Generation, KeyVersion, RowId, ServiceId, TenantId, Time};
use crate::lifecycle::State;

/// First bytes of a stored row.
const MAGIC: &[u8; 4] = b"SRR1";
/// The one format released so far.
const FORMAT: u8 = 1;
/// Room for a row without its blobs and terms: magic, header, lengths and MAC, each at its longest.
const BESIDES_BYTES: usize = 320;
/// Longest stored row: attributes, blobs and terms together.
pub const ROW_BYTES_MAX: usize = 256 * 1024;

/// A KMIP object type by its number in the standard, or one of ours above 0x8000_0000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ObjectType(pub u32);

impl ObjectType {
    /// KMIP's Symmetric Key.
    pub const SYMMETRIC_KEY: Self = Self(2);
    /// KMIP's Public Key.
    pub const PUBLIC_KEY: Self = Self(3);
    /// KMIP's Private Key.
    pub const PRIVATE_KEY: Self = Self(4);
    /// KMIP's Template: a list of attributes, without material.
    pub const TEMPLATE: Self = Self(6);
    /// A record of the appliance itself, never seen by a client.
    pub const RECORD: Self = Self(0x8000_0000);
    /// In an AAD only: the sealed attributes of an object, so that they cannot stand in for its material.
    pub const ATTRIBUTES: Self = Self(0x8000_0001);
}

/// A KMIP Cryptographic Algorithm by its number in the standard; 0 for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Algorithm(pub u32);

impl Algorithm {
    /// No algorithm: a record without key material.
    pub const NONE: Self = Self(0);
    /// KMIP's Triple DES, kept for clients and used for nothing here.
    pub const TRIPLE_DES: Self = Self(2);
    /// KMIP's AES.
    pub const AES: Self = Self(3);
    /// In an internal key: 32 bytes that only feed HKDF.
    pub const WRAPPING: Self = Self(0x8000_0000);
    /// In an audit key: an Ed25519 seed.
    pub const ED25519: Self = Self(0x8000_0001);
}

/// Whose row it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// The tenant; [`TenantId::SYSTEM`] for the appliance itself.
    pub tenant: TenantId,
    /// The service; `None` for what belongs to the tenant as a whole.
    pub service: Option<ServiceId>,
}

/// Which key version wraps a row's blobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ParentRef {
    /// The parent's chain: `wrap_kid` of the blob.
    pub chain: ChainId,
    /// The parent's version: `wrap_ver` of the blob.
    pub version: KeyVersion,
}

/// What a store can see of a row (KS-6..KS-11).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Primary key.
    pub id: RowId,
    /// The chain that the key is a version of.
    pub chain: ChainId,
    /// Which version of the chain.
    pub version: KeyVersion,
    /// What the material is.
    pub object_type: ObjectType,
    /// What the material is for.
    pub algorithm: Algorithm,
    /// Size of the material in bits, of Triple DES with or without parity, of a key of a pair that of its modulus or curve; 0 without material.
    pub bits: u32,
    /// How this version wraps its children (IVK-16).
    #[serde(with = "aead_number")]
    pub aead: Aead,
    /// Lifecycle state as last stored.
    pub state: State,
    /// When the key stops protecting, if that is known ahead.
    pub expiry: Option<Time>,
    /// Whose it is.
    pub owner: Owner,
    /// How often the row has changed.
    pub generation: Generation,
    /// What wraps its blobs.
    pub parent: ParentRef,
    /// How often its material has been wrapped; part of the AAD.
    pub wrap_seq: u64,
    /// The same for its attributes.
    pub attributes_seq: u64,
}

impl Header {
    /// Size of the material in bytes, as its number of bits says it.
    #[must_use]
    pub fn material_bytes(&self) -> usize {
        let bits = match (self.algorithm, self.bits) {
            // Of Triple DES the standard does not count the parity bits, one a byte.
            (Algorithm::TRIPLE_DES, bits @ (112 | 168)) => bits / 7 * 8,
            (_, bits) => bits,
        };
        usize::try_from(bits / 8).expect("key sizes are small")
    }
}

/// 16 bytes by which a store finds a row without learning what was asked: `HMAC-SHA-256(K_index, ...)` cut to 16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Term(pub [u8; 16]);

/// One stored record. `material` and `attributes` are C1 blobs; a tombstone has no material.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The visible part.
    pub header: Header,
    /// Sealed key bytes.
    #[serde(serialize_with = "blob::serialize")]
    pub material: Option<Vec<u8>>,
    /// Sealed attributes or the sealed content of a record.
    #[serde(serialize_with = "blob::serialize")]
    pub attributes: Option<Vec<u8>>,
    /// What the row can be found by.
    pub terms: Vec<Term>,
    /// MAC over all of the above.
    pub meta_mac: [u8; 32],
}

/// Why stored bytes are not a row.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// Not our magic: no row at all.
    #[error("not a row")]
    NotARow,
    /// Written by a newer release.
    #[error("row format {format} is newer than this release knows; upgrade strongroom")]
    Newer {
        /// The format found.
        format: u8,
    },
    /// The bytes after the format do not decode.
    #[error("damaged row")]
    Damaged,
}

impl Row {
    /// The row as stored.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let blobs = [&self.material, &self.attributes].into_iter().flatten().map(Vec::len).sum::<usize>();
        let bytes = prefix(BESIDES_BYTES + blobs + self.terms.len() * size_of::<Term>());
        postcard::to_extend(self, bytes).expect("a row is plain data and memory grows")
    }

    /// The inverse of [`Row::encode`]; does not check the MAC.
    ///
    /// # Errors
    /// See [`RowError`]; never panics on any input.
    pub fn decode(bytes: &[u8]) -> Result<Self, RowError> {
        let StoredRow { header, material, attributes, terms, meta_mac } = StoredRow::read(bytes)?;
        Ok(Self { header, material: material.map(<[u8]>::to_vec), attributes: attributes.map(<[u8]>::to_vec), terms, meta_mac })
    }

    /// What `meta_mac` is computed over.
    pub(crate) fn mac_input(&self) -> Vec<u8> {
        let bytes = prefix(BESIDES_BYTES + self.terms.len() * size_of::<Term>());
        let mut input = postcard::to_extend(&self.header, bytes).expect("a header is plain data and memory grows");
        input = postcard::to_extend(&self.terms, input).expect("terms are plain data and memory grows");
        for blob in [&self.material, &self.attributes] {
            input.extend_from_slice(&blob.as_ref().map_or([0; 32], |blob| cipher::mac::sha256(&[blob])));
        }
        input
    }
}

/// A row as it is read, its blobs where they are stored.
#[derive(Debug, Deserialize)]
pub struct StoredRow<'a> {
    /// The visible part.
    pub header: Header,
    material: Option<&'a [u8]>,
    attributes: Option<&'a [u8]>,
    /// What the row can be found by.
    pub terms: Vec<Term>,
    meta_mac: [u8; 32],
}

impl<'a> StoredRow<'a> {
    /// As [`Row::decode`], for whoever does without the blobs.
    ///
    /// # Errors
    /// See [`RowError`].
    pub fn read(bytes: &'a [u8]) -> Result<Self, RowError> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(RowError::NotARow)?;
        let (format, body) = rest.split_first().ok_or(RowError::Damaged)?;
        if *format != FORMAT {
            return Err(RowError::Newer { format: *format });
        }
        match postcard::take_from_bytes(body) {
            Ok((row, [])) => Ok(row),
            Ok(_) | Err(_) => Err(RowError::Damaged),
        }
    }
}

fn prefix(room_bytes: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(room_bytes);
    bytes.extend_from_slice(MAGIC);
    bytes.push(FORMAT);
    bytes
}

/// A blob is stored as its length and its bytes. That is how any list of bytes is, but as one piece it is copied, and not looked at byte by byte.
mod blob {
    use serde::{Serialize, Serializer};

    struct Blob<'b>(&'b [u8]);

    pub(super) fn serialize<S: Serializer>(blob: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
        blob.as_deref().map(Blob).serialize(serializer)
    }

    impl Serialize for Blob<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_bytes(self.0)
        }
    }
}

/// An [`Aead`] is stored as its number.
mod aead_number {
    use cipher::aead::Aead;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(aead: &Aead, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u16(*aead as u16)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Aead, D::Error> {
        Aead::try_from(u16::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Layer;
    use uuid::Uuid;

    pub(crate) fn sample() -> Row {
        let uuid = Uuid::from_bytes([7; 16]);
        Row {
            header: Header {
                id: RowId::new(Layer::L3, uuid),
                chain: ChainId::new(uuid),
                version: KeyVersion::FIRST,
                object_type: ObjectType::SYMMETRIC_KEY,
                algorithm: Algorithm::AES,
                bits: 256,
                aead: Aead::Aes256GcmSiv,
                state: State::Active,
                expiry: None,
                owner: Owner { tenant: TenantId::new(uuid), service: None },
                generation: Generation::FIRST,
                parent: ParentRef { chain: ChainId::new(uuid), version: KeyVersion::FIRST },
                wrap_seq: 1,
                attributes_seq: 1,
            },
            material: Some(vec![1, 2, 3]),
            attributes: None,
            terms: vec![Term([9; 16])],
            meta_mac: [4; 32],
        }
    }

    #[test]
    fn a_row_reads_as_it_was_written() {
        assert_eq!(Row::decode(&sample().encode()), Ok(sample()));
    }

    #[test]
    fn a_blob_is_stored_as_any_list_of_bytes_is() {
        #[derive(Serialize)]
        struct Plain(Header, Option<Vec<u8>>, Option<Vec<u8>>, Vec<Term>, [u8; 32]);
        for (material, attributes) in [(None, Some(vec![])), (Some(vec![0xFF; 300]), None), (Some(vec![1, 2, 0x80]), Some(vec![7; 127]))] {
            let row = Row { material, attributes, ..sample() };
            let Row { header, material, attributes, terms, meta_mac } = row.clone();
            let plain = postcard::to_allocvec(&Plain(header, material, attributes, terms, meta_mac)).expect("it is plain data");
            assert_eq!(row.encode()[5..], plain);
            assert_eq!(Row::decode(&row.encode()), Ok(row));
        }
    }

    #[test]
    fn cut_or_foreign_bytes_are_no_row() {
        let bytes = sample().encode();
        for end in 0..bytes.len() {
            assert!(Row::decode(&bytes[..end]).is_err(), "{end}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert_eq!(Row::decode(&longer), Err(RowError::Damaged));
        let mut newer = bytes;
        newer[4] = 2;
        assert_eq!(Row::decode(&newer), Err(RowError::Newer { format: 2 }));
    }

    #[test]
    fn an_absent_blob_is_not_an_empty_one() {
        let absent = sample();
        let empty = Row { attributes: Some(Vec::new()), ..sample() };
        assert_ne!(absent.mac_input(), empty.mac_input());
    }
}
