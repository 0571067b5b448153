//! How long does it take to wrap a 256-bit key under its parent, and to open it again?

use cipher::Aead;
use criterion::{Criterion, criterion_group, criterion_main};
use keys::id::{ChainId, ClusterId, KeyVersion, Layer, RowId, TenantId};
use keys::row::{Algorithm, ObjectType, ParentRef};
use keys::wrap::{Binding, ParentKey};
use uuid::Uuid;

const KEY: [u8; 32] = [0x5A; 32];

fn wrap(criterion: &mut Criterion) {
    let uuid = Uuid::from_u128(7);
    let binding = Binding {
        cluster: ClusterId::new(uuid),
        tenant: TenantId::new(uuid),
        id: RowId::new(Layer::L3, uuid),
        version: KeyVersion::FIRST,
        parent: ParentRef { chain: ChainId::new(uuid), version: KeyVersion::FIRST },
        object_type: ObjectType::SYMMETRIC_KEY,
        algorithm: Algorithm::AES,
        bits: 256,
        wrap_seq: 1,
    };
    let parent = ParentKey::new(binding.cluster, &[0x42; 32], Aead::Aes256Gcm).expect("the arena has room");
    let blob = parent.wrap(&binding, &KEY, &[8; 32]).expect("the arena has room");
    assert!(parent.unwrap(&binding, &blob).expect("it is in its place").expose(|bytes| bytes == KEY), "what was wrapped comes back");
    criterion.bench_function("wrap a key", |bencher| bencher.iter(|| parent.wrap(&binding, &KEY, &[8; 32])));
    criterion.bench_function("open a key", |bencher| bencher.iter(|| parent.unwrap(&binding, &blob)));
}

criterion_group!(benches, wrap);
criterion_main!(benches);
