//! The child process of `dev`: started, known to be ready by its own word, restarted when it dies, stopped in good order.

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

/// How long a core may take to say that it is ready.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long a core may take to drain and stop.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// One core, running.
pub(crate) struct Core {
    child: Child,
    pid: u32,
    /// Hears what the core says later, so that it never waits to be heard.
    notices: JoinHandle<()>,
}

impl Drop for Core {
    fn drop(&mut self) {
        self.notices.abort();
    }
}

/// What a core is started from.
pub(crate) struct CoreCommand {
    /// Path of `strongroomd`.
    pub(crate) program: PathBuf,
    /// Its configuration.
    pub(crate) config: PathBuf,
    /// Where its credentials are.
    pub(crate) credentials: PathBuf,
    /// Where it says that it is ready.
    pub(crate) notify: PathBuf,
}

impl CoreCommand {
    /// Starts a core and waits until it says that it is ready.
    pub(crate) async fn start(&self) -> Result<Core, Failure> {
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
                ready.map_err(told("the core did not get ready in time"))?.map_err(told(self.notify.display()))?;
            }
            ended = child.wait() => return Err(Failure::failed(format!("the core ended before it was ready: {}", ended.map_err(told("its end"))?))),
        }
        let notices = tokio::spawn(async move { while heard(&socket).await.is_ok() {} });
        Ok(Core { child, pid, notices })
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

impl Core {
    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ended(&mut self) -> Result<ExitStatus, Failure> {
        self.child.wait().await.map_err(told("the core's end"))
    }

    /// Asks it to stop and waits; kills it if it does not.
    pub(crate) async fn stop(mut self) -> Result<(), Failure> {
        // The child is ours and not reaped yet, so its number is nobody else's.
        let pid = Pid::from_raw(i32::try_from(self.pid).expect("process ids are small"));
        kill(pid, Signal::SIGTERM).map_err(told("SIGTERM to the core"))?;
        match timeout(STOP_WITHIN, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(ended) => Err(Failure::failed(format!("the core stopped with {}", ended.map_err(told("the core's end"))?))),
            Err(_) => {
                self.child.kill().await.map_err(told("killing the core"))?;
                Err(Failure::failed(format!("the core did not stop within {STOP_WITHIN:?} and was killed")))
            }
        }
    }
}

/// Path of a program beside this one.
pub(crate) fn beside(name: &str) -> Result<PathBuf, Failure> {
    let this = std::env::current_exe().map_err(told("our own path"))?;
    Ok(this.parent().unwrap_or(Path::new("/")).join(name))
}
