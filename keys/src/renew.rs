//! Keys that get their next version without their owner's asking: a tenant's L2, a resource's L2.1 and a service's default L3 that are old enough, and
//! what has ended by its dates.
//!
//! Whether a version is due is told by when it was made, so there is no list of work: a walk that was cut off begins anew, and passes over what has a
//! new version already. An edge group's own L3 is left alone by schedules, because what lies under it is in the edges' hands.
//! An order is for all L3 below, however they were made, edge groups' too: what edges have under the version before goes on opening by it.
//!
//! A key's state follows from its dates at every use, with or without this: [`Vault::expire`] writes down what holds already, so that whoever reads the
//! store, or the audit log, sees it too (ARCH-21). A tenant's L2 and a default L3 have no end that could pass: they are in use until they are replaced.

use crate::attributes::Attributes;
use crate::error::Error;
use crate::id::{KeyVersion, Layer, RowId, ScopeName, TenantId, Time};
use crate::lifecycle::State;
use crate::order::Order;
use crate::policy::Action;
use crate::port::Query;
use crate::record::{Outcome, Record, Subject};
use crate::resource::Resource;
use crate::row::{Header, Row};
use crate::sweep::Finding;
use crate::tenancy::{Service, Tenant};
use crate::unit::Unit;
use crate::vault::{Vault, View};

/// Most rows of one step.
const STEP_ROWS_MAX: usize = 4096;
/// What is walked, in this order: a tenant's key is replaced before what lies under it, so that the new versions lie under the new one.
const LAYERS: [Layer; 3] = [Layer::Tenant, Layer::Resource, Layer::Service];

/// The Active version of a key that always has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The version.
    pub key: RowId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Its number.
    pub version: KeyVersion,
    /// When it was made.
    pub made: Time,
    /// When it became the Active one, from which a schedule counts: for an L2.1 that was rolled back to, later than it was made.
    pub since: Time,
}

/// How far a walk has come.
#[derive(Debug, Clone, Default)]
pub struct RenewCursor {
    /// Rows of `LAYERS[layer]` below `before`.
    layer: usize,
    before: Option<RowId>,
}

/// What one step of a walk has staged.
#[derive(Debug, Default)]
pub struct Renewed {
    /// Where to go on; `None` after the last step.
    pub next: Option<RenewCursor>,
    /// How many keys get a new version with the unit.
    pub renewed: usize,
    /// Records and keys that do not verify; they stay as they are.
    pub refused: Vec<Finding>,
}

/// What one step over all L3 has staged that orders want.
#[derive(Debug, Default)]
pub struct RenewedKeys {
    /// Where to go on; `None` after the last step.
    pub next: Option<RowId>,
    /// How many keys get a new version with the unit.
    pub renewed: usize,
    /// Keys that do not verify; they stay as they are.
    pub refused: Vec<Finding>,
}

/// What one step over the keys with an end has staged.
#[derive(Debug, Default)]
pub struct Expired {
    /// Where to go on; `None` after the last step.
    pub next: Option<RowId>,
    /// How many keys are Deprecated with the unit.
    pub ended: usize,
    /// How many of them get a new version with it.
    pub renewed: usize,
    /// Keys that do not verify; they stay as they are.
    pub refused: Vec<Finding>,
}

impl Vault {
    /// Stages new versions, with new material, of those L2, L2.1 and default L3 that `is_due` picks among the next `limit` tenants, resources or services.
    ///
    /// # Errors
    /// The store's; no randomness, no locked memory. A row that does not verify is no error: it is named, and the walk goes on behind it.
    pub async fn renew(
        &self,
        unit: &mut Unit,
        cursor: RenewCursor,
        limit: usize,
        mut is_due: impl FnMut(&Standing) -> bool,
    ) -> Result<Renewed, Error> {
        let limit = limit.clamp(1, STEP_ROWS_MAX);
        let Some(layer) = LAYERS.get(cursor.layer).copied() else { return Ok(Renewed::default()) };
        let system = self.tenant_by_name(&ScopeName::system()).await?.map(|tenant| tenant.id);
        let page = self.shelf.store.find(&Query { layer, terms: Vec::new(), before: cursor.before, limit }).await?;
        let mut renewed = Renewed::default();
        for hint in &page {
            let is_groups = layer == Layer::Service && Some(hint.header.owner.tenant) == system;
            if is_groups {
                continue;
            }
            match self.renew_key_of(unit, hint.header.id, &mut is_due).await {
                Ok(is_new) => renewed.renewed += usize::from(is_new),
                Err(Error::Corrupt { what, .. }) => renewed.refused.push(Finding { row: hint.header.id, what }),
                // Removed since it was found.
                Err(Error::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        renewed.next = match page.last().filter(|_| page.len() == limit) {
            Some(row) => Some(RenewCursor { before: Some(row.header.id), ..cursor }),
            None if cursor.layer + 1 < LAYERS.len() => Some(RenewCursor { layer: cursor.layer + 1, before: None }),
            None => None,
        };
        Ok(renewed)
    }

    async fn renew_key_of(&self, unit: &mut Unit, holder: RowId, is_due: &mut impl FnMut(&Standing) -> bool) -> Result<bool, Error> {
        let record = self.shelf.existing(holder).await?;
        let key = match holder.layer {
            Layer::Tenant => self.content::<Tenant>(&record).await?.key,
            Layer::Resource => self.content::<Resource>(&record).await?.key,
            _ => self.content::<Service>(&record).await?.default_key,
        };
        self.renew_key(unit, key, is_due).await
    }

    async fn renew_key(&self, unit: &mut Unit, key: RowId, mut is_due: impl FnMut(&Standing) -> bool) -> Result<bool, Error> {
        let mut row = self.row_in(unit, key).await?;
        let mut view = self.view_of_row(&row).await?;
        if view.header.generation != row.header.generation {
            // It lay under a compromised version, and the look has moved it. Others may have replaced it since, so it is looked at once more: a row that is
            // newer than what was seen of it would be changed without a conflict.
            row = self.row_in(unit, key).await?;
            view = self.view_of_row(&row).await?;
        }
        let Header { owner, version, .. } = row.header;
        let (made, since) = (view.attributes.dates.initial, view.in_force_since());
        // By its dates one that is stored as Active may have ended, and one that was replaced stays what it was.
        let is_in_force = matches!(view.state, State::PreActive | State::Active) && view.attributes.links.replacement.is_none();
        if !is_in_force || !is_due(&Standing { key, tenant: owner.tenant, version, made, since }) {
            return Ok(false);
        }
        let mark = unit.mark();
        let new =
            self.rekey_row(unit, row, view, |_, attributes, _| Ok::<_, Error>(attributes)).await.inspect_err(|_| unit.rewind(mark))?;
        self.note(unit, Action::ReKey, &new.header);
        Ok(true)
    }

    /// Stages new versions, with new material, of those among the next `limit` L3 that `orders` want, in use or not yet. After [`Vault::renew`], which takes
    /// default keys with what wraps them, these are further keys of services and the keys of edge groups.
    ///
    /// # Errors
    /// As [`Vault::renew`].
    pub async fn renew_ordered(
        &self,
        unit: &mut Unit,
        before: Option<RowId>,
        limit: usize,
        orders: &[Order],
    ) -> Result<RenewedKeys, Error> {
        let limit = limit.clamp(1, STEP_ROWS_MAX);
        let page = self.shelf.store.find(&Query { layer: Layer::L3, terms: Vec::new(), before, limit }).await?;
        let may_be = |header: &Header| {
            let is_below = orders.iter().any(|order| order.tenant.is_none_or(|tenant| tenant == header.owner.tenant));
            is_below && matches!(header.state, State::PreActive | State::Active)
        };
        let mut renewed = RenewedKeys::default();
        for id in page.iter().filter(|hint| may_be(&hint.header)).map(|hint| hint.header.id) {
            let is_wanted = |standing: &Standing| orders.iter().any(|order| order.wants(standing));
            match self.renew_key(unit, id, is_wanted).await {
                Ok(is_new) => renewed.renewed += usize::from(is_new),
                Err(Error::Corrupt { what, .. }) => renewed.refused.push(Finding { row: id, what }),
                // Removed since it was found.
                Err(Error::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        renewed.next = page.last().filter(|_| page.len() == limit).map(|row| row.header.id);
        Ok(renewed)
    }

    /// Stages that keys among the next `limit` L3 whose end has come are Deprecated, which they are by their dates.
    ///
    /// - `is_replaced`: the newest version of a chain that ends so gets a new one, which lives as long as it has.
    ///
    /// # Errors
    /// As [`Vault::renew`].
    pub async fn expire(&self, unit: &mut Unit, before: Option<RowId>, limit: usize, is_replaced: bool) -> Result<Expired, Error> {
        let limit = limit.clamp(1, STEP_ROWS_MAX);
        let page = self.shelf.store.find(&Query { layer: Layer::L3, terms: Vec::new(), before, limit }).await?;
        let (now, mut expired) = (self.now(), Expired::default());
        for id in page.iter().filter(|hint| has_ended(&hint.header, now)).map(|hint| hint.header.id) {
            let mark = unit.mark();
            match self.end(unit, id, is_replaced).await {
                Ok(Some(is_new)) => {
                    expired.ended += 1;
                    expired.renewed += usize::from(is_new);
                }
                Ok(None) => {}
                Err(Error::Corrupt { what, .. }) => {
                    unit.rewind(mark);
                    expired.refused.push(Finding { row: id, what });
                }
                Err(Error::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        expired.next = page.last().filter(|_| page.len() == limit).map(|row| row.header.id);
        Ok(expired)
    }

    /// Stages one key's end, if it has come and is not written down yet; returns whether another version takes its place.
    async fn end(&self, unit: &mut Unit, id: RowId, is_replaced: bool) -> Result<Option<bool>, Error> {
        // What a search returns is only a hint.
        let row: Row = self.shelf.existing(id).await?;
        let view = self.view_of_row(&row).await?;
        let now = self.now();
        if !has_ended(&row.header, now) || view.state != State::Deprecated {
            return Ok(None);
        }
        let is_new = is_replaced && view.attributes.links.replacement.is_none();
        if is_new {
            let new = self.rekey_row(unit, row, view, |old, new, now| Ok::<_, Error>(lives_as_long(old, new, now))).await?;
            self.note(unit, Action::ReKey, &new.header);
            let old = unit.staged(id).and_then(|change| change.row()).map(|row| row.header.clone());
            old.iter().for_each(|header| self.note(unit, Action::Expire, header));
        } else {
            let mut attributes = (*view.attributes).clone();
            attributes.touch(now);
            let ended = self.stage_change(unit, row, view.state, attributes).await?;
            self.note(unit, Action::Expire, &ended.header);
        }
        Ok(Some(is_new))
    }

    fn note(&self, unit: &mut Unit, action: Action, header: &Header) {
        let Subject { object, version, generation } = Subject::from(header);
        let (time, session) = (self.now(), unit.session());
        unit.record(Record { time, session, action, object, version, generation, outcome: Outcome::Success });
    }
}

impl View {
    /// When an Active version became that. Of an L2.1 nothing changes after it but by a roll-back.
    pub(crate) fn in_force_since(&self) -> Time {
        let dates = &self.attributes.dates;
        if self.header.id.layer == Layer::L21 { dates.last_change } else { dates.initial }
    }
}

/// Its end has come, and the stored state does not say so.
fn has_ended(header: &Header, now: Time) -> bool {
    matches!(header.state, State::PreActive | State::Active) && header.expiry.is_some_and(|expiry| expiry <= now)
}

/// The attributes of a replacement that ends as long after it begins as the version before it did.
fn lives_as_long(old: &View, new: Attributes, now: Time) -> Attributes {
    let dates = &old.attributes.dates;
    let (begun, ended) = (dates.activation.unwrap_or(dates.initial), dates.deactivation.unwrap_or(now));
    let life = ended.millis().saturating_sub(begun.millis()).max(1);
    let mut new = new;
    new.dates.deactivation = Some(Time::from_millis(now.millis().saturating_add(life)));
    new
}
