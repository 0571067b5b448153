//! Slots of two generations of the MasterKey side by side, while one takes the place of the other (C8).
//!
//! The keystore says which generation is in force, and changes that in one transaction: before it the new slots open nothing that is stored, after it
//! the old ones open nothing. So slots of a generation that is not in force may go at any time, once one that is in force is known to open.

use std::ops::RangeBounds;

use keys::hierarchy::{IntegrityKeys, MasterKey};
use keys::id::ClusterId;

use crate::change::Change;
use crate::custodian::Consent;
use crate::remove::is_same;
use crate::slot::Slot;
use crate::submit::PENDING;
use crate::{Attempt, Error, Expected, Label, Removed, Seal, SlotId};

impl Seal {
    /// Does a custodian want an approved state of the platform for each new slot? A TPM does, and several keepers with a TPM among them.
    ///
    /// # Errors
    /// `NoCustodian`.
    pub fn follows_platform(&self, custodian: &Label) -> Result<bool, Error> {
        self.custodian(custodian).map(|custodian| custodian.follows_platform())
    }

    /// Shows of every slot of a generation that it holds this MasterKey; returns them. One that opens without a person is opened by a fresh device
    /// process. One of people was opened by all their shards when it was listed: its check value is compared.
    ///
    /// # Errors
    /// `NotProven`; `TableMismatch` and its like, because a check value is believed of a slot that is on record only.
    pub fn prove_generation(&self, expected: Expected, keys: (&MasterKey, &IntegrityKeys)) -> Result<Vec<Slot>, Error> {
        let (master, integrity) = keys;
        self.check_table(integrity)?;
        let slots = self.list()?.of_generation(expected.generation).slots;
        let failed = |slot: &Slot| {
            let failure = self.prove(slot, expected, master).err()?;
            Some(self.attempt(slot, Consent::default(), Some(failure)))
        };
        let attempts: Vec<Attempt> = slots.iter().filter_map(failed).collect();
        if attempts.is_empty() { Ok(slots) } else { Err(Error::NotProven { attempts }) }
    }

    fn prove(&self, slot: &Slot, expected: Expected, master: &MasterKey) -> Result<(), Error> {
        if !slot.names(master)? {
            return Err(Error::WrongMasterKey);
        }
        if !self.custodian(&slot.header.custodian)?.unattended() {
            return Ok(());
        }
        is_same(&self.open(slot, expected, Consent::default())?, master, slot)
    }

    /// Removes the slots of generations that are not in force, and their approvals; those that wait for shards too. Each goes as by [`Seal::remove`].
    ///
    /// - `stale`: which generations; the one in force is not removed, whatever this says.
    /// - `in_force`: the cluster, and the generation that the keystore says.
    /// - `keys`: the MasterKey of that generation, and the integrity key.
    ///
    /// # Errors
    /// `LastSlot` if no slot of the generation in force opens that MasterKey, with or without a person; `Busy`, `Io`: the next call removes those
    /// that are left.
    pub fn remove_generations(
        &self,
        stale: impl RangeBounds<u32>,
        in_force: (ClusterId, u32),
        keys: (&MasterKey, &IntegrityKeys),
    ) -> Result<Vec<Removed>, Error> {
        let ((cluster, generation), (master, integrity)) = (in_force, keys);
        let mut change = self.begin_change(integrity)?;
        let is_stale = |slot: &&Slot| {
            let header = &slot.header;
            header.cluster == cluster && header.generation != generation && stale.contains(&header.generation)
        };
        let listed: Vec<Slot> = change.listing.slots.iter().filter(is_stale).cloned().collect();
        let waiting: Vec<Slot> = change.waiting.iter().filter(is_stale).cloned().collect();
        if let Some(first) = listed.first() {
            let expected = Expected { cluster: Some(cluster), generation: Some(generation) };
            self.one_is_left(&change, first.header.id, expected, master)?;
        }
        let gone = waiting.iter().try_for_each(|slot| self.dir.withdraw(slot.header.id, PENDING));
        let gone = gone.and_then(|()| listed.iter().try_for_each(|slot| self.take_away(&mut change, slot.header.id)));
        change.end();
        gone.map(|()| waiting.into_iter().chain(listed).map(|slot| Removed { id: slot.header.id, slot: Some(slot) }).collect())
    }

    fn take_away(&self, change: &mut Change<'_>, id: SlotId) -> Result<(), Error> {
        // One that is not on record is somebody else's, and is gone with its file.
        change.known(id).map_or(Ok(()), |entry| change.announce(entry))?;
        self.dir.remove(id)?;
        self.dir.forget_approvals(id)
    }

    /// A slot on record that opens this MasterKey now, or that people open: it did so when it was listed.
    fn one_is_left(&self, change: &Change<'_>, leaves: SlotId, expected: Expected, master: &MasterKey) -> Result<(), Error> {
        let mut attempts = Vec::new();
        let is_on_record = |slot: &&Slot| change.known(slot.header.id) == Some((slot.header.id, slot.digest()));
        let in_force = |slot: &&Slot| expected.generation == Some(slot.header.generation);
        for slot in change.listing.slots.iter().filter(in_force).filter(is_on_record) {
            match self.prove(slot, expected, master) {
                Ok(()) => return Ok(()),
                Err(failure) => attempts.push(self.attempt(slot, Consent::default(), Some(failure))),
            }
        }
        Err(Error::LastSlot { slot: leaves, attempts })
    }
}
