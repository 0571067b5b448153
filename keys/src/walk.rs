//! What outlives a restart of the walk that re-encrypts: that somebody holds it, and how far it has come.
//!
//! A place is a hint where to go on and nothing more: what changed since it was stored is before it as well as behind it, so whoever goes on from a
//! place walks to the end and then from the beginning to the place.
//!
//! A record that does not verify is no reason to walk no more: the walk begins anew and passes over what is done. Such a record is left as it is and another
//! one takes its place, because a row is replaced only on top of one that is believed.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::budget::RowHeader;
use crate::error::Error;
use crate::id::{Generation, Layer, RowId, TenantId};
use crate::port::Change;
use crate::sweep::Finding;
use crate::unit::Unit;
use crate::vault::Vault;

/// "walk" in ASCII: there is one such record a store, beside the cluster's own, and one more for each that was damaged.
const WALK: u128 = 0x77_61_6c_6b;
/// Most of them.
const RECORDS_MAX: u128 = 16;

/// What is stored of the walk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalkState {
    /// Somebody holds it.
    pub is_paused: bool,
    /// The last row that it has looked at; `None`: it had not begun, or was through.
    pub place: Option<RowId>,
}

/// The record of the walk that counts.
struct Stored {
    id: RowId,
    /// What it says, if it is there.
    state: Option<(Generation, WalkState)>,
    /// Those before it.
    damaged: Vec<Finding>,
}

impl Vault {
    /// What is stored of the walk, and which of its records do not verify.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if too many of them do not; the store's.
    pub async fn walk_state(&self) -> Result<(WalkState, Vec<Finding>), Error> {
        let Stored { state, damaged, .. } = self.stored_walk().await?;
        Ok((state.map(|(_, state)| state).unwrap_or_default(), damaged))
    }

    /// Stages another state of the walk, if it is another.
    ///
    /// # Errors
    /// As [`Vault::walk_state`].
    pub async fn change_walk(&self, unit: &mut Unit, change: impl FnOnce(&mut WalkState)) -> Result<(), Error> {
        let Stored { id, state: stored, .. } = self.stored_walk().await?;
        let expected = stored.map(|(generation, _)| generation);
        let before = stored.map(|(_, state)| state).unwrap_or_default();
        let mut state = before;
        change(&mut state);
        if state == before {
            return Ok(());
        }
        let place = RowHeader { id, owner: TenantId::SYSTEM, expected };
        let row = self.record_row(place, &state, Vec::new()).await?;
        unit.stage(match expected {
            None => Change::Insert(row),
            Some(expected) => Change::Update { expected, row },
        });
        Ok(())
    }

    async fn stored_walk(&self) -> Result<Stored, Error> {
        let mut damaged = Vec::new();
        for number in 0..RECORDS_MAX {
            let id = RowId::new(Layer::Cluster, Uuid::from_u128(WALK + number));
            let state = match self.walk_record(id).await {
                Ok(state) => Some(state),
                Err(Error::NotFound) => None,
                Err(Error::Corrupt { what, .. }) => {
                    damaged.push(Finding { row: id, what });
                    continue;
                }
                Err(error) => return Err(error),
            };
            return Ok(Stored { id, state, damaged });
        }
        Err(Error::corrupt("it does not verify, nor does any that has taken its place", RowId::new(Layer::Cluster, Uuid::from_u128(WALK))))
    }

    async fn walk_record(&self, id: RowId) -> Result<(Generation, WalkState), Error> {
        let row = self.shelf.existing(id).await?;
        Ok((row.header.generation, self.content(&row).await?))
    }
}
