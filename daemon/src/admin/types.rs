//! What goes over the admin interface, for server and command line both.

use std::collections::BTreeMap;

use clap::ValueEnum;
use data_encoding::HEXLOWER;
use seal::{CustodianKey, Roster};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// `GET /api/v1/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// Version of the running program.
    pub version: String,
    /// The node's role.
    pub role: String,
    /// The cluster's id.
    pub cluster: String,
    /// `sealed` or `unsealed`.
    pub state: String,
    /// Since when, in RFC 3339.
    pub since: String,
    /// Why it is sealed; absent when unsealed.
    pub reason: Option<String>,
    /// `wiped after each job` or `resident (why)`; absent while sealed.
    pub masterkey: Option<String>,
    /// What protects key memory: `secretmem` or `mlock`, with its size in bytes.
    pub memory: Memory,
    /// Address of the KMIP listener, if it serves one.
    pub kmip: Option<String>,
    /// Can the audit log be written?
    pub audit: String,
    /// What slots are waiting for, of those whose shards are being given.
    #[serde(default)]
    pub shards: Vec<ShardProgress>,
    /// When the last whole sweep of the keystore ended, in RFC 3339; absent before the first since the start. What it found is in `warnings`.
    #[serde(default)]
    pub swept: Option<String>,
    /// Standing warnings, each with what to do.
    pub warnings: Vec<String>,
    /// Process id.
    pub pid: u32,
}

/// Part of [`Status`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Memory {
    /// `secretmem` or `mlock`.
    pub backing: String,
    /// Size of the arena in bytes.
    pub arena_bytes: usize,
}

/// `POST /api/v1/tenants`: makes a tenant with version 1 of its L2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTenant {
    /// Its name.
    pub name: String,
}

/// A tenant, in answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TenantInfo {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// Identifier of the Active version of its L2.
    pub key: String,
    /// `enabled`, or `disabled`: nothing of it is served, here and at edges.
    pub status: String,
    /// What it keeps keys for under an L2.1 each, newest first; absent from the list of tenants.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<ResourceInfo>,
}

/// A resource of a tenant, part of [`TenantInfo`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ResourceInfo {
    /// Its name.
    pub name: String,
    /// Identifier of the Active version of its L2.1.
    pub key: String,
    /// The number of that version.
    pub version: u32,
    /// The number of the newest version; after a roll-back that is not the Active one.
    pub newest: u32,
}

/// `POST /api/v1/tenants/{tenant}/services`: makes a service with version 1 of its default L3.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewService {
    /// Its name.
    pub name: String,
    /// Name of the tenant's resource whose L2.1 wraps its keys; made, with version 1 of that, if there is none. Left out: the tenant's L2 wraps them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
}

/// A service, in answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServiceInfo {
    /// Its tenant's name.
    pub tenant: String,
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// Identifier of the Active version of its default L3.
    pub default_key: String,
    /// Name of the resource whose L2.1 wraps its keys; absent if the tenant's L2 wraps them, or the records that say so do not verify.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
}

/// `POST /api/v1/edges`: enrols an edge group for tenants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnrolEdges {
    /// The group's name, as the certificates of its edges have it.
    pub group: String,
    /// Names of the tenants whose objects they may keep; at least one for a new group.
    pub tenants: Vec<String>,
    /// Public keys by which its edges vouch for clients, 64 hex digits each, as `strongroom init` of an edge prints them.
    #[serde(default)]
    pub keys: Vec<String>,
}

/// `POST /api/v1/edges/{group}/give-up`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GiveUpEdge {
    /// The edge's delegation key, as its group lists it.
    pub key: String,
}

/// An edge group, in answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EdgeGroupInfo {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// Identifier of the Active version of its own L3.
    pub key: String,
    /// Names of its tenants.
    pub tenants: Vec<String>,
    /// Public keys by which its edges vouch for clients.
    pub keys: Vec<String>,
    /// `enrolled` or `revoked`.
    pub status: String,
}

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
    /// Public half of the audit signing key in hex; absent if the node was sealed when the ceremony ended.
    pub public_key: Option<String>,
    /// Ed25519 over `strongroom-statement-v1`, a zero, the id of the audit log, and the manifest; in hex.
    pub signature: Option<String>,
}

/// `GET /api/v1/slots/{slot}/shards`: how a slot's key is split.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SplitInfo {
    /// The slot's id.
    pub slot: String,
    /// Its label.
    pub label: String,
    /// The cluster's id.
    pub cluster: String,
    /// When it was made, in RFC 3339.
    pub created: String,
    /// How many shards open it.
    pub threshold: u8,
    /// Does it wait for its shards to be read back? It does not count before.
    pub is_pending: bool,
    /// All shards.
    pub shards: Vec<ShardInfo>,
}

/// Part of [`SplitInfo`]: one shard, as everybody may see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ShardInfo {
    /// Its number.
    pub point: u8,
    /// The custodian that keeps it.
    pub keeper: String,
    /// Where, if the configuration said so.
    pub region: Option<String>,
    /// `age` or `card` for a person, else the kind of the device.
    pub kind: String,
    /// What it is encrypted to, of a person: an age recipient, or `sha256:` and the digest in hex of a card's public key (SubjectPublicKeyInfo).
    pub recipient: Option<String>,
    /// SHA3-256 of the open shard in hex.
    pub plain_sha3_256: String,
    /// The encrypted shard as an age file in Base64, of a person with an age identity.
    pub age_file: Option<String>,
    /// The encrypted shard in Base64 as `strongroom unseal --card` opens it, of a person with a smart card.
    #[serde(default)]
    pub card_file: Option<String>,
}

/// `POST /api/v1/shards`: what became of a shard, and how far its slot is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ShardProgress {
    /// The slot's id.
    pub slot: String,
    /// Its label.
    pub label: String,
    /// Whose shard it was.
    pub keeper: String,
    /// `collecting`: more are wanted; `unsealed`: the node is open; `listed`: the new slot counts; `verified`: the node is open,
    /// and would open by these shards; `rekeyed`: the new MasterKey is in force.
    pub outcome: String,
    /// Whose shards were given.
    pub given: Vec<String>,
    /// How many people's shards it takes.
    pub wants: usize,
    /// Whose were not.
    pub missing: Vec<String>,
}

/// Query of `POST /api/v1/unseal`, whose body is empty or a PIN.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct UnsealBy {
    /// The custodian whose PIN the body is.
    #[serde(default)]
    pub custodian: Option<String>,
    /// Spend one login although an earlier PIN was refused.
    #[serde(default)]
    pub retry_pin: bool,
}

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

/// `POST /api/v1/kek/rotate`: how the IVK is to go on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateKek {
    /// How the new version wraps: AES-256-GCM, XChaCha20-Poly1305 or AES-256-GCM-SIV. Absent: as the one that waits, or else as the one before.
    #[serde(default)]
    pub algorithm: Option<String>,
    /// The versions so far may be known to others: they are compromised, and nothing but re-encryption opens them any more.
    #[serde(default)]
    pub compromised: bool,
    /// With `compromised`: each tenant's key and each service's default key get a next version with new material too, in the background.
    #[serde(default)]
    pub rekey_dependents: bool,
}

/// `POST /api/v1/keys/{key}/rotate`: how the key is to go on; an empty body stands for its defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateKey {
    /// The version so far may be known to others: it is compromised, and does nothing any more but to have what lies under it moved.
    #[serde(default)]
    pub compromised: bool,
    /// With `compromised`, of a tenant's key: each L2.1 and L3 below that is in use or waits for it gets a next version with new material too, in the background. What
    /// clients keep at edges (L4) is theirs to replace, and an edge that keeps its store goes on under the group's integrity key that it has.
    #[serde(default)]
    pub rekey_dependents: bool,
}

/// `POST /api/v1/tenants/{tenant}/disable`; an empty body stands for its defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DisableTenant {
    /// The tenant has left: the IVK is rotated as well, which the audit log tells with the reason.
    #[serde(default)]
    pub off_board: bool,
}

/// `POST /api/v1/keys/{key}/repair`; an empty body stands for its defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RepairKey {
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// A key whose stored blobs name another algorithm than the record of what wraps them, and what is done about that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RepairInfo {
    /// The key.
    pub id: String,
    /// Whose it is: the tenant's name; its id, if the tenant's record does not verify.
    pub tenant: String,
    /// The algorithm that its blobs name, and that they open by.
    pub found: String,
    /// What the record of the version that wrapped it says.
    pub recorded: String,
    /// Which version of what is above wraps it afterwards, by the algorithm of that one's record.
    pub wrapped_by: WrappedByInfo,
    /// It was done; otherwise it would be.
    pub repaired: bool,
}

/// `POST /api/v1/kek/generate`: a version of the IVK that waits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GenerateKek {
    /// How it will wrap: AES-256-GCM, XChaCha20-Poly1305 or AES-256-GCM-SIV. Absent: as the Active one.
    #[serde(default)]
    pub algorithm: Option<String>,
}

/// What was generated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KekGenerated {
    /// Its number.
    pub version: u32,
    /// How it will wrap.
    pub algorithm: String,
    /// A request with this Idempotency-Key has done it before.
    pub repeated: bool,
    /// How long it took, in milliseconds, the custodian's device included.
    pub millis: u64,
}

/// What a rotation has done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KekRotated {
    /// The version that wraps from now on.
    pub version: u32,
    /// The one that did.
    pub replaced: u32,
    /// A request with this Idempotency-Key has done it before.
    pub repeated: bool,
    /// How long it took, in milliseconds, the custodian's device included.
    pub millis: u64,
}

/// `GET /api/v1/kek/schedule`: when the IVK is rotated by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KekSchedule {
    /// How long a version wraps, as `ivk.rotate_every` says, if it does.
    pub every: Option<String>,
    /// When it is rotated, as `ivk.rotate_at` says: times in UTC as cron has them. Without either, when somebody asks.
    pub at: Option<String>,
    /// When the next version is made, in RFC 3339: up to a tenth of the interval later, or 15 minutes, by a draw of the cluster's own.
    pub next: Option<String>,
    /// That time is over, and no rotation has succeeded since: status says why.
    pub overdue: bool,
    /// When each tenant's key (L2) is rotated by itself, counted from when its Active version was made.
    pub tenants: ScheduleInfo,
    /// The same for each resource's key (L2.1); one that was rolled back to counts from then.
    #[serde(default)]
    pub resources: ScheduleInfo,
    /// The same for each service's default key (L3).
    pub services: ScheduleInfo,
    /// A further key of a service that has ended by its dates gets a next version.
    pub replace_expired: bool,
}

/// When keys are rotated by themselves: after an interval or at times of a calendar; without either, when somebody asks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScheduleInfo {
    /// How old a version gets.
    pub every: Option<String>,
    /// Times in UTC, as cron has them.
    pub at: Option<String>,
}

/// `GET /api/v1/kek/status`: the IVK, and how far what it wraps has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KekStatus {
    /// Its versions, newest first.
    pub versions: Vec<IvkInfo>,
    /// The walk that brings keys under the newest versions.
    pub reencryption: ReencryptionInfo,
}

/// `GET /api/v1/kek/reencryption`: the walk that brings keys under the newest versions of what wraps them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReencryptionInfo {
    /// `walking`, `paused`, `waiting` or `done`.
    pub state: String,
    /// When the walk began, in RFC 3339.
    pub began: Option<String>,
    /// When the last whole walk ended, in RFC 3339.
    pub ended: Option<String>,
    /// Keys that the walk has looked at.
    pub looked_at: u64,
    /// About how many there are: as many as the whole walk before has looked at.
    pub of: Option<u64>,
    /// Keys that came under a newer version.
    pub moved: u64,
    /// Keys that stay where they are, because they do not verify.
    pub refused: u64,
    /// The first of them, and what is wrong.
    pub refusals: Vec<String>,
    /// Why the walk waits.
    pub error: Option<String>,
    /// It goes on from where one was before a restart or a seal.
    pub resumed: bool,
    /// Most keys that it moves each second, as `reencrypt.rate` says.
    pub rate: String,
    /// Its share of one processor, as `reencrypt.cpu` says.
    pub cpu: String,
    /// A version is compromised: neither limit counts until its keys are moved.
    pub urgent: bool,
    /// What gets new material because a key above it is compromised, until all of it has.
    pub renewals: Vec<RenewalInfo>,
    /// Keys that got a next version by themselves since the node was started: below a compromised key, by a schedule, or because they ended.
    pub renewed: u64,
}

/// `POST /api/v1/tenants/{tenant}/services/{service}/deployed`: what became of the service's default key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServiceDeployed {
    /// Its version in force; of a request that came again, the one that it has led to.
    pub key: String,
    /// The number of that version.
    pub version: u32,
    /// The version is new; else the one before was made less than a minute ago, or for this request.
    pub rotated: bool,
    /// A request with this Idempotency-Key has done it before.
    pub repeated: bool,
}

/// An order to give what lies below a compromised key new material, part of [`ReencryptionInfo`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RenewalInfo {
    /// What lies below this tenant's key; absent: below the IVK.
    pub tenant: Option<String>,
    /// Whatever was made up to then, in RFC 3339.
    pub until: String,
}

/// One IVK version, part of [`KekStatus`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IvkInfo {
    /// Sequential number.
    pub version: u32,
    /// Algorithm of its wraps.
    pub algorithm: String,
    /// Its size in bits.
    pub bits: u32,
    /// `pre-active`, `active`, `deprecated`, `retired`, `compromised`, `destroyed` or `destroyed-compromised`.
    pub status: String,
    /// When it was made, in RFC 3339.
    pub created: String,
    /// When it was demoted, in RFC 3339.
    pub rotated: Option<String>,
    /// When its key was destroyed, in RFC 3339.
    #[serde(default)]
    pub destroyed: Option<String>,
    /// Tenants' keys that lay under it when the last whole walk had passed them; absent until a walk has begun since it was demoted, or since the start.
    #[serde(default)]
    pub keys: Option<u64>,
    /// It would be archived, as far as the last walk knows.
    #[serde(default)]
    pub can_retire: bool,
    /// The custodians would be asked to have it destroyed, as far as the last walk knows.
    #[serde(default)]
    pub can_destroy: bool,
    /// What to do next about it, if anything.
    #[serde(default)]
    pub advice: Option<String>,
}

/// What kind of key it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, ValueEnum)]
pub enum KeyLayer {
    /// A tenant's key, below an IVK
    #[value(name = "L2")]
    L2,
    /// A tenant's key for a resource or a version
    #[serde(rename = "L2.1")]
    #[value(name = "L2.1")]
    L21,
    /// A service's key
    #[value(name = "L3")]
    L3,
}

/// Where a key is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum KeyState {
    /// Made, not yet in use
    PreActive,
    /// Encrypts and decrypts
    Active,
    /// Decrypts only
    Deprecated,
    /// Archived: neither
    Retired,
    /// Known or feared to be known by others: neither
    Compromised,
    /// Its material is gone
    Destroyed,
    /// Its material is gone, and was compromised
    DestroyedCompromised,
}

/// Query of `GET /api/v1/keys`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct KeysWanted {
    /// Of this tenant only, by name. Left out: of every tenant that the caller sees, which is a tenant-admin's own.
    pub tenant: Option<String>,
    /// Of this service of the tenant only, by name.
    pub service: Option<String>,
    /// Of this layer; L3 if left out.
    #[param(inline)]
    pub layer: Option<KeyLayer>,
    /// In this state only: a page then has fewer keys than asked for, or none, before the last one.
    #[param(inline)]
    pub state: Option<KeyState>,
    /// So many keys are looked at for one page: 1 to 1000, 100 if left out.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<usize>,
    /// What stood in `next` of the page before.
    pub before: Option<String>,
}

/// Keys, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyList {
    /// Those that verify.
    pub keys: Vec<KeyInfo>,
    /// Identifiers of those that do not verify; they are not used.
    pub refused: Vec<String>,
    /// Where the next page begins: `before` of the next request. Absent from the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// One version of a key, in answers. Key material is never in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyInfo {
    /// Its identifier.
    pub id: String,
    /// What kind of key it is.
    pub layer: KeyLayer,
    /// Its tenant's name; the tenant's id, if the tenant's record does not verify.
    pub tenant: String,
    /// Its service's name, for an L3; the service's id, if the service's record does not verify.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Name of the resource that an L2.1 is for, or that an L3 lies under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// The chain that it is a version of.
    pub chain: String,
    /// Which version of the chain.
    pub version: u32,
    /// Its state now, by its dates.
    pub state: KeyState,
    /// What it is for, by the name in KMIP.
    pub algorithm: String,
    /// Its size in bits.
    pub bits: u32,
    /// When it was made, in RFC 3339.
    pub created: String,
    /// When it stops protecting, in RFC 3339, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiry: Option<String>,
    /// How often its record has changed.
    pub generation: u64,
    /// Which key version wraps it.
    pub wrapped_by: WrappedByInfo,
    /// Its names, for its tenant-admin only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<String>>,
}

/// The key version that wraps a key. Old bytes of a key, also of a destroyed one, may survive in free pages of the keystore and in backups; whoever has them and
/// this version can open them, until this version is destroyed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WrappedByInfo {
    /// Its identifier; absent for an IVK, which is known by its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its number in its chain.
    pub version: u32,
}

/// `POST /api/v1/keys/{key}/revoke`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeKey {
    /// KMIP's Revocation Reason Code: `Unspecified`, `Key Compromise`, `CA Compromise`, `Affiliation Changed`, `Superseded`, `Cessation of Operation` or
    /// `Privilege Withdrawn`. The two compromises make the key Compromised, which then neither encrypts nor decrypts; any other lets it decrypt.
    #[schema(example = "Superseded")]
    pub reason: String,
    /// A remark that is kept with the reason.
    #[serde(default)]
    pub message: Option<String>,
    /// With a compromise: since when, in RFC 3339; if left out, since the key was made.
    #[serde(default)]
    pub compromise_occurred: Option<String>,
}

/// RFC 9457 problem details: the body of every refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Short name of the kind of problem.
    pub title: String,
    /// HTTP status, repeated.
    pub status: u16,
    /// What happened and what to do next.
    pub detail: String,
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
