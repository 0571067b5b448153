//! Decrypt, 4.30: data that was encrypted under a key of the client's service.

use cipher::mode;
use keys::policy::verb;
use keys::vault::View;

use crate::context::Context;
use crate::failure::Failure;
use crate::payload::DecryptRequest;
use crate::scheme::{Scheme, Streaming};
use crate::tag::Tag;
use crate::ttlv::{ByteString, Writer};

pub(super) async fn run(context: &mut Context<'_>, request: DecryptRequest<'_>, out: &mut Writer<'_>) -> Result<(), Failure> {
    let named = context.object::<verb::Decrypt>(request.unique_identifier).await?;
    let streaming = Streaming { correlation_value: request.correlation_value, init: request.init_indicator, last: request.final_indicator };
    let data = streaming.whole(request.data)?;
    let ByteString(iv) = request.iv_counter_nonce.ok_or_else(|| Failure::missing("IV/Counter/Nonce is missing"))?;
    let payload = out.open(Tag::RESPONSE_PAYLOAD);
    out.text(Tag::UNIQUE_IDENTIFIER, &named.text);
    let decrypt = |key: &[u8], view: &View| {
        Ok(match Scheme::of(request.cryptographic_parameters.as_ref(), &view.attributes) {
            Ok(Scheme::Cbc) => cbc(&request, key, iv, data, out),
            Ok(Scheme::Gcm) => gcm(&request, key, iv, data, out),
            Err(failure) => Err(failure),
        })
    };
    context.vault.open(context.unit, named.authorized, decrypt).await??;
    out.close(payload);
    Ok(())
}

fn cbc(request: &DecryptRequest<'_>, key: &[u8], iv: &[u8], data: &[u8], out: &mut Writer<'_>) -> Result<(), Failure> {
    if request.additional_data.is_some() || request.authentication_tag.is_some() {
        return Err(Failure::field("Authenticated Encryption Tag and Additional Data: CBC authenticates nothing, use GCM"));
    }
    out.bytes_with(Tag::DATA, |out| mode::cbc_decrypt(key, iv, data, out)).map_err(|_| Failure::not_decrypted())
}

/// The tag is in its own field, which 1.4 has, or else the end of the data.
fn gcm(request: &DecryptRequest<'_>, key: &[u8], iv: &[u8], data: &[u8], out: &mut Writer<'_>) -> Result<(), Failure> {
    let ByteString(additional) = request.additional_data.unwrap_or(ByteString(&[]));
    let (data, tag) = match request.authentication_tag {
        Some(ByteString(tag)) => (data, tag),
        None => data.split_at_checked(data.len().wrapping_sub(mode::GCM_TAG_BYTES)).ok_or_else(Failure::not_decrypted)?,
    };
    out.bytes_with(Tag::DATA, |out| mode::gcm_decrypt(key, iv, additional, data, tag, out)).map_err(|_| Failure::not_decrypted())
}
