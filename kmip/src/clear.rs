//! An L4 as its owner gets it, unwrapped.

use keys::vault::View;

use crate::enums::{CertificateType, KeyFormatType, ObjectType, OpaqueDataType, ResultReason, SecretDataType};
use crate::failure::Failure;
use crate::half;
use crate::key_block::{
    Certificate, KeyBlock, KeyMaterial, KeyValue, ManagedObject, OpaqueObject, PlainKeyValue, PrivateKey, PublicKey, SecretData,
    SymmetricKey, TransparentSymmetricKey,
};
use crate::ttlv::ByteString;
use crate::view;
use crate::wrapping::{Wanted, bare_block};

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
    let unreadable = || keys::Error::Denied { why: "the object is of a type that this release does not return" };
    match ObjectType::of(view.header.object_type.0) {
        Some(ObjectType::SymmetricKey) => {
            let format = format(&[KeyFormatType::Raw, KeyFormatType::TransparentSymmetricKey], KeyFormatType::Raw)?;
            let key_material = match format {
                KeyFormatType::TransparentSymmetricKey => {
                    KeyMaterial::TransparentSymmetricKey(TransparentSymmetricKey { key: ByteString(material) })
                }
                _ => KeyMaterial::Bytes(ByteString(material)),
            };
            Ok(write(ManagedObject::SymmetricKey(SymmetricKey { key_block: clear_block(view, format, key_material) })))
        }
        Some(kind @ (ObjectType::PrivateKey | ObjectType::PublicKey)) => {
            let came_in = view::kept_number(&view.attributes, view::Y_KEY_FORMAT).and_then(KeyFormatType::of);
            half::write(&view.header, (wanted.key_format_type, came_in), material, |format, key_material| {
                let key_block = clear_block(view, format, key_material);
                write(match kind {
                    ObjectType::PrivateKey => ManagedObject::PrivateKey(PrivateKey { key_block }),
                    _ => ManagedObject::PublicKey(PublicKey { key_block }),
                })
            })
        }
        Some(ObjectType::Certificate) => {
            format(&[KeyFormatType::X509], KeyFormatType::X509)?;
            let certificate_value = ByteString(material);
            Ok(write(ManagedObject::Certificate(Certificate { certificate_type: CertificateType::X509, certificate_value })))
        }
        Some(ObjectType::SecretData) => {
            let kept = view::kept_number(&view.attributes, view::Y_KEY_FORMAT).and_then(KeyFormatType::of).unwrap_or(KeyFormatType::Opaque);
            let format = format(&[kept], kept)?;
            let secret_data_type = view::kept_number(&view.attributes, view::Y_SECRET_DATA_TYPE).and_then(SecretDataType::of);
            Ok(write(ManagedObject::SecretData(SecretData {
                secret_data_type: secret_data_type.ok_or_else(unreadable)?,
                key_block: clear_block(view, format, KeyMaterial::Bytes(ByteString(material))),
            })))
        }
        Some(ObjectType::OpaqueObject) => {
            let opaque_data_type = view::kept_number(&view.attributes, view::Y_OPAQUE_DATA_TYPE).and_then(OpaqueDataType::of);
            let opaque_data_type = opaque_data_type.ok_or_else(unreadable)?;
            Ok(write(ManagedObject::OpaqueObject(OpaqueObject { opaque_data_type, opaque_data_value: ByteString(material) })))
        }
        _ => Err(unreadable().into()),
    }
}

fn clear_block<'a>(view: &View, key_format_type: KeyFormatType, key_material: KeyMaterial<'a>) -> KeyBlock<'a> {
    let key_value = Some(KeyValue::Plain(PlainKeyValue { key_material, attributes: Vec::new() }));
    let block = KeyBlock { key_format_type, key_value, ..bare_block(view) };
    // 2.1.3: the length goes with the algorithm; Secret Data has neither, unless it came with them.
    let cryptographic_length = block.cryptographic_length.filter(|_| block.cryptographic_algorithm.is_some());
    KeyBlock { cryptographic_length, ..block }
}
