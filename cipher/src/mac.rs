//! MACs of clients, whole and in parts; HMAC-SHA-256 and SHA-256 of the appliance itself; comparison in constant time.
//!
//! A state of a MAC in parts is as secret as its key: with it a message can be continued. It lives in locked memory.

use hmac::{Hmac, KeyInit, Mac as _};
use secret::{Exhausted, Key, scrubbed};
use sha2::{Digest, Sha256};
use sha3::Sha3_256;
use subtle::ConstantTimeEq;

use crate::hash::{BLOCK_BYTES_MAX, HASH_BYTES_MAX, Hash};
use crate::midstate::{self, SHA256_STATE_BYTES};
use crate::{Error, cmac};

/// Length of an HMAC-SHA-256 or SHA-256 output in bytes.
pub const MAC_BYTES: usize = 32;

/// No state of a hash function is longer, in bytes.
const STATE_BYTES_MAX: usize = 384;
const PAD_INNER: u8 = 0x36;
const PAD_OUTER: u8 = 0x5C;

/// A way to authenticate messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mac {
    /// HMAC (FIPS 198-1), under a key of any length.
    Hmac(Hash),
    /// AES-CMAC (NIST SP 800-38B), under a key of 16, 24 or 32 bytes.
    Cmac,
}

impl Mac {
    /// Length of a MAC in bytes.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::Hmac(hash) => hash.bytes(),
            Self::Cmac => cmac::CMAC_BYTES,
        }
    }

    /// Length of a state in bytes.
    #[must_use]
    pub fn state_bytes(self) -> usize {
        match self {
            Self::Hmac(hash) => hash.state_bytes(),
            Self::Cmac => cmac::STATE_BYTES,
        }
    }

    /// Fills `out`, which is as long as the MAC, with that of the concatenated parts. Compare with [`ct_eq`] only.
    ///
    /// # Errors
    /// [`Error::WrongLength`] for an AES key.
    pub fn whole(self, key: &[u8], parts: &[&[u8]], out: &mut [u8]) -> Result<(), Error> {
        scrubbed(|| match self {
            Self::Hmac(hash) => {
                let mut inner = [0; HASH_BYTES_MAX];
                let inner = &mut inner[..hash.bytes()];
                let pad = padded(hash, key, PAD_INNER);
                let mut all = Vec::with_capacity(parts.len() + 1);
                all.push(&pad[..hash.block_bytes()]);
                all.extend_from_slice(parts);
                hash.whole(&all, inner);
                hash.whole(&[&padded(hash, key, PAD_OUTER)[..hash.block_bytes()], inner], out);
                Ok(())
            }
            Self::Cmac => {
                let mut state = [0; cmac::STATE_BYTES];
                parts.iter().try_for_each(|part| cmac::part(key, &mut state, part))?;
                cmac::last(key, &mut state, &[], out)
            }
        })
    }

    /// Writes the first state.
    ///
    /// # Errors
    /// [`Error::WrongLength`] for an AES key.
    pub fn begin(self, key: &[u8], after: &mut [u8]) -> Result<(), Error> {
        scrubbed(|| match self {
            Self::Hmac(hash) => {
                let mut first = [0; STATE_BYTES_MAX];
                let first = &mut first[..hash.state_bytes()];
                hash.begin(first);
                hash.part(first, &padded(hash, key, PAD_INNER)[..hash.block_bytes()], after);
                Ok(())
            }
            Self::Cmac => {
                after.fill(0);
                cmac::part(key, after, &[])
            }
        })
    }

    /// Takes in a part that is not the last, and writes the state `after` it.
    ///
    /// # Errors
    /// [`Error::WrongLength`] for an AES key.
    pub fn part(self, key: &[u8], before: &[u8], data: &[u8], after: &mut [u8]) -> Result<(), Error> {
        scrubbed(|| match self {
            Self::Hmac(hash) => {
                hash.part(before, data, after);
                Ok(())
            }
            Self::Cmac => {
                after.copy_from_slice(before);
                cmac::part(key, after, data)
            }
        })
    }

    /// Takes in the last part, and fills `out`, which is as long as the MAC. Compare with [`ct_eq`] only.
    ///
    /// # Errors
    /// [`Error::WrongLength`] for an AES key.
    pub fn last(self, key: &[u8], before: &[u8], data: &[u8], out: &mut [u8]) -> Result<(), Error> {
        scrubbed(|| match self {
            Self::Hmac(hash) => {
                let mut inner = [0; HASH_BYTES_MAX];
                let inner = &mut inner[..hash.bytes()];
                hash.last(before, data, inner);
                hash.whole(&[&padded(hash, key, PAD_OUTER)[..hash.block_bytes()], inner], out);
                Ok(())
            }
            Self::Cmac => {
                let mut state = [0; cmac::STATE_BYTES];
                state.copy_from_slice(before);
                cmac::last(key, &mut state, data, out)
            }
        })
    }
}

/// The key as HMAC takes it in: as a block of the hash function, hashed first if it is longer.
fn padded(hash: Hash, key: &[u8], pad: u8) -> [u8; BLOCK_BYTES_MAX] {
    let mut block = [0; BLOCK_BYTES_MAX];
    if key.len() > hash.block_bytes() {
        hash.whole(&[key], &mut block[..hash.bytes()]);
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    block.iter_mut().for_each(|byte| *byte ^= pad);
    block
}

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

    fn hex(text: &str) -> Vec<u8> {
        data_encoding::HEXLOWER.decode(text.as_bytes()).expect("hexadecimal")
    }

    fn check(mac: Mac, key: &[u8], text: &[u8], expected: &str) {
        let mut out = vec![0; mac.bytes()];
        mac.whole(key, &[text], &mut out).expect("the key fits");
        assert_eq!(data_encoding::HEXLOWER.encode(&out), expected, "{mac:?}");
        for cut in 0..=text.len() {
            let mut state = vec![0; mac.state_bytes()];
            mac.begin(key, &mut state).expect("the key fits");
            let before = state.clone();
            mac.part(key, &before, &text[..cut], &mut state).expect("the key fits");
            mac.last(key, &state, &text[cut..], &mut out).expect("the key fits");
            assert_eq!(data_encoding::HEXLOWER.encode(&out), expected, "{mac:?} cut at {cut}");
        }
    }

    /// RFC 4231, cases 2 and 6; RFC 2202, case 2, for SHA-1; for SHA-3, which has no such document, Python's hmac on the same input.
    #[test]
    fn hmac_is_that_of_its_documents() {
        let (key, text) = (&b"Jefe"[..], &b"what do ya want for nothing?"[..]);
        check(Mac::Hmac(Hash::Sha1), key, text, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
        check(Mac::Hmac(Hash::Sha224), key, text, "a30e01098bc6dbbf45690f3a7e9e6d0f8bbea2a39e6148008fd05e44");
        check(Mac::Hmac(Hash::Sha256), key, text, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        check(
            Mac::Hmac(Hash::Sha384),
            key,
            text,
            "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649",
        );
        check(
            Mac::Hmac(Hash::Sha512),
            key,
            text,
            "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
        );
        check(Mac::Hmac(Hash::Sha3_224), key, text, "7fdb8dd88bd2f60d1b798634ad386811c2cfc85bfaf5d52bbace5e66");
        check(Mac::Hmac(Hash::Sha3_256), key, text, "c7d4072e788877ae3596bbb0da73b887c9171f93095b294ae857fbe2645e1ba5");
        check(
            Mac::Hmac(Hash::Sha3_384),
            key,
            text,
            "f1101f8cbf9766fd6764d2ed61903f21ca9b18f57cf3e1a23ca13508a93243ce48c045dc007f26a21b3f5e0e9df4c20a",
        );
        check(
            Mac::Hmac(Hash::Sha3_512),
            key,
            text,
            "5a4bfeab6166427c7a3647b747292b8384537cdb89afb3bf5665e4c5e709350b287baec921fd7ca0ee7a0c31d022a95e1fc92ba9d77df883960275beb4e62024",
        );
        let (key, text) = ([0xAA; 131], &b"Test Using Larger Than Block-Size Key - Hash Key First"[..]);
        check(Mac::Hmac(Hash::Sha224), &key, text, "95e9a0db962095adaebe9b2d6f0dbce2d499f112f2d2b7273fa6870e");
        check(Mac::Hmac(Hash::Sha256), &key, text, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
        check(
            Mac::Hmac(Hash::Sha384),
            &key,
            text,
            "4ece084485813e9088d2c63a041bc5b44f9ef1012a2b588f3cd11f05033ac4c60c2ef6ab4030fe8296248df163f44952",
        );
    }

    /// RFC 4493, section 4, and the examples of NIST SP 800-38B for the longer keys.
    #[test]
    fn cmac_is_that_of_its_documents() {
        let text = hex(
            "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710",
        );
        let key = hex("2b7e151628aed2a6abf7158809cf4f3c");
        check(Mac::Cmac, &key, b"", "bb1d6929e95937287fa37d129b756746");
        check(Mac::Cmac, &key, &text[..16], "070a16b46b4d4144f79bdd9dd04a287c");
        check(Mac::Cmac, &key, &text[..40], "dfa66747de9ae63030ca32611497c827");
        check(Mac::Cmac, &key, &text, "51f0bebf7e3b9d92fc49741779363cfe");
        let key = hex("8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b");
        check(Mac::Cmac, &key, b"", "d17ddf46adaacde531cac483de7a9367");
        check(Mac::Cmac, &key, &text, "a1d5df0eed790f794d77589659f39a11");
        let key = hex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4");
        check(Mac::Cmac, &key, b"", "028962f61b7bf89efc6b551f4667d983");
        check(Mac::Cmac, &key, &text[..40], "aaf3d8f1de5640c232f5b169b9c911e6");
        check(Mac::Cmac, &key, &text, "e1992190549f6ed5696a2c056c315410");
    }

    #[test]
    fn a_key_that_is_none_of_aes_is_a_typed_error() {
        for bytes in [0, 15, 17, 31, 33] {
            let refused = Mac::Cmac.whole(&vec![0; bytes], &[b"text"], &mut [0; 16]);
            assert!(matches!(refused, Err(Error::WrongLength { what: "AES key", is_bytes, .. }) if is_bytes == bytes), "{bytes}");
            assert!(Mac::Cmac.begin(&vec![0; bytes], &mut [0; cmac::STATE_BYTES]).is_err(), "{bytes}");
        }
    }

    #[test]
    fn no_state_is_longer_than_there_is_room_for() {
        assert!(Hash::ALL.into_iter().all(|hash| hash.state_bytes() <= STATE_BYTES_MAX));
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
