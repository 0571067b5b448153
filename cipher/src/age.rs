//! The age v1 format (age-encryption.org/v1), one X25519 recipient, one chunk: for what is handed to people, who open it by a program of their own.
//!
//! Only the encrypting half: no identity, which is the private key of a person, ever comes near a node. It is written out here because the crate
//! that has the whole format would bring a second version of every algorithm; `softhsm-test` holds it against the `age` program.

use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use chacha20poly1305::ChaCha20Poly1305;
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use data_encoding::BASE64_NOPAD;
use hkdf::Hkdf;
use secret::scrubbed;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::Error;
use crate::mac::hmac_sha256;

/// Bytes of a recipient: a public key on Curve25519.
pub const RECIPIENT_BYTES: usize = 32;
/// Bytes that one encryption draws.
pub const DRAWN_BYTES: usize = EPHEMERAL_BYTES + FILE_KEY_BYTES + NONCE_BYTES;
/// Most bytes that are encrypted: one chunk of the format's stream.
pub const PLAIN_BYTES_MAX: usize = 64 << 10;

const EPHEMERAL_BYTES: usize = 32;
const FILE_KEY_BYTES: usize = 16;
const NONCE_BYTES: usize = 16;
const TAG_BYTES: usize = 16;
const X25519_LABEL: &[u8] = b"age-encryption.org/v1/X25519";
/// Nonce of the stream's first chunk that is also its last.
const ONLY_CHUNK: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// Encrypts `plain` to `recipient`, in the binary form of an age file.
///
/// - `drawn`: fresh random bytes, used for nothing else.
///
/// # Errors
/// [`Error::WrongLength`] for more than [`PLAIN_BYTES_MAX`]; [`Error::Refused`] for a recipient that is no sound public key.
pub fn encrypt(recipient: &[u8; RECIPIENT_BYTES], plain: &[u8], drawn: &[u8; DRAWN_BYTES]) -> Result<Vec<u8>, Error> {
    if plain.len() > PLAIN_BYTES_MAX {
        return Err(Error::WrongLength { what: "text", is_bytes: plain.len(), wants: "at most 65536" });
    }
    let (ephemeral, rest) = drawn.split_at(EPHEMERAL_BYTES);
    let (file_key, nonce) = rest.split_at(FILE_KEY_BYTES);
    let ephemeral = PrivateKey::from_private_key(&X25519, ephemeral).map_err(|_| Error::Refused)?;
    let share = ephemeral.compute_public_key().map_err(|_| Error::Refused)?;
    let share = share.as_ref();

    let mut wrapped = Zeroizing::new(file_key.to_vec());
    // A point of small order gives an agreement of zeros, which is refused below this call.
    agree(&ephemeral, UnparsedPublicKey::new(&X25519, recipient), Error::Refused, |shared| {
        let key = derived(&[share, recipient].concat(), shared, X25519_LABEL);
        wrapped.reserve_exact(TAG_BYTES);
        sealed(&key, &[0; 12], &mut wrapped)
    })?;
    let mut file =
        format!("age-encryption.org/v1\n-> X25519 {}\n{}\n---", BASE64_NOPAD.encode(share), BASE64_NOPAD.encode(&wrapped)).into_bytes();
    let mac = hmac_sha256(&derived(b"", file_key, b"header")[..], &[&file]);
    file.extend_from_slice(format!(" {}\n", BASE64_NOPAD.encode(&mac)).as_bytes());
    file.extend_from_slice(nonce);

    // Encrypted in place, so that the text is in no second buffer.
    let mut chunk = Zeroizing::new(Vec::with_capacity(plain.len() + TAG_BYTES));
    chunk.extend_from_slice(plain);
    sealed(&derived(nonce, file_key, b"payload"), &ONLY_CHUNK, &mut chunk)?;
    file.extend_from_slice(&chunk);
    Ok(file)
}

/// HKDF-SHA-256 of one block.
fn derived(salt: &[u8], key: &[u8], label: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut out = Zeroizing::new([0; 32]);
    scrubbed(|| Hkdf::<Sha256>::new(Some(salt), key).expand(label, &mut out[..]).expect("32 bytes are below the limit of HKDF"));
    out
}

/// ChaCha20-Poly1305 over a buffer with room for the tag.
fn sealed(key: &[u8; 32], nonce: &[u8; 12], buffer: &mut Vec<u8>) -> Result<(), Error> {
    scrubbed(|| {
        let tag = ChaCha20Poly1305::new(key.into()).encrypt_inout_detached(nonce.into(), b"", buffer.as_mut_slice().into());
        tag.map(|tag| buffer.extend_from_slice(&tag)).map_err(|_| Error::Refused)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The recipient of the identity AGE-SECRET-KEY-1... whose scalar is 32 times 0x77.
    fn recipient() -> [u8; RECIPIENT_BYTES] {
        let identity = PrivateKey::from_private_key(&X25519, &[0x77; 32]).expect("any 32 bytes");
        identity.compute_public_key().expect("it has one").as_ref().try_into().expect("32 bytes")
    }

    #[test]
    fn what_is_drawn_decides_the_file_and_every_part_of_it_matters() {
        let drawn: [u8; DRAWN_BYTES] = std::array::from_fn(|at| u8::try_from(at).expect("below 256"));
        let file = encrypt(&recipient(), b"text", &drawn).expect("it is sound");
        assert_eq!(file, encrypt(&recipient(), b"text", &drawn).expect("it is sound"));
        assert!(file.starts_with(b"age-encryption.org/v1\n-> X25519 "));
        assert!(!file.windows(4).any(|window| window == b"text"));
        for at in [0, EPHEMERAL_BYTES, DRAWN_BYTES - 1] {
            let mut other = drawn;
            other[at] ^= 0x10;
            assert_ne!(file, encrypt(&recipient(), b"text", &other).expect("it is sound"), "byte {at}");
        }
    }

    #[test]
    fn a_point_of_small_order_and_a_text_of_two_chunks_are_refused() {
        assert_eq!(encrypt(&[0; RECIPIENT_BYTES], b"text", &[1; DRAWN_BYTES]), Err(Error::Refused));
        let long = vec![0; PLAIN_BYTES_MAX + 1];
        assert!(matches!(encrypt(&recipient(), &long, &[1; DRAWN_BYTES]), Err(Error::WrongLength { .. })));
    }
}
