//! One message from its bytes to its answer: version, batch, the client's rights, one unit, one audit record an item.

use std::sync::Arc;

use keys::id::{SessionId, Time};
use keys::policy::{Action, Grants, Principal};
use keys::record::{Outcome, Record, Subject};
use keys::unit::Unit;
use keys::vault::Vault;

use crate::context::Context;
use crate::enums::{BatchErrorContinuationOption, ResultReason, ResultStatus};
use crate::error::Error;
use crate::failure::Failure;
use crate::forward;
use crate::message::{Request, RequestBatchItem, RequestHeader, ResponseBatchItem, ResponseHeader, Unreadable};
use crate::op;
use crate::response::Response;
use crate::schema::{Encode, Rules};
use crate::tag::Tag;
use crate::text::TextError;
use crate::ttlv::{DateTime, Item, Writer};
use crate::version::ProtocolVersion;

/// Most that an answer may have, whatever its client would take, in bytes.
const RESPONSE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Length of an Integer with header and padding, in bytes; a response header ends with one, Batch Count.
const INTEGER_BYTES: usize = 16;
/// What an answer is expected to have beside the data of its request, in bytes.
const ANSWER_BYTES: usize = 512;

/// What becomes of a request with credentials in its header. They never give rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// They are passed over.
    Ignore,
    /// The request is refused.
    Refuse,
}

/// Who chooses the IV of AES-GCM at an edge; at a core it is always the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallerIvs {
    /// The client may.
    Accept,
    /// A request with an IV is refused.
    Refuse,
}

/// How clients are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Credentials in a request's header.
    pub credentials: Credentials,
    /// IVs in a request to encrypt with AES-GCM.
    pub gcm_caller_iv: CallerIvs,
}

impl From<Credentials> for Settings {
    fn from(credentials: Credentials) -> Self {
        Self { credentials, gcm_caller_iv: CallerIvs::Accept }
    }
}

/// Why there is no vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealed {
    /// Somebody has to unseal it.
    UntilUnsealed,
    /// It goes on by itself once its keystore answers.
    AwaitsKeystore,
}

impl Sealed {
    fn failure(self) -> Failure {
        let message = match self {
            Self::UntilUnsealed => "the appliance is sealed: its operator has to unseal it",
            Self::AwaitsKeystore => "the appliance is waiting for its keystore: try again later",
        };
        let (reason, message) = (ResultReason::GeneralFailure, message.into());
        Failure { reason, outcome: Outcome::Unavailable, message, payload: None, is_race: false }
    }
}

/// The client of one connection, and what is remembered about it between its messages.
pub struct Caller {
    principal: Principal,
    session: SessionId,
    settings: Settings,
    /// Its certificate chain in DER, for whoever asks another node in its name.
    chain: Arc<[Vec<u8>]>,
    /// Who vouches for it, if it is not itself at the other end.
    vouches: Option<Principal>,
    /// Its rights, and the policy epoch in which they were resolved.
    grants: Option<(u64, Grants)>,
    /// What it is told while there is no vault.
    sealed: Sealed,
    messages: u64,
}

impl Caller {
    /// A client that was just let in.
    #[must_use]
    pub fn new(principal: Principal, session: SessionId, settings: impl Into<Settings>) -> Self {
        let (chain, vouches) = (Arc::default(), None);
        Self { principal, session, settings: settings.into(), chain, vouches, grants: None, sealed: Sealed::UntilUnsealed, messages: 0 }
    }

    /// A client whose certificate chain is known; at an edge its items for the core are forwarded with it.
    #[must_use]
    pub fn with_chain(self, chain: Arc<[Vec<u8>]>) -> Self {
        Self { chain, ..self }
    }

    /// A client for which an edge vouches: it may do what both of them may.
    #[must_use]
    pub fn vouched_by(self, edge: Principal) -> Self {
        Self { vouches: Some(edge), ..self }
    }

    /// From now on it is told this while there is no vault.
    pub fn tell_if_sealed(&mut self, why: Sealed) {
        self.sealed = why;
    }

    /// Its number in the audit log.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// The open vault and the client's rights in it.
    async fn rights<'v>(&mut self, vault: Option<&'v Vault>) -> Result<(&'v Vault, Grants), Failure> {
        let vault = vault.ok_or_else(|| self.sealed.failure())?;
        vault.check_lease()?;
        let epoch = vault.policy_epoch();
        if let Some((resolved, grants)) = self.grants
            && resolved == epoch
        {
            return Ok((vault, grants));
        }
        let grants = match &self.vouches {
            Some(edge) => vault.delegated_grants(edge, &self.principal).await?,
            None => vault.grants(&self.principal).await?,
        };
        self.grants = Some((epoch, grants));
        Ok((vault, grants))
    }
}

/// Answers one whole message, without letting the answer out: that takes the commit of the unit, which is handed back.
///
/// - `vault`: `None` while the node is sealed; every item then fails.
/// - `now`: time of day, for the answer's Time Stamp and the records.
/// - `out`: a buffer for the answer; what is in it is dropped.
pub async fn dispatch(
    vault: Option<&Vault>,
    caller: &mut Caller,
    mut unit: Unit,
    message: &[u8],
    now: Time,
    mut out: Vec<u8>,
) -> (Response, Unit) {
    out.clear();
    caller.messages += 1;
    let version = match Request::decode(message) {
        Ok(request) => {
            match check(&request, caller.settings.credentials) {
                Ok(()) => answer(vault, caller, &mut unit, &request, now, &mut out).await,
                Err(error) => refuse(caller, &mut unit, &Unreadable { version: request.rules.version, error }, now, &mut out),
            }
            request.rules.version
        }
        Err(unreadable) => {
            refuse(caller, &mut unit, &unreadable, now, &mut out);
            unreadable.version
        }
    };
    (Response::new(out, version), unit)
}

/// Answers a text that is no message at all, as [`dispatch`] answers one that cannot be read.
pub fn refuse_text(caller: &mut Caller, mut unit: Unit, error: &TextError, now: Time, mut out: Vec<u8>) -> (Response, Unit) {
    out.clear();
    caller.messages += 1;
    let unreadable = Unreadable { version: ProtocolVersion::LATEST, error: error.clone().into() };
    refuse(caller, &mut unit, &unreadable, now, &mut out);
    (Response::new(out, unreadable.version), unit)
}

/// What is wrong with a readable message as a whole.
fn check(request: &Request<'_>, credentials: Credentials) -> Result<(), Error> {
    let RequestHeader { authentication, batch_error_continuation_option: on_error, .. } = &request.message.header;
    if authentication.is_some() && credentials == Credentials::Refuse {
        return Err(Error::CredentialsRefused);
    }
    if matches!(on_error, Some(BatchErrorContinuationOption::Extension(_))) {
        let field = Tag::BATCH_ERROR_CONTINUATION_OPTION.name();
        return Err(Error::Invalid { offset: 0, field, why: "use Stop, Continue or Undo" });
    }
    let items = request.message.items.as_slice();
    // Table 283: with several items, each is told apart by its id.
    match items.iter().find(|item| items.len() > 1 && item.unique_batch_item_id.is_none()) {
        Some(item) => Err(Error::Missing { offset: item.payload.offset, field: Tag::UNIQUE_BATCH_ITEM_ID.name() }),
        None => Ok(()),
    }
}

/// Refuses a message as a whole, in one item without an operation.
fn refuse(caller: &Caller, unit: &mut Unit, unreadable: &Unreadable, now: Time, out: &mut Vec<u8>) {
    unreadable.answer(DateTime(now.seconds()), out);
    let outcome = if unreadable.error == Error::CredentialsRefused { Outcome::Denied } else { Outcome::Invalid };
    unit.record(record(caller, now, Action::Unsupported, Subject::default(), outcome));
}

fn record(caller: &Caller, time: Time, action: Action, subject: Subject, outcome: Outcome) -> Record {
    let Subject { object, version, generation } = subject;
    Record { time, session: caller.session, action, object, version, generation, outcome }
}

/// Works through the batch and writes the answer.
async fn answer(vault: Option<&Vault>, caller: &mut Caller, unit: &mut Unit, request: &Request<'_>, now: Time, out: &mut Vec<u8>) {
    let (rules, items) = (request.rules, request.message.items.as_slice());
    let rights = caller.rights(vault).await.and_then(|rights| must_be_undoable(rights, request));
    let mut answer = Answer::begin(caller, request, now, out);
    let mut placeholder = None;
    let mut searches_left = op::SEARCHES_MAX;
    for (index, item) in items.iter().enumerate() {
        let before = unit.mark();
        let (mut subject, mut wrapper, mut forwarded) = (Subject::default(), None, None);
        let mut action = op::action(item.operation, rules.version);
        let done = match &rights {
            Err(failure) => Err(failure.clone()),
            Ok((vault, grants)) => {
                let (unit, placeholder, subject, wrapper) = (&mut *unit, &mut placeholder, &mut subject, &mut wrapper);
                let (principal, action, searches_left) = (&caller.principal, &mut action, &mut searches_left);
                let gcm_caller_iv = caller.settings.gcm_caller_iv;
                let (chain, forwarded) = (&*caller.chain, &mut forwarded);
                let context = Context {
                    vault,
                    principal,
                    gcm_caller_iv,
                    chain,
                    forwarded,
                    grants: *grants,
                    unit,
                    rules,
                    placeholder,
                    subject,
                    action,
                    wrapper,
                    searches_left,
                };
                answer.item(context, item).await
            }
        };
        let outcome = done.as_ref().map_or_else(|failure| failure.outcome, |()| Outcome::Success);
        unit.record(record(caller, now, action, subject, outcome));
        if let Some(wrapper) = wrapper {
            unit.record_also(record(caller, now, action, Subject::named(wrapper), outcome));
        }
        if let Some(request) = forwarded {
            unit.note_forwarded();
            unit.record_also(record(caller, now, Action::Forward, Subject::named(request), outcome));
        }
        let Err(failure) = done else { continue };
        if failure.is_race {
            unit.note_race();
        }
        unit.rewind(before);
        match request.message.header.batch_error_continuation_option {
            Some(BatchErrorContinuationOption::Continue) => answer.failed(item, &failure),
            Some(BatchErrorContinuationOption::Undo) => {
                unit.undo();
                answer.undone(&items[..index]);
                answer.failed(item, &failure);
                break;
            }
            Some(BatchErrorContinuationOption::Stop | BatchErrorContinuationOption::Extension(_)) | None => {
                answer.failed(item, &failure);
                break;
            }
        }
    }
    if answer.finish() == Fit::TooLarge {
        unit.undo();
    }
}

/// What a core has done for an edge's client the edge cannot undo, so such a batch is not begun.
fn must_be_undoable<'v>((vault, grants): (&'v Vault, Grants), request: &Request<'_>) -> Result<(&'v Vault, Grants), Failure> {
    let items = request.message.items.as_slice();
    let undoes = request.message.header.batch_error_continuation_option == Some(BatchErrorContinuationOption::Undo);
    let is_for_core = |item| forward::layer_at_core(vault.node(), grants.role(), request.rules, item).is_some();
    if undoes && items.len() > 1 && items.iter().any(is_for_core) {
        let message = "Undo: keys of the core and objects of the edge are not changed together; send them apart";
        return Err(Failure::invalid(ResultReason::OperationNotSupported, message));
    }
    Ok((vault, grants))
}

/// Whether an answer is as small as its client wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    /// It is.
    Fits,
    /// It was not even with its failures; one short failure for all items stands in its place.
    TooLarge,
}

/// An answer under construction.
struct Answer<'o> {
    out: Writer<'o>,
    rules: Rules,
    time_stamp: DateTime,
    correlation: Option<String>,
    bytes_max: usize,
    message: Option<crate::ttlv::Open>,
    items_begin: usize,
    items: i32,
}

impl<'o> Answer<'o> {
    /// Writes the header of the answer to `request`.
    fn begin(caller: &Caller, request: &Request<'_>, now: Time, out: &'o mut Vec<u8>) -> Self {
        let asked = &request.message.header;
        let data_bytes = request.message.items.iter().map(|item| item.payload.value_bytes()).sum::<usize>();
        out.reserve(data_bytes + ANSWER_BYTES);
        // 6.19: a client that correlates is told under which number this server does.
        let correlation = asked.client_correlation_value.map(|_| format!("{}-{}", caller.session.0, caller.messages));
        let bytes_max = response_bytes_max(asked.maximum_response_size);
        let (out, time_stamp) = (Writer::new(out, request.rules.version), DateTime(now.seconds()));
        let mut answer = Self { out, rules: request.rules, time_stamp, correlation, bytes_max, message: None, items_begin: 0, items: 0 };
        answer.restart();
        answer
    }

    /// Writes the header, with nothing before or behind it.
    fn restart(&mut self) {
        self.out.rewind(0);
        self.message = Some(self.out.open(Tag::RESPONSE_MESSAGE));
        let header = ResponseHeader {
            protocol_version: self.rules.version.into(),
            time_stamp: self.time_stamp,
            nonce: None,
            attestation_types: vec![],
            client_correlation_value: None,
            server_correlation_value: self.correlation.as_deref(),
            batch_count: 0,
        };
        header.encode(Tag::RESPONSE_HEADER, &mut self.out);
        (self.items_begin, self.items) = (self.out.position(), 0);
    }

    /// Does one item and writes its success; after a failure nothing of it is in the answer.
    async fn item(&mut self, mut context: Context<'_>, item: &RequestBatchItem<'_>) -> Result<(), Failure> {
        let item_begins = self.out.position();
        let open = self.out.open(Tag::BATCH_ITEM);
        echo(item, ResultStatus::Success).encode_fields(&mut self.out);
        let done = op::run(&mut context, item, &mut self.out).await;
        if done.is_ok() {
            self.out.close(open);
        }
        let done = match done {
            Ok(()) if self.out.position() > self.bytes_max => Err(too_large(self.bytes_max)),
            done => done,
        };
        match done {
            Ok(()) => self.items += 1,
            Err(_) => self.out.rewind(item_begins),
        }
        if done.is_err() && op::decides_on_placeholder(item.operation) {
            *context.placeholder = None;
        }
        done
    }

    /// Writes a failed item.
    fn failed(&mut self, item: &RequestBatchItem<'_>, failure: &Failure) {
        self.write(&ResponseBatchItem {
            result_reason: Some(failure.reason.nearest_in(self.rules.version)),
            result_message: Some(&failure.message),
            payload: failure.payload.as_deref().map(|payload| Item::only(payload).expect("the operation wrote one item")),
            ..echo(item, ResultStatus::OperationFailed)
        });
    }

    /// Replaces the successes so far by the news that they were undone (11.43).
    fn undone(&mut self, items: &[RequestBatchItem<'_>]) {
        self.out.rewind(self.items_begin);
        self.items = 0;
        for item in items {
            self.write(&echo(item, ResultStatus::OperationUndone));
        }
    }

    fn write(&mut self, item: &ResponseBatchItem<'_>) {
        item.encode(Tag::BATCH_ITEM, &mut self.out);
        self.items += 1;
    }

    /// Completes the message. An answer of several items that is still too large becomes a single failure.
    fn finish(mut self) -> Fit {
        let fit = if self.items > 1 && self.out.position() > self.bytes_max { Fit::TooLarge } else { Fit::Fits };
        if fit == Fit::TooLarge {
            self.restart();
            let Failure { reason, message, .. } = too_large(self.bytes_max);
            let result = ResponseBatchItem::of(ResultStatus::OperationFailed);
            self.write(&ResponseBatchItem { result_reason: Some(reason), result_message: Some(&message), ..result });
        }
        self.out.set_integer(self.items_begin - INTEGER_BYTES, self.items);
        if let Some(message) = self.message.take() {
            self.out.close(message);
        }
        fit
    }
}

/// How large an answer may be in bytes, given the client's Maximum Response Size.
fn response_bytes_max(asked: Option<i32>) -> usize {
    asked.map_or(RESPONSE_BYTES_MAX, |bytes| usize::try_from(bytes).unwrap_or(0).min(RESPONSE_BYTES_MAX))
}

fn too_large(bytes_max: usize) -> Failure {
    Failure::invalid(ResultReason::ResponseTooLarge, format!("the answer would exceed {bytes_max} bytes; ask for less"))
}

/// The fields that an item of the answer repeats from the request.
fn echo<'a>(item: &RequestBatchItem<'a>, status: ResultStatus) -> ResponseBatchItem<'a> {
    let RequestBatchItem { operation, unique_batch_item_id, .. } = *item;
    ResponseBatchItem { operation: Some(operation), unique_batch_item_id, ..ResponseBatchItem::of(status) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(asked: Option<i32>, expected: usize) {
        assert_eq!(response_bytes_max(asked), expected, "{asked:?}");
    }

    #[test]
    fn a_client_may_want_less_than_the_server_gives_and_never_gets_more() {
        check(None, 16_777_216);
        check(Some(i32::MAX), 16_777_216);
        check(Some(16_777_217), 16_777_216);
        check(Some(16_777_215), 16_777_215);
        check(Some(0), 0);
        check(Some(-1), 0);
    }
}
