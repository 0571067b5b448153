//! The stop campaign: a core under load is stopped and continued by signals, as a freezer or a debugger does; nothing is lost (F22).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::appliance::{Who, signal};
use crate::core::Core;
use crate::requests;
use crate::soak::ledger::{Counts, Ledger, Scope};
use crate::soak::random::Random;
use crate::soak::verified;
use crate::soak::workload::{Hand, Refusals};

/// Clients at work, each with two connections.
const WORKERS: usize = 3;
/// The core runs between these two before it is stopped.
const RUNS_MILLIS: std::ops::Range<u64> = 100..600;
/// How long it stands still: in a campaign of more than [`BRIEF_ROUNDS`] rounds, and in a shorter one.
const STOPPED: Duration = Duration::from_secs(60);
const STOPPED_BRIEFLY: Duration = Duration::from_secs(3);
/// A client of ours gives an answer up after this time, and connects again.
const CLIENTS_WAIT: Duration = Duration::from_secs(30);
const BRIEF_ROUNDS: u32 = 5;
/// A request that is made once it goes on is answered within this time.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);

/// Stops and continues a core `count` times; says what was seen.
///
/// # Panics
/// If something acknowledged is missing, a request is refused, a connection is cut before its client gives up, or the core does not go on at once.
#[must_use]
pub fn stop_campaign(count: u32, seed: u64) -> String {
    let pause = if count > BRIEF_ROUNDS { STOPPED } else { STOPPED_BRIEFLY };
    let mut random = Random::new(seed);
    let mut core = Core::prepared();
    core.start();
    let mut workers: Vec<_> = (0..WORKERS).map(|_| (Ledger::default(), random.fork())).collect();
    workers[0].0.add_default(&core);
    let (over, cut) = (AtomicBool::new(false), AtomicU64::new(0));
    let slowest = thread::scope(|scope| {
        for (number, (ledger, random)) in workers.iter_mut().enumerate() {
            let (core, over, cut) = (&core, &over, &cut);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let hand = Hand::connect(core, format!("w{number}"), ledger, random, Refusals::Forbidden);
                    cut.fetch_add(u64::from(!hand.is_some_and(|hand| hand.work_until(over, Duration::ZERO))), Ordering::Relaxed);
                }
            });
        }
        let slowest = (0..count).map(|_| stop_once(&core, pause, &mut random)).max();
        over.store(true, Ordering::Relaxed);
        slowest.unwrap_or_default()
    });
    let cut = cut.into_inner();
    assert!(cut == 0 || pause > CLIENTS_WAIT, "{cut} connections were cut");
    let mut counts = Counts::default();
    for (ledger, random) in &mut workers {
        ledger.check(&core, Scope::Everything, random);
        counts += ledger.counts;
    }
    core.stop();
    let records = verified(&core).records;
    assert!(records >= counts.acknowledged, "{} operations were acknowledged, {records} are recorded", counts.acknowledged);
    let Counts { acknowledged, changes, checked, .. } = counts;
    format!(
        "stops {count} of {} s; acknowledged {acknowledged} (changes {changes}), lost 0; connections given up by clients {cut}; looked at {checked}; first answer afterwards \
         within {} ms",
        pause.as_secs(),
        slowest.as_millis()
    )
}

/// Returns how long a client who asks as soon as the core goes on waits for its answer.
fn stop_once(core: &Core, pause: Duration, random: &mut Random) -> Duration {
    let mut service = core.connect(Who::Service);
    wait(Duration::from_millis(random.within(RUNS_MILLIS)));
    signal(core.pid(), Signal::SIGSTOP);
    wait(pause);
    signal(core.pid(), Signal::SIGCONT);
    let asked = Instant::now();
    let key = core.value("L3_ID2");
    let refused = requests::encrypt(&mut service, &key, Vec::new());
    assert!(matches!(refused, Err(daemon::kmip_client::KmipError::Kmip(_))), "a foreign key: {refused:?}");
    assert!(asked.elapsed() < ANSWERED_WITHIN, "answered after {:?}", asked.elapsed());
    asked.elapsed()
}

fn wait(time: Duration) {
    // A channel that nobody sends on is the timer.
    let (_keep, timer) = mpsc::channel::<()>();
    let _elapsed = timer.recv_timeout(time);
}
