//! What the domain asks of the world: a store, a parent's keys, an audit log, a clock and randomness.
//!
//! Implementations are values, built in `daemon` and passed in. What crosses [`Keystore`] is wrapped and MACed before it gets there.

use std::time::Duration;

use async_trait::async_trait;
use cipher::derive::Stretch;
use cipher::pair::{Pair, PairKind};
use secret::{Bytes, Exhausted};
use uuid::Uuid;

use crate::envelope::ObjectKeyId;
use crate::id::{Generation, Layer, OutboxSeq, RowId, TenantId, Time};
use crate::lease::Lease;
use crate::record::{Record, SessionRecord};
use crate::references::References;
use crate::row::{Owner, ParentRef, Row, Term};
use crate::wrap::{Binding, WrapError};

/// A store of rows. Every implementation passes the conformance suite of `storage`.
#[async_trait]
pub trait Keystore: Send + Sync {
    /// One row by its id, or `None`.
    async fn retrieve(&self, id: RowId) -> Result<Option<Row>, StoreError>;

    /// Rows of one layer that carry all the terms asked for, newest id first, a page at a time. A page shorter than its limit is the last one.
    ///
    /// A row whose stored bytes cannot be read as that row is left out, so that it does not hide the others; [`Keystore::retrieve`] of its id
    /// says [`StoreError::Corrupt`].
    async fn find(&self, query: &Query) -> Result<Vec<Row>, StoreError>;

    /// Applies all of a batch in one durable transaction, or nothing of it.
    ///
    /// Returns only when the change survives power loss. [`StoreError::Conflict`] names the first row whose expectation did not hold. After
    /// [`StoreError::Unavailable`] it is there as a whole or not at all, and which of the two is settled before any other call is answered.
    async fn commit(&self, batch: Batch) -> Result<(), StoreError>;

    /// Outbox records after `after`, oldest first, at most `limit`.
    async fn outbox(&self, after: OutboxSeq, limit: usize) -> Result<Vec<OutboxEntry>, StoreError>;

    /// As [`Keystore::retrieve`], for who knows whose row it can be. A store that tells tenants apart finds no row outside `scope`, so that a mistake above it
    /// shows nobody another tenant's (D13); others may show it, and nothing above relies on it.
    async fn retrieve_for(&self, _scope: Scope, id: RowId) -> Result<Option<Row>, StoreError> {
        self.retrieve(id).await
    }

    /// As [`Keystore::find`], by the rule of [`Keystore::retrieve_for`].
    async fn find_for(&self, _scope: Scope, query: &Query) -> Result<Vec<Row>, StoreError> {
        self.find(query).await
    }

    /// As [`Keystore::commit`], of a batch that changes rows of `tenants` and no others. To a store that tells tenants apart a change of another's row
    /// is one of a row that is not there.
    async fn commit_within(&self, _tenants: &[TenantId], batch: Batch) -> Result<(), StoreError> {
        self.commit(batch).await
    }
}

/// Whose rows a read is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Everybody's: the node's own work, and that of principals above all tenants.
    Node,
    /// One tenant's, and the appliance's own.
    Tenant(TenantId),
}

impl Scope {
    /// Does a row of this owner lie in it?
    #[must_use]
    pub fn shows(self, owner: &Owner) -> bool {
        match self {
            Self::Node => true,
            Self::Tenant(tenant) => owner.tenant == tenant || owner.tenant == TenantId::SYSTEM,
        }
    }
}

/// Which rows [`Keystore::find`] returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Rows of this layer only.
    pub layer: Layer,
    /// All of these must be on the row; the most selective first, because a store walks the first. None: every row of the layer.
    pub terms: Vec<Term>,
    /// Only rows with a smaller id: the last one of the page before.
    pub before: Option<RowId>,
    /// At most so many rows.
    pub limit: usize,
}

/// One atomic change of a store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// Row changes, each with what must hold before it.
    pub changes: Vec<Change>,
    /// Audit records that become durable with the changes.
    pub outbox: Vec<OutboxEntry>,
    /// Outbox records up to this one are safe in the log and may be dropped.
    pub settled: Option<OutboxSeq>,
}

/// One row's change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Inserts a row that must not exist.
    Insert(Row),
    /// Replaces a row whose stored generation must be `expected`.
    Update {
        /// Generation in the store.
        expected: Generation,
        /// The new row, with a higher generation.
        row: Row,
    },
    /// Removes a row whose stored generation must be `expected`.
    Delete {
        /// Which row.
        id: RowId,
        /// Generation in the store.
        expected: Generation,
    },
}

impl Change {
    /// The row that it changes.
    #[must_use]
    pub fn id(&self) -> RowId {
        match self {
            Self::Insert(row) | Self::Update { row, .. } => row.header.id,
            Self::Delete { id, .. } => *id,
        }
    }

    /// The row as it will be, or `None` after a delete.
    #[must_use]
    pub fn row(&self) -> Option<&Row> {
        match self {
            Self::Insert(row) | Self::Update { row, .. } => Some(row),
            Self::Delete { .. } => None,
        }
    }

    /// The generation that must be stored, or `None` if the row must be absent.
    #[must_use]
    pub fn expected(&self) -> Option<Generation> {
        match self {
            Self::Insert(_) => None,
            Self::Update { expected, .. } | Self::Delete { expected, .. } => Some(*expected),
        }
    }
}

/// An audit record on its way from a store to the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxEntry {
    /// Its place in the outbox.
    pub seq: OutboxSeq,
    /// The record.
    pub record: Record,
}

/// Why a store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else changed the row first: read again and decide again.
    #[error("row {id} has changed meanwhile")]
    Conflict {
        /// The row.
        id: RowId,
    },
    /// The medium is full; nothing was changed, reads go on.
    #[error("the keystore has no space left; free some under {at}")]
    Full {
        /// Path or name of the medium.
        at: String,
    },
    /// The store cannot be reached or has stopped; nothing was acknowledged.
    #[error("keystore unavailable: {what}")]
    Unavailable {
        /// What was tried.
        what: &'static str,
        /// What came back.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store is there, and its own operators have to unseal it; nothing was acknowledged.
    #[error("the keystore at {at} is sealed: unseal it there, and what is asked here goes on")]
    Sealed {
        /// Where it is.
        at: String,
    },
    /// The store is there and does not let this node; nothing was acknowledged.
    #[error("the keystore at {at} refuses this node: {what}; see to its credentials and rights there")]
    Denied {
        /// Where it is.
        at: String,
        /// What it says.
        what: String,
    },
    /// A write or sync failed earlier; nothing more is written until a restart has checked the data.
    #[error("the keystore stopped after a failed write; restart strongroomd")]
    Poisoned,
    /// Stored bytes are not what was written.
    #[error("keystore record {at} is corrupt: {what}")]
    Corrupt {
        /// What is wrong with it.
        what: String,
        /// Which record.
        at: String,
    },
}

/// Wraps and unwraps children under a named parent version. On a core this is the chain IVK, L2, L2.1; on an edge it asks core.
#[async_trait]
pub trait Parent: Send + Sync {
    /// Seals each child's bytes into a C1 blob bound to the facts given, with the algorithm of the parent's own row.
    async fn wrap(&self, parent: ParentRef, children: &[(Binding, &Bytes)]) -> Result<Vec<Vec<u8>>, WrapError>;

    /// As [`Parent::wrap`], for attributes whose row stays under this parent, so that Deprecated is enough.
    async fn reseal(&self, parent: ParentRef, children: &[(Binding, &Bytes)]) -> Result<Vec<Vec<u8>>, WrapError>;

    /// Opens blobs; each must be bound to the facts given.
    async fn unwrap(&self, parent: ParentRef, children: &[(Binding, &[u8])]) -> Result<Vec<Bytes>, WrapError>;

    /// As [`Parent::unwrap`], of what is about to come under another version: also from under one that is compromised.
    async fn unwrap_to_move(&self, parent: ParentRef, children: &[(Binding, &[u8])]) -> Result<Vec<Bytes>, WrapError>;

    /// May something new come under this version, by what is stored now? Opens nothing, and changes nothing.
    async fn must_protect(&self, parent: ParentRef) -> Result<(), WrapError>;

    /// A parent version has changed: drops what is kept of it.
    fn forget(&self, parent: ParentRef);
}

/// The core above an edge, as the edge's own calls reach it. No call outlasts its deadline.
#[async_trait]
pub trait Upstream: Send + Sync {
    /// Has object keys wrapped under an L3; one blob a key, in order. At most [`WRAPPED_KEYS_MAX`].
    async fn wrap(&self, l3: RowId, keys: &[(ObjectKeyId, &Bytes)]) -> Result<Vec<Vec<u8>>, UpstreamError>;

    /// Has an object key opened that was wrapped under an L3.
    async fn unwrap(&self, l3: RowId, id: ObjectKeyId, wrapped: &[u8]) -> Result<Bytes, UpstreamError>;

    /// As [`Upstream::unwrap`], of several keys, each with an answer of its own, in order. At most [`WRAPPED_KEYS_MAX`].
    ///
    /// # Errors
    /// None of them was answered.
    async fn unwrap_each(&self, keys: &[(RowId, ObjectKeyId, &[u8])]) -> Result<Vec<Result<Bytes, UpstreamError>>, UpstreamError>;

    /// What the edge's group may serve.
    async fn lease(&self) -> Result<Lease, UpstreamError>;

    /// Tells which versions this edge has left.
    async fn report(&self, references: &References) -> Result<(), UpstreamError>;

    /// Has a client's KMIP message of one item done in the client's name, and returns the core's KMIP message.
    ///
    /// - `client`: the client's certificate chain in DER, its own first. `request`: by what both nodes' audit logs name it, and the core knows it if it comes
    ///   again.
    async fn forward(&self, client: &[Vec<u8>], request: Uuid, message: &[u8]) -> Result<Vec<u8>, UpstreamError>;
}

/// Most object keys of one [`Upstream::wrap`] or [`Upstream::unwrap_each`].
pub const WRAPPED_KEYS_MAX: usize = 64;

/// Why a core did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// No core answers, or with nothing that can be used, or it is sealed: try again later.
    #[error("no core is available: {what}")]
    Unavailable {
        /// What was tried and what came of it.
        what: String,
    },
    /// The core does not do it for this edge.
    #[error("the core refuses: {why}")]
    Refused {
        /// What it says.
        why: String,
    },
    /// The core does not open the object key: it was not wrapped for this place.
    #[error("the core does not open the object key")]
    Forged,
}

/// The node's audit log. Calls return when the records are in the log's file, or fail within two seconds.
pub trait AuditSink: Send + Sync {
    /// Fails if the log cannot take records now; asked before anything is changed.
    fn ready(&self) -> Result<(), AuditUnavailable>;

    /// Says who is behind the following records of a session.
    fn session(&self, session: &SessionRecord) -> Result<(), AuditUnavailable>;

    /// Appends records of operations that changed nothing.
    fn append(&self, records: &[Record]) -> Result<(), AuditUnavailable>;

    /// Appends records of the appliance's own administration: of what it does itself, and of what its operator asks. On a full disk they may use the
    /// space that is set aside for sealing, stopping and looking at it.
    fn append_own(&self, records: &[Record]) -> Result<(), AuditUnavailable>;

    /// Appends records that are durable in the outbox already.
    fn settle(&self, entries: &[OutboxEntry]) -> Result<(), AuditUnavailable>;

    /// The last outbox record that is on disk in the log.
    fn settled(&self) -> OutboxSeq;
}

/// The audit log cannot be written, so nothing may be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("audit log unavailable: {why}; no operation is served until it can be written")]
pub struct AuditUnavailable {
    /// What failed.
    pub why: String,
}

/// Tells the time of day.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Time;
}

/// Lets an answer leave at a moment that does not tell how it was found.
#[async_trait]
pub trait Pace: Send + Sync {
    /// Time since some fixed moment, by a clock that nobody sets.
    fn now(&self) -> Duration;

    /// Returns when [`Pace::now`] is past `until`: at once, or a moment later that depends on nothing else.
    async fn reach(&self, until: Duration);
}

/// The system's randomness: getrandom(2) in the product.
pub trait Entropy: Send + Sync {
    /// Fills `buffer` or fails; there is no fallback.
    fn fill(&self, buffer: &mut [u8]) -> Result<(), EntropyError>;
}

/// Makes key pairs, which may take seconds of a processor: others are served meanwhile, and no more are made at once than the node can bear.
#[async_trait]
pub trait PairMaker: Send + Sync {
    /// Makes a pair whose halves have proved that they belong together.
    async fn make(&self, kind: PairKind) -> Result<Pair, PairError>;
}

/// Why there is no pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PairError {
    /// Too many others wait for theirs.
    #[error("{waiting} clients wait for key pairs or derivations from passwords; try again later")]
    Busy {
        /// How many.
        waiting: usize,
    },
    /// It was tried.
    #[error(transparent)]
    NotMade(#[from] cipher::Error),
}

/// Derives keys from passwords, which may take seconds of a processor, as [`PairMaker`] makes pairs.
#[async_trait]
pub trait Stretcher: Send + Sync {
    /// Derives a key.
    async fn stretch(&self, stretch: Stretch) -> Result<Bytes, StretchError>;
}

/// Why nothing was derived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StretchError {
    /// Too many others wait for theirs.
    #[error("{waiting} clients wait for key pairs or derivations from passwords; try again later")]
    Busy {
        /// How many.
        waiting: usize,
    },
    /// There is no locked memory.
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
}

/// There is no randomness, so no key and no IV can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no randomness from the system: {why}")]
pub struct EntropyError {
    /// What the system said, or that two draws were equal.
    pub why: String,
}
