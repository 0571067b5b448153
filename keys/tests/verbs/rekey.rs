//! ReKey: what the new version is, what becomes of the old one, and when it is refused.

use std::sync::atomic::Ordering;

use futures_executor::block_on;
use keys::Error;
use keys::attributes::{Attributes, Links, Other};
use keys::id::{KeyVersion, Layer, RowId, SessionId, Time};
use keys::lifecycle::{Dates, Event, State};
use keys::policy::Refusal;
use keys::policy::verb::{Activate, ReKey, Revoke};

use super::{default_key, edit, must_be_sound, rekey, rekey_with, view};
use crate::fakes::{START_SECONDS, World, settle};
use crate::{change, create, decrypts, encrypts, named};

#[test]
fn the_replacement_of_an_active_key_takes_over_everything_but_the_past() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let id = create(&vault, &service, named("invoices")).await.expect("the name is free");
        change(&vault, &admin, id, Event::Activate).await.expect("a new key activates");
        let (old, material) = (view(&vault, &admin, id).await, encrypts(&vault, &service, id).await.expect("it is Active"));
        world.clock.0.store(START_SECONDS + 60, Ordering::Relaxed);
        let new = rekey(&vault, &admin, id).await.expect("an Active key is replaced");

        assert_eq!((new.header.chain, new.header.version, new.state), (old.header.chain, KeyVersion(2), State::Active));
        assert_eq!(new.header.owner, old.header.owner);
        assert_eq!(new.attributes.links, Links { replaced: Some(id), replacement: None, replacement_index: 0 });
        assert_eq!((&new.attributes.names, new.attributes.usage_mask), (&old.attributes.names, old.attributes.usage_mask));
        assert_eq!(new.attributes.dates.initial, Time::from_seconds(START_SECONDS + 60));
        assert_eq!(new.attributes.dates.activation, old.attributes.dates.activation);
        assert_ne!(new.attributes.digest, old.attributes.digest);
        let demoted = view(&vault, &admin, id).await;
        assert_eq!((demoted.state, demoted.attributes.names.len()), (State::Deprecated, 0));
        assert_eq!(demoted.attributes.links.replacement, Some(new.header.id));
        assert_eq!(demoted.attributes.dates.deactivation, Some(Time::from_seconds(START_SECONDS + 60)));
        assert_eq!(demoted.attributes.digest, old.attributes.digest);

        let again = world.unseal().await.expect("the roots open");
        assert_eq!(decrypts(&again, &service, id).await.expect("it still processes"), material);
        assert!(matches!(encrypts(&again, &service, id).await, Err(Error::WrongState { is: State::Deprecated, .. })));
        assert_ne!(encrypts(&again, &service, new.header.id).await.expect("it is Active"), material);
        let term = again.registry().integrity().terms.name(service.tenant().expect("a tenant"), "invoices");
        let found = again.find(&again.begin(SessionId(2)), &service, Layer::L3, vec![term], |_| true).await.expect("the store is well");
        assert_eq!(found, [new.header.id]);
        assert!(matches!(create(&again, &service, named("invoices")).await, Err(Error::NameTaken { .. })));
        must_be_sound(&again, &admin, &service).await;
    });
}

#[test]
fn the_iv_budget_of_a_replacement_is_its_own() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let id = default_key(&vault, &service).await;
        vault.gcm_iv(&view(&vault, &admin, id).await.header).await.expect("a new key has all its IVs");
        let new = rekey(&vault, &admin, id).await.expect("an Active key is replaced").header;
        assert_eq!(vault.ready_gcm_iv(new.id).expect("there is randomness"), None);
        vault.gcm_iv(&new).await.expect("a new key has all its IVs");
        for budget in [id, new.id].map(|key| RowId::new(Layer::IvBudget, key.uuid)) {
            assert!(world.store.rows().contains_key(&budget));
        }
    });
}

#[test]
fn the_default_of_a_service_moves_with_its_replacement() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let first = default_key(&vault, &service).await;
        let epoch = vault.policy_epoch();
        let second = rekey(&vault, &admin, first).await.expect("an Active key is replaced").header.id;
        assert_eq!(default_key(&vault, &service).await, second);
        assert_ne!(vault.policy_epoch(), epoch, "whoever keeps the old default asks again");
        for event in [Event::Deprecate, Event::Compromise] {
            assert!(matches!(change(&vault, &admin, second, event).await, Err(Error::Denied { .. })), "{event:?}");
        }
        change(&vault, &admin, first, Event::Destroy).await.expect("the old one is a key like any other");
        must_be_sound(&vault, &admin, &service).await;
        let again = world.unseal().await.expect("the roots open");
        assert_eq!(
            again
                .service_by_name(service.tenant().expect("a tenant"), &crate::fakes::name("billing"))
                .await
                .expect("it is there")
                .map(|found| found.default_key),
            Some(second)
        );
        must_be_sound(&again, &admin, &service).await;
    });
}

#[test]
fn a_pre_active_key_is_replaced_by_one_and_cannot_come_alive_beside_it() {
    block_on(async {
        let (_world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let id = create(&vault, &service, named("k")).await.expect("the name is free");
        let new = rekey(&vault, &admin, id).await.expect("a Pre-Active key is replaced");
        assert_eq!((new.state, view(&vault, &admin, id).await.state), (State::PreActive, State::Deprecated));
        assert!(matches!(change(&vault, &admin, id, Event::Activate).await, Err(Error::WrongState { .. })));
        change(&vault, &admin, new.header.id, Event::Activate).await.expect("the new one activates");
        must_be_sound(&vault, &admin, &service).await;
    });
}

#[test]
fn what_has_left_the_active_state_stays_what_it_is() {
    block_on(async {
        let (_world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        for event in [Event::Deprecate, Event::Compromise] {
            let id = create(&vault, &service, named(&format!("{event:?}"))).await.expect("the name is free");
            change(&vault, &admin, id, Event::Activate).await.expect("a new key activates");
            change(&vault, &admin, id, event).await.expect("an Active key is revoked");
            let before = view(&vault, &admin, id).await;
            let new = rekey(&vault, &admin, id).await.expect("the newest version is replaced");
            let after = view(&vault, &admin, id).await;
            assert_eq!((new.state, after.state), (State::Active, before.state), "{event:?}");
            assert_eq!(after.attributes.dates.deactivation, before.attributes.dates.deactivation);
            assert_eq!(
                (new.attributes.dates.deactivation, new.attributes.dates.compromise, new.attributes.revocation.as_ref()),
                (None, None, None)
            );
            encrypts(&vault, &service, new.header.id).await.expect("it is Active");
        }
        must_be_sound(&vault, &admin, &service).await;
    });
}

#[test]
fn only_the_newest_version_with_material_is_replaced() {
    block_on(async {
        let (_world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let first = create(&vault, &service, named("k")).await.expect("the name is free");
        change(&vault, &admin, first, Event::Activate).await.expect("a new key activates");
        let second = rekey(&vault, &admin, first).await.expect("it is the newest").header.id;
        match rekey(&vault, &admin, first).await {
            Err(error @ Error::Replaced { by }) => {
                assert_eq!(by, second);
                assert!(error.to_string().contains(&second.to_string()), "{error}");
            }
            other => panic!("{other:?}"),
        }
        change(&vault, &admin, second, Event::Deprecate).await.expect("an Active key is revoked");
        change(&vault, &admin, second, Event::Destroy).await.expect("a revoked key is destroyed");
        assert!(matches!(rekey(&vault, &admin, second).await, Err(Error::WrongState { is: State::Destroyed, .. })));
        let header = view(&vault, &admin, first).await.header;
        assert_eq!(service.check::<ReKey>(&header).map(|_| ()), Err(Refusal::Denied));
        must_be_sound(&vault, &admin, &service).await;
    });
}

#[test]
fn a_replacement_that_would_not_be_in_use_at_once_is_refused_and_changes_nothing() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let id = create(&vault, &service, named("k")).await.expect("the name is free");
        change(&vault, &admin, id, Event::Activate).await.expect("a new key activates");
        let default = default_key(&vault, &service).await;
        let before = world.store.rows().clone();
        let later = Some(Time::from_seconds(START_SECONDS + 100));
        let with = |dates: Dates| move |attributes: Attributes| Attributes { dates, ..attributes };
        let refused = rekey_with(&vault, &admin, id, with(Dates { activation: later, ..Dates::default() })).await;
        assert!(matches!(refused, Err(Error::Invalid { field: "Activation Date", .. })));
        let refused = rekey_with(&vault, &admin, id, with(Dates::default())).await;
        assert!(matches!(refused, Err(Error::Invalid { field: "Activation Date", .. })));
        let masked = |usage_mask| move |attributes: Attributes| Attributes { usage_mask, ..attributes };
        assert!(matches!(
            rekey_with(&vault, &admin, id, masked(0x30)).await,
            Err(Error::Invalid { field: "Cryptographic Usage Mask", .. })
        ));
        let ended = Dates { activation: Some(vault.now()), protect_stop: Some(vault.now()), ..Dates::default() };
        let refused = rekey_with(&vault, &admin, id, with(ended)).await;
        assert!(matches!(refused, Err(Error::Invalid { field: "Protect Stop Date", .. })));
        let dates = Dates::default();
        for dates in
            [Dates { deactivation: later, ..dates }, Dates { protect_stop: later, ..dates }, Dates { process_start: later, ..dates }]
        {
            let dates = Dates { activation: Some(vault.now()), ..dates };
            assert!(matches!(rekey_with(&vault, &admin, default, with(dates)).await, Err(Error::Denied { .. })));
        }
        assert_eq!(*world.store.rows(), before);
    });
}

#[test]
fn an_end_that_has_passed_is_not_the_end_of_the_replacement() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let at = |seconds| Some(Time::from_seconds(START_SECONDS + seconds));
        let dates = Dates { activation: at(0), protect_stop: at(10), deactivation: at(100), ..Dates::default() };
        let id = create(&vault, &service, Attributes { dates, ..named("k") }).await.expect("the name is free");
        world.clock.0.store(START_SECONDS + 20, Ordering::Relaxed);
        let new = rekey(&vault, &admin, id).await.expect("an Active key is replaced");
        assert_eq!((new.attributes.dates.protect_stop, new.attributes.dates.deactivation), (None, at(100)));
        encrypts(&vault, &service, new.header.id).await.expect("it protects");
        world.clock.0.store(START_SECONDS + 200, Ordering::Relaxed);
        let newer = rekey(&vault, &admin, new.header.id).await.expect("a Deactivated key is replaced");
        assert_eq!((newer.state, newer.attributes.dates.deactivation), (State::Active, None));
        assert_eq!(view(&vault, &admin, new.header.id).await.attributes.dates.deactivation, at(100), "it ended when it ended");
        must_be_sound(&vault, &admin, &service).await;
    });
}

#[test]
fn a_start_that_an_activation_overtook_is_the_activation_of_the_replacement() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let at = |seconds| Some(Time::from_seconds(START_SECONDS + seconds));
        let dates = Dates { process_start: at(10), ..Dates::default() };
        let id = create(&vault, &service, Attributes { dates, ..named("k") }).await.expect("the name is free");
        world.clock.0.store(START_SECONDS + 20, Ordering::Relaxed);
        change(&vault, &admin, id, Event::Activate).await.expect("a new key activates");
        let new = rekey(&vault, &admin, id).await.expect("an Active key is replaced").attributes.dates;
        assert_eq!((new.activation, new.process_start), (at(20), at(20)));
    });
}

#[test]
fn a_batch_sees_its_own_replacements() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let first = default_key(&vault, &service).await;
        let before = world.store.rows().clone();
        for undo in [true, false] {
            let mut unit = vault.begin(SessionId(2));
            let mut id = first;
            for version in 2..=4 {
                let header = vault.header(&unit, &admin, id).await.expect("the unit sees it");
                let authorized = admin.check::<ReKey>(&header).expect("it is the admin's");
                let new =
                    vault.rekey(&mut unit, authorized, |_, attributes, _| Ok::<_, Error>(attributes)).await.expect("it is the newest");
                assert_eq!(new.header.version, KeyVersion(version));
                id = new.header.id;
            }
            let header = vault.header(&unit, &admin, id).await.expect("the unit sees it");
            let revoke = admin.check::<Revoke>(&header).expect("it is the admin's");
            assert!(
                matches!(vault.change(&mut unit, revoke, Event::Deprecate, |_, _| ()).await, Err(Error::Denied { .. })),
                "it is the default"
            );
            let header = vault.header(&unit, &admin, first).await.expect("the unit sees it");
            let revoke = admin.check::<Revoke>(&header).expect("it is the admin's");
            vault.change(&mut unit, revoke, Event::Compromise, |_, _| ()).await.expect("it is not the default any more");
            if undo {
                unit.undo();
            }
            let _receipt = unit.commit().await.expect("the fakes are well");
            assert_eq!(*world.store.rows() == before, undo);
        }
        must_be_sound(&vault, &admin, &service).await;
    });
}

#[test]
fn a_replacement_can_take_another_name_and_gives_the_old_one_free() {
    block_on(async {
        let (_world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let id = create(&vault, &service, named("old")).await.expect("the name is free");
        create(&vault, &service, named("taken")).await.expect("the name is free");
        let named_as = |text: &'static str| move |attributes: Attributes| Attributes { names: named(text).names, ..attributes };
        assert!(matches!(rekey_with(&vault, &admin, id, named_as("taken")).await, Err(Error::NameTaken { .. })));
        let new = rekey_with(&vault, &admin, id, named_as("new")).await.expect("the name is free");
        create(&vault, &service, named("old")).await.expect("nobody holds it");
        assert!(matches!(edit(&vault, &admin, id, |attributes| attributes.names = named("new").names).await, Err(Error::NameTaken { .. })));
        change(&vault, &admin, new.header.id, Event::Destroy).await.expect("a Pre-Active key is destroyed");
        create(&vault, &service, named("new")).await.expect("nobody holds it");
    });
}

#[test]
fn an_authorization_of_another_generation_replaces_nothing() {
    block_on(async {
        let (_world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let id = create(&vault, &service, named("k")).await.expect("the name is free");
        let mut unit = vault.begin(SessionId(2));
        let header = vault.header(&unit, &admin, id).await.expect("it is there");
        let (stale, fresh) = (admin.check::<ReKey>(&header).expect("its own"), admin.check::<Activate>(&header).expect("its own"));
        vault.change(&mut unit, fresh, Event::Activate, |_, _| ()).await.expect("a new key activates");
        assert!(matches!(vault.rekey(&mut unit, stale, |_, attributes, _| Ok::<_, Error>(attributes)).await, Err(Error::Raced)));
    });
}

#[test]
fn a_replacement_does_not_take_over_what_was_said_of_the_old_version_alone() {
    block_on(async {
        let (_world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let id = create(&vault, &service, named("k")).await.expect("the name is free");
        let other = |name: &str| Other { name: name.to_owned(), index: 0, value: vec![1] };
        let said = ["Link", "x-tag", "Original Creation Date", "Random Number Generator", "Contact Information"].map(other);
        edit(&vault, &admin, id, |attributes| attributes.others = said.to_vec()).await.expect("it is live");
        let new = rekey(&vault, &admin, id).await.expect("a Pre-Active key is replaced");
        assert_eq!(new.attributes.others, [other("x-tag"), other("Contact Information")]);
        assert_eq!(view(&vault, &admin, id).await.attributes.others, said);
    });
}
