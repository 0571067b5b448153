//! One message's changes and audit records, which become durable together.
//!
//! A [`Unit`] stages; [`Unit::commit`] is the only maker of a [`Receipt`], and no answer leaves without one. Units that change nothing go straight to
//! the audit log. The others go to the one [`Writer`], which joins what is waiting into one store transaction with the outbox records and the
//! bucket digests: so a change and its record cannot part, and concurrent units share one durable commit.

mod writer;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_channel::{mpsc, oneshot};
use futures_util::SinkExt;
use secret::Bytes;

use crate::error::Error;
use crate::id::{ChainId, Generation, KeyVersion, RowId, SessionId, TenantId, Time};
use crate::lifecycle;
use crate::policy::Action;
use crate::port::{AuditSink, AuditUnavailable, Change};
use crate::record::{Outcome, Record};
use crate::registry::Announced;
use crate::row::{Algorithm, Header, ObjectType, Owner, ParentRef, Row};
use crate::stream::Staged;

pub use writer::{GROUP_UNITS_MAX, Writer, WriterParts, writer};

/// Most units that wait for the writer; more wait at their connections.
pub const WAITING_UNITS_MAX: usize = 1024;

/// Proof that a message's audit records (and changes, if any) are safe. Only [`Unit::commit`] makes one.
#[derive(Debug)]
#[must_use]
pub struct Receipt {
    streams: Vec<Staged>,
}

impl Receipt {
    /// The answer goes out: what the message went on with in parts may go on from there. A receipt that is only dropped ends those streams.
    pub fn answered(self) {
        self.streams.into_iter().for_each(Staged::put_back);
    }
}

/// Why a unit left nothing behind: one of its rows was changed by another first, or a part of the appliance failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Another unit changed (or claimed) this row first.
    #[error("row {id} was changed by another request at the same time")]
    Conflict {
        /// The row.
        id: RowId,
    },
    /// Nothing was changed, or nobody can tell before a restart; nothing may be acknowledged.
    #[error("{what}")]
    Unavailable {
        /// What failed and what to do.
        what: String,
    },
}

impl From<CommitError> for Error {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Conflict { .. } => Self::Raced,
            CommitError::Unavailable { what } => Self::Unavailable { what },
        }
    }
}

/// One message's stage.
pub struct Unit {
    session: SessionId,
    audit: Arc<dyn AuditSink>,
    writer: Option<UnitSender>,
    staged: BTreeMap<RowId, Change>,
    /// Rows that changes replace, as they were read and checked: the writer need not read them again.
    replaced: BTreeMap<RowId, Box<Row>>,
    /// What stood in the stage before each change, oldest first.
    journal: Vec<(RowId, Option<Change>)>,
    records: Vec<Record>,
    /// Further records of the items that concern more than one object.
    further: Vec<Record>,
    /// What the log is to hold before the changes are tried.
    intents: Vec<Record>,
    /// Streams that go on when the message is answered; `None` where a later item took one over.
    streams: Vec<Option<Staged>>,
    /// The version of the IVK that it brings in.
    announced: Option<Announced>,
    /// The key that the last item used, open until the message is through: a batch mostly uses one.
    opened: Mutex<Option<Opened>>,
    /// An operator's: see [`AuditSink::append_own`].
    is_own: bool,
    /// A part of the message was done by another node.
    was_forwarded: bool,
    /// An item of the message failed because of another request's change.
    was_raced: bool,
}

/// Key bytes in use by one message.
pub(crate) struct Opened {
    pub(crate) id: RowId,
    pub(crate) generation: Generation,
    pub(crate) material: Bytes,
}

/// A point in a unit's stage to come back to.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    changes: usize,
    intents: usize,
    streams: usize,
}

/// Where units with changes go.
#[derive(Clone)]
pub struct UnitSender(mpsc::Sender<Pending>);

impl UnitSender {
    /// Waits until every commit that the store has taken by now is known to be done.
    ///
    /// # Errors
    /// The writer has ended, or takes nothing now.
    pub(crate) async fn settled(&self) -> Result<(), CommitError> {
        let sealed = || CommitError::Unavailable { what: "the node was sealed meanwhile".to_owned() };
        let (done, outcome) = oneshot::channel();
        let nothing = Pending { changes: Vec::new(), replaced: BTreeMap::new(), records: Vec::new(), announced: None, done };
        self.0.clone().send(nothing).await.map_err(|_| sealed())?;
        outcome.await.map_err(|_| sealed())?
    }
}

struct Pending {
    changes: Vec<Change>,
    replaced: BTreeMap<RowId, Box<Row>>,
    records: Vec<Record>,
    announced: Option<Announced>,
    done: oneshot::Sender<Result<(), CommitError>>,
}

impl Unit {
    /// A stage for `session`; without a writer (a sealed node) it can only record.
    #[must_use]
    pub fn new(session: SessionId, audit: Arc<dyn AuditSink>, writer: Option<UnitSender>) -> Self {
        Self {
            session,
            audit,
            writer,
            staged: BTreeMap::new(),
            replaced: BTreeMap::new(),
            journal: Vec::new(),
            records: Vec::new(),
            further: Vec::new(),
            intents: Vec::new(),
            streams: Vec::new(),
            announced: None,
            opened: Mutex::default(),
            is_own: false,
            was_forwarded: false,
            was_raced: false,
        }
    }

    /// Lends the key bytes of a row's generation to `use_it`; `reveal` opens them if the last item of this message used another key.
    pub(crate) fn with_opened<R>(
        &self,
        (id, generation): (RowId, Generation),
        reveal: impl FnOnce() -> Result<Bytes, Error>,
        use_it: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, Error> {
        let mut place = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let opened = match place.take().filter(|opened| (opened.id, opened.generation) == (id, generation)) {
            Some(opened) => opened,
            None => Opened { id, generation, material: reveal()? },
        };
        Ok(place.insert(opened).material.expose(use_it))
    }

    /// This unit is an operator's: if it changes nothing, its records are those of the appliance's own administration.
    pub fn mark_own(&mut self) {
        self.is_own = true;
    }

    /// A part of the message was done by another node, which this unit cannot take back and nobody may do again.
    pub fn note_forwarded(&mut self) {
        self.was_forwarded = true;
    }

    /// Must the message not be tried again?
    #[must_use]
    pub fn was_forwarded(&self) -> bool {
        self.was_forwarded
    }

    /// An item lost a race for a row before it came to a commit.
    pub fn note_race(&mut self) {
        self.was_raced = true;
    }

    /// Would the message fare better if it were done again?
    #[must_use]
    pub fn was_raced(&self) -> bool {
        self.was_raced
    }

    /// Whose unit it is.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// The row as this unit has staged it, if it has.
    #[must_use]
    pub fn staged(&self, id: RowId) -> Option<&Change> {
        self.staged.get(&id)
    }

    /// Everything that this unit has staged, newest row first.
    pub(crate) fn changes(&self) -> impl Iterator<Item = &Change> {
        self.staged.values().rev()
    }

    /// Stages a change; a second change of the same row joins the first.
    pub(crate) fn stage(&mut self, change: Change) {
        let id = change.id();
        let earlier = self.staged.remove(&id);
        let joined = match &earlier {
            Some(earlier) => join(earlier.expected(), change),
            None => Some(change),
        };
        self.staged.extend(joined.map(|joined| (id, joined)));
        self.journal.push((id, earlier));
    }

    /// Stages the next generation of a row that was read and checked, and says which it replaces.
    pub(crate) fn stage_onto(&mut self, before: Box<Row>, row: Row) {
        self.stage(Change::Update { expected: before.header.generation, row });
        self.replaced.insert(before.header.id, before);
    }

    /// Where the stage stands now.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark { changes: self.journal.len(), intents: self.intents.len(), streams: self.streams.len() }
    }

    /// Drops what was staged since `mark`: an item that failed half-way leaves nothing behind (F17). Its record is not touched. A stream that it
    /// had taken over ends.
    pub fn rewind(&mut self, mark: Mark) {
        self.streams.truncate(mark.streams);
        self.intents.truncate(mark.intents);
        for (id, earlier) in self.journal.drain(mark.changes..).rev() {
            match earlier {
                Some(change) => self.staged.insert(id, change),
                None => self.staged.remove(&id),
            };
        }
    }

    /// Stages the next state of a stream.
    pub(crate) fn stage_stream(&mut self, stream: Staged) {
        self.streams.push(Some(stream));
    }

    /// Takes over a stream that an earlier item staged. Its place stays, so that a [`Mark`] keeps its meaning.
    pub(crate) fn take_stream(&mut self, is_it: impl Fn(&Staged) -> bool) -> Option<Staged> {
        self.streams.iter_mut().find(|place| place.as_ref().is_some_and(&is_it))?.take()
    }

    /// Keeps the key of a version that this unit brings in until it is committed, or is not.
    pub(crate) fn hold(&mut self, announced: Announced) {
        self.announced = Some(announced);
    }

    /// Announces what cannot be taken back once it is committed (C20): [`Unit::commit`] has it in the log's file before it tries the changes. The
    /// item's own record, committed with the change or noted as lost, settles it, so nothing is left for a start to do.
    pub(crate) fn intend(&mut self, time: Time, action: Action, header: &Header) {
        let Header { id, version, generation, .. } = *header;
        let (object, version, generation) = (Some(id), Some(version), Some(generation));
        self.intents.push(Record { time, session: self.session, action, object, version, generation, outcome: Outcome::Intended });
    }

    /// Notes one item's outcome.
    pub fn record(&mut self, record: Record) {
        self.records.push(record);
    }

    /// Notes the same outcome for another object that an item concerns; [`Unit::records`] stays one an item.
    pub fn record_also(&mut self, record: Record) {
        self.further.push(record);
    }

    /// What was noted so far, one record an item, oldest first.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Drops what the unit staged; its records stay, marked as undone where they had succeeded.
    pub fn undo(&mut self) {
        self.staged.clear();
        self.journal.clear();
        self.intents.clear();
        self.streams.clear();
        for record in self.records.iter_mut().chain(&mut self.further).filter(|record| record.outcome == Outcome::Success) {
            record.outcome = Outcome::Undone;
        }
    }

    /// What the log is to say if the commit fails: what had succeeded was not available after all. Nothing for a unit without changes, whose
    /// commit is the log's own.
    #[must_use]
    pub fn lost(&self) -> Vec<Record> {
        if self.staged.is_empty() {
            return Vec::new();
        }
        let lost = |record: &Record| match record.outcome {
            Outcome::Success => Record { outcome: Outcome::Unavailable, ..*record },
            _ => *record,
        };
        self.records.iter().chain(&self.further).map(lost).collect()
    }

    /// What the log is to say if the commit loses a race and the message is done again: what was announced did not happen then.
    #[must_use]
    pub fn retracted(&self) -> Vec<Record> {
        self.intents.iter().map(|intent| Record { outcome: Outcome::Unavailable, ..*intent }).collect()
    }

    /// Makes the records of a unit without changes safe, at once; a unit with changes comes back, for [`Unit::commit`].
    ///
    /// # Errors
    /// [`CommitError::Unavailable`] inside; nothing of the unit may be acknowledged then.
    #[expect(clippy::result_large_err, reason = "the unit itself comes back, and is moved no further than to its commit")]
    pub fn commit_records(mut self) -> Result<Result<Receipt, CommitError>, Self> {
        self.opened = Mutex::default();
        if !self.staged.is_empty() {
            return Err(self);
        }
        self.records.append(&mut self.further);
        let appended = if self.is_own { self.audit.append_own(&self.records) } else { self.audit.append(&self.records) };
        let appended = appended.map_err(unrecorded);
        Ok(appended.map(|()| Receipt { streams: self.streams.into_iter().flatten().collect() }))
    }

    /// Makes changes and records safe. Once begun it is not cancelled: the writer owns the unit, the caller only waits.
    ///
    /// # Errors
    /// [`CommitError`]; nothing of the unit may be acknowledged then.
    pub async fn commit(self) -> Result<Receipt, CommitError> {
        let mut unit = match self.commit_records() {
            Ok(done) => return done,
            Err(unit) => unit,
        };
        unit.records.append(&mut unit.further);
        let sealed = || CommitError::Unavailable { what: "the node was sealed meanwhile; unseal it and repeat the request".to_owned() };
        let UnitSender(mut sender) = unit.writer.ok_or_else(sealed)?;
        if !unit.intents.is_empty() {
            unit.audit.append(&unit.intents).map_err(unrecorded)?;
        }
        let (done, outcome) = oneshot::channel();
        let Unit { staged, replaced, records, announced, streams, .. } = unit;
        let pending = Pending { changes: staged.into_values().collect(), replaced, records, announced, done };
        sender.send(pending).await.map_err(|_| sealed())?;
        outcome.await.map_err(|_| sealed())??;
        Ok(Receipt { streams: streams.into_iter().flatten().collect() })
    }
}

fn unrecorded(error: AuditUnavailable) -> CommitError {
    CommitError::Unavailable { what: error.to_string() }
}

/// `later` with the expectation of the change before it; `None` if the two cancel out.
fn join(expected: Option<Generation>, later: Change) -> Option<Change> {
    match (expected, later) {
        (None, Change::Insert(row) | Change::Update { row, .. }) => Some(Change::Insert(row)),
        (Some(expected), Change::Insert(row) | Change::Update { row, .. }) => Some(Change::Update { expected, row }),
        (Some(expected), Change::Delete { id, .. }) => Some(Change::Delete { id, expected }),
        (None, Change::Delete { .. }) => None,
    }
}

/// The header of a record that is no key.
pub(crate) fn record_header(id: RowId, parent: ParentRef, tenant: TenantId) -> Header {
    Header {
        id,
        chain: ChainId::new(id.uuid),
        version: KeyVersion::FIRST,
        object_type: ObjectType::RECORD,
        algorithm: Algorithm::NONE,
        bits: 0,
        aead: cipher::aead::Aead::Aes256Gcm,
        state: lifecycle::State::Active,
        expiry: None,
        owner: Owner { tenant, service: None },
        generation: Generation::FIRST,
        parent,
        wrap_seq: 0,
        attributes_seq: 1,
    }
}
