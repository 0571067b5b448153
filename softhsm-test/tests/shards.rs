//! A core whose slot lies in shards on three tokens: it opens by itself while two are there.

use std::fs;
use std::process::Command;

use nix::sys::signal::Signal;
use softhsm_test::{Appliance, Who, requests, signal, wait_for};

/// Destroys one of the tokens of `dev`.
fn destroy(appliance: &Appliance, token: &str) {
    let conf = appliance.dir().join("softhsm/softhsm2.conf");
    let run = Command::new("softhsm2-util").args(["--delete-token", "--token", token]).env("SOFTHSM2_CONF", conf).output();
    let run = run.unwrap_or_else(|error| panic!("cannot run softhsm2-util ({error}): apt-get install softhsm2"));
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
}

fn status(appliance: &Appliance) -> serde_json::Value {
    serde_json::from_slice(&appliance.cli(Who::Operator, &["--json", "status"]).stdout).unwrap_or_default()
}

/// Kills the core and waits for the next one to come to rest.
fn crash(appliance: &Appliance) -> serde_json::Value {
    let before = status(appliance)["pid"].as_u64().expect("it runs");
    signal(u32::try_from(before).expect("process ids are small"), Signal::SIGKILL);
    let has_settled = |now: &serde_json::Value| {
        now["pid"].as_u64().is_some_and(|now| now != before) && now["reason"].as_str() != Some("not unsealed since start")
    };
    assert!(wait_for(|| has_settled(&status(appliance))), "the core is not restarted");
    status(appliance)
}

#[test]
fn a_core_opens_by_two_of_three_tokens_and_says_which_are_missing() {
    let appliance = Appliance::start_in(tempfile::tempdir().expect("a temporary folder"), &["--seal", "shamir", "--edges", "0"]);
    let l3 = appliance.value("L3_ID");
    let secret = requests::encrypt(&mut appliance.connect(Who::Service), &l3, b"in shards".to_vec()).expect("the core is well");
    assert!(!status(&appliance)["warnings"].to_string().contains("independent"), "{}", status(&appliance));

    // So that the test need not wait for an hour.
    let config = appliance.dir().join("core.yaml");
    let text = fs::read_to_string(&config).expect("dev has written it");
    fs::write(&config, text.replace("seal:\n", "seal:\n  probe_interval: \"1s\"\n")).expect("the folder is ours");

    destroy(&appliance, "strongroom-dev-2");
    assert_eq!(crash(&appliance)["state"], "unsealed");
    assert_eq!(requests::decrypt(&mut appliance.connect(Who::Service), &secret).expect("two tokens are left"), b"in shards");
    let named = || status(&appliance)["warnings"].to_string();
    assert!(wait_for(|| named().contains("the shard of `softhsm-2` does not open")), "{}", named());

    destroy(&appliance, "strongroom-dev-3");
    let sealed = crash(&appliance);
    assert_eq!(sealed["state"], "sealed");
    let reason = sealed["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("1 of the 2 shards") && reason.contains("softhsm-2") && reason.contains("softhsm-3"), "{reason}");
    let refused = appliance.cli(Who::Operator, &["unseal"]);
    assert!(!refused.status.success(), "one shard opens");
}
