//! A whole core with two keystores, its own file and a database: rows move between them while clients are at work, and lie apart by rules.

use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use daemon::confine;
use daemon::kmip_client::{KmipClient, KmipError};
use data_encoding::HEXLOWER;
use keys::id::Layer;
use serde_json::Value;
use softhsm_test::load::Over;
use softhsm_test::requests::{self, Secret};
use softhsm_test::{Core, PostgresServer, Who, binary, wait_for};

/// A core of its own file, which is told of a database too.
struct Estate {
    server: PostgresServer,
    database: String,
    core: Core,
    plain: String,
}

impl Estate {
    fn serving(routing: &str) -> Self {
        let core = Core::prepared();
        let server = PostgresServer::new();
        let database = server.database();
        let plain = fs::read_to_string(core.config()).expect("dev has written it");
        let mut this = Self { server, database, core, plain };
        this.configure(routing);
        this.core.start();
        assert_eq!(this.core.standing(), "unsealed: ");
        this
    }

    fn configure(&self, routing: &str) {
        let url = self.server.url(&self.database);
        let text = format!("{}\nkeystores: {{main: {{postgres: {{url: '{url}'}}}}}}\nrouting: {routing}\n", self.plain);
        fs::write(self.core.config(), text).expect("the folder is ours");
    }

    /// The same rows by another configuration.
    fn restart_with(&mut self, routing: &str) {
        self.core.stop();
        self.configure(routing);
        self.core.start();
        assert_eq!(self.core.standing(), "unsealed: ");
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.core.ask(&[&["--json"], arguments].concat())).expect("an answer in JSON")
    }

    /// Rows in the database, of one layer or of all.
    fn rows(&self, layer: Option<Layer>) -> u64 {
        let of = layer.map_or(String::new(), |layer| format!(" where layer = {}", layer as u8));
        self.server.sql(&self.database, &format!("select count(*) from strongroom.records{of}")).parse().expect("a number")
    }

    fn keystore(&self, name: &str) -> Value {
        let all = self.json(&["keystore", "list"]);
        all.as_array().expect("a list").iter().find(|store| store["name"] == name).expect("it is configured").clone()
    }

    fn migrate(&self, from: &str, to: &str, further: &[&str]) {
        let arguments = [&["keystore", "migrate", "--from", from, "--to", to, "--watch"], further].concat();
        assert_eq!(self.json(&arguments)["state"], "none");
    }

    fn warns_of_routing(&self) -> bool {
        self.core.status().contains("bring `routing` in line")
    }

    fn refused(&self, arguments: &[&str], code: i32, parts: &[&str]) {
        let refused = self.core.cli(arguments);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(code), "{arguments:?}: {said}");
        parts.iter().for_each(|part| assert!(said.contains(part), "{arguments:?}: `{said}` does not say `{part}`"));
    }

    fn secret(&self, name: &str) -> Secret {
        secret(&mut self.core.connect(Who::TenantAdmin), &mut self.core.connect(Who::Service), name).expect("the core is well")
    }

    fn must_open(&self, secrets: &[Secret]) {
        let mut service = self.core.connect(Who::Service);
        for secret in secrets {
            assert_eq!(requests::decrypt(&mut service, secret).expect("it is kept"), secret.plain);
        }
    }
}

fn secret(admin: &mut KmipClient, service: &mut KmipClient, name: &str) -> Result<Secret, KmipError> {
    let key = requests::create(admin, name)?;
    requests::activate(admin, &key)?;
    requests::encrypt(service, &key, name.as_bytes().to_vec())
}

#[test]
fn rows_move_to_a_database_while_clients_are_at_work_and_the_configuration_follows() {
    let mut estate = Estate::serving("[{keystore: embedded}]");
    assert_eq!(estate.keystore("main")["state"], "unused");
    let first: Vec<Secret> = (0..200).map(|number| format!("first-{number}")).map(|name| estate.secret(&name)).collect();

    let (is_over, made, done) = (AtomicBool::new(false), Mutex::new(first), AtomicU64::new(0));
    thread::scope(|scope| {
        let (is_over, made, done, core) = (&is_over, &made, &done, &estate.core);
        for worker in 0..2 {
            scope.spawn(move || {
                let (mut admin, mut service) = (core.connect(Who::TenantAdmin), core.connect(Who::Service));
                for number in 0_u32.. {
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                    let secret = secret(&mut admin, &mut service, &format!("{worker}-{number}")).expect("moving rows refuses nobody");
                    made.lock().expect("nobody panicked").push(secret);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let over = Over(is_over);
        let more = |count: u64| {
            let before = done.load(Ordering::Relaxed);
            assert!(wait_for(|| done.load(Ordering::Relaxed) > before + count), "clients do not get on");
        };
        more(5);
        estate.migrate("embedded", "main", &[]);
        more(5);
        drop(over);
    });
    let mut secrets = made.into_inner().expect("nobody panicked");
    assert_eq!(estate.keystore("main")["rows"][0], "everything else (default)");
    assert_eq!(estate.keystore("embedded")["state"], "unused");
    assert!(estate.rows(Some(Layer::Cluster)) > 0 && estate.rows(Some(Layer::Ivk)) == 1);
    assert!(estate.rows(Some(Layer::L3)) >= secrets.len() as u64, "{} rows for {} keys", estate.rows(Some(Layer::L3)), secrets.len());
    estate.must_open(&secrets);

    // Until the configuration says so too it is warned of; what counts is where the rows are.
    assert!(estate.warns_of_routing());
    estate.core.kill();
    estate.core.start();
    estate.must_open(&secrets);
    assert!(estate.warns_of_routing());
    estate.restart_with("[{keystore: main}]");
    assert!(!estate.warns_of_routing(), "{}", estate.core.status());
    estate.must_open(&secrets);
    secrets.push(estate.secret("by the new default"));

    // What would lose sight of rows is refused, and says what to do.
    estate.core.stop();
    estate.configure("[{keystore: embedded}]");
    let said = estate.core.try_start().expect_err("it does not run");
    assert!(said.contains("strongroom keystore migrate --from main --to embedded"), "{said}");
    estate.configure("[{keystore: main}]");
    estate.core.start();
    estate.must_open(&secrets);

    // And back, with nothing left behind.
    estate.migrate("main", "embedded", &[]);
    assert_eq!(estate.rows(None), 0);
    estate.restart_with("[{keystore: embedded}]");
    estate.server.stop();
    estate.must_open(&secrets);
    let keys = estate.core.status();
    assert!(!keys.contains("damaged"), "{keys}");
    estate.core.stop();
    let _verified = estate.core.ask(&["audit", "verify"]);
}

#[test]
fn keys_lie_apart_by_rules_and_a_crash_or_an_outage_of_one_keystore_loses_nothing() {
    let mut estate = Estate::serving("[{keystore: embedded}]");
    let mut secrets = vec![estate.secret("made before")];
    estate.migrate("embedded", "main", &["--layer", "L3", "--tenant", "acme"]);
    let rows = estate.keystore("main")["rows"][0].as_str().expect("a text").to_owned();
    assert!(rows.starts_with("L3 of tenant "), "{rows}");
    let tenant = rows.trim_start_matches("L3 of tenant ").to_owned();
    let routing = format!("[{{layer: L3, tenant: {tenant}, keystore: main}}, {{keystore: embedded}}]");
    estate.restart_with(&routing);
    assert!(!estate.warns_of_routing(), "{}", estate.core.status());
    estate.must_open(&secrets);
    let there = estate.rows(None);
    assert_eq!(there, estate.rows(Some(Layer::L3)));

    // Each of these changes both keystores.
    for round in 0..3 {
        for number in 0..4 {
            secrets.push(estate.secret(&format!("{round}-{number}")));
        }
        estate.core.kill();
        estate.core.start();
        estate.must_open(&secrets);
    }
    assert_eq!(estate.rows(None), there + 12);
    let version = estate.json(&["ivk", "rotate"])["version"].clone();
    assert!(wait_for(|| estate.json(&["key", "list", "--layer", "L2"])["keys"][0]["wrapped_by"]["version"] == version));

    // Without the database its keys are refused unless they are open; all else goes on.
    estate.server.stop();
    assert!(requests::create(&mut estate.core.connect(Who::TenantAdmin), "in an outage").is_err());
    estate.refused(&["keystore", "health"], 3, &["no answer from main"]);
    let _made = estate.core.ask(&["tenant", "create", "initech"]);
    estate.server.start();
    assert!(wait_for(|| estate.core.cli(&["keystore", "health"]).status.success()));
    secrets.push(estate.secret("after the outage"));

    // The same holds of a core that starts without it.
    estate.core.kill();
    estate.server.stop();
    estate.core.start();
    assert_eq!(estate.core.standing(), "unsealed: ");
    let warns = |estate: &Estate| estate.core.status().contains("keystore main has not answered since the start");
    assert!(warns(&estate), "{}", estate.core.status());
    let _made = estate.core.ask(&["tenant", "create", "umbrella"]);
    let away = requests::decrypt(&mut estate.core.connect(Who::Service), &secrets[0]).expect_err("it lies there");
    assert!(away.to_string().contains("unavailable; try again later"), "{away}");
    estate.server.start();
    assert!(wait_for(|| !warns(&estate)), "{}", estate.core.status());
    estate.must_open(&secrets);
    estate.core.stop();
    let _verified = estate.core.ask(&["audit", "verify"]);
}

#[test]
fn a_migration_that_cannot_be_meant_is_refused_and_one_that_waits_is_undone() {
    let mut estate = Estate::serving("[{keystore: embedded}]");
    let secrets = [estate.secret("kept")];
    let migrate = |from, to| ["keystore", "migrate", "--from", from, "--to", to];
    estate.refused(&migrate("embedded", "nowhere"), 1, &["no keystore `nowhere`", "strongroom keystore list"]);
    estate.refused(&migrate("embedded", "embedded"), 1, &["the same keystore"]);
    estate.refused(&migrate("main", "embedded"), 1, &["nothing of that belongs to keystore main"]);
    estate.refused(&["keystore", "migrate", "--from", "embedded", "--to", "main", "--layer", "L9"], 1, &["`L9`", "L2.1"]);
    estate.refused(&["keystore", "migrate", "--abort"], 1, &["no rows are being moved"]);
    estate.refused(&["keystore", "migrate", "--from", "embedded"], 2, &["--to"]);
    estate.server.stop();
    estate.refused(&migrate("embedded", "main"), 3, &["keystore main does not open", "PostgreSQL cannot be reached"]);

    // A keystore that rows come to may fail; nobody else is kept waiting, and it is remembered over a crash.
    estate.server.start();
    estate.migrate("embedded", "main", &["--layer", "L4"]);
    estate.server.stop();
    let _begun = estate.core.ask(&migrate("embedded", "main"));
    let waits = |estate: &Estate| wait_for(|| estate.json(&["keystore", "migrate", "--status"])["error"].is_string());
    assert!(waits(&estate), "{}", estate.json(&["keystore", "migrate", "--status"]));
    estate.refused(&migrate("embedded", "main"), 1, &["being moved from keystore embedded to main"]);
    let made = [estate.secret("made meanwhile")];
    assert_eq!(estate.json(&["keystore", "migrate", "--abort"])["state"], "undoing");
    estate.server.start();
    assert!(wait_for(|| estate.json(&["keystore", "migrate", "--status"])["state"] == "none"));
    assert_eq!(estate.rows(None), 0);
    assert_eq!(estate.keystore("embedded")["state"], "in use");
    estate.core.kill();
    estate.core.start();
    estate.must_open(&secrets);
    estate.must_open(&made);
    estate.core.stop();
    let _verified = estate.core.ask(&["audit", "verify"]);
}

/// A plugin is a keystore like others: rows come to it, over a crash, serve from there by the configuration alone, and leave it.
#[test]
fn rows_move_to_a_plugin_and_back() {
    let mut core = Core::prepared();
    let program = core.dir().join("plugin");
    fs::copy(binary("plugin-redb", "plugin-redb"), &program).expect("the folder is ours");
    let hash = HEXLOWER.encode(&confine::hash(&program).expect("it was just copied"));
    let plain = fs::read_to_string(core.config()).expect("dev has written it");
    let configure = |core: &Core, default: &str| {
        let keystores = format!("keystores: {{plug: {{grpc: {{command: {program:?}, sha256: {hash}}}}}}}");
        fs::write(core.config(), format!("{plain}\n{keystores}\nrouting: [{{keystore: {default}}}]\n")).expect("the folder is ours");
    };
    let json = |core: &Core, arguments: &[&str]| -> Value {
        serde_json::from_str(&core.ask(&[&["--json"], arguments].concat())).expect("an answer in JSON")
    };
    let make = |core: &Core, name: &str| secret(&mut core.connect(Who::TenantAdmin), &mut core.connect(Who::Service), name);
    let must_open = |core: &Core, secrets: &[Secret]| {
        let mut service = core.connect(Who::Service);
        for secret in secrets {
            assert_eq!(requests::decrypt(&mut service, secret).expect("it is kept"), secret.plain);
        }
    };
    configure(&core, "embedded");
    core.start();
    let mut secrets: Vec<Secret> = (0..150).map(|number| make(&core, &format!("first-{number}")).expect("the core is well")).collect();
    for (from, to) in [("embedded", "plug"), ("plug", "embedded"), ("embedded", "plug")] {
        let _begun = core.ask(&["keystore", "migrate", "--from", from, "--to", to]);
        core.kill();
        core.start();
        assert_eq!(json(&core, &["keystore", "migrate", "--status", "--watch"])["state"], "none");
        let stores = json(&core, &["keystore", "list"]);
        let state = |name: &str| {
            stores.as_array().expect("a list").iter().find(|store| store["name"] == name).expect("it is known")["state"].clone()
        };
        assert_eq!((state(to), state(from)), ("in use".into(), "unused".into()), "{stores}");
        secrets.push(make(&core, &format!("{} of them", secrets.len())).expect("the core is well"));
        must_open(&core, &secrets);
        core.stop();
        configure(&core, to);
        core.start();
        assert!(!core.status().contains("bring `routing` in line"), "{}", core.status());
        must_open(&core, &secrets);
    }
    core.stop();
    let _verified = core.ask(&["audit", "verify"]);
}
