//! Ed25519 signatures (RFC 8032) from seeds that stay in locked memory.
//!
//! The signing key is derived from the seed in each call, on the stack, and overwritten when the call ends.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use secret::scrubbed;

use crate::Error;

/// Length of a seed in bytes; the private key of RFC 8032 section 5.1.5.
pub const SEED_BYTES: usize = 32;

/// Length of a public key in bytes.
pub const PUBLIC_BYTES: usize = 32;

/// Length of a signature in bytes.
pub const SIGNATURE_BYTES: usize = 64;

/// The public key that belongs to `seed`.
#[must_use]
pub fn public_from_seed(seed: &[u8; SEED_BYTES]) -> [u8; PUBLIC_BYTES] {
    scrubbed(|| SigningKey::from_bytes(seed).verifying_key().to_bytes())
}

/// Signs `message` with the key that `seed` stands for. Costs about twice a bare signature, because the public key is derived anew.
#[must_use]
pub fn sign(seed: &[u8; SEED_BYTES], message: &[u8]) -> [u8; SIGNATURE_BYTES] {
    scrubbed(|| SigningKey::from_bytes(seed).sign(message).to_bytes())
}

/// Verifies strictly: besides the equation of RFC 8032, public keys and commitments of small order and non-canonical scalars are refused, so
/// that one signature fits one message and one key.
///
/// # Errors
/// [`Error::WrongLength`] for a signature that is not 64 bytes long; [`Error::Refused`] if it does not verify or the public key is no point.
pub fn verify(public: &[u8; PUBLIC_BYTES], message: &[u8], signature: &[u8]) -> Result<(), Error> {
    let bytes =
        signature.try_into().map_err(|_| Error::WrongLength { what: "Ed25519 signature", is_bytes: signature.len(), wants: "64" })?;
    let public = VerifyingKey::from_bytes(public).map_err(|_| Error::Refused)?;
    public.verify_strict(message, &Signature::from_bytes(bytes)).map_err(|_| Error::Refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: [u8; SEED_BYTES] = [9; SEED_BYTES];

    #[test]
    fn a_signature_fits_one_message_and_one_key() {
        let public = public_from_seed(&SEED);
        let signature = sign(&SEED, b"message");
        assert_eq!(verify(&public, b"message", &signature), Ok(()));
        assert_eq!(verify(&public, b"messagf", &signature), Err(Error::Refused));
        assert_eq!(verify(&public, b"", &signature), Err(Error::Refused));
        assert_eq!(verify(&public_from_seed(&[8; SEED_BYTES]), b"message", &signature), Err(Error::Refused));
    }

    #[test]
    fn any_flipped_bit_of_a_signature_is_refused() {
        let public = public_from_seed(&SEED);
        let signature = sign(&SEED, b"message");
        for bit in 0..8 * SIGNATURE_BYTES {
            let mut changed = signature;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(verify(&public, b"message", &changed), Err(Error::Refused), "bit {bit}");
        }
    }

    /// The neutral point as public key and as commitment satisfies the bare equation for every message.
    #[test]
    fn a_public_key_of_small_order_is_refused() {
        let mut neutral = [0; PUBLIC_BYTES];
        neutral[0] = 1;
        let mut signature = [0; SIGNATURE_BYTES];
        signature[0] = 1;
        assert_eq!(verify(&neutral, b"anything", &signature), Err(Error::Refused));
    }

    #[test]
    fn a_signature_of_another_length_is_a_typed_error() {
        let public = public_from_seed(&SEED);
        for is_bytes in [0, 1, 63, 65, 128] {
            let refused = verify(&public, b"message", &vec![0; is_bytes]);
            assert_eq!(refused, Err(Error::WrongLength { what: "Ed25519 signature", is_bytes, wants: "64" }));
        }
    }
}
