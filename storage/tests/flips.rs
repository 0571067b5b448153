//! Bit flips: one flipped bit anywhere in the file never makes the store panic or return a row that its MAC would not give away.

mod support;

use keys::port::{Batch, Change, Keystore, StoreError};
use keys::row::Row;
use storage::conformance::sample::{batch, id, query, row};
use storage::embedded::Embedded;
use support::random;

const ROWS: u64 = 60;
const FLIPS: u64 = 400;
const SEED: u64 = 0x5eed_0f1e_55ed_b175;

fn sample(number: u64) -> Row {
    let size = if number % 20 == 7 { 20_000 } else { 300 };
    Row { material: Some(vec![u8::try_from(number).expect("below 256"); size]), ..row(number, &[1, 100 + number]) }
}

/// How a store with one flipped bit answered.
#[derive(Debug, Default)]
struct Tally {
    refused_to_open: u32,
    unaffected: u32,
    refused_a_row: u32,
    changed_a_row: u32,
    hid_a_refused_row: u32,
    missed_a_row: u32,
}

async fn try_reads(store: &Embedded, tally: &mut Tally) {
    let (mut refused, mut changed, mut missed, mut hidden) = (false, false, false, false);
    for number in 0..ROWS {
        let found = store.find(&query(&[100 + number], None, 9)).await;
        let is_hidden = found.as_ref().is_ok_and(Vec::is_empty);
        let found = found.ok().and_then(|found| found.into_iter().next());
        assert!(found.is_none_or(|found| found.header.id == id(number)), "row {number} was found under another id");
        match store.retrieve(id(number)).await {
            Ok(Some(found)) if found == sample(number) => {}
            Ok(Some(found)) => {
                assert_eq!(found.header.id, id(number), "another row was returned");
                changed = true;
            }
            Ok(None) => missed = true,
            Err(StoreError::Corrupt { at, .. }) => {
                assert_eq!(at, id(number).to_string());
                refused = true;
                hidden |= is_hidden;
            }
            Err(other) => panic!("row {number}: {other:?}"),
        }
    }
    tally.refused_a_row += u32::from(refused);
    tally.changed_a_row += u32::from(changed);
    tally.hid_a_refused_row += u32::from(hidden);
    tally.missed_a_row += u32::from(missed);
    tally.unaffected += u32::from(!refused && !changed && !missed);
}

#[tokio::test]
async fn one_flipped_bit_never_panics_or_swaps_rows() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("rows.redb");
    let store = Embedded::open(&path).expect("a new file opens");
    for number in 0..ROWS {
        store.commit(batch([Change::Insert(sample(number))])).await.expect("the store is sound");
    }
    drop(store);
    let pristine = std::fs::read(&path).expect("the file is there");
    let used: Vec<_> = (0..pristine.len() as u64).filter(|at| pristine[usize::try_from(*at).expect("it fits")] != 0).collect();
    let mut tally = Tally::default();
    let mut state = SEED;
    for round in 0..FLIPS {
        let mut flipped = pristine.clone();
        // Every second flip hits a byte in use; most of the file's rows are old copies in free pages.
        let at = if round % 2 == 0 {
            random(&mut state) % pristine.len() as u64
        } else {
            used[usize::try_from(random(&mut state) % used.len() as u64).expect("it fits")]
        };
        flipped[usize::try_from(at).expect("it fits")] ^= 1 << (random(&mut state) % 8);
        std::fs::write(&path, &flipped).expect("the folder is there");
        match Embedded::open(&path) {
            Err(StoreError::Corrupt { .. } | StoreError::Unavailable { .. }) => tally.refused_to_open += 1,
            Err(other) => panic!("flip {round} at {at}: {other:?}"),
            Ok(store) => {
                try_reads(&store, &mut tally).await;
                // A change on top of the damage is refused or made, but does not panic either.
                let _ = store.commit(batch([Change::Insert(row(1000, &[1]))])).await;
                let _ = store.commit(Batch::default()).await;
            }
        }
    }
    assert!(tally.unaffected > 0 && tally.refused_a_row > 0 && tally.changed_a_row > 0, "{tally:?}");
    assert!(tally.hid_a_refused_row > 0, "{tally:?}");
    assert!(tally.missed_a_row < tally.changed_a_row, "{tally:?}");
}
