//! The server half: a store behind the protocol, on the Unix socket that Strongroom names.

use std::env;
use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::stream;
use tokio::net::UnixListener;
use tokio::task::spawn_blocking;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::store::{Change, Fault, Refusal, Store, Transactional};
use crate::v1::keystore_operations_server::{KeystoreOperations, KeystoreOperationsServer};
use crate::v1::{self, batch_response, change_response};
use crate::{ANSWER_BYTES_MAX, PROTOCOL, RECORDS_MAX, REQUEST_BYTES_MAX, SOCKET_VARIABLE, STATE_VARIABLE, request};

/// Why a plugin does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Strongroom, or the unit, did not say where.
    #[error("{variable} is not set: it names {what}")]
    NotTold {
        /// The environment variable.
        variable: &'static str,
        /// What it is for.
        what: &'static str,
    },
    /// The socket cannot be made.
    #[error("cannot listen on {}: {source}", .socket.display())]
    Bind {
        /// Where.
        socket: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The server ended.
    #[error("the server has failed: {0}")]
    Failed(#[from] tonic::transport::Error),
}

/// The folder in which the plugin keeps its data: `$STRONGROOM_PLUGIN_STATE`, else the `$STATE_DIRECTORY` of its unit.
///
/// # Errors
/// [`ServeError::NotTold`].
pub fn state_folder() -> Result<PathBuf, ServeError> {
    let told = env::var_os(STATE_VARIABLE).or_else(|| env::var_os("STATE_DIRECTORY"));
    told.map(PathBuf::from).ok_or(ServeError::NotTold { variable: STATE_VARIABLE, what: "the folder for the plugin's data" })
}

/// Serves a store without transactions on `$STRONGROOM_PLUGIN_SOCKET`; does not return while all is well.
///
/// # Errors
/// [`ServeError`].
pub async fn serve(store: impl Store) -> Result<(), ServeError> {
    Service { store: Arc::new(store), transactional: None }.listen().await
}

/// Serves a store with transactions on `$STRONGROOM_PLUGIN_SOCKET`; does not return while all is well.
///
/// # Errors
/// [`ServeError`].
pub async fn serve_transactional(store: impl Transactional) -> Result<(), ServeError> {
    let store: Arc<dyn Transactional> = Arc::new(store);
    Service { store: Arc::<dyn Transactional>::clone(&store), transactional: Some(store) }.listen().await
}

/// Takes the place of the socket that an earlier process of this plugin has left.
fn bind(socket: &Path) -> io::Result<UnixListener> {
    if fs::symlink_metadata(socket).is_ok_and(|found| found.file_type().is_socket()) {
        fs::remove_file(socket)?;
    }
    UnixListener::bind(socket)
}

struct Service {
    store: Arc<dyn Store>,
    transactional: Option<Arc<dyn Transactional>>,
}

impl Service {
    async fn listen(self) -> Result<(), ServeError> {
        let told = env::var_os(SOCKET_VARIABLE).map(PathBuf::from);
        let socket = told.ok_or(ServeError::NotTold { variable: SOCKET_VARIABLE, what: "the Unix socket to listen on" })?;
        let listener = bind(&socket).map_err(|source| ServeError::Bind { socket, source })?;
        let arrivals = stream::unfold(listener, async |listener| {
            let arrived = listener.accept().await.map(|(arrived, _)| arrived);
            Some((arrived, listener))
        });
        let service =
            KeystoreOperationsServer::new(self).max_decoding_message_size(REQUEST_BYTES_MAX).max_encoding_message_size(ANSWER_BYTES_MAX);
        Ok(Server::builder().serve_with_incoming(service, arrivals).await?)
    }

    /// Work of the store, which may block.
    async fn ask<T: Send + 'static>(&self, work: impl FnOnce(&dyn Store) -> T + Send + 'static) -> Result<T, Status> {
        let store = Arc::clone(&self.store);
        spawn_blocking(move || work(&*store)).await.map_err(|_| panicked())
    }

    /// The same of one with transactions.
    async fn ask_transactional<T: Send + 'static>(&self, work: impl FnOnce(&dyn Transactional) -> T + Send + 'static) -> Result<T, Status> {
        let store = self.transactional.clone().ok_or_else(|| Status::unimplemented("this plugin has no transactions"))?;
        spawn_blocking(move || work(&*store)).await.map_err(|_| panicked())
    }

    async fn change(&self, change: Change) -> Result<Response<v1::ChangeResponse>, Status> {
        let outcome = match self.ask(move |store| store.change(&change)).await? {
            Ok(()) => change_response::Outcome::Done(v1::Done {}),
            Err(Refusal::Conflict { id }) => change_response::Outcome::Conflict(v1::Conflict { id: id.0.to_vec() }),
            Err(Refusal::Full { at }) => change_response::Outcome::Full(v1::Full { at }),
            Err(Refusal::Fault(fault)) => return Err(status(&fault)),
            Err(other @ (Refusal::RecordTaken { .. } | Refusal::OtherCommit { .. })) => return Err(Status::internal(other.to_string())),
        };
        Ok(Response::new(v1::ChangeResponse { outcome: Some(outcome) }))
    }
}

fn panicked() -> Status {
    Status::internal("the store has panicked")
}

fn status(fault: &Fault) -> Status {
    match fault {
        Fault::Unavailable { what } => Status::unavailable(what),
        Fault::Denied { what } => Status::permission_denied(what),
        Fault::Damaged { what } => Status::data_loss(what),
    }
}

fn stored((id, stored): (crate::Id, Vec<u8>)) -> v1::StoredRow {
    v1::StoredRow { id: id.0.to_vec(), stored }
}

#[tonic::async_trait]
impl KeystoreOperations for Service {
    async fn capabilities(&self, request: Request<v1::CapabilitiesRequest>) -> Result<Response<v1::CapabilitiesResponse>, Status> {
        let request = request.into_inner();
        if !request.protocols.contains(&PROTOCOL) {
            return Err(Status::failed_precondition(format!("this plugin speaks protocol {PROTOCOL} only")));
        }
        let node = request::node(&request.node)?;
        let about = self.ask(|store| store.about()).await?;
        let batch = self.transactional.is_some();
        let last = if batch { self.ask_transactional(move |store| store.last_commit(&node)).await? } else { Ok(None) };
        let last_commit = last.map_err(|fault| status(&fault))?.map_or_else(Vec::new, |commit| commit.0.to_vec());
        Ok(Response::new(v1::CapabilitiesResponse { protocol: PROTOCOL, name: about.name, version: about.version, batch, last_commit }))
    }

    async fn health(&self, _: Request<v1::HealthRequest>) -> Result<Response<v1::HealthResponse>, Status> {
        let health = self.ask(|store| store.health()).await?;
        let detail = health.as_ref().err().map_or_else(String::new, ToString::to_string);
        Ok(Response::new(v1::HealthResponse { serving: health.is_ok(), detail }))
    }

    async fn store_key(&self, request: Request<v1::StoreKeyRequest>) -> Result<Response<v1::ChangeResponse>, Status> {
        self.change(request::store(request.into_inner())?).await
    }

    async fn retrieve_key(&self, request: Request<v1::RetrieveKeyRequest>) -> Result<Response<v1::RetrieveKeyResponse>, Status> {
        let id = request::id("id", &request.into_inner().id)?;
        let found = self.ask(move |store| store.retrieve(&id)).await?.map_err(|fault| status(&fault))?;
        Ok(Response::new(v1::RetrieveKeyResponse { row: found.map(|bytes| stored((id, bytes))) }))
    }

    async fn update_key_metadata(&self, request: Request<v1::UpdateKeyMetadataRequest>) -> Result<Response<v1::ChangeResponse>, Status> {
        self.change(request::update(request.into_inner())?).await
    }

    async fn delete_key(&self, request: Request<v1::DeleteKeyRequest>) -> Result<Response<v1::ChangeResponse>, Status> {
        self.change(request::delete(&request.into_inner())?).await
    }

    async fn list_keys(&self, request: Request<v1::ListKeysRequest>) -> Result<Response<v1::ListKeysResponse>, Status> {
        let search = request::search(&request.into_inner())?;
        let page = self.ask(move |store| store.list(&search)).await?.map_err(|fault| status(&fault))?;
        Ok(Response::new(v1::ListKeysResponse { rows: page.rows.into_iter().map(stored).collect(), more: page.more }))
    }

    async fn batch(&self, request: Request<v1::BatchRequest>) -> Result<Response<v1::BatchResponse>, Status> {
        let batch = request::batch(request.into_inner())?;
        let outcome = match self.ask_transactional(move |store| store.commit(&batch)).await? {
            Ok(()) => batch_response::Outcome::Done(v1::Done {}),
            Err(Refusal::Conflict { id }) => batch_response::Outcome::Conflict(v1::Conflict { id: id.0.to_vec() }),
            Err(Refusal::RecordTaken { seq }) => batch_response::Outcome::RecordTaken(v1::RecordTaken { seq }),
            Err(Refusal::OtherCommit { last }) => {
                batch_response::Outcome::OtherCommit(v1::OtherCommit { last: last.map_or_else(Vec::new, |last| last.0.to_vec()) })
            }
            Err(Refusal::Full { at }) => batch_response::Outcome::Full(v1::Full { at }),
            Err(Refusal::Fault(fault)) => return Err(status(&fault)),
        };
        Ok(Response::new(v1::BatchResponse { outcome: Some(outcome) }))
    }

    async fn list_records(&self, request: Request<v1::ListRecordsRequest>) -> Result<Response<v1::ListRecordsResponse>, Status> {
        let request = request.into_inner();
        let node = request::node(&request.node)?;
        let limit = usize::try_from(request.limit).map_or(RECORDS_MAX, |limit| limit.min(RECORDS_MAX));
        let found = self.ask_transactional(move |store| store.records(&node, request.after, limit)).await?;
        let found = found.map_err(|fault| status(&fault))?;
        let records = found.into_iter().map(|record| v1::AuditRecord { seq: record.seq, record: record.record }).collect();
        Ok(Response::new(v1::ListRecordsResponse { records }))
    }
}
