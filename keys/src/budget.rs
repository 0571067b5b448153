//! How many random 96-bit IVs a key has used, reserved in blocks so that no node ever counts one twice.
//!
//! Source: SECURITY C4, NIST SP 800-38D §8.3. A block is reserved by a durable compare-and-swap on a row of its own before its first IV is drawn;
//! what a node has not used of a block when it stops is lost, which errs to the safe side.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::attributes;
use crate::error::Error;
use crate::id::{Generation, Layer, RowId};
use crate::policy::Action;
use crate::port::{Change, Scope};
use crate::record::{Outcome, Record};
use crate::row::{Header, Row};
use crate::unit::record_header;
use crate::vault::Vault;

/// IVs reserved at a time.
pub const IV_BLOCK: u64 = 1 << 16;
/// From this many on, the key should be rotated: [`Vault::keys_short_of_ivs`] names it.
pub const IVS_WARN: u64 = 1 << 31;
/// No more than this many under one key: the probability of a repeated IV stays below 2^-34.
pub const IVS_MAX: u64 = 3_865_470_566;
/// How often a lost race for a block is repeated.
const RESERVE_ATTEMPTS_MAX: usize = 8;

/// What this node has left of the blocks that it reserved.
#[derive(Debug, Default)]
pub(crate) struct Budgets {
    left: Mutex<HashMap<RowId, u64>>,
    short: Mutex<BTreeMap<RowId, u64>>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Reserved {
    ivs: u64,
}

impl Budgets {
    fn take(&self, id: RowId) -> bool {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        match left.get_mut(&id) {
            Some(left) if *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        }
    }

    fn give(&self, id: RowId, ivs: u64) {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner).entry(id).or_default() += ivs;
    }
}

impl Vault {
    /// A fresh random 96-bit IV for AES-GCM under `key`, counted against the key's budget.
    ///
    /// # Errors
    /// [`Error::IvsExhausted`] when the key has none left; the store's or the audit log's errors when a block had to be reserved.
    pub async fn gcm_iv(&self, key: &Header) -> Result<[u8; 12], Error> {
        for _ in 0..RESERVE_ATTEMPTS_MAX {
            if let Some(iv) = self.ready_gcm_iv(key.id)? {
                return Ok(iv);
            }
            match self.reserve_ivs(key).await {
                Ok(ivs) => self.budgets.give(key.id, ivs),
                Err(Error::Raced) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::Raced)
    }

    /// The same without waiting: `None` if a block has to be reserved first. It is for inside [`Vault::open`], so that a refused use spends
    /// nothing.
    ///
    /// # Errors
    /// No randomness.
    pub fn ready_gcm_iv(&self, key: RowId) -> Result<Option<[u8; 12]>, Error> {
        if self.budgets.take(key) { Ok(Some(self.randomness.gcm_iv()?)) } else { Ok(None) }
    }

    /// Keys that have reserved [`IVS_WARN`] random IVs or more since this node was unsealed, with how many: they should be rotated.
    #[must_use]
    pub fn keys_short_of_ivs(&self) -> Vec<(RowId, u64)> {
        self.budgets.short.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|(id, ivs)| (*id, *ivs)).collect()
    }

    async fn reserve_ivs(&self, key: &Header) -> Result<u64, Error> {
        let id = RowId::new(Layer::IvBudget, key.id.uuid);
        let stored = match self.shelf.existing_for(Scope::Tenant(key.owner.tenant), id).await {
            Ok(row) => Some(row),
            Err(Error::NotFound) => None,
            Err(error) => return Err(error),
        };
        let used = match &stored {
            Some(row) => self.content::<Reserved>(row).await?.ivs,
            None => 0,
        };
        let block = block_after(used);
        if block == 0 {
            return Err(Error::IvsExhausted { used });
        }
        let mut unit = self.begin(self.system);
        let expected = stored.map(|row| row.header.generation);
        let row = self.record_row(RowHeader { id, owner: key.owner.tenant, expected }, &Reserved { ivs: used + block }, Vec::new()).await?;
        let generation = row.header.generation;
        unit.stage(match expected {
            None => Change::Insert(row),
            Some(expected) => Change::Update { expected, row },
        });
        unit.record(Record {
            time: self.now(),
            session: self.system,
            action: Action::ReserveIvs,
            object: Some(key.id),
            version: Some(key.version),
            generation: Some(generation),
            outcome: Outcome::Success,
        });
        let _receipt = unit.commit().await?;
        if used + block >= IVS_WARN {
            self.budgets.short.lock().unwrap_or_else(PoisonError::into_inner).insert(key.id, used + block);
        }
        Ok(block)
    }

    /// The sealed content of a record row.
    pub(crate) async fn content<T: for<'de> Deserialize<'de>>(&self, row: &Row) -> Result<T, Error> {
        let blob = row.attributes.as_deref().ok_or_else(|| Error::corrupt("it has no content", row.header.id))?;
        let opened = self.parent.unwrap(row.header.parent, &[(self.shelf.registry.attributes_binding(&row.header), blob)]).await?;
        opened[0].expose(attributes::decode).map_err(|error| Error::corrupt(&error.to_string(), row.header.id))
    }

    /// A record row with sealed content, new or of the next generation.
    pub(crate) async fn record_row<T: Serialize>(&self, place: RowHeader, content: &T, terms: Vec<crate::row::Term>) -> Result<Row, Error> {
        let mut header = record_header(place.id, self.shelf.registry.records(), place.owner);
        header.generation = place.expected.map_or(Generation::FIRST, Generation::next);
        header.attributes_seq = header.generation.0;
        let content = attributes::encode(content);
        let content = secret::Bytes::init_with(content.len(), |bytes| bytes.copy_from_slice(&content))?;
        let blob = self.parent.wrap(header.parent, &[(self.shelf.registry.attributes_binding(&header), &content)]).await?.pop();
        Ok(self.shelf.registry.seal_row(header, None, blob, terms))
    }
}

/// How many IVs may be reserved on top of `used`.
fn block_after(used: u64) -> u64 {
    IV_BLOCK.min(IVS_MAX.saturating_sub(used))
}

/// Where a record row goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowHeader {
    /// Its id.
    pub(crate) id: RowId,
    /// Its owner.
    pub(crate) owner: crate::id::TenantId,
    /// The stored generation, `None` for a new row.
    pub(crate) expected: Option<Generation>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_block_ends_exactly_at_the_limit() {
        assert_eq!(block_after(0), IV_BLOCK);
        assert_eq!(block_after(IVS_MAX - 1), 1);
        assert_eq!((block_after(IVS_MAX), block_after(u64::MAX)), (0, 0));
    }
}
