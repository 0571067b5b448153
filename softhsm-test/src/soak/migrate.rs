//! The migration campaign: as the kill campaign, while an operator moves all rows from the core's own file to PostgreSQL, from there to OpenBao and back,
//! round and round, and the servers are killed, stopped and frozen now and then.
//!
//! After a restart a migration that was under way goes on or is undone by itself, everything acknowledged is there, and what rows have left is empty.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use keys::id::{Layer, OutboxSeq};
use keys::port::{Keystore, Query};
use serde_json::Value;
use storage::embedded::Embedded;

use crate::appliance::{wait_for, wait_for_within};
use crate::core::{Core, copy_store};
use crate::load::Over;
use crate::openbao::OpenbaoServer;
use crate::postgres::PostgresServer;
use crate::soak::kill::{Beside, killed};
use crate::soak::random::Random;
use crate::soak::workload::Refusals;

/// One of so many migrations is aborted.
const ABORTS_TURN: u64 = 5;
/// One of so many lives of the core sees a server fail.
const FAULTS_TURN: u64 = 3;
/// In one of so many restarts the next load and kill do not wait for the migration's end.
const UNENDED_TURN: u64 = 2;
/// What the configuration has as the time of a call.
const TIMEOUT: Duration = Duration::from_secs(4);
/// How long a migration may take that was carried on.
const ENDS_WITHIN: Duration = Duration::from_secs(180);
/// All refusals while a server is away say this.
const REFUSAL: &str = "unavailable; try again later";

/// Where the rows go from one to the next.
const ROUND: [&str; 3] = ["embedded", "main", "vault"];

/// Runs `count` rounds of load, migrations, kill, restart and check; says what was seen.
///
/// # Panics
/// At the first thing that is missing, left behind or does not verify.
#[must_use]
pub fn migration_campaign(count: u32, seed: u64) -> String {
    let (mut begun, mut aborted, mut resumed, mut unended) = (BTreeMap::new(), 0, 0, 0);
    let (mut ended, mut emptied, mut faults) = (0, BTreeMap::new(), BTreeMap::new());
    let tally = killed(count, seed, Migrations::new, |migrations| {
        add(&mut begun, migrations.begun.into_inner().unwrap_or_else(PoisonError::into_inner));
        add(&mut faults, migrations.faults.into_inner().unwrap_or_else(PoisonError::into_inner));
        add(&mut emptied, migrations.emptied);
        ended += migrations.ended.into_inner();
        aborted += migrations.aborted.into_inner();
        resumed += migrations.resumed;
        unended += migrations.unended;
    });
    if let Some(other) = tally.refusals().find(|said| !said.contains(REFUSAL)) {
        panic!("a client was told something else than to come again: {other}");
    }
    format!(
        "{tally}; migrations begun {begun:?}, ended while the core ran {ended}, aborted {aborted}, cut off by a kill and carried on {resumed}, of these \
         killed again before their end {unended}; faults of servers {faults:?}; looks into what was emptied {emptied:?}, rows left behind 0"
    )
}

fn add(all: &mut BTreeMap<&'static str, u64>, more: BTreeMap<&'static str, u64>) {
    more.into_iter().for_each(|(name, times)| *all.entry(name).or_default() += times);
}

/// What is known of one folder.
struct Migrations {
    database: Mutex<PostgresServer>,
    vault: Mutex<OpenbaoServer>,
    name: String,
    prefix: String,
    /// To where, and how often.
    begun: Mutex<BTreeMap<&'static str, u64>>,
    ended: AtomicU64,
    aborted: AtomicU64,
    faults: Mutex<BTreeMap<&'static str, u64>>,
    resumed: u64,
    unended: u64,
    restarts: u64,
    emptied: BTreeMap<&'static str, u64>,
}

impl Migrations {
    fn new() -> Self {
        let (database, vault) = (PostgresServer::new(), OpenbaoServer::new());
        let (name, prefix) = (database.database(), vault.prefix());
        Self {
            database: Mutex::new(database),
            vault: Mutex::new(vault),
            name,
            prefix,
            begun: Mutex::default(),
            ended: AtomicU64::new(0),
            aborted: AtomicU64::new(0),
            faults: Mutex::default(),
            resumed: 0,
            unended: 0,
            restarts: 0,
            emptied: BTreeMap::new(),
        }
    }

    /// Lets a server fail for a while.
    fn fail_one(&self, random: &mut Random) {
        let away = Duration::from_millis(random.within(50..1500));
        let wait = || _ = wait_for_within(away, || false);
        let fault = match random.within(0..6) {
            0 => {
                let mut server = self.database.lock().unwrap_or_else(PoisonError::into_inner);
                server.crash();
                wait();
                server.start();
                "PostgreSQL killed"
            }
            1 => {
                let mut server = self.database.lock().unwrap_or_else(PoisonError::into_inner);
                server.stop();
                wait();
                server.start();
                "PostgreSQL stopped"
            }
            2 => {
                let server = self.database.lock().unwrap_or_else(PoisonError::into_inner);
                server.freeze();
                wait();
                server.thaw();
                "PostgreSQL frozen"
            }
            3 => {
                let mut server = self.vault.lock().unwrap_or_else(PoisonError::into_inner);
                server.crash();
                wait();
                server.start();
                "OpenBao killed"
            }
            4 => {
                let server = self.vault.lock().unwrap_or_else(PoisonError::into_inner);
                server.seal();
                wait();
                server.unseal();
                "OpenBao sealed"
            }
            _ => {
                let server = self.vault.lock().unwrap_or_else(PoisonError::into_inner);
                server.freeze();
                wait();
                server.thaw();
                "OpenBao frozen"
            }
        };
        *self.faults.lock().unwrap_or_else(PoisonError::into_inner).entry(fault).or_default() += 1;
    }

    /// Has rows moved on until the core does not answer any more.
    fn move_on(&self, core: &Core, random: &mut Random) {
        // One that an earlier life has left.
        while core.cli(&["--json", "keystore", "migrate", "--status", "--watch"]).status.success() {
            let listed = core.cli(&["--json", "keystore", "list"]);
            let Ok(stores) = serde_json::from_slice::<Value>(&listed.stdout) else { return };
            let from = default_of(&stores);
            let place = ROUND.iter().position(|name| *name == from).expect("it is one of these");
            let to = ROUND[(place + 1) % ROUND.len()];
            let is_aborted = random.within(0..ABORTS_TURN) == 0;
            let begun = core.cli(&["--json", "keystore", "migrate", "--from", &from, "--to", to]);
            if !begun.status.success() {
                // The core is gone, or a server is away.
                thread::park_timeout(Duration::from_millis(100));
                if core.cli(&["--json", "keystore", "list"]).status.success() {
                    continue;
                }
                return;
            }
            *self.begun.lock().unwrap_or_else(PoisonError::into_inner).entry(to).or_default() += 1;
            if is_aborted {
                // It may have switched already, and then goes on.
                let aborted = core.cli(&["--json", "keystore", "migrate", "--abort"]);
                self.aborted.fetch_add(u64::from(aborted.status.success()), Ordering::Relaxed);
            }
            if !core.cli(&["--json", "keystore", "migrate", "--status", "--watch"]).status.success() {
                return;
            }
            self.ended.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// # Panics
    /// If anything is left in a keystore that the rows have left.
    fn must_be_empty(&mut self, core: &Core, default: &str) {
        if default != "main" {
            let server = self.database.get_mut().unwrap_or_else(PoisonError::into_inner);
            if server.sql(&self.name, "select to_regclass('strongroom.records') is not null") == "t" {
                let tables = ["records", "terms", "kek_storage", "outbox"];
                let counts = tables.map(|table| format!("(select count(*) from strongroom.{table})")).join(" || ' ' || ");
                assert_eq!(
                    server.sql(&self.name, &format!("select {counts}")),
                    "0 0 0 0",
                    "{} of them are left in the database",
                    tables.join(", ")
                );
                *self.emptied.entry("main").or_default() += 1;
            }
        }
        if default != "vault" {
            let left = self.vault.get_mut().unwrap_or_else(PoisonError::into_inner).left(&self.prefix);
            assert!(left.is_empty(), "{} entries are left on OpenBao: {left:?}", left.len());
            *self.emptied.entry("vault").or_default() += 1;
        }
        if default != "embedded" {
            let left = rows_in_file(core);
            assert_eq!(left, 0, "rows and records are left in the core's own file");
            *self.emptied.entry("embedded").or_default() += 1;
        }
    }
}

/// Rows and audit records in the core's own file, which nobody writes to: a copy of it tells.
fn rows_in_file(core: &Core) -> usize {
    let copy = core.dir().join("copy.redb");
    copy_store(&core.store(), &copy).expect("the folder is ours");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let left = runtime.block_on(async {
        let store = Embedded::open(&copy).expect("it is sound");
        let mut left = store.outbox(OutboxSeq(0), 9).await.expect("it reads").len();
        for layer in (0..=u8::MAX).filter_map(|layer| Layer::try_from(layer).ok()) {
            left += store.find(&Query { layer, terms: Vec::new(), before: None, limit: 9 }).await.expect("it reads").len();
        }
        left
    });
    fs::remove_file(&copy).expect("the folder is ours");
    left
}

impl Beside for Migrations {
    /// Long enough for some of them to end.
    const LIFE_MILLIS: std::ops::Range<u64> = 100..6000;
    /// While a server is away.
    const REFUSALS: Refusals = Refusals::Counted;
    const PAUSE: Duration = Duration::from_millis(40);

    /// The core hears of the servers at its next start.
    fn prepare(&mut self, core: &Core) {
        let config = fs::read_to_string(core.config()).expect("dev has written it");
        let url = self.database.get_mut().unwrap_or_else(PoisonError::into_inner).url(&self.name);
        let vault = self.vault.get_mut().unwrap_or_else(PoisonError::into_inner);
        core.write_credential(OpenbaoServer::CREDENTIAL, &vault.secret_id());
        let vault = vault.section(&vault.url(), &vault.role_id(), &self.prefix, "ca.pem", TIMEOUT);
        let database = format!("{{url: '{url}', timeout: {}s}}", TIMEOUT.as_secs());
        let keystores =
            format!("\nkeystores:\n  main: {{postgres: {database}}}\n  vault: {{openbao: {vault}}}\nrouting: [{{keystore: embedded}}]\n");
        fs::write(core.config(), config + &keystores).expect("the folder is ours");
    }

    fn files(&self, core: &Core) -> Vec<PathBuf> {
        let names = ["routing.redb", "intents-vault.redb", "placement.json"];
        names.iter().map(|name| core.data_dir().join(name)).filter(|path| path.exists()).collect()
    }

    fn work(&self, core: &Core, random: &mut Random) {
        let is_over = AtomicBool::new(false);
        let mut faults = random.fork();
        thread::scope(|scope| {
            let over = Over(&is_over);
            scope.spawn(|| {
                if faults.within(0..FAULTS_TURN) != 0 {
                    return;
                }
                let begin = Duration::from_millis(faults.within(0..3000));
                if !wait_for_within(begin, || is_over.load(Ordering::Relaxed)) {
                    self.fail_one(&mut faults);
                }
            });
            self.move_on(core, random);
            drop(over);
        });
    }

    /// A server that is slow just then is awaited by a core that serves.
    fn is_whole(&self, core: &Core) -> bool {
        let page = core.metrics();
        let mut open = page.lines().filter(|line| line.starts_with("strongroom_keystore_open{"));
        open.all(|line| line.rsplit(' ').next().and_then(|value| value.parse().ok()) == Some(1.0))
    }

    fn check(&mut self, core: &Core) {
        self.restarts += 1;
        let status = || json(core, &["keystore", "migrate", "--status"]);
        if status()["state"] != "none" {
            self.resumed += 1;
            if self.restarts.is_multiple_of(UNENDED_TURN) {
                self.unended += 1;
                return;
            }
        }
        let ends = wait_for_within(ENDS_WITHIN, || status()["state"] == "none");
        assert!(ends, "the migration does not end: {}", status());
        assert!(wait_for(|| !core.status().contains("a change of several keystores waits")), "{}", core.status());
        let default = default_of(&json(core, &["keystore", "list"]));
        self.must_be_empty(core, &default);
    }
}

fn default_of(stores: &Value) -> String {
    let is_default = |store: &&Value| store["rows"].as_array().is_some_and(|rows| !rows.is_empty());
    let found = stores.as_array().into_iter().flatten().find(is_default);
    found.and_then(|store| store["name"].as_str()).expect("one is the default").to_owned()
}

fn json(core: &Core, arguments: &[&str]) -> Value {
    serde_json::from_str(&core.ask(&[&["--json"], arguments].concat())).expect("an answer in JSON")
}
