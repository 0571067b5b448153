//! The forms in which keys of pairs come and go, and the one in which each is stored (see [`crate::pair`]).
//!
//! Whatever comes is read, checked and written anew by the library, so what is stored is one form exactly and a key that could be used. DER is
//! read in place and written into locked memory.

use aws_lc_rs::encoding::{AsBigEndian, AsDer, EcPrivateKeyBin, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair as RsaPair, KeyPairComponents, PublicKey as RsaPublic, PublicKeyComponents};
use aws_lc_rs::signature::{EcdsaKeyPair, KeyPair as _, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256};
use der::asn1::{AnyRef, BitStringRef, ObjectIdentifier, OctetStringRef, UintRef};
use der::{Decode, Encode, Reader, SliceReader};
use pkcs8::PrivateKeyInfoRef;
use sec1::{EcParameters, EcPrivateKey};
use secret::Bytes;
use spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};

use crate::Error;
use crate::pair::{Curve, PairKind, RSA_BITS_MAX, RSA_BITS_MIN, bytes, ec_public, rsa_private};

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");

/// How a private key is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrivateForm {
    /// RSAPrivateKey (RFC 8017).
    Pkcs1,
    /// PrivateKeyInfo (RFC 5208), unencrypted.
    Pkcs8,
    /// ECPrivateKey (RFC 5915).
    EcPrivateKey,
}

/// How a public key is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublicForm {
    /// RSAPublicKey (RFC 8017).
    Pkcs1,
    /// SubjectPublicKeyInfo (RFC 5280).
    SubjectPublicKeyInfo,
}

/// The numbers of an RSA private key, big-endian without leading zeros.
#[derive(Clone, Copy)]
pub struct RsaParts<'a> {
    /// n.
    pub modulus: &'a [u8],
    /// e.
    pub public_exponent: &'a [u8],
    /// d.
    pub private_exponent: &'a [u8],
    /// p.
    pub p: &'a [u8],
    /// q.
    pub q: &'a [u8],
    /// d mod (p - 1).
    pub prime_exponent_p: &'a [u8],
    /// d mod (q - 1).
    pub prime_exponent_q: &'a [u8],
    /// 1/q mod p.
    pub crt_coefficient: &'a [u8],
}

impl Curve {
    fn oid(self) -> ObjectIdentifier {
        match self {
            Self::P256 => ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7"),
            Self::P384 => ObjectIdentifier::new_unwrap("1.3.132.0.34"),
            Self::P521 => ObjectIdentifier::new_unwrap("1.3.132.0.35"),
        }
    }

    fn of_oid(oid: ObjectIdentifier) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|curve| curve.oid() == oid)
            .ok_or(Error::NotAKey { why: "of the curves there are P-256, P-384 and P-521" })
    }
}

/// Reads a private key; returns its kind, and the key as it is stored.
///
/// # Errors
/// [`Error::NotAKey`]; [`Error::Exhausted`].
pub fn read_private(form: PrivateForm, given: &[u8]) -> Result<(PairKind, Bytes), Error> {
    match form {
        PrivateForm::Pkcs1 => rsa_pair(RsaPair::from_der(given)),
        PrivateForm::Pkcs8 => match oid_of(given)? {
            (RSA, _) => rsa_pair(RsaPair::from_pkcs8(given)),
            (EC, Some(curve)) => ec_pair(Curve::of_oid(curve)?, given),
            _ => Err(Error::NotAKey { why: "PKCS#8 holds a key of RSA, or of a named curve" }),
        },
        PrivateForm::EcPrivateKey => {
            let key = EcPrivateKey::from_der(given).map_err(not_der)?;
            let curve = key.parameters.and_then(EcParameters::named_curve);
            let curve = curve.ok_or(Error::NotAKey { why: "an ECPrivateKey has to name its curve" })?;
            ec_pair(Curve::of_oid(curve)?, given)
        }
    }
}

/// The algorithm of a PrivateKeyInfo, and the curve that it names.
fn oid_of(given: &[u8]) -> Result<(ObjectIdentifier, Option<ObjectIdentifier>), Error> {
    let info = PrivateKeyInfoRef::from_der(given).map_err(not_der)?;
    Ok((info.algorithm.oid, info.algorithm.parameters_oid().ok()))
}

fn rsa_pair<E>(pair: Result<RsaPair, E>) -> Result<(PairKind, Bytes), Error> {
    let pair = pair.map_err(|_| Error::NotAKey { why: "the bytes are no RSA private key of two primes and 2048 bits or more" })?;
    let kind = rsa_kind(pair.public_key().as_ref())?;
    Ok((kind, rsa_private(&pair)?))
}

fn ec_pair(curve: Curve, given: &[u8]) -> Result<(PairKind, Bytes), Error> {
    let pair = EcdsaKeyPair::from_private_key_der(curve.signing(), given);
    let pair = pair.map_err(|_| Error::NotAKey { why: "the bytes are no private key of the curve that they name" })?;
    Ok((PairKind::Ec(curve), ec_private(curve, &pair)?))
}

/// The private half of a curve's pair, whatever parts of it came. The library wipes its own copy of the scalar.
pub(crate) fn ec_private(curve: Curve, pair: &EcdsaKeyPair) -> Result<Bytes, Error> {
    let scalar: EcPrivateKeyBin<'_> = pair.private_key().as_be_bytes().map_err(|_| Error::NotMade)?;
    let parameters = Some(EcParameters::NamedCurve(curve.oid()));
    written(&EcPrivateKey { private_key: scalar.as_ref(), parameters, public_key: Some(pair.public_key().as_ref()) })
}

/// Reads a public key; returns its kind, and the key as it is stored.
///
/// # Errors
/// As [`read_private`].
pub fn read_public(form: PublicForm, given: &[u8]) -> Result<(PairKind, Bytes), Error> {
    match form {
        PublicForm::Pkcs1 => {
            rsa_public_parts(given)?;
            rsa_public(given)
        }
        PublicForm::SubjectPublicKeyInfo => {
            let info = SubjectPublicKeyInfoRef::from_der(given).map_err(not_der)?;
            let inside = info.subject_public_key.as_bytes().ok_or(Error::NotAKey { why: "its bits are no whole bytes" })?;
            match (info.algorithm.oid, info.algorithm.parameters_oid().ok()) {
                (RSA, _) => rsa_public(inside),
                (EC, Some(curve)) => ec_public_of(Curve::of_oid(curve)?, inside),
                _ => Err(Error::NotAKey { why: "it is a public key of neither RSA nor a named curve" }),
            }
        }
    }
}

fn rsa_public(pkcs1: &[u8]) -> Result<(PairKind, Bytes), Error> {
    let key = RsaPublic::from_der(pkcs1).map_err(|_| Error::NotAKey { why: "the bytes are no RSA public key" })?;
    Ok((rsa_kind(key.as_ref())?, bytes(key.as_ref())?))
}

/// The kind of an RSAPublicKey.
fn rsa_kind(pkcs1: &[u8]) -> Result<PairKind, Error> {
    let (modulus, _) = rsa_public_parts(pkcs1)?;
    let bits = modulus_bits(modulus);
    if (RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
        Ok(PairKind::Rsa { bits })
    } else {
        Err(Error::NotAKey { why: "an RSA key has 2048 to 4096 bits" })
    }
}

fn modulus_bits(modulus: &[u8]) -> u32 {
    let leading = modulus.first().map_or(0, |first| first.leading_zeros());
    u32::try_from(modulus.len() * 8).unwrap_or(u32::MAX) - leading
}

/// A private key of RSA by its numbers, as it is stored.
///
/// # Errors
/// [`Error::NotAKey`] if they do not fit together; [`Error::Exhausted`].
pub fn rsa_private_of(parts: &RsaParts<'_>) -> Result<(PairKind, Bytes), Error> {
    let public_key = PublicKeyComponents { n: parts.modulus, e: parts.public_exponent };
    let components = KeyPairComponents {
        public_key,
        d: parts.private_exponent,
        p: parts.p,
        q: parts.q,
        dP: parts.prime_exponent_p,
        dQ: parts.prime_exponent_q,
        qInv: parts.crt_coefficient,
    };
    rsa_pair(RsaPair::from_components(&components))
}

/// A public key of RSA by its modulus and exponent, as it is stored.
///
/// # Errors
/// As [`rsa_private_of`].
pub fn rsa_public_of(modulus: &[u8], exponent: &[u8]) -> Result<(PairKind, Bytes), Error> {
    let not_a_key = |()| Error::NotAKey { why: "modulus and exponent are no RSA public key" };
    let key = PublicKeyComponents { n: modulus, e: exponent }.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256);
    let encoded: PublicKeyX509Der<'_> = key.map_err(|_| not_a_key(()))?.as_der().map_err(|_| not_a_key(()))?;
    read_public(PublicForm::SubjectPublicKeyInfo, encoded.as_ref())
}

/// A private key by its curve and scalar, as it is stored.
///
/// - `scalar`: big-endian, at most as long as the curve's order.
///
/// # Errors
/// As [`rsa_private_of`].
pub fn ec_private_of(curve: Curve, scalar: &[u8]) -> Result<(PairKind, Bytes), Error> {
    let missing = curve.bytes().checked_sub(scalar.len()).ok_or(Error::NotAKey { why: "the scalar is longer than the curve's order" })?;
    let padded = Bytes::init_with(curve.bytes(), |bytes| bytes[missing..].copy_from_slice(scalar))?;
    let written = padded.expose(|scalar| {
        written(&EcPrivateKey { private_key: scalar, parameters: Some(EcParameters::NamedCurve(curve.oid())), public_key: None })
    })?;
    written.expose(|key| ec_pair(curve, key))
}

/// A public key by its curve and point (SEC 1, 2.3.3), as it is stored.
///
/// # Errors
/// As [`rsa_private_of`].
pub fn ec_public_of(curve: Curve, point: &[u8]) -> Result<(PairKind, Bytes), Error> {
    let not_a_point = |()| Error::NotAKey { why: "the bytes are no point of the curve" };
    let key = ParsedPublicKey::new(curve.verifying(), point).map_err(|_| not_a_point(()))?;
    let encoded: PublicKeyX509Der<'_> = key.as_der().map_err(|_| not_a_point(()))?;
    Ok((PairKind::Ec(curve), bytes(encoded.as_ref())?))
}

/// The public half of a private key as it is stored.
///
/// # Errors
/// [`Error::NotAKey`] for anything else; [`Error::Exhausted`].
pub fn public_of(private: &[u8]) -> Result<Bytes, Error> {
    match kind_of_private(private)? {
        PairKind::Rsa { .. } => {
            let pair = RsaPair::from_der(private).map_err(|_| Error::NotAKey { why: "the bytes are no RSA private key" })?;
            bytes(pair.public_key().as_ref())
        }
        PairKind::Ec(curve) => {
            let pair = EcdsaKeyPair::from_private_key_der(curve.signing(), private);
            ec_public(&pair.map_err(|_| Error::NotAKey { why: "the bytes are no private key of the curve that they name" })?)
        }
    }
}

/// The kind of a private key as it is stored.
///
/// # Errors
/// [`Error::NotAKey`] for anything else.
pub fn kind_of_private(stored: &[u8]) -> Result<PairKind, Error> {
    if let Ok(parts) = rsa_parts(stored) {
        return Ok(PairKind::Rsa { bits: modulus_bits(parts.modulus) });
    }
    ec_parts(stored).map(|(curve, _)| PairKind::Ec(curve))
}

/// The kind of a public key as it is stored.
///
/// # Errors
/// [`Error::NotAKey`] for anything else.
pub fn kind_of_public(stored: &[u8]) -> Result<PairKind, Error> {
    if let Ok((modulus, _)) = rsa_public_parts(stored) {
        return Ok(PairKind::Rsa { bits: modulus_bits(modulus) });
    }
    ec_public_parts(stored).map(|(curve, _)| PairKind::Ec(curve))
}

/// Writes a private key that is stored in another form, or in its own.
///
/// # Errors
/// [`Error::NotAKey`] if there is no such form of it; [`Error::Exhausted`].
pub fn write_private(stored: &[u8], form: PrivateForm) -> Result<Bytes, Error> {
    let own = Error::NotAKey { why: "PKCS#1 is for RSA, ECPrivateKey for curves" };
    match (kind_of_private(stored)?, form) {
        (PairKind::Rsa { .. }, PrivateForm::Pkcs1) | (PairKind::Ec(_), PrivateForm::EcPrivateKey) => bytes(stored),
        (kind, PrivateForm::Pkcs8) => {
            let curve = match kind {
                PairKind::Rsa { .. } => None,
                PairKind::Ec(curve) => Some(curve.oid()),
            };
            let private_key = OctetStringRef::new(stored).map_err(not_der)?;
            written(&PrivateKeyInfoRef::new(algorithm(curve.as_ref()), private_key))
        }
        (PairKind::Rsa { .. }, PrivateForm::EcPrivateKey) | (PairKind::Ec(_), PrivateForm::Pkcs1) => Err(own),
    }
}

/// Writes a public key that is stored in another form, or in its own.
///
/// # Errors
/// As [`write_private`].
pub fn write_public(stored: &[u8], form: PublicForm) -> Result<Bytes, Error> {
    match (kind_of_public(stored)?, form) {
        (PairKind::Rsa { .. }, PublicForm::Pkcs1) | (PairKind::Ec(_), PublicForm::SubjectPublicKeyInfo) => bytes(stored),
        (PairKind::Rsa { .. }, PublicForm::SubjectPublicKeyInfo) => {
            let subject_public_key = BitStringRef::from_bytes(stored).map_err(not_der)?;
            written(&SubjectPublicKeyInfoRef { algorithm: algorithm(None), subject_public_key })
        }
        (PairKind::Ec(_), PublicForm::Pkcs1) => Err(Error::NotAKey { why: "PKCS#1 is for RSA" }),
    }
}

/// rsaEncryption, whose parameters are NULL (RFC 8017, A.1), or a key of a named curve (RFC 5480).
fn algorithm(curve: Option<&ObjectIdentifier>) -> AlgorithmIdentifierRef<'_> {
    match curve {
        None => AlgorithmIdentifierRef { oid: RSA, parameters: Some(AnyRef::NULL) },
        Some(curve) => AlgorithmIdentifierRef { oid: EC, parameters: Some(curve.into()) },
    }
}

/// The key inside a PrivateKeyInfo.
pub(crate) fn inside_pkcs8(given: &[u8]) -> Result<Bytes, Error> {
    bytes(PrivateKeyInfoRef::from_der(given).map_err(not_der)?.private_key.as_bytes())
}

/// The numbers of an RSAPrivateKey.
///
/// # Errors
/// [`Error::NotAKey`] for anything else.
pub fn rsa_parts(stored: &[u8]) -> Result<RsaParts<'_>, Error> {
    whole(stored, |reader| {
        let version = u8::decode(reader)?;
        let mut next = || Ok::<_, der::Error>(UintRef::decode(reader)?.as_bytes());
        let parts = RsaParts {
            modulus: next()?,
            public_exponent: next()?,
            private_exponent: next()?,
            p: next()?,
            q: next()?,
            prime_exponent_p: next()?,
            prime_exponent_q: next()?,
            crt_coefficient: next()?,
        };
        if version == 0 { Ok(parts) } else { Err(der::Tag::Integer.value_error().into()) }
    })
}

/// Modulus and exponent of an RSAPublicKey.
///
/// # Errors
/// [`Error::NotAKey`] for anything else.
pub fn rsa_public_parts(stored: &[u8]) -> Result<(&[u8], &[u8]), Error> {
    whole(stored, |reader| Ok((UintRef::decode(reader)?.as_bytes(), UintRef::decode(reader)?.as_bytes())))
}

/// Curve and scalar of an ECPrivateKey; the scalar is as long as the curve's order.
///
/// # Errors
/// [`Error::NotAKey`] for anything else.
pub fn ec_parts(stored: &[u8]) -> Result<(Curve, &[u8]), Error> {
    let key = EcPrivateKey::from_der(stored).map_err(not_der)?;
    let curve =
        key.parameters.and_then(EcParameters::named_curve).ok_or(Error::NotAKey { why: "an ECPrivateKey has to name its curve" })?;
    Ok((Curve::of_oid(curve)?, key.private_key))
}

/// Curve and point of a SubjectPublicKeyInfo.
///
/// # Errors
/// [`Error::NotAKey`] for anything else.
pub fn ec_public_parts(stored: &[u8]) -> Result<(Curve, &[u8]), Error> {
    let info = SubjectPublicKeyInfoRef::from_der(stored).map_err(not_der)?;
    let curve = info.algorithm.parameters_oid().map_err(|_| Error::NotAKey { why: "it names no curve" })?;
    let point = info.subject_public_key.as_bytes().ok_or(Error::NotAKey { why: "its bits are no whole bytes" })?;
    Ok((Curve::of_oid(curve)?, point))
}

/// Reads one SEQUENCE and nothing behind it.
pub(crate) fn whole<'a, T>(stored: &'a [u8], read: impl FnOnce(&mut SliceReader<'a>) -> Result<T, der::Error>) -> Result<T, Error> {
    let mut reader = SliceReader::new(stored).map_err(not_der)?;
    let value = reader.sequence(read).map_err(not_der)?;
    reader.finish().map_err(not_der)?;
    Ok(value)
}

/// DER, written into locked memory.
fn written(value: &impl Encode) -> Result<Bytes, Error> {
    let length = value.encoded_len().and_then(usize::try_from).map_err(not_der)?;
    Bytes::try_init_with(length, |bytes| value.encode_to_slice(bytes).map(|_| ()).map_err(not_der))
}

fn not_der(_: der::Error) -> Error {
    Error::NotAKey { why: "the bytes are not in the form that they are said to be in" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pair::generate;

    #[test]
    fn a_key_comes_back_from_every_form_as_it_was_stored() {
        for kind in Curve::ALL.map(PairKind::Ec).into_iter().chain([PairKind::Rsa { bits: 2048 }]) {
            let pair = generate(kind).expect("the generator works");
            for form in [PrivateForm::Pkcs1, PrivateForm::Pkcs8, PrivateForm::EcPrivateKey] {
                let is_others =
                    matches!((kind, form), (PairKind::Ec(_), PrivateForm::Pkcs1) | (PairKind::Rsa { .. }, PrivateForm::EcPrivateKey));
                let Ok(given) = pair.private.expose(|key| write_private(key, form)) else {
                    assert!(is_others, "{kind:?} {form:?}");
                    continue;
                };
                let (read, again) = given.expose(|given| read_private(form, given)).expect("it was just written");
                assert!(read == kind && again.ct_eq(&pair.private) && !is_others, "{kind:?} {form:?}");
            }
            for form in [PublicForm::Pkcs1, PublicForm::SubjectPublicKeyInfo] {
                let Ok(given) = pair.public.expose(|key| write_public(key, form)) else {
                    assert_eq!((form, matches!(kind, PairKind::Ec(_))), (PublicForm::Pkcs1, true));
                    continue;
                };
                let (read, again) = given.expose(|given| read_public(form, given)).expect("it was just written");
                assert!(read == kind && again.ct_eq(&pair.public), "{kind:?} {form:?}");
            }
            assert!(pair.private.expose(public_of).expect("it is a private key").ct_eq(&pair.public), "{kind:?}");
        }
    }

    #[test]
    fn a_key_comes_back_from_its_numbers() {
        let pair = generate(PairKind::Rsa { bits: 2048 }).expect("the generator works");
        let (kind, again) = pair.private.expose(|key| rsa_private_of(&rsa_parts(key).expect("it is stored so"))).expect("they fit");
        assert!(again.ct_eq(&pair.private) && kind.bits() == 2048);
        let (_, again) = pair.public.expose(|key| {
            let (modulus, exponent) = rsa_public_parts(key).expect("it is stored so");
            rsa_public_of(modulus, exponent).expect("they fit")
        });
        assert!(again.ct_eq(&pair.public));
        let other = generate(PairKind::Rsa { bits: 2048 }).expect("the generator works");
        let mixed = pair.private.expose(|one| {
            other.private.expose(|other| {
                let (one, other) = (rsa_parts(one).expect("stored so"), rsa_parts(other).expect("stored so"));
                rsa_private_of(&RsaParts { modulus: other.modulus, ..one }).map(|_| ())
            })
        });
        assert!(matches!(mixed, Err(Error::NotAKey { .. })), "{mixed:?}");
        for curve in Curve::ALL {
            let pair = generate(PairKind::Ec(curve)).expect("the generator works");
            let (_, again) = pair.private.expose(|key| ec_private_of(curve, ec_parts(key).expect("stored so").1)).expect("it is one");
            assert!(again.ct_eq(&pair.private), "{curve:?}");
            let (_, again) = pair.public.expose(|key| ec_public_of(curve, ec_public_parts(key).expect("stored so").1)).expect("it is one");
            assert!(again.ct_eq(&pair.public), "{curve:?}");
        }
    }

    #[test]
    fn scalars_and_points_that_are_none_are_refused() {
        let none = |made: Result<(PairKind, Bytes), Error>| matches!(made, Err(Error::NotAKey { .. }));
        assert!(none(ec_private_of(Curve::P256, &[])), "nothing");
        assert!(none(ec_private_of(Curve::P256, &[0; 32])), "zero");
        assert!(none(ec_private_of(Curve::P256, &[0xFF; 32])), "above the order");
        assert!(none(ec_private_of(Curve::P256, &[1; 33])), "too long");
        assert!(ec_private_of(Curve::P256, &[1]).is_ok(), "one is padded");
        assert!(none(ec_public_of(Curve::P256, &[4; 65])), "not on the curve");
        assert!(none(ec_public_of(Curve::P256, &[])), "nothing");
        assert!(none(rsa_public_of(&[0xFF; 128], &[1, 0, 1])), "too short");
        assert!(none(rsa_public_of(&[0xFF; 256], &[])), "no exponent");
    }

    #[test]
    fn cut_longer_and_foreign_bytes_are_no_key() {
        for kind in [PairKind::Ec(Curve::P256), PairKind::Rsa { bits: 2048 }] {
            let pair = generate(kind).expect("the generator works");
            let pkcs8 = pair.private.expose(|key| write_private(key, PrivateForm::Pkcs8)).expect("there is such a form");
            let public = pair.public.expose(|key| write_public(key, PublicForm::SubjectPublicKeyInfo)).expect("there is such a form");
            pkcs8.expose(|given| {
                for end in (0..given.len()).step_by(7) {
                    assert!(read_private(PrivateForm::Pkcs8, &given[..end]).is_err(), "{kind:?} {end}");
                }
                assert!(read_private(PrivateForm::Pkcs8, &[given, &[0]].concat()).is_err(), "{kind:?}: something behind it");
                assert!(read_private(PrivateForm::Pkcs1, given).is_err() && read_private(PrivateForm::EcPrivateKey, given).is_err());
            });
            public.expose(|given| {
                for end in (0..given.len()).step_by(7) {
                    assert!(read_public(PublicForm::SubjectPublicKeyInfo, &given[..end]).is_err(), "{kind:?} {end}");
                }
                assert!(read_public(PublicForm::Pkcs1, given).is_err());
                assert!(kind_of_private(given).is_err());
            });
        }
    }
}
