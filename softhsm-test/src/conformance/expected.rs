//! Which cases pass, and why the others do not: a table that must be true in both directions.

use std::collections::BTreeMap;

/// What the table says of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It passes in every encoding.
    Passes,
    /// It does not, for this reason.
    Fails(String),
}

/// The table.
const TABLE: &str = include_str!("cases.tsv");

/// The verdicts by case.
///
/// # Panics
/// If a line of the table is neither `ID pass` nor `ID fail REASON`, separated by tabs.
#[must_use]
pub fn verdicts() -> BTreeMap<String, Verdict> {
    read(TABLE)
}

fn read(table: &str) -> BTreeMap<String, Verdict> {
    let lines = table.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| match line.split('\t').collect::<Vec<_>>()[..] {
            [id, "pass"] => (id.to_owned(), Verdict::Passes),
            [id, "fail", reason] if !reason.is_empty() => (id.to_owned(), Verdict::Fails(reason.to_owned())),
            _ => panic!("cases.tsv: {line:?} is neither ID, pass nor ID, fail, reason"),
        })
        .collect()
}

/// What is wrong with the table in the light of a result, if anything.
#[must_use]
pub fn judge(verdicts: &BTreeMap<String, Verdict>, id: &str, passed_everywhere: bool) -> Option<String> {
    match (verdicts.get(id), passed_everywhere) {
        (Some(Verdict::Passes), true) | (Some(Verdict::Fails(_)), false) => None,
        (Some(Verdict::Passes), false) => Some(format!("{id} must pass, and does not")),
        (Some(Verdict::Fails(_)) | None, true) => Some(format!("{id} passes: say so in softhsm-test/src/conformance/cases.tsv")),
        (None, false) => Some(format!("{id} does not pass: mend it, or say why in softhsm-test/src/conformance/cases.tsv")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_held_in_both_directions() {
        let verdicts = read("# comment\nA\tpass\nB\tfail\twaits for Sign");
        let check = |id, passed, complaint: Option<&str>| {
            let said = judge(&verdicts, id, passed);
            assert_eq!(said.as_deref().map(|said| complaint.is_some_and(|complaint| said.contains(complaint))), complaint.map(|_| true));
        };
        check("A", true, None);
        check("A", false, Some("must pass"));
        check("B", true, Some("say so"));
        check("B", false, None);
        check("C", true, Some("say so"));
        check("C", false, Some("say why"));
    }

    #[test]
    fn the_table_can_be_read_and_names_no_case_twice() {
        let lines = TABLE.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(verdicts().len(), lines);
    }
}
