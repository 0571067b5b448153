//! Faults by counting for rotation: the same life of a few keys, with one call to the store failing; and very many rotations at once.

use std::cell::RefCell;
use std::rc::Rc;

use cipher::aead::Aead;
use keys::id::{KeyVersion, Layer};
use keys::policy::Role;
use keys::reencrypt::Cursor;
use keys::rotate::NewIvk;

use super::model::must;
use super::operations::{Op, Who, name};
use super::ports::Fails;
use super::story::{Begun, Work};
use super::{Plant, Simulation};

/// How keys lie in the end: layer, version, state, and the version that they lie under.
pub(crate) type Outcome = Vec<(Layer, u32, String, u32)>;

/// A step of the scenario, and by which refusals one that is done again says that it was done before.
struct Step {
    says: &'static str,
    done_before: &'static [&'static str],
    work: Rc<dyn Fn(Op) -> Work>,
    /// Of a walk, which is done when it has come to its end.
    walker: Option<Rc<RefCell<Option<Cursor>>>>,
}

fn step(says: &'static str, done_before: &'static [&'static str], work: impl Fn(Op) -> Work + 'static) -> Step {
    Step { says, done_before, work: Rc::new(work), walker: None }
}

/// A whole walk, in steps of two rows.
fn walk() -> Step {
    let walker: Rc<RefCell<Option<Cursor>>> = Rc::default();
    let at = Rc::clone(&walker);
    let work = move |op: Op| -> Work {
        let at = Rc::clone(&at);
        Box::pin(async move { op.walk(&at, 2).await })
    };
    Step { walker: Some(walker), ..step("walk", &[], work) }
}

fn rotation(byte: u8, aead: Aead, is_compromised: bool, master: &Rc<keys::hierarchy::MasterKey>) -> impl Fn(Op) -> Work + use<> {
    let (master, new) =
        (Rc::clone(master), NewIvk { aead: Some(aead), is_compromised, renews: false, off_boarded: None, request: Some([byte; 32]) });
    move |op| {
        let master = Rc::clone(&master);
        Box::pin(async move { op.rotate_ivk(&master, new).await })
    }
}

fn retirement(version: u32) -> impl Fn(Op) -> Work {
    move |op| Box::pin(async move { op.retire_ivk(KeyVersion(version)).await })
}

impl Simulation {
    /// Create keys, rotate, walk, retire, rotate a compromised version, walk, replace a tenant's key, walk, rotate, walk, retire.
    fn scenario(&self) -> Vec<Step> {
        let admin = Who { role: Role::TenantAdmin, tenant: name("t0"), service: Some(name("s0")) };
        let first = self.models[0].borrow().tenants[&name("t0")].id;
        let l2 =
            self.models[0].borrow().stored.values().find(|key| key.id.layer == Layer::L2 && key.owner.tenant == first).map(|key| key.id);
        let (l2, maker, owner) = (l2.expect("it was made"), admin.clone(), admin);
        let (create, tenant) = (name("t2"), name("t2"));
        vec![
            step("create a tenant", &["NameTaken"], move |op| {
                let tenant = create.clone();
                Box::pin(async move { op.create_tenant(&tenant).await })
            }),
            step("create its service", &["NameTaken"], move |op| {
                let tenant = tenant.clone();
                Box::pin(async move { op.create_service(&tenant, &name("s0"), None).await })
            }),
            step("create a key", &["NameTaken"], move |op| {
                let who = maker.clone();
                Box::pin(async move { op.create_key(&who, "k").await })
            }),
            step("rotate", &[], rotation(1, Aead::XChaCha20Poly1305, false, &self.master)),
            walk(),
            step("retire version 1", &["WrongState"], retirement(1)),
            step("rotate a compromised version", &[], rotation(2, Aead::Aes256GcmSiv, true, &self.master)),
            walk(),
            step("replace a tenant's key", &["Replaced"], move |op| {
                let who = owner.clone();
                Box::pin(async move { op.rekey(&who, l2).await })
            }),
            walk(),
            step("rotate once more", &[], rotation(3, Aead::Aes256Gcm, false, &self.master)),
            walk(),
            step("retire version 3", &["WrongState"], retirement(3)),
        ]
    }

    /// Does a step until it is done: after each failure the node begins anew on what is stored.
    fn persist(&mut self, step: &Step) -> Result<(), String> {
        let mut words = Vec::new();
        while words.len() < 3 {
            let work = Rc::clone(&step.work);
            let begun =
                Begun { place: 0, says: step.says.to_owned(), ends: Vec::new(), serves: None, work: Box::new(move |op| (*work)(op)) };
            self.start(begun, true).ok_or("the node is sealed")?;
            self.settle()?;
            let is_done = self.word == "Ok" || (!words.is_empty() && step.done_before.contains(&self.word));
            match &step.walker {
                _ if !is_done => {}
                Some(walker) if walker.borrow().is_some() => continue,
                _ => return Ok(()),
            }
            words.push(self.word);
            step.walker.iter().for_each(|walker| drop(walker.borrow_mut().take()));
            self.crash(0);
            self.begin(0);
            self.settle()?;
        }
        Err(format!("{} does not come to an end: {words:?}", step.says))
    }

    fn outcome(&self) -> Outcome {
        let model = self.models[0].borrow();
        let lies = |key: &keys::row::Header| {
            let parent = if key.id.layer == Layer::Ivk { 0 } else { key.parent.version.0 };
            (key.id.layer, key.version.0, format!("{:?}", key.state), parent)
        };
        let mut outcome: Outcome = model.stored.values().map(lies).collect();
        outcome.sort();
        outcome
    }
}

/// The outcome of the scenario with the `nth` call to the store failing, and whether there was such a call.
///
/// # Errors
/// The first promise that was found broken.
pub(crate) fn outcome_with_fault(nth: u64, how: Fails) -> Result<(Outcome, bool), String> {
    let mut simulation = Simulation::new(nth, Plant::Nothing);
    simulation.found(Plant::Nothing)?;
    simulation.counts_faults = true;
    let store = std::sync::Arc::clone(&simulation.nodes[0].store);
    store.fail_after(nth, how);
    for step in simulation.scenario() {
        simulation.persist(&step).map_err(|what| format!("call {nth} failing {how:?}: {what}"))?;
    }
    let has_struck = !store.take_failing();
    simulation.counts_faults = false;
    simulation.rest()?;
    Ok((simulation.outcome(), has_struck))
}

/// Lets so many rotations run at once on one vault; returns how many were acknowledged.
///
/// # Errors
/// The first promise that was found broken, also that a loser was not told that it lost a race.
pub(crate) fn rotated_at_once(count: usize) -> Result<usize, String> {
    let mut simulation = Simulation::new(1, Plant::Nothing);
    simulation.found(Plant::Nothing)?;
    let before = simulation.report.acknowledged;
    for _ in 0..count {
        let work: Box<dyn FnOnce(Op) -> Work> = Box::new(rotation_of_anybody(&simulation.master));
        let begun = Begun { place: 0, says: "rotate".to_owned(), ends: vec!["Ok", "Raced"], serves: None, work };
        simulation.start(begun, true).ok_or("the node is sealed")?;
    }
    simulation.settle()?;
    let won = usize::try_from(simulation.report.acknowledged - before).map_err(|error| error.to_string())?;
    let versions = simulation.outcome().iter().filter(|(layer, ..)| *layer == Layer::Ivk).count();
    must!(versions == won + 1, "{won} rotations were acknowledged, and there are {versions} versions");
    simulation.rest()?;
    Ok(won)
}

fn rotation_of_anybody(master: &Rc<keys::hierarchy::MasterKey>) -> impl FnOnce(Op) -> Work + use<> {
    let master = Rc::clone(master);
    move |op| Box::pin(async move { op.rotate_ivk(&master, NewIvk::default()).await })
}
