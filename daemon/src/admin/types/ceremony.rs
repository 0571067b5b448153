//! Ceremonies: what is asked of the custodians, who votes, and what was done.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use seal::{CustodianKey, Roster};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{AddSlot, SlotInfo};

/// `POST /api/v1/ceremonies`: what the custodians are asked to approve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "operation", rename_all = "kebab-case")]
pub enum NewCeremony {
    /// Seal the MasterKey in a further slot.
    SlotAdd(AddSlot),
    /// Remove a slot.
    SlotRemove(RemoveSlot),
    /// Put a new MasterKey in the place of one that others may know.
    Rekey(RekeyOrder),
    /// Destroy a version of the IVK for ever.
    IvkDestroy(DestroyIvk),
}

impl NewCeremony {
    /// What it is called.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        match self {
            Self::SlotAdd(_) => "slot-add",
            Self::SlotRemove(_) => "slot-remove",
            Self::Rekey(_) => "rekey",
            Self::IvkDestroy(_) => "ivk-destroy",
        }
    }

    /// SHA-256 of what is asked, as JSON in the order of the fields: a custodian signs it.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        cipher::mac::sha256(&[&serde_json::to_vec(self).expect("plain fields always print")])
    }
}

/// Part of [`NewCeremony`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveSlot {
    /// Its id or label.
    pub slot: String,
}

/// Part of [`NewCeremony`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RekeyOrder {
    /// By the slot's label: the first approval of the new slot of each TPM, as `strongroom slot tpm-policy sign` writes it, in Base64.
    #[serde(default)]
    pub approvals: BTreeMap<String, String>,
    /// Others who approve ceremonies from then on; those of before approve this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roster: Option<NewRoster>,
    /// Give up one that waits for shards: its new slots are removed, and the MasterKey stays what it is.
    #[serde(default)]
    pub abandon: bool,
}

/// Part of [`NewCeremony`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DestroyIvk {
    /// Its number.
    pub version: u32,
    /// What the node has found of it, so that it is part of what custodians sign. Left out by who asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<IvkFound>,
}

/// A version of the IVK that may be destroyed, when that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IvkFound {
    /// `deprecated`, `retired` or `compromised`.
    pub status: String,
    /// Algorithm of its wraps.
    pub algorithm: String,
    /// When it was made, in RFC 3339.
    pub created: String,
    /// Since when it has not wrapped anything any more, in RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotated: Option<String>,
    /// Keys that lie under it, of all that there are: always 0, else it is not asked for.
    pub keys: u64,
    /// Keys that were destroyed before, of which old bytes in free pages and copies of the keystore can be opened by this version alone.
    pub shreds: u64,
}

/// Who approves ceremonies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRoster {
    /// How many of them have to, 1 to their number.
    pub approvals: u8,
    /// SHA-256 of each one's public key (SubjectPublicKeyInfo) in lower-case hex, 1 to 255.
    pub custodians: Vec<String>,
}

impl NewRoster {
    /// Nothing is checked of a roster that is one already.
    #[must_use]
    pub fn of(roster: &Roster) -> Self {
        Self { approvals: roster.threshold(), custodians: roster.custodians().iter().map(|key| HEXLOWER.encode(&key.0)).collect() }
    }

    /// The roster.
    ///
    /// # Errors
    /// Why it is none.
    pub fn roster(&self) -> Result<Roster, String> {
        let digest = |text: &String| HEXLOWER.decode(text.as_bytes()).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        let key = |text: &String| digest(text).map(CustodianKey).ok_or_else(|| format!("`{text}` is not 64 lower-case hex digits"));
        let keys = self.custodians.iter().map(key).collect::<Result<_, _>>()?;
        Roster::new(self.approvals, keys).map_err(|error| error.to_string())
    }
}

/// What a re-key of the MasterKey has done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RekeyInfo {
    /// The generation that is in force.
    pub generation: u32,
    /// The new slots.
    pub made: Vec<String>,
    /// Labels of those of them that wait for their shards. The MasterKey is replaced with the last of them.
    pub waiting: Vec<String>,
    /// The root records that were wrapped under the new MasterKey; absent if it is not in force.
    pub roots: Option<RekeyedRoots>,
    /// Who approves ceremonies from now on, if that was changed.
    #[serde(default)]
    pub roster: Option<NewRoster>,
    /// The version of the IVK that wraps from then on; those before are compromised.
    pub ivk: Option<u32>,
    /// The slots that were removed.
    pub removed: Vec<String>,
    /// Why old slots are still there, and what removes them.
    pub left: Option<String>,
}

/// Part of [`RekeyInfo`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RekeyedRoots {
    /// Integrity keys.
    pub integrity_keys: usize,
    /// IVK versions.
    pub ivks: usize,
    /// Audit signing keys.
    pub audit_keys: usize,
}

/// A ceremony, in answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CeremonyInfo {
    /// Its id.
    pub id: String,
    /// The cluster's id.
    pub cluster: String,
    /// What is asked.
    pub asked: NewCeremony,
    /// Who started it.
    pub starter: String,
    /// When, in RFC 3339.
    pub started: String,
    /// How many seconds are left.
    pub seconds_left: u64,
    /// How many have to approve.
    pub wants: u8,
    /// SHA-256 of the public keys of all custodians, in hex.
    pub custodians: Vec<String>,
    /// Of those who have approved.
    pub approved: Vec<String>,
    /// Of those who have cancelled.
    pub cancelled: Vec<String>,
    /// `collecting`, `executing`, `done`, `failed: why` or `cancelled`.
    pub state: String,
    /// The slot that was made.
    #[serde(default)]
    pub slot: Option<SlotInfo>,
    /// What the re-key has done.
    #[serde(default)]
    pub rekey: Option<RekeyInfo>,
}

/// `POST /api/v1/ceremonies/{ceremony}/votes`: a custodian's signed vote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CastVote {
    /// `approve` or `cancel`.
    pub vote: String,
    /// The custodian's public key: SubjectPublicKeyInfo in Base64.
    pub public_key: String,
    /// The signature's scheme by its number in TLS 1.3 (RFC 8446, 4.2.3).
    pub scheme: u16,
    /// The signature in Base64.
    pub signature: String,
}

/// `GET /api/v1/ceremonies/{ceremony}/manifest`: what was done in a ceremony, signed by the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SignedManifest {
    /// JSON, as it was signed.
    pub manifest: String,
    /// Id of the node's audit log, in hex.
    #[serde(default)]
    pub log: String,
    /// Public half of the audit signing key in hex; absent if the node was sealed when the ceremony ended.
    pub public_key: Option<String>,
    /// Ed25519 over `strongroom-statement-v1`, a zero, the 16 bytes of `log`, and the manifest; in hex.
    pub signature: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rekey(roster: Option<NewRoster>) -> NewCeremony {
        NewCeremony::Rekey(RekeyOrder { roster, ..RekeyOrder::default() })
    }

    #[test]
    fn what_is_asked_of_custodians_covers_who_is_to_come_and_how_many_of_them() {
        let roster = |approvals, keys: [char; 2]| NewRoster { approvals, custodians: keys.map(|key| key.to_string().repeat(64)).into() };
        let asked =
            [None, Some(roster(1, ['a', 'b'])), Some(roster(2, ['a', 'b'])), Some(roster(2, ['a', 'c'])), Some(roster(2, ['b', 'a']))];
        let digests: std::collections::BTreeSet<[u8; 32]> = asked.into_iter().map(|roster| rekey(roster).digest()).collect();
        assert_eq!(digests.len(), 5);
        // Without a roster it is asked as before there were any.
        assert_eq!(serde_json::to_string(&rekey(None)).expect("it prints"), r#"{"operation":"rekey","approvals":{},"abandon":false}"#);
    }

    #[test]
    fn a_roster_that_comes_from_outside_is_one_or_is_refused() {
        let check = |approvals, keys: &[&str], words: &str| {
            let sent = NewRoster { approvals, custodians: keys.iter().map(|key| (*key).to_owned()).collect() };
            let why = sent.roster().map(|roster| NewRoster::of(&roster) == sent).map_or_else(|why| why, |is_same| is_same.to_string());
            assert!(why.contains(words), "{approvals} of {keys:?}: {why}");
        };
        let (one, two) = ("1f".repeat(32), "2f".repeat(32));
        check(2, &[&one, &two], "true");
        check(1, &[&one], "true");
        check(0, &[&one, &two], "a threshold from 1 to their number");
        check(3, &[&one, &two], "a threshold from 1 to their number");
        check(1, &[], "1 to 255 custodians");
        check(1, &[&one, &one], "every key once");
        for odd in ["", "1f", &one.to_uppercase(), &format!("{one}00"), &"zz".repeat(32)] {
            check(1, &[odd], "is not 64 lower-case hex digits");
        }
    }
}
