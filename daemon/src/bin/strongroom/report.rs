//! `report`: evidence for auditors, signed by the node, and checked without it.

mod page;

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use daemon::admin::evidence::{self, Evidence, ManifestSaid};
use daemon::admin::report::{ReportError, RotationChain, RotationReport, RotationWanted, SignedReport, verify};
use keys::chains::CHAINS_MAX;
use keys::id::ScopeName;
use serde::Serialize;
use serde_json::Value;

use crate::audit::public_key;
use crate::context::{Context, wait};
use crate::failure::Failure;
use crate::output::{clean, pairs, table};

/// Longest saved report that is read.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

const IN_PARTS: &str = "\
A report has at most 1000 tenants and services, each part with a signature of its own. If there are more, the last line says how to ask for the next part.
For operators, and for auditors with --admin and their certificate.";

/// `report ...`.
#[derive(Debug, Subcommand)]
pub(crate) enum Report {
    /// Show for every key its Active version, age and schedule, and what still lies under older versions, signed by the node
    #[command(after_help = IN_PARTS)]
    Rotation(Rotation),
    /// Check a saved report, or the manifest of a ceremony, from the file alone; exit code 4 if it is not what the node signed
    Verify {
        /// File that `report rotation` or `ceremony manifest` has written, by --out or --json
        file: PathBuf,
        /// The node's public audit key, which `init` has printed, as 64 hexadecimal digits; without it the one that the report names is believed
        #[arg(long, value_name = "HEX", value_parser = public_key)]
        key: Option<[u8; 32]>,
        /// Write a report as one page to print, if it verifies
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
    },
}

/// `report rotation`.
#[derive(Debug, Args)]
pub(crate) struct Rotation {
    /// Of this tenant only
    #[arg(long, value_name = "NAME")]
    tenant: Option<ScopeName>,
    /// Look at so many tenants and services
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=CHAINS_MAX as i64))]
    limit: Option<u16>,
    /// Begin where the part before has ended, as it says
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
    /// Save the signed report, as JSON, in a file that is not there yet
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Save it as one page to print too, in a file that is not there yet
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// What `report verify` found.
#[derive(Debug, Serialize)]
struct Verified {
    file: PathBuf,
    kind: String,
    cluster: String,
    until: String,
    signer: String,
    log: String,
    key_pinned: bool,
    chains: u64,
    overdue: u64,
}

/// The same of a ceremony's manifest.
#[derive(Debug, Serialize)]
struct VerifiedManifest {
    file: PathBuf,
    kind: String,
    cluster: String,
    ceremony: String,
    operation: String,
    ended: String,
    outcome: String,
    signer: String,
    log: String,
    key_pinned: bool,
}

/// Runs `report ...`.
pub(crate) fn run(context: &Context, command: &Report) -> Result<(), Failure> {
    match command {
        Report::Rotation(rotation) => make(context, rotation),
        Report::Verify { file, key, html } => {
            let saved = read(file)?;
            match evidence::verify(&saved, *key).map_err(|error| unverified(file, &error))? {
                Evidence::Rotation(signed) => {
                    if let Some(html) = html {
                        save(html, page::html(&signed).as_bytes())?;
                    }
                    context.out.show(&verified_report(file, key.is_some(), *signed), verified_text)
                }
                Evidence::Ceremony { .. } if html.is_some() => {
                    Err(Failure::usage(format!("{} is the manifest of a ceremony: --html prints reports on rotation only", file.display())))
                }
                Evidence::Ceremony { said, log, public_key: signer } => {
                    let ManifestSaid { cluster, ceremony, asked, ended, outcome, .. } = said;
                    let (file, kind, key_pinned) = (file.clone(), "ceremony".to_owned(), key.is_some());
                    let operation = asked.operation;
                    let found = VerifiedManifest { file, kind, cluster, ceremony, operation, ended, outcome, signer, log, key_pinned };
                    context.out.show(&found, verified_manifest_text)
                }
            }
        }
    }
}

fn verified_report(file: &Path, key_pinned: bool, signed: SignedReport) -> Verified {
    let SignedReport { report, log, public_key: signer, .. } = signed;
    Verified {
        file: file.to_owned(),
        kind: report.kind,
        cluster: report.cluster,
        until: report.until,
        signer,
        log,
        key_pinned,
        chains: report.summary.chains,
        overdue: report.summary.overdue,
    }
}

fn make(context: &Context, Rotation { tenant, limit, after, out, html }: &Rotation) -> Result<(), Failure> {
    let wanted = RotationWanted { tenant: tenant.as_ref().map(ToString::to_string), limit: limit.map(usize::from), after: after.clone() };
    let answer: Value = wait(context.client()?.rotation_report(&wanted))?;
    let text = serde_json::to_string_pretty(&answer).map_err(|error| Failure::failed(error.to_string()))? + "\n";
    let signed = verify(&text, None).map_err(|error| Failure::unverified(format!("the node's answer: {error}")))?;
    if let Some(out) = out {
        save(out, text.as_bytes())?;
    }
    if let Some(html) = html {
        save(html, page::html(&signed).as_bytes())?;
    }
    context.out.show(&answer, |_| rotation_text(&signed))
}

fn read(file: &Path) -> Result<String, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::failed(format!("{}: {error}", file.display()));
    let size = std::fs::metadata(file).map_err(|error| failed(&error))?.len();
    if size > FILE_BYTES_MAX {
        return Err(failed(&"it is longer than any report"));
    }
    std::fs::read_to_string(file).map_err(|error| failed(&error))
}

/// Evidence is not written over.
pub(crate) fn save(file: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let opened = OpenOptions::new().write(true).create_new(true).open(file);
    let written = opened.and_then(|mut opened| opened.write_all(bytes).and_then(|()| opened.sync_all()));
    written.map_err(|error| Failure::failed(format!("{} was not written ({error}): name a file that is not there yet", file.display())))
}

fn unverified(file: &Path, error: &ReportError) -> Failure {
    let message = format!("{}: {error}", file.display());
    match error {
        ReportError::Unreadable { .. } => Failure::failed(message),
        ReportError::OtherKey { .. } | ReportError::Forged | ReportError::Unsigned => Failure::unverified(message),
    }
}

/// How a row stands, in a word or two.
fn verdict(chain: &RotationChain) -> &'static str {
    match chain {
        RotationChain { overdue: true, .. } => "overdue",
        RotationChain { next_due: Some(_), .. } => "in time",
        _ => "on demand",
    }
}

/// What a row is about: a tenant, or a tenant's service.
fn whose(chain: &RotationChain) -> String {
    match (&chain.tenant, &chain.service) {
        (Some(tenant), Some(service)) => format!("{tenant}/{service}"),
        (Some(tenant), None) => tenant.clone(),
        _ => "the cluster".to_owned(),
    }
}

fn older(keys: Option<u64>) -> String {
    keys.map_or_else(|| "-".to_owned(), |keys| keys.to_string())
}

fn numbers(versions: &[u32]) -> String {
    if versions.is_empty() { "-".to_owned() } else { versions.iter().map(u32::to_string).collect::<Vec<_>>().join(", ") }
}

fn rotation_text(signed: &SignedReport) -> String {
    let SignedReport { report, public_key, .. } = signed;
    let row = |chain: &RotationChain| {
        let or_none = |time: &Option<String>| time.clone().unwrap_or_else(|| "-".to_owned());
        vec![
            chain.layer.clone(),
            whose(chain),
            chain.active_version.to_string(),
            chain.made.clone(),
            format!("{} d", chain.age_days),
            chain.policy.clone(),
            or_none(&chain.next_due),
            verdict(chain).to_owned(),
            older(chain.keys_under_older),
            numbers(&chain.compromised),
        ]
    };
    let head = ["layer", "of", "active", "made", "age", "schedule", "next", "stands", "older", "compromised"];
    let mut rows = vec![
        ("cluster", format!("{} ({})", clean(&report.cluster_name), report.cluster)),
        ("time", format!("{} to {}", report.from, report.until)),
        ("sum", summary_line(report)),
        ("re-encryption", walk_line(report)),
        ("signed by", public_key.clone()),
    ];
    rows.extend(report.refused.iter().map(|refused| ("refused", clean(refused))));
    rows.extend(report.next.iter().map(|next| ("next part", format!("there are more: --after {next}"))));
    format!("{}\n{}", table(&head, report.chains.iter().map(row).collect(), ""), pairs(&rows))
}

fn summary_line(report: &RotationReport) -> String {
    let summary = &report.summary;
    let older = match summary.keys_under_older {
        Some(keys) => format!("{keys} keys under older versions"),
        None => "a walk is finding out what lies under older versions".to_owned(),
    };
    let refused = if summary.refused > 0 { format!("; {} records do not verify", summary.refused) } else { String::new() };
    format!(
        "{} keys, {} overdue, {} without a schedule; {} compromised versions open; {older}{refused}",
        summary.chains, summary.overdue, summary.unscheduled, summary.compromised
    )
}

fn walk_line(report: &RotationReport) -> String {
    let walk = &report.walk;
    let ended = walk.ended.as_ref().map(|ended| format!(", the last whole walk ended {ended}")).unwrap_or_default();
    format!("{}{ended}: {} keys looked at, {} moved, {} refused", walk.state, walk.looked_at, walk.moved, walk.refused)
}

fn verified_text(found: &Verified) -> String {
    pairs(&[
        ("verdict", format!("the {} report in {} is as the node signed it", found.kind, found.file.display())),
        ("cluster", found.cluster.clone()),
        ("made", found.until.clone()),
        ("keys", format!("{}, {} overdue", found.chains, found.overdue)),
        ("signed by", signer_text(&found.signer, found.key_pinned)),
    ])
}

fn verified_manifest_text(found: &VerifiedManifest) -> String {
    pairs(&[
        ("verdict", format!("the manifest of ceremony {} in {} is as the node signed it", clean(&found.ceremony), found.file.display())),
        ("cluster", clean(&found.cluster)),
        ("asked", clean(&found.operation)),
        ("ended", format!("{}: {}", clean(&found.ended), clean(&found.outcome))),
        ("signed by", signer_text(&found.signer, found.key_pinned)),
    ])
}

fn signer_text(signer: &str, is_pinned: bool) -> String {
    if is_pinned { format!("{signer}, the key given") } else { format!("{signer}; pin it by --key to exclude a forgery with another key") }
}

#[cfg(test)]
mod tests {
    use daemon::admin::report::{FORMAT, RotationSummary, RotationWalk};

    use super::*;

    pub(super) fn chain(layer: &str, tenant: Option<&str>, service: Option<&str>) -> RotationChain {
        let text = |text: &str| text.to_owned();
        RotationChain {
            layer: text(layer),
            tenant: tenant.map(text),
            service: service.map(text),
            chain: None,
            active_version: 3,
            active_id: None,
            made: text("2026-01-02T03:04:05Z"),
            age_days: 40,
            policy: text("every 30days"),
            last_rotation: Some(text("2026-01-02T03:04:05Z")),
            next_due: Some(text("2026-02-02T03:04:05Z")),
            overdue: true,
            keys_under_older: Some(2),
            compromised: vec![2, 1],
        }
    }

    pub(super) fn signed(chains: Vec<RotationChain>) -> SignedReport {
        let text = |text: &str| text.to_owned();
        SignedReport {
            report: RotationReport {
                format: FORMAT,
                kind: text("rotation"),
                cluster: text("c1"),
                cluster_name: text("bank <b>"),
                version: text("0.1.0"),
                from: text("2025-01-01T00:00:00Z"),
                until: text("2026-02-11T00:00:00Z"),
                tenant: None,
                after: None,
                next: Some(text("service-1")),
                summary: RotationSummary { chains: 2, overdue: 1, unscheduled: 1, compromised: 2, keys_under_older: None, refused: 1 },
                walk: RotationWalk { state: text("walking"), is_current: false, ended: None, looked_at: 7, moved: 5, refused: 0 },
                chains,
                refused: vec![text("Tenant-x: the MAC does not verify\u{1b}")],
            },
            log: "09".repeat(16),
            public_key: "0a".repeat(32),
            signature: "0b".repeat(64),
        }
    }

    #[test]
    fn a_report_says_what_is_overdue_and_where_the_next_part_begins() {
        let unscheduled = RotationChain {
            overdue: false,
            next_due: None,
            keys_under_older: None,
            compromised: Vec::new(),
            ..chain("L3", Some("acme"), Some("billing"))
        };
        let text = rotation_text(&signed(vec![chain("IVK", None, None), unscheduled]));
        for words in [
            "overdue",
            "2, 1",
            "acme/billing",
            "on demand",
            "1 overdue, 1 without",
            "--after service-1",
            "does not verify\\u{1b}",
            "a walk is finding out",
        ] {
            assert!(text.contains(words), "{words} in\n{text}");
        }
    }

    #[test]
    fn a_file_that_is_there_is_not_written_over() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let file = dir.path().join("r.json");
        save(&file, b"first").expect("it is not there yet");
        assert!(save(&file, b"second").expect_err("it is there").message.contains("not there yet"));
        assert_eq!(read(&file).expect("it was written"), "first");
    }

    #[test]
    fn what_is_forged_is_another_failure_than_what_is_no_report() {
        assert_eq!(unverified(Path::new("f"), &ReportError::Forged).kind.code(), 4);
        assert_eq!(unverified(Path::new("f"), &ReportError::Unsigned).kind.code(), 4);
        assert_eq!(unverified(Path::new("f"), &ReportError::OtherKey { found: String::new() }).kind.code(), 4);
        assert_eq!(unverified(Path::new("f"), &ReportError::Unreadable { why: String::new() }).kind.code(), 1);
    }
}
