//! The system's clock and randomness, and what a process does to itself before it touches a secret.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use async_trait::async_trait;
use keys::id::Time;
use keys::port::{Clock, Entropy, EntropyError, Pace};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::timerfd::{ClockId as TimerClock, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::time::{ClockId, clock_gettime};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The time of day.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Time {
        Time::from_millis(jiff::Timestamp::now().as_millisecond())
    }
}

/// The kernel's monotonic clock and its timers. The runtime's own count whole milliseconds from when they are asked, so that a wait would end the
/// later, the later it began.
#[derive(Debug, Clone, Copy)]
pub struct SystemPace;

#[async_trait]
impl Pace for SystemPace {
    fn now(&self) -> Duration {
        clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every Linux has this clock").into()
    }

    async fn reach(&self, until: Duration) {
        if timer_rings(until).await.is_err() {
            // No descriptor is left for a timer.
            tokio::time::sleep(until.saturating_sub(self.now())).await;
        }
    }
}

/// Returns when the monotonic clock shows `at`.
#[expect(deprecated, reason = "what takes its place is unsafe for the sake of descriptors that somebody else closes; this one is owned")]
async fn timer_rings(at: Duration) -> io::Result<()> {
    let timer = TimerFd::new(TimerClock::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
    timer.set(Expiration::OneShot(at.into()), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
    AsyncFd::with_interest(OwnedFd::from(timer), Interest::READABLE)?.readable().await.map(drop)
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
