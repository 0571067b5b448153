//! A whole core whose keystore is a PostgreSQL server, over TLS with a password: the main job, and every way in which the server can be away or wrong.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use daemon::certs::{Ca, Validity};
use daemon::config::Config;
use daemon::kmip_client::KmipError;
use daemon::system::SystemClock;
use keys::id::RowId;
use keys::policy::Action;
use keys::port::Clock;
use keys::record::Outcome;
use kmip::{ResultReason, State};
use serde_json::Value;
use softhsm_test::requests::{self, Secret};
use softhsm_test::{Core, Edge, POSTGRES_PASSWORD, PostgresServer, Who, wait_for};

#[path = "postgres/tampering.rs"]
mod tampering;

/// What `keystores.main.postgres.timeout` is here.
const TIMEOUT: Duration = Duration::from_secs(3);

/// A core without a cluster yet, and the server that it is told of.
struct Estate {
    server: PostgresServer,
    database: String,
    core: Core,
    /// The configuration without its keystore.
    plain: String,
}

impl Estate {
    fn prepared() -> Self {
        let core = Core::prepared();
        let config = Config::load(&core.config(), []).expect("dev has written it");
        let files = &config.listeners.kmip.expect("dev has a KMIP listener").certificates[0];
        let server = PostgresServer::with_tls(&files.cert, &files.key);
        let database = server.database();
        fs::remove_dir_all(core.data_dir()).expect("the folder is ours");
        let plain = fs::read_to_string(core.config()).expect("dev has written it");
        let this = Self { server, database, core, plain };
        this.write_password(POSTGRES_PASSWORD);
        this.configure(&this.server.tls_url(&this.database), &this.core.value("CA_CERT"));
        this
    }

    /// With a cluster that serves acme/billing.
    fn serving() -> Self {
        let mut this = Self::prepared();
        assert!(this.core.init_command().status().expect("the binary is there").success(), "init on an empty database");
        this.core.start();
        assert_eq!(this.core.standing(), "unsealed: ");
        let _made = this.core.ask(&["tenant", "create", "acme"]);
        let _made = this.core.ask(&["service", "create", "acme", "billing"]);
        this
    }

    fn configure(&self, url: &str, ca: &str) {
        let store = format!("{{url: '{url}', password: 'credential:postgres-password', ca: '{ca}', timeout: {}s}}", TIMEOUT.as_secs());
        let text = format!("{}\nkeystores:\n  main:\n    postgres: {store}\n", self.plain);
        fs::write(self.core.config(), text).expect("the folder is ours");
    }

    fn write_password(&self, password: &str) {
        self.core.write_credential("postgres-password", password);
    }

    fn sql(&self, text: &str) -> String {
        self.server.sql(&self.database, text)
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.core.ask(&[&["--json"], arguments].concat())).expect("an answer in JSON")
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

/// What logins have left of themselves.
fn marks(core: &Core) -> BTreeSet<(PathBuf, SystemTime)> {
    let files = fs::read_dir(core.data_dir().join("latch")).expect("it has logged in").map(|file| file.expect("it reads"));
    files.map(|file| (file.path(), file.metadata().expect("it is there").modified().expect("it has a time"))).collect()
}

fn uuid(secret: &Secret) -> String {
    secret.key.parse::<RowId>().expect("the core's own identifier").uuid.to_string()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_core_does_its_whole_job_on_a_database_and_a_crash_loses_nothing() {
    let mut estate = Estate::serving();
    assert!(!estate.core.store().exists(), "nothing is kept in a file");
    let mut secrets: Vec<Secret> = (0..4).map(|number| estate.secret(&format!("key-{number}"))).collect();
    let mut service = estate.core.connect(Who::Service);
    let default = requests::default_key(&mut service).expect("the service has one");
    secrets.push(requests::encrypt(&mut service, &default, b"by the default key".to_vec()).expect("it serves"));
    assert_eq!(requests::locate(&mut service, "key-2").expect("it serves"), [secrets[2].key.clone()]);
    assert_eq!(requests::look(&mut service, &secrets[2].key).expect("it serves").state, State::Active);
    let taken = requests::create(&mut estate.core.connect(Who::TenantAdmin), "key-2");
    assert!(matches!(taken, Err(KmipError::Kmip(kmip::Error::Refused { .. }))), "a name is there once: {taken:?}");

    // What the crash finds half done or not, it finds in the database.
    for version in 2..=3 {
        assert_eq!(estate.json(&["ivk", "rotate"])["version"], version);
        secrets.push(estate.secret(&format!("under version {version}")));
        estate.core.kill();
        estate.core.start();
        estate.must_open(&secrets);
    }
    let under = |estate: &Estate| {
        let keys = estate.json(&["key", "list", "--layer", "L2"]);
        keys["keys"].as_array().expect("a list").iter().map(|key| key["wrapped_by"]["version"].as_u64()).collect::<Vec<_>>()
    };
    assert!(wait_for(|| under(&estate) == [Some(3)]), "{:?}", under(&estate));
    assert!(wait_for(|| estate.json(&["reencrypt", "status"])["state"] == "done"), "{}", estate.json(&["reencrypt", "status"]));
    estate.must_open(&secrets);
    let columns = "ivk_version, encryption_key_id, status, rotated_at is null, length(kek_encrypted) > 100";
    let keks = estate.sql(&format!("select {columns} from strongroom.kek_storage order by ivk_version"));
    assert_eq!(keks, "1|1|deprecated|f|t\n2|1|deprecated|f|t\n3|1|active|t|t");

    let rekeyed = requests::rekey(&mut estate.core.connect(Who::TenantAdmin), &secrets[0].key).expect("it serves");
    assert_eq!(requests::locate(&mut estate.core.connect(Who::Service), "key-0").expect("it serves"), [rekeyed]);
    estate.core.kill();
    estate.core.start();
    estate.must_open(&secrets);
    let status: Value = serde_json::from_str(&estate.core.status()).expect("status is JSON");
    assert!(!status["warnings"].to_string().contains("damaged"), "{status}");
    estate.stop_and_verify();
}

/// What is warm asks the server for nothing, and what was just read is not read again.
#[test]
fn rows_that_were_just_read_are_not_asked_for_again() {
    const ROUNDS: u64 = 50;
    let mut estate = Estate::serving();
    let secret = estate.secret("warm");
    let count = |estate: &Estate, name: &str| -> u64 {
        let page = estate.core.metrics();
        let line = page.lines().find_map(|line| line.strip_prefix(&format!("strongroom_{name}_total "))).expect("it is on the page");
        line.parse().expect("a number")
    };
    let all = |estate: &Estate| ["store_reads", "row_cache_misses", "row_cache_hits"].map(|name| count(estate, name));
    let look = |estate: &Estate| requests::look(&mut estate.core.connect(Who::Service), &secret.key).expect("it serves").state;
    estate.core.stop();
    estate.core.start();
    assert_eq!(look(&estate), State::Active);
    estate.must_open(std::slice::from_ref(&secret));
    // The sweep that follows a start reads too.
    assert!(wait_for(|| estate.core.status().contains("\"swept\": \"")), "{}", estate.core.status());
    let before = all(&estate);
    assert!(before[1] > 0, "a start reads: {before:?}");
    for _ in 0..ROUNDS {
        assert_eq!(look(&estate), State::Active);
        estate.must_open(std::slice::from_ref(&secret));
    }
    let after = all(&estate);
    // The node's own keepers look at a row now and then.
    assert!(after[0] - before[0] < ROUNDS / 5 && after[1] - before[1] < ROUNDS / 5, "no look asked for more: {before:?}, {after:?}");
    assert!(after[2] > before[2], "it was kept: {after:?}");
    // A change is seen at once by whoever comes after it.
    requests::rekey(&mut estate.core.connect(Who::TenantAdmin), &secret.key).expect("it serves");
    assert_eq!(look(&estate), State::Deactivated);
}

/// Requests fail while the server is away, each within the timeout; nothing that was acknowledged is lost, and nobody has to help.
#[test]
fn a_server_that_restarts_under_load_is_found_again() {
    let mut estate = Estate::serving();
    let core_pid = estate.core.pid();
    let warm = estate.secret("warm");
    let (is_over, made, served) = (AtomicBool::new(false), Mutex::new(BTreeSet::new()), AtomicU64::new(0));
    let (refused, slowest) = (Mutex::new(BTreeSet::new()), Mutex::new(Duration::ZERO));
    let Estate { server, core, .. } = &mut estate;
    let core = &*core;
    thread::scope(|scope| {
        let (is_over, made, refused, slowest, served, warm) = (&is_over, &made, &refused, &slowest, &served, &warm);
        for worker in 0..3 {
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
        for round in 0..6 {
            let before = count();
            assert!(wait_for(|| count() > before + 5), "nothing is made in round {round}: {:?}", refused.lock());
            if round % 2 == 0 {
                server.stop()
            } else {
                server.crash()
            }
            let before = refused.lock().expect("nobody panicked").len();
            let waits = (before == 0).then(|| wait_for(|| !refused.lock().expect("nobody panicked").is_empty()));
            assert_ne!(waits, Some(false), "nobody hears that the server is away");
            if round < 2 {
                // Its operator is told more than a client.
                let failed = core.cli(&["tenant", "create", "initech"]);
                let said = text(&failed.stderr);
                assert!(!failed.status.success() && said.contains("keystore unavailable: PostgreSQL"), "{said}");
                let status = core.status();
                assert!(status.contains("unsealed") && status.contains("see that the server runs"), "{status}");
            }
            server.start();
        }
        let before = count();
        assert!(wait_for(|| count() > before + 5), "the server is not found again");
        drop(over);
    });
    assert_eq!(estate.core.pid(), core_pid);
    assert_eq!(estate.core.standing(), "unsealed: ");
    assert!(!estate.core.status().contains("keystore unavailable"), "{}", estate.core.status());
    assert!(served.load(Ordering::Relaxed) > 100);
    let slowest = slowest.into_inner().expect("nobody panicked");
    assert!(slowest < 2 * TIMEOUT, "the slowest answer took {slowest:?}");
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
fn records_that_were_edited_or_swapped_by_sql_are_refused_by_name_while_others_serve() {
    let mut estate = Estate::serving();
    let secrets: Vec<Secret> = ["edited", "swapped", "other", "sound"].map(|name| estate.secret(name)).into();
    let [edited, swapped, other, sound] = &secrets[..] else { panic!("there are four") };
    estate.core.stop();
    estate.sql(&format!("update strongroom.records set state = 'pre-active' where id = '{}'", uuid(edited)));
    estate.sql(&format!(
        "update strongroom.records one set stored = other.stored from strongroom.records other \
         where (one.id = '{0}' and other.id = '{1}' and one.layer = other.layer) or (one.id = '{1}' and other.id = '{0}' and one.layer = other.layer)",
        uuid(swapped),
        uuid(other)
    ));
    estate.core.start();
    assert_eq!(estate.core.standing(), "unsealed: ");
    let mut service = estate.core.connect(Who::Service);
    for (secret, why) in
        [(edited, "changed by hand"), (swapped, "another record lies in its place"), (other, "another record lies in its place")]
    {
        match requests::decrypt(&mut service, secret) {
            Err(KmipError::Kmip(kmip::Error::Refused {
                reason: Some(ResultReason::ItemNotFound | ResultReason::GeneralFailure), ..
            })) => {}
            served => panic!("{served:?}"),
        }
        let shown = estate.core.cli(&["key", "show", &secret.key]);
        let said = text(&shown.stderr);
        assert!(!shown.status.success() && said.contains(&secret.key) && said.contains(why), "{said}");
    }
    estate.must_open(std::slice::from_ref(sound));
    let made = estate.secret("made after that");
    estate.must_open(&[made]);
    let warnings = || serde_json::from_str::<Value>(&estate.core.status()).expect("status is JSON")["warnings"].to_string();
    assert!(wait_for(|| warnings().contains("damaged")), "the sweep says nothing: {}", warnings());

    // Put back, they serve again.
    estate.core.stop();
    estate.sql(&format!("update strongroom.records set state = 'active' where id = '{}'", uuid(edited)));
    estate.sql(&format!(
        "update strongroom.records one set stored = other.stored from strongroom.records other \
         where (one.id = '{0}' and other.id = '{1}' and one.layer = other.layer) or (one.id = '{1}' and other.id = '{0}' and one.layer = other.layer)",
        uuid(swapped),
        uuid(other)
    ));
    estate.core.start();
    estate.must_open(&secrets);
    estate.stop_and_verify();
}

#[test]
fn a_database_that_is_wrong_at_the_start_is_said_with_what_to_do() {
    let mut estate = Estate::serving();
    let secret = estate.secret("kept");
    estate.core.stop();
    let says = |said: &str, parts: &[&str]| parts.iter().for_each(|part| assert!(said.contains(part), "`{said}` does not say `{part}`"));
    let (url, ca) = (estate.server.tls_url(&estate.database), estate.core.value("CA_CERT"));

    estate.write_password("another");
    says(&estate.start_fails(), &["password authentication failed", "under `keystores`"]);
    estate.write_password("");
    says(&estate.start_fails(), &["postgres-password", "one line"]);
    estate.write_password(POSTGRES_PASSWORD);

    // A server whose certificate is of another CA, or of another name.
    let validity = Validity::starting(SystemClock.now(), Duration::from_secs(3600)).expect("it is possible");
    let (_, issued) = Ca::create("a stranger", validity).expect("a CA");
    let foreign = estate.core.dir().join("foreign.pem");
    fs::write(&foreign, issued.certificate).expect("the folder is ours");
    estate.configure(&url, &foreign.display().to_string());
    says(&estate.start_fails(), &["PostgreSQL cannot be reached", "UnknownIssuer"]);
    estate.configure(&url.replace("127.0.0.1", "127.0.0.2"), &ca);
    says(&estate.start_fails(), &["PostgreSQL cannot be reached", "127.0.0.2", "not valid for name"]);

    estate.configure(&estate.server.tls_url(&estate.server.database()), &ca);
    says(&estate.start_fails(), &["holds no keystore", "nothing was made in its place"]);
    estate.configure(&url, &ca);

    estate.sql("update strongroom.schema set number = 9");
    says(&estate.start_fails(), &["has schema 9, this release knows up to 2; upgrade strongroom"]);
    estate.sql("update strongroom.schema set number = 2");

    // Another cluster does not come to lie on this one.
    let aside = estate.core.data_dir().with_extension("aside");
    fs::rename(estate.core.data_dir(), &aside).expect("the folder is ours");
    let refused = estate.core.init_command().stderr(Stdio::piped()).output().expect("the binary is there");
    assert!(!refused.status.success());
    says(&text(&refused.stderr), &["holds the records of a cluster", "ALTER SCHEMA strongroom RENAME TO strongroom_aside"]);
    fs::remove_dir_all(estate.core.data_dir()).expect("the folder is ours");
    fs::rename(&aside, estate.core.data_dir()).expect("the folder is ours");

    estate.core.start();
    estate.must_open(&[secret]);
    estate.stop_and_verify();
}

/// A core that starts without its database is up and sealed, asks no device, and goes on by itself; one that comes and is another ends it.
#[test]
fn a_core_that_starts_before_its_database_waits_and_opens_by_itself() {
    let mut estate = Estate::serving();
    let secret = estate.secret("kept");
    estate.core.stop();
    estate.server.stop();
    let (waits, unseals) =
        (estate.core.acts(Action::AwaitKeystore, Outcome::Unavailable), estate.core.acts(Action::Unseal, Outcome::Success));
    // Each login leaves a mark before it is tried.
    let before = marks(&estate.core);
    let pin = estate.core.write_pin("a wrong one");
    estate.core.start();
    let standing = estate.core.standing();
    let parts = ["sealed: waiting for its keystore", "PostgreSQL cannot be reached", &estate.database, "see that the server runs"];
    parts.iter().for_each(|part| assert!(standing.contains(part), "`{standing}` does not say `{part}`"));
    let doctor = estate.core.cli(&["doctor"]);
    assert!(!doctor.status.success() && text(&doctor.stdout).contains("unseals as configured once it answers"), "{}", text(&doctor.stdout));
    let refused = requests::create(&mut estate.core.connect(Who::TenantAdmin), "too early").expect_err("it is sealed");
    assert!(refused.to_string().contains("waiting for its keystore: try again later"), "{refused}");
    let by_hand = estate.core.cli(&["unseal"]);
    assert!(!by_hand.status.success() && text(&by_hand.stderr).contains("waiting for its keystore"), "{}", text(&by_hand.stderr));
    assert!(estate.core.metrics().contains("strongroom_keystore_open{keystore=\"main\"} 0"), "{}", estate.core.metrics());
    assert_eq!(marks(&estate.core), before, "no login was tried");
    assert_eq!(estate.core.acts(Action::AwaitKeystore, Outcome::Unavailable), waits + 1);
    // It ends at once when it is told to.
    let began = Instant::now();
    estate.core.stop();
    assert!(began.elapsed() < TIMEOUT, "{:?}", began.elapsed());

    // A wrong PIN is tried once the database is there.
    estate.core.start();
    estate.server.start();
    assert!(wait_for(|| estate.core.standing().contains("PIN")), "{}", estate.core.standing());
    assert_ne!(marks(&estate.core), before, "now one was");
    let _wrong = estate.core.write_pin(&pin);
    let slots = estate.json(&["slot", "list"]);
    let _verified = estate.core.ask(&["slot", "verify", slots[0]["id"].as_str().expect("there is one"), "--retry-pin"]);
    estate.core.stop();
    estate.server.stop();
    estate.core.start();
    assert!(estate.core.standing().starts_with("sealed: waiting"), "{}", estate.core.standing());
    let came = estate.core.acts(Action::AwaitKeystore, Outcome::Success);
    estate.server.start();
    assert!(wait_for(|| estate.core.standing() == "unsealed: "), "{}", estate.core.standing());
    assert!(estate.core.metrics().contains("strongroom_keystore_open{keystore=\"main\"} 1"), "{}", estate.core.metrics());
    assert_eq!(estate.core.acts(Action::AwaitKeystore, Outcome::Success), came + 1);
    assert_eq!(estate.core.acts(Action::Unseal, Outcome::Success), unseals + 1);
    estate.must_open(&[secret]);

    // Waiting is no use once it answers and is another one than is meant.
    estate.sql("update strongroom.schema set number = 9");
    estate.core.stop();
    estate.server.stop();
    estate.core.start();
    assert!(estate.core.standing().starts_with("sealed: waiting"), "{}", estate.core.standing());
    estate.server.start();
    assert!(wait_for(|| estate.core.has_ended()), "{}", estate.core.standing());
    let said = estate.core.said();
    assert!(said.contains("has schema 9, this release knows up to 2; upgrade strongroom"), "{said}");
    assert_eq!(estate.core.acts(Action::AwaitKeystore, Outcome::Denied), 1);
    estate.sql("update strongroom.schema set number = 2");
    estate.core.start();
    estate.stop_and_verify();
}

/// What clients keep (L4) lies in a database as well as what the core has, by its socket and without a password.
#[test]
fn an_edge_keeps_objects_in_a_database_over_a_crash() {
    let mut edge = Edge::prepared();
    let mut server = PostgresServer::new();
    let database = server.database();
    let config = fs::read_to_string(edge.config()).expect("dev has written it");
    let store = format!("\nkeystores:\n  objects:\n    postgres:\n      url: '{}'\n", server.url(&database));
    fs::write(edge.config(), config + &store).expect("the folder is ours");
    fs::remove_dir_all(edge.data_dir()).expect("the folder is ours");
    edge.core.start();
    let _made = edge.ask(&["init"]);
    edge.start();
    let mut client = edge.connect(Who::Service);
    assert!(wait_for(|| requests::create(&mut client, "first").is_ok()), "the edge does not serve");
    let key = requests::create(&mut client, "second").expect("it serves");
    requests::activate(&mut client, &key).expect("it serves");
    let secret = requests::encrypt(&mut client, &key, b"kept".to_vec()).expect("it serves");
    let material = requests::get(&mut client, &key).expect("it serves");
    let layer = keys::id::Layer::L4 as u8;
    let objects = server.sql(&database, &format!("select count(*) from strongroom.records where layer = {layer}"));
    assert_eq!(objects, "2");
    drop(client);
    edge.kill();
    edge.start();
    let mut client = edge.connect(Who::Service);
    assert_eq!(requests::decrypt(&mut client, &secret).expect("it is kept"), b"kept");
    assert_eq!(requests::get(&mut client, &key).expect("it is kept"), material);
    assert_eq!(requests::locate(&mut client, "second").expect("it is kept"), [key]);
    drop(client);
    // Without it an edge starts as a core does.
    edge.stop();
    server.stop();
    edge.start();
    assert!(edge.standing().starts_with("sealed: waiting for its keystore"), "{}", edge.standing());
    server.start();
    assert!(wait_for(|| edge.standing() == "unsealed: "), "{}", edge.standing());
    assert_eq!(requests::decrypt(&mut edge.connect(Who::Service), &secret).expect("it is kept"), b"kept");
    edge.stop_both();
}
