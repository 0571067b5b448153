//! Shamir's scheme over GF(2^8), byte by byte: any `threshold` shares give the secret back, fewer say nothing of it.
//!
//! The field's arithmetic is vsss-rs', which multiplies without looking anything up; the loops are ours, because its own functions leave copies on
//! the heap. Neither tells whether the shares belong together: whoever combines compares the result with something it knows. Source:
//! docs/SECURITY.md, C11.

use secret::scrubbed;
use vsss_rs::Gf256;

use crate::Error;

/// Most shares of a secret: the field has no more points but zero.
pub const SHARES_MAX: usize = 255;

/// Computes the share at `x`, 1 to 255.
///
/// - `coefficients`: uniform bytes, for each but the first coefficient as many as the secret has: (threshold - 1) x the secret's length.
/// - `share`: as long as the secret.
///
/// # Errors
/// [`Error::WrongLength`] if the lengths do not fit; [`Error::Refused`] at zero, where the secret itself lies.
pub fn share(secret: &[u8], coefficients: &[u8], x: u8, share: &mut [u8]) -> Result<(), Error> {
    if x == 0 {
        return Err(Error::Refused);
    }
    if secret.is_empty() || share.len() != secret.len() || !coefficients.len().is_multiple_of(secret.len()) {
        return Err(Error::WrongLength { what: "share", is_bytes: share.len(), wants: "as many as the secret has" });
    }
    scrubbed(|| {
        for (place, byte) in share.iter_mut().enumerate() {
            let column = coefficients[place..].iter().step_by(secret.len());
            // Horner's rule, from the highest coefficient down.
            let sum = column.rev().fold(Gf256(0), |sum, coefficient| (sum + Gf256(*coefficient)) * Gf256(x));
            *byte = (sum + Gf256(secret[place])).0;
        }
    });
    Ok(())
}

/// Interpolates the secret from shares and their points.
///
/// # Errors
/// [`Error::Refused`] for no share, a point of zero, or one that comes twice; [`Error::WrongLength`] for shares of another length than `secret` has.
pub fn combine(shares: &[(u8, &[u8])], secret: &mut [u8]) -> Result<(), Error> {
    let twice = |at: usize| shares[..at].iter().any(|(x, _)| *x == shares[at].0);
    if shares.is_empty() || shares.iter().any(|(x, _)| *x == 0) || (0..shares.len()).any(twice) {
        return Err(Error::Refused);
    }
    if let Some((_, share)) = shares.iter().find(|(_, share)| share.len() != secret.len()) {
        return Err(Error::WrongLength { what: "share", is_bytes: share.len(), wants: "as many as the secret has" });
    }
    scrubbed(|| {
        secret.fill(0);
        for (x, share) in shares {
            let weight = weight(shares, *x);
            secret.iter_mut().zip(*share).for_each(|(byte, share)| *byte = (Gf256(*byte) + weight * Gf256(*share)).0);
        }
    });
    Ok(())
}

/// How the share at `x` counts: the value at zero of the polynomial that is one there and zero at all others' points. Points are no secret.
fn weight(shares: &[(u8, &[u8])], x: u8) -> Gf256 {
    let others = shares.iter().map(|(other, _)| Gf256(*other)).filter(|other| other.0 != x);
    others.fold(Gf256(1), |weight, other| weight * other * inverse(other - Gf256(x)))
}

/// The field's multiplicative group has 255 elements, so the 254th power of each but zero is its inverse.
fn inverse(element: Gf256) -> Gf256 {
    // 2^7 - 1, by squaring and multiplying, then squared. The library's own power overflows.
    let power_127 = (0..6).fold(element, |power, _| power * power * element);
    power_127 * power_127
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECRET: [u8; 32] = [0x5A; 32];

    fn split(secret: &[u8], coefficients: &[u8], count: u8) -> Vec<(u8, Vec<u8>)> {
        let one = |x| {
            let mut share = vec![0; secret.len()];
            super::share(secret, coefficients, x, &mut share).expect("the lengths fit");
            (x, share)
        };
        (1..=count).map(one).collect()
    }

    fn combined(shares: &[(u8, Vec<u8>)]) -> Result<Vec<u8>, Error> {
        let shares: Vec<(u8, &[u8])> = shares.iter().map(|(x, share)| (*x, share.as_slice())).collect();
        let mut secret = vec![0; shares.first().map_or(0, |(_, share)| share.len())];
        combine(&shares, &mut secret).map(|()| secret)
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let mut out = [0; 32];
        assert_eq!(share(&SECRET, &[1; 32], 0, &mut out), Err(Error::Refused));
        assert!(matches!(share(&SECRET, &[1; 33], 1, &mut out), Err(Error::WrongLength { .. })));
        assert!(matches!(share(&SECRET, &[1; 32], 1, &mut out[1..]), Err(Error::WrongLength { .. })));
        assert!(matches!(share(&[], &[], 1, &mut []), Err(Error::WrongLength { .. })));
        let shares = split(&SECRET, &[9; 32], 2);
        assert_eq!(combined(&[]), Err(Error::Refused));
        assert_eq!(combined(&[shares[0].clone(), shares[0].clone()]), Err(Error::Refused));
        assert_eq!(combined(&[(0, SECRET.to_vec()), shares[0].clone()]), Err(Error::Refused));
        assert!(matches!(combined(&[shares[0].clone(), (2, vec![1; 31])]), Err(Error::WrongLength { .. })));
    }

    proptest! {
        #[test]
        fn the_threshold_of_shares_gives_the_secret_and_vsss_rs_agrees(
            secret in proptest::collection::vec(any::<u8>(), 1..40),
            threshold in 2_u8..8,
            more in 0_u8..5,
            seed in any::<[u8; 32]>(),
        ) {
            let bytes = secret.len() * usize::from(threshold - 1);
            let coefficients: Vec<u8> = seed.iter().cycle().zip(1..=u8::MAX).cycle().take(bytes).map(|(byte, turn)| byte.wrapping_mul(turn | 1)).collect();
            let shares = split(&secret, &coefficients, threshold + more);
            let newest = &shares[usize::from(more)..];
            prop_assert_eq!(combined(newest).expect("they fit"), secret.clone());
            let theirs: Vec<Vec<u8>> = newest.iter().map(|(x, share)| [&[*x][..], share].concat()).collect();
            prop_assert_eq!(Gf256::combine_bytes(&theirs).expect("they fit"), secret.clone());
            // One share too few is another polynomial's secret, unless the highest coefficients are all zero.
            if coefficients[secret.len() * usize::from(threshold - 2)..].iter().any(|byte| *byte != 0) {
                prop_assert_ne!(combined(&newest[1..]).ok(), Some(secret));
            }
        }
    }

    /// Each value of a share's byte is as likely as any other, whatever the secret: over all coefficients it takes each once.
    #[test]
    fn a_share_says_nothing_of_the_secret() {
        for secret in [0, 1, 0xFF] {
            for x in [1, 2, 255] {
                let mut seen = [false; 256];
                for coefficient in 0..=255 {
                    let mut out = [0];
                    share(&[secret], &[coefficient], x, &mut out).expect("the lengths fit");
                    seen[usize::from(out[0])] = true;
                }
                assert!(seen.iter().all(|seen| *seen), "{secret} at {x}");
            }
        }
    }
}
