//! How Register and Import take in a key that comes wrapped: opened by the key that its Key Wrapping Data names, as 2.1.5 says.

use keys::attributes::Attributes;
use keys::policy::verb;

use crate::attribute::{Attribute, AttributeName, SetBy};
use crate::context::Context;
use crate::enums::{EncodingOption, ResultReason, WrappingMethod};
use crate::failure::Failure;
use crate::key_block::{KeyMaterial, KeyValue, KeyWrappingData, ManagedObject, PlainKeyValue};
use crate::schema::{Decode, Rules};
use crate::tag::Tag;
use crate::ttlv::{ByteString, Item, Value};
use crate::view::{Y_CAME_WRAPPED, kept};
use crate::wrapping::{key_wrap, parameters, wrapping_key};

/// What was made of an object that came.
pub(crate) struct Opened<R> {
    pub(crate) read: R,
    pub(crate) came: Came,
}

/// How an object came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// In the clear, inside TLS.
    Open,
    /// Wrapped by a key that its client could have in the clear.
    Wrapped,
    /// Wrapped by one that nobody can.
    Sheltered,
}

impl Came {
    /// Keeps what follows from it: what a Sensitive key has wrapped is Sensitive, whatever its client says.
    pub(crate) fn mark(self, attributes: &mut Attributes) {
        attributes.sensitive |= self == Self::Sheltered;
        if self != Self::Open {
            attributes.others.push(kept(Y_CAME_WRAPPED, Value::Boolean(true)));
        }
    }
}

/// Lends the Key Value of an object that came wrapped to `read`; of any other, nothing.
///
/// # Errors
/// Item Not Found, Illegal Operation and Permission Denied for the wrapping key; Cryptographic Failure if it does not open; Encoding Option Error;
/// what `read` returns.
pub(crate) async fn opened<R>(
    context: &mut Context<'_>,
    object: &ManagedObject<'_>,
    read: impl FnOnce(Option<&PlainKeyValue<'_>>) -> Result<R, Failure>,
) -> Result<Opened<R>, Failure> {
    let block = object.key_block();
    let Some((block, data)) = block.and_then(|block| Some((block, block.key_wrapping_data.as_ref()?))) else {
        return Ok(Opened { read: read(None)?, came: Came::Open });
    };
    let Some(KeyValue::Wrapped(wrapped)) = &block.key_value else {
        return Err(Failure::missing("Key Value: with Key Wrapping Data it is the wrapped bytes"));
    };
    let encoding = encoding(data)?;
    let information = data.encryption_key_information.as_ref();
    let information = information.ok_or_else(|| Failure::missing("Encryption Key Information is missing"))?;
    let header = wrapping_key(context, information.unique_identifier).await?;
    let view = context.vault.attributes(context.unit, context.grants.check::<verb::UnwrapWith>(&header)?).await?;
    let given = information.cryptographic_parameters.as_ref();
    // 2.1.5: those that came with the key; without any, the wrapping key's own.
    let how = match given.and_then(|given| given.block_cipher_mode) {
        Some(mode) => key_wrap(Some(mode))?,
        None => parameters(&view.attributes, given)?.1,
    };
    let rules = context.rules;
    let with = context.grants.check::<verb::UnwrapWith>(&header)?;
    let lend = |plain: &[u8]| read(Some(&key_value(plain, encoding, rules)?));
    let unwrapped = context.vault.unwrap(context.unit, with, how, wrapped.0, lend).await?;
    let came = if unwrapped.is_sheltered { Came::Sheltered } else { Came::Wrapped };
    Ok(Opened { read: unwrapped.read, came })
}

/// How the Key Value was encoded before it was wrapped by encryption alone: nothing else is opened.
fn encoding(data: &KeyWrappingData<'_>) -> Result<EncodingOption, Failure> {
    let has_mac = data.mac_signature_key_information.is_some() || data.mac_signature.is_some();
    if data.wrapping_method != WrappingMethod::Encrypt || has_mac {
        return Err(Failure::unsupported("Wrapping Method: keys are unwrapped by Encrypt, with Encryption Key Information alone"));
    }
    if data.iv_counter_nonce.is_some() {
        return Err(Failure::field("IV/Counter/Nonce: NISTKeyWrap and AESKeyWrapPadding have none"));
    }
    match data.encoding_option.unwrap_or(EncodingOption::TtlvEncoding) {
        EncodingOption::Extension(_) => {
            Err(Failure::invalid(ResultReason::EncodingOptionError, "Encoding Option: use No Encoding or TTLV Encoding"))
        }
        encoding => Ok(encoding),
    }
}

/// The Key Value that was wrapped. What is wrong with it is not said in its own words: it is a secret.
fn key_value(plain: &[u8], encoding: EncodingOption, rules: Rules) -> Result<PlainKeyValue<'_>, Failure> {
    if encoding == EncodingOption::NoEncoding {
        return Ok(PlainKeyValue { key_material: KeyMaterial::Bytes(ByteString(plain)), attributes: Vec::new() });
    }
    let item = Item::only(plain).ok().filter(|item| item.tag == Tag::KEY_VALUE);
    let value = item.and_then(|item| PlainKeyValue::decode(item, rules).ok());
    value.ok_or_else(|| {
        let message = "Encoding Option: what was wrapped is no Key Value in TTLV; name No Encoding if it is the bare key";
        Failure::invalid(ResultReason::EncodingOptionError, message)
    })
}

/// The attributes that came inside of the Key Value and that the request does not repeat. What only the server sets tells of another object, and is passed over.
pub(crate) fn enclosed<'a>(plain: Option<&PlainKeyValue<'a>>, said: &[Attribute<'_>]) -> Vec<Attribute<'a>> {
    let inside = plain.map_or(&[][..], |plain| &plain.attributes);
    let is_clients = |attribute: &&Attribute<'a>| match attribute.value.standard().map(AttributeName::row) {
        Some(row) => row.set_by == SetBy::Client,
        None => !attribute.value.name().starts_with("y-"),
    };
    inside.iter().filter(is_clients).filter(|attribute| said.iter().all(|said| said.value != attribute.value)).cloned().collect()
}
