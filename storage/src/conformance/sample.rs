//! Rows, records and batches to try a keystore with; made of numbers, so that the same one can be made again.

use cipher::aead::Aead;
use keys::id::{ChainId, Generation, KeyVersion, Layer, OutboxSeq, RowId, ServiceId, SessionId, TenantId, Time};
use keys::lifecycle::State;
use keys::policy::Action;
use keys::port::{Batch, Change, OutboxEntry, Query};
use keys::record::{Outcome, Record};
use keys::row::{Algorithm, Header, ObjectType, Owner, ParentRef, Row, Term};
use uuid::Uuid;

/// The id of row `number`: larger numbers are newer.
#[must_use]
pub fn id(number: u64) -> RowId {
    RowId::new(Layer::L3, Uuid::from_u64_pair(number, 0x8000_0000_0000_0000))
}

/// Term `number`.
#[must_use]
pub fn term(number: u64) -> Term {
    let mut bytes = [0x5a; 16];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    Term(bytes)
}

/// Row `number` at its first generation, with these terms; odd ones are another tenant's than even ones.
#[must_use]
pub fn row(number: u64, terms: &[u64]) -> Row {
    let id = id(number);
    let chain = ChainId::new(id.uuid);
    Row {
        header: Header {
            id,
            chain,
            version: KeyVersion::FIRST,
            object_type: ObjectType::SYMMETRIC_KEY,
            algorithm: Algorithm::AES,
            bits: 256,
            aead: Aead::Aes256GcmSiv,
            state: State::Active,
            expiry: Some(Time::from_seconds(2_000_000_000)),
            owner: Owner { tenant: tenant(number), service: Some(ServiceId::new(Uuid::from_u128(2))) },
            generation: Generation::FIRST,
            parent: ParentRef { chain, version: KeyVersion::FIRST },
            wrap_seq: 1,
            attributes_seq: 1,
        },
        material: Some(vec![0xa5; 108]),
        attributes: Some(number.to_be_bytes().repeat(50)),
        terms: terms.iter().map(|number| term(*number)).collect(),
        meta_mac: [0x3c; 32],
    }
}

/// Whose row `number` is.
#[must_use]
pub fn tenant(number: u64) -> TenantId {
    TenantId::new(Uuid::from_u128(1 + u128::from(number % 2)))
}

/// The row after one more change, with these terms instead.
#[must_use]
pub fn changed(row: &Row, terms: &[u64]) -> Row {
    let mut next = row.clone();
    next.header.generation = row.header.generation.next();
    next.terms = terms.iter().map(|number| term(*number)).collect();
    next
}

/// Outbox record `seq`.
#[must_use]
pub fn entry(seq: u64) -> OutboxEntry {
    let record = Record {
        time: Time::from_millis(i64::from(u16::try_from(seq % 60_000).expect("below 60,000"))),
        session: SessionId(seq),
        action: Action::Create,
        object: Some(id(seq)),
        version: Some(KeyVersion::FIRST),
        generation: Some(Generation::FIRST),
        outcome: Outcome::Success,
    };
    OutboxEntry { seq: OutboxSeq(seq), record }
}

/// A batch of changes without audit records.
#[must_use]
pub fn batch(changes: impl Into<Vec<Change>>) -> Batch {
    Batch { changes: changes.into(), ..Batch::default() }
}

/// A search in the layer of [`id`], for the rows with all these terms.
#[must_use]
pub fn query(terms: &[u64], before: Option<u64>, limit: usize) -> Query {
    Query { layer: Layer::L3, terms: terms.iter().map(|number| term(*number)).collect(), before: before.map(id), limit }
}
