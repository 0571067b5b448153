//! A private SoftHSM per test, and the client for it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use hsm::{Device, DeviceError, DeviceProcess, KeyKind, KeyName, Login, ProcessSettings, Protected, Refusal, Token, TokenName};
use secret::Bytes;
use tempfile::TempDir;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_strongroom-device");
pub(crate) const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
pub(crate) const PIN: &str = "4321-good";
pub(crate) const LABEL: &str = "seal";
pub(crate) const AAD: &[u8] = b"slot header";

/// Far above what any job takes here, so that only a hang meets it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) struct SoftHsm {
    dir: TempDir,
    pub(crate) device: DeviceProcess,
}

impl SoftHsm {
    /// A store with one initialised token.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir(dir.path().join("tokens")).expect("writable");
        fs::create_dir(dir.path().join("latches")).expect("writable");
        let config =
            format!("directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n", dir.path().join("tokens").display());
        fs::write(dir.path().join("softhsm2.conf"), config).expect("writable");
        let environment = BTreeMap::from([("SOFTHSM2_CONF".to_owned(), dir.path().join("softhsm2.conf").display().to_string())]);
        let settings = ProcessSettings { program: PROGRAM.into(), latch_dir: dir.path().join("latches"), environment, deadline: DEADLINE };
        let this = Self { dir, device: DeviceProcess::new(settings) };
        this.add_token(LABEL);
        this
    }

    pub(crate) fn add_token(&self, label: &str) {
        self.tool("softhsm2-util", "softhsm2", &["--init-token", "--free", "--label", label, "--so-pin", "so-pin-0", "--pin", PIN]);
    }

    /// Runs a tool on this store; a missing one fails the test with the package to install.
    pub(crate) fn tool(&self, program: &str, package: &str, arguments: &[&str]) {
        let run = Command::new(program).args(arguments).env("SOFTHSM2_CONF", self.dir.path().join("softhsm2.conf")).output();
        let Output { status, stdout, stderr } =
            run.unwrap_or_else(|error| panic!("cannot run {program} ({error}): apt-get install {package}"));
        assert!(status.success(), "{program}: {}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    }

    pub(crate) fn latches(&self) -> Vec<PathBuf> {
        latches_in(&self.dir.path().join("latches"))
    }

    pub(crate) fn tokens(&self) -> PathBuf {
        self.dir.path().join("tokens")
    }

    pub(crate) fn latch_dir(&self) -> PathBuf {
        self.dir.path().join("latches")
    }

    /// With a key made, and a secret protected under it.
    pub(crate) fn with_protected() -> (Self, Protected) {
        let this = Self::new();
        token().make_key(&this.device, login(&pin(PIN)), &key(), KeyKind::Aes256).expect("the token makes it");
        let protected = token().protect(&this.device, login(&pin(PIN)), &key(), AAD, &secret()).expect("the token protects");
        (this, protected)
    }

    pub(crate) fn open(&self, protected: &Protected) -> Result<Bytes, DeviceError> {
        token().open(&self.device, login(&pin(PIN)), &key(), AAD, protected)
    }
}

pub(crate) fn latches_in(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("readable").map(|entry| entry.expect("readable").path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "latch")).collect()
}

pub(crate) fn token() -> Token {
    Token { module: MODULE.into(), name: TokenName::Label(LABEL.to_owned()) }
}

pub(crate) fn key() -> KeyName {
    KeyName { label: "slot-key".to_owned(), id: Some(vec![0x51]) }
}

pub(crate) fn pin(text: &str) -> Bytes {
    Bytes::init_with(text.len(), |place| place.copy_from_slice(text.as_bytes())).expect("the arena has room")
}

pub(crate) fn login(pin: &Bytes) -> Login<'_> {
    Login { pin, retry_latched: false }
}

pub(crate) fn secret() -> Bytes {
    Bytes::init_with(32, |place| place.fill(0xC3)).expect("the arena has room")
}

pub(crate) fn refusal<T>(result: Result<T, DeviceError>) -> Refusal {
    match result {
        Err(DeviceError::Refused(refusal)) => refusal,
        Err(other) => panic!("not refused by the device process: {other}"),
        Ok(_) => panic!("it was done"),
    }
}

/// Opens with a PIN of choice, on any device.
pub(crate) fn open_with(device: &dyn Device, token: &Token, login: Login<'_>, protected: &Protected) -> Result<Bytes, DeviceError> {
    token.open(device, login, &key(), AAD, protected)
}
