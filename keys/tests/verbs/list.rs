//! The list of keys: who sees which, and what it says of a key.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use futures_executor::block_on;
use keys::Error;
use keys::id::{KeyVersion, Layer, RowId};
use keys::lifecycle::State;
use keys::list::{KeyFilter, WrappedBy};
use keys::policy::{Action, Grants, Refusal, Role};
use keys::vault::Vault;

use super::{default_key, filter, l3, rekey};
use crate::fakes::{World, grants, settle};
use crate::{create, named};

async fn ids(vault: &Vault, grants: &Grants, filter: &KeyFilter) -> Result<Vec<RowId>, Error> {
    Ok(vault.keys(grants, filter).await?.keys.into_iter().map(|key| key.header.id).collect())
}

#[test]
fn an_admin_sees_its_tenants_keys_with_names_and_an_operator_all_without() {
    block_on(async {
        let (_world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let (other_admin, other_service) = settle(&vault, "globex", "billing").await;
        let id = create(&vault, &service, named("mine")).await.expect("the name is free");
        let foreign = create(&vault, &other_service, named("theirs")).await.expect("the name is free");
        let page = l3(&vault, &admin).await;
        assert_eq!(page.keys.len(), 2);
        let listed = page.keys.iter().find(|key| key.header.id == id).expect("it is listed");
        assert_eq!((listed.names.as_deref(), listed.state), (Some(&["mine".to_owned()][..]), State::PreActive));
        for role in [Role::Operator, Role::Auditor] {
            let all = l3(&vault, &grants(&vault, role, "acme", "billing").await).await.keys;
            assert_eq!(all.len(), 4, "{role:?}");
            assert!(all.iter().all(|key| key.names.is_none()), "{role:?}");
            assert!(all.iter().any(|key| key.header.id == foreign), "{role:?}");
            let one = KeyFilter { tenant: other_admin.tenant(), ..filter(Layer::L3) };
            assert_eq!(ids(&vault, &grants(&vault, role, "acme", "billing").await, &one).await.expect("any tenant").len(), 2);
        }
        let nosy = KeyFilter { tenant: other_admin.tenant(), ..filter(Layer::L3) };
        assert!(matches!(ids(&vault, &admin, &nosy).await, Err(Error::NotFound)));
        for role in [Role::Service, Role::Custodian, Role::Edge] {
            let refused = ids(&vault, &grants(&vault, role, "acme", "billing").await, &filter(Layer::L3)).await;
            assert!(matches!(refused, Err(Error::Denied { .. })), "{role:?}");
        }
    });
}

#[test]
fn an_admin_without_a_tenant_that_exists_sees_nothing() {
    block_on(async {
        let (_world, vault) = World::found().await;
        let (admin, _service) = settle(&vault, "acme", "billing").await;
        let stray = grants(&vault, Role::TenantAdmin, "nobody", "billing").await;
        assert!(matches!(ids(&vault, &stray, &filter(Layer::L3)).await, Err(Error::NotFound)));
        let tenant = admin.tenant().expect("it exists");
        assert_eq!(stray.check_tenant(Action::Inspect, tenant), Err(Refusal::NotFound));
        assert_eq!(admin.check_tenant(Action::Inspect, tenant), Ok(()));
        assert_eq!(admin.check_tenant(Action::CreateService, tenant), Err(Refusal::Denied));
        let operator = grants(&vault, Role::Operator, "acme", "billing").await;
        assert_eq!(operator.check_tenant(Action::Inspect, tenant), Ok(()));
        assert_eq!(grants(&vault, Role::Service, "acme", "billing").await.check_tenant(Action::Inspect, tenant), Err(Refusal::Denied));
    });
}

#[test]
fn pages_join_up_and_a_service_filter_needs_its_tenant() {
    block_on(async {
        let (_world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        for n in 0..6 {
            create(&vault, &service, named(&format!("k{n}"))).await.expect("the name is free");
        }
        let (mut seen, mut next) = (Vec::new(), None);
        loop {
            let page = vault.keys(&admin, &KeyFilter { before: next, limit: 3, ..filter(Layer::L3) }).await.expect("the store is well");
            seen.extend(page.keys.into_iter().map(|key| key.header.id));
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        assert_eq!(seen, ids(&vault, &admin, &filter(Layer::L3)).await.expect("the store is well"));
        assert_eq!(seen.len(), 7);
        let of_service = KeyFilter { tenant: admin.tenant(), service: service.service(), ..filter(Layer::L3) };
        assert_eq!(ids(&vault, &admin, &of_service).await.expect("the store is well").len(), 7);
        let operator = grants(&vault, Role::Operator, "acme", "billing").await;
        let alone = KeyFilter { service: service.service(), ..filter(Layer::L3) };
        assert!(matches!(ids(&vault, &operator, &alone).await, Err(Error::Invalid { field: "service", .. })));
        assert!(matches!(ids(&vault, &operator, &filter(Layer::Ivk)).await, Err(Error::Invalid { field: "layer", .. })));
    });
}

#[test]
fn a_key_tells_which_version_must_die_for_its_old_copies_to_be_gone() {
    block_on(async {
        let (_world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let id = default_key(&vault, &service).await;
        rekey(&vault, &admin, id).await.expect("it is the newest");
        let l2 = vault.keys(&admin, &filter(Layer::L2)).await.expect("the store is well").keys.pop().expect("a tenant has an L2");
        assert_eq!(l2.wrapped_by, WrappedBy { id: None, version: KeyVersion::FIRST });
        let versions = l3(&vault, &admin).await.keys;
        assert_eq!(versions.len(), 2);
        for key in versions {
            assert_eq!(key.wrapped_by, WrappedBy { id: Some(l2.header.id), version: KeyVersion::FIRST });
        }
    });
}

#[test]
fn whatever_a_store_returns_nobody_sees_another_tenants_keys() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let (_, stranger) = settle(&vault, "globex", "billing").await;
        let own = create(&vault, &service, named("mine")).await.expect("the name is free");
        create(&vault, &stranger, named("theirs")).await.expect("the name is free");
        let damaged = create(&vault, &stranger, named("damaged")).await.expect("the name is free");
        world.store.edit(damaged, |row| row.header.state = State::Active);
        world.store.mixes_up.store(true, Ordering::Relaxed);
        let page = l3(&vault, &admin).await;
        let default = default_key(&vault, &service).await;
        assert_eq!(page.keys.iter().map(|key| key.header.id).collect::<BTreeSet<_>>(), BTreeSet::from([own, default]));
        assert_eq!(page.refused, []);
    });
}

#[test]
fn a_key_that_does_not_verify_is_listed_as_refused() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let id = create(&vault, &service, named("k")).await.expect("the name is free");
        world.store.edit(id, |row| row.header.state = State::Active);
        let page = l3(&vault, &admin).await;
        assert_eq!((page.refused, page.keys.len()), (vec![id], 1));
    });
}

#[test]
fn one_key_is_shown_to_who_finds_it_in_the_list_and_is_absent_for_others() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let (stranger, _) = settle(&vault, "globex", "billing").await;
        let operator = grants(&vault, Role::Operator, "acme", "billing").await;
        let auditor = grants(&vault, Role::Auditor, "acme", "billing").await;
        let id = create(&vault, &service, named("mine")).await.expect("the name is free");
        let absent = RowId::new(Layer::L3, uuid::Uuid::from_bytes([7; 16]));
        for (role, names) in [(admin, Some(vec!["mine".to_owned()])), (operator, None), (auditor, None)] {
            let key = vault.key(&role, id).await.expect("it sees the key");
            let scopes = [&key.tenant, &key.service].map(|name| name.as_ref().map(|name| name.as_str().to_owned()));
            assert_eq!(scopes, [Some("acme".to_owned()), Some("billing".to_owned())]);
            assert_eq!((key.header.id, key.state, key.names), (id, State::PreActive, names), "{:?}", role.role());
            assert!(matches!(vault.key(&role, absent).await, Err(Error::NotFound)));
            let record = RowId::new(Layer::Tenant, uuid::Uuid::from_bytes(*admin.tenant().expect("it exists").as_bytes()));
            assert!(matches!(vault.key(&role, record).await, Err(Error::NotFound)), "a record is no key");
        }
        assert!(matches!(vault.key(&stranger, id).await, Err(Error::NotFound)));
        for role in [Role::Service, Role::Custodian, Role::Edge] {
            let refused = vault.key(&grants(&vault, role, "acme", "billing").await, id).await;
            assert!(matches!(refused, Err(Error::Denied { .. })), "{role:?}");
        }
        world.store.edit(id, |row| row.header.state = State::Active);
        for role in [admin, operator, auditor] {
            assert!(matches!(vault.key(&role, id).await, Err(Error::Corrupt { .. })), "{:?}", role.role());
        }
        assert!(matches!(vault.key(&stranger, id).await, Err(Error::NotFound)), "a stranger does not learn that it is damaged");
    });
}

#[test]
fn a_damaged_service_record_does_not_hide_its_keys() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let id = default_key(&vault, &service).await;
        let record = RowId::new(Layer::Service, uuid::Uuid::from_bytes(*service.service().expect("it exists").as_bytes()));
        world.store.edit(record, |row| row.header.bits = 1);
        let key = vault.key(&admin, id).await.expect("the key itself is whole");
        assert_eq!((key.tenant.map(|name| name.as_str().to_owned()), key.service), (Some("acme".to_owned()), None));
        assert_eq!(l3(&vault, &admin).await.keys.len(), 1);
    });
}
