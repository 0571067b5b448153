//! What a real core and a real edge tell those who watch them is what docs/METRICS.md says.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;

use softhsm_test::{Appliance, Who, wait_for};

const DOCUMENT: &str = include_str!("../../docs/METRICS.md");
const DAY_SECONDS: f64 = 86_400.0;

/// The samples of `/metrics` at a node: the type of each family, and the series with their values.
fn page(address: &str) -> String {
    let mut socket = TcpStream::connect(address.strip_prefix("http://").expect("an address")).expect("the node listens");
    write!(socket, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("the node reads");
    let mut page = String::new();
    socket.read_to_string(&mut page).expect("the node answers");
    page
}

fn value(page: &str, series: &str) -> Option<f64> {
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map(|value| value.parse().expect("a number"))
}

fn is(page: &str, series: &str, expected: f64) -> bool {
    value(page, series).is_some_and(|value| (value - expected).abs() < 0.1)
}

/// By metric: kind, labels, and where it is told.
fn documented() -> BTreeMap<String, (String, BTreeSet<String>, String)> {
    let rows = DOCUMENT.lines().filter(|line| line.starts_with("| `strongroom_"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let labels = cells[3].split(',').map(|label| label.trim().trim_matches('`').to_owned()).filter(|label| !label.is_empty());
        (cells[1].trim_matches('`').to_owned(), (cells[2].to_owned(), labels.collect(), cells[4].to_owned()))
    })
    .collect()
}

fn check(page: &str, role: &str) {
    let documented = documented();
    let (mut told, mut family) = (BTreeSet::new(), String::new());
    for line in page.lines().skip_while(|line| !line.starts_with("# ")) {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|line| line.split_once(' ')) {
            let (is, _, _) = documented.get(name).unwrap_or_else(|| panic!("{name} is not documented"));
            assert_eq!(is, kind, "{name}");
            family = name.to_owned();
            told.insert(family.clone());
        } else if line.starts_with("strongroom_") {
            let (_, labels, at) = &documented[&family];
            assert!(at == "both" || at == role, "{line} at a node of the role {role}");
            let has = line.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or("", |(labels, _)| labels);
            let has = has.split(',').filter_map(|label| label.split_once('=')).map(|(label, _)| label.to_owned());
            assert_eq!(&has.filter(|label| label != "le").collect::<BTreeSet<_>>(), labels, "{line}");
        }
    }
    let all: BTreeSet<String> = documented.into_keys().collect();
    assert_eq!(all, told, "left: docs/METRICS.md; right: a node of the role {role}");
}

#[test]
fn a_core_and_an_edge_tell_what_docs_metrics_md_says_and_how_long_their_certificates_hold() {
    let appliance = Appliance::with_edges(1);
    let (core, edge) = (appliance.value("HEALTH_CORE"), appliance.value("HEALTH_EDGE"));
    let (mut of_core, mut of_edge) = (page(&core), page(&edge));
    let is_told = |page: &str| value(page, "strongroom_crl_left_seconds{listener=\"kmip\"}").is_some();
    assert!(wait_for(|| {
        (of_core, of_edge) = (page(&core), page(&edge));
        is_told(&of_core) && is_told(&of_edge)
    }));
    check(&of_core, "core");
    check(&of_edge, "edge");
    for (page, listener, of) in [(&of_core, "kmip", "server"), (&of_core, "admin", "client_ca"), (&of_edge, "upstream", "client")] {
        let left = value(page, &format!("strongroom_certificate_left_seconds{{listener=\"{listener}\",of=\"{of}\"}}"));
        assert!(left.is_some_and(|left| left > 0.5 * DAY_SECONDS), "{listener} {of}: {left:?}");
    }
    let second_slot = "strongroom_warnings{about=\"second_slot\"}";
    assert!(is(&of_core, second_slot, 1.0) && is(&of_edge, second_slot, 0.0), "only a core has slots");
    assert!(is(&of_core, "strongroom_ready", 1.0) && is(&of_edge, "strongroom_ready", 1.0));
    assert!(appliance.cli(Who::Operator, &["seal"]).status.success());
    assert!(is(&page(&core), "strongroom_ready", 0.0));
    check(&page(&core), "core");
}
