//! What a core tells an edge group of its tenants, and for how long the edge may go by it.
//!
//! A lease is renewed as a whole. One that was not renewed goes on for a while, so that an edge outlives a short absence of its core; then
//! nothing is served any more. Source: DESIGN "Leases", docs/SECURITY.md, T8.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::Error;
use crate::id::{ChainId, ClusterId, KeyVersion, RowId, ScopeName, ServiceId, TenantId, Time};
use crate::lifecycle::{Purpose, State};
use crate::row::ParentRef;

/// What an edge group is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The cluster of the core.
    pub cluster: ClusterId,
    /// The group, as a service of the reserved tenant: under its key are the group's own keys.
    pub group: LeasedService,
    /// The reserved tenant.
    pub system: TenantId,
    /// Whom the group is enrolled for.
    pub tenants: Vec<LeasedTenant>,
    /// Names the memory in which the core keeps what edges report; another name means that it has forgotten. `None`: its release takes no reports.
    #[serde(default)]
    pub reports: Option<Uuid>,
}

impl Lease {
    /// May the same be served by both?
    fn allows_as(&self, other: &Self) -> bool {
        let Self { cluster, group, system, tenants, reports: _ } = self;
        (cluster, group, system, tenants) == (&other.cluster, &other.group, &other.system, &other.tenants)
    }
}

/// A tenant in a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeasedTenant {
    /// Its id.
    pub id: TenantId,
    /// Its name.
    pub name: ScopeName,
    /// Nothing of it is served.
    pub is_disabled: bool,
    /// Its services.
    pub services: Vec<LeasedService>,
}

/// A service in a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeasedService {
    /// Its id.
    pub id: ServiceId,
    /// Its name.
    pub name: ScopeName,
    /// Its default chain, whose Active version wraps object keys.
    pub chain: ChainId,
    /// The versions of that chain that a core has not archived or destroyed, oldest first.
    pub versions: Vec<LeasedKey>,
}

/// One version of a service's default L3 chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeasedKey {
    /// Its identifier, by which core is asked.
    pub id: RowId,
    /// Its number.
    pub version: KeyVersion,
    /// Its state.
    pub state: State,
}

impl LeasedService {
    /// The version that wraps, as a parent.
    #[must_use]
    pub fn active(&self) -> Option<ParentRef> {
        let active = self.versions.iter().rfind(|key| key.state == State::Active)?;
        Some(ParentRef { chain: self.chain, version: active.version })
    }

    /// A version, if it may serve `purpose`.
    fn key(&self, version: KeyVersion, purpose: Purpose) -> Option<LeasedKey> {
        self.versions.iter().find(|key| key.version == version && key.state.allows(purpose)).copied()
    }
}

/// The lease of an edge, with the time until which it holds.
pub struct Leases {
    current: RwLock<Arc<Current>>,
    /// How long one that is not renewed holds.
    holds: Duration,
}

/// A lease as it is looked things up in.
#[derive(Debug)]
pub(crate) struct Current {
    pub(crate) lease: Lease,
    /// Until then, by the clock that nobody sets; `None` once the core has refused this edge.
    until: Option<Duration>,
    /// When it was renewed last, by both clocks.
    heard: Time,
    asked: Duration,
    /// When the core was asked for the answer that is in force, be it a lease or a refusal.
    answered: Duration,
    tenants: HashMap<ScopeName, usize>,
    /// Which service of which tenant a chain belongs to.
    chains: HashMap<ChainId, (usize, usize)>,
    services: HashMap<ServiceId, (usize, usize)>,
}

impl Current {
    fn new(lease: Lease, until: Option<Duration>, heard: Time, asked: Duration) -> Self {
        let (mut tenants, mut chains, mut services) = (HashMap::new(), HashMap::new(), HashMap::new());
        for (at, tenant) in lease.tenants.iter().enumerate() {
            tenants.insert(tenant.name.clone(), at);
            for (place, service) in tenant.services.iter().enumerate() {
                chains.insert(service.chain, (at, place));
                services.insert(service.id, (at, place));
            }
        }
        Self { lease, until, heard, asked, answered: asked, tenants, chains, services }
    }

    pub(crate) fn tenant(&self, name: &ScopeName) -> Option<&LeasedTenant> {
        self.tenants.get(name).map(|at| &self.lease.tenants[*at])
    }

    fn at(&self, (tenant, service): (usize, usize)) -> (&LeasedTenant, &LeasedService) {
        let tenant = &self.lease.tenants[tenant];
        (tenant, &tenant.services[service])
    }

    /// A service by its id, with its tenant, unless that is disabled.
    pub(crate) fn service(&self, id: ServiceId) -> Option<(&LeasedTenant, &LeasedService)> {
        self.services.get(&id).map(|at| self.at(*at)).filter(|(tenant, _)| !tenant.is_disabled)
    }

    /// The service whose default chain this is, with its tenant, unless that is disabled.
    pub(crate) fn chain(&self, chain: ChainId) -> Option<(&LeasedTenant, &LeasedService)> {
        self.chains.get(&chain).map(|at| self.at(*at)).filter(|(tenant, _)| !tenant.is_disabled)
    }

    /// The L3 version that `parent` names, whatever its state.
    pub(crate) fn version(&self, parent: ParentRef) -> Option<LeasedKey> {
        let (_, service) = self.chain(parent.chain)?;
        service.versions.iter().find(|key| key.version == parent.version).copied()
    }

    /// Does another version of the same L3 wrap now?
    pub(crate) fn is_replaced(&self, parent: ParentRef) -> bool {
        self.chain(parent.chain).and_then(|(_, service)| service.active()).is_some_and(|active| active != parent)
    }

    /// The L3 version that `parent` names, if its tenant is served and its state allows `purpose`.
    pub(crate) fn key(&self, parent: ParentRef, purpose: Purpose) -> Option<LeasedKey> {
        let (_, service) = self.chain(parent.chain)?;
        service.key(parent.version, purpose)
    }
}

impl Leases {
    /// The first lease.
    ///
    /// - `asked`: when it was asked for, by [`crate::port::Pace::now`]. `heard`: the time of day.
    /// - `holds`: how long it holds from then on without being renewed.
    #[must_use]
    pub fn new(lease: Lease, asked: Duration, heard: Time, holds: Duration) -> Self {
        Self { current: RwLock::new(Arc::new(Current::new(lease, Some(asked + holds), heard, asked))), holds }
    }

    pub(crate) fn current(&self) -> Arc<Current> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes a renewed lease; returns whether it says anything else than the one before. One that was asked for earlier than the answer in force says
    /// what has been true before that.
    pub(crate) fn renew(&self, lease: Lease, asked: Duration, heard: Time) -> bool {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if asked < current.answered {
            return false;
        }
        let differs = !current.lease.allows_as(&lease);
        *current = Arc::new(Current::new(lease, Some(asked + self.holds), heard, asked));
        differs
    }

    /// The core refuses this edge everything: no tenant is served any more.
    ///
    /// - `asked`: when it was asked, as in [`Leases::new`]. A refusal that comes after a later answer says nothing.
    pub(crate) fn withdraw(&self, asked: Duration) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if asked < current.answered {
            return;
        }
        let lease = Lease { tenants: Vec::new(), ..current.lease.clone() };
        let withdrawn = Current::new(lease, None, current.heard, current.asked);
        *current = Arc::new(Current { answered: asked, ..withdrawn });
    }

    /// How long ago the core was asked for it.
    pub(crate) fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(self.current().asked)
    }

    /// Does the lease still hold at `now`?
    ///
    /// # Errors
    /// [`Error::NoLease`] says since when nothing was heard of the core; [`Error::Denied`] once it has refused this edge.
    pub(crate) fn check(&self, now: Duration) -> Result<(), Error> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        match current.until {
            Some(until) if now < until => Ok(()),
            Some(_) => Err(Error::NoLease { heard: current.heard }),
            None => Err(Error::Denied { why: "the core refuses this edge: its operator has to enrol the edge group" }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Layer;

    fn name(text: &str) -> ScopeName {
        text.parse().expect("a name")
    }

    fn service(number: u128, states: &[State]) -> LeasedService {
        let key = |(version, state): (u32, &State)| LeasedKey {
            id: RowId::new(Layer::L3, Uuid::from_u128(number * 100 + u128::from(version))),
            version: KeyVersion(version),
            state: *state,
        };
        LeasedService {
            id: ServiceId::new(Uuid::from_u128(number)),
            name: name("billing"),
            chain: ChainId::new(Uuid::from_u128(number)),
            versions: (1..).zip(states).map(key).collect(),
        }
    }

    fn lease() -> Lease {
        let tenant = |number: u128, text, is_disabled| LeasedTenant {
            id: TenantId::new(Uuid::from_u128(number)),
            name: name(text),
            is_disabled,
            services: vec![service(number, &[State::Compromised, State::Deprecated, State::Active])],
        };
        Lease {
            cluster: ClusterId::new(Uuid::from_u128(9)),
            group: service(7, &[State::Active]),
            system: TenantId::new(Uuid::from_u128(8)),
            tenants: vec![tenant(1, "acme", false), tenant(2, "globex", true)],
            reports: None,
        }
    }

    fn parent(chain: u128, version: u32) -> ParentRef {
        ParentRef { chain: ChainId::new(Uuid::from_u128(chain)), version: KeyVersion(version) }
    }

    const HOLDS: Duration = Duration::from_secs(60);

    fn leases() -> Leases {
        Leases::new(lease(), Duration::from_secs(10), Time::from_seconds(1), HOLDS)
    }

    #[test]
    fn a_version_serves_by_its_state_and_only_an_enabled_tenant() {
        let current = leases().current();
        let allowed = |version, purpose| current.key(parent(1, version), purpose).is_some();
        assert!(!allowed(1, Purpose::Process) && !allowed(1, Purpose::Protect), "compromised");
        assert!(allowed(2, Purpose::Process) && !allowed(2, Purpose::Protect), "deprecated");
        assert!(allowed(3, Purpose::Process) && allowed(3, Purpose::Protect), "active");
        assert!(!allowed(4, Purpose::Process), "unknown");
        assert!(current.key(parent(2, 3), Purpose::Process).is_none(), "its tenant is disabled");
        assert!(current.key(parent(3, 3), Purpose::Process).is_none(), "no such chain");
        assert_eq!(lease().tenants[0].services[0].active(), Some(parent(1, 3)));
    }

    #[test]
    fn a_lease_holds_until_its_time_is_over_and_longer_once_it_is_renewed() {
        let leases = leases();
        assert!(leases.check(Duration::from_millis(69_999)).is_ok());
        let over = leases.check(Duration::from_secs(70)).expect_err("its time is over");
        assert!(matches!(over, Error::NoLease { heard } if heard == Time::from_seconds(1)), "{over}");
        assert!(!leases.renew(lease(), Duration::from_secs(80), Time::from_seconds(2)), "it says the same");
        let forgotten = Lease { reports: Some(Uuid::nil()), ..lease() };
        assert!(!leases.renew(forgotten, Duration::from_secs(80), Time::from_seconds(2)), "it allows the same");
        assert!(leases.check(Duration::from_secs(139)).is_ok());
    }

    #[test]
    fn a_lease_that_is_withdrawn_serves_nobody_at_once() {
        let leases = leases();
        leases.withdraw(Duration::from_secs(11));
        assert!(matches!(leases.check(Duration::from_secs(11)), Err(Error::Denied { .. })));
        assert!(leases.current().tenant(&name("acme")).is_none());
    }

    /// Two renewals were under way, and the answer to the earlier one, given before a tenant was disabled or the group revoked, came last: the edge
    /// served again what it had been told to let go of, until the next renewal.
    #[test]
    fn an_answer_that_was_asked_for_earlier_does_not_undo_a_later_one() {
        let (leases, seconds) = (leases(), Duration::from_secs);
        let without = Lease { tenants: Vec::new(), ..lease() };
        assert!(leases.renew(without, seconds(20), Time::from_seconds(2)));
        assert!(!leases.renew(lease(), seconds(19), Time::from_seconds(3)));
        assert!(leases.current().tenant(&name("acme")).is_none(), "the lease that was asked for last says so");
        leases.withdraw(seconds(19));
        assert!(leases.check(seconds(21)).is_ok(), "a refusal from before is over");
        leases.withdraw(seconds(22));
        leases.renew(lease(), seconds(21), Time::from_seconds(4));
        assert!(matches!(leases.check(seconds(23)), Err(Error::Denied { .. })));
        leases.renew(lease(), seconds(24), Time::from_seconds(5));
        assert!(leases.check(seconds(25)).is_ok() && leases.current().tenant(&name("acme")).is_some(), "enrolled again");
    }
}
