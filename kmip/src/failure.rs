//! Why one operation did not succeed: what the client is told, and what the audit log says.

use std::borrow::Cow;

use keys::policy::Refusal;
use keys::record::Outcome;

use crate::enums::ResultReason;
use crate::error::Error;
use crate::reason::{domain_reason, reason};

/// An operation that failed, its effects not yet taken back.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// Result Reason, not yet narrowed to the version.
    pub(crate) reason: ResultReason,
    /// How the record tells it.
    pub(crate) outcome: Outcome,
    /// Result Message.
    pub(crate) message: Cow<'static, str>,
    /// Response Payload, as one item: only a Check that fails has one.
    pub(crate) payload: Option<Vec<u8>>,
    /// Another request has changed a row first: the message may be done again.
    pub(crate) is_race: bool,
}

impl Failure {
    /// What the caller did wrong, by the standard's reason.
    pub(crate) fn invalid(reason: ResultReason, message: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, outcome: Outcome::Invalid, message: message.into(), payload: None, is_race: false }
    }

    /// A field whose value cannot be meant.
    pub(crate) fn field(message: impl Into<Cow<'static, str>>) -> Self {
        Self::invalid(ResultReason::InvalidField, message)
    }

    /// More instances of an attribute than a key has.
    pub(crate) fn too_many(message: impl Into<Cow<'static, str>>) -> Self {
        Self::invalid(ResultReason::IndexOutOfBounds, message)
    }

    /// A field that the operation cannot do without.
    pub(crate) fn missing(message: impl Into<Cow<'static, str>>) -> Self {
        Self::invalid(ResultReason::InvalidMessage, message)
    }

    /// Something legal that is not offered here.
    pub(crate) fn unsupported(message: impl Into<Cow<'static, str>>) -> Self {
        Self::invalid(ResultReason::FeatureNotSupported, message)
    }

    /// The one answer to an unknown, malformed or foreign identifier.
    pub(crate) fn not_found() -> Self {
        keys::Error::NotFound.into()
    }

    /// The request is for an edge; told from its syntax alone.
    pub(crate) fn held_by_edge() -> Self {
        keys::Error::Denied { why: "L4 objects are held by an edge" }.into()
    }

    /// The request is for a core; told from its syntax alone.
    pub(crate) fn held_by_core() -> Self {
        keys::Error::Denied { why: "L2 and L3 keys are held by a core: ask it" }.into()
    }

    /// The object would have to be recovered first.
    pub(crate) fn archived() -> Self {
        let message = Cow::Borrowed("the key is archived");
        Self { reason: ResultReason::ObjectArchived, outcome: Outcome::WrongState, message, payload: None, is_race: false }
    }

    /// Ciphertext, tag or padding did not verify; which of them is nobody's business.
    pub(crate) fn not_decrypted() -> Self {
        let message = Cow::Borrowed("the data cannot be decrypted");
        Self { reason: ResultReason::CryptographicFailure, outcome: Outcome::Refused, message, payload: None, is_race: false }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::invalid(reason(&error), error.to_string())
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        keys::Error::from(refusal).into()
    }
}

impl From<secret::Exhausted> for Failure {
    fn from(full: secret::Exhausted) -> Self {
        keys::Error::from(full).into()
    }
}

impl From<keys::Error> for Failure {
    fn from(error: keys::Error) -> Self {
        let message = match &error {
            // What is broken where is for the operator, not for the client.
            keys::Error::Unavailable { .. } => "a part of the appliance is unavailable; try again later".into(),
            keys::Error::Corrupt { .. } => {
                "the stored object does not verify and is refused; its operator finds it named in the audit log".into()
            }
            keys::Error::NoLease { .. } => {
                "this edge has not heard from its core for longer than it may go on alone; try again later".into()
            }
            keys::Error::NotFound => "no such object".into(),
            keys::Error::Denied { why } => (*why).into(),
            other => other.to_string().into(),
        };
        let is_race = matches!(error, keys::Error::Raced);
        Self { reason: domain_reason(&error), outcome: error.outcome(), message, payload: None, is_race }
    }
}
