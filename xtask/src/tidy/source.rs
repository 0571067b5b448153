//! Rules of the Rust files: where unsafe code, tokio and anyhow stand, what quiet crates keep away from, how a file begins.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Findings;
use super::documents::Architecture;
use super::manifests::QUIET;
use super::tokens::{self, Token};
use crate::workspace::{Member, Workspace};

/// Where unsafe code may stand, besides the files that ARCHITECTURE.md names for it.
const UNSAFE: &[&str] = &["hsm/helper", "secret"];

/// Where tokio may stand: the crates that own a runtime, and in `seal` only the external custodians.
const TOKIO: &[&str] = &["benches", "daemon", "plugin", "seal/src/kms", "seal/src/kms.rs", "softhsm-test", "storage"];
/// Crates that are tools as a whole: whoever reads their errors has started them.
const TOOLS: &[&str] = &["benches", "xtask"];

/// Modules of `std` that reach the world.
const LOUD_MODULES: &[&str] = &["env", "fs", "net", "process", "thread"];
/// Types and functions that read a clock or make randomness.
const LOUD_NAMES: &[&str] = &["Instant", "OsRng", "SysRng", "SystemRandom", "SystemTime", "ThreadRng", "getrandom"];
/// Crates that do either, or write a log.
const LOUD_CRATES: &[&str] = &["log", "rand", "tracing"];
const LOUD_MACROS: &[&str] = &["dbg", "eprint", "eprintln", "print", "println"];

/// A file above this is reported, since it is rarely one idea; it is no violation.
const LINES_PLEASANT_MAX: usize = 700;

/// Marks of unfinished work, written apart here so that this file does not hold them.
const UNFINISHED: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME")];

/// The `.rs` files of one crate, sorted, relative to the root; a nested crate's are its own.
pub(super) fn files(root: &Path, folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(root.join(&folder)).with_context(|| format!("{} cannot be read", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                let is_another = root.join(&path).join("Cargo.toml").exists();
                if !is_another && entry.file_name() != "target" {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Checks one file.
pub(super) fn check(
    workspace: &Workspace,
    member: &Member,
    path: &Path,
    architecture: &Architecture,
    findings: &mut Findings,
) -> Result<()> {
    let text = fs::read_to_string(workspace.root.join(path)).with_context(|| format!("{} cannot be read", path.display()))?;
    check_text(path, &text, findings);
    let tokens = match tokens::read(&text) {
        Ok(tokens) => tokens,
        Err(error) => {
            findings.add(path, error.span().start().line.max(1), "syntax", "this is not Rust");
            return Ok(());
        }
    };
    let mut file = File { path, tokens: &tokens, findings };
    file.refuse_unfinished();
    if !within(path, UNSAFE) && !architecture.names_for_unsafe(path) {
        file.refuse_word("unsafe", "unsafe", "belongs to secret, hsm/helper and the files that ARCHITECTURE.md names for it");
    }
    if !within(path, TOKIO) {
        file.refuse_word("layers", "tokio", "belongs to daemon, storage, plugin and seal/src/kms");
    }
    if !TOOLS.contains(&member.name.as_str()) && !is_main(member, path) {
        file.refuse_word("errors", "anyhow", "belongs to main files: a crate has its own error enum");
    }
    if QUIET.contains(&member.name.as_str()) && !is_test(member, path) {
        let shipped = tokens::outside_tests(&tokens);
        File { path, tokens: &shipped, findings }.refuse_noise();
    }
    Ok(())
}

fn within(path: &Path, places: &[&str]) -> bool {
    places.iter().any(|place| path.starts_with(place))
}

/// `src/main.rs`, `src/bin/NAME.rs` or `src/bin/NAME/main.rs`.
fn is_main(member: &Member, path: &Path) -> bool {
    let source = member.folder.join("src");
    let programs = source.join("bin");
    let is_root = path.file_name().is_some_and(|name| name == "main.rs");
    let folder = path.parent();
    folder == Some(&programs) || (is_root && (folder == Some(&source) || folder.and_then(Path::parent) == Some(&programs)))
}

/// A file that is compiled for tests only.
fn is_test(member: &Member, path: &Path) -> bool {
    let inner = path.strip_prefix(&member.folder).unwrap_or(path);
    within(inner, &["benches", "examples", "tests"]) || inner.iter().any(|part| part == "tests" || part == "tests.rs")
}

fn check_text(path: &Path, text: &str, findings: &mut Findings) {
    if !text.starts_with("//!") {
        findings.add(path, 1, "first line", "begin with `//!` and one sentence on what the file is");
    }
    for (index, line) in text.lines().enumerate() {
        let mut words = line.split(|c: char| !c.is_alphanumeric());
        if let Some(mark) = words.find(|word| UNFINISHED.contains(word)) {
            findings.add(
                path,
                index + 1,
                "unfinished",
                format!("{mark} does not stay in the source: do it, or note it where work is planned"),
            );
        }
    }
    let lines = text.lines().count();
    if lines > LINES_PLEASANT_MAX {
        findings.warnings.push(format!("{} has {lines} lines: is it one idea?", path.display()));
    }
}

struct File<'a> {
    path: &'a Path,
    tokens: &'a [Token],
    findings: &'a mut Findings,
}

impl File<'_> {
    fn reads(&self, at: usize, pattern: &str) -> bool {
        tokens::reads(self.tokens, at, pattern)
    }

    fn refuse_unfinished(&mut self) {
        for (at, token) in self.tokens.iter().enumerate() {
            if self.reads(at, "todo !") || self.reads(at, "unimplemented !") {
                self.findings.add(self.path, token.line, "unfinished", format!("{}! does not stay in the source", token.text));
            }
        }
    }

    /// Reports each place where `word` stands as a word of its own.
    fn refuse_word(&mut self, rule: &'static str, word: &str, why: &str) {
        for token in self.tokens.iter().filter(|token| token.text == word) {
            self.findings.add(self.path, token.line, rule, format!("{word} {why}"));
        }
    }

    /// The quiet rule: no way to the world, a clock, randomness or a log.
    fn refuse_noise(&mut self) {
        for (at, token) in self.tokens.iter().enumerate() {
            if let Some(noise) = self.noise(at) {
                let message = format!("{noise} is not for a quiet crate: take what it gives as an argument");
                self.findings.add(self.path, token.line, "quiet", message);
            }
        }
    }

    fn noise(&self, at: usize) -> Option<String> {
        let word = self.tokens[at].text.as_str();
        let begins_path = self.reads(at + 1, ": :") && !(at > 0 && self.reads(at - 1, ":"));
        let is_used = at > 0 && self.reads(at - 1, "use");
        if LOUD_NAMES.contains(&word) || (LOUD_CRATES.contains(&word) && (begins_path || is_used)) {
            return Some(word.to_owned());
        }
        if LOUD_MACROS.contains(&word) && self.reads(at + 1, "!") {
            return Some(format!("{word}!"));
        }
        let modules = if self.reads(at, "std : :") { self.path_ends(at + 3) } else { Vec::new() };
        modules.into_iter().find(|module| LOUD_MODULES.contains(module)).map(|module| format!("std::{module}"))
    }

    /// The names a path goes on with: one, or those that stand first in each part of a group `{a, b::c}`.
    fn path_ends(&self, at: usize) -> Vec<&str> {
        if !self.reads(at, "{") {
            return self.tokens.get(at).map(|token| token.text.as_str()).into_iter().collect();
        }
        let mut names = Vec::new();
        let mut depth = 0_usize;
        for pair in self.tokens[at..].windows(2) {
            match pair[0].text.as_str() {
                "{" => depth += 1,
                "}" => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                break;
            }
            if depth == 1 && ["{", ","].contains(&pair[0].text.as_str()) {
                names.push(pair[1].text.as_str());
            }
        }
        names
    }
}
