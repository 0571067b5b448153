//! The lease of an edge: how long it holds, what ends it, and that nothing is kept of what it does not allow.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_executor::block_on;
use keys::Error;
use keys::id::{RowId, Time};
use keys::lease::Lease;
use keys::lifecycle::{Event, State};
use keys::policy::{Grants, Role};
use keys::port::Upstream;

use super::{default_key, rekey, view};
use crate::fakes::edge::{Calls, Edge, HOLDS, Mood, POOL_KEYS, Site, make};
use crate::fakes::{START_SECONDS, grants};
use crate::{change, encrypts, named};

/// An Active key of a service, used once.
async fn warm(edge: &Edge, service: &Grants) -> RowId {
    let id = make(&edge.vault, service, named("k"), None).await.expect("the name is free");
    change(&edge.vault, service, id, Event::Activate).await.expect("a new key activates");
    encrypts(&edge.vault, service, id).await.expect("it is Active");
    id
}

/// Nothing that was opened or made ready is left.
fn must_be_purged(edge: &Edge) {
    let figures = edge.vault.edge_figures().expect("it is an edge");
    assert_eq!((figures.opened, figures.pooled), (0, 0));
    assert_eq!(edge.vault.cache_figures().entries, 0);
}

/// The newest version may be made between the look at the list of keys and the look at each.
#[test]
fn a_lease_that_is_put_together_during_rekeys_has_a_version_that_wraps() {
    const LEASES: usize = 60;
    // A lease looks at every version that there is.
    const REKEYS_MAX: usize = 200;
    let site = block_on(Site::found());
    let edge = block_on(site.edge());
    let (admin, service) = block_on(async {
        let of = |role| grants(&site.core, role, "acme", "billing");
        (of(Role::TenantAdmin).await, of(Role::Service).await)
    });
    let (core, upstream) = (&site.core, &edge.upstream);
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in (0..REKEYS_MAX).take_while(|_| !is_done.load(Ordering::Relaxed)) {
                let newest = block_on(default_key(core, &service));
                block_on(rekey(core, &admin, newest)).expect("a default key is replaced");
            }
        });
        let all_wrap = |lease: &Lease| lease.tenants.iter().flat_map(|tenant| &tenant.services).all(|service| service.active().is_some());
        let torn = (0..LEASES).map(|_| block_on(upstream.lease()).expect("the core is well")).find(|lease| !all_wrap(lease));
        is_done.store(true, Ordering::Relaxed);
        assert_eq!(torn, None);
    });
}

#[test]
fn a_lease_that_is_not_renewed_is_over_after_its_time_and_a_renewed_one_goes_on() {
    block_on(async {
        let site = Site::found().await;
        let edge = site.edge().await;
        edge.vault.check_lease().expect("it is new");
        edge.pace.pass(HOLDS - Duration::from_millis(1));
        edge.vault.check_lease().expect("there is a millisecond left");
        edge.pace.pass(Duration::from_millis(1));
        let over = edge.vault.check_lease().expect_err("its time is over");
        assert!(matches!(over, Error::NoLease { heard } if heard == Time::from_seconds(START_SECONDS)), "{over}");
        edge.vault.renew_lease().await.expect("the core is well");
        edge.vault.check_lease().expect("it is renewed");
        for _ in 0..5 {
            edge.pace.pass(HOLDS / 2);
            edge.vault.renew_lease().await.expect("the core is well");
            edge.vault.check_lease().expect("it was renewed in time");
        }
    });
}

#[test]
fn the_time_of_day_neither_ends_a_lease_nor_prolongs_it() {
    block_on(async {
        let site = Site::found().await;
        let edge = site.edge().await;
        edge.clock.0.store(START_SECONDS + 1_000_000, Ordering::Relaxed);
        edge.vault.check_lease().expect("no time has passed");
        edge.clock.0.store(0, Ordering::Relaxed);
        edge.pace.pass(HOLDS);
        assert!(matches!(edge.vault.check_lease(), Err(Error::NoLease { .. })));
    });
}

#[test]
fn a_core_that_is_down_ends_a_lease_by_its_time_alone_and_then_everything_is_let_go_of() {
    block_on(async {
        let site = Site::found().await;
        let edge = site.edge().await;
        let billing = edge.billing().await;
        let id = warm(&edge, &billing).await;
        edge.upstream.set(Mood::Down);
        edge.pace.pass(HOLDS / 2);
        assert!(matches!(edge.vault.renew_lease().await, Err(Error::Unavailable { .. })));
        edge.vault.check_lease().expect("half of it is left");
        edge.upstream.take_calls();
        encrypts(&edge.vault, &billing, id).await.expect("it is warm");
        make(&edge.vault, &billing, named("new"), None).await.expect("the pool is not empty");
        assert_eq!(edge.upstream.take_calls(), Calls::default());
        assert!(edge.kept() > 0);
        edge.pace.pass(HOLDS / 2);
        assert!(matches!(edge.vault.renew_lease().await, Err(Error::Unavailable { .. })));
        assert!(matches!(edge.vault.check_lease(), Err(Error::NoLease { .. })));
        must_be_purged(&edge);
        edge.upstream.set(Mood::Well);
        edge.vault.renew_lease().await.expect("the core is back");
        edge.vault.check_lease().expect("it is renewed");
        encrypts(&edge.vault, &billing, id).await.expect("the same lease serves as before");
    });
}

#[test]
fn a_tenant_that_is_disabled_is_refused_and_forgotten_and_the_others_go_on() {
    block_on(async {
        let site = Site::found().await;
        let edge = site.edge().await;
        let (billing, globex) = (edge.billing().await, edge.service("globex", "billing").await.expect("it is served"));
        let (id, theirs) = (warm(&edge, &billing).await, warm(&edge, &globex).await);
        let (epoch, kept) = (edge.vault.policy_epoch(), edge.kept());
        edge.vault.renew_lease().await.expect("the core is well");
        assert_eq!((edge.vault.policy_epoch(), edge.kept()), (epoch, kept), "the lease says what it said before");
        site.disable("acme", true).await;
        edge.upstream.take_calls();
        encrypts(&edge.vault, &billing, id).await.expect("the edge was not told yet");
        edge.vault.renew_lease().await.expect("the core is well");
        assert_ne!(edge.vault.policy_epoch(), epoch, "grants are looked up anew");
        assert_eq!(edge.kept(), 1, "globex's");
        assert_eq!(edge.vault.edge_figures().expect("it is an edge").pooled, POOL_KEYS - 2, "globex's");
        for role in [Role::Service, Role::TenantAdmin] {
            assert!(matches!(edge.grants(role, "acme", "billing").await, Err(Error::Denied { .. })), "{role:?}");
        }
        // Grants that somebody still holds.
        assert!(matches!(encrypts(&edge.vault, &billing, id).await, Err(Error::Withdrawn { .. })));
        assert!(make(&edge.vault, &billing, named("new"), None).await.is_err());
        assert!(change(&edge.vault, &billing, id, Event::Deprecate).await.is_err());
        encrypts(&edge.vault, &globex, theirs).await.expect("globex is not acme");
        edge.vault.check_lease().expect("the edge itself is served");
        assert_eq!(edge.upstream.take_calls(), Calls { wraps: 0, unwraps: 0, leases: 1 }, "nothing of acme was asked for");
        site.disable("acme", false).await;
        edge.vault.renew_lease().await.expect("the core is well");
        let billing = edge.billing().await;
        encrypts(&edge.vault, &billing, id).await.expect("acme is served again");
        assert_eq!(view(&edge.vault, &billing, id).await.state, State::Active);
    });
}

#[test]
fn a_core_refuses_at_once_what_an_edge_was_not_told_yet_and_the_edge_takes_the_hint() {
    block_on(async {
        let site = Site::found().await;
        let mut edge = site.edge().await;
        let billing = edge.billing().await;
        let id = warm(&edge, &billing).await;
        edge.restart().await;
        view(&edge.vault, &billing, id).await;
        site.disable("acme", true).await;
        let refused = encrypts(&edge.vault, &billing, id).await.expect_err("the core knows");
        assert!(matches!(refused, Error::Withdrawn { .. }), "{refused}");
        edge.vault.due().await;
        edge.upstream.take_calls();
        edge.vault.tend().await.expect("the core is well");
        assert_eq!(edge.upstream.take_calls().leases, 1, "the lease was contradicted");
        assert!(matches!(edge.service("acme", "billing").await, Err(Error::Denied { .. })));
        edge.vault.tend().await.expect("the core is well");
        assert_eq!(edge.upstream.take_calls().leases, 0, "once is enough");
    });
}

#[test]
fn a_group_that_is_revoked_serves_nobody_and_keeps_nothing() {
    block_on(async {
        let site = Site::found().await;
        let edge = site.edge().await;
        let billing = edge.billing().await;
        let id = warm(&edge, &billing).await;
        site.revoke("west").await;
        assert!(matches!(edge.vault.renew_lease().await, Err(Error::Withdrawn { .. })));
        assert!(matches!(edge.vault.check_lease(), Err(Error::Denied { .. })));
        must_be_purged(&edge);
        let nobody = edge.service("acme", "billing").await.expect("a tenant that is not known is not disabled");
        assert_eq!((nobody.tenant(), nobody.service()), (None, None));
        assert!(encrypts(&edge.vault, &billing, id).await.is_err(), "grants that somebody still holds");
        assert!(make(&edge.vault, &billing, named("new"), None).await.is_err());
        edge.upstream.set(Mood::Down);
        assert!(edge.vault.renew_lease().await.is_err());
        assert!(matches!(edge.vault.check_lease(), Err(Error::Denied { .. })), "a core that is away takes no refusal back");
        assert!(edge.try_restart().await.is_err(), "nor does it start");
        edge.upstream.set(Mood::Well);
        site.enrol("west", &["acme"]).await;
        edge.vault.renew_lease().await.expect("it is enrolled again");
        edge.vault.check_lease().expect("it is enrolled again");
        encrypts(&edge.vault, &edge.billing().await, id).await.expect("it is enrolled again");
    });
}

#[test]
fn a_lease_of_another_cluster_is_withdrawn() {
    block_on(async {
        let site = Site::found().await;
        let edge = site.edge().await;
        let billing = edge.billing().await;
        let id = warm(&edge, &billing).await;
        edge.upstream.set(Mood::Stranger);
        assert!(matches!(edge.vault.renew_lease().await, Err(Error::Withdrawn { .. })));
        assert!(matches!(edge.vault.check_lease(), Err(Error::Denied { .. })));
        must_be_purged(&edge);
        assert!(encrypts(&edge.vault, &billing, id).await.is_err());
        assert!(edge.try_restart().await.is_err(), "its roots do not open for another cluster");
    });
}

#[test]
fn an_l3_that_is_compromised_shuts_what_was_opened_under_it_until_that_is_moved() {
    block_on(async {
        let site = Site::found().await;
        let edge = site.edge().await;
        let (billing, payroll) = (edge.billing().await, edge.service("acme", "payroll").await.expect("it is served"));
        let (id, theirs) = (warm(&edge, &billing).await, warm(&edge, &payroll).await);
        let admin = grants(&site.core, Role::TenantAdmin, "acme", "billing").await;
        let service = grants(&site.core, Role::Service, "acme", "billing").await;
        let old = default_key(&site.core, &service).await;
        rekey(&site.core, &admin, old).await.expect("a default key is replaced");
        edge.vault.renew_lease().await.expect("the core is well");
        encrypts(&edge.vault, &billing, id).await.expect("a Deprecated L3 opens");
        change(&site.core, &admin, old, Event::Compromise).await.expect("a Deprecated L3 is compromised");
        edge.vault.renew_lease().await.expect("the core is well");
        assert_eq!(edge.kept(), 1, "payroll's");
        assert!(matches!(encrypts(&edge.vault, &billing, id).await, Err(Error::Raced)), "it is moved");
        assert_eq!(edge.row(id).header.parent.version.0, 2);
        encrypts(&edge.vault, &billing, id).await.expect("it lies under the new version");
        encrypts(&edge.vault, &payroll, theirs).await.expect("it lies under another L3");
        make(&edge.vault, &billing, named("new"), None).await.expect("the new version protects");
    });
}

/// One damaged row of an L3 ended the leases of all tenants that an edge group serves.
#[test]
fn an_l3_that_does_not_verify_shuts_what_lies_under_it_and_nothing_else() {
    block_on(async {
        let site = Site::found().await;
        let mut edge = site.edge().await;
        let (billing, payroll) = (edge.billing().await, edge.service("acme", "payroll").await.expect("it is served"));
        let (early, theirs) = (warm(&edge, &billing).await, warm(&edge, &payroll).await);
        let admin = grants(&site.core, Role::TenantAdmin, "acme", "billing").await;
        let service = grants(&site.core, Role::Service, "acme", "billing").await;
        let old = default_key(&site.core, &service).await;
        rekey(&site.core, &admin, old).await.expect("a default key is replaced");
        let new = default_key(&site.core, &service).await;
        edge.vault.renew_lease().await.expect("the core is well");
        let late = make(&edge.vault, &billing, named("late"), None).await.expect("the new version protects");
        change(&edge.vault, &billing, late, Event::Activate).await.expect("a new key activates");
        let is_shut = async |edge: &Edge, id| match encrypts(&edge.vault, &billing, id).await {
            Ok(_) => false,
            Err(Error::Withdrawn { .. }) => true,
            Err(error) => panic!("{error}"),
        };
        for (damaged, shut) in [(old, [true, false]), (new, [true, true])] {
            site.world.store.edit(damaged, |row| row.meta_mac[0] ^= 1);
            edge.upstream.set_core(&site.world.unseal().await.expect("the roots open"));
            edge.vault.renew_lease().await.expect("the others are served");
            assert_eq!([is_shut(&edge, early).await, is_shut(&edge, late).await], shut, "{damaged}");
            encrypts(&edge.vault, &payroll, theirs).await.expect("it lies under another L3");
        }
        edge.restart().await;
        encrypts(&edge.vault, &payroll, theirs).await.expect("it lies under another L3");
        for damaged in [old, new] {
            site.world.store.edit(damaged, |row| row.meta_mac[0] ^= 1);
        }
        edge.upstream.set_core(&site.world.unseal().await.expect("the roots open"));
        edge.vault.renew_lease().await.expect("the core is well");
        for id in [early, late] {
            encrypts(&edge.vault, &billing, id).await.expect("its L3 was restored");
        }
    });
}

#[test]
fn a_service_that_the_core_makes_later_is_served_after_the_next_renewal() {
    block_on(async {
        let site = Site::found().await;
        let edge = site.edge().await;
        let mut unit = site.core.begin(keys::id::SessionId(1));
        let (acme, shop) = (crate::fakes::name("acme"), crate::fakes::name("shop"));
        site.core.create_service(&mut unit, &acme, &shop).await.expect("the name is free");
        let _receipt = unit.commit().await.expect("the fakes are well");
        assert_eq!(edge.service("acme", "shop").await.expect("acme is served").service(), None);
        edge.vault.renew_lease().await.expect("the core is well");
        warm(&edge, &edge.service("acme", "shop").await.expect("it is served")).await;
        // A tenant that the group is not enrolled for is not in its lease.
        assert_eq!(edge.service("system", "west").await.expect("nothing is disabled").tenant(), None);
    });
}
