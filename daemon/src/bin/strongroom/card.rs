//! A shard that its keeper opens with a smart card, on whatever machine the card is at.
//!
//! The card's module is loaded by `strongroom-device`, as the node has it, which logs in once and hands the shard over in locked memory. It is the keeper who
//! names the module, and their own rights with which it runs; the node never hears of it. The wrong-PIN latch lasts as long as the command, because it is a
//! person who decides to type the PIN again.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;
use std::time::Duration;

use data_encoding::BASE64;
use hsm::{DeviceError, DeviceProcess, Login, ProcessSettings, Refusal, Token, TokenName};
use seal::{CardFile, PlainShard};
use secret::Bytes;

use crate::dev::told;
use crate::failure::Failure;
use crate::output::{clean, tell};
use crate::pin;
use crate::slot::SHARD_ARMOR;

/// What is entered in the place of a shard that a card has to open.
const WORD: &[u8] = b"card";
/// A sheet with its code and all around it is far below that.
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// A card computes within a second or two; one with a keypad waits for a person.
const DEADLINE: Duration = Duration::from_secs(120);

/// A shard and the card that opens it.
pub(crate) struct CardShard {
    token: Token,
    file: CardFile,
}

impl CardShard {
    /// - `file`: the block between its two lines, with or without a sheet around it; `-` is standard input.
    ///
    /// # Errors
    /// The file cannot be read, or holds no shard for a card.
    pub(crate) fn read(module: &Path, token: &str, file: &Path) -> Result<Self, Failure> {
        let unread = |error: io::Error| Failure::failed(format!("cannot read {}: {error}", file.display()));
        let mut text = String::new();
        let _bytes = match file == Path::new("-") {
            true => io::stdin().lock().take(FILE_BYTES_MAX).read_to_string(&mut text),
            false => File::open(file).and_then(|opened| opened.take(FILE_BYTES_MAX).read_to_string(&mut text)),
        }
        .map_err(unread)?;
        let file = unarmored(&text).map_err(|why| Failure::failed(format!("{} holds no shard for a card: {why}", file.display())))?;
        let module = std::path::absolute(module).map_err(|error| Failure::usage(format!("--card: {error}")))?;
        Ok(Self { token: Token { module, name: TokenName::Label(token.to_owned()) }, file })
    }

    /// Asks for the card's PIN on the terminal, with echo off.
    pub(crate) fn asked_pin(&self) -> Result<Bytes, Failure> {
        pin::from_terminal(&self.question())
    }

    fn question(&self) -> String {
        format!("PIN of the card with {}: ", clean(&self.token.name.to_string()))
    }

    /// Has the card open it, by one login; returns the line that begins with SRSHARD1.
    ///
    /// - `spend_last_try`: also if the card says that one more wrong PIN locks it.
    pub(crate) fn open(&self, pin: &Bytes, spend_last_try: bool) -> Result<Bytes, Failure> {
        let latches = tempfile::tempdir().map_err(told("the temporary folder"))?;
        let program = std::env::current_exe().map_err(told("this program's own path"))?;
        let device = DeviceProcess::new(ProcessSettings {
            program: program.with_file_name("strongroom-device"),
            latch_dir: latches.path().to_owned(),
            environment: own_environment(),
            deadline: DEADLINE,
        });
        let CardFile { oaep, modulus_sha256, ciphertext } = &self.file;
        let login = Login { pin, retry_latched: spend_last_try };
        let opened = self.token.decipher(&device, login, *modulus_sha256, *oaep, ciphertext);
        let text = opened.map_err(|error| Failure::failed(words(&error)))?;
        match text.expose(PlainShard::parse) {
            Ok(_) => Ok(text),
            Err(_) => {
                Err(Failure::failed("the card opened the file, but there is no shard in it: it was not made by `strongroom slot shards`"))
            }
        }
    }
}

/// The variables of this process: a module finds its settings as it does for every other program of the keeper's.
fn own_environment() -> BTreeMap<String, String> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect()
}

/// What a person is told, who has the card in hand.
fn words(error: &DeviceError) -> String {
    match error {
        DeviceError::Refused(Refusal::WrongPin { serial }) => format!(
            "the card with serial `{serial}` refused the PIN, which was tried once and is not tried again by itself: look it up before you type another, \
             because a few wrong ones lock the card"
        ),
        DeviceError::Refused(Refusal::Latched { serial, state, .. }) => {
            format!("no PIN was sent to the card with serial `{serial}`: {state}; if you are sure of the PIN, give --retry-pin")
        }
        DeviceError::Refused(Refusal::OtherCard { serial, keys }) => format!(
            "the shard is not for the card with serial `{serial}`: none of its {keys} RSA keys is the one that it was encrypted to; use the card of its keeper"
        ),
        DeviceError::Refused(Refusal::BadCiphertext) => {
            "the card has the right key and does not open the shard: the file was altered; take it anew by `strongroom slot shards SLOT --out DIR`".to_owned()
        }
        DeviceError::Refused(Refusal::MechanismMissing { mechanism }) => format!(
            "the card or its module does not offer {mechanism}: try another module; if it has only SHA-1, set `oaep: sha1` at the node and add the slot anew"
        ),
        other => other.to_string(),
    }
}

/// A shard as its keeper gives it here: the line that they have, or the word `card` and what says where it is. A card that does not open it is told, and the
/// next line asked for.
///
/// # Errors
/// Nobody gives any more.
pub(crate) fn given_shard(question: &str) -> Result<Bytes, Failure> {
    loop {
        let line = hidden(question, pin::SHARD)?;
        if !line.expose(|line| line.trim_ascii() == WORD) {
            return Ok(line);
        }
        let [module, token, file] = ["Its PKCS#11 module: ", "Label of its token: ", "File with the shard: "].map(shown);
        let opened = CardShard::read(Path::new(&module?), &token?, Path::new(&file?));
        match opened.and_then(|shard| shard.open(&hidden(&shard.question(), pin::PIN)?, false)) {
            Ok(text) => return Ok(text),
            Err(failure) => tell(&format!("not taken: {}", failure.message)),
        }
    }
}

/// Asks with echo off; without a terminal, the next line of standard input.
fn hidden(question: &str, asked: pin::Asked) -> Result<Bytes, Failure> {
    match io::stdin().is_terminal() {
        true => pin::typed(question, asked),
        false => pin::first_line(Path::new("-"), asked),
    }
}

/// Asks for what everybody may see.
fn shown(question: &str) -> Result<String, Failure> {
    if io::stdin().is_terminal() {
        write!(io::stderr(), "{question}").map_err(told("standard error"))?;
    }
    let mut answer = String::new();
    let _bytes = io::stdin().read_line(&mut answer).map_err(told("standard input"))?;
    Ok(answer.trim().to_owned())
}

/// The file in a block of text.
fn unarmored(text: &str) -> Result<CardFile, String> {
    let [begin, end] = ["BEGIN", "END"].map(|which| format!("-----{which} {SHARD_ARMOR}-----"));
    let (_, block) = text.split_once(&begin).ok_or_else(|| format!("it has no line `{begin}`"))?;
    let (block, _) = block.split_once(&end).ok_or_else(|| format!("it has no line `{end}`"))?;
    let base64: String = block.split_ascii_whitespace().collect();
    let bytes = BASE64.decode(base64.as_bytes()).map_err(|error| format!("the block is no Base64: {error}"))?;
    CardFile::decode(&bytes).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block() -> String {
        let bytes = [&b"SRC1\x02"[..], &[7; 32], &[9; 256]].concat();
        format!("-----BEGIN {SHARD_ARMOR}-----\n{}\n-----END {SHARD_ARMOR}-----\n", BASE64.encode(&bytes))
    }

    #[test]
    fn a_block_is_read_alone_or_from_the_sheet_around_it() {
        let file = unarmored(&block()).expect("it is whole");
        assert_eq!((file.oaep, file.modulus_sha256, file.ciphertext), (hsm::Oaep::Sha1, [7; 32], vec![9; 256]));
        assert!(unarmored(&format!("STRONGROOM SHARD\nkeeper dora\n{}\nTo give it\n", block())).is_ok());
        assert!(unarmored(&block().replace('\n', "\r\n")).is_ok());
    }

    #[test]
    fn what_is_no_block_for_a_card_is_named() {
        let check = |text: &str, words: &str| {
            let why = unarmored(text).expect_err("it is none");
            assert!(why.contains(words), "{why}");
        };
        check("", "no line `-----BEGIN STRONGROOM SHARD-----`");
        check(block().split_once("-----END").expect("it has an end").0, "no line `-----END STRONGROOM SHARD-----`");
        check(&block().replacen("U1JDM", "U1J!M", 1), "no Base64");
        check(&block().replacen("U1JDM", "AAAAM", 1), "magic of a card's shard");
        check(&format!("-----BEGIN {SHARD_ARMOR}-----\nU1JDMQI=\n-----END {SHARD_ARMOR}-----\n"), "digest of a card's key");
    }
}
