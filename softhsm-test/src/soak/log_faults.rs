//! The campaign of a log that cannot be written: full, failing, read-only, blocked, removed (F15).
//!
//! While the log cannot take a record no operation is acknowledged, every refusal comes in time, and status and seal work. After want of space or a
//! blocked disk service resumes by itself, after anything else by a restart.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use daemon::kmip_client::{KmipClient, KmipError};

use crate::appliance::{PATIENCE, Who, wait_for, wait_for_within};
use crate::core::Core;
use crate::requests;
use crate::soak::random::Random;
use crate::soak::strace::Strace;
use crate::soak::verified;

/// A refusal comes within this time, and so long beyond it as a busy machine may take.
const REFUSED_WITHIN: Duration = audit::ANSWER_WITHIN.saturating_add(Duration::from_millis(500));
/// More records than fit into the piece of the log's file that is mapped.
const PIECE_RECORDS: u32 = 1000;
/// Service is back this long after the log is.
const RESUMED_WITHIN: Duration = Duration::from_secs(1);
/// A fault shows at the latest at the next flush.
const SHOWS_WITHIN: Duration = Duration::from_secs(5);

/// How long a call is blocked, in a campaign and in a small one.
const BLOCKED: Duration = Duration::from_secs(60);
const BLOCKED_BRIEFLY: Duration = Duration::from_secs(3);

/// What befalls the log.
#[derive(Debug, Clone, Copy)]
struct Case {
    name: &'static str,
    /// As strace's `inject=`; none: the file is removed.
    fault: Option<&'static str>,
    resumes: bool,
}

// Records go into a mapping of the file, so a fault shows when the next piece is to be mapped: each 64 KiB.
const CASES: &[Case] = &[
    Case { name: "full", fault: Some("fallocate:error=ENOSPC"), resumes: true },
    Case { name: "over quota", fault: Some("fallocate:error=EDQUOT"), resumes: true },
    Case { name: "write fails", fault: Some("ftruncate:error=EIO"), resumes: false },
    Case { name: "sync fails", fault: Some("fdatasync:error=EIO"), resumes: false },
    Case { name: "read-only", fault: Some("ftruncate,fallocate:error=EROFS"), resumes: false },
    Case { name: "write blocked", fault: Some("ftruncate:delay_enter=600000000"), resumes: true },
    Case { name: "sync blocked", fault: Some("fdatasync:delay_enter=600000000"), resumes: true },
    Case { name: "removed", fault: None, resumes: false },
];

#[derive(Debug, Default)]
struct Tally {
    rounds: BTreeMap<&'static str, u32>,
    refused: u64,
    acknowledged: u64,
    slowest_refusal: Duration,
    slowest_resumption: Duration,
}

/// Runs `count` rounds, each case in turn; with more rounds than cases a blocked call is blocked for a minute. Says what was seen.
///
/// # Panics
/// If an operation is served unrecorded, a refusal comes late, or service goes on or stays away where it must not.
#[must_use]
pub fn log_fault_campaign(count: u32, seed: u64) -> String {
    let blocked = if count as usize > CASES.len() { BLOCKED } else { BLOCKED_BRIEFLY };
    let mut random = Random::new(seed);
    let mut tally = Tally::default();
    let first = random.place(CASES.len());
    for case in CASES.iter().cycle().skip(first).take(count as usize) {
        run(*case, blocked, &mut tally);
        *tally.rounds.entry(case.name).or_default() += 1;
    }
    format!(
        "rounds {:?}, blocked for {} s each; operations acknowledged {}, served unrecorded 0, refused {}; slowest refusal {} ms, slowest resumption \
         {} ms",
        tally.rounds,
        blocked.as_secs(),
        tally.acknowledged,
        tally.refused,
        tally.slowest_refusal.as_millis(),
        tally.slowest_resumption.as_millis()
    )
}

fn run(case: Case, blocked: Duration, tally: &mut Tally) {
    let mut core = Core::prepared();
    core.start();
    let before = verified(&core);
    let (mut client, mut victim, key) = (core.connect(Who::Service), core.connect(Who::Service), core.value("L3_ID"));
    let mut acknowledged = 0;
    (0..10).for_each(|_| work(&mut client, &key, tally, &mut acknowledged).expect("the log is well"));
    let segment = core.segments().pop().expect("a log has a segment");
    let strace = case.fault.map(|fault| Strace::attach(core.pid(), fault, &[&segment]));
    if strace.is_none() {
        fs::remove_file(&segment).expect("the folder is ours");
    }
    thread::scope(|scope| {
        // One caller's own write is what is blocked; everybody else must be refused in time.
        let stuck = (case.name == "write blocked").then(|| scope.spawn(|| served_until_stuck(&mut victim, &key)));
        assert!(stuck.is_none() || wait_for(|| is_at_growth(core.pid(), &segment)), "no write is blocked");
        must_refuse(case, &core, blocked, || work(&mut client, &key, tally, &mut acknowledged));
        if strace.is_none() {
            fs::write(&segment, removed_file(core.pid())).expect("the folder is ours");
        }
        drop(strace);
        let since = Instant::now();
        if case.resumes {
            assert!(wait_for(|| work(&mut client, &key, tally, &mut acknowledged).is_ok()), "{}: does not resume", case.name);
            assert!(since.elapsed() < RESUMED_WITHIN, "{}: resumed after {:?}", case.name, since.elapsed());
            tally.slowest_resumption = tally.slowest_resumption.max(since.elapsed());
        }
        acknowledged += stuck.map_or(0, |stuck| stuck.join().expect("a client ends with its answer"));
    });
    if !case.resumes {
        work(&mut client, &key, tally, &mut acknowledged).expect_err("served by a log that has failed");
        let _sealed = core.ask(&["seal"]);
        core.kill();
        core.start();
        work(&mut core.connect(Who::Service), &key, tally, &mut acknowledged).expect("a restart has read the log again");
    }
    core.stop();
    tally.acknowledged += acknowledged;
    let grown = verified(&core).records - before.records;
    assert!(grown >= acknowledged, "{}: {acknowledged} served, {grown} recorded", case.name);
}

/// From the first refusal on every operation is refused while the fault lasts, a blocked call for `blocked`; status goes on.
fn must_refuse(case: Case, core: &Core, blocked: Duration, mut work: impl FnMut() -> Result<(), KmipError>) {
    let began = Instant::now();
    let refused = wait_for(|| began.elapsed() > SHOWS_WITHIN || (0..PIECE_RECORDS).any(|_| work().is_err()));
    assert!(refused && began.elapsed() < SHOWS_WITHIN + REFUSED_WITHIN, "{}: not refused after {:?}", case.name, began.elapsed());
    let until = if case.name.ends_with("blocked") { began + blocked } else { began };
    let mut refusals = 0;
    let all_refused = wait_for_within(blocked + PATIENCE, || {
        assert!(work().is_err(), "{}: served while the log cannot be written", case.name);
        refusals += 1;
        refusals > 5 && Instant::now() > until
    });
    assert!(all_refused && core.status().contains("\"state\""), "{}: status works", case.name);
}

/// How many operations were served up to the one that did not come back in time.
fn served_until_stuck(client: &mut KmipClient, key: &str) -> u64 {
    let mut served = 0;
    loop {
        let asked = Instant::now();
        let is_served = requests::encrypt(client, key, vec![0; 16]).is_ok();
        served += u64::from(is_served);
        if !is_served || asked.elapsed() > RESUMED_WITHIN {
            return served;
        }
    }
}

/// Is a thread of the process making that file longer? strace stops each of its threads at each call for a moment, whatever the call.
fn is_at_growth(process: u32, file: &Path) -> bool {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let mut calls = threads.filter_map(|thread| fs::read_to_string(thread.path().join("syscall")).ok());
    calls.any(|call| {
        let mut fields = call.split(' ');
        let is_growth = fields.next().is_some_and(|number| number.parse() == Ok(nix::libc::SYS_ftruncate));
        let descriptor = fields.next().and_then(|hex| u32::from_str_radix(hex.trim_start_matches("0x"), 16).ok());
        let path = descriptor.and_then(|descriptor| fs::read_link(format!("/proc/{process}/fd/{descriptor}")).ok());
        is_growth && path.as_deref() == Some(file)
    })
}

/// What the process has written to a file that is in no folder any more.
fn removed_file(process: u32) -> Vec<u8> {
    let descriptors = fs::read_dir(format!("/proc/{process}/fd")).expect("the core runs").flatten().map(|descriptor| descriptor.path());
    let is_removed = |path: &PathBuf| fs::read_link(path).is_ok_and(|to| to.to_string_lossy().ends_with(".log (deleted)"));
    fs::read(descriptors.into_iter().find(is_removed).expect("the core holds its segment open")).expect("we are root")
}

/// One operation that only the log can hinder.
fn work(client: &mut KmipClient, key: &str, tally: &mut Tally, acknowledged: &mut u64) -> Result<(), KmipError> {
    let asked = Instant::now();
    let outcome = requests::encrypt(client, key, vec![0; 16]).map(drop);
    match &outcome {
        Ok(()) => *acknowledged += 1,
        Err(error) => {
            assert!(asked.elapsed() < REFUSED_WITHIN, "refused after {:?}: {error}", asked.elapsed());
            tally.slowest_refusal = tally.slowest_refusal.max(asked.elapsed());
            tally.refused += 1;
        }
    }
    outcome
}
