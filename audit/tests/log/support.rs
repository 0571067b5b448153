//! What the topics share: sample records, an independent reader and forger of the format.

use std::fs;
use std::path::{Path, PathBuf};

use audit::{Log, LogId, OpenReport, Settings, SyncMode};
use cipher::mac::sha256;
use keys::id::{Generation, KeyVersion, Layer, OutboxSeq, RowId, SessionId, Time};
use keys::policy::{Action, Role};
use keys::port::OutboxEntry;
use keys::record::{Origin, Outcome, Record, SessionRecord};
use secret::Key;
use uuid::Uuid;

pub(crate) const ID: LogId = LogId([7; 16]);
pub(crate) const SEED: [u8; 32] = [9; 32];
pub(crate) const HEADER: u8 = 1;
pub(crate) const RECORD: u8 = 2;
pub(crate) const SESSION: u8 = 3;
pub(crate) const SIGNED: u8 = 4;
pub(crate) const END: u8 = 5;

pub(crate) fn key(seed: [u8; 32]) -> Key<32> {
    Key::init_with(|bytes| *bytes = seed).expect("the arena has room")
}

pub(crate) fn public(seed: [u8; 32]) -> [u8; 32] {
    cipher::sign::public_from_seed(&seed)
}

pub(crate) fn settings(segment_bytes: u64) -> Settings {
    Settings { segment_bytes, reserve_bytes: 64 << 10, sync: SyncMode::Lifecycle }
}

pub(crate) fn open(dir: &Path, segment_bytes: u64) -> (Log, OpenReport) {
    Log::open(dir, settings(segment_bytes), ID).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn session(number: u64) -> SessionRecord {
    SessionRecord {
        time: Time::from_millis(1_700_000_000_000),
        session: SessionId(number),
        origin: Origin::Kmip,
        role: Some(Role::Service),
        tenant: "acme".to_owned(),
        service: "billing".to_owned(),
        certificate: [3; 32],
        peer: "192.0.2.7:49152".to_owned(),
    }
}

/// The `number`-th sample; its generation is its number.
pub(crate) fn record(number: u64) -> Record {
    Record {
        time: Time::from_millis(1_700_000_000_000 + i64::try_from(number).expect("samples are few")),
        session: SessionId(1),
        action: Action::Encrypt,
        object: Some(RowId::new(Layer::L3, Uuid::from_u128(0x0189_0a5d_ac96_774b_bcce_b302_099a_8057))),
        version: Some(KeyVersion::FIRST),
        generation: Some(Generation(number)),
        outcome: Outcome::Success,
    }
}

pub(crate) fn entry(seq: u64) -> OutboxEntry {
    OutboxEntry { seq: OutboxSeq(seq), record: record(seq) }
}

pub(crate) fn path(dir: &Path, number: usize) -> PathBuf {
    dir.join(format!("{number:012}.log"))
}

/// The lines of one segment, as bytes with their frames; zeroes behind them are no line.
pub(crate) fn lines(file: &Path) -> Vec<Vec<u8>> {
    let bytes = fs::read(file).expect("the segment can be read");
    let mut rest = bytes.as_slice();
    let mut lines = Vec::new();
    while rest.first().is_some_and(|kind| *kind != 0) {
        let length = 3 + usize::from(u16::from_be_bytes([rest[1], rest[2]]));
        let (line, after) = rest.split_at(length);
        lines.push(line.to_vec());
        rest = after;
    }
    lines
}

/// All lines of all segments.
pub(crate) fn all_lines(dir: &Path) -> Vec<Vec<Vec<u8>>> {
    (1..).map(|number| path(dir, number)).take_while(|file| file.exists()).map(|file| lines(&file)).collect()
}

pub(crate) fn write_lines(dir: &Path, segments: &[Vec<Vec<u8>>]) {
    for (index, segment) in segments.iter().enumerate() {
        fs::write(path(dir, index + 1), segment.concat()).expect("the directory is writable");
    }
}

/// Generations of all records, and the outbox numbers of those that have one.
pub(crate) fn generations_and_outbox(dir: &Path) -> (Vec<u64>, Vec<u64>) {
    let all = all_lines(dir).concat();
    let records = all.iter().filter(|line| line[0] == RECORD);
    let number = |line: &Vec<u8>, at: usize| u64::from_be_bytes(line[at..at + 8].try_into().expect("eight bytes"));
    let generations = records.clone().map(|line| number(line, 3 + 48)).collect();
    (generations, records.map(|line| number(line, 3 + 57)).filter(|seq| *seq != 0).collect())
}

/// First and last record of every signature.
pub(crate) fn signed_ranges(dir: &Path) -> Vec<(u64, u64)> {
    let number = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().expect("eight bytes"));
    let all = all_lines(dir).concat();
    all.iter().filter(|line| line[0] == SIGNED).map(|line| (number(&line[3..11]), number(&line[11..19]))).collect()
}

pub(crate) fn stored_link(line: &[u8]) -> [u8; 32] {
    line[line.len() - 32..].try_into().expect("a chained line ends with its link")
}

/// Gives a chained line the link that its content and `before` ask for.
pub(crate) fn relink(line: &mut [u8], before: [u8; 32]) {
    let body_end = line.len() - 32;
    let link = sha256(&[b"strongroom-audit-v1\0", &before, &line[..1], &line[3..body_end]]);
    line[body_end..].copy_from_slice(&link);
}

/// Relinks every chained line from `from` on.
pub(crate) fn rechain(segment: &mut [Vec<u8>], from: usize) {
    let before = segment[..from].iter().rfind(|line| line[0] != SIGNED).expect("a segment begins with a header");
    let mut head = stored_link(before);
    for line in segment[from..].iter_mut().filter(|line| matches!(line[0], RECORD | SESSION)) {
        relink(line, head);
        head = stored_link(line);
    }
}

/// The tree hash of RFC 6962 section 2.1, as its definition says.
pub(crate) fn root(leaves: &[[u8; 32]]) -> [u8; 32] {
    match leaves {
        [] => sha256(&[]),
        [leaf] => sha256(&[&[0], leaf]),
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            sha256(&[&[1], &root(left), &root(right)])
        }
    }
}

/// Makes the signature line at `at` cover the chain as it is now, signing with `seed` if there is one.
pub(crate) fn resign(segment: &mut [Vec<u8>], at: usize, seed: Option<[u8; 32]>) {
    let start = segment[..at].iter().rposition(|line| matches!(line[0], SIGNED | HEADER)).expect("a segment begins with a header");
    let leaves: Vec<[u8; 32]> = segment[start + 1..at].iter().map(|line| stored_link(line)).collect();
    let line = &mut segment[at];
    line[19..51].copy_from_slice(leaves.last().expect("a group is not empty"));
    line[51..83].copy_from_slice(&root(&leaves));
    let Some(seed) = seed else { return };
    line[83..115].copy_from_slice(&public(seed));
    let signature = cipher::sign::sign(&seed, &[b"strongroom-audit-signature-v1\0", ID.0.as_slice(), &line[3..83]].concat());
    line[115..].copy_from_slice(&signature);
}
