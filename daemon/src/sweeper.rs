//! The keeper that reads the whole keystore again, right after each unseal and then every day, and says what is damaged (F5, C9, C18).
//!
//! A pass is made in slices, with a rest after each that is longer than the slice, so that it takes a small part of one processor however large the
//! store is; only its beginning takes no rest, so that a small store is known to be sound within a moment. It is not spread over the day: whether a
//! row is missing can be told only of those 4,096ths of the store that do not change during a pass. Of what changed, the next pass tells.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keys::freshness::BUCKETS;
use keys::id::{RowId, Time};
use keys::policy::Action;
use keys::port::{AuditSink, Clock};
use keys::record::{Outcome, Record};
use keys::sweep::{Cursor, Finding};
use keys::wrap::REPAIRED_BY;

use crate::node::Node;
use crate::notices::Topic;
use crate::stop::Stop;
use crate::system::SystemClock;

/// Rows of one slice: a few milliseconds.
const SLICE_ROWS: usize = 64;
/// So many rows of a pass are read without rest.
const HURRIED_ROWS: usize = 4096;
/// A rest is so many times as long as the slice before it.
const REST: u32 = 4;
/// A pass begins so long after the one before it.
const PASS_EVERY: Duration = Duration::from_secs(24 * 60 * 60);
/// So long, if something was found or not every bucket has been compared since the unseal.
const AGAIN_AFTER: Duration = Duration::from_secs(10 * 60);
/// So long, if the store did not answer or the arena was full.
const RETRY_AFTER: Duration = Duration::from_secs(10);
/// How often it is looked whether the node is open, and a pass due.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Most findings that status tells one by one.
const TOLD_MAX: usize = 10;
/// Most findings of one pass that are kept, logged and recorded one by one; of others it is said how many they are.
const FOUND_MAX: usize = 1000;
/// What status files the warnings under.
const TOPIC: Topic = Topic::Sweep;

/// What is damaged: a row and what is wrong with it; `None` for the store as a whole.
type Damage = BTreeMap<Option<RowId>, String>;

/// The passes of one node.
pub(crate) struct Sweeper {
    node: Arc<Node>,
    /// When the node was unsealed that is swept now.
    unsealed: Option<Time>,
    /// When the next pass begins, if none is under way.
    due: Instant,
    pass: Option<Pass>,
    /// What the last whole pass has found.
    damage: Damage,
    /// Buckets that were compared since the unseal.
    compared: BTreeSet<u16>,
}

/// A pass under way.
#[derive(Default)]
struct Pass {
    cursor: Option<Cursor>,
    rows: usize,
    damage: Damage,
    /// Findings beyond [`FOUND_MAX`].
    more: usize,
}

impl Sweeper {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        Self { node, unsealed: None, due: Instant::now(), pass: None, damage: Damage::new(), compared: BTreeSet::new() }
    }

    /// Sweeps until it is told to stop.
    pub(crate) async fn run(mut self, mut stop: Stop) -> io::Result<()> {
        loop {
            let rest = self.step().await;
            if rest.is_zero() {
                tokio::task::yield_now().await;
                continue;
            }
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = stop.requested() => return Ok(()),
            }
        }
    }

    /// Does what is due, and says how long to rest.
    async fn step(&mut self) -> Duration {
        // The domain is held for one slice only: sealing waits for whoever holds it.
        let Some(open) = self.node.open() else {
            (self.pass, self.unsealed) = (None, None);
            return LOOK_EVERY;
        };
        if self.unsealed != Some(open.since) {
            self.unsealed = Some(open.since);
            (self.pass, self.due) = (None, Instant::now());
            self.compared.clear();
        }
        if self.pass.is_none() && Instant::now() < self.due {
            return LOOK_EVERY;
        }
        let mut pass = self.pass.take().unwrap_or_default();
        let began = Instant::now();
        match open.vault.sweep(pass.cursor.take(), SLICE_ROWS).await {
            Ok(swept) => {
                pass.rows += swept.rows;
                pass.cursor = swept.next;
                self.compared.extend(swept.compared);
                self.node.metrics.sweep.rows(swept.rows);
                self.found(&mut pass, swept.findings);
            }
            Err(keys::Error::Corrupt { what, at }) => {
                let what = format!("its rows cannot all be listed, so others may be damaged too: {at}: {what}");
                self.add(&mut pass, None, what);
            }
            Err(error) => {
                tracing::warn!(%error, "the sweep of the keystore begins again in {RETRY_AFTER:?}");
                self.due = Instant::now() + RETRY_AFTER;
                return LOOK_EVERY;
            }
        }
        if pass.cursor.is_none() {
            self.finish(pass);
            return LOOK_EVERY;
        }
        let rest = if pass.rows <= HURRIED_ROWS { Duration::ZERO } else { began.elapsed() * REST };
        self.pass = Some(pass);
        rest
    }

    fn found(&self, pass: &mut Pass, findings: Vec<Finding>) {
        for Finding { row, what } in findings {
            self.add(pass, Some(row), what);
        }
    }

    /// Takes up one finding; what the last pass did not find is logged and recorded.
    fn add(&self, pass: &mut Pass, row: Option<RowId>, what: String) {
        if pass.damage.contains_key(&row) {
            return;
        }
        if pass.damage.len() == FOUND_MAX {
            pass.more += 1;
            return;
        }
        if self.damage.get(&row) != Some(&what) {
            tracing::error!("{}", sentence(row, &what));
            let (time, session) = (SystemClock.now(), self.node.system);
            let record =
                Record { time, session, action: Action::Sweep, object: row, version: None, generation: None, outcome: Outcome::Corrupt };
            if let Err(error) = self.node.audit.append(&[record]) {
                tracing::error!(%error, "what the sweep has found is not in the audit log");
            }
        }
        pass.damage.insert(row, what);
    }

    fn finish(&mut self, pass: Pass) {
        let uncompared = usize::from(BUCKETS) - self.compared.len();
        let findings = pass.damage.len() + pass.more;
        tracing::info!(rows = pass.rows, findings, uncompared, "the keystore was swept");
        self.node.notices.say(TOPIC, warnings(&pass.damage, pass.more));
        self.node.metrics.sweep.ended(findings, uncompared, SystemClock.now());
        let is_done = pass.damage.is_empty() && uncompared == 0;
        self.due = Instant::now() + if is_done { PASS_EVERY } else { AGAIN_AFTER };
        self.damage = pass.damage;
        // Each row was read and opened on the way.
        secret::WipingHeap.give_back();
    }
}

fn warnings(damage: &Damage, more: usize) -> Vec<String> {
    let mut warnings: Vec<_> = damage.iter().take(TOLD_MAX).map(|(row, what)| sentence(*row, what)).collect();
    let more = more + damage.len() - warnings.len();
    if more > 0 {
        warnings.push(format!("{more} more stored records are damaged; the node's log and the audit log name the first {FOUND_MAX}"));
    }
    warnings
}

fn sentence(row: Option<RowId>, what: &str) -> String {
    match row {
        Some(row) if what.contains(REPAIRED_BY) => format!("stored record {row} is refused: {what}; run `{REPAIRED_BY} {row}`"),
        Some(row) => format!("stored record {row} is damaged ({what}): keep a copy of the keystore and restore it from a backup"),
        None => format!("the keystore is damaged ({what}): keep a copy of it and restore it from a backup"),
    }
}

#[cfg(test)]
mod tests {
    use keys::id::Layer;
    use uuid::Uuid;

    use super::*;

    fn damage(rows: u128) -> Damage {
        (0..rows).map(|row| (Some(RowId::new(Layer::L3, Uuid::from_u128(row))), "it does not open".to_owned())).collect()
    }

    #[test]
    fn status_names_ten_damaged_rows_and_counts_the_others() {
        assert!(warnings(&damage(0), 0).is_empty());
        assert_eq!(warnings(&damage(10), 0).len(), 10);
        let many = warnings(&damage(400), 7);
        assert_eq!(many.len(), 11);
        assert!(many[10].starts_with("397 more stored records are damaged"), "{}", many[10]);
        let first = RowId::new(Layer::L3, Uuid::nil()).to_string();
        assert!(many[0].contains(&first) && many[0].contains("it does not open") && many[0].contains("backup"), "{}", many[0]);
    }
}
