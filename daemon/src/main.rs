//! `strongroomd`: reads its configuration, prepares the process, and runs the node until it is told to stop.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};
use daemon::boot::BootError;
use daemon::causes::told;
use daemon::config::{Config, ConfigError, DEFAULT_FILE};
use daemon::confine::{self, Confine};
use daemon::passed::Passed;
use daemon::{boot, exit, logging, sandbox};
use tokio::runtime::Handle;

/// Requests, PINs and TLS records pass through ordinary buffers (C16).
#[global_allocator]
static HEAP: secret::WipingHeap = secret::WipingHeap;

/// Pools of memory that all threads share. With two, requests cost as much CPU, but a walk over many keys waits for them a quarter of its time; with a
/// pool for each thread, an idle node takes no more than with eight.
const HEAP_POOLS: u8 = 8;
/// Fewest threads for requests: on a small machine one that waits must not hold up the others.
const WORKERS_MIN: usize = 4;
/// How often the runtime is nudged.
const NUDGE_EVERY: Duration = Duration::from_millis(250);
/// How long a device or a disk that does not answer may hold up the end of the process.
const JOBS_END_WITHIN: Duration = Duration::from_secs(2);

/// The Strongroom daemon.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The configuration file. Without a file at the default path, variables that set the role are the whole configuration.
    #[arg(long, default_value = DEFAULT_FILE)]
    config: PathBuf,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Become a program that is pinned by its hash and may write in one folder only: a keystore's plugin
    Confine(Confine),
    /// Write the manual page
    Man {
        /// An existing folder
        dir: PathBuf,
    },
}

fn main() -> ExitCode {
    // Refused or not, the node works; it only takes more memory.
    HEAP.share_pools(HEAP_POOLS);
    let mut arguments = Arguments::parse();
    let result = match arguments.command.take() {
        Some(Command::Confine(confine)) => {
            let _log = logging::start(None);
            let Err(error) = confine::run(confine);
            tracing::error!("{error}");
            return ExitCode::from(confine::REFUSED_CODE);
        }
        Some(Command::Man { dir }) => {
            let _log = logging::start(None);
            manual(&dir)
        }
        None => run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", told(error.as_ref()));
            ExitCode::from(code(&error))
        }
    }
}

/// Writes what a package ships beside the program.
fn manual(dir: &Path) -> anyhow::Result<()> {
    let path = dir.join("strongroomd.8");
    let mut page = vec![];
    clap_mangen::Man::new(Arguments::command()).section("8").render(&mut page)?;
    std::fs::write(&path, page).with_context(|| format!("{} cannot be written", path.display()))
}

/// With what the process ends; only what passes by itself is worth another start.
fn code(error: &anyhow::Error) -> u8 {
    if error.is::<ConfigError>() {
        exit::CONFIGURATION
    } else {
        error.downcast_ref().map_or(exit::AGAIN, |error: &BootError| exit::code(error))
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let config = Config::load_guarded(&arguments.config, std::env::vars_os());
    let log = logging::start(config.as_ref().ok());
    let config = config?;
    // While there is one thread.
    let confinement = sandbox::enter(&config);
    let passed = Passed::take().map_err(BootError::from)?;
    let memory = boot::prepare_process(&config)?;
    let workers = std::thread::available_parallelism().map_or(WORKERS_MIN, |cores| cores.get().max(WORKERS_MIN));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build();
    let runtime = runtime.context("the runtime does not start")?;
    keep_watch(runtime.handle().clone())?;
    let ended = runtime.block_on(boot::run(arguments.config.clone(), config, (memory, confinement), log, passed));
    runtime.shutdown_timeout(JOBS_END_WITHIN);
    Ok(ended?)
}

/// Sees to it that some thread watches the sockets, whatever the others are at (F15).
///
/// A request that hangs in a write to the audit log may hang on the very thread that watched last, and no idle one takes over by itself: then nobody is
/// even refused. A task from outside wakes an idle thread, and that one takes the watch.
#[expect(clippy::disallowed_methods, reason = "nothing is waited for: this thread is the clock of those that cannot wake by themselves")]
fn keep_watch(runtime: Handle) -> std::io::Result<()> {
    let nudge = move || loop {
        std::thread::sleep(NUDGE_EVERY);
        drop(runtime.spawn(std::future::ready(())));
    };
    std::thread::Builder::new().name("nudge".to_owned()).spawn(nudge).map(drop)
}
