//! `slot`: what keeps the MasterKey while the node is off.

pub(crate) mod shards;
mod sheet;
pub(crate) mod tpm_policy;

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

pub(crate) use sheet::SHARD_ARMOR;

use clap::{Args, Subcommand};
use daemon::admin::types::{AddSlot, SlotInfo, SlotRemoved, SlotVerified, VerifySlot};
use data_encoding::BASE64;
use seal::Label;

use crate::context::{Context, wait};
use crate::dev::told;
use crate::failure::Failure;
use crate::output::{pairs, table, tell};

/// `slot ...`.
#[derive(Debug, Subcommand)]
pub(crate) enum Slot {
    /// List the seal slots
    List,
    /// Seal the MasterKey in a further slot, while the node serves
    Add(Add),
    /// Remove a slot; refused unless another one opens without a person
    Remove {
        /// Its id or label; see `strongroom slot list`
        slot: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
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

/// `slot add`.
#[derive(Debug, Args)]
pub(crate) struct Add {
    /// The custodian that is to keep its key, of seal.custodians
    #[arg(long, value_name = "NAME")]
    pub(crate) custodian: Label,
    /// What people will call it [default: the custodian's name]
    #[arg(long)]
    pub(crate) label: Option<Label>,
    /// Make the key on the token if it has none of the configured name
    #[arg(long)]
    pub(crate) make_key: bool,
    /// File with the first approval of a TPM's slot, by `strongroom slot tpm-policy sign`
    #[arg(long, value_name = "FILE")]
    pub(crate) approval: Option<PathBuf>,
}

/// Runs `slot ...`.
pub(crate) fn run(context: &Context, command: &Slot) -> Result<(), Failure> {
    let (only, retry_pin) = match command {
        Slot::Shards(args) => return shards::run(context, args),
        Slot::TpmPolicy(command) => return tpm_policy::run(context, command),
        Slot::Add(args) => return add(context, args),
        Slot::Remove { slot, yes } => return remove(context, slot, *yes),
        Slot::List => return context.out.show(&wait(context.client()?.slots())?, |slots| slots_text(slots)),
        Slot::Verify { slot, retry_pin } => (slot, *retry_pin),
    };
    let client = context.client()?;
    let ids: Vec<String> = match only {
        Some(slot) => vec![slot.clone()],
        None => {
            let (by_hand, others): (Vec<_>, Vec<_>) = wait(client.slots())?.into_iter().partition(|slot| slot.by_hand);
            by_hand.iter().for_each(|slot| {
                tell(&format!("slot {}: its people verify it, by `strongroom unseal --shard-prompt` while the node is open", slot.id))
            });
            others.into_iter().map(|slot| slot.id).collect()
        }
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

fn add(context: &Context, args: &Add) -> Result<(), Failure> {
    let approval = args.approval.as_deref().map(tpm_policy::read).transpose()?;
    let slot = AddSlot {
        custodian: args.custodian.to_string(),
        label: args.label.as_ref().map(Label::to_string),
        make_key: args.make_key,
        approval: approval.map(|approval| BASE64.encode(&approval.encode())),
    };
    context.out.show(&wait(context.client()?.add_slot(&slot))?, added_text)
}

fn remove(context: &Context, slot: &str, yes: bool) -> Result<(), Failure> {
    if !yes && !confirmed(slot)? {
        return Err(Failure::failed("nothing was removed"));
    }
    context.out.show(&wait(context.client()?.remove_slot(slot))?, removed_text)
}

/// Asks the person at the terminal.
fn confirmed(slot: &str) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage("nobody can be asked: give --yes to remove the slot"));
    }
    let mut answer = String::new();
    write!(io::stderr(), "Remove slot {slot}? It cannot be brought back. Type yes: ").map_err(told("standard error"))?;
    io::stdin().read_line(&mut answer).map_err(told("standard input"))?;
    Ok(answer.trim() == "yes")
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

fn added_text(slot: &SlotInfo) -> String {
    pairs(&[
        ("slot", slot.id.clone()),
        ("label", slot.label.clone()),
        ("custodian", format!("{} ({})", slot.custodian, slot.kind)),
        ("last probe", slot.probe.clone()),
    ])
}

fn removed_text(slot: &SlotRemoved) -> String {
    format!("slot {} ({}) is removed; {}\n", slot.id, slot.label, slot.stays)
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
            by_hand: false,
            opens: Some(false),
            devices: vec![],
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
