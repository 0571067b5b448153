//! The running node: does it answer, is it open, is its memory safe, do its slots open?

use std::collections::BTreeMap;

use daemon::admin::types::{SlotInfo, Status};
use daemon::config::Config;
use daemon::node::WAITING;
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::Uid;

use crate::doctor::Finding;
use crate::failure::Failure;
use crate::node::writes;

/// Socket, state, memory, and what the node itself warns of.
pub(super) fn check(config: &Config, status: Result<&Status, &Failure>) -> Vec<Finding> {
    match status {
        Ok(status) => answered(status),
        Err(failure) => vec![
            Finding::bad("node", failure.message.clone(), "`systemctl status 'strongroom-*'` and `journalctl -u 'strongroom-*'` say why"),
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
                let is_waiting = status.reason.as_deref().is_some_and(|reason| reason.starts_with(WAITING));
                let todo = match is_waiting {
                    true => "see to the keystore: the node unseals as configured once it answers",
                    false => "mend what is named, then run `strongroom unseal`",
                };
                Finding::bad(
                    "state",
                    format!("{state} since {}: {}", status.since, status.reason.as_deref().unwrap_or("no reason given")),
                    todo,
                )
            }
        },
        Finding::good("memory", format!("keys are in {} bytes of {}", status.memory.arena_bytes, status.memory.backing)),
    ];
    findings.extend(status.confinement.as_deref().map(confinement));
    findings.extend(status.warnings.iter().map(|warning| Finding::said("node", warning.clone())));
    findings
}

/// Is the daemon held to the places that it writes to?
fn confinement(confinement: &str) -> Finding {
    let (check, detail) = ("confinement", format!("the daemon, its devices and its plugins write {}", writes(confinement)));
    match confinement {
        "absent" => Finding::warning(
            check,
            detail,
            "boot a kernel from 5.13 on with `landlock` in `lsm=` (`cat /sys/kernel/security/lsm`), and in a container let its filter of system calls pass it",
        ),
        _ => Finding::good(check, detail),
    }
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
    findings.extend(losses(slots));
    findings
}

/// What the loss of each device alone would lose, and what would open then.
fn losses(slots: &[SlotInfo]) -> Vec<Finding> {
    let mut devices: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for slot in slots {
        for used in &slot.devices {
            let custodians = devices.entry(&used.device).or_default();
            // The custodian of a slot on several devices is none of them.
            if slot.devices.len() == 1 && !custodians.contains(&&*slot.custodian) {
                custodians.push(&slot.custodian);
            }
        }
    }
    devices.into_iter().map(|(device, custodians)| loss(device, &custodians, slots)).collect()
}

fn loss(device: &str, custodians: &[&str], slots: &[SlotInfo]) -> Finding {
    let is_lost = |slot: &SlotInfo| slot.devices.iter().any(|used| used.device == device && used.is_needed);
    let (lost, left): (Vec<&SlotInfo>, Vec<&SlotInfo>) =
        slots.iter().filter(|slot| slot.generation.is_some() && !slot.devices.is_empty()).partition(|slot| is_lost(slot));
    let open: Vec<&SlotInfo> = left.into_iter().filter(|slot| slot.opens != Some(false)).collect();
    let named = if custodians.is_empty() { device.to_owned() } else { format!("{device} ({})", custodians.join(", ")) };
    let list = |slots: &[&SlotInfo]| match slots {
        [] => "none".to_owned(),
        slots => slots.iter().map(|slot| label(slot)).collect::<Vec<_>>().join(", "),
    };
    if open.is_empty() {
        let detail = format!("if {named} died, every key would be lost: no other slot opens");
        return Finding::warning("devices", detail, "seal the MasterKey on another device by `strongroom slot add`");
    }
    Finding::good("devices", format!("if {named} died: slots lost: {}; still open: {}", list(&lost), list(&open)))
}

fn label(slot: &SlotInfo) -> String {
    let SlotInfo { label, opens, .. } = slot;
    if opens.is_none() { format!("{label} (not probed yet)") } else { label.clone() }
}

#[cfg(test)]
mod tests {
    use daemon::admin::types::SlotDevice;

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
            opens: Some(true),
            devices: vec![],
        }
    }

    fn on(label: &str, devices: &[(&str, bool)]) -> SlotInfo {
        let device = |(device, is_needed): &(&str, bool)| SlotDevice { device: (*device).to_owned(), is_needed: *is_needed };
        SlotInfo { label: label.to_owned(), devices: devices.iter().map(device).collect(), ..slot() }
    }

    #[test]
    fn each_device_says_what_would_be_lost_with_it_and_what_would_open() {
        let shards = SlotInfo { custodian: "shards".to_owned(), opens: None, ..on("recovery", &[("token B", true), ("TPM C", true)]) };
        let slots = [on("first", &[("token A", true)]), on("twin", &[("token A", true)]), shards.clone()];
        let details: Vec<String> = losses(&slots).into_iter().map(|finding| finding.detail).collect();
        let others = "slots lost: recovery (not probed yet); still open: first, twin";
        let expected = [
            format!("if TPM C died: {others}"),
            "if token A (hsm) died: slots lost: first, twin; still open: recovery (not probed yet)".to_owned(),
            format!("if token B died: {others}"),
        ];
        assert_eq!(details, expected);
        // A slot that does not open is no help.
        let broken = [on("first", &[("token A", true)]), SlotInfo { opens: Some(false), ..shards }];
        assert_eq!(verdicts(&losses(&broken)), [("devices", Verdict::Good), ("devices", Verdict::Warning), ("devices", Verdict::Good)]);
        // Any two of three.
        let spread = [on("first", &[("token A", false), ("token B", false), ("token D", false)])];
        assert!(losses(&spread).iter().all(|finding| finding.verdict == Verdict::Good && finding.detail.contains("lost: none")));
    }

    #[test]
    fn a_sealed_node_is_bad_and_its_own_warnings_are_repeated() {
        let findings = answered(&sealed());
        let expected = [
            ("node", Verdict::Good),
            ("state", Verdict::Bad),
            ("memory", Verdict::Good),
            ("confinement", Verdict::Good),
            ("node", Verdict::Warning),
        ];
        assert_eq!(verdicts(&findings), expected);
        assert!(findings[1].detail.contains("wrong PIN"), "{findings:?}");
    }

    #[test]
    fn a_node_that_waits_for_its_keystore_needs_no_unseal_by_hand() {
        let findings = answered(&Status { reason: Some(format!("{WAITING}: no route")), ..sealed() });
        assert!(findings[1].todo.as_deref().is_some_and(|todo| todo.contains("keystore") && !todo.contains("strongroom unseal")));
        assert!(answered(&sealed())[1].todo.as_deref().is_some_and(|todo| todo.contains("strongroom unseal")));
    }

    #[test]
    fn a_daemon_that_writes_wherever_it_likes_is_told_with_the_way_out() {
        let findings = answered(&Status { confinement: Some("absent".to_owned()), ..sealed() });
        let told = findings.iter().find(|finding| finding.check == "confinement").expect("it was looked at");
        assert_eq!(told.verdict, Verdict::Warning);
        assert!(told.todo.as_deref().is_some_and(|todo| todo.contains("lsm=")), "{told:?}");
        assert_eq!(confinement("partial").verdict, Verdict::Good);
        // A node of before does not say.
        let silent = answered(&Status { confinement: None, ..sealed() });
        assert!(silent.iter().all(|finding| finding.check != "confinement"), "{silent:?}");
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
