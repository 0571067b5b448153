//! Builds the programs and starts the runners of demo and campaigns, which live in the crate `softhsm-test`.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;

use crate::workspace::target_directory;
use crate::{command, packages};

/// Installs missing packages, builds, then runs the main job.
pub(crate) fn demo() -> Result<()> {
    packages::install()?;
    build()?;
    command::run(&mut runner("demo")?)
}

/// Installs missing packages, builds, then runs one campaign.
pub(crate) fn soak(name: &str, count: u64, seed: Option<u64>) -> Result<()> {
    packages::install()?;
    build()?;
    command::run(&mut campaign(name, count, seed)?)
}

/// Every program of the workspace, so that the runners find the others beside themselves.
fn build() -> Result<()> {
    command::run(&mut command::cargo(["build", "--workspace", "--bins"]))
}

/// One campaign of programs that are built: `count` rounds, every choice drawn from `seed` or, without one, from the clock.
pub(crate) fn campaign(name: &str, count: u64, seed: Option<u64>) -> Result<Command> {
    let mut command = runner("soak")?;
    let seed = seed.unwrap_or_else(seed_of_now);
    command.args([name, "--count", &count.to_string(), "--seed", &seed.to_string()]);
    Ok(command)
}

fn seed_of_now() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::from(since_1970.subsec_nanos()) ^ since_1970.as_secs()
}

/// Started directly: `cargo run` of one crate would choose other features than the build, and so build everything again.
fn runner(name: &str) -> Result<Command> {
    Ok(Command::new(target_directory()?.join("debug").join(name)))
}
