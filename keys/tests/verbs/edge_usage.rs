//! Usage Limits of an edge's objects: however often it is restarted and however many edges share a store, never more is given than the limit.

use futures_executor::block_on;
use keys::Error;
use keys::attributes::{Attributes, UsageLimits};
use keys::id::{RowId, SessionId};
use keys::lifecycle::Event;
use keys::policy::Grants;
use keys::policy::verb::{Decrypt, Encrypt};
use keys::usage::Protected;
use keys::vault::Vault;

use crate::fakes::edge::{Site, make};
use crate::{change, named};

const LIMIT: u64 = 640;

async fn limited(vault: &Vault, own: &Grants, total: u64, unit: u32) -> RowId {
    let attributes = Attributes { usage_mask: 0x0C, usage_limits: Some(UsageLimits { total, unit }), ..named("limited") };
    let id = make(vault, own, attributes, None).await.expect("the name is free");
    change(vault, own, id, Event::Activate).await.expect("it is new");
    id
}

async fn protects(vault: &Vault, own: &Grants, id: RowId, protected: Protected) -> Result<(), Error> {
    let unit = vault.begin(SessionId(2));
    let header = vault.header(&unit, own, id).await?;
    vault.protect(&unit, own.check::<Encrypt>(&header)?, protected, |_, _| Ok::<_, Error>(())).await
}

#[test]
fn a_restart_loses_at_most_a_share_of_the_limit_and_never_adds_to_it() {
    block_on(async {
        let site = Site::found().await;
        let mut edge = site.edge().await;
        let own = edge.billing().await;
        let id = limited(&edge.vault, &own, LIMIT, UsageLimits::OBJECTS).await;
        let (mut done, mut restarts) = (0, 0);
        loop {
            // Another number of uses each time, so that shares are cut at every place.
            for _ in 0..=restarts % 13 {
                match protects(&edge.vault, &own, id, Protected::object(1)).await {
                    Ok(()) => done += 1,
                    Err(Error::UsageExhausted { left: 0, wants: 1 }) => {
                        assert!(done <= LIMIT && done + restarts * (LIMIT / 64) >= LIMIT, "{done} with {restarts} restarts");
                        return;
                    }
                    Err(other) => panic!("{other}"),
                }
            }
            edge.restart().await;
            restarts += 1;
        }
    });
}

#[test]
fn two_edges_on_one_store_give_the_limit_once() {
    block_on(async {
        let site = Site::found().await;
        let (first, second) = site.two_edges().await;
        let own = first.billing().await;
        let id = limited(&first.vault, &own, LIMIT, UsageLimits::BYTES).await;
        let mut left = [LIMIT, 0];
        let mut done = [0, 0];
        for turn in 0.. {
            let edge = if turn % 2 == 0 { &first } else { &second };
            match protects(&edge.vault, &own, id, Protected::object(7)).await {
                Ok(()) => done[turn % 2] += 7,
                Err(Error::UsageExhausted { left: rest, .. }) => {
                    left[turn % 2] = rest;
                    if done[1] > 0 && turn > 400 {
                        break;
                    }
                }
                Err(other) => panic!("{other}"),
            }
        }
        assert!(done[0] > 0 && done[1] > 0, "{done:?}");
        assert_eq!(done[0] + done[1] + left[0] + left[1], LIMIT, "nothing is given twice and nothing is lost");
        assert!(left[0] < 7 && left[1] < 7, "{left:?}");
    });
}

#[test]
fn what_fails_or_only_processes_takes_nothing() {
    block_on(async {
        let site = Site::found().await;
        let edge = site.edge().await;
        let own = edge.billing().await;
        let id = limited(&edge.vault, &own, 3, UsageLimits::OBJECTS).await;
        let unit = edge.vault.begin(SessionId(2));
        let header = edge.vault.header(&unit, &own, id).await.expect("it is there");
        for _ in 0..10 {
            let authorized = own.check::<Encrypt>(&header).expect("it is its own");
            let failed = edge.vault.protect(&unit, authorized, Protected::object(1), |_, _| Err::<(), _>(Error::NotFound)).await;
            assert!(matches!(failed, Err(Error::NotFound)));
            let authorized = own.check::<Decrypt>(&header).expect("it is its own");
            edge.vault
                .protect(&unit, authorized, Protected::object(1), |_, _| Ok::<_, Error>(()))
                .await
                .expect("processing is not limited");
        }
        for _ in 0..3 {
            protects(&edge.vault, &own, id, Protected::object(1)).await.expect("three are left");
        }
        // A part of what was counted needs nothing more.
        protects(&edge.vault, &own, id, Protected::part(1)).await.expect("the object was counted");
        assert!(matches!(protects(&edge.vault, &own, id, Protected::object(1)).await, Err(Error::UsageExhausted { left: 0, wants: 1 })));
    });
}
