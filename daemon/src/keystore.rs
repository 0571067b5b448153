//! The keystore that the configuration names, opened or made.

pub(crate) mod elsewhere;
mod plugin;

use std::sync::Arc;

use audit::LogId;
use keys::port::Keystore;
use storage::embedded::Embedded;
use storage::memory::Memory;

use crate::boot::BootError;
use crate::config::Config;
use crate::layout::Layout;
use crate::plugin::Plugin;

/// Where rows are kept.
pub(crate) struct Opened {
    pub(crate) store: Arc<dyn Keystore>,
    /// The same, if it is a file of the node's own.
    pub(crate) embedded: Option<Arc<Embedded>>,
    /// The same, if it is a plugin's. It has to live as long.
    pub(crate) plugin: Option<Arc<Plugin>>,
}

impl Opened {
    fn file(embedded: Embedded) -> Self {
        let embedded = Arc::new(embedded);
        Self { store: Arc::<Embedded>::clone(&embedded), embedded: Some(embedded), plugin: None }
    }
}

/// The keystore of a node that is made now.
pub(crate) async fn create(config: &Config, layout: &Layout, log: LogId) -> Result<Opened, BootError> {
    match &config.keystore {
        Some(keystore) => elsewhere::open(keystore, layout, log, false).await,
        None => Ok(Opened::file(Embedded::open(&layout.store())?)),
    }
}

/// The keystore of a node that exists.
pub(crate) async fn open(config: &Config, layout: &Layout, log: LogId) -> Result<Opened, BootError> {
    if config.edge.as_ref().is_some_and(|edge| edge.is_ephemeral) {
        return Ok(Opened { store: Arc::new(Memory::new()), embedded: None, plugin: None });
    }
    if let Some(keystore) = &config.keystore {
        return elsewhere::open(keystore, layout, log, true).await;
    }
    if !layout.store().exists() {
        return Err(BootError::StoreMissing { path: layout.store() });
    }
    Ok(Opened::file(Embedded::open(&layout.store())?))
}
