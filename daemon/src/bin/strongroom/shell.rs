//! `completions` and `man`: what a package ships beside the program.

use std::path::PathBuf;

use clap::{Args, Command};
use clap_complete::Shell;

use crate::context::Context;
use crate::failure::Failure;

/// `completions SHELL`.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// Which shell
    shell: Shell,
}

/// `man DIR`.
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// An existing folder; one page per command is written there
    dir: PathBuf,
}

/// Prints the completion script.
pub(crate) fn completions(context: &Context, args: &Completions, mut command: Command) -> Result<(), Failure> {
    let mut script = vec![];
    clap_complete::generate(args.shell, &mut command, "strongroom", &mut script);
    context.out.bytes(&script)
}

/// Writes the manual pages.
pub(crate) fn man(args: &Man, command: Command) -> Result<(), Failure> {
    clap_mangen::generate_to(command, &args.dir)
        .map_err(|error| Failure::failed(format!("cannot write manual pages to {}: {error}", args.dir.display())))
}
