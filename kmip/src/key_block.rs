//! Managed objects on the wire (2.2) and what holds their keys: Key Block, Key Value and how they are wrapped (2.1.3 to 2.1.7).

use crate::attribute::Attribute;
use crate::enums::{
    CertificateType, CryptographicAlgorithm, EncodingOption, KeyCompressionType, KeyFormatType, ObjectType, OpaqueDataType, SecretDataType,
    WrappingMethod,
};
use crate::error::Error;
use crate::object::CryptographicParameters;
use crate::schema::{Decode, Encode, OneOf, Rules, message};
use crate::tag::Tag;
use crate::transparent::{TransparentEcPrivateKey, TransparentEcPublicKey, TransparentRsaPrivateKey, TransparentRsaPublicKey};
use crate::ttlv::{ByteString, Item, ItemType, Writer};
use crate::version::ProtocolVersion;

message! {
    /// Certificate, 2.2.1.
    struct Certificate<'a> {
        CERTIFICATE_TYPE:  certificate_type,  CertificateType, required, V1_0..=V1_4;
        CERTIFICATE_VALUE: certificate_value, ByteString<'a>,  required, V1_0..=V1_4;
    }
}

message! {
    /// Symmetric Key, 2.2.2.
    struct SymmetricKey<'a> {
        KEY_BLOCK: key_block, KeyBlock<'a>, required, V1_0..=V1_4;
    }
}

message! {
    /// Public Key, 2.2.3.
    struct PublicKey<'a> {
        KEY_BLOCK: key_block, KeyBlock<'a>, required, V1_0..=V1_4;
    }
}

message! {
    /// Private Key, 2.2.4.
    struct PrivateKey<'a> {
        KEY_BLOCK: key_block, KeyBlock<'a>, required, V1_0..=V1_4;
    }
}

message! {
    /// Template, 2.2.6, deprecated since 1.3.
    struct Template<'a> {
        ATTRIBUTE: attributes, Attribute<'a>, several, V1_0..=V1_4;
    }
}

message! {
    /// Secret Data, 2.2.7. Algorithm and length in its Key Block do not apply (2.1.3).
    struct SecretData<'a> {
        SECRET_DATA_TYPE: secret_data_type, SecretDataType, required, V1_0..=V1_4;
        KEY_BLOCK:        key_block,        KeyBlock<'a>,   required, V1_0..=V1_4;
    }
}

message! {
    /// Opaque Object, 2.2.8. The standard publishes no type: each is a vendor's.
    struct OpaqueObject<'a> {
        OPAQUE_DATA_TYPE:  opaque_data_type,  OpaqueDataType, required, V1_0..=V1_4;
        OPAQUE_DATA_VALUE: opaque_data_value, ByteString<'a>, required, V1_0..=V1_4;
    }
}

/// A managed object, 2.2: one of those that are read here.
#[derive(Clone, Debug, PartialEq)]
pub enum ManagedObject<'a> {
    /// Under the tag Certificate.
    Certificate(Certificate<'a>),
    /// Under the tag Symmetric Key.
    SymmetricKey(SymmetricKey<'a>),
    /// Under the tag Private Key.
    PrivateKey(PrivateKey<'a>),
    /// Under the tag Public Key.
    PublicKey(PublicKey<'a>),
    /// Under the tag Template.
    Template(Template<'a>),
    /// Under the tag Secret Data.
    SecretData(SecretData<'a>),
    /// Under the tag Opaque Object.
    OpaqueObject(OpaqueObject<'a>),
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
    /// The structure of a Key Value, 2.1.4; where it is wrapped with TTLV Encoding, the plaintext.
    struct PlainKeyValue<'a> {
        KEY_MATERIAL: key_material, KeyMaterial<'a>, required, V1_0..=V1_4;
        ATTRIBUTE:    attributes,   Attribute<'a>,   repeated, V1_0..=V1_4;
    }
}

/// Key Material, 2.1.4. That it is of the form which Key Format Type announces is left to the operation.
#[derive(Clone, Debug, PartialEq)]
pub enum KeyMaterial<'a> {
    /// In a format that has bytes, such as Raw and Opaque.
    Bytes(ByteString<'a>),
    /// In the format Transparent Symmetric Key.
    TransparentSymmetricKey(TransparentSymmetricKey<'a>),
    /// In the format Transparent RSA Private Key.
    TransparentRsaPrivateKey(TransparentRsaPrivateKey<'a>),
    /// In the format Transparent RSA Public Key.
    TransparentRsaPublicKey(TransparentRsaPublicKey<'a>),
    /// In the format Transparent EC Private Key, or one of its older names.
    TransparentEcPrivateKey(TransparentEcPrivateKey<'a>),
    /// In the format Transparent EC Public Key, or one of its older names.
    TransparentEcPublicKey(TransparentEcPublicKey<'a>),
}

message! {
    /// The Key Material of a Transparent Symmetric Key, 2.1.7.1.
    struct TransparentSymmetricKey<'a> {
        KEY: key, ByteString<'a>, required, V1_0..=V1_4;
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

impl<'a> ManagedObject<'a> {
    /// The Object Type that it is, whatever the field Object Type beside it says.
    #[must_use]
    pub const fn object_type(&self) -> ObjectType {
        match self {
            Self::Certificate(_) => ObjectType::Certificate,
            Self::SymmetricKey(_) => ObjectType::SymmetricKey,
            Self::PrivateKey(_) => ObjectType::PrivateKey,
            Self::PublicKey(_) => ObjectType::PublicKey,
            Self::Template(_) => ObjectType::Template,
            Self::SecretData(_) => ObjectType::SecretData,
            Self::OpaqueObject(_) => ObjectType::OpaqueObject,
        }
    }

    /// What holds its key, if it is one of those that have that: only these are wrapped.
    #[must_use]
    pub const fn key_block(&self) -> Option<&KeyBlock<'a>> {
        match self {
            Self::SymmetricKey(object) => Some(&object.key_block),
            Self::PrivateKey(object) => Some(&object.key_block),
            Self::PublicKey(object) => Some(&object.key_block),
            Self::SecretData(object) => Some(&object.key_block),
            Self::Certificate(_) | Self::Template(_) | Self::OpaqueObject(_) => None,
        }
    }
}

impl OneOf for ManagedObject<'_> {
    const NAMES: &'static str = "Certificate, Symmetric Key, Private Key, Public Key, Template, Secret Data or Opaque Object";

    fn tag(&self) -> Tag {
        match self {
            Self::Certificate(_) => Tag::CERTIFICATE,
            Self::SymmetricKey(_) => Tag::SYMMETRIC_KEY,
            Self::PrivateKey(_) => Tag::PRIVATE_KEY,
            Self::PublicKey(_) => Tag::PUBLIC_KEY,
            Self::Template(_) => Tag::TEMPLATE,
            Self::SecretData(_) => Tag::SECRET_DATA,
            Self::OpaqueObject(_) => Tag::OPAQUE_OBJECT,
        }
    }
}

impl<'a> Decode<'a> for ManagedObject<'a> {
    const TYPE: ItemType = ItemType::Structure;

    /// Here the tag counts: it says which object it is.
    fn decode(item: Item<'a>, rules: Rules) -> Result<Self, Error> {
        match item.tag {
            Tag::CERTIFICATE => Certificate::decode(item, rules).map(Self::Certificate),
            Tag::SYMMETRIC_KEY => SymmetricKey::decode(item, rules).map(Self::SymmetricKey),
            Tag::PRIVATE_KEY => PrivateKey::decode(item, rules).map(Self::PrivateKey),
            Tag::PUBLIC_KEY => PublicKey::decode(item, rules).map(Self::PublicKey),
            Tag::TEMPLATE => Template::decode(item, rules).map(Self::Template),
            Tag::SECRET_DATA => SecretData::decode(item, rules).map(Self::SecretData),
            Tag::OPAQUE_OBJECT => OpaqueObject::decode(item, rules).map(Self::OpaqueObject),
            _ => Err(Error::Unknown { offset: item.offset, field: item.tag.name() }),
        }
    }
}

impl Encode for ManagedObject<'_> {
    fn encode(&self, tag: Tag, out: &mut Writer<'_>) {
        match self {
            Self::Certificate(object) => object.encode(tag, out),
            Self::SymmetricKey(object) => object.encode(tag, out),
            Self::PrivateKey(object) => object.encode(tag, out),
            Self::PublicKey(object) => object.encode(tag, out),
            Self::Template(object) => object.encode(tag, out),
            Self::SecretData(object) => object.encode(tag, out),
            Self::OpaqueObject(object) => object.encode(tag, out),
        }
    }

    fn legal_in(&self, version: ProtocolVersion) -> bool {
        match self {
            Self::Certificate(object) => object.legal_in(version),
            Self::SymmetricKey(object) => object.legal_in(version),
            Self::PrivateKey(object) => object.legal_in(version),
            Self::PublicKey(object) => object.legal_in(version),
            Self::Template(object) => object.legal_in(version),
            Self::SecretData(object) => object.legal_in(version),
            Self::OpaqueObject(object) => object.legal_in(version),
        }
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

impl<'a> Decode<'a> for KeyMaterial<'a> {
    /// The type in most formats; the transparent ones are Structures, which their fields tell apart.
    const TYPE: ItemType = ItemType::ByteString;

    fn decode(item: Item<'a>, rules: Rules) -> Result<Self, Error> {
        match item.kind {
            ItemType::Structure => Self::decode_transparent(item, rules),
            _ => item.bytes().map(Self::Bytes),
        }
    }
}

impl<'a> KeyMaterial<'a> {
    /// A private key of RSA has a field that tells its public half's exponent from it.
    fn decode_transparent(item: Item<'a>, rules: Rules) -> Result<Self, Error> {
        let mut fields = item.fields()?;
        let (mut is_rsa, mut is_ec_private, mut is_ec_public, mut is_private) = (false, false, false, false);
        let symmetric = || TransparentSymmetricKey::decode(item, rules).map(Self::TransparentSymmetricKey);
        while let Some(field) = fields.next_item()? {
            match field.tag {
                Tag::KEY => return symmetric(),
                Tag::MODULUS => is_rsa = true,
                Tag::D => is_ec_private = true,
                Tag::Q_STRING => is_ec_public = true,
                Tag::PRIVATE_EXPONENT | Tag::P | Tag::PRIME_EXPONENT_P => is_private = true,
                _ => {}
            }
        }
        match (is_rsa, is_ec_private, is_ec_public) {
            (true, ..) if is_private => TransparentRsaPrivateKey::decode(item, rules).map(Self::TransparentRsaPrivateKey),
            (true, ..) => TransparentRsaPublicKey::decode(item, rules).map(Self::TransparentRsaPublicKey),
            (false, true, _) => TransparentEcPrivateKey::decode(item, rules).map(Self::TransparentEcPrivateKey),
            (false, false, true) => TransparentEcPublicKey::decode(item, rules).map(Self::TransparentEcPublicKey),
            (false, false, false) => symmetric(),
        }
    }
}

impl Encode for KeyMaterial<'_> {
    fn encode(&self, tag: Tag, out: &mut Writer<'_>) {
        match self {
            Self::Bytes(bytes) => out.bytes(tag, *bytes),
            Self::TransparentSymmetricKey(key) => key.encode(tag, out),
            Self::TransparentRsaPrivateKey(key) => key.encode(tag, out),
            Self::TransparentRsaPublicKey(key) => key.encode(tag, out),
            Self::TransparentEcPrivateKey(key) => key.encode(tag, out),
            Self::TransparentEcPublicKey(key) => key.encode(tag, out),
        }
    }
}
