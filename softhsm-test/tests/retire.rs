//! A service's key is replaced, its edge's objects follow by themselves, and the old version is retired: with crashes of both nodes on the way.

use std::process::Output;

use daemon::kmip_client::{KmipClient, KmipError};
use kmip::ResultReason;
use serde_json::Value;
use softhsm_test::requests::{self, Secret};
use softhsm_test::{Edge, Who, wait_for};

const OBJECTS: u64 = 500;

fn sealed(client: &mut KmipClient, name: &str) -> Secret {
    let key = requests::create(client, name).expect("the edge is well");
    requests::activate(client, &key).expect("the edge is well");
    requests::encrypt(client, &key, name.as_bytes().to_vec()).expect("the edge is well")
}

fn reason<T>(outcome: Result<T, KmipError>) -> Option<ResultReason> {
    match outcome {
        Err(KmipError::Kmip(kmip::Error::Refused { reason, .. })) => reason,
        Err(error) => panic!("not a refusal: {error}"),
        Ok(_) => None,
    }
}

/// The command line at the core, as acme's tenant-admin.
fn as_admin(edge: &Edge, arguments: &[&str]) -> Output {
    let values = ["ADMIN_CORE", "CA_CERT", "TENANT_ADMIN_CERT", "TENANT_ADMIN_KEY"].map(|name| edge.core.value(name));
    let [url, ca, cert, key] = &values;
    edge.core.cli(&[&["--json", "--admin", url, "--admin-ca", ca, "--admin-cert", cert, "--admin-key", key], arguments].concat())
}

/// Why a version is not retired; empty if it is.
fn refusal(edge: &Edge, key: &str) -> String {
    let Output { status, stderr, .. } = as_admin(edge, &["key", "retire", key, "--yes"]);
    assert!(status.code().is_some_and(|code| code <= 1), "{status}");
    if status.success() { String::new() } else { String::from_utf8_lossy(&stderr).into_owned() }
}

fn state(edge: &Edge, key: &str) -> Value {
    let shown: Value = serde_json::from_slice(&as_admin(edge, &["key", "show", key]).stdout).expect("a key in JSON");
    shown["state"].clone()
}

/// Keys that the edge has moved since its start.
fn moved(edge: &Edge) -> u64 {
    let page = edge.metrics();
    let count = page.lines().find_map(|line| line.strip_prefix("strongroom_reencryption_keys_total "));
    count.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{page}"))
}

fn walk(edge: &Edge) -> Value {
    serde_json::from_str(&edge.ask(&["--json", "reencrypt", "status"])).expect("status is JSON")
}

#[test]
fn objects_follow_a_replaced_key_by_themselves_and_it_is_retired_after_them() {
    let mut edge = Edge::prepared_with(&["lease: 1s"]);
    edge.start_both();
    let mut client = edge.connect(Who::Service);
    let secrets: Vec<Secret> = (0..OBJECTS).map(|number| sealed(&mut client, &format!("k{number}"))).collect();
    drop(client);
    let old = requests::default_key(&mut edge.core.connect(Who::Service)).expect("the core is well");
    let direct = requests::encrypt(&mut edge.core.connect(Who::Service), &old, b"direct".to_vec()).expect("it is Active");
    assert!(refusal(&edge, &old).contains("Active"), "it wraps still");
    let _enrolled = edge.core.ask(&["edge", "enrol", "west", "--tenant", "acme"]);

    let _held = edge.ask(&["reencrypt", "pause"]);
    requests::rekey(&mut edge.core.connect(Who::TenantAdmin), &old).expect("a default key is replaced");
    let both = refusal(&edge, &old);
    assert!(both.contains("group edge (its edge") && both.contains("group west (an edge of it has not reported"), "{both}");
    let unasked = as_admin(&edge, &["key", "retire", &old]);
    assert!(unasked.status.code() == Some(2) && String::from_utf8_lossy(&unasked.stderr).contains("--yes"), "{unasked:?}");

    // Both nodes crash in the middle of the walk, the core first.
    let held = walk(&edge);
    assert_eq!(held["state"], "paused");
    let _resumed = edge.ask(&["reencrypt", "resume"]);
    assert!(wait_for(|| moved(&edge) > 0), "{}", walk(&edge));
    edge.core.kill();
    assert!(wait_for(|| walk(&edge)["error"].is_string()), "{}", walk(&edge));
    let before = moved(&edge);
    assert!((1..=OBJECTS).contains(&before), "the walk was over before the crash: {before} moved");
    edge.kill();
    edge.core.start();
    edge.start();

    // Nobody asks for an object, and all of them move.
    assert!(wait_for(|| walk(&edge)["state"] == "done"), "{}", walk(&edge));
    let done = walk(&edge);
    assert_eq!((&done["refused"], done["looked_at"].as_u64()), (&Value::from(0), Some(OBJECTS + 1)), "objects and attribute key");
    // What was committed as the core went away may not have been counted.
    assert!(moved(&edge) > 0 && moved(&edge) + before <= OBJECTS + 1, "{before} and {}", moved(&edge));
    let mut why = String::new();
    let has_reported = wait_for(|| {
        why = refusal(&edge, &old);
        !why.contains("group edge")
    });
    assert!(has_reported && why.contains("group west (") && why.contains("strongroom edge revoke west"), "{why}");
    // So does another edge of the group that never speaks, until it is given up.
    let ghost = "09".repeat(32);
    let _enrolled = edge.core.ask(&["edge", "enrol", "edge", "--key", &ghost]);
    let why = refusal(&edge, &old);
    assert!(why.contains("group edge (its edge 0909090909090909 has not") && why.contains(&format!("edge --key {ghost}")), "{why}");
    let left = edge.core.ask(&["edge", "revoke", "edge", "--key", &ghost]);
    assert!(left.contains("enrolled") && !left.contains(&ghost), "{left}");
    assert!(!edge.core.cli(&["edge", "revoke", "edge", "--key", &ghost]).status.success(), "it is given up");
    assert!(!refusal(&edge, &old).contains("group edge"), "{}", refusal(&edge, &old));
    assert_eq!(requests::decrypt(&mut edge.core.connect(Who::Service), &direct).expect("a Deprecated key decrypts"), b"direct");
    assert_eq!(state(&edge, &old), "deprecated");

    // A core that has forgotten what it was told is told again.
    edge.core.kill();
    edge.core.start();
    let _revoked = edge.core.ask(&["edge", "revoke", "west"]);
    assert!(wait_for(|| refusal(&edge, &old).is_empty()), "{}", refusal(&edge, &old));
    assert_eq!(state(&edge, &old), "retired");
    let mut core = edge.core.connect(Who::Service);
    assert_eq!(reason(requests::decrypt(&mut core, &direct)), Some(ResultReason::ObjectArchived));
    assert_eq!(reason(requests::encrypt(&mut core, &old, b"late".to_vec())), Some(ResultReason::ObjectArchived));
    assert!(refusal(&edge, &old).contains("Retired"), "once is enough");
    drop(core);

    // Not a byte is lost, of what is open and of what is opened anew.
    edge.kill();
    edge.start();
    let mut client = edge.connect(Who::Service);
    for secret in &secrets {
        assert_eq!(requests::decrypt(&mut client, secret).expect("it lies under the newest version"), secret.plain);
    }
    drop(client);
    edge.stop_both();
}

/// Objects that nobody had used before their L3 was declared compromised were lost with it; and a key that was replaced for the sake of one above it was
/// not known to be left by edges.
#[test]
fn objects_are_taken_out_from_under_a_compromised_key_and_one_that_lay_below_a_compromised_key() {
    let mut edge = Edge::prepared_with(&["lease: 1s"]);
    edge.start_both();
    let mut client = edge.connect(Who::Service);
    let secrets: Vec<Secret> = (0..100).map(|number| sealed(&mut client, &format!("k{number}"))).collect();
    let must_open = |client: &mut KmipClient, secrets: &[Secret]| {
        for secret in secrets {
            assert_eq!(requests::decrypt(client, secret).expect("it is moved"), secret.plain);
        }
    };
    let newest = |edge: &Edge| requests::default_key(&mut edge.core.connect(Who::Service)).expect("the core is well");
    let first = newest(&edge);
    let direct = requests::encrypt(&mut edge.core.connect(Who::Service), &first, b"direct".to_vec()).expect("it is Active");

    // What is used is moved at that moment, and the walk takes the others.
    let _held = edge.ask(&["reencrypt", "pause"]);
    let replaced = as_admin(&edge, &["key", "rotate", &first, "--compromised"]);
    assert!(replaced.status.success(), "{replaced:?}");
    let second = newest(&edge);
    assert_eq!((state(&edge, &first), state(&edge, &second)), ("compromised".into(), "active".into()));
    assert!(requests::decrypt(&mut edge.core.connect(Who::Service), &direct).is_err(), "nobody decrypts by it");
    edge.kill();
    edge.start();
    assert!(wait_for(|| walk(&edge)["state"] == "paused"), "{}", walk(&edge));
    let mut client = edge.connect(Who::Service);
    must_open(&mut client, &secrets[..10]);
    let destroy = || as_admin(&edge, &["key", "destroy", &first, "--yes"]);
    let mut told = destroy();
    let why = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(!told.status.success() && why.contains("edges may have objects under it"), "{why}");
    let _resumed = edge.ask(&["reencrypt", "resume"]);
    assert!(wait_for(|| walk(&edge)["state"] == "done"), "{}", walk(&edge));
    assert_eq!((&walk(&edge)["refused"], moved(&edge)), (&Value::from(0), 90), "{}", walk(&edge));
    let instead = refusal(&edge, &first);
    assert!(instead.contains("`strongroom key destroy` once edges have left it"), "{instead}");
    // The core hears of it with the next lease.
    let is_destroyed = wait_for(|| {
        told = destroy();
        told.status.success()
    });
    assert!(is_destroyed, "{told:?}");
    must_open(&mut client, &secrets);

    // Below a compromised IVK each L3 is replaced, and what edges have under it follows.
    let _ordered = edge.core.ask(&["ivk", "rotate", "--compromised", "--rekey-dependents"]);
    assert!(wait_for(|| newest(&edge) != second), "it is renewed");
    assert_eq!(state(&edge, &second), "deprecated", "what was encrypted directly under it is its clients'");
    let mut why = String::new();
    let is_left = wait_for(|| {
        why = refusal(&edge, &second);
        why.is_empty()
    });
    assert!(is_left, "{why}");
    assert_eq!(state(&edge, &second), "retired");
    drop(client);
    edge.kill();
    edge.start();
    must_open(&mut edge.connect(Who::Service), &secrets);
    edge.stop_both();
}
