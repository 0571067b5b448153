//! A token in memory, for cases that need thousands of jobs, and a wrapper that fails or dies at a chosen job.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cipher::aead::{Aead, TAG_BYTES};
use hsm::{Answer, Device, DeviceError, Job, KeyKind, Protected, Refusal, Reply, Scheme, Secrets, Task, TokenReport, Work};
use secret::Bytes;

/// One token with AES keys by label. Any PIN is right.
#[derive(Default)]
pub(crate) struct FakeToken {
    keys: Mutex<BTreeMap<String, [u8; 32]>>,
    jobs: AtomicUsize,
}

impl FakeToken {
    /// How many jobs there were.
    pub(crate) fn jobs(&self) -> usize {
        self.jobs.load(Ordering::SeqCst)
    }

    fn key(&self, label: &str) -> Result<[u8; 32], Refusal> {
        let keys = self.keys.lock().expect("no job panics");
        keys.get(label).copied().ok_or_else(|| Refusal::KeyMissing { key: label.to_owned() })
    }

    fn open(&self, label: &str, aad: &[u8], protected: &Protected) -> Result<Bytes, Refusal> {
        let key = self.key(label)?;
        let Scheme::AesGcm { iv } = &protected.scheme else { return Err(Refusal::BadCiphertext) };
        let (ciphertext, tag) = protected.ciphertext.split_last_chunk::<TAG_BYTES>().ok_or(Refusal::BadCiphertext)?;
        let mut plain = ciphertext.to_vec();
        Aead::Aes256Gcm.open_in_place(&key, iv, aad, &mut plain, tag).map_err(|_| Refusal::BadCiphertext)?;
        Ok(Bytes::init_with(plain.len(), |place| place.copy_from_slice(&plain)).expect("the arena has room"))
    }

    fn protect(&self, label: &str, aad: &[u8], payload: &Bytes) -> Result<Protected, Refusal> {
        let (key, iv) = (self.key(label)?, [9; 12]);
        let mut ciphertext = payload.expose(<[u8]>::to_vec);
        let tag = Aead::Aes256Gcm.seal_in_place(&key, &iv, aad, &mut ciphertext).expect("short enough");
        ciphertext.extend_from_slice(&tag);
        Ok(Protected { scheme: Scheme::AesGcm { iv }, ciphertext })
    }
}

fn report() -> TokenReport {
    TokenReport {
        label: "seal".to_owned(),
        serial: "f00d".to_owned(),
        model: "fake".to_owned(),
        key_kinds: vec![KeyKind::Aes256],
        pin_count_low: false,
        pin_final_try: false,
        pin_locked: false,
    }
}

impl Device for FakeToken {
    fn run(&self, job: &Job, secrets: Secrets<'_>) -> Result<Reply, DeviceError> {
        self.jobs.fetch_add(1, Ordering::SeqCst);
        let plain = |answer| Ok(Reply { answer, secret: None });
        let Work::Token { task, .. } = &job.work else { panic!("a token has no TPM's work") };
        match task {
            Task::Describe => plain(Answer::Described(report())),
            Task::MakeKey { key, .. } => {
                self.keys.lock().expect("no job panics").insert(key.label.clone(), [0x5A; 32]);
                plain(Answer::KeyMade)
            }
            Task::Protect { key, aad } => {
                let payload = secrets.payload.expect("there is something to protect");
                plain(Answer::Protected(self.protect(&key.label, aad, payload)?))
            }
            Task::Open { key, aad, protected } => {
                Ok(Reply { answer: Answer::Opened, secret: Some(self.open(&key.label, aad, protected)?) })
            }
            Task::Decipher { .. } => panic!("no slot has a card of this machine"),
        }
    }
}

/// What happens at the chosen job.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// The device does not answer.
    TimesOut,
    /// The daemon itself dies; the test catches the panic where the power would fail.
    Dies,
}

/// A device that works until the chosen job, which is not done.
pub(crate) struct Faulty {
    pub(crate) inner: Arc<dyn Device>,
    pub(crate) left: AtomicUsize,
    pub(crate) fault: Fault,
}

impl Device for Faulty {
    fn run(&self, job: &Job, secrets: Secrets<'_>) -> Result<Reply, DeviceError> {
        let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        match (left, self.fault) {
            (Ok(_), _) => self.inner.run(job, secrets),
            (Err(_), Fault::TimesOut) => Err(DeviceError::TimedOut { deadline: Duration::ZERO }),
            (Err(_), Fault::Dies) => panic!("the daemon dies at this job"),
        }
    }
}
