//! How long does the store take to find one key by its name's term among 1,000 and among 100,000 of the same tenant?

use benches::store::{Filled, name_term};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use futures_executor::block_on;
use keys::id::Layer;
use keys::port::{Keystore, Query};
use storage::conformance::sample;

fn locate(criterion: &mut Criterion) {
    for keys in [1000, 100_000] {
        let folder = tempfile::tempdir_in(".").expect("a folder on a real disk");
        let filled = Filled::new(folder.path(), keys);
        let number = keys / 2;
        let query = Query { layer: Layer::L3, terms: vec![name_term(number), sample::term(1)], before: None, limit: 256 };
        let find = || block_on(filled.store.find(&query)).expect("the store answers");
        assert!(find().iter().map(|row| row.header.id).eq([Filled::id(number)]), "it finds that key and no other");
        criterion.bench_with_input(BenchmarkId::new("find", keys), &keys, |bencher, _| bencher.iter(find));
    }
}

criterion_group!(benches, locate);
criterion_main!(benches);
