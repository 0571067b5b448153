//! A disk that fails on demand, and a reference to compare a store with.
#![allow(dead_code, reason = "each test file uses its own part of this module")]

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex};

use keys::id::{Generation, OutboxSeq, RowId};
use keys::port::{Batch, Change, Keystore, OutboxEntry, StoreError};
use keys::row::Row;
use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};
use storage::conformance::sample::{changed, entry, id, query, row};
use storage::embedded::Embedded;
use storage::intents::Intents;
use storage::memory::Memory;

pub(crate) const EIO: i32 = 5;
pub(crate) const ENOSPC: i32 = 28;
const BLOCK_BYTES: u64 = 4096;

/// What the disk does next; shared by all handles to it.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Fails the n-th write or sync from now on with this errno, once.
    write: Option<(u64, i32)>,
    sync: Option<(u64, i32)>,
    /// Fails every read of the file, not of its log, that touches this offset.
    unreadable: Option<u64>,
    /// Every write fails for want of space, overwrites too.
    takes_no_write: bool,
    /// How many blocks may still be allocated; `None` for any number.
    space: Option<u64>,
    /// Blocks of the file, and of its log.
    allocated: BTreeSet<(bool, u64)>,
    fired: bool,
    syncs: u64,
}

impl Disk {
    pub(crate) fn fail_write(&self, nth: u64, errno: i32) {
        self.state.lock().expect("no test panics here").write = Some((nth, errno));
    }

    pub(crate) fn fail_sync(&self, nth: u64, errno: i32) {
        self.state.lock().expect("no test panics here").sync = Some((nth, errno));
    }

    pub(crate) fn fail_reads_at(&self, offset: u64) {
        self.state.lock().expect("no test panics here").unreadable = Some(offset);
    }

    /// From now on only so many blocks may be written that were not written before.
    pub(crate) fn limit_space(&self, blocks: Option<u64>) {
        self.state.lock().expect("no test panics here").space = blocks;
    }

    /// From now on, or no longer, every write fails for want of space, overwrites too.
    pub(crate) fn take_no_write(&self, is_so: bool) {
        self.state.lock().expect("no test panics here").takes_no_write = is_so;
    }

    /// Whether a fault has happened.
    pub(crate) fn fired(&self) -> bool {
        self.state.lock().expect("no test panics here").fired
    }

    /// Number of syncs that were asked for.
    pub(crate) fn syncs(&self) -> u64 {
        self.state.lock().expect("no test panics here").syncs
    }
}

impl State {
    fn count(fault: &mut Option<(u64, i32)>, fired: &mut bool) -> io::Result<()> {
        match fault {
            Some((1, errno)) => {
                let error = io::Error::from_raw_os_error(*errno);
                *fault = None;
                *fired = true;
                Err(error)
            }
            Some((left, _)) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn check_writes(&mut self) -> io::Result<()> {
        self.fired |= self.takes_no_write;
        if self.takes_no_write { Err(io::Error::from_raw_os_error(ENOSPC)) } else { Ok(()) }
    }

    fn allocate(&mut self, is_log: bool, offset: u64, bytes: usize) -> io::Result<()> {
        let last = (offset + (bytes as u64).max(1) - 1) / BLOCK_BYTES;
        for block in (offset / BLOCK_BYTES..=last).map(|block| (is_log, block)) {
            if self.allocated.contains(&block) {
                continue;
            }
            match &mut self.space {
                Some(0) => {
                    self.fired = true;
                    return Err(io::Error::from_raw_os_error(ENOSPC));
                }
                Some(left) => *left -= 1,
                None => {}
            }
            self.allocated.insert(block);
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Faulty {
    inner: FileBackend,
    is_log: bool,
    disk: Arc<Disk>,
}

impl StorageBackend for Faulty {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let unreadable = self.disk.state.lock().expect("no test panics here").unreadable;
        if !self.is_log && unreadable.is_some_and(|bad| offset <= bad && bad < offset + out.len() as u64) {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let state = &mut *self.disk.state.lock().expect("no test panics here");
        state.check_writes()?;
        State::count(&mut state.write, &mut state.fired)?;
        self.inner.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let state = &mut *self.disk.state.lock().expect("no test panics here");
        state.syncs += 1;
        State::count(&mut state.sync, &mut state.fired)?;
        self.inner.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let state = &mut *self.disk.state.lock().expect("no test panics here");
        state.check_writes()?;
        State::count(&mut state.write, &mut state.fired)?;
        state.allocate(self.is_log, offset, data.len())?;
        self.inner.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.query_lock_range(start, end)
    }
}

/// Opens the store on a disk that may fail.
pub(crate) fn open_on(disk: &Arc<Disk>, path: &Path) -> Result<Embedded, StoreError> {
    let disk = Arc::clone(disk);
    Embedded::with_backend(path, move |file| faulty(&disk, file))
}

/// Opens a journal on a disk that may fail.
pub(crate) fn journal_on(disk: &Arc<Disk>, path: &Path) -> Result<Intents, StoreError> {
    let disk = Arc::clone(disk);
    Intents::with_backend(path, move |file| faulty(&disk, file))
}

fn faulty(disk: &Arc<Disk>, path: &Path) -> io::Result<Box<dyn StorageBackend>> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    let inner = FileBackend::new(file).map_err(io::Error::other)?;
    let is_log = path.extension().is_some_and(|extension| extension == "log");
    Ok(Box::new(Faulty { inner, is_log, disk: Arc::clone(disk) }))
}

/// Commits of every kind, each on top of the one before.
pub(crate) fn steps() -> Vec<Batch> {
    let updated = |number, terms: &[u64]| Change::Update { expected: Generation::FIRST, row: changed(&row(number, &[1, number]), terms) };
    let inserted = |number| Change::Insert(row(number, &[1, number]));
    let large = Row { material: Some(vec![0x11; 50_000]), ..row(50, &[1, 50]) };
    let outbox = |numbers: &[u64]| numbers.iter().map(|number| entry(*number)).collect();
    vec![
        Batch { changes: vec![inserted(10)], outbox: outbox(&[1]), settled: None },
        Batch { changes: (11..40).map(inserted).collect(), outbox: outbox(&[2, 3]), settled: None },
        Batch { changes: vec![updated(10, &[2]), Change::Insert(large)], outbox: outbox(&[4]), settled: Some(OutboxSeq(2)) },
        Batch { changes: vec![Change::Delete { id: id(11), expected: Generation::FIRST }, updated(12, &[1])], ..Batch::default() },
        Batch { changes: vec![inserted(60), updated(13, &[3, 4])], outbox: outbox(&[5]), settled: Some(OutboxSeq(4)) },
    ]
}

/// Everything that the port shows of a store.
#[derive(Debug, PartialEq)]
pub(crate) struct Content {
    rows: Vec<Row>,
    by_term: Vec<Vec<RowId>>,
    outbox: Vec<OutboxEntry>,
}

/// Reads a store through the port, by every way in.
pub(crate) async fn content(store: &dyn Keystore) -> Result<Content, StoreError> {
    let rows = store.find(&query(&[], None, 10_000)).await?;
    let mut by_term = Vec::new();
    for term in [1, 2, 3, 4, 10, 11, 12, 13, 50, 60] {
        let found = store.find(&query(&[term], None, 10_000)).await?;
        by_term.push(found.iter().map(|row| row.header.id).collect());
    }
    for row in &rows {
        let id = row.header.id;
        assert_eq!(store.retrieve(id).await?.as_ref(), Some(row), "{id} is not the same by its id");
    }
    Ok(Content { rows, by_term, outbox: store.outbox(OutboxSeq(0), 10_000).await? })
}

/// What a store holds after none, one, two ... of [`steps`].
pub(crate) async fn contents() -> Vec<Content> {
    let memory = Memory::new();
    let mut all = vec![content(&memory).await.expect("memory does not fail")];
    for step in steps() {
        memory.commit(step).await.expect("the steps fit together");
        all.push(content(&memory).await.expect("memory does not fail"));
    }
    all
}

/// xorshift64*: the same numbers from the same seed.
pub(crate) fn random(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_f491_4f6c_dd1d)
}
