//! Usage Limits (KMIP 1.4 §3.21): how much a key may protect in its life, counted so that no crash and no node ever gives more.
//!
//! What a key has left is in a row of its own. A share of it is reserved by a durable compare-and-swap before it is used, and spent from memory, so that
//! few uses touch the disk; what a node has not used of its share when it stops is lost, which errs to the safe side: at most a 64th of the limit.
//! A client that protects data itself reserves its part by Get Usage Allocation, from the same row.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::attributes::UsageLimits;
use crate::budget::RowHeader;
use crate::error::Error;
use crate::id::{Layer, RowId};
use crate::lifecycle::Purpose;
use crate::policy::verb::{GetUsageAllocation, UsesMaterial};
use crate::policy::{Action, Authorized};
use crate::port::Change;
use crate::record::{Outcome, Record};
use crate::row::Header;
use crate::unit::Unit;
use crate::vault::{Vault, View, Want};

/// A node reserves the limit divided by this at a time, or what is asked for if that is more.
const SHARES: u64 = 64;
/// How often a lost race for a share is repeated.
const RESERVE_ATTEMPTS_MAX: usize = 8;

/// What one use of a key protects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protected {
    /// So many bytes.
    pub bytes: usize,
    /// So many objects: 1, but for the later parts of one.
    pub objects: u64,
}

impl Protected {
    /// A whole object, or the first part of one.
    #[must_use]
    pub fn object(bytes: usize) -> Self {
        Self { bytes, objects: 1 }
    }

    /// A later part of an object.
    #[must_use]
    pub fn part(bytes: usize) -> Self {
        Self { bytes, objects: 0 }
    }

    pub(crate) fn units(self, limits: &UsageLimits) -> u64 {
        if limits.unit == UsageLimits::BYTES { self.bytes as u64 } else { self.objects }
    }
}

/// What this node has left of the shares that it reserved.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    left: Mutex<HashMap<RowId, u64>>,
}

/// How much of a key's limit was given away, stored.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Given {
    units: u64,
}

impl Shares {
    fn take(&self, id: RowId, units: u64) -> bool {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        match left.get_mut(&id) {
            Some(left) if *left >= units => {
                *left -= units;
                true
            }
            _ => units == 0,
        }
    }

    pub(crate) fn give(&self, id: RowId, units: u64) {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner).entry(id).or_default() += units;
    }

    fn left(&self, id: RowId) -> u64 {
        self.left.lock().unwrap_or_else(PoisonError::into_inner).get(&id).copied().unwrap_or(0)
    }
}

fn given_row(key: RowId) -> RowId {
    RowId::new(Layer::UsageBudget, key.uuid)
}

impl Vault {
    /// As [`Vault::open`], for what protects `protected`: that is taken from the key's Usage Limits first, if it has any, and given back if `use_it` fails.
    ///
    /// # Errors
    /// As [`Vault::open`], and [`Error::UsageExhausted`].
    pub async fn protect<V: UsesMaterial, R, E: From<Error>>(
        &self,
        unit: &Unit,
        authorized: Authorized<V>,
        protected: Protected,
        use_it: impl FnOnce(&[u8], &View) -> Result<R, E>,
    ) -> Result<R, E> {
        let (entry, view) = self.ready::<V>(unit, &authorized).await?;
        let limits = view.attributes.usage_limits.filter(|_| V::PURPOSE == Purpose::Protect);
        if let Some(limits) = limits {
            Box::pin(self.spend(&view.header, &limits, protected)).await?;
        }
        let used = self.lend(unit, &entry, |bytes| use_it(bytes, &view)).map_err(E::from).and_then(|used| used);
        if let (Err(_), Some(limits)) = (&used, limits) {
            self.shares.give(view.header.id, protected.units(&limits));
        }
        used
    }

    /// Takes what a use protects from the key's limits.
    pub(crate) async fn spend(&self, key: &Header, limits: &UsageLimits, protected: Protected) -> Result<(), Error> {
        self.take_units(key, limits, protected.units(limits)).await
    }

    async fn take_units(&self, key: &Header, limits: &UsageLimits, units: u64) -> Result<(), Error> {
        for _ in 0..RESERVE_ATTEMPTS_MAX {
            if self.shares.take(key.id, units) {
                return Ok(());
            }
            match self.reserve_units(key, limits, units).await {
                Ok(0) if self.shares.take(key.id, units) => return Ok(()),
                Ok(0) => return Err(Error::UsageExhausted { left: self.shares.left(key.id), wants: units }),
                Ok(reserved) => self.shares.give(key.id, reserved),
                Err(Error::Raced) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::Raced)
    }

    /// Reserves a share that is enough for `units`, or all that is left; returns how much.
    async fn reserve_units(&self, key: &Header, limits: &UsageLimits, units: u64) -> Result<u64, Error> {
        let (given, expected) = self.given(key.id).await?;
        let share = share_after(limits.total, given, units);
        if share == 0 {
            return Ok(0);
        }
        let place = RowHeader { id: given_row(key.id), owner: key.owner.tenant, expected };
        let row = self.record_row(place, &Given { units: given + share }, Vec::new()).await?;
        let generation = row.header.generation;
        let mut unit = self.begin(self.system);
        unit.stage(match expected {
            None => Change::Insert(row),
            Some(expected) => Change::Update { expected, row },
        });
        let (time, session, action) = (self.now(), self.system, Action::GetUsageAllocation);
        let (object, version, generation) = (Some(key.id), Some(key.version), Some(generation));
        unit.record(Record { time, session, action, object, version, generation, outcome: Outcome::Success });
        let _receipt = unit.commit().await?;
        Ok(share)
    }

    /// How much of a key's limit was given away, and the generation of the row that says so.
    async fn given(&self, key: RowId) -> Result<(u64, Option<crate::id::Generation>), Error> {
        match self.shelf.existing(given_row(key)).await {
            Ok(row) => Ok((self.content::<Given>(&row).await?.units, Some(row.header.generation))),
            Err(Error::NotFound) => Ok((0, None)),
            Err(error) => Err(error),
        }
    }

    /// Gives a client so much of the key's limit, to protect that itself.
    ///
    /// # Errors
    /// [`Error::Unlimited`] for a key without limits; [`Error::WrongState`] for one that protects nothing now; [`Error::UsageExhausted`].
    pub async fn allocate(&self, unit: &Unit, authorized: Authorized<GetUsageAllocation>, units: u64) -> Result<View, Error> {
        let entry = self.entry(unit, &authorized, Want::Attributes).await?;
        let view = self.view(&entry);
        let limits = view.attributes.usage_limits.ok_or(Error::Unlimited)?;
        self.must_allow_by_time(&view, Purpose::Protect)?;
        self.take_units(&view.header, &limits, units).await?;
        Ok(view)
    }

    /// How much of a key's limit is left: what was given to nobody, and what this node has reserved and not used.
    ///
    /// # Errors
    /// The store's.
    pub async fn usage_left(&self, key: RowId, limits: &UsageLimits) -> Result<u64, Error> {
        let (given, _) = self.given(key).await?;
        Ok((limits.total.saturating_sub(given) + self.shares.left(key)).min(limits.total))
    }

    /// Stages that so much of a new key's limit was used before it came here.
    ///
    /// # Errors
    /// The parent's.
    pub(crate) async fn stage_used(&self, unit: &mut Unit, key: &Header, units: u64) -> Result<(), Error> {
        let place = RowHeader { id: given_row(key.id), owner: key.owner.tenant, expected: None };
        unit.stage(Change::Insert(self.record_row(place, &Given { units }, Vec::new()).await?));
        Ok(())
    }

    /// Has anything of a key's limit been given away? From then on the limit stays what it is.
    ///
    /// # Errors
    /// The store's.
    pub async fn is_usage_begun(&self, key: RowId) -> Result<bool, Error> {
        Ok(self.given(key).await?.0 > 0)
    }
}

/// How much to reserve of a limit of which `given` is given away, for somebody who needs `units`.
fn share_after(total: u64, given: u64, units: u64) -> u64 {
    units.max(total / SHARES).max(1).min(total.saturating_sub(given))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_to_the_limit_and_end_there() {
        let check = |total, given, units, expected| assert_eq!(share_after(total, given, units), expected, "{total} {given} {units}");
        check(10, 0, 1, 1);
        check(10, 9, 1, 1);
        check(10, 10, 1, 0);
        check(6400, 0, 1, 100);
        check(6400, 6350, 1, 50);
        check(6400, 0, 5000, 5000);
        check(100, 60, 50, 40);
        check(u64::MAX, u64::MAX, u64::MAX, 0);
        check(1, 2, 1, 0);
    }

    #[test]
    fn bytes_count_by_length_and_objects_by_number() {
        let limits = |unit| UsageLimits { total: 10, unit };
        let (bytes, objects) = (limits(UsageLimits::BYTES), limits(UsageLimits::OBJECTS));
        assert_eq!((Protected::object(7).units(&bytes), Protected::object(7).units(&objects)), (7, 1));
        assert_eq!((Protected::part(7).units(&bytes), Protected::part(7).units(&objects)), (7, 0));
    }
}
