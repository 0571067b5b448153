//! The protocol versions spoken here, and which of them answers a request.

use crate::error::Error;
use crate::schema::{Rules, message};

/// A version of KMIP that this crate speaks; later versions compare greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProtocolVersion {
    /// KMIP 1.0, October 2010.
    V1_0,
    /// KMIP 1.1, January 2013.
    V1_1,
    /// KMIP 1.2, May 2015.
    V1_2,
    /// KMIP 1.3, December 2016.
    V1_3,
    /// KMIP 1.4, November 2017.
    V1_4,
}

use ProtocolVersion::{V1_0, V1_1, V1_2, V1_3, V1_4};

impl ProtocolVersion {
    /// All versions, in the order of preference that Discover Versions asks for.
    pub const ALL: [Self; 5] = [V1_4, V1_3, V1_2, V1_1, V1_0];

    /// The version that answers what cannot be answered in its own.
    pub const LATEST: Self = V1_4;
}

message! {
    /// Protocol Version, 6.1: any pair of numbers a peer may send, also one that is not spoken here.
    #[derive(Copy, Eq)]
    struct VersionNumber {
        PROTOCOL_VERSION_MAJOR: major, i32, required, V1_0..=V1_4;
        PROTOCOL_VERSION_MINOR: minor, i32, required, V1_0..=V1_4;
    }
}

impl From<ProtocolVersion> for VersionNumber {
    fn from(version: ProtocolVersion) -> Self {
        let minor = match version {
            V1_0 => 0,
            V1_1 => 1,
            V1_2 => 2,
            V1_3 => 3,
            V1_4 => 4,
        };
        Self { major: 1, minor }
    }
}

impl VersionNumber {
    /// The same version as this crate's own type, if it is one of 1.0 to 1.4.
    #[must_use]
    pub fn spoken(self) -> Option<ProtocolVersion> {
        ProtocolVersion::ALL.into_iter().find(|version| Self::from(*version) == self)
    }

    /// How a request whose header carries this version is read and answered (11.1).
    ///
    /// - 1.0 to 1.4: in that version; an unknown field is refused.
    /// - a later minor version: as 1.4; an unknown field is passed over.
    /// - Errors: `OtherMajorVersion` for everything else, to be answered as Invalid Message in 1.4.
    pub fn rules(self) -> Result<Rules, Error> {
        match self.spoken() {
            Some(version) => Ok(Rules::of(version)),
            None if self.major == 1 && self.minor > 4 => Ok(Rules::of(ProtocolVersion::LATEST).passing_over_unknown_fields()),
            None => Err(Error::OtherMajorVersion { major: self.major, minor: self.minor }),
        }
    }
}

impl std::fmt::Display for ProtocolVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let number = VersionNumber::from(*self);
        write!(f, "{}.{}", number.major, number.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_survives_the_way_to_numbers_and_back() {
        for version in ProtocolVersion::ALL {
            assert_eq!(VersionNumber::from(version).spoken(), Some(version));
        }
    }

    #[test]
    fn versions_are_ordered_by_age() {
        assert!(V1_0 < V1_1 && V1_1 < V1_2 && V1_2 < V1_3 && V1_3 < V1_4);
        assert_eq!(ProtocolVersion::ALL[0], ProtocolVersion::LATEST);
    }

    #[test]
    fn a_later_minor_version_is_read_as_the_latest() {
        let rules = VersionNumber { major: 1, minor: 9 }.rules().expect("same major version");
        assert_eq!(rules, Rules::of(V1_4).passing_over_unknown_fields());
    }

    #[test]
    fn another_major_version_is_refused() {
        for (major, minor) in [(0, 0), (2, 0), (2, 1), (1, -1), (-1, 4), (i32::MAX, i32::MIN)] {
            let refused = VersionNumber { major, minor }.rules();
            assert!(matches!(refused, Err(Error::OtherMajorVersion { .. })), "{major}.{minor} gave {refused:?}");
        }
    }
}
