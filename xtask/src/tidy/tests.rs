//! Plants one violation at a time in a small tidy workspace, and its innocent look-alikes.

use std::fs;

use tempfile::TempDir;

use super::*;

/// A tidy workspace of a few crates in a folder of its own.
struct Tree(TempDir);

impl Tree {
    fn new() -> Self {
        let tree = Self(tempfile::tempdir().expect("a temporary folder can be made"));
        let members = ["secret", "cipher", "keys", "hsm", "hsm/helper", "seal", "kmip", "daemon", "xtask"];
        tree.write("Cargo.toml", &format!("[workspace]\nmembers = {members:?}\n"));
        for member in members {
            tree.write(&format!("{member}/Cargo.toml"), &manifest(member, ""));
            tree.write(&format!("{member}/src/lib.rs"), "//! A crate.\n");
        }
        tree
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("the folder can be made");
        fs::write(path, text).expect("the file can be written");
    }

    fn examine(&self) -> Findings {
        examine(&Workspace::load(self.0.path()).expect("the manifests can be read")).expect("the sources can be read")
    }
}

fn manifest(member: &str, rest: &str) -> String {
    let name = member.replace('/', "-");
    format!("[package]\nname = \"{name}\"\n[lints]\nworkspace = true\n{rest}")
}

/// Writes one file into the tidy workspace and compares the places and rules that are reported.
fn check(path: &str, text: &str, expected: &[&str]) {
    let tree = Tree::new();
    tree.write(path, text);
    let found: Vec<_> = tree.examine().violations.iter().map(|v| format!("{}:{}: {}", v.file.display(), v.line, v.rule)).collect();
    assert_eq!(found, expected, "{path}:\n{text}");
}

/// Checks a manifest with these lines after the `[lints]` table, which ends in line 4.
fn check_manifest(member: &str, rest: &str, expected: &[&str]) {
    check(&format!("{member}/Cargo.toml"), &manifest(member, rest), expected);
}

#[test]
fn an_arrow_against_the_layers_is_refused() {
    check_manifest("keys", "[dependencies]\nsecret.workspace = true\nkmip.workspace = true\n", &["keys/Cargo.toml:7: layers"]);
    check_manifest("kmip", "[dependencies]\nseal.workspace = true\n", &["kmip/Cargo.toml:6: layers"]);
    check_manifest("hsm", "[dependencies]\nhsm-helper.workspace = true\n", &["hsm/Cargo.toml:6: layers"]);
    check_manifest("secret", "[dependencies]\ncipher.workspace = true\n", &["secret/Cargo.toml:6: layers"]);
}

#[test]
fn an_arrow_against_the_layers_is_refused_for_tests_builds_and_single_targets_too() {
    check_manifest("cipher", "[dev-dependencies]\nkeys.workspace = true\n", &["cipher/Cargo.toml:6: layers"]);
    check_manifest("cipher", "[build-dependencies]\nkeys.workspace = true\n", &["cipher/Cargo.toml:6: layers"]);
    check_manifest("cipher", "[target.'cfg(unix)'.dependencies]\nkeys = { workspace = true }\n", &["cipher/Cargo.toml:6: layers"]);
}

#[test]
fn arrows_along_the_layers_are_free() {
    check_manifest("keys", "[dependencies]\ncipher.workspace = true\nsecret = { workspace = true }\n", &[]);
    check_manifest("seal", "[dependencies]\nhsm.workspace = true\nkeys.workspace = true\n", &[]);
    check_manifest("daemon", "[dependencies]\nkmip.workspace = true\nseal.workspace = true\ntokio.workspace = true\n", &[]);
}

#[test]
fn foreign_crates_stay_with_their_owners() {
    check_manifest("seal", "[dependencies]\ncryptoki.workspace = true\n", &["seal/Cargo.toml:6: layers"]);
    check_manifest("daemon", "[dev-dependencies]\ntss-esapi.workspace = true\n", &["daemon/Cargo.toml:6: layers"]);
    check_manifest("kmip", "[dev-dependencies]\ntokio-rustls.workspace = true\n", &["kmip/Cargo.toml:6: layers"]);
    check_manifest("keys", "[dependencies]\nanyhow.workspace = true\n", &["keys/Cargo.toml:6: layers"]);
    check_manifest("hsm/helper", "[dependencies]\ncryptoki.workspace = true\n", &[]);
}

#[test]
fn a_quiet_crate_has_no_clock_randomness_or_log_but_its_tests_may() {
    check_manifest("cipher", "[dependencies]\ngetrandom.workspace = true\n", &["cipher/Cargo.toml:6: quiet"]);
    check_manifest("kmip", "[dependencies]\ntracing.workspace = true\n", &["kmip/Cargo.toml:6: quiet"]);
    check_manifest("cipher", "[dev-dependencies]\ngetrandom.workspace = true\n", &[]);
    check_manifest("daemon", "[dependencies]\ntracing.workspace = true\n", &[]);
}

#[test]
fn a_version_of_its_own_is_refused() {
    check_manifest("keys", "[dependencies]\nserde = \"1\"\n", &["keys/Cargo.toml:6: dependencies"]);
    check_manifest("keys", "[dev-dependencies]\nsecret = { path = \"../secret\" }\n", &["keys/Cargo.toml:6: dependencies"]);
    check_manifest("keys", "[dependencies]\nserde = { workspace = true, features = [\"derive\"] }\n", &[]);
}

#[test]
fn a_crate_without_the_shared_lints_is_refused() {
    check("keys/Cargo.toml", "[package]\nname = \"keys\"\n", &["keys/Cargo.toml:1: lints"]);
    check("keys/Cargo.toml", "[package]\nname = \"keys\"\n[lints.clippy]\nall = \"allow\"\n", &["keys/Cargo.toml:1: lints"]);
}

#[test]
fn a_crate_without_a_place_in_the_layers_is_refused() {
    check("keys/Cargo.toml", &manifest("helpers", ""), &["keys/Cargo.toml:1: layers"]);
}

#[test]
fn unsafe_code_stays_in_its_two_crates() {
    let text = "//! A file.\nfn f() {\n    unsafe { g() }\n}\n";
    check("daemon/src/f.rs", text, &["daemon/src/f.rs:3: unsafe"]);
    check("hsm/src/f.rs", text, &["hsm/src/f.rs:3: unsafe"]);
    check("keys/tests/f.rs", "//! A file.\n#[unsafe(no_mangle)]\nfn f() {}\n", &["keys/tests/f.rs:2: unsafe"]);
    check("secret/src/f.rs", text, &[]);
    check("hsm/helper/src/f.rs", text, &[]);
}

#[test]
fn architecture_can_name_one_file_for_unsafe_code() {
    let tree = Tree::new();
    tree.write("daemon/src/limits.rs", "//! A file.\nfn f() { unsafe { g() } }\n");
    tree.write("daemon/src/other.rs", "//! A file.\nfn f() { unsafe { g() } }\n");
    tree.write("ARCHITECTURE.md", "There is unsafe code in `daemon/src/limits.rs`, since.\nSee `daemon/src/other.rs`.\n");
    let found: Vec<_> = tree.examine().violations.iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("daemon/src/other.rs:2: unsafe: "), "{found:?}");
}

#[test]
fn words_in_comments_texts_and_longer_names_are_no_code() {
    check("daemon/src/f.rs", "//! An unsafe file.\n#![forbid(unsafe_code)]\nconst F: &str = \"unsafe anyhow\"; // unsafe tokio\n", &[]);
}

#[test]
fn tokio_in_seal_stays_with_the_external_custodians() {
    let text = "//! A file.\nuse tokio::net::TcpStream;\n";
    check("seal/src/slot.rs", text, &["seal/src/slot.rs:2: layers"]);
    check("seal/src/kms/aws.rs", text, &[]);
    check("seal/src/kms.rs", text, &[]);
    check("daemon/src/f.rs", text, &[]);
}

#[test]
fn anyhow_stays_in_main_files() {
    let text = "//! A file.\nfn main() -> anyhow::Result<()> { Ok(()) }\n";
    check("daemon/src/config.rs", text, &["daemon/src/config.rs:2: errors"]);
    check("daemon/src/bin/strongroom/key.rs", text, &["daemon/src/bin/strongroom/key.rs:2: errors"]);
    check("daemon/src/role/main.rs", text, &["daemon/src/role/main.rs:2: errors"]);
    for main in
        ["daemon/src/main.rs", "daemon/src/bin/soak.rs", "daemon/src/bin/strongroom/main.rs", "xtask/src/check.rs", "benches/src/load.rs"]
    {
        check(main, text, &[]);
    }
}

/// Checks one line, the second, of a file in a quiet crate.
fn check_quiet(line: &str, is_refused: bool) {
    let expected: &[&str] = if is_refused { &["keys/src/f.rs:2: quiet"] } else { &[] };
    check("keys/src/f.rs", &format!("//! A file.\n{line}\n"), expected);
}

#[test]
fn a_quiet_crate_does_not_reach_the_world() {
    check_quiet("use std::net::TcpStream;", true);
    check_quiet("fn f() { let _ = std::env::var(\"HOME\"); }", true);
    check_quiet("use std::{fmt, collections::{BTreeMap, HashMap}, process::Command};", true);
    check_quiet("use ::std::fs::File;", true);
    check_quiet("fn f() { std::thread::spawn(g); }", true);
}

#[test]
fn a_quiet_crate_reads_no_clock_and_makes_no_randomness() {
    check_quiet("use std::time::{Duration, Instant};", true);
    check_quiet("fn f() -> std::time::SystemTime { g() }", true);
    check_quiet("fn f() { getrandom::fill(&mut [0]).expect(\"randomness\") }", true);
    check_quiet("fn f() { rand::random() }", true);
    check_quiet("fn f() { g(&aws_lc_rs::rand::SystemRandom::new()) }", true);
}

#[test]
fn a_quiet_crate_logs_and_prints_nothing() {
    check_quiet("fn f() { println!(\"x\") }", true);
    check_quiet("fn f() { tracing::info!(\"x\") }", true);
    check_quiet("use log::warn;", true);
}

#[test]
fn look_alikes_of_noise_are_free_in_a_quiet_crate() {
    check_quiet("use std::{fmt, collections::{net, env}};", false);
    check_quiet("use std::time::Duration; // not Instant", false);
    check_quiet("use crate::log::Chain;", false);
    check_quiet("fn f(log: &mut Log, process: u8) { log.append(process); print(log) }", false);
}

#[test]
fn tests_of_a_quiet_crate_may_be_loud_and_other_crates_too() {
    let text = "//! A file.\nfn f() { println!(\"{:?}\", std::env::args()) }\n";
    check("keys/src/f.rs", "//! A file.\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n", &[]);
    check("keys/tests/f.rs", text, &[]);
    check("keys/src/vault/tests.rs", text, &[]);
    check("daemon/src/f.rs", text, &[]);
    check("keys/src/f.rs", "//! A file.\n#[cfg(test)]\nmod tests {}\nuse std::fs;\n", &["keys/src/f.rs:4: quiet"]);
}

#[test]
fn a_file_begins_with_what_it_is() {
    check("daemon/src/f.rs", "// A file.\n", &["daemon/src/f.rs:1: first line"]);
    check("daemon/src/f.rs", "\n//! A file.\n", &["daemon/src/f.rs:1: first line"]);
    check("daemon/build.rs", "fn main() {}\n", &["daemon/build.rs:1: first line"]);
}

#[test]
fn unfinished_work_is_refused() {
    let note = concat!("//! A file.\n// TO", "DO: the rest\n");
    check("daemon/src/f.rs", note, &["daemon/src/f.rs:2: unfinished"]);
    check("daemon/src/f.rs", concat!("//! A file.\n/* FIX", "ME */\n"), &["daemon/src/f.rs:2: unfinished"]);
    check("daemon/src/f.rs", "//! A file.\nfn f() {\n    todo!()\n}\n", &["daemon/src/f.rs:3: unfinished"]);
    check("daemon/tests/f.rs", "//! A file.\nfn f() { unimplemented!(\"f\") }\n", &["daemon/tests/f.rs:2: unfinished"]);
    check("daemon/src/f.rs", "//! A file.\nfn f(todo: bool) -> bool { todo }\n", &[]);
}

#[test]
fn a_path_that_architecture_names_must_exist() {
    check("ARCHITECTURE.md", "It begins.\nRead `keys/src/gone.rs`.\n", &["ARCHITECTURE.md:2: paths"]);
    check("ARCHITECTURE.md", "`keys/src/lib.rs`, then `gone.rs`.\n", &["ARCHITECTURE.md:1: paths"]);
    check("ARCHITECTURE.md", "Figures are in `bench/results`.\n", &["ARCHITECTURE.md:1: paths"]);
    check(
        "ARCHITECTURE.md",
        "`keys/src`, `hsm/helper`, `Cargo.toml`, `lib.rs` and `/etc/strongroom.toml`, `Key<N>`, `.rs`, `TENANT/SERVICE`.\n",
        &[],
    );
}

/// What is wrong with a map that holds every requirement as `open`, but for one row.
fn check_map(row: &str, expected: &[&str]) {
    let tree = Tree::new();
    tree.write("keys/tests/life.rs", "//! Lives.\n#[test]\nfn a_key_lives() {}\n");
    let chapters = [("IVK", 32), ("KS", 32), ("ARCH", 59), ("KMIP", 37), ("KEK", 30)];
    let rows = chapters.iter().flat_map(|(chapter, count)| (1..=*count).map(move |number| format!("{chapter}-{number}")));
    let open: String = rows.filter(|id| id != "KS-1").map(|id| format!("| {id} | it is asked | open |\n")).collect();
    tree.write("docs/REQUIREMENTS-MAP.md", &format!("{row}\n{open}"));
    let found: Vec<_> = tree.examine().violations.iter().map(|violation| violation.message.clone()).collect();
    assert_eq!(found, expected, "{row}");
}

#[test]
fn a_requirement_has_one_row_that_names_tests_which_exist() {
    check_map("| KS-1 | it is asked | `keys/tests/life.rs::a_key_lives` |", &[]);
    check_map("| KS-1 | it is asked | `keys/tests/life.rs::a_key_dies`, open |", &["keys/tests/life.rs::a_key_dies does not exist"]);
    check_map("| KS-1 | it is asked | `keys/tests/gone.rs::a_key_lives` |", &["keys/tests/gone.rs::a_key_lives does not exist"]);
    check_map("| KS-1 | it is asked | |", &["KS-1 names neither a test nor `open`"]);
    check_map("| KS-1 | it is asked | open |\n| KS-2 | again | open |", &["KS-2 has a second row"]);
    check_map("", &["KS-1 has no row"]);
}

#[test]
fn a_test_that_docs_kmip_md_names_must_exist() {
    check("docs/KMIP.md", "It begins.\n| Get | `seal/src/lib.rs::a_key_is_got`, `SKLC-M-1-14` |\n", &["docs/KMIP.md:2: requirements"]);
    check("docs/KMIP.md", "| Get | `SKLC-M-1-14`, by `kmip.message_bytes_max` |\n", &[]);
}

#[test]
fn a_file_that_is_not_rust_is_reported_with_its_line() {
    check("daemon/src/f.rs", "//! A file.\nfn f() {\n", &["daemon/src/f.rs:2: syntax"]);
}

#[test]
fn a_long_file_is_a_warning_only() {
    let tree = Tree::new();
    tree.write("daemon/src/long.rs", &("//! A file.\n".to_owned() + &"//\n".repeat(700)));
    let findings = tree.examine();
    assert!(findings.violations.is_empty());
    assert_eq!(findings.warnings, ["daemon/src/long.rs has 701 lines: is it one idea?"]);
}

#[test]
fn a_nested_crate_is_read_once_under_its_own_name() {
    let found = source::files(Tree::new().0.path(), Path::new("hsm")).expect("the folder can be read");
    assert_eq!(found, [PathBuf::from("hsm/src/lib.rs")]);
}
