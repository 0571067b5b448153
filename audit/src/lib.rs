//! The node's audit log: records in a hash chain, signed in groups, written before the answer leaves, verified by anyone (C20).
//!
//! ```text
//! DIR/lock                one writer at a time
//! DIR/000000000001.log    segments, numbered without gaps; each begins with a header that continues the one before
//! DIR/000000000002.new    the next segment while it is being made; it gets its final name when the one before has been closed
//! ```

mod chain;
mod error;
mod file;
mod log;
mod merkle;
mod open;
mod outbox;
mod record;
mod segment;
mod stall;
mod verify;
mod window;
mod writer;

pub use error::{AuditError, Finding, Flaw, Hex};
pub use file::{DiskFile, SegmentFile};
pub use log::{
    ANSWER_WITHIN, FLUSH_INTERVAL, Figures, GROUP_RECORDS_MAX, Log, OpenReport, Settings, Statement, SyncMode, verify_statement,
};
pub use record::LogId;
pub use verify::{Report, verify};
