//! The package on a real systemd: containers that boot, install it, and are treated as machines are.

mod machine;
mod older;
mod root;
mod scenarios;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::gate::Incomplete;
use crate::package::{self, Packer, Profile};
use crate::packages;
use crate::workspace::{Workspace, target_directory};
use older::Older;
use scenarios::{SCENARIOS, Scenario};

/// A release before this one, as far as dpkg can tell.
const OLDER: &str = "0.0.9";

/// What all scenarios have.
struct Lab {
    /// Below cargo's target directory.
    folder: PathBuf,
    /// The Debian without the package.
    root: PathBuf,
    /// The packages, `strongroom_VERSION_ARCHITECTURE.deb`.
    packages: PathBuf,
    /// What the one of [`OLDER`] has in it.
    older: Older,
    /// The commands of docs/INSTALL.md, in blocks.
    install: Vec<String>,
    /// What a machine wrote on which those commands were run: layers for further disks.
    installed: Vec<PathBuf>,
}

/// Whether a machine can be booted here; else why not.
pub(crate) fn can_run() -> Result<()> {
    machine::can_boot()
}

/// Installs missing packages, builds, then runs the scenarios of these names, or all.
pub(crate) fn run(workspace: &Workspace, names: &[String]) -> Result<()> {
    packages::install()?;
    if let Err(why) = can_run() {
        println!("NOT RUN: {why}");
        return Err(Incomplete.into());
    }
    let target = target_directory()?;
    package::build(workspace, &target, Profile::Dev)?;
    let known = |name: &String| SCENARIOS.iter().any(|scenario| scenario.name == name);
    if let Some(unknown) = names.iter().find(|name| !known(name)) {
        let all: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        ensure!(false, "there is no scenario {unknown}; there are {}", all.join(", "));
    }
    let is_chosen = |scenario: &Scenario| names.is_empty() || names.iter().any(|name| name == scenario.name);
    play(workspace, &target, is_chosen)
}

/// All scenarios, with programs that are built.
pub(crate) fn checked(workspace: &Workspace, target: &Path) -> Result<()> {
    play(workspace, target, |_| true)
}

/// Plays all that are chosen, after the one that makes what the others begin with, and prints what came of each. An error if one failed.
fn play(workspace: &Workspace, target: &Path, is_chosen: impl Fn(&Scenario) -> bool) -> Result<()> {
    let folder = target.join("appliance");
    let packages = folder.join("packages");
    let packer = Packer::new(workspace, target, Profile::Dev)?;
    packer.pack(&packages, None)?;
    let older = older::ensure(&packer, target, &packages)?;
    let document = fs::read_to_string(workspace.root.join("docs/INSTALL.md")).context("docs/INSTALL.md cannot be read")?;
    let mut lab = Lab { root: root::ensure(&folder)?, packages, older, install: blocks(&document), installed: Vec::new(), folder };
    let mut rows = Vec::new();
    for scenario in SCENARIOS.iter().filter(|scenario| scenario.is_first || is_chosen(scenario)) {
        println!("\n-- {}: {}", scenario.name, scenario.what);
        let started = Instant::now();
        let result = (scenario.play)(&mut lab);
        let row = format!(
            "{:<18} {:<6} {:>6.1} s  ",
            scenario.name,
            if result.is_ok() { "passed" } else { "FAILED" },
            started.elapsed().as_secs_f64()
        );
        println!("{row}{}", result.as_ref().map_or_else(|error| format!("{error:#}"), Clone::clone));
        let is_lost = scenario.is_first && result.is_err();
        rows.push((row, result));
        if is_lost {
            break;
        }
    }
    println!();
    for (row, result) in &rows {
        println!("{row}{}", result.as_deref().unwrap_or("see above"));
    }
    let failed = rows.iter().filter(|(_, result)| result.is_err()).count();
    ensure!(failed == 0, "{failed} of {} scenarios failed; `cargo xtask appliance NAME` repeats one", rows.len());
    Ok(())
}

/// The commands of a document, block by block.
fn blocks(document: &str) -> Vec<String> {
    document.split("```sh\n").skip(1).filter_map(|rest| rest.split_once("```")).map(|(block, _)| block.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_of_commands_is_taken_and_nothing_else() {
        let document = "Text `a`.\n```sh\nls\n```\nMore.\n```yaml\nb: c\n```\n```sh\ncat <<END\nd\nEND\n```\n";
        assert_eq!(blocks(document), ["ls\n", "cat <<END\nd\nEND\n"]);
    }

    #[test]
    fn one_scenario_comes_before_all_others() {
        let first: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.is_first).collect();
        assert!(first[0] && !first[1..].contains(&true));
    }

    #[test]
    fn no_name_stands_twice() {
        let mut names: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SCENARIOS.len());
    }
}
