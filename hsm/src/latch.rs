//! The wrong-PIN latch: a durable file per (module, token serial) that forbids a login until a person allows one.
//!
//! The device process keeps it, because only there module and serial are known to be this token's, and because it outlives a daemon that is
//! killed meanwhile. It writes `attempting` *before* `C_Login`; a good login removes that, a refused PIN replaces it. So whatever dies between a
//! wrong try and its verdict (process, kernel, power), the latch is there afterwards; the price is that a crash inside those milliseconds asks
//! for a person although the PIN may be right. Any other failure of the call was no verdict on the PIN and restores what was there. What cannot
//! be read counts as latched.
//!
//! A latch is reached only through a [`Turn`]: one job at a time works with a module, on the whole machine. So nobody takes a login under way
//! for an interrupted one, and a module is spared company that it may not bear: SoftHSM rewrites its token file at each login, and a second
//! process that reads it meanwhile finds no token.
//!
//! For an object in a TPM the same holds of TPM2_Unseal with its PIN; in the place of the module's path stands the name by which the TPM is reached.
//!
//! File `HEX.latch`, `HEX` = the first 16 bytes of SHA-256(module path | 0 | serial); text, one line each: `strongroom-pin-latch 1`, state,
//! module, serial. The last two are for people. File `HEX.lock`, the same of the module path alone: empty, locked for the turn.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

const MAGIC_LINE: &str = "strongroom-pin-latch 1";

/// Why there is a latch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LatchState {
    /// A login was begun and nobody saw its end.
    Attempting,
    /// The token refused the PIN.
    WrongPin,
    /// The token says that the next wrong PIN locks it.
    FinalTry,
    /// The token says that its PIN is locked.
    Locked,
    /// The file is there and says nothing we know.
    Unreadable,
}

impl LatchState {
    const WRITTEN: [Self; 4] = [Self::Attempting, Self::WrongPin, Self::FinalTry, Self::Locked];

    const fn word(self) -> &'static str {
        match self {
            Self::Attempting => "attempting",
            Self::WrongPin => "wrong-pin",
            Self::FinalTry => "final-try",
            Self::Locked => "locked",
            Self::Unreadable => "unreadable",
        }
    }
}

impl std::fmt::Display for LatchState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Attempting => "an earlier login was interrupted before its result was known",
            Self::WrongPin => "an earlier login had a wrong PIN",
            Self::FinalTry => "the token has one PIN try left",
            Self::Locked => "the token reported its PIN as locked",
            Self::Unreadable => "the latch file cannot be understood",
        })
    }
}

/// A job's turn at a module: no other process on the machine works with it until this value is dropped.
#[derive(Debug)]
pub struct Turn {
    dir: PathBuf,
    module: PathBuf,
    _held: File,
}

impl Turn {
    /// Waits for the turn.
    ///
    /// - `dir`: must exist. It is not made here: a latch directory that vanished with its disk must not come back empty.
    /// - `module`: symbolic links resolved, so that a token has one latch by whatever name its module is called.
    ///
    /// # Errors
    /// What the file system says.
    pub fn take(dir: &Path, module: &Path) -> io::Result<Self> {
        let path = dir.join(format!("{}.lock", file_name(&[module.as_os_str().as_bytes()])));
        let held = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
        held.lock()?;
        Ok(Self { dir: dir.to_owned(), module: module.to_owned(), _held: held })
    }

    /// The latch of one of the module's tokens.
    #[must_use]
    pub fn latch(&self, serial: &str) -> Latch<'_> {
        Latch { turn: self, name: file_name(&[self.module.as_os_str().as_bytes(), &[0], serial.as_bytes()]), serial: serial.to_owned() }
    }
}

/// The latch of one token.
#[derive(Debug)]
pub struct Latch<'a> {
    turn: &'a Turn,
    name: String,
    serial: String,
}

impl Latch<'_> {
    /// The serial of its token.
    #[must_use]
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// The latch file, there or not.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.turn.dir.join(format!("{}.latch", self.name))
    }

    /// Why the token is latched; `None` if it is not.
    ///
    /// # Errors
    /// What the file system says, other than that there is no file.
    pub fn state(&self) -> io::Result<Option<LatchState>> {
        match fs::read(self.path()) {
            Ok(bytes) => Ok(Some(parse(&bytes))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Latches durably: written, synced, renamed into place, directory synced.
    ///
    /// # Errors
    /// What the file system says; the latch may then be there or not.
    pub fn set(&self, state: LatchState) -> io::Result<()> {
        let fresh = self.turn.dir.join(format!("{}.new", self.name));
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&fresh)?;
        let (module, serial) = (self.turn.module.display(), self.serial.escape_debug());
        write!(file, "{MAGIC_LINE}\n{}\n{module}\n{serial}\n", state.word())?;
        file.sync_all()?;
        fs::rename(&fresh, self.path())?;
        self.sync_dir()
    }

    /// Removes the latch durably.
    ///
    /// # Errors
    /// What the file system says; the latch may then be there or not.
    pub fn clear(&self) -> io::Result<()> {
        match fs::remove_file(self.path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => self.sync_dir(),
        }
    }

    fn sync_dir(&self) -> io::Result<()> {
        File::open(&self.turn.dir)?.sync_all()
    }
}

fn file_name(parts: &[&[u8]]) -> String {
    let digest = parts.iter().fold(Sha256::new(), Sha256::chain_update).finalize();
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn parse(bytes: &[u8]) -> LatchState {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.lines();
    match (lines.next(), lines.next()) {
        (Some(MAGIC_LINE), Some(word)) => {
            LatchState::WRITTEN.into_iter().find(|state| state.word() == word).unwrap_or(LatchState::Unreadable)
        }
        _ => LatchState::Unreadable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(dir: &tempfile::TempDir) -> Turn {
        Turn::take(dir.path(), Path::new("/lib/token.so")).expect("the directory is ours")
    }

    #[test]
    fn every_state_is_read_back_in_a_later_turn() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(turn(&dir).latch("s").state().expect("readable"), None);
        for state in LatchState::WRITTEN {
            turn(&dir).latch("s").set(state).expect("writable");
            assert_eq!(turn(&dir).latch("s").state().expect("readable"), Some(state));
        }
        turn(&dir).latch("s").clear().expect("writable");
        assert_eq!(turn(&dir).latch("s").state().expect("readable"), None);
        turn(&dir).latch("s").clear().expect("clearing twice is no error");
    }

    #[test]
    fn one_tokens_latch_does_not_hold_back_another() {
        let dir = tempfile::tempdir().expect("a directory");
        turn(&dir).latch("a").set(LatchState::WrongPin).expect("writable");
        assert_eq!(turn(&dir).latch("b").state().expect("readable"), None);
        let elsewhere = Turn::take(dir.path(), Path::new("/lib/other.so")).expect("another module's turn is free");
        assert_eq!(elsewhere.latch("a").state().expect("readable"), None);
    }

    #[test]
    fn what_is_not_understood_counts_as_latched() {
        let dir = tempfile::tempdir().expect("a directory");
        let turn = turn(&dir);
        let latch = turn.latch("s");
        for content in ["", "strongroom-pin-latch 1", "strongroom-pin-latch 2\nwrong-pin\n", "strongroom-pin-latch 1\nfine\n", "\u{0}"] {
            fs::write(latch.path(), content).expect("writable");
            assert_eq!(latch.state().expect("readable"), Some(LatchState::Unreadable), "{content:?}");
        }
    }

    #[test]
    fn a_serial_cannot_leave_the_directory_or_forge_a_line() {
        let dir = tempfile::tempdir().expect("a directory");
        let turn = turn(&dir);
        let latch = turn.latch("../../x\nlocked");
        latch.set(LatchState::WrongPin).expect("writable");
        assert_eq!(latch.path().parent(), Some(dir.path()));
        assert_eq!(fs::read_to_string(latch.path()).expect("readable").lines().count(), 4);
    }

    #[test]
    fn a_missing_directory_is_refused_and_not_made() {
        let dir = tempfile::tempdir().expect("a directory");
        let gone = dir.path().join("gone");
        assert!(Turn::take(&gone, Path::new("/lib/token.so")).is_err());
        assert!(!gone.exists());
    }

    #[test]
    fn a_turn_is_not_taken_twice() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = turn(&dir);
        let entry = fs::read_dir(dir.path()).expect("readable").next().expect("the lock").expect("readable");
        let second = File::open(entry.path()).expect("it is there");
        assert!(second.try_lock().is_err());
        drop(first);
        assert!(second.try_lock().is_ok());
    }
}
