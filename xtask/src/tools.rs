//! Programs for packages that come from the crate registry alone: built once, below cargo's target directory.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use anyhow::{Context, Result};

use crate::command::{cargo, run};

/// Crate, its release, and the features it is built with. Together they take two minutes on two cores.
const TOOLS: &[(&str, &str, &[&str])] = &[
    // The SBOM: what the programs are made of, in the form that scanners read.
    ("cargo-cyclonedx", "0.5.9", &[]),
    // The package. Its own xz library would be built from C; the program `xz` is there.
    ("cargo-deb", "3.8.0", &["--no-default-features"]),
];

/// A folder with all of them.
#[derive(Clone)]
pub(crate) struct Tools {
    folder: PathBuf,
}

impl Tools {
    /// Builds those that are missing, or of another release.
    pub(crate) fn install(target: &Path) -> Result<Self> {
        let folder = target.join("tools");
        let listed = fs::read_to_string(folder.join(".crates.toml")).unwrap_or_default();
        for (name, version, features) in TOOLS.iter().filter(|(name, version, _)| !is_listed(&listed, name, version)) {
            let mut install = cargo(["install", "--quiet", "--locked", &format!("{name}@{version}")]);
            install.args(*features).arg("--root").arg(&folder).arg("--target-dir").arg(folder.join("build"));
            run(&mut install)?;
        }
        // Nobody builds them twice.
        match fs::remove_dir_all(folder.join("build")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).context("what the tools were built in cannot be removed"),
            _ => Ok(Self { folder }),
        }
    }

    /// One of them.
    pub(crate) fn command(&self, name: &str) -> Command {
        Command::new(self.folder.join("bin").join(name))
    }
}

/// Whether cargo's own list of what lies in a folder has this release.
fn is_listed(list: &str, name: &str, version: &str) -> bool {
    list.lines().any(|line| line.starts_with(&format!("\"{name} {version} (")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_release_of_a_tool_is_not_taken_for_it() {
        let list = "[v1]\n\"cargo-deb 3.8.0 (registry+https://github.com/rust-lang/crates.io-index)\" = [\"cargo-deb\"]\n";
        assert!(is_listed(list, "cargo-deb", "3.8.0"));
        assert!(!is_listed(list, "cargo-deb", "3.8"));
        assert!(!is_listed(list, "cargo-deb", "3.8.1"));
        assert!(!is_listed(list, "cargo", "3.8.0"));
        assert!(!is_listed("", "cargo-deb", "3.8.0"));
    }
}
