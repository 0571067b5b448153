//! `ceremony`: what the custodians have to approve, for people at one table and for people apart.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use daemon::admin::client::Client;
use daemon::admin::types::{
    AddSlot, CeremonyInfo, DestroyIvk, IvkFound, NewCeremony, NewRoster, RekeyInfo, RekeyOrder, RekeyedRoots, RemoveSlot, SignedManifest,
};
use daemon::tls::sign_vote;
use data_encoding::BASE64;
use keys::id::ClusterId;
use seal::{CustodianKey, Label, Question, Roster, Vote};
use uuid::Uuid;

use crate::card;
use crate::context::{Context, wait};
use crate::dev::told;
use crate::failure::Failure;
use crate::init::custodian_key;
use crate::output::{clean, pairs, tell};
use crate::report::save;
use crate::slot::{Add, shards, tpm_policy};

/// `ceremony ...`.
#[derive(Debug, Subcommand)]
pub(crate) enum Ceremony {
    /// Ask the custodians to approve something; on a terminal, see it through with those who are at the table
    Start(Start),
    /// Approve what is asked, with a custodian's private key, which stays here
    Approve(Sign),
    /// Show what is asked, who has approved and who is missing
    Status,
    /// Cancel what is asked: as who has started it, or with a custodian's key
    Cancel {
        /// File with the custodian's private key, in PEM
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
    },
    /// Print what was done in a ceremony that has ended, signed by the node; `report verify` checks a saved one without it
    Manifest {
        /// The ceremony's id
        ceremony: String,
        /// Save the signed manifest, as JSON, in a file that is not there yet
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

/// `ceremony start`.
#[derive(Debug, Args)]
pub(crate) struct Start {
    #[command(subcommand)]
    asked: Asked,
    /// Only ask; the custodians approve elsewhere
    #[arg(long, global = true)]
    no_wait: bool,
}

/// What is asked for.
#[derive(Debug, Subcommand)]
enum Asked {
    /// Seal the MasterKey in a further slot
    SlotAdd(Add),
    /// Remove a slot
    SlotRemove {
        /// Its id or label
        slot: String,
    },
    /// Put a new MasterKey in the place of one that others may know: with new slots, and no change of a tenant's key
    Rekey {
        /// For each slot that follows a TPM: its label, and the file of the first approval of its new slot, by `slot tpm-policy sign`
        #[arg(long = "approval", value_name = "LABEL=FILE", value_parser = labelled)]
        approvals: Vec<(String, PathBuf)>,
        /// Also put others in the place of the custodians: SHA-256 of one's public key (SPKI) in hex; repeat for each. Those of before approve it
        #[arg(long = "roster", value_name = "SPKI_SHA256", value_parser = custodian_key, requires = "threshold")]
        roster: Vec<CustodianKey>,
        /// How many of the new roster must approve a ceremony from then on
        #[arg(long = "approvals", value_name = "M", requires = "roster")]
        threshold: Option<u8>,
        /// Give up a re-key that waits for shards
        #[arg(long, conflicts_with_all = ["approvals", "roster"])]
        abandon: bool,
    },
}

fn labelled(text: &str) -> Result<(String, PathBuf), String> {
    let (label, file) = text.split_once('=').ok_or_else(|| "LABEL=FILE".to_owned())?;
    Ok((label.to_owned(), PathBuf::from(file)))
}

/// `ceremony approve`.
#[derive(Debug, Args)]
pub(crate) struct Sign {
    /// File with the custodian's private key, in PEM
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Do not ask whether this is what is to be approved
    #[arg(long)]
    yes: bool,
}

/// Runs `ceremony ...`.
pub(crate) fn run(context: &Context, command: &Ceremony) -> Result<(), Failure> {
    let client = context.client()?;
    match command {
        Ceremony::Start(Start { asked, no_wait }) => {
            let started = wait(client.start_ceremony(&asked.request()?))?;
            see_through(context, &client, started, *no_wait)
        }
        Ceremony::Approve(Sign { key, yes }) => {
            let asked = under_way(&client)?;
            if !yes && !confirmed(&asked)? {
                return Err(Failure::failed("nothing was approved"));
            }
            context.out.show(&vote(&client, &asked, key, Vote::Approve)?, ceremony_text)
        }
        Ceremony::Status => context.out.show(&wait(client.ceremonies())?, |all| match &all[..] {
            [] => "no ceremony is under way\n".to_owned(),
            all => all.iter().map(ceremony_text).collect(),
        }),
        Ceremony::Cancel { key } => {
            let asked = under_way(&client)?;
            let cancelled = match key {
                Some(key) => vote(&client, &asked, key, Vote::Cancel)?,
                None => wait(client.cancel_ceremony(&asked.id))?,
            };
            context.out.show(&cancelled, ceremony_text)
        }
        Ceremony::Manifest { ceremony, out } => {
            let signed = wait(client.ceremony_manifest(ceremony))?;
            if let Some(out) = out {
                let text = serde_json::to_string_pretty(&signed).map_err(|error| Failure::failed(error.to_string()))? + "\n";
                save(out, text.as_bytes())?;
            }
            context.out.show(&signed, manifest_text)
        }
    }
}

/// Shows what has been asked for; on a terminal, after those who are at the table have seen it through.
pub(crate) fn see_through(context: &Context, client: &Client, started: CeremonyInfo, no_wait: bool) -> Result<(), Failure> {
    let at_table = !no_wait && !context.out.json && io::stdin().is_terminal();
    let last = if at_table { Table { client }.see_through(started)? } else { started };
    context.out.show(&last, ceremony_text)
}

impl Asked {
    fn request(&self) -> Result<NewCeremony, Failure> {
        Ok(match self {
            Self::SlotAdd(Add { custodian, label, make_key, approval }) => {
                let approval = approval.as_deref().map(tpm_policy::read).transpose()?;
                NewCeremony::SlotAdd(AddSlot {
                    custodian: custodian.to_string(),
                    label: label.as_ref().map(Label::to_string),
                    make_key: *make_key,
                    approval: approval.map(|approval| BASE64.encode(&approval.encode())),
                })
            }
            Self::Rekey { approvals, roster, threshold, abandon } => {
                let read = |(label, file): &(String, PathBuf)| Ok((label.clone(), BASE64.encode(&tpm_policy::read(file)?.encode())));
                let approvals = approvals.iter().map(read).collect::<Result<_, Failure>>()?;
                let roster = threshold.map(|threshold| Roster::new(threshold, roster.clone())).transpose();
                let roster = roster.map_err(|error| Failure::usage(error.to_string()))?.as_ref().map(NewRoster::of);
                NewCeremony::Rekey(RekeyOrder { approvals, roster, abandon: *abandon })
            }
            Self::SlotRemove { slot } => NewCeremony::SlotRemove(RemoveSlot { slot: slot.clone() }),
        })
    }
}

/// People at one terminal, who see a ceremony through from the question to the manifest.
struct Table<'a> {
    client: &'a Client,
}

impl Table<'_> {
    fn see_through(&self, started: CeremonyInfo) -> Result<CeremonyInfo, Failure> {
        if started.state == "done" {
            tell("The cluster has no custodians: nobody but you has approved this.");
            self.read_back_all(&started)?;
            return Ok(started);
        }
        tell(&format!("Step 1: the custodians approve.\n\n{}", ceremony_text(&started)));
        let mut now = started;
        while now.state == "collecting" {
            let missing = usize::from(now.wants).saturating_sub(now.approved.len());
            let question = format!("{missing} more. File with a custodian's private key (empty: look again, cancel: give up): ");
            match ask(&question)?.trim() {
                "" => now = self.look(now)?,
                "cancel" => now = wait(self.client.cancel_ceremony(&now.id))?,
                file => match vote(self.client, &now, Path::new(file), Vote::Approve) {
                    Ok(next) => {
                        now = next;
                        tell(&format!("approved by {} of {}", now.approved.len(), now.wants));
                    }
                    Err(failure) => tell(&format!("not counted: {}", failure.message)),
                },
            }
        }
        if let Some(slot) = now.slot.clone().filter(|slot| slot.by_hand) {
            self.read_back(&slot.label)?;
            now.slot = wait(self.client.slots())?.into_iter().find(|now| now.id == slot.id);
        }
        self.read_back_all(&now)?;
        tell(&format!("\nWhat was done: strongroom ceremony manifest {}\n", now.id));
        Ok(now)
    }

    /// The same for every slot that a re-key waits for.
    fn read_back_all(&self, now: &CeremonyInfo) -> Result<(), Failure> {
        now.rekey.iter().flat_map(|rekey| &rekey.waiting).try_for_each(|label| self.read_back(label))
    }

    /// How it stands; one that is not under way any more was ended elsewhere.
    fn look(&self, before: CeremonyInfo) -> Result<CeremonyInfo, Failure> {
        let now = wait(self.client.ceremonies())?.into_iter().find(|now| now.id == before.id);
        let now = now.unwrap_or_else(|| CeremonyInfo { state: "ended elsewhere, or out of time".to_owned(), ..before });
        tell(&ceremony_text(&now));
        Ok(now)
    }

    /// The people of a new slot get their shards, and show that they can open them.
    fn read_back(&self, slot: &str) -> Result<(), Failure> {
        tell("\nStep 2: the keepers get their shards, each encrypted to them alone.\n");
        let folder = ask("Folder for the files and sheets: ")?;
        let split = wait(self.client.shards(slot))?;
        for file in shards::hand_out(Path::new(folder.trim()), &split)? {
            tell(&format!("  {}", file.display()));
        }
        tell("\nStep 3: each keeper opens theirs by `age --decrypt --identity KEY FILE`, and gives the line that it prints.");
        tell("Who has a card enters the word `card` instead, and is asked where it is.\n");
        loop {
            let shard = card::given_shard("Shard (not shown): ")?;
            match wait(self.client.give_shard(&shard)) {
                Ok(progress) if progress.outcome == "rekeyed" => {
                    tell(&format!("{}: read back. All are; the new MasterKey is in force.", clean(&progress.keeper)));
                    return Ok(());
                }
                Ok(progress) if progress.outcome == "listed" => {
                    tell(&format!("{}: read back. All are; slot {} counts from now on.", clean(&progress.keeper), clean(slot)));
                    return Ok(());
                }
                Ok(progress) => {
                    let (keeper, missing) = (clean(&progress.keeper), clean(&progress.missing.join(", ")));
                    tell(&format!("{keeper}: read back, {} of {}. Missing: {missing}", progress.given.len(), progress.wants));
                }
                Err(error) => tell(&format!("not taken: {error}")),
            }
        }
    }
}

fn under_way(client: &Client) -> Result<CeremonyInfo, Failure> {
    wait(client.ceremonies())?.pop().ok_or_else(|| Failure::failed("no ceremony is under way: start one by `strongroom ceremony start`"))
}

/// Signs what is shown, computed here: not what the node says that it is.
fn vote(client: &Client, asked: &CeremonyInfo, key: &Path, vote: Vote) -> Result<CeremonyInfo, Failure> {
    let uuid = |text: &str| text.parse::<Uuid>().map_err(|error| Failure::failed(format!("the node names the ceremony wrongly: {error}")));
    let question = Question {
        cluster: ClusterId::new(uuid(&asked.cluster)?),
        id: uuid(&asked.id)?,
        operation: asked.asked.operation().to_owned(),
        digest: asked.asked.digest(),
    };
    let signed = sign_vote(key, &question, vote).map_err(|error| Failure::failed(error.to_string()))?;
    Ok(wait(client.cast_vote(&asked.id, &signed))?)
}

fn confirmed(asked: &CeremonyInfo) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage("nobody can be asked: look at `strongroom ceremony status`, and give --yes"));
    }
    tell(&ceremony_text(asked));
    Ok(ask("Approve this? Type yes: ")?.trim() == "yes")
}

fn ask(question: &str) -> Result<String, Failure> {
    write!(io::stderr(), "{question}").map_err(told("standard error"))?;
    let mut answer = String::new();
    match io::stdin().lock().read_line(&mut answer).map_err(told("standard input"))? {
        0 => Err(Failure::failed("the terminal was closed: the ceremony goes on, see `strongroom ceremony status`")),
        _ => Ok(answer),
    }
}

fn ceremony_text(ceremony: &CeremonyInfo) -> String {
    let who = |key: &String| {
        let said = match (ceremony.approved.contains(key), ceremony.cancelled.contains(key)) {
            (_, true) => "cancels",
            (true, false) => "approves",
            (false, false) => "has not said anything",
        };
        ("custodian", format!("{key} {said}"))
    };
    let mut rows = vec![
        ("ceremony", ceremony.id.clone()),
        ("asked", asked_text(&ceremony.asked)),
        ("by", clean(&ceremony.starter)),
        ("since", ceremony.started.clone()),
        ("state", clean(&ceremony.state)),
    ];
    if let NewCeremony::Rekey(RekeyOrder { roster: Some(asked), .. }) = &ceremony.asked {
        rows.extend(roster_rows(asked));
    }
    if let NewCeremony::IvkDestroy(DestroyIvk { found, .. }) = &ceremony.asked {
        rows.extend(found.iter().flat_map(found_rows));
        rows.extend(few_decide(ceremony).map(|warning| ("warning", warning)));
    }
    if ceremony.state == "collecting" {
        rows.push(("left", format!("{} min {} s", ceremony.seconds_left / 60, ceremony.seconds_left % 60)));
    }
    rows.push(("approvals", format!("{} of {}", ceremony.approved.len(), ceremony.wants)));
    rows.extend(ceremony.custodians.iter().map(who));
    rows.extend(ceremony.rekey.iter().flat_map(rekey_rows));
    if let Some(slot) = &ceremony.slot {
        rows.push(("slot", format!("{} ({}): {}", slot.id, clean(&slot.label), clean(&slot.probe))));
    }
    pairs(&rows)
}

/// What the custodians are told of a version that is to be destroyed.
fn found_rows(found: &IvkFound) -> Vec<(&'static str, String)> {
    let IvkFound { status, algorithm, created, rotated, keys, shreds } = found;
    let rotated = rotated.as_ref().map(|rotated| format!(", wrapped nothing since {}", clean(rotated)));
    vec![
        ("version", format!("{}, {}, made {}{}", clean(status), clean(algorithm), clean(created), rotated.unwrap_or_default())),
        ("use", format!("{keys} keys lie under it")),
        ("shreds", format!("{shreds} keys that were destroyed before: no version that is left opens old bytes of them")),
    ]
}

/// The warning if one person is enough.
fn few_decide(ceremony: &CeremonyInfo) -> Option<String> {
    let all = NewRoster { approvals: ceremony.wants, custodians: ceremony.custodians.clone() };
    let roster = if all.custodians.is_empty() { Some(Roster::empty()) } else { all.roster().ok() };
    roster?.one_alone().map(|alone| alone.to_string())
}

/// Those who are to approve, each by name, and the warning if one of them is enough.
fn roster_rows(roster: &NewRoster) -> Vec<(&'static str, String)> {
    let mut rows: Vec<_> = roster.custodians.iter().map(|key| ("new custodian", clean(key))).collect();
    rows.extend(roster.roster().ok().and_then(|roster| roster.one_alone()).map(|alone| ("warning", alone.to_string())));
    rows
}

fn rekey_rows(rekey: &RekeyInfo) -> Vec<(&'static str, String)> {
    let mut rows = vec![("masterkey", format!("generation {} is in force", rekey.generation))];
    rows.extend(rekey.roots.iter().map(|roots| {
        let RekeyedRoots { integrity_keys, ivks, audit_keys } = roots;
        ("wrapped anew", format!("{integrity_keys} integrity key, {ivks} IVK versions, {audit_keys} audit keys"))
    }));
    rows.extend(
        rekey.roster.iter().map(|roster| ("approvals", format!("{} of {} from now on", roster.approvals, roster.custodians.len()))),
    );
    rows.extend(rekey.ivk.iter().map(|version| ("IVK", format!("version {version} wraps from now on; those before are compromised"))));
    rows.extend(rekey.made.iter().map(|slot| ("slot made", slot.clone())));
    rows.extend(rekey.waiting.iter().map(|label| ("waits", format!("slot {} for its shards; see `strongroom slot shards`", clean(label)))));
    rows.extend(rekey.removed.iter().map(|slot| ("slot removed", slot.clone())));
    rows.extend(rekey.left.iter().map(|left| ("left", clean(left))));
    rows
}

fn asked_text(asked: &NewCeremony) -> String {
    match asked {
        NewCeremony::SlotAdd(AddSlot { custodian, label, make_key, approval }) => {
            let label = label.as_deref().unwrap_or(custodian);
            let makes = if *make_key { ", making its key" } else { "" };
            let approval = if approval.is_some() { ", with an approval of the platform's state" } else { "" };
            format!("add slot {} at custodian {}{makes}{approval}", clean(label), clean(custodian))
        }
        NewCeremony::SlotRemove(RemoveSlot { slot }) => format!("remove slot {}", clean(slot)),
        NewCeremony::IvkDestroy(DestroyIvk { version, .. }) => format!("destroy IVK version {version} for ever"),
        NewCeremony::Rekey(RekeyOrder { abandon: true, .. }) => "give up the re-key of the MasterKey".to_owned(),
        NewCeremony::Rekey(RekeyOrder { roster: Some(NewRoster { approvals, custodians }), .. }) => {
            format!(
                "replace the MasterKey, and every slot with it; from then on {approvals} of {} new custodians approve",
                custodians.len()
            )
        }
        NewCeremony::Rekey(RekeyOrder { roster: None, .. }) => "replace the MasterKey, and every slot with it".to_owned(),
    }
}

fn manifest_text(signed: &SignedManifest) -> String {
    let rows = [
        ("log", signed.log.clone()),
        ("public key", signed.public_key.clone().unwrap_or_else(|| "none: the node was sealed".to_owned())),
        ("signature", signed.signature.clone().unwrap_or_else(|| "none".to_owned())),
    ];
    format!("{}\n{}", signed.manifest, pairs(&rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ceremony_shows_who_has_approved_and_who_is_missing() {
        let ceremony = CeremonyInfo {
            id: "c9".to_owned(),
            cluster: "c1".to_owned(),
            asked: NewCeremony::SlotRemove(RemoveSlot { slot: "old\u{1b}[2J".to_owned() }),
            starter: "an operator at the node's socket".to_owned(),
            started: "2026-01-02T03:04:05Z".to_owned(),
            seconds_left: 61,
            wants: 2,
            custodians: vec!["aa".to_owned(), "bb".to_owned()],
            approved: vec!["bb".to_owned()],
            cancelled: vec![],
            state: "collecting".to_owned(),
            slot: None,
            rekey: None,
        };
        let expected = "\
ceremony   c9
asked      remove slot old\\u{1b}[2J
by         an operator at the node's socket
since      2026-01-02T03:04:05Z
state      collecting
left       1 min 1 s
approvals  1 of 2
custodian  aa has not said anything
custodian  bb approves
";
        assert_eq!(ceremony_text(&ceremony), expected);

        let found = IvkFound {
            status: "retired".to_owned(),
            algorithm: "AES-256-GCM".to_owned(),
            created: "2025".to_owned(),
            rotated: Some("2026".to_owned()),
            keys: 0,
            shreds: 3,
        };
        let destroys = |wants, custodians: &[&str]| CeremonyInfo {
            asked: NewCeremony::IvkDestroy(DestroyIvk { version: 4, found: Some(found.clone()) }),
            wants,
            custodians: custodians.iter().map(|key| key.repeat(32)).collect(),
            ..ceremony.clone()
        };
        let text = ceremony_text(&destroys(2, &["aa", "bb"]));
        for line in [
            "asked      destroy IVK version 4 for ever",
            "version    retired, AES-256-GCM, made 2025, wrapped nothing since 2026",
            "use        0 keys lie under it",
            "shreds     3 keys that were destroyed before: no version that is left opens old bytes of them",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}: {text}");
        }
        assert!(!text.contains("warning"), "{text}");
        assert!(ceremony_text(&destroys(1, &["aa", "bb"])).contains("any one of them alone"));
        assert!(ceremony_text(&destroys(0, &[])).contains("one operator alone"));
    }
}
