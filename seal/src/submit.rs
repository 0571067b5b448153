//! Shards that people give back: to prove a new slot, to open one, or to show that they still have them (C11).

use std::path::PathBuf;
use std::sync::Arc;

use keys::hierarchy::IntegrityKeys;
use keys::id::ClusterId;

use crate::custodian::{Consent, CustodianKind, SlotKey};
use crate::shamir::{Shard, Split};
use crate::slot::{SLOT_BYTES_MAX, Slot};
use crate::{Error, Label, PlainShard, Recipient, Seal, SlotId, file, manifest};

/// A slot that does not count yet lies in a file of this extension.
pub(crate) const PENDING: &str = "pending";

/// A shard in a slot, as everybody may see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keeping {
    /// Its point: the first keeper's is 1.
    pub point: u8,
    /// Who keeps it.
    pub keeper: Label,
    /// Where.
    pub region: Option<Label>,
    /// What the keeper is.
    pub kind: CustodianKind,
    /// Whom it is encrypted to, if the keeper is a person.
    pub recipient: Option<Recipient>,
    /// SHA3-256 of the plain shard.
    pub plain_digest: [u8; 32],
    /// The shard in the keeper's keeping; of a person an age file, or what a card decrypts.
    pub protected: Vec<u8>,
}

/// How a slot's key is split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keepers {
    /// How many shards open the slot.
    pub threshold: u8,
    /// All of them.
    pub shards: Vec<Keeping>,
    /// Does the slot wait for its shards to be read back?
    pub is_pending: bool,
}

/// What a shard is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weighed {
    /// The slot.
    pub slot: SlotId,
    /// Its label.
    pub label: Label,
    /// Whose shard it is.
    pub keeper: Label,
    /// How many shards open the slot.
    pub threshold: u8,
    /// The generation of the MasterKey in it.
    pub generation: u32,
    /// The people who keep a shard of it.
    pub people: Vec<Label>,
    /// How many other keepers it has.
    pub devices: usize,
    /// Does the slot wait for its shards to be read back?
    pub is_pending: bool,
}

impl Keepers {
    /// Does it take a person to open the slot, or to have it count?
    #[must_use]
    pub fn need_people(&self) -> bool {
        let devices = self.shards.iter().filter(|shard| shard.recipient.is_none()).count();
        self.is_pending || devices < usize::from(self.threshold)
    }
}

impl Seal {
    /// The slots that do not count yet, because people's shards were not read back.
    ///
    /// # Errors
    /// `Io`; `Corrupt` and its like if a file is no such slot.
    pub fn pending(&self) -> Result<Vec<Slot>, Error> {
        let read = |path: &PathBuf| Slot::decode(&file::read(path, SLOT_BYTES_MAX)?);
        self.dir.files(PENDING)?.iter().map(read).collect()
    }

    /// Who keeps the shards of a slot, by its id or label; `None` of one that is not split.
    ///
    /// # Errors
    /// `NoSuchSlot`, `LabelAmbiguous`, `Io`, `Corrupt`.
    pub fn keepers(&self, name: &str) -> Result<Option<(Slot, Keepers)>, Error> {
        let pending = self.pending()?.into_iter().find(|slot| slot.is_called(name));
        let is_pending = pending.is_some();
        let slot = pending.map_or_else(|| Ok(self.list()?.find(name)?.clone()), Ok::<_, Error>)?;
        if slot.header.kind != CustodianKind::Shamir {
            return Ok(None);
        }
        let Split { threshold, shards, .. } = Split::decode(&slot.guarded)?;
        let shards = shards.into_iter().map(keeping).collect::<Result<_, _>>()?;
        Ok(Some((slot, Keepers { threshold, shards, is_pending })))
    }

    /// The manifest of a split, as JSON, by the slot's id or label; `None` of a slot that is not split. It is what the slot was made with.
    ///
    /// # Errors
    /// As [`Seal::keepers`]; `Forged` if the slot's keepers were altered.
    pub fn manifest(&self, name: &str) -> Result<Option<String>, Error> {
        let Some((slot, _)) = self.keepers(name)? else { return Ok(None) };
        if manifest::hash(&slot.header, &slot.guarded)? != slot.manifest_hash {
            return Err(Error::Forged);
        }
        manifest::manifest(&slot.header, &slot.guarded).map(Some)
    }

    /// Tells which slot a shard is of, and whether it is what was split.
    ///
    /// # Errors
    /// `ShardForeign`, `ShardOld`, `ShardUnfit`; `Io`.
    pub fn weigh(&self, shard: &PlainShard, cluster: ClusterId) -> Result<Weighed, Error> {
        let head = shard.head();
        if head.cluster != cluster {
            return Err(Error::ShardForeign { is: head.cluster, wants: cluster });
        }
        let listed = self.list()?.slots.into_iter().map(|slot| (slot, false));
        let pending = self.pending()?.into_iter().map(|slot| (slot, true));
        for (slot, is_pending) in listed.chain(pending).filter(|(slot, _)| slot.header.kind == CustodianKind::Shamir) {
            let Split { id, threshold, shards } = Split::decode(&slot.guarded)?;
            if id != head.split {
                continue;
            }
            let people = people(&shards);
            let (devices, generation) = (shards.len() - people.len(), slot.header.generation);
            let at = shards.into_iter().find(|at| at.x == head.x).ok_or(Error::ShardOld)?;
            if !at.is_of(shard) {
                return Err(at.unfit());
            }
            return Ok(Weighed {
                slot: slot.header.id,
                label: slot.header.label,
                keeper: at.keeper,
                generation,
                threshold,
                people,
                devices,
                is_pending,
            });
        }
        Err(Error::ShardOld)
    }

    /// Has a slot count from now on, by all shards of its people: what is on the medium opens by them, and by its devices.
    ///
    /// # Errors
    /// `NoSuchSlot`, `Busy`, `ShardsNotReadBack`, or why it does not open; it waits on then.
    pub fn admit(&self, id: SlotId, given: &[Arc<PlainShard>], integrity: &IntegrityKeys) -> Result<Slot, Error> {
        let mut change = self.begin_change(integrity)?;
        let slot = change.waiting.iter().find(|slot| slot.header.id == id).cloned();
        let slot = slot.ok_or_else(|| Error::NoSuchSlot { name: id.to_string() })?;
        let split = Split::decode(&slot.guarded)?;
        let is_given = |shard: &&Shard| given.iter().any(|plain| shard.is_of(plain));
        let missing = split.shards.iter().filter(|shard| shard.kind.is_person() && !is_given(shard));
        let missing: Vec<Label> = missing.map(|shard| shard.keeper.clone()).collect();
        if !missing.is_empty() {
            return Err(Error::ShardsNotReadBack { label: slot.header.label, missing });
        }
        let approvals = self.dir.approvals(id)?;
        let consent = Consent { shards: given, ..Consent::default() };
        let custodian = self.custodian(&slot.header.custodian)?;
        slot.open(&SlotKey::from_opened(&custodian.open(slot.place(&approvals), consent)?)?)?;
        change.announce((id, slot.digest()))?;
        let admitted = self.dir.admit(id, PENDING);
        change.end();
        admitted.map(|()| slot)
    }
}

/// Those whose shards come by hand.
fn people(shards: &[Shard]) -> Vec<Label> {
    shards.iter().filter(|shard| shard.kind.is_person()).map(|shard| shard.keeper.clone()).collect()
}

fn keeping(shard: Shard) -> Result<Keeping, Error> {
    let Shard { x, keeper, region, kind, digest, guarded } = shard;
    let recipient = Recipient::from_parameters(kind, &guarded.parameters)?;
    Ok(Keeping { point: x, keeper, region, kind, recipient, plain_digest: digest, protected: guarded.protected })
}
