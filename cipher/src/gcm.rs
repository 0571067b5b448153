//! What GCM is made of, for where aws-lc's own does not serve: GHASH that goes on from an earlier value, and counter mode.
//!
//! It is put together from two libraries: aws-lc's counter mode, and GHASH of RustCrypto. GHASH is a Horner scheme, so it goes on from an earlier
//! value by adding that value to the next block, and the library needs no way in for it.

use aws_lc_rs::cipher::{Algorithm, EncryptionContext, StreamingEncryptingKey, UnboundCipherKey};
use aws_lc_rs::error::Unspecified;
use ghash::universal_hash::UniversalHash;
use ghash::{Block, GHash};
use zeroize::Zeroize;

use crate::mode::BLOCK_BYTES;

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
pub(crate) fn keystream(
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

/// Adds `other` to the front of `block`.
pub(crate) fn xor(block: &mut [u8; BLOCK_BYTES], other: &[u8]) {
    block.iter_mut().zip(other).for_each(|(byte, other)| *byte ^= other);
}
