//! Session numbers: one per connection, job or start, never used twice in one audit log.

use std::sync::atomic::{AtomicU64, Ordering};

use keys::id::SessionId;

/// Hands out session numbers.
#[derive(Debug)]
pub struct Sessions(AtomicU64);

impl Sessions {
    /// Continues after the last number in the log.
    #[must_use]
    pub fn after(last: u64) -> Self {
        Self(AtomicU64::new(last))
    }

    /// The next number.
    pub fn next(&self) -> SessionId {
        SessionId(self.0.fetch_add(1, Ordering::Relaxed) + 1)
    }
}
