//! The states of a key, the one table of transitions between them, and what each state allows.
//!
//! Versions of IVK, L2, L2.1 and L3 speak of Active, Deprecated and Retired, KMIP objects of six states; one enum serves both (D4):
//! KMIP's Deactivated is our Deprecated or Retired. Source: KMIP 1.4 §3.22, SECURITY C23.

use serde::{Deserialize, Serialize};

use crate::id::{Layer, Time};

/// Lifecycle state of one key version; the number is stored and never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum State {
    /// Made, not yet in use.
    PreActive = 1,
    /// Protects and processes.
    Active = 2,
    /// Processes only.
    Deprecated = 3,
    /// Archived: refuses everything but being looked at and destroyed.
    Retired = 4,
    /// Known or feared to be known by others; only re-encryption may still open it.
    Compromised = 5,
    /// Material is gone.
    Destroyed = 6,
    /// Material is gone, and was compromised.
    DestroyedCompromised = 7,
}

/// What can happen to a key version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// Begin to protect.
    Activate,
    /// Stop protecting, go on processing.
    Deprecate,
    /// Archive what nothing refers to any more.
    Retire,
    /// An L2.1 version takes over again (roll-back).
    Reactivate,
    /// It may be known to others.
    Compromise,
    /// Remove the material.
    Destroy,
}

/// The event does not apply to the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("key is {is:?}; {event:?} does not apply")]
pub struct WrongState {
    /// The state it is in.
    pub is: State,
    /// What was tried.
    pub event: Event,
}

impl State {
    /// Every state, for tables and tests.
    pub const ALL: [Self; 7] =
        [Self::PreActive, Self::Active, Self::Deprecated, Self::Retired, Self::Compromised, Self::Destroyed, Self::DestroyedCompromised];

    /// The state after `event`, for a key of `layer`.
    ///
    /// Forward only, but for one step: an L2.1 goes from Deprecated back to Active.
    ///
    /// # Errors
    /// [`WrongState`] where the table has no arrow. Active keys are not destroyed: revoke first.
    pub fn next(self, layer: Layer, event: Event) -> Result<Self, WrongState> {
        use Event as E;
        use State as S;
        match (self, event) {
            (S::PreActive, E::Activate) => Ok(S::Active),
            (S::Deprecated, E::Reactivate) if layer == Layer::L21 => Ok(S::Active),
            (S::PreActive | S::Active, E::Deprecate) => Ok(S::Deprecated),
            (S::Deprecated, E::Retire) => Ok(S::Retired),
            (S::PreActive | S::Active | S::Deprecated | S::Retired, E::Compromise) => Ok(S::Compromised),
            (S::Destroyed, E::Compromise) => Ok(S::DestroyedCompromised),
            (S::PreActive | S::Deprecated | S::Retired, E::Destroy) => Ok(S::Destroyed),
            (S::Compromised, E::Destroy) => Ok(S::DestroyedCompromised),
            (S::Active | S::Deprecated | S::Retired | S::Compromised | S::Destroyed | S::DestroyedCompromised, E::Activate)
            | (
                S::PreActive | S::Active | S::Deprecated | S::Retired | S::Compromised | S::Destroyed | S::DestroyedCompromised,
                E::Reactivate,
            )
            | (S::Deprecated | S::Retired | S::Compromised | S::Destroyed | S::DestroyedCompromised, E::Deprecate)
            | (S::PreActive | S::Active | S::Retired | S::Compromised | S::Destroyed | S::DestroyedCompromised, E::Retire)
            | (S::Compromised | S::DestroyedCompromised, E::Compromise)
            | (S::Active | S::Destroyed | S::DestroyedCompromised, E::Destroy) => Err(WrongState { is: self, event }),
        }
    }

    /// True once the material is gone.
    #[must_use]
    pub fn is_destroyed(self) -> bool {
        matches!(self, Self::Destroyed | Self::DestroyedCompromised)
    }

    /// True if the state lets the material be put to `purpose`.
    #[must_use]
    pub fn allows(self, purpose: Purpose) -> bool {
        match purpose {
            Purpose::Protect => self == Self::Active,
            Purpose::Process => matches!(self, Self::Active | Self::Deprecated),
            Purpose::Rewrap => matches!(self, Self::Active | Self::Deprecated | Self::Compromised),
        }
    }
}

/// What a key's material is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// To encrypt, sign, wrap: needs Active.
    Protect,
    /// To decrypt, verify, unwrap: Deprecated is enough.
    Process,
    /// To be opened once more so that what lies under it comes under another version: Compromised is enough.
    Rewrap,
}

/// The dates from which a key's state and use follow; `None` where unset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Dates {
    /// When it was made.
    pub initial: Time,
    /// When it changed last.
    pub last_change: Time,
    /// From when on it is Active.
    pub activation: Option<Time>,
    /// From when on it may process.
    pub process_start: Option<Time>,
    /// From when on it may no longer protect.
    pub protect_stop: Option<Time>,
    /// From when on it is Deactivated.
    pub deactivation: Option<Time>,
    /// When its material was removed.
    pub destroy: Option<Time>,
    /// When it is believed to have become known.
    pub compromise_occurrence: Option<Time>,
    /// When it was declared compromised.
    pub compromise: Option<Time>,
}

impl Dates {
    /// The state at `now`: what is stored, moved forward by the dates that have passed.
    #[must_use]
    pub fn state_at(&self, stored: State, now: Time) -> State {
        let passed = |date: Option<Time>| date.is_some_and(|date| date <= now);
        let active = if stored == State::PreActive && passed(self.activation) { State::Active } else { stored };
        if active == State::Active && passed(self.deactivation) { State::Deprecated } else { active }
    }

    /// True if the process window lets the key be put to `purpose` at `now`.
    #[must_use]
    pub fn window_allows(&self, purpose: Purpose, now: Time) -> bool {
        match purpose {
            Purpose::Protect => self.protect_stop.is_none_or(|stop| now < stop),
            Purpose::Process | Purpose::Rewrap => self.process_start.is_none_or(|start| start <= now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::proptest;

    #[test]
    fn no_event_brings_a_state_back_but_roll_back_of_an_l21() {
        let order = |state: State| match state {
            State::DestroyedCompromised => State::Destroyed as u8,
            other => other as u8,
        };
        let events = [Event::Activate, Event::Deprecate, Event::Retire, Event::Reactivate, Event::Compromise, Event::Destroy];
        let mut backward = Vec::new();
        for layer in [Layer::Ivk, Layer::L2, Layer::L21, Layer::L3, Layer::L4] {
            for state in State::ALL {
                for event in events {
                    if let Ok(next) = state.next(layer, event)
                        && order(next) < order(state)
                    {
                        backward.push((layer, state, event));
                    }
                }
            }
        }
        assert_eq!(backward, [(Layer::L21, State::Deprecated, Event::Reactivate)]);
    }

    proptest! {
        /// Any life, in any order of events: protection never comes back once it was lost, but by the roll-back of an L2.1.
        #[test]
        fn no_life_goes_backwards(layer in 0..3_usize, events in proptest::collection::vec(0..6_usize, 0..20)) {
            let layer = [Layer::L2, Layer::L21, Layer::L3][layer];
            let all = [Event::Activate, Event::Deprecate, Event::Retire, Event::Reactivate, Event::Compromise, Event::Destroy];
            let mut state = State::PreActive;
            let (mut lost, mut compromised) = (false, false);
            for event in events.into_iter().map(|event| all[event]) {
                let Ok(next) = state.next(layer, event) else { continue };
                lost |= state == State::Active && next != State::Active;
                compromised |= next == State::Compromised;
                let rolled_back = layer == Layer::L21 && event == Event::Reactivate;
                assert!(next != State::Active || !lost || rolled_back, "{state:?} {event:?}");
                assert!(!compromised || !next.allows(Purpose::Process), "{state:?} {event:?}");
                state = next;
            }
        }
    }

    #[test]
    fn nothing_revives_destroyed_material() {
        for state in [State::Destroyed, State::DestroyedCompromised] {
            for event in [Event::Activate, Event::Deprecate, Event::Retire, Event::Reactivate, Event::Destroy] {
                assert_eq!(state.next(Layer::L21, event), Err(WrongState { is: state, event }));
            }
        }
    }

    #[test]
    fn an_active_key_is_not_destroyed_before_it_is_revoked() {
        assert!(State::Active.next(Layer::L3, Event::Destroy).is_err());
        assert_eq!(State::Active.next(Layer::L3, Event::Deprecate), Ok(State::Deprecated));
    }

    #[test]
    fn dates_move_a_state_forward_only() {
        let dates = Dates { activation: Some(Time::from_seconds(10)), deactivation: Some(Time::from_seconds(20)), ..Dates::default() };
        let at = |seconds| dates.state_at(State::PreActive, Time::from_seconds(seconds));
        assert_eq!((at(9), at(10), at(20)), (State::PreActive, State::Active, State::Deprecated));
        assert_eq!(dates.state_at(State::Compromised, Time::from_seconds(15)), State::Compromised);
        assert_eq!(dates.state_at(State::Deprecated, Time::from_seconds(5)), State::Deprecated);
    }

    #[test]
    fn only_active_protects_and_compromised_does_nothing() {
        let may = |purpose| State::ALL.into_iter().filter(|state| state.allows(purpose)).collect::<Vec<_>>();
        assert_eq!(may(Purpose::Protect), [State::Active]);
        assert_eq!(may(Purpose::Process), [State::Active, State::Deprecated]);
        assert_eq!(may(Purpose::Rewrap), [State::Active, State::Deprecated, State::Compromised]);
    }
}
