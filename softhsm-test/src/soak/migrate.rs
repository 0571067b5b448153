//! The migration campaign: as the kill campaign, while an operator moves all rows from the core's own file to a database and back, without a pause.
//!
//! After each restart a migration that was under way goes on or was undone by itself, everything acknowledged is there, and what rows have left is empty.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use crate::appliance::wait_for;
use crate::core::Core;
use crate::postgres::PostgresServer;
use crate::soak::kill::{Beside, killed};
use crate::soak::random::Random;

/// One of so many migrations is aborted.
const ABORTS_TURN: u64 = 4;

/// Runs `count` rounds of load, migrations, kill, restart and check; says what was seen.
///
/// # Panics
/// At the first thing that is missing, left behind or does not verify.
#[must_use]
pub fn migration_campaign(count: u32, seed: u64) -> String {
    let (mut begun, mut ended, mut aborted, mut resumed) = (0, 0, 0, 0);
    let tally = killed(count, seed, Migrations::new, |migrations| {
        begun += migrations.begun.into_inner();
        ended += migrations.ended.into_inner();
        aborted += migrations.aborted.into_inner();
        resumed += migrations.resumed;
    });
    format!(
        "{tally}; migrations begun {begun}, ended while the core ran {ended}, aborted {aborted}, cut off by a kill and carried on {resumed}; rows left \
         behind 0"
    )
}

/// What is known of one folder.
struct Migrations {
    server: PostgresServer,
    database: String,
    begun: AtomicU64,
    ended: AtomicU64,
    aborted: AtomicU64,
    resumed: u64,
}

impl Migrations {
    fn new() -> Self {
        let server = PostgresServer::new();
        let database = server.database();
        Self { server, database, begun: AtomicU64::new(0), ended: AtomicU64::new(0), aborted: AtomicU64::new(0), resumed: 0 }
    }
}

impl Beside for Migrations {
    /// Long enough for some of them to end.
    const LIFE_MILLIS: std::ops::Range<u64> = 100..5000;

    /// The core hears of the database at its next start.
    fn prepare(&mut self, core: &Core) {
        let config = fs::read_to_string(core.config()).expect("dev has written it");
        let url = self.server.url(&self.database);
        let keystores = format!("\nkeystores: {{main: {{postgres: {{url: '{url}'}}}}}}\nrouting: [{{keystore: embedded}}]\n");
        fs::write(core.config(), config + &keystores).expect("the folder is ours");
    }

    fn work(&self, core: &Core, random: &mut Random) {
        loop {
            let listed = core.cli(&["--json", "keystore", "list"]);
            let Ok(stores) = serde_json::from_slice::<Value>(&listed.stdout) else { return };
            let [from, to] = if default_of(&stores) == "embedded" { ["embedded", "main"] } else { ["main", "embedded"] };
            let is_aborted = random.within(0..ABORTS_TURN) == 0;
            let begun = core.cli(&["--json", "keystore", "migrate", "--from", from, "--to", to]);
            if !begun.status.success() {
                return;
            }
            self.begun.fetch_add(1, Ordering::Relaxed);
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

    fn check(&mut self, core: &Core) {
        let status = || json(core, &["keystore", "migrate", "--status"]);
        self.resumed += u64::from(status()["state"] != "none");
        assert!(wait_for(|| status()["state"] == "none"), "the migration does not end: {}", status());
        let stores = json(core, &["keystore", "list"]);
        if default_of(&stores) == "embedded"
            && self.server.sql(&self.database, "select to_regclass('strongroom.records') is not null") == "t"
        {
            let left = self
                .server
                .sql(&self.database, "select (select count(*) from strongroom.records) + (select count(*) from strongroom.outbox)");
            assert_eq!(left, "0", "rows are left in the database");
        }
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
