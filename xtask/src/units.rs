//! Verifies the unit files as systemd would read them on a machine where the product is installed, and that they give away no more than is explained.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use anyhow::{Context, Result, bail, ensure};

use crate::command::shown;
use crate::workspace::Workspace;

/// The document that has a unit for people to copy, and what the unit is called.
const DOCUMENTED: (&str, &str) = ("docs/PLUGINS.md", "strongroom-rows.service");
/// Has a row in its table for everything that is left open to the services.
const EXPLAINED: &str = "docs/SYSTEMD.md";
/// The exposure that `systemd-analyze security` may find at most, in tenths.
const EXPOSURE_MAX: &str = "11";
/// A drop-in for a newer systemd than the gate's, which says so itself.
const NEWER: &str = "notify-reload.conf";

const KINDS: &[&str] = &["mount", "path", "service", "slice", "socket", "target", "timer"];

/// Runs `systemd-analyze` on copies that name the programs just built, since the installed ones are not there; also on the drop-ins, with every line that is
/// commented out in them taken for meant, and on the unit in the documents.
pub(crate) fn verify(workspace: &Workspace, target: &Path) -> Result<()> {
    let (copies, built) = (target.join("units"), target.join("debug"));
    if copies.exists() {
        fs::remove_dir_all(&copies).with_context(|| format!("{} cannot be removed", copies.display()))?;
    }
    let folder = workspace.root.join("systemd");
    let units = files(&folder, |kind| KINDS.contains(&kind))?;
    let (mut plain, mut with_drop_ins) = (Vec::new(), Vec::new());
    for unit in &units {
        let text = with_built_programs(&read(unit)?, &built);
        plain.push(write(&copies, unit, &text)?);
        with_drop_ins.push(write(&copies.join("with"), unit, &text)?);
    }
    let services: Vec<_> = plain.iter().filter(|unit| kind(unit) == Some("service")).cloned().collect();
    for service in &services {
        let name = service.file_name().expect("a file in a folder has a name").to_string_lossy();
        for drop_in in files(&folder.join("drop-ins"), |kind| kind == "conf")?.iter().filter(|path| !path.ends_with(NEWER)) {
            write(&copies.join("with").join(format!("{name}.d")), drop_in, &uncommented(&read(drop_in)?))?;
        }
    }
    let (document, name) = DOCUMENTED;
    let text = read(&workspace.root.join(document))?;
    let unit = documented(&text, name).with_context(|| format!("{document} has no unit {name}"))?;
    plain.push(write(&copies, Path::new(name), &with_built_programs(unit, &built))?);
    verified(&copies, &plain)?;
    verified(&copies, &with_drop_ins)?;
    let explained = explained(&read(&workspace.root.join(EXPLAINED))?);
    services.iter().try_for_each(|service| exposed(service, &explained))
}

/// What systemd has to say of our units is an error, also what it only warns of: a key that it does not know protects nobody.
fn verified(copies: &Path, units: &[PathBuf]) -> Result<()> {
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no"]).args(units);
    println!("$ {}", shown(&verify));
    let said = verify.output().context("systemd-analyze cannot be started")?;
    let text = String::from_utf8_lossy(&said.stderr);
    let of_ours = |line: &&str| {
        let names = units.iter().filter_map(|unit| unit.file_name()?.to_str());
        line.contains(&*copies.to_string_lossy()) || names.into_iter().any(|name| line.contains(name))
    };
    let faults: Vec<_> = text.lines().filter(of_ours).collect();
    ensure!(said.status.success() && faults.is_empty(), "systemd-analyze verify: {}: {text}", said.status);
    Ok(())
}

/// A service is no more exposed than it was, and each thing that is left open to it has its reason in the document, and nothing else has.
fn exposed(service: &Path, explained: &BTreeSet<String>) -> Result<()> {
    let mut security = Command::new("systemd-analyze");
    // The marks of the table are the locale's.
    security.env("LC_ALL", "C.UTF-8");
    security.args(["security", "--no-pager", "--offline=true", "--threshold", EXPOSURE_MAX]).arg(service);
    println!("$ {}", shown(&security));
    let said = security.output().context("systemd-analyze cannot be started")?;
    let text = String::from_utf8_lossy(&said.stdout);
    let open = open(&text);
    if !said.status.success() {
        bail!("{}: exposed by more than {EXPOSURE_MAX} tenths: {}", service.display(), open.into_iter().collect::<Vec<_>>().join(", "));
    }
    let unexplained: Vec<_> = open.difference(explained).collect();
    let closed: Vec<_> = explained.difference(&open).collect();
    ensure!(unexplained.is_empty(), "{EXPLAINED} does not say why {} has {unexplained:?}", service.display());
    ensure!(closed.is_empty(), "{EXPLAINED} has a reason for {closed:?}, which {} does not leave open", service.display());
    Ok(())
}

/// The first column of the lines that `systemd-analyze security` marks.
fn open(table: &str) -> BTreeSet<String> {
    let marked = table.lines().filter_map(|line| line.trim_start().strip_prefix('✗'));
    marked.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

/// The same names from the rows of the document that begin with one.
fn explained(document: &str) -> BTreeSet<String> {
    let rows = document.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    rows.map(|(name, _)| name).filter(|name| name.contains('=')).map(|name| name.replace("\\|", "|")).collect()
}

/// A drop-in whose examples are meant: a remark has a space after its sign, and an example has none.
fn uncommented(drop_in: &str) -> String {
    let line = |line: &str| line.strip_prefix('#').filter(|rest| rest.starts_with(char::is_alphabetic)).unwrap_or(line).to_owned();
    drop_in.lines().map(|text| line(text) + "\n").collect()
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))
}

/// Writes a copy under the same name into `folder`.
fn write(folder: &Path, file: &Path, text: &str) -> Result<PathBuf> {
    let copy = folder.join(file.file_name().expect("a file in a folder has a name"));
    fs::create_dir_all(folder).and_then(|()| fs::write(&copy, text)).with_context(|| format!("{} cannot be written", copy.display()))?;
    Ok(copy)
}

fn kind(file: &Path) -> Option<&str> {
    file.extension()?.to_str()
}

/// A unit that is quoted with its path in the first line.
fn documented<'d>(document: &'d str, name: &str) -> Option<&'d str> {
    let head = format!("```ini\n# /etc/systemd/system/{name}\n");
    let (_, rest) = document.split_once(&head)?;
    rest.split_once("```").map(|(unit, _)| unit)
}

/// The files of a folder of such kinds, in order.
fn files(folder: &Path, is_meant: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).and_then(|entries| entries.collect::<io::Result<Vec<_>>>());
    let entries = entries.with_context(|| format!("{} cannot be read", folder.display()))?;
    let mut files: Vec<_> = entries.iter().map(fs::DirEntry::path).filter(|path| kind(path).is_some_and(&is_meant)).collect();
    files.sort();
    Ok(files)
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
        let found = files(folder.path(), |kind| KINDS.contains(&kind)).expect("the folder can be read");
        assert_eq!(found, [folder.path().join("a.service"), folder.path().join("b.socket")]);
    }

    #[test]
    fn what_is_left_open_is_read_from_both_tables() {
        let said = "  NAME  DESCRIPTION\n✓ PrivateTmp=  Service has none\n✗ RestrictAddressFamilies=~AF_(INET|INET6)  Service may  0.3\n\n→ Overall\n";
        let document = "| setting | why |\n|---|---|\n| `RestrictAddressFamilies=~AF_(INET\\|INET6)` | it serves |\n| `78` | a code |\n";
        assert_eq!(open(said), explained(document));
        assert_eq!(open(said), BTreeSet::from(["RestrictAddressFamilies=~AF_(INET|INET6)".to_owned()]));
    }

    #[test]
    fn an_example_in_a_drop_in_is_meant_and_a_remark_is_not() {
        assert_eq!(uncommented("# Keep it.\n#After=a\n[Service]\n"), "# Keep it.\nAfter=a\n[Service]\n");
    }

    #[test]
    fn a_key_that_systemd_does_not_know_is_a_fault() {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let unit = |text: &str| write(folder.path(), Path::new("a.service"), text).expect("the folder takes a file");
        verified(folder.path(), &[unit("[Service]\nExecStart=/bin/true\n")]).expect("nothing is wrong with it");
        verified(folder.path(), &[unit("[Service]\nExecStart=/bin/true\nBogus=1\n")]).expect_err("there is no such key");
    }

    #[test]
    fn core_and_edge_are_confined_alike() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../systemd");
        let settings = |role: &str| -> Vec<String> {
            let text = read(&folder.join(format!("strongroom-{role}.service"))).expect("the unit is there");
            let is_its_own = |line: &&str| line.starts_with('#') || line.starts_with("LoadCredentialEncrypted=");
            text.lines()
                .filter(|line| !is_its_own(line))
                .map(|line| line.replace(&format!(", {role}"), "").replace(&format!("/{role}.yaml"), ""))
                .collect()
        };
        assert_eq!(settings("core"), settings("edge"));
    }
}
