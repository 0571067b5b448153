//! HKDF-SHA-512 (RFC 5869), with the pseudorandom key kept in locked memory.
//!
//! The hash states wipe themselves, but the library leaves the padded key block and the output blocks on the stack; both are overwritten here.

use hkdf::Hkdf;
use secret::{Exhausted, Key, scrubbed};
use sha2::Sha512;
use sha2::digest::Output;

use crate::Error;
use crate::midstate::{self, SHA512_STATE_BYTES};

/// Length of a pseudorandom key in bytes: one SHA-512 output.
pub const PRK_BYTES: usize = 64;

/// The most that [`expand`] can derive from one key and info, in bytes (RFC 5869 section 2.3).
pub const EXPAND_BYTES_MAX: usize = 255 * PRK_BYTES;

/// HKDF-Extract: concentrates `ikm` into a pseudorandom key in locked memory. An empty `salt` counts as zeros.
///
/// # Errors
/// [`Exhausted`] if the arena is full.
pub fn extract(salt: &[u8], ikm: &[u8]) -> Result<Key<PRK_BYTES>, Exhausted> {
    Key::init_with(|prk| scrubbed(|| prk.copy_from_slice(&Hkdf::<Sha512>::extract(Some(salt), ikm).0)))
}

/// HKDF-Expand: fills `out` from `prk` and the concatenation of the parts of `info`.
///
/// The parts are not separated: whoever passes parts of varying length frames them. `out` should lie in locked memory if it is a key.
///
/// # Errors
/// [`Error::WrongLength`] if `out` is longer than [`EXPAND_BYTES_MAX`].
pub fn expand(prk: &Key<PRK_BYTES>, info: &[&[u8]], out: &mut [u8]) -> Result<(), Error> {
    let is_bytes = out.len();
    prk.expose(|prk| {
        scrubbed(|| {
            let hkdf = Hkdf::<Sha512>::from_prk(prk).expect("the key is one hash output long");
            hkdf.expand_multi_info(info, out).map_err(|_| too_long(is_bytes))
        })
    })
}

/// HKDF-Expand from one pseudorandom key many times: what HMAC does with the key alone is done once, which is half of the work for 64 bytes.
#[derive(Debug)]
pub struct Expander(Key<{ 2 * SHA512_STATE_BYTES }>);

impl Expander {
    /// Makes ready to expand; the pseudorandom key itself is not needed any more.
    ///
    /// # Errors
    /// [`Exhausted`] if the arena is full.
    pub fn new(prk: &Key<PRK_BYTES>) -> Result<Self, Exhausted> {
        Ok(Self(Key::init_with(|states| prk.expose(|prk| scrubbed(|| midstate::begin::<Sha512>(prk, states))))?))
    }

    /// As [`expand`].
    ///
    /// # Errors
    /// As [`expand`].
    pub fn expand(&self, info: &[&[u8]], out: &mut [u8]) -> Result<(), Error> {
        if out.len() > EXPAND_BYTES_MAX {
            return Err(too_long(out.len()));
        }
        self.0.expose(|states| {
            scrubbed(|| {
                let mut before = None;
                for (number, block) in (1..=u8::MAX).zip(out.chunks_mut(PRK_BYTES)) {
                    let number = [number];
                    let parts = before.iter().map(|before: &Output<Sha512>| &before[..]).chain(info.iter().copied()).chain([&number[..]]);
                    let output = midstate::mac::<Sha512>(states, parts);
                    block.copy_from_slice(&output[..block.len()]);
                    before = Some(output);
                }
            });
        });
        Ok(())
    }
}

fn too_long(is_bytes: usize) -> Error {
    Error::WrongLength { what: "HKDF output", is_bytes, wants: "at most 16320" }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::proptest;

    use super::*;

    fn derived(salt: &[u8], ikm: &[u8], info: &[&[u8]]) -> [u8; 64] {
        let prk = extract(salt, ikm).expect("the arena has room");
        let mut out = [0; 64];
        expand(&prk, info, &mut out).expect("a short output");
        out
    }

    proptest! {
        #[test]
        fn an_expander_derives_what_its_key_does(ikm: [u8; 32], info: Vec<Vec<u8>>, length in 0..400_usize) {
            let prk = extract(b"salt", &ikm).expect("the arena has room");
            let info: Vec<&[u8]> = info.iter().map(Vec::as_slice).collect();
            let (mut once, mut again) = (vec![0; length], vec![0; length]);
            expand(&prk, &info, &mut once).expect("a short output");
            let expander = Expander::new(&prk).expect("the arena has room");
            expander.expand(&info, &mut again).expect("a short output");
            assert_eq!(once, again);
        }
    }

    #[test]
    fn info_in_parts_is_info_in_one_piece() {
        let whole = derived(b"salt", b"key", &[b"label, number"]);
        assert_eq!(whole, derived(b"salt", b"key", &[b"label", b", ", b"", b"number"]));
    }

    #[test]
    fn every_input_changes_the_output() {
        let original = derived(b"salt", b"key", &[b"info"]);
        for changed in [
            derived(b"salu", b"key", &[b"info"]),
            derived(b"", b"key", &[b"info"]),
            derived(b"salt", b"kez", &[b"info"]),
            derived(b"salt", b"", &[b"info"]),
            derived(b"salt", b"key", &[b"infp"]),
            derived(b"salt", b"key", &[]),
        ] {
            assert_ne!(original, changed);
        }
    }

    #[test]
    fn more_output_than_the_standard_allows_is_a_typed_error() {
        let prk = extract(b"", b"key").expect("the arena has room");
        let mut out = vec![0; EXPAND_BYTES_MAX + 1];
        let refused = expand(&prk, &[], &mut out);
        assert!(matches!(refused, Err(Error::WrongLength { is_bytes, .. }) if is_bytes == EXPAND_BYTES_MAX + 1));
        assert_eq!(expand(&prk, &[], &mut out[..EXPAND_BYTES_MAX]), Ok(()));
        let (expander, longest) = (Expander::new(&prk).expect("the arena has room"), out[..EXPAND_BYTES_MAX].to_vec());
        assert_eq!(expander.expand(&[], &mut out), refused);
        out.fill(0);
        assert_eq!((expander.expand(&[], &mut out[..EXPAND_BYTES_MAX]), &out[..EXPAND_BYTES_MAX]), (Ok(()), &longest[..]));
    }
}
