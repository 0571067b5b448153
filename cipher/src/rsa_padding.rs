//! RSA with paddings that aws-lc has and aws-lc-rs does not pass on: PSS with any salt and mask, OAEP with any mask (RFC 8017, 7.1 and 8.1).
//!
//! This is all the unsafe code of the crate: calls into the library below aws-lc-rs, which reads and checks keys, blinds, takes the same time for
//! every key, and wipes all that it frees, as it does for aws-lc-rs. There was no other way. The `rsa` crate tells a private key by the time that
//! it takes (RUSTSEC-2023-0071), and with paddings of our own one would need RSA without any, which aws-lc-rs does not offer either.
//!
//! What the library allocates belongs to one value here, which frees it. It keeps no pointer into our memory after a call.
#![expect(unsafe_code, reason = "another language's library; every block says why it is sound")]

use std::ffi::c_int;
use std::ptr::{NonNull, null_mut};

use aws_lc_rs::error::Unspecified;
use aws_lc_sys as lc;

use crate::pair::{RSA_BITS_MAX, RSA_BITS_MIN};
use crate::rsa::PaddingHash;
use crate::signature::{Pss, Salt};

/// The two hash functions of OAEP.
#[derive(Clone, Copy)]
pub(crate) struct Oaep {
    /// Of the label.
    pub(crate) hash: PaddingHash,
    /// Of MGF1.
    pub(crate) mask: PaddingHash,
}

/// Signs a digest, into the front of `out`; returns the signature's length.
///
/// - `private`: RSAPrivateKey. `out`: as long as the modulus.
pub(crate) fn sign_pss(pss: Pss, private: &[u8], digest: &[u8], out: &mut [u8]) -> Result<usize, Unspecified> {
    // Any number below zero would ask the library for something else than a length.
    let Salt::Bytes(salt_bytes) = pss.salt else { return Err(Unspecified) };
    let (key, salt_bytes) = (Key::private(private)?, c_int::try_from(salt_bytes).map_err(|_| Unspecified)?);
    let mut written = 0;
    // SAFETY: the key is alive, and each pointer comes with the length of its slice. The library reads as much of the digest as its hash function
    // puts out, after it has compared the two, and writes `out.len()` bytes at most.
    done(unsafe {
        lc::RSA_sign_pss_mgf1(
            key.0.as_ptr(),
            &raw mut written,
            out.as_mut_ptr(),
            out.len(),
            digest.as_ptr(),
            digest.len(),
            function(pss.hash.into()),
            function(pss.mask),
            salt_bytes,
        )
    })?;
    Ok(written)
}

/// Verifies the signature of a digest.
///
/// - `public`: RSAPublicKey.
pub(crate) fn verify_pss(pss: Pss, public: &[u8], digest: &[u8], signature: &[u8]) -> Result<(), Unspecified> {
    let key = Key::public(public)?;
    let salt_bytes = match pss.salt {
        Salt::Bytes(bytes) => c_int::try_from(bytes).map_err(|_| Unspecified)?,
        Salt::Any => lc::RSA_PSS_SALTLEN_AUTO,
    };
    // SAFETY: as in `sign_pss`, and nothing is written.
    done(unsafe {
        lc::RSA_verify_pss_mgf1(
            key.0.as_ptr(),
            digest.as_ptr(),
            digest.len(),
            function(pss.hash.into()),
            function(pss.mask),
            salt_bytes,
            signature.as_ptr(),
            signature.len(),
        )
    })
}

/// Encrypts into the front of `out`; returns the length of the ciphertext.
///
/// - `public`: RSAPublicKey. `out`: as long as the modulus.
pub(crate) fn encrypt_oaep(oaep: Oaep, public: &[u8], label: &[u8], plaintext: &[u8], out: &mut [u8]) -> Result<usize, Unspecified> {
    let context = Context::new(&Key::public(public)?)?;
    // SAFETY: the context is alive.
    done(unsafe { lc::EVP_PKEY_encrypt_init(context.0.as_ptr()) })?;
    context.set(oaep, label)?;
    let mut written = out.len();
    // SAFETY: the context is alive and initialized, and each pointer comes with the length of its slice, which is the most that the library writes.
    done(unsafe { lc::EVP_PKEY_encrypt(context.0.as_ptr(), out.as_mut_ptr(), &raw mut written, plaintext.as_ptr(), plaintext.len()) })?;
    Ok(written)
}

/// Decrypts into the front of `out`; returns the length of the plaintext. What is wrong with a ciphertext is not told, neither by the time.
///
/// - `private`: RSAPrivateKey. `out`: as long as the modulus.
pub(crate) fn decrypt_oaep(oaep: Oaep, private: &[u8], label: &[u8], ciphertext: &[u8], out: &mut [u8]) -> Result<usize, Unspecified> {
    let context = Context::new(&Key::private(private)?)?;
    // SAFETY: the context is alive.
    done(unsafe { lc::EVP_PKEY_decrypt_init(context.0.as_ptr()) })?;
    context.set(oaep, label)?;
    let mut written = out.len();
    // SAFETY: as in `encrypt_oaep`.
    done(unsafe { lc::EVP_PKEY_decrypt(context.0.as_ptr(), out.as_mut_ptr(), &raw mut written, ciphertext.as_ptr(), ciphertext.len()) })?;
    Ok(written)
}

/// An RSA key in the library's memory.
struct Key(NonNull<lc::RSA>);

impl Key {
    fn private(given: &[u8]) -> Result<Self, Unspecified> {
        // SAFETY: the pointer comes with the length of its slice, which the library reads and copies.
        Self::checked(unsafe { lc::RSA_private_key_from_bytes(given.as_ptr(), given.len()) })
    }

    fn public(given: &[u8]) -> Result<Self, Unspecified> {
        // SAFETY: as in `private`.
        Self::checked(unsafe { lc::RSA_public_key_from_bytes(given.as_ptr(), given.len()) })
    }

    /// Takes what is nobody else's; null where the library did not take the bytes for a key.
    fn checked(made: *mut lc::RSA) -> Result<Self, Unspecified> {
        let key = Self(NonNull::new(made).ok_or(Unspecified)?);
        // SAFETY: the key is alive.
        let bits = unsafe { lc::RSA_bits(key.0.as_ptr()) };
        if (RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) { Ok(key) } else { Err(Unspecified) }
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        // SAFETY: it was given to nobody but contexts, which count as owners of their own. The library wipes what it frees.
        unsafe { lc::RSA_free(self.0.as_ptr()) };
    }
}

/// What holds a key of any kind.
struct Holder(NonNull<lc::EVP_PKEY>);

impl Drop for Holder {
    fn drop(&mut self) {
        // SAFETY: as with `Key`.
        unsafe { lc::EVP_PKEY_free(self.0.as_ptr()) };
    }
}

/// One encryption or decryption.
struct Context(NonNull<lc::EVP_PKEY_CTX>);

impl Context {
    fn new(key: &Key) -> Result<Self, Unspecified> {
        // SAFETY: it takes nothing.
        let holder = Holder(NonNull::new(unsafe { lc::EVP_PKEY_new() }).ok_or(Unspecified)?);
        // SAFETY: both are alive; the holder becomes one more owner of the key.
        done(unsafe { lc::EVP_PKEY_set1_RSA(holder.0.as_ptr(), key.0.as_ptr()) })?;
        // SAFETY: the holder is alive, and the context becomes one more owner of it; no engine is asked for.
        let made = unsafe { lc::EVP_PKEY_CTX_new(holder.0.as_ptr(), null_mut()) };
        NonNull::new(made).map(Self).ok_or(Unspecified)
    }

    /// Says how to pad, once it is known whether to encrypt or to decrypt.
    fn set(&self, oaep: Oaep, label: &[u8]) -> Result<(), Unspecified> {
        let context = self.0.as_ptr();
        // SAFETY: the context is alive, here and in the next two.
        done(unsafe { lc::EVP_PKEY_CTX_set_rsa_padding(context, lc::RSA_PKCS1_OAEP_PADDING) })?;
        // SAFETY: a hash function of the library is a constant.
        done(unsafe { lc::EVP_PKEY_CTX_set_rsa_oaep_md(context, function(oaep.hash)) })?;
        // SAFETY: the same.
        done(unsafe { lc::EVP_PKEY_CTX_set_rsa_mgf1_md(context, function(oaep.mask)) })?;
        if label.is_empty() {
            return Ok(());
        }
        // SAFETY: the pointer comes with the length of its slice, which is copied.
        let copy = NonNull::new(unsafe { lc::OPENSSL_memdup(label.as_ptr().cast(), label.len()) }).ok_or(Unspecified)?;
        // SAFETY: the context is alive, and frees the copy, which is as long as it says; unless this fails.
        let taken = done(unsafe { lc::EVP_PKEY_CTX_set0_rsa_oaep_label(context, copy.as_ptr().cast(), label.len()) });
        if taken.is_err() {
            // SAFETY: then nobody else has it.
            unsafe { lc::OPENSSL_free(copy.as_ptr()) };
        }
        taken
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: as with `Key`.
        unsafe { lc::EVP_PKEY_CTX_free(self.0.as_ptr()) };
    }
}

fn function(hash: PaddingHash) -> *const lc::EVP_MD {
    // SAFETY: they take nothing and return constants of the library.
    unsafe {
        match hash {
            PaddingHash::Sha1 => lc::EVP_sha1(),
            PaddingHash::Sha256 => lc::EVP_sha256(),
            PaddingHash::Sha384 => lc::EVP_sha384(),
            PaddingHash::Sha512 => lc::EVP_sha512(),
        }
    }
}

fn done(answer: c_int) -> Result<(), Unspecified> {
    if answer == 1 { Ok(()) } else { Err(Unspecified) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pair::{Curve, Pair, PairKind, generate};
    use crate::signature::Hash;

    const OAEP: Oaep = Oaep { hash: PaddingHash::Sha384, mask: PaddingHash::Sha256 };
    const PSS: Pss = Pss { hash: Hash::Sha256, mask: PaddingHash::Sha1, salt: Salt::Bytes(222) };

    /// A pair and the room for what is as long as its modulus.
    fn pair(kind: PairKind) -> (Pair, Vec<u8>) {
        (generate(kind).expect("the generator works"), vec![0; 256])
    }

    #[test]
    fn room_that_is_too_short_is_refused_and_nothing_is_written_past_it() {
        let (pair, mut room) = pair(PairKind::Rsa { bits: 2048 });
        room.push(7);
        for bytes in [0, 1, 255] {
            let signed = pair.private.expose(|key| sign_pss(PSS, key, &[1; 32], &mut room[..bytes]));
            let encrypted = pair.public.expose(|key| encrypt_oaep(OAEP, key, b"label", b"text", &mut room[..bytes]));
            let decrypted = pair.private.expose(|key| decrypt_oaep(OAEP, key, b"label", &[1; 256], &mut room[..bytes]));
            assert!(signed.is_err() && encrypted.is_err() && decrypted.is_err(), "{bytes}");
            assert!(room[bytes..256].iter().all(|byte| *byte == 0), "{bytes}");
        }
        let signed = pair.private.expose(|key| sign_pss(PSS, key, &[1; 32], &mut room[..256]));
        assert_eq!((signed, room[256]), (Ok(256), 7));
    }

    #[test]
    fn what_is_no_rsa_key_of_a_length_that_is_taken_is_refused() {
        let (ec, mut room) = pair(PairKind::Ec(Curve::P256));
        // A modulus of 1024 bits.
        let short = [&[0x30, 0x81, 0x87, 0x02, 0x81, 0x81, 0x00][..], &[0xFF; 128], &[0x02, 0x01, 0x03]].concat();
        ec.public.expose(|ec| {
            for public in [&[][..], &[0x30, 0], &short, ec] {
                assert!(encrypt_oaep(OAEP, public, b"", b"text", &mut room).is_err());
                assert!(verify_pss(PSS, public, &[1; 32], &[1; 256]).is_err());
            }
        });
        ec.private.expose(|ec| {
            for private in [&[][..], &[0x30, 0], ec] {
                assert!(decrypt_oaep(OAEP, private, b"", &[1; 256], &mut room).is_err());
                assert!(sign_pss(PSS, private, &[1; 32], &mut room).is_err());
            }
        });
    }

    #[test]
    fn lengths_that_do_not_fit_are_refused() {
        let (pair, mut room) = pair(PairKind::Rsa { bits: 2048 });
        for salt_bytes in [223, usize::MAX, usize::MAX - 1] {
            let pss = Pss { salt: Salt::Bytes(salt_bytes), ..PSS };
            assert!(pair.private.expose(|key| sign_pss(pss, key, &[1; 32], &mut room)).is_err(), "{salt_bytes}");
            assert!(pair.public.expose(|key| verify_pss(pss, key, &[1; 32], &room)).is_err(), "{salt_bytes}");
        }
        for bytes in [0, 20, 31, 33, 64] {
            assert!(pair.private.expose(|key| sign_pss(PSS, key, &vec![1; bytes], &mut room)).is_err(), "{bytes}");
        }
        assert_eq!(pair.private.expose(|key| sign_pss(PSS, key, &[1; 32], &mut room)), Ok(256));
        for signature in [&room[1..], &[&room[..], &[0]].concat(), &[]] {
            assert!(pair.public.expose(|key| verify_pss(PSS, key, &[1; 32], signature)).is_err());
            assert!(pair.private.expose(|key| decrypt_oaep(OAEP, key, b"", signature, &mut [0; 256])).is_err());
        }
    }
}
