//! Format version 1 as it was released: the bytes never change.

use std::fs;
use std::path::Path;

use audit::verify;
use keys::port::AuditSink;
use keys::record::{Outcome, Record};

use crate::support::{SEED, entry, key, open, public, record, session};

/// Two segments with every kind of line, and an unsigned tail.
fn write(dir: &Path) {
    let (log, _) = open(dir, 400);
    log.session(&session(1)).expect("the log takes a session");
    log.append(&[Record { object: None, version: None, generation: None, outcome: Outcome::Denied, ..record(1) }])
        .expect("the log takes a record");
    log.set_key(key(SEED)).expect("the log was never signed");
    log.settle(&[entry(1), entry(2)]).expect("the log takes settled records");
    log.flush().expect("the log can be signed");
    log.append(&[record(3)]).expect("the log takes a record");
}

#[test]
fn version_1_is_written_as_it_was_released() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    write(dir.path());
    for (name, golden) in [("000000000001.log", V1_FIRST), ("000000000002.log", V1_SECOND)] {
        assert_eq!(fs::read(dir.path().join(name)).expect("the segment was written"), golden, "{name}");
    }
}

#[test]
fn version_1_as_it_was_released_verifies() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    fs::write(dir.path().join("000000000001.log"), V1_FIRST).expect("the directory is writable");
    fs::write(dir.path().join("000000000002.log"), V1_SECOND).expect("the directory is writable");
    let report = verify(dir.path(), Some(public(SEED))).expect("the fixture is sound");
    assert_eq!((report.segments, report.sessions, report.records, report.signatures, report.unsigned), (2, 1, 4, 1, 1));
}

const V1_FIRST: &[u8] = include_bytes!("../golden/v1-000000000001.log");
const V1_SECOND: &[u8] = include_bytes!("../golden/v1-000000000002.log");
