//! The vault's verbs over fakes: authorization, lifecycle, names, rollback, tampering, group commit.

mod fakes;
mod verbs;

use std::sync::atomic::Ordering;

use fakes::{START_SECONDS, World, grants, name, settle};
use futures_executor::block_on;
use keys::Error;
use keys::attributes::{Attributes, Name};
use keys::floor::CrlFloors;
use keys::id::{Layer, RowId, SessionId, Time};
use keys::lifecycle::{Dates, Event, State};
use keys::policy::verb::{Activate, Decrypt, Destroy, Encrypt, GetAttributes, Revoke};
use keys::policy::{Grants, Refusal, Role};
use keys::row::Row;
use keys::tenancy::NewServiceKey;
use keys::unit::Unit;
use keys::vault::Vault;

const MASK: u32 = 0x0C;

fn named(text: &str) -> Attributes {
    Attributes { names: vec![Name { value: text.to_owned(), kind: 1, index: 0 }], usage_mask: MASK, ..Attributes::default() }
}

async fn create(vault: &Vault, service: &Grants, attributes: Attributes) -> Result<RowId, Error> {
    let mut unit = vault.begin(SessionId(2));
    let new = NewServiceKey { service: service.service().expect("a service"), bits: 256, attributes };
    let header = vault.create_service_key(&mut unit, new).await?;
    let _receipt = unit.commit().await?;
    Ok(header.id)
}

async fn change(vault: &Vault, admin: &Grants, id: RowId, event: Event) -> Result<(), Error> {
    let mut unit = vault.begin(SessionId(2));
    let header = vault.header(&unit, admin, id).await?;
    match event {
        Event::Activate => {
            let authorized = admin.check::<Activate>(&header)?;
            vault.change(&mut unit, authorized, event, |attributes, now| attributes.dates.activation = Some(now)).await?;
        }
        Event::Destroy => {
            vault.destroy(&mut unit, admin.check::<Destroy>(&header)?).await?;
        }
        other => {
            vault.change(&mut unit, admin.check::<Revoke>(&header)?, other, |_, _| ()).await?;
        }
    }
    let _receipt = unit.commit().await?;
    Ok(())
}

async fn encrypts(vault: &Vault, service: &Grants, id: RowId) -> Result<Vec<u8>, Error> {
    let unit = vault.begin(SessionId(2));
    let header = vault.header(&unit, service, id).await?;
    vault.open(&unit, service.check::<Encrypt>(&header)?, |key, _| Ok(key.to_vec())).await
}

async fn decrypts(vault: &Vault, service: &Grants, id: RowId) -> Result<Vec<u8>, Error> {
    let unit = vault.begin(SessionId(2));
    let header = vault.header(&unit, service, id).await?;
    vault.open(&unit, service.check::<Decrypt>(&header)?, |key, _| Ok(key.to_vec())).await
}

/// Its dates are sealed like those of any key, and were read as if they were a record.
#[test]
fn the_ivk_is_shown_with_its_dates() {
    block_on(async {
        let (_world, vault) = World::found().await;
        let shown = vault.ivk_status().await.expect("it is stored");
        let [ivk] = shown.as_slice() else { panic!("one version: {shown:?}") };
        assert_eq!((ivk.state, ivk.created, ivk.rotated), (State::Active, Time::from_seconds(START_SECONDS), None));
    });
}

#[test]
fn a_key_lives_through_its_states_and_survives_a_restart() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let id = create(&vault, &service, named("invoices")).await.expect("the name is free");
        assert!(matches!(encrypts(&vault, &service, id).await, Err(Error::WrongState { is: State::PreActive, .. })));
        change(&vault, &admin, id, Event::Activate).await.expect("a new key activates");
        let key = encrypts(&vault, &service, id).await.expect("an Active key encrypts");
        assert_eq!(key.len(), 32);

        let again = world.unseal().await.expect("the roots open");
        assert_eq!(decrypts(&again, &service, id).await.expect("it is stored"), key);
        assert!(matches!(change(&again, &admin, id, Event::Destroy).await, Err(Error::WrongState { is: State::Active, .. })));
        change(&again, &admin, id, Event::Deprecate).await.expect("an Active key is revoked");
        assert!(matches!(encrypts(&again, &service, id).await, Err(Error::WrongState { is: State::Deprecated, .. })));
        assert_eq!(decrypts(&again, &service, id).await.expect("a Deprecated key decrypts"), key);
        change(&again, &admin, id, Event::Destroy).await.expect("a revoked key is destroyed");
        assert!(matches!(decrypts(&again, &service, id).await, Err(Error::WrongState { is: State::Destroyed, .. })));
        let tombstone = Row::decode(&world.store.rows()[&id]).expect("a tombstone is a row");
        assert_eq!(tombstone.material, None);
    });
}

#[test]
fn a_compromised_key_does_nothing_for_clients() {
    block_on(async {
        let (_world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let id = create(&vault, &service, named("k")).await.expect("the name is free");
        change(&vault, &admin, id, Event::Activate).await.expect("a new key activates");
        change(&vault, &admin, id, Event::Compromise).await.expect("an Active key is compromised");
        assert!(matches!(decrypts(&vault, &service, id).await, Err(Error::WrongState { is: State::Compromised, .. })));
    });
}

#[test]
fn strangers_and_wrong_roles_get_what_the_table_says() {
    block_on(async {
        let (_world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let (other_admin, other_service) = settle(&vault, "globex", "billing").await;
        let id = create(&vault, &service, named("k")).await.expect("the name is free");
        let header = vault.header(&vault.begin(SessionId(2)), &service, id).await.expect("it is there");
        assert_eq!(other_service.check::<Encrypt>(&header).map(|_| ()), Err(Refusal::NotFound));
        assert_eq!(other_admin.check::<Destroy>(&header).map(|_| ()), Err(Refusal::NotFound));
        assert_eq!(service.check::<Destroy>(&header).map(|_| ()), Err(Refusal::Denied));
        assert_eq!(admin.check::<Encrypt>(&header).map(|_| ()), Err(Refusal::Denied));
        let unit = vault.begin(SessionId(2));
        let find = |grants| vault.find(&unit, grants, Layer::L3, Vec::new(), |_| true);
        assert_eq!(find(&service).await.expect("the store is well").len(), 2);
        assert!(!find(&other_service).await.expect("the store is well").contains(&id));
    });
}

#[test]
fn a_name_is_unique_among_a_services_live_keys_and_free_after_destroy() {
    block_on(async {
        let (_world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let (_, other) = settle(&vault, "globex", "billing").await;
        let id = create(&vault, &service, named("k")).await.expect("the name is free");
        assert!(matches!(create(&vault, &service, named("k")).await, Err(Error::NameTaken { .. })));
        create(&vault, &other, named("k")).await.expect("another tenant's names are its own");
        change(&vault, &admin, id, Event::Destroy).await.expect("a Pre-Active key is destroyed");
        create(&vault, &service, named("k")).await.expect("the name is free again");
        let term = vault.registry().integrity().terms.name(service.tenant().expect("a tenant"), "k");
        let unit = vault.begin(SessionId(2));
        let live = |view: &keys::vault::View| !view.state.is_destroyed();
        assert_eq!(vault.find(&unit, &service, Layer::L3, vec![term], live).await.expect("the store is well").len(), 1);
    });
}

#[test]
fn the_default_key_of_a_service_is_neither_revoked_nor_destroyed() {
    block_on(async {
        let (_world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let id = vault.service(service.service().expect("a service")).await.expect("it is stored").default_key;
        for event in [Event::Deprecate, Event::Compromise] {
            assert!(matches!(change(&vault, &admin, id, event).await, Err(Error::Denied { .. })), "{event:?}");
        }
        encrypts(&vault, &service, id).await.expect("it stays Active");
    });
}

#[test]
fn a_staged_key_is_seen_by_its_own_unit_and_vanishes_with_undo() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let stored = world.store.rows().len();
        let mut unit = vault.begin(SessionId(2));
        let new = NewServiceKey { service: service.service().expect("a service"), bits: 128, attributes: named("k") };
        let id = vault.create_service_key(&mut unit, new).await.expect("the name is free").id;
        let header = vault.header(&unit, &admin, id).await.expect("the unit sees it");
        vault
            .change(&mut unit, admin.check::<Activate>(&header).expect("its own"), Event::Activate, |_, _| ())
            .await
            .expect("it activates in the same unit");
        assert!(matches!(vault.header(&vault.begin(SessionId(3)), &admin, id).await, Err(Error::NotFound)));
        unit.undo();
        let _receipt = unit.commit().await.expect("an empty unit commits");
        assert_eq!(world.store.rows().len(), stored);
    });
}

#[test]
fn create_and_activate_in_one_unit_are_one_row() {
    block_on(async {
        let (_world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let mut unit = vault.begin(SessionId(2));
        let new = NewServiceKey { service: service.service().expect("a service"), bits: 256, attributes: named("k") };
        let id = vault.create_service_key(&mut unit, new).await.expect("the name is free").id;
        let header = vault.header(&unit, &admin, id).await.expect("the unit sees it");
        vault
            .change(&mut unit, admin.check::<Activate>(&header).expect("its own"), Event::Activate, |_, _| ())
            .await
            .expect("it activates");
        let _receipt = unit.commit().await.expect("the store is well");
        encrypts(&vault, &service, id).await.expect("it is Active");
    });
}

/// Edits the stored row of `id` behind the vault's back: it must be refused by name, and `other` must still be served.
async fn check_edit(world: &World, id: RowId, other: RowId, what: &str, edit: impl FnOnce(&mut Row)) {
    let fresh = world.unseal().await.expect("the roots open");
    let admin = grants(&fresh, Role::TenantAdmin, "acme", "billing").await;
    let before = world.store.rows()[&id].clone();
    world.store.edit(id, edit);
    match fresh.header(&fresh.begin(SessionId(2)), &admin, id).await {
        Err(Error::Corrupt { at, .. }) => assert_eq!(at, id.to_string()),
        other => panic!("{what}: {other:?}"),
    }
    fresh.header(&fresh.begin(SessionId(2)), &admin, other).await.expect("other rows are served");
    world.store.rows().insert(id, before);
}

#[test]
fn every_column_edited_by_the_store_makes_the_row_unusable_by_name() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (_admin, service) = settle(&vault, "acme", "billing").await;
        let id = create(&vault, &service, named("k")).await.expect("the name is free");
        let other = create(&vault, &service, named("other")).await.expect("the name is free");
        let stranger = Row::decode(&world.store.rows()[&other]).expect("a row");
        check_edit(&world, id, other, "state", |row| row.header.state = State::Active).await;
        check_edit(&world, id, other, "owner", |row| row.header.owner.service = None).await;
        check_edit(&world, id, other, "expiry", |row| row.header.expiry = Some(Time::from_seconds(1))).await;
        check_edit(&world, id, other, "generation", |row| row.header.generation = row.header.generation.next()).await;
        check_edit(&world, id, other, "bits", |row| row.header.bits = 128).await;
        check_edit(&world, id, other, "terms", |row| row.terms.clear()).await;
        check_edit(&world, id, other, "material", |row| row.material = None).await;
        check_edit(&world, id, other, "attributes", |row| row.attributes.as_mut().expect("it has some")[120] ^= 1).await;
        check_edit(&world, id, other, "mac", |row| row.meta_mac[0] ^= 1).await;
        check_edit(&world, id, other, "a stranger's material", |row| row.material = stranger.material).await;
    });
}

#[test]
fn a_row_that_does_not_verify_does_not_exist_for_strangers() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (_admin, service) = settle(&vault, "acme", "billing").await;
        let (_, stranger) = settle(&vault, "globex", "billing").await;
        let id = create(&vault, &service, named("k")).await.expect("the name is free");
        world.store.edit(id, |row| row.meta_mac[0] ^= 1);
        let unit = vault.begin(SessionId(2));
        assert!(matches!(vault.header(&unit, &service, id).await, Err(Error::Corrupt { .. })));
        assert!(matches!(vault.header(&unit, &stranger, id).await, Err(Error::NotFound)));
    });
}

/// A row that is gone does not say whose it was, and one that was edited lies.
#[test]
fn that_a_row_is_lost_hears_its_owner_alone() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let mut unit = vault.begin(SessionId(1));
        vault.create_service(&mut unit, &name("acme"), &name("payroll")).await.expect("the name is free");
        let _receipt = unit.commit().await.expect("the fakes are well");
        let neighbour = grants(&vault, Role::Service, "acme", "payroll").await;
        let (strange_admin, stranger) = settle(&vault, "globex", "billing").await;
        let id = create(&vault, &service, named("k")).await.expect("the name is free");
        let unit = vault.begin(SessionId(2));
        let foreign = create(&vault, &stranger, named("k")).await.expect("the name is free");
        let theirs = vault.header(&unit, &stranger, foreign).await.expect("it is there").owner;
        type Damage<'a> = &'a dyn Fn();
        let store = &world.store;
        let damages: [(&str, Damage<'_>); 3] = [
            ("it claims to be a stranger's", &|| store.edit(id, |row| row.header.owner = theirs)),
            ("it cannot be read", &|| drop(store.rows().insert(id, vec![0; 8]))),
            ("it is gone", &|| drop(store.rows().remove(&id))),
        ];
        for (what, damage) in damages {
            damage();
            for owner in [&service, &admin] {
                assert!(matches!(vault.header(&unit, owner, id).await, Err(Error::Corrupt { .. })), "{what}");
            }
            for other in [&neighbour, &stranger, &strange_admin] {
                assert!(matches!(vault.header(&unit, other, id).await, Err(Error::NotFound)), "{what}");
            }
            assert!(matches!(vault.key(&strange_admin, id).await, Err(Error::NotFound)), "{what}");
            for role in [Role::Operator, Role::Auditor] {
                let looking = grants(&vault, role, "acme", "billing").await;
                assert!(matches!(vault.key(&looking, id).await, Err(Error::Corrupt { .. })), "{what}: {role:?}");
            }
        }
    });
}

#[test]
fn a_row_that_vanishes_is_named_and_its_iv_budget_does_not_begin_anew() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (_admin, service) = settle(&vault, "acme", "billing").await;
        let id = create(&vault, &service, named("k")).await.expect("the name is free");
        let header = vault.header(&vault.begin(SessionId(2)), &service, id).await.expect("it is there");
        for _ in 0..keys::budget::IV_BLOCK {
            vault.gcm_iv(&header).await.expect("a new key has all its IVs");
        }
        world.store.rows().remove(&RowId::new(Layer::IvBudget, id.uuid));
        assert!(matches!(vault.gcm_iv(&header).await, Err(Error::Corrupt { .. })), "a lost budget is not a fresh one");
        let again = world.unseal().await.expect("the roots open");
        again.header(&again.begin(SessionId(2)), &service, id).await.expect("it is there");
        world.store.rows().remove(&id);
        assert!(matches!(again.header(&again.begin(SessionId(2)), &service, id).await, Err(Error::Corrupt { .. })));
    });
}

#[test]
fn a_key_with_damaged_material_can_still_be_destroyed() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let id = create(&vault, &service, named("k")).await.expect("the name is free");
        let row = Row::decode(&world.store.rows()[&id]).expect("a row");
        let mut damaged = row.material.clone().expect("it has some");
        damaged[100] ^= 1;
        let resealed = vault.registry().seal_row(row.header, Some(damaged), row.attributes, row.terms);
        world.store.rows().insert(id, resealed.encode());
        let again = world.unseal().await.expect("the roots open");
        assert!(matches!(decrypts(&again, &service, id).await, Err(Error::Corrupt { .. })));
        change(&again, &admin, id, Event::Destroy).await.expect("a Pre-Active key is destroyed");
        create(&again, &service, named("k")).await.expect("its name is free");
    });
}

#[test]
fn after_a_commit_of_unknown_outcome_nothing_stale_is_served() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let id = create(&vault, &service, named("k")).await.expect("the name is free");
        change(&vault, &admin, id, Event::Activate).await.expect("a new key activates");
        encrypts(&vault, &service, id).await.expect("it is Active, and in the cache now");
        world.store.lies.store(true, Ordering::Relaxed);
        assert!(change(&vault, &admin, id, Event::Deprecate).await.is_err(), "the store says that it failed");
        world.store.lies.store(false, Ordering::Relaxed);
        assert!(matches!(encrypts(&vault, &service, id).await, Err(Error::WrongState { is: State::Deprecated, .. })));
    });
}

#[test]
fn an_older_row_replayed_by_the_store_is_a_rollback() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let id = create(&vault, &service, named("k")).await.expect("the name is free");
        change(&vault, &admin, id, Event::Activate).await.expect("a new key activates");
        let active = world.store.rows()[&id].clone();
        change(&vault, &admin, id, Event::Deprecate).await.expect("an Active key is revoked");
        world.store.rows().insert(id, active);
        assert!(matches!(encrypts(&vault, &service, id).await, Err(Error::Corrupt { .. })));
    });
}

#[test]
fn dates_decide_the_state_and_never_backwards() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (_admin, service) = settle(&vault, "acme", "billing").await;
        let at = |seconds| Some(Time::from_seconds(START_SECONDS + seconds));
        let dates = Dates { activation: at(10), protect_stop: at(20), deactivation: at(30), ..Dates::default() };
        let id = create(&vault, &service, Attributes { dates, ..named("k") }).await.expect("the name is free");
        let set = |seconds| world.clock.0.store(START_SECONDS + seconds, Ordering::Relaxed);
        assert!(encrypts(&vault, &service, id).await.is_err());
        set(10);
        encrypts(&vault, &service, id).await.expect("its activation date has come");
        set(20);
        assert!(encrypts(&vault, &service, id).await.is_err());
        decrypts(&vault, &service, id).await.expect("it may still process");
        set(30);
        decrypts(&vault, &service, id).await.expect("a Deprecated key decrypts");
        set(-1000);
        assert!(encrypts(&vault, &service, id).await.is_err(), "the clock went back, the key did not");
        world.not_before.store(START_SECONDS + 30, Ordering::Relaxed);
        let again = world.unseal().await.expect("the roots open");
        assert!(encrypts(&again, &service, id).await.is_err(), "nor across a restart, by what the log remembers");
    });
}

#[test]
fn without_an_audit_log_nothing_is_done() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (_admin, service) = settle(&vault, "acme", "billing").await;
        let stored = world.store.rows().len();
        world.audit.down.store(true, Ordering::Relaxed);
        assert!(matches!(create(&vault, &service, named("k")).await, Err(Error::Unavailable { .. })));
        assert!(vault.begin(SessionId(2)).commit().await.is_err(), "a read without a record is not answered");
        assert_eq!(world.store.rows().len(), stored);
        world.audit.down.store(false, Ordering::Relaxed);
        create(&vault, &service, named("k")).await.expect("it resumes alone");
    });
}

#[test]
fn a_full_store_refuses_changes_and_goes_on_reading() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let id = create(&vault, &service, named("k")).await.expect("the name is free");
        change(&vault, &admin, id, Event::Activate).await.expect("a new key activates");
        world.store.full.store(true, Ordering::Relaxed);
        assert!(matches!(create(&vault, &service, named("l")).await, Err(Error::Unavailable { .. })));
        encrypts(&vault, &service, id).await.expect("reads go on");
        world.store.full.store(false, Ordering::Relaxed);
        create(&vault, &service, named("l")).await.expect("it heals without a restart");
    });
}

#[test]
fn racing_changes_of_one_key_have_one_winner() {
    block_on(async {
        let (_world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let id = create(&vault, &service, named("k")).await.expect("the name is free");
        let (first, second) =
            futures_util::future::join(change(&vault, &admin, id, Event::Activate), change(&vault, &admin, id, Event::Activate)).await;
        let outcomes = [first.is_ok(), second.is_ok()];
        assert_eq!(outcomes.iter().filter(|won| **won).count(), 1, "{outcomes:?}");
    });
}

#[test]
fn waiting_units_share_a_commit() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (_admin, service) = settle(&vault, "acme", "billing").await;
        let mut units = Vec::new();
        for n in 0..64 {
            let mut unit = vault.begin(SessionId(2));
            let attributes = named(&format!("k{n}"));
            let new = NewServiceKey { service: service.service().expect("a service"), bits: 256, attributes };
            vault.create_service_key(&mut unit, new).await.expect("every name is free");
            units.push(unit);
        }
        let before = world.store.commits.load(Ordering::Relaxed);
        // All are staged, so that they reach the writer faster than it can take them one by one.
        for made in futures_util::future::join_all(units.into_iter().map(Unit::commit)).await {
            let _receipt = made.expect("the fakes are well");
        }
        let commits = world.store.commits.load(Ordering::Relaxed) - before;
        assert!(commits <= 32, "64 units took {commits} commits");
    });
}

#[test]
fn random_ivs_are_reserved_in_durable_blocks() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (_admin, service) = settle(&vault, "acme", "billing").await;
        let id = create(&vault, &service, named("k")).await.expect("the name is free");
        let header = vault.header(&vault.begin(SessionId(2)), &service, id).await.expect("it is there");
        let before = world.store.commits.load(Ordering::Relaxed);
        let first = vault.gcm_iv(&header).await.expect("a new key has all its IVs");
        assert_ne!(first, vault.gcm_iv(&header).await.expect("a new key has all its IVs"));
        assert_eq!(world.store.commits.load(Ordering::Relaxed) - before, 1);
        assert!(world.store.rows().contains_key(&RowId::new(Layer::IvBudget, id.uuid)));
    });
}

#[test]
fn attributes_show_the_present_state() {
    block_on(async {
        let (_world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let id = create(&vault, &service, named("k")).await.expect("the name is free");
        let unit = vault.begin(SessionId(2));
        let header = vault.header(&unit, &admin, id).await.expect("it is there");
        let view = vault.attributes(&unit, admin.check::<GetAttributes>(&header).expect("its own")).await.expect("it opens");
        assert_eq!((view.state, view.attributes.names[0].value.as_str()), (State::PreActive, "k"));
        assert!(view.attributes.digest.is_some());
    });
}

#[test]
fn a_stage_that_is_rewound_is_what_it_was_at_the_mark() {
    block_on(async {
        let (_world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let new = |name: &str| NewServiceKey { service: service.service().expect("a service"), bits: 256, attributes: named(name) };
        let mut unit = vault.begin(SessionId(2));
        let kept = vault.create_service_key(&mut unit, new("kept")).await.expect("the name is free");
        let mark = unit.mark();
        let authorized = admin.check::<Activate>(&kept).expect("it is the admin's");
        vault.change(&mut unit, authorized, Event::Activate, |_, _| ()).await.expect("a new key activates");
        vault.create_service_key(&mut unit, new("dropped")).await.expect("the name is free");
        assert!(vault.create_service_key(&mut unit, new("kept")).await.is_err());
        unit.rewind(mark);
        assert_eq!(vault.header(&unit, &service, kept.id).await.expect("it is staged"), kept);
        let _receipt = unit.commit().await.expect("the fakes are well");
        assert!(matches!(encrypts(&vault, &service, kept.id).await, Err(Error::WrongState { is: State::PreActive, .. })));
        create(&vault, &service, named("dropped")).await.expect("nobody holds the name");
    });
}

#[test]
fn a_crl_number_is_never_lowered_and_outlives_the_vault() {
    block_on(async {
        let (world, vault) = World::found().await;
        let floors = |numbers: &[(u8, u8)]| CrlFloors(numbers.iter().map(|(ca, number)| ([*ca; 32], [*number; 20])).collect());
        assert_eq!(vault.raise_crl_floors(&floors(&[])).await.expect("the fakes are well"), floors(&[]));
        assert_eq!(vault.raise_crl_floors(&floors(&[(1, 5), (2, 7)])).await.expect("the fakes are well"), floors(&[(1, 5), (2, 7)]));
        let before = world.store.commits.load(Ordering::Relaxed);
        assert_eq!(vault.raise_crl_floors(&floors(&[(1, 4)])).await.expect("the fakes are well"), floors(&[(1, 5), (2, 7)]));
        assert_eq!(vault.raise_crl_floors(&floors(&[])).await.expect("the fakes are well"), floors(&[(1, 5), (2, 7)]));
        assert_eq!(world.store.commits.load(Ordering::Relaxed), before, "what raises nothing writes nothing");
        assert_eq!(
            vault.raise_crl_floors(&floors(&[(1, 6), (3, 1)])).await.expect("the fakes are well"),
            floors(&[(1, 6), (2, 7), (3, 1)])
        );
    });
}

#[test]
fn crl_numbers_are_read_though_the_store_takes_no_write() {
    block_on(async {
        let (world, vault) = World::found().await;
        let floors = |numbers: &[(u8, u8)]| CrlFloors(numbers.iter().map(|(ca, number)| ([*ca; 32], [*number; 20])).collect());
        assert_eq!(vault.crl_floors().await.expect("the fakes are well"), floors(&[]));
        let _stored = vault.raise_crl_floors(&floors(&[(1, 5)])).await.expect("the fakes are well");
        world.store.full.store(true, Ordering::Relaxed);
        assert!(vault.raise_crl_floors(&floors(&[(1, 4), (2, 1)])).await.is_err(), "it is full");
        assert_eq!(vault.crl_floors().await.expect("reads go on"), floors(&[(1, 5)]), "nothing of what failed was stored");
    });
}
