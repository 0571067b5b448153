//! A disk that is really full: a small tmpfs, mounted for the test, which needs root.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use keys::id::Generation;
use keys::port::{Change, Keystore, StoreError};
use nix::sys::statvfs::statvfs;
use storage::conformance::sample::{batch, id, query, row};
use storage::embedded::Embedded;
use tempfile::TempDir;

const DISK_BYTES: u64 = 16 * 1024 * 1024;
/// The store begins no commit with less than this; see its FREE_BYTES_MIN.
const RESERVE_BYTES: u64 = 1024 * 1024;

/// A tmpfs of its own, unmounted at the end.
struct Mount {
    folder: TempDir,
}

impl Mount {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let size = format!("size={DISK_BYTES}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "none"]).arg(folder.path()).status();
        assert!(mounted.is_ok_and(|status| status.success()), "cannot mount a tmpfs: run this test as root");
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn free(&self) -> u64 {
        let disk = statvfs(self.folder.path()).expect("it is mounted");
        disk.blocks_available() * disk.fragment_size()
    }

    /// Takes space until so much is left.
    fn leave(&self, name: &str, bytes: u64) {
        let zeroes = vec![0; usize::try_from(self.free() - bytes).expect("it fits")];
        File::create(self.path(name)).and_then(|mut file| file.write_all(&zeroes)).expect("there is space");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.folder.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "cannot unmount {}", self.folder.path().display());
    }
}

async fn rows(store: &Embedded) -> usize {
    store.find(&query(&[1], None, usize::MAX)).await.expect("reads go on").len()
}

async fn fill(store: &Embedded, from: u64, count: u64) -> Result<(), StoreError> {
    let inserts: Vec<_> = (from..from + count).map(|number| Change::Insert(row(number, &[1]))).collect();
    store.commit(batch(inserts)).await
}

fn assert_full(outcome: Result<(), StoreError>, under: &Path) {
    match outcome {
        Err(StoreError::Full { at }) => assert!(at.starts_with(&under.display().to_string()), "{at}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_store_on_a_full_disk_reads_on_and_commits_when_there_is_space_again() {
    let mount = Mount::new();
    let path = mount.path("rows.redb");
    let store = Embedded::open(&path).expect("a new file opens");
    mount.leave("ballast", 4 * RESERVE_BYTES);
    let mut acknowledged = 0;
    while let Ok(()) = fill(&store, acknowledged, 50).await {
        acknowledged += 50;
    }
    assert!(acknowledged > 500, "only {acknowledged} rows fitted");
    for _ in 0..3 {
        assert_full(fill(&store, acknowledged, 50).await, &path);
        assert_eq!(rows(&store).await as u64, acknowledged);
    }
    assert!(mount.free() > RESERVE_BYTES / 2, "the reserve was used up");
    fs::remove_file(mount.path("ballast")).expect("it is there");
    fill(&store, acknowledged, 50).await.expect("there is space again");
    drop(store);
    let store = Embedded::open(&path).expect("the file opens again");
    assert_eq!(rows(&store).await as u64, acknowledged + 50);
}

/// Deletes all over the file copy far more pages than the estimate before a commit allows for.
#[tokio::test]
async fn a_disk_that_fills_up_during_a_commit_loses_only_that_commit() {
    const ROWS: u64 = 6_000;
    let mount = Mount::new();
    let path = mount.path("rows.redb");
    let store = Embedded::open(&path).expect("a new file opens");
    for from in (0..ROWS).step_by(500) {
        fill(&store, from, 500).await.expect("there is space");
    }
    // Enough for the check before a commit, whatever else it may need.
    mount.leave("ballast", RESERVE_BYTES + 64 * 1024);
    let deletes =
        || batch((0..ROWS).step_by(5).map(|number| Change::Delete { id: id(number), expected: Generation::FIRST }).collect::<Vec<_>>());
    assert_full(store.commit(deletes()).await, &path);
    assert!(mount.free() < RESERVE_BYTES, "the disk had space for the commit, so this test shows nothing");
    assert_eq!(rows(&store).await as u64, ROWS);
    assert_full(store.commit(deletes()).await, &path);
    fs::remove_file(mount.path("ballast")).expect("it is there");
    store.commit(deletes()).await.expect("there is space again");
    assert_eq!(rows(&store).await as u64, ROWS - ROWS / 5);
    drop(store);
    let store = Embedded::open(&path).expect("the file opens again");
    assert_eq!(rows(&store).await as u64, ROWS - ROWS / 5);
}
