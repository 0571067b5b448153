//! Rotation of the IVK, with the MasterKey in hand for as long as that takes.

use std::sync::Arc;

use keys::cluster;
use keys::hierarchy::MasterKey;
use keys::id::SessionId;
use keys::rotate::{NewIvk, RotatedIvk};

use super::{Node, Open, SlotError};

impl Node {
    /// Makes the next version of the IVK, which wraps from then on; the walk over the keys begins by itself.
    ///
    /// On a task of its own: a caller who goes away does not leave it half done.
    ///
    /// # Errors
    /// [`SlotError`]: the version before is still the one in force, unless what was stored does not open again.
    pub async fn rotate_ivk(self: &Arc<Self>, session: SessionId, new: NewIvk) -> Result<RotatedIvk, SlotError> {
        let node = Arc::clone(self);
        let rotating = async move {
            let _nobody_else = node.jobs.try_lock().map_err(|_| seal::Error::Busy)?;
            let seal = Arc::clone(node.seal_slots().ok_or(SlotError::Edge)?);
            let open = node.open().ok_or_else(|| keys::Error::Unavailable { what: "the node is sealed: unseal it first".to_owned() })?;
            let master = node.master(&seal).await?;
            Ok(node.rotate_under(session, &open, &master, new).await?)
        };
        tokio::spawn(rotating).await.expect("a rotation does not panic")
    }

    /// As [`Node::rotate_ivk`], for whoever has the MasterKey and the turn.
    pub(super) async fn rotate_under(
        &self,
        session: SessionId,
        open: &Open,
        master: &MasterKey,
        new: NewIvk,
    ) -> Result<RotatedIvk, keys::Error> {
        let mut unit = open.vault.begin(session);
        let rotated = open.vault.rotate_ivk(&mut unit, master, new).await?;
        if rotated.is_repeated {
            return Ok(rotated);
        }
        let lost = unit.lost();
        if let Err(error) = unit.commit().await {
            self.note_all(&lost);
            return Err(error.into());
        }
        // C18: from now on only what was just stored opens what is new.
        cluster::load(&self.store, self.identity.cluster, master).await?;
        tracing::info!(version = rotated.version.0, replaced = rotated.replaced.0, "the IVK was rotated");
        Ok(rotated)
    }
}
