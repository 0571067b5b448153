//! The AEADs that wrap keys, behind one dispatcher.
//!
//! These are the RustCrypto ones because their key schedules lie on the stack, where they can be overwritten; aws-lc keeps its own on the C heap.

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::consts::{U16, U32};
use aes_gcm::aead::{AeadInOut, KeyInit, Nonce};
use aes_gcm_siv::Aes256GcmSiv;
use chacha20poly1305::XChaCha20Poly1305;
use secret::scrubbed;
use zeroize::Zeroize;

use crate::Error;

/// Length of a key in bytes, the same for every [`Aead`].
pub const KEY_BYTES: usize = 32;

/// Length of a tag in bytes, the same for every [`Aead`].
pub const TAG_BYTES: usize = 16;

const NONCE_BYTES_MAX: usize = 24;

/// An authenticated cipher with a 256-bit key and a 128-bit tag; the discriminant is its number in a record header (C1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Aead {
    /// AES-256-GCM, NIST SP 800-38D.
    Aes256Gcm = 1,
    /// XChaCha20-Poly1305, draft-irtf-cfrg-xchacha.
    XChaCha20Poly1305 = 2,
    /// AES-256-GCM-SIV, RFC 8452.
    Aes256GcmSiv = 3,
}

impl Aead {
    /// Every algorithm, in the order of the numbers.
    pub const ALL: [Self; 3] = [Self::Aes256Gcm, Self::XChaCha20Poly1305, Self::Aes256GcmSiv];

    /// The name that the literature uses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes256Gcm => "AES-256-GCM",
            Self::XChaCha20Poly1305 => "XChaCha20-Poly1305",
            Self::Aes256GcmSiv => "AES-256-GCM-SIV",
        }
    }

    /// The number in a record header.
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// Length of the nonce in bytes.
    #[must_use]
    pub const fn nonce_bytes(self) -> usize {
        match self {
            Self::Aes256Gcm | Self::Aes256GcmSiv => 12,
            Self::XChaCha20Poly1305 => NONCE_BYTES_MAX,
        }
    }

    /// Encrypts `buf` in place and returns the tag over it and `aad`.
    ///
    /// `nonce` is [`Aead::nonce_bytes`] long and was never used before with this key.
    ///
    /// # Errors
    /// [`Error::WrongLength`] for the nonce; [`Error::Refused`] for more data than the algorithm takes (64 GiB).
    pub fn seal_in_place(self, key: &[u8; KEY_BYTES], nonce: &[u8], aad: &[u8], buf: &mut [u8]) -> Result<[u8; TAG_BYTES], Error> {
        self.check_nonce(nonce)?;
        scrubbed(|| match self {
            Self::Aes256Gcm => seal::<Aes256Gcm>(key, nonce, aad, buf),
            Self::XChaCha20Poly1305 => seal::<XChaCha20Poly1305>(key, nonce, aad, buf),
            Self::Aes256GcmSiv => seal::<Aes256GcmSiv>(key, nonce, aad, buf),
        })
    }

    /// Decrypts `buf` in place if `tag` verifies; if anything is wrong `buf` comes back zeroed.
    ///
    /// # Errors
    /// [`Error::WrongLength`] for the nonce; [`Error::Refused`] if the tag does not verify.
    pub fn open_in_place(
        self,
        key: &[u8; KEY_BYTES],
        nonce: &[u8],
        aad: &[u8],
        buf: &mut [u8],
        tag: &[u8; TAG_BYTES],
    ) -> Result<(), Error> {
        let opened = self.check_nonce(nonce).and_then(|()| {
            scrubbed(|| match self {
                Self::Aes256Gcm => open::<Aes256Gcm>(key, nonce, aad, buf, tag),
                Self::XChaCha20Poly1305 => open::<XChaCha20Poly1305>(key, nonce, aad, buf, tag),
                Self::Aes256GcmSiv => open::<Aes256GcmSiv>(key, nonce, aad, buf, tag),
            })
        });
        if opened.is_err() {
            buf.zeroize();
        }
        opened
    }

    /// As [`Aead::seal_in_place`] at the all-zero nonce, for a key derived to seal this one plaintext and never another (C4).
    ///
    /// # Errors
    /// [`Error::Refused`] for more data than the algorithm takes.
    pub fn seal_once_in_place(self, one_time_key: &[u8; KEY_BYTES], aad: &[u8], buf: &mut [u8]) -> Result<[u8; TAG_BYTES], Error> {
        self.seal_in_place(one_time_key, self.zero_nonce(), aad, buf)
    }

    /// Opens what [`Aead::seal_once_in_place`] sealed; if anything is wrong `buf` comes back zeroed.
    ///
    /// # Errors
    /// [`Error::Refused`] if the tag does not verify.
    pub fn open_once_in_place(
        self,
        one_time_key: &[u8; KEY_BYTES],
        aad: &[u8],
        buf: &mut [u8],
        tag: &[u8; TAG_BYTES],
    ) -> Result<(), Error> {
        self.open_in_place(one_time_key, self.zero_nonce(), aad, buf, tag)
    }

    fn zero_nonce(self) -> &'static [u8] {
        &[0; NONCE_BYTES_MAX][..self.nonce_bytes()]
    }

    fn check_nonce(self, nonce: &[u8]) -> Result<(), Error> {
        let wants = match self {
            Self::Aes256Gcm | Self::Aes256GcmSiv => "12",
            Self::XChaCha20Poly1305 => "24",
        };
        if nonce.len() == self.nonce_bytes() {
            Ok(())
        } else {
            Err(Error::WrongLength { what: "AEAD nonce", is_bytes: nonce.len(), wants })
        }
    }
}

impl TryFrom<u16> for Aead {
    type Error = Error;

    fn try_from(number: u16) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|aead| aead.number() == number).ok_or(Error::UnknownAead { number })
    }
}

fn seal<A>(key: &[u8; KEY_BYTES], nonce: &[u8], aad: &[u8], buf: &mut [u8]) -> Result<[u8; TAG_BYTES], Error>
where
    A: KeyInit<KeySize = U32> + AeadInOut<TagSize = U16>,
{
    let nonce: &Nonce<A> = nonce.try_into().expect("the dispatcher checked the length");
    let tag = A::new(key.into()).encrypt_inout_detached(nonce, aad, buf.into()).map_err(|_| Error::Refused)?;
    Ok(tag.into())
}

fn open<A>(key: &[u8; KEY_BYTES], nonce: &[u8], aad: &[u8], buf: &mut [u8], tag: &[u8; TAG_BYTES]) -> Result<(), Error>
where
    A: KeyInit<KeySize = U32> + AeadInOut<TagSize = U16>,
{
    let nonce: &Nonce<A> = nonce.try_into().expect("the dispatcher checked the length");
    A::new(key.into()).decrypt_inout_detached(nonce, aad, buf.into(), tag.into()).map_err(|_| Error::Refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; KEY_BYTES] = [7; KEY_BYTES];
    const TEXT: &[u8] = b"thirty-two bytes of somebody's k";

    fn sealed(aead: Aead) -> (Vec<u8>, [u8; TAG_BYTES]) {
        let mut buf = TEXT.to_vec();
        let tag = aead.seal_once_in_place(&KEY, b"aad", &mut buf).expect("a short text");
        (buf, tag)
    }

    #[test]
    fn numbers_outside_the_registry_are_refused_by_number() {
        for number in [0, 4, 5, 256, 0x7FFF, 0xFFFE, 0xFFFF] {
            assert_eq!(Aead::try_from(number), Err(Error::UnknownAead { number }));
        }
        assert_eq!([1, 2, 3].map(Aead::try_from), Aead::ALL.map(Ok));
    }

    #[test]
    fn what_one_algorithm_sealed_no_other_opens() {
        for sealer in Aead::ALL {
            for opener in Aead::ALL {
                let (mut buf, tag) = sealed(sealer);
                let opened = opener.open_once_in_place(&KEY, b"aad", &mut buf, &tag);
                assert_eq!(opened.is_ok(), sealer == opener, "{sealer:?} opened as {opener:?}");
            }
        }
    }

    #[test]
    fn any_flipped_bit_is_refused_and_leaves_a_zeroed_buffer() {
        for aead in Aead::ALL {
            let (text, tag) = sealed(aead);
            let check = |key: &[u8; KEY_BYTES], aad: &[u8], text: &[u8], tag: &[u8; TAG_BYTES]| {
                let mut buf = text.to_vec();
                assert_eq!(aead.open_once_in_place(key, aad, &mut buf, tag), Err(Error::Refused), "{aead:?}");
                assert_eq!(buf, [0; TEXT.len()], "{aead:?}");
            };
            for bit in 0..8 * TEXT.len() {
                let mut changed = text.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                check(&KEY, b"aad", &changed, &tag);
            }
            for bit in 0..8 * TAG_BYTES {
                let mut changed = tag;
                changed[bit / 8] ^= 1 << (bit % 8);
                check(&KEY, b"aad", &text, &changed);
            }
            for bit in 0..8 * KEY_BYTES {
                let mut changed = KEY;
                changed[bit / 8] ^= 1 << (bit % 8);
                check(&changed, b"aad", &text, &tag);
            }
            for aad in [&b""[..], b"aa", b"aae", b"aad\0"] {
                check(&KEY, aad, &text, &tag);
            }
        }
    }

    #[test]
    fn another_nonce_does_not_open() {
        for aead in Aead::ALL {
            let mut nonce = vec![0; aead.nonce_bytes()];
            let (text, tag) = sealed(aead);
            for at in 0..nonce.len() {
                nonce[at] = 1;
                let mut buf = text.clone();
                assert_eq!(aead.open_in_place(&KEY, &nonce, b"aad", &mut buf, &tag), Err(Error::Refused), "{aead:?}, nonce byte {at}");
                nonce[at] = 0;
            }
        }
    }

    #[test]
    fn a_nonce_of_another_length_is_a_typed_error_and_an_opener_still_wipes() {
        for aead in Aead::ALL {
            for is_bytes in [0, 8, 11, 13, 16, 23, 25] {
                let nonce = vec![0; is_bytes];
                let (mut buf, tag) = sealed(aead);
                let is_length_error = |error: Error| matches!(error, Error::WrongLength { is_bytes: named, .. } if named == is_bytes);
                assert!(aead.seal_in_place(&KEY, &nonce, b"", &mut TEXT.to_vec()).is_err_and(is_length_error));
                assert!(aead.open_in_place(&KEY, &nonce, b"aad", &mut buf, &tag).is_err_and(is_length_error));
                assert_eq!(buf, [0; TEXT.len()]);
            }
        }
    }

    #[test]
    fn what_was_sealed_once_opens_to_the_same_bytes() {
        for aead in Aead::ALL {
            let (mut buf, tag) = sealed(aead);
            assert_ne!(buf, TEXT);
            assert_eq!(aead.open_once_in_place(&KEY, b"aad", &mut buf, &tag), Ok(()));
            assert_eq!(buf, TEXT);
        }
    }
}
