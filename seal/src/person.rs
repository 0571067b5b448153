//! A person who keeps a shard: it is encrypted to their age recipient, and only they can open it, by a program and a key of their own (C11).
//!
//! What a slot stores for one: `recipient 32` as parameters, and an age file as the protected part.

use std::fmt;
use std::str::FromStr;

use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32, Hrp};
use cipher::age::{DRAWN_BYTES, RECIPIENT_BYTES, encrypt};
use secret::{Bytes, Key};

use crate::custodian::{Consent, Custodian, CustodianKind, Guarded, New, Place, Platform};
use crate::shard::PlainShard;
use crate::{Error, Label};

const HRP: &str = "age";

/// Whom a shard is encrypted to: the public key that `age-keygen` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipient([u8; RECIPIENT_BYTES]);

impl Recipient {
    /// What a slot stores.
    ///
    /// # Errors
    /// `Corrupt`.
    pub(crate) fn from_parameters(bytes: &[u8]) -> Result<Self, Error> {
        bytes.try_into().map(Self).map_err(|_| Error::Corrupt { what: "recipient", at: 0 })
    }
}

impl FromStr for Recipient {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let decoded = CheckedHrpstring::new::<Bech32>(text).ok().filter(|decoded| decoded.hrp().as_str() == HRP);
        let bytes: Option<Vec<u8>> = decoded.map(|decoded| decoded.byte_iter().collect());
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or(Error::Invalid { field: "recipient", wants: "an X25519 recipient of age: `age1` and 58 more characters" })
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bech32::encode::<Bech32>(Hrp::parse_unchecked(HRP), &self.0).map_err(|_| fmt::Error)?)
    }
}

/// Somebody with an age identity.
pub(crate) struct Person {
    name: Label,
    recipient: Recipient,
}

impl Person {
    pub(crate) fn new(name: Label, recipient: Recipient) -> Self {
        Self { name, recipient }
    }
}

impl Custodian for Person {
    fn name(&self) -> &Label {
        &self.name
    }

    fn kind(&self) -> CustodianKind {
        CustodianKind::Age
    }

    fn unattended(&self) -> bool {
        false
    }

    fn protect(&self, secret: &Bytes, of: New<'_>, _: Consent<'_>) -> Result<Guarded, Error> {
        let drawn = Key::<DRAWN_BYTES>::try_init_with(|place| Ok::<_, Error>(of.randomness.fill(place)?))?;
        let copy = Bytes::init_with(secret.len(), |place| secret.expose(|secret| place.copy_from_slice(secret)))?;
        let text = PlainShard::from_bytes(copy)?.text()?;
        let file = text.expose(|text| drawn.expose(|drawn| encrypt(&self.recipient.0, text, drawn)));
        let unfit = |_| Error::Invalid { field: "recipient", wants: "a public key that `age-keygen` has printed" };
        Ok(Guarded { parameters: self.recipient.0.to_vec(), protected: file.map_err(unfit)? })
    }

    fn open(&self, _: Place<'_>, _: Consent<'_>) -> Result<Bytes, Error> {
        Err(Error::NeedsShard { keeper: self.name.clone() })
    }

    fn ailing(&self, _: Place<'_>, _: Consent<'_>) -> Vec<(Label, Error)> {
        Vec::new()
    }

    fn people(&self) -> Vec<Label> {
        vec![self.name.clone()]
    }

    fn follows_platform(&self) -> bool {
        false
    }

    fn platform(&self, _: Option<&[u8]>) -> Result<Option<Platform>, Error> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipient_is_read_as_age_prints_it_and_in_no_other_form() {
        // The example of the format's specification.
        let text = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";
        let recipient: Recipient = text.parse().expect("it is one");
        assert_eq!(recipient.to_string(), text);
        assert_eq!(Recipient::from_parameters(&recipient.0).ok(), Some(recipient));
        for wrong in [
            "",
            "age1",
            "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwk",
            "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX",
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA",
        ] {
            assert!(wrong.parse::<Recipient>().is_err(), "{wrong}");
        }
    }
}
