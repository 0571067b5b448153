//! The kill campaign: a core under load is killed, and after each restart nothing acknowledged may be missing (F1).
//!
//! Half of the kills come at a random time, half at the n-th call of one thread by which a file is changed, before the call is made. A folder serves
//! [`KILLS_PER_FOLDER`] kills, so that looking at everything stays cheap; a campaign uses as many folders as it takes.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::appliance::wait_for;
use crate::core::Core;
use crate::soak::ledger::{Counts, Ledger, Scope};
use crate::soak::random::Random;
use crate::soak::strace::Strace;
use crate::soak::workload::{Hand, Refusals};
use crate::soak::{Verified, verified};

const KILLS_PER_FOLDER: u32 = 50;
/// After so many kills of one folder everything is checked, not only a sample.
const KILLS_TO_A_FULL_CHECK: u32 = 10;
/// Clients at work, each with two connections.
const WORKERS: usize = 3;
/// A core that has not made the fatal call by then is killed by time.
const FATAL_CALL_WITHIN: Duration = Duration::from_secs(2);

/// Calls that are fatal, and up to which one of a thread.
const FATAL: &[(&str, u64)] = &[("pwrite64", 150), ("fdatasync", 12), ("write", 30), ("ftruncate", 2)];

/// What else goes on in a folder, beside its clients.
pub(super) trait Beside: Sync {
    /// A core lives between these two before it is killed by time.
    const LIFE_MILLIS: std::ops::Range<u64> = 10..500;
    /// Whether clients may be refused because of it.
    const REFUSALS: Refusals = Refusals::Forbidden;
    /// Between two requests of a client.
    const PAUSE: Duration = Duration::ZERO;

    /// Before the first round; the core runs.
    fn prepare(&mut self, core: &Core);

    /// Files beside keystore and log at whose calls the core may be killed.
    fn files(&self, _core: &Core) -> Vec<PathBuf> {
        Vec::new()
    }

    /// Works until the core is killed.
    fn work(&self, core: &Core, random: &mut Random);

    /// After a restart: has the core all that it works with?
    fn is_whole(&self, _core: &Core) -> bool {
        true
    }

    /// After a restart.
    ///
    /// # Panics
    /// At the first thing that is missing or wrong.
    fn check(&mut self, core: &Core);
}

/// Nothing does.
struct ClientsAlone;

impl Beside for ClientsAlone {
    fn prepare(&mut self, _core: &Core) {}

    fn work(&self, _core: &Core, _random: &mut Random) {}

    fn check(&mut self, _core: &Core) {}
}

/// What a campaign has seen.
#[derive(Debug, Default)]
pub(super) struct Tally {
    kills: u32,
    /// How many came at which moment.
    moments: BTreeMap<&'static str, u32>,
    counts: Counts,
    keys: usize,
    secrets: usize,
    audits: u32,
    /// What clients were refused with, and how often.
    refusals: BTreeMap<String, u64>,
    /// Longest time from a kill until everything to be checked was.
    slowest: Duration,
}

/// Runs `count` rounds of load, kill, restart and check; says what was seen.
///
/// # Panics
/// At the first thing that is missing or does not verify.
#[must_use]
pub fn kill_campaign(count: u32, seed: u64) -> String {
    killed(count, seed, || ClientsAlone, |_| ()).to_string()
}

/// As [`kill_campaign`], with something beside the clients, made for each folder by `beside` and given back to `done`.
pub(super) fn killed<B: Beside>(count: u32, seed: u64, beside: impl Fn() -> B, mut done: impl FnMut(B)) -> Tally {
    let mut random = Random::new(seed);
    let mut tally = Tally::default();
    while tally.kills < count {
        let mut beside = beside();
        kill_in_one_folder(KILLS_PER_FOLDER.min(count - tally.kills), &mut random, &mut tally, &mut beside);
        done(beside);
    }
    tally
}

impl Tally {
    /// What clients were refused with.
    pub(super) fn refusals(&self) -> impl Iterator<Item = &str> {
        self.refusals.keys().map(String::as_str)
    }
}

impl Display for Tally {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let tally = self;
        let Counts { acknowledged, changes, completed, absent, checked, .. } = tally.counts;
        write!(
            f,
            "kills {} (at a time {}, at a call {:?}); keys {}, ciphertexts {}; acknowledged {acknowledged} (changes {changes}), lost 0; \
         unanswered changes: {completed} there as a whole, {absent} absent, 0 by half; looked at {checked}; audit logs verified {}; \
         slowest kill to all checked {:.1} s",
            tally.kills,
            tally.moments.get("time").copied().unwrap_or_default(),
            tally.moments.iter().filter(|(moment, _)| **moment != "time").collect::<BTreeMap<_, _>>(),
            tally.keys,
            tally.secrets,
            tally.audits,
            tally.slowest.as_secs_f64()
        )?;
        tally.refusals.iter().try_for_each(|(said, times)| write!(f, "; refused {times} times: {said}"))
    }
}

fn kill_in_one_folder(kills: u32, random: &mut Random, tally: &mut Tally, beside: &mut impl Beside) {
    let mut core = Core::prepared();
    let mut workers: Vec<_> = (0..WORKERS).map(|_| (Ledger::default(), random.fork())).collect();
    core.start();
    workers[0].0.add_default(&core);
    beside.prepare(&core);
    let mut audited = verified(&core);
    for round in 1..=kills {
        let acknowledged = total(&workers).acknowledged;
        *tally.moments.entry(load_until_killed(&mut core, &mut workers, random, round % 2 == 1, &*beside)).or_default() += 1;
        tally.kills += 1;
        let killed = Instant::now();
        core.start();
        assert!(wait_for(|| beside.is_whole(&core)), "{}", core.status());
        let scope = if round == kills || round % KILLS_TO_A_FULL_CHECK == 0 { Scope::Everything } else { Scope::Sample };
        workers.iter_mut().for_each(|(ledger, _)| ledger.check(&core, scope, random));
        beside.check(&core);
        let now = verified(&core);
        must_have_recorded(audited, now, total(&workers).acknowledged - acknowledged);
        audited = now;
        tally.audits += 1;
        tally.slowest = tally.slowest.max(killed.elapsed());
    }
    core.stop();
    let _last = verified(&core);
    tally.counts += total(&workers);
    for (ledger, _) in &mut workers {
        for (said, times) in std::mem::take(&mut ledger.refusals) {
            *tally.refusals.entry(said).or_default() += times;
        }
    }
    tally.keys += workers.iter().map(|(ledger, _)| ledger.keys.len()).sum::<usize>();
    tally.secrets += workers.iter().map(|(ledger, _)| ledger.secrets.len()).sum::<usize>();
}

fn total(workers: &[(Ledger, Random)]) -> Counts {
    let mut total = Counts::default();
    workers.iter().for_each(|(ledger, _)| total += ledger.counts);
    total
}

/// Every operation that was acknowledged left at least one record.
fn must_have_recorded(before: Verified, now: Verified, acknowledged: u64) {
    let grown = now.records - before.records;
    assert!(grown >= acknowledged, "{acknowledged} operations were acknowledged, {grown} records were written");
}

/// Returns at which kind of moment the core was killed.
fn load_until_killed<B: Beside>(
    core: &mut Core,
    workers: &mut [(Ledger, Random)],
    random: &mut Random,
    at_call: bool,
    beside: &B,
) -> &'static str {
    let (call, nth) = FATAL[random.place(FATAL.len())];
    let nth = random.within(1..nth + 1);
    let life = if at_call { FATAL_CALL_WITHIN } else { Duration::from_millis(random.within(B::LIFE_MILLIS)) };
    let files = [core.stores().to_vec(), core.segments(), beside.files(core)].concat();
    let files: Vec<&Path> = files.iter().map(AsRef::as_ref).collect();
    let _strace = at_call.then(|| Strace::attach(core.pid(), &format!("{call}:signal=SIGKILL:when={nth}"), &files));
    let pid = core.pid();
    let ended_by_itself = thread::scope(|scope| {
        let core = &*core;
        let (working, ended) = mpsc::channel::<()>();
        for (number, (ledger, random)) in workers.iter_mut().enumerate() {
            let working = working.clone();
            scope.spawn(move || {
                let hand = Hand::connect(core, format!("w{number}"), ledger, random, B::REFUSALS);
                hand.into_iter().for_each(|hand| hand.work_until_cut(B::PAUSE));
                drop(working);
            });
        }
        drop(working);
        let mut random = random.fork();
        scope.spawn(move || beside.work(core, &mut random));
        // The channel closes when the last worker is cut: then the fatal call was made.
        let ended = ended.recv_timeout(life) == Err(mpsc::RecvTimeoutError::Disconnected);
        crate::signal(pid, nix::sys::signal::Signal::SIGKILL);
        ended
    });
    core.kill();
    if at_call && ended_by_itself { call } else { "time" }
}
