//! A keystore behind a plugin, which is started if the node runs it.

use std::sync::Arc;
use std::time::Duration;

use audit::LogId;
use keys::id::{Layer, ScopeName};
use keys::port::{Keystore, Query, StoreError};
use nix::unistd::User;
use storage::grpc::{self, Grpc};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::boot::BootError;
use crate::config::{self, Runs};
use crate::layout::Layout;
use crate::plugin::{Plugin, PluginSupervisor, Program};

/// How long a plugin that was just started may take until it serves.
const STARTS_WITHIN: Duration = Duration::from_secs(10);
/// How often it is asked meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The keystore of a node that is made now must not come among another's rows: one row is in every cluster.
pub(super) async fn must_be_empty(name: &ScopeName, store: &dyn Keystore) -> Result<(), BootError> {
    let query = Query { layer: Layer::Cluster, terms: Vec::new(), before: None, limit: 1 };
    if store.find(&query).await?.is_empty() { Ok(()) } else { Err(BootError::PluginTaken { keystore: name.to_string() }) }
}

/// A plugin, started if the node runs it.
pub(super) async fn open(name: &ScopeName, place: &config::Grpc, layout: &Layout, log: LogId) -> Result<Plugin, BootError> {
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
    let until = Instant::now() + STARTS_WITHIN;
    loop {
        match Grpc::open(settings.clone()).await {
            Ok(grpc) => return Ok(Plugin::new(name.to_string(), Arc::new(grpc), supervisor)),
            // One that was just started has to make its socket first.
            Err(StoreError::Unavailable { .. }) if supervisor.is_some() && Instant::now() < until => sleep(LOOK_EVERY).await,
            Err(error) => return Err(error.into()),
        }
    }
}

/// The number of a user.
fn number(keystore: &ScopeName, user: &str) -> Result<u32, BootError> {
    let named = || User::from_name(user).ok().flatten().map(|user| user.uid.as_raw());
    user.parse().ok().or_else(named).ok_or_else(|| BootError::PluginUser { keystore: keystore.to_string(), user: user.to_owned() })
}
