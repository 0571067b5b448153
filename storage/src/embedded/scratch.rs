//! A file under the engine that is only read: what the engine writes stays in memory and is forgotten with it.
//!
//! The engine cannot open a file without a write, and after a crash not without several. On a medium that takes none, this lets it read all the same.

use std::collections::BTreeMap;
use std::io;
use std::ops::{Bound, Range};
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::{BackendError, StorageBackend};

use super::medium::Medium;

/// The file, and what was written since it was opened.
#[derive(Debug)]
pub(super) struct Scratch {
    medium: Medium,
    written: Mutex<Written>,
}

#[derive(Debug, Default)]
struct Written {
    /// Pieces by their place in the file, which do not overlap.
    pieces: BTreeMap<u64, Vec<u8>>,
    /// The file's length, if it was changed.
    len: Option<u64>,
}

impl Scratch {
    pub(super) fn new(medium: Medium) -> Self {
        Self { medium, written: Mutex::default() }
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What lies there: of the file, of what was written over it, and nothing behind the file's end.
    fn look(&self, written: &Written, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let inner = self.medium.len()?.saturating_sub(offset);
        let there = usize::try_from(inner).unwrap_or(usize::MAX).min(out.len());
        out[there..].fill(0);
        if there > 0 {
            self.medium.read(offset, &mut out[..there])?;
        }
        let end = offset + out.len() as u64;
        for (at, piece) in written.pieces.range(..end) {
            let common = (*at).max(offset)..(at + piece.len() as u64).min(end);
            if common.start < common.end {
                out[within(&common, offset)].copy_from_slice(&piece[within(&common, *at)]);
            }
        }
        Ok(())
    }
}

/// A range of the file as one of a piece that begins at `from`.
fn within(common: &Range<u64>, from: u64) -> Range<usize> {
    let place = |at: u64| usize::try_from(at - from).expect("a piece is in memory");
    place(common.start)..place(common.end)
}

impl StorageBackend for Scratch {
    fn len(&self) -> io::Result<u64> {
        let len = self.written().len;
        len.map_or_else(|| self.medium.len(), Ok)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.look(&self.written(), offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.written().len = Some(len);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut written = self.written();
        // One piece in place of all that it touches.
        let end = offset + data.len() as u64;
        let touched: Vec<u64> =
            written.pieces.range(..end).filter(|(at, piece)| *at + piece.len() as u64 > offset).map(|(at, _)| *at).collect();
        let mut whole = (offset, data.to_vec());
        for at in touched {
            let old = written.pieces.remove(&at).expect("just found");
            let (from, to) = (whole.0.min(at), (whole.0 + whole.1.len() as u64).max(at + old.len() as u64));
            let mut joined = vec![0; within(&(from..to), from).len()];
            joined[within(&(at..at + old.len() as u64), from)].copy_from_slice(&old);
            joined[within(&(whole.0..whole.0 + whole.1.len() as u64), from)].copy_from_slice(&whole.1);
            whole = (from, joined);
        }
        written.pieces.insert(whole.0, whole.1);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.medium.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.medium.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.medium.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.medium.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.medium.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.medium.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.medium.query_lock_range(start, end)
    }
}
