//! Standing warnings that a part of the node keeps up to date, for status.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a standing warning of the node is about; each has its entry in docs/RUNBOOK.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// A slot does not open, cannot be read, or the table of slots says something else.
    Slots,
    /// Too few slots would be left after the loss of a device.
    SecondSlot,
    /// One custodian alone is enough.
    Roster,
    /// A re-key of the MasterKey was begun.
    Rekey,
    /// An edge keeps its objects in memory only.
    VolatileStore,
    /// An edge has no lease.
    Lease,
    /// Certificates, CAs, revocation lists and configuration that were read again.
    Trust,
    /// The rotation of the IVK.
    Rotation,
    /// Keys that stay under an old version.
    Reencryption,
    /// The records of re-encryption itself.
    ReencryptionRecord,
    /// What an edge hears of others on the same keystore.
    SharedKeystore,
    /// Keys that should have got a next version by themselves.
    Renewal,
    /// What the sweep of the keystore has found.
    Sweep,
    /// Where rows lie, and where they are moved to.
    Keystores,
    /// The keystore's file cannot be written.
    KeystoreFile,
    /// A keystore elsewhere does not answer.
    KeystoreAnswers,
    /// How key memory is protected.
    Memory,
    /// Nothing keeps the process from writing elsewhere.
    Confinement,
    /// Keys that run out of random IVs.
    Ivs,
    /// Nobody can be served.
    KmipListener,
}

impl Topic {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::Slots,
        Self::SecondSlot,
        Self::Roster,
        Self::Rekey,
        Self::VolatileStore,
        Self::Lease,
        Self::Trust,
        Self::Rotation,
        Self::Reencryption,
        Self::ReencryptionRecord,
        Self::SharedKeystore,
        Self::Renewal,
        Self::Sweep,
        Self::Keystores,
        Self::KeystoreFile,
        Self::KeystoreAnswers,
        Self::Memory,
        Self::Confinement,
        Self::Ivs,
        Self::KmipListener,
    ];

    /// As metrics and the runbook have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Slots => "slots",
            Self::SecondSlot => "second_slot",
            Self::Roster => "roster",
            Self::Rekey => "rekey",
            Self::VolatileStore => "volatile_store",
            Self::Lease => "lease",
            Self::Trust => "trust",
            Self::Rotation => "rotation",
            Self::Reencryption => "reencryption",
            Self::ReencryptionRecord => "reencryption_record",
            Self::SharedKeystore => "shared_keystore",
            Self::Renewal => "renewal",
            Self::Sweep => "sweep",
            Self::Keystores => "keystores",
            Self::KeystoreFile => "keystore_file",
            Self::KeystoreAnswers => "keystore_answers",
            Self::Memory => "memory",
            Self::Confinement => "confinement",
            Self::Ivs => "ivs",
            Self::KmipListener => "kmip_listener",
        }
    }
}

/// Warnings by what they are about.
#[derive(Debug, Default)]
pub struct Notices(Mutex<BTreeMap<Topic, Vec<String>>>);

impl Notices {
    /// Replaces everything that was said about `topic`; what is new is logged too.
    pub fn say(&self, topic: Topic, warnings: Vec<String>) {
        let mut notices = self.lock();
        let before = notices.get(&topic).map_or(&[][..], Vec::as_slice);
        for warning in warnings.iter().filter(|warning| !before.contains(warning)) {
            tracing::warn!("{warning}");
        }
        notices.insert(topic, warnings);
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> Vec<(Topic, String)> {
        self.lock().iter().flat_map(|(topic, warnings)| warnings.iter().map(|warning| (*topic, warning.clone()))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Topic, Vec<String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_longer_said_of_a_topic_is_gone_and_other_topics_stay() {
        let notices = Notices::default();
        let told = || notices.all().into_iter().map(|(_, warning)| warning).collect::<Vec<_>>();
        notices.say(Topic::Trust, vec!["one".to_owned(), "two".to_owned()]);
        notices.say(Topic::Sweep, vec!["three".to_owned()]);
        notices.say(Topic::Trust, vec!["two".to_owned()]);
        assert_eq!(told(), ["two", "three"]);
        notices.say(Topic::Sweep, Vec::new());
        assert_eq!(told(), ["two"]);
    }

    #[test]
    fn every_topic_is_listed_once_under_a_name_of_its_own() {
        let mut names = Topic::ALL.map(Topic::name).to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Topic::ALL.len());
        assert!(Topic::ALL.iter().enumerate().all(|(place, topic)| *topic as usize == place), "a topic is missing or out of order");
    }
}
