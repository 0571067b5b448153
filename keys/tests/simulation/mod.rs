//! A deterministic simulation: a core and two edges in one thread, with one seed for time, order, faults, crashes and device loss.
//!
//! Clients, operators and the nodes themselves ask for things; their tasks are polled in an order that the seed chooses, and any node may lose its
//! memory between two polls. What is acknowledged goes into a [`model::Model`], which knows nothing of how keys are kept. After every poll the
//! model is held against what has become durable; now and then, and at the end, everything comes to rest, and then every key must open, each walk must
//! complete, nothing may be left under an old version or in use against an order, and what nobody needs any more can be archived.

mod counting;
mod executor;
mod model;
mod nodes;
mod operations;
mod plant;
mod ports;
mod random;
mod story;
mod versions;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keys::Error;
use keys::hierarchy::MasterKey;
use keys::id::{ClusterId, Layer, RowId, ScopeName, SessionId};
use keys::lifecycle::State;
use keys::policy::Role;
use keys::port::Pace;
use keys::reencrypt::Cursor;
use keys::references::EdgeKey;
use keys::row::ParentRef;
use keys::vault::Vault;

pub(crate) use counting::{outcome_with_fault, rotated_at_once};
use executor::{Executor, Place};
use model::{FIRST_OPERATION, Model, ServiceModel, must};
use nodes::{Born, HOLDS, Heard, Link, Node, SimUpstream};
use operations::{Done, Op, Who, name};
pub(crate) use plant::Plant;
pub(crate) use ports::Fails;
use ports::{is_wrapped_by_core, lock};
use random::Dice;
use story::Begun;
pub(crate) use story::{KINDS, Kind};
use versions::Renewal;

/// Events of one run, where nothing else is said.
pub(crate) const EVENTS: u64 = 300;
/// Most operations in flight.
const RUNNING_MAX: usize = 8;
/// Most polls between two events.
const POLLS_MAX: u64 = 40;
/// So many events pass between two rests.
const REST_EVENTS: u64 = 75;
/// So often what is asked for at rest may lose a race to the appliance itself.
const TRIES_MAX: usize = 20;
/// So many polls must be enough for everything in flight.
const POLLS_TO_REST_MAX: u64 = 2_000_000;
/// So many of the last events are told of a run that fails.
const LAST_EVENTS: usize = 20;

/// What a run has done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) events: u64,
    pub(crate) polls: u64,
    /// Operations that were acknowledged.
    pub(crate) acknowledged: u64,
    /// Durable commits that were held against the model.
    pub(crate) commits: u64,
    pub(crate) crashes: u64,
    /// Keys and objects that were opened and compared while everything rested.
    pub(crate) opened: u64,
    /// What of the events was acknowledged, and what of the world's has happened.
    pub(crate) kinds: BTreeMap<Kind, u64>,
    /// Two runs of one seed have the same.
    pub(crate) trace: u64,
}

impl Report {
    /// Counts another run in.
    pub(crate) fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.polls += other.polls;
        self.acknowledged += other.acknowledged;
        self.commits += other.commits;
        self.crashes += other.crashes;
        self.opened += other.opened;
        other.kinds.iter().for_each(|(kind, count)| *self.kinds.entry(*kind).or_default() += count);
        self.trace ^= other.trace;
    }
}

/// A run that found something.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) seed: u64,
    pub(crate) event: u64,
    pub(crate) what: String,
    last: VecDeque<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}, event {}: {}", self.seed, self.event, self.what)?;
        self.last.iter().try_for_each(|event| writeln!(f, "  {event}"))
    }
}

/// An operation in flight.
struct Running {
    place: Place,
    /// Which event it is; `None` of what the simulation asks for itself.
    kind: Option<Kind>,
    says: String,
    ends: Vec<&'static str>,
    serves: Option<ServiceModel>,
    /// Nothing else is in flight, and nothing fails.
    is_alone: bool,
    storms: u64,
    is_calm: bool,
    /// A key lies under a compromised version: who meets it at the moment when it is moved does again what it does.
    is_endangered: bool,
    tick: u64,
    began: Duration,
    heard: Option<Heard>,
}

/// One run.
pub(crate) struct Simulation {
    seed: u64,
    dice: Dice,
    executor: Executor,
    born: Born,
    nodes: Vec<Node>,
    models: Vec<Rc<RefCell<Model>>>,
    /// The group of each edge.
    groups: Vec<ScopeName>,
    upstreams: Vec<Arc<SimUpstream>>,
    link: Arc<Link>,
    master: Rc<MasterKey>,
    cluster: ClusterId,
    has_device: bool,
    walkers: Vec<Rc<RefCell<Option<Cursor>>>>,
    edge_walkers: Vec<Rc<RefCell<Option<Cursor>>>>,
    renewal: Rc<RefCell<Option<Renewal>>>,
    /// Objects of edges whose group was revoked when what they lie under was archived.
    lost: BTreeSet<(Place, RowId)>,
    plant: Plant,
    running: BTreeMap<SessionId, Running>,
    done: Rc<RefCell<Vec<(SessionId, Done)>>>,
    next_session: u64,
    /// Grows with every poll.
    tick: Arc<AtomicU64>,
    /// Grows when weather or ways change.
    storms: u64,
    last: VecDeque<String>,
    /// How the last operation ended.
    word: &'static str,
    /// Calls fail that are counted: no operation need succeed.
    counts_faults: bool,
    report: Report,
}

/// How an operation ended, in a word.
fn ending(done: &Done) -> &'static str {
    match done {
        Ok(()) => "Ok",
        Err(Error::Denied { .. }) => "Denied",
        Err(Error::NotFound) => "NotFound",
        Err(Error::WrongState { .. }) => "WrongState",
        Err(Error::NameTaken { .. }) => "NameTaken",
        Err(Error::Replaced { .. }) => "Replaced",
        Err(Error::Raced) => "Raced",
        Err(Error::Withdrawn { .. }) => "Withdrawn",
        Err(Error::NoLease { .. }) => "NoLease",
        Err(Error::Unavailable { .. }) => "Unavailable",
        Err(Error::Corrupt { .. }) => "Corrupt",
        Err(Error::Forged) => "Forged",
        Err(_) => "another refusal",
    }
}

/// Runs one seed over so many events.
///
/// # Errors
/// The first promise that was found broken.
pub(crate) fn run(seed: u64, events: u64, plant: Plant) -> Result<Report, Box<Failure>> {
    let mut simulation = Simulation::new(seed, plant);
    let run = simulation.play(events, plant);
    let event = simulation.report.events;
    run.map_err(|what| Box::new(Failure { seed, event, what, last: std::mem::take(&mut simulation.last) }))?;
    Ok(simulation.report.clone())
}

impl Drop for Simulation {
    #[expect(clippy::print_stderr, reason = "a panic of what is tested must name the seed too")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}, event {}: a panic", self.seed, self.report.events);
            self.last.iter().for_each(|event| eprintln!("  {event}"));
        }
    }
}

impl Simulation {
    fn new(seed: u64, plant: Plant) -> Self {
        let (dice, born) = (Dice::new(seed), Born::default());
        let edges = 1 + usize::from(dice.percent(60));
        let nodes: Vec<Node> = (0..=edges).map(|place| Node::new(place, &dice, plant, &born)).collect();
        let models = (0..=edges).map(|place| Rc::new(RefCell::new(if place == 0 { Model::founding() } else { Model::edge() }))).collect();
        let groups = vec![name("west"), name("east")];
        let master = MasterKey::generate(&nodes[0].randomness()).expect("the arena has room");
        let (link, tick): (Arc<Link>, Arc<AtomicU64>) = Default::default();
        let upstream = |place: Place| SimUpstream {
            link: Arc::clone(&link),
            group: groups[place - 1].clone(),
            time: Arc::clone(&nodes[place].time),
            dice: dice.clone(),
            tick: Arc::clone(&tick),
            heard: Arc::default(),
            stale: Arc::<Mutex<Option<Arc<Vault>>>>::default(),
            edge: EdgeKey([u8::try_from(place).expect("few nodes"); 32]),
            plant,
        };
        let upstreams = (1..=edges).map(|place| Arc::new(upstream(place))).collect();
        Self {
            seed,
            executor: Executor::default(),
            born,
            models,
            groups,
            upstreams,
            link: Arc::clone(&link),
            master: Rc::new(master),
            cluster: ClusterId::new(uuid::Uuid::from_bytes([0xC1; 16])),
            has_device: true,
            walkers: (0..2).map(|_| Rc::default()).collect(),
            edge_walkers: (0..edges).map(|_| Rc::default()).collect(),
            renewal: Rc::default(),
            lost: BTreeSet::new(),
            plant,
            running: BTreeMap::new(),
            done: Rc::default(),
            next_session: FIRST_OPERATION,
            tick: Arc::clone(&tick),
            storms: 0,
            last: VecDeque::new(),
            word: "",
            counts_faults: false,
            report: Report { trace: seed, ..Report::default() },
            nodes: nodes.clone(),
            dice: dice.clone(),
        }
    }

    fn note(&mut self, what: String) {
        if self.last.len() == LAST_EVENTS {
            self.last.pop_front();
        }
        self.last.push_back(format!("{:4} {what}", self.report.events));
    }

    fn mix(&mut self, with: u64) {
        self.report.trace = (self.report.trace ^ with).wrapping_mul(0x0000_0100_0000_01B3).rotate_left(17);
    }

    fn heard(&self, place: Place) -> Option<Heard> {
        lock(&self.upstreams[place - 1].heard).clone()
    }

    /// A new cluster with two tenants and its edges, then so many events, then rest.
    fn play(&mut self, events: u64, plant: Plant) -> Result<(), String> {
        self.found(plant)?;
        while self.report.events < events {
            self.report.events += 1;
            self.event()?;
            if self.report.events.is_multiple_of(REST_EVENTS) {
                self.rest()?;
            }
        }
        self.rest()
    }

    fn found(&mut self, plant: Plant) -> Result<(), String> {
        let (core, cluster, master) = (self.nodes[0].clone(), self.cluster, Rc::clone(&self.master));
        let founded: Rc<RefCell<Option<Arc<Vault>>>> = Rc::clone(&core.vault);
        self.finish_task(0, async move {
            let vault = core.found(cluster, &master).await.expect("nothing fails yet");
            vault.ensure_system_tenant().await.expect("nothing fails yet");
            *founded.borrow_mut() = Some(vault);
        })?;
        self.link.set(self.nodes[0].opened());
        for tenant in ["t0", "t1"] {
            let (tenant, service) = (name(tenant), name("s0"));
            let owner = tenant.clone();
            self.must_do(0, |op| Box::pin(async move { op.create_tenant(&tenant).await }))?;
            self.must_do(0, |op| {
                Box::pin(async move { op.create_service(&owner, &service, Some(&name("r0")).filter(|_| owner == name("t0"))).await })
            })?;
        }
        for group in self.groups.clone() {
            let tenants = if group == name("west") { vec![name("t0"), name("t1")] } else { vec![name("t0")] };
            self.must_do(0, |op| Box::pin(async move { op.enrol(&group, &tenants).await }))?;
        }
        self.models[0].borrow_mut().is_founding = false;
        if plant == Plant::StaleCore {
            let (stale, cluster, master) = (self.nodes[0].left_behind(), self.cluster, Rc::clone(&self.master));
            let upstreams = self.upstreams.clone();
            // Of another place: it does not go when the core does.
            self.finish_task(usize::MAX, async move {
                let vault = stale.unseal(cluster, &master).await.expect("nothing fails yet");
                upstreams.iter().for_each(|upstream| *lock(&upstream.stale) = Some(Arc::clone(&vault)));
            })?;
        }
        for place in 1..self.nodes.len() {
            self.begin(place);
        }
        self.settle()
    }

    /// Runs a task to its end, among all others.
    fn finish_task(&mut self, place: Place, work: impl Future<Output = ()> + 'static) -> Result<(), String> {
        let is_done = Rc::new(RefCell::new(false));
        let told = Rc::clone(&is_done);
        self.executor.spawn(
            place,
            Box::pin(async move {
                work.await;
                *told.borrow_mut() = true;
            }),
        );
        self.poll_until(|_| *is_done.borrow())
    }

    fn poll_until(&mut self, is_enough: impl Fn(&Self) -> bool) -> Result<(), String> {
        for _ in 0..POLLS_TO_REST_MAX {
            if is_enough(self) {
                return Ok(());
            }
            must!(
                self.poll()?,
                "nothing can go on, and this waits: {:?}",
                self.running.values().map(|running| &running.says).collect::<Vec<_>>()
            );
        }
        Err("it does not come to an end".to_owned())
    }

    /// Until nothing is in flight.
    fn settle(&mut self) -> Result<(), String> {
        self.poll_until(|simulation| simulation.running.is_empty())
    }

    /// One poll of one task, and a look at what came of it. False if no task can go on.
    fn poll(&mut self) -> Result<bool, String> {
        let born = std::mem::take(&mut *self.born.borrow_mut());
        born.into_iter().for_each(|(place, work)| self.executor.spawn(place, work));
        self.tick.fetch_add(1, Ordering::Relaxed);
        let has_polled = self.executor.poll_one(&self.dice) || !self.born.borrow().is_empty();
        self.report.polls += 1;
        for place in 0..self.nodes.len() {
            let journal = self.nodes[place].store.take_journal();
            for durable in &journal {
                for (id, _, after) in &durable.rows {
                    let (_, low) = id.uuid.as_u64_pair();
                    self.mix(low ^ after.as_ref().map_or(0, |row| row.header.generation.0));
                }
                let burnt = self.nodes[place].store.burnt();
                self.models[place].borrow_mut().commit(durable, &burnt).map_err(|what| format!("at node {place}: {what}"))?;
                self.came_under(place, durable)?;
                self.retired()?;
                self.report.commits += 1;
            }
        }
        (1..self.nodes.len()).try_for_each(|place| self.claimed(place))?;
        let done = std::mem::take(&mut *self.done.borrow_mut());
        for (session, done) in done {
            self.ended(session, done)?;
        }
        for model in &self.models {
            if let Some(broken) = model.borrow_mut().broken.pop() {
                return Err(broken);
            }
        }
        Ok(has_polled)
    }

    /// What an edge makes lies under a version that was Active since its lease was asked for.
    fn came_under(&self, place: Place, durable: &ports::Durable) -> Result<(), String> {
        if place == 0 {
            return Ok(());
        }
        for (id, before, after) in &durable.rows {
            let Some(row) = after.as_ref().filter(|row| is_wrapped_by_core(row)) else { continue };
            let parent = row.header.parent;
            let has_come = before.as_ref().is_none_or(|before| before.header.parent != parent);
            must!(
                !has_come || !self.models[place].borrow().left.contains(&parent),
                "{id} came under {parent:?}, which edge {place} had left"
            );
            let state = self.models[0].borrow().version(parent.chain, parent.version).map(|l3| l3.state);
            must!(!has_come || state != Some(State::Retired), "{id} came under {parent:?}, which is archived");
        }
        let sessions: Vec<SessionId> = durable.outbox.iter().map(|entry| entry.record.session).collect();
        // Of a group of several nobody can tell whose row it is: the one that began first may have the oldest lease.
        let known = sessions.iter().filter_map(|session| self.running.get(session)?.heard.as_ref().map(|heard| heard.tick)).min();
        let Some(asked) = known else { return Ok(()) };
        for (id, before, after) in &durable.rows {
            let Some(row) = after.as_ref().filter(|_| id.layer == Layer::L4 && before.is_none()) else { continue };
            let parent = row.header.parent;
            let core = self.models[0].borrow();
            let Some(until) = core.active.get(&(parent.chain, parent.version)) else {
                return Err(format!("{id} came under a version that never was Active"));
            };
            must!(
                until.is_none_or(|until| until >= asked),
                "{id} came under version {}, which was replaced at {:?}, before the edge asked for its lease at {asked}",
                parent.version.0,
                until
            );
        }
        Ok(())
    }

    /// The next event.
    fn event(&mut self) -> Result<(), String> {
        let kind = self.drawn();
        if self.befall(kind)? {
            *self.report.kinds.entry(kind).or_default() += 1;
        } else if self.running.len() < RUNNING_MAX
            && let Some(begun) = self.drawn_operation(kind)
        {
            let is_alone = self.running.is_empty() && self.dice.percent(50);
            let started = self.start(begun, is_alone);
            started.and_then(|session| self.running.get_mut(&session)).into_iter().for_each(|running| running.kind = Some(kind));
            if started.is_some() && is_alone {
                return self.settle();
            }
        }
        for _ in 0..self.dice.within(0..POLLS_MAX) {
            if !self.poll()? {
                break;
            }
        }
        Ok(())
    }

    /// Nothing fails at this node, as far as it goes by itself.
    fn is_calm(&self, place: Place) -> bool {
        let node = &self.nodes[place];
        let is_well =
            !node.store.is_stormy.load(Ordering::Relaxed) && !node.store.is_poisoned() && !node.audit.is_down.load(Ordering::Relaxed);
        let is_reached = !self.link.is_lossy.load(Ordering::Relaxed) && !self.link.is_cut.load(Ordering::Relaxed);
        !self.counts_faults && is_well && (place == 0 || (is_reached && self.nodes[0].opened().is_some() && self.is_calm(0)))
    }

    fn start(&mut self, begun: Begun, is_alone: bool) -> Option<SessionId> {
        let Begun { place, says, ends, serves, work } = begun;
        let vault = self.nodes[place].opened()?;
        let session = SessionId(self.next_session);
        self.next_session += 1;
        self.note(format!("{session:?} {}{says}", if is_alone { "alone: " } else { "" }));
        let op = Op { session, vault, model: Rc::clone(&self.models[place]) };
        let (work, done) = (work(op), Rc::clone(&self.done));
        self.executor.spawn(
            place,
            Box::pin(async move {
                let ended = work.await;
                done.borrow_mut().push((session, ended));
            }),
        );
        let running = Running {
            place,
            kind: None,
            says,
            ends,
            serves,
            is_alone,
            storms: self.storms,
            is_calm: self.is_calm(place),
            is_endangered: self.models[0].borrow().has_endangered(),
            tick: self.tick.load(Ordering::Relaxed),
            began: Pace::now(&*self.nodes[place].time),
            heard: (place > 0).then(|| self.heard(place)).flatten(),
        };
        self.running.insert(session, running);
        Some(session)
    }

    /// Runs one operation alone, which must succeed.
    fn must_do(&mut self, place: Place, work: impl FnOnce(Op) -> story::Work + 'static) -> Result<(), String> {
        let begun = Begun { place, says: "setting up".to_owned(), ends: vec!["Ok"], serves: None, work: Box::new(work) };
        self.start(begun, true).ok_or("the node is sealed")?;
        self.settle()
    }

    /// An operation came back to who asked.
    fn ended(&mut self, session: SessionId, done: Done) -> Result<(), String> {
        let Some(running) = self.running.remove(&session) else { return Ok(()) };
        let word = ending(&done);
        self.word = word;
        self.mix(session.0 ^ word.len() as u64 ^ u64::from(word.as_bytes()[0]) << 32);
        let (place, says) = (running.place, &running.says);
        let told = match &done {
            Ok(()) => String::new(),
            Err(error) => format!(" ({error})"),
        };
        let is_calm = running.is_calm && running.storms == self.storms;
        {
            let mut model = self.models[place].borrow_mut();
            let was_staged = model.pending.remove(&session).is_some();
            let is_durable = model.durable.contains(&session);
            model.told_of(session, self.tick.load(Ordering::Relaxed));
            must!(done.is_err() || !was_staged, "{says} was acknowledged and is not durable");
            must!(done.is_ok() || !is_durable || word == "Unavailable", "{says} was refused, {word}{told}, and is durable");
            must!(!matches!(word, "Corrupt" | "Forged" | "another refusal"), "{says} ended as {word}{told}");
            must!(!is_calm || place > 0 || word != "Unavailable", "{says} ended as {word}{told} although nothing failed");
            let is_to_do_again = running.is_endangered && matches!(word, "Raced" | "Unavailable");
            if running.is_alone && is_calm && !running.ends.is_empty() && !is_to_do_again {
                must!(running.ends.contains(&word), "{says} ended as {word}{told} and not as {:?}", running.ends);
            }
            let looked = model.looked.iter().position(|(looked, _, _)| *looked == session);
            if let Some((_, id, state)) = looked.map(|at| model.looked.swap_remove(at))
                && running.is_alone
            {
                model.tell(id, state)?;
            }
            let counted = model.counted.iter().position(|(counted, _, _)| *counted == session);
            if let Some((_, parent, count)) = counted.map(|at| model.counted.swap_remove(at))
                && running.is_alone
                && done.is_err()
            {
                let there = model.under(parent);
                must!(count == there, "{says} found {count} keys under {parent:?}, where {there} lie");
            }
        }
        if done.is_ok() {
            self.report.acknowledged += 1;
            running.kind.into_iter().for_each(|kind| *self.report.kinds.entry(kind).or_default() += 1);
            self.served(&running)?;
        }
        self.note(format!("{session:?} ended as {word}{told}, after {} polls", self.tick.load(Ordering::Relaxed) - running.tick));
        Ok(())
    }

    /// An edge has served somebody: its lease held when it was asked, and allowed it then or a moment later.
    fn served(&self, running: &Running) -> Result<(), String> {
        let (Some(service), true) = (&running.serves, running.place > 0) else { return Ok(()) };
        let now = self.heard(running.place);
        let allows = |heard: &Option<Heard>| {
            let lease = heard.as_ref().and_then(|heard| heard.lease.as_ref());
            lease.is_some_and(|lease| lease.tenants.iter().any(|tenant| tenant.id == service.tenant && !tenant.is_disabled))
        };
        must!(allows(&running.heard) || allows(&now), "{} was served against the lease", running.says);
        let held = |heard: &Option<Heard>| heard.as_ref().is_some_and(|heard| running.began < heard.asked + HOLDS);
        // A renewal that came between its beginning and its first look counts too.
        must!(held(&running.heard) || held(&now), "{} was served after the lease", running.says);
        Ok(())
    }

    /// A node loses its memory. What it was asked may be done or not; nobody hears of it.
    fn crash(&mut self, place: Place) {
        self.note(format!("node {place} crashes"));
        self.report.crashes += 1;
        self.nodes[place].vault.borrow_mut().take();
        if place == 0 {
            self.link.set(None);
            // What walked the core's rows does not know how far it was.
            self.walkers.iter().for_each(|walker| drop(walker.borrow_mut().take()));
            self.renewal.borrow_mut().take();
        } else {
            *lock(&self.upstreams[place - 1].heard) = None;
            self.edge_walkers[place - 1].borrow_mut().take();
        }
        self.executor.crash(place);
        self.born.borrow_mut().retain(|(owner, _)| *owner != place);
        self.running.retain(|_, running| running.place != place);
        self.models[place].borrow_mut().crashed(self.tick.load(Ordering::Relaxed));
        self.storms += 1;
    }

    /// The core is sealed when what it does is done.
    fn seal(&mut self) -> Result<(), String> {
        self.note("the core is sealed".to_owned());
        self.poll_until(|simulation| simulation.running.values().all(|running| running.place != 0))?;
        self.crash(0);
        Ok(())
    }

    /// A node that is not open tries to open.
    fn begin(&mut self, place: Place) {
        let node = self.nodes[place].clone();
        if node.opened().is_some() || self.running.values().any(|running| running.place == place) || (place == 0 && !self.has_device) {
            return;
        }
        let session = SessionId(self.next_session);
        self.next_session += 1;
        let (done, link, cluster, master) = (Rc::clone(&self.done), Arc::clone(&self.link), self.cluster, Rc::clone(&self.master));
        let upstream = self.upstreams.get(place.wrapping_sub(1)).cloned();
        let work = async move {
            let opened = match upstream {
                Some(upstream) => node.start_edge(upstream).await,
                None => node.unseal(cluster, &master).await,
            };
            let ended = opened.map(|vault| {
                *node.vault.borrow_mut() = Some(Arc::clone(&vault));
                if place == 0 {
                    link.set(Some(vault));
                }
            });
            done.borrow_mut().push((session, ended));
        };
        self.note(format!("{session:?} node {place} begins"));
        self.executor.spawn(place, Box::pin(work));
        let running = Running {
            place,
            kind: None,
            says: format!("the start of node {place}"),
            ends: Vec::new(),
            serves: None,
            is_alone: false,
            storms: self.storms,
            is_calm: self.is_calm(place),
            is_endangered: false,
            tick: self.tick.load(Ordering::Relaxed),
            began: Duration::ZERO,
            heard: None,
        };
        self.running.insert(session, running);
    }

    /// Everything comes to rest, and all that was promised is looked at: by the nodes as they are, and as they are after a restart.
    fn rest(&mut self) -> Result<(), String> {
        self.note("rest".to_owned());
        for node in &self.nodes {
            node.store.is_stormy.store(false, Ordering::Relaxed);
            node.audit.is_down.store(false, Ordering::Relaxed);
        }
        self.link.is_lossy.store(false, Ordering::Relaxed);
        self.link.is_cut.store(false, Ordering::Relaxed);
        self.has_device = true;
        self.storms += 1;
        self.settle()?;
        for place in 0..self.nodes.len() {
            if self.nodes[place].store.is_poisoned() || self.dice.percent(50) {
                self.crash(place);
            }
            self.begin(place);
            self.settle()?;
        }
        must!(self.nodes[0].opened().is_some(), "the core does not open");
        self.all_open_at_core()?;
        self.all_renewed()?;
        self.all_moved()?;
        if self.dice.percent(50) {
            self.all_open_at_core()?;
        }
        self.must_do(0, |op| Box::pin(async move { op.sweep().await }))?;
        (1..self.nodes.len()).try_for_each(|place| self.all_open_at_edge(place))?;
        self.all_retirable()
    }

    /// Runs one operation alone, which must end in this way; where a key has to be taken out from under a compromised version, at the latest
    /// when it is done again.
    fn must_end(
        &mut self,
        place: Place,
        says: &str,
        ends: &'static str,
        work: impl FnOnce(Op) -> story::Work + Clone + 'static,
    ) -> Result<(), String> {
        self.report.opened += 1;
        for _ in 0..TRIES_MAX {
            let begun = Begun { place, says: says.to_owned(), ends: vec![ends], serves: None, work: Box::new(work.clone()) };
            self.start(begun, true).ok_or("the node is sealed")?;
            self.settle()?;
            if self.word == ends {
                return Ok(());
            }
        }
        Err(format!("{says} does not end as {ends}"))
    }

    fn all_open_at_core(&mut self) -> Result<(), String> {
        let keys: Vec<_> = self.models[0].borrow().keys.values().filter(|key| key.header.id.layer == Layer::L3).cloned().collect();
        let now = self.nodes[0].opened().ok_or("the core is sealed")?.now();
        for key in keys {
            let service = key.header.owner.service.and_then(|service| self.models[0].borrow().service(service).cloned());
            // The keys of edge groups are used by their edges.
            let Some(service) = service else { continue };
            let is_disabled = self.models[0].borrow().tenants.get(&service.tenant_name).is_some_and(|tenant| tenant.is_disabled);
            let opens = matches!(key.state_at(now), State::Active | State::Deprecated);
            let ends = if is_disabled { "Denied" } else { ["WrongState", "Ok"][usize::from(opens)] };
            let (id, who) = (key.header.id, Who { role: Role::Service, tenant: service.tenant_name, service: Some(service.name) });
            let admin = Who { role: Role::TenantAdmin, ..who.clone() };
            let says = format!("opening {id} at rest");
            self.must_end(0, &says, ends, move |op| Box::pin(async move { op.use_key(&who, id, false).await }))?;
            if key.deactivation.is_some() && !is_disabled {
                self.must_end(0, "looking at rest", "Ok", move |op| Box::pin(async move { op.look(&admin, id).await }))?;
            }
        }
        Ok(())
    }

    /// One whole walk leaves nothing under an old version.
    fn all_moved(&mut self) -> Result<(), String> {
        let walker: Rc<RefCell<Option<Cursor>>> = Rc::default();
        loop {
            let step = Rc::clone(&walker);
            let limit = usize::try_from(self.dice.within(10..30)).expect("few");
            let work: Box<dyn FnOnce(Op) -> story::Work> = Box::new(move |op| Box::pin(async move { op.walk(&step, limit).await }));
            self.start(Begun { place: 0, says: "a walk at rest".to_owned(), ends: vec!["Ok"], serves: None, work }, true)
                .ok_or("the node is sealed")?;
            self.settle()?;
            if self.word == "Ok" && walker.borrow().is_none() {
                break;
            }
        }
        let model = self.models[0].borrow();
        for header in model.stored.values().filter(|header| matches!(header.id.layer, Layer::L2 | Layer::L21 | Layer::L3)) {
            let active = model.active_of(header.parent.chain).map(|active| active.version);
            must!(active == Some(header.parent.version), "after a whole walk {} lies under version {}", header.id, header.parent.version.0);
        }
        Ok(())
    }

    /// An object is out of reach only because somebody has compromised or destroyed what it lies under, or given its edge up.
    fn is_within_reach(&self, place: Place, id: RowId) -> Result<(), String> {
        let Some(row) = self.nodes[place].store.row(id).filter(is_wrapped_by_core) else { return Ok(()) };
        let ParentRef { chain, version } = row.header.parent;
        let state = self.models[0].borrow().version(chain, version).map(|l3| l3.state);
        must!(state.is_some(), "{id} lies under an L3 that is not there");
        must!(state != Some(State::Retired) || self.lost.contains(&(place, id)), "{id} lies under an L3 that was retired");
        Ok(())
    }

    fn all_open_at_edge(&mut self, place: Place) -> Result<(), String> {
        let is_revoked = self.models[0].borrow().groups.get(&self.groups[place - 1]).is_none_or(|group| group.is_revoked);
        if is_revoked {
            return Ok(());
        }
        self.begin(place);
        self.settle()?;
        must!(self.nodes[place].opened().is_some(), "edge {place} does not start although its core is there");
        self.must_do(place, |op| Box::pin(async move { op.renew_lease().await }))?;
        let objects: Vec<_> = self.models[place].borrow().keys.values().cloned().collect();
        for object in objects {
            self.is_within_reach(place, object.header.id)?;
            for kind in [Kind::UseObject, Kind::LookAtObject] {
                let Some(begun) = self.at_rest(kind, place, &object) else { continue };
                self.start(begun, true).ok_or("the edge is gone")?;
                self.report.opened += 1;
                self.settle()?;
            }
        }
        // An object that was noted while its L3 still opened may be out of reach by now.
        let work: Box<dyn FnOnce(Op) -> story::Work> = Box::new(|op| Box::pin(async move { op.tend().await }));
        let begun = Begun { place, says: "tending at rest".to_owned(), ends: vec!["Ok", "Withdrawn"], serves: None, work };
        self.start(begun, true).ok_or("the edge is gone")?;
        self.settle()
    }
}
