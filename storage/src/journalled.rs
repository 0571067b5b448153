//! A keystore made of a store that changes one row at a time, and of the node's journal.
//!
//! A commit reads what it is about to change and compares, writes the whole batch into the journal, changes row after row by compare-and-set, and takes
//! it out of the journal. If it is cut off, by the process's end or because the store does not answer, the batch is gone on with before anything else is
//! answered: each step may be taken twice. If somebody else has meanwhile changed a row of it, which no other node should, what was done is undone and
//! the commit is refused.
//!
//! Nobody reads half of a batch: who asks for a row of one that is being applied waits for its end, and who was reading while one came asks again.

mod plan;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use keys::id::{Generation, OutboxSeq, RowId};
use keys::port::{Batch, Change, Keystore, OutboxEntry, Query, StoreError};
use keys::row::Row;
use tokio::time::timeout;

use crate::intents::{Begun, Intent, Intents};
use plan::{Net, Touched};

/// Rows that are read or changed at once.
const ROWS_AT_ONCE_MAX: usize = 16;
/// How often a reader tries, before no commit may come until it has read.
const READ_TRIES: u32 = 3;
/// Of so many batches it is remembered what they changed, for those who were reading.
const REMEMBERED_MAX: usize = 64;

/// A store of rows without transactions.
///
/// What returns `Ok` survives power loss. After [`StoreError::Unavailable`] a change has happened or not, or happens later; then the same is asked for
/// again until there is an answer.
#[async_trait]
pub trait Plain: Send + Sync {
    /// One row by its id.
    async fn get(&self, id: RowId) -> Result<Option<Row>, StoreError>;

    /// Puts a row where one of this generation, or none, must be. If it is there already, what an earlier try has left undone of its terms is done.
    ///
    /// [`StoreError::Conflict`]: another row is there.
    async fn put(&self, row: &Row, expected: Option<Generation>) -> Result<(), StoreError>;

    /// Removes a row of this generation for good. If it is gone already, what an earlier try has left of it is removed.
    ///
    /// [`StoreError::Conflict`]: another row is there.
    async fn delete(&self, id: RowId, expected: Generation) -> Result<(), StoreError>;

    /// As [`Keystore::find`].
    async fn find(&self, query: &Query) -> Result<Vec<Row>, StoreError>;
}

#[async_trait]
impl<P: Plain> Plain for Arc<P> {
    async fn get(&self, id: RowId) -> Result<Option<Row>, StoreError> {
        P::get(self, id).await
    }

    async fn put(&self, row: &Row, expected: Option<Generation>) -> Result<(), StoreError> {
        P::put(self, row, expected).await
    }

    async fn delete(&self, id: RowId, expected: Generation) -> Result<(), StoreError> {
        P::delete(self, id, expected).await
    }

    async fn find(&self, query: &Query) -> Result<Vec<Row>, StoreError> {
        P::find(self, query).await
    }
}

/// A [`Keystore`] over a [`Plain`] store.
pub struct Journalled<S> {
    shared: Arc<Shared<S>>,
    patience: Duration,
}

struct Shared<S> {
    plain: S,
    intents: Intents,
    /// Held by whoever changes something.
    turn: tokio::sync::Mutex<()>,
    window: Mutex<Window>,
}

/// What readers have to know of batches.
#[derive(Default)]
struct Window {
    /// The batches that the journal holds, oldest first; more than one only if the file held more.
    open: VecDeque<Doing>,
    /// How many have been begun.
    begun: u64,
    /// What the last of them changed.
    recent: VecDeque<Arc<[Touched]>>,
}

/// A batch in the journal.
struct Doing {
    intent: Intent,
    nets: Arc<[Net]>,
    touched: Arc<[Touched]>,
    is_back: bool,
    /// The store has all of it, or nothing if it is undone; only the journal does not know.
    is_whole: bool,
}

/// What somebody reads.
enum Asked<'q> {
    Row(RowId),
    Page(&'q Query),
}

impl Asked<'_> {
    fn is_touched(&self, touched: &[Touched]) -> bool {
        touched.iter().any(|touched| match self {
            Self::Row(id) => touched.id == *id,
            Self::Page(query) => touched.matters_to(query),
        })
    }
}

/// What is told of a batch that is in the journal and did not get to its end.
#[derive(Debug, thiserror::Error)]
enum Unsettled {
    #[error("no answer within {seconds} s; the change is settled before the next call is answered", seconds = .0.as_secs_f64())]
    Late(Duration),
    #[error("the change is made, but the journal could not be told ({0}); it is settled before the next one")]
    Journal(String),
    #[error("the change ended in a panic; it is settled before the next call is answered")]
    Panicked,
}

impl Unsettled {
    fn told(self) -> StoreError {
        StoreError::Unavailable { what: "settling a change", source: Box::new(self) }
    }
}

impl<S: Plain + 'static> Journalled<S> {
    /// `plain` with the journal `intents`, which nobody else may use. Asks the store for nothing: what was cut off is gone on with at the first call.
    ///
    /// - `patience`: no call takes longer; what it began goes on.
    ///
    /// # Errors
    /// The journal's.
    pub fn new(plain: S, intents: Intents, patience: Duration) -> Result<Self, StoreError> {
        let open = intents.begun()?.into_iter().map(Doing::again).collect::<Result<_, _>>()?;
        let window = Mutex::new(Window { open, ..Window::default() });
        Ok(Self { shared: Arc::new(Shared { plain, intents, turn: tokio::sync::Mutex::default(), window }), patience })
    }

    async fn patiently<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        timeout(self.patience, call).await.unwrap_or_else(|_| Err(Unsettled::Late(self.patience).told()))
    }
}

#[async_trait]
impl<S: Plain + 'static> Keystore for Journalled<S> {
    async fn retrieve(&self, id: RowId) -> Result<Option<Row>, StoreError> {
        Ok(self.patiently(self.shared.read(Asked::Row(id))).await?.pop())
    }

    async fn find(&self, query: &Query) -> Result<Vec<Row>, StoreError> {
        self.patiently(self.shared.read(Asked::Page(query))).await
    }

    /// Goes on when nobody waits for it any more: what was written into the journal has to be known to readers.
    async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let shared = Arc::clone(&self.shared);
        let commit = tokio::spawn(async move { shared.commit(batch).await });
        self.patiently(async { commit.await.unwrap_or_else(|_| Err(Unsettled::Panicked.told())) }).await
    }

    async fn outbox(&self, after: OutboxSeq, limit: usize) -> Result<Vec<OutboxEntry>, StoreError> {
        self.patiently(async {
            let _turn = self.shared.turn.lock().await;
            self.shared.settle().await?;
            self.shared.intents.outbox(after, limit).await
        })
        .await
    }
}

impl<S: Plain> Shared<S> {
    fn window(&self) -> MutexGuard<'_, Window> {
        // Each change of it is one assignment or push.
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read(&self, asked: Asked<'_>) -> Result<Vec<Row>, StoreError> {
        for _ in 0..READ_TRIES {
            let begun = self.quiet(&asked).await?;
            let rows = self.ask(&asked).await?;
            if self.window().is_untouched_since(begun, &asked) {
                return Ok(rows);
            }
        }
        let _turn = self.turn.lock().await;
        self.make_whole().await?;
        self.ask(&asked).await
    }

    async fn ask(&self, asked: &Asked<'_>) -> Result<Vec<Row>, StoreError> {
        match asked {
            Asked::Row(id) => Ok(self.plain.get(*id).await?.into_iter().collect()),
            Asked::Page(query) => self.plain.find(query).await,
        }
    }

    /// Waits until nothing of what is asked for is half done, and sees to it if nobody is at it; returns how many batches were begun by then.
    async fn quiet(&self, asked: &Asked<'_>) -> Result<u64, StoreError> {
        let (begun, is_touched) = {
            let window = self.window();
            let mut half_done = window.open.iter().filter(|doing| !doing.is_whole).peekable();
            if half_done.peek().is_none() {
                return Ok(window.begun);
            }
            (window.begun, half_done.any(|doing| asked.is_touched(&doing.touched)))
        };
        let _turn = match self.turn.try_lock() {
            Ok(turn) => turn,
            Err(_) if is_touched => self.turn.lock().await,
            // Somebody is at it, and it has nothing to do with this.
            Err(_) => return Ok(begun),
        };
        self.make_whole().await?;
        Ok(self.window().begun)
    }

    async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let _turn = self.turn.lock().await;
        self.settle().await?;
        if batch.changes.is_empty() {
            return self.intents.queue(batch.outbox, batch.settled).await;
        }
        let nets = plan::nets(&batch, &self.stored(&batch).await?)?;
        let before: Vec<_> = nets.iter().filter_map(|net| net.before.clone()).collect();
        let intent = self.intents.begin(&batch, &before).await?;
        self.window().begin(Doing::new(intent, nets));
        let refused = self.make_whole().await?;
        let ended = self.end().await.map_err(|error| Unsettled::Journal(error.to_string()).told());
        refused.map_or(ended, Err)
    }

    /// The rows that a batch changes, as they are stored.
    async fn stored(&self, batch: &Batch) -> Result<HashMap<RowId, Row>, StoreError> {
        let ids: BTreeSet<_> = batch.changes.iter().map(Change::id).collect();
        let mut reads = stream::iter(ids).map(|id| async move { (id, self.plain.get(id).await) }).buffer_unordered(ROWS_AT_ONCE_MAX);
        let mut stored = HashMap::new();
        while let Some((id, row)) = reads.next().await {
            stored.extend(row?.map(|row| (id, row)));
        }
        Ok(stored)
    }

    /// With the turn held: ends what the journal holds.
    async fn settle(&self) -> Result<(), StoreError> {
        self.make_whole().await?;
        self.end().await
    }

    /// With the turn held: applies or undoes what is half done. Returns why the last of them could not be applied and is undone.
    async fn make_whole(&self) -> Result<Option<StoreError>, StoreError> {
        let mut refused = None;
        loop {
            let Some((intent, nets, is_back)) = self.window().half_done() else { return Ok(refused) };
            match self.apply(&nets, is_back).await? {
                Some(why) if !is_back => {
                    self.intents.turn_back(intent).await?;
                    self.window().change(intent, |doing| doing.is_back = true);
                    refused = Some(why);
                }
                _ => self.window().change(intent, |doing| doing.is_whole = true),
            }
        }
    }

    /// Returns what keeps the batch from being applied, once each row has had a clear answer: only then nothing of it can happen later.
    async fn apply(&self, nets: &[Net], is_back: bool) -> Result<Option<StoreError>, StoreError> {
        let step = async |net: &Net| if is_back { self.undo(net).await } else { self.redo(net).await };
        let mut steps = stream::iter(nets).map(step).buffer_unordered(ROWS_AT_ONCE_MAX);
        let mut refused = None;
        while let Some(outcome) = steps.next().await {
            match outcome {
                Ok(()) => {}
                Err(error @ (StoreError::Conflict { .. } | StoreError::Corrupt { .. })) => refused = refused.or(Some(error)),
                Err(error @ StoreError::Full { .. }) if !is_back => refused = refused.or(Some(error)),
                Err(other) => return Err(other),
            }
        }
        Ok(refused)
    }

    async fn redo(&self, net: &Net) -> Result<(), StoreError> {
        let expected = net.before.as_ref().map(|row| row.header.generation);
        match (&net.after, expected) {
            (Some(row), _) => self.plain.put(row, expected).await,
            (None, Some(expected)) => self.plain.delete(net.id, expected).await,
            (None, None) => Ok(()),
        }
    }

    /// Puts back what was there. What somebody else has put there stays.
    async fn undo(&self, net: &Net) -> Result<(), StoreError> {
        let stored = self.plain.get(net.id).await?;
        if stored != net.after {
            return Ok(());
        }
        let generation = stored.map(|row| row.header.generation);
        match (&net.before, generation) {
            (Some(row), _) => self.plain.put(row, generation).await,
            (None, Some(generation)) => self.plain.delete(net.id, generation).await,
            (None, None) => Ok(()),
        }
    }

    /// With the turn held: takes out of the journal what is whole.
    async fn end(&self) -> Result<(), StoreError> {
        loop {
            let Some((intent, is_back)) = self.window().open.front().map(|doing| (doing.intent, doing.is_back)) else { return Ok(()) };
            if is_back {
                self.intents.undone(intent).await?
            } else {
                self.intents.done(intent).await?
            }
            self.window().open.pop_front();
        }
    }
}

impl Doing {
    fn new(intent: Intent, nets: Vec<Net>) -> Self {
        let touched = nets.iter().map(Touched::by).collect();
        Self { intent, nets: nets.into(), touched, is_back: false, is_whole: false }
    }

    /// A batch that another process began.
    fn again(begun: Begun) -> Result<Self, StoreError> {
        let stored = begun.before.into_iter().map(|row| (row.header.id, row)).collect();
        Ok(Self { is_back: begun.is_back, ..Self::new(begun.intent, plan::nets(&begun.batch, &stored)?) })
    }
}

impl Window {
    fn begin(&mut self, doing: Doing) {
        self.begun += 1;
        if self.recent.len() == REMEMBERED_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(Arc::clone(&doing.touched));
        self.open.push_back(doing);
    }

    fn half_done(&self) -> Option<(Intent, Arc<[Net]>, bool)> {
        let doing = self.open.iter().find(|doing| !doing.is_whole)?;
        Some((doing.intent, Arc::clone(&doing.nets), doing.is_back))
    }

    fn change(&mut self, intent: Intent, change: impl FnOnce(&mut Doing)) {
        if let Some(doing) = self.open.iter_mut().find(|doing| doing.intent == intent) {
            change(doing);
        }
    }

    fn is_untouched_since(&self, begun: u64, asked: &Asked<'_>) -> bool {
        let later = usize::try_from(self.begun - begun).unwrap_or(usize::MAX);
        later <= self.recent.len() && self.recent.iter().rev().take(later).all(|touched| !asked.is_touched(touched))
    }
}
