//! How often the admin interface may be called on its TLS port: a bucket of tokens for each client certificate, and one for all of them.
//!
//! The Unix socket has none, so that who sits at the node can always seal it.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

/// So many times what one client may do, all of them together may.
const CLIENTS_AT_ONCE: u32 = 10;
/// So many seconds' calls come through at once.
const BURST_SECONDS: u32 = 2;
/// Clients that are remembered; beyond, those that have not called of late are forgotten.
const CLIENTS_MAX: usize = 4096;

/// SHA-256 of a client's certificate.
type Client = [u8; 32];
type Each = RateLimiter<Client, HashMapStateStore<Client>, DefaultClock>;

/// The buckets.
pub(crate) struct Calls {
    each: Each,
    all: RateLimiter<NotKeyed, InMemoryState, DefaultClock>,
    /// Whose refusals the audit log is told of: of each client one a second, so that nobody fills it with them.
    told: Each,
    clock: DefaultClock,
}

/// A call too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMany {
    /// After that time another one comes through.
    pub(crate) wait: Duration,
    /// Is the audit log to be told?
    pub(crate) is_told: bool,
}

impl Calls {
    pub(crate) fn new(per_second: NonZeroU32) -> Self {
        let quota = |times: u32| {
            let rate = per_second.saturating_mul(NonZeroU32::MIN.saturating_add(times - 1));
            Quota::per_second(rate).allow_burst(rate.saturating_mul(NonZeroU32::MIN.saturating_add(BURST_SECONDS - 1)))
        };
        Self {
            each: RateLimiter::hashmap(quota(1)),
            all: RateLimiter::direct(quota(CLIENTS_AT_ONCE)),
            told: RateLimiter::hashmap(Quota::per_second(NonZeroU32::MIN)),
            clock: DefaultClock::default(),
        }
    }

    /// Lets a call of this client through.
    ///
    /// # Errors
    /// [`TooMany`].
    pub(crate) fn admit(&self, client: &Client) -> Result<(), TooMany> {
        for limiter in [&self.each, &self.told] {
            if limiter.len() > CLIENTS_MAX {
                limiter.retain_recent();
            }
        }
        let until = self.each.check_key(client).err().or_else(|| self.all.check().err());
        until.map_or(Ok(()), |until| {
            let wait = until.wait_time_from(self.clock.now());
            Err(TooMany { wait, is_told: self.told.check_key(client).is_ok() })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(calls: &Calls, client: u8, times: usize) -> usize {
        (0..times).filter(|_| calls.admit(&[client; 32]).is_ok()).count()
    }

    #[test]
    fn a_client_that_calls_too_often_is_told_when_to_come_again_and_others_are_served() {
        let calls = Calls::new(NonZeroU32::new(10).expect("it is not 0"));
        let through = admitted(&calls, 1, 100);
        assert!((20..40).contains(&through), "{through} of 100");
        let first = calls.admit(&[1; 32]).expect_err("it has called too often");
        assert!(first.wait > Duration::ZERO && first.wait <= Duration::from_millis(100), "{first:?}");
        assert_eq!(admitted(&calls, 2, 10), 10);
    }

    #[test]
    fn all_clients_together_are_limited_too() {
        let calls = Calls::new(NonZeroU32::MIN);
        let through: usize = (0..100).map(|client| admitted(&calls, client, 2)).sum();
        assert!((20..60).contains(&through), "{through} of 200");
    }

    #[test]
    fn the_log_is_told_of_one_refusal_in_many() {
        let calls = Calls::new(NonZeroU32::MIN);
        let told = (0..1000).filter(|_| calls.admit(&[1; 32]).is_err_and(|refused| refused.is_told)).count();
        assert!((1..20).contains(&told), "{told}");
    }

    #[test]
    fn clients_that_are_gone_are_forgotten() {
        let calls = Calls::new(NonZeroU32::new(10_000).expect("it is not 0"));
        for client in 0..u32::try_from(3 * CLIENTS_MAX).expect("it is small") {
            let mut name = [0; 32];
            name[..4].copy_from_slice(&client.to_be_bytes());
            let _admitted = calls.admit(&name);
        }
        assert!(calls.each.len() <= 2 * CLIENTS_MAX, "{}", calls.each.len());
    }
}
