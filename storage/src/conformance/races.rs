//! Rules about concurrent changes: compare-and-swap has one winner.

use std::sync::Arc;

use keys::id::Generation;
use keys::port::{Batch, Change, Keystore, StoreError};
use keys::row::Row;
use tokio::task::JoinSet;

use super::sample::{batch, changed, id, query, row};
use super::{Violation, conflict, same};

const RACERS: u64 = 8;
const ROUNDS: u64 = 10;

/// Commits all batches at once and returns the numbers of those that succeeded; the others must conflict on row 1.
async fn winners(store: &Arc<dyn Keystore>, batches: Vec<Batch>) -> Result<Vec<usize>, Violation> {
    let mut racers: JoinSet<(usize, Result<(), StoreError>)> = JoinSet::new();
    for (number, batch) in batches.into_iter().enumerate() {
        let store = Arc::clone(store);
        racers.spawn(async move { (number, store.commit(batch).await) });
    }
    let mut won = Vec::new();
    while let Some(ended) = racers.join_next().await {
        match ended.map_err(|_| Violation::Panicked)? {
            (number, Ok(())) => won.push(number),
            (_, lost) => conflict("a loser", lost, id(1))?,
        }
    }
    Ok(won)
}

/// The row with the racer's number in it.
fn marked(row: Row, racer: u64) -> Row {
    Row { attributes: Some(racer.to_be_bytes().to_vec()), ..row }
}

pub(super) async fn insert(store: Arc<dyn Keystore>) -> Result<(), Violation> {
    let entrants: Vec<_> = (0..RACERS).map(|racer| marked(row(1, &[racer]), racer)).collect();
    let won = winners(&store, entrants.iter().map(|row| batch([Change::Insert(row.clone())])).collect()).await?;
    same("number of winners", &won.len(), &1)?;
    same("the row", &store.retrieve(id(1)).await?, &Some(entrants[won[0]].clone()))
}

pub(super) async fn update(store: Arc<dyn Keystore>) -> Result<(), Violation> {
    let mut current = row(1, &[]);
    store.commit(batch([Change::Insert(current.clone())])).await?;
    for generation in 1..=ROUNDS {
        let entrants: Vec<_> = (0..RACERS).map(|racer| marked(changed(&current, &[racer]), racer)).collect();
        let update = |row: &Row| batch([Change::Update { expected: Generation(generation), row: row.clone() }]);
        let won = winners(&store, entrants.iter().map(update).collect()).await?;
        same("number of winners", &won.len(), &1)?;
        current = entrants[won[0]].clone();
        same("the row", &store.retrieve(id(1)).await?, &Some(current.clone()))?;
        for racer in 0..RACERS {
            let wanted = if racer == won[0] as u64 { vec![current.clone()] } else { vec![] };
            same("rows found by a racer's term", &store.find(&query(&[racer], None, 9)).await?, &wanted)?;
        }
    }
    Ok(())
}

pub(super) async fn apart(store: Arc<dyn Keystore>) -> Result<(), Violation> {
    let inserts = (0..RACERS).map(|racer| batch([Change::Insert(row(100 + racer, &[1]))])).collect();
    let won = winners(&store, inserts).await?;
    same("number of winners", &(won.len() as u64), &RACERS)?;
    same("rows stored", &(store.find(&query(&[1], None, 99)).await?.len() as u64), &RACERS)
}
