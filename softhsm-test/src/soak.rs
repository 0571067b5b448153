//! Campaigns: the real programs under faults, many times over, with everything they have promised checked after each.

mod chains;
mod connections;
mod edge_kill;
mod flips;
mod kill;
mod ledger;
mod log_faults;
mod lost_answers;
mod migrate;
mod outage;
mod outages;
mod random;
mod rotate;
mod seal_kill;
mod seals;
mod simulation;
mod slots;
mod stop;
mod storage_faults;
mod stores;
mod strace;
mod token;
mod way;
mod wire;
mod workload;

pub use connections::connection_campaign;
pub use edge_kill::edge_kill_campaign;
pub use flips::{flip_campaign, master_key};
pub use kill::kill_campaign;
pub use log_faults::log_fault_campaign;
pub use lost_answers::lost_answer_campaign;
pub use migrate::migration_campaign;
pub use outage::outage_campaign;
pub use outages::store_outage_campaign;
pub use rotate::rotation_campaign;
pub use seal_kill::seal_kill_campaign;
pub use seals::seal_campaign;
pub use simulation::simulation_campaign;
pub use slots::slot_campaign;
pub use stop::stop_campaign;
pub use storage_faults::storage_fault_campaign;
pub use token::token_campaign;

use crate::core::Core;

/// What `strongroom audit verify` has counted.
#[derive(Debug, Clone, Copy)]
struct Verified {
    records: u64,
}

/// Lets `strongroom audit verify` read the whole log, of a running or a stopped core.
///
/// # Panics
/// If it does not verify.
fn verified(core: &Core) -> Verified {
    let report = core.ask(&["--json", "audit", "verify"]);
    let report: serde_json::Value = serde_json::from_str(&report).expect("a report in JSON");
    Verified { records: report["records"].as_u64().expect("the report counts records") }
}

/// How far a campaign has come that breaks into each call of each site.
#[derive(Debug, Clone, Copy)]
struct Covered {
    rounds: u32,
    /// No site has a further call.
    is_all: bool,
}

/// Breaks into the 1st, 2nd, 3rd ... call of each site, the sites in turn, until none has a further one or `count` rounds are over.
///
/// - `round`: gets the site and the number of its call; false if there is no such call.
fn each_call<S: Copy>(sites: impl IntoIterator<Item = S>, count: u32, mut round: impl FnMut(S, u32) -> bool) -> Covered {
    let mut open: Vec<(S, u32)> = sites.into_iter().map(|site| (site, 1)).collect();
    let mut rounds = 0;
    while !open.is_empty() && rounds < count {
        let turn = rounds as usize % open.len();
        let (site, nth) = &mut open[turn];
        let is_there = round(*site, *nth);
        *nth += 1;
        rounds += 1;
        if !is_there {
            open.remove(turn);
        }
    }
    Covered { rounds, is_all: open.is_empty() }
}
