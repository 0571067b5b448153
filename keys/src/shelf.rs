//! The one way to a stored row: read, then believed only after its id, its MAC and its past were checked.
//!
//! A read may race a commit of this very node: what comes back is then older than what was seen meanwhile, without anybody having lied. So a row
//! that looks wrong is read once more, and again for as long as more of it has been seen since the read began (C9, F6: no false alarms).

use std::sync::Arc;

use crate::error::Error;
use crate::freshness::Seen;
use crate::id::RowId;
use crate::port::{Keystore, Query};
use crate::registry::Registry;
use crate::row::Row;

/// Most reads of a row that others change all the time.
const READS_MAX: usize = 32;

/// A store whose rows are checked.
#[derive(Clone)]
pub(crate) struct Shelf {
    pub(crate) store: Arc<dyn Keystore>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) seen: Arc<Seen>,
}

impl Shelf {
    /// A row, or `None` where there is none and never was one.
    ///
    /// # Errors
    /// [`Error::Corrupt`] names a row that does not verify, came back older, or is gone; the store's.
    pub(crate) async fn row(&self, id: RowId) -> Result<Option<Row>, Error> {
        let mut reads = 1;
        loop {
            let seen = self.seen.mark(id);
            let row = self.store.retrieve(id).await?;
            match self.believe(id, row) {
                Err(Error::Corrupt { .. }) if reads == 1 || reads < READS_MAX && self.seen.mark(id) != seen => reads += 1,
                believed => return believed,
            }
        }
    }

    /// As [`Shelf::row`], for a row that must be there.
    ///
    /// # Errors
    /// [`Error::NotFound`]; as [`Shelf::row`].
    pub(crate) async fn existing(&self, id: RowId) -> Result<Row, Error> {
        self.row(id).await?.ok_or(Error::NotFound)
    }

    /// The newest row that a search finds. What the search itself returns is only a hint.
    ///
    /// # Errors
    /// As [`Shelf::row`].
    pub(crate) async fn newest(&self, query: Query) -> Result<Option<Row>, Error> {
        let found = self.store.find(&Query { limit: 1, ..query.clone() }).await?.pop();
        let Some(hint) = found else { return Ok(None) };
        let row = self.row(hint.header.id).await?;
        Ok(row.filter(|row| query.terms.iter().all(|term| row.terms.contains(term))))
    }

    fn believe(&self, id: RowId, row: Option<Row>) -> Result<Option<Row>, Error> {
        let Some(row) = row else {
            return if self.seen.knows(id) { Err(Error::corrupt("the keystore has lost it", id)) } else { Ok(None) };
        };
        if row.header.id != id {
            return Err(Error::corrupt("the keystore returned another record", id));
        }
        self.registry.check_row(&row)?;
        self.seen.check(&row)?;
        Ok(Some(row))
    }
}
