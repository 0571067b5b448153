//! The embedded keystore: one crash-safe database file on the node's own disk, and its log.
//!
//! **Why redb.** It is copy-on-write with checksums in one file and pure Rust, answers a read in 1.5 us without a copy of the file in
//! memory, and was killed 300 times with `kill -9` in mid-commit (`tests/kill.rs`) without losing an acknowledged row or showing half a
//! batch; nor did any single failed write, failed sync or refused block (`tests/faults.rs`). Into 100,000 rows of 700 bytes with three terms
//! (two of them unique) and an audit record, on two busy virtual cores, a durable commit of one row takes 0.7 ms (append + fdatasync of as
//! many bytes: 0.3 ms), of 64 rows 6.2 ms (0.7 ms). What costs is the page that each unique term dirties: with shared terms only, 64 rows
//! take 2.6 times an append.
//!
//! **Why a log.** It is that append: a client's Create by way of an edge takes 0.30 ms with it and took 0.50 without. It is refused if anything is missing in it
//! (`tests/log.rs`), and a file that was closed does without.
//!
//! One-phase commits, because two phases take 1.0 and 7.3 ms and saving the allocator's state each time 1.5 and 6.8 to 8.8 ms; the price is
//! that opening after a crash reads the file once (0.3 s per 100,000 rows; 1 ms after a clean stop), and that damage to the last commit's
//! pages in the same crash undoes that commit. Pages are checksummed against crashes, not verified at each read: of 3,000 flipped bits none
//! returned a row under another id, 56 were met by the engine, 1,611 changed bytes that a row's MAC covers, and 13 hid a row, which the
//! bucket digests above this port must find.

mod committer;
mod journal;
mod log;
mod medium;
mod scratch;
mod tables;

use std::fmt::Display;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockWriteGuard};

use async_trait::async_trait;
use keys::id::{OutboxSeq, RowId};
use keys::port::{Batch, Keystore, OutboxEntry, Query, StoreError};
use keys::row::Row;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::sys::statvfs::statvfs;
use redb::backends::FileBackend;
use redb::{Database, DatabaseError, Durability, StorageBackend, WriteTransaction};

use committer::{Committer, committing};
pub(crate) use journal::Found;
use log::Log;
use medium::{Faults, Medium};
use scratch::Scratch;
use tables::{Fault, Writer};

/// Most memory for pages of the file, in bytes, whatever the size of the file; what it does not hold is read from the file again, which the system
/// keeps in memory too. With 8 MiB a durable Create costs the same.
const CACHE_BYTES_MAX: usize = 6 * 1024 * 1024;
/// No commit is begun with less free space than this on the medium, in bytes, so that a full disk is met before anything is written.
const FREE_BYTES_MIN: u64 = 1024 * 1024;
/// Where a commit meets damage.
const CHANGED: &str = "a changed record";
const PANICKED: &str = "the engine panicked";
/// Only the service's own user may read or write the file.
const FILE_MODE: u32 = 0o600;

/// Why the file cannot be used as a keystore.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Two processes would overwrite each other's data.
    #[error("{} is held by another strongroomd; stop that one, or give each its own data_dir", path.display())]
    Held {
        /// The database file.
        path: PathBuf,
    },
    /// Written by a newer release; it was left untouched.
    #[error("{} has schema {found}, this release knows up to {known}; upgrade strongroom", path.display())]
    Newer {
        /// The database file.
        path: PathBuf,
        /// The schema found.
        found: u64,
        /// The newest schema known.
        known: u64,
    },
    /// Written before the first release; it was left untouched.
    #[error(
        "{} has schema {found}, of a build before the first release, and this one reads {known}: set its data_dir aside and make a new cluster, or go on with that build",
        path.display()
    )]
    Older {
        /// The database file.
        path: PathBuf,
        /// The schema found.
        found: u64,
        /// The oldest schema known.
        known: u64,
    },
}

/// A keystore in one file. Dropping it closes the file cleanly, which may write and sync.
///
/// - A commit that returns `Ok` is on the disk. After [`StoreError::Conflict`] or [`StoreError::Full`] nothing of it is.
///   After any other error it is there as a whole or not at all, and a reader finds out which after a restart.
/// - After a failed write or sync, or a damaged page, every commit is [`StoreError::Poisoned`]; reads go on as far as the engine has the
///   pages in memory, after damage all of them.
/// - On a full medium commits return [`StoreError::Full`], reads go on, and commits succeed again when there is space.
pub struct Embedded {
    store: Arc<Store>,
    committer: Committer,
}

struct Store {
    at: PathBuf,
    #[expect(clippy::type_complexity, reason = "the one place that names the shape of this function")]
    backend: Box<dyn Fn(&Path) -> io::Result<Box<dyn StorageBackend>> + Send + Sync>,
    faults: Arc<Faults>,
    /// The database's file as it was opened last.
    file: Mutex<Option<Arc<dyn StorageBackend>>>,
    /// `None` only if the file could not be opened again after the medium was full.
    database: RwLock<Option<Opened>>,
    /// What the open file goes on in; `None` until the first small commit. Whoever locks both has locked the file first.
    log: Mutex<Option<Log>>,
}

/// The file in the engine's hands.
struct Opened {
    database: Closing,
    /// The medium did not even take the engine's mark that the file is in use: what the engine writes stays in memory, and nothing is committed.
    is_scratch: bool,
}

/// The engine writes when it is closed, and panics there, too, if it meets damage (F5). What was committed is on the disk already, and the next
/// start finds what is wrong.
struct Closing(Option<Database>);

impl Closing {
    fn get(&self) -> &Database {
        self.0.as_ref().expect("taken only when dropped")
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        let database = self.0.take();
        let _panicked = catch_unwind(AssertUnwindSafe(|| drop(database)));
    }
}

impl Embedded {
    /// Opens the file, or makes it with mode 0600; its folder must exist.
    ///
    /// After a crash this reads the whole file once: about 0.3 s for 100,000 rows.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] with an [`OpenError`] or an I/O error as its source; [`StoreError::Corrupt`] if the file is no intact database.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::with_backend(path, file_backend)
    }

    /// As [`Embedded::open`], with the file access that `backend` makes: it opens the file it is given, or makes it.
    ///
    /// It is called several times: for a new file, and to open the file anew after the medium was full.
    ///
    /// # Errors
    /// As [`Embedded::open`].
    pub fn with_backend(
        path: &Path,
        backend: impl Fn(&Path) -> io::Result<Box<dyn StorageBackend>> + Send + Sync + 'static,
    ) -> Result<Self, StoreError> {
        let store = Store {
            at: path.to_owned(),
            backend: Box::new(backend),
            faults: Arc::default(),
            file: Mutex::default(),
            database: RwLock::default(),
            log: Mutex::default(),
        };
        store.contained("made at the first start", || store.make())?;
        *store.slot() = Some(store.connect()?);
        let committer =
            Committer::start().map_err(|error| StoreError::Unavailable { what: "starting a thread", source: Box::new(error) })?;
        Ok(Self { store: Arc::new(store), committer })
    }

    /// Would a small change be taken now? For operators to see; a commit finds out by itself, and may still fail.
    ///
    /// # Errors
    /// [`StoreError::Poisoned`], [`StoreError::Full`], or that the medium does not even answer.
    pub fn writable(&self) -> Result<(), StoreError> {
        if self.store.faults.broken() { Err(StoreError::Poisoned) } else { self.store.check_space(0) }
    }

    /// Batches that were begun in the file's journal and are not done, oldest first.
    pub(crate) fn begun(&self) -> Result<Vec<Found>, StoreError> {
        self.store.with("of the journal", journal::open)
    }

    /// Begins a batch in the file's journal under a number that no other there has.
    pub(crate) async fn begin(&self, number: u64, batch: &Batch, before: &[Row]) -> Result<(), StoreError> {
        let (encoded, outbox) = (journal::encode(batch, &rows_of(batch), before), batch.outbox.clone());
        self.change(move |store| {
            store.write(encoded.len() as u64, None, |transaction, writer| journal::put(transaction, writer, number, &encoded, &outbox))
        })
        .await
    }

    /// From now on the batch is to be undone.
    pub(crate) async fn turn_back(&self, number: u64) -> Result<(), StoreError> {
        self.change(move |store| store.write(0, None, |transaction, _| journal::turn_back(transaction, number))).await
    }

    /// Takes a batch out of the journal; its records are in the outbox then if it was `applied`.
    pub(crate) async fn end(&self, number: u64, applied: bool) -> Result<(), StoreError> {
        self.change(move |store| store.write(0, None, |transaction, writer| journal::end(transaction, writer, number, applied))).await
    }

    /// Runs a change on the committer's thread.
    async fn change(&self, change: impl FnOnce(&Store) -> Result<(), StoreError> + Send + 'static) -> Result<(), StoreError> {
        if self.store.faults.broken() {
            return Err(StoreError::Poisoned);
        }
        let store = Arc::clone(&self.store);
        match self.committer.run(move || change(&store)).await {
            Some(outcome) => outcome,
            None => Err(self.store.damaged(CHANGED, PANICKED)),
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        let store = Arc::clone(&self.store);
        let closed = self.committer.run_blocking(move || {
            committing(|| store.close());
            Ok(())
        });
        // A commit that has panicked has the file open for good.
        if closed.is_none() {
            let file = self.store.file.lock().unwrap_or_else(PoisonError::into_inner).take();
            let _unlocked = file.map(|file| file.close());
        }
    }
}

#[async_trait]
impl Keystore for Embedded {
    async fn retrieve(&self, id: RowId) -> Result<Option<Row>, StoreError> {
        self.store.with(id, |database| tables::retrieve(database, id))
    }

    async fn find(&self, query: &Query) -> Result<Vec<Row>, StoreError> {
        self.store.with("among those searched", |database| tables::find(database, query))
    }

    async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        self.change(move |store| store.commit(&batch)).await
    }

    async fn outbox(&self, after: OutboxSeq, limit: usize) -> Result<Vec<OutboxEntry>, StoreError> {
        self.store.with("of the outbox", |database| tables::outbox(database, after, limit))
    }
}

impl Store {
    fn slot(&self) -> RwLockWriteGuard<'_, Option<Opened>> {
        // The slot is only ever replaced as a whole, so a panic cannot leave it half changed.
        self.database.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` on the open database, which is opened first if it had to be closed; `at` names what is read, should it be damaged.
    fn with<R>(&self, at: impl Display, work: impl FnOnce(&Database) -> Result<R, Fault>) -> Result<R, StoreError> {
        if let Some(opened) = self.database.read().unwrap_or_else(PoisonError::into_inner).as_ref() {
            return self.contained(at, || work(opened.database.get()));
        }
        let mut slot = self.slot();
        if slot.is_none() {
            *slot = Some(self.connect()?);
        }
        let opened = slot.as_ref().expect("filled just above");
        self.contained(at, || work(opened.database.get()))
    }

    /// Turns damage into an error, whether the engine reports it or panics on it: it trusts most of what it reads (F5).
    ///
    /// Nothing is written any more after that, because a change would be built on the damage and get a valid checksum.
    fn contained<R>(&self, at: impl Display, work: impl FnOnce() -> Result<R, Fault>) -> Result<R, StoreError> {
        let outcome = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(Fault::Damaged(PANICKED.to_owned())));
        outcome.map_err(|fault| match fault {
            Fault::Store(error) => error,
            Fault::Damaged(what) => self.damaged(at, &what),
        })
    }

    fn damaged(&self, at: impl Display, what: &str) -> StoreError {
        self.faults.stop_writing();
        let what = format!("{} is damaged, restore it from a backup ({what})", self.at.display());
        StoreError::Corrupt { what, at: at.to_string() }
    }

    /// On the committer's thread.
    fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        let rows = rows_of(batch);
        let bytes = rows.iter().flatten().map(|bytes| bytes.len() as u64).sum();
        let logged = Log::is_for(bytes).then(|| journal::encode(batch, &rows, &[]));
        self.write(bytes, logged.as_deref(), |_, writer| writer.batch(batch, &rows))
    }

    /// On the committer's thread: `work` is one transaction that puts about so many bytes in, and may be kept by having `logged` in the log.
    fn write(
        &self,
        bytes: u64,
        logged: Option<&[u8]>,
        work: impl FnOnce(&WriteTransaction, &mut Writer<'_>) -> Result<(), Fault>,
    ) -> Result<(), StoreError> {
        if self.faults.broken() {
            return Err(StoreError::Poisoned);
        }
        self.check_space(bytes)?;
        self.leave_scratch()?;
        let mut before = None;
        let outcome = self.with(CHANGED, |database| {
            before = Some(tables::commits(database)?);
            committing(|| self.transact(database, logged, work))
        });
        match outcome {
            Ok(()) => self.faults.forget_full(),
            Err(StoreError::Conflict { .. } | StoreError::Corrupt { .. }) => {}
            Err(_) if self.faults.full() && !self.faults.broken() => return self.settle_full(before),
            Err(_) => self.faults.stop_writing(),
        }
        outcome
    }

    /// One transaction that lasts, by the log if that has a place for it, else by itself and with it all that only the log had.
    fn transact(
        &self,
        database: &Database,
        logged: Option<&[u8]>,
        work: impl FnOnce(&WriteTransaction, &mut Writer<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut log = self.log();
        let mut transaction = tables::begin(database)?;
        let mut writer = Writer::new(&transaction)?;
        work(&transaction, &mut writer)?;
        let number = writer.count()?;
        match (log.as_mut(), logged) {
            (Some(log), Some(batch)) if log.has_place(batch) => {
                drop(writer);
                log.append(number, batch)?;
                transaction.set_durability(Durability::None).map_err(tables::engine)?;
                transaction.commit().map_err(tables::engine)
            }
            (None, Some(_)) => {
                let begun = self.begin_log()?;
                writer.go_on_in(begun.salt())?;
                drop(writer);
                transaction.commit().map_err(tables::engine)?;
                *log = Some(begun);
                Ok(())
            }
            (log, _) => {
                drop(writer);
                transaction.commit().map_err(tables::engine)?;
                log.into_iter().for_each(Log::restart);
                Ok(())
            }
        }
    }

    /// Refuses a commit that may not fit, with all that only the log has. Four times their size is a guess at what the copied pages and the index take.
    fn check_space(&self, bytes: u64) -> Result<(), StoreError> {
        let bytes = bytes + self.log().as_ref().map_or(0, Log::bytes);
        let unavailable = |error| StoreError::Unavailable { what: "asking for free space", source: Box::new(io::Error::from(error)) };
        let medium = statvfs(&self.at).map_err(unavailable)?;
        let free = medium.blocks_available() * medium.fragment_size();
        if free < FREE_BYTES_MIN + 4 * bytes { Err(self.full()) } else { Ok(()) }
    }

    /// Opens the file anew after a write found no space, which drops what was not committed; no sync has failed, so none is repeated.
    ///
    /// The engine can run out of space after a commit was made durable, too: then the commit has happened and is acknowledged.
    fn settle_full(&self, before: Option<u64>) -> Result<(), StoreError> {
        let mut slot = self.slot();
        let opened = self.reopen(&mut slot)?;
        let after = self.contained("commit counter", || tables::commits(opened.database.get()))?;
        if before.is_some_and(|before| after > before) { Ok(()) } else { Err(self.full()) }
    }

    /// Before a commit: has the medium space again for what the engine writes when it opens the file?
    fn leave_scratch(&self) -> Result<(), StoreError> {
        let is_scratch = self.database.read().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(|opened| opened.is_scratch);
        if is_scratch && self.reopen(&mut self.slot())?.is_scratch { Err(self.full()) } else { Ok(()) }
    }

    /// Closes the file and opens it again; if the medium takes no write at all, so that it can at least be read (F3).
    fn reopen<'s>(&self, slot: &'s mut Option<Opened>) -> Result<&'s Opened, StoreError> {
        *slot = None;
        self.faults.forget_full();
        let opened = match self.connect() {
            Err(_) if self.faults.full() && !self.faults.broken() => self
                .serving("read while the medium is full", || Ok(Opened { database: Closing(Some(self.open(true)?)), is_scratch: true }))?,
            other => other?,
        };
        Ok(slot.insert(opened))
    }

    fn connect(&self) -> Result<Opened, StoreError> {
        self.serving("read at the start", || {
            self.refuse_others()?;
            Ok(Opened { database: Closing(Some(self.open(false)?)), is_scratch: false })
        })
    }

    /// While the file is being opened, a page that cannot be read concerns all of it.
    fn serving(&self, at: &str, open: impl FnOnce() -> Result<Opened, Fault>) -> Result<Opened, StoreError> {
        self.faults.set_serving(false);
        let opened = self.contained(at, open)?;
        self.faults.set_serving(true);
        Ok(opened)
    }

    /// Makes the file if there is none, under another name first, because a crash half way leaves one that the engine refuses for ever.
    fn make(&self) -> Result<(), Fault> {
        if self.at.try_exists().map_err(opening)? {
            return Ok(());
        }
        let new = self.at.with_added_extension("new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(opening(error)),
            _ => {}
        }
        let database = Database::builder().create_with_backend(self.medium(&new)?).map_err(tables::engine)?;
        tables::create(&database)?;
        database.close().map_err(tables::engine)?;
        // Not over one that another process has made meanwhile.
        renameat2(AT_FDCWD, &new, AT_FDCWD, &self.at, RenameFlags::RENAME_NOREPLACE).map_err(opening)?;
        self.sync_folder()
    }

    /// Has a new file's name last.
    fn sync_folder(&self) -> Result<(), Fault> {
        let folder = self.at.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(opening)
    }

    /// Looks at the schema without writing to the file. A file that needs repair cannot be looked at and is left to [`Store::open`].
    fn refuse_others(&self) -> Result<(), Fault> {
        match Database::builder().open_read_only_with_backend(self.medium(&self.at)?) {
            Ok(database) => self.check_schema(tables::schema(&database)?),
            Err(_) => Ok(()),
        }
    }

    fn open(&self, is_scratch: bool) -> Result<Database, Fault> {
        let medium = self.medium(&self.at)?;
        if medium.len().map_err(opening)? == 0 {
            // The engine would take it for a new one, and lost data for none.
            return Err(Fault::Damaged("it is empty".to_owned()));
        }
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES_MAX);
        let opened = match is_scratch {
            true => builder.create_with_backend(Scratch::new(medium)),
            false => builder.create_with_backend(medium),
        };
        let database = opened.map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => opening(OpenError::Held { path: self.at.clone() }),
            other => tables::engine(other),
        })?;
        self.check_schema(tables::schema(&database)?)?;
        *self.log() = tables::logged(&database)?.map(|salt| self.catch_up(&database, salt)).transpose()?;
        Ok(database)
    }

    /// Applies what only the log has. It stays there, so that this needs no space on the medium.
    fn catch_up(&self, database: &Database, salt: u64) -> Result<Log, Fault> {
        let at = self.log_at();
        if !at.try_exists().map_err(opening)? {
            return Err(Fault::Damaged(format!("its log {} is missing", at.display())));
        }
        let (log, lacking) = Log::resume(self.medium(&at)?, salt, tables::commits(database)?)?;
        for encoded in lacking {
            let batch = journal::decode(0, &encoded)?.batch;
            let mut transaction = tables::begin(database)?;
            transaction.set_durability(Durability::None).map_err(tables::engine)?;
            let mut writer = Writer::new(&transaction)?;
            writer.batch(&batch, &rows_of(&batch)).map_err(|fault| match fault {
                Fault::Store(StoreError::Conflict { id }) => Fault::Damaged(format!("its log does not follow on it: {id}")),
                other => other,
            })?;
            writer.count()?;
            drop(writer);
            transaction.commit().map_err(tables::engine)?;
        }
        Ok(log)
    }

    fn begin_log(&self) -> Result<Log, Fault> {
        let at = self.log_at();
        let is_there = at.try_exists().map_err(opening)?;
        let log = Log::begin(self.medium(&at)?)?;
        if !is_there {
            self.sync_folder()?;
        }
        Ok(log)
    }

    /// Closes the file. If nothing is wrong with it, it has all commits then.
    fn close(&self) {
        let opened = self.slot().take();
        let complete = opened.as_ref().filter(|opened| !opened.is_scratch && self.log().is_some());
        // What could not be written is in the log.
        let _tried = complete.map(|opened| tables::complete(opened.database.get()));
    }

    fn log(&self) -> MutexGuard<'_, Option<Log>> {
        // It is replaced as a whole, and appending moves its end last.
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log_at(&self) -> PathBuf {
        self.at.with_added_extension("log")
    }

    fn check_schema(&self, found: Option<u64>) -> Result<(), Fault> {
        match found {
            Some(tables::SCHEMA | tables::SCHEMA_LOGGED) => Ok(()),
            Some(found) if found > tables::SCHEMA_LOGGED => {
                Err(opening(OpenError::Newer { path: self.at.clone(), found, known: tables::SCHEMA_LOGGED }))
            }
            Some(found) => Err(opening(OpenError::Older { path: self.at.clone(), found, known: tables::SCHEMA })),
            None => Err(Fault::Damaged("it has no schema number".to_owned())),
        }
    }

    fn medium(&self, file: &Path) -> Result<Medium, Fault> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", file.display()));
        let inner: Arc<dyn StorageBackend> = (self.backend)(file).map_err(|error| opening(named(error)))?.into();
        if file == self.at {
            *self.file.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&inner));
        }
        Ok(Medium::new(inner, Arc::clone(&self.faults)))
    }

    fn full(&self) -> StoreError {
        StoreError::Full { at: self.at.display().to_string() }
    }
}

/// The bytes of each change's row.
fn rows_of(batch: &Batch) -> Vec<Option<Vec<u8>>> {
    batch.changes.iter().map(|change| change.row().map(Row::encode)).collect()
}

fn opening(error: impl std::error::Error + Send + Sync + 'static) -> Fault {
    StoreError::Unavailable { what: "opening the database file", source: Box::new(error) }.into()
}

fn file_backend(path: &Path) -> io::Result<Box<dyn StorageBackend>> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(FILE_MODE).open(path)?;
    Ok(Box::new(FileBackend::new(file).map_err(io::Error::other)?))
}
