//! The Python environment below cargo's target directory: the clients that tests drive, and the programs that check the source.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::command::run;

const CLIENTS: &str = include_str!("../python/clients.txt");
const TOOLS: &str = include_str!("../python/tools.txt");

/// An environment that is complete.
pub(crate) struct Python {
    folder: PathBuf,
}

impl Python {
    /// Where the environment lies; it need not be there yet.
    pub(crate) fn below(target: &Path) -> Self {
        Self { folder: target.join("python") }
    }

    /// A program in it: `python`, `cargo-nextest`.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.folder.join("bin").join(name)
    }

    /// Tells a program which tests, or measures, by what the environment holds.
    pub(crate) fn tell<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command.env("STRONGROOM_TEST_PYTHON", self.program("python"))
    }

    /// Makes the environment, unless it stands as the two lists in `xtask/python` ask.
    ///
    /// Debian's own interpreter is used: whatever comes first in PATH may lack `venv`, or go away under the environment.
    pub(crate) fn install(&self) -> Result<()> {
        let stamp = self.folder.join("stamp");
        // The path belongs to it: an environment that was moved no longer finds itself.
        let wanted = format!("{}\n{CLIENTS}{TOOLS}", self.folder.display());
        if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
            println!("{} is as the lists in xtask/python ask", self.folder.display());
            return Ok(());
        }
        run(Command::new("/usr/bin/python3").args(["-m", "venv", "--clear"]).arg(&self.folder))?;
        run(&mut self.pip(&["--requirement=xtask/python/clients.txt"]))?;
        run(&mut self.pip(&["--no-deps", "--require-hashes", "--requirement=xtask/python/tools.txt"]))?;
        run(Command::new(self.program("python"))
            .args(["-c", "from kmip.pie.client import ProxyKmipClient; import pymongocrypt.mongocrypt"]))?;
        fs::write(&stamp, wanted).with_context(|| format!("{} cannot be written", stamp.display()))
    }

    fn pip(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.program("pip"));
        command.args(["install", "--quiet", "--disable-pip-version-check"]).args(arguments);
        command
    }
}
