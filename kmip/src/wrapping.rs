//! How Get and Export hand out a key: wrapped by another key, as a Key Wrapping Specification wants it, or not at all.

use std::borrow::Cow;

use cipher::keywrap::KeyWrap;
use keys::attributes::{Attributes, Other};
use keys::export::Frame;
use keys::id::RowId;
use keys::lifecycle::State;
use keys::policy::{Authorized, verb};
use keys::vault::View;
use secret::Bytes;

use crate::attribute::{AttributeName, AttributeValue};
use crate::clear::{key_block, with_block};
use crate::context::Context;
use crate::enums::{
    BlockCipherMode, EncodingOption, KeyCompressionType, KeyFormatType, KeyWrapType, ObjectType, ResultReason, WrappingMethod,
};
use crate::error::Error;
use crate::failure::Failure;
use crate::instance::encoded;
use crate::key_block::{
    KeyBlock, KeyMaterial, KeyValue, KeyWrappingData, KeyWrappingSpecification, ManagedObject, PlainKeyValue, WrappingKeyInformation,
};
use crate::object::CryptographicParameters;
use crate::schema::Encode;
use crate::search::includes;
use crate::tag::Tag;
use crate::ttlv::{ByteString, HEADER_BYTES, Writer};
use crate::version::ProtocolVersion;
use crate::view::{self, Surroundings};

/// The fields that Get and Export have in common.
pub(crate) struct Wanted<'a> {
    pub(crate) key_format_type: Option<KeyFormatType>,
    pub(crate) key_wrap_type: Option<KeyWrapType>,
    pub(crate) key_compression_type: Option<KeyCompressionType>,
    pub(crate) specification: Option<KeyWrappingSpecification<'a>>,
}

/// A specification that can be followed.
pub(crate) struct Wrapping<'a> {
    /// The wrapping key's identifier as the client wrote it.
    id: &'a str,
    /// The algorithm that its parameters name.
    pub(crate) algorithm: KeyWrap,
    /// The wrapping key's parameters, as one encoded item.
    parameters: Other,
    encoding: EncodingOption,
    asked_encoding: Option<EncodingOption>,
    attribute_names: Vec<&'a str>,
}

impl<'a> Wanted<'a> {
    /// How an object of an edge is to be wrapped, if it is. Refuses what has nothing that could be, and a form in which the object is not kept.
    ///
    /// # Errors
    /// Reasons of tables 338 and 364.
    pub(crate) fn specification_of_edge(&mut self, view: &View) -> Result<Option<KeyWrappingSpecification<'a>>, Failure> {
        let Some(specification) = self.specification.take() else {
            return match self.key_wrap_type {
                Some(KeyWrapType::AsRegistered) if view::came_wrapped(&view.attributes) => Err(Failure::unsupported(
                    "Key Wrap Type: the key was unwrapped when it came; ask for Not Wrapped, or give a Key Wrapping Specification",
                )),
                Some(KeyWrapType::Extension(_)) => Err(Failure::unsupported("Key Wrap Type: Not Wrapped and As Registered are offered")),
                Some(KeyWrapType::NotWrapped | KeyWrapType::AsRegistered) | None => Ok(None),
            };
        };
        if matches!(ObjectType::of(view.header.object_type.0), Some(ObjectType::Certificate | ObjectType::OpaqueObject) | None) {
            return Err(Failure::unsupported(
                "Key Wrapping Specification: Certificates and Opaque Objects have no Key Block to be wrapped",
            ));
        }
        if self.key_wrap_type.is_some() {
            return Err(Failure::unsupported("Key Wrap Type: a Key Wrapping Specification says all, leave it out"));
        }
        if !view.attributes.extractable {
            return Err(keys::Error::NotExtractable.into());
        }
        Ok(Some(specification))
    }

    /// Refuses what no key of a core is returned as, and a key that may not be returned.
    ///
    /// # Errors
    /// Reasons of tables 338 and 364.
    pub(crate) fn specification_of_core(self, view: &View) -> Result<KeyWrappingSpecification<'a>, Failure> {
        if view.header.object_type != keys::row::ObjectType::SYMMETRIC_KEY {
            return Err(Failure::unsupported("Key Wrapping Specification: only symmetric keys are returned wrapped"));
        }
        if view.state == State::Retired {
            return Err(Failure::archived());
        }
        if self.key_format_type.is_some_and(|format| format != KeyFormatType::Raw) {
            let message = "Key Format Type: a wrapped key is returned as Raw";
            return Err(Failure::invalid(ResultReason::KeyFormatTypeNotSupported, message));
        }
        if self.key_compression_type.is_some() {
            let message = "Key Compression Type: it is for elliptic curve keys";
            return Err(Failure::invalid(ResultReason::KeyCompressionTypeNotSupported, message));
        }
        if self.key_wrap_type.is_some() {
            return Err(Failure::unsupported("Key Wrap Type: no key was registered wrapped; a Key Wrapping Specification says all"));
        }
        if !view.attributes.extractable {
            return Err(keys::Error::NotExtractable.into());
        }
        self.specification.ok_or_else(|| {
            let message = "a core returns keys wrapped by another key only: give a Key Wrapping Specification";
            Failure { reason: ResultReason::Sensitive, message: message.into(), ..keys::Error::Denied { why: "" }.into() }
        })
    }
}

impl<'a> Wrapping<'a> {
    /// Checks a specification, and that the client may wrap with the key that it names.
    ///
    /// # Errors
    /// Reasons of tables 338 and 364.
    pub(crate) async fn of(
        context: &mut Context<'_>,
        specification: KeyWrappingSpecification<'a>,
    ) -> Result<(Self, Authorized<verb::WrapWith>), Failure> {
        if specification.wrapping_method != WrappingMethod::Encrypt || specification.mac_signature_key_information.is_some() {
            return Err(Failure::unsupported("Wrapping Method: keys are wrapped by Encrypt, with Encryption Key Information alone"));
        }
        let information = specification.encryption_key_information;
        let information = information.ok_or_else(|| Failure::missing("Encryption Key Information is missing"))?;
        let encoding = encoding(specification.encoding_option, &specification.attribute_names)?;
        let header = wrapping_key(context, information.unique_identifier).await?;
        let view = context.vault.attributes(context.unit, context.grants.check::<verb::WrapWith>(&header)?).await?;
        let (parameters, algorithm) = parameters(&view.attributes, information.cryptographic_parameters.as_ref())?;
        let with = context.grants.check::<verb::WrapWith>(&header)?;
        let (id, attribute_names) = (information.unique_identifier, specification.attribute_names);
        let asked_encoding = specification.encoding_option;
        Ok((Self { id, algorithm, parameters: parameters.clone(), encoding, asked_encoding, attribute_names }, with))
    }

    /// What is wrapped of an object in the clear, and its Key Format Type.
    ///
    /// # Errors
    /// Key Format Type Not Supported for a format without bytes.
    pub(crate) fn enclose(
        &self,
        object: &ManagedObject<'_>,
        view: &View,
        around: &Surroundings,
        version: ProtocolVersion,
    ) -> Result<(KeyFormatType, Bytes), Failure> {
        let block = object.key_block().ok_or_else(no_bytes)?;
        let Some(KeyValue::Plain(PlainKeyValue { key_material: KeyMaterial::Bytes(ByteString(material)), .. })) = block.key_value else {
            return Err(no_bytes());
        };
        let Frame { before, after } = self.frame(material.len(), view, around, version);
        let bytes = Bytes::init_with(before.len() + material.len() + after.len(), |plain| {
            let (head, rest) = plain.split_at_mut(before.len());
            let (body, tail) = rest.split_at_mut(material.len());
            head.copy_from_slice(&before);
            body.copy_from_slice(material);
            tail.copy_from_slice(&after);
        })?;
        Ok((block.key_format_type, bytes))
    }

    /// What stands around so many bytes of a key before they are wrapped.
    pub(crate) fn frame(&self, bytes: usize, view: &View, around: &Surroundings, version: ProtocolVersion) -> Frame {
        if self.encoding == EncodingOption::NoEncoding {
            return Frame { before: vec![], after: vec![] };
        }
        let attributes = view::attributes(view, around, |name| self.wants(name));
        let blank = PlainKeyValue { key_material: KeyMaterial::Bytes(ByteString(&vec![0; bytes])), attributes };
        let mut before = vec![];
        blank.encode(Tag::KEY_VALUE, &mut Writer::new(&mut before, version));
        // The header of the structure, the header of its first field, and then the bytes of the key.
        let after = before.split_off(2 * HEADER_BYTES + bytes);
        before.truncate(2 * HEADER_BYTES);
        Frame { before, after }
    }

    /// Whether the client wants this attribute wrapped with the key.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.attribute_names.contains(&name)
    }

    /// The object as it is returned.
    ///
    /// # Errors
    /// Permission Denied for one that has no Key Block.
    pub(crate) fn object<'w>(&'w self, view: &View, format: KeyFormatType, wrapped: &'w [u8]) -> Result<ManagedObject<'w>, Failure> {
        let cryptographic_parameters = match view::stored(&self.parameters) {
            Some(AttributeValue::CryptographicParameters(parameters)) => Some(parameters),
            _ => None,
        };
        let information = WrappingKeyInformation { unique_identifier: self.id, cryptographic_parameters };
        let key_wrapping_data = KeyWrappingData {
            wrapping_method: WrappingMethod::Encrypt,
            encryption_key_information: Some(information),
            mac_signature_key_information: None,
            mac_signature: None,
            iv_counter_nonce: None,
            // Left out it means TTLV Encoding, to who asks as to who reads: the answer says it if the request did.
            encoding_option: self.asked_encoding,
        };
        let key_value = Some(KeyValue::Wrapped(ByteString(wrapped)));
        with_block(view, KeyBlock { key_value, key_wrapping_data: Some(key_wrapping_data), ..key_block(view, format) })
    }
}

fn no_bytes() -> Failure {
    let message = "Key Format Type: a wrapped key is returned in a format that has bytes, not in a transparent one";
    Failure::invalid(ResultReason::KeyFormatTypeNotSupported, message)
}

fn encoding(asked: Option<EncodingOption>, attribute_names: &[&str]) -> Result<EncodingOption, Failure> {
    let error = |message: &'static str| Err(Failure::invalid(ResultReason::EncodingOptionError, message));
    if attribute_names.iter().enumerate().any(|(index, name)| attribute_names[..index].contains(name)) {
        return Err(Error::Duplicate { offset: 0, field: Tag::ATTRIBUTE_NAME.name() }.into());
    }
    match asked.unwrap_or(EncodingOption::TtlvEncoding) {
        EncodingOption::NoEncoding if !attribute_names.is_empty() => {
            error("Encoding Option: attributes are wrapped with TTLV Encoding only")
        }
        EncodingOption::Extension(_) => error("Encoding Option: use No Encoding or TTLV Encoding"),
        encoding => Ok(encoding),
    }
}

/// The header of the key to wrap or unwrap with, which is noted for an audit record of its own.
///
/// # Errors
/// Item Not Found; Illegal Operation for what is no key; Permission Denied for a key that another kind of node holds.
pub(crate) async fn wrapping_key(context: &mut Context<'_>, text: &str) -> Result<keys::row::Header, Failure> {
    *context.wrapper = text.parse::<RowId>().ok();
    let header = context.header(text).await?;
    *context.wrapper = Some(header.id);
    match ObjectType::of(header.object_type.0) {
        Some(ObjectType::SymmetricKey | ObjectType::PublicKey | ObjectType::PrivateKey) => Ok(header),
        _ => Err(Failure::invalid(ResultReason::IllegalOperation, "Encryption Key Information: the object that it names is not a key")),
    }
}

/// How keys are wrapped in this mode.
///
/// # Errors
/// Feature Not Supported.
pub(crate) fn key_wrap(mode: Option<BlockCipherMode>) -> Result<KeyWrap, Failure> {
    match mode {
        Some(BlockCipherMode::NISTKeyWrap) => Ok(KeyWrap::Kw),
        Some(BlockCipherMode::AESKeyWrapPadding) => Ok(KeyWrap::Kwp),
        _ => Err(Failure::unsupported("Block Cipher Mode: keys are wrapped by NISTKeyWrap or AESKeyWrapPadding")),
    }
}

/// The wrapping key's own parameters that the client's fit; without any of the client's, its first (2.1.6).
///
/// # Errors
/// Item Not Found if it has no such ones; those of [`key_wrap`].
pub(crate) fn parameters<'k>(key: &'k Attributes, asked: Option<&CryptographicParameters<'_>>) -> Result<(&'k Other, KeyWrap), Failure> {
    let name = AttributeName::CryptographicParameters.row().name;
    let mut own: Vec<&Other> = key.others.iter().filter(|other| other.name == name).collect();
    own.sort_by_key(|other| other.index);
    let asked = asked.map(|parameters| encoded(&AttributeValue::CryptographicParameters(parameters.clone())));
    let found = own.into_iter().find(|own| asked.as_ref().is_none_or(|asked| includes(own, asked))).ok_or_else(no_parameters)?;
    let mode = match view::stored(found) {
        Some(AttributeValue::CryptographicParameters(parameters)) => parameters.block_cipher_mode,
        _ => None,
    };
    Ok((found, key_wrap(mode)?))
}

fn no_parameters() -> Failure {
    let message = Cow::Borrowed("the wrapping key has no such Cryptographic Parameters: add some with Block Cipher Mode NISTKeyWrap to it");
    Failure { message, ..Failure::not_found() }
}
