//! The client that starts one device process per job and never waits for it past the deadline.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::wire::{self, WireError};
use crate::{Answer, Device, DeviceError, Job, Order, Refusal, Reply, Secrets};

/// How long a process that has answered may take to wipe and exit before it is killed.
const LINGER: Duration = Duration::from_millis(500);

/// Keeps tpm2-tss from writing into the daemon's log what goes wrong: that is in the answer, named and once.
const TSS_LOG: (&str, &str) = ("TSS2_LOG", "all+none");

/// How device processes are started.
#[derive(Debug, Clone)]
pub struct ProcessSettings {
    /// Path of `strongroom-device`.
    pub program: PathBuf,
    /// Where the wrong-PIN latches are; an existing directory, writable by the daemon's user only.
    pub latch_dir: PathBuf,
    /// The whole environment of the process, for modules that are configured by variables (`SOFTHSM2_CONF`); nothing is inherited.
    /// Only `TSS2_LOG` is set if it is not here.
    pub environment: BTreeMap<String, String>,
    /// Longest time for one job, from start to answer.
    pub deadline: Duration,
}

/// Does each job in a `strongroom-device` process of its own.
///
/// The process is killed when the calling thread ends, so let the thread that calls [`Device::run`] wait for it.
#[derive(Debug)]
pub struct DeviceProcess {
    settings: ProcessSettings,
}

impl DeviceProcess {
    /// Nothing is started before the first job.
    #[must_use]
    pub fn new(settings: ProcessSettings) -> Self {
        Self { settings }
    }

    fn start(&self) -> Result<Running, DeviceError> {
        let socket = |source| DeviceError::Socket { source };
        let until = Instant::now() + self.settings.deadline;
        let (ours, theirs) = UnixStream::pair().map_err(socket)?;
        let child = Command::new(&self.settings.program)
            .env_clear()
            .envs([TSS_LOG])
            .envs(&self.settings.environment)
            .current_dir("/")
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(|source| DeviceError::NotStarted { program: self.settings.program.clone(), source })?;
        Ok(Running { child, stream: ours, until })
    }

    fn failed(&self, error: WireError, running: Running) -> DeviceError {
        let deadline = self.settings.deadline;
        match error {
            WireError::Malformed(what) => DeviceError::Garbled { what },
            WireError::TooLarge(what) => DeviceError::TooLarge { what },
            WireError::Exhausted(exhausted) => exhausted.into(),
            WireError::Io(source) => match source.kind() {
                io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => DeviceError::TimedOut { deadline },
                io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => running.end(),
                _ => DeviceError::Socket { source },
            },
        }
    }
}

impl Device for DeviceProcess {
    fn run(&self, job: &Job, secrets: Secrets<'_>) -> Result<Reply, DeviceError> {
        let order = Order { job: job.clone(), latch_dir: self.settings.latch_dir.clone() };
        let mut running = self.start()?;
        // A process that refuses early answers without reading everything: what counts is the answer, so a failed write is judged after the read.
        let sent = wire::write(&mut running, &order, [secrets.pin, secrets.payload]);
        if let Err(error @ WireError::TooLarge(_)) = sent {
            return Err(self.failed(error, running));
        }
        match wire::read::<Result<Answer, Refusal>>(&mut running) {
            Ok((answer, [None, secret])) => {
                running.linger();
                Ok(Reply { answer: answer?, secret })
            }
            Ok(_) => Err(DeviceError::Garbled { what: "a secret where there is none" }),
            Err(error) => Err(self.failed(error, running)),
        }
    }
}

/// A started process; dropping it kills and reaps.
struct Running {
    child: Child,
    stream: UnixStream,
    until: Instant,
}

impl Running {
    fn left(&self) -> io::Result<Duration> {
        match self.until.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            left => Ok(left),
        }
    }

    /// Waits for the process that has answered to close its socket, which it does by exiting; the answer is in hand, so nothing can fail here.
    fn linger(&mut self) {
        self.until = self.until.min(Instant::now() + LINGER);
        let _closed = self.read(&mut [0]);
    }

    /// How a process ended that closed its socket without an answer.
    fn end(mut self) -> DeviceError {
        // The socket of a dying process closes before it can be reaped. A kill then changes nothing: the kernel keeps how it ended. Only one
        // that closed its socket and lives on is ended here, by signal 9.
        let _killed = self.child.kill();
        match self.child.wait() {
            Ok(status) => DeviceError::Died { signal: status.signal(), code: status.code() },
            Err(source) => DeviceError::Socket { source },
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only for a process that is reaped already.
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Read for Running {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        self.stream.read(buf)
    }
}

impl Write for Running {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        self.stream.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
