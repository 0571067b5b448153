//! Result Reasons: which one an error gets, and which one an older protocol version gets instead.

use keys::lifecycle::State;

use crate::enums::ResultReason;
use crate::error::Error;
use crate::version::ProtocolVersion;

/// The reason that section 11.1 assigns to what is wrong with a request.
#[must_use]
pub fn reason(error: &Error) -> ResultReason {
    match error {
        Error::Malformed { .. }
        | Error::Text(_)
        | Error::TooLong { .. }
        | Error::OtherMajorVersion { .. }
        | Error::Duplicate { .. }
        | Error::TooMany { .. }
        | Error::Missing { .. } => ResultReason::InvalidMessage,
        Error::Unknown { .. } | Error::NotInVersion { .. } | Error::Invalid { .. } | Error::UnknownAttribute { .. } => {
            ResultReason::InvalidField
        }
        Error::CriticalExtension { .. } => ResultReason::FeatureNotSupported,
        Error::CredentialsRefused => ResultReason::AuthenticationNotSuccessful,
        Error::Refused { reason, .. } => reason.unwrap_or(ResultReason::GeneralFailure),
        Error::Mismatched { .. } => ResultReason::GeneralFailure,
    }
}

/// The reason that the tables of section 11 assign to what the domain says.
///
/// They know a reason for one wrong state, archived: whatever else cannot be used, activated, revoked or destroyed now is Permission Denied.
pub(crate) fn domain_reason(error: &keys::Error) -> ResultReason {
    match error {
        keys::Error::NotFound => ResultReason::ItemNotFound,
        keys::Error::Archived | keys::Error::WrongState { is: State::Retired, .. } => ResultReason::ObjectArchived,
        keys::Error::Unlimited => ResultReason::IllegalOperation,
        keys::Error::Denied { .. }
        | keys::Error::WrongState { .. }
        | keys::Error::IvsExhausted { .. }
        | keys::Error::UsageExhausted { .. }
        | keys::Error::Replaced { .. }
        | keys::Error::Withdrawn { .. } => ResultReason::PermissionDenied,
        keys::Error::NotExtractable => ResultReason::NotExtractable,
        keys::Error::Sensitive => ResultReason::Sensitive,
        keys::Error::Forged | keys::Error::NotUnwrapped | keys::Error::NotMade(_) => ResultReason::CryptographicFailure,
        keys::Error::Exists => ResultReason::ObjectAlreadyExists,
        keys::Error::Invalid { .. } | keys::Error::NameTaken { .. } => ResultReason::InvalidField,
        keys::Error::NoLease { .. } | keys::Error::Raced | keys::Error::Unavailable { .. } | keys::Error::Corrupt { .. } => {
            ResultReason::GeneralFailure
        }
    }
}

impl ResultReason {
    /// The same reason if this version has it, else what that version says in such a case.
    #[must_use]
    pub fn nearest_in(self, version: ProtocolVersion) -> Self {
        if self.since() <= version {
            return self;
        }
        match self {
            Self::Sensitive | Self::NotExtractable | Self::AttestationRequired => Self::PermissionDenied,
            Self::ObjectAlreadyExists | Self::KeyValueNotPresent => Self::IllegalOperation,
            Self::AttestationFailed => Self::AuthenticationNotSuccessful,
            Self::EncodingOptionError => Self::InvalidField,
            _ => Self::GeneralFailure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ProtocolVersion::{V1_0, V1_1, V1_2, V1_3, V1_4};

    #[test]
    fn every_version_gets_a_reason_that_it_has() {
        for reason in ResultReason::ALL {
            for version in ProtocolVersion::ALL {
                let nearest = reason.nearest_in(version);
                assert!(nearest.since() <= version, "{reason:?} became {nearest:?} in {version}");
                assert_eq!(nearest == *reason, reason.since() <= version, "{reason:?} in {version}");
            }
        }
    }

    #[test]
    fn newer_reasons_become_the_ones_older_clients_expect() {
        let check = |newer: ResultReason, version, older| assert_eq!(newer.nearest_in(version), older, "{newer:?} in {version}");
        check(ResultReason::Sensitive, V1_3, ResultReason::PermissionDenied);
        check(ResultReason::NotExtractable, V1_0, ResultReason::PermissionDenied);
        check(ResultReason::ObjectAlreadyExists, V1_3, ResultReason::IllegalOperation);
        check(ResultReason::KeyValueNotPresent, V1_1, ResultReason::IllegalOperation);
        check(ResultReason::AttestationRequired, V1_1, ResultReason::PermissionDenied);
        check(ResultReason::EncodingOptionError, V1_0, ResultReason::InvalidField);
        check(ResultReason::EncodingOptionError, V1_1, ResultReason::EncodingOptionError);
        check(ResultReason::KeyValueNotPresent, V1_2, ResultReason::KeyValueNotPresent);
        check(ResultReason::Sensitive, V1_4, ResultReason::Sensitive);
    }
}
