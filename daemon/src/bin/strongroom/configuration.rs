//! `config check` and `config show`: what the node is told.

use clap::Subcommand;
use daemon::config::File;
use serde_json::json;

use crate::context::Context;
use crate::failure::Failure;

/// `config ...`.
#[derive(Debug, Subcommand)]
pub(crate) enum Configuration {
    /// Check the configuration file and the overriding environment variables
    Check,
    /// Print the effective configuration: every key, with overrides and defaults
    Show,
}

/// Runs `config ...`.
pub(crate) fn run(context: &Context, command: &Configuration) -> Result<(), Failure> {
    let config = context.config()?;
    let path = context.config_path()?;
    match command {
        Configuration::Check => context.out.show(&json!({"file": path, "valid": true}), |_| format!("{} is valid", path.display())),
        Configuration::Show => context.out.show(&File::from(&config), |_| config.to_yaml()),
    }
}
