//! The journal of a node: batches for stores that cannot take a batch in one transaction, kept until each is applied as a whole or not at all.
//!
//! Who has a batch for such a store first writes it down here, then changes row after row, and says when it is done. What is found here at the next
//! start was cut off, and is gone on with. Audit records of such batches wait here too, because the store that they are of has no place for them that
//! would change together with the rows.
//!
//! The file is the embedded engine's, with its care for full disks, failed syncs and damage; `embedded/journal.rs` has the table.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use keys::id::OutboxSeq;
use keys::port::{Batch, Keystore, OutboxEntry, StoreError};
use keys::row::Row;
use redb::StorageBackend;

use crate::embedded::Embedded;

/// A journal in one file, mode 0600.
///
/// What returns `Ok` is on the disk. After [`StoreError::Full`] nothing has changed, after a failed write everything is [`StoreError::Poisoned`], as with
/// [`Embedded`].
pub struct Intents {
    file: Embedded,
    next: AtomicU64,
}

/// A batch that was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intent(u64);

/// A batch that was begun and is not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    /// By what it is ended.
    pub intent: Intent,
    /// What was to be changed.
    pub batch: Batch,
    /// The rows that it was to replace or remove, as they were.
    pub before: Vec<Row>,
    /// It is to be undone, not to be applied.
    pub is_back: bool,
}

impl Intents {
    /// Opens the file, or makes it; its folder must exist.
    ///
    /// # Errors
    /// As [`Embedded::open`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::over(Embedded::open(path)?)
    }

    /// As [`Intents::open`], with the file access that `backend` makes.
    ///
    /// # Errors
    /// As [`Embedded::open`].
    pub fn with_backend(
        path: &Path,
        backend: impl Fn(&Path) -> io::Result<Box<dyn StorageBackend>> + Send + Sync + 'static,
    ) -> Result<Self, StoreError> {
        Self::over(Embedded::with_backend(path, backend)?)
    }

    fn over(file: Embedded) -> Result<Self, StoreError> {
        let last = file.begun()?.last().map_or(0, |found| found.number);
        Ok(Self { file, next: AtomicU64::new(last + 1) })
    }

    /// Writes a batch down before anything of it is applied; `before` has the rows that it replaces or removes, to put them back.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if the number of an audit record is taken. Nothing was begun then.
    pub async fn begin(&self, batch: &Batch, before: &[Row]) -> Result<Intent, StoreError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.file.begin(number, batch, before).await?;
        Ok(Intent(number))
    }

    /// Notes that the batch cannot be applied and is to be undone, before anything of it is.
    ///
    /// # Errors
    /// The file's.
    pub async fn turn_back(&self, intent: Intent) -> Result<(), StoreError> {
        self.file.turn_back(intent.0).await
    }

    /// All of the batch is in its store: its audit records are in the outbox from now on, and those that it settles are not.
    ///
    /// # Errors
    /// The file's.
    pub async fn done(&self, intent: Intent) -> Result<(), StoreError> {
        self.file.end(intent.0, true).await
    }

    /// Nothing of the batch is in its store.
    ///
    /// # Errors
    /// The file's.
    pub async fn undone(&self, intent: Intent) -> Result<(), StoreError> {
        self.file.end(intent.0, false).await
    }

    /// The audit records of a batch without rows.
    ///
    /// # Errors
    /// As [`Intents::begin`].
    pub async fn queue(&self, outbox: Vec<OutboxEntry>, settled: Option<OutboxSeq>) -> Result<(), StoreError> {
        self.file.commit(Batch { changes: Vec::new(), outbox, settled }).await
    }

    /// Batches that were begun and are not done, oldest first.
    ///
    /// # Errors
    /// The file's.
    pub fn begun(&self) -> Result<Vec<Begun>, StoreError> {
        let found = self.file.begun()?.into_iter();
        Ok(found
            .map(|found| Begun { intent: Intent(found.number), batch: found.batch, before: found.before, is_back: found.is_back })
            .collect())
    }

    /// Audit records of batches that are done, after `after`, oldest first, at most `limit`.
    ///
    /// # Errors
    /// The file's.
    pub async fn outbox(&self, after: OutboxSeq, limit: usize) -> Result<Vec<OutboxEntry>, StoreError> {
        self.file.outbox(after, limit).await
    }
}
