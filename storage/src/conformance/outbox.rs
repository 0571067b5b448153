//! Rules about the outbox: audit records that become durable with the change they tell of.

use std::sync::Arc;

use keys::id::OutboxSeq;
use keys::port::{Batch, Change, Keystore, OutboxEntry, StoreError};

use super::sample::{entry, id, row};
use super::{Violation, conflict, same};

fn entries(numbers: impl IntoIterator<Item = u64>) -> Vec<OutboxEntry> {
    numbers.into_iter().map(entry).collect()
}

pub(super) async fn in_order(store: Arc<dyn Keystore>) -> Result<(), Violation> {
    same("an empty outbox", &store.outbox(OutboxSeq(0), 9).await?, &vec![])?;
    // 300 is behind 2 in number and before it in its first byte.
    store.commit(Batch { outbox: entries([1, 2]), ..Batch::default() }).await?;
    store.commit(Batch { changes: vec![Change::Insert(row(1, &[]))], outbox: entries([300, 301]), settled: None }).await?;
    same("all", &store.outbox(OutboxSeq(0), 9).await?, &entries([1, 2, 300, 301]))?;
    same("at most two", &store.outbox(OutboxSeq(0), 2).await?, &entries([1, 2]))?;
    same("after one that exists", &store.outbox(OutboxSeq(2), 9).await?, &entries([300, 301]))?;
    same("after one that does not", &store.outbox(OutboxSeq(17), 1).await?, &entries([300]))?;
    same("after the last", &store.outbox(OutboxSeq(301), 9).await?, &vec![])?;
    same("after the largest number", &store.outbox(OutboxSeq(u64::MAX), 9).await?, &vec![])?;
    same("no room", &store.outbox(OutboxSeq(0), 0).await?, &vec![])
}

pub(super) async fn settled(store: Arc<dyn Keystore>) -> Result<(), Violation> {
    store.commit(Batch { outbox: entries(1..=5), ..Batch::default() }).await?;
    store.commit(Batch { outbox: entries([6]), settled: Some(OutboxSeq(3)), ..Batch::default() }).await?;
    same("what is left", &store.outbox(OutboxSeq(0), 9).await?, &entries(4..=6))?;
    store.commit(Batch { settled: Some(OutboxSeq(3)), ..Batch::default() }).await?;
    same("settled again", &store.outbox(OutboxSeq(0), 9).await?, &entries(4..=6))?;
    store.commit(Batch { settled: Some(OutboxSeq(6)), ..Batch::default() }).await?;
    same("all settled", &store.outbox(OutboxSeq(0), 9).await?, &vec![])
}

pub(super) async fn settled_in_conflict(store: Arc<dyn Keystore>) -> Result<(), Violation> {
    store.commit(Batch { changes: vec![Change::Insert(row(1, &[]))], outbox: entries(1..=2), settled: None }).await?;
    let broken = Batch { changes: vec![Change::Insert(row(1, &[]))], outbox: entries([3]), settled: Some(OutboxSeq(2)) };
    conflict("the batch", store.commit(broken).await, id(1))?;
    same("the outbox", &store.outbox(OutboxSeq(0), 9).await?, &entries(1..=2))
}

pub(super) async fn taken(store: Arc<dyn Keystore>) -> Result<(), Violation> {
    store.commit(Batch { outbox: entries([1, 2, 7]), ..Batch::default() }).await?;
    let other = |seq| OutboxEntry { seq: OutboxSeq(seq), ..entry(99) };
    let refused = [
        ("another record under a number", vec![entry(8), other(7)], None),
        ("the same record again", vec![entry(2)], None),
        ("a number that the batch itself settles", vec![other(1)], Some(OutboxSeq(1))),
        ("a number twice in one batch", vec![entry(9), other(9)], Some(OutboxSeq(1))),
    ];
    for (rule, outbox, settled) in refused {
        match store.commit(Batch { changes: vec![Change::Insert(row(1, &[1]))], outbox, settled }).await {
            Err(StoreError::Corrupt { .. }) => {}
            other => return Err(Violation::Broken { rule, wanted: "a refusal as corrupt".to_owned(), got: format!("{other:?}") }),
        }
        same(rule, &store.outbox(OutboxSeq(0), 9).await?, &entries([1, 2, 7]))?;
        same(rule, &store.retrieve(id(1)).await?, &None)?;
    }
    store.commit(Batch { changes: vec![Change::Insert(row(1, &[1]))], outbox: entries([8]), settled: Some(OutboxSeq(2)) }).await?;
    same("commits go on", &store.outbox(OutboxSeq(0), 9).await?, &entries([7, 8]))
}
