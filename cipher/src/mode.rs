//! The block-cipher modes of client data: AES-GCM (NIST SP 800-38D), and AES-CBC, AES-ECB and AES-CTR (SP 800-38A), for keys of 128, 192 and 256
//! bits.
//!
//! These are aws-lc's, several times faster on bulk data than the portable ones and able to do all three key lengths in all modes. The price:
//! for the length of a call the key schedule, and in all but GCM the raw key as well, lie on the ordinary heap; the library wipes both before it
//! frees them. Output goes straight into the caller's vector: reserve its room and 64 bytes beforehand, because a vector that grows leaves its old
//! bytes behind.
//!
//! Whoever may choose what ECB encrypts, the counter block of CTR or the IV of CBC has blocks of its choice encrypted as they are, GCM's hash key
//! among them: a key that does this protects nothing by GCM from the same client.

use std::ops::Deref;

use aws_lc_rs::aead::{AES_128_GCM, AES_192_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, DecryptionContext, EncryptionContext, StreamingDecryptingKey, StreamingEncryptingKey, UnboundCipherKey,
};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::{aead, cipher};
use secret::scrubbed;
use zeroize::Zeroize;

use crate::stream::{self, STATE_BYTES};
use crate::{Error, Padding, gcm};

/// Length of the initialization vector of GCM in bytes; [`gcm_encrypt_with`] and [`gcm_decrypt_with`] take others as well.
pub const GCM_IV_BYTES: usize = 12;

/// The longest initialization vector of GCM in bytes.
pub const GCM_IV_BYTES_MAX: usize = 128;

/// Length of the tag of GCM in bytes, and the longest; [`gcm_encrypt_with`] and [`gcm_decrypt_with`] take shorter ones as well.
pub const GCM_TAG_BYTES: usize = 16;

/// The shortest tag of GCM in bytes. The standard has ones of 4 and 8 too, for uses that bound the attempts to forge one.
pub const GCM_TAG_BYTES_MIN: usize = 12;

/// Length of the initialization vector of CBC in bytes.
pub const CBC_IV_BYTES: usize = 16;

/// The most data one call takes, in bytes; the library counts CBC data in 31 bits.
pub const DATA_BYTES_MAX: usize = 1 << 30;

/// Length of a block of AES in bytes.
pub const BLOCK_BYTES: usize = 16;

/// A mode without a tag: nothing in it tells whether a ciphertext was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Electronic codebook: equal blocks of plaintext become equal blocks of ciphertext.
    Ecb(Padding),
    /// Cipher block chaining.
    Cbc(Padding),
    /// Counter mode; all 128 bits of the counter block count.
    Ctr,
}

impl Mode {
    /// Length of what a message begins with, in bytes: of CBC the IV, of CTR the first counter block.
    #[must_use]
    pub fn iv_bytes(self) -> usize {
        match self {
            Self::Ecb(_) => 0,
            Self::Cbc(_) | Self::Ctr => BLOCK_BYTES,
        }
    }

    pub(crate) fn check_iv(self, iv: &[u8]) -> Result<(), Error> {
        let (what, wants) = match self {
            Self::Ecb(_) => ("ECB initialization vector", "0"),
            Self::Cbc(_) => ("CBC initialization vector", "16"),
            Self::Ctr => ("CTR counter block", "16"),
        };
        if iv.len() == self.iv_bytes() { Ok(()) } else { Err(Error::WrongLength { what, is_bytes: iv.len(), wants }) }
    }
}

/// Encrypts: appends as many bytes to `out` as `plaintext` has, and those of the padding.
///
/// - `key`: 16, 24 or 32 bytes. `iv`: of CBC 16 unpredictable bytes, of CTR a counter block of 16 bytes that was never used before with this key,
///   neither given nor counted to; of ECB nothing.
/// - `random`: 15 random bytes for [`Padding::Iso10126`], for all else none.
///
/// # Errors
/// [`Error::WrongLength`] for key, IV, plaintext or `random`: without padding, plaintext must be whole blocks. `out` is then as it was.
pub fn encrypt(mode: Mode, key: &[u8], iv: &[u8], plaintext: &[u8], random: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    let mut state = [0; STATE_BYTES];
    stream::begin(mode, iv, &mut state)?;
    stream::encrypt_last(mode, key, &state, plaintext, random, out)
}

/// Decrypts and removes the padding: appends the plaintext to `out`, or leaves `out` as it was.
///
/// What [`cbc_decrypt`] says of padding holds for all paddings that are removed.
///
/// # Errors
/// [`Error::WrongLength`] for key, IV or ciphertext. For a ciphertext that is not whole blocks it is [`Error::Refused`] if there is a padding to
/// remove, as for a bad padding.
pub fn decrypt(mode: Mode, key: &[u8], iv: &[u8], ciphertext: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    let mut state = [0; STATE_BYTES];
    stream::begin(mode, iv, &mut state)?;
    stream::decrypt_last(mode, key, &state, ciphertext, out)
}

/// Encrypts with AES-GCM: appends as many bytes as `plaintext` has to `out`, and returns the tag.
///
/// - `key`: 16, 24 or 32 bytes. `iv`: 12 bytes, never used before with this key.
///
/// # Errors
/// [`Error::WrongLength`] for key, IV or plaintext; `out` is then as it was.
pub fn gcm_encrypt(key: &[u8], iv: &[u8], aad: &[u8], plaintext: &[u8], out: &mut Vec<u8>) -> Result<[u8; GCM_TAG_BYTES], Error> {
    let algorithm = gcm_algorithm(key)?;
    let iv = gcm_iv(iv)?;
    check_data(plaintext)?;
    let mut tag = [0; GCM_TAG_BYTES];
    append(out, plaintext.len(), |room| {
        let key = LessSafeKey::new(UnboundKey::new(algorithm, key)?);
        key.seal_out_of_place_scatter(Nonce::from(iv), Aad::from(aad), plaintext, room, &[], &mut tag)?;
        Ok(plaintext.len())
    })?;
    Ok(tag)
}

/// Decrypts AES-GCM: appends the plaintext to `out` if the tag verifies, else leaves `out` as it was.
///
/// - `key`, `iv` as in [`gcm_encrypt`]; `tag`: 16 bytes.
///
/// # Errors
/// [`Error::WrongLength`] for key, IV, tag or ciphertext; [`Error::Refused`] if the tag does not verify.
pub fn gcm_decrypt(key: &[u8], iv: &[u8], aad: &[u8], ciphertext: &[u8], tag: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    let algorithm = gcm_algorithm(key)?;
    let iv = gcm_iv(iv)?;
    check_data(ciphertext)?;
    if tag.len() != GCM_TAG_BYTES {
        return Err(Error::WrongLength { what: "GCM tag", is_bytes: tag.len(), wants: "16" });
    }
    append(out, ciphertext.len(), |room| {
        let key = LessSafeKey::new(UnboundKey::new(algorithm, key)?);
        key.open_separate_gather(Nonce::from(iv), Aad::from(aad), ciphertext, tag, room)?;
        Ok(ciphertext.len())
    })
}

/// A tag of GCM, of 12 to 16 bytes: a slice of them by dereference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GcmTag {
    /// Zeros after the tag.
    tag: [u8; GCM_TAG_BYTES],
    bytes: usize,
}

impl GcmTag {
    /// The first `bytes` bytes of a tag.
    pub(crate) fn cut(mut tag: [u8; GCM_TAG_BYTES], bytes: usize) -> Self {
        tag[bytes..].fill(0);
        Self { tag, bytes }
    }
}

impl Deref for GcmTag {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.tag[..self.bytes]
    }
}

/// Encrypts with AES-GCM as [`gcm_encrypt`] does, with other lengths of IV and tag; 12 and 16 bytes are the fastest.
///
/// - `iv`: 1 to 128 bytes, never used before with this key. One that is not 12 bytes long becomes a counter block by hashing, and two of them may
///   come to the same: a key that has random IVs of such a length encrypts no more than 2^32 messages.
/// - `tag_bytes`: 12 to 16.
///
/// # Errors
/// [`Error::WrongLength`] for key, IV, tag or plaintext; `out` is then as it was.
pub fn gcm_encrypt_with(key: &[u8], iv: &[u8], aad: &[u8], plaintext: &[u8], tag_bytes: usize, out: &mut Vec<u8>) -> Result<GcmTag, Error> {
    check_gcm_iv(iv)?;
    check_gcm_tag(tag_bytes)?;
    check_data(plaintext)?;
    let encrypt = if iv.len() == GCM_IV_BYTES { gcm_encrypt } else { gcm::encrypt };
    Ok(GcmTag::cut(encrypt(key, iv, aad, plaintext, out)?, tag_bytes))
}

/// Decrypts AES-GCM as [`gcm_decrypt`] does, with other lengths of IV and tag: nothing is decrypted before the tag has verified.
///
/// - `key`, `iv` as in [`gcm_encrypt_with`]; `tag`: 12 to 16 bytes. Whoever calls sees to it that a tag is as long as the one that was made:
///   the front of a tag is a shorter tag.
///
/// # Errors
/// [`Error::WrongLength`] for key, IV, tag or ciphertext; [`Error::Refused`] if the tag does not verify.
pub fn gcm_decrypt_with(key: &[u8], iv: &[u8], aad: &[u8], ciphertext: &[u8], tag: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    check_gcm_iv(iv)?;
    check_gcm_tag(tag.len())?;
    check_data(ciphertext)?;
    let as_usual = iv.len() == GCM_IV_BYTES && tag.len() == GCM_TAG_BYTES;
    let decrypt = if as_usual { gcm_decrypt } else { gcm::decrypt };
    decrypt(key, iv, aad, ciphertext, tag, out)
}

/// Encrypts with AES-CBC and PKCS#5 padding: appends 1 to 16 bytes more than `plaintext` has to `out`.
///
/// - `key`: 16, 24 or 32 bytes. `iv`: 16 unpredictable bytes.
///
/// # Errors
/// [`Error::WrongLength`] for key, IV or plaintext; `out` is then as it was.
pub fn cbc_encrypt(key: &[u8], iv: &[u8], plaintext: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    let algorithm = aes(key)?;
    let iv = cbc_iv(iv)?;
    check_data(plaintext)?;
    append(out, plaintext.len() + BLOCK_BYTES, |room| {
        let key = UnboundCipherKey::new(algorithm, key)?;
        let mut stream = StreamingEncryptingKey::less_safe_cbc_pkcs7(key, EncryptionContext::Iv128(iv.into()))?;
        let written = stream.update(plaintext, room)?.written().len();
        let (_, last) = stream.finish(&mut room[written..])?;
        Ok(written + last.written().len())
    })
}

/// Decrypts AES-CBC and removes PKCS#5 padding: appends the plaintext to `out`, or leaves `out` as it was.
///
/// CBC carries no tag. Whether a changed ciphertext is noticed is up to its padding, and whoever learns the answer for many ciphertexts under
/// one key learns plaintext: the caller limits and records failures.
///
/// # Errors
/// [`Error::WrongLength`] for key, IV or ciphertext; [`Error::Refused`] for a ciphertext that is not whole blocks or is badly padded.
pub fn cbc_decrypt(key: &[u8], iv: &[u8], ciphertext: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    let algorithm = aes(key)?;
    let iv = cbc_iv(iv)?;
    check_data(ciphertext)?;
    append(out, ciphertext.len() + BLOCK_BYTES, |room| {
        let key = UnboundCipherKey::new(algorithm, key)?;
        let mut stream = StreamingDecryptingKey::cbc_pkcs7(key, DecryptionContext::Iv128(iv.into()))?;
        let written = stream.update(ciphertext, room)?.written().len();
        let last = stream.finish(&mut room[written..])?;
        Ok(written + last.written().len())
    })
}

/// Lends `room_bytes` at the end of `out` to `fill` and keeps as many as it says it wrote; what is not kept is wiped.
pub(crate) fn append(
    out: &mut Vec<u8>,
    room_bytes: usize,
    fill: impl FnOnce(&mut [u8]) -> Result<usize, Unspecified>,
) -> Result<(), Error> {
    let start = out.len();
    out.resize(start + room_bytes, 0);
    let filled = scrubbed(|| fill(&mut out[start..]));
    let end = start + filled.unwrap_or(0);
    out[end..].zeroize();
    out.truncate(end);
    filled.map(|_| ()).map_err(|Unspecified| Error::Refused)
}

fn gcm_algorithm(key: &[u8]) -> Result<&'static aead::Algorithm, Error> {
    match key.len() {
        16 => Ok(&AES_128_GCM),
        24 => Ok(&AES_192_GCM),
        32 => Ok(&AES_256_GCM),
        is_bytes => Err(wrong_key(is_bytes)),
    }
}

pub(crate) fn aes(key: &[u8]) -> Result<&'static cipher::Algorithm, Error> {
    match key.len() {
        16 => Ok(&AES_128),
        24 => Ok(&AES_192),
        32 => Ok(&AES_256),
        is_bytes => Err(wrong_key(is_bytes)),
    }
}

fn wrong_key(is_bytes: usize) -> Error {
    Error::WrongLength { what: "AES key", is_bytes, wants: "16, 24 or 32" }
}

pub(crate) fn gcm_iv(iv: &[u8]) -> Result<&[u8; GCM_IV_BYTES], Error> {
    iv.try_into().map_err(|_| Error::WrongLength { what: "GCM initialization vector", is_bytes: iv.len(), wants: "12" })
}

pub(crate) fn check_gcm_iv(iv: &[u8]) -> Result<(), Error> {
    match iv.len() {
        1..=GCM_IV_BYTES_MAX => Ok(()),
        is_bytes => Err(Error::WrongLength { what: "GCM initialization vector", is_bytes, wants: "1 to 128" }),
    }
}

pub(crate) fn check_gcm_tag(tag_bytes: usize) -> Result<(), Error> {
    match tag_bytes {
        GCM_TAG_BYTES_MIN..=GCM_TAG_BYTES => Ok(()),
        is_bytes => Err(Error::WrongLength { what: "GCM tag", is_bytes, wants: "12 to 16" }),
    }
}

pub(crate) fn cbc_iv(iv: &[u8]) -> Result<&[u8; CBC_IV_BYTES], Error> {
    iv.try_into().map_err(|_| Error::WrongLength { what: "CBC initialization vector", is_bytes: iv.len(), wants: "16" })
}

pub(crate) fn check_data(data: &[u8]) -> Result<(), Error> {
    if data.len() > DATA_BYTES_MAX {
        return Err(Error::WrongLength { what: "data", is_bytes: data.len(), wants: "at most 2^30" });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&[u8]; 3] = [&[7; 16], &[7; 24], &[7; 32]];
    const IV: [u8; 16] = [9; 16];
    const EARLIER: &[u8] = b"earlier output";
    const TEXT: &[u8] = b"a text of more than one block, and not of whole blocks";

    fn flips(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
        (0..8 * bytes.len()).map(move |bit| {
            let mut changed = bytes.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            changed
        })
    }

    fn gcm_refuses(key: &[u8], iv: &[u8], aad: &[u8], text: &[u8], tag: &[u8]) {
        let mut out = EARLIER.to_vec();
        assert_eq!(gcm_decrypt(key, iv, aad, text, tag, &mut out), Err(Error::Refused));
        assert_eq!(out, EARLIER);
    }

    #[test]
    fn gcm_refuses_any_flipped_bit_and_keeps_earlier_output() {
        for key in KEYS {
            let iv = &IV[..12];
            let mut text = Vec::new();
            let tag = gcm_encrypt(key, iv, b"aad", TEXT, &mut text).expect("lengths fit");
            flips(&text).for_each(|changed| gcm_refuses(key, iv, b"aad", &changed, &tag));
            flips(&tag).for_each(|changed| gcm_refuses(key, iv, b"aad", &text, &changed));
            flips(iv).for_each(|changed| gcm_refuses(key, &changed, b"aad", &text, &tag));
            flips(b"aad").for_each(|changed| gcm_refuses(key, iv, &changed, &text, &tag));
            flips(key).for_each(|changed| gcm_refuses(&changed, iv, b"aad", &text, &tag));
            gcm_refuses(key, iv, b"aad", &text[1..], &tag);
        }
    }

    #[test]
    fn cbc_pads_to_whole_blocks_of_every_length_and_back() {
        for key in KEYS {
            for text_bytes in 0..TEXT.len() {
                let mut text = EARLIER.to_vec();
                assert_eq!(cbc_encrypt(key, &IV, &TEXT[..text_bytes], &mut text), Ok(()));
                assert_eq!(text.len() - EARLIER.len(), (text_bytes / 16 + 1) * 16);
                let mut out = EARLIER.to_vec();
                assert_eq!(cbc_decrypt(key, &IV, &text[EARLIER.len()..], &mut out), Ok(()));
                assert_eq!(out, [EARLIER, &TEXT[..text_bytes]].concat());
            }
        }
    }

    #[test]
    fn cbc_refuses_broken_blocks_and_bad_padding_alike() {
        for key in KEYS {
            let mut text = Vec::new();
            cbc_encrypt(key, &IV, TEXT, &mut text).expect("lengths fit");
            let mut bad_padding = text.clone();
            let last_but_one = text.len() - 17;
            bad_padding[last_but_one] ^= 1;
            for broken in [&text[..0], &text[..1], &text[1..], &text[..15], &bad_padding[..]] {
                let mut out = EARLIER.to_vec();
                assert_eq!(cbc_decrypt(key, &IV, broken, &mut out), Err(Error::Refused));
                assert_eq!(out, EARLIER);
            }
        }
    }

    #[test]
    fn a_wrong_length_is_a_typed_error_that_names_the_input() {
        fn check<T: std::fmt::Debug>(what: &'static str, is_bytes: usize, got: Result<T, Error>) {
            let error = got.expect_err(what);
            assert!(matches!(error, Error::WrongLength { what: w, is_bytes: n, .. } if w == what && n == is_bytes), "{error}");
        }
        let mut out = Vec::new();
        for bad in [0, 1, 8, 15, 17, 23, 25, 31, 33, 64] {
            let key = vec![7; bad];
            check("AES key", bad, gcm_encrypt(&key, &IV[..12], b"", TEXT, &mut out));
            check("AES key", bad, gcm_decrypt(&key, &IV[..12], b"", TEXT, &IV, &mut out));
            check("AES key", bad, cbc_encrypt(&key, &IV, TEXT, &mut out));
            check("AES key", bad, cbc_decrypt(&key, &IV, TEXT, &mut out));
        }
        for bad in [0, 1, 11, 13, 24] {
            let bytes = vec![9; bad];
            check("GCM initialization vector", bad, gcm_encrypt(KEYS[0], &bytes, b"", TEXT, &mut out));
            check("GCM initialization vector", bad, gcm_decrypt(KEYS[0], &bytes, b"", TEXT, &IV, &mut out));
            check("CBC initialization vector", bad, cbc_encrypt(KEYS[0], &bytes, TEXT, &mut out));
            check("CBC initialization vector", bad, cbc_decrypt(KEYS[0], &bytes, TEXT, &mut out));
            check("GCM tag", bad, gcm_decrypt(KEYS[0], &IV[..12], b"", TEXT, &bytes, &mut out));
        }
        let long = vec![0; DATA_BYTES_MAX + 1];
        check("data", long.len(), gcm_encrypt(KEYS[0], &IV[..12], b"", &long, &mut out));
        check("data", long.len(), gcm_decrypt(KEYS[0], &IV[..12], b"", &long, &IV, &mut out));
        check("data", long.len(), cbc_encrypt(KEYS[0], &IV, &long, &mut out));
        check("data", long.len(), cbc_decrypt(KEYS[0], &IV, &long, &mut out));
        assert!(out.is_empty());
    }
}
