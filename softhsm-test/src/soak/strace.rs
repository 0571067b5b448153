//! Faults put under a running program by Debian's strace: a system call fails, waits, or is the last.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::appliance::{signal, wait_for};

/// Every call by which the product changes a file.
const WATCHED: &str = "trace=write,writev,pwrite64,pwritev,fdatasync,fsync,ftruncate,fallocate,rename,renameat,renameat2,unlink,unlinkat";

/// strace at a process, until dropped or detached.
pub(crate) struct Strace {
    strace: Child,
    dir: TempDir,
}

/// One line of strace's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) call: String,
    pub(crate) text: String,
    pub(crate) is_injected: bool,
}

impl Line {
    fn read(line: &str) -> Option<Self> {
        let (_thread, rest) = line.split_once(' ')?;
        let rest = rest.trim_start();
        let rest = rest.strip_prefix("<... ").unwrap_or(rest);
        let call = rest.split(['(', ' ']).next()?.to_owned();
        Some(Self { call, text: rest.to_owned(), is_injected: rest.contains("(INJECTED)") || rest.contains("(DELAYED)") })
    }

    /// Is it the beginning of a sync? A call that takes a while has a second line for its end.
    pub(crate) fn is_begun_sync(&self) -> bool {
        matches!(self.call.as_str(), "fdatasync" | "fsync") && !self.text.contains(" resumed>")
    }
}

impl Strace {
    /// Attaches to all threads of `process`, and to no program that it starts; what `fault` says (as strace's `inject=`) befalls its calls that concern `paths`.
    ///
    /// strace counts each thread's calls for itself. Returns once every thread is traced, or the process has ended.
    ///
    /// # Panics
    /// If strace is not installed, or may not trace.
    pub(crate) fn attach(process: u32, fault: &str, paths: &[&Path]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut command = Command::new("strace");
        command
            .args(["-f", "-b", "execve", "-y", "-s", "0", "-e", WATCHED, "-e", &format!("inject={fault}"), "-o"])
            .arg(dir.path().join("log"));
        for path in paths {
            command.arg("-P").arg(path);
        }
        command.arg("-p").arg(process.to_string()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut strace = command.spawn().unwrap_or_else(|error| panic!("cannot run strace ({error}): apt-get install strace"));
        let attached = wait_for(|| is_traced(process) || strace.try_wait().is_ok_and(|ended| ended.is_some()));
        assert!(attached, "strace does not attach to {process}");
        Self { strace, dir }
    }

    /// Waits until a call was tampered with, but no longer than so.
    pub(crate) fn wait_for_a_hit(&self, limit: Duration) {
        let until = Instant::now() + limit;
        let has_hit = || fs::read_to_string(self.log()).is_ok_and(|log| log.lines().filter_map(Line::read).any(|line| line.is_injected));
        let _in_time = wait_for(|| has_hit() || Instant::now() > until);
    }

    /// Takes the faults away; returns what was seen.
    pub(crate) fn detach(mut self) -> Vec<Line> {
        self.end();
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        log.lines().filter_map(Line::read).collect()
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn end(&mut self) {
        if self.strace.try_wait().is_ok_and(|ended| ended.is_none()) {
            signal(self.strace.id(), Signal::SIGTERM);
            let _reaped = self.strace.wait();
        }
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        self.end();
    }
}

/// Is every thread traced, or none there any more?
fn is_traced(process: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return true };
    let mut threads = threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("status")).ok());
    threads.all(|status| status.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, call: &str, is_injected: bool, is_begun_sync: bool) {
        let line = Line::read(line).expect("a line of a log");
        assert_eq!((line.call.as_str(), line.is_injected, line.is_begun_sync()), (call, is_injected, is_begun_sync), "{line:?}");
    }

    #[test]
    fn a_line_tells_its_call_and_whether_it_was_tampered_with() {
        check("12 fdatasync(11</d/store.redb>) = 0", "fdatasync", false, true);
        check("12 fdatasync(11</d/store.redb>) = -1 EIO (Input/output error) (INJECTED)", "fdatasync", true, true);
        check("12 fdatasync(11</d/store.redb> <unfinished ...>", "fdatasync", false, true);
        check("12 <... fdatasync resumed>)         = 0", "fdatasync", false, false);
        check("12 pwrite64(11</d/store.redb>, \"\"..., 320, 0 <unfinished ...>", "pwrite64", false, false);
        check("9    write(3</d/1.log>, \"\"..., 9) = 9 (DELAYED)", "write", true, false);
    }
}
