//! Adding a slot: it counts only when it has been opened again from the medium, by a fresh device process.

use keys::entropy::Randomness;
use keys::hierarchy::{IntegrityKeys, MasterKey};
use keys::id::{ClusterId, Time};
use secret::Key;

use crate::change::Change;
use crate::custodian::{Consent, Custodian, New, SlotKey};
use crate::slot::{Header, Slot};
use crate::slots::{SLOTS_MAX, Staged};
use crate::submit::PENDING;
use crate::{Approval, Error, Label, Roster, Seal, SlotId};

/// What a slot is to be.
#[derive(Debug, Clone)]
pub struct NewSlot {
    /// The custodian that keeps its key.
    pub custodian: Label,
    /// What people will call it; no other slot of that generation may have that label.
    pub label: Label,
    /// The cluster whose MasterKey it holds.
    pub cluster: ClusterId,
    /// The generation of that MasterKey.
    pub generation: u32,
    /// The cluster's custodians.
    pub roster: Roster,
    /// The first state of the platform in which a TPM's slot may open; its release key governs the slot from then on.
    pub approval: Option<Approval>,
    /// Now.
    pub created: Time,
}

impl Seal {
    /// Seals the MasterKey in a further slot, or in the first, and puts it on record. One with people among its keepers waits for [`Seal::admit`].
    ///
    /// Costs four device jobs, two more if the custodian's key is made.
    ///
    /// # Errors
    /// [`Error`]; the slots are then as they were. A custodian's key that was made stays, and is used by the next try.
    pub fn add(
        &self,
        new: NewSlot,
        keys: (&MasterKey, &IntegrityKeys),
        randomness: &Randomness,
        consent: Consent<'_>,
    ) -> Result<Slot, Error> {
        let (master, integrity) = keys;
        let custodian = self.custodian(&new.custodian)?;
        if custodian.kind().is_person() {
            return Err(Error::KeepsShardsOnly { name: new.custodian });
        }
        let mut change = self.begin_change(integrity)?;
        let header = header(&new, custodian, &change, randomness)?;
        let slot_key = SlotKey(Key::try_init_with(|place| Ok::<_, Error>(randomness.fill(place)?))?);
        let guarded =
            custodian.protect(&slot_key.bytes()?, New { header: &header, approval: new.approval.as_ref(), randomness }, consent)?;
        let slot = Slot::seal(header, guarded, new.roster, &slot_key, master)?;
        drop(slot_key);
        let id = slot.header.id;
        let made = self.publish(&mut change, slot, new.approval.as_ref(), custodian, consent);
        // The reason is the news; that the removal failed as well would only bury it.
        let made = made.inspect_err(|_| drop(self.dir.forget_approvals(id)));
        change.end();
        made
    }

    /// Lists a slot once it has opened from the medium and the table names it; its approval is there before it.
    fn publish(
        &self,
        change: &mut Change<'_>,
        slot: Slot,
        approval: Option<&Approval>,
        custodian: &dyn Custodian,
        consent: Consent<'_>,
    ) -> Result<Slot, Error> {
        approval.map_or(Ok(()), |approval| self.dir.keep(approval))?;
        let staged = self.dir.stage(&slot)?;
        let approvals = self.dir.approvals(slot.header.id)?;
        if !custodian.people().is_empty() {
            return match staged.read_back()? == slot {
                true => staged.hold(PENDING).map(|()| slot),
                false => Err(staged.discard(Error::Forged)),
            };
        }
        // The PIN has just been accepted, so there is no latch left that a person would have to overrule.
        let proven = prove(&staged, &slot, &approvals, custodian, Consent { retry_pin: false, ..consent });
        match proven.and_then(|()| change.announce((slot.header.id, slot.digest()))) {
            Ok(()) => staged.publish().map(|()| slot),
            Err(error) => Err(staged.discard(error)),
        }
    }
}

fn header(new: &NewSlot, custodian: &dyn Custodian, change: &Change<'_>, randomness: &Randomness) -> Result<Header, Error> {
    let Change { listing, waiting, .. } = change;
    // While the MasterKey is re-keyed, the slots of two generations stand side by side, under the same labels.
    let of_generation = listing.slots.iter().chain(waiting).filter(|slot| slot.header.generation == new.generation).count();
    if of_generation + listing.unreadable.len() >= SLOTS_MAX {
        return Err(Error::SlotsFull { max: SLOTS_MAX });
    }
    for Slot { header, .. } in listing.slots.iter().chain(waiting) {
        if header.cluster != new.cluster {
            return Err(Error::WrongCluster { is: header.cluster, wants: new.cluster });
        }
        if header.label == new.label && header.generation == new.generation {
            return Err(Error::LabelTaken { label: new.label.clone(), slot: header.id });
        }
    }
    let id = match &new.approval {
        None => SlotId::from_random(randomness.array()?),
        Some(approval) => {
            approval.check()?;
            if !custodian.follows_platform() {
                return Err(Error::Invalid { field: "approval", wants: "left out for a custodian that is no TPM" });
            }
            approval.state.slot
        }
    };
    if listing.digests.contains_key(&id) {
        return Err(Error::SlotExists { slot: id });
    }
    let newest = listing.slots.iter().chain(waiting).map(|slot| slot.header.slot_set).max().unwrap_or(0);
    Ok(Header {
        kind: custodian.kind(),
        id,
        cluster: new.cluster,
        generation: new.generation,
        slot_set: newest.saturating_add(1),
        created: new.created,
        label: new.label.clone(),
        custodian: new.custodian.clone(),
    })
}

/// Opens what the medium holds. Its check value was computed from the MasterKey itself, so a slot that opens holds that one.
fn prove(staged: &Staged, slot: &Slot, approvals: &[Approval], custodian: &dyn Custodian, consent: Consent<'_>) -> Result<(), Error> {
    let stored = staged.read_back()?;
    if stored != *slot {
        return Err(Error::Forged);
    }
    let slot_key = SlotKey::from_opened(&custodian.open(stored.place(approvals), consent)?)?;
    stored.open(&slot_key).map(drop)
}
