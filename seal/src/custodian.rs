//! What keeps a slot key: the port that every kind of seal device, group of people or external service implements.

use std::fmt;
use std::sync::Arc;

use keys::entropy::Randomness;
use secret::{Bytes, Key};

use crate::shard::PlainShard;
use crate::slot::Header;
use crate::{Approval, Error, Label};

/// Bytes of a slot key.
pub(crate) const SLOT_KEY_BYTES: usize = 32;

/// The random key that stands between a custodian and the MasterKey; one per slot.
#[derive(Debug)]
pub(crate) struct SlotKey(pub(crate) Key<SLOT_KEY_BYTES>);

impl SlotKey {
    /// The key in the form in which custodians take it.
    pub(crate) fn bytes(&self) -> Result<Bytes, Error> {
        Ok(self.0.expose(|key| Bytes::init_with(key.len(), |place| place.copy_from_slice(key)))?)
    }

    /// What a custodian has opened.
    ///
    /// # Errors
    /// `Forged` if it is no slot key.
    pub(crate) fn from_opened(opened: &Bytes) -> Result<Self, Error> {
        if opened.len() != SLOT_KEY_BYTES {
            return Err(Error::Forged);
        }
        Ok(Self(opened.expose(|opened| Key::init_with(|place| place.copy_from_slice(opened)))?))
    }
}

/// What keeps a slot key; the number is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CustodianKind {
    /// A PKCS#11 token.
    Pkcs11 = 1,
    /// A TPM 2.0.
    Tpm2 = 2,
    /// Several others, by Shamir's scheme.
    Shamir = 3,
    /// The transit engine of OpenBao or Vault.
    OpenbaoTransit = 4,
    /// AWS KMS.
    AwsKms = 5,
    /// Azure Key Vault.
    AzureKeyVault = 6,
    /// Google Cloud KMS.
    GcpKms = 7,
    /// A person's age recipient; keeps shards only.
    Age = 64,
    /// A person's smart card; keeps shards only.
    Card = 65,
}

impl CustodianKind {
    const NAMES: [(Self, &'static str); 9] = [
        (Self::Pkcs11, "pkcs11"),
        (Self::Tpm2, "tpm2"),
        (Self::Shamir, "shamir"),
        (Self::OpenbaoTransit, "openbao-transit"),
        (Self::AwsKms, "aws-kms"),
        (Self::AzureKeyVault, "azure-key-vault"),
        (Self::GcpKms, "gcp-kms"),
        (Self::Age, "age"),
        (Self::Card, "card"),
    ];

    /// Does a person open what it keeps, and give it by hand?
    #[must_use]
    pub const fn is_person(self) -> bool {
        matches!(self, Self::Age | Self::Card)
    }

    pub(crate) fn from_number(number: u8) -> Option<Self> {
        Self::NAMES.into_iter().map(|(kind, _)| kind).find(|kind| *kind as u8 == number)
    }
}

impl fmt::Display for CustodianKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, name) = Self::NAMES.into_iter().find(|(kind, _)| kind == self).expect("every kind has a name");
        f.write_str(name)
    }
}

/// What people give and allow for one job; nothing of it is kept.
#[derive(Debug, Clone, Copy, Default)]
pub struct Consent<'a> {
    /// The PIN they typed, used instead of the custodian's credential.
    pub pin: Option<&'a Bytes>,
    /// Try the PIN once although it is latched.
    pub retry_pin: bool,
    /// Make the custodian's own key if it has none of that name.
    pub make_key: bool,
    /// Shards that people have opened.
    pub shards: &'a [Arc<PlainShard>],
}

/// A slot key as its custodian protected it; not secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guarded {
    /// What the custodian must know to open it, in a form of its own; at most 256 KiB.
    pub parameters: Vec<u8>,
    /// The protected key; at most 256 KiB.
    pub protected: Vec<u8>,
}

/// Most bytes of either half of a [`Guarded`].
pub(crate) const GUARDED_BYTES_MAX: usize = 256 * 1024;

/// How a platform stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// Registers of the SHA-256 bank of its TPM, ascending.
    pub pcrs: Vec<u8>,
    /// SHA-256 of their values, in that order.
    pub digest: [u8; 32],
}

/// The slot for which a secret is protected.
#[derive(Clone, Copy)]
pub(crate) struct New<'a> {
    /// Must be presented again to open it.
    pub(crate) header: &'a Header,
    /// The first state in which the slot may open, for custodians that ask for one.
    pub(crate) approval: Option<&'a Approval>,
    pub(crate) randomness: &'a Randomness,
}

/// Where a slot key lies: the slot without its sealed part.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) header: &'a Header,
    pub(crate) guarded: &'a Guarded,
    /// The approvals that lie beside the slot.
    pub(crate) approvals: &'a [Approval],
}

/// Keeps slot keys. Every call is one whole job: nothing is held open afterwards.
pub(crate) trait Custodian: Send + Sync {
    /// What it is called in the configuration and in its slots.
    fn name(&self) -> &Label;

    /// What it is.
    fn kind(&self) -> CustodianKind;

    /// Whether it works without a person.
    fn unattended(&self) -> bool;

    /// Protects a slot key, or a shard of one: 1 to 96 bytes.
    ///
    /// # Errors
    /// [`Error`]; nothing is kept then.
    fn protect(&self, secret: &Bytes, of: New<'_>, consent: Consent<'_>) -> Result<Guarded, Error>;

    /// Opens what [`Custodian::protect`] returned.
    ///
    /// # Errors
    /// [`Error`].
    fn open(&self, at: Place<'_>, consent: Consent<'_>) -> Result<Bytes, Error>;

    /// Those of several keepers whose shards do not open, though the others suffice; nobody else has any.
    fn ailing(&self, at: Place<'_>, consent: Consent<'_>) -> Vec<(Label, Error)>;

    /// Those among its keepers, or itself, who give their part by hand.
    fn people(&self) -> Vec<Label>;

    /// Whether its slots begin with an approval.
    fn follows_platform(&self) -> bool;

    /// The registers of the platform that it goes by, or these instead, as they stand; `None` if it knows of no platform.
    ///
    /// # Errors
    /// [`Error`].
    fn platform(&self, pcrs: Option<&[u8]>) -> Result<Option<Platform>, Error>;
}
