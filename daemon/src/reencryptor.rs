//! The keeper that brings keys under the newest version of what wraps them: after each unseal, and whenever such a version was replaced (IVK-23).
//!
//! What is due is read from the rows themselves, so a walk that was cut off by a failure begins anew and passes over what is done; one that was cut off
//! by a seal or a crash goes on from where it was last stored, to the end and then from the beginning to there. It goes in slices of less than two
//! milliseconds, each on its turn behind the clients', and while clients are at work it rests longer than it has worked, or still longer if it is told to.
//!
//! While nobody asks for anything and it has no limits, it takes every processor: a slice is computed on each, and the next part while the last one is
//! committed. Only what is committed is counted, and stored as its place; a part that was staged behind one that failed is dropped.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use keys::id::{ChainId, KeyVersion, Layer, RowId, Time};
use keys::lifecycle::State;
use keys::policy::NodeRole;
use keys::port::{Clock, WRAPPED_KEYS_MAX};
use keys::reencrypt::{Cursor, Walked};
use keys::references::References;
use keys::sweep::Finding;
use keys::unit::{CommitError, Receipt, Unit};
use keys::walk::WalkState;
use keys::wrap::REPAIRED_BY;
use tokio::task::JoinHandle;

use crate::config::Reencrypt;
use crate::node::{Node, Open};
use crate::notices::Topic;
use crate::stop::Stop;
use crate::system::SystemClock;

/// Rows of one slice: half a millisecond or so.
const SLICE_ROWS: usize = 32;
/// The same while nobody asks for anything, of each of [`WIDE_SLICES`] that are begun together on each processor.
const WIDE_SLICE_ROWS: usize = 32;
const WIDE_SLICES: usize = 4;
/// So many commits may be under way while more is staged: one is with the disk, and the writer has the next one at hand.
const WIDE_FLIGHTS: usize = 2;
/// Most rows that one commit moves while clients are at work, who wait for the same disk.
const COMMIT_ROWS_MAX: usize = 256;
/// The same while nobody asks for anything.
const WIDE_COMMIT_ROWS_MAX: usize = 2048;
/// The same at an edge, which asks its core for each row: what is asked at once, so that few changes of clients come in between.
const EDGE_COMMIT_ROWS_MAX: usize = WRAPPED_KEYS_MAX;
/// Most rows that are looked at before a commit, and before sealing gets its turn.
const LOOKED_ROWS_MAX: usize = 4096;
/// How often it is looked whether something is due.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// So long, if the store did not answer.
const RETRY_AFTER: Duration = Duration::from_secs(10);
/// How often its place is stored.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// Its share of one processor while clients are at work, in percent.
const BUSY_CPU_MAX: u32 = 25;
/// Commits of a second, if its rate is limited: so a rest is short.
const COMMITS_EACH_SECOND: u32 = 4;
/// Most refused keys that are told one by one.
const TOLD_MAX: usize = 10;
/// What status files the warnings under.
const TOPIC: Topic = Topic::Reencryption;
/// The same of what is stored of the walk itself.
const RECORD_TOPIC: Topic = Topic::ReencryptionRecord;

/// What people are shown of the walks, and may ask of them.
#[derive(Debug, Default)]
pub struct Reencryption {
    progress: Mutex<Progress>,
    is_paused: AtomicBool,
    is_asked: AtomicBool,
    /// A version is compromised, and not everything was moved from under it yet.
    is_urgent: AtomicBool,
    limits: Mutex<Reencrypt>,
}

/// Where the walks stand.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// A walk is under way.
    pub is_walking: bool,
    /// It goes on from where one was before a restart or a seal.
    pub is_resumed: bool,
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
    /// What the last whole walk knows of the versions of the IVK.
    pub last: Option<LastWalk>,
    /// How many of the refused lie under which chain.
    pub left: BTreeMap<ChainId, u64>,
    /// Of which unseal and which change of a version the last whole walk was.
    pub walked: Option<(Time, u64)>,
}

/// What a whole walk has found.
#[derive(Debug, Clone)]
pub struct LastWalk {
    /// When it began, by the domain's clock: of a version that came to wrap or was demoted later it knows nothing.
    pub began: Time,
    /// How many tenants' keys lay under which version when it had passed them.
    pub under: BTreeMap<KeyVersion, u64>,
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

    /// Holds the walk, or lets it go on; what outlives a restart is stored by whoever calls.
    pub fn pause(&self, is_paused: bool) {
        self.is_paused.store(is_paused, Ordering::Relaxed);
    }

    /// Has a walk begin although nothing is known to be due.
    pub fn start(&self) {
        self.is_asked.store(true, Ordering::Relaxed);
    }

    /// A version is compromised: until the keys are moved from under it, no limit counts.
    pub fn hurry(&self) {
        self.is_urgent.store(true, Ordering::Relaxed);
    }

    /// Does no limit count now?
    pub fn is_urgent(&self) -> bool {
        self.is_urgent.load(Ordering::Relaxed)
    }

    /// How much it may take from now on.
    pub fn hold_back(&self, limits: Reencrypt) {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner) = limits;
    }

    /// How much it may take.
    pub fn limits(&self) -> Reencrypt {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn limits_now(&self) -> Reencrypt {
        if self.is_urgent() { Reencrypt::default() } else { self.limits() }
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
    /// Most rows that one commit moves here.
    commit_rows_max: usize,
    /// How many slices are computed at once while nobody asks for anything.
    processors: usize,
    /// Rows that the next commit moves at most: fewer after one that lost a race.
    commit_rows: usize,
    /// Clients' requests that had been answered when the last part was done.
    requests: u64,
    /// There were some since the part before it.
    is_busy: bool,
    /// The parts whose commits are under way, in the order of the walk.
    flights: VecDeque<Flight>,
    /// The last part failed, and that was told.
    is_waiting: bool,
    /// The unseal whose stored state was read.
    restored: Option<Time>,
    /// When the place was stored last.
    saved: Instant,
}

/// A walk under way.
#[derive(Debug, Clone)]
struct Walk {
    cursor: Cursor,
    /// Of which unseal and which epoch.
    of: (Time, u64),
    /// What it has found so far, if it comes by every row once.
    found: Option<LastWalk>,
    /// The same as of its last part.
    met: (Time, u64),
    way: Way,
}

/// Which rows a walk comes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// All of them, from the first to the last.
    Whole,
    /// From this row to the last, and then to this row.
    From(RowId),
    /// From the first to this row, after all behind it.
    To(RowId),
}

impl Walk {
    /// Goes on behind `next`, if there is more to come by.
    fn behind(self, next: Option<Cursor>) -> Option<Self> {
        let (cursor, way) = match (next, self.way) {
            (None, Way::From(place)) => (Cursor::default(), Way::To(place)),
            (Some(cursor), Way::To(place)) if cursor.is_behind(place) => return None,
            (next, way) => (next?, way),
        };
        Some(Self { cursor, way, ..self })
    }
}

/// What the rows of a part are to become, before its commit.
struct Part {
    /// Where it began, should it have to be done again.
    from: Walk,
    /// Where the walk goes on behind it.
    onward: Option<Walk>,
    /// What the walk has found up to there.
    found: Option<LastWalk>,
    unit: Unit,
    tally: Tally,
}

/// What a part has looked at.
#[derive(Default)]
struct Tally {
    looked: usize,
    moved: usize,
    refused: Vec<Finding>,
    left: Vec<ChainId>,
    under: BTreeMap<KeyVersion, u64>,
    references: Option<References>,
}

impl Tally {
    /// Counts a step, and says where to go on.
    fn add(&mut self, walked: Walked) -> Option<Cursor> {
        self.looked += walked.looked;
        self.moved += walked.moved;
        self.refused.extend(walked.refused);
        self.left.extend(walked.left_under);
        walked.under.into_iter().for_each(|(version, keys)| *self.under.entry(version).or_default() += keys);
        self.references = walked.references;
        walked.next
    }
}

/// A part on its way to the disk.
struct Flight {
    commit: JoinHandle<Result<Receipt, CommitError>>,
    from: Walk,
    tally: Tally,
}

/// How long to rest after so much work.
fn rest(Reencrypt { rate, cpu }: Reencrypt, worked: Duration, moved: usize, is_busy: bool) -> Duration {
    let share = if is_busy { cpu.min(BUSY_CPU_MAX) } else { cpu }.max(1);
    let for_share = worked * (100 - share.min(100)) / share;
    let for_rate = rate.map_or(Duration::ZERO, |rate| {
        let due = Duration::from_secs(1).saturating_mul(u32::try_from(moved).unwrap_or(u32::MAX)) / rate.get();
        due.saturating_sub(worked)
    });
    for_share.max(for_rate)
}

/// Most rows that a commit moves at such a rate.
fn rows_at(rate: Option<NonZeroU32>) -> usize {
    rate.map_or(WIDE_COMMIT_ROWS_MAX, |rate| (rate.get() / COMMITS_EACH_SECOND).max(1) as usize)
}

impl Reencryptor {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        node.reencryption.hold_back(node.config.reencrypt);
        let commit_rows_max = if node.config.role == NodeRole::Edge { EDGE_COMMIT_ROWS_MAX } else { WIDE_COMMIT_ROWS_MAX };
        Self {
            node,
            walked: None,
            walk: None,
            commit_rows_max,
            processors: std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            commit_rows: commit_rows_max,
            requests: 0,
            is_busy: true,
            flights: VecDeque::new(),
            is_waiting: false,
            restored: None,
            saved: Instant::now(),
        }
    }

    /// Walks until it is told to stop.
    pub(crate) async fn run(mut self, mut stop: Stop) -> io::Result<()> {
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
            self.abandon().await;
            self.end(None);
            return LOOK_EVERY;
        };
        if self.restored != Some(open.since)
            && let Err(error) = self.restore(&open).await
        {
            tracing::warn!(%error, "what is stored of re-encryption cannot be read");
            self.end(Some(error.to_string()));
            return RETRY_AFTER;
        }
        if self.node.reencryption.is_paused() {
            match self.land(0).await {
                Ok(None) => {}
                Ok(from) => self.walk = from,
                Err(error) => self.end(Some(error.to_string())),
            }
            return LOOK_EVERY;
        }
        let of = (open.since, open.vault.parents_epoch());
        let is_asked = self.node.reencryption.is_asked.swap(false, Ordering::Relaxed);
        // What changes under way at a core is for another walk after this one: else many changes in a row would have it begin anew for ever. At an edge it
        // begins anew, because it counts what is left under each version.
        let begins = |walk: &Walk| self.is_edge() && walk.of != of;
        if is_asked || self.walked != Some(of) && self.walk.as_ref().is_none_or(begins) {
            self.abandon().await;
            self.begin(&open, of);
        }
        let Some(mut walk) = self.walk.take() else { return LOOK_EVERY };
        if walk.met != of {
            walk.cursor.forget();
            walk.met = of;
        }
        let (began, of, before) = (Instant::now(), walk.of, self.node.reencryption.progress().moved);
        match self.part(&open, walk).await {
            Ok(Some(walk)) => {
                self.is_waiting = false;
                self.walk = Some(walk);
                let requests = self.node.metrics.requests.of_clients();
                self.is_busy = std::mem::replace(&mut self.requests, requests) != requests;
                let moved = self.node.reencryption.progress().moved.saturating_sub(before);
                rest(self.node.reencryption.limits_now(), began.elapsed(), usize::try_from(moved).unwrap_or(usize::MAX), self.is_busy)
            }
            Ok(None) => {
                self.is_waiting = false;
                self.walked = Some(of);
                if of == (open.since, open.vault.parents_epoch()) {
                    self.node.reencryption.is_urgent.store(false, Ordering::Relaxed);
                }
                self.finish(of);
                LOOK_EVERY
            }
            Err(error) => {
                let error = error.to_string();
                // An edge may be without its core for long: once is enough.
                if !std::mem::replace(&mut self.is_waiting, true) {
                    tracing::warn!(error, "re-encryption waits, and is tried again every {RETRY_AFTER:?}");
                }
                self.end(Some(error));
                RETRY_AFTER
            }
        }
    }

    /// What is under way is of a walk that does not go on, and another one comes by the same rows. What was moved is counted still.
    async fn abandon(&mut self) {
        let _begun_anew = self.land(0).await;
    }

    /// Takes up what is stored: whether somebody holds the walk, and where the last one was.
    async fn restore(&mut self, open: &Open) -> Result<(), keys::Error> {
        self.abandon().await;
        let (WalkState { is_paused, place }, damaged) = open.vault.walk_state().await?;
        self.node.metrics.reencryption.records_damaged(damaged.len());
        self.node.notices.say(RECORD_TOPIC, damaged.iter().map(damage).collect());
        if open.vault.ivk_status().await?.iter().any(|ivk| ivk.state == State::Compromised) {
            self.node.reencryption.hurry();
        }
        self.node.reencryption.pause(is_paused);
        let of = (open.since, open.vault.parents_epoch());
        let place = place.filter(|_| !self.is_edge());
        if let Some((place, cursor)) = place.and_then(|place| Some((place, Cursor::behind(place)?))) {
            self.begin(open, of);
            self.walk = Some(Walk { cursor, of, met: of, way: Way::From(place), found: None });
            self.node.reencryption.lock().is_resumed = true;
        }
        self.restored = Some(open.since);
        Ok(())
    }

    fn begin(&mut self, open: &Open, of: (Time, u64)) {
        if open.vault.flees() {
            self.node.reencryption.hurry();
        }
        let now = SystemClock.now();
        // What it is compared with is dated by the domain's clock, which does not go back.
        let found = Some(LastWalk { began: open.vault.now(), under: BTreeMap::new() });
        self.walk = Some(Walk { cursor: Cursor::default(), of, met: of, way: Way::Whole, found });
        let mut progress = self.node.reencryption.lock();
        let expected = if progress.ended.is_some() { Some(progress.looked) } else { progress.expected };
        let ended = progress.ended.filter(|_| !progress.is_walking);
        *progress = Progress { is_walking: true, began: Some(now), ended, expected, last: progress.last.take(), ..Progress::default() };
    }

    /// Moves what the next rows need, in one commit; `None` after the last part. A part whose commit lost a race is to be done again.
    async fn part(&mut self, open: &Open, mut walk: Walk) -> Result<Option<Walk>, keys::Error> {
        let is_wide = self.is_wide();
        let part = match self.stage(open, &walk, is_wide).await {
            // What a row was to come under was replaced just then.
            Err(keys::Error::Raced) if !self.is_edge() => {
                walk = self.land(0).await?.unwrap_or(walk);
                walk.cursor.forget();
                return Ok(Some(walk));
            }
            part => part?,
        };
        // What was staged behind a part that is to be done again is staged again behind it.
        if let Some(from) = self.land(WIDE_FLIGHTS - 1).await? {
            return Ok(Some(from));
        }
        let Part { from, onward, found, mut unit, tally } = part;
        if !self.is_edge() && (onward.is_none() || tally.moved > 0 && self.saved.elapsed() >= SAVE_EVERY) {
            let place = onward.as_ref().and_then(|walk| walk.cursor.place());
            open.vault.change_walk(&mut unit, |state| state.place = place).await?;
            self.saved = Instant::now();
        }
        let references = tally.references.clone();
        self.flights.push_back(Flight { commit: tokio::spawn(unit.commit()), from, tally });
        if is_wide && onward.is_some() {
            return Ok(onward);
        }
        if let Some(from) = self.land(0).await? {
            return Ok(Some(from));
        }
        references.into_iter().for_each(|references| open.vault.note_references(references));
        if onward.is_none() {
            self.node.reencryption.lock().last = found;
        }
        Ok(onward)
    }

    /// Finds out what the next rows are to become.
    async fn stage(&self, open: &Open, walk: &Walk, is_wide: bool) -> Result<Part, keys::Error> {
        let most = if self.is_edge() || is_wide { self.commit_rows_max } else { COMMIT_ROWS_MAX };
        let commit_rows = self.commit_rows.min(most).min(rows_at(self.node.reencryption.limits_now().rate));
        let (mut unit, mut tally, mut next) = (open.vault.begin(self.node.system), Tally::default(), Some(walk.cursor.clone()));
        while let Some(cursor) = next.take() {
            if is_wide {
                next = self.stage_wide(open, &mut unit, &mut tally, cursor, commit_rows).await?;
            } else {
                next = tally.add(open.vault.reencrypt(&mut unit, Some(cursor), self.slice_rows().min(commit_rows)).await?);
            }
            let is_disturbed = is_wide && self.node.metrics.requests.of_clients() != self.requests;
            if tally.moved >= commit_rows || tally.looked >= LOOKED_ROWS_MAX || is_disturbed {
                break;
            }
            tokio::task::yield_now().await;
        }
        let mut found = walk.found.clone();
        if let Some(found) = &mut found {
            tally.under.iter().for_each(|(version, keys)| *found.under.entry(*version).or_default() += keys);
        }
        let onward = walk.clone().behind(next).map(|walk| Walk { found: found.clone(), ..walk });
        Ok(Part { from: walk.clone(), onward, found, unit, tally })
    }

    /// The same of the slices of one commit, on every processor at once.
    async fn stage_wide(
        &self,
        open: &Open,
        unit: &mut Unit,
        tally: &mut Tally,
        cursor: Cursor,
        commit_rows: usize,
    ) -> Result<Option<Cursor>, keys::Error> {
        let (mut next, mut read, mut under_way) = (Some(cursor.clone()), tally.moved, VecDeque::new());
        let mut behind = Some(cursor);
        loop {
            // A client that comes meanwhile waits for no more than what is under way.
            let is_disturbed = self.node.metrics.requests.of_clients() != self.requests;
            while !is_disturbed
                && read < commit_rows
                && under_way.len() < self.processors * WIDE_SLICES
                && let Some(cursor) = next.take()
            {
                let page = open.vault.page(cursor, WIDE_SLICE_ROWS.min(commit_rows)).await?;
                next.clone_from(&page.next);
                read += WIDE_SLICE_ROWS;
                let vault = Arc::clone(&open.vault);
                under_way.push_back(tokio::spawn(async move { vault.move_page(page).await }));
            }
            let Some(moved) = under_way.pop_front() else { return Ok(behind) };
            let moved = moved.await.map_err(|error| keys::Error::Unavailable { what: format!("a slice ended early: {error}") })?;
            behind = tally.add(open.vault.stage_moved(unit, moved?));
        }
    }

    /// Waits for commits until no more than `left` are under way, and counts what they moved; from where to go on if one lost a race, and moved nothing.
    /// Then none is under way: what those behind it moved need not be moved again.
    async fn land(&mut self, left: usize) -> Result<Option<Walk>, keys::Error> {
        let (mut left, mut from, mut failed) = (left, None, None);
        while self.flights.len() > left
            && let Some(flight) = self.flights.pop_front()
        {
            match self.landed(flight).await {
                Ok(None) => continue,
                Ok(Some(lost)) => from = from.or(Some(lost)),
                Err(error) => failed = failed.or(Some(error)),
            }
            left = 0;
        }
        failed.map_or(Ok(from), Err)
    }

    async fn landed(&mut self, Flight { commit, from, tally }: Flight) -> Result<Option<Walk>, keys::Error> {
        let committed = commit.await.map_err(|error| keys::Error::Unavailable { what: format!("a commit ended early: {error}") })?;
        match committed {
            Ok(_receipt) => {}
            Err(CommitError::Conflict { .. }) => {
                self.commit_rows = (self.commit_rows / 2).max(1);
                return Ok(Some(from));
            }
            Err(error) => return Err(error.into()),
        }
        self.commit_rows = (self.commit_rows * 2).min(self.commit_rows_max);
        self.note(tally);
        Ok(None)
    }

    /// May it take every processor? Nobody asks for anything, and it has no limits.
    fn is_wide(&self) -> bool {
        let is_unlimited = self.node.reencryption.limits_now() == Reencrypt::default();
        is_unlimited && !self.is_edge() && !self.is_busy && self.node.metrics.requests.of_clients() == self.requests
    }

    fn is_edge(&self) -> bool {
        self.node.config.role == NodeRole::Edge
    }

    fn slice_rows(&self) -> usize {
        if self.node.config.role == NodeRole::Edge { EDGE_COMMIT_ROWS_MAX } else { SLICE_ROWS }
    }

    fn note(&self, tally: Tally) {
        let Tally { looked, moved, refused, left, .. } = tally;
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

fn damage(Finding { row, what }: &Finding) -> String {
    format!(
        "record {row} of re-encryption does not verify ({what}), and another has taken its place: re-encryption began anew, and if it was paused it is no more; \
         see `strongroom reencrypt status`"
    )
}

fn warnings(progress: &Progress) -> Vec<String> {
    let told = progress.refused.iter().map(|Finding { row, what }| {
        if what.contains(REPAIRED_BY) {
            return format!("key {row} stays under an old version: {what}; run `{REPAIRED_BY} {row}`");
        }
        let instead = if row.layer == Layer::L4 { ", or have its service destroy it" } else { "" };
        format!("key {row} stays under an old version ({what}): restore it from a backup{instead}, then `strongroom reencrypt start`")
    });
    let more = progress.refused_count.saturating_sub(progress.refused.len() as u64);
    let rest = (more > 0).then(|| format!("{more} more keys stay under an old version; the node's log names them"));
    told.chain(rest).collect()
}

#[cfg(test)]
mod tests {
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
        let mended = Finding { row: RowId::new(Layer::L3, Uuid::nil()), what: format!("refused until `{REPAIRED_BY}`") };
        let told = warnings(&Progress { refused: vec![mended], refused_count: 1, ..Progress::default() });
        assert!(told[0].contains("`strongroom key repair L3-0000") && !told[0].contains("backup"), "{told:?}");
        assert!(many[0].contains("L2-00000000") && many[0].contains("reencrypt start"), "{}", many[0]);
    }

    #[test]
    fn a_rest_keeps_the_share_and_the_rate_whichever_is_longer() {
        let check = |rate: u32, cpu, worked, moved, is_busy, expected| {
            let limits = Reencrypt { rate: NonZeroU32::new(rate), cpu };
            let rest = rest(limits, Duration::from_millis(worked), moved, is_busy);
            assert_eq!(rest, Duration::from_millis(expected), "{limits:?} {worked} {moved} {is_busy}");
        };
        check(0, 100, 10, 500, false, 0);
        check(0, 100, 10, 500, true, 30);
        check(0, 50, 10, 500, false, 10);
        check(0, 10, 10, 0, false, 90);
        check(0, 10, 10, 0, true, 90);
        check(1000, 100, 10, 250, false, 240);
        check(1000, 100, 300, 250, false, 0);
        check(1000, 25, 100, 250, false, 300);
        check(1, 100, 0, 1, false, 1000);
        assert_eq!((rows_at(None), rows_at(NonZeroU32::new(1)), rows_at(NonZeroU32::new(400))), (WIDE_COMMIT_ROWS_MAX, 1, 100));
    }

    #[test]
    fn a_walk_from_a_place_comes_by_every_row_and_ends_where_it_began() {
        let row = |layer, number: u128| RowId::new(layer, Uuid::from_u128(number));
        let (place, of) = (row(Layer::L21, 50), (Time::from_seconds(1), 1));
        let at = |row: RowId| Cursor::behind(row).expect("a walk comes by it");
        let walk = Walk { cursor: at(place), of, met: of, way: Way::From(place), found: None };
        let walk = walk.behind(Some(at(row(Layer::L3, 7)))).expect("there is more");
        assert_eq!((walk.way, walk.cursor.place()), (Way::From(place), Some(row(Layer::L3, 7))));
        let walk = walk.behind(None).expect("the first rows are missing");
        assert_eq!((walk.way, walk.cursor.place()), (Way::To(place), None));
        for before in [row(Layer::L2, 3), row(Layer::L21, 51)] {
            assert!(walk.clone().behind(Some(at(before))).is_some(), "{before}");
        }
        for there in [place, row(Layer::L21, 49), row(Layer::L3, 99)] {
            assert!(walk.clone().behind(Some(at(there))).is_none(), "{there}");
        }
        assert!(walk.behind(None).is_none());
        assert!(Cursor::behind(row(Layer::Tenant, 1)).is_none());
    }
}
