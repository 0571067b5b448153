//! What the server and the way to it have to say, by what is to be done about it.

use keys::port::StoreError;

use super::http::Lost;

const OPENING: &str = "opening the OpenBao keystore";
const LATE: &str = "OpenBao does not answer in time";
const UNREACHED: &str = "OpenBao cannot be reached";
const REFUSED: &str = "OpenBao does not do it";
/// Of what the server says no more is repeated than this, in characters.
const SAID_CHARS_MAX: usize = 200;

/// Why the place on the server cannot be used as a keystore.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Nothing answers, or not us.
    #[error("{place}: {what}: see that the server runs, and that url, ca and certificate under `keystores` are right")]
    Unreached {
        /// The server.
        place: String,
        /// What came back.
        what: String,
    },
    /// What answers is another server than is meant.
    #[error("{place}: {what}: see that url and ca under `keystores` are right")]
    Misled {
        /// The server.
        place: String,
        /// What came back.
        what: String,
    },
    /// It answers with something else than was asked for.
    #[error("{place}: {what}")]
    Refused {
        /// The server.
        place: String,
        /// What came back.
        what: String,
    },
    /// There is nothing there, and nothing is made in place of what was lost.
    #[error(
        "{place} holds no keystore: correct mount, prefix and namespace under `keystores`, or restore the server from a snapshot; nothing was made in its place"
    )]
    Missing {
        /// Server and path.
        place: String,
    },
    /// A new cluster would lie among another's records.
    #[error(
        "{place} holds the records of a cluster, or of an init that did not finish: set another prefix under `keystores`, or have all below this one deleted"
    )]
    Taken {
        /// Server and path.
        place: String,
    },
    /// Written by a newer release; it was left untouched.
    #[error("{place} has schema {found}, this release knows up to {known}; upgrade strongroom")]
    Newer {
        /// Server and path.
        place: String,
        /// The schema found.
        found: u64,
        /// The newest schema known.
        known: u64,
    },
    /// Keys that were destroyed would stay.
    #[error(
        "{place} keeps old versions, also of keys that are destroyed: run `bao write {mount}/config max_versions=1 cas_required=true`, on a mount of version 2 that nothing else uses"
    )]
    Keeps {
        /// Server and path.
        place: String,
        /// The mount.
        mount: String,
    },
}

impl OpenError {
    /// Might it be over with nothing changed here? What stands before a server answers for it while it starts.
    pub(crate) fn is_absence(&self) -> bool {
        match self {
            Self::Unreached { .. } | Self::Refused { .. } => true,
            Self::Misled { .. } | Self::Missing { .. } | Self::Taken { .. } | Self::Newer { .. } | Self::Keeps { .. } => false,
        }
    }
}

/// Why a place was not made or opened, beside what every call may meet.
pub(super) fn opening(error: OpenError) -> StoreError {
    StoreError::Unavailable { what: OPENING, source: Box::new(error) }
}

/// There was no answer.
pub(super) fn lost(place: &str, lost: &Lost) -> StoreError {
    let place = place.to_owned();
    match lost {
        Lost::Late => StoreError::Unavailable { what: LATE, source: Box::new(OpenError::Unreached { place, what: lost.to_string() }) },
        Lost::TooLong => StoreError::Unavailable { what: REFUSED, source: Box::new(OpenError::Refused { place, what: lost.to_string() }) },
        Lost::Untrusted(_) => {
            StoreError::Unavailable { what: UNREACHED, source: Box::new(OpenError::Misled { place, what: lost.to_string() }) }
        }
        Lost::Broken(_) => {
            StoreError::Unavailable { what: UNREACHED, source: Box::new(OpenError::Unreached { place, what: lost.to_string() }) }
        }
    }
}

/// There was an answer of no use.
pub(super) fn refused(place: &str, what: &str) -> StoreError {
    StoreError::Unavailable { what: REFUSED, source: Box::new(OpenError::Refused { place: place.to_owned(), what: what.to_owned() }) }
}

/// The server's own words from `{"errors": [...]}`, cut and without control characters.
pub(super) fn said(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Errors {
        errors: Vec<String>,
    }
    let errors = serde_json::from_slice(body).map_or_else(|_| Vec::new(), |Errors { errors }| errors);
    let said: String = errors.join("; ").chars().map(|char| if char.is_control() { ' ' } else { char }).take(SAID_CHARS_MAX).collect();
    if said.is_empty() { "no reason given".to_owned() } else { said }
}
