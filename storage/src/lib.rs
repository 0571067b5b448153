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
use rustls::Error as TlsError;

/// Why a keystore did not open: is it only away, so that it may open later with nothing changed here? Else it answers, and another try would find the same.
#[must_use]
pub fn is_away(error: &StoreError) -> bool {
    match error {
        StoreError::Sealed { .. } => true,
        StoreError::Unavailable { source, .. } => {
            let of_postgres = source.downcast_ref().is_some_and(postgres::OpenError::is_absence);
            let of_openbao = source.downcast_ref().is_some_and(openbao::OpenError::is_absence);
            of_postgres || of_openbao || source.downcast_ref().is_some_and(grpc::PluginError::is_absence)
        }
        StoreError::Conflict { .. }
        | StoreError::Full { .. }
        | StoreError::Denied { .. }
        | StoreError::Poisoned
        | StoreError::Corrupt { .. } => false,
    }
}

/// Is whoever answers not the one that was named, as far as certificates tell?
fn is_untrusted(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        // An I/O error passes over its own content when it is asked for its source.
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref).and_then(|inner| inner.downcast_ref());
        if let Some(TlsError::InvalidCertificate(_)) = inner.or_else(|| error.downcast_ref()) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The refusal to queue a record over another, which would lose that one to the audit log.
fn outbox_taken(seq: OutboxSeq) -> StoreError {
    StoreError::Corrupt {
        what: "another record is queued under its number; restart strongroomd, which counts on from the last one".to_owned(),
        at: format!("{} of the outbox", seq.0),
    }
}
