//! The MasterKey at rest: slots that seal it under devices, and what opens, proves and lists them.
//!
//! Everything blocks: on files, and on device processes that may take as long as their deadline. Call it from a thread that may.
//!
//! Deliberately absent: a MasterKey that is kept (callers hold it, and drop it), a slot that is listed without having opened, a second try of
//! anything, and code paths or module names that come from a slot file.

mod add;
mod age;
mod approval;
mod approve;
mod card;
mod ceremony;
mod change;
mod custodian;
mod error;
mod fields;
mod file;
mod generation;
mod manifest;
mod name;
mod person;
mod pin;
mod pkcs11;
mod release;
mod remove;
mod residency;
mod roster;
mod shamir;
mod shard;
mod slot;
mod slots;
mod submit;
mod table;
mod tpm2;
mod unseal;

pub use add::NewSlot;
pub use age::AgeRecipient;
pub use approval::{Approval, State};
pub use card::{CardFile, CardKey};
pub use ceremony::{Approved, Ceremony, Question, Standing, Vote};
pub use custodian::{Consent, CustodianKind, Guarded, Platform};
pub use error::Error;
pub use name::{Label, SlotId};
pub use person::Recipient;
pub use pin::{PIN_BYTES_MAX, PinSource};
pub use pkcs11::Pkcs11Settings;
pub use release::ReleaseSigner;
pub use remove::Removed;
pub use residency::{Residency, Why};
pub use roster::{CustodianKey, OneAlone, Roster};
pub use shamir::{KEEPERS_MAX, ShamirSettings};
pub use shard::{PlainShard, SHARD_TEXT_BYTES_MAX};
pub use slot::{Header, Slot};
pub use slots::{Listing, SLOTS_MAX, TooFewSlots, Unreadable};
pub use submit::{Keepers, Keeping, Weighed};
pub use tpm2::Tpm2Settings;
pub use unseal::{Attempt, Expected, Opened, TypedPin};

use std::path::PathBuf;
use std::sync::Arc;

use hsm::Device;

use crate::change::Writer;
use crate::custodian::Custodian;
use crate::person::Person;
use crate::pkcs11::Pkcs11;
use crate::shamir::{Keeper, Shamir};
use crate::slots::SlotDir;
use crate::tpm2::Tpm2;

/// The `seal` section of the configuration.
#[derive(Debug, Clone)]
pub struct SealSettings {
    /// The directory of the slot files; made with the first slot, inside one that is there.
    pub slots_dir: PathBuf,
    /// What can keep slot keys, by name.
    pub custodians: Vec<CustodianSettings>,
}

/// One custodian as it is configured.
#[derive(Debug, Clone)]
pub struct CustodianSettings {
    /// Its name; slots carry it, so renaming a custodian leaves its slots without one.
    pub name: Label,
    /// Where it is, for whoever looks for its shards.
    pub region: Option<Label>,
    /// What it is.
    pub means: Means,
}

/// What a custodian is.
#[derive(Debug, Clone)]
pub enum Means {
    /// A PKCS#11 token.
    Pkcs11(Pkcs11Settings),
    /// A TPM 2.0.
    Tpm2(Tpm2Settings),
    /// A person with an age identity or a smart card, who keeps a shard of others' slots.
    Person(Recipient),
    /// Several others, which keep a shard each.
    Shamir(ShamirSettings),
}

/// The slots of a node, and the custodians that open them.
pub struct Seal {
    dir: SlotDir,
    custodians: Vec<Arc<dyn Custodian>>,
    writer: Writer,
}

impl Seal {
    /// Touches neither files nor devices.
    ///
    /// # Errors
    /// `Invalid`.
    pub fn new(settings: SealSettings, device: &Arc<dyn Device>) -> Result<Self, Error> {
        if !settings.slots_dir.is_absolute() {
            return Err(Error::Invalid { field: "directory of slots", wants: "an absolute path" });
        }
        let mut keepers: Vec<Keeper> = Vec::new();
        // Those whose keepers are others come last.
        let (several, mut each): (Vec<_>, Vec<_>) =
            settings.custodians.into_iter().partition(|custodian| matches!(custodian.means, Means::Shamir(_)));
        let singles = each.len();
        each.extend(several);
        for CustodianSettings { name, region, means } in each {
            if keepers.iter().any(|other| *other.custodian.name() == name) {
                return Err(Error::Invalid { field: "custodian name", wants: "different from every other one's" });
            }
            let custodian: Arc<dyn Custodian> = match means {
                Means::Pkcs11(settings) => Arc::new(Pkcs11::new(name, settings, Arc::clone(device))?),
                Means::Tpm2(settings) => Arc::new(Tpm2::new(name, settings, Arc::clone(device))),
                Means::Person(recipient) => Arc::new(Person::new(name, recipient)),
                Means::Shamir(settings) => Arc::new(Shamir::new(name, &settings, &keepers[..singles])?),
            };
            keepers.push(Keeper { custodian, region });
        }
        let custodians = keepers.into_iter().map(|keeper| keeper.custodian).collect();
        Ok(Self { dir: SlotDir::new(settings.slots_dir), custodians, writer: Writer::default() })
    }

    /// What is in the directory of slots; nothing is opened.
    ///
    /// # Errors
    /// `Io`, if the directory cannot be read.
    pub fn list(&self) -> Result<Listing, Error> {
        self.dir.list()
    }

    fn custodian(&self, name: &Label) -> Result<&dyn Custodian, Error> {
        let found = self.custodians.iter().find(|custodian| custodian.name() == name);
        found.map(|custodian| &**custodian).ok_or_else(|| Error::NoCustodian { name: name.clone() })
    }
}
