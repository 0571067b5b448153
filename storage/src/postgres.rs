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
//! Requests and the node's own work go by connections of their own, in roles of their own (`roles.rs`). What a tenant's request reads takes one round trip as
//! everything does: the transaction that names the tenant is sent as a whole, so nothing of it is left on a connection that somebody else gets.
//!
//! The driver is tokio-postgres, with connections kept by deadpool: the transactions are ours, nothing needs a database at build time, and it is the
//! smallest of its kind.

mod commit;
mod fault;
mod roles;
mod schema;
mod tables;
mod tls;
mod url;
mod way;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, Timeouts};
use futures_util::TryStreamExt;
use futures_util::future::try_join;
use keys::id::{OutboxSeq, RowId, TenantId};
use keys::port::{Batch, Keystore, OutboxEntry, Query, Scope, StoreError};
use keys::row::{ROW_BYTES_MAX, Row};
use rustls::ClientConfig;
use secret::Bytes;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Config, RowStream};
use uuid::Uuid;

use commit::{Failed, Plan};
use fault::Breach;
use tables::Found;
use way::{Excess, Way};

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
/// Room for a row of an answer: the largest there is, with its columns.
const ANSWERED_ROW_BYTES_MAX: usize = 2 * ROW_BYTES_MAX;
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
    /// Most connections, half of them for requests and half for the node's own work.
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
    /// In the role that sees the rows of the tenants that it names.
    requests: Pool,
    /// In the role that sees all.
    worker: Pool,
    excess: Excess,
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

    /// Makes the tables, or opens what another node has made that shares them.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] with an [`OpenError`].
    pub async fn join(settings: Settings) -> Result<Self, StoreError> {
        Self::connect(settings, schema::JOIN).await
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
        let excess = Excess::default();
        let pool = |role: Option<String>, connections| {
            let way = Way { tls: tls.clone(), role, excess: excess.clone() };
            pool(config.clone(), way, connections, timeout)
        };
        let mut owner = match timeout_at(Instant::now() + timeout, pool(None, 1).get()).await {
            Ok(Ok(owner)) => owner,
            Ok(Err(PoolError::Timeout(_))) | Err(_) => return Err(fault::late(&url)),
            Ok(Err(error)) => return Err(unconnected(&url, &excess, &error)),
        };
        let ready = prepare(&mut owner, node, timeout).await.map_err(|error| fault::opening(&url, error))?;
        Ok(Self {
            requests: pool(Some(ready.roles.requests), connections.div_ceil(2)),
            worker: pool(Some(ready.roles.worker), (connections / 2).max(1)),
            excess,
            url,
            node,
            timeout,
            commits: Mutex::new(Commits { done: ready.done, doubt: Doubt::None }),
            is_doubtful: AtomicBool::new(false),
            rests_until: std::sync::Mutex::default(),
        })
    }

    /// A connection that stood when it was last used.
    async fn client(&self, pool: &Pool, deadline: Instant) -> Result<Object, StoreError> {
        if self.rest().is_some_and(|until| Instant::now() < until) {
            return Err(fault::late(&self.url));
        }
        match timeout_at(deadline, pool.get()).await {
            Ok(Ok(client)) => Ok(client),
            Ok(Err(PoolError::Timeout(_))) | Err(_) => Err(self.late()),
            Ok(Err(error)) => Err(unconnected(&self.url, &self.excess, &error)),
        }
    }

    /// What is told of a failed statement.
    fn refused(&self, error: tokio_postgres::Error) -> StoreError {
        match self.excess.take().filter(|_| error.is_closed()) {
            Some(breach) => fault::too_much(&self.url, breach),
            None => fault::refused(&self.url, error),
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

    /// At most so many rows for one statement that changes nothing; once more if the connection turns out to have broken, or the server wants it.
    async fn rows(
        &self,
        scope: Scope,
        sql: &'static str,
        parameters: &[&(dyn ToSql + Sync)],
        most: usize,
    ) -> Result<Vec<tokio_postgres::Row>, StoreError> {
        let deadline = Instant::now() + self.timeout;
        if self.is_doubtful.load(Ordering::Acquire) {
            self.end_doubt(deadline).await?;
        }
        let mut tries = 1;
        loop {
            let pool = if scope == Scope::Node { &self.worker } else { &self.requests };
            let client = self.client(pool, deadline).await?;
            let error = match timeout_at(deadline, self.ask(&client, scope, sql, parameters, most)).await {
                Ok(Ok(rows)) => return Ok(rows),
                Ok(Err(Asked::Failed(error))) => error,
                Ok(Err(Asked::Breach(breach))) => {
                    drop(Object::take(client));
                    return Err(fault::too_much(&self.url, breach));
                }
                Err(_) => {
                    // What it still has to say is nobody's answer.
                    drop(Object::take(client));
                    return Err(self.late());
                }
            };
            if error.is_closed() || fault::is_fatal(&error) {
                drop(Object::take(client));
                if let Some(breach) = self.excess.take() {
                    return Err(fault::too_much(&self.url, breach));
                }
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

    /// One round trip, if the statements are prepared. What a tenant's request reads is a transaction, which names the tenant and ends with that.
    async fn ask(
        &self,
        client: &Object,
        scope: Scope,
        sql: &'static str,
        parameters: &[&(dyn ToSql + Sync)],
        most: usize,
    ) -> Result<Vec<tokio_postgres::Row>, Asked> {
        let statement = client.prepare_cached(sql).await?;
        let rows = async { taken(client.query_raw(&statement, parameters.iter().copied()).await?, most).await };
        let Scope::Tenant(tenant) = scope else { return rows.await };
        let begin = roles::beginning(&[TenantId::SYSTEM, tenant]);
        let batch = async |sql| client.batch_execute(sql).await.map_err(Asked::from);
        // Polled in this order, which is the order in which they are sent. The first that fails ends the wait: where the server has said so, all were sent.
        let (_begun, (rows, _ended)) = try_join(batch(&begin), try_join(rows, batch("commit"))).await?;
        Ok(rows)
    }

    /// Waits until it is decided whether the commit in doubt happened.
    async fn end_doubt(&self, deadline: Instant) -> Result<(), StoreError> {
        let mut commits = timeout_at(deadline, self.commits.lock()).await.map_err(|_| fault::late(&self.url))?;
        if commits.doubt == Doubt::None {
            return Ok(());
        }
        let client = self.client(&self.worker, deadline).await?;
        let counted = match timeout_at(deadline, commit::count(&client, self.node)).await {
            Ok(counted) => counted.map_err(|error| self.refused(error))?,
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
        let pool = if plan.tenants.is_some() { &self.requests } else { &self.worker };
        let mut client = self.client(pool, deadline).await.map_err(Failed::NotBegun)?;
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
        let staged = commit::stage(&transaction, self.node, plan).await;
        let (counted, outcome) = staged.map_err(|asked| match asked {
            Asked::Failed(error) => self.failed(error),
            Asked::Breach(breach) => Failed::Broken(fault::too_much(&self.url, breach)),
        })?;
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
            Err(error) => Err(Failed::Broken(self.refused(error))),
        }
    }

    fn failed(&self, error: tokio_postgres::Error) -> Failed {
        if fault::is_for_others(&error) {
            return Failed::Again(fault::refused(&self.url, error));
        }
        let is_broken = error.is_closed() || fault::is_fatal(&error);
        let told = self.refused(error);
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

fn unconnected(url: &Url, excess: &Excess, error: &PoolError) -> StoreError {
    match excess.take() {
        Some(breach) => fault::too_much(url, breach),
        None => fault::connecting(url, error),
    }
}

/// Why there are no rows.
enum Asked {
    Failed(tokio_postgres::Error),
    Breach(Breach),
}

impl From<tokio_postgres::Error> for Asked {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Failed(error)
    }
}

/// All rows of an answer, unless they are more than can be one.
async fn taken(stream: RowStream, most: usize) -> Result<Vec<tokio_postgres::Row>, Asked> {
    let (mut stream, mut rows, mut bytes) = (std::pin::pin!(stream), Vec::new(), 0);
    while let Some(row) = stream.try_next().await? {
        bytes += row.raw_size_bytes();
        if rows.len() == most || bytes > most.saturating_mul(ANSWERED_ROW_BYTES_MAX) {
            return Err(Asked::Breach(Breach::Answer { rows: most }));
        }
        rows.push(row);
    }
    Ok(rows)
}

fn pool(config: Config, way: Way, connections: usize, timeout: Duration) -> Pool {
    let manager = Manager::from_connect(config, way, ManagerConfig { recycling_method: RecyclingMethod::Fast });
    Pool::builder(manager)
        .max_size(connections)
        .runtime(Runtime::Tokio1)
        .timeouts(Timeouts { wait: Some(timeout), create: Some(timeout), recycle: Some(timeout) })
        .build()
        .expect("a runtime is given, which is all that can be missing")
}

/// Waits a little before the next try, and longer before each further one.
async fn pause(tries: u32, deadline: Instant) {
    let pause = PAUSE_LEAST.saturating_mul(1 << tries.min(16)).min(PAUSE_MOST);
    sleep(pause.min(deadline.saturating_duration_since(Instant::now()))).await;
}

#[async_trait]
impl Keystore for Postgres {
    async fn retrieve(&self, id: RowId) -> Result<Option<Row>, StoreError> {
        self.retrieve_for(Scope::Node, id).await
    }

    async fn find(&self, query: &Query) -> Result<Vec<Row>, StoreError> {
        self.find_for(Scope::Node, query).await
    }

    async fn retrieve_for(&self, scope: Scope, id: RowId) -> Result<Option<Row>, StoreError> {
        let rows = self.rows(scope, tables::retrieving(id.layer), &[&tables::layer(id.layer), &id.uuid], 1).await?;
        rows.first().map(|row| tables::row(id, row)).transpose()
    }

    async fn find_for(&self, scope: Scope, query: &Query) -> Result<Vec<Row>, StoreError> {
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
            let most = (query.limit - page.len()).min(PAGE_ROWS_MAX);
            let rows = i64::try_from(most).expect("a page is small");
            let found = match &first {
                None => self.rows(scope, tables::listing(query.layer, is_upper_wanted), &[&layer, &upper, &rows], most).await?,
                Some(first) => {
                    let finding = tables::finding(query.layer, is_upper_wanted);
                    self.rows(scope, finding, &[&layer, &upper, &rows, first, &others], most).await?
                }
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
        self.carry_out(Plan::of(&batch, None)?).await
    }

    async fn commit_within(&self, tenants: &[TenantId], batch: Batch) -> Result<(), StoreError> {
        self.carry_out(Plan::of(&batch, Some(tenants))?).await
    }

    async fn outbox(&self, after: OutboxSeq, limit: usize) -> Result<Vec<OutboxEntry>, StoreError> {
        let most = limit.min(PAGE_ROWS_MAX);
        let (Ok(after), Ok(limit)) = (i64::try_from(after.0), i64::try_from(most)) else { return Ok(Vec::new()) };
        let rows = self.rows(Scope::Node, tables::OUTBOX, &[&self.node, &after, &limit], most).await?;
        rows.iter().map(tables::entry).collect()
    }
}

impl Postgres {
    /// Tries a commit until it is known what came of it, or the time is over.
    async fn carry_out(&self, plan: Plan) -> Result<(), StoreError> {
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
}
