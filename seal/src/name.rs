//! How slots and custodians are named.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use crate::Error;

/// Most bytes of a [`Label`].
pub(crate) const LABEL_BYTES_MAX: usize = 64;

/// A seal slot; random, and the name of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId(Uuid);

impl SlotId {
    /// From 16 random bytes.
    #[must_use]
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(uuid::Builder::from_random_bytes(bytes).into_uuid())
    }

    /// From its 16 bytes in a stored slot.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// The 16 bytes that are stored.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for SlotId {
    type Err = Error;

    /// Takes the form that `Display` writes and no other, so that a slot has one file name.
    fn from_str(text: &str) -> Result<Self, Error> {
        let id = text.parse().ok().map(Self).filter(|id| id.to_string() == text);
        id.ok_or(Error::Invalid { field: "slot id", wants: "a lower-case UUID with hyphens" })
    }
}

/// What people call a slot or a custodian: 1 to 64 bytes without control characters, and no UUID.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(String);

impl Label {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Label {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let is_good = (1..=LABEL_BYTES_MAX).contains(&text.len()) && !text.contains(char::is_control) && text.trim() == text;
        // A label that looks like an id could stand for another slot than the one it is on.
        if is_good && Uuid::parse_str(text).is_err() {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::Invalid { field: "label", wants: "1 to 64 bytes, no control characters, no space at either end, not a UUID" })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_that_could_mislead_is_refused() {
        let check = |text: &str, is_label: bool| assert_eq!(text.parse::<Label>().is_ok(), is_label, "{text:?}");
        check("primary HSM, rack 4", true);
        check(&"x".repeat(64), true);
        check("", false);
        check(&"x".repeat(65), false);
        check(" primary", false);
        check("primary ", false);
        check("two\nlines", false);
        check("esc\u{1b}[2J", false);
        check("9f1c7b1e-6f0a-4f43-9d57-0f6d5b1a2c3d", false);
        check("9F1C7B1E6F0A4F439D570F6D5B1A2C3D", false);
    }

    #[test]
    fn a_slot_has_one_file_name() {
        let id = SlotId::from_random([0xAB; 16]);
        assert_eq!(id.to_string().parse::<SlotId>().ok(), Some(id));
        assert!(id.to_string().to_uppercase().parse::<SlotId>().is_err());
        assert!(id.to_string().replace('-', "").parse::<SlotId>().is_err());
    }
}
