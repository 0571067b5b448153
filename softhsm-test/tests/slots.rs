//! Slots that come and go while a core serves: whichever device is lost, another slot opens it, and the last one stays.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use softhsm_test::{Core, Swtpm, Who, requests, wait_for};

/// A prepared core, and custodians to add slots with.
struct Bench {
    core: Core,
    tpm: Swtpm,
    release_key: PathBuf,
}

impl Bench {
    /// Sealed by the token that `dev` made; three more tokens, a TPM and shards on the three are configured.
    fn new() -> Self {
        let (mut core, tpm) = (Core::prepared(), Swtpm::new());
        let dir = core.dir().to_owned();
        let mut custodians = String::new();
        for token in ["second", "third", "fourth"] {
            softhsm_util(&dir, &["--init-token", "--free", "--label", token, "--so-pin", "so-pin-0", "--pin", &pin(&core)]);
            custodians += &token_text(&dir, token, token, "        pin: \"credential:hsm-pin\"\n");
        }
        custodians += &format!("    - name: tpm\n      tpm2:\n        tcti: {:?}\n", tpm.tcti());
        custodians += "    - name: shards\n      shamir:\n        threshold: 2\n        keepers: [second, third, fourth]\n";
        let config = fs::read_to_string(core.config()).expect("dev has written it");
        fs::write(core.config(), config + &custodians + &token_text(&dir, "typed", "second", "")).expect("the folder is ours");
        core.start();
        let release_key = dir.join("release.pem");
        let openssl = ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out"];
        let made = Command::new("openssl").args(openssl).arg(&release_key).output();
        assert!(made.expect("openssl is installed").status.success());
        Self { core, tpm, release_key }
    }

    fn done(&self, arguments: &[&str]) -> Value {
        let arguments = [&["--json"], arguments].concat();
        serde_json::from_str(&self.core.ask(&arguments)).expect("JSON")
    }

    /// Prints for people.
    fn text(&self, arguments: &[&str]) -> String {
        self.core.ask(arguments)
    }

    fn refused(&self, arguments: &[&str]) -> String {
        let Output { status, stderr, .. } = self.core.cli(arguments);
        assert!(!status.success(), "strongroom {} was done", arguments.join(" "));
        String::from_utf8_lossy(&stderr).into_owned()
    }

    /// The state of the platform, signed for a new slot.
    fn approval(&self) -> String {
        let out = self.core.dir().join("first.approval").display().to_string();
        let key = self.release_key.display().to_string();
        self.text(&["slot", "tpm-policy", "sign", "--custodian", "tpm", "--key", &key, "--out", &out]);
        out
    }

    fn labels(&self) -> Vec<String> {
        let slots = self.done(&["slot", "list"]);
        let slots = slots.as_array().expect("a list");
        slots.iter().map(|slot| slot["label"].as_str().expect("a text").to_owned()).collect()
    }

    fn warnings(&self) -> String {
        serde_json::from_str::<Value>(&self.core.status()).expect("JSON")["warnings"].to_string()
    }

    /// Kills the core and starts it again, which opens it by itself if a slot does.
    fn crash(&mut self) {
        self.core.kill();
        self.core.start();
    }

    /// What was encrypted before opens; the slots are those on record.
    fn must_serve(&self, secret: &requests::Secret) {
        assert_eq!(self.core.standing(), "unsealed: ");
        let plain = requests::decrypt(&mut self.core.connect(Who::Service), secret).expect("the core is open");
        assert_eq!(plain, secret.plain);
        assert!(!self.warnings().contains("outside"), "{}", self.warnings());
    }
}

/// The value of a series on the core's page of metrics.
fn metric(core: &Core, series: &str) -> Option<f64> {
    core.metrics().lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

fn pin(core: &Core) -> String {
    fs::read_to_string(core.credential()).expect("dev has written it").trim().to_owned()
}

fn conf(dir: &Path) -> PathBuf {
    dir.join("softhsm/softhsm2.conf")
}

fn softhsm_util(dir: &Path, arguments: &[&str]) {
    let run = Command::new("softhsm2-util").args(arguments).env("SOFTHSM2_CONF", conf(dir)).output();
    let run = run.unwrap_or_else(|error| panic!("cannot run softhsm2-util ({error}): apt-get install softhsm2"));
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
}

fn token_text(dir: &Path, name: &str, token: &str, pin: &str) -> String {
    let conf = conf(dir);
    format!(
        r#"    - name: {name}
      pkcs11:
        module: "/usr/lib/softhsm/libsofthsm2.so"
        token: {token}
        key: seal
{pin}        environment:
          SOFTHSM2_CONF: {conf:?}
"#
    )
}

#[test]
fn whichever_device_is_lost_another_slot_opens_and_the_last_one_stays() {
    let mut bench = Bench::new();
    let l3 = bench.core.value("L3_ID");
    let secret = requests::encrypt(&mut bench.core.connect(Who::Service), &l3, b"kept".to_vec()).expect("the core is well");
    assert!(bench.warnings().contains("independent slots: 1"), "{}", bench.warnings());

    // A TPM, a token and shards, one after the other, while it serves.
    let told = bench.refused(&["slot", "add", "--custodian", "tpm"]);
    assert!(told.contains("tpm-policy sign"), "{told}");
    let added = bench.done(&["slot", "add", "--custodian", "tpm", "--approval", &bench.approval()]);
    assert_eq!((added["label"].as_str(), added["probe"].as_str()), (Some("tpm"), Some("good")), "{added}");
    assert!(!bench.warnings().contains("independent"), "{}", bench.warnings());
    let told = bench.refused(&["slot", "add", "--custodian", "second", "--label", "spare"]);
    assert!(told.contains("no key"), "{told}");
    bench.done(&["slot", "add", "--custodian", "second", "--label", "spare", "--make-key"]);
    bench.done(&["slot", "add", "--custodian", "shards", "--make-key"]);
    assert_eq!(bench.labels(), ["softhsm", "tpm", "spare", "shards"]);
    bench.must_serve(&secret);
    assert!(bench.text(&["slot", "verify"]).lines().count() == 4);

    // What cannot be, and says why.
    assert!(bench.refused(&["slot", "add", "--custodian", "second", "--label", "spare"]).contains("labelled `spare` already"));
    let told = bench.refused(&["slot", "add", "--custodian", "nobody"]);
    assert!(told.contains("seal.custodians") && told.contains("restart strongroomd"), "{told}");
    let told = bench.refused(&["slot", "add", "--custodian", "typed"]);
    assert!(told.contains("`typed` needs a PIN") && told.contains("credential"), "{told}");
    assert!(bench.refused(&["slot", "remove", "spare"]).contains("--yes"));
    assert_eq!(bench.labels().len(), 4);

    // The first device is destroyed.
    bench.crash();
    bench.must_serve(&secret);
    softhsm_util(bench.core.dir(), &["--delete-token", "--token", "strongroom-dev"]);
    bench.crash();
    bench.must_serve(&secret);
    let removed = bench.done(&["slot", "remove", "softhsm", "--yes"]);
    assert!(removed["stays"].as_str().is_some_and(|stays| stays.contains("key on the token") && stays.contains("stays")), "{removed}");
    // Then the TPM: the token and the shards are left.
    bench.tpm.stop();
    bench.crash();
    bench.must_serve(&secret);
    bench.done(&["slot", "remove", "tpm", "--yes"]);
    assert_eq!(fs::read_dir(bench.core.data_dir().join("slots")).expect("readable").count(), 3, "two slots and the table");
    // Then a token that has a slot of its own and keeps a shard.
    softhsm_util(bench.core.dir(), &["--delete-token", "--token", "second"]);
    bench.crash();
    bench.must_serve(&secret);

    // The shards are the last that open.
    let told = bench.refused(&["slot", "remove", "shards", "--yes"]);
    assert!(told.contains("no other slot opens") && told.contains("spare"), "{told}");
    bench.done(&["slot", "remove", "spare", "--yes"]);
    let told = bench.refused(&["slot", "remove", "shards", "--yes"]);
    assert!(told.contains("no other slot opens"), "{told}");
    assert_eq!(bench.labels(), ["shards"]);
    bench.crash();
    bench.must_serve(&secret);

    // Nothing is changed by a node that is sealed, and every change is in the log.
    bench.text(&["seal"]);
    assert!(bench.refused(&["slot", "remove", "shards", "--yes"]).contains("the node is sealed"));
    assert!(bench.refused(&["slot", "add", "--custodian", "third"]).contains("the node is sealed"));
    bench.text(&["unseal"]);
    bench.must_serve(&secret);
    assert!(bench.text(&["audit", "verify"]).contains("verifies"));
}

#[test]
fn a_device_that_fails_is_told_by_status_metrics_and_doctor_until_it_is_mended() {
    let mut bench = Bench::new();
    let tpm = bench.done(&["slot", "add", "--custodian", "tpm", "--approval", &bench.approval()]);
    let series = format!("strongroom_slot_opens{{slot=\"{}\"}}", tpm["id"].as_str().expect("an id"));
    let is = |value: f64, expected: f64| (value - expected).abs() < 0.1;
    assert!(metric(&bench.core, &series).is_some_and(|value| is(value, 1.0)), "{}", bench.core.metrics());
    assert!(metric(&bench.core, "strongroom_slots_independent").is_some_and(|value| is(value, 2.0)));
    let doctor = |bench: &Bench| String::from_utf8_lossy(&bench.core.cli(&["doctor"]).stdout).into_owned();
    let said = doctor(&bench);
    assert!(said.contains("(softhsm) died: slots lost: softhsm; still open: tpm"), "{said}");
    assert!(said.contains("(tpm) died: slots lost: tpm; still open: softhsm"), "{said}");

    // So that the test need not wait for an hour.
    let config = fs::read_to_string(bench.core.config()).expect("it is there");
    fs::write(bench.core.config(), config.replace("seal:\n", "seal:\n  probe_interval: \"1s\"\n")).expect("the folder is ours");
    bench.tpm.stop();
    bench.crash();
    assert!(wait_for(|| bench.warnings().contains("slot `tpm`")), "{}", bench.warnings());
    assert!(bench.warnings().contains("mend its device and run `strongroom slot verify"), "{}", bench.warnings());
    assert!(metric(&bench.core, &series).is_some_and(|value| is(value, 0.0)), "{}", bench.core.metrics());
    let said = doctor(&bench);
    assert!(said.contains("(softhsm) died, every key would be lost") && said.contains("strongroom slot add"), "{said}");
    bench.tpm.start();
    assert!(wait_for(|| !bench.warnings().contains("slot `tpm`")), "{}", bench.warnings());
    assert!(metric(&bench.core, &series).is_some_and(|value| is(value, 1.0)), "{}", bench.core.metrics());
}
