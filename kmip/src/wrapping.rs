//! How Get and Export hand out a key: wrapped by another key, as a Key Wrapping Specification wants it, or not at all.

use std::borrow::Cow;

use cipher::keywrap::KeyWrap;
use keys::attributes::{Attributes, Other};
use keys::export::Frame;
use keys::id::RowId;
use keys::lifecycle::State;
use keys::policy::{Authorized, verb};
use keys::row::ObjectType as Kind;
use keys::vault::View;

use crate::attribute::{AttributeName, AttributeValue};
use crate::context::Context;
use crate::enums::{
    BlockCipherMode, CryptographicAlgorithm, EncodingOption, KeyCompressionType, KeyFormatType, KeyWrapType, ResultReason, WrappingMethod,
};
use crate::error::Error;
use crate::failure::Failure;
use crate::instance::encoded;
use crate::key_block::{
    KeyBlock, KeyMaterial, KeyValue, KeyWrappingData, KeyWrappingSpecification, PlainKeyValue, SymmetricKey, WrappingKeyInformation,
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

/// A specification that a core can follow.
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
    /// Refuses what no key of a core is returned as, and a key that may not be returned.
    ///
    /// # Errors
    /// Reasons of tables 338 and 364.
    pub(crate) fn specification_for(self, view: &View) -> Result<KeyWrappingSpecification<'a>, Failure> {
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

    /// What stands around the key's bytes before they are wrapped.
    pub(crate) fn frame(&self, view: &View, around: &Surroundings, version: ProtocolVersion) -> Frame {
        if self.encoding == EncodingOption::NoEncoding {
            return Frame { before: vec![], after: vec![] };
        }
        let bytes = view.header.material_bytes();
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

    /// The key as it is returned.
    pub(crate) fn key<'w>(&'w self, view: &View, wrapped: &'w [u8]) -> SymmetricKey<'w> {
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
        SymmetricKey { key_block: KeyBlock { key_value, key_wrapping_data: Some(key_wrapping_data), ..bare_block(view) } }
    }
}

/// A Key Block without the key.
pub(crate) fn bare_block(view: &View) -> KeyBlock<'static> {
    KeyBlock {
        key_format_type: KeyFormatType::Raw,
        key_compression_type: None,
        key_value: None,
        cryptographic_algorithm: CryptographicAlgorithm::of(view.header.algorithm.0),
        cryptographic_length: Some(view::bits(view)),
        key_wrapping_data: None,
    }
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

/// The header of the key to wrap with, which is noted for an audit record of its own.
async fn wrapping_key(context: &mut Context<'_>, text: &str) -> Result<keys::row::Header, Failure> {
    let id: RowId = text.parse().map_err(|_| Failure::not_found())?;
    *context.wrapper = Some(id);
    context.must_be_held_here(id)?;
    let header = context.vault.header(context.unit, &context.grants, id).await?;
    if !matches!(header.object_type, Kind::SYMMETRIC_KEY | Kind::PUBLIC_KEY | Kind::PRIVATE_KEY) {
        return Err(Failure::invalid(ResultReason::IllegalOperation, "Encryption Key Information: the object that is named is not a key"));
    }
    Ok(header)
}

/// The wrapping key's own parameters that the client's fit; without any of the client's, its first (2.1.6).
fn parameters<'k>(key: &'k Attributes, asked: Option<&CryptographicParameters<'_>>) -> Result<(&'k Other, KeyWrap), Failure> {
    let name = AttributeName::CryptographicParameters.row().name;
    let mut own: Vec<&Other> = key.others.iter().filter(|other| other.name == name).collect();
    own.sort_by_key(|other| other.index);
    let asked = asked.map(|parameters| encoded(&AttributeValue::CryptographicParameters(parameters.clone())));
    let found = own.into_iter().find(|own| asked.as_ref().is_none_or(|asked| includes(own, asked))).ok_or_else(no_parameters)?;
    let mode = match view::stored(found) {
        Some(AttributeValue::CryptographicParameters(parameters)) => parameters.block_cipher_mode,
        _ => None,
    };
    match mode {
        Some(BlockCipherMode::NISTKeyWrap) => Ok((found, KeyWrap::Kw)),
        Some(BlockCipherMode::AESKeyWrapPadding) => Ok((found, KeyWrap::Kwp)),
        _ => Err(Failure::unsupported("Block Cipher Mode: keys are wrapped by NISTKeyWrap or AESKeyWrapPadding")),
    }
}

fn no_parameters() -> Failure {
    let message = Cow::Borrowed("the wrapping key has no such Cryptographic Parameters: add some with Block Cipher Mode NISTKeyWrap to it");
    Failure { message, ..Failure::not_found() }
}
