//! Measures what a node promises: `budget [GROUPS]`, a table of promised and measured figures.
//!
//! Product and reference take turns in one run, the server alone on one core and the client on another (both on one for a single connection).
//! Judge by the ratios of server CPU: they hold within a few percent, also on a busy machine; wall times are for people.

use std::time::Duration;

use benches::load::Plan;
use benches::product::{Product, Role};
use benches::rows::{Bench, Group};
use benches::{machine, table};
use clap::Parser;

/// Measures a node in release against the bare reference.
#[derive(Parser)]
struct Arguments {
    /// What to measure; everything if nothing is named.
    groups: Vec<Group>,
    /// The node that is measured.
    #[arg(long, value_enum, default_value = "core")]
    role: Role,
    /// Rounds of each side.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Length of a round in milliseconds.
    #[arg(long, default_value_t = 300)]
    round_millis: u64,
    /// How many keys the rows with many keys have.
    #[arg(long, default_value_t = 100_000)]
    keys: usize,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let Arguments { groups, role, rounds, round_millis, keys } = Arguments::parse();
    let groups = if groups.is_empty() { Group::all(role).to_vec() } else { groups };
    let machine = machine::description();
    let product = Product::start(role)?;
    let plan = Plan { rounds, round: Duration::from_millis(round_millis) };
    table::print_head(&format!("{machine}; {role:?} {} in {}", product.process(), product.dir().display()));
    let mut bench = Bench { product, plan, keys, filled: Vec::new() };
    for group in groups {
        bench.run(group).await?;
    }
    Ok(())
}
