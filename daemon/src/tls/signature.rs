//! Who has signed a certificate or a revocation list, by the very algorithms that judge handshakes.
//!
//! Another implementation might know fewer, and a CA that one of the two does not know is a CA whose revocation is not seen.
//!
//! Chains and lists are judged often, and whether a signature fits a key and a text never changes. So what was once found good is remembered, by
//! SHA-256 of all that was compared. Only that is remembered: trust anchors, dates, revocation, usages and names are judged anew each time.

use std::sync::LazyLock;

use quick_cache::sync::Cache;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm};
use x509_parser::asn1_rs::{Any, BitString, FromDer, Sequence};

use super::provider;

/// Good signatures that are remembered. A chain has one a certificate, and a revocation list has one.
const SIGNATURES_MAX: usize = 4096;

/// What was found good. One for the process, because a good signature is good for everybody.
static GOOD: LazyLock<Cache<[u8; 32], ()>> = LazyLock::new(|| Cache::new(SIGNATURES_MAX));

/// The algorithms of chains and lists; made once, because the TLS library wants them to live as long as the process.
static REMEMBERING: LazyLock<&'static [&'static dyn SignatureVerificationAlgorithm]> = LazyLock::new(|| {
    let all = provider().signature_verification_algorithms.all.iter();
    let remembering = all.map(|known| &*Box::leak(Box::new(Remembering(*known))) as &dyn SignatureVerificationAlgorithm);
    Box::leak(remembering.collect())
});

/// An algorithm that does not compute again what was good once.
#[derive(Debug)]
struct Remembering(&'static dyn SignatureVerificationAlgorithm);

impl SignatureVerificationAlgorithm for Remembering {
    fn verify_signature(&self, key: &[u8], text: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let compared = self.digest(key, text, signature);
        if GOOD.get(&compared).is_none() {
            self.0.verify_signature(key, text, signature)?;
            GOOD.insert(compared, ());
        }
        Ok(())
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.0.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.0.signature_alg_id()
    }

    fn fips(&self) -> bool {
        self.0.fips()
    }
}

impl Remembering {
    /// SHA-256 of the two algorithms, key, text and signature, the length of each before it.
    fn digest(&self, key: &[u8], text: &[u8], signature: &[u8]) -> [u8; 32] {
        let (key_algorithm, algorithm) = (self.public_key_alg_id(), self.signature_alg_id());
        let parts = [key_algorithm.as_ref(), algorithm.as_ref(), key, text, signature];
        let lengths = parts.map(|part| part.len().to_be_bytes());
        cipher::mac::sha256(lengths.iter().zip(parts).map(|(length, part)| [&length[..], part]).collect::<Vec<_>>().as_flattened())
    }
}

/// What judges chains and lists. A handshake's own signature is made anew each time and would only fill the memory: [`provider`] is for it.
pub(super) fn remembering() -> CryptoProvider {
    let plain = provider();
    let algorithms = WebPkiSupportedAlgorithms { all: *REMEMBERING, ..plain.signature_verification_algorithms };
    CryptoProvider { signature_verification_algorithms: algorithms, ..CryptoProvider::clone(&plain) }
}

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
    let mut fitting = REMEMBERING.iter().filter(fits).peekable();
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Takes a signature that is key and text, one after the other, and counts how often it is asked.
    #[derive(Debug)]
    struct Counted(AtomicUsize);

    impl SignatureVerificationAlgorithm for Counted {
        fn verify_signature(&self, key: &[u8], text: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
            self.0.fetch_add(1, Ordering::Relaxed);
            if signature == [key, text].concat() { Ok(()) } else { Err(InvalidSignature) }
        }

        fn public_key_alg_id(&self) -> AlgorithmIdentifier {
            AlgorithmIdentifier::from_slice(b"a key of this test")
        }

        fn signature_alg_id(&self) -> AlgorithmIdentifier {
            AlgorithmIdentifier::from_slice(b"a signature of this test")
        }
    }

    /// What is asked, whether it is good, and how often the algorithm was asked afterwards.
    fn check(steps: &[([&[u8]; 3], bool, usize)]) {
        let counted: &'static Counted = Box::leak(Box::new(Counted(AtomicUsize::new(0))));
        let remembering = Remembering(counted);
        for (step, ([key, text, signature], good, asked)) in steps.iter().enumerate() {
            assert_eq!(remembering.verify_signature(key, text, signature).is_ok(), *good, "step {step}");
            assert_eq!(counted.0.load(Ordering::Relaxed), *asked, "step {step}");
        }
    }

    #[test]
    fn a_good_signature_is_computed_once() {
        check(&[([b"one", b"text", b"onetext"], true, 1), ([b"one", b"text", b"onetext"], true, 1)]);
    }

    #[test]
    fn a_bad_signature_is_computed_each_time() {
        let bad: ([&[u8]; 3], _) = ([b"two", b"text", b"else"], false);
        check(&[(bad.0, bad.1, 1), (bad.0, bad.1, 2), ([b"two", b"text", b"twotext"], true, 3), (bad.0, bad.1, 4)]);
    }

    #[test]
    fn what_differs_in_one_part_or_in_where_a_part_ends_is_not_remembered() {
        check(&[
            ([b"three", b"text", b"threetext"], true, 1),
            ([b"thref", b"text", b"threetext"], false, 2),
            ([b"three", b"tex_", b"threetext"], false, 3),
            ([b"three", b"text", b"threetexT"], false, 4),
            ([b"three", b"textt", b"hreetext"], false, 5),
            ([b"thre", b"etext", b"threetext"], true, 6),
        ]);
    }

    #[test]
    fn every_algorithm_of_handshakes_judges_chains_under_its_own_identifiers() {
        let identifiers = |all: &[&dyn SignatureVerificationAlgorithm]| {
            all.iter().map(|known| (known.public_key_alg_id(), known.signature_alg_id())).collect::<Vec<_>>()
        };
        let plain = provider().signature_verification_algorithms.all;
        assert_eq!(identifiers(remembering().signature_verification_algorithms.all), identifiers(plain));
        assert!(plain.len() > 5);
    }
}
