//! The client of the admin interface: one HTTP/1.1 request per call, over the node's Unix socket or over mutual TLS.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use crate::admin::report::RotationWanted;
use crate::admin::types::{
    AddSlot, ApprovalInfo, Approve, CastVote, CeremonyInfo, DisableTenant, EdgeGroupInfo, EnrolEdges, GiveUpEdge, KekRotated, KekSchedule,
    KekStatus, KeyInfo, KeyList, KeysWanted, KeystoreHealth, KeystoreInfo, MigrateKeystore, MigrationInfo, NewCeremony, NewService,
    NewTenant, Problem, ReencryptionInfo, RepairInfo, RepairKey, RevokeKey, RotateKek, RotateKey, ServiceDeployed, ServiceInfo,
    ShardProgress, SignedManifest, SlotInfo, SlotRemoved, SlotVerified, SplitInfo, Status, TenantInfo, VerifySlot,
};
use crate::tls::{ClientTls, TlsError};

/// Longest answer that is read.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long an answer may take: longer than every slot's device may.
const ANSWER_WITHIN: Duration = Duration::from_secs(300);

/// Port of `listeners.admin` where an address names none.
const PORT: u16 = 5698;

/// Speaks to one node; connects anew for each call.
#[derive(Debug, Clone)]
pub struct Client {
    target: Target,
}

/// Where a node is.
#[derive(Debug, Clone)]
enum Target {
    /// On this machine.
    Socket(PathBuf),
    /// Behind its `listeners.admin`.
    Tls { host: String, port: u16, tls: Box<ClientTls> },
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => path.display().fmt(f),
            Self::Tls { host, port, .. } => write!(f, "https://{host}:{port}"),
        }
    }
}

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens on the socket.
    #[error("no node answers at {node} ({source}): start strongroomd, or say where it is by --data-dir, --socket or --admin")]
    Unreachable {
        /// The socket's path, or the node's address.
        node: String,
        /// What the system said.
        source: io::Error,
    },
    /// There is no TLS with what answers there.
    #[error(
        "{node} answers, but TLS fails ({why}): see that --admin-ca is the CA of its certificate, and that it takes the one of --admin-cert"
    )]
    Certificate {
        /// The node's address.
        node: String,
        /// What the TLS library said.
        why: String,
    },
    /// The socket is there, but not for this user.
    #[error("{socket} may not be used by this user: run as root or as the daemon's user", socket = .socket.display())]
    Forbidden {
        /// The socket's path.
        socket: PathBuf,
    },
    /// The node did not finish in time.
    #[error("the node at {node} did not answer within {seconds} s: see its log (`journalctl -u 'strongroom-*'`)")]
    TimedOut {
        /// The socket's path, or the node's address.
        node: String,
        /// How long the client waited.
        seconds: u64,
    },
    /// The connection broke before the answer was complete.
    #[error("the node ended the connection ({source}): see its log (`journalctl -u 'strongroom-*'`)")]
    Lost {
        /// What the connection said.
        source: hyper::Error,
    },
    /// The address cannot be meant.
    #[error("`{address}` is no address of a node: give https://HOST or https://HOST:PORT")]
    Address {
        /// What was given.
        address: String,
    },
    /// Certificates, key or CAs cannot be used.
    #[error(transparent)]
    Files(#[from] TlsError),
    /// The node said no.
    #[error("{}", .0.detail)]
    Refused(Problem),
    /// The answer is not what this version expects.
    #[error("the answer cannot be read ({why}): use the strongroom of the same release as the node")]
    Unreadable {
        /// What is wrong with it.
        why: String,
    },
}

impl ClientError {
    /// Is it the node's state, and not the request, that stood in the way?
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Forbidden { .. } | Self::TimedOut { .. } | Self::Lost { .. } => true,
            Self::Refused(problem) => problem.status == StatusCode::SERVICE_UNAVAILABLE.as_u16(),
            Self::Address { .. } | Self::Files(_) | Self::Certificate { .. } | Self::Unreadable { .. } => false,
        }
    }
}

impl Client {
    /// A client of the node that listens on this socket.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self { target: Target::Socket(socket.to_owned()) }
    }

    /// A client of the node at an address, as whom the certificate names.
    ///
    /// - `address`: `https://HOST` or `https://HOST:PORT`; the server's certificate must have this host's name.
    /// - `ca`, `cert`, `key`: PEM files, as for [`ClientTls::load`].
    ///
    /// # Errors
    /// `Address` or `Files`.
    pub fn remote(address: &str, ca: &Path, cert: &Path, key: &Path) -> Result<Self, ClientError> {
        let wrong = || ClientError::Address { address: address.to_owned() };
        let uri: Uri = address.parse().map_err(|_| wrong())?;
        let (Some("https"), Some(host), "" | "/", None) = (uri.scheme_str(), uri.host(), uri.path(), uri.query()) else {
            return Err(wrong());
        };
        // What stands beside the host is nothing or a port: no user, and no number that is none.
        let port = match uri.authority().and_then(|authority| authority.as_str().strip_prefix(host)).ok_or_else(wrong)? {
            "" => PORT,
            rest => rest.strip_prefix(':').and_then(|port| port.parse().ok()).ok_or_else(wrong)?,
        };
        // In an address an IPv6 address stands in brackets, in a certificate it does not.
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let tls = Box::new(ClientTls::load(ca, cert, key, name)?);
        Ok(Self { target: Target::Tls { host: host.to_owned(), port, tls } })
    }

    /// State of the node; works in every state.
    ///
    /// # Errors
    /// [`ClientError`], as for every call.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.get("status").await
    }

    /// Unseals, with the typed PIN of a custodian that needs one.
    ///
    /// The PIN's one copy outside the arena is wiped when it has been written to the socket.
    ///
    /// # Errors
    /// `Refused` with the reason slot by slot.
    pub async fn unseal(&self, typed: Option<(&str, &secret::Bytes)>, retry_pin: bool) -> Result<Status, ClientError> {
        let Some((custodian, pin)) = typed else {
            return self.call(Method::POST, "unseal", "application/octet-stream", Bytes::new()).await;
        };
        let body = pin.expose(|pin| Bytes::from_owner(Zeroizing::new(pin.to_vec())));
        let retry = if retry_pin { "&retry_pin=true" } else { "" };
        self.call(Method::POST, &format!("unseal?custodian={}{retry}", segment(custodian)), "application/octet-stream", body).await
    }

    /// Who keeps the shards of a slot.
    ///
    /// # Errors
    /// [`ClientError`], as for every call.
    pub async fn shards(&self, slot: &str) -> Result<SplitInfo, ClientError> {
        self.get(&format!("slots/{}/shards", segment(slot))).await
    }

    /// Gives a person's shard. Its one copy outside the arena is wiped when it has been written to the socket.
    ///
    /// # Errors
    /// `Refused` with what is wrong with it.
    pub async fn give_shard(&self, text: &secret::Bytes) -> Result<ShardProgress, ClientError> {
        let body = text.expose(|text| Bytes::from_owner(Zeroizing::new(text.to_vec())));
        self.call(Method::POST, "shards", "application/octet-stream", body).await
    }

    /// The ceremony that is under way, if there is one.
    ///
    /// # Errors
    /// [`ClientError`], as for every call.
    pub async fn ceremonies(&self) -> Result<Vec<CeremonyInfo>, ClientError> {
        self.get("ceremonies").await
    }

    /// Asks the custodians to approve something.
    ///
    /// # Errors
    /// `Refused` if another ceremony is under way, or there are no custodians.
    pub async fn start_ceremony(&self, asked: &NewCeremony) -> Result<CeremonyInfo, ClientError> {
        self.post("ceremonies", asked).await
    }

    /// Brings a custodian's vote; with enough of them what was asked is done before this returns.
    ///
    /// # Errors
    /// `Refused` if the vote does not count.
    pub async fn cast_vote(&self, ceremony: &str, vote: &CastVote) -> Result<CeremonyInfo, ClientError> {
        self.post(&format!("ceremonies/{}/votes", segment(ceremony)), vote).await
    }

    /// Cancels a ceremony, as who has started it.
    ///
    /// # Errors
    /// `Refused` if somebody else has.
    pub async fn cancel_ceremony(&self, ceremony: &str) -> Result<CeremonyInfo, ClientError> {
        self.call(Method::DELETE, &format!("ceremonies/{}", segment(ceremony)), "application/json", Bytes::new()).await
    }

    /// What was done in a ceremony that has ended.
    ///
    /// # Errors
    /// `Refused` if there was none of that id.
    pub async fn ceremony_manifest(&self, ceremony: &str) -> Result<SignedManifest, ClientError> {
        self.get(&format!("ceremonies/{}/manifest", segment(ceremony))).await
    }

    /// Seals: the node forgets its keys.
    ///
    /// # Errors
    /// [`ClientError`], as for every call.
    pub async fn seal(&self) -> Result<Status, ClientError> {
        self.call(Method::POST, "seal", "application/octet-stream", Bytes::new()).await
    }

    /// All tenants.
    ///
    /// # Errors
    /// [`ClientError`], as for every call.
    pub async fn tenants(&self) -> Result<Vec<TenantInfo>, ClientError> {
        self.get("tenants").await
    }

    /// One tenant.
    ///
    /// # Errors
    /// `Refused` with status 404 if there is none of this name.
    pub async fn tenant(&self, name: &str) -> Result<TenantInfo, ClientError> {
        self.get(&format!("tenants/{}", segment(name))).await
    }

    /// Makes a tenant.
    ///
    /// # Errors
    /// `Refused` with status 409 if the name is taken.
    pub async fn create_tenant(&self, new: &NewTenant) -> Result<TenantInfo, ClientError> {
        self.post("tenants", new).await
    }

    /// All services of a tenant.
    ///
    /// # Errors
    /// `Refused` with status 404 if there is no such tenant.
    pub async fn services(&self, tenant: &str) -> Result<Vec<ServiceInfo>, ClientError> {
        self.get(&format!("tenants/{}/services", segment(tenant))).await
    }

    /// Makes a service and its default key.
    ///
    /// # Errors
    /// `Refused` with status 409 if the name is taken.
    pub async fn create_service(&self, tenant: &str, new: &NewService) -> Result<ServiceInfo, ClientError> {
        self.post(&format!("tenants/{}/services", segment(tenant)), new).await
    }

    /// Tells that a service was deployed, so that its default key gets a next version.
    ///
    /// # Errors
    /// `Refused` with status 404 if there is no such tenant or service.
    pub async fn service_deployed(&self, tenant: &str, service: &str) -> Result<ServiceDeployed, ClientError> {
        let path = format!("tenants/{}/services/{}/deployed", segment(tenant), segment(service));
        self.call(Method::POST, &path, "application/json", Bytes::new()).await
    }

    /// All edge groups.
    ///
    /// # Errors
    /// [`ClientError`], as for every call.
    pub async fn edges(&self) -> Result<Vec<EdgeGroupInfo>, ClientError> {
        self.get("edges").await
    }

    /// Enrols an edge group for tenants.
    ///
    /// # Errors
    /// `Refused` with status 404 if there is no such tenant.
    pub async fn enrol_edges(&self, new: &EnrolEdges) -> Result<EdgeGroupInfo, ClientError> {
        self.post("edges", new).await
    }

    /// Serves a tenant nothing any more, or again.
    ///
    /// # Errors
    /// `Refused` with status 404 if there is no such tenant.
    pub async fn set_tenant_disabled(&self, tenant: &str, is_disabled: bool) -> Result<TenantInfo, ClientError> {
        let what = if is_disabled { "disable" } else { "enable" };
        self.call(Method::POST, &format!("tenants/{}/{what}", segment(tenant)), "application/json", Bytes::new()).await
    }

    /// Disables a tenant that has left, and has the IVK rotated.
    ///
    /// # Errors
    /// `Refused` with status 404 if there is no such tenant, 503 if it is disabled and the IVK could not be rotated.
    pub async fn off_board_tenant(&self, tenant: &str) -> Result<TenantInfo, ClientError> {
        self.post(&format!("tenants/{}/disable", segment(tenant)), &DisableTenant { off_board: true }).await
    }

    /// Revokes an edge group.
    ///
    /// # Errors
    /// `Refused` with status 404 if there is no such group.
    pub async fn revoke_edges(&self, group: &str) -> Result<EdgeGroupInfo, ClientError> {
        self.call(Method::POST, &format!("edges/{}/revoke", segment(group)), "application/json", Bytes::new()).await
    }

    /// Gives up one edge of a group, by its delegation key in hex.
    ///
    /// # Errors
    /// `Refused` with status 404 if there is no such edge.
    pub async fn give_up_edge(&self, group: &str, key: &str) -> Result<EdgeGroupInfo, ClientError> {
        self.post(&format!("edges/{}/give-up", segment(group)), &GiveUpEdge { key: key.to_owned() }).await
    }

    /// All seal slots.
    ///
    /// # Errors
    /// [`ClientError`], as for every call.
    pub async fn slots(&self) -> Result<Vec<SlotInfo>, ClientError> {
        self.get("slots").await
    }

    /// Seals the MasterKey in a further slot.
    ///
    /// # Errors
    /// `Refused` if the slot was not made; the slots are then as they were.
    pub async fn add_slot(&self, slot: &AddSlot) -> Result<SlotInfo, ClientError> {
        self.post("slots", slot).await
    }

    /// Removes a slot.
    ///
    /// # Errors
    /// `Refused` with status 409 if no other slot opens.
    pub async fn remove_slot(&self, slot: &str) -> Result<SlotRemoved, ClientError> {
        self.call(Method::DELETE, &format!("slots/{}", segment(slot)), "application/json", Bytes::new()).await
    }

    /// Test-opens a slot.
    ///
    /// # Errors
    /// `Refused` with the device's reason.
    pub async fn verify_slot(&self, slot: &str, how: &VerifySlot) -> Result<SlotVerified, ClientError> {
        self.post(&format!("slots/{}/verify", segment(slot)), how).await
    }

    /// The states of the platform in which a TPM's slot may open.
    ///
    /// # Errors
    /// [`ClientError`], as for every call.
    pub async fn approvals(&self, slot: &str) -> Result<Vec<ApprovalInfo>, ClientError> {
        self.get(&format!("slots/{}/approvals", segment(slot))).await
    }

    /// Approves a state of the platform.
    ///
    /// # Errors
    /// `Refused` if the approval does not fit the slot that it names.
    pub async fn approve(&self, approval: &Approve) -> Result<ApprovalInfo, ClientError> {
        self.post("slots/approvals", approval).await
    }

    /// Every version of the IVK, and how far the keys have come that it wraps.
    ///
    /// # Errors
    /// [`ClientError`], as for every call.
    pub async fn kek_status(&self) -> Result<KekStatus, ClientError> {
        self.get("kek/status").await
    }

    /// Makes the next version of the IVK.
    ///
    /// # Errors
    /// `Refused` with status 409 while somebody else changes the roots or slots.
    pub async fn rotate_kek(&self, how: &RotateKek) -> Result<KekRotated, ClientError> {
        self.post("kek/rotate", how).await
    }

    /// When the IVK is rotated by itself.
    ///
    /// # Errors
    /// [`ClientError`], as for every call.
    pub async fn kek_schedule(&self) -> Result<KekSchedule, ClientError> {
        self.get("kek/schedule").await
    }

    /// Archives a version of the IVK.
    ///
    /// # Errors
    /// `Refused` with status 409 if a key lies under it, or its state does not let it be archived.
    pub async fn retire_kek(&self, version: u32) -> Result<KekStatus, ClientError> {
        self.call(Method::POST, &format!("kek/versions/{version}/retire"), "application/json", Bytes::new()).await
    }

    /// Asks the custodians to have a version of the IVK destroyed; where there are none it is done.
    ///
    /// # Errors
    /// `Refused` with status 409 if it is the Active one, or destroyed, or a key lies under it.
    pub async fn destroy_kek(&self, version: u32) -> Result<CeremonyInfo, ClientError> {
        self.call(Method::POST, &format!("kek/versions/{version}/destroy"), "application/json", Bytes::new()).await
    }

    /// Every keystore of the node, and what belongs to it.
    ///
    /// # Errors
    /// [`ClientError`], as for every call.
    pub async fn keystores(&self) -> Result<Vec<KeystoreInfo>, ClientError> {
        self.get("keystores").await
    }

    /// Whether each keystore answers.
    ///
    /// # Errors
    /// [`ClientError`], as for every call.
    pub async fn keystore_health(&self) -> Result<Vec<KeystoreHealth>, ClientError> {
        self.get("keystores/health").await
    }

    /// How far rows have come that are being moved.
    ///
    /// # Errors
    /// [`ClientError`], as for every call.
    pub async fn migration(&self) -> Result<MigrationInfo, ClientError> {
        self.get("keystores/migration").await
    }

    /// Has rows moved from one keystore to another.
    ///
    /// # Errors
    /// `Refused` with status 409 while others are being moved, or if there is nothing to move.
    pub async fn migrate(&self, what: &MigrateKeystore) -> Result<MigrationInfo, ClientError> {
        self.post("keystores/migration", what).await
    }

    /// Has rows that are being moved stay where they are.
    ///
    /// # Errors
    /// `Refused` with status 409 if none are, or if they belong to the other keystore already.
    pub async fn abort_migration(&self) -> Result<MigrationInfo, ClientError> {
        self.call(Method::POST, "keystores/migration/abort", "application/json", Bytes::new()).await
    }

    /// How far re-encryption has come.
    ///
    /// # Errors
    /// [`ClientError`], as for every call.
    pub async fn reencryption(&self) -> Result<ReencryptionInfo, ClientError> {
        self.get("kek/reencryption").await
    }

    /// Starts, pauses or resumes re-encryption: `verb` is one of these three words.
    ///
    /// # Errors
    /// [`ClientError`], as for every call.
    pub async fn control_reencryption(&self, verb: &str) -> Result<ReencryptionInfo, ClientError> {
        self.call(Method::POST, &format!("kek/reencryption/{verb}"), "application/json", Bytes::new()).await
    }

    /// A part of the signed report on rotation, as the node has written it: what was signed may say more than this release knows.
    ///
    /// # Errors
    /// `Refused` with status 404 if there is no such tenant.
    pub async fn rotation_report(&self, wanted: &RotationWanted) -> Result<Value, ClientError> {
        self.get(&format!("reports/rotation{}", query(wanted))).await
    }

    /// Keys, newest first, a page at a time.
    ///
    /// # Errors
    /// `Refused` with status 404 if there is no such tenant or service.
    pub async fn keys(&self, wanted: &KeysWanted) -> Result<KeyList, ClientError> {
        self.get(&format!("keys{}", query(wanted))).await
    }

    /// One version of a key.
    ///
    /// # Errors
    /// `Refused` with status 404 if there is none that the caller may see.
    pub async fn key(&self, id: &str) -> Result<KeyInfo, ClientError> {
        self.get(&format!("keys/{}", segment(id))).await
    }

    /// Replaces a key by its next version, which is returned.
    ///
    /// # Errors
    /// `Refused` with status 403 for who is no tenant-admin, 409 if the key cannot be replaced now.
    pub async fn rotate_key(&self, id: &str, how: &RotateKey) -> Result<KeyInfo, ClientError> {
        self.post(&format!("keys/{}/rotate", segment(id)), how).await
    }

    /// Makes an earlier version of an L2.1 the Active one again.
    ///
    /// # Errors
    /// As [`Client::rotate_key`].
    pub async fn roll_key_back(&self, id: &str) -> Result<KeyInfo, ClientError> {
        self.call(Method::POST, &format!("keys/{}/rollback", segment(id)), "application/octet-stream", Bytes::new()).await
    }

    /// Takes a key out of use.
    ///
    /// # Errors
    /// As [`Client::rotate_key`]; status 403 for a service's default key too.
    pub async fn revoke_key(&self, id: &str, why: &RevokeKey) -> Result<KeyInfo, ClientError> {
        self.post(&format!("keys/{}/revoke", segment(id)), why).await
    }

    /// Destroys a key for ever.
    ///
    /// # Errors
    /// As [`Client::rotate_key`]; status 409 too for one in use, and while keys lie under it.
    pub async fn destroy_key(&self, id: &str) -> Result<KeyInfo, ClientError> {
        self.call(Method::POST, &format!("keys/{}/destroy", segment(id)), "application/octet-stream", Bytes::new()).await
    }

    /// Seals a key anew whose blobs name another algorithm than the record of what wraps them, or says what would be done.
    ///
    /// # Errors
    /// `Refused` with status 404 for none, 409 where there is nothing to repair, or something else is wrong with it.
    pub async fn repair_key(&self, id: &str, how: &RepairKey) -> Result<RepairInfo, ClientError> {
        self.post(&format!("keys/{}/repair", segment(id)), how).await
    }

    /// Archives a version of a key that another one has replaced.
    ///
    /// # Errors
    /// As [`Client::rotate_key`]; status 409 too while keys lie under it, or edges may have objects there, which names their groups.
    pub async fn retire_key(&self, id: &str) -> Result<KeyInfo, ClientError> {
        self.call(Method::POST, &format!("keys/{}/retire", segment(id)), "application/octet-stream", Bytes::new()).await
    }

    async fn get<A: DeserializeOwned>(&self, path: &str) -> Result<A, ClientError> {
        self.call(Method::GET, path, "application/json", Bytes::new()).await
    }

    async fn post<A: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<A, ClientError> {
        let body = serde_json::to_vec(body).expect("plain structures of texts and flags always print");
        self.call(Method::POST, path, "application/json", body.into()).await
    }

    async fn call<A: DeserializeOwned>(&self, method: Method, path: &str, kind: &str, body: Bytes) -> Result<A, ClientError> {
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/v1/{path}"))
            .header(header::HOST, self.host())
            .header(header::CONTENT_TYPE, kind)
            .body(Full::new(body))
            .expect("method, path and headers are made of legal characters");
        let answer = tokio::time::timeout(ANSWER_WITHIN, self.exchange(request)).await;
        let timed_out = || ClientError::TimedOut { node: self.target.to_string(), seconds: ANSWER_WITHIN.as_secs() };
        let (status, body) = answer.map_err(|_| timed_out())??;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| ClientError::Unreadable { why: error.to_string() });
        }
        Err(ClientError::Refused(problem(status, &body)))
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), ClientError> {
        match &self.target {
            Target::Socket(path) => {
                let stream = UnixStream::connect(path).await.map_err(|source| self.unreachable(source))?;
                converse(stream, request).await
            }
            Target::Tls { host, port, tls } => {
                let connect = async {
                    let stream = TcpStream::connect((host.trim_start_matches('[').trim_end_matches(']'), *port)).await?;
                    stream.set_nodelay(true)?;
                    TlsConnector::from(tls.config()).connect(tls.server_name(), stream).await
                };
                let stream = connect.await.map_err(|source| self.unreachable(source))?;
                // With TLS 1.3 the server judges our certificate after our handshake is over.
                converse(stream, request).await.map_err(|error| self.told_by_tls(error))
            }
        }
    }

    fn host(&self) -> String {
        match &self.target {
            Target::Socket(_) => "localhost".to_owned(),
            Target::Tls { host, port, .. } => format!("{host}:{port}"),
        }
    }

    fn told_by_tls(&self, error: ClientError) -> ClientError {
        match &error {
            ClientError::Lost { source } => match source.source().and_then(|inner| inner.downcast_ref::<io::Error>()) {
                Some(inner) if tls_error(inner).is_some() => self.told_by_tls_error(inner),
                _ => error,
            },
            _ => error,
        }
    }

    fn told_by_tls_error(&self, source: &io::Error) -> ClientError {
        ClientError::Certificate { node: self.target.to_string(), why: source.to_string() }
    }

    fn unreachable(&self, source: io::Error) -> ClientError {
        match (&self.target, source.kind()) {
            (Target::Socket(socket), io::ErrorKind::PermissionDenied) => ClientError::Forbidden { socket: socket.clone() },
            (Target::Tls { .. }, _) if tls_error(&source).is_some() => self.told_by_tls_error(&source),
            _ => ClientError::Unreachable { node: self.target.to_string(), source },
        }
    }
}

/// What the TLS library said, if that is what ended the stream.
fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

async fn converse<S>(stream: S, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), ClientError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let lost = |source| ClientError::Lost { source };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
    let (answer, _ended) = tokio::join!(
        async move {
            let answer = sender.send_request(request).await.map_err(lost)?;
            whole(answer).await
        },
        connection
    );
    answer
}

async fn whole(answer: Response<Incoming>) -> Result<(StatusCode, Bytes), ClientError> {
    let (head, body) = answer.into_parts();
    match Limited::new(body, ANSWER_BYTES_MAX).collect().await {
        Ok(body) => Ok((head.status, body.to_bytes())),
        Err(error) => match error.downcast::<hyper::Error>() {
            Ok(source) => Err(ClientError::Lost { source: *source }),
            Err(error) => Err(ClientError::Unreadable { why: error.to_string() }),
        },
    }
}

/// The problem details of a refusal, or what can be said without them.
fn problem(status: StatusCode, body: &[u8]) -> Problem {
    serde_json::from_slice(body).unwrap_or_else(|_| {
        let title = status.canonical_reason().unwrap_or("refused").to_owned();
        let said = String::from_utf8_lossy(body);
        let said = said.trim().chars().take(200).collect::<String>();
        let detail = if said.is_empty() { format!("the node answered {status}") } else { format!("the node answered {status}: {said}") };
        Problem { title, status: status.as_u16(), detail }
    })
}

/// One segment of a path or value of a query, percent-encoded as in RFC 3986 §2.1.
fn segment(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// The query that says this, with its question mark; nothing if nothing is asked for.
fn query(asked: &impl Serialize) -> String {
    let asked = serde_json::to_value(asked).expect("plain structures of texts and numbers always print");
    let values = asked.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let pairs = values.map(|(name, value)| format!("{name}={}", segment(&text(value)))).collect::<Vec<_>>();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;

    use super::*;

    /// Serves one connection with these bytes and returns the client's result and the request as it came.
    async fn against<A>(answer: &str, call: impl AsyncFnOnce(&Client) -> Result<A, ClientError>) -> (Result<A, ClientError>, String) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let socket = dir.path().join("s.sock");
        let listener = UnixListener::bind(&socket).expect("a free path");
        let client = Client::new(&socket);
        let serve = async {
            let (mut stream, _) = listener.accept().await.expect("the client connects");
            let request = read_request(&mut stream).await;
            stream.write_all(answer.as_bytes()).await.expect("the client is there");
            request
        };
        tokio::join!(call(&client), serve)
    }

    async fn read_request(stream: &mut UnixStream) -> String {
        let mut seen = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&seen).to_lowercase();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
                if body.len() >= length.parse::<usize>().expect("a number") {
                    return String::from_utf8(seen).expect("text");
                }
            }
            assert_ne!(stream.read_buf(&mut seen).await.expect("the client is there"), 0, "the request ended early");
        }
    }

    fn http(status: &str, kind: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    }

    #[test]
    fn an_address_that_cannot_be_meant_is_refused_before_any_file_is_read() {
        let files = Path::new("/nonexistent");
        for address in [
            "",
            "localhost:5698",
            "http://localhost:5698",
            "https://",
            "https://h/path",
            "https://h/?q",
            "https://h:99999",
            "https://h:",
            "https://u@h",
        ] {
            let refused = Client::remote(address, files, files, files);
            assert!(matches!(refused, Err(ClientError::Address { .. })), "{address}: {refused:?}");
        }
        for address in ["https://h", "https://h:1/", "https://[::1]:5698"] {
            let refused = Client::remote(address, files, files, files);
            assert!(matches!(refused, Err(ClientError::Files(_))), "{address}: {refused:?}");
        }
    }

    #[tokio::test]
    async fn a_new_tenant_is_posted_as_json_and_read_back() {
        let body = r#"{"name":"acme","id":"t","key":"L2-x","status":"enabled"}"#;
        let (made, request) = against(&http("201 Created", "application/json", body), async |client| {
            client.create_tenant(&NewTenant { name: "acme".to_owned() }).await
        })
        .await;
        assert_eq!(made.expect("it was made").key, "L2-x");
        assert!(request.starts_with("POST /api/v1/tenants HTTP/1.1\r\n"), "{request}");
        assert!(request.ends_with("\r\n\r\n{\"name\":\"acme\"}"), "{request}");
    }

    #[tokio::test]
    async fn a_typed_pin_travels_as_the_whole_body_with_its_custodian_named() {
        let pin = secret::Bytes::init_with(4, |pin| pin.copy_from_slice(b"4321")).expect("room in the arena");
        let refusal = r#"{"title":"Service Unavailable","status":503,"detail":"wrong PIN"}"#;
        let (refused, request) = against(&http("503 Service Unavailable", "application/problem+json", refusal), async |client| {
            client.unseal(Some(("the hsm", &pin)), false).await
        })
        .await;
        assert!(request.starts_with("POST /api/v1/unseal?custodian=the%20hsm HTTP/1.1\r\n"), "{request}");
        assert!(request.ends_with("\r\n\r\n4321"), "{request}");
        let error = refused.expect_err("the node refused");
        assert!(error.is_unavailable() && error.to_string() == "wrong PIN", "{error}");
    }

    #[tokio::test]
    async fn a_refusal_that_is_the_requests_fault_is_no_outage() {
        let refusal = r#"{"title":"Conflict","status":409,"detail":"the name is taken"}"#;
        let (refused, _) =
            against(&http("409 Conflict", "application/problem+json", refusal), async |client| client.tenant("acme").await).await;
        let error = refused.expect_err("the node refused");
        assert!(matches!(&error, ClientError::Refused(problem) if problem.status == 409), "{error:?}");
        assert!(!error.is_unavailable());
    }

    #[tokio::test]
    async fn a_refusal_without_problem_details_still_names_the_status() {
        let (refused, _) = against(&http("404 Not Found", "text/plain", ""), async |client| client.status().await).await;
        assert!(refused.expect_err("no such route").to_string().contains("404"));
    }

    #[tokio::test]
    async fn an_answer_of_another_shape_is_unreadable() {
        let (read, _) = against(&http("200 OK", "application/json", "[1]"), async |client| client.status().await).await;
        assert!(matches!(read, Err(ClientError::Unreadable { .. })));
    }

    #[tokio::test]
    async fn an_answer_that_is_cut_off_is_lost() {
        let cut = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{";
        let (read, _) = against(cut, async |client| client.status().await).await;
        assert!(matches!(read, Err(ClientError::Lost { .. })));
    }

    #[tokio::test]
    async fn a_missing_socket_is_named_with_what_to_do() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let socket = dir.path().join("nobody.sock");
        let error = Client::new(&socket).status().await.expect_err("nobody listens");
        assert!(error.is_unavailable());
        let text = error.to_string();
        assert!(text.contains(&socket.display().to_string()) && text.contains("--data-dir"), "{text}");
    }

    #[test]
    fn a_query_says_what_is_asked_for_and_nothing_else() {
        use crate::admin::types::{KeyLayer, KeyState};

        assert_eq!(query(&KeysWanted::default()), "");
        let wanted = KeysWanted {
            tenant: Some("a&b=c".to_owned()),
            layer: Some(KeyLayer::L21),
            state: Some(KeyState::PreActive),
            limit: Some(7),
            ..KeysWanted::default()
        };
        let mut pairs: Vec<String> = query(&wanted).trim_start_matches('?').split('&').map(str::to_owned).collect();
        pairs.sort();
        assert_eq!(pairs, ["layer=L2%2E1", "limit=7", "state=pre-active", "tenant=a%26b%3Dc"]);
    }

    #[test]
    fn a_segment_cannot_leave_its_place_in_the_path() {
        assert_eq!(segment("acme-2"), "acme-2");
        assert_eq!(segment("a/../b?c#d%"), "a%2F%2E%2E%2Fb%3Fc%23d%25");
        assert_eq!(segment(".."), "%2E%2E");
    }
}
