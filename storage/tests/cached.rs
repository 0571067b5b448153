//! Rows that are kept for a while: what is kept, for how long, and what lets go of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use keys::id::{Layer, OutboxSeq, RowId};
use keys::port::{Batch, Change, Keystore, OutboxEntry, Query, StoreError};
use keys::row::Row;
use storage::cached::{Cached, Counts, Settings};
use storage::conformance;
use storage::conformance::sample::{changed, id, row};
use storage::memory::Memory;
use tokio::sync::Semaphore;

/// More than are ever wanted at once.
const ANSWERS: u32 = 1000;
const FOR_EVER: Settings = Settings { bytes: 1 << 20, life: Duration::from_hours(1) };

/// Counts what is read, and answers a read when it is let.
struct Far {
    rows: Memory,
    reads: AtomicU64,
    answers: Semaphore,
    is_down: AtomicBool,
}

impl Far {
    fn new() -> Arc<Self> {
        let answers = Semaphore::new(ANSWERS as usize);
        Arc::new(Self { rows: Memory::new(), reads: AtomicU64::new(0), answers, is_down: AtomicBool::new(false) })
    }

    fn reads(&self) -> u64 {
        self.reads.load(Ordering::SeqCst)
    }

    /// Until the returned value is dropped reads have been begun by the store and are not answered.
    async fn held(&self) -> tokio::sync::SemaphorePermit<'_> {
        self.answers.acquire_many(ANSWERS).await.expect("it is never closed")
    }
}

#[async_trait]
impl Keystore for Far {
    async fn retrieve(&self, id: RowId) -> Result<Option<Row>, StoreError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let row = self.rows.retrieve(id).await;
        let _answered = self.answers.acquire().await.expect("it is never closed");
        if self.is_down.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable { what: "the store is down", source: "no route".into() });
        }
        row
    }

    async fn find(&self, query: &Query) -> Result<Vec<Row>, StoreError> {
        self.rows.find(query).await
    }

    async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        self.rows.commit(batch).await
    }

    async fn outbox(&self, after: OutboxSeq, limit: usize) -> Result<Vec<OutboxEntry>, StoreError> {
        self.rows.outbox(after, limit).await
    }
}

fn near(far: &Arc<Far>, settings: Settings) -> (Arc<Cached>, Arc<Counts>) {
    let counts = Arc::<Counts>::default();
    (Arc::new(Cached::new(Arc::<Far>::clone(far), settings, Arc::clone(&counts))), counts)
}

async fn commit(store: &impl Keystore, change: Change) {
    store.commit(Batch { changes: vec![change], ..Batch::default() }).await.expect("it is expected");
}

async fn update(store: &impl Keystore, before: &Row) -> Row {
    let after = changed(before, &[]);
    commit(store, Change::Update { expected: before.header.generation, row: after.clone() }).await;
    after
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_conforms() {
    let make = async || near(&Far::new(), FOR_EVER).0 as Arc<dyn Keystore>;
    conformance::run(make).await.expect("it conforms");
}

#[tokio::test]
async fn a_row_and_that_there_is_none_are_asked_for_once() {
    let far = Far::new();
    let (near, counts) = near(&far, FOR_EVER);
    commit(&*far, Change::Insert(row(1, &[]))).await;
    for _ in 0..3 {
        assert_eq!(near.retrieve(id(1)).await.expect("it answers"), Some(row(1, &[])));
        assert_eq!(near.retrieve(id(2)).await.expect("it answers"), None);
    }
    assert_eq!((far.reads(), counts.misses(), counts.hits()), (2, 2, 4));
    let free = RowId { layer: Layer::Name, ..id(3) };
    for _ in 0..2 {
        assert_eq!(near.retrieve(free).await.expect("it answers"), None);
    }
    assert_eq!(far.reads(), 4, "a name that is free now may be taken next");
}

#[tokio::test]
async fn a_change_lets_go_before_it_is_acknowledged_and_so_does_one_that_fails() {
    let far = Far::new();
    let (near, _) = near(&far, FOR_EVER);
    assert_eq!(near.retrieve(id(1)).await.expect("it answers"), None);
    commit(&*near, Change::Insert(row(1, &[]))).await;
    assert_eq!(near.retrieve(id(1)).await.expect("it answers"), Some(row(1, &[])));
    let second = update(&*near, &row(1, &[])).await;
    assert_eq!(near.retrieve(id(1)).await.expect("it answers"), Some(second.clone()));

    // Another node is first: this one hears of it by its own conflict.
    let third = update(&*far, &second).await;
    assert_eq!(near.retrieve(id(1)).await.expect("it answers"), Some(second.clone()));
    let late = Change::Update { expected: second.header.generation, row: changed(&second, &[9]) };
    near.commit(Batch { changes: vec![late], ..Batch::default() }).await.expect_err("another was first");
    assert_eq!(near.retrieve(id(1)).await.expect("it answers"), Some(third));
}

#[tokio::test]
async fn what_another_node_has_changed_is_served_no_longer_than_rows_are_kept() {
    let far = Far::new();
    let (near, _) = near(&far, Settings { life: Duration::ZERO, ..FOR_EVER });
    commit(&*far, Change::Insert(row(1, &[]))).await;
    assert_eq!(near.retrieve(id(1)).await.expect("it answers"), Some(row(1, &[])));
    let second = update(&*far, &row(1, &[])).await;
    assert_eq!(near.retrieve(id(1)).await.expect("it answers"), Some(second));
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_want_the_same_row_at_once_share_one_answer_and_one_failure() {
    let far = Far::new();
    let (near, counts) = near(&far, FOR_EVER);
    for is_down in [true, false] {
        far.is_down.store(is_down, Ordering::SeqCst);
        let (held, reads, known) = (far.held().await, far.reads(), counts.hits());
        let asked = |_| {
            let near = Arc::clone(&near);
            tokio::spawn(async move { near.retrieve(id(1)).await })
        };
        let all: Vec<_> = (0..16).map(asked).collect();
        while counts.hits() < known + 15 {
            tokio::task::yield_now().await;
        }
        drop(held);
        for one in all {
            match one.await.expect("nobody panics") {
                Ok(none) => assert!(!is_down && none.is_none()),
                Err(error) => assert!(is_down && error.to_string().contains("the store is down"), "{error}"),
            }
        }
        assert_eq!(far.reads(), reads + 1);
    }
}

/// An answer that was read before a change would hide the change for as long as rows are kept.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_a_change_overtakes_is_not_kept() {
    let far = Far::new();
    let (near, _) = near(&far, FOR_EVER);
    commit(&*far, Change::Insert(row(1, &[]))).await;
    let held = far.held().await;
    let early = tokio::spawn({
        let near = Arc::clone(&near);
        async move { near.retrieve(id(1)).await }
    });
    while far.reads() == 0 {
        tokio::task::yield_now().await;
    }
    let second = update(&*near, &row(1, &[])).await;
    drop(held);
    assert_eq!(early.await.expect("nobody panics").expect("it answers"), Some(row(1, &[])), "it was asked for before the change");
    assert_eq!(near.retrieve(id(1)).await.expect("it answers"), Some(second));
}

#[tokio::test]
async fn no_more_is_kept_than_was_granted() {
    let far = Far::new();
    let (near, counts) = near(&far, Settings { bytes: 16 * 1024, ..FOR_EVER });
    for number in 0..200 {
        commit(&*far, Change::Insert(row(number, &[]))).await;
        near.retrieve(id(number)).await.expect("it answers");
    }
    let before = counts.hits();
    for number in 0..200 {
        near.retrieve(id(number)).await.expect("it answers");
    }
    // A row is some 800 bytes.
    assert!(counts.hits() - before <= 25, "{} of 200 were kept", counts.hits() - before);
}
