//! A private TPM 2.0 in software: an swtpm process of its own, its state in a temporary directory, on two free ports.
//!
//! It serves one client at a time and has no resource manager, so what a client leaves behind is there to be seen.

use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::{signal, wait_for};

/// How often other ports are tried: between the look and the start, somebody else may have taken them.
const STARTS_MAX: usize = 16;
/// How long the TPM stays in lockout: longer than any test.
const LOCKOUT_SECONDS: &str = "86400";

/// A running TPM, or a stopped one that can be started again; removed when the value is dropped.
#[derive(Debug)]
pub struct Swtpm {
    dir: TempDir,
    port: u16,
    process: Option<Child>,
}

impl Default for Swtpm {
    fn default() -> Self {
        Self::new()
    }
}

impl Swtpm {
    /// A new TPM, started up and answering.
    ///
    /// # Panics
    /// If swtpm is not installed, or does not start.
    #[must_use]
    pub fn new() -> Self {
        let mut this = Self { dir: tempfile::tempdir().expect("a directory"), port: 0, process: None };
        let started = (0..STARTS_MAX).any(|_| {
            this.port = free_port_pair();
            this.try_start()
        });
        assert!(started, "swtpm does not start: {}", this.log());
        this
    }

    /// How a client reaches it, as tpm2-tss names it.
    #[must_use]
    pub fn tcti(&self) -> String {
        format!("swtpm:host=127.0.0.1,port={}", self.port)
    }

    /// The port of the commands; the next one is that of the control channel.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process.
    ///
    /// # Panics
    /// If it is stopped.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("it is running").id()
    }

    /// Takes it off the bus. Its state stays.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            signal(process.id(), Signal::SIGTERM);
            let _status = process.wait();
        }
    }

    /// Starts it again on the same state and ports, as after a power cycle: the registers are as at the first start.
    ///
    /// # Panics
    /// If somebody else keeps its ports.
    pub fn start(&mut self) {
        assert!(self.process.is_none(), "it is running");
        assert!(wait_for(|| self.try_start()), "swtpm does not start: {}", self.log());
    }

    /// Puts another TPM in its place, on the same ports.
    ///
    /// # Panics
    /// If somebody else keeps its ports.
    pub fn replace(&mut self) {
        self.stop();
        fs::remove_dir_all(self.state()).expect("it is ours");
        self.start();
    }

    /// Makes another of it, as an owner does who runs `tpm2_clear`: the same device with another storage root key.
    pub fn clear(&self) {
        self.tool("tpm2_clear", &["-c", "platform"]);
    }

    /// Extends a register of the SHA-256 bank.
    pub fn extend(&self, pcr: u8) {
        self.tool("tpm2_pcrextend", &[&format!("{pcr}:sha256={}", "5a".repeat(32))]);
    }

    /// Lets it go into lockout after so many wrong PINs.
    pub fn set_lockout_max(&self, tries: u32) {
        let tries = format!("--max-tries={tries}");
        let [recovery, lockout] = ["recovery-time", "lockout-recovery-time"].map(|name| format!("--{name}={LOCKOUT_SECONDS}"));
        self.tool("tpm2_dictionarylockout", &["--setup-parameters", &tries, &recovery, &lockout]);
    }

    /// Lets it out of lockout, and forgets the wrong PINs.
    pub fn clear_lockout(&self) {
        self.tool("tpm2_dictionarylockout", &["--clear-lockout"]);
    }

    /// How many wrong PINs it has counted.
    ///
    /// # Panics
    /// If it does not say so.
    #[must_use]
    pub fn lockout_counter(&self) -> u32 {
        let properties = self.tool("tpm2_getcap", &["properties-variable"]);
        let counter = properties.lines().find_map(|line| line.strip_prefix("TPM2_PT_LOCKOUT_COUNTER: 0x"));
        u32::from_str_radix(counter.expect("every TPM counts them"), 16).expect("a number")
    }

    /// Objects and sessions that somebody left in it, as `tpm2_getcap` shows them.
    #[must_use]
    pub fn left_behind(&self) -> String {
        ["handles-transient", "handles-loaded-session", "handles-saved-session"].map(|kind| self.tool("tpm2_getcap", &[kind])).concat()
    }

    /// Runs a program of tpm2-tools on this TPM, in a directory of its own, and returns what it prints.
    ///
    /// # Panics
    /// If it is not installed, or fails.
    pub fn tool(&self, program: &str, arguments: &[&str]) -> String {
        let run = Command::new(program).args(arguments).env("TPM2TOOLS_TCTI", self.tcti()).current_dir(self.path()).output();
        let Output { status, stdout, stderr } =
            run.unwrap_or_else(|error| panic!("cannot run {program} ({error}): apt-get install tpm2-tools"));
        let printed = String::from_utf8_lossy(&stdout).into_owned();
        assert!(status.success(), "{program}: {printed}{}", String::from_utf8_lossy(&stderr));
        printed
    }

    /// Where [`Swtpm::tool`] runs.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// False if a port is taken.
    fn try_start(&mut self) -> bool {
        fs::create_dir_all(self.state()).expect("writable");
        let pid_file = self.path().join("pid");
        let _not_there = fs::remove_file(&pid_file);
        let tcp = |port| format!("type=tcp,port={port},bindaddr=127.0.0.1");
        let mut swtpm = Command::new("swtpm");
        swtpm.args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"]);
        swtpm.args(["--tpmstate", &format!("dir={}", self.state().display())]);
        swtpm.args(["--ctrl", &tcp(self.port + 1), "--server", &format!("{},disconnect", tcp(self.port))]);
        swtpm.args(["--pid", &format!("file={}", pid_file.display())]);
        let log = fs::File::create(self.path().join("log")).expect("writable");
        let started = swtpm.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        let mut process = started.unwrap_or_else(|error| panic!("cannot run swtpm ({error}): apt-get install swtpm"));
        // It writes its number when both ports are its own, or exits without.
        let decided = wait_for(|| pid_file.exists() || process.try_wait().expect("it is our child").is_some());
        assert!(decided, "swtpm neither starts nor fails");
        let runs = process.try_wait().expect("it is our child").is_none();
        self.process = runs.then_some(process);
        runs
    }

    fn state(&self) -> PathBuf {
        self.path().join("state")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A free port that no connection going out is given while its server is stopped, as one from 32768 on might be (`ip_local_port_range`).
///
/// # Panics
/// If there is none.
#[must_use]
pub fn lasting_port() -> u16 {
    let drawn = || 16384 + u16::try_from(RandomState::new().build_hasher().finish() % 16384).expect("it is below");
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    (0..1000).map(|_| drawn()).find(is_free).expect("a free port")
}

/// A port that is free, as is the one after it; whoever binds them must be ready to find them taken all the same.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn free_port_pair() -> u16 {
    let pair = || {
        let first = lasting_port();
        let next = first.checked_add(1)?;
        TcpListener::bind(("127.0.0.1", next)).ok().map(|_| first)
    };
    (0..1000).find_map(|_| pair()).expect("two free ports in a row")
}
