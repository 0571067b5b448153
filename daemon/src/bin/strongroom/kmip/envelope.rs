//! What `kmip encrypt` writes and `kmip decrypt` reads: a ciphertext with everything but the key that decrypting it takes.
//!
//! ```text
//! version 1, binary:
//! byte 0        8         9       10      11
//!      | SRKMIPCT | 01 | mode u8 | n u8 | id, n bytes | n u8 | iv, n bytes | n u8 | tag, n bytes | ciphertext to the end |
//! mode: 1 GCM (tag of 12 to 16 bytes), 2 CBC with PKCS#5 padding (iv of 16 bytes, no tag)
//!
//! as JSON, bytes in hexadecimal:
//! {"version": 1, "id": "...", "mode": "gcm", "iv": "...", "tag": "...", "ciphertext": "..."}
//! ```
//!
//! The identifier is that of the key version which encrypted, as the server returned it. Nothing here is secret, and nothing but the tag is
//! authenticated. Additional data is not kept: who decrypts has to know it.

use clap::ValueEnum;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

const MAGIC: &[u8; 8] = b"SRKMIPCT";
const VERSION: u8 = 1;
const CBC_BLOCK_BYTES: usize = 16;

/// How the data is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mode {
    /// AES-GCM: also notices every change
    Gcm,
    /// AES-CBC with PKCS#5 padding: notices no change; for peers that know nothing else
    Cbc,
}

/// A ciphertext; made only by [`Envelope::new`], so its parts fit the mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Envelope {
    /// Unique Identifier of the key.
    pub(super) id: String,
    /// How it is encrypted.
    pub(super) mode: Mode,
    /// Initialization vector or nonce.
    pub(super) iv: Vec<u8>,
    /// Authentication tag; empty for CBC.
    pub(super) tag: Vec<u8>,
    /// As long as the plaintext, for CBC with its padding.
    pub(super) ciphertext: Vec<u8>,
}

/// Why bytes are not such a ciphertext.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Damaged {
    /// Neither form begins so.
    #[error("this is not what `strongroom kmip encrypt` writes")]
    Foreign,
    /// Another format version.
    #[error("it has format version {0}: use a newer strongroom")]
    Version(u8),
    /// The end is missing.
    #[error("it is cut short")]
    Cut,
    /// A part cannot be so.
    #[error("its {0} is damaged")]
    Part(&'static str),
}

/// The JSON form.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Printed {
    version: u8,
    id: String,
    mode: Mode,
    iv: String,
    tag: String,
    ciphertext: String,
}

impl Envelope {
    /// Puts the parts together.
    ///
    /// # Errors
    /// `Part` names the one that does not fit the mode.
    pub(super) fn new(id: String, mode: Mode, iv: Vec<u8>, tag: Vec<u8>, ciphertext: Vec<u8>) -> Result<Self, Damaged> {
        let fits = |fits: bool, part| if fits { Ok(()) } else { Err(Damaged::Part(part)) };
        fits((1..=255).contains(&id.len()) && !id.contains(char::is_control), "identifier")?;
        match mode {
            Mode::Gcm => {
                fits((1..=255).contains(&iv.len()), "initialization vector")?;
                fits((12..=16).contains(&tag.len()), "tag")?;
            }
            Mode::Cbc => {
                fits(iv.len() == CBC_BLOCK_BYTES, "initialization vector")?;
                fits(tag.is_empty(), "tag")?;
                fits(!ciphertext.is_empty() && ciphertext.len().is_multiple_of(CBC_BLOCK_BYTES), "ciphertext")?;
            }
        }
        Ok(Self { id, mode, iv, tag, ciphertext })
    }

    /// The binary form.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mode = match self.mode {
            Mode::Gcm => 1,
            Mode::Cbc => 2,
        };
        let mut bytes = [&MAGIC[..], &[VERSION, mode]].concat();
        for part in [self.id.as_bytes(), &self.iv, &self.tag] {
            bytes.push(u8::try_from(part.len()).expect("parts have at most 255 bytes"));
            bytes.extend_from_slice(part);
        }
        bytes.extend_from_slice(&self.ciphertext);
        bytes
    }

    /// The JSON form.
    pub(super) fn to_json(&self) -> serde_json::Value {
        let hex = |bytes: &[u8]| HEXLOWER.encode(bytes);
        let printed = Printed {
            version: VERSION,
            id: self.id.clone(),
            mode: self.mode,
            iv: hex(&self.iv),
            tag: hex(&self.tag),
            ciphertext: hex(&self.ciphertext),
        };
        serde_json::to_value(printed).expect("texts and a number always print")
    }

    /// Reads either form.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Damaged> {
        match bytes.trim_ascii_start().first() {
            Some(b'{') => Self::of_json(bytes),
            _ => Self::of_bytes(bytes),
        }
    }

    fn of_bytes(bytes: &[u8]) -> Result<Self, Damaged> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(Damaged::Foreign)?;
        let (&version, rest) = rest.split_first().ok_or(Damaged::Cut)?;
        check_version(version)?;
        let (&mode, rest) = rest.split_first().ok_or(Damaged::Cut)?;
        let mode = match mode {
            1 => Mode::Gcm,
            2 => Mode::Cbc,
            _ => return Err(Damaged::Part("mode")),
        };
        let (id, rest) = part(rest)?;
        let (iv, rest) = part(rest)?;
        let (tag, ciphertext) = part(rest)?;
        let id = String::from_utf8(id.to_vec()).map_err(|_| Damaged::Part("identifier"))?;
        Self::new(id, mode, iv.to_vec(), tag.to_vec(), ciphertext.to_vec())
    }

    fn of_json(bytes: &[u8]) -> Result<Self, Damaged> {
        let value: serde_json::Value = serde_json::from_slice(bytes).map_err(|_| Damaged::Part("JSON"))?;
        let version = value.get("version").and_then(serde_json::Value::as_u64).ok_or(Damaged::Foreign)?;
        check_version(u8::try_from(version).unwrap_or(u8::MAX))?;
        let printed: Printed = serde_json::from_value(value).map_err(|_| Damaged::Part("JSON"))?;
        let hex = |text: &str, part| HEXLOWER.decode(text.as_bytes()).map_err(|_| Damaged::Part(part));
        let iv = hex(&printed.iv, "initialization vector")?;
        let tag = hex(&printed.tag, "tag")?;
        Self::new(printed.id, printed.mode, iv, tag, hex(&printed.ciphertext, "ciphertext")?)
    }
}

fn check_version(version: u8) -> Result<(), Damaged> {
    if version == VERSION { Ok(()) } else { Err(Damaged::Version(version)) }
}

/// A length byte and so many bytes.
fn part(bytes: &[u8]) -> Result<(&[u8], &[u8]), Damaged> {
    let (&length, rest) = bytes.split_first().ok_or(Damaged::Cut)?;
    rest.split_at_checked(usize::from(length)).ok_or(Damaged::Cut)
}

impl From<Damaged> for Failure {
    fn from(error: Damaged) -> Self {
        Self::failed(format!("the ciphertext cannot be used: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by format version 1; must be readable for ever.
    const FIXTURE: &[u8] = include_bytes!("envelope-v1.bin");

    fn gcm() -> Envelope {
        let id = "L3-01890a5d-ac96-774b-bcce-b302099a8057".to_owned();
        Envelope::new(id, Mode::Gcm, vec![1; 12], vec![2; 16], b"cipher".to_vec()).expect("the parts fit")
    }

    fn cbc() -> Envelope {
        Envelope::new("k".to_owned(), Mode::Cbc, vec![1; 16], vec![], vec![3; 32]).expect("the parts fit")
    }

    #[test]
    fn both_forms_read_as_they_were_written() {
        let empty = Envelope { ciphertext: vec![], ..gcm() };
        for envelope in [gcm(), cbc(), empty] {
            assert_eq!(Envelope::read(&envelope.to_bytes()), Ok(envelope.clone()));
            assert_eq!(Envelope::read(envelope.to_json().to_string().as_bytes()), Ok(envelope.clone()));
            assert_eq!(Envelope::read(format!("\n {:#}\n", envelope.to_json()).as_bytes()), Ok(envelope));
        }
    }

    #[test]
    fn version_1_is_what_it_was() {
        assert_eq!(Envelope::read(FIXTURE), Ok(gcm()));
        assert_eq!(gcm().to_bytes(), FIXTURE);
    }

    #[test]
    fn a_cut_header_is_noticed_at_every_byte() {
        let header = FIXTURE.len() - b"cipher".len();
        for at in 0..header {
            let expected = if at < MAGIC.len() { Damaged::Foreign } else { Damaged::Cut };
            assert_eq!(Envelope::read(&FIXTURE[..at]), Err(expected), "{at}");
        }
    }

    #[test]
    fn bytes_of_another_kind_are_told_from_damaged_ones() {
        let with = |at: usize, byte: u8| {
            let mut bytes = FIXTURE.to_vec();
            bytes[at] = byte;
            Envelope::read(&bytes)
        };
        assert_eq!(Envelope::read(b"-----BEGIN"), Err(Damaged::Foreign));
        assert_eq!(Envelope::read(b"{}"), Err(Damaged::Foreign));
        assert_eq!(Envelope::read(b"{\"version\": 1"), Err(Damaged::Part("JSON")));
        assert_eq!(with(0, b'X'), Err(Damaged::Foreign));
        assert_eq!(with(8, 2), Err(Damaged::Version(2)));
        assert_eq!(with(9, 3), Err(Damaged::Part("mode")));
        assert_eq!(with(11, 0xFF), Err(Damaged::Part("identifier")));
        assert_eq!(with(10, 255), Err(Damaged::Cut));
    }

    #[test]
    fn json_of_another_version_or_with_unknown_parts_is_refused() {
        let with = |name: &str, value: serde_json::Value| {
            let mut json = gcm().to_json();
            json[name] = value;
            Envelope::read(json.to_string().as_bytes())
        };
        assert_eq!(with("version", 2.into()), Err(Damaged::Version(2)));
        assert_eq!(with("version", 1000.into()), Err(Damaged::Version(255)));
        assert_eq!(with("mode", "ecb".into()), Err(Damaged::Part("JSON")));
        assert_eq!(with("extra", "".into()), Err(Damaged::Part("JSON")));
        assert_eq!(with("iv", "0g".into()), Err(Damaged::Part("initialization vector")));
        assert_eq!(with("tag", "00".into()), Err(Damaged::Part("tag")));
        assert_eq!(with("ciphertext", "0".into()), Err(Damaged::Part("ciphertext")));
    }

    #[test]
    fn parts_that_do_not_fit_the_mode_are_refused() {
        let gcm = |iv: usize, tag: usize| Envelope::new("k".to_owned(), Mode::Gcm, vec![0; iv], vec![0; tag], vec![]).err();
        assert_eq!((gcm(12, 12), gcm(12, 16)), (None, None));
        assert_eq!(gcm(0, 16), Some(Damaged::Part("initialization vector")));
        assert_eq!(
            (gcm(12, 0), gcm(12, 11), gcm(12, 17)),
            (Some(Damaged::Part("tag")), Some(Damaged::Part("tag")), Some(Damaged::Part("tag")))
        );
        let cbc =
            |iv: usize, tag: usize, data: usize| Envelope::new("k".to_owned(), Mode::Cbc, vec![0; iv], vec![0; tag], vec![0; data]).err();
        assert_eq!(cbc(16, 0, 16), None);
        let id = |id: String| Envelope::new(id, Mode::Gcm, vec![0; 12], vec![0; 16], vec![]).err();
        assert_eq!((id("k".repeat(255)), id("k".repeat(256))), (None, Some(Damaged::Part("identifier"))));
        assert_eq!((id(String::new()), id("a\nb".to_owned())), (Some(Damaged::Part("identifier")), Some(Damaged::Part("identifier"))));
        assert_eq!(cbc(12, 0, 16), Some(Damaged::Part("initialization vector")));
        assert_eq!(cbc(16, 16, 16), Some(Damaged::Part("tag")));
        assert_eq!((cbc(16, 0, 0), cbc(16, 0, 17)), (Some(Damaged::Part("ciphertext")), Some(Damaged::Part("ciphertext"))));
    }
}
