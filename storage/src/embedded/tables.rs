//! The tables of the embedded store: what is where, read and changed through the engine's transactions.
//!
//! ```text
//! rows    layer u8 | uuid 16                -> Row::encode (magic and format of its own)
//! terms   term 16 | layer u8 | uuid 16      -> nothing
//!         uuid 16 | 0xFF | 0 ...            -> Row::encode of a claim on a name; 0xFF is no layer
//! outbox  sequence u64                      -> postcard(Record)
//! meta    "schema" -> 3, or 4: the file goes on in its log; "commits" -> number of commits so far; "log" -> salt of that log
//! intents in the file of a journal: see `journal.rs`
//! ```
//! A claim's identifier begins as the term does by which its name is found, so both lie on one page, and a new key with a name changes one page in
//! the middle of the file where it would change two.
//!
//! The schema also stands for what the rows say of each other: which bucket a row is counted in changed with 2, what it adds there with 3.

use std::io::ErrorKind;
use std::ops::{Bound, RangeBounds};

use keys::id::{Layer, OutboxSeq, ROW_ID_BYTES, RowId};
use keys::port::{Batch, Change, OutboxEntry, Query, StoreError};
use keys::record::Record;
use keys::row::{Header, Row, StoredRow, Term};
use redb::{Database, Durability, ReadTransaction, ReadableDatabase, ReadableTable, Table, TableDefinition, TableError, WriteTransaction};
use uuid::Uuid;

use crate::outbox_taken;

/// The layout above; a file with another number is left untouched.
pub(super) const SCHEMA: u64 = 3;
/// As [`SCHEMA`], but not all commits are in the file: the others are in its log, which the release before did not know.
pub(super) const SCHEMA_LOGGED: u64 = 4;
const TERM_BYTES: usize = 16;
const TERM_KEY_BYTES: usize = TERM_BYTES + ROW_ID_BYTES;
/// In the place of a layer: not a term's key, but a claim's.
const CLAIM: u8 = 0xFF;

const ROWS: TableDefinition<&[u8; ROW_ID_BYTES], &[u8]> = TableDefinition::new("rows");
const TERMS: TableDefinition<&[u8; TERM_KEY_BYTES], &[u8]> = TableDefinition::new("terms");
const OUTBOX: TableDefinition<u64, &[u8]> = TableDefinition::new("outbox");
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");

/// Why a transaction did not do it.
pub(super) enum Fault {
    /// What the caller is told.
    Store(StoreError),
    /// The engine met pages that it cannot have written so; the caller knows which record was asked for.
    Damaged(String),
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// What the engine reports, by culprit.
pub(super) fn engine(error: impl Into<redb::Error>) -> Fault {
    match error.into() {
        redb::Error::Io(error) if error.kind() == ErrorKind::InvalidData => Fault::Damaged(error.to_string()),
        source @ (redb::Error::Io(_) | redb::Error::PreviousIo | redb::Error::DatabaseClosed | redb::Error::LockPoisoned(_)) => {
            Fault::Store(StoreError::Unavailable { what: "the embedded database failed", source: Box::new(source) })
        }
        damaged => Fault::Damaged(damaged.to_string()),
    }
}

/// The schema of the file, `None` if it is new.
pub(super) fn schema(database: &impl ReadableDatabase) -> Result<Option<u64>, Fault> {
    let transaction = database.begin_read().map_err(engine)?;
    match transaction.open_table(META) {
        Ok(meta) => Ok(meta.get("schema").map_err(engine)?.map(|number| number.value())),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(other) => Err(engine(other)),
    }
}

/// Makes the tables of a new file.
pub(super) fn create(database: &Database) -> Result<(), Fault> {
    let transaction = begin(database)?;
    let mut writer = Writer::new(&transaction)?;
    writer.meta.insert("schema", SCHEMA).map_err(engine)?;
    writer.meta.insert("commits", 0).map_err(engine)?;
    drop(writer);
    transaction.commit().map_err(engine)
}

/// How many commits the store has seen; tells whether a commit with an unclear end has happened. Asked before every commit.
pub(super) fn commits(database: &Database) -> Result<u64, Fault> {
    let transaction = database.begin_read().map_err(engine)?;
    // Damage where a table begins has to be met here: opening one for writing while another is open, the engine panics twice, which ends the process.
    let _rows = transaction.open_table(ROWS).map_err(engine)?;
    let _terms = transaction.open_table(TERMS).map_err(engine)?;
    let _outbox = transaction.open_table(OUTBOX).map_err(engine)?;
    let meta = transaction.open_table(META).map_err(engine)?;
    Ok(meta.get("commits").map_err(engine)?.map_or(0, |count| count.value()))
}

/// The salt of the log in which the file goes on, if it does.
pub(super) fn logged(database: &Database) -> Result<Option<u64>, Fault> {
    let meta = database.begin_read().map_err(engine)?.open_table(META).map_err(engine)?;
    let number = |name| Ok(meta.get(name).map_err(engine)?.map(|number| number.value()));
    if number("schema")? == Some(SCHEMA_LOGGED) { number("log") } else { Ok(None) }
}

/// From now on the file has all commits, and needs no log.
pub(super) fn complete(database: &Database) -> Result<(), Fault> {
    let transaction = begin(database)?;
    transaction.open_table(META).map_err(engine)?.insert("schema", SCHEMA).map_err(engine)?;
    transaction.commit().map_err(engine)
}

/// One row.
pub(super) fn retrieve(database: &Database, id: RowId) -> Result<Option<Row>, Fault> {
    Reader::new(database)?.row(id)
}

/// A page of rows, newest first, without those that are not what was written: they do not keep the others from being found (F5).
pub(super) fn find(database: &Database, query: &Query) -> Result<Vec<Row>, Fault> {
    let reader = Reader::new(database)?;
    let mut page = Vec::new();
    let mut upper = match query.before {
        Some(before) if before < oldest(query.layer) => return Ok(page),
        Some(before) if before <= newest(query.layer) => Bound::Excluded(before),
        _ => Bound::Included(newest(query.layer)),
    };
    if query.terms.is_empty() && query.layer != Layer::Name {
        return reader.rows(query, upper);
    }
    while page.len() < query.limit {
        let Some(id) = reader.next(query, upper)? else { break };
        page.extend(reader.listed_row(id, &query.terms)?);
        upper = Bound::Excluded(id);
    }
    Ok(page)
}

/// Outbox records, oldest first.
pub(super) fn outbox(database: &Database, after: OutboxSeq, limit: usize) -> Result<Vec<OutboxEntry>, Fault> {
    let table = database.begin_read().map_err(engine)?.open_table(OUTBOX).map_err(engine)?;
    let mut entries = Vec::new();
    for entry in table.range((Bound::Excluded(after.0), Bound::Unbounded)).map_err(engine)?.take(limit) {
        let (seq, bytes) = entry.map_err(engine)?;
        let seq = OutboxSeq(seq.value());
        let record: Record = postcard::from_bytes(bytes.value())
            .map_err(|error| StoreError::Corrupt { what: error.to_string(), at: format!("{} of the outbox", seq.0) })?;
        entries.push(OutboxEntry { seq, record });
    }
    Ok(entries)
}

pub(super) fn begin(database: &Database) -> Result<WriteTransaction, Fault> {
    let mut transaction = database.begin_write().map_err(engine)?;
    transaction.set_durability(Durability::Immediate).map_err(engine)?;
    Ok(transaction)
}

fn oldest(layer: Layer) -> RowId {
    RowId::new(layer, Uuid::nil())
}

fn newest(layer: Layer) -> RowId {
    RowId::new(layer, Uuid::max())
}

fn term_key(term: Term, id: RowId) -> [u8; TERM_KEY_BYTES] {
    let mut key = [0; TERM_KEY_BYTES];
    key[..TERM_BYTES].copy_from_slice(&term.0);
    key[TERM_BYTES..].copy_from_slice(&id.to_bytes());
    key
}

/// Where a claim lies among the terms: behind all that is found by a term of the same bytes.
fn claim_key(claim: Uuid) -> [u8; TERM_KEY_BYTES] {
    let mut key = [0; TERM_KEY_BYTES];
    key[..TERM_BYTES].copy_from_slice(claim.as_bytes());
    key[TERM_BYTES] = CLAIM;
    key
}

/// The claim that lies at this key, unless it is a term.
fn claim_at(key: &[u8; TERM_KEY_BYTES]) -> Option<RowId> {
    let (uuid, rest) = key.split_first_chunk::<TERM_BYTES>()?;
    (rest[0] == CLAIM).then(|| RowId::new(Layer::Name, Uuid::from_bytes(*uuid)))
}

fn decode(id: RowId, bytes: &[u8]) -> Result<Row, Fault> {
    let row = Row::decode(bytes).map_err(|error| corrupt(id, &error.to_string()))?;
    must_be_of(id, &row.header)?;
    Ok(row)
}

/// Is what lies at the place of `id` that row?
fn must_be_of(id: RowId, header: &Header) -> Result<(), Fault> {
    if header.id == id { Ok(()) } else { Err(corrupt(id, "another record lies in its place")) }
}

fn corrupt(id: RowId, what: &str) -> Fault {
    StoreError::Corrupt { what: what.to_owned(), at: id.to_string() }.into()
}

fn id_of(key: &[u8]) -> Result<RowId, Fault> {
    RowId::from_bytes(key).ok_or_else(|| Fault::Damaged("a key that is no record's id".to_owned()))
}

/// A key that the engine found within these bounds. Damaged keys are not in order, and a walk from one to the next might never end.
fn in_order<'k, const N: usize>(key: &'k [u8; N], within: (Bound<&[u8; N]>, Bound<&[u8; N]>)) -> Result<&'k [u8; N], Fault> {
    if within.contains(key) { Ok(key) } else { Err(Fault::Damaged("keys are not in order".to_owned())) }
}

/// One snapshot.
struct Reader {
    transaction: ReadTransaction,
}

impl Reader {
    fn new(database: &Database) -> Result<Self, Fault> {
        Ok(Self { transaction: database.begin_read().map_err(engine)? })
    }

    fn row(&self, id: RowId) -> Result<Option<Row>, Fault> {
        if id.layer == Layer::Name {
            let terms = self.transaction.open_table(TERMS).map_err(engine)?;
            return terms.get(&claim_key(id.uuid)).map_err(engine)?.map(|bytes| decode(id, bytes.value())).transpose();
        }
        let rows = self.transaction.open_table(ROWS).map_err(engine)?;
        rows.get(&id.to_bytes()).map_err(engine)?.map(|bytes| decode(id, bytes.value())).transpose()
    }

    /// A row that an index names, or `None` if it is missing, does not decode, or does not carry what it was found by.
    fn listed_row(&self, id: RowId, terms: &[Term]) -> Result<Option<Row>, Fault> {
        match self.row(id) {
            Ok(row) => Ok(row.filter(|row| terms.iter().all(|term| row.terms.contains(term)))),
            Err(Fault::Store(StoreError::Corrupt { .. })) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// A page of all rows of a layer below `upper`, in one pass.
    fn rows(&self, query: &Query, upper: Bound<RowId>) -> Result<Vec<Row>, Fault> {
        let rows = self.transaction.open_table(ROWS).map_err(engine)?;
        let (lower, mut upper) = (oldest(query.layer).to_bytes(), upper.map(RowId::to_bytes));
        let mut range = rows.range::<&[u8; ROW_ID_BYTES]>((Bound::Included(&lower), upper.as_ref())).map_err(engine)?;
        let mut page = Vec::new();
        while page.len() < query.limit {
            let Some(entry) = range.next_back() else { break };
            let (key, bytes) = entry.map_err(engine)?;
            let key = *in_order(key.value(), (Bound::Included(&lower), upper.as_ref()))?;
            upper = Bound::Excluded(key);
            match decode(id_of(&key)?, bytes.value()) {
                Err(Fault::Store(StoreError::Corrupt { .. })) => {}
                row => page.push(row?),
            }
        }
        Ok(page)
    }

    /// The newest id below `upper` that has all the terms asked for.
    ///
    /// Each term's ids are in order, so whichever term lags behind moves all others: the work follows the rarest term, in whatever order
    /// they were given.
    fn next(&self, query: &Query, mut upper: Bound<RowId>) -> Result<Option<RowId>, Fault> {
        let Some((first, others)) = query.terms.split_first() else { return self.last_claim(upper) };
        'candidate: loop {
            let Some(id) = self.last_listed(*first, query.layer, upper)? else { return Ok(None) };
            for term in others {
                match self.last_listed(*term, query.layer, Bound::Included(id))? {
                    None => return Ok(None),
                    Some(same) if same == id => {}
                    Some(older) => {
                        upper = Bound::Included(older);
                        continue 'candidate;
                    }
                }
            }
            return Ok(Some(id));
        }
    }

    /// The last claim below `upper`. All that is found by one term is passed over at once.
    fn last_claim(&self, upper: Bound<RowId>) -> Result<Option<RowId>, Fault> {
        let terms = self.transaction.open_table(TERMS).map_err(engine)?;
        let lower = [0; TERM_KEY_BYTES];
        let mut upper = upper.map(|id| claim_key(id.uuid));
        loop {
            let within = (Bound::Included(&lower), upper.as_ref());
            let mut range = terms.range::<&[u8; TERM_KEY_BYTES]>(within).map_err(engine)?;
            let Some(entry) = range.next_back() else { return Ok(None) };
            let entry = entry.map_err(engine)?;
            let key = in_order(entry.0.value(), within)?;
            if let Some(claim) = claim_at(key) {
                return Ok(Some(claim));
            }
            let mut first = *key;
            first[TERM_BYTES..].fill(0);
            upper = Bound::Excluded(first);
        }
    }

    fn last_listed(&self, term: Term, layer: Layer, upper: Bound<RowId>) -> Result<Option<RowId>, Fault> {
        let terms = self.transaction.open_table(TERMS).map_err(engine)?;
        let lower = term_key(term, oldest(layer));
        let upper = upper.map(|id| term_key(term, id));
        let within = (Bound::Included(&lower), upper.as_ref());
        let mut range = terms.range::<&[u8; TERM_KEY_BYTES]>(within).map_err(engine)?;
        range.next_back().map(|entry| id_of(&in_order(entry.map_err(engine)?.0.value(), within)?[TERM_BYTES..])).transpose()
    }
}

/// What becomes of one term of one row.
struct TermEdit {
    key: [u8; TERM_KEY_BYTES],
    /// Whether the row has it now.
    is_there: bool,
}

/// The tables of one write transaction.
pub(super) struct Writer<'t> {
    rows: Table<'t, &'static [u8; ROW_ID_BYTES], &'static [u8]>,
    terms: Table<'t, &'static [u8; TERM_KEY_BYTES], &'static [u8]>,
    outbox: Table<'t, u64, &'static [u8]>,
    meta: Table<'t, &'static str, u64>,
}

impl<'t> Writer<'t> {
    pub(super) fn new(transaction: &'t WriteTransaction) -> Result<Self, Fault> {
        Ok(Self {
            rows: transaction.open_table(ROWS).map_err(engine)?,
            terms: transaction.open_table(TERMS).map_err(engine)?,
            outbox: transaction.open_table(OUTBOX).map_err(engine)?,
            meta: transaction.open_table(META).map_err(engine)?,
        })
    }

    /// Applies a batch; `encoded` holds the bytes of each change's row. After an error the transaction is to be dropped.
    pub(super) fn batch(&mut self, batch: &Batch, encoded: &[Option<Vec<u8>>]) -> Result<(), Fault> {
        let mut edits = Vec::new();
        for (change, bytes) in batch.changes.iter().zip(encoded) {
            self.apply(change, bytes.as_deref(), &mut edits)?;
        }
        self.reindex(edits)?;
        self.queue(batch)
    }

    /// Changes the row; what that means for the index is added to `edits`.
    fn apply(&mut self, change: &Change, encoded: Option<&[u8]>, edits: &mut Vec<TermEdit>) -> Result<(), Fault> {
        let before = match change.id() {
            id if id.layer == Layer::Name => put(&mut self.terms, &claim_key(id.uuid), change, encoded)?,
            id => put(&mut self.rows, &id.to_bytes(), change, encoded)?,
        };
        let id = change.id();
        let after = change.row().map_or(&[][..], |row| &row.terms);
        let only_in = |these: &[Term], others: &[Term], is_there| {
            let terms = these.iter().filter(|term| !others.contains(term));
            terms.map(|term| TermEdit { key: term_key(*term, id), is_there }).collect::<Vec<_>>()
        };
        edits.extend(only_in(&before, after, false));
        edits.extend(only_in(after, &before, true));
        Ok(())
    }

    /// In the index's order, so that neighbours meet the same page.
    fn reindex(&mut self, mut edits: Vec<TermEdit>) -> Result<(), Fault> {
        edits.sort_unstable_by_key(|edit| edit.key);
        for TermEdit { key, is_there } in edits {
            if is_there {
                self.terms.insert(&key, [].as_slice()).map_err(engine)?;
            } else {
                self.terms.remove(&key).map_err(engine)?;
            }
        }
        Ok(())
    }

    pub(super) fn is_queued(&self, seq: OutboxSeq) -> Result<bool, Fault> {
        Ok(self.outbox.get(seq.0).map_err(engine)?.is_some())
    }

    pub(super) fn queue(&mut self, batch: &Batch) -> Result<(), Fault> {
        for entry in &batch.outbox {
            let bytes = postcard::to_allocvec(&entry.record).expect("a record is plain data and memory grows");
            if self.outbox.insert(entry.seq.0, bytes.as_slice()).map_err(engine)?.is_some() {
                return Err(outbox_taken(entry.seq).into());
            }
        }
        if let Some(settled) = batch.settled {
            let is_new = |seq| batch.outbox.iter().any(|entry| entry.seq.0 == seq);
            self.outbox.retain_in(..=settled.0, |seq, _| is_new(seq)).map_err(engine)?;
        }
        Ok(())
    }

    /// Counts the commit, and returns its number.
    pub(super) fn count(&mut self) -> Result<u64, Fault> {
        let number = self.meta.get("commits").map_err(engine)?.map_or(0, |count| count.value()) + 1;
        self.meta.insert("commits", number).map_err(engine)?;
        Ok(number)
    }

    /// After this commit the file goes on in the log of this salt.
    pub(super) fn go_on_in(&mut self, salt: u64) -> Result<(), Fault> {
        self.meta.insert("log", salt).map_err(engine)?;
        self.meta.insert("schema", SCHEMA_LOGGED).map_err(engine)?;
        Ok(())
    }
}

/// Changes one row at its place; returns the terms of what an update or delete met there.
fn put<const N: usize>(
    table: &mut Table<'_, &'static [u8; N], &'static [u8]>,
    place: &[u8; N],
    change: &Change,
    encoded: Option<&[u8]>,
) -> Result<Vec<Term>, Fault> {
    let id = change.id();
    // What was there is told by the change itself and need not be asked first: a transaction in which a row is not what it should be is dropped.
    let replaced = match encoded {
        Some(bytes) => table.insert(place, bytes).map_err(engine)?,
        None => table.remove(place).map_err(engine)?,
    };
    let stored =
        replaced.as_ref().map(|bytes| StoredRow::read(bytes.value())).transpose().map_err(|error| corrupt(id, &error.to_string()))?;
    stored.iter().try_for_each(|row| must_be_of(id, &row.header))?;
    if stored.as_ref().map(|row| row.header.generation) != change.expected() {
        return Err(StoreError::Conflict { id }.into());
    }
    Ok(stored.map_or_else(Vec::new, |row| row.terms))
}
