//! Rules about finding rows: terms, order, pages.

use std::sync::Arc;

use keys::id::{Generation, Layer, RowId};
use keys::port::{Change, Keystore, Query};
use keys::row::Row;
use uuid::Uuid;

use super::sample::{batch, changed, id, query, row, term};
use super::{Violation, same};

async fn fill(store: &dyn Keystore, numbers: impl IntoIterator<Item = u64>, terms: fn(u64) -> Vec<u64>) -> Result<(), Violation> {
    let inserts: Vec<_> = numbers.into_iter().map(|number| Change::Insert(row(number, &terms(number)))).collect();
    Ok(store.commit(batch(inserts)).await?)
}

async fn found(store: &dyn Keystore, query: Query) -> Result<Vec<RowId>, Violation> {
    Ok(ids(&store.find(&query).await?))
}

fn ids(rows: &[Row]) -> Vec<RowId> {
    rows.iter().map(|row| row.header.id).collect()
}

fn listed(numbers: impl IntoIterator<Item = u64>) -> Vec<RowId> {
    numbers.into_iter().map(id).collect()
}

pub(super) async fn by_one_term(store: Arc<dyn Keystore>) -> Result<(), Violation> {
    fill(&*store, [1, 2], |number| vec![number * 10, number * 10 + 1]).await?;
    for (term, number) in [(10, 1), (11, 1), (20, 2), (21, 2)] {
        same("a term", &found(&*store, query(&[term], None, 9)).await?, &listed([number]))?;
    }
    same("the row found", &store.find(&query(&[10], None, 9)).await?, &vec![row(1, &[10, 11])])
}

/// Terms of common, less common and rare, in every order.
pub(super) async fn by_several_terms(store: Arc<dyn Keystore>) -> Result<(), Violation> {
    fill(&*store, 1..=60, |number| (2..=5).filter(|divisor| number % divisor == 0).collect()).await?;
    for terms in [[2, 3, 5], [5, 3, 2], [3, 5, 2]] {
        same("all of three", &found(&*store, query(&terms, None, 9)).await?, &listed([60, 30]))?;
    }
    same("all of two", &found(&*store, query(&[5, 4], None, 9)).await?, &listed([60, 40, 20]))?;
    same("from a cursor", &found(&*store, query(&[4, 5], Some(60), 1)).await?, &listed([40]))?;
    same("the same term twice", &found(&*store, query(&[5, 5], None, 2)).await?, &listed([60, 55]))?;
    same("one unknown", &found(&*store, query(&[2, 77], None, 9)).await?, &vec![])?;
    same("one unknown, first", &found(&*store, query(&[77, 2], None, 9)).await?, &vec![])
}

pub(super) async fn nothing(store: Arc<dyn Keystore>) -> Result<(), Violation> {
    same("an empty store, no term", &found(&*store, query(&[], None, 9)).await?, &vec![])?;
    same("an empty store", &found(&*store, query(&[1], None, 9)).await?, &vec![])?;
    fill(&*store, 1..=3, |_| vec![1, 3]).await?;
    same("a term between two", &found(&*store, query(&[2], None, 9)).await?, &vec![])?;
    same("no room", &found(&*store, query(&[1], None, 0)).await?, &vec![])?;
    same("before the first", &found(&*store, query(&[1], Some(1), 9)).await?, &vec![])
}

pub(super) async fn within_layer(store: Arc<dyn Keystore>) -> Result<(), Violation> {
    let placed = |layer, uuid| {
        let mut row = row(1, &[1]);
        row.header.id = RowId::new(layer, uuid);
        Change::Insert(row)
    };
    let edges = [Uuid::nil(), Uuid::max()];
    let layers = [Layer::L21, Layer::L3, Layer::L4];
    store.commit(batch(layers.iter().flat_map(|layer| edges.map(|uuid| placed(*layer, uuid))).collect::<Vec<_>>())).await?;
    let wanted = vec![RowId::new(Layer::L3, Uuid::max()), RowId::new(Layer::L3, Uuid::nil())];
    same("without a term", &found(&*store, query(&[], None, 9)).await?, &wanted)?;
    same("by a term", &found(&*store, query(&[1], None, 9)).await?, &wanted)?;
    let below = Query { before: Some(wanted[1]), ..query(&[1], None, 9) };
    same("below the smallest id", &found(&*store, below).await?, &vec![])
}

/// Claims on names have identifiers made like terms: neither hides or stands for the other.
pub(super) async fn claims(store: Arc<dyn Keystore>) -> Result<(), Violation> {
    let claim = |uuid| {
        let mut row = row(1, &[7]);
        row.header.id = RowId::new(Layer::Name, uuid);
        row
    };
    let uuids = (1..=9).step_by(2).map(|number| Uuid::from_bytes(term(number).0)).chain([Uuid::nil(), Uuid::max()]);
    let mut claims: Vec<_> = uuids.map(claim).collect();
    fill(&*store, 1..=30, |number| vec![number % 10]).await?;
    store.commit(batch(claims.iter().cloned().map(Change::Insert).collect::<Vec<_>>())).await?;
    claims.sort_by_key(|row| std::cmp::Reverse(row.header.id));
    for limit in [1, 3, 9] {
        let mut next = Query { layer: Layer::Name, limit, ..query(&[], None, limit) };
        let mut seen = Vec::new();
        loop {
            let page = store.find(&next).await?;
            let Some(last) = page.last() else { break };
            next.before = Some(last.header.id);
            seen.extend(page);
        }
        same("all claims", &seen, &claims)?;
    }
    same("claims by a term", &store.find(&Query { layer: Layer::Name, ..query(&[7], None, 9) }).await?, &claims)?;
    same("keys by a term", &found(&*store, query(&[7], None, 9)).await?, &listed([27, 17, 7]))?;
    for claim in claims {
        let (id, next) = (claim.header.id, changed(&claim, &[]));
        same("a claim", &store.retrieve(id).await?, &Some(claim))?;
        store.commit(batch([Change::Update { expected: Generation::FIRST, row: next.clone() }])).await?;
        same("a changed claim", &store.retrieve(id).await?, &Some(next.clone()))?;
        store.commit(batch([Change::Delete { id, expected: next.header.generation }])).await?;
        same("a claim given up", &store.retrieve(id).await?, &None)?;
    }
    same("keys by a term, without claims", &found(&*store, query(&[7], None, 9)).await?, &listed([27, 17, 7]))?;
    same("no claim", &store.find(&Query { layer: Layer::Name, ..query(&[], None, 9) }).await?, &vec![])
}

pub(super) async fn newest_first(store: Arc<dyn Keystore>) -> Result<(), Violation> {
    for number in [5, 1, 9, 3, 7] {
        fill(&*store, [number], |_| vec![1]).await?;
    }
    for terms in [&[][..], &[1]] {
        same("all", &found(&*store, query(terms, None, 9)).await?, &listed([9, 7, 5, 3, 1]))?;
        same("two", &found(&*store, query(terms, None, 2)).await?, &listed([9, 7]))?;
        same("before one that exists", &found(&*store, query(terms, Some(7), 2)).await?, &listed([5, 3]))?;
        same("before one that does not", &found(&*store, query(terms, Some(6), 9)).await?, &listed([5, 3, 1]))?;
    }
    Ok(())
}

pub(super) async fn pages(store: Arc<dyn Keystore>) -> Result<(), Violation> {
    fill(&*store, (2..=100).step_by(2), |number| vec![1, 1 + number % 4]).await?;
    for (round, terms) in [&[][..], &[1], &[1, 3]].into_iter().enumerate() {
        let before: Vec<_> = found(&*store, query(terms, None, 1000)).await?;
        let mut seen = Vec::new();
        let mut next = query(terms, None, 7);
        loop {
            let page = found(&*store, next.clone()).await?;
            let Some(last) = page.last() else { break };
            next.before = Some(*last);
            seen.extend(page);
            // Newer than all pages, so no page to come may show it.
            let newer = 1000 * (round as u64 + 1) + seen.len() as u64;
            fill(&*store, [newer], |_| vec![1, 3]).await?;
        }
        same("rows that were there at the start, once each", &seen, &before)?;
    }
    Ok(())
}

pub(super) async fn foreign_cursor(store: Arc<dyn Keystore>) -> Result<(), Violation> {
    fill(&*store, 1..=2, |_| vec![1]).await?;
    for terms in [&[][..], &[1]] {
        let older = Query { before: Some(RowId::new(Layer::L21, Uuid::max())), ..query(terms, None, 9) };
        same("a cursor before the layer", &found(&*store, older).await?, &vec![])?;
        let newer = Query { before: Some(RowId::new(Layer::L4, Uuid::nil())), ..query(terms, None, 9) };
        same("a cursor behind the layer", &found(&*store, newer).await?, &listed([2, 1]))?;
    }
    Ok(())
}

pub(super) async fn after_update(store: Arc<dyn Keystore>) -> Result<(), Violation> {
    let first = row(1, &[1, 2]);
    let second = changed(&first, &[2, 3]);
    store.commit(batch([Change::Insert(first)])).await?;
    store.commit(batch([Change::Update { expected: Generation::FIRST, row: second.clone() }])).await?;
    same("the term taken away", &store.find(&query(&[1], None, 9)).await?, &vec![])?;
    same("the term kept", &store.find(&query(&[2], None, 9)).await?, &vec![second.clone()])?;
    same("the term added", &store.find(&query(&[3], None, 9)).await?, &vec![second])
}

pub(super) async fn after_delete(store: Arc<dyn Keystore>) -> Result<(), Violation> {
    fill(&*store, 1..=2, |_| vec![1]).await?;
    store.commit(batch([Change::Delete { id: id(2), expected: Generation::FIRST }])).await?;
    same("by its term", &found(&*store, query(&[1], None, 9)).await?, &listed([1]))?;
    same("without a term", &found(&*store, query(&[], None, 9)).await?, &listed([1]))
}
