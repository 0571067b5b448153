//! What the walks over the keys have looked at and moved.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::Count;

/// The walks of one node, since its start.
#[derive(Debug, Default)]
pub struct Reencrypted {
    pub(super) looked: Count,
    pub(super) moved: Count,
    refused: AtomicU64,
    records_damaged: AtomicUsize,
}

impl Reencrypted {
    /// So many more keys were looked at, and so many of them moved.
    pub(crate) fn add(&self, looked: usize, moved: usize) {
        self.looked.add(looked as u64);
        self.moved.add(moved as u64);
    }

    /// A whole walk has left so many behind.
    pub(crate) fn refused(&self, keys: u64) {
        self.refused.store(keys, Ordering::Relaxed);
    }

    /// So many records of the walk itself do not verify.
    pub(crate) fn records_damaged(&self, records: usize) {
        self.records_damaged.store(records, Ordering::Relaxed);
    }

    pub(super) fn left_behind(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    pub(super) fn damaged(&self) -> usize {
        self.records_damaged.load(Ordering::Relaxed)
    }
}
