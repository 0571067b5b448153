//! Keystores: where rows, their search terms and the audit outbox are kept, behind the domain's `Keystore` port.

pub mod cached;
pub mod conformance;
pub mod embedded;
pub mod grpc;
pub mod intents;
pub mod journalled;
pub mod memory;
pub mod openbao;
pub mod postgres;
pub mod routed;

use keys::id::OutboxSeq;
use keys::port::StoreError;

/// The refusal to queue a record over another, which would lose that one to the audit log.
fn outbox_taken(seq: OutboxSeq) -> StoreError {
    StoreError::Corrupt {
        what: "another record is queued under its number; restart strongroomd, which counts on from the last one".to_owned(),
        at: format!("{} of the outbox", seq.0),
    }
}
