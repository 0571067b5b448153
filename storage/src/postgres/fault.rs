//! What the server and the way to it have to say, by what is to be done about it.

use std::error::Error as _;

use deadpool_postgres::PoolError;
use keys::port::StoreError;
use tokio_postgres::Error;
use tokio_postgres::error::{Severity, SqlState};

use super::ANSWERED_ROW_BYTES_MAX;
use super::url::Url;
use super::way::MESSAGE_BYTES_MAX;

const UNREACHED: &str = "PostgreSQL cannot be reached";
const LATE: &str = "PostgreSQL does not answer in time";
const REFUSED: &str = "PostgreSQL refuses it";
const TOO_MUCH: &str = "PostgreSQL sends more than can be an answer";
const OPENING: &str = "opening the database";

/// Why the database cannot be used as a keystore.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Nothing answers, or not us.
    #[error("{place}: {what}: see that the server runs, and that url, user and certificates under `keystores` are right")]
    Unreached {
        /// Server and database.
        place: String,
        /// What came back.
        what: String,
    },
    /// What answers is another server than is meant, or does not know user or database.
    #[error("{place}: {what}: see that url, user, password and certificates under `keystores` are right")]
    Misled {
        /// Server and database.
        place: String,
        /// What came back.
        what: String,
    },
    /// The server does not do what the store needs.
    #[error(
        "{place}: {what}: give the user the right to it, or let a new user with an empty database of its own be named under `keystores`"
    )]
    Refused {
        /// Server and database.
        place: String,
        /// What the server says.
        what: String,
    },
    /// There are no tables, and none are made in place of those that were lost.
    #[error(
        "{place} holds no keystore: correct the url under `keystores`, or restore the database from a backup; nothing was made in its place"
    )]
    Missing {
        /// Server and database.
        place: String,
    },
    /// A new cluster would lie among another's records.
    #[error(
        "{place} holds the records of a cluster, or of an init that did not finish: name another database under `keystores`, or set them aside with ALTER SCHEMA strongroom RENAME TO strongroom_aside"
    )]
    Taken {
        /// Server and database.
        place: String,
    },
    /// Written by a newer release; it was left untouched.
    #[error("{place} has schema {found}, this release knows up to {known}; upgrade strongroom")]
    Newer {
        /// Server and database.
        place: String,
        /// The schema found.
        found: i64,
        /// The newest schema known.
        known: i64,
    },
    /// The roles in which the node works are not there, and the user may not make them.
    #[error(
        "{place}: the user may not make the roles that requests and the node's own work take: let an administrator of the server run `{missing}`"
    )]
    Roles {
        /// Server and database.
        place: String,
        /// What is to be run.
        missing: String,
    },
    /// A role that sees everybody's rows whatever the policies say.
    #[error(
        "{place}: role {role} is not bound by row-level security: let an administrator of the server run `ALTER ROLE \"{role}\" NOSUPERUSER NOBYPASSRLS`"
    )]
    Unbound {
        /// Server and database.
        place: String,
        /// The role.
        role: String,
    },
    /// The server sends what cannot be an answer; nothing of it was kept.
    #[error("{place}: {breach}: see that it is the server that is meant, and that nobody has changed the tables")]
    TooMuch {
        /// Server and database.
        place: String,
        /// What was too much.
        breach: Breach,
    },
    /// What was acknowledged could be lost.
    #[error("{place} runs with {setting} = off, which loses acknowledged keys when the power fails: turn it on")]
    Careless {
        /// Server and database.
        place: String,
        /// Which setting.
        setting: &'static str,
    },
}

impl OpenError {
    /// Might it be over with nothing changed here?
    pub(crate) fn is_absence(&self) -> bool {
        match self {
            Self::Unreached { .. } => true,
            Self::Misled { .. }
            | Self::Refused { .. }
            | Self::Missing { .. }
            | Self::Taken { .. }
            | Self::Newer { .. }
            | Self::Roles { .. }
            | Self::Unbound { .. }
            | Self::TooMuch { .. }
            | Self::Careless { .. } => false,
        }
    }
}

/// What is more than can be an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    /// One message.
    #[error("the server announces a message of {bytes} bytes, and {MESSAGE_BYTES_MAX} are taken at most")]
    Message {
        /// How long it would be, or all settings together.
        bytes: u64,
    },
    /// One row.
    #[error("the server announces a row of {bytes} bytes, and {ANSWERED_ROW_BYTES_MAX} are taken at most")]
    Row {
        /// How long it would be.
        bytes: u64,
    },
    /// Rows.
    #[error("the server answers with more than the {rows} rows that were asked for, or with larger ones than there are")]
    Answer {
        /// How many were asked for.
        rows: usize,
    },
}

/// Why tables could not be made or opened.
pub(super) enum NotOpen {
    Failed(Error),
    Missing,
    Taken,
    Newer {
        found: i64,
        known: i64,
    },
    Careless {
        setting: &'static str,
    },
    Roles {
        missing: String,
    },
    Unbound {
        role: String,
    },
    /// No answer in time.
    Late,
}

impl From<Error> for NotOpen {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

pub(super) fn opening(url: &Url, error: NotOpen) -> StoreError {
    let place = url.place();
    let error = match error {
        NotOpen::Failed(error) if is_lost(&error) => OpenError::Unreached { place, what: told(&error) },
        NotOpen::Failed(error) => OpenError::Refused { place, what: told(&error) },
        NotOpen::Missing => OpenError::Missing { place },
        NotOpen::Taken => OpenError::Taken { place },
        NotOpen::Newer { found, known } => OpenError::Newer { place, found, known },
        NotOpen::Careless { setting } => OpenError::Careless { place, setting },
        NotOpen::Roles { missing } => OpenError::Roles { place, missing },
        NotOpen::Unbound { role } => OpenError::Unbound { place, role },
        NotOpen::Late => return late(url),
    };
    StoreError::Unavailable { what: OPENING, source: Box::new(error) }
}

/// There was no connection to be had.
pub(super) fn connecting(url: &Url, error: &PoolError) -> StoreError {
    let place = url.place();
    let source = match error {
        PoolError::Backend(error) if is_misled(error) => OpenError::Misled { place, what: told(error) },
        PoolError::Backend(error) => OpenError::Unreached { place, what: told(error) },
        other => OpenError::Unreached { place, what: other.to_string() },
    };
    StoreError::Unavailable { what: UNREACHED, source: Box::new(source) }
}

/// The time of a call is over.
pub(super) fn late(url: &Url) -> StoreError {
    let what = "no answer in time".to_owned();
    StoreError::Unavailable { what: LATE, source: Box::new(OpenError::Unreached { place: url.place(), what }) }
}

/// The server sends what cannot be an answer; the connection is given up.
pub(super) fn too_much(url: &Url, breach: Breach) -> StoreError {
    StoreError::Unavailable { what: TOO_MUCH, source: Box::new(OpenError::TooMuch { place: url.place(), breach }) }
}

/// A statement failed.
pub(super) fn refused(url: &Url, error: Error) -> StoreError {
    if error.code() == Some(&SqlState::DISK_FULL) {
        return StoreError::Full { at: url.place() };
    }
    if error.is_closed() || is_fatal(&error) {
        return StoreError::Unavailable {
            what: UNREACHED,
            source: Box::new(OpenError::Unreached { place: url.place(), what: told(&error) }),
        };
    }
    let what = if error.code() == Some(&SqlState::QUERY_CANCELED) { LATE } else { REFUSED };
    StoreError::Unavailable { what, source: Box::new(OpenError::Refused { place: url.place(), what: told(&error) }) }
}

/// The driver's error with the server's own words; none of them quotes a parameter.
fn told(error: &Error) -> String {
    match error.as_db_error() {
        Some(said) => format!("{} (SQLSTATE {})", said.message(), said.code().code()),
        None => error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}")),
    }
}

/// Is it of no use to connect again as long as nothing is changed: another server, no such user, no such database?
fn is_misled(error: &Error) -> bool {
    let class = error.code().map(|code| &code.code()[..2]);
    matches!(class, Some("28" | "3D")) || crate::is_untrusted(error)
}

/// Did the connection end, or the time, rather than that the server minds what it was asked?
fn is_lost(error: &Error) -> bool {
    error.is_closed() || is_fatal(error) || error.code() == Some(&SqlState::QUERY_CANCELED)
}

/// Has the server refused it only because others were at the same rows, so that the same again may succeed?
pub(super) fn is_for_others(error: &Error) -> bool {
    matches!(error.code(), Some(code) if *code == SqlState::T_R_SERIALIZATION_FAILURE || *code == SqlState::T_R_DEADLOCK_DETECTED)
}

/// Does the server end the connection with it?
pub(super) fn is_fatal(error: &Error) -> bool {
    let severity = error.as_db_error().and_then(tokio_postgres::error::DbError::parsed_severity);
    // An error without a word of the server's is one of the connection's.
    error.as_db_error().is_none() || matches!(severity, Some(Severity::Fatal | Severity::Panic))
}

/// Does the answer to a COMMIT say for certain that nothing was committed? Others than these may come after the commit's record was written.
pub(super) fn is_undone(error: &Error) -> bool {
    let class = error.code().map(|code| &code.code()[..2]);
    !is_fatal(error) && (is_for_others(error) || matches!(class, Some("23" | "53" | "54")))
}
