//! What is stored of the walk that re-encrypts, and what becomes of it when it is damaged (F5).

use futures_executor::block_on;
use keys::Error;
use keys::id::{Layer, RowId, SessionId};
use keys::vault::Vault;
use keys::walk::WalkState;
use uuid::Uuid;

use crate::fakes::World;

const RECORDS: u128 = 16;

fn record(number: u128) -> RowId {
    RowId::new(Layer::Cluster, Uuid::from_u128(0x77_61_6c_6b + number))
}

async fn store(vault: &Vault, state: WalkState) -> Result<(), Error> {
    let mut unit = vault.begin(SessionId(1));
    vault.change_walk(&mut unit, |stored| *stored = state).await?;
    unit.commit().await.map(drop).map_err(Error::from)
}

/// What is stored, and which records are damaged.
async fn stored(vault: &Vault) -> (WalkState, Vec<RowId>) {
    let (state, damaged) = vault.walk_state().await.expect("the store is well");
    (state, damaged.into_iter().map(|finding| finding.row).collect())
}

/// A damaged record stopped re-encryption for good, and nobody could hold it.
#[test]
fn a_damaged_record_of_the_walk_is_named_and_another_takes_its_place() {
    block_on(async {
        let (world, vault) = World::found().await;
        let row = RowId::new(Layer::L3, Uuid::from_u128(7));
        let states = [WalkState { is_paused: true, place: Some(row) }, WalkState { is_paused: false, place: Some(row) }];
        assert_eq!(stored(&vault).await, (WalkState::default(), Vec::new()));
        store(&vault, states[0]).await.expect("the fakes are well");
        assert_eq!(stored(&vault).await, (states[0], Vec::new()));
        let damages: [&dyn Fn(); 3] = [
            &|| world.store.edit(record(0), |row| row.meta_mac[3] ^= 1),
            &|| world.store.edit(record(1), |row| *row.attributes.as_mut().expect("it has content").last_mut().expect("bytes") ^= 1),
            // It was there a moment ago.
            &|| drop(world.store.rows().remove(&record(2))),
        ];
        for (number, damage) in (1..).zip(damages) {
            damage();
            let damaged: Vec<RowId> = (0..number).map(record).collect();
            assert_eq!(stored(&vault).await, (WalkState::default(), damaged.clone()), "it begins anew");
            for state in states {
                store(&vault, state).await.expect("the fakes are well");
                assert_eq!(stored(&vault).await, (state, damaged.clone()));
            }
        }
        // Of the one that is gone a node that was unsealed since knows nothing: it is the next one's place.
        let again = world.unseal().await.expect("the roots open");
        assert_eq!(stored(&again).await, (WalkState::default(), vec![record(0), record(1)]));
    });
}

#[test]
fn a_store_that_damages_every_record_of_the_walk_is_told_so() {
    block_on(async {
        let (world, vault) = World::found().await;
        for number in 0..RECORDS {
            store(&vault, WalkState { is_paused: true, place: None }).await.expect("one is left");
            world.store.edit(record(number), |row| row.meta_mac[0] ^= 1);
        }
        assert!(matches!(vault.walk_state().await, Err(Error::Corrupt { .. })));
        assert!(matches!(store(&vault, WalkState { is_paused: true, place: None }).await, Err(Error::Corrupt { .. })));
    });
}
