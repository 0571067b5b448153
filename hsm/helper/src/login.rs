//! The one login of a job, and the latch that keeps a wrong PIN from being tried twice.

use std::io;

use cryptoki::error::RvError;
use cryptoki::session::{Session, UserType};
use cryptoki::slot::TokenInfo;
use cryptoki::types::RawAuthPin;
use hsm::Refusal;
use hsm::latch::{Latch, LatchState, Turn};
use secret::Bytes;

use crate::fault::{code, fault};
use crate::harden::{Parent, undisturbed};
use crate::token::Found;

/// The PIN, consumed by the login.
pub(crate) struct Pin {
    pub(crate) bytes: Bytes,
    /// A person allowed one try in spite of the latch.
    pub(crate) retry: bool,
}

/// What the token says about its PIN counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counter {
    Fine,
    FinalTry,
    Locked,
}

/// What to do about a login.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Attempt it.
    Try,
    /// Do not; latch newly for this reason.
    Latch(LatchState),
    /// Do not; it is latched already.
    StayLatched(LatchState),
}

/// Logs in as user, at most once; the turn lasts from before the check until after the result is on disk.
pub(crate) fn log_in(session: &Session, found: &Found, pin: Pin, turn: &Turn, parent: Parent) -> Result<(), Refusal> {
    let serial = found.info.serial_number().to_owned();
    let latch = turn.latch(&serial);
    let broken = |error: io::Error| Refusal::LatchUnusable { latch: latch.path(), reason: error.to_string() };
    let before = latch.state().map_err(broken)?;
    let latched = |state| Refusal::Latched { serial: serial.clone(), state, latch: latch.path() };
    match verdict(before, counter(&found.info), pin.retry) {
        Verdict::Try => {}
        Verdict::StayLatched(state) => return Err(latched(state)),
        Verdict::Latch(state) => {
            latch.set(state).map_err(broken)?;
            return Err(if state == LatchState::Locked { Refusal::PinLocked { serial } } else { latched(state) });
        }
    }
    let outcome = undisturbed(parent, || attempt(session, &latch, before, pin.bytes));
    match outcome.map_err(|errno| Refusal::Unprotected { reason: errno.to_string() })?.map_err(broken)? {
        Ok(()) => Ok(()),
        Err(error) => Err(match code(&error).and_then(refused_pin) {
            Some(LatchState::Locked) => Refusal::PinLocked { serial },
            Some(_) => Refusal::WrongPin { serial },
            None => fault(error),
        }),
    }
}

/// Tries the PIN between two writes of the latch; the outer error is the latch's, the inner one the token's.
fn attempt(session: &Session, latch: &Latch<'_>, before: Option<LatchState>, pin: Bytes) -> io::Result<cryptoki::error::Result<()>> {
    latch.set(LatchState::Attempting)?;
    let outcome = {
        let copy = RawAuthPin::new(Box::new(pin.expose(<[u8]>::to_vec)));
        drop(pin);
        session.login_with_raw(UserType::User, &copy)
    };
    match outcome.as_ref().err().map(|error| code(error).and_then(refused_pin)) {
        None => latch.clear()?,
        Some(Some(state)) => latch.set(state)?,
        // The call failed without a verdict on the PIN: as if it had not been made.
        Some(None) => before.map_or_else(|| latch.clear(), |state| latch.set(state))?,
    }
    Ok(outcome)
}

fn counter(info: &TokenInfo) -> Counter {
    match (info.user_pin_locked(), info.user_pin_final_try()) {
        (true, _) => Counter::Locked,
        (false, true) => Counter::FinalTry,
        (false, false) => Counter::Fine,
    }
}

fn verdict(latch: Option<LatchState>, counter: Counter, retry: bool) -> Verdict {
    match (latch, counter, retry) {
        (_, Counter::Locked, _) => Verdict::Latch(LatchState::Locked),
        (_, _, true) => Verdict::Try,
        (Some(state), _, false) => Verdict::StayLatched(state),
        (None, Counter::FinalTry, false) => Verdict::Latch(LatchState::FinalTry),
        (None, Counter::Fine, false) => Verdict::Try,
    }
}

/// The latch that a return value of C_Login asks for; `None` if it says nothing against the PIN.
fn refused_pin(code: RvError) -> Option<LatchState> {
    match code {
        RvError::PinLocked => Some(LatchState::Locked),
        RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange | RvError::PinExpired => Some(LatchState::WrongPin),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latch_or_a_nearly_spent_counter_forbids_the_login() {
        let check = |latch, counter, expected| assert_eq!(verdict(latch, counter, false), expected, "{latch:?} {counter:?}");
        for state in [LatchState::Attempting, LatchState::WrongPin, LatchState::FinalTry, LatchState::Locked, LatchState::Unreadable] {
            check(Some(state), Counter::Fine, Verdict::StayLatched(state));
            check(Some(state), Counter::FinalTry, Verdict::StayLatched(state));
            check(Some(state), Counter::Locked, Verdict::Latch(LatchState::Locked));
        }
        check(None, Counter::FinalTry, Verdict::Latch(LatchState::FinalTry));
        check(None, Counter::Locked, Verdict::Latch(LatchState::Locked));
        check(None, Counter::Fine, Verdict::Try);
    }

    #[test]
    fn a_person_may_spend_the_last_try_but_not_one_on_a_locked_pin() {
        assert_eq!(verdict(Some(LatchState::WrongPin), Counter::Fine, true), Verdict::Try);
        assert_eq!(verdict(Some(LatchState::FinalTry), Counter::FinalTry, true), Verdict::Try);
        assert_eq!(verdict(None, Counter::Locked, true), Verdict::Latch(LatchState::Locked));
    }

    #[test]
    fn only_a_verdict_on_the_pin_latches() {
        assert_eq!(refused_pin(RvError::PinIncorrect), Some(LatchState::WrongPin));
        assert_eq!(refused_pin(RvError::PinLocked), Some(LatchState::Locked));
        for code in [RvError::GeneralError, RvError::DeviceRemoved, RvError::TokenNotPresent, RvError::UserPinNotInitialized] {
            assert_eq!(refused_pin(code), None, "{code:?}");
        }
    }
}
