//! People who keep shards: identities of the real `age` program, which open what a slot holds for them.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use cipher::mac::sha3_256;
use data_encoding::BASE32_NOPAD;
use tempfile::TempDir;

const SHARD_PREFIX: &str = "SRSHARD1";
const CHECK_BYTES: usize = 4;

/// Some people, with an age identity each.
pub struct People {
    dir: TempDir,
}

impl People {
    /// People of these names.
    ///
    /// # Panics
    /// If age is not installed.
    #[must_use]
    pub fn new(names: &[&str]) -> Self {
        let this = Self { dir: tempfile::tempdir().expect("a temporary folder") };
        for name in names {
            let made = Command::new("age-keygen").arg("-o").arg(this.identity(name)).output();
            let made = made.unwrap_or_else(|error| panic!("cannot run age-keygen ({error}): apt-get install age"));
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        }
        this
    }

    /// The file of somebody's identity.
    #[must_use]
    pub fn identity(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What is encrypted to, as the configuration has it.
    ///
    /// # Panics
    /// If there is nobody of that name.
    #[must_use]
    pub fn recipient(&self, name: &str) -> String {
        let file = fs::read_to_string(self.identity(name)).expect("age-keygen wrote it");
        file.lines().find_map(|line| line.strip_prefix("# public key: ")).expect("age-keygen tells it").to_owned()
    }

    /// What somebody sees who opens an age file, armored or not.
    ///
    /// # Panics
    /// If it is not for them.
    #[must_use]
    pub fn decrypted(&self, name: &str, file: &[u8]) -> Vec<u8> {
        let mut age = Command::new("age");
        age.arg("--decrypt").arg("--identity").arg(self.identity(name)).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut age = age.spawn().expect("age is there, age-keygen was");
        age.stdin.take().expect("it is piped").write_all(file).expect("age reads");
        let said = age.wait_with_output().expect("age ends");
        assert!(said.status.success(), "age refuses the file of {name}");
        said.stdout
    }
}

/// The text of a shard with another share in it and a right checksum.
///
/// # Panics
/// If it is no shard.
#[must_use]
pub fn altered_shard(text: &[u8]) -> Vec<u8> {
    let packed: String = String::from_utf8_lossy(text).chars().filter(char::is_ascii_alphanumeric).collect();
    let mut bytes = BASE32_NOPAD.decode(packed.strip_prefix(SHARD_PREFIX).expect("its prefix").as_bytes()).expect("Base32");
    let check_at = bytes.len() - CHECK_BYTES;
    bytes[check_at - 1] ^= 1;
    let check = sha3_256(&bytes[..check_at]);
    bytes[check_at..].copy_from_slice(&check[..CHECK_BYTES]);
    format!("{SHARD_PREFIX}{}", BASE32_NOPAD.encode(&bytes)).into_bytes()
}
