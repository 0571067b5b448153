//! What lies under one version of a key: the look through the rows that comes before the version is archived or destroyed.
//!
//! Nothing new comes under a version that was replaced (`unit.rs`), so what a look has found to be unused stays unused; [`Unused`] is the proof, and
//! it is spent on the generation of the version's row that was looked at.
//!
//! Before a version of the IVK is destroyed the look also counts the destroyed keys of which no old byte can be opened any more afterwards. Old bytes of
//! a key survive in free pages and backups under every version that ever wrapped it. A tombstone names one of them at most, because the walk moves what is
//! left of it too; so all versions of its parent's chain count that were made before it was destroyed. If one of those is left, the key is not counted:
//! the number is rather too small than too large.

use std::collections::BTreeMap;

use crate::attributes::Attributes;
use crate::error::Error;
use crate::id::{ChainId, Generation, KeyVersion, Layer, RowId, Time};
use crate::lifecycle::State;
use crate::port::Query;
use crate::retire::retired;
use crate::row::{Header, ParentRef, Row, Term};
use crate::vault::Vault;

/// A look under way.
#[derive(Debug, Clone)]
pub struct Look {
    /// What is looked under.
    parent: ParentRef,
    /// The layers whose rows may lie there, and which of them is looked through now.
    layers: &'static [Layer],
    place: usize,
    terms: Vec<Term>,
    before: Option<RowId>,
    /// What becomes of the versions of each chain, of a look under an IVK.
    fates: Option<BTreeMap<ChainId, Vec<(Time, Fate)>>>,
    uses: Uses,
}

/// What a look has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uses {
    record: RowId,
    generation: Generation,
    /// Keys that lie under the version, tombstones too: their attributes do.
    pub keys: u64,
    /// Destroyed keys whose last old bytes only this version opens.
    pub shreds: u64,
}

/// Proof that nothing lies under one generation of a version's row.
#[derive(Debug)]
pub struct Unused {
    record: RowId,
    generation: Generation,
}

/// A look after some rows.
#[derive(Debug)]
pub enum Looked {
    /// There are more.
    On(Look),
    /// All were looked at.
    Through(Uses),
}

/// Whether a key can be opened from old bytes once the version that is looked under is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It can.
    Left,
    /// Not any more.
    Ends,
    /// It could not be before.
    Gone,
}

impl Uses {
    /// The proof that there are none.
    #[must_use]
    pub fn unused(&self) -> Option<Unused> {
        (self.keys == 0).then_some(Unused { record: self.record, generation: self.generation })
    }
}

impl Unused {
    /// Spends the proof on the row that it is of.
    ///
    /// # Errors
    /// [`Error::Raced`] if the row is another, or has changed since the look began.
    pub(crate) fn must_be_of(self, header: &Header) -> Result<(), Error> {
        if (self.record, self.generation) == (header.id, header.generation) { Ok(()) } else { Err(Error::Raced) }
    }
}

impl Look {
    fn new(header: &Header, layers: &'static [Layer]) -> Self {
        let uses = Uses { record: header.id, generation: header.generation, keys: 0, shreds: 0 };
        let parent = ParentRef { chain: header.chain, version: header.version };
        Self { parent, layers, place: 0, terms: Vec::new(), before: None, fates: None, uses }
    }

    /// Goes on behind `page`. Where no version of a chain ends with the one that is looked under, nothing below it does.
    fn next(mut self, page: &[Row], limit: usize) -> Looked {
        if page.len() == limit {
            self.before = page.last().map(|row| row.header.id);
            return Looked::On(self);
        }
        self.before = None;
        self.place += 1;
        let chains = self.fates.iter().flat_map(|fates| fates.iter().filter(|(chain, _)| **chain != self.parent.chain));
        let ends = chains.flat_map(|(_, versions)| versions).any(|(_, fate)| *fate == Fate::Ends);
        if self.place == self.layers.len() || self.fates.is_some() && !ends { Looked::Through(self.uses) } else { Looked::On(self) }
    }

    /// Does a row that cannot be read leave it open whether the version is used?
    fn needs_all(&self) -> bool {
        self.fates.is_none() || self.place == 0
    }
}

impl Vault {
    /// Begins to look what lies under a version of the IVK.
    ///
    /// # Errors
    /// [`Error::NotFound`] without such a version; [`Error::Corrupt`] names a version's record that does not verify; the store's.
    pub async fn look_under_ivk(&self, version: KeyVersion) -> Result<Look, Error> {
        let rows = self.ivk_rows().await?;
        let header = rows.iter().map(|row| &row.header).find(|header| header.version == version).ok_or(Error::NotFound)?;
        let fate = |header: &Header| match header.state {
            state if state.is_destroyed() => Fate::Gone,
            _ if header.version == version => Fate::Ends,
            _ => Fate::Left,
        };
        let fates = rows.iter().map(|row| (made(&row.header), fate(&row.header))).collect();
        let look = Look::new(header, &[Layer::L2, Layer::L21, Layer::L3]);
        Ok(Look { fates: Some(BTreeMap::from([(header.chain, fates)])), ..look })
    }

    /// Begins to look what lies under a version of a tenant's key.
    ///
    /// # Errors
    /// [`Error::Denied`] for a key under which others lie than a core's rows: no look finds those; [`Error::WrongState`] unless it is Deprecated or Compromised.
    pub fn look_under(&self, header: &Header) -> Result<Look, Error> {
        let layers: &[Layer] = match header.id.layer {
            Layer::L2 => &[Layer::L21, Layer::L3],
            Layer::L21 => &[Layer::L3],
            _ => return Err(Error::Denied { why: "only a tenant's L2 and L2.1 are archived by a look through its keys" }),
        };
        if header.state != State::Compromised {
            retired(header.state, header.id.layer)?;
        }
        let terms = vec![self.shelf.registry.integrity().terms.tenant(header.owner.tenant)];
        Ok(Look { terms, ..Look::new(header, layers) })
    }

    /// Looks at the next rows, at most `limit`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] names a row that does not verify: of that nobody can tell where it lies; the store's.
    pub async fn look_on(&self, mut look: Look, limit: usize) -> Result<Looked, Error> {
        let (layer, terms) = (look.layers[look.place], look.terms.clone());
        let forgotten = self.shelf.seen.forgotten();
        let page = self.shelf.store.find(&Query { layer, terms, before: look.before, limit }).await?;
        for hint in &page {
            let row = match self.believed(hint, forgotten).await {
                Err(Error::Corrupt { .. }) if !look.needs_all() => continue,
                row => row?,
            };
            let Some(row) = row else { continue };
            look.uses.keys += u64::from(row.header.parent == look.parent);
            if let Some(fates) = &mut look.fates {
                let fate = self.fate(fates, &row).await;
                look.uses.shreds += u64::from(fate == Fate::Ends);
                if matches!(row.header.id.layer, Layer::L2 | Layer::L21) {
                    fates.entry(row.header.chain).or_default().push((made(&row.header), fate));
                }
            }
        }
        Ok(look.next(&page, limit))
    }

    async fn fate(&self, fates: &BTreeMap<ChainId, Vec<(Time, Fate)>>, row: &Row) -> Fate {
        let above = fates.get(&row.header.parent.chain).map_or(&[][..], Vec::as_slice);
        let is_left_of = |until: Time| above.iter().any(|(made, fate)| *made <= until && *fate == Fate::Left);
        // Most keys live, or have lain under what is left: of those nothing needs to be opened.
        if row.material.is_some() || is_left_of(made(&row.header)) {
            return Fate::Left;
        }
        let Some(destroyed) = self.destroyed_at(row).await.filter(|destroyed| !is_left_of(*destroyed)) else { return Fate::Left };
        let may_have_wrapped: Vec<Fate> = above.iter().filter(|(made, _)| *made <= destroyed).map(|(_, fate)| *fate).collect();
        match &may_have_wrapped[..] {
            [] => Fate::Left,
            fates if fates.contains(&Fate::Ends) => Fate::Ends,
            _ => Fate::Gone,
        }
    }

    /// When a key was destroyed; `None` if what is left of it does not say.
    async fn destroyed_at(&self, row: &Row) -> Option<Time> {
        let opened = self.open_to_move(row).await.ok()?;
        opened.first()?.expose(Attributes::decode).ok()?.dates.destroy
    }
}

/// When a key was made, as its identifier says: a UUIDv7 begins with the milliseconds.
fn made(header: &Header) -> Time {
    let millis = header.id.uuid.as_u128() >> 80;
    Time::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
}
