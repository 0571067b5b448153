//! Builds the programs and starts the runners: demo and campaigns, which live in `softhsm-test`, and the load tool of `benches`.

use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;

use crate::python::Python;
use crate::workspace::target_directory;
use crate::{command, packages};

/// What is built and tested: the benches bring a load of their own, and are only looked at by clippy.
pub(crate) const BUILT: [&str; 3] = ["--workspace", "--exclude", "benches"];

/// Installs missing packages, builds, then runs the main job.
pub(crate) fn demo() -> Result<()> {
    packages::install()?;
    build()?;
    command::run(&mut runner("demo")?)
}

/// Installs missing packages, builds, then plays the KMIP test cases in a folder.
pub(crate) fn kmip_conformance(folder: &Path) -> Result<()> {
    packages::install()?;
    build()?;
    command::run(&mut conformance(folder)?)
}

/// Has the test that holds docs/KMIP.md against a core and an edge write it.
pub(crate) fn kmip_document() -> Result<()> {
    let test = "document::docs_kmip_md_is_what_a_core_and_an_edge_answer";
    let mut command = command::cargo(["test", "--locked", "-p", "kmip", "--test", "server", "--", "--exact", test]);
    command::run(command.env("STRONGROOM_WRITE_DOCUMENTS", "1"))
}

/// The KMIP test cases in a folder, played with programs that are built.
pub(crate) fn conformance(folder: &Path) -> Result<Command> {
    let mut command = runner("conformance")?;
    command.arg(folder);
    Ok(command)
}

/// Installs missing packages, builds, then runs one campaign.
pub(crate) fn soak(name: &str, count: u64, seed: Option<u64>) -> Result<()> {
    packages::install()?;
    build()?;
    command::run(installed_python()?.tell(&mut campaign(name, count, seed)?))
}

/// Installs missing packages, builds in release, then measures what the design promises.
pub(crate) fn bench(arguments: &[String]) -> Result<()> {
    packages::install()?;
    command::run(&mut command::cargo(["build", "--release", "--workspace", "--bins"]))?;
    command::run(installed_python()?.tell(Command::new(target_directory()?.join("release/budget")).args(arguments)))
}

/// Campaigns and measurements start servers that come by it.
fn installed_python() -> Result<Python> {
    let python = Python::below(&target_directory()?);
    python.install()?;
    Ok(python)
}

/// Every program of the workspace but the load tool's, so that the runners find the others beside themselves.
fn build() -> Result<()> {
    command::run(command::cargo(["build"]).args(BUILT).arg("--bins"))
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
