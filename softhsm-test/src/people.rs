//! People who keep shards: identities of the real `age` program, or smart cards, which open what a slot holds for them.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use cipher::mac::sha3_256;
use data_encoding::{BASE32_NOPAD, BASE64};
use serde_json::Value;
use tempfile::TempDir;

use crate::card::Card;
use crate::core::Core;

const SHARD_PREFIX: &str = "SRSHARD1";
const CHECK_BYTES: usize = 4;

/// Some people, with an age identity or a card each.
pub struct People {
    dir: TempDir,
    cards: BTreeMap<String, Card>,
}

impl People {
    /// People of these names.
    ///
    /// # Panics
    /// If age is not installed.
    #[must_use]
    pub fn new(names: &[&str]) -> Self {
        let this = Self { dir: tempfile::tempdir().expect("a temporary folder"), cards: BTreeMap::new() };
        for name in names {
            let made = Command::new("age-keygen").arg("-o").arg(this.identity(name)).output();
            let made = made.unwrap_or_else(|error| panic!("cannot run age-keygen ({error}): apt-get install age"));
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        }
        this
    }

    /// Gives somebody a card instead of an identity.
    #[must_use]
    pub fn with_card(mut self, name: &str) -> Self {
        self.cards.insert(name.to_owned(), Card::new());
        self
    }

    /// Somebody's card.
    #[must_use]
    pub fn card(&self, name: &str) -> Option<&Card> {
        self.cards.get(name)
    }

    /// The name of the file that somebody gets who keeps the shard of a number.
    #[must_use]
    pub fn file_name(&self, point: usize, name: &str) -> String {
        format!("{point}-{name}.{}", if self.cards.contains_key(name) { "card" } else { "age" })
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

    /// Them as custodians of a configuration, and `board`, whose slots so many of them open.
    #[must_use]
    pub fn custodians(&self, names: &[&str], threshold: u8) -> String {
        let person = |name: &&str| match self.card(name) {
            Some(card) => card.custodian(name),
            None => format!("    - name: {name}\n      region: vault\n      age: {{recipient: {:?}}}\n", self.recipient(name)),
        };
        let each: String = names.iter().map(person).collect();
        format!("{each}    - name: board\n      shamir:\n        threshold: {threshold}\n        keepers: [{}]\n", names.join(", "))
    }

    /// The line that somebody reads who opens the file that a core has for them.
    ///
    /// # Panics
    /// If the slot is not split, or they keep nothing of it.
    #[must_use]
    pub fn shard(&self, core: &Core, slot: &str, name: &str) -> Vec<u8> {
        let split: Value = serde_json::from_str(&core.ask(&["--json", "slot", "shards", slot])).expect("JSON");
        let shards = split["shards"].as_array().expect("a list");
        let own = shards.iter().find(|shard| shard["keeper"] == name).expect("they keep one");
        let file = own["card_file"].as_str().or(own["age_file"].as_str()).expect("a person's");
        self.decrypted(name, &BASE64.decode(file.as_bytes()).expect("Base64"))
    }

    /// Has these people give their shards of a slot, one after the other; says what came of the last.
    ///
    /// # Panics
    /// If one is not taken.
    #[must_use]
    pub fn give(&self, core: &Core, slot: &str, names: &[&str]) -> String {
        let mut outcome = String::new();
        for name in names {
            let Output { status, stdout, stderr } = give_shard(core, &self.shard(core, slot, name));
            assert!(status.success(), "the shard of {name}: {}", String::from_utf8_lossy(&stderr));
            let taken: Value = serde_json::from_slice(&stdout).expect("JSON");
            outcome = taken["outcome"].as_str().expect("a text").to_owned();
        }
        outcome
    }

    /// What somebody sees who opens an age file, armored or not, or with their card the bytes of its file.
    ///
    /// # Panics
    /// If it is not for them.
    #[must_use]
    pub fn decrypted(&self, name: &str, file: &[u8]) -> Vec<u8> {
        if let Some(card) = self.card(name) {
            return card.decrypted(file);
        }
        let mut age = Command::new("age");
        age.arg("--decrypt").arg("--identity").arg(self.identity(name)).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut age = age.spawn().expect("age is there, age-keygen was");
        age.stdin.take().expect("it is piped").write_all(file).expect("age reads");
        let said = age.wait_with_output().expect("age ends");
        assert!(said.status.success(), "age refuses the file of {name}");
        said.stdout
    }
}

/// Gives a core a shard as its keeper would, on standard input.
///
/// # Panics
/// If `strongroom` is not built.
#[must_use]
pub fn give_shard(core: &Core, text: &[u8]) -> Output {
    let mut command = core.cli_command(&["--json", "unseal", "--shard", "-"]);
    let mut cli = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("strongroom is built");
    // One that has ended before says why.
    let _unread = cli.stdin.take().expect("it is piped").write_all(text);
    cli.wait_with_output().expect("it ends")
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
