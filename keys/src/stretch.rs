//! Keys derived from passwords: the password is copied while its key is open, and what takes long is done by the [`Stretcher`](crate::port::Stretcher).

use std::sync::Arc;

use cipher::derive::Stretch;
use secret::Bytes;

use crate::error::Error;
use crate::lifecycle::Purpose;
use crate::policy::Authorized;
use crate::policy::verb::UsesMaterial;
use crate::unit::Unit;
use crate::usage::Protected;
use crate::vault::{Vault, View};

impl Vault {
    /// As [`Vault::protect`], for a derivation that `prepare` makes ready; returns what is derived, and what else `prepare` returns.
    ///
    /// # Errors
    /// As [`Vault::protect`]; [`Error::Unavailable`] if too many others wait, or without locked memory.
    pub async fn stretch<V: UsesMaterial, R, E: From<Error>>(
        &self,
        unit: &Unit,
        authorized: Authorized<V>,
        protected: Protected,
        prepare: impl FnOnce(&[u8], &View) -> Result<(Stretch, R), E>,
    ) -> Result<(Bytes, R), E> {
        let stretcher = Arc::clone(&self.edge_keys()?.stretcher);
        let (entry, view) = self.ready::<V>(unit, &authorized).await?;
        let limits = view.attributes.usage_limits.filter(|_| V::PURPOSE == Purpose::Protect);
        if let Some(limits) = limits {
            Box::pin(self.spend(&view.header, &limits, protected)).await?;
        }
        let prepared = self.lend(unit, &entry, |bytes| prepare(bytes, &view)).map_err(E::from).and_then(|prepared| prepared);
        let derived = match prepared {
            Ok((stretch, more)) => {
                stretcher.stretch(stretch).await.map(|derived| (derived, more)).map_err(|error| Error::from(error).into())
            }
            Err(error) => Err(error),
        };
        if let (Err(_), Some(limits)) = (&derived, limits) {
            self.shares.give(view.header.id, protected.units(&limits));
        }
        derived
    }
}
