//! The one way to a stored row: read, then believed only after its id, its MAC and its past were checked.
//!
//! A read may race a commit of this very node: what comes back is then older than what was seen meanwhile, without anybody having lied. So a row
//! that looks wrong is read once more, and again for as long as more of it has been seen since the read began (C9, F6: no false alarms). A row that may
//! have been removed since it was read is read again too: what is noted of it then would be missed ever after.
//!
//! Of a store that other nodes change too, no node knows which names and templates are to be there: those that are not are taken for removed by
//! another. That none was lost, the sweep tells by the digest of the bucket.

use std::sync::Arc;

use crate::error::Error;
use crate::freshness::{Moment, Seen};
use crate::id::{Layer, RowId};
use crate::port::{Keystore, Query, Scope};
use crate::registry::Registry;
use crate::row::Row;
use crate::sharing::Sharing;

/// Most reads of a row that others change all the time.
const READS_MAX: usize = 32;

/// A store whose rows are checked.
#[derive(Clone)]
pub(crate) struct Shelf {
    pub(crate) store: Arc<dyn Keystore>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) seen: Arc<Seen>,
    /// Who else uses the store, if it is shared.
    pub(crate) sharing: Option<Arc<Sharing>>,
}

impl Shelf {
    /// A row, or `None` where there is none and never was one.
    ///
    /// # Errors
    /// [`Error::Corrupt`] names a row that does not verify, came back older, or is gone; the store's.
    pub(crate) async fn row(&self, id: RowId) -> Result<Option<Row>, Error> {
        self.row_for(Scope::Node, id).await
    }

    /// As [`Shelf::row`], of what lies in `scope`: another tenant's row may be found or not, and is never missed.
    ///
    /// # Errors
    /// As [`Shelf::row`].
    pub(crate) async fn row_for(&self, scope: Scope, id: RowId) -> Result<Option<Row>, Error> {
        let mut reads = 1;
        loop {
            let moment = self.seen.moment(id);
            let row = self.store.retrieve_for(scope, id).await?;
            match self.believe(scope, id, row, moment) {
                Err(Error::Corrupt { .. }) if reads == 1 || reads < READS_MAX && self.seen.moment(id) != moment => reads += 1,
                Ok(Believed::Unnoted(_)) if reads < READS_MAX => reads += 1,
                Ok(Believed::Noted(row) | Believed::Unnoted(row)) => return Ok(Some(row)),
                Ok(Believed::Nothing) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// As [`Shelf::row`], for a row that must be there.
    ///
    /// # Errors
    /// [`Error::NotFound`]; as [`Shelf::row`].
    pub(crate) async fn existing(&self, id: RowId) -> Result<Row, Error> {
        self.existing_for(Scope::Node, id).await
    }

    /// As [`Shelf::existing`], of what lies in `scope`.
    ///
    /// # Errors
    /// As [`Shelf::existing`].
    pub(crate) async fn existing_for(&self, scope: Scope, id: RowId) -> Result<Row, Error> {
        self.row_for(scope, id).await?.ok_or(Error::NotFound)
    }

    /// The newest row that a search finds. What the search itself returns is only a hint.
    ///
    /// # Errors
    /// As [`Shelf::row`].
    pub(crate) async fn newest(&self, query: Query) -> Result<Option<Row>, Error> {
        self.newest_for(Scope::Node, query).await
    }

    /// As [`Shelf::newest`], of what lies in `scope`.
    ///
    /// # Errors
    /// As [`Shelf::row`].
    pub(crate) async fn newest_for(&self, scope: Scope, query: Query) -> Result<Option<Row>, Error> {
        let found = self.store.find_for(scope, &Query { limit: 1, ..query.clone() }).await?.pop();
        let Some(hint) = found else { return Ok(None) };
        let row = self.row_for(scope, hint.header.id).await?;
        Ok(row.filter(|row| query.terms.iter().all(|term| row.terms.contains(term))))
    }

    fn may_be_removed_by_others(&self, id: RowId) -> bool {
        self.sharing.is_some() && matches!(id.layer, Layer::L4 | Layer::Name)
    }

    fn believe(&self, scope: Scope, id: RowId, row: Option<Row>, moment: Moment) -> Result<Believed, Error> {
        let Some(row) = row else {
            let is_missed = self.seen.misses(id) && self.seen.owner(id).is_none_or(|owner| owner.is_in(scope));
            return match is_missed {
                true if self.may_be_removed_by_others(id) => {
                    self.seen.forget_since(id, moment);
                    Ok(Believed::Nothing)
                }
                true => Err(Error::corrupt("the keystore has lost it", id)),
                false => Ok(Believed::Nothing),
            };
        };
        if row.header.id != id {
            return Err(Error::corrupt("the keystore returned another record", id));
        }
        self.registry.check_row(&row)?;
        let is_noted = match self.seen.check_since(&row, moment) {
            // Another node has given the name up, and somebody has claimed it again.
            Err(_) if id.layer == Layer::Name && self.may_be_removed_by_others(id) => {
                self.seen.forget_since(id, moment);
                false
            }
            noted => noted?,
        };
        Ok(if is_noted { Believed::Noted(row) } else { Believed::Unnoted(row) })
    }
}

/// What a read has come to.
enum Believed {
    /// The row, which is missed from now on if it does not come back.
    Noted(Row),
    /// The row, if it was not removed meanwhile.
    Unnoted(Row),
    /// There is none, and nobody misses one.
    Nothing,
}
