//! What somebody changes by SQL in the database of a whole core: who names it, what clients see, and that other keys are served.
#![expect(clippy::print_stdout, reason = "the table is the result")]

use std::fs;

use daemon::kmip_client::KmipError;
use keys::id::RowId;
use serde_json::Value;
use softhsm_test::requests::{self, Secret};
use softhsm_test::{Who, wait_for};

use super::{Estate, text, uuid};

/// A request reads what the policies let its tenant see, the node's own work all: with a policy that shows nothing, clients find nothing while the operator, the sweep
/// and the health of the keystore go on.
#[test]
fn requests_are_bound_by_the_policies_of_the_database_and_the_nodes_own_work_is_not() {
    let mut estate = Estate::serving();
    // So that what the sweep has read is not there for requests.
    let config = fs::read_to_string(estate.core.config()).expect("it is there");
    fs::write(estate.core.config(), format!("{config}row_cache: {{size: '0B'}}\n")).expect("the folder is ours");
    let secret = estate.secret("one");
    estate.core.stop();
    estate.core.start();
    estate.sql("alter policy requests on strongroom.records using (false)");
    let mut service = estate.core.connect(Who::Service);
    let client = seen(requests::decrypt(&mut service, &secret));
    assert!(["ItemNotFound", "GeneralFailure"].contains(&client.as_str()), "{client}");
    assert_eq!(requests::locate(&mut service, "one").expect("it serves"), [""; 0]);
    assert!(estate.core.ask(&["key", "show", &secret.key]).contains(&secret.key));
    assert_eq!(swept(&estate), [""; 0]);
    let _healthy = estate.core.ask(&["keystore", "health"]);
    let policy = "tenant = any (nullif(current_setting('strongroom.tenants', true), '')::uuid[])";
    estate.sql(&format!("alter policy requests on strongroom.records using ({policy})"));
    estate.must_open(std::slice::from_ref(&secret));
    assert_eq!(requests::locate(&mut service, "one").expect("it serves"), std::slice::from_ref(&secret.key));
    drop(service);
    estate.stop_and_verify();
}

/// What somebody does to a key's rows by SQL.
struct Tampering {
    what: &'static str,
    /// Of this key's, with another's at hand.
    sql: fn(&Secret, &Secret) -> String,
    named_by: NamedBy,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum NamedBy {
    /// Whoever asks for the key; and the sweep, by the key or by what no longer adds up.
    Key,
    /// The sweep alone, by the key: clients may go on with it.
    SweepByKey,
    /// The sweep, by what no longer adds up: whose row was, nobody knows after a restart.
    SweepBySum,
}

fn set(column: &'static str, secret: &Secret, to: &str) -> String {
    format!("update strongroom.records set {column} = {to} where layer = 10 and id = '{}'", uuid(secret))
}

fn terms(secret: &Secret, change: &str) -> String {
    format!("{change} where layer = 10 and id = '{}'", uuid(secret))
}

/// Every column of `records` and `terms`, and rows as a whole.
const TAMPERINGS: &[Tampering] = {
    use NamedBy::{Key, SweepByKey, SweepBySum};
    const OTHER: &str = "'00000000-0000-4000-8000-0000000000ff'";
    const fn by(what: &'static str, named_by: NamedBy, sql: fn(&Secret, &Secret) -> String) -> Tampering {
        Tampering { what, sql, named_by }
    }
    &[
        by("records.layer", SweepBySum, |secret, _| set("layer", secret, "9")),
        by("records.id", SweepBySum, |secret, _| set("id", secret, OTHER)),
        by("records.chain", Key, |secret, _| set("chain", secret, OTHER)),
        by("records.version", Key, |secret, _| set("version", secret, "version + 1")),
        by("records.object_type", Key, |secret, _| set("object_type", secret, "object_type + 1")),
        by("records.algorithm", Key, |secret, _| set("algorithm", secret, "algorithm + 1")),
        by("records.bits", Key, |secret, _| set("bits", secret, "bits + 64")),
        by("records.state", Key, |secret, _| set("state", secret, "'pre-active'")),
        by("records.expiry", Key, |secret, _| set("expiry", secret, "9")),
        by("records.tenant", Key, |secret, _| set("tenant", secret, OTHER)),
        by("records.service", Key, |secret, _| set("service", secret, OTHER)),
        by("records.generation", Key, |secret, _| set("generation", secret, "generation + 1")),
        by("records.parent", Key, |secret, _| set("parent", secret, OTHER)),
        by("records.parent_version", Key, |secret, _| set("parent_version", secret, "parent_version + 1")),
        by("records.stored: its last bit", Key, |secret, _| {
            set("stored", secret, "set_byte(stored, length(stored) - 1, get_byte(stored, length(stored) - 1) # 1)")
        }),
        by("records.stored: a bit of what is sealed", Key, |secret, _| {
            set("stored", secret, "set_byte(stored, length(stored) / 2, get_byte(stored, length(stored) / 2) # 1)")
        }),
        by("records.stored: cut off", Key, |secret, _| set("stored", secret, "substring(stored for length(stored) - 1)")),
        by("records.stored: empty", Key, |secret, _| set("stored", secret, "''")),
        by("records.stored: another's", Key, |secret, other| {
            set("stored", secret, &format!("(select stored from strongroom.records where layer = 10 and id = '{}')", uuid(other)))
        }),
        by("terms.term", SweepByKey, |secret, _| terms(secret, "update strongroom.terms set term = decode(md5(term), 'hex')")),
        by("terms.layer", SweepByKey, |secret, _| terms(secret, "update strongroom.terms set layer = 9")),
        by("terms.id", SweepByKey, |secret, _| terms(secret, "update strongroom.terms set id = '00000000-0000-4000-8000-0000000000ff'")),
        by("terms.tenant", SweepByKey, |secret, _| {
            terms(secret, "update strongroom.terms set tenant = '00000000-0000-4000-8000-0000000000ff'")
        }),
        by("terms, deleted", SweepByKey, |secret, _| terms(secret, "delete from strongroom.terms")),
        by("row deleted", SweepBySum, |secret, _| terms(secret, "delete from strongroom.records")),
        by("older copy replayed", SweepBySum, |secret, _| {
            let (columns, of) = (
                "chain, version, object_type, algorithm, bits, state, expiry, tenant, service, generation, parent, parent_version, stored",
                uuid(secret),
            );
            format!(
                "update strongroom.records a set ({columns}) = (select {columns} from public.older b where b.layer = a.layer and b.id = a.id) where layer = 10 and id = '{of}'"
            )
        }),
    ]
};

/// What the sweep that follows a start has found.
fn swept(estate: &Estate) -> Vec<String> {
    let mut status = Value::Null;
    assert!(wait_for(|| {
        status = serde_json::from_str(&estate.core.status()).expect("status is JSON");
        status["swept"].is_string()
    }));
    let all = status["warnings"].as_array().expect("a list").iter();
    all.filter_map(|warning| warning.as_str()).filter(|warning| warning.contains("is damaged")).map(str::to_owned).collect()
}

/// How a request for a key ends, as the client sees it.
fn seen(outcome: Result<Vec<u8>, KmipError>) -> String {
    match outcome {
        Ok(_) => "served".to_owned(),
        Err(KmipError::Kmip(kmip::Error::Refused { reason: Some(reason), .. })) => format!("{reason:?}"),
        Err(other) => panic!("{other}"),
    }
}

/// Each column of a key's rows, and its rows as a whole. The core is down meanwhile, so that nothing of them is kept in its row cache.
#[test]
fn every_column_of_a_keys_rows_that_is_edited_by_sql_is_named_and_other_keys_are_served() {
    let mut estate = Estate::serving();
    // Rows whose identifiers are of the same 64 ms share a sum, which tells nothing where one of them is named already.
    let millis = |secret: &Secret| secret.key.parse::<RowId>().expect("the core's own identifier").uuid.as_u128() >> 80;
    let mut secrets: Vec<Secret> = Vec::new();
    for number in 0.. {
        if secrets.len() == TAMPERINGS.len() + 2 {
            break;
        }
        let made = estate.secret(&format!("key-{}", number));
        if secrets.last().is_none_or(|last| millis(&made) > millis(last) + 64) {
            secrets.push(made);
        }
    }
    let (sound, tampered) = secrets.split_at(2);
    // What was true of the last key once.
    estate.sql("create table public.older as select * from strongroom.records where layer = 10");
    let replayed = &tampered[TAMPERINGS.len() - 1];
    requests::rekey(&mut estate.core.connect(Who::TenantAdmin), &replayed.key).expect("it serves");
    estate.core.stop();
    for (tampering, secret) in TAMPERINGS.iter().zip(tampered) {
        let changed =
            estate.sql(&format!("with changed as ({} returning 1) select count(*) > 0 from changed", (tampering.sql)(secret, &sound[0])));
        assert_eq!(changed, "t", "{}", tampering.what);
    }
    estate.core.start();
    assert_eq!(estate.core.standing(), "unsealed: ");
    let warnings = swept(&estate);
    let sums = warnings.iter().filter(|warning| warning.contains("do not add up")).count();
    let mut service = estate.core.connect(Who::Service);
    let (mut named, mut unnamed) = (0, Vec::new());
    println!("{:<44}{:<16}named by", "edited", "client saw");
    for (tampering, secret) in TAMPERINGS.iter().zip(tampered) {
        let client = seen(requests::decrypt(&mut service, secret));
        let shown = estate.core.cli(&["key", "show", &secret.key]);
        let is_shown = !shown.status.success() && text(&shown.stderr).contains(&secret.key);
        let is_swept = warnings.iter().any(|warning| warning.contains(&secret.key));
        let by = [
            (is_shown, "key show"),
            (is_swept, "sweep, status, log"),
            (tampering.named_by == NamedBy::SweepBySum && sums > 0, "sweep, by the sum"),
        ];
        let by: Vec<&str> = by.into_iter().filter(|(is, _)| *is).map(|(_, by)| by).collect();
        println!("{:<44}{client:<16}{}", tampering.what, by.join("; "));
        let is_right = match tampering.named_by {
            NamedBy::Key => client != "served" && is_shown,
            NamedBy::SweepByKey => client == "served" && is_swept,
            NamedBy::SweepBySum => sums > 0,
        };
        if is_right && !by.is_empty() { named += 1 } else { unnamed.push(tampering.what) }
    }
    // Status lists the first of them.
    let page = estate.core.metrics();
    let findings = page.lines().find_map(|line| line.strip_prefix("strongroom_sweep_findings ")).expect("it is on the page");
    let findings: f64 = findings.parse().expect("a number");
    println!("{named} of {} named; the sweep has {findings} findings", TAMPERINGS.len());
    assert!(findings >= 26.0, "{findings}: {warnings:?}");
    assert!(unnamed.is_empty(), "{unnamed:?}: {warnings:?}");
    drop(service);
    estate.must_open(sound);
    let made = estate.secret("made after that");
    estate.must_open(&[made]);
    estate.stop_and_verify();
}

/// The Active IVK's material and what is said of it beside its record. What nothing reads may say what it likes.
#[test]
fn every_column_of_kek_storage_that_is_edited_by_sql_is_named_or_read_by_nobody() {
    let mut estate = Estate::serving();
    let secret = estate.secret("kept");
    assert_eq!(estate.json(&["ivk", "rotate"])["version"], 2);
    assert!(wait_for(|| estate.json(&["reencrypt", "status"])["state"] == "done"), "{}", estate.json(&["reencrypt", "status"]));
    estate.sql("create table public.sound as select * from strongroom.kek_storage");
    estate.sql("insert into strongroom.encryption_keys (id) values (9)");
    let bit = "kek_encrypted = set_byte(kek_encrypted, length(kek_encrypted) - 1, get_byte(kek_encrypted, length(kek_encrypted) - 1) # 1)";
    let others = "kek_encrypted = (select kek_encrypted from public.sound where ivk_version = 1)";
    println!("{:<44}{:<24}named by", "edited", "the core");
    let mut named = 0;
    for (what, edit, is_read) in [
        ("kek_storage.ivk_version", "update strongroom.kek_storage set ivk_version = 7 where ivk_version = 2".to_owned(), true),
        ("kek_storage.kek_encrypted: a bit", format!("update strongroom.kek_storage set {bit} where ivk_version = 2"), true),
        ("kek_storage.kek_encrypted: empty", "update strongroom.kek_storage set kek_encrypted = '' where ivk_version = 2".to_owned(), true),
        ("kek_storage.kek_encrypted: another's", format!("update strongroom.kek_storage set {others} where ivk_version = 2"), true),
        ("kek_storage.encryption_key_id", "update strongroom.kek_storage set encryption_key_id = 9 where ivk_version = 2".to_owned(), true),
        ("kek_storage.status", "update strongroom.kek_storage set status = 'deprecated' where ivk_version = 2".to_owned(), true),
        ("kek_storage, deleted", "delete from strongroom.kek_storage where ivk_version = 2".to_owned(), true),
        ("kek_storage.kek_id", "update strongroom.kek_storage set kek_id = 99 where ivk_version = 2".to_owned(), false),
        ("kek_storage.created_at", "update strongroom.kek_storage set created_at = 'epoch' where ivk_version = 2".to_owned(), false),
        ("kek_storage.rotated_at", "update strongroom.kek_storage set rotated_at = 'epoch' where ivk_version = 2".to_owned(), false),
    ] {
        estate.core.stop();
        estate.sql(&edit);
        let (standing, by) = match estate.core.try_start() {
            Err(said) => ("does not start".to_owned(), said),
            Ok(_) => (estate.core.standing(), estate.core.status()),
        };
        println!("{what:<44}{standing:<24}{}", by.lines().last().unwrap_or_default());
        if is_read {
            assert_ne!(standing, "unsealed: ", "{what}");
            assert!(by.contains("Ivk") || by.contains("IVK"), "{what}: {by}");
            named += 1;
        } else {
            estate.must_open(std::slice::from_ref(&secret));
        }
        estate.core.kill();
        estate.sql("begin; delete from strongroom.kek_storage; insert into strongroom.kek_storage select * from public.sound; commit");
        estate.core.start();
        estate.must_open(std::slice::from_ref(&secret));
    }
    println!("{named} of 7 that are read were named");
    assert_eq!(named, 7);
    estate.stop_and_verify();
}
