//! The audit log: can it be written, does it verify, and does the clock agree with it?

use ::audit::{AuditError, Report};
use daemon::admin::types::Status;
use daemon::layout::Layout;
use daemon::system::{SystemClock, rfc3339};
use keys::id::Time;
use keys::port::Clock;

use crate::doctor::Finding;
use crate::failure::{Failure, Kind};

/// A clock that runs behind the log by more was set back.
const CLOCK_TOLERANCE_SECONDS: i64 = 5;

/// 2026-01-01: no clock that is right shows less.
const CLOCK_LEAST_SECONDS: i64 = 1_767_225_600;

/// Writable, verified, and not from the future.
pub(super) fn check(layout: &Layout, status: Option<&Status>) -> Vec<Finding> {
    let mut findings = vec![writable(status)];
    let report = ::audit::verify(&layout.audit(), None);
    findings.push(verified(&report));
    findings.push(clock(report.ok().and_then(|report| report.last_time), SystemClock.now()));
    findings
}

fn writable(status: Option<&Status>) -> Finding {
    match status.map(|status| status.audit.as_str()) {
        None => Finding::unknown("audit log", "the node was not asked whether it can write it"),
        Some("writable") => Finding::good("audit log", "the node writes it"),
        Some(why) => Finding::bad("audit log", why, "make room or mend the disk, then restart strongroomd"),
    }
}

fn verified(report: &Result<Report, AuditError>) -> Finding {
    match report {
        Ok(Report { records, sessions, unsigned, .. }) => Finding::good(
            "audit chain",
            format!("verifies; {records} records in {sessions} sessions; {unsigned} of both are not signed yet"),
        ),
        Err(error @ AuditError::Io { .. }) => {
            Finding::bad("audit chain", Failure::of(Kind::Failed, error).message, "run doctor as root or as the daemon's user")
        }
        Err(error) => Finding::bad("audit chain", error.to_string(), "see `strongroom audit verify`; keep the folder as evidence"),
    }
}

fn clock(last_record: Option<Time>, now: Time) -> Finding {
    match last_record {
        Some(last) if last.seconds() - now.seconds() > CLOCK_TOLERANCE_SECONDS => {
            let detail = format!("it is {} here, but the audit log has reached {}", rfc3339(now), rfc3339(last));
            Finding::bad("clock", detail, "set the clock (`timedatectl`): certificates and key states follow it")
        }
        _ if now.seconds() < CLOCK_LEAST_SECONDS => {
            let detail = format!("it is {} here, which cannot be", rfc3339(now));
            Finding::bad("clock", detail, "set the clock (`timedatectl`) before anything else: no certificate holds then")
        }
        _ => Finding::good("clock", rfc3339(now)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;
    use crate::node::tests::sealed;

    #[test]
    fn a_log_that_cannot_be_written_is_bad() {
        assert_eq!(writable(None).verdict, Verdict::Unknown);
        assert_eq!(writable(Some(&sealed())).verdict, Verdict::Good);
        let full = Status { audit: "disk full".to_owned(), ..sealed() };
        let found = writable(Some(&full));
        assert_eq!((found.verdict, found.detail.as_str()), (Verdict::Bad, "disk full"));
    }

    #[test]
    fn a_log_that_is_missing_or_broken_is_bad() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        assert_eq!(verified(&::audit::verify(&dir.path().join("absent"), None)).verdict, Verdict::Bad);
        std::fs::write(dir.path().join("000000000001.log"), "not a log").expect("the folder is ours");
        let broken = verified(&::audit::verify(dir.path(), None));
        assert!(broken.verdict == Verdict::Bad && broken.todo.is_some_and(|todo| todo.contains("evidence")));
    }

    #[test]
    fn a_clock_behind_the_log_is_bad() {
        let now = 1_800_000_000;
        let at = |ahead: i64| clock(Some(Time::from_seconds(now + ahead)), Time::from_seconds(now)).verdict;
        assert_eq!([at(-100), at(0), at(5), at(6)], [Verdict::Good, Verdict::Good, Verdict::Good, Verdict::Bad]);
        assert_eq!(clock(None, Time::from_seconds(now)).verdict, Verdict::Good);
    }

    #[test]
    fn a_clock_that_begins_anew_in_1970_is_bad_also_without_a_log() {
        let found = clock(None, Time::from_seconds(90));
        assert!(found.verdict == Verdict::Bad && found.detail.contains("1970-01-01"), "{found:?}");
    }
}
