//! Orders to give everything below a key new material, because others may know the key: a record that outlives a crash, until a whole walk has found
//! nothing older than the order (ARCH-22).
//!
//! The record says up to when what lies below was made, and not what that is: which versions are older, their rows say. So an order that is carried out
//! twice does nothing the second time, and one that was cut off goes on where it was.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::budget::RowHeader;
use crate::error::Error;
use crate::id::{Generation, Layer, RowId, TenantId, Time};
use crate::policy::Action;
use crate::port::Change;
use crate::record::{Outcome, Record};
use crate::renew::Standing;
use crate::unit::Unit;
use crate::vault::Vault;

/// Most orders that wait at a time.
const ORDERS_MAX: usize = 1024;
/// An order is for what is made in this time after it was given, too, in milliseconds: until its commit keys still come under the compromised version.
const UNTIL_MILLIS: i64 = 1000;
/// "renew" in ASCII: there is one such record a store, beside the cluster's own.
const ORDERS: u128 = 0x72_65_6e_65_77;

/// An order to renew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// What lies below this tenant's key; `None`: below the IVK.
    pub tenant: Option<TenantId>,
    /// Whatever was made up to then. It is carried out afterwards, so that no new version is due again.
    pub until: Time,
}

impl Order {
    /// Does the order want this key replaced? The tenant's own key was, with the order.
    #[must_use]
    pub fn wants(&self, standing: &Standing) -> bool {
        let is_below = self.tenant.is_none_or(|tenant| tenant == standing.tenant && standing.key.layer != Layer::L2);
        is_below && standing.made <= self.until
    }
}

/// By tenant, as stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Orders(BTreeMap<Option<TenantId>, Time>);

fn orders_row() -> RowId {
    RowId::new(Layer::Cluster, Uuid::from_u128(ORDERS))
}

impl Vault {
    /// The orders that wait, also those whose time has not come yet.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the record does not verify; the store's.
    pub async fn orders(&self) -> Result<Vec<Order>, Error> {
        let (_, Orders(orders)) = self.stored_orders().await?;
        // When it was given it was so late already. If nobody remembers that and the clock was set back, the order would wait for it to be so late again.
        let given = orders.values().map(|until| Time::from_millis(until.millis().saturating_sub(UNTIL_MILLIS)));
        given.max().into_iter().for_each(|given| self.clock.not_before(given));
        Ok(orders.into_iter().map(|(tenant, until)| Order { tenant, until }).collect())
    }

    /// Stages an order for everything made up to now. A second one of the same scope takes the place of the first.
    ///
    /// # Errors
    /// [`Error::Denied`] if too many wait; the store's.
    pub(crate) async fn order(&self, unit: &mut Unit, tenant: Option<TenantId>) -> Result<(), Error> {
        let (expected, Orders(mut orders)) = self.stored_orders().await?;
        orders.insert(tenant, Time::from_millis(self.now().millis().saturating_add(UNTIL_MILLIS)));
        if orders.len() > ORDERS_MAX {
            return Err(Error::Denied {
                why: "there are 1024 orders to renew keys: wait until some are done, see `strongroom reencrypt status`",
            });
        }
        self.stage_orders(unit, expected, Orders(orders), Action::OrderRenewal).await
    }

    /// Stages that these orders are done; one that was given anew meanwhile stays.
    ///
    /// # Errors
    /// The store's.
    pub async fn end_orders(&self, unit: &mut Unit, done: &[Order]) -> Result<(), Error> {
        let (expected, Orders(mut orders)) = self.stored_orders().await?;
        let before = orders.len();
        orders.retain(|tenant, until| !done.contains(&Order { tenant: *tenant, until: *until }));
        if orders.len() == before {
            return Ok(());
        }
        self.stage_orders(unit, expected, Orders(orders), Action::EndRenewal).await
    }

    async fn stored_orders(&self) -> Result<(Option<Generation>, Orders), Error> {
        match self.shelf.existing(orders_row()).await {
            Ok(row) => Ok((Some(row.header.generation), self.content(&row).await?)),
            Err(Error::NotFound) => Ok((None, Orders::default())),
            Err(error) => Err(error),
        }
    }

    async fn stage_orders(&self, unit: &mut Unit, expected: Option<Generation>, orders: Orders, action: Action) -> Result<(), Error> {
        let id = orders_row();
        let row = self.record_row(RowHeader { id, owner: TenantId::SYSTEM, expected }, &orders, Vec::new()).await?;
        let (time, session, generation) = (self.now(), unit.session(), Some(row.header.generation));
        unit.stage(match expected {
            None => Change::Insert(row),
            Some(expected) => Change::Update { expected, row },
        });
        unit.record_also(Record { time, session, action, object: Some(id), version: None, generation, outcome: Outcome::Success });
        Ok(())
    }
}
