//! The conformance suite on each keystore of this crate, and on one that breaks a rule.

use std::sync::Arc;

use async_trait::async_trait;
use keys::id::{OutboxSeq, RowId};
use keys::port::{Batch, Keystore, OutboxEntry, Query, StoreError};
use keys::row::Row;
use storage::conformance;
use storage::embedded::Embedded;
use storage::memory::Memory;

const PASSED_MIN: usize = 25;

#[tokio::test(flavor = "multi_thread")]
async fn memory_conforms() {
    let report = conformance::run(async || Arc::new(Memory::new()) as Arc<dyn Keystore>).await;
    assert!(report.expect("memory conforms").passed.len() >= PASSED_MIN);
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_conforms() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let make = async || {
        let fresh = tempfile::tempdir_in(&folder).expect("a folder").keep();
        Arc::new(Embedded::open(&fresh.join("rows.redb")).expect("a new file opens")) as Arc<dyn Keystore>
    };
    let report = conformance::run(make).await;
    assert!(report.expect("embedded conforms").passed.len() >= PASSED_MIN);
}

/// Forgets to check what must hold before a change, as a store without transactions would.
struct Careless(Memory);

#[async_trait]
impl Keystore for Careless {
    async fn retrieve(&self, id: RowId) -> Result<Option<Row>, StoreError> {
        self.0.retrieve(id).await
    }

    async fn find(&self, query: &Query) -> Result<Vec<Row>, StoreError> {
        self.0.find(query).await
    }

    async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        for change in batch.changes {
            let one = Batch { changes: vec![change], ..Batch::default() };
            self.0.commit(one).await?;
        }
        self.0.commit(Batch { outbox: batch.outbox, settled: batch.settled, ..Batch::default() }).await
    }

    async fn outbox(&self, after: OutboxSeq, limit: usize) -> Result<Vec<OutboxEntry>, StoreError> {
        self.0.outbox(after, limit).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_without_atomic_batches_is_named_for_it() {
    let outcome = conformance::run(async || Arc::new(Careless(Memory::new())) as Arc<dyn Keystore>).await;
    let failure = outcome.expect_err("a half-applied batch is seen");
    let names: Vec<_> = failure.failed.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["a batch that conflicts at its end leaves nothing", "an outbox number that is taken refuses the whole batch"]);
    assert!(failure.to_string().contains("leaves nothing"), "{failure}");
}
