//! The background sweep: every stored row is read again and opened, before somebody needs it (C18, C9 b).
//!
//! A pass goes through the layers in order, newest row first, a page at a time. Each row must have its MAC, must not be older than what was seen, and
//! must open. What cannot be seen row by row (one that is missing, or that the store cannot even read) shows at the end: the rows of each bucket must
//! add up to the digest in the bucket's own record, unless the bucket has changed during the pass.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Error;
use crate::freshness::{BUCKETS, Bucket, bucket_of, bucket_row, row_mac};
use crate::id::{Generation, Layer, RowId};
use crate::port::Query;
use crate::row::Row;
use crate::vault::Vault;

/// Most rows of one step.
pub const SWEPT_ROWS_MAX: usize = 4096;

/// A stored record that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which.
    pub row: RowId,
    /// What is wrong with it.
    pub what: String,
}

/// How far a pass has come.
#[derive(Debug, Clone)]
pub struct Cursor {
    layer: Layer,
    before: Option<RowId>,
    /// The buckets when the pass began.
    began: BTreeMap<u16, (Generation, Bucket)>,
    /// What the rows so far add up to.
    sums: BTreeMap<u16, Bucket>,
    /// Buckets that cannot add up, because a row of theirs was found.
    explained: BTreeSet<u16>,
}

impl Vault {
    /// Goes on with a pass (`None`: begins one) for at most `limit` rows. It reads the store and opens keys, so call it seldom and in small steps.
    ///
    /// Returns where to go on, `None` after the last row, and what was found. A key whose parent may not be used any more is found as well: it does
    /// not open.
    ///
    /// # Errors
    /// The store's; the step can be repeated then.
    pub async fn sweep(&self, cursor: Option<Cursor>, limit: usize) -> Result<(Option<Cursor>, Vec<Finding>), Error> {
        let mut findings = Vec::new();
        let mut cursor = match cursor {
            Some(cursor) => cursor,
            None => self.first(&mut findings).await?,
        };
        let limit = limit.clamp(1, SWEPT_ROWS_MAX);
        let query = Query { layer: cursor.layer, terms: Vec::new(), before: cursor.before, limit };
        let page = self.shelf.store.find(&query).await?;
        let mut suspects = Vec::new();
        for id in page.iter().map(|hint| hint.header.id) {
            let number = bucket_of(self.registry().integrity(), id);
            match self.swept(id).await? {
                Ok(Some(row)) => cursor.count(number, &row_mac(self.registry().integrity(), &row)),
                Ok(None) => {}
                Err(finding) => {
                    cursor.explained.extend(number);
                    suspects.push(finding.row);
                }
            }
        }
        // A commit of this very moment looks like damage: removed rows are gone before that is known. By now it has ended.
        for id in suspects {
            findings.extend(self.swept(id).await?.err());
        }
        cursor.before = page.last().map(|row| row.header.id);
        if page.len() == limit {
            return Ok((Some(cursor), findings));
        }
        if let Some(layer) = layer_after(cursor.layer) {
            (cursor.layer, cursor.before) = (layer, None);
            return Ok((Some(cursor), findings));
        }
        self.compare(&cursor, &mut findings).await?;
        Ok((None, findings))
    }

    /// Reads, believes and opens one row. What looks wrong is looked at once more, because a commit may have come in between.
    async fn swept(&self, id: RowId) -> Result<Result<Option<Row>, Finding>, Error> {
        let mut looked = self.look(id).await;
        if matches!(looked, Err(Error::Corrupt { .. })) {
            looked = self.look(id).await;
        }
        match looked {
            Ok(row) => Ok(Ok(row)),
            Err(Error::Corrupt { what, .. }) => Ok(Err(Finding { row: id, what })),
            Err(error) => Err(error),
        }
    }

    async fn look(&self, id: RowId) -> Result<Option<Row>, Error> {
        let Some(row) = self.shelf.row(id).await? else { return Ok(None) };
        match id.layer {
            Layer::L2 | Layer::L21 | Layer::L3 | Layer::L4 => drop(self.open_row(&row).await?),
            // Wrapped by the MasterKey, which is not at hand; opened at every unseal.
            Layer::Ivk | Layer::Integrity | Layer::Audit => {}
            Layer::Cluster | Layer::Tenant | Layer::Service | Layer::Name | Layer::IvBudget | Layer::Bucket => {
                self.open_record(&row).await?
            }
        }
        Ok(Some(row))
    }

    async fn open_record(&self, row: &Row) -> Result<(), Error> {
        let Some(blob) = row.attributes.as_deref() else { return Ok(()) };
        let binding = self.registry().attributes_binding(&row.header);
        self.parent.unwrap(row.header.parent, &[(binding, blob)]).await?;
        Ok(())
    }

    async fn first(&self, findings: &mut Vec<Finding>) -> Result<Cursor, Error> {
        let mut cursor =
            Cursor { layer: FIRST_LAYER, before: None, began: BTreeMap::new(), sums: BTreeMap::new(), explained: BTreeSet::new() };
        let mut query = Query { layer: Layer::Bucket, terms: Vec::new(), before: None, limit: SWEPT_ROWS_MAX };
        loop {
            let page = self.shelf.store.find(&query).await?;
            for number in page.iter().filter_map(|hint| bucket_number(hint.header.id)) {
                match self.bucket(number).await {
                    Ok(bucket) => cursor.began.extend(bucket.map(|bucket| (number, bucket))),
                    Err(Error::Corrupt { what, .. }) => {
                        cursor.explained.insert(number);
                        findings.push(Finding { row: bucket_row(number), what });
                    }
                    Err(error) => return Err(error),
                }
            }
            query.before = page.last().map(|row| row.header.id);
            if page.len() < query.limit {
                return Ok(cursor);
            }
        }
    }

    async fn bucket(&self, number: u16) -> Result<Option<(Generation, Bucket)>, Error> {
        let Some(row) = self.shelf.row(bucket_row(number)).await? else { return Ok(None) };
        Ok(Some((row.header.generation, self.content(&row).await?)))
    }

    /// Compares sums and digests of the buckets that did not change meanwhile. Where they differ, rows of the bucket that were seen once and do not
    /// read now are named; else the bucket is.
    async fn compare(&self, cursor: &Cursor, findings: &mut Vec<Finding>) -> Result<(), Error> {
        let mut odd = Vec::new();
        for number in (0..BUCKETS).filter(|number| !cursor.adds_up(*number)) {
            let began = cursor.began.get(&number).map(|(generation, _)| *generation);
            match self.bucket(number).await {
                Ok(now) if now.map(|(generation, _)| generation) != began => {}
                Ok(_) | Err(Error::Corrupt { .. }) => odd.push(number),
                Err(error) => return Err(error),
            }
        }
        if odd.is_empty() {
            return Ok(());
        }
        let mut named = BTreeSet::new();
        for id in self.shelf.seen.ids() {
            let Some(number) = bucket_of(self.registry().integrity(), id).filter(|number| odd.contains(number)) else { continue };
            if let Err(finding) = self.swept(id).await? {
                named.insert(number);
                findings.push(finding);
            }
        }
        let what = "its rows do not add up: one is missing, older than it was, or cannot be read";
        let unnamed = odd.into_iter().filter(|number| !named.contains(number));
        findings.extend(unnamed.map(|number| Finding { row: bucket_row(number), what: what.to_owned() }));
        Ok(())
    }
}

impl Cursor {
    fn adds_up(&self, number: u16) -> bool {
        let digest = |bucket: Option<&Bucket>| bucket.copied().unwrap_or_default().digest;
        self.explained.contains(&number) || digest(self.sums.get(&number)) == digest(self.began.get(&number).map(|(_, bucket)| bucket))
    }

    fn count(&mut self, bucket: Option<u16>, mac: &[u8; 32]) {
        if let Some(number) = bucket {
            self.sums.entry(number).or_default().add(mac);
        }
    }
}

/// The bucket whose record this is.
fn bucket_number(id: RowId) -> Option<u16> {
    u16::try_from(id.uuid.as_u128()).ok().filter(|number| *number < BUCKETS)
}

const FIRST_LAYER: Layer = Layer::Cluster;

fn layer_after(layer: Layer) -> Option<Layer> {
    (layer as u8 + 1..=u8::MAX).find_map(|number| Layer::try_from(number).ok())
}
