//! What was damaged while a core was down is said after its start, by everything that an operator looks at, and by nothing that a client sees.

use std::fs;

use daemon::kmip_client::KmipError;
use keys::id::{Layer, RowId};
use keys::policy::Action;
use keys::port::{Batch, Change, Keystore};
use keys::row::Row;
use kmip::ResultReason;
use softhsm_test::requests::{self, Secret};
use softhsm_test::{Core, Who, wait_for};
use storage::embedded::Embedded;
use uuid::Uuid;

/// Changes the rows of a stopped core without its leave.
fn tamper(core: &Core, id: RowId, with: impl Fn(Row) -> Change) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let store = Embedded::open(&core.store()).expect("the core is stopped");
        let row = store.retrieve(id).await.expect("it is sound").expect("it is there");
        store.commit(Batch { changes: vec![with(row)], ..Batch::default() }).await.expect("it can be written");
    });
}

fn warnings(core: &Core) -> Vec<String> {
    let mut status = serde_json::Value::Null;
    let is_swept = wait_for(|| {
        status = serde_json::from_str(&core.status()).expect("status is JSON");
        status["swept"].is_string()
    });
    assert!(is_swept, "the keystore was not swept: {status}");
    let all = status["warnings"].as_array().expect("a list").iter();
    all.filter_map(|warning| warning.as_str()).filter(|warning| warning.contains("is damaged")).map(str::to_owned).collect()
}

/// How many records of the log say that the sweep found this row.
fn records(core: &Core, id: RowId) -> usize {
    let needle = [&(Action::Sweep as u16).to_be_bytes()[..], &[1], &id.to_bytes()].concat();
    let logs = core.segments().into_iter().map(|segment| fs::read(segment).expect("it reads"));
    logs.map(|log| log.windows(needle.len()).filter(|window| *window == needle).count()).sum()
}

fn refusal(outcome: Result<Vec<u8>, KmipError>) -> ResultReason {
    match outcome {
        Err(KmipError::Kmip(kmip::Error::Refused { reason: Some(reason), .. })) => reason,
        other => panic!("{other:?}"),
    }
}

/// When a key was made, in milliseconds, as its identifier says (RFC 9562).
fn millis(secret: &Secret) -> u128 {
    secret.key.parse::<RowId>().expect("the core's own identifier").uuid.as_u128() >> 80
}

#[test]
fn rows_lost_or_given_away_while_a_core_was_down_are_told_to_operators_and_to_no_client() {
    let mut core = Core::prepared();
    core.start();
    assert_eq!(warnings(&core), [""; 0]);
    let mut admin = core.connect(Who::TenantAdmin);
    let mut service = core.connect(Who::Service);
    let mut secret = |name: &str| {
        let key = requests::create(&mut admin, name).expect("the core is well");
        requests::activate(&mut admin, &key).expect("the core is well");
        requests::encrypt(&mut service, &key, b"plain".to_vec()).expect("the core is well")
    };
    let lost = secret("lost");
    // Keys made at nearly the same time share a bucket, which cannot be compared when one of its rows is damaged.
    let given = (0..).map(|number| secret(&format!("given-away {number}"))).find(|given| millis(given) > millis(&lost) + 64);
    let secrets = [lost, given.expect("time goes on"), secret("sound")];
    drop((admin, service));
    core.stop();
    let sound = fs::read(core.store()).expect("it reads");
    let [lost, given, _] = secrets.each_ref().map(|secret| secret.key.parse::<RowId>().expect("the core's own identifier"));
    tamper(&core, lost, |row| Change::Delete { id: lost, expected: row.header.generation });
    tamper(&core, given, |mut row| {
        let expected = row.header.generation;
        (row.header.generation, row.header.owner.service) = (expected.next(), None);
        Change::Update { expected, row }
    });

    core.start();
    let told = warnings(&core);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.iter().any(|warning| warning.contains(&given.to_string()) && warning.contains("backup")), "{told:?}");
    assert!(told.iter().any(|warning| warning.contains("do not add up")), "{told:?}");
    let page = core.metrics();
    assert!(page.contains("\nstrongroom_sweep_findings 2.0\n"), "{page}");
    let mut service = core.connect(Who::Service);
    for secret in &secrets[..2] {
        assert_eq!(refusal(requests::decrypt(&mut service, secret)), ResultReason::ItemNotFound);
    }
    assert_eq!(requests::decrypt(&mut service, &secrets[2]).expect("it is sound"), b"plain");
    drop(service);
    let _sealed = core.cli(&["seal"]);
    let _unsealed = core.ask(&["unseal"]);
    assert_eq!(warnings(&core).len(), 2);
    core.stop();
    assert_eq!((records(&core, given), records(&core, lost)), (1, 0), "one record each, and of a lost row only its bucket is known");

    fs::write(core.store(), sound).expect("the folder is ours");
    core.start();
    assert_eq!(warnings(&core), [""; 0]);
    core.stop();
}

/// What is stored of the walk did not verify, and re-encryption was not gone on with for good, nor could anybody hold it.
#[test]
fn a_damaged_record_of_re_encryption_is_told_and_it_begins_anew() {
    let mut core = Core::prepared();
    core.start();
    let status = |core: &Core| -> serde_json::Value {
        serde_json::from_slice(&core.cli(&["--json", "reencrypt", "status"]).stdout).expect("status is JSON")
    };
    let left = |core: &Core| {
        let keys: serde_json::Value = serde_json::from_str(&core.ask(&["--json", "key", "list", "--layer", "L2"])).expect("a list in JSON");
        keys["keys"].as_array().expect("a list").iter().filter(|key| key["wrapped_by"]["version"] == 1).count()
    };
    assert!(wait_for(|| status(&core)["state"] == "done"), "{}", status(&core));
    assert!(core.metrics().contains("\nstrongroom_reencryption_records_damaged 0.0\n"));
    let _paused = core.ask(&["reencrypt", "pause"]);
    let _rotated = core.ask(&["ivk", "rotate"]);
    assert!(left(&core) > 0);
    core.stop();
    let record = RowId::new(Layer::Cluster, Uuid::from_u128(u128::from(u32::from_be_bytes(*b"walk"))));
    tamper(&core, record, |mut row| {
        let expected = row.header.generation;
        row.meta_mac[0] ^= 1;
        Change::Update { expected, row }
    });

    core.start();
    assert!(wait_for(|| left(&core) == 0 && status(&core)["state"] == "done"), "{}", status(&core));
    let said = core.status();
    assert!(said.contains(&format!("record {record} of re-encryption does not verify")) && said.contains("it is no more"), "{said}");
    assert!(core.metrics().contains("\nstrongroom_reencryption_records_damaged 1.0\n"));
    let _paused = core.ask(&["reencrypt", "pause"]);
    core.kill();
    core.start();
    assert!(wait_for(|| status(&core)["state"] == "paused"), "the pause outlasts a crash again: {}", status(&core));
    let _resumed = core.ask(&["reencrypt", "resume"]);
    assert!(wait_for(|| status(&core)["state"] == "done"), "{}", status(&core));
    core.stop();
}
