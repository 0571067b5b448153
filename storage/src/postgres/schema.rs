//! The tables' versions: made once, brought up to date step by step, and left alone if they are of a newer release.
//!
//! A step is SQL that is run once, in one transaction with the new number of the schema. Whoever comes at the same time waits for the number's row.

use std::pin::Pin;
use std::time::Duration;

use deadpool_postgres::{Object, Transaction};
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use uuid::Uuid;

use super::fault::NotOpen;
use super::roles::{Roles, taking};

/// From one number of the schema to the next, the first from nothing. A released step is never changed.
const STEPS: &[&str] = &[include_str!("schema/1.sql"), include_str!("schema/2.sql")];

/// The number of the schema, and nothing else, so that any release can read it.
const NUMBER: &str = "create schema if not exists strongroom;
    create table if not exists strongroom.schema (is_only boolean primary key default true check (is_only), number bigint not null);
    insert into strongroom.schema (number) values (0) on conflict do nothing;";

/// How often others may be met who make the same.
const MEETINGS_MAX: u32 = 8;

/// So long it may take to bring tables of an older release up to date.
const UPGRADE_MAX: Duration = Duration::from_secs(3600);

/// How a store is made ready.
#[expect(clippy::type_complexity, reason = "the one place that names the shape of an async function")]
pub(super) struct Prepare(
    pub(super) for<'c> fn(&'c mut Object, Uuid, Duration) -> Pin<Box<dyn Future<Output = Result<Ready, NotOpen>> + Send + 'c>>,
);

/// What a store that is ready knows of its tables.
pub(super) struct Ready {
    /// How many commits the node has made.
    pub(super) done: i64,
    pub(super) roles: Roles,
}

/// Makes the tables, which must not hold anything yet.
pub(super) const CREATE: Prepare = Prepare(|client, node, time| Box::pin(prepare(client, node, time, Tables::New)));

/// Makes the tables, or opens those that another node has made.
pub(super) const JOIN: Prepare = Prepare(|client, node, time| Box::pin(prepare(client, node, time, Tables::Shared)));

/// Opens tables that are there.
pub(super) const OPEN: Prepare = Prepare(|client, node, time| Box::pin(prepare(client, node, time, Tables::Made)));

/// What is expected of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tables {
    /// There are none, or nothing is in them.
    New,
    /// There are none, or others use them.
    Shared,
    /// They are there.
    Made,
}

/// - `time`: how long it may take to look at what is there.
async fn prepare(client: &mut Object, node: Uuid, time: Duration, tables: Tables) -> Result<Ready, NotOpen> {
    let known = i64::try_from(STEPS.len()).expect("there are few steps");
    let looked = timeout(time, look(client, tables, known));
    let (found, roles) = looked.await.unwrap_or(Err(NotOpen::Late))?;
    let time = if found < known { UPGRADE_MAX } else { time };
    let done = timeout(time, bring_up_to_date(client, node, &roles, tables)).await.unwrap_or(Err(NotOpen::Late))?;
    Ok(Ready { done, roles })
}

/// The schema's number and the roles, which are made if they are not there.
async fn look(client: &Object, tables: Tables, known: i64) -> Result<(i64, Roles), NotOpen> {
    refuse_careless(client).await?;
    let is_new = tables != Tables::Made;
    if is_new {
        make_number(client).await?;
    }
    let found = number_if_any(client).await?.filter(|found| is_new || *found > 0).ok_or(NotOpen::Missing)?;
    if found > known {
        return Err(NotOpen::Newer { found, known });
    }
    let roles = match Roles::stored(client).await? {
        Some(roles) => roles,
        None => Roles::of_user(client).await?,
    };
    roles.prepare(client).await?;
    Ok((found, roles))
}

async fn bring_up_to_date(client: &mut Object, node: Uuid, roles: &Roles, tables: Tables) -> Result<i64, NotOpen> {
    let transaction = client.transaction().await?;
    let found: i64 = transaction.query_one("select number from strongroom.schema for update", &[]).await?.try_get(0)?;
    let known = i64::try_from(STEPS.len()).expect("there are few steps");
    if found < known {
        transaction.batch_execute("set local statement_timeout = 0").await?;
        for step in &STEPS[usize::try_from(found).unwrap_or(0)..] {
            transaction.batch_execute(&roles.fill_in(step)).await?;
        }
        transaction.execute("update strongroom.schema set number = $1", &[&known]).await?;
    }
    // The owner itself sees nothing.
    transaction.batch_execute(&taking(&roles.worker).replacen("set", "set local", 1)).await?;
    if tables == Tables::New && transaction.query_opt("select 1 from strongroom.records limit 1", &[]).await?.is_some() {
        return Err(NotOpen::Taken);
    }
    let done = count(&transaction, node).await?;
    transaction.commit().await?;
    Ok(done)
}

/// Waits until no commit of an earlier process is open any more.
async fn count(transaction: &Transaction<'_>, node: Uuid) -> Result<i64, NotOpen> {
    transaction.execute("insert into strongroom.nodes (node, commits) values ($1, 0) on conflict do nothing", &[&node]).await?;
    let counted = transaction.query_one("select commits from strongroom.nodes where node = $1 for update", &[&node]).await?;
    Ok(counted.try_get(0)?)
}

/// `if not exists` does not keep two that begin at the same moment from meeting.
async fn make_number(client: &Object) -> Result<(), NotOpen> {
    let others = [
        SqlState::UNIQUE_VIOLATION,
        SqlState::DUPLICATE_SCHEMA,
        SqlState::DUPLICATE_TABLE,
        SqlState::DUPLICATE_OBJECT,
        SqlState::T_R_SERIALIZATION_FAILURE,
    ];
    let mut tries = 1;
    while number_if_any(client).await?.is_none() {
        match client.batch_execute(NUMBER).await {
            Err(error) if tries < MEETINGS_MAX && error.code().is_some_and(|code| others.contains(code)) => tries += 1,
            made => made?,
        }
    }
    Ok(())
}

/// The schema's number, `None` if there is no such table.
async fn number_if_any(client: &Object) -> Result<Option<i64>, NotOpen> {
    match client.query_opt("select number from strongroom.schema", &[]).await {
        Ok(row) => Ok(row.map(|row| row.try_get(0)).transpose()?),
        Err(error) if matches!(error.code(), Some(code) if [SqlState::UNDEFINED_TABLE, SqlState::INVALID_SCHEMA_NAME].contains(code)) => {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// A server without these settings has none that could be wrong.
async fn refuse_careless(client: &Object) -> Result<(), NotOpen> {
    for setting in ["fsync", "full_page_writes", "synchronous_commit"] {
        let said: Option<String> = client.query_one("select current_setting($1, true)", &[&setting]).await?.try_get(0)?;
        if said.as_deref() == Some("off") {
            return Err(NotOpen::Careless { setting });
        }
    }
    Ok(())
}
