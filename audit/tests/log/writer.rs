//! What the log promises to those who write to it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use audit::{AuditError, Flaw, GROUP_RECORDS_MAX, Log, LogId, Settings, SyncMode, verify};
use keys::id::{OutboxSeq, Time};
use keys::port::AuditSink;
use keys::record::{Origin, Record, SessionRecord};
use tempfile::tempdir;

use crate::support::{
    END, ID, SEED, all_lines, entry, generations_and_outbox, key, lines, open, path, public, record, session, settings, signed_ranges,
    write_lines,
};

const BIG: u64 = 1 << 20;

fn error(dir: &Path, log_id: LogId) -> AuditError {
    Log::open(dir, settings(BIG), log_id).err().expect("the log must not open")
}

/// One session, then records with the generations given, flushed after each.
fn fill(log: &Log, generations: std::ops::RangeInclusive<u64>) {
    log.session(&session(1)).expect("the log takes a session");
    for number in generations {
        log.append(&[record(number)]).expect("the log takes a record");
        log.flush().expect("the log can be flushed");
    }
}

#[test]
fn what_was_written_is_counted_and_signed() {
    let dir = tempdir().expect("a temporary directory");
    let (log, report) = open(dir.path(), BIG);
    assert_eq!((report.segment, report.next_seq, report.repaired_bytes, report.outbox), (1, 1, 0, OutboxSeq(0)));
    log.set_key(key(SEED)).expect("the log was never signed");
    log.session(&session(1)).expect("the log takes a session");
    log.append(&[record(1), record(2)]).expect("the log takes records");
    log.settle(&[entry(1)]).expect("the log takes settled records");
    log.flush().expect("the log can be flushed");
    log.append(&[record(3)]).expect("the log takes records");
    let report = verify(dir.path(), Some(public(SEED))).expect("the log is sound");
    assert_eq!((report.sessions, report.records, report.signatures, report.unsigned, report.last_seq), (1, 4, 1, 1, 5));
    assert_eq!(report.first_time, Some(session(1).time));
    assert_eq!(report.last_time, Some(record(3).time));
    assert_eq!((report.log_id, report.torn_bytes, report.clock_set_back, report.sessions_lost), (ID, 0, None, 0));
}

#[test]
fn the_highest_time_is_known_after_the_next_start() {
    let dir = tempdir().expect("a temporary directory");
    let (log, report) = open(dir.path(), BIG);
    assert_eq!(report.last_time, Time::default());
    log.session(&session(1)).expect("the log takes a session");
    drop(log);
    let (log, report) = open(dir.path(), BIG);
    assert_eq!(report.last_time, session(1).time);
    log.append(&[record(9), record(4)]).expect("the log takes records");
    drop(log);
    assert_eq!(open(dir.path(), BIG).1.last_time, record(9).time, "a clock that was set back counts for less");
}

#[test]
fn a_segment_that_has_just_begun_does_not_hide_the_highest_time() {
    let dir = tempdir().expect("a temporary directory");
    let (log, _) = open(dir.path(), 300);
    log.set_key(key(SEED)).expect("the log was never signed");
    fill(&log, 1..=5);
    drop(log);
    let newest = all_lines(dir.path()).pop().expect("there are segments");
    assert_eq!(newest.len(), 1, "the newest segment has a header only");
    assert_eq!(open(dir.path(), 300).1.last_time, record(5).time);
}

#[test]
fn a_torn_or_changed_record_does_not_move_the_highest_time() {
    let dir = tempdir().expect("a temporary directory");
    let (log, _) = open(dir.path(), 300);
    log.set_key(key(SEED)).expect("the log was never signed");
    log.session(&session(1)).expect("the log takes a session");
    log.append(&[record(1), record(2), record(3)]).expect("the log takes records");
    log.flush().expect("the log can be flushed");
    drop(log);
    let mut segments = all_lines(dir.path());
    assert_eq!(segments.iter().map(Vec::len).collect::<Vec<_>>(), [7, 1], "header, session, records, signature, end; header");
    segments[0][4][11..19].copy_from_slice(&i64::MAX.to_be_bytes());
    let torn = segments[0][4][..60].to_vec();
    segments[1].push(torn);
    write_lines(dir.path(), &segments);
    let (_, report) = open(dir.path(), 300);
    assert_eq!((report.repaired_bytes, report.last_time), (60, record(2).time));
}

#[test]
fn only_the_owner_can_read_the_log() {
    let parent = tempdir().expect("a temporary directory");
    let dir = parent.path().join("audit");
    let (_log, _) = open(&dir, BIG);
    let mode = |path: &Path| fs::metadata(path).expect("it exists").permissions().mode() & 0o777;
    assert_eq!((mode(&dir), mode(&path(&dir, 1)), mode(&dir.join("lock"))), (0o700, 0o600, 0o600));
}

#[test]
fn a_second_writer_is_kept_out() {
    let dir = tempdir().expect("a temporary directory");
    let (log, _) = open(dir.path(), BIG);
    assert!(matches!(error(dir.path(), ID), AuditError::InUse { .. }));
    drop(log);
    open(dir.path(), BIG);
}

#[test]
fn the_log_of_another_node_is_refused() {
    let dir = tempdir().expect("a temporary directory");
    drop(open(dir.path(), BIG));
    assert!(matches!(error(dir.path(), LogId([8; 16])), AuditError::OtherLog { .. }));
}

#[test]
fn another_key_cannot_go_on_signing() {
    let dir = tempdir().expect("a temporary directory");
    let (log, _) = open(dir.path(), BIG);
    log.set_key(key(SEED)).expect("the log was never signed");
    assert!(matches!(log.set_key(key([1; 32])), Err(AuditError::OtherKey { .. })));
    fill(&log, 1..=1);
    drop(log);
    let (log, _) = open(dir.path(), BIG);
    assert!(matches!(log.set_key(key([1; 32])), Err(AuditError::OtherKey { .. })));
    log.set_key(key(SEED)).expect("it is the same key");
}

#[test]
fn no_signature_covers_more_than_a_group() {
    let dir = tempdir().expect("a temporary directory");
    let (log, _) = open(dir.path(), BIG);
    log.set_key(key(SEED)).expect("the log was never signed");
    log.session(&session(1)).expect("the log takes a session");
    for number in 1..=1500 {
        log.append(&[record(number)]).expect("the log takes a record");
    }
    log.append(&(1501..=3500).map(record).collect::<Vec<_>>()).expect("the log takes many records");
    log.flush().expect("the log can be flushed");
    let ranges = signed_ranges(dir.path());
    assert!(ranges.len() >= 4 && ranges.iter().all(|(first, last)| last - first < GROUP_RECORDS_MAX), "{ranges:?}");
    assert_eq!(verify(dir.path(), Some(public(SEED))).expect("the log is sound").unsigned, 0);
}

#[test]
fn a_flush_without_news_writes_nothing() {
    let dir = tempdir().expect("a temporary directory");
    let (log, _) = open(dir.path(), BIG);
    log.set_key(key(SEED)).expect("the log was never signed");
    fill(&log, 1..=2);
    let before = fs::read(path(dir.path(), 1)).expect("the segment can be read");
    log.flush().expect("the log can be flushed");
    assert_eq!(fs::read(path(dir.path(), 1)).expect("the segment can be read"), before);
}

/// Sealed through three starts and several segments; the first signature covers all of it.
#[test]
fn a_late_key_signs_the_whole_unsigned_tail() {
    let dir = tempdir().expect("a temporary directory");
    for start in 0..3 {
        let (log, report) = open(dir.path(), 700);
        assert_eq!(report.unsigned + 1, report.next_seq);
        fill(&log, start * 10 + 1..=start * 10 + 10);
    }
    let sealed = verify(dir.path(), Some(public(SEED))).expect("an unsigned tail is no flaw");
    assert!(sealed.segments > 3);
    assert_eq!((sealed.signatures, sealed.unsigned, sealed.signer), (0, 33, None));
    let (log, _) = open(dir.path(), 700);
    log.set_key(key(SEED)).expect("the log was never signed");
    log.flush().expect("the log can be flushed");
    assert_eq!(signed_ranges(dir.path()), [(1, 33)]);
    log.clear_key();
    fill(&log, 31..=31);
    let report = verify(dir.path(), Some(public(SEED))).expect("the log is sound");
    assert_eq!((report.signatures, report.unsigned), (1, 2));
}

#[test]
fn a_log_goes_on_in_the_next_segment_and_after_the_next_start() {
    let dir = tempdir().expect("a temporary directory");
    for start in 0..4 {
        let (log, report) = open(dir.path(), 1000);
        assert_eq!((report.next_seq, report.unsigned, report.last_session), (start * 11 + 1, 0, u64::from(start > 0)));
        log.set_key(key(SEED)).expect("it is the same key");
        fill(&log, start * 10 + 1..=start * 10 + 10);
    }
    let report = verify(dir.path(), Some(public(SEED))).expect("the log is sound");
    assert!(report.segments >= 8);
    assert_eq!((report.records, report.unsigned), (40, 0));
    assert_eq!(generations_and_outbox(dir.path()).0, (1..=40).collect::<Vec<_>>());
}

#[test]
fn a_torn_last_line_is_removed_and_said_wherever_it_tore() {
    let dir = tempdir().expect("a temporary directory");
    let (log, _) = open(dir.path(), BIG);
    fill(&log, 1..=3);
    drop(log);
    let whole = fs::read(path(dir.path(), 1)).expect("the segment can be read");
    let last = lines(&path(dir.path(), 1)).pop().expect("there are lines").len();
    for left in 1..last {
        fs::write(path(dir.path(), 1), &whole[..whole.len() - last + left]).expect("the segment is writable");
        let before = verify(dir.path(), None).expect("a torn tail is no flaw");
        assert_eq!((before.records, before.torn_bytes), (2, left as u64));
        let (log, report) = open(dir.path(), BIG);
        assert_eq!((report.repaired_bytes, report.next_seq), (left as u64, 4));
        log.append(&[record(9)]).expect("the log takes a record");
        let after = verify(dir.path(), None).expect("the repaired log is sound");
        assert_eq!((after.records, after.torn_bytes), (3, 0));
    }
}

/// Power loss can leave a file at its full length with its last sectors unwritten.
#[test]
fn unwritten_sectors_at_the_end_are_a_torn_tail() {
    let dir = tempdir().expect("a temporary directory");
    let (log, _) = open(dir.path(), BIG);
    fill(&log, 1..=30);
    drop(log);
    let whole = fs::read(path(dir.path(), 1)).expect("the segment can be read");
    let mut ends = Vec::new();
    for line in lines(&path(dir.path(), 1)) {
        ends.push(ends.last().unwrap_or(&0) + line.len());
    }
    for sector in (512..whole.len()).step_by(512) {
        let mut torn = whole.clone();
        torn[sector..].fill(0);
        fs::write(path(dir.path(), 1), &torn).expect("the segment is writable");
        let whole_lines: Vec<usize> = ends.iter().copied().filter(|end| *end <= sector).collect();
        let torn = (sector - whole_lines.last().expect("a header is shorter than a sector")) as u64;
        assert!(verify(dir.path(), None).expect("a torn tail is no flaw").torn_bytes <= torn);
        let (log, report) = open(dir.path(), BIG);
        assert!(report.repaired_bytes <= torn, "{} of {torn}", report.repaired_bytes);
        assert_eq!(report.next_seq, whole_lines.len() as u64);
        log.append(&[record(9)]).expect("the log takes a record");
        assert_eq!(verify(dir.path(), None).expect("the repaired log is sound").torn_bytes, 0);
    }
}

/// The file of a log in use is longer than its lines, and a kill leaves it so.
#[test]
fn zeroes_behind_the_last_line_are_nothing() {
    let (dir, killed) = (tempdir().expect("a temporary directory"), tempdir().expect("a temporary directory"));
    let (log, _) = open(dir.path(), BIG);
    fill(&log, 1..=3);
    let whole = fs::read(path(dir.path(), 1)).expect("the segment can be read");
    assert!(whole.ends_with(&[0; 1000]), "the file system cannot set space aside");
    assert_eq!(verify(dir.path(), None).expect("a log in use is sound").torn_bytes, 0);
    fs::write(path(killed.path(), 1), &whole).expect("the directory is writable");
    let (again, report) = open(killed.path(), BIG);
    assert_eq!((report.repaired_bytes, report.next_seq), (0, 5));
    again.append(&[record(9)]).expect("the log takes a record");
    assert_eq!(verify(killed.path(), None).expect("the log is sound").records, 4);
    drop(log);
    let stopped = fs::metadata(path(dir.path(), 1)).expect("the segment is there").len();
    assert_eq!(stopped, lines(&path(dir.path(), 1)).concat().len() as u64);
}

/// The first byte of what is written together is written last.
#[test]
fn a_line_that_a_kill_cut_off_is_removed_and_one_that_was_changed_is_not() {
    let dir = tempdir().expect("a temporary directory");
    let (log, _) = open(dir.path(), BIG);
    fill(&log, 1..=300);
    drop(log);
    let file = path(dir.path(), 1);
    let whole = lines(&file);
    let check = |lines_cut: usize, zeroes: usize, wants: Option<u64>| {
        let (before, cut) = whole.split_at(whole.len() - lines_cut);
        let (before, mut cut) = (before.concat(), cut.concat());
        cut[0] = 0;
        let torn = cut.iter().rposition(|byte| *byte != 0).expect("a line is not zero") as u64 + 1;
        fs::write(&file, [before.clone(), cut, vec![0; zeroes]].concat()).expect("the segment is writable");
        match (verify(dir.path(), None), wants) {
            (Ok(report), Some(records)) => assert_eq!((report.records, report.torn_bytes), (records, torn)),
            (Err(AuditError::Broken(finding)), None) => assert_eq!(finding.offset, before.len() as u64),
            (found, _) => panic!("{found:?} with {lines_cut} lines cut and {zeroes} zeroes"),
        }
    };
    check(1, 1, Some(299));
    check(100, 4096, Some(200));
    // Nobody writes up to the end of the file, or so much at once.
    check(1, 0, None);
    check(200, 4096, None);
}

#[test]
fn a_broken_log_is_not_appended_to() {
    let dir = tempdir().expect("a temporary directory");
    let (log, _) = open(dir.path(), BIG);
    log.set_key(key(SEED)).expect("the log was never signed");
    fill(&log, 1..=3);
    drop(log);
    let whole = fs::read(path(dir.path(), 1)).expect("the segment can be read");
    let lines = lines(&path(dir.path(), 1));
    // A record's outcome, and a byte of the last signature.
    for (line, byte) in [(2, 3 + 56), (lines.len() - 1, 120)] {
        let offset: usize = lines[..line].iter().map(Vec::len).sum();
        let mut broken = whole.clone();
        broken[offset + byte] ^= 1;
        fs::write(path(dir.path(), 1), &broken).expect("the segment is writable");
        let AuditError::Broken(finding) = error(dir.path(), ID) else { panic!("the log is broken") };
        assert_eq!((finding.file, finding.offset), (path(dir.path(), 1), offset as u64));
        assert_eq!(fs::read(path(dir.path(), 1)).expect("the segment can be read"), broken);
    }
}

#[test]
fn a_kill_between_closing_a_segment_and_naming_the_next_is_healed() {
    let dir = tempdir().expect("a temporary directory");
    let (log, _) = open(dir.path(), 300);
    log.set_key(key(SEED)).expect("the log was never signed");
    fill(&log, 1..=1);
    drop(log);
    assert_eq!(lines(&path(dir.path(), 1)).last().expect("there are lines")[0], END);
    let new = dir.path().join("000000000002.new");
    fs::rename(path(dir.path(), 2), &new).expect("the second segment exists");
    assert_eq!(verify(dir.path(), None).expect("nothing was lost").segments, 1);
    let (log, report) = open(dir.path(), 300);
    assert_eq!((report.segment, report.next_seq), (2, 3));
    fill(&log, 2..=2);
    assert!(!new.exists());
    assert_eq!(verify(dir.path(), None).expect("the log is sound").records, 2);
}

#[test]
fn a_new_segment_that_was_never_named_is_made_again() {
    let dir = tempdir().expect("a temporary directory");
    let (log, _) = open(dir.path(), 300);
    drop(log);
    fs::write(dir.path().join("000000000002.new"), b"half a header").expect("the directory is writable");
    let (log, report) = open(dir.path(), 300);
    assert_eq!(report.segment, 1);
    fill(&log, 1..=1);
    assert_eq!(all_lines(dir.path()).len(), 2);
    verify(dir.path(), None).expect("the log is sound");
}

#[test]
fn a_log_without_its_newest_segment_is_not_appended_to() {
    let dir = tempdir().expect("a temporary directory");
    let (log, _) = open(dir.path(), 300);
    fill(&log, 1..=1);
    drop(log);
    fs::remove_file(path(dir.path(), 2)).expect("the second segment exists");
    let AuditError::Broken(finding) = error(dir.path(), ID) else { panic!("the log is broken") };
    assert_eq!(finding.flaw, Flaw::SegmentMissing(2));
}

#[test]
fn an_outbox_record_is_written_once_in_whatever_order_it_comes() {
    let dir = tempdir().expect("a temporary directory");
    let (log, _) = open(dir.path(), BIG);
    log.session(&session(1)).expect("the log takes a session");
    for batch in [&[1, 2][..], &[2, 1], &[5, 5], &[4, 3, 4], &[1, 2, 3, 4, 5]] {
        let entries: Vec<_> = batch.iter().copied().map(entry).collect();
        log.settle(&entries).expect("the log takes settled records");
    }
    assert_eq!(generations_and_outbox(dir.path()).1, [1, 2, 5, 4, 3]);
    assert_eq!(log.settled(), OutboxSeq(0), "nothing is on disk yet");
    log.flush().expect("the log can be flushed");
    assert_eq!(log.settled(), OutboxSeq(5));
}

#[test]
fn a_missing_outbox_record_holds_the_mark_until_it_comes() {
    let dir = tempdir().expect("a temporary directory");
    let (log, _) = open(dir.path(), BIG);
    log.session(&session(1)).expect("the log takes a session");
    log.settle(&[entry(1), entry(3)]).expect("the log takes settled records");
    log.flush().expect("the log can be flushed");
    assert_eq!((log.settled(), log.needs_reconcile()), (OutboxSeq(1), true));
    drop(log);
    let (log, report) = open(dir.path(), BIG);
    assert_eq!((report.outbox, report.outbox_last), (OutboxSeq(1), OutboxSeq(3)));
    log.reconcile(&[entry(2), entry(3), entry(4)]).expect("the log takes settled records");
    log.flush().expect("the log can be flushed");
    assert_eq!((log.settled(), log.needs_reconcile()), (OutboxSeq(4), false));
    assert_eq!(generations_and_outbox(dir.path()).1, [1, 3, 2, 4]);
}

/// The store keeps counting while a log is moved away; the new log begins in the middle.
#[test]
fn reconciliation_closes_gaps_that_the_store_does_not_know_and_survives_segments_and_starts() {
    let dir = tempdir().expect("a temporary directory");
    let (log, _) = open(dir.path(), 300);
    log.session(&session(1)).expect("the log takes a session");
    log.reconcile(&[entry(500), entry(501), entry(503)]).expect("the log takes settled records");
    log.flush().expect("the log can be flushed");
    assert_eq!(log.settled(), OutboxSeq(503));
    fill(&log, 1..=9);
    assert!(all_lines(dir.path()).len() > 2);
    drop(log);
    let (log, report) = open(dir.path(), 300);
    assert_eq!((report.outbox, log.settled()), (OutboxSeq(503), OutboxSeq(503)));
    log.reconcile(&[entry(501), entry(503), entry(504)]).expect("the log takes settled records");
    assert_eq!(generations_and_outbox(dir.path()).1, [500, 501, 503, 504]);
    assert_eq!(verify(dir.path(), None).expect("the log is sound").records, 13);
}

/// A mark that passed over a missing record would let the store drop it.
#[test]
fn a_log_that_cannot_ask_the_store_takes_no_endless_queue() {
    let dir = tempdir().expect("a temporary directory");
    let (log, _) = open(dir.path(), BIG);
    let entries: Vec<_> = (2..=10_001).map(entry).collect();
    log.settle(&entries).expect("the log takes settled records");
    let why = log.settle(&[entry(10_002)]).expect_err("record 1 is missing").why;
    assert!(why.contains("reconciled"), "{why}");
    log.flush().expect("the log can be flushed");
    assert_eq!(log.settled(), OutboxSeq(0));
    log.reconcile(&[entry(1)]).expect("the log takes the missing record");
    log.settle(&[entry(10_002)]).expect("nothing is missing now");
    log.flush().expect("the log can be flushed");
    assert_eq!(log.settled(), OutboxSeq(10_002));
}

#[test]
fn a_segment_is_not_closed_while_an_outbox_record_is_missing() {
    let dir = tempdir().expect("a temporary directory");
    let (log, _) = open(dir.path(), 300);
    log.session(&session(1)).expect("the log takes a session");
    log.settle(&[entry(2), entry(3)]).expect("the log takes settled records");
    log.flush().expect("the log can be flushed");
    assert_eq!(all_lines(dir.path()).len(), 1);
    log.settle(&[entry(1)]).expect("the log takes settled records");
    log.flush().expect("the log can be flushed");
    assert_eq!(all_lines(dir.path()).len(), 2);
}

#[test]
fn a_change_whose_session_was_lost_is_no_flaw_but_a_read_without_session_is() {
    let dir = tempdir().expect("a temporary directory");
    let (log, _) = open(dir.path(), BIG);
    log.settle(&[entry(1)]).expect("the log takes settled records");
    assert_eq!(verify(dir.path(), None).expect("the log is sound").sessions_lost, 1);
    log.append(&[record(1)]).expect("the log takes a record");
    let Err(AuditError::Broken(finding)) = verify(dir.path(), None) else { panic!("session 1 does not exist") };
    assert_eq!((finding.seq, finding.flaw), (2, Flaw::Session(1)));
}

#[test]
fn a_clock_that_was_set_back_is_noted_and_no_flaw() {
    let dir = tempdir().expect("a temporary directory");
    let (log, _) = open(dir.path(), BIG);
    log.session(&session(1)).expect("the log takes a session");
    for millis in [100_000, 99_000, 200_000, 100_000, 101_000, 3_000, 300_000] {
        log.append(&[Record { time: Time::from_millis(session(1).time.millis() + millis), ..record(1) }]).expect("the log takes a record");
    }
    assert_eq!(verify(dir.path(), None).expect("the log is sound").clock_set_back, Some((2, 5)));
}

#[test]
fn with_always_each_record_is_on_disk_before_the_call_returns() {
    let dir = tempdir().expect("a temporary directory");
    let (log, _) = Log::open(dir.path(), Settings { sync: SyncMode::Always, ..settings(BIG) }, ID).expect("the log opens");
    for seq in 1..=3 {
        log.settle(&[entry(seq)]).expect("the log takes settled records");
        assert_eq!(log.settled(), OutboxSeq(seq));
    }
}

#[test]
fn a_log_verifies_at_every_moment_while_threads_write_it() {
    let dir = tempdir().expect("a temporary directory");
    let (log, _) = open(dir.path(), 20_000);
    let log = Arc::new(log);
    log.set_key(key(SEED)).expect("the log was never signed");
    log.session(&SessionRecord { origin: Origin::System, ..session(1) }).expect("the log takes a session");
    // A store settles in the order in which it commits.
    let outbox = Arc::new(Mutex::new(0));
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (log, outbox) = (Arc::clone(&log), Arc::clone(&outbox));
            thread::spawn(move || {
                for number in 0..500 {
                    log.append(&[record(number)]).expect("the log takes a record");
                    let mut seq = outbox.lock().expect("no thread panicked");
                    *seq += 1;
                    log.settle(&[entry(*seq)]).expect("the log takes settled records");
                    drop(seq);
                    if number % 50 == writer {
                        log.flush().expect("the log can be flushed");
                    }
                }
            })
        })
        .collect();
    while !writers.iter().all(thread::JoinHandle::is_finished) {
        verify(dir.path(), Some(public(SEED))).expect("the log is sound");
    }
    writers.into_iter().for_each(|writer| writer.join().expect("the writer did not panic"));
    log.flush().expect("the log can be flushed");
    let report = verify(dir.path(), Some(public(SEED))).expect("the log is sound");
    assert_eq!((report.records, report.unsigned, log.settled()), (4000, 0, OutboxSeq(2000)));
    assert!(report.segments > 3);
    assert_eq!(generations_and_outbox(dir.path()).1, (1..=2000).collect::<Vec<_>>());
}
