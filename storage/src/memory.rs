//! The volatile keystore: everything is gone when the value is dropped.
//!
//! For tests and for edges that are declared ephemeral. It does what `embedded` does, except survive.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use keys::id::{Generation, OutboxSeq, RowId};
use keys::port::{Batch, Change, Keystore, OutboxEntry, Query, StoreError};
use keys::record::Record;
use keys::row::{Row, Term};
use uuid::Uuid;

use crate::outbox_taken;

/// A keystore in ordinary memory. What it holds is wrapped and MACed already.
#[derive(Default)]
pub struct Memory {
    tables: Mutex<Tables>,
}

#[derive(Default)]
struct Tables {
    rows: BTreeMap<RowId, Row>,
    terms: BTreeSet<(Term, RowId)>,
    outbox: BTreeMap<OutboxSeq, Record>,
}

impl Memory {
    /// An empty keystore.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        // A panic cannot leave a half-applied batch: expectations are checked before the first change.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Keystore for Memory {
    async fn retrieve(&self, id: RowId) -> Result<Option<Row>, StoreError> {
        Ok(self.tables().rows.get(&id).cloned())
    }

    async fn find(&self, query: &Query) -> Result<Vec<Row>, StoreError> {
        Ok(self.tables().find(query))
    }

    async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let mut tables = self.tables();
        tables.check(&batch.changes)?;
        tables.check_outbox(&batch.outbox)?;
        for change in batch.changes {
            tables.apply(change);
        }
        tables.outbox.retain(|seq, _| Some(*seq) > batch.settled);
        tables.outbox.extend(batch.outbox.into_iter().map(|entry| (entry.seq, entry.record)));
        Ok(())
    }

    async fn outbox(&self, after: OutboxSeq, limit: usize) -> Result<Vec<OutboxEntry>, StoreError> {
        let tables = self.tables();
        let later = tables.outbox.range((Bound::Excluded(after), Bound::Unbounded));
        Ok(later.take(limit).map(|(seq, record)| OutboxEntry { seq: *seq, record: *record }).collect())
    }
}

impl Tables {
    fn find(&self, query: &Query) -> Vec<Row> {
        let oldest = RowId::new(query.layer, Uuid::nil());
        let newest = RowId::new(query.layer, Uuid::max());
        let wanted = |id: &RowId| query.before.is_none_or(|before| *id < before);
        match query.terms.split_first() {
            None => {
                self.rows.range(oldest..=newest).rev().filter(|(id, _)| wanted(id)).take(query.limit).map(|(_, row)| row.clone()).collect()
            }
            Some((first, others)) => self
                .terms
                .range((*first, oldest)..=(*first, newest))
                .rev()
                .map(|(_, id)| *id)
                .filter(|id| wanted(id) && others.iter().all(|term| self.terms.contains(&(*term, *id))))
                .take(query.limit)
                .filter_map(|id| self.rows.get(&id).cloned())
                .collect(),
        }
    }

    /// Goes through the changes in order, as if each had been applied before the next is looked at.
    fn check(&self, changes: &[Change]) -> Result<(), StoreError> {
        let mut staged: BTreeMap<RowId, Option<Generation>> = BTreeMap::new();
        for change in changes {
            let id = change.id();
            let stored = staged.get(&id).copied().unwrap_or_else(|| self.rows.get(&id).map(|row| row.header.generation));
            if stored != change.expected() {
                return Err(StoreError::Conflict { id });
            }
            staged.insert(id, change.row().map(|row| row.header.generation));
        }
        Ok(())
    }

    fn check_outbox(&self, entries: &[OutboxEntry]) -> Result<(), StoreError> {
        let mut queued = BTreeSet::new();
        let mut is_free = |entry: &&OutboxEntry| queued.insert(entry.seq) && !self.outbox.contains_key(&entry.seq);
        match entries.iter().find(|entry| !is_free(entry)) {
            Some(entry) => Err(outbox_taken(entry.seq)),
            None => Ok(()),
        }
    }

    fn apply(&mut self, change: Change) {
        let id = change.id();
        if let Some(old) = self.rows.remove(&id) {
            for term in old.terms {
                self.terms.remove(&(term, id));
            }
        }
        if let Change::Insert(row) | Change::Update { row, .. } = change {
            self.terms.extend(row.terms.iter().map(|term| (*term, id)));
            self.rows.insert(id, row);
        }
    }
}
