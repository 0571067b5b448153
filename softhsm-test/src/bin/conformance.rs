//! Plays the OASIS test cases in a folder; started by `cargo xtask kmip-conformance`, which builds the binaries first.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "prints its results for people")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use softhsm_test::Appliance;
use softhsm_test::conformance::{Encoding, Player, Verdict, cases, judge, verdicts};

/// Plays the test cases of the KMIP profiles against a new appliance's edge, in every encoding, and holds the results against the table.
#[derive(Parser)]
struct Arguments {
    /// The folder with the cases, which may lie in folders below it.
    folder: PathBuf,
}

fn main() -> ExitCode {
    match cases(&Arguments::parse().folder) {
        Ok(groups) => play(&groups),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn play(groups: &[Vec<softhsm_test::conformance::Case>]) -> ExitCode {
    let mut passed_everywhere: BTreeMap<&str, bool> = BTreeMap::new();
    for encoding in Encoding::ALL {
        // Cases leave objects behind, so each encoding has an appliance of its own.
        let appliance = Appliance::with_edges(1);
        let mut player = Player::of(&appliance, encoding);
        let mut passed = 0;
        for group in groups {
            for (case, result) in group.iter().zip(player.play(group)) {
                match &result {
                    Ok(()) => println!("pass  {:<5} {}", encoding.name(), case.id),
                    Err(why) => println!("FAIL  {:<5} {}: {why}", encoding.name(), case.id),
                }
                passed += u32::from(result.is_ok());
                *passed_everywhere.entry(&case.id).or_insert(true) &= result.is_ok();
            }
        }
        println!("\n{}: {passed} of {} passed\n", encoding.name(), passed_everywhere.len());
    }
    let verdicts = verdicts();
    let complaints: Vec<String> = passed_everywhere.iter().filter_map(|(id, passed)| judge(&verdicts, id, *passed)).collect();
    print_exceptions(&verdicts);
    let passed = passed_everywhere.values().filter(|passed| **passed).count();
    println!("\n{passed} of {} cases pass in every encoding", passed_everywhere.len());
    for complaint in &complaints {
        println!("RED: {complaint}");
    }
    if complaints.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The table's reasons, with the cases that share one.
fn print_exceptions(verdicts: &BTreeMap<String, Verdict>) {
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (id, verdict) in verdicts {
        if let Verdict::Fails(reason) = verdict {
            reasons.entry(reason).or_default().push(id);
        }
    }
    println!("exceptions:");
    for (reason, ids) in reasons {
        println!("  {reason}: {}", ids.join(" "));
    }
}
