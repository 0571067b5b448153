//! `cargo xtask`: the checks and chores of this repository, the same on every machine.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command for people: what it prints is its result")]

mod appliance;
mod check;
mod command;
mod fuzz;
mod gate;
mod package;
mod packages;
mod python;
mod runner;
mod tidy;
mod tools;
mod touched;
mod units;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use workspace::Workspace;

/// Something belongs to the gate and cannot run on this machine; nothing has failed.
const INCOMPLETE_CODE: u8 = 3;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Checks and chores of this repository")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Boots Debian with the package, and does to it what happens to machines: kills, power cuts, wrong PINs; takes root
    Appliance {
        /// Scenarios; all without any
        names: Vec<String>,
    },
    /// Measures a release build against the bare reference: all that the design promises, or the groups named
    Bench {
        /// Groups and options of the load tool: `cargo xtask bench -- --help` lists them
        #[arg(trailing_var_arg = true)]
        arguments: Vec<String>,
    },
    /// Runs every check and test: what continuous integration runs
    Check {
        /// Only format, tidy, clippy and the unit tests of what the working tree touches (or, when it is clean, the last commit)
        #[arg(long)]
        fast: bool,
        /// Leave this stage out; otherwise one that cannot run on this machine makes the exit status 3
        #[arg(long, value_name = "STAGE", conflicts_with = "fast")]
        without: Vec<check::Without>,
    },
    /// Runs the main job from nothing, on a software token, and prints each step
    Demo,
    /// Plays the OASIS test cases of the KMIP profiles against an edge, in TTLV, XML and JSON, and holds the results against the table
    KmipConformance {
        /// The folder with the cases
        folder: PathBuf,
    },
    /// Writes docs/KMIP.md from what a core and an edge answer
    KmipDocument,
    /// Makes the Debian package
    Package {
        /// How the programs in it are built
        #[arg(long, value_enum, default_value = "release")]
        profile: package::Profile,
        /// Where it goes [default: debian below cargo's target directory]
        #[arg(long, value_name = "DIR")]
        output: Option<PathBuf>,
        /// Build everything a second time, elsewhere, and hold the two packages against each other
        #[arg(long)]
        twice: bool,
    },
    /// Runs one campaign (kills, faults, races) against the built programs
    Soak {
        /// The campaign's name, e.g. `kill`
        name: String,
        /// How many rounds to run
        #[arg(long)]
        count: u64,
        /// What every choice is drawn from; printed when left out, so that a failure can be replayed
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Feeds one fuzz target, or `all`, with inputs that no client would send
    Fuzz {
        /// The target's name, e.g. `kmip_messages`
        name: String,
        /// How long to fuzz each target
        #[arg(long)]
        seconds: u64,
    },
    /// Checks the source text itself: layers, lints, unsafe code, dependencies
    Tidy,
}

fn main() -> ExitCode {
    match run(Arguments::parse().chore) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            if error.is::<gate::Incomplete>() { ExitCode::from(INCOMPLETE_CODE) } else { ExitCode::FAILURE }
        }
    }
}

fn run(chore: Chore) -> anyhow::Result<()> {
    let workspace = Workspace::here()?;
    match chore {
        Chore::Appliance { names } => appliance::run(&workspace, &names),
        Chore::Bench { arguments } => runner::bench(&arguments),
        Chore::Check { fast: false, without } => check::full(&workspace, &without),
        Chore::Check { fast: true, .. } => check::fast(&workspace),
        Chore::Demo => runner::demo(),
        Chore::KmipConformance { folder } => runner::kmip_conformance(&folder),
        Chore::KmipDocument => runner::kmip_document(),
        Chore::Package { profile, output, twice } => package::make(&workspace, profile, output.as_deref(), twice),
        Chore::Soak { name, count, seed } => runner::soak(&name, count, seed),
        Chore::Fuzz { name, seconds } => fuzz::fuzz(&workspace, &name, seconds),
        Chore::Tidy => tidy::run(&workspace),
    }
}
