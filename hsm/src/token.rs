//! The tasks as methods of [`Token`]: each builds the job, runs it on a device and checks that the answer fits.

use secret::Bytes;

use crate::{Answer, Device, DeviceError, Job, KeyKind, KeyName, Oaep, Protected, Reply, Secrets, Task, Token, TokenReport, Work};

/// What a job logs in with.
#[derive(Debug, Clone, Copy)]
pub struct Login<'a> {
    /// The user PIN.
    pub pin: &'a Bytes,
    /// Try it once although the token is latched: only when a person said so. A good login removes the latch.
    pub retry_latched: bool,
}

impl Token {
    /// Says what token this is and what it can do, without logging in.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn describe(&self, device: &dyn Device) -> Result<TokenReport, DeviceError> {
        let job = Job { work: Work::Token { token: self.clone(), task: Task::Describe }, retry_pin: false };
        match device.run(&job, Secrets::default())?.answer {
            Answer::Described(report) => Ok(report),
            _ => Err(MISFIT),
        }
    }

    /// Makes a key that cannot leave the token.
    ///
    /// # Errors
    /// `KeyExists`, `MechanismMissing`, `KeyUnfit` (the token made it otherwise than asked), and what a login can bring.
    pub fn make_key(&self, device: &dyn Device, login: Login<'_>, key: &KeyName, kind: KeyKind) -> Result<(), DeviceError> {
        match self.run(device, login, Task::MakeKey { key: key.clone(), kind }, None)?.answer {
            Answer::KeyMade => Ok(()),
            _ => Err(MISFIT),
        }
    }

    /// Protects a secret of 1 to 96 bytes under a key of the token; `aad` must be presented again to open it.
    ///
    /// # Errors
    /// `KeyMissing`, `KeyAmbiguous`, `KeyUnfit`, `MechanismMissing`, and what a login can bring.
    pub fn protect(
        &self,
        device: &dyn Device,
        login: Login<'_>,
        key: &KeyName,
        aad: &[u8],
        secret: &Bytes,
    ) -> Result<Protected, DeviceError> {
        match self.run(device, login, Task::Protect { key: key.clone(), aad: aad.to_vec() }, Some(secret))?.answer {
            Answer::Protected(protected) => Ok(protected),
            _ => Err(MISFIT),
        }
    }

    /// Opens what [`Token::protect`] returned, into locked memory.
    ///
    /// # Errors
    /// `BadCiphertext`, `DeviceFault` if it is the device that fails, the key errors of `protect`, and what a login can bring.
    pub fn open(
        &self,
        device: &dyn Device,
        login: Login<'_>,
        key: &KeyName,
        aad: &[u8],
        protected: &Protected,
    ) -> Result<Bytes, DeviceError> {
        let task = Task::Open { key: key.clone(), aad: aad.to_vec(), protected: protected.clone() };
        match self.run(device, login, task, None)? {
            Reply { answer: Answer::Opened, secret: Some(secret) } => Ok(secret),
            _ => Err(MISFIT),
        }
    }

    /// Decrypts what somebody else has encrypted to the public half of a key of the token, into locked memory.
    ///
    /// # Errors
    /// `OtherCard`, `BadCiphertext`, `MechanismMissing`, and what a login can bring.
    pub fn decipher(
        &self,
        device: &dyn Device,
        login: Login<'_>,
        modulus_sha256: [u8; 32],
        oaep: Oaep,
        ciphertext: &[u8],
    ) -> Result<Bytes, DeviceError> {
        let task = Task::Decipher { modulus_sha256, oaep, ciphertext: ciphertext.to_vec() };
        match self.run(device, login, task, None)? {
            Reply { answer: Answer::Opened, secret: Some(secret) } => Ok(secret),
            _ => Err(MISFIT),
        }
    }

    fn run(&self, device: &dyn Device, login: Login<'_>, task: Task, payload: Option<&Bytes>) -> Result<Reply, DeviceError> {
        let job = Job { work: Work::Token { token: self.clone(), task }, retry_pin: login.retry_latched };
        device.run(&job, Secrets { pin: Some(login.pin), payload })
    }
}

pub(crate) const MISFIT: DeviceError = DeviceError::Garbled { what: "an answer to another task" };
