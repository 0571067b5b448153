//! What clients do while a campaign disturbs the core: a table of operations, each of which notes what it was told.

use daemon::kmip_client::{KmipClient, KmipError};
use kmip::{RevocationReasonCode, State};

use crate::appliance::Who;
use crate::core::Core;
use crate::requests::{self, Secret};
use crate::soak::ledger::{Key, Ledger};
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
    /// Connects as tenant-admin and as service; `None` if the core is gone.
    pub(crate) fn connect(core: &Core, prefix: String, ledger: &'a mut Ledger, random: &'a mut Random, refusals: Refusals) -> Option<Self> {
        let (admin, service) = (core.try_connect(Who::TenantAdmin).ok()?, core.try_connect(Who::Service).ok()?);
        Some(Self { admin, service, ledger, random, prefix, refusals })
    }

    /// Does what comes to hand until the connection is cut.
    pub(crate) fn work_until_cut(mut self) {
        while !matches!(self.work(), Err(Outcome::Cut)) {}
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
        let readable = |key: &&Key| key.may_be.is_none() && matches!(key.state, State::Active | State::Deactivated);
        let find = |secret: &Secret| keys.iter().filter(readable).any(|key| key.id == secret.key);
        let Some(secret) = self.ledger.secrets.iter().rev().find(|secret| find(secret)) else { return Ok(()) };
        requests::state(&mut self.admin, &secret.key)?;
        assert_eq!(requests::decrypt(&mut self.service, secret)?, secret.plain, "a wrong plaintext");
        Ok(())
    }

    fn pick(&mut self, fits: impl Fn(&Key) -> bool) -> Option<usize> {
        let newest = self.ledger.keys.len().saturating_sub(KEYS_IN_USE)..self.ledger.keys.len();
        let fitting: Vec<_> = newest.filter(|place| self.ledger.keys[*place].may_be.is_none() && fits(&self.ledger.keys[*place])).collect();
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
                Err(Outcome::Refused)
            }
            Err(_) => Err(Outcome::Cut),
        }
    }

    /// Moves a key that is in one of `from` to `to`.
    fn change(
        &mut self,
        from: &[State],
        to: State,
        request: impl FnOnce(&mut KmipClient, &str) -> Result<(), KmipError>,
    ) -> Result<(), Outcome> {
        let Some(place) = self.pick(|key| from.contains(&key.state)) else { return Ok(()) };
        let key = &mut self.ledger.keys[place];
        (key.may_be, key.is_checked) = (Some(to), false);
        let outcome = request(&mut self.admin, &key.id);
        self.answered(outcome)?;
        let key = &mut self.ledger.keys[place];
        (key.state, key.may_be) = (to, None);
        self.ledger.counts.changes += 1;
        Ok(())
    }
}

fn create(hand: &mut Hand<'_>) -> Result<(), Outcome> {
    hand.ledger.names += 1;
    let name = format!("{}-{}", hand.prefix, hand.ledger.names);
    let outcome = requests::create(&mut hand.admin, &name);
    match hand.answered(outcome) {
        Ok(id) => {
            hand.ledger.add(id);
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
    hand.change(&[State::PreActive], State::Active, requests::activate)
}

fn deactivate(hand: &mut Hand<'_>) -> Result<(), Outcome> {
    hand.change(&[State::Active], State::Deactivated, |admin, key| requests::revoke(admin, key, RevocationReasonCode::Superseded))
}

fn compromise(hand: &mut Hand<'_>) -> Result<(), Outcome> {
    let from = [State::PreActive, State::Active, State::Deactivated];
    hand.change(&from, State::Compromised, |admin, key| requests::revoke(admin, key, RevocationReasonCode::KeyCompromise))
}

fn destroy(hand: &mut Hand<'_>) -> Result<(), Outcome> {
    // The state afterwards depends on the one before.
    match hand.random.within(0..2) {
        0 => hand.change(&[State::PreActive, State::Deactivated], State::Destroyed, requests::destroy),
        _ => hand.change(&[State::Compromised], State::DestroyedCompromised, requests::destroy),
    }
}

fn encrypt(hand: &mut Hand<'_>) -> Result<(), Outcome> {
    let Some(place) = hand.pick(|key| key.state == State::Active) else { return Ok(()) };
    let plain = hand.random.next().to_be_bytes().repeat(8);
    let outcome = requests::encrypt(&mut hand.service, &hand.ledger.keys[place].id, plain);
    let secret = hand.answered(outcome)?;
    hand.ledger.secrets.push(secret);
    Ok(())
}

fn decrypt(hand: &mut Hand<'_>) -> Result<(), Outcome> {
    let readable = |key: &Key| key.may_be.is_none() && matches!(key.state, State::Active | State::Deactivated);
    let keys = &hand.ledger.keys;
    let is_readable = |secret: &&Secret| keys.iter().any(|key| key.id == secret.key && readable(key));
    let oldest = hand.ledger.secrets.len().saturating_sub(KEYS_IN_USE);
    let Some(secret) = hand.ledger.secrets[oldest..].iter().find(is_readable) else { return Ok(()) };
    let (outcome, plain) = (requests::decrypt(&mut hand.service, secret), secret.plain.clone());
    assert_eq!(hand.answered(outcome)?, plain, "a wrong plaintext");
    Ok(())
}

fn read(hand: &mut Hand<'_>) -> Result<(), Outcome> {
    let Some(place) = hand.pick(|_| true) else { return Ok(()) };
    let (id, state) = (hand.ledger.keys[place].id.clone(), hand.ledger.keys[place].state);
    let outcome = requests::state(&mut hand.admin, &id);
    assert_eq!(hand.answered(outcome)?, state, "{id} is in another state");
    Ok(())
}
