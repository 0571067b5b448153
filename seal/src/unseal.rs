//! Opening slots: to unseal, to verify one, and to probe that they still can be opened.

use std::sync::Arc;

use keys::hierarchy::MasterKey;
use keys::id::ClusterId;
use secret::Bytes;

use crate::custodian::{Consent, SlotKey};
use crate::slot::Slot;
use crate::{Error, Label, PlainShard, Seal, SlotId, Unreadable};

/// What the keystore says about the MasterKey that is to be opened, as far as it could be asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Expected {
    /// Its cluster; slots of another one are not tried.
    pub cluster: Option<ClusterId>,
    /// Its generation; slots of another one are not tried.
    pub generation: Option<u32>,
}

/// A PIN that a person typed. It is tried at this custodian only: at another one it would be a wrong PIN.
#[derive(Debug, Clone, Copy)]
pub struct TypedPin<'a> {
    /// Whose PIN.
    pub custodian: &'a Label,
    /// The PIN.
    pub pin: &'a Bytes,
    /// Try it once although an earlier one was refused.
    pub retry_pin: bool,
}

/// One try of one slot.
#[derive(Debug)]
pub struct Attempt {
    /// Which slot.
    pub slot: SlotId,
    /// Its label.
    pub label: Label,
    /// Whether it was tried without a person.
    pub unattended: bool,
    /// Why it did not open; `None` if it did.
    pub failure: Option<Error>,
    /// Of a slot that a probe has opened: the keepers whose shards did not, and why.
    pub ailing: Vec<(Label, Error)>,
}

/// The open MasterKey; drop it as soon as [`crate::Residency`] allows.
#[derive(Debug)]
pub struct Opened {
    /// The key.
    pub master: MasterKey,
    /// The slot that opened; compare its roster's hash with the cluster record.
    pub slot: Slot,
    /// Every try, in order; the last one opened.
    pub attempts: Vec<Attempt>,
    /// Files that are no slots this release can read.
    pub unreadable: Vec<Unreadable>,
}

impl Seal {
    /// Opens the MasterKey with the first slot that does: that of the typed PIN first, then the unattended ones, oldest first.
    ///
    /// # Errors
    /// `NoSlots`, `NotUnsealed` with the reason of each slot, `Io` if the directory cannot be read.
    pub fn unseal(&self, expected: Expected, typed: Option<TypedPin<'_>>) -> Result<Opened, Error> {
        self.unseal_by(expected, typed, &[])
    }

    /// As [`Seal::unseal`], also by shards that people have given.
    ///
    /// # Errors
    /// As [`Seal::unseal`].
    pub fn unseal_by(&self, expected: Expected, typed: Option<TypedPin<'_>>, shards: &[Arc<PlainShard>]) -> Result<Opened, Error> {
        let mut listing = self.list()?;
        if listing.slots.is_empty() && listing.unreadable.is_empty() {
            return Err(Error::NoSlots { dir: self.dir.path().to_owned() });
        }
        // Those of another generation stand beside the others during a re-key. They are last, so they are only told of if none opens.
        let is_other = |slot: &Slot| expected.generation.is_some_and(|wants| wants != slot.header.generation);
        listing.slots.sort_by_key(|slot| (is_other(slot), !is_for(typed, slot), !self.unattended(slot)));
        let mut attempts = Vec::new();
        for slot in listing.slots {
            let typed = typed.filter(|_| is_for(typed, &slot));
            let retry_pin = typed.is_some_and(|typed| typed.retry_pin);
            let consent = Consent { pin: typed.map(|typed| typed.pin), retry_pin, shards, ..Consent::default() };
            let opened = self.open(&slot, expected, consent);
            let (failure, master) = match opened {
                Ok(master) => (None, Some(master)),
                Err(error) => (Some(error), None),
            };
            attempts.push(self.attempt(&slot, consent, failure));
            if let Some(master) = master {
                return Ok(Opened { master, slot, attempts, unreadable: listing.unreadable });
            }
        }
        Err(Error::NotUnsealed { attempts, unreadable: listing.unreadable })
    }

    /// Opens one slot, by id or label, in a fresh device process, compares its check value and wipes what it opened.
    ///
    /// # Errors
    /// [`Error`]; `NoSuchSlot` also for a file that cannot be read, which [`Seal::list`] names.
    pub fn verify(&self, name: &str, expected: Expected, consent: Consent<'_>) -> Result<Slot, Error> {
        let listing = self.list()?;
        let slot = listing.find(name)?;
        self.open(slot, expected, consent)?;
        Ok(slot.clone())
    }

    /// Opens every slot that needs no person, one after the other, and wipes what they opened: whoever deletes a device's key is noticed while
    /// another slot still opens. Slots whose custodian is gone from the configuration are reported too, those of another generation are not.
    ///
    /// # Errors
    /// `Io`, if the directory cannot be read.
    pub fn probe(&self, expected: Expected) -> Result<Vec<Attempt>, Error> {
        let slots = self.list()?.of_generation(expected.generation).slots.into_iter();
        let needs_nobody = |slot: &Slot| self.custodian(&slot.header.custodian).map_or(true, |custodian| custodian.unattended());
        let probe = |slot: Slot| {
            let failure = self.open(&slot, expected, Consent::default()).err();
            let ailing = if failure.is_none() { self.ailing(&slot) } else { Vec::new() };
            Attempt { ailing, ..self.attempt(&slot, Consent::default(), failure) }
        };
        Ok(slots.filter(needs_nobody).map(probe).collect())
    }

    pub(crate) fn open(&self, slot: &Slot, expected: Expected, consent: Consent<'_>) -> Result<MasterKey, Error> {
        let header = &slot.header;
        if let Some(wants) = expected.cluster.filter(|wants| *wants != header.cluster) {
            return Err(Error::WrongCluster { is: header.cluster, wants });
        }
        if let Some(wants) = expected.generation.filter(|wants| *wants != header.generation) {
            return Err(Error::WrongGeneration { is: header.generation, wants });
        }
        let custodian = self.custodian(&header.custodian)?;
        if custodian.kind() != header.kind {
            return Err(Error::WrongKind { name: header.custodian.clone(), is: custodian.kind(), wants: header.kind });
        }
        let approvals = self.dir.approvals(header.id)?;
        slot.open(&SlotKey::from_opened(&custodian.open(slot.place(&approvals), consent)?)?)
    }

    fn ailing(&self, slot: &Slot) -> Vec<(Label, Error)> {
        let approvals = self.dir.approvals(slot.header.id).unwrap_or_default();
        let custodian = self.custodian(&slot.header.custodian);
        custodian.map_or_else(|_| Vec::new(), |custodian| custodian.ailing(slot.place(&approvals), Consent::default()))
    }

    pub(crate) fn attempt(&self, slot: &Slot, consent: Consent<'_>, failure: Option<Error>) -> Attempt {
        let unattended = consent.pin.is_none() && self.unattended(slot);
        Attempt { slot: slot.header.id, label: slot.header.label.clone(), unattended, failure, ailing: Vec::new() }
    }

    fn unattended(&self, slot: &Slot) -> bool {
        self.custodian(&slot.header.custodian).is_ok_and(|custodian| custodian.unattended())
    }
}

fn is_for(typed: Option<TypedPin<'_>>, slot: &Slot) -> bool {
    typed.is_some_and(|typed| *typed.custodian == slot.header.custodian)
}
