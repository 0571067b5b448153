//! Register, 4.3: an object that its client brings, kept at an edge.

use keys::attributes::Other;
use keys::edge::NewObject;
use keys::id::Layer;
use keys::policy::Action;
use keys::row::{Algorithm, ObjectType};
use secret::Bytes;

use crate::context::Context;
use crate::enums::{KeyFormatType, ResultReason};
use crate::failure::Failure;
use crate::key_block::{KeyBlock, KeyMaterial, KeyValue, ManagedObject};
use crate::payload::{RegisterRequest, RegisterResponse};
use crate::schema::Encode;
use crate::tag::Tag;
use crate::template::Registered;
use crate::ttlv::{Value, Writer};
use crate::view::{Y_KEY_FORMAT, Y_OPAQUE_DATA_TYPE, Y_SECRET_DATA_TYPE, kept};

/// What was brought, cut into what is kept.
struct Brought<'a> {
    algorithm: Option<u32>,
    /// Cryptographic Length, where the Key Block says it.
    bits: Option<i32>,
    material: &'a [u8],
    /// What an answer to Get needs beside the bytes.
    kept: Vec<Other>,
}

pub(super) async fn run(context: &mut Context<'_>, request: RegisterRequest<'_>, out: &mut Writer<'_>) -> Result<(), Failure> {
    context.grants.check_plain(Action::Register, Some(Layer::L4))?;
    context.vault.must_keep()?;
    if request.object.object_type() != request.object_type {
        return Err(Failure::field("Object Type: the object that is given is of another type"));
    }
    let brought = brought(&request.object)?;
    let registered = Registered::read(&request.template_attribute, context.vault.now())?;
    let (algorithm, bits) = agreed(&brought, &registered)?;
    if algorithm == Algorithm::NONE && matches!(request.object, ManagedObject::SymmetricKey(_)) {
        return Err(Failure::missing("Cryptographic Algorithm: the Key Block or the attributes have to say what the key is for"));
    }
    let mut attributes = registered.attributes;
    attributes.others.extend(brought.kept);
    let material = Bytes::init_with(brought.material.len(), |bytes| bytes.copy_from_slice(brought.material))?;
    let object_type = ObjectType(request.object_type.number());
    let new = NewObject { object_type, algorithm, bits, attributes, material: Some(material) };
    let made = context.vault.create_object(context.unit, &context.grants, new).await?;
    context.is_about(&made.header);
    *context.placeholder = Some(made.header.id);
    let response = RegisterResponse { unique_identifier: &made.header.id.to_string(), template_attribute: None };
    response.encode(Tag::RESPONSE_PAYLOAD, out);
    Ok(())
}

fn brought<'a>(object: &ManagedObject<'a>) -> Result<Brought<'a>, Failure> {
    match object {
        ManagedObject::SymmetricKey(key) => {
            let (material, format) = plain(&key.key_block)?;
            let formats = [KeyFormatType::Raw, KeyFormatType::TransparentSymmetricKey];
            if !formats.contains(&format) {
                return Err(unsupported_format("a Symmetric Key is registered as Raw or as Transparent Symmetric Key"));
            }
            // However it came, it is returned as it is asked for, so its format is not kept.
            Ok(of_block(&key.key_block, material, Vec::new()))
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
            Ok(of_block(&secret.key_block, material, kept))
        }
        ManagedObject::OpaqueObject(opaque) => {
            let kept = vec![kept(Y_OPAQUE_DATA_TYPE, Value::Enumeration(opaque.opaque_data_type.number()))];
            Ok(Brought { algorithm: None, bits: None, material: opaque.opaque_data_value.0, kept })
        }
    }
}

fn of_block<'a>(block: &KeyBlock<'a>, material: &'a [u8], kept: Vec<Other>) -> Brought<'a> {
    let algorithm = block.cryptographic_algorithm.map(|algorithm| algorithm.number());
    Brought { algorithm, bits: block.cryptographic_length, material, kept }
}

/// The bytes of a key that is neither wrapped nor compressed, and the format they came in.
fn plain<'a>(block: &KeyBlock<'a>) -> Result<(&'a [u8], KeyFormatType), Failure> {
    if block.key_compression_type.is_some() {
        return Err(Failure::invalid(ResultReason::KeyCompressionTypeNotSupported, "Key Compression Type: it is for elliptic curve keys"));
    }
    if block.key_wrapping_data.is_some() || matches!(block.key_value, Some(KeyValue::Wrapped(_))) {
        return Err(Failure::unsupported("Key Wrapping Data: register the key unwrapped, inside TLS"));
    }
    let Some(KeyValue::Plain(value)) = &block.key_value else {
        return Err(Failure::missing("Key Value: the object has to come with it"));
    };
    let is_transparent = block.key_format_type == KeyFormatType::TransparentSymmetricKey;
    match &value.key_material {
        KeyMaterial::Bytes(bytes) if !is_transparent => Ok((bytes.0, block.key_format_type)),
        KeyMaterial::TransparentSymmetricKey(key) if is_transparent => Ok((key.key.0, block.key_format_type)),
        _ => Err(Failure::field("Key Material: it is not in the Key Format Type that is given")),
    }
}

fn unsupported_format(message: &'static str) -> Failure {
    Failure::invalid(ResultReason::KeyFormatTypeNotSupported, message)
}

/// Algorithm and length as Key Block and template say, who must not contradict each other, or the bytes.
fn agreed(brought: &Brought<'_>, registered: &Registered) -> Result<(Algorithm, u32), Failure> {
    let of_template = registered.algorithm.map(|algorithm| algorithm.number());
    if brought.algorithm.zip(of_template).is_some_and(|(block, template)| block != template) {
        return Err(Failure::field("Cryptographic Algorithm: the Key Block and the attributes name different ones"));
    }
    let bits = u32::try_from(brought.material.len() * 8).map_err(|_| Failure::field("Key Material: it is too long"))?;
    let algorithm = brought.algorithm.or(of_template).map_or(Algorithm::NONE, Algorithm);
    let said: Vec<u32> = [brought.bits, registered.bits].into_iter().flatten().map(|said| u32::try_from(said).unwrap_or(0)).collect();
    // Of Triple DES some count the parity bits, and some do not.
    let is_without_parity = algorithm == Algorithm::TRIPLE_DES && !said.is_empty() && said.iter().all(|said| *said == bits / 8 * 7);
    let bits = if is_without_parity { bits / 8 * 7 } else { bits };
    if said.iter().any(|said| *said != bits) {
        return Err(Failure::field(format!("Cryptographic Length: the key that is given has {bits} bits")));
    }
    if algorithm == Algorithm::AES && !matches!(bits, 128 | 192 | 256) {
        return Err(Failure::field("Cryptographic Length: an AES key has 128, 192 or 256 bits"));
    }
    Ok((algorithm, bits))
}
