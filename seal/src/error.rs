//! Why a slot was not made, found or opened: whose fault it is, and what to do about it.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

use hsm::DeviceError;
use keys::id::ClusterId;
use keys::port::EntropyError;
use secret::Exhausted;

use crate::{Attempt, CustodianKey, CustodianKind, Label, SlotId, Unreadable};

/// What went wrong at the seal.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    // --- the operator's part: names, configuration, PIN ------------------------------------------------------------------
    /// A name or setting has not the form it must have.
    #[error("{field} is not acceptable: it must be {wants}")]
    Invalid {
        /// Which.
        field: &'static str,
        /// The accepted form.
        wants: &'static str,
    },
    /// No slot of that id or label.
    #[error("there is no slot `{name}`: see `strongroom slot list`")]
    NoSuchSlot {
        /// What was asked for.
        name: String,
    },
    /// Two slots have that label.
    #[error("more than one slot is labelled `{label}`: name the one that is meant by its id, see `strongroom slot list`")]
    LabelAmbiguous {
        /// The label.
        label: Label,
    },
    /// A slot is to be added under a label that another one has.
    #[error("slot {slot} is labelled `{label}` already: choose another label")]
    LabelTaken {
        /// The label.
        label: Label,
        /// Who has it.
        slot: SlotId,
    },
    /// There are as many slots as there may be.
    #[error("there are {max} slots, which is the most: remove one first")]
    SlotsFull {
        /// The most.
        max: usize,
    },
    /// No custodian of that name is configured.
    #[error(
        "no custodian is called `{name}` in the configuration: add it under seal.custodians, by the name that the slot has, and restart strongroomd"
    )]
    NoCustodian {
        /// What it is called in the slot or the command.
        name: Label,
    },
    /// The custodian of that name is of another kind than the slot's.
    #[error("custodian `{name}` is configured as {is}, the slot was made with {wants}: correct seal.custodians")]
    WrongKind {
        /// Its name.
        name: Label,
        /// In the configuration.
        is: CustodianKind,
        /// In the slot.
        wants: CustodianKind,
    },
    /// The token is another one than the slot was made on; no PIN was sent to it.
    #[error("custodian `{name}` is the token with serial `{is}`, but the slot was made on the one with serial `{wants}`: connect that one")]
    WrongToken {
        /// The custodian.
        name: Label,
        /// Serial number of the token that is there.
        is: String,
        /// Serial number in the slot.
        wants: String,
    },
    /// The custodian opens only with a person, and none was there.
    #[error("custodian `{name}` needs a PIN and has no credential for it: run `strongroom unseal` and enter it")]
    NeedsPin {
        /// The custodian.
        name: Label,
    },
    /// The PIN's credential file is not fit for use; no login was attempted.
    #[error("the PIN in {} was not used: {why}", path.display())]
    PinUnfit {
        /// The credential file.
        path: PathBuf,
        /// What is wrong, and what to do.
        why: &'static str,
    },
    /// A TPM's slot cannot begin without an approved state.
    #[error("custodian `{name}` is a TPM: sign the first state with `strongroom slot tpm-policy sign`, and pass it with --approval")]
    ApprovalNeeded {
        /// The custodian.
        name: Label,
    },
    /// The slot is no TPM's, or follows another release key or policy.
    #[error("the approval is not for slot {slot}: {why}")]
    ApprovalUnfit {
        /// The slot that it names.
        slot: SlotId,
        /// What does not fit, and what to do.
        why: &'static str,
    },
    /// An approval whose signature does not verify.
    #[error("the approval is not signed by the release key that it names: it was altered; sign it anew")]
    ApprovalForged,
    /// A slot of that id is there already.
    #[error("slot {slot} is there already: sign an approval for a new one, by `strongroom slot tpm-policy sign` without --slot")]
    SlotExists {
        /// Which.
        slot: SlotId,
    },
    /// No other slot would be left that opens.
    #[error("slot {slot} stays: no other slot opens without a person, and with the last one every key is lost; add a slot, or mend another{}", describe(attempts, &[]))]
    LastSlot {
        /// The one that was to be removed.
        slot: SlotId,
        /// What happened at each of the others.
        attempts: Vec<Attempt>,
    },
    /// Somebody else changes the slots now.
    #[error("the slots are being changed already: try again when that has ended")]
    Busy,
    /// The custodian knows of no platform whose state could be approved.
    #[error("custodian `{name}` is no TPM: only a TPM's slots follow the state of the platform")]
    NoPlatform {
        /// The custodian.
        name: Label,
    },
    /// The token offers no way to protect a slot key.
    #[error("custodian `{name}`: its token offers neither AES-GCM nor RSA-OAEP: use another token")]
    TokenUnable {
        /// The custodian.
        name: Label,
    },

    /// A keeper's shard is not the one that was split.
    #[error("the shard of `{keeper}` is not the one that was made for this slot: it was altered, or is of another split")]
    ShardUnfit {
        /// Whose.
        keeper: Label,
    },
    /// Only its keeper can open the shard.
    #[error("`{keeper}` opens the shard by {} and gives it with `strongroom unseal --shard`", if *kind == CustodianKind::Card { "their card" } else { "`age --decrypt`" })]
    NeedsShard {
        /// Who.
        keeper: Label,
        /// With what.
        kind: CustodianKind,
    },
    /// A person is to keep a whole slot key.
    #[error("custodian `{name}` is a person, who keeps a shard only: name a custodian with `shamir` and several keepers")]
    KeepsShardsOnly {
        /// Who.
        name: Label,
    },
    /// The cluster has no custodians who could approve anything.
    #[error("the cluster has no custodian roster, so nothing needs a ceremony: use the command itself, as `strongroom slot add`")]
    NoRoster,
    /// Somebody votes who is no custodian.
    #[error("the key {} is not on the custodian roster, so it has no vote", data_encoding::HEXLOWER.encode(&key.0))]
    NotOnRoster {
        /// SHA-256 of the public key.
        key: CustodianKey,
    },
    /// Somebody votes again.
    #[error("the key {} has voted already: another custodian's vote is wanted", data_encoding::HEXLOWER.encode(&key.0))]
    VotedTwice {
        /// SHA-256 of the public key.
        key: CustodianKey,
    },
    /// What was given is no shard, or not as it was written.
    #[error("this is no shard, or a character of it is wrong: give the whole line that begins with SRSHARD1")]
    ShardUnreadable,
    /// A shard of another cluster.
    #[error("the shard belongs to cluster {is}, this one is {wants}")]
    ShardForeign {
        /// In the shard.
        is: ClusterId,
        /// This one.
        wants: ClusterId,
    },
    /// A shard of a split that no slot has any more.
    #[error("the shard is of a slot that is not here any more: give the one that was made last, see `strongroom slot list`")]
    ShardOld,
    /// The same shard twice.
    #[error("the shard of `{keeper}` was given already: another keeper's is wanted")]
    ShardTwice {
        /// Whose.
        keeper: Label,
    },
    /// A slot waits for shards to be read back.
    #[error("slot `{label}` does not count yet: the shards of {} were not read back", names(missing))]
    ShardsNotReadBack {
        /// The slot.
        label: Label,
        /// Whose.
        missing: Vec<Label>,
    },
    /// Fewer shards than the slot needs.
    #[error("{opened} of the {wants} shards that the slot needs were opened{}", describe_shards(why))]
    TooFewShards {
        /// How many were.
        opened: usize,
        /// How many are needed.
        wants: u8,
        /// Who did not open, and why.
        why: Vec<(Label, Self)>,
    },

    // --- the environment -----------------------------------------------------------------------------------------------
    /// The device did not do it.
    #[error("custodian `{name}`: {source}")]
    Device {
        /// The custodian.
        name: Label,
        /// Why.
        source: DeviceError,
    },
    /// A file or directory could not be used.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No locked memory.
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
    /// No randomness.
    #[error(transparent)]
    Entropy(#[from] EntropyError),

    // --- stored data ---------------------------------------------------------------------------------------------------
    /// The bytes do not have the form of what they should be.
    #[error("damaged at byte {at}, {what}: restore the file from a backup, or use another slot")]
    Corrupt {
        /// Which field.
        what: &'static str,
        /// Offset of the field.
        at: usize,
    },
    /// Written by a later release; left as it is.
    #[error(
        "format {format} is newer than this release, which knows {known}: it was not touched; use the release that wrote it, or a later one"
    )]
    NewerFormat {
        /// The format's number.
        format: u16,
        /// The newest that is known.
        known: u16,
    },
    /// A kind of custodian that is known by name only.
    #[error("this release cannot open slots of type {kind}: use another slot")]
    KindNotBuilt {
        /// The kind.
        kind: CustodianKind,
    },
    /// The file holds another slot than its name says.
    #[error("the file holds slot {holds}: it was copied or renamed; give it back its name, or remove it")]
    Misnamed {
        /// The slot in it.
        holds: SlotId,
    },
    /// A slot of another cluster.
    #[error("the slot belongs to cluster {is}, this one is {wants}: remove its file here")]
    WrongCluster {
        /// In the slot.
        is: ClusterId,
        /// Expected.
        wants: ClusterId,
    },
    /// A slot of another generation of the MasterKey.
    #[error("the slot holds MasterKey generation {is}, the keystore needs {wants}: use a slot made since the last re-key, or restore one")]
    WrongGeneration {
        /// In the slot.
        is: u32,
        /// Expected.
        wants: u32,
    },
    /// The custodian gave the slot key, and the slot does not verify under it.
    #[error("the slot does not verify: its file was altered; restore it from a backup, or use another slot")]
    Forged,
    /// The slot opens, and what is in it is not the MasterKey it was made for.
    #[error("the slot opens to another MasterKey than its check value says: do not use it; use another slot")]
    WrongMasterKey,
    /// There is no slot at all.
    #[error("there is no slot in {}: run `strongroom init`, or restore the slot files of this cluster", dir.display())]
    NoSlots {
        /// The directory.
        dir: PathBuf,
    },
    /// No slot opened.
    #[error("no slot opens the MasterKey{}", describe(attempts, unreadable))]
    NotUnsealed {
        /// What happened at each slot, in the order of the tries.
        attempts: Vec<Attempt>,
        /// Files that are no slots this release can read.
        unreadable: Vec<Unreadable>,
    },
    /// Slots that were to follow others do not open, so the others are still needed.
    #[error("not every slot of the new MasterKey opens: mend its device, or prepare the re-key again{}", describe(attempts, &[]))]
    NotProven {
        /// What happened at each that does not.
        attempts: Vec<Attempt>,
    },
    /// There is no table of the slots.
    #[error("the table of slots {} is missing: it was removed, or `strongroom init` was interrupted; compare `strongroom slot list` with your records", path.display())]
    TableMissing {
        /// Where it should be.
        path: PathBuf,
    },
    /// The table of slots was not written by this cluster.
    #[error("the table of slots {} does not verify: it was altered outside strongroom; compare `strongroom slot list` with your records", path.display())]
    TableForged {
        /// Where it is.
        path: PathBuf,
    },
    /// The slot files are not those of the table.
    #[error("slot files were changed outside strongroom:{}; compare `strongroom slot list` with your records", list(&[("added", added), ("removed", removed), ("changed", changed)]))]
    TableMismatch {
        /// In the directory only.
        added: Vec<SlotId>,
        /// In the table only.
        removed: Vec<SlotId>,
        /// In both, with different bytes.
        changed: Vec<SlotId>,
    },
}

fn describe_shards(why: &[(Label, Error)]) -> String {
    why.iter().map(|(keeper, why)| format!("; `{keeper}`: {why}")).collect()
}

fn names(labels: &[Label]) -> String {
    labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ")
}

fn describe(attempts: &[Attempt], unreadable: &[Unreadable]) -> String {
    let mut lines = String::new();
    for attempt in attempts {
        if let Some(failure) = &attempt.failure {
            let _never_fails = write!(lines, "\n  slot `{}` ({}): {failure}", attempt.label, attempt.slot);
        }
    }
    for file in unreadable {
        let _never_fails = write!(lines, "\n  file {}: {}", file.file.escape_debug(), file.why);
    }
    lines
}

fn list(groups: &[(&str, &[SlotId])]) -> String {
    let named = groups.iter().flat_map(|(what, slots)| slots.iter().map(move |slot| format!(" {what} {slot}")));
    named.collect::<Vec<_>>().join(",")
}
