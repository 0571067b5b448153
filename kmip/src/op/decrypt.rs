//! Decrypt, 4.30: data that was encrypted under a key of the client's service, whole or in parts.
//!
//! In parts, CBC and ECB hold their last block back where it is padded, and GCM everything: the plaintext is the answer to the last part, if the tag verifies (C4).

use cipher::Padding;
use cipher::mode::{self, GCM_IV_BYTES_MAX, Mode};
use cipher::stream::{self, STATE_BYTES};
use keys::policy::{NodeRole, Principal, verb};
use keys::stream::{Collected, Kind, Progress, Turn};
use keys::vault::{Vault, View};
use secret::Key;

use crate::context::{Context, Named};
use crate::failure::Failure;
use crate::op::{object_key, rsa};
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
    if rsa::is_asked(&named.header) {
        return Box::pin(rsa::decrypt(context, named, request, out)).await;
    }
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
    let decrypt = |key: &[u8], view: &View| {
        let whole = |scheme| match scheme {
            Scheme::Plain(mode) => {
                let iv = iv(request, mode.iv_bytes() > 0)?;
                let decrypt = |out: &mut Vec<u8>| match mode {
                    // The library does all of it.
                    Mode::Cbc(Padding::Pkcs5) => mode::cbc_decrypt(key, iv, data, out),
                    mode => mode::decrypt(mode, key, iv, data, out),
                };
                out.bytes_with(Tag::DATA, decrypt).map_err(not_decrypted)
            }
            Scheme::Gcm { tag_bytes } => {
                let given = Gcm { iv: iv(request, true)?, additional: additional(request), tag: tag(request), data, tag_bytes };
                gcm(key, given, out)
            }
        };
        Ok(scheme(request, view, context.vault.node()).and_then(whole))
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
    let (vault, principal) = (context.vault, context.principal);
    let begin = |key: &[u8], view: &View| {
        Ok(scheme(request, view, vault.node()).and_then(|scheme| match scheme {
            Scheme::Plain(mode) => first_of_plain(vault, principal, (key, view), mode, iv(request, mode.iv_bytes() > 0)?, data, out),
            Scheme::Gcm { tag_bytes } => first_of_gcm(vault, principal, view, request, tag_bytes, data, out),
        }))
    };
    let (turn, progress) = vault.open(context.unit, named.authorized, begin).await??;
    out.bytes(Tag::CORRELATION_VALUE, ByteString(turn.value()));
    Ok(vault.keep_stream(context.unit, turn, progress)?)
}

fn first_of_plain(
    vault: &Vault,
    principal: &Principal,
    (key, view): (&[u8], &View),
    mode: Mode,
    iv: &[u8],
    data: &[u8],
    out: &mut Writer<'_>,
) -> Result<(Turn, Progress), Failure> {
    let turn = vault.begin_stream(principal, view, Kind::Decrypt(mode))?;
    let state = Key::try_init_with(|state| stream::begin(mode, iv, state).map_err(not_decrypted))?;
    Ok((turn, Progress::Running(middle_of_plain(mode, key, &state, data, out)?)))
}

fn first_of_gcm(
    vault: &Vault,
    principal: &Principal,
    view: &View,
    request: &DecryptRequest<'_>,
    tag_bytes: usize,
    data: &[u8],
    out: &mut Writer<'_>,
) -> Result<(Turn, Progress), Failure> {
    let (iv, tag) = (iv(request, true)?, tag(request));
    // They are kept until the last part, so what can never be right is not taken in.
    if !is_gcm_iv(iv, vault.node()) || tag.is_some_and(|tag| tag.len() != tag_bytes) {
        return Err(Failure::not_decrypted());
    }
    let turn = vault.begin_stream(principal, view, Kind::DecryptGcm { tag_bytes })?;
    let additional = additional(request).to_vec();
    let mut collected = Collected { iv: iv.to_vec(), additional, tag: tag.map(<[u8]>::to_vec), text: vec![] };
    collected.add(data)?;
    nothing_yet(out);
    Ok((turn, Progress::Collected(collected)))
}

/// A core makes all IVs itself, and they have one length.
fn is_gcm_iv(iv: &[u8], node: NodeRole) -> bool {
    match node {
        NodeRole::Core => iv.len() == mode::GCM_IV_BYTES,
        NodeRole::Edge => (1..=GCM_IV_BYTES_MAX).contains(&iv.len()),
    }
}

/// A part that is not the first.
async fn go_on(
    context: &mut Context<'_>,
    named: Named<'_, verb::Decrypt>,
    request: &DecryptRequest<'_>,
    next: Next<'_>,
    out: &mut Writer<'_>,
) -> Result<(), Failure> {
    let asked = check_next(request, next, context.vault.node())?;
    let fits = |kind| match kind {
        Kind::Decrypt(mode) => asked.is_none_or(|asked| asked == Scheme::Plain(mode)) && request.authentication_tag.is_none(),
        Kind::DecryptGcm { tag_bytes } => asked.is_none_or(|asked| asked == Scheme::Gcm { tag_bytes }),
        Kind::Encrypt(_)
        | Kind::EncryptGcm { .. }
        | Kind::Mac(_)
        | Kind::MacVerify(_)
        | Kind::Sign(_)
        | Kind::SignatureVerify(_)
        | Kind::Hash(_) => false,
    };
    let vault = context.vault;
    let turn = vault.next_turn(context.unit, context.principal, named.header.id, next.value, fits)?;
    let Some((turn, progress)) = turn else { return Err(not_under_way()) };
    let more = |key: &[u8], view: &View| {
        Ok(match (progress, turn.kind()) {
            _ if !turn.holds_for(view) => Err(not_under_way()),
            (Progress::Running(before), Kind::Decrypt(mode)) => more_of_plain(mode, key, &before, next, out),
            (Progress::Collected(collected), Kind::DecryptGcm { tag_bytes }) => more_of_gcm(key, collected, tag_bytes, request, next, out),
            _ => Err(not_under_way()),
        })
    };
    if let Some(after) = vault.open(context.unit, named.authorized, more).await?? {
        out.bytes(Tag::CORRELATION_VALUE, ByteString(turn.value()));
        vault.keep_stream(context.unit, turn, after)?;
    }
    Ok(())
}

/// What is wrong with a later part whatever it belongs to; and the scheme it names, if it does.
fn check_next(request: &DecryptRequest<'_>, next: Next<'_>, node: NodeRole) -> Result<Option<Scheme>, Failure> {
    if request.iv_counter_nonce.is_some() {
        return Err(only_first("IV/Counter/Nonce"));
    }
    if request.additional_data.is_some() {
        return Err(only_first("Authenticated Encryption Additional Data"));
    }
    if request.authentication_tag.is_some() && !next.is_last {
        return Err(Failure::field("Authenticated Encryption Tag: send it with the first or with the last part"));
    }
    request.cryptographic_parameters.as_ref().map(|asked| Scheme::asked(asked, node)).transpose()
}

fn more_of_plain(
    mode: Mode,
    key: &[u8],
    before: &Key<STATE_BYTES>,
    next: Next<'_>,
    out: &mut Writer<'_>,
) -> Result<Option<Progress>, Failure> {
    if !next.is_last {
        return Ok(Some(Progress::Running(middle_of_plain(mode, key, before, next.data, out)?)));
    }
    let last = |out: &mut Vec<u8>| before.expose(|before| stream::decrypt_last(mode, key, before, next.data, out));
    out.bytes_with(Tag::DATA, last).map_err(not_decrypted)?;
    Ok(None)
}

fn middle_of_plain(
    mode: Mode,
    key: &[u8],
    before: &Key<STATE_BYTES>,
    data: &[u8],
    out: &mut Writer<'_>,
) -> Result<Key<STATE_BYTES>, Failure> {
    state_after(before, |before, after| {
        out.bytes_with(Tag::DATA, |out| stream::decrypt_part(mode, key, before, data, after, out)).map_err(not_decrypted)
    })
}

fn more_of_gcm(
    key: &[u8],
    mut collected: Collected,
    tag_bytes: usize,
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
    gcm(key, Gcm { iv, additional, tag, data: text, tag_bytes }, out).map(|()| None)
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
    /// What the parameters say; a shorter one is the front of a longer one, so the length is not the sender's to choose.
    tag_bytes: usize,
}

fn gcm(key: &[u8], given: Gcm<'_>, out: &mut Writer<'_>) -> Result<(), Failure> {
    let Gcm { iv, additional, tag, data, tag_bytes } = given;
    let (data, tag) = match tag {
        Some(tag) => (data, tag),
        None => data.split_at_checked(data.len().wrapping_sub(tag_bytes)).ok_or_else(Failure::not_decrypted)?,
    };
    if tag.len() != tag_bytes {
        return Err(Failure::not_decrypted());
    }
    out.bytes_with(Tag::DATA, |out| mode::gcm_decrypt_with(key, iv, additional, data, tag, out)).map_err(not_decrypted)
}

/// How to decrypt, unless the request has fields that this way has no use for.
fn scheme(request: &DecryptRequest<'_>, view: &View, node: NodeRole) -> Result<Scheme, Failure> {
    let scheme = Scheme::of(request.cryptographic_parameters.as_ref(), view, node)?;
    if matches!(scheme, Scheme::Plain(_)) && (request.additional_data.is_some() || request.authentication_tag.is_some()) {
        return Err(Failure::field("Authenticated Encryption Tag and Additional Data: this mode authenticates nothing, use GCM"));
    }
    if node == NodeRole::Core && scheme == Scheme::GCM && request.iv_counter_nonce.is_some_and(|iv| !is_gcm_iv(iv.0, node)) {
        return Err(Failure::not_decrypted());
    }
    Ok(scheme)
}

/// The IV of a mode that has one.
fn iv<'a>(request: &DecryptRequest<'a>, is_wanted: bool) -> Result<&'a [u8], Failure> {
    match request.iv_counter_nonce {
        Some(_) if !is_wanted => Err(Failure::field("IV/Counter/Nonce: ECB has none")),
        Some(iv) => Ok(iv.0),
        None if is_wanted => Err(Failure::missing("IV/Counter/Nonce is missing")),
        None => Ok(&[]),
    }
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
