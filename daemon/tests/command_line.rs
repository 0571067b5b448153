//! The command line as a script sees it: exit codes, standard output, standard error.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Output};
use std::thread::JoinHandle;

use serde_json::Value;

const SEALED: &str = r#"{"version":"0.1.0","role":"core","cluster":"c1","state":"sealed","since":"2026-01-02T03:04:05Z","reason":"slot `hsm`: no token",
    "masterkey":null,"memory":{"backing":"secretmem","arena_bytes":2097152},"kmip":null,"audit":"writable","warnings":[],"pid":7}"#;

/// Runs `strongroom` on a data folder, without the variables that would speak for options.
fn strongroom(data_dir: &Path, line: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom"));
    command.env_clear().arg("--config").arg(data_dir.join("absent.yaml")).arg("--data-dir").arg(data_dir).args(line);
    command.output().expect("the program was built")
}

/// A node that answers one call.
fn node(data_dir: &Path, status: &'static str, body: &'static str) -> JoinHandle<String> {
    let listener = UnixListener::bind(data_dir.join("strongroom.sock")).expect("a free path");
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the command calls");
        let request = request_head(&stream);
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
        stream.write_all((head + body).as_bytes()).expect("the command is there");
        request
    })
}

/// Reads one request whole, and returns its first line.
fn request_head(stream: &UnixStream) -> String {
    let mut reader = BufReader::new(stream);
    let mut lines = vec![];
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a request");
        if line.trim_end().is_empty() {
            break;
        }
        lines.push(line.trim_end().to_owned());
    }
    let length = lines.iter().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
    let mut body = vec![0; length.parse().expect("a number")];
    reader.read_exact(&mut body).expect("the whole body");
    lines.swap_remove(0)
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("it was not killed")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

#[test]
fn a_node_that_is_not_there_is_exit_code_3_and_one_line() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let output = strongroom(dir.path(), &["status"]);
    assert_eq!((code(&output), text(&output.stdout).as_str()), (3, ""));
    let said = text(&output.stderr);
    assert!(said.contains(&dir.path().join("strongroom.sock").display().to_string()) && said.lines().count() == 1, "{said}");
}

#[test]
fn with_json_an_error_is_an_object_with_the_exit_code() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for (line, expected) in [(&["status", "--json"][..], 3), (&["--json", "unheard-of"], 2), (&["kmip", "ping", "--json"], 2)] {
        let output = strongroom(dir.path(), line);
        let error: Value = serde_json::from_slice(&output.stderr).expect("an object");
        assert_eq!((code(&output), &error["error"]["exit_code"]), (expected, &Value::from(expected)), "{line:?}");
        assert!(error["error"]["message"].as_str().is_some_and(|message| !message.is_empty()), "{line:?}");
    }
}

#[test]
fn a_sealed_node_is_shown_and_exit_code_3() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let serving = node(dir.path(), "200 OK", SEALED);
    let output = strongroom(dir.path(), &["status", "--json"]);
    assert_eq!(serving.join().expect("the node does not panic"), "GET /api/v1/status HTTP/1.1");
    assert_eq!(code(&output), 3);
    let shown: Value = serde_json::from_slice(&output.stdout).expect("the status");
    assert_eq!(shown["reason"], "slot `hsm`: no token");
    assert!(text(&output.stderr).contains("strongroom unseal"));
}

#[test]
fn a_refusal_is_exit_code_1_with_the_nodes_words() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let serving = node(dir.path(), "409 Conflict", r#"{"title":"Conflict","status":409,"detail":"the name is taken"}"#);
    let output = strongroom(dir.path(), &["service", "create", "acme", "billing"]);
    assert_eq!(serving.join().expect("the node does not panic"), "POST /api/v1/tenants/acme/services HTTP/1.1");
    assert_eq!((code(&output), text(&output.stderr).as_str()), (1, "strongroom: the name is taken\n"));
}

#[test]
fn a_log_that_does_not_verify_is_exit_code_4() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    std::fs::create_dir(dir.path().join("audit")).expect("the folder is ours");
    assert_eq!(code(&strongroom(dir.path(), &["audit", "verify"])), 4);
    assert_eq!(code(&strongroom(dir.path(), &["audit", "verify", "--dir", "/nonexistent"])), 1);
}

#[test]
fn help_and_version_go_to_standard_output() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for line in [&["--version"][..], &["--help"], &["kmip", "encrypt", "--help"]] {
        let output = strongroom(dir.path(), line);
        assert_eq!((code(&output), text(&output.stderr).as_str()), (0, ""), "{line:?}");
        assert!(!output.stdout.is_empty(), "{line:?}");
    }
    assert!(text(&strongroom(dir.path(), &["--help"]).stdout).contains("4  what was verified"));
}

#[test]
fn a_pin_is_not_taken_from_an_argument() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for line in [&["unseal", "4321"][..], &["unseal", "--pin", "4321"]] {
        assert_eq!(code(&strongroom(dir.path(), line)), 2, "{line:?}");
    }
}
