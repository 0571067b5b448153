//! Keys that get their next version by themselves, and the ends that are written down (ARCH-17, ARCH-21).

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_executor::block_on;
use keys::Error;
use keys::id::{KeyVersion, Layer, RowId, SessionId, Time};
use keys::lifecycle::{Event, State};
use keys::policy::Action;
use keys::policy::verb::ReKey;
use keys::renew::{RenewCursor, Standing};
use keys::rotate::NewIvk;
use keys::vault::Vault;

use super::{default_key, edit, must_be_sound, view};
use crate::fakes::{START_SECONDS, World, name, settle};
use crate::{change, create, decrypts, encrypts, named};

/// One whole walk in steps of `limit`: how many keys got a new version, and what was refused.
async fn renewed(vault: &Vault, limit: usize, mut is_due: impl FnMut(&Standing) -> bool) -> (usize, Vec<RowId>) {
    let (mut renewed, mut refused, mut cursor) = (0, Vec::new(), Some(RenewCursor::default()));
    while let Some(at) = cursor {
        let mut unit = vault.begin(SessionId(1));
        let step = vault.renew(&mut unit, at, limit, &mut is_due).await.expect("the store is well");
        let _receipt = unit.commit().await.expect("the fakes are well");
        renewed += step.renewed;
        refused.extend(step.refused.into_iter().map(|finding| finding.row));
        cursor = step.next;
    }
    (renewed, refused)
}

/// The same over the keys with an end: how many ended, and how many of them were replaced.
async fn expired(vault: &Vault, limit: usize, is_replaced: bool) -> (usize, usize) {
    let (mut ended, mut new, mut before) = (0, 0, None);
    loop {
        let mut unit = vault.begin(SessionId(1));
        let step = vault.expire(&mut unit, before, limit, is_replaced).await.expect("the store is well");
        let _receipt = unit.commit().await.expect("the fakes are well");
        (ended, new, before) = (ended + step.ended, new + step.renewed, step.next);
        if before.is_none() {
            return (ended, new);
        }
    }
}

#[test]
fn a_walk_replaces_the_keys_that_are_old_enough_and_a_second_one_none() {
    block_on(async {
        let (world, vault) = World::found().await;
        let mut kept = Vec::new();
        for tenant in ["acme", "globex", "initech"] {
            let (admin, service) = settle(&vault, tenant, "billing").await;
            let id = default_key(&vault, &service).await;
            kept.push((admin, service, id, encrypts(&vault, &service, id).await.expect("it is Active")));
        }
        let (from, now) = (Time::from_seconds(START_SECONDS), START_SECONDS + 3600);
        world.clock.0.store(now, Ordering::Relaxed);
        settle(&vault, "umbrella", "billing").await;
        let is_old = |standing: &Standing| standing.made == from;
        let mut met = Vec::new();
        assert_eq!(
            renewed(&vault, 2, |standing| {
                met.push((standing.key.layer, standing.version));
                is_old(standing)
            })
            .await,
            (6, vec![])
        );
        assert_eq!(met, [[(Layer::L2, KeyVersion::FIRST); 4], [(Layer::L3, KeyVersion::FIRST); 4]].concat(), "L2 first, and each once");
        assert_eq!(renewed(&vault, 2, is_old).await, (0, vec![]), "what has a new version is not due");
        let again = world.unseal().await.expect("the roots open");
        for vault in [&vault, &again] {
            for (admin, service, old, bytes) in &kept {
                let new = default_key(vault, service).await;
                let row = world.row(new);
                assert_eq!((row.header.version, row.header.parent.version), (KeyVersion(2), KeyVersion(2)), "under the new L2");
                assert_ne!(encrypts(vault, service, new).await.expect("it is Active"), *bytes, "the material is new");
                assert_eq!(decrypts(vault, service, *old).await.expect("the old one still decrypts"), *bytes);
                must_be_sound(vault, admin, service).await;
            }
        }
        let told = world.audit.records().into_iter().filter(|record| record.action == Action::ReKey && record.session == SessionId(1));
        assert_eq!(told.filter(|record| record.version == Some(KeyVersion(2))).count(), 6);
    });
}

#[test]
fn a_damaged_key_is_named_and_the_walk_goes_on_behind_it() {
    block_on(async {
        let (world, vault) = World::found().await;
        for tenant in ["acme", "globex", "initech"] {
            settle(&vault, tenant, "billing").await;
        }
        let globex = vault.tenant_by_name(&name("globex")).await.expect("the store is well").expect("it was made");
        world.store.edit(globex.key, |row| row.attributes.as_mut().expect("it has some")[100] ^= 1);
        let vault = world.unseal().await.expect("the roots open");
        let (count, refused) = renewed(&vault, 2, |standing| standing.key.layer == Layer::L2).await;
        assert_eq!(count, 2);
        // Neither the tenant's own key opens, nor that of its service, which lies under it.
        assert_eq!(refused.iter().map(|row| row.layer).collect::<Vec<_>>(), [Layer::Tenant, Layer::Service]);
    });
}

#[test]
fn the_key_of_an_edge_group_is_left_to_its_edges() {
    block_on(async {
        let (_world, vault) = World::found().await;
        settle(&vault, "acme", "billing").await;
        vault.ensure_system_tenant().await.expect("the fakes are well");
        let mut unit = vault.begin(SessionId(1));
        let group = vault.enrol_edges(&mut unit, &name("west"), &[name("acme")], &[]).await.expect("the tenant is there");
        let _receipt = unit.commit().await.expect("the fakes are well");
        assert_eq!(renewed(&vault, 10, |_| true).await, (3, vec![]), "two L2 and acme's L3");
        let of_group = vault.service(group.id).await.expect("it is a service").default_key;
        assert_eq!(of_group, group.default_key);
    });
}

#[test]
fn what_has_ended_by_its_dates_is_stored_as_deprecated_and_replaced_if_that_is_wanted() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let mut keys = Vec::new();
        for text in ["short", "long", "endless"] {
            let id = create(&vault, &service, named(text)).await.expect("the name is free");
            change(&vault, &admin, id, Event::Activate).await.expect("a new key activates");
            keys.push((id, encrypts(&vault, &service, id).await.expect("it is Active")));
        }
        for (key, seconds) in [(&keys[0], 60), (&keys[1], 3600)] {
            let end = Some(Time::from_seconds(START_SECONDS + seconds));
            edit(&vault, &admin, key.0, |attributes| attributes.dates.deactivation = end).await.expect("it gets an end");
        }
        assert_eq!(expired(&vault, 1, true).await, (0, 0), "nothing has ended");
        world.clock.0.store(START_SECONDS + 60, Ordering::Relaxed);
        let short = keys[0].0;
        assert_eq!((view(&vault, &admin, short).await.state, world.row(short).header.state), (State::Deprecated, State::Active));
        assert_eq!(expired(&vault, 1, false).await, (1, 0));
        assert_eq!(expired(&vault, 1, true).await, (0, 0), "it is written down once");
        assert_eq!(world.row(short).header.state, State::Deprecated);
        assert!(matches!(encrypts(&vault, &service, short).await, Err(Error::WrongState { is: State::Deprecated, .. })));

        world.clock.0.store(START_SECONDS + 3600, Ordering::Relaxed);
        assert_eq!(expired(&vault, 100, true).await, (1, 1));
        let (long, bytes) = &keys[1];
        let old = view(&vault, &admin, *long).await;
        let new = view(&vault, &admin, old.attributes.links.replacement.expect("it was replaced")).await;
        assert_eq!((world.row(*long).header.state, new.state), (State::Deprecated, State::Active));
        assert_eq!(new.attributes.dates.deactivation, Some(Time::from_seconds(START_SECONDS + 2 * 3600)), "it lives as long");
        assert_eq!((new.attributes.names.len(), old.attributes.names.len()), (1, 0), "its name leads to the new one");
        encrypts(&vault, &service, new.header.id).await.expect("service goes on");
        assert_eq!(decrypts(&vault, &service, *long).await.expect("it still decrypts"), *bytes);
        assert_eq!(view(&vault, &admin, keys[2].0).await.state, State::Active);
        let told: Vec<_> = world.audit.records().into_iter().filter(|record| record.action == Action::Expire).collect();
        assert_eq!(told.iter().map(|record| record.object).collect::<Vec<_>>(), [Some(short), Some(*long)]);
        must_be_sound(&world.unseal().await.expect("the roots open"), &admin, &service).await;
    });
}

/// What the keeper does with orders: a whole walk, and the orders that it began with are done.
async fn carried_out(vault: &Vault, limit: usize) -> usize {
    let orders = vault.orders().await.expect("the store is well");
    let (mut count, refused) = renewed(vault, limit, |standing| orders.iter().any(|order| order.wants(standing))).await;
    assert_eq!(refused, []);
    let (mut before, mut is_on) = (None, true);
    while is_on {
        let mut unit = vault.begin(SessionId(1));
        let step = vault.renew_ordered(&mut unit, before, limit, &orders).await.expect("the store is well");
        let _receipt = unit.commit().await.expect("the fakes are well");
        assert_eq!(step.refused, []);
        count += step.renewed;
        (before, is_on) = (step.next, step.next.is_some());
    }
    let mut unit = vault.begin(SessionId(1));
    vault.end_orders(&mut unit, &orders).await.expect("the store is well");
    let _receipt = unit.commit().await.expect("the fakes are well");
    count
}

#[test]
fn what_lies_below_a_compromised_ivk_gets_new_material_once_however_often_the_work_is_cut_off() {
    block_on(async {
        let (world, mut vault) = World::found().await;
        let mut kept = Vec::new();
        for tenant in ["acme", "globex", "initech"] {
            let (admin, service) = settle(&vault, tenant, "billing").await;
            let id = default_key(&vault, &service).await;
            kept.push((admin, service, id, encrypts(&vault, &service, id).await.expect("it is Active")));
        }
        let new = NewIvk { is_compromised: true, renews: true, ..NewIvk::default() };
        let mut unit = vault.begin(SessionId(2));
        vault.rotate_ivk(&mut unit, &world.master, new).await.expect("the fakes are well");
        let _receipt = unit.commit().await.expect("the fakes are well");
        world.clock.0.store(START_SECONDS + 2, Ordering::Relaxed);
        settle(&vault, "umbrella", "billing").await;

        // Cut off after each of the first steps, as by a kill.
        for _ in 0..3 {
            vault = world.unseal().await.expect("the roots open");
            let orders = vault.orders().await.expect("the store is well");
            assert_eq!(orders.iter().map(|order| order.tenant).collect::<Vec<_>>(), [None]);
            let mut unit = vault.begin(SessionId(1));
            let cursor = RenewCursor::default();
            vault.renew(&mut unit, cursor, 2, |standing| orders[0].wants(standing)).await.expect("the store is well");
            let _receipt = unit.commit().await.expect("the fakes are well");
        }
        let vault = world.unseal().await.expect("the roots open");
        carried_out(&vault, 2).await;
        assert_eq!(vault.orders().await.expect("the store is well"), []);
        assert_eq!(carried_out(&vault, 2).await, 0);
        for (admin, service, old, bytes) in &kept {
            let id = default_key(&vault, service).await;
            let new = world.row(id);
            assert_eq!((new.header.version, new.header.parent.version), (KeyVersion(2), KeyVersion(2)), "each once, under the new L2");
            assert_eq!(world.row(*old).header.state, State::Deprecated, "client data lies under it");
            assert_eq!(decrypts(&vault, service, *old).await.expect("it still decrypts"), *bytes);
            must_be_sound(&vault, admin, service).await;
        }
        let umbrella = vault.tenant_by_name(&name("umbrella")).await.expect("the store is well").expect("it was made");
        assert_eq!(umbrella.parent.version, KeyVersion::FIRST, "it was made later");
        let count = |action| world.audit.records().into_iter().filter(|record| record.action == action).count();
        assert_eq!((count(Action::OrderRenewal), count(Action::EndRenewal)), (1, 1));
    });
}

/// An order waited until a clock that was set back had come to where it had been before: for years, if it had been ahead by so much.
#[test]
fn an_order_does_not_wait_for_a_clock_that_was_set_back() {
    const TEN_YEARS: i64 = 10 * 365 * 86_400;
    block_on(async {
        for (is_unsealed_anew, forgets) in [(false, false), (true, false), (true, true)] {
            let (world, vault) = World::found().await;
            world.clock.0.store(START_SECONDS + TEN_YEARS, Ordering::Relaxed);
            let (admin, service) = settle(&vault, "acme", "billing").await;
            let id = default_key(&vault, &service).await;
            let bytes = encrypts(&vault, &service, id).await.expect("it is Active");
            let mut unit = vault.begin(SessionId(2));
            let new = NewIvk { is_compromised: true, renews: true, ..NewIvk::default() };
            vault.rotate_ivk(&mut unit, &world.master, new).await.expect("the fakes are well");
            let _receipt = unit.commit().await.expect("the fakes are well");
            world.clock.0.store(START_SECONDS, Ordering::Relaxed);
            world.not_before.store(if forgets { 0 } else { START_SECONDS + TEN_YEARS }, Ordering::Relaxed);
            let vault = if is_unsealed_anew { world.unseal().await.expect("the roots open") } else { vault };

            let orders = vault.orders().await.expect("the store is well");
            assert!(orders.iter().all(|order| order.until >= vault.now()), "its second is not over");
            world.pace.pass(Duration::from_secs(3));
            assert!(orders.iter().all(|order| order.until < vault.now()), "three seconds are enough: {orders:?}, {:?}", vault.now());
            assert_eq!(carried_out(&vault, 2).await, 2, "a tenant's key and its service's");
            assert_eq!(carried_out(&vault, 2).await, 0);
            let new = world.row(default_key(&vault, &service).await);
            assert_eq!((new.header.version, new.header.parent.version), (KeyVersion(2), KeyVersion(2)));
            assert_eq!(decrypts(&vault, &service, id).await.expect("it still decrypts"), bytes);
            must_be_sound(&vault, &admin, &service).await;
        }
    });
}

#[test]
fn an_order_is_for_every_key_below_however_it_was_made_and_for_no_other() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let (_, stranger) = settle(&vault, "globex", "billing").await;
        let make = async |vault: &Vault| {
            vault.ensure_system_tenant().await.expect("the fakes are well");
            let mut unit = vault.begin(SessionId(1));
            vault.create_service_of(&mut unit, &name("acme"), &name("ledger"), Some(&name("ledger"))).await.expect("the names are free");
            let group = vault.enrol_edges(&mut unit, &name("west"), &[name("acme")], &[]).await.expect("the tenant is there");
            let _receipt = unit.commit().await.expect("the fakes are well");
            group
        };
        let group = make(&vault).await;
        let mut keys = Vec::new();
        for text in ["used", "waiting", "left"] {
            keys.push(create(&vault, &service, named(text)).await.expect("the name is free"));
        }
        let [used, waiting, left] = keys[..] else { panic!("three were made") };
        for key in [used, left] {
            change(&vault, &admin, key, Event::Activate).await.expect("a new key activates");
        }
        change(&vault, &admin, left, Event::Deprecate).await.expect("it is Active");
        let bytes = encrypts(&vault, &service, used).await.expect("it is Active");
        let others = default_key(&vault, &stranger).await;

        let of_layer = |layer: Layer| {
            let rows = world.rows(layer).into_values();
            rows.map(|row| (row.header.id, row.header.version.0, row.header.state)).collect::<Vec<_>>()
        };
        let acme = vault.tenant_by_name(&name("acme")).await.expect("the store is well").expect("it was made");
        let mut unit = vault.begin(SessionId(2));
        let header = vault.header_in_tenant(&unit, &admin, acme.key).await.expect("its own");
        vault.rekey_compromised(&mut unit, admin.check::<ReKey>(&header).expect("its own"), true).await.expect("the fakes are well");
        let _receipt = unit.commit().await.expect("the fakes are well");
        world.clock.0.store(START_SECONDS + 2, Ordering::Relaxed);
        let groups = of_layer(Layer::L3).into_iter().filter(|(id, ..)| [others, group.default_key].contains(id)).collect::<Vec<_>>();
        assert_eq!(carried_out(&vault, 3).await, 5, "an L2.1, two default keys, the one in use and the one that waits");
        assert!(groups.iter().all(|key| of_layer(Layer::L3).contains(key)), "other tenants' keys are left alone");
        assert_eq!(of_layer(Layer::L21).iter().map(|key| (key.1, key.2)).collect::<Vec<_>>(), [(1, State::Deprecated), (2, State::Active)]);

        let rotation = NewIvk { is_compromised: true, renews: true, ..NewIvk::default() };
        let mut unit = vault.begin(SessionId(2));
        vault.rotate_ivk(&mut unit, &world.master, rotation).await.expect("the fakes are well");
        let _receipt = unit.commit().await.expect("the fakes are well");
        world.clock.0.store(START_SECONDS + 4, Ordering::Relaxed);
        let vault = world.unseal().await.expect("the roots open");
        assert_eq!(carried_out(&vault, 3).await, 3 + 1 + 6, "three L2, an L2.1, and all L3 that are in use or wait");
        assert_eq!(carried_out(&vault, 3).await, 0);
        for (id, version, state) in of_layer(Layer::L3).into_iter().filter(|key| matches!(key.2, State::PreActive | State::Active)) {
            assert!(version > 1, "{id} has its first material still: {state:?}");
        }
        // What is left below a compromised version is moved at its first use, which is done again, or by a walk.
        assert_eq!(super::walked(&vault, 64).await.1, []);
        let shown = view(&vault, &admin, left).await;
        assert_eq!((shown.state, shown.attributes.links.replacement), (State::Deprecated, None), "what is out of use has no next version");
        let groups = vault.edge_groups().await.expect("the store is well");
        assert_eq!(groups[0].default_key, vault.service(group.id).await.expect("it is a service").default_key);
        assert_ne!(groups[0].default_key, group.default_key);
        assert_eq!(decrypts(&vault, &service, used).await.expect("it still decrypts"), bytes);
        let mut newest = view(&vault, &admin, used).await;
        while let Some(next) = newest.attributes.links.replacement {
            newest = view(&vault, &admin, next).await;
        }
        assert_eq!(
            (newest.state, newest.attributes.names[0].value.as_str(), newest.header.version),
            (State::Active, "used", KeyVersion(3))
        );
        let waits = view(&vault, &admin, waiting).await;
        assert_eq!(waits.state, State::Deprecated, "its material may be known as well");
        must_be_sound(&vault, &admin, &service).await;
    });
}

#[test]
fn under_a_compromised_l2_a_key_opens_once_it_is_moved_and_its_tenant_alone_is_renewed() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let (_, stranger) = settle(&vault, "globex", "billing").await;
        let (id, others) = (default_key(&vault, &service).await, default_key(&vault, &stranger).await);
        let bytes = encrypts(&vault, &service, id).await.expect("it is Active");
        let acme = vault.tenant_by_name(&name("acme")).await.expect("the store is well").expect("it was made");
        let compromised = async |key: RowId, renews| {
            let mut unit = vault.begin(SessionId(2));
            let header = vault.header_in_tenant(&unit, &admin, key).await?;
            let new = vault.rekey_compromised(&mut unit, admin.check::<ReKey>(&header)?, renews).await?;
            let _receipt = unit.commit().await?;
            Ok::<_, Error>(new)
        };
        assert!(matches!(compromised(id, true).await, Err(Error::Invalid { .. })), "below an L3 lies what is its clients'");
        let new = compromised(acme.key, true).await.expect("the fakes are well");
        assert_eq!((world.row(acme.key).header.state, new.state), (State::Compromised, State::Active));
        let orders = vault.orders().await.expect("the store is well");
        assert_eq!(orders.iter().map(|order| order.tenant).collect::<Vec<_>>(), [Some(acme.id)]);

        // Each use moves the one key, in this process and after a restart.
        let again = world.unseal().await.expect("the roots open");
        assert_eq!(world.row(id).header.parent.version, KeyVersion::FIRST);
        assert!(matches!(decrypts(&again, &service, id).await, Err(Error::Raced)), "its use moves it, and is to be done again");
        assert_eq!(decrypts(&again, &service, id).await.expect("it was moved"), bytes);
        assert_eq!(world.row(id).header.parent.version, KeyVersion(2));
        assert_eq!(decrypts(&vault, &service, id).await.expect("it was moved"), bytes);

        world.clock.0.store(START_SECONDS + 2, Ordering::Relaxed);
        assert_eq!(carried_out(&again, 2).await, 1, "acme's default key, and not its new L2");
        assert_eq!(default_key(&again, &stranger).await, others);
        assert_ne!(default_key(&again, &service).await, id);
        let told: Vec<_> =
            world.audit.records().into_iter().filter(|record| record.object == Some(acme.key)).map(|record| record.action).collect();
        assert!(told.contains(&Action::Revoke), "{told:?}");

        // An L3 that others may know: the next one is in use, and it itself does nothing more.
        let last = default_key(&vault, &service).await;
        compromised(last, false).await.expect("the fakes are well");
        assert!(matches!(decrypts(&vault, &service, last).await, Err(Error::WrongState { is: State::Compromised, .. })));
        let now = default_key(&vault, &service).await;
        encrypts(&vault, &service, now).await.expect("service goes on");
    });
}
