//! The outage campaign: an edge under load loses its core, or the way to it, for twice its `edge.offline_ttl`; and a tenant is disabled, which a
//! connected edge hears of by its next lease, and one that is cut off by the end of its last (F18).

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use daemon::kmip_client::{Endpoint, KmipClient, KmipError};
use kmip::ProtocolVersion;
use nix::sys::signal::Signal;

use crate::appliance::{Who, signal, wait_for};
use crate::edge::Edge;
use crate::requests;
use crate::soak::way::{Way, WayState};

/// `edge.lease` of the campaign.
const LEASE: Duration = Duration::from_secs(1);
/// How long a word of the core may take to count, beyond lease or `offline_ttl`: the time of a call to it.
const CALL: Duration = Duration::from_secs(2);
/// How long an answer that was under way may take.
const UNDER_WAY: Duration = Duration::from_millis(500);
/// The least `edge.offline_ttl` that holds as it is said: a shorter one counts as the lease and the time of a call.
const OFFLINE_LEAST_SECONDS: u32 = 4;
/// How soon everything goes on when the core is back.
const BACK_WITHIN: Duration = Duration::from_secs(5);
/// Longest time that a client waits for one answer: that of a call to the core, and what a busy machine adds.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);
/// Between two requests of a client.
const PAUSE: Duration = Duration::from_millis(20);
/// The load runs for so long before anything is done to it.
const WARM_UP: Duration = Duration::from_secs(1);

/// What a client does again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    /// Encrypt with a key that is open.
    Warm,
    /// Create.
    Create,
    /// Encrypt with an L3, which the core does.
    L3,
}

const WORKS: [Work; 3] = [Work::Warm, Work::Create, Work::L3];

/// What becomes of the core, or of the way to it.
#[derive(Debug, Clone, Copy)]
enum Outage {
    CoreKilled,
    CoreStopped,
    WayCut,
    WaySilent,
}

/// What a client has seen: when each of its requests was answered well, and the slowest of all.
#[derive(Debug, Default)]
struct Seen {
    done: Vec<Instant>,
    slowest: Duration,
}

/// Clients of an edge, each at its own work.
struct Clients {
    edge: Endpoint,
    warm: String,
    l3: String,
    seen: [Mutex<Seen>; WORKS.len()],
}

impl Clients {
    fn of(edge: &Edge) -> Self {
        let mut client = edge.connect(Who::Service);
        let warm = requests::create(&mut client, "warm").expect("the edge is well");
        requests::activate(&mut client, &warm).expect("it is new");
        Self { edge: edge.endpoint(Who::Service), warm, l3: edge.value("L3_ID"), seen: Default::default() }
    }

    fn seen(&self, work: Work) -> MutexGuard<'_, Seen> {
        self.seen[work as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, work: Work, over: &AtomicBool) {
        let mut client = KmipClient::connect(&self.edge, ProtocolVersion::V1_4).expect("the edge serves");
        while !over.load(Ordering::Relaxed) {
            let asked = Instant::now();
            let outcome = match work {
                Work::Warm => requests::encrypt(&mut client, &self.warm, vec![1; 64]).map(drop),
                Work::Create => requests::create(&mut client, &format!("{asked:?}")).map(drop),
                Work::L3 => requests::encrypt(&mut client, &self.l3, vec![1; 64]).map(drop),
            };
            let mut seen = self.seen(work);
            seen.slowest = seen.slowest.max(asked.elapsed());
            match outcome {
                Ok(()) => seen.done.push(Instant::now()),
                Err(KmipError::Kmip(kmip::Error::Refused { .. })) => {}
                Err(error) => panic!("{work:?}: an edge that runs answers: {error}"),
            }
            drop(seen);
            thread::park_timeout(PAUSE);
        }
    }

    /// How many requests of a kind went well between two moments, and how long after the first moment the last of them did.
    fn went_on(&self, work: Work, from: Instant, to: Instant) -> (usize, Duration) {
        let seen = self.seen(work);
        let within = seen.done.iter().filter(|done| (from..to).contains(*done));
        (within.clone().count(), within.max().map_or(Duration::ZERO, |last| last.duration_since(from)))
    }

    /// How long after `from` the first request of a kind went well.
    fn came_back(&self, work: Work, from: Instant) -> Duration {
        let first = || self.seen(work).done.iter().find(|done| **done > from).copied();
        assert!(wait_for(|| first().is_some()), "{work:?} does not come back");
        first().map_or(Duration::MAX, |done| done.duration_since(from))
    }
}

/// Takes an edge through every outage, with an `edge.offline_ttl` of so many seconds, at least 4; says what went on and for how long.
///
/// # Panics
/// If an edge serves for longer than it may, or stops sooner, or does not come back in time.
#[must_use]
pub fn outage_campaign(offline_seconds: u32) -> String {
    let offline = Duration::from_secs(offline_seconds.max(OFFLINE_LEAST_SECONDS).into());
    let mut edge = Edge::prepared_with(&["lease: 1s", &format!("offline_ttl: {}s", offline.as_secs())]);
    let way = Way::before(&edge);
    edge.start_both();
    let clients = Clients::of(&edge);
    let over = AtomicBool::new(false);
    let mut told =
        vec![format!("lease {} s, offline_ttl {} s, outages of {} s", LEASE.as_secs(), offline.as_secs(), 2 * offline.as_secs())];
    thread::scope(|scope| {
        for work in WORKS {
            let (clients, over) = (&clients, &over);
            scope.spawn(move || clients.work(work, over));
        }
        for outage in [Outage::CoreKilled, Outage::CoreStopped, Outage::WayCut, Outage::WaySilent] {
            pause(WARM_UP);
            told.push(lose(&mut edge, &way, &clients, outage, offline));
        }
        for is_cut_off in [false, true] {
            pause(WARM_UP);
            told.push(disable(&edge, &way, &clients, is_cut_off, offline));
        }
        over.store(true, Ordering::Relaxed);
    });
    edge.stop_both();
    for work in WORKS {
        let Seen { done, slowest } = &*clients.seen(work);
        assert!(*slowest < ANSWER_WITHIN, "{work:?}: an answer took {slowest:?}");
        told.push(format!("{work:?}: {} done in all, slowest answer {:.2} s", done.len(), slowest.as_secs_f64()));
    }
    told.join("\n")
}

/// Takes the core away for twice as long as the edge may go on without it, and brings it back.
fn lose(edge: &mut Edge, way: &Way, clients: &Clients, outage: Outage, offline: Duration) -> String {
    let lost = Instant::now();
    match outage {
        Outage::CoreKilled => edge.core.kill(),
        Outage::CoreStopped => signal(edge.core.pid(), Signal::SIGSTOP),
        Outage::WayCut => way.become_so(WayState::Cut),
        Outage::WaySilent => way.become_so(WayState::Silent),
    }
    pause(2 * offline);
    let found = Instant::now();
    match outage {
        Outage::CoreKilled => edge.core.start(),
        Outage::CoreStopped => signal(edge.core.pid(), Signal::SIGCONT),
        Outage::WayCut | Outage::WaySilent => way.become_so(WayState::Open),
    }
    let back = Instant::now();
    let mut told = format!("{outage:?}:");
    for work in WORKS {
        let (done, last) = clients.went_on(work, lost, found);
        let (earliest, latest) = match work {
            // The lease may have been renewed just before, or almost an interval ago.
            Work::Warm => (offline - LEASE - CALL, offline + UNDER_WAY),
            // While the pool lasts.
            Work::Create => (UNDER_WAY, offline + UNDER_WAY),
            Work::L3 => (Duration::ZERO, CALL),
        };
        assert!((earliest..=latest).contains(&last), "{outage:?}: {work:?} went on for {last:?}, not {earliest:?} to {latest:?}");
        let came_back = clients.came_back(work, back);
        assert!(came_back < BACK_WITHIN, "{outage:?}: {work:?} is back after {came_back:?}");
        let (last, came_back) = (last.as_secs_f64(), came_back.as_secs_f64());
        let _infallible = write!(told, " {work:?} {done} done, the last after {last:.1} s, back after {came_back:.1} s;");
    }
    told
}

/// Disables the clients' tenant, of which an edge hears by its next lease, or by the end of its last; enables it when that time is long over.
fn disable(edge: &Edge, way: &Way, clients: &Clients, is_cut_off: bool, offline: Duration) -> String {
    if is_cut_off {
        way.become_so(WayState::Cut);
    }
    let _said = edge.core.ask(&["tenant", "disable", "acme"]);
    let disabled = Instant::now();
    let bound = if is_cut_off { offline + UNDER_WAY } else { LEASE + CALL };
    pause(bound + LEASE);
    way.become_so(WayState::Open);
    // A way that is open again brings the news, not the service.
    pause(BACK_WITHIN);
    let enabled = Instant::now();
    let _said = edge.core.ask(&["tenant", "enable", "acme"]);
    let mut told = format!("tenant disabled, {}:", if is_cut_off { "cut off" } else { "connected" });
    for work in WORKS {
        let (done, last) = clients.went_on(work, disabled, enabled);
        assert!(last <= bound, "{work:?} went on for {last:?} after its tenant was disabled, not for {bound:?} at most");
        let came_back = clients.came_back(work, enabled).as_secs_f64();
        let _infallible =
            write!(told, " {work:?} {done} done, the last after {:.2} s of {bound:?}, enabled after {came_back:.1} s;", last.as_secs_f64());
    }
    told
}

fn pause(length: Duration) {
    let until = Instant::now() + length;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        thread::park_timeout(left);
    }
}
