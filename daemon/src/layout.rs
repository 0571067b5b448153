//! What lies where in `data_dir`, and who this node is.
//!
//! ```text
//! data_dir/node.json        cluster id and log id, written last by `strongroom init`: with it the node exists
//! data_dir/store.redb       the embedded keystore
//! data_dir/store.redb.log   what of it that file has not got yet
//! data_dir/placement.json   which rows belong to which keystore
//! data_dir/routing.redb     changes of several keystores that have not ended
//! data_dir/intents-NAME.redb  the journal of a keystore elsewhere that knows no transactions
//! data_dir/audit/           the audit log's segments
//! data_dir/slots/           seal slots
//! data_dir/latch/           marks of refused PINs
//! data_dir/plugins/NAME/    what the plugin of a keystore keeps, if the node starts it, and its socket
//! data_dir/strongroom.sock  the admin socket
//! data_dir/lock             held by the one process that uses the rest
//! ```

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use audit::LogId;
use data_encoding::HEXLOWER;
use keys::id::{ClusterId, ServiceId, Time};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

const FORMAT: u32 = 1;
/// unix(7): `sun_path` has 108 bytes, the last of them NUL.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Paths below one `data_dir`.
#[derive(Debug, Clone)]
pub struct Layout {
    data_dir: PathBuf,
}

/// The right to use a `data_dir`, until dropped or the process ends in whatever way.
#[derive(Debug)]
pub struct DataLock {
    _file: Flock<fs::File>,
}

/// Who this node is; nothing of it is secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its audit log.
    pub log: LogId,
    /// What an edge is besides; `None` for a core.
    pub edge: Option<EdgeIdentity>,
}

/// Who an edge is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeIdentity {
    /// Its group.
    pub group: ServiceId,
    /// Its audit signing key, as [`keys::edge::new_root`] has had it wrapped: only the core opens it, for this group.
    pub audit_key: Vec<u8>,
    /// The key by which it vouches for its clients, wrapped likewise.
    pub delegation_key: Vec<u8>,
    /// Its public half, which the core's operator enrols.
    pub delegation_public: [u8; 32],
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct IdentityFile {
    format: u32,
    cluster: Uuid,
    log: Uuid,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    edge: Option<EdgeFile>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EdgeFile {
    group: Uuid,
    audit_key: String,
    delegation_key: String,
    delegation_public: String,
}

impl EdgeFile {
    fn identity(self) -> Option<EdgeIdentity> {
        let hex = |text: &str| HEXLOWER.decode(text.as_bytes()).ok();
        Some(EdgeIdentity {
            group: ServiceId::new(self.group),
            audit_key: hex(&self.audit_key)?,
            delegation_key: hex(&self.delegation_key)?,
            delegation_public: hex(&self.delegation_public)?.try_into().ok()?,
        })
    }
}

impl IdentityFile {
    fn identity(self) -> Option<Identity> {
        let edge = match self.edge {
            Some(edge) => Some(edge.identity()?),
            None => None,
        };
        Some(Identity { cluster: ClusterId::new(self.cluster), log: LogId(self.log.into_bytes()), edge })
    }
}

/// Why the node's own files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// No `node.json`.
    #[error("{data_dir} holds no cluster yet: run `strongroom init` with the same configuration first", data_dir = .data_dir.display())]
    Uninitialised {
        /// Where it was looked for.
        data_dir: PathBuf,
    },
    /// `node.json` is there already.
    #[error("{data_dir} holds a cluster already: use another data_dir, or keep this one", data_dir = .data_dir.display())]
    Initialised {
        /// Where it was found.
        data_dir: PathBuf,
    },
    /// The folder is in use.
    #[error("another strongroomd or init is using {data_dir}: stop it first", data_dir = .data_dir.display())]
    InUse {
        /// The folder.
        data_dir: PathBuf,
    },
    /// The admin socket could never be bound.
    #[error("{path} has {bytes} bytes, a socket's path at most {SOCKET_PATH_BYTES_MAX}: choose a shorter data_dir", path = .path.display())]
    SocketPath {
        /// Where the socket would be.
        path: PathBuf,
        /// Its length.
        bytes: usize,
    },
    /// A file does not read.
    #[error("{path} is damaged: restore it from a copy", path = .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// A file of a later release.
    #[error(
        "{path} was written by a newer release (format {format}; this release knows {known}) and was not touched: install that release again, or a later one",
        path = .path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u32,
        /// The newest that is known.
        known: u32,
    },
    /// A file or folder could not be read or written.
    #[error("{path}: {source}", path = .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Layout {
    /// The layout below `data_dir`.
    #[must_use]
    pub fn new(data_dir: &Path) -> Self {
        Self { data_dir: data_dir.to_owned() }
    }

    /// The embedded keystore.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.data_dir.join("store.redb")
    }

    /// The journal of a keystore elsewhere that knows no transactions.
    #[must_use]
    pub fn intents(&self, keystore: &str) -> PathBuf {
        self.data_dir.join(format!("intents-{keystore}.redb"))
    }

    /// Which rows belong to which keystore.
    #[must_use]
    pub fn placement(&self) -> PathBuf {
        self.data_dir.join("placement.json")
    }

    /// Changes of several keystores that have not ended.
    #[must_use]
    pub fn routing(&self) -> PathBuf {
        self.data_dir.join("routing.redb")
    }

    /// The audit log's folder.
    #[must_use]
    pub fn audit(&self) -> PathBuf {
        self.data_dir.join("audit")
    }

    /// The seal slots' folder.
    #[must_use]
    pub fn slots(&self) -> PathBuf {
        self.data_dir.join("slots")
    }

    /// The ceremony that is under way.
    #[must_use]
    pub fn ceremony(&self) -> PathBuf {
        self.data_dir.join("ceremony.json")
    }

    /// The manifest of a ceremony that has ended.
    #[must_use]
    pub fn manifest(&self, id: Uuid) -> PathBuf {
        self.data_dir.join(format!("ceremony-{id}.manifest"))
    }

    /// The PIN latches' folder.
    #[must_use]
    pub fn latch(&self) -> PathBuf {
        self.data_dir.join("latch")
    }

    /// The folder of all plugins that the node starts.
    #[must_use]
    pub fn plugins(&self) -> PathBuf {
        self.data_dir.join("plugins")
    }

    /// The folder of the plugin of a keystore, made if it is not there.
    ///
    /// # Errors
    /// [`LayoutError::Io`].
    pub fn plugin(&self, keystore: &str) -> Result<PathBuf, LayoutError> {
        let folder = self.plugins().join(keystore);
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.map_err(|source| LayoutError::Io { path: folder.clone(), source })?;
        Ok(folder)
    }

    /// The admin socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.data_dir.join("strongroom.sock")
    }

    /// Does the path of the admin socket fit into a socket's address?
    ///
    /// # Errors
    /// [`LayoutError::SocketPath`].
    pub fn check_socket(&self) -> Result<(), LayoutError> {
        let path = self.socket();
        match path.as_os_str().len() {
            0..=SOCKET_PATH_BYTES_MAX => Ok(()),
            bytes => Err(LayoutError::SocketPath { path, bytes }),
        }
    }

    /// Takes the folder for this process; to be held as long as anything in it is used.
    ///
    /// # Errors
    /// [`LayoutError::InUse`], [`LayoutError::Uninitialised`] if there is no folder, [`LayoutError::Io`].
    pub fn lock(&self) -> Result<DataLock, LayoutError> {
        let path = self.data_dir.join("lock");
        let file = match fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(LayoutError::Uninitialised { data_dir: self.data_dir.clone() });
            }
            Err(source) => return Err(LayoutError::Io { path, source }),
        };
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(DataLock { _file: file }),
            Err((_, Errno::EWOULDBLOCK)) => Err(LayoutError::InUse { data_dir: self.data_dir.clone() }),
            Err((_, error)) => Err(LayoutError::Io { path, source: error.into() }),
        }
    }

    fn node(&self) -> PathBuf {
        self.data_dir.join("node.json")
    }

    /// Makes the folders of a new node, readable by its user alone.
    ///
    /// # Errors
    /// [`LayoutError::Initialised`] if a node is there; [`LayoutError::Io`].
    pub fn prepare(&self) -> Result<(), LayoutError> {
        if self.node().exists() {
            return Err(LayoutError::Initialised { data_dir: self.data_dir.clone() });
        }
        for folder in [self.data_dir.clone(), self.audit(), self.slots(), self.latch()] {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
            made.map_err(|source| LayoutError::Io { path: folder, source })?;
        }
        Ok(())
    }

    /// Moves what an `init` that did not finish has left into `aside-MILLISECONDS`: never deleted, because a lost `node.json` looks the same.
    ///
    /// Returns where it went, if there was anything.
    ///
    /// # Errors
    /// [`LayoutError::Initialised`] if a node is there; [`LayoutError::Io`].
    pub fn set_unfinished_aside(&self, now: Time) -> Result<Option<PathBuf>, LayoutError> {
        if self.node().exists() {
            return Err(LayoutError::Initialised { data_dir: self.data_dir.clone() });
        }
        let left = [self.store(), self.placement(), self.routing(), self.plugins(), self.audit(), self.slots()].into_iter();
        let left = left.filter(|path| path.exists());
        let left: Vec<PathBuf> = left.filter(|path| fs::read_dir(path).map_or(true, |mut folder| folder.next().is_some())).collect();
        if left.is_empty() {
            return Ok(None);
        }
        let aside = self.data_dir.join(format!("aside-{}", now.millis()));
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| LayoutError::Io { path, source }
        };
        fs::DirBuilder::new().mode(0o700).create(&aside).map_err(io(&aside))?;
        for path in left {
            let name = path.file_name().expect("every path of the layout has a name");
            fs::rename(&path, aside.join(name)).map_err(io(&path))?;
        }
        Ok(Some(aside))
    }

    /// Who this node is.
    ///
    /// # Errors
    /// [`LayoutError::Uninitialised`], [`LayoutError::Damaged`], [`LayoutError::Newer`], [`LayoutError::Io`].
    pub fn identity(&self) -> Result<Identity, LayoutError> {
        let path = self.node();
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(LayoutError::Uninitialised { data_dir: self.data_dir.clone() });
            }
            Err(source) => return Err(LayoutError::Io { path, source }),
        };
        let file: Option<IdentityFile> = stored(&path, &text, FORMAT)?;
        file.and_then(IdentityFile::identity).ok_or(LayoutError::Damaged { path })
    }

    /// Writes who this node is; from then on it exists. Atomic and durable.
    ///
    /// # Errors
    /// [`LayoutError::Io`].
    pub fn write_identity(&self, identity: &Identity) -> Result<(), LayoutError> {
        let path = self.node();
        let edge = identity.edge.as_ref().map(|edge| EdgeFile {
            group: Uuid::from_bytes(*edge.group.as_bytes()),
            audit_key: HEXLOWER.encode(&edge.audit_key),
            delegation_key: HEXLOWER.encode(&edge.delegation_key),
            delegation_public: HEXLOWER.encode(&edge.delegation_public),
        });
        let (cluster, log) = (Uuid::from_bytes(*identity.cluster.as_bytes()), Uuid::from_bytes(identity.log.0));
        let file = IdentityFile { format: FORMAT, cluster, log, edge };
        let text = serde_json::to_vec_pretty(&file).expect("plain fields always print");
        self.replace(&path, &text).map_err(|source| LayoutError::Io { path, source })
    }

    /// Writes a file of the folder whole and durably, or not at all.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn replace(&self, path: &Path, text: &[u8]) -> std::io::Result<()> {
        let temporary = path.with_extension("new");
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        fs::File::open(&self.data_dir)?.sync_all()
    }
}

/// What a JSON file of the folder says, or `None` if it does not read.
///
/// - `known`: the format of this release.
///
/// # Errors
/// [`LayoutError::Newer`]: the file is good, and for another release to read.
pub(crate) fn stored<T: DeserializeOwned>(path: &Path, text: &[u8], known: u32) -> Result<Option<T>, LayoutError> {
    /// Every format has this, whatever else it has.
    #[derive(Deserialize)]
    struct Numbered {
        format: u32,
    }
    match serde_json::from_slice(text) {
        Ok(Numbered { format }) if format > known => Err(LayoutError::Newer { path: path.to_owned(), format, known }),
        Ok(Numbered { format }) if format == known => Ok(serde_json::from_slice(text).ok()),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_what_init_wrote_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let layout = Layout::new(dir.path());
        assert!(matches!(layout.identity(), Err(LayoutError::Uninitialised { .. })));
        layout.prepare().expect("the folder is ours");
        let core = Identity { cluster: ClusterId::new(Uuid::from_bytes([1; 16])), log: LogId([2; 16]), edge: None };
        let group = ServiceId::new(Uuid::from_bytes([3; 16]));
        let edge = Identity {
            edge: Some(EdgeIdentity { group, audit_key: vec![0xAB, 4], delegation_key: vec![5], delegation_public: [6; 32] }),
            ..core.clone()
        };
        for identity in [core, edge] {
            layout.write_identity(&identity).expect("the folder is ours");
            assert_eq!(layout.identity().expect("it was written"), identity);
        }
        assert!(matches!(layout.prepare(), Err(LayoutError::Initialised { .. })));
        assert!(matches!(layout.set_unfinished_aside(Time::default()), Err(LayoutError::Initialised { .. })));
        for damaged in [&b"{}"[..], b"", b"{\"format\":1}", b"{\"format\":0}", b"{\"format\":2"] {
            fs::write(layout.node(), damaged).expect("the folder is ours");
            assert!(matches!(layout.identity(), Err(LayoutError::Damaged { .. })));
        }
        fs::write(layout.node(), b"{\"format\":2,\"what\":\"nobody knows\"}").expect("the folder is ours");
        let newer = layout.identity().expect_err("a later release's").to_string();
        assert!(newer.contains("newer release (format 2; this release knows 1)") && newer.contains("install that release"), "{newer}");
    }

    #[test]
    fn a_folder_is_used_by_one_at_a_time() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let layout = Layout::new(dir.path());
        let first = layout.lock().expect("nobody else is there");
        let refused = layout.lock().expect_err("the first is still there").to_string();
        assert!(refused.contains("another") && refused.contains(&dir.path().display().to_string()), "{refused}");
        drop(first);
        layout.lock().expect("the first is gone");
        let nowhere = Layout::new(&dir.path().join("nowhere"));
        assert!(matches!(nowhere.lock(), Err(LayoutError::Uninitialised { .. })));
    }

    #[test]
    fn a_folder_too_deep_for_its_socket_is_refused() {
        let long = |bytes: usize| Layout::new(&Path::new("/").join("d".repeat(bytes - "//strongroom.sock".len()))).check_socket();
        long(107).expect("107 bytes fit");
        assert!(matches!(long(108), Err(LayoutError::SocketPath { bytes: 108, .. })));
    }

    #[test]
    fn what_an_unfinished_init_left_is_moved_and_not_deleted() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let layout = Layout::new(dir.path());
        layout.prepare().expect("the folder is ours");
        assert_eq!(layout.set_unfinished_aside(Time::from_millis(7)).expect("nothing is there"), None);
        fs::write(layout.store(), "rows").expect("the folder is ours");
        fs::write(layout.slots().join("a.slot"), "slot").expect("the folder is ours");
        let aside = layout.set_unfinished_aside(Time::from_millis(7)).expect("the folder is ours").expect("something was there");
        assert_eq!(fs::read(aside.join("store.redb")).expect("it was moved"), b"rows");
        assert_eq!(fs::read(aside.join("slots/a.slot")).expect("it was moved"), b"slot");
        assert!(!layout.store().exists());
    }
}
