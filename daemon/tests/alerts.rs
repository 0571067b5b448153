//! The alert rules, their tests, the dashboard and the runbook: they speak of metrics that there are, and each rule of what somebody can do.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use daemon::notices::Topic;
use serde_json::Value;
use yaml_rust2::{Yaml, YamlLoader};

/// What whoever collects adds by itself.
const COLLECTED: [&str; 3] = ["job", "instance", "le"];

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

fn read(name: &str) -> String {
    fs::read_to_string(docs().join(name)).unwrap_or_else(|error| panic!("docs/{name}: {error}"))
}

fn yaml(name: &str) -> Yaml {
    YamlLoader::load_from_str(&read(name)).unwrap_or_else(|error| panic!("docs/{name}: {error}")).remove(0)
}

/// The series of docs/METRICS.md as a query names them, with their labels.
fn series() -> BTreeMap<String, BTreeSet<String>> {
    let mut series = BTreeMap::new();
    for row in read("METRICS.md").lines().filter(|line| line.starts_with("| `strongroom_")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let name = cells[1].trim_matches('`');
        let labels = cells[3].split(',').map(|label| label.trim().trim_matches('`').to_owned()).filter(|label| !label.is_empty());
        let labels: BTreeSet<String> = labels.chain(COLLECTED.map(str::to_owned)).collect();
        let suffixes: &[&str] = match cells[2] {
            "counter" => &["_total"],
            "histogram" => &["_bucket", "_count", "_sum"],
            _ => &[""],
        };
        series.extend(suffixes.iter().map(|suffix| (format!("{name}{suffix}"), labels.clone())));
    }
    series
}

/// What an expression uses: each series with the label matchers behind it, and the labels that it groups by.
#[derive(Debug, Default)]
struct Uses {
    series: Vec<(String, Vec<(String, String)>)>,
    by: BTreeSet<String>,
}

impl Uses {
    fn of(expression: &str) -> Self {
        let mut uses = Self::default();
        let mut rest = expression;
        while let Some(at) = rest.find("strongroom_") {
            let name: String = rest[at..].chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            rest = &rest[at + name.len()..];
            let matchers = rest.strip_prefix('{').and_then(|inside| inside.split_once('}')).map_or("", |(matchers, _)| matchers);
            let parts = matchers.split(',').filter(|matcher| !matcher.is_empty());
            let matchers = parts.map(|matcher| {
                let (label, value) = matcher.split_once('=').unwrap_or_else(|| panic!("{matcher} in {expression}"));
                (label.trim_end_matches('!').to_owned(), value.trim_matches(['~', '"']).to_owned())
            });
            uses.series.push((name, matchers.collect()));
        }
        for group in expression.split(" by (").skip(1) {
            let (labels, _) = group.split_once(')').unwrap_or_else(|| panic!("{expression}"));
            uses.by.extend(labels.split(',').map(|label| label.trim().to_owned()));
        }
        uses
    }

    /// Fails unless the document knows all of it; returns the labels that what comes of it may have.
    fn check(&self, known: &BTreeMap<String, BTreeSet<String>>, place: &str) -> BTreeSet<String> {
        let mut labels: BTreeSet<String> = COLLECTED.map(str::to_owned).into();
        for (name, matchers) in &self.series {
            let has = known.get(name).unwrap_or_else(|| panic!("{place} uses {name}, which docs/METRICS.md does not have"));
            for (label, value) in matchers {
                assert!(has.contains(label), "{place}: {name} has no label {label}");
                let is_topic = Topic::ALL.iter().any(|topic| topic.name() == value);
                assert!(label != "about" || is_topic, "{place}: nothing is about {value}");
            }
            labels.extend(has.iter().cloned());
        }
        let unknown: Vec<_> = self.by.difference(&labels).collect();
        assert!(unknown.is_empty(), "{place} groups by {unknown:?}");
        if self.by.is_empty() { labels } else { self.by.clone() }
    }
}

fn text<'y>(yaml: &'y Yaml, key: &str) -> &'y str {
    yaml[key].as_str().unwrap_or_else(|| panic!("no {key} in {yaml:?}"))
}

fn rules() -> Vec<Yaml> {
    let rules: Vec<Yaml> = yaml("alerts.yaml")["groups"]
        .as_vec()
        .expect("groups")
        .iter()
        .flat_map(|group| group["rules"].as_vec().expect("rules").clone())
        .collect();
    assert!(rules.len() > 30, "{}", rules.len());
    rules
}

#[test]
fn an_alert_speaks_of_metrics_and_labels_that_there_are() {
    let known = series();
    for rule in rules() {
        let name = text(&rule, "alert");
        let uses = Uses::of(text(&rule, "expr"));
        assert!(!uses.series.is_empty() || text(&rule, "expr").starts_with("up{"), "{name} asks for nothing of ours");
        let labels = uses.check(&known, name);
        for told in text(&rule["annotations"], "summary").split("$labels.").skip(1) {
            let label: String = told.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            assert!(labels.contains(&label), "{name} tells {label}, which its series do not have");
        }
        assert!(["critical", "warning", "info"].contains(&text(&rule["labels"], "severity")), "{name}");
    }
}

#[test]
fn the_dashboard_speaks_of_metrics_and_labels_that_there_are() {
    let known = series();
    let dashboard: Value = serde_json::from_str(&read("dashboard.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut shown = BTreeSet::new();
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let title = panel["title"].as_str().expect("a title");
        let targets = panel["targets"].as_array().expect("targets");
        assert!(!targets.is_empty(), "{title}");
        for target in targets {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
            let uses = Uses::of(target["expr"].as_str().expect("an expression"));
            assert!(!uses.series.is_empty(), "{title}");
            let labels = uses.check(&known, title);
            for told in target["legendFormat"].as_str().expect("a legend").split("{{").skip(1) {
                let (label, _) = told.split_once("}}").expect("it is closed");
                assert!(labels.contains(label), "{title} tells {label}");
            }
            shown.extend(uses.series.into_iter().map(|(name, _)| name));
        }
    }
    assert!(shown.len() > 40, "it shows only {shown:?}");
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().expect("an id")).collect();
    assert_eq!(ids.len(), panels.len(), "two panels have one id");
}

#[test]
fn an_expression_with_an_unknown_metric_label_or_topic_is_found() {
    let known = series();
    for wrong in [
        "strongroom_nonsense > 0",
        "strongroom_requests > 0",
        "strongroom_unsealed{tenant=\"acme\"} == 0",
        "strongroom_warnings{about=\"weather\"} > 0",
        "sum by (slot) (strongroom_unsealed)",
    ] {
        let checked = std::panic::catch_unwind(|| Uses::of(wrong).check(&known, "test"));
        assert!(checked.is_err(), "{wrong} passes");
    }
    Uses::of("sum by (job, listener) (rate(strongroom_handshakes_failed_total{reason=\"alert\"}[5m]))").check(&known, "test");
}

#[test]
fn promtool_takes_the_rules_and_each_fires_when_it_should_and_only_then() {
    for arguments in [["check", "rules", "alerts.yaml"], ["test", "rules", "alerts.test.yaml"]] {
        let run = Command::new("promtool").args(arguments).current_dir(docs()).output();
        let run = run.expect("promtool cannot be started: `cargo xtask check` installs the package prometheus");
        let said = format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
        assert!(run.status.success() && said.contains("SUCCESS"), "{arguments:?}: {said}");
    }
    let tests = yaml("alerts.test.yaml")["tests"].as_vec().expect("tests").clone();
    let mut tested: Vec<&str> = Vec::new();
    for test in &tests {
        for case in test["alert_rule_test"].as_vec().expect("cases") {
            let fires = case["exp_alerts"].as_vec().expect("what fires");
            assert!(fires.iter().all(|alert| text(&alert["exp_labels"], "instance") == "ill") && fires.len() == 1, "{case:?}");
            tested.push(text(case, "alertname"));
        }
        let inputs = test["input_series"].as_vec().expect("series");
        assert!(inputs.iter().any(|input| text(input, "series").contains("instance=\"well\"")), "{test:?}");
    }
    let rules = rules();
    let named: Vec<&str> = rules.iter().map(|rule| text(rule, "alert")).collect();
    assert_eq!(tested, named, "left: alerts.test.yaml; right: alerts.yaml");
}

/// The headings of a part of the runbook, each with what stands below it.
fn entries(part: &str) -> Vec<(String, String)> {
    let runbook = read("RUNBOOK.md");
    let (_, rest) = runbook.split_once(&format!("\n## {part}\n")).unwrap_or_else(|| panic!("no part {part}"));
    let text = rest.split("\n## ").next().unwrap_or_default();
    text.split("\n### ")
        .skip(1)
        .map(|entry| entry.split_once('\n').map(|(name, text)| (name.to_owned(), text.to_owned())).expect("a heading is a line"))
        .collect()
}

fn check_entries(part: &str, names: &[&str]) {
    let entries = entries(part);
    let explained: Vec<&str> = entries.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(explained, names, "left: {part} of docs/RUNBOOK.md; right: the program");
    for (name, text) in &entries {
        for wants in ["**Meaning:** ", "**Check:** `", "**Do:** "] {
            assert!(text.contains(wants), "{name} says nothing of {wants}");
        }
    }
}

#[test]
fn the_runbook_has_an_entry_for_every_alert_and_each_points_to_it() {
    let rules = rules();
    check_entries("Alerts", &rules.iter().map(|rule| text(rule, "alert")).collect::<Vec<_>>());
    for rule in &rules {
        let expected = format!("docs/RUNBOOK.md#{}", text(rule, "alert").to_lowercase());
        assert_eq!(text(&rule["annotations"], "runbook"), expected);
    }
}

#[test]
fn the_runbook_has_an_entry_for_everything_that_status_may_warn_of() {
    check_entries("Warnings", &Topic::ALL.map(Topic::name));
}

#[test]
fn every_reference_within_the_runbook_leads_somewhere() {
    let runbook = read("RUNBOOK.md");
    let headings = runbook.lines().filter_map(|line| line.strip_prefix("## ").or_else(|| line.strip_prefix("### ")));
    let anchors: BTreeSet<String> = headings.map(|heading| heading.to_lowercase().replace(' ', "-")).collect();
    for reference in runbook.split("](").skip(1) {
        let (target, _) = reference.split_once(')').expect("it is closed");
        match target.strip_prefix('#') {
            Some(anchor) => assert!(anchors.contains(anchor), "{target}"),
            None => assert!(docs().join(target).exists(), "{target}"),
        }
    }
}

/// The texts of an error type's `#[error(...)]`, with `…` for what differs from case to case.
fn messages(source: &str, error: &str) -> Vec<String> {
    let (_, rest) = source.split_once(&format!("pub enum {error} {{")).unwrap_or_else(|| panic!("no {error}"));
    let (variants, _) = rest.split_once("\n}\n").expect("it ends");
    let texts = variants.split("#[error(").skip(1).filter_map(|attribute| attribute.trim_start().strip_prefix('"'));
    let filled = texts.map(|text| {
        let text = text.split_once('"').expect("it is closed").0;
        let (mut said, mut depth) = (String::new(), 0);
        for c in text.chars() {
            match c {
                '{' => depth += 1,
                '}' => (depth -= 1, said.push('…')).1,
                c if depth == 0 => said.push(c),
                _ => {}
            }
        }
        said
    });
    filled.collect()
}

/// What is only a frame around another error's text, which stands there itself.
fn is_frame(message: &str) -> bool {
    message.split('…').all(|part| part.chars().filter(|c| c.is_alphabetic()).count() < 24)
}

#[test]
fn the_runbook_has_what_the_node_its_seal_and_its_devices_say_when_they_give_up() {
    let runbook = read("RUNBOOK.md").replace("\\|", "|");
    let sources = [
        (include_str!("../src/boot.rs"), "BootError"),
        (include_str!("../src/passed.rs"), "PassedError"),
        (include_str!("../src/node.rs"), "UnsealError"),
        (include_str!("../src/layout.rs"), "LayoutError"),
        (include_str!("../../secret/src/arena.rs"), "ArenaError"),
        (include_str!("../../storage/src/embedded.rs"), "OpenError"),
        (include_str!("../../audit/src/error.rs"), "AuditError"),
        (include_str!("../../hsm/src/error.rs"), "Refusal"),
        (include_str!("../../hsm/src/error.rs"), "DeviceError"),
    ];
    let mut found = 0;
    for (source, error) in sources {
        for message in messages(source, error).iter().filter(|message| !is_frame(message)) {
            assert!(runbook.contains(message.as_str()), "docs/RUNBOOK.md has nothing of {error}: {message}");
            found += 1;
        }
    }
    assert!(found > 45, "{found}");
    let written = ["not unsealed since start", "sealed by request"];
    for reason in written {
        assert!(include_str!("../src/node.rs").contains(&format!("\"{reason}\"")), "{reason}");
    }
    for reason in written.into_iter().chain([daemon::node::WAITING]) {
        assert!(runbook.contains(&format!("| `{reason}` |")), "{reason}");
    }
}
