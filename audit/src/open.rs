//! Opening a log: finds where it ends, removes a torn last line, refuses to go on behind anything else that is wrong.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use keys::id::Time;

use crate::chain::{Chain, check_signature, push_line};
use crate::error::{AuditError, Finding, Flaw, Hex};
use crate::file::SegmentFile;
use crate::record::{Line, LogId};
use crate::segment::{self, Place, Tail};
use crate::writer::Writer;

/// A log that may be appended to.
pub(crate) struct Opened {
    pub(crate) writer: Writer,
    pub(crate) repaired_bytes: u64,
    /// The highest time in the newest segment that has any.
    pub(crate) last_time: Time,
    pub(crate) lock: DirLock,
}

/// Keeps other processes out of a log's directory.
pub(crate) struct DirLock(File);

impl Drop for DirLock {
    fn drop(&mut self) {
        // Closing alone would not do: a child of ours shares the lock between its fork and its exec.
        let _ = self.0.unlock();
    }
}

/// Makes the directory and the first segment if there are none; else reads the newest segments back to the last signed start.
///
/// # Errors
/// Every [`AuditError`] but `OtherKey`.
pub(crate) fn open(dir: &Path, log_id: LogId, wrap: &dyn Fn(File) -> io::Result<Arc<dyn SegmentFile>>) -> Result<Opened, AuditError> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(AuditError::io("make", dir))?;
    let lock = lock(dir)?;
    let numbers = segment::list(dir)?;
    let Some(newest) = numbers.last().copied() else {
        return Ok(Opened { writer: make(dir, 1, Chain::new(log_id), wrap)?, repaired_bytes: 0, last_time: Time::default(), lock });
    };
    let Found { chain, tail, last_time } = read(dir, log_id, &numbers)?;
    let (writer, repaired_bytes) = match tail {
        Tail::Open { bytes, torn_bytes } => (go_on(dir, newest, chain, bytes, wrap)?, torn_bytes),
        // Killed between closing a segment and naming the next, which was ready by then.
        Tail::Continued if segment::new_path(dir, newest + 1).exists() => (make(dir, newest + 1, chain, wrap)?, 0),
        Tail::Continued => {
            let place = Place { file: &segment::path(dir, newest), offset: 0, seq: chain.next_seq };
            return Err(place.broken(Flaw::SegmentMissing(newest + 1)));
        }
    };
    Ok(Opened { writer, repaired_bytes, last_time, lock })
}

/// Makes the file of a segment under its temporary name, with its header, on disk.
pub(crate) fn prepare(
    dir: &Path,
    number: u64,
    mut chain: Chain,
    wrap: &dyn Fn(File) -> io::Result<Arc<dyn SegmentFile>>,
) -> io::Result<Writer> {
    let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(segment::new_path(dir, number))?;
    file.set_len(0)?;
    let file = wrap(file)?;
    let mut bytes = Vec::new();
    chain.head = push_line(&mut bytes, &Line::Header(chain.header(number)), &chain.head);
    file.append(&bytes)?;
    file.sync()?;
    Ok(Writer::new(chain, number, file, bytes.len() as u64))
}

/// Gives a prepared segment its name, durably.
pub(crate) fn publish(dir: &Path, number: u64) -> io::Result<()> {
    fs::rename(segment::new_path(dir, number), segment::path(dir, number))?;
    File::open(dir)?.sync_all()
}

fn make(dir: &Path, number: u64, chain: Chain, wrap: &dyn Fn(File) -> io::Result<Arc<dyn SegmentFile>>) -> Result<Writer, AuditError> {
    let file = segment::new_path(dir, number);
    let writer = prepare(dir, number, chain, wrap).map_err(AuditError::io("write", &file))?;
    publish(dir, number).map_err(AuditError::io("rename", &file))?;
    Ok(writer)
}

fn lock(dir: &Path) -> Result<DirLock, AuditError> {
    let path = dir.join("lock");
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(AuditError::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(DirLock(file)),
        Err(TryLockError::WouldBlock) => Err(AuditError::InUse { dir: dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(AuditError::io("lock", &path)(source)),
    }
}

/// What was found in a log that is there.
struct Found {
    chain: Chain,
    tail: Tail,
    last_time: Time,
}

/// Follows the chain from the newest segment that began with nothing unsigned. `numbers` is not empty.
fn read(dir: &Path, log_id: LogId, numbers: &[u64]) -> Result<Found, AuditError> {
    let newest = numbers[numbers.len() - 1];
    let mut first = newest;
    let mut header = segment::header(dir, first)?;
    while header.unsigned_from < header.first_seq {
        let before = first.saturating_sub(1);
        if !numbers.contains(&before) {
            let place = Place { file: &segment::path(dir, before), offset: 0, seq: header.unsigned_from };
            return Err(place.broken(Flaw::SegmentMissing(before)));
        }
        first = before;
        header = segment::header(dir, first)?;
    }
    if header.log_id != log_id {
        let (found, wants) = (Hex(header.log_id.0.to_vec()), Hex(log_id.0.to_vec()));
        return Err(AuditError::OtherLog { dir: dir.to_owned(), found, wants });
    }
    let mut chain = Chain::before(&header);
    let (mut last_signed, mut last_time) = (None, None);
    let mut tail = Tail::Continued;
    for number in first..=newest {
        let mut highest = None;
        tail = segment::walk(dir, number, number == newest, &mut chain, |line, place| {
            highest = highest.max(line.time());
            if let Line::Signed(signed) = line {
                last_signed = Some((signed.clone(), place.offset, number));
            }
            Ok(())
        })?;
        last_time = highest.or(last_time);
    }
    if let Some((signed, offset, number)) = last_signed {
        let file = segment::path(dir, number);
        check_signature(&signed, log_id).map_err(|flaw| AuditError::Broken(Finding { file, offset, seq: signed.last, flaw }))?;
    }
    let last_time = match last_time {
        Some(time) => time,
        None => last_time_before(dir, numbers, first)?,
    };
    Ok(Found { chain, tail, last_time })
}

/// Goes back as far as it must: a segment that has just been begun holds no record yet.
fn last_time_before(dir: &Path, numbers: &[u64], first: u64) -> Result<Time, AuditError> {
    for number in numbers.iter().rev().filter(|number| **number < first) {
        if let Some(time) = segment::last_time(dir, *number)? {
            return Ok(time);
        }
    }
    Ok(Time::default())
}

/// Opens the newest segment for appending behind its last whole line, which is on disk when this returns.
fn go_on(
    dir: &Path,
    number: u64,
    chain: Chain,
    bytes: u64,
    wrap: &dyn Fn(File) -> io::Result<Arc<dyn SegmentFile>>,
) -> Result<Writer, AuditError> {
    let path = segment::path(dir, number);
    let file = OpenOptions::new().read(true).append(true).open(&path).map_err(AuditError::io("open", &path))?;
    let cut = || {
        let file = wrap(file)?;
        file.cut(bytes)?;
        file.sync()?;
        Ok(file)
    };
    let file = cut().map_err(AuditError::io("repair", &path))?;
    // Left behind by a kill before the segment was closed.
    match fs::remove_file(segment::new_path(dir, number + 1)) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(AuditError::io("remove", &segment::new_path(dir, number + 1))(source))
        }
        _ => Ok(Writer::new(chain, number, file, bytes)),
    }
}
