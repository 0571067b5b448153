//! One batch as the statements of one transaction.
//!
//! They are sent together, and their answers looked at in order: what a statement depends on is in the statement. The first of them counts the commit,
//! and with that locks the node's own row until the transaction has ended.

use std::collections::BTreeSet;

use deadpool_postgres::{Object, Transaction};
use futures_util::future::{join, join_all};
use keys::id::{Generation, Layer, OutboxSeq, RowId, TenantId};
use keys::port::{Batch, Change, StoreError};
use keys::row::Row;
use tokio_postgres::Error;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::roles::{NAME_SCOPE, named};
use super::tables::{Columns, layer, status};
use super::{Asked, taken};
use crate::outbox_taken;

/// How many commits the node has made, once no commit of it is open any more: the row is locked by one that is.
const COUNT: &str = "select commits from strongroom.nodes where node = $1 for update";
const COUNT_UP: &str = "update strongroom.nodes set commits = commits + 1 where node = $1 returning commits";

const INSERT: &str = "with made as (insert into strongroom.records (layer, id, chain, version, object_type, algorithm, bits, state, expiry, tenant, \
     service, generation, parent, parent_version, stored) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) \
     on conflict do nothing returning layer, id, tenant), \
     added as (insert into strongroom.terms (term, layer, id, tenant) select t.term, made.layer, made.id, made.tenant from made, unnest($16::bytea[]) as t(term) \
     on conflict do nothing) \
     select 1 from made";

const UPDATE: &str = "with changed as (update strongroom.records set chain = $3, version = $4, object_type = $5, algorithm = $6, bits = $7, state = $8, \
     expiry = $9, tenant = $10, service = $11, generation = $12, parent = $13, parent_version = $14, stored = $15 \
     where layer = $1 and id = $2 and generation = $17 and tenant = $10 returning layer, id, tenant), \
     gone as (delete from strongroom.terms where layer = $1 and id = $2 and term <> all($16::bytea[]) and exists (select 1 from changed)), \
     added as (insert into strongroom.terms (term, layer, id, tenant) \
     select t.term, changed.layer, changed.id, changed.tenant from changed, unnest($16::bytea[]) as t(term) \
     on conflict do nothing) \
     select 1 from changed";

const DELETE: &str = "with gone as (delete from strongroom.records where layer = $1 and id = $2 and generation = $3 returning id), \
     terms_gone as (delete from strongroom.terms where layer = $1 and id = $2 and exists (select 1 from gone)) \
     select 1 from gone";

const MASTER_GENERATION: &str = "insert into strongroom.encryption_keys (id) values ($1) on conflict do nothing";

const INSERT_KEK: &str = "insert into strongroom.kek_storage (ivk_version, kek_encrypted, encryption_key_id, status) values ($1, $2, $3, $4) \
     on conflict do nothing";

const UPDATE_KEK: &str = "update strongroom.kek_storage set kek_encrypted = $2, encryption_key_id = $3, status = $4, \
     rotated_at = case when $4::varchar <> 'active' and rotated_at is null then now() else rotated_at end where ivk_version = $1";

const DELETE_KEK: &str = "delete from strongroom.kek_storage where ivk_version = \
     (select version from strongroom.records where layer = $1 and id = $2)";

const QUEUE: &str = "insert into strongroom.outbox (node, seq, record) \
     select $1, q.seq, q.record from unnest($2::bigint[], $3::bytea[]) as q(seq, record) on conflict do nothing returning seq";

const SETTLE: &str = "delete from strongroom.outbox where node = $1 and seq <= $2 and seq <> all($3::bigint[])";

/// Why a try of a commit did not end well.
pub(super) enum Failed {
    /// It was not begun.
    NotBegun(StoreError),
    /// Nothing has happened, and the same again may succeed.
    Again(StoreError),
    /// The connection is of no use any more; after a COMMIT nobody knows what came of it.
    Broken(StoreError),
    /// Nothing has happened, and the same again would not do better.
    Refused(StoreError),
}

/// A batch in the store's own terms.
pub(super) struct Plan {
    /// Whose rows it changes, as the transaction names them; `None` for the node's own work, which may change everybody's.
    pub(super) tenants: Option<String>,
    steps: Vec<Step>,
    queued: Vec<OutboxSeq>,
    /// Numbers and records.
    queue: (Vec<i64>, Vec<Vec<u8>>),
    settled: Option<i64>,
}

/// One statement.
struct Step {
    sql: &'static str,
    parameters: Vec<Box<dyn ToSql + Sync + Send>>,
    /// The row whose expectation holds if the statement finds exactly one.
    must: Option<RowId>,
}

impl Plan {
    /// # Errors
    /// A number that is queued twice, or too large to be stored.
    pub(super) fn of(batch: &Batch, tenants: Option<&[TenantId]>) -> Result<Self, StoreError> {
        let mut steps = Vec::new();
        for change in &batch.changes {
            steps.extend(steps_of(change)?);
        }
        let (mut numbers, mut queue) = (BTreeSet::new(), (Vec::new(), Vec::new()));
        for entry in &batch.outbox {
            let number = i64::try_from(entry.seq.0).ok().filter(|number| numbers.insert(*number));
            queue.0.push(number.ok_or_else(|| outbox_taken(entry.seq))?);
            queue.1.push(postcard::to_allocvec(&entry.record).expect("a record is plain data and memory grows"));
        }
        let settled = batch.settled.map(|settled| i64::try_from(settled.0).unwrap_or(i64::MAX));
        Ok(Self { tenants: tenants.map(named), steps, queued: batch.outbox.iter().map(|entry| entry.seq).collect(), queue, settled })
    }
}

fn steps_of(change: &Change) -> Result<Vec<Step>, StoreError> {
    let id = change.id();
    let step = |sql, parameters| Step { sql, parameters, must: Some(id) };
    let aside = |sql, parameters| Step { sql, parameters, must: None };
    let is_ivk = id.layer == Layer::Ivk;
    match change {
        Change::Insert(row) if is_ivk => Ok(vec![
            aside(MASTER_GENERATION, vec![boxed(i64::from(row.header.parent.version.0))]),
            step(INSERT, columns(row, true)?),
            step(INSERT_KEK, kek(row)),
        ]),
        Change::Insert(row) => Ok(vec![step(INSERT, columns(row, false)?)]),
        Change::Update { expected, row } => {
            let mut parameters = columns(row, is_ivk)?;
            parameters.push(boxed(number(id, *expected)?));
            let mut steps = vec![step(UPDATE, parameters)];
            if is_ivk {
                steps.insert(0, aside(MASTER_GENERATION, vec![boxed(i64::from(row.header.parent.version.0))]));
                steps.push(step(UPDATE_KEK, kek(row)));
            }
            Ok(steps)
        }
        Change::Delete { expected, .. } => {
            let mut parameters = key(id);
            parameters.push(boxed(number(id, *expected)?));
            let mut steps = vec![step(DELETE, parameters)];
            if is_ivk {
                steps.insert(0, step(DELETE_KEK, key(id)));
            }
            Ok(steps)
        }
    }
}

fn boxed<T: ToSql + Sync + Send + 'static>(value: T) -> Box<dyn ToSql + Sync + Send> {
    Box::new(value)
}

fn bare(parameter: &(dyn ToSql + Sync + Send)) -> &(dyn ToSql + Sync) {
    parameter
}

fn key(id: RowId) -> Vec<Box<dyn ToSql + Sync + Send>> {
    vec![boxed(layer(id.layer)), boxed(id.uuid)]
}

/// The parameters of [`INSERT`], and of [`UPDATE`] but for the last. The material of an IVK version has a place of its own.
fn columns(row: &Row, is_ivk: bool) -> Result<Vec<Box<dyn ToSql + Sync + Send>>, StoreError> {
    let id = row.header.id;
    let columns = Columns::of(&row.header).ok_or_else(|| too_large(id))?;
    let stored = if is_ivk { Row { material: None, ..row.clone() }.encode() } else { row.encode() };
    let terms: Vec<Vec<u8>> = row.terms.iter().map(|term| term.0.to_vec()).collect();
    let mut parameters = key(id);
    parameters.extend([
        boxed(columns.chain),
        boxed(columns.version),
        boxed(columns.object_type),
        boxed(columns.algorithm),
        boxed(columns.bits),
        boxed(columns.state),
        boxed(columns.expiry),
        boxed(columns.tenant),
        boxed(columns.service),
        boxed(columns.generation),
        boxed(columns.parent),
        boxed(columns.parent_version),
        boxed(stored),
        boxed(terms),
    ]);
    Ok(parameters)
}

/// The parameters of [`INSERT_KEK`] and [`UPDATE_KEK`].
fn kek(row: &Row) -> Vec<Box<dyn ToSql + Sync + Send>> {
    vec![
        boxed(i32::try_from(row.header.version.0).unwrap_or(i32::MAX)),
        boxed(row.material.clone().unwrap_or_default()),
        boxed(i64::from(row.header.parent.version.0)),
        boxed(status(row.header.state)),
    ]
}

fn number(id: RowId, generation: Generation) -> Result<i64, StoreError> {
    // No row has such a generation, so whoever expects it is late.
    i64::try_from(generation.0).map_err(|_| StoreError::Conflict { id })
}

fn too_large(id: RowId) -> StoreError {
    StoreError::Corrupt { what: "its generation does not fit into 63 bits".to_owned(), at: id.to_string() }
}

/// How many commits the node has made, once none of them is open any more.
pub(super) async fn count(client: &Object, node: Uuid) -> Result<Option<i64>, Error> {
    let statement = client.prepare_cached(COUNT).await?;
    client.query_opt(&statement, &[&node]).await?.map(|row| row.try_get(0)).transpose()
}

/// Sends all statements of a plan. Returns the commit's number, and whether all that was expected holds.
pub(super) async fn stage(transaction: &Transaction<'_>, node: Uuid, plan: &Plan) -> Result<(Option<i64>, Result<(), StoreError>), Asked> {
    let name_scope = transaction.prepare_cached(NAME_SCOPE).await?;
    let count_up = transaction.prepare_cached(COUNT_UP).await?;
    let mut prepared = Vec::with_capacity(plan.steps.len());
    for step in &plan.steps {
        prepared.push(transaction.prepare_cached(step.sql).await?);
    }
    let (queue, settle) = (transaction.prepare_cached(QUEUE).await?, transaction.prepare_cached(SETTLE).await?);
    let steps = plan
        .steps
        .iter()
        .zip(&prepared)
        .map(|(step, statement)| transaction.execute_raw(statement, step.parameters.iter().map(|parameter| bare(&**parameter))));
    let queued = async {
        match plan.queued.is_empty() {
            true => Ok(Vec::new()),
            false => {
                let parameters: [&(dyn ToSql + Sync); 3] = [&node, &plan.queue.0, &plan.queue.1];
                taken(transaction.query_raw(&queue, parameters).await?, plan.queued.len()).await
            }
        }
    };
    let scoped = async {
        match &plan.tenants {
            Some(tenants) => transaction.execute(&name_scope, &[tenants, &node.to_string()]).await.map(drop),
            None => Ok(()),
        }
    };
    let settled = async {
        match plan.settled {
            Some(settled) => transaction.execute(&settle, &[&node, &settled, &plan.queue.0]).await.map(drop),
            None => Ok(()),
        }
    };
    // Polled in this order, which is the order in which they are sent.
    let (scoped, (counted, (changed, (queued, settled)))) =
        join(scoped, join(transaction.query_opt(&count_up, &[&node]), join(join_all(steps), join(queued, settled)))).await;
    scoped?;
    // After the first that fails all fail, so it is the one to be told.
    let counted = counted?.map(|row| row.try_get(0)).transpose()?;
    let changed = changed.into_iter().collect::<Result<Vec<u64>, Error>>()?;
    let queued = queued?.iter().map(|row| row.try_get(0)).collect::<Result<BTreeSet<i64>, Error>>()?;
    settled?;
    Ok((counted, held(plan, &changed, &queued)))
}

/// Do all expectations hold? If not, the first that does not is named.
fn held(plan: &Plan, changed: &[u64], queued: &BTreeSet<i64>) -> Result<(), StoreError> {
    let missed = plan.steps.iter().zip(changed).find_map(|(step, rows)| step.must.filter(|_| *rows != 1));
    if let Some(id) = missed {
        return Err(StoreError::Conflict { id });
    }
    let taken = plan.queued.iter().zip(&plan.queue.0).find(|(_, number)| !queued.contains(number));
    taken.map_or(Ok(()), |(seq, _)| Err(outbox_taken(*seq)))
}
