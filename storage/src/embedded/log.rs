//! The log beside the engine's file: how a small commit lasts.
//!
//! A durable commit of the engine writes each page that it changed, ten for one new key. So a small batch is appended here and synced, while the engine
//! commits it in memory alone; what it changed reaches the file with the next commit that the engine makes durable itself: of a large batch, or of one that
//! finds no place in the log any more. Then the log begins anew. When the file is opened, the batches that it lacks are applied again.
//!
//! ```text
//! header  magic 8 | salt u64 | 0 ...
//! record  check 16 | number u64 | bytes u32 | batch as in the journal | 0 ...
//! check   the first half of SHA-256(salt | number | bytes | batch)
//! ```
//! Both fill whole blocks of 64 bytes; numbers are little-endian. A record's number is the file's count of commits after it. The salt is drawn each time a log is begun and
//! stands in the file, too: records of another file, or of an earlier copy of this one, are not taken for its own. The log has its length from the
//! beginning on, so that a sync has no new length to write.
//!
//! A crash can tear only the last record, which nobody was told of; if one is followed by a later one it was damaged.

use std::io;

use cipher::mac::sha256;
use keys::port::StoreError;
use redb::StorageBackend;

use super::medium::Medium;
use super::tables::Fault;

const MAGIC: &[u8; 8] = b"SRLOG\0\0\x01";
const BLOCK_BYTES: usize = 64;
const CHECK_BYTES: usize = 16;
const LOG_BYTES: usize = 1024 * 1024;
/// Of a batch's rows; the engine writes a larger one as fast.
const BATCH_BYTES_MAX: u64 = 64 * 1024;

/// A log that commits are appended to.
pub(super) struct Log {
    medium: Medium,
    salt: u64,
    /// Where the next record begins.
    end: usize,
}

/// What lies in a log at one place.
struct Record<'l> {
    number: u64,
    batch: &'l [u8],
    /// Where the next one begins.
    end: usize,
}

impl Log {
    /// Begins a log anew, which is made if there is none.
    pub(super) fn begin(medium: Medium) -> Result<Self, Fault> {
        let salt = getrandom::u64().map_err(|error| failed(io::Error::other(error)))?;
        let mut header = Vec::with_capacity(LOG_BYTES);
        header.extend_from_slice(MAGIC);
        header.extend_from_slice(&salt.to_le_bytes());
        let has_length = medium.len().map_err(failed)? == LOG_BYTES as u64;
        header.resize(if has_length { BLOCK_BYTES } else { LOG_BYTES }, 0);
        if !has_length {
            medium.set_len(LOG_BYTES as u64).map_err(failed)?;
        }
        medium.write(0, &header).and_then(|()| medium.sync_data()).map_err(failed)?;
        Ok(Self { medium, salt, end: BLOCK_BYTES })
    }

    /// Goes on with the log of this salt, of a file that has seen so many commits; also returns the batches that the file lacks, oldest first.
    pub(super) fn resume(medium: Medium, salt: u64, commits: u64) -> Result<(Self, Vec<Vec<u8>>), Fault> {
        let bytes = usize::try_from(medium.len().map_err(failed)?).map_or(LOG_BYTES, |bytes| bytes.min(LOG_BYTES));
        let mut whole = vec![0; bytes];
        medium.read(0, &mut whole).map_err(failed)?;
        let expected: Vec<u8> = MAGIC.iter().copied().chain(salt.to_le_bytes()).collect();
        if !whole.starts_with(&expected) {
            return Err(Fault::Damaged("its log is another file's".to_owned()));
        }
        let (mut end, mut last, mut lacking) = (BLOCK_BYTES, None, Vec::new());
        while let Some(record) = record(&whole, salt, end).filter(|record| last.is_none_or(|last| record.number == last + 1)) {
            (end, last) = (record.end, Some(record.number));
            if record.number > commits {
                lacking.push((record.number, record.batch.to_vec()));
            }
        }
        let last = last.unwrap_or(0).max(commits);
        let is_torn = (end..bytes).step_by(BLOCK_BYTES).any(|at| record(&whole, salt, at).is_some_and(|record| record.number > last));
        if is_torn || lacking.first().is_some_and(|(first, _)| *first != commits + 1) {
            return Err(Fault::Damaged("commits are missing in its log".to_owned()));
        }
        if lacking.is_empty() {
            end = BLOCK_BYTES;
        } else {
            // They may be in the system's memory alone, if the process ended while it wrote.
            medium.sync_data().map_err(failed)?;
        }
        Ok((Self { medium, salt, end }, lacking.into_iter().map(|(_, batch)| batch).collect()))
    }

    pub(super) fn salt(&self) -> u64 {
        self.salt
    }

    /// Is a batch whose rows have so many bytes one for a log?
    pub(super) fn is_for(bytes: u64) -> bool {
        bytes <= BATCH_BYTES_MAX
    }

    /// How much it has that the file may lack, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        (self.end - BLOCK_BYTES) as u64
    }

    /// Is there place for it?
    pub(super) fn has_place(&self, batch: &[u8]) -> bool {
        self.end + blocks(batch.len()) <= LOG_BYTES
    }

    /// Makes a batch last, as the commit of this number; there must be place for it.
    pub(super) fn append(&mut self, number: u64, batch: &[u8]) -> Result<(), Fault> {
        let bytes = u32::try_from(batch.len()).expect("it has a place in the log").to_le_bytes();
        let mut record = Vec::with_capacity(blocks(batch.len()));
        record.extend_from_slice(&check(self.salt, number, batch));
        record.extend_from_slice(&number.to_le_bytes());
        record.extend_from_slice(&bytes);
        record.extend_from_slice(batch);
        record.resize(blocks(batch.len()), 0);
        self.medium.write(self.end as u64, &record).and_then(|()| self.medium.sync_data()).map_err(failed)?;
        self.end += record.len();
        Ok(())
    }

    /// The file has all commits: what is in the log has had its use.
    pub(super) fn restart(&mut self) {
        self.end = BLOCK_BYTES;
    }
}

fn failed(error: io::Error) -> Fault {
    StoreError::Unavailable { what: "the keystore's log failed", source: Box::new(error) }.into()
}

/// How much a record takes.
fn blocks(batch: usize) -> usize {
    (CHECK_BYTES + size_of::<u64>() + size_of::<u32>() + batch).next_multiple_of(BLOCK_BYTES)
}

fn check(salt: u64, number: u64, batch: &[u8]) -> [u8; CHECK_BYTES] {
    let bytes = (batch.len() as u64).to_le_bytes();
    let sum = sha256(&[&salt.to_le_bytes(), &number.to_le_bytes(), &bytes, batch]);
    *sum.first_chunk().expect("it is longer")
}

/// The intact record at this place.
fn record(log: &[u8], salt: u64, at: usize) -> Option<Record<'_>> {
    let (expected, rest) = log.get(at..)?.split_first_chunk::<CHECK_BYTES>()?;
    let (number, rest) = rest.split_first_chunk()?;
    let (bytes, rest) = rest.split_first_chunk()?;
    let number = u64::from_le_bytes(*number);
    let batch = rest.get(..usize::try_from(u32::from_le_bytes(*bytes)).ok()?)?;
    (check(salt, number, batch) == *expected).then(|| Record { number, batch, end: at + blocks(batch.len()) })
}
