//! ReKeyKeyPair (KMIP 1.4 §4.5): a new pair in the place of another, both halves in one unit.
//!
//! Each half is replaced as ReKey replaces an L4: it stays what it is, and its replacement is what the dates say.

use cipher::pair::PairKind;
use secret::Bytes;

use crate::attributes::Attributes;
use crate::error::Error;
use crate::id::{RowId, Time};
use crate::policy::Authorized;
use crate::policy::verb::ReKeyKeyPair;
use crate::rekey::{Old, kept, must_be_newest, replacement};
use crate::row::Row;
use crate::unit::Unit;
use crate::vault::{Vault, View};

/// A half that may be replaced, and the attributes of what replaces it.
struct Half {
    row: Row,
    view: View,
    attributes: Attributes,
    now: Time,
}

impl Vault {
    /// Stages the replacement of a pair, the private half before the public one, by a new pair of this kind; returns the new halves.
    ///
    /// - `ids`: the names of the new halves, from [`Vault::new_object_id`].
    /// - `edit`: as that of [`Vault::rekey`], for one half and then for the other.
    ///
    /// A pair takes long to make, so that is done when nothing else is left that could be refused but a name that is taken.
    ///
    /// # Errors
    /// As [`Vault::rekey`], of either half; [`Error::NotMade`]; [`Error::Denied`] on a core.
    pub async fn rekey_pair<E: From<Error>>(
        &self,
        unit: &mut Unit,
        kind: PairKind,
        [private, public]: [Authorized<ReKeyKeyPair>; 2],
        ids: [RowId; 2],
        mut edit: impl FnMut(&View, Attributes, Time) -> Result<Attributes, E>,
    ) -> Result<[View; 2], E> {
        let pairs = &self.edge_keys()?.pairs;
        let private = self.half_to_replace(unit, private, &mut edit).await?;
        let public = self.half_to_replace(unit, public, &mut edit).await?;
        let made = pairs.make(kind).await.map_err(Error::from)?;
        let private = self.replace_half(unit, private, ids[0], made.private).await?;
        let public = self.replace_half(unit, public, ids[1], made.public).await?;
        Ok([private, public])
    }

    async fn half_to_replace<E: From<Error>>(
        &self,
        unit: &Unit,
        authorized: Authorized<ReKeyKeyPair>,
        edit: &mut impl FnMut(&View, Attributes, Time) -> Result<Attributes, E>,
    ) -> Result<Half, E> {
        let (row, view) = self.row_to_change(unit, &authorized).await?;
        must_be_newest(&view)?;
        let now = self.now();
        let mut attributes = kept(&view, edit(&view, replacement(&view, now), now)?, now);
        self.limit_life(&mut attributes.dates, now)?;
        Ok(Half { row, view, attributes, now })
    }

    async fn replace_half(&self, unit: &mut Unit, half: Half, id: RowId, material: Bytes) -> Result<View, Error> {
        let Half { row, view, attributes, now } = half;
        let service = row.header.owner.service.ok_or_else(|| Error::corrupt("it is no service's", row.header.id))?;
        let parent = self.leased_parent(service)?;
        let next = row.header.version.next();
        self.rotate(unit, Old { row, view, next, made: Some((id, material)) }, attributes, parent, now).await
    }
}
