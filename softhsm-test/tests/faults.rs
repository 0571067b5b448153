//! Bad input and faults against a whole core: each has a precise error, and loses nothing.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use nix::sys::signal::Signal;
use softhsm_test::{Appliance, Core, Who, binary, signal, wait_for};

fn reason(core: &Core) -> String {
    let status: serde_json::Value = serde_json::from_str(&core.status()).expect("status is JSON");
    format!("{}: {}", status["state"].as_str().unwrap_or_default(), status["reason"].as_str().unwrap_or_default())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_wrong_pin_is_tried_once_then_latched_until_an_operator_says_so() {
    let mut core = Core::prepared();
    let right = core.write_pin("not-the-pin");
    core.start();
    let first = reason(&core);
    assert!(first.starts_with("sealed: ") && first.contains("PIN"), "{first}");
    // The right PIN alone does not help: no login is tried before somebody has looked.
    let _wrong = core.write_pin(&right);
    let refused = core.cli(&["unseal"]);
    assert!(!refused.status.success());
    assert!(text(&refused.stderr).contains("--retry-pin"), "{}", text(&refused.stderr));
    let slots: serde_json::Value = serde_json::from_str(&core.ask(&["--json", "slot", "list"])).expect("a list in JSON");
    let slot = slots[0]["id"].as_str().expect("there is one slot").to_owned();
    let _verified = core.ask(&["slot", "verify", &slot, "--retry-pin"]);
    let _unsealed = core.ask(&["unseal"]);
    assert_eq!(reason(&core), "unsealed: ");
    core.stop();
}

/// `strongroom dev` ended at once on a folder whose PIN was latched, and told to use commands that need a node.
#[test]
fn dev_keeps_a_core_with_a_latched_pin_running_so_that_it_can_be_unsealed() {
    let dir = Appliance::start().stop();
    let pin = dir.path().join("softhsm/credentials/hsm-pin");
    let right = fs::read(&pin).expect("dev has written it");
    let write = |text: &[u8]| {
        let written = fs::remove_file(&pin).and_then(|()| fs::write(&pin, text));
        written.and_then(|()| fs::set_permissions(&pin, fs::Permissions::from_mode(0o400))).expect("the folder is ours");
    };
    write(b"not-the-pin");
    let mut dev = Command::new(binary("strongroom", "daemon")).args(["dev", "--dir"]).arg(dir.path()).spawn().expect("the binary is there");
    let socket = dir.path().join("core/strongroom.sock");
    let ask = |arguments: &[&str]| {
        let asked = Command::new(binary("strongroom", "daemon")).arg("--socket").arg(&socket).arg("--json").args(arguments).output();
        text(&asked.expect("the binary is there").stdout)
    };
    assert!(wait_for(|| ask(&["status"]).contains("PIN")), "{}", ask(&["status"]));
    write(&right);
    let slots: serde_json::Value = serde_json::from_str(&ask(&["slot", "list"])).expect("a list in JSON");
    let slot = slots[0]["id"].as_str().expect("there is one slot").to_owned();
    let _verified = ask(&["slot", "verify", &slot, "--retry-pin"]);
    let _unsealed = ask(&["unseal"]);
    assert!(ask(&["status"]).contains("\"unsealed\""), "{}", ask(&["status"]));
    signal(dev.id(), Signal::SIGTERM);
    assert!(dev.wait().expect("it is our child").success());
}

#[test]
fn a_mistyped_pin_is_latched_and_the_right_one_typed_with_leave_opens() {
    let mut core = Core::prepared();
    let config = fs::read_to_string(core.config()).expect("dev has written it");
    let without_pin: String = config.lines().filter(|line| !line.contains("pin:")).map(|line| format!("{line}\n")).collect();
    fs::write(core.config(), without_pin).expect("the folder is ours");
    core.start();
    assert!(reason(&core).contains("needs a PIN"), "{}", reason(&core));
    let typed = |name: &str, pin: &str, options: &[&str]| {
        let file = core.dir().join(name);
        fs::write(&file, pin).expect("the folder is ours");
        let file = file.display().to_string();
        core.cli(&[&["unseal", "--custodian", "softhsm", "--pin-file", &file], options].concat())
    };
    let right = fs::read_to_string(core.dir().join("softhsm/credentials/hsm-pin")).expect("dev has written it");
    assert!(!typed("wrong", "not-the-pin", &[]).status.success());
    let latched = typed("right", &right, &[]);
    assert!(!latched.status.success() && text(&latched.stderr).contains("--retry-pin"), "{}", text(&latched.stderr));
    let opened = typed("right", &right, &["--retry-pin"]);
    assert!(opened.status.success(), "{}", text(&opened.stderr));
    assert!(core.status().contains("resident"), "no slot opens without a person, so the MasterKey stays: {}", core.status());
    let _sealed = core.ask(&["seal"]);
    core.stop();
}

#[test]
fn without_its_audit_log_a_core_still_tells_its_status_and_seals() {
    let mut core = Core::prepared();
    core.start();
    let folder = core.dir().join("core/audit");
    for segment in fs::read_dir(&folder).expect("there is a log").flatten() {
        fs::remove_file(segment.path()).expect("the folder is ours");
    }
    assert!(wait_for(|| !core.status().contains("\"writable\"")), "the loss is noticed: {}", core.status());
    assert!(!core.cli(&["tenant", "create", "initech"]).status.success(), "a change without a record");
    let _sealed = core.ask(&["seal"]);
    assert!(reason(&core).starts_with("sealed"), "{}", reason(&core));
}

#[test]
fn a_missing_token_leaves_the_core_sealed_and_serving_its_status() {
    let mut core = Core::prepared();
    core.pull_token();
    core.start();
    let why = reason(&core);
    assert!(why.starts_with("sealed: ") && why.contains("token"), "{why}");
    assert_eq!(core.cli(&["tenant", "list"]).status.code(), Some(3), "a sealed node exits with 3");
    core.return_token();
    let _unsealed = core.ask(&["unseal"]);
    assert!(core.ask(&["tenant", "list"]).contains("acme"));
    core.stop();
}

#[test]
fn a_token_pulled_while_serving_stops_nobody() {
    let mut core = Core::prepared();
    core.start();
    core.pull_token();
    let slots: serde_json::Value = serde_json::from_str(&core.ask(&["--json", "slot", "list"])).expect("a list in JSON");
    let slot = slots[0]["id"].as_str().expect("there is one slot");
    assert!(!core.cli(&["slot", "verify", slot]).status.success(), "a slot verifies without its token");
    let _made = core.ask(&["tenant", "create", "initech"]);
    core.return_token();
    let _verified = core.ask(&["slot", "verify", slot]);
    core.stop();
}

#[test]
fn a_taken_port_is_named() {
    let core = Core::prepared();
    let _holder = TcpListener::bind(core.value("KMIP_CORE")).expect("the port is free while nothing runs");
    let ended = core.run_to_its_end();
    assert!(!ended.status.success());
    let said = text(&ended.stderr);
    assert!(said.contains("listeners.kmip.bind") && said.contains(&core.value("KMIP_CORE")), "{said}");
}

#[test]
fn a_misspelt_config_key_is_named_with_what_was_meant() {
    let core = Core::prepared();
    let config = fs::read_to_string(core.config()).expect("dev has written it");
    fs::write(core.config(), config.replace("data_dir:", "data_dri:")).expect("the folder is ours");
    for output in [core.run_to_its_end(), core.cli(&["config", "check"])] {
        let said = text(&output.stderr);
        assert!(!output.status.success() && said.contains("data_dri") && said.contains("data_dir"), "{said}");
    }
}

#[test]
fn a_second_daemon_on_the_same_data_is_refused() {
    let mut core = Core::prepared();
    core.start();
    let second = core.run_to_its_end();
    assert!(!second.status.success() && text(&second.stderr).contains("another"), "{}", text(&second.stderr));
    core.stop();
}

#[test]
fn init_does_not_touch_a_folder_that_holds_a_cluster() {
    let core = Core::prepared();
    let before = fs::read(core.dir().join("core/store.redb")).expect("there is a store");
    let refused = core.cli(&["init", "--make-key"]);
    assert!(!refused.status.success() && text(&refused.stderr).contains("holds a cluster already"), "{}", text(&refused.stderr));
    assert_eq!(fs::read(core.dir().join("core/store.redb")).expect("there is a store"), before);
}

#[test]
fn an_init_killed_at_any_moment_leaves_no_cluster_or_a_whole_one() {
    let mut core = Core::prepared();
    let data = core.dir().join("core");
    fs::remove_dir_all(&data).expect("the folder is ours");
    let (mut cut_off, mut whole) = (0, 0);
    for millis in (1..).step_by(4) {
        let mut init = core.init_command().spawn().expect("the binary is there");
        let (_keep, timer) = mpsc::channel::<()>();
        let _elapsed = timer.recv_timeout(Duration::from_millis(millis));
        signal(init.id(), Signal::SIGKILL);
        let finished = init.wait().expect("it is our child").success();
        if data.join("node.json").exists() {
            core.start();
            assert_eq!(reason(&core), "unsealed: ", "an init of {millis} ms");
            core.stop();
            fs::remove_dir_all(&data).expect("the folder is ours");
            whole += 1;
        } else {
            assert!(!finished, "an init that ends well makes a cluster");
            cut_off += 1;
        }
        if finished {
            break;
        }
    }
    assert!(cut_off > 5 && whole > 0, "{cut_off} cut off, {whole} whole");
}

#[test]
fn a_lost_node_file_does_not_cost_the_keys() {
    let core = Core::prepared();
    fs::rename(core.dir().join("core/node.json"), core.dir().join("node.json")).expect("it is there");
    let before = fs::read(core.dir().join("core/store.redb")).expect("there is a store");
    assert!(core.init_command().status().expect("the binary is there").success(), "an init on what looks unfinished");
    let aside = fs::read_dir(core.dir().join("core")).expect("a folder").flatten().map(|entry| entry.path());
    let aside = aside.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("aside-"))).max();
    let kept = aside.expect("what was there is kept").join("store.redb");
    assert_eq!(fs::read(kept).expect("the store is kept"), before);
}

#[test]
fn a_lost_keystore_is_not_replaced_by_an_empty_one() {
    let core = Core::prepared();
    fs::remove_file(core.dir().join("core/store.redb")).expect("there is a store");
    let ended = core.run_to_its_end();
    assert!(!ended.status.success() && text(&ended.stderr).contains("is missing"), "{}", text(&ended.stderr));
    assert!(!core.dir().join("core/store.redb").exists());
}

/// CAP_IPC_LOCK lifts the limit for root, so it is dropped with all other capabilities.
#[test]
fn too_small_a_memory_limit_is_a_start_up_error_that_names_it() {
    let core = Core::prepared();
    let daemon = core.command();
    let ended = Command::new("setpriv")
        .args(["--bounding-set=-all", "--inh-caps=-all", "prlimit", "--memlock=65536:65536"])
        .arg(daemon.get_program())
        .args(daemon.get_args())
        .output()
        .expect("util-linux is on every Debian");
    let said = text(&ended.stderr);
    assert!(!ended.status.success() && said.contains("RLIMIT_MEMLOCK is 65536") && said.contains("memory.arena"), "{said}");
}

#[test]
fn a_stopped_core_leaves_a_log_that_verifies_and_a_torn_one_is_told_apart() {
    let core = Core::prepared();
    let verified = core.ask(&["audit", "verify"]);
    assert!(verified.contains("records"), "{verified}");
    let log = fs::read_dir(core.dir().join("core/audit")).expect("there is a log").flatten().map(|entry| entry.path());
    let log = log.filter(|path| path.extension().is_some_and(|extension| extension == "log")).max().expect("it has a segment");
    let mut bytes = fs::read(&log).expect("it reads");
    bytes[200] ^= 1;
    fs::write(&log, bytes).expect("the folder is ours");
    let refused = core.cli(&["audit", "verify"]);
    assert_eq!(refused.status.code(), Some(4), "{}", text(&refused.stderr));
}

/// F22: a core that cannot accept for want of descriptors must not give up accepting.
#[test]
fn a_core_out_of_descriptors_serves_again_once_there_are_some() {
    let mut core = Core::prepared();
    core.start();
    let open = fs::read_dir(format!("/proc/{}/fd", core.pid())).expect("the core runs").count();
    let limit = format!("--nofile={0}:{0}", open + 5);
    let limited = Command::new("prlimit").args(["--pid", &core.pid().to_string(), &limit]).status();
    assert!(limited.is_ok_and(|status| status.success()), "util-linux is on every Debian");
    let crowd: Vec<_> = (0..40).map(|_| TcpStream::connect(core.value("KMIP_CORE")).expect("the kernel still takes connections")).collect();
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", core.pid())).map_or(0, Iterator::count);
    assert!(wait_for(|| descriptors() >= open + 5), "every descriptor is taken: {} of {}", descriptors(), open + 5);
    drop(crowd);
    assert!(wait_for(|| core.try_connect(Who::Service).is_ok()), "the core no longer accepts");
    assert_eq!(reason(&core), "unsealed: ");
    core.stop();
}
