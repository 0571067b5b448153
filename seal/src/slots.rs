//! The directory of slot files: `SLOT-ID.slot`, each there whole and proven, or not at all.
//!
//! A new slot is first written as `SLOT-ID.new` and synced. Only when that file, read back, has opened in a fresh device process does it get its
//! name. So a listed slot is a slot that opened, and a crash in between leaves a file that nobody lists and the next writer removes (C10).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::age::AgeRecipient;
use crate::approval::APPROVAL_BYTES_MAX;
use crate::card::CardKey;
use crate::custodian::CustodianKind;
use crate::pkcs11::Parameters;
use crate::shamir::Split;
use crate::slot::{SLOT_BYTES_MAX, Slot};
use crate::{Approval, Error, Roster, SlotId, file, tpm2};

/// Most slots of one generation of the MasterKey.
pub const SLOTS_MAX: usize = 16;

/// Independent slots that there should be.
const ENOUGH: usize = 2;

const SLOT: &str = "slot";
/// So much of the name of a TPM's storage root key tells it from every other one.
const ROOT_NAME_BYTES_SHOWN: usize = 18;
const FRESH: &str = "new";
const APPROVAL: &str = "approval";

/// A file that is named like a slot and is none that this release can read.
#[derive(Debug)]
pub struct Unreadable {
    /// Its name in the directory.
    pub file: String,
    /// What is wrong with it.
    pub why: Error,
}

/// What is in the directory.
#[derive(Debug, Default)]
pub struct Listing {
    /// The slots, oldest first.
    pub slots: Vec<Slot>,
    /// The rest.
    pub unreadable: Vec<Unreadable>,
    /// SHA-256 of each file that is named like a slot.
    pub(crate) digests: BTreeMap<SlotId, [u8; 32]>,
}

/// Fewer than two independent slots: the loss of one device loses the MasterKey.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooFewSlots {
    /// How many there are.
    pub independent: usize,
}

impl fmt::Display for TooFewSlots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.independent;
        write!(
            f,
            "independent slots: {count}, there should be 2: if its device is lost, so is every key: name a second device under seal.custodians, restart, and run `strongroom slot add --custodian NAME --make-key` (a TPM: --approval FILE)"
        )
    }
}

impl Listing {
    /// The slot of that id or label. While the MasterKey is re-keyed, two have each label.
    ///
    /// # Errors
    /// `NoSuchSlot`, `LabelAmbiguous`.
    pub fn find(&self, name: &str) -> Result<&Slot, Error> {
        let id = name.parse::<SlotId>().ok();
        let named = |slot: &&Slot| id == Some(slot.header.id) || slot.header.label.as_str() == name;
        let mut found = self.slots.iter().filter(named);
        match (found.next(), found.next()) {
            (None, _) => Err(Error::NoSuchSlot { name: name.to_owned() }),
            (Some(slot), None) => Ok(slot),
            (Some(slot), Some(_)) => Err(Error::LabelAmbiguous { label: slot.header.label.clone() }),
        }
    }

    /// The same, with the slots of this generation of the MasterKey only: no other one opens the store. All, if it is not known.
    #[must_use]
    pub fn of_generation(mut self, generation: Option<u32>) -> Self {
        self.slots.retain(|slot| generation.is_none_or(|generation| slot.header.generation == generation));
        self
    }

    /// The standing warning, if it is due: there is a device with which every slot is lost. Those on one token are lost together.
    #[must_use]
    pub fn too_few(&self) -> Option<TooFewSlots> {
        Some(TooFewSlots { independent: self.independent() }).filter(|few| few.independent < ENOUGH)
    }

    /// Whose approvals count, as the slots say; compared with the cluster record when something is done. The oldest slot is of the generation in force.
    #[must_use]
    pub fn roster(&self) -> Option<&Roster> {
        self.slots.first().map(|slot| &slot.roster)
    }

    /// How many slots are independent of one another: 0, 1, or 2, which stands for more as well. With 2 any one device may be lost.
    #[must_use]
    pub fn independent(&self) -> usize {
        let slots: Vec<Needs> = self.slots.iter().filter_map(needs).collect();
        let devices: BTreeSet<&String> = slots.iter().flat_map(|slot| &slot.devices).collect();
        match devices.into_iter().all(|lost| slots.iter().any(|slot| slot.opens_without(lost))) {
            _ if slots.is_empty() => 0,
            true => ENOUGH,
            false => 1,
        }
    }
}

impl Slot {
    /// The devices that it opens by, each with whether the loss of it alone loses the slot. What is on one device is lost at once.
    #[must_use]
    pub fn devices(&self) -> Vec<(String, bool)> {
        let Some(needs) = needs(self) else { return Vec::new() };
        needs.devices.iter().map(|device| (device.clone(), !needs.opens_without(device))).collect()
    }
}

/// What a slot opens by: so many of these devices.
struct Needs {
    count: usize,
    devices: Vec<String>,
}

impl Needs {
    fn opens_without(&self, lost: &String) -> bool {
        self.devices.iter().filter(|device| *device != lost).count() >= self.count
    }
}

fn needs(slot: &Slot) -> Option<Needs> {
    if slot.header.kind != CustodianKind::Shamir {
        return Some(Needs { count: 1, devices: vec![device(slot.header.kind, &slot.guarded.parameters)?] });
    }
    let split = Split::decode(&slot.guarded).ok()?;
    let devices = split.shards.iter().filter_map(|shard| device(shard.kind, &shard.guarded.parameters)).collect();
    Some(Needs { count: split.threshold.into(), devices })
}

/// The device of which these are the parameters; what is on one is lost at once.
pub(crate) fn device(kind: CustodianKind, parameters: &[u8]) -> Option<String> {
    match kind {
        CustodianKind::Pkcs11 => Parameters::decode(parameters).ok().map(|parameters| format!("token {}", parameters.serial)),
        CustodianKind::Tpm2 => {
            let parameters = tpm2::Parameters::decode(parameters).ok()?;
            // The name of a storage root key is a digest behind the number of its algorithm.
            let digest: String = parameters.root_name.iter().take(ROOT_NAME_BYTES_SHOWN).map(|byte| format!("{byte:02x}")).collect();
            Some(format!("TPM {digest}"))
        }
        CustodianKind::Age => AgeRecipient::from_parameters(parameters).ok().map(|recipient| recipient.to_string()),
        CustodianKind::Card => CardKey::from_parameters(parameters).ok().map(|key| format!("card key {key}")),
        // Several devices, or not decoded yet and so never listed.
        CustodianKind::Shamir
        | CustodianKind::OpenbaoTransit
        | CustodianKind::AwsKms
        | CustodianKind::AzureKeyVault
        | CustodianKind::GcpKms => None,
    }
}

/// The directory.
#[derive(Debug)]
pub(crate) struct SlotDir {
    path: PathBuf,
}

impl SlotDir {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads every slot file; without a directory there is none.
    pub(crate) fn list(&self) -> Result<Listing, Error> {
        let mut listing = Listing::default();
        for path in self.files(SLOT)? {
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            match listing.read(&path) {
                Ok(slot) => listing.slots.push(slot),
                Err(why) => listing.unreadable.push(Unreadable { file, why }),
            }
        }
        listing.slots.sort_by_key(|slot| (slot.header.slot_set, slot.header.id));
        Ok(listing)
    }

    /// Makes the directory if it is not there, and removes what interrupted writers left.
    pub(crate) fn prepare(&self) -> Result<(), Error> {
        match DirBuilder::new().mode(0o700).create(&self.path) {
            Ok(()) => file::sync_dir_of(&self.path)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(file::failed("make the directory", &self.path)(error)),
        }
        self.files(FRESH)?.iter().try_for_each(|left| file::remove(left))
    }

    /// Writes a slot that is not listed yet.
    pub(crate) fn stage(&self, slot: &Slot) -> Result<Staged, Error> {
        let fresh = self.path.join(format!("{}.{FRESH}", slot.header.id));
        let staged = Staged { target: fresh.with_extension(SLOT), fresh };
        match file::write(&staged.fresh, &slot.encode()) {
            Ok(()) => Ok(staged),
            Err(error) => Err(staged.discard(error)),
        }
    }

    /// The approvals beside a slot, oldest first; files that are none are passed over, since each speaks for itself alone.
    pub(crate) fn approvals(&self, slot: SlotId) -> Result<Vec<Approval>, Error> {
        let mut approvals = Vec::new();
        for path in self.approval_files(slot)? {
            let Ok(approval) = Approval::decode(&file::read(&path, APPROVAL_BYTES_MAX)?) else { continue };
            if approval.state.slot == slot && approval.check().is_ok() {
                approvals.push(approval);
            }
        }
        approvals.sort_by_key(|approval| approval.created);
        Ok(approvals)
    }

    /// Puts an approval beside its slot, durably; one that is there already stays.
    pub(crate) fn keep(&self, approval: &Approval) -> Result<(), Error> {
        let bytes = approval.encode();
        let digest = cipher::mac::sha256(&[&bytes]);
        let name: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let target = self.path.join(format!("{}.{name}.{APPROVAL}", approval.state.slot));
        let fresh = target.with_extension(FRESH);
        file::write(&fresh, &bytes)?;
        file::publish(&fresh, &target)
    }

    /// Lists a slot that lies in a file of another extension.
    pub(crate) fn admit(&self, id: SlotId, extension: &str) -> Result<(), Error> {
        let target = self.path.join(format!("{id}.{SLOT}"));
        file::publish(&target.with_extension(extension), &target)
    }

    /// Removes a slot that lies in a file of another extension, and its approvals.
    pub(crate) fn withdraw(&self, id: SlotId, extension: &str) -> Result<(), Error> {
        file::remove(&self.path.join(format!("{id}.{extension}")))?;
        self.forget_approvals(id)
    }

    /// Removes a slot's file, durably; it may be absent.
    pub(crate) fn remove(&self, slot: SlotId) -> Result<(), Error> {
        file::remove(&self.path.join(format!("{slot}.{SLOT}")))
    }

    /// Removes the approvals whose slot nobody knows: an interrupted writer has left them.
    pub(crate) fn forget_stray_approvals(&self, is_known: impl Fn(SlotId) -> bool) -> Result<(), Error> {
        let slot = |path: &Path| path.file_name()?.to_str()?.split('.').next()?.parse::<SlotId>().ok();
        let mut paths = self.files(APPROVAL)?;
        paths.retain(|path| slot(path).is_some_and(|slot| !is_known(slot)));
        paths.iter().try_for_each(|path| file::remove(path))
    }

    /// Removes all approvals of a slot.
    pub(crate) fn forget_approvals(&self, slot: SlotId) -> Result<(), Error> {
        self.approval_files(slot)?.iter().try_for_each(|path| file::remove(path))
    }

    fn approval_files(&self, slot: SlotId) -> Result<Vec<PathBuf>, Error> {
        let mut paths = self.files(APPROVAL)?;
        let begins = format!("{slot}.");
        paths.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&begins)));
        Ok(paths)
    }

    pub(crate) fn files(&self, extension: &str) -> Result<Vec<PathBuf>, Error> {
        let entries = match fs::read_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries,
        };
        let paths = entries.and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>());
        let mut paths = paths.map_err(file::failed("list", &self.path))?;
        paths.retain(|path| path.extension().is_some_and(|found| found == extension));
        paths.sort();
        Ok(paths)
    }
}

impl Listing {
    /// Reads one file, and notes its digest if it is named like a slot.
    fn read(&mut self, path: &Path) -> Result<Slot, Error> {
        let id: SlotId = path.file_stem().unwrap_or_default().to_string_lossy().parse()?;
        // Stays if the file cannot be read, and is no file's digest.
        self.digests.insert(id, [0; 32]);
        let bytes = file::read(path, SLOT_BYTES_MAX)?;
        self.digests.insert(id, cipher::mac::sha256(&[&bytes]));
        let slot = Slot::decode(&bytes)?;
        if slot.header.id == id { Ok(slot) } else { Err(Error::Misnamed { holds: slot.header.id }) }
    }
}

/// A slot that is written and not listed.
pub(crate) struct Staged {
    fresh: PathBuf,
    target: PathBuf,
}

impl Staged {
    /// What is on the medium.
    pub(crate) fn read_back(&self) -> Result<Slot, Error> {
        Slot::decode(&file::read(&self.fresh, SLOT_BYTES_MAX)?)
    }

    /// Lists it.
    pub(crate) fn publish(self) -> Result<(), Error> {
        file::publish(&self.fresh, &self.target).map_err(|error| self.discard(error))
    }

    /// Keeps it, under another extension than a slot's.
    pub(crate) fn hold(self, extension: &str) -> Result<(), Error> {
        let held = self.fresh.with_extension(extension);
        file::publish(&self.fresh, &held).map_err(|error| self.discard(error))
    }

    /// Removes whatever is there of it. The reason is the news; that the removal failed as well would only bury it.
    pub(crate) fn discard(self, reason: Error) -> Error {
        for path in [&self.fresh, &self.target] {
            let _removed = file::remove(path);
        }
        reason
    }
}
