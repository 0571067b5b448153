//! Certificates, CAs and revocation lists change under a running core: what is let in, what is cut, how soon, and that nothing good is lost.

#![expect(clippy::print_stdout, reason = "the seconds and bytes that were measured are for people")]

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use daemon::certs::{Ca, ClientName, Holder, Validity, write_private};
use daemon::kmip_client::{Endpoint, KmipClient};
use daemon::system::SystemClock;
use daemon::tls::ClientTls;
use keys::id::Time;
use keys::policy::Role;
use keys::port::Clock;
use kmip::ttlv::ByteString;
use kmip::{DiscoverVersionsRequest, EncryptRequest, ProtocolVersion};
use nix::sys::signal::Signal;
use rustls::{ClientConnection, HandshakeKind, NamedGroup, StreamOwned};
use softhsm_test::{Appliance, Core, Disk, Who, signal, wait_for};

/// New and live connections of a revoked client have to be refused by then (F14).
const EFFECTIVE_WITHIN: Duration = Duration::from_secs(5);
const HOUR: i64 = 3600;

/// From a minute ago, for `seconds`.
fn validity(seconds: i64) -> Validity {
    let now = SystemClock.now().seconds();
    Validity::between(Time::from_seconds(now - 60), Time::from_seconds(now + seconds)).expect("it is possible")
}

/// The CA of an appliance, by its `dev.env`.
fn ca(value: &impl Fn(&str) -> String) -> Ca {
    Ca::load(Path::new(&value("CA_CERT")), Path::new(&value("CA_KEY"))).expect("dev's CA is good")
}

/// Replaces the list of revoked certificates.
fn revoke(value: &impl Fn(&str) -> String, number: u64, certificates: &[&Path]) {
    let serials: Vec<_> = certificates.iter().map(|file| serial(file)).collect();
    let list = ca(value).revocation_list(number, &serials, validity(HOUR)).expect("the CA signs");
    put(value, &list);
}

fn put(value: &impl Fn(&str) -> String, list: &str) {
    write_private(Path::new(&value("CRL")), list.as_bytes()).expect("the folder is ours");
}

fn serial(certificate: &Path) -> Vec<u8> {
    let run = Command::new("openssl").args(["x509", "-noout", "-serial", "-in"]).arg(certificate).output();
    let text = String::from_utf8(run.expect("openssl is on every Debian").stdout).expect("text");
    let hex = text.trim().strip_prefix("serial=").expect("openssl reads the certificate");
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex digits")).collect()
}

fn service() -> Holder {
    let parse = |text: &str| text.parse().expect("a name");
    Holder::Client(ClientName::new(Some(parse("acme")), parse("billing"), Role::Service).expect("a service has a tenant"))
}

/// A client of dev's CA with a certificate of its own.
fn client(endpoint: &Endpoint, folder: &Path, name: &str, ca: &Ca) -> Endpoint {
    let (cert, key) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
    ca.issue(&service(), validity(HOUR)).expect("the CA signs").write(&cert, &key).expect("the folder is ours");
    Endpoint { cert, key, ..endpoint.clone() }
}

fn connect(endpoint: &Endpoint) -> Option<KmipClient> {
    let mut client = KmipClient::connect(endpoint, ProtocolVersion::V1_4).ok()?;
    is_served(&mut client).then_some(client)
}

fn is_served(client: &mut KmipClient) -> bool {
    client.call(&DiscoverVersionsRequest::default()).is_ok()
}

/// A TLS connection that says nothing.
fn idle(endpoint: &Endpoint) -> StreamOwned<ClientConnection, TcpStream> {
    let tls = ClientTls::load(&endpoint.ca, &endpoint.cert, &endpoint.key, "localhost").expect("dev's files are good");
    stream(Arc::new((*tls.config()).clone()), &endpoint.server)
}

fn stream(config: Arc<rustls::ClientConfig>, server: &str) -> StreamOwned<ClientConnection, TcpStream> {
    let name = "localhost".try_into().expect("a name");
    let session = ClientConnection::new(config, name).expect("a sound configuration");
    let socket = TcpStream::connect(server).expect("the core listens");
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a sound timeout");
    StreamOwned::new(session, socket)
}

/// Discover Versions over a stream of our own; `None` if the core closes instead of answering.
fn ask(stream: &mut StreamOwned<ClientConnection, TcpStream>) -> Option<()> {
    let mut batch = kmip::Batch::new(ProtocolVersion::V1_4);
    let _slot = batch.push(&DiscoverVersionsRequest::default());
    stream.write_all(&batch.finish().bytes).ok()?;
    stream.flush().ok()?;
    let mut head = [0; 8];
    stream.read_exact(&mut head).ok()?;
    let [.., a, b, c, d] = head;
    let mut rest = vec![0; usize::try_from(u32::from_be_bytes([a, b, c, d])).expect("short")];
    stream.read_exact(&mut rest).ok()
}

#[test]
fn a_revoked_client_is_refused_and_cut_within_seconds_and_others_go_on() {
    let appliance = Appliance::start();
    let value = |name: &str| appliance.value(name);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let revoked = client(&appliance.endpoint(Who::Service), folder.path(), "revoked", &ca(&value));
    let mut live = connect(&revoked).expect("it is good so far");
    let mut good = appliance.connect(Who::Service);
    let mut silent = idle(&revoked);
    ask(&mut silent).expect("it is good so far");
    let started = Instant::now();
    revoke(&value, 2, &[&revoked.cert]);
    let cut = silent.read(&mut [0; 1]).map_or(0, |read| read);
    let idle_seconds = started.elapsed();
    assert_eq!(cut, 0, "the idle connection is closed, nothing is sent on it");
    assert!(wait_for(|| connect(&revoked).is_none()), "a new connection is let in");
    let new_seconds = started.elapsed();
    assert!(wait_for(|| !is_served(&mut live)), "the live connection goes on");
    let live_seconds = started.elapsed();
    println!("revoked: idle connection cut after {idle_seconds:?}, new refused after {new_seconds:?}, live refused after {live_seconds:?}");
    assert!(idle_seconds.max(new_seconds).max(live_seconds) <= EFFECTIVE_WITHIN);
    assert!(is_served(&mut good), "another client's live connection is cut");
    assert!(connect(&appliance.endpoint(Who::Service)).is_some(), "another client is refused");
}

#[test]
fn lists_that_are_not_to_be_believed_let_no_revoked_client_in_and_keep_no_good_one_out() {
    let mut core = Core::prepared();
    core.start();
    let value = |name: &str| core.value(name);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let revoked = client(&good_endpoint(&value), folder.path(), "revoked", &ca(&value));
    revoke(&value, 5, &[&revoked.cert]);
    assert!(wait_for(|| connect(&revoked).is_none()), "a revoked client is let in");
    let (foreign, _) = Ca::create("another CA", validity(HOUR)).expect("a CA");
    let past = Validity::between(
        Time::from_seconds(SystemClock.now().seconds() - 2 * HOUR),
        Time::from_seconds(SystemClock.now().seconds() - HOUR),
    );
    let list = |ca: &Ca, number, validity| ca.revocation_list(number, &[], validity).expect("the CA signs");
    let cases = [
        ("older", list(&ca(&value), 4, validity(HOUR)), "has number 4, but 5 was seen before"),
        ("expired", list(&ca(&value), 6, past.expect("an hour")), "has expired on"),
        ("another CA's", list(&foreign, 6, validity(HOUR)), "which is no CA in client_ca"),
        ("garbage", "garbage".to_owned(), "holds no certificate revocation list"),
        ("empty", String::new(), "holds no certificate revocation list"),
    ];
    let mut accepted = 0;
    let mut good = connect(&good_endpoint(&value)).expect("a good client");
    for (what, text, said) in &cases {
        put(&value, text);
        assert!(wait_for(|| core.status().contains(said)), "{what}: status does not say `{said}`: {}", core.status());
        accepted += usize::from(connect(&revoked).is_some());
        assert!(is_served(&mut good) && connect(&good_endpoint(&value)).is_some(), "{what}: a good client is kept out");
    }
    fs::remove_file(value("CRL")).expect("it is there");
    assert!(wait_for(|| core.status().contains("No such file")), "{}", core.status());
    accepted += usize::from(connect(&revoked).is_some());
    println!("{} bad lists: {accepted} accepted", cases.len() + 1);
    assert_eq!(accepted, 0);

    // The number is remembered where a restart finds it: an older list is no list then, and nobody is let in by it.
    put(&value, &cases[0].1);
    core.stop();
    core.start();
    let value = |name: &str| core.value(name);
    assert!(wait_for(|| core.status().contains("has number 4, but 5 was seen before")), "{}", core.status());
    assert!(connect(&revoked).is_none() && connect(&good_endpoint(&value)).is_none(), "an older list lets somebody in after a restart");
    revoke(&value, 6, &[&revoked.cert]);
    assert!(wait_for(|| connect(&good_endpoint(&value)).is_some()), "the CA's latest list is there, and nobody is let in");
    assert!(connect(&revoked).is_none());
    assert!(wait_for(|| !core.status().contains("was seen before")), "{}", core.status());
}

/// The number of before is only in the keystore, and there it stays if the disk takes no write. A request that comes the moment the node opens must
/// not be served by an older list, nor may one come later because something else could not be stored.
#[test]
fn a_number_from_before_a_restart_counts_from_the_first_request_and_on_a_full_disk() {
    let mut core = Core::prepared();
    let disk = Disk::mount(&core.dir().join("disk"), "24m");
    let store = core.store();
    fs::copy(&store, disk.path().join("store.redb")).expect("there is room");
    fs::remove_file(&store).expect("it is ours");
    std::os::unix::fs::symlink(disk.path().join("store.redb"), &store).expect("it is ours");
    core.start();
    let value = |name: &str| core.value(name);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let revoked = client(&good_endpoint(&value), folder.path(), "revoked", &ca(&value));
    revoke(&value, 5, &[&revoked.cert]);
    assert!(wait_for(|| connect(&revoked).is_none()), "a revoked client is let in");
    // A number is stored with the look at the files that comes after it was seen; this is told after two more.
    put(&value, "garbage");
    assert!(wait_for(|| core.status().contains("holds no certificate revocation list")), "{}", core.status());
    core.stop();
    let value = |name: &str| core.value(name);

    // Of the first CA an older list, of a second one a list whose number is new and cannot be stored.
    let (next, issued) = Ca::create("the next CA", validity(HOUR)).expect("a CA");
    let both = fs::read_to_string(value("CA_CERT")).expect("it is there") + &issued.certificate;
    let lists = [ca(&value).revocation_list(4, &[], validity(HOUR)), next.revocation_list(1, &[], validity(HOUR))];
    put(&value, &lists.map(|list| list.expect("the CA signs")).concat());
    write_private(Path::new(&value("CA_CERT")), both.as_bytes()).expect("it is ours");
    core.pull_token();
    core.start();
    let value = |name: &str| core.value(name);
    disk.fill();
    core.return_token();
    let key = value("L3_ID");
    let over = AtomicBool::new(false);
    let served = AtomicUsize::new(0);
    let is_told = std::thread::scope(|scope| {
        for _ in 0..4 {
            let mut live = KmipClient::connect(&revoked, ProtocolVersion::V1_4).expect("a sealed node knows no number");
            let (served, over, key) = (&served, &over, &key);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    served.fetch_add(usize::from(encrypts(&mut live, key)), Ordering::Relaxed);
                }
            });
        }
        let is_open = core.cli(&["unseal"]).status.success();
        let is_told = is_open && wait_for(|| core.status().contains("has number 4, but 5 was seen before"));
        over.store(true, Ordering::Relaxed);
        is_told
    });
    assert!(is_told, "{}", core.status());
    assert_eq!(served.load(Ordering::Relaxed), 0, "requests of a revoked client that were served after the unseal");
    assert!(connect(&revoked).is_none());
    assert!(wait_for(|| core.status().contains("the numbers of revocation lists are not stored")), "{}", core.status());
    disk.empty();
    assert!(wait_for(|| !core.status().contains("the numbers of revocation lists are not stored")), "{}", core.status());
    assert!(connect(&revoked).is_none());
}

fn encrypts(client: &mut KmipClient, key: &str) -> bool {
    let request = EncryptRequest { unique_identifier: Some(key), data: Some(ByteString(b"data")), ..EncryptRequest::default() };
    client.call(&request).is_ok()
}

/// Who has no good certificate must leave a trace, and must not fill the disk with it.
#[test]
fn refused_certificates_are_in_the_audit_log_and_a_flood_of_them_does_not_fill_it() {
    const FLOOD: u64 = 300;
    let mut core = Core::prepared();
    core.start();
    let endpoint = core.endpoint(Who::Service);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (foreign, _) = Ca::create("another CA", validity(HOUR)).expect("a CA");
    let stranger = client(&endpoint, folder.path(), "stranger", &foreign);
    let shown = daemon::tls::chain(&stranger.cert).expect("it reads").swap_remove(0);
    let holds = |wanted: &[u8]| {
        let has = |segment: &PathBuf| fs::read(segment).expect("it is there").windows(wanted.len()).any(|bytes| bytes == wanted);
        core.segments().iter().any(has)
    };
    let sessions = || {
        let report: serde_json::Value = serde_json::from_str(&core.ask(&["--json", "audit", "verify"])).expect("JSON");
        report["sessions"].as_u64().expect("a number")
    };
    let before = sessions();
    for _ in 0..5 {
        drop(TcpStream::connect(&endpoint.server).expect("the core listens"));
        let arguments = ["s_client", "-connect", &endpoint.server];
        let _refused =
            Command::new("openssl").args(arguments).stdin(std::process::Stdio::null()).output().expect("openssl is on every Debian");
    }
    assert!(connect(&stranger).is_none());
    assert!(wait_for(|| holds(&cipher::mac::sha256(&[&shown]))), "the certificate's fingerprint");
    assert!(holds(b": the client's certificate is not from a CA in client_ca"), "the reason");
    assert_eq!(sessions(), before + 1, "who shows no certificate is only counted");
    let begun = Instant::now();
    for _ in 1..FLOOD {
        assert!(connect(&stranger).is_none());
    }
    let seconds = begun.elapsed().as_secs();
    assert!(wait_for(|| holds(b" more certificates were refused within ")), "those left out are not told");
    let lines = sessions() - before;
    println!("{FLOOD} refused certificates within {seconds} s: {lines} lines");
    // Ten at once and one a second; and one line a minute for the others, or two.
    assert!((10..=10 + seconds + 2 + 2 + seconds / 60).contains(&lines), "{lines} lines within {seconds} s");
    core.stop();
    let _verified = core.ask(&["audit", "verify"]);
}

#[test]
fn how_much_is_logged_changes_on_hangup_without_a_restart() {
    let mut core = Core::prepared();
    core.start();
    let endpoint = core.endpoint(Who::Service);
    let text = fs::read_to_string(core.config()).expect("dev has written it");
    assert!(!text.contains("log:"), "dev sets no level");
    let said = || fs::read_to_string(core.dir().join("core.said")).expect("the core writes it");
    let set = |level: &str| {
        write_private(&core.config(), format!("{text}log: {{level: {level}}}\n").as_bytes()).expect("it is ours");
        signal(core.pid(), Signal::SIGHUP);
    };
    assert!(connect(&endpoint).is_some() && !said().contains("connection ended"));
    set("debug");
    assert!(wait_for(|| connect(&endpoint).is_some() && said().contains("connection ended")), "{}", said());
    assert!(!said().contains("need a restart"), "{}", said());
    set("error");
    // Each reload is said, until only errors are.
    let lines = || said().lines().count();
    assert!(wait_for(|| {
        let before = lines();
        signal(core.pid(), Signal::SIGHUP);
        connect(&endpoint).is_some() && core.status().contains("unsealed") && lines() == before
    }));
    core.stop();
}

/// Opening a pipe that nobody writes waits for ever, as a network file system does whose server is gone.
#[test]
fn a_file_that_cannot_be_read_to_its_end_holds_nothing_else_up() {
    let mut core = Core::prepared();
    core.start();
    let value = |name: &str| core.value(name);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let revoked = client(&good_endpoint(&value), folder.path(), "revoked", &ca(&value));
    let mut live = connect(&revoked).expect("it is good so far");
    let crl = PathBuf::from(value("CRL"));
    let pipe = crl.with_extension("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("the folder is ours");
    fs::rename(&pipe, &crl).expect("the folder is ours");
    signal(core.pid(), Signal::SIGHUP);
    assert!(wait_for(|| core.status().contains("the files of the listeners cannot be read")), "{}", core.status());
    assert!(is_served(&mut live) && connect(&revoked).is_some(), "what was in force stays");
    // Who keeps the trust answers an unseal, so it does not wait itself.
    let _sealed = core.ask(&["seal"]);
    let _unsealed = core.ask(&["unseal"]);
    // The disk answers again, with nothing; then comes the list.
    let writer = fs::OpenOptions::new().write(true).open(&crl).expect("somebody waits at the other end");
    revoke(&value, 2, &[&revoked.cert]);
    drop(writer);
    assert!(wait_for(|| connect(&revoked).is_none()), "a revoked client is let in");
    assert!(wait_for(|| !core.status().contains("cannot be read")), "{}", core.status());
    assert!(wait_for(|| !is_served(&mut live)));
    core.stop();
}

fn good_endpoint(value: &impl Fn(&str) -> String) -> Endpoint {
    Endpoint {
        server: value("KMIP_CORE"),
        server_name: None,
        ca: value("CA_CERT").into(),
        cert: value("CLIENT_CERT").into(),
        key: value("CLIENT_KEY").into(),
    }
}

#[test]
fn reloads_under_load_drop_no_request() {
    const WORKERS: usize = 4;
    const REQUESTS: usize = 10_000;
    const RELOADS_MIN: u64 = 10;
    let appliance = Appliance::start();
    let value = |name: &str| appliance.value(name);
    let (sent, failed, over) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    let endpoint = appliance.endpoint(Who::Service);
    let mut reloads = 0;
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                let mut client = connect(&endpoint).expect("a good client");
                while sent.fetch_add(1, Ordering::Relaxed) < REQUESTS || !over.load(Ordering::Relaxed) {
                    failed.fetch_add(usize::from(!is_served(&mut client)), Ordering::Relaxed);
                }
            });
        }
        let server = PathBuf::from(value("CA_CERT")).with_file_name("server");
        while sent.load(Ordering::Relaxed) < REQUESTS || reloads < RELOADS_MIN {
            reloads += 1;
            if reloads % 2 == 0 {
                revoke(&value, 1 + reloads, &[]);
            } else {
                let renewed = ca(&value).issue(&Holder::Server { names: Vec::new() }, validity(HOUR)).expect("the CA signs");
                renewed.write(&server.with_extension("pem"), &server.with_extension("key")).expect("the folder is ours");
            }
            signal(appliance.core_pid(), Signal::SIGHUP);
            let certificate = || idle_certificate(&endpoint);
            let wanted = daemon::tls::chain(&server.with_extension("pem")).expect("it reads");
            assert!(wait_for(|| certificate().as_ref() == Some(&wanted[0])), "the new certificate is not served");
        }
        over.store(true, Ordering::Relaxed);
    });
    let (sent, failed) = (sent.load(Ordering::Relaxed), failed.load(Ordering::Relaxed));
    println!("{sent} requests during {reloads} reloads: {failed} dropped");
    assert_eq!(failed, 0);
}

/// A certificate that ends, unlike one that is revoked, ends without any file that changes.
#[test]
fn an_idle_connection_is_cut_as_soon_as_its_certificate_ends() {
    let appliance = Appliance::start();
    let endpoint = appliance.endpoint(Who::Service);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (cert, key) = (folder.path().join("short.pem"), folder.path().join("short.key"));
    const LIFE_SECONDS: i64 = 4;
    let issued = ca(&|name| appliance.value(name)).issue(&service(), validity(LIFE_SECONDS)).expect("the CA signs");
    issued.write(&cert, &key).expect("the folder is ours");
    let mut silent = idle(&Endpoint { cert, key, ..endpoint });
    ask(&mut silent).expect("it is good so far");
    let started = Instant::now();
    assert_eq!(silent.read(&mut [0; 1]).map_or(0, |read| read), 0, "nothing is sent on it");
    assert!(started.elapsed() <= Duration::from_secs(LIFE_SECONDS.unsigned_abs()) + EFFECTIVE_WITHIN, "{:?}", started.elapsed());
}

/// Nothing changes when its time comes: the core has to look again by itself.
#[test]
fn a_certificate_of_the_future_is_taken_up_when_its_time_comes() {
    let appliance = Appliance::start();
    let endpoint = appliance.endpoint(Who::Service);
    let before = idle_certificate(&endpoint).expect("it is served");
    let from = SystemClock.now().seconds() + 4;
    let validity = Validity::between(Time::from_seconds(from), Time::from_seconds(from + HOUR)).expect("it is possible");
    let holder = Holder::Server { names: vec!["localhost".to_owned()] };
    let issued = ca(&|name| appliance.value(name)).issue(&holder, validity).expect("the CA signs");
    let path = |name: &str| PathBuf::from(appliance.value("CA_CERT")).with_file_name(name);
    issued.write(&path("server.pem"), &path("server.key")).expect("the folder is ours");
    assert!(wait_for(|| idle_certificate(&endpoint).is_some_and(|shown| shown != before)), "the old certificate is still shown");
    assert!(SystemClock.now().seconds() >= from, "it was shown before its time");
}

/// The certificate that the core shows.
fn idle_certificate(endpoint: &Endpoint) -> Option<rustls::pki_types::CertificateDer<'static>> {
    let mut stream = idle(endpoint);
    ask(&mut stream)?;
    stream.conn.peer_certificates().map(|chain| chain[0].clone().into_owned())
}

#[test]
fn a_resumed_session_is_refused_once_its_certificate_is_revoked() {
    let appliance = Appliance::start();
    let value = |name: &str| appliance.value(name);
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (number, version) in [(2, &rustls::version::TLS12), (3, &rustls::version::TLS13)] {
        let endpoint = client(&appliance.endpoint(Who::Service), folder.path(), &format!("client-{number}"), &ca(&value));
        let tls = ClientTls::load(&endpoint.ca, &endpoint.cert, &endpoint.key, "localhost").expect("the files are good");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(daemon::tls::chain(&endpoint.ca).expect("it reads").swap_remove(0)).expect("a CA");
        let provider = Arc::clone(tls.config().crypto_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).expect("it is there");
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.client_auth_cert_resolver = Arc::clone(&tls.config().client_auth_cert_resolver);
        let config = Arc::new(config);
        let kind = || {
            let mut stream = stream(Arc::clone(&config), &endpoint.server);
            ask(&mut stream)?;
            stream.conn.handshake_kind()
        };
        assert!(matches!(kind(), Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest)), "{version:?}");
        assert_eq!(kind(), Some(HandshakeKind::Resumed), "{version:?}");
        revoke(&value, number, &[&endpoint.cert]);
        assert!(wait_for(|| kind().is_none()), "{version:?}: a resumed session of a revoked client is served");
        for _ in 0..5 {
            assert_eq!(kind(), None, "{version:?}");
        }
    }
}

#[test]
fn clients_that_know_only_rsa_or_only_ecdsa_are_both_served_and_the_hybrid_group_is_taken() {
    let appliance = Appliance::start();
    let config = PathBuf::from(appliance.value("CORE_CONFIG"));
    let value = |name: &str| appliance.value(name);
    let folder = config.parent().expect("it is in a folder").to_owned();
    let path = |name: &str| folder.join(name).display().to_string();
    fs::write(path("rsa.ext"), "subjectAltName=DNS:localhost\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n")
        .expect("it is ours");
    openssl(&["req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-keyout", &path("rsa.key"), "-out", &path("rsa.csr")]);
    let (ca, ca_key) = (value("CA_CERT"), value("CA_KEY"));
    let sign = ["x509", "-req", "-in", &path("rsa.csr"), "-CA", &ca, "-CAkey", &ca_key, "-set_serial", "7", "-days", "1"];
    openssl(&[&sign[..], &["-extfile", &path("rsa.ext"), "-out", &path("rsa.pem")]].concat());
    let text = fs::read_to_string(&config).expect("dev has written it");
    let line = |name: &str| text.lines().find(|line| line.trim_start().starts_with(name)).expect("dev has written it").to_owned();
    let with = |text: &str, name: &str, more: &str| {
        let old = line(name);
        let (key, file) = old.split_once(": ").expect("a key with its value");
        text.replace(&old, &format!("{key}: [{file}, {more:?}]"))
    };
    let both = with(&with(&text, "cert:", &path("rsa.pem")), "key: \"/", &path("rsa.key"));
    fs::write(&config, both).expect("it is ours");
    fs::set_permissions(&config, fs::Permissions::from_mode(0o600)).expect("it is ours");
    let (cert, key) = (value("CLIENT_CERT"), value("CLIENT_KEY"));
    let server = value("KMIP_CORE");
    let shown = |schemes: &str, version: &str| {
        let run = ["s_client", "-connect", &server, "-sigalgs", schemes, version, "-cert", &cert, "-key", &key, "-CAfile", &ca];
        let run = Command::new("openssl").args(run).stdin(std::process::Stdio::null()).output().expect("openssl is on every Debian");
        let text = String::from_utf8_lossy(&run.stdout).into_owned();
        let verified = text.contains("Verify return code: 0 (ok)") && text.contains("BEGIN CERTIFICATE");
        verified.then(|| text.lines().find_map(|line| line.strip_prefix("Peer signature type: ")).unwrap_or_default().to_owned())
    };
    assert_eq!(shown("RSA-PSS+SHA256:RSA+SHA256", "-tls1_2"), None, "there is no RSA certificate yet");
    signal(appliance.core_pid(), Signal::SIGHUP);
    assert!(wait_for(|| shown("RSA-PSS+SHA256:RSA+SHA256", "-tls1_2").is_some()), "the second certificate is not served after SIGHUP");
    for version in ["-tls1_2", "-tls1_3"] {
        let rsa = shown("RSA-PSS+SHA256:ECDSA+SHA384", version).expect("an RSA client is served");
        let ecdsa = shown("ECDSA+SHA256", version).expect("an ECDSA client is served");
        assert!(rsa.to_uppercase().contains("RSA") && !ecdsa.to_uppercase().contains("RSA"), "{version}: {rsa} and {ecdsa}");
    }
    let mut ours = idle(&appliance.endpoint(Who::Service));
    ask(&mut ours).expect("it is served");
    assert_eq!(ours.conn.negotiated_key_exchange_group().map(|group| group.name()), Some(NamedGroup::X25519MLKEM768));
}

fn openssl(arguments: &[&str]) {
    let run = Command::new("openssl").args(arguments).output().expect("openssl is on every Debian");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
}

/// Memory is counted where it counts: in the core's own process, with the connections' sessions, tasks and buffers.
#[test]
fn an_idle_connection_costs_at_most_forty_kilobytes() {
    const CONNECTIONS: usize = 2000;
    const WARM_UP: usize = 100;
    const BYTES_MAX: usize = 40_000;
    daemon::system::raise_descriptors().expect("the limit can be raised to its own maximum");
    let appliance = Appliance::start();
    let endpoint = appliance.endpoint(Who::Service);
    let tls = ClientTls::load(&endpoint.ca, &endpoint.cert, &endpoint.key, "localhost").expect("dev's files are good");
    let mut config = (*tls.config()).clone();
    config.resumption = rustls::client::Resumption::disabled();
    let config = Arc::new(config);
    let mut open = Vec::new();
    let mut fill = |count: usize| {
        while open.len() < count {
            let mut stream = stream(Arc::clone(&config), &endpoint.server);
            ask(&mut stream).expect("there is a place");
            open.push(stream);
        }
        resident(appliance.core_pid())
    };
    let before = fill(WARM_UP);
    let after = fill(WARM_UP + CONNECTIONS);
    let each = after.saturating_sub(before) / CONNECTIONS;
    println!("{CONNECTIONS} idle connections: {each} bytes each, {after} bytes in all");
    assert!(each <= BYTES_MAX, "{each} bytes for an idle connection");
    assert!(open.iter_mut().step_by(100).all(|stream| ask(stream).is_some()), "idle connections are served when they come back");
}

/// Bytes of a process that are in memory.
fn resident(process: u32) -> usize {
    let text = fs::read_to_string(format!("/proc/{process}/status")).expect("the process runs");
    let kilobytes = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).and_then(|rest| rest.trim().strip_suffix(" kB"));
    kilobytes.and_then(|number| number.trim().parse::<usize>().ok()).expect("the kernel tells") * 1024
}

#[test]
fn a_ca_is_rotated_without_a_restart() {
    let appliance = Appliance::start();
    let value = |name: &str| appliance.value(name);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (next, issued) = Ca::create("the next CA", validity(HOUR)).expect("a CA");
    let endpoint = appliance.endpoint(Who::Service);
    // What the server is known by stays as it is: a client's own copy.
    let servers_ca = folder.path().join("servers-ca.pem");
    fs::copy(&endpoint.ca, &servers_ca).expect("it is there");
    let old = Endpoint { ca: servers_ca, ..endpoint };
    let new = client(&old, folder.path(), "new", &next);
    assert!(connect(&old).is_some() && connect(&new).is_none());
    let both = fs::read_to_string(value("CA_CERT")).expect("it is there") + &issued.certificate;
    let lists =
        fs::read_to_string(value("CRL")).expect("it is there") + &next.revocation_list(1, &[], validity(HOUR)).expect("the CA signs");
    put(&value, &lists);
    write_private(Path::new(&value("CA_CERT")), both.as_bytes()).expect("it is ours");
    assert!(wait_for(|| connect(&new).is_some()), "clients of the added CA are kept out");
    let mut live = connect(&old).expect("clients of the old CA are let in beside");
    write_private(Path::new(&value("CA_CERT")), issued.certificate.as_bytes()).expect("it is ours");
    assert!(wait_for(|| connect(&old).is_none()), "clients of the CA that was taken out are let in");
    assert!(wait_for(|| !is_served(&mut live)), "a live connection of the CA that was taken out goes on");
    assert!(connect(&new).is_some());
}

#[test]
fn identity_rules_are_read_again_on_hangup_and_a_bad_configuration_changes_nothing() {
    let mut core = Core::prepared();
    core.start();
    let value = |name: &str| core.value(name);
    let endpoint = good_endpoint(&value);
    let text = fs::read_to_string(core.config()).expect("dev has written it");
    let mut live = connect(&endpoint).expect("the first rule matches");
    let write = |text: &str| {
        write_private(&core.config(), text.as_bytes()).expect("it is ours");
        signal(core.pid(), Signal::SIGHUP);
    };
    write(&text.replace("identity:", "identiti:"));
    // The command line does not read a bad configuration either, so it is told where the node is.
    let data = core.dir().join("core").display().to_string();
    let status = || String::from_utf8_lossy(&core.cli(&["--data-dir", &data, "--json", "status"]).stdout).into_owned();
    assert!(wait_for(|| status().contains("the configuration was not reloaded")), "{}", status());
    assert!(is_served(&mut live) && connect(&endpoint).is_some());
    // Another rule that names somebody else by the same certificate: rights follow, so the live connection has to come again.
    let from = text.find("identity:").expect("dev has written it");
    let to = text.find("seal:").expect("dev has written it");
    let other = r#"identity: {rules: [{uri: "strongroom://acme/{service}/service", role: service, tenant: globex}]}"#;
    write(&format!("{}{other}\n{}", &text[..from], &text[to..]));
    assert!(wait_for(|| !core.status().contains("the configuration was not reloaded")), "{}", core.status());
    assert!(wait_for(|| !is_served(&mut live)), "a live connection keeps rights that the rules no longer give");
    assert!(connect(&endpoint).is_some(), "it may come again, as somebody else");
    write(&format!("{}identity: {{rules: []}}\n{}", &text[..from], &text[to..]));
    assert!(wait_for(|| connect(&endpoint).is_none()), "no rule, no entry");
}
