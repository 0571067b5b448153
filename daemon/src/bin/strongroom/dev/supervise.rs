//! The child process of `dev`: started, known to be ready by its own word, restarted when it dies, stopped in good order.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::net::UnixDatagram;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::dev::told;
use crate::failure::Failure;

/// How long a node may take to say that it is ready.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long a node may take to drain and stop.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// One node, running.
pub(crate) struct Running {
    name: String,
    child: Child,
    pid: u32,
    /// Hears what the node says later, so that it never waits to be heard.
    notices: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.notices.abort();
    }
}

/// What a node is started from.
pub(crate) struct NodeCommand {
    /// What it is called: `core`, `edge`, `edge2` and so on.
    pub(crate) name: String,
    /// Path of `strongroomd`.
    pub(crate) program: PathBuf,
    /// Its configuration.
    pub(crate) config: PathBuf,
    /// Where its credentials are.
    pub(crate) credentials: PathBuf,
    /// Where it says that it is ready.
    pub(crate) notify: PathBuf,
}

impl NodeCommand {
    /// Runs the operator's command line for this node in a process of its own, as an operator would.
    pub(crate) fn operate<'a>(&self, arguments: impl IntoIterator<Item = &'a OsStr>) -> Result<(), Failure> {
        let mut command = std::process::Command::new(std::env::current_exe().map_err(told("our own path"))?);
        command.arg("--config").arg(&self.config).args(arguments).env("CREDENTIALS_DIRECTORY", &self.credentials);
        let done = command.output().map_err(told("strongroom"))?;
        if done.status.success() { Ok(()) } else { Err(Failure::failed(String::from_utf8_lossy(&done.stderr).trim())) }
    }

    /// Starts the node and waits until it says that it is ready.
    pub(crate) async fn start(&self) -> Result<Running, Failure> {
        let _old = std::fs::remove_file(&self.notify);
        let socket = UnixDatagram::bind(&self.notify).map_err(told(self.notify.display()))?;
        let mut child = Command::new(&self.program)
            .arg("--config")
            .arg(&self.config)
            .env("CREDENTIALS_DIRECTORY", &self.credentials)
            .env("NOTIFY_SOCKET", &self.notify)
            .kill_on_drop(true)
            .spawn()
            .map_err(told(format!("{} cannot be started (run `cargo build`)", self.program.display())))?;
        let pid = child.id().expect("a child that was not waited for has a process id");
        tokio::select! {
            ready = timeout(READY_WITHIN, ready(&socket)) => {
                ready.map_err(told(format!("the {} did not get ready in time", self.name)))?.map_err(told(self.notify.display()))?;
            }
            ended = child.wait() => return Err(Failure::failed(format!("the {} ended before it was ready: {}", self.name, ended.map_err(told("its end"))?))),
        }
        let notices = tokio::spawn(async move { while heard(&socket).await.is_ok() {} });
        Ok(Running { name: self.name.clone(), child, pid, notices })
    }
}

async fn ready(socket: &UnixDatagram) -> std::io::Result<()> {
    while !heard(socket).await?.lines().any(|line| line == "READY=1") {}
    Ok(())
}

async fn heard(socket: &UnixDatagram) -> std::io::Result<String> {
    let mut message = [0; 4096];
    let length = socket.recv(&mut message).await?;
    Ok(String::from_utf8_lossy(&message[..length]).into_owned())
}

impl Running {
    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ended(&mut self) -> Result<ExitStatus, Failure> {
        self.child.wait().await.map_err(told(format!("the end of the {}", self.name)))
    }

    /// Asks it to stop and waits; kills it if it does not.
    pub(crate) async fn stop(mut self) -> Result<(), Failure> {
        // The child is ours and not reaped yet, so its number is nobody else's.
        let pid = Pid::from_raw(i32::try_from(self.pid).expect("process ids are small"));
        kill(pid, Signal::SIGTERM).map_err(told(format!("SIGTERM to the {}", self.name)))?;
        match timeout(STOP_WITHIN, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(ended) => Err(Failure::failed(format!("the {} stopped with {}", self.name, ended.map_err(told("its end"))?))),
            Err(_) => {
                self.child.kill().await.map_err(told(format!("killing the {}", self.name)))?;
                Err(Failure::failed(format!("the {} did not stop within {STOP_WITHIN:?} and was killed", self.name)))
            }
        }
    }
}

/// Path of a program beside this one.
pub(crate) fn beside(name: &str) -> Result<PathBuf, Failure> {
    let this = std::env::current_exe().map_err(told("our own path"))?;
    Ok(this.parent().unwrap_or(Path::new("/")).join(name))
}
