//! What a plugin's author implements, and what it is asked with: checked values, so that an implementation need not look at sizes again.

use crate::v1::Header;
use crate::{COMMIT_BYTES, ID_BYTES, NODE_BYTES, TERM_BYTES};

/// A row's primary key: one byte of layer, then a UUID. They compare as bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub [u8; ID_BYTES]);

/// A blind value by which a row is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(pub [u8; TERM_BYTES]);

/// Whose commits and audit records they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node(pub [u8; NODE_BYTES]);

/// The name of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CommitId(pub [u8; COMMIT_BYTES]);

/// A store of rows. Its methods are called on threads that may block, several at a time.
pub trait Store: Send + Sync + 'static {
    /// What it is called.
    fn about(&self) -> About;

    /// Whether it can do its work now.
    ///
    /// # Errors
    /// Why not, for the operator.
    fn health(&self) -> Result<(), Fault>;

    /// The stored bytes of a row, or `None`.
    ///
    /// # Errors
    /// [`Fault`]; it never means that there is no row.
    fn retrieve(&self, id: &Id) -> Result<Option<Vec<u8>>, Fault>;

    /// The rows of one layer that carry all the terms asked for, largest id first: see [`Page::take`].
    ///
    /// # Errors
    /// [`Fault`].
    fn list(&self, search: &Search) -> Result<Page, Fault>;

    /// Changes one row, if it is as expected; returns when the change survives a loss of power.
    ///
    /// # Errors
    /// [`Refusal::Conflict`], [`Refusal::Full`]: nothing was changed. [`Refusal::Fault`]: nobody knows.
    fn change(&self, change: &Change) -> Result<(), Refusal>;
}

/// A store that changes many rows at once or none: then Strongroom needs no journal beside it.
pub trait Transactional: Store {
    /// The last commit of a node that happened.
    ///
    /// # Errors
    /// [`Fault`].
    fn last_commit(&self, node: &Node) -> Result<Option<CommitId>, Fault>;

    /// Applies all of a batch in one transaction, or nothing of it; returns when it survives a loss of power.
    ///
    /// The order of things, all in the one transaction: [`Batch::is_done`] decides by the node's last commit whether there is anything to do at all; then the
    /// changes, in order; then the records.
    ///
    /// # Errors
    /// [`Refusal::Fault`]: it is there as a whole or not at all, and nobody knows which. Anything else: nothing was changed.
    fn commit(&self, batch: &Batch) -> Result<(), Refusal>;

    /// Queued records of a node with larger numbers than `after`, smallest first, at most `limit`.
    ///
    /// # Errors
    /// [`Fault`].
    fn records(&self, node: &Node, after: u64, limit: usize) -> Result<Vec<QueuedRecord>, Fault>;
}

/// What a plugin is called, for a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Its name.
    pub name: String,
    /// Its release.
    pub version: String,
}

/// Which rows [`Store::list`] returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// Only of this layer: the first byte of the id.
    pub layer: u8,
    /// All of these must be on the row; the most selective first. None: every row of the layer.
    pub terms: Vec<Term>,
    /// Only rows with a smaller id.
    pub before: Option<Id>,
    /// At most so many rows; at least 1.
    pub limit: usize,
    /// Rows are added while those before have fewer bytes than this.
    pub bytes_max: usize,
}

impl Search {
    /// The smallest id of the layer, and the one that all results are smaller than; `None`: there is no such bound.
    #[must_use]
    pub fn bounds(&self) -> (Id, Option<Id>) {
        let first = |layer| {
            let mut id = Id([0; ID_BYTES]);
            id.0[0] = layer;
            id
        };
        let above = self.layer.checked_add(1).map(first);
        (first(self.layer), [self.before, above].into_iter().flatten().min())
    }
}

/// Rows that were found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Ids and stored bytes, largest id first.
    pub rows: Vec<(Id, Vec<u8>)>,
    /// There may be more below the last one.
    pub more: bool,
}

impl Page {
    /// As many of the rows, which come largest id first, as `search` has room for.
    ///
    /// # Errors
    /// The first fault of the rows.
    pub fn take(search: &Search, rows: impl IntoIterator<Item = Result<(Id, Vec<u8>), Fault>>) -> Result<Self, Fault> {
        let mut page = Self { rows: Vec::new(), more: false };
        let mut bytes = 0;
        for row in rows {
            if page.rows.len() == search.limit || bytes >= search.bytes_max {
                page.more = true;
                break;
            }
            let (id, stored) = row?;
            bytes += stored.len();
            page.rows.push((id, stored));
        }
        Ok(page)
    }
}

/// A row to be kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Primary key.
    pub id: Id,
    /// How often it has changed.
    pub generation: u64,
    /// To be given back as it is.
    pub stored: Vec<u8>,
    /// What it is found by.
    pub terms: Vec<Term>,
    /// For indexes and for people.
    pub header: Header,
}

/// One row's change.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Inserts a row that must not exist.
    Insert(Row),
    /// Replaces a row, terms and all.
    Update {
        /// The generation that must be stored.
        expected: u64,
        /// The row as it will be.
        row: Row,
    },
    /// Removes a row for good.
    Delete {
        /// Which.
        id: Id,
        /// The generation that must be stored.
        expected: u64,
    },
}

impl Change {
    /// The row that it changes.
    #[must_use]
    pub fn id(&self) -> Id {
        match self {
            Self::Insert(row) | Self::Update { row, .. } => row.id,
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
    pub fn expected(&self) -> Option<u64> {
        match self {
            Self::Insert(_) => None,
            Self::Update { expected, .. } | Self::Delete { expected, .. } => Some(*expected),
        }
    }
}

/// One atomic change.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Whose.
    pub node: Node,
    /// The commit's own name.
    pub commit: CommitId,
    /// The node's commit before; `None` for its first.
    pub after: Option<CommitId>,
    /// In order.
    pub changes: Vec<Change>,
    /// To be queued.
    pub records: Vec<QueuedRecord>,
    /// Records of the node up to this number leave the queue.
    pub settled: Option<u64>,
}

impl Batch {
    /// Whether the batch has happened before, by the node's last commit as the transaction sees it.
    ///
    /// # Errors
    /// [`Refusal::OtherCommit`]: its turn is over.
    pub fn is_done(&self, last: Option<CommitId>) -> Result<bool, Refusal> {
        match last {
            last if last == Some(self.commit) => Ok(true),
            last if last == self.after => Ok(false),
            last => Err(Refusal::OtherCommit { last }),
        }
    }
}

/// An audit record that waits for Strongroom to fetch it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedRecord {
    /// Its number in the node's queue.
    pub seq: u64,
    /// To be given back as it is.
    pub record: Vec<u8>,
}

/// Why a change did not happen.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// What was expected of a row does not hold: the first of the batch.
    #[error("a row is not as expected")]
    Conflict {
        /// The row.
        id: Id,
    },
    /// A record's number is in the queue, or comes twice.
    #[error("record {seq} is queued already")]
    RecordTaken {
        /// Its number.
        seq: u64,
    },
    /// The node's last commit is another than the batch follows.
    #[error("another commit of the node came before")]
    OtherCommit {
        /// Which it is.
        last: Option<CommitId>,
    },
    /// There is no space.
    #[error("no space is left at {at}")]
    Full {
        /// Where the operator has to free some.
        at: String,
    },
    /// It is not known whether it happened.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Why a store does not do its work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Try again later.
    #[error("{what}")]
    Unavailable {
        /// What does not answer, and why.
        what: String,
    },
    /// The place behind the plugin refuses it.
    #[error("{what}")]
    Denied {
        /// Who refuses what.
        what: String,
    },
    /// What is stored is damaged.
    #[error("{what}")]
    Damaged {
        /// What, and where.
        what: String,
    },
}
