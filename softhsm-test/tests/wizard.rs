//! `strongroom init --wizard` at a terminal, which `script` makes, with a SoftHSM token.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

use softhsm_test::{LABEL, MODULE, PIN, SoftHsm};
use tempfile::TempDir;

/// A person at a terminal with a program on it.
struct Terminal {
    script: Child,
    keyboard: ChildStdin,
    screen: ChildStdout,
    seen: String,
}

impl Terminal {
    fn start(line: &str) -> Self {
        let mut script = Command::new("script");
        script.args(["--quiet", "--flush", "--return", "--command", line, "/dev/null"]);
        script.env_remove("CREDENTIALS_DIRECTORY").env("TERM", "xterm").env("COLUMNS", "200");
        let mut script = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("`script` of bsdutils starts");
        let (keyboard, screen) = (script.stdin.take().expect("it is piped"), script.stdout.take().expect("it is piped"));
        Self { script, keyboard, screen, seen: String::new() }
    }

    /// Waits for a question and types the answer; what was typed before it would be lost.
    fn answer(&mut self, question: &str, keys: &str) {
        let mut byte = [0];
        while !self.seen.contains(question) {
            let read = self.screen.read(&mut byte).expect("the screen can be read");
            assert_eq!(read, 1, "nobody has asked {question:?}: {}", self.seen);
            self.seen.push_str(&String::from_utf8_lossy(&byte));
        }
        self.seen.clear();
        self.keyboard.write_all(keys.as_bytes()).expect("somebody reads");
    }

    /// What else is on the screen, and the exit code.
    fn end(mut self) -> (String, Option<i32>) {
        let mut rest = Vec::new();
        self.screen.read_to_end(&mut rest).expect("the screen can be read");
        let status = self.script.wait().expect("it ends");
        (format!("{}{}", self.seen, String::from_utf8_lossy(&rest)), status.code())
    }
}

struct World {
    dir: TempDir,
    token: SoftHsm,
}

impl World {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary folder"), token: SoftHsm::new() }
    }

    fn file(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn line(&self) -> String {
        format!("{} --config {} init --wizard", softhsm_test::binary("strongroom", "daemon").display(), self.file("config.yaml"))
    }

    /// Up to the question whether it is meant.
    fn asked(&self) -> Terminal {
        let mut terminal = Terminal::start(&self.line());
        let conf = self.token.environment().remove("SOFTHSM2_CONF").expect("SoftHSM has one");
        for (question, answer) in [
            ("What the node is", String::new()),
            ("Folder for keys", self.file("data")),
            ("What seals the MasterKey", String::new()),
            ("PKCS#11 module", MODULE.to_owned()),
            ("Label of the token", LABEL.to_owned()),
            ("Label of the seal key", String::new()),
            ("Variable that the module needs", format!("SOFTHSM2_CONF={conf}")),
            ("Variable that the module needs", String::new()),
            ("Folder that the module writes to", self.token.dir().display().to_string()),
            ("What you call the device", String::new()),
            ("Its PIN is", String::new()),
            ("Name of the credential", String::new()),
            ("File with the PIN", self.token.pin_file().display().to_string()),
            ("Where KMIP is served", "127.0.0.1:0".to_owned()),
            ("Names and addresses", "kms.example".to_owned()),
            ("The server's certificate", self.file("server.pem")),
            ("Its private key", self.file("server.key")),
            ("CAs of the clients", self.file("ca.pem")),
            ("Their revocation lists", "none".to_owned()),
        ] {
            terminal.answer(question, &format!("{answer}\r"));
        }
        terminal
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(softhsm_test::binary("strongroom", "daemon"));
        command.args(["--config", &self.file("config.yaml")]).args(arguments).stdin(Stdio::null());
        command.output().expect("the program starts")
    }
}

#[test]
fn a_wizard_makes_the_cluster_that_was_answered_and_never_writes_over_a_file() {
    let world = World::new();
    let mut terminal = world.asked();
    terminal.answer("Write the file", "y");
    let (said, code) = terminal.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("first slot") && said.contains("strongroom slot add --custodian NAME --make-key"), "{said}");
    let config = fs::read_to_string(world.file("config.yaml")).expect("it was written");
    assert!(config.contains(&format!("writes: {:?}\n", world.token.dir())), "{config}");
    assert!(config.contains("credential:hsm-pin") && !config.contains(PIN), "{config}");
    assert!(Path::new(&world.file("data")).join("node.json").exists());
    assert!(world.run(&["config", "check"]).status.success());
    let (said, code) = Terminal::start(&world.line()).end();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("is there already and is not overwritten"), "{said}");
    assert_eq!(fs::read_to_string(world.file("config.yaml")).expect("it is there"), config);
}

#[test]
fn a_wizard_that_is_not_confirmed_or_has_no_terminal_writes_nothing() {
    let world = World::new();
    let mut terminal = world.asked();
    terminal.answer("Write the file", "n");
    let (said, code) = terminal.end();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("nothing was written"), "{said}");
    let refused = world.run(&["init", "--wizard"]);
    let words = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(2) && words.contains("--wizard asks on a terminal, and there is none"), "{words}");
    let left: Vec<_> = fs::read_dir(world.dir.path()).expect("it is there").collect();
    assert!(left.is_empty(), "{left:?}");
}
