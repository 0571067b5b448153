//! What a core has answered to changes that edges asked for in their clients' names, or pipelines by name, for ten minutes: a request that comes again
//! gets the answer that it had (F8).
//!
//! The answer is stored with the change, in one transaction, so there is never the one without the other.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::budget::RowHeader;
use crate::error::Error;
use crate::id::{Layer, RowId, ServiceId, TenantId, Time};
use crate::port::{Change, Query};
use crate::unit::Unit;
use crate::vault::Vault;

/// How long an answer is remembered, in milliseconds.
pub const REMEMBERED_MILLIS: i64 = 10 * 60 * 1000;
/// Longest answer that is remembered; no change has one that long.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Rows that one look for old answers brings.
const PAGE_ROWS: usize = 256;

/// A request that an edge forwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forwarded {
    /// The edge's group, or the service that was deployed.
    pub group: ServiceId,
    /// The name that the edge gave it.
    pub request: Uuid,
    /// SHA-256 of the client's certificate and of the message: under one name there is one request.
    pub asked: [u8; 32],
}

#[derive(Debug, Serialize, Deserialize)]
struct Remembered {
    asked: [u8; 32],
    answer: Vec<u8>,
}

impl Vault {
    /// The answer that a request has had already.
    ///
    /// # Errors
    /// [`Error::Invalid`] if another request had the name; [`Error::Corrupt`]; the store's.
    pub async fn remembered(&self, forwarded: &Forwarded) -> Result<Option<Vec<u8>>, Error> {
        let row = match self.shelf.existing(self.answer_row(forwarded)).await {
            Ok(row) => row,
            Err(Error::NotFound) => return Ok(None),
            Err(error) => return Err(error),
        };
        let Remembered { asked, answer } = self.content(&row).await?;
        if asked != forwarded.asked {
            return Err(Error::invalid("Strongroom-Request-Id", "another request had this name"));
        }
        Ok(Some(answer))
    }

    /// Stages the answer to a request with the changes that it has made; nothing if it has made none.
    ///
    /// # Errors
    /// No randomness, no locked memory.
    pub async fn remember(&self, unit: &mut Unit, forwarded: &Forwarded, answer: &[u8]) -> Result<(), Error> {
        if unit.changes().next().is_none() || answer.len() > ANSWER_BYTES_MAX {
            return Ok(());
        }
        let place = RowHeader { id: self.answer_row(forwarded), owner: TenantId::SYSTEM, expected: None };
        let content = Remembered { asked: forwarded.asked, answer: answer.to_vec() };
        let mut row = self.record_row(place, &content, Vec::new()).await?;
        row.header.expiry = Some(Time::from_millis(self.now().millis().saturating_add(REMEMBERED_MILLIS)));
        let row = self.shelf.registry.seal_row(row.header, None, row.attributes, row.terms);
        unit.stage(Change::Insert(row));
        Ok(())
    }

    /// Removes answers whose time is over; returns how many.
    ///
    /// # Errors
    /// The store's.
    pub async fn forget_answers(&self) -> Result<usize, Error> {
        let mut query = Query { layer: Layer::Answer, terms: Vec::new(), before: None, limit: PAGE_ROWS };
        let mut forgotten = 0;
        loop {
            let page = self.shelf.store.find(&query).await?;
            let mut unit = self.begin(self.system);
            for hint in &page {
                let Ok(Some(row)) = self.shelf.row(hint.header.id).await else { continue };
                if row.header.expiry.is_none_or(|expiry| expiry <= self.now()) {
                    unit.stage(Change::Delete { id: row.header.id, expected: row.header.generation });
                    forgotten += 1;
                }
            }
            if unit.changes().next().is_some() {
                let _receipt = unit.commit().await?;
            }
            match page.last().filter(|_| page.len() == PAGE_ROWS) {
                Some(last) => query.before = Some(last.header.id),
                None => return Ok(forgotten),
            }
        }
    }

    fn answer_row(&self, forwarded: &Forwarded) -> RowId {
        let parts: [&[u8]; 3] = [b"answer to an edge", forwarded.group.as_bytes(), forwarded.request.as_bytes()];
        let mac = self.shelf.registry.integrity().registry_mac(&parts);
        RowId::new(Layer::Answer, Uuid::from_bytes(*mac.first_chunk().expect("a MAC has 32 bytes")))
    }
}
