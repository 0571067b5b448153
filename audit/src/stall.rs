//! Tells when a write or sync has been stuck in the kernel for too long.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Watches one kind of call, of which one runs at a time.
#[derive(Debug)]
pub(crate) struct Stall {
    born: Instant,
    /// Milliseconds from `born` to the start of the running call, plus one; 0 when none runs.
    started: AtomicU64,
}

/// Ends the watch of one call.
pub(crate) struct Watch<'a>(&'a Stall);

impl Stall {
    /// Nothing runs.
    pub(crate) fn new() -> Self {
        Self { born: Instant::now(), started: AtomicU64::new(0) }
    }

    /// A call begins; it ends when the value is dropped.
    pub(crate) fn watch(&self) -> Watch<'_> {
        self.started.store(self.millis() + 1, Ordering::Release);
        Watch(self)
    }

    /// Does a call run since more than `limit`?
    pub(crate) fn exceeds(&self, limit: Duration) -> bool {
        let started = self.started.load(Ordering::Acquire);
        started != 0 && u128::from(self.millis().saturating_sub(started - 1)) > limit.as_millis()
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.0.started.store(0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_running_call_can_be_too_long() {
        let stall = Stall { born: Instant::now().checked_sub(Duration::from_secs(9)).expect("the clock is past 9 s"), ..Stall::new() };
        assert!(!stall.exceeds(Duration::ZERO));
        let watch = stall.watch();
        assert!(!stall.exceeds(Duration::from_secs(2)));
        stall.started.store(1, Ordering::Release);
        assert!(stall.exceeds(Duration::from_secs(2)));
        drop(watch);
        assert!(!stall.exceeds(Duration::ZERO));
    }
}
