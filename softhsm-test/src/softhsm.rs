//! A private SoftHSM: a token store of its own in a temporary directory, with one initialised token.
//!
//! SoftHSM rewrites its token file at each login, and a process that reads it meanwhile finds no token: call no method that changes the store while
//! a job is under way.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// Debian's SoftHSM.
pub const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
/// Label of the token that [`SoftHsm::new`] makes.
pub const LABEL: &str = "seal";
/// Its user PIN.
pub const PIN: &str = "4321-good";

const SO_PIN: &str = "so-pin-0";

/// A token store, removed when the value is dropped.
#[derive(Debug)]
pub struct SoftHsm {
    dir: TempDir,
}

impl Default for SoftHsm {
    fn default() -> Self {
        Self::new()
    }
}

impl SoftHsm {
    /// A store with one token, a credential file with its PIN, and a directory for latches.
    ///
    /// # Panics
    /// If SoftHSM is not installed.
    #[must_use]
    pub fn new() -> Self {
        let this = Self { dir: tempfile::tempdir().expect("a directory") };
        fs::create_dir(this.tokens()).expect("writable");
        fs::create_dir(this.latch_dir()).expect("writable");
        let config = format!("directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n", this.tokens().display());
        fs::write(this.dir().join("softhsm2.conf"), config).expect("writable");
        this.add_token(LABEL);
        this.write_pin(PIN);
        this
    }

    /// Initialises a further token, with the same PIN.
    ///
    /// # Panics
    /// If SoftHSM is not installed, or refuses.
    pub fn add_token(&self, label: &str) {
        self.util(&["--init-token", "--free", "--label", label, "--so-pin", SO_PIN, "--pin", PIN]);
    }

    /// Destroys a token with all its keys.
    ///
    /// # Panics
    /// If there is none of that label.
    pub fn delete_token(&self, label: &str) {
        self.util(&["--delete-token", "--token", label]);
    }

    /// Where it writes.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What a process that loads [`MODULE`] needs in its environment to see this store.
    #[must_use]
    pub fn environment(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("SOFTHSM2_CONF".to_owned(), self.dir().join("softhsm2.conf").display().to_string())])
    }

    /// The credential file that holds the PIN; mode 0400, a line feed at its end.
    #[must_use]
    pub fn pin_file(&self) -> PathBuf {
        self.dir().join("pin")
    }

    /// Puts another PIN into [`SoftHsm::pin_file`]; the token's own stays as it is.
    ///
    /// # Panics
    /// If the directory is gone.
    pub fn write_pin(&self, pin: &str) {
        let fresh = self.dir().join("pin.new");
        fs::write(&fresh, format!("{pin}\n")).expect("writable");
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o400)).expect("it is ours");
        fs::rename(&fresh, self.pin_file()).expect("writable");
    }

    /// A directory for wrong-PIN latches.
    #[must_use]
    pub fn latch_dir(&self) -> PathBuf {
        self.dir().join("latches")
    }

    /// How many tokens are latched.
    ///
    /// # Panics
    /// If the directory is gone.
    #[must_use]
    pub fn latches(&self) -> usize {
        let entries = fs::read_dir(self.latch_dir()).expect("readable").map(|entry| entry.expect("readable").path());
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "latch")).count()
    }

    /// Takes every token away, as if it were unplugged.
    ///
    /// # Panics
    /// If they are away already.
    pub fn pull(&self) {
        fs::rename(self.tokens(), self.away()).expect("the tokens are there");
        fs::create_dir(self.tokens()).expect("writable");
    }

    /// Puts back what [`SoftHsm::pull`] took away.
    ///
    /// # Panics
    /// If nothing is away.
    pub fn put_back(&self) {
        fs::remove_dir_all(self.tokens()).expect("writable");
        fs::rename(self.away(), self.tokens()).expect("the tokens are away");
    }

    fn util(&self, arguments: &[&str]) {
        let run = Command::new("softhsm2-util").args(arguments).envs(self.environment()).output();
        let Output { status, stdout, stderr } =
            run.unwrap_or_else(|error| panic!("cannot run softhsm2-util ({error}): apt-get install softhsm2"));
        assert!(status.success(), "softhsm2-util: {}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    }

    fn tokens(&self) -> PathBuf {
        self.dir().join("tokens")
    }

    fn away(&self) -> PathBuf {
        self.dir().join("away")
    }
}
