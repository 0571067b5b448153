//! Key pairs: which there are, how they are made, and in which form their halves are stored.
//!
//! | pair | private half | public half |
//! |---|---|---|
//! | RSA | RSAPrivateKey (RFC 8017, A.1.2) | RSAPublicKey (RFC 8017, A.1.1) |
//! | elliptic curve | ECPrivateKey with curve and public point (RFC 5915) | SubjectPublicKeyInfo (RFC 5480) |
//!
//! Making a pair takes randomness, and so do the blinding, the nonces and the seeds of what is done with one. aws-lc draws all of it from its own
//! generator, which the kernel seeds, and takes no other: an exception to the rule that randomness is an argument here. In return nothing of the
//! arithmetic is ours, and none of it depends on the key in time.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair as RsaPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1,
    ECDSA_P521_SHA512_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, EcdsaVerificationAlgorithm, KeyPair as _,
};
use secret::Bytes;

use crate::Error;
use crate::key_form;
use crate::signature::{self, Hash, Message, Pss, Scheme};

/// Fewest bits of an RSA modulus that are taken.
pub const RSA_BITS_MIN: u32 = 2048;
/// Most bits of an RSA modulus that are taken: the time of a signature grows with their cube.
pub const RSA_BITS_MAX: u32 = 4096;

/// A curve of FIPS 186-4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Curve {
    /// secp256r1.
    P256,
    /// secp384r1.
    P384,
    /// secp521r1.
    P521,
}

/// What sort of pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PairKind {
    /// RSA with two primes.
    Rsa {
        /// Length of the modulus.
        bits: u32,
    },
    /// A scalar and a point of a curve.
    Ec(Curve),
}

/// Both halves of a pair, as they are stored.
#[derive(Debug)]
pub struct Pair {
    /// The secret half.
    pub private: Bytes,
    /// The other one.
    pub public: Bytes,
}

impl Curve {
    /// Every curve that is offered.
    pub const ALL: [Self; 3] = [Self::P256, Self::P384, Self::P521];

    /// Length of the order in bits: by it a curve is known from a Cryptographic Length.
    #[must_use]
    pub fn bits(self) -> u32 {
        match self {
            Self::P256 => 256,
            Self::P384 => 384,
            Self::P521 => 521,
        }
    }

    /// Length of a scalar, and of a coordinate, in bytes.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    /// How the curve's keys are read and written; what they sign with is chosen anew for each signature.
    pub(crate) fn signing(self) -> &'static EcdsaSigningAlgorithm {
        match self {
            Self::P256 => &ECDSA_P256_SHA256_ASN1_SIGNING,
            Self::P384 => &ECDSA_P384_SHA384_ASN1_SIGNING,
            Self::P521 => &ECDSA_P521_SHA512_ASN1_SIGNING,
        }
    }

    /// The same for public keys.
    pub(crate) fn verifying(self) -> &'static EcdsaVerificationAlgorithm {
        match self {
            Self::P256 => &ECDSA_P256_SHA256_ASN1,
            Self::P384 => &ECDSA_P384_SHA384_ASN1,
            Self::P521 => &ECDSA_P521_SHA512_ASN1,
        }
    }

    /// The hash function that is as strong as the curve.
    #[must_use]
    pub fn hash(self) -> Hash {
        match self {
            Self::P256 => Hash::Sha256,
            Self::P384 => Hash::Sha384,
            Self::P521 => Hash::Sha512,
        }
    }
}

impl PairKind {
    /// Length of the modulus or of the curve's order, in bits.
    #[must_use]
    pub fn bits(self) -> u32 {
        match self {
            Self::Rsa { bits } => bits,
            Self::Ec(curve) => curve.bits(),
        }
    }

    /// Is it one that [`generate`] makes?
    #[must_use]
    pub fn is_made(self) -> bool {
        match self {
            Self::Rsa { bits } => size(bits).is_some(),
            Self::Ec(_) => true,
        }
    }
}

fn size(bits: u32) -> Option<KeySize> {
    match bits {
        2048 => Some(KeySize::Rsa2048),
        3072 => Some(KeySize::Rsa3072),
        4096 => Some(KeySize::Rsa4096),
        _ => None,
    }
}

/// Makes a pair, and has its halves prove that they belong together (FIPS 140-3, a pairwise consistency test).
///
/// RSA takes tenths of a second with 2048 bits and seconds with 4096: call it where something may take long.
///
/// # Errors
/// [`Error::NotMade`] if the library's generator fails, or the halves do not fit; [`Error::Exhausted`] without locked memory.
pub fn generate(kind: PairKind) -> Result<Pair, Error> {
    let pair = match kind {
        PairKind::Rsa { bits } => {
            let pair = RsaPair::generate(size(bits).ok_or(Error::NotMade)?).map_err(|_| Error::NotMade)?;
            Pair { private: rsa_private(&pair)?, public: bytes(pair.public_key().as_ref())? }
        }
        PairKind::Ec(curve) => {
            let pair = EcdsaKeyPair::generate(curve.signing()).map_err(|_| Error::NotMade)?;
            Pair { private: key_form::ec_private(curve, &pair)?, public: ec_public(&pair)? }
        }
    };
    check(kind, &pair)?;
    Ok(pair)
}

/// Does the one half verify what the other signs?
fn check(kind: PairKind, pair: &Pair) -> Result<(), Error> {
    let scheme = match kind {
        PairKind::Rsa { .. } => Scheme::Pss(Pss::usual(Hash::Sha256)),
        PairKind::Ec(curve) => Scheme::Ecdsa(curve, curve.hash()),
    };
    let message = Message::Data(b"strongroom pairwise consistency test");
    let mut made = Vec::new();
    pair.private.expose(|private| signature::sign(scheme, private, message, &mut made)).map_err(|_| Error::NotMade)?;
    pair.public.expose(|public| signature::verify(scheme, public, message, &made)).map_err(|_| Error::NotMade)
}

/// The private half of a pair that the library holds. Its own copy of the encoding is wiped by the library.
pub(crate) fn rsa_private(pair: &RsaPair) -> Result<Bytes, Error> {
    let encoded: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| Error::NotMade)?;
    key_form::inside_pkcs8(encoded.as_ref())
}

/// The public half of a curve's pair.
pub(crate) fn ec_public(pair: &EcdsaKeyPair) -> Result<Bytes, Error> {
    let encoded: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(|_| Error::NotMade)?;
    bytes(encoded.as_ref())
}

/// Bytes in locked memory.
pub(crate) fn bytes(from: &[u8]) -> Result<Bytes, Error> {
    Ok(Bytes::init_with(from.len(), |to| to.copy_from_slice(from))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key_form::{kind_of_private, kind_of_public};

    #[test]
    fn each_kind_is_made_and_known_again_from_either_half() {
        let curves = Curve::ALL.map(PairKind::Ec);
        for kind in curves.into_iter().chain([PairKind::Rsa { bits: 2048 }]) {
            let pair = generate(kind).expect("the generator works");
            assert_eq!(pair.private.expose(kind_of_private), Ok(kind));
            assert_eq!(pair.public.expose(kind_of_public), Ok(kind));
            let other = generate(kind).expect("the generator works");
            assert!(!pair.private.ct_eq(&other.private), "{kind:?}: each pair is a new one");
            let mixed = Pair { private: pair.private, public: other.public };
            assert_eq!(check(kind, &mixed), Err(Error::NotMade), "{kind:?}: halves of two pairs");
        }
    }

    #[test]
    fn other_lengths_are_not_made() {
        for bits in [0, 1024, 2047, 2049, 8192] {
            assert!(!PairKind::Rsa { bits }.is_made());
            assert_eq!(generate(PairKind::Rsa { bits }).map(|_| ()), Err(Error::NotMade), "{bits}");
        }
    }
}
