//! Re-encryption: the walk over a core's keys that brings each under the Active version of what wraps it, and the step by which one row comes under
//! another version. An edge's walk is in `rewrap.rs`.
//!
//! Which rows are due is derived from the rows themselves: those whose parent is no longer the Active version of its chain. So there is no list of
//! work that could be lost or be wrong, and a walk that was cut off begins anew and passes over what is done. Whoever drives it commits a unit now and
//! then; a row that a client changes meanwhile makes that commit fail, and the part is done again.
//!
//! After the commit of a rotation nothing new comes under the version before it (`unit.rs`), so one whole walk without a row left behind has moved
//! everything, and only then the version may be retired.

use std::collections::BTreeMap;

use secret::{Bytes, scrubbed_polls};

use crate::envelope::Envelope;
use crate::error::Error;
use crate::id::{ChainId, KeyVersion, Layer, RowId};
use crate::lifecycle::Purpose;
use crate::policy::Action;
use crate::port::Query;
use crate::record::{Outcome, Record};
use crate::references::References;
use crate::registry::Registry;
use crate::rewrap::Objects;
use crate::row::{Header, ParentRef, Row};
use crate::sweep::Finding;
use crate::unit::{CommitError, Unit};
use crate::vault::{Vault, at};
use crate::wrap::Binding;

/// Most rows of one step.
pub const WALKED_ROWS_MAX: usize = 4096;
/// So often one row is tried that others change meanwhile.
const MOVES_MAX: usize = 8;
/// What is walked, in this order: a key's parent is moved before the key.
const LAYERS: [Layer; 3] = [Layer::L2, Layer::L21, Layer::L3];

/// How far a walk has come.
#[derive(Debug, Clone, Default)]
pub struct Cursor {
    /// Rows of `LAYERS[layer]` below `before`.
    layer: usize,
    before: Option<RowId>,
    /// The Active versions of the chains met last, as of `epoch` of the parents.
    active: BTreeMap<ChainId, ParentRef>,
    epoch: u64,
    /// The same of an edge, which has other rows.
    objects: Option<Objects>,
}

impl Cursor {
    /// Of an edge's walk.
    pub(crate) fn among(objects: Objects) -> Self {
        Self { objects: Some(objects), ..Self::default() }
    }

    /// Behind this row; `None` if no walk comes by it.
    #[must_use]
    pub fn behind(row: RowId) -> Option<Self> {
        let layer = LAYERS.iter().position(|layer| *layer == row.layer)?;
        Some(Self { layer, before: Some(row), ..Self::default() })
    }

    /// The last row that was looked at; `None` at the beginning of a layer.
    #[must_use]
    pub fn place(&self) -> Option<RowId> {
        self.before
    }

    /// Is this row looked at already?
    #[must_use]
    pub fn is_behind(&self, row: RowId) -> bool {
        LAYERS
            .iter()
            .position(|layer| *layer == row.layer)
            .is_none_or(|layer| layer < self.layer || layer == self.layer && self.before.is_some_and(|before| before <= row))
    }

    /// Something above the rows was replaced since the last step.
    pub fn forget(&mut self) {
        self.active.clear();
    }
}

/// What one step of a walk has staged.
#[derive(Debug, Default)]
pub struct Walked {
    /// Where to go on; `None` after the last step.
    pub next: Option<Cursor>,
    /// How many rows were looked at.
    pub looked: usize,
    /// How many of them come under a newer version with the unit.
    pub moved: usize,
    /// Rows that stay where they are, because they do not verify, or nobody opens them any more.
    pub refused: Vec<Finding>,
    /// With the last step at an edge: which versions it has left, once the unit is committed. For [`Vault::note_references`].
    pub references: Option<References>,
    /// How many tenants' keys lie under which version of the IVK now; of one that does not verify, as it says itself.
    pub under: BTreeMap<KeyVersion, u64>,
    /// Under which chain each of these lies.
    pub left_under: Vec<ChainId>,
}

/// The rows of one step, read and no more: what they are to become is found out by [`Vault::move_page`], for several pages at once if there is time.
#[derive(Debug)]
pub struct Page {
    cursor: Cursor,
    layer: Layer,
    rows: Vec<Row>,
    /// Where the walk goes on behind them; `None` behind the last.
    pub next: Option<Cursor>,
}

/// What the rows of a page are to become. For [`Vault::stage_moved`].
#[derive(Debug, Default)]
pub struct Moved {
    walked: Walked,
    /// Each row as it is, and as it is to be.
    rows: Vec<(Box<Row>, Row)>,
}

impl Vault {
    /// Stages the next step of a walk (`None`: begins one) over at most `limit` rows, newest first. Nothing is moved before the unit's commit; after
    /// one that failed the step is done again from the same cursor.
    ///
    /// # Errors
    /// The store's, and at an edge its core's; no randomness, no locked memory. A row that does not verify is no error: it is named, and the walk goes
    /// on behind it.
    pub async fn reencrypt(&self, unit: &mut Unit, cursor: Option<Cursor>, limit: usize) -> Result<Walked, Error> {
        let cursor = cursor.unwrap_or_default();
        if let Some(edge) = &self.edge {
            return self.rewrap_objects(edge, unit, cursor.objects, limit).await;
        }
        let page = self.page(cursor, limit).await?;
        Ok(self.stage_moved(unit, self.move_page(page).await?))
    }

    /// Reads the rows of the next step of a core's walk, at most `limit`.
    ///
    /// # Errors
    /// The store's.
    pub async fn page(&self, mut cursor: Cursor, limit: usize) -> Result<Page, Error> {
        // Before anything is read, so that what is kept is never taken for newer than it is.
        let epoch = self.parents_epoch();
        if cursor.epoch != epoch {
            cursor.active.clear();
            cursor.epoch = epoch;
        }
        let limit = limit.clamp(1, WALKED_ROWS_MAX);
        let Some(layer) = LAYERS.get(cursor.layer).copied() else {
            return Ok(Page { cursor, layer: Layer::L3, rows: Vec::new(), next: None });
        };
        let rows = self.shelf.store.find(&Query { layer, terms: Vec::new(), before: cursor.before, limit }).await?;
        let next = match rows.last().filter(|_| rows.len() == limit) {
            Some(row) => Some(Cursor { before: Some(row.header.id), ..cursor.clone() }),
            None if cursor.layer + 1 < LAYERS.len() => Some(Cursor { layer: cursor.layer + 1, before: None, ..cursor.clone() }),
            None => None,
        };
        Ok(Page { cursor, layer, rows, next })
    }

    /// Finds out what the rows of a page are to become, and stages nothing of it.
    ///
    /// # Errors
    /// As [`Vault::reencrypt`].
    pub async fn move_page(&self, page: Page) -> Result<Moved, Error> {
        scrubbed_polls(self.moves(page)).await
    }

    async fn moves(&self, page: Page) -> Result<Moved, Error> {
        let Page { mut cursor, layer, rows, next } = page;
        let mut walked = Walked { looked: rows.len(), ..Walked::default() };
        let mut moved_rows = Vec::with_capacity(rows.len());
        for hint in rows {
            let Header { id, parent, .. } = hint.header;
            let moved = self.move_if_due(&mut cursor, hint).await;
            let lies_under = match &moved {
                Ok(_) => Some(self.shelf.registry.active_ivk()?.version),
                Err(Error::Corrupt { .. }) => Some(parent.version),
                Err(_) => None,
            };
            if let Some(version) = lies_under.filter(|_| layer == Layer::L2) {
                *walked.under.entry(version).or_default() += 1;
            }
            match moved {
                Ok(None) => {}
                Ok(Some(both)) => moved_rows.push(both),
                Err(Error::Corrupt { what, .. }) => {
                    walked.refused.push(Finding { row: id, what });
                    walked.left_under.push(parent.chain);
                }
                // Removed since it was found.
                Err(Error::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        // What it has met of the chains serves the next step too.
        walked.next = next.map(|next| Cursor { active: cursor.active, ..next });
        walked.moved = moved_rows.len();
        Ok(Moved { walked, rows: moved_rows })
    }

    /// Stages what became of a page, with one record.
    #[must_use]
    pub fn stage_moved(&self, unit: &mut Unit, Moved { walked, rows }: Moved) -> Walked {
        if let Some((_, Row { header, .. })) = rows.last() {
            unit.record(self.moved_record(unit, header.id, header.parent));
        }
        // Oldest first, as the stage keeps them, so that none is put in before others.
        rows.into_iter().rev().for_each(|(before, row)| unit.stage_onto(before, row));
        walked
    }

    /// Brings one row where it should lie, now: it is asked for, and nothing opens it there.
    ///
    /// # Errors
    /// [`Error::Raced`] if it changes all the time; [`Error::Corrupt`]; the store's.
    pub(crate) async fn move_now(&self, id: RowId) -> Result<(), Error> {
        for _ in 0..MOVES_MAX {
            let row = self.shelf.existing(id).await?;
            let Some((before, row)) = self.move_if_due(&mut Cursor::default(), row).await? else { return Ok(()) };
            let (mut unit, parent) = (self.begin(self.system), row.header.parent);
            unit.stage_onto(before, row);
            unit.record(self.moved_record(&unit, id, parent));
            match unit.commit().await {
                Err(CommitError::Conflict { .. }) => {}
                done => return Ok(done.map(drop)?),
            }
        }
        Err(Error::Raced)
    }

    pub(crate) fn moved_record(&self, unit: &Unit, id: RowId, parent: ParentRef) -> Record {
        let (time, session, action) = (self.now(), unit.session(), Action::Reencrypt);
        Record { time, session, action, object: Some(id), version: Some(parent.version), generation: None, outcome: Outcome::Success }
    }

    /// The row that a search has found as it is and as it is to be, if it does not lie where it should.
    async fn move_if_due(&self, cursor: &mut Cursor, hint: Row) -> Result<Option<(Box<Row>, Row)>, Error> {
        if self.target(cursor, &hint.header).await? == Some(hint.header.parent) {
            return Ok(None);
        }
        // What a search returns is believed only if it is what was seen last; else the row itself tells.
        let is_sound = self.shelf.registry.check_row(&hint).is_ok() && self.shelf.seen.check(&hint).is_ok();
        let row = if is_sound { hint } else { self.shelf.existing(hint.header.id).await? };
        let Some(parent) = self.target(cursor, &row.header).await?.filter(|parent| *parent != row.header.parent) else { return Ok(None) };
        let moved = self.moved(&row, parent).await?;
        Ok(Some((Box::new(row), moved)))
    }

    /// Under which version a row is to lie; `None` if nobody says.
    pub(crate) async fn target(&self, cursor: &mut Cursor, header: &Header) -> Result<Option<ParentRef>, Error> {
        if header.id.layer == Layer::L2 {
            return Ok(Some(self.shelf.registry.active_ivk()?));
        }
        let chain = header.parent.chain;
        if let Some(active) = cursor.active.get(&chain) {
            return Ok(Some(*active));
        }
        let active = self.active_version(header.owner.tenant, chain).await?;
        // A few at a time: neighbours mostly have the same one.
        if cursor.active.len() >= 64 {
            cursor.active.clear();
        }
        cursor.active.extend(active.map(|active| (chain, active)));
        Ok(active)
    }

    /// Opens what a core's row has sealed, attributes first, also from under a compromised version.
    pub(crate) async fn open_to_move(&self, row: &Row) -> Result<Vec<Bytes>, Error> {
        let header = &row.header;
        self.parent.unwrap_to_move(header.parent, &self.shut(row)).await.map_err(|error| at(error, header.id))
    }

    /// What a core's row has sealed, attributes first.
    pub(crate) fn shut<'r>(&self, row: &'r Row) -> Vec<(Binding, &'r [u8])> {
        let (registry, header) = (&self.shelf.registry, &row.header);
        let blobs = [(registry.attributes_binding(header), &row.attributes), (registry.material_binding(header), &row.material)];
        blobs.into_iter().filter_map(|(binding, blob)| Some((binding, blob.as_deref()?))).collect()
    }

    /// A key that lies under a compromised version as it lies under the Active one.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if none has taken the compromised one's place; as [`Vault::move_now`].
    pub(crate) async fn taken_out(&self, header: &Header) -> Result<Row, Error> {
        self.move_now(header.id).await?;
        let row = self.shelf.existing(header.id).await?;
        if row.header.parent == header.parent {
            return Err(Error::corrupt("what wraps it is compromised, and nothing has taken its place", header.id));
        }
        Ok(row)
    }

    /// A tenant's key as it lies under the Active IVK, if it lay under a compromised one.
    pub(crate) async fn rescued(&self, header: &Header) -> Result<Option<Row>, Error> {
        let registry = &self.shelf.registry;
        if header.id.layer != Layer::L2
            || registry.root(header.parent, Purpose::Process).is_ok()
            || registry.root(header.parent, Purpose::Rewrap).is_err()
        {
            return Ok(None);
        }
        self.move_now(header.id).await?;
        Ok(Some(self.shelf.existing(header.id).await?))
    }

    /// A core's row under another version of what wraps it: the next generation, material and attributes sealed anew and opened once more (C18).
    async fn moved(&self, row: &Row, parent: ParentRef) -> Result<Row, Error> {
        self.resealed(row, parent, &self.open_to_move(row).await?).await
    }

    /// What was opened of a row, sealed under `parent`.
    pub(crate) async fn resealed(&self, row: &Row, parent: ParentRef, opened: &[Bytes]) -> Result<Row, Error> {
        let (registry, old) = (&self.shelf.registry, &row.header);
        let header = Header {
            parent,
            generation: old.generation.next(),
            wrap_seq: old.wrap_seq + u64::from(row.material.is_some()),
            attributes_seq: old.attributes_seq + u64::from(row.attributes.is_some()),
            ..old.clone()
        };
        let places = [
            row.attributes.as_ref().map(|_| registry.attributes_binding(&header)),
            row.material.as_ref().map(|_| registry.material_binding(&header)),
        ];
        let open: Vec<_> = places.into_iter().flatten().zip(opened).collect();
        let mut sealed = self.parent.wrap(parent, &open).await.map_err(|error| at(error, old.id))?.into_iter();
        let attributes = row.attributes.as_ref().and_then(|_| sealed.next());
        let material = row.material.as_ref().and_then(|_| sealed.next());
        Ok(registry.seal_row(header, material, attributes, row.terms.clone()))
    }
}

/// A row of an edge with its object key as core has wrapped it anew, under `parent`: the next generation. Neither material nor attributes are
/// touched, because they lie under the object key and the attribute key.
///
/// # Errors
/// [`Error::Corrupt`] if the row has no object key.
pub(crate) fn rewrapped(registry: &Registry, row: &Row, parent: ParentRef, wrapped: &[u8]) -> Result<Row, Error> {
    let material = row.material.as_deref().ok_or_else(|| Error::corrupt("it has no object key", row.header.id))?;
    let envelope = Envelope::decode(material)?;
    let material = Envelope { wrapped, ..envelope }.encode();
    let header = Header { parent, generation: row.header.generation.next(), ..row.header.clone() };
    Ok(registry.seal_row(header, Some(material), row.attributes.clone(), row.terms.clone()))
}
