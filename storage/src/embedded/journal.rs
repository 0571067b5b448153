//! The journal's table, in a file of the embedded engine's: batches that were begun and are not done.
//!
//! ```text
//! intents  number u64 -> format u8 = 1 | way u8 | postcard(Stored)
//! way      0: to be applied; 1: to be undone
//! ```
//! The records of a batch that is done lie in the file's outbox.

use std::collections::BTreeSet;

use keys::id::{Generation, OutboxSeq, RowId};
use keys::port::{Batch, Change, OutboxEntry, StoreError};
use keys::record::Record;
use keys::row::Row;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableError, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::tables::{Fault, Writer, engine};
use crate::outbox_taken;

const INTENTS: TableDefinition<u64, &[u8]> = TableDefinition::new("intents");
const FORMAT: u8 = 1;
const FORTH: u8 = 0;
const BACK: u8 = 1;

/// What is written of a batch.
#[derive(Serialize, Deserialize)]
struct Stored {
    changes: Vec<StoredChange>,
    before: Vec<Vec<u8>>,
    outbox: Vec<(u64, Record)>,
    settled: Option<u64>,
}

/// A change; the row by [`Row::encode`].
#[derive(Serialize, Deserialize)]
struct StoredChange {
    id: Vec<u8>,
    expected: Option<u64>,
    row: Option<Vec<u8>>,
}

/// A batch that is not done.
pub(crate) struct Found {
    pub(crate) number: u64,
    pub(crate) batch: Batch,
    pub(crate) before: Vec<Row>,
    pub(crate) is_back: bool,
}

/// The bytes of a batch, whose changes' rows have these, and of the rows that it replaces.
pub(crate) fn encode(batch: &Batch, rows: &[Option<Vec<u8>>], before: &[Row]) -> Vec<u8> {
    let changes = batch.changes.iter().zip(rows).map(|(change, row)| StoredChange {
        id: change.id().to_bytes().to_vec(),
        expected: change.expected().map(|generation| generation.0),
        row: row.clone(),
    });
    let stored = Stored {
        changes: changes.collect(),
        before: before.iter().map(Row::encode).collect(),
        outbox: batch.outbox.iter().map(|entry| (entry.seq.0, entry.record)).collect(),
        settled: batch.settled.map(|settled| settled.0),
    };
    postcard::to_extend(&stored, vec![FORMAT, FORTH]).expect("a batch is plain data and memory grows")
}

pub(super) fn decode(number: u64, bytes: &[u8]) -> Result<Found, Fault> {
    let corrupt = |what: &str| Fault::from(StoreError::Corrupt { what: what.to_owned(), at: format!("{number} of the journal") });
    let [FORMAT, way @ (FORTH | BACK), stored @ ..] = bytes else { return Err(corrupt("not a batch that this release knows")) };
    let stored: Stored = postcard::from_bytes(stored).map_err(|error| corrupt(&error.to_string()))?;
    let row = |bytes: &Vec<u8>| Row::decode(bytes).map_err(|error| corrupt(&error.to_string()));
    let change = |change: &StoredChange| {
        let id = RowId::from_bytes(&change.id).ok_or_else(|| corrupt("a change of no record"))?;
        match (change.expected.map(Generation), change.row.as_ref().map(row).transpose()?) {
            (None, Some(row)) if row.header.id == id => Ok(Change::Insert(row)),
            (Some(expected), Some(row)) if row.header.id == id => Ok(Change::Update { expected, row }),
            (Some(expected), None) => Ok(Change::Delete { id, expected }),
            _ => Err(corrupt("a change that is none")),
        }
    };
    let batch = Batch {
        changes: stored.changes.iter().map(change).collect::<Result<_, _>>()?,
        outbox: stored.outbox.iter().map(|(seq, record)| OutboxEntry { seq: OutboxSeq(*seq), record: *record }).collect(),
        settled: stored.settled.map(OutboxSeq),
    };
    let before = stored.before.iter().map(row).collect::<Result<_, _>>()?;
    Ok(Found { number, batch, before, is_back: *way == BACK })
}

/// The batches that are not done, oldest first.
pub(crate) fn open(database: &Database) -> Result<Vec<Found>, Fault> {
    match database.begin_read().map_err(engine)?.open_table(INTENTS) {
        Err(TableError::TableDoesNotExist(_)) => Ok(Vec::new()),
        table => all(&table.map_err(engine)?),
    }
}

fn all(table: &impl ReadableTable<u64, &'static [u8]>) -> Result<Vec<Found>, Fault> {
    let mut found = Vec::new();
    for entry in table.iter().map_err(engine)? {
        let (number, bytes) = entry.map_err(engine)?;
        found.push(decode(number.value(), bytes.value())?);
    }
    Ok(found)
}

/// Puts a batch in, if the numbers of its records are free.
pub(crate) fn put(
    transaction: &WriteTransaction,
    writer: &Writer<'_>,
    number: u64,
    encoded: &[u8],
    outbox: &[OutboxEntry],
) -> Result<(), Fault> {
    let mut intents = transaction.open_table(INTENTS).map_err(engine)?;
    let mut queued: BTreeSet<u64> = all(&intents)?.iter().flat_map(|found| &found.batch.outbox).map(|entry| entry.seq.0).collect();
    for entry in outbox {
        if !queued.insert(entry.seq.0) || writer.is_queued(entry.seq)? {
            return Err(outbox_taken(entry.seq).into());
        }
    }
    intents.insert(number, encoded).map_err(engine)?;
    Ok(())
}

/// From now on the batch is to be undone.
pub(crate) fn turn_back(transaction: &WriteTransaction, number: u64) -> Result<(), Fault> {
    let mut intents = transaction.open_table(INTENTS).map_err(engine)?;
    let mut bytes = intents.get(number).map_err(engine)?.map(|bytes| bytes.value().to_vec()).unwrap_or_default();
    let Some(way) = bytes.get_mut(1) else { return Err(Fault::Damaged(format!("batch {number} of the journal is gone"))) };
    *way = BACK;
    intents.insert(number, bytes.as_slice()).map_err(engine)?;
    Ok(())
}

/// Takes a batch out; its records come into the outbox if it was `applied`.
pub(crate) fn end(transaction: &WriteTransaction, writer: &mut Writer<'_>, number: u64, applied: bool) -> Result<(), Fault> {
    let mut intents = transaction.open_table(INTENTS).map_err(engine)?;
    let found = intents.remove(number).map_err(engine)?.map(|bytes| decode(number, bytes.value())).transpose()?;
    found.filter(|_| applied).map_or(Ok(()), |found| writer.queue(&found.batch))
}
