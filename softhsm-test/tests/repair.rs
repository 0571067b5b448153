//! Keys whose stored blobs name another algorithm than the record of what wraps them, on a real core: refused, named, counted, and mended by command (IVK-25).

use std::sync::Arc;

use cipher::aead::Aead;
use keys::cluster;
use keys::id::RowId;
use keys::port::{Batch, Change, Keystore};
use keys::row::{Header, Row};
use serde_json::Value;
use softhsm_test::requests::{self, Secret};
use softhsm_test::soak::master_key;
use softhsm_test::{Core, Who, wait_for};
use storage::embedded::Embedded;

/// Changes a row of a stopped core as only its own keys can sign them.
fn plant(core: &Core, id: RowId, edit: impl FnOnce(&mut Row)) {
    let (cluster, master) = master_key(core);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let store: Arc<dyn Keystore> = Arc::new(Embedded::open(&core.store()).expect("the core is stopped"));
        let registry = cluster::load(&store, cluster, &master).await.expect("its roots open").registry;
        let mut row = store.retrieve(id).await.expect("it is sound").expect("it is there");
        let expected = row.header.generation;
        edit(&mut row);
        let header = Header { generation: expected.next(), ..row.header };
        let row = registry.seal_row(header, row.material, row.attributes, row.terms);
        store.commit(Batch { changes: vec![Change::Update { expected, row }], ..Batch::default() }).await.expect("it can be written");
    });
}

fn ask(core: &Core, arguments: &[&str]) -> Value {
    serde_json::from_str(&core.ask(&[&["--json"], arguments].concat())).expect("an answer in JSON")
}

/// It fails as long as keys are refused, and says how things are all the same.
fn status(core: &Core) -> Value {
    serde_json::from_slice(&core.cli(&["--json", "reencrypt", "status"]).stdout).expect("status is JSON")
}

fn walked(core: &Core) -> Value {
    let mut last = Value::Null;
    let is_done = wait_for(|| {
        last = status(core);
        last["state"] == "done"
    });
    assert!(is_done, "{last}");
    last
}

fn refusal(core: &Core, id: &str) -> String {
    let said = core.cli(&["key", "repair", id]);
    assert!(!said.status.success(), "{id} is not repaired");
    String::from_utf8_lossy(&said.stderr).into_owned()
}

fn identifier(text: &Value) -> (String, RowId) {
    let text = text.as_str().expect("an identifier").to_owned();
    let id = text.parse().expect("the core's own identifier");
    (text, id)
}

#[test]
fn a_key_under_a_record_of_another_algorithm_is_named_by_the_walk_and_mended_by_command() {
    let mut core = Core::prepared();
    core.start();
    let (mut admin, mut service) = (core.connect(Who::TenantAdmin), core.connect(Who::Service));
    let mut keys = vec![core.value("L3_ID")];
    for name in ["one", "two"] {
        let key = requests::create(&mut admin, name).expect("the core is well");
        requests::activate(&mut admin, &key).expect("the core is well");
        keys.push(key);
    }
    let secrets: Vec<Secret> =
        keys.iter().map(|key| requests::encrypt(&mut service, key, key.clone().into_bytes()).expect("it is Active")).collect();
    drop((admin, service));
    let (l2, l2_row) = identifier(&ask(&core, &["tenant", "show", "acme"])["key"]);
    let theirs = core.value("L3_ID2");
    core.stop();
    // The record of what wraps acme's keys says another algorithm than they are sealed by.
    plant(&core, l2_row, |row| row.header.aead = Aead::XChaCha20Poly1305);
    // Of globex' key the number alone is another.
    let (_, theirs_row) = identifier(&theirs.as_str().into());
    plant(&core, theirs_row, |row| row.material.as_mut().expect("it has some")[7] = Aead::Aes256GcmSiv as u8);

    core.start();
    let mut service = core.connect(Who::Service);
    assert!(secrets.iter().all(|secret| requests::decrypt(&mut service, secret).is_err()), "nobody can tell who is right");
    drop(service);
    let refused = refusal(&core, &theirs);
    assert!(refused.contains("does not verify") && refused.contains("restore it from a backup"), "{refused}");
    let admin = ["ADMIN_CORE", "CA_CERT", "TENANT_ADMIN_CERT", "TENANT_ADMIN_KEY"].map(|name| core.value(name));
    let rotate = ["--admin", &admin[0], "--admin-ca", &admin[1], "--admin-cert", &admin[2], "--admin-key", &admin[3], "key", "rotate", &l2];
    let next = ask(&core, &rotate)["id"].clone();

    let is_named = wait_for(|| status(&core)["refused"] == keys.len());
    let walk = walked(&core);
    assert!(is_named && walk["moved"] == 0, "{walk}");
    let told = walk["refusals"].to_string();
    assert!(keys.iter().all(|key| told.contains(key)) && told.contains("says AES-256-GCM, the record"), "{told}");
    let warnings = core.status();
    for key in &keys {
        assert!(warnings.contains(&format!("run `strongroom key repair {key}`")), "{warnings}");
        let would = ask(&core, &["key", "repair", key, "--dry-run"]);
        assert_eq!([&would["found"], &would["recorded"]], ["AES-256-GCM", "XChaCha20-Poly1305"]);
        assert_eq!((&would["repaired"], &would["wrapped_by"]["id"]), (&false.into(), &next));
    }
    let sound = refusal(&core, &l2);
    assert!(sound.contains("nothing to repair"), "its own blobs are under the IVK: {sound}");

    for key in &keys {
        let done = ask(&core, &["key", "repair", key]);
        assert_eq!((&done["repaired"], &done["wrapped_by"]["id"], &done["tenant"]), (&true.into(), &next, &"acme".into()));
        assert!(refusal(&core, key).contains("nothing to repair"), "once is enough");
    }
    assert!(wait_for(|| status(&core)["refused"] == 0), "{}", status(&core));
    assert_eq!(walked(&core)["refused"], 0);
    assert!(!core.status().contains("stays under an old version"));
    core.kill();
    core.start();
    let mut service = core.connect(Who::Service);
    for secret in &secrets {
        assert_eq!(requests::decrypt(&mut service, secret).expect("it is mended"), secret.plain);
    }
    drop(service);
    let _retired = ask(&core, &[&rotate[..9], &["retire", &l2]].concat());
    assert!(refusal(&core, &theirs).contains("restore it from a backup"), "what is forged stays refused");
    let _verified = core.ask(&["audit", "verify"]);
    core.stop();
}
