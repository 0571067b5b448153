//! Who has signed a certificate or a revocation list, by the very algorithms that judge handshakes.
//!
//! Another implementation might know fewer, and a CA that one of the two does not know is a CA whose revocation is not seen.

use rustls::pki_types::SignatureVerificationAlgorithm;
use x509_parser::asn1_rs::{Any, BitString, FromDer, Sequence};

use super::provider;

/// Has the owner of a public key signed this certificate or list? `None` if nobody can say: no algorithm fits both.
///
/// - `signed`: a certificate or a revocation list (RFC 5280, 4.1.1 and 5.1.1), DER.
/// - `key`: a SubjectPublicKeyInfo, DER.
pub(super) fn is_signed_by(signed: &[u8], key: &[u8]) -> Option<bool> {
    let (text, algorithm, signature) = parts(signed)?;
    let (key_algorithm, key) = key_parts(key)?;
    let fits = |known: &&&dyn SignatureVerificationAlgorithm| {
        known.signature_alg_id().as_ref() == algorithm && known.public_key_alg_id().as_ref() == key_algorithm
    };
    let mut fitting = provider().signature_verification_algorithms.all.iter().filter(fits).peekable();
    fitting.peek()?;
    Some(fitting.any(|known| known.verify_signature(&key, text, &signature).is_ok()))
}

/// What is signed, the algorithm identifier's content, and the signature.
fn parts(signed: &[u8]) -> Option<(&[u8], Vec<u8>, Vec<u8>)> {
    let (_, whole) = Any::from_der(signed).ok()?;
    let content = whole.data;
    let (rest, _) = Any::from_der(content).ok()?;
    let text = &content[..content.len() - rest.len()];
    let (rest, algorithm) = Sequence::from_der(rest).ok()?;
    let (_, signature) = BitString::from_der(rest).ok()?;
    Some((text, algorithm.content.to_vec(), signature.data.to_vec()))
}

fn key_parts(key: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (_, whole) = Sequence::from_der(key).ok()?;
    let (rest, algorithm) = Sequence::from_der(&whole.content).ok()?;
    let (_, key) = BitString::from_der(rest).ok()?;
    Some((algorithm.content.to_vec(), key.data.to_vec()))
}
