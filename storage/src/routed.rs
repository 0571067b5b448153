//! Several keystores as one: each row lies where the [`Placement`] says, and a batch over several of them is done as a whole or not at all.
//!
//! **Where a row is looked for.** An identifier tells its layer and not its tenant, so where rules speak of tenants each keystore that may have the row
//! is asked, and a row counts only in the keystore where it belongs: what lies elsewhere, because it is being moved, is not there. One keystore that
//! does not answer keeps nobody from the rows that another one has; a search needs all that may have something.
//!
//! **A batch over several.** All expectations are looked at, the batch is written down as an intent, the keystores are changed one after the other, the home,
//! which has the audit records, last, and the intent is struck out. If it is not known how that ended, the intent is carried out before anything else is
//! changed and before anybody sees a row of it. What another node has changed in between is found by the keystore that refuses it, and what was done of the
//! batch is taken back. Rows that no such batch is about are read meanwhile.

mod migration;
mod placement;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use async_trait::async_trait;
use futures_util::future::try_join_all;
use keys::id::{Generation, OutboxSeq, RowId, TenantId};
use keys::port::{Batch, Change, Keystore, OutboxEntry, Query, Scope, StoreError};
use keys::row::Row;

use crate::intents::{Begun, Intents};
use crate::outbox_taken;

pub use migration::{Cursor, Step};
pub use placement::{Class, Placement, ROUTED_LAYERS, RULES_MAX, Rule};

/// Records that one look into an outbox brings.
const OUTBOX_RECORDS: usize = 1000;

/// Keystores by their names.
pub struct Routed {
    stores: RwLock<BTreeMap<String, Arc<dyn Keystore>>>,
    /// Where batches over several keystores are written down; one that is alone needs none.
    intents: OnceLock<Intents>,
    placement: RwLock<Arc<Placement>>,
    /// Whoever holds it is the only one to change anything.
    commits: tokio::sync::Mutex<Commits>,
    /// Rows of batches that have begun and are not known to have ended.
    unsettled: RwLock<Arc<BTreeSet<RowId>>>,
    /// Rows that were changed since somebody wants to know of it.
    changed: Mutex<Option<BTreeSet<RowId>>>,
}

/// What is known of batches over several keystores.
struct Commits {
    begun: Vec<Begun>,
    /// Only the intents know whether one more has begun.
    is_doubtful: bool,
}

/// Is the row open, or one that a search may come to?
type Concerns<'c> = &'c (dyn Fn(&BTreeSet<RowId>) -> bool + Sync);

impl Routed {
    /// `stores` as one, with the batches that an earlier process did not end.
    ///
    /// - `intents`: needed as soon as rows belong to a second keystore.
    ///
    /// # Errors
    /// The intents cannot be read.
    ///
    /// # Panics
    /// If the placement names a keystore that is not given, or intents are needed and not given.
    pub fn new(stores: BTreeMap<String, Arc<dyn Keystore>>, placement: Placement, intents: Option<Intents>) -> Result<Self, StoreError> {
        assert!(placement.stores().iter().all(|name| stores.contains_key(*name)), "every keystore of the placement is given");
        assert!(placement.stores().len() == 1 || intents.is_some(), "several keystores come with intents");
        let begun = intents.as_ref().map_or(Ok(Vec::new()), Intents::begun)?;
        let unsettled = RwLock::new(Arc::new(rows_of(&begun)));
        Ok(Self {
            stores: RwLock::new(stores),
            intents: intents.map(OnceLock::from).unwrap_or_default(),
            placement: RwLock::new(Arc::new(placement)),
            commits: tokio::sync::Mutex::new(Commits { begun, is_doubtful: false }),
            unsettled,
            changed: Mutex::default(),
        })
    }

    /// Where rows belong now.
    #[must_use]
    pub fn placement(&self) -> Arc<Placement> {
        Arc::clone(&self.placement.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A keystore, if it is one of these.
    #[must_use]
    pub fn keystore(&self, name: &str) -> Option<Arc<dyn Keystore>> {
        self.stores.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// One more keystore, which nothing belongs to yet, and intents if there are none.
    ///
    /// # Errors
    /// That of `intents`.
    pub fn add<E>(&self, name: &str, store: Arc<dyn Keystore>, intents: impl FnOnce() -> Result<Intents, E>) -> Result<(), E> {
        if self.intents.get().is_none() {
            // Whoever comes at the same time has opened the same.
            let _first = self.intents.set(intents()?);
        }
        self.stores.write().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_insert(store);
        Ok(())
    }

    /// Does a change wait for a keystore that did not answer in the midst of it?
    #[must_use]
    pub fn is_unsettled(&self) -> bool {
        !self.unsettled().is_empty()
    }

    fn store(&self, name: &str) -> Arc<dyn Keystore> {
        self.keystore(name).expect("a placement names keystores that there are")
    }

    fn intents(&self) -> &Intents {
        self.intents.get().expect("several keystores come with intents")
    }

    fn unsettled(&self) -> Arc<BTreeSet<RowId>> {
        Arc::clone(&self.unsettled.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn tell_unsettled(&self, begun: &[Begun]) {
        *self.unsettled.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rows_of(begun));
    }

    fn changed(&self) -> MutexGuard<'_, Option<BTreeSet<RowId>>> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where to read once nothing that is asked for is open any more.
    async fn ready(&self, concerns: Concerns<'_>) -> Result<Arc<Placement>, StoreError> {
        while concerns(&self.unsettled()) {
            self.settle(&mut *self.commits.lock().await).await?;
        }
        Ok(self.placement())
    }

    /// Does what was read there still count?
    fn is_still(&self, placement: &Arc<Placement>, concerns: Concerns<'_>) -> bool {
        !concerns(&self.unsettled()) && Arc::ptr_eq(placement, &self.placement())
    }

    /// The row, from the keystore where it belongs.
    async fn look(&self, placement: &Placement, id: RowId) -> Result<Option<Row>, StoreError> {
        self.look_for(Scope::Node, placement, id).await
    }

    async fn look_for(&self, scope: Scope, placement: &Placement, id: RowId) -> Result<Option<Row>, StoreError> {
        let mut failed = None;
        for name in placement.stores_of(id.layer) {
            match self.store(name).retrieve_for(scope, id).await {
                Ok(row) => {
                    let own = row.filter(|row| placement.store_of(&row.header) == name);
                    if own.is_some() {
                        return Ok(own);
                    }
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(None), Err)
    }

    async fn search(&self, scope: Scope, placement: &Placement, query: &Query) -> Result<Vec<Row>, StoreError> {
        let names = placement.stores_of(query.layer);
        if let [name] = names[..] {
            return self.page(scope, placement, name, query).await;
        }
        let pages = try_join_all(names.into_iter().map(|name| self.page(scope, placement, name, query))).await?;
        let mut rows: Vec<Row> = pages.into_iter().flatten().collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.header.id));
        rows.truncate(query.limit);
        Ok(rows)
    }

    /// What a keystore has of its own.
    async fn page(&self, scope: Scope, placement: &Placement, name: &str, query: &Query) -> Result<Vec<Row>, StoreError> {
        let (mut next, mut rows) = (query.clone(), Vec::new());
        loop {
            let found = self.store(name).find_for(scope, &next).await?;
            let is_last = found.len() < next.limit;
            next.before = found.last().map(|row| row.header.id).or(next.before);
            rows.extend(found.into_iter().filter(|row| placement.store_of(&row.header) == name));
            if is_last || rows.len() >= query.limit {
                rows.truncate(query.limit);
                return Ok(rows);
            }
        }
    }

    /// Carries out what is written down.
    async fn settle(&self, commits: &mut Commits) -> Result<(), StoreError> {
        if commits.is_doubtful {
            commits.begun = self.intents().begun()?;
            commits.is_doubtful = false;
            self.tell_unsettled(&commits.begun);
        }
        while let Some(begun) = commits.begun.first_mut() {
            // Whoever began it was told that its end is not known.
            let _either = self.carry_out(begun, false).await?;
            self.strike_out(commits).await?;
        }
        Ok(())
    }

    /// Strikes out the first batch, which has ended.
    async fn strike_out(&self, commits: &mut Commits) -> Result<(), StoreError> {
        // Its audit records are the home's, so the journal is to keep none of them.
        self.intents().undone(commits.begun[0].intent).await?;
        commits.begun.remove(0);
        self.tell_unsettled(&commits.begun);
        Ok(())
    }

    /// A batch over several keystores.
    async fn commit_over(&self, commits: &mut Commits, placement: &Placement, batch: Batch) -> Result<(), StoreError> {
        let before = self.before(placement, &batch.changes).await?;
        expected(&before, &batch.changes)?;
        self.outbox_free(placement, &batch.outbox).await?;
        let before: Vec<Row> = before.into_values().flatten().collect();
        commits.is_doubtful = true;
        let intent = match self.intents().begin(&batch, &before).await {
            Ok(intent) => intent,
            Err(error) => {
                commits.is_doubtful = !matches!(error, StoreError::Full { .. });
                return Err(error);
            }
        };
        commits.begun.push(Begun { intent, batch, before, is_back: false });
        commits.is_doubtful = false;
        self.tell_unsettled(&commits.begun);
        let refusal = self.carry_out(&mut commits.begun[0], true).await?;
        let struck = self.strike_out(commits).await;
        match refusal {
            // Should the striking out have failed, whoever comes next finds the batch carried out.
            None => Ok(()),
            Some(error) => struck.and(Err(error)),
        }
    }

    /// Brings every keystore to where the batch has it, or back if one of them refuses its share: then that is what it says. An error leaves it open.
    ///
    /// - `is_new`: nobody has tried it before.
    async fn carry_out(&self, begun: &mut Begun, is_new: bool) -> Result<Option<StoreError>, StoreError> {
        let placement = self.placement();
        let before: BTreeMap<RowId, &Row> = begun.before.iter().map(|row| (row.header.id, row)).collect();
        let parts = parts(&placement, &begun.batch, &before);
        // The last one was never done if it goes back.
        let (mut done, mut refusal) = (parts.len() - 1, None);
        for (number, (name, part)) in parts.iter().enumerate().filter(|_| !begun.is_back) {
            if !is_new && self.is_applied(name, part).await? {
                continue;
            }
            match self.store(name).commit(part.clone()).await {
                Ok(()) => {}
                Err(error @ (StoreError::Conflict { .. } | StoreError::Full { .. })) => {
                    self.intents().turn_back(begun.intent).await?;
                    (done, refusal) = (number, Some(error));
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        let is_back = begun.is_back || refusal.is_some();
        if is_back {
            for (name, part) in &parts[..done] {
                self.take_back(name, part, &before).await?;
            }
        }
        begun.is_back = is_back;
        Ok(refusal)
    }

    /// Brings the rows of a share back to what they were, where they are what the share has made of them.
    async fn take_back(&self, name: &str, part: &Batch, before: &BTreeMap<RowId, &Row>) -> Result<(), StoreError> {
        for (id, after) in last_changes(part) {
            let expected = after.map(|row| row.header.generation);
            let change = match (expected, before.get(&id)) {
                (None, None) => continue,
                (None, Some(row)) => Change::Insert((*row).clone()),
                (Some(expected), Some(row)) => Change::Update { expected, row: (*row).clone() },
                (Some(expected), None) => Change::Delete { id, expected },
            };
            // Another's change may have the same number.
            if self.store(name).retrieve(id).await?.as_ref() != after {
                continue;
            }
            match self.store(name).commit(Batch { changes: vec![change], ..Batch::default() }).await {
                // It is back already, or another's.
                Ok(()) | Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Has a keystore done its share? It does all of it or nothing.
    async fn is_applied(&self, name: &str, part: &Batch) -> Result<bool, StoreError> {
        for (id, wanted) in last_changes(part) {
            let stored = self.store(name).retrieve(id).await?;
            let is_there = match (&stored, wanted) {
                (Some(stored), Some(wanted)) => stored == wanted || stored.header.generation > wanted.header.generation,
                (stored, wanted) => stored.is_none() && wanted.is_none(),
            };
            if !is_there {
                return Ok(false);
            }
        }
        let Some(first) = part.outbox.iter().map(|entry| entry.seq).min() else { return Ok(true) };
        let queued = self.store(name).outbox(OutboxSeq(first.0.saturating_sub(1)), 1).await?;
        Ok(queued.first().is_some_and(|entry| entry.seq == first))
    }

    /// The rows that a batch changes, as they are.
    async fn before(&self, placement: &Placement, changes: &[Change]) -> Result<BTreeMap<RowId, Option<Row>>, StoreError> {
        let ids: BTreeSet<RowId> = changes.iter().map(Change::id).collect();
        let looks = ids.into_iter().map(|id| async move { Ok::<_, StoreError>((id, self.look(placement, id).await?)) });
        Ok(try_join_all(looks).await?.into_iter().collect())
    }

    async fn outbox_free(&self, placement: &Placement, entries: &[OutboxEntry]) -> Result<(), StoreError> {
        let mut wanted = BTreeSet::new();
        if let Some(twice) = entries.iter().find(|entry| !wanted.insert(entry.seq)) {
            return Err(outbox_taken(twice.seq));
        }
        let Some(first) = wanted.first() else { return Ok(()) };
        let queued = self.store(placement.home()).outbox(OutboxSeq(first.0.saturating_sub(1)), OUTBOX_RECORDS).await?;
        queued.iter().find(|entry| wanted.contains(&entry.seq)).map_or(Ok(()), |entry| Err(outbox_taken(entry.seq)))
    }
}

/// The keystore that a whole batch belongs to, if it is one and no row has to be read to know that.
fn only_store<'p>(placement: &'p Placement, batch: &Batch) -> Option<&'p str> {
    let of_deleted = |layer| match placement.stores_of(layer)[..] {
        [name] => Some(name),
        _ => None,
    };
    let store_of =
        |change: &Change| change.row().map_or_else(|| of_deleted(change.id().layer), |row| Some(placement.store_of(&row.header)));
    let has_records = !batch.outbox.is_empty() || batch.settled.is_some();
    let mut stores = batch.changes.iter().map(store_of);
    let first = if has_records || batch.changes.is_empty() { placement.home() } else { stores.next()?? };
    stores.all(|store| store == Some(first)).then_some(first)
}

/// A batch's share of each keystore, the home's last; `before` has the rows that were there.
fn parts(placement: &Placement, batch: &Batch, before: &BTreeMap<RowId, &Row>) -> Vec<(String, Batch)> {
    let mut places: BTreeMap<RowId, &str> = BTreeMap::new();
    let mut parts: BTreeMap<&str, Batch> = BTreeMap::new();
    for change in &batch.changes {
        let id = change.id();
        let stored = || before.get(&id).map(|row| placement.store_of(&row.header));
        // Where a row is not, any of its layer's keystores says so.
        let any = || placement.stores_of(id.layer)[0];
        let name = change
            .row()
            .map(|row| placement.store_of(&row.header))
            .or_else(|| places.get(&id).copied())
            .or_else(stored)
            .unwrap_or_else(any);
        places.insert(id, name);
        parts.entry(name).or_default().changes.push(change.clone());
    }
    let mut home = parts.remove(placement.home()).unwrap_or_default();
    (home.outbox, home.settled) = (batch.outbox.clone(), batch.settled);
    let mut parts: Vec<(String, Batch)> = parts.into_iter().map(|(name, part)| (name.to_owned(), part)).collect();
    if home != Batch::default() || parts.is_empty() {
        parts.push((placement.home().to_owned(), home));
    }
    parts
}

/// Do all expectations hold, of each change after those before it?
fn expected(before: &BTreeMap<RowId, Option<Row>>, changes: &[Change]) -> Result<(), StoreError> {
    let mut staged: BTreeMap<RowId, Option<Generation>> = BTreeMap::new();
    for change in changes {
        let id = change.id();
        let stored = || before.get(&id).and_then(Option::as_ref).map(|row| row.header.generation);
        if staged.get(&id).copied().unwrap_or_else(stored) != change.expected() {
            return Err(StoreError::Conflict { id });
        }
        staged.insert(id, change.row().map(|row| row.header.generation));
    }
    Ok(())
}

/// What a batch makes of each of its rows.
fn last_changes(batch: &Batch) -> BTreeMap<RowId, Option<&Row>> {
    batch.changes.iter().map(|change| (change.id(), change.row())).collect()
}

fn rows_of(begun: &[Begun]) -> BTreeSet<RowId> {
    begun.iter().flat_map(|begun| begun.batch.changes.iter().map(Change::id)).collect()
}

#[async_trait]
impl Keystore for Routed {
    async fn retrieve(&self, id: RowId) -> Result<Option<Row>, StoreError> {
        self.retrieve_for(Scope::Node, id).await
    }

    async fn find(&self, query: &Query) -> Result<Vec<Row>, StoreError> {
        self.find_for(Scope::Node, query).await
    }

    async fn retrieve_for(&self, scope: Scope, id: RowId) -> Result<Option<Row>, StoreError> {
        let concerns = |rows: &BTreeSet<RowId>| rows.contains(&id);
        loop {
            let placement = self.ready(&concerns).await?;
            let found = self.look_for(scope, &placement, id).await;
            if self.is_still(&placement, &concerns) {
                return found;
            }
        }
    }

    async fn find_for(&self, scope: Scope, query: &Query) -> Result<Vec<Row>, StoreError> {
        let concerns = |rows: &BTreeSet<RowId>| rows.iter().any(|id| id.layer == query.layer);
        loop {
            let placement = self.ready(&concerns).await?;
            let found = self.search(scope, &placement, query).await;
            if self.is_still(&placement, &concerns) {
                return found;
            }
        }
    }

    async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        self.commit_as(None, batch).await
    }

    async fn commit_within(&self, tenants: &[TenantId], batch: Batch) -> Result<(), StoreError> {
        self.commit_as(Some(tenants), batch).await
    }

    async fn outbox(&self, after: OutboxSeq, limit: usize) -> Result<Vec<OutboxEntry>, StoreError> {
        let concerns = |rows: &BTreeSet<RowId>| !rows.is_empty();
        loop {
            let placement = self.ready(&concerns).await?;
            let found = self.store(placement.home()).outbox(after, limit).await;
            if self.is_still(&placement, &concerns) {
                return found;
            }
        }
    }
}

impl Routed {
    /// - `tenants`: whose rows it changes, if that is known. What goes to several keystores is looked at in all of them first, and is the node's own work then.
    async fn commit_as(&self, tenants: Option<&[TenantId]>, batch: Batch) -> Result<(), StoreError> {
        let mut commits = self.commits.lock().await;
        self.settle(&mut commits).await?;
        let placement = self.placement();
        if let Some(changed) = &mut *self.changed() {
            changed.extend(batch.changes.iter().map(Change::id));
        }
        match (only_store(&placement, &batch), tenants) {
            (Some(name), Some(tenants)) => self.store(name).commit_within(tenants, batch).await,
            (Some(name), None) => self.store(name).commit(batch).await,
            (None, _) => self.commit_over(&mut commits, &placement, batch).await,
        }
    }
}
