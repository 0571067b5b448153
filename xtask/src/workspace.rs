//! The repository as the chores see it: its root, its member crates with their manifests, its built programs.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context, Result};
use toml::Table;

/// The checkout that this program was built from.
pub(crate) struct Workspace {
    /// Absolute path of the repository.
    pub(crate) root: PathBuf,
    /// The root manifest.
    pub(crate) manifest: Table,
    /// Every member crate, in the root manifest's order.
    pub(crate) members: Vec<Member>,
}

/// One member crate.
pub(crate) struct Member {
    /// The package's name.
    pub(crate) name: String,
    /// Its folder, relative to the root: `hsm/helper`.
    pub(crate) folder: PathBuf,
    /// Its manifest as written, for line numbers.
    pub(crate) text: String,
    /// Its manifest.
    pub(crate) manifest: Table,
}

impl Workspace {
    /// The workspace that holds this crate; it becomes the current directory, so that every printed path and command fits it.
    pub(crate) fn here() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the repository");
        env::set_current_dir(root).with_context(|| format!("{} cannot be entered", root.display()))?;
        Self::load(root)
    }

    /// The version that all member crates share.
    pub(crate) fn version(&self) -> Result<String> {
        let version = self.manifest.get("workspace").and_then(|workspace| workspace.get("package")?.get("version")?.as_str());
        version.map(str::to_owned).context("the root Cargo.toml has no workspace.package.version")
    }

    /// Who stands for the package.
    pub(crate) fn maintainer(&self) -> Result<&str> {
        let packaged = self.members.iter().find_map(|member| member.manifest.get("package")?.get("metadata")?.get("deb")?.as_table());
        packaged.and_then(|deb| deb.get("maintainer")?.as_str()).context("no manifest has package.metadata.deb.maintainer")
    }

    /// Reads the manifests under `root`.
    pub(crate) fn load(root: &Path) -> Result<Self> {
        let (_, manifest) = read_manifest(&root.join("Cargo.toml"))?;
        let listed = manifest.get("workspace").and_then(|workspace| workspace.get("members"));
        let listed = listed.and_then(toml::Value::as_array).context("the root Cargo.toml lists no workspace.members")?;
        let folders = listed.iter().filter_map(toml::Value::as_str);
        let members = folders.map(|folder| Member::load(root, Path::new(folder))).collect::<Result<_>>()?;
        Ok(Self { root: root.to_owned(), manifest, members })
    }

    /// Whether the compiler in use is the one `rust-version` names, for which the lints are kept clean.
    pub(crate) fn has_named_compiler(&self, rustc_version: &str) -> bool {
        let named = self.manifest.get("workspace").and_then(|workspace| workspace.get("package")?.get("rust-version")?.as_str());
        let in_use = rustc_version.split_whitespace().nth(1);
        named.zip(in_use).is_some_and(|(named, in_use)| in_use == named || in_use.starts_with(&format!("{named}.")))
    }
}

impl Member {
    fn load(root: &Path, folder: &Path) -> Result<Self> {
        let path = root.join(folder).join("Cargo.toml");
        let (text, manifest) = read_manifest(&path)?;
        let name = manifest.get("package").and_then(|package| package.get("name")?.as_str());
        let name = name.with_context(|| format!("{} has no package.name", path.display()))?.to_owned();
        Ok(Self { name, folder: folder.to_owned(), text, manifest })
    }
}

fn read_manifest(path: &Path) -> Result<(String, Table)> {
    let text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let manifest = text.parse().with_context(|| format!("{} is not TOML", path.display()))?;
    Ok((text, manifest))
}

/// Cargo's target directory: two above this program, which cargo built as `target/debug/xtask`.
pub(crate) fn target_directory() -> Result<PathBuf> {
    let this = env::current_exe().context("the path of this program is unknown")?;
    Ok(this.ancestors().nth(2).context("this program was not started by cargo: use `cargo xtask`")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rustc: &str, expected: bool) {
        let manifest = "[workspace.package]\nrust-version = \"1.95\"".parse().expect("valid TOML");
        let workspace = Workspace { root: PathBuf::new(), manifest, members: Vec::new() };
        assert_eq!(workspace.has_named_compiler(rustc), expected, "{rustc}");
    }

    #[test]
    fn any_patch_release_of_the_named_version_is_the_named_compiler() {
        check("rustc 1.95.0 (59807616e 2026-04-14)", true);
        check("rustc 1.95.3 (000000000 2026-06-01)", true);
    }

    #[test]
    fn an_older_or_newer_version_is_not_the_named_compiler() {
        check("rustc 1.94.1 (000000000 2026-03-01)", false);
        check("rustc 1.950.0 (000000000 2030-03-01)", false);
        check("rustc 1.9.0", false);
        check("", false);
    }

    #[test]
    fn every_member_of_this_repository_is_found() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the repository");
        let workspace = Workspace::load(root).expect("the manifests can be read");
        assert!(workspace.members.iter().any(|member| member.name == "hsm-helper" && member.folder == Path::new("hsm/helper")));
    }
}
