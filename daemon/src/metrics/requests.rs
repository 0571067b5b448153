//! Requests: how many of each operation and outcome, and how long a message took.

use std::time::Duration;

use keys::policy::Action;
use keys::record::{Origin, Outcome};

use super::Count;
use super::histogram::Histogram;

/// Ways in that make requests.
const ORIGINS: [Origin; 4] = [Origin::Kmip, Origin::Https, Origin::Admin, Origin::Socket];
/// How an operation can end, as its asker is told.
const OUTCOMES: [Outcome; 9] = [
    Outcome::Success,
    Outcome::Denied,
    Outcome::NotFound,
    Outcome::WrongState,
    Outcome::Invalid,
    Outcome::Refused,
    Outcome::Unavailable,
    Outcome::Corrupt,
    Outcome::Undone,
];
/// Above the highest number of an outcome.
const OUTCOME_PLACES: usize = 16;

/// Counters of requests, found by number.
#[derive(Debug)]
pub struct Requests {
    /// Place of an action's counters by the action's number.
    places: Vec<Option<usize>>,
    /// By way in, place of the action, outcome.
    counts: Vec<Count>,
    /// By way in.
    took: [Histogram; ORIGINS.len()],
}

impl Default for Requests {
    fn default() -> Self {
        let highest = Action::ALL.iter().map(|action| *action as usize).max().unwrap_or(0);
        let mut places = vec![None; highest + 1];
        for (place, action) in Action::ALL.into_iter().enumerate() {
            places[action as usize] = Some(place);
        }
        let counts = (0..ORIGINS.len() * Action::ALL.len() * OUTCOME_PLACES).map(|_| Count::default()).collect();
        Self { places, counts, took: Default::default() }
    }
}

impl Requests {
    /// Counts one item of a KMIP message, or one admin call.
    pub fn count(&self, origin: Origin, action: Action, outcome: Outcome) {
        if let Some(count) = self.slot(origin, action, outcome as usize) {
            count.add(1);
        }
    }

    /// Counts how long a message took, from the moment it was whole until its answer was ready to leave.
    pub fn took(&self, origin: Origin, duration: Duration) {
        if let Some(place) = ORIGINS.iter().position(|known| *known == origin) {
            self.took[place].observe(duration);
        }
    }

    /// How many messages of clients were answered: who administers the node is none.
    pub(crate) fn of_clients(&self) -> u64 {
        let of_clients = ORIGINS.iter().zip(&self.took).filter(|(origin, _)| matches!(origin, Origin::Kmip | Origin::Https));
        of_clients.flat_map(|(_, took)| took.buckets()).map(|(_, count)| count).sum()
    }

    fn slot(&self, origin: Origin, action: Action, outcome: usize) -> Option<&Count> {
        let origin = ORIGINS.iter().position(|known| *known == origin)?;
        let action = (*self.places.get(action as usize)?)?;
        self.counts.get((origin * Action::ALL.len() + action) * OUTCOME_PLACES + outcome)
    }

    /// What was counted: way in, operation, outcome and how often, without what never happened.
    pub(super) fn counts(&self) -> impl Iterator<Item = (Origin, String, String, u64)> {
        ORIGINS.into_iter().flat_map(move |origin| {
            Action::ALL.into_iter().flat_map(move |action| {
                OUTCOMES.into_iter().filter_map(move |outcome| {
                    let count = self.slot(origin, action, outcome as usize)?.value();
                    (count > 0).then(|| (origin, snake(&format!("{action:?}")), snake(&format!("{outcome:?}")), count))
                })
            })
        })
    }

    pub(super) fn durations(&self) -> impl Iterator<Item = (Origin, &Histogram)> {
        ORIGINS.into_iter().zip(&self.took)
    }
}

/// `GetAttributes` as `get_attributes`.
fn snake(name: &str) -> String {
    let mut text = String::new();
    for (index, letter) in name.chars().enumerate() {
        if letter.is_ascii_uppercase() && index > 0 {
            text.push('_');
        }
        text.push(letter.to_ascii_lowercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_and_outcome_has_a_counter_of_its_own() {
        let requests = Requests::default();
        for origin in ORIGINS {
            for action in Action::ALL {
                for outcome in OUTCOMES {
                    assert!((outcome as usize) < OUTCOME_PLACES, "{outcome:?}");
                    requests.count(origin, action, outcome);
                }
            }
        }
        let counted: Vec<_> = requests.counts().collect();
        assert_eq!(counted.len(), ORIGINS.len() * Action::ALL.len() * OUTCOMES.len());
        assert!(counted.iter().all(|(.., count)| *count == 1));
    }

    #[test]
    fn what_comes_from_the_appliance_itself_is_no_request() {
        let requests = Requests::default();
        requests.count(Origin::System, Action::Start, Outcome::Success);
        requests.took(Origin::System, Duration::ZERO);
        assert_eq!(requests.counts().count(), 0);
    }

    #[test]
    fn who_looks_at_the_node_is_no_client() {
        let requests = Requests::default();
        for origin in ORIGINS {
            requests.took(origin, Duration::ZERO);
        }
        assert_eq!(requests.of_clients(), 2);
    }

    #[test]
    fn names_are_in_the_case_of_labels() {
        assert_eq!(snake("GetAttributes"), "get_attributes");
        assert_eq!(snake("Success"), "success");
    }
}
