//! Encrypt, 4.29: data under a key of the client's service, with an IV that the server makes.

use cipher::mode;
use keys::policy::verb;
use keys::vault::{Vault, View};

use crate::context::Context;
use crate::enums::ResultReason;
use crate::failure::Failure;
use crate::payload::EncryptRequest;
use crate::scheme::{Scheme, Streaming};
use crate::tag::Tag;
use crate::ttlv::{ByteString, Writer};
use crate::version::ProtocolVersion;

/// How far an encryption came.
enum Progress {
    /// The fields behind Unique Identifier are written.
    Done,
    /// The key's reserved IVs are used up; nothing is written.
    NeedsIvs,
}

/// One encryption, as the request wants it.
struct Job<'a> {
    vault: &'a Vault,
    request: &'a EncryptRequest<'a>,
    data: &'a [u8],
}

pub(super) async fn run(context: &mut Context<'_>, request: EncryptRequest<'_>, out: &mut Writer<'_>) -> Result<(), Failure> {
    let named = context.object::<verb::Encrypt>(request.unique_identifier).await?;
    let streaming = Streaming { correlation_value: request.correlation_value, init: request.init_indicator, last: request.final_indicator };
    let data = streaming.whole(request.data)?;
    if request.iv_counter_nonce.is_some() {
        return Err(Failure::field("IV/Counter/Nonce: leave it out, a core makes each IV itself and returns it"));
    }
    let (vault, unit) = (context.vault, &*context.unit);
    let job = Job { vault, request: &request, data };
    let payload = out.open(Tag::RESPONSE_PAYLOAD);
    out.text(Tag::UNIQUE_IDENTIFIER, &named.text);
    let ready = |key: &[u8], view: &View| Ok(job.encrypt(key, view, None, out));
    if let Progress::NeedsIvs = vault.open(unit, named.authorized, ready).await?? {
        let iv = vault.gcm_iv(&named.header).await?;
        let again = context.grants.check::<verb::Encrypt>(&named.header)?;
        vault.open(unit, again, |key, view| Ok(job.encrypt(key, view, Some(iv), out))).await??;
    }
    out.close(payload);
    Ok(())
}

impl Job<'_> {
    fn encrypt(&self, key: &[u8], view: &View, iv: Option<[u8; 12]>, out: &mut Writer<'_>) -> Result<Progress, Failure> {
        match Scheme::of(self.request.cryptographic_parameters.as_ref(), &view.attributes)? {
            Scheme::Cbc => self.cbc(key, out),
            Scheme::Gcm => match iv.map_or_else(|| self.vault.ready_gcm_iv(view.header.id), |iv| Ok(Some(iv)))? {
                Some(iv) => self.gcm(key, iv, out),
                None => Ok(Progress::NeedsIvs),
            },
        }
    }

    fn cbc(&self, key: &[u8], out: &mut Writer<'_>) -> Result<Progress, Failure> {
        if self.request.additional_data.is_some() {
            return Err(Failure::field("Authenticated Encryption Additional Data: CBC authenticates nothing, use GCM"));
        }
        let iv = self.vault.cbc_iv()?;
        out.bytes_with(Tag::DATA, |out| mode::cbc_encrypt(key, &iv, self.data, out)).map_err(not_encrypted)?;
        out.bytes(Tag::IV_COUNTER_NONCE, ByteString(&iv));
        Ok(Progress::Done)
    }

    /// Before 1.4 there is no field for the tag: it is the end of the data.
    fn gcm(&self, key: &[u8], iv: [u8; 12], out: &mut Writer<'_>) -> Result<Progress, Failure> {
        let ByteString(additional) = self.request.additional_data.unwrap_or(ByteString(&[]));
        let has_tag_field = out.version() >= ProtocolVersion::V1_4;
        let seal = |out: &mut Vec<u8>| {
            let tag = mode::gcm_encrypt(key, &iv, additional, self.data, out)?;
            if !has_tag_field {
                out.extend_from_slice(&tag);
            }
            Ok(tag)
        };
        let tag = out.bytes_with(Tag::DATA, seal).map_err(not_encrypted)?;
        out.bytes(Tag::IV_COUNTER_NONCE, ByteString(&iv));
        if has_tag_field {
            out.bytes(Tag::AUTHENTICATED_ENCRYPTION_TAG, ByteString(&tag));
        }
        Ok(Progress::Done)
    }
}

fn not_encrypted(_: cipher::Error) -> Failure {
    Failure::invalid(ResultReason::CryptographicFailure, "the data cannot be encrypted")
}
