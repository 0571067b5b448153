//! A keystore that did not answer when the node was started: whoever asks is told so at once, until it does and is opened.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use async_trait::async_trait;
use keys::id::{OutboxSeq, RowId};
use keys::port::{Batch, Keystore, OutboxEntry, Query, StoreError};
use keys::row::Row;

use crate::boot::BootError;

/// One that is awaited.
pub(crate) struct Late {
    pub(super) name: String,
    opened: OnceLock<Arc<dyn Keystore>>,
    why: Mutex<String>,
}

/// What came of asking one that is awaited.
pub(crate) struct Tried {
    pub(crate) keystore: String,
    /// The node is sealed without it.
    pub(crate) is_default: bool,
    pub(crate) outcome: Result<(), BootError>,
}

/// What it is waited for.
#[derive(Debug, thiserror::Error)]
#[error("keystore {keystore}: {why}")]
struct Awaited {
    keystore: String,
    why: String,
}

impl Late {
    /// - `why`: what came of asking it.
    pub(super) fn new(name: &str, why: String) -> Self {
        Self { name: name.to_owned(), opened: OnceLock::new(), why: Mutex::new(why) }
    }

    fn said(&self) -> MutexGuard<'_, String> {
        self.why.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why it is still waited for, if it is.
    pub(super) fn why(&self) -> Option<String> {
        self.opened.get().is_none().then(|| self.said().clone())
    }

    pub(super) fn failed(&self, why: String) {
        *self.said() = why;
    }

    /// From now on it answers itself.
    pub(super) fn opened(&self, store: Arc<dyn Keystore>) {
        // Nobody else opens it.
        let _first = self.opened.set(store);
    }

    fn itself(&self) -> Result<&dyn Keystore, StoreError> {
        let awaited = || Awaited { keystore: self.name.clone(), why: self.said().clone() };
        let opened = self.opened.get().map(|opened| &**opened);
        opened
            .ok_or_else(|| StoreError::Unavailable { what: "it has not answered since this node was started", source: Box::new(awaited()) })
    }
}

#[async_trait]
impl Keystore for Late {
    async fn retrieve(&self, id: RowId) -> Result<Option<Row>, StoreError> {
        self.itself()?.retrieve(id).await
    }

    async fn find(&self, query: &Query) -> Result<Vec<Row>, StoreError> {
        self.itself()?.find(query).await
    }

    async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        self.itself()?.commit(batch).await
    }

    async fn outbox(&self, after: OutboxSeq, limit: usize) -> Result<Vec<OutboxEntry>, StoreError> {
        self.itself()?.outbox(after, limit).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keys::cluster::cluster_row;
    use storage::memory::Memory;

    #[tokio::test]
    async fn it_says_why_it_is_awaited_until_it_answers_itself() {
        let late = Late::new("main", "no route".to_owned());
        late.failed("still no route".to_owned());
        let refused = late.retrieve(cluster_row()).await;
        let Err(StoreError::Unavailable { source, .. }) = refused else { panic!("{refused:?}") };
        assert!(source.to_string().contains("main") && source.to_string().contains("still no route"), "{source}");
        assert!(late.commit(Batch::default()).await.is_err() && late.outbox(OutboxSeq(0), 1).await.is_err());
        late.opened(Arc::new(Memory::new()));
        assert_eq!(late.why(), None);
        assert_eq!(late.retrieve(cluster_row()).await.expect("it is there"), None);
    }
}
