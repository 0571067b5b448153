//! Why a job was not done: whose fault it is, and what to do about it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::latch::LatchState;
use crate::tpm::DIGEST_BYTES;

/// What the device process itself found wrong, told over the wire.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Refusal {
    // --- the operator's part: PIN, key, configuration -------------------------------------------------------------------
    /// The job needs a login and came without a PIN.
    #[error(
        "the token with serial `{serial}` wants a PIN and none was given: name a credential for it, or enter it with `strongroom unseal`"
    )]
    PinNeeded {
        /// Which token.
        serial: String,
    },
    /// The token refused the PIN; it is latched now.
    #[error(
        "the token with serial `{serial}` refused the PIN; it will not be tried again by itself: correct the PIN, then run `strongroom slot verify --retry-pin` (a typed PIN: `strongroom unseal --retry-pin`)"
    )]
    WrongPin {
        /// Which token.
        serial: String,
    },
    /// An earlier login is latched, so none was attempted.
    #[error("no login to the token with serial `{serial}`: {state}; check the PIN, then run `strongroom slot verify --retry-pin` or, for a typed PIN, `strongroom unseal --retry-pin` (latch: {})", latch.display())]
    Latched {
        /// Which token.
        serial: String,
        /// Why it is latched.
        state: LatchState,
        /// The latch file.
        latch: PathBuf,
    },
    /// The token says that its PIN is locked.
    #[error(
        "the PIN of the token with serial `{serial}` is locked: unlock it with the security officer's PIN and the vendor's tool, then run `strongroom slot verify --retry-pin`"
    )]
    PinLocked {
        /// Which token.
        serial: String,
    },
    /// No key of that name.
    #[error("no key with {key} on the token: make it with `strongroom slot add`, or correct the name")]
    KeyMissing {
        /// Label and id asked for.
        key: String,
    },
    /// More than one key of that name.
    #[error("{count} keys with {key} on the token: name the CKA_ID of the one that is meant")]
    KeyAmbiguous {
        /// Label and id asked for.
        key: String,
        /// How many.
        count: usize,
    },
    /// A key is to be made and one of that name is there.
    #[error("a key with {key} is on the token already: use it, or choose another label")]
    KeyExists {
        /// Label and id asked for.
        key: String,
    },
    /// The key may have a copy outside the token, or cannot do the work.
    #[error(
        "the key with {key} is not acceptable: {attribute} is not as it must be; use a key that was generated on the token and cannot leave it"
    )]
    KeyUnfit {
        /// Label and id asked for.
        key: String,
        /// The first attribute that is wrong.
        attribute: String,
    },

    /// The key that something was encrypted to is not on the token.
    #[error("this was not encrypted to a key of the token with serial `{serial}`, which has {keys} RSA keys: use the card of its keeper")]
    OtherCard {
        /// Which token.
        serial: String,
        /// How many it has.
        keys: usize,
    },

    // --- the environment: module and token ----------------------------------------------------------------------------------
    /// The module is not there, or is no PKCS#11 module.
    #[error("cannot use the PKCS#11 module {}: {reason}; check the path and that the vendor's package is installed; what the module writes to has to be in `seal.writes`", module.display())]
    ModuleUnusable {
        /// Its path.
        module: PathBuf,
        /// What the loader or the module said.
        reason: String,
    },
    /// No token of that name.
    #[error(
        "no token with {wanted} among the {seen} that the module shows: insert or connect it, or correct the name; a folder that the module keeps tokens in has to be in `seal.writes`"
    )]
    TokenMissing {
        /// What was asked for.
        wanted: String,
        /// How many initialised tokens there are.
        seen: usize,
    },
    /// More than one token of that name.
    #[error("{count} tokens with {wanted}: name the one that is meant by its serial number")]
    TokenAmbiguous {
        /// What was asked for.
        wanted: String,
        /// How many.
        count: usize,
    },
    /// The token cannot do what the task needs.
    #[error("the token does not offer {mechanism}: use another token, or a key of the other kind")]
    MechanismMissing {
        /// The PKCS#11 name.
        mechanism: String,
    },
    /// The TPM cannot be spoken to.
    #[error("cannot use the TPM at {tcti}: {reason}; check the path, and that the daemon's user may open it")]
    TpmUnusable {
        /// How it was to be reached.
        tcti: String,
        /// What tpm2-tss said.
        reason: String,
    },
    /// Another TPM than the secret was sealed to, or somebody in between who passes for it.
    #[error("the TPM is another one than the slot was made on, or it was cleared: its storage root key has another name; use another slot")]
    WrongTpm,
    /// Nobody has approved the state in which the platform is.
    #[error(
        "the platform is in a state that was not approved ({}): if that is meant, have the release key's holder run `strongroom slot tpm-policy sign`, and install the result with `strongroom slot tpm-policy approve`",
        describe_states(states)
    )]
    NotApproved {
        /// Per set of registers that approvals speak of: the set and its digest now.
        states: Vec<(Vec<u8>, [u8; DIGEST_BYTES])>,
    },
    /// The TPM refuses all PINs for a while.
    #[error(
        "the TPM is in lockout after wrong PINs: wait until it lets go, or clear it with its lockout password; nothing is tried again by itself"
    )]
    TpmLockedOut,
    /// A call failed, and the device is to blame.
    #[error(
        "the device failed in {call}: {code}; check the token and its connection, then try again; what its module writes to has to be in `seal.writes`"
    )]
    DeviceFault {
        /// The PKCS#11 function, or the TPM's command.
        call: String,
        /// The return value's name.
        code: String,
    },
    /// The latch could not be read or written, or no turn at the module be had; no login was attempted.
    #[error("no login was attempted, because the wrong-PIN latch {} cannot be kept: {reason}; repair that directory", latch.display())]
    LatchUnusable {
        /// The latch file, or its directory.
        latch: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The device process could not make itself safe, or has no locked memory left.
    #[error("the device process could not protect its memory: {reason}; raise LimitMEMLOCK= of the unit")]
    Unprotected {
        /// What failed.
        reason: String,
    },

    // --- stored data, caller ------------------------------------------------------------------------------------------------
    /// What was to be opened does not verify: altered, of another key, or under other associated data.
    #[error("the token does not open this: it was altered, or protected by another key or for another slot; use another slot")]
    BadCiphertext,
    /// The job makes no sense to the device process.
    #[error("the device process refused the job: {reason}; daemon and strongroom-device must be of the same release")]
    BadJob {
        /// What is wrong.
        reason: String,
    },
}

/// Why there is no reply to a job.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The device process did its part and refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The device process could not be started.
    #[error("cannot start the device process {}: {source}; install it there, or correct the path", program.display())]
    NotStarted {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The device process ended without an answer: nearly always a crash in the vendor's module.
    #[error("the device process {}: a fault in the device's software is likely; nothing was tried again", describe_end(*signal, *code))]
    Died {
        /// The signal that ended it.
        signal: Option<i32>,
        /// Its exit code.
        code: Option<i32>,
    },
    /// The device process was killed at the deadline.
    #[error("the device did not answer within {} ms; its process was killed; check the token and its connection", deadline.as_millis())]
    TimedOut {
        /// The deadline.
        deadline: Duration,
    },
    /// What the device process sent is not an answer to the job.
    #[error("the device process sent {what}; daemon and strongroom-device must be of the same release")]
    Garbled {
        /// What was wrong with it.
        what: &'static str,
    },
    /// A secret or a field of the job is longer than the wire carries.
    #[error("the job was not sent: {what}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
    },
    /// The socket to the device process failed.
    #[error("no socket to the device process: {source}")]
    Socket {
        /// What the system said.
        source: io::Error,
    },
    /// No locked memory for the answer.
    #[error(transparent)]
    Exhausted(#[from] secret::Exhausted),
}

fn describe_states(states: &[(Vec<u8>, [u8; DIGEST_BYTES])]) -> String {
    let one = |(pcrs, digest): &(Vec<u8>, [u8; DIGEST_BYTES])| {
        let pcrs: Vec<String> = pcrs.iter().map(ToString::to_string).collect();
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha256:{} has digest {digest}", pcrs.join(","))
    };
    if states.is_empty() { "there is no approval at all".to_owned() } else { states.iter().map(one).collect::<Vec<_>>().join("; ") }
}

fn describe_end(signal: Option<i32>, code: Option<i32>) -> String {
    match (signal, code) {
        (Some(signal), _) => format!("was ended by signal {signal}"),
        (None, Some(code)) => format!("exited with code {code} and no answer"),
        (None, None) => "ended without an answer".to_owned(),
    }
}
