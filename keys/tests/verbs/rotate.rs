//! Rotation of the IVK and of a tenant's key, and the walk that brings what lies below under the new version (C23, F1, F6).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use cipher::aead::Aead;
use futures_executor::block_on;
use futures_util::future::join_all;
use keys::Error;
use keys::cluster;
use keys::id::{KeyVersion, Layer, RowId, SessionId};
use keys::lifecycle::{Event, State};
use keys::policy::{Action, Grants};
use keys::port::Keystore;
use keys::record::Outcome;
use keys::reencrypt::Cursor;
use keys::rotate::{GeneratedIvk, NewIvk, RotatedIvk};
use keys::row::Row;
use keys::unit::CommitError;
use keys::vault::{Vault, View};

use super::destroy::{retire_ivk, uses};
use super::{rekey, walk, walked};
use crate::fakes::{Fails, FakeStore, World, name, settle};
use crate::{change, create, decrypts, encrypts, named};

pub(super) const ROUTINE: NewIvk = NewIvk { aead: None, is_compromised: false, renews: false, off_boarded: None, request: None };
pub(super) const COMPROMISED: NewIvk = NewIvk { is_compromised: true, ..ROUTINE };

pub(super) async fn rotate(world: &World, vault: &Vault, new: NewIvk) -> Result<RotatedIvk, Error> {
    let mut unit = vault.begin(SessionId(2));
    let rotated = vault.rotate_ivk(&mut unit, &world.master, new).await?;
    let _receipt = unit.commit().await?;
    Ok(rotated)
}

pub(super) async fn opened(vault: &Vault, service: &Grants, id: RowId) -> Vec<u8> {
    decrypts(vault, service, id).await.expect("the key is there")
}

pub(super) fn parents(world: &World, layer: Layer) -> Vec<u32> {
    let mut versions: Vec<u32> = world.rows(layer).values().map(|row| row.header.parent.version.0).collect();
    versions.sort_unstable();
    versions
}

pub(super) async fn states(vault: &Vault) -> Vec<(u32, State)> {
    vault.ivk_status().await.expect("the records verify").iter().map(|ivk| (ivk.version.0, ivk.state)).collect()
}

/// An Active key of a service with its bytes.
pub(super) async fn key_of(vault: &Vault, admin: &Grants, service: &Grants, text: &str) -> (RowId, Vec<u8>) {
    let id = create(vault, service, named(text)).await.expect("the name is free");
    change(vault, admin, id, Event::Activate).await.expect("a new key activates");
    (id, encrypts(vault, service, id).await.expect("an Active key encrypts"))
}

pub(super) async fn rekey_l2(vault: &Vault, admin: &Grants, tenant: &str) -> Result<View, Error> {
    let l2 = vault.tenant_by_name(&name(tenant)).await?.expect("it was made").key;
    rekey(vault, admin, l2).await
}

#[test]
fn a_rotation_is_one_unit_and_a_walk_moves_every_key_and_nothing_is_lost() {
    block_on(async {
        let (world, vault) = World::found().await;
        let mut kept = Vec::new();
        for tenant in ["acme", "globex", "initech"] {
            let (admin, service) = settle(&vault, tenant, "billing").await;
            let (id, bytes) = key_of(&vault, &admin, &service, "k").await;
            kept.push((service, id, bytes));
        }
        let epoch = vault.parents_epoch();
        let rotated = rotate(&world, &vault, ROUTINE).await.expect("the fakes are well");
        assert_eq!((rotated.version, rotated.replaced, rotated.cluster.fence), (KeyVersion(2), KeyVersion(1), 2));
        assert_eq!(states(&vault).await, [(2, State::Active), (1, State::Deprecated)]);
        assert!(vault.parents_epoch() > epoch, "the walk is told");
        let again = world.unseal().await.expect("the roots open, with one Active version");
        assert_eq!(states(&again).await, [(2, State::Active), (1, State::Deprecated)]);

        // What is made from now on lies under the new version; what was there opens where it is.
        assert_eq!(parents(&world, Layer::L2), [1, 1, 1]);
        let (admin, service) = settle(&vault, "umbrella", "billing").await;
        let (id, bytes) = key_of(&vault, &admin, &service, "k").await;
        kept.push((service, id, bytes));
        assert_eq!(parents(&world, Layer::L2), [1, 1, 1, 2]);
        for (service, id, bytes) in &kept {
            assert_eq!(opened(&again, service, *id).await, *bytes);
        }

        let before = world.rows(Layer::L2);
        assert_eq!(walked(&vault, 2).await, (3, Vec::new()));
        assert_eq!(parents(&world, Layer::L2), [2, 2, 2, 2]);
        for (id, row) in world.rows(Layer::L2) {
            let moved = u64::from(before[&id].header.parent.version == KeyVersion(1));
            let seqs = |row: &Row| [row.header.generation.0, row.header.wrap_seq, row.header.attributes_seq];
            assert_eq!(seqs(&row), seqs(&before[&id]).map(|seq| seq + moved));
            assert_eq!(row.header.version, before[&id].header.version);
        }
        assert_eq!(walked(&vault, 2).await, (0, Vec::new()), "a second walk finds nothing to do");
        let later = world.unseal().await.expect("the roots open");
        for vault in [&vault, &later] {
            for (service, id, bytes) in &kept {
                assert_eq!(opened(vault, service, *id).await, *bytes);
            }
        }
        let told: Vec<_> = world.audit.records().into_iter().filter(|record| record.action == Action::RotateIvk).collect();
        assert_eq!(
            told.iter().map(|record| (record.version, record.outcome)).collect::<Vec<_>>(),
            [(Some(KeyVersion(2)), Outcome::Success)]
        );
        let moves = world.audit.records().into_iter().filter(|record| record.action == Action::Reencrypt);
        assert!(moves.map(|record| record.version).all(|version| version == Some(KeyVersion(2))));
    });
}

#[test]
fn a_rotation_for_a_tenant_that_has_left_is_recorded_with_its_reason() {
    block_on(async {
        let (world, vault) = World::found().await;
        settle(&vault, "acme", "billing").await;
        let acme = vault.tenant_by_name(&name("acme")).await.expect("the store is well").expect("it was made").id;
        rotate(&world, &vault, NewIvk { off_boarded: Some(acme), ..ROUTINE }).await.expect("the fakes are well");
        let told = world.audit.records().into_iter().filter(|record| record.version == Some(KeyVersion(2)));
        let told: Vec<_> = told.map(|record| (record.action, record.object.map(|row| row.layer), record.outcome)).collect();
        let reason = (Action::OffBoardTenant, Some(Layer::Tenant), Outcome::Success);
        assert_eq!(told, [(Action::RotateIvk, Some(Layer::Ivk), Outcome::Success), reason]);
    });
}

#[test]
fn a_rotation_that_fails_leaves_one_active_version_and_the_next_has_no_gap() {
    block_on(async {
        for how in [Fails::Before, Fails::After] {
            let (world, vault) = World::found().await;
            let (admin, service) = settle(&vault, "acme", "billing").await;
            let (id, bytes) = key_of(&vault, &admin, &service, "k").await;
            *world.store.failing.lock().expect("no test panicked with it") = Some((0, how));
            assert!(rotate(&world, &vault, ROUTINE).await.is_err());
            let stored = if how == Fails::After { 2 } else { 1 };
            let again = world.unseal().await.expect("exactly one version is Active");
            assert_eq!(states(&again).await[0], (stored, State::Active));
            assert_eq!(rotate(&world, &again, ROUTINE).await.expect("the fakes are well").version, KeyVersion(stored + 1));
            assert_eq!(walked(&again, 100).await, (1, Vec::new()));
            assert_eq!(opened(&again, &service, id).await, bytes);
        }
    });
}

/// The key of a rotation that failed stayed in locked memory, one for each attempt, until another one succeeded or the node was sealed.
#[test]
fn a_rotation_that_fails_leaves_no_key_in_locked_memory() {
    block_on(async {
        let (world, vault) = World::found().await;
        let full = async || {
            world.store.full.store(true, Ordering::Relaxed);
            rotate(&world, &vault, ROUTINE).await.expect_err("the store is full");
            world.store.full.store(false, Ordering::Relaxed);
        };
        let dropped = async || {
            vault.rotate_ivk(&mut vault.begin(SessionId(2)), &world.master, ROUTINE).await.expect("the fakes are well");
        };
        let fenced = async || {
            let mut unit = vault.begin(SessionId(2));
            vault.rotate_ivk(&mut unit, &world.master, ROUTINE).await.expect("the fakes are well");
            generate(&world, &vault, ROUTINE).await.expect("none waits");
            assert!(matches!(unit.commit().await, Err(CommitError::Conflict { .. })));
        };
        full().await;
        let before = secret::arena::used_bytes();
        for _ in 0..20 {
            full().await;
            dropped().await;
        }
        fenced().await;
        // Now a version waits, which each attempt announces under the same record.
        for _ in 0..20 {
            full().await;
            dropped().await;
        }
        assert_eq!(secret::arena::used_bytes(), before);
        assert_eq!(rotate(&world, &vault, ROUTINE).await.expect("the fakes are well").version, KeyVersion(2));
        assert_eq!(states(&vault).await, [(2, State::Active), (1, State::Deprecated)]);
        settle(&vault, "acme", "billing").await;
        assert_eq!(parents(&world, Layer::L2), [2]);
    });
}

/// An attempt that has failed long ago, and is let go of only now, takes nothing away from the one after it.
#[test]
fn a_rotation_that_is_given_up_takes_back_its_own_key_only() {
    block_on(async {
        let (world, vault) = World::found().await;
        generate(&world, &vault, ROUTINE).await.expect("none waits");
        let (mut first, mut second) = (vault.begin(SessionId(2)), vault.begin(SessionId(2)));
        for unit in [&mut first, &mut second] {
            vault.rotate_ivk(unit, &world.master, ROUTINE).await.expect("the fakes are well");
        }
        drop(first);
        let _receipt = second.commit().await.expect("nobody else rotates");
        settle(&vault, "acme", "billing").await;
        assert_eq!(parents(&world, Layer::L2), [2]);
    });
}

#[test]
fn of_two_rotations_at_once_one_wins_and_the_versions_have_no_gap() {
    block_on(async {
        let (world, vault) = World::found().await;
        for round in 0..4 {
            let (mut one, mut other) = (vault.begin(SessionId(2)), vault.begin(SessionId(3)));
            vault.rotate_ivk(&mut one, &world.master, ROUTINE).await.expect("it is staged");
            vault.rotate_ivk(&mut other, &world.master, ROUTINE).await.expect("it is staged");
            let _receipt = one.commit().await.expect("it is the first");
            assert!(other.commit().await.is_err());
            settle(&vault, &format!("tenant-{round}"), "billing").await;
            let again = world.unseal().await.expect("what the loser announced is nowhere");
            assert_eq!(states(&again).await[0], (round + 2, State::Active));
        }
        assert_eq!(walked(&world.unseal().await.expect("the roots open"), 3).await, (3, Vec::new()));
    });
}

#[test]
fn a_request_that_comes_again_rotates_nothing_also_after_a_restart() {
    block_on(async {
        let (world, mut vault) = World::found().await;
        let asked = |byte| NewIvk { request: Some([byte; 32]), ..ROUTINE };
        for round in 0..3 {
            let rotated = rotate(&world, &vault, asked(1)).await.expect("the fakes are well");
            assert_eq!((rotated.version, rotated.replaced, rotated.is_repeated), (KeyVersion(2), KeyVersion(1), round > 0));
            vault = world.unseal().await.expect("the roots open");
        }
        assert_eq!(rotate(&world, &vault, asked(2)).await.expect("the fakes are well").version, KeyVersion(3));
        let first = rotate(&world, &vault, asked(1)).await.expect("the fakes are well");
        assert_eq!((first.version, first.is_repeated), (KeyVersion(2), true), "its record is still known when it is demoted");
        assert_eq!(states(&vault).await.len(), 3);
    });
}

async fn generate(world: &World, vault: &Vault, new: NewIvk) -> Result<GeneratedIvk, Error> {
    let mut unit = vault.begin(SessionId(2));
    let generated = vault.generate_ivk(&mut unit, &world.master, new).await?;
    let _receipt = unit.commit().await?;
    vault.read_back_ivk(&world.master, generated.version).await?;
    Ok(generated)
}

#[test]
fn a_generated_version_waits_and_wraps_nothing_until_it_is_rotated_to() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let (id, bytes) = key_of(&vault, &admin, &service, "k").await;
        let aead = Some(Aead::XChaCha20Poly1305);
        let made = generate(&world, &vault, NewIvk { aead, ..ROUTINE }).await.expect("the fakes are well");
        assert_eq!((made.version, made.aead, made.is_repeated), (KeyVersion(2), Aead::XChaCha20Poly1305, false));
        for vault in [&vault, &world.unseal().await.expect("one version is Active")] {
            assert_eq!(states(vault).await, [(2, State::PreActive), (1, State::Active)]);
            let waiting = vault.ivk_status().await.expect("the records verify")[0].clone();
            assert_eq!((waiting.activated, waiting.rotated), (None, None));
            assert!(matches!(generate(&world, vault, ROUTINE).await, Err(Error::WrongState { is: State::PreActive, .. })), "one waits");
            let unused = uses(vault, 2).await.expect("the store is well").unused().expect("nothing lies under it");
            let retired = vault.retire_ivk(&mut vault.begin(SessionId(2)), KeyVersion(2), unused).await;
            assert!(matches!(retired, Err(Error::WrongState { is: State::PreActive, .. })), "{retired:?}");
        }
        settle(&vault, "globex", "billing").await;
        assert_eq!(parents(&world, Layer::L2), [1, 1], "it wraps nothing");
        let other = NewIvk { aead: Some(Aead::Aes256GcmSiv), ..ROUTINE };
        assert!(
            matches!(rotate(&world, &vault, other).await, Err(Error::Invalid { .. })),
            "it is the one that waits, and wraps as it does"
        );

        let vault = world.unseal().await.expect("the roots open");
        let rotated = rotate(&world, &vault, ROUTINE).await.expect("the fakes are well");
        assert_eq!((rotated.version, rotated.replaced), (KeyVersion(2), KeyVersion(1)));
        assert_eq!(states(&vault).await, [(2, State::Active), (1, State::Deprecated)]);
        let active = vault.ivk_status().await.expect("the records verify")[0].clone();
        assert!(active.activated.is_some_and(|activated| activated >= active.created), "{active:?}");
        assert_eq!(walked(&vault, 100).await, (2, Vec::new()));
        assert_eq!(parents(&world, Layer::L2), [2, 2]);
        assert_eq!(opened(&world.unseal().await.expect("the roots open"), &service, id).await, bytes);
        assert_eq!(generate(&world, &vault, ROUTINE).await.expect("none waits").version, KeyVersion(3));
        let told: Vec<_> = world.audit.records().into_iter().filter(|record| record.action == Action::GenerateIvk).collect();
        assert_eq!(told.iter().map(|record| record.version).collect::<Vec<_>>(), [Some(KeyVersion(2)), Some(KeyVersion(3))]);
    });
}

#[test]
fn a_compromise_is_not_answered_with_a_version_that_has_lain_there() {
    block_on(async {
        let (world, vault) = World::found().await;
        generate(&world, &vault, ROUTINE).await.expect("the fakes are well");
        let rotated = rotate(&world, &vault, COMPROMISED).await.expect("the fakes are well");
        assert_eq!((rotated.version, rotated.replaced), (KeyVersion(3), KeyVersion(1)));
        let states_now = [(3, State::Active), (2, State::Compromised), (1, State::Compromised)];
        assert_eq!(states(&vault).await, states_now);
        let again = world.unseal().await.expect("one version is Active");
        assert_eq!(states(&again).await, states_now);
        assert_eq!(rotate(&world, &again, ROUTINE).await.expect("the fakes are well").version, KeyVersion(4));
    });
}

#[test]
fn of_a_generation_and_a_rotation_at_once_one_wins_whichever_comes_first() {
    block_on(async {
        for is_rotation_first in [true, false] {
            let (world, vault) = World::found().await;
            let (mut one, mut other) = (vault.begin(SessionId(2)), vault.begin(SessionId(3)));
            vault.rotate_ivk(&mut one, &world.master, ROUTINE).await.expect("it is staged");
            vault.generate_ivk(&mut other, &world.master, ROUTINE).await.expect("it is staged");
            let (first, second) = if is_rotation_first { (one, other) } else { (other, one) };
            let _receipt = first.commit().await.expect("it is the first");
            assert!(second.commit().await.is_err());
            for vault in [&vault, &world.unseal().await.expect("exactly one version is Active")] {
                let states = states(vault).await;
                let wanted = if is_rotation_first {
                    [(2, State::Active), (1, State::Deprecated)]
                } else {
                    [(2, State::PreActive), (1, State::Active)]
                };
                assert_eq!(states, wanted);
            }
        }
    });
}

#[test]
fn a_generation_that_is_asked_for_again_or_fails_makes_no_second_version() {
    block_on(async {
        let (world, mut vault) = World::found().await;
        let asked = |byte| NewIvk { request: Some([byte; 32]), ..ROUTINE };
        for round in 0..3 {
            let made = generate(&world, &vault, asked(1)).await.expect("the fakes are well");
            assert_eq!((made.version, made.is_repeated), (KeyVersion(2), round > 0));
            vault = world.unseal().await.expect("the roots open");
        }
        // The same name of another kind of request is another request.
        let rotated = rotate(&world, &vault, asked(1)).await.expect("the fakes are well");
        assert_eq!((rotated.version, rotated.is_repeated), (KeyVersion(2), false));
        assert!(rotate(&world, &vault, asked(1)).await.expect("the fakes are well").is_repeated);
        assert!(generate(&world, &vault, asked(1)).await.expect("the fakes are well").is_repeated);
        for how in [Fails::Before, Fails::After] {
            *world.store.failing.lock().expect("no test panicked with it") = Some((0, how));
            assert!(generate(&world, &vault, ROUTINE).await.is_err());
            vault = world.unseal().await.expect("exactly one version is Active");
            let waits = usize::from(how == Fails::After);
            assert_eq!(states(&vault).await.iter().filter(|(_, state)| *state == State::PreActive).count(), waits);
            assert_eq!(states(&vault).await.iter().filter(|(_, state)| *state == State::Active).count(), 1);
        }
    });
}

#[test]
fn a_version_is_retired_once_nothing_lies_under_it_and_never_comes_back() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let (id, bytes) = key_of(&vault, &admin, &service, "k").await;
        assert!(matches!(retire_ivk(&vault, 2).await, Err(Error::NotFound)));
        rotate(&world, &vault, ROUTINE).await.expect("the fakes are well");
        assert!(matches!(retire_ivk(&vault, 2).await, Err(Error::WrongState { is: State::Active, .. })));
        let under = async |version| uses(&vault, version).await.expect("the store is well").keys;
        assert_eq!((under(1).await, under(2).await), (1, 0));
        assert_eq!(walked(&vault, 10).await, (1, Vec::new()));
        assert_eq!((under(1).await, under(2).await), (0, 1));
        retire_ivk(&vault, 1).await.expect("it is Deprecated");
        assert!(matches!(retire_ivk(&vault, 1).await, Err(Error::WrongState { is: State::Retired, .. })));
        let again = world.unseal().await.expect("the roots open");
        for vault in [&vault, &again] {
            assert_eq!(states(vault).await, [(2, State::Active), (1, State::Retired)]);
            assert_eq!(opened(vault, &service, id).await, bytes);
        }
        assert_eq!(rotate(&world, &again, COMPROMISED).await.expect("the fakes are well").version, KeyVersion(3));
        assert_eq!(states(&again).await, [(3, State::Active), (2, State::Compromised), (1, State::Retired)]);
    });
}

/// The key was wrapped before the rotation and comes to its commit after it.
#[test]
fn nothing_comes_under_a_version_that_was_replaced_meanwhile() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, _) = settle(&vault, "acme", "billing").await;
        let mut late = vault.begin(SessionId(2));
        vault.create_tenant(&mut late, &name("globex")).await.expect("it is staged");
        rotate(&world, &vault, ROUTINE).await.expect("the fakes are well");
        let refused = late.commit().await.expect_err("it lies under version 1");
        assert!(matches!(Error::from(refused), Error::Raced));
        settle(&vault, "globex", "billing").await;

        let mut late = vault.begin(SessionId(2));
        vault.create_service(&mut late, &name("acme"), &name("other")).await.expect("it is staged");
        rekey_l2(&vault, &admin, "acme").await.expect("the fakes are well");
        assert!(matches!(late.commit().await.map_err(Error::from), Err(Error::Raced)));
        assert_eq!(walked(&vault, 100).await, (2, Vec::new()), "the L2 of acme's past and the L3 under it");
    });
}

#[test]
fn under_a_compromised_version_a_key_opens_once_it_is_moved_and_a_walk_moves_the_others() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let (id, bytes) = key_of(&vault, &admin, &service, "k").await;
        settle(&vault, "globex", "billing").await;
        rotate(&world, &vault, ROUTINE).await.expect("the fakes are well");
        rotate(&world, &vault, COMPROMISED).await.expect("the fakes are well");
        let compromised = [(3, State::Active), (2, State::Compromised), (1, State::Compromised)];
        for vault in [vault, world.unseal().await.expect("the roots open")] {
            assert_eq!(states(&vault).await, compromised);
            assert_eq!(opened(&vault, &service, id).await, bytes);
        }
        // The use has moved acme's key and nobody else's.
        assert_eq!(parents(&world, Layer::L2), [1, 3]);
        let vault = world.unseal().await.expect("the roots open");
        let sweep = vault.sweep(None, 4096).await.expect("the store is well");
        assert!(sweep.findings.is_empty(), "{:?}", sweep.findings);
        assert_eq!(walked(&vault, 100).await, (1, Vec::new()));
        assert_eq!(parents(&world, Layer::L2), [3, 3]);
    });
}

#[test]
fn a_tenants_key_is_rotated_by_its_admin_and_its_services_keys_follow() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let (id, bytes) = key_of(&vault, &admin, &service, "k").await;
        let (_, stranger) = settle(&vault, "globex", "billing").await;
        let first = vault.tenant_by_name(&name("acme")).await.expect("the store is well").expect("it was made");
        let new = rekey_l2(&vault, &admin, "acme").await.expect("the fakes are well");
        let tenant = vault.tenant_by_name(&name("acme")).await.expect("the store is well").expect("it was made");
        assert_eq!((new.header.version, tenant.key, tenant.parent.version), (KeyVersion(2), new.header.id, KeyVersion(2)));
        assert_eq!(world.rows(Layer::L2)[&first.key].header.state, State::Deprecated);
        assert!(matches!(rekey_l2(&vault, &stranger, "acme").await, Err(Error::NotFound)));
        let refused = rekey_l2(&vault, &service, "acme").await.map(drop);
        assert!(matches!(refused, Err(Error::NotFound)), "{refused:?}");

        assert_eq!(opened(&vault, &service, id).await, bytes, "it opens under the version before");
        assert_eq!(parents(&world, Layer::L3), [1, 1, 1]);
        assert_eq!(walked(&vault, 1).await, (2, Vec::new()));
        assert_eq!(parents(&world, Layer::L3), [1, 2, 2], "globex is not touched");
        let again = world.unseal().await.expect("the roots open");
        assert_eq!(opened(&again, &service, id).await, bytes);
    });
}

/// A cursor knew of each tenant which version was Active when it was met first. Once that was replaced, the step lost a race against it however often it
/// was done again.
#[test]
fn a_step_that_is_done_again_from_an_old_cursor_sees_a_version_replaced_meanwhile() {
    block_on(async {
        let (_world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let (id, bytes) = key_of(&vault, &admin, &service, "k").await;
        let mut cursor = Some(Cursor::default());
        // One step for the tenants' keys, one for what lies between, one row of the services'.
        for _ in 0..4 {
            cursor = vault.reencrypt(&mut vault.begin(SessionId(1)), cursor, 1).await.expect("nothing is due").next;
        }
        let cursor = cursor.expect("a row is left");
        rekey_l2(&vault, &admin, "acme").await.expect("the fakes are well");
        assert_eq!(walked(&vault, 10).await, (2, Vec::new()), "another walk has moved what is left");
        let mut unit = vault.begin(SessionId(1));
        let walked = vault.reencrypt(&mut unit, Some(cursor), 1).await.expect("there is nothing to lose a race against");
        assert_eq!((walked.looked, walked.moved), (1, 0));
        assert_eq!(opened(&vault, &service, id).await, bytes);
    });
}

#[test]
fn pages_that_are_looked_into_at_once_move_what_one_after_another_does() {
    block_on(async {
        let (world, vault) = World::found().await;
        for tenant in ["acme", "globex", "initech", "umbrella", "hooli"] {
            settle(&vault, tenant, "billing").await;
        }
        rotate(&world, &vault, ROUTINE).await.expect("the fakes are well");
        let (mut pages, mut next) = (Vec::new(), Some(Cursor::default()));
        while let Some(cursor) = next.take() {
            let page = vault.page(cursor, 2).await.expect("the store is well");
            next.clone_from(&page.next);
            pages.push(page);
        }
        let (mut moved, mut under) = (0, BTreeMap::new());
        // The last first: none needs what another one moves.
        for page in join_all(pages.into_iter().rev().map(|page| vault.move_page(page))).await {
            let mut unit = vault.begin(SessionId(1));
            let walked = vault.stage_moved(&mut unit, page.expect("every row verifies"));
            let _receipt = unit.commit().await.expect("nobody else changes them");
            moved += walked.moved;
            walked.under.into_iter().for_each(|(version, keys)| *under.entry(version.0).or_insert(0) += keys);
        }
        assert_eq!((moved, under), (5, BTreeMap::from([(2, 5)])));
        assert_eq!(parents(&world, Layer::L2), [2; 5]);
        assert_eq!(walked(&vault, 10).await, (0, Vec::new()));
    });
}

/// A page may be looked into long before it is committed, while the one before it is.
#[test]
fn a_page_whose_row_was_moved_meanwhile_loses_the_race() {
    block_on(async {
        let (world, vault) = World::found().await;
        settle(&vault, "acme", "billing").await;
        rotate(&world, &vault, ROUTINE).await.expect("the fakes are well");
        let page = vault.page(Cursor::default(), 10).await.expect("the store is well");
        let late = vault.move_page(page).await.expect("every row verifies");
        assert_eq!(walked(&vault, 10).await, (1, Vec::new()));
        let mut unit = vault.begin(SessionId(1));
        assert_eq!(vault.stage_moved(&mut unit, late).moved, 1);
        assert!(matches!(unit.commit().await, Err(CommitError::Conflict { .. })));
        assert_eq!(parents(&world, Layer::L2), [2]);
    });
}

#[test]
fn a_damaged_row_is_named_and_stays_and_the_walk_goes_on_behind_it() {
    block_on(async {
        let (world, vault) = World::found().await;
        for tenant in ["acme", "globex", "initech"] {
            settle(&vault, tenant, "billing").await;
        }
        rotate(&world, &vault, ROUTINE).await.expect("the fakes are well");
        let ids: Vec<RowId> = world.rows(Layer::L2).into_keys().collect();
        world.store.edit(ids[1], |row| row.material.as_mut().expect("it has some")[140] ^= 1);
        let vault = world.unseal().await.expect("the roots open");
        let (moved, refused) = walk(&vault, 2).await.expect("the store is well");
        assert_eq!((moved, refused.iter().map(|finding| finding.row).collect::<Vec<_>>()), (2, vec![ids[1]]));
        assert_eq!(parents(&world, Layer::L2), [1, 2, 2]);
    });
}

/// The key's header says another algorithm than its wraps have: refused by name, never guessed (IVK-25).
#[test]
fn a_walk_changes_the_algorithm_by_rotation_only() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let (id, bytes) = key_of(&vault, &admin, &service, "k").await;
        for aead in [Aead::XChaCha20Poly1305, Aead::Aes256GcmSiv, Aead::Aes256Gcm] {
            rotate(&world, &vault, NewIvk { aead: Some(aead), ..ROUTINE }).await.expect("the fakes are well");
            assert_eq!(walked(&vault, 10).await, (1, Vec::new()));
            let blob = world.rows(Layer::L2).into_values().next().and_then(|row| row.material).expect("it has some");
            assert_eq!(blob[6..8], (aead as u16).to_be_bytes(), "the blob names how it is sealed");
            let again = world.unseal().await.expect("the roots open");
            assert_eq!(opened(&again, &service, id).await, bytes);
        }
    });
}

/// Every commit of a rotation and its walk fails once, before or after it is durable; nothing is lost, and the next walk ends the work.
#[test]
fn whichever_commit_fails_the_next_walk_ends_the_work() {
    block_on(async {
        for how in [Fails::Before, Fails::After] {
            for nth in 0..5 {
                let (world, vault) = World::found().await;
                let mut kept = Vec::new();
                for tenant in ["acme", "globex", "initech"] {
                    let (admin, service) = settle(&vault, tenant, "billing").await;
                    let (id, bytes) = key_of(&vault, &admin, &service, "k").await;
                    kept.push((service, id, bytes));
                }
                *world.store.failing.lock().expect("no test panicked with it") = Some((nth, how));
                let rotated = rotate(&world, &vault, ROUTINE).await;
                let walked = walk(&vault, 1).await;
                let has_struck = world.store.failing.lock().expect("no test panicked with it").take().is_none();
                assert_eq!(rotated.is_err() || walked.is_err(), has_struck);
                let again = world.unseal().await.expect("exactly one version is Active");
                if states(&again).await.len() == 1 {
                    rotate(&world, &again, ROUTINE).await.expect("the fakes are well");
                }
                walk(&again, 2).await.expect("the fakes are well");
                assert_eq!(parents(&world, Layer::L2), [2, 2, 2], "{how:?} {nth}");
                for (service, id, bytes) in &kept {
                    assert_eq!(opened(&again, service, *id).await, *bytes, "{how:?} {nth}");
                }
            }
        }
    });
}

#[test]
fn what_is_loaded_has_one_active_version_and_an_old_ivk_record_is_refused() {
    block_on(async {
        let (world, vault) = World::found().await;
        let old = world.rows(Layer::Ivk).into_iter().next().expect("there is one");
        rotate(&world, &vault, ROUTINE).await.expect("the fakes are well");
        // The store brings back version 1 as it was: Active.
        world.store.rows().insert(old.0, old.1.encode());
        assert!(matches!(world.unseal().await.map(drop), Err(Error::Corrupt { .. })));
        let store: Arc<dyn Keystore> = Arc::<FakeStore>::clone(&world.store);
        assert!(cluster::load(&store, world.cluster, &world.master).await.is_err());
    });
}
