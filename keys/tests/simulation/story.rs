//! What may happen next, how often, and how it must end if nothing else happens meanwhile.

use std::sync::atomic::Ordering;
use std::time::Duration;

use cipher::aead::Aead;
use keys::id::{Layer, RowId, Time};
use keys::lifecycle::State;
use keys::policy::Role;
use keys::port::{Clock, Pace};
use keys::rotate::NewIvk;

use super::Simulation;
use super::executor::Place;
use super::model::{Key, ServiceModel};
use super::nodes::HOLDS;
use super::operations::{Done, Op, Who, name};

/// Something that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    CreateTenant,
    CreateService,
    CreateKey,
    Activate,
    Revoke,
    Compromise,
    Destroy,
    Rekey,
    RekeyTenant,
    RekeyResource,
    RekeyCompromised,
    RollBack,
    RetireL3,
    RetireParent,
    DestroyParent,
    CompromiseParent,
    Renew,
    Edit,
    Use,
    Look,
    Trespass,
    List,
    RotateIvk,
    RetireIvk,
    DestroyIvk,
    Walk,
    Sweep,
    Disable,
    Edges,
    Object,
    UseObject,
    EditObject,
    ChangeObject,
    RekeyObject,
    LookAtObject,
    TrespassAtEdge,
    RenewLease,
    Tend,
    WalkObjects,
    CatchUp,
    Crash,
    Seal,
    Begin,
    Device,
    Time,
    Clock,
    Weather,
    Way,
}

/// Each with its weight: to add one, name it, weigh it here and begin it below.
pub(crate) const KINDS: &[(Kind, u64)] = &[
    (Kind::CreateTenant, 1),
    (Kind::CreateService, 2),
    (Kind::CreateKey, 8),
    (Kind::Activate, 6),
    (Kind::Revoke, 3),
    (Kind::Compromise, 2),
    (Kind::Destroy, 3),
    (Kind::Rekey, 7),
    (Kind::RekeyTenant, 4),
    (Kind::RekeyResource, 5),
    (Kind::RekeyCompromised, 2),
    (Kind::RollBack, 5),
    (Kind::RetireL3, 8),
    (Kind::RetireParent, 6),
    (Kind::DestroyParent, 2),
    (Kind::CompromiseParent, 1),
    (Kind::Renew, 8),
    (Kind::Edit, 5),
    (Kind::Use, 14),
    (Kind::Look, 8),
    (Kind::Trespass, 4),
    (Kind::List, 2),
    (Kind::RotateIvk, 4),
    (Kind::RetireIvk, 3),
    (Kind::DestroyIvk, 3),
    (Kind::Walk, 12),
    (Kind::Sweep, 1),
    (Kind::Disable, 2),
    (Kind::Edges, 1),
    (Kind::Object, 9),
    (Kind::UseObject, 14),
    (Kind::EditObject, 4),
    (Kind::ChangeObject, 6),
    (Kind::RekeyObject, 3),
    (Kind::LookAtObject, 5),
    (Kind::TrespassAtEdge, 2),
    (Kind::RenewLease, 8),
    (Kind::Tend, 6),
    (Kind::WalkObjects, 6),
    (Kind::CatchUp, 5),
    (Kind::Crash, 2),
    (Kind::Seal, 1),
    (Kind::Begin, 12),
    (Kind::Device, 1),
    (Kind::Time, 4),
    (Kind::Clock, 6),
    (Kind::Weather, 4),
    (Kind::Way, 3),
];

/// What a task does, once it has its vault.
pub(crate) type Work = std::pin::Pin<Box<dyn Future<Output = Done>>>;

/// An operation that is about to begin.
pub(crate) struct Begun {
    pub(crate) place: Place,
    /// What it is and of what, for people.
    pub(crate) says: String,
    /// How it ends, if nothing else happens meanwhile and nothing fails; empty: in any way.
    pub(crate) ends: Vec<&'static str>,
    /// Whom an edge serves by it.
    pub(crate) serves: Option<ServiceModel>,
    pub(crate) work: Box<dyn FnOnce(Op) -> Work>,
}

/// What follows from the state of a key.
pub(crate) fn by_state(is_allowed: bool) -> &'static str {
    if is_allowed { "Ok" } else { "WrongState" }
}

impl Simulation {
    /// Draws what happens next; `None` if it cannot happen now.
    pub(crate) fn drawn(&mut self) -> Kind {
        let mut at = self.dice.within(0..KINDS.iter().map(|(_, weight)| weight).sum());
        for (kind, weight) in KINDS {
            if at < *weight {
                return *kind;
            }
            at -= weight;
        }
        unreachable!("the weights add up")
    }

    /// What happens to the world; false if `kind` is an operation.
    pub(crate) fn befall(&mut self, kind: Kind) -> Result<bool, String> {
        let place = self.place();
        match kind {
            Kind::Crash => self.crash(place),
            Kind::Seal => self.seal()?,
            Kind::Begin => self.begin(place),
            Kind::Device => self.has_device = !self.has_device || self.dice.percent(50),
            Kind::Time => {
                let passed = Duration::from_millis(self.dice.within(1..90_000));
                self.note(format!("{passed:?} pass"));
                self.nodes.iter().for_each(|node| node.time.pass(passed));
            }
            Kind::Clock => {
                let millis = i64::try_from(self.dice.within(0..7_200_000)).expect("two hours") - 3_600_000;
                self.note(format!("the clock of {place} jumps by {millis} ms"));
                self.nodes[place].time.jump(millis);
            }
            Kind::Weather => {
                let is_stormy = !self.nodes[place].store.is_stormy.load(Ordering::Relaxed);
                self.note(format!("the store of {place} is {}", if is_stormy { "stormy" } else { "calm" }));
                self.nodes[place].store.is_stormy.store(is_stormy, Ordering::Relaxed);
                self.nodes[place].audit.is_down.store(is_stormy && self.dice.percent(20), Ordering::Relaxed);
                self.storms += 1;
            }
            Kind::Way => {
                let (is_lossy, is_cut) = (self.dice.percent(40), self.dice.percent(15));
                self.note(format!("the way to the core: lossy {is_lossy}, cut {is_cut}"));
                self.link.is_lossy.store(is_lossy, Ordering::Relaxed);
                self.link.is_cut.store(is_cut, Ordering::Relaxed);
                self.storms += 1;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn place(&self) -> Place {
        usize::try_from(self.dice.within(0..self.nodes.len() as u64)).expect("few nodes")
    }

    fn an_edge(&self) -> Place {
        1 + usize::try_from(self.dice.within(0..self.nodes.len() as u64 - 1)).expect("few nodes")
    }

    /// An operation of this kind, if there is something for it to be about.
    pub(crate) fn drawn_operation(&mut self, kind: Kind) -> Option<Begun> {
        match kind {
            Kind::CreateTenant | Kind::CreateService | Kind::Disable | Kind::Edges => self.operators(kind),
            Kind::RotateIvk | Kind::Walk | Kind::Sweep => self.cores_own(kind),
            Kind::RetireIvk | Kind::DestroyIvk => self.ivk_versions(kind),
            Kind::Renew => Some(self.renewal()),
            Kind::RekeyResource
            | Kind::RekeyCompromised
            | Kind::RollBack
            | Kind::RetireL3
            | Kind::RetireParent
            | Kind::DestroyParent
            | Kind::CompromiseParent => self.versions(kind),
            Kind::CreateKey | Kind::RekeyTenant | Kind::List => self.tenants(kind),
            Kind::Activate | Kind::Revoke | Kind::Compromise | Kind::Destroy | Kind::Rekey | Kind::Edit | Kind::Use | Kind::Look => {
                self.keys(kind)
            }
            Kind::Trespass => self.trespass(0),
            Kind::TrespassAtEdge => self.trespass(self.an_edge()),
            Kind::Object => self.objects(self.an_edge()),
            Kind::UseObject | Kind::EditObject | Kind::ChangeObject | Kind::RekeyObject | Kind::LookAtObject => {
                self.object(kind, self.an_edge())
            }
            Kind::RenewLease | Kind::Tend | Kind::WalkObjects | Kind::CatchUp => self.edges_own(kind, self.an_edge()),
            _ => None,
        }
    }

    pub(crate) fn now(&self, place: Place) -> Time {
        self.nodes[place].opened().map_or_else(|| Clock::now(&*self.nodes[place].time), |vault| vault.now())
    }

    fn operators(&mut self, kind: Kind) -> Option<Begun> {
        let model = self.models[0].borrow();
        let tenant = name(&format!("t{}", self.dice.within(0..4)));
        let service = name(&format!("s{}", self.dice.within(0..3)));
        let known = model.tenants.get(&tenant).cloned();
        let (says, ends): (String, &'static str);
        let work: Box<dyn FnOnce(Op) -> Work> = match kind {
            Kind::CreateTenant => {
                (says, ends) = (format!("create tenant {tenant}"), if known.is_some() { "NameTaken" } else { "Ok" });
                Box::new(move |op| Box::pin(async move { op.create_tenant(&tenant).await }))
            }
            Kind::CreateService => {
                let is_taken = model.services.iter().any(|model| model.tenant_name == tenant && model.name == service);
                let resource = self.dice.percent(60).then(|| name(&format!("r{}", self.dice.within(0..2))));
                says = format!("create service {tenant}/{service} of {resource:?}");
                ends = if known.is_none() { "NotFound" } else { ["Ok", "NameTaken"][usize::from(is_taken)] };
                Box::new(move |op| Box::pin(async move { op.create_service(&tenant, &service, resource.as_ref()).await }))
            }
            Kind::Disable => {
                let is_disabled = !known.as_ref()?.is_disabled;
                (says, ends) = (format!("disable tenant {tenant}: {is_disabled}"), "Ok");
                Box::new(move |op| Box::pin(async move { op.disable(&tenant, is_disabled).await }))
            }
            _ => {
                let groups: Vec<_> = model.groups.iter().map(|(name, group)| (name.clone(), group.is_revoked)).collect();
                let (group, is_revoked) = self.dice.pick(&groups)?.clone();
                known.as_ref()?;
                ends = "Ok";
                if !is_revoked && self.dice.percent(40) {
                    says = format!("revoke the edges of {group}");
                    Box::new(move |op| Box::pin(async move { op.revoke_edges(&group).await }))
                } else {
                    says = format!("enrol {group} for {tenant}");
                    Box::new(move |op| Box::pin(async move { op.enrol(&group, &[tenant]).await }))
                }
            }
        };
        Some(Begun { place: 0, says, ends: vec![ends], serves: None, work })
    }

    fn cores_own(&mut self, kind: Kind) -> Option<Begun> {
        let ends = vec!["Ok"];
        let (says, work): (String, Box<dyn FnOnce(Op) -> Work>) = match kind {
            Kind::RotateIvk => {
                if !self.has_device {
                    return None;
                }
                let aead =
                    self.dice.pick(&[None, Some(Aead::Aes256Gcm), Some(Aead::Aes256GcmSiv), Some(Aead::XChaCha20Poly1305)]).copied()?;
                let is_compromised = self.dice.percent(35);
                let new =
                    NewIvk { aead, is_compromised, renews: is_compromised && self.dice.percent(50), off_boarded: None, request: None };
                let master = std::rc::Rc::clone(&self.master);
                (format!("rotate the IVK, {new:?}"), Box::new(move |op| Box::pin(async move { op.rotate_ivk(&master, new).await })))
            }
            Kind::Walk => {
                let walker = std::rc::Rc::clone(self.dice.pick(&self.walkers)?);
                let limit = usize::try_from(self.dice.within(1..9)).expect("few");
                (format!("walk {limit} rows"), Box::new(move |op| Box::pin(async move { op.walk(&walker, limit).await })))
            }
            _ => ("sweep".to_owned(), Box::new(|op| Box::pin(async move { op.sweep().await }))),
        };
        Some(Begun { place: 0, says, ends, serves: None, work })
    }

    fn admin(&self, service: &ServiceModel) -> Who {
        Who { role: Role::TenantAdmin, tenant: service.tenant_name.clone(), service: Some(service.name.clone()) }
    }

    fn is_disabled(&self, service: &ServiceModel) -> bool {
        self.models[0].borrow().tenants.get(&service.tenant_name).is_some_and(|tenant| tenant.is_disabled)
    }

    fn is_taken(&self, place: Place, service: &ServiceModel, text: &str, by_other_than: Option<RowId>) -> bool {
        let model = self.models[place].borrow();
        let holds = |key: &&Key| key.header.owner.service == Some(service.id) && key.names.iter().any(|name| name == text);
        model.keys.values().find(holds).is_some_and(|key| Some(key.header.id) != by_other_than)
    }

    fn a_name(&self) -> String {
        format!("n{}", self.dice.within(0..40))
    }

    fn a_service(&self) -> Option<ServiceModel> {
        self.dice.pick(&self.models[0].borrow().services).cloned()
    }

    fn tenants(&mut self, kind: Kind) -> Option<Begun> {
        let service = self.a_service()?;
        let who = self.admin(&service);
        let mut ends = vec!["Ok"];
        let (says, work): (String, Box<dyn FnOnce(Op) -> Work>) = match kind {
            Kind::CreateKey => {
                let text = self.a_name();
                if self.is_taken(0, &service, &text, None) {
                    ends = vec!["NameTaken"];
                }
                (
                    format!("create key {text} of {}/{}", who.tenant, service.name),
                    Box::new(move |op| Box::pin(async move { op.create_key(&who, &text).await })),
                )
            }
            Kind::RekeyTenant => {
                (format!("re-key {}", who.tenant), Box::new(move |op| Box::pin(async move { op.rekey_tenant(&who).await })))
            }
            _ => (format!("list {}", who.tenant), {
                let known = self.models[0].borrow().keys.keys().copied().collect();
                Box::new(move |op| Box::pin(async move { op.list(&who, &known).await }))
            }),
        };
        if self.is_disabled(&service) {
            ends = vec!["Denied"];
        }
        Some(Begun { place: 0, says, ends, serves: None, work })
    }

    fn a_key(&self, place: Place, layer: Layer) -> Option<(Key, ServiceModel)> {
        let model = self.models[place].borrow();
        let keys: Vec<&Key> = model.keys.values().filter(|key| key.header.id.layer == layer).collect();
        let key = (*self.dice.pick(&keys)?).clone();
        let service = self.models[0].borrow().service(key.header.owner.service?).cloned()?;
        Some((key, service))
    }

    fn keys(&mut self, kind: Kind) -> Option<Begun> {
        let (key, service) = self.a_key(0, Layer::L3)?;
        let (id, state) = (key.header.id, key.state_at(self.now(0)));
        let is_default = self.models[0].borrow().is_default(id);
        let who = self.admin(&service);
        let user = Who { role: Role::Service, ..who.clone() };
        let says = format!("{kind:?} {id} ({state:?})");
        let is_ended = state.is_destroyed() || state == State::Retired;
        let (mut ends, work): (&'static str, Box<dyn FnOnce(Op) -> Work>) = match kind {
            Kind::Activate => {
                (by_state(state == State::PreActive), Box::new(move |op| Box::pin(async move { op.activate(&who, id).await })))
            }
            Kind::Revoke | Kind::Compromise => {
                let is_compromise = kind == Kind::Compromise;
                let may = match state {
                    State::PreActive | State::Active => true,
                    State::Deprecated | State::Retired | State::Destroyed => is_compromise,
                    State::Compromised | State::DestroyedCompromised => false,
                };
                // What an edge has under it would be gone for good; the simulation does that less often.
                if is_compromise && !is_default && key.is_replaced && self.dice.percent(80) {
                    return None;
                }
                let ends = if is_default { "Denied" } else { by_state(may) };
                (ends, Box::new(move |op| Box::pin(async move { op.revoke(&who, id, is_compromise).await })))
            }
            Kind::Destroy => {
                if key.is_replaced && self.dice.percent(80) {
                    return None;
                }
                (
                    by_state(!state.is_destroyed() && state != State::Active),
                    Box::new(move |op| Box::pin(async move { op.destroy(&who, id).await })),
                )
            }
            Kind::Rekey => {
                let ends = if key.is_replaced { "Replaced" } else { by_state(!is_ended) };
                (ends, Box::new(move |op| Box::pin(async move { op.rekey(&who, id).await })))
            }
            Kind::Edit => {
                let text = self.a_name();
                let may_end = matches!(state, State::Active | State::PreActive) && !is_default && self.dice.percent(60);
                let ends_at =
                    may_end.then(|| Time::from_millis(self.now(0).millis() + i64::try_from(self.dice.within(1..240_000)).expect("soon")));
                let is_taken = self.is_taken(0, &service, &text, Some(id));
                let ends = if is_ended { "WrongState" } else { ["Ok", "NameTaken"][usize::from(is_taken)] };
                (ends, Box::new(move |op| Box::pin(async move { op.edit(&who, id, &text, ends_at).await })))
            }
            Kind::Use => {
                let protects = self.dice.percent(50);
                let may = state == State::Active || (!protects && state == State::Deprecated);
                (by_state(may), Box::new(move |op| Box::pin(async move { op.use_key(&user, id, protects).await })))
            }
            _ => ("Ok", Box::new(move |op| Box::pin(async move { op.look(&user, id).await }))),
        };
        if self.is_disabled(&service) {
            ends = "Denied";
        }
        Some(Begun { place: 0, says, ends: vec![ends], serves: None, work })
    }

    fn trespass(&mut self, place: Place) -> Option<Begun> {
        let layer = if place == 0 { Layer::L3 } else { Layer::L4 };
        let (key, owner) = self.a_key(place, layer)?;
        let stranger = self.a_service()?;
        if stranger.id == owner.id {
            return None;
        }
        let role = if stranger.tenant != owner.tenant && self.dice.percent(50) { Role::TenantAdmin } else { Role::Service };
        let who = Who { role, ..self.admin(&stranger) };
        let id = key.header.id;
        let says = format!("{who:?} asks for {id}");
        let work: Box<dyn FnOnce(Op) -> Work> = Box::new(move |op| Box::pin(async move { op.trespass(&who, id).await }));
        Some(Begun { place, says, ends: Vec::new(), serves: None, work })
    }

    /// Does an edge's lease say what is true at the core, and does it hold?
    fn is_in_step(&self, place: Place, service: &ServiceModel) -> bool {
        let core = self.models[0].borrow();
        let heard = self.heard(place);
        let Some((asked, lease)) = heard.and_then(|heard| Some((heard.asked, heard.lease?))) else { return false };
        let group = &self.groups[place - 1];
        let is_enrolled = core.groups.get(group).is_some_and(|group| !group.is_revoked && group.tenants.contains(&service.tenant_name));
        let leased = lease.tenants.iter().find(|tenant| tenant.id == service.tenant && !tenant.is_disabled);
        let leased = leased.and_then(|tenant| tenant.services.iter().find(|leased| leased.id == service.id));
        let is_same = leased.is_some_and(|leased| {
            let is_over = |state: State| state.is_destroyed() || state == State::Retired;
            let alive = core.stored.values().filter(|header| Some(header.chain) == service.chain && !is_over(header.state));
            let leased: Vec<_> = leased.versions.iter().map(|key| (key.id, key.state)).collect();
            let mut alive: Vec<_> = alive.map(|header| (header.id, header.state)).collect();
            alive.sort_unstable_by_key(|(id, _)| core.stored[id].version);
            leased == alive
        });
        let holds = Pace::now(&*self.nodes[place].time) < asked + HOLDS;
        is_enrolled && is_same && holds && !self.is_disabled(service)
    }

    /// May what lies under this row's L3 be opened, by what the core holds?
    fn is_open_above(&self, row: &keys::row::Header) -> bool {
        let core = self.models[0].borrow();
        core.version(row.parent.chain, row.parent.version).is_some_and(|l3| matches!(l3.state, State::Active | State::Deprecated))
    }

    fn is_endangered(&self, row: &keys::row::Header) -> bool {
        self.models[0].borrow().version(row.parent.chain, row.parent.version).is_some_and(|l3| l3.state == State::Compromised)
    }

    /// Can the attributes of a service's objects be opened by whoever starts now? `None`: it has no attribute key yet.
    fn attributes_open(&self, place: Place, service: &ServiceModel) -> Option<bool> {
        let id = RowId::new(Layer::AttributeKey, uuid::Uuid::from_bytes(*service.id.as_bytes()));
        Some(self.is_open_above(&self.nodes[place].store.row(id)?.header))
    }

    fn user(&self, service: &ServiceModel) -> Who {
        Who { role: Role::Service, ..self.admin(service) }
    }

    fn objects(&mut self, place: Place) -> Option<Begun> {
        let service = self.a_service()?;
        let (who, text, is_active) = (self.user(&service), self.a_name(), self.dice.percent(60));
        let ends = match self.is_in_step(place, &service) && self.attributes_open(place, &service) != Some(false) {
            true if self.is_taken(place, &service, &text, None) => vec!["NameTaken"],
            true => vec!["Ok"],
            false => Vec::new(),
        };
        let says = format!("create object {text} of {}/{} at {place}", who.tenant, service.name);
        let work: Box<dyn FnOnce(Op) -> Work> = Box::new(move |op| Box::pin(async move { op.create_object(&who, &text, is_active).await }));
        Some(Begun { place, says, ends, serves: Some(service), work })
    }

    fn object(&mut self, kind: Kind, place: Place) -> Option<Begun> {
        let (key, service) = self.a_key(place, Layer::L4)?;
        self.object_of(kind, place, &key, service)
    }

    /// What is done with one object when everything rests.
    pub(crate) fn at_rest(&mut self, kind: Kind, place: Place, key: &Key) -> Option<Begun> {
        let service = self.models[0].borrow().service(key.header.owner.service?).cloned()?;
        self.object_of(kind, place, key, service)
    }

    fn object_of(&mut self, kind: Kind, place: Place, key: &Key, service: ServiceModel) -> Option<Begun> {
        let (id, state) = (key.header.id, key.state_at(self.now(place)));
        let who = self.user(&service);
        let can_look = self.is_in_step(place, &service) && self.attributes_open(place, &service) == Some(true);
        let can_open = can_look && self.is_open_above(&key.header);
        let is_ended = state.is_destroyed();
        let mut says = format!("{kind:?} {id} ({state:?}) at {place}");
        let (mut ends, work): (Vec<&'static str>, Box<dyn FnOnce(Op) -> Work>) = match kind {
            Kind::UseObject => {
                let protects = self.dice.percent(30);
                let may = state == State::Active || (!protects && state == State::Deprecated);
                // Without its L3 there is no key to see whether it may be used.
                let ends = if can_open { vec![by_state(may)] } else { vec!["Withdrawn", "WrongState"] };
                (ends, Box::new(move |op| Box::pin(async move { op.use_key(&who, id, protects).await })))
            }
            Kind::EditObject => {
                let text = self.a_name();
                let is_taken = self.is_taken(place, &service, &text, Some(id));
                let may_end = matches!(state, State::Active | State::PreActive) && self.dice.percent(30);
                let ends_at = may_end
                    .then(|| Time::from_millis(self.now(place).millis() + i64::try_from(self.dice.within(1..240_000)).expect("soon")));
                let ends = if is_ended { "WrongState" } else { ["Ok", "NameTaken"][usize::from(is_taken)] };
                (vec![ends], Box::new(move |op| Box::pin(async move { op.edit(&who, id, &text, ends_at).await })))
            }
            Kind::ChangeObject => match self.dice.within(0..4) {
                0 => (vec![by_state(state == State::PreActive)], Box::new(move |op| Box::pin(async move { op.activate(&who, id).await }))),
                1 => {
                    let may = matches!(state, State::PreActive | State::Active);
                    says.push_str(" deactivate");
                    (vec![by_state(may)], Box::new(move |op| Box::pin(async move { op.revoke(&who, id, false).await })))
                }
                2 => {
                    let may = !matches!(state, State::Compromised | State::DestroyedCompromised);
                    says.push_str(" compromise");
                    (vec![by_state(may)], Box::new(move |op| Box::pin(async move { op.revoke(&who, id, true).await })))
                }
                _ => {
                    says.push_str(" destroy");
                    let may = !is_ended && state != State::Active;
                    (vec![by_state(may)], Box::new(move |op| Box::pin(async move { op.destroy(&who, id).await })))
                }
            },
            Kind::RekeyObject => {
                let ends = if key.is_replaced { "Replaced" } else { by_state(!is_ended) };
                (vec![ends], Box::new(move |op| Box::pin(async move { op.rekey(&who, id).await })))
            }
            _ => (vec!["Ok"], Box::new(move |op| Box::pin(async move { op.look(&who, id).await }))),
        };
        // Under a compromised L3 it is moved before it is opened, which may lose a race.
        if !can_look || self.is_endangered(&key.header) {
            ends = Vec::new();
        }
        Some(Begun { place, says, ends, serves: Some(service), work })
    }

    fn edges_own(&mut self, kind: Kind, place: Place) -> Option<Begun> {
        let says = format!("{kind:?} at {place}");
        let work: Box<dyn FnOnce(Op) -> Work> = match kind {
            Kind::RenewLease => Box::new(|op| Box::pin(async move { op.renew_lease().await })),
            Kind::Tend => Box::new(|op| Box::pin(async move { op.tend().await })),
            Kind::CatchUp => Box::new(|op| Box::pin(async move { op.catch_up().await })),
            _ => {
                let (walker, limit) =
                    (std::rc::Rc::clone(&self.edge_walkers[place - 1]), usize::try_from(self.dice.within(1..9)).expect("few"));
                Box::new(move |op| Box::pin(async move { op.walk(&walker, limit).await }))
            }
        };
        Some(Begun { place, says, ends: Vec::new(), serves: None, work })
    }
}
