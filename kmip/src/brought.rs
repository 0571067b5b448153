//! An object that a client brings, cut into what is kept of it.

use cipher::certificate::Certificate as X509;
use cipher::pair::PairKind;
use keys::attributes::Other;
use keys::row::{Algorithm, ObjectType};
use secret::Bytes;

use crate::certificate;
use crate::enums::{CertificateType, CryptographicAlgorithm, KeyFormatType, RecommendedCurve, ResultReason};
use crate::failure::Failure;
use crate::half;
use crate::key_block::{Certificate, KeyBlock, KeyMaterial, KeyValue, ManagedObject, PlainKeyValue};
use crate::ttlv::Value;
use crate::view::{Y_KEY_FORMAT, Y_OPAQUE_DATA_TYPE, Y_SECRET_DATA_TYPE, kept};

/// What was brought.
pub(crate) struct Brought {
    algorithm: Option<u32>,
    /// Cryptographic Length, where the Key Block says it.
    bits: Option<i32>,
    pub(crate) material: Bytes,
    /// Cryptographic Length, as the material has it.
    has_bits: u32,
    /// What sort of pair the material is of, or says that it is of.
    pub(crate) kind: Option<PairKind>,
    /// What an answer to Get needs beside the bytes, and attributes that the material tells itself.
    pub(crate) kept: Vec<Other>,
}

impl Brought {
    /// Reads an object.
    ///
    /// - `opened`: its Key Value, if that came wrapped.
    ///
    /// # Errors
    /// Reasons of table 330.
    pub(crate) fn read(object: &ManagedObject<'_>, opened: Option<&PlainKeyValue<'_>>) -> Result<Self, Failure> {
        match object {
            ManagedObject::Certificate(certificate) => of_certificate(certificate),
            ManagedObject::SymmetricKey(key) => {
                let (material, format) = plain(&key.key_block, opened)?;
                let formats = [KeyFormatType::Raw, KeyFormatType::TransparentSymmetricKey];
                if !formats.contains(&format) {
                    return Err(unsupported_format("a Symmetric Key is registered as Raw or as Transparent Symmetric Key"));
                }
                // However it came, it is returned as it is asked for, so its format is not kept.
                of_block(&key.key_block, material, Vec::new())
            }
            ManagedObject::PrivateKey(key) => {
                let material = &in_the_clear(&key.key_block, opened)?.key_material;
                of_half(&key.key_block, ObjectType::PRIVATE_KEY, half::read_private(key.key_block.key_format_type, material)?)
            }
            ManagedObject::PublicKey(key) => {
                let material = &in_the_clear(&key.key_block, opened)?.key_material;
                of_half(&key.key_block, ObjectType::PUBLIC_KEY, half::read_public(key.key_block.key_format_type, material)?)
            }
            ManagedObject::SecretData(secret) => {
                let (material, format) = plain(&secret.key_block, opened)?;
                if !matches!(format, KeyFormatType::Raw | KeyFormatType::Opaque) {
                    return Err(unsupported_format("Secret Data is registered as Raw or as Opaque"));
                }
                let kept = vec![
                    kept(Y_SECRET_DATA_TYPE, Value::Enumeration(secret.secret_data_type.number())),
                    kept(Y_KEY_FORMAT, Value::Enumeration(format.number())),
                ];
                of_block(&secret.key_block, material, kept)
            }
            ManagedObject::OpaqueObject(opaque) => {
                let kept = vec![kept(Y_OPAQUE_DATA_TYPE, Value::Enumeration(opaque.opaque_data_type.number()))];
                let (material, has_bits) = locked(opaque.opaque_data_value.0)?;
                Ok(Self { algorithm: None, bits: None, material, has_bits, kind: None, kept })
            }
            ManagedObject::Template(_) => Err(Failure::field("Object Type: a Template brings no material")),
        }
    }

    /// Algorithm and length as Key Block and attributes say, who must not contradict each other, or the bytes.
    ///
    /// # Errors
    /// Invalid Field; Invalid Message for a symmetric key of which nobody says what it is for.
    pub(crate) fn agreed(
        &self,
        object: &ManagedObject<'_>,
        algorithm: Option<CryptographicAlgorithm>,
        bits: Option<i32>,
        curve: Option<RecommendedCurve>,
    ) -> Result<(Algorithm, u32), Failure> {
        let (algorithm, bits) = self.said(algorithm, bits, curve)?;
        if algorithm == Algorithm::NONE && matches!(object, ManagedObject::SymmetricKey(_)) {
            return Err(Failure::missing("Cryptographic Algorithm: the Key Block or the attributes have to say what the key is for"));
        }
        Ok((algorithm, bits))
    }

    fn said(
        &self,
        of_attributes: Option<CryptographicAlgorithm>,
        said_bits: Option<i32>,
        curve: Option<RecommendedCurve>,
    ) -> Result<(Algorithm, u32), Failure> {
        let of_attributes = of_attributes.map(CryptographicAlgorithm::number);
        if self.algorithm.zip(of_attributes).is_some_and(|(block, attribute)| block != attribute) {
            return Err(Failure::field("Cryptographic Algorithm: the object that is given and the attributes name different ones"));
        }
        must_have_curve(self.kind, curve)?;
        let named = self.algorithm.or(of_attributes);
        let algorithm = named.map_or(Algorithm::NONE, Algorithm);
        let bits = self.has_bits;
        let said: Vec<u32> = [self.bits, said_bits].into_iter().flatten().map(|said| u32::try_from(said).unwrap_or(0)).collect();
        // Of Triple DES some count the parity bits, and some do not.
        let is_without_parity = algorithm == Algorithm::TRIPLE_DES && !said.is_empty() && said.iter().all(|said| *said == bits / 8 * 7);
        let bits = if is_without_parity { bits / 8 * 7 } else { bits };
        if said.iter().any(|said| *said != bits) {
            return Err(Failure::field(format!("Cryptographic Length: the key that is given has {bits} bits")));
        }
        if let Some(kind) = self.kind {
            let algorithm = named.map_or(Some(half::usual_algorithm(kind)), CryptographicAlgorithm::of);
            let algorithm = algorithm.filter(|algorithm| half::fits(kind, *algorithm));
            let algorithm = algorithm.ok_or_else(|| Failure::field("Cryptographic Algorithm: the key that is given is for another one"))?;
            return Ok((Algorithm(algorithm.number()), bits));
        }
        if algorithm == Algorithm::AES && !matches!(bits, 128 | 192 | 256) {
            return Err(Failure::field("Cryptographic Length: an AES key has 128, 192 or 256 bits"));
        }
        Ok((algorithm, bits))
    }
}

fn of_block(block: &KeyBlock<'_>, material: &[u8], kept: Vec<Other>) -> Result<Brought, Failure> {
    let algorithm = block.cryptographic_algorithm.map(CryptographicAlgorithm::number);
    let (material, has_bits) = locked(material)?;
    Ok(Brought { algorithm, bits: block.cryptographic_length, material, has_bits, kind: None, kept })
}

fn of_half(block: &KeyBlock<'_>, object_type: ObjectType, (kind, material): (PairKind, Bytes)) -> Result<Brought, Failure> {
    let algorithm = block.cryptographic_algorithm.map(CryptographicAlgorithm::number);
    let mut kept_of_it: Vec<Other> = half::domain(kind).into_iter().collect();
    // A transparent key is returned as bytes unless it is asked for otherwise: a format that older versions do not know is no usual one.
    let is_usual =
        matches!(block.key_format_type, KeyFormatType::Pkcs1 | KeyFormatType::Pkcs8 | KeyFormatType::X509 | KeyFormatType::ECPrivateKey);
    if is_usual && block.key_format_type != half::stored_format(object_type, kind) {
        kept_of_it.push(kept(Y_KEY_FORMAT, Value::Enumeration(block.key_format_type.number())));
    }
    Ok(Brought { algorithm, bits: block.cryptographic_length, material, has_bits: kind.bits(), kind: Some(kind), kept: kept_of_it })
}

fn of_certificate(certificate: &Certificate<'_>) -> Result<Brought, Failure> {
    if certificate.certificate_type != CertificateType::X509 {
        return Err(Failure::unsupported("Certificate Type: X.509 certificates are kept"));
    }
    let der = certificate.certificate_value.0;
    let read = X509::read(der).map_err(|error| Failure::field(format!("Certificate Value: {error}")))?;
    let (material, _) = locked(der)?;
    let algorithm = read.key.map(|kind| half::usual_algorithm(kind).number());
    let has_bits = read.key.map_or(0, PairKind::bits);
    Ok(Brought { algorithm, bits: None, material, has_bits, kind: read.key, kept: certificate::attributes(&read, der.len()) })
}

/// Bytes in locked memory, and how many bits they are.
fn locked(material: &[u8]) -> Result<(Bytes, u32), Failure> {
    let bits = u32::try_from(material.len() * 8).map_err(|_| Failure::field("Key Material: it is too long"))?;
    Ok((Bytes::init_with(material.len(), |bytes| bytes.copy_from_slice(material))?, bits))
}

/// The Key Value of a key that is not compressed, nor wrapped any more.
fn in_the_clear<'v, 'a>(block: &'v KeyBlock<'a>, opened: Option<&'v PlainKeyValue<'a>>) -> Result<&'v PlainKeyValue<'a>, Failure> {
    if block.key_compression_type.is_some() {
        let message = "Key Compression Type: points of curves are taken uncompressed, and no other key has one";
        return Err(Failure::invalid(ResultReason::KeyCompressionTypeNotSupported, message));
    }
    match (opened, &block.key_value) {
        (Some(value), _) | (None, Some(KeyValue::Plain(value))) => Ok(value),
        (None, Some(KeyValue::Wrapped(_))) => {
            Err(Failure::missing("Key Wrapping Data: a Key Value of bytes is wrapped, and comes with what it was wrapped by"))
        }
        (None, None) => Err(Failure::missing("Key Value: the object has to come with it")),
    }
}

/// The bytes of a key that is not one of a pair, and the format they came in.
fn plain<'v, 'a>(block: &'v KeyBlock<'a>, opened: Option<&'v PlainKeyValue<'a>>) -> Result<(&'a [u8], KeyFormatType), Failure> {
    let is_transparent = block.key_format_type == KeyFormatType::TransparentSymmetricKey;
    match &in_the_clear(block, opened)?.key_material {
        KeyMaterial::Bytes(bytes) if !is_transparent => Ok((bytes.0, block.key_format_type)),
        KeyMaterial::TransparentSymmetricKey(key) if is_transparent => Ok((key.key.0, block.key_format_type)),
        _ => Err(Failure::field("Key Material: it is not in the Key Format Type that is given")),
    }
}

fn unsupported_format(message: &'static str) -> Failure {
    Failure::invalid(ResultReason::KeyFormatTypeNotSupported, message)
}

/// A curve that the attributes name is that of the key.
fn must_have_curve(kind: Option<PairKind>, named: Option<RecommendedCurve>) -> Result<(), Failure> {
    let Some(named) = named else { return Ok(()) };
    match kind {
        Some(PairKind::Ec(curve)) if half::curve(named) == Some(curve) => Ok(()),
        _ => Err(Failure::field("Cryptographic Domain Parameters: the object that is given has no such curve")),
    }
}
