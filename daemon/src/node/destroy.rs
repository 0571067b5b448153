//! The end of a version of the IVK, in two phases: what is asked of the custodians, and what is done once they have approved it.
//!
//! Both look through all keys. The first tells the custodians what there is; the second does not rely on that, because time has passed. Between the two
//! nothing has changed, so a restart in between leaves the version as it was; what is done is one unit, so it leaves all of it or nothing.

use std::sync::Arc;

use keys::cluster::IvkStatus;
use keys::id::{KeyVersion, SessionId, Time};
use keys::lifecycle::State;
use keys::uses::{Look, Looked, Uses};

use super::{Authority, Node, SlotError};
use crate::system::rfc3339;

/// Rows that are looked at in one go.
const PAGE_ROWS: usize = 64;

/// Why a version of the IVK is not destroyed.
#[derive(Debug, thiserror::Error)]
pub enum DestroyError {
    /// There is no such version.
    #[error("there is no IVK version {version}: see `strongroom ivk status`")]
    NoSuch {
        /// Which.
        version: u32,
    },
    /// It wraps.
    #[error(
        "IVK version {version} is the Active one, which wraps: run `strongroom ivk rotate` first, and destroy it when the keys have come under the new one"
    )]
    Active {
        /// Which.
        version: u32,
    },
    /// It has no key any more.
    #[error("IVK version {version} is destroyed already, since {}", rfc3339(*since))]
    Gone {
        /// Which.
        version: u32,
        /// When that was done.
        since: Time,
    },
    /// Keys lie under it.
    #[error(
        "{keys} keys lie under version {version}, and would be lost with it: see `strongroom reencrypt status`, and destroy it when they have come under a newer one"
    )]
    InUse {
        /// Which.
        version: u32,
        /// How many.
        keys: u64,
    },
    /// The custodians have to approve it.
    #[error("the custodians of this cluster have to approve it: run `strongroom ivk destroy`, which asks them")]
    NeedsCeremony,
    /// Somebody else changes the roots or slots, or others have approved it.
    #[error(transparent)]
    Turn(SlotError),
    /// The keys, or their store.
    #[error(transparent)]
    Keys(#[from] keys::Error),
}

impl From<SlotError> for DestroyError {
    fn from(error: SlotError) -> Self {
        match error {
            SlotError::NeedsCeremony => Self::NeedsCeremony,
            other => Self::Turn(other),
        }
    }
}

impl Node {
    /// What is known of a version that may be destroyed, and how many destroyed keys go with it.
    ///
    /// # Errors
    /// [`DestroyError`], if it may not.
    pub async fn ivk_to_destroy(&self, version: KeyVersion) -> Result<(IvkStatus, u64), DestroyError> {
        if self.seal_slots().is_none() {
            return Err(SlotError::Edge.into());
        }
        let (status, uses) = self.ivk_unused(version).await?;
        Ok((status, uses.shreds))
    }

    /// Destroys a version of the IVK, after every key was looked at and none lies under it; returns how many destroyed keys went with it.
    ///
    /// On a task of its own: a caller who goes away does not leave it half done.
    ///
    /// # Errors
    /// [`DestroyError`]: the version is what it was.
    pub async fn destroy_ivk(self: &Arc<Self>, session: SessionId, version: KeyVersion, by: Authority) -> Result<u64, DestroyError> {
        let node = Arc::clone(self);
        let destroying = async move {
            let _nobody_else = node.jobs.try_lock().map_err(|_| SlotError::from(seal::Error::Busy))?;
            let (_, uses) = node.ivk_unused(version).await?;
            let unused = uses.unused().ok_or(DestroyError::InUse { version: version.0, keys: uses.keys })?;
            let open = node.opened()?;
            let mut unit = open.vault.begin(session);
            let cluster = open.vault.destroy_ivk(&mut unit, version, unused).await?;
            let _roster = by.roster(&cluster)?;
            let lost = unit.lost();
            let _receipt = unit.commit().await.inspect_err(|_| node.note_all(&lost)).map_err(keys::Error::from)?;
            tracing::info!(version = version.0, shreds = uses.shreds, "a version of the IVK was destroyed");
            Ok(uses.shreds)
        };
        tokio::spawn(destroying).await.expect("destroying does not panic")
    }

    /// A version that was replaced, and what lies under it: nothing.
    async fn ivk_unused(&self, version: KeyVersion) -> Result<(IvkStatus, Uses), DestroyError> {
        let open = self.opened()?;
        let (all, version) = (open.vault.ivk_status().await?, version.0);
        let status = all.into_iter().find(|ivk| ivk.version.0 == version).ok_or(DestroyError::NoSuch { version })?;
        if status.state == State::Active {
            return Err(DestroyError::Active { version });
        }
        if let Some(since) = status.destroyed {
            return Err(DestroyError::Gone { version, since });
        }
        let look = open.vault.look_under_ivk(status.version).await?;
        drop(open);
        match self.look_through(look).await? {
            Uses { keys, .. } if keys > 0 => Err(DestroyError::InUse { version, keys }),
            uses => Ok((status, uses)),
        }
    }

    /// Looks at all rows. The domain is held for one page only: sealing waits for whoever holds it.
    ///
    /// # Errors
    /// [`keys::Error::Corrupt`] names a row of which nobody can tell where it lies; the store's; a seal meanwhile.
    pub(crate) async fn look_through(&self, mut look: Look) -> Result<Uses, keys::Error> {
        loop {
            match self.opened()?.vault.look_on(look, PAGE_ROWS).await? {
                Looked::On(further) => look = further,
                Looked::Through(uses) => return Ok(uses),
            }
            tokio::task::yield_now().await;
        }
    }
}
