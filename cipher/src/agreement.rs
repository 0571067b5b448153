//! Key agreement on elliptic curves (NIST SP 800-56A, 5.7.1.2), between halves as [`crate::pair`] stores them.
//!
//! The curves have a cofactor of 1, so what comes out is that of plain ECDH too (SEC 1, 3.3.1).

use aws_lc_rs::agreement::{self, Algorithm, ECDH_P256, ECDH_P384, ECDH_P521, PrivateKey, UnparsedPublicKey};
use secret::scrubbed;

use crate::Error;
use crate::derive::too_long;
use crate::key_form::{kind_of_private, kind_of_public};
use crate::pair::{Curve, PairKind};

/// Fills `out` with the front of the secret that a private key shares with the public key of another pair: the x coordinate of their product, which
/// is as long as a coordinate of the curve.
///
/// # Errors
/// [`Error::NotAKey`] unless both are of one curve; [`Error::WrongLength`] if `out` is longer than the coordinate.
pub fn agree(private: &[u8], public: &[u8], out: &mut [u8]) -> Result<(), Error> {
    let (PairKind::Ec(curve), PairKind::Ec(other)) = (kind_of_private(private)?, kind_of_public(public)?) else {
        return Err(Error::NotAKey { why: "keys of elliptic curves agree on a secret, and keys of RSA do not" });
    };
    if curve != other {
        return Err(Error::NotAKey { why: "the private and the public key are of two curves, and have to be of one" });
    }
    if out.len() > curve.bytes() {
        return Err(too_long(out.len()));
    }
    let algorithm = algorithm(curve);
    let not_agreed = Error::NotAKey { why: "the two keys do not agree on a secret" };
    scrubbed(|| {
        let private = PrivateKey::from_private_key_der(algorithm, private).map_err(|_| not_agreed)?;
        agreement::agree(&private, UnparsedPublicKey::new(algorithm, public), not_agreed, |secret| {
            out.copy_from_slice(&secret[..out.len()]);
            Ok(())
        })
    })
}

fn algorithm(curve: Curve) -> &'static Algorithm {
    match curve {
        Curve::P256 => &ECDH_P256,
        Curve::P384 => &ECDH_P384,
        Curve::P521 => &ECDH_P521,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pair::{Pair, generate};

    fn agreed(one: &Pair, other: &Pair, bytes: usize) -> Result<Vec<u8>, Error> {
        let mut out = vec![0; bytes];
        let all = one.private.expose(|private| other.public.expose(|public| agree(private, public, &mut out)));
        all.map(|()| out)
    }

    #[test]
    fn both_sides_agree_and_a_shorter_secret_is_the_front_of_the_whole() {
        for curve in Curve::ALL {
            let [one, other, third] = [(); 3].map(|()| generate(PairKind::Ec(curve)).expect("the generator works"));
            let whole = agreed(&one, &other, curve.bytes()).expect("one curve");
            assert_eq!(agreed(&other, &one, curve.bytes()), Ok(whole.clone()), "{curve:?}");
            assert_eq!(agreed(&one, &other, 16), Ok(whole[..16].to_vec()), "{curve:?}");
            assert_ne!(agreed(&one, &third, curve.bytes()), Ok(whole), "{curve:?}");
            let longer = agreed(&one, &other, curve.bytes() + 1);
            assert!(matches!(longer, Err(Error::WrongLength { what: "derived key", .. })), "{curve:?}");
        }
    }

    #[test]
    fn halves_of_two_kinds_do_not_agree() {
        let kinds = [PairKind::Ec(Curve::P256), PairKind::Ec(Curve::P384), PairKind::Rsa { bits: 2048 }];
        let pairs = kinds.map(|kind| generate(kind).expect("the generator works"));
        for (one, other) in [(0, 1), (1, 0), (0, 2), (2, 0), (2, 2)] {
            let refused = agreed(&pairs[one], &pairs[other], 16);
            assert!(matches!(refused, Err(Error::NotAKey { .. })), "{one} and {other}: {refused:?}");
        }
        let swapped = pairs[0].public.expose(|public| pairs[0].private.expose(|private| agree(public, private, &mut [0; 16])));
        assert!(matches!(swapped, Err(Error::NotAKey { .. })));
    }
}
