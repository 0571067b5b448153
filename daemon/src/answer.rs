//! The answer to one whole KMIP message, over whatever it came: dispatch, commit, release.

use std::sync::Arc;
use std::time::{Duration, Instant};

use keys::answers::Forwarded;
use keys::policy::Action;
use keys::port::Clock;
use keys::record::{Origin, Outcome, Record};
use keys::unit::{CommitError, Receipt};
use kmip::{Caller, TextError};
use tokio::time::timeout;

use crate::node::Node;
use crate::system::SystemClock;

/// A commit must be known to be done within this time, or the request is answered as not done.
const COMMIT_WITHIN: Duration = Duration::from_secs(5);
/// How often a request is tried whose rows another request changes first.
const ATTEMPTS_MAX: usize = 8;

/// Answers one whole message into `output`: dispatch, commit, release. Both may hold secrets: whoever keeps their buffers wipes them.
///
/// A message that lost a race for a row left nothing behind, so it is done again. `origin` is how it came, for the metrics.
pub async fn answer(node: &Arc<Node>, origin: Origin, caller: &mut Caller, message: &[u8], output: &mut Vec<u8>) {
    let begun = Instant::now();
    commit(node, origin, caller, Ok(message), None, output).await;
    node.metrics.requests.took(origin, begun.elapsed());
}

/// As [`answer`], to a text that is no message: it is refused, and that is in the audit log.
pub async fn answer_text(node: &Arc<Node>, origin: Origin, caller: &mut Caller, error: &TextError, output: &mut Vec<u8>) {
    let begun = Instant::now();
    commit(node, origin, caller, Err(error), None, output).await;
    node.metrics.requests.took(origin, begun.elapsed());
}

/// As [`answer`], to a request that an edge has forwarded and may send again: then it gets the answer that it had.
///
/// # Errors
/// What stands under the request's name cannot be told, or is another request's.
pub async fn answer_again(
    node: &Arc<Node>,
    caller: &mut Caller,
    message: &[u8],
    forwarded: &Forwarded,
    output: &mut Vec<u8>,
) -> Result<(), keys::Error> {
    let begun = Instant::now();
    if let Some(open) = node.open()
        && let Some(answer) = open.vault.remembered(forwarded).await?
    {
        *output = answer;
        return Ok(());
    }
    commit(node, Origin::Https, caller, Ok(message), Some(forwarded), output).await;
    node.metrics.requests.took(Origin::Https, begun.elapsed());
    Ok(())
}

async fn commit(
    node: &Arc<Node>,
    origin: Origin,
    caller: &mut Caller,
    message: Result<&[u8], &TextError>,
    forwarded: Option<&Forwarded>,
    output: &mut Vec<u8>,
) {
    let open = node.open();
    let vault = open.as_ref().map(|open| &*open.vault);
    if vault.is_none() {
        caller.tell_if_sealed(node.why_sealed());
    }
    let mut attempt = 1;
    loop {
        let unit = vault.map_or_else(|| node.begin(caller.session()), |vault| vault.begin(caller.session()));
        let (now, room) = (SystemClock.now(), std::mem::take(output));
        let (response, mut unit) = match message {
            Ok(message) => kmip::dispatch(vault, caller, unit, message, now, room).await,
            Err(error) => kmip::refuse_text(caller, unit, error, now, room),
        };
        if let Some((forwarded, vault)) = forwarded.zip(vault)
            && let Err(error) = response.remember(vault, &mut unit, forwarded).await
        {
            // Without it the change may be made twice, so it is not made.
            tracing::warn!(%error, session = caller.session().0, "request not committed");
            node.note_all(&unit.lost());
            *output = response.withhold(&CommitError::Unavailable { what: error.to_string() });
            return;
        }
        let items = Items::of(unit.records());
        let attempts_max = if unit.was_forwarded() { 1 } else { ATTEMPTS_MAX };
        if unit.was_raced() && attempt < attempts_max {
            attempt += 1;
            continue;
        }
        let (done, lost, retracted) = match unit.commit_records() {
            Ok(done) => (done, Vec::new(), Vec::new()),
            Err(unit) => {
                let (lost, retracted) = (unit.lost(), unit.retracted());
                let mut commit = Box::pin(unit.commit());
                match timeout(COMMIT_WITHIN, &mut commit).await {
                    Ok(done) => (done, lost, retracted),
                    Err(_) => {
                        tracing::error!(session = caller.session().0, "request not confirmed within {COMMIT_WITHIN:?}");
                        tokio::spawn(late(Arc::clone(node), commit, lost));
                        (Err(CommitError::Unavailable { what: unconfirmed() }), Vec::new(), Vec::new())
                    }
                }
            }
        };
        match done {
            Ok(receipt) => {
                items.count(node, origin, None);
                *output = response.release(receipt);
            }
            Err(CommitError::Conflict { .. }) if attempt < attempts_max => {
                // The next attempt announces what it is about to do itself.
                if !retracted.is_empty() {
                    node.note_all(&retracted);
                }
                attempt += 1;
                continue;
            }
            Err(error) => {
                tracing::warn!(%error, session = caller.session().0, "request not committed");
                node.note_all(&lost);
                items.count(node, origin, Some(Outcome::Unavailable));
                *output = response.withhold(&error);
            }
        }
        return;
    }
}

fn unconfirmed() -> String {
    format!("the store did not confirm within {COMMIT_WITHIN:?}; look whether the change was made before repeating it")
}

/// What a message's items asked and how they ended: a copy, because a commit takes the unit.
struct Items {
    count: usize,
    items: [(Action, Outcome); kmip::BATCH_ITEMS_MAX],
}

impl Items {
    fn of(records: &[Record]) -> Self {
        let mut items = [(Action::Unsupported, Outcome::Success); kmip::BATCH_ITEMS_MAX];
        let mut count = 0;
        for (item, record) in items.iter_mut().zip(records) {
            *item = (record.action, record.outcome);
            count += 1;
        }
        Self { count, items }
    }

    /// Counts them; after a failed commit what had succeeded was not available after all.
    fn count(&self, node: &Node, origin: Origin, lost: Option<Outcome>) {
        for (action, outcome) in &self.items[..self.count] {
            let outcome = lost.filter(|_| *outcome == Outcome::Success).unwrap_or(*outcome);
            node.metrics.requests.count(origin, *action, outcome);
        }
    }
}

/// Waits for a commit that nobody waits for any more: only now it is known whether its records stand or are to be written as lost.
async fn late(node: Arc<Node>, commit: impl Future<Output = Result<Receipt, CommitError>>, lost: Vec<Record>) {
    if let Err(error) = commit.await {
        tracing::warn!(%error, "request not committed");
        node.note_all(&lost);
    }
}
