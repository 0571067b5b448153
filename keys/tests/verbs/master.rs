//! The re-key of the MasterKey: all roots or none, and nothing below them (C8, F12).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use cipher::aead::Aead;
use futures_executor::block_on;
use keys::Error;
use keys::cluster::{self, Roots, cluster_row};
use keys::entropy::Randomness;
use keys::hierarchy::{MasterKey, MasterPurpose};
use keys::id::{ChainId, ClusterId, Generation, KeyVersion, Layer, RowId, SessionId};
use keys::lifecycle::{Event, State};
use keys::master::Rekeyed;
use keys::policy::Action;
use keys::port::{Entropy, Keystore};
use keys::record::Outcome;
use keys::row::{Header, Row};
use keys::vault::Vault;
use secret::{Bytes, Key};

use crate::fakes::{Fails, FakeStore, World, settle};
use crate::{change, create, decrypts, encrypts, named};

/// The hash of the roster with which the fakes found their cluster, and of another one.
const NOBODY: [u8; 32] = [0; 32];
const OTHERS: [u8; 32] = [7; 32];

fn another_master(world: &World) -> MasterKey {
    MasterKey::generate(&Randomness::new(Arc::clone(&world.entropy) as Arc<dyn Entropy>)).expect("the arena has room")
}

fn store(world: &World) -> Arc<dyn Keystore> {
    Arc::<FakeStore>::clone(&world.store)
}

async fn load(world: &World, master: &MasterKey) -> Result<Roots, Error> {
    cluster::load(&store(world), world.cluster, master).await
}

async fn rekey(vault: &Vault, old: &MasterKey, new: &MasterKey) -> Result<Rekeyed, Error> {
    rekey_for(vault, (old, new), NOBODY).await
}

async fn rekey_for(vault: &Vault, keys: (&MasterKey, &MasterKey), roster_hash: [u8; 32]) -> Result<Rekeyed, Error> {
    let mut unit = vault.begin(SessionId(2));
    let rekeyed = vault.rekey_master(&mut unit, keys, roster_hash).await?;
    let _receipt = unit.commit().await?;
    Ok(rekeyed)
}

/// The key that a row of an IVK version holds, whatever its state.
fn open(cluster: ClusterId, master: &MasterKey, registry: &keys::registry::Registry, row: &Row) -> Option<Bytes> {
    let purpose = match row.header.id.layer {
        Layer::Integrity => MasterPurpose::IntegrityWrap,
        Layer::Audit => MasterPurpose::AuditWrap,
        _ => MasterPurpose::IvkWrap,
    };
    let parent = master.parent(cluster, purpose).expect("the arena has room");
    parent.unwrap(&registry.material_binding(&row.header), row.material.as_ref()?).ok()
}

fn rows(world: &World) -> BTreeMap<RowId, Row> {
    world.store.rows().iter().map(|(id, bytes)| (*id, Row::decode(bytes).expect("a stored row decodes"))).collect()
}

fn is_root(row: &Row) -> bool {
    matches!(row.header.id.layer, Layer::Integrity | Layer::Ivk | Layer::Audit)
}

/// Stores IVK versions 2, 3, 4: Deprecated, Retired, and destroyed.
async fn add_ivks(world: &World, vault: &Vault) {
    let registry = load(world, &world.master).await.expect("the roots open").registry;
    let first = rows(world).into_values().find(|row| row.header.id.layer == Layer::Ivk).expect("there is one");
    let parent = world.master.parent(world.cluster, MasterPurpose::IvkWrap).expect("the arena has room");
    let mut unit = vault.begin(SessionId(1));
    let more = [(2, State::Deprecated), (3, State::Retired), (4, State::Destroyed)].map(|(version, state)| {
        let id = RowId::new(Layer::Ivk, uuid::Uuid::from_u128(u128::from(version)));
        let header = Header { id, version: KeyVersion(version), state, ..first.header.clone() };
        let byte = u8::try_from(version).expect("small");
        let blob = parent.wrap(&registry.material_binding(&header), &[byte; 32], &[byte; 32]).expect("the arena has room");
        registry.seal_row(header, (state != State::Destroyed).then_some(blob), None, Vec::new())
    });
    vault.stage_genesis(&mut unit, more.into());
    let _receipt = unit.commit().await.expect("the fakes are well");
}

#[test]
fn every_root_opens_under_the_new_master_key_alone_and_no_tenants_row_changes() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        add_ivks(&world, &vault).await;
        let id = create(&vault, &service, named("k")).await.expect("the name is free");
        change(&vault, &admin, id, Event::Activate).await.expect("a new key activates");
        let key = encrypts(&vault, &service, id).await.expect("an Active key encrypts");
        let vault = world.unseal().await.expect("the roots open");

        let (before, new) = (rows(&world), another_master(&world));
        assert_eq!(cluster::master_generation(&store(&world)).await.expect("the store is well"), Some(1));
        let rekeyed = rekey(&vault, &world.master, &new).await.expect("the fakes are well");
        let after = rows(&world);
        assert_eq!((rekeyed.integrity_keys, rekeyed.ivks, rekeyed.audit_keys), (1, 3, 1));
        assert_eq!((rekeyed.cluster.master_generation, rekeyed.cluster.fence), (2, 2));
        assert_eq!(cluster::master_generation(&store(&world)).await.expect("the store is well"), Some(2));

        // The roots with material, the cluster record, the buckets of these: and nothing else, to the byte.
        assert!(before.keys().eq(after.keys()));
        let mut changed: Vec<&Row> = after.values().filter(|row| before[&row.header.id] != **row).collect();
        changed.retain(|row| row.header.id.layer != Layer::Bucket);
        let kinds: Vec<Layer> = changed.iter().map(|row| row.header.id.layer).collect();
        let count = |layer| kinds.iter().filter(|kind| **kind == layer).count();
        let each = [Layer::Integrity, Layer::Ivk, Layer::Audit, Layer::Cluster].map(count);
        assert_eq!((each, kinds.len()), ([1, 3, 1, 1], 6), "{kinds:?}");

        let registry = load(&world, &new).await.expect("the new one opens the roots").registry;
        for row in changed.iter().filter(|row| is_root(row)) {
            let old_row = &before[&row.header.id];
            assert_eq!(row.header.parent.version, KeyVersion(2));
            assert_eq!(row.header.parent.chain, ChainId::new(uuid::Uuid::from_bytes(*world.cluster.as_bytes())));
            assert_eq!((row.header.wrap_seq, row.header.generation), (2, old_row.header.generation.next()));
            let same = open(world.cluster, &new, &registry, row).zip(open(world.cluster, &world.master, &registry, old_row));
            assert!(same.is_some_and(|(new, old)| new.ct_eq(&old)), "{} keeps its key", row.header.id);
            assert!(open(world.cluster, &world.master, &registry, row).is_none(), "the old MasterKey opens {}", row.header.id);
            // Nor as what it was before.
            let replayed = Row { material: row.material.clone(), ..old_row.clone() };
            assert!(open(world.cluster, &world.master, &registry, &replayed).is_none());
        }
        assert!(matches!(load(&world, &world.master).await, Err(Error::Corrupt { .. })));

        // The open vault goes on, and so does one that is unsealed now.
        let again = world.unsealed_by(&new).await.expect("the new one opens the roots");
        for vault in [&vault, &again] {
            assert_eq!(decrypts(vault, &service, id).await.expect("nothing below the roots has changed"), key);
        }
        create(&vault, &service, named("later")).await.expect("the name is free");
        assert!(decrypts(&again, &service, id).await.is_ok());

        let told: Vec<_> = world.audit.records().into_iter().filter(|record| record.action == Action::RekeyMaster).collect();
        let told: Vec<_> = told.iter().map(|record| (record.object, record.outcome, record.generation)).collect();
        let at = |generation| Some(Generation(generation));
        assert_eq!(told, [(Some(cluster_row()), Outcome::Intended, at(1)), (Some(cluster_row()), Outcome::Success, at(2))]);
    });
}

#[test]
fn a_commit_that_fails_leaves_every_root_old_or_every_root_new() {
    block_on(async {
        for how in [Fails::Before, Fails::After] {
            for nth in 0.. {
                let (world, vault) = World::found().await;
                add_ivks(&world, &vault).await;
                let (before, new) = (rows(&world), another_master(&world));
                *world.store.failing.lock().expect("no test panicked with it") = Some((nth, how));
                let rekeyed = rekey_for(&vault, (&world.master, &new), OTHERS).await;
                let has_struck = world.store.failing.lock().expect("no test panicked with it").take().is_none();
                assert_eq!(rekeyed.is_err(), has_struck);
                let is_made = !has_struck || how == Fails::After;
                let roster = |roots: Result<Roots, Error>| roots.ok().map(|roots| roots.cluster.roster_hash);
                let (old, new) = (roster(load(&world, &world.master).await), roster(load(&world, &new).await));
                // The custodians change with the MasterKey, never without it.
                assert_eq!((old, new), ((!is_made).then_some(NOBODY), is_made.then_some(OTHERS)), "commit {nth} fails {how:?}");
                assert_eq!(rows(&world) == before, !is_made, "commit {nth} fails {how:?}");
                if !has_struck {
                    assert_eq!(nth, 1, "it is one commit");
                    break;
                }
            }
        }
    });
}

#[test]
fn other_custodians_are_told_of_and_the_same_ones_are_not() {
    block_on(async {
        let (world, vault) = World::found().await;
        let [second, third, fourth] = [(); 3].map(|()| another_master(&world));
        rekey(&vault, &world.master, &second).await.expect("the fakes are well");
        let told =
            || world.audit.records().into_iter().filter(|record| record.action == Action::ChangeRoster).map(|record| record.generation);
        assert_eq!(told().count(), 0);
        assert_eq!(rekey_for(&vault, (&second, &third), OTHERS).await.expect("the fakes are well").cluster.roster_hash, OTHERS);
        rekey_for(&vault, (&third, &fourth), OTHERS).await.expect("the fakes are well");
        assert_eq!(told().collect::<Vec<_>>(), [Some(Generation(3))]);
    });
}

#[test]
fn one_rekey_follows_another_and_of_two_at_once_one_is_made() {
    block_on(async {
        let (world, vault) = World::found().await;
        let [second, third, other] = [(); 3].map(|()| another_master(&world));
        let mut slower = vault.begin(SessionId(2));
        vault.rekey_master(&mut slower, (&world.master, &other), NOBODY).await.expect("the fakes are well");
        rekey(&vault, &world.master, &second).await.expect("the fakes are well");
        assert!(matches!(slower.commit().await.map_err(Error::from), Err(Error::Raced)));
        assert!(load(&world, &other).await.is_err());
        let rekeyed = rekey(&vault, &second, &third).await.expect("the fakes are well");
        assert_eq!(rekeyed.cluster.master_generation, 3);
        assert_eq!(load(&world, &third).await.expect("the last one opens the roots").cluster, rekeyed.cluster);
    });
}

#[test]
fn what_cannot_be_wrapped_whole_is_left_as_it_is() {
    block_on(async {
        let (world, vault) = World::found().await;
        add_ivks(&world, &vault).await;
        // So that the Deprecated version is open.
        let vault = world.unseal().await.expect("the roots open");
        let (before, new) = (rows(&world), another_master(&world));
        let same = world.master.expose(|master| MasterKey::from_key(Key::init_with(|to| to.copy_from_slice(master)).expect("room")));
        let refused = rekey(&vault, &world.master, &same).await;
        assert!(matches!(refused, Err(Error::Invalid { field: "MasterKey", .. })), "{refused:?}");
        let refused = rekey(&vault, &another_master(&world), &new).await;
        assert!(matches!(refused, Err(Error::Corrupt { .. })), "another MasterKey than the one in force");
        world.entropy.dead.store(true, Ordering::Relaxed);
        assert!(matches!(rekey(&vault, &world.master, &new).await, Err(Error::Unavailable { .. })));
        world.entropy.dead.store(false, Ordering::Relaxed);

        for version in [2, 3] {
            let id = RowId::new(Layer::Ivk, uuid::Uuid::from_u128(version));
            let kept = world.store.rows()[&id].clone();
            world.store.edit(id, |row| row.header.aead = Aead::Aes256GcmSiv);
            let refused = rekey(&vault, &world.master, &new).await;
            assert!(matches!(&refused, Err(Error::Corrupt { at, .. }) if *at == id.to_string()), "{refused:?}");
            world.store.rows().insert(id, kept);
        }
        let id = RowId::new(Layer::Ivk, uuid::Uuid::from_u128(2));
        let unseen = world.unseal().await.expect("the roots open");
        let kept = world.store.rows().remove(&id).expect("it is there");
        let refused = rekey(&unseen, &world.master, &new).await;
        assert!(matches!(&refused, Err(Error::Corrupt { at, .. }) if at == "IVK version 2"), "{refused:?}");
        world.store.rows().insert(id, kept);

        assert_eq!(rows(&world), before);
        rekey(&vault, &world.master, &new).await.expect("nothing is amiss any more");
    });
}

#[test]
fn a_cluster_record_of_another_generation_than_the_roots_is_refused() {
    block_on(async {
        let (world, vault) = World::found().await;
        let old = rows(&world);
        let new = another_master(&world);
        rekey(&vault, &world.master, &new).await.expect("the fakes are well");
        world.store.rows().insert(cluster_row(), old[&cluster_row()].encode());
        let refused = load(&world, &new).await.err();
        assert!(matches!(&refused, Some(Error::Corrupt { what, .. }) if what.contains("another generation")), "{refused:?}");
        assert!(rows(&world).values().filter(|row| is_root(row)).all(|row| row.header.parent.version == KeyVersion(2)));
    });
}
