//! The throwaway TPM of `dev --seal tpm`: swtpm below the folder, and the release key that approves states of the platform.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use daemon::certs;

use crate::dev::told;
use crate::failure::{Failure, Kind};

/// How long swtpm may take to listen.
const LISTENS_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How often two neighbouring ports are looked for.
const PAIRS_MAX: usize = 64;

/// A running swtpm; it ends with this value.
pub(crate) struct DevTpm {
    root: PathBuf,
    child: Option<Child>,
}

impl DevTpm {
    /// Starts the TPM of this folder on `port` and the one above, unless one that a killed `dev` has left still serves there.
    pub(crate) async fn start(root: &Path, port: u16) -> Result<Self, Failure> {
        let state = root.join("state");
        fs::create_dir_all(&state).map_err(told(state.display()))?;
        let key = root.join("release.key");
        if !key.exists() {
            certs::write_new_key(&key).map_err(|error| Failure::of(Kind::Failed, &error))?;
        }
        let is_served = || TcpStream::connect((Ipv4Addr::LOCALHOST, port + 1)).is_ok();
        let mut this = Self { root: root.to_owned(), child: None };
        if is_served() {
            return Ok(this);
        }
        let socket = |port: u16| format!("type=tcp,port={port},bindaddr=127.0.0.1");
        let child = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear", "--tpmstate"])
            .arg(format!("dir={}", state.display()))
            .args(["--ctrl", &socket(port + 1), "--server", &format!("{},disconnect", socket(port))])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(told("swtpm cannot be started (apt-get install swtpm)"))?;
        this.child = Some(child);
        let began = Instant::now();
        while !is_served() {
            if began.elapsed() > LISTENS_WITHIN {
                return Err(Failure::failed(format!("swtpm does not listen on port {port} within {LISTENS_WITHIN:?}")));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(this)
    }

    /// The key whose holder approves states.
    pub(crate) fn release_key(&self) -> PathBuf {
        self.root.join("release.key")
    }

    /// The approval with which the slot was made.
    pub(crate) fn approval(&self) -> PathBuf {
        self.root.join("first.approval")
    }
}

impl Drop for DevTpm {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // Both fail only for a process that has ended.
            let _killed = child.kill();
            let _reaped = child.wait();
        }
    }
}

/// How tpm2-tss reaches the TPM at a port.
pub(crate) fn tcti(port: u16) -> String {
    format!("swtpm:host=127.0.0.1,port={port}")
}

/// The port of a [`tcti`].
pub(crate) fn port(tcti: &str) -> Option<u16> {
    tcti.strip_prefix("swtpm:host=127.0.0.1,port=")?.parse().ok()
}

/// A port that nobody uses, below another one: tpm2-tss looks for the control channel there.
pub(crate) fn free_port() -> Result<u16, Failure> {
    let pair = || {
        let port = super::lasting_port().ok()?;
        let _lower = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
        TcpListener::bind((Ipv4Addr::LOCALHOST, port.checked_add(1)?)).ok()?;
        Some(port)
    };
    (0..PAIRS_MAX).find_map(|_| pair()).ok_or_else(|| Failure::failed("no two neighbouring ports are free on 127.0.0.1"))
}
