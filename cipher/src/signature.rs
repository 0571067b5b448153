//! Signatures of RSA and ECDSA (RFC 8017, FIPS 186-5), by keys as [`crate::pair`] stores them.
//!
//! An RSA signature is as long as the modulus; one of ECDSA is an Ecdsa-Sig-Value in DER (RFC 3279, 2.2.3).

use aws_lc_rs::digest::{self, Digest};
use aws_lc_rs::rsa::KeyPair as RsaPair;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA384_ASN1, ECDSA_P256_SHA512_ASN1, ECDSA_P384_SHA256_ASN1,
    ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P384_SHA512_ASN1, ECDSA_P521_SHA256_ASN1, ECDSA_P521_SHA256_ASN1_SIGNING,
    ECDSA_P521_SHA384_ASN1, ECDSA_P521_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1, ECDSA_P521_SHA512_ASN1_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PKCS1_SHA256,
    RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RSA_PSS_SHA256,
    RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, UnparsedPublicKey, VerificationAlgorithm,
};

use crate::pair::{Curve, RSA_BITS_MAX};
use crate::rsa::{self, PaddingHash};
use crate::{Error, key_form, rsa_padding};

/// Length of the longest signature in bytes.
pub const SIGNATURE_BYTES_MAX: usize = RSA_BITS_MAX as usize / 8;

/// A hash function of SHA-2 (FIPS 180-4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hash {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// A way to sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// RSASSA-PKCS1-v1_5.
    Pkcs1(Hash),
    /// RSASSA-PSS.
    Pss(Pss),
    /// ECDSA on this curve.
    Ecdsa(Curve, Hash),
}

/// The parameters of RSASSA-PSS (RFC 8017, 8.1); its trailer has one byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pss {
    /// Of the message.
    pub hash: Hash,
    /// Of MGF1.
    pub mask: PaddingHash,
    /// How long it is.
    pub salt: Salt,
}

/// The length of the salt in PSS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Salt {
    /// So many bytes.
    Bytes(usize),
    /// As many as the signature turns out to have: verifies and does not sign. The message is bound by the hash, not by this length.
    Any,
}

/// What is signed.
#[derive(Debug, Clone, Copy)]
pub enum Message<'a> {
    /// All of it.
    Data(&'a [u8]),
    /// Its hash.
    Digest(&'a [u8]),
}

impl Hash {
    /// Length of a hash in bytes.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    fn algorithm(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        }
    }
}

impl From<Hash> for crate::Hash {
    fn from(hash: Hash) -> Self {
        match hash {
            Hash::Sha256 => Self::Sha256,
            Hash::Sha384 => Self::Sha384,
            Hash::Sha512 => Self::Sha512,
        }
    }
}

impl From<Hash> for PaddingHash {
    fn from(hash: Hash) -> Self {
        match hash {
            Hash::Sha256 => Self::Sha256,
            Hash::Sha384 => Self::Sha384,
            Hash::Sha512 => Self::Sha512,
        }
    }
}

impl Pss {
    /// As nearly all use it: one hash function in both places, and a salt as long as it.
    #[must_use]
    pub fn usual(hash: Hash) -> Self {
        Self { hash, mask: hash.into(), salt: Salt::Bytes(hash.bytes()) }
    }

    /// Most bytes of salt that have room under a modulus of so many bits, beside this hash.
    #[must_use]
    pub fn salt_bytes_max(hash: Hash, modulus_bits: u32) -> usize {
        let padded_bytes = modulus_bits.saturating_sub(1).div_ceil(8);
        usize::try_from(padded_bytes).map_or(0, |bytes| bytes.saturating_sub(hash.bytes() + 2))
    }
}

impl Message<'_> {
    fn digest(self, hash: Hash) -> Result<Digest, Error> {
        match self {
            Self::Data(data) => Ok(digest::digest(hash.algorithm(), data)),
            Self::Digest(digest) => {
                let wants = match hash {
                    Hash::Sha256 => "32",
                    Hash::Sha384 => "48",
                    Hash::Sha512 => "64",
                };
                let wrong = Error::WrongLength { what: "the digest", is_bytes: digest.len(), wants };
                Digest::import_less_safe(digest, hash.algorithm()).map_err(|_| wrong)
            }
        }
    }
}

impl Scheme {
    /// Can it sign? Verifying takes any hash on any curve; signing leaves out those that are weaker than the curve, but for P-521.
    #[must_use]
    pub fn signs(self) -> bool {
        match self {
            Self::Pkcs1(_) | Self::Pss(_) => true,
            Self::Ecdsa(curve, hash) => ecdsa_signing(curve, hash).is_some(),
        }
    }

    /// The hash function of the message.
    #[must_use]
    pub fn hash(self) -> Hash {
        match self {
            Self::Pkcs1(hash) | Self::Pss(Pss { hash, .. }) | Self::Ecdsa(_, hash) => hash,
        }
    }

    /// What aws-lc-rs does not offer.
    fn unusual(self) -> Option<Pss> {
        match self {
            Self::Pss(pss) if pss != Pss::usual(pss.hash) => Some(pss),
            Self::Pss(_) | Self::Pkcs1(_) | Self::Ecdsa(..) => None,
        }
    }

    fn verifying(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::Pkcs1(Hash::Sha256) => &RSA_PKCS1_2048_8192_SHA256,
            Self::Pkcs1(Hash::Sha384) => &RSA_PKCS1_2048_8192_SHA384,
            Self::Pkcs1(Hash::Sha512) => &RSA_PKCS1_2048_8192_SHA512,
            Self::Pss(Pss { hash: Hash::Sha256, .. }) => &RSA_PSS_2048_8192_SHA256,
            Self::Pss(Pss { hash: Hash::Sha384, .. }) => &RSA_PSS_2048_8192_SHA384,
            Self::Pss(Pss { hash: Hash::Sha512, .. }) => &RSA_PSS_2048_8192_SHA512,
            Self::Ecdsa(Curve::P256, Hash::Sha256) => &ECDSA_P256_SHA256_ASN1,
            Self::Ecdsa(Curve::P256, Hash::Sha384) => &ECDSA_P256_SHA384_ASN1,
            Self::Ecdsa(Curve::P256, Hash::Sha512) => &ECDSA_P256_SHA512_ASN1,
            Self::Ecdsa(Curve::P384, Hash::Sha256) => &ECDSA_P384_SHA256_ASN1,
            Self::Ecdsa(Curve::P384, Hash::Sha384) => &ECDSA_P384_SHA384_ASN1,
            Self::Ecdsa(Curve::P384, Hash::Sha512) => &ECDSA_P384_SHA512_ASN1,
            Self::Ecdsa(Curve::P521, Hash::Sha256) => &ECDSA_P521_SHA256_ASN1,
            Self::Ecdsa(Curve::P521, Hash::Sha384) => &ECDSA_P521_SHA384_ASN1,
            Self::Ecdsa(Curve::P521, Hash::Sha512) => &ECDSA_P521_SHA512_ASN1,
        }
    }
}

fn ecdsa_signing(curve: Curve, hash: Hash) -> Option<&'static EcdsaSigningAlgorithm> {
    match (curve, hash) {
        (Curve::P256, Hash::Sha256) => Some(&ECDSA_P256_SHA256_ASN1_SIGNING),
        (Curve::P384, Hash::Sha384) => Some(&ECDSA_P384_SHA384_ASN1_SIGNING),
        (Curve::P521, Hash::Sha256) => Some(&ECDSA_P521_SHA256_ASN1_SIGNING),
        (Curve::P521, Hash::Sha384) => Some(&ECDSA_P521_SHA384_ASN1_SIGNING),
        (Curve::P521, Hash::Sha512) => Some(&ECDSA_P521_SHA512_ASN1_SIGNING),
        (Curve::P256, Hash::Sha384 | Hash::Sha512) | (Curve::P384, Hash::Sha256 | Hash::Sha512) => None,
    }
}

fn rsa_signing(scheme: Scheme) -> Option<&'static dyn RsaEncoding> {
    match scheme {
        Scheme::Pkcs1(Hash::Sha256) => Some(&RSA_PKCS1_SHA256),
        Scheme::Pkcs1(Hash::Sha384) => Some(&RSA_PKCS1_SHA384),
        Scheme::Pkcs1(Hash::Sha512) => Some(&RSA_PKCS1_SHA512),
        Scheme::Pss(Pss { hash: Hash::Sha256, .. }) => Some(&RSA_PSS_SHA256),
        Scheme::Pss(Pss { hash: Hash::Sha384, .. }) => Some(&RSA_PSS_SHA384),
        Scheme::Pss(Pss { hash: Hash::Sha512, .. }) => Some(&RSA_PSS_SHA512),
        Scheme::Ecdsa(..) => None,
    }
}

/// Signs: appends the signature to `out`.
///
/// - `private`: as [`crate::pair`] stores it, of the scheme's kind.
///
/// # Errors
/// [`Error::WrongLength`] for a digest; [`Error::Refused`] for a key of another kind, or a scheme that does not sign. `out` is then as it was.
pub fn sign(scheme: Scheme, private: &[u8], message: Message<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
    if let Scheme::Ecdsa(curve, hash) = scheme {
        let algorithm = ecdsa_signing(curve, hash).ok_or(Error::Refused)?;
        let pair = EcdsaKeyPair::from_private_key_der(algorithm, private).map_err(|_| Error::Refused)?;
        let signature = pair.sign_digest(&message.digest(hash)?).map_err(|_| Error::Refused)?;
        out.extend_from_slice(signature.as_ref());
        return Ok(());
    }
    if let Some(pss) = scheme.unusual() {
        let digest = message.digest(pss.hash)?;
        let bytes = rsa::modulus_bytes(key_form::kind_of_private(private).map_err(|_| Error::Refused)?)?;
        return rsa::append(out, bytes, |room| rsa_padding::sign_pss(pss, private, digest.as_ref(), room));
    }
    let encoding = rsa_signing(scheme).ok_or(Error::Refused)?;
    let pair = RsaPair::from_der(private).map_err(|_| Error::Refused)?;
    let digest = message.digest(scheme.hash())?;
    let begins = out.len();
    out.resize(begins + pair.public_modulus_len(), 0);
    let done = pair.sign_digest(encoding, &digest, &mut out[begins..]);
    if done.is_err() {
        out.truncate(begins);
    }
    done.map_err(|_| Error::Refused)
}

/// Verifies a signature.
///
/// - `public`: as [`crate::pair`] stores it.
///
/// # Errors
/// [`Error::WrongLength`] for a digest; [`Error::Refused`] if the signature does not verify, or the key is of another kind.
pub fn verify(scheme: Scheme, public: &[u8], message: Message<'_>, signature: &[u8]) -> Result<(), Error> {
    if let Some(pss) = scheme.unusual() {
        let digest = message.digest(pss.hash)?;
        return rsa_padding::verify_pss(pss, public, digest.as_ref(), signature).map_err(|_| Error::Refused);
    }
    let key = UnparsedPublicKey::new(scheme.verifying(), public);
    let verdict = match message {
        Message::Data(data) => key.verify(data, signature),
        Message::Digest(_) => key.verify_digest(&message.digest(scheme.hash())?, signature),
    };
    verdict.map_err(|_| Error::Refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pair::{PairKind, generate};

    fn check(scheme: Scheme, kind: PairKind) {
        let pair = generate(kind).expect("the generator works");
        let data = b"what is signed";
        let hashed = digest::digest(scheme.hash().algorithm(), data);
        for message in [Message::Data(data), Message::Digest(hashed.as_ref())] {
            let mut signature = vec![7];
            let signed = pair.private.expose(|private| sign(scheme, private, message, &mut signature));
            if !scheme.signs() {
                assert_eq!((signed, signature), (Err(Error::Refused), vec![7]), "{scheme:?}");
                continue;
            }
            assert_eq!(signed, Ok(()), "{scheme:?}");
            let signature = &signature[1..];
            let verify = |message, signature: &[u8]| pair.public.expose(|public| verify(scheme, public, message, signature));
            assert_eq!(verify(Message::Data(data), signature), Ok(()), "{scheme:?}");
            assert_eq!(verify(Message::Digest(hashed.as_ref()), signature), Ok(()), "{scheme:?}");
            assert_eq!(verify(Message::Data(b"what is not"), signature), Err(Error::Refused), "{scheme:?}");
            let mut other = signature.to_vec();
            *other.last_mut().expect("it is not empty") ^= 1;
            for wrong in [&other, &signature[1..], &[]] {
                assert_eq!(verify(Message::Data(data), wrong), Err(Error::Refused), "{scheme:?}");
            }
        }
        let short = pair.private.expose(|private| sign(scheme, private, Message::Digest(&[7; 20]), &mut Vec::new()));
        assert!(!scheme.signs() || matches!(short, Err(Error::WrongLength { is_bytes: 20, .. })), "{scheme:?}");
    }

    #[test]
    fn what_a_scheme_signs_it_verifies_and_nothing_else() {
        for hash in [Hash::Sha256, Hash::Sha384, Hash::Sha512] {
            for curve in Curve::ALL {
                check(Scheme::Ecdsa(curve, hash), PairKind::Ec(curve));
            }
            check(Scheme::Pkcs1(hash), PairKind::Rsa { bits: 2048 });
            let usual = Pss::usual(hash);
            let longest = Pss::salt_bytes_max(hash, 2048);
            let salts = [Salt::Bytes(0), Salt::Bytes(longest)].map(|salt| Pss { salt, ..usual });
            for pss in [usual, Pss { mask: PaddingHash::Sha1, ..usual }].into_iter().chain(salts) {
                check(Scheme::Pss(pss), PairKind::Rsa { bits: 2048 });
            }
        }
    }

    #[test]
    fn a_key_of_another_kind_is_refused() {
        let pair = generate(PairKind::Ec(Curve::P256)).expect("the generator works");
        let salted = Pss { salt: Salt::Bytes(20), ..Pss::usual(Hash::Sha256) };
        let other = Scheme::Ecdsa(Curve::P384, Hash::Sha384);
        for scheme in [Scheme::Pss(Pss::usual(Hash::Sha256)), Scheme::Pss(salted), Scheme::Pkcs1(Hash::Sha256), other] {
            let mut out = Vec::new();
            let signed = pair.private.expose(|private| sign(scheme, private, Message::Data(b""), &mut out));
            assert_eq!((signed, out), (Err(Error::Refused), vec![]), "{scheme:?}");
            assert_eq!(pair.public.expose(|public| verify(scheme, public, Message::Data(b""), &[])), Err(Error::Refused));
        }
    }

    #[test]
    fn a_salt_of_another_length_or_another_mask_is_another_scheme() {
        let pair = generate(PairKind::Rsa { bits: 2048 }).expect("the generator works");
        let (usual, message) = (Pss::usual(Hash::Sha256), Message::Data(b"what is signed"));
        let of = |bytes| Pss { salt: Salt::Bytes(bytes), ..usual };
        let ways = [usual, Pss { mask: PaddingHash::Sha1, ..usual }, of(222), of(0)];
        for signed in ways {
            let mut signature = Vec::new();
            pair.private.expose(|key| sign(Scheme::Pss(signed), key, message, &mut signature)).expect("the salt fits");
            for asked in ways {
                let verdict = pair.public.expose(|key| verify(Scheme::Pss(asked), key, message, &signature));
                assert_eq!(verdict.is_ok(), signed == asked, "{signed:?} {asked:?}");
            }
            for mask in [PaddingHash::Sha1, PaddingHash::Sha256] {
                let any = Scheme::Pss(Pss { mask, salt: Salt::Any, ..usual });
                let judge = |message| pair.public.expose(|key| verify(any, key, message, &signature));
                assert_eq!(judge(message).is_ok(), signed.mask == mask, "{signed:?} {mask:?}");
                assert_eq!(judge(Message::Data(b"what is not")), Err(Error::Refused), "{signed:?}");
            }
        }
        let mut out = vec![7];
        for pss in [of(223), Pss { salt: Salt::Any, ..usual }] {
            assert_eq!(pair.private.expose(|key| sign(Scheme::Pss(pss), key, message, &mut out)), Err(Error::Refused));
            assert_eq!(out, [7]);
        }
    }

    /// RFC 8017, 9.1.1: the encoding is one bit shorter than the modulus, so 2049 bits have no more room than 2048.
    #[test]
    fn the_longest_salt_is_what_the_encoding_leaves() {
        let check = |hash, bits, expected| assert_eq!(Pss::salt_bytes_max(hash, bits), expected, "{hash:?} {bits}");
        check(Hash::Sha256, 2048, 222);
        check(Hash::Sha256, 2049, 222);
        check(Hash::Sha256, 2050, 223);
        check(Hash::Sha512, 2048, 190);
        check(Hash::Sha384, 4096, 462);
        check(Hash::Sha512, 0, 0);
    }
}
