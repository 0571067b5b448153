//! A keystore plugin over one file: rows, their terms, queued audit records and each node's last commit, in redb's transactions.
//!
//! An example to start from. It keeps `rows.redb` in the folder that Strongroom names.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use anyhow::Context as _;
use plugin::{
    About, Batch, COMMIT_BYTES, Change, CommitId, Fault, ID_BYTES, Id, NODE_BYTES, Node, Page, QueuedRecord, Refusal, Search, Store,
    TERM_BYTES, Term, Transactional,
};
use redb::backends::FileBackend;
use redb::{
    Database, Durability, ReadTransaction, ReadableDatabase, ReadableTable, StorageError, Table, TableDefinition, WriteTransaction,
};

/// By id: the generation, and the row as it is given back.
const ROWS: TableDefinition<'_, [u8; ID_BYTES], (u64, &[u8])> = TableDefinition::new("rows");
/// By id: the terms of the row, joined, so that they can be removed with it.
const TERMS_OF: TableDefinition<'_, [u8; ID_BYTES], &[u8]> = TableDefinition::new("terms_of");
/// Term and id of each row that carries it.
const TERMS: TableDefinition<'_, ([u8; TERM_BYTES], [u8; ID_BYTES]), ()> = TableDefinition::new("terms");
/// By node and number.
const RECORDS: TableDefinition<'_, ([u8; NODE_BYTES], u64), &[u8]> = TableDefinition::new("records");
/// By node: its last commit.
const COMMITS: TableDefinition<'_, [u8; NODE_BYTES], [u8; COMMIT_BYTES]> = TableDefinition::new("commits");

const FILE: &str = "rows.redb";

/// The argument that has it change one row at a time, as a store without transactions would.
const ROWS_ONLY: &str = "--rows-only";

struct File {
    path: PathBuf,
    /// None after a failed write or read, as for want of space: redb does nothing more then until it is opened anew.
    database: RwLock<Option<Database>>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let path = plugin::state_folder()?.join(FILE);
    let database = open(&path).with_context(|| path.display().to_string())?;
    let mut prepare = database.begin_write()?;
    prepare.set_durability(Durability::Immediate)?;
    let _tables = (prepare.open_table(ROWS)?, prepare.open_table(TERMS_OF)?);
    drop(_tables);
    let _tables = (prepare.open_table(TERMS)?, prepare.open_table(RECORDS)?, prepare.open_table(COMMITS)?);
    drop(_tables);
    prepare.commit()?;
    let file = File { path, database: RwLock::new(Some(database)) };
    if std::env::args().any(|argument| argument == ROWS_ONLY) {
        return Ok(plugin::serve(file).await?);
    }
    Ok(plugin::serve_transactional(file).await?)
}

fn open(path: &Path) -> Result<Database, redb::Error> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    Ok(Database::builder().create_with_backend(FileBackend::new(file)?)?)
}

/// What redb says, as Strongroom is told it.
fn fault(error: impl Into<redb::Error>) -> Fault {
    let error = error.into();
    let what = error.to_string();
    match error {
        redb::Error::Corrupted(_) => Fault::Damaged { what },
        _ => Fault::Unavailable { what },
    }
}

fn refusal(error: impl Into<redb::Error>) -> Refusal {
    match error.into() {
        redb::Error::Io(error) if error.kind() == std::io::ErrorKind::StorageFull => Refusal::Full { at: FILE.to_owned() },
        error => Refusal::Fault(fault(error)),
    }
}

/// Does one change, if the row is as expected.
fn apply(transaction: &WriteTransaction, change: &Change) -> Result<(), Refusal> {
    let id = change.id();
    let mut rows = transaction.open_table(ROWS).map_err(refusal)?;
    let mut terms_of = transaction.open_table(TERMS_OF).map_err(refusal)?;
    let mut terms = transaction.open_table(TERMS).map_err(refusal)?;
    let generation = rows.get(id.0).map_err(refusal)?.map(|row| row.value().0);
    if generation != change.expected() {
        return Err(Refusal::Conflict { id });
    }
    remove(&mut rows, &mut terms_of, &mut terms, id).map_err(refusal)?;
    if let Some(row) = change.row() {
        rows.insert(id.0, (row.generation, &*row.stored)).map_err(refusal)?;
        let joined: Vec<u8> = row.terms.iter().flat_map(|term| term.0).collect();
        terms_of.insert(id.0, &*joined).map_err(refusal)?;
        for Term(term) in &row.terms {
            terms.insert((*term, id.0), ()).map_err(refusal)?;
        }
    }
    Ok(())
}

fn remove(
    rows: &mut Table<'_, [u8; ID_BYTES], (u64, &'static [u8])>,
    terms_of: &mut Table<'_, [u8; ID_BYTES], &'static [u8]>,
    terms: &mut Table<'_, ([u8; TERM_BYTES], [u8; ID_BYTES]), ()>,
    id: Id,
) -> Result<(), StorageError> {
    rows.remove(id.0)?;
    let Some(joined) = terms_of.remove(id.0)?.map(|joined| joined.value().to_vec()) else { return Ok(()) };
    for term in joined.as_chunks::<TERM_BYTES>().0 {
        terms.remove((*term, id.0))?;
    }
    Ok(())
}

/// Queues records and lets settled ones go.
fn queue(transaction: &WriteTransaction, batch: &Batch) -> Result<(), Refusal> {
    let Node(node) = batch.node;
    let mut records = transaction.open_table(RECORDS).map_err(refusal)?;
    for QueuedRecord { seq, record } in &batch.records {
        if records.insert((node, *seq), &**record).map_err(refusal)?.is_some() {
            return Err(Refusal::RecordTaken { seq: *seq });
        }
    }
    if let Some(settled) = batch.settled {
        let is_new = |seq: u64| batch.records.iter().any(|record| record.seq == seq);
        records.retain_in((node, 0)..=(node, settled), |(_, seq), _| is_new(seq)).map_err(refusal)?;
    }
    Ok(())
}

fn list(reading: &ReadTransaction, search: &Search) -> Result<Page, Fault> {
    let rows = reading.open_table(ROWS).map_err(fault)?;
    let terms = reading.open_table(TERMS).map_err(fault)?;
    let (from, below) = search.bounds();
    let below = below.map_or([u8::MAX; ID_BYTES], |below| below.0);
    if below <= from.0 {
        return Page::take(search, []);
    }
    let Some((Term(first), others)) = search.terms.split_first() else {
        let found = rows.range(from.0..below).map_err(fault)?.rev();
        return Page::take(search, found.map(|row| row.map(|(id, row)| (Id(id.value()), row.value().1.to_vec())).map_err(fault)));
    };
    let found = terms.range((*first, from.0)..(*first, below)).map_err(fault)?.rev();
    let has_others = |id: [u8; ID_BYTES]| -> Result<bool, Fault> {
        for Term(other) in others {
            if terms.get((*other, id)).map_err(fault)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    };
    let rows = found.filter_map(|found| {
        let row = || {
            let id = found.map_err(fault)?.0.value().1;
            if !has_others(id)? {
                return Ok(None);
            }
            Ok(rows.get(id).map_err(fault)?.map(|row| (Id(id), row.value().1.to_vec())))
        };
        row().transpose()
    });
    Page::take(search, rows)
}

impl File {
    /// Does something with the database, which is opened anew first if it was given up.
    fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, Refusal>) -> Result<T, Refusal> {
        let done = {
            let kept = self.database.read().unwrap_or_else(PoisonError::into_inner);
            match &*kept {
                Some(database) => work(database),
                None => {
                    drop(kept);
                    let mut slot = self.database.write().unwrap_or_else(PoisonError::into_inner);
                    let database = match slot.take() {
                        Some(database) => database,
                        None => open(&self.path).map_err(refusal)?,
                    };
                    work(slot.insert(database))
                }
            }
        };
        if matches!(done, Err(Refusal::Full { .. } | Refusal::Fault(Fault::Unavailable { .. }))) {
            self.database.write().unwrap_or_else(PoisonError::into_inner).take();
        }
        done
    }

    fn read<T>(&self, work: impl FnOnce(&ReadTransaction) -> Result<T, Fault>) -> Result<T, Fault> {
        let done = self.with(|database| Ok(work(&database.begin_read().map_err(fault)?)?));
        done.map_err(|refusal| match refusal {
            Refusal::Fault(fault) => fault,
            other => Fault::Unavailable { what: format!("{other:?}") },
        })
    }

    /// Does the work in one transaction, which is on the disk when this returns.
    fn write(&self, work: impl FnOnce(&WriteTransaction) -> Result<(), Refusal>) -> Result<(), Refusal> {
        self.with(|database| {
            let mut transaction = database.begin_write().map_err(refusal)?;
            transaction.set_durability(Durability::Immediate).map_err(refusal)?;
            // What is not committed is undone when it is dropped.
            work(&transaction)?;
            transaction.commit().map_err(refusal)
        })
    }
}

impl Store for File {
    fn about(&self) -> About {
        About { name: "redb".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() }
    }

    fn health(&self) -> Result<(), Fault> {
        self.read(|_| Ok(()))
    }

    fn retrieve(&self, id: &Id) -> Result<Option<Vec<u8>>, Fault> {
        self.read(|reading| {
            let rows = reading.open_table(ROWS).map_err(fault)?;
            Ok(rows.get(id.0).map_err(fault)?.map(|row| row.value().1.to_vec()))
        })
    }

    fn list(&self, search: &Search) -> Result<Page, Fault> {
        self.read(|reading| list(reading, search))
    }

    fn change(&self, change: &Change) -> Result<(), Refusal> {
        self.write(|transaction| apply(transaction, change))
    }
}

impl Transactional for File {
    fn last_commit(&self, node: &Node) -> Result<Option<CommitId>, Fault> {
        self.read(|reading| {
            let commits = reading.open_table(COMMITS).map_err(fault)?;
            Ok(commits.get(node.0).map_err(fault)?.map(|commit| CommitId(commit.value())))
        })
    }

    fn commit(&self, batch: &Batch) -> Result<(), Refusal> {
        self.write(|transaction| {
            let mut commits = transaction.open_table(COMMITS).map_err(refusal)?;
            let last = commits.get(batch.node.0).map_err(refusal)?.map(|commit| CommitId(commit.value()));
            if batch.is_done(last)? {
                return Ok(());
            }
            commits.insert(batch.node.0, batch.commit.0).map_err(refusal)?;
            batch.changes.iter().try_for_each(|change| apply(transaction, change))?;
            queue(transaction, batch)
        })
    }

    fn records(&self, node: &Node, after: u64, limit: usize) -> Result<Vec<QueuedRecord>, Fault> {
        self.read(|reading| {
            let records = reading.open_table(RECORDS).map_err(fault)?;
            let Some(first) = after.checked_add(1) else { return Ok(Vec::new()) };
            let found = records.range((node.0, first)..=(node.0, u64::MAX)).map_err(fault)?.take(limit);
            let record = |found: Result<(redb::AccessGuard<'_, _>, redb::AccessGuard<'_, &[u8]>), StorageError>| {
                found.map(|(key, record): (redb::AccessGuard<'_, ([u8; NODE_BYTES], u64)>, _)| QueuedRecord {
                    seq: key.value().1,
                    record: record.value().to_vec(),
                })
            };
            found.map(|found| record(found).map_err(fault)).collect()
        })
    }
}
