//! `kmip get`: a key, wrapped by another key and by nothing else.

use std::path::PathBuf;

use ::kmip::{
    BlockCipherMode, CryptographicParameters, EncodingOption, GetRequest, GetResponse, KeyFormatType, KeyValue, KeyWrappingSpecification,
    ManagedObject, ProtocolVersion, SymmetricKey, WrappingKeyInformation, WrappingMethod,
};
use clap::{Args, ValueEnum};
use data_encoding::HEXLOWER;
use serde_json::json;

use crate::failure::Failure;
use crate::kmip::connection::Connection;
use crate::kmip::crypt::{Target, write};
use crate::output::Output;

/// `kmip get`.
#[derive(Debug, Args)]
#[command(after_help = "\
The output is the wrapped key as the server sent it; with --json and no --out FILE, an object with hexadecimal digits. The key must be
Extractable. The wrapping key must be Active, for Wrap Key and Unwrap Key, and have Cryptographic Parameters that name the algorithm: add them
by `kmip attributes ID --add 'Cryptographic Parameters=NISTKeyWrap'`.")]
pub(super) struct Get {
    /// Unique Identifier of the key
    id: String,
    /// Unique Identifier of the key to wrap it with
    #[arg(long, value_name = "ID")]
    wrapping_key: String,
    /// By which of the wrapping key's algorithms; its first if left out
    #[arg(long, value_enum)]
    algorithm: Option<Algorithm>,
    /// What is wrapped: the bytes of the key, or a KMIP Key Value around them
    #[arg(long, value_enum, default_value_t = Encoding::None)]
    encoding: Encoding,
    /// File to write, - for standard output; with --json it may be left out
    #[arg(long = "out", value_name = "FILE")]
    output: Option<PathBuf>,
}

/// How a key is wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Algorithm {
    /// AES Key Wrap, RFC 3394
    NistKeyWrap,
    /// AES Key Wrap with Padding, RFC 5649
    AesKeyWrapPadding,
}

/// What is wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Encoding {
    /// The bytes of the key
    None,
    /// A TTLV-encoded Key Value
    Ttlv,
}

/// Get.
pub(super) fn get(out: Output, connection: &Connection, args: &Get) -> Result<(), Failure> {
    let to = Target::of(out, args.output.as_deref())?;
    if args.encoding == Encoding::None && connection.protocol() == ProtocolVersion::V1_0 {
        return Err(Failure::usage("KMIP 1.0 wraps whole Key Values: use --encoding ttlv, or a later --protocol"));
    }
    let mut client = connection.connect()?;
    let answer = client.call(&request(args, connection.protocol()))?;
    let wrapped = wrapped(&answer)?;
    match to {
        Target::Json => {
            let shown = json!({"id": answer.unique_identifier, "wrapping_key": args.wrapping_key, "wrapped": HEXLOWER.encode(wrapped)});
            out.show(&shown, |_| String::new())
        }
        Target::Stdout => out.bytes(wrapped),
        Target::File(path) => {
            write(path, wrapped)?;
            let done = json!({"id": answer.unique_identifier, "wrapping_key": args.wrapping_key, "bytes": wrapped.len(), "out": path});
            out.show(&done, |_| {
                format!("{} wrapped by {} into {} ({} bytes)", answer.unique_identifier, args.wrapping_key, path.display(), wrapped.len())
            })
        }
    }
}

fn request(args: &Get, version: ProtocolVersion) -> GetRequest<'_> {
    let cryptographic_parameters = args.algorithm.map(|algorithm| {
        let mode = match algorithm {
            Algorithm::NistKeyWrap => BlockCipherMode::NISTKeyWrap,
            Algorithm::AesKeyWrapPadding => BlockCipherMode::AESKeyWrapPadding,
        };
        CryptographicParameters { block_cipher_mode: Some(mode), ..CryptographicParameters::default() }
    });
    let encoding = match args.encoding {
        Encoding::None => EncodingOption::NoEncoding,
        Encoding::Ttlv => EncodingOption::TtlvEncoding,
    };
    let specification = KeyWrappingSpecification {
        wrapping_method: WrappingMethod::Encrypt,
        encryption_key_information: Some(WrappingKeyInformation { unique_identifier: &args.wrapping_key, cryptographic_parameters }),
        mac_signature_key_information: None,
        attribute_names: vec![],
        encoding_option: Some(encoding).filter(|_| version > ProtocolVersion::V1_0),
    };
    GetRequest {
        unique_identifier: Some(&args.id),
        key_format_type: Some(KeyFormatType::Raw),
        key_wrapping_specification: Some(specification),
        ..GetRequest::default()
    }
}

/// The wrapped bytes of an answer. A key that came in the clear, against what was asked, is written nowhere.
fn wrapped<'a>(answer: &GetResponse<'a>) -> Result<&'a [u8], Failure> {
    let ManagedObject::SymmetricKey(SymmetricKey { key_block }) = &answer.object else {
        return Err(Failure::failed("the server sent another object than a symmetric key; nothing was written"));
    };
    match &key_block.key_value {
        Some(KeyValue::Wrapped(bytes)) if key_block.key_wrapping_data.is_some() => Ok(bytes.0),
        Some(_) => Err(Failure::failed("the server sent the key unwrapped, although it was asked to wrap it; nothing was written")),
        None => Err(Failure::failed("the server sent no key")),
    }
}

#[cfg(test)]
mod tests {
    use ::kmip::ttlv::ByteString;
    use ::kmip::{CryptographicAlgorithm, KeyBlock, KeyMaterial, KeyWrappingData, ObjectType, OpaqueDataType, OpaqueObject, PlainKeyValue};

    use super::*;

    fn answer(key_value: Option<KeyValue<'static>>, says_wrapped: bool) -> GetResponse<'static> {
        let key_wrapping_data = says_wrapped.then_some(KeyWrappingData {
            wrapping_method: WrappingMethod::Encrypt,
            encryption_key_information: None,
            mac_signature_key_information: None,
            mac_signature: None,
            iv_counter_nonce: None,
            encoding_option: None,
        });
        let key_block = KeyBlock {
            key_format_type: KeyFormatType::Raw,
            key_compression_type: None,
            key_value,
            cryptographic_algorithm: Some(CryptographicAlgorithm::Aes),
            cryptographic_length: Some(256),
            key_wrapping_data,
        };
        let object = ManagedObject::SymmetricKey(SymmetricKey { key_block });
        GetResponse { object_type: ObjectType::SymmetricKey, unique_identifier: "L3-1", object }
    }

    #[test]
    fn only_a_wrapped_key_is_taken() {
        let bytes = KeyValue::Wrapped(ByteString(b"wrapped"));
        assert_eq!(wrapped(&answer(Some(bytes.clone()), true)), Ok(&b"wrapped"[..]));
        assert!(wrapped(&answer(Some(bytes), false)).is_err());
        let plain = KeyValue::Plain(PlainKeyValue { key_material: KeyMaterial::Bytes(ByteString(b"secret")), attributes: vec![] });
        let failure = wrapped(&answer(Some(plain), true)).expect_err("it is in the clear");
        assert!(failure.message.contains("unwrapped") && !failure.message.contains("secret"), "{failure}");
        assert!(wrapped(&answer(None, true)).is_err());
        let object = OpaqueObject { opaque_data_type: OpaqueDataType::Extension(0x8000_0000), opaque_data_value: ByteString(b"secret") };
        let object = ManagedObject::OpaqueObject(object);
        assert!(wrapped(&GetResponse { object, ..answer(None, true) }).is_err());
    }

    #[test]
    fn a_request_says_what_its_version_can() {
        let args = Get {
            id: "L3-1".to_owned(),
            wrapping_key: "L3-2".to_owned(),
            algorithm: Some(Algorithm::AesKeyWrapPadding),
            encoding: Encoding::Ttlv,
            output: None,
        };
        let specification = |version| request(&args, version).key_wrapping_specification.expect("it is always there");
        assert_eq!(specification(ProtocolVersion::V1_0).encoding_option, None);
        assert_eq!(specification(ProtocolVersion::V1_1).encoding_option, Some(EncodingOption::TtlvEncoding));
        let information = specification(ProtocolVersion::V1_4).encryption_key_information.expect("it is always there");
        assert_eq!(information.unique_identifier, "L3-2");
        let mode = information.cryptographic_parameters.and_then(|parameters| parameters.block_cipher_mode);
        assert_eq!(mode, Some(BlockCipherMode::AESKeyWrapPadding));
        let first = Get { algorithm: None, ..args };
        let information =
            request(&first, ProtocolVersion::V1_4).key_wrapping_specification.and_then(|asked| asked.encryption_key_information);
        assert_eq!(information.expect("it is always there").cryptographic_parameters, None);
    }
}
