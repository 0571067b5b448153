//! The keeper that brings keys under the newest version of what wraps them: after each unseal, and whenever such a version was replaced (IVK-23).
//!
//! What is due is read from the rows themselves, so a walk that was cut off by a seal, a crash or a failure begins anew and passes over what is done.
//! It goes in slices of a few milliseconds, each on its turn behind the clients', and while clients are at work it rests as long as it has worked.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use keys::id::{ChainId, Time};
use keys::policy::NodeRole;
use keys::port::Clock;
use keys::reencrypt::Cursor;
use keys::sweep::Finding;
use keys::unit::CommitError;

use crate::node::{Node, Open};
use crate::stop::Stop;
use crate::system::SystemClock;

/// Rows of one slice: two milliseconds or so.
const SLICE_ROWS: usize = 32;
/// Most rows that one commit moves.
const COMMIT_ROWS_MAX: usize = 512;
/// Most rows that are looked at before a commit, and before sealing gets its turn.
const LOOKED_ROWS_MAX: usize = 4096;
/// How often it is looked whether something is due.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// So long, if the store did not answer.
const RETRY_AFTER: Duration = Duration::from_secs(10);
/// Most refused keys that are told one by one.
const TOLD_MAX: usize = 10;
/// What status files the warnings under.
const TOPIC: &str = "re-encryption";

/// What people are shown of the walks, and may ask of them.
#[derive(Debug, Default)]
pub struct Reencryption {
    progress: Mutex<Progress>,
    is_paused: AtomicBool,
    is_asked: AtomicBool,
}

/// Where the walks stand.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// A walk is under way.
    pub is_walking: bool,
    /// When the walk under way, or else the last one, began.
    pub began: Option<Time>,
    /// When the last whole walk ended.
    pub ended: Option<Time>,
    /// Keys that it has looked at.
    pub looked: u64,
    /// Keys that it has brought under a newer version.
    pub moved: u64,
    /// Keys that it left where they are, because they do not verify: the first few.
    pub refused: Vec<Finding>,
    /// How many they are.
    pub refused_count: u64,
    /// Keys that the whole walk before this one has looked at.
    pub expected: Option<u64>,
    /// Why the walk does not go on now.
    pub error: Option<String>,
    /// How many of the refused lie under which chain.
    pub left: BTreeMap<ChainId, u64>,
    /// Of which unseal and which change of a version the last whole walk was.
    pub walked: Option<(Time, u64)>,
}

impl Reencryption {
    /// Where the walks stand.
    pub fn progress(&self) -> Progress {
        self.lock().clone()
    }

    /// Is the walk held?
    pub fn is_paused(&self) -> bool {
        self.is_paused.load(Ordering::Relaxed)
    }

    /// Holds the walk, or lets it go on. A restart lets it go on.
    pub fn pause(&self, is_paused: bool) {
        self.is_paused.store(is_paused, Ordering::Relaxed);
    }

    /// Has a walk begin although nothing is known to be due.
    pub fn start(&self) {
        self.is_asked.store(true, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The walks of one node.
pub(crate) struct Reencryptor {
    node: Arc<Node>,
    /// When the node was unsealed that was walked last, and the epoch of the walk.
    walked: Option<(Time, u64)>,
    walk: Option<Walk>,
    /// Rows that the next commit moves at most: fewer after one that lost a race.
    commit_rows: usize,
    /// Requests that had been answered when the last part was done.
    requests: u64,
}

/// A walk under way.
#[derive(Debug)]
struct Walk {
    cursor: Cursor,
    /// Of which unseal and which epoch.
    of: (Time, u64),
}

impl Reencryptor {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        Self { node, walked: None, walk: None, commit_rows: COMMIT_ROWS_MAX, requests: 0 }
    }

    /// Walks until it is told to stop.
    pub(crate) async fn run(mut self, mut stop: Stop) -> io::Result<()> {
        if self.node.config.role == NodeRole::Edge {
            stop.requested().await;
            return Ok(());
        }
        loop {
            let rest = self.step().await;
            tokio::select! {
                biased;
                () = stop.requested() => return Ok(()),
                () = tokio::time::sleep(rest), if !rest.is_zero() => {}
                () = tokio::task::yield_now(), if rest.is_zero() => {}
            }
        }
    }

    /// Does a part of what is due, and says how long to rest.
    async fn step(&mut self) -> Duration {
        // The domain is held for one part only: sealing waits for whoever holds it.
        let Some(open) = self.node.open() else {
            self.end(None);
            return LOOK_EVERY;
        };
        if self.node.reencryption.is_paused() {
            return LOOK_EVERY;
        }
        let of = (open.since, open.vault.parents_epoch());
        let is_asked = self.node.reencryption.is_asked.swap(false, Ordering::Relaxed);
        if is_asked || self.walked != Some(of) && self.walk.as_ref().is_none_or(|walk| walk.of != of) {
            self.begin(of);
        }
        let Some(walk) = self.walk.take() else { return LOOK_EVERY };
        let began = Instant::now();
        match self.part(&open, walk).await {
            Ok(Some(walk)) => {
                self.walk = Some(walk);
                let requests = self.node.metrics.requests.total();
                let is_busy = std::mem::replace(&mut self.requests, requests) != requests;
                if is_busy { began.elapsed() } else { Duration::ZERO }
            }
            Ok(None) => {
                self.walked = Some(of);
                self.finish(of);
                LOOK_EVERY
            }
            Err(error) => {
                tracing::warn!(%error, "re-encryption goes on in {RETRY_AFTER:?}");
                self.end(Some(error.to_string()));
                RETRY_AFTER
            }
        }
    }

    fn begin(&mut self, of: (Time, u64)) {
        self.walk = Some(Walk { cursor: Cursor::default(), of });
        let mut progress = self.node.reencryption.lock();
        let expected = if progress.ended.is_some() { Some(progress.looked) } else { progress.expected };
        let ended = progress.ended.filter(|_| !progress.is_walking);
        *progress = Progress { is_walking: true, began: Some(SystemClock.now()), ended, expected, ..Progress::default() };
    }

    /// Moves what the next rows need, in one commit; `None` after the last part. A part whose commit lost a race is to be done again.
    async fn part(&mut self, open: &Open, walk: Walk) -> Result<Option<Walk>, keys::Error> {
        let mut unit = open.vault.begin(self.node.system);
        let (mut next, mut looked, mut moved, mut refused) = (Some(walk.cursor.clone()), 0, 0, Vec::new());
        let mut left = Vec::new();
        while let Some(cursor) = next.take() {
            let walked = open.vault.reencrypt(&mut unit, Some(cursor), SLICE_ROWS.min(self.commit_rows)).await?;
            next = walked.next;
            looked += walked.looked;
            moved += walked.moved;
            refused.extend(walked.refused);
            left.extend(walked.left_under);
            if moved >= self.commit_rows || looked >= LOOKED_ROWS_MAX {
                break;
            }
            tokio::task::yield_now().await;
        }
        match unit.commit().await {
            Ok(_receipt) => {}
            Err(CommitError::Conflict { .. }) => {
                self.commit_rows = (self.commit_rows / 2).max(1);
                return Ok(Some(walk));
            }
            Err(error) => return Err(error.into()),
        }
        self.commit_rows = (self.commit_rows * 2).min(COMMIT_ROWS_MAX);
        self.note(looked, moved, refused, left);
        Ok(next.map(|cursor| Walk { cursor, ..walk }))
    }

    fn note(&self, looked: usize, moved: usize, refused: Vec<Finding>, left: Vec<ChainId>) {
        let mut progress = self.node.reencryption.lock();
        (progress.looked, progress.moved) = (progress.looked + looked as u64, progress.moved + moved as u64);
        progress.refused_count += refused.len() as u64;
        for chain in left {
            *progress.left.entry(chain).or_default() += 1;
        }
        for finding in refused {
            tracing::error!(row = %finding.row, what = finding.what, "a key stays under an old version");
            if progress.refused.len() < TOLD_MAX {
                progress.refused.push(finding);
            }
        }
        self.node.metrics.reencryption.add(looked, moved);
    }

    fn finish(&self, of: (Time, u64)) {
        let mut progress = self.node.reencryption.lock();
        (progress.is_walking, progress.ended) = (false, Some(SystemClock.now()));
        progress.walked = Some(of);
        self.node.notices.say(TOPIC, warnings(&progress));
        self.node.metrics.reencryption.refused(progress.refused_count);
        if progress.moved > 0 || progress.refused_count > 0 {
            let Progress { looked, moved, refused_count: refused, .. } = *progress;
            tracing::info!(looked, moved, refused, "keys were brought under the newest versions");
        }
    }

    /// The walk ends before its end.
    fn end(&mut self, error: Option<String>) {
        self.walk = None;
        let mut progress = self.node.reencryption.lock();
        (progress.is_walking, progress.error) = (false, error);
    }
}

fn warnings(progress: &Progress) -> Vec<String> {
    let told = progress.refused.iter().map(|Finding { row, what }| {
        format!("key {row} stays under an old version ({what}): restore it from a backup, then `strongroom reencrypt start`")
    });
    let more = progress.refused_count.saturating_sub(progress.refused.len() as u64);
    let rest = (more > 0).then(|| format!("{more} more keys stay under an old version; the node's log names them"));
    told.chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use keys::id::{Layer, RowId};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn the_first_refused_keys_are_named_and_the_others_counted() {
        let finding = |row: u128| Finding { row: RowId::new(Layer::L2, Uuid::from_u128(row)), what: "the blob does not verify".to_owned() };
        let progress = |count: u64| {
            let refused = (0..count.min(TOLD_MAX as u64)).map(|row| finding(row.into())).collect();
            Progress { refused, refused_count: count, ..Progress::default() }
        };
        assert!(warnings(&progress(0)).is_empty());
        assert_eq!(warnings(&progress(10)).len(), 10);
        let many = warnings(&progress(17));
        assert!(many.len() == 11 && many[10].starts_with("7 more keys"), "{many:?}");
        assert!(many[0].contains("L2-00000000") && many[0].contains("reencrypt start"), "{}", many[0]);
    }
}
