//! Rotation of the IVK, with the MasterKey in hand for as long as that takes.

use std::sync::Arc;

use keys::cluster::{self, IvkStatus};
use keys::hierarchy::MasterKey;
use keys::id::{ClusterId, KeyVersion, SessionId, Time};
use keys::lifecycle::State;
use keys::rotate::{GeneratedIvk, NewIvk, RotatedIvk};

use super::{Node, Open, SlotError};
use crate::schedule::Schedule;

/// When the next version of the IVK is to be made by itself, if it is.
///
/// # Errors
/// [`keys::Error::Corrupt`] if no version is Active.
fn ivk_due(versions: &[IvkStatus], now: Time, cluster: ClusterId, schedule: &Schedule) -> Result<Option<Time>, keys::Error> {
    let active = versions.iter().find(|ivk| ivk.state == State::Active);
    let active = active.ok_or_else(|| keys::Error::Corrupt { what: "no Active version".to_owned(), at: "IVK".to_owned() })?;
    Ok(schedule.due(active.activated.unwrap_or(active.created), now, &[cluster.as_bytes(), &active.version.0.to_be_bytes()]))
}

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
    /// When the schedule rotates the IVK next, if there is one.
    ///
    /// # Errors
    /// [`keys::Error::Corrupt`] if no version is Active.
    pub(crate) fn ivk_due(&self, versions: &[IvkStatus], now: Time) -> Result<Option<Time>, keys::Error> {
        ivk_due(versions, now, self.identity.cluster, &self.config.ivk.schedule)
    }

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

    /// Makes a version of the IVK that waits until the next rotation makes it the Active one.
    ///
    /// # Errors
    /// [`SlotError`]: no version was made, unless what was stored does not open again.
    pub async fn generate_ivk(self: &Arc<Self>, session: SessionId, new: NewIvk) -> Result<GeneratedIvk, SlotError> {
        let node = Arc::clone(self);
        let generating = async move {
            let _nobody_else = node.jobs.try_lock().map_err(|_| seal::Error::Busy)?;
            let seal = Arc::clone(node.seal_slots().ok_or(SlotError::Edge)?);
            let open = node.opened()?;
            let master = node.master(&seal).await?;
            let mut unit = open.vault.begin(session);
            let generated = open.vault.generate_ivk(&mut unit, &master, new).await?;
            if !generated.is_repeated {
                let lost = unit.lost();
                let _receipt = unit.commit().await.inspect_err(|_| node.note_all(&lost)).map_err(keys::Error::from)?;
                open.vault.read_back_ivk(&master, generated.version).await?;
                tracing::info!(version = generated.version.0, "a version of the IVK was generated");
            }
            Ok(generated)
        };
        tokio::spawn(generating).await.expect("generating does not panic")
    }

    /// Archives a version of the IVK, after every key was looked at and none lies under it.
    ///
    /// # Errors
    /// [`RetireError`]: the version is what it was.
    pub async fn retire_ivk(self: &Arc<Self>, session: SessionId, version: KeyVersion) -> Result<(), RetireError> {
        let node = Arc::clone(self);
        let retiring = async move {
            let _nobody_else = node.jobs.try_lock().map_err(|_| SlotError::from(seal::Error::Busy))?;
            let open = node.opened()?;
            // Before anything is said of keys that lie under it: of one that is compromised they may all be gone, and it is not archived still.
            open.vault.must_be_retirable(version).await?;
            let look = open.vault.look_under_ivk(version).await?;
            drop(open);
            let uses = node.look_through(look).await?;
            let unused = uses.unused().ok_or(RetireError::InUse { version: version.0, keys: uses.keys })?;
            let open = node.opened()?;
            let mut unit = open.vault.begin(session);
            open.vault.retire_ivk(&mut unit, version, unused).await?;
            let lost = unit.lost();
            let _receipt = unit.commit().await.inspect_err(|_| node.note_all(&lost)).map_err(keys::Error::from)?;
            tracing::info!(version = version.0, "a version of the IVK was retired");
            Ok(())
        };
        tokio::spawn(retiring).await.expect("retiring does not panic")
    }

    pub(super) fn opened(&self) -> Result<Arc<Open>, keys::Error> {
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
        if new.is_compromised {
            self.reencryption.hurry();
        }
        // C18: from now on only what was just stored opens what is new.
        cluster::load(&self.store, self.identity.cluster, master).await?;
        tracing::info!(version = rotated.version.0, replaced = rotated.replaced.0, "the IVK was rotated");
        Ok(rotated)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cipher::aead::Aead;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_rotation_is_due_after_the_interval_and_at_most_a_tenth_later() {
        let day = Schedule::Every(Duration::from_secs(24 * 60 * 60));
        let due = |version, cluster| {
            let made = |version, state, seconds| IvkStatus {
                version: KeyVersion(version),
                aead: Aead::Aes256Gcm,
                state,
                created: Time::from_seconds(seconds),
                activated: Some(Time::from_seconds(seconds)),
                rotated: None,
                destroyed: None,
            };
            let versions = [made(version, State::Active, 1_000_000), made(version - 1, State::Deprecated, 0)];
            let now = Time::from_seconds(1_000_000);
            let due = ivk_due(&versions, now, ClusterId::new(Uuid::from_u128(cluster)), &day).expect("one is Active");
            due.expect("it has a time").seconds() - 1_000_000
        };
        let all: Vec<i64> = (2..40).flat_map(|version| [due(version, 1), due(version, 2)]).collect();
        assert!(all.iter().all(|seconds| (86_400..=95_040).contains(seconds)), "{all:?}");
        assert_eq!(due(2, 1), due(2, 1), "a restart does not move it");
        let (least, most) = (all.iter().min().expect("some"), all.iter().max().expect("some"));
        assert!(most - least > 4_000, "they are spread: {least} to {most}");
        assert!(ivk_due(&[], Time::default(), ClusterId::new(Uuid::nil()), &day).is_err());
    }
}
