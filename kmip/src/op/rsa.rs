//! Encrypt and Decrypt, 4.29 and 4.30, with RSA: data of a few bytes under the halves of a pair.

use cipher::pair::PairKind;
use cipher::rsa::{self, Encryption, PaddingHash};
use keys::policy::verb;
use keys::row::{Header, ObjectType};
use keys::usage::Protected;
use keys::vault::View;

use crate::context::{Context, Named};
use crate::enums::{HashingAlgorithm, MaskGenerator, PaddingMethod, ResultReason};
use crate::failure::Failure;
use crate::half;
use crate::object::CryptographicParameters;
use crate::part::not_under_way;
use crate::payload::{DecryptRequest, EncryptRequest};
use crate::scheme::first_parameters;
use crate::tag::Tag;
use crate::ttlv::{ByteString, Writer};
use crate::version::ProtocolVersion;

/// Is the object a key of a pair?
pub(super) fn is_asked(header: &Header) -> bool {
    matches!(header.object_type, ObjectType::PUBLIC_KEY | ObjectType::PRIVATE_KEY)
}

pub(super) async fn encrypt(
    context: &mut Context<'_>,
    named: Named<'_, verb::Encrypt>,
    request: EncryptRequest<'_>,
    out: &mut Writer<'_>,
) -> Result<(), Failure> {
    if named.header.object_type != ObjectType::PUBLIC_KEY {
        return Err(keys::Error::Denied { why: "of a pair the Public Key encrypts" }.into());
    }
    must_be_whole(request.correlation_value, request.init_indicator, request.final_indicator)?;
    must_be_bare(request.iv_counter_nonce.is_some(), request.additional_data.is_some())?;
    let ByteString(data) = request.data.ok_or_else(|| Failure::missing("Data is missing"))?;
    let version = context.rules.version;
    let payload = out.open(Tag::RESPONSE_PAYLOAD);
    out.text(Tag::UNIQUE_IDENTIFIER, &named.text);
    let seal = |key: &[u8], view: &View| {
        let wanted = Wanted::of(request.cryptographic_parameters.as_ref(), view, version);
        wanted.and_then(|Wanted { how, label, bits }| {
            let most = how.plaintext_bytes_max(bits);
            if data.len() > most {
                return Err(Failure::field(format!("Data: this key encrypts at most {most} bytes so; encrypt a key for AES with it")));
            }
            out.bytes_with(Tag::DATA, |out| rsa::encrypt(how, key, &label, data, out)).map_err(|error| match error {
                cipher::Error::Exhausted(full) => full.into(),
                _ => Failure::invalid(ResultReason::CryptographicFailure, "the data cannot be encrypted"),
            })
        })
    };
    context.vault.protect(context.unit, named.authorized, Protected::object(data.len()), seal).await?;
    out.close(payload);
    Ok(())
}

pub(super) async fn decrypt(
    context: &mut Context<'_>,
    named: Named<'_, verb::Decrypt>,
    request: DecryptRequest<'_>,
    out: &mut Writer<'_>,
) -> Result<(), Failure> {
    if named.header.object_type != ObjectType::PRIVATE_KEY {
        return Err(keys::Error::Denied { why: "of a pair the Private Key decrypts" }.into());
    }
    must_be_whole(request.correlation_value, request.init_indicator, request.final_indicator)?;
    must_be_bare(request.iv_counter_nonce.is_some(), request.additional_data.is_some() || request.authentication_tag.is_some())?;
    let ByteString(data) = request.data.ok_or_else(|| Failure::missing("Data is missing"))?;
    let version = context.rules.version;
    let payload = out.open(Tag::RESPONSE_PAYLOAD);
    out.text(Tag::UNIQUE_IDENTIFIER, &named.text);
    let unseal = |key: &[u8], view: &View| {
        let wanted = Wanted::of(request.cryptographic_parameters.as_ref(), view, version);
        Ok(wanted.and_then(|Wanted { how, label, .. }| {
            out.bytes_with(Tag::DATA, |out| rsa::decrypt(how, key, &label, data, out)).map_err(|error| match error {
                cipher::Error::Exhausted(full) => full.into(),
                _ => Failure::not_decrypted(),
            })
        }))
    };
    context.vault.open(context.unit, named.authorized, unseal).await??;
    out.close(payload);
    Ok(())
}

fn must_be_whole(value: Option<ByteString<'_>>, init: Option<bool>, last: Option<bool>) -> Result<(), Failure> {
    match (value, init.unwrap_or(false), last.unwrap_or(false)) {
        (None, false, false) | (None, true, true) => Ok(()),
        (Some(_), ..) => Err(not_under_way()),
        (None, ..) => Err(Failure::field("Init Indicator: what RSA encrypts has no parts")),
    }
}

fn must_be_bare(has_iv: bool, is_authenticated: bool) -> Result<(), Failure> {
    match (has_iv, is_authenticated) {
        (false, false) => Ok(()),
        (true, _) => Err(Failure::field("IV/Counter/Nonce: RSA has none")),
        (false, true) => Err(Failure::field("Authenticated Encryption: RSA authenticates nothing, its keys are not for GCM")),
    }
}

/// How to encrypt, as the parameters of the request or else of the key say it.
struct Wanted {
    how: Encryption,
    /// P Source.
    label: Vec<u8>,
    /// Length of the modulus.
    bits: u32,
}

impl Wanted {
    fn of(asked: Option<&CryptographicParameters<'_>>, view: &View, version: ProtocolVersion) -> Result<Self, Failure> {
        let Some(PairKind::Rsa { bits }) = half::kind(&view.header) else {
            return Err(Failure::field("Cryptographic Algorithm: of the pairs, those of RSA encrypt and decrypt"));
        };
        let own = first_parameters(&view.attributes);
        let asked = asked.or(own.as_ref());
        let asked = asked.ok_or_else(|| Failure::field("Cryptographic Parameters: neither the request nor the key says how to encrypt"))?;
        if asked.cryptographic_algorithm.is_some_and(|algorithm| !half::fits(PairKind::Rsa { bits }, algorithm)) {
            return Err(Failure::field("Cryptographic Algorithm: the key is for RSA"));
        }
        if asked.block_cipher_mode.is_some() {
            return Err(Failure::field("Block Cipher Mode: RSA has none"));
        }
        let how = match asked.padding_method {
            Some(PaddingMethod::Oaep) => oaep(asked, version)?,
            Some(PaddingMethod::Pkcs1V1_5) => Encryption::Pkcs1,
            _ => return Err(Failure::field("Padding Method: RSA encrypts with OAEP or PKCS1 v1.5, name one")),
        };
        Ok(Self { how, label: asked.p_source.map_or_else(Vec::new, |source| source.0.to_vec()), bits })
    }
}

fn oaep(asked: &CryptographicParameters<'_>, version: ProtocolVersion) -> Result<Encryption, Failure> {
    let hash = asked.hashing_algorithm.unwrap_or(HashingAlgorithm::Sha1);
    // Table 65; before 1.4 there was no way to say it, and clients meant the same.
    let usual = if version < ProtocolVersion::V1_4 { hash } else { HashingAlgorithm::Sha1 };
    if asked.mask_generator.is_some_and(|generator| generator != MaskGenerator::Mgf1) {
        return Err(Failure::unsupported("Mask Generator: MGF1 is offered"));
    }
    let offered = "Hashing Algorithm: OAEP is offered with SHA-1, SHA-256, SHA-384 and SHA-512";
    let hash = padding_hash(hash).ok_or_else(|| Failure::unsupported(offered))?;
    Ok(Encryption::Oaep { hash, mask: mask(asked.mask_generator_hash.unwrap_or(usual))? })
}

/// The hash of MGF1, in OAEP and in PSS.
pub(super) fn mask(asked: HashingAlgorithm) -> Result<PaddingHash, Failure> {
    let offered = "Mask Generator Hashing Algorithm: MGF1 is offered with SHA-1, SHA-256, SHA-384 and SHA-512";
    padding_hash(asked).ok_or_else(|| Failure::unsupported(offered))
}

fn padding_hash(asked: HashingAlgorithm) -> Option<PaddingHash> {
    match asked {
        HashingAlgorithm::Sha1 => Some(PaddingHash::Sha1),
        HashingAlgorithm::Sha256 => Some(PaddingHash::Sha256),
        HashingAlgorithm::Sha384 => Some(PaddingHash::Sha384),
        HashingAlgorithm::Sha512 => Some(PaddingHash::Sha512),
        _ => None,
    }
}
