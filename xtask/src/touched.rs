//! Which crates the working tree touches, for the fast check.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::workspace::{Member, Workspace};

/// Files outside every crate that decide how all of them are built.
const SHARED: &[&str] = &[".cargo", ".config", "Cargo.lock", "Cargo.toml", "clippy.toml"];

/// What a set of changed files asks to be tested.
#[derive(Debug, PartialEq)]
pub(crate) enum Touched<'a> {
    /// A file that every crate depends on has changed, or there is no commit to compare with.
    Everything,
    /// These crates; none if only documents have changed.
    Crates(Vec<&'a str>),
}

/// What differs from the last commit, untracked files included; in a clean tree, what the last commit changed.
pub(crate) fn crates(workspace: &Workspace) -> Result<Touched<'_>> {
    let untracked = git(&["ls-files", "-z", "--others", "--exclude-standard"])?;
    let changed = git(&["diff", "-z", "--name-only", "HEAD"])?;
    let uncommitted = untracked.zip(changed).map(|(untracked, changed)| untracked + &changed);
    let files = match uncommitted {
        Some(files) if files.is_empty() => git(&["diff", "-z", "--name-only", "HEAD~1", "HEAD"])?,
        files => files,
    };
    Ok(files.map_or(Touched::Everything, |files| of_files(&workspace.members, &files)))
}

/// What git prints, or `None` if it refuses: no repository, or not enough commits.
fn git(arguments: &[&str]) -> Result<Option<String>> {
    let output = Command::new("git").args(arguments).output().context("git cannot be started")?;
    Ok(output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// `files`: paths from the root, each ended by a zero byte.
fn of_files<'a>(members: &'a [Member], files: &str) -> Touched<'a> {
    let files = files.split_terminator('\0').map(Path::new);
    let mut names = Vec::new();
    for file in files {
        if SHARED.iter().any(|shared| file.starts_with(shared)) {
            return Touched::Everything;
        }
        let holders = members.iter().filter(|member| file.starts_with(&member.folder));
        names.extend(holders.max_by_key(|member| member.folder.components().count()).map(|member| member.name.as_str()));
    }
    names.sort_unstable();
    names.dedup();
    Touched::Crates(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(files: &[&str], expected: Touched<'_>) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the repository");
        let workspace = Workspace::load(root).expect("the manifests can be read");
        let files: String = files.iter().map(|file| format!("{file}\0")).collect();
        assert_eq!(of_files(&workspace.members, &files), expected, "{files:?}");
    }

    #[test]
    fn a_file_belongs_to_the_innermost_crate() {
        check(&["hsm/helper/src/main.rs"], Touched::Crates(vec!["hsm-helper"]));
        check(&["hsm/src/lib.rs"], Touched::Crates(vec!["hsm"]));
    }

    #[test]
    fn a_crate_is_named_once() {
        check(&["keys/src/id.rs", "kmip/Cargo.toml", "keys/src/lib.rs"], Touched::Crates(vec!["keys", "kmip"]));
    }

    #[test]
    fn documents_touch_no_crate() {
        check(&["README.md", "docs/operations.md", "keystone/notes.txt"], Touched::Crates(vec![]));
    }

    #[test]
    fn what_every_build_reads_touches_everything() {
        check(&["README.md", "Cargo.lock"], Touched::Everything);
        check(&[".cargo/config.toml"], Touched::Everything);
    }
}
