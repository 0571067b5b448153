//! Get and Export: what leaves, wrapped under what, and what never does.

use cipher::keywrap::KeyWrap;
use futures_executor::block_on;
use keys::Error;
use keys::attributes::Attributes;
use keys::export::{Exported, Frame};
use keys::id::{RowId, SessionId};
use keys::lifecycle::{Event, State};
use keys::policy::verb::{Export, Get, WrapWith};
use keys::policy::{Grants, Refusal};
use keys::tenancy::NewServiceKey;
use keys::vault::Vault;

use super::{edit, must_be_sound, rekey, view};
use crate::fakes::{World, settle};
use crate::{change, create, decrypts, encrypts, named};

const MASK_KEYS: u32 = 0x30;

async fn export(vault: &Vault, admin: &Grants, id: RowId, with: RowId, how: KeyWrap, frame: Frame) -> Result<Exported, Error> {
    let mut unit = vault.begin(SessionId(2));
    let object = admin.check::<Export>(&vault.header(&unit, admin, id).await?)?;
    let with = admin.check::<WrapWith>(&vault.header(&unit, admin, with).await?)?;
    let exported = vault.export(&mut unit, object, with, how, |_| Ok::<_, Error>(frame)).await?;
    let _receipt = unit.commit().await?;
    Ok(exported)
}

async fn bare(vault: &Vault, admin: &Grants, id: RowId, with: RowId) -> Result<Exported, Error> {
    export(vault, admin, id, with, KeyWrap::Kw, Frame::default()).await
}

/// An Active key that may leave, and an Active one that wraps.
async fn pair(vault: &Vault, admin: &Grants, service: &Grants) -> (RowId, RowId) {
    let id = create(vault, service, Attributes { extractable: true, ..named("leaves") }).await.expect("the name is free");
    let with = create(vault, service, Attributes { usage_mask: MASK_KEYS, ..named("wraps") }).await.expect("the name is free");
    for key in [id, with] {
        change(vault, admin, key, Event::Activate).await.expect("a new key activates");
    }
    (id, with)
}

/// The wrapping key's bytes, which only a test can have: wrapped under another one, whose bytes are found the same way, there would be no end.
async fn opened(vault: &Vault, admin: &Grants, wrapped: &[u8], with: RowId, how: KeyWrap) -> Vec<u8> {
    let unit = vault.begin(SessionId(2));
    let header = vault.header(&unit, admin, with).await.expect("it is there");
    let open = |key: &[u8], _: &_| {
        let mut out = vec![0; wrapped.len() - 8];
        let bytes = how.unwrap(key, wrapped, &mut out).expect("it was wrapped under this key");
        out.truncate(bytes);
        Ok(out)
    };
    vault.open(&unit, admin.check::<WrapWith>(&header).expect("its own"), open).await.expect("it is Active")
}

#[test]
fn an_extractable_key_leaves_wrapped_and_is_not_fresh_any_more() {
    block_on(async {
        let (_world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let (id, with) = pair(&vault, &admin, &service).await;
        let material = encrypts(&vault, &service, id).await.expect("it is Active");
        let before = view(&vault, &admin, id).await;
        assert!(!before.attributes.served);
        let first = bare(&vault, &admin, id, with).await.expect("it may leave");
        assert_eq!(first.wrapped.len(), 40);
        assert_eq!(opened(&vault, &admin, &first.wrapped, with, KeyWrap::Kw).await, material);
        assert_eq!((first.view.attributes.served, first.view.header.generation), (true, before.header.generation.next()));
        let frame = Frame { before: b"head".to_vec(), after: b"tail, odd".to_vec() };
        let second = export(&vault, &admin, id, with, KeyWrap::Kwp, frame).await.expect("it may leave again");
        assert_eq!(second.view.header.generation, first.view.header.generation, "only the first time changes it");
        assert_eq!(opened(&vault, &admin, &second.wrapped, with, KeyWrap::Kwp).await, [b"head", &material[..], b"tail, odd"].concat());
        assert!(!rekey(&vault, &admin, id).await.expect("it is the newest").attributes.served, "the replacement is fresh");
        must_be_sound(&vault, &admin, &service).await;
    });
}

#[test]
fn a_key_that_is_not_extractable_never_leaves() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let (id, with) = pair(&vault, &admin, &service).await;
        edit(&vault, &admin, id, |attributes| attributes.extractable = false).await.expect("it is live");
        let before = world.store.rows().clone();
        assert!(matches!(bare(&vault, &admin, id, with).await, Err(Error::NotExtractable)));
        assert!(matches!(bare(&vault, &admin, super::default_key(&vault, &service).await, with).await, Err(Error::NotExtractable)));
        assert_eq!(*world.store.rows(), before);
    });
}

#[test]
fn only_a_key_for_wrapping_alone_that_is_active_wraps() {
    block_on(async {
        let (_world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let (id, with) = pair(&vault, &admin, &service).await;
        for usage_mask in [0, 0x10, 0x20, 0x0C, 0x70] {
            let name = format!("mask {usage_mask}");
            let wrong = create(&vault, &service, Attributes { usage_mask, ..named(&name) }).await.expect("the name is free");
            change(&vault, &admin, wrong, Event::Activate).await.expect("a new key activates");
            assert!(matches!(bare(&vault, &admin, id, wrong).await, Err(Error::Denied { .. })), "{usage_mask:#x}");
        }
        let attributes = Attributes { usage_mask: MASK_KEYS, ..named("short") };
        let short = NewServiceKey { service: service.service().expect("a service"), bits: 128, attributes };
        let mut unit = vault.begin(SessionId(2));
        let short = vault.create_service_key(&mut unit, short).await.expect("the name is free").id;
        let _receipt = unit.commit().await.expect("the store is well");
        change(&vault, &admin, short, Event::Activate).await.expect("a new key activates");
        assert!(matches!(bare(&vault, &admin, id, short).await, Err(Error::Denied { .. })), "128 bits do not keep 256");
        let early = create(&vault, &service, Attributes { usage_mask: MASK_KEYS, ..named("early") }).await.expect("the name is free");
        assert!(matches!(bare(&vault, &admin, id, early).await, Err(Error::WrongState { is: State::PreActive, .. })));
        let both = Attributes { usage_mask: MASK_KEYS, extractable: true, ..named("both") };
        let both = create(&vault, &service, both).await.expect("the name is free");
        change(&vault, &admin, both, Event::Activate).await.expect("a new key activates");
        assert!(matches!(bare(&vault, &admin, both, both).await, Err(Error::Denied { .. })), "not under itself");
        bare(&vault, &admin, both, with).await.expect("under another");
        for (event, is) in
            [(Event::Deprecate, State::Deprecated), (Event::Compromise, State::Compromised), (Event::Destroy, State::DestroyedCompromised)]
        {
            change(&vault, &admin, with, event).await.expect("the life of a key");
            match bare(&vault, &admin, id, with).await {
                Err(Error::WrongState { is: found, .. }) => assert_eq!(found, is),
                other => panic!("{event:?}: {other:?}"),
            }
        }
    });
}

#[test]
fn what_can_still_be_used_may_leave_and_nothing_else() {
    block_on(async {
        let (_world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let (id, with) = pair(&vault, &admin, &service).await;
        let early = create(&vault, &service, Attributes { extractable: true, ..named("early") }).await.expect("the name is free");
        bare(&vault, &admin, early, with).await.expect("a Pre-Active key may be handed out ahead of its time");
        change(&vault, &admin, id, Event::Deprecate).await.expect("an Active key is revoked");
        let exported = bare(&vault, &admin, id, with).await.expect("a Deactivated key still decrypts");
        assert_eq!(
            opened(&vault, &admin, &exported.wrapped, with, KeyWrap::Kw).await,
            decrypts(&vault, &service, id).await.expect("it is there")
        );
        for event in [Event::Compromise, Event::Destroy] {
            change(&vault, &admin, id, event).await.expect("the life of a key");
            assert!(matches!(bare(&vault, &admin, id, with).await, Err(Error::WrongState { .. })), "{event:?}");
        }
    });
}

#[test]
fn nobody_but_the_tenants_admin_gets_a_key_and_only_under_the_tenants_own() {
    block_on(async {
        let (_world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let (other_admin, other_service) = settle(&vault, "globex", "billing").await;
        let (id, with) = pair(&vault, &admin, &service).await;
        let (_, foreign) = pair(&vault, &other_admin, &other_service).await;
        let header = view(&vault, &admin, id).await.header;
        assert_eq!(service.check::<Get>(&header).map(|_| ()), Err(Refusal::Denied));
        assert_eq!(service.check::<Export>(&header).map(|_| ()), Err(Refusal::Denied));
        assert_eq!(other_admin.check::<Get>(&header).map(|_| ()), Err(Refusal::NotFound));
        assert!(matches!(bare(&vault, &admin, id, foreign).await, Err(Error::NotFound)));
        // Two proofs of two principals do not add up to one right.
        let mut unit = vault.begin(SessionId(2));
        let object = admin.check::<Get>(&header).expect("its own");
        let foreign = vault.header(&unit, &other_admin, foreign).await.expect("it is there");
        let foreign = other_admin.check::<WrapWith>(&foreign).expect("its own");
        let mixed = vault.export(&mut unit, object, foreign, KeyWrap::Kw, |_| Ok::<_, Error>(Frame::default())).await;
        assert!(matches!(mixed, Err(Error::Denied { .. })));
        bare(&vault, &admin, id, with).await.expect("under its own");
    });
}

#[test]
fn a_length_that_kw_does_not_take_is_refused_and_changes_nothing() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let (id, with) = pair(&vault, &admin, &service).await;
        let before = world.store.rows().clone();
        let frame = |bytes| Frame { before: vec![0; bytes], after: Vec::new() };
        assert!(matches!(export(&vault, &admin, id, with, KeyWrap::Kw, frame(1)).await, Err(Error::Invalid { field: "Key Value", .. })));
        assert!(matches!(export(&vault, &admin, id, with, KeyWrap::Kwp, frame(1 << 16)).await, Err(Error::Invalid { .. })));
        assert_eq!(*world.store.rows(), before);
    });
}
