//! Peers whose certificate was refused, in the audit log: each by itself, as long as they are few.
//!
//! Who has no good certificate must not fill the log. So at most [`AT_ONCE_MAX`] such refusals, and one a second on average, are recorded one by
//! one, whatever addresses they come from; of the others a line says how many they were, a minute after the first or when they have stopped. A refusal
//! is a session (at most 224 bytes, with the fingerprint of the certificate and the reason) and its record (100): so all of this takes at most
//! 34 MB a day, and never of the space that is set aside. Who shows no certificate, a port scan for one, is only counted.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use keys::policy::Action;
use keys::port::{AuditSink, Clock};
use keys::record::{Origin, Outcome, SessionRecord};

use crate::node::{Node, UnsealError, log_error};
use crate::system::SystemClock;

/// So many are recorded at once, and again one for each second since.
const AT_ONCE_MAX: u64 = 10;
/// At the latest so long after the first that was not recorded, their number is.
const TELL_AFTER: Duration = Duration::from_secs(60);
/// It is told so long after the last of them, too.
const QUIET_AFTER: Duration = Duration::from_secs(5);

/// How many were refused of late.
#[derive(Debug)]
pub(crate) struct Refusals(Mutex<Recent>);

#[derive(Debug)]
struct Recent {
    /// How many more may be recorded now.
    room: u64,
    /// When `room` last grew.
    grown: Instant,
    unrecorded: Option<Unrecorded>,
}

/// Refusals that were not recorded one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Unrecorded {
    count: u64,
    first: Instant,
    last: Instant,
    /// Where the last of them came in.
    origin: Origin,
}

impl Default for Refusals {
    fn default() -> Self {
        Self(Mutex::new(Recent { room: AT_ONCE_MAX, grown: Instant::now(), unrecorded: None }))
    }
}

impl Refusals {
    fn lock(&self) -> MutexGuard<'_, Recent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recent {
    /// May one more be recorded by itself?
    fn has_room(&mut self, now: Instant) -> bool {
        let seconds = now.saturating_duration_since(self.grown).as_secs();
        self.room = self.room.saturating_add(seconds).min(AT_ONCE_MAX);
        self.grown += Duration::from_secs(seconds);
        let has_room = self.room > 0;
        self.room = self.room.saturating_sub(1);
        has_room
    }

    fn count(&mut self, now: Instant, origin: Origin) {
        let before = self.unrecorded.map_or((0, now), |before| (before.count, before.first));
        self.unrecorded = Some(Unrecorded { count: before.0 + 1, first: before.1, last: now, origin });
    }

    /// Those whose number is to be told now.
    fn due(&mut self, now: Instant) -> Option<Unrecorded> {
        let is_due = |all: &Unrecorded| now.duration_since(all.first) >= TELL_AFTER || now.duration_since(all.last) >= QUIET_AFTER;
        self.unrecorded.filter(is_due)
    }
}

impl Node {
    /// Records that a peer was refused that had shown this certificate, or counts it for later if there were many.
    pub fn note_refusal(&self, origin: Origin, certificate: [u8; 32], address: SocketAddr, why: &str) {
        let now = Instant::now();
        let has_room = self.refusals.lock().has_room(now);
        let noted = if has_room { self.write_refusal(origin, certificate, &format!("{address}: {why}")) } else { Ok(()) };
        if let Err(error) = &noted {
            tracing::error!(%error, "a refused certificate is not in the audit log");
        }
        if !has_room || noted.is_err() {
            self.refusals.lock().count(now, origin);
        }
    }

    /// Records how many were not recorded one by one, if it is time.
    pub fn tell_of_refusals(&self) {
        let Some(Unrecorded { count, first, last, origin }) = self.refusals.lock().due(Instant::now()) else { return };
        let seconds = last.duration_since(first).as_secs();
        let told = self.write_refusal(origin, [0; 32], &format!("{count} more certificates were refused within {seconds} s"));
        if told.is_ok() {
            let mut refusals = self.refusals.lock();
            // Others may have come meanwhile.
            let left = refusals.unrecorded.map_or(0, |all| all.count.saturating_sub(count));
            refusals.unrecorded = refusals.unrecorded.filter(|_| left > 0).map(|all| Unrecorded { count: left, first: all.last, ..all });
        }
    }

    fn write_refusal(&self, origin: Origin, certificate: [u8; 32], peer: &str) -> Result<(), UnsealError> {
        let session = self.sessions.next();
        let record = SessionRecord {
            time: SystemClock.now(),
            session,
            origin,
            role: None,
            tenant: String::new(),
            service: String::new(),
            certificate,
            peer: peer.chars().filter(|c| !c.is_control()).collect(),
        };
        self.audit.session(&record).map_err(log_error)?;
        self.note(session, Action::Connect, Outcome::Denied)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A session and its record, as lines of the log.
    const REFUSAL_BYTES_MAX: u64 = 224 + 100;
    /// What an enemy without a good certificate can write in a day: one refusal a second, one count in five seconds.
    const DAY_BYTES_MAX: u64 = (AT_ONCE_MAX + 86_400 + 86_400 / QUIET_AFTER.as_secs()) * REFUSAL_BYTES_MAX;

    fn after(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    /// How many of a flood are recorded one by one.
    fn recorded(recent: &mut Recent, start: Instant, times: impl Iterator<Item = u64>) -> usize {
        times.filter(|millis| recent.has_room(after(start, *millis))).count()
    }

    fn new(start: Instant) -> Recent {
        Recent { room: AT_ONCE_MAX, grown: start, unrecorded: None }
    }

    #[test]
    fn a_flood_gets_ten_lines_at_once_and_one_a_second_however_long_it_lasts() {
        let start = Instant::now();
        assert_eq!(recorded(&mut new(start), start, (0..10_000).map(|_| 0)), 10);
        assert_eq!(recorded(&mut new(start), start, (0..60_000).map(|millis| millis / 60)), 10, "within a second");
        let day = 24 * 60 * 60 * 1000;
        let lines = recorded(&mut new(start), start, (0..day).step_by(50));
        assert_eq!(lines, 10 + 86_399);
        assert!(lines as u64 * REFUSAL_BYTES_MAX <= DAY_BYTES_MAX);
        const { assert!(DAY_BYTES_MAX < 34_000_000, "docs/SECURITY.md says 34 MB") }
    }

    #[test]
    fn few_are_recorded_all_and_a_pause_gives_no_more_than_ten() {
        let start = Instant::now();
        let mut recent = new(start);
        assert_eq!(recorded(&mut recent, start, (0..100).map(|second| second * 1000)), 100);
        assert_eq!(recorded(&mut recent, start, (0..100).map(|_| 3_600_000)), 10, "a quiet hour saves nothing up");
    }

    #[test]
    fn those_left_out_are_told_once_they_have_stopped_or_each_minute() {
        let start = Instant::now();
        let mut recent = new(start);
        assert_eq!(recent.due(start), None);
        for millis in [0, 1000, 2000] {
            recent.count(after(start, millis), Origin::Https);
            assert_eq!(recent.due(after(start, millis + 4999)), None, "it may go on");
        }
        let all = Unrecorded { count: 3, first: start, last: after(start, 2000), origin: Origin::Https };
        assert_eq!(recent.due(after(start, 7000)), Some(all));
        recent.count(after(start, 59_000), Origin::Kmip);
        assert_eq!(recent.due(after(start, 59_999)), None);
        assert_eq!(recent.due(after(start, 60_000)).map(|all| (all.count, all.origin)), Some((4, Origin::Kmip)), "it never stops");
    }
}
