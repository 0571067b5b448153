//! The file under the engine, watched: remembers what kind of failure it has seen and goes on to write only where that is safe.

use std::fmt;
use std::io;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::{BackendError, StorageBackend};

/// What has gone wrong under one store; outlives the engine's handle, which may be opened anew.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// A write or sync failed in a way that leaves open what is on the disk: nothing may be written any more (F4).
    broken: AtomicBool,
    /// A write found no space. Nothing that was synced is in doubt (F3).
    full: AtomicBool,
    /// The engine is open, so that a failed read concerns one page and not the whole file.
    serving: AtomicBool,
}

impl Faults {
    pub(super) fn broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    pub(super) fn stop_writing(&self) {
        self.broken.store(true, Ordering::Release);
    }

    pub(super) fn full(&self) -> bool {
        self.full.load(Ordering::Acquire)
    }

    pub(super) fn forget_full(&self) {
        self.full.store(false, Ordering::Release);
    }

    pub(super) fn set_serving(&self, serving: bool) {
        self.serving.store(serving, Ordering::Release);
    }

    /// Notes a failed write. Want of space is harmless here because an unwritten page is not yet part of any commit.
    fn write_failed(&self, error: &io::Error) {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => self.full.store(true, Ordering::Release),
            _ => self.stop_writing(),
        }
    }

    fn check(&self) -> io::Result<()> {
        if self.broken() { Err(io::Error::other("an earlier write or sync of the keystore failed")) } else { Ok(()) }
    }
}

/// A backend whose failures are noted in [`Faults`].
pub(super) struct Medium {
    inner: Arc<dyn StorageBackend>,
    faults: Arc<Faults>,
}

impl Medium {
    pub(super) fn new(inner: Arc<dyn StorageBackend>, faults: Arc<Faults>) -> Self {
        Self { inner, faults }
    }
}

impl fmt::Debug for Medium {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl StorageBackend for Medium {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    /// A page that cannot be read is handed up as zeroes, which are no page: the engine refuses what lies on it.
    /// Were the error passed on, the engine would refuse every later read as well (F5: others are served).
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let outcome = self.inner.read(offset, out);
        if outcome.is_err() && self.faults.serving.load(Ordering::Acquire) {
            out.fill(0);
            return Ok(());
        }
        outcome
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.faults.check()?;
        self.inner.set_len(len).inspect_err(|error| self.faults.write_failed(error))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.faults.check()?;
        self.inner.write(offset, data).inspect_err(|error| self.faults.write_failed(error))
    }

    /// Any failed sync ends writing, want of space too: the kernel may have dropped the pages it could not place.
    fn sync_data(&self) -> io::Result<()> {
        self.faults.check()?;
        self.inner.sync_data().inspect_err(|_| self.faults.stop_writing())
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.query_lock_range(start, end)
    }
}
