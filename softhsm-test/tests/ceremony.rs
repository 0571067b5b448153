//! Ceremonies of a real core whose cluster has custodians: two of three approve a change of the slots, or the end of an IVK version.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use softhsm_test::{Core, People, Who, requests, wait_for};

const NAMES: [&str; 3] = ["anna", "ben", "clara"];
/// So often a core dies while it destroys a version.
const KILLS: u64 = 8;

/// A core that was founded with three custodians, two of whom approve; people who keep shards are configured.
fn founded(people: &People) -> Core {
    let mut core = Core::prepared();
    let config = fs::read_to_string(core.config()).expect("dev has written it");
    fs::write(core.config(), config + &people.custodians(&NAMES, 2)).expect("the folder is ours");
    fs::remove_dir_all(core.data_dir()).expect("the folder is ours");
    let mut init = core.init_command();
    init.args(["--custodian", "softhsm", "--approvals", "2"]);
    for number in 1..=3 {
        init.args(["--roster", &spki(&key(&core, number))]);
    }
    assert!(init.status().expect("strongroom runs").success());
    core.start();
    core
}

/// The private key of one of `dev`'s custodians.
fn key(core: &Core, number: u8) -> String {
    core.value(&format!("CUSTODIAN{number}_KEY"))
}

/// SHA-256 of the public half, in hex.
fn spki(key: &str) -> String {
    let der = Command::new("openssl").args(["pkey", "-in", key, "-pubout", "-outform", "DER"]).output().expect("openssl is installed");
    assert!(der.status.success());
    cipher::mac::sha256(&[&der.stdout]).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn json(core: &Core, arguments: &[&str]) -> Value {
    serde_json::from_str(&core.ask(&[&["--json"], arguments].concat())).expect("JSON")
}

fn refused(core: &Core, arguments: &[&str]) -> String {
    let Output { status, stderr, .. } = core.cli(arguments);
    assert!(!status.success(), "strongroom {} was done", arguments.join(" "));
    String::from_utf8_lossy(&stderr).into_owned()
}

fn approve(core: &Core, number: u8) -> Value {
    json(core, &["ceremony", "approve", "--yes", "--key", &key(core, number)])
}

fn labels(core: &Core) -> Vec<String> {
    let slots = json(core, &["slot", "list"]);
    slots.as_array().expect("a list").iter().map(|slot| slot["label"].as_str().expect("a text").to_owned()).collect()
}

/// As a custodian over TLS.
fn as_custodian(core: &Core, arguments: &[&str]) -> Output {
    let [admin, ca, cert] = ["ADMIN_CORE", "CA_CERT", "CUSTODIAN1_CERT"].map(|name| core.value(name));
    let remote = ["--admin", &admin, "--admin-ca", &ca, "--admin-cert", &cert, "--admin-key", &key(core, 1)];
    core.cli(&[&remote, arguments].concat())
}

fn restart(core: &mut Core) {
    core.kill();
    core.start();
}

fn file(core: &Core) -> PathBuf {
    core.data_dir().join("ceremony.json")
}

/// A saved manifest says itself whose it is, so that the file is enough to check it; a changed one is refused by the exit code for that.
fn manifest_is_checked_without_the_node(core: &Core, id: &str, signed: &Value) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (saved, changed) = (dir.path().join("m.json"), dir.path().join("changed.json"));
    let path = |file: &std::path::Path| file.to_str().expect("a temporary folder's name is text").to_owned();
    let _shown = core.ask(&["ceremony", "manifest", id, "--out", &path(&saved)]);
    assert!(refused(core, &["ceremony", "manifest", id, "--out", &path(&saved)]).contains("not there yet"), "evidence was written over");
    let text = fs::read_to_string(&saved).expect("it was written");
    assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), *signed);
    // No node is named, and none is asked.
    let verify = |file: &std::path::Path, more: &[&str]| {
        let program = softhsm_test::binary("strongroom", "daemon");
        let output = Command::new(program).args(["report", "verify", &path(file)]).args(more).output().expect("it is there");
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let key = signed["public_key"].as_str().expect("it is signed");
    let (code, said) = verify(&saved, &["--key", key]);
    assert!(code == Some(0) && said.contains("the key given") && said.contains("slot-add") && said.contains("done"), "{said}");
    let (code, said) = verify(&saved, &["--key", &"00".repeat(32)]);
    assert!(code == Some(4) && said.contains("not with the one given"), "{said}");
    let (code, said) = verify(&saved, &["--html", &path(&changed)]);
    assert!(code == Some(2) && said.contains("reports on rotation only") && !changed.exists(), "{code:?} {said}");
    fs::write(&changed, text.replacen("done", "lost", 1)).expect("the folder is ours");
    let (code, said) = verify(&changed, &[]);
    assert!(code == Some(4) && said.contains("does not hold"), "{said}");
}

#[test]
fn two_of_three_custodians_have_a_slot_made_and_one_removed() {
    let people = People::new(&NAMES);
    let mut core = founded(&people);
    // Nobody changes the slots alone.
    assert!(refused(&core, &["slot", "add", "--custodian", "board"]).contains("ceremony start"));
    assert!(refused(&core, &["slot", "remove", "softhsm", "--yes"]).contains("ceremony start"));
    assert!(refused(&core, &["ceremony", "start", "slot-add", "--custodian", "nobody"]).contains("seal.custodians"));
    assert!(refused(&core, &["ceremony", "approve", "--yes", "--key", &key(&core, 1)]).contains("no ceremony is under way"));

    let started = json(&core, &["ceremony", "start", "slot-add", "--custodian", "board", "--label", "recovery"]);
    assert_eq!((started["state"].as_str(), started["wants"].as_u64()), (Some("collecting"), Some(2)), "{started}");
    assert!(started["seconds_left"].as_u64().is_some_and(|left| (890..=900).contains(&left)), "{started}");
    // Two race: the first is under way.
    assert!(refused(&core, &["ceremony", "start", "slot-remove", "softhsm"]).contains("(slot-add) is under way"));
    assert_eq!(approve(&core, 1)["approved"].as_array().map(Vec::len), Some(1));
    assert!(refused(&core, &["ceremony", "approve", "--yes", "--key", &key(&core, 1)]).contains("has voted already"));
    let stranger = core.value("OPERATOR_KEY");
    assert!(refused(&core, &["ceremony", "approve", "--yes", "--key", &stranger]).contains("not on the custodian roster"));
    assert_eq!(labels(&core), ["softhsm"]);

    // A crash between two approvals: the first still counts.
    restart(&mut core);
    let resumed = json(&core, &["ceremony", "status"]);
    assert_eq!((resumed[0]["id"].clone(), resumed[0]["approved"].as_array().map(Vec::len)), (started["id"].clone(), Some(1)), "{resumed}");
    let done = approve(&core, 3);
    assert_eq!((done["state"].as_str(), done["slot"]["by_hand"].as_bool()), (Some("done"), Some(true)), "{done}");
    assert_eq!(json(&core, &["ceremony", "status"]), serde_json::json!([]));
    assert!(!file(&core).exists());

    // The manifest is signed by the node's own key.
    let id = started["id"].as_str().expect("a text");
    let signed = json(&core, &["ceremony", "manifest", id]);
    let manifest: Value = serde_json::from_str(signed["manifest"].as_str().expect("a text")).expect("JSON");
    assert_eq!((manifest["outcome"].as_str(), manifest["votes"].as_array().map(Vec::len)), (Some("done"), Some(2)), "{manifest}");
    assert_eq!(manifest["slot"], done["slot"]["id"]);
    assert_eq!((&manifest["split"]["threshold"], &manifest["split"]["shards"][1]["keeper"]), (&2.into(), &"ben".into()), "{manifest}");
    let bytes = |name: &str| data_encoding::HEXLOWER.decode(signed[name].as_str().expect("hex").as_bytes()).expect("hex");
    let log = fs::read_to_string(core.data_dir().join("node.json")).expect("it is there");
    let log: uuid::Uuid = serde_json::from_str::<Value>(&log).expect("JSON")["log"].as_str().expect("a text").parse().expect("a UUID");
    let message = [b"strongroom-statement-v1\0", &log.into_bytes()[..], signed["manifest"].as_str().expect("a text").as_bytes()].concat();
    let (public, signature): ([u8; 32], [u8; 64]) =
        (bytes("public_key").try_into().expect("32 bytes"), bytes("signature").try_into().expect("64 bytes"));
    cipher::sign::verify(&public, &message, &signature).expect("the node has signed it");
    manifest_is_checked_without_the_node(&core, id, &signed);

    // What was approved may be proven without asking again, and removed only by asking.
    assert_eq!(people.give(&core, "recovery", &NAMES), "listed");
    assert_eq!(json(&core, &["slot", "shards", "recovery"])["is_pending"], false);
    let _started = core.ask(&["ceremony", "start", "slot-remove", "recovery"]);
    approve(&core, 2);
    assert_eq!(approve(&core, 1)["state"], "done");
    assert_eq!(labels(&core), ["softhsm"]);
    // One that cannot be done ends, and says why.
    let _started = core.ask(&["ceremony", "start", "slot-remove", "softhsm"]);
    approve(&core, 2);
    let failed = approve(&core, 3)["state"].as_str().expect("a text").to_owned();
    assert!(failed.starts_with("failed: ") && failed.contains("no other slot opens"), "{failed}");
    assert_eq!(labels(&core), ["softhsm"]);
    assert!(core.ask(&["audit", "verify"]).contains("verifies"));
}

#[test]
fn a_ceremony_is_cancelled_by_its_starter_or_by_as_many_as_approve() {
    let people = People::new(&NAMES);
    let mut core = founded(&people);
    let ask = ["ceremony", "start", "slot-add", "--custodian", "board"];
    let _started = core.ask(&ask);
    // Somebody else than who has started it.
    let stranger = as_custodian(&core, &["ceremony", "cancel"]);
    assert!(!stranger.status.success() && String::from_utf8_lossy(&stranger.stderr).contains("only who has started"));
    assert_eq!(json(&core, &["ceremony", "cancel"])["state"], "cancelled");
    assert!(refused(&core, &["ceremony", "cancel"]).contains("no ceremony is under way"));

    // A custodian asks over TLS; two of them call it off.
    assert!(as_custodian(&core, &ask).status.success());
    assert_eq!(json(&core, &["ceremony", "cancel", "--key", &key(&core, 2)])["state"], "collecting");
    assert_eq!(approve(&core, 1)["state"], "collecting");
    assert_eq!(json(&core, &["ceremony", "cancel", "--key", &key(&core, 3)])["state"], "cancelled");
    assert_eq!(labels(&core), ["softhsm"]);

    // While sealed it is asked and approved, but not done.
    let _sealed = core.ask(&["seal"]);
    let _started = core.ask(&ask);
    approve(&core, 1);
    assert!(refused(&core, &["ceremony", "approve", "--yes", "--key", &key(&core, 2)]).contains("the node is sealed"));
    let _opened = core.ask(&["unseal"]);
    assert_eq!(approve(&core, 2)["state"], "done");

    // Time is over, the clock has jumped back, or somebody has changed the question: none is believed after a restart.
    let started = |core: &Core| {
        let _started = core.ask(&["ceremony", "start", "slot-remove", "board"]);
        approve(core, 1);
        fs::read_to_string(file(core)).expect("it is under way")
    };
    let shifted = |text: &str, minutes: i64| {
        let mut value: Value = serde_json::from_str(text).expect("JSON");
        value["started_millis"] = (value["started_millis"].as_i64().expect("a number") + minutes * 60_000).into();
        value.to_string()
    };
    for turn in 0..3 {
        let text = started(&core);
        core.kill();
        let changed = match turn {
            0 => shifted(&text, -16),
            1 => shifted(&text, 60),
            _ => text.replace("\"board\"", "\"softhsm\""),
        };
        fs::write(file(&core), changed).expect("the folder is ours");
        core.start();
        assert_eq!(json(&core, &["ceremony", "status"]), serde_json::json!([]), "{text}");
        assert!(!file(&core).exists());
    }
    assert_eq!(labels(&core), ["softhsm", "board"]);
}

#[test]
fn the_master_key_is_replaced_once_all_have_read_their_new_shards_back() {
    let people = People::new(&NAMES);
    let mut core = founded(&people);
    let _started = core.ask(&["ceremony", "start", "slot-add", "--custodian", "board"]);
    approve(&core, 1);
    approve(&core, 2);
    assert_eq!(people.give(&core, "board", &NAMES), "listed");
    let slots = || {
        let files = fs::read_dir(core.data_dir().join("slots")).expect("readable").flatten().map(|file| file.path());
        files.filter(|file| file.extension().is_some_and(|extension| extension == "slot")).collect::<Vec<_>>()
    };
    let before = slots();
    assert_eq!(before.len(), 2);

    let _started = core.ask(&["ceremony", "start", "rekey"]);
    assert_eq!(approve(&core, 3)["state"], "collecting");
    let done = approve(&core, 1);
    assert_eq!(
        (done["state"].as_str(), &done["rekey"]["waiting"], &done["rekey"]["generation"]),
        (Some("done"), &serde_json::json!(["board"]), &1.into())
    );
    assert!(core.status().contains("a re-key of the MasterKey is prepared"), "{}", core.status());
    assert_eq!(people.give(&core, "board", &NAMES), "rekeyed");
    let after = slots();
    assert_eq!(after.len(), 2);
    assert!(after.iter().all(|slot| !before.contains(slot)), "{before:?} {after:?}");
    let generations: Vec<u64> =
        json(&core, &["slot", "list"]).as_array().expect("a list").iter().filter_map(|slot| slot["generation"].as_u64()).collect();
    assert_eq!(generations, [2, 2]);
    restart(&mut core);
    assert_eq!(core.standing(), "unsealed: ");
    assert!(core.ask(&["audit", "verify"]).contains("verifies"));

    // Given up before all have read theirs back, it leaves what was.
    let _started = core.ask(&["ceremony", "start", "rekey"]);
    approve(&core, 1);
    approve(&core, 2);
    let _started = core.ask(&["ceremony", "start", "rekey", "--abandon"]);
    approve(&core, 1);
    assert_eq!(approve(&core, 2)["rekey"]["removed"].as_array().map(Vec::len), Some(2));
    assert!(!core.status().contains("re-key"), "{}", core.status());
    restart(&mut core);
    assert_eq!(core.standing(), "unsealed: ");
}

#[test]
fn without_custodians_the_master_key_is_replaced_at_once_and_no_row_of_a_tenant_changes() {
    let mut core = Core::prepared();
    core.start();
    let l3 = core.value("L3_ID");
    let secret = requests::encrypt(&mut core.connect(Who::Service), &l3, b"before".to_vec()).expect("the core is open");
    let keys = core.ask(&["--json", "key", "list"]);
    let done = json(&core, &["ceremony", "start", "rekey"]);
    assert_eq!((done["state"].as_str(), &done["rekey"]["generation"]), (Some("done"), &2.into()), "{done}");
    assert_eq!(done["rekey"]["roots"], serde_json::json!({"integrity_keys": 1, "ivks": 1, "audit_keys": 1}));
    for _ in 0..2 {
        let plain = requests::decrypt(&mut core.connect(Who::Service), &secret).expect("the core is open");
        assert_eq!(plain, b"before");
        assert_eq!(core.ask(&["--json", "key", "list"]), keys);
        restart(&mut core);
    }
    assert!(refused(&core, &["ceremony", "start", "slot-add", "--custodian", "softhsm"]).contains("no custodian roster"));
}

/// The private key of somebody whom `dev` does not know.
fn new_key(core: &Core, name: &str) -> String {
    let file = core.dir().join(format!("{name}.pem")).display().to_string();
    let made = Command::new("openssl").args(["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", &file]).output();
    assert!(made.expect("openssl is installed").status.success());
    file
}

/// The arguments of a re-key with other custodians.
fn rekey_with<'a>(keys: &'a [String], approvals: &'a str) -> Vec<&'a str> {
    let each = keys.iter().flat_map(|key| ["--roster", key.as_str()]);
    ["ceremony", "start", "rekey"].into_iter().chain(each).chain(["--approvals", approvals]).collect()
}

fn approve_with(core: &Core, key: &str) -> Value {
    json(core, &["ceremony", "approve", "--yes", "--key", key])
}

fn not_counted(core: &Core, key: &str) -> String {
    refused(core, &["ceremony", "approve", "--yes", "--key", key])
}

#[test]
fn custodians_are_replaced_by_their_own_quorum_and_only_the_new_ones_count_afterwards() {
    let people = People::new(&NAMES);
    let mut core = founded(&people);
    let [one, two, three] = [1, 2, 3].map(|number| key(&core, number));
    let [fresh, other] = ["fresh", "other"].map(|name| new_key(&core, name));
    // One of the old ones stays.
    let roster = [&three, &fresh, &other].map(|key| spki(key));
    for (keys, approvals) in [(&roster[..], "0"), (&roster[..], "4"), (&[roster[0].clone(), roster[0].clone()][..], "1")] {
        assert!(
            refused(&core, &rekey_with(keys, approvals)).contains("custodian roster is not acceptable"),
            "{approvals} of {}",
            keys.len()
        );
    }
    assert!(refused(&core, &["ceremony", "start", "rekey", "--approvals", "1"]).contains("--roster"));

    // What is signed covers who is to come: a question with another name in it has no vote.
    let started = json(&core, &rekey_with(&roster, "2"));
    let mut ascending = roster.clone();
    ascending.sort();
    assert_eq!(started["asked"]["roster"], serde_json::json!({"approvals": 2, "custodians": ascending}));
    assert!(core.ask(&["ceremony", "status"]).contains(&roster[1]));
    approve_with(&core, &one);
    let text = fs::read_to_string(file(&core)).expect("it is under way");
    core.kill();
    fs::write(file(&core), text.replace(&roster[1], &"ab".repeat(32))).expect("the folder is ours");
    core.start();
    assert_eq!(json(&core, &["ceremony", "status"]), serde_json::json!([]));

    let _started = core.ask(&rekey_with(&roster, "2"));
    approve_with(&core, &one);
    assert!(not_counted(&core, &fresh).contains("not on the custodian roster"), "before the switch");
    let done = approve_with(&core, &two);
    assert_eq!(
        (done["state"].as_str(), &done["rekey"]["generation"], &done["rekey"]["roster"]["approvals"]),
        (Some("done"), &2.into(), &2.into())
    );
    restart(&mut core);
    assert_eq!(core.standing(), "unsealed: ");

    // A slot of people: the next re-key waits for them, and until then those of before are asked.
    let _started = core.ask(&["ceremony", "start", "slot-add", "--custodian", "board"]);
    for old in [&one, &two] {
        assert!(not_counted(&core, old).contains("not on the custodian roster"), "after the switch");
    }
    approve_with(&core, &fresh);
    assert_eq!(approve_with(&core, &three)["state"], "done");
    assert_eq!(people.give(&core, "board", &NAMES), "listed");
    let _started = core.ask(&rekey_with(&[&one, &two].map(|key| spki(key)), "2"));
    approve_with(&core, &fresh);
    assert_eq!(approve_with(&core, &other)["rekey"]["waiting"], serde_json::json!(["board"]));
    restart(&mut core);
    let _started = core.ask(&["ceremony", "start", "slot-remove", "board"]);
    assert!(not_counted(&core, &one).contains("not on the custodian roster"));
    approve_with(&core, &fresh);
    assert_eq!(people.give(&core, "board", &NAMES), "rekeyed");
    // What they were asked before the switch and approve after it is not done.
    let late = approve_with(&core, &other)["state"].as_str().expect("a text").to_owned();
    assert!(late.starts_with("failed: ") && late.contains("another roster"), "{late}");
    assert_eq!(labels(&core), ["softhsm", "board"]);
    let _started = core.ask(&["ceremony", "start", "slot-remove", "board"]);
    assert!(not_counted(&core, &fresh).contains("not on the custodian roster"));
    approve_with(&core, &one);
    assert_eq!(approve_with(&core, &two)["state"], "done");
    assert!(!core.status().contains("custodians:"), "{}", core.status());
    let log = core.ask(&["audit", "verify"]);
    assert!(log.contains("verifies"), "{log}");
}

#[test]
fn while_one_person_is_enough_it_is_warned_of() {
    let mut core = Core::prepared();
    core.start();
    let warned = |core: &Core, words: &str| {
        let told = core.cli(&["doctor"]).stdout;
        core.status().contains(words) && String::from_utf8_lossy(&told).contains(words)
    };
    assert!(warned(&core, "custodians: none, so one operator alone"), "{}", core.status());
    // The first roster comes by the operator's word, there being nobody else.
    let first = [spki(&key(&core, 1))];
    let done = core.ask(&rekey_with(&first, "1"));
    assert!(done.contains("warning") && done.contains("custodians: 1, and any one of them alone"), "{done}");
    assert!(warned(&core, "custodians: 1, and any one of them alone"), "{}", core.status());
    let all = [1, 2, 3].map(|number| spki(&key(&core, number)));
    let started = core.ask(&rekey_with(&all, "2"));
    assert!(started.contains(&all[2]) && !started.contains("warning"), "{started}");
    assert_eq!(approve(&core, 1)["rekey"]["generation"], 3);
    assert!(!warned(&core, "custodians:"), "{}", core.status());
    core.stop();
    // While nothing runs, the slots themselves say it.
    assert!(!String::from_utf8_lossy(&core.cli(&["doctor"]).stdout).contains("custodians:"));

    fs::remove_dir_all(core.data_dir()).expect("the folder is ours");
    let mut init = core.init_command();
    let said = init.args(["--approvals", "1", "--roster", &all[0]]).stderr(Stdio::piped()).output().expect("strongroom runs");
    assert!(said.status.success() && String::from_utf8_lossy(&said.stderr).contains("warning: custodians: 1, and any one"));
    assert!(String::from_utf8_lossy(&core.cli(&["doctor"]).stdout).contains("custodians: 1, and any one"));
}

/// A core with custodians, a tenant and a service, and what was encrypted under the service's default key.
fn with_tenant(people: &People) -> (Core, requests::Secret) {
    let core = founded(people);
    let _made = core.ask(&["tenant", "create", "acme"]);
    let service = json(&core, &["service", "create", "acme", "billing"]);
    let l3 = service["default_key"].as_str().expect("an identifier");
    let secret = requests::encrypt(&mut core.connect(Who::Service), l3, b"before".to_vec()).expect("the core is open");
    (core, secret)
}

fn must_decrypt(core: &Core, secret: &requests::Secret) {
    assert_eq!(requests::decrypt(&mut core.connect(Who::Service), secret).expect("the core is open"), b"before");
}

/// What `ivk status` says of a version.
fn ivk(core: &Core, version: u64) -> Value {
    let all = json(core, &["ivk", "status"]);
    all.as_array().expect("a list").iter().find(|ivk| ivk["version"] == version).cloned().expect("it is there")
}

fn state(core: &Core, version: u64) -> String {
    ivk(core, version)["status"].as_str().expect("a text").to_owned()
}

#[test]
fn two_of_three_custodians_destroy_an_ivk_version_and_everything_opens_without_it() {
    let people = People::new(&NAMES);
    let (mut core, secret) = with_tenant(&people);
    let destroy = ["ivk", "destroy", "1", "--yes"];
    assert!(refused(&core, &["ivk", "destroy", "1"]).contains("give --yes"));
    assert!(refused(&core, &destroy).contains("IVK version 1 is the Active one"));
    assert!(refused(&core, &["ivk", "destroy", "9", "--yes"]).contains("there is no IVK version 9"));

    // The tenant's first key is replaced, archived and destroyed; of its old bytes version 1 is what opens them.
    let [admin, ca, cert, key] = ["ADMIN_CORE", "CA_CERT", "TENANT_ADMIN_CERT", "TENANT_ADMIN_KEY"].map(|name| core.value(name));
    let remote = ["--json", "--admin", &admin, "--admin-ca", &ca, "--admin-cert", &cert, "--admin-key", &key];
    let as_admin = |core: &Core, arguments: &[&str]| core.cli(&[&remote, arguments].concat());
    let l2 = json(&core, &["tenant", "show", "acme"])["key"].as_str().expect("it has one").to_owned();
    assert!(String::from_utf8_lossy(&as_admin(&core, &["key", "retire", &l2]).stderr).contains("a Deprecated version"));
    assert!(refused(&core, &["key", "retire", &l2]).contains("tenant-admin"));
    let _held = core.ask(&["reencrypt", "pause"]);
    assert!(as_admin(&core, &["key", "rotate", &l2]).status.success());
    assert!(String::from_utf8_lossy(&as_admin(&core, &["key", "retire", &l2]).stderr).contains("1 keys lie under it"));
    assert!(requests::destroy(&mut core.connect(Who::TenantAdmin), &l2).is_err(), "only what is archived");
    let _walks = core.ask(&["reencrypt", "resume"]);
    assert!(wait_for(|| as_admin(&core, &["key", "retire", &l2]).status.success()), "its keys have come under the next one");
    assert_eq!(json(&core, &["key", "show", &l2])["state"], "retired");
    assert_eq!(requests::look(&mut core.connect(Who::TenantAdmin), &l2).expect("it is looked at").state, kmip::State::Deactivated);
    requests::destroy(&mut core.connect(Who::TenantAdmin), &l2).expect("it is archived");
    must_decrypt(&core, &secret);

    let _held = core.ask(&["reencrypt", "pause"]);
    let _rotated = core.ask(&["ivk", "rotate"]);
    let in_use = refused(&core, &destroy);
    assert!(in_use.contains("2 keys lie under version 1"), "the new L2, and what is left of the old one: {in_use}");
    let _walks = core.ask(&["reencrypt", "resume"]);
    assert!(wait_for(|| ivk(&core, 1)["can_retire"] == true), "{}", ivk(&core, 1));
    assert_eq!((&ivk(&core, 1)["keys"], &ivk(&core, 1)["can_destroy"]), (&0.into(), &true.into()));
    assert_eq!((&ivk(&core, 2)["keys"], &ivk(&core, 2)["can_destroy"]), (&2.into(), &false.into()));
    assert!(core.ask(&["ivk", "status"]).contains("archive it by `strongroom ivk retire 1`"));
    let _retired = core.ask(&["ivk", "retire", "1"]);

    // What is asked says what is to be destroyed.
    let started = json(&core, &destroy);
    let asked = &started["asked"];
    assert_eq!((&started["state"], &asked["version"], &asked["found"]["status"]), (&"collecting".into(), &1.into(), &"retired".into()));
    assert_eq!((&asked["found"]["keys"], &asked["found"]["shreds"]), (&0.into(), &1.into()), "{started}");
    assert!(core.ask(&["ceremony", "status"]).contains("destroy IVK version 1 for ever"));
    assert!(refused(&core, &destroy).contains("(ivk-destroy) is under way"));

    // One vote does nothing, also over a restart.
    assert_eq!(approve(&core, 1)["state"], "collecting");
    assert!(refused(&core, &["ceremony", "approve", "--yes", "--key", &key]).contains("not on the custodian roster"));
    restart(&mut core);
    assert_eq!((state(&core, 1).as_str(), json(&core, &["ceremony", "status"])[0]["id"].clone()), ("retired", started["id"].clone()));
    assert_eq!(approve(&core, 3)["state"], "done");
    let id = started["id"].as_str().expect("a text");
    let manifest = json(&core, &["ceremony", "manifest", id])["manifest"].as_str().expect("a text").to_owned();
    assert!(manifest.contains("\"shreds\": 1") && manifest.contains("\"outcome\": \"done\""), "{manifest}");

    for _ in 0..2 {
        let gone = ivk(&core, 1);
        assert_eq!(
            (&gone["status"], gone["destroyed"].is_string(), &gone["can_destroy"]),
            (&"destroyed".into(), true, &false.into()),
            "{gone}"
        );
        assert!(refused(&core, &destroy).contains("IVK version 1 is destroyed already, since 2"));
        assert!(refused(&core, &["ivk", "retire", "1"]).contains("Destroyed"));
        must_decrypt(&core, &secret);
        restart(&mut core);
    }
    // The number is not used again, and a version whose key is compromised ends the same way.
    assert_eq!(json(&core, &["ivk", "rotate", "--compromised"])["version"], 3);
    assert!(wait_for(|| ivk(&core, 2)["can_destroy"] == true), "{}", ivk(&core, 2));
    let _started = core.ask(&["ivk", "destroy", "2", "--yes"]);
    approve(&core, 2);
    assert_eq!(approve(&core, 3)["state"], "done");
    assert_eq!([1, 2, 3].map(|version| state(&core, version)), ["destroyed", "destroyed-compromised", "active"]);
    restart(&mut core);
    must_decrypt(&core, &secret);
    assert!(core.ask(&["audit", "verify"]).contains("verifies"));
    let log = core.ask(&["--json", "key", "list"]);
    assert!(log.contains("\"refused\":[]") || log.contains("\"refused\": []"), "{log}");
}

/// The approval is on disk, and the core dies before, while or after it does what was approved.
#[test]
fn a_core_killed_while_it_destroys_a_version_has_the_old_state_or_the_new_one() {
    let people = People::new(&NAMES);
    let (mut core, secret) = with_tenant(&people);
    for (round, version) in (1..=KILLS).enumerate() {
        let _rotated = core.ask(&["ivk", "rotate"]);
        assert!(wait_for(|| ivk(&core, version)["can_destroy"] == true), "{}", ivk(&core, version));
        let number = version.to_string();
        let _started = core.ask(&["ivk", "destroy", &number, "--yes"]);
        approve(&core, 1);
        let voter = key(&core, 2);
        let mut vote = core.cli_command(&["ceremony", "approve", "--yes", "--key", &voter]);
        let mut vote = vote.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary is there");
        let votes = || fs::read_to_string(file(&core)).map_or(2, |text| text.matches("\"signature\"").count());
        let began = Instant::now();
        // The vote is there: at once, and a little later each time.
        while votes() < 2 || began.elapsed() < Duration::from_millis(5) * u32::try_from(round).expect("small") {
            std::thread::yield_now();
        }
        core.kill();
        let _ended = vote.wait().expect("it is our child");
        core.start();
        assert_eq!(core.standing(), "unsealed: ");
        let is = state(&core, version);
        assert!(is == "deprecated" || is == "destroyed", "{is}");
        assert_eq!(json(&core, &["ceremony", "status"]), serde_json::json!([]), "it is not tried again");
        must_decrypt(&core, &secret);
        if is == "deprecated" {
            assert!(wait_for(|| ivk(&core, version)["can_destroy"] == true), "{}", ivk(&core, version));
            let _started = core.ask(&["ivk", "destroy", &number, "--yes"]);
            approve(&core, 3);
            assert_eq!(approve(&core, 1)["state"], "done");
        }
        assert_eq!((state(&core, version).as_str(), state(&core, version + 1).as_str()), ("destroyed", "active"));
    }
    assert!(core.ask(&["audit", "verify"]).contains("verifies"));
    must_decrypt(&core, &secret);
}

#[test]
fn without_custodians_an_operator_alone_destroys_a_version_and_is_warned() {
    let mut core = Core::prepared();
    core.start();
    let _rotated = core.ask(&["ivk", "rotate"]);
    assert!(wait_for(|| ivk(&core, 1)["can_destroy"] == true), "{}", ivk(&core, 1));
    // Custodians' certificates are nobody's word where there is no roster.
    let stranger = as_custodian(&core, &["ivk", "destroy", "1", "--yes"]);
    assert!(!stranger.status.success() && String::from_utf8_lossy(&stranger.stderr).contains("operator"));
    let done = core.ask(&["ivk", "destroy", "1", "--yes"]);
    assert!(done.contains("one operator alone") && done.contains("done"), "{done}");
    assert_eq!(state(&core, 1), "destroyed");
    restart(&mut core);
    let l3 = core.value("L3_ID");
    requests::encrypt(&mut core.connect(Who::Service), &l3, b"after".to_vec()).expect("the core is open");
    assert!(core.ask(&["audit", "verify"]).contains("verifies"));
}
