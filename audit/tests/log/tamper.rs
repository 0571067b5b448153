//! Every way of changing a log that we could think of, and where the verifier finds it.

use std::path::Path;

use audit::{AuditError, Finding, Flaw, Log, LogId, verify};
use keys::port::AuditSink;
use tempfile::{TempDir, tempdir};

use crate::support::{
    END, HEADER, ID, RECORD, SEED, SESSION, SIGNED, all_lines, key, path, public, rechain, record, relink, resign, session, settings,
    stored_link, write_lines,
};

/// Files, lines, bytes.
struct Sample(Vec<Vec<Vec<u8>>>);

/// Each of the first three segments: 0 header, 1 session, 2..=5 records, 6 signature, 7..=10 records, 11 signature, 12 end.
/// The fourth: 0 header, 1 session, 2..=5 records, 6 signature, 7..=9 records that nothing signs yet.
fn sample(id: LogId, seed: [u8; 32], first_generation: u64) -> Sample {
    let dir = tempdir().expect("a temporary directory");
    let (log, _) = Log::open(dir.path(), settings(1300), id).expect("the log opens");
    log.set_key(key(seed)).expect("the log was never signed");
    let mut generations = first_generation..;
    let mut group = |records: usize| generations.by_ref().take(records).map(record).collect::<Vec<_>>();
    for segment in 1..=4 {
        log.session(&session(segment)).expect("the log takes a session");
        log.append(&group(4)).expect("the log takes records");
        log.flush().expect("the log can be flushed");
        log.append(&group(if segment < 4 { 4 } else { 3 })).expect("the log takes records");
        if segment < 4 {
            log.flush().expect("the log can be flushed");
        }
    }
    Sample(all_lines(dir.path()))
}

fn written(segments: &[Vec<Vec<u8>>]) -> TempDir {
    let dir = tempdir().expect("a temporary directory");
    write_lines(dir.path(), segments);
    dir
}

/// What the verifier finds, with the number of the segment and the line in which it begins.
fn finding(dir: &Path, segments: &[Vec<Vec<u8>>]) -> Option<(usize, usize, Flaw)> {
    let Finding { file, offset, flaw, .. } = match verify(dir, Some(public(SEED))) {
        Ok(_) => return None,
        Err(AuditError::Broken(finding)) => finding,
        Err(other) => panic!("{other}"),
    };
    let segment = (1..=segments.len() + 1).find(|number| path(dir, *number) == file).expect("the finding names a segment");
    let mut at = 0;
    let lines =
        segments.get(segment - 1).map_or(0, |lines| lines.iter().take_while(|line| (at < offset, at += line.len() as u64).0).count());
    Some((segment, lines, flaw))
}

fn check(name: &str, change: impl FnOnce(&mut Vec<Vec<Vec<u8>>>), wants: (usize, usize, Flaw)) {
    let Sample(mut segments) = sample(ID, SEED, 1);
    change(&mut segments);
    let dir = written(&segments);
    assert_eq!(finding(dir.path(), &segments), Some(wants), "{name}");
}

fn seq(is: u64, wants: u64) -> Flaw {
    Flaw::Seq { is, wants }
}

fn range(signed: (u64, u64), wants: (u64, u64)) -> Flaw {
    Flaw::Range { first: signed.0, last: signed.1, wants_first: wants.0, wants_last: wants.1 }
}

#[test]
fn the_untouched_sample_is_sound() {
    let Sample(segments) = sample(ID, SEED, 1);
    let kinds = |segment: &Vec<Vec<u8>>| segment.iter().map(|line| line[0]).collect::<Vec<_>>();
    let closed = [HEADER, SESSION, RECORD, RECORD, RECORD, RECORD, SIGNED, RECORD, RECORD, RECORD, RECORD, SIGNED, END];
    assert_eq!(segments.iter().map(kinds).collect::<Vec<_>>(), [&closed[..], &closed, &closed, &closed[..10]]);
    let dir = written(&segments);
    let report = verify(dir.path(), Some(public(SEED))).expect("the log is sound");
    assert_eq!((report.records, report.sessions, report.signatures, report.unsigned), (31, 4, 7, 3));
}

/// All fields of all kinds of lines, frames included.
#[test]
fn a_flipped_bit_is_found_in_its_own_line() {
    let Sample(segments) = sample(ID, SEED, 1);
    let dir = written(&segments);
    for (index, segment) in segments.iter().enumerate() {
        let mut changed = segment.concat();
        let owner = segment.iter().enumerate().flat_map(|(number, line)| std::iter::repeat_n(number, line.len()));
        for (at, line) in owner.enumerate() {
            changed[at] ^= 1 << (at % 8);
            std::fs::write(path(dir.path(), index + 1), &changed).expect("the segment is writable");
            let found = finding(dir.path(), &segments).map(|(segment, line, _)| (segment, line));
            assert_eq!(found, Some((index + 1, line)), "byte {at} of segment {}", index + 1);
            changed[at] ^= 1 << (at % 8);
        }
        std::fs::write(path(dir.path(), index + 1), &changed).expect("the segment is writable");
    }
    assert_eq!(finding(dir.path(), &segments), None);
}

#[test]
fn missing_repeated_and_moved_records_are_found() {
    check("a record dropped from a group", |log| drop(log[1].remove(3)), (2, 3, seq(13, 12)));
    check("the first record of a log dropped", |log| drop(log[0].remove(1)), (1, 1, seq(2, 1)));
    check("the last record before a signature dropped", |log| drop(log[0].remove(5)), (1, 5, range((1, 5), (1, 4))));
    check("a session dropped", |log| drop(log[1].remove(1)), (2, 1, seq(11, 10)));
    check("a whole group dropped", |log| drop(log[0].drain(2..=6)), (1, 2, seq(6, 2)));
    check("a record repeated", |log| repeat(&mut log[2], 3, 4), (3, 4, seq(21, 22)));
    check("two records swapped", |log| log[0].swap(2, 3), (1, 2, seq(3, 2)));
    check(
        "a record moved into another segment",
        |log| {
            let line = log[0].remove(9);
            log[2].insert(2, line)
        },
        (1, 9, seq(9, 8)),
    );
    check("an unsigned record dropped", |log| drop(log[3].remove(7)), (4, 7, seq(34, 33)));
    check(
        "a record dropped and the rest renumbered",
        |log| {
            log[0].remove(3);
            renumber(&mut log[0], 3)
        },
        (1, 3, Flaw::Link),
    );
}

/// Inserts a copy of line `from` before line `to`.
fn repeat(segment: &mut Vec<Vec<u8>>, from: usize, to: usize) {
    let line = segment[from].clone();
    segment.insert(to, line);
}

/// Gives the records from line `from` on the numbers that follow.
fn renumber(segment: &mut [Vec<u8>], from: usize) {
    let mut next = u64::from_be_bytes(segment[from - 1][3..11].try_into().expect("eight bytes"));
    for line in segment[from..].iter_mut().filter(|line| matches!(line[0], RECORD | SESSION)) {
        next += 1;
        line[3..11].copy_from_slice(&next.to_be_bytes());
    }
}

/// Turns the outcome of a record from success into a refusal.
fn edit(line: &mut [u8]) {
    assert_eq!(line[0], RECORD);
    line[3 + 56] = 1;
}

#[test]
fn inserted_and_edited_records_are_found() {
    check("an outcome edited", |log| edit(&mut log[1][3]), (2, 3, Flaw::Link));
    check("the last record of all edited", |log| edit(&mut log[3][9]), (4, 9, Flaw::Link));
    check(
        "an edited record with its own link made anew",
        |log| {
            edit(&mut log[0][3]);
            let before = stored_link(&log[0][2]);
            relink(&mut log[0][3], before)
        },
        (1, 4, Flaw::Link),
    );
    check(
        "a forged record inserted",
        |log| {
            let mut forged = log[0][4].clone();
            edit(&mut forged);
            relink(&mut forged, stored_link(&log[0][3]));
            log[0].insert(4, forged)
        },
        (1, 5, seq(4, 5)),
    );
    check(
        "an edited group with its chain made anew",
        |log| {
            edit(&mut log[0][3]);
            rechain(&mut log[0][..7], 3)
        },
        (1, 6, Flaw::Head),
    );
    check(
        "a record dropped and its group chained anew",
        |log| {
            log[0].remove(3);
            renumber(&mut log[0][..6], 3);
            rechain(&mut log[0][..6], 3)
        },
        (1, 5, range((1, 5), (1, 4))),
    );
    check(
        "an edited group with head and root made anew",
        |log| {
            edit(&mut log[0][3]);
            rechain(&mut log[0][..7], 3);
            resign(&mut log[0], 6, None)
        },
        (1, 6, Flaw::Signature { first: 1, last: 5 }),
    );
    check(
        "an edited group signed with another key",
        |log| {
            edit(&mut log[0][3]);
            rechain(&mut log[0][..7], 3);
            resign(&mut log[0], 6, Some([1; 32]))
        },
        (1, 6, other_key([1; 32])),
    );
    check(
        "an edited group signed with the stolen key",
        |log| {
            edit(&mut log[0][3]);
            rechain(&mut log[0][..7], 3);
            resign(&mut log[0], 6, Some(SEED))
        },
        (1, 7, Flaw::Link),
    );
}

fn other_key(seed: [u8; 32]) -> Flaw {
    Flaw::Key { is: audit::Hex(public(seed).to_vec()), wants: audit::Hex(public(SEED).to_vec()) }
}

#[test]
fn missing_repeated_moved_and_edited_signatures_are_found() {
    check("a signature dropped", |log| drop(log[0].remove(6)), (1, 10, range((6, 9), (1, 9))));
    check("a segment's last signature dropped", |log| drop(log[0].remove(11)), (2, 0, Flaw::Continuity("unsigned from")));
    check("a signature repeated", |log| repeat(&mut log[0], 6, 7), (1, 7, range((1, 5), (6, 5))));
    check("two signatures swapped", |log| log[0].swap(6, 11), (1, 6, range((6, 9), (1, 5))));
    check("a signature moved before the last record", |log| log[0].swap(5, 6), (1, 5, range((1, 5), (1, 4))));
    check("a signature moved behind the next record", |log| log[0].swap(6, 7), (1, 7, range((1, 5), (1, 6))));
    check("a signature zeroed", |log| log[0][6][115..].fill(0), (1, 6, Flaw::Signature { first: 1, last: 5 }));
    check(
        "a signature of another group",
        |log| {
            let other = log[0][11][115..].to_vec();
            log[0][6][115..].copy_from_slice(&other)
        },
        (1, 6, Flaw::Signature { first: 1, last: 5 }),
    );
    check("a Merkle root edited", |log| log[0][6][51] ^= 1, (1, 6, Flaw::Root));
    check("a sound group signed with another key", |log| resign(&mut log[0], 6, Some([1; 32])), (1, 6, other_key([1; 32])));
}

#[test]
fn missing_repeated_and_moved_segments_are_found() {
    check("two segments swapped", |log| log.swap(1, 2), (2, 0, Flaw::Continuity("segment")));
    check("a segment repeated", |log| log.insert(2, log[1].clone()), (3, 0, Flaw::Continuity("segment")));
    check("a segment left out and the next renamed", |log| drop(log.remove(1)), (2, 0, Flaw::Continuity("segment")));
    check("a header dropped", |log| drop(log[1].remove(0)), (2, 0, Flaw::Header));
    check("a header repeated", |log| repeat(&mut log[1], 0, 1), (2, 1, Flaw::Header));
    check("an end dropped", |log| drop(log[1].pop()), (2, 12, Flaw::NoEnd));
    check("an end in the middle", |log| repeat(&mut log[1], 12, 7), (2, 8, Flaw::AfterEnd));
    check("an end that names another segment", |log| log[1][12][10] = 9, (2, 12, Flaw::Field("next segment")));
    check("a segment cut at the end of a line", |log| log[1].truncate(9), (2, 9, Flaw::NoEnd));
    check(
        "a segment cut within a line",
        |log| {
            log[1].truncate(9);
            log[1][8].truncate(50)
        },
        (2, 8, Flaw::Cut),
    );
    check("an empty segment", |log| log[1].clear(), (2, 0, Flaw::NoEnd));
    check(
        "a segment overwritten with zeroes from the middle",
        |log| log[1][7..].iter_mut().for_each(|line| line.fill(0)),
        (2, 7, Flaw::NoEnd),
    );
    check(
        "a sector in the newest segment overwritten with zeroes",
        |log| log[3][3..5].iter_mut().for_each(|line| line.fill(0)),
        (4, 3, Flaw::Kind(0)),
    );
    check("a line of a kind that does not exist", |log| log[1].insert(3, vec![9, 0, 1, 0]), (2, 3, Flaw::Kind(9)));
    check("bytes appended to a closed segment", |log| log[1].push(b"hello world".to_vec()), (2, 13, Flaw::Kind(b'h')));
    check("a segment of another version", |log| log[1][0][12] = 2, (2, 0, Flaw::Version(2)));
}

#[test]
fn removed_files_are_named() {
    let Sample(segments) = sample(ID, SEED, 1);
    for (removed, found) in [(1, 1), (2, 2), (3, 3), (4, 4)] {
        let dir = written(&segments);
        std::fs::remove_file(path(dir.path(), removed)).expect("the segment exists");
        assert_eq!(finding(dir.path(), &segments), Some((found, 0, Flaw::SegmentMissing(removed as u64))), "segment {removed}");
    }
    let empty = tempdir().expect("a temporary directory");
    assert_eq!(finding(empty.path(), &[]), Some((1, 0, Flaw::SegmentMissing(1))));
}

#[test]
fn spliced_logs_are_found() {
    let same_node = |log: &mut Vec<Vec<Vec<u8>>>| log[1] = sample(ID, SEED, 100).0.swap_remove(1);
    check("a segment of another log with the same id and key", same_node, (2, 0, Flaw::Continuity("link before")));
    let other_node = |log: &mut Vec<Vec<Vec<u8>>>| log[1] = sample(LogId([8; 16]), SEED, 1).0.swap_remove(1);
    check("a segment of another node's log", other_node, (2, 0, Flaw::Continuity("log id")));
    let records = |log: &mut Vec<Vec<Vec<u8>>>| log[1][3..6].clone_from_slice(&sample(ID, SEED, 100).0[1][3..6]);
    check("records of another log", records, (2, 3, Flaw::Link));
    let group = |log: &mut Vec<Vec<Vec<u8>>>| log[0].splice(1..7, sample(ID, SEED, 100).0[0][1..7].to_vec()).for_each(drop);
    check("a whole group of another log with its signature", group, (1, 7, Flaw::Link));
}

/// Without a pinned key a log that was written anew by somebody else looks like his own log.
#[test]
fn a_log_written_anew_needs_the_pinned_key() {
    let Sample(segments) = sample(ID, [1; 32], 1);
    let dir = written(&segments);
    assert_eq!(finding(dir.path(), &segments), Some((1, 6, other_key([1; 32]))));
    let report = verify(dir.path(), None).expect("it is sound in itself");
    assert_eq!(report.signer, Some(audit::Hex(public([1; 32]).to_vec())));
}

/// What [`verify`] says it cannot see, so that nobody relies on it.
#[test]
fn a_log_cut_at_the_end_of_a_line_is_a_shorter_log() {
    let Sample(mut segments) = sample(ID, SEED, 1);
    segments[3].truncate(4);
    let dir = written(&segments);
    let report = verify(dir.path(), Some(public(SEED))).expect("it is sound in itself");
    assert_eq!((report.last_seq, report.unsigned), (30, 3));
}
