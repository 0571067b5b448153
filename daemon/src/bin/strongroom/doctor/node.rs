//! The running node: does it answer, is it open, is its memory safe, do its slots open?

use daemon::admin::types::{SlotInfo, Status};
use daemon::config::Config;
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::Uid;

use crate::doctor::Finding;
use crate::failure::Failure;

/// Socket, state, memory, and what the node itself warns of.
pub(super) fn check(config: &Config, status: Result<&Status, &Failure>) -> Vec<Finding> {
    match status {
        Ok(status) => answered(status),
        Err(failure) => vec![
            Finding::bad("node", failure.message.clone(), "`systemctl status strongroomd` and `journalctl -u strongroomd` say why"),
            memory_limit(config.memory.arena_bytes, limit()),
        ],
    }
}

fn answered(status: &Status) -> Vec<Finding> {
    let mut findings = vec![
        Finding::good("node", format!("strongroomd {} answers, pid {}", status.version, status.pid)),
        match status.state.as_str() {
            "unsealed" => Finding::good("state", format!("unsealed since {}", status.since)),
            state => {
                let todo = "mend what is named, then run `strongroom unseal`";
                Finding::bad(
                    "state",
                    format!("{state} since {}: {}", status.since, status.reason.as_deref().unwrap_or("no reason given")),
                    todo,
                )
            }
        },
        Finding::good("memory", format!("keys are in {} bytes of {}", status.memory.arena_bytes, status.memory.backing)),
    ];
    findings.extend(status.warnings.iter().map(|warning| Finding::said("node", warning.clone())));
    findings
}

/// Could this machine's limits hold the arena? Root may lock what it likes.
fn memory_limit(arena_bytes: usize, limit_bytes: Option<u64>) -> Finding {
    let check = "memory";
    match limit_bytes {
        None => Finding::good(check, "this user may lock any amount of memory"),
        Some(limit) if limit >= arena_bytes as u64 => {
            Finding::good(check, format!("memory.arena of {arena_bytes} bytes fits the limit of {limit} bytes for locked memory"))
        }
        Some(limit) => {
            let detail = format!("memory.arena of {arena_bytes} bytes is more than the {limit} bytes that this user may lock");
            Finding::warning(check, detail, "raise LimitMEMLOCK= of the unit (or `ulimit -l`), or lower memory.arena")
        }
    }
}

/// Our own limit, in bytes; `None` if there is none.
fn limit() -> Option<u64> {
    if Uid::effective().is_root() {
        return None;
    }
    getrlimit(Resource::RLIMIT_MEMLOCK).ok().map(|(soft, _)| soft).filter(|soft| *soft != nix::libc::RLIM_INFINITY)
}

/// The slots as the node sees them, with their last probes.
pub(super) fn slots(slots: &[SlotInfo]) -> Vec<Finding> {
    let broken = slots.iter().filter(|slot| slot.probe.starts_with("failed") || slot.generation.is_none());
    let mut findings: Vec<Finding> = broken
        .map(|slot| {
            let detail = format!("slot {} ({}): {}", slot.id, slot.label, slot.probe);
            Finding::bad("slots", detail, "mend its device, then run `strongroom slot verify`")
        })
        .collect();
    let whole = slots.iter().filter(|slot| slot.generation.is_some()).count();
    findings.push(match whole {
        0 => Finding::bad("slots", "no slot can open this node", "restore the slots folder from a copy"),
        // Whether they are enough, the node itself knows: two on one device are one.
        count => Finding::good("slots", format!("{count} that can be read")),
    });
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;
    use crate::node::tests::sealed;

    fn verdicts(findings: &[Finding]) -> Vec<(&'static str, Verdict)> {
        findings.iter().map(|finding| (finding.check, finding.verdict)).collect()
    }

    fn slot() -> SlotInfo {
        SlotInfo {
            id: "s1".to_owned(),
            label: "hsm".to_owned(),
            kind: "pkcs11".to_owned(),
            created: None,
            generation: Some(1),
            custodian: "hsm".to_owned(),
            probe: "good".to_owned(),
            by_hand: false,
        }
    }

    #[test]
    fn a_sealed_node_is_bad_and_its_own_warnings_are_repeated() {
        let findings = answered(&sealed());
        let expected = [("node", Verdict::Good), ("state", Verdict::Bad), ("memory", Verdict::Good), ("node", Verdict::Warning)];
        assert_eq!(verdicts(&findings), expected);
        assert!(findings[1].detail.contains("wrong PIN"), "{findings:?}");
    }

    #[test]
    fn a_limit_below_the_arena_is_named_with_both_figures() {
        let tight = memory_limit(2_097_152, Some(65_536));
        assert_eq!(tight.verdict, Verdict::Warning);
        assert!(tight.detail.contains("2097152") && tight.detail.contains("65536"), "{tight:?}");
        assert_eq!(memory_limit(2_097_152, Some(2_097_152)).verdict, Verdict::Good);
        assert_eq!(memory_limit(2_097_152, None).verdict, Verdict::Good);
    }

    #[test]
    fn a_node_without_slots_is_bad() {
        assert_eq!(verdicts(&slots(&[])), [("slots", Verdict::Bad)]);
        assert_eq!(verdicts(&slots(&[slot()])), [("slots", Verdict::Good)]);
    }

    #[test]
    fn a_slot_that_does_not_open_or_read_is_bad() {
        let failed = SlotInfo { probe: "failed: no token".to_owned(), ..slot() };
        let unreadable = SlotInfo { generation: None, probe: "cut short".to_owned(), ..slot() };
        let findings = slots(&[failed, unreadable]);
        assert_eq!(verdicts(&findings), [("slots", Verdict::Bad), ("slots", Verdict::Bad), ("slots", Verdict::Good)]);
        assert!(findings[1].detail.contains("cut short"), "{findings:?}");
    }
}
