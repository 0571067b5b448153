//! The seal slots on disk, for when no node answers: can they be read, and are they enough?

use std::sync::Arc;
use std::time::Duration;

use daemon::layout::Layout;
use hsm::{Device, DeviceProcess, ProcessSettings};
use seal::{Roster, Seal, SealSettings};

use crate::doctor::Finding;
use crate::failure::{Failure, Kind};

/// Reads every slot; opens none, so no device is asked.
pub(super) fn check(layout: &Layout) -> Vec<Finding> {
    let unreadable = |error: seal::Error| {
        vec![Finding::bad("slots", Failure::of(Kind::Failed, &error).message, "run doctor as root or as the daemon's user")]
    };
    match unused_seal(layout).and_then(|seal| seal.list()) {
        Ok(listing) => listed(&listing),
        Err(error) => unreadable(error),
    }
}

fn unused_seal(layout: &Layout) -> Result<Seal, seal::Error> {
    let never_started = ProcessSettings {
        program: "strongroom-device".into(),
        latch_dir: layout.latch(),
        environment: std::collections::BTreeMap::new(),
        deadline: Duration::ZERO,
    };
    let device: Arc<dyn Device> = Arc::new(DeviceProcess::new(never_started));
    Seal::new(SealSettings { slots_dir: layout.slots(), custodians: vec![] }, &device)
}

fn listed(listing: &seal::Listing) -> Vec<Finding> {
    let bad = |file: &seal::Unreadable| Finding::bad("slots", format!("{}: {}", file.file, file.why), "restore it from a copy");
    let mut findings: Vec<Finding> = listing.unreadable.iter().map(bad).collect();
    findings.push(match (listing.slots.len(), listing.too_few()) {
        (0, _) => Finding::bad("slots", "no slot can open this node", "restore the slots folder from a copy"),
        (_, Some(few)) => Finding::said("slots", few.to_string()),
        (count, None) => Finding::good("slots", format!("{count} that can be read")),
    });
    findings.extend(listing.roster().and_then(Roster::one_alone).map(|alone| Finding::said("slots", alone.to_string())));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn a_folder_without_readable_slots_is_bad() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let layout = Layout::new(dir.path());
        let verdicts = |layout: &Layout| check(layout).iter().map(|finding| finding.verdict).collect::<Vec<_>>();
        assert_eq!(verdicts(&layout), [Verdict::Bad], "there is no folder");
        std::fs::create_dir(layout.slots()).expect("the folder is ours");
        assert_eq!(verdicts(&layout), [Verdict::Bad], "it is empty");
        std::fs::write(layout.slots().join("e76bfae0-3b20-4914-be26-44a5338bb9b0.slot"), "no slot").expect("the folder is ours");
        assert_eq!(verdicts(&layout), [Verdict::Bad, Verdict::Bad], "its one file is none");
    }
}
