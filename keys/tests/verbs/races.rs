//! ReKey against itself and against everything else that changes a key: one winner, no gap, never two Active (F23).

use std::sync::{Arc, Barrier};

use futures_executor::block_on;
use keys::Error;
use keys::id::{KeyVersion, Layer, RowId, SessionId};
use keys::lifecycle::Event;
use keys::policy::{Action, Grants};
use keys::record::{Outcome, Record};
use keys::tenancy::NewServiceKey;
use keys::unit::{CommitError, Unit};
use keys::vault::Vault;

use super::{default_key, edit, l3, must_be_sound, rekey, view};
use crate::fakes::{World, settle};
use crate::{change, create, named};

/// Runs `threads` of `work` at the same moment.
pub(super) fn at_once<R: Send>(threads: usize, work: impl Fn(usize) -> R + Sync) -> Vec<R> {
    let (start, work) = (Barrier::new(threads), &work);
    std::thread::scope(|scope| {
        let start = &start;
        let run = |nth| {
            move || {
                start.wait();
                work(nth)
            }
        };
        let running: Vec<_> = (0..threads).map(|nth| scope.spawn(run(nth))).collect();
        running.into_iter().map(|thread| thread.join().expect("the work does not panic")).collect()
    })
}

#[test]
fn of_fifty_concurrent_rekeys_one_wins_each_round_and_no_version_is_skipped() {
    let (_world, vault) = block_on(World::found());
    let (admin, service) = block_on(settle(&vault, "acme", "billing"));
    for round in 1..=6 {
        let id = block_on(default_key(&vault, &service));
        let outcomes = at_once(50, |_| block_on(rekey(&vault, &admin, id)));
        let won: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
        assert_eq!(won.len(), 1, "round {round}");
        assert_eq!(won[0].header.version, KeyVersion(round + 1));
        for lost in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
            assert!(matches!(lost, Error::Raced | Error::Replaced { .. }), "{lost:?}");
        }
        assert_eq!(block_on(default_key(&vault, &service)), won[0].header.id);
        block_on(must_be_sound(&vault, &admin, &service));
    }
    assert_eq!(block_on(l3(&vault, &admin)).keys.len(), 7);
}

/// One round of ReKey against `rival` on an Active key of its own; which of the two won.
fn duel(vault: &Arc<Vault>, admin: &Grants, id: RowId, rival: impl Fn(RowId) -> Result<(), Error> + Sync) -> (bool, bool) {
    let outcomes = at_once(2, |nth| if nth == 0 { block_on(rekey(vault, admin, id)).map(|_| ()) } else { rival(id) });
    (outcomes[0].is_ok(), outcomes[1].is_ok())
}

#[test]
fn a_rekey_and_a_rival_leave_one_state_that_either_order_explains() {
    let (_world, vault) = block_on(World::found());
    let (admin, service) = block_on(settle(&vault, "acme", "billing"));
    for round in 0..20 {
        let id = block_on(async {
            let id = create(&vault, &service, named(&format!("revoked {round}"))).await.expect("the name is free");
            change(&vault, &admin, id, Event::Activate).await.expect("a new key activates");
            id
        });
        let (_, revoked) = duel(&vault, &admin, id, |id| block_on(change(&vault, &admin, id, Event::Compromise)));
        let state = block_on(view(&vault, &admin, id)).state;
        assert_eq!(state == keys::lifecycle::State::Compromised, revoked, "round {round}");

        let id = block_on(create(&vault, &service, named(&format!("destroyed {round}")))).expect("the name is free");
        let (replaced, destroyed) = duel(&vault, &admin, id, |id| block_on(change(&vault, &admin, id, Event::Destroy)));
        let is = block_on(view(&vault, &admin, id));
        assert_eq!((is.state.is_destroyed(), is.attributes.links.replacement.is_some()), (destroyed, replaced), "round {round}");
        assert!(destroyed || replaced);

        let id = block_on(create(&vault, &service, named(&format!("edited {round}")))).expect("the name is free");
        let (replaced, edited) = duel(&vault, &admin, id, |id| {
            block_on(edit(&vault, &admin, id, |attributes| attributes.names = named(&format!("renamed {round}")).names)).map(|_| ())
        });
        assert!(replaced || edited);
        let holder = block_on(view(&vault, &admin, id));
        let free = block_on(create(&vault, &service, named(&format!("renamed {round}")))).is_ok();
        assert_eq!(free, !edited, "round {round}: {holder:?}");
    }
    block_on(must_be_sound(&vault, &admin, &service));
}

#[test]
fn rivals_for_a_name_given_up_have_one_heir() {
    let (_world, vault) = block_on(World::found());
    let (admin, service) = block_on(settle(&vault, "acme", "billing"));
    let holder = block_on(create(&vault, &service, named("k"))).expect("the name is free");
    let outcomes = at_once(9, |nth| match nth {
        0 => block_on(edit(&vault, &admin, holder, |attributes| attributes.names.clear())).map(|_| ()),
        _ => loop {
            match block_on(create(&vault, &service, named("k"))) {
                // Until the holder gives it up, or somebody else has it: whichever of eight comes first.
                Err(Error::NameTaken { .. }) if block_on(view(&vault, &admin, holder)).attributes.names.is_empty() => {
                    break Err(Error::NameTaken { name: "k".to_owned() });
                }
                Err(Error::NameTaken { .. } | Error::Raced) => std::thread::yield_now(),
                other => break other.map(|_| ()),
            }
        },
    });
    assert!(outcomes[0].is_ok());
    let named_k = block_on(l3(&vault, &admin)).keys.into_iter().filter(|key| key.names == Some(vec!["k".to_owned()])).count();
    assert_eq!(named_k, outcomes[1..].iter().filter(|outcome| outcome.is_ok()).count());
    assert!(named_k <= 1);
    block_on(must_be_sound(&vault, &admin, &service));
}

/// A key of that name, staged and not committed; the name was free at that moment.
async fn staged(vault: &Vault, service: &Grants, name: &str) -> Unit {
    let mut unit = vault.begin(SessionId(2));
    let new = NewServiceKey { service: service.service().expect("a service"), bits: 256, attributes: named(name) };
    vault.create_service_key(&mut unit, new).await.expect("the name is free");
    unit.record(record(vault));
    unit
}

fn record(vault: &Vault) -> Record {
    let (action, outcome) = (Action::Create, Outcome::Success);
    Record { time: vault.now(), session: SessionId(2), action, object: None, version: None, generation: None, outcome }
}

#[test]
fn who_loses_a_name_takes_nobody_in_the_same_transaction_down() {
    let (world, vault) = block_on(World::found());
    let (admin, service) = block_on(settle(&vault, "acme", "billing"));
    for round in 0..20 {
        let names = ["before", "rival", "after"].map(|name| format!("{name} {round}"));
        let units = block_on(async { futures_util::future::join_all(names.iter().map(|name| staged(&vault, &service, name))).await });
        block_on(create(&vault, &service, named(&names[1]))).expect("nobody else has committed it");
        let outcomes = block_on(futures_util::future::join_all(units.into_iter().map(Unit::commit)));
        let lost = outcomes.iter().map(|outcome| matches!(outcome, Err(CommitError::Conflict { id }) if id.layer == Layer::Name));
        assert_eq!(lost.collect::<Vec<_>>(), [false, true, false], "round {round}");
        assert!(outcomes[0].is_ok() && outcomes[2].is_ok(), "round {round}");
    }
    assert!(world.audit.seqs().windows(2).all(|two| two[0].0 + 1 == two[1].0), "numbers of the outbox were skipped");
    block_on(must_be_sound(&vault, &admin, &service));
}
