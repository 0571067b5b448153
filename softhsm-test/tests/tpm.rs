//! A core whose MasterKey a TPM seals: it opens by itself in the states of the platform that the release key's holder has approved, and in no other.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use nix::sys::signal::Signal;
use softhsm_test::{Appliance, Who, requests, signal, wait_for};

fn sealed_by_tpm() -> Appliance {
    Appliance::start_in(tempfile::tempdir().expect("a temporary folder"), &["--seal", "tpm", "--edges", "0"])
}

/// Runs the operator's command line against the core.
fn strongroom(appliance: &Appliance, arguments: &[&str]) -> Output {
    appliance.cli(Who::Operator, arguments)
}

fn done(appliance: &Appliance, arguments: &[&str]) -> String {
    let Output { status, stdout, stderr } = strongroom(appliance, arguments);
    assert!(status.success(), "strongroom {}: {}", arguments.join(" "), String::from_utf8_lossy(&stderr));
    String::from_utf8_lossy(&stdout).into_owned()
}

fn refused(appliance: &Appliance, arguments: &[&str]) -> String {
    let Output { status, stderr, .. } = strongroom(appliance, arguments);
    assert!(!status.success(), "strongroom {} was done", arguments.join(" "));
    String::from_utf8_lossy(&stderr).into_owned()
}

fn status(appliance: &Appliance) -> serde_json::Value {
    serde_json::from_slice(&strongroom(appliance, &["--json", "status"]).stdout).unwrap_or_default()
}

fn tpm2_tool(appliance: &Appliance, name: &str, arguments: &[&str]) {
    let run = Command::new(name).args(arguments).env("TPM2TOOLS_TCTI", appliance.value("TPM2TOOLS_TCTI")).output();
    let Output { status, stderr, .. } = run.unwrap_or_else(|error| panic!("cannot run {name} ({error}): apt-get install tpm2-tools"));
    assert!(status.success(), "{name}: {}", String::from_utf8_lossy(&stderr));
}

/// As an update of the firmware does to register 7.
fn update_platform(appliance: &Appliance) {
    tpm2_tool(appliance, "tpm2_pcrextend", &[&format!("7:sha256={}", "5a".repeat(32))]);
}

fn slot(appliance: &Appliance) -> (String, PathBuf) {
    let slots: serde_json::Value = serde_json::from_str(&done(appliance, &["--json", "slot", "list"])).expect("JSON");
    let id = slots[0]["id"].as_str().expect("there is one slot").to_owned();
    let file = appliance.dir().join(format!("core/slots/{id}.slot"));
    (id, file)
}

/// Kills the core and waits for the next one, which may be sealed: `dev.env` speaks of those that serve.
fn crash(appliance: &Appliance) {
    let before = status(appliance)["pid"].as_u64().expect("it runs");
    signal(u32::try_from(before).expect("process ids are small"), Signal::SIGKILL);
    assert!(wait_for(|| status(appliance)["pid"].as_u64().is_some_and(|now| now != before)), "the core is not restarted");
}

fn is_sealed(appliance: &Appliance) -> bool {
    status(appliance)["state"] == "sealed"
}

#[test]
fn a_tpm_opens_in_approved_states_only_and_a_new_state_needs_no_new_slot() {
    let appliance = sealed_by_tpm();
    let l3 = appliance.value("L3_ID");
    let secret = requests::encrypt(&mut appliance.connect(Who::Service), &l3, b"under a TPM".to_vec()).expect("the core is well");
    let (id, file) = slot(&appliance);
    let sealed_slot = fs::read(&file).expect("it is there");

    // The state in which it was made: killed, and back by itself.
    crash(&appliance);
    assert!(wait_for(|| status(&appliance)["state"] == "unsealed"));
    assert_eq!(requests::decrypt(&mut appliance.connect(Who::Service), &secret).expect("it opened by itself"), b"under a TPM");
    assert!(done(&appliance, &["slot", "verify"]).contains("opens"));

    // Another state: nothing opens, and what is missing is named.
    update_platform(&appliance);
    assert!(refused(&appliance, &["slot", "verify", &id]).contains("not approved"));
    crash(&appliance);
    assert!(wait_for(|| is_sealed(&appliance)));
    let told = refused(&appliance, &["unseal"]);
    assert!(told.contains("not approved") && told.contains("sha256:7 has digest") && told.contains("tpm-policy sign"), "{told}");

    // Approved by somebody else: refused, and nothing is kept.
    let path = |name: &str| appliance.dir().join(name).display().to_string();
    let (other, approval) = (path("other.approval"), path("new.approval"));
    done(&appliance, &["slot", "tpm-policy", "sign", "--key", &appliance.value("OPERATOR_KEY"), "--slot", &id, "--out", &other]);
    assert!(refused(&appliance, &["slot", "tpm-policy", "approve", &other]).contains("another release key"));
    let release_key = appliance.value("RELEASE_KEY");
    done(&appliance, &["slot", "tpm-policy", "sign", "--key", &release_key, "--slot", &id, "--policy-gen", "2", "--out", &other]);
    assert!(refused(&appliance, &["slot", "tpm-policy", "approve", &other]).contains("another policy"));
    let nobodys = "00000000-0000-4000-8000-000000000000";
    done(&appliance, &["slot", "tpm-policy", "sign", "--key", &release_key, "--slot", nobodys, "--out", &other]);
    assert!(refused(&appliance, &["slot", "tpm-policy", "approve", &other]).contains("there is no slot"));
    let mut altered = fs::read(&other).expect("it was signed");
    *altered.last_mut().expect("it is not empty") ^= 1;
    fs::write(&other, altered).expect("the folder is ours");
    assert!(refused(&appliance, &["slot", "tpm-policy", "approve", &other]).contains("altered"));
    assert_eq!(done(&appliance, &["slot", "tpm-policy", "list", &id]).lines().count(), 2, "a head and the first approval");
    assert!(refused(&appliance, &["unseal"]).contains("not approved"));

    // Approved by the release key, while the node is sealed.
    done(
        &appliance,
        &["slot", "tpm-policy", "sign", "--key", &release_key, "--slot", &id, "--note", "after the update", "--out", &approval],
    );
    assert!(done(&appliance, &["slot", "tpm-policy", "approve", &approval]).contains("after the update"));
    done(&appliance, &["unseal"]);
    assert_eq!(requests::decrypt(&mut appliance.connect(Who::Service), &secret).expect("it is open"), b"under a TPM");
    assert_eq!(fs::read(&file).expect("it is there"), sealed_slot, "the slot itself stays as it is");
    crash(&appliance);
    assert!(wait_for(|| status(&appliance)["state"] == "unsealed"), "{}", status(&appliance));
    assert!(done(&appliance, &["audit", "verify"]).contains("verifies"));
}

#[test]
fn a_core_whose_tpm_was_cleared_says_so() {
    let appliance = sealed_by_tpm();
    let (id, _) = slot(&appliance);
    tpm2_tool(&appliance, "tpm2_clear", &["-c", "platform"]);
    let told = refused(&appliance, &["slot", "verify", &id]);
    assert!(told.contains("another one than the slot was made on"), "{told}");
    let slots = done(&appliance, &["slot", "list"]);
    assert!(slots.contains(&id), "{slots}");
}
