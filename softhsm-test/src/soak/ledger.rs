//! What a core has acknowledged, what it may have done besides, and the check that it still knows.

use std::collections::HashMap;

use daemon::kmip_client::{KmipClient, KmipError};
use kmip::{ResultReason, State};

use crate::appliance::Who;
use crate::core::Core;
use crate::requests::{self, Secret};
use crate::soak::random::Random;

/// How much of what was checked before is checked again after each fault.
const SAMPLE: usize = 25;

/// One key.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) state: State,
    /// The state that an unanswered request may have brought about.
    pub(crate) may_be: Option<State>,
    /// Nothing was done to it since it was last checked.
    pub(crate) is_checked: bool,
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
    /// Notes a key that was just created.
    pub(crate) fn add(&mut self, id: String) {
        self.keys.push(Key { id, state: State::PreActive, may_be: None, is_checked: false });
    }

    /// Compares with what the running core says; what was open until now is settled by its answers, and has to stay so.
    ///
    /// # Panics
    /// At the first thing that is lost, or there by half.
    pub(crate) fn check(&mut self, core: &Core, scope: Scope, random: &mut Random) {
        let mut admin = core.connect(Who::TenantAdmin);
        self.settle_creates(&mut admin);
        for place in due(self.keys.len(), |place| !self.keys[place].is_checked, scope, random) {
            self.check_key(place, &mut admin);
        }
        let mut service = core.connect(Who::Service);
        let states: HashMap<&str, State> = self.keys.iter().map(|key| (key.id.as_str(), key.state)).collect();
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
                    self.add(id);
                }
                None => self.counts.absent += 1,
            }
        }
    }

    fn check_key(&mut self, place: usize, admin: &mut KmipClient) {
        let key = &mut self.keys[place];
        let found = requests::state(admin, &key.id).unwrap_or_else(|error| panic!("acknowledged key {} is lost: {error}", key.id));
        let may_be = key.may_be.take();
        assert!(found == key.state || may_be == Some(found), "{} is {found:?}, not {:?} or {may_be:?}", key.id, key.state);
        match may_be {
            Some(_) if found == key.state => self.counts.absent += 1,
            Some(_) => self.counts.completed += 1,
            None => {}
        }
        key.state = found;
        key.is_checked = true;
        self.counts.checked += 1;
    }
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
