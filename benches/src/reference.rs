//! The reference server as a child process.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};
use nix::unistd::Pid;
use softhsm_test::{binary, wait_for};
use tempfile::TempDir;

use crate::load::Server;
use crate::product::Product;

/// What the reference does for a request.
#[derive(Debug, Clone, Copy)]
pub struct Work {
    /// Bytes that it encrypts at a time.
    pub data_bytes: usize,
    /// How many times.
    pub items: usize,
    /// Length of its answer in bytes.
    pub answer_bytes: usize,
    /// What it appends and syncs before the answer, in bytes.
    pub append_bytes: Option<usize>,
    /// Whether it speaks HTTP.
    pub http: bool,
}

/// A running reference; killed when dropped.
pub struct Reference {
    child: Child,
    server: Server,
    _dir: TempDir,
}

impl Reference {
    /// Starts one with the certificates of `product`, its durable file on the same disk.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(product: &Product, work: Work) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir_in(product.dir())?;
        let address_file = dir.path().join("address");
        let mut command = Command::new(binary("bench-reference", "benches"));
        command.arg("--address-file").arg(&address_file);
        for (option, name) in [("--cert", "server.pem"), ("--key", "server.key"), ("--client-ca", "ca.pem")] {
            command.arg(option).arg(product.dir().join("pki").join(name));
        }
        for (option, number) in [("--data-bytes", work.data_bytes), ("--items", work.items), ("--answer-bytes", work.answer_bytes)] {
            command.args([option, &number.to_string()]);
        }
        if let Some(bytes) = work.append_bytes {
            command.arg("--durable").arg(dir.path().join("appended")).args(["--append-bytes", &bytes.to_string()]);
        }
        if work.http {
            command.arg("--http");
        }
        let mut child = command.stdin(Stdio::null()).spawn().context("bench-reference")?;
        let listens = wait_for(|| address_file.exists() || child.try_wait().is_ok_and(|ended| ended.is_some()));
        ensure!(listens && address_file.exists(), "the reference does not listen");
        let address: PathBuf = address_file;
        let address = fs::read_to_string(address)?.parse()?;
        let process = Pid::from_raw(i32::try_from(child.id())?);
        Ok(Self { child, server: Server { process, address, http: work.http }, _dir: dir })
    }

    /// Where it listens.
    #[must_use]
    pub fn server(&self) -> Server {
        self.server
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}
