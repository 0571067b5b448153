//! Why a command did not do what was asked: one line for people, one object for programs, and the exit code.

use std::error::Error;
use std::fmt;
use std::io::Write;
use std::process::ExitCode;

use daemon::admin::client::ClientError;
use daemon::causes::told;
use daemon::kmip_client::KmipError;
use daemon::tls::TlsError;
use serde_json::json;

use crate::output::clean;

/// What kind of failure it is; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The operation failed or was refused.
    Failed,
    /// The command line is wrong, or asks for what this release does not have.
    Usage,
    /// The node is sealed, cannot serve now, or cannot be reached.
    Unavailable,
    /// What was verified is not as it should be.
    Unverified,
}

impl Kind {
    /// The process's exit code.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Unavailable => 3,
            Self::Unverified => 4,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::Unavailable => "unavailable",
            Self::Unverified => "unverified",
        }
    }
}

/// A command's failure.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// What kind.
    pub(crate) kind: Kind,
    /// What happened and what to do next, in one line.
    pub(crate) message: String,
}

impl Failure {
    /// The operation failed or was refused.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { kind: Kind::Failed, message: message.into() }
    }

    /// The command line cannot be meant.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { kind: Kind::Usage, message: message.into() }
    }

    /// The node does not serve.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self { kind: Kind::Unavailable, message: message.into() }
    }

    /// A check found something wrong.
    pub(crate) fn unverified(message: impl Into<String>) -> Self {
        Self { kind: Kind::Unverified, message: message.into() }
    }

    /// Of this kind, with the error's own words and those of its causes.
    pub(crate) fn of(kind: Kind, error: &(dyn Error + 'static)) -> Self {
        Self { kind, message: told(error) }
    }

    /// The line or object for standard error.
    pub(crate) fn render(&self, json: bool) -> String {
        if json {
            return json!({"error": {"kind": self.kind.name(), "exit_code": self.kind.code(), "message": self.message}}).to_string();
        }
        format!("strongroom: {}", clean(&self.message))
    }

    /// Tells it, and returns the exit code.
    pub(crate) fn report(&self, json: bool) -> ExitCode {
        // There is nowhere else to say that standard error is closed.
        let _unheard = writeln!(std::io::stderr(), "{}", self.render(json));
        ExitCode::from(self.kind.code())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Failure {}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let kind = match &error {
            ClientError::Address { .. } | ClientError::Files(TlsError::ServerName { .. }) => Kind::Usage,
            error if error.is_unavailable() => Kind::Unavailable,
            _ => Kind::Failed,
        };
        Self::of(kind, &error)
    }
}

impl From<KmipError> for Failure {
    fn from(error: KmipError) -> Self {
        let kind = match &error {
            KmipError::Unreachable { .. } | KmipError::TimedOut { .. } => Kind::Unavailable,
            // What a sealed node answers, and one whose store or log is down.
            KmipError::Kmip(::kmip::Error::Refused { reason: Some(::kmip::ResultReason::GeneralFailure), .. }) => Kind::Unavailable,
            KmipError::Address { .. } | KmipError::Files(TlsError::ServerName { .. }) => Kind::Usage,
            _ => Kind::Failed,
        };
        if let KmipError::Kmip(::kmip::Error::Refused { operation, status, reason, message }) = &error {
            return Self { kind, message: refusal(*operation, *status, *reason, message) };
        }
        Self::of(kind, &error)
    }
}

/// A KMIP refusal in the standard's names.
fn refusal(
    operation: Option<::kmip::Operation>,
    status: ::kmip::ResultStatus,
    reason: Option<::kmip::ResultReason>,
    message: &str,
) -> String {
    let operation = operation.map_or("the request", ::kmip::Operation::name);
    let reason = reason.map_or(status.name(), ::kmip::ResultReason::name);
    if message.is_empty() { format!("{operation} refused: {reason}") } else { format!("{operation} refused: {reason}: {message}") }
}

#[cfg(test)]
mod tests {
    use daemon::admin::types::Problem;

    use super::*;

    #[test]
    fn every_kind_has_its_documented_exit_code() {
        let codes = [Kind::Failed, Kind::Usage, Kind::Unavailable, Kind::Unverified].map(Kind::code);
        assert_eq!(codes, [1, 2, 3, 4]);
    }

    #[test]
    fn a_failure_is_one_line_for_people_and_one_object_for_programs() {
        let failure = Failure::unavailable("first\nsecond \u{1b}[31m");
        assert_eq!(failure.render(false), "strongroom: first; second \\u{1b}[31m");
        let read: serde_json::Value = serde_json::from_str(&failure.render(true)).expect("an object");
        assert_eq!(read, json!({"error": {"kind": "unavailable", "exit_code": 3, "message": "first\nsecond \u{1b}[31m"}}));
    }

    #[test]
    fn a_sealed_nodes_refusal_is_not_the_requests_fault() {
        let refused = |status| Failure::from(ClientError::Refused(Problem { title: String::new(), status, detail: "why".to_owned() }));
        assert_eq!(refused(503), Failure::unavailable("why"));
        for status in [400, 403, 404, 409, 500] {
            assert_eq!(refused(status), Failure::failed("why"), "{status}");
        }
    }

    #[test]
    fn a_kmip_refusal_speaks_in_the_standards_names() {
        let refused = |reason, message: &str| {
            Failure::from(KmipError::Kmip(::kmip::Error::Refused {
                operation: Some(::kmip::Operation::GetAttributes),
                status: ::kmip::ResultStatus::OperationFailed,
                reason,
                message: message.to_owned(),
            }))
        };
        assert_eq!(refused(Some(::kmip::ResultReason::ItemNotFound), ""), Failure::failed("Get Attributes refused: Item Not Found"));
        assert_eq!(refused(None, "no"), Failure::failed("Get Attributes refused: Operation Failed: no"));
        let sealed = refused(Some(::kmip::ResultReason::GeneralFailure), "sealed");
        assert_eq!(sealed, Failure::unavailable("Get Attributes refused: General Failure: sealed"));
    }
}
