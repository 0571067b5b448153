//! `strongroom init`: makes the cluster that the configuration describes, or the edge.

mod owner;
mod wizard;

use std::path::PathBuf;

use clap::Args;
use daemon::admin::types::SplitInfo;
use daemon::config::Config;
use daemon::init::ShardDesk;
use daemon::{boot, init};
use data_encoding::HEXLOWER_PERMISSIVE;
use seal::{CustodianKey, Label, Roster};
use secret::Bytes;

use crate::card;
use crate::context::Context;
use crate::dev::told;
use crate::failure::{Failure, Kind};
use crate::output::{clean, tell};
use crate::pin;
use crate::slot::shards::hand_out;
use crate::slot::tpm_policy;

/// Makes a cluster: MasterKey, first seal slot, IVK version 1, audit key. With the role `edge`: an edge, whose core has to answer.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// Ask for what is needed on the terminal, write the configuration, and go on with it
    #[arg(long, conflicts_with_all = ["custodian", "make_key", "pin_file", "pin_prompt", "approval", "shards_dir", "roster", "approvals"])]
    wizard: bool,
    /// The custodian of the first slot; needed if more than one is configured.
    #[arg(long)]
    custodian: Option<Label>,
    /// Make the key on the token if it has none of the configured name.
    #[arg(long)]
    make_key: bool,
    /// File with the token's PIN, for a custodian without a credential.
    #[arg(long, value_name = "FILE")]
    pin_file: Option<PathBuf>,
    /// Ask for the token's PIN on the terminal.
    #[arg(long, conflicts_with = "pin_file")]
    pin_prompt: bool,
    /// File with the first approval of a TPM's slot, by `strongroom slot tpm-policy sign`.
    #[arg(long, value_name = "FILE")]
    approval: Option<PathBuf>,
    /// Folder for the encrypted shards of people and their sheets; they give the opened ones back on the terminal, or on standard input, line by line.
    #[arg(long, value_name = "DIR")]
    shards_dir: Option<PathBuf>,
    /// SHA-256 of a custodian's public key (SPKI) in hex; repeat for each person of the roster.
    #[arg(long = "roster", value_name = "SPKI_SHA256", value_parser = custodian_key)]
    roster: Vec<CustodianKey>,
    /// How many of the roster must approve a ceremony; 0 without a roster.
    #[arg(long, default_value_t = 0, value_name = "M")]
    approvals: u8,
}

/// Makes what the configuration describes, or what the wizard is told.
pub(crate) fn begin(context: &Context, args: InitArgs) -> Result<init::InitReport, Failure> {
    if args.wizard { wizard::run(context) } else { run(&context.config()?, args) }
}

/// Runs `init` in this process; the daemon must not be running on the same folder.
fn run(config: &Config, args: InitArgs) -> Result<init::InitReport, Failure> {
    let roster = match (args.approvals, args.roster) {
        (0, custodians) if custodians.is_empty() => Roster::empty(),
        (approvals, custodians) => Roster::new(approvals, custodians).map_err(|error| Failure::usage(error.to_string()))?,
    };
    let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(told("the runtime does not start"));
    boot::prepare_process(config).map_err(|error| Failure::of(Kind::Failed, &error))?;
    if let Some(edge) = &config.edge {
        if args.custodian.is_some()
            || args.make_key
            || args.pin_file.is_some()
            || args.pin_prompt
            || args.approval.is_some()
            || args.shards_dir.is_some()
        {
            return Err(Failure::usage(
                "an edge has no slots: leave --custodian, --make-key, --pin-file, --pin-prompt, --approval and --shards-dir out",
            ));
        }
        owner::become_them(config)?;
        return runtime()?.block_on(init::run_edge(config, edge)).map_err(|error| Failure::of(Kind::Failed, &error));
    }
    if let Some(alone) = roster.one_alone() {
        tell(&format!("warning: {alone}"));
    }
    let pin = match (args.pin_prompt, args.pin_file) {
        (true, _) => Some(pin::from_terminal("PIN: ")?),
        (false, file) => file.map(|path| pin::from_file(&path)).transpose()?,
    };
    let approval = args.approval.map(|path| tpm_policy::read(&path)).transpose()?;
    let desk = args.shards_dir.map(|dir| Box::new(Desk { dir }) as Box<dyn ShardDesk>);
    let options = init::InitOptions { custodian: args.custodian, make_key: args.make_key, pin, approval, roster, desk };
    owner::become_them(config)?;
    runtime()?.block_on(init::run(config, options)).map_err(|error| Failure::of(Kind::Failed, &error))
}

/// People who come to this terminal.
struct Desk {
    dir: PathBuf,
}

impl ShardDesk for Desk {
    fn hand_out(&mut self, split: &SplitInfo) -> Result<(), String> {
        let files = hand_out(&self.dir, split).map_err(|failure| failure.message)?;
        tell(&format!("The shards of slot {} are in {}, each for its keeper alone:", clean(&split.label), self.dir.display()));
        files
            .iter()
            .filter(|file| file.extension().is_some_and(|extension| extension == "age" || extension == "card"))
            .for_each(|file| tell(&format!("  {}", file.display())));
        tell("Each opens theirs with `age --decrypt --identity KEY FILE`, and enters the line that it prints here.");
        tell("Who has a card enters the word `card` instead, and is asked where it is.");
        Ok(())
    }

    fn next(&mut self, missing: &[Label]) -> Result<Bytes, String> {
        let names = missing.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let given = card::given_shard(&format!("Shard (of {names}): "));
        given.map_err(|failure| format!("{}; missing: {names}", failure.message))
    }

    fn refuse(&mut self, why: &seal::Error) {
        tell(&format!("not taken: {why}"));
    }
}

/// A custodian's key as the command line has it.
pub(crate) fn custodian_key(text: &str) -> Result<CustodianKey, String> {
    let digest = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    digest.map(CustodianKey).ok_or_else(|| "64 hex digits: the SHA-256 of the custodian's SPKI".to_owned())
}
