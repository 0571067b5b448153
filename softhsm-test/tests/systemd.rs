//! The daemon and its service manager: what it is told, signs of life, sockets that are passed, exit codes, and a start without any file.

use std::fs;
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use daemon::config::{Config, DEFAULT_FILE};
use nix::sys::signal::Signal;
use softhsm_test::{Core, MODULE, Who, binary, signal, wait_for};
use tempfile::TempDir;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// After this time without a sign of life a service manager would end the daemon.
const WATCHDOG: Duration = Duration::from_secs(6);

/// The service manager's end of NOTIFY_SOCKET.
struct Ear {
    socket: UnixDatagram,
    dir: TempDir,
}

impl Ear {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let socket = UnixDatagram::bind(dir.path().join("notify")).expect("the folder is ours");
        Self { socket, dir }
    }

    fn path(&self) -> String {
        self.dir.path().join("notify").display().to_string()
    }

    /// The next message, unless none comes within `limit`.
    fn hear(&self, limit: Duration) -> Option<String> {
        let mut buffer = [0; 4096];
        self.socket.set_read_timeout(Some(limit)).expect("a sound timeout");
        match self.socket.recv(&mut buffer) {
            Ok(length) => Some(String::from_utf8_lossy(&buffer[..length]).into_owned()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// All messages up to the first that has this line; `line` may leave out its end.
    fn until(&self, line: &str) -> Vec<String> {
        let (mut heard, until) = (Vec::new(), Instant::now() + PATIENCE);
        while Instant::now() < until {
            heard.extend(self.hear(PATIENCE));
            if heard.last().is_some_and(|message| message.lines().any(|told| told.starts_with(line))) {
                return heard;
            }
        }
        panic!("not told {line:?}, but {heard:?}");
    }
}

fn watched() -> (Core, Ear) {
    let (mut core, ear) = (Core::prepared(), Ear::new());
    core.set_environment("NOTIFY_SOCKET", &ear.path());
    core.set_environment("WATCHDOG_USEC", &WATCHDOG.as_micros().to_string());
    core.start();
    (core, ear)
}

#[test]
fn the_service_manager_is_told_how_the_node_stands() {
    let (mut core, ear) = watched();
    let start = ear.until("READY=1");
    assert!(start[0].contains("EXTEND_TIMEOUT_USEC=30000000\nSTATUS=starting: "), "{start:?}");
    assert!(start.last().is_some_and(|ready| ready.contains("STATUS=unsealed")), "{start:?}");
    ear.until("WATCHDOG=1");
    assert!(core.cli(&["seal"]).status.success());
    ear.until("STATUS=sealed: ");
    ear.until("WATCHDOG=1");
    assert!(core.cli(&["unseal"]).status.success());
    ear.until("STATUS=unsealed");
    signal(core.pid(), Signal::SIGHUP);
    let reloading = ear.until("RELOADING=1").pop().expect("it was told");
    let since = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
    assert!(since.is_some_and(|since| since.parse::<u64>().is_ok()), "systemd 253 needs it: {reloading}");
    let reloaded = ear.until("READY=1").pop().expect("it was told");
    assert!(reloaded.contains("STATUS=unsealed; reloaded"), "{reloaded}");
    core.stop();
    let stopping = ear.until("STOPPING=1").pop().expect("it was told");
    assert!(stopping.contains("STATUS=stopping"), "{stopping}");
}

#[test]
fn a_daemon_that_does_not_run_gives_no_sign_of_life() {
    let (mut core, ear) = watched();
    ear.until("READY=1");
    ear.until("WATCHDOG=1");
    signal(core.pid(), Signal::SIGSTOP);
    // What it had said before.
    while ear.hear(Duration::from_millis(100)).is_some() {}
    assert_eq!(ear.hear(WATCHDOG / 2), None, "two signs would have been due");
    signal(core.pid(), Signal::SIGCONT);
    ear.until("WATCHDOG=1");
    core.stop();
}

/// A core that gets `socket` as the third descriptor under this name, as a service manager would pass it.
fn command_with(core: &Core, name: &str, socket: OwnedFd) -> Command {
    let told = core.command();
    let mut command = Command::new("sh");
    command.args(["-c", "exec 3<&0 </dev/null; LISTEN_PID=$$ exec \"$@\"", "sh"]).arg(told.get_program()).args(told.get_args());
    command.envs(told.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", name).stdin(socket);
    command
}

fn end(mut daemon: Child) {
    signal(daemon.id(), Signal::SIGTERM);
    assert!(daemon.wait().expect("it is our child").success(), "it stops in good order");
}

#[test]
fn a_passed_socket_is_served_by_one_daemon_after_another() {
    let core = Core::prepared();
    let bind = Config::load(&core.config(), []).expect("dev's configuration is good").listeners.kmip.expect("dev serves KMIP").bind;
    let socket = TcpListener::bind(bind).expect("nobody else has dev's port");
    for _start in ["the first", "another"] {
        let passed = socket.try_clone().expect("a descriptor is left");
        let mut daemon = command_with(&core, "kmip", passed.into()).stderr(Stdio::null()).spawn().expect("the binary is there");
        // The kernel takes the connection at once; the daemon when it is ready.
        let mut client = None;
        assert!(wait_for(|| {
            client = core.try_connect(Who::Service).ok();
            client.is_some() || daemon.try_wait().expect("it is our child").is_some()
        }));
        assert!(client.is_some(), "it has ended instead");
        end(daemon);
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn must_be_refused(mut command: Command, words: &[&str]) {
    let ended = command.output().expect("the binary is there");
    assert_eq!(ended.status.code(), Some(78), "{}", said(&ended));
    for word in words {
        assert!(said(&ended).contains(word), "{word}: {}", said(&ended));
    }
}

#[test]
fn a_passed_socket_that_is_not_the_listeners_is_refused() {
    let core = Core::prepared();
    let socket = || TcpListener::bind("127.0.0.1:0").expect("a port is free");
    must_be_refused(command_with(&core, "kmips", socket().into()), &["`kmips`", "FileDescriptorName="]);
    let elsewhere = socket();
    let address = elsewhere.local_addr().expect("it is bound").to_string();
    must_be_refused(command_with(&core, "kmip", elsewhere.into()), &["listeners.kmip.bind is", &address, "ListenStream="]);
    let datagrams = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    must_be_refused(command_with(&core, "kmip", datagrams.into()), &["listeners.kmip", "no TCP socket that listens"]);
    let file = fs::File::open("/dev/null").expect("every machine has it");
    must_be_refused(command_with(&core, "https", file.into()), &["listeners.https", "no TCP socket that listens"]);
    let mut none = command_with(&core, "health", socket().into());
    none.env("STRONGROOM__LISTENERS__HEALTH__BIND", "none");
    must_be_refused(none, &["listeners.health", "the configuration does not have", "disable"]);
}

#[test]
fn the_exit_code_says_whether_another_start_can_help() {
    let mut core = Core::prepared();
    let code = |command: &mut Command| command.output().expect("the binary is there").status.code();
    assert_eq!(code(core.command().env("STRONGROOM__ROL", "core")), Some(78), "an unknown key");
    assert_eq!(code(core.command().env("STRONGROOM__MEMORY__ARENA", "1KiB")), Some(78), "too little memory");
    assert_eq!(code(core.command().env("STRONGROOM__DATA_DIR", core.dir().join("nowhere"))), Some(78), "no cluster yet");
    core.start();
    assert_eq!(code(&mut core.command()), Some(1), "another one uses the folder, and will end");
    core.stop();
    fs::write(core.data_dir().join("node.json"), "{}").expect("it is ours");
    assert_eq!(code(&mut core.command()), Some(65), "damaged data");
}

/// As in a container: every value is a variable, and no file is named.
#[test]
fn variables_alone_are_a_configuration() {
    assert!(!Path::new(DEFAULT_FILE).exists(), "this machine has {DEFAULT_FILE}: the test asks what happens without");
    let core = Core::prepared();
    let custodians = format!(
        "[{{name: softhsm, pkcs11: {{module: {:?}, token: {:?}, key: strongroom-seal, pin: 'credential:hsm-pin', environment: {{SOFTHSM2_CONF: {:?}}}}}}}]",
        MODULE,
        "strongroom-dev",
        core.dir().join("softhsm/softhsm2.conf"),
    );
    let variables = [
        ("STRONGROOM__ROLE", "core".to_owned()),
        ("STRONGROOM__DATA_DIR", core.data_dir().display().to_string()),
        ("STRONGROOM__LISTENERS__HEALTH__BIND", "none".to_owned()),
        ("STRONGROOM__SEAL__CUSTODIANS", custodians),
    ];
    let credentials = core.credential().parent().expect("a file has a folder").to_owned();
    let run = |program: &str| {
        let mut command = Command::new(binary(program, "daemon"));
        command.envs(variables.iter().map(|(name, value)| (name, value))).env("CREDENTIALS_DIRECTORY", &credentials).stdin(Stdio::null());
        command
    };
    let status = || {
        let told = run("strongroom").args(["--json", "status"]).output().expect("the binary is there");
        String::from_utf8_lossy(&told.stdout).into_owned()
    };
    let mut daemon = run("strongroomd").stderr(Stdio::null()).spawn().expect("the binary is there");
    let opens = wait_for(|| status().contains("\"unsealed\"") || daemon.try_wait().expect("it is our child").is_some());
    assert!(opens && daemon.try_wait().expect("it is our child").is_none(), "{}", status());
    end(daemon);
    let without_role = run("strongroomd").env_remove("STRONGROOM__ROLE").output().expect("the binary is there");
    assert_eq!(without_role.status.code(), Some(78));
    assert!(said(&without_role).contains(DEFAULT_FILE), "{}", said(&without_role));
}
