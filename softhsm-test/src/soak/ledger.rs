//! What a core has acknowledged, what it may have done besides, and the check that it still knows.

use std::collections::{BTreeMap, HashMap};

use daemon::kmip_client::{KmipClient, KmipError};
use kmip::{ResultReason, State};

use crate::appliance::Who;
use crate::core::Core;
use crate::requests::{self, Face, Secret};
use crate::soak::chains;
use crate::soak::random::Random;

/// How much of what was checked before is checked again after each fault.
const SAMPLE: usize = 25;

/// One version of a chain of keys.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) face: Face,
    /// The request about it that was not answered.
    pub(crate) open: Option<Open>,
    /// Is it of the chain that holds the service's default key?
    pub(crate) is_default: bool,
    /// Nothing was done to it since it was last checked.
    pub(crate) is_checked: bool,
}

/// What an unanswered request may have brought about.
#[derive(Debug)]
pub(crate) enum Open {
    Change(Face),
    ReKey,
}

impl Key {
    fn new(id: String, face: Face, is_default: bool) -> Self {
        Self { id, face, open: None, is_default, is_checked: false }
    }

    pub(crate) fn is_destroyed(&self) -> bool {
        matches!(self.face.state, State::Destroyed | State::DestroyedCompromised)
    }

    /// Is it an edge's? Then it is its client's, and stays what it is when it is replaced.
    pub(crate) fn is_l4(&self) -> bool {
        !self.id.starts_with("L3-")
    }

    /// May its state be changed? A default key's newest version is in use until it is replaced.
    pub(crate) fn may_end(&self) -> bool {
        !self.is_default || self.face.replacement.is_some()
    }

    /// Makes it the version before `new`, which is returned (table of `keys/src/rekey.rs`).
    fn replace(&mut self, new: String) -> Self {
        let before = self.face.clone();
        let state = if before.state == State::PreActive { State::PreActive } else { State::Active };
        let next = Face { state, version: before.version + 1, replaced: Some(self.id.clone()), ..before };
        if !self.is_l4() && matches!(self.face.state, State::PreActive | State::Active) {
            self.face.state = State::Deactivated;
        }
        (self.face.name, self.face.replacement, self.open, self.is_checked) = (None, Some(new.clone()), None, false);
        Self::new(new, next, self.is_default)
    }
}

/// One worker's knowledge.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) keys: Vec<Key>,
    /// How many names were used so far.
    pub(crate) names: u64,
    /// Names of keys whose Create was not answered.
    pub(crate) unanswered: Vec<String>,
    /// The first `checked_secrets` were opened after an earlier fault.
    pub(crate) secrets: Vec<Secret>,
    pub(crate) checked_secrets: usize,
    pub(crate) counts: Counts,
    /// What was refused with which words, and how often.
    pub(crate) refusals: BTreeMap<String, u64>,
}

/// What became of requests.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Answered with success.
    pub(crate) acknowledged: u64,
    /// Of these, changes.
    pub(crate) changes: u64,
    /// Answered with a refusal.
    pub(crate) refused: u64,
    /// Unanswered changes that turned out to have been made as a whole.
    pub(crate) completed: u64,
    /// Unanswered changes that turned out not to have been made.
    pub(crate) absent: u64,
    /// Keys and ciphertexts looked at after a fault.
    pub(crate) checked: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.changes += other.changes;
        self.refused += other.refused;
        self.completed += other.completed;
        self.absent += other.absent;
        self.checked += other.checked;
    }
}

/// How much to check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// What is new, and some of what is old.
    Sample,
    Everything,
}

impl Ledger {
    /// Takes the service's default key in; one ledger of a core may.
    ///
    /// # Panics
    /// If there is none.
    pub(crate) fn add_default(&mut self, core: &Core) {
        let mut admin = core.connect(Who::TenantAdmin);
        let id = requests::default_key(&mut admin).expect("a tenant of `dev` has one service with a default key");
        let face = requests::look(&mut admin, &id).expect("a default key can be looked at");
        self.keys.push(Key::new(id, face, true));
    }

    /// Notes a key that was just created.
    pub(crate) fn add(&mut self, id: String, name: String) {
        let face = Face { state: State::PreActive, version: 1, name: Some(name), contact: None, replaced: None, replacement: None };
        self.keys.push(Key::new(id, face, false));
    }

    /// Notes that the key at `place` was replaced by `new`.
    pub(crate) fn replace(&mut self, place: usize, new: String) {
        let next = self.keys[place].replace(new);
        self.keys.push(next);
    }

    /// Compares with what the running core says; what was open until now is settled by its answers, and has to stay so.
    ///
    /// # Panics
    /// At the first thing that is lost, or there by half.
    pub(crate) fn check(&mut self, core: &Core, scope: Scope, random: &mut Random) {
        let mut admin = core.connect(core.governor());
        self.settle_creates(&mut admin);
        self.settle_rekeys(&mut admin);
        for place in due(self.keys.len(), |place| !self.keys[place].is_checked, scope, random) {
            self.check_key(place, &mut admin);
        }
        chains::check(&self.keys);
        let mut service = core.connect(Who::Service);
        let states: HashMap<&str, State> = self.keys.iter().map(|key| (key.id.as_str(), key.face.state)).collect();
        for place in due(self.secrets.len(), |place| place >= self.checked_secrets, scope, random) {
            let secret = &self.secrets[place];
            check_secret(secret, states[secret.key.as_str()], &mut service);
            self.counts.checked += 1;
        }
        self.checked_secrets = self.secrets.len();
    }

    fn settle_creates(&mut self, admin: &mut KmipClient) {
        for name in std::mem::take(&mut self.unanswered) {
            let found = requests::locate(admin, &name).unwrap_or_else(|error| panic!("Locate of {name}: {error}"));
            assert!(found.len() < 2, "{name} is there {} times", found.len());
            match found.into_iter().next() {
                Some(id) => {
                    self.counts.completed += 1;
                    self.add(id, name);
                }
                None => self.counts.absent += 1,
            }
        }
    }

    /// Whether a ReKey was done is told by the old version's Link; everything else about both versions has to agree with it.
    fn settle_rekeys(&mut self, admin: &mut KmipClient) {
        for place in 0..self.keys.len() {
            if !matches!(self.keys[place].open, Some(Open::ReKey)) {
                continue;
            }
            let key = &mut self.keys[place];
            key.open = None;
            match look(admin, &key.id).replacement {
                Some(new) => {
                    self.counts.completed += 1;
                    self.replace(place, new);
                }
                None => self.counts.absent += 1,
            }
        }
    }

    fn check_key(&mut self, place: usize, admin: &mut KmipClient) {
        let key = &mut self.keys[place];
        let found = look(admin, &key.id);
        let may_be = key.open.take();
        if let Some(Open::Change(changed)) = &may_be {
            self.counts.completed += u64::from(found == *changed);
            self.counts.absent += u64::from(found != *changed);
            if found == *changed {
                key.face = changed.clone();
            }
        }
        assert_eq!(found, key.face, "{} has changed; unanswered was {may_be:?}", key.id);
        if let Some(name) = &found.name {
            let named = requests::locate(admin, name).unwrap_or_else(|error| panic!("Locate of {name}: {error}"));
            // A destroyed object is not found by what it was called.
            let wanted = if key.is_destroyed() { &[][..] } else { &[key.id.as_str()] };
            assert_eq!(named, wanted, "{name} is not the name of the newest version alone");
        }
        if key.is_default && found.replacement.is_none() {
            let default = requests::default_key(admin).unwrap_or_else(|error| panic!("Locate of the default key: {error}"));
            assert_eq!(default, key.id, "the service's default key is not the newest version of its chain");
        }
        key.is_checked = true;
        self.counts.checked += 1;
    }
}

fn look(admin: &mut KmipClient, id: &str) -> Face {
    requests::look(admin, id).unwrap_or_else(|error| panic!("acknowledged key {id} is lost: {error}"))
}

fn check_secret(secret: &Secret, state: State, service: &mut KmipClient) {
    let outcome = requests::decrypt(service, secret);
    if matches!(state, State::Active | State::Deactivated) {
        let plain = outcome.unwrap_or_else(|error| panic!("an acknowledged ciphertext of {} does not decrypt: {error}", secret.key));
        assert_eq!(plain, secret.plain, "{} decrypts to something else", secret.key);
    } else {
        assert!(outcome.is_err(), "{} is {state:?} and decrypts", secret.key);
    }
}

/// All places that are `new`, and of the others a sample or all.
fn due(length: usize, new: impl Fn(usize) -> bool, scope: Scope, random: &mut Random) -> Vec<usize> {
    let mut due: Vec<usize> = (0..length).filter(|place| scope == Scope::Everything || new(*place)).collect();
    if scope == Scope::Sample && length > 0 {
        due.extend((0..SAMPLE).map(|_| random.place(length)));
    }
    due
}

/// A refusal that tells a client to come again, and not what is wrong inside.
pub(crate) fn is_general_failure(error: &KmipError) -> bool {
    matches!(error, KmipError::Kmip(kmip::Error::Refused { reason: Some(ResultReason::GeneralFailure), .. }))
}
