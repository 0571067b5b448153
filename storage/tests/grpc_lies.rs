//! The keystore over a plugin that lies: every answer that can be seen to be wrong is refused, and an endless one is not read.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream;
use http_body_util::StreamBody;
use hyper::body::{Bytes, Frame};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use keys::id::{OutboxSeq, RowId};
use keys::port::{Change, Keystore, StoreError};
use keys::row::Row;
use plugin::v1::batch_response::Outcome;
use plugin::v1::keystore_operations_server::{KeystoreOperations, KeystoreOperationsServer};
use plugin::v1::{self, StoredRow};
use storage::conformance::sample::{batch, entry, id, query, row};
use storage::grpc::{Grpc, Settings};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tonic::{Request, Response, Status};
use uuid::Uuid;

/// What F27 grants.
const ERROR_WITHIN: Duration = Duration::from_secs(5);
/// What F7 grants.
const GROWTH_BYTES_MAX: usize = 64 << 20;
/// What a lying plugin says its answer has.
const ANSWER_BYTES: u32 = 1 << 30;

/// What is answered wrongly; all else is as an empty store would answer, that has committed whatever it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lie {
    Nothing,
    Protocol,
    NoBatch,
    LastCommit,
    OtherRow,
    GarbledRow,
    RowInOthersPlace,
    Ascending,
    Repeated,
    TooMany,
    WithoutTerm,
    OtherLayer,
    EmptyAndMore,
    ForeignConflict,
    NoOutcome,
    OtherCommit,
    RecordsBackwards,
    RecordsTooMany,
    RecordGarbled,
    Damaged,
    /// The place behind it refuses.
    Denied,
}

struct Liar(Lie);

fn stored(row: &Row) -> StoredRow {
    StoredRow { id: row.header.id.to_bytes().to_vec(), stored: row.encode() }
}

fn record(seq: u64) -> v1::AuditRecord {
    v1::AuditRecord { seq, record: postcard::to_allocvec(&entry(seq).record).expect("a record is plain data") }
}

#[tonic::async_trait]
impl KeystoreOperations for Liar {
    async fn capabilities(&self, _: Request<v1::CapabilitiesRequest>) -> Result<Response<v1::CapabilitiesResponse>, Status> {
        Ok(Response::new(v1::CapabilitiesResponse {
            protocol: if self.0 == Lie::Protocol { 2 } else { 1 },
            name: "liar".to_owned(),
            version: "1".to_owned(),
            batch: self.0 != Lie::NoBatch,
            last_commit: if self.0 == Lie::LastCommit { vec![1; 7] } else { Vec::new() },
        }))
    }

    async fn health(&self, _: Request<v1::HealthRequest>) -> Result<Response<v1::HealthResponse>, Status> {
        Ok(Response::new(v1::HealthResponse { serving: true, detail: String::new() }))
    }

    async fn store_key(&self, _: Request<v1::StoreKeyRequest>) -> Result<Response<v1::ChangeResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn update_key_metadata(&self, _: Request<v1::UpdateKeyMetadataRequest>) -> Result<Response<v1::ChangeResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn delete_key(&self, _: Request<v1::DeleteKeyRequest>) -> Result<Response<v1::ChangeResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn retrieve_key(&self, _: Request<v1::RetrieveKeyRequest>) -> Result<Response<v1::RetrieveKeyResponse>, Status> {
        let row = match self.0 {
            Lie::OtherRow => Some(stored(&row(2, &[]))),
            Lie::GarbledRow => Some(StoredRow { stored: vec![7; 100], ..stored(&row(1, &[])) }),
            Lie::RowInOthersPlace => Some(StoredRow { stored: row(2, &[]).encode(), ..stored(&row(1, &[])) }),
            Lie::Denied => return Err(Status::permission_denied("the role may not read")),
            Lie::Damaged => return Err(Status::data_loss("the page\n is torn")),
            _ => None,
        };
        Ok(Response::new(v1::RetrieveKeyResponse { row }))
    }

    async fn list_keys(&self, _: Request<v1::ListKeysRequest>) -> Result<Response<v1::ListKeysResponse>, Status> {
        let mut other = row(2, &[7]);
        other.header.id = RowId::new(keys::id::Layer::L2, other.header.id.uuid);
        let rows = match self.0 {
            Lie::Ascending => vec![row(1, &[7]), row(2, &[7])],
            Lie::Repeated => vec![row(1, &[7]), row(1, &[7])],
            Lie::TooMany => vec![row(3, &[7]), row(2, &[7]), row(1, &[7])],
            Lie::WithoutTerm => vec![row(1, &[8])],
            Lie::OtherLayer => vec![other],
            _ => vec![],
        };
        Ok(Response::new(v1::ListKeysResponse { rows: rows.iter().map(stored).collect(), more: self.0 == Lie::EmptyAndMore }))
    }

    async fn batch(&self, request: Request<v1::BatchRequest>) -> Result<Response<v1::BatchResponse>, Status> {
        let is_empty = request.into_inner().changes.is_empty();
        let outcome = match self.0 {
            Lie::ForeignConflict if !is_empty => Some(Outcome::Conflict(v1::Conflict { id: id(99).to_bytes().to_vec() })),
            Lie::OtherCommit if !is_empty => Some(Outcome::OtherCommit(v1::OtherCommit { last: vec![9; 16] })),
            Lie::NoOutcome if !is_empty => None,
            _ => Some(Outcome::Done(v1::Done {})),
        };
        Ok(Response::new(v1::BatchResponse { outcome }))
    }

    async fn list_records(&self, _: Request<v1::ListRecordsRequest>) -> Result<Response<v1::ListRecordsResponse>, Status> {
        let records = match self.0 {
            Lie::RecordsBackwards => vec![record(2), record(1)],
            Lie::RecordsTooMany => vec![record(1), record(2), record(3)],
            Lie::RecordGarbled => vec![v1::AuditRecord { seq: 1, record: vec![0xff; 9] }],
            _ => vec![],
        };
        Ok(Response::new(v1::ListRecordsResponse { records }))
    }
}

fn settings(socket: &Path) -> Settings {
    let (name, timeout, node) = ("main".to_owned(), Duration::from_secs(2), Uuid::from_u128(1));
    Settings { name, socket: socket.to_owned(), user: None, timeout, node }
}

fn listener() -> (TempDir, PathBuf, UnixListener) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let socket = folder.path().join("socket");
    let listener = UnixListener::bind(&socket).expect("the folder is ours");
    (folder, socket, listener)
}

async fn open(lie: Lie) -> (TempDir, Result<Grpc, StoreError>) {
    let (folder, socket, listener) = listener();
    let arrivals = stream::unfold(listener, async |listener| Some((listener.accept().await.map(|(arrived, _)| arrived), listener)));
    let server = tonic::transport::Server::builder().serve_with_incoming(KeystoreOperationsServer::new(Liar(lie)), arrivals);
    tokio::spawn(server);
    let opened = Grpc::open(settings(&socket)).await;
    (folder, opened)
}

async fn opened(lie: Lie) -> (TempDir, Grpc) {
    let (folder, opened) = open(lie).await;
    (folder, opened.unwrap_or_else(|error| panic!("{lie:?}: {error:?}")))
}

fn told(error: &StoreError) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_does_not_fit_is_not_opened() {
    for (lie, why) in
        [(Lie::Protocol, "speaks protocol 2"), (Lie::NoBatch, "no capability `batch`"), (Lie::LastCommit, "no name of 16 bytes")]
    {
        let (_folder, opened) = open(lie).await;
        let error = opened.err().unwrap_or_else(|| panic!("{lie:?} opens"));
        assert!(told(&error).contains(why), "{lie:?}: {}", told(&error));
    }
    let (_folder, socket, _nobody_answers) = listener();
    let own = nix::unistd::geteuid().as_raw();
    let refused = Grpc::open(Settings { user: Some(own + 1), ..settings(&socket) }).await.err().expect("it is somebody else");
    assert!(told(&refused).contains(&format!("has the number {own}, and has to have {}", own + 1)), "{}", told(&refused));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_cannot_be_what_was_asked_for_are_refused() {
    for lie in [Lie::OtherRow, Lie::GarbledRow, Lie::RowInOthersPlace, Lie::Damaged] {
        let (_folder, store) = opened(lie).await;
        let answer = store.retrieve(id(1)).await;
        assert!(matches!(answer, Err(StoreError::Corrupt { .. })), "{lie:?}: {answer:?}");
    }
    let (_folder, store) = opened(Lie::Denied).await;
    let answer = store.retrieve(id(1)).await;
    assert!(matches!(&answer, Err(StoreError::Denied { at, what }) if at.contains("main") && what.contains("may not read")), "{answer:?}");
    for lie in [Lie::Ascending, Lie::Repeated, Lie::TooMany, Lie::WithoutTerm, Lie::OtherLayer, Lie::EmptyAndMore] {
        let (_folder, store) = opened(lie).await;
        let answer = store.find(&query(&[7], None, 2)).await;
        assert!(matches!(answer, Err(StoreError::Corrupt { .. })), "{lie:?}: {answer:?}");
    }
    for lie in [Lie::RecordsBackwards, Lie::RecordsTooMany, Lie::RecordGarbled] {
        let (_folder, store) = opened(lie).await;
        let answer = store.outbox(OutboxSeq(0), 2).await;
        assert!(matches!(answer, Err(StoreError::Corrupt { .. })), "{lie:?}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn outcomes_that_cannot_be_are_no_commit_and_no_conflict() {
    for lie in [Lie::ForeignConflict, Lie::OtherCommit, Lie::NoOutcome] {
        let (_folder, store) = opened(lie).await;
        let began = Instant::now();
        let answer = store.commit(batch([Change::Insert(row(1, &[]))])).await;
        assert!(matches!(answer, Err(StoreError::Corrupt { .. } | StoreError::Unavailable { .. })), "{lie:?}: {answer:?}");
        assert!(began.elapsed() <= ERROR_WITHIN, "{lie:?}: {:?}", began.elapsed());
    }
    let (_folder, store) = opened(Lie::Nothing).await;
    store.commit(batch([Change::Insert(row(1, &[]))])).await.expect("the plugin says so");
}

fn resident_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").expect("there is one");
    let pages: usize = text.split(' ').nth(1).expect("the second is what is resident").parse().expect("a number");
    pages * 4096
}

/// F7: a gigabyte is announced, and sent as long as somebody takes it.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_one_gibibyte_is_not_read() {
    let (_folder, socket, listener) = listener();
    tokio::spawn(async move {
        while let Ok((arrived, _)) = listener.accept().await {
            let service = service_fn(async |_: hyper::Request<hyper::body::Incoming>| {
                let mut head = vec![0];
                head.extend_from_slice(&ANSWER_BYTES.to_be_bytes());
                let rest = (0..ANSWER_BYTES >> 16).map(|_| Bytes::from(vec![0x0a; 1 << 16]));
                let frames = std::iter::once(Bytes::from(head)).chain(rest).map(|bytes| Ok::<_, Infallible>(Frame::data(bytes)));
                let answer = hyper::Response::builder().header("content-type", "application/grpc");
                Ok::<_, Infallible>(answer.body(StreamBody::new(stream::iter(frames))).expect("one header"))
            });
            let connection =
                hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(arrived), service);
            tokio::spawn(connection);
        }
    });
    let before = resident_bytes();
    let began = Instant::now();
    let refused = Arc::new(Grpc::open(settings(&socket)).await.err().expect("nobody reads that"));
    assert!(began.elapsed() <= ERROR_WITHIN, "{refused:?} after {:?}", began.elapsed());
    assert!(matches!(*refused, StoreError::Unavailable { .. }), "{refused:?}");
    let growth = resident_bytes().saturating_sub(before);
    assert!(growth <= GROWTH_BYTES_MAX, "{growth} bytes more");
}
