//! Disks that are full, broken, stuck, or whose files disappear.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use audit::{ANSWER_WITHIN, DiskFile, Log, SegmentFile, Settings, SyncMode, verify};
use keys::id::OutboxSeq;
use keys::policy::{Action, Role};
use keys::port::AuditSink;
use keys::record::{Origin, Outcome, Record, SessionRecord};
use tempfile::tempdir;

use crate::support::{ID, SEED, entry, generations_and_outbox, key, open, path, public, record, session, settings};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;

/// What a sick disk does, shared by all segments on it.
#[derive(Default)]
struct Sickness {
    /// Calls so far that change something, and which of them fails with what.
    calls: AtomicUsize,
    fails: Mutex<Option<(usize, i32)>>,
    /// No space: every allocation fails; writes go half through.
    is_full: Mutex<bool>,
    sync_fails: Mutex<Option<i32>>,
    cut_fails: Mutex<Option<i32>>,
    syncs: AtomicUsize,
    /// Which calls do not return.
    stuck: Mutex<Stuck>,
    turned: Condvar,
    /// How often a call was found stuck.
    waiting: AtomicUsize,
    /// Segments opened so far.
    files: AtomicUsize,
}

/// Calls get stuck on files from this number on, the first being 0.
#[derive(Default, Clone, Copy)]
struct Stuck {
    syncs_from: Option<usize>,
    writes_from: Option<usize>,
}

struct SickFile {
    inner: DiskFile,
    sickness: Arc<Sickness>,
    number: usize,
}

impl Sickness {
    fn step(&self) -> io::Result<()> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        match *self.fails.lock().expect("no thread panicked") {
            Some((number, errno)) if number == call => Err(io::Error::from_raw_os_error(errno)),
            _ => Ok(()),
        }
    }

    fn set_stuck(&self, stuck: Stuck) {
        *self.stuck.lock().expect("no thread panicked") = stuck;
        self.turned.notify_all();
    }

    fn wait(&self, file: usize, stuck_from: impl Fn(&Stuck) -> Option<usize>) {
        let is_stuck = |stuck: &mut Stuck| {
            let is_stuck = stuck_from(stuck).is_some_and(|from| file >= from);
            self.waiting.fetch_add(usize::from(is_stuck), Ordering::SeqCst);
            is_stuck
        };
        drop(self.turned.wait_while(self.stuck.lock().expect("no thread panicked"), is_stuck).expect("no thread panicked"));
    }

    fn set_full(&self, is_full: bool) {
        *self.is_full.lock().expect("no thread panicked") = is_full;
    }
}

fn fail(errno: &Mutex<Option<i32>>) -> io::Result<()> {
    let errno = *errno.lock().expect("no thread panicked");
    errno.map_or(Ok(()), |errno| Err(io::Error::from_raw_os_error(errno)))
}

impl SegmentFile for SickFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.sickness.wait(self.number, |stuck| stuck.writes_from);
        if let Err(error) = self.sickness.step() {
            self.inner.append(&bytes[..bytes.len() / 2])?;
            return Err(error);
        }
        self.inner.append(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.sickness.syncs.fetch_add(1, Ordering::SeqCst);
        self.sickness.wait(self.number, |stuck| stuck.syncs_from);
        fail(&self.sickness.sync_fails)?;
        self.sickness.step()?;
        self.inner.sync()
    }

    /// Sets nothing aside, so that lines go by write(2), which alone can leave a half of one.
    fn allocate(&self, _from: u64, _to: u64) -> io::Result<()> {
        if *self.sickness.is_full.lock().expect("no thread panicked") {
            return Err(io::Error::from_raw_os_error(ENOSPC));
        }
        self.sickness.step()
    }

    fn cut(&self, bytes: u64) -> io::Result<()> {
        fail(&self.sickness.cut_fails)?;
        self.sickness.step()?;
        self.inner.cut(bytes)
    }

    fn is_at(&self, path: &Path) -> io::Result<bool> {
        self.inner.is_at(path)
    }
}

fn open_sick_with(dir: &Path, settings: Settings, sickness: &Arc<Sickness>) -> Result<Log, audit::AuditError> {
    let sickness = Arc::clone(sickness);
    let wrap = move |file: File| {
        let number = sickness.files.fetch_add(1, Ordering::SeqCst);
        Ok(Arc::new(SickFile { inner: DiskFile::new(file)?, sickness: Arc::clone(&sickness), number }) as Arc<dyn SegmentFile>)
    };
    Ok(Log::open_on(dir, settings, ID, wrap)?.0)
}

fn open_sick(dir: &Path) -> (Log, Arc<Sickness>) {
    let sickness = Arc::new(Sickness::default());
    let log = open_sick_with(dir, settings(1 << 20), &sickness).expect("the log opens");
    log.session(&session(1)).expect("the log takes a session");
    log.append(&[record(1)]).expect("the log takes a record");
    log.flush().expect("the log can be flushed");
    (log, sickness)
}

fn assert_poisoned(log: &Log, sickness: &Sickness) {
    let syncs = sickness.syncs.load(Ordering::SeqCst);
    for refused in
        [log.ready(), log.append(&[record(7)]), log.session(&session(7)), log.settle(&[entry(7)]), log.flush(), log.reconcile(&[entry(7)])]
    {
        let why = refused.expect_err("a poisoned log takes nothing").why;
        assert!(why.contains("restart strongroomd"), "{why}");
    }
    assert_eq!(sickness.syncs.load(Ordering::SeqCst), syncs, "a failed sync was tried again");
}

/// The records that are whole on disk, after a restart on a healthy disk.
fn after_restart(dir: &Path) -> Vec<u64> {
    let (log, _) = open(dir, 1 << 20);
    log.ready().expect("the log is healthy after a restart");
    verify(dir, None).expect("the log is sound");
    generations_and_outbox(dir).0
}

#[test]
fn a_failed_sync_is_never_tried_again() {
    let dir = tempdir().expect("a temporary directory");
    let (log, sickness) = open_sick(dir.path());
    log.settle(&[entry(1)]).expect("the log takes settled records");
    *sickness.sync_fails.lock().expect("no thread panicked") = Some(EIO);
    log.flush().expect_err("the sync failed");
    *sickness.sync_fails.lock().expect("no thread panicked") = None;
    assert_poisoned(&log, &sickness);
    assert_eq!(log.settled(), OutboxSeq(0));
    drop(log);
    assert_eq!(after_restart(dir.path()), [1, 1]);
}

#[test]
fn with_always_a_failed_sync_refuses_the_record_itself() {
    let dir = tempdir().expect("a temporary directory");
    let sickness = Arc::new(Sickness::default());
    let log = open_sick_with(dir.path(), Settings { sync: SyncMode::Always, ..settings(1 << 20) }, &sickness).expect("the log opens");
    *sickness.sync_fails.lock().expect("no thread panicked") = Some(EIO);
    log.append(&[record(1)]).expect_err("the record is not on disk");
    assert_poisoned(&log, &sickness);
}

#[test]
fn a_failed_write_poisons_and_leaves_no_half_line() {
    for errno in [EIO, EROFS] {
        let dir = tempdir().expect("a temporary directory");
        let (log, sickness) = open_sick(dir.path());
        *sickness.fails.lock().expect("no thread panicked") = Some((sickness.calls.load(Ordering::SeqCst), errno));
        log.append(&[record(2)]).expect_err("the write failed");
        assert_poisoned(&log, &sickness);
        assert_eq!(verify(dir.path(), None).expect("the log is sound").torn_bytes, 0);
        drop(log);
        assert_eq!(after_restart(dir.path()), [1]);
    }
}

/// Space was set aside, yet the write runs out of it: file systems without fallocate do that.
#[test]
fn a_write_that_runs_out_of_space_is_undone_and_the_log_goes_on() {
    let dir = tempdir().expect("a temporary directory");
    let (log, sickness) = open_sick(dir.path());
    *sickness.fails.lock().expect("no thread panicked") = Some((sickness.calls.load(Ordering::SeqCst), ENOSPC));
    let why = log.append(&[record(2), record(3)]).expect_err("there is no space").why;
    assert!(why.contains("no space under"), "{why}");
    assert_eq!(verify(dir.path(), None).expect("the log is sound").torn_bytes, 0);
    log.ready().expect("space is back");
    log.append(&[record(4)]).expect("space is back");
    assert_eq!(generations_and_outbox(dir.path()).0, [1, 4]);
}

#[test]
fn a_half_written_line_that_cannot_be_removed_poisons() {
    let dir = tempdir().expect("a temporary directory");
    let (log, sickness) = open_sick(dir.path());
    *sickness.fails.lock().expect("no thread panicked") = Some((sickness.calls.load(Ordering::SeqCst), ENOSPC));
    *sickness.cut_fails.lock().expect("no thread panicked") = Some(EIO);
    log.append(&[record(2)]).expect_err("there is no space");
    assert_poisoned(&log, &sickness);
    assert!(verify(dir.path(), None).expect("a torn tail is no flaw").torn_bytes > 0);
    drop(log);
    assert_eq!(after_restart(dir.path()), [1]);
}

#[test]
fn on_a_full_disk_only_sealing_administration_and_changes_are_recorded() {
    let dir = tempdir().expect("a temporary directory");
    let (log, sickness) = open_sick(dir.path());
    sickness.set_full(true);
    let mut taken = 1;
    while log.append(&[record(2)]).is_ok() {
        taken += 1;
    }
    assert!(taken < 1300, "what is set aside is finite");
    log.ready().expect_err("there is no space");
    log.session(&session(2)).expect_err("a client's session is no administration");
    for (origin, role) in [
        (Origin::Admin, Some(Role::Auditor)),
        (Origin::Admin, Some(Role::TenantAdmin)),
        (Origin::Admin, None),
        (Origin::Socket, None),
        (Origin::Kmip, Some(Role::Operator)),
        (Origin::Https, Some(Role::Operator)),
    ] {
        log.session(&SessionRecord { origin, role, ..session(2) }).expect_err("who has a certificate does not use the reserve up");
    }
    for action in [Action::Start, Action::Inspect, Action::Seal, Action::Unseal, Action::Stop] {
        log.append(&[Record { action, outcome: Outcome::Denied, ..record(3) }]).expect_err("it is not known to be an operator's");
        log.append_own(&[Record { action, ..record(3) }]).expect("the reserve is for this");
    }
    log.append_own(&[record(3)]).expect_err("an operator's changes wait for space like all others");
    log.append_own(&[Record { action: Action::Seal, ..record(3) }, record(3)]).expect_err("an ordinary record does not ride along");
    for (number, origin, role) in
        [(3, Origin::System, None), (4, Origin::Socket, Some(Role::Operator)), (5, Origin::Admin, Some(Role::Operator))]
    {
        log.session(&SessionRecord { origin, role, ..session(number) }).expect("an operator can come and help");
    }
    log.settle(&[entry(4)]).expect("a change has happened, so it is recorded");
    log.flush().expect("the log can be flushed");
    assert_eq!(verify(dir.path(), None).expect("the log is sound").records, taken + 6);
    sickness.set_full(false);
    log.ready().expect("space is back");
    log.append(&[record(5)]).expect("space is back");
}

#[test]
fn the_reserve_ends_too() {
    let dir = tempdir().expect("a temporary directory");
    let (log, sickness) = open_sick(dir.path());
    sickness.set_full(true);
    let mut seq = 1;
    while log.settle(&[entry(seq)]).is_ok() {
        seq += 1;
    }
    assert!(seq > 640, "64 KiB are set aside: {seq}");
    log.ready().expect_err("there is no space");
    verify(dir.path(), None).expect("the log is sound");
    assert!(log.needs_reconcile(), "the last change is in the store only");
    sickness.set_full(false);
    log.reconcile(&[entry(seq)]).expect("space is back");
    log.ready().expect("space is back");
    assert!(!log.needs_reconcile());
}

#[test]
fn a_full_disk_puts_off_the_next_segment() {
    let dir = tempdir().expect("a temporary directory");
    let sickness = Arc::new(Sickness::default());
    let log = open_sick_with(dir.path(), settings(300), &sickness).expect("the log opens");
    log.session(&session(1)).expect("the log takes a session");
    log.append(&[record(1)]).expect("the log takes a record");
    sickness.set_full(true);
    log.flush().expect_err("there is no space for the next segment");
    log.append(&[record(2)]).expect("what was set aside is not used up");
    sickness.set_full(false);
    log.flush().expect("space is back");
    let report = verify(dir.path(), None).expect("the log is sound");
    assert_eq!((report.segments, report.records), (2, 2));
}

/// Every call to the disk fails once, in turn, until the scenario runs through; after each the log is read as a restart would.
#[test]
fn no_fault_at_any_call_loses_an_acknowledged_record_or_breaks_the_log() {
    for errno in [EIO, ENOSPC] {
        let mut number = 0;
        loop {
            let dir = tempdir().expect("a temporary directory");
            let sickness = Arc::new(Sickness { fails: Mutex::new(Some((number, errno))), ..Sickness::default() });
            let acknowledged = scenario(dir.path(), &sickness);
            let (log, _) = open(dir.path(), 1000);
            log.set_key(key(SEED)).expect("it is the same key");
            log.session(&session(1)).expect("the log is healthy after a restart");
            log.append(&[record(99)]).expect("the log is healthy after a restart");
            log.flush().expect("the log is healthy after a restart");
            let report = verify(dir.path(), Some(public(SEED))).unwrap_or_else(|error| panic!("call {number}: {error}"));
            assert_eq!((report.unsigned, report.torn_bytes), (0, 0));
            let written = generations_and_outbox(dir.path()).0;
            assert!(acknowledged.iter().all(|number| written.contains(number)), "call {number}: {acknowledged:?} of {written:?}");
            if sickness.calls.load(Ordering::SeqCst) <= number {
                assert_eq!(acknowledged.len(), 20);
                break;
            }
            number += 1;
        }
        assert!(number > 50, "the scenario makes {number} calls");
    }
}

/// Twenty records over several segments; returns those that were acknowledged.
fn scenario(dir: &Path, sickness: &Arc<Sickness>) -> Vec<u64> {
    let Ok(log) = open_sick_with(dir, settings(1000), sickness) else { return Vec::new() };
    log.set_key(key(SEED)).expect("the log was never signed");
    while log.session(&session(1)).is_err() {
        if log.ready().is_err() && sickness.fails.lock().expect("no thread panicked").is_some_and(|(_, errno)| errno == EIO) {
            return Vec::new();
        }
    }
    let acknowledged = (1..=20).filter(|number| {
        let taken = if number % 3 == 0 {
            log.settle(&[entry(number / 3)]).map(|()| number / 3)
        } else {
            log.append(&[record(*number)]).map(|()| *number)
        };
        let _ = log.flush();
        taken.is_ok()
    });
    acknowledged.map(|number| if number % 3 == 0 { number / 3 } else { number }).collect()
}

#[test]
fn a_stuck_sync_refuses_everybody_within_the_deadline_and_heals_by_itself() {
    let dir = tempdir().expect("a temporary directory");
    let (log, sickness) = open_sick(dir.path());
    let log = Arc::new(log);
    sickness.set_stuck(Stuck { syncs_from: Some(0), writes_from: None });
    log.append(&[record(2)]).expect("the page cache takes a record");
    let flushing = {
        let log = Arc::clone(&log);
        thread::spawn(move || log.flush())
    };
    while sickness.syncs.load(Ordering::SeqCst) < 3 {
        thread::yield_now();
    }
    log.append(&[record(3)]).expect("a sync of others holds nobody up");
    let asked = Instant::now();
    log.flush().expect_err("the first sync has not returned");
    assert!(asked.elapsed() < ANSWER_WITHIN + Duration::from_secs(1));
    while asked.elapsed() <= ANSWER_WITHIN + Duration::from_millis(10) {
        thread::yield_now();
    }
    let asked = Instant::now();
    log.ready().expect_err("the disk is stuck");
    log.append(&[record(4)]).expect_err("the disk is stuck");
    log.settle(&[entry(4)]).expect_err("the disk is stuck");
    log.clear_key();
    assert!(asked.elapsed() < Duration::from_millis(500), "refusals are immediate by now");
    sickness.set_stuck(Stuck::default());
    flushing.join().expect("the thread did not panic").expect("the sync went through in the end");
    log.ready().expect("the disk answers again");
    log.append(&[record(5)]).expect("the disk answers again");
    assert_eq!(generations_and_outbox(dir.path()).0, [1, 2, 3, 5]);
}

/// With one call stuck under a flush, the others are refused at once as soon as it has taken too long; all goes on when it returns.
fn check_refused_at_once(segment_bytes: u64, stuck: Stuck) {
    let dir = tempdir().expect("a temporary directory");
    let sickness = Arc::new(Sickness::default());
    let log = Arc::new(open_sick_with(dir.path(), settings(segment_bytes), &sickness).expect("the log opens"));
    log.set_key(key(SEED)).expect("the log was never signed");
    log.session(&session(1)).expect("the log takes a session");
    log.append(&[record(1)]).expect("the log takes a record");
    sickness.set_stuck(stuck);
    let flushing = {
        let log = Arc::clone(&log);
        thread::spawn(move || log.flush())
    };
    while sickness.waiting.load(Ordering::SeqCst) == 0 {
        thread::yield_now();
    }
    let began = Instant::now();
    while began.elapsed() <= ANSWER_WITHIN + Duration::from_millis(10) {
        thread::yield_now();
    }
    let asked = Instant::now();
    log.ready().expect_err("the disk is stuck");
    log.append(&[record(2)]).expect_err("the disk is stuck");
    log.session(&session(2)).expect_err("the disk is stuck");
    log.settle(&[entry(2)]).expect_err("the disk is stuck");
    assert!(asked.elapsed() < Duration::from_millis(500), "callers waited {:?} for a stuck disk", asked.elapsed());
    sickness.set_stuck(Stuck::default());
    flushing.join().expect("the thread did not panic").expect("the call went through in the end");
    log.append(&[record(3)]).expect("the disk answers again");
    log.flush().expect("the disk answers again");
    assert_eq!(generations_and_outbox(dir.path()).0, [1, 3]);
    verify(dir.path(), Some(public(SEED))).expect("the log is sound");
}

#[test]
fn callers_do_not_wait_for_a_stuck_sync_of_the_next_segment() {
    check_refused_at_once(300, Stuck { syncs_from: Some(1), writes_from: None });
}

#[test]
fn callers_do_not_wait_for_a_stuck_write_of_the_next_segment() {
    check_refused_at_once(300, Stuck { syncs_from: None, writes_from: Some(1) });
}

#[test]
fn callers_do_not_wait_for_a_stuck_write_of_a_signature() {
    check_refused_at_once(1 << 20, Stuck { syncs_from: None, writes_from: Some(0) });
}

#[test]
fn a_removed_file_stops_the_log() {
    let dir = tempdir().expect("a temporary directory");
    let (log, sickness) = open_sick(dir.path());
    fs::remove_file(path(dir.path(), 1)).expect("the segment exists");
    log.append(&[record(2)]).expect("nobody has looked yet");
    let why = log.flush().expect_err("the file is gone").why;
    assert!(why.contains("removed"), "{why}");
    assert_poisoned(&log, &sickness);
}

/// A segment that was moved away was still linked, so the log went on writing where nobody looks, and said so only at the next start.
#[test]
fn a_renamed_or_replaced_file_stops_the_log() {
    for is_replaced in [false, true] {
        let dir = tempdir().expect("a temporary directory");
        let (log, sickness) = open_sick(dir.path());
        let segment = path(dir.path(), 1);
        fs::rename(&segment, dir.path().join("elsewhere")).expect("the segment exists");
        if is_replaced {
            fs::copy(dir.path().join("elsewhere"), &segment).expect("there is space");
        }
        log.append(&[record(2)]).expect("nobody has looked yet");
        let why = log.flush().expect_err("the file is elsewhere").why;
        assert!(why.contains("renamed"), "{why}");
        assert_poisoned(&log, &sickness);
    }
}

/// A real file system of 1 MiB, which only root can mount.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Self {
        let dir = tempdir().expect("a temporary directory");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(dir.path()).status();
        assert!(mount.is_ok_and(|status| status.success()), "cannot mount a tmpfs: run this test as root");
        Self(dir)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, because a failed test may still have files open.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn on_a_disk_that_is_really_full_nothing_is_half_written_and_service_resumes() {
    let disk = SmallDisk::mount();
    let dir = disk.0.path().join("audit");
    let (log, _) = open(&dir, 1 << 20);
    log.set_key(key(SEED)).expect("the log was never signed");
    log.session(&session(1)).expect("the log takes a session");
    log.append(&[record(1)]).expect("the log takes a record");
    let filler = disk.0.path().join("filler");
    for round in 0..3 {
        let full = fs::write(&filler, vec![1; 2 << 20]).expect_err("the disk has 1 MiB");
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        let mut number = 2;
        while log.append(&[record(number)]).is_ok() {
            number += 1;
        }
        assert!(number < 1300, "only what was set aside is left");
        log.ready().expect_err("the disk is full");
        log.append_own(&[Record { action: Action::Seal, ..record(0) }]).expect("the reserve is for this");
        log.flush().expect("a signature may use the reserve");
        let report = verify(&dir, Some(public(SEED))).expect("the log is sound");
        assert_eq!((report.torn_bytes, report.unsigned), (0, 0), "round {round}");
        fs::remove_file(&filler).expect("the filler exists");
        log.ready().expect("space is back");
        log.append(&[record(1)]).expect("space is back");
    }
    verify(&dir, Some(public(SEED))).expect("the log is sound");
}
