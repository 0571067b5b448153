//! Rules of ARCHITECTURE.md: the paths it names exist, and it is the place where exceptions for unsafe code are granted.

use std::ffi::OsStr;
use std::path::Path;
use std::{fs, io};

use anyhow::{Context, Result};

use super::{Findings, source};
use crate::workspace::Workspace;

const FILE: &str = "ARCHITECTURE.md";

/// The text of ARCHITECTURE.md.
pub(super) struct Architecture {
    text: String,
}

impl Architecture {
    /// Reads it; without the file nothing is named.
    pub(super) fn read(root: &Path) -> Result<Self> {
        match fs::read_to_string(root.join(FILE)) {
            Ok(text) => Ok(Self { text }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self { text: String::new() }),
            Err(error) => Err(error).with_context(|| format!("{FILE} cannot be read")),
        }
    }

    /// Whether a line that speaks of `unsafe` names this file.
    pub(super) fn names_for_unsafe(&self, file: &Path) -> bool {
        let lines = self.text.lines().filter(|line| line.contains("unsafe"));
        lines.flat_map(quoted).any(|name| Path::new(name) == file)
    }

    /// Checks that every path in backticks exists; a bare `name.rs` must be the name of some file.
    pub(super) fn check_paths(&self, workspace: &Workspace, findings: &mut Findings) -> Result<()> {
        let mut files = Vec::new();
        for member in &workspace.members {
            files.extend(source::files(&workspace.root, &member.folder)?);
        }
        let exists = |name: &str| {
            let is_file_name = |file: &Path| file.file_name() == Some(OsStr::new(name));
            workspace.root.join(name).exists() || files.iter().any(|file| is_file_name(file))
        };
        for (index, line) in self.text.lines().enumerate() {
            for name in quoted(line).filter(|name| is_path(name) && !exists(name)) {
                findings.add(Path::new(FILE), index + 1, "paths", format!("{name} does not exist"));
            }
        }
        Ok(())
    }
}

/// What stands between backticks in one line.
pub(super) fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// Whether this is meant as a path in the repository: `a/b` in small letters, or any name with the ending of a source file.
fn is_path(name: &str) -> bool {
    let is_elsewhere = name.starts_with('/') || (name.starts_with('.') && !name.contains('/'));
    let is_spelt = |letter: fn(char) -> bool| name.chars().all(|c| letter(c) || c.is_ascii_digit() || "._-/".contains(c));
    let has_ending = [".md", ".proto", ".rs", ".toml"].iter().any(|ending| name.ends_with(ending));
    let is_folder = name.contains('/') && is_spelt(|c| c.is_ascii_lowercase());
    !is_elsewhere && (is_folder || (has_ending && is_spelt(|c| c.is_ascii_alphabetic())))
}
