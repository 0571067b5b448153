//! A key on the wire: Key Block, Key Value and how they are wrapped (2.1.3 to 2.1.6, 2.2.2).

use crate::attribute::Attribute;
use crate::enums::{CryptographicAlgorithm, EncodingOption, KeyCompressionType, KeyFormatType, WrappingMethod};
use crate::error::Error;
use crate::object::CryptographicParameters;
use crate::schema::{Decode, Encode, Rules, message};
use crate::tag::Tag;
use crate::ttlv::{ByteString, Item, ItemType, Writer};
use crate::version::ProtocolVersion;

message! {
    /// Symmetric Key, 2.2.2.
    struct SymmetricKey<'a> {
        KEY_BLOCK: key_block, KeyBlock<'a>, required, V1_0..=V1_4;
    }
}

message! {
    /// Key Block, 2.1.3. Cryptographic Length is in bits.
    struct KeyBlock<'a> {
        KEY_FORMAT_TYPE:         key_format_type,         KeyFormatType,          required, V1_0..=V1_4;
        KEY_COMPRESSION_TYPE:    key_compression_type,    KeyCompressionType,     optional, V1_0..=V1_4;
        KEY_VALUE:               key_value,               KeyValue<'a>,           optional, V1_0..=V1_4;
        CRYPTOGRAPHIC_ALGORITHM: cryptographic_algorithm, CryptographicAlgorithm, optional, V1_0..=V1_4;
        CRYPTOGRAPHIC_LENGTH:    cryptographic_length,    i32,                    optional, V1_0..=V1_4;
        KEY_WRAPPING_DATA:       key_wrapping_data,       KeyWrappingData<'a>,    optional, V1_0..=V1_4;
    }
}

/// Key Value, 2.1.4.
#[derive(Clone, Debug, PartialEq)]
pub enum KeyValue<'a> {
    /// In the clear.
    Plain(PlainKeyValue<'a>),
    /// Wrapped, as Key Wrapping Data says.
    Wrapped(ByteString<'a>),
}

message! {
    /// The structure of a Key Value, 2.1.4; where it is wrapped with TTLV Encoding, the plaintext. Key Material is in a format that has bytes.
    struct PlainKeyValue<'a> {
        KEY_MATERIAL: key_material, ByteString<'a>, required, V1_0..=V1_4;
        ATTRIBUTE:    attributes,   Attribute<'a>,  repeated, V1_0..=V1_4;
    }
}

message! {
    /// Key Wrapping Data, 2.1.5. Without Encoding Option, TTLV Encoding is meant.
    struct KeyWrappingData<'a> {
        WRAPPING_METHOD:               wrapping_method,               WrappingMethod,             required, V1_0..=V1_4;
        ENCRYPTION_KEY_INFORMATION:    encryption_key_information,    WrappingKeyInformation<'a>, optional, V1_0..=V1_4;
        MAC_SIGNATURE_KEY_INFORMATION: mac_signature_key_information, WrappingKeyInformation<'a>, optional, V1_0..=V1_4;
        MAC_SIGNATURE:                 mac_signature,                 ByteString<'a>,             optional, V1_0..=V1_4;
        IV_COUNTER_NONCE:              iv_counter_nonce,              ByteString<'a>,             optional, V1_0..=V1_4;
        ENCODING_OPTION:               encoding_option,               EncodingOption,             optional, V1_1..=V1_4;
    }
}

message! {
    /// Encryption Key Information and MAC/Signature Key Information, 2.1.5.
    struct WrappingKeyInformation<'a> {
        UNIQUE_IDENTIFIER:        unique_identifier,        &'a str,                     required, V1_0..=V1_4;
        CRYPTOGRAPHIC_PARAMETERS: cryptographic_parameters, CryptographicParameters<'a>, optional, V1_0..=V1_4;
    }
}

message! {
    /// Key Wrapping Specification, 2.1.6: how a client wants a key wrapped, and which attributes with it.
    struct KeyWrappingSpecification<'a> {
        WRAPPING_METHOD:               wrapping_method,               WrappingMethod,             required, V1_0..=V1_4;
        ENCRYPTION_KEY_INFORMATION:    encryption_key_information,    WrappingKeyInformation<'a>, optional, V1_0..=V1_4;
        MAC_SIGNATURE_KEY_INFORMATION: mac_signature_key_information, WrappingKeyInformation<'a>, optional, V1_0..=V1_4;
        ATTRIBUTE_NAME:                attribute_names,               &'a str,                    repeated, V1_0..=V1_4;
        ENCODING_OPTION:               encoding_option,               EncodingOption,             optional, V1_1..=V1_4;
    }
}

impl<'a> Decode<'a> for KeyValue<'a> {
    /// The type of what stands here in a response; the clear form is a Structure.
    const TYPE: ItemType = ItemType::ByteString;

    fn decode(item: Item<'a>, rules: Rules) -> Result<Self, Error> {
        match item.kind {
            ItemType::Structure => PlainKeyValue::decode(item, rules).map(Self::Plain),
            _ => item.bytes().map(Self::Wrapped),
        }
    }
}

impl Encode for KeyValue<'_> {
    fn encode(&self, tag: Tag, out: &mut Writer<'_>) {
        match self {
            Self::Plain(value) => value.encode(tag, out),
            Self::Wrapped(bytes) => out.bytes(tag, *bytes),
        }
    }

    fn legal_in(&self, version: ProtocolVersion) -> bool {
        match self {
            Self::Plain(value) => value.legal_in(version),
            Self::Wrapped(_) => true,
        }
    }
}
