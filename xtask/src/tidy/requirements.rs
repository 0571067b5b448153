//! Rules of the documents that name tests: the tests exist, and in docs/REQUIREMENTS-MAP.md every requirement has one row.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::Findings;
use super::documents::quoted;
use crate::workspace::Workspace;

const FILE: &str = "docs/REQUIREMENTS-MAP.md";
/// What is offered to clients of KMIP, and which test shows it.
const KMIP: &str = "docs/KMIP.md";
/// The chapters and how many requirements each has.
const CHAPTERS: [(&str, usize); 5] = [("IVK", 32), ("KS", 32), ("ARCH", 59), ("KMIP", 37), ("KEK", 30)];

/// Checks those documents that there are.
pub(super) fn check(workspace: &Workspace, findings: &mut Findings) -> Result<()> {
    check_map(workspace, findings)?;
    let path = workspace.root.join(KMIP);
    if !path.exists() {
        return Ok(());
    }
    let text = fs::read_to_string(&path).with_context(|| format!("{KMIP} cannot be read"))?;
    for (index, line) in text.lines().enumerate() {
        check_tests(&workspace.root, (KMIP, index + 1), line, findings)?;
    }
    Ok(())
}

fn check_map(workspace: &Workspace, findings: &mut Findings) -> Result<()> {
    let path = workspace.root.join(FILE);
    if !path.exists() {
        return Ok(());
    }
    let text = fs::read_to_string(&path).with_context(|| format!("{FILE} cannot be read"))?;
    let mut rows: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let mut cells = line.split('|').skip(1).map(str::trim);
        let Some(id) = cells.next().filter(|cell| is_id(cell)) else { continue };
        let count = rows.entry(id).or_default();
        *count += 1;
        if *count > 1 {
            findings.add(Path::new(FILE), index + 1, "requirements", format!("{id} has a second row"));
        }
        let proof = cells.nth(1).unwrap_or_default();
        if proof.is_empty() {
            findings.add(Path::new(FILE), index + 1, "requirements", format!("{id} names neither a test nor `open`"));
        }
        check_tests(&workspace.root, (FILE, index + 1), proof, findings)?;
    }
    for (chapter, count) in CHAPTERS {
        for missing in (1..=count).map(|number| format!("{chapter}-{number}")).filter(|id| !rows.contains_key(id.as_str())) {
            findings.add(Path::new(FILE), 1, "requirements", format!("{missing} has no row"));
        }
    }
    Ok(())
}

/// Checks that the tests exist that stand between backticks in a text.
fn check_tests(root: &Path, (file, line): (&str, usize), text: &str, findings: &mut Findings) -> Result<()> {
    for test in quoted(text).filter(|name| name.contains("::")) {
        if !exists(root, test)? {
            findings.add(Path::new(file), line, "requirements", format!("{test} does not exist"));
        }
    }
    Ok(())
}

fn is_id(cell: &str) -> bool {
    cell.split_once('-')
        .is_some_and(|(chapter, number)| CHAPTERS.iter().any(|(name, _)| *name == chapter) && number.parse::<usize>().is_ok())
}

/// Whether the file of `file::function` has that function.
fn exists(root: &Path, test: &str) -> Result<bool> {
    let Some((file, function)) = test.rsplit_once("::") else { return Ok(false) };
    let path = root.join(file);
    if !path.is_file() {
        return Ok(false);
    }
    let text = fs::read_to_string(&path).with_context(|| format!("{file} cannot be read"))?;
    Ok(text.contains(&format!("fn {function}(")))
}
