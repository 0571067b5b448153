//! The keystore that the configuration names, opened or made.

use std::path::PathBuf;
use std::sync::Arc;

use audit::LogId;
use keys::port::Keystore;
use secret::Bytes;
use storage::embedded::Embedded;
use storage::memory::Memory;
use storage::postgres::{Postgres, Settings};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::boot::BootError;
use crate::config::{self, Config};
use crate::layout::Layout;
use crate::tls;

/// Longest password, in bytes.
const PASSWORD_BYTES_MAX: usize = 1024;

/// Where rows are kept.
pub(crate) struct Opened {
    pub(crate) store: Arc<dyn Keystore>,
    /// The same, if it is a file of the node's own.
    pub(crate) embedded: Option<Arc<Embedded>>,
}

impl Opened {
    fn file(embedded: Embedded) -> Self {
        let embedded = Arc::new(embedded);
        Self { store: Arc::<Embedded>::clone(&embedded), embedded: Some(embedded) }
    }

    fn elsewhere(store: impl Keystore + 'static) -> Self {
        Self { store: Arc::new(store), embedded: None }
    }
}

/// The keystore of a node that is made now.
pub(crate) async fn create(config: &Config, layout: &Layout, log: LogId) -> Result<Arc<dyn Keystore>, BootError> {
    match &config.keystore {
        Some(keystore) => Ok(Arc::new(Postgres::create(settings(keystore, log)?).await?)),
        None => Ok(Arc::new(Embedded::open(&layout.store())?)),
    }
}

/// The keystore of a node that exists.
pub(crate) async fn open(config: &Config, layout: &Layout, log: LogId) -> Result<Opened, BootError> {
    if config.edge.as_ref().is_some_and(|edge| edge.is_ephemeral) {
        return Ok(Opened::elsewhere(Memory::new()));
    }
    if let Some(keystore) = &config.keystore {
        return Ok(Opened::elsewhere(Postgres::open(settings(keystore, log)?).await?));
    }
    if !layout.store().exists() {
        return Err(BootError::StoreMissing { path: layout.store() });
    }
    Ok(Opened::file(Embedded::open(&layout.store())?))
}

/// The node is known to the database by its audit log, whose records wait there.
fn settings(keystore: &config::Keystore, log: LogId) -> Result<Settings, BootError> {
    let config::Postgres { url, password, ca, client, connections, timeout } = &keystore.postgres;
    let own = client.as_ref().map(|files| (&*files.cert, &*files.key));
    let tls = ca.as_ref().map(|ca| tls::client_config(ca, own)).transpose();
    Ok(Settings {
        url: url.clone(),
        password: password.as_ref().map(read_password).transpose()?,
        tls: tls.map_err(|source| BootError::StoreTls { keystore: keystore.name.to_string(), source })?,
        connections: *connections,
        timeout: *timeout,
        node: Uuid::from_bytes(log.0),
    })
}

/// The credential's text without the line feed at its end.
fn read_password(credential: &config::Credential) -> Result<Bytes, BootError> {
    let directory = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let path = credential.path(directory.as_deref())?;
    let bad = |what: String| BootError::Password { path: path.clone(), what };
    let text = std::fs::read(&path).map(Zeroizing::new).map_err(|error| bad(error.to_string()))?;
    let password = text.strip_suffix(b"\n").unwrap_or(&text);
    if password.is_empty() || password.len() > PASSWORD_BYTES_MAX || password.contains(&b'\n') {
        return Err(bad(format!("it has to hold one line of 1 to {PASSWORD_BYTES_MAX} bytes")));
    }
    Bytes::init_with(password.len(), |bytes| bytes.copy_from_slice(password)).map_err(|full| bad(full.to_string()))
}
