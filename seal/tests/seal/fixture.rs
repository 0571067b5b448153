//! A seal on a private SoftHSM or on a fake token, and the values that every case needs.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hsm::{Device, DeviceError, DeviceProcess, KeyName, ProcessSettings, Refusal, TokenName};
use keys::entropy::Randomness;
use keys::hierarchy::{IntegrityKeys, MasterKey};
use keys::id::{ClusterId, Time};
use keys::port::{Entropy, EntropyError};
use seal::{
    Attempt, Consent, CustodianKey, CustodianSettings, Error, Expected, Label, Means, NewSlot, PinSource, Pkcs11Settings, Roster, Seal,
    SealSettings, Slot,
};
use secret::{Bytes, Key};
use softhsm_test::{LABEL, MODULE, SoftHsm};
use tempfile::TempDir;
use uuid::Uuid;

/// Far above what any job takes here, so that only a hang meets it.
const DEADLINE: Duration = Duration::from_secs(60);

/// Consent to make the token's key, as `init` gives it.
pub(crate) const MAKE: Consent<'_> = Consent { pin: None, retry_pin: false, make_key: true, shards: &[] };

/// A SoftHSM, and a directory for slots.
pub(crate) struct Bench {
    pub(crate) hsm: SoftHsm,
    pub(crate) device: Arc<dyn Device>,
    dir: TempDir,
}

impl Bench {
    /// Without slots.
    pub(crate) fn new() -> Self {
        let hsm = SoftHsm::new();
        let settings = ProcessSettings {
            program: softhsm_test::binary("strongroom-device", "hsm-helper"),
            latch_dir: hsm.latch_dir(),
            environment: hsm.environment(),
            deadline: DEADLINE,
        };
        Self { hsm, device: Arc::new(DeviceProcess::new(settings)), dir: tempfile::tempdir().expect("a directory") }
    }

    /// With one slot, `primary`, of custodian `hsm`.
    pub(crate) fn with_slot() -> Self {
        let this = Self::new();
        add(&this.seal(), "primary", "hsm").expect("the slot is made");
        this
    }

    pub(crate) fn slots_dir(&self) -> PathBuf {
        self.dir.path().join("slots")
    }

    /// The only slot file.
    pub(crate) fn slot_file(&self) -> PathBuf {
        let mut files = self.files(".slot");
        assert_eq!(files.len(), 1);
        files.remove(0)
    }

    /// Files of the directory whose name ends so.
    pub(crate) fn files(&self, end: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.slots_dir()).expect("readable").map(|entry| entry.expect("readable").path());
        entries.filter(|path| path.to_str().expect("UTF-8").ends_with(end)).collect()
    }

    /// With custodian `hsm`: the first token, PIN from the credential file.
    pub(crate) fn seal(&self) -> Seal {
        self.seal_with(vec![self.custodian("hsm", LABEL)])
    }

    pub(crate) fn seal_with(&self, custodians: Vec<CustodianSettings>) -> Seal {
        Seal::new(SealSettings { slots_dir: self.slots_dir(), custodians }, &self.device).expect("sound settings")
    }

    pub(crate) fn seal_on(&self, device: &Arc<dyn Device>) -> Seal {
        let custodians = vec![self.custodian("hsm", LABEL)];
        Seal::new(SealSettings { slots_dir: self.slots_dir(), custodians }, device).expect("sound settings")
    }

    pub(crate) fn custodian(&self, name: &str, token: &str) -> CustodianSettings {
        custodian(name, token, PinSource::Credential(self.hsm.pin_file()))
    }
}

pub(crate) fn custodian(name: &str, token: &str, pin: PinSource) -> CustodianSettings {
    let key = KeyName { label: "slot-key".to_owned(), id: Some(vec![0x51]) };
    let settings = Pkcs11Settings { module: MODULE.into(), token: TokenName::Label(token.to_owned()), key, pin };
    CustodianSettings { name: label(name), region: None, means: Means::Pkcs11(settings) }
}

pub(crate) fn label(text: &str) -> Label {
    text.parse().expect("a label")
}

pub(crate) fn cluster() -> ClusterId {
    ClusterId::new(Uuid::from_bytes([0xC1; 16]))
}

pub(crate) fn other_cluster() -> ClusterId {
    ClusterId::new(Uuid::from_bytes([0xC2; 16]))
}

pub(crate) fn expected() -> Expected {
    Expected { cluster: Some(cluster()), generation: Some(1) }
}

pub(crate) fn master() -> MasterKey {
    MasterKey::from_key(Key::init_with(|place| place.fill(0x4D)).expect("the arena has room"))
}

pub(crate) fn integrity() -> IntegrityKeys {
    IntegrityKeys::new(cluster(), &[0x1C; 32]).expect("the arena has room")
}

pub(crate) fn is_master(opened: &MasterKey) -> bool {
    opened.expose(|opened| *opened == [0x4D; 32])
}

pub(crate) fn pin(text: &str) -> Bytes {
    Bytes::init_with(text.len(), |place| place.copy_from_slice(text.as_bytes())).expect("the arena has room")
}

pub(crate) fn new_slot(label_text: &str, custodian: &str) -> NewSlot {
    let roster = Roster::new(1, vec![CustodianKey([0xA1; 32])]).expect("it is sound");
    NewSlot {
        custodian: label(custodian),
        label: label(label_text),
        cluster: cluster(),
        generation: 1,
        roster,
        created: Time::from_seconds(1_700_000_000),
        approval: None,
    }
}

/// Adds a slot as `init` does.
pub(crate) fn add(seal: &Seal, label_text: &str, custodian: &str) -> Result<Slot, Error> {
    seal.add(new_slot(label_text, custodian), (&master(), &integrity()), &randomness(), MAKE)
}

/// Numbers that differ in every draw of the process.
struct Counting;

impl Entropy for Counting {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), EntropyError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        for chunk in buffer.chunks_mut(32) {
            let block = cipher::mac::sha256(&[&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes()]);
            chunk.copy_from_slice(&block[..chunk.len()]);
        }
        Ok(())
    }
}

pub(crate) fn randomness() -> Randomness {
    Randomness::new(Arc::new(Counting))
}

/// What became of each slot when none opened.
pub(crate) fn failures<T: std::fmt::Debug>(unsealed: Result<T, Error>) -> Vec<Error> {
    match unsealed {
        Err(Error::NotUnsealed { attempts, unreadable }) => {
            let tried = attempts.into_iter().map(|attempt| attempt.failure.expect("none opened"));
            tried.chain(unreadable.into_iter().map(|file| file.why)).collect()
        }
        other => panic!("not a failed unsealing: {other:?}"),
    }
}

/// The only failure.
pub(crate) fn failure<T: std::fmt::Debug>(unsealed: Result<T, Error>) -> Error {
    let mut failures = failures(unsealed);
    assert_eq!(failures.len(), 1, "{failures:?}");
    failures.remove(0)
}

/// The device process's own words.
pub(crate) fn refusal(error: Error) -> Refusal {
    match error {
        Error::Device { source: DeviceError::Refused(refusal), .. } => refusal,
        other => panic!("not refused by the device process: {other}"),
    }
}

pub(crate) fn opened(attempt: &Attempt) -> bool {
    attempt.failure.is_none()
}
