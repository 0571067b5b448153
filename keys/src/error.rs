//! What can go wrong in the domain, by whose fault it is.

use crate::id::{RowId, Time};
use crate::lifecycle::{State, WrongState};
use crate::policy::Refusal;
use crate::port::{AuditUnavailable, EntropyError, PairError, StoreError, StretchError, UpstreamError};
use crate::record::Outcome;
use crate::wrap::WrapError;
use secret::Exhausted;

/// The one error type of the domain's verbs.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The principal may not do it.
    #[error("{why}")]
    Denied {
        /// What forbids it.
        why: &'static str,
    },
    /// No such object for this principal.
    #[error("no such object")]
    NotFound,
    /// The object's state or dates do not allow it.
    #[error("the key is {is:?}; this needs {wants}")]
    WrongState {
        /// The state it is in.
        is: State,
        /// What the operation needs.
        wants: &'static str,
    },
    /// A field of the request is out of bounds.
    #[error("{field}: {why}")]
    Invalid {
        /// Which field, by the standard's name.
        field: &'static str,
        /// What would be accepted.
        why: String,
    },
    /// A live object of the same service has the name already.
    #[error("Name `{name}` is taken by a live object of the service")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// Somebody changed the object between look and change: the client may repeat.
    #[error("the object was changed by another request at the same time; repeat the request")]
    Raced,
    /// The key has used up its random IVs.
    #[error("the key has used its {used} random IVs: rotate it (ReKey)")]
    IvsExhausted {
        /// How many were reserved.
        used: u64,
    },
    /// The key's Usage Limits have not so much left.
    #[error("the key's Usage Limits have {left} units left, and this needs {wants}: replace the key (ReKey)")]
    UsageExhausted {
        /// How many units are left at this node.
        left: u64,
        /// How many are needed.
        wants: u64,
    },
    /// The key has no Usage Limits of which anything could be given.
    #[error("the key has no Usage Limits: it may be used without an allocation")]
    Unlimited,
    /// The object is archived.
    #[error("the object is archived: recover it first (Recover)")]
    Archived,
    /// The key's material does not leave the core, not even wrapped.
    #[error("the key is not Extractable")]
    NotExtractable,
    /// The object leaves wrapped only.
    #[error("the object is Sensitive: it is returned wrapped only, give a Key Wrapping Specification")]
    Sensitive,
    /// The key is not the newest version of its chain any more.
    #[error("the key was replaced by {by}: rekey that one")]
    Replaced {
        /// The version after it.
        by: RowId,
    },
    /// A wrapped object key was not made for the place that is named.
    #[error("the object key does not open: it was wrapped under another key, or for another place")]
    Forged,
    /// What came wrapped does not open.
    #[error("the key does not unwrap: it was wrapped by another key or in another way, or was changed since")]
    NotUnwrapped,
    /// An object of the service has the identifier already.
    #[error("the service has an object with this Unique Identifier: import with Replace Existing, or under another one")]
    Exists,
    /// A key pair was not made.
    #[error(transparent)]
    NotMade(cipher::Error),
    /// The core does not do it for this edge: it does not let it use a key, or speak for a client.
    #[error("the core refuses: {why}")]
    Withdrawn {
        /// What it says.
        why: String,
    },
    /// Nothing was heard of the core for longer than an edge goes on alone.
    #[error("this edge has not heard from its core since {}", shown(*heard))]
    NoLease {
        /// When it was heard last.
        heard: Time,
    },
    /// A part of the appliance is not available now.
    #[error("unavailable: {what}")]
    Unavailable {
        /// What, and what to do.
        what: String,
    },
    /// Stored data does not verify; that record is refused, others are served.
    #[error("stored record {at} is refused: {what}")]
    Corrupt {
        /// What is wrong with it.
        what: String,
        /// Which record.
        at: String,
    },
}

impl Error {
    pub(crate) fn corrupt(what: &str, at: impl ToString) -> Self {
        Self::Corrupt { what: what.to_owned(), at: at.to_string() }
    }

    pub(crate) fn tenant_disabled() -> Self {
        Self::Denied { why: "the tenant is disabled: ask the appliance's operator" }
    }

    pub(crate) fn invalid(field: &'static str, why: impl Into<String>) -> Self {
        Self::Invalid { field, why: why.into() }
    }

    /// How the audit log tells it.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Denied { .. } | Self::NotExtractable | Self::Sensitive | Self::Withdrawn { .. } => Outcome::Denied,
            Self::NotFound => Outcome::NotFound,
            Self::WrongState { .. }
            | Self::Archived
            | Self::IvsExhausted { .. }
            | Self::UsageExhausted { .. }
            | Self::Unlimited
            | Self::Replaced { .. } => Outcome::WrongState,
            Self::Invalid { .. } | Self::NameTaken { .. } | Self::Exists => Outcome::Invalid,
            Self::Raced | Self::Unavailable { .. } | Self::NoLease { .. } | Self::NotMade(_) => Outcome::Unavailable,
            Self::Corrupt { .. } => Outcome::Corrupt,
            Self::Forged | Self::NotUnwrapped => Outcome::Refused,
        }
    }
}

/// Seconds since the epoch: the domain has no calendar.
fn shown(time: Time) -> String {
    format!("second {} of the epoch", time.seconds())
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotFound => Self::NotFound,
            Refusal::Denied => Self::Denied { why: "the principal's role does not allow this operation" },
        }
    }
}

impl From<WrongState> for Error {
    fn from(wrong: WrongState) -> Self {
        let wants = match wrong.event {
            crate::lifecycle::Event::Activate => "Pre-Active",
            crate::lifecycle::Event::Deprecate => "Pre-Active or Active",
            crate::lifecycle::Event::Retire => "Deprecated",
            crate::lifecycle::Event::Reactivate => {
                "a Deprecated version of an L2.1: nothing else is rolled back, so rotate the Active version to have another"
            }
            crate::lifecycle::Event::Compromise => "a key that is not compromised yet",
            crate::lifecycle::Event::Destroy => "a key that is not Active: revoke it first",
        };
        Self::WrongState { is: wrong.is, wants }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict { .. } => Self::Raced,
            StoreError::Corrupt { what, at } => Self::Corrupt { what, at },
            other @ (StoreError::Full { .. }
            | StoreError::Unavailable { .. }
            | StoreError::Sealed { .. }
            | StoreError::Denied { .. }
            | StoreError::Poisoned) => Self::Unavailable { what: other.to_string() },
        }
    }
}

impl From<WrapError> for Error {
    fn from(error: WrapError) -> Self {
        match error {
            WrapError::Store(store) => store.into(),
            WrapError::Exhausted(full) => full.into(),
            WrapError::Entropy(error) => error.into(),
            WrapError::Above(error) => *error,
            WrapError::Replaced { .. } => Self::Raced,
            other @ (WrapError::NotABlob { .. }
            | WrapError::OtherAlgorithm { .. }
            | WrapError::Mismatch { .. }
            | WrapError::Forged
            | WrapError::Parent { .. }) => Self::Corrupt { what: other.to_string(), at: "wrapped blob".to_owned() },
        }
    }
}

impl From<Exhausted> for Error {
    fn from(full: Exhausted) -> Self {
        Self::Unavailable { what: full.to_string() }
    }
}

impl From<EntropyError> for Error {
    fn from(error: EntropyError) -> Self {
        Self::Unavailable { what: error.to_string() }
    }
}

impl From<PairError> for Error {
    fn from(error: PairError) -> Self {
        match error {
            PairError::NotMade(cipher::Error::Exhausted(full)) => full.into(),
            PairError::NotMade(other) => Self::NotMade(other),
            PairError::Busy { .. } => Self::Unavailable { what: error.to_string() },
        }
    }
}

impl From<StretchError> for Error {
    fn from(error: StretchError) -> Self {
        Self::Unavailable { what: error.to_string() }
    }
}

impl From<UpstreamError> for Error {
    fn from(error: UpstreamError) -> Self {
        match error {
            UpstreamError::Unavailable { what } => Self::Unavailable { what },
            UpstreamError::Refused { why } => Self::Withdrawn { why },
            UpstreamError::Forged => Self::Corrupt { what: error.to_string(), at: "wrapped object key".to_owned() },
        }
    }
}

impl From<AuditUnavailable> for Error {
    fn from(error: AuditUnavailable) -> Self {
        Self::Unavailable { what: error.to_string() }
    }
}

impl From<crate::hierarchy::GenerateError> for Error {
    fn from(error: crate::hierarchy::GenerateError) -> Self {
        match error {
            crate::hierarchy::GenerateError::Exhausted(full) => full.into(),
            crate::hierarchy::GenerateError::Entropy(error) => error.into(),
        }
    }
}
