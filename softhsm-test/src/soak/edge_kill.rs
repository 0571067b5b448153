//! The kill campaign of an edge: it, its core or both are killed while it is under load, and nothing that the edge acknowledged may be missing (F1).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::appliance::{Who, wait_for};
use crate::edge::Edge;
use crate::requests;
use crate::soak::ledger::{Counts, Ledger, Scope};
use crate::soak::random::Random;
use crate::soak::verified;
use crate::soak::workload::{Hand, Refusals};

const KILLS_PER_FOLDER: u32 = 50;
/// After so many kills of one folder everything is checked, not only a sample.
const KILLS_TO_A_FULL_CHECK: u32 = 10;
/// What is killed lives between these two.
const LIFE_MILLIS: std::ops::Range<u64> = 10..500;
/// The load goes on for so long after a kill.
const AFTERWARDS_MILLIS: std::ops::Range<u64> = 10..300;
/// Clients at work, each with two connections.
const WORKERS: usize = 3;

/// What is killed, in turn.
const TARGETS: [Target; 3] = [Target { edge: true, core: false }, Target { edge: false, core: true }, Target { edge: true, core: true }];

#[derive(Clone, Copy)]
struct Target {
    edge: bool,
    core: bool,
}

/// What a campaign has seen.
#[derive(Debug, Default)]
struct Tally {
    kills: u32,
    counts: Counts,
    keys: usize,
    secrets: usize,
    slowest: Duration,
}

/// Runs `count` rounds of load, kill, restart and check; says what was seen.
///
/// # Panics
/// At the first thing that is missing or does not verify.
#[must_use]
pub fn edge_kill_campaign(count: u32, seed: u64) -> String {
    let mut random = Random::new(seed);
    let mut tally = Tally::default();
    while tally.kills < count {
        kill_in_one_folder(KILLS_PER_FOLDER.min(count - tally.kills), &mut random, &mut tally);
    }
    let Counts { acknowledged, changes, refused, completed, absent, checked } = tally.counts;
    format!(
        "kills {} (edge, core, both in turn); keys {}, ciphertexts {}; acknowledged {acknowledged} (changes {changes}), lost 0; refused {refused}; \
         unanswered changes: {completed} there as a whole, {absent} absent, 0 by half; looked at {checked}; audit logs of both verified each time; \
         slowest kill to all checked {:.1} s",
        tally.kills,
        tally.keys,
        tally.secrets,
        tally.slowest.as_secs_f64()
    )
}

fn kill_in_one_folder(kills: u32, random: &mut Random, tally: &mut Tally) {
    let mut edge = Edge::prepared_with(&["lease: 1s"]);
    let mut workers: Vec<_> = (0..WORKERS).map(|_| (Ledger::default(), random.fork())).collect();
    edge.start_both();
    let mut audited = verified(&edge).records;
    for round in 1..=kills {
        let acknowledged = total(&workers).acknowledged;
        let target = TARGETS[tally.kills as usize % TARGETS.len()];
        load_over_a_kill(&mut edge, &mut workers, random, target);
        tally.kills += 1;
        let killed = Instant::now();
        start(&mut edge, target);
        let scope = if round == kills || round % KILLS_TO_A_FULL_CHECK == 0 { Scope::Everything } else { Scope::Sample };
        workers.iter_mut().for_each(|(ledger, _)| ledger.check(&edge, scope, random));
        let _core = verified(&edge.core);
        let now = verified(&edge).records;
        let acknowledged = total(&workers).acknowledged - acknowledged;
        assert!(now - audited >= acknowledged, "{acknowledged} operations were acknowledged, {} records were written", now - audited);
        audited = now;
        tally.slowest = tally.slowest.max(killed.elapsed());
    }
    edge.stop_both();
    tally.counts += total(&workers);
    tally.keys += workers.iter().map(|(ledger, _)| ledger.keys.len()).sum::<usize>();
    tally.secrets += workers.iter().map(|(ledger, _)| ledger.secrets.len()).sum::<usize>();
}

fn total(workers: &[(Ledger, Random)]) -> Counts {
    let mut total = Counts::default();
    workers.iter().for_each(|(ledger, _)| total += ledger.counts);
    total
}

fn load_over_a_kill(edge: &mut Edge, workers: &mut [(Ledger, Random)], random: &mut Random, target: Target) {
    let (life, afterwards) = (random.within(LIFE_MILLIS), random.within(AFTERWARDS_MILLIS));
    let (edge_pid, core_pid) = (edge.pid(), edge.core.pid());
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let (edge, over) = (&*edge, &over);
        for (number, (ledger, random)) in workers.iter_mut().enumerate() {
            scope.spawn(move || {
                // What is the core's to answer is refused while it is away.
                let hand = Hand::connect(edge, format!("w{number}"), ledger, random, Refusals::Counted);
                hand.is_some_and(|hand| hand.work_until(over, Duration::ZERO))
            });
        }
        // A channel that nobody sends on is the timer.
        let (_keep, timer) = mpsc::channel::<()>();
        let _lived = timer.recv_timeout(Duration::from_millis(life));
        let kill = |pid| crate::signal(pid, nix::sys::signal::Signal::SIGKILL);
        [(target.edge, edge_pid), (target.core, core_pid)].into_iter().filter(|(is_target, _)| *is_target).for_each(|(_, pid)| kill(pid));
        let _afterwards = timer.recv_timeout(Duration::from_millis(afterwards));
        over.store(true, Ordering::Relaxed);
    });
    if target.edge {
        edge.kill();
    }
    if target.core {
        edge.core.kill();
    }
}

/// Brings back what was killed, and waits until the edge speaks to its core.
fn start(edge: &mut Edge, target: Target) {
    if target.core {
        edge.core.start();
    }
    if target.edge {
        edge.start();
    }
    let l3 = edge.value("L3_ID");
    let mut client = edge.connect(Who::Service);
    let is_back = wait_for(|| requests::encrypt(&mut client, &l3, vec![1]).is_ok());
    assert!(is_back, "the edge does not find its core again: {}", edge.standing());
}
