//! Runs one campaign: `soak NAME --count N [--seed S]`; started by `cargo xtask soak`, which builds the binaries first.
#![expect(clippy::print_stdout, reason = "prints its result for people")]

use clap::{Parser, ValueEnum};

/// Runs a campaign of faults and prints what came of it.
#[derive(Parser)]
struct Arguments {
    /// Which campaign.
    name: Campaign,
    /// How many rounds.
    #[arg(long)]
    count: u32,
    /// Replays a campaign's random choices.
    #[arg(long)]
    seed: Option<u64>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Campaign {
    /// The core is killed under load; after each restart everything acknowledged must be there.
    Kill,
}

fn main() {
    let Arguments { name, count, seed } = Arguments::parse();
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("seed {seed}");
    match name {
        Campaign::Kill => {
            let tally = softhsm_test::kill_campaign(count, seed);
            println!(
                "kills {}, keys acknowledged {} (activated {}), lost 0; ciphertexts decrypted after a kill {}; audit logs verified {}; \
                 slowest kill to all-checked {:.1} s",
                tally.kills,
                tally.created,
                tally.activated,
                tally.decrypted,
                tally.verified,
                tally.slowest.as_secs_f64()
            );
        }
    }
}
