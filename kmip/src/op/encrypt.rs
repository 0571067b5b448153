//! Encrypt, 4.29: data under a key of the client's service, whole or in parts, with an IV that the server makes.

use cipher::stream::STATE_BYTES;
use cipher::{mode, stream};
use keys::policy::{Principal, verb};
use keys::stream::{Kind, Progress, Turn};
use keys::vault::{Vault, View};
use secret::Key;

use crate::context::{Context, Named};
use crate::enums::ResultReason;
use crate::failure::Failure;
use crate::op::object_key;
use crate::part::{Indicators, Next, Part, not_under_way, only_first, state_after};
use crate::payload::EncryptRequest;
use crate::scheme::Scheme;
use crate::tag::Tag;
use crate::ttlv::{ByteString, Writer};
use crate::version::ProtocolVersion;

/// How far an encryption came.
enum Step {
    /// The fields behind Unique Identifier are written.
    Done,
    /// The same, and more parts follow.
    GoesOn(Turn, Progress),
    /// The key's reserved IVs are used up; nothing is written.
    NeedsIvs,
}

/// One encryption, or the first part of one, as the request wants it.
struct Job<'a> {
    vault: &'a Vault,
    principal: &'a Principal,
    request: &'a EncryptRequest<'a>,
    data: &'a [u8],
    is_whole: bool,
}

pub(super) async fn run(context: &mut Context<'_>, request: EncryptRequest<'_>, out: &mut Writer<'_>) -> Result<(), Failure> {
    if object_key::is_asked(request.cryptographic_parameters.as_ref()) {
        return Box::pin(object_key::wrap(context, request, out)).await;
    }
    let named = context.object::<verb::Encrypt>(request.unique_identifier).await?;
    let indicators =
        Indicators { correlation_value: request.correlation_value, init: request.init_indicator, last: request.final_indicator };
    let part = indicators.part(request.data)?;
    if request.iv_counter_nonce.is_some() {
        return Err(Failure::field("IV/Counter/Nonce: leave it out, a core makes each IV itself and returns it"));
    }
    let payload = out.open(Tag::RESPONSE_PAYLOAD);
    out.text(Tag::UNIQUE_IDENTIFIER, &named.text);
    match part {
        Part::Whole(data) | Part::First(data) => {
            let is_whole = matches!(part, Part::Whole(_));
            let job = Job { vault: context.vault, principal: context.principal, request: &request, data, is_whole };
            begin(context, named, &job, out).await?;
        }
        Part::Next(next) => go_on(context, named, &request, next, out).await?,
    }
    out.close(payload);
    Ok(())
}

async fn begin(context: &mut Context<'_>, named: Named<'_, verb::Encrypt>, job: &Job<'_>, out: &mut Writer<'_>) -> Result<(), Failure> {
    let vault = context.vault;
    let ready = |key: &[u8], view: &View| Ok(job.encrypt(key, view, None, out));
    let mut step = vault.open(context.unit, named.authorized, ready).await??;
    if let Step::NeedsIvs = step {
        let iv = vault.gcm_iv(&named.header).await?;
        let again = context.grants.check::<verb::Encrypt>(&named.header)?;
        step = vault.open(context.unit, again, |key, view| Ok(job.encrypt(key, view, Some(iv), out))).await??;
    }
    if let Step::GoesOn(turn, progress) = step {
        vault.keep_stream(context.unit, turn, progress)?;
    }
    Ok(())
}

impl Job<'_> {
    fn encrypt(&self, key: &[u8], view: &View, iv: Option<[u8; 12]>, out: &mut Writer<'_>) -> Result<Step, Failure> {
        match Scheme::of(self.request.cryptographic_parameters.as_ref(), &view.attributes)? {
            Scheme::Cbc if self.request.additional_data.is_some() => {
                Err(Failure::field("Authenticated Encryption Additional Data: CBC authenticates nothing, use GCM"))
            }
            Scheme::Cbc if self.is_whole => self.cbc(key, out),
            Scheme::Cbc => self.first_of_cbc(key, view, out),
            Scheme::Gcm => match iv.map_or_else(|| self.vault.ready_gcm_iv(view.header.id), |iv| Ok(Some(iv)))? {
                Some(iv) if self.is_whole => self.gcm(key, iv, out),
                Some(iv) => self.first_of_gcm(key, view, iv, out),
                None => Ok(Step::NeedsIvs),
            },
        }
    }

    fn cbc(&self, key: &[u8], out: &mut Writer<'_>) -> Result<Step, Failure> {
        let iv = self.vault.cbc_iv()?;
        out.bytes_with(Tag::DATA, |out| mode::cbc_encrypt(key, &iv, self.data, out)).map_err(not_encrypted)?;
        out.bytes(Tag::IV_COUNTER_NONCE, ByteString(&iv));
        Ok(Step::Done)
    }

    fn gcm(&self, key: &[u8], iv: [u8; 12], out: &mut Writer<'_>) -> Result<Step, Failure> {
        let tag = data_and_tag(out, |out| mode::gcm_encrypt(key, &iv, self.additional(), self.data, out))?;
        out.bytes(Tag::IV_COUNTER_NONCE, ByteString(&iv));
        tag_field(out, &tag);
        Ok(Step::Done)
    }

    /// The answer tells the IV, so the first block has to be there already: see [`stream`] on what could be chosen by it.
    fn first_of_cbc(&self, key: &[u8], view: &View, out: &mut Writer<'_>) -> Result<Step, Failure> {
        if self.data.len() < mode::BLOCK_BYTES {
            return Err(Failure::field("Data: the first of several parts has 16 bytes or more where the mode is CBC"));
        }
        let turn = self.vault.begin_stream(self.principal, view, Kind::EncryptCbc)?;
        let iv = self.vault.cbc_iv()?;
        let state = Key::try_init_with(|state| stream::cbc_begin(&iv, state).map_err(not_encrypted))?;
        let state = middle(turn.kind(), key, &state, self.data, out)?;
        Ok(self.goes_on(turn, Progress::Running(state), &iv, out))
    }

    /// One IV for all parts: the same as for one request.
    fn first_of_gcm(&self, key: &[u8], view: &View, iv: [u8; 12], out: &mut Writer<'_>) -> Result<Step, Failure> {
        let turn = self.vault.begin_stream(self.principal, view, Kind::EncryptGcm)?;
        let state = Key::try_init_with(|state| stream::gcm_begin(key, &iv, self.additional(), state).map_err(not_encrypted))?;
        let state = middle(turn.kind(), key, &state, self.data, out)?;
        Ok(self.goes_on(turn, Progress::Running(state), &iv, out))
    }

    fn goes_on(&self, turn: Turn, progress: Progress, iv: &[u8], out: &mut Writer<'_>) -> Step {
        out.bytes(Tag::IV_COUNTER_NONCE, ByteString(iv));
        out.bytes(Tag::CORRELATION_VALUE, ByteString(turn.value()));
        Step::GoesOn(turn, progress)
    }

    fn additional(&self) -> &[u8] {
        self.request.additional_data.map_or(&[], |data| data.0)
    }
}

/// A part that is not the first.
async fn go_on(
    context: &mut Context<'_>,
    named: Named<'_, verb::Encrypt>,
    request: &EncryptRequest<'_>,
    next: Next<'_>,
    out: &mut Writer<'_>,
) -> Result<(), Failure> {
    if request.additional_data.is_some() {
        return Err(only_first("Authenticated Encryption Additional Data"));
    }
    let asked = request.cryptographic_parameters.as_ref().map(Scheme::asked).transpose()?;
    let fits = |kind| match kind {
        Kind::EncryptCbc => asked != Some(Scheme::Gcm),
        Kind::EncryptGcm => asked != Some(Scheme::Cbc),
        Kind::DecryptCbc | Kind::DecryptGcm => false,
    };
    let vault = context.vault;
    let turn = vault.next_turn(context.unit, context.principal, named.header.id, next.value, fits)?;
    let Some((turn, Progress::Running(before))) = turn else { return Err(not_under_way()) };
    let more = |key: &[u8], view: &View| {
        Ok(if !turn.holds_for(view) {
            Err(not_under_way())
        } else if next.is_last {
            last(turn.kind(), key, &before, next.data, out).map(|()| None)
        } else {
            middle(turn.kind(), key, &before, next.data, out).map(Some)
        })
    };
    if let Some(after) = vault.open(context.unit, named.authorized, more).await?? {
        out.bytes(Tag::CORRELATION_VALUE, ByteString(turn.value()));
        vault.keep_stream(context.unit, turn, Progress::Running(after))?;
    }
    Ok(())
}

fn middle(kind: Kind, key: &[u8], before: &Key<STATE_BYTES>, data: &[u8], out: &mut Writer<'_>) -> Result<Key<STATE_BYTES>, Failure> {
    let encrypt = if kind == Kind::EncryptGcm { stream::gcm_encrypt_part } else { stream::cbc_encrypt_part };
    state_after(before, |before, after| out.bytes_with(Tag::DATA, |out| encrypt(key, before, data, after, out)).map_err(not_encrypted))
}

fn last(kind: Kind, key: &[u8], before: &Key<STATE_BYTES>, data: &[u8], out: &mut Writer<'_>) -> Result<(), Failure> {
    before.expose(|before| {
        if kind == Kind::EncryptGcm {
            let tag = data_and_tag(out, |out| stream::gcm_encrypt_last(key, before, data, out))?;
            tag_field(out, &tag);
            return Ok(());
        }
        out.bytes_with(Tag::DATA, |out| stream::cbc_encrypt_last(key, before, data, out)).map_err(not_encrypted)
    })
}

/// Writes what `seal` makes; before 1.4 there is no field for the tag: it is the end of the data.
fn data_and_tag(
    out: &mut Writer<'_>,
    seal: impl FnOnce(&mut Vec<u8>) -> Result<[u8; mode::GCM_TAG_BYTES], cipher::Error>,
) -> Result<[u8; mode::GCM_TAG_BYTES], Failure> {
    let has_tag_field = has_tag_field(out);
    let seal = |out: &mut Vec<u8>| {
        let tag = seal(out)?;
        if !has_tag_field {
            out.extend_from_slice(&tag);
        }
        Ok(tag)
    };
    out.bytes_with(Tag::DATA, seal).map_err(not_encrypted)
}

fn tag_field(out: &mut Writer<'_>, tag: &[u8]) {
    if has_tag_field(out) {
        out.bytes(Tag::AUTHENTICATED_ENCRYPTION_TAG, ByteString(tag));
    }
}

fn has_tag_field(out: &Writer<'_>) -> bool {
    out.version() >= ProtocolVersion::V1_4
}

fn not_encrypted(error: cipher::Error) -> Failure {
    match error {
        cipher::Error::WrongLength { .. } => Failure::field(format!("Data: {error}")),
        _ => Failure::invalid(ResultReason::CryptographicFailure, "the data cannot be encrypted"),
    }
}
