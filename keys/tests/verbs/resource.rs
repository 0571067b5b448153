//! Resources and their L2.1: made with the first service, rotated and rolled back apart from the tenant's other keys (C23, F1, ARCH-13).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_executor::block_on;
use keys::Error;
use keys::attributes::{Attributes, Links};
use keys::id::{KeyVersion, Layer, RowId, SessionId};
use keys::lifecycle::{Event, State};
use keys::policy::verb::{ReKey, RollBack};
use keys::policy::{Action, Grants, Refusal, Role};
use keys::renew::RenewCursor;
use keys::resource::Resource;
use keys::row::{Header, ParentRef, Row};
use keys::tenancy::NewServiceKey;
use keys::vault::{Vault, View};

use super::races::at_once;
use super::revoke::revoke;
use super::{default_key, filter, l3, must_be_sound, rekey, rekey_with, view, walked};
use crate::fakes::{Fails, START_SECONDS, World, grants, name, settle};
use crate::{change, create, decrypts, encrypts, named};

/// A service of acme with its keys under a resource's.
async fn serve(vault: &Vault, service: &str, resource: &str) -> Result<Grants, Error> {
    let mut unit = vault.begin(SessionId(1));
    vault.create_service_of(&mut unit, &name("acme"), &name(service), Some(&name(resource))).await?;
    let _receipt = unit.commit().await?;
    Ok(grants(vault, Role::Service, "acme", service).await)
}

async fn resource(vault: &Vault, text: &str) -> Resource {
    let tenant = vault.tenant_by_name(&name("acme")).await.expect("the store is well").expect("it was made");
    vault.resource_by_name(tenant.id, &name(text)).await.expect("the store is well").expect("it was made")
}

async fn roll_back(vault: &Vault, admin: &Grants, id: RowId) -> Result<View, Error> {
    let mut unit = vault.begin(SessionId(2));
    let header = vault.header(&unit, admin, id).await?;
    let active = vault.roll_back(&mut unit, admin.check::<RollBack>(&header)?).await?;
    let _receipt = unit.commit().await?;
    Ok(active)
}

async fn compromise(vault: &Vault, admin: &Grants, id: RowId) -> Result<View, Error> {
    revoke(vault, admin, id, 2, None).await
}

/// How many keys a whole walk moves.
async fn walk(vault: &Vault) -> usize {
    let (moved, refused) = walked(vault, 3).await;
    assert_eq!(refused, []);
    moved
}

/// The number of the version that wraps a service's default key, and its layer.
async fn lies_under(vault: &Vault, service: &Grants, admin: &Grants) -> (Layer, u32) {
    let key = vault.key(admin, default_key(vault, service).await).await.expect("it is the admin's");
    (key.wrapped_by.id.expect("it is no IVK").layer, key.wrapped_by.version.0)
}

/// Of every chain of L2.1 exactly one version is Active, its resource's record names that one, and no number is missing.
async fn must_have_one_active(world: &World, vault: &Vault) {
    let mut chains: BTreeMap<_, Vec<Header>> = BTreeMap::new();
    for Row { header, .. } in world.rows(Layer::L21).into_values() {
        chains.entry(header.chain).or_default().push(header);
    }
    for (chain, mut versions) in chains {
        versions.sort_by_key(|header| header.version);
        let active: Vec<RowId> = versions.iter().filter(|header| header.state == State::Active).map(|header| header.id).collect();
        let record = vault.resource(chain).await.expect("it verifies").expect("it was made with the first version");
        assert_eq!(active, [record.key]);
        assert_eq!(record.newest, versions.last().expect("a chain has a version").version);
        assert!(versions.iter().map(|header| header.version.0).eq(1..=record.newest.0));
    }
}

/// Keys of a service with their bytes, that must open whatever happens above them.
struct Kept(Vec<(Grants, RowId, Vec<u8>)>);

impl Kept {
    async fn keep(&mut self, vault: &Vault, service: &Grants) {
        let id = default_key(vault, service).await;
        self.0.push((*service, id, encrypts(vault, service, id).await.expect("a default key is Active")));
    }

    async fn must_open(&self, world: &World, vault: &Vault) {
        let again = world.unseal().await.expect("the roots open");
        for (service, id, bytes) in &self.0 {
            for vault in [vault, &again] {
                // The first use of a key under a compromised version moves it, and a message that meets that is done again.
                let opened = match decrypts(vault, service, *id).await {
                    Err(Error::Raced) => decrypts(vault, service, *id).await,
                    opened => opened,
                };
                assert_eq!(opened.expect("it opens, also after a restart"), *bytes);
            }
        }
        must_have_one_active(world, &again).await;
    }
}

#[test]
fn a_resource_is_made_with_its_first_service_in_one_unit_and_shared_by_the_next() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, direct) = settle(&vault, "acme", "billing").await;
        let before = world.store.commits.load(Ordering::Relaxed);
        let first = serve(&vault, "ledger-in", "ledger").await.expect("the names are free");
        assert_eq!(world.store.commits.load(Ordering::Relaxed), before + 1, "one unit makes all of it");
        let second = serve(&vault, "ledger-out", "ledger").await.expect("the name is free");
        let archive = serve(&vault, "archive", "archive").await.expect("a service and a resource may have the same name");

        let ledger = resource(&vault, "ledger").await;
        let tenant = vault.tenant_by_name(&name("acme")).await.expect("the store is well").expect("it was made");
        let l21 = world.row(ledger.key).header;
        assert!(ledger.key.to_string().starts_with("L21-"));
        assert_eq!((l21.version, l21.state, l21.parent, l21.owner.service), (KeyVersion(1), State::Active, tenant.parent, None));
        assert_eq!((ledger.parent.chain, ledger.newest), (l21.chain, KeyVersion(1)));
        assert_eq!(world.rows(Layer::L21).len(), 2);
        for (service, under) in [
            (&first, ledger.parent),
            (&second, ledger.parent),
            (&archive, resource(&vault, "archive").await.parent),
            (&direct, tenant.parent),
        ] {
            assert_eq!(world.row(default_key(&vault, service).await).header.parent, under);
        }
        let told: Vec<_> = world.audit.records().into_iter().filter(|record| record.action == Action::CreateResource).collect();
        assert_eq!(
            told.iter().map(|record| record.object).collect::<Vec<_>>(),
            [Some(ledger.key), Some(resource(&vault, "archive").await.key)]
        );

        let listed = vault.resources(tenant.id).await.expect("the store is well");
        assert_eq!(listed.iter().map(|resource| resource.name.as_str()).collect::<BTreeSet<_>>(), BTreeSet::from(["archive", "ledger"]));
        let shown = vault.key(&admin, ledger.key).await.expect("it is the admin's");
        assert_eq!((shown.resource, shown.service, shown.wrapped_by.id), (Some(name("ledger")), None, Some(tenant.key)));
        let shown = vault.key(&admin, default_key(&vault, &second).await).await.expect("it is the admin's");
        assert_eq!((shown.resource, shown.wrapped_by.id), (Some(name("ledger")), Some(ledger.key)));
        let shown = vault.key(&admin, default_key(&vault, &direct).await).await.expect("it is the admin's");
        assert_eq!((shown.resource, shown.wrapped_by.id), (None, Some(tenant.key)));
        let found = vault.find(&vault.begin(SessionId(2)), &admin, Layer::L21, Vec::new(), |_| true).await.expect("the store is well");
        assert_eq!(found.len(), 2);
        let found = vault.find(&vault.begin(SessionId(2)), &first, Layer::L21, Vec::new(), |_| true).await.expect("the store is well");
        assert_eq!(found, [], "a service sees its own keys");

        let (mut kept, further) = (Kept(Vec::new()), create(&vault, &second, named("further")).await.expect("the name is free"));
        assert_eq!(world.row(further).header.parent, ledger.parent, "a further key of the service lies where its default key lies");
        for service in [&first, &second, &archive, &direct] {
            kept.keep(&vault, service).await;
        }
        kept.must_open(&world, &vault).await;
        must_be_sound(&world.unseal().await.expect("the roots open"), &admin, &second).await;
    });
}

#[test]
fn an_l21_is_rotated_alone_and_follows_its_l2() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, direct) = settle(&vault, "acme", "billing").await;
        let (stranger, _) = settle(&vault, "globex", "billing").await;
        let ledger = serve(&vault, "ledger", "ledger").await.expect("the names are free");
        let archive = serve(&vault, "archive", "archive").await.expect("the names are free");
        let mut kept = Kept(Vec::new());
        for service in [&direct, &ledger, &archive] {
            kept.keep(&vault, service).await;
        }
        let first = resource(&vault, "ledger").await;
        let epoch = (vault.parents_epoch(), vault.policy_epoch());
        let new = rekey(&vault, &admin, first.key).await.expect("an Active L2.1 is replaced");
        assert_eq!((new.header.version, new.state, new.header.parent), (KeyVersion(2), State::Active, world.row(first.key).header.parent));
        assert_eq!(resource(&vault, "ledger").await.key, new.header.id);
        assert_eq!(world.row(first.key).header.state, State::Deprecated);
        assert!(vault.parents_epoch() > epoch.0 && vault.policy_epoch() > epoch.1, "walk and makers of keys are told");
        kept.must_open(&world, &vault).await;

        // What is new comes under version 2, what was there follows by the walk; nothing else moves.
        create(&vault, &ledger, named("new")).await.expect("the name is free");
        let later = serve(&vault, "ledger-later", "ledger").await.expect("the name is free");
        assert_eq!(lies_under(&vault, &later, &admin).await, (Layer::L21, 2));
        assert_eq!(lies_under(&vault, &ledger, &admin).await, (Layer::L21, 1));
        assert_eq!(walk(&vault).await, 1);
        assert_eq!(lies_under(&vault, &ledger, &admin).await, (Layer::L21, 2));
        assert_eq!(lies_under(&vault, &archive, &admin).await, (Layer::L21, 1));
        kept.must_open(&world, &vault).await;
        let replaced = rekey(&vault, &admin, default_key(&vault, &ledger).await).await.expect("an Active key is replaced");
        assert_eq!(replaced.header.parent, resource(&vault, "ledger").await.parent);

        // The L2: both L2.1, all their versions, and the L3 of the service without a resource.
        let l2 = vault.tenant_by_name(&name("acme")).await.expect("the store is well").expect("it was made").key;
        rekey(&vault, &admin, l2).await.expect("an Active L2 is replaced");
        kept.must_open(&world, &vault).await;
        assert_eq!(walk(&vault).await, 4);
        assert!(world.rows(Layer::L21).values().all(|row| row.header.parent.version == KeyVersion(2)));
        assert_eq!(lies_under(&vault, &direct, &admin).await, (Layer::L2, 2));
        assert_eq!(walk(&vault).await, 0);
        kept.must_open(&world, &vault).await;
        must_be_sound(&vault, &admin, &ledger).await;

        assert!(matches!(rekey(&vault, &stranger, new.header.id).await, Err(Error::NotFound)));
        assert!(matches!(rekey(&vault, &ledger, new.header.id).await, Err(Error::NotFound)));
    });
}

#[test]
fn a_roll_back_makes_an_earlier_version_active_and_its_names_and_links_follow() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, _) = settle(&vault, "acme", "billing").await;
        let ledger = serve(&vault, "ledger", "ledger").await.expect("the names are free");
        let mut kept = Kept(Vec::new());
        kept.keep(&vault, &ledger).await;
        let one = resource(&vault, "ledger").await.key;
        let called = |attributes: Attributes| Attributes { names: named("of the ledger").names, ..attributes };
        let two = rekey_with(&vault, &admin, one, called).await.expect("an Active L2.1 is replaced").header.id;
        kept.keep(&vault, &serve(&vault, "ledger-2", "ledger").await.expect("the name is free")).await;
        assert_eq!(walk(&vault).await, 1);

        world.clock.0.store(START_SECONDS + 60, Ordering::Relaxed);
        let epoch = (vault.parents_epoch(), vault.policy_epoch());
        let active = roll_back(&vault, &admin, one).await.expect("a Deprecated L2.1 is rolled back to");
        assert!(vault.parents_epoch() > epoch.0 && vault.policy_epoch() > epoch.1, "walk and makers of keys are told");
        let again = world.unseal().await.expect("the roots open");
        for vault in [&vault, &again] {
            let (now, before) = (view(vault, &admin, one).await, view(vault, &admin, two).await);
            assert_eq!((now.state, now.attributes.dates.deactivation), (State::Active, None));
            assert_eq!((before.state, before.attributes.dates.deactivation), (State::Deprecated, Some(vault.now())));
            assert_eq!((&now.header, &now.attributes.names), (&active.header, &named("of the ledger").names));
            assert!(before.attributes.names.is_empty());
            assert_eq!(now.attributes.links, Links { replaced: Some(two), replacement: None, replacement_index: 0 });
            assert_eq!((before.attributes.links.replaced, before.attributes.links.replacement), (Some(one), Some(one)));
            let term = vault.registry().integrity().terms.name(admin.tenant().expect("a tenant"), "of the ledger");
            let found = vault.find(&vault.begin(SessionId(2)), &admin, Layer::L21, vec![term], |_| true).await.expect("the store is well");
            assert_eq!(found, [one]);
        }
        kept.must_open(&world, &vault).await;
        kept.keep(&vault, &serve(&vault, "ledger-3", "ledger").await.expect("the name is free")).await;
        assert_eq!(walk(&vault).await, 2, "what lay under version 2");
        assert!(l3(&vault, &admin).await.keys.iter().filter(|key| key.resource.is_some()).all(|key| key.wrapped_by.id == Some(one)));
        kept.must_open(&world, &vault).await;

        // Only the Active version is replaced, and the next number is the one after the newest that there ever was.
        assert!(matches!(rekey(&vault, &admin, two).await, Err(Error::Replaced { by }) if by == one));
        let three = rekey(&vault, &admin, one).await.expect("an Active L2.1 is replaced");
        assert_eq!((three.header.version, three.attributes.links.replaced), (KeyVersion(3), Some(one)));
        kept.must_open(&world, &vault).await;
        // Forward again, and back over more than one version; the links lead to the Active version from everywhere.
        for target in [two, one, three.header.id, one] {
            roll_back(&vault, &admin, target).await.expect("a Deprecated L2.1 is rolled back to");
            for start in [one, two, three.header.id] {
                let (mut at, mut steps) = (start, 0);
                while let Some(next) = view(&vault, &admin, at).await.attributes.links.replacement {
                    (at, steps) = (next, steps + 1);
                    assert!(steps < 3, "the links go round in a circle");
                }
                assert_eq!(at, target);
            }
            kept.must_open(&world, &vault).await;
        }
        walk(&vault).await;
        kept.must_open(&world, &vault).await;
        must_be_sound(&vault, &admin, &ledger).await;
    });
}

#[test]
fn a_version_that_was_rolled_back_to_counts_from_then_for_a_schedule() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, _) = settle(&vault, "acme", "billing").await;
        serve(&vault, "ledger", "ledger").await.expect("the names are free");
        let one = resource(&vault, "ledger").await.key;
        let met = async |is_due: bool| {
            let (mut met, mut cursor) = (Vec::new(), Some(RenewCursor::default()));
            while let Some(at) = cursor {
                let mut unit = vault.begin(SessionId(1));
                let step = vault.renew(&mut unit, at, 10, |standing| {
                    let is_l21 = standing.key.layer == Layer::L21;
                    met.extend(is_l21.then(|| (standing.key, standing.made.seconds(), standing.since.seconds())));
                    is_l21 && is_due
                });
                cursor = step.await.expect("the store is well").next;
                let _receipt = unit.commit().await.expect("the fakes are well");
            }
            met
        };
        assert_eq!(met(false).await, [(one, START_SECONDS, START_SECONDS)]);
        world.clock.0.store(START_SECONDS + 100, Ordering::Relaxed);
        rekey(&vault, &admin, one).await.expect("an Active L2.1 is replaced");
        let two = resource(&vault, "ledger").await.key;
        assert_eq!(met(false).await, [(two, START_SECONDS + 100, START_SECONDS + 100)]);
        world.clock.0.store(START_SECONDS + 200, Ordering::Relaxed);
        roll_back(&vault, &admin, one).await.expect("a Deprecated L2.1 is rolled back to");
        assert_eq!(met(true).await, [(one, START_SECONDS, START_SECONDS + 200)]);
        let last = resource(&vault, "ledger").await;
        assert_eq!((last.parent.version, last.newest), (KeyVersion(3), KeyVersion(3)), "no number comes twice");
        assert_eq!(met(false).await, [(last.key, START_SECONDS + 200, START_SECONDS + 200)]);
    });
}

#[test]
fn only_a_deprecated_version_of_an_l21_is_rolled_back_to_and_only_by_its_tenants_admin() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let (stranger, _) = settle(&vault, "globex", "billing").await;
        serve(&vault, "ledger", "ledger").await.expect("the names are free");
        let one = resource(&vault, "ledger").await.key;
        let two = rekey(&vault, &admin, one).await.expect("an Active L2.1 is replaced").header.id;
        for (id, state) in [
            (two, State::Active),
            (one, State::Retired),
            (one, State::Compromised),
            (one, State::Destroyed),
            (one, State::DestroyedCompromised),
        ] {
            if id == one {
                world.set_state(&vault, one, state);
            }
            let vault = world.unseal().await.expect("the roots open");
            let before = world.store.rows().clone();
            assert!(matches!(roll_back(&vault, &stranger, id).await, Err(Error::NotFound)), "{state:?}");
            match roll_back(&vault, &admin, id).await {
                Err(error @ Error::WrongState { is, .. }) => {
                    assert_eq!(is, state);
                    assert!(error.to_string().contains("rotate the Active version"), "{error}");
                }
                other => panic!("{state:?}: {other:?}"),
            }
            assert_eq!(*world.store.rows(), before, "{state:?}");
        }
        let before = world.store.rows().clone();
        let l2 = vault.tenant_by_name(&name("acme")).await.expect("the store is well").expect("it was made").key;
        for key in [l2, default_key(&vault, &service).await] {
            assert_eq!(admin.check::<RollBack>(&world.row(key).header).map(drop), Err(Refusal::Denied));
        }
        assert_eq!(service.check::<RollBack>(&world.row(two).header).map(drop), Err(Refusal::NotFound));
        for role in [Role::Operator, Role::Auditor, Role::Custodian, Role::Edge] {
            let grants = grants(&vault, role, "acme", "billing").await;
            assert!(grants.check::<RollBack>(&world.row(two).header).is_err(), "{role:?}");
        }
        // An authorization of another generation does nothing.
        let again = world.unseal().await.expect("the roots open");
        let mut unit = again.begin(SessionId(2));
        let known = again.header(&unit, &admin, two).await.expect("it is there");
        let other = Header { generation: known.generation.next(), ..known };
        assert!(matches!(again.roll_back(&mut unit, admin.check::<RollBack>(&other).expect("its own")).await, Err(Error::Raced)));
        assert_eq!(*world.store.rows(), before);
    });
}

/// What a resource goes through; each step is one commit.
const STEPS: [&str; 6] = ["create", "rekey", "rekey", "roll back", "rekey", "compromise"];

async fn step(vault: &Vault, admin: &Grants, what: &str) -> Result<(), Error> {
    let versions = || async { vault.keys(admin, &filter(Layer::L21)).await.expect("the store is well").keys };
    let oldest = |state| async move {
        let versions = versions().await.into_iter().filter(|key| key.state == state).map(|key| key.header);
        versions.min_by_key(|header| header.version).expect("there is one").id
    };
    match what {
        "create" => serve(vault, "ledger", "ledger").await.map(drop),
        "rekey" => rekey(vault, admin, oldest(State::Active).await).await.map(drop),
        "roll back" => roll_back(vault, admin, oldest(State::Deprecated).await).await.map(drop),
        _ => compromise(vault, admin, oldest(State::Deprecated).await).await.map(drop),
    }
}

#[test]
fn each_commit_of_a_resources_life_that_fails_leaves_the_old_state_or_the_new_one() {
    block_on(async {
        for how in [Fails::Before, Fails::After] {
            for failing in 0..STEPS.len() {
                let (world, vault) = World::found().await;
                let (admin, _) = settle(&vault, "acme", "billing").await;
                let mut kept = Kept(Vec::new());
                for (nth, what) in STEPS.iter().enumerate() {
                    let before = world.store.rows().clone();
                    if nth == failing {
                        *world.store.failing.lock().expect("no test panicked with it") = Some((0, how));
                        assert!(step(&vault, &admin, what).await.is_err(), "{what} {how:?}");
                    } else {
                        step(&vault, &admin, what).await.expect("the fakes are well");
                    }
                    assert_eq!(*world.store.rows() == before, nth == failing && how == Fails::Before, "{what} {how:?}");
                    let vault = world.unseal().await.expect("the roots open");
                    if nth == failing && how == Fails::Before {
                        step(&vault, &admin, what).await.expect("what failed is done again");
                    }
                    if nth == 0 {
                        kept.keep(&vault, &grants(&vault, Role::Service, "acme", "ledger").await).await;
                    }
                    kept.must_open(&world, &vault).await;
                    if nth == failing {
                        // What was not said to be done, and is: the next step needs a vault that has seen it.
                        return_to(&world, &admin, &STEPS[nth + 1..], &kept).await;
                        break;
                    }
                }
            }
        }
    });
}

/// The rest of a life after a failure, by a vault that begins anew.
async fn return_to(world: &World, admin: &Grants, rest: &[&str], kept: &Kept) {
    let vault = world.unseal().await.expect("the roots open");
    for what in rest {
        step(&vault, admin, what).await.expect("the fakes are well");
        kept.must_open(world, &vault).await;
    }
    walk(&vault).await;
    kept.must_open(world, &vault).await;
    let active = resource(&vault, "ledger").await;
    assert_eq!((active.parent.version, active.newest), (KeyVersion(4), KeyVersion(4)));
    assert!(l3(&vault, admin).await.keys.iter().all(|key| key.resource.is_none() || key.wrapped_by.version == active.parent.version));
}

#[test]
fn of_roll_backs_and_rotations_at_once_one_wins_and_one_version_is_active() {
    let (world, vault) = block_on(World::found());
    let (admin, _) = block_on(settle(&vault, "acme", "billing"));
    let ledger = block_on(serve(&vault, "ledger", "ledger")).expect("the names are free");
    let mut kept = Kept(Vec::new());
    block_on(kept.keep(&vault, &ledger));
    let first = block_on(resource(&vault, "ledger")).key;
    block_on(rekey(&vault, &admin, first)).expect("an Active L2.1 is replaced");
    for round in 0..10 {
        let all = block_on(vault.keys(&admin, &filter(Layer::L21))).expect("the store is well").keys;
        let (active, others): (Vec<_>, Vec<_>) =
            all.into_iter().map(|key| (key.header.id, key.state)).partition(|(_, state)| *state == State::Active);
        let outcomes = at_once(12, |nth| match nth % 3 {
            0 => block_on(rekey(&vault, &admin, active[0].0)).map(drop),
            1 => block_on(roll_back(&vault, &admin, others[nth % others.len()].0)).map(drop),
            // What is made meanwhile comes under the version that is Active at its commit, or is refused.
            _ => block_on(create(&vault, &ledger, named(&format!("{round} {nth}")))).map(drop),
        });
        assert!(outcomes.iter().enumerate().any(|(nth, outcome)| nth % 3 != 2 && outcome.is_ok()), "round {round}");
        for lost in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
            assert!(matches!(lost, Error::Raced | Error::Replaced { .. } | Error::WrongState { .. }), "{lost:?}");
        }
        block_on(must_have_one_active(&world, &vault));
        block_on(walk(&vault));
        assert_eq!(block_on(walk(&vault)), 0);
        block_on(kept.must_open(&world, &vault));
    }
    block_on(must_be_sound(&vault, &admin, &ledger));
}

/// The key was wrapped under version 2 before the roll-back and comes to its commit after it.
#[test]
fn nothing_comes_under_a_version_that_was_rolled_back_meanwhile() {
    block_on(async {
        let (_world, vault) = World::found().await;
        let (admin, _) = settle(&vault, "acme", "billing").await;
        serve(&vault, "ledger", "ledger").await.expect("the names are free");
        let one = resource(&vault, "ledger").await.key;
        rekey(&vault, &admin, one).await.expect("an Active L2.1 is replaced");
        walk(&vault).await;
        let mut late = vault.begin(SessionId(2));
        vault.create_service_of(&mut late, &name("acme"), &name("late"), Some(&name("ledger"))).await.expect("it is staged");
        roll_back(&vault, &admin, one).await.expect("a Deprecated L2.1 is rolled back to");
        assert!(matches!(late.commit().await.map_err(Error::from), Err(Error::Raced)));
        assert_eq!(walk(&vault).await, 1, "the one key that was under version 2");
        serve(&vault, "late", "ledger").await.expect("the name is free");
        assert_eq!(walk(&vault).await, 0);
    });
}

/// Two operators make the first service of a resource at the same time: one resource, and the one who lost is told to come again.
#[test]
fn a_resource_is_made_once_however_many_make_its_first_service() {
    let (world, vault) = block_on(World::found());
    block_on(settle(&vault, "acme", "billing"));
    let outcomes = at_once(8, |nth| {
        let service = format!("ledger-{nth}");
        loop {
            match block_on(serve(&vault, &service, "ledger")) {
                Err(Error::Raced) => {}
                other => break other.map(drop),
            }
        }
    });
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(world.rows(Layer::L21).len(), 1);
    assert_eq!(world.rows(Layer::Resource).len(), 1);
    let under = block_on(resource(&vault, "ledger")).parent;
    assert_eq!(world.rows(Layer::L3).values().filter(|row| row.header.parent == under).count(), 8);
    assert_eq!(world.audit.records().iter().filter(|record| record.action == Action::CreateResource).count(), 1);
}

#[test]
fn under_a_compromised_l21_or_l2_a_key_opens_once_it_is_moved_and_a_walk_moves_the_others() {
    block_on(async {
        for layer in [Layer::L21, Layer::L2] {
            let (world, vault) = World::found().await;
            let (admin, _) = settle(&vault, "acme", "billing").await;
            let ledger = serve(&vault, "ledger", "ledger").await.expect("the names are free");
            let other = serve(&vault, "ledger-2", "ledger").await.expect("the names are free");
            let mut kept = Kept(Vec::new());
            kept.keep(&vault, &ledger).await;
            let old = match layer {
                Layer::L21 => resource(&vault, "ledger").await.key,
                _ => vault.tenant_by_name(&name("acme")).await.expect("the store is well").expect("it was made").key,
            };
            let before = world.store.rows().clone();
            assert!(matches!(compromise(&vault, &admin, old).await, Err(Error::Denied { .. })), "the Active version is replaced first");
            assert!(matches!(change(&vault, &admin, old, Event::Deprecate).await, Err(Error::Denied { .. })));
            assert_eq!(*world.store.rows(), before);
            rekey(&vault, &admin, old).await.expect("an Active version is replaced");
            let told = compromise(&vault, &admin, old).await.expect("a Deprecated version is compromised");
            assert_eq!((told.state, world.row(old).header.state), (State::Compromised, State::Compromised));

            let of_layer = if layer == Layer::L21 { Layer::L3 } else { Layer::L21 };
            let still = || {
                let compromised = world.row(old).header;
                let parent = ParentRef { chain: compromised.chain, version: compromised.version };
                world.rows(of_layer).values().filter(|row| row.header.parent == parent).count()
            };
            // Nobody has been asked for anything since: a restart shuts what was open.
            let vault = world.unseal().await.expect("the roots open");
            let is_under = still();
            assert_eq!(is_under, if layer == Layer::L21 { 2 } else { 1 });
            let (_, id, bytes) = &kept.0[0];
            let moved = decrypts(&vault, &ledger, *id).await;
            assert!(layer == Layer::L2 || matches!(moved, Err(Error::Raced)), "what was authorized was the key where it lay: {moved:?}");
            assert_eq!(decrypts(&vault, &ledger, *id).await.expect("whoever comes again finds it moved"), *bytes);
            assert_eq!(still(), is_under - 1, "the use has moved one key and no other");
            let governed = rekey(&vault, &admin, default_key(&vault, &other).await).await;
            assert!(matches!(governed, Ok(_) | Err(Error::Raced)), "{governed:?}");
            rekey(&vault, &admin, default_key(&vault, &other).await).await.expect("whoever comes again finds it moved");
            walk(&vault).await;
            assert_eq!(still(), 0);
            kept.must_open(&world, &vault).await;
            must_be_sound(&vault, &admin, &ledger).await;
            if layer == Layer::L21 {
                assert!(matches!(roll_back(&vault, &admin, old).await, Err(Error::WrongState { is: State::Compromised, .. })));
            }
        }
    });
}

#[test]
fn a_disabled_tenants_resources_are_as_shut_as_its_other_keys() {
    block_on(async {
        let (_world, vault) = World::found().await;
        let (admin, _) = settle(&vault, "acme", "billing").await;
        let ledger = serve(&vault, "ledger", "ledger").await.expect("the names are free");
        let mut unit = vault.begin(SessionId(1));
        vault.set_tenant_disabled(&mut unit, &name("acme"), true).await.expect("it is there");
        let _receipt = unit.commit().await.expect("the fakes are well");
        for role in [Role::TenantAdmin, Role::Service] {
            let principal =
                keys::policy::Principal { role, tenant: Some(name("acme")), service: Some(name("ledger")), certificate: [0; 32] };
            assert!(matches!(vault.grants(&principal).await, Err(Error::Denied { .. })), "{role:?}");
        }
        let mut unit = vault.begin(SessionId(1));
        vault.set_tenant_disabled(&mut unit, &name("acme"), false).await.expect("it is there");
        let _receipt = unit.commit().await.expect("the fakes are well");
        let one = resource(&vault, "ledger").await.key;
        rekey(&vault, &admin, one).await.expect("it is served again");
        roll_back(&vault, &admin, one).await.expect("it is served again");
        encrypts(&vault, &ledger, default_key(&vault, &ledger).await).await.expect("it is served again");
    });
}

/// In one message the L2, the L2.1 and an L3 of a resource are replaced: what is new lies under what was stored before, until the walk comes by. Taken back,
/// nothing of it stays, in memory neither.
#[test]
fn a_batch_replaces_a_chain_from_top_to_bottom_or_leaves_no_trace() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, _) = settle(&vault, "acme", "billing").await;
        let ledger = serve(&vault, "ledger", "ledger").await.expect("the names are free");
        let mut kept = Kept(Vec::new());
        kept.keep(&vault, &ledger).await;
        let l2 = vault.tenant_by_name(&name("acme")).await.expect("the store is well").expect("it was made").key;
        for undo in [true, false] {
            let before = world.store.rows().clone();
            let mut unit = vault.begin(SessionId(2));
            for id in [l2, resource(&vault, "ledger").await.key, default_key(&vault, &ledger).await] {
                let header = vault.header(&unit, &admin, id).await.expect("its own");
                let authorized = admin.check::<ReKey>(&header).expect("its own");
                vault.rekey(&mut unit, authorized, |_, attributes, _| Ok::<_, Error>(attributes)).await.expect("it is the newest");
            }
            let new = NewServiceKey { service: ledger.service().expect("a service"), bits: 256, attributes: named("of the batch") };
            vault.create_service_key(&mut unit, new).await.expect("the name is free");
            if undo {
                unit.undo();
            }
            let _receipt = unit.commit().await.expect("the fakes are well");
            assert_eq!(*world.store.rows() == before, undo);
            create(&vault, &ledger, named(&format!("after {undo}"))).await.expect("the name is free");
        }
        kept.must_open(&world, &vault).await;
        walk(&vault).await;
        assert_eq!(walk(&vault).await, 0);
        assert_eq!(lies_under(&vault, &ledger, &admin).await, (Layer::L21, 2));
        kept.must_open(&world, &vault).await;
        must_be_sound(&vault, &admin, &ledger).await;
    });
}

/// What has been opened and what is kept extracted of an L2.1 goes with its damage: refused by name, and nobody else's.
#[test]
fn a_damaged_l21_shuts_its_own_services_and_no_others() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, direct) = settle(&vault, "acme", "billing").await;
        let ledger = serve(&vault, "ledger", "ledger").await.expect("the names are free");
        let archive = serve(&vault, "archive", "archive").await.expect("the names are free");
        let key = resource(&vault, "ledger").await.key;
        world.store.edit(key, |row| row.material.as_mut().expect("it has some")[140] ^= 1);
        let again: Arc<Vault> = world.unseal().await.expect("the roots open");
        assert!(matches!(decrypts(&again, &ledger, default_key(&again, &ledger).await).await, Err(Error::Corrupt { .. })));
        assert!(matches!(create(&again, &ledger, named("new")).await, Err(Error::Corrupt { .. })));
        for service in [&direct, &archive] {
            encrypts(&again, service, default_key(&again, service).await).await.expect("it is another's");
        }
        assert_eq!(admin.check::<ReKey>(&world.row(key).header).map(drop), Ok(()));
    });
}
