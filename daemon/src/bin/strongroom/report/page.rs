//! A report as one page for printing: HTML without scripts, pictures or anything from elsewhere, in the measures of A4.

use daemon::admin::report::{RotationChain, SignedReport};
use data_encoding::HEXLOWER;

use super::{numbers, older, verdict, walk_line};

/// What a section of the page is called, what it has, and the layer that its rows are of.
const SECTIONS: [(&str, &str, &str); 4] = [
    ("IVK", "Internal Versioned Key", "Wraps the key of every tenant. One for the cluster, itself under the MasterKey."),
    ("L2", "Keys of tenants (L2)", "Wrap the keys of a tenant's services."),
    ("L2.1", "Keys of resources (L2.1)", "Stand between a tenant's key and the keys of its services, for one resource."),
    ("L3", "Default keys of services (L3)", "Wrap what the edges of a service keep, and encrypt for its clients."),
];

const STYLE: &str = "\
@page { size: A4 landscape; margin: 14mm 14mm 16mm 14mm;
  @bottom-left { content: 'Strongroom rotation report'; font: 7.5pt Helvetica, Arial, sans-serif; color: #555; }
  @bottom-right { content: 'Page ' counter(page) ' of ' counter(pages); font: 7.5pt Helvetica, Arial, sans-serif; color: #555; } }
* { box-sizing: border-box; }
body { font: 9pt/1.4 Helvetica, Arial, 'Liberation Sans', sans-serif; color: #111; margin: 0 auto; max-width: 269mm; background: #fff; }
@media screen { body { padding: 12mm 0; } }
header { display: flex; justify-content: space-between; align-items: flex-end; border-bottom: 1.6pt solid #111; padding-bottom: 3mm; }
h1 { font-size: 20pt; line-height: 1.1; margin: 0; font-weight: 700; letter-spacing: -0.2pt; }
header p { margin: 0; text-align: right; color: #444; }
.kicker { font-size: 8pt; text-transform: uppercase; letter-spacing: 1.2pt; color: #555; margin: 0 0 1mm; text-align: left; }
dl { display: grid; grid-template-columns: 26mm 1fr 26mm 1fr; gap: 1mm 4mm; margin: 4mm 0; }
dt { color: #555; } dd { margin: 0; overflow-wrap: anywhere; }
.sums { display: grid; grid-template-columns: repeat(5, 1fr); border: 0.6pt solid #999; margin: 0 0 2mm; }
.sums div { padding: 2.2mm 3mm; border-left: 0.6pt solid #999; } .sums div:first-child { border-left: 0; }
.sums b { display: block; font-size: 15pt; line-height: 1.2; font-variant-numeric: tabular-nums; }
.sums span { color: #444; font-size: 8pt; }
.sums .bad { background: #f6e3e0; } .sums .bad b { color: #8c1c13; }
.note { color: #333; margin: 2mm 0 0; }
h2 { font-size: 11.5pt; margin: 6mm 0 0.5mm; break-after: avoid; }
h2 + p { margin: 0 0 1.5mm; color: #555; font-size: 8pt; break-after: avoid; }
table { width: 100%; border-collapse: collapse; font-size: 8.2pt; table-layout: fixed; }
thead { display: table-header-group; }
th { text-align: left; font-weight: 600; font-size: 7.4pt; color: #333; border-bottom: 0.9pt solid #111; padding: 1mm 1.5mm; vertical-align: bottom; }
td { border-bottom: 0.4pt solid #ccc; padding: 1.1mm 1.5mm; vertical-align: top; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
tr { break-inside: avoid; }
th.n, td.n { text-align: right; }
td.overdue { color: #8c1c13; font-weight: 700; } td.bad { color: #8c1c13; font-weight: 700; }
td.demand { color: #555; }
.refused li { overflow-wrap: anywhere; }
.sign { break-inside: avoid; margin-top: 8mm; border-top: 1.6pt solid #111; padding-top: 3mm; }
.sign h2 { margin-top: 0; }
.sign dl { grid-template-columns: 34mm 1fr; }
code { font: 7.8pt 'Liberation Mono', Consolas, monospace; }
.lines { display: grid; grid-template-columns: repeat(3, 1fr); gap: 12mm; margin-top: 13mm; }
.lines div { border-top: 0.6pt solid #111; padding-top: 1mm; color: #555; font-size: 8pt; }
";

/// The page.
pub(super) fn html(signed: &SignedReport) -> String {
    let SignedReport { report, .. } = signed;
    let name = escaped(&report.cluster_name);
    let sections: String = SECTIONS.iter().map(|section| table(section, &report.chains)).collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>Rotation of keys, {name}, {until}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <header><div><p class=\"kicker\">Strongroom {version}</p><h1>Rotation of keys</h1></div>\
         <p>{name}<br>as of {until} UTC</p></header>\n\
         {facts}{sums}{notes}{sections}{refused}{signature}</body>\n</html>\n",
        version = escaped(&report.version),
        until = minute(&report.until),
        facts = facts(signed),
        sums = sums(signed),
        notes = notes(signed),
        refused = refused(&report.refused),
        signature = signature(signed),
    )
}

fn facts(signed: &SignedReport) -> String {
    let SignedReport { report, log, .. } = signed;
    let part = match (&report.after, &report.next) {
        (None, None) => "the whole report".to_owned(),
        (after, next) => {
            let from = after.as_ref().map_or_else(|| "from the beginning".to_owned(), |after| format!("after {after}"));
            let to = next.as_ref().map_or_else(|| "to the end".to_owned(), |next| format!("the next part begins after {next}"));
            format!("a part: {from}; {to}")
        }
    };
    let rows = [
        ("Cluster", report.cluster.clone()),
        ("Time span", format!("{} to {} UTC", minute(&report.from), minute(&report.until))),
        ("Node", format!("with the audit log {log}")),
        (
            "Covers",
            format!("{}; {part}", report.tenant.as_ref().map_or_else(|| "all tenants".to_owned(), |tenant| format!("tenant {tenant}"))),
        ),
    ];
    let rows: String = rows.iter().map(|(name, value)| format!("<dt>{name}</dt><dd>{}</dd>", escaped(value))).collect();
    format!("<dl>{rows}</dl>\n")
}

fn sums(signed: &SignedReport) -> String {
    let summary = &signed.report.summary;
    let older = summary.keys_under_older.map_or_else(|| "&ndash;".to_owned(), |keys| keys.to_string());
    let cell = |is_bad: bool, number: &str, words: &str| {
        format!("<div{}><b>{number}</b><span>{words}</span></div>", if is_bad { " class=\"bad\"" } else { "" })
    };
    let cells = [
        cell(false, &summary.chains.to_string(), "keys in this report"),
        cell(summary.overdue > 0, &summary.overdue.to_string(), "overdue for rotation"),
        cell(summary.compromised > 0, &summary.compromised.to_string(), "compromised versions open"),
        cell(summary.keys_under_older.is_some_and(|keys| keys > 0), &older, "keys under older versions"),
        cell(false, &summary.unscheduled.to_string(), "rotated on demand only"),
    ];
    format!("<div class=\"sums\">{}</div>\n", cells.concat())
}

fn notes(signed: &SignedReport) -> String {
    let report = &signed.report;
    let older = if report.walk.is_current {
        "No version was replaced since the last whole walk over the keys ended, so the numbers of keys under older versions are what is there."
    } else {
        "A version was replaced, or the node unsealed, since the last whole walk over the keys: how many lie under older versions is not known before it ends (&ndash;)."
    };
    format!(
        "<p class=\"note\">Re-encryption is {}. {older} What lies under an L3 is kept by edges and clients.</p>\n",
        escaped(&walk_line(report))
    )
}

fn table((layer, title, what): &(&str, &str, &str), chains: &[RotationChain]) -> String {
    let rows: String = chains.iter().filter(|chain| chain.layer == *layer).map(row).collect();
    if rows.is_empty() {
        return String::new();
    }
    format!(
        "<h2>{title}</h2>\n<p>{what}</p>\n<table>\n<colgroup><col style=\"width:21%\"><col style=\"width:7%\"><col style=\"width:12%\">\
         <col style=\"width:6%\"><col style=\"width:12%\"><col style=\"width:12%\"><col style=\"width:12%\"><col style=\"width:8%\">\
         <col style=\"width:10%\"></colgroup>\n<thead><tr><th>Key of</th><th class=\"n\">Active version</th><th>Made (UTC)</th><th class=\"n\">Age, days</th>\
         <th>Schedule</th><th>Last rotation</th><th>Next due, and standing</th><th class=\"n\">Keys under older</th><th>Compromised, open</th></tr></thead>\n\
         <tbody>\n{rows}</tbody>\n</table>\n"
    )
}

fn row(chain: &RotationChain) -> String {
    let time = |time: &Option<String>| time.as_deref().map_or_else(|| "&ndash;".to_owned(), minute);
    let last = chain.last_rotation.as_deref().map_or_else(|| "none yet: version 1".to_owned(), minute);
    let whose = match (&chain.tenant, &chain.service) {
        (Some(tenant), Some(service)) => format!("{} / {}", escaped(tenant), escaped(service)),
        (Some(tenant), None) => escaped(tenant),
        _ => "the cluster".to_owned(),
    };
    let standing = match chain {
        RotationChain { overdue: true, .. } => {
            format!("<td class=\"overdue\">{}<br>{}</td>", time(&chain.next_due), verdict(chain).to_uppercase())
        }
        RotationChain { next_due: Some(_), .. } => format!("<td>{}<br>{}</td>", time(&chain.next_due), verdict(chain)),
        _ => format!("<td class=\"demand\">{}</td>", verdict(chain)),
    };
    let is_bad = |is: bool, name: &str| if is { format!(" class=\"{name} bad\"") } else { format!(" class=\"{name}\"") };
    format!(
        "<tr><td>{whose}</td><td class=\"n\">{version}</td><td>{made}</td><td class=\"n\">{age}</td><td>{policy}</td><td>{last}</td>{standing}\
         <td{older_class}>{older}</td><td{compromised_class}>{compromised}</td></tr>\n",
        version = chain.active_version,
        made = minute(&chain.made),
        age = chain.age_days,
        policy = escaped(&chain.policy),
        older_class = is_bad(chain.keys_under_older.is_some_and(|keys| keys > 0), "n"),
        older = older(chain.keys_under_older).replace('-', "&ndash;"),
        compromised_class = is_bad(!chain.compromised.is_empty(), ""),
        compromised = numbers(&chain.compromised).replace('-', "none"),
    )
}

fn refused(records: &[String]) -> String {
    if records.is_empty() {
        return String::new();
    }
    let rows: String = records.iter().map(|record| format!("<li>{}</li>", escaped(record))).collect();
    format!(
        "<h2>Records that do not verify</h2>\n<p>They have no row above; restore them from a backup.</p>\n<ul class=\"refused\">{rows}</ul>\n"
    )
}

fn signature(signed: &SignedReport) -> String {
    let SignedReport { report, log, public_key, signature } = signed;
    let digest = HEXLOWER.encode(&cipher::mac::sha256(&[report.canonical().as_bytes()]));
    let rows = [
        ("Signed by", public_key, "the node's audit key (Ed25519), as <code>strongroom init</code> has printed it"),
        ("Audit log", log, ""),
        ("SHA-256", &digest, "of the canonical text (RFC 8785) of the report"),
        ("Signature", signature, ""),
    ];
    let rows: String = rows
        .iter()
        .map(|(name, value, what)| {
            let what = if what.is_empty() { String::new() } else { format!(" {what}") };
            format!("<dt>{name}</dt><dd><code>{}</code>{what}</dd>", escaped(value))
        })
        .collect();
    format!(
        "<section class=\"sign\"><h2>Signature</h2>\n<p>This page was made from a signed report in JSON, which is the evidence: \
         <code>strongroom report verify FILE --key {}</code> checks it without the node.</p>\n<dl>{rows}</dl>\n\
         <div class=\"lines\"><div>Reviewed by</div><div>Date</div><div>Signature</div></div></section>\n",
        escaped(public_key)
    )
}

/// A time to the minute: `2026-01-02 03:04`; what is none, as it is.
fn minute(time: &str) -> String {
    match (time.get(..10), time.get(10..11), time.get(11..16)) {
        (Some(date), Some("T"), Some(clock)) => escaped(&format!("{date} {clock}")),
        _ => escaped(time),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{chain, signed};
    use super::*;

    #[test]
    fn a_page_holds_everything_and_asks_nothing_of_anybody() {
        let page =
            html(&signed(vec![chain("IVK", None, None), chain("L2", Some("<script>"), None), chain("L3", Some("acme"), Some("a&b"))]));
        for words in [
            "<h2>Internal Versioned Key</h2>",
            "<h2>Keys of tenants (L2)</h2>",
            "<h2>Default keys of services (L3)</h2>",
            "bank &lt;b&gt;",
            "&lt;script&gt;",
            "acme / a&amp;b",
            "OVERDUE",
            "the next part begins after service-1",
            "Tenant-x",
            &"0b".repeat(64),
            "size: A4",
            "Reviewed by",
        ] {
            assert!(page.contains(words), "{words} in\n{page}");
        }
        for words in ["<script", "http://", "https://", "src=", "href=", "Keys of resources", "bank <b>"] {
            assert!(!page.contains(words), "{words} in\n{page}");
        }
    }

    #[test]
    fn the_same_report_is_the_same_page() {
        let report = signed(vec![chain("IVK", None, None)]);
        assert_eq!(html(&report), html(&report));
        assert!(!html(&report).contains("Records that do not verify</h2>\n<p></p>"));
    }

    #[test]
    fn a_time_is_told_to_the_minute() {
        for (time, wanted) in [
            ("2026-01-02T03:04:05Z", "2026-01-02 03:04"),
            ("out of range", "out of range"),
            ("", ""),
            ("\u{fc}".repeat(9).as_str(), "\u{fc}".repeat(9).as_str()),
        ] {
            assert_eq!(minute(time), wanted);
        }
    }
}
