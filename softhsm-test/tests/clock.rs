//! The clock of a serving core jumps, runs back and stands still (F13): no key grows younger, nobody waits longer, and certificates go by it.
//!
//! libfaketime tells the core the time of day that a file says; monotonic time and the times of files stay as they are.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use daemon::certs::{Ca, ClientName, Holder, Validity, write_private};
use daemon::kmip_client::{Endpoint, KmipClient, KmipError};
use daemon::system::{SystemClock, rfc3339};
use keys::id::Time;
use keys::policy::Role;
use keys::port::Clock;
use kmip::ttlv::DateTime;
use kmip::{AddAttributeRequest, Attribute, AttributeValue, ProtocolVersion, State};
use softhsm_test::requests::{activate, create, decrypt, encrypt, look, rekey};
use softhsm_test::{Core, wait_for};

const YEAR: i64 = 365 * 24 * 3600;
const HOUR: i64 = 3600;
/// Nobody waits longer for an answer, whatever the time of day does.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);
/// A connection without a handshake is cut within this time.
const CUT_WITHIN: Duration = Duration::from_secs(12);
/// A revocation is in force within this time.
const REVOKED_WITHIN: Duration = Duration::from_secs(5);

/// What the file says to libfaketime, and whether a certificate that is valid for an hour holds then.
const MOMENTS: [(&str, bool); 7] =
    [("+0", true), ("-1h", false), ("+0", true), ("+10y", false), ("-10y", false), ("-1h", false), ("frozen", true)];

/// A core whose clock can be set, and a CA of its clients that is valid at all times which are tried.
struct World {
    core: Core,
    ca: Ca,
    folder: PathBuf,
}

impl World {
    fn new() -> Self {
        let library = format!("/usr/lib/{}-linux-gnu/faketime/libfaketime.so.1", std::env::consts::ARCH);
        assert!(Path::new(&library).exists(), "{library} is not there: apt-get install faketime");
        let mut core = Core::prepared();
        let folder = core.dir().to_owned();
        fs::copy(core.value("CA_CERT"), folder.join("server-ca.pem")).expect("the folder is ours");
        let (ca, issued) = Ca::create("a CA of long standing", validity(-20 * YEAR, 20 * YEAR)).expect("a CA");
        issued.write(Path::new(&core.value("CA_CERT")), &folder.join("clients-ca.key")).expect("the folder is ours");
        let time_file = folder.join("time");
        for (name, value) in [
            ("LD_PRELOAD", library.as_str()),
            ("FAKETIME_TIMESTAMP_FILE", &time_file.display().to_string()),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
            ("NO_FAKE_STAT", "1"),
            ("TZ", "UTC"),
        ] {
            core.set_environment(name, value);
        }
        let world = Self { core, ca, folder };
        world.revoke(1, &[]);
        world
    }

    fn revoke(&self, number: u64, serials: &[Vec<u8>]) {
        let list = self.ca.revocation_list(number, serials, validity(-20 * YEAR, 20 * YEAR)).expect("the CA signs");
        write_private(Path::new(&self.core.value("CRL")), list.as_bytes()).expect("the folder is ours");
    }

    /// A client whose certificate is valid from so many seconds after now to so many.
    fn client(&self, name: &str, role: Role, validity: Validity) -> Endpoint {
        let parse = |text: &str| text.parse().expect("a name");
        let holder = Holder::Client(ClientName::new(Some(parse("acme")), parse("billing"), role).expect("acme has both"));
        let (cert, key) = (self.folder.join(format!("{name}.pem")), self.folder.join(format!("{name}.key")));
        self.ca.issue(&holder, validity).expect("the CA signs").write(&cert, &key).expect("the folder is ours");
        Endpoint { server: self.core.value("KMIP_CORE"), server_name: None, ca: self.folder.join("server-ca.pem"), cert, key }
    }

    /// Sets the core's clock.
    fn set(&self, moment: &str) {
        let now = rfc3339(SystemClock.now()).replace('T', " ").replace('Z', "");
        let text = if moment == "frozen" { now } else { moment.to_owned() };
        let fresh = self.folder.join("time.new");
        fs::write(&fresh, text).expect("the folder is ours");
        fs::rename(fresh, self.folder.join("time")).expect("the folder is ours");
    }
}

fn validity(from: i64, to: i64) -> Validity {
    let now = SystemClock.now().seconds();
    Validity::between(Time::from_seconds(now + from), Time::from_seconds(now + to)).expect("a span")
}

fn connect(endpoint: &Endpoint) -> Result<KmipClient, KmipError> {
    KmipClient::connect(endpoint, ProtocolVersion::V1_4)
}

fn timely<T>(what: &str, moment: &str, work: impl FnOnce() -> Result<T, KmipError>) -> T {
    let asked = Instant::now();
    let outcome = work().unwrap_or_else(|error| panic!("{what} at {moment}: {error}"));
    assert!(asked.elapsed() < ANSWERED_WITHIN, "{what} at {moment} took {:?}", asked.elapsed());
    outcome
}

fn add_date(admin: &mut KmipClient, key: &str, value: AttributeValue<'_>) {
    let request = AddAttributeRequest { unique_identifier: Some(key), attribute: Attribute { index: None, value } };
    admin.call(&request).expect("the date lies ahead");
}

/// How far a key has come in its life.
fn age(state: State) -> u8 {
    match state {
        State::PreActive => 0,
        State::Active => 1,
        State::Deactivated => 2,
        _ => 3,
    }
}

/// Keys whose states are told from time to time.
struct Watched {
    keys: Vec<(String, State)>,
}

impl Watched {
    fn look(&mut self, admin: &mut KmipClient, moment: &str) {
        for (key, before) in &mut self.keys {
            let now = timely("Get Attributes", moment, || look(admin, key)).state;
            assert!(age(now) >= age(*before), "{key} was {before:?} and is {now:?} at {moment}");
            *before = now;
        }
    }

    fn state(&self, key: &str) -> State {
        self.keys.iter().find(|(id, _)| id == key).expect("it is watched").1
    }
}

#[test]
fn no_key_grows_younger_and_nobody_waits_longer_when_the_clock_jumps_runs_back_or_stands() {
    let mut world = World::new();
    world.set("+0");
    world.core.start();
    let always = validity(-20 * YEAR, 20 * YEAR);
    let admin = world.client("admin", Role::TenantAdmin, always);
    let mut admin = connect(&admin).expect("it is valid at all times");
    let service = world.client("service", Role::Service, always);
    let mut live = connect(&service).expect("it is valid at all times");
    let brief = world.client("brief", Role::Service, validity(-60, HOUR));

    let ends = create(&mut admin, "ends in a year").expect("a key");
    activate(&mut admin, &ends).expect("it is Pre-Active");
    let year = DateTime(SystemClock.now().seconds() + YEAR);
    add_date(&mut admin, &ends, AttributeValue::DeactivationDate(year));
    let begins = create(&mut admin, "begins in a year").expect("a key");
    add_date(&mut admin, &begins, AttributeValue::ActivationDate(year));
    let mut newest = create(&mut admin, "replaced at every moment").expect("a key");
    activate(&mut admin, &newest).expect("it is Pre-Active");
    let secret = encrypt(&mut live, &newest, b"before the first jump".to_vec()).expect("it is Active");
    let keys = [&ends, &begins, &newest].map(|key| (key.clone(), State::PreActive)).to_vec();
    let mut watched = Watched { keys };
    watched.look(&mut admin, "the beginning");
    assert_eq!([watched.state(&ends), watched.state(&begins)], [State::Active, State::PreActive]);

    for (moment, brief_is_valid) in MOMENTS {
        world.set(moment);
        watched.look(&mut admin, moment);
        newest = timely("Re-key", moment, || rekey(&mut admin, &newest));
        assert_eq!(timely("Get Attributes", moment, || look(&mut admin, &newest)).state, State::Active, "{newest} at {moment}");
        watched.keys.push((newest.clone(), State::Active));
        let _ciphertext = timely("Encrypt", moment, || encrypt(&mut live, &newest, vec![1; 32]));
        let mut fresh = timely("a new connection", moment, || connect(&service));
        assert_eq!(timely("Decrypt", moment, || decrypt(&mut fresh, &secret)), secret.plain);
        let is_served = connect(&brief).and_then(|mut client| decrypt(&mut client, &secret)).is_ok();
        assert_eq!(is_served, brief_is_valid, "a certificate that is valid for an hour, at {moment}");
    }
    // Ten years ahead both dates have passed; what they brought about stays, although the clock went back.
    assert_eq!([watched.state(&ends), watched.state(&begins)], [State::Deactivated, State::Active]);

    // The clock stands: whatever waits for time to pass goes by another one.
    let asked = Instant::now();
    let serials = vec![serial(&brief.cert)];
    world.revoke(2, &serials);
    assert!(wait_for(|| connect(&brief).and_then(|mut client| decrypt(&mut client, &secret)).is_err()), "a revoked client is let in");
    assert!(asked.elapsed() < REVOKED_WITHIN, "revoked after {:?}", asked.elapsed());
    must_be_cut(&service.server);

    // A seal and a restart forget nothing of it.
    world.set("+0");
    let _sealed = world.core.ask(&["seal"]);
    let _unsealed = world.core.ask(&["unseal"]);
    watched.look(&mut admin, "after a seal");
    world.core.stop();
    world.core.start();
    let admin = Endpoint { cert: world.folder.join("admin.pem"), key: world.folder.join("admin.key"), ..service };
    watched.look(&mut connect(&admin).expect("it is valid at all times"), "after a restart");

    world.core.stop();
    let report: serde_json::Value = serde_json::from_str(&world.core.ask(&["--json", "audit", "verify"])).expect("a report in JSON");
    assert!(report["clock_set_back"]["times"].as_u64().is_some_and(|times| times >= 2), "the log does not tell of it: {report}");
}

/// Whoever begins no handshake is cut in time.
fn must_be_cut(server: &str) {
    let mut silent = TcpStream::connect(server).expect("the core listens");
    silent.write_all(&[0x16]).expect("the core reads");
    silent.set_read_timeout(Some(CUT_WITHIN)).expect("a sound timeout");
    let read = silent.read(&mut [0; 64]);
    assert!(
        !matches!(&read, Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)),
        "{read:?}"
    );
}

fn serial(certificate: &Path) -> Vec<u8> {
    let run = std::process::Command::new("openssl").args(["x509", "-noout", "-serial", "-in"]).arg(certificate).output();
    let text = String::from_utf8(run.expect("openssl is on every Debian").stdout).expect("text");
    let hex = text.trim().strip_prefix("serial=").expect("openssl reads the certificate");
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex digits")).collect()
}
