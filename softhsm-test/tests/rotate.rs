//! Rotation of the IVK and of a tenant's key on a real core and edge, while both are at work.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use softhsm_test::https::{Reply, connect, send};
use softhsm_test::load::{Over, work};
use softhsm_test::{Appliance, Core, Who, requests, wait_for};

/// Administrators that rotate at the same time.
const OPERATORS: usize = 50;
/// Rotations under load.
const ROTATIONS: usize = 20;

fn rotation(more: &str, body: &str) -> String {
    format!(
        "POST /api/v1/kek/rotate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{more}\r\n{body}",
        body.len()
    )
}

fn rotate(appliance: &Appliance, more: &str, body: &str) -> Reply {
    send(&mut connect(appliance, "ADMIN_CORE", "OPERATOR"), &rotation(more, body), b"").expect("an answer")
}

fn versions(appliance: &Appliance) -> Vec<(u64, String)> {
    let versions = appliance.ask(&["ivk", "status"]);
    let one = |ivk: &Value| (ivk["version"].as_u64().expect("a number"), ivk["status"].as_str().expect("a state").to_owned());
    versions.as_array().expect("a list").iter().map(one).collect()
}

fn must_have_moved_all(appliance: &Appliance) {
    let newest = versions(appliance)[0].0;
    let under = || {
        let keys = appliance.ask(&["key", "list", "--layer", "L2"]);
        keys["keys"].as_array().expect("a list").iter().map(|key| key["wrapped_by"]["version"].as_u64()).collect::<Vec<_>>()
    };
    assert!(wait_for(|| under().iter().all(|version| *version == Some(newest))), "{:?} of {newest}", under());
    assert_eq!(appliance.ask(&["reencrypt", "status"])["refused"], 0);
}

#[test]
fn nobody_at_a_core_or_an_edge_notices_twenty_rotations() {
    let appliance = Appliance::with_edges(1);
    let before = requests::encrypt(&mut appliance.connect(Who::Service), &appliance.value("L3_ID"), b"before".to_vec()).expect("it serves");
    let (is_over, done) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let _over = Over(&is_over);
        let (is_over, done) = (&is_over, &done);
        let (core, edge, l3) = (appliance.endpoint(Who::Service), appliance.endpoint_at("edge", Who::Service), appliance.value("L3_ID"));
        scope.spawn(move || work(&core, Some(&l3), is_over, done));
        scope.spawn(move || work(&edge, None, is_over, done));
        let as_admin = appliance.as_who(Who::TenantAdmin);
        for round in 0..ROTATIONS {
            let how = if round % 5 == 4 { "--compromised" } else { "--algorithm=XChaCha20-Poly1305" };
            let rotated = appliance.ask(&["ivk", "rotate", how]);
            assert_eq!(rotated["version"].as_u64(), Some(round as u64 + 2));
            let l2 = appliance.ask(&["tenant", "show", "acme"])["key"].as_str().expect("it has one").to_owned();
            let rotated = appliance.ask(&[&as_admin.each_ref().map(String::as_str), &["key", "rotate", &l2][..]].concat());
            assert_eq!(rotated["layer"], "L2");
        }
        assert!(wait_for(|| done.load(Ordering::Relaxed) > 100), "{} rounds", done.load(Ordering::Relaxed));
    });
    must_have_moved_all(&appliance);
    let mut client = appliance.connect(Who::Service);
    assert_eq!(requests::decrypt(&mut client, &before).expect("it decrypts"), b"before");
    let (newest, older) =
        versions(&appliance).split_first().map(|(newest, older)| (newest.clone(), older.to_vec())).expect("there are some");
    assert_eq!(newest, (ROTATIONS as u64 + 1, "active".to_owned()));
    assert!(older.iter().all(|(_, state)| state == "compromised" || state == "deprecated"), "{older:?}");
    let verified = appliance.cli(Who::Operator, &["audit", "verify"]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
}

#[test]
fn the_ivk_is_rotated_when_a_tenant_leaves_and_the_others_go_on() {
    let appliance = Appliance::start();
    let secret = requests::encrypt(&mut appliance.connect(Who::Service), &appliance.value("L3_ID"), b"kept".to_vec()).expect("it serves");
    let unknown = appliance.cli(Who::Operator, &["tenant", "disable", "nobody", "--off-board"]);
    assert!(!unknown.status.success() && versions(&appliance).len() == 1, "{unknown:?}");
    assert_eq!(appliance.ask(&["tenant", "disable", "globex"])["status"], "disabled");
    assert_eq!(versions(&appliance).len(), 1, "it may come back");
    assert_eq!(appliance.ask(&["tenant", "disable", "globex", "--off-board"])["status"], "disabled");
    assert_eq!(versions(&appliance), [(2, "active".to_owned()), (1, "deprecated".to_owned())]);
    must_have_moved_all(&appliance);
    assert_eq!(requests::decrypt(&mut appliance.connect(Who::Service), &secret).expect("acme stays"), b"kept");
    let verified = appliance.cli(Who::Operator, &["audit", "verify"]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
}

#[test]
fn of_fifty_operators_at_once_each_is_told_of_its_own_version_or_to_come_again() {
    let appliance = Appliance::start();
    let told: Vec<Reply> = thread::scope(|scope| {
        let all: Vec<_> = (0..OPERATORS).map(|_| scope.spawn(|| rotate(&appliance, "", "{}"))).collect();
        all.into_iter().map(|one| one.join().expect("it is answered")).collect()
    });
    let mut made: Vec<u64> =
        told.iter().filter(|reply| reply.status == 200).map(|reply| reply.json()["version"].as_u64().expect("a number")).collect();
    made.sort_unstable();
    assert!(!made.is_empty() && made.iter().copied().eq(2..2 + made.len() as u64), "{made:?}");
    told.iter().filter(|reply| reply.status != 200).for_each(|reply| reply.refused(409));
    let is = versions(&appliance);
    assert_eq!(is.len(), made.len() + 1);
    assert_eq!(is.iter().filter(|(_, state)| state == "active").count(), 1);
    must_have_moved_all(&appliance);

    // What is Deprecated and empty is archived, what is Active is not.
    let newest = is[0].0;
    let retired = appliance.ask(&["ivk", "retire", &(newest - 1).to_string()]);
    assert_eq!(retired[1]["status"], "retired");
    for version in [newest, newest + 1] {
        let refused = appliance.cli(Who::Operator, &["ivk", "retire", &version.to_string()]);
        assert!(!refused.status.success(), "{refused:?}");
    }
}

#[test]
fn a_schedule_rotates_by_itself_and_once_for_all_that_was_missed() {
    let schedule = rotates_by_itself("rotate_every: 1s", "rotate_every: 4s");
    assert_eq!((&schedule["every"], &schedule["at"]), (&"4s".into(), &Value::Null));
}

#[test]
fn a_calendar_rotates_by_itself_and_once_for_all_that_was_missed() {
    let schedule = rotates_by_itself("rotate_at: '* * * * * *'", "rotate_at: '*/4 * * * * *'");
    assert_eq!((&schedule["every"], &schedule["at"]), (&Value::Null, &"*/4 * * * * *".into()));
}

/// Starts a core with the first schedule, then with the second after it was off for longer than that; returns what `ivk schedule` says.
fn rotates_by_itself(each_second: &str, each_four: &str) -> Value {
    let mut core = Core::prepared();
    let config = fs::read_to_string(core.config()).expect("dev has written it");
    let path = core.config();
    let scheduled = |schedule: &str| fs::write(&path, format!("{config}\nivk:\n  {schedule}\n")).expect("the folder is ours");
    scheduled(each_second);
    let active = |core: &Core| -> u64 {
        let versions: Value = serde_json::from_str(&core.ask(&["--json", "ivk", "status"])).expect("an answer in JSON");
        versions[0]["version"].as_u64().expect("a number")
    };
    core.start();
    assert!(wait_for(|| active(&core) >= 3), "version {}", active(&core));
    scheduled(each_four);
    let before = active(&core);
    core.stop();
    let stopped = Instant::now();
    assert!(wait_for(|| stopped.elapsed() > Duration::from_millis(4500)), "time passes");
    core.start();
    assert!(wait_for(|| active(&core) > before), "it was due while the core was off");
    assert!(active(&core) <= before + 2, "one for all that was missed, and one that came before the stop at most");
    let schedule: Value = serde_json::from_str(&core.ask(&["--json", "ivk", "schedule"])).expect("an answer in JSON");
    assert_eq!(schedule["overdue"], false);
    let _verified = core.ask(&["audit", "verify"]);
    schedule
}

#[test]
fn a_generated_version_waits_over_a_restart_and_is_the_next_one() {
    let appliance = Appliance::start();
    let generate = |more: &str, body: &str| {
        let request = rotation(more, body).replacen("/kek/rotate", "/kek/generate", 1);
        send(&mut connect(&appliance, "ADMIN_CORE", "OPERATOR"), &request, b"").expect("an answer")
    };
    let named = "Idempotency-Key: for the new year\r\n";
    let made = generate(named, "{\"algorithm\":\"XChaCha20-Poly1305\"}");
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!((&made.json()["version"], &made.json()["algorithm"]), (&2.into(), &"XChaCha20-Poly1305".into()));
    generate("", "{}").refused(409);
    for (more, body) in [("", "{\"algorithm\":\"AES\"}"), ("", "{\"compromised\":true}"), ("", ""), ("Idempotency-Key: \r\n", "{}")] {
        generate(more, body).refused(400);
    }
    let waits = [(2, "pre-active".to_owned()), (1, "active".to_owned())];
    assert_eq!(versions(&appliance), waits);
    appliance.kill_and_wait("core");
    assert_eq!(versions(&appliance), waits);
    assert_eq!(generate(named, "{}").json()["repeated"], true);
    rotate(&appliance, "", "{\"algorithm\":\"AES-256-GCM-SIV\"}").refused(400);
    let rotated = rotate(&appliance, "", "{}").json();
    assert_eq!((&rotated["version"], &rotated["replaced"]), (&2.into(), &1.into()));
    assert_eq!(versions(&appliance), [(2, "active".to_owned()), (1, "deprecated".to_owned())]);
    must_have_moved_all(&appliance);
    let mut client = appliance.connect(Who::Service);
    let secret = requests::encrypt(&mut client, &appliance.value("L3_ID"), b"x".to_vec()).expect("it encrypts");
    assert_eq!(requests::decrypt(&mut client, &secret).expect("it decrypts"), b"x");
    let _verified = appliance.ask(&["audit", "verify"]);
}

#[test]
fn a_rotation_that_is_asked_for_twice_is_done_once_also_over_a_restart() {
    let appliance = Appliance::start();
    let named = "Idempotency-Key: the monthly one\r\n";
    let first = rotate(&appliance, named, "{\"algorithm\":\"AES-256-GCM-SIV\"}").json();
    assert_eq!((&first["version"], &first["replaced"], &first["repeated"]), (&2.into(), &1.into(), &false.into()));
    appliance.kill_and_wait("core");
    let again = rotate(&appliance, named, "{}").json();
    assert_eq!((&again["version"], &again["replaced"], &again["repeated"]), (&2.into(), &1.into(), &true.into()));
    assert_eq!(versions(&appliance).len(), 2);
    let long = format!("Idempotency-Key: {}\r\n", "x".repeat(256));
    for (more, body) in
        [(long.as_str(), "{}"), ("Idempotency-Key: \r\n", "{}"), ("", "{\"algorithm\":\"AES\"}"), ("", "{\"force\":true}"), ("", "")]
    {
        rotate(&appliance, more, body).refused(400);
    }
    assert_eq!(versions(&appliance).len(), 2, "bad input changes nothing");
}

/// More than one commit moves, and before them keys that lie where they should.
#[test]
fn a_walk_that_comes_by_keys_which_are_not_due_goes_on_to_its_end() {
    const DUE: usize = 2200;
    const NOT_DUE: usize = 200;
    let appliance = Appliance::start();
    let mut admin = appliance.connect(Who::TenantAdmin);
    let mut create = |number: usize| drop(requests::create(&mut admin, &format!("key-{number}")).expect("it serves"));
    (0..DUE).for_each(&mut create);
    let _held = appliance.ask(&["reencrypt", "pause"]);
    let tenant = appliance.ask(&["tenant", "show", "acme"]);
    let l2 = tenant["key"].as_str().expect("a tenant has a key");
    let as_admin = appliance.as_who(Who::TenantAdmin);
    let rotated = appliance.ask(&[&as_admin.each_ref().map(String::as_str), &["key", "rotate", l2][..]].concat());
    assert_eq!(rotated["layer"], "L2");
    (DUE..DUE + NOT_DUE).for_each(&mut create);
    let _goes_on = appliance.ask(&["reencrypt", "resume"]);
    let walk = || appliance.ask(&["reencrypt", "status"]);
    assert!(wait_for(|| walk()["state"] == "done" && walk()["moved"].as_u64() >= Some(DUE as u64)), "{}", walk());
}
