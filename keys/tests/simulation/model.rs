//! What a node must hold, kept by the simulation from what was asked and acknowledged alone, and held against every durable commit.

use std::collections::{BTreeMap, BTreeSet};

use keys::id::{ChainId, KeyVersion, Layer, OutboxSeq, RowId, ScopeName, ServiceId, SessionId, TenantId, Time};
use keys::lifecycle::{Event, State};
use keys::policy::Action;
use keys::record::{Outcome, Record};
use keys::row::{Header, ParentRef, Row};

use super::ports::Durable;

/// Sessions below are the node's own, whose records are no operation's.
pub(crate) const FIRST_OPERATION: u64 = 100;

/// A broken promise, in words.
pub(crate) type Broken = String;

/// A key, or an object of an edge.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) header: Header,
    /// As it is stored; dates may have moved it on.
    pub(crate) state: State,
    pub(crate) deactivation: Option<Time>,
    /// SHA-256 of its bytes; unknown of those that the appliance makes for itself.
    pub(crate) digest: Option<[u8; 32]>,
    pub(crate) names: Vec<String>,
    /// The furthest state that anybody was told.
    pub(crate) told: State,
    pub(crate) is_replaced: bool,
}

impl Key {
    /// By the dates.
    pub(crate) fn state_at(&self, now: Time) -> State {
        match self.state {
            State::Active if self.deactivation.is_some_and(|end| end <= now) => State::Deprecated,
            state => state,
        }
    }
}

/// What one operation shall have done once its record is durable.
#[derive(Debug, Clone)]
pub(crate) enum Effect {
    /// Keys may have moved under newer versions; nothing else.
    Nothing,
    Tenant {
        id: TenantId,
        name: ScopeName,
        key: RowId,
    },
    Service {
        id: ServiceId,
        tenant: TenantId,
        name: ScopeName,
        /// Its default key, and the L2.1 of its resource if that is new.
        made: [Option<RowId>; 2],
    },
    Made(Key),
    Moved {
        id: RowId,
        event: Event,
    },
    Edited {
        id: RowId,
        names: Vec<String>,
        deactivation: Option<Time>,
    },
    Replaced {
        old: RowId,
        new: Key,
        is_compromised: bool,
        /// What lies below a tenant's key is ordered to be renewed.
        renews: bool,
    },
    /// Keys in use were replaced by the node itself.
    Renewed {
        new: Vec<Header>,
    },
    /// An earlier version of an L2.1 took over again.
    RolledBack {
        to: RowId,
    },
    /// A version of an L3 was archived: these groups of edges, in these lives of theirs, were to be waited for.
    RetiredL3 {
        id: RowId,
        waits_for: Vec<(ScopeName, u64)>,
    },
    RotatedIvk {
        id: RowId,
        version: KeyVersion,
        is_compromised: bool,
        renews: bool,
    },
    /// A version of the IVK was archived or destroyed.
    EndedIvk {
        version: KeyVersion,
        event: Event,
    },
    Disabled {
        tenant: ScopeName,
        is_disabled: bool,
    },
    Group {
        name: ScopeName,
        tenants: Vec<ScopeName>,
        is_revoked: bool,
    },
}

#[derive(Debug, Clone)]
pub(crate) struct TenantModel {
    pub(crate) id: TenantId,
    pub(crate) is_disabled: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct ServiceModel {
    pub(crate) id: ServiceId,
    pub(crate) tenant: TenantId,
    pub(crate) tenant_name: ScopeName,
    pub(crate) name: ScopeName,
    pub(crate) chain: Option<ChainId>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct GroupModel {
    pub(crate) tenants: BTreeSet<ScopeName>,
    pub(crate) is_revoked: bool,
    /// Grows when it is revoked.
    pub(crate) life: u64,
}

/// What one node must hold.
#[derive(Default)]
pub(crate) struct Model {
    /// An edge's rows lie under its core's keys.
    pub(crate) is_edge: bool,
    /// What comes now belongs to the start of the story.
    pub(crate) is_founding: bool,
    pub(crate) keys: BTreeMap<RowId, Key>,
    pub(crate) tenants: BTreeMap<ScopeName, TenantModel>,
    pub(crate) services: Vec<ServiceModel>,
    pub(crate) groups: BTreeMap<ScopeName, GroupModel>,
    /// What operations in flight have staged.
    pub(crate) pending: BTreeMap<SessionId, Effect>,
    /// Operations whose record is durable.
    pub(crate) durable: BTreeSet<SessionId>,
    /// Until when a version was the Active one of its chain, as far as anybody was told.
    pub(crate) active: BTreeMap<(ChainId, KeyVersion), Option<u64>>,
    /// Versions that were replaced, and the operations of whose commit nobody was told yet.
    closing: Vec<((ChainId, KeyVersion), Vec<SessionId>)>,
    /// The headers that are stored, of keys only.
    pub(crate) stored: BTreeMap<RowId, Header>,
    chains: BTreeMap<ChainId, BTreeMap<KeyVersion, RowId>>,
    /// Chains that have an Active version at every instant.
    in_use: BTreeSet<ChainId>,
    next_seq: u64,
    pub(crate) checked: u64,
    /// What the appliance makes beside what was asked for, and comes in the same commit.
    awaited: BTreeSet<RowId>,
    /// Promises that operations have found broken.
    pub(crate) broken: Vec<Broken>,
    /// In which states operations have found keys.
    pub(crate) looked: Vec<(SessionId, RowId, State)>,
    /// How many keys operations have found under a version.
    pub(crate) counted: Vec<(SessionId, ParentRef, u64)>,
    /// Keys that are ordered to be renewed.
    pub(crate) ordered: BTreeSet<RowId>,
    /// Versions of L3s that were archived, and for whom that had to wait.
    pub(crate) retired: Vec<(RowId, Vec<(ScopeName, u64)>)>,
    /// What an edge claims to have left, and nobody has looked at yet.
    pub(crate) claims: Vec<RowId>,
    /// What it has left for good.
    pub(crate) left: BTreeSet<ParentRef>,
}

fn is_key(layer: Layer) -> bool {
    matches!(layer, Layer::Ivk | Layer::L2 | Layer::L21 | Layer::L3 | Layer::L4)
}

/// Do other keys of the core lie under it?
fn wraps_keys(id: RowId) -> bool {
    matches!(id.layer, Layer::Ivk | Layer::L2 | Layer::L21)
}

/// States go up.
pub(crate) fn rank(state: State) -> u8 {
    match state {
        State::DestroyedCompromised => State::Destroyed as u8,
        other => other as u8,
    }
}

/// What operations record beside what was asked for.
const FURTHER: [Action; 3] = [Action::CreateResource, Action::Revoke, Action::OrderRenewal];

macro_rules! must {
    ($holds:expr, $($said:tt)+) => {
        if !$holds {
            return Err(format!($($said)+));
        }
    };
}
pub(crate) use must;

impl Model {
    pub(crate) fn founding() -> Self {
        Self { is_founding: true, ..Self::default() }
    }

    pub(crate) fn edge() -> Self {
        Self { is_edge: true, ..Self::default() }
    }

    /// The newest version of a chain.
    pub(crate) fn newest(&self, chain: ChainId) -> Option<(KeyVersion, RowId)> {
        self.chains.get(&chain)?.iter().next_back().map(|(version, id)| (*version, *id))
    }

    pub(crate) fn version(&self, chain: ChainId, version: KeyVersion) -> Option<&Header> {
        self.stored.get(self.chains.get(&chain)?.get(&version)?)
    }

    pub(crate) fn active_of(&self, chain: ChainId) -> Option<&Header> {
        self.chains.get(&chain)?.values().map(|id| &self.stored[id]).find(|header| header.state == State::Active)
    }

    /// Is this the Active version of a chain that must have one?
    pub(crate) fn is_default(&self, id: RowId) -> bool {
        let Some(header) = self.stored.get(&id) else { return false };
        self.in_use.contains(&header.chain) && header.state == State::Active
    }

    /// How many keys lie under a version.
    pub(crate) fn under(&self, parent: ParentRef) -> u64 {
        self.stored.values().filter(|header| header.id.layer != Layer::Ivk && header.parent == parent).count() as u64
    }

    /// Which groups of edges, in which life of theirs, may have objects under a version of an L3.
    pub(crate) fn waits_for(&self, id: RowId) -> Vec<(ScopeName, u64)> {
        let service = self.keys.get(&id).and_then(|key| self.service(key.header.owner.service?));
        let is_default = service.is_some_and(|service| service.chain == Some(self.keys[&id].header.chain));
        let Some(service) = service.filter(|_| is_default) else { return Vec::new() };
        let serves = |group: &GroupModel| !group.is_revoked && group.tenants.contains(&service.tenant_name);
        self.groups.iter().filter(|(_, group)| serves(group)).map(|(name, group)| (name.clone(), group.life)).collect()
    }

    pub(crate) fn service(&self, id: ServiceId) -> Option<&ServiceModel> {
        self.services.iter().find(|service| service.id == id)
    }

    /// A crash at `tick`: nobody waits for what was in flight, and whoever comes next finds what is stored.
    pub(crate) fn crashed(&mut self, tick: u64) {
        self.pending.clear();
        for (version, _) in std::mem::take(&mut self.closing) {
            self.active.insert(version, Some(tick));
        }
    }

    /// An operation has heard at `tick` what came of it.
    pub(crate) fn told_of(&mut self, session: SessionId, tick: u64) {
        let (told, closing) = std::mem::take(&mut self.closing).into_iter().partition(|(_, sessions)| sessions.contains(&session));
        self.closing = closing;
        let told: Vec<((ChainId, KeyVersion), Vec<SessionId>)> = told;
        self.active.extend(told.into_iter().map(|(version, _)| (version, Some(tick))));
    }

    /// Takes in one durable commit.
    pub(crate) fn commit(&mut self, durable: &Durable, burnt: &[OutboxSeq]) -> Result<(), Broken> {
        self.numbers(durable, burnt)?;
        let active: BTreeMap<ChainId, Option<KeyVersion>> = durable
            .rows
            .iter()
            .flat_map(|(_, before, after)| before.iter().chain(after))
            .filter(|row| is_key(row.header.id.layer))
            .map(|row| (row.header.chain, self.active_of(row.header.chain).map(|header| header.version)))
            .collect();
        // A step of a walk or of a renewal has many records of one kind, and some operations one of each of theirs.
        let (mut walks, mut taken) = (BTreeSet::new(), Vec::new());
        for entry in durable.outbox.iter().filter(|entry| entry.record.session.0 >= FIRST_OPERATION) {
            let (session, action) = (entry.record.session, entry.record.action);
            if matches!(self.pending.get(&session), Some(Effect::Nothing | Effect::Renewed { .. })) {
                walks.insert(session);
            }
            let is_further = taken.iter().any(|(of, _)| *of == session) && !taken.contains(&(session, action));
            let is_known = walks.contains(&session) && self.durable.contains(&session);
            taken.push((session, action));
            if !(is_known || is_further && FURTHER.contains(&action)) {
                self.record(&entry.record)?;
            }
        }
        for (id, before, after) in &durable.rows {
            self.row(*id, before.as_ref(), after.as_ref())?;
        }
        for (_, _, after) in &durable.rows {
            if let Some(row) = after.as_ref().filter(|row| is_key(row.header.id.layer)) {
                self.as_asked(row)?;
            }
        }
        for (&chain, &was) in &active {
            self.chain(chain)?;
            let is = self.active_of(chain).map(|header| header.version);
            if is != was {
                if let Some(was) = was {
                    let sessions = durable.outbox.iter().map(|entry| entry.record.session).collect();
                    self.closing.push(((chain, was), sessions));
                }
                if let Some(is) = is {
                    self.active.insert((chain, is), None);
                }
            }
        }
        if !self.is_edge {
            for (_, before, after) in &durable.rows {
                self.parents(before.as_ref(), after.as_ref(), &active)?;
            }
        }
        self.checked += 1;
        Ok(())
    }

    /// Outbox numbers have no gap but those of commits that failed.
    fn numbers(&mut self, durable: &Durable, burnt: &[OutboxSeq]) -> Result<(), Broken> {
        for entry in &durable.outbox {
            while burnt.contains(&OutboxSeq(self.next_seq)) && entry.seq.0 > self.next_seq {
                self.next_seq += 1;
            }
            must!(
                self.next_seq == 0 || entry.seq.0 == self.next_seq,
                "outbox number {} came where {} was due: {:?}",
                entry.seq.0,
                self.next_seq,
                entry.record
            );
            self.next_seq = entry.seq.0 + 1;
        }
        Ok(())
    }

    /// An operation's record: its effect is real from now on, and comes once.
    fn record(&mut self, record: &Record) -> Result<(), Broken> {
        let session = record.session;
        must!(record.outcome == Outcome::Success, "{record:?} stands in the outbox although it changed nothing");
        let effect = self.pending.remove(&session);
        let Some(effect) = effect else {
            return Err(format!("a record came twice, or of an operation that was refused: {record:?}"));
        };
        must!(self.durable.insert(session), "two commits of one operation: {record:?}");
        self.apply(effect, record.time)
    }

    fn key_mut(&mut self, id: RowId) -> Result<&mut Key, Broken> {
        self.keys.get_mut(&id).ok_or_else(|| format!("{id} was never acknowledged"))
    }

    fn add(&mut self, key: Key) -> Result<(), Broken> {
        let (id, owner) = (key.header.id, key.header.owner);
        for name in &key.names {
            let holder = self.keys.values().find(|other| other.header.owner == owner && other.names.contains(name));
            must!(holder.is_none(), "{id} took the name {name} of {:?}", holder.map(|key| key.header.id));
        }
        must!(self.keys.insert(id, key).is_none(), "{id} was made twice");
        Ok(())
    }

    fn apply(&mut self, effect: Effect, at: Time) -> Result<(), Broken> {
        match effect {
            Effect::Nothing => {}
            Effect::Tenant { id, name, key } => {
                self.awaited.insert(key);
                must!(self.tenants.insert(name.clone(), TenantModel { id, is_disabled: false }).is_none(), "two tenants are called {name}");
            }
            Effect::Service { id, tenant, name, made } => {
                let is_taken = self.services.iter().any(|service| service.tenant == tenant && service.name == name);
                must!(!is_taken, "two services are called {name}");
                let tenant_name = self.tenants.iter().find(|(_, model)| model.id == tenant).map(|(name, _)| name.clone());
                let tenant_name = tenant_name.ok_or("a service of no tenant")?;
                self.services.push(ServiceModel { id, tenant, tenant_name, name, chain: None });
                self.awaited.extend(made.into_iter().flatten());
            }
            Effect::Made(key) => self.add(key)?,
            Effect::Moved { id, event } => {
                let key = self.key_mut(id)?;
                let from = if event == Event::Activate { key.state } else { key.state_at(at) };
                let from = if from == State::Deprecated && event == Event::Deprecate { key.state } else { from };
                let to = match (event, from) {
                    (Event::Activate, State::PreActive) => State::Active,
                    (Event::Deprecate, State::PreActive | State::Active) => State::Deprecated,
                    (Event::Retire, State::Deprecated) => State::Retired,
                    (Event::Compromise, State::PreActive | State::Active | State::Deprecated | State::Retired) => State::Compromised,
                    (Event::Compromise, State::Destroyed) => State::DestroyedCompromised,
                    (Event::Destroy, State::Retired) => State::Destroyed,
                    (Event::Destroy, State::PreActive | State::Deprecated) if !wraps_keys(id) => State::Destroyed,
                    (Event::Destroy, State::Compromised) => State::DestroyedCompromised,
                    _ => return Err(format!("{event:?} was acknowledged for {id}, which is {from:?}")),
                };
                key.state = to;
                match event {
                    Event::Deprecate => key.deactivation = Some(at),
                    Event::Destroy => key.names.clear(),
                    _ => {}
                }
            }
            Effect::Edited { id, names, deactivation } => {
                let key = self.key_mut(id)?;
                must!(!key.state.is_destroyed(), "{id} was edited after its end");
                (key.names, key.deactivation) = (names, deactivation);
            }
            Effect::Replaced { old, new, is_compromised, renews } => {
                let newest = self.newest(new.header.chain).map(|(version, _)| version);
                let is_object = old.layer == Layer::L4;
                let key = self.key_mut(old)?;
                must!(!key.is_replaced, "{old} was replaced twice");
                must!(!key.state.is_destroyed() && key.state != State::Retired, "{old} was replaced although it is {:?}", key.state);
                must!(new.names == key.names, "the replacement of {old} is called {:?}", new.names);
                must!(Some(new.header.version) == newest.map(KeyVersion::next), "{old} was replaced by version {}", new.header.version.0);
                if !is_object {
                    let wants = if key.state == State::PreActive { State::PreActive } else { State::Active };
                    must!(new.state == wants, "the replacement of {old} is {:?}", new.state);
                    if matches!(key.state, State::PreActive | State::Active) {
                        (key.state, key.deactivation) = (State::Deprecated, Some(at));
                    }
                    if is_compromised {
                        key.state = State::Compromised;
                    }
                }
                (key.is_replaced, key.names) = (true, Vec::new());
                let tenant = new.header.owner.tenant;
                self.add(new)?;
                if renews {
                    self.order(Some(tenant));
                }
            }
            Effect::Renewed { new } => {
                for header in new {
                    let old = self.active_of(header.chain).map(|old| old.id).ok_or_else(|| format!("{} replaces nothing", header.id))?;
                    let (state, names) = (header.state, self.keys[&old].names.clone());
                    let (told, digest) = (State::PreActive, None);
                    let new = Key { header, state, deactivation: None, digest, names, told, is_replaced: false };
                    self.apply(Effect::Replaced { old, new, is_compromised: false, renews: false }, at)?;
                }
            }
            Effect::RolledBack { to } => {
                let chain = self.key_mut(to)?.header.chain;
                let from = self.active_of(chain).map(|active| active.id).ok_or("an L2.1 without an Active version")?;
                let from = self.key_mut(from)?;
                (from.state, from.deactivation, from.is_replaced) = (State::Deprecated, Some(at), true);
                let names = std::mem::take(&mut from.names);
                let key = self.key_mut(to)?;
                must!(to.layer == Layer::L21, "{to} was rolled back to");
                must!(key.state == State::Deprecated, "{to} was rolled back to, which was {:?}", key.state);
                (key.state, key.deactivation, key.is_replaced, key.names) = (State::Active, None, false, names);
                // Who goes back to it wants it in use.
                self.ordered.remove(&to);
            }
            Effect::RetiredL3 { id, waits_for } => {
                self.apply(Effect::Moved { id, event: Event::Retire }, at)?;
                self.retired.push((id, waits_for));
            }
            Effect::RotatedIvk { id, version, is_compromised, renews } => {
                self.awaited.insert(id);
                if renews {
                    self.order(None);
                }
                for key in self.keys.values_mut().filter(|key| key.header.id.layer == Layer::Ivk) {
                    if key.header.version == version {
                        return Err(format!("version {} of the IVK was made twice", version.0));
                    }
                    key.state = match key.state {
                        State::Active | State::Deprecated if is_compromised => State::Compromised,
                        State::Active => State::Deprecated,
                        state => state,
                    };
                }
            }
            Effect::EndedIvk { version, event } => {
                let key = self.keys.values_mut().find(|key| key.header.id.layer == Layer::Ivk && key.header.version == version);
                let key = key.ok_or("a version that is not there was retired")?;
                key.state = match (event, key.state) {
                    (Event::Retire, State::Deprecated) => State::Retired,
                    (Event::Destroy, State::Deprecated | State::Retired) => State::Destroyed,
                    (Event::Destroy, State::Compromised) => State::DestroyedCompromised,
                    (event, state) => {
                        return Err(format!("{event:?} was acknowledged for version {} of the IVK, which is {state:?}", version.0));
                    }
                };
            }
            Effect::Disabled { tenant, is_disabled } => {
                self.tenants.get_mut(&tenant).ok_or("a tenant that is not there")?.is_disabled = is_disabled;
            }
            Effect::Group { name, tenants, is_revoked } => {
                let group = self.groups.entry(name).or_default();
                group.tenants.extend(tenants);
                group.life += u64::from(is_revoked);
                group.is_revoked = is_revoked;
            }
        }
        Ok(())
    }

    /// Whatever is in use below a tenant's key, or below the IVK, is to be renewed; what edge groups have is in their edges' hands.
    fn order(&mut self, tenant: Option<TenantId>) {
        let is_below = |header: &&Header| match (header.id.layer, tenant) {
            (Layer::L2, None) => true,
            (Layer::L21, tenant) => tenant.is_none_or(|tenant| tenant == header.owner.tenant),
            (Layer::L3, tenant) => {
                let is_services = header.owner.service.is_some_and(|service| self.service(service).is_some());
                is_services && tenant.is_none_or(|tenant| tenant == header.owner.tenant)
            }
            _ => false,
        };
        let ordered: Vec<RowId> = self.stored.values().filter(is_below).map(|header| header.id).filter(|id| self.is_default(*id)).collect();
        self.ordered.extend(ordered);
    }

    /// One row's change by itself: nothing goes back, nothing of a key is ever removed.
    fn row(&mut self, id: RowId, before: Option<&Row>, after: Option<&Row>) -> Result<(), Broken> {
        if let (Some(before), Some(after)) = (before, after) {
            let (before, after) = (&before.header, &after.header);
            must!(before.generation < after.generation, "{id} went from generation {} to {}", before.generation.0, after.generation.0);
        }
        if !is_key(id.layer) {
            return Ok(());
        }
        let Some(after) = after else { return Err(format!("{id} is gone")) };
        if let Some(before) = before {
            let (old, new) = (&before.header, &after.header);
            // Whether it was asked for, the model says.
            let is_rolled_back = id.layer == Layer::L21 && (old.state, new.state) == (State::Deprecated, State::Active);
            must!(rank(old.state) <= rank(new.state) || is_rolled_back, "{id} went from {:?} back to {:?}", old.state, new.state);
            must!((old.chain, old.version, old.owner) == (new.chain, new.version, new.owner), "{id} became another key");
            must!(before.material.is_some() || after.material.is_none(), "{id} has its bytes back");
            let is_still_there = after.material.is_some() || new.state.is_destroyed();
            must!(is_still_there, "{id} lost its bytes while it is {:?}", new.state);
            must!(old.wrap_seq <= new.wrap_seq && old.attributes_seq <= new.attributes_seq, "{id} counts its wrappings backwards");
            let may_go_back = self.newest(new.parent.chain).is_some_and(|(_, above)| above.layer == Layer::L21);
            must!(
                old.parent.chain == new.parent.chain && (old.parent.version <= new.parent.version || may_go_back),
                "{id} went from under {:?} under {:?}",
                old.parent,
                new.parent
            );
        } else {
            let version = after.header.version;
            let next = self.newest(after.header.chain).map_or(KeyVersion::FIRST, |(newest, _)| newest.next());
            must!(version == next, "{id} came as version {} where {} was due", version.0, next.0);
            self.chains.entry(after.header.chain).or_default().insert(version, id);
        }
        self.stored.insert(id, after.header.clone());
        Ok(())
    }

    /// A stored key is what was asked for.
    fn as_asked(&mut self, row: &Row) -> Result<(), Broken> {
        let header = &row.header;
        let id = header.id;
        let is_new = !self.keys.contains_key(&id);
        if is_new {
            let is_awaited = self.awaited.remove(&id) && header.state == State::Active;
            must!(self.is_founding || is_awaited, "{id} came, {:?}, and nobody asked for it", header.state);
            self.in_use.insert(header.chain);
            if let Some(service) = self.services.iter_mut().find(|service| Some(service.id) == header.owner.service) {
                service.chain.get_or_insert(header.chain);
            }
            let told = State::PreActive;
            let key = Key {
                header: header.clone(),
                state: header.state,
                deactivation: None,
                digest: None,
                names: Vec::new(),
                told,
                is_replaced: false,
            };
            self.keys.insert(id, key);
            return Ok(());
        }
        let key = self.keys.get_mut(&id).expect("just looked up");
        if header.state != key.state {
            let is_by_date = key.state == State::Active && header.state == State::Deprecated && key.deactivation.is_some();
            must!(is_by_date, "{id} is stored as {:?}, and acknowledged as {:?}", header.state, key.state);
            key.state = header.state;
        }
        key.header = header.clone();
        Ok(())
    }

    fn chain(&self, chain: ChainId) -> Result<(), Broken> {
        let versions = &self.chains[&chain];
        let active: Vec<u32> =
            versions.iter().filter(|(_, id)| self.stored[id].state == State::Active).map(|(version, _)| version.0).collect();
        let is_objects = versions.values().all(|id| id.layer == Layer::L4);
        must!(is_objects || active.len() <= 1, "versions {active:?} of chain {chain:?} are Active at once");
        must!(active.len() == 1 || !self.in_use.contains(&chain), "chain {chain:?} has no Active version");
        Ok(())
    }

    /// What is new comes under an Active version, and nothing lies under one that is archived or gone.
    ///
    /// - `active`: the Active versions before the commit, of the chains that it touches. What comes in one commit with the replacement of its parent
    ///   came before that.
    fn parents(&self, before: Option<&Row>, after: Option<&Row>, active: &BTreeMap<ChainId, Option<KeyVersion>>) -> Result<(), Broken> {
        let Some(row) = after.filter(|row| is_key(row.header.id.layer) && row.header.id.layer != Layer::Ivk) else {
            return self.children(after);
        };
        let Some(parent) = self.version(row.header.parent.chain, row.header.parent.version) else {
            return Err(format!("{} lies under a version that is not stored", row.header.id));
        };
        let is_moved = before.is_none_or(|before| before.header.parent != row.header.parent);
        let was_active = active.get(&parent.chain) == Some(&Some(parent.version));
        must!(
            !is_moved || was_active || parent.state == State::Active,
            "{} came under {}, which is {:?}",
            row.header.id,
            parent.id,
            parent.state
        );
        must!(
            !matches!(parent.state, State::Retired | State::Destroyed | State::DestroyedCompromised),
            "{} lies under {}, which is {:?}",
            row.header.id,
            parent.id,
            parent.state
        );
        self.children(after)
    }

    fn children(&self, of: Option<&Row>) -> Result<(), Broken> {
        let Some(Row { header, .. }) = of else { return Ok(()) };
        if !wraps_keys(header.id) || !(header.state == State::Retired || header.state.is_destroyed()) {
            return Ok(());
        }
        let lies_under = |child: &&Header| (child.parent.chain, child.parent.version) == (header.chain, header.version);
        let child = self.stored.values().find(lies_under);
        must!(child.is_none(), "{:?} lies under {}, which is {:?}", child.map(|child| child.id), header.id, header.state);
        Ok(())
    }

    /// Does a key lie under a compromised version? Its first use moves it, and whoever changes it at that moment does so again.
    pub(crate) fn has_endangered(&self) -> bool {
        let mut keys = self.stored.values().filter(|key| matches!(key.id.layer, Layer::L2 | Layer::L21 | Layer::L3));
        keys.any(|key| self.version(key.parent.chain, key.parent.version).is_some_and(|above| above.state == State::Compromised))
    }

    /// Somebody was told that a key is in this state.
    pub(crate) fn tell(&mut self, id: RowId, state: State) -> Result<(), Broken> {
        let key = self.key_mut(id)?;
        must!(rank(key.told) <= rank(state), "{id} was told as {:?} and then as {state:?}", key.told);
        key.told = state;
        Ok(())
    }
}
