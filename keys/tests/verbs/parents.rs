//! What the state of a tenant's own keys lets happen to the keys below them.

use cipher::aead::Aead;
use futures_executor::block_on;
use keys::Error;
use keys::attributes::Attributes;
use keys::id::{ChainId, Generation, KeyVersion, Layer, RowId, SessionId};
use keys::lifecycle::{Event, State};
use keys::row::{Algorithm, Header, ObjectType, Owner, ParentRef};
use keys::tenancy::Tenant;
use keys::vault::{NewKey, Vault};

use super::{edit, rekey};
use crate::fakes::{World, settle};
use crate::{change, create, decrypts, named};

async fn tenant(vault: &Vault) -> Tenant {
    vault.tenants().await.expect("the store is well").pop().expect("there is one")
}

#[test]
fn under_a_deprecated_l2_keys_are_still_governed_but_not_made() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let id = create(&vault, &service, named("k")).await.expect("the name is free");
        let doomed = create(&vault, &service, named("doomed")).await.expect("the name is free");
        world.set_state(&vault, tenant(&vault).await.key, State::Deprecated);
        let again = world.unseal().await.expect("the roots open");
        change(&again, &admin, id, Event::Activate).await.expect("its attributes are sealed where they lie");
        edit(&again, &admin, id, |attributes| attributes.sensitive = true).await.expect("the same");
        change(&again, &admin, doomed, Event::Destroy).await.expect("the same");
        decrypts(&again, &service, id).await.expect("it opens");
        assert!(create(&again, &service, named("new")).await.is_err(), "new keys need an Active parent");
        assert!(rekey(&again, &admin, id).await.is_err(), "so do new versions");
        change(&again, &admin, id, Event::Deprecate).await.expect("and the old one is as it was");
    });
}

#[test]
fn under_a_compromised_l2_nothing_opens() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let id = create(&vault, &service, named("k")).await.expect("the name is free");
        for state in [State::Compromised, State::Retired] {
            world.set_state(&vault, tenant(&vault).await.key, state);
            let again = world.unseal().await.expect("the roots open");
            assert!(decrypts(&again, &service, id).await.is_err(), "{state:?}");
            assert!(change(&again, &admin, id, Event::Activate).await.is_err(), "{state:?}");
        }
    });
}

/// A key of `layer` under `parent`.
async fn insert(vault: &Vault, layer: Layer, owner: Owner, parent: ParentRef) -> Header {
    let header = Header {
        id: RowId::new(layer, vault.new_uuid().expect("there is randomness")),
        chain: ChainId::new(vault.new_uuid().expect("there is randomness")),
        version: KeyVersion::FIRST,
        object_type: ObjectType::SYMMETRIC_KEY,
        algorithm: Algorithm::AES,
        bits: 256,
        aead: Aead::Aes256Gcm,
        state: State::Active,
        expiry: None,
        owner,
        generation: Generation::FIRST,
        parent,
        wrap_seq: 1,
        attributes_seq: 1,
    };
    let mut unit = vault.begin(SessionId(2));
    let attributes = Attributes { usage_mask: 0x0C, ..Attributes::default() };
    let header = vault.insert(&mut unit, NewKey { header, attributes }).await.expect("its parent is Active");
    let _receipt = unit.commit().await.expect("the fakes are well");
    header
}

/// The state of an L2 was not looked at when an L2.1 below it was opened, and what had been opened through it stayed open.
#[test]
fn a_compromised_l2_shuts_what_lies_under_its_l21_too() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (_admin, service) = settle(&vault, "acme", "billing").await;
        let tenant = tenant(&vault).await;
        let l21 = insert(&vault, Layer::L21, Owner { tenant: tenant.id, service: None }, tenant.parent).await;
        let owner = Owner { tenant: tenant.id, service: service.service() };
        let under = ParentRef { chain: l21.chain, version: l21.version };
        let (first, second) = (insert(&vault, Layer::L3, owner, under).await, insert(&vault, Layer::L3, owner, under).await);
        decrypts(&vault, &service, first.id).await.expect("both links are Active");
        world.set_state(&vault, tenant.key, State::Compromised);
        // The vault forgets the L2, as it does after each change of it.
        assert!(vault.read_back(&tenant).await.is_err(), "a compromised L2 is no parent");
        assert!(matches!(decrypts(&vault, &service, second.id).await, Err(Error::Corrupt { .. })), "what was opened through it is shut");
        let again = world.unseal().await.expect("the roots open");
        assert!(decrypts(&again, &service, first.id).await.is_err(), "nor is it opened anew");
    });
}
