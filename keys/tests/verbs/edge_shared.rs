//! Several edges on one store: what one changes the other does not use for longer than a moment, what is given once is given once, and no change of the
//! one is damage to the other.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_executor::block_on;
use keys::Error;
use keys::attributes::{Attributes, Name};
use keys::edge::NewObject;
use keys::freshness::{BUCKETS, bucket_of, bucket_row};
use keys::id::{Layer, RowId, SessionId};
use keys::lifecycle::{Event, State};
use keys::policy::verb::{Activate, Encrypt};
use keys::policy::{Action, Grants};
use keys::row::{Algorithm, ObjectType};
use keys::sharing::{HEARD_FOR, NODES_MAX, node_row, part_row};
use keys::vault::Vault;

use super::{edit, rekey_l3, swept, walked};
use crate::fakes::Call;
use crate::fakes::edge::{Edge, EdgeSettings, Site, make, node};
use crate::{change, decrypts, encrypts, named};

/// An Active key, made at one edge and used at both, so that both keep it.
async fn warm(first: &Edge, second: &Edge, own: &Grants, name: &str) -> RowId {
    let id = make(&first.vault, own, named(name), None).await.expect("the name is free");
    change(&first.vault, own, id, Event::Activate).await.expect("it is new");
    hear(second).await;
    let made = encrypts(&first.vault, own, id).await.expect("it is Active");
    assert_eq!(encrypts(&second.vault, own, id).await.expect("the other edge opens it"), made);
    id
}

async fn hear(edge: &Edge) {
    edge.vault.hear().await.expect("the store is well");
}

fn is_destroyed<T>(used: &Result<T, Error>) -> bool {
    matches!(used, Err(Error::WrongState { is: State::Destroyed, .. }))
}

async fn destroy(edge: &Edge, own: &Grants, id: RowId) {
    change(&edge.vault, own, id, Event::Deprecate).await.expect("it is Active");
    change(&edge.vault, own, id, Event::Destroy).await.expect("it is Deactivated");
}

#[test]
fn what_one_edge_destroys_the_other_refuses_when_it_has_heard_or_after_a_time() {
    block_on(async {
        let site = Site::found().await;
        let (first, second) = site.two_edges().await;
        let own = first.billing().await;
        for hears in [true, false] {
            let id = warm(&first, &second, &own, &format!("k{hears}")).await;
            hear(&second).await;
            destroy(&first, &own, id).await;
            assert!(is_destroyed(&decrypts(&first.vault, &own, id).await));
            // The bound: until then it may go on with what it has.
            second.pace.pass(HEARD_FOR - Duration::from_millis(1));
            assert!(decrypts(&second.vault, &own, id).await.is_ok());
            if hears {
                hear(&second).await;
            } else {
                second.pace.pass(Duration::from_millis(1));
            }
            assert!(is_destroyed(&decrypts(&second.vault, &own, id).await), "{hears}");
        }
    });
}

#[test]
fn an_edge_that_does_not_hear_the_others_asks_the_store_and_fails_with_it() {
    block_on(async {
        let site = Site::found().await;
        let (first, second) = site.two_edges().await;
        let own = first.billing().await;
        let id = warm(&first, &second, &own, "k").await;
        hear(&second).await;
        second.store.is_away.store(true, Ordering::Relaxed);
        assert!(encrypts(&second.vault, &own, id).await.is_ok(), "for a moment it goes on");
        assert!(second.vault.hear().await.is_err());
        second.pace.pass(HEARD_FOR);
        assert!(matches!(encrypts(&second.vault, &own, id).await, Err(Error::Unavailable { .. })));
        second.store.is_away.store(false, Ordering::Relaxed);
        assert!(encrypts(&second.vault, &own, id).await.is_ok(), "the store tells");
        hear(&second).await;
        second.store.is_away.store(true, Ordering::Relaxed);
        assert!(encrypts(&second.vault, &own, id).await.is_ok(), "it is warm again");
    });
}

/// What was read before another changed it must not be kept by who comes after it was heard of.
#[test]
fn what_is_read_while_another_changes_it_is_not_kept() {
    block_on(async {
        let site = Site::found().await;
        let (first, second) = site.two_edges().await;
        let own = first.billing().await;
        let id = warm(&first, &second, &own, "k").await;
        second.pace.pass(HEARD_FOR);
        let header = second.vault.header(&second.vault.begin(SessionId(2)), &own, id).await.expect("it is there");
        let (store, vault) = (Arc::clone(&second.store), Arc::clone(&second.vault));
        let (other, grants) = (Arc::clone(&first.vault), own);
        store.meanwhile(Call::Retrieve(Layer::L4), async move {
            change(&other, &grants, id, Event::Compromise).await.expect("it is Active");
            vault.hear().await.expect("the store is well");
        });
        // It was read before the change, so it is used this once.
        let unit = second.vault.begin(SessionId(2));
        let used = second.vault.open(&unit, own.check::<Encrypt>(&header).expect("it is its own"), |_, _| Ok(())).await;
        assert!(used.is_ok(), "{used:?}");
        assert!(matches!(encrypts(&second.vault, &own, id).await, Err(Error::WrongState { is: State::Compromised, .. })));
    });
}

#[test]
fn a_change_on_top_of_a_kept_one_that_is_old_is_made_at_the_second_try() {
    block_on(async {
        let site = Site::found().await;
        let (first, second) = site.two_edges().await;
        let own = first.billing().await;
        let id = warm(&first, &second, &own, "k").await;
        hear(&second).await;
        edit(&first.vault, &own, id, |attributes| attributes.names.push(Name { value: "other".to_owned(), kind: 1, index: 1 }))
            .await
            .expect("it is edited");
        let tried = change(&second.vault, &own, id, Event::Deprecate).await;
        assert!(matches!(tried, Err(Error::Raced)), "{tried:?}");
        change(&second.vault, &own, id, Event::Deprecate).await.expect("it has read the row anew");
        assert_eq!(swept(&first.vault, 64).await, []);
        assert_eq!(swept(&second.vault, 64).await, []);
    });
}

#[test]
fn a_name_that_both_claim_at_once_belongs_to_one() {
    block_on(async {
        let site = Site::found().await;
        let (first, second) = site.two_edges().await;
        let own = first.billing().await;
        let (other, grants) = (Arc::clone(&first.vault), own);
        // The second has found the name free when the first takes it.
        second.store.meanwhile(Call::Retrieve(Layer::Name), async move {
            make(&other, &grants, named("k"), None).await.expect("the name is free");
        });
        let tried = make(&second.vault, &own, named("k"), None).await;
        assert!(matches!(tried, Err(Error::Raced)), "{tried:?}");
        assert!(matches!(make(&second.vault, &own, named("k"), None).await, Err(Error::NameTaken { .. })));
        assert_eq!(second.store.rows().keys().filter(|id| id.layer == Layer::L4).count(), 1);
    });
}

#[test]
fn names_go_to_and_fro_between_edges_without_an_alarm() {
    block_on(async {
        let site = Site::found().await;
        let (first, second) = site.two_edges().await;
        let own = first.billing().await;
        for round in 0..6 {
            let (maker, other) = if round % 2 == 0 { (&first, &second) } else { (&second, &first) };
            let id = make(&maker.vault, &own, named("k"), None).await.expect("the name is free");
            // Both have seen the claim, which is gone, or another's, the next time.
            assert_eq!((swept(&first.vault, 64).await, swept(&second.vault, 64).await), (vec![], vec![]), "{round}");
            change(&other.vault, &own, id, Event::Destroy).await.expect("it is Pre-Active");
            if round % 3 == 0 {
                assert_eq!((swept(&first.vault, 64).await, swept(&second.vault, 64).await), (vec![], vec![]), "{round}");
            }
        }
    });
}

#[test]
fn a_template_that_another_edge_has_destroyed_is_no_loss() {
    block_on(async {
        let site = Site::found().await;
        let (first, second) = site.two_edges().await;
        let own = first.billing().await;
        let attributes = Attributes { usage_mask: 0, ..named("t") };
        let material = Some(secret::Bytes::init_with(0, |_| ()).expect("the arena has room"));
        let new = NewObject { object_type: ObjectType::TEMPLATE, algorithm: Algorithm::NONE, bits: 0, attributes, material };
        let mut unit = first.vault.begin(SessionId(2));
        let id = first.vault.create_object(&mut unit, &own, new).await.expect("the name is free").header.id;
        let _receipt = unit.commit().await.expect("the fakes are well");
        let looked = |edge: &Edge| {
            let vault = Arc::clone(&edge.vault);
            async move { vault.header(&vault.begin(SessionId(2)), &own, id).await }
        };
        assert!(looked(&second).await.is_ok());
        change(&first.vault, &own, id, Event::Destroy).await.expect("it is a template");
        hear(&second).await;
        assert!(matches!(looked(&second).await, Err(Error::NotFound)));
        assert_eq!(swept(&second.vault, 64).await, []);
    });
}

#[test]
fn a_change_of_more_than_can_be_told_lets_go_of_everything() {
    block_on(async {
        let site = Site::found().await;
        let (first, second) = site.two_edges().await;
        let own = first.billing().await;
        let (mut ids, mut unit) = (Vec::new(), first.vault.begin(SessionId(2)));
        for _ in 0..260 {
            let attributes = Attributes { usage_mask: 0x0C, ..Attributes::default() };
            let (object_type, algorithm) = (ObjectType::SYMMETRIC_KEY, Algorithm::AES);
            let new = NewObject { object_type, algorithm, bits: 256, attributes, material: None };
            ids.push(first.vault.create_object(&mut unit, &own, new).await.expect("the fakes are well").header.id);
        }
        let _receipt = unit.commit().await.expect("the fakes are well");
        hear(&second).await;
        for id in &ids {
            assert!(matches!(encrypts(&second.vault, &own, *id).await, Err(Error::WrongState { is: State::PreActive, .. })));
        }
        let mut unit = first.vault.begin(SessionId(2));
        for id in &ids {
            let header = first.vault.header(&unit, &own, *id).await.expect("it is there");
            let authorized = own.check::<Activate>(&header).expect("it is its own");
            let activate = |attributes: &mut Attributes, now| attributes.dates.activation = Some(now);
            first.vault.change(&mut unit, authorized, Event::Activate, activate).await.expect("it is new");
        }
        let _receipt = unit.commit().await.expect("the fakes are well");
        hear(&second).await;
        for id in &ids {
            encrypts(&second.vault, &own, *id).await.expect("it is Active");
        }
    });
}

#[test]
fn each_edge_sweeps_without_an_alarm_while_the_other_changes_keys() {
    let site = block_on(Site::found());
    let (first, second) = block_on(site.two_edges());
    let own = block_on(first.billing());
    let is_done = AtomicBool::new(false);
    let works = |edge: &Edge, name: &str| {
        for n in 0..40 {
            block_on(async {
                let id = make(&edge.vault, &own, named(&format!("{name}{n}")), None).await.expect("the name is free");
                change(&edge.vault, &own, id, Event::Activate).await.expect("it is new");
                if n % 2 == 0 {
                    destroy(edge, &own, id).await;
                }
            });
        }
    };
    let sweeps = |edge: &Edge| {
        let mut passes = 0;
        while passes < 2 || !is_done.load(Ordering::Acquire) {
            assert_eq!(block_on(swept(&edge.vault, 50)), []);
            passes += 1;
        }
    };
    std::thread::scope(|scope| {
        let one = scope.spawn(|| works(&first, "one"));
        let other = scope.spawn(|| works(&second, "other"));
        scope.spawn(|| sweeps(&first));
        scope.spawn(|| sweeps(&second));
        let ended = (one.join(), other.join());
        is_done.store(true, Ordering::Release);
        assert!(ended.0.is_ok() && ended.1.is_ok());
    });
    for edge in [&first, &second] {
        assert_eq!(block_on(swept(&edge.vault, 50)), []);
    }
    let keys = first.store.rows().keys().filter(|id| id.layer == Layer::L4).count();
    assert_eq!(keys, 80, "no key was lost");
    assert_eq!(block_on(compared(&second.vault)).len(), usize::from(BUCKETS), "a quiet store is compared as a whole");
}

async fn compared(vault: &Vault) -> BTreeSet<u16> {
    let (mut cursor, mut compared) = (None, BTreeSet::new());
    loop {
        let swept = vault.sweep(cursor, 512).await.expect("the store is well");
        compared.extend(swept.compared);
        cursor = swept.next;
        if cursor.is_none() {
            return compared;
        }
    }
}

#[test]
fn what_the_store_rolls_back_or_loses_both_edges_find() {
    block_on(async {
        let site = Site::found().await;
        let (mut first, mut second) = site.two_edges().await;
        let own = first.billing().await;
        let id = make(&first.vault, &own, named("k"), None).await.expect("the name is free");
        let bucket = bucket_of(first.vault.registry().integrity(), id).expect("an object is in a bucket");
        let old = first.store.rows()[&id].clone();
        // The newest state is the second's; the bucket's digest is in two parts.
        change(&second.vault, &own, id, Event::Activate).await.expect("it is new");
        let parts = [1, 2].map(|number| part_row(bucket, node(number)));
        assert!(parts.iter().all(|part| first.store.rows().contains_key(part)));
        let new = first.store.rows().insert(id, old).expect("it is there");
        for edge in [&mut first, &mut second] {
            // One that has seen the new state knows; one that has not, adds up.
            edge.restart().await;
            let found: Vec<_> = swept(&edge.vault, 64).await.into_iter().map(|finding| finding.row).collect();
            assert_eq!(found, [bucket_row(bucket)]);
        }
        first.store.rows().insert(id, new.clone());
        for edge in [&first, &second] {
            assert_eq!(swept(&edge.vault, 64).await, []);
        }
        // Another one's part, as it was before.
        first.store.rows().remove(&id);
        for edge in [&first, &second] {
            let found: Vec<_> = swept(&edge.vault, 64).await.into_iter().map(|finding| finding.row).collect();
            assert_eq!(found, [bucket_row(bucket)]);
        }
        first.store.rows().insert(id, new);
        first.store.rows().remove(&parts[0]);
        for edge in [&first, &second] {
            let found: Vec<_> = swept(&edge.vault, 64).await.into_iter().map(|finding| finding.row).collect();
            assert_eq!(found, [bucket_row(bucket)]);
        }
    });
}

#[test]
fn an_edge_whose_neighbour_is_hidden_or_old_uses_nothing_that_it_keeps() {
    block_on(async {
        let site = Site::found().await;
        let (first, second) = site.two_edges().await;
        let own = first.billing().await;
        let _key = warm(&first, &second, &own, "k").await;
        let told = node_row(node(1));
        let old = first.store.rows()[&told].clone();
        make(&first.vault, &own, named("other"), None).await.expect("the name is free");
        hear(&second).await;
        let new = first.store.rows().insert(told, old).expect("it is there");
        assert!(matches!(second.vault.hear().await, Err(Error::Corrupt { .. })));
        first.store.rows().remove(&told);
        assert!(matches!(second.vault.hear().await, Err(Error::Corrupt { .. })));
        first.store.rows().insert(told, new);
        hear(&second).await;
    });
}

#[test]
fn an_edge_that_does_not_know_that_it_shares_does_not_open() {
    block_on(async {
        let site = Site::found().await;
        let (first, second) = site.two_edges().await;
        let told = site.edge_of("west", &first.store, EdgeSettings::default()).await;
        assert!(matches!(told.map(|_| ()), Err(Error::Denied { why }) if why.contains("edge.shared")));
        let joined = |edge: &Edge| edge.audit.records().iter().filter(|record| record.action == Action::JoinKeystore).count();
        // The first has made the store, and a node that begins again is not another one.
        let (mut first, mut second) = (first, second);
        first.restart().await;
        second.restart().await;
        assert_eq!((joined(&first), joined(&second)), (0, 1));
        for number in 3..=u8::try_from(NODES_MAX).expect("it is small") {
            let settings = EdgeSettings { shared_as: Some(node(number)), ..EdgeSettings::default() };
            site.edge_of("west", &first.store, settings).await.expect("there is room");
        }
        let settings = EdgeSettings { shared_as: Some(node(200)), ..EdgeSettings::default() };
        let full = site.edge_of("west", &first.store, settings).await;
        assert!(matches!(full.map(|_| ()), Err(Error::Denied { why }) if why.contains("another database")));
        hear(&first).await;
    });
}

#[test]
fn two_walks_at_once_bring_every_object_under_the_newest_l3() {
    let site = block_on(Site::found());
    let (first, second) = block_on(site.two_edges());
    let own = block_on(first.billing());
    let mut made = Vec::new();
    for number in 0..40 {
        let maker = if number % 2 == 0 { &first } else { &second };
        made.push(block_on(warm(maker, &first, &own, &format!("k{number}"))));
    }
    block_on(rekey_l3(&site.core));
    for edge in [&first, &second] {
        block_on(edge.vault.renew_lease()).expect("the core is well");
    }
    let moved = std::thread::scope(|scope| {
        let walks = [&first, &second].map(|edge| scope.spawn(|| block_on(walked(&edge.vault, 4))));
        walks.map(|walk| walk.join().expect("it does not panic"))
    });
    assert!(moved.iter().all(|(_, refused)| refused.is_empty()), "{moved:?}");
    assert_eq!(moved.iter().map(|(moved, _)| moved).sum::<usize>(), 41, "40 objects and their attribute key, each moved by one: {moved:?}");
    for edge in [&first, &second] {
        block_on(hear(edge));
        for id in &made {
            assert_eq!(edge.row(*id).header.parent.version.0, 2);
            assert!(block_on(encrypts(&edge.vault, &own, *id)).is_ok());
        }
        assert_eq!(block_on(swept(&edge.vault, 64)), []);
    }
}

/// A lone edge that is told to share goes on with what it has, and others may come.
#[test]
fn an_edge_that_was_alone_begins_to_share() {
    block_on(async {
        let site = Site::found().await;
        let lone = site.edge().await;
        let own = lone.billing().await;
        let id = make(&lone.vault, &own, named("k"), None).await.expect("the name is free");
        assert!(lone.store.rows().keys().all(|id| id.layer != Layer::Bucket || id.uuid.as_u128() < u128::from(BUCKETS)));
        assert!(!lone.vault.is_shared().await.expect("the store is well"));
        let sharing = |number| EdgeSettings { shared_as: Some(node(number)), ..EdgeSettings::default() };
        let first = site.edge_of("west", &lone.store, sharing(1)).await.expect("it is the same store");
        assert!(first.vault.is_shared().await.expect("the store is well"));
        let second = site.edge_of("west", &lone.store, sharing(2)).await.expect("it is the same store");
        change(&second.vault, &own, id, Event::Destroy).await.expect("it is Pre-Active");
        for edge in [&first, &second] {
            assert_eq!(swept(&edge.vault, 64).await, []);
        }
    });
}
