//! A whole appliance under test: `strongroom dev` in a temporary folder, stopped by process id when the value is dropped.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use daemon::kmip_client::{Endpoint, KmipClient};
use kmip::ProtocolVersion;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::binary;

/// How long a start, a restart or a stop may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// How often a condition is looked at again.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// `strongroom dev`, serving.
pub struct Appliance {
    dev: Child,
    dir: TempDir,
}

/// Who a client certificate of `dev` stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// acme/billing, service.
    Service,
    /// globex/billing, service.
    OtherService,
    /// acme, tenant-admin.
    TenantAdmin,
    /// The appliance's auditor.
    Auditor,
    /// The appliance's operator.
    Operator,
    /// An edge of the group `edge`.
    Edge,
}

impl Who {
    /// Where and as whom to connect to the node of that name, by the values of `dev.env`.
    pub(crate) fn endpoint(self, node: &str, value: impl Fn(&str) -> String) -> Endpoint {
        Endpoint {
            server: value(&format!("KMIP_{}", node.to_uppercase())),
            server_name: None,
            ca: value("CA_CERT").into(),
            cert: value(&format!("{}_CERT", self.prefix())).into(),
            key: value(&format!("{}_KEY", self.prefix())).into(),
        }
    }

    fn prefix(self) -> &'static str {
        match self {
            Self::Service => "CLIENT",
            Self::OtherService => "CLIENT2",
            Self::TenantAdmin => "TENANT_ADMIN",
            Self::Auditor => "AUDITOR",
            Self::Operator => "OPERATOR",
            Self::Edge => "EDGE",
        }
    }
}

impl Appliance {
    /// Starts a new core and waits until it serves.
    ///
    /// # Panics
    /// If it does not.
    #[must_use]
    pub fn start() -> Self {
        Self::with_edges(0)
    }

    /// Starts a new core with so many edges, `edge`, `edge2` and so on, and waits until all serve.
    ///
    /// # Panics
    /// If one does not.
    #[must_use]
    pub fn with_edges(count: u16) -> Self {
        Self::start_in(tempfile::tempdir().expect("a temporary folder"), &["--edges", &count.to_string()])
    }

    /// Starts `dev` with further options on a folder that may hold an appliance already.
    ///
    /// # Panics
    /// If it does not serve.
    #[must_use]
    pub fn start_in(dir: TempDir, options: &[&str]) -> Self {
        let ready = dir.path().join("dev.env");
        let before = fs::read(&ready).ok();
        let mut dev = Command::new(binary("strongroom", "daemon"))
            .args(["dev", "--dir"])
            .arg(dir.path())
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("the binary is there");
        let serves =
            wait_for(|| fs::read(&ready).is_ok_and(|now| Some(now) != before) || dev.try_wait().is_ok_and(|ended| ended.is_some()));
        let ended = dev.try_wait().expect("it is our child");
        assert!(serves && ended.is_none(), "strongroom dev does not serve: {ended:?}");
        Self { dev, dir }
    }

    /// Stops in good order and hands the folder back.
    ///
    /// # Panics
    /// If the exit status is not 0.
    #[must_use]
    pub fn stop(mut self) -> TempDir {
        signal(self.dev.id(), Signal::SIGTERM);
        let mut status = None;
        assert!(
            wait_for(|| {
                status = self.dev.try_wait().expect("it is our child");
                status.is_some()
            }),
            "strongroom dev does not stop"
        );
        assert_eq!(status.and_then(|status| status.code()), Some(0), "strongroom dev exits with 0 on SIGTERM");
        std::mem::replace(&mut self.dir, tempfile::tempdir().expect("a temporary folder"))
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What `dev.env` says now.
    ///
    /// # Panics
    /// If the file is not of the form NAME=VALUE.
    #[must_use]
    pub fn env(&self) -> BTreeMap<String, String> {
        let text = fs::read_to_string(self.dir.path().join("dev.env")).expect("dev.env is written before anybody is told to read it");
        text.lines()
            .map(|line| line.split_once('=').expect("NAME=VALUE"))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    /// One value of `dev.env`.
    ///
    /// # Panics
    /// If there is none of that name.
    #[must_use]
    pub fn value(&self, name: &str) -> String {
        self.env().remove(name).unwrap_or_else(|| panic!("dev.env has no {name}"))
    }

    /// The core's process.
    ///
    /// # Panics
    /// If dev.env names none.
    #[must_use]
    pub fn core_pid(&self) -> u32 {
        self.pid("core")
    }

    /// The process of the node of that name.
    ///
    /// # Panics
    /// If dev.env names none.
    #[must_use]
    pub fn pid(&self, node: &str) -> u32 {
        self.value(&format!("{}_PID", node.to_uppercase())).parse().expect("a process id")
    }

    /// Where and as whom to connect to the core.
    #[must_use]
    pub fn endpoint(&self, who: Who) -> Endpoint {
        self.endpoint_at("core", who)
    }

    /// Where and as whom to connect to the node of that name.
    #[must_use]
    pub fn endpoint_at(&self, node: &str, who: Who) -> Endpoint {
        who.endpoint(node, |name| self.value(name))
    }

    /// A connection to the core.
    ///
    /// # Panics
    /// If the core does not take it.
    #[must_use]
    pub fn connect(&self, who: Who) -> KmipClient {
        self.connect_at("core", who)
    }

    /// A connection to the node of that name.
    ///
    /// # Panics
    /// If the node does not take it.
    #[must_use]
    pub fn connect_at(&self, node: &str, who: Who) -> KmipClient {
        KmipClient::connect(&self.endpoint_at(node, who), ProtocolVersion::V1_4).expect("the node serves")
    }

    /// Runs the operator's command line against the core, with the KMIP options of `who`.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn cli(&self, who: Who, arguments: &[&str]) -> Output {
        self.cli_at("core", who, arguments)
    }

    /// Runs the operator's command line against the node of that name, with the KMIP options of `who`.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn cli_at(&self, node: &str, who: Who, arguments: &[&str]) -> Output {
        let Endpoint { server, ca, cert, key, .. } = self.endpoint_at(node, who);
        Command::new(binary("strongroom", "daemon"))
            .args(arguments)
            .arg("--config")
            .arg(self.value(&format!("{}_CONFIG", node.to_uppercase())))
            .env("KMIP_CORE", server)
            .env("CA_CERT", ca)
            .env("CLIENT_CERT", cert)
            .env("CLIENT_KEY", key)
            .stdin(Stdio::null())
            .output()
            .expect("the binary is there")
    }

    /// What the operator's command line answers in JSON.
    ///
    /// # Panics
    /// If it is refused.
    #[must_use]
    pub fn ask(&self, arguments: &[&str]) -> Value {
        let said = self.cli(Who::Operator, &[&["--json"], arguments].concat());
        assert!(said.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&said.stderr));
        serde_json::from_slice(&said.stdout).expect("an answer in JSON")
    }

    /// The options by which the command line asks the core as the holder of the certificate of `who`, at the admin listener.
    #[must_use]
    pub fn as_who(&self, who: Who) -> [String; 8] {
        let value = |name: &str| self.value(name);
        let [cert, key] = ["CERT", "KEY"].map(|kind| value(&format!("{}_{kind}", who.prefix())));
        let [admin, ca] = ["ADMIN_CORE", "CA_CERT"].map(value);
        ["--admin", &admin, "--admin-ca", &ca, "--admin-cert", &cert, "--admin-key", &key].map(str::to_owned)
    }

    /// Kills the core as a crash would.
    pub fn kill_core(&self) {
        signal(self.core_pid(), Signal::SIGKILL);
    }

    /// Waits until `dev` has brought up another core than `before`.
    ///
    /// # Panics
    /// If it does not.
    pub fn wait_for_restart(&self, before: u32) {
        assert!(wait_for(|| self.core_pid() != before), "the core is not restarted");
    }

    /// Kills the node of that name as a crash would, and waits until `dev` has brought up another.
    ///
    /// # Panics
    /// If it does not.
    pub fn kill_and_wait(&self, node: &str) {
        let before = self.pid(node);
        signal(before, Signal::SIGKILL);
        assert!(
            wait_for(|| self.value(&format!("{}_PID", node.to_uppercase())).parse().is_ok_and(|now: u32| now != before)),
            "{node} is not restarted"
        );
    }

    /// Every file below the core's data folder.
    #[must_use]
    pub fn data_files(&self) -> Vec<PathBuf> {
        files_below(&self.dir.path().join("core"))
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        if self.dev.try_wait().is_ok_and(|ended| ended.is_none()) {
            signal(self.dev.id(), Signal::SIGTERM);
            let _reaped = self.dev.wait();
        }
    }
}

/// Every file below a folder, in whatever depth.
#[must_use]
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// Sends a signal to a process that we, or `dev` for us, have started.
///
/// # Panics
/// If the number is no process id.
pub fn signal(process: u32, signal: Signal) {
    let _gone_already = kill(Pid::from_raw(i32::try_from(process).expect("a process id")), signal);
}

/// Looks until `condition` holds; `false` if it does not within a minute.
pub fn wait_for(condition: impl FnMut() -> bool) -> bool {
    wait_for_within(PATIENCE, condition)
}

/// Looks until `condition` holds; `false` if it does not within `limit`.
pub fn wait_for_within(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + limit;
    // A channel that nobody sends on is the timer.
    let (_keep, timer) = mpsc::channel::<()>();
    while Instant::now() < until {
        if condition() {
            return true;
        }
        let _elapsed = timer.recv_timeout(LOOK_EVERY);
    }
    condition()
}
