//! Runs the main job from nothing and prints each step; started by `cargo xtask demo`, which builds the binaries first.
#![expect(clippy::print_stdout, reason = "prints its steps for people")]

use std::process::Output;
use std::time::Instant;

use softhsm_test::{Appliance, Who};

fn main() {
    let started = Instant::now();
    step("strongroom dev: a SoftHSM2 token, a CA, certificates; init seals the MasterKey; the core unseals itself and serves");
    let appliance = Appliance::start();
    show(&run(&appliance, Who::Operator, &["status"]));

    step("a tenant-admin makes a key and activates it");
    let created = run(
        &appliance,
        Who::TenantAdmin,
        &["kmip", "create", "--name", "invoices", "--algorithm", "aes", "--length", "256", "--mask", "encrypt,decrypt", "--activate"],
    );
    show(&created);
    let key = run(&appliance, Who::Service, &["kmip", "locate", "--name", "invoices"]).trim().to_owned();
    assert!(key.starts_with("L3-"), "Locate finds the key by name, and it alone: {key:?}");

    step("the service encrypts with it (AES-GCM, the server chooses the IV) and decrypts");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (plain, sealed, opened) = (path("invoice"), path("invoice.enc"), path("invoice.dec"));
    std::fs::write(&plain, "one thousand four hundred and fifty").expect("the folder is ours");
    show(&run(&appliance, Who::Service, &["kmip", "encrypt", &key, "--mode", "gcm", "--in", &plain, "--out", &sealed]));
    decrypt(&appliance, &key, &sealed, &opened, &plain);

    step("another tenant does not see the key");
    let refused = appliance.cli(Who::OtherService, &["kmip", "decrypt", &key, "--in", &sealed, "--out", &opened]);
    assert!(!refused.status.success(), "a stranger was let in");
    show(&text(&refused.stderr));

    step("the core is killed with -9; it comes back, unseals itself, and the data decrypts");
    let before = appliance.core_pid();
    appliance.kill_core();
    appliance.wait_for_restart(before);
    decrypt(&appliance, &key, &sealed, &opened, &plain);

    step("sealed, it forgets every key; unsealed, it serves again");
    show(&run(&appliance, Who::Operator, &["seal"]));
    let refused = appliance.cli(Who::Service, &["kmip", "decrypt", &key, "--in", &sealed, "--out", &opened]);
    assert!(!refused.status.success(), "a sealed node decrypted");
    show(&text(&refused.stderr));
    show(&run(&appliance, Who::Operator, &["unseal"]));
    decrypt(&appliance, &key, &sealed, &opened, &plain);

    step("every operation is in the signed audit log");
    show(&run(&appliance, Who::Operator, &["audit", "verify"]));
    drop(appliance.stop());
    println!("\ndemo: all steps done in {:.1} s", started.elapsed().as_secs_f64());
}

fn decrypt(appliance: &Appliance, key: &str, sealed: &str, opened: &str, plain: &str) {
    show(&run(appliance, Who::Service, &["kmip", "decrypt", key, "--in", sealed, "--out", opened]));
    let read = |path: &str| std::fs::read(path).expect("the file was written");
    assert_eq!(read(opened), read(plain), "what came back is what was encrypted");
    println!("   the plaintext is the same");
}

fn run(appliance: &Appliance, who: Who, arguments: &[&str]) -> String {
    println!("   $ strongroom {}", arguments.join(" "));
    let Output { status, stdout, stderr } = appliance.cli(who, arguments);
    assert!(status.success(), "exit {:?}: {}{}", status.code(), text(&stdout), text(&stderr));
    text(&stdout)
}

fn step(what: &str) {
    println!("\n== {what}");
}

fn show(output: &str) {
    for line in output.lines() {
        println!("   {line}");
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
