//! The KMIP requests that tests and campaigns make, as plain functions over one connection.

use daemon::kmip_client::{KmipClient, KmipError};
use kmip::ttlv::{ByteString, Value};
use kmip::{
    ActivateRequest, AddAttributeRequest, Attribute, AttributeValue, BlockCipherMode, CreateRequest, CryptographicAlgorithm,
    CryptographicParameters, CryptographicUsageMask, DecryptRequest, DeleteAttributeRequest, DestroyRequest, EncryptRequest,
    GetAttributesRequest, GetRequest, KeyBlock, KeyFormatType, KeyMaterial, KeyValue, Link, LinkType, LocateRequest, ManagedObject,
    ModifyAttributeRequest, Name, NameType, ObjectGroupMember, ObjectType, PaddingMethod, PlainKeyValue, ReKeyRequest, RegisterRequest,
    RevocationReason, RevocationReasonCode, RevokeRequest, SecretData, SecretDataType, State, TemplateAttribute,
};

/// A ciphertext with everything that is needed to open it, and what must come out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// Identifier of the key.
    pub key: String,
    /// The IV that the server chose.
    pub iv: Vec<u8>,
    /// The ciphertext.
    pub ciphertext: Vec<u8>,
    /// The tag of AES-GCM.
    pub tag: Vec<u8>,
    /// What was encrypted.
    pub plain: Vec<u8>,
}

/// Creates an AES-256 key of that name for Encrypt and Decrypt; returns its identifier.
///
/// # Errors
/// The client's, or the core's refusal.
pub fn create(client: &mut KmipClient, name: &str) -> Result<String, KmipError> {
    Ok(client.call(&creating(name))?.unique_identifier.to_owned())
}

/// The request of [`create`].
#[must_use]
pub fn creating(name: &str) -> CreateRequest<'_> {
    let attributes = vec![
        attribute(AttributeValue::CryptographicAlgorithm(CryptographicAlgorithm::Aes)),
        attribute(AttributeValue::CryptographicLength(256)),
        attribute(AttributeValue::CryptographicUsageMask(CryptographicUsageMask::ENCRYPT.with(CryptographicUsageMask::DECRYPT))),
        named(name),
    ];
    CreateRequest { object_type: ObjectType::SymmetricKey, template_attribute: TemplateAttribute { names: Vec::new(), attributes } }
}

/// Registers a password of that name; returns its identifier.
///
/// # Errors
/// The client's, or the edge's refusal.
pub fn register(client: &mut KmipClient, name: &str, password: &[u8]) -> Result<String, KmipError> {
    let key_value = KeyValue::Plain(PlainKeyValue { key_material: KeyMaterial::Bytes(ByteString(password)), attributes: Vec::new() });
    let key_block = KeyBlock {
        key_format_type: KeyFormatType::Opaque,
        key_compression_type: None,
        key_value: Some(key_value),
        cryptographic_algorithm: None,
        cryptographic_length: None,
        key_wrapping_data: None,
    };
    let object = ManagedObject::SecretData(SecretData { secret_data_type: SecretDataType::Password, key_block });
    let attributes = vec![attribute(AttributeValue::CryptographicUsageMask(CryptographicUsageMask::EXPORT)), named(name)];
    let template_attribute = TemplateAttribute { names: Vec::new(), attributes };
    let answer = client.call(&RegisterRequest { object_type: ObjectType::SecretData, template_attribute, object })?;
    Ok(answer.unique_identifier.to_owned())
}

/// The material of an object, such as [`create`] and [`register`] leave at an edge.
///
/// # Errors
/// The client's, or the edge's refusal.
///
/// # Panics
/// If it is neither Secret Data nor a Symmetric Key, in the clear.
pub fn get(client: &mut KmipClient, id: &str) -> Result<Vec<u8>, KmipError> {
    let answer = client.call(&GetRequest {
        unique_identifier: Some(id),
        key_format_type: None,
        key_wrap_type: None,
        key_compression_type: None,
        key_wrapping_specification: None,
    })?;
    let key_block = match &answer.object {
        ManagedObject::SecretData(secret) => &secret.key_block,
        ManagedObject::SymmetricKey(key) => &key.key_block,
        _ => panic!("{id} is {:?}", answer.object_type),
    };
    match &key_block.key_value {
        Some(KeyValue::Plain(PlainKeyValue { key_material: KeyMaterial::Bytes(bytes), .. })) => Ok(bytes.0.to_vec()),
        other => panic!("{id} has the value {other:?}"),
    }
}

fn attribute(value: AttributeValue<'_>) -> Attribute<'_> {
    Attribute { index: None, value }
}

fn named(name: &str) -> Attribute<'_> {
    attribute(AttributeValue::Name(Name { value: Some(name), name_type: Some(NameType::UninterpretedTextString) }))
}

/// The vendor's mode under which an L3 wraps object keys of edges.
fn object_key_wrap() -> CryptographicParameters<'static> {
    CryptographicParameters { block_cipher_mode: Some(BlockCipherMode::Extension(0x8000_0001)), ..CryptographicParameters::default() }
}

/// Wraps an edge's object key under an L3.
///
/// # Errors
/// The client's, or the core's refusal.
pub fn wrap_object_key(client: &mut KmipClient, l3: &str, object_key: &[u8; 16], plain: &[u8]) -> Result<Vec<u8>, KmipError> {
    let answer = client.call(&EncryptRequest {
        unique_identifier: Some(l3),
        cryptographic_parameters: Some(object_key_wrap()),
        data: Some(ByteString(plain)),
        additional_data: Some(ByteString(object_key)),
        ..EncryptRequest::default()
    })?;
    Ok(answer.data.map(|data| data.0.to_vec()).unwrap_or_default())
}

/// Opens an edge's object key.
///
/// # Errors
/// The client's, or the core's refusal.
pub fn unwrap_object_key(client: &mut KmipClient, l3: &str, object_key: &[u8; 16], blob: &[u8]) -> Result<Vec<u8>, KmipError> {
    let answer = client.call(&DecryptRequest {
        unique_identifier: Some(l3),
        cryptographic_parameters: Some(object_key_wrap()),
        data: Some(ByteString(blob)),
        additional_data: Some(ByteString(object_key)),
        ..DecryptRequest::default()
    })?;
    Ok(answer.data.map(|data| data.0.to_vec()).unwrap_or_default())
}

/// Identifiers of the keys with that name.
///
/// # Errors
/// The client's, or the core's refusal.
pub fn locate(client: &mut KmipClient, name: &str) -> Result<Vec<String>, KmipError> {
    let answer = client.call(&LocateRequest { attributes: vec![named(name)], ..LocateRequest::default() })?;
    Ok(answer.unique_identifiers.iter().map(|id| (*id).to_owned()).collect())
}

/// Identifier of the default key of the tenant's only service.
///
/// # Errors
/// The client's, or the core's refusal.
///
/// # Panics
/// If there is not just one.
pub fn default_key(client: &mut KmipClient) -> Result<String, KmipError> {
    let object_group_member = Some(ObjectGroupMember::GroupMemberDefault);
    let answer = client.call(&LocateRequest { object_group_member, ..LocateRequest::default() })?;
    let [id] = answer.unique_identifiers[..] else { panic!("default keys are {:?}", answer.unique_identifiers) };
    Ok(id.to_owned())
}

/// Activates a key.
///
/// # Errors
/// The client's, or the core's refusal.
pub fn activate(client: &mut KmipClient, key: &str) -> Result<(), KmipError> {
    client.call(&ActivateRequest { unique_identifier: Some(key) }).map(drop)
}

/// Revokes a key for that reason.
///
/// # Errors
/// The client's, or the core's refusal.
pub fn revoke(client: &mut KmipClient, key: &str, code: RevocationReasonCode) -> Result<(), KmipError> {
    let revocation_reason = RevocationReason { code: Some(code), message: None };
    client.call(&RevokeRequest { unique_identifier: Some(key), revocation_reason, compromise_occurrence_date: None }).map(drop)
}

/// Destroys a key.
///
/// # Errors
/// The client's, or the core's refusal.
pub fn destroy(client: &mut KmipClient, key: &str) -> Result<(), KmipError> {
    client.call(&DestroyRequest { unique_identifier: Some(key) }).map(drop)
}

/// What a key's attributes say of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Face {
    /// Its state.
    pub state: State,
    /// Which version of its chain it is, from 1.
    pub version: i32,
    /// Its name.
    pub name: Option<String>,
    /// Its Contact Information.
    pub contact: Option<String>,
    /// Identifier of the version before it.
    pub replaced: Option<String>,
    /// Identifier of the version after it.
    pub replacement: Option<String>,
}

/// Reads the attributes of a key of [`create`], or of a version that replaces one.
///
/// # Errors
/// The client's, or the core's refusal.
///
/// # Panics
/// If the key is there by half.
pub fn look(client: &mut KmipClient, key: &str) -> Result<Face, KmipError> {
    let wanted = vec!["State", "Cryptographic Length", "Name", "Contact Information", "Link", "y-version"];
    let answer = client.call(&GetAttributesRequest { unique_identifier: Some(key), attribute_names: wanted })?;
    let mut face = Face { state: State::PreActive, version: 0, name: None, contact: None, replaced: None, replacement: None };
    let (mut has_state, mut has_length) = (false, false);
    for Attribute { value, .. } in &answer.attributes {
        match value {
            AttributeValue::State(state) => (face.state, has_state) = (*state, true),
            AttributeValue::CryptographicLength(bits) => has_length = *bits == 256,
            AttributeValue::Name(name) => face.name = name.value.map(str::to_owned),
            AttributeValue::ContactInformation(contact) => face.contact = Some((*contact).to_owned()),
            AttributeValue::Custom("y-version", Value::Integer(version)) => face.version = *version,
            AttributeValue::Link(Link { link_type, linked_object_identifier: linked }) => match link_type {
                Some(LinkType::ReplacedObjectLink) => face.replaced = linked.map(str::to_owned),
                Some(LinkType::ReplacementObjectLink) => face.replacement = linked.map(str::to_owned),
                other => panic!("{key} has a link {other:?}"),
            },
            other => panic!("{key} has {other:?}, which was not asked for"),
        }
    }
    assert!(has_state && has_length && face.version > 0, "{key} is there by half: {:?}", answer.attributes);
    Ok(face)
}

/// Replaces a key by the next version of its chain; returns the version's identifier.
///
/// # Errors
/// The client's, or the core's refusal.
pub fn rekey(client: &mut KmipClient, key: &str) -> Result<String, KmipError> {
    let answer = client.call(&ReKeyRequest { unique_identifier: Some(key), ..ReKeyRequest::default() })?;
    Ok(answer.unique_identifier.to_owned())
}

/// Gives a key Contact Information, or another, or takes it away.
///
/// # Errors
/// The client's, or the core's refusal.
pub fn set_contact(client: &mut KmipClient, key: &str, before: Option<&str>, after: Option<&str>) -> Result<(), KmipError> {
    let unique_identifier = Some(key);
    let Some(contact) = after else {
        let attribute_name = "Contact Information";
        return client.call(&DeleteAttributeRequest { unique_identifier, attribute_name, attribute_index: None }).map(drop);
    };
    let attribute = attribute(AttributeValue::ContactInformation(contact));
    match before {
        None => client.call(&AddAttributeRequest { unique_identifier, attribute }).map(drop),
        Some(_) => client.call(&ModifyAttributeRequest { unique_identifier, attribute }).map(drop),
    }
}

/// Encrypts under AES-GCM with an IV of the server's choice.
///
/// # Errors
/// The client's, or the core's refusal.
///
/// # Panics
/// If the answer lacks what GCM answers have.
pub fn encrypt(client: &mut KmipClient, key: &str, plain: Vec<u8>) -> Result<Secret, KmipError> {
    let answer = client.call(&encrypting(key, &plain))?;
    let field = |bytes: Option<ByteString<'_>>| bytes.expect("GCM answers have it").0.to_vec();
    let (iv, ciphertext, tag) = (field(answer.iv_counter_nonce), field(answer.data), field(answer.authentication_tag));
    Ok(Secret { key: key.to_owned(), iv, ciphertext, tag, plain })
}

/// The request of [`encrypt`].
#[must_use]
pub fn encrypting<'a>(key: &'a str, plain: &'a [u8]) -> EncryptRequest<'a> {
    EncryptRequest {
        unique_identifier: Some(key),
        cryptographic_parameters: Some(gcm()),
        data: Some(ByteString(plain)),
        ..EncryptRequest::default()
    }
}

/// Decrypts what [`encrypt`] has made.
///
/// # Errors
/// The client's, or the core's refusal.
pub fn decrypt(client: &mut KmipClient, secret: &Secret) -> Result<Vec<u8>, KmipError> {
    let answer = client.call(&decrypting(secret))?;
    Ok(answer.data.map(|data| data.0.to_vec()).unwrap_or_default())
}

/// The request of [`decrypt`].
#[must_use]
pub fn decrypting(secret: &Secret) -> DecryptRequest<'_> {
    DecryptRequest {
        unique_identifier: Some(&secret.key),
        cryptographic_parameters: Some(gcm()),
        data: Some(ByteString(&secret.ciphertext)),
        iv_counter_nonce: Some(ByteString(&secret.iv)),
        authentication_tag: Some(ByteString(&secret.tag)),
        ..DecryptRequest::default()
    }
}

fn gcm<'a>() -> CryptographicParameters<'a> {
    CryptographicParameters {
        block_cipher_mode: Some(BlockCipherMode::Gcm),
        padding_method: Some(PaddingMethod::None),
        ..CryptographicParameters::default()
    }
}
