//! `ivk`: the versioned keys below the MasterKey.

use clap::Subcommand;
use daemon::admin::types::IvkInfo;

use crate::context::{Context, wait};
use crate::failure::Failure;
use crate::output::table;

/// `ivk ...`.
#[derive(Debug, Subcommand)]
pub(crate) enum Ivk {
    /// Show every IVK version
    Status,
}

/// Runs `ivk ...`.
pub(crate) fn run(context: &Context, command: &Ivk) -> Result<(), Failure> {
    match command {
        Ivk::Status => context.out.show(&wait(context.client()?.ivk())?, |versions| ivk_text(versions)),
    }
}

fn ivk_text(versions: &[IvkInfo]) -> String {
    let row = |ivk: &IvkInfo| {
        let rotated = ivk.rotated.clone().unwrap_or_else(|| "-".to_owned());
        vec![ivk.version.to_string(), ivk.status.clone(), ivk.algorithm.clone(), ivk.bits.to_string(), ivk.created.clone(), rotated]
    };
    table(&["ivk", "status", "algorithm", "bits", "created", "rotated"], versions.iter().map(row).collect(), "no IVK")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ivk_versions_are_a_table() {
        let ivk = IvkInfo {
            version: 1,
            algorithm: "AES-256-GCM".to_owned(),
            bits: 256,
            status: "active".to_owned(),
            created: "2026".to_owned(),
            rotated: None,
        };
        assert_eq!(ivk_text(&[ivk]), "IVK  STATUS  ALGORITHM    BITS  CREATED  ROTATED\n1    active  AES-256-GCM  256   2026     -\n");
    }
}
