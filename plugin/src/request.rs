//! From messages to checked values: a request that breaks the protocol's rules is refused before the store hears of it.

use tonic::Status;

use crate::store::{Batch, Change, CommitId, Id, Node, QueuedRecord, Row, Search, Term};
use crate::v1;
use crate::{PAGE_ROWS_MAX, RECORD_BYTES_MAX, STORED_BYTES_MAX, TERMS_MAX};

pub(crate) fn id(field: &str, bytes: &[u8]) -> Result<Id, Status> {
    array(field, bytes).map(Id)
}

pub(crate) fn node(bytes: &[u8]) -> Result<Node, Status> {
    array("node", bytes).map(Node)
}

pub(crate) fn search(request: &v1::ListKeysRequest) -> Result<Search, Status> {
    let layer = u8::try_from(request.layer).map_err(|_| broken("layer", "is not one byte"))?;
    let terms = terms(&request.terms)?;
    let before = if request.before.is_empty() { None } else { Some(id("before", &request.before)?) };
    if request.limit == 0 {
        return Err(broken("limit", "is 0"));
    }
    let limit = usize::try_from(request.limit).map_or(PAGE_ROWS_MAX, |limit| limit.min(PAGE_ROWS_MAX));
    let bytes_max = usize::try_from(request.bytes_max).map_or(1, |bytes| bytes.clamp(1, crate::ANSWER_BYTES_MAX / 2));
    Ok(Search { layer, terms, before, limit, bytes_max })
}

pub(crate) fn store(request: v1::StoreKeyRequest) -> Result<Change, Status> {
    Ok(Change::Insert(row(request.row)?))
}

pub(crate) fn update(request: v1::UpdateKeyMetadataRequest) -> Result<Change, Status> {
    Ok(Change::Update { expected: request.expected_generation, row: row(request.row)? })
}

pub(crate) fn delete(request: &v1::DeleteKeyRequest) -> Result<Change, Status> {
    Ok(Change::Delete { id: id("id", &request.id)?, expected: request.expected_generation })
}

pub(crate) fn batch(request: v1::BatchRequest) -> Result<Batch, Status> {
    let after = if request.after.is_empty() { None } else { Some(CommitId(array("after", &request.after)?)) };
    Ok(Batch {
        node: node(&request.node)?,
        commit: CommitId(array("commit", &request.commit)?),
        after,
        changes: request.changes.into_iter().map(change).collect::<Result<_, _>>()?,
        records: request.records.into_iter().map(record).collect::<Result<_, _>>()?,
        settled: request.settled,
    })
}

fn change(change: v1::Change) -> Result<Change, Status> {
    match change.change.ok_or_else(|| broken("changes.change", "is missing"))? {
        v1::change::Change::Store(request) => store(request),
        v1::change::Change::Update(request) => update(request),
        v1::change::Change::Delete(request) => delete(&request),
    }
}

fn record(record: v1::AuditRecord) -> Result<QueuedRecord, Status> {
    if record.record.len() > RECORD_BYTES_MAX {
        return Err(broken("records.record", "is too long"));
    }
    Ok(QueuedRecord { seq: record.seq, record: record.record })
}

fn row(row: Option<v1::Row>) -> Result<Row, Status> {
    let row = row.ok_or_else(|| broken("row", "is missing"))?;
    if row.stored.is_empty() || row.stored.len() > STORED_BYTES_MAX {
        return Err(broken("row.stored", "is empty or too long"));
    }
    Ok(Row {
        id: id("row.id", &row.id)?,
        generation: row.generation,
        stored: row.stored,
        terms: terms(&row.terms)?,
        header: row.header.ok_or_else(|| broken("row.header", "is missing"))?,
    })
}

fn terms(terms: &[Vec<u8>]) -> Result<Vec<Term>, Status> {
    if terms.len() > TERMS_MAX {
        return Err(broken("terms", "are too many"));
    }
    terms.iter().map(|term| array("terms", term).map(Term)).collect()
}

fn array<const N: usize>(field: &str, bytes: &[u8]) -> Result<[u8; N], Status> {
    bytes.try_into().map_err(|_| broken(field, &format!("has {} bytes instead of {N}", bytes.len())))
}

fn broken(field: &str, what: &str) -> Status {
    Status::invalid_argument(format!("{field} {what}"))
}
