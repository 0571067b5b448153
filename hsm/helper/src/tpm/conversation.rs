//! A TPM and its storage root key, and the commands that a job sends, all but the first in sessions that are salted to that key.
//!
//! A salted session's key is known only to who holds the root key's private half. It authenticates every command and answer and encrypts the
//! first parameter of each, where there is one, so neither PIN nor secret crosses the bus in the clear. That holds only if the key is that of the
//! TPM which is meant: who opens compares [`Root::name`] before [`Root::begin`] salts the first session. The name is computed here from the same
//! public area that tpm2-tss salts to; one that the bus claims is not believed. Who seals has nothing to compare with, and notes the name.

use std::str::FromStr as _;

use hsm::{DIGEST_BYTES, Refusal, SIGNATURE_BYTES, Tpm};
use secret::Bytes;
use sha2::{Digest as _, Sha256};
use tss_esapi::attributes::SessionAttributesBuilder;
use tss_esapi::constants::{CapabilityType, PropertyTag, SessionType};
use tss_esapi::handles::{KeyHandle, ObjectHandle};
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::resource_handles::Hierarchy;
use tss_esapi::interface_types::session_handles::{AuthSession, PolicySession};
use tss_esapi::structures::{
    Auth, CapabilityData, Digest, EccParameter, EccSignature, Name, Nonce, PcrSelectionList, PcrSlot, Private, Public, SensitiveData,
    Signature, SymmetricDefinition, VerifiedTicket,
};
use tss_esapi::{Context, Error, TctiNameConf};

use crate::tpm::code::{blames_the_command, fault, unusable};
use crate::tpm::template;

/// Registers that one TPM2_PCR_Read returns at most (part 2, 10.9.7).
const REGISTERS_PER_READ: usize = 8;

/// A TPM that answered, with its storage root key made.
pub(crate) struct Root<'a> {
    tpm: &'a Tpm,
    context: Context,
    key: KeyHandle,
    /// Its TPM Name.
    pub(crate) name: Vec<u8>,
}

impl<'a> Root<'a> {
    /// Connects, and makes the root key in the owner hierarchy, whose authorization must be empty, as it is unless somebody set it.
    pub(crate) fn make(tpm: &'a Tpm) -> Result<Self, Refusal> {
        let way = TctiNameConf::from_str(&tpm.tcti).map_err(|error| unusable(tpm, error))?;
        let mut context = Context::new(way).map_err(|error| unusable(tpm, error))?;
        let empty = (Some(AuthSession::Password), None, None);
        let made = context
            .execute_with_sessions(empty, |context| context.create_primary(Hierarchy::Owner, template::root(), None, None, None, None));
        let made = made.map_err(|error| fault(tpm, "TPM2_CreatePrimary", error))?;
        Ok(Self { tpm, context, key: made.key_handle, name: template::name(&made.out_public) })
    }

    /// Begins the session in which all further commands are sent.
    pub(crate) fn begin(self) -> Result<Conversation<'a>, Refusal> {
        let Self { tpm, mut context, key, name } = self;
        let session = start(&mut context, key, SessionType::Hmac).map_err(|error| fault(tpm, "TPM2_StartAuthSession", error))?;
        Ok(Conversation { tpm, context, root: key, root_name: name, session })
    }
}

fn start(context: &mut Context, root: KeyHandle, kind: SessionType) -> Result<AuthSession, Error> {
    let session = context.start_auth_session(Some(root), None, None, kind, SymmetricDefinition::AES_128_CFB, HashingAlgorithm::Sha256)?;
    Ok(session.expect("a session that was started has a handle"))
}

/// What a command has that a session can encrypt: the first parameter, if it is a sized buffer (TPM2B). A TPM refuses a session that offers more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encrypts {
    /// That of the command.
    Command,
    /// That of the answer.
    Answer,
    Both,
    /// Neither; the session still authenticates both, as an audit session.
    Nothing,
}

impl Encrypts {
    fn set(self, context: &mut Context, session: AuthSession) -> Result<(), Error> {
        let (attributes, mask) = SessionAttributesBuilder::new()
            .with_continue_session(true)
            .with_decrypt(matches!(self, Self::Command | Self::Both))
            .with_encrypt(matches!(self, Self::Answer | Self::Both))
            .with_audit(self == Self::Nothing)
            .build();
        context.tr_sess_set_attributes(session, attributes, mask)
    }
}

/// Commands in a salted session. When it is dropped, everything it holds in the TPM is flushed.
pub(crate) struct Conversation<'a> {
    tpm: &'a Tpm,
    context: Context,
    root: KeyHandle,
    root_name: Vec<u8>,
    session: AuthSession,
}

impl Conversation<'_> {
    pub(crate) fn root_name(&self) -> &[u8] {
        &self.root_name
    }

    pub(crate) fn fault(&self, command: &str, error: Error) -> Refusal {
        fault(self.tpm, command, error)
    }

    fn send<T>(&mut self, encrypts: Encrypts, command: impl FnOnce(&mut Context) -> Result<T, Error>) -> Result<T, Error> {
        encrypts.set(&mut self.context, self.session)?;
        self.context.execute_with_session(Some(self.session), command)
    }

    /// A number of TPM2_GetCapability; 0 for one that this TPM does not have.
    pub(crate) fn property(&mut self, tag: PropertyTag) -> Result<u32, Refusal> {
        let answer = self.send(Encrypts::Nothing, |context| context.get_capability(CapabilityType::TpmProperties, tag.into(), 1));
        match answer.map_err(|error| self.fault("TPM2_GetCapability", error))?.0 {
            CapabilityData::TpmProperties(found) => Ok(found.find(tag).map_or(0, |property| property.value())),
            _ => Ok(0),
        }
    }

    /// Reads registers of the SHA-256 bank; ascending.
    pub(crate) fn registers(&mut self, pcrs: &[u8]) -> Result<Registers, Refusal> {
        let mut registers = Registers { values: Vec::with_capacity(pcrs.len()) };
        for some in pcrs.chunks(REGISTERS_PER_READ) {
            let wanted = selection(some);
            let read = self
                .send(Encrypts::Nothing, |context| context.pcr_read(wanted.clone()))
                .map_err(|error| self.fault("TPM2_PCR_Read", error))?;
            if read.1 != wanted || read.2.value().len() != some.len() {
                return Err(Refusal::DeviceFault {
                    call: "TPM2_PCR_Read".to_owned(),
                    code: "the TPM keeps no SHA-256 bank of them".to_owned(),
                });
            }
            registers.values.extend(some.iter().copied().zip(read.2.value().iter().map(|value| value.value().to_vec())));
        }
        Ok(registers)
    }

    /// Seals: the public area as the TPM completed it, and the contents of the TPM2B_PRIVATE.
    pub(crate) fn create(&mut self, wanted: Public, auth: Option<Auth>, payload: &Bytes) -> Result<(Public, Vec<u8>), Refusal> {
        // A copy on the heap, wiped when it is dropped: the binding takes nothing else.
        let secret = payload.expose(|bytes| SensitiveData::try_from(bytes)).expect("at most 96 bytes, which fit");
        let root = self.root;
        let made = self.send(Encrypts::Both, |context| context.create(root, wanted, auth, Some(secret), None, None));
        let made = made.map_err(|error| self.fault("TPM2_Create", error))?;
        Ok((made.out_public, made.out_private.value().to_vec()))
    }

    /// Loads a sealed object; `None` if it is none of this TPM's.
    pub(crate) fn load(&mut self, public: Public, private: Private) -> Result<Option<ObjectHandle>, Refusal> {
        let root = self.root;
        match self.send(Encrypts::Both, |context| context.load(root, private, public)) {
            Ok(handle) => Ok(Some(handle.into())),
            Err(error) if blames_the_command(&error) => Ok(None),
            Err(error) => Err(self.fault("TPM2_Load", error)),
        }
    }

    /// Shows the TPM the public half of the release key; `None` if it is no key on P-256.
    ///
    /// In the owner hierarchy: in none, the ticket of a signature would be good for nothing.
    pub(crate) fn load_release_key(&mut self, key: Public) -> Result<Option<KeyHandle>, Refusal> {
        match self.send(Encrypts::Both, |context| context.load_external_public(key, Hierarchy::Owner)) {
            Ok(handle) => Ok(Some(handle)),
            Err(error) if blames_the_command(&error) => Ok(None),
            Err(error) => Err(self.fault("TPM2_LoadExternal", error)),
        }
    }

    /// TPM2_FlushContext, which no session may go with.
    pub(crate) fn flush(&mut self, key: KeyHandle) -> Result<(), Refusal> {
        self.context.flush_context(key.into()).map_err(|error| self.fault("TPM2_FlushContext", error))
    }

    /// The TPM's ticket for a signature (r and s); `None` if it is not good.
    pub(crate) fn verify(&mut self, key: KeyHandle, signed: Digest, signature: &[u8]) -> Result<Option<VerifiedTicket>, Refusal> {
        let Some((r, s)) = signature.split_at_checked(SIGNATURE_BYTES / 2) else { return Ok(None) };
        let (Ok(r), Ok(s)) = (EccParameter::try_from(r), EccParameter::try_from(s)) else { return Ok(None) };
        let Ok(signature) = EccSignature::create(HashingAlgorithm::Sha256, r, s) else { return Ok(None) };
        match self.send(Encrypts::Command, |context| context.verify_signature(key, signed, Signature::EcDsa(signature))) {
            Ok(ticket) => Ok(Some(ticket)),
            Err(error) if blames_the_command(&error) => Ok(None),
            Err(error) => Err(self.fault("TPM2_VerifySignature", error)),
        }
    }

    /// Begins a policy session, salted as the other one is.
    pub(crate) fn policy_session(&mut self) -> Result<PolicySession, Refusal> {
        let session =
            start(&mut self.context, self.root, SessionType::Policy).map_err(|error| self.fault("TPM2_StartAuthSession", error))?;
        Ok(session.try_into().expect("it was started as one"))
    }

    /// TPM2_PolicyPCR with the values that the registers have now.
    pub(crate) fn policy_pcr(&mut self, session: PolicySession, pcrs: &[u8]) -> Result<(), Refusal> {
        let now = Digest::default();
        let outcome = self.send(Encrypts::Command, |context| context.policy_pcr(session, now, selection(pcrs)));
        outcome.map_err(|error| self.fault("TPM2_PolicyPCR", error))
    }

    /// TPM2_PolicyAuthorize; false if the session is not in the approved state.
    pub(crate) fn policy_authorize(
        &mut self,
        session: PolicySession,
        approved: Digest,
        reference: &[u8],
        signer: &Name,
        ticket: VerifiedTicket,
    ) -> Result<bool, Refusal> {
        let reference = Nonce::try_from(reference).expect("checked before: it fits");
        match self.send(Encrypts::Command, |context| context.policy_authorize(session, approved, reference, signer, ticket)) {
            Ok(()) => Ok(true),
            Err(error) if blames_the_command(&error) => Ok(false),
            Err(error) => Err(self.fault("TPM2_PolicyAuthorize", error)),
        }
    }

    /// TPM2_PolicyAuthValue.
    pub(crate) fn policy_auth_value(&mut self, session: PolicySession) -> Result<(), Refusal> {
        self.send(Encrypts::Nothing, |context| context.policy_auth_value(session))
            .map_err(|error| self.fault("TPM2_PolicyAuthValue", error))
    }

    /// TPM2_Unseal under a policy session, with the object's PIN if it has one.
    pub(crate) fn unseal(&mut self, object: ObjectHandle, auth: Option<Auth>, session: PolicySession) -> Result<SensitiveData, Error> {
        if let Some(auth) = auth {
            self.context.tr_set_auth(object, auth)?;
        }
        Encrypts::Answer.set(&mut self.context, session.into())?;
        self.context.execute_with_session(Some(session.into()), |context| context.unseal(object))
    }
}

/// Values of registers.
pub(crate) struct Registers {
    values: Vec<(u8, Vec<u8>)>,
}

impl Registers {
    /// SHA-256 of the values of `pcrs`, in that order.
    pub(crate) fn digest_of(&self, pcrs: &[u8]) -> [u8; DIGEST_BYTES] {
        let value =
            |pcr: &u8| self.values.iter().find(|(register, _)| register == pcr).expect("every register asked for was read").1.as_slice();
        pcrs.iter().fold(Sha256::new(), |hash, pcr| hash.chain_update(value(pcr))).finalize().into()
    }
}

fn selection(pcrs: &[u8]) -> PcrSelectionList {
    let slots: Vec<PcrSlot> = pcrs.iter().map(|pcr| PcrSlot::try_from(1 << pcr).expect("checked before: 0 to 23")).collect();
    PcrSelectionList::builder().with_selection(HashingAlgorithm::Sha256, &slots).build().expect("three bytes hold 24 registers")
}
