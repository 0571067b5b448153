//! HMAC-SHA-256, SHA-256 and comparison in constant time.

use hmac::{Hmac, KeyInit, Mac};
use secret::{Exhausted, Key, scrubbed};
use sha2::{Digest, Sha256};
use sha3::Sha3_256;
use subtle::ConstantTimeEq;

use crate::midstate::{self, SHA256_STATE_BYTES};

/// Length of an HMAC-SHA-256 or SHA-256 output in bytes.
pub const MAC_BYTES: usize = 32;

/// HMAC-SHA-256 (FIPS 198-1) of the concatenated parts, under a key of any length.
///
/// The parts are not separated: whoever passes parts of varying length frames them. Compare with [`ct_eq`] only.
#[must_use]
pub fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; MAC_BYTES] {
    scrubbed(|| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    })
}

/// A key of HMAC-SHA-256 that is used often: what HMAC does with the key alone is done once.
#[derive(Debug)]
pub struct HmacKey(Key<{ 2 * SHA256_STATE_BYTES }>);

impl HmacKey {
    /// Makes the key ready; its bytes themselves are not needed any more.
    ///
    /// # Errors
    /// [`Exhausted`] if the arena is full.
    pub fn new(key: &Key<32>) -> Result<Self, Exhausted> {
        Ok(Self(Key::init_with(|states| key.expose(|key| scrubbed(|| midstate::begin::<Sha256>(key, states))))?))
    }

    /// As [`hmac_sha256`].
    #[must_use]
    pub fn mac(&self, parts: &[&[u8]]) -> [u8; MAC_BYTES] {
        self.0.expose(|states| scrubbed(|| midstate::mac::<Sha256>(states, parts.iter().copied()).into()))
    }
}

/// SHA-256 (FIPS 180-4) of the concatenated parts, for bytes that are not secret.
#[must_use]
pub fn sha256(parts: &[&[u8]]) -> [u8; MAC_BYTES] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// SHA3-256 (FIPS 202), of bytes that may be secret.
#[must_use]
pub fn sha3_256(bytes: &[u8]) -> [u8; MAC_BYTES] {
    scrubbed(|| Sha3_256::digest(bytes).into())
}

/// Compares tags, commitments, check values and digests in a time that depends on their length only (C19).
#[must_use]
pub fn ct_eq(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::proptest;

    use super::*;

    proptest! {
        #[test]
        fn a_key_made_ready_gives_the_same_macs(key: [u8; 32], parts: Vec<Vec<u8>>) {
            let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            let ready = HmacKey::new(&Key::init_with(|bytes| *bytes = key).expect("the arena has room")).expect("the arena has room");
            assert_eq!(ready.mac(&parts), hmac_sha256(&key, &parts));
        }
    }

    #[test]
    fn parts_count_as_their_concatenation() {
        let whole: &[&[u8]] = &[b"one two"];
        let parts: &[&[u8]] = &[b"one", b"", b" two"];
        assert_eq!(hmac_sha256(b"key", whole), hmac_sha256(b"key", parts));
        assert_eq!(sha256(whole), sha256(parts));
    }

    #[test]
    fn another_key_or_text_gives_another_mac() {
        let original = hmac_sha256(b"key", &[b"text"]);
        assert_ne!(original, hmac_sha256(b"kez", &[b"text"]));
        assert_ne!(original, hmac_sha256(b"", &[b"text"]));
        assert_ne!(original, hmac_sha256(b"key", &[b"texu"]));
        assert_ne!(original, hmac_sha256(b"key", &[]));
    }

    #[test]
    fn unequal_bytes_or_lengths_never_compare_equal() {
        let original = [0x5A; MAC_BYTES];
        for bit in 0..8 * MAC_BYTES {
            let mut changed = original;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!ct_eq(&original, &changed), "bit {bit}");
        }
        assert!(!ct_eq(&original, &original[1..]));
        assert!(!ct_eq(&original, b""));
        assert!(ct_eq(&original, &[0x5A; MAC_BYTES]));
    }
}
