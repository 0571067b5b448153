//! The release key: ECDSA on P-256, whose holder approves states of the platform (C13). It need not be on a host that it speaks of.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use cipher::ecdsa::SIGNATURE_BYTES;
use hsm::ReleaseKey;
use keys::port::EntropyError;

use crate::Error;

/// A release key that can sign; the library wipes it when it is dropped.
#[derive(Debug)]
pub struct ReleaseSigner(EcdsaKeyPair);

impl ReleaseSigner {
    /// From PKCS #8 in DER.
    ///
    /// # Errors
    /// `Invalid` for anything but a key on P-256.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, Error> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der);
        pair.map(Self).map_err(|_| Error::Invalid { field: "release key", wants: "one of ECDSA on P-256" })
    }

    /// Its public half.
    pub(crate) fn public(&self) -> ReleaseKey {
        let (x, y) = self.0.public_key().as_ref()[1..].split_at(32);
        let half = |bytes: &[u8]| bytes.try_into().expect("half of a point of P-256");
        ReleaseKey { x: half(x), y: half(y) }
    }

    /// Signs SHA-256 of `message`; the library draws the nonce.
    ///
    /// # Errors
    /// `Entropy`.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_BYTES], Error> {
        let signature = self.0.sign(&SystemRandom::new(), message).map_err(|error| EntropyError { why: error.to_string() })?;
        Ok(signature.as_ref().try_into().expect("r and s"))
    }
}
