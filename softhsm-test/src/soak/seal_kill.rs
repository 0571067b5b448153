//! The seal-kill campaign: a core is killed at the n-th call by which it makes something durable, for every n, while a slot is split among people, and
//! while the MasterKey is replaced (F12). Which call is the n-th is counted for each thread of the core by itself.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use data_encoding::BASE64;
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
/// If a core does not open by itself after a kill, a key does not open its ciphertext, a slot in force does not open, a change looks like somebody
/// else's, or the log does not verify.
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
         slots in force that did not open 0, changes taken for somebody else's 0",
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
}

impl Bench {
    fn new() -> Self {
        let (mut core, people) = (Core::prepared(), People::new(&NAMES));
        let config = fs::read_to_string(core.config()).expect("dev has written it");
        fs::write(core.config(), config + &people.custodians(&NAMES, 2)).expect("the folder is ours");
        core.start();
        let secret = requests::encrypt(&mut core.connect(Who::Service), &core.value("L3_ID"), b"kept".to_vec()).expect("the core is well");
        Self { core, people, secret, generation: 1 }
    }

    /// Kills the core at a call; false if the change has no such call.
    fn round(&mut self, site: Site, nth: u32, tally: &mut Tally) -> bool {
        let store: [PathBuf; 1] = [self.core.store()];
        let paths: Vec<&Path> = store.iter().filter(|_| site.is_stores).map(AsRef::as_ref).collect();
        let strace = Strace::attach(self.core.pid(), &format!("{}:signal=SIGKILL:when={nth}", site.call), &paths);
        let done = match site.change {
            Change::Split => self.split(),
            Change::Rekey => self.done(&["ceremony", "start", "rekey"]),
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

    fn done(&self, arguments: &[&str]) -> Result<(), String> {
        said(&self.core.cli(arguments))
    }

    /// Splits a further slot among people, who read their shards back.
    fn split(&self) -> Result<(), String> {
        self.done(&["slot", "add", "--custodian", "board"])?;
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
                    let _removed = self.core.ask(&["slot", "remove", "board", "--yes"]);
                }
            }
            Change::Rekey => {
                let _cleared = self.core.ask(&["ceremony", "start", "rekey", "--abandon"]);
                let generation = self.slots()[0]["generation"].as_u64().expect("a number");
                assert!(generation == self.generation || generation == self.generation + 1, "{at}: generation {generation}");
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
