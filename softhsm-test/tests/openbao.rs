//! A whole core whose keystore is a folder of an OpenBao server: the main job, and every way in which the server can be away, sealed or wrong.

use std::collections::BTreeSet;
use std::fs;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use keys::id::Layer;
use kmip::State;
use serde_json::Value;
use softhsm_test::requests::{self, Secret};
use softhsm_test::{Core, OpenbaoServer, Who, wait_for};

/// What `keystores.main.openbao.timeout` is here.
const TIMEOUT: Duration = Duration::from_secs(4);
/// F7.
const ERROR_WITHIN: Duration = Duration::from_secs(5);

/// A core without a cluster yet, and the server that it is told of.
struct Estate {
    server: OpenbaoServer,
    core: Core,
    /// The configuration without its keystore.
    plain: String,
    role: String,
}

impl Estate {
    fn prepared() -> Self {
        let (core, server) = (Core::prepared(), OpenbaoServer::new());
        fs::remove_dir_all(core.data_dir()).expect("the folder is ours");
        let plain = fs::read_to_string(core.config()).expect("dev has written it");
        let role = server.role_id();
        let this = Self { server, core, plain, role };
        this.write_secret(&this.server.secret_id());
        this.configure("keys", "ca.pem");
        this
    }

    /// With a cluster that serves acme/billing.
    fn serving() -> Self {
        let mut this = Self::prepared();
        assert!(this.core.init_command().status().expect("the binary is there").success(), "init in an empty folder");
        this.core.start();
        assert_eq!(this.core.standing(), "unsealed: ");
        let _made = this.core.ask(&["tenant", "create", "acme"]);
        let _made = this.core.ask(&["service", "create", "acme", "billing"]);
        this
    }

    fn configure(&self, prefix: &str, ca: &str) {
        let Self { server, core, plain, role } = self;
        let store = server.section(&server.url(), role, prefix, ca, TIMEOUT);
        fs::write(core.config(), format!("{plain}\nkeystores:\n  main:\n    openbao: {store}\n")).expect("the folder is ours");
    }

    fn write_secret(&self, secret: &str) {
        self.core.write_credential(OpenbaoServer::CREDENTIAL, secret);
    }

    /// A new key under this name, with something encrypted under it.
    fn secret(&self, name: &str) -> Secret {
        let mut admin = self.core.connect(Who::TenantAdmin);
        let key = requests::create(&mut admin, name).expect("the core is well");
        requests::activate(&mut admin, &key).expect("the core is well");
        requests::encrypt(&mut self.core.connect(Who::Service), &key, name.as_bytes().to_vec()).expect("the core is well")
    }

    fn must_open(&self, secrets: &[Secret]) {
        let mut service = self.core.connect(Who::Service);
        for secret in secrets {
            assert_eq!(requests::decrypt(&mut service, secret).expect("it is kept"), secret.plain);
        }
    }

    fn stop_and_verify(&mut self) {
        self.core.stop();
        let _verified = self.core.ask(&["audit", "verify"]);
    }

    /// What the core takes its leave with.
    fn start_fails(&mut self) -> String {
        self.core.try_start().expect_err("it does not run")
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn says(said: &str, parts: &[&str]) {
    parts.iter().for_each(|part| assert!(said.contains(part), "`{said}` does not say `{part}`"));
}

#[test]
fn a_core_does_its_whole_job_on_openbao_and_a_crash_loses_nothing() {
    let mut estate = Estate::serving();
    assert!(!estate.core.store().exists(), "no row is kept in a file");
    let mut secrets: Vec<Secret> = (0..4).map(|number| estate.secret(&format!("key-{number}"))).collect();
    let mut service = estate.core.connect(Who::Service);
    let default = requests::default_key(&mut service).expect("the service has one");
    secrets.push(requests::encrypt(&mut service, &default, b"by the default key".to_vec()).expect("it serves"));
    assert_eq!(requests::locate(&mut service, "key-2").expect("it serves"), [secrets[2].key.clone()]);
    assert_eq!(requests::look(&mut service, &secrets[2].key).expect("it serves").state, State::Active);
    assert!(requests::create(&mut estate.core.connect(Who::TenantAdmin), "key-2").is_err(), "a name is there once");

    for version in 2..=3 {
        let rotated: Value = serde_json::from_str(&estate.core.ask(&["--json", "ivk", "rotate"])).expect("JSON");
        assert_eq!(rotated["version"], version);
        secrets.push(estate.secret(&format!("under version {version}")));
        estate.core.kill();
        estate.server.crash();
        estate.server.start();
        estate.core.start();
        estate.must_open(&secrets);
    }
    let rekeyed = requests::rekey(&mut estate.core.connect(Who::TenantAdmin), &secrets[0].key).expect("it serves");
    assert_eq!(requests::locate(&mut estate.core.connect(Who::Service), "key-0").expect("it serves"), [rekeyed]);
    let status: Value = serde_json::from_str(&estate.core.status()).expect("status is JSON");
    assert!(!status["warnings"].to_string().contains("damaged"), "{status}");
    // What lies on the server says nothing of a name, and one version of each row is kept.
    let folder = format!("{}/keys/rows/{:02x}", estate.server.mount(), Layer::L3 as u8);
    let names: Vec<String> = serde_json::from_str(&estate.server.bao(&["kv", "list", "-format=json", &folder])).expect("a list");
    assert!(names.len() >= secrets.len(), "{names:?}");
    estate.stop_and_verify();
}

/// Requests fail while the server is away or sealed, each in time; nothing that was acknowledged is lost, and the core needs no restart.
#[test]
fn a_server_that_is_killed_or_sealed_under_load_is_found_again() {
    let mut estate = Estate::serving();
    let core_pid = estate.core.pid();
    let warm = estate.secret("warm");
    let (is_over, made, served) = (AtomicBool::new(false), Mutex::new(BTreeSet::new()), AtomicU64::new(0));
    let (refused, slowest) = (Mutex::new(BTreeSet::new()), Mutex::new(Duration::ZERO));
    let Estate { server, core, .. } = &mut estate;
    let core = &*core;
    thread::scope(|scope| {
        let (is_over, made, refused, slowest, served, warm) = (&is_over, &made, &refused, &slowest, &served, &warm);
        for worker in 0..2 {
            scope.spawn(move || {
                let mut admin = core.connect(Who::TenantAdmin);
                for number in 0_u32.. {
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                    let (name, began) = (format!("{worker}-{number}"), Instant::now());
                    match requests::create(&mut admin, &name) {
                        Ok(key) => drop(made.lock().expect("nobody panicked").insert((name, key))),
                        Err(error) => drop(refused.lock().expect("nobody panicked").insert(error.to_string())),
                    }
                    let mut slowest = slowest.lock().expect("nobody panicked");
                    *slowest = began.elapsed().max(*slowest);
                }
            });
        }
        scope.spawn(move || {
            let mut service = core.connect(Who::Service);
            while !is_over.load(Ordering::Relaxed) {
                assert_eq!(requests::decrypt(&mut service, warm).expect("an open key needs no keystore"), warm.plain);
                served.fetch_add(1, Ordering::Relaxed);
            }
        });
        let over = softhsm_test::load::Over(is_over);
        let count = || made.lock().expect("nobody panicked").len();
        for round in 0..4 {
            let before = count();
            assert!(wait_for(|| count() > before + 3), "nothing is made in round {round}: {:?}", refused.lock());
            let why = match round % 2 {
                0 => {
                    server.crash();
                    "see that the server runs"
                }
                _ => {
                    server.seal();
                    "is sealed: unseal it there"
                }
            };
            let failed = core.cli(&["tenant", "create", "initech"]);
            assert!(!failed.status.success(), "{}", text(&failed.stdout));
            assert!(wait_for(|| core.status().contains(why)), "{}", core.status());
            assert!(core.status().contains("unsealed"), "{}", core.status());
            if round % 2 == 0 { server.start() } else { server.unseal() }
        }
        let before = count();
        assert!(wait_for(|| count() > before + 3), "the server is not found again");
        drop(over);
    });
    assert_eq!(estate.core.pid(), core_pid);
    assert_eq!(estate.core.standing(), "unsealed: ");
    assert!(served.load(Ordering::Relaxed) > 100);
    let slowest = slowest.into_inner().expect("nobody panicked");
    softhsm_test::told(&format!("the slowest answer took {:.2} s", slowest.as_secs_f64()));
    assert!(slowest < ERROR_WITHIN + Duration::from_secs(1), "the slowest answer took {slowest:?}");
    let refused = refused.into_inner().expect("nobody panicked");
    assert!(refused.iter().all(|said| said.contains("unavailable; try again later")), "{refused:?}");
    let made = made.into_inner().expect("nobody panicked");
    let mut service = estate.core.connect(Who::Service);
    for (name, key) in &made {
        assert_eq!(requests::locate(&mut service, name).expect("it serves"), std::slice::from_ref(key), "{name} was acknowledged");
    }
    drop(service);
    estate.core.kill();
    estate.core.start();
    estate.must_open(&[warm]);
    estate.stop_and_verify();
}

#[test]
fn a_server_that_is_away_sealed_or_wrong_at_the_start_is_said_with_what_to_do() {
    let mut estate = Estate::serving();
    let secret = estate.secret("kept");
    estate.core.stop();

    // What is over by itself is waited for.
    estate.server.seal();
    estate.core.start();
    says(&estate.core.standing(), &["sealed: waiting for its keystore", "the keystore at https://127.0.0.1", "is sealed: unseal it there"]);
    estate.server.unseal();
    assert!(wait_for(|| estate.core.standing() == "unsealed: "), "{}", estate.core.standing());
    estate.core.stop();
    estate.server.crash();
    estate.core.start();
    says(&estate.core.standing(), &["sealed: waiting for its keystore", "OpenBao cannot be reached", "see that the server runs"]);
    estate.server.start();
    assert!(wait_for(|| estate.core.standing() == "unsealed: "), "{}", estate.core.standing());
    estate.must_open(std::slice::from_ref(&secret));
    estate.core.stop();
    estate.server.allow(false);
    says(&estate.start_fails(), &["refuses this node", "permission denied", "credentials and rights"]);
    estate.server.allow(true);

    estate.write_secret("another");
    says(&estate.start_fails(), &["refuses this node: the login", "invalid"]);
    estate.write_secret("");
    says(&estate.start_fails(), &["bao-secret-id", "one line"]);
    estate.write_secret(&estate.server.secret_id());
    estate.configure("keys", "client.pem");
    says(&estate.start_fails(), &["OpenBao cannot be reached", "UnknownIssuer"]);
    estate.configure("other", "ca.pem");
    says(&estate.start_fails(), &["holds no keystore", "nothing was made in its place"]);
    estate.configure("keys", "ca.pem");

    // Another cluster does not come to lie on this one.
    let aside = estate.core.data_dir().with_extension("aside");
    fs::rename(estate.core.data_dir(), &aside).expect("the folder is ours");
    let refused = estate.core.init_command().stderr(Stdio::piped()).output().expect("the binary is there");
    assert!(!refused.status.success());
    says(&text(&refused.stderr), &["holds the records of a cluster", "another prefix"]);
    fs::remove_dir_all(estate.core.data_dir()).expect("the folder is ours");
    fs::rename(&aside, estate.core.data_dir()).expect("the folder is ours");

    estate.core.start();
    estate.must_open(&[secret]);
    estate.stop_and_verify();
}

/// The place was made, and nothing noted it: from then on each try was refused, because somebody's records were there.
#[test]
fn a_migration_that_ended_between_making_the_place_and_noting_it_is_begun_anew() {
    let (mut core, server) = (Core::prepared(), OpenbaoServer::new());
    core.write_credential(OpenbaoServer::CREDENTIAL, &server.secret_id());
    let section = server.section(&server.url(), &server.role_id(), "keys", "ca.pem", TIMEOUT);
    let plain = fs::read_to_string(core.config()).expect("dev has written it");
    let keystores = format!("keystores:\n  main:\n    openbao: {section}\nrouting: [{{keystore: embedded}}]");
    fs::write(core.config(), format!("{plain}\n{keystores}\n")).expect("the folder is ours");
    core.start();
    let order = ["keystore", "migrate", "--from", "embedded", "--to", "main"];
    // The note is written under this name first.
    let obstacle = core.data_dir().join("placement.new");
    fs::create_dir(&obstacle).expect("the folder is ours");
    let ended = core.cli(&order);
    assert!(!ended.status.success());
    says(&text(&ended.stderr), &["placement"]);
    let made = server.bao(&["kv", "get", "-field=schema", &format!("{}/keys/schema", server.mount())]);
    assert_eq!(made, "1", "the place was made");
    core.kill();
    fs::remove_dir(&obstacle).expect("it is empty");
    core.start();
    let _moved = core.ask(&[&order[..], &["--watch"]].concat());
    assert!(!server.left("keys").is_empty(), "rows have come");
    core.stop();
}
