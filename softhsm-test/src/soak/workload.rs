//! What clients do while a campaign disturbs the core: a table of operations, each of which notes what it was told.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use daemon::kmip_client::{KmipClient, KmipError};
use kmip::{RevocationReasonCode, State};

use crate::appliance::Who;
use crate::core::Core;
use crate::requests::{self, Face, Secret};
use crate::soak::ledger::{Key, Ledger, Open};
use crate::soak::random::Random;

/// A worker keeps to its newest keys, so that they see several operations each.
const KEYS_IN_USE: usize = 40;

/// One kind of operation.
pub(crate) struct Operation {
    pub(crate) name: &'static str,
    /// How often it is chosen, among the sum of all.
    weight: u64,
    run: fn(&mut Hand<'_>) -> Result<(), Outcome>,
}

/// Everything that a worker can do. A new operation of the product is one line here and one function below.
pub(crate) const OPERATIONS: &[Operation] = &[
    Operation { name: "Create", weight: 5, run: create },
    Operation { name: "Activate", weight: 4, run: activate },
    Operation { name: "Encrypt", weight: 4, run: encrypt },
    Operation { name: "Decrypt", weight: 3, run: decrypt },
    Operation { name: "Get Attributes", weight: 2, run: read },
    Operation { name: "Re-key", weight: 2, run: rekey },
    Operation { name: "Re-key (default)", weight: 1, run: rekey_default },
    Operation { name: "Set, change or delete an attribute", weight: 2, run: set_contact },
    Operation { name: "Revoke (superseded)", weight: 1, run: deactivate },
    Operation { name: "Revoke (compromised)", weight: 1, run: compromise },
    Operation { name: "Destroy", weight: 1, run: destroy },
];

/// How a request ended that was not acknowledged.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The core refused it, as it may while something is broken.
    Refused,
    /// The connection is gone.
    Cut,
}

/// Whether a refusal is a bug of the core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusals {
    Forbidden,
    Counted,
}

/// A worker at its two connections.
pub(crate) struct Hand<'a> {
    admin: KmipClient,
    service: KmipClient,
    ledger: &'a mut Ledger,
    random: &'a mut Random,
    /// Begins the names of this worker's keys.
    prefix: String,
    refusals: Refusals,
}

impl<'a> Hand<'a> {
    /// Connects as who governs keys and as who uses them; `None` if the core is gone.
    pub(crate) fn connect(core: &Core, prefix: String, ledger: &'a mut Ledger, random: &'a mut Random, refusals: Refusals) -> Option<Self> {
        let (admin, service) = (core.try_connect(core.governor()).ok()?, core.try_connect(Who::Service).ok()?);
        Some(Self { admin, service, ledger, random, prefix, refusals })
    }

    /// Does what comes to hand until the connection is cut, with a pause after each.
    pub(crate) fn work_until_cut(mut self, pause: Duration) {
        while !matches!(self.work(), Err(Outcome::Cut)) {
            thread::park_timeout(pause);
        }
    }

    /// Does what comes to hand until it is over, with a pause after each; returns whether the connections have lasted.
    pub(crate) fn work_until(mut self, over: &AtomicBool, pause: Duration) -> bool {
        while !over.load(Ordering::Relaxed) {
            if matches!(self.work(), Err(Outcome::Cut)) {
                return false;
            }
            thread::park_timeout(pause);
        }
        true
    }

    fn work(&mut self) -> Result<(), Outcome> {
        let all = OPERATIONS.iter().map(|operation| operation.weight).sum();
        let mut drawn = self.random.within(0..all);
        let chosen = OPERATIONS.iter().find(|operation| {
            let is_it = drawn < operation.weight;
            drawn = drawn.saturating_sub(operation.weight);
            is_it
        });
        (chosen.expect("less than the sum of the weights was drawn").run)(self)
    }

    /// Does every operation of the table once, in its order; refusals are counted.
    ///
    /// # Errors
    /// The name of the operation at which the core ended the connection.
    pub(crate) fn work_through(&mut self) -> Result<(), &'static str> {
        let cut = OPERATIONS.iter().find(|operation| matches!((operation.run)(self), Err(Outcome::Cut)));
        cut.map_or(Ok(()), |operation| Err(operation.name))
    }

    /// Reads a key and decrypts under it, as it should go on whatever is wrong with the keystore's disk.
    ///
    /// # Errors
    /// The refusal.
    pub(crate) fn read_and_decrypt(&mut self) -> Result<(), KmipError> {
        let keys = &self.ledger.keys;
        let find = |secret: &Secret| keys.iter().filter(|key| is_readable(key)).any(|key| key.id == secret.key);
        let Some(secret) = self.ledger.secrets.iter().rev().find(|secret| find(secret)) else { return Ok(()) };
        requests::look(&mut self.admin, &secret.key)?;
        assert_eq!(requests::decrypt(&mut self.service, secret)?, secret.plain, "a wrong plaintext");
        Ok(())
    }

    fn pick(&mut self, fits: impl Fn(&Key) -> bool) -> Option<usize> {
        let newest = self.ledger.keys.len().saturating_sub(KEYS_IN_USE)..self.ledger.keys.len();
        let fitting: Vec<_> = newest.filter(|place| self.ledger.keys[*place].open.is_none() && fits(&self.ledger.keys[*place])).collect();
        (!fitting.is_empty()).then(|| fitting[self.random.place(fitting.len())])
    }

    fn answered<T>(&mut self, outcome: Result<T, KmipError>) -> Result<T, Outcome> {
        match outcome {
            Ok(answer) => {
                self.ledger.counts.acknowledged += 1;
                Ok(answer)
            }
            Err(KmipError::Kmip(refused)) => {
                assert!(self.refusals == Refusals::Counted, "the core refused: {refused}");
                self.ledger.counts.refused += 1;
                *self.ledger.refusals.entry(refused.to_string()).or_default() += 1;
                Err(Outcome::Refused)
            }
            Err(_) => Err(Outcome::Cut),
        }
    }

    /// Moves a key whose state `to` has a word for to that state.
    fn change(
        &mut self,
        to: fn(State) -> Option<State>,
        request: impl FnOnce(&mut KmipClient, &str) -> Result<(), KmipError>,
    ) -> Result<(), Outcome> {
        let Some(place) = self.pick(|key| key.may_end() && to(key.face.state).is_some()) else { return Ok(()) };
        let before = self.ledger.keys[place].face.clone();
        let after = Face { state: to(before.state).expect("picked for it"), ..before };
        self.edit(place, after, request)
    }

    /// Asks for a change of the key at `place`, by which it comes to look like `after`.
    fn edit(
        &mut self,
        place: usize,
        after: Face,
        request: impl FnOnce(&mut KmipClient, &str) -> Result<(), KmipError>,
    ) -> Result<(), Outcome> {
        let key = &mut self.ledger.keys[place];
        (key.open, key.is_checked) = (Some(Open::Change(after.clone())), false);
        let outcome = request(&mut self.admin, &key.id);
        self.answered(outcome)?;
        let key = &mut self.ledger.keys[place];
        (key.face, key.open) = (after, None);
        self.ledger.counts.changes += 1;
        Ok(())
    }

    fn rekey(&mut self, place: usize) -> Result<(), Outcome> {
        let key = &mut self.ledger.keys[place];
        (key.open, key.is_checked) = (Some(Open::ReKey), false);
        let outcome = requests::rekey(&mut self.admin, &key.id);
        let new = self.answered(outcome)?;
        self.ledger.replace(place, new);
        self.ledger.counts.changes += 1;
        Ok(())
    }
}

fn is_readable(key: &Key) -> bool {
    key.open.is_none() && matches!(key.face.state, State::Active | State::Deactivated)
}

fn create(hand: &mut Hand<'_>) -> Result<(), Outcome> {
    hand.ledger.names += 1;
    let name = format!("{}-{}", hand.prefix, hand.ledger.names);
    let outcome = requests::create(&mut hand.admin, &name);
    match hand.answered(outcome) {
        Ok(id) => {
            hand.ledger.add(id, name);
            hand.ledger.counts.changes += 1;
            Ok(())
        }
        Err(outcome) => {
            hand.ledger.unanswered.push(name);
            Err(outcome)
        }
    }
}

fn activate(hand: &mut Hand<'_>) -> Result<(), Outcome> {
    hand.change(|state| (state == State::PreActive).then_some(State::Active), requests::activate)
}

fn deactivate(hand: &mut Hand<'_>) -> Result<(), Outcome> {
    let to = |state| (state == State::Active).then_some(State::Deactivated);
    hand.change(to, |admin, key| requests::revoke(admin, key, RevocationReasonCode::Superseded))
}

fn compromise(hand: &mut Hand<'_>) -> Result<(), Outcome> {
    let to = |state| matches!(state, State::PreActive | State::Active | State::Deactivated).then_some(State::Compromised);
    hand.change(to, |admin, key| requests::revoke(admin, key, RevocationReasonCode::KeyCompromise))
}

fn destroy(hand: &mut Hand<'_>) -> Result<(), Outcome> {
    let to = |state| match state {
        State::PreActive | State::Deactivated => Some(State::Destroyed),
        State::Compromised => Some(State::DestroyedCompromised),
        _ => None,
    };
    hand.change(to, requests::destroy)
}

fn rekey(hand: &mut Hand<'_>) -> Result<(), Outcome> {
    let Some(place) = hand.pick(|key| key.face.replacement.is_none() && !key.is_destroyed()) else { return Ok(()) };
    hand.rekey(place)
}

/// The one ledger that has the service's default key replaces it, however long ago it was in use.
fn rekey_default(hand: &mut Hand<'_>) -> Result<(), Outcome> {
    let is_it = |key: &Key| key.is_default && key.face.replacement.is_none() && key.open.is_none();
    let Some(place) = hand.ledger.keys.iter().rposition(is_it) else { return Ok(()) };
    hand.rekey(place)
}

fn set_contact(hand: &mut Hand<'_>) -> Result<(), Outcome> {
    let Some(place) = hand.pick(|key| !key.is_destroyed()) else { return Ok(()) };
    let face = hand.ledger.keys[place].face.clone();
    let before = face.contact.clone();
    let after = (before.is_none() || hand.random.within(0..3) > 0).then(|| format!("{}@example.com", hand.random.next()));
    let face = Face { contact: after.clone(), ..face };
    hand.edit(place, face, |admin, key| requests::set_contact(admin, key, before.as_deref(), after.as_deref()))
}

fn encrypt(hand: &mut Hand<'_>) -> Result<(), Outcome> {
    let Some(place) = hand.pick(|key| key.face.state == State::Active) else { return Ok(()) };
    let plain = hand.random.next().to_be_bytes().repeat(8);
    let outcome = requests::encrypt(&mut hand.service, &hand.ledger.keys[place].id, plain);
    let secret = hand.answered(outcome)?;
    hand.ledger.secrets.push(secret);
    Ok(())
}

fn decrypt(hand: &mut Hand<'_>) -> Result<(), Outcome> {
    let keys = &hand.ledger.keys;
    let can_be_opened = |secret: &&Secret| keys.iter().any(|key| key.id == secret.key && is_readable(key));
    let oldest = hand.ledger.secrets.len().saturating_sub(KEYS_IN_USE);
    let Some(secret) = hand.ledger.secrets[oldest..].iter().find(can_be_opened) else { return Ok(()) };
    let (outcome, plain) = (requests::decrypt(&mut hand.service, secret), secret.plain.clone());
    assert_eq!(hand.answered(outcome)?, plain, "a wrong plaintext");
    Ok(())
}

fn read(hand: &mut Hand<'_>) -> Result<(), Outcome> {
    let Some(place) = hand.pick(|_| true) else { return Ok(()) };
    let (id, face) = (hand.ledger.keys[place].id.clone(), hand.ledger.keys[place].face.clone());
    let outcome = requests::look(&mut hand.admin, &id);
    assert_eq!(hand.answered(outcome)?, face, "{id} has changed");
    Ok(())
}
