//! What can be asked of a device, and what it answers: the public half of the wire. Here that of a PKCS#11 token; a TPM's is in [`crate::tpm`].

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::tpm::{Tpm, TpmReport, TpmSealed, TpmTask};

/// Most bytes of one secret that a device protects: a shard has 66; a TPM takes 128.
pub const SECRET_BYTES_MAX: usize = 96;

/// A token: the module that drives it, and how to find it among the tokens that the module shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Absolute path of the PKCS#11 module (`.so`). From root-owned configuration only.
    pub module: PathBuf,
    /// Which of its tokens.
    pub name: TokenName,
}

/// How a token is named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TokenName {
    /// `CKA_LABEL` of the token: convenient, and copied by whoever initialises a second token alike.
    Label(String),
    /// Its serial number, as the module reports it.
    Serial(String),
}

impl std::fmt::Display for TokenName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Label(label) => write!(f, "label `{label}`"),
            Self::Serial(serial) => write!(f, "serial `{serial}`"),
        }
    }
}

/// How a key on the token is named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyName {
    /// `CKA_LABEL`.
    pub label: String,
    /// `CKA_ID`; where it is given, both must match.
    pub id: Option<Vec<u8>>,
}

/// What kind of key a token keeps for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyKind {
    /// AES-256, used with `CKM_AES_GCM`.
    Aes256,
    /// RSA of 3072 bits, used with `CKM_RSA_PKCS_OAEP`: for tokens without GCM.
    Rsa3072,
}

/// How a secret was protected; stored beside it, because opening it needs the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scheme {
    /// AES-256-GCM, 128-bit tag at the end of the ciphertext.
    AesGcm {
        /// The nonce, random per protection.
        iv: [u8; 12],
    },
    /// RSA-OAEP with SHA-256 and MGF1-SHA-256 over SHA-256(AAD) and the secret.
    RsaOaepSha256,
    /// RSA-OAEP with SHA-1 and MGF1-SHA-1, where the token has only that; same plaintext. OAEP does not rest on SHA-1's collision resistance.
    RsaOaepSha1,
}

/// A secret as the token protected it. Not secret itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protected {
    /// How.
    pub scheme: Scheme,
    /// What the token returned.
    pub ciphertext: Vec<u8>,
}

/// The hash of RSA-OAEP, which MGF1 uses too; there is no label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Oaep {
    /// SHA-256.
    Sha256,
    /// SHA-1, for tokens that have only that.
    Sha1,
}

/// One piece of work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Task {
    /// Say what token this is and what it can do. Needs no PIN, and does not log in.
    Describe,
    /// Make a key that cannot leave the token; refused if the name is taken.
    MakeKey {
        /// Its name to be.
        key: KeyName,
        /// Its kind.
        kind: KeyKind,
    },
    /// Protect the payload under a key.
    Protect {
        /// The key.
        key: KeyName,
        /// What must be presented again to open it; not stored.
        aad: Vec<u8>,
    },
    /// Open what was protected.
    Open {
        /// The key.
        key: KeyName,
        /// As at protection.
        aad: Vec<u8>,
        /// What protection returned.
        protected: Protected,
    },
    /// Decrypt what somebody else has encrypted to the public half of an RSA key: a shard for the holder of a card.
    Decipher {
        /// Which key, whatever it is called: SHA-256 of its modulus without leading zeros.
        modulus_sha256: [u8; 32],
        /// How it was encrypted.
        oaep: Oaep,
        /// What was encrypted; up to 256 bytes come out.
        ciphertext: Vec<u8>,
    },
}

/// One task on one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Work {
    /// On a PKCS#11 token.
    Token {
        /// Where.
        token: Token,
        /// What.
        task: Task,
    },
    /// On a TPM 2.0.
    Tpm {
        /// Where.
        tpm: Tpm,
        /// What.
        task: TpmTask,
    },
}

/// One piece of work, and what a person said of its PIN.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// What is to be done, and where.
    pub work: Work,
    /// Try the PIN once although it is latched: a person said so (`strongroom slot verify --retry-pin`).
    pub retry_pin: bool,
}

/// A job as it goes to the device process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The job.
    pub job: Job,
    /// Where the wrong-PIN latches are.
    pub latch_dir: PathBuf,
}

/// What a token says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenReport {
    /// Label, without padding.
    pub label: String,
    /// Serial number, without padding.
    pub serial: String,
    /// Manufacturer and model.
    pub model: String,
    /// The kind of key to make on it, best first; empty if it can do neither.
    pub key_kinds: Vec<KeyKind>,
    /// A wrong PIN was tried since the last good login, as far as the token tells.
    pub pin_count_low: bool,
    /// The next wrong PIN locks it.
    pub pin_final_try: bool,
    /// The PIN is locked.
    pub pin_locked: bool,
}

/// What a job answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// To [`Task::Describe`].
    Described(TokenReport),
    /// To [`Task::MakeKey`]: it is there, and it is what was asked for.
    KeyMade,
    /// To [`Task::Protect`].
    Protected(Protected),
    /// To [`Task::Open`], [`Task::Decipher`] and [`TpmTask::Open`]; the secret travels beside it.
    Opened,
    /// To [`TpmTask::Describe`].
    TpmDescribed(TpmReport),
    /// To [`TpmTask::Protect`].
    TpmSealed(TpmSealed),
}
