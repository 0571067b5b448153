//! Plays the OASIS test cases of the KMIP profiles against an edge of a whole appliance, in each encoding.
//!
//! A case is a file of request and response pairs in XML. What must pass, and why the rest does not, stands in `conformance/cases.tsv`.

mod compare;
mod expected;
mod play;
mod tree;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

pub use compare::{Bindings, Difference, compare};
pub use expected::{Verdict, judge, verdicts};
pub use play::{Encoding, Player};
pub use tree::Node;

/// The pairs of one file.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// Its identifier in the standard.
    pub id: String,
    /// Requests with the responses that are expected.
    pub pairs: Vec<(Node, Node)>,
}

impl Case {
    /// Reads a case; comments are passed over.
    ///
    /// # Errors
    /// The text is not a list of requests, each with its response.
    pub fn read(id: &str, text: &str) -> Result<Self, String> {
        let root = Node::parse(text)?;
        let mut pairs = Vec::new();
        for pair in root.children.chunks(2) {
            match pair {
                [request, response] if request.name == "RequestMessage" && response.name == "ResponseMessage" => {
                    pairs.push((request.clone(), response.clone()));
                }
                _ => return Err(format!("{id} is not a list of requests, each with its response")),
            }
        }
        Ok(Self { id: id.to_owned(), pairs })
    }
}

/// Cases that follow each other on the same objects: three of a tape library, three of a disk array.
const CHAINS: [&str; 2] = ["TL-M-", "SASED-M-"];

/// The cases below `folder`, by identifier, in groups that are played together.
///
/// # Errors
/// A file that cannot be read, or no case at all.
pub fn cases(folder: &Path) -> Result<Vec<Vec<Case>>, String> {
    let mut found = BTreeMap::new();
    collect(folder, &mut found)?;
    if found.is_empty() {
        return Err(format!("{} has no cases: name the folder of the OASIS test cases", folder.display()));
    }
    let mut groups: Vec<Vec<Case>> = Vec::new();
    for (id, case) in found {
        let chain = CHAINS.into_iter().find(|chain| id.starts_with(chain));
        match groups.last_mut() {
            Some(group) if chain.is_some_and(|chain| group[0].id.starts_with(chain)) => group.push(case),
            _ => groups.push(vec![case]),
        }
    }
    Ok(groups)
}

fn collect(folder: &Path, found: &mut BTreeMap<String, Case>) -> Result<(), String> {
    let failed = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    for entry in fs::read_dir(folder).map_err(|error| failed(folder, error))? {
        let path = entry.map_err(|error| failed(folder, error))?.path();
        if path.is_dir() {
            collect(&path, found)?;
        } else if path.extension().is_some_and(|kind| kind == "xml") {
            let text = fs::read_to_string(&path).map_err(|error| failed(&path, error))?;
            let id = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            found.insert(id.clone(), Case::read(&id, &text)?);
        }
    }
    Ok(())
}
