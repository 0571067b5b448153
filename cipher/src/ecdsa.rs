//! ECDSA on P-256 with SHA-256 (FIPS 186-5): verifying only, for keys that people keep outside.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

use crate::Error;

/// Length of a public key in bytes: 4, then x and y (SEC 1, 2.3.3).
pub const PUBLIC_BYTES: usize = 65;
/// Length of a signature in bytes: r and s (IEEE P1363).
pub const SIGNATURE_BYTES: usize = 64;

/// Verifies a signature over SHA-256 of `message`.
///
/// # Errors
/// [`Error::WrongLength`] for a signature that is not 64 bytes long; [`Error::Refused`] if it does not verify, or the public key is no point of the curve.
pub fn verify(public: &[u8; PUBLIC_BYTES], message: &[u8], signature: &[u8]) -> Result<(), Error> {
    if signature.len() != SIGNATURE_BYTES {
        return Err(Error::WrongLength { what: "ECDSA signature", is_bytes: signature.len(), wants: "64" });
    }
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, public).verify(message, signature).map_err(|_| Error::Refused)
}
