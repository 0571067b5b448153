//! A node that waits for its keystore: sealed, and going on by itself once that answers.

use std::sync::atomic::Ordering;

use keys::id::Layer;
use keys::port::{Query, StoreError};
use kmip::Sealed;

use super::{Node, UnsealError};

/// How the reason begins for which a node is sealed that goes on by itself once its keystore answers.
pub const WAITING: &str = "waiting for its keystore";

impl Node {
    /// Has the default keystore not answered since the start?
    #[must_use]
    pub fn awaits_keystore(&self) -> bool {
        self.keystores.as_ref().is_some_and(|keystores| keystores.awaits_default())
    }

    /// Why it is sealed, as clients are told.
    pub(crate) fn why_sealed(&self) -> Sealed {
        let waits = self.awaits_keystore() || self.sealed().is_some_and(|(_, reason)| reason.starts_with(WAITING));
        if waits && !self.by_request.load(Ordering::Relaxed) { Sealed::AwaitsKeystore } else { Sealed::UntilUnsealed }
    }

    /// The same, as a core tells it to edges.
    pub(crate) fn sealed_for_edges(&self) -> &'static str {
        match self.why_sealed() {
            Sealed::UntilUnsealed => "the core is sealed: its operator has to unseal it",
            Sealed::AwaitsKeystore => "the core is waiting for its keystore: try again later",
        }
    }

    /// Does the keystore answer?
    ///
    /// # Errors
    /// [`UnsealError::Keystore`].
    pub async fn look_after_keystore(&self) -> Result<(), UnsealError> {
        let query = Query { layer: Layer::Integrity, terms: Vec::new(), before: None, limit: 1 };
        match self.store.find(&query).await {
            Err(source @ (StoreError::Unavailable { .. } | StoreError::Sealed { .. } | StoreError::Denied { .. })) => {
                Err(UnsealError::Keystore { source })
            }
            // Whatever else is wrong with it is found where it matters.
            _ => Ok(()),
        }
    }
}
