//! What the node was told: one YAML file, overridden by environment variables, as a complete, typed and immutable value.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keys::id::ScopeName;
use keys::policy::NodeRole;
use storage::routed::Placement;

use crate::confine::HASH_BYTES;
use crate::identity::Rules;
use crate::schedule::Schedule;

mod check;
mod default;
mod error;
mod file;
mod key;
mod show;
mod source;
mod units;

pub(crate) use check::routing::LAYERS;
pub use check::{pcrs, pcrs_text};

pub use default::{default_file, role_file};
pub use error::{ConfigError, Place, Shown};
pub use file::File;
pub(crate) use show::rate_text;

/// The name of the keystore that every node has: the file below its `data_dir`.
pub const EMBEDDED: &str = "embedded";

/// Where the file is unless somebody says otherwise. Where there is none, variables that set the role are the whole configuration, as in a container.
pub const DEFAULT_FILE: &str = "/etc/strongroom/config.yaml";
/// The variable without which an absent file is an error.
const ROLE_VARIABLE: &str = "STRONGROOM__ROLE";

/// Everything a node is told. Every value has its default filled in.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where this process stands.
    pub role: NodeRole,
    /// Where it keeps what it has to keep; absolute.
    pub data_dir: PathBuf,
    /// What people call the cluster; shown, never compared.
    pub cluster: String,
    /// Where it listens.
    pub listeners: Listeners,
    /// Who the peers are.
    pub identity: Rules,
    /// In which region the node is, for rules that name one.
    pub region: Option<String>,
    /// Keystores elsewhere; [`EMBEDDED`] is a file below `data_dir`.
    pub keystores: Vec<Keystore>,
    /// How much is kept of what was read in a keystore elsewhere.
    pub row_cache: storage::cached::Settings,
    /// Which rows belong to which keystore.
    pub placement: Placement,
    /// How the MasterKey is kept while the node is off; an edge has none.
    pub seal: Seal,
    /// When the IVK and the keys below it are replaced by themselves. An edge has no IVK.
    pub ivk: Ivk,
    /// How re-encryption is held back. It is a core's.
    pub reencrypt: Reencrypt,
    /// The core above it; every edge has one, and no core does.
    pub edge: Option<Edge>,
    /// How the admin interface is served.
    pub admin: Admin,
    /// How KMIP is served.
    pub kmip: Kmip,
    /// How the audit log is kept.
    pub audit: audit::Settings,
    /// How key memory is made.
    pub memory: secret::Settings,
    /// What is told of the node's own doings.
    pub log: Log,
}

/// When keys of a core are replaced by themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ivk {
    /// The IVK.
    pub schedule: Schedule,
    /// Each tenant's key (L2).
    pub tenants: Schedule,
    /// Each resource's key (L2.1).
    pub resources: Schedule,
    /// Each service's default key (L3).
    pub services: Schedule,
    /// A further key of a service that has ended by its dates gets a next version.
    pub replace_expired: bool,
}

/// How much the walk that brings keys under new versions may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reencrypt {
    /// Most keys that it moves each second; `None`: as many as it can.
    pub rate: Option<NonZeroU32>,
    /// Its share of one processor in percent, 1 to 100; 100: no limit.
    pub cpu: u32,
}

impl Default for Reencrypt {
    fn default() -> Self {
        Self { rate: None, cpu: 100 }
    }
}

/// The listeners of a node.
#[derive(Debug, Clone)]
pub struct Listeners {
    /// KMIP on TLS; without it the node serves none.
    pub kmip: Option<Listener>,
    /// KMIP on HTTPS.
    pub https: Option<Listener>,
    /// The admin interface on HTTPS; the Unix socket has it in any case.
    pub admin: Option<Listener>,
    /// Health and metrics on plain HTTP, for the machine itself; `None`: off.
    pub health: Option<SocketAddr>,
}

/// A TCP port with mutual TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Address and port.
    pub bind: SocketAddr,
    /// The server's certificates; a client gets the first whose signatures it understands.
    pub certificates: Vec<CertificateFiles>,
    /// PEM file of the CAs whose clients are let in.
    pub client_ca: PathBuf,
    /// PEM file of the revocation lists of these CAs; `None`: nobody asks what they have revoked.
    pub crl: Option<PathBuf>,
    /// How long a revocation list still counts after its next update was due.
    pub crl_grace: Duration,
}

/// A certificate with its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// PEM file of the certificate, then its intermediates.
    pub cert: PathBuf,
    /// PEM file of its private key.
    pub key: PathBuf,
}

/// A keystore elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keystore {
    /// What people call it.
    pub name: ScopeName,
    /// Where it is.
    pub kind: KeystoreKind,
}

/// What keeps the rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeystoreKind {
    /// A database.
    Postgres(Postgres),
    /// A folder of a KV mount.
    Openbao(Openbao),
    /// Behind a plugin.
    Grpc(Grpc),
}

/// A folder in a KV mount on an OpenBao server, or one of Vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Openbao {
    /// The server.
    pub url: storage::openbao::Url,
    /// The KV mount of version 2.
    pub mount: String,
    /// The node's folder in it.
    pub prefix: String,
    /// The namespace of mount and login; none for the root.
    pub namespace: Option<String>,
    /// PEM file of the CAs that have issued the server's certificate.
    pub ca: PathBuf,
    /// The node's own certificate; without `approle` it is known by that.
    pub client: Option<CertificateFiles>,
    /// By what the node is known else.
    pub approle: Option<AppRole>,
    /// How long one call may take.
    pub timeout: Duration,
}

/// A role of OpenBao's AppRole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppRole {
    /// Which.
    pub role: String,
    /// The secret id.
    pub secret: Credential,
}

/// A plugin: a process of its own that speaks the protocol of the crate `plugin`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grpc {
    /// Who runs it.
    pub runs: Runs,
    /// How long one call may take.
    pub timeout: Duration,
}

/// Who runs a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Runs {
    /// A unit of its own, which listens here.
    Unit {
        /// The Unix socket.
        socket: PathBuf,
        /// The user that has to listen there, by name or number; `None`: the daemon's own, or root.
        user: Option<String>,
    },
    /// The daemon.
    Daemon {
        /// The program.
        command: PathBuf,
        /// Its SHA-256.
        sha256: [u8; HASH_BYTES],
        /// Its arguments.
        arguments: Vec<String>,
    },
}

/// A database on a PostgreSQL server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Postgres {
    /// Server, user and database.
    pub url: storage::postgres::Url,
    /// The user's password.
    pub password: Option<Credential>,
    /// PEM file of the CAs that have issued the server's certificate; `None` only by a Unix socket.
    pub ca: Option<PathBuf>,
    /// The user's own certificate.
    pub client: Option<CertificateFiles>,
    /// Most connections.
    pub connections: usize,
    /// How long one call may take.
    pub timeout: Duration,
}

/// How the MasterKey is sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    device: PathBuf,
    /// What modules of devices write to besides `data_dir`: folders with everything below, and files; absolute.
    pub writes: Vec<PathBuf>,
    /// How often each slot is test-opened.
    pub probe_interval: Duration,
    /// Who can hold a slot.
    pub custodians: Vec<Custodian>,
}

impl Seal {
    /// The device program for a daemon whose own program is in `folder`.
    #[must_use]
    pub fn device(&self, folder: &Path) -> PathBuf {
        // Joining an absolute path replaces the folder.
        folder.join(&self.device)
    }
}

/// What can keep a slot, or a shard of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Custodian {
    /// What people call it; unique.
    pub name: String,
    /// Where it is.
    pub region: Option<String>,
    /// What it is.
    pub means: Means,
}

/// What a custodian is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Means {
    /// A PKCS#11 token.
    Pkcs11(Pkcs11),
    /// A TPM 2.0.
    Tpm2(Tpm2),
    /// A person with an age identity, who keeps shards of others.
    Age(seal::AgeRecipient),
    /// A person with a smart card, who keeps shards of others.
    Card(seal::CardKey),
    /// Several of the others, which keep a shard each.
    Shamir(Shamir),
}

/// Custodians that keep a shard each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shamir {
    /// How many of them open a slot.
    pub threshold: u8,
    /// Their names.
    pub keepers: Vec<String>,
}

impl Custodian {
    /// The variables that the device process gets for it.
    pub fn environment(&self) -> impl Iterator<Item = (&String, &String)> {
        let environment = match &self.means {
            Means::Pkcs11(pkcs11) => Some(&pkcs11.environment),
            Means::Tpm2(_) | Means::Age(_) | Means::Card(_) | Means::Shamir(_) => None,
        };
        environment.into_iter().flatten()
    }

    /// Is it a person, who keeps shards only?
    #[must_use]
    pub fn is_person(&self) -> bool {
        matches!(self.means, Means::Age(_) | Means::Card(_))
    }

    /// Whether a person types its PIN at each unseal.
    #[must_use]
    pub fn needs_person(&self) -> bool {
        match &self.means {
            Means::Pkcs11(pkcs11) => pkcs11.pin.is_none(),
            Means::Tpm2(tpm2) => tpm2.pin == Some(TpmPin::Typed),
            Means::Age(_) | Means::Card(_) | Means::Shamir(_) => false,
        }
    }
}

/// A TPM 2.0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tpm2 {
    /// How it is reached.
    pub tpm: hsm::Tpm,
    /// Registers of the SHA-256 bank that new approvals name, ascending.
    pub pcrs: Vec<u8>,
    /// Where the PIN of its slots is; `None`: they have none.
    pub pin: Option<TpmPin>,
}

/// Where the PIN of a TPM's slots is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TpmPin {
    /// In a credential.
    Credential(Credential),
    /// A person types it at each unseal.
    Typed,
}

/// A PKCS#11 token with its seal key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pkcs11 {
    /// Module and token.
    pub token: hsm::Token,
    /// The seal key on it.
    pub key: hsm::KeyName,
    /// Where its PIN is; `None`: a person types it at each unseal.
    pub pin: Option<Credential>,
    /// The device process's variables beyond none.
    pub environment: BTreeMap<String, String>,
}

/// A secret by reference: the name of a file that the service manager puts into `$CREDENTIALS_DIRECTORY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential(String);

impl Credential {
    /// The file, given the variable's value.
    ///
    /// # Errors
    /// [`ConfigError::NoCredentials`] if the variable is not set.
    pub fn path(&self, credentials_directory: Option<&Path>) -> Result<PathBuf, ConfigError> {
        let directory = credentials_directory.ok_or_else(|| ConfigError::NoCredentials { name: self.0.clone() })?;
        Ok(directory.join(&self.0))
    }
}

/// An edge and its core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// The group that the edge is enrolled in.
    pub group: ScopeName,
    /// HTTPS listeners of cores, the preferred one first.
    pub upstreams: Vec<Upstream>,
    /// PEM file of the CAs that have issued the cores' certificates.
    pub ca: PathBuf,
    /// PEM file of the edge's own certificate, with role `edge` and the group's name.
    pub cert: PathBuf,
    /// PEM file of its private key.
    pub key: PathBuf,
    /// Objects are kept in memory only, and gone with the process.
    pub is_ephemeral: bool,
    /// Other edges of the group use the same keystore.
    pub is_shared: bool,
    /// How often the core is asked what may be served.
    pub lease: Duration,
    /// How long the edge serves without hearing from a core; zero: no longer than it takes to notice.
    pub offline_ttl: Duration,
    /// Most wrapped object keys that wait for new objects of each service.
    pub pool_keys: usize,
    /// About how much memory opened object keys may take.
    pub cache_bytes: usize,
    /// An object without a Deactivation Date gets one so long after its activation.
    pub l4_ttl: Option<Duration>,
}

/// A core's HTTPS listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// DNS name or address, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl Upstream {
    /// `HOST:PORT`, an IPv6 address in brackets.
    #[must_use]
    pub fn authority(&self) -> String {
        let Self { host, port } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

/// How the admin interface is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admin {
    /// So often a second one client calls it on its TLS port, over time; the Unix socket has no limit.
    pub calls_per_second: NonZeroU32,
}

/// How KMIP is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kmip {
    /// A connection without a request for so long is closed.
    pub idle_timeout: Duration,
    /// Most bytes of a request.
    pub message_bytes_max: usize,
    /// What a Credential in a request header counts for (who the peer is, the certificate says in either case), and who chooses IVs.
    pub settings: ::kmip::Settings,
}

/// What is told of the node's own doings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// The least weighty events to be told.
    pub level: tracing::Level,
    /// In which form.
    pub format: LogFormat,
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

impl Config {
    /// Reads `file`, lays those variables of `environment` over it that begin with `STRONGROOM__`, and checks the whole.
    ///
    /// # Errors
    /// [`ConfigError`] names the file or variable, the key, the value and the accepted form.
    pub fn load(file: &Path, environment: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Self, ConfigError> {
        let environment: Vec<_> = environment.into_iter().collect();
        let text = match std::fs::read_to_string(file) {
            Err(_) if is_told_by_variables(file, &environment) => String::new(),
            read => read.map_err(|source| ConfigError::Unreadable { file: file.to_owned(), source })?,
        };
        Self::parse(file, &text, environment)
    }

    /// Like [`Config::load`], for a process that acts on the file: nobody but root and the process's own user can have written it.
    ///
    /// # Errors
    /// [`ConfigError::Writable`], [`ConfigError::Owner`], and those of [`Config::load`].
    pub fn load_guarded(file: &Path, environment: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Self, ConfigError> {
        let environment: Vec<_> = environment.into_iter().collect();
        if is_told_by_variables(file, &environment) {
            return Self::parse(file, "", environment);
        }
        let unreadable = |source| ConfigError::Unreadable { file: file.to_owned(), source };
        let mut opened = std::fs::File::open(file).map_err(unreadable)?;
        let about = opened.metadata().map_err(unreadable)?;
        if about.mode() & 0o022 != 0 {
            return Err(ConfigError::Writable { file: file.to_owned(), mode: about.mode() & 0o7777 });
        }
        let user = nix::unistd::Uid::effective().as_raw();
        if about.uid() != 0 && about.uid() != user {
            return Err(ConfigError::Owner { file: file.to_owned(), owner: about.uid(), user });
        }
        let mut text = String::new();
        opened.read_to_string(&mut text).map_err(unreadable)?;
        Self::parse(file, &text, environment)
    }

    fn parse(file: &Path, text: &str, environment: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Self, ConfigError> {
        let (layers, raw) = source::Layers::read(file, text, environment)?;
        Self::try_from(raw).map_err(|fault| fault.at(&layers))
    }

    /// The keys, as written, whose values are not those of `other`.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<String> {
        show::differences(&File::from(self), &File::from(other))
    }

    /// The effective configuration as a file that [`Config::load`] reads back; it holds no secret, because no file does.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        show::yaml(&File::from(self))
    }
}

/// Is there no file, because nobody has named one and the variables say it all?
fn is_told_by_variables(file: &Path, environment: &[(OsString, OsString)]) -> bool {
    let is_absent = || matches!(std::fs::symlink_metadata(file), Err(error) if error.kind() == std::io::ErrorKind::NotFound);
    file == Path::new(DEFAULT_FILE) && environment.iter().any(|(name, _)| name == ROLE_VARIABLE) && is_absent()
}

#[cfg(test)]
mod tests;
