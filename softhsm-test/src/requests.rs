//! The KMIP requests that tests and campaigns make, as plain functions over one connection.

use daemon::kmip_client::{KmipClient, KmipError};
use kmip::ttlv::ByteString;
use kmip::{
    ActivateRequest, Attribute, AttributeValue, BlockCipherMode, CreateRequest, CryptographicAlgorithm, CryptographicParameters,
    CryptographicUsageMask, DecryptRequest, DestroyRequest, EncryptRequest, GetAttributesRequest, LocateRequest, Name, NameType,
    ObjectType, PaddingMethod, RevocationReason, RevocationReasonCode, RevokeRequest, State, TemplateAttribute,
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
    let attributes = vec![
        attribute(AttributeValue::CryptographicAlgorithm(CryptographicAlgorithm::Aes)),
        attribute(AttributeValue::CryptographicLength(256)),
        attribute(AttributeValue::CryptographicUsageMask(CryptographicUsageMask::ENCRYPT.with(CryptographicUsageMask::DECRYPT))),
        named(name),
    ];
    let template_attribute = TemplateAttribute { names: Vec::new(), attributes };
    let answer = client.call(&CreateRequest { object_type: ObjectType::SymmetricKey, template_attribute })?;
    Ok(answer.unique_identifier.to_owned())
}

fn attribute(value: AttributeValue<'_>) -> Attribute<'_> {
    Attribute { index: None, value }
}

fn named(name: &str) -> Attribute<'_> {
    attribute(AttributeValue::Name(Name { value: Some(name), name_type: Some(NameType::UninterpretedTextString) }))
}

/// Identifiers of the keys with that name.
///
/// # Errors
/// The client's, or the core's refusal.
pub fn locate(client: &mut KmipClient, name: &str) -> Result<Vec<String>, KmipError> {
    let answer = client.call(&LocateRequest { attributes: vec![named(name)], ..LocateRequest::default() })?;
    Ok(answer.unique_identifiers.iter().map(|id| (*id).to_owned()).collect())
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

/// The state of a key, once its length is seen to be that of [`create`].
///
/// # Errors
/// The client's, or the core's refusal.
///
/// # Panics
/// If the key is there by half.
pub fn state(client: &mut KmipClient, key: &str) -> Result<State, KmipError> {
    let wanted = vec!["State", "Cryptographic Length", "Name"];
    let answer = client.call(&GetAttributesRequest { unique_identifier: Some(key), attribute_names: wanted })?;
    let values = || answer.attributes.iter().map(|attribute| &attribute.value);
    assert!(values().any(|value| *value == AttributeValue::CryptographicLength(256)), "{key} has no length: {:?}", answer.attributes);
    assert!(values().any(|value| matches!(value, AttributeValue::Name(_))), "{key} has no name: {:?}", answer.attributes);
    let state = values().find_map(|value| if let AttributeValue::State(state) = value { Some(*state) } else { None });
    Ok(state.unwrap_or_else(|| panic!("{key} has no state: {:?}", answer.attributes)))
}

/// Encrypts under AES-GCM with an IV of the server's choice.
///
/// # Errors
/// The client's, or the core's refusal.
///
/// # Panics
/// If the answer lacks what GCM answers have.
pub fn encrypt(client: &mut KmipClient, key: &str, plain: Vec<u8>) -> Result<Secret, KmipError> {
    let answer = client.call(&EncryptRequest {
        unique_identifier: Some(key),
        cryptographic_parameters: Some(gcm()),
        data: Some(ByteString(&plain)),
        ..EncryptRequest::default()
    })?;
    let field = |bytes: Option<ByteString<'_>>| bytes.expect("GCM answers have it").0.to_vec();
    let (iv, ciphertext, tag) = (field(answer.iv_counter_nonce), field(answer.data), field(answer.authentication_tag));
    Ok(Secret { key: key.to_owned(), iv, ciphertext, tag, plain })
}

/// Decrypts what [`encrypt`] has made.
///
/// # Errors
/// The client's, or the core's refusal.
pub fn decrypt(client: &mut KmipClient, secret: &Secret) -> Result<Vec<u8>, KmipError> {
    let answer = client.call(&DecryptRequest {
        unique_identifier: Some(&secret.key),
        cryptographic_parameters: Some(gcm()),
        data: Some(ByteString(&secret.ciphertext)),
        iv_counter_nonce: Some(ByteString(&secret.iv)),
        authentication_tag: Some(ByteString(&secret.tag)),
        ..DecryptRequest::default()
    })?;
    Ok(answer.data.map(|data| data.0.to_vec()).unwrap_or_default())
}

fn gcm<'a>() -> CryptographicParameters<'a> {
    CryptographicParameters {
        block_cipher_mode: Some(BlockCipherMode::Gcm),
        padding_method: Some(PaddingMethod::None),
        ..CryptographicParameters::default()
    }
}
