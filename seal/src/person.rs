//! A person who keeps a shard: it is encrypted to an age identity or to a smart card of theirs, and only they can open it (C11).
//!
//! What they get is the shard's text, so that whatever program opens it gives them the line that they enter.

use std::fmt;

use secret::Bytes;

use crate::age::AgeRecipient;
use crate::card::CardKey;
use crate::custodian::{Consent, Custodian, CustodianKind, Guarded, New, Place, Platform};
use crate::shard::PlainShard;
use crate::{Error, Label};

/// Whom a shard is encrypted to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipient {
    /// The holder of an age identity.
    Age(AgeRecipient),
    /// The holder of a smart card.
    Card(CardKey),
}

impl Recipient {
    /// What its holder is as a keeper.
    #[must_use]
    pub fn kind(&self) -> CustodianKind {
        match self {
            Self::Age(_) => CustodianKind::Age,
            Self::Card(_) => CustodianKind::Card,
        }
    }

    /// What a slot stores for a keeper of this kind; `None` for a device.
    ///
    /// # Errors
    /// `Corrupt`.
    pub(crate) fn from_parameters(kind: CustodianKind, bytes: &[u8]) -> Result<Option<Self>, Error> {
        match kind {
            CustodianKind::Age => AgeRecipient::from_parameters(bytes).map(Self::Age).map(Some),
            CustodianKind::Card => CardKey::from_parameters(bytes).map(Self::Card).map(Some),
            _ => Ok(None),
        }
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Age(recipient) => recipient.fmt(f),
            Self::Card(key) => key.fmt(f),
        }
    }
}

/// Somebody who gives a shard by hand.
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
        self.recipient.kind()
    }

    fn unattended(&self) -> bool {
        false
    }

    fn protect(&self, secret: &Bytes, of: New<'_>, _: Consent<'_>) -> Result<Guarded, Error> {
        let copy = Bytes::init_with(secret.len(), |place| secret.expose(|secret| place.copy_from_slice(secret)))?;
        let text = PlainShard::from_bytes(copy)?.text()?;
        let (parameters, protected) = match &self.recipient {
            Recipient::Age(recipient) => (recipient.parameters(), text.expose(|text| recipient.encrypt(text, of.randomness))?),
            Recipient::Card(key) => (key.parameters(), text.expose(|text| key.encrypt(text))?),
        };
        Ok(Guarded { parameters, protected })
    }

    fn open(&self, _: Place<'_>, _: Consent<'_>) -> Result<Bytes, Error> {
        Err(Error::NeedsShard { keeper: self.name.clone(), kind: self.kind() })
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
