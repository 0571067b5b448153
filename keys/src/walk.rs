//! What outlives a restart of the walk that re-encrypts: that somebody holds it, and how far it has come.
//!
//! A place is a hint where to go on and nothing more: what changed since it was stored is before it as well as behind it, so whoever goes on from a
//! place walks to the end and then from the beginning to the place.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::budget::RowHeader;
use crate::error::Error;
use crate::id::{Generation, Layer, RowId, TenantId};
use crate::port::Change;
use crate::unit::Unit;
use crate::vault::Vault;

/// "walk" in ASCII: there is one such record a store, beside the cluster's own.
const WALK: u128 = 0x77_61_6c_6b;

/// What is stored of the walk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalkState {
    /// Somebody holds it.
    pub is_paused: bool,
    /// The last row that it has looked at; `None`: it had not begun, or was through.
    pub place: Option<RowId>,
}

fn walk_row() -> RowId {
    RowId::new(Layer::Cluster, Uuid::from_u128(WALK))
}

impl Vault {
    /// What is stored of the walk.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the record does not verify; the store's.
    pub async fn walk_state(&self) -> Result<WalkState, Error> {
        Ok(self.stored_walk().await?.map(|(_, state)| state).unwrap_or_default())
    }

    /// Stages another state of the walk, if it is another.
    ///
    /// # Errors
    /// As [`Vault::walk_state`].
    pub async fn change_walk(&self, unit: &mut Unit, change: impl FnOnce(&mut WalkState)) -> Result<(), Error> {
        let stored = self.stored_walk().await?;
        let expected = stored.map(|(generation, _)| generation);
        let before = stored.map(|(_, state)| state).unwrap_or_default();
        let mut state = before;
        change(&mut state);
        if state == before {
            return Ok(());
        }
        let place = RowHeader { id: walk_row(), owner: TenantId::SYSTEM, expected };
        let row = self.record_row(place, &state, Vec::new()).await?;
        unit.stage(match expected {
            None => Change::Insert(row),
            Some(expected) => Change::Update { expected, row },
        });
        Ok(())
    }

    async fn stored_walk(&self) -> Result<Option<(Generation, WalkState)>, Error> {
        match self.shelf.existing(walk_row()).await {
            Ok(row) => Ok(Some((row.header.generation, self.content(&row).await?))),
            Err(Error::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
