//! Seal slots.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /api/v1/slots`: one seal slot, or a file in its folder that is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SlotInfo {
    /// Its id, or the file's name.
    pub id: String,
    /// Its label; empty if it could not be read.
    pub label: String,
    /// Name of the custodian that keeps its key.
    pub custodian: String,
    /// Its kind, as `pkcs11`.
    pub kind: String,
    /// When it was made, in RFC 3339.
    pub created: Option<String>,
    /// MasterKey generation.
    pub generation: Option<u32>,
    /// `good`, `failed: why` or `not probed`; why it could not be read; what it waits for.
    pub probe: String,
    /// Does it take people to open or to prove it?
    #[serde(default)]
    pub by_hand: bool,
    /// Whether it opened when it was last tried; absent if it was not tried since the start, or could not be read.
    #[serde(default)]
    pub opens: Option<bool>,
    /// The devices that it opens by.
    #[serde(default)]
    pub devices: Vec<SlotDevice>,
}

/// Part of [`SlotInfo`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SlotDevice {
    /// Which, as `token` and its serial number: two slots with the same one fall together.
    pub device: String,
    /// Whether the slot is lost if only this device is.
    pub is_needed: bool,
}

/// `POST /api/v1/slots`: seals the MasterKey in a further slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddSlot {
    /// Name of the custodian that is to keep its key, of `seal.custodians`.
    pub custodian: String,
    /// What people will call it; the custodian's name if left out.
    #[serde(default)]
    pub label: Option<String>,
    /// Make the key on the token if it has none of the configured name.
    #[serde(default)]
    pub make_key: bool,
    /// For a TPM: the file that `strongroom slot tpm-policy sign` has written, in Base64.
    #[serde(default)]
    pub approval: Option<String>,
}

/// Answer to `DELETE /api/v1/slots/{slot}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SlotRemoved {
    /// The slot that is gone.
    pub id: String,
    /// Its label; empty if it could not be read.
    pub label: String,
    /// What is left of it at its custodian, and what to do about that.
    pub stays: String,
}

/// `POST /api/v1/slots/{slot}/verify`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifySlot {
    /// Spend one login although an earlier PIN was refused.
    #[serde(default)]
    pub retry_pin: bool,
}

/// `GET /api/v1/slots/{slot}/approvals`: a state of the platform in which a TPM's slot may open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApprovalInfo {
    /// What people call it.
    pub note: String,
    /// When it was signed, in RFC 3339, as its signer's clock says.
    pub created: String,
    /// The registers, as `sha256:7,14`.
    pub pcrs: String,
    /// SHA-256 of their values, in lower-case hex.
    pub digest: String,
    /// The policy of the slot that it was signed for.
    pub policy_gen: u32,
}

/// `POST /api/v1/slots/approvals`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Approve {
    /// The file that `strongroom slot tpm-policy sign` has written, in Base64.
    pub approval: String,
}

/// Answer to [`VerifySlot`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SlotVerified {
    /// The slot.
    pub id: String,
    /// Its label.
    pub label: String,
    /// How long the device took, in milliseconds.
    pub millis: u64,
}
