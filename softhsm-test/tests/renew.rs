//! Keys below the IVK that get their next version without anybody's asking, on a real core.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use kmip::ttlv::DateTime;
use kmip::{AddAttributeRequest, Attribute, AttributeValue};
use serde_json::Value;
use softhsm_test::requests::{self, Secret};
use softhsm_test::{Core, Who, wait_for};

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
    with_section(&core, "ivk:\n  tenants: {rotate_every: 1s}\n  services: {rotate_at: '* * * * * *', replace_expired: true}");
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
    assert_eq!(ask(&core, &["reencrypt", "status"])["refused"], 0);
    let _verified = core.ask(&["audit", "verify"]);
    core.stop();
}
