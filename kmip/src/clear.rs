//! An L4 as its owner gets it: around its material in the clear, around what that is wrapped in, or around nothing.

use keys::row;
use keys::vault::View;

use crate::enums::{CertificateType, CryptographicAlgorithm, KeyFormatType, ObjectType, OpaqueDataType, ResultReason, SecretDataType};
use crate::failure::Failure;
use crate::half;
use crate::key_block::{
    Certificate, KeyBlock, KeyMaterial, KeyValue, ManagedObject, OpaqueObject, PlainKeyValue, PrivateKey, PublicKey, SecretData,
    SymmetricKey, TransparentSymmetricKey,
};
use crate::ttlv::ByteString;
use crate::view;
use crate::wrapping::Wanted;

/// Hands the object around its material to `write`.
///
/// # Errors
/// Reasons of table 338.
pub(crate) fn clear_object<R>(
    wanted: &Wanted<'_>,
    view: &View,
    material: &[u8],
    write: impl FnOnce(ManagedObject<'_>) -> R,
) -> Result<R, Failure> {
    if wanted.key_compression_type.is_some() {
        let message = "Key Compression Type: it is for elliptic curve keys";
        return Err(Failure::invalid(ResultReason::KeyCompressionTypeNotSupported, message));
    }
    let format = |offered: &[KeyFormatType], usual: KeyFormatType| match wanted.key_format_type {
        None => Ok(usual),
        Some(asked) if offered.contains(&asked) => Ok(asked),
        Some(_) => {
            let message = "Key Format Type: the object is not returned in it; leave it out";
            Err(Failure::invalid(ResultReason::KeyFormatTypeNotSupported, message))
        }
    };
    let usual = usual_format(view);
    match ObjectType::of(view.header.object_type.0) {
        Some(ObjectType::SymmetricKey) => {
            let format = format(&[KeyFormatType::Raw, KeyFormatType::TransparentSymmetricKey], usual)?;
            let key_material = match format {
                KeyFormatType::TransparentSymmetricKey => {
                    KeyMaterial::TransparentSymmetricKey(TransparentSymmetricKey { key: ByteString(material) })
                }
                _ => KeyMaterial::Bytes(ByteString(material)),
            };
            Ok(write(with_block(view, plain_block(view, format, key_material))?))
        }
        Some(ObjectType::PrivateKey | ObjectType::PublicKey) => {
            let came_in = view::kept_number(&view.attributes, view::Y_KEY_FORMAT).and_then(KeyFormatType::of);
            half::write(&view.header, (wanted.key_format_type, came_in), material, |format, key_material| {
                Ok(write(with_block(view, plain_block(view, format, key_material))?))
            })?
        }
        Some(ObjectType::Certificate) => {
            format(&[KeyFormatType::X509], usual)?;
            Ok(write(certificate(material)))
        }
        Some(ObjectType::SecretData) => {
            let format = format(&[usual], usual)?;
            Ok(write(with_block(view, plain_block(view, format, KeyMaterial::Bytes(ByteString(material))))?))
        }
        Some(ObjectType::OpaqueObject) => Ok(write(opaque(view, material)?)),
        _ => Err(unreadable()),
    }
}

/// A destroyed object: everything but its material.
///
/// # Errors
/// Permission Denied for an object of a type that is unknown here.
pub(crate) fn bare_object(view: &View) -> Result<ManagedObject<'static>, Failure> {
    match ObjectType::of(view.header.object_type.0) {
        Some(ObjectType::Certificate) => Ok(certificate(&[])),
        Some(ObjectType::OpaqueObject) => opaque(view, &[]),
        _ => with_block(view, key_block(view, usual_format(view))),
    }
}

/// The object around its Key Block.
///
/// # Errors
/// Permission Denied for an object that has none.
pub(crate) fn with_block<'a>(view: &View, key_block: KeyBlock<'a>) -> Result<ManagedObject<'a>, Failure> {
    match ObjectType::of(view.header.object_type.0) {
        Some(ObjectType::SymmetricKey) => Ok(ManagedObject::SymmetricKey(SymmetricKey { key_block })),
        Some(ObjectType::PrivateKey) => Ok(ManagedObject::PrivateKey(PrivateKey { key_block })),
        Some(ObjectType::PublicKey) => Ok(ManagedObject::PublicKey(PublicKey { key_block })),
        Some(ObjectType::SecretData) => {
            let secret_data_type = view::kept_number(&view.attributes, view::Y_SECRET_DATA_TYPE).and_then(SecretDataType::of);
            let secret_data_type = secret_data_type.ok_or_else(unreadable)?;
            Ok(ManagedObject::SecretData(SecretData { secret_data_type, key_block }))
        }
        _ => Err(unreadable()),
    }
}

/// A Key Block without the key.
pub(crate) fn key_block(view: &View, key_format_type: KeyFormatType) -> KeyBlock<'static> {
    let cryptographic_algorithm = CryptographicAlgorithm::of(view.header.algorithm.0);
    KeyBlock {
        key_format_type,
        key_compression_type: None,
        key_value: None,
        cryptographic_algorithm,
        // 2.1.3: the length goes with the algorithm; Secret Data has neither, unless it came with them.
        cryptographic_length: cryptographic_algorithm.map(|_| view::bits(view)),
        key_wrapping_data: None,
    }
}

/// The format in which an object is returned to who does not say one.
fn usual_format(view: &View) -> KeyFormatType {
    let kept = view::kept_number(&view.attributes, view::Y_KEY_FORMAT).and_then(KeyFormatType::of);
    kept.unwrap_or(match view.header.object_type {
        row::ObjectType(kind) if kind == ObjectType::SecretData.number() => KeyFormatType::Opaque,
        object_type => view::stored_format(object_type, half::kind(&view.header)),
    })
}

fn plain_block<'a>(view: &View, format: KeyFormatType, key_material: KeyMaterial<'a>) -> KeyBlock<'a> {
    let key_value = Some(KeyValue::Plain(PlainKeyValue { key_material, attributes: Vec::new() }));
    KeyBlock { key_value, ..key_block(view, format) }
}

fn certificate(value: &[u8]) -> ManagedObject<'_> {
    ManagedObject::Certificate(Certificate { certificate_type: CertificateType::X509, certificate_value: ByteString(value) })
}

fn opaque<'a>(view: &View, value: &'a [u8]) -> Result<ManagedObject<'a>, Failure> {
    let opaque_data_type = view::kept_number(&view.attributes, view::Y_OPAQUE_DATA_TYPE).and_then(OpaqueDataType::of);
    let opaque_data_type = opaque_data_type.ok_or_else(unreadable)?;
    Ok(ManagedObject::OpaqueObject(OpaqueObject { opaque_data_type, opaque_data_value: ByteString(value) }))
}

fn unreadable() -> Failure {
    keys::Error::Denied { why: "the object is of a type that this release does not return" }.into()
}
