//! What keeps a slot key: the port that every kind of seal device, group of people or external service implements.

use std::fmt;

use secret::{Bytes, Key};

use crate::{Error, Label};

/// Bytes of a slot key.
pub(crate) const SLOT_KEY_BYTES: usize = 32;

/// The random key that stands between a custodian and the MasterKey; one per slot.
#[derive(Debug)]
pub(crate) struct SlotKey(pub(crate) Key<SLOT_KEY_BYTES>);

/// What keeps a slot key; the number is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CustodianKind {
    /// A PKCS#11 token.
    Pkcs11 = 1,
    /// A TPM 2.0.
    Tpm2 = 2,
    /// People, by Shamir's scheme.
    Shamir = 3,
    /// The transit engine of OpenBao or Vault.
    OpenbaoTransit = 4,
    /// AWS KMS.
    AwsKms = 5,
    /// Azure Key Vault.
    AzureKeyVault = 6,
    /// Google Cloud KMS.
    GcpKms = 7,
}

impl CustodianKind {
    const NAMES: [(Self, &'static str); 7] = [
        (Self::Pkcs11, "pkcs11"),
        (Self::Tpm2, "tpm2"),
        (Self::Shamir, "shamir"),
        (Self::OpenbaoTransit, "openbao-transit"),
        (Self::AwsKms, "aws-kms"),
        (Self::AzureKeyVault, "azure-key-vault"),
        (Self::GcpKms, "gcp-kms"),
    ];

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

/// What a person gives and allows for one job; nothing of it is kept.
#[derive(Debug, Clone, Copy, Default)]
pub struct Consent<'a> {
    /// The PIN they typed, used instead of the custodian's credential.
    pub pin: Option<&'a Bytes>,
    /// Try the PIN once although it is latched.
    pub retry_pin: bool,
    /// Make the custodian's own key if it has none of that name.
    pub make_key: bool,
}

/// A slot key as its custodian protected it; not secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guarded {
    /// What the custodian must know to open it, in a form of its own; at most 64 KiB.
    pub parameters: Vec<u8>,
    /// The protected key; at most 64 KiB.
    pub protected: Vec<u8>,
}

/// Most bytes of either half of a [`Guarded`].
pub(crate) const GUARDED_BYTES_MAX: usize = 64 * 1024;

/// Keeps slot keys. Every call is one whole job: nothing is held open afterwards.
pub(crate) trait Custodian: Send + Sync {
    /// What it is called in the configuration and in its slots.
    fn name(&self) -> &Label;

    /// What it is.
    fn kind(&self) -> CustodianKind;

    /// Whether it works without a person.
    fn unattended(&self) -> bool;

    /// Protects a slot key; `aad` must be presented again to open it.
    ///
    /// # Errors
    /// [`Error`]; nothing is kept then.
    fn protect(&self, slot_key: &SlotKey, aad: &[u8], consent: Consent<'_>) -> Result<Guarded, Error>;

    /// Opens what [`Custodian::protect`] returned.
    ///
    /// # Errors
    /// [`Error`].
    fn open(&self, guarded: &Guarded, aad: &[u8], consent: Consent<'_>) -> Result<SlotKey, Error>;
}
