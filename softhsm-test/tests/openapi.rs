//! The admin interface held against its own document: schemathesis sends what the document allows and what it does not, to a real core, as an operator.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use softhsm_test::Core;
use softhsm_test::https::{connect_to, send};

/// Longest run, in seconds.
const SECONDS_MAX: &str = "40";
/// Cases of each operation that are drawn, besides those at the borders of each value.
const EXAMPLES: &str = "25";

/// What is not called, by its operationId, and why.
const EXCLUDED: [(&str, &str); 8] = [
    ("seal", "it would end the run"),
    ("unseal", "what is sent counts as a PIN, of which a token takes a few"),
    ("add_slot", "a new slot takes the token seconds"),
    ("remove_slot", "a slot that is removed is gone for the run"),
    ("verify_slot", "each is a login at the token"),
    ("give_shard", "wrong shards are slowed down on purpose"),
    ("start_ceremony", "without custodians it re-keys the MasterKey at once"),
    ("rotate_kek", "it would re-key the node, case by case"),
];
/// What is not asked of answers: which texts are names, ids or signatures the document says in words, and 400 is one of its answers.
const NOT_ASKED: &str = "positive_data_acceptance";

#[test]
fn the_admin_interface_does_what_its_document_says() {
    let python = std::env::var("STRONGROOM_TEST_PYTHON")
        .expect("STRONGROOM_TEST_PYTHON names a Python that has schemathesis: run the tests by `cargo xtask check`, which makes one");
    let mut core = Core::prepared();
    let config = fs::read_to_string(core.config()).expect("dev has written it");
    fs::write(core.config(), config + "\nadmin:\n  calls_per_second: 10000\n").expect("the file is ours");
    core.start();
    let document = served_document(&core);
    let seed = std::env::var("STRONGROOM_TEST_SEED").unwrap_or_else(|_| std::process::id().to_string());
    let mut command = Command::new(Path::new(&python).with_file_name("schemathesis"));
    command.arg("run").arg(&document).args(["--url", &core.value("ADMIN_CORE"), "--tls-verify", &core.value("CA_CERT")]);
    command.args(["--request-cert", &core.value("OPERATOR_CERT"), "--request-cert-key", &core.value("OPERATOR_KEY")]);
    command.args([
        "--checks",
        "all",
        "--exclude-checks",
        NOT_ASKED,
        "--phases",
        "examples,coverage,fuzzing",
        "--max-examples",
        EXAMPLES,
        "--max-time",
        SECONDS_MAX,
    ]);
    command.args(["--seed", &seed, "--no-shrink", "--suppress-health-check", "all", "--continue-on-failure", "--request-retries", "2"]);
    command.args(EXCLUDED.iter().flat_map(|(operation, _why)| ["--exclude-operation-id", operation]));
    // It keeps what it has seen in the folder that it runs in.
    let output = command.current_dir(core.dir()).output().expect("schemathesis starts");
    let said = String::from_utf8_lossy(&output.stdout);
    told(&said, &seed);
    assert!(output.status.success(), "STRONGROOM_TEST_SEED={seed} repeats it:\n{said}{}", String::from_utf8_lossy(&output.stderr));
    let _verified = core.ask(&["audit", "verify"]);
    assert_eq!(core.standing(), "unsealed: ");
}

/// The document, as the core serves it.
fn served_document(core: &Core) -> PathBuf {
    let mut stream = connect_to(&|name| core.value(name), "ADMIN_CORE", "OPERATOR");
    let served = send(&mut stream, "GET /api/v1/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n", b"").expect("an answer");
    let file = core.dir().join("openapi.json");
    fs::write(&file, served.text()).expect("the folder is ours");
    file
}

#[expect(clippy::print_stdout, reason = "how many cases there were, and of which seed, is part of the result")]
fn told(said: &str, seed: &str) {
    let sum = said.lines().skip_while(|line| !line.contains("SUMMARY")).collect::<Vec<_>>().join("\n");
    println!("seed {seed}; not called: {EXCLUDED:?}\n{sum}");
}
