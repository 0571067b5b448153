//! Verifies the unit files as systemd would read them on a machine where the product is installed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use anyhow::{Context, Result};

use crate::command::run;
use crate::workspace::Workspace;

/// The document that has a unit for people to copy, and what the unit is called.
const DOCUMENTED: (&str, &str) = ("docs/PLUGINS.md", "strongroom-rows.service");

const KINDS: &[&str] = &["mount", "path", "service", "slice", "socket", "target", "timer"];

/// Runs `systemd-analyze verify` on copies that name the programs just built, since the installed ones are not there; also on the unit in the documents.
pub(crate) fn verify(workspace: &Workspace, target: &Path) -> Result<()> {
    let copies = target.join("units");
    fs::create_dir_all(&copies).with_context(|| format!("{} cannot be made", copies.display()))?;
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no"]);
    for unit in unit_files(&workspace.root.join("systemd"))? {
        let copy = copies.join(unit.file_name().expect("a file in a folder has a name"));
        let text = fs::read_to_string(&unit).with_context(|| format!("{} cannot be read", unit.display()))?;
        fs::write(&copy, with_built_programs(&text, &target.join("debug")))
            .with_context(|| format!("{} cannot be written", copy.display()))?;
        verify.arg(copy);
    }
    let (document, name) = DOCUMENTED;
    let text = fs::read_to_string(workspace.root.join(document)).with_context(|| format!("{document} cannot be read"))?;
    let unit = documented(&text, name).with_context(|| format!("{document} has no unit {name}"))?;
    let copy = copies.join(name);
    fs::write(&copy, with_built_programs(unit, &target.join("debug"))).with_context(|| format!("{} cannot be written", copy.display()))?;
    run(verify.arg(copy))
}

/// A unit that is quoted with its path in the first line.
fn documented<'d>(document: &'d str, name: &str) -> Option<&'d str> {
    let head = format!("```ini\n# /etc/systemd/system/{name}\n");
    let (_, rest) = document.split_once(&head)?;
    rest.split_once("```").map(|(unit, _)| unit)
}

fn unit_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).and_then(|entries| entries.collect::<io::Result<Vec<_>>>());
    let entries = match entries {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        entries => entries.with_context(|| format!("{} cannot be read", folder.display()))?,
    };
    let is_unit = |path: &PathBuf| path.extension().is_some_and(|kind| KINDS.iter().any(|known| kind == *known));
    let mut units: Vec<_> = entries.iter().map(fs::DirEntry::path).filter(is_unit).collect();
    units.sort();
    Ok(units)
}

/// Replaces the program of each `Exec...=` line by the built one of the same name, if there is one.
fn with_built_programs(unit: &str, built: &Path) -> String {
    let line = |line: &str| {
        let program = line.split_once('=').filter(|(key, _)| key.starts_with("Exec"));
        let program =
            program.and_then(|(_, value)| value.split_whitespace().next()).map(|word| word.trim_start_matches(['-', '+', '!', ':', '@']));
        let replacement = program.and_then(|program| Some(built.join(Path::new(program).file_name()?))).filter(|path| path.is_file());
        match program.zip(replacement) {
            Some((program, replacement)) => line.replacen(program, &replacement.to_string_lossy(), 1),
            None => line.to_owned(),
        }
    };
    unit.lines().map(|text| line(text) + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(unit: &str, expected: &str) {
        let built = tempfile::tempdir().expect("a temporary folder can be made");
        fs::write(built.path().join("strongroomd"), "").expect("the folder takes a file");
        assert_eq!(with_built_programs(unit, built.path()), expected.replace("BUILT", &built.path().to_string_lossy()));
    }

    #[test]
    fn a_program_that_was_built_stands_for_the_installed_one() {
        check("[Service]\nExecStart=/usr/bin/strongroomd --config /etc/s\n", "[Service]\nExecStart=BUILT/strongroomd --config /etc/s\n");
        check("ExecStartPre=-/usr/bin/strongroomd\n", "ExecStartPre=-BUILT/strongroomd\n");
    }

    #[test]
    fn other_programs_and_other_keys_stay() {
        check("ExecStart=/bin/true\nDocumentation=/usr/bin/strongroomd\n", "ExecStart=/bin/true\nDocumentation=/usr/bin/strongroomd\n");
    }

    #[test]
    fn a_quoted_unit_is_found_by_its_name() {
        let document = "Text.\n```ini\n# /etc/systemd/system/a.service\n[Unit]\n```\nMore.\n```yaml\n```\n";
        assert_eq!(documented(document, "a.service"), Some("[Unit]\n"));
        assert_eq!(documented(document, "b.service"), None);
    }

    #[test]
    fn only_unit_files_are_taken() {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        for name in ["b.socket", "a.service", "strongroom.sysusers", "config.yaml"] {
            fs::write(folder.path().join(name), "").expect("the folder takes a file");
        }
        let found = unit_files(folder.path()).expect("the folder can be read");
        assert_eq!(found, [folder.path().join("a.service"), folder.path().join("b.socket")]);
        assert!(unit_files(&folder.path().join("absent")).expect("an absent folder has no units").is_empty());
    }
}
