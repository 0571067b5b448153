//! The writer of the log: takes records on the caller's thread, signs and syncs them in groups.
//!
//! Appending hashes a record, and copies it to the page cache, under one short lock; whoever fills a group signs it. All else
//! (signature after a time, fdatasync, next segment) is done by [`Log::flush`], which the daemon calls every [`FLUSH_INTERVAL`]. Nothing wakes
//! it earlier: a settled change is durable in the store already, and syncs on a disk that both share would only slow the store.
//!
//! **What a sick disk does.** No space: records are refused, except those of sealing, stopping and looking at the appliance, done by itself or by an
//! operator, which may use the space set aside for them: who else has a certificate may not use it up. Service resumes by itself. A failed write or sync: the log is poisoned until a restart has read it again. A
//! call stuck in the kernel: every other caller is refused within [`ANSWER_WITHIN`], until the call returns. The one caller whose own write
//! is stuck cannot be freed by anybody; with an intact page cache only syncs get stuck, and those run on the daemon's flushing thread (with
//! `SyncMode::Always`, also on a caller's).

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cipher::sign;
use keys::id::{OutboxSeq, Time};
use keys::policy::{Action, Role};
use keys::port::{AuditSink, AuditUnavailable, OutboxEntry};
use keys::record::{Origin, Record, SessionRecord};
use parking_lot::{Mutex, MutexGuard};
use secret::Key;

use crate::error::{AuditError, Hex};
use crate::file::{DiskFile, SegmentFile};
use crate::open::{self, DirLock};
use crate::record::LogId;
use crate::segment;
use crate::stall::Stall;
use crate::writer::{Entry, Signer, Unsynced, WriteError, Writer};

/// How often the daemon calls [`Log::flush`]; leaves time for the sync itself within the second that C20 allows.
pub const FLUSH_INTERVAL: Duration = Duration::from_millis(800);

/// No signature covers more records than this, but the first one after work without a key.
pub const GROUP_RECORDS_MAX: u64 = 1000;

/// A group of so many records is signed by the caller that filled it; leaves room for one more call below the maximum.
const GROUP_RECORDS_FULL: u64 = GROUP_RECORDS_MAX - CALL_RECORDS_MAX as u64;

/// Most entries that one write carries.
const CALL_RECORDS_MAX: usize = 100;

/// More than one write of such entries takes, in bytes.
pub(crate) const CALL_BYTES_MAX: u64 = 16 << 10;

/// What a signed statement begins with, so that it is never taken for a group of records.
const STATEMENT: &[u8] = b"strongroom-statement-v1\0";

/// Who only looks waits no longer than this.
const LOOK_WITHIN: Duration = Duration::from_millis(100);
/// A caller is answered within this time, if need be with a refusal (F15).
pub const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// How the log is kept; the section `audit` of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// A segment that has grown beyond this many bytes is closed at the next flush. A start reads the newest one whole before it answers anybody,
    /// which takes about 10 ms per MiB.
    pub segment_bytes: u64,
    /// Disk space set aside for records of sealing, stopping and administration, in bytes.
    pub reserve_bytes: u64,
    /// When records are synced to disk.
    pub sync: SyncMode,
}

impl Default for Settings {
    fn default() -> Self {
        Self { segment_bytes: 4 << 20, reserve_bytes: 64 << 20, sync: SyncMode::Lifecycle }
    }
}

/// When records are synced to disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncMode {
    /// Changes are durable in the store's outbox before they get here; all else within a second.
    Lifecycle,
    /// Before each call returns.
    Always,
}

/// What was found when a log was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenReport {
    /// Number of the segment that is written now.
    pub segment: u64,
    /// Number that the next record gets; 1 in a new log.
    pub next_seq: u64,
    /// Bytes of a torn last line that were removed; 0 after a clean stop.
    pub repaired_bytes: u64,
    /// Records at the end that no signature covers yet.
    pub unsigned: u64,
    /// Every outbox record up to this one is in the log: hand those after it to [`Log::reconcile`]. Less than what the store has settled
    /// means that the log was put back to an older state.
    pub outbox: OutboxSeq,
    /// The highest outbox record in the log, which is after `outbox` if one in between is missing or was never used.
    pub outbox_last: OutboxSeq,
    /// The highest session number so far.
    pub last_session: u64,
    /// The highest time in the newest segment that has a record or session: a clock that goes on must not be behind it.
    /// [`Time::default`] in a new log.
    pub last_time: Time,
}

/// How long a log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// Lines that are numbered: records and sessions since the log began.
    pub records: u64,
    /// How many of them, at the end, no signature covers yet.
    pub unsigned: u64,
}

/// The signature of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statement {
    /// Public half of the audit signing key.
    pub public: [u8; 32],
    /// Ed25519 (RFC 8032).
    pub signature: [u8; 64],
}

/// The node's log. One process at a time has it open.
pub struct Log {
    dir: PathBuf,
    log_id: LogId,
    settings: Settings,
    wrap: Box<dyn Fn(File) -> io::Result<Arc<dyn SegmentFile>> + Send + Sync>,
    keyring: Mutex<Keyring>,
    writer: Mutex<Writer>,
    /// Held by whoever syncs.
    syncing: Mutex<()>,
    write_stall: Stall,
    sync_stall: Stall,
    poisoned: OnceLock<String>,
    /// The disk was full when last asked.
    is_full: AtomicBool,
    /// A settled record could not be taken.
    is_behind: AtomicBool,
    synced_seq: AtomicU64,
    settled: AtomicU64,
    _lock: DirLock,
}

/// The signing key, apart from the writer so that sealing never waits for a disk.
struct Keyring {
    /// The only key that may sign this log.
    public: Option<[u8; 32]>,
    signer: Option<Arc<Signer>>,
}

impl Log {
    /// Opens the log in `dir`, or begins one. Records are signed once [`Log::set_key`] has been called.
    ///
    /// Reads the newest segment; after long work without a key, all segments that no signature covers.
    ///
    /// # Errors
    /// Every [`AuditError`] but `OtherKey`.
    pub fn open(dir: &Path, settings: Settings, log_id: LogId) -> Result<(Self, OpenReport), AuditError> {
        Self::open_on(dir, settings, log_id, |file| Ok(Arc::new(DiskFile::new(file)?)))
    }

    /// As [`Log::open`], writing through what `wrap` makes of each segment's file.
    ///
    /// # Errors
    /// As [`Log::open`].
    pub fn open_on(
        dir: &Path,
        settings: Settings,
        log_id: LogId,
        wrap: impl Fn(File) -> io::Result<Arc<dyn SegmentFile>> + Send + Sync + 'static,
    ) -> Result<(Self, OpenReport), AuditError> {
        let opened = open::open(dir, log_id, &wrap)?;
        let chain = &opened.writer.chain;
        let outbox = chain.outbox.mark();
        let report = OpenReport {
            segment: opened.writer.segment,
            next_seq: chain.next_seq,
            repaired_bytes: opened.repaired_bytes,
            unsigned: chain.tree.leaves(),
            outbox: OutboxSeq(outbox),
            outbox_last: OutboxSeq(chain.outbox.last()),
            last_session: chain.last_session,
            last_time: opened.last_time,
        };
        let log = Self {
            dir: dir.to_owned(),
            log_id,
            settings,
            wrap: Box::new(wrap),
            keyring: Mutex::new(Keyring { public: chain.signer, signer: None }),
            synced_seq: AtomicU64::new(chain.next_seq - 1),
            writer: Mutex::new(opened.writer),
            syncing: Mutex::new(()),
            write_stall: Stall::new(),
            sync_stall: Stall::new(),
            poisoned: OnceLock::new(),
            // Makes the first `ready` set the reserve aside.
            is_full: AtomicBool::new(true),
            is_behind: AtomicBool::new(false),
            settled: AtomicU64::new(outbox),
            _lock: opened.lock,
        };
        Ok((log, report))
    }

    /// From now on groups are signed with this key; the first signature also covers everything that is unsigned so far.
    ///
    /// # Errors
    /// [`AuditError::OtherKey`] if the log was signed with another key before.
    pub fn set_key(&self, seed: Key<32>) -> Result<(), AuditError> {
        let public = seed.expose(sign::public_from_seed);
        let mut keyring = self.keyring.lock();
        match keyring.public {
            Some(found) if found != public => {
                return Err(AuditError::OtherKey { found: Hex(found.to_vec()), wants: Hex(public.to_vec()) });
            }
            _ => {}
        }
        *keyring = Keyring { public: Some(public), signer: Some(Arc::new(Signer { seed, public })) };
        Ok(())
    }

    /// Forgets the key: call [`Log::flush`] before, so that only what follows stays unsigned. Never waits for a disk.
    pub fn clear_key(&self) {
        self.keyring.lock().signer = None;
    }

    /// Signs a statement of the node's, which is no part of the log; `None` without a key.
    ///
    /// The signed bytes are `strongroom-statement-v1`, a zero, the log's id, and the statement.
    #[must_use]
    pub fn sign_statement(&self, statement: &[u8]) -> Option<Statement> {
        let signer = self.keyring.lock().signer.clone()?;
        let message = statement_message(self.log_id, statement);
        Some(Statement { public: signer.public, signature: signer.seed.expose(|seed| sign::sign(seed, &message)) })
    }

    /// Ends the group, to be called every [`FLUSH_INTERVAL`], on a thread that may block: signs it, syncs it, moves [`AuditSink::settled`] and, where due, begins the next segment.
    ///
    /// Blocks for as long as the disk takes. Does nothing if nothing was written.
    ///
    /// # Errors
    /// The log is poisoned, or could not write its signature or next segment for now; [`AuditSink::ready`] tells which.
    pub fn flush(&self) -> Result<(), AuditUnavailable> {
        let _turn = self.syncing.try_lock_for(ANSWER_WITHIN).ok_or_else(stuck)?;
        let (unsynced, signed) = {
            let mut writer = self.lock()?;
            let _watch = self.write_stall.watch();
            let signed = self.sign(&mut writer);
            if !writer.is_dirty() {
                return signed;
            }
            (writer.unsynced(), signed)
        };
        self.sync(&unsynced)?;
        if unsynced.bytes >= self.settings.segment_bytes {
            self.next_segment()?;
        }
        signed
    }

    /// How long the log is; `None` if whoever writes it does not let go in time.
    #[must_use]
    pub fn figures(&self) -> Option<Figures> {
        let writer = self.writer.try_lock_for(LOOK_WITHIN)?;
        Some(Figures { records: writer.last_seq(), unsigned: writer.chain.tree.leaves() })
    }

    /// Does the store's outbox hold records that the log should have? Ask after each flush; if so, call [`Log::reconcile`] with what the store
    /// holds after [`AuditSink::settled`].
    #[must_use]
    pub fn needs_reconcile(&self) -> bool {
        self.is_behind.load(Ordering::Acquire) || self.lock().is_ok_and(|writer| !writer.chain.outbox.is_contiguous())
    }

    /// Appends what the log does not have yet of the store's outbox: at start what comes after [`OpenReport::outbox`], later after
    /// [`AuditSink::settled`], oldest first and page by page. Numbers that do not occur in a page were never used.
    ///
    /// # Errors
    /// As [`AuditSink::settle`].
    pub fn reconcile(&self, entries: &[OutboxEntry]) -> Result<(), AuditUnavailable> {
        self.is_behind.store(false, Ordering::Release);
        self.settle_all(entries)?;
        let Some(last) = entries.last() else { return Ok(()) };
        self.lock()?.chain.outbox.complete_to(last.seq.0);
        Ok(())
    }

    fn settle_all(&self, entries: &[OutboxEntry]) -> Result<(), AuditUnavailable> {
        // They have happened: to refuse them would help nobody, so they may use the reserve.
        let mut pages = entries.chunks(CALL_RECORDS_MAX);
        let done = pages.try_for_each(|entries| self.write(true, |writer, spare_bytes| settle(writer, entries, spare_bytes)));
        if done.is_err() {
            self.is_behind.store(true, Ordering::Release);
        }
        done
    }

    fn append_all(&self, privilege: bool, records: &[Record]) -> Result<(), AuditUnavailable> {
        records.chunks(CALL_RECORDS_MAX).try_for_each(|records| {
            let entries = records.iter().map(|record| Entry::Record(*record, None));
            self.write(privilege, |writer, spare_bytes| writer.append(entries, spare_bytes))
        })
    }

    /// Writes under the lock; a caller with `privilege` may use the reserve.
    fn write(&self, privilege: bool, work: impl FnOnce(&mut Writer, u64) -> Result<(), WriteError>) -> Result<(), AuditUnavailable> {
        let last_seq = {
            let mut writer = self.lock()?;
            let spare_bytes = if privilege { 0 } else { self.settings.reserve_bytes };
            let _watch = self.write_stall.watch();
            let done = work(&mut writer, spare_bytes);
            self.note_space(privilege, &done);
            done.map_err(|error| self.refuse(error))?;
            if writer.group_records() > GROUP_RECORDS_FULL && self.sign(&mut writer).is_err() {
                // Without space the signature waits for the next flush; after a failed write nothing may be believed.
                self.check()?;
            }
            writer.last_seq()
        };
        match self.settings.sync {
            SyncMode::Lifecycle => Ok(()),
            SyncMode::Always => self.sync_to(last_seq),
        }
    }

    fn note_space(&self, privilege: bool, done: &Result<(), WriteError>) {
        match done {
            Err(WriteError::Full(_)) => self.is_full.store(true, Ordering::Release),
            Ok(()) if !privilege => self.is_full.store(false, Ordering::Release),
            _ => {}
        }
    }

    /// The writer, unless it may not be used or is not free in time.
    fn lock(&self) -> Result<MutexGuard<'_, Writer>, AuditUnavailable> {
        self.check()?;
        let writer = self.writer.try_lock_for(ANSWER_WITHIN).ok_or_else(stuck)?;
        // Whoever had it before may have poisoned the log.
        self.check()?;
        Ok(writer)
    }

    fn check(&self) -> Result<(), AuditUnavailable> {
        if let Some(why) = self.poisoned.get() {
            return Err(AuditUnavailable { why: why.clone() });
        }
        if self.write_stall.exceeds(ANSWER_WITHIN) || self.sync_stall.exceeds(ANSWER_WITHIN) {
            return Err(stuck());
        }
        Ok(())
    }

    fn sign(&self, writer: &mut Writer) -> Result<(), AuditUnavailable> {
        let signer = self.keyring.lock().signer.clone();
        writer.sign(signer.as_deref()).map_err(|error| self.refuse(error))
    }

    /// Syncs unless somebody else has synced this record meanwhile.
    fn sync_to(&self, seq: u64) -> Result<(), AuditUnavailable> {
        let _turn = self.syncing.try_lock_for(ANSWER_WITHIN).ok_or_else(stuck)?;
        if self.synced_seq.load(Ordering::Acquire) >= seq {
            return Ok(());
        }
        let unsynced = self.lock()?.unsynced();
        self.sync(&unsynced)
    }

    /// Called with `syncing` held, so that segments become durable in their order.
    fn sync(&self, unsynced: &Unsynced) -> Result<(), AuditUnavailable> {
        let _watch = self.sync_stall.watch();
        let path = segment::path(&self.dir, unsynced.segment);
        match unsynced.file.is_at(&path) {
            Ok(true) => {}
            Ok(false) => return Err(self.poison(format!("{} was removed, renamed or replaced", path.display()))),
            Err(error) => return Err(self.poison(format!("cannot look at its file: {error}"))),
        }
        unsynced.file.sync().map_err(|error| self.poison(format!("cannot sync: {error}")))?;
        self.synced_seq.fetch_max(unsynced.last_seq, Ordering::AcqRel);
        self.settled.fetch_max(unsynced.outbox, Ordering::AcqRel);
        Ok(())
    }

    /// Closes the segment and begins the next; callers wait meanwhile. Called with `syncing` held.
    fn next_segment(&self) -> Result<(), AuditUnavailable> {
        let mut writer = self.lock()?;
        let _watch = self.write_stall.watch();
        // A header can only say up to where the outbox is complete.
        if !writer.chain.outbox.is_contiguous() {
            return Ok(());
        }
        self.sign(&mut writer)?;
        let number = writer.segment + 1;
        let next = self.prepare(number, &writer).inspect_err(|_| {
            let _ = fs::remove_file(segment::new_path(&self.dir, number));
        })?;
        writer.end().map_err(|error| self.refuse(error))?;
        self.sync(&writer.unsynced())?;
        open::publish(&self.dir, number).map_err(|error| self.poison(format!("segment {number} cannot be named: {error}")))?;
        // Space that stays set aside behind a closed segment is lost until the next start, not wrong.
        let _ = writer.file.cut(writer.bytes);
        *writer = next;
        Ok(())
    }

    /// Nothing has been closed yet: if this fails, the old segment grows until the next flush tries again.
    fn prepare(&self, number: u64, writer: &Writer) -> Result<Writer, AuditUnavailable> {
        let put_off = |error: io::Error| AuditUnavailable { why: format!("segment {number} cannot be made now: {error}") };
        let mut next = open::prepare(&self.dir, number, writer.chain.clone(), &*self.wrap).map_err(put_off)?;
        match next.make_room(self.settings.reserve_bytes) {
            Ok(()) => Ok(next),
            Err(WriteError::Full(error) | WriteError::Failed(_, error)) => Err(put_off(error)),
        }
    }

    fn refuse(&self, error: WriteError) -> AuditUnavailable {
        match error {
            WriteError::Full(error) => AuditUnavailable { why: format!("no space under {}: {error}", self.dir.display()) },
            WriteError::Failed(what, error) => self.poison(format!("cannot {what}: {error}")),
        }
    }

    /// Nothing is written any more until a restart has read the log again (F4).
    fn poison(&self, why: String) -> AuditUnavailable {
        let why = format!("{} stopped: {why}; repair the disk and restart strongroomd", self.dir.display());
        AuditUnavailable { why: self.poisoned.get_or_init(|| why).clone() }
    }
}

impl AuditSink for Log {
    fn ready(&self) -> Result<(), AuditUnavailable> {
        self.check()?;
        if !self.is_full.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut writer = self.lock()?;
        let _watch = self.write_stall.watch();
        let done = writer.make_room(self.settings.reserve_bytes.saturating_add(CALL_BYTES_MAX));
        self.note_space(false, &done);
        done.map_err(|error| self.refuse(error))
    }

    fn session(&self, session: &SessionRecord) -> Result<(), AuditUnavailable> {
        let privilege = match session.origin {
            Origin::System => true,
            Origin::Socket | Origin::Admin => session.role == Some(Role::Operator),
            Origin::Kmip | Origin::Https => false,
        };
        self.write(privilege, |writer, spare_bytes| writer.append(std::iter::once(Entry::Session(session)), spare_bytes))
    }

    fn append(&self, records: &[Record]) -> Result<(), AuditUnavailable> {
        self.append_all(false, records)
    }

    fn append_own(&self, records: &[Record]) -> Result<(), AuditUnavailable> {
        self.append_all(records.iter().all(|record| may_use_reserve(record.action)), records)
    }

    fn settle(&self, entries: &[OutboxEntry]) -> Result<(), AuditUnavailable> {
        if self.lock().is_ok_and(|writer| writer.chain.outbox.is_crowded()) {
            return Err(AuditUnavailable { why: "records of the outbox are missing; they must be reconciled first".to_owned() });
        }
        self.settle_all(entries)
    }

    fn settled(&self) -> OutboxSeq {
        OutboxSeq(self.settled.load(Ordering::Acquire))
    }
}

/// Writes what the log does not have yet.
fn settle(writer: &mut Writer, entries: &[OutboxEntry], spare_bytes: u64) -> Result<(), WriteError> {
    let mut outbox = writer.chain.outbox.clone();
    let new = entries.iter().filter(|entry| outbox.insert(entry.seq.0));
    writer.append(new.map(|entry| Entry::Record(entry.record, Some(entry.seq))), spare_bytes)?;
    writer.chain.outbox = outbox;
    Ok(())
}

/// Sealing, stopping and looking at the appliance must work on a full disk, so that it can be helped; for its operator (F15).
fn may_use_reserve(action: Action) -> bool {
    matches!(action, Action::Start | Action::Stop | Action::Seal | Action::Unseal | Action::Inspect)
}

fn stuck() -> AuditUnavailable {
    AuditUnavailable { why: format!("the disk has not answered for {} s", ANSWER_WITHIN.as_secs()) }
}

/// Was the statement signed with this key, by the node of that log? Needs nothing but these, so anybody can check.
#[must_use]
pub fn verify_statement(public: &[u8; 32], log: LogId, statement: &[u8], signature: &[u8]) -> bool {
    sign::verify(public, &statement_message(log, statement), signature).is_ok()
}

fn statement_message(log: LogId, statement: &[u8]) -> Vec<u8> {
    [STATEMENT, &log.0, statement].concat()
}
