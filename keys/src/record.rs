//! One line of the audit log, as the domain states it; the `audit` crate gives it bytes and a place in the chain.

use serde::{Deserialize, Serialize};

use crate::id::{Generation, KeyVersion, RowId, SessionId, Time};
use crate::policy::{Action, Role};
use crate::row::Header;

/// Longest client-made text in a record, in bytes; longer ones are cut.
pub const AUDIT_TEXT_BYTES_MAX: usize = 128;

/// One operation, admin call, ceremony step or refused attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When it was decided.
    pub time: Time,
    /// Who asked: points to a [`SessionRecord`].
    pub session: SessionId,
    /// What was asked.
    pub action: Action,
    /// What it was asked of, if it names a row.
    pub object: Option<RowId>,
    /// The version of that row's chain.
    pub version: Option<KeyVersion>,
    /// The row's generation after the operation.
    pub generation: Option<Generation>,
    /// How it ended.
    pub outcome: Outcome,
}

/// The row that an operation is about, as far as it is known: what its record says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Subject {
    /// What was asked for, there or not.
    pub object: Option<RowId>,
    /// Its version, once the caller may know it.
    pub version: Option<KeyVersion>,
    /// Its generation after the operation.
    pub generation: Option<Generation>,
}

impl Subject {
    /// What was asked for, of which nothing is known yet.
    #[must_use]
    pub fn named(id: RowId) -> Self {
        Self { object: Some(id), ..Self::default() }
    }
}

impl From<&Header> for Subject {
    fn from(header: &Header) -> Self {
        let Header { id, version, generation, .. } = *header;
        Self { object: Some(id), version: Some(version), generation: Some(generation) }
    }
}

/// How an operation ended; the number is stored and never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum Outcome {
    /// Done.
    Success = 0,
    /// The principal may not do it.
    Denied = 1,
    /// No such object for this principal.
    NotFound = 2,
    /// The object's state does not allow it.
    WrongState = 3,
    /// The request is not well-formed or not supported.
    Invalid = 4,
    /// Ciphertext, tag or padding did not verify.
    Refused = 5,
    /// A part of the appliance was not available.
    Unavailable = 6,
    /// Stored data did not verify.
    Corrupt = 7,
    /// Undone with its batch, before anything was written.
    Undone = 8,
    /// About to be done: what cannot be taken back is announced before it is tried (C20).
    Intended = 9,
}

/// Who is behind a session's records; written once per connection or job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// When it began.
    pub time: Time,
    /// The number that its records carry.
    pub session: SessionId,
    /// How it came in.
    pub origin: Origin,
    /// In which role; `None` where no rule named one.
    pub role: Option<Role>,
    /// Tenant's name as the certificate says, or empty.
    pub tenant: String,
    /// Service's name as the certificate says, or empty.
    pub service: String,
    /// SHA-256 of the client certificate; zeroes for the Unix socket and the appliance itself.
    pub certificate: [u8; 32],
    /// Peer address or local user, with the reason if a peer was refused for its certificate; cut to [`AUDIT_TEXT_BYTES_MAX`].
    pub peer: String,
}

/// How a session came in; the number is stored and never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum Origin {
    /// The appliance's own work.
    System = 0,
    /// KMIP over TLS.
    Kmip = 1,
    /// The admin Unix socket.
    Socket = 2,
    /// KMIP over HTTPS.
    Https = 3,
    /// The admin interface over TLS.
    Admin = 4,
}
