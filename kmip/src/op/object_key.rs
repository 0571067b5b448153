//! Encrypt and Decrypt with the vendor's Block Cipher Mode 0x80000001: an edge's object key is wrapped under an L3, or opened. KMIP 1.4 only.
//!
//! Authenticated Encryption Additional Data is the object key's identifier, the 16 bytes of a UUID; Data is the key of 32 bytes, or the blob that an
//! Encrypt made of it. Core keeps nothing of either.

use keys::edges::EdgeGroup;
use keys::envelope::ObjectKeyId;
use keys::id::{Layer, RowId};
use keys::policy::verb::{UnwrapObjectKey, UsesMaterial, WrapObjectKey};
use keys::policy::{Action, Authorized};
use keys::record::Subject;

use crate::context::Context;
use crate::enums::{BlockCipherMode, ResultReason};
use crate::failure::Failure;
use crate::object::CryptographicParameters;
use crate::payload::{DecryptRequest, EncryptRequest};
use crate::tag::Tag;
use crate::ttlv::{ByteString, Writer};

/// The mode under which an L3 wraps object keys.
const OBJECT_KEY_WRAP: BlockCipherMode = BlockCipherMode::Extension(0x8000_0001);

/// Do the parameters ask for it?
pub(super) fn is_asked(parameters: Option<&CryptographicParameters<'_>>) -> bool {
    parameters.is_some_and(|parameters| parameters.block_cipher_mode == Some(OBJECT_KEY_WRAP))
}

pub(super) async fn wrap(context: &mut Context<'_>, request: EncryptRequest<'_>, out: &mut Writer<'_>) -> Result<(), Failure> {
    *context.action = Action::WrapObjectKey;
    let parts = [request.correlation_value.is_some(), request.init_indicator.is_some(), request.final_indicator.is_some()];
    let call = Call::<WrapObjectKey>::read(context, request.unique_identifier, request.cryptographic_parameters.as_ref()).await?;
    must_be_plain(request.iv_counter_nonce, &parts)?;
    let object_key = object_key(request.additional_data)?;
    let data = request.data.ok_or_else(|| Failure::missing("Data: the object key"))?.0;
    let blob = context.vault.wrap_object_key(context.unit, (&call.group, call.authorized), object_key, data).await.map_err(told)?;
    answer(call.text, out, |out| out.bytes(Tag::DATA, ByteString(&blob)));
    Ok(())
}

pub(super) async fn unwrap(context: &mut Context<'_>, request: DecryptRequest<'_>, out: &mut Writer<'_>) -> Result<(), Failure> {
    *context.action = Action::UnwrapObjectKey;
    let parts = [
        request.correlation_value.is_some(),
        request.init_indicator.is_some(),
        request.final_indicator.is_some(),
        request.authentication_tag.is_some(),
    ];
    let call = Call::<UnwrapObjectKey>::read(context, request.unique_identifier, request.cryptographic_parameters.as_ref()).await?;
    must_be_plain(request.iv_counter_nonce, &parts)?;
    let object_key = object_key(request.additional_data)?;
    let data = request.data.ok_or_else(|| Failure::missing("Data: the wrapped object key"))?.0;
    let opened = context.vault.unwrap_object_key(context.unit, (&call.group, call.authorized), object_key, data).await.map_err(told)?;
    opened.expose(|opened| answer(call.text, out, |out| out.bytes(Tag::DATA, ByteString(opened))));
    Ok(())
}

/// An edge's call, allowed.
struct Call<'r, V: UsesMaterial> {
    group: EdgeGroup,
    authorized: Authorized<V>,
    text: &'r str,
}

impl<'r, V: UsesMaterial> Call<'r, V> {
    /// Allows it before anything else of the request is looked at, so that whoever is no edge learns of its role alone.
    async fn read(
        context: &mut Context<'_>,
        id: Option<&'r str>,
        parameters: Option<&CryptographicParameters<'_>>,
    ) -> Result<Self, Failure> {
        let text = id.ok_or_else(|| Failure::missing("Unique Identifier: the L3 to wrap under"))?;
        let id = text.parse::<RowId>().ok().filter(|id| id.layer == Layer::L3).ok_or_else(Failure::not_found)?;
        *context.subject = Subject::named(id);
        let (group, header, authorized) = context.vault.authorize_edge::<V>(context.unit, &context.grants, id).await.map_err(told)?;
        context.is_about(&header);
        let only_mode = CryptographicParameters { block_cipher_mode: Some(OBJECT_KEY_WRAP), ..CryptographicParameters::default() };
        if parameters != Some(&only_mode) {
            return Err(Failure::unsupported("Cryptographic Parameters: with this Block Cipher Mode nothing else is offered"));
        }
        Ok(Self { group, authorized, text })
    }
}

/// What an edge is told: of an L3 that is damaged, that it does not open, and not that it should come again later. So what lies under it is passed over by
/// the edge's walk, and keeps nothing else of its batch back.
fn told(error: keys::Error) -> Failure {
    let is_damaged = matches!(error, keys::Error::Corrupt { .. });
    let failure = Failure::from(error);
    if is_damaged { Failure { reason: ResultReason::CryptographicFailure, ..failure } } else { failure }
}

fn must_be_plain(iv: Option<ByteString<'_>>, parts: &[bool]) -> Result<(), Failure> {
    if iv.is_some() || parts.contains(&true) {
        return Err(Failure::field("with this Block Cipher Mode a request has Data and Authenticated Encryption Additional Data alone"));
    }
    Ok(())
}

fn object_key(additional: Option<ByteString<'_>>) -> Result<ObjectKeyId, Failure> {
    let additional = additional.and_then(|additional| additional.0.try_into().ok());
    additional
        .map(ObjectKeyId)
        .ok_or_else(|| Failure::field("Authenticated Encryption Additional Data: the 16 bytes of the object key's identifier"))
}

fn answer(text: &str, out: &mut Writer<'_>, data: impl FnOnce(&mut Writer<'_>)) {
    let payload = out.open(Tag::RESPONSE_PAYLOAD);
    out.text(Tag::UNIQUE_IDENTIFIER, text);
    data(out);
    out.close(payload);
}
