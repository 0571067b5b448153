//! Sign and Signature Verify, 4.31 and 4.32: data, or its digest, under a key of a pair.

use cipher::pair::PairKind;
use cipher::signature::{self, Hash, Message, Pss, Salt, Scheme};
use keys::policy::{Verb, verb};
use keys::row::ObjectType;
use keys::usage::Protected;
use keys::vault::View;

use crate::context::{Context, Named};
use crate::enums::{DigitalSignatureAlgorithm, HashingAlgorithm, MaskGenerator, PaddingMethod, ResultReason, ValidityIndicator};
use crate::failure::Failure;
use crate::half;
use crate::object::CryptographicParameters;
use crate::op::rsa;
use crate::part::not_under_way;
use crate::payload::{SignRequest, SignatureVerifyRequest};
use crate::schema::Encode;
use crate::scheme::first_parameters;
use crate::tag::Tag;
use crate::ttlv::{ByteString, Writer};

pub(super) async fn sign(context: &mut Context<'_>, request: SignRequest<'_>, out: &mut Writer<'_>) -> Result<(), Failure> {
    let named = context.object::<verb::Sign>(request.unique_identifier).await?;
    must_be(&named, ObjectType::PRIVATE_KEY, "only a Private Key signs")?;
    must_be_whole(request.correlation_value, request.init_indicator, request.final_indicator)?;
    let message = message(request.data, request.digested_data)?;
    let payload = out.open(Tag::RESPONSE_PAYLOAD);
    out.text(Tag::UNIQUE_IDENTIFIER, &named.text);
    let make = |key: &[u8], view: &View| {
        let scheme = signing_scheme(request.cryptographic_parameters.as_ref(), view)?;
        out.bytes_with(Tag::SIGNATURE_DATA, |out| signature::sign(scheme, key, message, out)).map_err(not_signed)
    };
    let (Message::Data(signed) | Message::Digest(signed)) = message;
    context.vault.protect(context.unit, named.authorized, Protected::object(signed.len()), make).await?;
    out.close(payload);
    Ok(())
}

pub(super) async fn signature_verify(
    context: &mut Context<'_>,
    request: SignatureVerifyRequest<'_>,
    out: &mut Writer<'_>,
) -> Result<(), Failure> {
    let named = context.object::<verb::SignatureVerify>(request.unique_identifier).await?;
    must_be(&named, ObjectType::PUBLIC_KEY, "only a Public Key verifies signatures")?;
    must_be_whole(request.correlation_value, request.init_indicator, request.final_indicator)?;
    let message = message(request.data, request.digested_data)?;
    let ByteString(given) = request.signature_data.ok_or_else(|| Failure::missing("Signature Data is missing"))?;
    let judge = |key: &[u8], view: &View| {
        Ok(scheme(request.cryptographic_parameters.as_ref(), view).and_then(|scheme| {
            // Whoever can make two texts of one SHA-1 can have the one signed and show the other.
            let Some(scheme) = scheme else { return Ok(ValidityIndicator::Invalid) };
            match signature::verify(scheme, key, message, given) {
                Ok(()) => Ok(ValidityIndicator::Valid),
                Err(cipher::Error::Refused) => Ok(ValidityIndicator::Invalid),
                Err(other) => Err(not_signed(other)),
            }
        }))
    };
    let verdict = context.vault.open(context.unit, named.authorized, judge).await??;
    let payload = out.open(Tag::RESPONSE_PAYLOAD);
    out.text(Tag::UNIQUE_IDENTIFIER, &named.text);
    verdict.encode(Tag::VALIDITY_INDICATOR, out);
    out.close(payload);
    Ok(())
}

/// Tables 355 and 356: an object that cannot be used so is Permission Denied.
fn must_be<V: Verb>(named: &Named<'_, V>, object_type: ObjectType, why: &'static str) -> Result<(), Failure> {
    if named.header.object_type == object_type { Ok(()) } else { Err(keys::Error::Denied { why }.into()) }
}

fn must_be_whole(value: Option<ByteString<'_>>, init: Option<bool>, last: Option<bool>) -> Result<(), Failure> {
    match (value, init.unwrap_or(false), last.unwrap_or(false)) {
        (None, false, false) | (None, true, true) => Ok(()),
        // Nothing is ever under way.
        (Some(_), ..) => Err(not_under_way()),
        (None, ..) => {
            Err(Failure::unsupported("Init Indicator: signatures are not made in parts; hash what is long and send Digested Data"))
        }
    }
}

fn message<'a>(data: Option<ByteString<'a>>, digested: Option<ByteString<'a>>) -> Result<Message<'a>, Failure> {
    match (data, digested) {
        (Some(ByteString(data)), None) => Ok(Message::Data(data)),
        (None, Some(ByteString(digest))) => Ok(Message::Digest(digest)),
        (None, None) => Err(Failure::missing("Data is missing")),
        (Some(_), Some(_)) => Err(Failure::field("Digested Data: send it, or Data, not both")),
    }
}

/// What the parameters of the request ask for, or without any those of the key; `None` for a scheme with SHA-1.
fn scheme(asked: Option<&CryptographicParameters<'_>>, view: &View) -> Result<Option<Scheme>, Failure> {
    let kind = half::kind(&view.header).ok_or(keys::Error::Denied { why: "the key is of a kind that does not sign" })?;
    match asked {
        Some(asked) => asked_scheme(asked, kind),
        None => match first_parameters(&view.attributes) {
            Some(own) => asked_scheme(&own, kind),
            None => Err(Failure::field("Cryptographic Parameters: neither the request nor the key says how to sign")),
        },
    }
}

/// The same for what signs.
fn signing_scheme(asked: Option<&CryptographicParameters<'_>>, view: &View) -> Result<Scheme, Failure> {
    match scheme(asked, view)? {
        None => Err(Failure::unsupported("Hashing Algorithm: nothing is signed with SHA-1 any more")),
        // Table 65: as long as what the hash of MGF1 puts out.
        Some(Scheme::Pss(Pss { hash, mask, salt: Salt::Any })) => Ok(Scheme::Pss(Pss { hash, mask, salt: Salt::Bytes(mask.bytes()) })),
        Some(scheme) if scheme.signs() => Ok(scheme),
        Some(_) => Err(Failure::unsupported("Hashing Algorithm: P-256 signs with SHA-256, P-384 with SHA-384")),
    }
}

/// A way to sign, without its hash function.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Pkcs1,
    Pss,
    Ecdsa,
}

fn asked_scheme(asked: &CryptographicParameters<'_>, kind: PairKind) -> Result<Option<Scheme>, Failure> {
    if asked.cryptographic_algorithm.is_some_and(|algorithm| !half::fits(kind, algorithm)) {
        return Err(Failure::field("Cryptographic Algorithm: the key is for another one"));
    }
    let (way, hash) = match asked.digital_signature_algorithm {
        Some(algorithm) => named(algorithm)?,
        None => (padded(asked.padding_method, kind)?, None),
    };
    let is_rsa = matches!(kind, PairKind::Rsa { .. });
    if is_rsa == (way == Way::Ecdsa) {
        return Err(Failure::field("Digital Signature Algorithm: the key is for another one"));
    }
    if asked.digital_signature_algorithm.is_some() && asked.padding_method.is_some() && padded(asked.padding_method, kind)? != way {
        return Err(Failure::field("Padding Method: the Digital Signature Algorithm says another one"));
    }
    let hash = match (hash, asked.hashing_algorithm) {
        (Some(named), Some(asked)) if named != asked => {
            return Err(Failure::field("Hashing Algorithm: the Digital Signature Algorithm says another one"));
        }
        (named, asked) => named.or(asked).ok_or_else(|| Failure::field("Hashing Algorithm is missing"))?,
    };
    let hash = match hash {
        HashingAlgorithm::Sha1 => return Ok(None),
        HashingAlgorithm::Sha256 => Hash::Sha256,
        HashingAlgorithm::Sha384 => Hash::Sha384,
        HashingAlgorithm::Sha512 => Hash::Sha512,
        _ => return Err(Failure::unsupported("Hashing Algorithm: SHA-256, SHA-384 and SHA-512 are offered")),
    };
    Ok(Some(match (way, kind) {
        (Way::Pss, _) => Scheme::Pss(pss(asked, hash, kind.bits())?),
        (_, PairKind::Ec(curve)) => Scheme::Ecdsa(curve, hash),
        (_, PairKind::Rsa { .. }) => Scheme::Pkcs1(hash),
    }))
}

fn padded(method: Option<PaddingMethod>, kind: PairKind) -> Result<Way, Failure> {
    match (kind, method) {
        (PairKind::Rsa { .. }, Some(PaddingMethod::Pss)) => Ok(Way::Pss),
        (PairKind::Rsa { .. }, Some(PaddingMethod::Pkcs1V1_5)) => Ok(Way::Pkcs1),
        (PairKind::Rsa { .. }, _) => Err(Failure::field("Padding Method: RSA signs with PSS or PKCS1 v1.5, name one")),
        (PairKind::Ec(_), None | Some(PaddingMethod::None)) => Ok(Way::Ecdsa),
        (PairKind::Ec(_), Some(_)) => Err(Failure::field("Padding Method: ECDSA has none")),
    }
}

/// What a Digital Signature Algorithm says.
fn named(algorithm: DigitalSignatureAlgorithm) -> Result<(Way, Option<HashingAlgorithm>), Failure> {
    use DigitalSignatureAlgorithm as D;
    let (way, hash) = match algorithm {
        D::Sha1WithRsaEncryptionPkcs1V1_5 => (Way::Pkcs1, HashingAlgorithm::Sha1),
        D::Sha256WithRsaEncryptionPkcs1V1_5 => (Way::Pkcs1, HashingAlgorithm::Sha256),
        D::Sha384WithRsaEncryptionPkcs1V1_5 => (Way::Pkcs1, HashingAlgorithm::Sha384),
        D::Sha512WithRsaEncryptionPkcs1V1_5 => (Way::Pkcs1, HashingAlgorithm::Sha512),
        D::RsassaPssPkcs1V2_1 => return Ok((Way::Pss, None)),
        D::EcdsaWithSha1 => (Way::Ecdsa, HashingAlgorithm::Sha1),
        D::EcdsaWithSha256 => (Way::Ecdsa, HashingAlgorithm::Sha256),
        D::EcdsaWithSha384 => (Way::Ecdsa, HashingAlgorithm::Sha384),
        D::EcdsaWithSha512 => (Way::Ecdsa, HashingAlgorithm::Sha512),
        _ => return Err(Failure::unsupported("Digital Signature Algorithm: RSA (PKCS#1 v1.5, PSS) and ECDSA with SHA-2 are offered")),
    };
    Ok((way, Some(hash)))
}

/// By Table 65 a Mask Generator Hashing Algorithm that is left out is SHA-1, but the published cases (CS-AC-M-1 and -2) leave it out and mean the one
/// of the signature. By CS-AC-M-2 a Salt Length that is left out lets every signature be verified.
fn pss(asked: &CryptographicParameters<'_>, hash: Hash, modulus_bits: u32) -> Result<Pss, Failure> {
    if asked.mask_generator.is_some_and(|generator| generator != MaskGenerator::Mgf1) {
        return Err(Failure::unsupported("Mask Generator: MGF1 is offered"));
    }
    if asked.trailer_field.is_some_and(|trailer| trailer != 1) {
        return Err(Failure::unsupported("Trailer Field: 1 is offered"));
    }
    let mask = asked.mask_generator_hash.map_or(Ok(hash.into()), rsa::mask)?;
    let most = Pss::salt_bytes_max(hash, modulus_bits);
    let salt = match asked.salt_length.map(usize::try_from) {
        None => Salt::Any,
        Some(Ok(bytes)) if bytes <= most => Salt::Bytes(bytes),
        Some(_) => return Err(Failure::field(format!("Salt Length: this key has room for 0 to {most} bytes beside this hash"))),
    };
    Ok(Pss { hash, mask, salt })
}

fn not_signed(error: cipher::Error) -> Failure {
    match error {
        cipher::Error::WrongLength { .. } => Failure::field(format!("Digested Data: {error}")),
        _ => Failure::invalid(ResultReason::CryptographicFailure, "the key does not sign this"),
    }
}
