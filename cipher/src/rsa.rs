//! RSA encryption (RFC 8017, section 7), by keys as [`crate::pair`] stores them.

use aws_lc_rs::rsa::{
    OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OAEP_SHA384_MGF1SHA384, OAEP_SHA512_MGF1SHA512, OaepAlgorithm, OaepPrivateDecryptingKey,
    OaepPublicEncryptingKey, Pkcs1PrivateDecryptingKey, Pkcs1PublicEncryptingKey, PrivateDecryptingKey, PublicEncryptingKey,
};

use crate::Error;
use crate::key_form::{self, PrivateForm, PublicForm};
use crate::pair::PairKind;
use crate::rsa_padding::{self, Oaep};

/// A hash function inside a padding: OAEP's, and that of the mask in OAEP and PSS (MGF1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PaddingHash {
    /// SHA-1: all that many tokens and libraries do. Neither OAEP nor a mask rests on what is broken of it.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// A way to encrypt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// RSAES-OAEP.
    Oaep {
        /// Of the label.
        hash: PaddingHash,
        /// Of MGF1.
        mask: PaddingHash,
    },
    /// RSAES-PKCS1-v1_5. Whoever learns of many ciphertexts whether they decrypt, decrypts one of them (Bleichenbacher): for old clients only.
    Pkcs1,
}

impl PaddingHash {
    /// Length of a hash in bytes.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

impl Encryption {
    /// Most bytes that it encrypts under a modulus of so many bits.
    #[must_use]
    pub fn plaintext_bytes_max(self, modulus_bits: u32) -> usize {
        let overhead = match self {
            Self::Oaep { hash, .. } => 2 * hash.bytes() + 2,
            Self::Pkcs1 => 11,
        };
        usize::try_from(modulus_bits.div_ceil(8)).map_or(0, |bytes| bytes.saturating_sub(overhead))
    }

    /// What aws-lc-rs does not offer.
    fn unusual(self) -> Option<Oaep> {
        match self {
            Self::Oaep { hash, mask } if hash != mask => Some(Oaep { hash, mask }),
            Self::Oaep { .. } | Self::Pkcs1 => None,
        }
    }
}

/// Length of a modulus in bytes.
pub(crate) fn modulus_bytes(kind: PairKind) -> Result<usize, Error> {
    match kind {
        PairKind::Rsa { bits } => Ok(usize::try_from(bits.div_ceil(8)).expect("a modulus is short")),
        PairKind::Ec(_) => Err(Error::Refused),
    }
}

fn oaep(hash: PaddingHash) -> &'static OaepAlgorithm {
    match hash {
        PaddingHash::Sha1 => &OAEP_SHA1_MGF1SHA1,
        PaddingHash::Sha256 => &OAEP_SHA256_MGF1SHA256,
        PaddingHash::Sha384 => &OAEP_SHA384_MGF1SHA384,
        PaddingHash::Sha512 => &OAEP_SHA512_MGF1SHA512,
    }
}

/// Encrypts: appends as many bytes to `out` as the modulus has.
///
/// - `label`: of OAEP, empty as a rule; PKCS#1 v1.5 has none.
///
/// # Errors
/// [`Error::Refused`] for a plaintext that is longer than [`Encryption::plaintext_bytes_max`], or a key that is none; `out` is then as it was.
pub fn encrypt(how: Encryption, public: &[u8], label: &[u8], plaintext: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    if let Some(oaep) = how.unusual() {
        let bytes = modulus_bytes(key_form::kind_of_public(public)?)?;
        return append(out, bytes, |room| rsa_padding::encrypt_oaep(oaep, public, label, plaintext, room));
    }
    let public = key_form::write_public(public, PublicForm::SubjectPublicKeyInfo)?;
    let key = public.expose(PublicEncryptingKey::from_der).map_err(|_| Error::Refused)?;
    append(out, key.key_size_bytes(), |room| match how {
        Encryption::Oaep { hash, .. } => {
            Ok(OaepPublicEncryptingKey::new(key)?.encrypt(oaep(hash), plaintext, room, (!label.is_empty()).then_some(label))?.len())
        }
        Encryption::Pkcs1 => Ok(Pkcs1PublicEncryptingKey::new(key)?.encrypt(plaintext, room)?.len()),
    })
}

/// Decrypts: appends the plaintext to `out`, or leaves `out` as it was. What is wrong with a ciphertext is not told.
///
/// # Errors
/// [`Error::Refused`].
pub fn decrypt(how: Encryption, private: &[u8], label: &[u8], ciphertext: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    if let Some(oaep) = how.unusual() {
        let bytes = modulus_bytes(key_form::kind_of_private(private)?)?;
        return append(out, bytes, |room| rsa_padding::decrypt_oaep(oaep, private, label, ciphertext, room));
    }
    let private = key_form::write_private(private, PrivateForm::Pkcs8)?;
    let key = private.expose(PrivateDecryptingKey::from_pkcs8).map_err(|_| Error::Refused)?;
    if ciphertext.len() != key.key_size_bytes() {
        return Err(Error::Refused);
    }
    append(out, key.key_size_bytes(), |room| match how {
        Encryption::Oaep { hash, .. } => {
            Ok(OaepPrivateDecryptingKey::new(key)?.decrypt(oaep(hash), ciphertext, room, (!label.is_empty()).then_some(label))?.len())
        }
        Encryption::Pkcs1 => Ok(Pkcs1PrivateDecryptingKey::new(key)?.decrypt(ciphertext, room)?.len()),
    })
}

/// Lets `fill` write up to `most` bytes at the end of `out`; if it fails, what it wrote is wiped and taken back.
pub(crate) fn append(
    out: &mut Vec<u8>,
    most: usize,
    fill: impl FnOnce(&mut [u8]) -> Result<usize, aws_lc_rs::error::Unspecified>,
) -> Result<(), Error> {
    let begins = out.len();
    out.resize(begins + most, 0);
    let filled = fill(&mut out[begins..]);
    let kept = begins + *filled.as_ref().unwrap_or(&0);
    out[kept..].fill(0);
    out.truncate(kept);
    filled.map(|_| ()).map_err(|_| Error::Refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pair::{Pair, PairKind, generate};

    const HASHES: [PaddingHash; 4] = [PaddingHash::Sha1, PaddingHash::Sha256, PaddingHash::Sha384, PaddingHash::Sha512];

    /// OAEP with every two hash functions, and PKCS#1 v1.5.
    fn ways() -> impl Iterator<Item = Encryption> {
        let oaep = HASHES.into_iter().flat_map(|hash| HASHES.map(|mask| Encryption::Oaep { hash, mask }));
        oaep.chain([Encryption::Pkcs1])
    }

    fn pair() -> Pair {
        generate(PairKind::Rsa { bits: 2048 }).expect("the generator works")
    }

    #[test]
    fn what_is_encrypted_decrypts_up_to_the_stated_length() {
        let pair = pair();
        for how in ways() {
            let most = how.plaintext_bytes_max(2048);
            for bytes in [0, 1, most] {
                let (mut sealed, mut opened) = (vec![1], vec![2]);
                pair.public.expose(|key| encrypt(how, key, b"", &vec![7; bytes], &mut sealed)).expect("it fits");
                assert_eq!(sealed.len(), 1 + 256, "{how:?}");
                pair.private.expose(|key| decrypt(how, key, b"", &sealed[1..], &mut opened)).expect("it is what was encrypted");
                assert_eq!(opened, [vec![2], vec![7; bytes]].concat(), "{how:?}");
            }
            let mut out = vec![1];
            let long = pair.public.expose(|key| encrypt(how, key, b"", &vec![7; most + 1], &mut out));
            assert_eq!((long, out), (Err(Error::Refused), vec![1]), "{how:?}");
        }
    }

    #[test]
    fn other_ciphertexts_labels_ways_and_keys_are_refused_alike() {
        let (pair, other) = (pair(), pair());
        for (hash, mask) in
            [(PaddingHash::Sha1, PaddingHash::Sha1), (PaddingHash::Sha256, PaddingHash::Sha256), (PaddingHash::Sha256, PaddingHash::Sha1)]
        {
            let how = Encryption::Oaep { hash, mask };
            let mut sealed = Vec::new();
            pair.public.expose(|key| encrypt(how, key, b"label", b"secret", &mut sealed)).expect("it fits");
            let mut out = Vec::new();
            let mut refused = |pair: &Pair, how, label: &[u8], sealed: &[u8]| {
                let done = pair.private.expose(|key| decrypt(how, key, label, sealed, &mut out));
                assert_eq!((done, out.len()), (Err(Error::Refused), 0), "{how:?} {}", sealed.len());
            };
            refused(&other, how, b"label", &sealed);
            refused(&pair, how, b"", &sealed);
            refused(&pair, how, b"label", &sealed[1..]);
            refused(&pair, how, b"label", &[0xFF; 256]);
            refused(&pair, how, b"label", &[]);
            refused(&pair, Encryption::Pkcs1, b"", &sealed);
            refused(&pair, Encryption::Oaep { hash, mask: PaddingHash::Sha512 }, b"label", &sealed);
            refused(&pair, Encryption::Oaep { hash: PaddingHash::Sha384, mask }, b"label", &sealed);
            sealed[100] ^= 1;
            refused(&pair, how, b"label", &sealed);
        }
    }
}
