//! The campaign of crowded and slow connections: idle ones, handshakes that drip, and half frames, while others are served (F20).
//!
//! One thread holds them all: an idle connection costs its two descriptors and nothing else.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use daemon::system::raise_descriptors;
use daemon::tls::ClientTls;
use rustls::{ClientConnection, StreamOwned};

use crate::appliance::{PATIENCE, Who, wait_for_within};
use crate::core::Core;
use crate::requests;
use crate::soak::verified;

/// Who stalls is cut within this time: ten seconds, and what a busy machine may take.
const CUT_WITHIN: Duration = Duration::from_secs(12);
/// Clients that are served meanwhile.
const OTHERS: usize = 8;
/// So many requests each of them makes at least.
const REQUESTS_MIN: usize = 100;
/// The slowest of a hundred of their requests takes less.
const P99_MAX: Duration = Duration::from_secs(1);
/// Memory of the core with everybody connected, in KiB.
const RSS_KIB_MAX: u64 = 400 * 1024;
/// Of ten slow connections this many begin no frame, but a handshake.
const HANDSHAKES_OF_TEN: u32 = 5;
/// So many slow ones are opened between two looks at those that are open.
const OPENED_AT_ONCE: usize = 20;
/// How often a dripping handshake sends another byte.
const DRIP_EVERY: Duration = Duration::from_millis(500);
/// Descriptors that this process needs beside one per connection.
const DESCRIPTORS_KEPT: u64 = 200;

/// A KMIP header without the rest: the core waits for it.
const HALF_A_FRAME: [u8; 6] = [0x42, 0x00, 0x78, 0x01, 0x00, 0x00];
/// The beginning of a TLS record that is never finished.
const HALF_A_HELLO: [u8; 6] = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01];

/// Holds `idle` idle connections and a tenth as many slow ones; says how others fared.
///
/// # Panics
/// If the others are not served in time, a slow connection is not cut, an idle one is, or the core grows too large.
#[must_use]
pub fn connection_campaign(idle: u32) -> String {
    let descriptors = raise_descriptors().expect("the limit can be raised as far as it goes");
    let room = u32::try_from(descriptors.saturating_sub(DESCRIPTORS_KEPT)).unwrap_or(u32::MAX);
    let slow = idle.div_ceil(10).min(room / 2);
    let idle = idle.min(room - slow);
    let mut core = Core::prepared();
    leave_kmip_alone(&core);
    core.start();
    let undisturbed = percentiles(serve_all(&core, || {}).1);
    let before = rss_kib(core.pid());
    let connecting = Instant::now();
    let mut crowd: Vec<StreamOwned<ClientConnection, TcpStream>> = (0..idle).map(|_| connect(&core)).collect();
    let connected = connecting.elapsed();
    let (cuts, latencies) = serve_all(&core, || hold_slow_ones(&core, slow));
    let full = rss_kib(core.pid());
    let alive = crowd.iter_mut().filter_map(|idle| is_open(&mut idle.sock).then_some(())).count();
    let (p50, p99) = percentiles(latencies.clone());
    assert!(p99 < P99_MAX, "p99 of the others is {p99:?}");
    assert!(cuts.iter().all(|cut| *cut < CUT_WITHIN), "slowest cut after {:?}", cuts.iter().max());
    assert_eq!(alive, crowd.len(), "idle connections were cut");
    assert!(full < RSS_KIB_MAX, "the core has grown to {full} KiB");
    drop(crowd);
    core.stop();
    let _last = verified(&core);
    format!(
        "idle {idle} (kept {alive}, opened in {:.0} s), slow {slow} (all cut, the last after {:.1} s); {OTHERS} others: {} requests, p50 {:.1} ms, p99 {:.1} ms, before {:.1} and {:.1} ms; core \
         {} MiB, {} before; descriptors allowed {descriptors}",
        connected.as_secs_f64(),
        cuts.iter().max().copied().unwrap_or_default().as_secs_f64(),
        latencies.len(),
        p50.as_secs_f64() * 1e3,
        p99.as_secs_f64() * 1e3,
        undisturbed.0.as_secs_f64() * 1e3,
        undisturbed.1.as_secs_f64() * 1e3,
        full / 1024,
        before / 1024,
    )
}

/// Takes the other doors away, which would get their share of the descriptors: this one's shall do for everybody.
fn leave_kmip_alone(core: &Core) {
    let config = fs::read_to_string(core.config()).expect("dev has written it");
    let (mut kept, mut is_kept) = (String::new(), true);
    for line in config.lines() {
        if line.len() - line.trim_start().len() <= 2 {
            is_kept = !matches!(line, "  https:" | "  admin:");
        }
        kept.extend(is_kept.then(|| format!("{line}\n")));
    }
    fs::write(core.config(), kept).expect("the folder is ours");
}

/// Lets the others work during `attack`, and for [`REQUESTS_MIN`] requests each; returns what it returns, and how long each request took.
fn serve_all<T>(core: &Core, attack: impl FnOnce() -> T) -> (T, Vec<Duration>) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let stop = &stop;
        let others: Vec<_> = (0..OTHERS).map(|number| scope.spawn(move || serve_me(core, number, stop))).collect();
        let seen = attack();
        stop.store(true, Ordering::Relaxed);
        (seen, others.into_iter().flat_map(|other| other.join().expect("a client is served")).collect())
    })
}

/// A TLS connection that has finished its handshake and been admitted.
fn connect(core: &Core) -> StreamOwned<ClientConnection, TcpStream> {
    let endpoint = core.endpoint(Who::Service);
    let tls = ClientTls::load(&endpoint.ca, &endpoint.cert, &endpoint.key, "127.0.0.1").expect("dev's certificates are good");
    let mut connection = ClientConnection::new(tls.config(), tls.server_name()).expect("the configuration is good");
    let mut socket = TcpStream::connect(&endpoint.server).expect("the core listens");
    while connection.is_handshaking() {
        connection.complete_io(&mut socket).expect("the core finishes the handshake");
    }
    StreamOwned::new(connection, socket)
}

/// A connection that stalls.
struct Slow {
    socket: TcpStream,
    since: Instant,
    drips: bool,
}

impl Slow {
    /// In the handshake, or behind the first bytes of a frame.
    fn open(core: &Core, drips: bool) -> Self {
        let socket = if drips {
            let mut socket = TcpStream::connect(core.endpoint(Who::Service).server).expect("the core listens");
            socket.write_all(&HALF_A_HELLO).expect("the core reads");
            socket
        } else {
            let mut tls = connect(core);
            tls.write_all(&HALF_A_FRAME).and_then(|()| tls.flush()).expect("the core reads");
            tls.sock
        };
        Self { socket, since: Instant::now(), drips }
    }
}

/// Opens slow connections of both kinds, and waits until each is cut; returns how long each has lasted.
fn hold_slow_ones(core: &Core, count: u32) -> Vec<Duration> {
    let (mut open, mut cuts): (Vec<Slow>, Vec<Duration>) = (Vec::new(), Vec::new());
    let mut numbers = 0..count;
    let mut dripped = Instant::now();
    let all_cut = wait_for_within(PATIENCE * 3, || {
        open.extend(numbers.by_ref().take(OPENED_AT_ONCE).map(|number| Slow::open(core, number % 10 < HANDSHAKES_OF_TEN)));
        let drips_now = dripped.elapsed() > DRIP_EVERY;
        dripped = if drips_now { Instant::now() } else { dripped };
        open.retain_mut(|slow| {
            if drips_now && slow.drips {
                // One that is cut meanwhile is seen below.
                let _sent = slow.socket.write(&[0]);
            }
            let stays = is_open(&mut slow.socket);
            cuts.extend((!stays).then(|| slow.since.elapsed()));
            stays
        });
        numbers.is_empty() && open.is_empty()
    });
    assert!(all_cut, "{} slow connections are never cut", open.len());
    cuts
}

/// Is the connection still there? Bytes that the core has sent are read away.
fn is_open(socket: &mut TcpStream) -> bool {
    let _set = socket.set_nonblocking(true);
    let mut bytes = [0; 4096];
    loop {
        match socket.read(&mut bytes) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
}

/// Works until told to stop, on a connection of its own, every tenth time on a new one; returns how long each request took.
fn serve_me(core: &Core, number: usize, stop: &AtomicBool) -> Vec<Duration> {
    let mut client = core.connect(Who::Service);
    let key = core.value("L3_ID");
    let mut latencies = Vec::new();
    while !stop.load(Ordering::Relaxed) || latencies.len() < REQUESTS_MIN {
        let asked = Instant::now();
        if latencies.len() % 10 == number {
            client = core.connect(Who::Service);
        }
        let secret = requests::encrypt(&mut client, &key, vec![7; 64]).unwrap_or_else(|error| panic!("Encrypt: {error}"));
        assert_eq!(secret.plain.len(), secret.ciphertext.len(), "GCM keeps the length");
        latencies.push(asked.elapsed());
    }
    latencies
}

fn percentiles(mut latencies: Vec<Duration>) -> (Duration, Duration) {
    latencies.sort_unstable();
    let at = |percent: usize| latencies.get((latencies.len() * percent / 100).min(latencies.len().saturating_sub(1))).copied();
    (at(50).expect("the others were served"), at(99).expect("the others were served"))
}

fn rss_kib(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("the core runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("every process has one");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
