//! Signatures of RSA and ECDSA (RFC 8017, FIPS 186-5), by keys as [`crate::pair`] stores them.
//!
//! An RSA signature is as long as the modulus; one of ECDSA is an Ecdsa-Sig-Value in DER (RFC 3279, 2.2.3). The salt of PSS is as long as the hash.

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

use crate::Error;
use crate::pair::Curve;

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
    /// RSASSA-PSS with MGF1 of the same hash.
    Pss(Hash),
    /// ECDSA on this curve.
    Ecdsa(Curve, Hash),
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

    fn hash(self) -> Hash {
        match self {
            Self::Pkcs1(hash) | Self::Pss(hash) | Self::Ecdsa(_, hash) => hash,
        }
    }

    fn verifying(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::Pkcs1(Hash::Sha256) => &RSA_PKCS1_2048_8192_SHA256,
            Self::Pkcs1(Hash::Sha384) => &RSA_PKCS1_2048_8192_SHA384,
            Self::Pkcs1(Hash::Sha512) => &RSA_PKCS1_2048_8192_SHA512,
            Self::Pss(Hash::Sha256) => &RSA_PSS_2048_8192_SHA256,
            Self::Pss(Hash::Sha384) => &RSA_PSS_2048_8192_SHA384,
            Self::Pss(Hash::Sha512) => &RSA_PSS_2048_8192_SHA512,
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
        Scheme::Pss(Hash::Sha256) => Some(&RSA_PSS_SHA256),
        Scheme::Pss(Hash::Sha384) => Some(&RSA_PSS_SHA384),
        Scheme::Pss(Hash::Sha512) => Some(&RSA_PSS_SHA512),
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
            check(Scheme::Pss(hash), PairKind::Rsa { bits: 2048 });
        }
    }

    #[test]
    fn a_key_of_another_kind_is_refused() {
        let pair = generate(PairKind::Ec(Curve::P256)).expect("the generator works");
        for scheme in [Scheme::Pss(Hash::Sha256), Scheme::Pkcs1(Hash::Sha256), Scheme::Ecdsa(Curve::P384, Hash::Sha384)] {
            let mut out = Vec::new();
            let signed = pair.private.expose(|private| sign(scheme, private, Message::Data(b""), &mut out));
            assert_eq!((signed, out), (Err(Error::Refused), vec![]), "{scheme:?}");
            assert_eq!(pair.public.expose(|public| verify(scheme, public, Message::Data(b""), &[])), Err(Error::Refused));
        }
    }
}
