//! Rows on their way from one placement to the next, while others use them.
//!
//! All is read and written where rows belong now; a copy grows beside it. What is changed meanwhile is only noted, and brought over again. When nothing is left
//! to bring over but what was noted in the last moment, nobody may change anything for as long as it takes to bring that over too, to read it back,
//! and to make the next placement the one that counts. So the keystore that rows come to may fail at any time before that, and nobody is kept waiting.
//!
//! Every step may be taken twice, and a walk that was cut off is begun anew: what is there already is only compared.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};

use futures_util::future::try_join_all;
use keys::id::{Layer, OutboxSeq, RowId};
use keys::port::{Batch, Change, Keystore, Query, StoreError};
use keys::row::Row;

use super::{OUTBOX_RECORDS, Placement, Routed};

/// Rows of one step.
const STEP_ROWS: usize = 128;
/// Rows that are asked for at once: few, because clients want to be answered by the same keystore.
const ROWS_AT_ONCE_MAX: usize = 8;
/// How often a copied row is written anew that turns out to be another.
const WRITES_MAX: u32 = 3;

/// How far a walk has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Of the layers.
    layer: u8,
    /// Of the layer's keystores.
    store: usize,
    before: Option<RowId>,
}

/// What a step of a walk has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Where to go on; `None` after the last step.
    pub next: Option<Cursor>,
    /// How many rows it was about.
    pub rows: usize,
    /// Rows that are not the same in both keystores although nobody has changed them meanwhile.
    pub differing: Vec<RowId>,
}

/// Rows of one keystore that belong elsewhere by another placement.
struct Found {
    store: String,
    rows: Vec<Row>,
    next: Option<Cursor>,
}

impl Routed {
    /// From now on it is noted which rows change.
    ///
    /// # Errors
    /// A change of before cannot be settled; nothing is noted.
    pub async fn note_changes(&self) -> Result<(), StoreError> {
        let mut commits = self.commits.lock().await;
        self.settle(&mut commits).await?;
        *self.changed() = Some(BTreeSet::new());
        Ok(())
    }

    /// Nobody wants to know any more which rows change.
    pub fn forget_changes(&self) {
        *self.changed() = None;
    }

    /// Copies the next rows that belong elsewhere by `next`.
    ///
    /// # Errors
    /// A keystore's; the step can be repeated.
    pub async fn copy(&self, next: &Placement, at: Cursor) -> Result<Step, StoreError> {
        let now = self.placement();
        let found = self.walk(&now, next, at).await?;
        let mut shares: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
        for row in &found.rows {
            shares.entry(next.store_of(&row.header)).or_default().push(row);
        }
        for (to, rows) in shares {
            let changes = rows.iter().map(|row| Change::Insert((*row).clone())).collect();
            match self.store(to).commit(Batch { changes, ..Batch::default() }).await {
                // Some of them are there from an earlier walk.
                Err(StoreError::Conflict { .. }) => self.bring_all(to, &rows).await?,
                copied => copied?,
            }
        }
        Ok(Step { next: found.next, rows: found.rows.len(), differing: Vec::new() })
    }

    /// Compares the next rows with their copies, and then the next copies with their rows. What differs is noted as changed.
    ///
    /// # Errors
    /// A keystore's; the step can be repeated.
    pub async fn compare(&self, next: &Placement, at: Cursor, copies: bool) -> Result<Step, StoreError> {
        let now = self.placement();
        let (of, other) = if copies { (next, &*now) } else { (&*now, next) };
        let found = self.walk(of, other, at).await?;
        let looks = found.rows.iter().map(|row| async move { self.store(other.store_of(&row.header)).retrieve(row.header.id).await });
        let others = few_at_once(looks).await?;
        let pairs = found.rows.iter().zip(others);
        let differing: Vec<RowId> = pairs.filter(|(row, other)| other.as_ref() != Some(row)).map(|(row, _)| row.header.id).collect();
        let mut changed = self.changed();
        let noted = changed.get_or_insert_default();
        let differing = differing.into_iter().filter(|id| noted.insert(*id)).collect();
        Ok(Step { next: found.next, rows: found.rows.len(), differing })
    }

    /// Brings over what was noted, and returns how much that was.
    ///
    /// # Errors
    /// A keystore's; what was not brought over stays noted.
    pub async fn catch_up(&self, next: &Placement) -> Result<usize, StoreError> {
        let now = self.placement();
        let noted = {
            // Of what is noted nothing is under way.
            let mut commits = self.commits.lock().await;
            self.settle(&mut commits).await?;
            self.changed().as_mut().map(std::mem::take).unwrap_or_default()
        };
        self.bring_noted(&now, next, noted).await
    }

    async fn bring_noted(&self, now: &Placement, next: &Placement, noted: BTreeSet<RowId>) -> Result<usize, StoreError> {
        let noted = Vec::from_iter(noted);
        for (number, ids) in noted.chunks(STEP_ROWS).enumerate() {
            if let Err(error) = self.bring_over(now, next, ids).await {
                self.changed().get_or_insert_default().extend(&noted[number * STEP_ROWS..]);
                return Err(error);
            }
        }
        Ok(noted.len())
    }

    /// Makes `next` the placement that counts, with all rows where it has them. `remember` makes that outlast the process; if it fails, nothing has changed.
    ///
    /// # Errors
    /// A keystore's, or that of `remember`.
    pub async fn switch<E: From<StoreError>>(&self, next: Placement, remember: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let mut commits = self.commits.lock().await;
        self.settle(&mut commits).await?;
        let now = self.placement();
        let noted = self.changed().as_mut().map(std::mem::take).unwrap_or_default();
        self.bring_noted(&now, &next, noted).await?;
        if now.home() != next.home() {
            self.bring_outbox(&*self.store(now.home()), &*self.store(next.home())).await?;
        }
        remember()?;
        *self.placement.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        self.forget_changes();
        Ok(())
    }

    /// The first row that belongs elsewhere by `next`: which, where it lies, and where it would belong.
    ///
    /// # Errors
    /// A keystore's.
    pub async fn misplaced(&self, next: &Placement) -> Result<Option<(RowId, String, String)>, StoreError> {
        let now = self.placement();
        let found = self.walk(&now, next, Cursor::default()).await?;
        let first = found.rows.first();
        Ok(first.map(|row| (row.header.id, now.store_of(&row.header).to_owned(), next.store_of(&row.header).to_owned())))
    }

    /// Removes the next rows that lie where they belonged by `was`, and do not belong now.
    ///
    /// # Errors
    /// A keystore's; the step can be repeated.
    pub async fn clear(&self, was: &Placement, at: Cursor) -> Result<Step, StoreError> {
        let now = self.placement();
        let found = self.walk(was, &now, at).await?;
        let store = self.store(&found.store);
        let changes = found.rows.iter().map(|row| Change::Delete { id: row.header.id, expected: row.header.generation }).collect();
        match store.commit(Batch { changes, ..Batch::default() }).await {
            Err(StoreError::Conflict { .. }) => drop(few_at_once(found.rows.iter().map(|row| remove(&*store, row.header.id))).await?),
            cleared => cleared?,
        }
        if found.next.is_none() && was.home() != now.home() {
            // The log has them, or the outbox that counts does.
            settle_all(&*self.store(was.home())).await?;
        }
        Ok(Step { next: found.next, rows: found.rows.len(), differing: Vec::new() })
    }

    /// The next rows that belong by `of` to where they lie, and elsewhere by `other`.
    async fn walk(&self, of: &Placement, other: &Placement, mut at: Cursor) -> Result<Found, StoreError> {
        loop {
            let layer = Layer::try_from(at.layer).ok().filter(|layer| of.differs(other, *layer));
            let stores = layer.map(|layer| (layer, of.stores_of(layer)));
            let Some((layer, store)) = stores.and_then(|(layer, stores)| Some((layer, *stores.get(at.store)?))) else {
                let Some(layer) = at.layer.checked_add(1) else {
                    return Ok(Found { store: of.home().to_owned(), rows: Vec::new(), next: None });
                };
                at = Cursor { layer, ..Cursor::default() };
                continue;
            };
            let mut rows = self.store(store).find(&Query { layer, terms: Vec::new(), before: at.before, limit: STEP_ROWS }).await?;
            let next = match rows.last().filter(|_| rows.len() == STEP_ROWS) {
                Some(last) => Cursor { before: Some(last.header.id), ..at },
                None => Cursor { store: at.store + 1, before: None, ..at },
            };
            rows.retain(|row| of.store_of(&row.header) == store && other.store_of(&row.header) != store);
            if !rows.is_empty() {
                return Ok(Found { store: store.to_owned(), rows, next: Some(next) });
            }
            at = next;
        }
    }

    /// Rows as they are now, or their absence.
    async fn bring_over(&self, now: &Placement, next: &Placement, ids: &[RowId]) -> Result<(), StoreError> {
        let rows = few_at_once(ids.iter().map(|id| self.look(now, *id))).await?;
        let mut shares: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
        for (id, row) in ids.iter().zip(&rows) {
            match row.as_ref().and_then(|row| Some((row, now.moves(next, row)?))) {
                Some((row, to)) => shares.entry(to).or_default().push(row),
                None => self.remove_copy(now, next, *id).await?,
            }
        }
        for (to, rows) in shares {
            self.bring_all(to, &rows).await?;
        }
        Ok(())
    }

    async fn remove_copy(&self, now: &Placement, next: &Placement, id: RowId) -> Result<(), StoreError> {
        for to in next.stores_of(id.layer) {
            let copy = self.store(to).retrieve(id).await?;
            if copy.is_some_and(|copy| now.moves(next, &copy) == Some(to)) {
                remove(&*self.store(to), id).await?;
            }
        }
        Ok(())
    }

    /// Puts rows into a keystore in one go, and reads them back.
    async fn bring_all(&self, to: &str, rows: &[&Row]) -> Result<(), StoreError> {
        let store = self.store(to);
        let stored = few_at_once(rows.iter().map(|row| store.retrieve(row.header.id))).await?;
        let change = |(row, stored): (&&Row, Option<Row>)| match stored {
            Some(stored) if stored == **row => None,
            Some(stored) => Some(Change::Update { expected: stored.header.generation, row: (*row).clone() }),
            None => Some(Change::Insert((*row).clone())),
        };
        let changes = rows.iter().zip(stored).filter_map(change).collect();
        match store.commit(Batch { changes, ..Batch::default() }).await {
            // Another try of the same is only now known to have happened: one by one it shows.
            Err(StoreError::Conflict { .. }) => {}
            written => written?,
        }
        few_at_once(rows.iter().map(|row| self.bring(to, row))).await?;
        Ok(())
    }

    /// Puts a row into a keystore in place of what is there of it, and reads it back.
    async fn bring(&self, to: &str, row: &Row) -> Result<(), StoreError> {
        let (store, id) = (self.store(to), row.header.id);
        for _ in 0..WRITES_MAX {
            let change = match store.retrieve(id).await? {
                Some(stored) if stored == *row => return Ok(()),
                Some(stored) => Change::Update { expected: stored.header.generation, row: row.clone() },
                None => Change::Insert(row.clone()),
            };
            match store.commit(Batch { changes: vec![change], ..Batch::default() }).await {
                Err(StoreError::Conflict { .. }) => {}
                written => written?,
            }
        }
        Err(StoreError::Corrupt { what: format!("keystore {to} does not give it back as it was copied there"), at: id.to_string() })
    }

    async fn bring_outbox(&self, from: &dyn Keystore, to: &dyn Keystore) -> Result<(), StoreError> {
        let mut after = OutboxSeq(0);
        loop {
            let mut page = from.outbox(after, OUTBOX_RECORDS).await?;
            let Some(last) = page.last().map(|entry| entry.seq) else { return Ok(()) };
            let there = to.outbox(after, OUTBOX_RECORDS).await?;
            page.retain(|entry| !there.contains(entry));
            to.commit(Batch { outbox: page, ..Batch::default() }).await?;
            after = last;
        }
    }
}

/// The outcomes of calls, in their order, or the first error.
async fn few_at_once<T, F: Future<Output = Result<T, StoreError>>>(calls: impl IntoIterator<Item = F>) -> Result<Vec<T>, StoreError> {
    let (mut left, mut outcomes) = (Vec::from_iter(calls), Vec::new());
    while !left.is_empty() {
        let later = left.split_off(left.len().min(ROWS_AT_ONCE_MAX));
        outcomes.extend(try_join_all(left).await?);
        left = later;
    }
    Ok(outcomes)
}

async fn remove(store: &dyn Keystore, id: RowId) -> Result<(), StoreError> {
    let Some(row) = store.retrieve(id).await? else { return Ok(()) };
    store.commit(Batch { changes: vec![Change::Delete { id, expected: row.header.generation }], ..Batch::default() }).await
}

async fn settle_all(store: &dyn Keystore) -> Result<(), StoreError> {
    store.commit(Batch { settled: Some(OutboxSeq(u64::MAX)), ..Batch::default() }).await
}
