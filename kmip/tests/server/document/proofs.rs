//! What shows each operation: `proofs.tsv`, held against the published cases that pass and against the tests that there are.

use std::path::Path;

use kmip::Operation;

const FILE: &str = "kmip/tests/server/document/proofs.tsv";
const TEXT: &str = include_str!("proofs.tsv");
/// The published cases, and which of them pass.
const CASES: &str = include_str!("../../../../softhsm-test/src/conformance/cases.tsv");

/// The table, which names for each operation what there is.
pub(super) struct Proofs<'t> {
    rows: Vec<Row<'t>>,
    /// How many published cases pass.
    pub(super) passed: usize,
    /// The others, each with the reason.
    pub(super) failed: Vec<(&'static str, &'static str)>,
}

struct Row<'t> {
    operation: &'t str,
    at_core: &'t str,
    at_edge: &'t str,
    why_not: Option<&'t str>,
}

impl<'t> Proofs<'t> {
    /// Fails where an operation that a node offers has no proof there, and where a proof does not exist.
    pub(super) fn read(core: &[Operation], edge: &[Operation]) -> Self {
        Self::of(TEXT, core, edge)
    }

    fn of(text: &'t str, core: &[Operation], edge: &[Operation]) -> Self {
        let mut proofs = Self { rows: Vec::new(), passed: 0, failed: Vec::new() };
        for line in CASES.lines().filter(|line| !line.starts_with('#')) {
            match line.split('\t').collect::<Vec<_>>().as_slice() {
                [_, "pass"] => proofs.passed += 1,
                [case, "fail", why] => proofs.failed.push((case, why)),
                _ => panic!("cases.tsv: {line}"),
            }
        }
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let mut cells = line.split('\t');
            let mut cell = || cells.next().unwrap_or_else(|| panic!("{FILE}: three columns, Operation, core, edge: {line}"));
            let (operation, at_core, at_edge) = (cell(), cell(), cell());
            proofs.rows.push(Row { operation, at_core, at_edge, why_not: cells.next() });
        }
        for operation in Operation::ALL {
            proofs.check(*operation, core.contains(operation), edge.contains(operation));
        }
        assert_eq!(proofs.rows.len(), Operation::ALL.len(), "{FILE}: one line for each operation of the standard");
        proofs
    }

    fn check(&self, operation: Operation, is_at_core: bool, is_at_edge: bool) {
        let name = operation.name();
        let row = self.row(operation);
        for (node, is_offered, proof) in [("a core", is_at_core, row.at_core), ("an edge", is_at_edge, row.at_edge)] {
            let column = if node == "a core" { "second" } else { "third" };
            assert!(
                !is_offered || proof != "-",
                "{name} is offered by {node}: name in the {column} column of its line in {FILE} a published case that passes, or a test as \
                 file::function, that shows it; then cargo xtask kmip-document"
            );
            assert!(is_offered || proof == "-", "{name} is not offered by {node}: put - in the {column} column of its line in {FILE}");
            proof.split(' ').filter(|proof| *proof != "-").for_each(|proof| self.must_exist(name, proof));
        }
        let is_offered = is_at_core || is_at_edge;
        assert_eq!(row.why_not.is_none(), is_offered, "{FILE}: {name} has a fourth column, why not, if no node offers it");
    }

    fn row(&self, operation: Operation) -> &Row<'t> {
        let row = self.rows.iter().find(|row| row.operation == operation.name());
        row.unwrap_or_else(|| panic!("{FILE}: {} needs a line", operation.name()))
    }

    fn must_exist(&self, name: &str, proof: &str) {
        let Some((file, function)) = proof.split_once("::") else {
            let passes = CASES.lines().any(|line| line.split_once('\t') == Some((proof, "pass")));
            assert!(passes, "{FILE}: {name}: {proof} is no published case that passes (softhsm-test/src/conformance/cases.tsv)");
            return;
        };
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
        let text = std::fs::read_to_string(path).unwrap_or_default();
        assert!(text.contains(&format!("fn {function}(")), "{FILE}: {name}: {file} has no test {function}");
    }

    /// The last cell of an operation's row.
    pub(super) fn told(&self, operation: Operation) -> String {
        let row = self.row(operation);
        if let Some(why) = row.why_not {
            return format!("not offered: {why}");
        }
        let each = |(node, proofs): (&str, &str)| {
            let proofs: Vec<String> = proofs.split(' ').map(|proof| format!("`{proof}`")).collect();
            format!("{node}: {}", proofs.join(", "))
        };
        let both = [("core", row.at_core), ("edge", row.at_edge)];
        both.into_iter().filter(|(_, proofs)| *proofs != "-").map(each).collect::<Vec<_>>().join("; ")
    }
}

/// Reads the table with one text in the place of another, as if these were the operations offered.
fn read_with(place: &str, text: &str, core: &[Operation], edge: &[Operation]) {
    assert!(TEXT.contains(place), "{place}");
    let _read = Proofs::of(&TEXT.replacen(place, text, 1), core, edge);
}

#[test]
#[should_panic(expected = "Certify is offered by an edge: name in the third column")]
fn an_operation_that_is_offered_without_a_proof_fails_with_what_to_add() {
    let core: Vec<Operation> = offered("core");
    let edge = [offered("edge"), vec![Operation::Certify]].concat();
    read_with("a node is no certificate authority", "x", &core, &edge);
}

#[test]
#[should_panic(expected = "CS-RNG-O-1-14 is no published case that passes")]
fn a_case_that_does_not_pass_is_no_proof() {
    read_with("CS-RNG-O-3-14", "CS-RNG-O-1-14", &offered("core"), &offered("edge"));
}

#[test]
#[should_panic(expected = "has no test discover_nothing")]
fn a_test_that_does_not_exist_is_no_proof() {
    read_with(
        "discover_versions_answers_what_both_sides_speak_in_the_servers_order",
        "discover_nothing",
        &offered("core"),
        &offered("edge"),
    );
}

/// What the table says that a node offers.
fn offered(node: &str) -> Vec<Operation> {
    let column = if node == "core" { 1 } else { 2 };
    let is_offered = |operation: &&Operation| {
        let line = TEXT.lines().find(|line| line.split('\t').next() == Some(operation.name())).expect("each has a line");
        line.split('\t').nth(column) != Some("-")
    };
    Operation::ALL.iter().filter(is_offered).copied().collect()
}
