//! `status`, `unseal` and `seal`: the state of the node.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::PathBuf;

use clap::Args;
use daemon::admin::client::Client;
use daemon::admin::status::way_out;
use daemon::admin::types::{ShardProgress, SlotInfo, Status};
use secret::Bytes;

use crate::card::CardShard;
use crate::context::{Context, wait};
use crate::failure::Failure;
use crate::output::{clean, columns, folded, pairs};
use crate::pin;

/// `unseal`.
#[derive(Debug, Args)]
pub(crate) struct Unseal {
    /// Whose PIN it is, by the name in seal.custodians; needed with a PIN if the slots have several custodians
    #[arg(long, value_name = "NAME")]
    custodian: Option<String>,
    /// Ask for the PIN on the terminal, even if the configuration has a credential for it
    #[arg(long, conflicts_with = "pin_file")]
    pin_prompt: bool,
    /// Read the PIN from the first line of this file
    #[arg(long, value_name = "FILE")]
    pin_file: Option<PathBuf>,
    /// Try the PIN once although an earlier one was refused
    #[arg(long)]
    retry_pin: bool,
    /// Give a shard: the first line of this file, `-` for standard input; with --card, the file or the sheet that was made for the card
    #[arg(long, value_name = "FILE", conflicts_with_all = ["custodian", "pin_prompt"])]
    shard: Option<PathBuf>,
    /// Open the shard with a smart card at this machine: its PKCS#11 module. The PIN is asked for, and tried once
    #[arg(long, value_name = "MODULE", requires_all = ["shard", "token"])]
    card: Option<PathBuf>,
    /// The card, by the label of its token
    #[arg(long, value_name = "LABEL", requires = "card")]
    token: Option<String>,
    /// Give a shard: ask for it on the terminal
    #[arg(long, conflicts_with_all = ["shard", "card", "token", "custodian", "pin_prompt", "pin_file", "retry_pin"])]
    shard_prompt: bool,
}

/// Shows the node's state; a sealed one is exit code 3.
pub(crate) fn status(context: &Context) -> Result<(), Failure> {
    let status = wait(context.client()?.status())?;
    context.out.show(&status, status_text)?;
    let reason = status.reason.unwrap_or_default();
    let what_to_do = match (status.state.as_str(), status.role.as_str()) {
        ("unsealed", _) => return Ok(()),
        (_, "edge") => "it opens by itself once its core serves it, and `strongroom unseal` has it try at once",
        _ => way_out(&reason),
    };
    Err(Failure::unavailable(format!("the node is sealed ({reason}): {what_to_do}")))
}

/// Unseals by whatever opens; asks for a PIN where a person is needed.
pub(crate) fn unseal(context: &Context, args: &Unseal) -> Result<(), Failure> {
    let client = context.client()?;
    if args.shard_prompt || args.shard.is_some() {
        return context.out.show(&wait(client.give_shard(&shard(args)?))?, progress_text);
    }
    let status = match (&args.pin_file, args.pin_prompt || args.retry_pin || args.custodian.is_some()) {
        (None, false) => match wait(client.unseal(None, false)) {
            Err(refused) => with_asked_pin(context, &client, refused.into())?,
            Ok(status) => status,
        },
        (file, _) => {
            let custodian = args.custodian.clone().map_or_else(|| only_custodian(&client), Ok)?;
            let pin = file.as_ref().map_or_else(|| asked(&custodian), |file| pin::from_file(file))?;
            wait(client.unseal(Some((&custodian, &pin)), args.retry_pin))?
        }
    };
    context.out.show(&status, status_text)
}

/// The shard that somebody gives, opened by their card if they name one.
fn shard(args: &Unseal) -> Result<Bytes, Failure> {
    let Some(file) = &args.shard else { return pin::typed("Shard: ", pin::SHARD) };
    match (&args.card, &args.token) {
        (Some(module), Some(token)) => {
            let shard = CardShard::read(module, token, file)?;
            let pin = args.pin_file.as_ref().map_or_else(|| shard.asked_pin(), |file| pin::from_file(file))?;
            shard.open(&pin, args.retry_pin)
        }
        _ if args.pin_file.is_some() || args.retry_pin => Err(Failure::usage("a shard takes a PIN only with --card")),
        _ => pin::first_line(file, pin::SHARD),
    }
}

/// Unseals with the PIN of the first slot that waits for a person, if one is at the terminal; else the refusal stands.
fn with_asked_pin(context: &Context, client: &Client, refused: Failure) -> Result<Status, Failure> {
    let Ok(config) = context.config() else { return Err(refused) };
    let typed = |slot: &SlotInfo| config.seal.custodians.iter().any(|known| known.name == slot.custodian && known.needs_person());
    match wait(client.slots()).unwrap_or_default().iter().find(|slot| typed(slot)) {
        Some(slot) if std::io::stdin().is_terminal() => Ok(wait(client.unseal(Some((&slot.custodian, &asked(&slot.custodian)?)), false))?),
        _ => Err(refused),
    }
}

fn asked(custodian: &str) -> Result<Bytes, Failure> {
    pin::from_terminal(&format!("PIN of custodian {}: ", clean(custodian)))
}

fn only_custodian(client: &Client) -> Result<String, Failure> {
    let custodians: BTreeSet<String> =
        wait(client.slots())?.into_iter().map(|slot| slot.custodian).filter(|name| !name.is_empty()).collect();
    match (custodians.len(), custodians.first()) {
        (1, Some(only)) => Ok(only.clone()),
        _ => Err(Failure::usage("say whose PIN it is by --custodian NAME; `strongroom slot list` shows the names")),
    }
}

/// Makes the node forget its keys.
pub(crate) fn seal(context: &Context) -> Result<(), Failure> {
    let status = wait(context.client()?.seal())?;
    context.out.show(&status, status_text)
}

fn progress_text(progress: &ShardProgress) -> String {
    let ShardProgress { label, keeper, outcome, given, wants, missing, .. } = progress;
    let (label, keeper) = (clean(label), clean(keeper));
    match outcome.as_str() {
        "unsealed" => format!("the shard of {keeper} was taken: slot {label} opens, the node is unsealed\n"),
        "listed" => format!("the shard of {keeper} was taken: all were read back, slot {label} counts from now on\n"),
        "rekeyed" => format!("the shard of {keeper} was taken: all were read back, the new MasterKey is in force\n"),
        "verified" => format!("the shard of {keeper} was taken: slot {label} would open by these\n"),
        _ => format!("the shard of {keeper} was taken: {}\n", waits(&label, given.len(), *wants, missing)),
    }
}

/// What a slot waits for.
fn waits(label: &str, given: usize, wants: usize, missing: &[String]) -> String {
    format!("slot {label} has {given} of {wants}; not given yet: {}", clean(&missing.join(", ")))
}

/// Where the daemon and what it starts may write.
pub(crate) fn writes(confinement: &str) -> &'static str {
    match confinement {
        "whole" => "only where the configuration says",
        "partial" => {
            "only where the configuration says, as far as this kernel knows: before 6.12 signals are free, before 6.2 truncating too"
        }
        _ => "wherever its user may: no Landlock",
    }
}

fn status_text(status: &Status) -> String {
    let mut rows = vec![("state", format!("{} since {}", status.state, status.since))];
    rows.extend(status.reason.iter().map(|reason| ("reason", reason.clone())));
    rows.extend([
        ("role", status.role.clone()),
        ("cluster", status.cluster.clone()),
        ("program", format!("strongroomd {}, pid {}", status.version, status.pid)),
        ("memory", format!("{}, {} bytes", status.memory.backing, status.memory.arena_bytes)),
    ]);
    rows.extend(status.confinement.as_deref().map(|confinement| ("writes", writes(confinement).to_owned())));
    rows.extend(status.masterkey.iter().map(|masterkey| ("masterkey", masterkey.clone())));
    rows.extend(status.kmip.iter().map(|address| ("kmip", address.clone())));
    let shards = status.shards.iter().map(|of| ("shards", waits(&clean(&of.label), of.given.len(), of.wants, &of.missing)));
    rows.extend(shards);
    rows.push(("audit", status.audit.clone()));
    rows.extend(status.swept.iter().map(|time| ("swept", time.clone())));
    rows.extend(status.warnings.iter().map(|warning| ("warning", warning.clone())));
    let indent = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 2;
    folded(&pairs(&rows), indent, columns())
}

#[cfg(test)]
pub(crate) mod tests {
    use daemon::admin::types::Memory;

    use super::*;

    /// A sealed node in good order otherwise.
    pub(crate) fn sealed() -> Status {
        Status {
            version: "0.1.0".to_owned(),
            role: "core".to_owned(),
            cluster: "c1".to_owned(),
            state: "sealed".to_owned(),
            since: "2026-01-02T03:04:05Z".to_owned(),
            reason: Some("slot `hsm`: wrong PIN".to_owned()),
            masterkey: None,
            memory: Memory { backing: "secretmem".to_owned(), arena_bytes: 2_097_152 },
            confinement: Some("whole".to_owned()),
            kmip: None,
            audit: "writable".to_owned(),
            shards: vec![],
            swept: None,
            warnings: vec!["fewer than two slots".to_owned()],
            pid: 7,
        }
    }

    #[test]
    fn a_sealed_node_says_why() {
        let expected = "\
state    sealed since 2026-01-02T03:04:05Z
reason   slot `hsm`: wrong PIN
role     core
cluster  c1
program  strongroomd 0.1.0, pid 7
memory   secretmem, 2097152 bytes
writes   only where the configuration says
audit    writable
warning  fewer than two slots
";
        assert_eq!(status_text(&sealed()), expected);
    }

    #[test]
    fn an_unsealed_node_says_where_the_masterkey_is_and_who_is_served() {
        let status = Status {
            state: "unsealed".to_owned(),
            reason: None,
            masterkey: Some("wiped after each job".to_owned()),
            kmip: Some("127.0.0.1:5696".to_owned()),
            swept: Some("2026-01-02T03:05:06Z".to_owned()),
            warnings: vec![],
            ..sealed()
        };
        let text = status_text(&status);
        assert!(text.contains("masterkey  wiped after each job\n") && text.contains("kmip       127.0.0.1:5696\n"), "{text}");
        assert!(text.contains("swept      2026-01-02T03:05:06Z\n"), "{text}");
        assert!(!text.contains("reason") && !text.contains("warning"), "{text}");
    }
}
