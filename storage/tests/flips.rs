//! Bit flips: one flipped bit anywhere in the file never makes the store panic or return a row that its MAC would not give away.

mod support;

use keys::port::{Batch, Change, Keystore, StoreError};
use keys::row::Row;
use storage::conformance::sample::{batch, id, query, row};
use storage::embedded::Embedded;
use support::random;

const ROWS: u64 = 60;
const FLIPS: u64 = 400;
/// Of the engine.
const PAGE_BYTES: usize = 4096;
const SEED: u64 = 0x5eed_0f1e_55ed_b175;

fn sample(number: u64) -> Row {
    let size = if number % 20 == 7 { 20_000 } else { 300 };
    Row { material: Some(vec![u8::try_from(number).expect("below 256"); size]), ..row(number, &[1, 100 + number]) }
}

/// Set in the process that a test starts, and what that ends with.
const IS_CHILD: &str = "STRONGROOM_TEST_FLIPS_CHILD";
const DONE: i32 = 77;

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

#[test]
fn one_flipped_bit_never_panics_or_swaps_rows() {
    in_a_process_of_its_own("one_flipped_bit_never_panics_or_swaps_rows", flip_anywhere());
}

async fn flip_anywhere() {
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

/// The engine panicked while it committed upon damage among its own books, and again while that unwound, which ended the process.
#[test]
fn a_commit_upon_damage_that_nobody_has_met_yet_ends_in_an_error() {
    in_a_process_of_its_own("a_commit_upon_damage_that_nobody_has_met_yet_ends_in_an_error", commit_upon_damage());
}

async fn commit_upon_damage() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("rows.redb");
    let store = Embedded::open(&path).expect("a new file opens");
    for number in 0..ROWS {
        store.commit(batch([Change::Insert(sample(number))])).await.expect("the store is sound");
    }
    drop(store);
    let pristine = std::fs::read(&path).expect("the file is there");
    let mut panicked: u64 = 0;
    for page in (0..pristine.len()).step_by(PAGE_BYTES) {
        // How many entries a page has, and where the first ends. The pages of large rows have neither.
        let bytes = if pristine[page] == 0 || pristine[page + 3] != 0 { [].as_slice() } else { &[2, 3, 8, 9] };
        for (byte, bit) in bytes.iter().flat_map(|byte| (0..8).map(move |bit| (byte, bit))) {
            let mut flipped = pristine.clone();
            flipped[page + byte] ^= 1 << bit;
            std::fs::write(&path, &flipped).expect("the folder is there");
            let Ok(store) = Embedded::open(&path) else { continue };
            match store.commit(batch([Change::Insert(row(1000, &[1]))])).await {
                Ok(()) | Err(StoreError::Conflict { .. }) => {}
                // Neither does it hold up who reads, or who opens the file after it.
                Err(StoreError::Corrupt { what, .. }) if what.contains("the engine panicked") => {
                    panicked += 1;
                    // Of one row: upon some of these flips the engine takes gigabytes for each read.
                    let _read = store.retrieve(id(panicked % ROWS)).await;
                }
                Err(StoreError::Corrupt { .. }) => {}
                Err(other) => panic!("bit {bit} of byte {byte} of page {page}: {other:?}"),
            }
        }
    }
    assert!(panicked > 0, "no flip made the engine panic in a commit");
    std::fs::write(&path, &pristine).expect("the folder is there");
    let store = Embedded::open(&path).expect("nobody holds the file");
    store.commit(batch([Change::Insert(row(1000, &[1]))])).await.expect("the store is sound");
}

/// Runs `work` in another process, which ends without its test harness: that would wait for the panic hook, in which a panicked commit stays.
#[expect(clippy::disallowed_methods, reason = "the child holds nothing that is not in its test's folder, and its harness may not go on")]
fn in_a_process_of_its_own(test: &str, work: impl Future<Output = ()>) {
    if std::env::var_os(IS_CHILD).is_some() {
        hush_the_engine();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(work);
        std::process::exit(DONE);
    }
    let this = std::env::current_exe().expect("a test has an executable");
    let ended = std::process::Command::new(this).args(["--exact", test, "--nocapture"]).env(IS_CHILD, "1").status();
    assert_eq!(ended.expect("it starts").code(), Some(DONE), "see above");
}

/// A trace for each of the engine's many panics would take minutes.
fn hush_the_engine() {
    let loud = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !panic.location().is_some_and(|location| location.file().contains("redb")) {
            loud(panic);
        }
    }));
}
