//! `audit verify`: checks an audit log from its files alone.

use std::path::{Path, PathBuf};

use ::audit::{AuditError, Report};
use clap::Subcommand;
use daemon::system::rfc3339;
use data_encoding::HEXLOWER_PERMISSIVE;
use serde::Serialize;

use crate::context::Context;
use crate::failure::{Failure, Kind};
use crate::output::pairs;

/// `audit ...`.
#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// Verify chain, numbers, sessions, Merkle roots and signatures of the whole log
    ///
    /// Works on a running, a stopped and a sealed node, and on a copy of the folder. Exit code 4 if the log is not what was written.
    Verify {
        /// The log's folder; that of the configured data_dir if left out
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
        /// Ed25519 public key that must have signed, as 64 hexadecimal digits; without it any one key may have
        #[arg(long, value_name = "HEX", value_parser = public_key)]
        key: Option<[u8; 32]>,
    },
}

/// What `audit verify` found.
#[derive(Debug, Serialize)]
struct Verified {
    dir: PathBuf,
    log_id: String,
    segments: u64,
    records: u64,
    sessions: u64,
    last_seq: u64,
    head: String,
    signatures: u64,
    signer: Option<String>,
    key_pinned: bool,
    unsigned: u64,
    torn_bytes: u64,
    first_time: Option<String>,
    last_time: Option<String>,
    clock_set_back: Option<ClockSetBack>,
    sessions_lost: u64,
}

#[derive(Debug, Serialize)]
struct ClockSetBack {
    times: u64,
    first_seq: u64,
}

/// Runs `audit ...`.
pub(crate) fn run(context: &Context, command: &Audit) -> Result<(), Failure> {
    let Audit::Verify { dir, key } = command;
    let dir = match dir {
        Some(dir) => dir.clone(),
        None => context.layout()?.audit(),
    };
    let report = ::audit::verify(&dir, *key).map_err(|error| failure(&error))?;
    context.out.show(&verified(&dir, report, key.is_some()), text)
}

fn failure(error: &AuditError) -> Failure {
    let kind = match error {
        AuditError::Broken(_) | AuditError::OtherLog { .. } | AuditError::OtherKey { .. } => Kind::Unverified,
        AuditError::Io { .. } | AuditError::InUse { .. } => Kind::Failed,
    };
    Failure::of(kind, error)
}

pub(crate) fn public_key(text: &str) -> Result<[u8; 32], &'static str> {
    let key = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok().and_then(|key| key.try_into().ok());
    key.ok_or("an Ed25519 public key has 64 hexadecimal digits")
}

fn verified(dir: &Path, report: Report, key_pinned: bool) -> Verified {
    Verified {
        dir: dir.to_owned(),
        log_id: ::audit::Hex(report.log_id.0.to_vec()).to_string(),
        segments: report.segments,
        records: report.records,
        sessions: report.sessions,
        last_seq: report.last_seq,
        head: report.head.to_string(),
        signatures: report.signatures,
        signer: report.signer.map(|signer| signer.to_string()),
        key_pinned,
        unsigned: report.unsigned,
        torn_bytes: report.torn_bytes,
        first_time: report.first_time.map(rfc3339),
        last_time: report.last_time.map(rfc3339),
        clock_set_back: report.clock_set_back.map(|(times, first_seq)| ClockSetBack { times, first_seq }),
        sessions_lost: report.sessions_lost,
    }
}

fn text(found: &Verified) -> String {
    let span = match (&found.first_time, &found.last_time) {
        (Some(first), Some(last)) => format!("{first} to {last}"),
        _ => "empty".to_owned(),
    };
    let mut rows = vec![
        ("verdict", format!("the audit log in {} verifies", found.dir.display())),
        ("log", format!("{}, {} segments", found.log_id, found.segments)),
        ("records", format!("{} records and {} sessions, the last is {}", found.records, found.sessions, found.last_seq)),
        ("time", span),
        ("head", found.head.clone()),
        ("signatures", signatures(found)),
    ];
    rows.extend((found.unsigned > 0).then(|| ("unsigned tail", format!("{} at the end are not signed yet", found.unsigned))));
    rows.extend((found.torn_bytes > 0).then(|| ("torn line", format!("{} bytes that the next start removes", found.torn_bytes))));
    let set_back = found.clock_set_back.as_ref();
    rows.extend(set_back.map(|clock| ("note", format!("the clock was set back {} times, first before {}", clock.times, clock.first_seq))));
    let lost = found.sessions_lost;
    rows.extend((lost > 0).then(|| ("note", format!("{lost} changes have lost their session's record in a power failure"))));
    pairs(&rows)
}

fn signatures(found: &Verified) -> String {
    match (&found.signer, found.key_pinned) {
        (None, _) => "none yet: the log is signed after the first unseal".to_owned(),
        (Some(signer), true) => format!("{} by {signer}, the key given", found.signatures),
        (Some(signer), false) => format!("{} by {signer}; pin it by --key to exclude a log written anew", found.signatures),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            log_id: ::audit::LogId([0xab; 16]),
            segments: 1,
            records: 2,
            sessions: 1,
            last_seq: 3,
            head: ::audit::Hex(vec![1, 2]),
            signatures: 1,
            signer: Some(::audit::Hex(vec![9; 32])),
            unsigned: 0,
            torn_bytes: 0,
            first_time: Some(keys::id::Time::from_seconds(0)),
            last_time: Some(keys::id::Time::from_seconds(1)),
            clock_set_back: None,
            sessions_lost: 0,
        }
    }

    #[test]
    fn a_sound_log_is_summed_up() {
        let text = text(&verified(Path::new("/d"), report(), false));
        let expected = format!(
            "verdict     the audit log in /d verifies\n\
             log         {}, 1 segments\n\
             records     2 records and 1 sessions, the last is 3\n\
             time        1970-01-01T00:00:00Z to 1970-01-01T00:00:01Z\n\
             head        0102\n\
             signatures  1 by {}; pin it by --key to exclude a log written anew\n",
            "ab".repeat(16),
            "09".repeat(32)
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn what_is_odd_without_being_wrong_is_told() {
        let odd = Report { unsigned: 4, torn_bytes: 7, clock_set_back: Some((1, 2)), sessions_lost: 3, signer: None, ..report() };
        let text = text(&verified(Path::new("/d"), odd, true));
        for words in ["4 at the end are not signed", "7 bytes that", "set back 1 times, first before 2", "3 changes", "none yet"] {
            assert!(text.contains(words), "{words}: {text}");
        }
    }

    #[test]
    fn the_machine_form_keeps_its_names() {
        let json = serde_json::to_value(verified(Path::new("/d"), report(), true)).expect("a plain structure");
        let names: Vec<&str> = json.as_object().expect("an object").keys().map(String::as_str).collect();
        let expected = [
            "clock_set_back",
            "dir",
            "first_time",
            "head",
            "key_pinned",
            "last_seq",
            "last_time",
            "log_id",
            "records",
            "segments",
            "sessions",
            "sessions_lost",
            "signatures",
            "signer",
            "torn_bytes",
            "unsigned",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn a_key_is_64_hexadecimal_digits() {
        assert_eq!(public_key(&"0A".repeat(32)), Ok([10; 32]));
        for bad in ["", "0a", &"0a".repeat(31), &"0a".repeat(33), &"zz".repeat(32)] {
            assert!(public_key(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_folder_without_a_log_is_not_verified() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let error = ::audit::verify(dir.path(), None).expect_err("there is no segment");
        assert_eq!(failure(&error).kind, Kind::Unverified);
        let error = ::audit::verify(&dir.path().join("absent"), None).expect_err("there is no folder");
        assert_eq!(failure(&error).kind, Kind::Failed);
    }
}
