//! A whole core whose keystore is a plugin that it starts, pins and confines: the main job, and every way in which the plugin can fail (F27).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use daemon::confine;
use data_encoding::HEXLOWER;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use softhsm_test::requests::{self, Secret};
use softhsm_test::{Core, Who, binary, wait_for, wait_for_within};

/// What F27 grants until a client hears of an error.
const ERROR_WITHIN: Duration = Duration::from_secs(5);
/// What a test grants a machine that is busy with others.
const SLACK: Duration = Duration::from_secs(1);
const KILLS: usize = 5;
/// How many rules there are at least.
const RULES_MIN: u64 = 31;

/// A core without a cluster yet, and the plugin that it is told of.
struct Estate {
    core: Core,
    plugin: PathBuf,
    /// The configuration without its keystore.
    plain: String,
}

impl Estate {
    fn prepared() -> Self {
        let core = Core::prepared();
        fs::remove_dir_all(core.data_dir()).expect("the folder is ours");
        let plain = fs::read_to_string(core.config()).expect("dev has written it");
        let plugin = core.dir().join("plugin");
        fs::copy(binary("plugin-redb", "plugin-redb"), &plugin).expect("the folder is ours");
        let this = Self { core, plugin, plain };
        this.configure(&this.own());
        this
    }

    /// With a cluster that serves acme/billing.
    fn serving() -> Self {
        let mut this = Self::prepared();
        this.make();
        this
    }

    fn make(&mut self) {
        let made = self.core.init_command().output().expect("the binary is there");
        assert!(made.status.success(), "{}", said(&made));
        self.core.start();
        assert_eq!(self.core.standing(), "unsealed: ");
        let _made = self.core.ask(&["tenant", "create", "acme"]);
        let _made = self.core.ask(&["service", "create", "acme", "billing"]);
    }

    /// The section of a plugin that the core starts.
    fn own(&self) -> String {
        let hash = HEXLOWER.encode(&confine::hash(&self.plugin).expect("it was just copied"));
        format!("{{command: {:?}, sha256: {hash}}}", self.plugin)
    }

    fn configure(&self, grpc: &str) {
        fs::write(self.core.config(), format!("{}\nkeystores:\n  main:\n    grpc: {grpc}\n", self.plain)).expect("the folder is ours");
    }

    fn secret(&self, name: &str) -> Secret {
        let mut admin = self.core.connect(Who::TenantAdmin);
        let key = requests::create(&mut admin, name).expect("the core is well");
        requests::activate(&mut admin, &key).expect("the core is well");
        requests::encrypt(&mut self.core.connect(Who::Service), &key, name.as_bytes().to_vec()).expect("the core is well")
    }

    fn must_open(&self, secrets: &[Secret]) {
        let mut service = self.core.connect(Who::Service);
        for secret in secrets {
            assert_eq!(requests::decrypt(&mut service, secret).expect("it is kept"), secret.plain);
        }
    }

    /// The plugin's process, which is the core's only child of that name.
    fn process(&self) -> Option<Pid> {
        let parent = self.core.pid().to_string();
        let all = fs::read_dir("/proc").expect("there is one").filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
        let is_it = |process: &i32| {
            let command = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
            let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
            let is_child = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)) == Some(&*parent);
            is_child && command.split(|byte| *byte == 0).next() == Some(self.plugin.as_os_str().as_encoded_bytes())
        };
        all.into_iter().find(is_it).map(Pid::from_raw)
    }

    fn send(&self, signal: Signal) {
        kill(self.process().expect("the plugin runs"), signal).expect("it is the core's child");
    }

    /// Stops the plugin. On a busy machine a signal takes its time.
    fn hang(&self) {
        let process = self.process().expect("the plugin runs");
        self.send(Signal::SIGSTOP);
        let stat = || fs::read_to_string(format!("/proc/{process}/stat")).expect("it does not end by that");
        assert!(wait_for(|| stat().contains(") T ")), "{}", stat());
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// A plugin under nobody's supervision, as its own unit would run it.
struct Unit(Child);

impl Unit {
    fn start(estate: &Estate, state: &std::path::Path) -> Self {
        let hash = HEXLOWER.encode(&confine::hash(&estate.plugin).expect("it was copied"));
        let child = Command::new(binary("strongroomd", "daemon"))
            .args(["confine", "--sha256", &hash, "--state"])
            .arg(state)
            .arg("--")
            .arg(&estate.plugin)
            .env("STRONGROOM_PLUGIN_SOCKET", state.join("socket"))
            .env("STRONGROOM_PLUGIN_STATE", state)
            .stdin(Stdio::null())
            .spawn()
            .expect("the binary is there");
        assert!(wait_for(|| std::os::unix::net::UnixStream::connect(state.join("socket")).is_ok()), "it listens");
        Self(child)
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

#[test]
fn a_core_does_its_whole_job_on_a_plugin_that_is_killed_again_and_again() {
    let mut estate = Estate::serving();
    assert!(!estate.core.store().exists(), "nothing is kept in a file of the node's own");
    let mut secrets = vec![estate.secret("before")];
    let core = estate.core.pid();
    for kill in 0..KILLS {
        let before = estate.process().expect("the plugin runs");
        estate.send(Signal::SIGKILL);
        let began = Instant::now();
        let name = format!("after kill {kill}");
        // Whether it fails or succeeds, it is soon known.
        let outcome = requests::create(&mut estate.core.connect(Who::TenantAdmin), &name);
        assert!(began.elapsed() <= ERROR_WITHIN + SLACK, "{outcome:?} after {:?}", began.elapsed());
        assert!(wait_for(|| estate.process().is_some_and(|now| now != before)), "the plugin is started anew");
        let mut admin = estate.core.connect(Who::TenantAdmin);
        assert!(wait_for(|| requests::locate(&mut admin, "before").is_ok()), "it serves again");
        secrets.push(estate.secret(&format!("after all {kill}")));
        estate.must_open(&secrets);
    }
    assert_eq!(estate.core.pid(), core, "the core is the same process");
    let starts = format!("strongroom_plugin_starts_total{{keystore=\"main\"}} {}", KILLS + 1);
    assert!(estate.core.metrics().contains(&starts), "{}", estate.core.metrics());

    let process = estate.process().expect("the plugin runs");
    estate.core.kill();
    assert!(wait_for(|| !fs::exists(format!("/proc/{process}")).is_ok_and(|is_there| is_there)), "the plugin does not outlive the core");
    estate.core.start();
    estate.must_open(&secrets);
    estate.core.stop();
    let _verified = estate.core.ask(&["audit", "verify"]);
}

#[test]
fn a_plugin_that_hangs_is_an_error_in_time_and_is_ended() {
    let mut estate = Estate::serving();
    let secret = estate.secret("kept");
    let mut service = estate.core.connect(Who::Service);
    assert_eq!(requests::decrypt(&mut service, &secret).expect("it is kept"), secret.plain);
    let before = estate.process().expect("the plugin runs");
    estate.hang();
    let began = Instant::now();
    let refused = requests::create(&mut estate.core.connect(Who::TenantAdmin), "in vain");
    assert!(refused.is_err(), "{refused:?}");
    assert!(began.elapsed() <= ERROR_WITHIN + SLACK, "an error after {:?}", began.elapsed());
    assert_eq!(requests::decrypt(&mut service, &secret).expect("an open key needs no keystore"), secret.plain);
    assert!(wait_for(|| estate.process().is_some_and(|now| now != before)), "it is ended and started anew");
    let mut admin = estate.core.connect(Who::TenantAdmin);
    assert!(wait_for(|| requests::create(&mut admin, "again").is_ok()), "it serves again");
    assert!(!estate.core.has_ended());
}

#[test]
fn a_program_that_is_not_the_pinned_one_is_not_started_and_both_hashes_are_named() {
    let mut estate = Estate::serving();
    estate.core.stop();
    let pinned = HEXLOWER.encode(&confine::hash(&estate.plugin).expect("it is there"));
    let mut bytes = fs::read(&estate.plugin).expect("it is there");
    bytes.push(0);
    fs::remove_file(&estate.plugin).expect("it is ours");
    fs::write(&estate.plugin, bytes).expect("the folder is ours");
    fs::set_permissions(&estate.plugin, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let found = HEXLOWER.encode(&confine::hash(&estate.plugin).expect("it is there"));
    let refused = estate.core.try_start().expect_err("it does not run");
    assert!(refused.contains(&pinned) && refused.contains(&found) && refused.contains("was replaced"), "{refused}");
}

#[test]
fn a_plugin_may_run_in_a_unit_of_its_own_and_under_its_own_user_only() {
    let mut estate = Estate::prepared();
    let state = estate.core.dir().join("unit");
    fs::create_dir(&state).expect("the folder is ours");
    let unit = Unit::start(&estate, &state);
    let own = nix::unistd::geteuid();
    let section = |user: u32| format!("{{socket: {:?}, user: '{user}', timeout: 2s}}", state.join("socket"));
    estate.configure(&section(own.as_raw() + 1));
    let refused = estate.core.init_command().stdout(Stdio::piped()).stderr(Stdio::piped()).output().expect("the binary is there");
    assert!(!refused.status.success() && said(&refused).contains("keystores.*.grpc.user"), "{}", said(&refused));
    estate.configure(&section(own.as_raw()));
    let made = estate.core.init_command().stdout(Stdio::piped()).stderr(Stdio::piped()).output().expect("the binary is there");
    assert!(made.status.success(), "{}", said(&made));
    estate.core.start();
    assert_eq!(estate.core.standing(), "unsealed: ");
    drop(unit);
    let serves = |estate: &Estate| estate.core.metrics().contains("strongroom_plugin_serving{keystore=\"main\"} 1");
    assert!(wait_for_within(Duration::from_secs(20), || !serves(&estate)), "{}", estate.core.metrics());
    let unit = Unit::start(&estate, &state);
    assert!(wait_for_within(Duration::from_secs(20), || serves(&estate)), "{}", estate.core.metrics());
    // One that comes later than the node is waited for.
    estate.core.stop();
    drop(unit);
    estate.core.start();
    let standing = estate.core.standing();
    assert!(standing.starts_with("sealed: waiting for its keystore") && standing.contains("no plugin at"), "{standing}");
    let _unit = Unit::start(&estate, &state);
    assert!(wait_for(|| estate.core.standing() == "unsealed: "), "{}", estate.core.standing());
    // A second cluster does not come among the rows of the first.
    estate.core.stop();
    fs::remove_dir_all(estate.core.data_dir()).expect("the folder is ours");
    let refused = estate.core.init_command().stdout(Stdio::piped()).stderr(Stdio::piped()).output().expect("the binary is there");
    assert!(!refused.status.success() && said(&refused).contains("holds a cluster already"), "{}", said(&refused));
}

#[test]
fn a_confined_program_writes_in_its_folder_and_nowhere_else() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (state, elsewhere) = (folder.path().join("state"), folder.path().join("elsewhere"));
    fs::create_dir(&state).expect("the folder is ours");
    let script = folder.path().join("script");
    let text = format!(
        "#!/bin/sh\necho mine > {}/mine\necho others > {}\ngrep NoNewPrivs /proc/self/status\n",
        state.display(),
        elsewhere.display()
    );
    fs::write(&script, text).expect("the folder is ours");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let run = |hash: &str| {
        let mut command = Command::new(binary("strongroomd", "daemon"));
        command.args(["confine", "--sha256", hash, "--state"]).arg(&state).arg("--").arg(&script);
        command.output().expect("the binary is there")
    };
    let refused = run(&"0".repeat(64));
    assert_eq!(refused.status.code(), Some(78), "{}", said(&refused));
    assert!(!state.join("mine").exists(), "nothing ran");
    let ran = run(&HEXLOWER.encode(&confine::hash(&script).expect("it is there")));
    assert!(state.join("mine").exists(), "{}", said(&ran));
    assert!(!elsewhere.exists(), "{}", said(&ran));
    assert!(said(&ran).split_whitespace().any(|word| word == "1"), "no new privileges: {}", said(&ran));
}

/// Without transactions, with a journal of the node's: a crash of either side loses nothing, and leaves nothing by half.
#[test]
fn a_core_does_its_job_on_a_plugin_that_changes_one_row_at_a_time() {
    let mut estate = Estate::prepared();
    let section = |estate: &Estate, arguments: &str| estate.own().replace('}', &format!(", args: [{arguments}]}}"));
    estate.configure(&section(&estate, "'--rows-only'"));
    estate.make();
    let journal = estate.core.data_dir().join("intents-main.redb");
    assert!(journal.exists());
    let mut secrets = Vec::new();
    for round in 0..3 {
        secrets.push(estate.secret(&format!("round {round}")));
        if round == 1 {
            estate.core.kill()
        } else {
            estate.send(Signal::SIGKILL)
        }
        if round == 1 {
            estate.core.start();
        }
        assert!(
            wait_for(|| requests::create(&mut estate.core.connect(Who::TenantAdmin), &format!("again {round}")).is_ok()),
            "it serves again"
        );
        estate.must_open(&secrets);
    }
    let mut admin = estate.core.connect(Who::TenantAdmin);
    assert!(requests::create(&mut admin, "round 0").is_err(), "a name is there once");
    drop(admin);
    estate.core.stop();
    // A release of the plugin that knows transactions is asked for none: audit records may wait in the journal.
    estate.configure(&section(&estate, ""));
    estate.core.start();
    estate.must_open(&secrets);
    estate.core.stop();
    let _verified = estate.core.ask(&["audit", "verify"]);
    // One that had them and has lost them is refused.
    fs::remove_file(&journal).expect("it is ours");
    estate.configure(&section(&estate, "'--rows-only'"));
    let refused = estate.core.try_start().expect_err("it does not run");
    assert!(refused.contains("no capability `batch`"), "{refused}");
}

fn certify(arguments: &[&str]) -> (Output, Value) {
    let mut command = Command::new(binary("strongroom", "daemon"));
    let output = command.args(["--json", "keystore", "certify"]).args(arguments).output().expect("the binary is there");
    let value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output, value)
}

#[test]
fn both_examples_are_certified() {
    let redb = binary("plugin-redb", "plugin-redb");
    let python = std::env::var("STRONGROOM_TEST_PYTHON")
        .expect("STRONGROOM_TEST_PYTHON names a Python with grpcio: run the tests by `cargo xtask check`, which makes one");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugin/examples/python/sqlite_plugin.py");
    let redb = redb.to_str().expect("a path in UTF-8");
    for arguments in [
        vec!["--plugin", redb],
        vec!["--plugin", redb, "--", "--rows-only"],
        vec!["--plugin", &python, "--", "-B", script],
        vec!["--plugin", &python, "--", "-B", script, "--rows-only"],
    ] {
        let (output, certified) = certify(&arguments);
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        assert_eq!(certified["batch"], !arguments.contains(&"--rows-only"));
        assert!(certified["passed"].as_u64().is_some_and(|passed| passed >= RULES_MIN) && certified["failed"] == 0, "{certified}");
        softhsm_test::told(&format!("{arguments:?}: {} cases passed", certified["passed"]));
    }
    let (output, _) = certify(&["--plugin", "/bin/true"]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(said(&output).contains("the program ended (exit status: 0)") && !said(&output).contains("start its unit"), "{}", said(&output));
    let (output, _) = certify(&["--socket", "/nonexistent/socket"]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
}
