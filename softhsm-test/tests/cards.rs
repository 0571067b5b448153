//! A core whose slot people open by shards, one of whom keeps theirs on a smart card.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use softhsm_test::{Card, Core, LABEL, MODULE, PIN, People, Who, binary, requests, wait_for};

const NAMES: [&str; 3] = ["anna", "ben", "dora"];
/// Who has the card.
const DORA: &str = "dora";

fn json(core: &Core, arguments: &[&str]) -> Value {
    serde_json::from_str(&core.ask(&[&["--json"], arguments].concat())).expect("JSON")
}

fn status(core: &Core) -> Value {
    serde_json::from_str(&core.status()).expect("JSON")
}

fn taken(said: Output) -> Value {
    let Output { status, stdout, stderr } = said;
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    serde_json::from_slice(&stdout).expect("JSON")
}

fn refused(said: Output) -> String {
    let Output { status, stderr, .. } = said;
    assert!(!status.success(), "it was taken");
    String::from_utf8_lossy(&stderr).into_owned()
}

/// The file with one character of its block changed.
fn altered(file: &Path) -> PathBuf {
    let text = fs::read_to_string(file).expect("it was written");
    let at = text.find("-----END").expect("it has an end") - 20;
    let other = if text.as_bytes()[at] == b'A' { "B" } else { "A" };
    let path = file.with_extension("altered");
    fs::write(&path, [&text[..at], other, &text[at + 1..]].concat()).expect("the folder is ours");
    path
}

#[test]
fn a_card_gives_its_shard_and_whatever_else_is_tried_is_named_and_changes_nothing() {
    let people = People::new(&NAMES[..2]).with_card(DORA);
    let card = people.card(DORA).expect("she has one");
    let mut core = Core::prepared();
    let config = fs::read_to_string(core.config()).expect("dev has written it");
    fs::write(core.config(), config + &people.custodians(&NAMES, 2)).expect("the folder is ours");
    core.start();
    let l3 = core.value("L3_ID");
    let secret = requests::encrypt(&mut core.connect(Who::Service), &l3, b"kept on a card".to_vec()).expect("the core is well");
    assert!(refused(core.cli(&["slot", "add", "--custodian", DORA])).contains("`dora` is a person"));
    let _added = core.ask(&["slot", "add", "--custodian", "board", "--label", "recovery"]);

    // What everybody may see of it names the key as openssl does.
    let digest: String = cipher::mac::sha256(&[&card.spki()]).iter().map(|byte| format!("{byte:02x}")).collect();
    let split = json(&core, &["slot", "shards", "recovery"]);
    let own = &split["shards"][2];
    assert_eq!((own["kind"].as_str(), own["recipient"].as_str()), (Some("card"), Some(&*format!("sha256:{digest}"))), "{split}");
    assert!(own["age_file"].is_null() && split["shards"][0]["card_file"].is_null(), "{split}");
    let out = core.dir().join("out");
    let _told = core.ask(&["slot", "shards", "recovery", "--out", &out.display().to_string()]);
    assert_eq!(fs::read_dir(&out).expect("readable").count(), 9);
    let [file, sheet] = ["3-dora.card", "3-dora.txt"].map(|name| out.join(name));
    let printed = fs::read_to_string(&sheet).expect("it was written");
    assert!(
        printed.contains("3 of 3; any 2 open") && printed.contains("--card MODULE --token LABEL") && printed.contains(&digest),
        "{printed}"
    );

    // A wrong PIN is tried once and told, and nothing is kept that would refuse the right one.
    card.hsm.write_pin("0000-wrong");
    let told = refused(card.give(&core, &file));
    assert!(told.contains("refused the PIN, which was tried once"), "{told}");
    card.hsm.write_pin(PIN);
    // Another card of the same name, a file that was altered, and no card.
    let told = refused(Card::new().give(&core, &file));
    assert!(told.contains("the shard is not for the card with serial") && told.contains("none of its 1 RSA keys"), "{told}");
    let told = refused(card.give(&core, &altered(&file)));
    assert!(told.contains("the card has the right key and does not open the shard: the file was altered"), "{told}");
    let told = refused(card.give_command(&core, &file, "nobodys").output().expect("strongroom is built"));
    assert!(told.contains("no token with label `nobodys` among the 1"), "{told}");
    card.hsm.pull();
    let told = refused(card.give(&core, &file));
    assert!(told.contains(&format!("no token with label `{LABEL}` among the 0")), "{told}");
    card.hsm.put_back();
    let told = refused(card.give(&core, &out.join("1-anna.age")));
    assert!(told.contains("1-anna.age holds no shard for a card"), "{told}");
    assert_eq!(status(&core)["shards"], serde_json::json!([]));
    assert!(status(&core)["warnings"].to_string().contains("independent slots: 1"), "the slot does not count");

    // The sheet does as well as the file.
    assert_eq!(taken(card.give(&core, &sheet))["outcome"], "collecting");
    assert!(refused(card.give(&core, &file)).contains("the shard of `dora` was given already"));
    assert_eq!(people.give(&core, "recovery", &NAMES[..2]), "listed");
    assert_eq!(
        (taken(card.give(&core, &file))["outcome"].as_str(), people.give(&core, "recovery", &["ben"])),
        (Some("collecting"), "verified".to_owned())
    );

    // The device is destroyed; the card and a person bring the node back.
    let conf = core.dir().join("softhsm/softhsm2.conf");
    let gone = Command::new("softhsm2-util").args(["--delete-token", "--token", "strongroom-dev"]).env("SOFTHSM2_CONF", conf).output();
    assert!(gone.expect("softhsm2 is installed").status.success());
    let anna = people.shard(&core, "recovery", "anna");
    core.kill();
    core.start();
    let reason = status(&core)["reason"].to_string();
    assert!(reason.contains("0 of the 2 shards") && reason.contains("`dora` opens the shard by their card"), "{reason}");
    assert_eq!(taken(card.give(&core, &file))["missing"], serde_json::json!(["anna", "ben"]));
    assert_eq!(taken(softhsm_test::give_shard(&core, &anna))["outcome"], "unsealed");
    assert_eq!(requests::decrypt(&mut core.connect(Who::Service), &secret).expect("the core is open"), b"kept on a card");
    assert!(core.ask(&["audit", "verify"]).contains("verifies"));
}

#[test]
fn a_cluster_is_founded_by_a_card_at_the_table() {
    let people = People::new(&NAMES[..2]).with_card(DORA);
    let card = people.card(DORA).expect("she has one");
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (config, data, out) = (dir.path().join("core.yaml"), dir.path().join("core"), dir.path().join("out"));
    let text = format!(
        "role: core\ndata_dir: {:?}\nlisteners:\n  health: {{bind: none}}\nseal:\n  device: {:?}\n  custodians:\n{}",
        data.display(),
        binary("strongroom-device", "hsm-helper").display(),
        people.custodians(&NAMES, 2)
    );
    fs::write(&config, text).expect("the folder is ours");
    let mut init = Command::new(binary("strongroom", "daemon"));
    init.arg("--config").arg(&config).arg("init").arg("--shards-dir").arg(&out).envs(card.hsm.environment());
    let mut founding = init.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("strongroom runs");
    let mut stdin = founding.stdin.take().expect("it is piped");
    assert!(wait_for(|| fs::read_dir(&out).is_ok_and(|files| files.count() == 9)), "the shards are not handed out");
    let file = out.join("3-dora.card");
    // With a wrong PIN first, which is told; then the others are asked as before.
    for pin in ["0000-wrong", PIN] {
        writeln!(stdin, "card\n{MODULE}\n{LABEL}\n{}\n{pin}", file.display()).expect("it reads");
    }
    for (point, name) in [(1, "anna"), (2, "ben")] {
        let text = people.decrypted(name, &fs::read(out.join(people.file_name(point, name))).expect("it was written"));
        stdin.write_all(&[&text[..], b"\n"].concat()).expect("it reads");
    }
    let said = founding.wait_with_output().expect("it ends");
    let told = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success(), "{told}");
    assert!(told.contains("not taken: the card with serial") && told.contains("tried once") && !told.contains("SRSHARD1-"), "{told}");
    assert!(data.join("node.json").exists());
}
