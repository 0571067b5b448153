//! How long does it take to get the audit record of one operation into the log's file, and of sixteen?

use audit::{Log, LogId, Settings};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use keys::id::{Generation, KeyVersion, Layer, RowId, SessionId, Time};
use keys::policy::Action;
use keys::port::AuditSink;
use keys::record::{Outcome, Record};
use secret::Key;
use uuid::Uuid;

fn append(criterion: &mut Criterion) {
    let folder = tempfile::tempdir_in(".").expect("a folder on a real disk");
    let (log, opened) = Log::open(folder.path(), Settings::default(), LogId([7; 16])).expect("a fresh folder");
    log.set_key(Key::init_with(|key| key.fill(3)).expect("the arena has room")).expect("no other key before");
    let record = Record {
        time: Time::from_seconds(1_800_000_000),
        session: SessionId(1),
        action: Action::Encrypt,
        object: Some(RowId::new(Layer::L3, Uuid::from_u128(7))),
        version: Some(KeyVersion::FIRST),
        generation: Some(Generation::FIRST),
        outcome: Outcome::Success,
    };
    log.append(&[record]).expect("the disk takes it");
    log.flush().expect("the disk takes it");
    let report = audit::verify(folder.path(), None).expect("the log verifies");
    assert!(report.records > 0 && opened.next_seq == 1, "the record is in the log, signed");
    for records in [1, 16] {
        let records = vec![record; records];
        let id = BenchmarkId::new("append", records.len());
        criterion.bench_with_input(id, &records, |bencher, records| bencher.iter(|| log.append(records).expect("the disk takes it")));
    }
}

criterion_group!(benches, append);
criterion_main!(benches);
