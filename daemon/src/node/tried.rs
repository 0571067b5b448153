//! What is known of a core's slots by the last time each was tried.

use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Instant;

use keys::cluster;
use seal::{Approval, Attempt, Consent, Expected, Residency, Seal};

use super::{Custody, Node, Slots, blocking};

impl Node {
    /// The slots of a core.
    #[must_use]
    pub fn seal_slots(&self) -> Option<&Arc<Seal>> {
        match &self.custody {
            Custody::Slots(seal) => Some(seal),
            Custody::Core(_) => None,
        }
    }

    pub(super) fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which slots are to be tried, as the keystore says, sealed or not. One that cannot say it now has not changed since it did.
    pub(super) async fn expected(&self) -> Expected {
        let told = cluster::master_generation(&self.store).await.ok().flatten();
        let mut slots = self.slots();
        slots.generation = told.or(slots.generation);
        Expected { cluster: Some(self.identity.cluster), generation: slots.generation }
    }

    /// Opens every slot that needs no person, by real device jobs, and decides anew whether the MasterKey may leave memory.
    pub async fn probe_slots(&self) {
        let Some(seal) = self.seal_slots().cloned().filter(|_| !self.awaits_keystore()) else { return };
        let expected = self.expected().await;
        let attempts = match blocking(move || seal.probe(expected)).await {
            Ok(attempts) => attempts,
            Err(error) => return tracing::error!(%error, "slots not probed"),
        };
        for Attempt { label, failure, ailing, .. } in &attempts {
            if let Some(failure) = failure {
                tracing::error!(slot = %label, %failure, "slot does not open");
            }
            for (keeper, why) in ailing {
                tracing::error!(slot = %label, %keeper, %why, "a shard of the slot does not open; the others suffice");
            }
        }
        let residency = Residency::of(&attempts);
        let mut slots = self.slots();
        if residency == Residency::WipedAfterJobs {
            slots.master = None;
        }
        (slots.attempts, slots.tried, slots.residency) = (attempts, Some(Instant::now()), residency);
    }

    /// Test-opens one slot in a fresh device process.
    ///
    /// # Errors
    /// Why it does not open.
    pub async fn verify_slot(&self, name: String, retry_pin: bool) -> Result<seal::Slot, seal::Error> {
        let Some(seal) = self.seal_slots().cloned() else { return Err(seal::Error::NoSuchSlot { name }) };
        let expected = self.expected().await;
        let verified = blocking(move || seal.verify(&name, expected, Consent { retry_pin, ..Consent::default() })).await?;
        for attempt in self.slots().attempts.iter_mut().filter(|attempt| attempt.slot == verified.header.id) {
            attempt.failure = None;
        }
        Ok(verified)
    }

    /// The approvals of a TPM's slot, oldest first.
    ///
    /// # Errors
    /// As [`Seal::approvals`].
    pub fn approvals(&self, name: &str) -> Result<Vec<Approval>, seal::Error> {
        self.seal_slots().map_or_else(|| Err(seal::Error::NoSuchSlot { name: name.to_owned() }), |seal| seal.approvals(name))
    }

    /// Takes in an approval of the slot that it names.
    ///
    /// # Errors
    /// As [`Seal::approve`].
    pub async fn approve(&self, approval: Approval) -> Result<(), seal::Error> {
        let name = approval.state.slot.to_string();
        let Some(seal) = self.seal_slots().cloned() else { return Err(seal::Error::NoSuchSlot { name }) };
        blocking(move || seal.approve(&approval)).await
    }

    /// Does the MasterKey stay in memory, and why?
    #[must_use]
    pub fn masterkey(&self) -> String {
        let slots = self.slots();
        let standing = match (&slots.residency, &slots.master) {
            (Residency::Resident { why }, Some(_)) => format!("resident ({why})"),
            // A probe failed after the key was wiped: it cannot be called back, only a slot can.
            (Residency::Resident { why }, None) => format!("wiped after each job, but {why}"),
            (Residency::WipedAfterJobs, _) => "wiped after each job".to_owned(),
        };
        match &slots.next {
            Some(_) => format!("{standing}; the next one is resident until the re-key is switched or abandoned"),
            None => standing,
        }
    }

    /// Whether a slot opened when it was last tried, if it was tried since start.
    #[must_use]
    pub fn opens(&self, slot: seal::SlotId) -> Option<bool> {
        self.slots().attempts.iter().find(|attempt| attempt.slot == slot).map(|last| last.failure.is_none())
    }

    /// How the last try of a slot went, if it was tried since start.
    #[must_use]
    pub fn last_try(&self, slot: seal::SlotId) -> String {
        let slots = self.slots();
        let last = slots.attempts.iter().find(|attempt| attempt.slot == slot);
        last.map_or_else(
            || "not probed".to_owned(),
            |last| match (&last.failure, &last.ailing[..]) {
                (Some(why), _) => format!("failed: {why}"),
                (None, []) => "good".to_owned(),
                (None, ailing) => {
                    let ailing: Vec<String> = ailing.iter().map(|(keeper, why)| format!("`{keeper}`: {why}")).collect();
                    format!("good, but shards are missing: {}", ailing.join("; "))
                }
            },
        )
    }
}
