//! Attribute edits: names, what the server keeps, and how far dates may reach.

use std::sync::atomic::Ordering;

use futures_executor::block_on;
use keys::Error;
use keys::attributes::{Attributes, Links, Other, Revocation};
use keys::id::{Layer, SessionId, Time};
use keys::lifecycle::{Event, State};
use keys::policy::Refusal;
use keys::policy::verb::{AddAttribute, DeleteAttribute, ModifyAttribute};
use keys::vault::View;

use super::{default_key, edit, must_be_sound, view};
use crate::fakes::{START_SECONDS, World, settle};
use crate::{change, create, encrypts, named};

fn other(value: &[u8]) -> Other {
    Other { name: "x-tag".to_owned(), index: 0, value: value.to_vec() }
}

#[test]
fn an_edit_is_stored_found_and_counted() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let id = create(&vault, &service, named("k")).await.expect("the name is free");
        let before = view(&vault, &admin, id).await;
        world.clock.0.store(START_SECONDS + 5, Ordering::Relaxed);
        let after = edit(&vault, &admin, id, |attributes| attributes.others.push(other(b"blue"))).await.expect("it is live");
        assert_eq!(after.header.generation, before.header.generation.next());
        assert_eq!(after.attributes.dates.last_change, Time::from_seconds(START_SECONDS + 5));
        let again = world.unseal().await.expect("the roots open");
        assert_eq!(view(&again, &admin, id).await.attributes.others, [other(b"blue")]);
        let find = async |value: &[u8]| {
            let term = again.registry().integrity().terms.other(service.tenant().expect("a tenant"), "x-tag", value);
            again.find(&again.begin(SessionId(2)), &service, Layer::L3, vec![term], |_| true).await.expect("the store is well")
        };
        assert_eq!(find(b"blue").await, [id]);
        edit(&again, &admin, id, |attributes| attributes.others = vec![other(b"red")]).await.expect("it is live");
        assert_eq!((find(b"blue").await, find(b"red").await), (vec![], vec![id]));
        must_be_sound(&again, &admin, &service).await;
    });
}

#[test]
fn names_are_claimed_and_freed_by_difference() {
    block_on(async {
        let (_world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let id = create(&vault, &service, named("one")).await.expect("the name is free");
        create(&vault, &service, named("taken")).await.expect("the name is free");
        let names = |texts: &[&str]| texts.iter().flat_map(|text| named(text).names).collect::<Vec<_>>();
        let refused = edit(&vault, &admin, id, |attributes| attributes.names = names(&["one", "taken"])).await;
        assert!(matches!(refused, Err(Error::NameTaken { .. })));
        edit(&vault, &admin, id, |attributes| attributes.names = names(&["two", "three"])).await.expect("both are free");
        create(&vault, &service, named("one")).await.expect("it was given up");
        for held in ["two", "three"] {
            assert!(matches!(create(&vault, &service, named(held)).await, Err(Error::NameTaken { .. })), "{held}");
        }
        let seventeen = (0..17).flat_map(|n| named(&format!("n{n}")).names).collect();
        assert!(matches!(
            edit(&vault, &admin, id, |attributes| attributes.names = seventeen).await,
            Err(Error::Invalid { field: "Name", .. })
        ));
        change(&vault, &admin, id, Event::Destroy).await.expect("a Pre-Active key is destroyed");
        create(&vault, &service, named("two")).await.expect("it is free after destroy");
        must_be_sound(&vault, &admin, &service).await;
    });
}

#[test]
fn a_name_deleted_and_added_again_in_one_batch_stays_taken() {
    block_on(async {
        let (_world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let id = create(&vault, &service, named("k")).await.expect("the name is free");
        let heir = create(&vault, &service, named("heir")).await.expect("the name is free");
        for taker in [id, heir] {
            let mut unit = vault.begin(SessionId(2));
            let holder = vault.header(&unit, &admin, id).await.expect("it is there");
            let removed = |view: &View, _| Ok::<_, Error>(Attributes { names: Vec::new(), ..(*view.attributes).clone() });
            vault.edit(&mut unit, admin.check::<DeleteAttribute>(&holder).expect("its own"), removed).await.expect("it is live");
            let header = vault.header(&unit, &admin, taker).await.expect("the unit sees it");
            let added = |view: &View, _| Ok::<_, Error>(Attributes { names: named("k").names, ..(*view.attributes).clone() });
            vault.edit(&mut unit, admin.check::<AddAttribute>(&header).expect("its own"), added).await.expect("it was given up");
            let _receipt = unit.commit().await.expect("the fakes are well");
            assert!(matches!(create(&vault, &service, named("k")).await, Err(Error::NameTaken { .. })));
        }
        create(&vault, &service, named("heir")).await.expect("the heir gave it up");
        must_be_sound(&vault, &admin, &service).await;
    });
}

#[test]
fn what_only_the_server_sets_survives_any_edit() {
    block_on(async {
        let (_world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let id = create(&vault, &service, named("k")).await.expect("the name is free");
        let before = view(&vault, &admin, id).await;
        let forged = |attributes: &mut Attributes| {
            attributes.usage_mask = 0x3C;
            attributes.digest = None;
            attributes.revocation = Some(Revocation { code: 1, message: None });
            attributes.links = Links { replaced: Some(id), replacement: Some(id), replacement_index: 9 };
            attributes.dates.initial = Time::from_seconds(1);
            attributes.dates.destroy = Some(Time::from_seconds(1));
            attributes.dates.compromise = Some(Time::from_seconds(1));
            (attributes.served, attributes.always_sensitive, attributes.never_extractable) = (true, true, false);
        };
        assert_eq!(edit(&vault, &admin, id, forged).await.expect("it is live").attributes, before.attributes);
    });
}

#[test]
fn always_sensitive_and_never_extractable_remember_the_worst() {
    block_on(async {
        let (_world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let id = create(&vault, &service, Attributes { sensitive: true, ..named("k") }).await.expect("the name is free");
        let set = async |sensitive: bool, extractable: bool| {
            let edited =
                edit(&vault, &admin, id, |attributes| (attributes.sensitive, attributes.extractable) = (sensitive, extractable)).await;
            let attributes = edited.expect("it is live").attributes;
            (attributes.always_sensitive, attributes.never_extractable)
        };
        assert_eq!(set(true, false).await, (true, true));
        assert_eq!(set(true, true).await, (true, false));
        assert_eq!(set(false, false).await, (false, false));
        assert_eq!(set(true, false).await, (false, false));
        let new = super::rekey(&vault, &admin, id).await.expect("it is the newest").attributes;
        assert_eq!((new.always_sensitive, new.never_extractable), (true, true), "the replacement is another key");
    });
}

#[test]
fn dates_move_a_key_on_but_never_back() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let id = create(&vault, &service, named("k")).await.expect("the name is free");
        let now = Time::from_seconds(START_SECONDS);
        let active = edit(&vault, &admin, id, |attributes| attributes.dates.activation = Some(now)).await.expect("it is live");
        assert_eq!((active.state, active.header.state), (State::Active, State::Active));
        encrypts(&vault, &service, id).await.expect("it is Active");
        let back = |attributes: &mut Attributes| attributes.dates.activation = Some(Time::from_seconds(START_SECONDS + 1000));
        assert_eq!(edit(&vault, &admin, id, back).await.expect("it is live").state, State::Active);
        let ended = edit(&vault, &admin, id, |attributes| attributes.dates.deactivation = Some(now)).await.expect("it is live");
        assert_eq!((ended.state, ended.header.expiry), (State::Deprecated, Some(now)));
        let revived = edit(&vault, &admin, id, |attributes| attributes.dates.deactivation = None).await.expect("it is live");
        assert_eq!(revived.state, State::Deprecated);
        let again = world.unseal().await.expect("the roots open");
        assert!(encrypts(&again, &service, id).await.is_err());
    });
}

#[test]
fn a_services_default_key_gets_no_end() {
    block_on(async {
        let (_world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let id = default_key(&vault, &service).await;
        let later = Some(Time::from_seconds(START_SECONDS + 1000));
        assert!(matches!(edit(&vault, &admin, id, |attributes| attributes.dates.deactivation = later).await, Err(Error::Denied { .. })));
        assert!(matches!(edit(&vault, &admin, id, |attributes| attributes.dates.protect_stop = later).await, Err(Error::Denied { .. })));
        assert!(matches!(edit(&vault, &admin, id, |attributes| attributes.dates.process_start = later).await, Err(Error::Denied { .. })));
        edit(&vault, &admin, id, |attributes| attributes.others.push(other(b"kept"))).await.expect("anything else may be said of it");
        must_be_sound(&vault, &admin, &service).await;
    });
}

#[test]
fn a_key_that_decrypts_is_not_kept_from_it_by_a_later_start() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let at = |seconds| Some(Time::from_seconds(START_SECONDS + seconds));
        let id = create(&vault, &service, named("k")).await.expect("the name is free");
        edit(&vault, &admin, id, |attributes| attributes.dates.process_start = at(10)).await.expect("it is Pre-Active");
        change(&vault, &admin, id, Event::Activate).await.expect("a new key activates");
        edit(&vault, &admin, id, |attributes| attributes.dates.process_start = at(20)).await.expect("it does not decrypt yet");
        world.clock.0.store(START_SECONDS + 20, Ordering::Relaxed);
        let later = edit(&vault, &admin, id, |attributes| attributes.dates.process_start = at(30)).await;
        assert!(matches!(later, Err(Error::Denied { .. })));
        edit(&vault, &admin, id, |attributes| attributes.dates.process_start = at(15)).await.expect("it goes on decrypting");
        edit(&vault, &admin, id, |attributes| attributes.dates.process_start = None).await.expect("it goes on decrypting");
    });
}

#[test]
fn destroyed_foreign_and_upper_keys_are_not_edited() {
    block_on(async {
        let (_world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let (stranger, _) = settle(&vault, "globex", "billing").await;
        let id = create(&vault, &service, named("k")).await.expect("the name is free");
        let header = view(&vault, &admin, id).await.header;
        assert_eq!(stranger.check::<ModifyAttribute>(&header).map(|_| ()), Err(Refusal::NotFound));
        assert_eq!(service.check::<ModifyAttribute>(&header).map(|_| ()), Err(Refusal::Denied));
        let tenant = vault.tenants().await.expect("the store is well").into_iter().find(|tenant| Some(tenant.id) == admin.tenant());
        let l2 = view(&vault, &admin, tenant.expect("it is there").key).await.header;
        assert_eq!(admin.check::<ModifyAttribute>(&l2).map(|_| ()), Err(Refusal::Denied));
        change(&vault, &admin, id, Event::Destroy).await.expect("a Pre-Active key is destroyed");
        assert!(matches!(edit(&vault, &admin, id, |_| ()).await, Err(Error::WrongState { is: State::Destroyed, .. })));
    });
}

#[test]
fn no_key_of_a_core_is_for_data_and_for_keys() {
    block_on(async {
        let (_world, vault) = World::found().await;
        let (_admin, service) = settle(&vault, "acme", "billing").await;
        for usage_mask in [0x14, 0x18, 0x24, 0x28, 0x3C, u32::MAX] {
            let made = create(&vault, &service, Attributes { usage_mask, ..named("k") }).await;
            assert!(matches!(made, Err(Error::Invalid { field: "Cryptographic Usage Mask", .. })), "{usage_mask:#x}");
        }
        create(&vault, &service, Attributes { usage_mask: 0x30, ..named("k") }).await.expect("for keys alone it may be");
    });
}
