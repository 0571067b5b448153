//! `strongroom doctor` on a host where all is well, and on ones where something is not.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;
use softhsm_test::Core;

/// What doctor finds at this time of day, with the credentials of the unit.
fn findings(core: &Core, time: &str) -> (Vec<Value>, Option<i32>) {
    let library = format!("/usr/lib/{}-linux-gnu/faketime/libfaketime.so.1", std::env::consts::ARCH);
    assert!(Path::new(&library).exists(), "{library} is not there: apt-get install faketime");
    let mut doctor = core.cli_command(&["doctor", "--json"]);
    doctor.env("LD_PRELOAD", library).env("FAKETIME", time).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let credentials = core.credential();
    let said = doctor.env("CREDENTIALS_DIRECTORY", credentials.parent().expect("a file is in a folder")).output().expect("it starts");
    (serde_json::from_slice(&said.stdout).expect("a list of findings"), said.status.code())
}

/// What is bad, each with what is said of it and what to do.
fn bad(findings: &[Value]) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let bad = findings.iter().filter(|finding| finding["verdict"] == "bad");
    bad.map(|finding| (text(&finding["check"]), format!("{} {}", text(&finding["detail"]), text(&finding["do"])))).collect()
}

/// This check fails with these words, and the exit code says that something does.
fn check(core: &Core, time: &str, name: &str, words: &str) {
    let (all, code) = findings(core, time);
    let bad = bad(&all);
    assert!(bad.iter().any(|(check, said)| check == name && said.contains(words)), "no {name} with {words:?} in {bad:?}");
    assert_eq!(code, Some(1), "{bad:?}");
}

#[test]
fn doctor_finds_nothing_bad_on_a_healthy_host_and_names_each_fault_of_a_broken_one() {
    let mut core = Core::prepared();
    core.start();
    let (all, code) = findings(&core, "+0");
    assert_eq!((bad(&all), code), (Vec::new(), Some(0)));
    let seen = |name: &str| all.iter().any(|finding| finding["check"] == name && finding["verdict"] == "good");
    for name in ["data folder", "cluster", "credential", "TLS", "server certificate", "state", "audit chain", "clock"] {
        assert!(seen(name), "{name} is not looked at: {all:?}");
    }
    assert!(all.iter().any(|finding| finding["check"] == "swap"), "swap is not looked at");

    check(&core, "+20y", "server certificate", "ended on");
    check(&core, "-20y", "clock", "timedatectl");

    let pin = core.write_pin("");
    check(&core, "+0", "credential", "is empty");
    fs::remove_file(core.credential()).expect("the folder is ours");
    check(&core, "+0", "credential", "LoadCredential=hsm-pin");
    core.write_credential("hsm-pin", &pin);
    fs::set_permissions(core.credential(), Permissions::from_mode(0o644)).expect("the file is ours");
    check(&core, "+0", "credential", "chmod 0400");
    fs::set_permissions(core.credential(), Permissions::from_mode(0o400)).expect("the file is ours");

    fs::set_permissions(core.data_dir(), Permissions::from_mode(0o755)).expect("the folder is ours");
    check(&core, "+0", "data folder", "chmod 0700");
    fs::set_permissions(core.data_dir(), Permissions::from_mode(0o700)).expect("the folder is ours");

    core.stop();
    check(&core, "+0", "node", "journalctl");
    fs::rename(core.data_dir().join("node.json"), core.dir().join("node.json")).expect("the folder is ours");
    check(&core, "+0", "cluster", "strongroom init");
}
