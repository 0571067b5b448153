//! The keystore that the configuration names, opened or made.

pub(crate) mod elsewhere;

use std::sync::Arc;

use audit::LogId;
use keys::port::Keystore;
use storage::embedded::Embedded;
use storage::memory::Memory;

use crate::boot::BootError;
use crate::config::Config;
use crate::layout::Layout;

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
}

/// The keystore of a node that is made now.
pub(crate) async fn create(config: &Config, layout: &Layout, log: LogId) -> Result<Arc<dyn Keystore>, BootError> {
    match &config.keystore {
        Some(keystore) => elsewhere::open(keystore, layout, log, false).await,
        None => Ok(Arc::new(Embedded::open(&layout.store())?)),
    }
}

/// The keystore of a node that exists.
pub(crate) async fn open(config: &Config, layout: &Layout, log: LogId) -> Result<Opened, BootError> {
    if config.edge.as_ref().is_some_and(|edge| edge.is_ephemeral) {
        return Ok(Opened { store: Arc::new(Memory::new()), embedded: None });
    }
    if let Some(keystore) = &config.keystore {
        return Ok(Opened { store: elsewhere::open(keystore, layout, log, true).await?, embedded: None });
    }
    if !layout.store().exists() {
        return Err(BootError::StoreMissing { path: layout.store() });
    }
    Ok(Opened::file(Embedded::open(&layout.store())?))
}
