//! A package from an earlier commit, so that an upgrade begins at another program and not only at another number.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use std::{fs, io};

use anyhow::{Context, Result, ensure};

use super::OLDER;
use crate::command::{cargo, run};
use crate::package::{self, Packer};
use crate::runner::BUILT;
use crate::workspace::Workspace;

/// Where the older package is from. At a release this becomes the release before it; it needs a docs/INSTALL.md, which makes its own node.
const COMMIT: &str = "628263ad3ea3af7ff4508cbe82930b027f880c54";
/// So much of it is shown.
const SHOWN: usize = 10;

/// What the package with the lower number has in it.
pub(super) enum Older {
    /// The programs of [`COMMIT`].
    Commit,
    /// Those of this tree, because there is no earlier one.
    SameTree {
        /// What is missing.
        why: String,
    },
}

impl Older {
    /// For the line that says what came of a scenario.
    pub(super) fn told(&self) -> String {
        match self {
            Self::Commit => format!("{OLDER} of {}", &COMMIT[..SHOWN]),
            Self::SameTree { why } => format!("{OLDER} of THIS TREE, under a lower number only: {why}"),
        }
    }

    /// Whether its programs are others than the newer package's.
    pub(super) fn is_other(&self) -> bool {
        matches!(self, Self::Commit)
    }
}

/// Puts the older package beside the newer one. It is built once for each checkout, and kept as `older/COMMIT.deb` below cargo's target directory.
pub(super) fn ensure(packer: &Packer<'_>, target: &Path, packages: &Path) -> Result<Older> {
    let folder = target.join("older");
    let kept = folder.join(format!("{COMMIT}.deb"));
    if !kept.exists() {
        if let Err(why) = has_commit() {
            println!("the older package is made of this tree: {why}");
            packer.pack(packages, Some(OLDER))?;
            return Ok(Older::SameTree { why: why.to_string() });
        }
        build(packer, target, &folder, &kept).with_context(|| format!("the package of {COMMIT} cannot be made"))?;
    }
    let placed = packages.join(format!("strongroom_{OLDER}_{}.deb", package::architecture()?));
    fs::copy(&kept, &placed).with_context(|| format!("{} cannot be copied to {}", kept.display(), placed.display()))?;
    Ok(Older::Commit)
}

/// Whether the commit is in the history of what is checked out.
fn has_commit() -> Result<()> {
    let is_before = Command::new("git").args(["merge-base", "--is-ancestor", COMMIT, "HEAD"]).output().context("git cannot be started")?;
    ensure!(is_before.status.success(), "no history with {} here", &COMMIT[..SHOWN]);
    Ok(())
}

/// Builds the programs in a tree of their own, but on the third-party crates that cargo's target directory has, and leaves nothing but the package.
fn build(packer: &Packer<'_>, target: &Path, folder: &Path, kept: &Path) -> Result<()> {
    let started = Instant::now();
    let tree = folder.join("tree");
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("{} cannot be removed", folder.display()))?;
    }
    fs::create_dir_all(&tree).with_context(|| format!("{} cannot be made", tree.display()))?;
    let archive = tree.with_extension("tar");
    run(Command::new("git").args(["archive", "--output"]).arg(&archive).arg(COMMIT))?;
    run(Command::new("tar").args(["--extract", "--directory"]).arg(&tree).arg("--file").arg(&archive))?;
    renumber(&tree)?;
    let programs = tree.join("target");
    let before = entries(target)?;
    let workspace = Workspace::load(&tree)?;
    // The features of third-party crates are those of the whole workspace, as they are built already. The programs go into the tree.
    let mut build = cargo(["build"]);
    build.args(BUILT).args(["--bin", "strongroom", "--bin", "strongroomd", "--bin", "strongroom-device"]);
    build.current_dir(&tree).env("CARGO_INCREMENTAL", "0").env("CARGO_TARGET_DIR", &programs).env("CARGO_BUILD_BUILD_DIR", target);
    run(&mut build)?;
    let packed = packer.of(&workspace, &programs).pack(&programs.join("debian"), Some(OLDER))?;
    fs::rename(&packed, kept).with_context(|| format!("{} cannot be renamed", packed.display()))?;
    let added = entries(target)?.into_iter().filter(|path| before.binary_search(path).is_err());
    let mut bytes = 0;
    for path in added.chain([tree, archive]) {
        bytes += remove(&path).with_context(|| format!("{} cannot be removed", path.display()))?;
    }
    println!("{} made in {:.0} s; {} MB that were built for it are removed", kept.display(), started.elapsed().as_secs_f64(), bytes >> 20);
    Ok(())
}

/// Gives the tree the older number. Cargo knows a workspace's crates by name, number and folder below the root: with the number of this tree it would take what
/// it has built here for theirs, and the other way round.
fn renumber(tree: &Path) -> Result<()> {
    let path = tree.join("Cargo.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    let known = format!("version = \"{}\"\n", Workspace::load(tree)?.version()?);
    let numbered = text.replacen(&known, &format!("version = \"{OLDER}\"\n"), 1);
    ensure!(numbered != text, "{} has no line {known}", path.display());
    fs::write(&path, numbered).with_context(|| format!("{} cannot be written", path.display()))
}

/// What cargo keeps of each crate, sorted.
fn entries(target: &Path) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for folder in ["deps", "build", ".fingerprint"].map(|name| target.join("debug").join(name)) {
        let found = fs::read_dir(&folder).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>());
        all.extend(found.with_context(|| format!("{} cannot be read", folder.display()))?);
    }
    all.sort_unstable();
    Ok(all)
}

/// Removes a file, or a folder with all in it, and returns how many bytes that were.
fn remove(path: &Path) -> io::Result<u64> {
    let found = fs::symlink_metadata(path)?;
    if !found.is_dir() {
        return fs::remove_file(path).map(|()| found.len());
    }
    let mut bytes = 0;
    for entry in fs::read_dir(path)? {
        bytes += remove(&entry?.path())?;
    }
    fs::remove_dir(path).map(|()| bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_for_the_older_tree_says_so() {
        let same = Older::SameTree { why: "no history".to_owned() };
        assert!(same.told().contains("THIS TREE") && same.told().ends_with("no history") && !same.is_other());
        assert!(Older::Commit.told().contains(&COMMIT[..SHOWN]) && Older::Commit.is_other());
    }

    #[test]
    fn a_renumbered_tree_has_the_older_number_and_nothing_else_changed() {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let path = folder.path().join("Cargo.toml");
        let manifest = |version: &str| {
            format!(
                "[workspace]\nmembers = []\n[workspace.package]\nversion = \"{version}\"\n[workspace.dependencies]\na = {{ version = \"7.7.7\" }}\n"
            )
        };
        fs::write(&path, manifest("7.7.7")).expect("the folder takes a file");
        renumber(folder.path()).expect("it has a version");
        assert_eq!(fs::read_to_string(&path).expect("it is there"), manifest(OLDER));
        fs::write(&path, "[workspace]\nmembers = []\n").expect("the folder takes a file");
        assert!(renumber(folder.path()).is_err());
    }

    #[test]
    fn what_is_removed_is_counted() {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let tree = folder.path().join("tree");
        fs::create_dir_all(tree.join("a")).expect("the folder takes a folder");
        fs::write(tree.join("a/b"), "12345").expect("the folder takes a file");
        assert_eq!(remove(&tree).expect("it is ours"), 5);
        assert!(!tree.exists() && remove(&tree).is_err());
    }
}
