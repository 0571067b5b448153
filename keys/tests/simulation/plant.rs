//! Faults of the ports, or of who drives the domain, that a node cannot know of: planted to show that the simulation would find them.

use keys::id::{KeyVersion, Layer, Time};
use keys::lease::Lease;
use keys::lifecycle::State;
use keys::policy::Action;
use keys::port::{Batch, Query};
use keys::references::References;
use keys::row::Row;

use super::versions::LOOK_ROWS;

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
    /// A look what lies under a version misses a part of it.
    HidesFromLooks,
    /// A search of all of an edge's objects misses a part of them.
    HidesObjects,
    /// What an edge reports arrives with a claim to have left every version of its lease.
    ClaimsTooMuch,
    /// What an edge reports does not arrive, and the edge is told that it has.
    LosesReports,
    /// The core's store leaves out what becomes of the version that a roll-back replaces.
    KeepsBothActive,
    /// The version of an L2.1 that comes after a roll-back has the number after the Active one's, and not after the newest one's.
    ReusesANumber,
    /// Who carries out the orders to renew says that they are done when it has only begun.
    EndsOrdersEarly,
    /// The core's randomness repeats itself now and then.
    RepeatsItself,
}

impl Plant {
    /// All that there are, each with what a run says that finds it: the promise that is broken by it.
    pub(crate) const ALL: [(Self, &'static str); 13] = [
        (Self::DropsAnUpdate, ""),
        (Self::LosesARecord, ""),
        (Self::HidesRows, ""),
        (Self::ForgetsTheTime, ""),
        (Self::StaleCore, ""),
        (Self::HidesFromLooks, "lies under"),
        (Self::HidesObjects, "claims to have left"),
        (Self::ClaimsTooMuch, "was retired, and an edge needs it"),
        (Self::LosesReports, "retiring"),
        (Self::KeepsBothActive, "are Active at once"),
        (Self::ReusesANumber, "was due"),
        (Self::EndsOrdersEarly, "was ordered to be renewed"),
        (Self::RepeatsItself, "has the bytes of"),
    ];

    /// What a store makes of its `nth` batch.
    pub(crate) fn meddled(self, nth: u64, mut batch: Batch) -> Batch {
        match self {
            Self::DropsAnUpdate if nth.is_multiple_of(20) && batch.changes.len() > 1 => {
                drop(batch.changes.remove(usize::try_from(nth).unwrap_or(0) / 20 % batch.changes.len()))
            }
            Self::LosesARecord if nth.is_multiple_of(20) => drop(batch.outbox.pop()),
            Self::KeepsBothActive if batch.outbox.iter().any(|entry| entry.record.action == Action::RollBack) => {
                let is_given_up = |row: &Row| row.header.id.layer == Layer::L21 && row.header.state == State::Deprecated;
                batch.changes.retain(|change| !change.row().is_some_and(is_given_up));
            }
            _ => {}
        }
        batch
    }

    /// Does a store keep this row back?
    pub(crate) fn hides(self, query: &Query, row: &Row) -> bool {
        let is_walk = query.terms.is_empty();
        let (is_meant, of_256) = match self {
            Self::HidesRows => (is_walk && matches!(query.layer, Layer::L2 | Layer::L3), 32),
            Self::HidesFromLooks => (query.limit == LOOK_ROWS, 192),
            Self::HidesObjects => (is_walk && query.layer == Layer::L4, 128),
            _ => return false,
        };
        is_meant && row.header.id.uuid.as_bytes()[15] < of_256
    }

    /// A new row as the store says that it was stored.
    ///
    /// - `active`: the version that was Active before it.
    pub(crate) fn told(self, mut row: Row, active: Option<KeyVersion>) -> Row {
        if let (Self::ReusesANumber, Layer::L21, Some(active)) = (self, row.header.id.layer, active) {
            row.header.version = active.next();
        }
        row
    }

    /// What arrives of an edge's report; `None`: nothing.
    pub(crate) fn reported(self, references: &References, lease: Option<&Lease>) -> Option<References> {
        let mut arrived = references.clone();
        match self {
            Self::LosesReports => return None,
            Self::ClaimsTooMuch => {
                let services = lease.into_iter().flat_map(|lease| &lease.tenants).flat_map(|tenant| &tenant.services);
                arrived.left.extend(services.flat_map(|service| &service.versions).map(|key| key.id));
                arrived.began.get_or_insert(Time::default());
            }
            _ => {}
        }
        Some(arrived)
    }

    /// Is the `nth` draw of so many bytes the same as the first one?
    pub(crate) fn repeats(self, nth: u64, bytes: usize) -> bool {
        self == Self::RepeatsItself && bytes == 32 && nth.is_multiple_of(20)
    }
}
