//! The few things that the writer does with a segment's file, as a port, so that tests can make each of them fail.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use parking_lot::Mutex;

use crate::window::{PAGE_BYTES, Window};

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

/// A file on a disk, opened for reading and appending.
///
/// What is appended goes through a mapping of the file where the file system can set space aside, else by write(2). With a mapping the file is longer than what
/// was written: it ends in zeroes, which a reader takes for nothing, until it is cut or this is dropped.
#[derive(Debug)]
pub struct DiskFile {
    file: File,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Behind the last byte that was appended.
    end: u64,
    /// Disk space is set aside up to here; 0 if none is.
    allocated: u64,
    window: Option<Window>,
    /// The kernel cannot tell beforehand that a window may be written to, which is older than Linux 5.14.
    is_plain: bool,
}

impl DiskFile {
    /// A segment that ends where `file` ends.
    ///
    /// # Errors
    /// The file cannot be looked at.
    pub fn new(file: File) -> io::Result<Self> {
        let end = file.metadata()?.len();
        Ok(Self { file, state: Mutex::new(State { end, allocated: 0, window: None, is_plain: false }) })
    }

    /// Has a window into which `bytes` fit, if there can be one.
    fn reach(&self, state: &mut State, bytes: usize) -> io::Result<()> {
        let end = state.end + bytes as u64;
        // The byte behind is zero in any case: that is how a line cut off by a kill is told from one that was changed.
        if state.is_plain || end >= state.allocated || state.window.as_ref().is_some_and(|window| end < window.end()) {
            return Ok(());
        }
        state.window = None;
        match Window::open(&self.file, state.end, end, state.allocated) {
            Ok(window) => state.window = Some(window),
            Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => {
                self.file.set_len(state.end)?;
                state.is_plain = true;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

impl SegmentFile for DiskFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock();
        self.reach(&mut state, bytes.len())?;
        let at = state.end;
        match &mut state.window {
            Some(window) => window.write(at, bytes),
            None => (&self.file).write_all(bytes)?,
        }
        state.end += bytes.len() as u64;
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn allocate(&self, from: u64, to: u64) -> io::Result<()> {
        let to = to.next_multiple_of(PAGE_BYTES) + PAGE_BYTES;
        let offset = |bytes: u64| i64::try_from(bytes).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge));
        match fallocate(&self.file, FallocateFlags::FALLOC_FL_KEEP_SIZE, offset(from)?, offset(to - from)?) {
            // This file system cannot set space aside: a full disk shows at the write, which is then undone.
            Err(Errno::EOPNOTSUPP) => Ok(()),
            Err(error) => Err(error.into()),
            Ok(()) => {
                self.state.lock().allocated = to;
                Ok(())
            }
        }
    }

    fn cut(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        (state.window, state.allocated) = (None, 0);
        self.file.set_len(bytes)?;
        state.end = bytes;
        Ok(())
    }

    fn is_at(&self, path: &Path) -> io::Result<bool> {
        let is = self.file.metadata()?;
        match fs::symlink_metadata(path) {
            Ok(found) => Ok((found.dev(), found.ino()) == (is.dev(), is.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Drop for DiskFile {
    /// Leaves nothing but what was written. Whoever opens the segment next does it if this fails.
    fn drop(&mut self) {
        let end = self.state.get_mut().end;
        if self.state.get_mut().window.take().is_some() {
            let _ = self.file.set_len(end);
        }
    }
}

/// Did this fail for want of space, which may come back?
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
