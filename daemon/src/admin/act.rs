//! How a route does its one thing: asked of the policy table first, and with one record in the audit log, however it ends.

use std::sync::Arc;

use keys::id::{Layer, RowId};
use keys::policy::Action;
use keys::port::Clock;
use keys::record::{Outcome, Record, Subject};
use keys::unit::Unit;
use keys::vault::Vault;

use crate::admin::peer::Call;
use crate::admin::status::Refused;
use crate::node::{Node, Open};
use crate::system::SystemClock;

/// What a route has for its caller.
pub(super) type Answer<T> = Result<T, Refused>;

/// What a call is about, for the policy table and the audit log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deed {
    action: Action,
    layer: Option<Layer>,
    object: Option<RowId>,
}

impl Deed {
    /// An action on a layer, or on none.
    pub(super) const fn new(action: Action, layer: Option<Layer>) -> Self {
        Self { action, layer, object: None }
    }

    /// The same, of this object; `None` if what the caller named is no identifier.
    pub(super) const fn of(self, object: Option<RowId>) -> Self {
        Self { object, ..self }
    }
}

impl Node {
    /// The open domain, or why there is none.
    pub(super) fn unsealed(&self) -> Answer<Arc<Open>> {
        self.open().ok_or_else(|| Refused::sealed(&self.sealed().map(|(_, reason)| reason).unwrap_or_default()))
    }
}

/// A change that loses a race for its row, to a walk over the keys for instance, is done again a few times.
#[derive(Debug, Default)]
pub(super) struct Tries(u32);

impl Tries {
    const MAX: u32 = 3;

    /// Is it to be done once more?
    pub(super) fn again<T>(&mut self, answer: &Answer<T>) -> bool {
        self.0 += 1;
        self.0 < Self::MAX && answer.as_ref().is_err_and(Refused::is_race)
    }
}

/// Runs `work` in a unit if the policy table lets the caller do it; leaves one record, commits, then answers.
///
/// - `work` gets the [`Subject`] of the record, to say of what the caller named as much as it finds.
pub(super) async fn act<T>(
    node: &Node,
    call: &Call,
    deed: Deed,
    work: impl AsyncFnOnce(&Vault, &mut Unit, &mut Subject) -> Answer<T>,
) -> Answer<T> {
    let Deed { action, layer, object } = deed;
    let mut unit = node.begin(call.session);
    if call.is_operators() {
        unit.mark_own();
    }
    let mut subject = Subject { object, ..Subject::default() };
    let outcome = match call.check(action, layer).and_then(|()| node.unsealed()) {
        Err(refused) => Err(refused),
        Ok(open) => work(&open.vault, &mut unit, &mut subject).await,
    };
    if outcome.is_err() {
        unit.undo();
    }
    let told = outcome_of(&outcome);
    let Subject { object, version, generation } = subject;
    unit.record(Record { time: SystemClock.now(), session: call.session, action, object, version, generation, outcome: told });
    let lost = unit.lost();
    let committed = unit.commit().await;
    node.metrics.requests.count(call.origin, action, if committed.is_ok() { told } else { Outcome::Unavailable });
    let _receipt = committed.inspect_err(|_| node.note_all(&lost)).map_err(keys::Error::from)?;
    outcome
}

/// Runs `work`, which changes no row and needs no key, if the policy table lets the caller do it; leaves one record.
pub(super) async fn tend<T>(node: &Node, call: &Call, deed: Deed, work: impl Future<Output = Answer<T>>) -> Answer<T> {
    let Deed { action, layer, .. } = deed;
    let outcome = match call.check(action, layer) {
        Err(refused) => Err(refused),
        Ok(()) => work.await,
    };
    call.note(node, action, outcome_of(&outcome))?;
    outcome
}

/// How the audit log tells an answer.
pub(super) fn outcome_of<T>(outcome: &Answer<T>) -> Outcome {
    outcome.as_ref().err().map_or(Outcome::Success, |refused| refused.outcome)
}
