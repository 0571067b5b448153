//! The forms in which a key can lie in memory, each cut into needles of sixteen bytes.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::block_api::{compress256, compress512};
use sha2::{Digest, Sha512};

/// Bytes of a needle. Half a 256-bit key found is a key lost.
pub(super) const NEEDLE_BYTES: usize = 16;

const AES_256_ROUNDS: usize = 14;
const BLOCK_BYTES: usize = 16;
const WORD_BYTES: usize = 4;

/// FIPS 180-4, section 5.3.3 and 5.3.5.
const SHA256_START: [u32; 8] = [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];
const SHA512_START: [u64; 8] = [
    0x6a09_e667_f3bc_c908,
    0xbb67_ae85_84ca_a73b,
    0x3c6e_f372_fe94_f82b,
    0xa54f_f53a_5f1d_36f1,
    0x510e_527f_ade6_82d1,
    0x9b05_688c_2b3e_6c1f,
    0x1f83_d9ab_fb41_bd6b,
    0x5be0_cd19_137e_2179,
];

/// Whose loss a needle would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Class {
    /// The MasterKey and what HKDF makes of it.
    MasterKey,
    /// An IVK version, its extracted key, the key of the record that holds it.
    Ivk,
    /// The integrity key, its extracted key, the key of the record that holds it.
    IntegrityKey,
    /// What the integrity key yields: the keys of row MAC, registry, slot table, search terms and records.
    IntegrityDerived,
    /// The audit log's signing seed and what Ed25519 makes of it.
    AuditKey,
    /// A version of a tenant's key, or of its key for a resource, its extracted key, the key of the record that holds it.
    L2,
    /// A service key, its AES schedule, the key of the record that holds it.
    L3,
    /// What an edge wraps by: an object key or an attribute key, its extracted key, the keys of what lies under it.
    ObjectKey,
    /// The material of an edge's object, its AES schedule.
    L4,
    /// The seed by which an edge vouches for its clients, and what Ed25519 makes of it.
    DelegationKey,
    /// The key that the token protects, and what seals the MasterKey under it.
    SlotKey,
    /// The token's PIN.
    Pin,
    /// A person's shard of a slot key, as it is typed.
    Shard,
    /// Not secret: the cluster's id, which is in every core's memory. A scan that does not find it has not looked.
    Control,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::MasterKey => "MasterKey",
            Self::Ivk => "IVK",
            Self::IntegrityKey => "integrity",
            Self::IntegrityDerived => "int.derived",
            Self::AuditKey => "audit",
            Self::L2 => "L2",
            Self::L3 => "L3",
            Self::ObjectKey => "object key",
            Self::L4 => "L4",
            Self::DelegationKey => "delegation",
            Self::SlotKey => "slot key",
            Self::Pin => "PIN",
            Self::Shard => "shard",
            Self::Control => "control",
        })
    }
}

/// Sixteen bytes to search for, kept inverted, so that no holder of needles is itself full of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Needle {
    /// Whose loss it would be.
    pub class: Class,
    /// In which form.
    pub form: Form,
    /// The bytes, each inverted.
    pub inverted: [u8; NEEDLE_BYTES],
}

/// What became of the key's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Form {
    /// As they are, or with the bytes of each word turned round.
    Raw,
    /// Under one of HMAC's two pads.
    Pad,
    /// The state of the hash after one of HMAC's padded blocks.
    State,
    /// A round key of AES, for encryption or for decryption.
    Round,
    /// The hash key of GCM, or its double.
    Hash,
}

/// A growing set of needles.
#[derive(Debug, Default)]
pub struct Needles(BTreeSet<Needle>);

impl Needles {
    /// All of them.
    #[must_use]
    pub fn list(&self) -> Vec<Needle> {
        self.0.iter().copied().collect()
    }

    /// Further ones.
    pub fn extend(&mut self, needles: &[Needle]) {
        self.0.extend(needles);
    }

    /// Bytes as they are.
    ///
    /// # Panics
    /// If there are fewer than sixteen.
    pub fn raw(&mut self, class: Class, bytes: &[u8]) {
        assert!(bytes.len() >= NEEDLE_BYTES, "{class}: {} bytes are too few to search for", bytes.len());
        self.pieces(class, Form::Raw, bytes);
    }

    /// A key of HMAC-SHA-256, or a pseudorandom key: HMAC-SHA-512's.
    pub fn hmac(&mut self, class: Class, key: &[u8]) {
        self.raw(class, key);
        for pad in [0x36, 0x5C] {
            let mut block = [pad; 128];
            block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
            self.pieces(class, Form::Pad, &block[..key.len()]);
            let mut state = SHA512_START;
            compress512(&mut state, &[block]);
            self.pieces(class, Form::State, &state.map(u64::to_ne_bytes).concat());
            if let Some(block) = block.first_chunk::<64>().filter(|_| key.len() <= 64) {
                let mut state = SHA256_START;
                compress256(&mut state, &[*block]);
                self.pieces(class, Form::State, &state.map(u32::to_ne_bytes).concat());
            }
        }
    }

    /// A seed of Ed25519. RFC 8032 section 5.1.5: the halves of its hash are the scalar, once it is clamped, and the prefix.
    pub fn ed25519(&mut self, class: Class, seed: &[u8]) {
        self.raw(class, seed);
        let mut halves: [u8; 64] = Sha512::digest(seed).into();
        self.raw(class, &halves);
        halves[0] &= 248;
        halves[31] = halves[31] & 127 | 64;
        self.raw(class, &halves);
    }

    /// A key of AES-256, in whatever mode.
    pub fn aes(&mut self, class: Class, key: &[u8; 32]) {
        self.raw(class, key);
        let rounds = schedule(key);
        for (number, round) in rounds.iter().enumerate() {
            self.pieces(class, Form::Round, round);
            if (1..AES_256_ROUNDS).contains(&number) {
                self.pieces(class, Form::Round, &for_decryption(round));
            }
        }
        let hash_key = hash_key(key);
        let turned = u128::from_be_bytes(hash_key);
        for form in [turned, doubled(turned)] {
            self.pieces(class, Form::Hash, &form.to_be_bytes());
            self.pieces(class, Form::Hash, &form.rotate_left(64).to_be_bytes());
            self.pieces(class, Form::Hash, &form.to_le_bytes());
            self.pieces(class, Form::Hash, &form.rotate_left(64).to_le_bytes());
        }
    }

    /// Whole pieces of `bytes`, with words of 1, 4 and 8 bytes in either byte order.
    fn pieces(&mut self, class: Class, form: Form, bytes: &[u8]) {
        for piece in bytes.chunks_exact(NEEDLE_BYTES) {
            for word in [1, 4, 8] {
                let mut inverted = [0; NEEDLE_BYTES];
                for (to, from) in inverted.chunks_exact_mut(word).zip(piece.chunks_exact(word)) {
                    to.iter_mut().zip(from.iter().rev()).for_each(|(to, from)| *to = !from);
                }
                self.0.insert(Needle { class, form, inverted });
            }
        }
    }
}

/// AES_K(0), by CBC of one block of zeros from an IV of zeros.
fn hash_key(key: &[u8; 32]) -> [u8; BLOCK_BYTES] {
    let mut out = Vec::with_capacity(2 * BLOCK_BYTES);
    cipher::mode::cbc_encrypt(key, &[0; BLOCK_BYTES], &[0; BLOCK_BYTES], &mut out).expect("one block");
    *out.first_chunk().expect("a block and its padding")
}

/// The product with x in the field of GHASH, as implementations keep it to save themselves a shift per block.
fn doubled(hash_key: u128) -> u128 {
    let carry = if hash_key >> 127 == 1 { 0xC200_0000_0000_0000_0000_0000_0000_0001 } else { 0 };
    (hash_key << 1) ^ carry
}

/// The fifteen round keys, FIPS 197 section 5.2.
fn schedule(key: &[u8; 32]) -> Vec<[u8; BLOCK_BYTES]> {
    let mut words: Vec<[u8; WORD_BYTES]> = key.chunks_exact(WORD_BYTES).map(|word| word.try_into().expect("four bytes")).collect();
    let mut constant = 1;
    for number in words.len()..WORD_BYTES * (AES_256_ROUNDS + 1) {
        let mut word = words[number - 1];
        match number % 8 {
            0 => {
                word.rotate_left(1);
                word = word.map(substituted);
                word[0] ^= constant;
                constant = times_x(constant);
            }
            4 => word = word.map(substituted),
            _ => {}
        }
        word.iter_mut().zip(words[number - 8]).for_each(|(byte, before)| *byte ^= before);
        words.push(word);
    }
    words.chunks_exact(4).map(|round| round.concat().try_into().expect("sixteen bytes")).collect()
}

/// InvMixColumns of a round key: what the equivalent inverse cipher uses, FIPS 197 section 5.3.5.
fn for_decryption(round: &[u8; BLOCK_BYTES]) -> [u8; BLOCK_BYTES] {
    let mut out = [0; BLOCK_BYTES];
    for (to, from) in out.chunks_exact_mut(WORD_BYTES).zip(round.chunks_exact(WORD_BYTES)) {
        for (row, byte) in to.iter_mut().enumerate() {
            let factors = [14, 11, 13, 9];
            *byte = (0..WORD_BYTES).fold(0, |sum, column| sum ^ product(factors[column], from[(row + column) % WORD_BYTES]));
        }
    }
    out
}

/// SubBytes, FIPS 197 section 5.1.1, by its definition: the inverse in GF(2^8), then an affine map. The inverse is the 254th power.
fn substituted(byte: u8) -> u8 {
    let inverse = (0..253).fold(byte, |power, _| product(power, byte));
    (0..5).fold(0x63, |sum, turn| sum ^ inverse.rotate_left(turn))
}

fn product(a: u8, b: u8) -> u8 {
    let (mut sum, mut factor) = (0, a);
    for bit in 0..8 {
        if b >> bit & 1 == 1 {
            sum ^= factor;
        }
        factor = times_x(factor);
    }
    sum
}

fn times_x(byte: u8) -> u8 {
    byte << 1 ^ if byte >> 7 == 1 { 0x1B } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [
        0x60, 0x3d, 0xeb, 0x10, 0x15, 0xca, 0x71, 0xbe, 0x2b, 0x73, 0xae, 0xf0, 0x85, 0x7d, 0x77, 0x81, //
        0x1f, 0x35, 0x2c, 0x07, 0x3b, 0x61, 0x08, 0xd7, 0x2d, 0x98, 0x10, 0xa3, 0x09, 0x14, 0xdf, 0xf4,
    ];

    /// FIPS 197, appendix A.3.
    #[test]
    fn the_schedule_is_the_standards() {
        let rounds = schedule(&KEY);
        assert_eq!(rounds.len(), 15);
        assert_eq!(rounds[2][..4], [0x9b, 0xa3, 0x54, 0x11]);
        assert_eq!(rounds[14][12..], [0x70, 0x6c, 0x63, 0x1e]);
    }

    /// FIPS 197, section 5.3.3 with the column of section 5.1.3's example: MixColumns of the result gives the column back.
    #[test]
    fn round_keys_for_decryption_are_the_inverse_of_mixed_columns() {
        let mixed = [0x8e, 0x4d, 0xa1, 0xbc].repeat(4).try_into().expect("sixteen bytes");
        assert_eq!(for_decryption(&mixed)[..4], [0xdb, 0x13, 0x53, 0x45]);
    }

    #[test]
    fn a_needle_never_holds_the_bytes_it_stands_for() {
        let mut needles = Needles::default();
        needles.aes(Class::L3, &KEY);
        needles.hmac(Class::L3, &KEY);
        for needle in needles.list() {
            assert!(KEY.chunks_exact(NEEDLE_BYTES).all(|half| half != needle.inverted), "{:?}", needle.form);
        }
        assert!(needles.list().iter().any(|needle| needle.inverted.map(|byte| !byte) == KEY[..16]));
    }
}
