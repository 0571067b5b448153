//! Tests the source text itself against the rules that no compiler checks.

mod documents;
mod manifests;
mod requirements;
mod source;
mod tokens;

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::workspace::Workspace;

/// One broken rule at one place.
struct Violation {
    /// Relative to the root.
    file: PathBuf,
    /// From 1.
    line: usize,
    /// The rule's short name.
    rule: &'static str,
    message: String,
}

/// What a pass over the sources found.
#[derive(Default)]
struct Findings {
    violations: Vec<Violation>,
    /// Worth a look, but no reason to fail.
    warnings: Vec<String>,
}

impl Findings {
    fn add(&mut self, file: &Path, line: usize, rule: &'static str, message: impl Into<String>) {
        self.violations.push(Violation { file: file.to_owned(), line, rule, message: message.into() });
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: {}: {}", self.file.display(), self.line, self.rule, self.message)
    }
}

/// Prints every violation; an error if there is one.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let findings = examine(workspace)?;
    for warning in &findings.warnings {
        println!("warning: {warning}");
    }
    for violation in &findings.violations {
        println!("{violation}");
    }
    match findings.violations.len() {
        0 => println!("{} crates are tidy", workspace.members.len()),
        broken => bail!("places that break a rule of the source: {broken}"),
    }
    Ok(())
}

fn examine(workspace: &Workspace) -> Result<Findings> {
    let mut findings = Findings::default();
    let architecture = documents::Architecture::read(&workspace.root)?;
    architecture.check_paths(workspace, &mut findings)?;
    requirements::check(workspace, &mut findings)?;
    for member in &workspace.members {
        manifests::check(member, &mut findings);
        for file in source::files(&workspace.root, &member.folder)? {
            source::check(workspace, member, &file, &architecture, &mut findings)?;
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests;
