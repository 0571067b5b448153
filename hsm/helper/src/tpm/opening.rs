//! Opening what was sealed, in a state of the platform that somebody approved.

use std::collections::BTreeSet;

use hsm::{Refusal, TpmApproval, TpmPolicy, TpmSealed};
use secret::Bytes;
use tss_esapi::handles::KeyHandle;
use tss_esapi::interface_types::session_handles::PolicySession;
use tss_esapi::structures::{Private, Public, VerifiedTicket};

use crate::tpm::attempt::{self, Try};
use crate::tpm::conversation::{Conversation, Registers};
use crate::tpm::template;

/// Opens. Nothing is tried on the object before the approval's signature is good and the platform is in the approved state.
pub(crate) fn open(
    mut talk: Conversation<'_>,
    policy: &TpmPolicy,
    approvals: &[TpmApproval],
    sealed: &TpmSealed,
    chance: Option<Try<'_>>,
) -> Result<Bytes, Refusal> {
    let chance = chance.map(Try::permitted).transpose()?;
    let (public, private) = parts(policy, sealed).ok_or(Refusal::BadCiphertext)?;
    let state = State::read(&mut talk, approvals)?;
    let Some((approval, ticket)) = choose(&mut talk, policy, approvals, &state)? else { return Err(state.not_approved()) };
    let Some(session) = satisfy(&mut talk, policy, approval, ticket)? else {
        // The platform went on between the look and the session.
        return Err(State::read(&mut talk, approvals)?.not_approved());
    };
    let object = talk.load(public, private)?.ok_or(Refusal::BadCiphertext)?;
    match attempt::unseal(&mut talk, object, session, chance)? {
        Some(secret) => Ok(secret),
        None => Err(State::read(&mut talk, approvals)?.not_approved()),
    }
}

/// What the TPM loads; `None` if it was not sealed under this policy.
fn parts(policy: &TpmPolicy, sealed: &TpmSealed) -> Option<(Public, Private)> {
    Some((template::read_sealed(policy, &sealed.public)?, Private::try_from(sealed.private.as_slice()).ok()?))
}

/// The registers that approvals speak of.
struct State {
    registers: Registers,
    sets: BTreeSet<Vec<u8>>,
}

impl State {
    fn read(talk: &mut Conversation<'_>, approvals: &[TpmApproval]) -> Result<Self, Refusal> {
        let sets: BTreeSet<Vec<u8>> = well_formed(approvals).map(|approval| approval.pcrs.clone()).collect();
        let all: BTreeSet<u8> = sets.iter().flatten().copied().collect();
        let registers = talk.registers(&all.into_iter().collect::<Vec<_>>())?;
        Ok(Self { registers, sets })
    }

    fn not_approved(self) -> Refusal {
        let Self { registers, sets } = self;
        let with_digest = |pcrs: Vec<u8>| {
            let digest = registers.digest_of(&pcrs);
            (pcrs, digest)
        };
        Refusal::NotApproved { states: sets.into_iter().map(with_digest).collect() }
    }
}

/// One that is not well formed counts as not there, as does one with a wrong signature.
fn well_formed(approvals: &[TpmApproval]) -> impl Iterator<Item = &TpmApproval> {
    approvals.iter().filter(|approval| approval.is_well_formed())
}

/// The first approval of the present state that the release key has signed, with the TPM's ticket for the signature.
fn choose<'a>(
    talk: &mut Conversation<'_>,
    policy: &TpmPolicy,
    approvals: &'a [TpmApproval],
    state: &State,
) -> Result<Option<(&'a TpmApproval, VerifiedTicket)>, Refusal> {
    let mut fitting = well_formed(approvals).filter(|approval| state.registers.digest_of(&approval.pcrs) == approval.digest).peekable();
    if fitting.peek().is_none() {
        return Ok(None);
    }
    let Some(key) = talk.load_release_key(template::release_key(&policy.release_key))? else { return Ok(None) };
    let mut chosen = None;
    for approval in fitting {
        if let Some(ticket) = ticket(talk, policy, key, approval)? {
            chosen = Some((approval, ticket));
            break;
        }
    }
    // Its place is wanted for the object: some TPMs hold three, and others may use this one.
    talk.flush(key)?;
    Ok(chosen)
}

fn ticket(
    talk: &mut Conversation<'_>,
    policy: &TpmPolicy,
    key: KeyHandle,
    approval: &TpmApproval,
) -> Result<Option<VerifiedTicket>, Refusal> {
    talk.verify(key, template::digest(&approval.digest_to_sign(&policy.reference)), &approval.signature)
}

/// A policy session in which everything but the PIN is shown; `None` if the state is not the approved one any more.
fn satisfy(
    talk: &mut Conversation<'_>,
    policy: &TpmPolicy,
    approval: &TpmApproval,
    ticket: VerifiedTicket,
) -> Result<Option<PolicySession>, Refusal> {
    let session = talk.policy_session()?;
    talk.policy_pcr(session, &approval.pcrs)?;
    let signer = template::tpm_name(&template::release_key(&policy.release_key));
    if !talk.policy_authorize(session, template::digest(&approval.approved_policy()), &policy.reference, &signer, ticket)? {
        return Ok(None);
    }
    if policy.has_pin {
        talk.policy_auth_value(session)?;
    }
    Ok(Some(session))
}
