//! The log on standard error, where the service manager's journal takes it.

use std::io::IsTerminal;

use tracing::Level;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::config::{Config, LogFormat};

/// How much the log tells; can be changed while the node runs.
pub struct LogLevel(reload::Handle<LevelFilter, Registry>);

impl LogLevel {
    /// From now on the log tells this much.
    pub fn set(&self, level: Level) {
        if let Err(error) = self.0.reload(LevelFilter::from_level(level)) {
            tracing::error!(%error, "log.level was not changed");
        }
    }
}

/// Begins to log, with defaults if there is no configuration.
pub fn start(config: Option<&Config>) -> LogLevel {
    let level = config.map_or(Level::INFO, |config| config.log.level);
    let (filter, handle) = reload::Layer::new(LevelFilter::from_level(level));
    let lines = fmt::layer().with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr);
    let lines = match config.map_or(LogFormat::Text, |config| config.log.format) {
        LogFormat::Json => lines.json().boxed(),
        LogFormat::Text => lines.boxed(),
    };
    tracing_subscriber::registry().with(filter).with(lines).init();
    LogLevel(handle)
}
