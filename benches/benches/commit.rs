//! How long does a durable commit of new keys take among 100,000, beside an append and fdatasync of as many bytes?

use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

use benches::store::Filled;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use futures_executor::block_on;
use keys::port::Keystore;

const KEYS: u64 = 100_000;
/// About the bytes of a key, its claim, its share of two buckets and its record.
const KEY_BYTES: usize = 1600;

fn commit(criterion: &mut Criterion) {
    let folder = tempfile::tempdir_in(".").expect("a folder on a real disk");
    let mut filled = Filled::new(folder.path(), KEYS);
    let mut group = criterion.benchmark_group("commit");
    for keys in [1, 64] {
        let batch = filled.creates(keys);
        let ids: Vec<_> = batch.changes.iter().map(keys::port::Change::id).collect();
        filled.commit(batch);
        assert!(
            ids.into_iter().all(|id| block_on(filled.store.retrieve(id)).is_ok_and(|row| row.is_some())),
            "what was committed is there"
        );
        group.bench_with_input(BenchmarkId::new("store", keys), &keys, |bencher, keys| {
            bencher.iter_custom(|times| {
                let mut total = Duration::ZERO;
                for _ in 0..times {
                    let batch = filled.creates(*keys);
                    let began = Instant::now();
                    filled.commit(batch);
                    total += began.elapsed();
                }
                total
            });
        });
        let mut file = File::create(folder.path().join("appended")).expect("the folder is ours");
        let bytes = vec![0x5A; KEY_BYTES * usize::try_from(keys).expect("few")];
        group.bench_function(BenchmarkId::new("append", keys), |bencher| {
            bencher.iter(|| file.write_all(&bytes).and_then(|()| file.sync_data()).expect("the disk takes it"));
        });
    }
    group.finish();
}

criterion_group!(benches, commit);
criterion_main!(benches);
