//! An edge whose store or core fails: each commit and each call once, and answers that are none.

use std::sync::Arc;

use cipher::pair::{Curve, PairKind};
use futures_executor::block_on;
use keys::Error;
use keys::attributes::Attributes;
use keys::edge::{NewObject, NewPair, new_root};
use keys::entropy::Randomness;
use keys::id::{Layer, RowId, SessionId};
use keys::lifecycle::{Event, State};
use keys::policy::Grants;
use keys::policy::verb::{Get, ReKeyKeyPair};
use keys::port::{Entropy, Upstream};
use keys::row::{Algorithm, ObjectType};
use secret::Bytes;

use super::{edit, rekey, swept, view};
use crate::fakes::Fails;
use crate::fakes::edge::{Edge, EdgeSettings, Mood, Site, make};
use crate::{change, encrypts, named};

const STEPS: [&str; 6] = ["create", "activate", "use", "rekey", "revoke", "destroy"];

/// Goes on with an object's life from `from`; the step that failed, if one did.
async fn live(edge: &Edge, billing: &Grants, from: usize, id: &mut Option<RowId>) -> Option<(usize, Error)> {
    let vault = &edge.vault;
    for (at, step) in STEPS.iter().enumerate().skip(from) {
        let known = || id.expect("it was created");
        let done = match *step {
            "create" => make(vault, billing, named("k"), None).await.map(|made| *id = Some(made)),
            "activate" => change(vault, billing, known(), Event::Activate).await,
            "use" => encrypts(vault, billing, known()).await.map(|_| ()),
            "rekey" => rekey(vault, billing, known()).await.map(|_| ()),
            "revoke" => change(vault, billing, known(), Event::Deprecate).await,
            _ => change(vault, billing, known(), Event::Destroy).await,
        };
        if let Err(error) = done {
            return Some((at, error));
        }
    }
    None
}

/// The objects as their service sees them, those without a name first.
async fn states(edge: &Edge, billing: &Grants) -> Vec<(State, usize)> {
    let vault = &edge.vault;
    let ids = vault.find(&vault.begin(SessionId(2)), billing, Layer::L4, Vec::new(), |_| true).await.expect("the fakes are well again");
    let mut states = Vec::new();
    for id in ids {
        let seen = view(vault, billing, id).await;
        states.push((seen.state, seen.attributes.names.len()));
    }
    states.sort_by_key(|(_, names)| *names);
    states
}

/// What is there after so many steps.
fn after(steps: usize) -> Vec<(State, usize)> {
    match steps {
        0 => vec![],
        1 => vec![(State::PreActive, 1)],
        2 | 3 => vec![(State::Active, 1)],
        4 => vec![(State::Active, 0), (State::Active, 1)],
        5 => vec![(State::Deprecated, 0), (State::Active, 1)],
        _ => vec![(State::Destroyed, 0), (State::Active, 1)],
    }
}

/// After a failure at step `at` everything is as before it or as after it, nothing is half-made, and the rest of the life goes on.
async fn must_go_on(edge: &mut Edge, billing: &Grants, at: usize, is_done: bool, mut id: Option<RowId>, restarts: bool) {
    if restarts {
        edge.restart().await;
    }
    let next = at + usize::from(is_done);
    assert_eq!(states(edge, billing).await, after(next), "{} failed", STEPS[at]);
    assert_eq!(swept(&edge.vault, 64).await, []);
    if is_done && id.is_none() {
        let unit = edge.vault.begin(SessionId(2));
        id = edge.vault.find(&unit, billing, Layer::L4, Vec::new(), |_| true).await.expect("the fakes are well again").pop();
    }
    if let Some((at, error)) = live(edge, billing, next, &mut id).await {
        panic!("{} fails again: {error}", STEPS[at]);
    }
    assert_eq!(states(edge, billing).await, after(STEPS.len()));
}

#[test]
fn each_commit_that_fails_leaves_the_old_state_or_the_new_one() {
    block_on(async {
        for how in [Fails::Before, Fails::After] {
            for restarts in [false, true] {
                for nth in 0.. {
                    let site = Site::found().await;
                    let mut edge = site.edge().await;
                    let billing = edge.billing().await;
                    *edge.store.failing.lock().expect("no test panicked with it") = Some((nth, how));
                    let mut id = None;
                    let Some((at, error)) = live(&edge, &billing, 0, &mut id).await else {
                        assert_eq!(nth, 6, "five steps with a commit, and the attribute key's");
                        break;
                    };
                    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
                    *edge.store.failing.lock().expect("no test panicked with it") = None;
                    // The first commit is the attribute key's, which is no object.
                    let is_done = how == Fails::After && nth > 0;
                    must_go_on(&mut edge, &billing, at, is_done, id, restarts).await;
                }
            }
        }
    });
}

#[test]
fn each_call_to_the_core_that_fails_leaves_the_old_state_and_a_retry_succeeds() {
    block_on(async {
        // A pool of one key is filled before each step that needs one.
        let settings = EdgeSettings { pool_keys: 1, ..EdgeSettings::default() };
        for restarts in [false, true] {
            let mut failed = Vec::new();
            for nth in 0.. {
                let site = Site::found().await;
                let mut edge = site.edge_with(settings).await;
                let billing = edge.billing().await;
                edge.upstream.fail_after(Some(nth));
                let mut id = None;
                let Some((at, error)) = live(&edge, &billing, 0, &mut id).await else {
                    assert!(edge.upstream.is_to_fail(), "a call failed unseen");
                    break;
                };
                assert!(matches!(error, Error::Unavailable { .. }), "{error}");
                failed.push(STEPS[at]);
                must_go_on(&mut edge, &billing, at, false, id, restarts).await;
            }
            assert_eq!(failed, ["create", "create", "rekey"], "the attribute key, the object, its replacement");
        }
    });
}

#[test]
fn each_call_to_the_core_that_fails_after_a_restart_fails_its_step_alone() {
    block_on(async {
        for nth in 0..2 {
            let site = Site::found().await;
            let mut edge = site.edge().await;
            let billing = edge.billing().await;
            let id = make(&edge.vault, &billing, named("k"), None).await.expect("the name is free");
            change(&edge.vault, &billing, id, Event::Activate).await.expect("a new key activates");
            edge.restart().await;
            edge.upstream.fail_after(Some(nth));
            let refused = encrypts(&edge.vault, &billing, id).await.expect_err("the core is down");
            assert!(matches!(refused, Error::Unavailable { .. }), "{refused}");
            encrypts(&edge.vault, &billing, id).await.expect("the core is back");
        }
    });
}

#[test]
fn a_wrong_number_of_wrapped_keys_makes_nothing() {
    block_on(async {
        for mood in [Mood::OneLess, Mood::Nothing, Mood::OneMore] {
            let site = Site::found().await;
            let edge = site.edge().await;
            let billing = edge.billing().await;
            let before = edge.store.rows().clone();
            edge.upstream.set(mood);
            let refused = make(&edge.vault, &billing, named("k"), None).await.expect_err("it is no answer");
            assert!(matches!(refused, Error::Unavailable { .. }), "{mood:?}: {refused}");
            assert_eq!(edge.upstream.take_calls().wraps, 1, "{mood:?}: it is not asked for again at once");
            assert!(edge.vault.tend().await.is_err(), "{mood:?}");
            assert_eq!(*edge.store.rows(), before, "{mood:?}");
            let lease = edge.upstream.lease().await.expect("the core is well");
            let randomness = Randomness::new(Arc::clone(&site.world.entropy) as Arc<dyn Entropy>);
            let refused = new_root(&*edge.upstream, &lease, &randomness).await.map(|_| ()).expect_err("it is no answer");
            assert!(matches!(refused, Error::Unavailable { .. }), "{mood:?}: {refused}");
            edge.upstream.set(Mood::Well);
            let id = make(&edge.vault, &billing, named("k"), None).await.expect("the core is well");
            view(&edge.vault, &billing, id).await;
        }
    });
}

#[test]
fn a_wrong_number_of_rewrapped_keys_changes_no_row() {
    block_on(async {
        for mood in [Mood::OneLess, Mood::Nothing, Mood::OneMore] {
            let site = Site::found().await;
            let edge = site.edge().await;
            let billing = edge.billing().await;
            let id = make(&edge.vault, &billing, named("k"), None).await.expect("the name is free");
            change(&edge.vault, &billing, id, Event::Activate).await.expect("a new key activates");
            let admin = crate::fakes::grants(&site.core, keys::policy::Role::TenantAdmin, "acme", "billing").await;
            let service = crate::fakes::grants(&site.core, keys::policy::Role::Service, "acme", "billing").await;
            rekey(&site.core, &admin, super::default_key(&site.core, &service).await).await.expect("a default key is replaced");
            edge.vault.renew_lease().await.expect("the core is well");
            edge.vault.tend().await.expect("the core is well");
            encrypts(&edge.vault, &billing, id).await.expect("a Deprecated L3 opens");
            let before = edge.store.rows().clone();
            edge.upstream.set(mood);
            assert!(matches!(edge.vault.tend().await, Err(Error::Unavailable { .. })), "{mood:?}");
            assert_eq!(*edge.store.rows(), before, "{mood:?}");
            edge.upstream.set(Mood::Well);
            encrypts(&edge.vault, &billing, id).await.expect("a Deprecated L3 opens");
            assert_eq!(edge.vault.tend().await.expect("the core is well").rewrapped, 1);
            encrypts(&edge.vault, &billing, id).await.expect("it is Active");
        }
    });
}

#[test]
fn a_key_that_is_not_the_one_that_was_wrapped_opens_nothing_and_is_not_kept() {
    block_on(async {
        for mood in [Mood::ShortKey, Mood::OtherKey, Mood::Forged] {
            let site = Site::found().await;
            let mut edge = site.edge().await;
            let billing = edge.billing().await;
            let id = make(&edge.vault, &billing, named("k"), None).await.expect("the name is free");
            change(&edge.vault, &billing, id, Event::Activate).await.expect("a new key activates");
            // As the object key.
            edge.restart().await;
            view(&edge.vault, &billing, id).await;
            edge.upstream.set(mood);
            let refused = encrypts(&edge.vault, &billing, id).await.expect_err("it is another key");
            assert!(matches!(refused, Error::Corrupt { .. }), "{mood:?}: {refused}");
            edge.upstream.set(Mood::Well);
            encrypts(&edge.vault, &billing, id).await.expect("the core is well");
            // As the attribute key.
            edge.restart().await;
            edge.upstream.set(mood);
            let refused = encrypts(&edge.vault, &billing, id).await.expect_err("it is another key");
            assert!(matches!(refused, Error::Corrupt { .. }), "{mood:?}: {refused}");
            edge.upstream.set(Mood::Well);
            encrypts(&edge.vault, &billing, id).await.expect("the core is well");
            // As the attribute key that is written under: the edge has an object key at hand and asks for this one alone.
            edge.restart().await;
            edge.vault.tend().await.expect("the core is well");
            make(&edge.vault, &edge.service("acme", "payroll").await.expect("it is served"), named("k"), None)
                .await
                .expect("the core is well");
            edge.upstream.set(mood);
            let refused = make(&edge.vault, &billing, named("other"), None).await.expect_err("it is another key");
            assert!(matches!(refused, Error::Corrupt { .. }), "{mood:?}: {refused}");
            edge.upstream.set(Mood::Well);
            make(&edge.vault, &billing, named("other"), None).await.expect("the core is well");
            edge.restart().await;
            view(&edge.vault, &billing, id).await;
            // As the group's own key.
            edge.upstream.set(mood);
            assert!(matches!(edge.try_restart().await.map(|_| ()), Err(Error::Corrupt { .. })), "{mood:?}");
        }
    });
}

#[test]
fn a_wrong_key_does_not_take_the_place_of_the_one_that_protects_an_object() {
    block_on(async {
        let site = Site::found().await;
        let edge = site.edge().await;
        let billing = edge.billing().await;
        let id = make(&edge.vault, &billing, named("k"), None).await.expect("the name is free");
        change(&edge.vault, &billing, id, Event::Activate).await.expect("a new key activates");
        let admin = crate::fakes::grants(&site.core, keys::policy::Role::TenantAdmin, "acme", "billing").await;
        let service = crate::fakes::grants(&site.core, keys::policy::Role::Service, "acme", "billing").await;
        rekey(&site.core, &admin, super::default_key(&site.core, &service).await).await.expect("a default key is replaced");
        edge.vault.renew_lease().await.expect("the core is well");
        let plain = encrypts(&edge.vault, &billing, id).await.expect("a Deprecated L3 opens");
        // It is noted as due, and its opened key is let go of.
        for is_disabled in [true, false] {
            site.disable("acme", is_disabled).await;
            edge.vault.renew_lease().await.expect("the core is well");
        }
        assert_eq!(edge.kept(), 0);
        let before = edge.row(id);
        edge.upstream.set(Mood::OtherKey);
        let tended = edge.vault.tend().await.expect("the core answers");
        assert_eq!((tended.rewrapped, tended.refused.iter().map(|finding| finding.row).collect::<Vec<_>>()), (0, vec![id]));
        assert_eq!(edge.row(id), before);
        edge.upstream.set(Mood::Well);
        assert_eq!(encrypts(&edge.vault, &billing, id).await.expect("it is Active"), plain);
    });
}

#[test]
fn a_core_that_refuses_is_asked_for_the_lease_again() {
    block_on(async {
        let site = Site::found().await;
        let mut edge = site.edge().await;
        let billing = edge.billing().await;
        let id = make(&edge.vault, &billing, named("k"), None).await.expect("the name is free");
        change(&edge.vault, &billing, id, Event::Activate).await.expect("a new key activates");
        edge.restart().await;
        edge.upstream.set(Mood::Refuses);
        let refused = encrypts(&edge.vault, &billing, id).await.expect_err("the core refuses");
        assert!(matches!(refused, Error::Withdrawn { .. }), "{refused}");
        edge.vault.check_lease().expect("one refusal is no verdict on the edge");
        assert!(matches!(edge.vault.tend().await, Err(Error::Withdrawn { .. })));
        assert!(matches!(edge.vault.check_lease(), Err(Error::Denied { .. })));

        // A new object does not wait for that: its L3 may have been replaced.
        edge.upstream.set(Mood::Well);
        edge.restart().await;
        edge.upstream.set(Mood::Refuses);
        let refused = make(&edge.vault, &billing, named("other"), None).await.expect_err("the core refuses");
        assert!(matches!(refused, Error::Withdrawn { .. }), "{refused}");
        assert!(matches!(edge.vault.check_lease(), Err(Error::Denied { .. })));
    });
}

#[test]
fn an_edge_does_not_begin_without_its_core_or_its_root() {
    block_on(async {
        let site = Site::found().await;
        let edge = site.edge().await;
        edge.upstream.set(Mood::Down);
        assert!(matches!(edge.try_restart().await.map(|_| ()), Err(Error::Unavailable { .. })));
        edge.upstream.set(Mood::Refuses);
        assert!(matches!(edge.try_restart().await.map(|_| ()), Err(Error::Withdrawn { .. })));
        edge.upstream.set(Mood::Well);
        let root = *edge.store.rows().keys().find(|id| id.layer == Layer::Integrity).expect("it was made");
        let whole = edge.store.rows().clone();
        for cut in 0..edge.row(root).material.expect("it has a key").len() {
            edge.store.edit(root, |row| row.material.as_mut().expect("it has a key").truncate(cut));
            let refused = edge.try_restart().await.map(|_| ()).expect_err("it is cut");
            assert!(matches!(refused, Error::Corrupt { .. } | Error::Withdrawn { .. }), "{cut}: {refused}");
            edge.store.rows().clone_from(&whole);
        }
        edge.store.edit(root, |row| row.header.bits = 128);
        assert!(matches!(edge.try_restart().await.map(|_| ()), Err(Error::Corrupt { .. })), "its MAC is its own");
    });
}

/// Makes a pair whose private half is named; returns both identifiers.
async fn make_pair(edge: &Edge, billing: &Grants) -> Result<(RowId, RowId), Error> {
    let vault = &edge.vault;
    let (private, public) = (vault.new_object_id()?, vault.new_object_id()?);
    let new = NewPair {
        kind: PairKind::Ec(Curve::P256),
        algorithm: Algorithm(6),
        private: (private, Attributes { extractable: true, ..named("k") }),
        public: (public, Attributes { extractable: true, ..Attributes::default() }),
    };
    let mut unit = vault.begin(SessionId(2));
    vault.create_pair(&mut unit, billing, new).await?;
    let _receipt = unit.commit().await?;
    Ok((private, public))
}

#[test]
fn a_pair_is_there_with_both_halves_or_not_at_all_whatever_fails() {
    block_on(async {
        for how in [Fails::Before, Fails::After] {
            for nth in 0..3 {
                let site = Site::found().await;
                let mut edge = site.edge().await;
                let billing = edge.billing().await;
                *edge.store.failing.lock().expect("no test panicked with it") = Some((nth, how));
                let made = make_pair(&edge, &billing).await;
                assert_eq!(made.is_err(), nth < 2, "the attribute key's commit, and the pair's: {made:?}");
                *edge.store.failing.lock().expect("no test panicked with it") = None;
                edge.restart().await;
                let is_there = nth == 2 || how == Fails::After && nth == 1;
                let expected: &[(State, usize)] = if is_there { &[(State::PreActive, 0), (State::PreActive, 1)] } else { &[] };
                assert_eq!(states(&edge, &billing).await, expected, "{nth} {how:?}");
                assert_eq!(swept(&edge.vault, 64).await, []);
                assert_eq!(make_pair(&edge, &billing).await.is_err(), is_there, "its name is taken, or free");
            }
        }
    });
}

#[test]
fn a_pair_for_which_the_core_wraps_no_second_key_is_not_made() {
    block_on(async {
        let settings = EdgeSettings { pool_keys: 1, ..EdgeSettings::default() };
        for nth in 0.. {
            let site = Site::found().await;
            let edge = site.edge_with(settings).await;
            let billing = edge.billing().await;
            edge.upstream.fail_after(Some(nth));
            let made = make_pair(&edge, &billing).await;
            if edge.upstream.is_to_fail() {
                assert_eq!((made.is_ok(), nth), (true, 3), "the attribute key and a key for each half");
                break;
            }
            assert!(matches!(made, Err(Error::Unavailable { .. })), "{made:?}");
            assert_eq!(states(&edge, &billing).await, []);
            let (private, public) = make_pair(&edge, &billing).await.expect("the core is there again");
            for (id, object_type, bytes) in [(private, ObjectType::PRIVATE_KEY, 121), (public, ObjectType::PUBLIC_KEY, 91)] {
                let header = view(&edge.vault, &billing, id).await.header;
                assert_eq!((header.object_type, header.algorithm, header.bits), (object_type, Algorithm(6), 256));
                let mut unit = edge.vault.begin(SessionId(2));
                let authorized = billing.check::<Get>(&header).expect("it is one's own");
                let (length, _) = edge.vault.reveal(&mut unit, authorized, |bytes, _| bytes.len()).await.expect("it opens");
                assert_eq!(length, bytes);
                unit.undo();
            }
        }
    });
}

/// Replaces a pair; returns the new halves.
async fn rekey_pair(edge: &Edge, billing: &Grants, (private, public): (RowId, RowId)) -> Result<[RowId; 2], Error> {
    let vault = &edge.vault;
    let mut unit = vault.begin(SessionId(2));
    let halves = [
        billing.check::<ReKeyKeyPair>(&vault.header(&unit, billing, private).await?)?,
        billing.check::<ReKeyKeyPair>(&vault.header(&unit, billing, public).await?)?,
    ];
    let ids = [vault.new_object_id()?, vault.new_object_id()?];
    let kind = PairKind::Ec(Curve::P256);
    let new = vault.rekey_pair(&mut unit, kind, halves, ids, |_, copied, _| Ok::<_, Error>(copied)).await?;
    assert_eq!(new.map(|view| view.header.id), ids);
    let _receipt = unit.commit().await?;
    Ok(ids)
}

#[test]
fn a_pair_is_replaced_with_both_halves_or_not_at_all_whatever_fails() {
    block_on(async {
        let settings = EdgeSettings { pool_keys: 1, ..EdgeSettings::default() };
        for how in [Fails::Before, Fails::After] {
            let site = Site::found().await;
            let mut edge = site.edge().await;
            let billing = edge.billing().await;
            let old = make_pair(&edge, &billing).await.expect("core and store are well");
            *edge.store.failing.lock().expect("no test panicked with it") = Some((0, how));
            assert!(rekey_pair(&edge, &billing, old).await.is_err());
            *edge.store.failing.lock().expect("no test panicked with it") = None;
            edge.restart().await;
            let is_there = how == Fails::After;
            let replaced = [old.0, old.1].map(|id| view(&edge.vault, &billing, id));
            for half in replaced {
                assert_eq!(half.await.attributes.links.replacement.is_some(), is_there, "{how:?}");
            }
            assert_eq!(states(&edge, &billing).await.len(), if is_there { 4 } else { 2 });
            let again = rekey_pair(&edge, &billing, old).await;
            assert_eq!(matches!(again, Err(Error::Replaced { .. })), is_there, "{again:?}");
            assert_eq!(swept(&edge.vault, 64).await, []);
        }
        // Each call to the core may be the one that fails.
        for nth in 0.. {
            let site = Site::found().await;
            let edge = site.edge_with(settings).await;
            let billing = edge.billing().await;
            let old = make_pair(&edge, &billing).await.expect("core and store are well");
            edge.upstream.fail_after(Some(nth));
            let done = rekey_pair(&edge, &billing, old).await;
            if edge.upstream.is_to_fail() {
                assert!(done.is_ok() && nth > 0, "{nth}: {done:?}");
                break;
            }
            assert!(matches!(done, Err(Error::Unavailable { .. })), "{nth}: {done:?}");
            assert_eq!(view(&edge.vault, &billing, old.0).await.attributes.links.replacement, None);
            let [private, public] = rekey_pair(&edge, &billing, old).await.expect("the core is there again");
            for (id, was) in [(private, old.0), (public, old.1)] {
                let (new, old) = (view(&edge.vault, &billing, id).await, view(&edge.vault, &billing, was).await);
                assert_eq!((new.header.object_type, new.header.bits), (old.header.object_type, old.header.bits));
                assert_eq!((new.header.version, new.header.chain), (old.header.version.next(), old.header.chain));
                assert_eq!((new.attributes.links.replaced, old.attributes.links.replacement), (Some(was), Some(id)));
                assert_ne!(new.attributes.digest, old.attributes.digest);
            }
        }
    });
}

#[test]
fn a_pair_of_which_either_half_changed_meanwhile_is_not_replaced() {
    block_on(async {
        let site = Site::found().await;
        let edge = site.edge().await;
        let billing = edge.billing().await;
        let old = make_pair(&edge, &billing).await.expect("core and store are well");
        for changed in [old.0, old.1] {
            let vault = &edge.vault;
            let mut unit = vault.begin(SessionId(2));
            let seen =
                async |id| billing.check::<ReKeyKeyPair>(&vault.header(&unit, &billing, id).await.expect("its own")).expect("its own");
            let halves = [seen(old.0).await, seen(old.1).await];
            edit(vault, &billing, changed, |attributes| attributes.sensitive = true).await.expect("its own");
            let ids = [vault.new_object_id().expect("random"), vault.new_object_id().expect("random")];
            let kind = PairKind::Ec(Curve::P256);
            let raced = vault.rekey_pair(&mut unit, kind, halves, ids, |_, copied, _| Ok::<_, Error>(copied)).await;
            assert!(matches!(raced, Err(Error::Raced)), "{raced:?}");
        }
    });
}

/// Keeps a Template; returns its identifier.
async fn make_template(edge: &Edge, billing: &Grants) -> RowId {
    let mut unit = edge.vault.begin(SessionId(2));
    let material = Some(Bytes::init_with(0, |_| ()).expect("the arena has room"));
    let attributes = named("usual");
    let new = NewObject { object_type: ObjectType::TEMPLATE, algorithm: Algorithm::NONE, bits: 0, attributes, material };
    let made = edge.vault.create_object(&mut unit, billing, new).await.expect("the name is free");
    let _receipt = unit.commit().await.expect("the fakes are well");
    made.header.id
}

#[test]
fn a_template_that_is_destroyed_is_gone_with_its_name_or_there_with_it_whatever_fails() {
    block_on(async {
        for how in [None, Some(Fails::Before), Some(Fails::After)] {
            let site = Site::found().await;
            let mut edge = site.edge().await;
            let billing = edge.billing().await;
            let id = make_template(&edge, &billing).await;
            let kept = edge.row(id).encode();
            *edge.store.failing.lock().expect("no test panicked with it") = how.map(|how| (0, how));
            let done = change(&edge.vault, &billing, id, Event::Destroy).await;
            assert_eq!(done.is_err(), how.is_some(), "{done:?}");
            *edge.store.failing.lock().expect("no test panicked with it") = None;
            edge.restart().await;
            let is_there = how == Some(Fails::Before);
            assert_eq!(states(&edge, &billing).await.len(), usize::from(is_there), "{how:?}");
            let names = edge.store.rows().keys().filter(|id| id.layer == Layer::Name).count();
            assert_eq!(names, usize::from(is_there), "{how:?}");
            assert_eq!(swept(&edge.vault, 64).await, []);
            if !is_there {
                // A store that brings it back is found out.
                edge.store.rows().insert(id, kept);
                edge.restart().await;
                assert_eq!(swept(&edge.vault, 64).await.len(), 1, "{how:?}");
                edge.store.rows().remove(&id);
                make_template(&edge, &billing).await;
            }
        }
    });
}
