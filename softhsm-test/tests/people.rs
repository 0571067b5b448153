//! A core whose slot people open by shards, which they keep by the real `age`.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use daemon::kmip_client::{Endpoint, KmipClient};
use kmip::ProtocolVersion;
use serde_json::Value;
use softhsm_test::requests::Secret;
use softhsm_test::{Core, People, Who, altered_shard, give_shard, requests, wait_for};

const NAMES: [&str; 5] = ["anna", "ben", "clara", "dora", "emil"];

fn json(core: &Core, arguments: &[&str]) -> Value {
    serde_json::from_str(&core.ask(&[&["--json"], arguments].concat())).expect("JSON")
}

fn status(core: &Core) -> Value {
    serde_json::from_str(&core.status()).expect("JSON")
}

fn taken(core: &Core, text: &[u8]) -> Value {
    let Output { status, stdout, stderr } = give_shard(core, text);
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    serde_json::from_slice(&stdout).expect("JSON")
}

fn refused(core: &Core, text: &[u8]) -> String {
    let Output { status, stderr, .. } = give_shard(core, text);
    assert!(!status.success(), "it was taken");
    String::from_utf8_lossy(&stderr).into_owned()
}

fn destroy_token(core: &Core) {
    let conf = core.dir().join("softhsm/softhsm2.conf");
    let run = Command::new("softhsm2-util").args(["--delete-token", "--token", "strongroom-dev"]).env("SOFTHSM2_CONF", conf).output();
    assert!(run.expect("softhsm2 is installed").status.success());
}

/// Puts a copy in the place of the data folder, as a host does that was restored from one.
fn on_a_copy(core: &Core) {
    let copy = core.dir().join("copy");
    let copied = Command::new("cp").arg("-a").arg(core.data_dir()).arg(&copy).status();
    assert!(copied.is_ok_and(|copied| copied.success()));
    fs::remove_dir_all(core.data_dir()).and_then(|()| fs::rename(copy, core.data_dir())).expect("the folder is ours");
}

/// Something encrypted under every key that a core of several tenants has, each with the service that opens it.
struct Estate {
    secrets: Vec<(Endpoint, Secret)>,
}

/// A client of that role and name, with a certificate of its own.
fn peer(core: &Core, role: &str, tenant: &str, name: &str) -> Endpoint {
    let [cert, key] = ["crt", "key"].map(|kind| core.dir().join(format!("{role}-{tenant}-{name}.{kind}")).display().to_string());
    let (ca, ca_key) = (core.value("CA_CERT"), core.value("CA_KEY"));
    let whose = ["--role", role, "--tenant", tenant, "--name", name, "--out", &cert, "--out-key", &key];
    let _issued = core.ask(&[&["cert", "issue", "--ca", &ca, "--ca-key", &ca_key], &whose[..]].concat());
    Endpoint { cert: cert.into(), key: key.into(), ..core.endpoint(Who::Service) }
}

fn connected(to: &Endpoint) -> KmipClient {
    KmipClient::connect(to, ProtocolVersion::V1_4).expect("the core serves")
}

impl Estate {
    /// Of each tenant a service with its default key and two more, of which one and the default key have three versions; then of one tenant another service.
    fn new(core: &Core) -> Self {
        let mut this = Self { secrets: Vec::new() };
        for (tenant, service) in [("acme", "billing"), ("globex", "billing"), ("initech", "payroll")] {
            if tenant == "initech" {
                let _made = core.ask(&["tenant", "create", tenant]);
                let _made = core.ask(&["service", "create", tenant, service]);
            }
            let (service, mut admin) = (peer(core, "service", tenant, service), connected(&peer(core, "tenant-admin", tenant, "alice")));
            let default = requests::default_key(&mut admin).expect("the service has one");
            let [plain, rotated] = ["plain", "rotated"].map(|name| {
                let key = requests::create(&mut admin, name).expect("the name is free");
                requests::activate(&mut admin, &key).expect("it is new");
                key
            });
            this.encrypt(&service, &plain);
            for mut key in [default, rotated] {
                this.encrypt(&service, &key);
                for _ in 0..2 {
                    key = requests::rekey(&mut admin, &key).expect("it is Active");
                    this.encrypt(&service, &key);
                }
            }
        }
        let made = json(core, &["service", "create", "acme", "archive"]);
        this.encrypt(&peer(core, "service", "acme", "archive"), made["default_key"].as_str().expect("a text"));
        this
    }

    fn encrypt(&mut self, service: &Endpoint, key: &str) {
        let plain = format!("under {key}").into_bytes();
        self.secrets.push((service.clone(), requests::encrypt(&mut connected(service), key, plain).expect("the key is Active")));
    }

    /// Opens everything; says how many keys that were.
    fn opened(&self) -> usize {
        let mut keys = std::collections::BTreeSet::new();
        for (service, secret) in &self.secrets {
            let plain = requests::decrypt(&mut connected(service), secret).unwrap_or_else(|error| panic!("{}: {error}", secret.key));
            assert_eq!(plain, secret.plain, "{}", secret.key);
            keys.insert(&secret.key);
        }
        keys.len()
    }
}

#[test]
fn five_people_are_given_shards_while_the_core_serves_and_three_bring_it_back() {
    let people = People::new(&NAMES);
    let mut core = Core::prepared();
    let config = fs::read_to_string(core.config()).expect("dev has written it");
    fs::write(core.config(), config + &people.custodians(&NAMES, 3)).expect("the folder is ours");
    core.start();
    let l3 = core.value("L3_ID");
    let secret = requests::encrypt(&mut core.connect(Who::Service), &l3, b"kept by five".to_vec()).expect("the core is well");
    let estate = Estate::new(&core);

    // The slot is made, and waits for all five.
    let added = json(&core, &["slot", "add", "--custodian", "board", "--label", "recovery"]);
    assert!(added["probe"].as_str().is_some_and(|probe| probe.contains("waits for its shards")), "{added}");
    assert!(status(&core)["warnings"].to_string().contains("independent slots: 1"), "it does not count yet");
    let out = core.dir().join("out");
    let _told = core.ask(&["slot", "shards", "recovery", "--out", &out.display().to_string()]);
    let armored = fs::read(out.join("2-ben.age")).expect("it was written");
    let ben = people.decrypted("ben", &armored);
    assert!(ben.starts_with(b"SRSHARD1-"));
    let sheet = fs::read_to_string(out.join("2-ben.txt")).expect("it was written");
    assert!(sheet.contains("2 of 5; any 3 open") && !sheet.contains(&String::from_utf8_lossy(&ben)[9..40]), "{sheet}");
    assert_eq!(fs::read_dir(&out).expect("readable").count(), 15);

    assert_eq!(taken(&core, &ben)["outcome"], "collecting");
    assert!(refused(&core, &ben).contains("the shard of `ben` was given already"));
    for name in ["anna", "clara", "dora"] {
        assert_eq!(taken(&core, &people.shard(&core, "recovery", name))["outcome"], "collecting");
    }
    let waits = status(&core)["shards"].clone();
    assert_eq!((waits[0]["given"].as_array().map(Vec::len), &waits[0]["missing"]), (Some(4), &serde_json::json!(["emil"])), "{waits}");
    assert_eq!(taken(&core, &people.shard(&core, "recovery", "emil"))["outcome"], "listed");
    assert!(!status(&core)["warnings"].to_string().contains("independent"), "{}", status(&core));
    assert!(!status(&core)["warnings"].to_string().contains("outside"), "{}", status(&core));

    // While the node is open, three show that they would open it.
    for (name, outcome) in [("emil", "collecting"), ("dora", "collecting"), ("anna", "verified")] {
        assert_eq!(taken(&core, &people.shard(&core, "recovery", name))["outcome"], outcome);
    }

    // Every device is destroyed, and the process killed.
    let [anna, clara, dora] = ["anna", "clara", "dora"].map(|name| people.shard(&core, "recovery", name));
    destroy_token(&core);
    core.kill();
    on_a_copy(&core);
    core.start();
    assert!(wait_for(|| status(&core)["reason"].to_string().contains("0 of the 3 shards")), "{}", status(&core));
    assert_eq!(taken(&core, &anna)["outcome"], "collecting");
    assert_eq!(taken(&core, &clara)["wants"], 3);
    // A restart drops what was given.
    core.kill();
    core.start();
    assert!(wait_for(|| status(&core)["reason"].to_string().contains("0 of the 3 shards")), "{}", status(&core));
    assert_eq!(taken(&core, &anna)["given"], serde_json::json!(["anna"]));
    // One that is altered is named, others are told apart.
    let told = refused(&core, &altered_shard(&clara));
    assert!(told.contains("the shard of `clara` is not the one that was made"), "{told}");
    let mut typo = clara.clone();
    typo[20] = if typo[20] == b'A' { b'B' } else { b'A' };
    assert!(refused(&core, &typo).contains("a character of it is wrong"));
    assert_eq!(taken(&core, &clara)["outcome"], "collecting");
    assert_eq!(status(&core)["state"], "sealed");
    let last = taken(&core, &dora);
    assert_eq!((last["outcome"].as_str(), last["keeper"].as_str()), (Some("unsealed"), Some("dora")));
    assert_eq!(requests::decrypt(&mut core.connect(Who::Service), &secret).expect("the core is open"), b"kept by five");
    // Every key of every tenant: three times seven, and that of the other service.
    assert_eq!(estate.opened(), 22);
    assert!(core.ask(&["status"]).contains("resident ("), "no slot opens without people, so the MasterKey stays for jobs");
    assert!(core.ask(&["audit", "verify"]).contains("verifies"));

    // A shard of a split that is gone is told so.
    let _told = core.ask(&["slot", "add", "--custodian", "board", "--label", "later"]);
    let old = people.shard(&core, "later", "anna");
    let _told = core.ask(&["slot", "remove", "later", "--yes"]);
    assert!(refused(&core, &old).contains("a slot that is not here any more"));
    assert!(refused(&core, b"SRSHARD1-NONSENSE").contains("no shard"));
    // With the two before it: four. The fifth is looked at, the sixth is not.
    assert!(refused(&core, b"SRSHARD1-NONSENSE").contains("no shard"));
    let told = refused(&core, &anna);
    assert!(told.contains("5 shards were wrong within 60 s: wait"), "{told}");
}

#[test]
fn a_cluster_is_founded_on_people_alone() {
    let people = People::new(&NAMES);
    let core = Core::prepared();
    let (data, config) = (core.dir().join("people"), core.dir().join("people.yaml"));
    let text = format!(
        "role: core\ndata_dir: {:?}\nlisteners:\n  health: {{bind: none}}\nseal:\n  device: {:?}\n  custodians:\n{}",
        data.display(),
        softhsm_test::binary("strongroom-device", "hsm-helper").display(),
        people.custodians(&NAMES, 3)
    );
    fs::write(&config, text).expect("the folder is ours");
    let init = |more: &[&str]| {
        let mut command = Command::new(softhsm_test::binary("strongroom", "daemon"));
        command.arg("--config").arg(&config).arg("init").args(more);
        command
    };
    let told = init(&[]).output().expect("strongroom runs");
    assert!(String::from_utf8_lossy(&told.stderr).contains("--shards-dir"), "{}", String::from_utf8_lossy(&told.stderr));

    let out = core.dir().join("out");
    let mut command = init(&["--shards-dir", &out.display().to_string()]);
    let mut founding = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("strongroom runs");
    let mut stdin = founding.stdin.take().expect("it is piped");
    assert!(wait_for(|| fs::read_dir(&out).is_ok_and(|files| files.count() == 15)), "the shards are not handed out");
    // One gives theirs twice, one mistypes theirs first.
    let texts: Vec<Vec<u8>> = (1..)
        .zip(NAMES)
        .map(|(point, name)| people.decrypted(name, &fs::read(out.join(format!("{point}-{name}.age"))).expect("it was written")))
        .collect();
    for text in [&texts[0][..], &texts[0], b"SRSHARD1-TYPO", &texts[1], &texts[2], &texts[3], &texts[4]] {
        stdin.write_all(text).and_then(|()| stdin.write_all(b"\n")).expect("it reads");
    }
    let said = founding.wait_with_output().expect("it ends");
    let told = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success(), "{told}");
    assert!(told.contains("`anna` was given already") && told.contains("a character of it is wrong"), "{told}");
    assert!(!told.contains("SRSHARD1-A") && fs::read_dir(data.join("slots")).expect("readable").count() == 2, "a slot and the table");

    // Nobody comes back: nothing is initialised.
    fs::remove_dir_all(&data).expect("the folder is ours");
    fs::remove_dir_all(&out).expect("the folder is ours");
    let left = init(&["--shards-dir", &out.display().to_string()]).stdin(Stdio::null()).output().expect("strongroom runs");
    let told = String::from_utf8_lossy(&left.stderr);
    assert!(!left.status.success() && told.contains("nothing was initialised") && told.contains("anna, ben"), "{told}");
    assert!(!data.join("node.json").exists());
}
