//! AES-GCM (NIST SP 800-38D) where aws-lc's own does not serve: in parts, with an IV that is not 12 bytes long, and decrypted by a short tag.
//!
//! It is put together from two libraries: aws-lc's counter mode, and GHASH of RustCrypto. GHASH is a Horner scheme, so it goes on from an earlier
//! value by adding that value to the next block, and the library needs no way in for it.

use aws_lc_rs::cipher::{Algorithm, EncryptionContext, StreamingEncryptingKey, UnboundCipherKey};
use aws_lc_rs::error::Unspecified;
use ghash::universal_hash::UniversalHash;
use ghash::{Block, GHash};
use secret::scrubbed;
use zeroize::Zeroize;

use crate::mode::{self, BLOCK_BYTES, GCM_IV_BYTES, GCM_TAG_BYTES};
use crate::{Error, mac};

/// The counter of the first block of data, counted from the one that masks the tag.
const FIRST_DATA_BLOCK: u64 = 1;

/// Encrypts the whole of `plaintext`: appends as many bytes to `out`, and returns the tag.
pub(crate) fn encrypt(key: &[u8], iv: &[u8], aad: &[u8], plaintext: &[u8], out: &mut Vec<u8>) -> Result<[u8; GCM_TAG_BYTES], Error> {
    let algorithm = mode::aes(key)?;
    appending(out, |out| {
        let hash = Hash::new(algorithm, key)?;
        let (j0, start) = (hash.first_counter(iv), out.len());
        crypt(algorithm, key, &j0, 0, plaintext, out)?;
        hash.whole_tag(algorithm, key, &j0, aad, &out[start..])
    })
}

/// Decrypts the whole of `ciphertext` if the bytes of `tag` are the first ones of its tag, else leaves `out` as it was.
pub(crate) fn decrypt(key: &[u8], iv: &[u8], aad: &[u8], ciphertext: &[u8], tag: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    let algorithm = mode::aes(key)?;
    appending(out, |out| {
        let hash = Hash::new(algorithm, key)?;
        let j0 = hash.first_counter(iv);
        let right = hash.whole_tag(algorithm, key, &j0, aad, ciphertext)?;
        if !mac::ct_eq(&right[..tag.len()], tag) {
            return Err(Unspecified);
        }
        crypt(algorithm, key, &j0, 0, ciphertext, out)
    })
}

/// Runs `append`, and leaves `out` as it was if that fails.
pub(crate) fn appending<T>(out: &mut Vec<u8>, append: impl FnOnce(&mut Vec<u8>) -> Result<T, Unspecified>) -> Result<T, Error> {
    let start = out.len();
    let appended = scrubbed(|| append(out));
    if appended.is_err() {
        out[start..].zeroize();
        out.truncate(start);
    }
    appended.map_err(|Unspecified| Error::Refused)
}

/// Encrypts or decrypts what comes `before_bytes` after the beginning of the data of the message with the first counter block `j0`.
pub(crate) fn crypt(
    algorithm: &'static Algorithm,
    key: &[u8],
    j0: &[u8; BLOCK_BYTES],
    before_bytes: u64,
    data: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), Unspecified> {
    let block = BLOCK_BYTES as u64;
    let used_bytes = usize::try_from(before_bytes % block).expect("below a block");
    let (counter, blocks_left) = counter_block(j0, FIRST_DATA_BLOCK + before_bytes / block);
    let bytes_left = usize::try_from(blocks_left * block).expect("2^36 fit") - used_bytes;
    // The counter of GCM comes round after 32 bits; aws-lc's would carry into the other 96.
    let (data, after_zero) = data.split_at(data.len().min(bytes_left));
    mode::append(out, data.len() + after_zero.len() + BLOCK_BYTES, |room| {
        let mut written = count(algorithm, key, &counter, used_bytes, data, room)?;
        if !after_zero.is_empty() {
            let (zero, _) = counter_block(&counter, blocks_left);
            written += count(algorithm, key, &zero, 0, after_zero, &mut room[written..])?;
        }
        Ok(written)
    })
    .map_err(|_| Unspecified)
}

/// The counter block `blocks` after `from`, and how many blocks there are from it to where its 32 bits come round to zero.
fn counter_block(from: &[u8; BLOCK_BYTES], blocks: u64) -> ([u8; BLOCK_BYTES], u64) {
    let mut block = *from;
    let (_, counter) = block.split_last_chunk_mut().expect("a block is longer");
    let number = (u64::from(u32::from_be_bytes(*counter)) + blocks) % (1 << 32);
    *counter = u32::try_from(number).expect("below 2^32").to_be_bytes();
    (block, (1 << 32) - number)
}

/// What happens to a block that is only begun.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begun {
    /// It is filled with zeros and hashed.
    Padded,
    /// It is handed back.
    Kept,
}

/// GHASH under a key's hash key; it wipes itself.
pub(crate) struct Hash(GHash);

impl Hash {
    /// Of the AES key `key`.
    pub(crate) fn new(algorithm: &'static Algorithm, key: &[u8]) -> Result<Self, Unspecified> {
        let mut hash_key = [0; BLOCK_BYTES];
        // The hash key is the block of zeros encrypted, which is the keystream of the counter zero.
        keystream(algorithm, key, &[0; BLOCK_BYTES], &mut hash_key)?;
        let hash = Self(GHash::new(&hash_key.into()));
        hash_key.zeroize();
        Ok(hash)
    }

    /// Goes on from `sum` with `begun` (less than a block) and `data`; returns the new sum and the begun block.
    pub(crate) fn after(
        &self,
        mut sum: [u8; BLOCK_BYTES],
        begun: &[u8],
        data: &[u8],
        rest_is: Begun,
    ) -> ([u8; BLOCK_BYTES], [u8; BLOCK_BYTES]) {
        let mut block = [0; BLOCK_BYTES];
        let (filling, data) = data.split_at(data.len().min(BLOCK_BYTES - begun.len()));
        block[..begun.len()].copy_from_slice(begun);
        block[begun.len()..][..filling.len()].copy_from_slice(filling);
        let mut in_block = begun.len() + filling.len();
        if in_block == BLOCK_BYTES {
            let (whole, rest) = Block::slice_as_chunks(data);
            sum = self.blocks(sum, block, whole);
            block = [0; BLOCK_BYTES];
            block[..rest.len()].copy_from_slice(rest);
            in_block = rest.len();
        }
        if rest_is == Begun::Padded && in_block > 0 {
            return (self.blocks(sum, block, &[]), [0; BLOCK_BYTES]);
        }
        (sum, block)
    }

    /// The first counter block (J0) for an IV of any length: the one that masks the tag.
    pub(crate) fn first_counter(&self, iv: &[u8]) -> [u8; BLOCK_BYTES] {
        if iv.len() != GCM_IV_BYTES {
            return self.end(self.after([0; BLOCK_BYTES], &[], iv, Begun::Padded).0, [0; 8], bits(iv.len() as u64));
        }
        let mut j0 = [0; BLOCK_BYTES];
        j0[..GCM_IV_BYTES].copy_from_slice(iv);
        j0[BLOCK_BYTES - 1] = 1;
        j0
    }

    /// The tag of a message whose additional data and ciphertext, each filled to whole blocks, have the hash `sum`.
    pub(crate) fn tag(
        &self,
        algorithm: &'static Algorithm,
        key: &[u8],
        j0: &[u8; BLOCK_BYTES],
        sum: [u8; BLOCK_BYTES],
        [aad_bits, data_bits]: [[u8; 8]; 2],
    ) -> Result<[u8; GCM_TAG_BYTES], Unspecified> {
        let mut tag = self.end(sum, aad_bits, data_bits);
        let mut mask = [0; GCM_TAG_BYTES];
        keystream(algorithm, key, j0, &mut mask)?;
        xor(&mut tag, &mask);
        Ok(tag)
    }

    fn whole_tag(
        &self,
        algorithm: &'static Algorithm,
        key: &[u8],
        j0: &[u8; BLOCK_BYTES],
        aad: &[u8],
        ciphertext: &[u8],
    ) -> Result<[u8; GCM_TAG_BYTES], Unspecified> {
        let (sum, _) = self.after([0; BLOCK_BYTES], &[], aad, Begun::Padded);
        let (sum, _) = self.after(sum, &[], ciphertext, Begun::Padded);
        self.tag(algorithm, key, j0, sum, [bits(aad.len() as u64), bits(ciphertext.len() as u64)])
    }

    /// Hashes the block of lengths, the last one of every hash.
    fn end(&self, sum: [u8; BLOCK_BYTES], first_bits: [u8; 8], second_bits: [u8; 8]) -> [u8; BLOCK_BYTES] {
        let mut lengths = [0; BLOCK_BYTES];
        lengths[..8].copy_from_slice(&first_bits);
        lengths[8..].copy_from_slice(&second_bits);
        self.blocks(sum, lengths, &[])
    }

    fn blocks(&self, sum: [u8; BLOCK_BYTES], mut first: [u8; BLOCK_BYTES], others: &[Block]) -> [u8; BLOCK_BYTES] {
        xor(&mut first, &sum);
        let mut hash = self.0.clone();
        hash.update(&[first.into()]);
        hash.update(others);
        hash.finalize().into()
    }
}

/// Encrypts or decrypts `data` in counter mode: writes as many bytes to `room`, which has a block more, and returns how many.
///
/// - `counter`: the counter block of the first byte, incremented as one number of 128 bits.
/// - `used_bytes`: how many bytes of that block's keystream the data before has used, below 16.
pub(crate) fn count(
    algorithm: &'static Algorithm,
    key: &[u8],
    counter: &[u8; BLOCK_BYTES],
    used_bytes: usize,
    data: &[u8],
    room: &mut [u8],
) -> Result<usize, Unspecified> {
    let mut stream = counter_mode(algorithm, key, counter)?;
    let mut used = [0; 2 * BLOCK_BYTES];
    stream.update(&[0; BLOCK_BYTES][..used_bytes], &mut used)?;
    used.zeroize();
    Ok(stream.update(data, room)?.written().len())
}

/// Fills `out` with keystream.
fn keystream(
    algorithm: &'static Algorithm,
    key: &[u8],
    counter: &[u8; BLOCK_BYTES],
    out: &mut [u8; BLOCK_BYTES],
) -> Result<(), Unspecified> {
    let mut room = [0; 2 * BLOCK_BYTES];
    counter_mode(algorithm, key, counter)?.update(&[0; BLOCK_BYTES], &mut room)?;
    out.copy_from_slice(&room[..BLOCK_BYTES]);
    room.zeroize();
    Ok(())
}

fn counter_mode(algorithm: &'static Algorithm, key: &[u8], counter: &[u8; BLOCK_BYTES]) -> Result<StreamingEncryptingKey, Unspecified> {
    StreamingEncryptingKey::less_safe_ctr(UnboundCipherKey::new(algorithm, key)?, EncryptionContext::Iv128(counter.into()))
}

/// A length as GHASH takes it.
pub(crate) fn bits(bytes: u64) -> [u8; 8] {
    (bytes * 8).to_be_bytes()
}

/// Adds `other` to the front of `block`.
fn xor(block: &mut [u8; BLOCK_BYTES], other: &[u8]) {
    block.iter_mut().zip(other).for_each(|(byte, other)| *byte ^= other);
}
