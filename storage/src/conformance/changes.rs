//! Rules about changing rows: expectations, generations, and all or nothing.

use std::sync::Arc;

use keys::id::{Generation, Layer, OutboxSeq, RowId};
use keys::port::{Batch, Change, Keystore};
use keys::row::{ROW_BYTES_MAX, Row};

use super::sample::{batch, changed, entry, id, query, row};
use super::{Violation, conflict, same};

pub(super) async fn insert(store: Arc<dyn Keystore>) -> Result<(), Violation> {
    let full = row(1, &[1, 2]);
    let bare = Row { material: None, attributes: None, ..row(2, &[]) };
    store.commit(batch([Change::Insert(full.clone()), Change::Insert(bare.clone())])).await?;
    same("a full row", &store.retrieve(id(1)).await?, &Some(full))?;
    same("a row without blobs and terms", &store.retrieve(id(2)).await?, &Some(bare))
}

pub(super) async fn unknown(store: Arc<dyn Keystore>) -> Result<(), Violation> {
    same("an empty store", &store.retrieve(id(1)).await?, &None)?;
    store.commit(batch([Change::Insert(row(1, &[])), Change::Insert(row(3, &[]))])).await?;
    same("an id between two rows", &store.retrieve(id(2)).await?, &None)
}

pub(super) async fn insert_twice(store: Arc<dyn Keystore>) -> Result<(), Violation> {
    store.commit(batch([Change::Insert(row(1, &[1]))])).await?;
    conflict("the same row", store.commit(batch([Change::Insert(row(1, &[1]))])).await, id(1))?;
    conflict("other content", store.commit(batch([Change::Insert(row(1, &[2]))])).await, id(1))?;
    same("the stored row", &store.retrieve(id(1)).await?, &Some(row(1, &[1])))
}

pub(super) async fn update(store: Arc<dyn Keystore>) -> Result<(), Violation> {
    let first = row(1, &[1]);
    let second = changed(&first, &[1]);
    store.commit(batch([Change::Insert(first.clone())])).await?;
    let update = |expected| batch([Change::Update { expected: Generation(expected), row: second.clone() }]);
    conflict("a generation ahead", store.commit(update(2)).await, id(1))?;
    conflict("generation zero", store.commit(update(0)).await, id(1))?;
    same("the row before", &store.retrieve(id(1)).await?, &Some(first))?;
    store.commit(update(1)).await?;
    same("the row after", &store.retrieve(id(1)).await?, &Some(second.clone()))?;
    conflict("a generation behind", store.commit(update(1)).await, id(1))
}

pub(super) async fn update_absent(store: Arc<dyn Keystore>) -> Result<(), Violation> {
    let update = batch([Change::Update { expected: Generation::FIRST, row: changed(&row(1, &[]), &[]) }]);
    conflict("the update", store.commit(update).await, id(1))?;
    same("the row", &store.retrieve(id(1)).await?, &None)
}

pub(super) async fn delete(store: Arc<dyn Keystore>) -> Result<(), Violation> {
    store.commit(batch([Change::Insert(row(1, &[1]))])).await?;
    let delete = |expected| batch([Change::Delete { id: id(1), expected: Generation(expected) }]);
    conflict("another generation", store.commit(delete(2)).await, id(1))?;
    same("the row before", &store.retrieve(id(1)).await?, &Some(row(1, &[1])))?;
    store.commit(delete(1)).await?;
    same("the row after", &store.retrieve(id(1)).await?, &None)?;
    conflict("a second delete", store.commit(delete(1)).await, id(1))
}

pub(super) async fn delete_absent(store: Arc<dyn Keystore>) -> Result<(), Violation> {
    let delete = batch([Change::Delete { id: id(1), expected: Generation::FIRST }]);
    conflict("the delete", store.commit(delete).await, id(1))
}

pub(super) async fn insert_after_delete(store: Arc<dyn Keystore>) -> Result<(), Violation> {
    store.commit(batch([Change::Insert(row(1, &[1]))])).await?;
    store.commit(batch([Change::Delete { id: id(1), expected: Generation::FIRST }])).await?;
    store.commit(batch([Change::Insert(row(1, &[2]))])).await?;
    same("the row", &store.retrieve(id(1)).await?, &Some(row(1, &[2])))
}

pub(super) async fn layers(store: Arc<dyn Keystore>) -> Result<(), Violation> {
    let mut other = row(1, &[]);
    other.header.id = RowId::new(Layer::L2, id(1).uuid);
    store.commit(batch([Change::Insert(row(1, &[])), Change::Insert(other.clone())])).await?;
    store.commit(batch([Change::Delete { id: id(1), expected: Generation::FIRST }])).await?;
    same("the row deleted", &store.retrieve(id(1)).await?, &None)?;
    same("the row left", &store.retrieve(other.header.id).await?, &Some(other))
}

pub(super) async fn atomic(store: Arc<dyn Keystore>) -> Result<(), Violation> {
    store.commit(batch([Change::Insert(row(1, &[1])), Change::Insert(row(2, &[1])), Change::Insert(row(3, &[1]))])).await?;
    let broken = Batch {
        changes: vec![
            Change::Insert(row(4, &[1])),
            Change::Update { expected: Generation::FIRST, row: changed(&row(1, &[1]), &[2]) },
            Change::Delete { id: id(2), expected: Generation::FIRST },
            Change::Insert(row(3, &[1])),
        ],
        outbox: vec![entry(1)],
        settled: None,
    };
    conflict("the batch", store.commit(broken).await, id(3))?;
    same("the insert", &store.retrieve(id(4)).await?, &None)?;
    same("the update", &store.retrieve(id(1)).await?, &Some(row(1, &[1])))?;
    same("the delete", &store.retrieve(id(2)).await?, &Some(row(2, &[1])))?;
    same("the new term", &store.find(&query(&[2], None, 9)).await?, &vec![])?;
    same("the old term", &store.find(&query(&[1], None, 9)).await?, &vec![row(3, &[1]), row(2, &[1]), row(1, &[1])])?;
    same("the outbox", &store.outbox(OutboxSeq(0), 9).await?, &vec![])
}

pub(super) async fn first_conflict(store: Arc<dyn Keystore>) -> Result<(), Violation> {
    store.commit(batch([Change::Insert(row(1, &[])), Change::Insert(row(2, &[]))])).await?;
    let broken = batch([Change::Insert(row(3, &[])), Change::Insert(row(2, &[])), Change::Insert(row(1, &[]))]);
    conflict("the batch", store.commit(broken).await, id(2))
}

pub(super) async fn in_order(store: Arc<dyn Keystore>) -> Result<(), Violation> {
    let first = row(1, &[1]);
    let second = changed(&first, &[2]);
    let changes = [
        Change::Insert(first),
        Change::Update { expected: Generation::FIRST, row: second.clone() },
        Change::Insert(row(2, &[1])),
        Change::Delete { id: id(2), expected: Generation::FIRST },
    ];
    store.commit(batch(changes)).await?;
    same("inserted, then updated", &store.retrieve(id(1)).await?, &Some(second))?;
    same("inserted, then deleted", &store.retrieve(id(2)).await?, &None)?;
    same("terms on the way", &store.find(&query(&[1], None, 9)).await?, &vec![])?;
    let reversed = batch([Change::Update { expected: Generation::FIRST, row: changed(&row(3, &[]), &[]) }, Change::Insert(row(3, &[]))]);
    conflict("updated, then inserted", store.commit(reversed).await, id(3))
}

pub(super) async fn empty(store: Arc<dyn Keystore>) -> Result<(), Violation> {
    store.commit(Batch::default()).await?;
    same("the rows", &store.find(&query(&[], None, 9)).await?, &vec![])
}

pub(super) async fn large(store: Arc<dyn Keystore>) -> Result<(), Violation> {
    for (number, bytes) in [(1, ROW_BYTES_MAX), (2, ROW_BYTES_MAX - 1), (3, 65_536), (4, 4_096)] {
        let large = row_of(number, bytes);
        same("the size tried", &large.encode().len(), &bytes)?;
        store.commit(batch([Change::Insert(large.clone())])).await?;
        same("a large row", &store.retrieve(id(number)).await?, &Some(large.clone()))?;
        same("a large row found", &store.find(&query(&[number], None, 1)).await?, &vec![large])?;
    }
    let shrunk = changed(&row_of(1, ROW_BYTES_MAX), &[]);
    let shrunk = Row { attributes: None, ..shrunk };
    store.commit(batch([Change::Update { expected: Generation::FIRST, row: shrunk.clone() }])).await?;
    same("a large row made small", &store.retrieve(id(1)).await?, &Some(shrunk))
}

/// A row whose encoding has exactly so many bytes.
fn row_of(number: u64, bytes: usize) -> Row {
    let mut large = row(number, &[number]);
    let spare = |row: &Row| bytes - row.encode().len();
    large.attributes = Some(vec![0x77; bytes / 2]);
    large.material = Some(vec![0x78; bytes / 4]);
    large.attributes = Some(vec![0x77; bytes / 2 + spare(&large)]);
    // The first guess may be off where the length prefix grows by a byte.
    let over = large.encode().len().saturating_sub(bytes);
    large.material = Some(vec![0x78; bytes / 4 - over]);
    large
}
