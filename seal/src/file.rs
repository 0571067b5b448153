//! Files that are there whole and durable, or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::Error;

/// Writes a file that only its owner may read and waits until it is on the medium. Its name is not durable yet.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let written = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(failed("write", path))
}

/// Gives a written file its final name, durably.
pub(crate) fn publish(from: &Path, to: &Path) -> Result<(), Error> {
    fs::rename(from, to).map_err(failed("rename a file to", to))?;
    sync_dir_of(to)
}

/// Removes a file, durably; it may be absent.
pub(crate) fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
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
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("sync the directory", dir))
}

/// Names what was done to which file.
pub(crate) fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io { doing, path: path.to_owned(), source }
}
