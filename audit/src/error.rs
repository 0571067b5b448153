//! What can be wrong with a log or its surroundings, by culprit.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a log cannot be opened or does not verify.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The system refused a file operation.
    #[error("audit log: cannot {what} {path}; check that the disk, its mount and the owner of the directory are right", path = path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What came back.
        #[source]
        source: io::Error,
    },
    /// Another process writes this log.
    #[error("audit log {dir} is in use by another process; stop the other strongroomd first", dir = dir.display())]
    InUse {
        /// The log's directory.
        dir: PathBuf,
    },
    /// The bytes on disk are not what was written.
    #[error("audit log is broken: {0}; keep the directory as evidence, move it away and start again with a new log")]
    Broken(Finding),
    /// The directory holds the log of another node.
    #[error("audit log {dir} belongs to log id {found}, this node's is {wants}; point audit.dir to this node's own log", dir = dir.display())]
    OtherLog {
        /// The log's directory.
        dir: PathBuf,
        /// Log id in the directory.
        found: Hex,
        /// Log id of this node.
        wants: Hex,
    },
    /// The log was signed by another key than the one given.
    #[error("audit log is signed by key {found}, this node's key is {wants}; restore the key or start a new log")]
    OtherKey {
        /// Public key of the last signature.
        found: Hex,
        /// Public key of the key given.
        wants: Hex,
    },
}

impl AuditError {
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, path: path.to_owned(), source }
    }
}

/// The first place where a log is not what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}, offset {offset}, at record {seq}: {flaw}", file = file.display())]
pub struct Finding {
    /// The segment's file.
    pub file: PathBuf,
    /// Where the line begins in it, in bytes.
    pub offset: u64,
    /// The record in question, or the one that should come next.
    pub seq: u64,
    /// What is wrong.
    pub flaw: Flaw,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// No such kind of line in this format.
    #[error("lines of kind {0} are unknown; a newer strongroom may know them")]
    Kind(u8),
    /// The line has a length that its kind cannot have.
    #[error("a line of kind {kind} cannot be {bytes} bytes long")]
    Length {
        /// Kind of the line.
        kind: u8,
        /// Its length as stated.
        bytes: usize,
    },
    /// The file ends within a line, and it is not the end of the log.
    #[error("the file is cut short")]
    Cut,
    /// A field has a value that is never written.
    #[error("field `{0}` has a value that is never written by this version")]
    Field(&'static str),
    /// The segment is in another format version.
    #[error("format version {0} is unknown; use the strongroom that wrote it")]
    Version(u16),
    /// A segment does not begin with a header, or has a second one.
    #[error("a segment's header is missing or in the wrong place")]
    Header,
    /// A header does not continue the segment before.
    #[error("the header's `{0}` does not continue the segment before")]
    Continuity(&'static str),
    /// Numbers of records are not consecutive.
    #[error("the record carries number {is}, expected {wants}: records are missing, repeated or out of order")]
    Seq {
        /// Number in the record.
        is: u64,
        /// Number that comes next.
        wants: u64,
    },
    /// A record's hash does not follow from the record and its predecessor.
    #[error("the hash does not follow from the line and its predecessor: one of them was altered")]
    Link,
    /// A record refers to a session that was never written.
    #[error("session {0} does not exist")]
    Session(u64),
    /// A signature does not begin where the one before ended, or covers other records than those before it.
    #[error(
        "the signature covers records {first} to {last}, expected {wants_first} to {wants_last}: signatures are missing, repeated or moved"
    )]
    Range {
        /// First record covered.
        first: u64,
        /// Last record covered.
        last: u64,
        /// First record not yet covered.
        wants_first: u64,
        /// Last record before the signature.
        wants_last: u64,
    },
    /// The signed chain head is not the head of the chain.
    #[error("the signed chain head is another one")]
    Head,
    /// The signed Merkle root is not that of the records.
    #[error("the signed Merkle root is another one")]
    Root,
    /// The signature is by another key than the log's.
    #[error("signed by key {is}, expected {wants}")]
    Key {
        /// Public key in the line.
        is: Hex,
        /// The pinned key, or that of the signatures before.
        wants: Hex,
    },
    /// The Ed25519 signature does not verify.
    #[error("the signature over records {first} to {last} does not verify")]
    Signature {
        /// First record covered.
        first: u64,
        /// Last record covered.
        last: u64,
    },
    /// A line follows the end of a segment.
    #[error("a line follows the segment's end")]
    AfterEnd,
    /// A segment has no end although another one follows.
    #[error("the segment has no end although another one follows: lines are missing")]
    NoEnd,
    /// A segment is not there.
    #[error("segment {0} is missing")]
    SegmentMissing(u64),
}

/// Bytes that print as lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hex(pub Vec<u8>);

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
