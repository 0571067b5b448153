//! A keystore that counts what it is asked, and knows whether it answered last.

use std::error::Error as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use keys::id::{OutboxSeq, RowId, TenantId};
use keys::port::{Batch, Keystore, OutboxEntry, Query, Scope, StoreError};
use keys::row::Row;

use super::Count;

/// What a keystore was asked.
#[derive(Debug, Default)]
pub struct StoreCounts {
    pub(super) reads: Count,
    pub(super) searches: Count,
    /// Transactions that became durable.
    pub(super) commits: Count,
    /// Row changes in them.
    pub(super) changes: Count,
    /// Audit records in them: one for each item of the requests that shared the transaction.
    pub(super) records: Count,
    /// Transactions that another change of the same row came before.
    pub(super) conflicts: Count,
    /// Calls that failed for any other reason.
    pub(super) failures: Count,
    is_failing: AtomicBool,
    /// Why the last call failed, while calls fail.
    why: Mutex<String>,
}

impl StoreCounts {
    /// Why the keystore does not answer, if it did not when it was last asked.
    #[must_use]
    pub fn failing(&self) -> Option<String> {
        self.is_failing.load(Ordering::Acquire).then(|| self.why.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    fn answered(&self) {
        if self.is_failing.load(Ordering::Relaxed) && self.is_failing.swap(false, Ordering::AcqRel) {
            tracing::info!("the keystore answers again");
        }
    }

    fn failed(&self, error: &StoreError) {
        let why = error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
        *self.why.lock().unwrap_or_else(PoisonError::into_inner) = why.clone();
        if !self.is_failing.swap(true, Ordering::AcqRel) {
            tracing::warn!("{why}");
        }
    }
}

/// Passes every call on and counts it.
pub struct Counted {
    store: Arc<dyn Keystore>,
    counts: Arc<StoreCounts>,
}

impl Counted {
    /// `store`, counted in `counts`.
    #[must_use]
    pub fn new(store: Arc<dyn Keystore>, counts: Arc<StoreCounts>) -> Self {
        Self { store, counts }
    }

    /// Counts a batch, once it is durable.
    fn counted<'c>(&'c self, batch: &Batch) -> impl FnOnce() + Send + use<'c> {
        let (changes, records) = (batch.changes.len() as u64, batch.outbox.len() as u64);
        move || {
            self.counts.commits.add(1);
            self.counts.changes.add(changes);
            self.counts.records.add(records);
        }
    }

    fn told<T>(&self, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        match &outcome {
            Ok(_) => self.counts.answered(),
            Err(StoreError::Conflict { .. }) => {
                self.counts.conflicts.add(1);
                self.counts.answered();
            }
            Err(StoreError::Corrupt { .. }) => {
                self.counts.failures.add(1);
                self.counts.answered();
            }
            Err(error) => {
                self.counts.failures.add(1);
                self.counts.failed(error);
            }
        }
        outcome
    }
}

#[async_trait]
impl Keystore for Counted {
    async fn retrieve(&self, id: RowId) -> Result<Option<Row>, StoreError> {
        self.counts.reads.add(1);
        self.told(self.store.retrieve(id).await)
    }

    async fn find(&self, query: &Query) -> Result<Vec<Row>, StoreError> {
        self.counts.searches.add(1);
        self.told(self.store.find(query).await)
    }

    async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let counted = self.counted(&batch);
        self.told(self.store.commit(batch).await)?;
        counted();
        Ok(())
    }

    async fn retrieve_for(&self, scope: Scope, id: RowId) -> Result<Option<Row>, StoreError> {
        self.counts.reads.add(1);
        self.told(self.store.retrieve_for(scope, id).await)
    }

    async fn find_for(&self, scope: Scope, query: &Query) -> Result<Vec<Row>, StoreError> {
        self.counts.searches.add(1);
        self.told(self.store.find_for(scope, query).await)
    }

    async fn commit_within(&self, tenants: &[TenantId], batch: Batch) -> Result<(), StoreError> {
        let counted = self.counted(&batch);
        self.told(self.store.commit_within(tenants, batch).await)?;
        counted();
        Ok(())
    }

    async fn outbox(&self, after: OutboxSeq, limit: usize) -> Result<Vec<OutboxEntry>, StoreError> {
        self.told(self.store.outbox(after, limit).await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_counted_keystore_is_still_a_keystore() {
        let make = async || -> Arc<dyn Keystore> {
            let counted: Arc<dyn Keystore> = Arc::new(Counted::new(Arc::new(storage::memory::Memory::new()), Arc::default()));
            counted
        };
        if let Err(failure) = storage::conformance::run(make).await {
            panic!("{failure:?}");
        }
    }

    #[tokio::test]
    async fn what_is_asked_is_counted() {
        let counts = Arc::<StoreCounts>::default();
        let store = Counted::new(Arc::new(storage::memory::Memory::new()), Arc::clone(&counts));
        let id = RowId::new(keys::id::Layer::L3, uuid::Uuid::nil());
        assert!(store.retrieve(id).await.expect("an empty store answers").is_none());
        store.commit(Batch { changes: vec![], outbox: vec![], settled: None }).await.expect("nothing is easily done");
        let gone = keys::port::Change::Delete { id, expected: keys::id::Generation::FIRST };
        store.commit(Batch { changes: vec![gone], outbox: vec![], settled: None }).await.expect_err("there is no such row");
        let seen = [&counts.reads, &counts.commits, &counts.changes, &counts.conflicts, &counts.failures].map(Count::value);
        assert_eq!(seen, [1, 1, 0, 1, 0]);
    }
}
