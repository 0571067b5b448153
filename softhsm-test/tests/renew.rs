//! Keys below the IVK that get their next version without anybody's asking, on a real core.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kmip::ttlv::DateTime;
use kmip::{AddAttributeRequest, Attribute, AttributeValue};
use nix::sys::signal::Signal;
use serde_json::Value;
use softhsm_test::https::{Reply, connect, reply, send};
use softhsm_test::requests::{self, Secret};
use softhsm_test::{Appliance, Core, Who, signal, wait_for};

/// Tenants beside the two of `dev`, each with a service: more than one step of the work.
const TENANTS: usize = 40;
/// Tenants that a slow walk comes by.
const WALKED: usize = 40;
/// How often the core is killed while the work is under way.
const KILLS: u64 = 4;

fn ask(core: &Core, arguments: &[&str]) -> Value {
    serde_json::from_str(&core.ask(&[&["--json"], arguments].concat())).expect("an answer in JSON")
}

/// Identifiers of the keys of a layer with their versions and states, newest first.
fn keys(core: &Core, layer: &str) -> Vec<(String, u64, String)> {
    let one = |key: &Value| {
        let text = |name: &str| key[name].as_str().expect("a text").to_owned();
        (text("id"), key["version"].as_u64().expect("a number"), text("state"))
    };
    ask(core, &["key", "list", "--layer", layer])["keys"].as_array().expect("a list").iter().map(one).collect()
}

fn with_section(core: &Core, section: &str) {
    let config = fs::read_to_string(core.config()).expect("dev has written it");
    fs::write(core.config(), format!("{config}\n{section}\n")).expect("the folder is ours");
}

#[test]
fn keys_of_tenants_and_services_are_rotated_by_schedule_and_what_has_ended_is_replaced() {
    let mut core = Core::prepared();
    with_section(
        &core,
        "ivk:\n  tenants: {rotate_every: 1s}\n  resources: {rotate_every: 1s}\n  services: {rotate_at: '* * * * * *', replace_expired: true}",
    );
    core.start();
    let first = core.value("L3_ID");
    let mut service = core.connect(Who::Service);
    let mut secret: Option<Secret> = None;
    // The key may be replaced between the two requests.
    let mut encrypts = || {
        let key = requests::default_key(&mut service).expect("it has one");
        secret = requests::encrypt(&mut service, &key, b"kept".to_vec()).ok();
        secret.is_some()
    };
    assert!(wait_for(&mut encrypts), "a default key is Active at every instant");
    let secret = secret.expect("it was encrypted");
    for layer in ["L2", "L3"] {
        assert!(wait_for(|| keys(&core, layer).iter().filter(|key| key.1 >= 3).count() >= 2), "{layer}: {:?}", keys(&core, layer));
        let all = keys(&core, layer);
        let active = all.iter().filter(|key| key.2 == "active").count();
        assert!(active <= 2 && all.iter().all(|key| key.2 == "active" || key.2 == "deprecated"), "{all:?}");
    }
    ask(&core, &["service", "create", "globex", "ledger", "--resource", "ledger"]);
    assert!(wait_for(|| keys(&core, "L2.1").iter().any(|key| key.1 >= 3)), "{:?}", keys(&core, "L2.1"));
    let resources = keys(&core, "L2.1");
    assert!(resources.iter().filter(|key| key.2 == "active").count() <= 1, "{resources:?}");
    assert!(keys(&core, "L3").iter().any(|key| key.0 == first && key.2 == "deprecated"), "the first one was replaced");
    assert_eq!(requests::decrypt(&mut service, &secret).expect("the version before still decrypts"), b"kept");

    // A key that ends while everything is at work.
    let mut admin = core.connect(Who::TenantAdmin);
    let id = requests::create(&mut admin, "short-lived").expect("a tenant-admin creates");
    requests::activate(&mut admin, &id).expect("it is new");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs();
    let end = AttributeValue::DeactivationDate(DateTime(i64::try_from(now).expect("a date") + 2));
    let attribute = Attribute { index: None, value: end };
    admin.call(&AddAttributeRequest { unique_identifier: Some(&id), attribute }).expect("it gets an end");
    let newest = || requests::locate(&mut core.connect(Who::TenantAdmin), "short-lived").expect("it answers");
    assert!(wait_for(|| newest().iter().any(|found| *found != id)), "its name leads to a new version");
    let old = keys(&core, "L3").into_iter().find(|key| key.0 == id).expect("it is listed");
    assert_eq!(old.2, "deprecated");

    let schedule = ask(&core, &["ivk", "schedule"]);
    assert_eq!((&schedule["tenants"]["every"], &schedule["services"]["at"]), (&"1s".into(), &"* * * * * *".into()));
    assert_eq!(schedule["resources"]["every"], "1s");
    assert_eq!(ask(&core, &["reencrypt", "status"])["refused"], 0);
    let _verified = core.ask(&["audit", "verify"]);
    core.stop();
}

fn post(appliance: &Appliance, path: &str, body: &str) -> u16 {
    let head = format!(
        "POST /api/v1/{path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    send(&mut connect(appliance, "ADMIN_CORE", "OPERATOR"), &head, b"").expect("an answer").status
}

/// Of the Active keys of a layer, which versions there are.
fn active(appliance: &Appliance, layer: &str) -> Vec<u64> {
    let keys = appliance.ask(&["key", "list", "--layer", layer, "--limit", "1000"]);
    let keys = keys["keys"].as_array().expect("a list").clone();
    keys.iter().filter(|key| key["state"] == "active").map(|key| key["version"].as_u64().expect("a number")).collect()
}

#[test]
fn below_a_compromised_ivk_everything_gets_new_material_once_though_the_core_is_killed_meanwhile() {
    let appliance = Appliance::start();
    for number in 0..TENANTS {
        assert_eq!(post(&appliance, "tenants", &format!("{{\"name\":\"t{number}\"}}")), 201);
        assert_eq!(post(&appliance, &format!("tenants/t{number}/services"), "{\"name\":\"billing\"}"), 201);
    }
    let mut service = appliance.connect(Who::Service);
    let first = requests::default_key(&mut service).expect("it has one");
    let secret = requests::encrypt(&mut service, &first, b"before".to_vec()).expect("it is Active");
    assert_eq!(post(&appliance, "kek/rotate", "{\"rekey_dependents\":true}"), 400, "only after a compromise");
    let refused = appliance.cli(Who::Operator, &["ivk", "rotate", "--rekey-dependents"]);
    assert!(!refused.status.success(), "{refused:?}");

    let rotated = appliance.ask(&["ivk", "rotate", "--compromised", "--rekey-dependents"]);
    assert_eq!(rotated["version"], 2);
    let mut met = Vec::new();
    for _ in 0..KILLS {
        // The kill comes as early as the order is told, or somewhere on the way.
        appliance.kill_and_wait("core");
        let status = appliance.ask(&["reencrypt", "status"]);
        met.push(status["renewals"].as_array().expect("a list").len());
    }
    assert_eq!(met[0], 1, "the order outlives the kill: {met:?}");
    let is_done = || {
        appliance.ask(&["ivk", "status"]).is_array()
            && appliance.ask(&["reencrypt", "status"])["renewals"].as_array().is_some_and(Vec::is_empty)
    };
    assert!(wait_for(is_done), "{}", appliance.ask(&["reencrypt", "status"]));
    for layer in ["L2", "L3"] {
        let versions = active(&appliance, layer);
        assert_eq!(versions, vec![2; TENANTS + 2], "{layer}: each was replaced, and once");
    }
    let mut service = appliance.connect(Who::Service);
    assert_eq!(requests::decrypt(&mut service, &secret).expect("it still decrypts"), b"before");
    let now = requests::default_key(&mut service).expect("it has one");
    assert_ne!(now, first);
    requests::encrypt(&mut service, &now, b"after".to_vec()).expect("service goes on");
    assert!(wait_for(|| appliance.ask(&["reencrypt", "status"])["state"] == "done"));
    assert_eq!(appliance.ask(&["reencrypt", "status"])["refused"], 0);
    let verified = appliance.cli(Who::Operator, &["audit", "verify"]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
}

/// While keys lay under a compromised version, whoever wanted to archive it was told to wait for them; and of a new version nobody had looked under, that
/// no key lay under it.
#[test]
fn a_compromised_version_is_said_to_be_destroyed_instead_and_what_is_not_known_yet_is_not_said() {
    let mut core = Core::prepared();
    core.start();
    let under = |core: &Core| -> Vec<Value> {
        ask(core, &["ivk", "status"]).as_array().expect("a list").iter().map(|ivk| ivk["keys"].clone()).collect()
    };
    assert!(wait_for(|| under(&core)[0].as_u64() >= Some(2)), "{:?}", under(&core));
    let all = under(&core)[0].clone();
    let _paused = ask(&core, &["reencrypt", "pause"]);
    ask(&core, &["ivk", "rotate", "--compromised"]);
    assert_eq!(under(&core), [Value::Null, Value::Null]);
    let text = core.ask(&["ivk", "status"]);
    assert!(text.lines().nth(1).is_some_and(|line| line.starts_with('2') && line.ends_with('-')), "{text}");
    let refusal = |core: &Core, arguments: &[&str]| {
        let said = core.cli(arguments);
        assert!(!said.status.success(), "{arguments:?}");
        String::from_utf8_lossy(&said.stderr).into_owned()
    };
    let instead = |said: &str, command: &str| {
        assert!(said.contains("Compromised") && said.contains(command) && !said.contains("wait"), "{said}");
    };
    instead(&refusal(&core, &["ivk", "retire", "1"]), "`strongroom ivk destroy`");
    assert!(refusal(&core, &["ivk", "retire", "2"]).contains("`strongroom ivk rotate` replaces"), "it is the Active one");

    // So it is with a tenant's key, and a service's.
    let admin = ["ADMIN_CORE", "CA_CERT", "TENANT_ADMIN_CERT", "TENANT_ADMIN_KEY"].map(|name| core.value(name));
    let admin = ["--admin", &admin[0], "--admin-ca", &admin[1], "--admin-cert", &admin[2], "--admin-key", &admin[3], "--json", "key"];
    let l2 = ask(&core, &["tenant", "show", "acme"])["key"].as_str().expect("an identifier").to_owned();
    for key in [l2, core.value("L3_ID")] {
        let _new = core.ask(&[&admin[..], &["rotate", &key, "--compromised"]].concat());
        instead(&refusal(&core, &[&admin[..], &["retire", &key, "--yes"]].concat()), "`strongroom key destroy`");
    }

    let _resumed = ask(&core, &["reencrypt", "resume"]);
    // Both versions of the tenant's key.
    let all = Value::from(all.as_u64().expect("a number") + 1);
    assert!(wait_for(|| under(&core) == [all.clone(), Value::from(0)]), "{:?} and {all}", under(&core));
    instead(&refusal(&core, &["ivk", "retire", "1"]), "`strongroom ivk destroy`");
    core.stop();
}

#[test]
fn below_a_compromised_l2_its_services_go_on_under_new_keys() {
    let appliance = Appliance::start();
    let as_admin = appliance.as_who(Who::TenantAdmin);
    let rotate = |id: &str, more: &[&str]| {
        let as_admin = as_admin.each_ref().map(String::as_str);
        appliance.cli(Who::Operator, &[&["--json"], &as_admin[..], &["key", "rotate", id], more].concat())
    };
    let mut service = appliance.connect(Who::Service);
    let first = requests::default_key(&mut service).expect("it has one");
    let secret = requests::encrypt(&mut service, &first, b"before".to_vec()).expect("it is Active");
    let mut owner = appliance.connect(Who::TenantAdmin);
    let further = requests::create(&mut owner, "further").expect("a tenant-admin creates");
    requests::activate(&mut owner, &further).expect("it is new");
    let under_further = requests::encrypt(&mut service, &further, b"further".to_vec()).expect("it is Active");
    assert!(!rotate(&first, &["--compromised", "--rekey-dependents"]).status.success(), "below an L3 lies what is its clients'");

    let l2 = appliance.ask(&["tenant", "show", "acme"])["key"].as_str().expect("it has one").to_owned();
    let said = rotate(&l2, &["--compromised", "--rekey-dependents"]);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    assert_eq!(requests::decrypt(&mut service, &secret).expect("nobody waits"), b"before");
    appliance.kill_and_wait("core");
    let mut service = appliance.connect(Who::Service);
    assert_eq!(requests::decrypt(&mut service, &secret).expect("nobody waits"), b"before");
    assert!(wait_for(|| requests::default_key(&mut service).expect("it has one") != first), "its default key is a new one");
    let old = appliance.ask(&["key", "show", &l2]);
    assert_eq!(old["state"], "compromised");
    assert!(wait_for(|| appliance.ask(&["reencrypt", "status"])["renewals"].as_array().is_some_and(Vec::is_empty)));
    assert_eq!(active(&appliance, "L2").into_iter().max(), Some(2));
    assert_eq!(active(&appliance, "L3"), [2, 2, 1], "the other tenant's keys are left alone");
    let named = requests::locate(&mut appliance.connect(Who::TenantAdmin), "further").expect("it answers");
    assert!(named.len() == 1 && named[0] != further, "its name leads to the new version: {named:?}");
    assert_eq!(requests::decrypt(&mut service, &under_further).expect("the version before still decrypts"), b"further");
    let verified = appliance.cli(Who::Operator, &["audit", "verify"]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
}

/// A POST on the admin socket.
fn tell(core: &Core, path: &str, more: &str, body: &str) -> Reply {
    let mut socket = UnixStream::connect(core.data_dir().join("strongroom.sock")).expect("the core listens");
    let head = format!(
        "POST /api/v1/{path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{more}\r\n{body}",
        body.len()
    );
    socket.write_all(head.as_bytes()).expect("the core reads");
    reply(&mut socket).expect("an answer")
}

#[test]
fn a_deployment_gives_a_service_its_next_key_once_for_each_request() {
    let library = format!("/usr/lib/{}-linux-gnu/faketime/libfaketime.so.1", std::env::consts::ARCH);
    assert!(Path::new(&library).exists(), "{library} is not there: apt-get install faketime");
    let mut core = Core::prepared();
    core.set_environment("LD_PRELOAD", &library);
    core.set_environment("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    core.set_environment("DONT_FAKE_MONOTONIC", "1");
    core.set_environment("NO_FAKE_STAT", "1");
    // The key that `dev` has made is two minutes old then.
    core.set_environment("FAKETIME", "+2m");
    core.start();
    let mut service = core.connect(Who::Service);
    let first = requests::default_key(&mut service).expect("it has one");
    let secret = requests::encrypt(&mut service, &first, b"before".to_vec()).expect("it is Active");
    let deployed = |core: &Core, name: &str| {
        let more = if name.is_empty() { String::new() } else { format!("Idempotency-Key: {name}\r\n") };
        let told = tell(core, "tenants/acme/services/billing/deployed", &more, "");
        assert_eq!(told.status, 200, "{told:?}");
        let told = told.json();
        (told["rotated"] == true, told["repeated"] == true, told["key"].as_str().expect("an identifier").to_owned())
    };
    let (rotated, repeated, second) = deployed(&core, "build-1");
    assert!(rotated && !repeated && second != first);
    assert_eq!(requests::default_key(&mut service).expect("it has one"), second);
    assert_eq!(deployed(&core, "build-1"), (false, true, second.clone()));
    assert_eq!(deployed(&core, "build-2"), (false, false, second.clone()), "no more than one a minute");
    core.kill();
    core.set_environment("FAKETIME", "+4m");
    core.start();
    assert_eq!(deployed(&core, "build-1"), (false, true, second.clone()), "also after a crash");
    let told = ask(&core, &["service", "deployed", "acme", "billing"]);
    assert_eq!((&told["rotated"], &told["version"]), (&true.into(), &3.into()));
    assert_eq!(requests::decrypt(&mut core.connect(Who::Service), &secret).expect("it still decrypts"), b"before");
    for (path, status) in [("tenants/acme/services/nobody/deployed", 404), ("tenants/nobody/services/billing/deployed", 404)] {
        tell(&core, path, "", "").refused(status);
    }
    tell(&core, "tenants/acme/services/billing/deployed", "Idempotency-Key: \r\n", "").refused(400);
    let _verified = core.ask(&["audit", "verify"]);
    core.stop();
}

#[test]
fn a_walk_keeps_its_rate_and_its_pause_and_goes_on_after_a_kill_where_it_was() {
    let mut core = Core::prepared();
    let config = fs::read_to_string(core.config()).expect("dev has written it");
    with_section(&core, "reencrypt: {rate: 10/s, cpu: 90%}");
    core.start();
    for number in 0..WALKED {
        assert_eq!(tell(&core, "tenants", "", &format!("{{\"name\":\"t{number}\"}}")).status, 201);
    }
    let status = |core: &Core| ask(core, &["reencrypt", "status"]);
    let moved = |core: &Core| status(core)["moved"].as_u64().expect("a number");
    let left = |core: &Core| {
        let keys = ask(core, &["key", "list", "--layer", "L2", "--limit", "1000"]);
        keys["keys"].as_array().expect("a list").iter().filter(|key| key["wrapped_by"]["version"] == 1).count()
    };
    assert!(wait_for(|| status(&core)["state"] == "done"));
    let all = left(&core);
    assert!(all >= WALKED, "{all}");
    assert_eq!(ask(&core, &["reencrypt", "pause"])["state"], "paused");
    ask(&core, &["ivk", "rotate"]);
    core.kill();
    core.start();
    assert!(wait_for(|| status(&core)["state"] == "paused"), "the pause outlasts a crash");
    assert_eq!(left(&core), all);

    let resumed = Instant::now();
    ask(&core, &["reencrypt", "resume"]);
    // Ten a second, in commits of two: the place is stored each second.
    assert!(wait_for(|| moved(&core) >= 20), "{}", status(&core));
    let at_kill = resumed.elapsed();
    assert!(at_kill > Duration::from_millis(1500), "20 keys at 10 a second took {at_kill:?}");
    assert_eq!(status(&core)["rate"], "10/s");
    core.kill();
    core.start();
    assert!(wait_for(|| status(&core)["resumed"] == true), "{}", status(&core));
    assert!(wait_for(|| left(&core) == 0), "{}", status(&core));
    assert!(wait_for(|| status(&core)["state"] == "done"), "{}", status(&core));
    assert!(moved(&core) < all as u64, "what was moved before the kill is not moved again");

    // Other limits hold without a restart, and none after a compromise.
    fs::write(core.config(), format!("{config}\nreencrypt: {{rate: 1/s, cpu: 30%}}\n")).expect("the folder is ours");
    signal(core.pid(), Signal::SIGHUP);
    assert!(wait_for(|| status(&core)["rate"] == "1/s" && status(&core)["cpu"] == "30%"), "{}", status(&core));
    let rotated = Instant::now();
    ask(&core, &["ivk", "rotate", "--compromised"]);
    let under = |core: &Core| {
        let keys = ask(core, &["key", "list", "--layer", "L2", "--limit", "1000"]);
        keys["keys"].as_array().expect("a list").iter().filter(|key| key["wrapped_by"]["version"] == 3).count()
    };
    assert!(wait_for(|| under(&core) == all), "{}", status(&core));
    assert!(rotated.elapsed() < Duration::from_secs(all as u64 / 2), "{all} keys at one a second took {:?}", rotated.elapsed());
    let _verified = core.ask(&["audit", "verify"]);
    core.stop();
}
