//! An edge over a simulated core: what it stores, what it asks, and what it makes of a newer L3.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_executor::block_on;
use futures_util::FutureExt;
use keys::Error;
use keys::attributes::Attributes;
use keys::envelope::ObjectKeyId;
use keys::id::{Generation, Layer, RowId, SessionId, Time};
use keys::lifecycle::{Event, State};
use keys::policy::{Action, Grants, Role};
use keys::port::{Upstream, UpstreamError};
use keys::row::{Owner, Row};
use keys::vault::Vault;
use secret::Bytes;

use super::{edit, rekey, rekey_l3, step, view};
use crate::fakes::edge::{Calls, Edge, EdgeSettings, FakeUpstream, POOL_KEYS, Site, make};
use crate::fakes::{START_SECONDS, grants};
use crate::{change, decrypts, encrypts, named};

const PLANTED: &[u8; 32] = b"a planted secret of 32 bytes ...";

fn asked(wraps: u64, unwraps: u64) -> Calls {
    Calls { wraps, unwraps, leases: 0 }
}

/// An Active key of acme's billing.
async fn active(vault: &Vault, billing: &Grants, name: &str) -> RowId {
    let id = make(vault, billing, named(name), None).await.expect("the name is free");
    change(vault, billing, id, Event::Activate).await.expect("a new key activates");
    id
}

async fn found(vault: &Vault, grants: &Grants) -> Vec<RowId> {
    vault.find(&vault.begin(SessionId(2)), grants, Layer::L4, Vec::new(), |_| true).await.expect("the store is well")
}

#[test]
fn an_object_opens_again_after_its_edge_was_restarted() {
    block_on(async {
        let site = Site::found().await;
        let mut edge = site.edge().await;
        let billing = edge.billing().await;
        let id = make(&edge.vault, &billing, named("k"), Some(PLANTED)).await.expect("the name is free");
        assert!(matches!(encrypts(&edge.vault, &billing, id).await, Err(Error::WrongState { is: State::PreActive, .. })));
        change(&edge.vault, &billing, id, Event::Activate).await.expect("a new key activates");
        assert_eq!(encrypts(&edge.vault, &billing, id).await.expect("it is Active"), PLANTED);
        edge.restart().await;
        assert_eq!(encrypts(&edge.vault, &billing, id).await.expect("it is stored"), PLANTED);
        let seen = view(&edge.vault, &billing, id).await;
        assert_eq!((seen.state, seen.attributes.names[0].value.as_str()), (State::Active, "k"));
        assert_eq!(seen.attributes.digest, Some(cipher::mac::sha256(&[PLANTED])));
        assert!(matches!(make(&edge.vault, &billing, named("k"), None).await, Err(Error::NameTaken { .. })));
        change(&edge.vault, &billing, id, Event::Deprecate).await.expect("an Active key is revoked");
        change(&edge.vault, &billing, id, Event::Destroy).await.expect("a revoked key is destroyed");
        edge.restart().await;
        assert!(matches!(decrypts(&edge.vault, &billing, id).await, Err(Error::WrongState { is: State::Destroyed, .. })));
        assert_eq!(edge.row(id).material, None);
        assert_eq!(view(&edge.vault, &billing, id).await.state, State::Destroyed, "what is known of it is left");
        make(&edge.vault, &billing, named("k"), None).await.expect("its name is free again");
    });
}

#[test]
fn creating_changing_and_finding_ask_the_core_for_pools_only() {
    block_on(async {
        let site = Site::found().await;
        let edge = site.edge().await;
        let billing = edge.billing().await;
        let mut ids = Vec::new();
        // One key of the pool becomes the attribute key.
        for number in 1..POOL_KEYS {
            ids.push(active(&edge.vault, &billing, &format!("k{number}")).await);
        }
        assert_eq!(edge.upstream.take_calls(), asked(1, 0), "one pool");
        for id in &ids {
            encrypts(&edge.vault, &billing, *id).await.expect("it is Active");
            edit(&edge.vault, &billing, *id, |attributes| attributes.sensitive = true).await.expect("it is the service's");
            encrypts(&edge.vault, &billing, *id).await.expect("it is Active");
        }
        assert_eq!(found(&edge.vault, &billing).await.len(), ids.len());
        assert_eq!(edge.upstream.take_calls(), asked(0, 0));
        active(&edge.vault, &billing, "one more").await;
        assert_eq!(edge.upstream.take_calls(), asked(1, 0), "the next pool");
        edge.vault.tend().await.expect("the core is well");
        edge.upstream.take_calls();
        let figures = edge.vault.edge_figures().expect("it is an edge");
        assert_eq!(figures.pooled, POOL_KEYS);
        for number in 0..POOL_KEYS {
            make(&edge.vault, &billing, named(&format!("from the pool {number}")), None).await.expect("the name is free");
        }
        assert_eq!(edge.upstream.take_calls(), asked(0, 0), "a pool that was filled ahead");
    });
}

#[test]
fn after_a_restart_attributes_cost_one_call_and_each_object_one_at_its_first_use() {
    block_on(async {
        let site = Site::found().await;
        let mut edge = site.edge().await;
        let billing = edge.billing().await;
        let mut ids = Vec::new();
        for number in 0..5 {
            ids.push(active(&edge.vault, &billing, &format!("k{number}")).await);
        }
        edge.restart().await;
        assert_eq!(found(&edge.vault, &billing).await.len(), 5);
        for id in &ids {
            view(&edge.vault, &billing, *id).await;
        }
        assert_eq!(edge.upstream.take_calls(), asked(0, 1), "the attribute key");
        for (id, name) in ids.iter().zip(["a", "b", "c", "d", "e"]) {
            edit(&edge.vault, &billing, *id, |attributes| attributes.names[0].value = name.to_owned()).await.expect("its own");
        }
        assert_eq!(edge.upstream.take_calls(), asked(0, 0), "a change of attributes opens no object");
        for id in &ids {
            encrypts(&edge.vault, &billing, *id).await.expect("it is Active");
        }
        assert_eq!(edge.upstream.take_calls(), asked(0, 5), "the first use of each");
        for id in &ids {
            encrypts(&edge.vault, &billing, *id).await.expect("it is Active");
            edit(&edge.vault, &billing, *id, |attributes| attributes.sensitive = true).await.expect("its own");
            decrypts(&edge.vault, &billing, *id).await.expect("it is Active");
        }
        assert_eq!(edge.upstream.take_calls(), asked(0, 0), "later uses, also after a change");
    });
}

#[test]
fn another_service_has_an_attribute_key_and_a_pool_of_its_own() {
    block_on(async {
        let site = Site::found().await;
        let edge = site.edge().await;
        for (tenant, service) in [("acme", "billing"), ("acme", "payroll"), ("globex", "billing")] {
            let grants = edge.service(tenant, service).await.expect("it is served");
            let id = active(&edge.vault, &grants, "k").await;
            encrypts(&edge.vault, &grants, id).await.expect("it is Active");
            assert_eq!(edge.upstream.take_calls(), asked(1, 0), "{tenant} {service}");
        }
        let attribute_keys = edge.store.rows().keys().filter(|id| id.layer == Layer::AttributeKey).count();
        assert_eq!(attribute_keys, 3);
    });
}

/// Whether `secret` lies anywhere in `all` as it is.
fn is_in(secret: &[u8], all: &[Vec<u8>]) -> bool {
    all.iter().any(|bytes| bytes.windows(secret.len()).any(|part| part == secret))
}

#[test]
fn neither_material_nor_an_object_key_is_stored_in_clear_and_no_material_goes_to_the_core() {
    block_on(async {
        let site = Site::found().await;
        let mut edge = site.edge().await;
        let billing = edge.billing().await;
        let id = make(&edge.vault, &billing, named("a name that is planted"), Some(PLANTED)).await.expect("the name is free");
        change(&edge.vault, &billing, id, Event::Activate).await.expect("a new key activates");
        let other = active(&edge.vault, &billing, "other").await;
        edit(&edge.vault, &billing, id, |attributes| attributes.sensitive = true).await.expect("its own");
        rekey_l3(&site.core).await;
        edge.restart().await;
        let made_here = encrypts(&edge.vault, &billing, other).await.expect("it is Active");
        encrypts(&edge.vault, &billing, id).await.expect("it is Active");
        assert_eq!(edge.vault.tend().await.expect("the core is well").rewrapped, 2);
        let rows: Vec<Vec<u8>> = edge.store.rows().values().cloned().collect();
        let cores: Vec<Vec<u8>> = site.world.store.rows().values().cloned().collect();
        let sent = edge.upstream.sent();
        for secret in [PLANTED.as_slice(), b"a name that is planted", &made_here] {
            for (what, all) in [("stored", &rows), ("stored at the core", &cores), ("sent", &sent)] {
                assert!(!is_in(secret, all), "{what}: {}", String::from_utf8_lossy(secret));
            }
        }
        let object_keys: Vec<&Vec<u8>> = sent.iter().filter(|bytes| bytes.len() == 32).collect();
        assert!(object_keys.len() > 2, "{} were wrapped", object_keys.len());
        assert!(object_keys.iter().all(|key| !is_in(key, &rows) && !is_in(key, &cores)), "an object key is stored in clear");
    });
}

#[test]
fn a_row_that_was_edited_or_moved_in_the_store_does_not_open() {
    block_on(async {
        let site = Site::found().await;
        let edge = site.edge().await;
        let billing = edge.billing().await;
        let globex = edge.service("globex", "billing").await.expect("it is served");
        let (one, two) = (active(&edge.vault, &billing, "one").await, active(&edge.vault, &billing, "two").await);
        let theirs = active(&edge.vault, &globex, "theirs").await;
        let whole = edge.store.rows().clone();
        let (row_two, row_theirs) = (edge.row(two), edge.row(theirs));
        type Tamper = Box<dyn Fn(&mut Row)>;
        let (header_two, attributes_two, owner_theirs) = (row_two.header.clone(), row_two.attributes.clone(), row_theirs.header.owner);
        let (material_two, material_theirs) = (row_two.material.clone(), row_theirs.material.clone());
        let tampers: [(&str, Tamper); 8] = [
            ("another object's material", Box::new(move |row| row.material.clone_from(&material_two))),
            ("another tenant's material", Box::new(move |row| row.material.clone_from(&material_theirs))),
            ("another object's attributes", Box::new(move |row| row.attributes.clone_from(&attributes_two))),
            ("another tenant's owner", Box::new(move |row| row.header.owner = owner_theirs)),
            ("another service's owner", Box::new(|row| row.header.owner = Owner { service: None, ..row.header.owner })),
            ("all of another row", Box::new(move |row| *row = row_two.clone())),
            ("another identifier", Box::new(move |row| row.header.id = header_two.id)),
            ("a changed parent", Box::new(|row| row.header.parent.version = row.header.parent.version.next())),
        ];
        for (what, tamper) in tampers {
            edge.store.edit(one, tamper);
            // As a start finds it, so that nothing that was seen before tells.
            let again = edge.try_restart().await.expect("the roots are as they were");
            let refused = encrypts(&again, &billing, one).await.expect_err(what);
            assert!(matches!(refused, Error::Corrupt { .. } | Error::NotFound), "{what}: {refused}");
            let refused = encrypts(&edge.vault, &globex, one).await.expect_err(what);
            assert!(matches!(refused, Error::Corrupt { .. } | Error::NotFound), "{what}: {refused}");
            encrypts(&again, &billing, two).await.expect("others are served");
            edge.store.rows().clone_from(&whole);
        }
        encrypts(&edge.vault, &billing, one).await.expect("it is as it was");
    });
}

#[test]
fn rows_and_roots_of_another_group_do_not_open() {
    block_on(async {
        let site = Site::found().await;
        let west = site.edge().await;
        let east = site.edge_of("east", &Arc::default(), EdgeSettings::default()).await.expect("it is enrolled");
        let billing = west.billing().await;
        let id = active(&west.vault, &billing, "k").await;
        let moved = west.store.rows()[&id].clone();
        east.store.rows().insert(id, moved);
        assert!(matches!(encrypts(&east.vault, &billing, id).await, Err(Error::Corrupt { .. })));
        // The group's own key under the other group's name: core does not open it.
        let root = |edge: &Edge| *edge.store.rows().keys().find(|id| id.layer == Layer::Integrity).expect("it was made");
        let (of_west, of_east) = (root(&west), root(&east));
        assert_ne!(of_west, of_east);
        let material = west.row(of_west).material;
        east.store.edit(of_east, |row| row.material = material);
        let refused = east.try_restart().await.map(|_| ()).expect_err("it was wrapped for west");
        assert!(matches!(refused, Error::Corrupt { .. }), "{refused}");
    });
}

#[test]
fn a_blob_opens_for_its_group_its_l3_and_its_identifier_only() {
    block_on(async {
        let site = Site::found().await;
        let (west, east) = (FakeUpstream::new(&site.core, "west"), FakeUpstream::new(&site.core, "east"));
        let north = FakeUpstream::new(&site.core, "north");
        let lease = west.lease().await.expect("it is enrolled");
        let l3 = |tenant: &str, service: &str| {
            let tenant = lease.tenants.iter().find(|known| known.name.as_str() == tenant).expect("it is enrolled");
            let service = tenant.services.iter().find(|known| known.name.as_str() == service).expect("it was made");
            service.versions[0].id
        };
        let (billing, payroll, globex) = (l3("acme", "billing"), l3("acme", "payroll"), l3("globex", "billing"));
        let key = Bytes::init_with(32, |key| key.copy_from_slice(PLANTED)).expect("the arena has room");
        let (id, other) = (ObjectKeyId([1; 16]), ObjectKeyId([2; 16]));
        let blob = west.wrap(billing, &[(id, &key)]).await.expect("it is enrolled").pop().expect("one was asked for");
        let opened = west.unwrap(billing, id, &blob).await.expect("it was wrapped here");
        assert!(opened.expose(|opened| opened == PLANTED));
        for (upstream, l3, id) in [(&east, billing, id), (&west, payroll, id), (&west, globex, id), (&west, billing, other)] {
            assert_eq!(upstream.unwrap(l3, id, &blob).await.map(|_| ()), Err(UpstreamError::Forged));
        }
        // Whom a group is not enrolled for does not exist for it, and a group that nobody enrolled gets nothing.
        for upstream in [&east, &north] {
            assert!(matches!(upstream.wrap(globex, &[(id, &key)]).await, Err(UpstreamError::Refused { .. })));
            assert!(matches!(upstream.unwrap(globex, id, &blob).await.map(|_| ()), Err(UpstreamError::Refused { .. })));
        }
        assert!(matches!(north.lease().await, Err(UpstreamError::Refused { .. })));
        assert!(!east.lease().await.expect("it is enrolled").tenants.iter().any(|tenant| tenant.name.as_str() == "globex"));
    });
}

#[test]
fn after_a_rekey_of_the_l3_new_objects_lie_under_the_new_version_and_used_ones_follow() {
    block_on(async {
        let site = Site::found().await;
        let edge = site.edge().await;
        let billing = edge.billing().await;
        let (used, idle) = (active(&edge.vault, &billing, "used").await, active(&edge.vault, &billing, "idle").await);
        let plain = encrypts(&edge.vault, &billing, used).await.expect("it is Active");
        let (before, before_idle) = (edge.row(used), edge.row(idle));
        rekey_l3(&site.core).await;
        edge.vault.renew_lease().await.expect("the core is well");
        let new = active(&edge.vault, &billing, "new").await;
        assert_eq!(edge.row(new).header.parent.version.0, 2);
        assert_eq!(edge.row(new).header.parent.chain, before.header.parent.chain);
        // It was warm before the lease said anything of a new version.
        assert_eq!(encrypts(&edge.vault, &billing, used).await.expect("a Deprecated L3 opens"), plain);
        let seen = view(&edge.vault, &billing, used).await;
        assert_eq!(edge.vault.tend().await.expect("the core is well").rewrapped, 1);
        let after = edge.row(used);
        assert_eq!(after.header.parent.version.0, 2);
        assert_eq!(after.header.generation, before.header.generation.next());
        assert_eq!((after.attributes, after.terms), (before.attributes, before.terms), "nothing but the envelope changed");
        assert_ne!(after.material, before.material);
        let again = view(&edge.vault, &billing, used).await;
        assert_eq!((again.state, &again.attributes), (seen.state, &seen.attributes));
        assert_eq!(encrypts(&edge.vault, &billing, used).await.expect("it is Active"), plain);
        assert_eq!(edge.row(idle), before_idle, "nobody used it");
        assert_eq!(edge.vault.tend().await.expect("the core is well").rewrapped, 0, "once is enough");
        let rewraps = edge.audit.records().iter().filter(|record| record.action == Action::Rewrap && record.object == Some(used)).count();
        assert_eq!(rewraps, 1);
    });
}

#[test]
fn an_object_made_before_the_lease_knows_of_a_rekey_lies_under_the_new_version() {
    block_on(async {
        let site = Site::found().await;
        let edge = site.edge().await;
        let billing = edge.billing().await;
        // Nothing is in the pool: the first attempt asks the core for the old version.
        rekey_l3(&site.core).await;
        edge.upstream.take_calls();
        let new = active(&edge.vault, &billing, "new").await;
        assert_eq!(edge.row(new).header.parent.version.0, 2);
        assert_eq!(edge.upstream.take_calls(), Calls { wraps: 2, unwraps: 0, leases: 1 });

        // An edge's own key is replaced likewise.
        rekey_l3(&site.core).await;
        while edge.vault.edge_figures().is_some_and(|figures| figures.pooled > 0) {
            make(&edge.vault, &billing, Attributes::default(), None).await.expect("the pool has a key");
        }
        edge.upstream.take_calls();
        let view = rekey(&edge.vault, &billing, new).await.expect("an Active key is replaced");
        assert_eq!(edge.row(view.header.id).header.parent.version.0, 3);
        assert_eq!(edge.upstream.take_calls(), Calls { wraps: 2, unwraps: 0, leases: 1 });
    });
}

#[test]
fn what_lies_under_a_compromised_l3_opens_once_it_is_moved() {
    block_on(async {
        let site = Site::found().await;
        let mut edge = site.edge().await;
        let billing = edge.billing().await;
        let (used, idle) = (active(&edge.vault, &billing, "used").await, active(&edge.vault, &billing, "idle").await);
        let old = rekey_l3(&site.core).await;
        edge.vault.renew_lease().await.expect("the core is well");
        let plain = encrypts(&edge.vault, &billing, used).await.expect("a Deprecated L3 opens");
        assert_eq!(edge.vault.tend().await.expect("the core is well").rewrapped, 1);
        // A walk begins with the attribute keys; this one comes no further.
        assert_eq!(step(&edge.vault, None, 64).await.expect("the core is well").moved, 1);
        assert_eq!(step(&edge.vault, None, 64).await.expect("the core is well").moved, 0, "once is enough");
        let attribute_key = *edge.store.rows().keys().find(|id| id.layer == Layer::AttributeKey).expect("it was made");
        let row = edge.row(attribute_key);
        assert_eq!((row.header.parent.version.0, row.header.generation), (2, Generation::FIRST.next()));
        edge.upstream.take_calls();
        view(&edge.vault, &billing, idle).await;
        let admin = grants(&site.core, Role::TenantAdmin, "acme", "billing").await;
        change(&site.core, &admin, old, Event::Compromise).await.expect("a Deprecated L3 is compromised");
        edge.vault.renew_lease().await.expect("the core is well");
        assert_eq!(view(&edge.vault, &billing, idle).await.state, State::Active, "its attributes lie under another key");
        assert_eq!(edge.row(idle).header.parent.version.0, 1, "to look at it is no use");
        // The move makes another generation of it, so whoever comes first comes again.
        assert!(matches!(encrypts(&edge.vault, &billing, idle).await, Err(Error::Raced)));
        assert_eq!(edge.row(idle).header.parent.version.0, 2);
        let other = encrypts(&edge.vault, &billing, idle).await.expect("it lies under the new version");
        change(&site.core, &admin, old, Event::Destroy).await.expect("nobody needs it");
        edge.vault.renew_lease().await.expect("the core is well");
        for _ in 0..2 {
            assert_eq!(encrypts(&edge.vault, &billing, used).await.expect("it lies under the new version"), plain);
            assert_eq!(encrypts(&edge.vault, &billing, idle).await.expect("so does it"), other);
            edge.restart().await;
        }
    });
}

#[test]
fn a_rewrap_that_fails_changes_nothing_and_is_done_at_the_next_use() {
    block_on(async {
        let site = Site::found().await;
        let edge = site.edge().await;
        let billing = edge.billing().await;
        let id = active(&edge.vault, &billing, "k").await;
        rekey_l3(&site.core).await;
        edge.vault.renew_lease().await.expect("the core is well");
        let before = edge.row(id);
        let plain = encrypts(&edge.vault, &billing, id).await.expect("a Deprecated L3 opens");
        edge.upstream.set(crate::fakes::edge::Mood::Down);
        edge.vault.tend().await.expect_err("no core answers");
        assert_eq!(edge.row(id), before);
        edge.upstream.set(crate::fakes::edge::Mood::Well);
        edge.vault.tend().await.expect("the core is back");
        assert_eq!(encrypts(&edge.vault, &billing, id).await.expect("a Deprecated L3 opens"), plain);
        edge.vault.tend().await.expect("the core is back");
        assert_eq!(edge.row(id).header.parent.version.0, 2);
        assert_eq!(encrypts(&edge.vault, &billing, id).await.expect("it is Active"), plain);
    });
}

#[test]
fn two_edges_on_one_store_have_one_attribute_key_and_open_each_others_objects() {
    const OBJECTS: usize = 6;
    for round in 0..5 {
        let site = block_on(Site::found());
        let store = Arc::default();
        let edges = block_on(async {
            let one = site.edge_of("west", &store, EdgeSettings::default()).await.expect("it is enrolled");
            [one, site.edge_of("west", &store, EdgeSettings::default()).await.expect("it is enrolled")]
        });
        let billing = block_on(edges[0].billing());
        let run = |edge: &Edge, number: usize| {
            let mut ids = Vec::new();
            while ids.len() < OBJECTS {
                let name = format!("{number} {}", ids.len());
                match block_on(make(&edge.vault, &billing, named(&name), None)) {
                    Ok(id) => ids.push(id),
                    Err(Error::Raced) => std::thread::yield_now(),
                    Err(other) => panic!("{other}"),
                }
            }
            ids
        };
        let ids: Vec<RowId> = std::thread::scope(|scope| {
            let run = &run;
            let threads: Vec<_> = (0..).zip(&edges).map(|(number, edge)| scope.spawn(move || run(edge, number))).collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("nothing panicked")).collect()
        });
        assert_eq!(edges[0].store.rows().keys().filter(|id| id.layer == Layer::AttributeKey).count(), 1, "round {round}");
        block_on(async {
            for id in &ids {
                let material = async |edge: &Edge| decrypts(&edge.vault, &billing, *id).await;
                loop {
                    match change(&edges[0].vault, &billing, *id, Event::Activate).await {
                        Err(Error::Raced) => {}
                        done => break done.expect("a new key activates"),
                    }
                }
                let opened = material(&edges[0]).await.expect("it is Active");
                assert_eq!(material(&edges[1]).await.expect("it is Active"), opened);
            }
            for edge in &edges {
                assert_eq!(found(&edge.vault, &billing).await.len(), 2 * OBJECTS, "round {round}");
                assert_eq!(super::swept(&edge.vault, 64).await, [], "round {round}");
            }
        });
    }
}

#[test]
fn who_is_no_service_of_the_lease_makes_nothing() {
    block_on(async {
        let site = Site::found().await;
        let edge = site.edge().await;
        let before = edge.store.rows().clone();
        let nobodies = [
            (Role::TenantAdmin, "acme", "nothing"),
            (Role::Service, "acme", "nothing"),
            (Role::Service, "nobody", "billing"),
            (Role::Service, "system", "west"),
            (Role::Edge, "acme", "billing"),
            (Role::Operator, "acme", "billing"),
            (Role::Custodian, "acme", "billing"),
            (Role::Auditor, "acme", "billing"),
        ];
        for (role, tenant, service) in nobodies {
            let grants = edge.grants(role, tenant, service).await.expect("nothing is disabled");
            let refused = make(&edge.vault, &grants, named("k"), None).await.expect_err("it has no service");
            assert!(matches!(refused, Error::Denied { .. }), "{role:?}: {refused}");
        }
        assert_eq!(*edge.store.rows(), before);
        assert_eq!(edge.upstream.take_calls(), asked(0, 0));
    });
}

#[test]
fn a_name_is_unique_among_a_services_live_objects_and_two_services_may_share_one() {
    block_on(async {
        let site = Site::found().await;
        let edge = site.edge().await;
        let (billing, payroll) = (edge.billing().await, edge.service("acme", "payroll").await.expect("it is served"));
        let id = make(&edge.vault, &billing, named("k"), None).await.expect("the name is free");
        let before = edge.store.rows().len();
        assert!(matches!(make(&edge.vault, &billing, named("k"), None).await, Err(Error::NameTaken { .. })));
        assert_eq!(edge.store.rows().len(), before, "nothing half-made is left");
        make(&edge.vault, &payroll, named("k"), None).await.expect("it is another service's");
        change(&edge.vault, &billing, id, Event::Destroy).await.expect("a Pre-Active key is destroyed");
        make(&edge.vault, &billing, named("k"), None).await.expect("the name is free again");
    });
}

#[test]
fn an_object_without_an_end_gets_one_where_the_edge_says_how_long_they_live() {
    const TTL_SECONDS: i64 = 3600;
    block_on(async {
        let site = Site::found().await;
        let edge = site.edge_with(EdgeSettings { l4_ttl: Some(Duration::from_secs(3600)), ..EdgeSettings::default() }).await;
        let billing = edge.billing().await;
        let at = |seconds| Some(Time::from_seconds(START_SECONDS + seconds));
        let made = async |name: &str, activation, deactivation| {
            let mut attributes = named(name);
            (attributes.dates.activation, attributes.dates.deactivation) = (activation, deactivation);
            let id = make(&edge.vault, &billing, attributes, None).await.expect("the name is free");
            (id, view(&edge.vault, &billing, id).await.attributes.dates.deactivation)
        };
        let (id, ends) = made("plain", None, None).await;
        assert_eq!((ends, edge.row(id).header.expiry), (at(TTL_SECONDS), at(TTL_SECONDS)));
        assert_eq!(made("later", at(100), None).await.1, at(100 + TTL_SECONDS), "it begins with the activation");
        assert_eq!(made("long ago", at(-100), None).await.1, at(TTL_SECONDS));
        assert_eq!(made("its own", None, at(9)).await.1, at(9), "what the client says stands");
        assert_eq!(made("its own and late", None, at(9 * TTL_SECONDS)).await.1, at(9 * TTL_SECONDS));
        change(&edge.vault, &billing, id, Event::Activate).await.expect("a new key activates");
        edge.clock.0.fetch_add(TTL_SECONDS, Ordering::Relaxed);
        assert!(matches!(encrypts(&edge.vault, &billing, id).await, Err(Error::WrongState { is: State::Deprecated, .. })));
        decrypts(&edge.vault, &billing, id).await.expect("what it protected stays readable");
        let new = rekey(&edge.vault, &billing, id).await.expect("an expired key is replaced");
        assert_eq!(new.attributes.dates.deactivation, at(2 * TTL_SECONDS), "so is the end of its replacement");
    });
}

#[test]
fn an_edge_without_a_limit_sets_no_end() {
    block_on(async {
        let site = Site::found().await;
        let edge = site.edge().await;
        let billing = edge.billing().await;
        let id = make(&edge.vault, &billing, named("k"), None).await.expect("the name is free");
        assert_eq!(view(&edge.vault, &billing, id).await.attributes.dates.deactivation, None);
        edge.vault.must_keep().expect("it keeps its store");
    });
}

#[test]
fn an_edge_in_memory_is_entrusted_with_nothing_and_a_core_holds_no_objects() {
    block_on(async {
        let site = Site::found().await;
        let edge = site.edge_with(EdgeSettings { is_ephemeral: true, ..EdgeSettings::default() }).await;
        assert!(matches!(edge.vault.must_keep(), Err(Error::Denied { .. })));
        let billing = edge.billing().await;
        active(&edge.vault, &billing, "what it makes itself").await;
        let at_core = grants(&site.core, Role::Service, "acme", "billing").await;
        assert!(matches!(make(&site.core, &at_core, named("k"), None).await, Err(Error::Denied { .. })));
        assert!(matches!(site.core.must_keep(), Err(Error::Denied { .. })));
        assert!(matches!(site.core.renew_lease().await, Err(Error::Denied { .. })));
        assert!(site.core.check_lease().is_ok() && site.core.edge_figures().is_none());
    });
}

#[test]
fn material_of_more_than_the_limit_is_refused_and_of_the_limit_is_kept() {
    block_on(async {
        let site = Site::found().await;
        let mut edge = site.edge().await;
        let billing = edge.billing().await;
        let most = vec![0xAB; keys::edge::MATERIAL_BYTES_MAX];
        let id = make(&edge.vault, &billing, named("most"), Some(&most)).await.expect("it is the limit");
        change(&edge.vault, &billing, id, Event::Activate).await.expect("a new key activates");
        edge.restart().await;
        assert_eq!(encrypts(&edge.vault, &billing, id).await.expect("it is Active"), most);
        let refused = make(&edge.vault, &billing, named("more"), Some(&[most.as_slice(), &[1]].concat())).await;
        assert!(matches!(refused, Err(Error::Invalid { .. })), "{refused:?}");
    });
}

#[test]
fn the_replacement_of_an_object_leaves_it_as_it_is() {
    block_on(async {
        let site = Site::found().await;
        let edge = site.edge().await;
        let billing = edge.billing().await;
        let id = active(&edge.vault, &billing, "k").await;
        let plain = encrypts(&edge.vault, &billing, id).await.expect("it is Active");
        let new = rekey(&edge.vault, &billing, id).await.expect("an Active key is replaced");
        let old = view(&edge.vault, &billing, id).await;
        assert_eq!((old.state, old.attributes.names.len()), (State::Active, 0), "only its name moved");
        assert_eq!(new.attributes.names[0].value, "k");
        assert_eq!((old.attributes.links.replacement, new.attributes.links.replaced), (Some(new.header.id), Some(id)));
        assert_eq!(new.header.chain, old.header.chain);
        assert_eq!(encrypts(&edge.vault, &billing, id).await.expect("it stays Active"), plain);
        assert_ne!(encrypts(&edge.vault, &billing, new.header.id).await.expect("it is Active"), plain);
        assert!(matches!(rekey(&edge.vault, &billing, id).await, Err(Error::Replaced { by }) if by == new.header.id));
        assert_eq!(edge.upstream.take_calls().unwraps, 0);
    });
}

#[test]
fn an_attribute_change_that_is_no_change_to_the_owner_is_not_anothers_to_make() {
    block_on(async {
        let site = Site::found().await;
        let edge = site.edge().await;
        let (billing, payroll) = (edge.billing().await, edge.service("acme", "payroll").await.expect("it is served"));
        let globex = edge.service("globex", "billing").await.expect("it is served");
        let admin = edge.grants(Role::TenantAdmin, "acme", "billing").await.expect("it is served");
        let id = active(&edge.vault, &billing, "k").await;
        for stranger in [&payroll, &globex] {
            let touch = |attributes: &mut Attributes| attributes.sensitive = true;
            assert!(matches!(edit(&edge.vault, stranger, id, touch).await, Err(Error::NotFound)));
            assert!(matches!(encrypts(&edge.vault, stranger, id).await, Err(Error::NotFound)));
            assert!(matches!(rekey(&edge.vault, stranger, id).await, Err(Error::NotFound)));
            assert_eq!(found(&edge.vault, stranger).await, []);
        }
        assert!(matches!(edit(&edge.vault, &admin, id, |_| ()).await, Err(Error::Denied { .. })));
        assert!(matches!(encrypts(&edge.vault, &admin, id).await, Err(Error::Denied { .. })));
        assert_eq!(found(&edge.vault, &admin).await, [id], "it governs what is its tenant's");
    });
}

/// Is there something to do for whoever tends the edge?
fn is_due(edge: &Edge) -> bool {
    edge.vault.due().now_or_never().is_some()
}

#[test]
fn what_is_due_is_said_once_until_it_is_heard() {
    block_on(async {
        let site = Site::found().await;
        let edge = site.edge().await;
        let billing = edge.billing().await;
        assert!(!is_due(&edge), "nothing has happened");
        for number in 0..POOL_KEYS - 1 {
            make(&edge.vault, &billing, named(&format!("k{number}")), None).await.expect("the name is free");
        }
        assert!(is_due(&edge), "the pool is low");
        assert!(!is_due(&edge), "that was heard");
        edge.vault.tend().await.expect("the core is well");
        assert!(!is_due(&edge), "that was done");
        let ids = found(&edge.vault, &billing).await;
        for id in &ids {
            change(&edge.vault, &billing, *id, Event::Activate).await.expect("a new key activates");
        }
        rekey_l3(&site.core).await;
        edge.vault.renew_lease().await.expect("the core is well");
        edge.vault.tend().await.expect("the core is well");
        while is_due(&edge) {}
        for id in &ids {
            encrypts(&edge.vault, &billing, *id).await.expect("a Deprecated L3 opens");
        }
        assert!(is_due(&edge), "they lie under an older L3");
        assert!(!is_due(&edge), "that was heard");
        assert_eq!(edge.vault.tend().await.expect("the core is well").rewrapped, ids.len());
    });
}

#[test]
fn a_sweep_of_an_edge_opens_no_object_and_names_what_was_damaged() {
    block_on(async {
        let site = Site::found().await;
        let mut edge = site.edge().await;
        let billing = edge.billing().await;
        let mut ids = Vec::new();
        for number in 0..5 {
            ids.push(active(&edge.vault, &billing, &format!("k{number}")).await);
        }
        edge.restart().await;
        assert_eq!(super::swept(&edge.vault, 2).await, []);
        assert!(edge.upstream.take_calls().unwraps <= 1, "the attribute key at most");
        assert_eq!(edge.kept(), 0);
        edge.store.edit(ids[2], |row| row.header.bits = 128);
        let findings = super::swept(&edge.vault, 2).await;
        assert!(findings.iter().any(|finding| format!("{finding:?}").contains(&ids[2].uuid.to_string())), "{findings:?}");
    });
}

#[test]
fn an_l3_that_is_gone_does_not_hide_the_objects_of_other_services_from_their_own() {
    block_on(async {
        let site = Site::found().await;
        let mut edge = site.edge().await;
        let (billing, payroll) = (edge.billing().await, edge.service("acme", "payroll").await.expect("it is served"));
        active(&edge.vault, &billing, "k").await;
        let theirs = active(&edge.vault, &payroll, "k").await;
        let old = rekey_l3(&site.core).await;
        let admin = grants(&site.core, Role::TenantAdmin, "acme", "billing").await;
        change(&site.core, &admin, old, Event::Destroy).await.expect("a Deprecated L3 is destroyed");
        edge.restart().await;
        assert_eq!(found(&edge.vault, &payroll).await, [theirs]);
        let governs = edge.grants(Role::TenantAdmin, "acme", "billing").await.expect("it is served");
        assert_eq!(found(&edge.vault, &governs).await, [theirs], "nor from their tenant");
        let refused = edge.vault.find(&edge.vault.begin(SessionId(2)), &billing, Layer::L4, Vec::new(), |_| true).await;
        assert!(matches!(refused, Err(Error::Withdrawn { .. })), "an empty answer would say that there is none: {refused:?}");
        encrypts(&edge.vault, &payroll, theirs).await.expect("it lies under another L3");
    });
}
