//! Plugins as processes: the Rust example beside the test executable, and the Python one.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use plugin::{SOCKET_VARIABLE, STATE_VARIABLE};
use storage::grpc::{Grpc, Rows, Settings};
use storage::intents::Intents;
use storage::journalled::Journalled;
use tempfile::TempDir;
use uuid::Uuid;

/// Which example.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Example {
    Redb,
    Python,
    /// As the first two, changing one row at a time.
    RedbRows,
    PythonRows,
}

/// A running plugin, killed when it is dropped.
pub(crate) struct Plugin {
    example: Example,
    folder: TempDir,
    child: Child,
}

impl Plugin {
    pub(crate) fn start(example: Example) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let child = spawn(example, folder.path());
        let this = Self { example, folder, child };
        this.await_socket();
        this
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).expect("it is our child");
    }

    /// Stops it. On a busy machine a signal takes its time.
    pub(crate) fn hang(&self) {
        self.signal(Signal::SIGSTOP);
        let stat = || std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("it does not end by that");
        assert!(softhsm_test::wait_for(|| stat().contains(") T ")), "{}", stat());
    }

    /// A new process on the same data.
    pub(crate) fn restarted(mut self) -> Self {
        self.child = spawn(self.example, self.folder.path());
        self.await_socket();
        self
    }

    /// Kill -9, and a new process that has none of the data, at the same socket.
    pub(crate) fn restarted_empty(mut self) -> Self {
        self.kill();
        for file in std::fs::read_dir(self.folder.path()).expect("the folder is ours") {
            std::fs::remove_file(file.expect("the folder is ours").path()).expect("the folder is ours");
        }
        self.restarted()
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
        std::fs::remove_file(self.socket()).expect("it had made its socket");
    }

    fn await_socket(&self) {
        let listens = || std::os::unix::net::UnixStream::connect(self.socket()).is_ok();
        assert!(softhsm_test::wait_for(listens), "the plugin does not listen");
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn spawn(example: Example, folder: &Path) -> Child {
    let mut command = match example {
        Example::Redb | Example::RedbRows => Command::new(softhsm_test::binary("plugin-redb", "plugin-redb")),
        Example::Python | Example::PythonRows => {
            let python = std::env::var("STRONGROOM_TEST_PYTHON")
                .expect("STRONGROOM_TEST_PYTHON names a Python with grpcio: run the tests by `cargo xtask check`, which makes one");
            let mut command = Command::new(python);
            command.arg("-B").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugin/examples/python/sqlite_plugin.py"));
            command
        }
    };
    if matches!(example, Example::RedbRows | Example::PythonRows) {
        command.arg("--rows-only");
    }
    command.env(SOCKET_VARIABLE, folder.join("socket")).env(STATE_VARIABLE, folder).stdin(Stdio::null());
    command.spawn().expect("the plugin starts")
}

pub(crate) const TIMEOUT: Duration = Duration::from_secs(4);

/// Where a plugin is, and as which node it is asked.
pub(crate) fn settings(socket: PathBuf, node: u128) -> Settings {
    Settings { name: "main".to_owned(), socket, user: None, timeout: TIMEOUT, node: Uuid::from_u128(node) }
}

/// A node's keystore on a plugin.
pub(crate) async fn open(socket: PathBuf, node: u128) -> Grpc {
    Grpc::open(settings(socket, node)).await.expect("the plugin serves")
}

/// The same on one that changes one row at a time, with the journal in this file.
pub(crate) async fn open_rows(socket: PathBuf, journal: &Path) -> Journalled<Rows> {
    let rows = Rows::open(settings(socket, 1)).await.expect("the plugin serves");
    Journalled::new(rows, Intents::open(journal).expect("the file is ours"), TIMEOUT).expect("the journal reads")
}
