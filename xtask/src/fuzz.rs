//! Runs fuzz targets, which live outside the workspace because they need a sanitizer and a build of their own.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::command::run;
use crate::python::Python;
use crate::workspace::{Workspace, target_directory};

/// Each target and the folder of its crate.
pub(crate) const TARGETS: [(&str, &str); 7] = [
    ("kmip_bytes", "kmip/fuzz"),
    ("kmip_messages", "kmip/fuzz"),
    ("kmip_answers", "kmip/fuzz"),
    ("kmip_xml", "kmip/fuzz"),
    ("kmip_json", "kmip/fuzz"),
    ("http", "daemon/fuzz"),
    ("certificates", "daemon/fuzz"),
];
/// More memory than any input may cost; a target that needs it fails.
const MEMORY_MIB_MAX: u32 = 4096;

/// Fuzzes one target, or each of them with the name `all`, for so many seconds; an input that breaks it is kept and named.
pub(crate) fn fuzz(workspace: &Workspace, name: &str, seconds: u64) -> Result<()> {
    let python = Python::below(&target_directory()?);
    python.install()?;
    let chosen: Vec<_> = TARGETS.into_iter().filter(|(target, _)| name == "all" || name == *target).collect();
    if chosen.is_empty() {
        bail!("there is no target {name}; choose all, {}", TARGETS.map(|(target, _)| target).join(", "));
    }
    for (target, folder) in chosen {
        run(&mut fuzzer(&python, &workspace.root.join(folder), target, seconds)?)?;
    }
    Ok(())
}

/// The stable compiler carries the sanitizer's runtime, but asks for a word before it uses it.
fn fuzzer(python: &Python, folder: &Path, target: &str, seconds: u64) -> Result<Command> {
    let mut command = Command::new(python.program("cargo-fuzz"));
    command.env("RUSTC_BOOTSTRAP", "1").args(["fuzz", "run", "--fuzz-dir"]).arg(folder).arg(target);
    let seeds = folder.join("seeds").join(target);
    if seeds.is_dir() {
        // What is found goes into the first folder.
        let corpus = folder.join("corpus").join(target);
        fs::create_dir_all(&corpus)?;
        command.arg(corpus).arg(seeds);
    }
    command.arg("--");
    command.args([format!("-max_total_time={seconds}"), format!("-rss_limit_mb={MEMORY_MIB_MAX}"), "-print_final_stats=1".to_owned()]);
    Ok(command)
}

/// Type-checks every fuzz crate, so that none of them rots between two campaigns.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let mut folders: Vec<_> = TARGETS.iter().map(|(_, folder)| *folder).collect();
    folders.dedup();
    for folder in folders {
        let manifest = workspace.root.join(folder).join("Cargo.toml");
        run(crate::command::cargo(["check", "--locked", "--manifest-path"]).arg(manifest).arg("--target-dir").arg(target_directory()?))?;
    }
    Ok(())
}
