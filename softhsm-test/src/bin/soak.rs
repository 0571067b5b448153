//! Runs one campaign: `soak NAME --count N [--seed S]`; started by `cargo xtask soak`, which builds the binaries first.
#![expect(clippy::print_stdout, reason = "prints its result for people")]

use std::fmt::Display;

use clap::{Parser, ValueEnum};
use softhsm_test::{memscan, soak};

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
    /// `outages`: of keystores whose name begins so.
    #[arg(long, default_value = "")]
    only: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum Campaign {
    /// The core is killed under load; after each restart everything acknowledged must be there.
    Kill,
    /// As `kill`, while the IVK and a tenant's key are rotated; after each restart one version is Active and every key comes under it.
    Rotate,
    /// As `kill`, while all rows are moved to PostgreSQL, OpenBao and back and servers fail; after each restart nothing is missing and nothing left behind.
    Migrate,
    /// A core, an edge or both are killed while the edge is under load; after each restart everything acknowledged must be there.
    EdgeKill,
    /// Each write, sync and allocation under keystore and audit log fails, one after the other.
    StorageFaults,
    /// The audit log is full, fails, blocks or is removed.
    LogFaults,
    /// So many idle connections and a tenth as many slow ones, while others are served.
    Connections,
    /// One bit anywhere in the files of a stopped core is flipped.
    Flips,
    /// The token is pulled from a serving core and put back.
    Token,
    /// Each kind of slot: made at init, opened after a kill, verified, added and removed while serving, the last when devices are gone.
    Seals,
    /// A core is killed at each call by which it makes a split slot, or a new MasterKey, durable.
    SealKill,
    /// A core is killed at each call by which a slot is added or removed, until there is no further one.
    Slots,
    /// The domain alone, simulated in one thread: so many seeds of events, faults, crashes and lost answers.
    Simulation,
    /// A core under load is stopped and continued; above five times for a minute each.
    Stop,
    /// The core's answers to an edge are cut while they arrive; nothing may be done twice.
    LostAnswers,
    /// An edge under load loses its core, or the way to it; the count is its `edge.offline_ttl` in seconds.
    Outage,
    /// A core on each kind of keystore meets so many faults of it, at most each once; prints the table.
    Outages,
    /// A core's memory, core image and files are searched for its keys, in every state; as many samples under load.
    Memory,
    /// The same of an edge, for its keys and its core's.
    EdgeMemory,
}

fn main() {
    let Arguments { name, count, seed, only } = Arguments::parse();
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("seed {seed}");
    let seen: Box<dyn Display> = match name {
        Campaign::Kill => Box::new(soak::kill_campaign(count, seed)),
        Campaign::Rotate => Box::new(soak::rotation_campaign(count, seed)),
        Campaign::Migrate => Box::new(soak::migration_campaign(count, seed)),
        Campaign::EdgeKill => Box::new(soak::edge_kill_campaign(count, seed)),
        Campaign::StorageFaults => Box::new(soak::storage_fault_campaign(count, seed)),
        Campaign::LogFaults => Box::new(soak::log_fault_campaign(count, seed)),
        Campaign::Connections => Box::new(soak::connection_campaign(count)),
        Campaign::Flips => Box::new(soak::flip_campaign(count, seed)),
        Campaign::Token => Box::new(soak::token_campaign(count, seed)),
        Campaign::Seals => Box::new(soak::seal_campaign(count)),
        Campaign::SealKill => Box::new(soak::seal_kill_campaign(count)),
        Campaign::Slots => Box::new(soak::slot_campaign(count)),
        Campaign::Simulation => Box::new(soak::simulation_campaign(count, seed)),
        Campaign::Stop => Box::new(soak::stop_campaign(count, seed)),
        Campaign::LostAnswers => Box::new(soak::lost_answer_campaign(count, seed)),
        Campaign::Outage => Box::new(soak::outage_campaign(count)),
        Campaign::Outages => Box::new(soak::store_outage_campaign(count, seed, &only)),
        Campaign::Memory => Box::new(within_goals(memscan::memory_campaign(count.into()))),
        Campaign::EdgeMemory => Box::new(within_goals(memscan::edge_memory_campaign(count.into()))),
    };
    println!("{seen}");
}

fn within_goals(table: memscan::Table) -> memscan::Table {
    let missed = table.missed();
    assert!(missed.is_empty(), "{missed:#?}\n{table}");
    table
}
