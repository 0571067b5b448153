//! The one owner of the segment that is written: its file, its length, and the chain up to its last line.

use std::io;
use std::sync::Arc;

use cipher::sign;
use keys::id::OutboxSeq;
use keys::record::{Record, SessionRecord};
use secret::Key;

use crate::chain::{Chain, push_line};
use crate::file::{SegmentFile, is_full};
use crate::record::{LINK_BYTES, Line, RecordLine, SessionLine, Signed};

/// Disk space is set aside in steps of this size.
const ALLOCATION_BYTES: u64 = 64 << 10;

/// Why a line was not written.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// There is no space; the file is as it was before.
    Full(io::Error),
    /// What the file is like now is unknown.
    Failed(&'static str, io::Error),
}

/// What has a number of its own.
pub(crate) enum Entry<'a> {
    Record(Record, Option<OutboxSeq>),
    Session(&'a SessionRecord),
}

/// A signing key with its public half.
pub(crate) struct Signer {
    pub(crate) seed: Key<32>,
    pub(crate) public: [u8; 32],
}

/// What a sync makes durable.
pub(crate) struct Unsynced {
    pub(crate) file: Arc<dyn SegmentFile>,
    pub(crate) segment: u64,
    pub(crate) last_seq: u64,
    pub(crate) outbox: u64,
    pub(crate) bytes: u64,
}

/// The state behind the log's lock.
pub(crate) struct Writer {
    pub(crate) chain: Chain,
    pub(crate) segment: u64,
    pub(crate) file: Arc<dyn SegmentFile>,
    /// Length of the file.
    pub(crate) bytes: u64,
    /// Disk space is set aside up to this offset.
    allocated_bytes: u64,
    /// The last record before the group that is being filled.
    group_after: u64,
    is_dirty: bool,
    buffer: Vec<u8>,
    links: Vec<[u8; LINK_BYTES]>,
}

impl Writer {
    /// Goes on behind `bytes` bytes of `file`.
    pub(crate) fn new(chain: Chain, segment: u64, file: Arc<dyn SegmentFile>, bytes: u64) -> Self {
        let group_after = chain.next_seq - 1;
        let (buffer, links) = (Vec::with_capacity(1 << 12), Vec::new());
        Self { chain, segment, file, bytes, allocated_bytes: bytes, group_after, is_dirty: true, buffer, links }
    }

    /// Records since the last flush.
    pub(crate) fn group_records(&self) -> u64 {
        self.last_seq() - self.group_after
    }

    /// Number of the last record or session.
    pub(crate) fn last_seq(&self) -> u64 {
        self.chain.next_seq - 1
    }

    /// Has anything been written since the last [`Writer::unsynced`]?
    pub(crate) fn is_dirty(&self) -> bool {
        self.is_dirty
    }

    /// What the caller will sync now.
    pub(crate) fn unsynced(&mut self) -> Unsynced {
        self.is_dirty = false;
        let (file, segment) = (Arc::clone(&self.file), self.segment);
        Unsynced { file, segment, last_seq: self.last_seq(), outbox: self.chain.outbox.mark(), bytes: self.bytes }
    }

    /// Writes entries in one piece: all of them or nothing. Leaves `spare_bytes` of disk space set aside behind them.
    pub(crate) fn append<'a>(&mut self, entries: impl Iterator<Item = Entry<'a>>, spare_bytes: u64) -> Result<(), WriteError> {
        self.buffer.clear();
        self.links.clear();
        let mut head = self.chain.head;
        let mut last_session = self.chain.last_session;
        for (seq, entry) in (self.chain.next_seq..).zip(entries) {
            let line = match entry {
                Entry::Record(record, outbox) => Line::Record(RecordLine { seq, record, outbox }),
                Entry::Session(session) => {
                    last_session = last_session.max(session.session.0);
                    Line::Session(SessionLine { seq, session: session.clone() })
                }
            };
            head = push_line(&mut self.buffer, &line, &head);
            self.links.push(head);
        }
        self.write(spare_bytes)?;
        self.links.iter().for_each(|link| self.chain.add(*link));
        self.chain.last_session = last_session;
        Ok(())
    }

    /// Signs what no signature covers yet, and ends the group.
    pub(crate) fn sign(&mut self, signer: Option<&Signer>) -> Result<(), WriteError> {
        self.group_after = self.last_seq();
        let Some(signer) = signer.filter(|_| self.chain.tree.leaves() > 0) else { return Ok(()) };
        let (first, last) = (self.chain.signed_to + 1, self.last_seq());
        let (head, root, public) = (self.chain.head, self.chain.tree.root(), signer.public);
        let mut signed = Signed { first, last, head, root, public, signature: [0; 64] };
        let message = signed.message(self.chain.log_id);
        signed.signature = signer.seed.expose(|seed| sign::sign(seed, &message));
        self.write_line(&Line::Signed(signed))?;
        self.chain.sign(public);
        Ok(())
    }

    /// Writes the last line of the segment.
    pub(crate) fn end(&mut self) -> Result<(), WriteError> {
        self.write_line(&Line::End { next_segment: self.segment + 1 })
    }

    /// Sets disk space aside for `bytes` behind what is written.
    pub(crate) fn make_room(&mut self, bytes: u64) -> Result<(), WriteError> {
        let wanted = self.bytes.saturating_add(bytes);
        if wanted <= self.allocated_bytes {
            return Ok(());
        }
        let to = wanted.saturating_add(ALLOCATION_BYTES);
        self.file.allocate(self.allocated_bytes, to).map_err(|error| match is_full(&error) {
            true => WriteError::Full(error),
            false => WriteError::Failed("set disk space aside", error),
        })?;
        self.allocated_bytes = to;
        Ok(())
    }

    fn write_line(&mut self, line: &Line) -> Result<(), WriteError> {
        self.buffer.clear();
        push_line(&mut self.buffer, line, &self.chain.head);
        self.write(0)
    }

    fn write(&mut self, spare_bytes: u64) -> Result<(), WriteError> {
        let bytes = self.buffer.len() as u64;
        if bytes == 0 {
            return Ok(());
        }
        self.make_room(bytes.saturating_add(spare_bytes))?;
        match self.file.append(&self.buffer) {
            Ok(()) => {
                self.bytes += bytes;
                self.is_dirty = true;
                Ok(())
            }
            Err(error) => Err(self.undo(error)),
        }
    }

    /// After a failed write: back to the last whole line.
    fn undo(&mut self, error: io::Error) -> WriteError {
        self.allocated_bytes = self.bytes;
        match self.file.cut(self.bytes) {
            Ok(()) if is_full(&error) => WriteError::Full(error),
            Ok(()) => WriteError::Failed("write", error),
            Err(error) => WriteError::Failed("remove a half-written line", error),
        }
    }
}
