//! The highest CRL number seen of each CA, kept where nobody can lower it: a record under the integrity key (C21).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::budget::RowHeader;
use crate::error::Error;
use crate::id::{Generation, Layer, RowId, TenantId};
use crate::policy::Action;
use crate::port::Change;
use crate::record::{Outcome, Record};
use crate::vault::Vault;

/// How often a lost race for the record is repeated.
const RAISE_ATTEMPTS_MAX: usize = 8;

/// There is one such record a store, beside the cluster's own.
fn floors_row() -> RowId {
    RowId::new(Layer::Cluster, Uuid::from_u128(1))
}

/// The highest number by CA: by the SHA-256 of its public key a number of 20 bytes, big-endian.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrlFloors(pub BTreeMap<[u8; 32], [u8; 20]>);

impl Vault {
    /// The stored numbers; needs no writer, so that they are known before the first request is answered.
    ///
    /// # Errors
    /// The store's; [`Error::Corrupt`] if the record does not verify.
    pub async fn crl_floors(&self) -> Result<CrlFloors, Error> {
        Ok(self.stored_floors().await?.map(|(_, floors)| floors).unwrap_or_default())
    }

    /// The record's generation and what it holds.
    async fn stored_floors(&self) -> Result<Option<(Generation, CrlFloors)>, Error> {
        match self.shelf.existing(floors_row()).await {
            Ok(row) => Ok(Some((row.header.generation, self.content(&row).await?))),
            Err(Error::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Raises the stored numbers to those in `seen`, and returns what is stored then: no number is ever lowered.
    ///
    /// # Errors
    /// The store's; [`Error::Corrupt`] if the record does not verify.
    pub async fn raise_crl_floors(&self, seen: &CrlFloors) -> Result<CrlFloors, Error> {
        for _ in 0..RAISE_ATTEMPTS_MAX {
            match self.try_raise(seen).await {
                Err(Error::Raced) => {}
                done => return done,
            }
        }
        Err(Error::Raced)
    }

    async fn try_raise(&self, seen: &CrlFloors) -> Result<CrlFloors, Error> {
        let id = floors_row();
        let (expected, known) = match self.stored_floors().await? {
            Some((generation, floors)) => (Some(generation), floors),
            None => (None, CrlFloors::default()),
        };
        let mut raised = known.clone();
        for (ca, number) in &seen.0 {
            let floor = raised.0.entry(*ca).or_insert(*number);
            *floor = (*floor).max(*number);
        }
        if raised == known {
            return Ok(raised);
        }
        let row = self.record_row(RowHeader { id, owner: TenantId::SYSTEM, expected }, &raised, Vec::new()).await?;
        let generation = row.header.generation;
        let mut unit = self.begin(self.system);
        unit.stage(match expected {
            None => Change::Insert(row),
            Some(expected) => Change::Update { expected, row },
        });
        unit.record(Record {
            time: self.now(),
            session: self.system,
            action: Action::ReloadTrust,
            object: Some(id),
            version: None,
            generation: Some(generation),
            outcome: Outcome::Success,
        });
        let _receipt = unit.commit().await?;
        Ok(raised)
    }
}
