//! The end of versions: a tenant's key that nothing lies under is archived and destroyed, and a version of the IVK with it (C23, F1).

use futures_executor::block_on;
use keys::Error;
use keys::id::{KeyVersion, Layer, RowId, SessionId};
use keys::lifecycle::{Event, Purpose, State};
use keys::policy::verb::{Destroy, ReKey, RetireKey};
use keys::policy::{Action, Grants, Role};
use keys::record::{Outcome, Record};
use keys::row::{Header, ParentRef};
use keys::uses::{Look, Looked, Uses};
use keys::vault::Vault;

use super::rotate::{COMPROMISED, ROUTINE, key_of, opened, parents, rekey_l2, rotate, states};
use super::{swept, walked};
use crate::change;
use crate::fakes::{Fails, World, grants, name, settle};

/// What a whole look finds, two rows at a time.
async fn look_through(vault: &Vault, mut look: Look) -> Result<Uses, Error> {
    loop {
        match vault.look_on(look, 2).await? {
            Looked::On(further) => look = further,
            Looked::Through(uses) => return Ok(uses),
        }
    }
}

pub(super) async fn uses(vault: &Vault, version: u32) -> Result<Uses, Error> {
    look_through(vault, vault.look_under_ivk(KeyVersion(version)).await?).await
}

/// How many keys it has shredded, and how the cluster is fenced then.
async fn destroy(vault: &Vault, version: u32) -> Result<(u64, u64), Error> {
    let uses = uses(vault, version).await?;
    let mut unit = vault.begin(SessionId(2));
    let cluster = vault.destroy_ivk(&mut unit, KeyVersion(version), uses.unused().expect("nothing lies under it")).await?;
    let _receipt = unit.commit().await?;
    Ok((uses.shreds, cluster.fence))
}

pub(super) async fn retire_ivk(vault: &Vault, version: u32) -> Result<(), Error> {
    let mut unit = vault.begin(SessionId(2));
    let unused = uses(vault, version).await?.unused().expect("nothing lies under it");
    vault.retire_ivk(&mut unit, KeyVersion(version), unused).await?;
    let _receipt = unit.commit().await?;
    Ok(())
}

/// A look under a tenant's key and, if it is unused, its retirement; else how many keys lie there.
async fn retire(vault: &Vault, admin: &Grants, id: RowId) -> Result<Option<u64>, Error> {
    let mut unit = vault.begin(SessionId(2));
    let header = vault.header(&unit, admin, id).await?;
    let authorized = admin.check::<RetireKey>(&header)?;
    let uses = look_through(vault, vault.look_under(&header)?).await?;
    let Some(unused) = uses.unused() else { return Ok(Some(uses.keys)) };
    vault.retire_parent(&mut unit, authorized, unused).await?;
    let _receipt = unit.commit().await?;
    Ok(None)
}

async fn end(vault: &Vault, admin: &Grants, id: RowId) -> Result<(), Error> {
    let mut unit = vault.begin(SessionId(2));
    let header = vault.header(&unit, admin, id).await?;
    vault.destroy(&mut unit, admin.check::<Destroy>(&header)?).await?;
    let _receipt = unit.commit().await?;
    Ok(())
}

async fn l2(vault: &Vault) -> RowId {
    vault.tenant_by_name(&name("acme")).await.expect("the store is well").expect("it was made").key
}

#[test]
fn a_version_is_destroyed_in_the_states_that_allow_it_and_never_comes_back() {
    block_on(async {
        let (world, vault) = World::found().await;
        assert!(matches!(destroy(&vault, 1).await, Err(Error::WrongState { is: State::Active, .. })), "also if nothing lies under it");
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let (id, bytes) = key_of(&vault, &admin, &service, "k").await;
        rotate(&world, &vault, ROUTINE).await.expect("the fakes are well");
        assert_eq!(uses(&vault, 1).await.expect("the store is well").keys, 1);
        assert!(uses(&vault, 1).await.expect("the store is well").unused().is_none(), "what is used is not destroyed");
        assert_eq!(walked(&vault, 10).await.0, 1);
        retire_ivk(&vault, 1).await.expect("it is Deprecated");
        rotate(&world, &vault, ROUTINE).await.expect("the fakes are well");
        walked(&vault, 10).await;
        destroy(&vault, 2).await.expect("a Deprecated version that nothing lies under");
        rotate(&world, &vault, COMPROMISED).await.expect("the fakes are well");
        walked(&vault, 10).await;
        assert_eq!(uses(&vault, 4).await.expect("the store is well").keys, 1);
        let (_, fence) = destroy(&vault, 3).await.expect("a compromised version that nothing lies under");
        assert_eq!(destroy(&vault, 1).await.expect("an archived version").1, fence + 1, "each is fenced by the cluster record");
        assert!(matches!(uses(&vault, 9).await, Err(Error::NotFound)));

        let gone = [(4, State::Active), (3, State::DestroyedCompromised), (2, State::Destroyed), (1, State::Destroyed)];
        let again = world.unseal().await.expect("the roots open");
        for vault in [&vault, &again] {
            assert_eq!(states(vault).await, gone);
            let active = vault.registry().active_ivk().expect("a core has one");
            for (version, purpose) in (1..=3).flat_map(|version| [Purpose::Process, Purpose::Rewrap].map(|purpose| (version, purpose))) {
                let closed = vault.registry().root(ParentRef { version: KeyVersion(version), ..active }, purpose).map(drop);
                let told = closed.expect_err("its key is not in memory any more").to_string();
                assert!(told.contains(&format!("IVK version {version} is destroyed")), "{told}");
            }
            assert!(vault.ivk_status().await.expect("they verify").iter().all(|ivk| ivk.destroyed.is_some() == ivk.state.is_destroyed()));
            for (version, state) in [(1, State::Destroyed), (2, State::Destroyed), (3, State::DestroyedCompromised)] {
                assert!(matches!(destroy(vault, version).await, Err(Error::WrongState { is, .. }) if is == state), "{version}");
            }
            assert_eq!(opened(vault, &service, id).await, bytes);
        }
        assert!(world.rows(Layer::Ivk).values().all(|row| row.material.is_none() == row.header.state.is_destroyed()));
        assert_eq!(rotate(&world, &again, ROUTINE).await.expect("the fakes are well").version, KeyVersion(5), "no number comes again");
        assert_eq!(swept(&again, 64).await, []);
        let told: Vec<(Option<KeyVersion>, Outcome)> = world
            .audit
            .records()
            .into_iter()
            .filter(|record| record.action == Action::DestroyIvk)
            .map(|Record { version, outcome, .. }| (version, outcome))
            .collect();
        let pair = |version| [Outcome::Intended, Outcome::Success].map(|outcome| (Some(KeyVersion(version)), outcome));
        assert_eq!(told, [pair(2), pair(3), pair(1)].concat());
    });
}

/// A row from before, that a keystore brings back when the version that wraps it is gone.
#[test]
fn what_names_a_destroyed_version_as_its_parent_is_refused_and_told_so() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let (id, _) = key_of(&vault, &admin, &service, "k").await;
        let key = l2(&vault).await;
        let old = world.store.rows()[&key].clone();
        let ivk =
            world.store.rows().iter().find(|(id, _)| id.layer == Layer::Ivk).map(|(id, row)| (*id, row.clone())).expect("there is one");
        rotate(&world, &vault, ROUTINE).await.expect("the fakes are well");
        walked(&vault, 10).await;
        destroy(&vault, 1).await.expect("nothing lies under it");
        world.store.rows().insert(key, old);
        let again = world.unseal().await.expect("the roots open");
        for _ in 0..2 {
            let refused = crate::decrypts(&again, &service, id).await.expect_err("what opens it is gone");
            assert!(refused.to_string().contains("IVK version 1 is destroyed"), "{refused}");
        }
        // The version itself as it was is refused where it was seen, and by the roots: there would be two.
        world.store.rows().insert(ivk.0, ivk.1);
        assert!(vault.ivk_status().await.is_err());
        assert!(matches!(world.unseal().await.map(drop), Err(Error::Corrupt { .. })));
    });
}

#[test]
fn a_destruction_whose_commit_fails_is_done_or_not_and_nothing_is_lost() {
    block_on(async {
        for how in [Fails::Before, Fails::After] {
            let (world, vault) = World::found().await;
            let (admin, service) = settle(&vault, "acme", "billing").await;
            let (id, bytes) = key_of(&vault, &admin, &service, "k").await;
            rotate(&world, &vault, ROUTINE).await.expect("the fakes are well");
            walked(&vault, 10).await;
            retire_ivk(&vault, 1).await.expect("it is Deprecated");
            *world.store.failing.lock().expect("no test panicked with it") = Some((0, how));
            assert!(destroy(&vault, 1).await.is_err());
            let intended = world.audit.records().into_iter().filter(|record| record.action == Action::DestroyIvk);
            assert_eq!(intended.map(|record| record.outcome).collect::<Vec<_>>(), [Outcome::Intended]);
            let again = world.unseal().await.expect("the roots open");
            let after = if how == Fails::After { State::Destroyed } else { State::Retired };
            assert_eq!(states(&again).await, [(2, State::Active), (1, after)]);
            assert_eq!(destroy(&again, 1).await.is_ok(), how == Fails::Before);
            assert_eq!(opened(&again, &service, id).await, bytes);
            assert_eq!(swept(&again, 64).await, []);
        }
    });
}

#[test]
fn a_destruction_that_meets_another_change_of_the_roots_is_asked_for_again() {
    block_on(async {
        let (world, vault) = World::found().await;
        rotate(&world, &vault, ROUTINE).await.expect("the fakes are well");
        let unused = || async { uses(&vault, 1).await.expect("the store is well").unused().expect("nothing lies under it") };
        let early = unused().await;
        let mut late = vault.begin(SessionId(2));
        vault.destroy_ivk(&mut late, KeyVersion(1), unused().await).await.expect("it is staged");
        rotate(&world, &vault, COMPROMISED).await.expect("the fakes are well");
        assert!(matches!(late.commit().await.map_err(Error::from), Err(Error::Raced)));
        let mut unit = vault.begin(SessionId(2));
        let refused = vault.destroy_ivk(&mut unit, KeyVersion(1), early).await;
        assert!(matches!(refused, Err(Error::Raced)), "its row is another than the one that was looked under");
        destroy(&vault, 1).await.expect("it is compromised, and nothing lies under it");
        assert_eq!(states(&vault).await[2], (1, State::DestroyedCompromised));
    });
}

#[test]
fn an_l2_is_retired_by_its_admin_once_nothing_lies_under_it_then_destroyed() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let (stranger, _) = settle(&vault, "globex", "billing").await;
        let operator = grants(&vault, Role::Operator, "acme", "billing").await;
        let (id, bytes) = key_of(&vault, &admin, &service, "k").await;
        let (doomed, _) = key_of(&vault, &admin, &service, "doomed").await;
        for event in [Event::Deprecate, Event::Destroy] {
            change(&vault, &admin, doomed, event).await.expect("it is Active, then Deprecated");
        }
        let first = l2(&vault).await;
        assert!(matches!(retire(&vault, &admin, first).await, Err(Error::WrongState { is: State::Active, .. })));
        let second = rekey_l2(&vault, &admin, "acme").await.expect("the fakes are well").header.id;
        // The service's default key and the two that were made, also the one that is destroyed: its attributes lie there.
        assert_eq!(retire(&vault, &admin, first).await.expect("it is looked under"), Some(3));
        assert!(matches!(end(&vault, &admin, first).await, Err(Error::WrongState { is: State::Deprecated, .. })), "only what is archived");
        assert_eq!(walked(&vault, 2).await.0, 3);
        for nobody in [&stranger, &service, &operator] {
            assert!(matches!(retire(&vault, nobody, first).await, Err(Error::NotFound)), "{nobody:?}");
        }
        assert_eq!(retire(&vault, &admin, first).await.expect("nothing lies under it"), None);
        assert!(matches!(retire(&vault, &admin, first).await, Err(Error::WrongState { is: State::Retired, .. })));
        assert!(matches!(retire(&vault, &admin, id).await, Err(Error::Denied { .. })), "an L3 is no tenant's key");
        assert!(matches!(retire(&vault, &admin, second).await, Err(Error::WrongState { is: State::Active, .. })));
        assert_eq!(world.rows(Layer::L2)[&first].header.state, State::Retired);

        // What is archived still comes under the newest IVK, for whoever looks at it.
        rotate(&world, &vault, ROUTINE).await.expect("the fakes are well");
        assert_eq!(walked(&vault, 10).await.0, 3);
        end(&vault, &admin, first).await.expect("it is archived");
        assert!(matches!(end(&vault, &admin, second).await, Err(Error::WrongState { is: State::Active, .. })));
        let again = world.unseal().await.expect("the roots open");
        for vault in [&vault, &again] {
            assert_eq!(opened(vault, &service, id).await, bytes);
            assert_eq!(swept(vault, 64).await, []);
        }
        assert_eq!(world.rows(Layer::L2)[&first].header.state, State::Destroyed);
    });
}

#[test]
fn a_compromised_l2_is_destroyed_once_nothing_lies_under_it_and_is_not_archived() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let (id, bytes) = key_of(&vault, &admin, &service, "k").await;
        let first = l2(&vault).await;
        let mut unit = vault.begin(SessionId(2));
        let header = vault.header_in_tenant(&unit, &admin, first).await.expect("its own");
        vault.rekey_compromised(&mut unit, admin.check::<ReKey>(&header).expect("its own"), false).await.expect("the fakes are well");
        let _receipt = unit.commit().await.expect("the fakes are well");
        let look = async || {
            let header = vault.header(&vault.begin(SessionId(2)), &admin, first).await.expect("its own");
            let mut look = vault.look_under(&header).expect("it is compromised");
            loop {
                match vault.look_on(look, 2).await.expect("the store is well") {
                    Looked::On(further) => look = further,
                    Looked::Through(uses) => return (header, uses),
                }
            }
        };
        let remove = async |of: &Header, unused| {
            let mut unit = vault.begin(SessionId(2));
            let gone = vault.destroy_compromised(&mut unit, admin.check::<Destroy>(of)?, unused).await?;
            let _receipt = unit.commit().await?;
            Ok::<_, Error>(gone)
        };
        assert!(look().await.1.unused().is_none(), "its keys were not moved yet");
        assert!(matches!(end(&vault, &admin, first).await, Err(Error::WrongState { is: State::Compromised, .. })), "nobody has looked");
        assert_eq!(walked(&vault, 10).await, (2, vec![]));
        let (header, uses) = look().await;
        let second = vault.header(&vault.begin(SessionId(2)), &admin, l2(&vault).await).await.expect("its own");
        let active = remove(&second, uses.unused().expect("nothing lies under it")).await;
        assert!(matches!(active, Err(Error::WrongState { is: State::Active, .. })));
        let gone = remove(&header, uses.unused().expect("nothing lies under it")).await.expect("it is compromised and unused");
        assert_eq!((gone.state, world.rows(Layer::L2)[&first].material.is_none()), (State::DestroyedCompromised, true));
        assert!(vault.look_under(&gone.header).is_err(), "once is enough");
        let again = world.unseal().await.expect("the roots open");
        for vault in [&vault, &again] {
            assert_eq!(opened(vault, &service, id).await, bytes);
            assert_eq!(swept(vault, 64).await, []);
        }
        let told = world.audit.records().into_iter().filter(|record| record.object == Some(first) && record.action == Action::Destroy);
        assert_eq!(told.map(|record| record.outcome).collect::<Vec<_>>(), [Outcome::Intended]);
    });
}

/// What is left of a destroyed key is moved too late: under a version that was replaced meanwhile it could be missed by the look under that one.
#[test]
fn a_tombstone_does_not_come_under_a_version_that_was_replaced_meanwhile() {
    block_on(async {
        let (_world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let (doomed, _) = key_of(&vault, &admin, &service, "doomed").await;
        for event in [Event::Deprecate, Event::Destroy] {
            change(&vault, &admin, doomed, event).await.expect("it is Active, then Deprecated");
        }
        rekey_l2(&vault, &admin, "acme").await.expect("the fakes are well");
        let mut cursor = None;
        let late = loop {
            let mut unit = vault.begin(SessionId(1));
            cursor = vault.reencrypt(&mut unit, cursor, 1).await.expect("the store is well").next;
            if unit.staged(doomed).is_some() {
                break unit;
            }
        };
        rekey_l2(&vault, &admin, "acme").await.expect("the fakes are well");
        assert!(matches!(late.commit().await.map_err(Error::from), Err(Error::Raced)));
        assert_eq!(walked(&vault, 10).await.0, 2);
    });
}

/// A version is looked under, then changes: what was found is not believed of it any more.
#[test]
fn a_retirement_that_meets_another_change_is_asked_for_again() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, _) = settle(&vault, "acme", "billing").await;
        let first = l2(&vault).await;
        rekey_l2(&vault, &admin, "acme").await.expect("the fakes are well");
        walked(&vault, 10).await;
        let mut unit = vault.begin(SessionId(2));
        let header = vault.header(&unit, &admin, first).await.expect("it is there");
        let Looked::On(look) = vault.look_on(vault.look_under(&header).expect("an L2"), 100).await.expect("the store is well") else {
            panic!("there is a second layer")
        };
        let Looked::Through(uses) = vault.look_on(look, 100).await.expect("the store is well") else { panic!("there is no third") };
        rotate(&world, &vault, ROUTINE).await.expect("the fakes are well");
        walked(&vault, 10).await;
        let header = vault.header(&unit, &admin, first).await.expect("it is there");
        let authorized = admin.check::<RetireKey>(&header).expect("its own");
        let refused = vault.retire_parent(&mut unit, authorized, uses.unused().expect("nothing lies under it")).await;
        assert!(matches!(refused, Err(Error::Raced)), "{refused:?}");
        assert_eq!(retire(&vault, &admin, first).await.expect("nothing lies under it"), None);
    });
}

/// A destroyed key is shredded once every version above it that ever may have wrapped it is gone, and counted once.
#[test]
fn the_last_version_that_opens_old_bytes_of_destroyed_keys_says_how_many_it_shreds() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        settle(&vault, "globex", "billing").await;
        let tick = || world.clock.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let (kept, bytes) = key_of(&vault, &admin, &service, "kept").await;
        for text in ["one", "two"] {
            let (id, _) = key_of(&vault, &admin, &service, text).await;
            tick();
            for event in [Event::Deprecate, Event::Destroy] {
                change(&vault, &admin, id, event).await.expect("it is Active, then Deprecated");
            }
        }
        let shreds = async |vault: &Vault, version| uses(vault, version).await.expect("the store is well").shreds;
        tick();
        let first = l2(&vault).await;
        rekey_l2(&vault, &admin, "acme").await.expect("the fakes are well");
        rotate(&world, &vault, ROUTINE).await.expect("the fakes are well");
        walked(&vault, 10).await;
        assert_eq!(shreds(&vault, 1).await, 0, "the L2 above them lies under version 2 too");
        assert_eq!(retire(&vault, &admin, first).await.expect("nothing lies under it"), None);
        tick();
        end(&vault, &admin, first).await.expect("it is archived");
        tick();
        rotate(&world, &vault, ROUTINE).await.expect("the fakes are well");
        walked(&vault, 10).await;
        assert_eq!(parents(&world, Layer::L2), [3, 3, 3]);
        assert_eq!((shreds(&vault, 1).await, shreds(&vault, 2).await), (0, 0), "each of the two opens the L2 that opens them");
        assert_eq!(destroy(&vault, 1).await.expect("nothing lies under it").0, 0);
        assert_eq!(shreds(&vault, 2).await, 3, "the L2, and the two keys under it");
        assert_eq!(shreds(&world.unseal().await.expect("the roots open"), 2).await, 3);
        assert_eq!(destroy(&vault, 2).await.expect("nothing lies under it").0, 3);
        rotate(&world, &vault, ROUTINE).await.expect("the fakes are well");
        walked(&vault, 10).await;
        assert_eq!(shreds(&vault, 3).await, 0, "they are counted once");
        assert_eq!(opened(&vault, &service, kept).await, bytes);
    });
}
