//! An age identity's public half, to which a person's shard is encrypted; they open it by a program and a key of their own (C11).
//!
//! What a slot stores for one: `recipient 32` as parameters, and an age file as the protected part.

use std::fmt;
use std::str::FromStr;

use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32, Hrp};
use cipher::age::{DRAWN_BYTES, RECIPIENT_BYTES, encrypt};
use keys::entropy::Randomness;
use secret::Key;

use crate::Error;

const HRP: &str = "age";

/// The public key that `age-keygen` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgeRecipient([u8; RECIPIENT_BYTES]);

impl AgeRecipient {
    pub(crate) fn parameters(&self) -> Vec<u8> {
        self.0.to_vec()
    }

    /// What a slot stores.
    ///
    /// # Errors
    /// `Corrupt`.
    pub(crate) fn from_parameters(bytes: &[u8]) -> Result<Self, Error> {
        bytes.try_into().map(Self).map_err(|_| Error::Corrupt { what: "recipient", at: 0 })
    }

    /// An age file.
    ///
    /// # Errors
    /// `Invalid`, if nobody can have a private key to it; `Entropy`, `Exhausted`.
    pub(crate) fn encrypt(&self, text: &[u8], randomness: &Randomness) -> Result<Vec<u8>, Error> {
        let drawn = Key::<DRAWN_BYTES>::try_init_with(|place| Ok::<_, Error>(randomness.fill(place)?))?;
        let file = drawn.expose(|drawn| encrypt(&self.0, text, drawn));
        file.map_err(|_| Error::Invalid { field: "recipient", wants: "a public key that `age-keygen` has printed" })
    }
}

impl FromStr for AgeRecipient {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let decoded = CheckedHrpstring::new::<Bech32>(text).ok().filter(|decoded| decoded.hrp().as_str() == HRP);
        let bytes: Option<Vec<u8>> = decoded.map(|decoded| decoded.byte_iter().collect());
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or(Error::Invalid { field: "recipient", wants: "an X25519 recipient of age: `age1` and 58 more characters" })
    }
}

impl fmt::Display for AgeRecipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bech32::encode::<Bech32>(Hrp::parse_unchecked(HRP), &self.0).map_err(|_| fmt::Error)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipient_is_read_as_age_prints_it_and_in_no_other_form() {
        // The example of the format's specification.
        let text = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";
        let recipient: AgeRecipient = text.parse().expect("it is one");
        assert_eq!(recipient.to_string(), text);
        assert_eq!(AgeRecipient::from_parameters(&recipient.0).ok(), Some(recipient));
        for wrong in [
            "",
            "age1",
            "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwk",
            "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX",
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA",
        ] {
            assert!(wrong.parse::<AgeRecipient>().is_err(), "{wrong}");
        }
    }
}
