//! One core or edge under test without its supervisor: `strongroomd` on a folder that `strongroom dev` has prepared.

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use daemon::kmip_client::{Endpoint, KmipClient, KmipError};
use keys::policy::Action;
use keys::record::Outcome;
use kmip::ProtocolVersion;
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::appliance::{Appliance, Who, files_below, signal, wait_for};
use crate::binary;

/// A prepared folder, with or without a core running on it.
pub struct Core {
    dir: Arc<TempDir>,
    /// As in the names of its files.
    name: &'static str,
    daemon: Option<Child>,
    environment: Vec<(String, String)>,
}

impl Core {
    /// A folder as `dev` leaves it: cluster, tenants, certificates; nothing runs.
    #[must_use]
    pub fn prepared() -> Self {
        Self::on(Arc::new(Appliance::start().stop()), "core")
    }

    pub(crate) fn on(dir: Arc<TempDir>, name: &'static str) -> Self {
        Self { dir, name, daemon: None, environment: Vec::new() }
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The core's configuration.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.dir.path().join(format!("{}.yaml", self.name))
    }

    /// A value of `dev.env`, as it was when `dev` ran.
    ///
    /// # Panics
    /// If there is none of that name.
    #[must_use]
    pub fn value(&self, name: &str) -> String {
        let text = fs::read_to_string(self.dir.path().join("dev.env")).expect("dev has written it");
        let found = text.lines().filter_map(|line| line.split_once('=')).find(|(known, _)| *known == name);
        found.unwrap_or_else(|| panic!("dev.env has no {name}")).1.to_owned()
    }

    /// A KMIP connection to the running core.
    ///
    /// # Panics
    /// If the core does not take it.
    #[must_use]
    pub fn connect(&self, who: Who) -> KmipClient {
        self.try_connect(who).expect("the core serves")
    }

    /// A KMIP connection to a core that may be dying.
    ///
    /// # Errors
    /// It does not answer.
    pub fn try_connect(&self, who: Who) -> Result<KmipClient, KmipError> {
        KmipClient::connect(&self.endpoint(who), ProtocolVersion::V1_4)
    }

    /// Where and as whom to connect to the core.
    #[must_use]
    pub fn endpoint(&self, who: Who) -> Endpoint {
        who.endpoint(self.name, |name| self.value(name))
    }

    /// The running core's process.
    ///
    /// # Panics
    /// If none was started.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.daemon.as_ref().expect("the core was started").id()
    }

    /// Kills the core as a crash would, unless it has ended already, and waits for its end.
    pub fn kill(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            signal(daemon.id(), Signal::SIGKILL);
            let _reaped = daemon.wait();
        }
    }

    /// The keystore's file.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.data_dir().join("store.redb")
    }

    /// The keystore's file, and its log.
    #[must_use]
    pub fn stores(&self) -> [PathBuf; 2] {
        [self.store(), log_of(&self.store())]
    }

    /// The audit log's segments, oldest first.
    #[must_use]
    pub fn segments(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.data_dir().join("audit")).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut segments: Vec<_> = entries.filter(|path| path.extension().is_some_and(|extension| extension == "log")).collect();
        segments.sort();
        segments
    }

    /// The core's data folder.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join(self.name)
    }

    /// Every file below the data folder.
    #[must_use]
    pub fn data_files(&self) -> Vec<PathBuf> {
        files_below(&self.data_dir())
    }

    /// Gives every core that is started from now on a variable.
    pub fn set_environment(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// The command that starts the core, for tests that change its surroundings.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(binary("strongroomd", "daemon"));
        command.arg("--config").arg(self.config()).env("CREDENTIALS_DIRECTORY", self.credentials()).stdin(Stdio::null());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// The command that makes a cluster on this folder.
    #[must_use]
    pub fn init_command(&self) -> Command {
        let mut command = Command::new(binary("strongroom", "daemon"));
        command.arg("--config").arg(self.config()).args(["init", "--make-key"]);
        command.env("CREDENTIALS_DIRECTORY", self.credentials()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Starts the core and waits until its admin socket answers and it has tried to unseal.
    ///
    /// # Panics
    /// If it ends instead.
    pub fn start(&mut self) {
        if let Err(why) = self.try_start() {
            panic!("the core does not run: {why}");
        }
    }

    /// As [`Core::start`], of a core that may not like what it finds.
    ///
    /// # Errors
    /// It has ended; with this it took its leave.
    ///
    /// # Panics
    /// If it neither runs nor ends.
    pub fn try_start(&mut self) -> Result<(), String> {
        let to = fs::File::create(self.said_in()).expect("the folder is ours");
        self.daemon = Some(self.command().stderr(to).spawn().expect("the binary is there"));
        assert!(wait_for(|| self.has_ended() || self.has_settled()), "the core does not come to rest");
        if self.has_ended() {
            self.daemon = None;
            return Err(self.said());
        }
        Ok(())
    }

    /// What it has said since it was started.
    #[must_use]
    pub fn said(&self) -> String {
        fs::read_to_string(self.said_in()).unwrap_or_default()
    }

    fn said_in(&self) -> PathBuf {
        self.dir.path().join(format!("{}.said", self.name))
    }

    /// Has the core ended, or was none started?
    pub fn has_ended(&mut self) -> bool {
        self.daemon.as_mut().is_none_or(|daemon| daemon.try_wait().is_ok_and(|ended| ended.is_some()))
    }

    fn has_settled(&self) -> bool {
        let said = self.status();
        said.contains("\"state\"") && !said.contains("not unsealed since start")
    }

    /// How many records of the node's own acts, about no object, its log has that ended so.
    ///
    /// # Panics
    /// If the log cannot be read.
    #[must_use]
    pub fn acts(&self, action: Action, outcome: Outcome) -> usize {
        // Neither object nor version nor generation.
        let needle = [&(action as u16).to_be_bytes()[..], &[0; 30], &[outcome as u8]].concat();
        let logs = self.segments().into_iter().map(|segment| fs::read(segment).expect("it reads"));
        logs.map(|log| log.windows(needle.len()).filter(|window| *window == needle).count()).sum()
    }

    /// What `strongroom status` says, as JSON; its exit status is 3 while the node is sealed.
    #[must_use]
    pub fn status(&self) -> String {
        String::from_utf8_lossy(&self.cli(&["--json", "status"]).stdout).into_owned()
    }

    /// The node's page of metrics.
    ///
    /// # Panics
    /// If it does not answer.
    #[must_use]
    pub fn metrics(&self) -> String {
        let address = self.value(&format!("HEALTH_{}", self.name.to_uppercase()));
        let mut stream = TcpStream::connect(address.trim_start_matches("http://")).expect("it listens");
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n").expect("it reads");
        let mut page = String::new();
        stream.read_to_string(&mut page).expect("it answers");
        page
    }

    /// The state that `strongroom status` says, with its reason: `unsealed: `, or `sealed: ` and why.
    ///
    /// # Panics
    /// If the core does not answer.
    #[must_use]
    pub fn standing(&self) -> String {
        let status: serde_json::Value = serde_json::from_str(&self.status()).expect("status is JSON");
        format!("{}: {}", status["state"].as_str().unwrap_or_default(), status["reason"].as_str().unwrap_or_default())
    }

    /// Runs the core until it ends by itself; returns what it printed.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn run_to_its_end(&self) -> Output {
        self.command().output().expect("the binary is there")
    }

    /// Runs the operator's command line against this core.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn cli(&self, arguments: &[&str]) -> Output {
        self.cli_command(arguments).output().expect("the binary is there")
    }

    /// The operator's command line against this core, not started yet.
    #[must_use]
    pub fn cli_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary("strongroom", "daemon"));
        command.arg("--config").arg(self.config()).args(arguments).stdin(Stdio::null());
        command
    }

    /// What the operator's command line prints on success.
    ///
    /// # Panics
    /// If it fails.
    #[must_use]
    pub fn ask(&self, arguments: &[&str]) -> String {
        let Output { status, stdout, stderr } = self.cli(arguments);
        assert!(status.success(), "strongroom {}: {}", arguments.join(" "), String::from_utf8_lossy(&stderr));
        String::from_utf8_lossy(&stdout).into_owned()
    }

    /// Puts another PIN into the credential; the token's own stays as it is. Returns the one before.
    ///
    /// # Panics
    /// If the folder is gone.
    #[must_use]
    pub fn write_pin(&self, pin: &str) -> String {
        let path = self.credentials().join("hsm-pin");
        let before = fs::read_to_string(&path).expect("dev has written it");
        fs::remove_file(&path).expect("it is ours");
        fs::write(&path, pin).expect("it is ours");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).expect("it is ours");
        before
    }

    /// Makes or replaces a credential of this name.
    ///
    /// # Panics
    /// If the folder is gone.
    pub fn write_credential(&self, name: &str, text: &str) {
        let path = self.credentials().join(name);
        let _none_yet = fs::remove_file(&path);
        fs::write(&path, format!("{text}\n")).expect("the folder is ours");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).expect("it is ours");
    }

    /// Takes the token away, as if it were unplugged.
    ///
    /// # Panics
    /// If it is away already.
    pub fn pull_token(&self) {
        fs::rename(self.tokens(), self.tokens().with_extension("away")).expect("the token is there");
        fs::create_dir(self.tokens()).expect("the folder is ours");
    }

    /// Puts back what [`Core::pull_token`] took away.
    ///
    /// # Panics
    /// If it is not away.
    pub fn return_token(&self) {
        fs::remove_dir_all(self.tokens()).expect("the folder is ours");
        fs::rename(self.tokens().with_extension("away"), self.tokens()).expect("the token is away");
    }

    /// The file that holds the token's PIN.
    #[must_use]
    pub fn credential(&self) -> PathBuf {
        self.credentials().join("hsm-pin")
    }

    /// Who governs the keys that this node keeps: a tenant-admin those of a core, a service those of an edge.
    pub(crate) fn governor(&self) -> Who {
        if self.name == "core" { Who::TenantAdmin } else { Who::Service }
    }

    pub(crate) fn credentials(&self) -> PathBuf {
        self.dir.path().join("softhsm/credentials")
    }

    fn tokens(&self) -> PathBuf {
        self.dir.path().join("softhsm/tokens")
    }

    /// Stops the core in good order.
    ///
    /// # Panics
    /// If its exit status is not 0.
    pub fn stop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            signal(daemon.id(), Signal::SIGTERM);
            let ended = daemon.wait().expect("it is our child");
            assert!(ended.success(), "a core that is told to stop ends with {ended}");
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The log of a keystore's file.
fn log_of(store: &Path) -> PathBuf {
    store.with_added_extension("log")
}

/// Copies a keystore's file as it is now, with its log.
///
/// # Errors
/// As [`fs::copy`].
pub(crate) fn copy_store(store: &Path, to: &Path) -> io::Result<()> {
    fs::copy(store, to)?;
    if log_of(store).exists() {
        fs::copy(log_of(store), log_of(to))?;
    }
    Ok(())
}
