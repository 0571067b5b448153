//! Wrapping of keys that leave: AES Key Wrap (NIST SP 800-38F KW, RFC 3394) and the same with padding (KWP, RFC 5649).
//!
//! These are RustCrypto's, whose key schedules lie on the stack and wipe themselves. What is to be wrapped is encrypted in the caller's buffer, in
//! place: let that be locked memory.

use aes_kw::aes::{Aes128, Aes192, Aes256};
use aes_kw::cipher::consts::U16;
use aes_kw::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use aes_kw::{AesKw, AesKwp};
use secret::scrubbed;
use zeroize::Zeroize;

use crate::Error;

/// What both ways put before the key, in bytes.
pub const KEY_WRAP_OVERHEAD_BYTES: usize = 8;

/// Most that is wrapped at once, in bytes: far above any key, far below any limit of the algorithms.
pub const KEY_WRAP_BYTES_MAX: usize = 64 * 1024;

/// The unit that both ways work in, in bytes.
const SEMIBLOCK_BYTES: usize = 8;

/// How a key is wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyWrap {
    /// KW, RFC 3394: takes whole semiblocks of 8 bytes, at least two.
    Kw,
    /// KWP, RFC 5649: takes any length from 1 on.
    Kwp,
}

impl KeyWrap {
    /// Both ways.
    pub const ALL: [Self; 2] = [Self::Kw, Self::Kwp];

    /// The name that the literature uses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kw => "AES-KW",
            Self::Kwp => "AES-KWP",
        }
    }

    /// How long `plain_bytes` are once wrapped.
    ///
    /// # Errors
    /// [`Error::WrongLength`] for a length that this way does not take.
    pub fn wrapped_bytes(self, plain_bytes: usize) -> Result<usize, Error> {
        let (fits, wants) = match self {
            Self::Kw => {
                (plain_bytes >= 2 * SEMIBLOCK_BYTES && plain_bytes.is_multiple_of(SEMIBLOCK_BYTES), "a multiple of 8 from 16 to 65536")
            }
            Self::Kwp => (plain_bytes >= 1, "1 to 65536"),
        };
        if !fits || plain_bytes > KEY_WRAP_BYTES_MAX {
            return Err(Error::WrongLength { what: "key to be wrapped", is_bytes: plain_bytes, wants });
        }
        Ok(plain_bytes.next_multiple_of(SEMIBLOCK_BYTES) + KEY_WRAP_OVERHEAD_BYTES)
    }

    /// Wraps `plain` under `key` into `out`, which is [`KeyWrap::wrapped_bytes`] long. After an error `out` is zeroed.
    ///
    /// - `key`: 16, 24 or 32 bytes.
    ///
    /// # Errors
    /// [`Error::WrongLength`] for key, `plain` or `out`.
    pub fn wrap(self, key: &[u8], plain: &[u8], out: &mut [u8]) -> Result<(), Error> {
        let wrapped = self.wrapped_bytes(plain.len()).and_then(|wants| {
            if out.len() != wants {
                return Err(wrong_room(out.len()));
            }
            scrubbed(|| match key.len() {
                16 => self.wrap_with::<Aes128>(key, plain, out),
                24 => self.wrap_with::<Aes192>(key, plain, out),
                32 => self.wrap_with::<Aes256>(key, plain, out),
                is_bytes => Err(wrong_key(is_bytes)),
            })
        });
        if wrapped.is_err() {
            out.zeroize();
        }
        wrapped
    }

    /// Opens what [`KeyWrap::wrap`] made into `out`, which is [`KEY_WRAP_OVERHEAD_BYTES`] shorter, and says how many bytes of it are the key: all, but
    /// for the padding of KWP. After an error `out` is zeroed.
    ///
    /// # Errors
    /// [`Error::WrongLength`] for key or `out`; [`Error::Refused`] for bytes that were not wrapped under this key in this way.
    pub fn unwrap(self, key: &[u8], wrapped: &[u8], out: &mut [u8]) -> Result<usize, Error> {
        let opened = if out.len().checked_add(KEY_WRAP_OVERHEAD_BYTES) == Some(wrapped.len()) {
            scrubbed(|| match key.len() {
                16 => self.unwrap_with::<Aes128>(key, wrapped, out),
                24 => self.unwrap_with::<Aes192>(key, wrapped, out),
                32 => self.unwrap_with::<Aes256>(key, wrapped, out),
                is_bytes => Err(wrong_key(is_bytes)),
            })
        } else {
            Err(wrong_room(out.len()))
        };
        if opened.is_err() {
            out.zeroize();
        }
        opened
    }

    fn wrap_with<C>(self, key: &[u8], plain: &[u8], out: &mut [u8]) -> Result<(), Error>
    where
        C: KeyInit + BlockCipherEncrypt<BlockSize = U16>,
    {
        let wrapped = match self {
            Self::Kw => AesKw::<C>::new_from_slice(key).map_err(|_| wrong_key(key.len()))?.wrap_key(plain, out).map(|_| ()),
            Self::Kwp => AesKwp::<C>::new_from_slice(key).map_err(|_| wrong_key(key.len()))?.wrap_key(plain, out).map(|_| ()),
        };
        wrapped.map_err(|_| wrong_room(out.len()))
    }

    fn unwrap_with<C>(self, key: &[u8], wrapped: &[u8], out: &mut [u8]) -> Result<usize, Error>
    where
        C: KeyInit + BlockCipherDecrypt<BlockSize = U16>,
    {
        // The library takes a KW of one semiblock too, which the standards have no such thing as.
        self.wrapped_bytes(out.len()).map_err(|_| Error::Refused)?;
        let plain = match self {
            Self::Kw => AesKw::<C>::new_from_slice(key).map_err(|_| wrong_key(key.len()))?.unwrap_key(wrapped, out).map(<[u8]>::len),
            Self::Kwp => AesKwp::<C>::new_from_slice(key).map_err(|_| wrong_key(key.len()))?.unwrap_key(wrapped, out).map(<[u8]>::len),
        };
        plain.map_err(|_| Error::Refused)
    }
}

fn wrong_key(is_bytes: usize) -> Error {
    Error::WrongLength { what: "AES key", is_bytes, wants: "16, 24 or 32" }
}

fn wrong_room(is_bytes: usize) -> Error {
    Error::WrongLength {
        what: "room for the outcome of a key wrap",
        is_bytes,
        wants: "as many as wrapped_bytes says, or 8 fewer than are wrapped",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&[u8]; 3] = [&[7; 16], &[7; 24], &[7; 32]];
    const PLAIN: [u8; 40] = [0x5A; 40];

    fn wrap(how: KeyWrap, key: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut out = vec![0; how.wrapped_bytes(plain.len()).expect("the length fits")];
        how.wrap(key, plain, &mut out).expect("lengths fit");
        out
    }

    #[test]
    fn every_length_comes_back_and_takes_the_room_it_said() {
        for key in KEYS {
            for bytes in 0..=PLAIN.len() {
                for how in KeyWrap::ALL {
                    let Ok(room) = how.wrapped_bytes(bytes) else {
                        assert!(bytes == 0 || (how == KeyWrap::Kw && (bytes < 16 || bytes % 8 != 0)), "{how:?} {bytes}");
                        continue;
                    };
                    let wrapped = wrap(how, key, &PLAIN[..bytes]);
                    let mut out = vec![0; room - KEY_WRAP_OVERHEAD_BYTES];
                    assert_eq!(how.unwrap(key, &wrapped, &mut out), Ok(bytes));
                    assert_eq!(&out[..bytes], &PLAIN[..bytes]);
                }
            }
        }
    }

    #[test]
    fn any_flipped_bit_and_the_other_way_are_refused_and_nothing_is_left() {
        for (how, other) in [(KeyWrap::Kw, KeyWrap::Kwp), (KeyWrap::Kwp, KeyWrap::Kw)] {
            let wrapped = wrap(how, KEYS[2], &PLAIN);
            let mut out = vec![0xEE; PLAIN.len()];
            let mut refused = |how: KeyWrap, key: &[u8], wrapped: &[u8]| {
                out.fill(0xEE);
                assert_eq!(how.unwrap(key, wrapped, &mut out), Err(Error::Refused));
                assert!(out.iter().all(|byte| *byte == 0));
            };
            for bit in 0..8 * wrapped.len() {
                let mut changed = wrapped.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                refused(how, KEYS[2], &changed);
            }
            refused(how, &[8; 32], &wrapped);
            refused(how, KEYS[0], &wrapped);
            refused(other, KEYS[2], &wrapped);
        }
    }

    #[test]
    fn a_wrong_length_is_a_typed_error_that_names_the_input() {
        let mut out = vec![0xEE; 48];
        let check =
            |what: &str, got: Result<(), Error>| assert!(matches!(got, Err(Error::WrongLength { what: w, .. }) if w == what), "{got:?}");
        for how in KeyWrap::ALL {
            check("AES key", how.wrap(&[7; 20], &PLAIN, &mut out));
            check("AES key", how.unwrap(&[7; 20], &[0; 48], &mut out[..40]).map(|_| ()));
            check("key to be wrapped", how.wrap(KEYS[0], &[], &mut out));
            check("key to be wrapped", how.wrap(KEYS[0], &vec![0; KEY_WRAP_BYTES_MAX + 8], &mut out));
            check("room for the outcome of a key wrap", how.wrap(KEYS[0], &PLAIN, &mut out[..47]));
            check("room for the outcome of a key wrap", how.unwrap(KEYS[0], &[0; 48], &mut out).map(|_| ()));
        }
        check("key to be wrapped", KeyWrap::Kw.wrap(KEYS[0], &PLAIN[..8], &mut out));
        check("key to be wrapped", KeyWrap::Kw.wrap(KEYS[0], &PLAIN[..17], &mut out));
        assert_eq!(KeyWrap::Kw.unwrap(KEYS[0], &[0; 16], &mut out[..8]), Err(Error::Refused), "one semiblock is no KW");
        assert_eq!(KeyWrap::Kwp.unwrap(KEYS[0], &[0; 8], &mut out[..0]), Err(Error::Refused));
    }
}
