//! The campaign of the simulated domain: one seed after the other, each with its own order of events, faults, crashes and lost answers.
//!
//! The simulation itself stands with the domain's tests, and needs no program: `keys/tests/simulation`.

#[path = "../../../keys/tests/simulation/mod.rs"]
mod world;

use std::fmt::{self, Display};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use world::{EVENTS, Fails, Failure, KINDS, Plant, Report, outcome_with_fault, rotated_at_once, run};

/// So many seeds must be enough to find what is planted.
const SEEDS_TO_FIND: u64 = 200;

/// What was simulated.
#[derive(Debug)]
struct Simulated {
    seeds: u64,
    all: Report,
    /// Which event of which seed told of each planted fault.
    found: Vec<(Plant, u64, u64)>,
    /// Calls to the store that failed in a rotation.
    faults: u64,
    took: Duration,
}

impl Display for Simulated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { events, polls, acknowledged, commits, crashes, opened, ref kinds, .. } = self.all;
        let rate = events as f64 / self.took.as_secs_f64();
        writeln!(f, "{} seeds, {events} events in {:.1?} ({rate:.0} a second), {polls} polls", self.seeds, self.took)?;
        writeln!(f, "{acknowledged} operations acknowledged, {commits} commits held against the model, {crashes} crashes")?;
        writeln!(f, "{opened} keys opened and compared at rest")?;
        write!(f, "events that were acknowledged or have happened:")?;
        KINDS.iter().try_for_each(|(kind, _)| write!(f, " {kind:?} {}", kinds.get(kind).unwrap_or(&0)))?;
        writeln!(f)?;
        for (plant, seed, event) in &self.found {
            writeln!(f, "planted, {plant:?}: found by seed {seed} at event {event}")?;
        }
        write!(f, "{} rotations with one call to the store failing ended as the one without", self.faults)
    }
}

/// Runs `count` seeds from `seed` on, as many at a time as there are processors; before that, shows that what is planted is found.
///
/// # Panics
/// With seed, event and the last events, if a promise is found broken.
pub fn simulation_campaign(count: u32, seed: u64) -> impl Display {
    let found = Plant::ALL.map(|(plant, promise)| find(plant, promise, seed)).to_vec();
    let faults = faults_by_counting(u64::from(count));
    if let Err(broken) = rotated_at_once(count as usize) {
        panic!("{count} rotations at once: {broken}");
    }
    let began = Instant::now();
    let (next, all) = (AtomicU64::new(0), Mutex::new(Report::default()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= u64::from(count) {
                        break;
                    }
                    let report = run(seed.wrapping_add(at), EVENTS, Plant::Nothing).unwrap_or_else(|failure| broken(&failure));
                    all.lock().expect("no thread panics with it").add(&report);
                }
            });
        }
    });
    let all = all.into_inner().expect("no thread panicked with it");
    Simulated { seeds: count.into(), all, found, faults, took: began.elapsed() }
}

fn broken(failure: &Failure) -> ! {
    panic!("{failure}replay it: cargo xtask soak simulation --count 1 --seed {}", failure.seed)
}

fn find(plant: Plant, promise: &str, seed: u64) -> (Plant, u64, u64) {
    let by_promise = |at| run(seed.wrapping_add(at), EVENTS, plant).err().filter(|found| found.what.contains(promise));
    let tried = (0..SEEDS_TO_FIND).find_map(by_promise);
    let found = tried.unwrap_or_else(|| panic!("{plant:?} is planted and not found by {SEEDS_TO_FIND} seeds from {seed} on"));
    (plant, found.seed, found.event)
}

/// Lets each call to the store fail in a rotation, until there is no further one or `count` calls were through.
fn faults_by_counting(count: u64) -> u64 {
    let tried = |nth, how| outcome_with_fault(nth, how).unwrap_or_else(|broken| panic!("{broken}"));
    let (expected, _) = tried(u64::MAX, Fails::Before);
    let mut faults = 0;
    for how in Fails::ALL {
        for nth in 0..count {
            let (outcome, has_struck) = tried(nth, how);
            assert_eq!(outcome, expected, "call {nth} failing {how:?}");
            if !has_struck {
                break;
            }
            faults += 1;
        }
    }
    faults
}
