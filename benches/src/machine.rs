//! What the system is asked: CPU time and memory of another process, on which core it runs, and what machine this is.

use std::fs;
use std::time::Duration;

use anyhow::Context;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::time::ClockId;
use nix::unistd::Pid;

/// Where the client runs; with one connection the server too.
pub const CLIENT_CORE: usize = 0;
/// Where the server runs when there are several connections.
pub const SERVER_CORE: usize = 1;

/// CPU time that all threads of a process have used so far, ended ones included.
///
/// # Errors
/// There is no such process.
pub fn cpu_time(process: Pid) -> anyhow::Result<Duration> {
    let clock = ClockId::pid_cpu_clock_id(process).context("the process has no CPU clock")?;
    Ok(Duration::from(clock.now()?))
}

/// Moves all threads of a process to one core; threads that it starts later stay there.
///
/// # Errors
/// There is no such process or core.
pub fn pin(process: Pid, core: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    set.set(core)?;
    run_on(process, &set)
}

/// Gives all threads of a process every core again.
///
/// # Errors
/// There is no such process.
pub fn unpin(process: Pid) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    // The kernel leaves out those that this machine has not.
    (0..CpuSet::count()).try_for_each(|core| set.set(core))?;
    run_on(process, &set)
}

fn run_on(process: Pid, set: &CpuSet) -> anyhow::Result<()> {
    for task in fs::read_dir(format!("/proc/{process}/task")).context("the process has ended")? {
        let name = task?.file_name();
        let thread = name.to_str().and_then(|name| name.parse().ok()).context("a thread's number")?;
        sched_setaffinity(Pid::from_raw(thread), set)?;
    }
    Ok(())
}

/// Resident memory of a process in bytes.
///
/// # Errors
/// There is no such process.
pub fn resident_bytes(process: Pid) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024)
}

/// One line about the machine, for whoever reads wall times.
#[must_use]
pub fn description() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let models = cpuinfo.lines().filter_map(|line| line.strip_prefix("model name")).map(|rest| rest.trim_start_matches([' ', '\t', ':']));
    let cores = models.clone().count();
    let load = read("/proc/loadavg");
    let load = load.split_whitespace().next().unwrap_or("?");
    let (model, kernel) = (models.into_iter().next().unwrap_or("?"), read("/proc/sys/kernel/osrelease"));
    format!("{model}, {cores} cores, Linux {}, load average at the start {load}", kernel.trim())
}
