//! The system's clock and randomness, and what a process does to itself before it touches a secret.

use keys::id::Time;
use keys::port::{Clock, Entropy, EntropyError};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The time of day.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Time {
        Time::from_millis(jiff::Timestamp::now().as_millisecond())
    }
}

/// getrandom(2), asked every time.
#[derive(Debug, Clone, Copy)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), EntropyError> {
        getrandom::fill(buffer).map_err(|error| EntropyError { why: error.to_string() })
    }
}

/// Keeps the process's memory to itself: no core file, no ptrace by others of the same user (C15).
///
/// # Errors
/// The system call that failed.
pub fn harden() -> Result<(), nix::Error> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    nix::sys::prctl::set_dumpable(false)
}

/// Lets the process open as many files and sockets as it may at all; returns that number.
///
/// # Errors
/// The system call that failed.
pub fn raise_descriptors() -> Result<u64, nix::Error> {
    let (_soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(hard)
}

/// Time as RFC 3339 in UTC, with whole seconds.
#[must_use]
pub fn rfc3339(time: Time) -> String {
    jiff::Timestamp::from_second(time.seconds()).map_or_else(|_| "out of range".to_owned(), |stamp| stamp.to_string())
}
