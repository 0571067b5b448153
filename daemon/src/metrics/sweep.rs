//! What the sweeps of the keystore have read and found.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use keys::id::Time;

use super::Count;

/// The sweeps of one node, since its start.
#[derive(Debug, Default)]
pub struct Sweeps {
    pub(super) rows: Count,
    last: Mutex<Option<Ended>>,
}

/// A whole pass.
#[derive(Debug, Clone, Copy)]
struct Ended {
    findings: usize,
    uncompared: usize,
    at: Instant,
    time: Time,
}

impl Sweeps {
    /// So many more rows were read.
    pub(crate) fn rows(&self, rows: usize) {
        self.rows.add(rows as u64);
    }

    /// A pass has ended.
    ///
    /// - `findings`: records that are damaged.
    /// - `uncompared`: buckets that no pass since the unseal could compare.
    pub(crate) fn ended(&self, findings: usize, uncompared: usize, time: Time) {
        *self.last() = Some(Ended { findings, uncompared, at: Instant::now(), time });
    }

    /// When the last whole pass ended.
    #[must_use]
    pub fn ended_at(&self) -> Option<Time> {
        self.last().map(|ended| ended.time)
    }

    pub(super) fn findings(&self) -> usize {
        self.last().map_or(0, |ended| ended.findings)
    }

    pub(super) fn uncompared(&self) -> Option<usize> {
        self.last().map(|ended| ended.uncompared)
    }

    pub(super) fn age(&self) -> Option<Duration> {
        self.last().map(|ended| ended.at.elapsed())
    }

    fn last(&self) -> MutexGuard<'_, Option<Ended>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
