//! Repair of a key whose blobs name another algorithm than the record of what wraps them (IVK-25).
//!
//! Such a row is refused wherever it is met, because nobody can tell who is right; the walk and the sweep name it. A repair is asked for by a person, row
//! by row. It believes neither side: the blobs must open by the algorithm that they name, which is part of what their own keys are derived from and of
//! their AAD, so whoever only writes another number there has made something that opens by none. What opens is sealed anew under the Active version,
//! by the algorithm of that one's record. Whatever else is wrong with a row is not mended here.
//!
//! A row's own algorithm says how it wraps others, so there is nothing in its own blobs to compare it with: one that is wrong shows at every key below.

use cipher::aead::Aead;
use secret::Bytes;

use crate::attributes::Attributes;
use crate::error::Error;
use crate::id::{Generation, Layer, RowId};
use crate::port::Change;
use crate::reencrypt::Cursor;
use crate::row::{Header, Row};
use crate::unit::Unit;
use crate::vault::{Vault, at};
use crate::wrap::WrapError;

/// What a repair does, or would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repair {
    /// The key as it will be.
    pub header: Header,
    /// The algorithm of its blobs, where it is not the recorded one.
    pub found: Aead,
    /// What the record of the version that wraps it so far says.
    pub recorded: Aead,
}

/// Why a key is not repaired.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// Its blobs and the record above agree, and it opens.
    #[error("its blobs and the record of what wraps it both say {}, and it opens: there is nothing to repair", .0.name())]
    Sound(Aead),
    /// What wraps it does not open itself.
    #[error("what wraps it{} does not open ({what}): repair or restore that first", .parent.map_or_else(String::new, |id| format!(", {id},")))]
    Above {
        /// Which key, if it is none of the IVK.
        parent: Option<RowId>,
        /// What is wrong with that.
        what: String,
    },
    /// Something else is wrong with it.
    #[error("{what}. That is no mere disagreement of algorithms, and nothing here mends it: restore it from a backup")]
    Beyond {
        /// What.
        what: String,
    },
    /// The key, or its store.
    #[error(transparent)]
    Keys(#[from] Error),
}

impl Vault {
    /// Stages that a key whose blobs name another algorithm than the record of what wraps them is sealed anew, under the Active version and by the algorithm
    /// of its record. Opened once more before that (C18).
    ///
    /// # Errors
    /// [`RepairError`]: it stays as it is.
    pub async fn repair(&self, unit: &mut Unit, id: RowId) -> Result<Repair, RepairError> {
        let (expected, row, repair) = self.mended(id).await?;
        unit.stage(Change::Update { expected, row });
        Ok(repair)
    }

    /// What [`Vault::repair`] would do now; changes nothing.
    ///
    /// # Errors
    /// As [`Vault::repair`].
    pub async fn would_repair(&self, id: RowId) -> Result<Repair, RepairError> {
        Ok(self.mended(id).await?.2)
    }

    /// Reads a key back from the store and opens it, so that nobody relies on one that is not there (C18).
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it does not open; the store's.
    pub async fn read_back_key(&self, id: RowId) -> Result<(), Error> {
        self.open_to_move(&self.shelf.existing(id).await?).await.map(drop)
    }

    /// The row sealed anew, and the generation that it replaces.
    async fn mended(&self, id: RowId) -> Result<(Generation, Row, Repair), RepairError> {
        let chain = self.chain.as_ref().ok_or(Error::Denied { why: "the keys of an edge are wrapped at its core: repair them there" })?;
        if !matches!(id.layer, Layer::L2 | Layer::L21 | Layer::L3) {
            return Err(Error::NotFound.into());
        }
        let row = self.shelf.existing(id).await.map_err(beyond)?;
        let header = &row.header;
        let opened = match chain.open_as_named(header.parent, &self.shut(&row)).await {
            Ok(opened) => opened,
            Err(error) => return Err(self.above(header, error).await),
        };
        let recorded = opened.recorded;
        let children = opened.children.map_err(|error| beyond(at(error, id)))?;
        let found = children.iter().map(|(_, named)| *named).find(|named| *named != recorded).ok_or(RepairError::Sound(recorded))?;
        let children: Vec<Bytes> = children.into_iter().map(|(bytes, _)| bytes).collect();
        let attributes = children.first().filter(|_| row.attributes.is_some());
        let attributes = attributes.ok_or_else(|| beyond(Error::corrupt("it has no attributes", id)))?;
        attributes.expose(Attributes::decode).map_err(|error| beyond(Error::corrupt(&error.to_string(), id)))?;
        let parent = self
            .target(&mut Cursor::default(), header)
            .await?
            .ok_or_else(|| beyond(Error::corrupt("nobody says what is to wrap it", id)))?;
        let mended = self.resealed(&row, parent, &children).await?;
        let repair = Repair { header: mended.header.clone(), found, recorded };
        Ok((header.generation, mended, repair))
    }

    /// What is wrong above a key.
    async fn above(&self, header: &Header, error: WrapError) -> RepairError {
        match Error::from(error) {
            Error::Corrupt { what, .. } => RepairError::Above { parent: self.parent_of(header).await.ok().flatten(), what },
            other => other.into(),
        }
    }
}

/// What is wrong with the row itself.
fn beyond(error: Error) -> RepairError {
    match error {
        Error::Corrupt { what, .. } => RepairError::Beyond { what },
        other => other.into(),
    }
}
