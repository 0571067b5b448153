//! `seal.writes`: what modules of devices write to.

use std::path::PathBuf;

use super::{Fault, absolute, file, required};

const KEY: &str = "seal.writes";
/// More than any module has; each is a descriptor at the start.
const PLACES_MAX: usize = 64;

/// None if nothing is told: a module that speaks to its device by the network writes nothing.
pub(super) fn writes(raw: Option<file::OneOrMore>) -> Result<Vec<PathBuf>, Fault> {
    let texts = match raw {
        None => return Ok(Vec::new()),
        Some(file::OneOrMore::One(text)) => return Ok(vec![required(KEY, Some(text), absolute)?]),
        Some(file::OneOrMore::More(texts)) => texts,
    };
    if texts.len() > PLACES_MAX {
        return Err(Fault::refused(KEY, format!("a list of {}", texts.len())));
    }
    texts.into_iter().enumerate().map(|(index, text)| required(&format!("{KEY}[{index}]"), Some(text), absolute)).collect()
}
