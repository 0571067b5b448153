//! The embedded store's log: what only it has when the process ends is there afterwards, and one that does not belong to the file is refused.

mod support;

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use keys::port::{Batch, Change, Keystore, StoreError};
use redb::{Database, ReadableDatabase, TableDefinition};
use storage::conformance::sample::{batch, query, row};
use storage::embedded::Embedded;
use support::{Disk, EIO, ENOSPC, contents, open_on, steps};
use tempfile::TempDir;

const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const LOG_BYTES: usize = 1024 * 1024;
const BLOCK_BYTES: usize = 64;
/// So many rows are nearly the most that a commit may have to be logged; eighteen such commits fill the log.
const MANY: u64 = 70;

fn log_of(path: &Path) -> PathBuf {
    path.with_added_extension("log")
}

struct Place {
    folder: TempDir,
    copies: AtomicU32,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder"), copies: AtomicU32::new(0) }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What a kill would leave at this moment.
    fn killed(&self, from: &Path) -> PathBuf {
        let copy = self.file(&format!("{}.redb", self.copies.fetch_add(1, Ordering::Relaxed)));
        fs::copy(from, &copy).expect("there is room");
        fs::copy(log_of(from), log_of(&copy)).expect("there is room");
        copy
    }
}

fn one(number: u64) -> Batch {
    batch([Change::Insert(row(number, &[1, number]))])
}

fn many(number: u64) -> Batch {
    batch((0..MANY).map(|place| Change::Insert(row(number * MANY + place, &[1]))).collect::<Vec<_>>())
}

async fn opened(path: &Path) -> Embedded {
    let store = Embedded::open(path).expect("a new file opens");
    store.commit(one(0)).await.expect("the store is sound");
    store
}

async fn count(store: &Embedded) -> usize {
    store.find(&query(&[1], None, usize::MAX)).await.expect("the store reads").len()
}

/// What is said of a file that cannot be used; it and its log must be as they were.
fn refused(path: &Path) -> String {
    let both = || (fs::read(path).expect("it is there"), fs::read(log_of(path)).ok());
    let before = both();
    let error = Embedded::open(path).err().expect("it does not fit");
    assert!(both().1 == before.1, "the log was changed");
    let StoreError::Corrupt { what, .. } = error else { panic!("{error:?}") };
    what
}

fn schema(path: &Path) -> u64 {
    let database = Database::open(path).expect("it is a database");
    let meta = database.begin_read().expect("it reads").open_table(META).expect("it is there");
    meta.get("schema").expect("it reads").expect("it is there").value()
}

#[tokio::test]
async fn a_killed_store_has_every_commit_and_goes_on() {
    let place = Place::new();
    let store = opened(&place.file("rows.redb")).await;
    // Once around, and on.
    for number in 1..60 {
        store.commit(if number % 3 == 0 { one(1_000_000 + number) } else { many(number) }).await.expect("the store is sound");
        let rows = count(&store).await;
        let copy = place.killed(&place.file("rows.redb"));
        let again = Embedded::open(&copy).expect("it opens after a kill");
        assert_eq!(count(&again).await, rows, "after commit {number}");
        again.commit(one(2_000_000)).await.expect("it goes on");
        let twice = place.killed(&copy);
        assert_eq!(count(&Embedded::open(&twice).expect("it opens after another kill")).await, rows + 1, "after commit {number}");
    }
}

#[tokio::test]
async fn every_kind_of_change_is_applied_again() {
    let expected = contents().await;
    let place = Place::new();
    let store = Embedded::open(&place.file("rows.redb")).expect("a new file opens");
    for (step, expected) in steps().into_iter().zip(&expected[1..]) {
        store.commit(step).await.expect("the store is sound");
        let again = Embedded::open(&place.killed(&place.file("rows.redb"))).expect("it opens after a kill");
        assert_eq!(support::content(&again).await.expect("it is intact"), *expected);
    }
}

/// An older release knows no log: it may have the file only when that is complete.
#[tokio::test]
async fn a_file_that_is_closed_needs_no_log_and_one_that_is_not_says_so() {
    let place = Place::new();
    let path = place.file("rows.redb");
    let store = opened(&path).await;
    store.commit(one(1)).await.expect("the store is sound");
    assert_eq!(schema(&place.killed(&path)), 4);
    drop(store);
    assert_eq!(schema(&path), 3);
    fs::remove_file(log_of(&path)).expect("it is there");
    let store = Embedded::open(&path).expect("it is complete");
    assert_eq!(count(&store).await, 2);
    store.commit(one(2)).await.expect("it goes on");
    let mode = fs::metadata(log_of(&path)).expect("it was made again").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
}

#[tokio::test]
async fn a_record_that_was_not_written_to_its_end_is_as_if_it_never_was() {
    let place = Place::new();
    let path = place.file("rows.redb");
    let store = opened(&path).await;
    for number in 1..=3 {
        store.commit(one(number)).await.expect("the store is sound");
    }
    let before = fs::read(log_of(&path)).expect("it is there");
    store.commit(one(4)).await.expect("the store is sound");
    let after = fs::read(log_of(&path)).expect("it is there");
    let changed: Vec<usize> = (0..LOG_BYTES).filter(|at| before[*at] != after[*at]).collect();
    let (first, last) = (changed[0], changed[changed.len() - 1]);
    for written in [first, first + 1, first + BLOCK_BYTES, (first + last) / 2, last] {
        let copy = place.killed(&path);
        let log = [&after[..written], &before[written..]].concat();
        fs::write(log_of(&copy), log).expect("there is room");
        let again = Embedded::open(&copy).expect("it opens");
        assert_eq!(count(&again).await, 4, "{written} of {first} to {last}");
        again.commit(one(5)).await.expect("it goes on");
        assert_eq!(count(&Embedded::open(&place.killed(&copy)).expect("it opens")).await, 5);
    }
}

#[tokio::test]
async fn a_log_that_is_damaged_missing_or_anothers_is_refused_and_nothing_is_changed() {
    let place = Place::new();
    let path = place.file("rows.redb");
    let store = opened(&path).await;
    let early = place.file("early.redb");
    fs::copy(&path, &early).expect("there is room");
    for number in 1..=25 {
        store.commit(many(number)).await.expect("the store is sound");
    }
    store.commit(one(1_000_000)).await.expect("the store is sound");
    for at in [BLOCK_BYTES, BLOCK_BYTES + 16, BLOCK_BYTES + 24, BLOCK_BYTES + 400] {
        let copy = place.killed(&path);
        let log = fs::OpenOptions::new().read(true).write(true).open(log_of(&copy)).expect("it is there");
        let mut byte = [0];
        log.read_exact_at(&mut byte, at as u64).and_then(|()| log.write_all_at(&[byte[0] ^ 1], at as u64)).expect("it is ours");
        assert!(refused(&copy).contains("commits are missing in its log"), "byte {at}");
    }
    let copy = place.killed(&path);
    fs::remove_file(log_of(&copy)).expect("it is there");
    assert!(refused(&copy).contains(&format!("its log {} is missing", log_of(&copy).display())));
    let other = place.file("other.redb");
    let _other = opened(&other).await;
    fs::copy(log_of(&other), log_of(&copy)).expect("there is room");
    assert!(refused(&copy).contains("its log is another file's"));
    fs::write(log_of(&copy), b"").expect("there is room");
    assert!(refused(&copy).contains("its log is another file's"));
    // The file as it was before the log went round.
    fs::copy(log_of(&path), log_of(&early)).expect("there is room");
    assert!(refused(&early).contains("commits are missing in its log"));
}

/// One failed write or sync around the end of the log, where the engine makes all durable.
async fn round(fail: impl Fn(&Disk)) -> bool {
    let place = Place::new();
    let (path, disk) = (place.file("rows.redb"), Arc::new(Disk::default()));
    let store = open_on(&disk, &path).expect("a new file opens");
    let mut done = 0;
    for _ in 0..15 {
        store.commit(many(done)).await.expect("the store is sound");
        done += 1;
    }
    fail(&disk);
    let mut failed = false;
    while !failed && done < 20 {
        failed = store.commit(many(done)).await.is_err();
        done += u64::from(!failed);
    }
    let there = count(&store).await as u64;
    drop(store);
    let found = count(&Embedded::open(&path).expect("it opens again")).await as u64;
    assert!(there == done * MANY || failed, "{there} of {done} are seen");
    assert!(found == done * MANY || (failed && found == (done + 1) * MANY), "{done} were acknowledged, {found} rows found");
    disk.fired()
}

#[tokio::test]
async fn no_failure_where_the_log_ends_loses_what_was_acknowledged() {
    let mut nth = 1;
    while round(|disk| disk.fail_write(nth, EIO)).await {
        nth += 3;
    }
    assert!(nth > 30, "only {nth} writes were seen");
    for errno in [EIO, ENOSPC] {
        let mut nth = 1;
        while round(|disk| disk.fail_sync(nth, errno)).await {
            nth += 1;
        }
        assert!(nth > 5, "only {nth} syncs were seen");
    }
}

#[tokio::test]
async fn a_disk_that_is_full_where_the_log_ends_loses_nothing() {
    for blocks in (0..400).step_by(20) {
        let place = Place::new();
        let (path, disk) = (place.file("rows.redb"), Arc::new(Disk::default()));
        let store = open_on(&disk, &path).expect("a new file opens");
        disk.limit_space(Some(300 + blocks));
        let mut done = 0;
        while done < 40 {
            match store.commit(many(done)).await {
                Ok(()) => done += 1,
                Err(StoreError::Full { .. }) => break,
                Err(other) => panic!("{blocks}: {other:?}"),
            }
        }
        assert_eq!(count(&store).await as u64, done * MANY, "{blocks}: reads go on");
        // As it stands, after a kill; then with space again.
        if done > 0 {
            let again = Embedded::open(&place.killed(&path)).expect("it opens after a kill");
            assert_eq!(count(&again).await as u64, done * MANY, "{blocks}: after a kill");
        }
        disk.limit_space(None);
        store.commit(many(done)).await.expect("there is space again");
        drop(store);
        assert_eq!(count(&Embedded::open(&path).expect("it opens again")).await as u64, (done + 1) * MANY, "{blocks}");
    }
}
