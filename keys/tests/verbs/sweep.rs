//! The background sweep: what is wrong in the store is named before anybody asks for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Waker};

use futures_executor::block_on;
use keys::freshness::{BUCKETS, bucket_of, bucket_row};
use keys::id::{Layer, RowId};
use keys::lifecycle::Event;
use keys::policy::Role;

use super::{edit, rekey, swept};
use crate::fakes::{Call, World, grants, settle};
use crate::{change, create, named};

#[test]
fn a_sound_store_gives_no_alarm_in_steps_of_any_size() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let id = create(&vault, &service, named("k")).await.expect("the name is free");
        change(&vault, &admin, id, Event::Activate).await.expect("a new key activates");
        rekey(&vault, &admin, id).await.expect("it is the newest");
        change(&vault, &admin, id, Event::Destroy).await.expect("a Deactivated key is destroyed");
        let again = world.unseal().await.expect("the roots open");
        for (vault, limit) in [(&vault, 1), (&vault, 1000), (&again, 3), (&again, 0)] {
            assert_eq!(swept(vault, limit).await, [], "{limit}");
        }
    });
}

#[test]
fn a_commit_in_the_middle_of_a_pass_is_no_alarm() {
    block_on(async {
        let (_world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let id = create(&vault, &service, named("k0")).await.expect("the name is free");
        let (mut cursor, mut steps, mut compared) = (None, 0, BTreeSet::new());
        loop {
            let swept = vault.sweep(cursor, 16).await.expect("the store is well");
            assert_eq!(swept.findings, []);
            compared.extend(swept.compared);
            cursor = swept.next;
            if cursor.is_none() {
                break;
            }
            steps += 1;
            if steps < 10 {
                create(&vault, &service, named(&format!("k{steps}"))).await.expect("the name is free");
            }
            if steps == 2 {
                change(&vault, &admin, id, Event::Destroy).await.expect("a Pre-Active key is destroyed");
            }
        }
        assert_eq!(compared.len(), usize::from(BUCKETS), "buckets that changed were left out");
        assert!(steps > 5);
    });
}

/// A busy bucket changes in every pass, so it has to be compared in one.
#[test]
fn a_row_that_was_never_seen_is_missed_in_a_bucket_that_changes_in_every_pass() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (_admin, service) = settle(&vault, "acme", "billing").await;
        let mut by_bucket = BTreeMap::new();
        let (mut lost, mut number, mut busy) = (None, 0, None);
        while busy.is_none() {
            number += 1;
            let id = create(&vault, &service, named(&format!("k{number}"))).await.expect("the name is free");
            let bucket = bucket_of(vault.registry().integrity(), id).expect("a key is in a bucket");
            if let Some(other) = by_bucket.insert(bucket, id) {
                (lost, busy) = (Some(other), Some((bucket, id)));
            }
        }
        let (lost, (bucket, busy)) = (lost.expect("it was found"), busy.expect("it was found"));
        // A node that has just been unsealed, and a key that it has never seen: that one may be lost, or not.
        for is_lost in [false, true] {
            if is_lost {
                world.store.rows().remove(&lost);
            }
            let again = world.unseal().await.expect("the roots open");
            let admin = grants(&again, Role::TenantAdmin, "acme", "billing").await;
            let (mut cursor, mut findings, mut compared) = (None, Vec::new(), BTreeSet::new());
            let mut edits = 0;
            loop {
                let step = again.sweep(cursor, 512).await.expect("the store is well");
                findings.extend(step.findings);
                compared.extend(step.compared);
                cursor = step.next;
                if cursor.is_none() {
                    break;
                }
                if edits < 3 {
                    edits += 1;
                    edit(&again, &admin, busy, |attributes| attributes.usage_mask ^= 4).await.expect("it is edited");
                }
            }
            assert!(compared.contains(&bucket), "{}", compared.len());
            let found: Vec<_> = findings.iter().map(|finding| finding.row).collect();
            assert_eq!(found, if is_lost { vec![bucket_row(bucket)] } else { Vec::new() }, "{findings:?}");
        }
    });
}

#[test]
fn sweeping_while_others_change_keys_gives_no_alarm() {
    let (_world, vault) = block_on(World::found());
    let (admin, service) = block_on(settle(&vault, "acme", "billing"));
    let is_done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..40 {
                block_on(async {
                    let id = create(&vault, &service, named(&format!("k{n}"))).await.expect("the name is free");
                    change(&vault, &admin, id, Event::Activate).await.expect("a new key activates");
                    let new = rekey(&vault, &admin, id).await.expect("it is the newest").header.id;
                    change(&vault, &admin, new, Event::Deprecate).await.expect("an Active key is revoked");
                    change(&vault, &admin, new, Event::Destroy).await.expect("a Deactivated key is destroyed");
                });
            }
            is_done.store(true, std::sync::atomic::Ordering::Release);
        });
        let mut passes = 0;
        while passes == 0 || !is_done.load(std::sync::atomic::Ordering::Acquire) {
            assert_eq!(block_on(swept(&vault, 50)), []);
            passes += 1;
        }
    });
}

/// A node that had read a claim which was given up before it noted what it had read took the claim for lost, until its next start: a false alarm, and
/// nobody got that name any more.
#[test]
fn a_claim_that_is_given_up_while_it_is_read_is_not_missed_afterwards() {
    let (world, vault) = block_on(World::found());
    let (admin, service) = block_on(settle(&vault, "acme", "billing"));
    for is_seen in [true, false] {
        let id = block_on(create(&vault, &service, named("k"))).expect("the name is free");
        // After an unseal the node has not seen the claim yet.
        let vault = if is_seen { Arc::clone(&vault) } else { block_on(world.unseal()).expect("the roots open") };
        let (other, admin) = (Arc::clone(&vault), admin);
        world.store.meanwhile(Call::Retrieve(Layer::Name), async move {
            change(&other, &admin, id, Event::Destroy).await.expect("a Pre-Active key is destroyed");
        });
        assert_eq!(block_on(swept(&vault, 50)), [], "{is_seen}");
        assert_eq!(block_on(swept(&vault, 50)), [], "{is_seen}");
        let id = block_on(create(&vault, &service, named("k"))).expect("the name is free again");
        assert_eq!(block_on(swept(&vault, 50)), [], "{is_seen}");
        block_on(change(&vault, &block_on(grants(&vault, Role::TenantAdmin, "acme", "billing")), id, Event::Destroy))
            .expect("the next is as this one");
    }
}

/// A claim that was gone from the store, but not yet from what the node has seen, was taken for lost.
#[test]
fn a_claim_is_not_missed_between_the_stores_commit_and_the_writers_note_of_it() {
    let (world, vault) = block_on(World::found());
    let (admin, service) = block_on(settle(&vault, "acme", "billing"));
    let id = block_on(create(&vault, &service, named("k"))).expect("the name is free");
    let (is_committed, committed) = mpsc::channel();
    let (go_on, gone_on) = mpsc::channel::<()>();
    let other = Arc::clone(&vault);
    world.store.meanwhile(Call::Commit, async move {
        is_committed.send(()).expect("the search waits");
        // The test says when, or has failed.
        let _gone_on = gone_on.recv();
    });
    // The sweep has the claim's identifier from its search; when it reads it, the claim is gone.
    world.store.meanwhile(Call::Find(Layer::Name), async move {
        std::thread::spawn(move || block_on(change(&other, &admin, id, Event::Destroy)).map(drop));
        committed.recv().expect("a Pre-Active key is destroyed");
    });
    let (mut cursor, mut findings, mut context) = (None, Vec::new(), Context::from_waker(Waker::noop()));
    loop {
        let mut step = Box::pin(vault.sweep(cursor, 1000));
        let swept = match step.as_mut().poll(&mut context) {
            Poll::Ready(swept) => swept,
            // It waits for the writer, so that has to go on.
            Poll::Pending => {
                go_on.send(()).expect("the writer waits");
                block_on(step)
            }
        };
        let swept = swept.expect("the store is well");
        findings.extend(swept.findings);
        cursor = swept.next;
        if cursor.is_none() {
            break;
        }
    }
    drop(go_on);
    assert_eq!(findings, []);
}

#[test]
fn any_flipped_byte_of_a_key_is_found_and_named() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (_admin, service) = settle(&vault, "acme", "billing").await;
        let id = create(&vault, &service, named("k")).await.expect("the name is free");
        let sound = world.store.rows()[&id].clone();
        for at in (0..sound.len()).step_by(sound.len() / 12) {
            let mut damaged = sound.clone();
            damaged[at] ^= 0x10;
            world.store.rows().insert(id, damaged);
            // A node that has seen the row names it; one that never did may only tell the bucket.
            let findings = swept(&vault, 100).await;
            assert!(findings.iter().any(|finding| finding.row == id), "byte {at}: {findings:?}");
            let again = world.unseal().await.expect("the roots open");
            assert!(!swept(&again, 100).await.is_empty(), "byte {at}");
        }
        world.store.rows().insert(id, sound);
        assert_eq!(swept(&vault, 100).await, []);
    });
}

#[test]
fn rows_that_vanish_or_come_back_old_are_found_across_a_restart() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let id = create(&vault, &service, named("k")).await.expect("the name is free");
        let old = world.store.rows()[&id].clone();
        change(&vault, &admin, id, Event::Activate).await.expect("a new key activates");
        world.store.rows().insert(id, old);
        let again = world.unseal().await.expect("the roots open");
        let findings = swept(&again, 100).await;
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(findings[0].row.layer, Layer::Bucket, "an older row is sound by itself");
        assert_eq!(swept(&vault, 100).await.iter().map(|finding| finding.row).collect::<Vec<_>>(), [id]);
        world.store.rows().remove(&id);
        let again = world.unseal().await.expect("the roots open");
        assert_eq!(swept(&again, 100).await.len(), 1);
        assert_eq!(swept(&vault, 100).await.iter().map(|finding| finding.row).collect::<Vec<_>>(), [id]);
    });
}

#[test]
fn what_is_lost_while_its_bucket_changes_is_found_if_it_was_seen() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let id = create(&vault, &service, named("k")).await.expect("the name is free");
        assert_eq!(swept(&vault, 100).await, []);
        let first = vault.sweep(None, 4096).await.expect("the store is well");
        change(&vault, &admin, id, Event::Activate).await.expect("a new key activates");
        world.store.rows().remove(&id);
        let (mut cursor, mut findings) = (first.next, Vec::new());
        while cursor.is_some() {
            let step = vault.sweep(cursor, 64).await.expect("the store is well");
            findings.extend(step.findings);
            cursor = step.next;
        }
        assert_eq!(findings.iter().map(|finding| finding.row).collect::<BTreeSet<_>>(), BTreeSet::from([id]), "{findings:?}");
    });
}

#[test]
fn a_lost_record_of_a_bucket_is_found_and_another_owner_is_found_by_the_row() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (_admin, service) = settle(&vault, "acme", "billing").await;
        let id = create(&vault, &service, named("k")).await.expect("the name is free");
        let sound = world.store.rows()[&id].clone();
        world.store.edit(id, |row| row.header.owner.service = None);
        let again = world.unseal().await.expect("the roots open");
        assert!(matches!(&swept(&again, 100).await[..], [finding] if finding.row == id));
        world.store.rows().insert(id, sound);
        let bucket = *world.store.rows().keys().find(|id| id.layer == Layer::Bucket).expect("there are rows");
        world.store.rows().remove(&bucket);
        let again = world.unseal().await.expect("the roots open");
        let findings = swept(&again, 100).await;
        assert!(matches!(&findings[..], [finding] if finding.row == bucket && finding.what.contains("do not add up")), "{findings:?}");
    });
}

#[test]
fn damaged_records_of_every_layer_are_found() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (_admin, service) = settle(&vault, "acme", "billing").await;
        let id = create(&vault, &service, named("k")).await.expect("the name is free");
        vault
            .gcm_iv(&vault.header(&vault.begin(keys::id::SessionId(2)), &service, id).await.expect("it is there"))
            .await
            .expect("it has IVs");
        let mut layers = 0;
        let mut last = None;
        let ids: Vec<RowId> = world.store.rows().keys().copied().collect();
        for id in ids {
            if last.replace(id.layer) == Some(id.layer) {
                continue;
            }
            layers += 1;
            let sound = world.store.rows()[&id].clone();
            world.store.edit(id, |row| row.meta_mac[7] ^= 1);
            assert!(swept(&vault, 100).await.iter().any(|finding| finding.row == id), "{id}");
            world.store.rows().insert(id, sound);
        }
        assert_eq!(layers, 11, "all that a core of one tenant stores");
    });
}
