//! The KMIP listener's certificates: do they fit together, and how long are they valid?

use std::path::Path;
use std::sync::Arc;

use daemon::config::{Config, Listener};
use daemon::system::{SystemClock, rfc3339};
use daemon::tls::{self, ServerTls};
use keys::id::Time;
use keys::port::Clock;

use crate::doctor::Finding;

/// A certificate that ends sooner is told.
const SOON_SECONDS: i64 = 30 * 86_400;

/// Of each listener the server certificate with its key, and the CAs of the clients.
pub(super) fn check(config: &Config) -> Vec<Finding> {
    let listeners = &config.listeners;
    let all = [("kmip", &listeners.kmip), ("https", &listeners.https), ("admin", &listeners.admin)];
    let mut findings = Vec::new();
    for (name, listener) in all {
        findings.extend(listener.iter().flat_map(|listener| listener_check(name, listener, SystemClock.now())));
    }
    if let Some(edge) = &config.edge {
        findings.extend(expiry("edge certificate", &edge.cert, "replace it by one that the CA of the cores has issued", SystemClock.now()));
    }
    if listeners.kmip.is_none() {
        findings.push(Finding::unknown("TLS", "no KMIP listener is configured"));
    }
    findings
}

fn listener_check(name: &str, listener: &Listener, now: Time) -> Vec<Finding> {
    let mut findings = match ServerTls::load(listener, Arc::new(SystemClock)) {
        Ok((_, faults)) => {
            let good = Finding::good("TLS", format!("certificates, keys and CAs for {} fit together", listener.bind));
            let crls =
                faults.into_iter().map(|fault| Finding::bad("CRL", fault.to_string(), format!("correct the file of listeners.{name}.crl")));
            [good].into_iter().chain(crls).collect()
        }
        Err(error) => vec![Finding::bad("TLS", error.to_string(), format!("correct the files of listeners.{name}"))],
    };
    if listener.crl.is_none() {
        let todo = format!("set listeners.{name}.crl to a file with the CAs' revocation lists");
        findings.push(Finding::warning("CRL", "revoked clients are let in: crl is none".to_owned(), todo));
    }
    for files in &listener.certificates {
        findings.extend(expiry("server certificate", &files.cert, "replace it by one that `strongroom cert issue --server` makes", now));
    }
    findings.extend(expiry("client CA", &listener.client_ca, "add its successor to the file, and have clients renewed", now));
    findings
}

/// A finding per certificate of a file that can be read; one that cannot is told by the check before.
fn expiry(check: &'static str, path: &Path, todo: &str, now: Time) -> Vec<Finding> {
    let certificates = tls::chain(path).unwrap_or_default();
    let dates = certificates.iter().filter_map(|certificate| tls::dates(path, certificate).ok());
    dates.map(|dates| judged(check, path, dates, todo, now)).collect()
}

fn judged(check: &'static str, path: &Path, (from, to): (Time, Time), todo: &str, now: Time) -> Finding {
    let name = path.display();
    if now < from {
        return Finding::bad(check, format!("{name} is valid from {} only", rfc3339(from)), "check the clock, or replace the certificate");
    }
    if now > to {
        return Finding::bad(check, format!("{name} ended on {}", rfc3339(to)), todo);
    }
    match to.seconds() - now.seconds() {
        seconds if seconds < SOON_SECONDS => Finding::warning(check, format!("{name} ends on {}", rfc3339(to)), todo),
        _ => Finding::good(check, format!("{name} is valid until {}", rfc3339(to))),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use daemon::config::CertificateFiles;

    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn a_certificate_is_judged_by_the_day() {
        const DAY: i64 = 86_400;
        let dates = (Time::from_seconds(10 * DAY), Time::from_seconds(100 * DAY));
        let on = |day: i64| judged("client CA", Path::new("f"), dates, "renew", Time::from_seconds(day * DAY)).verdict;
        assert_eq!(
            [on(9), on(10), on(70), on(71), on(100), on(101)],
            [Verdict::Bad, Verdict::Good, Verdict::Good, Verdict::Warning, Verdict::Warning, Verdict::Bad]
        );
    }

    #[test]
    fn files_that_do_not_fit_together_are_bad() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (ca, _) = crate::cert::tests::ca(dir.path());
        let bind = "127.0.0.1:0".parse().expect("an address");
        let certificates = vec![CertificateFiles { cert: ca.clone(), key: dir.path().join("absent") }];
        let listener = Listener { bind, certificates, client_ca: ca, crl: None, crl_grace: Duration::ZERO };
        let findings = listener_check("https", &listener, SystemClock.now());
        assert_eq!(findings[0].verdict, Verdict::Bad, "{findings:?}");
        assert!(findings[0].todo.as_deref().is_some_and(|todo| todo.contains("listeners.https")), "{findings:?}");
        let ends: Vec<Verdict> = findings[1..].iter().map(|finding| finding.verdict).collect();
        assert_eq!(ends, [Verdict::Warning, Verdict::Warning, Verdict::Warning], "no CRL, and both end tomorrow");
    }
}
