//! Where a PIN comes from: a credential file that is read anew for each job, straight into locked memory.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use hsm::Login;
use secret::{Bytes, Exhausted};

use crate::{Consent, Error, Label};

/// Most bytes of a PIN: what the wire to the device process carries.
pub const PIN_BYTES_MAX: usize = hsm::wire::FRAME_SECRET_BYTES_MAX;

/// Group-writable, world-readable or world-writable. Group-readable is how the service manager's credentials look when they are granted by an ACL.
const MODE_REFUSED: u32 = 0o026;

/// Where a custodian's PIN comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PinSource {
    /// This file; one line feed at its end is not part of the PIN.
    Credential(PathBuf),
    /// A person types it each time.
    Typed,
}

/// The PIN of one job.
pub(crate) enum Pin<'a> {
    Typed(&'a Bytes),
    Credential(Bytes),
}

impl PinSource {
    /// The PIN that a person typed, else that of the credential.
    ///
    /// # Errors
    /// `NeedsPin` if there is neither; `PinUnfit`, `Io`.
    pub(crate) fn pin<'a>(&self, name: &Label, consent: Consent<'a>) -> Result<Pin<'a>, Error> {
        match (consent.pin, self) {
            (Some(typed), _) => Ok(Pin::Typed(typed)),
            (None, Self::Credential(path)) => Ok(Pin::Credential(read(path)?)),
            (None, Self::Typed) => Err(Error::NeedsPin { name: name.clone() }),
        }
    }
}

impl Pin<'_> {
    pub(crate) fn login(&self, consent: Consent<'_>) -> Login<'_> {
        let pin = match self {
            Self::Typed(pin) => pin,
            Self::Credential(pin) => pin,
        };
        Login { pin, retry_latched: consent.retry_pin }
    }
}

/// What can go wrong between the file and locked memory.
enum Fault {
    Io(io::Error),
    Exhausted(Exhausted),
}

impl From<Exhausted> for Fault {
    fn from(exhausted: Exhausted) -> Self {
        Self::Exhausted(exhausted)
    }
}

/// Reads a PIN; no byte of it touches ordinary memory.
fn read(path: &Path) -> Result<Bytes, Error> {
    let unfit = |why| Error::PinUnfit { path: path.to_owned(), why };
    let unreadable = |source| Error::Io { doing: "read the PIN credential", path: path.to_owned(), source };
    // Asked before opening, which would wait at a named pipe.
    let about = fs::metadata(path).map_err(unreadable)?;
    if !about.is_file() {
        return Err(unfit("it is not a file"));
    }
    if about.mode() & MODE_REFUSED != 0 {
        return Err(unfit("others may read or change it; run `chmod 0400` on it, and change the PIN if they may have read it"));
    }
    let length = usize::try_from(about.len()).unwrap_or(usize::MAX);
    if length > PIN_BYTES_MAX + 1 {
        return Err(unfit("it is longer than any PIN (256 bytes)"));
    }
    let mut file = File::open(path).map_err(unreadable)?;
    let whole = Bytes::try_init_with(length.max(1), |place| file.read_exact(&mut place[..length]).map_err(Fault::Io));
    let whole = whole.map_err(|fault| match fault {
        Fault::Io(source) => unreadable(source),
        Fault::Exhausted(exhausted) => exhausted.into(),
    })?;
    let length = whole.expose(|bytes| bytes[..length].strip_suffix(b"\n").map_or(length, <[u8]>::len));
    match length {
        0 => Err(unfit("it is empty")),
        length if length > PIN_BYTES_MAX => Err(unfit("it is longer than any PIN (256 bytes)")),
        length if length == whole.len() => Ok(whole),
        length => Ok(Bytes::init_with(length, |place| whole.expose(|bytes| place.copy_from_slice(&bytes[..length])))?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn check(content: &[u8], mode: u32, expected: Result<&[u8], &str>) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("pin");
        fs::write(&path, content).expect("writable");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("it is ours");
        match (read(&path), expected) {
            (Ok(pin), Ok(expected)) => pin.expose(|pin| assert_eq!(pin, expected)),
            (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{error}"),
            (outcome, _) => panic!("{outcome:?} for {} bytes, mode {mode:o}", content.len()),
        }
    }

    #[test]
    fn one_line_feed_at_the_end_is_not_part_of_the_pin() {
        check(b"1234", 0o400, Ok(b"1234"));
        check(b"1234\n", 0o400, Ok(b"1234"));
        check(b"1234\n\n", 0o600, Ok(b"1234\n"));
        check(&[b'7'; 256], 0o440, Ok(&[b'7'; 256]));
        check(&[&[b'7'; 256][..], b"\n"].concat(), 0o440, Ok(&[b'7'; 256]));
    }

    #[test]
    fn what_is_no_pin_is_not_sent_to_a_token() {
        check(b"", 0o400, Err("it is empty"));
        check(b"\n", 0o400, Err("it is empty"));
        check(&[b'7'; 257], 0o400, Err("longer than any PIN"));
        check(&[b'7'; 100_000], 0o400, Err("longer than any PIN"));
    }

    #[test]
    fn a_pin_that_others_may_read_or_change_is_refused() {
        for mode in [0o404, 0o402, 0o420, 0o644, 0o666] {
            check(b"1234", mode, Err("chmod 0400"));
        }
    }

    #[test]
    fn a_missing_credential_and_one_that_is_no_file_are_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let missing = dir.path().join("pin");
        assert!(read(&missing).expect_err("it is not there").to_string().contains(missing.to_str().expect("UTF-8")));
        assert!(matches!(read(dir.path()), Err(Error::PinUnfit { why: "it is not a file", .. })));
    }
}
