//! `strongroomd`: reads its configuration, prepares the process, and runs the node until it is told to stop.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use daemon::boot;
use daemon::config::{Config, LogFormat};

/// The Strongroom daemon.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The configuration file.
    #[arg(long, default_value = "/etc/strongroom/config.yaml")]
    config: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let config = Config::load(&arguments.config, std::env::vars_os());
    start_log(config.as_ref().ok());
    let config = config?;
    let memory = boot::prepare_process(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("the runtime does not start")?;
    Ok(runtime.block_on(boot::run(config, memory))?)
}

/// Logs to standard error, where the service manager's journal takes it; with defaults while there is no configuration.
fn start_log(config: Option<&Config>) {
    let level = config.map_or(tracing::Level::INFO, |config| config.log.level);
    let log = tracing_subscriber::fmt().with_max_level(level).with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr);
    match config.map_or(LogFormat::Text, |config| config.log.format) {
        LogFormat::Json => log.json().init(),
        LogFormat::Text => log.init(),
    }
}
