//! The suite that every keystore must pass; ordinary code, because an operator's own keystore is certified with it too.

mod changes;
mod outbox;
mod races;
pub mod sample;
mod search;

use std::fmt::{self, Debug};
use std::pin::Pin;
use std::sync::Arc;

use keys::id::{Layer, OutboxSeq, RowId};
use keys::port::{Batch, Change, Keystore, Query, StoreError};
use keys::row::Row;

/// Rows that [`empty`] removes at a time.
const EMPTIED_ROWS: usize = 256;

/// One rule of the port, tried on an empty keystore of its own.
struct Case {
    name: &'static str,
    #[expect(clippy::type_complexity, reason = "the one place that names the shape of an async function in a table")]
    run: fn(Arc<dyn Keystore>) -> Pin<Box<dyn Future<Output = Result<(), Violation>> + Send>>,
}

const CASES: &[Case] = &[
    Case { name: "an inserted row is retrieved as it was given", run: |store| Box::pin(changes::insert(store)) },
    Case { name: "an unknown id is no row and no error", run: |store| Box::pin(changes::unknown(store)) },
    Case { name: "inserting a row that exists conflicts", run: |store| Box::pin(changes::insert_twice(store)) },
    Case { name: "an update needs the stored generation", run: |store| Box::pin(changes::update(store)) },
    Case { name: "updating an absent row conflicts", run: |store| Box::pin(changes::update_absent(store)) },
    Case { name: "a delete needs the stored generation", run: |store| Box::pin(changes::delete(store)) },
    Case { name: "deleting an absent row conflicts", run: |store| Box::pin(changes::delete_absent(store)) },
    Case { name: "a deleted row can be inserted again", run: |store| Box::pin(changes::insert_after_delete(store)) },
    Case { name: "equal UUIDs of two layers are two rows", run: |store| Box::pin(changes::layers(store)) },
    Case { name: "a batch that conflicts at its end leaves nothing", run: |store| Box::pin(changes::atomic(store)) },
    Case { name: "the first conflict of a batch is the one named", run: |store| Box::pin(changes::first_conflict(store)) },
    Case { name: "changes of one batch apply in order", run: |store| Box::pin(changes::in_order(store)) },
    Case { name: "an empty batch succeeds", run: |store| Box::pin(changes::empty(store)) },
    Case { name: "rows of the largest size are kept whole", run: |store| Box::pin(changes::large(store)) },
    Case { name: "a row is found by each of its terms", run: |store| Box::pin(search::by_one_term(store)) },
    Case { name: "several terms find the rows that have them all", run: |store| Box::pin(search::by_several_terms(store)) },
    Case { name: "an unknown term finds nothing", run: |store| Box::pin(search::nothing(store)) },
    Case { name: "a search stays within its layer", run: |store| Box::pin(search::within_layer(store)) },
    Case { name: "claims on names and terms like them keep apart", run: |store| Box::pin(search::claims(store)) },
    Case { name: "a search returns the newest ids first and stops at its limit", run: |store| Box::pin(search::newest_first(store)) },
    Case { name: "pages join without gap or repetition while rows are inserted", run: |store| Box::pin(search::pages(store)) },
    Case { name: "a cursor of another layer bounds the search by its order", run: |store| Box::pin(search::foreign_cursor(store)) },
    Case { name: "an update changes what a row is found by", run: |store| Box::pin(search::after_update(store)) },
    Case { name: "a deleted row is found no more", run: |store| Box::pin(search::after_delete(store)) },
    Case { name: "outbox records come oldest first, after the one named", run: |store| Box::pin(outbox::in_order(store)) },
    Case { name: "settled outbox records are dropped, later ones kept", run: |store| Box::pin(outbox::settled(store)) },
    Case { name: "a batch that conflicts settles nothing", run: |store| Box::pin(outbox::settled_in_conflict(store)) },
    Case { name: "an outbox number that is taken refuses the whole batch", run: |store| Box::pin(outbox::taken(store)) },
    Case { name: "of racing inserts of one row one wins", run: |store| Box::pin(races::insert(store)) },
    Case { name: "of racing updates of one row one wins each generation", run: |store| Box::pin(races::update(store)) },
    Case { name: "racing changes of different rows all succeed", run: |store| Box::pin(races::apart(store)) },
];

/// What a keystore that conforms was tried on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Names of the cases, each a rule that holds.
    pub passed: Vec<&'static str>,
}

/// A keystore broke rules of the port.
#[derive(Debug)]
pub struct Failure {
    /// Each case that failed, and how.
    pub failed: Vec<(&'static str, Violation)>,
    /// How many cases passed.
    pub passed: usize,
}

/// How one case failed.
#[derive(Debug, thiserror::Error)]
pub enum Violation {
    /// A call gave something else than the port promises.
    #[error("{rule}: wanted {wanted}, got {got}")]
    Broken {
        /// What was looked at.
        rule: &'static str,
        /// What the port promises.
        wanted: String,
        /// What the keystore gave.
        got: String,
    },
    /// A call failed that must succeed.
    #[error("a call failed")]
    Failed(#[from] StoreError),
    /// The keystore panicked in a task of its own.
    #[error("the keystore panicked")]
    Panicked,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} rules broken", self.failed.len(), self.failed.len() + self.passed)?;
        self.failed.iter().try_for_each(|(name, violation)| write!(f, "; {name}: {violation}"))
    }
}

impl std::error::Error for Failure {}

/// The names of all cases, each a rule, in the order in which they are tried.
pub fn names() -> impl Iterator<Item = &'static str> {
    CASES.iter().map(|case| case.name)
}

/// Tries every rule, each on an empty keystore that `make` returns; needs a tokio runtime.
///
/// # Errors
/// [`Failure`] with every rule that was broken.
pub async fn run(make: impl AsyncFn() -> Arc<dyn Keystore>) -> Result<Report, Failure> {
    let mut passed = Vec::new();
    let mut failed = Vec::new();
    for case in CASES {
        match (case.run)(make().await).await {
            Ok(()) => passed.push(case.name),
            Err(violation) => failed.push((case.name, violation)),
        }
    }
    if failed.is_empty() { Ok(Report { passed }) } else { Err(Failure { failed, passed: passed.len() }) }
}

/// Removes all rows and queued records of a keystore, for one that every case is tried on: a plugin, a database.
///
/// # Errors
/// What the keystore says.
pub async fn empty(store: &dyn Keystore) -> Result<(), StoreError> {
    for layer in (0..=u8::MAX).filter_map(|number| Layer::try_from(number).ok()) {
        loop {
            let rows = store.find(&Query { layer, terms: Vec::new(), before: None, limit: EMPTIED_ROWS }).await?;
            if rows.is_empty() {
                break;
            }
            let delete = |row: &Row| Change::Delete { id: row.header.id, expected: row.header.generation };
            store.commit(Batch { changes: rows.iter().map(delete).collect(), ..Batch::default() }).await?;
        }
    }
    store.commit(Batch { settled: Some(OutboxSeq(u64::MAX)), ..Batch::default() }).await
}

fn same<T: PartialEq + Debug>(rule: &'static str, got: &T, wanted: &T) -> Result<(), Violation> {
    if got == wanted {
        return Ok(());
    }
    let brief = |value: &T| format!("{value:?}").chars().take(512).collect();
    Err(Violation::Broken { rule, wanted: brief(wanted), got: brief(got) })
}

fn conflict(rule: &'static str, outcome: Result<(), StoreError>, on: RowId) -> Result<(), Violation> {
    match outcome {
        Err(StoreError::Conflict { id }) if id == on => Ok(()),
        other => Err(Violation::Broken { rule, wanted: format!("a conflict on {on}"), got: format!("{other:?}") }),
    }
}
