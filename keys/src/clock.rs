//! The domain's time of day: that of the node's clock, but never earlier than it once was (F13).
//!
//! While the clock, which somebody has set back, is behind that, the domain's time goes on at half the pace of the clock that nobody sets. If it stood, whatever
//! waits for a time, a rotation by schedule or an order to renew keys, would wait for as long as the clock was set back by; so it waits twice as long at
//! most, and the clock catches up all the same. No date comes earlier by it than it would have come had nobody set the clock.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::id::Time;
use crate::port::{Clock, Pace};

/// So many times slower than real time it goes on without the clock.
const SLOWER: u128 = 2;

/// A clock that never goes back.
pub(crate) struct SteadyClock {
    clock: Arc<dyn Clock>,
    pace: Arc<dyn Pace>,
    latest_millis: AtomicI64,
    /// From when, by the pace, and from which time on it has gone without the clock, the last time that it did.
    alone: Mutex<(Duration, i64)>,
}

impl SteadyClock {
    /// - `not_before`: no time before this one is told.
    pub(crate) fn new(clock: Arc<dyn Clock>, pace: Arc<dyn Pace>, not_before: Time) -> Self {
        Self { clock, pace, latest_millis: AtomicI64::new(not_before.millis()), alone: Mutex::new((Duration::ZERO, i64::MIN)) }
    }

    pub(crate) fn now(&self) -> Time {
        let clock = self.clock.now().millis();
        let latest = self.latest_millis.fetch_max(clock, Ordering::Relaxed);
        Time::from_millis(if clock >= latest { clock } else { self.alone(latest) })
    }

    /// It has been `time` already, whatever the clock says.
    pub(crate) fn not_before(&self, time: Time) {
        self.latest_millis.fetch_max(time.millis(), Ordering::Relaxed);
    }

    /// The time while the clock is behind `latest`.
    fn alone(&self, latest: i64) -> i64 {
        let mut alone = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, (since, from)) = (self.pace.now(), *alone);
        let passed = now.saturating_sub(since).as_millis() / SLOWER;
        let time = from.saturating_add(i64::try_from(passed).unwrap_or(i64::MAX));
        // The clock was ahead since the last time.
        if time < latest {
            *alone = (now, latest);
            return latest;
        }
        self.latest_millis.fetch_max(time, Ordering::Relaxed).max(time)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use async_trait::async_trait;

    use super::*;

    /// Both clocks of a node, in milliseconds.
    #[derive(Default)]
    struct Clocks {
        day: AtomicI64,
        pace: AtomicU64,
    }

    impl Clock for Clocks {
        fn now(&self) -> Time {
            Time::from_millis(self.day.load(Ordering::Relaxed))
        }
    }

    #[async_trait]
    impl Pace for Clocks {
        fn now(&self) -> Duration {
            Duration::from_millis(self.pace.load(Ordering::Relaxed))
        }

        async fn reach(&self, _until: Duration) {}
    }

    #[test]
    fn a_clock_that_is_set_back_is_waited_for_at_half_pace_and_never_followed_back() {
        let clocks = Arc::new(Clocks::default());
        let steady = SteadyClock::new(Arc::<Clocks>::clone(&clocks), Arc::<Clocks>::clone(&clocks), Time::from_millis(500));
        let mut last = i64::MIN;
        // Real time passes, then somebody sets the clock by so much.
        let mut check = |passes: u64, set: i64, expected: i64| {
            clocks.pace.fetch_add(passes, Ordering::Relaxed);
            clocks.day.fetch_add(i64::try_from(passes).expect("it is short") + set, Ordering::Relaxed);
            let now = steady.now().millis();
            assert_eq!(now, expected, "{passes} {set}");
            assert!(now >= last);
            last = now;
        };
        check(0, 0, 500);
        check(100, 0, 550);
        check(900, 0, 1000);
        check(1000, 0, 2000);
        check(0, -1000, 2000);
        check(100, 0, 2050);
        check(400, 0, 2250);
        // Set back once more while it is behind; then it stands still, which changes nothing.
        check(0, -10_000, 2250);
        check(1000, -1000, 2750);
        // It catches up, is ahead for long, and is set back again.
        check(0, 100_000, 91_500);
        check(1_000_000, 0, 1_091_500);
        check(0, -1, 1_091_500);
        check(1, 0, 1_091_500);
        check(1, 0, 1_091_501);
        check(100, 0, 1_091_601);
    }

    #[test]
    fn it_is_never_earlier_than_somebody_knows_that_it_was() {
        let clocks = Arc::new(Clocks::default());
        let steady = SteadyClock::new(Arc::<Clocks>::clone(&clocks), Arc::<Clocks>::clone(&clocks), Time::default());
        steady.not_before(Time::from_millis(7_000));
        steady.not_before(Time::from_millis(5_000));
        assert_eq!(steady.now().millis(), 7_000);
        clocks.pace.store(4_000, Ordering::Relaxed);
        assert_eq!(steady.now().millis(), 9_000);
    }
}
