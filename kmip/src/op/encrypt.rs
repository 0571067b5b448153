//! Encrypt, 4.29: data under a key of the client's service, whole or in parts; at a core with an IV that the server makes.

use cipher::Padding;
use cipher::mode::{self, GcmTag, Mode};
use cipher::stream::{self, STATE_BYTES};
use keys::policy::{Action, NodeRole, Principal, verb};
use keys::stream::{Kind, Progress, Turn};
use keys::usage::Protected;
use keys::vault::{Vault, View};
use secret::Key;

use crate::context::{Context, Named};
use crate::dispatch::CallerIvs;
use crate::enums::ResultReason;
use crate::failure::Failure;
use crate::op::{object_key, rsa};
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
    /// The IV that the client has chosen.
    own_iv: Option<&'a [u8]>,
    data: &'a [u8],
    is_whole: bool,
}

pub(super) async fn run(context: &mut Context<'_>, request: EncryptRequest<'_>, out: &mut Writer<'_>) -> Result<(), Failure> {
    if object_key::is_asked(request.cryptographic_parameters.as_ref()) {
        return Box::pin(object_key::wrap(context, request, out)).await;
    }
    let named = context.object::<verb::Encrypt>(request.unique_identifier).await?;
    if rsa::is_asked(&named.header) {
        return Box::pin(rsa::encrypt(context, named, request, out)).await;
    }
    let indicators =
        Indicators { correlation_value: request.correlation_value, init: request.init_indicator, last: request.final_indicator };
    let part = indicators.part(request.data)?;
    let own_iv = own_iv(context, &request)?;
    let payload = out.open(Tag::RESPONSE_PAYLOAD);
    out.text(Tag::UNIQUE_IDENTIFIER, &named.text);
    match part {
        Part::Whole(data) | Part::First(data) => {
            let is_whole = matches!(part, Part::Whole(_));
            let job = Job { vault: context.vault, principal: context.principal, request: &request, own_iv, data, is_whole };
            begin(context, named, &job, out).await?;
        }
        Part::Next(next) => go_on(context, named, &request, next, out).await?,
    }
    out.close(payload);
    Ok(())
}

/// The IV of the client's choice, which a core takes from nobody.
fn own_iv<'a>(context: &Context<'_>, request: &EncryptRequest<'a>) -> Result<Option<&'a [u8]>, Failure> {
    let Some(ByteString(iv)) = request.iv_counter_nonce else { return Ok(None) };
    if context.vault.node() == NodeRole::Core {
        return Err(Failure::field("IV/Counter/Nonce: leave it out, a core makes each IV itself and returns it"));
    }
    if request.cryptographic_parameters.as_ref().is_some_and(|parameters| parameters.random_iv == Some(true)) {
        return Err(Failure::field("IV/Counter/Nonce: leave it out, or Random IV, which asks the server for one"));
    }
    Ok(Some(iv))
}

async fn begin(context: &mut Context<'_>, named: Named<'_, verb::Encrypt>, job: &Job<'_>, out: &mut Writer<'_>) -> Result<(), Failure> {
    let vault = context.vault;
    let ready = |key: &[u8], view: &View| {
        let scheme = Scheme::of(job.request.cryptographic_parameters.as_ref(), view, vault.node())?;
        Ok::<_, Failure>((scheme, job.encrypt(scheme, key, view, None, out)?))
    };
    let protected = Protected::object(job.data.len());
    let (scheme, mut step) = vault.protect(context.unit, named.authorized, protected, ready).await?;
    if matches!(scheme, Scheme::Gcm { .. }) && job.own_iv.is_some() {
        if context.gcm_caller_iv == CallerIvs::Refuse {
            return Err(Failure::field("IV/Counter/Nonce: this edge makes the IVs of GCM itself (kmip.gcm_caller_iv)"));
        }
        *context.action = Action::EncryptWithOwnIv;
    }
    if let Step::NeedsIvs = step {
        let iv = vault.gcm_iv(&named.header).await?;
        let again = context.grants.check::<verb::Encrypt>(&named.header)?;
        // What it protects was taken from the key's limits already.
        step = vault.open(context.unit, again, |key, view| Ok(job.encrypt(scheme, key, view, Some(iv), out))).await??;
    }
    if let Step::GoesOn(turn, progress) = step {
        vault.keep_stream(context.unit, turn, progress)?;
    }
    Ok(())
}

impl Job<'_> {
    fn encrypt(&self, scheme: Scheme, key: &[u8], view: &View, iv: Option<[u8; 12]>, out: &mut Writer<'_>) -> Result<Step, Failure> {
        match scheme {
            Scheme::Plain(_) if self.request.additional_data.is_some() => {
                Err(Failure::field("Authenticated Encryption Additional Data: this mode authenticates nothing, use GCM"))
            }
            Scheme::Plain(mode) => self.plain(mode, key, view, out),
            Scheme::Gcm { tag_bytes } => {
                let made = match (self.own_iv, iv) {
                    (Some(_), _) => None,
                    (None, Some(iv)) => Some(iv),
                    (None, None) => match self.vault.ready_gcm_iv(view.header.id)? {
                        Some(iv) => Some(iv),
                        None => return Ok(Step::NeedsIvs),
                    },
                };
                let iv = self.own_iv.or(made.as_ref().map(<[u8; 12]>::as_slice)).expect("the one or the other");
                self.must_be_as_long_as_asked(iv)?;
                if self.is_whole { self.gcm(tag_bytes, key, iv, out) } else { self.first_of_gcm(tag_bytes, key, view, iv, out) }
            }
        }
    }

    fn must_be_as_long_as_asked(&self, iv: &[u8]) -> Result<(), Failure> {
        let asked = self.request.cryptographic_parameters.as_ref().and_then(|parameters| parameters.iv_length);
        if !(1..=mode::GCM_IV_BYTES_MAX).contains(&iv.len()) {
            return Err(Failure::field("IV/Counter/Nonce: 1 to 128 bytes with GCM, 12 as a rule"));
        }
        let is_other = asked.is_some_and(|bits| usize::try_from(bits).ok() != Some(iv.len() * 8));
        match (is_other, self.own_iv) {
            (true, None) => Err(Failure::unsupported("IV Length: the server makes IVs of 96 bits for GCM")),
            (true, Some(_)) => Err(Failure::field("IV Length: the IV that is given has another one")),
            (false, _) => Ok(()),
        }
    }

    fn plain(&self, mode: Mode, key: &[u8], view: &View, out: &mut Writer<'_>) -> Result<Step, Failure> {
        let made = match (self.own_iv, mode.iv_bytes()) {
            (None, 16) => Some(self.vault.cbc_iv()?),
            _ => None,
        };
        let iv = self.own_iv.or(made.as_ref().map(<[u8; 16]>::as_slice)).unwrap_or_default();
        if iv.len() != mode.iv_bytes() || mode.iv_bytes() == 0 && self.own_iv.is_some() {
            return Err(Failure::field("IV/Counter/Nonce: 16 bytes with CBC and CTR, none with ECB"));
        }
        let step = if self.is_whole { self.whole(mode, key, iv, out)? } else { self.first(mode, key, view, iv, out)? };
        // 4.29: the answer has the IV only if the client does not.
        if let Some(iv) = &made {
            out.bytes(Tag::IV_COUNTER_NONCE, ByteString(iv));
        }
        Ok(self.with_value(step, out))
    }

    fn whole(&self, mode: Mode, key: &[u8], iv: &[u8], out: &mut Writer<'_>) -> Result<Step, Failure> {
        let random = filling(self.vault, mode)?;
        let encrypt = |out: &mut Vec<u8>| match mode {
            // The library does all of it.
            Mode::Cbc(Padding::Pkcs5) => mode::cbc_encrypt(key, iv, self.data, out),
            mode => mode::encrypt(mode, key, iv, self.data, &random, out),
        };
        out.bytes_with(Tag::DATA, encrypt).map_err(not_encrypted)?;
        Ok(Step::Done)
    }

    /// An answer that tells the IV has to have the first block with it: see [`stream`] on what could be chosen by it.
    fn first(&self, mode: Mode, key: &[u8], view: &View, iv: &[u8], out: &mut Writer<'_>) -> Result<Step, Failure> {
        if matches!(mode, Mode::Cbc(_)) && self.own_iv.is_none() && self.data.len() < mode::BLOCK_BYTES {
            return Err(Failure::field("Data: the first of several parts has 16 bytes or more where the mode is CBC"));
        }
        let turn = self.vault.begin_stream(self.principal, view, Kind::Encrypt(mode))?;
        let state = Key::try_init_with(|state| stream::begin(mode, iv, state).map_err(not_encrypted))?;
        let state = middle(turn.kind(), key, &state, self.data, out)?;
        Ok(Step::GoesOn(turn, Progress::Running(state)))
    }

    fn gcm(&self, tag_bytes: usize, key: &[u8], iv: &[u8], out: &mut Writer<'_>) -> Result<Step, Failure> {
        let tag = data_and_tag(out, |out| mode::gcm_encrypt_with(key, iv, self.additional(), self.data, tag_bytes, out))?;
        self.tell_iv(iv, out);
        tag_field(out, &tag);
        Ok(Step::Done)
    }

    /// One IV for all parts: the same as for one request.
    fn first_of_gcm(&self, tag_bytes: usize, key: &[u8], view: &View, iv: &[u8], out: &mut Writer<'_>) -> Result<Step, Failure> {
        let turn = self.vault.begin_stream(self.principal, view, Kind::EncryptGcm { tag_bytes })?;
        let state = Key::try_init_with(|state| stream::gcm_begin_with(key, iv, self.additional(), state).map_err(not_encrypted))?;
        let state = middle(turn.kind(), key, &state, self.data, out)?;
        self.tell_iv(iv, out);
        Ok(self.with_value(Step::GoesOn(turn, Progress::Running(state)), out))
    }

    fn tell_iv(&self, iv: &[u8], out: &mut Writer<'_>) {
        if self.own_iv.is_none() {
            out.bytes(Tag::IV_COUNTER_NONCE, ByteString(iv));
        }
    }

    fn with_value(&self, step: Step, out: &mut Writer<'_>) -> Step {
        if let Step::GoesOn(turn, _) = &step {
            out.bytes(Tag::CORRELATION_VALUE, ByteString(turn.value()));
        }
        step
    }

    fn additional(&self) -> &[u8] {
        self.request.additional_data.map_or(&[], |data| data.0)
    }
}

/// Random bytes for the padding that wants some.
fn filling(vault: &Vault, mode: Mode) -> Result<Vec<u8>, Failure> {
    match mode {
        Mode::Cbc(Padding::Iso10126) | Mode::Ecb(Padding::Iso10126) => Ok(vault.filling()?.to_vec()),
        Mode::Cbc(_) | Mode::Ecb(_) | Mode::Ctr => Ok(Vec::new()),
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
    if request.iv_counter_nonce.is_some() {
        return Err(only_first("IV/Counter/Nonce"));
    }
    if request.additional_data.is_some() {
        return Err(only_first("Authenticated Encryption Additional Data"));
    }
    let node = context.vault.node();
    let asked = request.cryptographic_parameters.as_ref().map(|asked| Scheme::asked(asked, node)).transpose()?;
    let fits = |kind| match kind {
        Kind::Encrypt(mode) => asked.is_none_or(|asked| asked == Scheme::Plain(mode)),
        Kind::EncryptGcm { tag_bytes } => asked.is_none_or(|asked| asked == Scheme::Gcm { tag_bytes }),
        Kind::Decrypt(_)
        | Kind::DecryptGcm { .. }
        | Kind::Mac(_)
        | Kind::MacVerify(_)
        | Kind::Sign(_)
        | Kind::SignatureVerify(_)
        | Kind::Hash(_) => false,
    };
    let vault = context.vault;
    let turn = vault.next_turn(context.unit, context.principal, named.header.id, next.value, fits)?;
    let Some((turn, Progress::Running(before))) = turn else { return Err(not_under_way()) };
    let random = vault.filling()?;
    let more = |key: &[u8], view: &View| {
        if !turn.holds_for(view) {
            Err(not_under_way())
        } else if next.is_last {
            last(turn.kind(), key, &before, (next.data, &random), out).map(|()| None)
        } else {
            middle(turn.kind(), key, &before, next.data, out).map(Some)
        }
    };
    if let Some(after) = vault.protect(context.unit, named.authorized, Protected::part(next.data.len()), more).await? {
        out.bytes(Tag::CORRELATION_VALUE, ByteString(turn.value()));
        vault.keep_stream(context.unit, turn, Progress::Running(after))?;
    }
    Ok(())
}

fn middle(kind: Kind, key: &[u8], before: &Key<STATE_BYTES>, data: &[u8], out: &mut Writer<'_>) -> Result<Key<STATE_BYTES>, Failure> {
    state_after(before, |before, after| {
        let encrypt = |out: &mut Vec<u8>| match kind {
            Kind::Encrypt(mode) | Kind::Decrypt(mode) => stream::encrypt_part(mode, key, before, data, after, out),
            Kind::EncryptGcm { .. } | Kind::DecryptGcm { .. } => stream::gcm_encrypt_part(key, before, data, after, out),
            Kind::Mac(_) | Kind::MacVerify(_) | Kind::Sign(_) | Kind::SignatureVerify(_) | Kind::Hash(_) => Err(cipher::Error::Refused),
        };
        out.bytes_with(Tag::DATA, encrypt).map_err(not_encrypted)
    })
}

fn last(kind: Kind, key: &[u8], before: &Key<STATE_BYTES>, (data, random): (&[u8], &[u8]), out: &mut Writer<'_>) -> Result<(), Failure> {
    before.expose(|before| match kind {
        Kind::EncryptGcm { tag_bytes } | Kind::DecryptGcm { tag_bytes } => {
            let tag = data_and_tag(out, |out| stream::gcm_encrypt_last_with(key, before, data, tag_bytes, out))?;
            tag_field(out, &tag);
            Ok(())
        }
        Kind::Encrypt(mode) | Kind::Decrypt(mode) => {
            out.bytes_with(Tag::DATA, |out| stream::encrypt_last(mode, key, before, data, random, out)).map_err(not_encrypted)
        }
        Kind::Mac(_) | Kind::MacVerify(_) | Kind::Sign(_) | Kind::SignatureVerify(_) | Kind::Hash(_) => Err(not_under_way()),
    })
}

/// Writes what `seal` makes; before 1.4 there is no field for the tag: it is the end of the data.
fn data_and_tag(out: &mut Writer<'_>, seal: impl FnOnce(&mut Vec<u8>) -> Result<GcmTag, cipher::Error>) -> Result<GcmTag, Failure> {
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
