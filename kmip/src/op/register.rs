//! Register, 4.3: an object that its client brings, kept at an edge.

use cipher::certificate::Certificate as X509;
use cipher::pair::PairKind;
use keys::attributes::Other;
use keys::edge::NewObject;
use keys::id::Layer;
use keys::policy::Action;
use keys::row::{Algorithm, ObjectType};
use secret::Bytes;

use crate::attribute::{Attribute, AttributeValue};
use crate::certificate;
use crate::context::Context;
use crate::enums::{CertificateType, CryptographicAlgorithm, KeyFormatType, ResultReason};
use crate::failure::Failure;
use crate::half;
use crate::key_block::{Certificate, KeyBlock, KeyMaterial, KeyValue, ManagedObject, PlainKeyValue};
use crate::object::TemplateAttribute;
use crate::payload::{RegisterRequest, RegisterResponse};
use crate::schema::Encode;
use crate::tag::Tag;
use crate::template::Registered;
use crate::templates;
use crate::ttlv::{Value, Writer};
use crate::view::{Y_KEY_FORMAT, Y_OPAQUE_DATA_TYPE, Y_SECRET_DATA_TYPE, kept};

/// What was brought, cut into what is kept.
struct Brought {
    algorithm: Option<u32>,
    /// Cryptographic Length, where the Key Block says it.
    bits: Option<i32>,
    material: Bytes,
    /// Cryptographic Length, as the material has it.
    has_bits: u32,
    /// What sort of pair the material is of, or says that it is of.
    kind: Option<PairKind>,
    /// What an answer to Get needs beside the bytes, and attributes that the material tells itself.
    kept: Vec<Other>,
}

pub(super) async fn run(context: &mut Context<'_>, request: RegisterRequest<'_>, out: &mut Writer<'_>) -> Result<(), Failure> {
    context.grants.check_plain(Action::Register, Some(Layer::L4))?;
    context.vault.must_keep()?;
    if request.object.object_type() != request.object_type {
        return Err(Failure::field("Object Type: the object that is given is of another type"));
    }
    if let ManagedObject::Template(template) = &request.object {
        let attributes = templates::registered(&request.template_attribute, template)?;
        let (object_type, material) = (ObjectType::TEMPLATE, Some(Bytes::init_with(0, |_| ())?));
        return keep(context, NewObject { object_type, algorithm: Algorithm::NONE, bits: 0, attributes, material }, out).await;
    }
    let brought = brought(&request.object)?;
    let named = templates::named(context, Some(&request.template_attribute)).await?;
    let template = templates::resolved(&request.template_attribute, &named);
    let template = match &request.object {
        ManagedObject::Certificate(certificate) => &without_certificates_own(template, certificate)?,
        _ => &template,
    };
    let registered = Registered::read(template, context.vault.now())?;
    let (algorithm, bits) = agreed(&brought, &registered)?;
    if algorithm == Algorithm::NONE && matches!(request.object, ManagedObject::SymmetricKey(_)) {
        return Err(Failure::missing("Cryptographic Algorithm: the Key Block or the attributes have to say what the key is for"));
    }
    let mut attributes = registered.attributes;
    attributes.others.extend(brought.kept);
    let object_type = ObjectType(request.object_type.number());
    keep(context, NewObject { object_type, algorithm, bits, attributes, material: Some(brought.material) }, out).await
}

async fn keep(context: &mut Context<'_>, new: NewObject, out: &mut Writer<'_>) -> Result<(), Failure> {
    let made = context.vault.create_object(context.unit, &context.grants, new).await?;
    context.is_about(&made.header);
    *context.placeholder = Some(made.header.id);
    let response = RegisterResponse { unique_identifier: &made.header.id.to_string(), template_attribute: None };
    response.encode(Tag::RESPONSE_PAYLOAD, out);
    Ok(())
}

fn brought(object: &ManagedObject<'_>) -> Result<Brought, Failure> {
    match object {
        ManagedObject::Certificate(certificate) => of_certificate(certificate),
        ManagedObject::SymmetricKey(key) => {
            let (material, format) = plain(&key.key_block)?;
            let formats = [KeyFormatType::Raw, KeyFormatType::TransparentSymmetricKey];
            if !formats.contains(&format) {
                return Err(unsupported_format("a Symmetric Key is registered as Raw or as Transparent Symmetric Key"));
            }
            // However it came, it is returned as it is asked for, so its format is not kept.
            of_block(&key.key_block, material, Vec::new())
        }
        ManagedObject::PrivateKey(key) => {
            let format = key.key_block.key_format_type;
            of_half(&key.key_block, ObjectType::PRIVATE_KEY, half::read_private(format, &in_the_clear(&key.key_block)?.key_material)?)
        }
        ManagedObject::PublicKey(key) => {
            let format = key.key_block.key_format_type;
            of_half(&key.key_block, ObjectType::PUBLIC_KEY, half::read_public(format, &in_the_clear(&key.key_block)?.key_material)?)
        }
        ManagedObject::SecretData(secret) => {
            let (material, format) = plain(&secret.key_block)?;
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
            Ok(Brought { algorithm: None, bits: None, material, has_bits, kind: None, kept })
        }
        ManagedObject::Template(_) => Err(Failure::field("Object Type: a Template brings no material")),
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

/// Table 171 wants of a client what the certificate says itself: taken if it is that, and not kept twice.
fn without_certificates_own<'a>(template: TemplateAttribute<'a>, certificate: &Certificate<'_>) -> Result<TemplateAttribute<'a>, Failure> {
    let read = X509::read(certificate.certificate_value.0).map_err(|error| Failure::field(format!("Certificate Value: {error}")))?;
    let length = i32::try_from(certificate.certificate_value.0.len()).ok();
    let TemplateAttribute { names, attributes } = template;
    let mut others: Vec<Attribute<'a>> = Vec::with_capacity(attributes.len());
    for attribute in attributes {
        let is_so = match &attribute.value {
            AttributeValue::CertificateType(kind) => *kind == CertificateType::X509,
            AttributeValue::CertificateLength(bytes) => Some(*bytes) == length,
            AttributeValue::DigitalSignatureAlgorithm(algorithm) => certificate::signed_by(&read) == Some(*algorithm),
            _ => {
                others.push(attribute);
                continue;
            }
        };
        if !is_so {
            return Err(Failure::field(format!("{}: the certificate says otherwise", attribute.value.name())));
        }
    }
    Ok(TemplateAttribute { names, attributes: others })
}

/// Bytes in locked memory, and how many bits they are.
fn locked(material: &[u8]) -> Result<(Bytes, u32), Failure> {
    let bits = u32::try_from(material.len() * 8).map_err(|_| Failure::field("Key Material: it is too long"))?;
    Ok((Bytes::init_with(material.len(), |bytes| bytes.copy_from_slice(material))?, bits))
}

/// The Key Value of a key that is neither wrapped nor compressed.
fn in_the_clear<'b, 'a>(block: &'b KeyBlock<'a>) -> Result<&'b PlainKeyValue<'a>, Failure> {
    if block.key_compression_type.is_some() {
        let message = "Key Compression Type: points of curves are taken uncompressed, and no other key has one";
        return Err(Failure::invalid(ResultReason::KeyCompressionTypeNotSupported, message));
    }
    if block.key_wrapping_data.is_some() || matches!(block.key_value, Some(KeyValue::Wrapped(_))) {
        return Err(Failure::unsupported("Key Wrapping Data: register the key unwrapped, inside TLS"));
    }
    match &block.key_value {
        Some(KeyValue::Plain(value)) => Ok(value),
        _ => Err(Failure::missing("Key Value: the object has to come with it")),
    }
}

/// The bytes of a key that is not one of a pair, and the format they came in.
fn plain<'a>(block: &KeyBlock<'a>) -> Result<(&'a [u8], KeyFormatType), Failure> {
    let is_transparent = block.key_format_type == KeyFormatType::TransparentSymmetricKey;
    match &in_the_clear(block)?.key_material {
        KeyMaterial::Bytes(bytes) if !is_transparent => Ok((bytes.0, block.key_format_type)),
        KeyMaterial::TransparentSymmetricKey(key) if is_transparent => Ok((key.key.0, block.key_format_type)),
        _ => Err(Failure::field("Key Material: it is not in the Key Format Type that is given")),
    }
}

fn unsupported_format(message: &'static str) -> Failure {
    Failure::invalid(ResultReason::KeyFormatTypeNotSupported, message)
}

/// Algorithm and length as Key Block and template say, who must not contradict each other, or the bytes.
fn agreed(brought: &Brought, registered: &Registered) -> Result<(Algorithm, u32), Failure> {
    let of_template = registered.algorithm.map(CryptographicAlgorithm::number);
    if brought.algorithm.zip(of_template).is_some_and(|(block, template)| block != template) {
        return Err(Failure::field("Cryptographic Algorithm: the object that is given and the attributes name different ones"));
    }
    must_have_curve(brought.kind, registered)?;
    let named = brought.algorithm.or(of_template);
    let algorithm = named.map_or(Algorithm::NONE, Algorithm);
    let bits = brought.has_bits;
    let said: Vec<u32> = [brought.bits, registered.bits].into_iter().flatten().map(|said| u32::try_from(said).unwrap_or(0)).collect();
    // Of Triple DES some count the parity bits, and some do not.
    let is_without_parity = algorithm == Algorithm::TRIPLE_DES && !said.is_empty() && said.iter().all(|said| *said == bits / 8 * 7);
    let bits = if is_without_parity { bits / 8 * 7 } else { bits };
    if said.iter().any(|said| *said != bits) {
        return Err(Failure::field(format!("Cryptographic Length: the key that is given has {bits} bits")));
    }
    if let Some(kind) = brought.kind {
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

/// A curve that the attributes name is that of the key.
fn must_have_curve(kind: Option<PairKind>, registered: &Registered) -> Result<(), Failure> {
    let Some(named) = registered.curve else { return Ok(()) };
    match kind {
        Some(PairKind::Ec(curve)) if half::curve(named) == Some(curve) => Ok(()),
        _ => Err(Failure::field("Cryptographic Domain Parameters: the object that is given has no such curve")),
    }
}
