//! Faults of the ports that a node cannot know of: planted to show that the simulation would find them.

use keys::id::Layer;
use keys::port::{Batch, Query};
use keys::row::Row;

/// What is wrong with the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plant {
    /// Nothing.
    Nothing,
    /// The core's store leaves out one update of a batch now and then, and says that all is done.
    DropsAnUpdate,
    /// It loses an audit record of a batch now and then.
    LosesARecord,
    /// A search of all tenants' keys, as a walk does it, never returns a part of them.
    HidesRows,
    /// A restart sets the clock back by an hour, and nobody remembers how late it was: so a state goes back.
    ForgetsTheTime,
    /// Edges are answered by a core that has not heard of any rotation, so they go on under the versions before.
    StaleCore,
}

impl Plant {
    /// All that there are.
    pub(crate) const ALL: [Self; 5] = [Self::DropsAnUpdate, Self::LosesARecord, Self::HidesRows, Self::ForgetsTheTime, Self::StaleCore];

    /// What a store makes of its `nth` batch.
    pub(crate) fn meddled(self, nth: u64, mut batch: Batch) -> Batch {
        match self {
            Self::DropsAnUpdate if nth.is_multiple_of(20) && batch.changes.len() > 1 => {
                drop(batch.changes.remove(usize::try_from(nth).unwrap_or(0) / 20 % batch.changes.len()))
            }
            Self::LosesARecord if nth.is_multiple_of(20) => drop(batch.outbox.pop()),
            _ => {}
        }
        batch
    }

    /// Does a store keep this row back?
    pub(crate) fn hides(self, query: &Query, row: &Row) -> bool {
        let is_walk = query.terms.is_empty() && matches!(query.layer, Layer::L2 | Layer::L3);
        self == Self::HidesRows && is_walk && row.header.id.uuid.as_bytes()[15] < 32
    }
}
