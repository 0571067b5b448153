//! Files that are there whole and durable, or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::Error;

/// Writes a file that only its owner may read and waits until it is on the medium. Its name is not durable yet.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let written = step().and_then(|()| {
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)?;
        step()?;
        file.write_all(bytes)?;
        step()?;
        file.sync_all()
    });
    written.map_err(failed("write", path))
}

/// Gives a written file its final name, durably.
pub(crate) fn publish(from: &Path, to: &Path) -> Result<(), Error> {
    step().and_then(|()| fs::rename(from, to)).map_err(failed("rename a file to", to))?;
    sync_dir_of(to)
}

/// Removes a file, durably; it may be absent.
pub(crate) fn remove(path: &Path) -> Result<(), Error> {
    match step().and_then(|()| fs::remove_file(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        Ok(()) | Err(_) => sync_dir_of(path),
    }
}

/// Reads a regular file of at most `bytes_max`.
pub(crate) fn read(path: &Path, bytes_max: usize) -> Result<Vec<u8>, Error> {
    let unreadable = failed("read", path);
    // Asked before opening, which would wait at a named pipe.
    match fs::metadata(path) {
        Ok(about) if about.is_file() => {}
        Ok(_) => return Err(Error::Corrupt { what: "it is not a file", at: 0 }),
        Err(error) => return Err(unreadable(error)),
    }
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(limit.saturating_add(1)).read_to_end(&mut bytes)).map_err(unreadable)?;
    if bytes.len() > bytes_max { Err(Error::Corrupt { what: "it is too long", at: bytes_max }) } else { Ok(bytes) }
}

/// Waits until the names in the directory of `path` are durable.
pub(crate) fn sync_dir_of(path: &Path) -> Result<(), Error> {
    let dir = path.parent().expect("our files lie in a directory");
    step().and_then(|()| File::open(dir)?.sync_all()).map_err(failed("sync the directory", dir))
}

/// Names what was done to which file.
pub(crate) fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io { doing, path: path.to_owned(), source }
}

/// Stands before each call that changes the medium: tests fail at one, or die there.
#[cfg(not(test))]
#[expect(clippy::unnecessary_wraps, reason = "the tests' one fails")]
fn step() -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
use fault::step;

#[cfg(test)]
pub(crate) mod fault {
    //! Calls that fail by their number.

    use std::cell::Cell;
    use std::io;

    /// What becomes of the calls of this thread that change the medium.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Fault {
        /// Only that one fails, counted from 0.
        Fails(usize),
        /// That one and all after it are never made: the process is gone.
        Dies(usize),
    }

    thread_local! {
        static FAULT: Cell<Option<Fault>> = const { Cell::new(None) };
        static MADE: Cell<usize> = const { Cell::new(0) };
    }

    /// Does `work` under a fault; says as well whether the fault has struck.
    pub(crate) fn under<T>(fault: Fault, work: impl FnOnce() -> T) -> (T, bool) {
        FAULT.set(Some(fault));
        MADE.set(0);
        let done = work();
        FAULT.set(None);
        let (Fault::Fails(at) | Fault::Dies(at)) = fault;
        (done, MADE.get() > at)
    }

    pub(super) fn step() -> io::Result<()> {
        let made = MADE.replace(MADE.get() + 1);
        let strikes = match FAULT.get() {
            None => false,
            Some(Fault::Fails(at)) => made == at,
            Some(Fault::Dies(from)) => made >= from,
        };
        if strikes { Err(io::Error::other("the medium fails")) } else { Ok(()) }
    }
}
