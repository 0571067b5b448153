//! A keystore behind a plugin, which is started if the node runs it.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use audit::LogId;
use keys::id::{Layer, ScopeName};
use keys::port::{Keystore, Query, StoreError};
use nix::unistd::User;
use storage::grpc::{self, Rows};
use storage::intents::Intents;
use storage::journalled::Journalled;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::elsewhere::Found;
use crate::boot::BootError;
use crate::config::{self, Runs};
use crate::layout::Layout;
use crate::plugin::{Plugin, PluginSupervisor, Program};

/// How long a plugin that was just started may take until it serves a new node.
const STARTS_WITHIN: Duration = Duration::from_secs(10);
/// The same where the node can do without for now.
const AWAITED_WITHIN: Duration = Duration::from_secs(2);
/// How often it is asked meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The plugins that a node has started or connected to. They have to live as long as their keystores.
#[derive(Default)]
pub(super) struct Plugins(Mutex<Vec<Arc<Plugin>>>);

impl Plugins {
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Plugin>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn all(&self) -> Vec<Arc<Plugin>> {
        self.lock().clone()
    }

    pub(super) fn get_or_start(&self, name: &str, start: impl FnOnce() -> Result<Plugin, BootError>) -> Result<Arc<Plugin>, BootError> {
        let mut plugins = self.lock();
        if let Some(plugin) = plugins.iter().find(|plugin| plugin.name == name) {
            return Ok(Arc::clone(plugin));
        }
        let plugin = Arc::new(start()?);
        plugins.push(Arc::clone(&plugin));
        Ok(plugin)
    }

    /// Ends one that the node runs and does not need.
    pub(super) fn end(&self, name: &str) {
        self.lock().retain(|plugin| plugin.name != name);
    }
}

/// The keystore of a node that is made now must not come among another's rows: one row is in every cluster.
async fn must_be_empty(name: &str, store: &dyn Keystore) -> Result<(), BootError> {
    let query = Query { layer: Layer::Cluster, terms: Vec::new(), before: None, limit: 1 };
    if store.find(&query).await?.is_empty() { Ok(()) } else { Err(BootError::PluginTaken { keystore: name.to_owned() }) }
}

/// A plugin, started if the node runs it.
pub(super) fn start(name: &ScopeName, place: &config::Grpc, layout: &Layout, log: LogId) -> Result<Plugin, BootError> {
    let refused = |source| BootError::Plugin { keystore: name.to_string(), source };
    let (socket, user, supervisor) = match &place.runs {
        Runs::Unit { socket, user } => (socket.clone(), user.as_deref().map(|user| number(name, user)).transpose()?, None),
        Runs::Daemon { command, sha256, arguments } => {
            let program = Program {
                path: command.clone(),
                sha256: *sha256,
                arguments: arguments.clone(),
                state: layout.plugin(name.as_str())?,
                confine: std::env::current_exe()?.with_file_name("strongroomd"),
            };
            (program.socket(), None, Some(PluginSupervisor::start(name.as_str(), program).map_err(refused)?))
        }
    };
    let settings = grpc::Settings { name: name.to_string(), socket, user, timeout: place.timeout, node: Uuid::from_bytes(log.0) };
    Ok(Plugin::new(settings, supervisor))
}

/// The keystore behind a plugin, once it serves.
///
/// One that changes one row at a time is used with a journal below `data_dir`. That it is there decides how the plugin is used from then on, also should it
/// learn transactions: audit records may wait in it. Other nodes would not see such a journal, so a plugin that is shared is used by transactions alone.
pub(super) async fn open(plugin: &Plugin, journal: &Path, found: Found) -> Result<Arc<dyn Keystore>, BootError> {
    let unshared = || BootError::PluginUnshared { keystore: plugin.name.clone() };
    let is_made = matches!(found, Found::Made | Found::MadeForAll);
    if !is_made {
        // Of a try that came to nothing.
        let _none = std::fs::remove_file(journal);
    }
    if matches!(found, Found::MadeForAll | Found::ByOthers) {
        if journal.exists() {
            return Err(unshared());
        }
        return plugin.open().await.map(|store| store as Arc<dyn Keystore>).map_err(|error| match grpc::is_without_batch(&error) {
            true => unshared(),
            false => error.into(),
        });
    }
    if is_made && journal.exists() {
        return journalled(plugin, journal, patiently(plugin, is_made, || plugin.open_rows()).await?);
    }
    let store: Arc<dyn Keystore> = match patiently(plugin, is_made, || plugin.open()).await {
        Err(error) if !is_made && grpc::is_without_batch(&error) => journalled(plugin, journal, plugin.open_rows().await?)?,
        opened => opened?,
    };
    if !is_made {
        must_be_empty(&plugin.name, &*store).await?;
    }
    Ok(store)
}

fn journalled(plugin: &Plugin, journal: &Path, rows: Arc<Rows>) -> Result<Arc<dyn Keystore>, BootError> {
    Ok(Arc::new(Journalled::new(rows, Intents::open(journal)?, plugin.settings.timeout)?))
}

/// One that was just started has to make its socket first.
async fn patiently<T, F>(plugin: &Plugin, is_made: bool, open: impl Fn() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let until = Instant::now() + if is_made { AWAITED_WITHIN } else { STARTS_WITHIN };
    loop {
        match open().await {
            Err(error) if storage::is_away(&error) && plugin.supervisor.is_some() && Instant::now() < until => sleep(LOOK_EVERY).await,
            opened => return opened,
        }
    }
}

/// The number of a user.
fn number(keystore: &ScopeName, user: &str) -> Result<u32, BootError> {
    let named = || User::from_name(user).ok().flatten().map(|user| user.uid.as_raw());
    user.parse().ok().or_else(named).ok_or_else(|| BootError::PluginUser { keystore: keystore.to_string(), user: user.to_owned() })
}
