//! Standing warnings that a part of the node keeps up to date, for status.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Warnings by what they are about.
#[derive(Debug, Default)]
pub struct Notices(Mutex<BTreeMap<&'static str, Vec<String>>>);

impl Notices {
    /// Replaces everything that was said about `topic`; what is new is logged too.
    pub fn say(&self, topic: &'static str, warnings: Vec<String>) {
        let mut notices = self.lock();
        let before = notices.get(topic).map_or(&[][..], Vec::as_slice);
        for warning in warnings.iter().filter(|warning| !before.contains(warning)) {
            tracing::warn!("{warning}");
        }
        notices.insert(topic, warnings);
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> Vec<String> {
        self.lock().values().flatten().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Vec<String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_longer_said_of_a_topic_is_gone_and_other_topics_stay() {
        let notices = Notices::default();
        notices.say("a", vec!["one".to_owned(), "two".to_owned()]);
        notices.say("b", vec!["three".to_owned()]);
        notices.say("a", vec!["two".to_owned()]);
        assert_eq!(notices.all(), ["two", "three"]);
        notices.say("b", Vec::new());
        assert_eq!(notices.all(), ["two"]);
    }
}
