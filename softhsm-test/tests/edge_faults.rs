//! Cores that answer rubbish, or nothing: an edge's calls end in time and in little memory, and it goes on at the next core.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use daemon::certs::{Ca, Holder, Validity};
use daemon::system::SystemClock;
use keys::port::Clock;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use softhsm_test::{Edge, Who, https, requests, wait_for_within};

/// How long a call of the edge to its core may take, and what the command line and a busy machine add (F18).
const CALL_WITHIN: Duration = Duration::from_secs(3);
/// How long an edge may take to find the one core of several that is good.
const GOES_ON_WITHIN: Duration = Duration::from_secs(15);
/// What the answers of a bad core may add to an edge's memory, in KiB.
const GROWTH_KIB_MAX: u64 = 64 << 10;
/// What a bad core does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// A body of 1 GiB, announced.
    Huge,
    /// The same in chunks, so that nobody knows.
    HugeInChunks,
    /// A head without an end.
    EndlessHead,
    /// Less than was announced.
    Cut,
    /// HTTP 500.
    Broken,
    /// HTTP 503 with what a sealed core says.
    Sealed,
    /// HTTP 200 and neither KMIP nor a lease.
    Rubbish,
    /// No HTTP.
    Noise,
    /// Takes the request and is silent.
    Silent,
    /// Takes the connection and is silent.
    Deaf,
    /// One byte now and then.
    Slow,
}

const FAULTS: [Fault; 11] = [
    Fault::Huge,
    Fault::HugeInChunks,
    Fault::EndlessHead,
    Fault::Cut,
    Fault::Broken,
    Fault::Sealed,
    Fault::Rubbish,
    Fault::Noise,
    Fault::Silent,
    Fault::Deaf,
    Fault::Slow,
];

/// A TLS server of that kind; it lives as long as the test's process.
struct BadCore {
    address: String,
    fault: Arc<Mutex<Fault>>,
    /// Connections and requests that it took.
    asked: Arc<AtomicU64>,
}

impl BadCore {
    fn start(cert: &Path, key: &Path, fault: Fault) -> Self {
        Self::start_at("127.0.0.1:0", cert, key, fault)
    }

    fn start_at(address: &str, cert: &Path, key: &Path, fault: Fault) -> Self {
        let config = https::server(cert, key);
        let listener = TcpListener::bind(address).expect("the port is free");
        let address = listener.local_addr().expect("it is bound").to_string();
        let (fault, asked) = (Arc::new(Mutex::new(fault)), Arc::new(AtomicU64::new(0)));
        let (now, count) = (Arc::clone(&fault), Arc::clone(&asked));
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::Relaxed);
                let (config, now, count) = (Arc::clone(&config), Arc::clone(&now), Arc::clone(&count));
                thread::spawn(move || serve(&config, socket, &now, &count));
            }
        });
        Self { address, fault, asked }
    }

    fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    fn become_so(&self, fault: Fault) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }
}

/// Serves one connection until the other side has enough of it.
fn serve(config: &Arc<ServerConfig>, socket: TcpStream, now: &Mutex<Fault>, asked: &AtomicU64) {
    let fault = || *now.lock().unwrap_or_else(PoisonError::into_inner);
    if fault() == Fault::Deaf {
        return hold(socket);
    }
    let Ok(connection) = ServerConnection::new(Arc::clone(config)) else { return };
    let mut stream = StreamOwned::new(connection, socket);
    let mut request = [0; 16 * 1024];
    while stream.read(&mut request).is_ok_and(|length| length > 0) {
        let fault = fault();
        asked.fetch_add(1, Ordering::Relaxed);
        if answer(&mut stream, fault).and_then(|()| stream.flush()).is_err() || fault == Fault::Cut {
            return;
        }
    }
}

fn answer(stream: &mut impl Write, fault: Fault) -> std::io::Result<()> {
    let zeroes = vec![0_u8; 1 << 20];
    match fault {
        Fault::Huge => {
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n", 1_u64 << 30)?;
            (0..1024).try_for_each(|_| stream.write_all(&zeroes))
        }
        Fault::HugeInChunks => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            (0..1024).try_for_each(|_| {
                write!(stream, "{:x}\r\n", zeroes.len())?;
                stream.write_all(&zeroes)?;
                stream.write_all(b"\r\n")
            })
        }
        Fault::EndlessHead => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
            (0..1 << 20).try_for_each(|number| write!(stream, "X-{number}: {}\r\n", "x".repeat(1000)))
        }
        Fault::Cut => stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nten bytes."),
        Fault::Broken => stream.write_all(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"),
        Fault::Sealed => {
            let body = r#"{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"the core is sealed: its operator has to unseal it"}"#;
            write!(stream, "HTTP/1.1 503 Service Unavailable\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        }
        Fault::Rubbish => stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{\"a\":[1,2,3}"),
        Fault::Noise => stream.write_all(&[0x42, 0, 0x7B, 1, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0]),
        Fault::Silent | Fault::Deaf => Ok(()),
        Fault::Slow => b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n".iter().try_for_each(|byte| {
            stream.write_all(&[*byte])?;
            stream.flush()?;
            thread::park_timeout(Duration::from_millis(300));
            Ok(())
        }),
    }
}

/// Reads what comes, until the other side has enough.
fn hold(mut socket: TcpStream) {
    let mut read = [0; 4096];
    while socket.read(&mut read).is_ok_and(|length| length > 0) {}
}

fn dev_files(edge: &Edge) -> (PathBuf, PathBuf) {
    (edge.dir().join("pki/server.pem"), edge.dir().join("pki/server.key"))
}

fn rss_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux says so");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[expect(clippy::print_stdout, reason = "how long it took is part of the result")]
fn told(what: &str) {
    println!("{what}");
}

/// Asks an edge that is not open to open, which it does by calls to its core; returns why it does not.
fn refusal(edge: &Edge, what: &str) -> String {
    let began = Instant::now();
    let unsealed = edge.cli(&["unseal"]);
    let took = began.elapsed();
    let said = String::from_utf8_lossy(&unsealed.stderr).into_owned();
    assert!(!unsealed.status.success(), "{what}: it opened");
    // It may have waited for a call that the edge made by itself.
    assert!(took < 2 * CALL_WITHIN, "{what}: it took {took:?}");
    if took > Duration::from_millis(500) {
        told(&format!("{what}: {:.2} s", took.as_secs_f64()));
    }
    said
}

/// The same until the bad core was asked, which is left alone for a while after each failure.
fn refusal_by(bad: &BadCore, edge: &Edge, what: &str) -> String {
    let before = bad.asked();
    let mut said = String::new();
    let was_asked = wait_for_within(GOES_ON_WITHIN, || {
        said = refusal(edge, what);
        bad.asked() > before && !said.contains("asked again")
    });
    assert!(was_asked, "{what}: the core was not asked; {said}");
    said
}

#[test]
fn a_core_that_answers_rubbish_costs_an_edge_neither_time_nor_memory() {
    let mut edge = Edge::prepared();
    let (cert, key) = dev_files(&edge);
    let bad = BadCore::start(&cert, &key, Fault::Broken);
    edge.set(&format!("upstreams: \"https://{}\"", bad.address));
    edge.start();
    let before = rss_kib(edge.pid());
    for fault in FAULTS {
        bad.become_so(fault);
        // What does not end is asked for more often, so that it shows in the memory if it is kept.
        let times = if matches!(fault, Fault::Huge | Fault::HugeInChunks | Fault::EndlessHead) { 3 } else { 1 };
        for _ in 0..times {
            let said = refusal_by(&bad, &edge, &format!("{fault:?}"));
            assert!(said.contains(&bad.address), "{fault:?} does not name the core: {said}");
        }
        assert!(edge.standing().starts_with("sealed: "), "{fault:?}: {}", edge.standing());
        assert!(requests::locate(&mut edge.connect(Who::Service), "x").is_err(), "{fault:?}");
    }
    let after = rss_kib(edge.pid());
    told(&format!("memory: {before} KiB before, {after} KiB after"));
    assert!(after < before + GROWTH_KIB_MAX, "{before} KiB became {after} KiB");
    edge.stop();
}

/// The core that answers for an edge's clients turns bad while the edge serves.
#[test]
fn a_request_that_is_passed_on_to_a_bad_core_is_refused_in_time_and_what_is_warm_goes_on() {
    let mut edge = Edge::prepared();
    edge.start_both();
    let mut client = edge.connect(Who::Service);
    let key = requests::create(&mut client, "warm").expect("the edge is well");
    requests::activate(&mut client, &key).expect("the edge is well");
    let warm = requests::encrypt(&mut client, &key, b"plain".to_vec()).expect("the edge is well");
    let l3 = edge.value("L3_ID");
    let secret = requests::encrypt(&mut client, &l3, b"at the core".to_vec()).expect("the core is well");
    edge.core.stop();
    let (cert, key) = dev_files(&edge);
    let bad = BadCore::start_at(edge.value("HTTPS_CORE").trim_start_matches("https://"), &cert, &key, Fault::Broken);
    let before = rss_kib(edge.pid());
    for fault in FAULTS {
        bad.become_so(fault);
        let asked = bad.asked();
        let was_asked = wait_for_within(GOES_ON_WITHIN, || {
            let began = Instant::now();
            let answer = requests::decrypt(&mut client, &secret);
            assert!(answer.is_err(), "{fault:?}: {answer:?}");
            assert!(began.elapsed() < CALL_WITHIN, "{fault:?}: it took {:?}", began.elapsed());
            assert_eq!(requests::decrypt(&mut client, &warm).expect("the lease goes on"), b"plain", "{fault:?}");
            bad.asked() > asked
        });
        assert!(was_asked, "{fault:?}: the core was not asked");
    }
    let after = rss_kib(edge.pid());
    assert!(after < before + GROWTH_KIB_MAX, "{before} KiB became {after} KiB");
    drop(client);
    edge.stop();
}

#[test]
fn a_core_with_a_certificate_of_another_ca_is_not_spoken_to() {
    let mut edge = Edge::prepared();
    let validity = Validity::starting(SystemClock.now(), Duration::from_secs(3600)).expect("an hour");
    let (other, _) = Ca::create("another CA", validity).expect("a CA");
    let (cert, key) = (edge.dir().join("other.pem"), edge.dir().join("other.key"));
    other.issue(&Holder::Server { names: Vec::new() }, validity).expect("the CA signs").write(&cert, &key).expect("the folder is ours");
    let bad = BadCore::start(&cert, &key, Fault::Broken);
    edge.set(&format!("upstreams: \"https://{}\"", bad.address));
    edge.start();
    let said = refusal(&edge, "wrong CA");
    assert!(said.contains(&bad.address) && said.contains("certificate"), "{said}");
    edge.stop();
}

fn with_a_second_core(fault: Fault) {
    let mut edge = Edge::prepared_with(&["lease: 1s"]);
    let (cert, key) = dev_files(&edge);
    let bad = BadCore::start(&cert, &key, fault);
    edge.set(&format!("upstreams: [\"https://{}\", \"{}\"]", bad.address, edge.value("HTTPS_CORE")));
    edge.core.start();
    edge.start();
    let began = Instant::now();
    assert!(wait_for_within(GOES_ON_WITHIN, || edge.standing() == "unsealed: "), "{fault:?}: {}", edge.standing());
    told(&format!("{fault:?}: open after {:.2} s", began.elapsed().as_secs_f64()));
    let mut client = edge.connect(Who::Service);
    let key = requests::create(&mut client, "at the second").expect("one core is good");
    requests::activate(&mut client, &key).expect("one core is good");
    let sealed = requests::encrypt(&mut client, &key, b"plain".to_vec()).expect("one core is good");
    // Nothing of it is warm after a restart.
    drop(client);
    edge.kill();
    edge.start();
    assert!(wait_for_within(GOES_ON_WITHIN, || edge.standing() == "unsealed: "), "{fault:?}: {}", edge.standing());
    let mut client = edge.connect(Who::Service);
    let opened = requests::decrypt(&mut client, &sealed).unwrap_or_else(|error| panic!("{fault:?}: {error}"));
    assert_eq!(opened, b"plain");
    assert!(bad.asked() > 0, "the first core was not asked");
    drop(client);
    edge.stop_both();
}

/// One test for each, as they wait for deadlines: the edge goes on at the second core in spite of the first.
macro_rules! goes_on {
    ($($name:ident: $fault:ident;)*) => {
        $(#[test]
        fn $name() {
            with_a_second_core(Fault::$fault);
        })*
    };
}

goes_on! {
    an_edge_goes_on_at_the_next_core_if_one_sends_too_much: Huge;
    an_edge_goes_on_at_the_next_core_if_one_breaks_off: Cut;
    an_edge_goes_on_at_the_next_core_if_one_is_broken: Broken;
    an_edge_goes_on_at_the_next_core_if_one_is_sealed: Sealed;
    an_edge_goes_on_at_the_next_core_if_one_answers_rubbish: Rubbish;
    an_edge_goes_on_at_the_next_core_if_one_speaks_no_http: Noise;
    an_edge_goes_on_at_the_next_core_if_one_is_silent: Silent;
    an_edge_goes_on_at_the_next_core_if_one_is_deaf: Deaf;
    an_edge_goes_on_at_the_next_core_if_one_is_slow: Slow;
}

/// The same while it serves: the core that answered last turns bad.
#[test]
fn an_edge_that_serves_goes_on_when_its_core_stops_and_another_is_there() {
    let mut edge = Edge::prepared_with(&["lease: 1s", "offline_ttl: 3s"]);
    // The same core by a second name.
    let core = edge.value("HTTPS_CORE");
    edge.set(&format!("upstreams: [\"{core}\", \"{}\"]", core.replace("127.0.0.1", "localhost")));
    edge.start_both();
    let mut client = edge.connect(Who::Service);
    let key = requests::create(&mut client, "two roads").expect("the edge is well");
    requests::activate(&mut client, &key).expect("the edge is well");
    edge.core.kill();
    edge.core.start();
    for number in 0..300 {
        // More than the pool has, so that the core is asked.
        let made = requests::create(&mut client, &format!("further {number}"));
        made.unwrap_or_else(|error| panic!("{number}: {error}"));
    }
    drop(client);
    edge.stop_both();
}
