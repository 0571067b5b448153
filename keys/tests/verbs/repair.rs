//! Keys whose blobs and whose parent's record name different algorithms: refused and named wherever they are met, and mended only when that is asked (IVK-25).

use std::collections::BTreeSet;

use cipher::aead::Aead;
use futures_executor::block_on;
use keys::Error;
use keys::id::{Layer, RowId, SessionId};
use keys::repair::{Repair, RepairError};
use keys::row::{Header, Row};
use keys::vault::Vault;

use super::rotate::{key_of, opened, rekey_l2};
use super::{default_key, swept, walked};
use crate::decrypts;
use crate::fakes::{World, name, settle};

async fn repair(vault: &Vault, id: RowId) -> Result<Repair, RepairError> {
    let mut unit = vault.begin(SessionId(2));
    let repair = vault.repair(&mut unit, id).await?;
    let _receipt = unit.commit().await.map_err(Error::from)?;
    vault.read_back_key(id).await?;
    Ok(repair)
}

/// Writes a row as the cluster itself would have written it, with its next generation.
fn plant(world: &World, vault: &Vault, id: RowId, edit: impl FnOnce(&mut Row)) {
    let mut row = Row::decode(&world.store.rows()[&id]).expect("a row");
    edit(&mut row);
    let header = Header { generation: row.header.generation.next(), ..row.header };
    let row = vault.registry().seal_row(header, row.material, row.attributes, row.terms);
    world.store.rows().insert(id, row.encode());
}

/// A row that is wrong, and what is said of it.
struct Forgery(&'static str, fn(&mut Row));

/// What names the algorithm in a blob.
fn set_algorithm(blob: &mut Option<Vec<u8>>, number: u16) {
    blob.as_mut().expect("it has one")[6..8].copy_from_slice(&number.to_be_bytes());
}

#[test]
fn keys_whose_parents_record_names_another_algorithm_are_named_and_mended_one_by_one() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let (id, bytes) = key_of(&vault, &admin, &service, "k").await;
        let default = default_key(&vault, &service).await;
        let default_bytes = opened(&vault, &service, default).await;
        let l2 = vault.tenant_by_name(&name("acme")).await.expect("the store is well").expect("it was made").key;
        plant(&world, &vault, l2, |row| row.header.aead = Aead::XChaCha20Poly1305);

        let vault = world.unseal().await.expect("the roots open");
        let refused = decrypts(&vault, &service, id).await.expect_err("nobody can tell who is right");
        assert!(refused.to_string().contains("AES-256-GCM") && refused.to_string().contains("strongroom key repair"), "{refused}");
        assert!(swept(&vault, 100).await.iter().any(|finding| finding.row == id), "the sweep names it");
        rekey_l2(&vault, &admin, "acme").await.expect("the L2 itself opens");
        let (moved, findings) = walked(&vault, 100).await;
        let named: BTreeSet<RowId> = findings.iter().map(|finding| finding.row).collect();
        assert_eq!((moved, named), (0, BTreeSet::from([id, default])), "{findings:?}");

        let before = world.rows(Layer::L3);
        let would = vault.would_repair(id).await.expect("it opens by its own algorithm");
        assert_eq!((would.found, would.recorded), (Aead::Aes256Gcm, Aead::XChaCha20Poly1305));
        assert_eq!(world.rows(Layer::L3), before, "to look changes nothing");
        for key in [id, default] {
            let mended = repair(&vault, key).await.expect("it opens by its own algorithm");
            let row = &world.rows(Layer::L3)[&key];
            assert_eq!(row.header, mended.header);
            assert_eq!((row.header.parent.version.0, row.header.generation.0), (2, before[&key].header.generation.0 + 1));
            assert!(matches!(repair(&vault, key).await, Err(RepairError::Sound(Aead::XChaCha20Poly1305))), "once is enough");
        }
        assert_eq!(walked(&vault, 100).await, (0, vec![]));
        let again = world.unseal().await.expect("the roots open");
        for vault in [&vault, &again] {
            assert_eq!(opened(vault, &service, id).await, bytes);
            assert_eq!(opened(vault, &service, default).await, default_bytes);
            // What was planted was not counted into its bucket, as nothing is that comes past the writer.
            let findings = swept(vault, 100).await;
            assert!(findings.iter().all(|finding| finding.row.layer == Layer::Bucket), "{findings:?}");
        }
    });
}

#[test]
fn what_does_not_open_by_its_own_algorithm_is_not_mended() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let (id, _) = key_of(&vault, &admin, &service, "k").await;
        assert!(matches!(repair(&vault, id).await, Err(RepairError::Sound(Aead::Aes256Gcm))));
        let sound = world.store.rows()[&id].clone();
        let forgeries: [Forgery; 6] = [
            Forgery("does not verify", |row| set_algorithm(&mut row.material, 2)),
            Forgery("does not verify", |row| set_algorithm(&mut row.attributes, 3)),
            Forgery("algorithm", |row| set_algorithm(&mut row.material, 9)),
            Forgery("parent version", |row| row.header.parent.version = row.header.parent.version.next()),
            Forgery("does not verify", |row| row.header.wrap_seq += 1),
            Forgery("length", |row| row.material.as_mut().expect("it has some").truncate(90)),
        ];
        for Forgery(words, forge) in forgeries {
            world.store.rows().insert(id, sound.clone());
            plant(&world, &vault, id, forge);
            let vault = world.unseal().await.expect("the roots open");
            let stored = world.store.rows()[&id].clone();
            let refused = repair(&vault, id).await.expect_err(words);
            let told = refused.to_string();
            assert!(told.contains(words) || matches!(refused, RepairError::Above { .. }), "{words}: {told}");
            assert!(told.contains("restore"), "it says what to do: {told}");
            assert_eq!(world.store.rows()[&id], stored, "what is refused changes nothing");
        }
        // Without the cluster's own MAC it is not even looked at.
        world.store.rows().insert(id, sound);
        world.store.edit(id, |row| set_algorithm(&mut row.material, 2));
        let vault = world.unseal().await.expect("the roots open");
        let refused = repair(&vault, id).await.expect_err("its MAC does not verify");
        assert!(matches!(&refused, RepairError::Beyond { what } if what.contains("MAC")), "{refused}");
        let none = RowId::new(Layer::L3, uuid::Uuid::from_u128(7));
        assert!(matches!(repair(&vault, none).await, Err(RepairError::Keys(Error::NotFound))));
        let tenant = vault.tenant_by_name(&name("acme")).await.expect("the store is well").expect("it was made");
        assert!(matches!(repair(&vault, RowId::new(Layer::Tenant, tenant.key.uuid)).await, Err(RepairError::Keys(Error::NotFound))));
    });
}

#[test]
fn a_key_below_one_that_does_not_open_is_mended_after_that_one() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let (id, bytes) = key_of(&vault, &admin, &service, "k").await;
        let l2 = vault.tenant_by_name(&name("acme")).await.expect("the store is well").expect("it was made").key;
        let sound = world.store.rows()[&l2].clone();
        plant(&world, &vault, l2, |row| set_algorithm(&mut row.material, 3));
        let broken = world.unseal().await.expect("the roots open");
        let refused = repair(&broken, id).await.expect_err("its L2 does not open");
        assert!(matches!(refused, RepairError::Above { parent: Some(parent), .. } if parent == l2), "{refused}");
        world.store.rows().insert(l2, sound);
        let again = world.unseal().await.expect("the roots open");
        assert_eq!(opened(&again, &service, id).await, bytes);
    });
}
