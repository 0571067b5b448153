//! The system's clock and randomness, and what a process does to itself before it touches a secret.

use std::sync::LazyLock;
use std::time::Duration;

use async_trait::async_trait;
use keys::id::Time;
use keys::port::{Clock, Entropy, EntropyError, Pace};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::time::Instant;

/// The time of day.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Time {
        Time::from_millis(jiff::Timestamp::now().as_millisecond())
    }
}

/// The runtime's timer, which counts whole milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct SystemPace;

static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

#[async_trait]
impl Pace for SystemPace {
    fn now(&self) -> Duration {
        BEGAN.elapsed()
    }

    async fn reach(&self, until: Duration) {
        tokio::time::sleep_until(*BEGAN + until).await;
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
