//! The walk over an edge's objects, what the edge tells of it, and the retirement of the L3 versions that it has left (C23, F1, F6).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_executor::block_on;
use keys::Error;
use keys::envelope::Envelope;
use keys::id::{Layer, RowId, SessionId};
use keys::lifecycle::{Event, State};
use keys::policy::verb::{Destroy, RetireKey};
use keys::policy::{Action, Grants, Role};
use keys::references::{EdgeKey, Why};
use keys::retire::RetireError;
use keys::row::Row;
use keys::sweep::Finding;
use keys::vault::{Vault, View};

use super::{edit, newest_l3, rekey, rekey_l3, view, walk, walked};
use crate::fakes::edge::{Edge, EdgeSettings, FakeUpstream, Mood, Site, make};
use crate::fakes::grants;
use crate::{change, decrypts, encrypts, named};

/// What an edge does from the news of a new version to its report.
async fn catches_up(edge: &Edge) {
    edge.vault.renew_lease().await.expect("the core is well");
    let _walked = walked(&edge.vault, 64).await;
    edge.vault.renew_lease().await.expect("the core is well");
}

/// Active keys of a service, with their bytes.
async fn objects(edge: &Edge, service: &Grants, count: usize) -> BTreeMap<RowId, Vec<u8>> {
    let mut made = BTreeMap::new();
    for number in 0..count {
        let id = make(&edge.vault, service, named(&format!("k{number}")), None).await.expect("the name is free");
        change(&edge.vault, service, id, Event::Activate).await.expect("a new key activates");
        made.insert(id, encrypts(&edge.vault, service, id).await.expect("it is Active"));
    }
    made
}

async fn must_open(edge: &Edge, service: &Grants, objects: &BTreeMap<RowId, Vec<u8>>) {
    for (id, bytes) in objects {
        assert_eq!(decrypts(&edge.vault, service, *id).await.expect("it opens"), *bytes);
    }
}

async fn retire(core: &Vault, id: RowId) -> Result<View, RetireError> {
    let admin = grants(core, Role::TenantAdmin, "acme", "billing").await;
    let mut unit = core.begin(SessionId(2));
    let header = core.header(&unit, &admin, id).await?;
    let retired = core.retire_key(&mut unit, admin.check::<RetireKey>(&header).map_err(Error::from)?).await?;
    let _receipt = unit.commit().await.map_err(Error::from)?;
    Ok(retired)
}

async fn destroy_left(core: &Vault, id: RowId) -> Result<View, RetireError> {
    let admin = grants(core, Role::TenantAdmin, "acme", "billing").await;
    let mut unit = core.begin(SessionId(2));
    let header = core.header(&unit, &admin, id).await?;
    let destroyed = core.destroy_left(&mut unit, admin.check::<Destroy>(&header).map_err(Error::from)?).await?;
    let _receipt = unit.commit().await.map_err(Error::from)?;
    Ok(destroyed)
}

/// For whose sake a version is not retired, by group.
async fn held(core: &Vault, id: RowId) -> Vec<(String, Why)> {
    match retire(core, id).await.expect_err("it is not retired") {
        RetireError::Held { groups } => groups.iter().map(|held| (held.group.to_string(), held.why)).collect(),
        RetireError::Keys(error) => panic!("{error}"),
    }
}

fn parents(edge: &Edge) -> Vec<u32> {
    let rows = edge.store.rows().iter().map(|(id, bytes)| (*id, Row::decode(bytes).expect("a stored row decodes"))).collect::<Vec<_>>();
    let is_wrapped = |id: &RowId| matches!(id.layer, Layer::L4 | Layer::AttributeKey);
    let mut parents: Vec<u32> = rows.iter().filter(|(id, _)| is_wrapped(id)).map(|(_, row)| row.header.parent.version.0).collect();
    parents.sort_unstable();
    parents.dedup();
    parents
}

#[test]
fn a_walk_brings_every_object_under_the_newest_l3_and_touches_nothing_else() {
    block_on(async {
        for limit in [64, 7] {
            let site = Site::found().await;
            let mut edge = site.edge().await;
            let billing = edge.billing().await;
            let made = objects(&edge, &billing, 130).await;
            let payroll = edge.service("acme", "payroll").await.expect("it is served");
            let others = objects(&edge, &payroll, 3).await;
            edge.restart().await;
            let before: BTreeMap<RowId, Row> = made.keys().map(|id| (*id, edge.row(*id))).collect();
            rekey_l3(&site.core).await;
            assert_eq!(walked(&edge.vault, limit).await, (0, Vec::new()), "the lease does not say it yet");
            let epoch = edge.vault.parents_epoch();
            edge.vault.renew_lease().await.expect("the core is well");
            assert!(edge.vault.parents_epoch() > epoch, "the walk is told");
            edge.upstream.take_calls();

            assert_eq!(walked(&edge.vault, limit).await, (131, Vec::new()), "130 objects and their attribute key");
            assert_eq!(edge.upstream.take_calls().unwraps, 131, "each key once");
            assert_eq!(edge.kept(), 0, "what nobody uses is not kept open");
            for (id, old) in &before {
                let new = edge.row(*id);
                assert_eq!((new.header.parent.version.0, new.header.generation), (2, old.header.generation.next()));
                assert_eq!((&new.attributes, &new.terms), (&old.attributes, &old.terms));
                assert_eq!((new.header.wrap_seq, new.header.attributes_seq), (old.header.wrap_seq, old.header.attributes_seq));
                let envelope =
                    |row: &Row| Envelope::decode(row.material.as_deref().expect("it has material")).map(|it| (it.id, it.sealed.to_vec()));
                assert_eq!(envelope(&new).expect("it decodes"), envelope(old).expect("it decodes"), "the material is as it was");
            }
            for id in others.keys() {
                assert_eq!(edge.row(*id).header.parent.version.0, 1, "its own L3 has no other version");
            }
            assert_eq!(walked(&edge.vault, limit).await, (0, Vec::new()), "a second walk finds nothing to do");
            let told: Vec<_> = edge.audit.records().into_iter().filter(|record| record.action == Action::Reencrypt).collect();
            assert!(!told.is_empty() && told.iter().all(|record| record.version.is_some_and(|version| version.0 == 2)), "{told:?}");

            must_open(&edge, &billing, &made).await;
            edge.restart().await;
            must_open(&edge, &billing, &made).await;
            must_open(&edge, &payroll, &others).await;
            assert_eq!(super::swept(&edge.vault, 64).await, []);
        }
    });
}

/// Keys that clients use stay open across the walk, also once the core opens nothing more under the old version.
#[test]
fn clients_do_not_notice_a_walk() {
    block_on(async {
        let site = Site::found().await;
        let edge = site.edge().await;
        let billing = edge.billing().await;
        let made = objects(&edge, &billing, 5).await;
        let old = rekey_l3(&site.core).await;
        edge.vault.renew_lease().await.expect("the core is well");
        assert_eq!(walked(&edge.vault, 64).await.0, 6);
        let admin = grants(&site.core, Role::TenantAdmin, "acme", "billing").await;
        change(&site.core, &admin, old, Event::Compromise).await.expect("a Deprecated L3 is compromised");
        edge.vault.renew_lease().await.expect("the core is well");
        edge.upstream.take_calls();
        must_open(&edge, &billing, &made).await;
        for id in made.keys() {
            edit(&edge.vault, &billing, *id, |attributes| attributes.sensitive = true).await.expect("its own");
        }
        assert_eq!(edge.upstream.take_calls().unwraps, 0, "they were open before");
    });
}

#[test]
fn a_walk_that_the_core_leaves_goes_on_when_it_is_back_and_loses_nothing() {
    block_on(async {
        let site = Site::found().await;
        let edge = site.edge().await;
        let billing = edge.billing().await;
        let made = objects(&edge, &billing, 12).await;
        let mut edge = edge;
        edge.restart().await;
        rekey_l3(&site.core).await;
        edge.vault.renew_lease().await.expect("the core is well");
        let mut failures = 0;
        for calls in 0.. {
            edge.upstream.fail_after(Some(calls));
            let outcome = walk(&edge.vault, 4).await;
            edge.upstream.fail_after(None);
            if outcome.is_ok() {
                break;
            }
            failures += 1;
            assert!(matches!(outcome, Err(Error::Unavailable { .. })), "{outcome:?}");
            must_open(&edge, &billing, &made).await;
            edge.restart().await;
        }
        assert!(failures > 5, "{failures}");
        assert_eq!(parents(&edge), [2]);
        for mood in [Mood::OneLess, Mood::Nothing, Mood::OneMore] {
            rekey_l3(&site.core).await;
            edge.vault.renew_lease().await.expect("the core is well");
            let before = edge.store.rows().clone();
            edge.upstream.set(mood);
            assert!(matches!(walk(&edge.vault, 64).await, Err(Error::Unavailable { .. })), "{mood:?}");
            assert_eq!(*edge.store.rows(), before, "{mood:?}");
            edge.upstream.set(Mood::Well);
            assert_eq!(walked(&edge.vault, 64).await.0, 13, "{mood:?}");
        }
        edge.restart().await;
        must_open(&edge, &billing, &made).await;
    });
}

#[test]
fn a_core_that_opens_another_key_moves_nothing() {
    block_on(async {
        let site = Site::found().await;
        let mut edge = site.edge().await;
        let billing = edge.billing().await;
        let made = objects(&edge, &billing, 3).await;
        rekey_l3(&site.core).await;
        for mood in [Mood::OtherKey, Mood::ShortKey, Mood::Forged] {
            edge.restart().await;
            let before = edge.store.rows().clone();
            edge.upstream.set(mood);
            let (moved, refused) = walked(&edge.vault, 64).await;
            assert_eq!((moved, refused.len()), (0, 4), "{mood:?}: {refused:?}");
            assert_eq!(*edge.store.rows(), before, "{mood:?}");
            edge.upstream.set(Mood::Well);
        }
        edge.restart().await;
        assert_eq!(walked(&edge.vault, 64).await, (4, Vec::new()));
        must_open(&edge, &billing, &made).await;
    });
}

#[test]
fn clients_that_change_and_destroy_objects_during_a_walk_win_or_do_it_again() {
    const OBJECTS: usize = 40;
    let site = block_on(Site::found());
    let edge = block_on(site.edge());
    let billing = block_on(edge.billing());
    let made = block_on(objects(&edge, &billing, OBJECTS));
    let is_done = AtomicBool::new(false);
    let again = |work: &dyn Fn() -> Result<(), Error>| loop {
        match work() {
            Err(Error::Raced) => std::thread::yield_now(),
            done => break done.expect("the fakes are well"),
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for (at, id) in made.keys().enumerate() {
                again(&|| block_on(edit(&edge.vault, &billing, *id, |attributes| attributes.sensitive = true)).map(drop));
                if at % 4 == 0 {
                    again(&|| block_on(change(&edge.vault, &billing, *id, Event::Deprecate)));
                    again(&|| block_on(change(&edge.vault, &billing, *id, Event::Destroy)));
                } else {
                    again(&|| block_on(decrypts(&edge.vault, &billing, *id)).map(|bytes| assert_eq!(bytes, made[id])));
                }
            }
            is_done.store(true, Ordering::Relaxed);
        });
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                block_on(async {
                    rekey_l3(&site.core).await;
                    edge.vault.renew_lease().await.expect("the core is well");
                    let _moved = walked(&edge.vault, 16).await;
                });
            }
        });
    });
    block_on(async {
        for (at, (id, bytes)) in made.iter().enumerate() {
            let is = view(&edge.vault, &billing, *id).await;
            assert!(is.attributes.sensitive);
            if at % 4 == 0 {
                assert_eq!((is.state, edge.row(*id).material), (State::Destroyed, None));
            } else {
                assert_eq!(decrypts(&edge.vault, &billing, *id).await.expect("it is Active"), *bytes);
            }
        }
        assert_eq!(super::swept(&edge.vault, 64).await, []);
    });
}

/// What was sealed before the lease said that its L3 is replaced is not stored after it: an edge that says it has left a version does not come back to it.
#[test]
fn an_object_that_is_stored_after_its_l3_was_replaced_is_made_again() {
    block_on(async {
        let site = Site::found().await;
        let edge = site.edge().await;
        let billing = edge.billing().await;
        let first = objects(&edge, &billing, 1).await;
        let mut unit = edge.vault.begin(SessionId(2));
        let new = || keys::edge::NewObject {
            object_type: keys::row::ObjectType::SYMMETRIC_KEY,
            algorithm: keys::row::Algorithm::AES,
            bits: 256,
            attributes: named("late"),
            material: None,
        };
        let late = edge.vault.create_object(&mut unit, &billing, new()).await.expect("the name is free").header.id;
        let old = rekey_l3(&site.core).await;
        catches_up(&edge).await;
        assert!(matches!(unit.commit().await.map(drop).map_err(Error::from), Err(Error::Raced)));
        assert!(!edge.store.rows().contains_key(&late));
        assert_eq!(parents(&edge), [2]);
        let mut unit = edge.vault.begin(SessionId(2));
        edge.vault.create_object(&mut unit, &billing, new()).await.expect("the name is still free");
        let _receipt = unit.commit().await.expect("it lies under the newest version");
        assert_eq!(parents(&edge), [2]);
        must_open(&edge, &billing, &first).await;
        assert_eq!(held(&site.core, old).await, [("east".to_owned(), Why::Silent)]);
    });
}

#[test]
fn a_version_is_retired_once_every_edge_of_every_group_has_left_it() {
    block_on(async {
        let site = Site::found().await;
        let (west, east) = (site.edge().await, site.edge_of("east", &Arc::default(), EdgeSettings::default()).await.expect("enrolled"));
        let second = FakeUpstream::of(&site.core, "west", EdgeKey([8; 32]));
        let second = site.edge_by(second, &Arc::default(), EdgeSettings::default()).await.expect("enrolled");
        let billing = west.billing().await;
        let made = objects(&west, &billing, 3).await;
        let made_there = objects(&second, &billing, 3).await;
        let mut unit = site.core.begin(SessionId(1));
        site.core.enrol_edges(&mut unit, &"west".parse().expect("a name"), &[], &[[7; 32], [8; 32]]).await.expect("enrolled");
        let _receipt = unit.commit().await.expect("the fakes are well");
        let first = newest_l3(&site.core).await;
        let early = retire(&site.core, first).await.expect_err("it is Active");
        assert!(matches!(early, RetireError::Keys(Error::WrongState { is: State::Active, .. })), "{early}");

        // A walk before the replacement says nothing about what comes after it.
        catches_up(&west).await;
        rekey_l3(&site.core).await;
        let both = |west, east| vec![("west".to_owned(), west), ("east".to_owned(), east)];
        let sorted = async |id| {
            let mut held = held(&site.core, id).await;
            held.sort_by(|one, other| other.0.cmp(&one.0));
            held
        };
        assert_eq!(sorted(first).await, both(Why::Refers, Why::Silent));
        let refused = retire(&site.core, first).await.expect_err("two groups hold it").to_string();
        for part in ["group west (its edge 0707070707070707 has objects", "group east (an edge of it has not reported", "edge revoke east"]
        {
            assert!(refused.contains(part), "{part}: {refused}");
        }
        west.vault.renew_lease().await.expect("the core is well");
        let _walked = walked(&west.vault, 64).await;
        assert_eq!(sorted(first).await, both(Why::Refers, Why::Silent), "it is told with the next lease");
        west.vault.renew_lease().await.expect("the core is well");
        assert_eq!(sorted(first).await, both(Why::Silent, Why::Silent), "the other edge of the group");
        second.vault.renew_lease().await.expect("the core is well");
        assert_eq!(sorted(first).await, both(Why::NotWalked, Why::Silent));
        catches_up(&second).await;
        assert_eq!(sorted(first).await, [("east".to_owned(), Why::Silent)]);
        catches_up(&east).await;
        let service = grants(&site.core, Role::Service, "acme", "billing").await;
        decrypts(&site.core, &service, first).await.expect("a Deprecated key decrypts");

        let retired = retire(&site.core, first).await.expect("nobody needs it");
        assert_eq!((retired.state, retired.header.id), (State::Retired, first));
        assert!(matches!(decrypts(&site.core, &service, first).await, Err(Error::WrongState { is: State::Retired, .. })));
        assert!(matches!(retire(&site.core, first).await, Err(RetireError::Keys(Error::WrongState { is: State::Retired, .. }))));
        let admin = grants(&site.core, Role::TenantAdmin, "acme", "billing").await;
        for event in [Event::Activate, Event::Deprecate] {
            assert!(change(&site.core, &admin, first, event).await.is_err(), "{event:?}");
        }
        assert!(rekey(&site.core, &admin, first).await.is_err());
        for (edge, made) in [(&west, &made), (&second, &made_there)] {
            edge.vault.renew_lease().await.expect("the core is well");
            must_open(edge, &billing, made).await;
        }
    });
}

#[test]
fn an_edge_that_is_gone_for_good_is_given_up_and_not_waited_for() {
    block_on(async {
        let site = Site::found().await;
        site.revoke("east").await;
        let west = "west".parse().expect("a name");
        let mut unit = site.core.begin(SessionId(1));
        site.core.enrol_edges(&mut unit, &west, &[], &[[7; 32], [8; 32]]).await.expect("enrolled");
        let _receipt = unit.commit().await.expect("the fakes are well");
        let gone = FakeUpstream::of(&site.core, "west", EdgeKey([8; 32]));
        let gone = site.edge_by(gone, &Arc::default(), EdgeSettings::default()).await.expect("enrolled");
        gone.vault.renew_lease().await.expect("the core is well");
        let (edge, old) = (site.edge().await, rekey_l3(&site.core).await);
        catches_up(&edge).await;
        assert_eq!(held(&site.core, old).await, [("west".to_owned(), Why::NotWalked)], "the other edge");
        let core = site.world.unseal().await.expect("the roots open");
        edge.upstream.set_core(&core);
        edge.vault.renew_lease().await.expect("the core is well");
        let silent = retire(&core, old).await.expect_err("the other edge is silent").to_string();
        assert!(silent.contains(&format!("edge revoke west --key {}", "08".repeat(32))), "{silent}");
        let core = &site.core;
        let give_up = async |group: &str, key| {
            let mut unit = core.begin(SessionId(1));
            let given_up = core.give_up_edge(&mut unit, &group.parse().expect("a name"), EdgeKey([key; 32])).await?;
            let _receipt = unit.commit().await?;
            Ok::<_, Error>(given_up.keys)
        };
        assert!(matches!(give_up("west", 9).await, Err(Error::NotFound)));
        assert!(matches!(give_up("north", 8).await, Err(Error::NotFound)));
        assert_eq!(give_up("west", 8).await.expect("it is one of the group's"), [[7; 32]]);
        retire(&site.core, old).await.expect("nobody else has anything under it");
    });
}

#[test]
fn a_core_that_was_restarted_is_told_again_before_anything_is_retired() {
    block_on(async {
        let site = Site::found().await;
        site.revoke("east").await;
        let edge = site.edge().await;
        let billing = edge.billing().await;
        let made = objects(&edge, &billing, 3).await;
        let old = rekey_l3(&site.core).await;
        catches_up(&edge).await;

        let core = site.world.unseal().await.expect("the roots open");
        assert_eq!(held(&core, old).await, [("west".to_owned(), Why::Silent)]);
        let site = Site { core, ..site };
        // The same edge as it finds another core at its address: it has not been opened anew, so it need not walk again.
        edge.upstream.set_core(&site.core);
        edge.vault.renew_lease().await.expect("the core is well");
        retire(&site.core, old).await.expect("the edge has said so again, and east is revoked");
        must_open(&edge, &billing, &made).await;
    });
}

#[test]
fn an_edge_that_was_restarted_claims_nothing_before_it_has_walked() {
    block_on(async {
        let site = Site::found().await;
        site.revoke("east").await;
        let mut edge = site.edge().await;
        let billing = edge.billing().await;
        let made = objects(&edge, &billing, 3).await;
        let earlier = edge.store.rows().clone();
        let old = rekey_l3(&site.core).await;
        catches_up(&edge).await;
        // It is stopped, and its store is put back.
        edge.store.rows().clone_from(&earlier);
        edge.restart().await;
        edge.vault.renew_lease().await.expect("the core is well");
        assert_eq!(held(&site.core, old).await, [("west".to_owned(), Why::NotWalked)]);
        catches_up(&edge).await;
        retire(&site.core, old).await.expect("it has walked");
        must_open(&edge, &billing, &made).await;
    });
}

#[test]
fn objects_that_cannot_be_moved_are_named_and_hold_their_version_only() {
    block_on(async {
        let site = Site::found().await;
        site.revoke("east").await;
        let mut edge = site.edge().await;
        let billing = edge.billing().await;
        let lost = objects(&edge, &billing, 1).await;
        let first = rekey_l3(&site.core).await;
        let admin = grants(&site.core, Role::TenantAdmin, "acme", "billing").await;
        change(&site.core, &admin, first, Event::Destroy).await.expect("a Deprecated L3 is destroyed");
        let second = rekey_l3(&site.core).await;
        edge.restart().await;
        let (moved, refused) = walked(&edge.vault, 64).await;
        assert_eq!((moved, refused.len()), (0, 2), "the object and the attribute key: {refused:?}");
        assert!(refused.iter().any(|finding| lost.contains_key(&finding.row)), "{refused:?}");
        edge.vault.renew_lease().await.expect("the core is well");
        retire(&site.core, second).await.expect("nothing lies under it");
        assert!(matches!(retire(&site.core, first).await, Err(RetireError::Keys(Error::WrongState { is: State::Destroyed, .. }))));
    });
}

/// Objects that nobody had used before their L3 was declared compromised were lost with it.
#[test]
fn a_walk_takes_objects_out_from_under_a_compromised_l3() {
    block_on(async {
        let site = Site::found().await;
        let mut edge = site.edge().await;
        let billing = edge.billing().await;
        let made = objects(&edge, &billing, 70).await;
        let first = rekey_l3(&site.core).await;
        let admin = grants(&site.core, Role::TenantAdmin, "acme", "billing").await;
        change(&site.core, &admin, first, Event::Compromise).await.expect("a Deprecated L3 is compromised");
        // Neither this edge nor the other one has said that it needs nothing of it.
        let held = destroy_left(&site.core, first).await.expect_err("edges may need it").to_string();
        assert!(held.contains("group east (") && held.contains("group west ("), "{held}");
        site.revoke("east").await;
        assert!(!edge.vault.flees() && !site.core.flees(), "the edge was not told yet, and a core is none");
        edge.restart().await;
        assert!(edge.vault.flees(), "its walk is not held back");
        assert_eq!(walked(&edge.vault, 64).await, (71, Vec::new()), "with their attribute key");
        assert!(!edge.vault.flees(), "nothing of it is left there");
        assert_eq!((parents(&edge), edge.kept()), (vec![2], 0));
        assert!(matches!(destroy_left(&site.core, first).await, Err(RetireError::Held { .. })), "it has moved them, and not said so");
        let told = retire(&site.core, first).await.expect_err("it is compromised").to_string();
        assert!(told.contains("`strongroom key destroy` once edges have left it"), "{told}");
        edge.vault.renew_lease().await.expect("the core is well");
        destroy_left(&site.core, first).await.expect("nobody needs it");
        let again = destroy_left(&site.core, first).await;
        assert!(matches!(again, Err(RetireError::Keys(Error::WrongState { is: State::DestroyedCompromised, .. }))));
        must_open(&edge, &billing, &made).await;
        edge.restart().await;
        must_open(&edge, &billing, &made).await;
    });
}

/// After a start nothing of the service is open, its attribute key neither.
#[test]
fn an_object_under_a_compromised_l3_is_found_and_used_before_any_walk() {
    block_on(async {
        let site = Site::found().await;
        let mut edge = site.edge().await;
        let billing = edge.billing().await;
        let made = objects(&edge, &billing, 2).await;
        let first = rekey_l3(&site.core).await;
        let admin = grants(&site.core, Role::TenantAdmin, "acme", "billing").await;
        change(&site.core, &admin, first, Event::Compromise).await.expect("a Deprecated L3 is compromised");
        edge.restart().await;
        let found = edge.vault.find(&edge.vault.begin(SessionId(2)), &billing, Layer::L4, Vec::new(), |_| true).await;
        assert_eq!(found.expect("the core is well"), made.keys().rev().copied().collect::<Vec<_>>());
        assert_eq!(parents(&edge), [1, 2], "the attribute key alone is moved for that");
        for (id, bytes) in &made {
            assert!(matches!(decrypts(&edge.vault, &billing, *id).await, Err(Error::Raced)), "it is moved");
            assert_eq!(decrypts(&edge.vault, &billing, *id).await.expect("it lies under the new version"), *bytes);
        }
        assert_eq!(parents(&edge), [2]);
        edge.upstream.set(Mood::Down);
        must_open(&edge, &billing, &made).await;
    });
}

/// One object whose L3 was destroyed had its whole batch refused: at each use of the others, and in each walk.
#[test]
fn an_object_whose_l3_is_gone_is_named_and_keeps_no_other_back() {
    block_on(async {
        for is_told in [true, false] {
            let site = Site::found().await;
            let mut edge = site.edge().await;
            let billing = edge.billing().await;
            let lost = objects(&edge, &billing, 1).await;
            let first = rekey_l3(&site.core).await;
            edge.vault.renew_lease().await.expect("the core is well");
            let mut made = BTreeMap::new();
            for name in ["a", "b"] {
                let id = make(&edge.vault, &billing, named(name), None).await.expect("the name is free");
                change(&edge.vault, &billing, id, Event::Activate).await.expect("a new key activates");
                made.insert(id, encrypts(&edge.vault, &billing, id).await.expect("it is Active"));
            }
            rekey_l3(&site.core).await;
            edge.vault.renew_lease().await.expect("the core is well");
            must_open(&edge, &billing, &lost).await;
            let (used, _) = made.first_key_value().expect("two were made");
            decrypts(&edge.vault, &billing, *used).await.expect("a Deprecated L3 opens");
            // Both are noted as due, and their opened keys are let go of.
            for is_disabled in [true, false] {
                site.disable("acme", is_disabled).await;
                edge.vault.renew_lease().await.expect("the core is well");
            }
            let admin = grants(&site.core, Role::TenantAdmin, "acme", "billing").await;
            change(&site.core, &admin, first, Event::Destroy).await.expect("a Deprecated L3 is destroyed");
            if is_told {
                edge.vault.renew_lease().await.expect("the core is well");
            }
            let tended = edge.vault.tend().await.expect("the core is well");
            let named = |refused: &[Finding]| refused.iter().map(|finding| finding.row).collect::<Vec<_>>();
            assert_eq!((tended.rewrapped, named(&tended.refused)), (1, lost.keys().copied().collect()), "{is_told}");
            assert_eq!(edge.row(*used).header.parent.version.0, 3);

            if is_told {
                edge.restart().await;
            }
            let (moved, refused) = walked(&edge.vault, 64).await;
            // The attribute key lies under the first version still.
            let attribute_key = edge.store.rows().keys().find(|id| id.layer == Layer::AttributeKey).copied().expect("it was made");
            assert_eq!((moved, named(&refused)), (1, vec![attribute_key, *lost.first_key_value().expect("one").0]), "{is_told}");
            assert_eq!(parents(&edge), [1, 3]);
            edge.vault.renew_lease().await.expect("the core is well");
            assert_eq!(walked(&edge.vault, 64).await.1.len(), 2, "they are named again by each walk");
        }
    });
}

/// A version under which the core lets nothing come keeps the objects of that service where they are, and no others.
#[test]
fn a_service_whose_l3_takes_nothing_in_keeps_no_other_service_back() {
    block_on(async {
        let site = Site::found().await;
        let mut edge = site.edge().await;
        let (billing, payroll) = (edge.billing().await, edge.service("acme", "payroll").await.expect("it is served"));
        let made = objects(&edge, &billing, 2).await;
        let others = objects(&edge, &payroll, 2).await;
        let admin = grants(&site.core, Role::TenantAdmin, "acme", "payroll").await;
        let service = grants(&site.core, Role::Service, "acme", "payroll").await;
        rekey(&site.core, &admin, super::default_key(&site.core, &service).await).await.expect("a default key is replaced");
        rekey_l3(&site.core).await;
        edge.restart().await;
        site.world.store.edit(newest_l3(&site.core).await, |row| row.material.as_mut().expect("it has some")[90] ^= 1);
        let core = site.world.unseal().await.expect("the roots open");
        edge.upstream.set_core(&core);
        let (moved, refused) = walked(&edge.vault, 64).await;
        assert_eq!((moved, refused.len()), (3, 3), "{refused:?}");
        assert!(made.keys().all(|id| refused.iter().any(|finding| finding.row == *id)), "{refused:?}");
        must_open(&edge, &payroll, &others).await;
    });
}

#[test]
fn an_object_that_does_not_verify_holds_every_version() {
    block_on(async {
        let site = Site::found().await;
        site.revoke("east").await;
        let edge = site.edge().await;
        let billing = edge.billing().await;
        let made = objects(&edge, &billing, 3).await;
        let id = *made.keys().next().expect("some were made");
        let whole = edge.store.rows().clone();
        edge.store.edit(id, |row| row.header.parent.version = row.header.parent.version.next());
        let old = rekey_l3(&site.core).await;
        edge.vault.renew_lease().await.expect("the core is well");
        let (moved, refused) = walked(&edge.vault, 64).await;
        assert_eq!((moved, refused.iter().map(|finding| finding.row).collect::<Vec<_>>()), (3, vec![id]));
        edge.vault.renew_lease().await.expect("the core is well");
        assert_eq!(held(&site.core, old).await, [("west".to_owned(), Why::Damaged { rows: 1 })]);
        let row = whole[&id].clone();
        edge.store.rows().insert(id, row);
        catches_up(&edge).await;
        retire(&site.core, old).await.expect("it was restored, and moved");
        must_open(&edge, &billing, &made).await;
    });
}

/// Edges wrap under a service's default key only.
#[test]
fn a_version_of_another_chain_waits_for_no_edge_and_for_its_admin() {
    block_on(async {
        let site = Site::found().await;
        let (admin, service) =
            (grants(&site.core, Role::TenantAdmin, "acme", "billing").await, grants(&site.core, Role::Service, "acme", "billing").await);
        let id = crate::create(&site.core, &service, named("a chain of its own")).await.expect("the name is free");
        assert!(matches!(retire(&site.core, id).await, Err(RetireError::Keys(Error::WrongState { is: State::PreActive, .. }))));
        change(&site.core, &admin, id, Event::Activate).await.expect("a new key activates");
        rekey(&site.core, &admin, id).await.expect("it is Active");
        retire(&site.core, id).await.expect("no edge can have anything under it");
        assert!(
            service.check::<RetireKey>(&site.core.header(&site.core.begin(SessionId(2)), &service, id).await.expect("its own")).is_err()
        );
        let stranger = grants(&site.core, Role::TenantAdmin, "globex", "billing").await;
        assert!(matches!(site.core.header(&site.core.begin(SessionId(2)), &stranger, id).await, Err(Error::NotFound)));
    });
}
