//! The background sweep: every stored row is read again and opened, before somebody needs it (C18, C9 b).
//!
//! A pass reads the buckets' own records first, then goes through the layers in order, newest row first. Each row must have its MAC, must not be
//! older than what was seen, must open, and must be listed in the index by every term that it carries. What cannot be seen row by row (one that is
//! missing, or that the store cannot even read) shows at the end: the rows of each bucket must add up to the digest in the bucket's own record. Of
//! a bucket that has changed during the pass that cannot be said of what the pass has read. Its rows, all of which this node has seen by now, are read once
//! more, in one go: if the bucket's own record is the same before and after, they must add up. A bucket that changes too fast even for that is left out
//! after some rounds, and it is told which were compared.
//!
//! Where several nodes share the store, the digest of a bucket is the sum of what each has added to it, and the generations of these parts together tell
//! whether any of them has changed. What another node has made meanwhile this node may not have seen yet, so before each round it looks through
//! the store for rows of those buckets.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::attributes::Attributes;
use crate::error::Error;
use crate::freshness::{BUCKETS, Bucket, bucket_of, bucket_row, row_mac};
use crate::id::{Generation, Layer, RowId};
use crate::port::Query;
use crate::row::Row;
use crate::sharing::{NODES_MAX, above_parts, bucket_number};
use crate::vault::{Vault, Want};

/// Most rows of one step.
pub const SWEPT_ROWS_MAX: usize = 4096;
/// So often a bucket is read in one go before it is left out.
const ROUNDS_MAX: u32 = 4;

/// A stored record that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which; a bucket's record if it cannot be said more closely.
    pub row: RowId,
    /// What is wrong with it.
    pub what: String,
}

/// What one step of a pass has done.
#[derive(Debug, Default)]
pub struct Swept {
    /// Where to go on; `None` after the last step.
    pub next: Option<Cursor>,
    /// What was found; the last steps tell all of it. A row may be found twice in a pass.
    pub findings: Vec<Finding>,
    /// How many rows were read and opened.
    pub rows: usize,
    /// Buckets whose rows were compared with their digest, whatever came of it.
    pub compared: Vec<u16>,
}

/// How far a pass has come.
#[derive(Debug, Clone, Default)]
pub struct Cursor {
    at: Place,
    /// The buckets when the pass began.
    began: BTreeMap<u16, (Generation, Bucket)>,
    /// What the rows so far add up to, and how many they are.
    sums: BTreeMap<u16, (Bucket, u32)>,
    /// Buckets that cannot add up, because a row of theirs was found.
    explained: BTreeSet<u16>,
    /// Buckets that do not add up. `true`: and nothing explains it.
    odd: BTreeMap<u16, bool>,
    /// Buckets that changed during the pass and their rows, still to be read in one go.
    changed: Vec<(u16, Vec<RowId>)>,
    /// Those that have been read so, and have to be once more: `None` if they changed again, else at which generation they did not add up.
    again: BTreeMap<u16, Option<Generation>>,
    /// How many rounds of that there were.
    rounds: u32,
    /// Rows of odd buckets that were seen once, still to be looked at.
    names: Vec<RowId>,
    /// Rows that looked wrong. A commit of that very moment looks like damage, because removed rows are gone before that is known; so they are looked
    /// at again when it has long ended.
    suspects: Vec<RowId>,
}

/// What comes next.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// Buckets' records below this one.
    Buckets(Option<RowId>),
    /// Rows of this layer below this one.
    Rows(Layer, Option<RowId>),
    /// The same, which another node may have made meanwhile.
    Others(Layer, Option<RowId>),
    /// This bucket's comparison.
    Compare(u16),
    /// The rows in [`Cursor::names`].
    Names,
    /// The buckets in [`Cursor::changed`].
    Changed,
    /// The rows in [`Cursor::suspects`].
    Suspects,
}

impl Default for Place {
    fn default() -> Self {
        Self::Buckets(None)
    }
}

impl Vault {
    /// Goes on with a pass (`None`: begins one) for at most `limit` rows. It reads the store and opens keys, so call it in small steps.
    ///
    /// A key whose parent may not be used any more is found as well: it does not open. Memory: a few hundred kilobytes for the buckets, and what
    /// freshness keeps of each row that was seen (40 to 80 bytes).
    ///
    /// # Errors
    /// The store's; the step can be repeated then. [`Error::Corrupt`] means that the store cannot even list its rows, so nothing else can be said.
    pub async fn sweep(&self, cursor: Option<Cursor>, limit: usize) -> Result<Swept, Error> {
        let mut cursor = cursor.unwrap_or_default();
        let limit = limit.clamp(1, SWEPT_ROWS_MAX);
        let mut swept = Swept::default();
        let next = match cursor.at {
            Place::Buckets(before) => Some(self.sweep_buckets(&mut cursor, before, limit, &mut swept).await?),
            Place::Rows(layer, before) => Some(self.sweep_rows(&mut cursor, layer, before, limit, &mut swept).await?),
            Place::Others(layer, before) => Some(self.sweep_others(&mut cursor, layer, before, limit, &mut swept).await?),
            Place::Compare(number) => Some(self.compare(&mut cursor, number, limit, &mut swept).await?),
            Place::Names => Some(self.sweep_names(&mut cursor, limit).await?),
            Place::Changed => Some(self.sweep_changed(&mut cursor, &mut swept).await?),
            Place::Suspects => self.sweep_suspects(&mut cursor, limit, &mut swept).await?,
        };
        swept.next = next.map(|at| Cursor { at, ..cursor });
        Ok(swept)
    }

    async fn sweep_buckets(&self, cursor: &mut Cursor, before: Option<RowId>, limit: usize, swept: &mut Swept) -> Result<Place, Error> {
        let page = self.shelf.store.find(&Query { layer: Layer::Bucket, terms: Vec::new(), before, limit }).await?;
        swept.rows += page.len();
        for number in page.iter().filter_map(|hint| bucket_number(hint.header.id)) {
            if cursor.began.contains_key(&number) {
                continue;
            }
            match self.bucket(number).await {
                Ok(bucket) => cursor.began.extend(bucket.map(|bucket| (number, bucket))),
                Err(Error::Corrupt { what, .. }) => {
                    cursor.explained.insert(number);
                    swept.findings.push(Finding { row: bucket_row(number), what });
                }
                Err(error) => return Err(error),
            }
        }
        let last = page.last().filter(|_| page.len() == limit);
        Ok(last.map_or(Place::Rows(FIRST_LAYER, None), |last| Place::Buckets(Some(last.header.id))))
    }

    async fn sweep_rows(
        &self,
        cursor: &mut Cursor,
        layer: Layer,
        before: Option<RowId>,
        limit: usize,
        swept: &mut Swept,
    ) -> Result<Place, Error> {
        let page = self.shelf.store.find(&Query { layer, terms: Vec::new(), before, limit }).await?;
        swept.rows += page.len();
        for id in page.iter().map(|hint| hint.header.id) {
            let number = bucket_of(self.registry().integrity(), id);
            match self.swept(id).await? {
                Ok(Some(row)) => cursor.count(number, &row_mac(self.registry().integrity(), &row)),
                Ok(None) => {}
                Err(finding) => {
                    cursor.explained.extend(number);
                    cursor.suspects.push(finding.row);
                }
            }
        }
        if let Some(last) = page.last().filter(|_| page.len() == limit) {
            return Ok(Place::Rows(layer, Some(last.header.id)));
        }
        Ok(layer_after(layer).map_or(Place::Compare(0), |layer| Place::Rows(layer, None)))
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
            // Where it lies is the re-encryption's matter.
            Layer::L2 | Layer::L21 | Layer::L3 => {
                let opened = self.open_to_move(&row).await?;
                let attributes =
                    opened.first().filter(|_| row.attributes.is_some()).ok_or_else(|| Error::corrupt("it has no attributes", id))?;
                attributes.expose(Attributes::decode).map_err(|error| Error::corrupt(&error.to_string(), id))?;
            }
            // Its material is the core's to open, and so are all attributes of a tenant that is not served.
            Layer::L4 => match self.open_row(&row, Want::Attributes).await {
                Ok(_) | Err(Error::Withdrawn { .. }) => {}
                Err(error) => return Err(error),
            },
            // Wrapped by the MasterKey, which is not at hand, or by the core; opened at every unseal.
            Layer::Ivk | Layer::Integrity | Layer::Audit | Layer::AttributeKey | Layer::Request => {}
            Layer::Cluster
            | Layer::Tenant
            | Layer::Service
            | Layer::EdgeGroup
            | Layer::Resource
            | Layer::Name
            | Layer::IvBudget
            | Layer::UsageBudget
            | Layer::Bucket
            | Layer::Answer => self.open_record(&row).await?,
        }
        self.must_be_listed(&row).await?;
        Ok(Some(row))
    }

    async fn open_record(&self, row: &Row) -> Result<(), Error> {
        let Some(blob) = row.attributes.as_deref() else { return Ok(()) };
        let binding = self.registry().attributes_binding(&row.header);
        self.parent.unwrap(row.header.parent, &[(binding, blob)]).await?;
        Ok(())
    }

    /// A search for all that a row can be found by must find it.
    async fn must_be_listed(&self, row: &Row) -> Result<(), Error> {
        let id = row.header.id;
        let Some(after) = id.uuid.as_u128().checked_add(1).filter(|_| !row.terms.is_empty()) else { return Ok(()) };
        let before = Some(RowId::new(id.layer, Uuid::from_u128(after)));
        let found = self.shelf.store.find(&Query { layer: id.layer, terms: row.terms.clone(), before, limit: 1 }).await?;
        if found.first().is_some_and(|found| found.header.id == id) {
            return Ok(());
        }
        Err(Error::corrupt("the index does not list it: it is served by its id, but searches do not find it", id))
    }

    async fn bucket(&self, number: u16) -> Result<Option<(Generation, Bucket)>, Error> {
        let mut sum = None;
        for id in self.parts_of(number).await? {
            let Some(row) = self.shelf.row(id).await? else { continue };
            let part: Bucket = self.content(&row).await?;
            let (generation, bucket) = sum.get_or_insert((Generation(0), Bucket::default()));
            generation.0 = generation.0.wrapping_add(row.header.generation.0);
            bucket.add(&part.digest);
        }
        Ok(sum)
    }

    /// The records whose sum is the digest of a bucket.
    async fn parts_of(&self, number: u16) -> Result<Vec<RowId>, Error> {
        let mut parts = vec![bucket_row(number)];
        if self.shelf.sharing.is_some() {
            let query = Query { layer: Layer::Bucket, terms: Vec::new(), before: Some(above_parts(number)), limit: NODES_MAX };
            let page = self.shelf.store.find(&query).await?;
            let found = page.iter().map(|hint| hint.header.id).filter(|id| *id != parts[0] && bucket_number(*id) == Some(number));
            parts.extend(found.collect::<Vec<_>>());
        }
        Ok(parts)
    }

    /// Compares sums and digests of the next buckets, and notes which do not add up.
    async fn compare(&self, cursor: &mut Cursor, from: u16, limit: usize, swept: &mut Swept) -> Result<Place, Error> {
        let to = from.saturating_add(u16::try_from(limit).unwrap_or(BUCKETS)).min(BUCKETS);
        for number in (from..to).filter(|number| !cursor.explained.contains(number)) {
            let began = cursor.began.get(&number).map(|(generation, _)| *generation);
            let adds_up = cursor.adds_up(number);
            let is_unchanged = adds_up
                || match self.bucket(number).await {
                    Ok(now) => now.map(|(generation, _)| generation) == began,
                    Err(Error::Corrupt { .. }) => true,
                    Err(error) => return Err(error),
                };
            if is_unchanged {
                swept.compared.push(number);
            }
            if !adds_up {
                cursor.odd.insert(number, is_unchanged);
            }
            if !is_unchanged {
                cursor.again.insert(number, None);
            }
        }
        if to < BUCKETS {
            return Ok(Place::Compare(to));
        }
        cursor.names = self.seen_rows(|number| cursor.odd.contains_key(&number)).into_values().flatten().collect();
        Ok(Place::Names)
    }

    /// Every row of some buckets that this node has seen, by bucket.
    fn seen_rows(&self, is_wanted: impl Fn(u16) -> bool) -> BTreeMap<u16, Vec<RowId>> {
        let mut rows: BTreeMap<u16, Vec<RowId>> = BTreeMap::new();
        for id in self.shelf.seen.ids() {
            if let Some(number) = bucket_of(self.registry().integrity(), id).filter(|number| is_wanted(*number)) {
                rows.entry(number).or_default().push(id);
            }
        }
        rows.values_mut().for_each(|ids| ids.sort_unstable());
        rows
    }

    /// Looks for rows of odd buckets that were seen once and do not read now.
    async fn sweep_names(&self, cursor: &mut Cursor, limit: usize) -> Result<Place, Error> {
        for _ in 0..limit {
            let Some(id) = cursor.names.last().copied() else { return Ok(Place::Changed) };
            if self.swept(id).await?.is_err() {
                cursor.suspects.push(id);
            }
            cursor.names.pop();
        }
        Ok(Place::Names)
    }

    /// Compares one bucket that changed during the pass, or begins the next round of those.
    async fn sweep_changed(&self, cursor: &mut Cursor, swept: &mut Swept) -> Result<Place, Error> {
        let Some((number, rows)) = cursor.changed.pop() else {
            // What the store has and this node has not seen yet, because the commit is not over, is seen after it.
            if cursor.again.is_empty() || cursor.rounds == ROUNDS_MAX || self.units.settled().await.is_err() {
                return Ok(Place::Suspects);
            }
            cursor.rounds += 1;
            if self.shelf.sharing.is_some() {
                return Ok(Place::Others(FIRST_LAYER, None));
            }
            return Ok(self.next_round(cursor));
        };
        swept.rows += rows.len();
        let before = cursor.again.remove(&number).flatten();
        match self.read_in_one_go(number, &rows).await? {
            InOneGo::AddsUp => {
                swept.compared.push(number);
                cursor.odd.remove(&number);
            }
            InOneGo::Differs(generation) if before == Some(generation) => {
                swept.compared.push(number);
                cursor.odd.insert(number, true);
            }
            InOneGo::Differs(generation) => drop(cursor.again.insert(number, Some(generation))),
            InOneGo::Changed => drop(cursor.again.insert(number, None)),
        }
        Ok(Place::Changed)
    }

    /// Sees the rows of buckets that are to be read again which another node has made.
    async fn sweep_others(
        &self,
        cursor: &mut Cursor,
        layer: Layer,
        before: Option<RowId>,
        limit: usize,
        swept: &mut Swept,
    ) -> Result<Place, Error> {
        let page = self.shelf.store.find(&Query { layer, terms: Vec::new(), before, limit }).await?;
        swept.rows += page.len();
        for id in page.iter().map(|hint| hint.header.id).filter(|id| !self.shelf.seen.knows(*id)) {
            let number = bucket_of(self.registry().integrity(), id);
            if number.is_some_and(|number| cursor.again.contains_key(&number))
                && let Err(finding) = self.swept(id).await?
            {
                cursor.suspects.push(finding.row);
            }
        }
        match page.last().filter(|_| page.len() == limit) {
            Some(last) => Ok(Place::Others(layer, Some(last.header.id))),
            None => Ok(layer_after(layer).map_or_else(|| self.next_round(cursor), |layer| Place::Others(layer, None))),
        }
    }

    fn next_round(&self, cursor: &mut Cursor) -> Place {
        let mut rows = self.seen_rows(|number| cursor.again.contains_key(&number));
        cursor.changed = cursor.again.keys().map(|number| (*number, rows.remove(number).unwrap_or_default())).collect();
        Place::Changed
    }

    async fn read_in_one_go(&self, number: u16, rows: &[RowId]) -> Result<InOneGo, Error> {
        let Some((generation, bucket)) = self.readable_bucket(number).await? else { return Ok(InOneGo::Changed) };
        let mut sum = Bucket::default();
        for id in rows {
            match self.shelf.row(*id).await {
                Ok(Some(row)) => sum.add(&row_mac(self.registry().integrity(), &row)),
                // Removed, or lost: the sum tells.
                Ok(None) | Err(Error::Corrupt { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(match self.readable_bucket(number).await? {
            Some((after, _)) if after != generation => InOneGo::Changed,
            None => InOneGo::Changed,
            Some(_) if sum.digest == bucket.digest => InOneGo::AddsUp,
            Some(_) => InOneGo::Differs(generation),
        })
    }

    /// A bucket that has changed, so that it has a record; if that is damaged now, the next pass says so.
    async fn readable_bucket(&self, number: u16) -> Result<Option<(Generation, Bucket)>, Error> {
        match self.bucket(number).await {
            Err(Error::Corrupt { .. }) => Ok(None),
            read => read,
        }
    }

    /// Names the rows that are wrong; a bucket of which none can be named is named itself.
    async fn sweep_suspects(&self, cursor: &mut Cursor, limit: usize, swept: &mut Swept) -> Result<Option<Place>, Error> {
        for _ in 0..limit {
            let Some(id) = cursor.suspects.last().copied() else { break };
            if let Err(finding) = self.swept(id).await? {
                swept.findings.push(finding);
                let number = bucket_of(self.registry().integrity(), id);
                number.and_then(|number| cursor.odd.insert(number, false));
            }
            cursor.suspects.pop();
        }
        if !cursor.suspects.is_empty() {
            return Ok(Some(Place::Suspects));
        }
        for number in cursor.odd.iter().filter_map(|(number, is_unexplained)| is_unexplained.then_some(*number)) {
            let rows = cursor.sums.get(&number).map_or(0, |(_, rows)| *rows);
            let what = format!("the {rows} rows of bucket {number} do not add up: one is missing, older than it was, or cannot be read");
            swept.findings.push(Finding { row: bucket_row(number), what });
        }
        Ok(None)
    }
}

/// What reading a bucket in one go shows.
enum InOneGo {
    /// It is what it should be.
    AddsUp,
    /// It is not; at this generation.
    Differs(Generation),
    /// It changed meanwhile, so nothing can be said.
    Changed,
}

impl Cursor {
    fn adds_up(&self, number: u16) -> bool {
        let digest = |bucket: Option<&Bucket>| bucket.copied().unwrap_or_default().digest;
        let sum = self.sums.get(&number).map(|(sum, _)| sum);
        digest(sum) == digest(self.began.get(&number).map(|(_, bucket)| bucket))
    }

    fn count(&mut self, bucket: Option<u16>, mac: &[u8; 32]) {
        if let Some(number) = bucket {
            let (sum, rows) = self.sums.entry(number).or_default();
            sum.add(mac);
            *rows += 1;
        }
    }
}

const FIRST_LAYER: Layer = Layer::Cluster;

/// The buckets' own records come first.
fn layer_after(layer: Layer) -> Option<Layer> {
    (layer as u8 + 1..=u8::MAX).filter_map(|number| Layer::try_from(number).ok()).find(|layer| *layer != Layer::Bucket)
}
