//! AES-GCM encryption, and AES-CBC, AES-ECB and AES-CTR in both directions, one part at a time, with a state of 64 bytes between the parts.
//!
//! A part takes the key and the state that the part before it left, and writes the state for the next one; what comes out of all parts together is
//! what [`mode`] returns for the whole. All parts of a stream have one [`Mode`] and one direction, which the state does not tell. There is no
//! decryption of GCM here: nothing may be released before the tag verifies, so its caller collects the ciphertext and hands it to
//! [`mode::gcm_decrypt`] or [`mode::gcm_decrypt_with`].
//!
//! CBC encryption is a delayed one: the last whole ciphertext block of every part is held back, and comes out with the part that completes the next
//! block. Whoever knew it before could choose the next plaintext block by it and have any block encrypted as it is, the blocks that GCM under the
//! same key is made of included: the blockwise adaptive attack of Joux, Martinet and Valette (CRYPTO 2002), against which Fouque, Martinet and
//! Poupard (FSE 2003) delay CBC. The IV is such a block too: it is to be told to nobody before the first 16 bytes are taken in. Where the client
//! brings the IV that one block is its own choice, and the delay still keeps it from choosing all others. ECB has nothing that a delay could keep,
//! and with CTR all that is encrypted follows from the first block.
//!
//! A state is as secret as a key. GCM's holds the hash so far, which together with the ciphertext gives away the hash key, and those of CBC and ECB
//! hold up to 15 bytes of plaintext: it lives in locked memory and is handed over as exposed bytes. **A state of GCM or CTR is used once.** Two
//! different parts after the same state are encrypted with the same keystream, and whoever sees both reads both.
//!
//! ```text
//! bytes    GCM                                      CBC                                             ECB    CTR
//!  0..16   GHASH of additional data and ciphertext  the ciphertext block before the next one, or    zeros  first counter block
//!                                                   the IV; the block has not come out yet where
//!                                                   the stream encrypts
//! 16..32   begun block of ciphertext                data that was taken in, but has not come out    same   zeros
//! 32..48   first counter block (J0)                 zeros                                           same   same
//! 48..56   length of the additional data in bits    zeros                                           same   same
//! 56..64   length of the data so far in bytes       same                                            same   same
//! ```

use aws_lc_rs::cipher::{DecryptionContext, EncryptionContext, StreamingDecryptingKey, StreamingEncryptingKey, UnboundCipherKey};
use aws_lc_rs::error::Unspecified;
use secret::scrubbed;

use crate::gcm::{self, Begun, Hash, bits};
use crate::mode::{self, BLOCK_BYTES, GCM_TAG_BYTES, GcmTag, Mode};
use crate::{Error, Padding};

/// Length of a state in bytes.
pub const STATE_BYTES: usize = 64;

/// The most data of one stream in bytes: half of what GCM can take under one IV (2^36 - 32), so that no mistake of one brings its 32-bit counter
/// back to a block it has used; with CBC, 2^31 blocks under one key, far from where two of them are expected to be equal.
pub const STREAM_BYTES_MAX: u64 = 1 << 35;

/// Begins an encryption with AES-GCM: writes its first state.
///
/// - `key`: 16, 24 or 32 bytes. `iv`: 12 bytes, never used before with this key.
///
/// # Errors
/// [`Error::WrongLength`] for key or IV.
pub fn gcm_begin(key: &[u8], iv: &[u8], aad: &[u8], state: &mut [u8; STATE_BYTES]) -> Result<(), Error> {
    mode::aes(key)?;
    gcm_begin_with(key, mode::gcm_iv(iv)?, aad, state)
}

/// As [`gcm_begin`], with an IV of any length that [`mode::gcm_encrypt_with`] takes.
///
/// # Errors
/// [`Error::WrongLength`] for key or IV.
pub fn gcm_begin_with(key: &[u8], iv: &[u8], aad: &[u8], state: &mut [u8; STATE_BYTES]) -> Result<(), Error> {
    let algorithm = mode::aes(key)?;
    mode::check_gcm_iv(iv)?;
    scrubbed(|| {
        let hash = Hash::new(algorithm, key).map_err(|Unspecified| Error::Refused)?;
        state.fill(0);
        state[..16].copy_from_slice(&hash.after([0; BLOCK_BYTES], &[], aad, Begun::Padded).0);
        state[32..48].copy_from_slice(&hash.first_counter(iv));
        state[48..56].copy_from_slice(&bits(aad.len() as u64));
        Ok(())
    })
}

/// Encrypts a part that is not the last: appends as many bytes as `plaintext` has to `out`, and writes the state `after` it.
///
/// # Errors
/// [`Error::WrongLength`] for the key, or for more data than a call or a stream takes; `out` is then as it was.
pub fn gcm_encrypt_part(
    key: &[u8],
    before: &[u8; STATE_BYTES],
    plaintext: &[u8],
    after: &mut [u8; STATE_BYTES],
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let algorithm = mode::aes(key)?;
    let bytes = longer_by(before, plaintext)?;
    gcm::appending(out, |out| {
        let hash = Hash::new(algorithm, key)?;
        let start = out.len();
        gcm::crypt(algorithm, key, &block_at(before, 32), bytes_so_far(before), plaintext, out)?;
        let (sum, begun) = hash.after(block_at(before, 0), remainder(before), &out[start..], Begun::Kept);
        *after = *before;
        after[..16].copy_from_slice(&sum);
        after[16..32].copy_from_slice(&begun);
        after[56..].copy_from_slice(&bytes.to_be_bytes());
        Ok(())
    })
}

/// Encrypts the last part: as [`gcm_encrypt_part`], but returns the tag.
///
/// # Errors
/// As [`gcm_encrypt_part`].
pub fn gcm_encrypt_last(key: &[u8], before: &[u8; STATE_BYTES], plaintext: &[u8], out: &mut Vec<u8>) -> Result<[u8; GCM_TAG_BYTES], Error> {
    let algorithm = mode::aes(key)?;
    let bytes = longer_by(before, plaintext)?;
    gcm::appending(out, |out| {
        let hash = Hash::new(algorithm, key)?;
        let (j0, start) = (block_at(before, 32), out.len());
        gcm::crypt(algorithm, key, &j0, bytes_so_far(before), plaintext, out)?;
        let (sum, _) = hash.after(block_at(before, 0), remainder(before), &out[start..], Begun::Padded);
        let aad_bits = *before[48..].first_chunk().expect("a state is longer");
        hash.tag(algorithm, key, &j0, sum, [aad_bits, bits(bytes)])
    })
}

/// As [`gcm_encrypt_last`], with a tag of as many bytes as [`mode::gcm_encrypt_with`] takes.
///
/// # Errors
/// As [`gcm_encrypt_part`], and [`Error::WrongLength`] for the tag.
pub fn gcm_encrypt_last_with(
    key: &[u8],
    before: &[u8; STATE_BYTES],
    plaintext: &[u8],
    tag_bytes: usize,
    out: &mut Vec<u8>,
) -> Result<GcmTag, Error> {
    mode::check_gcm_tag(tag_bytes)?;
    Ok(GcmTag::cut(gcm_encrypt_last(key, before, plaintext, out)?, tag_bytes))
}

/// Begins an encryption or decryption: writes its first state.
///
/// - `iv`: as [`mode::encrypt`] takes it.
///
/// # Errors
/// [`Error::WrongLength`] for the IV.
pub fn begin(mode: Mode, iv: &[u8], state: &mut [u8; STATE_BYTES]) -> Result<(), Error> {
    mode.check_iv(iv)?;
    state.fill(0);
    state[..iv.len()].copy_from_slice(iv);
    Ok(())
}

/// Encrypts a part that is not the last: appends to `out` what can come out, and writes the state `after` it.
///
/// With ECB that is all whole blocks, with CBC all but the last of them, with CTR everything.
///
/// # Errors
/// [`Error::WrongLength`] for the key, or for more data than a call or a stream takes; `out` is then as it was.
pub fn encrypt_part(
    mode: Mode,
    key: &[u8],
    before: &[u8; STATE_BYTES],
    plaintext: &[u8],
    after: &mut [u8; STATE_BYTES],
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let bytes = longer_by(before, plaintext)?;
    let start = out.len();
    encrypt(mode, key, before, plaintext, &[], out)?;
    let mut chain = None;
    if let Mode::Cbc(_) = mode {
        chain = out[start..].last_chunk().copied();
        out.truncate(start.max(out.len().saturating_sub(BLOCK_BYTES)));
    }
    let kept_bytes = if mode == Mode::Ctr { 0 } else { in_begun_block(bytes) };
    state_after(before, chain, [remainder(before), plaintext], kept_bytes, bytes, after);
    Ok(())
}

/// Encrypts the last part and pads: appends all that has not come out yet to `out`.
///
/// - `random`: 15 random bytes for [`Padding::Iso10126`], for all else none.
///
/// # Errors
/// As [`encrypt_part`], and [`Error::WrongLength`] where all parts together are not whole blocks and are not padded, or for `random`.
pub fn encrypt_last(
    mode: Mode,
    key: &[u8],
    before: &[u8; STATE_BYTES],
    plaintext: &[u8],
    random: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let bytes = longer_by(before, plaintext)?;
    let mut block = [0; BLOCK_BYTES];
    let padding = match mode {
        Mode::Ecb(padding) | Mode::Cbc(padding) => padding.pad(usize::try_from(bytes).expect("2^35 fit"), random, &mut block)?,
        Mode::Ctr => &[],
    };
    encrypt(mode, key, before, plaintext, padding, out)
}

/// Decrypts a part that is not the last: appends to `out` what cannot be padding, and writes the state `after` it.
///
/// # Errors
/// [`Error::WrongLength`] for the key, or for more data than a call or a stream takes; `out` is then as it was.
pub fn decrypt_part(
    mode: Mode,
    key: &[u8],
    before: &[u8; STATE_BYTES],
    ciphertext: &[u8],
    after: &mut [u8; STATE_BYTES],
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let (Mode::Ecb(padding) | Mode::Cbc(padding)) = mode else {
        return encrypt_part(mode, key, before, ciphertext, after, out);
    };
    let bytes = longer_by(before, ciphertext)?;
    let data = [held_back(before, padding), ciphertext];
    let kept_bytes = held_back_bytes(bytes, padding);
    let whole = front(data, data[0].len() + data[1].len() - kept_bytes);
    decrypt(mode, key, before, whole, Padding::None, out)?;
    let chain = if let Mode::Cbc(_) = mode { last_block(whole) } else { None };
    state_after(before, chain, data, kept_bytes, bytes, after);
    Ok(())
}

/// Decrypts the last part and removes the padding: appends the rest of the plaintext to `out`.
///
/// What [`mode::decrypt`] says of padding holds here as well.
///
/// # Errors
/// As [`decrypt_part`], and as [`mode::decrypt`] for all parts together.
pub fn decrypt_last(mode: Mode, key: &[u8], before: &[u8; STATE_BYTES], ciphertext: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    let (Mode::Ecb(padding) | Mode::Cbc(padding)) = mode else {
        return encrypt_last(mode, key, before, ciphertext, &[], out);
    };
    mode::aes(key)?;
    padding.check_ciphertext(longer_by(before, ciphertext)?)?;
    decrypt(mode, key, before, [held_back(before, padding), ciphertext], padding, out)
}

/// CBC as it is where nothing else is asked for.
const USUAL_CBC: Mode = Mode::Cbc(Padding::Pkcs5);

/// As [`begin`], for AES-CBC.
///
/// - `iv`: 16 bytes, for encryption unpredictable ones.
///
/// # Errors
/// As [`begin`].
pub fn cbc_begin(iv: &[u8], state: &mut [u8; STATE_BYTES]) -> Result<(), Error> {
    begin(USUAL_CBC, iv, state)
}

/// As [`encrypt_part`], for AES-CBC.
///
/// # Errors
/// As [`encrypt_part`].
pub fn cbc_encrypt_part(
    key: &[u8],
    before: &[u8; STATE_BYTES],
    plaintext: &[u8],
    after: &mut [u8; STATE_BYTES],
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    encrypt_part(USUAL_CBC, key, before, plaintext, after, out)
}

/// As [`encrypt_last`], for AES-CBC with PKCS#5 padding.
///
/// # Errors
/// As [`encrypt_part`].
pub fn cbc_encrypt_last(key: &[u8], before: &[u8; STATE_BYTES], plaintext: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    encrypt_last(USUAL_CBC, key, before, plaintext, &[], out)
}

/// As [`decrypt_part`], for AES-CBC with PKCS#5 padding.
///
/// # Errors
/// As [`decrypt_part`].
pub fn cbc_decrypt_part(
    key: &[u8],
    before: &[u8; STATE_BYTES],
    ciphertext: &[u8],
    after: &mut [u8; STATE_BYTES],
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    decrypt_part(USUAL_CBC, key, before, ciphertext, after, out)
}

/// As [`decrypt_last`], for AES-CBC with PKCS#5 padding.
///
/// # Errors
/// As [`decrypt_part`], and [`Error::Refused`] for a ciphertext that is not whole blocks or is badly padded.
pub fn cbc_decrypt_last(key: &[u8], before: &[u8; STATE_BYTES], ciphertext: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    decrypt_last(USUAL_CBC, key, before, ciphertext, out)
}

/// Appends the block that the part before held back, and all that is whole now; with CTR, everything.
fn encrypt(mode: Mode, key: &[u8], before: &[u8; STATE_BYTES], data: &[u8], padding: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    let algorithm = mode::aes(key)?;
    mode::append(out, data.len() + 4 * BLOCK_BYTES, |room| {
        let chain = block_at(before, 0);
        let unbound = UnboundCipherKey::new(algorithm, key)?;
        let (mut stream, delayed) = match mode {
            Mode::Ctr => {
                let counter = u128::from_be_bytes(chain).wrapping_add(u128::from(bytes_so_far(before) / BLOCK_BYTES as u64));
                return gcm::count(algorithm, key, &counter.to_be_bytes(), remainder(before).len(), data, room);
            }
            Mode::Ecb(_) => (StreamingEncryptingKey::ecb_pkcs7(unbound)?, &[][..]),
            Mode::Cbc(_) => {
                (StreamingEncryptingKey::less_safe_cbc_pkcs7(unbound, EncryptionContext::Iv128((&chain).into()))?, delayed(before))
            }
        };
        let (first, room) = room.split_at_mut(delayed.len());
        first.copy_from_slice(delayed);
        let mut written = 0;
        for bytes in [remainder(before), data, padding] {
            written += stream.update(bytes, &mut room[written..])?.written().len();
        }
        Ok(delayed.len() + written)
    })
}

/// Appends `data`, which is whole blocks, decrypted and without its padding.
fn decrypt(mode: Mode, key: &[u8], before: &[u8; STATE_BYTES], data: [&[u8]; 2], padding: Padding, out: &mut Vec<u8>) -> Result<(), Error> {
    let algorithm = mode::aes(key)?;
    let bytes = data[0].len() + data[1].len();
    mode::append(out, bytes + 3 * BLOCK_BYTES, |room| {
        let unbound = UnboundCipherKey::new(algorithm, key)?;
        let mut stream = match mode {
            Mode::Cbc(_) => StreamingDecryptingKey::cbc_pkcs7(unbound, DecryptionContext::Iv128((&block_at(before, 0)).into()))?,
            _ => StreamingDecryptingKey::ecb_pkcs7(unbound, DecryptionContext::None)?,
        };
        let mut written = 0;
        // The library holds back the last block that it has; one more that nobody asks for brings out the last of the data.
        for piece in [data[0], data[1], &[0; BLOCK_BYTES]] {
            written += stream.update(piece, &mut room[written..])?.written().len();
        }
        if written != bytes {
            return Err(Unspecified);
        }
        padding.unpad(&room[..written]).map_err(|_| Unspecified)
    })
}

/// The state after a part: what was put out ends with the ciphertext block `chain` (none if there is none new), and the last `kept_bytes` of `data`
/// were not put out.
fn state_after(
    before: &[u8; STATE_BYTES],
    chain: Option<[u8; BLOCK_BYTES]>,
    data: [&[u8]; 2],
    kept_bytes: usize,
    bytes: u64,
    after: &mut [u8; STATE_BYTES],
) {
    after.fill(0);
    after[..16].copy_from_slice(&chain.unwrap_or_else(|| block_at(before, 0)));
    let put_out = data[0].len() + data[1].len() - kept_bytes;
    let kept = data[0].iter().chain(data[1]).skip(put_out);
    after[16..32].iter_mut().zip(kept).for_each(|(to, from)| *to = *from);
    after[56..].copy_from_slice(&bytes.to_be_bytes());
}

/// The first `bytes` bytes of data in two pieces.
fn front(data: [&[u8]; 2], bytes: usize) -> [&[u8]; 2] {
    let in_first = data[0].len().min(bytes);
    [&data[0][..in_first], &data[1][..bytes - in_first]]
}

fn last_block(data: [&[u8]; 2]) -> Option<[u8; BLOCK_BYTES]> {
    let before = (data[0].len() + data[1].len()).checked_sub(BLOCK_BYTES)?;
    let mut block = [0; BLOCK_BYTES];
    block.iter_mut().zip(data[0].iter().chain(data[1]).skip(before)).for_each(|(to, from)| *to = *from);
    Some(block)
}

/// Length of the data of all parts so far.
fn bytes_so_far(state: &[u8; STATE_BYTES]) -> u64 {
    u64::from_be_bytes(*state.last_chunk().expect("a state is longer"))
}

/// The same with another part, unless that is more than a call or a stream takes.
fn longer_by(state: &[u8; STATE_BYTES], data: &[u8]) -> Result<u64, Error> {
    mode::check_data(data)?;
    let bytes = bytes_so_far(state) + data.len() as u64;
    if bytes > STREAM_BYTES_MAX {
        return Err(Error::WrongLength { what: "data of one stream", is_bytes: data.len(), wants: "at most 2^35 in all parts together" });
    }
    Ok(bytes)
}

/// The begun block: GCM's of ciphertext, ECB's and CBC's of plaintext; zeros with CTR, and as many as it has used of a block of keystream.
fn remainder(state: &[u8; STATE_BYTES]) -> &[u8] {
    &state[16..][..in_begun_block(bytes_so_far(state))]
}

fn in_begun_block(bytes: u64) -> usize {
    usize::try_from(bytes % BLOCK_BYTES as u64).expect("below a block")
}

/// The ciphertext block that CBC encryption holds back, once there is one.
fn delayed(state: &[u8; STATE_BYTES]) -> &[u8] {
    if bytes_so_far(state) < BLOCK_BYTES as u64 { &[] } else { &state[..BLOCK_BYTES] }
}

/// What decryption of blocks holds back: the last one if it is begun, and if it is whole but may be the padding.
fn held_back(state: &[u8; STATE_BYTES], padding: Padding) -> &[u8] {
    &state[16..][..held_back_bytes(bytes_so_far(state), padding)]
}

fn held_back_bytes(bytes: u64, padding: Padding) -> usize {
    match in_begun_block(bytes) {
        0 if bytes > 0 && padding.is_removed() => BLOCK_BYTES,
        begun => begun,
    }
}

fn block_at(state: &[u8; STATE_BYTES], at: usize) -> [u8; BLOCK_BYTES] {
    *state[at..].first_chunk().expect("a state has whole blocks")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [7; 32];
    const IV: [u8; 16] = [9; 16];

    /// A state in which `bytes` of data have gone through.
    fn state_with(bytes: u64) -> [u8; STATE_BYTES] {
        let mut state = [0; STATE_BYTES];
        gcm_begin(&KEY, &IV[..12], b"", &mut state).expect("lengths fit");
        state[56..].copy_from_slice(&bytes.to_be_bytes());
        state
    }

    #[test]
    fn a_stream_ends_at_its_limit_and_a_refused_part_writes_nothing() {
        fn check(part: impl Fn(&[u8], &mut Vec<u8>) -> Result<(), Error>) {
            let mut out = b"earlier".to_vec();
            assert!(matches!(part(b"ab", &mut out), Err(Error::WrongLength { what: "data of one stream", is_bytes: 2, .. })));
            assert_eq!(out, b"earlier");
            assert_ne!(part(b"a", &mut out), part(b"ab", &mut out), "one byte fits");
        }
        let full = state_with(STREAM_BYTES_MAX - 1);
        check(|data, out| gcm_encrypt_part(&KEY, &full, data, &mut [0; STATE_BYTES], out));
        check(|data, out| gcm_encrypt_last(&KEY, &full, data, out).map(drop));
        for mode in [Mode::Ecb(Padding::None), Mode::Cbc(Padding::Zeros), Mode::Ctr] {
            check(|data, out| encrypt_part(mode, &KEY, &full, data, &mut [0; STATE_BYTES], out));
            check(|data, out| encrypt_last(mode, &KEY, &full, data, &[], out));
            check(|data, out| decrypt_part(mode, &KEY, &full, data, &mut [0; STATE_BYTES], out));
            check(|data, out| decrypt_last(mode, &KEY, &full, data, out));
        }
        check(|data, out| cbc_encrypt_part(&KEY, &full, data, &mut [0; STATE_BYTES], out));
        check(|data, out| cbc_encrypt_last(&KEY, &full, data, out));
        check(|data, out| cbc_decrypt_part(&KEY, &full, data, &mut [0; STATE_BYTES], out));
        check(|data, out| cbc_decrypt_last(&KEY, &full, data, out));
    }

    #[test]
    fn a_wrong_length_is_a_typed_error_that_names_the_input() {
        fn check(what: &'static str, is_bytes: usize, got: Result<(), Error>) {
            let error = got.expect_err(what);
            assert!(matches!(error, Error::WrongLength { what: w, is_bytes: n, .. } if w == what && n == is_bytes), "{error}");
        }
        let (state, after, mut out) = (state_with(0), &mut [0; STATE_BYTES], Vec::new());
        for bad in [0, 1, 15, 17, 31, 33] {
            let key = vec![7; bad];
            check("AES key", bad, gcm_begin(&key, &IV[..12], b"", after));
            check("AES key", bad, gcm_encrypt_part(&key, &state, b"x", after, &mut out));
            check("AES key", bad, gcm_encrypt_last(&key, &state, b"x", &mut out).map(drop));
            check("AES key", bad, cbc_encrypt_part(&key, &state, b"x", after, &mut out));
            check("AES key", bad, cbc_decrypt_last(&key, &state, b"x", &mut out));
        }
        for bad in [0, 11, 13, 15, 17] {
            check("GCM initialization vector", bad, gcm_begin(&KEY, &vec![9; bad], b"", after));
            check("CBC initialization vector", bad, cbc_begin(&vec![9; bad], after));
        }
        let long = vec![0; mode::DATA_BYTES_MAX + 1];
        check("data", long.len(), gcm_encrypt_part(&KEY, &state, &long, after, &mut out));
        check("data", long.len(), cbc_decrypt_part(&KEY, &state, &long, after, &mut out));
        assert!(out.is_empty());
    }
}
