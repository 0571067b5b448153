//! A plugin that changes one row at a time, as [`crate::journalled`] wants it.
//!
//! What a plugin is given up in the midst of may still happen, at any time. So each place counts its changes: what is stored begins with the count, and each
//! change is on condition that the count is what was read. A row is deleted by emptying its place first. The place of a claim on a name stays, empty,
//! because it may be taken again at once: a change that comes late finds another count there. Everything else has an identifier that never comes again.

use async_trait::async_trait;
use keys::id::{Generation, Layer, RowId};
use keys::port::{Query, StoreError};
use keys::row::{Header, Row};
use plugin::PLACE_BYTES;
use plugin::v1::change_response::Outcome;
use plugin::v1::{self, ChangeResponse};
use tonic::Code;

use super::link::{About, Called, Client, Link, PluginError, Settings};
use super::wire;
use crate::journalled::Plain;

/// The rows behind a plugin, of which no capability is asked.
pub struct Rows {
    link: Link,
}

/// A place of a row.
struct Place {
    /// How often it has changed; 0 if there is none.
    count: u64,
    row: Option<Row>,
}

/// What is done to a place.
enum Step {
    Put(Box<v1::Row>, u64),
    Remove(RowId, u64),
}

impl Rows {
    /// Connects to a plugin.
    ///
    /// # Errors
    /// As [`super::Grpc::open`].
    pub async fn open(settings: Settings) -> Result<Self, StoreError> {
        // So that a call can say what became of its request, within the time of the whole.
        let this = Self { link: Link::new(Settings { timeout: settings.timeout / 2, ..settings }) };
        this.link.call(this.link.deadline(), &judge, async |mut client: Client| client.health(v1::HealthRequest {}).await).await?;
        Ok(this)
    }

    /// Whether the plugin says that it can do its work.
    ///
    /// # Errors
    /// As [`super::Grpc::health`].
    pub async fn health(&self) -> Result<(), StoreError> {
        self.link.health(&judge).await
    }

    async fn place(&self, id: RowId) -> Result<Place, StoreError> {
        let request = v1::RetrieveKeyRequest { id: id.to_bytes().to_vec() };
        let ask = |mut client: Client| {
            let request = request.clone();
            async move { client.retrieve_key(request).await }
        };
        match self.link.twice(self.link.deadline(), &judge, ask).await {
            Ok(answer) => match wire::retrieved(id, answer)? {
                Some(stored) => read(id, &stored),
                None => Ok(Place { count: 0, row: None }),
            },
            Err(Called::Refused { status, .. }) if status.code() == Code::DataLoss => {
                Err(StoreError::Corrupt { what: wire::words(status.message()), at: id.to_string() })
            }
            Err(failed) => Err(failed.into()),
        }
    }

    /// One change; `false` if the place is not as it was.
    async fn change(&self, step: Step) -> Result<bool, StoreError> {
        let step = &step;
        let ask = |mut client: Client| async move {
            match step {
                Step::Put(row, 0) => client.store_key(v1::StoreKeyRequest { row: Some(row.as_ref().clone()) }).await,
                Step::Put(row, expected) => {
                    let request = v1::UpdateKeyMetadataRequest { expected_generation: *expected, row: Some(row.as_ref().clone()) };
                    client.update_key_metadata(request).await
                }
                Step::Remove(id, expected) => {
                    client.delete_key(v1::DeleteKeyRequest { id: id.to_bytes().to_vec(), expected_generation: *expected }).await
                }
            }
        };
        // Whoever finds another count looks whether it was its own.
        let ChangeResponse { outcome } = self.link.twice(self.link.deadline(), &judge, ask).await?;
        match outcome {
            Some(Outcome::Done(_)) => Ok(true),
            Some(Outcome::Conflict(_)) => Ok(false),
            Some(Outcome::Full(full)) => Err(StoreError::Full { at: format!("{} ({})", self.link.settings.name, wire::words(&full.at)) }),
            None => Err(PluginError::Failed { code: Code::DataLoss, what: "an answer to a change without an outcome".to_owned() }.into()),
        }
    }

    /// What is left of a row that was deleted.
    async fn sweep(&self, id: RowId, count: u64) -> Result<(), StoreError> {
        if id.layer == Layer::Name || count == 0 {
            return Ok(());
        }
        // If it is another count, it was done before.
        self.change(Step::Remove(id, count)).await.map(drop)
    }
}

/// A plugin without commits has nothing to say of the last one.
fn judge(_: &About) -> Result<(), StoreError> {
    Ok(())
}

/// A place as it is stored: the count, and the row unless it is empty.
fn written(header: &Header, row: Option<&Row>, count: u64) -> v1::Row {
    let mut stored = count.to_be_bytes().to_vec();
    stored.extend(row.map(Row::encode).unwrap_or_default());
    wire::place(header, row.map_or(&[], |row| &row.terms), stored, count)
}

fn read(id: RowId, stored: &[u8]) -> Result<Place, StoreError> {
    let corrupt = || StoreError::Corrupt { what: "its place does not begin with a count".to_owned(), at: id.to_string() };
    let (count, row) = stored.split_first_chunk::<PLACE_BYTES>().ok_or_else(corrupt)?;
    let count = u64::from_be_bytes(*count);
    if count == 0 {
        return Err(corrupt());
    }
    let row = if row.is_empty() { None } else { Some(wire::stored(id, row)?) };
    Ok(Place { count, row })
}

/// The row of a place that has one.
fn row_of(id: RowId, stored: &[u8]) -> Option<Row> {
    read(id, stored).ok()?.row
}

#[async_trait]
impl Plain for Rows {
    async fn get(&self, id: RowId) -> Result<Option<Row>, StoreError> {
        Ok(self.place(id).await?.row)
    }

    async fn put(&self, row: &Row, expected: Option<Generation>) -> Result<(), StoreError> {
        let id = row.header.id;
        let found = self.place(id).await?;
        if found.row.as_ref() == Some(row) {
            return Ok(());
        }
        if found.row.as_ref().map(|row| row.header.generation) != expected {
            return Err(StoreError::Conflict { id });
        }
        if self.change(Step::Put(written(&row.header, Some(row), found.count + 1).into(), found.count)).await? {
            return Ok(());
        }
        // Somebody else was there first, or we were, and the answer was lost.
        if self.place(id).await?.row.as_ref() == Some(row) { Ok(()) } else { Err(StoreError::Conflict { id }) }
    }

    async fn delete(&self, id: RowId, expected: Generation) -> Result<(), StoreError> {
        let Place { count, row } = self.place(id).await?;
        let Some(row) = row else { return self.sweep(id, count).await };
        if row.header.generation != expected {
            return Err(StoreError::Conflict { id });
        }
        if self.change(Step::Put(written(&row.header, None, count + 1).into(), count)).await? {
            return self.sweep(id, count + 1).await;
        }
        match self.place(id).await? {
            Place { row: None, count } => self.sweep(id, count).await,
            Place { row: Some(_), .. } => Err(StoreError::Conflict { id }),
        }
    }

    async fn find(&self, query: &Query) -> Result<Vec<Row>, StoreError> {
        let mut search = wire::Search::new(query);
        while let Some(request) = search.asks() {
            let ask = |mut client: Client| {
                let request = request.clone();
                async move { client.list_keys(request).await }
            };
            search.take(self.link.twice(self.link.deadline(), &judge, ask).await?, row_of)?;
        }
        Ok(search.rows())
    }
}
