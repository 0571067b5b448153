//! The OpenBao keystore: the rows of a node in a KV mount of version 2, on a server that others run. HashiCorp's Vault speaks the same protocol.
//!
//! The server changes one entry at a time, by compare-and-set, and knows no transactions: [`crate::journalled`] makes batches of it. What is found by a
//! term is an entry of its own in a folder for the term; `openbao/entry.rs` has the layout. A new row's terms are written before it and those that it
//! loses are deleted after it, so that a search may find too much, which it sees, and never too little.
//!
//! The mount keeps one version of each entry, so that what is overwritten is gone. A row is deleted by overwriting it, on condition that it is what was
//! read, and then with all that the server knows of it; but the place of a claim on a name stays, empty: it may be taken again at once, and OpenBao
//! deletes without a condition, which a deletion that arrives late must not do to a new claim.

mod entry;
mod fault;
mod http;
mod session;
mod url;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use hyper::Method;
use keys::id::{Generation, Layer, RowId};
use keys::port::{Query, StoreError};
use keys::row::Row;
use rustls::ClientConfig;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::journalled::Plain;
use entry::{Added, Entry};
use http::Way;
use session::{Said, Session};

pub use fault::OpenError;
pub use session::Login;
pub use url::{BadUrl, Url};

/// Rows that are read at once for a page, and entries written at once for a row.
const AT_ONCE_MAX: usize = 16;
/// Names that are asked for at a time.
const NAMES_MAX: usize = 512;
/// Fewer are not asked for: some may be of rows that are left out.
const NAMES_MIN: usize = 16;
/// Longest answer with a row, in bytes; a row has at most [`keys::row::ROW_BYTES_MAX`], written in base64.
const ROW_ANSWER_BYTES_MAX: usize = 1 << 20;
/// Longest list of names, in bytes: a server that does not know how to send a part of it sends it whole.
const LIST_ANSWER_BYTES_MAX: usize = 16 << 20;

/// Where the rows are, and as whom.
pub struct Settings {
    /// The server.
    pub url: Url,
    /// The KV mount, as `bao secrets enable -path=MOUNT -version=2 kv` names it.
    pub mount: String,
    /// The folder in it; several nodes need one each.
    pub prefix: String,
    /// The namespace of the mount and the login; none for the root.
    pub namespace: Option<String>,
    /// Whom to believe and what to show.
    pub tls: Arc<ClientConfig>,
    /// How the node shows who it is.
    pub login: Login,
    /// How long one request may take.
    pub timeout: Duration,
    /// By what it knows the place again that it has made.
    pub node: Uuid,
}

/// A folder on an OpenBao server.
///
/// [`StoreError::Sealed`]: the server is there and sealed. [`StoreError::Denied`]: it does not know the node, or does not let it. Both end without a
/// restart when the server's operators have seen to it.
pub struct Openbao {
    session: Session,
    mount: String,
    prefix: String,
    node: Uuid,
}

#[derive(Deserialize)]
struct Answered<T> {
    data: T,
}

#[derive(Deserialize)]
struct Versioned<T> {
    data: T,
}

#[derive(Deserialize)]
struct Config {
    max_versions: u64,
    cas_required: bool,
}

#[derive(Deserialize)]
struct Schema {
    schema: u64,
    /// Who has made it, unless that was before this was written there.
    made_by: Option<Uuid>,
}

#[derive(Deserialize)]
struct Made {
    version: u64,
}

#[derive(Deserialize)]
struct Names {
    keys: Vec<String>,
}

impl Openbao {
    /// Makes the place of a new cluster, where there is none yet, or goes on with one of the node's own in which nothing was put: it may have ended before it
    /// could note that there is one.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] with an [`OpenError`], [`StoreError::Sealed`], [`StoreError::Denied`].
    pub async fn create(settings: Settings) -> Result<Self, StoreError> {
        let this = Self::new(settings);
        // A token that may not set it can still find it set.
        match this.session.ask(Method::POST, &this.config_path(), Some(&json!({ "max_versions": 1, "cas_required": true })), 1 << 16).await
        {
            Ok(_) | Err(StoreError::Denied { .. }) => {}
            Err(error) => return Err(error),
        }
        this.check_config().await?;
        match this.write("schema", 0, &json!({ "schema": entry::SCHEMA, "made_by": this.node })).await? {
            Said::Done(_) => Ok(this),
            _ if this.is_own_and_empty().await? => Ok(this),
            _ => Err(fault::opening(OpenError::Taken { place: this.place() })),
        }
    }

    /// Opens what [`Openbao::create`] has made.
    ///
    /// # Errors
    /// As [`Openbao::create`].
    pub async fn open(settings: Settings) -> Result<Self, StoreError> {
        let this = Self::new(settings);
        this.check_config().await?;
        match this.schema().await?.map(|found| found.schema) {
            Some(entry::SCHEMA) => Ok(this),
            Some(found) => Err(fault::opening(OpenError::Newer { place: this.place(), found, known: entry::SCHEMA })),
            None => Err(fault::opening(OpenError::Missing { place: this.place() })),
        }
    }

    async fn schema(&self) -> Result<Option<Schema>, StoreError> {
        let found: Option<Answered<Versioned<Schema>>> = match self.session.ask(Method::GET, &self.data("schema"), None, 1 << 16).await? {
            Said::Done(body) => serde_json::from_slice(&body).ok(),
            _ => None,
        };
        Ok(found.map(|found| found.data.data))
    }

    async fn is_own_and_empty(&self) -> Result<bool, StoreError> {
        let is_own = self.schema().await?.is_some_and(|found| (found.schema, found.made_by) == (entry::SCHEMA, Some(self.node)));
        Ok(is_own && self.names("rows", "", 1).await?.0.is_empty() && self.names("terms", "", 1).await?.0.is_empty())
    }

    fn new(settings: Settings) -> Self {
        let Settings { url, mount, prefix, namespace, tls, login, timeout, node } = settings;
        let place = url.as_str().to_owned();
        let way = Way::new(url, tls, timeout);
        Self { session: Session::new(way, place, namespace.as_deref(), login), mount, prefix, node }
    }

    async fn check_config(&self) -> Result<(), StoreError> {
        let config: Option<Answered<Config>> = match self.session.ask(Method::GET, &self.config_path(), None, 1 << 16).await? {
            Said::Done(body) => serde_json::from_slice(&body).ok(),
            _ => None,
        };
        match config {
            Some(Answered { data: Config { max_versions: 1, cas_required: true } }) => Ok(()),
            _ => Err(fault::opening(OpenError::Keeps { place: self.place(), mount: self.mount.clone() })),
        }
    }

    fn place(&self) -> String {
        format!("{}/{}/{}", self.session.place().trim_end_matches('/'), self.mount, self.prefix)
    }

    fn config_path(&self) -> String {
        format!("{}/config", self.mount)
    }

    fn data(&self, path: &str) -> String {
        format!("{}/data/{}/{path}", self.mount, self.prefix)
    }

    fn metadata(&self, path: &str) -> String {
        format!("{}/metadata/{}/{path}", self.mount, self.prefix)
    }

    /// Writes an entry where this version must be, 0 for none.
    async fn write(&self, path: &str, version: u64, data: &Value) -> Result<Said, StoreError> {
        let body = json!({ "options": { "cas": version }, "data": data });
        let said = self.session.ask(Method::POST, &self.data(path), Some(&body), 1 << 16).await?;
        match &said {
            Said::Done(body)
                if !serde_json::from_slice(body).is_ok_and(|Answered { data: Made { version: made } }| made == version + 1) =>
            {
                Err(self.session.no_answer("an answer to a write that is none"))
            }
            _ => Ok(said),
        }
    }

    async fn erase(&self, path: &str) -> Result<(), StoreError> {
        match self.session.ask(Method::DELETE, &self.metadata(path), None, 1 << 16).await? {
            Said::Done(body) if !body.is_empty() => Err(self.session.no_answer("an answer to a deletion that is none")),
            _ => Ok(()),
        }
    }

    async fn entry(&self, id: RowId) -> Result<Entry, StoreError> {
        match self.session.ask(Method::GET, &self.data(&entry::row_path(id)), None, ROW_ANSWER_BYTES_MAX).await? {
            Said::Done(body) => entry::read(id, &body).inspect_err(|_| self.session.part()),
            _ => Ok(Entry::absent()),
        }
    }

    /// Makes entries of terms; one that is there already will do.
    async fn enlist(&self, id: RowId, new: &[Added]) -> Result<(), StoreError> {
        let empty = json!({});
        let make = async |added: Added| self.write(&entry::term_path(id, added), 0, &empty).await.map(drop);
        let mut steps = stream::iter(new.to_vec()).map(make).buffer_unordered(AT_ONCE_MAX);
        while let Some(outcome) = steps.next().await {
            outcome?;
        }
        Ok(())
    }

    async fn unlist(&self, id: RowId, gone: &[Added]) -> Result<(), StoreError> {
        let erase = async |gone: Added| self.erase(&entry::term_path(id, gone)).await;
        let mut steps = stream::iter(gone.to_vec()).map(erase).buffer_unordered(AT_ONCE_MAX);
        while let Some(outcome) = steps.next().await {
            outcome?;
        }
        Ok(())
    }

    /// Removes what is left of a deleted row: first by what it was found, then its place.
    async fn sweep(&self, id: RowId, gone: &[Added]) -> Result<(), StoreError> {
        self.unlist(id, gone).await?;
        if id.layer == Layer::Name { Ok(()) } else { self.erase(&entry::row_path(id)).await }
    }

    /// Names in a folder behind `after`, in order, and whether there are more.
    async fn names(&self, folder: &str, after: &str, limit: usize) -> Result<(Vec<String>, bool), StoreError> {
        let path = format!("{}?list=true&limit={limit}&after={after}", self.metadata(folder));
        let mut names = match self.session.ask(Method::GET, &path, None, LIST_ANSWER_BYTES_MAX).await? {
            Said::Done(body) => {
                let found: Result<Answered<Names>, _> = serde_json::from_slice(&body);
                found.map_err(|_| self.session.no_answer("a list that is none"))?.data.keys
            }
            _ => Vec::new(),
        };
        // Vault does not know these parameters, and sends all of them.
        names.retain(|name| &**name > after);
        names.sort_unstable();
        let is_more = names.len() >= limit;
        names.truncate(limit);
        Ok((names, is_more))
    }
}

#[async_trait]
impl Plain for Openbao {
    async fn get(&self, id: RowId) -> Result<Option<Row>, StoreError> {
        Ok(self.entry(id).await?.row)
    }

    async fn put(&self, row: &Row, expected: Option<Generation>) -> Result<(), StoreError> {
        let id = row.header.id;
        let found = self.entry(id).await?;
        if found.row.as_ref() == Some(row) {
            return self.unlist(id, &found.gone).await;
        }
        if found.row.as_ref().map(|row| row.header.generation) != expected {
            return Err(StoreError::Conflict { id });
        }
        let next = found.version + 1;
        let mut terms: Vec<Added> = Vec::with_capacity(row.terms.len());
        for term in &row.terms {
            if !terms.iter().any(|added| added.term == *term) {
                let kept = found.terms.iter().find(|added| added.term == *term);
                terms.push(kept.copied().unwrap_or(Added { term: *term, version: next }));
            }
        }
        let new: Vec<_> = terms.iter().copied().filter(|added| added.version == next).collect();
        let gone: Vec<_> = found.terms.iter().copied().filter(|added| !terms.contains(added)).collect();
        self.enlist(id, &new).await?;
        let stored = serde_json::to_value(entry::stored(Some(row), &terms, &gone)).expect("it is plain data");
        match self.write(&entry::row_path(id), found.version, &stored).await? {
            Said::Done(_) => self.unlist(id, &gone).await,
            // Somebody else was there first, or we were, and the answer was lost.
            _ => match self.entry(id).await? {
                found if found.row.as_ref() == Some(row) => self.unlist(id, &found.gone).await,
                _ => Err(StoreError::Conflict { id }),
            },
        }
    }

    async fn delete(&self, id: RowId, expected: Generation) -> Result<(), StoreError> {
        let found = self.entry(id).await?;
        let Some(row) = found.row else {
            return if found.version == 0 { Ok(()) } else { self.sweep(id, &found.gone).await };
        };
        if row.header.generation != expected {
            return Err(StoreError::Conflict { id });
        }
        let stored = serde_json::to_value(entry::stored(None, &[], &found.terms)).expect("it is plain data");
        match self.write(&entry::row_path(id), found.version, &stored).await? {
            Said::Done(_) => self.sweep(id, &found.terms).await,
            _ => match self.entry(id).await? {
                Entry { row: None, gone, .. } => self.sweep(id, &gone).await,
                _ => Err(StoreError::Conflict { id }),
            },
        }
    }

    async fn find(&self, query: &Query) -> Result<Vec<Row>, StoreError> {
        let oldest = RowId::new(query.layer, Uuid::nil());
        let newest = RowId::new(query.layer, Uuid::max());
        let mut after = match query.before {
            Some(before) if before < oldest => return Ok(Vec::new()),
            Some(before) if before <= newest => entry::after(before.uuid),
            _ => String::new(),
        };
        let folder = query.terms.first().map_or_else(|| entry::rows_path(query.layer), |term| entry::terms_path(*term, query.layer));
        let mut page = Vec::new();
        while page.len() < query.limit {
            let limit = (query.limit - page.len()).clamp(NAMES_MIN, NAMES_MAX);
            let (names, is_more) = self.names(&folder, &after, limit).await?;
            let mut ids: Vec<_> = names.iter().filter_map(|name| entry::uuid_of(name)).map(|uuid| RowId::new(query.layer, uuid)).collect();
            ids.dedup();
            let mut rows = stream::iter(ids).map(async |id| self.entry(id).await).buffered(AT_ONCE_MAX.min(query.limit));
            while page.len() < query.limit
                && let Some(found) = rows.next().await
            {
                let row = match found {
                    Ok(found) => found.row,
                    Err(StoreError::Corrupt { .. }) => None,
                    Err(error) => return Err(error),
                };
                page.extend(row.filter(|row| query.terms.iter().all(|term| row.terms.contains(term))));
            }
            match names.last().filter(|_| is_more) {
                // An entry of the same row, by the same term since another time, would be the same row again.
                Some(last) => after = entry::uuid_of(last).map_or_else(|| last.clone(), entry::after),
                None => break,
            }
        }
        Ok(page)
    }
}
