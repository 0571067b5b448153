//! HKDF-SHA-512 (RFC 5869), with the pseudorandom key kept in locked memory.
//!
//! The hash states wipe themselves, but the library leaves the padded key block and the output blocks on the stack; both are overwritten here.

use hkdf::Hkdf;
use secret::{Exhausted, Key, scrubbed};
use sha2::Sha512;

use crate::Error;

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
    let too_long = Error::WrongLength { what: "HKDF output", is_bytes, wants: "at most 16320" };
    prk.expose(|prk| {
        scrubbed(|| {
            let hkdf = Hkdf::<Sha512>::from_prk(prk).expect("the key is one hash output long");
            hkdf.expand_multi_info(info, out).map_err(|_| too_long)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn derived(salt: &[u8], ikm: &[u8], info: &[&[u8]]) -> [u8; 64] {
        let prk = extract(salt, ikm).expect("the arena has room");
        let mut out = [0; 64];
        expand(&prk, info, &mut out).expect("a short output");
        out
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
    }
}
