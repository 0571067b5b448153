//! The keystore of a plugin: a process of its own that speaks the protocol of the crate `plugin` on a Unix socket.
//!
//! What makes a commit happen once. Each has a name, and names the node's commit before it; the plugin applies it only if that is the node's last one, in the
//! same transaction. A commit whose answer does not come is sent again under its name, which changes nothing if it has happened. When its time is over, an
//! empty commit is sent to its place before any other call is answered: if that one is taken, the other never happens any more, however late the plugin
//! comes to it; if the place is taken, the other has happened.
//!
//! Nothing a plugin answers is believed as far as it can be checked here; the rest, the MAC of each row, is checked above. So a plugin can refuse to serve, and
//! lose rows, and is caught; it cannot make the node believe anything else, wait longer than the time of a call, or fill its memory.

mod link;
mod rows;
mod wire;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use keys::id::{OutboxSeq, RowId};
use keys::port::{Batch, Keystore, OutboxEntry, Query, StoreError};
use keys::row::Row;
use plugin::v1::batch_response::Outcome;
use plugin::v1::{self, BatchRequest, BatchResponse};
use plugin::{COMMIT_BYTES, RECORDS_MAX, REQUEST_BYTES_MAX};
use prost::Message as _;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::Code;

use crate::outbox_taken;
use link::{About, Called, Link};

pub use link::{PluginError, Settings};
pub use rows::Rows;

/// How often a commit is sent of which it is not known whether it happened.
const TRIES_MAX: u32 = 8;
/// Before the second try; doubled with each.
const PAUSE_LEAST: Duration = Duration::from_millis(20);
/// Never longer than this.
const PAUSE_MOST: Duration = Duration::from_millis(500);
/// How often an opening tries to take the place after the last commit, while one of an earlier process is still coming through.
const OPENING_TRIES_MAX: usize = 4;

/// Did a plugin not open as a keystore because it changes one row at a time? Then it opens as [`Rows`].
#[must_use]
pub fn is_without_batch(error: &StoreError) -> bool {
    let StoreError::Unavailable { source, .. } = error else { return false };
    matches!(source.downcast_ref(), Some(PluginError::NoBatch { .. }))
}

/// The name of a commit.
type Name = [u8; COMMIT_BYTES];

/// A keystore behind a plugin with transactions.
///
/// - After [`StoreError::Conflict`] and [`StoreError::Full`] nothing of a commit is there. After [`StoreError::Unavailable`] it is there as a whole or not at
///   all, and which of the two is settled before any later call is answered.
/// - When the plugin goes away calls fail within the timeout, those to come for a moment at once, and succeed again when it is back.
pub struct Grpc {
    link: Link,
    commits: std::sync::Mutex<Commits>,
    /// One commit at a time.
    turn: tokio::sync::Mutex<()>,
    /// A commit has ended and nobody knows how.
    is_doubtful: AtomicBool,
}

/// What is known of this node's commits.
#[derive(Debug, Clone, Copy, Default)]
struct Commits {
    /// The last one that happened.
    last: Option<Name>,
    /// One after it that was sent, and whose end is not known.
    open: Option<Name>,
    /// The empty one that was sent to its place.
    fence: Option<Name>,
}

/// The right to commit. When it ends while a commit is open, also because nobody waits for it any more, there is a doubt.
struct Turn<'g> {
    grpc: &'g Grpc,
    _held: tokio::sync::MutexGuard<'g, ()>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.grpc.is_doubtful.store(self.grpc.commits().open.is_some(), Ordering::Release);
    }
}

impl Grpc {
    /// Connects to a plugin, and makes sure that no commit of an earlier process can still happen.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] with a [`PluginError`].
    pub async fn open(settings: Settings) -> Result<Self, StoreError> {
        let this = Self {
            link: Link::new(settings),
            commits: std::sync::Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            is_doubtful: AtomicBool::new(false),
        };
        let deadline = this.link.deadline();
        let about = std::sync::Mutex::new(None);
        let learn = |said: &About| {
            *about.lock().unwrap_or_else(PoisonError::into_inner) = Some(said.clone());
            Ok(())
        };
        this.link.call(deadline, &learn, async |mut client| client.health(v1::HealthRequest {}).await).await?;
        let about = about.into_inner().unwrap_or_else(PoisonError::into_inner).expect("the first call connects");
        if !about.batch {
            return Err(PluginError::NoBatch { plugin: about.name }.into());
        }
        this.commits().last = about.last;
        this.take_place(deadline).await?;
        Ok(this)
    }

    /// Whether the plugin says that it can do its work.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] with its own words, or because it does not answer.
    pub async fn health(&self) -> Result<(), StoreError> {
        self.link.health(&|about| self.judge(about)).await
    }

    fn commits(&self) -> MutexGuard<'_, Commits> {
        self.commits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn turn(&self, deadline: Instant) -> Result<Turn<'_>, StoreError> {
        let late = || PluginError::Late { within: self.link.settings.timeout };
        let held = timeout_at(deadline, self.turn.lock()).await.map_err(|_| late())?;
        Ok(Turn { grpc: self, _held: held })
    }

    /// A plugin that comes back has to know this node's last commit: one that does not has lost what it acknowledged, or serves another process too.
    fn judge(&self, about: &About) -> Result<(), StoreError> {
        let Commits { last, open, fence } = *self.commits();
        let is_known = about.last == last || (about.last.is_some() && (about.last == open || about.last == fence));
        if is_known { Ok(()) } else { Err(self.foreign()) }
    }

    fn foreign(&self) -> StoreError {
        let Settings { name, node, .. } = &self.link.settings;
        StoreError::Corrupt {
            what: format!(
                "the last commit that the plugin of keystore {name} knows is not this node's: it has lost acknowledged changes, or another process runs on a copy of this data_dir"
            ),
            at: format!("node {node}"),
        }
    }

    /// Sends a commit once, after what is known as the last one.
    async fn send(&self, deadline: Instant, name: Name, request: &BatchRequest) -> Result<Outcome, Called> {
        let after = self.commits().last.map_or_else(Vec::new, |last| last.to_vec());
        let node = self.link.settings.node.as_bytes().to_vec();
        let request = BatchRequest { node, commit: name.to_vec(), after, ..request.clone() };
        let batch = async |mut client: link::Client| client.batch(request).await;
        let BatchResponse { outcome } = self.link.call(deadline, &|about| self.judge(about), batch).await?;
        let nothing = || PluginError::Failed { code: Code::DataLoss, what: "an answer to Batch without an outcome".to_owned() };
        outcome.ok_or_else(|| Called::Broken(nothing()))
    }

    /// Makes an empty commit the last one, at an opening: whatever an earlier process has sent can no longer happen afterwards.
    async fn take_place(&self, deadline: Instant) -> Result<(), StoreError> {
        let name = fresh()?;
        for _ in 0..OPENING_TRIES_MAX {
            // So that a connection that breaks meanwhile is judged rightly.
            self.commits().fence = Some(name);
            match self.send(deadline, name, &BatchRequest::default()).await? {
                Outcome::Done(_) => {
                    *self.commits() = Commits { last: Some(name), ..Commits::default() };
                    return Ok(());
                }
                Outcome::OtherCommit(other) => self.commits().last = other.last.try_into().ok(),
                other => return Err(unexpected(&other)),
            }
        }
        Err(self.foreign())
    }

    /// Settles whether the commit in doubt has happened; none is open afterwards.
    async fn settle(&self, deadline: Instant) -> Result<(), StoreError> {
        let Commits { open: Some(open), fence, .. } = *self.commits() else { return Ok(()) };
        let fence = match fence {
            Some(fence) => fence,
            None => fresh()?,
        };
        self.commits().fence = Some(fence);
        let happened = match self.send(deadline, fence, &BatchRequest::default()).await? {
            Outcome::Done(_) => fence,
            Outcome::OtherCommit(other) if other.last == open => open,
            Outcome::OtherCommit(_) => return Err(self.foreign()),
            other => return Err(unexpected(&other)),
        };
        *self.commits() = Commits { last: Some(happened), ..Commits::default() };
        Ok(())
    }

    /// Before a call that changes nothing: no commit may be in doubt while it is answered.
    async fn settled(&self, deadline: Instant) -> Result<(), StoreError> {
        if !self.is_doubtful.load(Ordering::Acquire) {
            return Ok(());
        }
        let _turn = self.turn(deadline).await?;
        self.settle(deadline).await
    }

    /// A call that changes nothing.
    async fn read<T, F>(&self, ask: impl Fn(link::Client) -> F) -> Result<T, Called>
    where
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        let deadline = self.link.deadline();
        self.settled(deadline).await.map_err(Called::NotBegun)?;
        self.link.twice(deadline, &|about| self.judge(about), ask).await
    }

    /// What an outcome means for the batch that was sent under this name.
    fn ended(&self, batch: &Batch, name: Name, outcome: Outcome) -> Result<(), StoreError> {
        let refusal = match outcome {
            Outcome::Done(_) => {
                *self.commits() = Commits { last: Some(name), ..Commits::default() };
                return Ok(());
            }
            Outcome::Conflict(conflict) => {
                let id = wire::row_id(&conflict.id).filter(|id| batch.changes.iter().any(|change| change.id() == *id));
                // It may have happened for all that such an answer is worth.
                let id = id.ok_or_else(|| wire::lie("a conflict on a row that is not in the batch", "Batch".to_owned()))?;
                StoreError::Conflict { id }
            }
            Outcome::RecordTaken(taken) => outbox_taken(OutboxSeq(taken.seq)),
            Outcome::Full(full) => StoreError::Full { at: format!("{} ({})", self.link.settings.name, wire::words(&full.at)) },
            Outcome::OtherCommit(_) => self.foreign(),
        };
        let mut commits = self.commits();
        commits.open = None;
        Err(refusal)
    }
}

/// Waits a little before the next try, and longer before each further one.
async fn pause(tries: u32, deadline: Instant) {
    let pause = PAUSE_LEAST.saturating_mul(1 << tries.min(16)).min(PAUSE_MOST);
    sleep(pause.min(deadline.saturating_duration_since(Instant::now()))).await;
}

fn fresh() -> Result<Name, StoreError> {
    let mut name = [0; COMMIT_BYTES];
    getrandom::fill(&mut name)
        .map_err(|error| StoreError::Unavailable { what: "no randomness for the name of a commit", source: Box::new(error) })?;
    Ok(name)
}

fn unexpected(outcome: &Outcome) -> StoreError {
    wire::lie(&format!("an empty batch with {outcome:?}"), "Batch".to_owned())
}

#[async_trait]
impl Keystore for Grpc {
    async fn retrieve(&self, id: RowId) -> Result<Option<Row>, StoreError> {
        let request = v1::RetrieveKeyRequest { id: id.to_bytes().to_vec() };
        match self
            .read(|mut client| {
                let request = request.clone();
                async move { client.retrieve_key(request).await }
            })
            .await
        {
            Ok(answer) => wire::retrieved(id, answer)?.map(|stored| wire::stored(id, &stored)).transpose(),
            Err(Called::Refused { status, .. }) if status.code() == Code::DataLoss => {
                Err(StoreError::Corrupt { what: wire::words(status.message()), at: id.to_string() })
            }
            Err(failed) => Err(failed.into()),
        }
    }

    async fn find(&self, query: &Query) -> Result<Vec<Row>, StoreError> {
        let mut search = wire::Search::new(query);
        while let Some(request) = search.asks() {
            let answer = self
                .read(|mut client| {
                    let request = request.clone();
                    async move { client.list_keys(request).await }
                })
                .await?;
            search.take(answer, |id, stored| wire::stored(id, stored).ok())?;
        }
        Ok(search.rows())
    }

    async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let request = wire::batch(&batch);
        let bytes = request.encoded_len();
        // What a commit is called is added to it.
        if bytes + 4 * COMMIT_BYTES > REQUEST_BYTES_MAX {
            return Err(PluginError::TooLong { bytes }.into());
        }
        let deadline = self.link.deadline();
        let _turn = self.turn(deadline).await?;
        self.settle(deadline).await?;
        let name = fresh()?;
        let (mut tries, mut is_sent) = (1, false);
        loop {
            self.commits().open = Some(name);
            let error = match self.send(deadline, name, &request).await {
                Ok(outcome) => return self.ended(&batch, name, outcome),
                Err(Called::NotBegun(error)) if !is_sent => {
                    self.commits().open = None;
                    return Err(error);
                }
                Err(Called::NotBegun(error)) => error,
                Err(broken @ (Called::Refused { .. } | Called::Broken(_))) => {
                    is_sent = true;
                    broken.into()
                }
            };
            if tries == TRIES_MAX || Instant::now() >= deadline {
                return Err(error);
            }
            pause(tries, deadline).await;
            tries += 1;
        }
    }

    async fn outbox(&self, after: OutboxSeq, limit: usize) -> Result<Vec<OutboxEntry>, StoreError> {
        let limit = limit.min(RECORDS_MAX);
        if limit == 0 {
            return Ok(Vec::new());
        }
        let request = v1::ListRecordsRequest {
            node: self.link.settings.node.as_bytes().to_vec(),
            after: after.0,
            limit: u32::try_from(limit).expect("a page is small"),
        };
        let answer = self
            .read(|mut client| {
                let request = request.clone();
                async move { client.list_records(request).await }
            })
            .await?;
        wire::records(after, limit, &answer)
    }
}
