//! Failed commits, dead randomness, wild clocks: old state or new, and never a step back (F1, F13, F26, C20).

use std::sync::atomic::Ordering;

use futures_executor::block_on;
use keys::Error;
use keys::attributes::Attributes;
use keys::id::{RowId, SessionId, Time};
use keys::lifecycle::{Dates, Event, State};
use keys::policy::verb::Destroy;
use keys::policy::{Action, Grants};
use keys::record::Outcome;
use keys::vault::Vault;

use super::{default_key, edit, l3, must_be_sound, rekey, view};
use crate::fakes::{Fails, START_SECONDS, World, settle};
use crate::{change, create, decrypts, encrypts, named};

/// What one step of a life was asked to do.
type Step = (&'static str, State);

/// Goes through a key's life until a commit fails; the steps that were acknowledged, and the one that was not.
async fn live(vault: &Vault, admin: &Grants, service: &Grants) -> (Vec<Step>, Option<&'static str>) {
    let mut done = Vec::new();
    let mut id: Option<RowId> = None;
    let steps: [Step; 7] = [
        ("create", State::PreActive),
        ("activate", State::Active),
        ("edit", State::Active),
        ("rekey default", State::Active),
        ("rekey", State::Deprecated),
        ("compromise", State::Compromised),
        ("destroy", State::DestroyedCompromised),
    ];
    for (step, after) in steps {
        let known = || id.expect("it was created");
        let outcome = match step {
            "create" => create(vault, service, named("k")).await.map(|made| id = Some(made)),
            "activate" => change(vault, admin, known(), Event::Activate).await,
            "edit" => edit(vault, admin, known(), |attributes| attributes.sensitive = true).await.map(|_| ()),
            "rekey default" => rekey(vault, admin, default_key(vault, service).await).await.map(|_| ()),
            "rekey" => rekey(vault, admin, known()).await.map(|_| ()),
            "compromise" => change(vault, admin, known(), Event::Compromise).await,
            _ => change(vault, admin, known(), Event::Destroy).await,
        };
        if outcome.is_err() {
            return (done, Some(step));
        }
        done.push((step, after));
    }
    (done, None)
}

/// What wraps a key is searched for. A store that did not answer that search was taken for one that had lost it: the key's client was told of damage, and a
/// walk named the key as damaged and left it under the old version.
#[test]
fn a_store_that_does_not_answer_for_a_moment_is_no_damage() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let id = create(&vault, &service, named("k")).await.expect("the name is free");
        change(&vault, &admin, id, Event::Activate).await.expect("a new key activates");
        let again = world.unseal().await.expect("the roots open");
        let found = again.header(&again.begin(SessionId(2)), &service, id).await.expect("it is read by its id");
        world.store.is_deaf.store(true, Ordering::Relaxed);
        assert_eq!(found.id, id);
        assert!(matches!(decrypts(&again, &service, id).await, Err(Error::Unavailable { .. })));
        world.store.is_deaf.store(false, Ordering::Relaxed);
        decrypts(&again, &service, id).await.expect("nothing is wrong with it");
    });
}

#[test]
fn each_commit_that_fails_leaves_the_old_state_or_the_new_one() {
    block_on(async {
        for how in [Fails::Before, Fails::After] {
            for nth in 0.. {
                let (world, vault) = World::found().await;
                let (admin, service) = settle(&vault, "acme", "billing").await;
                *world.store.failing.lock().expect("no test panicked with it") = Some((nth, how));
                let (done, failed) = live(&vault, &admin, &service).await;
                let Some(failed) = failed else {
                    assert_eq!(nth, 7, "each step is one commit");
                    break;
                };
                *world.store.failing.lock().expect("no test panicked with it") = None;
                let again = world.unseal().await.expect("the roots open");
                for vault in [&vault, &again] {
                    must_be_sound(vault, &admin, &service).await;
                    let keys = l3(vault, &admin).await.keys;
                    let made = |step: &str| done.iter().any(|(known, _)| *known == step) || (failed == step && how == Fails::After);
                    let expected = 1 + ["create", "rekey default", "rekey"].into_iter().filter(|step| made(step)).count();
                    assert_eq!(keys.len(), expected, "{failed} failed {how:?}");
                    let destroyed = keys.iter().filter(|key| key.state.is_destroyed()).count();
                    assert_eq!(destroyed, usize::from(failed == "destroy" && how == Fails::After));
                }
                let made_it = done.iter().any(|(step, _)| *step == "create") || (failed == "create" && how == Fails::After);
                assert_eq!(create(&again, &service, named("k")).await.is_ok(), !made_it, "{failed} failed {how:?}");
            }
        }
    });
}

/// Every failed change of a tenant had all grants resolved anew, which an absent store cannot: whoever was at work was refused with whom it was about.
#[test]
fn grants_hold_while_a_store_that_is_away_may_have_changed_them_and_no_longer() {
    block_on(async {
        for how in [Fails::Before, Fails::After] {
            let (world, vault) = World::found().await;
            let (_admin, service) = settle(&vault, "acme", "billing").await;
            let acme = "acme".parse().expect("a name");
            let disable = async |is_disabled| {
                let mut unit = vault.begin(SessionId(2));
                vault.set_tenant_disabled(&mut unit, &acme, is_disabled).await?;
                unit.commit().await.map(drop).map_err(Error::from)
            };
            let epoch = vault.policy_epoch();
            *world.store.failing.lock().expect("no test panicked with it") = Some((0, how));
            assert!(matches!(disable(true).await, Err(Error::Unavailable { .. })));
            world.store.is_deaf.store(true, Ordering::Relaxed);
            vault.end_doubt().await;
            assert_eq!(vault.policy_epoch(), epoch, "{how:?}: nobody knows, and nobody could look");
            encrypts(&vault, &service, default_key(&vault, &service).await).await.expect("an open key serves on");
            world.store.is_deaf.store(false, Ordering::Relaxed);
            vault.end_doubt().await;
            let looked = vault.policy_epoch();
            assert_ne!(looked, epoch, "{how:?}: the store has answered");
            vault.end_doubt().await;
            assert_eq!(vault.policy_epoch(), looked, "{how:?}: once");
            // The next commit that succeeds decides it, too. One that was refused for want of space changes nothing.
            *world.store.failing.lock().expect("no test panicked with it") = Some((0, how));
            assert!(disable(true).await.is_err());
            create(&vault, &service, named("decides it")).await.expect("the store is well");
            assert_ne!(vault.policy_epoch(), looked, "{how:?}");
            let decided = vault.policy_epoch();
            world.store.full.store(true, Ordering::Relaxed);
            assert!(disable(false).await.is_err());
            vault.end_doubt().await;
            assert_eq!(vault.policy_epoch(), decided, "{how:?}");
        }
    });
}

/// Whatever key's change had no clear end, all grants were resolved anew as soon as the store had answered anything; if it was away again by then, everybody was
/// refused whose key was open.
#[test]
fn a_change_of_a_key_that_has_no_clear_end_leaves_grants_as_they_were() {
    block_on(async {
        for how in [Fails::Before, Fails::After] {
            let (world, vault) = World::found().await;
            let (admin, service) = settle(&vault, "acme", "billing").await;
            let id = create(&vault, &service, named("k")).await.expect("the store is well");
            let epoch = vault.policy_epoch();
            *world.store.failing.lock().expect("no test panicked with it") = Some((0, how));
            assert!(matches!(change(&vault, &admin, id, Event::Activate).await, Err(Error::Unavailable { .. })));
            vault.end_doubt().await;
            create(&vault, &service, named("decides it")).await.expect("the store is well");
            assert_eq!(vault.policy_epoch(), epoch, "{how:?}: nobody may do more or less than before");
        }
    });
}

#[test]
fn a_destroy_is_announced_before_it_is_tried_and_settled_by_its_record() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let id = create(&vault, &service, named("k")).await.expect("the name is free");
        let outcomes = || -> Vec<Outcome> {
            let records = world.audit.records();
            records
                .into_iter()
                .filter(|record| (record.action, record.object) == (Action::Destroy, Some(id)))
                .map(|record| record.outcome)
                .collect()
        };
        // Staged and taken back: nothing was about to happen.
        for undo in [true, false] {
            let mut unit = vault.begin(SessionId(2));
            let mark = unit.mark();
            let header = vault.header(&unit, &admin, id).await.expect("it is there");
            vault.destroy(&mut unit, admin.check::<Destroy>(&header).expect("its own")).await.expect("a Pre-Active key is destroyed");
            if undo {
                unit.undo()
            } else {
                unit.rewind(mark)
            }
            let _receipt = unit.commit().await.expect("the fakes are well");
            assert_eq!(outcomes(), []);
        }
        // A race that is lost: what was announced is taken back by a record, because the message is done again with an announcement of its own.
        let mut unit = vault.begin(SessionId(2));
        let header = vault.header(&unit, &admin, id).await.expect("it is there");
        vault.destroy(&mut unit, admin.check::<Destroy>(&header).expect("its own")).await.expect("a Pre-Active key is destroyed");
        let [retracted] = unit.retracted()[..] else { panic!("one change was announced") };
        assert_eq!((retracted.action, retracted.object, retracted.outcome), (Action::Destroy, Some(id), Outcome::Unavailable));
        drop(unit);
        world.store.full.store(true, Ordering::Relaxed);
        assert!(change(&vault, &admin, id, Event::Destroy).await.is_err());
        assert_eq!(outcomes(), [Outcome::Intended]);
        world.store.full.store(false, Ordering::Relaxed);
        world.audit.down.store(true, Ordering::Relaxed);
        assert!(change(&vault, &admin, id, Event::Destroy).await.is_err(), "what cannot be announced is not tried");
        world.audit.down.store(false, Ordering::Relaxed);
        assert_eq!(view(&vault, &admin, id).await.state, State::PreActive);
        change(&vault, &admin, id, Event::Destroy).await.expect("a Pre-Active key is destroyed");
        assert_eq!(outcomes(), [Outcome::Intended, Outcome::Intended]);
        let announced = world.audit.records().into_iter().rev().find(|record| record.outcome == Outcome::Intended).expect("it is there");
        assert_eq!(announced.generation.map(keys::id::Generation::next), Some(view(&vault, &admin, id).await.header.generation));
    });
}

/// Everything that needs randomness: new keys, new wraps, IVs.
async fn draws_nothing(vault: &Vault, admin: &Grants, service: &Grants, id: RowId) {
    assert!(matches!(create(vault, service, named("new")).await, Err(Error::Unavailable { .. })));
    assert!(matches!(rekey(vault, admin, id).await, Err(Error::Unavailable { .. })));
    assert!(matches!(edit(vault, admin, id, |attributes| attributes.sensitive = true).await, Err(Error::Unavailable { .. })));
    assert!(matches!(change(vault, admin, id, Event::Activate).await, Err(Error::Unavailable { .. })));
    assert!(vault.cbc_iv().is_err());
    let drawn_before = (0..).take_while(|_| vault.ready_gcm_iv(id).is_ok()).take(100).count();
    assert!(drawn_before < 100, "a reserved IV is not drawn");
    assert!(vault.new_uuid().is_err());
}

#[test]
fn without_randomness_no_key_and_no_iv_is_made_and_reads_go_on() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let id = create(&vault, &service, named("k")).await.expect("the name is free");
        let default = default_key(&vault, &service).await;
        vault.gcm_iv(&view(&vault, &admin, id).await.header).await.expect("a new key has all its IVs");
        world.entropy.dead.store(true, Ordering::Relaxed);
        let (mut edits, mut edited) = (0, Ok(()));
        while edited.is_ok() && edits < 100 {
            edited = edit(&vault, &admin, id, |attributes| attributes.sensitive = !attributes.sensitive).await.map(drop);
            edits += 1;
        }
        assert!(matches!(edited, Err(Error::Unavailable { .. })), "more salts than were drawn before: {edited:?}");
        let before = world.store.rows().clone();
        draws_nothing(&vault, &admin, &service, id).await;
        assert_eq!(*world.store.rows(), before);
        decrypts(&vault, &service, default).await.expect("what is there is served");
        world.entropy.dead.store(false, Ordering::Relaxed);
        rekey(&vault, &admin, id).await.expect("a source that is back is used again");
        must_be_sound(&vault, &admin, &service).await;
    });
}

#[test]
fn a_source_that_repeats_itself_is_never_believed_again() {
    block_on(async {
        let (world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let id = create(&vault, &service, named("k")).await.expect("the name is free");
        vault.gcm_iv(&view(&vault, &admin, id).await.header).await.expect("a new key has all its IVs");
        let before = world.store.rows().clone();
        world.entropy.stuck.store(true, Ordering::Relaxed);
        assert!(vault.cbc_iv().is_ok(), "one draw repeats nothing yet");
        assert!(vault.cbc_iv().is_err());
        assert!(vault.ready_gcm_iv(id).is_err(), "what was drawn before is not given out either");
        draws_nothing(&vault, &admin, &service, id).await;
        world.entropy.stuck.store(false, Ordering::Relaxed);
        draws_nothing(&vault, &admin, &service, id).await;
        assert_eq!(*world.store.rows(), before);
        decrypts(&vault, &service, default_key(&vault, &service).await).await.expect("what is there is served");
        assert!(encrypts(&vault, &service, default_key(&vault, &service).await).await.is_ok());
    });
}

#[test]
fn a_clock_that_jumps_stands_or_runs_back_moves_no_key_backwards() {
    block_on(async {
        const TEN_YEARS: i64 = 10 * 365 * 86_400;
        let (world, vault) = World::found().await;
        let (admin, service) = settle(&vault, "acme", "billing").await;
        let at = |seconds| Some(Time::from_seconds(START_SECONDS + seconds));
        let dates = Dates { activation: at(100), deactivation: at(TEN_YEARS / 2), ..Dates::default() };
        let id = create(&vault, &service, Attributes { dates, ..named("k") }).await.expect("the name is free");
        let rank = |state: State| state as u8;
        let mut reached = State::PreActive;
        let mut expected = Vec::new();
        for seconds in [0, 0, 0, 100, 99, -3600, -TEN_YEARS, 101, TEN_YEARS, TEN_YEARS, 101, -TEN_YEARS, 0] {
            world.clock.0.store(START_SECONDS + seconds, Ordering::Relaxed);
            let state = view(&vault, &admin, id).await.state;
            assert!(rank(state) >= rank(reached), "{reached:?} became {state:?} at {seconds}");
            reached = state;
            expected.push(state);
        }
        use State::{Active as A, Deprecated as D, PreActive as P};
        assert_eq!(expected, [P, P, P, A, A, A, A, A, D, D, D, D, D]);
        let new = rekey(&vault, &admin, id).await.expect("it is the newest");
        assert_eq!(new.attributes.dates.initial, Time::from_seconds(START_SECONDS + TEN_YEARS), "the domain's clock never went back");
        world.clock.0.store(START_SECONDS - TEN_YEARS, Ordering::Relaxed);
        change(&vault, &admin, new.header.id, Event::Deprecate).await.expect("an Active key is revoked");
        // What was written stays written, whatever a restart believes of the time.
        let again = world.unseal().await.expect("the roots open");
        assert_eq!(view(&again, &admin, new.header.id).await.state, State::Deprecated);
        assert_eq!(view(&again, &admin, id).await.state, State::Deprecated);
        must_be_sound(&again, &admin, &service).await;
    });
}
