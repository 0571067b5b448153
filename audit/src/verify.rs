//! Verifies a whole log from its files alone, also while it is being written.
//!
//! Found and located: every altered, missing, repeated, inserted or moved line, header or segment among what is signed, and whatever is not
//! consistent in the unsigned tail. Not to be found from the files alone: that the end was cut off at the end of a line (compare
//! [`Report::last_seq`] with an earlier report, or the store's settled outbox with the log's), an unsigned tail that was written anew, and,
//! without a pinned key, a log that was written anew from its beginning with another key.

use std::collections::HashSet;
use std::path::Path;

use keys::id::Time;

use crate::chain::{Chain, check_signature};
use crate::error::{AuditError, Flaw, Hex};
use crate::record::{Line, LogId};
use crate::segment::{self, Place, Tail};

/// Concurrent callers and settled changes are written a little out of their order; more is a clock that was set back.
const CLOCK_TOLERANCE_MILLIS: i64 = 5_000;

/// What a sound log holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Which log.
    pub log_id: LogId,
    /// Number of segments.
    pub segments: u64,
    /// Records of operations.
    pub records: u64,
    /// Records of sessions.
    pub sessions: u64,
    /// Number of the last record or session.
    pub last_seq: u64,
    /// Chain head after it.
    pub head: Hex,
    /// Groups with a signature that verifies.
    pub signatures: u64,
    /// Public key of the signatures.
    pub signer: Option<Hex>,
    /// Records and sessions at the end that no signature covers: written since the last flush, or without a key.
    pub unsigned: u64,
    /// Bytes of a last line that was never finished; the next start removes them.
    pub torn_bytes: u64,
    /// Time of the first record or session.
    pub first_time: Option<Time>,
    /// Time of the last record or session.
    pub last_time: Option<Time>,
    /// How often the clock was set back, and the first record after it.
    pub clock_set_back: Option<(u64, u64)>,
    /// Changes whose session was lost with the machine's power before it was synced; the changes themselves come from the store.
    pub sessions_lost: u64,
}

/// Reads every segment in `dir`, and checks chain, numbers, sessions, Merkle roots and signatures.
///
/// - `pinned`: the public key that must have signed; `None` accepts any one key.
/// - Time in proportion to the log, memory to the number of sessions.
///
/// # Errors
/// [`AuditError::Broken`] names the first line that is wrong, [`AuditError::Io`] a file that cannot be read.
pub fn verify(dir: &Path, pinned: Option<[u8; 32]>) -> Result<Report, AuditError> {
    let numbers = segment::list(dir)?;
    let mut listed = numbers.last().copied().unwrap_or(1);
    let missing = |number, chain: &Chain| {
        let file = segment::path(dir, number);
        Place { file: &file, offset: 0, seq: chain.next_seq }.broken(Flaw::SegmentMissing(number))
    };
    if numbers.first().copied() != Some(1) {
        return Err(missing(1, &Chain::new(LogId([0; 16]))));
    }
    let mut chain = Chain::new(segment::header(dir, 1)?.log_id);
    chain.signer = pinned;
    let mut tally = Tally::new(chain.log_id);
    let mut number = 1;
    let torn_bytes = loop {
        if number < listed && !numbers.contains(&number) {
            return Err(missing(number, &chain));
        }
        let log_id = chain.log_id;
        tally.report.segments = number;
        match segment::walk(dir, number, number == listed, &mut chain, |line, place| tally.add(line, place, log_id))? {
            Tail::Open { torn_bytes, .. } => break torn_bytes,
            Tail::Continued if number < listed => {}
            // Between closing a segment and naming the next; asked in this order because a rename may come between the two questions.
            Tail::Continued if segment::new_path(dir, number + 1).exists() => break 0,
            Tail::Continued if segment::path(dir, number + 1).exists() => listed += 1,
            Tail::Continued => return Err(missing(number + 1, &chain)),
        }
        number += 1;
    };
    Ok(tally.finish(&chain, torn_bytes))
}

/// Counts what was found, and checks what concerns more than the chain.
struct Tally {
    report: Report,
    sessions: HashSet<u64>,
}

impl Tally {
    fn new(log_id: LogId) -> Self {
        let report = Report {
            log_id,
            segments: 0,
            records: 0,
            sessions: 0,
            last_seq: 0,
            head: Hex(Vec::new()),
            signatures: 0,
            signer: None,
            unsigned: 0,
            torn_bytes: 0,
            first_time: None,
            last_time: None,
            clock_set_back: None,
            sessions_lost: 0,
        };
        Self { report, sessions: HashSet::new() }
    }

    fn add(&mut self, line: &Line, place: Place<'_>, log_id: LogId) -> Result<(), AuditError> {
        match line {
            Line::Record(line) => {
                self.report.records += 1;
                self.time(line.record.time, line.seq);
                match (self.sessions.contains(&line.record.session.0), line.outbox) {
                    (true, _) => {}
                    (false, Some(_)) => self.report.sessions_lost += 1,
                    (false, None) => return Err(place.broken(Flaw::Session(line.record.session.0))),
                }
            }
            Line::Session(line) => {
                self.report.sessions += 1;
                self.time(line.session.time, line.seq);
                self.sessions.insert(line.session.session.0);
            }
            Line::Signed(signed) => {
                self.report.signatures += 1;
                self.report.signer = Some(Hex(signed.public.to_vec()));
                check_signature(signed, log_id).map_err(|flaw| place.broken(flaw))?;
            }
            Line::Header(_) | Line::End { .. } => {}
        }
        Ok(())
    }

    fn time(&mut self, time: Time, seq: u64) {
        let report = &mut self.report;
        report.first_time.get_or_insert(time);
        let before = report.last_time.replace(time).unwrap_or(time);
        if before.millis().saturating_sub(time.millis()) > CLOCK_TOLERANCE_MILLIS {
            let (count, first) = report.clock_set_back.unwrap_or((0, seq));
            report.clock_set_back = Some((count + 1, first));
        }
    }

    fn finish(mut self, chain: &Chain, torn_bytes: u64) -> Report {
        self.report.last_seq = chain.next_seq - 1;
        self.report.head = Hex(chain.head.to_vec());
        self.report.unsigned = chain.tree.leaves();
        self.report.torn_bytes = torn_bytes;
        self.report
    }
}
