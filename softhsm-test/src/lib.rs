//! Fixtures for tests with real parts: a private SoftHSM, a private TPM, a whole appliance, one core, one edge, and where our own binaries are.
//!
//! Whatever is missing fails the test with the command that provides it; nothing is skipped.

mod appliance;
mod card;
pub mod conformance;
mod core;
mod disk;
mod domain;
mod edge;
pub mod https;
pub mod load;
pub mod memscan;
mod openbao;
mod people;
mod postgres;
mod python;
pub mod raw;
pub mod requests;
pub mod soak;
mod softhsm;
mod swtpm;

pub use appliance::{Appliance, Who, files_below, signal, wait_for, wait_for_within};
pub use card::Card;
pub use core::Core;
pub use disk::Disk;
pub use domain::{SESSION, domain, founded};
pub use edge::{Edge, PluginEdges, SharedEdges};
pub use openbao::OpenbaoServer;
pub use people::{People, altered_shard, give_shard};
pub use postgres::{PASSWORD as POSTGRES_PASSWORD, PostgresServer};
pub use python::{drive, told};
pub use softhsm::{LABEL, MODULE, PIN, SoftHsm};
pub use swtpm::{Swtpm, free_port_pair, lasting_port};

use std::env;
use std::path::PathBuf;

/// Path of a binary of ours, beside the running test's own executable.
///
/// Cargo does not build the binaries of other packages for a test, so this fails with the command that does.
///
/// # Panics
/// If it is not there.
#[must_use]
pub fn binary(name: &str, package: &str) -> PathBuf {
    let this = env::current_exe().expect("a test has an executable");
    let beside = this.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|path| path.is_file());
    beside.unwrap_or_else(|| panic!("{name} is not beside {}: run `cargo build -p {package}`", this.display()))
}
