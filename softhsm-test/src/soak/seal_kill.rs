//! The seal-kill campaign: a core is killed at the n-th call by which it makes something durable, for every n, while a slot is split among people, and
//! while the MasterKey is replaced and the custodians with it (F12); all of it is approved in ceremonies. Which call is the n-th is counted for each thread
//! of the core by itself.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::fs;
use std::mem;
use std::path::Path;
use std::process::{Command, Output};

use data_encoding::{BASE64, HEXLOWER};
use serde_json::Value;

use crate::appliance::{Who, wait_for};
use crate::core::Core;
use crate::people::{People, give_shard};
use crate::requests::{self, Secret};
use crate::soak::strace::Strace;
use crate::soak::{each_call, verified};

const NAMES: [&str; 3] = ["anna", "ben", "clara"];

/// What is under way when the core is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    Split,
    Rekey,
}

/// One kind of call during one change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Site {
    change: Change,
    call: &'static str,
    /// Of the keystore alone; else whatever file it concerns.
    is_stores: bool,
}

/// Slots and ceremonies are synced by fsync, the keystore by fdatasync.
const SITES: [Site; 8] = [
    Site { change: Change::Split, call: "fsync", is_stores: false },
    Site { change: Change::Split, call: "rename", is_stores: false },
    Site { change: Change::Split, call: "unlink", is_stores: false },
    Site { change: Change::Rekey, call: "fsync", is_stores: false },
    Site { change: Change::Rekey, call: "rename", is_stores: false },
    Site { change: Change::Rekey, call: "unlink", is_stores: false },
    Site { change: Change::Rekey, call: "pwrite64", is_stores: true },
    Site { change: Change::Rekey, call: "fdatasync", is_stores: true },
];

impl Display for Site {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}{}", self.change, self.call, if self.is_stores { " of the keystore" } else { "" })
    }
}

#[derive(Debug, Default)]
struct Tally {
    kills: BTreeMap<Site, u32>,
    /// After how many kills the change was there as a whole, was waiting for people, and was absent.
    whole: u32,
    waiting: u32,
    absent: u32,
}

/// Kills a core at most `count` times: at each site's 1st, 2nd, 3rd ... call, until a site has no further; says what was seen.
///
/// # Panics
/// If a core does not open by itself after a kill, a key does not open its ciphertext, a slot in force does not open, the custodians are not those who
/// go with the MasterKey, a change looks like somebody else's, or the log does not verify.
#[must_use]
pub fn seal_kill_campaign(count: u32) -> String {
    let mut bench = Bench::new();
    let mut tally = Tally::default();
    let covered = each_call(SITES, count, |site, nth| bench.round(site, nth, &mut tally));
    bench.core.stop();
    let _last = verified(&bench.core);
    let kills: Vec<String> = tally.kills.iter().map(|(site, kills)| format!("{site} {kills}")).collect();
    format!(
        "rounds {}, kills {} ({}: {}); after a kill the change was there as a whole {}, waiting for people {}, absent {}; cores that did not open 0, \
         slots in force that did not open 0, custodians of another MasterKey 0, changes taken for somebody else's 0",
        covered.rounds,
        tally.kills.values().sum::<u32>(),
        if covered.is_all { "until no call was left" } else { "some sites have further calls" },
        kills.join(", "),
        tally.whole,
        tally.waiting,
        tally.absent
    )
}

struct Bench {
    core: Core,
    people: People,
    secret: Secret,
    /// The MasterKey in force before the change.
    generation: u64,
    /// The one custodian then, and the one who takes turns with them.
    now: Custodian,
    next: Custodian,
}

/// Somebody who approves alone.
#[derive(Debug)]
struct Custodian {
    /// File of the private key.
    key: String,
    /// SHA-256 of the public one.
    spki: String,
}

impl Custodian {
    fn of(core: &Core, number: u8) -> Self {
        let key = core.value(&format!("CUSTODIAN{number}_KEY"));
        let der = Command::new("openssl").args(["pkey", "-in", &key, "-pubout", "-outform", "DER"]).output().expect("openssl is installed");
        assert!(der.status.success());
        Self { spki: HEXLOWER.encode(&cipher::mac::sha256(&[&der.stdout])), key }
    }
}

impl Bench {
    fn new() -> Self {
        let (mut core, people) = (Core::prepared(), People::new(&NAMES));
        let config = fs::read_to_string(core.config()).expect("dev has written it");
        fs::write(core.config(), config + &people.custodians(&NAMES, 2)).expect("the folder is ours");
        core.start();
        let secret = requests::encrypt(&mut core.connect(Who::Service), &core.value("L3_ID"), b"kept".to_vec()).expect("the core is well");
        let [now, next] = [1, 2].map(|number| Custodian::of(&core, number));
        // The first comes by the operator's word alone.
        let _founded = core.ask(&["ceremony", "start", "rekey", "--roster", &now.spki, "--approvals", "1"]);
        Self { core, people, secret, generation: 2, now, next }
    }

    /// Kills the core at a call; false if the change has no such call.
    fn round(&mut self, site: Site, nth: u32, tally: &mut Tally) -> bool {
        let stores = self.core.stores();
        let paths: Vec<&Path> = stores.iter().filter(|_| site.is_stores).map(AsRef::as_ref).collect();
        let strace = Strace::attach(self.core.pid(), &format!("{}:signal=SIGKILL:when={nth}", site.call), &paths);
        let done = match site.change {
            Change::Split => self.split(),
            Change::Rekey => self.approved(&["rekey", "--roster", &self.next.spki, "--approvals", "1"], &self.now),
        };
        if let Err(told) = &done {
            assert!(wait_for(|| self.core.has_ended()), "{site} {nth}: refused by a core that runs: {told}");
        }
        // Not before the core is reaped: a strace that is told to go waits for the threads of a process that nobody has.
        drop(strace);
        let was_killed = done.is_err() || self.core.has_ended();
        if was_killed {
            self.core.kill();
            self.core.start();
            *tally.kills.entry(site).or_default() += 1;
        }
        self.settle(site, &format!("{site} {nth}"), was_killed.then_some(tally));
        was_killed
    }

    /// Has something done that a custodian approves.
    fn approved(&self, asked: &[&str], by: &Custodian) -> Result<(), String> {
        said(&self.core.cli(&[&["ceremony", "start"], asked].concat()))?;
        let done = self.core.cli(&["--json", "ceremony", "approve", "--yes", "--key", &by.key]);
        said(&done)?;
        let ceremony: Value = serde_json::from_slice(&done.stdout).expect("JSON");
        if ceremony["state"] == "done" { Ok(()) } else { Err(ceremony["state"].to_string()) }
    }

    /// Who would have to approve something now.
    fn asked_now(&self) -> Value {
        let text = self.core.ask(&["--json", "ceremony", "start", "rekey", "--abandon"]);
        let _cancelled = self.core.ask(&["ceremony", "cancel"]);
        serde_json::from_str::<Value>(&text).expect("JSON")["custodians"].clone()
    }

    /// Splits a further slot among people, who read their shards back.
    fn split(&self) -> Result<(), String> {
        self.approved(&["slot-add", "--custodian", "board"], &self.now)?;
        self.read_back()
    }

    /// Has all people give their shards.
    fn read_back(&self) -> Result<(), String> {
        let shards = self.core.cli(&["--json", "slot", "shards", "board"]);
        said(&shards)?;
        let split: Value = serde_json::from_slice(&shards.stdout).expect("JSON");
        let files = split["shards"].as_array().into_iter().flatten().filter_map(|shard| shard["age_file"].as_str());
        let files: Vec<Vec<u8>> = files.map(|file| BASE64.decode(file.as_bytes()).expect("Base64")).collect();
        assert_eq!(files.len(), NAMES.len());
        NAMES.iter().zip(&files).try_for_each(|(name, file)| said(&give_shard(&self.core, &self.people.decrypted(name, file))))
    }

    /// Looks what is there, and brings the core back to one slot of one generation.
    fn settle(&mut self, site: Site, at: &str, tally: Option<&mut Tally>) {
        assert_eq!(self.core.standing(), "unsealed: ", "{at}");
        let status = self.core.status();
        assert!(!status.contains("outside") && !status.contains("table of slots"), "{at}: {status}");
        let plain = requests::decrypt(&mut self.core.connect(Who::Service), &self.secret).unwrap_or_else(|error| panic!("{at}: {error}"));
        assert_eq!(plain, self.secret.plain, "{at}: a wrong plaintext");
        // What was asked when the core was killed, and not approved yet.
        let _ended = self.core.cli(&["ceremony", "cancel"]);
        match site.change {
            Change::Split => {
                let board = self.slots().into_iter().find(|slot| slot["label"] == "board");
                let waits =
                    board.as_ref().is_some_and(|slot| slot["probe"].as_str().is_some_and(|probe| probe.contains("waits for its shards")));
                if let Some(tally) = tally {
                    *match (&board, waits) {
                        (None, _) => &mut tally.absent,
                        (Some(_), true) => &mut tally.waiting,
                        (Some(_), false) => &mut tally.whole,
                    } += 1;
                }
                if board.is_some() {
                    self.approved(&["slot-remove", "board"], &self.now).unwrap_or_else(|told| panic!("{at}: {told}"));
                }
            }
            Change::Rekey => {
                let asked = self.asked_now();
                let are_new = asked == serde_json::json!([self.next.spki]);
                if are_new {
                    mem::swap(&mut self.now, &mut self.next);
                }
                assert_eq!(asked, serde_json::json!([self.now.spki]), "{at}: neither the one nor the other");
                self.approved(&["rekey", "--abandon"], &self.now).unwrap_or_else(|told| panic!("{at}: {told}"));
                let generation = self.slots()[0]["generation"].as_u64().expect("a number");
                assert!(generation == self.generation || generation == self.generation + 1, "{at}: generation {generation}");
                assert_eq!(are_new, generation > self.generation, "{at}: the custodians of one MasterKey with another");
                if let Some(tally) = tally {
                    *(if generation > self.generation { &mut tally.whole } else { &mut tally.absent }) += 1;
                }
                self.generation = generation;
            }
        }
        assert_eq!(self.slots().len(), 1, "{at}: {:?}", self.slots());
        assert_eq!(self.core.ask(&["slot", "verify"]).lines().count(), 1, "{at}");
    }

    fn slots(&self) -> Vec<Value> {
        serde_json::from_str(&self.core.ask(&["--json", "slot", "list"])).expect("JSON")
    }
}

/// What a command that was refused has said.
fn said(Output { status, stderr, .. }: &Output) -> Result<(), String> {
    if status.success() { Ok(()) } else { Err(String::from_utf8_lossy(stderr).into_owned()) }
}
