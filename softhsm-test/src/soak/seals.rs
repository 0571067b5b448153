//! The matrix of seals: each kind of slot through all that is promised of it, on real tokens, a real TPM and people with `age` or a smart card.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::appliance::{Who, wait_for};
use crate::core::Core;
use crate::people::People;
use crate::requests::{self, Secret};
use crate::swtpm::Swtpm;

const NAMES: [&str; 3] = ["anna", "ben", "clara"];
/// Who of them has a smart card.
const CLARA: &str = NAMES[2];
const TOKENS: [&str; 3] = ["second", "third", "fourth"];
const COLUMNS: [&str; 6] = ["init", "opens after kill -9", "verify", "added while serving", "removed", "device gone: another opens"];

/// What keeps the slot's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Pkcs11,
    Tpm2,
    ShamirPeople,
    ShamirKeystores,
}

const KINDS: [(Kind, &str, &str); 4] = [
    (Kind::Pkcs11, "pkcs11", "second"),
    (Kind::Tpm2, "tpm2", "tpm"),
    (Kind::ShamirPeople, "shamir-people", "board"),
    (Kind::ShamirKeystores, "shamir-keystores", "shards"),
];

/// Takes each kind of slot through everything, `count` times; says how long each took, in seconds.
///
/// # Panics
/// If anything of it does not work.
#[must_use]
pub fn seal_campaign(count: u32) -> String {
    let mut said = String::new();
    for _ in 0..count {
        let rows: Vec<(&str, Vec<f64>)> = KINDS.iter().map(|(kind, name, custodian)| (*name, row(*kind, custodian))).collect();
        let _never_fails = writeln!(said, "{:<18}{}", "slot", COLUMNS.map(|column| format!("{column:>28}")).concat());
        for (name, seconds) in rows {
            let cells: String = seconds.iter().map(|seconds| format!("{:>28}", format!("{seconds:.1} s"))).collect();
            let _never_fails = writeln!(said, "{name:<18}{cells}");
        }
    }
    said
}

/// One kind, column by column.
fn row(kind: Kind, custodian: &str) -> Vec<f64> {
    let mut seconds = Vec::new();
    let mut timed = |work: &mut dyn FnMut()| {
        let begun = Instant::now();
        work();
        seconds.push(begun.elapsed().as_secs_f64());
    };
    // A cluster that is founded on it.
    let mut bench = Bench::new();
    bench.core.stop();
    timed(&mut || bench.found(kind, custodian));
    timed(&mut || {
        bench.core.kill();
        bench.core.start();
        bench.open(kind);
    });
    timed(&mut || bench.verify(kind, custodian));
    bench.core.stop();
    // One that a token has, to which it comes.
    let mut bench = Bench::new();
    let l3 = bench.core.value("L3_ID");
    let secret = requests::encrypt(&mut bench.core.connect(Who::Service), &l3, b"kept".to_vec()).expect("the core is open");
    timed(&mut || bench.add(kind, custodian));
    bench.must_serve(&secret);
    timed(&mut || {
        let _removed = bench.core.ask(&["slot", "remove", custodian, "--yes"]);
        assert!(!bench.core.ask(&["slot", "list"]).contains(custodian), "{kind:?} is still there");
    });
    bench.add(kind, custodian);
    softhsm_util(bench.core.dir(), &["--delete-token", "--token", "strongroom-dev"]);
    timed(&mut || {
        bench.core.kill();
        bench.core.start();
        bench.open(kind);
    });
    bench.must_serve(&secret);
    seconds
}

/// A prepared core, sealed by the token that `dev` made, and everything that can keep another slot.
struct Bench {
    core: Core,
    tpm: Swtpm,
    people: People,
    release_key: PathBuf,
}

impl Bench {
    fn new() -> Self {
        let (mut core, tpm, people) = (Core::prepared(), Swtpm::new(), People::new(&NAMES[..2]).with_card(CLARA));
        let dir = core.dir().to_owned();
        let pin = fs::read_to_string(core.credential()).expect("dev has written it");
        let mut custodians = format!("    - name: tpm\n      tpm2:\n        tcti: {:?}\n", tpm.tcti());
        for token in TOKENS {
            softhsm_util(&dir, &["--init-token", "--free", "--label", token, "--so-pin", "so-pin-0", "--pin", pin.trim()]);
            custodians += &format!(
                "    - name: {token}\n      pkcs11:\n        module: \"/usr/lib/softhsm/libsofthsm2.so\"\n        token: {token}\n        key: seal\n        \
                 pin: \"credential:hsm-pin\"\n        environment:\n          SOFTHSM2_CONF: {:?}\n",
                dir.join("softhsm/softhsm2.conf")
            );
        }
        custodians += &people.custodians(&NAMES, 2);
        custodians += &format!("    - name: shards\n      shamir:\n        threshold: 2\n        keepers: [{}]\n", TOKENS.join(", "));
        let config = fs::read_to_string(core.config()).expect("dev has written it");
        fs::write(core.config(), config + &custodians).expect("the folder is ours");
        let release_key = dir.join("release.pem");
        let openssl = ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out"];
        let made = Command::new("openssl").args(openssl).arg(&release_key).output();
        assert!(made.expect("openssl is installed").status.success());
        core.start();
        Self { core, tpm, people, release_key }
    }

    /// The state of the platform, signed for a new slot.
    fn approval(&self) -> String {
        assert!(self.tpm.pid() > 0, "the TPM runs");
        let out = self.core.dir().join("first.approval").display().to_string();
        let key = self.release_key.display().to_string();
        let _signed = self.core.ask(&["slot", "tpm-policy", "sign", "--custodian", "tpm", "--key", &key, "--out", &out]);
        out
    }

    /// Makes a new cluster, whose first slot is of this kind, and starts it.
    fn found(&mut self, kind: Kind, custodian: &str) {
        fs::remove_dir_all(self.core.data_dir()).expect("the folder is ours");
        let shards = self.core.dir().join("shards");
        let mut init = self.core.init_command();
        init.args(["--custodian", custodian]).stdin(Stdio::piped());
        match kind {
            Kind::Tpm2 => {
                init.args(["--approval", &self.approval()]);
            }
            Kind::ShamirPeople => {
                init.arg("--shards-dir").arg(&shards);
            }
            Kind::Pkcs11 | Kind::ShamirKeystores => {}
        }
        let mut founding = init.spawn().expect("strongroom is built");
        let mut stdin = founding.stdin.take().expect("it is piped");
        if kind == Kind::ShamirPeople {
            assert!(wait_for(|| fs::read_dir(&shards).is_ok_and(|files| files.count() == 3 * NAMES.len())), "no shards are handed out");
            for (point, name) in (1..).zip(NAMES) {
                let file = fs::read(shards.join(self.people.file_name(point, name))).expect("it was written");
                stdin.write_all(&[&self.people.decrypted(name, &file)[..], b"\n"].concat()).expect("it reads");
            }
        }
        drop(stdin);
        assert!(founding.wait().expect("it ends").success(), "{kind:?}: no cluster");
        self.core.start();
        self.open(kind);
    }

    /// Adds a slot of this kind; what people have of it they read back.
    fn add(&self, kind: Kind, custodian: &str) {
        let approval = self.approval();
        let more: &[&str] = match kind {
            Kind::Tpm2 => &["--approval", &approval],
            Kind::Pkcs11 | Kind::ShamirKeystores => &["--make-key"],
            Kind::ShamirPeople => &[],
        };
        let _added = self.core.ask(&[&["slot", "add", "--custodian", custodian], more].concat());
        if kind == Kind::ShamirPeople {
            assert_eq!(self.people.give(&self.core, "board", &NAMES), "listed");
        }
    }

    /// Two of the people open it; the others open by themselves.
    fn open(&self, kind: Kind) {
        if kind == Kind::ShamirPeople {
            assert!(self.core.standing().starts_with("sealed"), "{}", self.core.standing());
            assert_eq!(self.people.give(&self.core, "board", &NAMES[1..]), "unsealed");
        }
        assert_eq!(self.core.standing(), "unsealed: ", "{kind:?}");
    }

    fn verify(&self, kind: Kind, custodian: &str) {
        match kind {
            Kind::ShamirPeople => assert_eq!(self.people.give(&self.core, "board", &NAMES[..2]), "verified"),
            _ => assert!(self.core.ask(&["slot", "verify", custodian]).contains("opens")),
        }
    }

    fn must_serve(&self, secret: &Secret) {
        let plain = requests::decrypt(&mut self.core.connect(Who::Service), secret).expect("the core is open");
        assert_eq!(plain, secret.plain);
    }
}

fn softhsm_util(dir: &Path, arguments: &[&str]) {
    let run = Command::new("softhsm2-util").args(arguments).env("SOFTHSM2_CONF", dir.join("softhsm/softhsm2.conf")).output();
    let run = run.unwrap_or_else(|error| panic!("cannot run softhsm2-util ({error}): apt-get install softhsm2"));
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
}
