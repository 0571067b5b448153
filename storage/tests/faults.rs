//! Faults by counting: each write and each sync of a scenario fails once, and nothing that was acknowledged is lost.

mod support;

use std::path::Path;
use std::sync::Arc;

use keys::port::{Batch, Change, Keystore, StoreError};
use storage::conformance::sample::{batch, id, row};
use storage::embedded::Embedded;
use support::{Content, Disk, EIO, ENOSPC, content, contents, open_on, steps};

/// Runs the steps until one fails and returns how many were acknowledged, and the failure.
async fn run_steps(store: &Embedded) -> (usize, Option<StoreError>) {
    for (done, step) in steps().into_iter().enumerate() {
        if let Err(error) = store.commit(step).await {
            return (done, Some(error));
        }
    }
    (steps().len(), None)
}

async fn reopened(path: &Path) -> Content {
    let store = Embedded::open(path).expect("the file opens again");
    content(&store).await.expect("the file is intact")
}

fn insert(number: u64) -> Batch {
    batch([Change::Insert(row(number, &[1]))])
}

/// One round with one fault; returns whether it happened.
async fn round(fail: &dyn Fn(&Disk), expected: &[Content]) -> bool {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("rows.redb");
    let disk = Arc::new(Disk::default());
    fail(&disk);
    let (acknowledged, failure) = match open_on(&disk, &path) {
        Ok(store) => {
            let (acknowledged, failure) = run_steps(&store).await;
            if let Some(failure) = &failure {
                assert!(matches!(failure, StoreError::Unavailable { .. }), "{failure:?}");
                let syncs = disk.syncs();
                for _ in 0..2 {
                    let again = store.commit(Batch::default()).await;
                    assert!(matches!(again, Err(StoreError::Poisoned)), "{again:?}");
                }
                assert_eq!(disk.syncs(), syncs, "a sync was tried again");
            }
            (acknowledged, failure)
        }
        Err(error) => (0, Some(error)),
    };
    let found = reopened(&path).await;
    let complete = failure.is_some() && expected.get(acknowledged + 1) == Some(&found);
    assert!(found == expected[acknowledged] || complete, "{acknowledged} acknowledged, then {failure:?}: {found:?}");
    disk.fired()
}

#[tokio::test]
async fn no_failed_write_loses_an_acknowledged_commit_or_leaves_half_of_one() {
    let expected = contents().await;
    let mut nth = 1;
    while round(&|disk| disk.fail_write(nth, EIO), &expected).await {
        nth += 1;
    }
    assert!(nth > 50, "only {nth} writes were seen");
}

#[tokio::test]
async fn no_failed_sync_is_acknowledged_or_tried_again() {
    let expected = contents().await;
    let mut nth = 1;
    while round(&|disk| disk.fail_sync(nth, EIO), &expected).await {
        nth += 1;
    }
    assert!(nth > steps().len() as u64, "only {nth} syncs were seen");
}

#[tokio::test]
async fn each_acknowledged_commit_has_been_synced() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let disk = Arc::new(Disk::default());
    let store = open_on(&disk, &folder.path().join("rows.redb")).expect("a new file opens");
    // The first one also makes the log, and where that ends the engine may sync a longer file before what it says of it.
    let mut before = disk.syncs();
    let mut more = 0;
    for number in 1..=3000 {
        store.commit(insert(number)).await.expect("the store is sound");
        let syncs = disk.syncs() - before;
        assert!(syncs >= 1, "commit {number}");
        more += syncs - 1;
        before += syncs;
    }
    assert!((2..10).contains(&more), "{more} syncs more than commits");
}

/// A sync that finds no space may have dropped what it could not place, so it is no milder than any other failed sync.
#[tokio::test]
async fn a_sync_without_space_poisons_the_store() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let disk = Arc::new(Disk::default());
    let store = open_on(&disk, &folder.path().join("rows.redb")).expect("a new file opens");
    disk.fail_sync(1, ENOSPC);
    let (acknowledged, failure) = run_steps(&store).await;
    assert_eq!(acknowledged, 0);
    assert!(matches!(failure, Some(StoreError::Unavailable { .. })), "{failure:?}");
    assert!(matches!(store.commit(Batch::default()).await, Err(StoreError::Poisoned)));
}

#[tokio::test]
async fn a_poisoned_store_still_reads_what_it_has_in_memory() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let disk = Arc::new(Disk::default());
    let store = open_on(&disk, &folder.path().join("rows.redb")).expect("a new file opens");
    let (acknowledged, _) = run_steps(&store).await;
    let before = content(&store).await.expect("the store reads");
    disk.fail_sync(1, EIO);
    store.commit(insert(900)).await.expect_err("the sync fails");
    assert_eq!(content(&store).await.expect("the store reads"), before);
    assert_eq!(acknowledged, steps().len());
}

/// Every number of free blocks, from none to enough: a commit that does not fit changes nothing, and fits once there is space.
#[tokio::test]
async fn a_full_disk_refuses_commits_until_space_returns_and_reads_go_on() {
    let expected = contents().await;
    let mut refused = 0;
    for blocks in 0.. {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("rows.redb");
        let disk = Arc::new(Disk::default());
        let store = open_on(&disk, &path).expect("a new file opens");
        disk.limit_space(Some(blocks));
        for (done, step) in steps().into_iter().enumerate() {
            while let Err(error) = store.commit(step.clone()).await {
                assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
                assert_eq!(content(&store).await.expect("reads go on"), expected[done], "{blocks} blocks");
                disk.limit_space(None);
                refused += 1;
            }
        }
        assert_eq!(&content(&store).await.expect("the store reads"), expected.last().expect("there are steps"), "{blocks} blocks");
        drop(store);
        assert_eq!(&reopened(&path).await, expected.last().expect("there are steps"));
        if !disk.fired() {
            break;
        }
    }
    assert!(refused > 10, "only {refused} commits met the limit");
}

/// Without space even for overwrites the file could not be opened again, and reads stopped until there was some.
#[tokio::test]
async fn reads_go_on_where_no_write_finds_space_and_commits_heal() {
    let expected = contents().await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("rows.redb");
    let disk = Arc::new(Disk::default());
    let store = open_on(&disk, &path).expect("a new file opens");
    for (done, step) in steps().into_iter().enumerate() {
        disk.take_no_write(true);
        for _ in 0..3 {
            let error = store.commit(step.clone()).await.expect_err("there is no space");
            assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
            assert_eq!(content(&store).await.expect("reads go on"), expected[done]);
        }
        disk.take_no_write(false);
        store.commit(step).await.expect("there is space again");
        assert_eq!(content(&store).await.expect("the store reads"), expected[done + 1]);
    }
    disk.take_no_write(true);
    store.commit(insert(900)).await.expect_err("there is no space");
    drop(store);
    assert_eq!(&reopened(&path).await, expected.last().expect("there are steps"));
}

/// Any single write finds no space, overwrites of what is there already included.
#[tokio::test]
async fn one_write_without_space_refuses_one_commit_and_heals() {
    let expected = contents().await;
    let mut healed = 0;
    for nth in 1.. {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("rows.redb");
        let disk = Arc::new(Disk::default());
        let store = open_on(&disk, &path).expect("a new file opens");
        disk.fail_write(nth, ENOSPC);
        for (done, step) in steps().into_iter().enumerate() {
            if let Err(error) = store.commit(step.clone()).await {
                assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
                assert_eq!(content(&store).await.expect("reads go on"), expected[done], "write {nth}");
                store.commit(step).await.expect("there is space again");
                healed += 1;
            }
        }
        assert_eq!(&content(&store).await.expect("the store reads"), expected.last().expect("there are steps"), "write {nth}");
        drop(store);
        assert_eq!(&reopened(&path).await, expected.last().expect("there are steps"), "write {nth}");
        if !disk.fired() {
            break;
        }
    }
    assert!(healed > 10, "only {healed} commits met the fault");
}

#[tokio::test]
async fn an_unreadable_page_refuses_its_rows_and_no_others() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("rows.redb");
    let store = Embedded::open(&path).expect("a new file opens");
    for number in 0..200 {
        store.commit(insert(number)).await.expect("the store is sound");
    }
    drop(store);
    let wanted = row(100, &[1]).encode();
    let bytes = std::fs::read(&path).expect("the file is there");
    let at: Vec<_> = (0..bytes.len() - wanted.len()).filter(|at| bytes[*at..].starts_with(&wanted)).collect();

    // Older copies of the row lie in free pages: fail each in turn, until the live one is met.
    for offset in at {
        let disk = Arc::new(Disk::default());
        let store = open_on(&disk, &path).expect("the file opens");
        disk.fail_reads_at(offset as u64);
        let mut refused = Vec::new();
        for number in 0..200 {
            match store.retrieve(id(number)).await {
                Ok(found) => assert_eq!(found, Some(row(number, &[1]))),
                Err(StoreError::Corrupt { at, .. }) if at == id(number).to_string() => refused.push(number),
                Err(other) => panic!("row {number}: {other:?}"),
            }
        }
        if refused.contains(&100) {
            assert!(refused.len() < 20, "{refused:?}");
            assert!(matches!(store.commit(Batch::default()).await, Err(StoreError::Poisoned)), "writing goes on over damage");
            return;
        }
    }
    panic!("no page with the row was met");
}

#[tokio::test]
async fn a_store_whose_sync_has_failed_says_that_it_takes_no_more() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let disk = Arc::new(Disk::default());
    let store = open_on(&disk, &folder.path().join("rows.redb")).expect("a new file opens");
    store.writable().expect("nothing has failed");
    disk.fail_sync(1, EIO);
    let step = steps().swap_remove(0);
    store.commit(step).await.expect_err("the sync fails");
    assert!(matches!(store.writable(), Err(StoreError::Poisoned)), "{:?}", store.writable());
}
