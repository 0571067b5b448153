//! Devices that keep a key for us: what can be asked of one, the wire to the process that talks to it, and the client that starts that process.
//!
//! No foreign code runs here. A PKCS#11 module is loaded, and a TPM spoken to, by `strongroom-device` (the crate in `helper`), which [`DeviceProcess`] starts afresh
//! for every job, over a socket that is the child's standard input; it logs in once, works, answers and exits (C14). What is slow, hangs or
//! crashes is that process, never the daemon. Everything blocks: call it from a thread that may.
//!
//! Why nothing is retried: a second try with a wrong PIN can lock a token for good, and a fault that goes away by itself is better seen.

mod error;
mod job;
pub mod latch;
mod process;
mod token;
mod tpm;
pub mod wire;

pub use error::{DeviceError, Refusal};
pub use job::{Answer, Job, KeyKind, KeyName, Oaep, Order, Protected, SECRET_BYTES_MAX, Scheme, Task, Token, TokenName, TokenReport, Work};
pub use process::{DeviceProcess, ProcessSettings};
pub use token::Login;
pub use tpm::{
    APPROVALS_MAX, DIGEST_BYTES, PCRS_MAX, REFERENCE_BYTES_MAX, ReleaseKey, SIGNATURE_BYTES, Tpm, TpmApproval, TpmPolicy, TpmReport,
    TpmSealed, TpmTask,
};

use secret::Bytes;

/// The secrets that travel with a job, beside it and never inside it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Secrets<'a> {
    /// The user PIN, or that of an object in a TPM; a job without one does not log in.
    pub pin: Option<&'a Bytes>,
    /// What [`Task::Protect`] or [`TpmTask::Protect`] protects: 1 to [`SECRET_BYTES_MAX`] bytes.
    pub payload: Option<&'a Bytes>,
}

/// What came back from a job.
#[derive(Debug)]
pub struct Reply {
    /// The answer that fits the task.
    pub answer: Answer,
    /// The secret that was opened.
    pub secret: Option<Bytes>,
}

/// Something that does jobs on a key device; [`DeviceProcess`] in the product, a fake in tests.
///
/// The methods of [`Token`] and [`Tpm`] are the comfortable way to use one.
pub trait Device: Send + Sync {
    /// Does one job, once, and returns when it is done, refused or past its deadline.
    ///
    /// # Errors
    /// [`DeviceError`], by culprit.
    fn run(&self, job: &Job, secrets: Secrets<'_>) -> Result<Reply, DeviceError>;
}
