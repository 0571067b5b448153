//! What the node counts of its own work, for those who watch it.
//!
//! Everything on the road of a request is a counter that was found when the node was built: no lock, no look-up by name, no allocation. Names and
//! text are made when somebody asks, in `expose`. No label names a tenant, a service or a key (T12).

use std::sync::atomic::{AtomicU64, Ordering};

use keys::record::Origin;

mod doors;
mod expose;
mod figures;
mod histogram;
mod reencryption;
mod requests;
mod store;
mod sweep;
mod trust;

pub use doors::{Door, Open, Refused};
pub use figures::{Figures, IvkFigures};
pub use reencryption::Reencrypted;
pub use requests::Requests;
pub use store::{Counted, StoreCounts};
pub use sweep::Sweeps;
pub use trust::{ListenerTrust, TrustUntil};

/// The counters of one node.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Requests, by how they came in, what they asked and how it ended.
    pub requests: Requests,
    doors: [Door; DOORS.len()],
    /// What the keystore was asked.
    pub store: std::sync::Arc<StoreCounts>,
    /// How often rows of a keystore elsewhere were kept.
    pub rows: std::sync::Arc<storage::cached::Counts>,
    /// How the keystore was swept.
    pub sweep: Sweeps,
    /// Until when certificates and revocation lists hold.
    pub trust: TrustUntil,
    /// How keys came under newer versions.
    pub reencryption: Reencrypted,
}

/// The ports that speak TLS, in the order of [`Metrics::door`].
const DOORS: [Origin; 3] = [Origin::Kmip, Origin::Https, Origin::Admin];

impl Metrics {
    /// The counters of the port that `origin` comes in by.
    ///
    /// # Panics
    /// If there is no such port: the Unix socket and the appliance itself count no connections.
    #[must_use]
    pub fn door(&self, origin: Origin) -> &Door {
        let place = DOORS.iter().position(|door| *door == origin);
        &self.doors[place.expect("only ports that speak TLS have a door")]
    }

    /// Everything in the text form of OpenMetrics 1.0.
    #[must_use]
    pub fn expose(&self, figures: Figures) -> String {
        expose::text(self, figures)
    }
}

/// The media type of [`Metrics::expose`].
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How a request came in, as a label.
fn origin_name(origin: Origin) -> &'static str {
    match origin {
        Origin::System => "system",
        Origin::Kmip => "kmip",
        Origin::Socket => "socket",
        Origin::Https => "https",
        Origin::Admin => "admin",
    }
}
