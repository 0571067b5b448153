//! `kmip encrypt` and `kmip decrypt`: data goes to the key, never the key to the data.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ::kmip::ttlv::ByteString;
use ::kmip::{
    BlockCipherMode, CryptographicAlgorithm, CryptographicParameters, DecryptRequest, EncryptRequest, EncryptResponse, MESSAGE_BYTES_MAX,
    PaddingMethod, ProtocolVersion,
};
use clap::Args;
use daemon::kmip_client::KmipError;
use data_encoding::HEXLOWER;
use serde_json::json;

use crate::failure::Failure;
use crate::kmip::connection::Connection;
use crate::kmip::envelope::{Damaged, Envelope, Mode};
use crate::output::Output;

/// Longest input: as much as a server can be configured to take.
const INPUT_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Length of the tags asked for.
const TAG_BYTES: usize = 16;

/// `kmip encrypt`.
#[derive(Debug, Args)]
#[command(after_help = "\
The output holds the key's identifier, mode, IV, tag and ciphertext, in binary or, with --json and no --out FILE, as an object with hexadecimal
digits; `kmip decrypt` reads both. Additional data is not part of it.")]
pub(super) struct Encrypt {
    /// Unique Identifier of the key
    id: String,
    /// How
    #[arg(long, value_enum, default_value_t = Mode::Gcm)]
    mode: Mode,
    #[command(flatten)]
    files: Files,
}

/// `kmip decrypt`.
#[derive(Debug, Args)]
pub(super) struct Decrypt {
    /// Unique Identifier of the key; the one in the input if left out
    id: Option<String>,
    #[command(flatten)]
    files: Files,
}

/// What goes in and out.
#[derive(Debug, Args)]
struct Files {
    /// File to read, - for standard input
    #[arg(long = "in", value_name = "FILE")]
    input: PathBuf,
    /// File to write, - for standard output; with --json it may be left out
    #[arg(long = "out", value_name = "FILE")]
    output: Option<PathBuf>,
    /// Additional data that is authenticated, not encrypted (GCM in KMIP 1.4)
    #[arg(long, value_name = "TEXT")]
    aad: Option<String>,
}

/// Encrypts a file.
pub(super) fn encrypt(out: Output, connection: &Connection, args: &Encrypt) -> Result<(), Failure> {
    let to = Target::of(out, args.files.output.as_deref())?;
    check_aad(args.files.aad.as_deref(), args.mode, connection.protocol())?;
    let data = read(&args.files.input)?;
    let request = EncryptRequest {
        unique_identifier: Some(&args.id),
        cryptographic_parameters: Some(CryptographicParameters { random_iv: Some(true), ..parameters(args.mode) }),
        data: Some(ByteString(&data)),
        additional_data: args.files.aad.as_deref().map(|aad| ByteString(aad.as_bytes())),
        ..EncryptRequest::default()
    };
    let mut client = connection.connect()?;
    let answer = client.call(&request).map_err(|error| with_limit(error, data.len()))?;
    let envelope = enveloped(&answer, args.mode)?;
    match to {
        Target::Json => out.show(&envelope.to_json(), |_| String::new()),
        Target::Stdout => out.bytes(&envelope.to_bytes()),
        Target::File(path) => {
            write(path, &envelope.to_bytes())?;
            let done = json!({"id": envelope.id, "mode": envelope.mode, "bytes": data.len(), "out": path});
            out.show(&done, |_| format!("{} bytes encrypted under {} into {}", data.len(), envelope.id, path.display()))
        }
    }
}

/// Decrypts what [`encrypt`] wrote.
pub(super) fn decrypt(out: Output, connection: &Connection, args: &Decrypt) -> Result<(), Failure> {
    let to = Target::of(out, args.files.output.as_deref())?;
    let envelope = Envelope::read(&read(&args.files.input)?)?;
    check_aad(args.files.aad.as_deref(), envelope.mode, connection.protocol())?;
    let id = args.id.as_deref().unwrap_or(&envelope.id);
    let (data, tag) = on_the_wire(&envelope, connection.protocol());
    let request = DecryptRequest {
        unique_identifier: Some(id),
        cryptographic_parameters: Some(parameters(envelope.mode)),
        data: Some(ByteString(&data)),
        iv_counter_nonce: Some(ByteString(&envelope.iv)),
        additional_data: args.files.aad.as_deref().map(|aad| ByteString(aad.as_bytes())),
        authentication_tag: tag.map(ByteString),
        ..DecryptRequest::default()
    };
    let mut client = connection.connect()?;
    let answer = client.call(&request).map_err(|error| with_limit(error, data.len()))?;
    let plaintext = answer.data.map_or(&[][..], |data| data.0);
    match to {
        Target::Json => out.show(&json!({"id": id, "data": HEXLOWER.encode(plaintext)}), |_| String::new()),
        Target::Stdout => out.bytes(plaintext),
        Target::File(path) => {
            write(path, plaintext)?;
            let done = json!({"id": id, "bytes": plaintext.len(), "out": path});
            out.show(&done, |_| format!("{} bytes decrypted under {id} into {}", plaintext.len(), path.display()))
        }
    }
}

/// Where the result goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target<'a> {
    Json,
    Stdout,
    File(&'a Path),
}

impl<'a> Target<'a> {
    /// The target that `--out` and `--json` name.
    pub(super) fn of(out: Output, path: Option<&'a Path>) -> Result<Self, Failure> {
        match (path, out.json) {
            (Some(path), _) if path != "-" => Ok(Self::File(path)),
            (_, true) => Ok(Self::Json),
            (Some(_), false) => Ok(Self::Stdout),
            (None, false) => Err(Failure::usage("give --out FILE, or --out - for standard output")),
        }
    }
}

fn parameters(mode: Mode) -> CryptographicParameters<'static> {
    let aes = CryptographicParameters { cryptographic_algorithm: Some(CryptographicAlgorithm::Aes), ..CryptographicParameters::default() };
    match mode {
        Mode::Gcm => CryptographicParameters {
            block_cipher_mode: Some(BlockCipherMode::Gcm),
            tag_length: Some(i32::try_from(TAG_BYTES).expect("16")),
            ..aes
        },
        Mode::Cbc => {
            CryptographicParameters { block_cipher_mode: Some(BlockCipherMode::Cbc), padding_method: Some(PaddingMethod::Pkcs5), ..aes }
        }
    }
}

/// Refuses additional data that would silently not be authenticated.
fn check_aad(aad: Option<&str>, mode: Mode, version: ProtocolVersion) -> Result<(), Failure> {
    match (aad, mode) {
        (None, _) => Ok(()),
        (Some(_), Mode::Cbc) => Err(Failure::usage("CBC authenticates nothing: leave --aad out, or use --mode gcm")),
        (Some(_), Mode::Gcm) if version < ProtocolVersion::V1_4 => Err(Failure::usage("--aad needs --protocol 1.4")),
        (Some(_), Mode::Gcm) => Ok(()),
    }
}

/// What the server returned as one whole. Before KMIP 1.4 the tag is the end of the data.
fn enveloped(answer: &EncryptResponse<'_>, mode: Mode) -> Result<Envelope, Damaged> {
    let data = answer.data.map_or(&[][..], |data| data.0);
    let (ciphertext, tag) = match (answer.authentication_tag, mode) {
        (Some(tag), _) => (data, tag.0),
        (None, Mode::Cbc) => (data, &[][..]),
        (None, Mode::Gcm) => data.split_at_checked(data.len().wrapping_sub(TAG_BYTES)).ok_or(Damaged::Part("tag"))?,
    };
    let iv = answer.iv_counter_nonce.map_or(&[][..], |iv| iv.0);
    Envelope::new(answer.unique_identifier.to_owned(), mode, iv.to_vec(), tag.to_vec(), ciphertext.to_vec())
}

/// Data and tag as this version carries them.
fn on_the_wire(envelope: &Envelope, version: ProtocolVersion) -> (Vec<u8>, Option<&[u8]>) {
    match envelope.mode {
        Mode::Gcm if version >= ProtocolVersion::V1_4 => (envelope.ciphertext.clone(), Some(&envelope.tag)),
        _ => ([&envelope.ciphertext[..], &envelope.tag].concat(), None),
    }
}

/// Names the likely cause if a long request ended the connection.
fn with_limit(error: KmipError, bytes: usize) -> Failure {
    let long = matches!(error, KmipError::Lost { .. }) && bytes > MESSAGE_BYTES_MAX / 2;
    let failure = Failure::from(error);
    if !long {
        return failure;
    }
    let limit = format!("; or it is too long: a server takes messages of {MESSAGE_BYTES_MAX} bytes unless its kmip.message_max is higher");
    Failure { message: failure.message + &limit, ..failure }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |error: io::Error| Failure::failed(format!("cannot read {}: {error}", path.display()));
    let source: Box<dyn Read> = if path == "-" { Box::new(io::stdin().lock()) } else { Box::new(File::open(path).map_err(failed)?) };
    let mut bytes = vec![];
    source.take(INPUT_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > INPUT_BYTES_MAX {
        return Err(Failure::failed(format!("{} is longer than {INPUT_BYTES_MAX} bytes: split it", path.display())));
    }
    Ok(bytes)
}

/// Writes a file that its owner alone may read.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let written =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).and_then(|mut file| file.write_all(bytes));
    written.map_err(|error| Failure::failed(format!("cannot write {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn answer<'a>(data: &'a [u8], iv: &'a [u8], tag: Option<&'a [u8]>) -> EncryptResponse<'a> {
        EncryptResponse {
            unique_identifier: "L3-1",
            data: Some(ByteString(data)),
            iv_counter_nonce: Some(ByteString(iv)),
            correlation_value: None,
            authentication_tag: tag.map(ByteString),
        }
    }

    #[test]
    fn a_tag_at_the_end_of_the_data_and_one_of_its_own_are_the_same_file() {
        let own = enveloped(&answer(b"data", &[1; 12], Some(&[2; 16])), Mode::Gcm).expect("the parts fit");
        let appended = enveloped(&answer(&[&b"data"[..], &[2; 16]].concat(), &[1; 12], None), Mode::Gcm).expect("the parts fit");
        assert_eq!(own, appended);
        assert_eq!(on_the_wire(&own, ProtocolVersion::V1_4), (b"data".to_vec(), Some(&[2; 16][..])));
        assert_eq!(on_the_wire(&own, ProtocolVersion::V1_3), ([&b"data"[..], &[2; 16]].concat(), None));
    }

    #[test]
    fn an_answer_without_its_parts_is_refused() {
        assert_eq!(enveloped(&answer(&[0; 15], &[1; 12], None), Mode::Gcm), Err(Damaged::Part("tag")));
        assert_eq!(enveloped(&answer(b"data", &[], Some(&[2; 16])), Mode::Gcm), Err(Damaged::Part("initialization vector")));
        assert_eq!(enveloped(&answer(&[0; 15], &[1; 16], None), Mode::Cbc), Err(Damaged::Part("ciphertext")));
    }

    #[test]
    fn additional_data_is_refused_where_it_would_be_left_out() {
        use ProtocolVersion::{V1_3, V1_4};
        let refused = |aad, mode, version| check_aad(aad, mode, version).is_err();
        assert!(refused(Some("a"), Mode::Cbc, V1_4));
        assert!(refused(Some("a"), Mode::Gcm, V1_3));
        assert!(!refused(Some("a"), Mode::Gcm, V1_4));
        assert!(!refused(None, Mode::Cbc, V1_3));
    }

    #[test]
    fn a_result_goes_to_standard_output_only_when_asked() {
        let (text, json) = (Output { json: false }, Output { json: true });
        assert_eq!(Target::of(text, Some(Path::new("f"))), Ok(Target::File(Path::new("f"))));
        assert_eq!(Target::of(json, Some(Path::new("f"))), Ok(Target::File(Path::new("f"))));
        assert_eq!(Target::of(text, Some(Path::new("-"))), Ok(Target::Stdout));
        assert_eq!(Target::of(json, Some(Path::new("-"))), Ok(Target::Json));
        assert_eq!(Target::of(json, None), Ok(Target::Json));
        assert!(Target::of(text, None).is_err());
    }

    #[test]
    fn a_written_file_is_its_owners_alone() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("f");
        write(&path, b"longer").expect("the folder is ours");
        write(&path, b"data").expect("the folder is ours");
        assert_eq!(read(&path), Ok(b"data".to_vec()));
        assert_eq!(std::fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_is_missing_or_too_long_is_named() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("f");
        let name = path.display().to_string();
        assert!(read(&path).expect_err("it is not there").message.contains(&name));
        File::create(&path).and_then(|file| file.set_len(INPUT_BYTES_MAX + 1)).expect("the folder is ours");
        assert!(read(&path).expect_err("it is too long").message.contains(&name));
        assert!(write(&dir.path().join("no/f"), b"").is_err());
    }
}
