//! One half of a key pair: of which kind its header says it is, how it comes at Register and goes at Get.
//!
//! It is stored in one form (`cipher::pair`), and leaves in the one that is asked for: else in the one it came in, if that has bytes, or the one it is stored in.

use cipher::key_form::{self, PrivateForm, PublicForm, RsaParts};
use cipher::pair::{Curve, PairKind};
use keys::attributes::Other;
use keys::row::{Header, ObjectType};
use secret::Bytes;

use crate::attribute::AttributeValue;
use crate::enums::{CryptographicAlgorithm, KeyFormatType, RecommendedCurve, ResultReason};
use crate::failure::Failure;
use crate::instance::encoded;
use crate::key_block::KeyMaterial;
use crate::object::CryptographicDomainParameters;
use crate::transparent::{TransparentEcPrivateKey, TransparentEcPublicKey, TransparentRsaPrivateKey, TransparentRsaPublicKey};
use crate::ttlv::{ByteString, Unsigned};

/// The kind of pair that a header speaks of; `None` for everything else.
pub(crate) fn kind(header: &Header) -> Option<PairKind> {
    if !matches!(header.object_type, ObjectType::PUBLIC_KEY | ObjectType::PRIVATE_KEY) {
        return None;
    }
    match CryptographicAlgorithm::of(header.algorithm.0)? {
        CryptographicAlgorithm::Rsa => Some(PairKind::Rsa { bits: header.bits }),
        algorithm if is_ec(algorithm) => Curve::ALL.into_iter().find(|curve| curve.bits() == header.bits).map(PairKind::Ec),
        _ => None,
    }
}

/// Is it an algorithm of elliptic curves?
pub(crate) fn is_ec(algorithm: CryptographicAlgorithm) -> bool {
    use CryptographicAlgorithm as A;
    matches!(algorithm, A::Ecdsa | A::Ecdh | A::Ecmqv | A::Ec)
}

/// What a pair of this kind is for, if nobody says.
pub(crate) fn usual_algorithm(kind: PairKind) -> CryptographicAlgorithm {
    match kind {
        PairKind::Rsa { .. } => CryptographicAlgorithm::Rsa,
        PairKind::Ec(_) => CryptographicAlgorithm::Ecdsa,
    }
}

/// May a pair of this kind be for that?
pub(crate) fn fits(kind: PairKind, algorithm: CryptographicAlgorithm) -> bool {
    match kind {
        PairKind::Rsa { .. } => algorithm == CryptographicAlgorithm::Rsa,
        PairKind::Ec(_) => is_ec(algorithm),
    }
}

/// The curve by its name in the standard, which has two names of each: NIST's and SECG's or ANSI's.
pub(crate) fn curve(named: RecommendedCurve) -> Option<Curve> {
    match named {
        RecommendedCurve::P256 => Some(Curve::P256),
        RecommendedCurve::P384 => Some(Curve::P384),
        RecommendedCurve::P521 => Some(Curve::P521),
        _ => None,
    }
}

pub(crate) fn recommended(curve: Curve) -> RecommendedCurve {
    match curve {
        Curve::P256 => RecommendedCurve::P256,
        Curve::P384 => RecommendedCurve::P384,
        Curve::P521 => RecommendedCurve::P521,
    }
}

/// Cryptographic Domain Parameters, which a key of a curve has, to be kept.
pub(crate) fn domain(kind: PairKind) -> Option<Other> {
    let PairKind::Ec(curve) = kind else { return None };
    let parameters = CryptographicDomainParameters { qlength: None, recommended_curve: Some(recommended(curve)) };
    let value = AttributeValue::CryptographicDomainParameters(parameters);
    Some(Other { name: value.name().to_owned(), index: 0, value: encoded(&value) })
}

/// The form in which a half is stored, which Digest is of.
pub(crate) fn stored_format(object_type: ObjectType, kind: PairKind) -> KeyFormatType {
    match kind {
        PairKind::Rsa { .. } => KeyFormatType::Pkcs1,
        PairKind::Ec(_) if object_type == ObjectType::PRIVATE_KEY => KeyFormatType::ECPrivateKey,
        PairKind::Ec(_) => KeyFormatType::X509,
    }
}

/// A private key that is brought, as it is stored.
///
/// # Errors
/// Reasons of table 330.
pub(crate) fn read_private(format: KeyFormatType, material: &KeyMaterial<'_>) -> Result<(PairKind, Bytes), Failure> {
    let read = match (format, material) {
        (KeyFormatType::Pkcs1, KeyMaterial::Bytes(bytes)) => key_form::read_private(PrivateForm::Pkcs1, bytes.0),
        (KeyFormatType::Pkcs8, KeyMaterial::Bytes(bytes)) => key_form::read_private(PrivateForm::Pkcs8, bytes.0),
        (KeyFormatType::ECPrivateKey, KeyMaterial::Bytes(bytes)) => key_form::read_private(PrivateForm::EcPrivateKey, bytes.0),
        (KeyFormatType::TransparentRsaPrivateKey, KeyMaterial::TransparentRsaPrivateKey(key)) => {
            key_form::rsa_private_of(&all_parts(key).ok_or_else(incomplete)?)
        }
        (format, KeyMaterial::TransparentEcPrivateKey(key)) if is_transparent_ec_private(format) => {
            key_form::ec_private_of(curve(key.recommended_curve).ok_or_else(no_such_curve)?, key.d.0)
        }
        (format, _) if is_private(format) => return Err(not_in_format()),
        _ => return Err(unsupported("a Private Key is registered as PKCS#1, PKCS#8, ECPrivateKey or a transparent key of RSA or EC")),
    };
    read.map_err(not_a_key)
}

/// The same of a public key.
///
/// # Errors
/// Reasons of table 330.
pub(crate) fn read_public(format: KeyFormatType, material: &KeyMaterial<'_>) -> Result<(PairKind, Bytes), Failure> {
    let read = match (format, material) {
        (KeyFormatType::Pkcs1, KeyMaterial::Bytes(bytes)) => key_form::read_public(PublicForm::Pkcs1, bytes.0),
        (KeyFormatType::X509, KeyMaterial::Bytes(bytes)) => key_form::read_public(PublicForm::SubjectPublicKeyInfo, bytes.0),
        (KeyFormatType::TransparentRsaPublicKey, KeyMaterial::TransparentRsaPublicKey(key)) => {
            key_form::rsa_public_of(key.modulus.0, key.public_exponent.0)
        }
        (format, KeyMaterial::TransparentEcPublicKey(key)) if is_transparent_ec_public(format) => {
            key_form::ec_public_of(curve(key.recommended_curve).ok_or_else(no_such_curve)?, key.q_string.0)
        }
        (format, _) if is_public(format) => return Err(not_in_format()),
        _ => return Err(unsupported("a Public Key is registered as PKCS#1, X.509 or a transparent key of RSA or EC")),
    };
    read.map_err(not_a_key)
}

fn is_private(format: KeyFormatType) -> bool {
    use KeyFormatType as F;
    matches!(format, F::Pkcs1 | F::Pkcs8 | F::ECPrivateKey | F::TransparentRsaPrivateKey) || is_transparent_ec_private(format)
}

fn is_public(format: KeyFormatType) -> bool {
    use KeyFormatType as F;
    matches!(format, F::Pkcs1 | F::X509 | F::TransparentRsaPublicKey) || is_transparent_ec_public(format)
}

fn is_transparent_ec_private(format: KeyFormatType) -> bool {
    use KeyFormatType as F;
    matches!(
        format,
        F::TransparentEcPrivateKey | F::TransparentEcdsaPrivateKey | F::TransparentEcdhPrivateKey | F::TransparentEcmqvPrivateKey
    )
}

fn is_transparent_ec_public(format: KeyFormatType) -> bool {
    use KeyFormatType as F;
    matches!(format, F::TransparentEcPublicKey | F::TransparentEcdsaPublicKey | F::TransparentEcdhPublicKey | F::TransparentEcmqvPublicKey)
}

/// The numbers of a key that has them all.
fn all_parts<'a>(key: &TransparentRsaPrivateKey<'a>) -> Option<RsaParts<'a>> {
    Some(RsaParts {
        modulus: key.modulus.0,
        public_exponent: key.public_exponent?.0,
        private_exponent: key.private_exponent?.0,
        p: key.p?.0,
        q: key.q?.0,
        prime_exponent_p: key.prime_exponent_p?.0,
        prime_exponent_q: key.prime_exponent_q?.0,
        crt_coefficient: key.crt_coefficient?.0,
    })
}

fn incomplete() -> Failure {
    Failure::unsupported("Key Material: a Transparent RSA Private Key is taken with all its eight numbers; else send PKCS#1 or PKCS#8")
}

fn no_such_curve() -> Failure {
    Failure::unsupported("Recommended Curve: P-256, P-384 and P-521 are offered")
}

fn not_in_format() -> Failure {
    Failure::field("Key Material: it is not in the Key Format Type that is given")
}

fn unsupported(message: &'static str) -> Failure {
    Failure::invalid(ResultReason::KeyFormatTypeNotSupported, message)
}

fn not_a_key(error: cipher::Error) -> Failure {
    match error {
        cipher::Error::NotAKey { why } => Failure::field(format!("Key Material: {why}")),
        cipher::Error::Exhausted(full) => full.into(),
        _ => Failure::invalid(ResultReason::CryptographicFailure, "the key cannot be read"),
    }
}

/// Hands the Key Material of a half in the format that is wanted to `write`.
///
/// - `came_in`: the format it was registered in, if any.
///
/// # Errors
/// Key Format Type Not Supported if there is no such format of it.
pub(crate) fn write<R>(
    header: &Header,
    (asked, came_in): (Option<KeyFormatType>, Option<KeyFormatType>),
    stored: &[u8],
    write: impl FnOnce(KeyFormatType, KeyMaterial<'_>) -> R,
) -> Result<R, Failure> {
    let kind = kind(header).ok_or(keys::Error::Denied { why: "the key is of a kind that this release does not return" })?;
    let format = asked.or(came_in).unwrap_or_else(|| stored_format(header.object_type, kind));
    let material = match (header.object_type == ObjectType::PRIVATE_KEY, kind, format) {
        (true, PairKind::Rsa { .. }, KeyFormatType::TransparentRsaPrivateKey) => rsa_private(stored)?,
        (false, PairKind::Rsa { .. }, KeyFormatType::TransparentRsaPublicKey) => rsa_public(stored)?,
        (true, PairKind::Ec(_), format) if is_transparent_ec_private(format) => ec_private(stored)?,
        (false, PairKind::Ec(_), format) if is_transparent_ec_public(format) => ec_public(stored)?,
        (is_private, _, format) => {
            let bytes = encoded_as(is_private, format, stored)?;
            return Ok(bytes.expose(|bytes| write(format, KeyMaterial::Bytes(ByteString(bytes)))));
        }
    };
    Ok(write(format, material))
}

fn encoded_as(is_private: bool, format: KeyFormatType, stored: &[u8]) -> Result<Bytes, Failure> {
    let written = match (is_private, format) {
        (true, KeyFormatType::Pkcs1) => key_form::write_private(stored, PrivateForm::Pkcs1),
        (true, KeyFormatType::Pkcs8) => key_form::write_private(stored, PrivateForm::Pkcs8),
        (true, KeyFormatType::ECPrivateKey) => key_form::write_private(stored, PrivateForm::EcPrivateKey),
        (false, KeyFormatType::Pkcs1) => key_form::write_public(stored, PublicForm::Pkcs1),
        (false, KeyFormatType::X509) => key_form::write_public(stored, PublicForm::SubjectPublicKeyInfo),
        _ => return Err(not_returned()),
    };
    written.map_err(|error| match error {
        cipher::Error::Exhausted(full) => full.into(),
        _ => not_returned(),
    })
}

fn not_returned() -> Failure {
    unsupported(
        "Key Format Type: the key is not returned in it; leave it out, or ask for PKCS#1, PKCS#8, ECPrivateKey, X.509 or a transparent key",
    )
}

fn rsa_private(stored: &[u8]) -> Result<KeyMaterial<'_>, Failure> {
    let parts = key_form::rsa_parts(stored).map_err(not_a_key)?;
    Ok(KeyMaterial::TransparentRsaPrivateKey(TransparentRsaPrivateKey {
        modulus: Unsigned(parts.modulus),
        private_exponent: Some(Unsigned(parts.private_exponent)),
        public_exponent: Some(Unsigned(parts.public_exponent)),
        p: Some(Unsigned(parts.p)),
        q: Some(Unsigned(parts.q)),
        prime_exponent_p: Some(Unsigned(parts.prime_exponent_p)),
        prime_exponent_q: Some(Unsigned(parts.prime_exponent_q)),
        crt_coefficient: Some(Unsigned(parts.crt_coefficient)),
    }))
}

fn rsa_public(stored: &[u8]) -> Result<KeyMaterial<'_>, Failure> {
    let (modulus, exponent) = key_form::rsa_public_parts(stored).map_err(not_a_key)?;
    Ok(KeyMaterial::TransparentRsaPublicKey(TransparentRsaPublicKey { modulus: Unsigned(modulus), public_exponent: Unsigned(exponent) }))
}

fn ec_private(stored: &[u8]) -> Result<KeyMaterial<'_>, Failure> {
    let (curve, scalar) = key_form::ec_parts(stored).map_err(not_a_key)?;
    Ok(KeyMaterial::TransparentEcPrivateKey(TransparentEcPrivateKey { recommended_curve: recommended(curve), d: Unsigned(scalar) }))
}

fn ec_public(stored: &[u8]) -> Result<KeyMaterial<'_>, Failure> {
    let (curve, point) = key_form::ec_public_parts(stored).map_err(not_a_key)?;
    Ok(KeyMaterial::TransparentEcPublicKey(TransparentEcPublicKey { recommended_curve: recommended(curve), q_string: ByteString(point) }))
}
