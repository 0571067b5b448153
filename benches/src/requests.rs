//! The requests that are timed, and how each answer is known to be right.

use std::cell::RefCell;
use std::rc::Rc;

use anyhow::{Context, ensure};
use kmip::ttlv::ByteString;
use kmip::{
    Answers, Attribute, AttributeValue, Batch, BlockCipherMode, CreateRequest, CryptographicAlgorithm, CryptographicParameters,
    CryptographicUsageMask, DecryptRequest, EncryptRequest, GetRequest, Name, NameType, ObjectType, PaddingMethod, ProtocolVersion,
    ResultStatus, Sent, TemplateAttribute,
};

use crate::load::Script;

/// One of so many encryptions is kept and decrypted afterwards.
const KEPT_OF: usize = 512;

/// What an Encrypt answered.
#[derive(Debug, Clone)]
pub struct Sealed {
    /// Made by the server.
    pub iv: Vec<u8>,
    /// As long as the data.
    pub ciphertext: Vec<u8>,
    /// Of 16 bytes.
    pub tag: Vec<u8>,
}

/// AES-GCM as clients ask for it.
#[must_use]
pub fn gcm<'a>() -> CryptographicParameters<'a> {
    CryptographicParameters {
        block_cipher_mode: Some(BlockCipherMode::Gcm),
        padding_method: Some(PaddingMethod::None),
        ..CryptographicParameters::default()
    }
}

fn batch() -> Batch {
    Batch::new(ProtocolVersion::V1_4)
}

/// `items` encryptions of `data` in one message.
///
/// # Panics
/// Never: 1.4 has Encrypt.
#[must_use]
pub fn encrypt(key: &str, data: &[u8], items: usize) -> Sent {
    let mut batch = batch();
    for _ in 0..items {
        let request = EncryptRequest {
            unique_identifier: Some(key),
            cryptographic_parameters: Some(gcm()),
            data: Some(ByteString(data)),
            ..EncryptRequest::default()
        };
        let _slot = batch.push(&request).expect("1.4 has Encrypt");
    }
    batch.finish()
}

/// The decryption of what was encrypted.
///
/// # Panics
/// Never: 1.4 has Decrypt.
#[must_use]
pub fn decrypt(key: &str, sealed: &Sealed) -> Sent {
    one(&DecryptRequest {
        unique_identifier: Some(key),
        cryptographic_parameters: Some(gcm()),
        data: Some(ByteString(&sealed.ciphertext)),
        iv_counter_nonce: Some(ByteString(&sealed.iv)),
        authentication_tag: Some(ByteString(&sealed.tag)),
        ..DecryptRequest::default()
    })
}

/// Get, as most clients ask for it.
#[must_use]
pub fn get(key: &str) -> GetRequest<'_> {
    GetRequest { unique_identifier: Some(key), ..GetRequest::default() }
}

/// A message with one operation.
///
/// # Panics
/// If 1.4 does not have it.
#[must_use]
pub fn one<C: kmip::Call>(request: &C) -> Sent {
    let mut batch = batch();
    let _slot = batch.push(request).expect("1.4 has it");
    batch.finish()
}

/// Create of AES-256 keys with these names, one an item.
///
/// # Panics
/// Never: 1.4 has Create.
#[must_use]
pub fn create(names: &[String]) -> Sent {
    let mut batch = batch();
    for name in names {
        let attribute = |value| Attribute { index: None, value };
        let mask = CryptographicUsageMask::ENCRYPT.with(CryptographicUsageMask::DECRYPT);
        let attributes = vec![
            attribute(AttributeValue::CryptographicAlgorithm(CryptographicAlgorithm::Aes)),
            attribute(AttributeValue::CryptographicLength(256)),
            attribute(AttributeValue::CryptographicUsageMask(mask)),
            attribute(AttributeValue::Name(Name { value: Some(name), name_type: Some(NameType::UninterpretedTextString) })),
        ];
        let template_attribute = TemplateAttribute { names: Vec::new(), attributes };
        let _slot = batch.push(&CreateRequest { object_type: ObjectType::SymmetricKey, template_attribute }).expect("1.4 has Create");
    }
    batch.finish()
}

/// Every item succeeded; returns their payloads.
///
/// # Errors
/// One did not, or one is missing.
pub fn succeeded<'a>(sent: &Sent, answer: &'a [u8], items: usize) -> anyhow::Result<Answers<'a>> {
    let answers = sent.answers(answer)?;
    ensure!(answers.message.items.len() == items, "{} answers to {items} items", answers.message.items.len());
    for item in &answers.message.items {
        ensure!(item.result_status == ResultStatus::Success, "{:?}: {:?}", item.result_reason, item.result_message);
    }
    Ok(answers)
}

/// What the first item of an answer to Encrypt holds.
///
/// # Errors
/// It is none.
pub fn sealed(answer: &Answers<'_>) -> anyhow::Result<Sealed> {
    use kmip::Decode as _;
    let payload = answer.message.items[0].payload.context("no payload")?;
    let payload = kmip::EncryptResponse::decode(payload, kmip::Rules::of_response(ProtocolVersion::V1_4))?;
    let field = |bytes: Option<ByteString<'_>>| bytes.map(|bytes| bytes.0.to_vec()).context("a GCM answer has IV, data and tag");
    Ok(Sealed { iv: field(payload.iv_counter_nonce)?, ciphertext: field(payload.data)?, tag: field(payload.authentication_tag)? })
}

type Check = Box<dyn FnMut(&Sent, &[u8]) -> anyhow::Result<()>>;

struct Repeat {
    sent: Rc<Sent>,
    check: Check,
}

/// The same request again and again; `check` sees each answer.
#[must_use]
pub fn repeat(sent: Rc<Sent>, check: impl FnMut(&Sent, &[u8]) -> anyhow::Result<()> + 'static) -> Box<dyn Script> {
    Box::new(Repeat { sent, check: Box::new(check) })
}

/// The same request again and again; of so many items, each must succeed.
#[must_use]
pub fn succeeding(sent: Rc<Sent>, items: usize) -> Box<dyn Script> {
    repeat(sent, move |sent, answer| succeeded(sent, answer, items).map(drop))
}

impl Script for Repeat {
    fn request(&mut self) -> &[u8] {
        &self.sent.bytes
    }

    fn answered(&mut self, answer: &[u8]) -> anyhow::Result<()> {
        (self.check)(&self.sent, answer)
    }
}

/// Encryptions, of which some are kept to be decrypted later.
#[must_use]
pub fn encrypting(sent: &Rc<Sent>, items: usize, kept: &Rc<RefCell<Vec<Sealed>>>) -> Box<dyn Script> {
    let (kept, mut number) = (Rc::clone(kept), 0_usize);
    repeat(Rc::clone(sent), move |sent, answer| {
        let answers = succeeded(sent, answer, items)?;
        if number.is_multiple_of(KEPT_OF) {
            kept.borrow_mut().push(sealed(&answers)?);
        }
        number += 1;
        Ok(())
    })
}

/// Decryptions that must return `plain`.
#[must_use]
pub fn decrypting(sent: &Rc<Sent>, plain: &Rc<Vec<u8>>) -> Box<dyn Script> {
    let plain = Rc::clone(plain);
    repeat(Rc::clone(sent), move |sent, answer| {
        succeeded(sent, answer, 1)?;
        // The data is the last field of the answer.
        let tail = &answer[answer.len() - plain.len().next_multiple_of(8)..];
        ensure!(tail.starts_with(&plain), "another plaintext");
        Ok(())
    })
}

struct Creating {
    prefix: String,
    number: u64,
    sent: Sent,
}

/// Creates with a fresh name each, which begins with `prefix`.
#[must_use]
pub fn creating(prefix: String) -> Box<dyn Script> {
    let sent = create(&[String::new()]);
    Box::new(Creating { prefix, number: 0, sent })
}

impl Script for Creating {
    fn request(&mut self) -> &[u8] {
        self.number += 1;
        self.sent = create(&[format!("{}-{}", self.prefix, self.number)]);
        &self.sent.bytes
    }

    fn answered(&mut self, answer: &[u8]) -> anyhow::Result<()> {
        succeeded(&self.sent, answer, 1).map(drop)
    }
}

/// What is sent to the reference, whose answers are known by their length.
#[must_use]
pub fn to_reference(sent: &Rc<Sent>, answer_bytes: usize) -> Box<dyn Script> {
    repeat(Rc::clone(sent), move |_, answer| {
        ensure!(answer.len() == answer_bytes, "{} bytes", answer.len());
        Ok(())
    })
}
