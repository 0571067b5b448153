//! The outage matrix: a core under load on each kind of keystore meets each fault of it; what clients are told, how soon, and what is left of it, as a table.

use std::any::Any;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use daemon::kmip_client::KmipError;

use crate::appliance::{Who, wait_for, wait_for_within};
use crate::core::Core;
use crate::load::Over;
use crate::requests::{self, Secret};
use crate::soak::ledger::{Ledger, Scope};
use crate::soak::random::Random;
use crate::soak::stores::{Estate, Fault, STORES, Store};
use crate::soak::verified;
use crate::soak::workload::{Hand, Refusals};

/// F7: a caller hears of it within 5 s, and a machine that is busy with others adds something.
const TOLD_WITHIN: Duration = Duration::from_secs(8);
/// Once the keystore is there again.
const BACK_WITHIN: Duration = Duration::from_secs(15);
/// F7.
const GROWTH_MIB_MAX: u64 = 64;
/// Between two requests of a client.
const PAUSE: Duration = Duration::from_millis(30);
/// How long a fault lasts of which clients need not hear.
const HEALS_WITHIN: Duration = Duration::from_secs(3);
/// A keystore that is full has room for a while.
const HEARD_WITHIN: Duration = Duration::from_secs(90);
/// All that clients may be told.
const REFUSAL: &str = "unavailable; try again later";
/// And that, if the keystore answers with what is no row.
const DAMAGED: &str = "the stored object does not verify";

/// What a client has been answered.
struct Answer {
    began: Instant,
    took: Duration,
    name: String,
    /// The key, or what it was told.
    outcome: Result<String, String>,
}

/// One line of the table.
struct Cell {
    store: &'static str,
    fault: &'static str,
    told: BTreeSet<String>,
    slowest: Duration,
    back: Duration,
    orphans: u64,
    grown_mib: u64,
}

/// A core at work on a keystore.
struct Scene {
    estate: Estate,
    warm: Secret,
    ledgers: Vec<(Ledger, Random)>,
}

impl Scene {
    fn set(store: Store, random: &mut Random) -> Self {
        let estate = store.estate();
        let warm = warm(estate.core());
        // None of them has the default key: when a service is given another, who may do what is read anew, which takes the keystore.
        Self { estate, warm, ledgers: (0..2).map(|_| (Ledger::default(), random.fork())).collect() }
    }
}

/// Runs `count` faults of each keystore, or all that there are; says what was seen, as a table.
///
/// - `only`: begins the names of the keystores that are meant; all of them if it is empty.
///
/// # Panics
/// At its end, if an acknowledged change was lost, or an answer was wrong or late.
#[must_use]
pub fn store_outage_campaign(count: u32, seed: u64, only: &str) -> String {
    let mut random = Random::new(seed);
    let (mut cells, mut failures) = (Vec::new(), Vec::new());
    for store in STORES.into_iter().filter(|store| store.name().starts_with(only)) {
        let mut scene = None;
        for fault in store.faults().iter().take(count as usize) {
            let mut stage = scene.take().unwrap_or_else(|| Scene::set(store, &mut random));
            // What comes after a cell that failed is told, too; it begins anew.
            match catch_unwind(AssertUnwindSafe(|| cell(store.name(), &mut stage, *fault, &mut random))) {
                Ok(cell) => {
                    crate::told(&cell.line());
                    cells.push(cell);
                    scene = Some(stage);
                }
                Err(why) => {
                    let failure = format!("{store}, {fault}: {why}", store = store.name(), fault = fault.name(), why = words(&*why));
                    crate::told(&failure);
                    failures.push(failure);
                }
            }
        }
        if let Some(Scene { mut estate, .. }) = scene {
            let core = estate.core_mut();
            core.stop();
            let _verified = verified(core);
        }
    }
    assert!(failures.is_empty(), "{}\nfailed: {failures:#?}", table(&cells));
    table(&cells)
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

fn table(cells: &[Cell]) -> String {
    let mut text = String::from(
        "| keystore | fault | what clients are told | at the latest after | goes on after | orphans | memory |\n|---|---|---|---|---|---|---|\n",
    );
    for cell in cells {
        writeln!(text, "{}", cell.line()).expect("a string takes it");
    }
    write!(text, "{} faults; acknowledged and lost 0", cells.len()).expect("a string takes it");
    text
}

impl Cell {
    fn line(&self) -> String {
        let Self { store, fault, told, slowest, back, orphans, grown_mib } = self;
        let (told, slowest) = if told.is_empty() {
            ("nothing".to_owned(), "-".to_owned())
        } else {
            (Vec::from_iter(told.iter().cloned()).join("; "), format!("{:.1} s", slowest.as_secs_f64()))
        };
        format!("| {store} | {fault} | {told} | {slowest} | {:.1} s | {orphans} | +{grown_mib} MiB |", back.as_secs_f64())
    }
}

fn warm(core: &Core) -> Secret {
    let mut admin = core.connect(Who::TenantAdmin);
    let key = requests::create(&mut admin, "warm").expect("the core is well");
    requests::activate(&mut admin, &key).expect("the core is well");
    requests::encrypt(&mut core.connect(Who::Service), &key, b"warm".to_vec()).expect("the core is well")
}

fn cell(store: &'static str, scene: &mut Scene, fault: Fault, random: &mut Random) -> Cell {
    let Scene { estate, warm, ledgers } = scene;
    let warm = &*warm;
    let (is_over, answers, served) = (AtomicBool::new(false), Mutex::new(Vec::new()), AtomicU64::new(0));
    let seen = || answers.lock().unwrap_or_else(PoisonError::into_inner);
    let (from, ended, grown_mib) = thread::scope(|scope| {
        let (core, means) = estate.parts();
        let is_over = &is_over;
        let over = Over(is_over);
        for (number, (ledger, random)) in ledgers.iter_mut().enumerate() {
            let hand = Hand::connect(core, format!("w{number}"), ledger, random, Refusals::Counted).expect("the core serves");
            scope.spawn(|| assert!(hand.work_until(is_over, PAUSE), "a core that runs ends no connection"));
        }
        scope.spawn(|| {
            let mut service = core.connect(Who::Service);
            while !is_over.load(Ordering::Relaxed) {
                assert_eq!(requests::decrypt(&mut service, warm).expect("an open key needs no keystore"), warm.plain);
                served.fetch_add(1, Ordering::Relaxed);
                thread::park_timeout(PAUSE);
            }
        });
        scope.spawn(|| probe(core, &format!("{} {}", fault.name(), random.next()), is_over, &answers));
        // Who is new, and what was not opened yet, needs the keystore once.
        let is_well = || seen().iter().filter(|answer| answer.outcome.is_ok()).count() > 3 && served.load(Ordering::Relaxed) > 3;
        assert!(wait_for(is_well), "nothing is made before {}", fault.name());
        let before = resident_mib(core);
        let from = Instant::now();
        means.begin(fault);
        let refused = || seen().iter().filter(|answer| answer.began >= from && answer.outcome.is_err()).count();
        let heard = wait_for_within(if fault.is_heard() { HEARD_WITHIN } else { HEALS_WITHIN }, || refused() > 1);
        assert!(heard || !fault.is_heard(), "{store}, {}: no client hears of it", fault.name());
        means.end(fault);
        let ended = Instant::now();
        let is_back = wait_for(|| back(&seen(), ended).is_some());
        assert!(is_back, "{store}, {}: it does not go on: {}", fault.name(), core.status());
        let grown_mib = peak_mib(core).saturating_sub(before);
        drop(over);
        (from, ended, grown_mib)
    });
    let core = estate.core_mut();
    core.kill();
    core.start();
    for (ledger, random) in ledgers.iter_mut() {
        ledger.check(core, Scope::Sample, random);
    }
    let answers = answers.into_inner().unwrap_or_else(PoisonError::into_inner);
    must_be_kept(core, &answers);
    let orphans = findings(core) + estate.orphans();
    let refused =
        || answers.iter().filter(|answer| answer.began >= from).filter_map(|answer| Some((answer.took, answer.outcome.as_ref().err()?)));
    let cell = Cell {
        store,
        fault: fault.name(),
        told: refused().map(|(_, said)| said.clone()).collect(),
        slowest: refused().map(|(took, _)| took).max().unwrap_or_default(),
        back: back(&answers, ended).expect("it was waited for"),
        orphans,
        grown_mib,
    };
    let line = cell.line();
    let may_be = |said: &String| said.contains(REFUSAL) || said.contains(DAMAGED) && matches!(fault, Fault::Lies(_));
    assert!(cell.told.iter().all(may_be), "{line}");
    assert!(cell.slowest <= TOLD_WITHIN && cell.back <= BACK_WITHIN && cell.grown_mib <= GROWTH_MIB_MAX && cell.orphans == 0, "{line}");
    cell
}

/// Creates key after key and notes what it is answered.
fn probe(core: &Core, prefix: &str, is_over: &AtomicBool, answers: &Mutex<Vec<Answer>>) {
    let mut admin = core.connect(Who::TenantAdmin);
    for number in 0_u32.. {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        let (name, began) = (format!("{prefix}-{number}"), Instant::now());
        let outcome = requests::create(&mut admin, &name).map_err(|error| match error {
            KmipError::Kmip(kmip::Error::Refused { reason: Some(reason), message, .. }) => format!("{reason:?}: {message}"),
            other => panic!("a core that runs answers: {other}"),
        });
        answers.lock().unwrap_or_else(PoisonError::into_inner).push(Answer { began, took: began.elapsed(), name, outcome });
        thread::park_timeout(PAUSE);
    }
}

/// How long after `ended` the first request was answered well that was made after it.
fn back(answers: &[Answer], ended: Instant) -> Option<Duration> {
    let first = answers.iter().find(|answer| answer.outcome.is_ok() && answer.began >= ended)?;
    Some((first.began + first.took).duration_since(ended))
}

/// What was acknowledged is there once, what was refused once or not at all.
fn must_be_kept(core: &Core, answers: &[Answer]) {
    let mut admin = core.connect(Who::TenantAdmin);
    for Answer { name, outcome, .. } in answers {
        let found = requests::locate(&mut admin, name).unwrap_or_else(|error| panic!("Locate of {name}: {error}"));
        match outcome {
            Ok(key) => assert_eq!(found, std::slice::from_ref(key), "{name} was acknowledged"),
            Err(_) => assert!(found.len() < 2, "{name} is there {} times", found.len()),
        }
    }
}

/// What the sweep after a start has found.
fn findings(core: &Core) -> u64 {
    assert!(wait_for(|| core.status().contains("\"swept\": \"")), "{}", core.status());
    let page = core.metrics();
    let line = page.lines().find_map(|line| line.strip_prefix("strongroom_sweep_findings ")).expect("it is on the page");
    line.trim_end_matches(".0").parse().expect("a number")
}

fn resident_mib(core: &Core) -> u64 {
    // From now on the peak counts anew (proc(5)).
    fs::write(format!("/proc/{}/clear_refs", core.pid()), "5").expect("it runs");
    memory(core, "VmRSS:")
}

fn peak_mib(core: &Core) -> u64 {
    memory(core, "VmHWM:")
}

fn memory(core: &Core, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", core.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("Linux tells it");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1024
}
