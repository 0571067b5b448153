//! Rows as a plugin gets them, and what it answers, believed only as far as it can be checked.

use keys::id::{OutboxSeq, RowId};
use keys::lifecycle::State;
use keys::port::{Batch, Change, OutboxEntry, Query, StoreError};
use keys::record::Record;
use keys::row::{Header, Row, Term};
use plugin::v1::change::Change as Wire;
use plugin::{PAGE_ROWS_MAX, v1};

/// Rows are asked for until the page has so many bytes.
const PAGE_BYTES: u32 = 1 << 20;
/// Longest part of a plugin's own words that is passed on, in characters.
const WORDS_MAX: usize = 200;

/// A row with what the plugin may see of it.
pub(super) fn row(row: &Row) -> v1::Row {
    place(&row.header, &row.terms, row.encode(), row.header.generation.0)
}

/// What is to be stored under the identifier of `header`, as its change number `generation`.
pub(super) fn place(header: &Header, terms: &[Term], stored: Vec<u8>, generation: u64) -> v1::Row {
    v1::Row {
        id: header.id.to_bytes().to_vec(),
        generation,
        stored,
        terms: terms.iter().map(|term| term.0.to_vec()).collect(),
        header: Some(visible(header)),
    }
}

fn visible(header: &Header) -> v1::Header {
    v1::Header {
        layer: u32::from(header.id.layer as u8),
        chain: header.chain.as_bytes().to_vec(),
        version: header.version.0,
        object_type: header.object_type.0,
        algorithm: header.algorithm.0,
        bits: header.bits,
        state: state(header.state).into(),
        expiry_millis: header.expiry.map(keys::id::Time::millis),
        tenant: header.owner.tenant.as_bytes().to_vec(),
        service: header.owner.service.map(|service| service.as_bytes().to_vec()),
        parent_chain: header.parent.chain.as_bytes().to_vec(),
        parent_version: header.parent.version.0,
    }
}

fn state(state: State) -> v1::State {
    match state {
        State::PreActive => v1::State::PreActive,
        State::Active => v1::State::Active,
        State::Deprecated => v1::State::Deprecated,
        State::Retired => v1::State::Retired,
        State::Compromised => v1::State::Compromised,
        State::Destroyed => v1::State::Destroyed,
        State::DestroyedCompromised => v1::State::DestroyedCompromised,
    }
}

/// A batch as a plugin gets it, still without the names of its commit.
pub(super) fn batch(batch: &Batch) -> v1::BatchRequest {
    let record = |entry: &OutboxEntry| v1::AuditRecord {
        seq: entry.seq.0,
        record: postcard::to_allocvec(&entry.record).expect("a record is plain data and memory grows"),
    };
    v1::BatchRequest {
        changes: batch.changes.iter().map(change).collect(),
        records: batch.outbox.iter().map(record).collect(),
        settled: batch.settled.map(|settled| settled.0),
        ..v1::BatchRequest::default()
    }
}

fn change(change: &Change) -> v1::Change {
    let change = match change {
        Change::Insert(new) => Wire::Store(v1::StoreKeyRequest { row: Some(row(new)) }),
        Change::Update { expected, row: new } => {
            Wire::Update(v1::UpdateKeyMetadataRequest { expected_generation: expected.0, row: Some(row(new)) })
        }
        Change::Delete { id, expected } => {
            Wire::Delete(v1::DeleteKeyRequest { id: id.to_bytes().to_vec(), expected_generation: expected.0 })
        }
    };
    v1::Change { change: Some(change) }
}

/// What is stored under the identifier that was asked for.
pub(super) fn retrieved(id: RowId, answer: v1::RetrieveKeyResponse) -> Result<Option<Vec<u8>>, StoreError> {
    let Some(found) = answer.row else { return Ok(None) };
    if found.id != id.to_bytes() {
        return Err(lie("the row of another id than it was asked for", id.to_string()));
    }
    Ok(Some(found.stored))
}

/// One page of a search, and where the next one begins.
struct Found {
    /// Those that can be read as their row.
    rows: Vec<Row>,
    /// The last id, readable or not; `None`: that was all.
    next: Option<RowId>,
}

/// A search, answer by answer.
pub(super) struct Search<'q> {
    query: &'q Query,
    before: Option<RowId>,
    rows: Vec<Row>,
    is_over: bool,
}

impl<'q> Search<'q> {
    pub(super) fn new(query: &'q Query) -> Self {
        Self { query, before: query.before, rows: Vec::new(), is_over: false }
    }

    fn wants(&self) -> usize {
        (self.query.limit - self.rows.len()).min(PAGE_ROWS_MAX)
    }

    /// What is to be asked next; `None` once there is no more.
    pub(super) fn asks(&self) -> Option<v1::ListKeysRequest> {
        let limit = self.wants();
        (limit > 0 && !self.is_over).then(|| v1::ListKeysRequest {
            layer: u32::from(self.query.layer as u8),
            terms: self.query.terms.iter().map(|term| term.0.to_vec()).collect(),
            before: self.before.map_or_else(Vec::new, |before| before.to_bytes().to_vec()),
            limit: u32::try_from(limit).expect("a page is small"),
            bytes_max: PAGE_BYTES,
        })
    }

    /// - `read`: what is stored under an identifier as its row, if it is one.
    pub(super) fn take(&mut self, answer: v1::ListKeysResponse, read: fn(RowId, &[u8]) -> Option<Row>) -> Result<(), StoreError> {
        let found = found(self.query, self.before, self.wants(), answer, read)?;
        self.rows.extend(found.rows);
        self.is_over = found.next.is_none();
        self.before = found.next.or(self.before);
        Ok(())
    }

    pub(super) fn rows(self) -> Vec<Row> {
        self.rows
    }
}

/// Rows of a search: in order, of the layer, below the cursor, with all terms, and no more than were asked for.
fn found(
    query: &Query,
    before: Option<RowId>,
    limit: usize,
    answer: v1::ListKeysResponse,
    read: fn(RowId, &[u8]) -> Option<Row>,
) -> Result<Found, StoreError> {
    let at = || format!("a search in layer {:?}", query.layer);
    if answer.rows.len() > limit {
        return Err(lie("more rows than it was asked for", at()));
    }
    let (mut last, mut rows) = (before, Vec::new());
    for row in answer.rows {
        let id = row_id(&row.id).filter(|id| id.layer == query.layer).ok_or_else(|| lie("a row of another layer", at()))?;
        if last.is_some_and(|last| id >= last) {
            return Err(lie("rows in another order than the largest id first, below the one named", at()));
        }
        last = Some(id);
        // One that cannot be read does not hide the others.
        let Some(row) = read(id, &row.stored) else { continue };
        if query.terms.iter().any(|term| !row.terms.contains(term)) {
            return Err(lie("a row without the terms that it was asked for", id.to_string()));
        }
        rows.push(row);
    }
    if answer.more && last == before {
        return Err(lie("that there is more, and nothing of it", at()));
    }
    Ok(Found { rows, next: last.filter(|_| answer.more) })
}

/// Queued records, in order and after the one named.
pub(super) fn records(after: OutboxSeq, limit: usize, answer: &v1::ListRecordsResponse) -> Result<Vec<OutboxEntry>, StoreError> {
    if answer.records.len() > limit {
        return Err(lie("more records than it was asked for", "the outbox".to_owned()));
    }
    let mut last = after.0;
    let mut entries = Vec::with_capacity(answer.records.len());
    for found in &answer.records {
        let at = || format!("{} of the outbox", found.seq);
        if found.seq <= last {
            return Err(lie("records in another order than the smallest number first, after the one named", at()));
        }
        last = found.seq;
        let record: Record =
            postcard::from_bytes(&found.record).map_err(|error| StoreError::Corrupt { what: error.to_string(), at: at() })?;
        entries.push(OutboxEntry { seq: OutboxSeq(found.seq), record });
    }
    Ok(entries)
}

/// A row that lies in its place.
pub(super) fn stored(id: RowId, bytes: &[u8]) -> Result<Row, StoreError> {
    let row = Row::decode(bytes).map_err(|error| StoreError::Corrupt { what: error.to_string(), at: id.to_string() })?;
    if row.header.id != id {
        return Err(StoreError::Corrupt { what: "another record lies in its place".to_owned(), at: id.to_string() });
    }
    Ok(row)
}

pub(super) fn row_id(bytes: &[u8]) -> Option<RowId> {
    RowId::from_bytes(bytes)
}

/// An answer that breaks the protocol.
pub(super) fn lie(what: &str, at: String) -> StoreError {
    StoreError::Corrupt { what: format!("the plugin answers {what}"), at }
}

/// What a plugin says, on one line and not too long.
pub(super) fn words(text: &str) -> String {
    text.chars().take(WORDS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
