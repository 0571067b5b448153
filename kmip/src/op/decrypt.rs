//! Decrypt, 4.30: data that was encrypted under a key of the client's service, whole or in parts.
//!
//! In parts, CBC holds its last block back, and GCM everything: the plaintext is the answer to the last part, if the tag verifies (C4).

use cipher::stream::STATE_BYTES;
use cipher::{mode, stream};
use keys::policy::{Principal, verb};
use keys::stream::{Collected, Kind, Progress, Turn};
use keys::vault::{Vault, View};
use secret::Key;

use crate::context::{Context, Named};
use crate::failure::Failure;
use crate::op::object_key;
use crate::part::{Indicators, Next, Part, not_under_way, only_first, state_after};
use crate::payload::DecryptRequest;
use crate::scheme::Scheme;
use crate::tag::Tag;
use crate::ttlv::{ByteString, Writer};

pub(super) async fn run(context: &mut Context<'_>, request: DecryptRequest<'_>, out: &mut Writer<'_>) -> Result<(), Failure> {
    if object_key::is_asked(request.cryptographic_parameters.as_ref()) {
        return Box::pin(object_key::unwrap(context, request, out)).await;
    }
    let named = context.object::<verb::Decrypt>(request.unique_identifier).await?;
    let indicators =
        Indicators { correlation_value: request.correlation_value, init: request.init_indicator, last: request.final_indicator };
    let part = indicators.part(request.data)?;
    let payload = out.open(Tag::RESPONSE_PAYLOAD);
    out.text(Tag::UNIQUE_IDENTIFIER, &named.text);
    match part {
        Part::Whole(data) => whole(context, named, &request, data, out).await?,
        Part::First(data) => first(context, named, &request, data, out).await?,
        Part::Next(next) => go_on(context, named, &request, next, out).await?,
    }
    out.close(payload);
    Ok(())
}

async fn whole(
    context: &Context<'_>,
    named: Named<'_, verb::Decrypt>,
    request: &DecryptRequest<'_>,
    data: &[u8],
    out: &mut Writer<'_>,
) -> Result<(), Failure> {
    let iv = iv(request)?;
    let decrypt = |key: &[u8], view: &View| {
        Ok(match scheme(request, view) {
            Ok(Scheme::Cbc) => out.bytes_with(Tag::DATA, |out| mode::cbc_decrypt(key, iv, data, out)).map_err(not_decrypted),
            Ok(Scheme::Gcm) => gcm(key, Gcm { iv, additional: additional(request), tag: tag(request), data }, out),
            Err(failure) => Err(failure),
        })
    };
    context.vault.open(context.unit, named.authorized, decrypt).await?
}

/// The first of several parts.
async fn first(
    context: &mut Context<'_>,
    named: Named<'_, verb::Decrypt>,
    request: &DecryptRequest<'_>,
    data: &[u8],
    out: &mut Writer<'_>,
) -> Result<(), Failure> {
    let (vault, principal, iv) = (context.vault, context.principal, iv(request)?);
    let begin = |key: &[u8], view: &View| {
        Ok(match scheme(request, view) {
            Ok(Scheme::Cbc) => first_of_cbc(vault, principal, (key, view), iv, data, out),
            Ok(Scheme::Gcm) => first_of_gcm(vault, principal, view, request, data, out),
            Err(failure) => Err(failure),
        })
    };
    let (turn, progress) = vault.open(context.unit, named.authorized, begin).await??;
    out.bytes(Tag::CORRELATION_VALUE, ByteString(turn.value()));
    Ok(vault.keep_stream(context.unit, turn, progress)?)
}

fn first_of_cbc(
    vault: &Vault,
    principal: &Principal,
    (key, view): (&[u8], &View),
    iv: &[u8],
    data: &[u8],
    out: &mut Writer<'_>,
) -> Result<(Turn, Progress), Failure> {
    let turn = vault.begin_stream(principal, view, Kind::DecryptCbc)?;
    let state = Key::try_init_with(|state| stream::cbc_begin(iv, state).map_err(not_decrypted))?;
    Ok((turn, Progress::Running(middle_of_cbc(key, &state, data, out)?)))
}

fn first_of_gcm(
    vault: &Vault,
    principal: &Principal,
    view: &View,
    request: &DecryptRequest<'_>,
    data: &[u8],
    out: &mut Writer<'_>,
) -> Result<(Turn, Progress), Failure> {
    let (iv, tag) = (iv(request)?, tag(request));
    // They are kept until the last part, so what can never be right is not taken in.
    if iv.len() != mode::GCM_IV_BYTES || tag.is_some_and(|tag| tag.len() != mode::GCM_TAG_BYTES) {
        return Err(Failure::not_decrypted());
    }
    let turn = vault.begin_stream(principal, view, Kind::DecryptGcm)?;
    let additional = additional(request).to_vec();
    let mut collected = Collected { iv: iv.to_vec(), additional, tag: tag.map(<[u8]>::to_vec), text: vec![] };
    collected.add(data)?;
    nothing_yet(out);
    Ok((turn, Progress::Collected(collected)))
}

/// A part that is not the first.
async fn go_on(
    context: &mut Context<'_>,
    named: Named<'_, verb::Decrypt>,
    request: &DecryptRequest<'_>,
    next: Next<'_>,
    out: &mut Writer<'_>,
) -> Result<(), Failure> {
    let asked = check_next(request, next)?;
    let fits = |kind| match kind {
        Kind::DecryptCbc => asked != Some(Scheme::Gcm) && request.authentication_tag.is_none(),
        Kind::DecryptGcm => asked != Some(Scheme::Cbc),
        Kind::EncryptCbc | Kind::EncryptGcm => false,
    };
    let vault = context.vault;
    let turn = vault.next_turn(context.unit, context.principal, named.header.id, next.value, fits)?;
    let Some((turn, progress)) = turn else { return Err(not_under_way()) };
    let more = |key: &[u8], view: &View| {
        Ok(match progress {
            _ if !turn.holds_for(view) => Err(not_under_way()),
            Progress::Running(before) => more_of_cbc(key, &before, next, out),
            Progress::Collected(collected) => more_of_gcm(key, collected, request, next, out),
        })
    };
    if let Some(after) = vault.open(context.unit, named.authorized, more).await?? {
        out.bytes(Tag::CORRELATION_VALUE, ByteString(turn.value()));
        vault.keep_stream(context.unit, turn, after)?;
    }
    Ok(())
}

/// What is wrong with a later part whatever it belongs to; and the scheme it names, if it does.
fn check_next(request: &DecryptRequest<'_>, next: Next<'_>) -> Result<Option<Scheme>, Failure> {
    if request.iv_counter_nonce.is_some() {
        return Err(only_first("IV/Counter/Nonce"));
    }
    if request.additional_data.is_some() {
        return Err(only_first("Authenticated Encryption Additional Data"));
    }
    if request.authentication_tag.is_some() && !next.is_last {
        return Err(Failure::field("Authenticated Encryption Tag: send it with the first or with the last part"));
    }
    request.cryptographic_parameters.as_ref().map(Scheme::asked).transpose()
}

fn more_of_cbc(key: &[u8], before: &Key<STATE_BYTES>, next: Next<'_>, out: &mut Writer<'_>) -> Result<Option<Progress>, Failure> {
    if !next.is_last {
        return Ok(Some(Progress::Running(middle_of_cbc(key, before, next.data, out)?)));
    }
    let last = |out: &mut Vec<u8>| before.expose(|before| stream::cbc_decrypt_last(key, before, next.data, out));
    out.bytes_with(Tag::DATA, last).map_err(not_decrypted)?;
    Ok(None)
}

fn middle_of_cbc(key: &[u8], before: &Key<STATE_BYTES>, data: &[u8], out: &mut Writer<'_>) -> Result<Key<STATE_BYTES>, Failure> {
    state_after(before, |before, after| {
        out.bytes_with(Tag::DATA, |out| stream::cbc_decrypt_part(key, before, data, after, out)).map_err(not_decrypted)
    })
}

fn more_of_gcm(
    key: &[u8],
    mut collected: Collected,
    request: &DecryptRequest<'_>,
    next: Next<'_>,
    out: &mut Writer<'_>,
) -> Result<Option<Progress>, Failure> {
    collected.add(next.data)?;
    if !next.is_last {
        nothing_yet(out);
        return Ok(Some(Progress::Collected(collected)));
    }
    let Collected { iv, additional, tag: early, text } = &collected;
    let tag = match (early.as_deref(), tag(request)) {
        (Some(_), Some(_)) => return Err(Failure::field("Authenticated Encryption Tag: it came with the first part already")),
        (early, late) => early.or(late),
    };
    gcm(key, Gcm { iv, additional, tag, data: text }, out).map(|()| None)
}

/// Data that is answered while all of it is held back.
fn nothing_yet(out: &mut Writer<'_>) {
    out.bytes(Tag::DATA, ByteString(&[]));
}

/// Everything that the tag stands for.
struct Gcm<'a> {
    iv: &'a [u8],
    additional: &'a [u8],
    /// In its own field, which 1.4 has, or else the end of the data.
    tag: Option<&'a [u8]>,
    data: &'a [u8],
}

fn gcm(key: &[u8], given: Gcm<'_>, out: &mut Writer<'_>) -> Result<(), Failure> {
    let Gcm { iv, additional, tag, data } = given;
    let (data, tag) = match tag {
        Some(tag) => (data, tag),
        None => data.split_at_checked(data.len().wrapping_sub(mode::GCM_TAG_BYTES)).ok_or_else(Failure::not_decrypted)?,
    };
    out.bytes_with(Tag::DATA, |out| mode::gcm_decrypt(key, iv, additional, data, tag, out)).map_err(not_decrypted)
}

/// How to decrypt, unless the request has fields that this way has no use for.
fn scheme(request: &DecryptRequest<'_>, view: &View) -> Result<Scheme, Failure> {
    let scheme = Scheme::of(request.cryptographic_parameters.as_ref(), &view.attributes)?;
    if scheme == Scheme::Cbc && (request.additional_data.is_some() || request.authentication_tag.is_some()) {
        return Err(Failure::field("Authenticated Encryption Tag and Additional Data: CBC authenticates nothing, use GCM"));
    }
    Ok(scheme)
}

fn iv<'a>(request: &DecryptRequest<'a>) -> Result<&'a [u8], Failure> {
    request.iv_counter_nonce.map(|iv| iv.0).ok_or_else(|| Failure::missing("IV/Counter/Nonce is missing"))
}

fn additional<'a>(request: &DecryptRequest<'a>) -> &'a [u8] {
    request.additional_data.map_or(&[], |data| data.0)
}

fn tag<'a>(request: &DecryptRequest<'a>) -> Option<&'a [u8]> {
    request.authentication_tag.map(|tag| tag.0)
}

fn not_decrypted(_: cipher::Error) -> Failure {
    Failure::not_decrypted()
}
