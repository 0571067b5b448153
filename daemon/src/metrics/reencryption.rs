//! What the walks over the keys have looked at and moved.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Count;

/// The walks of one node, since its start.
#[derive(Debug, Default)]
pub struct Reencrypted {
    pub(super) looked: Count,
    pub(super) moved: Count,
    refused: AtomicU64,
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

    pub(super) fn left_behind(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}
