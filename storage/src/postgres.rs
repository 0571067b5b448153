//! The PostgreSQL keystore: the rows of a node in a schema of its own, on a server that others may run.
//!
//! What makes a commit happen once. Each commit counts the node's own row up in its transaction. When the answer to a COMMIT does not come (F8), nobody
//! knows whether it happened; but that row is locked by the transaction until this is decided, so whoever counts next waits for the decision, and finds by
//! the number what it was. The next try of the same commit does that, and so does every other call before it asks for anything: once the store has
//! answered again, no commit is open, and none happens later.
//!
//! Statements are plain: compare-and-swap by a number in the row, insert unless it is there, and arrays of parameters. Nothing depends on a lock that is
//! not a row's, on notifications or on sequences, and a transaction that the server refuses as not serializable is done again: so a distributed
//! database that speaks PostgreSQL's protocol will do.
//!
//! The driver is tokio-postgres, with connections kept by deadpool: the transactions are ours, nothing needs a database at build time, and it is the
//! smallest of its kind.

mod commit;
mod fault;
mod schema;
mod tables;
mod tls;
mod url;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, Timeouts};
use keys::id::{OutboxSeq, RowId};
use keys::port::{Batch, Keystore, OutboxEntry, Query, StoreError};
use keys::row::Row;
use rustls::ClientConfig;
use secret::Bytes;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use commit::{Failed, Plan};
use tables::Found;
use tls::Tls;

pub use fault::OpenError;
pub use url::{BadUrl, Url};

/// How often a commit is tried that the server refuses because of others, or of which it is not known whether it happened.
const TRIES_MAX: u32 = 12;
/// Before the second try; doubled with each.
const PAUSE_LEAST: Duration = Duration::from_millis(5);
/// Never longer than this.
const PAUSE_MOST: Duration = Duration::from_millis(500);
/// Rows that are asked for at a time, so that a page of large ones does not fill the memory.
const PAGE_ROWS_MAX: usize = 512;
/// So long nobody waits for a server that has just let somebody wait in vain.
const REST: Duration = Duration::from_millis(500);
/// A connection on which nothing comes for so long is asked whether it still stands.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// Where the rows are, and as whom.
pub struct Settings {
    /// Server, user and database.
    pub url: Url,
    /// The user's password; none where the server knows the user by a certificate or by the socket.
    pub password: Option<Bytes>,
    /// Whom to believe and what to show; needed for servers that are not reached by a Unix socket.
    pub tls: Option<Arc<ClientConfig>>,
    /// Most connections.
    pub connections: usize,
    /// How long one call may take, connecting and trying again included.
    pub timeout: Duration,
    /// Whose commits and audit records they are: others may use the same tables under another number.
    pub node: Uuid,
}

/// A keystore on a PostgreSQL server.
///
/// - A commit that returns `Ok` is on the server's disk. After [`StoreError::Conflict`] and [`StoreError::Full`] nothing of it is. After
///   [`StoreError::Unavailable`] it is there as a whole or not at all, and which of the two is settled before any later call is answered.
/// - When the server goes away calls fail within the timeout, those to come for a moment at once, and succeed again when it is back.
pub struct Postgres {
    pool: Pool,
    url: Url,
    node: Uuid,
    timeout: Duration,
    commits: Mutex<Commits>,
    /// As [`Commits::doubt`], to be looked at without waiting for a commit.
    is_doubtful: AtomicBool,
    /// Until then the server is taken for one that does not answer.
    rests_until: std::sync::Mutex<Option<Instant>>,
}

/// What is known of this node's commits.
struct Commits {
    /// How many have happened, by the server's count.
    done: i64,
    doubt: Doubt,
}

/// Of which commit it is not known whether it happened; there is one at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doubt {
    None,
    /// Of one that its caller was told of as failed.
    Earlier,
    /// Of the one that is being tried.
    This,
}

/// Says whether a commit is in doubt when nobody is at it any more, also if nobody waits for it any more.
struct Told<'c> {
    commits: &'c mut Commits,
    is_doubtful: &'c AtomicBool,
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        self.is_doubtful.store(self.commits.doubt != Doubt::None, Ordering::Release);
    }
}

impl Postgres {
    /// Makes the tables for a new cluster in a database that holds none yet.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] with an [`OpenError`].
    pub async fn create(settings: Settings) -> Result<Self, StoreError> {
        Self::connect(settings, schema::CREATE).await
    }

    /// Opens what [`Postgres::create`] has made, and brings tables of an older release up to date.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] with an [`OpenError`].
    pub async fn open(settings: Settings) -> Result<Self, StoreError> {
        Self::connect(settings, schema::OPEN).await
    }

    async fn connect(settings: Settings, schema::Prepare(prepare): schema::Prepare) -> Result<Self, StoreError> {
        let Settings { url, password, tls, connections, timeout, node } = settings;
        let mut config = url.config();
        if let Some(password) = password {
            password.expose(|password| config.password(password));
        }
        // The server is the first to give up a statement, and says so; if it does not, it has stopped.
        let millis = timeout.as_millis() * 4 / 5;
        config
            .application_name("strongroom")
            .connect_timeout(timeout)
            .keepalives_idle(KEEPALIVE)
            .tcp_user_timeout(timeout)
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .ssl_mode(if url.is_local() { SslMode::Disable } else { SslMode::Require })
            .options(format!(
                "-c statement_timeout={millis} -c lock_timeout={millis} -c idle_in_transaction_session_timeout={millis} -c client_min_messages=error"
            ));
        let manager = Manager::from_config(config, Tls::new(tls), ManagerConfig { recycling_method: RecyclingMethod::Fast });
        let pool = Pool::builder(manager)
            .max_size(connections)
            .runtime(Runtime::Tokio1)
            .timeouts(Timeouts { wait: Some(timeout), create: Some(timeout), recycle: Some(timeout) })
            .build()
            .expect("a runtime is given, which is all that can be missing");
        let commits = Mutex::new(Commits { done: 0, doubt: Doubt::None });
        let store =
            Self { pool, url, node, timeout, commits, is_doubtful: AtomicBool::new(false), rests_until: std::sync::Mutex::default() };
        let mut client = store.client(Instant::now() + timeout).await?;
        let done = prepare(&mut client, node).await.map_err(|error| fault::opening(&store.url, error))?;
        store.commits.lock().await.done = done;
        drop(client);
        Ok(store)
    }

    /// A connection that stood when it was last used.
    async fn client(&self, deadline: Instant) -> Result<Object, StoreError> {
        if self.rest().is_some_and(|until| Instant::now() < until) {
            return Err(fault::late(&self.url));
        }
        match timeout_at(deadline, self.pool.get()).await {
            Ok(Ok(client)) => Ok(client),
            Ok(Err(PoolError::Timeout(_))) | Err(_) => Err(self.late()),
            Ok(Err(error)) => Err(fault::connecting(&self.url, &error)),
        }
    }

    /// The time of a call is over. Those that come next do not wait as long for the same server, so that a queue of them does not grow (F7).
    fn late(&self) -> StoreError {
        *self.rest() = Some(Instant::now() + REST);
        fault::late(&self.url)
    }

    fn rest(&self) -> MutexGuard<'_, Option<Instant>> {
        self.rests_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rows for one statement that changes nothing; once more if the connection turns out to have broken, or the server wants it.
    async fn rows(&self, sql: &'static str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<tokio_postgres::Row>, StoreError> {
        let deadline = Instant::now() + self.timeout;
        if self.is_doubtful.load(Ordering::Acquire) {
            self.end_doubt(deadline).await?;
        }
        let mut tries = 1;
        loop {
            let client = self.client(deadline).await?;
            let asked = timeout_at(deadline, async {
                let statement = client.prepare_cached(sql).await?;
                client.query(&statement, parameters).await
            });
            let error = match asked.await {
                Ok(Ok(rows)) => return Ok(rows),
                Ok(Err(error)) => error,
                Err(_) => {
                    // What it still has to say is nobody's answer.
                    drop(Object::take(client));
                    return Err(self.late());
                }
            };
            if error.is_closed() || fault::is_fatal(&error) {
                drop(Object::take(client));
            } else if !fault::is_for_others(&error) {
                return Err(fault::refused(&self.url, error));
            }
            if tries == TRIES_MAX {
                return Err(fault::refused(&self.url, error));
            }
            pause(tries, deadline).await;
            tries += 1;
        }
    }

    /// Waits until it is decided whether the commit in doubt happened.
    async fn end_doubt(&self, deadline: Instant) -> Result<(), StoreError> {
        let mut commits = timeout_at(deadline, self.commits.lock()).await.map_err(|_| fault::late(&self.url))?;
        if commits.doubt == Doubt::None {
            return Ok(());
        }
        let client = self.client(deadline).await?;
        let counted = match timeout_at(deadline, commit::count(&client, self.node)).await {
            Ok(counted) => counted.map_err(|error| fault::refused(&self.url, error))?,
            Err(_) => {
                drop(Object::take(client));
                return Err(self.late());
            }
        };
        match counted {
            Some(done) if done == commits.done || done == commits.done + 1 => {
                *commits = Commits { done, doubt: Doubt::None };
                self.is_doubtful.store(false, Ordering::Release);
                Ok(())
            }
            _ => Err(self.foreign_commit()),
        }
    }

    /// One try of a commit. `Ok`: it has happened, now or in the try before.
    async fn attempt(&self, commits: &mut Commits, plan: &Plan, deadline: Instant) -> Result<(), Failed> {
        let mut client = self.client(deadline).await.map_err(Failed::NotBegun)?;
        let told = Told { commits, is_doubtful: &self.is_doubtful };
        let tried = timeout_at(deadline, self.transact(&mut client, told.commits, plan)).await;
        match tried {
            Ok(Err(Failed::Broken(error))) => {
                drop(Object::take(client));
                Err(Failed::Broken(error))
            }
            Ok(done) => done,
            Err(_) => {
                drop(Object::take(client));
                Err(Failed::Broken(self.late()))
            }
        }
    }

    async fn transact(&self, client: &mut Object, commits: &mut Commits, plan: &Plan) -> Result<(), Failed> {
        let transaction = client.transaction().await.map_err(|error| self.failed(error))?;
        let (counted, outcome) = commit::stage(&transaction, self.node, plan).await.map_err(|error| self.failed(error))?;
        match (counted.map(|counted| counted - commits.done), commits.doubt) {
            // Whoever might have come before can come no more: the row is ours.
            (Some(1), _) => {}
            (Some(2), Doubt::Earlier) => commits.done += 1,
            (Some(2), Doubt::This) => {
                commits.done += 1;
                commits.doubt = Doubt::None;
                let _dropped = transaction.rollback().await;
                return Ok(());
            }
            _ => return Err(Failed::Refused(self.foreign_commit())),
        }
        commits.doubt = Doubt::None;
        if let Err(refused) = outcome {
            let _dropped = transaction.rollback().await;
            return Err(Failed::Refused(refused));
        }
        commits.doubt = Doubt::This;
        match transaction.commit().await {
            Ok(()) => {
                *commits = Commits { done: commits.done + 1, doubt: Doubt::None };
                Ok(())
            }
            Err(error) if fault::is_undone(&error) => {
                commits.doubt = Doubt::None;
                Err(self.failed(error))
            }
            Err(error) => Err(Failed::Broken(fault::refused(&self.url, error))),
        }
    }

    fn failed(&self, error: tokio_postgres::Error) -> Failed {
        if fault::is_for_others(&error) {
            return Failed::Again(fault::refused(&self.url, error));
        }
        let is_broken = error.is_closed() || fault::is_fatal(&error);
        let told = fault::refused(&self.url, error);
        if is_broken { Failed::Broken(told) } else { Failed::Refused(told) }
    }

    fn foreign_commit(&self) -> StoreError {
        StoreError::Corrupt {
            what: format!(
                "{} counts commits that this process did not make: is another one running on a copy of this data_dir?",
                self.url.place()
            ),
            at: format!("node {}", self.node),
        }
    }
}

/// Waits a little before the next try, and longer before each further one.
async fn pause(tries: u32, deadline: Instant) {
    let pause = PAUSE_LEAST.saturating_mul(1 << tries.min(16)).min(PAUSE_MOST);
    sleep(pause.min(deadline.saturating_duration_since(Instant::now()))).await;
}

#[async_trait]
impl Keystore for Postgres {
    async fn retrieve(&self, id: RowId) -> Result<Option<Row>, StoreError> {
        let rows = self.rows(tables::retrieving(id.layer), &[&tables::layer(id.layer), &id.uuid]).await?;
        rows.first().map(|row| tables::row(id, row)).transpose()
    }

    async fn find(&self, query: &Query) -> Result<Vec<Row>, StoreError> {
        let oldest = RowId::new(query.layer, Uuid::nil());
        let newest = RowId::new(query.layer, Uuid::max());
        let (mut upper, mut is_upper_wanted) = match query.before {
            Some(before) if before < oldest => return Ok(Vec::new()),
            Some(before) if before <= newest => (before.uuid, false),
            _ => (newest.uuid, true),
        };
        let layer = tables::layer(query.layer);
        let mut terms = query.terms.iter().map(|term| term.0.to_vec());
        let (first, others) = (terms.next(), terms.collect::<Vec<_>>());
        let mut page = Vec::new();
        while page.len() < query.limit {
            let rows = i64::try_from((query.limit - page.len()).min(PAGE_ROWS_MAX)).expect("a page is small");
            let found = match &first {
                None => self.rows(tables::listing(query.layer, is_upper_wanted), &[&layer, &upper, &rows]).await?,
                Some(first) => self.rows(tables::finding(query.layer, is_upper_wanted), &[&layer, &upper, &rows, first, &others]).await?,
            };
            for row in &found {
                let Found { uuid, row } = tables::found(query.layer, row)?;
                (upper, is_upper_wanted) = (uuid, false);
                page.extend(row.filter(|row| query.terms.iter().all(|term| row.terms.contains(term))));
            }
            if i64::try_from(found.len()).is_ok_and(|found| found < rows) {
                break;
            }
        }
        Ok(page)
    }

    async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let plan = Plan::of(&batch)?;
        let deadline = Instant::now() + self.timeout;
        let mut commits = self.commits.lock().await;
        if commits.doubt == Doubt::This {
            commits.doubt = Doubt::Earlier;
        }
        let mut tries = 1;
        loop {
            let error = match self.attempt(&mut commits, &plan, deadline).await {
                Ok(()) => return Ok(()),
                Err(Failed::Refused(error)) => return Err(error),
                // Nothing has happened, so that the caller may as well hear of it at once.
                Err(Failed::NotBegun(error)) if commits.doubt != Doubt::This => return Err(error),
                Err(Failed::NotBegun(error) | Failed::Again(error) | Failed::Broken(error)) => error,
            };
            if tries == TRIES_MAX || Instant::now() >= deadline {
                return Err(error);
            }
            pause(tries, deadline).await;
            tries += 1;
        }
    }

    async fn outbox(&self, after: OutboxSeq, limit: usize) -> Result<Vec<OutboxEntry>, StoreError> {
        let (Ok(after), Ok(limit)) = (i64::try_from(after.0), i64::try_from(limit.min(PAGE_ROWS_MAX))) else { return Ok(Vec::new()) };
        let rows = self.rows(tables::OUTBOX, &[&self.node, &after, &limit]).await?;
        rows.iter().map(tables::entry).collect()
    }
}
