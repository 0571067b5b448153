//! A keystore on another machine, made or opened by what the configuration says of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use audit::LogId;
use keys::port::Keystore;
use rustls::ClientConfig;
use secret::Bytes;
use storage::intents::Intents;
use storage::journalled::Journalled;
use storage::openbao::{self, Login, Openbao};
use storage::postgres::{self, Postgres};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::plugin::{self, Plugins};
use crate::boot::BootError;
use crate::config::{self, CertificateFiles, Credential, KeystoreKind};
use crate::layout::Layout;
use crate::tls;

/// Longest password, in bytes.
const PASSWORD_BYTES_MAX: usize = 1024;

/// What is to be in a keystore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// What this node has made there.
    Made,
    /// The same; other nodes use it too.
    MadeForAll,
    /// Nothing, or what other nodes have made that share it.
    ByOthers,
    /// Nothing.
    Empty,
}

/// Opens it, or makes it where there is none.
///
/// - `plugins`: those that were started for the node; one that is needed is added.
pub(super) async fn open(
    keystore: &config::Keystore,
    layout: &Layout,
    log: LogId,
    found: Found,
    plugins: &Plugins,
) -> Result<Arc<dyn Keystore>, BootError> {
    let name = keystore.name.as_str();
    let is_made = matches!(found, Found::Made | Found::MadeForAll);
    Ok(match &keystore.kind {
        KeystoreKind::Postgres(database) => {
            let settings = postgres(name, database, log)?;
            let store = match found {
                Found::Made | Found::MadeForAll => Postgres::open(settings).await,
                Found::ByOthers => Postgres::join(settings).await,
                Found::Empty => Postgres::create(settings).await,
            };
            Arc::new(store?) as Arc<dyn Keystore>
        }
        KeystoreKind::Openbao(folder) => {
            let settings = openbao(name, folder, log)?;
            let intents = Intents::open(&layout.intents(name))?;
            let store = if is_made { Openbao::open(settings).await } else { Openbao::create(settings).await };
            Arc::new(Journalled::new(store?, intents, folder.timeout)?)
        }
        KeystoreKind::Grpc(place) => {
            let plugin = plugins.get_or_start(name, || plugin::start(&keystore.name, place, layout, log))?;
            plugin::open(&plugin, &layout.intents(name), found).await?
        }
    })
}

/// The node is known to the database by its audit log, whose records wait there.
fn postgres(keystore: &str, database: &config::Postgres, log: LogId) -> Result<postgres::Settings, BootError> {
    let config::Postgres { url, password, ca, client, connections, timeout } = database;
    Ok(postgres::Settings {
        url: url.clone(),
        password: password.as_ref().map(read_password).transpose()?,
        tls: ca.as_ref().map(|ca| client_config(keystore, ca, client.as_ref())).transpose()?,
        connections: *connections,
        timeout: *timeout,
        node: Uuid::from_bytes(log.0),
    })
}

fn openbao(keystore: &str, folder: &config::Openbao, log: LogId) -> Result<openbao::Settings, BootError> {
    let config::Openbao { url, mount, prefix, namespace, ca, client, approle, timeout } = folder;
    let login = match approle {
        Some(config::AppRole { role, secret }) => Login::AppRole { role: role.clone(), secret: read_password(secret)? },
        None => Login::Certificate,
    };
    Ok(openbao::Settings {
        url: url.clone(),
        mount: mount.clone(),
        prefix: prefix.clone(),
        namespace: namespace.clone(),
        tls: client_config(keystore, ca, client.as_ref())?,
        login,
        // So that a call can say what became of its request.
        timeout: *timeout / 2,
        node: Uuid::from_bytes(log.0),
    })
}

fn client_config(keystore: &str, ca: &Path, client: Option<&CertificateFiles>) -> Result<Arc<ClientConfig>, BootError> {
    let own = client.map(|files| (&*files.cert, &*files.key));
    tls::client_config(ca, own).map_err(|source| BootError::StoreTls { keystore: keystore.to_owned(), source })
}

/// The credential's text without the line feed at its end.
fn read_password(credential: &Credential) -> Result<Bytes, BootError> {
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
