//! What can be asked of a TPM 2.0, and what it answers; the tasks as methods of [`Tpm`].
//!
//! A secret is sealed to the TPM under a policy that a **release key** governs (TPM 2.0 Library, part 3, TPM2_PolicyAuthorize): it opens in those states of
//! the platform for which the holder of that key has signed an [`TpmApproval`], and a new state needs a new signature and no new seal.

use secret::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::token::MISFIT;
use crate::{Answer, Device, DeviceError, Job, Login, Reply, Secrets, Work};

/// Bytes of a SHA-256 digest.
pub const DIGEST_BYTES: usize = 32;
/// Most registers of an approval; a TPM has 24.
pub const PCRS_MAX: usize = 24;
/// Most approvals that go with one job.
pub const APPROVALS_MAX: usize = 32;
/// Most bytes of [`TpmPolicy::reference`]. A TPM whose longest digest is SHA-256 takes 32 at most.
pub const REFERENCE_BYTES_MAX: usize = 64;
/// Bytes of [`TpmApproval::signature`].
pub const SIGNATURE_BYTES: usize = 64;

/// TPM_CC_PolicyPCR.
const POLICY_PCR: [u8; 4] = 0x17Fu32.to_be_bytes();
/// A TPML_PCR_SELECTION up to its bitmap: one selection, TPM_ALG_SHA256, a bitmap of three bytes.
const ONE_SHA256_SELECTION: [u8; 7] = [0, 0, 0, 1, 0x00, 0x0B, 3];

/// A TPM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tpm {
    /// How it is reached, as tpm2-tss names it: `device:/dev/tpmrm0`, `swtpm:host=127.0.0.1,port=2321`. From root-owned configuration only.
    pub tcti: String,
}

/// A public key of ECDSA on P-256: the affine coordinates, big-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseKey {
    /// x.
    pub x: [u8; 32],
    /// y.
    pub y: [u8; 32],
}

/// Under what a secret opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TpmPolicy {
    /// Who approves states of the platform.
    pub release_key: ReleaseKey,
    /// What an approval must have been signed for, beside the state; at most [`REFERENCE_BYTES_MAX`].
    pub reference: Vec<u8>,
    /// The object has a PIN, which the TPM asks for in every state, and counts wrong ones of (dictionary attack protection).
    pub has_pin: bool,
}

/// A signed state of the platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TpmApproval {
    /// The registers of the SHA-256 bank, ascending, each once; 1 to [`PCRS_MAX`] of 0 to 23.
    pub pcrs: Vec<u8>,
    /// SHA-256 of their values, in that order.
    pub digest: [u8; DIGEST_BYTES],
    /// ECDSA by the release key over SHA-256(policy digest of TPM2_PolicyPCR with these | [`TpmPolicy::reference`]): r and s, 32 bytes each.
    pub signature: Vec<u8>,
}

impl TpmApproval {
    /// The policy digest that TPM2_PolicyPCR makes of a new session when the registers have these values (part 3, 23.7):
    /// SHA-256(32 zeros | TPM_CC_PolicyPCR | TPML_PCR_SELECTION | digest).
    ///
    /// Registers above 23 are left out; the device process refuses an approval that names one.
    #[must_use]
    pub fn approved_policy(&self) -> [u8; DIGEST_BYTES] {
        let mut bitmap = [0u8; 3];
        for pcr in &self.pcrs {
            if let Some(byte) = bitmap.get_mut(usize::from(pcr / 8)) {
                *byte |= 1 << (pcr % 8);
            }
        }
        let empty = Sha256::new().chain_update([0; DIGEST_BYTES]).chain_update(POLICY_PCR);
        empty.chain_update(ONE_SHA256_SELECTION).chain_update(bitmap).chain_update(self.digest).finalize().into()
    }

    /// What the release key signs by ECDSA: SHA-256([`Self::approved_policy`] | reference).
    #[must_use]
    pub fn digest_to_sign(&self, reference: &[u8]) -> [u8; DIGEST_BYTES] {
        Sha256::new().chain_update(self.approved_policy()).chain_update(reference).finalize().into()
    }

    /// Whether the registers are 1 to [`PCRS_MAX`] of 0 to 23, ascending, each once, and the signature has its length.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        let ascending = self.pcrs.is_sorted_by(|one, next| one < next);
        let known = self.pcrs.last().is_some_and(|last| usize::from(*last) < PCRS_MAX);
        ascending && known && self.signature.len() == SIGNATURE_BYTES
    }
}

/// A secret as the TPM sealed it. Not secret itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TpmSealed {
    /// TPM Name of the storage root key: every session is salted to the key of that name and no other (C13).
    pub root_name: Vec<u8>,
    /// TPM2B_PUBLIC's contents.
    pub public: Vec<u8>,
    /// TPM2B_PRIVATE's contents.
    pub private: Vec<u8>,
}

/// One piece of work on a TPM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TpmTask {
    /// Say what TPM this is and how the platform stands.
    Describe {
        /// The registers whose digest is wanted; none: no digest.
        pcrs: Vec<u8>,
    },
    /// Seal the payload.
    Protect {
        /// Under what it is to open; with a PIN, the job's PIN becomes the object's.
        policy: TpmPolicy,
    },
    /// Open what was sealed.
    Open {
        /// As at sealing.
        policy: TpmPolicy,
        /// The states that were approved; at most [`APPROVALS_MAX`].
        approvals: Vec<TpmApproval>,
        /// What sealing returned.
        sealed: TpmSealed,
    },
}

/// What a TPM says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TpmReport {
    /// Manufacturer and vendor string.
    pub model: String,
    /// TPM Name of its storage root key, by which this TPM is known.
    pub root_name: Vec<u8>,
    /// SHA-256 of the values of the registers that were asked for.
    pub digest: Option<[u8; DIGEST_BYTES]>,
    /// Wrong PINs that it counts now.
    pub lockout_counter: u32,
    /// At so many it refuses every PIN for a while.
    pub lockout_max: u32,
}

impl Tpm {
    /// Says what TPM this is, and the digest of these registers of the SHA-256 bank.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn describe(&self, device: &dyn Device, pcrs: &[u8]) -> Result<TpmReport, DeviceError> {
        match self.run(device, None, TpmTask::Describe { pcrs: pcrs.to_vec() }, None)?.answer {
            Answer::TpmDescribed(report) => Ok(report),
            _ => Err(MISFIT),
        }
    }

    /// Seals a secret of 1 to 96 bytes; the PIN of `login`, if there is one, becomes the sealed object's.
    ///
    /// # Errors
    /// `TpmUnusable`, `DeviceFault`.
    pub fn protect(
        &self,
        device: &dyn Device,
        login: Option<Login<'_>>,
        policy: &TpmPolicy,
        secret: &Bytes,
    ) -> Result<TpmSealed, DeviceError> {
        match self.run(device, login, TpmTask::Protect { policy: policy.clone() }, Some(secret))?.answer {
            Answer::TpmSealed(sealed) => Ok(sealed),
            _ => Err(MISFIT),
        }
    }

    /// Opens what [`Tpm::protect`] returned, into locked memory.
    ///
    /// # Errors
    /// `WrongTpm`, `NotApproved`, `TpmLockedOut`, `WrongPin`, `Latched`, `BadCiphertext`, `TpmUnusable`, `DeviceFault`.
    pub fn open(
        &self,
        device: &dyn Device,
        login: Option<Login<'_>>,
        policy: &TpmPolicy,
        approvals: Vec<TpmApproval>,
        sealed: &TpmSealed,
    ) -> Result<Bytes, DeviceError> {
        let task = TpmTask::Open { policy: policy.clone(), approvals, sealed: sealed.clone() };
        match self.run(device, login, task, None)? {
            Reply { answer: Answer::Opened, secret: Some(secret) } => Ok(secret),
            _ => Err(MISFIT),
        }
    }

    fn run(&self, device: &dyn Device, login: Option<Login<'_>>, task: TpmTask, payload: Option<&Bytes>) -> Result<Reply, DeviceError> {
        let retry_pin = login.is_some_and(|login| login.retry_latched);
        let job = Job { work: Work::Tpm { tpm: self.clone(), task }, retry_pin };
        device.run(&job, Secrets { pin: login.map(|login| login.pin), payload })
    }
}
