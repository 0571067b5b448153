//! Runs the main job from nothing and prints each step; started by `cargo xtask demo`, which builds the binaries first.
#![expect(clippy::print_stdout, reason = "prints its steps for people")]

use std::process::Output;
use std::time::Instant;

use softhsm_test::{Appliance, Who};

/// The node that clients of the demo speak to.
const EDGE: &str = "edge";

fn main() {
    let started = Instant::now();
    step("strongroom dev: a SoftHSM2 token, a CA, certificates; init seals the MasterKey; core and edge open themselves and serve");
    let appliance = Appliance::with_edges(1);
    for node in ["core", EDGE] {
        show(&run(&appliance, node, Who::Operator, &["status"]));
    }

    step("at the edge, a service makes a key and activates it; the key of that key is the core's");
    let created = run(
        &appliance,
        EDGE,
        Who::Service,
        &["kmip", "create", "--name", "invoices", "--algorithm", "aes", "--length", "256", "--mask", "encrypt,decrypt", "--activate"],
    );
    show(&created);
    let key = run(&appliance, EDGE, Who::Service, &["kmip", "locate", "--name", "invoices"]).trim().to_owned();
    assert_eq!(key, created.trim(), "Locate finds the key by name, and it alone");
    let at_core = run(&appliance, "core", Who::Service, &["kmip", "locate", "--name", "invoices"]);
    assert!(at_core.is_empty(), "the core keeps it too: {at_core}");

    step("the service encrypts with it (AES-GCM, the server chooses the IV) and decrypts");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (plain, sealed, opened) = (path("invoice"), path("invoice.enc"), path("invoice.dec"));
    std::fs::write(&plain, "one thousand four hundred and fifty").expect("the folder is ours");
    show(&run(&appliance, EDGE, Who::Service, &["kmip", "encrypt", &key, "--mode", "gcm", "--in", &plain, "--out", &sealed]));
    decrypt(&appliance, &key, &sealed, &opened, &plain);

    step("another tenant does not see the key");
    let refused = appliance.cli_at(EDGE, Who::OtherService, &["kmip", "decrypt", &key, "--in", &sealed, "--out", &opened]);
    assert!(!refused.status.success(), "a stranger was let in");
    show(&text(&refused.stderr));

    step("core and edge are killed with -9; they come back, open themselves, and the data decrypts");
    for node in ["core", EDGE] {
        appliance.kill_and_wait(node);
    }
    decrypt(&appliance, &key, &sealed, &opened, &plain);

    step("sealed, core and edge forget every key; unsealed, they serve again");
    for node in ["core", EDGE] {
        show(&run(&appliance, node, Who::Operator, &["seal"]));
    }
    let refused = appliance.cli_at(EDGE, Who::Service, &["kmip", "decrypt", &key, "--in", &sealed, "--out", &opened]);
    assert!(!refused.status.success(), "a sealed node decrypted");
    show(&text(&refused.stderr));
    for node in ["core", EDGE] {
        show(&run(&appliance, node, Who::Operator, &["unseal"]));
    }
    decrypt(&appliance, &key, &sealed, &opened, &plain);

    step("every operation is in the signed audit logs");
    for node in ["core", EDGE] {
        show(&run(&appliance, node, Who::Operator, &["audit", "verify"]));
    }
    drop(appliance.stop());
    println!("\ndemo: all steps done in {:.1} s", started.elapsed().as_secs_f64());
}

fn decrypt(appliance: &Appliance, key: &str, sealed: &str, opened: &str, plain: &str) {
    let _earlier = std::fs::remove_file(opened);
    show(&run(appliance, EDGE, Who::Service, &["kmip", "decrypt", key, "--in", sealed, "--out", opened]));
    let read = |path: &str| std::fs::read(path).expect("the file was written");
    assert_eq!(read(opened), read(plain), "what came back is what was encrypted");
    println!("   the plaintext is the same");
}

fn run(appliance: &Appliance, node: &str, who: Who, arguments: &[&str]) -> String {
    println!("   {node} $ strongroom {}", arguments.join(" "));
    let Output { status, stdout, stderr } = appliance.cli_at(node, who, arguments);
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
