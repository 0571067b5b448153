//! A smart card, played by a token of SoftHSM that has an RSA key pair of its own.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::core::Core;
use crate::softhsm::{LABEL, MODULE, PIN, SoftHsm};

/// Its only key pair.
const KEY_ID: &str = "0c";
/// What precedes the ciphertext in a shard's file: magic, hash, digest of the key.
const HEAD_BYTES: usize = 37;

/// A card and its reader; the token is called [`LABEL`].
pub struct Card {
    /// The reader.
    pub hsm: SoftHsm,
}

impl Default for Card {
    fn default() -> Self {
        Self::new()
    }
}

impl Card {
    /// With a key pair of 2048 bits.
    ///
    /// # Panics
    /// If SoftHSM or OpenSC is not installed.
    #[must_use]
    pub fn new() -> Self {
        let this = Self { hsm: SoftHsm::new() };
        let _made = this.tool(&["--login", "--pin", PIN, "--keypairgen", "--key-type", "rsa:2048", "--id", KEY_ID, "--label", "card"]);
        this
    }

    /// The public half in DER, as SubjectPublicKeyInfo.
    ///
    /// # Panics
    /// If the token is away.
    #[must_use]
    pub fn spki(&self) -> Vec<u8> {
        let file = self.hsm.latch_dir().join("spki.der");
        let _written = self.tool(&["--read-object", "--type", "pubkey", "--id", KEY_ID, "--output-file", &file.display().to_string()]);
        fs::read(file).expect("pkcs11-tool wrote it")
    }

    /// Its holder as a custodian of a configuration. SoftHSM has OAEP with SHA-1 only.
    ///
    /// # Panics
    /// If the token is away.
    #[must_use]
    pub fn custodian(&self, name: &str) -> String {
        let base64 = data_encoding::BASE64.encode(&self.spki());
        let lines: String = base64.as_bytes().chunks(64).map(|line| format!("          {}\n", String::from_utf8_lossy(line))).collect();
        format!(
            "    - name: {name}\n      region: pocket\n      card:\n        oaep: sha1\n        public_key: |\n          -----BEGIN PUBLIC KEY-----\n{lines}          \
             -----END PUBLIC KEY-----\n"
        )
    }

    /// What the card makes of a shard's file, armored or not, by a program that is none of ours.
    ///
    /// # Panics
    /// If it does not open it, or it is none.
    #[must_use]
    pub fn decrypted(&self, file: &[u8]) -> Vec<u8> {
        let [encrypted, opened] = ["encrypted", "opened"].map(|name| self.hsm.latch_dir().join(name));
        fs::write(&encrypted, &unarmored(file)[HEAD_BYTES..]).expect("writable");
        let [from, to] = [&encrypted, &opened].map(|path| path.display().to_string());
        let oaep = ["--mechanism", "RSA-PKCS-OAEP", "--hash-algorithm", "SHA-1", "--mgf", "MGF1-SHA1"];
        let files = ["--decrypt", "--id", KEY_ID, "--input-file", &from, "--output-file", &to, "--login", "--pin", PIN];
        let _opened = self.tool(&[&files[..], &oaep].concat());
        fs::read(opened).expect("pkcs11-tool wrote it")
    }

    /// The command by which its holder gives a core the shard in a file, not started yet.
    #[must_use]
    pub fn give_command(&self, core: &Core, file: &Path, token: &str) -> Command {
        let [file, pin] = [file, &self.hsm.pin_file()].map(|path| path.display().to_string());
        let arguments = ["--json", "unseal", "--shard", &file, "--card", MODULE, "--token", token, "--pin-file", &pin];
        let mut command = core.cli_command(&arguments);
        command.envs(self.hsm.environment());
        command
    }

    /// Has its holder give a core the shard in a file.
    ///
    /// # Panics
    /// If `strongroom` is not built.
    #[must_use]
    pub fn give(&self, core: &Core, file: &Path) -> Output {
        self.give_command(core, file, LABEL).output().expect("strongroom is built")
    }

    fn tool(&self, arguments: &[&str]) -> Vec<u8> {
        let mut tool = Command::new("pkcs11-tool");
        tool.args(["--module", MODULE, "--token-label", LABEL]).args(arguments).envs(self.hsm.environment());
        let run = tool.output().unwrap_or_else(|error| panic!("cannot run pkcs11-tool ({error}): apt-get install opensc"));
        assert!(run.status.success(), "pkcs11-tool: {}", String::from_utf8_lossy(&run.stderr));
        run.stdout
    }
}

fn unarmored(file: &[u8]) -> Vec<u8> {
    let Some(text) = std::str::from_utf8(file).ok().filter(|text| text.starts_with("-----BEGIN")) else { return file.to_vec() };
    let base64: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
    data_encoding::BASE64.decode(base64.as_bytes()).expect("Base64")
}
