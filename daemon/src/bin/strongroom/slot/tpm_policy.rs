//! `slot tpm-policy`: states of the platform, signed by a release key that need not be on this host.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use daemon::admin::types::{ApprovalInfo, Approve};
use daemon::layout::Layout;
use daemon::system::{SystemClock, rfc3339};
use daemon::{boot, config};
use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};
use keys::port::Clock;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::{self, PemObject};
use seal::{Approval, Label, Platform, ReleaseSigner, SlotId, State};
use serde_json::json;

use crate::context::{Context, wait};
use crate::dev::told;
use crate::failure::{Failure, Kind};
use crate::output::{pairs, table};

/// The policy with which a slot is made.
const FIRST_POLICY: u32 = 1;

/// `slot tpm-policy ...`.
#[derive(Debug, Subcommand)]
pub(crate) enum TpmPolicy {
    /// Sign a state of the platform: for a new slot, or for one that is there
    Sign(Sign),
    /// Let a slot open in a state that its release key has signed; works while the node is sealed
    Approve {
        /// What `sign` has written
        approval: PathBuf,
    },
    /// List the states in which a slot may open
    List {
        /// Its id or label
        slot: String,
    },
}

/// `slot tpm-policy sign`.
#[derive(Debug, Args)]
pub(crate) struct Sign {
    /// The release key: ECDSA on P-256, PKCS #8 in PEM
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The slot, by its id; left out: a new one, which `strongroom init` or `slot add` then makes by --approval
    #[arg(long, value_name = "ID")]
    slot: Option<SlotId>,
    /// Which policy of the slot is meant
    #[arg(long, value_name = "N", default_value_t = FIRST_POLICY, requires = "slot")]
    policy_gen: u32,
    /// The TPM of this host whose registers are read; needed if several are configured
    #[arg(long, value_name = "NAME", conflicts_with = "digest")]
    custodian: Option<Label>,
    /// The registers, as sha256:7,14 [default: those of the custodian]
    #[arg(long, value_parser = registers)]
    pcrs: Option<Registers>,
    /// SHA-256 of the registers' values in hex, to approve another state than the present one
    #[arg(long, value_name = "HEX", value_parser = digest, requires = "pcrs")]
    digest: Option<Digest>,
    /// What people will call this state
    #[arg(long, default_value = "approved state")]
    note: Label,
    /// Where the approval goes
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, Clone)]
struct Registers(Vec<u8>);

#[derive(Debug, Clone, Copy)]
struct Digest([u8; 32]);

fn registers(text: &str) -> Result<Registers, String> {
    config::pcrs(text).map(Registers).ok_or_else(|| "sha256: and registers from 0 to 23, ascending, such as sha256:7,14".to_owned())
}

fn digest(text: &str) -> Result<Digest, String> {
    let digest = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
    digest.map(Digest).ok_or_else(|| "64 hex digits".to_owned())
}

/// Runs `slot tpm-policy ...`.
pub(crate) fn run(context: &Context, command: &TpmPolicy) -> Result<(), Failure> {
    match command {
        TpmPolicy::Sign(args) => sign(context, args),
        TpmPolicy::Approve { approval } => {
            let approval = read(approval)?;
            let slot = approval.state.slot;
            let taken = wait(context.client()?.approve(&Approve { approval: BASE64.encode(&approval.encode()) }))?;
            context
                .out
                .show(&taken, |taken| format!("slot {slot} may open while {} has digest {} ({})\n", taken.pcrs, taken.digest, taken.note))
        }
        TpmPolicy::List { slot } => context.out.show(&wait(context.client()?.approvals(slot))?, |approvals| approvals_text(approvals)),
    }
}

/// Reads an approval, and checks that it is whole.
pub(crate) fn read(path: &Path) -> Result<Approval, Failure> {
    let bytes = fs::read(path).map_err(told(path.display()))?;
    let approval = Approval::decode(&bytes).and_then(|approval| approval.check().map(|()| approval));
    approval.map_err(|error| Failure::failed(format!("{}: {error}", path.display())))
}

fn sign(context: &Context, args: &Sign) -> Result<(), Failure> {
    let key = PrivatePkcs8KeyDer::from_pem_file(&args.key).map_err(|error| match error {
        pem::Error::Io(error) => Failure::failed(format!("{}: {error}", args.key.display())),
        _ => Failure::usage(format!(
            "{}: it holds no private key in PKCS #8 and PEM: convert it by `openssl pkcs8 -topk8 -nocrypt`",
            args.key.display()
        )),
    })?;
    let signer = ReleaseSigner::from_pkcs8(key.secret_pkcs8_der());
    let signer = signer.map_err(|error| Failure::usage(format!("{}: {error}", args.key.display())))?;
    let pcrs = args.pcrs.as_ref().map(|Registers(pcrs)| pcrs.clone());
    let Platform { pcrs, digest } = match (args.digest, pcrs) {
        (Some(Digest(digest)), Some(pcrs)) => Platform { pcrs, digest },
        (_, pcrs) => platform(context, args.custodian.as_ref(), pcrs)?,
    };
    let slot = args.slot.map_or_else(new_slot, Ok)?;
    let state = State { slot, policy_gen: args.policy_gen, pcrs, digest };
    let approval = Approval::sign(&signer, state, SystemClock.now(), args.note.clone());
    let approval = approval.map_err(|error| Failure::of(Kind::Failed, &error))?;
    fs::write(&args.out, approval.encode()).map_err(told(args.out.display()))?;
    let value = json!({
        "slot": slot.to_string(), "policy_gen": args.policy_gen, "pcrs": config::pcrs_text(&approval.state.pcrs),
        "digest": HEXLOWER.encode(&digest), "created": rfc3339(approval.created), "file": args.out,
    });
    context.out.show(&value, |_| {
        let next = match args.slot {
            Some(_) => format!("strongroom slot tpm-policy approve {}", args.out.display()),
            None => format!("strongroom init --approval {0}, or strongroom slot add --custodian NAME --approval {0}", args.out.display()),
        };
        pairs(&[
            ("slot", slot.to_string()),
            ("state", format!("{} has digest {}", config::pcrs_text(&approval.state.pcrs), HEXLOWER.encode(&digest))),
            ("next", next),
        ])
    })
}

/// How this host's platform stands.
fn platform(context: &Context, custodian: Option<&Label>, pcrs: Option<Vec<u8>>) -> Result<Platform, Failure> {
    let mut config = context.config()?;
    let mut tpms = config.seal.custodians.iter().filter(|custodian| matches!(custodian.means, config::Means::Tpm2(_)));
    let named = match (custodian, tpms.next(), tpms.next()) {
        (Some(named), _, _) => named.clone(),
        (None, Some(only), None) => only.name.parse().map_err(|error: seal::Error| Failure::of(Kind::Failed, &error))?,
        _ => return Err(Failure::usage("name the TPM by --custodian, or the state by --pcrs and --digest")),
    };
    boot::prepare_process(&config).map_err(|error| Failure::of(Kind::Failed, &error))?;
    let layout = Layout::new(&config.data_dir);
    // The credentials of the others are none of its business, and are not there for an operator.
    config.seal.custodians.retain(|custodian| custodian.name == named.as_str());
    if layout.identity().is_err() {
        // Where a node is to be made: devices keep their latches there.
        layout.prepare().map_err(|error| Failure::of(Kind::Failed, &error))?;
    }
    let seal = boot::open_seal(&config, &layout).map_err(|error| Failure::of(Kind::Failed, &error))?;
    seal.platform(&named, pcrs.as_deref()).map_err(|error| Failure::of(Kind::Failed, &error))
}

fn new_slot() -> Result<SlotId, Failure> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(told("no randomness"))?;
    Ok(SlotId::from_random(bytes))
}

fn approvals_text(approvals: &[ApprovalInfo]) -> String {
    let row = |approval: &ApprovalInfo| {
        vec![
            approval.note.clone(),
            approval.created.clone(),
            approval.pcrs.clone(),
            approval.digest.clone(),
            approval.policy_gen.to_string(),
        ]
    };
    let nothing = "no state is approved: the slot cannot open; sign one with `strongroom slot tpm-policy sign --slot`";
    table(&["note", "signed", "registers", "digest", "policy"], approvals.iter().map(row).collect(), nothing)
}
