//! The walk over an edge's rows that has every object key wrapped under the Active version of its service's L3, and so finds out which versions the
//! edge has left (`references.rs`).
//!
//! Material and attributes stay as they are: only the wrapped object key in the envelope changes. Nothing is kept open for it that was not open before.
//! Of a compromised version only this opens anything, and the move of an object at its first use, which is the same step.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use crate::edge::Tended;
use crate::error::Error;
use crate::id::{Layer, RowId, Time};
use crate::lease::Current;
use crate::lifecycle::{Purpose, State};
use crate::object_keys::{ObjectKeys, attribute_key_row};
use crate::port::{Change, Query, WRAPPED_KEYS_MAX};
use crate::reencrypt::{Cursor, Walked, rewrapped};
use crate::references::{LEFT_MAX, References};
use crate::row::{Header, ParentRef, Row};
use crate::sweep::Finding;
use crate::unit::Unit;
use crate::vault::{Vault, Want, at};
use crate::wrap::WrapError;

/// What is walked, in this order.
const LAYERS: [Layer; 2] = [Layer::AttributeKey, Layer::L4];

/// How far a walk over an edge's rows has come.
#[derive(Debug, Clone)]
pub(crate) struct Objects {
    /// The lease at its begin: what it claims is about versions that were replaced by then.
    lease: Arc<Current>,
    began: Time,
    layer: usize,
    before: Option<RowId>,
    /// Parents of the rows that stay where they are.
    stays: HashSet<ParentRef>,
    /// How many rows do not verify.
    damaged: u64,
}

impl Objects {
    /// What a whole walk has found.
    fn references(&self) -> References {
        let services = self.lease.lease.tenants.iter().flat_map(|tenant| &tenant.services);
        let versions = services.flat_map(|service| service.versions.iter().map(|key| (service.chain, key)));
        let is_left = |parent: ParentRef| self.damaged == 0 && !self.stays.contains(&parent);
        // Neither wraps again. What is compromised is destroyed once it is left, and what is retired was left.
        let is_over = |state| matches!(state, State::Deprecated | State::Compromised);
        let left = versions.filter(|(chain, key)| is_over(key.state) && is_left(ParentRef { chain: *chain, version: key.version }));
        let left: BTreeSet<RowId> = left.map(|(_, key)| key.id).collect();
        References { began: Some(self.began), left: left.into_iter().take(LEFT_MAX).collect(), damaged: self.damaged }
    }
}

impl Vault {
    /// As [`Vault::reencrypt`], at an edge.
    pub(crate) async fn rewrap_objects(
        &self,
        edge: &ObjectKeys,
        unit: &mut Unit,
        objects: Option<Objects>,
        limit: usize,
    ) -> Result<Walked, Error> {
        let mut objects = match objects {
            Some(objects) => objects,
            None => self.begin_walk(edge).await?,
        };
        let limit = limit.clamp(1, WRAPPED_KEYS_MAX);
        let Some(layer) = LAYERS.get(objects.layer).copied() else { return Ok(Walked::default()) };
        let forgotten = self.shelf.seen.forgotten();
        let page = self.shelf.store.find(&Query { layer, terms: Vec::new(), before: objects.before, limit }).await?;
        let mut walked = Walked { looked: page.len(), ..Walked::default() };
        let due = self.due_rows(edge, &mut objects, (&page, forgotten), &mut walked).await?;
        for (active, rows) in due {
            let mut last = None;
            for (row, moved) in rows.iter().zip(self.rewrap_rows(edge, &rows, active).await?) {
                match moved {
                    Ok(change) => {
                        last = Some(row.header.id);
                        walked.moved += 1;
                        unit.stage(change);
                    }
                    Err(finding) => {
                        objects.stays.insert(row.header.parent);
                        walked.refused.push(finding);
                    }
                }
            }
            if let Some(id) = last {
                unit.record(self.moved_record(unit, id, active));
            }
        }
        match page.last().filter(|_| page.len() == limit) {
            Some(row) => objects.before = Some(row.header.id),
            None => (objects.layer, objects.before) = (objects.layer + 1, None),
        }
        if objects.layer < LAYERS.len() {
            walked.next = Some(Cursor::among(objects));
        } else {
            walked.references = Some(objects.references());
        }
        Ok(walked)
    }

    /// What becomes of rows that are to come under `active`, in order: the change that brings each there, or why it stays where it is.
    ///
    /// # Errors
    /// [`Error::Raced`] if `active` was replaced meanwhile; no core answers. Nothing can be said of any row then.
    pub(crate) async fn rewrap_rows(
        &self,
        edge: &ObjectKeys,
        rows: &[Row],
        active: ParentRef,
    ) -> Result<Vec<Result<Change, Finding>>, Error> {
        let wrapped = match edge.rewrap_each(rows, active).await {
            Ok(wrapped) => wrapped,
            // The core lets nothing come under `active`, which is about the rows of this service alone.
            Err(error) => {
                let what = why_it_stays(error)?;
                return Ok(rows.iter().map(|row| Err(Finding { row: row.header.id, what: what.clone() })).collect());
            }
        };
        let outcome = |(row, wrapped): (&Row, Result<Vec<u8>, WrapError>)| {
            let moved = wrapped.map_err(|error| at(error, row.header.id));
            match moved.and_then(|wrapped| rewrapped(&self.shelf.registry, row, active, &wrapped)) {
                Ok(moved) => Ok(Ok(Change::Update { expected: row.header.generation, row: moved })),
                Err(error) => Ok(Err(Finding { row: row.header.id, what: why_it_stays(error)? })),
            }
        };
        rows.iter().zip(wrapped).map(outcome).collect()
    }

    /// An object as it lies under the Active L3, if it, or the key that its attributes lie under, lay under a compromised one and is to be opened now.
    pub(crate) async fn rescued_object(&self, edge: &ObjectKeys, header: &Header, want: Want) -> Result<Option<Row>, Error> {
        let current = edge.leases.current();
        let is_compromised = |parent: ParentRef| {
            let is_so = current.version(parent).is_some_and(|key| key.state == State::Compromised);
            is_so && current.is_replaced(parent)
        };
        let mut due = Vec::new();
        if let Some(service) = header.owner.service.filter(|service| edge.known_attribute_key(*service).is_none()) {
            let row = self.shelf.row(attribute_key_row(service)).await?;
            due.extend(row.filter(|row| is_compromised(row.header.parent)).map(|row| row.header.id));
        }
        // What is known of an object is told without its own key.
        due.extend((want == Want::Material && is_compromised(header.parent)).then_some(header.id));
        if due.is_empty() {
            return Ok(None);
        }
        let wanted = due.len();
        let Tended { rewrapped, refused } = self.rewrap(due).await?;
        // Somebody else changed them just then.
        if rewrapped < wanted && refused.is_empty() {
            return Err(Error::Raced);
        }
        Ok(Some(self.shelf.existing(header.id).await?))
    }

    async fn begin_walk(&self, edge: &ObjectKeys) -> Result<Objects, Error> {
        let (lease, began) = (edge.leases.current(), self.now());
        // What was taken in under an earlier lease is stored by then, and the writer takes nothing more in under a version that this one says is replaced.
        self.units.settled().await?;
        Ok(Objects { lease, began, layer: 0, before: None, stays: HashSet::new(), damaged: 0 })
    }

    /// The rows of a page that are to come under another version, by that version.
    async fn due_rows(
        &self,
        edge: &ObjectKeys,
        objects: &mut Objects,
        (page, forgotten): (&[Row], u64),
        walked: &mut Walked,
    ) -> Result<BTreeMap<ParentRef, Vec<Row>>, Error> {
        let current = edge.leases.current();
        let mut due: BTreeMap<ParentRef, Vec<Row>> = BTreeMap::new();
        for hint in page {
            let id = hint.header.id;
            let fresh = match self.believed(hint, forgotten).await {
                Ok(Some(row)) => row,
                // Removed since it was found.
                Ok(None) => continue,
                Err(Error::Corrupt { what, .. }) => {
                    objects.damaged += 1;
                    walked.refused.push(Finding { row: id, what });
                    continue;
                }
                Err(error) => return Err(error),
            };
            let row = &*fresh;
            let parent = row.header.parent;
            // A destroyed object has nothing under its L3.
            if row.material.is_none() {
                continue;
            }
            match current.chain(parent.chain).and_then(|(_, service)| service.active()) {
                Some(active) if active == parent => {}
                Some(active) if current.key(parent, Purpose::Rewrap).is_some() => due.entry(active).or_default().push(row.clone()),
                Some(_) => {
                    objects.stays.insert(parent);
                    let what = format!("the core opens nothing more under version {} of its L3", parent.version.0);
                    walked.refused.push(Finding { row: id, what });
                }
                // Of a tenant that is not served now, or of a service whose key has no Active version.
                None => drop(objects.stays.insert(parent)),
            }
        }
        Ok(due)
    }

    /// The row that a search has found, if it is what was seen last, or as it really is; `None` if it is gone.
    ///
    /// - `forgotten`: how many rows were when the search began.
    pub(crate) async fn believed<'r>(&self, hint: &'r Row, forgotten: u64) -> Result<Option<Cow<'r, Row>>, Error> {
        let is_sound = self.shelf.registry.check_row(hint).is_ok() && self.shelf.seen.takes_hint(hint, forgotten);
        if is_sound { Ok(Some(Cow::Borrowed(hint))) } else { Ok(self.shelf.row(hint.header.id).await?.map(Cow::Owned)) }
    }
}

/// What keeps an object where it is. Any other error says nothing of it.
fn why_it_stays(error: Error) -> Result<String, Error> {
    match error {
        Error::Corrupt { what, .. } => Ok(what),
        Error::Withdrawn { .. } => Ok(error.to_string()),
        other => Err(other),
    }
}
