//! One job on a TPM 2.0 (C13): say what it is, seal a secret to it, or open one.
//!
//! Every job makes the storage root key anew and speaks to the TPM in sessions that are salted to that key ([`conversation`]). What is sealed
//! opens under a policy that a release key governs ([`template`]), and with a PIN at most one try per job ([`attempt`]). Objects and sessions
//! are flushed before the answer is sent. Only a process killed at its deadline leaves some behind, and those a resource manager takes away:
//! the kernel's (`/dev/tpmrm0`) or tabrmd, one of which belongs in front of a real TPM.

mod attempt;
mod code;
mod conversation;
mod opening;
mod template;

use std::path::Path;

use hsm::latch::Turn;
use hsm::{Answer, Order, PCRS_MAX, REFERENCE_BYTES_MAX, Refusal, SECRET_BYTES_MAX, Tpm, TpmPolicy, TpmReport, TpmSealed, TpmTask};
use secret::Bytes;
use sha2::{Digest as _, Sha256};
use tss_esapi::constants::PropertyTag;
use tss_esapi::structures::Auth;
use zeroize::Zeroizing;

use crate::Outcome;
use crate::harden::Parent;
use crate::tpm::attempt::Try;
use crate::tpm::conversation::{Conversation, Root};

/// Does the task, in a turn of its own at the TPM.
pub(crate) fn work(order: &Order, tpm: &Tpm, task: &TpmTask, [pin, payload]: [Option<Bytes>; 2], parent: Parent) -> Outcome {
    check(task, pin.as_ref(), payload.as_ref())?;
    let turn = Turn::take(&order.latch_dir, Path::new(&tpm.tcti));
    let turn = turn.map_err(|error| Refusal::LatchUnusable { latch: order.latch_dir.clone(), reason: error.to_string() })?;
    let root = Root::make(tpm)?;
    match task {
        TpmTask::Describe { pcrs } => Ok((Answer::TpmDescribed(describe(root.begin()?, pcrs)?), None)),
        TpmTask::Protect { policy } => {
            let auth = pin_of(policy, pin, &root.name)?;
            let payload = payload.ok_or_else(|| bad_job("there is nothing to seal"))?;
            Ok((Answer::TpmSealed(protect(root.begin()?, policy, auth, &payload)?), None))
        }
        TpmTask::Open { policy, approvals, sealed } => {
            if root.name != sealed.root_name {
                return Err(Refusal::WrongTpm);
            }
            let chance = match pin_of(policy, pin, &root.name)? {
                Some(auth) => Some(Try { auth, latch: turn.latch(&serial(&root.name)), retry: order.job.retry_pin, parent }),
                None => None,
            };
            Ok((Answer::Opened, Some(opening::open(root.begin()?, policy, approvals, sealed, chance)?)))
        }
    }
}

/// What makes no sense on any TPM, refused before one is spoken to.
fn check(task: &TpmTask, pin: Option<&Bytes>, payload: Option<&Bytes>) -> Result<(), Refusal> {
    match task {
        TpmTask::Describe { pcrs } => {
            let known = pcrs.last().is_none_or(|last| usize::from(*last) < PCRS_MAX);
            if known && pcrs.is_sorted_by(|one, next| one < next) {
                Ok(())
            } else {
                Err(bad_job("registers that no TPM has, or not ascending"))
            }
        }
        TpmTask::Protect { policy } => match payload {
            Some(payload) if !(1..=SECRET_BYTES_MAX).contains(&payload.len()) => {
                Err(bad_job(&format!("a secret of {} bytes; it must have 1 to {SECRET_BYTES_MAX}", payload.len())))
            }
            // Whoever gives a PIN believes that it will be asked for.
            _ if pin.is_some() && !policy.has_pin => Err(bad_job("a PIN for an object without one")),
            _ => check_reference(policy),
        },
        TpmTask::Open { policy, approvals, .. } if approvals.len() <= hsm::APPROVALS_MAX => check_reference(policy),
        TpmTask::Open { approvals, .. } => {
            Err(bad_job(&format!("{} approvals; at most {} go with a job", approvals.len(), hsm::APPROVALS_MAX)))
        }
    }
}

fn check_reference(policy: &TpmPolicy) -> Result<(), Refusal> {
    let bytes = policy.reference.len();
    if bytes <= REFERENCE_BYTES_MAX {
        Ok(())
    } else {
        Err(bad_job(&format!("a reference of {bytes} bytes; it has at most {REFERENCE_BYTES_MAX}")))
    }
}

fn bad_job(reason: &str) -> Refusal {
    Refusal::BadJob { reason: reason.to_owned() }
}

/// By what a person knows the TPM, and the latch its PIN: the first 8 bytes of the root key's Name, in hex.
fn serial(root_name: &[u8]) -> String {
    root_name.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// What the TPM gets as the object's authorization value, if the policy has a PIN: always SHA-256 of the PIN, because a value is no longer than
/// the object's digest and a PIN may be. Zeros at its end are cut off: a TPM does so too, and would otherwise compute another HMAC.
fn pin_of(policy: &TpmPolicy, pin: Option<Bytes>, root_name: &[u8]) -> Result<Option<Auth>, Refusal> {
    if !policy.has_pin {
        return Ok(None);
    }
    let pin = pin.ok_or_else(|| Refusal::PinNeeded { serial: serial(root_name) })?;
    let digest = Zeroizing::new(<[u8; 32]>::from(pin.expose(|bytes| Sha256::digest(bytes))));
    let significant = digest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    Ok(Some(Auth::try_from(&digest[..significant]).expect("32 bytes fit every TPM2B_AUTH")))
}

fn describe(mut talk: Conversation<'_>, pcrs: &[u8]) -> Result<TpmReport, Refusal> {
    let text = [
        PropertyTag::Manufacturer,
        PropertyTag::VendorString1,
        PropertyTag::VendorString2,
        PropertyTag::VendorString3,
        PropertyTag::VendorString4,
    ];
    let mut model = String::new();
    for (at, tag) in text.into_iter().enumerate() {
        let letters = talk.property(tag)?.to_be_bytes();
        model.extend(letters.into_iter().filter(|letter| (b' '..=b'~').contains(letter)).map(char::from));
        if at == 0 {
            model = format!("{} ", model.trim());
        }
    }
    let digest = if pcrs.is_empty() { None } else { Some(talk.registers(pcrs)?.digest_of(pcrs)) };
    Ok(TpmReport {
        model: model.trim().to_owned(),
        root_name: talk.root_name().to_vec(),
        digest,
        lockout_counter: talk.property(PropertyTag::LockoutCounter)?,
        lockout_max: talk.property(PropertyTag::MaxAuthFail)?,
    })
}

/// Asks for no approval: the policy names only the key that will give some.
fn protect(mut talk: Conversation<'_>, policy: &TpmPolicy, auth: Option<Auth>, payload: &Bytes) -> Result<TpmSealed, Refusal> {
    // Loaded only to learn that the TPM takes it, for nothing would ever open under a key that it does not take.
    let release = template::release_key(&policy.release_key);
    talk.load_release_key(release.clone())?.ok_or_else(|| bad_job("the release key is no point of P-256"))?;
    let wanted = template::sealed(policy, template::policy_digest(policy), Default::default());
    let (public, private) = talk.create(wanted, auth, payload)?;
    Ok(TpmSealed { root_name: talk.root_name().to_vec(), public: template::marshalled(&public), private })
}
