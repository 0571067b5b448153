//! The campaign of failing disk calls: the n-th write, sync or allocation under keystore or log fails, for every n of a scenario (F3, F4, F15).
//!
//! strace is attached to a serving core, every operation of the workload is done, and the fault is taken away. Want of space where a file grows
//! lasts from the n-th call on, until then; any other failure happens once. What must follow is one table, [`expected`].

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::appliance::{Who, wait_for};
use crate::core::Core;
use crate::requests;
use crate::soak::ledger::{Counts, Ledger, Scope, is_general_failure};
use crate::soak::random::Random;
use crate::soak::strace::{Line, Strace};
use crate::soak::workload::{Hand, Refusals};
use crate::soak::{each_call, verified};

/// Service is back this long after there is space again.
const HEALED_WITHIN: Duration = Duration::from_secs(1);

/// How often the table of operations is gone through under a fault.
const PASSES: u32 = 2;
/// So that the keystore's file has to grow, and the space set aside for the log.
const PASSES_TO_GROW: u32 = 40;

/// Which file is hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum File {
    Store,
    Log,
}

/// One kind of call on one kind of file.
#[derive(Debug, Clone, Copy)]
struct Site {
    file: File,
    call: &'static str,
    error: &'static str,
}

impl Display for Site {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {} {}", self.file, self.call, self.error)
    }
}

const SITES: &[Site] = &[
    Site { file: File::Store, call: "pwrite64", error: "ENOSPC" },
    Site { file: File::Store, call: "pwrite64", error: "EIO" },
    Site { file: File::Store, call: "fdatasync", error: "ENOSPC" },
    Site { file: File::Store, call: "fdatasync", error: "EIO" },
    Site { file: File::Store, call: "ftruncate", error: "ENOSPC" },
    Site { file: File::Store, call: "ftruncate", error: "EIO" },
    Site { file: File::Log, call: "write", error: "ENOSPC" },
    Site { file: File::Log, call: "write", error: "EIO" },
    Site { file: File::Log, call: "fdatasync", error: "ENOSPC" },
    Site { file: File::Log, call: "fdatasync", error: "EIO" },
    Site { file: File::Log, call: "fallocate", error: "ENOSPC" },
    Site { file: File::Log, call: "fallocate", error: "EIO" },
];

/// What must come of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// Changes succeed again soon after the fault is gone.
    Heals,
    /// Changes are refused until a restart.
    Poisons,
}

fn expected(site: Site) -> Expected {
    match (site.call, site.error) {
        // The kernel may have dropped what it could not place, so a failed sync is final whatever it says.
        ("fdatasync", _) => Expected::Poisons,
        (_, "ENOSPC") => Expected::Heals,
        _ => Expected::Poisons,
    }
}

#[derive(Debug, Default)]
struct Tally {
    runs: u32,
    hits: BTreeMap<String, u32>,
    healed: u32,
    poisoned: u32,
    /// Runs in which reads had to wait for the restart too.
    reads_refused: u32,
    slowest_healing: Duration,
}

/// Runs at most `count` rounds: each site's 1st, 2nd, 3rd ... call, until a site has no further; says what was seen.
///
/// # Panics
/// At the first acknowledged thing that is lost, thing that is there by half, sync that is tried again, or service that goes on or stays away
/// where it must not.
#[must_use]
pub fn storage_fault_campaign(count: u32, seed: u64) -> String {
    let mut random = Random::new(seed);
    // A site that is never reached shows as a 0.
    let mut tally = Tally { hits: SITES.iter().map(|site| (site.to_string(), 0)).collect(), ..Tally::default() };
    let mut core = Core::prepared();
    let mut ledger = Ledger::default();
    core.start();
    ledger.add_default(&core);
    let covered = each_call(SITES.iter().copied(), count, |site, nth| {
        tally.runs += 1;
        run(&mut core, site, nth, &mut ledger, &mut random, &mut tally)
    });
    ledger.check(&core, Scope::Everything, &mut random);
    core.stop();
    let _last = verified(&core);
    let Counts { acknowledged, changes, refused, completed, absent, checked } = ledger.counts;
    format!(
        "runs {} ({}), calls failed {:?}; operations acknowledged {acknowledged} (changes {changes}), refused {refused}; lost 0, partial 0 (of those \
         refused {completed} were there as a whole, {absent} absent); healed without a restart {} (slowest {} ms), refused until restart {} (reads too: {}); looked \
         at {checked}",
        covered.rounds,
        if covered.is_all { "every call of every site" } else { "some sites have further calls" },
        tally.hits,
        tally.healed,
        tally.slowest_healing.as_millis(),
        tally.poisoned,
        tally.reads_refused,
    )
}

/// Returns whether the call was reached.
fn run(core: &mut Core, site: Site, nth: u32, ledger: &mut Ledger, random: &mut Random, tally: &mut Tally) -> bool {
    let paths = paths(core, site.file);
    let paths: Vec<&Path> = paths.iter().map(AsRef::as_ref).collect();
    let prefix = format!("n{}", tally.runs);
    // Overwriting in place takes no space, so a page of the keystore lacks it once; what takes space lacks it until there is some.
    let lasts = site.error == "ENOSPC" && site.call != "pwrite64";
    let when = if lasts { format!("{nth}+") } else { nth.to_string() };
    let strace = Strace::attach(core.pid(), &format!("{}:error={}:when={when}", site.call, site.error), &paths);
    let passes = if matches!(site.call, "ftruncate" | "fallocate") { PASSES_TO_GROW } else { PASSES };
    // Without a log a connection is not taken, or ended before its first answer.
    let hand = Hand::connect(core, prefix.clone(), ledger, random, Refusals::Counted);
    assert!(hand.is_some() || site.file == File::Log, "no connection at {site:?} {nth}");
    if let Some(mut hand) = hand {
        let done = (0..passes).try_for_each(|_| hand.work_through());
        assert!(done.is_ok() || site.file == File::Log, "the core ended the connection at {done:?}, {site:?} {nth}");
        if site.file == File::Store {
            let read = hand.read_and_decrypt();
            // After a failed write the engine reads only what it has in memory; want of space must hinder no reader.
            assert!(read.is_ok() || expected(site) == Expected::Poisons, "reads stop at {site:?} {nth}: {read:?}");
            tally.reads_refused += u32::from(read.is_err());
        }
    }
    if site.file == File::Log && site.call == "fdatasync" {
        // The log is synced a while after the answers.
        strace.wait_for_a_hit(2 * audit::FLUSH_INTERVAL);
    }
    let seen = strace.detach();
    assert!(!core.has_ended(), "the core ended at {site:?} {nth}");
    let Some(first) = seen.iter().position(|line| line.is_injected) else { return false };
    *tally.hits.entry(site.to_string()).or_default() += 1;
    must_not_sync_again(&seen[first..], site);
    match expected(site) {
        Expected::Heals => {
            tally.slowest_healing = tally.slowest_healing.max(healing(core, &prefix, ledger));
            tally.healed += 1;
        }
        Expected::Poisons => {
            must_be_poisoned(core, site, nth);
            tally.poisoned += 1;
        }
    }
    core.kill();
    core.start();
    ledger.check(core, Scope::Sample, random);
    let _verifies = verified(core);
    true
}

fn paths(core: &Core, file: File) -> Vec<PathBuf> {
    match file {
        File::Store => core.stores().to_vec(),
        File::Log => vec![core.segments().pop().expect("a log has a segment")],
    }
}

/// After a failed sync no other one of that file is begun, which might make the failed one look like a success.
fn must_not_sync_again(after: &[Line], site: Site) {
    if site.call == "fdatasync" {
        let again = after.iter().find(|line| line.is_begun_sync() && !line.is_injected);
        assert!(again.is_none(), "a sync after the failed one at {site:?}: {again:?}");
    }
}

/// How long it takes until a change succeeds.
fn healing(core: &Core, prefix: &str, ledger: &mut Ledger) -> Duration {
    let since = Instant::now();
    let mut admin = core.connect(Who::TenantAdmin);
    let (name, mut id) = (format!("{prefix}-healed"), None);
    let healed = wait_for(|| {
        id = requests::create(&mut admin, &name).ok();
        id.is_some()
    });
    assert!(healed && since.elapsed() < HEALED_WITHIN, "healed after {:?}: {healed}", since.elapsed());
    ledger.add(id.expect("healed"), name);
    since.elapsed()
}

fn must_be_poisoned(core: &Core, site: Site, nth: u32) {
    let outcome = core.try_connect(Who::TenantAdmin).and_then(|mut admin| requests::create(&mut admin, "poisoned"));
    match (site.file, outcome) {
        (_, Err(error)) if is_general_failure(&error) => {}
        // Without a log not even a connection is taken.
        (File::Log, Err(_)) => {}
        (_, outcome) => panic!("after {site:?} {nth}: {outcome:?}"),
    }
    let status = core.status();
    assert!(status.contains("restart"), "the status does not say what to do after {site:?} {nth}: {status}");
}
