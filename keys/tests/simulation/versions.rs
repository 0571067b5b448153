//! What becomes of versions: their roll-back, retirement and destruction, orders to renew what lies below one, and what edges say that they have left.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use keys::Error;
use keys::id::{KeyVersion, Layer, RowId};
use keys::lifecycle::{Event, State};
use keys::order::Order;
use keys::policy::verb::{Destroy, ReKey, RetireKey, RollBack};
use keys::policy::{Action, Role};
use keys::reencrypt::Cursor;
use keys::references::References;
use keys::renew::{RenewCursor, Renewed};
use keys::retire::RetireError;
use keys::row::ParentRef;
use keys::uses::{Look, Looked, Uses};

use super::Simulation;
use super::executor::Place;
use super::model::{Effect, must};
use super::nodes::SYSTEM;
use super::operations::{Done, Op, Who, key_of};
use super::plant::Plant;
use super::story::{Begun, Kind, Work, by_state};

/// Rows that a look what lies under a version looks at in one go; nothing else asks for just so many.
pub(crate) const LOOK_ROWS: usize = 9;
/// So often a walk in one go is begun anew that loses races.
const TRIES_MAX: usize = 20;

/// How far somebody has come who carries out orders to renew.
#[derive(Debug, Clone)]
pub(crate) struct Renewal {
    orders: Vec<Order>,
    /// `None`: all was looked at.
    cursor: Option<RenewCursor>,
}

const fn held() -> Error {
    Error::Denied { why: "edges, or other keys, need it" }
}

impl Op {
    pub(crate) async fn roll_back(&self, who: &Who, id: RowId) -> Done {
        let grants = self.grants(who).await?;
        let mut unit = self.begin();
        let header = self.vault.header(&unit, &grants, id).await?;
        self.vault.roll_back(&mut unit, grants.check::<RollBack>(&header)?).await?;
        self.record(&mut unit, Action::RollBack, Some(&header));
        self.commit(unit, Effect::RolledBack { to: id }).await
    }

    pub(crate) async fn rekey_compromised(&self, who: &Who, id: RowId, renews: bool) -> Done {
        let grants = self.grants(who).await?;
        let mut unit = self.begin();
        let header = self.vault.header(&unit, &grants, id).await?;
        let new = self.vault.rekey_compromised(&mut unit, grants.check::<ReKey>(&header)?, renews).await?;
        self.record(&mut unit, Action::ReKey, Some(&header));
        self.commit(unit, Effect::Replaced { old: id, new: key_of(&new), is_compromised: true, renews }).await
    }

    /// Looks at all that may lie under a version; how much that was is told to the model.
    async fn look_through(&self, parent: ParentRef, mut look: Look) -> Result<Uses, Error> {
        loop {
            match self.vault.look_on(look, LOOK_ROWS).await? {
                Looked::On(further) => look = further,
                Looked::Through(uses) => {
                    self.model.borrow_mut().counted.push((self.session, parent, uses.keys));
                    return Ok(uses);
                }
            }
        }
    }

    async fn look_under_ivk(&self, version: KeyVersion) -> Result<Uses, Error> {
        let parent = ParentRef { chain: self.vault.ivk_chain()?, version };
        self.look_through(parent, self.vault.look_under_ivk(version).await?).await
    }

    /// Archives a version of the IVK, if nothing lies under it.
    pub(crate) async fn retire_ivk(&self, version: KeyVersion) -> Done {
        let unused = self.look_under_ivk(version).await?.unused().ok_or_else(held)?;
        let mut unit = self.begin();
        self.vault.retire_ivk(&mut unit, version, unused).await?;
        self.commit(unit, Effect::EndedIvk { version, event: Event::Retire }).await
    }

    /// Destroys a version of the IVK, if nothing lies under it.
    pub(crate) async fn destroy_ivk(&self, version: KeyVersion) -> Done {
        let unused = self.look_under_ivk(version).await?.unused().ok_or_else(held)?;
        let mut unit = self.begin();
        self.vault.destroy_ivk(&mut unit, version, unused).await?;
        self.commit(unit, Effect::EndedIvk { version, event: Event::Destroy }).await
    }

    /// Archives a version of an L2 or L2.1, if nothing lies under it.
    pub(crate) async fn retire_parent(&self, who: &Who, id: RowId) -> Done {
        let grants = self.grants(who).await?;
        let mut unit = self.begin();
        let header = self.vault.header(&unit, &grants, id).await?;
        let authorized = grants.check::<RetireKey>(&header)?;
        let parent = ParentRef { chain: header.chain, version: header.version };
        let unused = self.look_through(parent, self.vault.look_under(&header)?).await?.unused().ok_or_else(held)?;
        self.vault.retire_parent(&mut unit, authorized, unused).await?;
        self.record(&mut unit, Action::RetireKey, Some(&header));
        self.commit(unit, Effect::Moved { id, event: Event::Retire }).await
    }

    /// Destroys a version of an L2 or L2.1: an archived one, or a compromised one under which nothing lies.
    pub(crate) async fn destroy_parent(&self, who: &Who, id: RowId) -> Done {
        let grants = self.grants(who).await?;
        let mut unit = self.begin();
        let header = self.vault.header(&unit, &grants, id).await?;
        let authorized = grants.check::<Destroy>(&header)?;
        if header.state == State::Compromised {
            let parent = ParentRef { chain: header.chain, version: header.version };
            let unused = self.look_through(parent, self.vault.look_under(&header)?).await?.unused().ok_or_else(held)?;
            self.vault.destroy_compromised(&mut unit, authorized, unused).await?;
        } else {
            self.vault.destroy(&mut unit, authorized).await?;
        }
        self.record(&mut unit, Action::Destroy, Some(&header));
        self.commit(unit, Effect::Moved { id, event: Event::Destroy }).await
    }

    /// Archives a version of an L3, if no edge needs it.
    pub(crate) async fn retire_l3(&self, who: &Who, id: RowId) -> Done {
        let waits_for = self.model.borrow().waits_for(id);
        let grants = self.grants(who).await?;
        let mut unit = self.begin();
        let header = self.vault.header(&unit, &grants, id).await?;
        let retired = self.vault.retire_key(&mut unit, grants.check::<RetireKey>(&header)?).await;
        retired.map_err(|error| match error {
            RetireError::Held { .. } => held(),
            RetireError::Keys(error) => error,
        })?;
        self.record(&mut unit, Action::RetireKey, Some(&header));
        self.commit(unit, Effect::RetiredL3 { id, waits_for }).await
    }

    /// One step of who carries out the orders to renew, as a core's keeper does; where it stands nobody knows after a crash.
    pub(crate) async fn renew(&self, renewal: &RefCell<Option<Renewal>>, limit: usize, plant: Plant) -> Done {
        let begun = renewal.borrow().clone();
        let Renewal { orders, cursor } = match begun {
            Some(begun) => begun,
            None => {
                let now = self.vault.now();
                let orders: Vec<Order> = self.vault.orders().await?.into_iter().filter(|order| order.until < now).collect();
                Renewal { orders, cursor: Some(RenewCursor::default()) }
            }
        };
        if orders.is_empty() {
            return Ok(());
        }
        let mut unit = self.begin();
        let Some(cursor) = cursor.filter(|_| plant != Plant::EndsOrdersEarly) else {
            self.vault.end_orders(&mut unit, &orders).await?;
            // Nothing is staged if somebody else has ended them.
            if !unit.lost().is_empty() {
                self.commit(unit, Effect::Nothing).await?;
            }
            *renewal.borrow_mut() = None;
            return Ok(());
        };
        let is_due = |standing: &keys::renew::Standing| orders.iter().any(|order| order.wants(standing));
        let Renewed { next, renewed, refused } = self.vault.renew(&mut unit, cursor, limit, is_due).await?;
        if !refused.is_empty() {
            self.broken(format!("a renewal refused {refused:?}"));
        }
        if renewed > 0 {
            let new = unit.records().iter().filter_map(|record| unit.staged(record.object?)?.row());
            let new = new.map(|row| row.header.clone()).collect();
            self.commit(unit, Effect::Renewed { new }).await?;
        }
        *renewal.borrow_mut() = Some(Renewal { orders, cursor: next });
        Ok(())
    }

    /// What an edge's keepers do from the news of a new version to the report: lease, whole walk, lease.
    pub(crate) async fn catch_up(&self) -> Done {
        self.vault.renew_lease().await?;
        let (mut cursor, mut tries) = (None::<Cursor>, 0);
        loop {
            let mut unit = self.vault.begin(SYSTEM);
            let walked = self.vault.reencrypt(&mut unit, cursor.clone(), 16).await?;
            match unit.commit().await.map_err(Error::from) {
                Err(Error::Raced) if tries < TRIES_MAX => {
                    tries += 1;
                    continue;
                }
                done => done?.answered(),
            }
            if let Some(references) = walked.references {
                self.claim(references);
            }
            cursor = walked.next;
            if cursor.is_none() {
                return self.vault.renew_lease().await;
            }
        }
    }

    /// An edge claims to have left versions; what it says is held against what it has.
    pub(crate) fn claim(&self, references: References) {
        self.model.borrow_mut().claims.extend(references.left.iter().copied());
        self.vault.note_references(references);
    }
}

impl Simulation {
    /// What may become of a version of an L2, L2.1 or L3.
    pub(crate) fn versions(&mut self, kind: Kind) -> Option<Begun> {
        let layers: &[Layer] = match kind {
            Kind::RollBack | Kind::RekeyResource => &[Layer::L21],
            Kind::RetireL3 => &[Layer::L3],
            _ => &[Layer::L2, Layer::L21],
        };
        // Mostly one that it can be done to.
        let wanted = match kind {
            Kind::RekeyResource | Kind::RekeyCompromised => State::Active,
            Kind::DestroyParent => *self.dice.pick(&[State::Retired, State::Compromised])?,
            _ => State::Deprecated,
        };
        let is_choosy = self.dice.percent(80);
        let model = self.models[0].borrow();
        let fits = |key: &&super::model::Key| layers.contains(&key.header.id.layer) && (!is_choosy || key.state == wanted);
        let keys: Vec<_> = model.keys.values().filter(fits).collect();
        let (key, header) = self.dice.pick(&keys).map(|key| ((*key).clone(), key.header.clone()))?;
        let (id, state) = (header.id, key.state_at(self.now(0)));
        let tenant = model.tenants.iter().find(|(_, tenant)| tenant.id == header.owner.tenant)?;
        let who = Who { role: Role::TenantAdmin, tenant: tenant.0.clone(), service: None };
        let is_disabled = tenant.1.is_disabled;
        let (renews, by_date) = (header.id.layer == Layer::L2 && self.dice.percent(50), state != key.state);
        let is_ended = state.is_destroyed() || state == State::Retired;
        let (mut ends, work): (Vec<&'static str>, Box<dyn FnOnce(Op) -> Work>) = match kind {
            Kind::RollBack => {
                (vec![by_state(state == State::Deprecated)], Box::new(move |op| Box::pin(async move { op.roll_back(&who, id).await })))
            }
            Kind::RekeyResource | Kind::RekeyCompromised => {
                let ends = if key.is_replaced { "Replaced" } else { by_state(!is_ended) };
                let is_compromised = kind == Kind::RekeyCompromised;
                let work = move |op: Op| -> Work {
                    Box::pin(
                        async move { if is_compromised { op.rekey_compromised(&who, id, renews).await } else { op.rekey(&who, id).await } },
                    )
                };
                (vec![ends], Box::new(work))
            }
            Kind::RetireL3 => {
                let ends = match state {
                    // A further key of a service waits for nobody.
                    State::Deprecated if model.waits_for(id).is_empty() => vec!["Ok"],
                    State::Deprecated => vec!["Ok", "Denied"],
                    _ => vec!["WrongState"],
                };
                (ends, Box::new(move |op| Box::pin(async move { op.retire_l3(&who, id).await })))
            }
            Kind::RetireParent => {
                let is_needed = model.under(ParentRef { chain: header.chain, version: header.version }) > 0;
                let ends = match state {
                    // It is looked under before it is refused, because a compromised one may be destroyed after such a look.
                    State::Deprecated | State::Compromised if is_needed => "Denied",
                    _ => by_state(state == State::Deprecated),
                };
                (vec![ends], Box::new(move |op| Box::pin(async move { op.retire_parent(&who, id).await })))
            }
            Kind::DestroyParent => {
                let is_needed = model.under(ParentRef { chain: header.chain, version: header.version }) > 0;
                let ends = match state {
                    State::Compromised if is_needed => "Denied",
                    _ => by_state(matches!(state, State::Retired | State::Compromised)),
                };
                (vec![ends], Box::new(move |op| Box::pin(async move { op.destroy_parent(&who, id).await })))
            }
            _ => {
                let ends = if model.is_default(id) {
                    "Denied"
                } else {
                    by_state(!matches!(state, State::Compromised | State::DestroyedCompromised))
                };
                (vec![ends], Box::new(move |op| Box::pin(async move { op.revoke(&who, id, true).await })))
            }
        };
        if is_disabled {
            ends = vec!["Denied"];
        }
        let ended = if by_date { ", by its dates" } else { "" };
        Some(Begun { place: 0, says: format!("{kind:?} {id} ({state:?}{ended}), renews {renews}"), ends, serves: None, work })
    }

    /// The versions of the IVK are retired and destroyed, mostly those that are not needed.
    pub(crate) fn ivk_versions(&mut self, kind: Kind) -> Option<Begun> {
        let model = self.models[0].borrow();
        let all: Vec<_> = model.stored.values().filter(|header| header.id.layer == Layer::Ivk).cloned().collect();
        let may =
            |state: State| state == State::Deprecated || kind == Kind::DestroyIvk && matches!(state, State::Retired | State::Compromised);
        let old: Vec<_> = all.iter().filter(|header| may(header.state)).cloned().collect();
        let header = self.dice.pick(if old.is_empty() { &all } else { &old })?.clone();
        let (version, parent) = (header.version, ParentRef { chain: header.chain, version: header.version });
        let is_needed = model.under(parent) > 0;
        let ends = vec![if is_needed { "Denied" } else { by_state(may(header.state)) }];
        let says = format!("{kind:?} {} ({:?})", version.0, header.state);
        let work: Box<dyn FnOnce(Op) -> Work> = match kind {
            Kind::RetireIvk => Box::new(move |op| Box::pin(async move { op.retire_ivk(version).await })),
            _ => Box::new(move |op| Box::pin(async move { op.destroy_ivk(version).await })),
        };
        Some(Begun { place: 0, says, ends, serves: None, work })
    }

    /// One step of the keeper that carries out orders.
    pub(crate) fn renewal(&mut self) -> Begun {
        let (renewal, limit, plant) = (Rc::clone(&self.renewal), usize::try_from(self.dice.within(1..9)).expect("few"), self.plant);
        let work = move |op: Op| -> Work { Box::pin(async move { op.renew(&renewal, limit, plant).await }) };
        Begun { place: 0, says: format!("renew {limit}"), ends: vec!["Ok"], serves: None, work: Box::new(work) }
    }

    /// While everything rests all orders are carried out, so nothing that they are about is in use any more.
    pub(crate) fn all_renewed(&mut self) -> Result<(), String> {
        // An order is for what is made in the second after it, too. That passes also while the clock is behind what it was once seen to be.
        let _is_behind = self.now(0);
        self.nodes[0].time.pass(Duration::from_secs(3));
        *self.renewal.borrow_mut() = None;
        loop {
            let begun = self.renewal();
            self.start(begun, true).ok_or("the node is sealed")?;
            self.settle()?;
            if self.word == "Ok" && self.renewal.borrow().is_none() {
                break;
            }
        }
        let mut model = self.models[0].borrow_mut();
        for id in std::mem::take(&mut model.ordered) {
            must!(model.stored[&id].state != State::Active, "{id} was ordered to be renewed, and is in use although no order waits");
        }
        Ok(())
    }

    /// What an edge claims to have left it has left, and it never comes back there.
    pub(crate) fn claimed(&mut self, place: Place) -> Result<(), String> {
        let claims = std::mem::take(&mut self.models[place].borrow_mut().claims);
        for id in claims {
            let header = self.models[0].borrow().stored.get(&id).cloned().ok_or_else(|| format!("{id}, which nobody knows, was left"))?;
            let parent = ParentRef { chain: header.chain, version: header.version };
            must!(header.state != State::Active, "edge {place} claims to have left {id}, which is Active");
            let under = self.nodes[place].store.under(parent);
            must!(under.is_empty(), "edge {place} claims to have left {id}, and {under:?} lie under it");
            self.models[place].borrow_mut().left.insert(parent);
        }
        Ok(())
    }

    /// A version of an L3 was archived: nothing lies under it at an edge that was to be waited for.
    pub(crate) fn retired(&mut self) -> Result<(), String> {
        let retired = std::mem::take(&mut self.models[0].borrow_mut().retired);
        for (id, waits_for) in retired {
            let core = self.models[0].borrow();
            let parent = ParentRef { chain: core.stored[&id].chain, version: core.stored[&id].version };
            for (place, group) in (1..).zip(&self.groups) {
                let is_waited_for = waits_for.iter().any(|(name, life)| name == group && core.groups[name].life == *life);
                let under = self.nodes.get(place).map(|node| node.store.under(parent)).unwrap_or_default();
                if !is_waited_for {
                    // Its edges were given up, and what they have with them.
                    self.lost.extend(under.into_iter().map(|object| (place, object)));
                    continue;
                }
                must!(place < self.nodes.len(), "{id} was retired, and nobody of {group} has said that it has left it");
                must!(under.is_empty(), "{id} was retired, and an edge needs it: {under:?} lie under it at {place}");
            }
        }
        Ok(())
    }

    /// When every edge has walked and said so, a replaced version is archived, unless a group has no edge that could say anything.
    pub(crate) fn all_retirable(&mut self) -> Result<(), String> {
        let is_revoked = |place: &Place| self.models[0].borrow().groups.get(&self.groups[place - 1]).is_none_or(|group| group.is_revoked);
        let serving: Vec<Place> = (1..self.nodes.len()).filter(|place| !is_revoked(place)).collect();
        for place in serving.clone() {
            self.must_end(place, "catching up at rest", "Ok", |op| Box::pin(async move { op.catch_up().await }))?;
        }
        let model = self.models[0].borrow();
        let chains: Vec<_> = model.services.iter().filter_map(|service| service.chain).collect();
        let old = |key: &&super::model::Key| chains.contains(&key.header.chain) && key.state == State::Deprecated;
        let old: Vec<_> = model.keys.values().filter(old).cloned().collect();
        let Some(key) = self.dice.pick(&old).cloned() else { return Ok(()) };
        let id = key.header.id;
        let tenant = model.tenants.iter().find(|(_, tenant)| tenant.id == key.header.owner.tenant).ok_or("a key of no tenant")?;
        let who = Who { role: Role::TenantAdmin, tenant: tenant.0.clone(), service: None };
        let speaks = |group: &keys::id::ScopeName| (1..).zip(&self.groups).any(|(place, name)| name == group && serving.contains(&place));
        let is_held = tenant.1.is_disabled || !model.waits_for(id).iter().all(|(group, _)| speaks(group));
        drop(model);
        let ends = if is_held { "Denied" } else { "Ok" };
        self.must_end(0, &format!("retiring {id} at rest"), ends, move |op| Box::pin(async move { op.retire_l3(&who, id).await }))
    }
}
