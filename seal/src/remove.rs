//! Removing a slot: only while another one has just opened.

use keys::hierarchy::{IntegrityKeys, MasterKey};

use crate::change::Change;
use crate::custodian::Consent;
use crate::slot::Slot;
use crate::slots::Unreadable;
use crate::submit::PENDING;
use crate::{Error, Expected, Seal, SlotId, TypedPin};

/// What was removed.
#[derive(Debug)]
pub struct Removed {
    /// Which slot.
    pub id: SlotId,
    /// What it was, if it could be read.
    pub slot: Option<Slot>,
}

impl Seal {
    /// Removes a slot, by id or label, with its approvals, after another one has opened the same MasterKey: by a device without a person, or by the
    /// PIN given. A slot that is on record alone, or that cannot be read, is removed by its id; then nothing is amiss with the table any more.
    ///
    /// What its custodian keeps stays there: a token's key may have protected more than this slot.
    ///
    /// - `expected`: name the cluster and its generation; slots of others do not count.
    ///
    /// # Errors
    /// `LastSlot`, `NoSuchSlot`, `LabelAmbiguous`, `Busy`, `NewerFormat` and `KindNotBuilt` for a later release's slot; the slots are then as they were.
    /// `Io`: the slot may be there or not, and is no other one's doing.
    pub fn remove(
        &self,
        name: &str,
        expected: Expected,
        keys: (&MasterKey, &IntegrityKeys),
        typed: Option<TypedPin<'_>>,
    ) -> Result<Removed, Error> {
        let (master, integrity) = keys;
        let mut change = self.begin_change(integrity)?;
        if let Some(waiting) = change.waiting.iter().find(|slot| slot.is_called(name)).cloned() {
            // During a re-key a slot and the one that is to follow it have one label, and the wrong one would be gone.
            if name != waiting.header.id.to_string() && change.listing.slots.iter().any(|slot| slot.is_called(name)) {
                return Err(Error::LabelAmbiguous { label: waiting.header.label });
            }
            // It does not count, so nobody relies on it.
            self.dir.withdraw(waiting.header.id, PENDING)?;
            return Ok(Removed { id: waiting.header.id, slot: Some(waiting) });
        }
        let removed = named(&change, name)?;
        self.another_opens(&change, removed.id, expected, master, typed)?;
        // One that is not on record is somebody else's, and is gone with its file.
        change.known(removed.id).map_or(Ok(()), |entry| change.announce(entry))?;
        let gone = self.dir.remove(removed.id).and_then(|()| self.dir.forget_approvals(removed.id));
        change.end();
        gone.map(|()| removed)
    }

    /// Test-opens the other slots until one yields the same MasterKey.
    fn another_opens(
        &self,
        change: &Change<'_>,
        removed: SlotId,
        expected: Expected,
        master: &MasterKey,
        typed: Option<TypedPin<'_>>,
    ) -> Result<(), Error> {
        let mut attempts = Vec::new();
        for slot in change.listing.slots.iter().filter(|slot| slot.header.id != removed) {
            let typed = typed.filter(|typed| *typed.custodian == slot.header.custodian);
            let retry_pin = typed.is_some_and(|typed| typed.retry_pin);
            let consent = Consent { pin: typed.map(|typed| typed.pin), retry_pin, ..Consent::default() };
            let opened = self.open(slot, expected, consent).and_then(|opened| is_same(&opened, master, slot));
            match opened {
                Ok(()) => return Ok(()),
                Err(failure) => attempts.push(self.attempt(slot, consent, Some(failure))),
            }
        }
        Err(Error::LastSlot { slot: removed, attempts })
    }
}

pub(crate) fn is_same(opened: &MasterKey, master: &MasterKey, slot: &Slot) -> Result<(), Error> {
    let cluster = slot.header.cluster;
    if cipher::mac::ct_eq(&opened.check_value(cluster)?, &master.check_value(cluster)?) { Ok(()) } else { Err(Error::WrongMasterKey) }
}

/// The slot that is meant.
fn named(change: &Change<'_>, name: &str) -> Result<Removed, Error> {
    let no_such = match change.listing.find(name) {
        Ok(slot) => return Ok(Removed { id: slot.header.id, slot: Some(slot.clone()) }),
        Err(error @ Error::NoSuchSlot { .. }) => error,
        Err(error) => return Err(error),
    };
    let Ok(id) = name.parse::<SlotId>() else { return Err(no_such) };
    for Unreadable { file, why } in &change.listing.unreadable {
        match why {
            // It may be the one that opens after an update.
            Error::NewerFormat { format, known } if is_file_of(file, id) => {
                return Err(Error::NewerFormat { format: *format, known: *known });
            }
            Error::KindNotBuilt { kind } if is_file_of(file, id) => return Err(Error::KindNotBuilt { kind: *kind }),
            _ => {}
        }
    }
    if change.listing.digests.contains_key(&id) || change.known(id).is_some() { Ok(Removed { id, slot: None }) } else { Err(no_such) }
}

fn is_file_of(file: &str, slot: SlotId) -> bool {
    file.split('.').next().and_then(|stem| stem.parse().ok()) == Some(slot)
}
