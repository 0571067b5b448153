//! `cert issue` and `cert explain`: certificates for the peers of a node.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use daemon::certs::{Ca, CertError, ClientName, Holder, Validity, write_private};
use daemon::identity::Explain;
use daemon::system::{SystemClock, rfc3339};
use daemon::tls::{self, TlsError};
use jiff::Timestamp;
use keys::id::{ScopeName, Time};
use keys::policy::Role;
use keys::port::Clock;
use serde::Serialize;
use serde_json::json;

use crate::context::Context;
use crate::failure::{Failure, Kind};
use crate::output::pairs;

const DAY_SECONDS: u64 = 86_400;

/// `cert ...`.
#[derive(Debug, Subcommand)]
pub(crate) enum Cert {
    /// Issue a certificate for a client or a server
    Issue(Box<Issue>),
    /// Say which identity rule a certificate matches, and whom it names
    Explain {
        /// PEM file; its first certificate counts
        cert: PathBuf,
    },
}

/// `cert issue`.
#[derive(Debug, Args)]
pub(crate) struct Issue {
    /// PEM file of the issuing CA's certificate
    #[arg(long, value_name = "FILE", env = "CA_CERT")]
    ca: PathBuf,
    /// PEM file of the issuing CA's private key
    #[arg(long, value_name = "FILE", env = "CA_KEY")]
    ca_key: PathBuf,
    #[command(flatten)]
    holder: Whom,
    /// Sign this PKCS#10 request instead of making a key; of what it says only its key counts
    #[arg(long, value_name = "FILE", conflicts_with = "out_key")]
    csr: Option<PathBuf>,
    /// Valid for so many days
    #[arg(long, value_name = "DAYS", default_value_t = 90)]
    days: u64,
    /// Valid from this time on, as 2026-01-31T12:00:00Z [default: now]
    #[arg(long, value_name = "TIME")]
    not_before: Option<Timestamp>,
    /// Where the certificate goes
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Where the new private key goes
    #[arg(long, value_name = "FILE", required_unless_present = "csr")]
    out_key: Option<PathBuf>,
}

/// Whose certificate it is.
#[derive(Debug, Args)]
struct Whom {
    /// A server, reachable under localhost and these DNS names and IP addresses, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',', conflicts_with_all = ["role", "tenant", "name"], required_unless_present = "role")]
    server: Option<Vec<String>>,
    /// A client in this role: service, tenant-admin, edge, operator, custodian or auditor
    #[arg(long, value_parser = role, requires = "name")]
    role: Option<Role>,
    /// The client's tenant, for the roles service and tenant-admin
    #[arg(long)]
    tenant: Option<ScopeName>,
    /// The client's service, or for the other roles a name that tells certificates apart
    #[arg(long)]
    name: Option<ScopeName>,
}

/// What `cert explain` found.
#[derive(Debug, Serialize)]
struct Explained {
    cert: PathBuf,
    not_before: String,
    not_after: String,
    role: Option<&'static str>,
    tenant: Option<String>,
    service: Option<String>,
    rule: Option<usize>,
    steps: Vec<String>,
}

/// Runs `cert ...`.
pub(crate) fn run(context: &Context, command: &Cert) -> Result<(), Failure> {
    match command {
        Cert::Issue(args) => {
            let name = issue(args)?;
            let issued = json!({"out": args.out, "out_key": args.out_key, "name": name, "days": args.days});
            context.out.show(&issued, |_| format!("{}: {name}, valid for {} days", args.out.display(), args.days))
        }
        Cert::Explain { cert } => explain(context, cert),
    }
}

/// Issues a certificate, and returns whom it names.
fn issue(args: &Issue) -> Result<String, Failure> {
    let holder = args.holder.parse()?;
    let validity = validity(args.not_before, args.days, SystemClock.now())?;
    let ca = Ca::load(&args.ca, &args.ca_key)?;
    match (&args.csr, &args.out_key) {
        (Some(csr), _) => {
            let request =
                std::fs::read_to_string(csr).map_err(|error| Failure::failed(format!("cannot read {}: {error}", csr.display())))?;
            write_private(&args.out, ca.sign(&request, &holder, validity)?.as_bytes())?;
        }
        (None, Some(key)) => ca.issue(&holder, validity)?.write(&args.out, key)?,
        (None, None) => return Err(Failure::usage("give --out-key FILE, or --csr FILE")),
    }
    Ok(match holder {
        Holder::Client(client) => client.uri(),
        Holder::Server { names } => [vec!["localhost".to_owned()], names].concat().join(" "),
    })
}

impl Whom {
    fn parse(&self) -> Result<Holder, Failure> {
        match (&self.server, self.role, &self.name) {
            (Some(names), ..) => Ok(Holder::Server { names: names.iter().filter(|name| !name.is_empty()).cloned().collect() }),
            (None, Some(role), Some(name)) => {
                let client = ClientName::new(self.tenant.clone(), name.clone(), role);
                client.map(Holder::Client).map_err(|error| Failure::of(Kind::Usage, &error))
            }
            (None, ..) => Err(Failure::usage("give --role and --name, or --server")),
        }
    }
}

fn validity(not_before: Option<Timestamp>, days: u64, now: Time) -> Result<Validity, Failure> {
    let from = not_before.map_or(now, |time| Time::from_seconds(time.as_second()));
    let length = Duration::from_secs(days.saturating_mul(DAY_SECONDS));
    Validity::starting(from, length).map_err(|error| Failure::of(Kind::Usage, &error))
}

fn role(text: &str) -> Result<Role, String> {
    Role::from_name(text).ok_or_else(|| format!("use one of {}", Role::ALL.map(Role::name).join(", ")))
}

fn explain(context: &Context, path: &Path) -> Result<(), Failure> {
    let certificate = tls::chain(path)?.swap_remove(0);
    let (not_before, not_after) = tls::dates(path, &certificate)?;
    let explain = context.config()?.identity.explain(&certificate);
    context.out.show(&explained(path, (not_before, not_after), &explain), explained_text)?;
    let valid = (not_before..=not_after).contains(&SystemClock.now());
    match explain.outcome() {
        Ok(_) if valid => Ok(()),
        Ok(_) => Err(Failure::unverified(format!("{} is not valid now: nobody gets in with it", path.display()))),
        Err(refusal) => Err(Failure::unverified(format!("{} names nobody here: {refusal}", path.display()))),
    }
}

fn explained(path: &Path, (not_before, not_after): (Time, Time), explain: &Explain) -> Explained {
    let decided = explain.outcome().ok();
    let principal = decided.map(|(principal, _)| principal);
    Explained {
        cert: path.to_owned(),
        not_before: rfc3339(not_before),
        not_after: rfc3339(not_after),
        role: principal.map(|principal| principal.role.name()),
        tenant: principal.and_then(|principal| principal.tenant.as_ref()).map(ToString::to_string),
        service: principal.and_then(|principal| principal.service.as_ref()).map(ToString::to_string),
        rule: decided.map(|(_, rule)| rule),
        steps: explain.lines().collect(),
    }
}

fn explained_text(explained: &Explained) -> String {
    let mut rows = vec![("certificate", explained.cert.display().to_string())];
    rows.push(("valid", format!("{} to {}", explained.not_before, explained.not_after)));
    rows.extend(explained.steps.iter().map(|step| ("", step.clone())));
    pairs(&rows)
}

impl From<TlsError> for Failure {
    fn from(error: TlsError) -> Self {
        Self::of(Kind::Failed, &error)
    }
}

impl From<CertError> for Failure {
    fn from(error: CertError) -> Self {
        let kind = if matches!(error, CertError::ServerName { .. }) { Kind::Usage } else { Kind::Failed };
        Self::of(kind, &error)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A CA in this folder: `ca.pem`, `ca.key`.
    pub(crate) fn ca(dir: &Path) -> (PathBuf, PathBuf) {
        let (cert, key) = (dir.join("ca.pem"), dir.join("ca.key"));
        let validity = validity(None, 1, SystemClock.now()).expect("a day from now");
        let (_, issued) = Ca::create("test", validity).expect("the system has randomness");
        issued.write(&cert, &key).expect("the folder is ours");
        (cert, key)
    }

    fn to_issue(dir: &Path, whom: Whom) -> Issue {
        let (ca, ca_key) = ca(dir);
        Issue { ca, ca_key, holder: whom, csr: None, days: 2, not_before: None, out: dir.join("c.pem"), out_key: Some(dir.join("c.key")) }
    }

    fn service() -> Whom {
        let name = |text: &str| text.parse().expect("a name");
        Whom { server: None, role: Some(Role::Service), tenant: Some(name("acme")), name: Some(name("billing")) }
    }

    #[test]
    fn an_issued_certificate_names_whom_it_was_issued_for() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let args = to_issue(dir.path(), service());
        issue(&args).expect("it is issued");
        let found = tls::chain(&args.out).expect("it was written");
        let (from, to) = tls::dates(&args.out, &found[0]).expect("it is whole");
        assert_eq!(to.seconds() - from.seconds(), 2 * 86_400);
        let explained = explained(&args.out, (from, to), &daemon::identity::Rules::default().explain(&found[0]));
        assert_eq!(
            (explained.role, explained.tenant.as_deref(), explained.service.as_deref()),
            (Some("service"), Some("acme"), Some("billing"))
        );
        assert_eq!(explained.rule, Some(0));
        assert!(explained_text(&explained).contains("identity.rules[0]"));
    }

    #[test]
    fn an_expired_certificate_can_be_issued_on_purpose() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let past = "2020-01-01T00:00:00Z".parse().expect("a time");
        let args = Issue { not_before: Some(past), ..to_issue(dir.path(), service()) };
        issue(&args).expect("it is issued");
        let (_, to) = tls::dates(&args.out, &tls::chain(&args.out).expect("it was written")[0]).expect("it is whole");
        assert_eq!(rfc3339(to), "2020-01-03T00:00:00Z");
    }

    #[test]
    fn a_role_without_its_tenant_is_a_usage_error() {
        let refused = |whom: Whom| whom.parse().expect_err("it cannot be meant").kind;
        assert_eq!(refused(Whom { tenant: None, ..service() }), Kind::Usage);
        assert_eq!(refused(Whom { role: Some(Role::Operator), ..service() }), Kind::Usage);
        assert_eq!(refused(Whom { role: None, ..service() }), Kind::Usage);
        assert_eq!(refused(Whom { name: None, ..service() }), Kind::Usage);
    }

    #[test]
    fn a_time_beyond_all_calendars_is_a_usage_error() {
        assert_eq!(validity(None, u64::MAX, SystemClock.now()).expect_err("too long").kind, Kind::Usage);
        assert_eq!(validity(None, 0, SystemClock.now()).expect_err("no time at all").kind, Kind::Usage);
    }
}
