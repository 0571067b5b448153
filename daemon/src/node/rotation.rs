//! Rotation of the IVK, with the MasterKey in hand for as long as that takes.

use std::sync::Arc;

use keys::cluster;
use keys::hierarchy::MasterKey;
use keys::id::{KeyVersion, SessionId};
use keys::rotate::{NewIvk, RotatedIvk};

use super::{Node, Open, SlotError};

/// Rows that are looked at in one go.
const PAGE_ROWS: usize = 64;

/// Why a version of the IVK was not retired.
#[derive(Debug, thiserror::Error)]
pub enum RetireError {
    /// Keys lie under it.
    #[error(
        "{keys} keys lie under version {version}: see `strongroom reencrypt status`, and retire it when they have come under a newer one"
    )]
    InUse {
        /// Which version.
        version: u32,
        /// How many.
        keys: u64,
    },
    /// Somebody else changes the roots or slots.
    #[error(transparent)]
    Turn(#[from] SlotError),
    /// The version, the keys, or their store.
    #[error(transparent)]
    Keys(#[from] keys::Error),
}

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
            let open = node.opened()?;
            let master = node.master(&seal).await?;
            Ok(node.rotate_under(session, &open, &master, new).await?)
        };
        tokio::spawn(rotating).await.expect("a rotation does not panic")
    }

    /// Archives a version of the IVK, after every key was looked at and none lies under it.
    ///
    /// # Errors
    /// [`RetireError`]: the version is what it was.
    pub async fn retire_ivk(self: &Arc<Self>, session: SessionId, version: KeyVersion) -> Result<(), RetireError> {
        let node = Arc::clone(self);
        let retiring = async move {
            let _nobody_else = node.jobs.try_lock().map_err(|_| SlotError::from(seal::Error::Busy))?;
            let (mut keys, mut before) = (0, None);
            loop {
                // The domain is held for one page only: sealing waits for whoever holds it.
                let (found, next) = node.opened()?.vault.keys_under(version, before, PAGE_ROWS).await?;
                keys += found;
                before = next;
                if before.is_none() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            if keys > 0 {
                return Err(RetireError::InUse { version: version.0, keys });
            }
            let open = node.opened()?;
            let mut unit = open.vault.begin(session);
            open.vault.retire_ivk(&mut unit, version).await?;
            let lost = unit.lost();
            let _receipt = unit.commit().await.inspect_err(|_| node.note_all(&lost)).map_err(keys::Error::from)?;
            tracing::info!(version = version.0, "a version of the IVK was retired");
            Ok(())
        };
        tokio::spawn(retiring).await.expect("retiring does not panic")
    }

    fn opened(&self) -> Result<Arc<Open>, keys::Error> {
        self.open().ok_or_else(|| keys::Error::Unavailable { what: "the node is sealed: unseal it first".to_owned() })
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
