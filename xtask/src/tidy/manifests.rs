//! Rules of the manifests: which crate may use which, and that shared settings are taken from the workspace.

use std::path::PathBuf;

use toml::{Table, Value};

use super::Findings;
use crate::workspace::Member;

/// Each of our crates, and which of our crates it may use. Arrows point one way; this table is the layer rule.
const LAYERS: &[(&str, &[&str])] = &[
    ("secret", &[]),
    ("plugin", &[]),
    ("plugin-redb", &["plugin"]),
    ("xtask", &[]),
    ("cipher", &["secret"]),
    ("hsm", &["secret"]),
    ("hsm-helper", &["hsm", "secret"]),
    ("keys", &["cipher", "secret"]),
    ("audit", &["cipher", "keys", "secret"]),
    ("kmip", &["cipher", "keys", "secret"]),
    ("seal", &["cipher", "hsm", "keys", "secret"]),
    ("storage", &["cipher", "keys", "plugin", "secret"]),
    ("daemon", &["audit", "cipher", "hsm", "keys", "kmip", "plugin", "seal", "secret", "storage"]),
    ("softhsm-test", ALL),
    ("benches", ALL_AND_FIXTURES),
];

const ALL: &[&str] = &["audit", "cipher", "daemon", "hsm", "hsm-helper", "keys", "kmip", "plugin", "seal", "secret", "storage"];

/// The load tool is no test, and starts a core all the same.
const ALL_AND_FIXTURES: &[&str] =
    &["audit", "cipher", "daemon", "hsm", "hsm-helper", "keys", "kmip", "plugin", "seal", "secret", "softhsm-test", "storage"];

/// Whose fixtures any crate's tests may use.
const FIXTURES: &str = "softhsm-test";

/// Foreign crates, by the beginning of their name, that only some of ours may use.
const FOREIGN: &[(&str, &[&str])] = &[
    ("anyhow", &["benches", "daemon", "hsm-helper", "plugin-redb", "softhsm-test", "xtask"]),
    ("cryptoki", &["hsm-helper"]),
    ("tokio", &["benches", "daemon", "plugin", "plugin-redb", "seal", "softhsm-test", "storage"]),
    ("tss-esapi", &["hsm-helper"]),
];

/// The quiet crates, and the foreign crates that would give them a runtime, a clock, randomness or a log of their own.
pub(super) const QUIET: &[&str] = &["cipher", "keys", "kmip"];
const LOUD: &[&str] = &["axum", "getrandom", "hyper", "log", "nix", "rand", "tonic", "tracing"];

/// Checks one member's manifest.
pub(super) fn check(member: &Member, findings: &mut Findings) {
    let report = Report { member, file: member.folder.join("Cargo.toml") };
    if member.manifest.get("lints").and_then(|lints| lints.get("workspace")) != Some(&Value::Boolean(true)) {
        findings.add(&report.file, 1, "lints", "add `[lints] workspace = true`");
    }
    let Some((_, may_use)) = LAYERS.iter().find(|(name, _)| *name == member.name) else {
        let message = format!("{} is not in the layer table: give it a place in xtask/src/tidy/manifests.rs", member.name);
        findings.add(&report.file, 1, "layers", message);
        return;
    };
    for section in sections(&member.manifest) {
        for (dependency, value) in section.table {
            report.inherited(dependency, value, findings);
            if section.ships || dependency != FIXTURES {
                report.layers(dependency, may_use, findings);
            }
            report.foreign(dependency, section.ships, findings);
        }
    }
}

struct Section<'a> {
    table: &'a Table,
    /// Whether it goes into a product: dependencies of tests do not.
    ships: bool,
}

/// Every table of dependencies, those for single targets included.
fn sections(manifest: &Table) -> Vec<Section<'_>> {
    let targets = manifest.get("target").and_then(Value::as_table).into_iter().flat_map(Table::values).filter_map(Value::as_table);
    let mut found = Vec::new();
    for holder in targets.chain([manifest]) {
        for (name, ships) in [("dependencies", true), ("build-dependencies", true), ("dev-dependencies", false)] {
            found.extend(holder.get(name).and_then(Value::as_table).map(|table| Section { table, ships }));
        }
    }
    found
}

struct Report<'a> {
    member: &'a Member,
    file: PathBuf,
}

impl Report<'_> {
    fn inherited(&self, dependency: &str, value: &Value, findings: &mut Findings) {
        if value.get("workspace") != Some(&Value::Boolean(true)) {
            let message = format!("{dependency} must be `workspace = true`: versions stand in the root Cargo.toml only");
            findings.add(&self.file, self.line(dependency), "dependencies", message);
        }
    }

    fn layers(&self, dependency: &str, may_use: &[&str], findings: &mut Findings) {
        let is_ours = LAYERS.iter().any(|(name, _)| *name == dependency);
        if is_ours && !may_use.contains(&dependency) {
            let allowed = if may_use.is_empty() { "none of our crates".to_owned() } else { may_use.join(", ") };
            let message = format!("{} must not use {dependency}; it may use {allowed}", self.member.name);
            findings.add(&self.file, self.line(dependency), "layers", message);
        }
    }

    fn foreign(&self, dependency: &str, ships: bool, findings: &mut Findings) {
        let name = self.member.name.as_str();
        for (foreign, users) in FOREIGN.iter().filter(|(foreign, users)| dependency.starts_with(foreign) && !users.contains(&name)) {
            let message = format!("{name} must not use {dependency}; {foreign} belongs to {}", users.join(", "));
            findings.add(&self.file, self.line(dependency), "layers", message);
        }
        if ships && QUIET.contains(&name) && LOUD.contains(&dependency) {
            let message = format!("{name} must not use {dependency}: time, randomness and logging come in as arguments");
            findings.add(&self.file, self.line(dependency), "quiet", message);
        }
    }

    /// The line that begins with this name; 1 if it is written in some other form.
    fn line(&self, dependency: &str) -> usize {
        let names = |line: &str| line.strip_prefix(dependency).is_some_and(|rest| rest.starts_with(['.', ' ', '=']));
        self.member.text.lines().position(names).map_or(1, |index| index + 1)
    }
}
