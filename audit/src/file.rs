//! The few things that the writer does with a segment's file, as a port, so that tests can make each of them fail.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};

/// A segment that is being written. One call of each kind at a time.
pub trait SegmentFile: Send + Sync {
    /// Writes at the end. When this returns the bytes survive the process, not yet the machine.
    fn append(&self, bytes: &[u8]) -> io::Result<()>;

    /// Waits until everything appended survives the machine.
    fn sync(&self) -> io::Result<()>;

    /// Sets disk space aside from the file's end at `from` up to `to`, without making the file longer.
    fn allocate(&self, from: u64, to: u64) -> io::Result<()>;

    /// Makes the file `bytes` long and gives back what was set aside behind it.
    fn cut(&self, bytes: u64) -> io::Result<()>;

    /// Is it still this file that is found at `path`? Not if it was removed, renamed or replaced.
    fn is_at(&self, path: &Path) -> io::Result<bool>;
}

/// A file on a disk, opened for appending.
#[derive(Debug)]
pub struct DiskFile(pub File);

impl SegmentFile for DiskFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        (&self.0).write_all(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn allocate(&self, from: u64, to: u64) -> io::Result<()> {
        let offset = |bytes: u64| i64::try_from(bytes).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge));
        let (from, to) = (offset(from)?, offset(to)?);
        match fallocate(&self.0, FallocateFlags::FALLOC_FL_KEEP_SIZE, from, to - from) {
            // This file system cannot set space aside: a full disk shows at the write, which is then undone.
            Err(Errno::EOPNOTSUPP) => Ok(()),
            other => Ok(other?),
        }
    }

    fn cut(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn is_at(&self, path: &Path) -> io::Result<bool> {
        let is = self.0.metadata()?;
        match fs::symlink_metadata(path) {
            Ok(found) => Ok((found.dev(), found.ino()) == (is.dev(), is.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Did this fail for want of space, which may come back?
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
