//! The tables' versions: made once, brought up to date step by step, and left alone if they are of a newer release.
//!
//! A step is SQL that is run once, in one transaction with the new number of the schema. Whoever comes at the same time waits for the number's row.

use std::pin::Pin;

use deadpool_postgres::{Object, Transaction};
use tokio_postgres::error::SqlState;
use uuid::Uuid;

use super::fault::NotOpen;

/// From one number of the schema to the next, the first from nothing. A released step is never changed.
const STEPS: &[&str] = &[include_str!("schema/1.sql")];

/// The number of the schema, and nothing else, so that any release can read it.
const NUMBER: &str = "create schema if not exists strongroom;
    create table if not exists strongroom.schema (is_only boolean primary key default true check (is_only), number bigint not null);
    insert into strongroom.schema (number) values (0) on conflict do nothing;";

/// How often others may be met who make the same.
const MEETINGS_MAX: u32 = 8;

/// How a store is made ready; returns how many commits the node has made.
#[expect(clippy::type_complexity, reason = "the one place that names the shape of an async function")]
pub(super) struct Prepare(pub(super) for<'c> fn(&'c mut Object, Uuid) -> Pin<Box<dyn Future<Output = Result<i64, NotOpen>> + Send + 'c>>);

/// Makes the tables, which must not hold anything yet.
pub(super) const CREATE: Prepare = Prepare(|client, node| Box::pin(prepare(client, node, true)));

/// Opens tables that are there.
pub(super) const OPEN: Prepare = Prepare(|client, node| Box::pin(prepare(client, node, false)));

async fn prepare(client: &mut Object, node: Uuid, is_new: bool) -> Result<i64, NotOpen> {
    refuse_careless(client).await?;
    if is_new {
        make_number(client).await?;
    } else if number_if_any(client).await?.is_none() {
        return Err(NotOpen::Missing);
    }
    let transaction = client.transaction().await?;
    let found: i64 = transaction.query_one("select number from strongroom.schema for update", &[]).await?.try_get(0)?;
    let known = i64::try_from(STEPS.len()).expect("there are few steps");
    if found > known {
        return Err(NotOpen::Newer { found, known });
    }
    if found == 0 && !is_new {
        return Err(NotOpen::Missing);
    }
    for step in &STEPS[usize::try_from(found).unwrap_or(0)..] {
        transaction.batch_execute(step).await?;
    }
    transaction.execute("update strongroom.schema set number = $1", &[&known]).await?;
    if is_new && transaction.query_opt("select 1 from strongroom.records limit 1", &[]).await?.is_some() {
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
