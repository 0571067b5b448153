//! A private swtpm per test, the key that approves states of it, and the client for both.

mod approvals;
mod bus;
mod lockout;
mod recorder;
mod sealing;
mod unreachable;

use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use hsm::{DeviceError, DeviceProcess, Login, ProcessSettings, ReleaseKey, Tpm, TpmApproval, TpmPolicy, TpmSealed};
use secret::Bytes;
use softhsm_test::Swtpm;
use tempfile::TempDir;

use crate::fixture::{DEADLINE, PIN, PROGRAM, latches_in, login, pin};

/// The registers whose state is approved, unless a test says otherwise.
const PCRS: [u8; 2] = [7, 16];
const REFERENCE: &[u8] = b"slot 1, policy 1";
/// Found again in what is recorded on the bus.
const SECRET: &[u8; 32] = b"the secret that must not be seen";

/// A TPM, a directory for latches, a device process and a release key.
struct Platform {
    swtpm: Swtpm,
    latches: TempDir,
    device: DeviceProcess,
    release: Release,
}

impl Platform {
    fn new() -> Self {
        let latches = tempfile::tempdir().expect("a directory");
        let device = device(&latches, DEADLINE);
        Self { swtpm: Swtpm::new(), latches, device, release: Release::new() }
    }

    fn tpm(&self) -> Tpm {
        Tpm { tcti: self.swtpm.tcti() }
    }

    fn policy(&self, has_pin: bool) -> TpmPolicy {
        TpmPolicy { release_key: self.release.public(), reference: REFERENCE.to_vec(), has_pin }
    }

    /// An approval of the present state of these registers.
    fn approve(&self, pcrs: &[u8]) -> TpmApproval {
        let report = self.tpm().describe(&self.device, pcrs).expect("it is there");
        self.release.approve(pcrs, report.digest.expect("registers were asked for"), REFERENCE)
    }

    fn protect(&self) -> TpmSealed {
        self.tpm().protect(&self.device, None, &self.policy(false), &secret()).expect("the TPM seals")
    }

    fn protect_with_pin(&self, text: &str) -> TpmSealed {
        self.tpm().protect(&self.device, Some(login(&pin(text))), &self.policy(true), &secret()).expect("the TPM seals")
    }

    fn open(&self, approvals: &[TpmApproval], sealed: &TpmSealed) -> Result<Bytes, DeviceError> {
        self.tpm().open(&self.device, None, &self.policy(false), approvals.to_vec(), sealed)
    }

    fn open_with_pin(&self, text: &str, approvals: &[TpmApproval], sealed: &TpmSealed) -> Result<Bytes, DeviceError> {
        self.tpm().open(&self.device, Some(login(&pin(text))), &self.policy(true), approvals.to_vec(), sealed)
    }

    fn retry_with_pin(&self, text: &str, approvals: &[TpmApproval], sealed: &TpmSealed) -> Result<Bytes, DeviceError> {
        let login = Login { pin: &pin(text), retry_latched: true };
        self.tpm().open(&self.device, Some(login), &self.policy(true), approvals.to_vec(), sealed)
    }

    fn latch_count(&self) -> usize {
        latches_in(self.latches.path()).len()
    }
}

fn device(latches: &TempDir, deadline: Duration) -> DeviceProcess {
    DeviceProcess::new(ProcessSettings {
        program: PROGRAM.into(),
        latch_dir: latches.path().to_owned(),
        environment: std::collections::BTreeMap::new(),
        deadline,
    })
}

fn secret() -> Bytes {
    Bytes::init_with(SECRET.len(), |place| place.copy_from_slice(SECRET)).expect("the arena has room")
}

/// Who approves states of the platform: somewhere else, with software of their own.
struct Release {
    pair: EcdsaKeyPair,
}

impl Release {
    fn new() -> Self {
        Self { pair: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("keys can be made") }
    }

    fn public(&self) -> ReleaseKey {
        let point = self.pair.public_key().as_ref();
        let coordinate = |at| point[at..at + 32].try_into().expect("32 bytes");
        ReleaseKey { x: coordinate(1), y: coordinate(33) }
    }

    fn approve(&self, pcrs: &[u8], digest: [u8; 32], reference: &[u8]) -> TpmApproval {
        let mut approval = TpmApproval { pcrs: pcrs.to_vec(), digest, signature: Vec::new() };
        let message = [approval.approved_policy().as_slice(), reference].concat();
        approval.signature = self.pair.sign(&SystemRandom::new(), &message).expect("it signs").as_ref().to_vec();
        approval
    }
}
