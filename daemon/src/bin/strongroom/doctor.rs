//! `doctor`: looks at everything a node needs, and says what is wrong and what to do.

mod client;
mod consumer;
mod files;
mod host;
mod log;
mod node;
mod slots;
mod tls;

use std::fmt;

use clap::Args;
use clap::builder::PossibleValuesParser;
use daemon::config::Config;
use daemon::layout::Layout;
use serde::Serialize;

use crate::context::{Context, wait};
use crate::failure::Failure;
use crate::kmip::connection::Server;
use crate::output::{clean, columns, folded};

/// `doctor`.
#[derive(Debug, Args)]
#[command(after_help = "\
With --client, a server other than this node may be asked, of any vendor: everything that the client would need is done there under names that
nobody else uses, and destroyed at the end. Exit code 1 says that something would fail.")]
pub(crate) struct DoctorArgs {
    /// Replay what this program sends to its KMIP server, and say what would fail there, instead of looking at this node
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(consumer::CONSUMERS.iter().map(|consumer| consumer.name)))]
    client: Option<String>,
    #[command(flatten)]
    server: Server,
}

/// Every check that a finding can be of; docs/RUNBOOK.md explains each.
const CHECKS: &[&str] = &[
    "config",
    "data folder",
    "cluster",
    "private key",
    "device program",
    "PKCS#11 module",
    "TPM",
    "credential",
    "PIN",
    "TLS",
    "CRL",
    "server certificate",
    "client CA",
    "edge certificate",
    "node",
    "state",
    "memory",
    "confinement",
    "swap",
    "slots",
    "devices",
    "audit log",
    "audit chain",
    "clock",
];

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    check: &'static str,
    verdict: Verdict,
    detail: String,
    /// What to do about it.
    #[serde(rename = "do")]
    todo: Option<String>,
}

/// How it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Good,
    Warning,
    Bad,
    Unknown,
}

impl Finding {
    fn good(check: &'static str, detail: impl Into<String>) -> Self {
        Self::new(check, Verdict::Good, detail.into(), None)
    }

    fn warning(check: &'static str, detail: impl Into<String>, todo: impl Into<String>) -> Self {
        Self::new(check, Verdict::Warning, detail.into(), Some(todo.into()))
    }

    /// A warning that says itself what to do.
    fn said(check: &'static str, detail: impl Into<String>) -> Self {
        Self::new(check, Verdict::Warning, detail.into(), None)
    }

    fn bad(check: &'static str, detail: impl Into<String>, todo: impl Into<String>) -> Self {
        Self::new(check, Verdict::Bad, detail.into(), Some(todo.into()))
    }

    fn unknown(check: &'static str, detail: impl Into<String>) -> Self {
        Self::new(check, Verdict::Unknown, detail.into(), None)
    }

    fn new(check: &'static str, verdict: Verdict, detail: String, todo: Option<String>) -> Self {
        debug_assert!(CHECKS.contains(&check), "{check} is not in the list, so the runbook may not know it");
        Self { check, verdict, detail, todo }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Good => "ok",
            Self::Warning => "WARN",
            Self::Bad => "FAIL",
            Self::Unknown => "-",
        })
    }
}

/// Runs every check that the state of things allows, or a client's replay.
pub(crate) fn run(context: &Context, args: &DoctorArgs) -> Result<(), Failure> {
    if let Some(name) = &args.client {
        return client::run(context, name, &args.server);
    }
    let findings = match context.config() {
        Ok(config) => all(context, &config),
        Err(failure) => vec![Finding::bad("config", failure.message, "correct it; `strongroom config check` checks it again")],
    };
    context.out.show(&findings, |findings| findings_text(findings))?;
    verdict(&findings)
}

fn all(context: &Context, config: &Config) -> Vec<Finding> {
    let layout = Layout::new(&config.data_dir);
    let file = context.config_path().unwrap_or_default();
    let mut findings = vec![Finding::good("config", format!("{} is valid", file.display()))];
    findings.extend(files::check(config, &layout));
    findings.extend(host::check(config));
    findings.extend(tls::check(config));
    let status = context.client().and_then(|client| Ok(wait(client.status())?));
    let slots = context.client().and_then(|client| Ok(wait(client.slots())?));
    findings.extend(node::check(config, status.as_ref()));
    findings.extend(slots.map_or_else(|_| slots::check(&layout), |slots| node::slots(&slots)));
    findings.extend(log::check(&layout, status.as_ref().ok()));
    findings
}

fn verdict(findings: &[Finding]) -> Result<(), Failure> {
    let bad: Vec<&str> = findings.iter().filter(|finding| finding.verdict == Verdict::Bad).map(|finding| finding.check).collect();
    match bad.len() {
        0 => Ok(()),
        count => Err(Failure::failed(format!("{count} of {} checks failed: {}", findings.len(), bad.join(", ")))),
    }
}

fn findings_text(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.check.len()).max().unwrap_or(0);
    let line = |finding: &Finding| {
        let indent = width + 8;
        let todo = finding.todo.as_ref().map(|todo| format!("\n{:indent$}{}", "", clean(todo))).unwrap_or_default();
        format!("{:<4}  {:<width$}  {}{todo}\n", finding.verdict, finding.check, clean(&finding.detail))
    };
    folded(&findings.iter().map(line).collect::<String>(), width + 8, columns())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings() -> Vec<Finding> {
        vec![
            Finding::good("config", "it is valid"),
            Finding::warning("slots", "one slot", "add another"),
            Finding::bad("device program", "missing", "install it"),
            Finding::unknown("node", "not asked"),
        ]
    }

    #[test]
    fn each_check_is_a_line_with_what_to_do_below() {
        let expected = "\
ok    config          it is valid
WARN  slots           one slot
                      add another
FAIL  device program  missing
                      install it
-     node            not asked
";
        assert_eq!(findings_text(&findings()), expected);
    }

    #[test]
    fn the_runbook_explains_every_check_and_no_other() {
        let runbook = include_str!("../../../../docs/RUNBOOK.md");
        let (_, part) = runbook.split_once("\n## Doctor\n").expect("a part on doctor");
        let (part, _) = part.split_once("\n## ").expect("another part follows");
        let explained: Vec<&str> = part.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        assert_eq!(explained, CHECKS, "left: docs/RUNBOOK.md; right: doctor");
    }

    #[test]
    fn only_what_is_bad_fails() {
        let failure = verdict(&findings()).expect_err("one is bad");
        assert_eq!(failure, Failure::failed("1 of 4 checks failed: device program"));
        assert_eq!(verdict(&findings()[..2]), Ok(()));
    }

    #[test]
    fn the_machine_form_keeps_its_names() {
        let json = serde_json::to_string(&findings()[1]).expect("a plain structure");
        assert_eq!(json, r#"{"check":"slots","verdict":"warning","detail":"one slot","do":"add another"}"#);
    }
}
