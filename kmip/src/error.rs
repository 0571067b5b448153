//! What can be wrong with a message, by who is to blame.

use crate::enums::{Operation, ResultReason, ResultStatus};
use crate::text::TextError;
use crate::version::ProtocolVersion;

/// Why a message, an item of it or an answer could not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes are not TTLV, or not the structure that belongs there; `offset` counts bytes from the start of the message.
    #[error("at byte {offset} there should be {expected}")]
    Malformed {
        /// Where the offending item or byte begins.
        offset: usize,
        /// What should have stood there.
        expected: &'static str,
    },
    /// The text is no message in XML or JSON.
    #[error(transparent)]
    Text(#[from] TextError),
    /// A message declares more bytes than its receiver takes.
    #[error("the message declares {bytes} bytes, at most {bytes_max} are taken: send less at once")]
    TooLong {
        /// Length of the whole message, header included.
        bytes: u64,
        /// The receiver's limit.
        bytes_max: usize,
    },
    /// The header names a major version other than 1.
    #[error("protocol version {major}.{minor} is not spoken here: use 1.0 to 1.4")]
    OtherMajorVersion {
        /// Major number from the header.
        major: i32,
        /// Minor number from the header.
        minor: i32,
    },
    /// A field that may stand once stands twice.
    #[error("{field} stands more than once (again at byte {offset})")]
    Duplicate {
        /// Where the second one begins.
        offset: usize,
        /// The field's name in the standard.
        field: &'static str,
    },
    /// A field repeats more often than the receiver takes.
    #[error("{field} is repeated more than {most} times (byte {offset})")]
    TooMany {
        /// Where the first one too many begins.
        offset: usize,
        /// The field's name in the standard.
        field: &'static str,
        /// The receiver's limit.
        most: usize,
    },
    /// A field that must be there is not.
    #[error("{field} is missing from the structure at byte {offset}")]
    Missing {
        /// Where the structure begins.
        offset: usize,
        /// The field's name in the standard.
        field: &'static str,
    },
    /// A field that the structure does not have.
    #[error("{field} does not belong there (byte {offset})")]
    Unknown {
        /// Where the field begins.
        offset: usize,
        /// The field's name in the standard, or that it has none.
        field: &'static str,
    },
    /// A field, an attribute, a value or an operation that the message's protocol version does not have.
    #[error("{field} is not part of KMIP {version}")]
    NotInVersion {
        /// The name in the standard.
        field: &'static str,
        /// The version of the message.
        version: ProtocolVersion,
    },
    /// A well-formed field whose content cannot be meant.
    #[error("{field}: {why} (byte {offset})")]
    Invalid {
        /// Where the field begins.
        offset: usize,
        /// The name of the field or attribute in the standard.
        field: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// An attribute name that neither the standard nor the rule for custom names knows.
    #[error("there is no attribute {name:?}: custom names begin with x- or y- (byte {offset})")]
    UnknownAttribute {
        /// Where the attribute begins.
        offset: usize,
        /// The name, cut to 64 characters.
        name: String,
    },
    /// A critical message extension of a vendor whose extensions are not understood here.
    #[error("the critical extension of vendor {vendor:?} is not understood")]
    CriticalExtension {
        /// The vendor, cut to 64 characters.
        vendor: String,
    },
    /// A header with credentials, where the operator wants none.
    #[error("credentials are refused here: leave Authentication out, the certificate says who the client is")]
    CredentialsRefused,
    /// Client: the server did not do what was asked.
    #[error("{operation:?} ended in {status:?}, reason {reason:?}: {message}")]
    Refused {
        /// The operation that failed, if the server named it.
        operation: Option<Operation>,
        /// Never `Success`.
        status: ResultStatus,
        /// The server's reason.
        reason: Option<ResultReason>,
        /// The server's words, possibly none.
        message: String,
    },
    /// Client: the answer does not belong to the request.
    #[error("the answer does not fit the request: {what}")]
    Mismatched {
        /// What differs.
        what: &'static str,
    },
}

/// At most the first 64 characters of what a peer sent, for use in an error.
pub(crate) fn excerpt(text: &str) -> String {
    text.chars().take(64).collect()
}
