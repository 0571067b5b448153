//! The one TPM2_Unseal of a job, and the latch that keeps a wrong PIN from being tried twice.
//!
//! As in [`crate::login`], but that a TPM tells no last try and needs nobody to let go of a lockout: its counter goes down by itself.

use std::io;

use hsm::Refusal;
use hsm::latch::{Latch, LatchState};
use secret::Bytes;
use tss_esapi::Error;
use tss_esapi::handles::ObjectHandle;
use tss_esapi::interface_types::session_handles::PolicySession;
use tss_esapi::structures::{Auth, SensitiveData};

use crate::harden::{Parent, undisturbed};
use crate::tpm::code::{Code, is};
use crate::tpm::conversation::Conversation;

/// A PIN, and whether it may be tried.
pub(crate) struct Try<'a> {
    pub(crate) auth: Auth,
    pub(crate) latch: Latch<'a>,
    /// A person allowed one try in spite of the latch.
    pub(crate) retry: bool,
    pub(crate) parent: Parent,
}

/// A try that the latch does not forbid.
pub(crate) struct Permitted<'a> {
    auth: Auth,
    latch: Latch<'a>,
    before: Option<LatchState>,
    parent: Parent,
}

/// What the TPM's answer says of the PIN.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Right,
    Wrong,
    /// Not looked at.
    None,
}

impl<'a> Try<'a> {
    /// Asks the latch.
    pub(crate) fn permitted(self) -> Result<Permitted<'a>, Refusal> {
        let Self { auth, latch, retry, parent } = self;
        let before = latch.state().map_err(|error| broken(&latch, &error))?;
        match before {
            Some(state) if !retry => Err(Refusal::Latched { serial: latch.serial().to_owned(), state, latch: latch.path() }),
            _ => Ok(Permitted { auth, latch, before, parent }),
        }
    }
}

/// Unseals, into locked memory; `None` if the platform left the approved state in this very moment.
pub(crate) fn unseal(
    talk: &mut Conversation<'_>,
    object: ObjectHandle,
    session: PolicySession,
    chance: Option<Permitted<'_>>,
) -> Result<Option<Bytes>, Refusal> {
    let (opened, serial) = match chance {
        None => (talk.unseal(object, None, session), String::new()),
        Some(Permitted { auth, latch, before, parent }) => {
            let outcome = undisturbed(parent, || latched(&latch, before, || talk.unseal(object, Some(auth), session)));
            let outcome = outcome.map_err(|errno| Refusal::Unprotected { reason: errno.to_string() })?;
            (outcome.map_err(|error| broken(&latch, &error))?, latch.serial().to_owned())
        }
    };
    match opened {
        Ok(secret) => take(&secret).map(Some),
        Err(error) if is(&error, Code::LOCKOUT) => Err(Refusal::TpmLockedOut),
        Err(error) if is(&error, Code::PCR_CHANGED) => Ok(None),
        // Public area and session were made from the same policy, so it is the object that is another one.
        Err(error) if is(&error, Code::POLICY_FAIL) => Err(Refusal::BadCiphertext),
        Err(error) if verdict(Some(&error)) == Verdict::Wrong => Err(Refusal::WrongPin { serial }),
        Err(error) => Err(talk.fault("TPM2_Unseal", error)),
    }
}

/// Tries the PIN between two writes of the latch; the outer error is the latch's, the inner one the TPM's.
fn latched<T>(latch: &Latch<'_>, before: Option<LatchState>, work: impl FnOnce() -> Result<T, Error>) -> io::Result<Result<T, Error>> {
    latch.set(LatchState::Attempting)?;
    let outcome = work();
    match verdict(outcome.as_ref().err()) {
        Verdict::Right => latch.clear()?,
        Verdict::Wrong => latch.set(LatchState::WrongPin)?,
        // As if it had not been tried.
        Verdict::None => before.map_or_else(|| latch.clear(), |state| latch.set(state))?,
    }
    Ok(outcome)
}

fn verdict(error: Option<&Error>) -> Verdict {
    match error {
        None => Verdict::Right,
        Some(error) if is(error, Code::AUTH_FAIL) || is(error, Code::BAD_AUTH) => Verdict::Wrong,
        Some(_) => Verdict::None,
    }
}

/// Moves an opened secret into locked memory; where it came from is wiped when it is dropped.
fn take(opened: &SensitiveData) -> Result<Bytes, Refusal> {
    let bytes = opened.value();
    if !(1..=hsm::SECRET_BYTES_MAX).contains(&bytes.len()) {
        return Err(Refusal::BadCiphertext);
    }
    Bytes::init_with(bytes.len(), |place| place.copy_from_slice(bytes)).map_err(|error| Refusal::Unprotected { reason: error.to_string() })
}

fn broken(latch: &Latch<'_>, error: &io::Error) -> Refusal {
    Refusal::LatchUnusable { latch: latch.path(), reason: error.to_string() }
}
