//! `slot`: what keeps the MasterKey while the node is off.

pub(crate) mod shards;
mod sheet;
pub(crate) mod tpm_policy;

use clap::Subcommand;
use daemon::admin::types::{SlotInfo, SlotVerified, VerifySlot};

use crate::context::{Context, wait};
use crate::failure::Failure;
use crate::output::table;

/// `slot ...`.
#[derive(Debug, Subcommand)]
pub(crate) enum Slot {
    /// List the seal slots
    List,
    /// Test-open one slot, or every slot, by a real round trip through its device
    Verify {
        /// Its id; all slots if left out, which --retry-pin allows if there is only one
        slot: Option<String>,
        /// Try the PIN once more although the device refused it before
        #[arg(long)]
        retry_pin: bool,
    },
    /// Show who keeps the shards of a slot; write the files and sheets of the people among them
    Shards(shards::Shards),
    /// States of the platform in which a TPM's slot may open
    #[command(subcommand)]
    TpmPolicy(tpm_policy::TpmPolicy),
}

/// Runs `slot ...`.
pub(crate) fn run(context: &Context, command: &Slot) -> Result<(), Failure> {
    let (only, retry_pin) = match command {
        Slot::Shards(args) => return shards::run(context, args),
        Slot::TpmPolicy(command) => return tpm_policy::run(context, command),
        Slot::List => return context.out.show(&wait(context.client()?.slots())?, |slots| slots_text(slots)),
        Slot::Verify { slot, retry_pin } => (slot, *retry_pin),
    };
    let client = context.client()?;
    let ids: Vec<String> = match only {
        Some(slot) => vec![slot.clone()],
        None => wait(client.slots())?.into_iter().map(|slot| slot.id).collect(),
    };
    if retry_pin && ids.len() > 1 {
        return Err(Failure::usage("a retried PIN can lock its device: name the slot, see `strongroom slot list`"));
    }
    let mut verified: Vec<SlotVerified> = vec![];
    let mut failures: Vec<Failure> = vec![];
    for id in ids {
        match wait(client.verify_slot(&id, &VerifySlot { retry_pin })) {
            Ok(slot) => verified.push(slot),
            Err(error) => {
                let failure = Failure::from(error);
                failures.push(Failure { message: format!("slot {id}: {}", failure.message), ..failure });
            }
        }
    }
    context.out.show(&verified, |verified| verified_text(verified))?;
    all_or_failure(failures)
}

/// The failures as one.
fn all_or_failure(failures: Vec<Failure>) -> Result<(), Failure> {
    let message = failures.iter().map(|failure| failure.message.as_str()).collect::<Vec<_>>().join("; ");
    failures.into_iter().next().map_or(Ok(()), |first| Err(Failure { message, ..first }))
}

fn slots_text(slots: &[SlotInfo]) -> String {
    let row = |slot: &SlotInfo| {
        let created = slot.created.clone().unwrap_or_else(|| "-".to_owned());
        vec![slot.id.clone(), slot.label.clone(), slot.custodian.clone(), slot.kind.clone(), created, slot.probe.clone()]
    };
    let nothing = "no slots: nothing can unseal this node; restore data_dir/slots from a copy";
    table(&["slot", "label", "custodian", "kind", "created", "last probe"], slots.iter().map(row).collect(), nothing)
}

fn verified_text(verified: &[SlotVerified]) -> String {
    verified.iter().map(|slot| format!("slot {} ({}) opens; it took {} ms\n", slot.id, slot.label, slot.millis)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_tells_who_keeps_its_key_and_how_its_last_probe_ended() {
        let slot = SlotInfo {
            id: "s1".to_owned(),
            label: "hsm".to_owned(),
            kind: "pkcs11".to_owned(),
            created: None,
            generation: None,
            custodian: "token".to_owned(),
            probe: "failed: no token".to_owned(),
        };
        let opened = SlotInfo { created: Some("2026".to_owned()), probe: "good".to_owned(), ..slot.clone() };
        let text = slots_text(&[slot, opened]);
        let expected = "\
SLOT  LABEL  CUSTODIAN  KIND    CREATED  LAST PROBE
s1    hsm    token      pkcs11  -        failed: no token
s1    hsm    token      pkcs11  2026     good
";
        assert_eq!(text, expected);
        assert!(slots_text(&[]).contains("no slots"));
    }

    #[test]
    fn one_slot_that_does_not_open_fails_the_command() {
        assert_eq!(all_or_failure(vec![]), Ok(()));
        let failed = all_or_failure(vec![Failure::unavailable("slot 1: no token"), Failure::failed("slot 2: wrong PIN")]);
        assert_eq!(failed, Err(Failure::unavailable("slot 1: no token; slot 2: wrong PIN")));
    }
}
