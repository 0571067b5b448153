//! Where a core and what it starts may write: where the configuration says, and nowhere else.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use softhsm_test::requests;
use softhsm_test::{Core, MODULE, Who, files_below, signal, wait_for};

/// A core whose `seal.writes` is replaced; the token's folder is what `dev` has listed.
fn listing(writes: &str) -> Core {
    let core = Core::prepared();
    list(&core, writes);
    core
}

fn list(core: &Core, writes: &str) {
    let text = fs::read_to_string(core.config()).expect("dev has written it");
    let line = text.lines().find(|line| line.starts_with("  writes: ")).expect("dev lists the token's folder").to_owned();
    fs::write(core.config(), text.replace(&line, &format!("  writes: {writes}"))).expect("the folder is ours");
}

fn status(core: &Core, field: &str) -> String {
    let status: serde_json::Value = serde_json::from_str(&core.status()).expect("status is JSON");
    status[field].as_str().unwrap_or_default().to_owned()
}

/// SoftHSM reads from a folder in which it may not write, and makes no key there.
#[test]
fn a_token_whose_folder_is_not_listed_takes_no_key_and_the_error_names_what_to_set() {
    let mut core = listing("[]");
    let (tokens, conf) = (core.dir().join("softhsm"), core.dir().join("softhsm/softhsm2.conf"));
    let text = fs::read_to_string(core.config()).expect("dev has written it");
    let spare = format!(
        "    - name: spare\n      pkcs11:\n        module: {MODULE:?}\n        token: strongroom-dev\n        key: spare\n        \
         pin: \"credential:hsm-pin\"\n        environment:\n          SOFTHSM2_CONF: {conf:?}\n"
    );
    fs::write(core.config(), text + &spare).expect("the folder is ours");
    let files = || files_below(&tokens).into_iter().map(|path| (fs::read(&path).expect("it reads"), path)).collect::<Vec<_>>();
    let before = files();
    core.start();
    assert_eq!(core.standing(), "unsealed: ");
    let add = ["slot", "add", "--custodian", "spare", "--make-key"];
    let refused = core.cli(&add);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && told.contains("`seal.writes`"), "{told}");
    assert_eq!(files(), before, "nothing below the folder has changed");
    // Log and store are the daemon's own.
    assert_eq!(status(&core, "audit"), "writable");
    let l3 = core.value("L3_ID");
    let secret = requests::encrypt(&mut core.connect(Who::Service), &l3, b"kept".to_vec()).expect("the core is well");
    // What is listed later counts after a restart, and a reload says so.
    list(&core, &format!("{tokens:?}"));
    signal(core.pid(), Signal::SIGHUP);
    assert!(wait_for(|| core.said().contains("need a restart") && core.said().contains("seal.writes")), "{}", core.said());
    assert!(!core.cli(&add).status.success(), "nothing but a restart gives back what was given up");
    core.stop();
    core.start();
    let _added = core.ask(&add);
    assert_eq!(requests::decrypt(&mut core.connect(Who::Service), &secret).expect("it is kept"), secret.plain);
    core.stop();
}

/// A place that is not there is told, and keeps nobody from starting.
#[test]
fn a_listed_folder_that_is_not_there_is_named_in_the_log_and_by_doctor() {
    let mut core = listing("[]");
    let (tokens, absent) = (core.dir().join("softhsm"), core.dir().join("absent"));
    list(&core, &format!("[{tokens:?}, {absent:?}]"));
    core.start();
    assert_eq!(core.standing(), "unsealed: ");
    let named = absent.display().to_string();
    assert!(core.said().lines().any(|line| line.contains("seal.writes") && line.contains(&named)), "{}", core.said());
    let found = core.cli(&["doctor"]);
    let told = String::from_utf8_lossy(&found.stdout).into_owned();
    assert!(told.contains(&format!("seal.writes: {named}")) && told.contains("confinement"), "{told}");
    core.stop();
}

/// A program that tries to write, and to signal its starter's starter, as a module could that was taken over.
fn intruder(core: &Core, places: [&Path; 3]) -> PathBuf {
    let program = core.dir().join("intruder");
    let [data, listed, outside] = places.map(|place| place.display().to_string());
    let test = std::process::id();
    let text = format!(
        "#!/bin/sh\nexec 2>/dev/null\n(echo x > {listed}/written)\n(echo x > {outside}/written)\n(echo after > {outside}/there)\n\
         (/bin/rm {outside}/gone)\n(/bin/mv {data}/lock {outside}/moved)\n(kill -0 {test} && echo x > {data}/signalled)\n\
         (/usr/bin/head -c 4 {outside}/there > {data}/read)\n(/bin/grep NoNewPrivs /proc/self/status > {data}/privileges)\n\
         echo x > {data}/ran\n"
    );
    fs::write(&program, text).expect("the folder is ours");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it is ours");
    program
}

#[test]
fn what_a_core_starts_writes_where_the_configuration_says_and_signals_nobody_else() {
    let core = listing("[]");
    let (data, listed, outside) = (core.data_dir(), core.dir().join("listed"), core.dir().join("outside"));
    for place in [&listed, &outside] {
        fs::create_dir(place).expect("the folder is ours");
    }
    for name in ["there", "gone"] {
        fs::write(outside.join(name), "before").expect("the folder is ours");
    }
    let program = intruder(&core, [&data, &listed, &outside]);
    list(&core, &format!("[{listed:?}]\n  device: {program:?}"));
    let mut core = core;
    core.start();
    // The core meets no answer where a device should be, and stays sealed.
    assert!(core.standing().starts_with("sealed: "), "{}", core.standing());
    assert!(wait_for(|| data.join("ran").exists()), "it was started: {}", core.said());
    let read = |path: PathBuf| fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(read(listed.join("written")), "x\n", "what is listed");
    assert_eq!(read(data.join("read")), "befo", "reading is free");
    assert!(read(data.join("privileges")).trim().ends_with('1'), "no new privileges");
    assert!(!outside.join("written").exists() && outside.join("gone").exists() && !outside.join("moved").exists());
    assert_eq!(read(outside.join("there")), "before");
    let confinement = status(&core, "confinement");
    assert!(["whole", "partial"].contains(&&*confinement), "the machine that tests this has Landlock: {confinement}");
    assert_eq!(data.join("signalled").exists(), confinement != "whole", "from Linux 6.12 on it signals nobody outside");
    let told = core.cli(&["status"]);
    assert!(String::from_utf8_lossy(&told.stdout).contains("only where the configuration says"), "{told:?}");
    core.kill();
    // The same program under nobody does all of it: it was not its own fault.
    assert!(Command::new(&program).status().expect("it is a program").success());
    assert!(outside.join("written").exists() && !outside.join("gone").exists() && data.join("signalled").exists());
    assert_eq!(read(outside.join("there")), "after\n");
}

/// As on a kernel from before Linux 5.13, or one that was booted without it.
#[test]
fn a_kernel_without_landlock_is_told_of_everywhere_and_keeps_nobody_from_serving() {
    let core = listing("[]");
    let python = std::env::var("STRONGROOM_TEST_PYTHON").expect("`cargo xtask check` names a Python");
    let plain = core.command();
    let mut command = Command::new(python);
    command.arg("-B").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("python/without_landlock.py"));
    command.arg(plain.get_program()).args(plain.get_args());
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let said = core.dir().join("said");
    let mut daemon = command.stderr(fs::File::create(&said).expect("the folder is ours")).spawn().expect("the interpreter starts");
    assert!(wait_for(|| core.status().contains("\"unsealed\"")), "{}", fs::read_to_string(&said).unwrap_or_default());
    assert_eq!(status(&core, "confinement"), "absent");
    let told = core.ask(&["status"]);
    assert!(told.contains("wherever its user may") && told.contains("lsm="), "{told}");
    assert!(core.metrics().contains("strongroom_warnings{about=\"confinement\"} 1"), "{}", core.metrics());
    let doctor = String::from_utf8_lossy(&core.cli(&["doctor"]).stdout).into_owned();
    assert!(doctor.lines().any(|line| line.starts_with("WARN") && line.contains("confinement")), "{doctor}");
    assert!(fs::read_to_string(&said).expect("it is ours").lines().any(|line| line.contains("WARN") && line.contains("Landlock")));
    signal(daemon.id(), Signal::SIGTERM);
    assert!(daemon.wait().expect("it is our child").success());
}
