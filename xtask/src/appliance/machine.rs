//! One booted Debian: systemd in a container, on a disk that outlives it.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// How long a boot or a power-off may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Where the guest finds the packages.
const PACKAGES: &str = "/package";

/// Where the guest's systemd looks for a TPM.
pub(super) const TPM: &str = "swtpm:host=127.0.0.1,port=2321";

/// nspawn on an overlay, with a /run of its own: without that it finds mounts of the host's there. `$0` is the overlay's options, `$1` where it is mounted.
const BOOT: &str = r#"mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/nspawn &&
mount -t overlay overlay -o "$0" "$1" && shift && exec systemd-nspawn "$@""#;

/// What a machine writes, above layers that nobody writes to.
pub(super) struct Disk {
    folder: PathBuf,
    /// Upper ones first.
    layers: Vec<PathBuf>,
}

impl Disk {
    /// An empty one below `folder`, whose place it takes.
    pub(super) fn new(folder: PathBuf, layers: Vec<PathBuf>) -> Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("{} cannot be removed", folder.display()))?;
        }
        for name in ["upper", "work", "root"] {
            fs::create_dir_all(folder.join(name)).with_context(|| format!("{} cannot be made", folder.display()))?;
        }
        Ok(Self { folder, layers })
    }

    /// What was written, as a layer for other disks; no machine may run on it then.
    pub(super) fn into_layers(self) -> Vec<PathBuf> {
        [vec![self.folder.join("upper")], self.layers].concat()
    }

    fn options(&self) -> String {
        let layers: Vec<_> = self.layers.iter().map(|layer| layer.display().to_string()).collect();
        format!("lowerdir={},upperdir={},workdir={}", layers.join(":"), self.path("upper"), self.path("work"))
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}

/// A running machine. Dropped, it loses its power.
pub(super) struct Machine {
    nspawn: Child,
    /// The guest's first process, as the host counts.
    leader: u32,
    console: PathBuf,
}

impl Machine {
    /// Boots, and waits until systemd has started everything.
    ///
    /// - `packages`: a folder that the guest sees as `/package`.
    pub(super) fn boot(disk: &Disk, packages: &Path) -> Result<Self> {
        let console = disk.folder.join("console.txt");
        let file = fs::File::create(&console).with_context(|| format!("{} cannot be made", console.display()))?;
        let root = disk.path("root");
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", BOOT, &disk.options(), &root]);
        command.args([
            "--quiet",
            "--directory",
            &root,
            "--machine=strongroom",
            "--register=no",
            "--keep-unit",
            "--private-network",
            "--boot",
        ]);
        // Asked only for a credential that is sealed to a TPM: the guest starts one then.
        command.arg(format!("--setenv=SYSTEMD_TPM2_DEVICE={TPM}"));
        // nspawn's own list refuses what keys lie in.
        command.args([
            "--system-call-filter=memfd_secret bpf keyctl add_key landlock_create_ruleset landlock_add_rule landlock_restrict_self",
            &format!("--bind-ro={}:{PACKAGES}", packages.display()),
        ]);
        command.env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1").stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).process_group(0);
        let nspawn = command.spawn().context("unshare cannot be started")?;
        let mut machine = Self { nspawn, leader: 0, console };
        machine.leader = machine.await_leader()?;
        // "degraded" is for scenarios to judge: a node that does not start is what some are about.
        machine.wait_for("systemctl is-system-running | grep -qx -e running -e degraded")?;
        Ok(machine)
    }

    /// Has the guest's shell run a script, as root, and returns what it printed. An error, with its output, if it does not end with 0.
    pub(super) fn sh(&self, script: &str) -> Result<String> {
        let output = self.inside().args(["sh", "-ec", script]).stdin(Stdio::null()).output().context("nsenter cannot be started")?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if !output.status.success() {
            bail!("in the guest: {script}\nended with {}\n{}\n{}", output.status, text(&output.stdout), text(&output.stderr));
        }
        Ok(text(&output.stdout))
    }

    /// A command that runs in the guest, as root, with further variables, then a program and its arguments.
    pub(super) fn inside(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.leader.to_string(), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "env", "-i"]);
        command.args(["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"]);
        command
    }

    /// Waits until a script ends with 0. The error has the end of the journal.
    pub(super) fn wait_for(&self, script: &str) -> Result<()> {
        let started = Instant::now();
        until(|| self.sh(script).is_ok()).with_context(|| {
            let journal = self.sh("journalctl --no-pager --lines=40 --output=cat").unwrap_or_else(|error| error.to_string());
            format!("in the guest, not after {} s: {script}\n{journal}", started.elapsed().as_secs())
        })
    }

    /// What the host counts one of the guest's processes as.
    pub(super) fn host_process(&self, process: &str) -> Result<u32> {
        let namespace = |id: u32| fs::read_link(format!("/proc/{id}/ns/pid")).ok();
        let ours = namespace(self.leader);
        let all = fs::read_dir("/proc").context("/proc is there")?.flatten();
        let mut ids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        ids.find(|id| inner_id(*id).as_deref() == Some(process) && namespace(*id) == ours)
            .with_context(|| format!("the guest has no process {process}"))
    }

    /// Shuts down in good order.
    pub(super) fn power_off(mut self) -> Result<()> {
        self.sh("systemctl --no-block poweroff")?;
        until(|| self.nspawn.try_wait().is_ok_and(|ended| ended.is_some()))
            .with_context(|| format!("the machine does not power off: {}", self.console.display()))
    }

    /// Ends every process of the machine at once. What they wrote is there: the host has it.
    pub(super) fn cut_power(self) {
        drop(self);
    }

    fn await_leader(&mut self) -> Result<u32> {
        let id = self.nspawn.id();
        let mut found = None;
        let is_there = until(|| {
            found = children(id).into_iter().find(|child| is_first(*child));
            found.is_some() || self.nspawn.try_wait().is_ok_and(|ended| ended.is_some())
        });
        is_there.and(found.context("it ended")).with_context(|| {
            let console = fs::read_to_string(&self.console).unwrap_or_default();
            format!("systemd-nspawn does not boot: {console}")
        })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let has_ended = self.nspawn.try_wait().is_ok_and(|ended| ended.is_some());
        if self.leader != 0 && !has_ended {
            kill(self.leader);
        }
        // Its end takes the mounts with it.
        let _ended = self.nspawn.kill();
        let _reaped = self.nspawn.wait();
    }
}

/// Whether machines can be booted here; else why not.
pub(super) fn can_boot() -> Result<()> {
    let script = "test \"$(id -u)\" = 0 && command -v systemd-nspawn debootstrap nsenter && unshare --mount true && grep -qw overlay /proc/filesystems";
    let output = Command::new("sh").args(["-ec", script]).output().context("sh cannot be started")?;
    ensure!(output.status.success(), "booting a container takes root, systemd-nspawn, debootstrap, mount namespaces and overlayfs");
    Ok(())
}

/// Waits for a condition, but not for ever.
fn until(mut condition: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let (_nobody, pause) = mpsc::channel::<()>();
    while !condition() {
        ensure!(Instant::now() < deadline, "nothing came of it within {} s", PATIENCE.as_secs());
        let _passed = pause.recv_timeout(LOOK_EVERY);
    }
    Ok(())
}

fn children(process: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|id| id.parse().ok()).collect()
}

/// Whether a process is the first one of a namespace of its own.
fn is_first(process: u32) -> bool {
    inner_id(process).as_deref() == Some("1")
}

/// What a process in a namespace of its own is counted as there.
fn inner_id(process: u32) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    ids.split_whitespace().skip(1).last().map(str::to_owned)
}

fn kill(process: u32) {
    let _status = Command::new("kill").args(["-KILL", &process.to_string()]).status();
}
