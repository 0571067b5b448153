//! Sign and Signature Verify, 4.31 and 4.32: data, whole or in parts, or its digest, under a key of a pair.
//!
//! In parts the data are hashed as they come, and the hash is signed or judged with the last one. The key is opened for each part all the same, so
//! that what forbids its use does so at once.

use cipher::pair::PairKind;
use cipher::signature::{self, Hash, Message, Pss, SIGNATURE_BYTES_MAX, Salt, Scheme};
use keys::policy::{Verb, verb};
use keys::row::ObjectType;
use keys::stream::{Hashing, Kind, Progress, Turn};
use keys::usage::Protected;
use keys::vault::View;
use secret::Bytes;

use crate::context::{Context, Named};
use crate::enums::{DigitalSignatureAlgorithm, HashingAlgorithm, MaskGenerator, PaddingMethod, ResultReason, ValidityIndicator};
use crate::failure::Failure;
use crate::half;
use crate::object::CryptographicParameters;
use crate::op::rsa;
use crate::part::{Indicators, Next, Part, not_under_way};
use crate::payload::{SignRequest, SignatureVerifyRequest};
use crate::schema::Encode;
use crate::scheme::first_parameters;
use crate::tag::Tag;
use crate::ttlv::{ByteString, Writer};

pub(super) async fn sign(context: &mut Context<'_>, request: SignRequest<'_>, out: &mut Writer<'_>) -> Result<(), Failure> {
    let named = context.object::<verb::Sign>(request.unique_identifier).await?;
    must_be(&named, ObjectType::PRIVATE_KEY, "only a Private Key signs")?;
    let indicators =
        Indicators { correlation_value: request.correlation_value, init: request.init_indicator, last: request.final_indicator };
    let brought = Brought::of(&indicators, request.data, request.digested_data)?;
    let parameters = request.cryptographic_parameters.as_ref();
    let payload = out.open(Tag::RESPONSE_PAYLOAD);
    out.text(Tag::UNIQUE_IDENTIFIER, &named.text);
    match brought {
        Brought::Whole(message) => {
            let (Message::Data(signed) | Message::Digest(signed)) = message;
            let make = |key: &[u8], view: &View| signed_with(signing_scheme(parameters, view)?, key, message, out);
            context.vault.protect(context.unit, named.authorized, Protected::object(signed.len()), make).await?;
        }
        Brought::First(data) => {
            let (vault, principal) = (context.vault, context.principal);
            let begin = |_: &[u8], view: &View| {
                let scheme = signing_scheme(parameters, view)?;
                begun(scheme, vault.begin_stream(principal, view, Kind::Sign(scheme))?, data)
            };
            let (turn, state) = vault.protect(context.unit, named.authorized, Protected::object(data.len()), begin).await?;
            out.bytes(Tag::CORRELATION_VALUE, ByteString(turn.value()));
            vault.keep_stream(context.unit, turn, Progress::Hashing(Hashing { state, claimed: None }))?;
        }
        Brought::Next(next) => {
            let vault = context.vault;
            let fits = |kind| matches!(kind, Kind::Sign(_));
            let turn = vault.next_turn(context.unit, context.principal, named.header.id, next.value, fits)?;
            let Some((turn, Progress::Hashing(Hashing { state, .. }))) = turn else { return Err(not_under_way()) };
            let Kind::Sign(scheme) = turn.kind() else { return Err(not_under_way()) };
            let more = |key: &[u8], view: &View| {
                must_go_on(&turn, scheme, parameters.map(|asked| signing_scheme(Some(asked), view)), view)?;
                if !next.is_last {
                    return after(scheme, &state, next.data).map(Some);
                }
                signed_with(scheme, key, Message::Digest(&digest(scheme, &state, next.data)), out).map(|()| None)
            };
            if let Some(state) = vault.protect(context.unit, named.authorized, Protected::part(next.data.len()), more).await? {
                out.bytes(Tag::CORRELATION_VALUE, ByteString(turn.value()));
                vault.keep_stream(context.unit, turn, Progress::Hashing(Hashing { state, claimed: None }))?;
            }
        }
    }
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
    let indicators =
        Indicators { correlation_value: request.correlation_value, init: request.init_indicator, last: request.final_indicator };
    let text = named.text.clone();
    let verdict = match Brought::of(&indicators, request.data, request.digested_data)? {
        Brought::Whole(message) => Judged::Done(judge_whole(context, named, &request, message).await?),
        Brought::First(data) => Judged::GoesOn(judge_first(context, named, &request, data).await?),
        Brought::Next(next) => judge_next(context, named, &request, next).await?,
    };
    let payload = out.open(Tag::RESPONSE_PAYLOAD);
    out.text(Tag::UNIQUE_IDENTIFIER, &text);
    match verdict {
        Judged::Done(verdict) => verdict.encode(Tag::VALIDITY_INDICATOR, out),
        Judged::GoesOn(value) => {
            // Nobody knows before the last part.
            ValidityIndicator::Unknown.encode(Tag::VALIDITY_INDICATOR, out);
            out.bytes(Tag::CORRELATION_VALUE, ByteString(&value));
        }
    }
    out.close(payload);
    Ok(())
}

/// What is known of a signature.
enum Judged {
    Done(ValidityIndicator),
    /// More parts follow, with this Correlation Value.
    GoesOn(Vec<u8>),
}

async fn judge_whole(
    context: &mut Context<'_>,
    named: Named<'_, verb::SignatureVerify>,
    request: &SignatureVerifyRequest<'_>,
    message: Message<'_>,
) -> Result<ValidityIndicator, Failure> {
    let ByteString(given) = request.signature_data.ok_or_else(no_signature)?;
    let judge = |key: &[u8], view: &View| {
        Ok(scheme(request.cryptographic_parameters.as_ref(), view).and_then(|scheme| {
            // Whoever can make two texts of one SHA-1 can have the one signed and show the other.
            let Some(scheme) = scheme else { return Ok(ValidityIndicator::Invalid) };
            judged(scheme, key, message, given)
        }))
    };
    context.vault.open(context.unit, named.authorized, judge).await?
}

async fn judge_first(
    context: &mut Context<'_>,
    named: Named<'_, verb::SignatureVerify>,
    request: &SignatureVerifyRequest<'_>,
    data: &[u8],
) -> Result<Vec<u8>, Failure> {
    let (vault, principal) = (context.vault, context.principal);
    let claimed = claimed(request.signature_data)?;
    let begin = |_: &[u8], view: &View| {
        let scheme = judging_scheme(request.cryptographic_parameters.as_ref(), view);
        Ok(scheme.and_then(|scheme| begun(scheme, vault.begin_stream(principal, view, Kind::SignatureVerify(scheme))?, data)))
    };
    let (turn, state) = vault.open(context.unit, named.authorized, begin).await??;
    let value = turn.value().to_vec();
    vault.keep_stream(context.unit, turn, Progress::Hashing(Hashing { state, claimed }))?;
    Ok(value)
}

async fn judge_next(
    context: &mut Context<'_>,
    named: Named<'_, verb::SignatureVerify>,
    request: &SignatureVerifyRequest<'_>,
    next: Next<'_>,
) -> Result<Judged, Failure> {
    let vault = context.vault;
    let fits = |kind| matches!(kind, Kind::SignatureVerify(_));
    let turn = vault.next_turn(context.unit, context.principal, named.header.id, next.value, fits)?;
    let Some((turn, Progress::Hashing(Hashing { state, claimed: early }))) = turn else { return Err(not_under_way()) };
    let Kind::SignatureVerify(scheme) = turn.kind() else { return Err(not_under_way()) };
    let claimed = match (early, claimed(request.signature_data)?) {
        (Some(_), Some(_)) => return Err(Failure::field("Signature Data: it came with an earlier part already")),
        (early, late) => early.or(late),
    };
    let more = |key: &[u8], view: &View| {
        let repeated = request.cryptographic_parameters.as_ref().map(|asked| judging_scheme(Some(asked), view));
        Ok(must_go_on(&turn, scheme, repeated, view).and_then(|()| {
            if !next.is_last {
                return after(scheme, &state, next.data).map(Err);
            }
            let given = claimed.as_ref().ok_or_else(no_signature)?;
            judged(scheme, key, Message::Digest(&digest(scheme, &state, next.data)), given).map(Ok)
        }))
    };
    match vault.open(context.unit, named.authorized, more).await?? {
        Ok(verdict) => Ok(Judged::Done(verdict)),
        Err(state) => {
            let value = turn.value().to_vec();
            vault.keep_stream(context.unit, turn, Progress::Hashing(Hashing { state, claimed }))?;
            Ok(Judged::GoesOn(value))
        }
    }
}

fn judged(scheme: Scheme, key: &[u8], message: Message<'_>, given: &[u8]) -> Result<ValidityIndicator, Failure> {
    match signature::verify(scheme, key, message, given) {
        Ok(()) => Ok(ValidityIndicator::Valid),
        Err(cipher::Error::Refused) => Ok(ValidityIndicator::Invalid),
        Err(other) => Err(not_signed(other)),
    }
}

fn no_signature() -> Failure {
    Failure::missing("Signature Data is missing")
}

/// A signature that is kept until the last part: what can never be right is not taken in.
fn claimed(given: Option<ByteString<'_>>) -> Result<Option<Vec<u8>>, Failure> {
    match given {
        Some(ByteString(given)) if given.len() > SIGNATURE_BYTES_MAX => {
            Err(Failure::field(format!("Signature Data: no signature has more than {SIGNATURE_BYTES_MAX} bytes")))
        }
        given => Ok(given.map(|given| given.0.to_vec())),
    }
}

fn signed_with(scheme: Scheme, key: &[u8], message: Message<'_>, out: &mut Writer<'_>) -> Result<(), Failure> {
    out.bytes_with(Tag::SIGNATURE_DATA, |out| signature::sign(scheme, key, message, out)).map_err(not_signed)
}

/// A stream with its first part.
fn begun(scheme: Scheme, turn: Turn, data: &[u8]) -> Result<(Turn, Bytes), Failure> {
    let hash = cipher::Hash::from(scheme.hash());
    let state = Bytes::init_with(hash.state_bytes(), |state| hash.begin(state))?;
    Ok((turn, after(scheme, &state, data)?))
}

/// The state after a part.
fn after(scheme: Scheme, before: &Bytes, data: &[u8]) -> Result<Bytes, Failure> {
    let hash = cipher::Hash::from(scheme.hash());
    Ok(Bytes::init_with(before.len(), |after| before.expose(|before| hash.part(before, data, after)))?)
}

/// The hash of all parts.
fn digest(scheme: Scheme, before: &Bytes, data: &[u8]) -> Vec<u8> {
    let hash = cipher::Hash::from(scheme.hash());
    let mut digest = vec![0; hash.bytes()];
    before.expose(|before| hash.last(before, data, &mut digest));
    digest
}

/// A later part may repeat the parameters, and no others.
fn must_go_on(turn: &Turn, begun: Scheme, repeated: Option<Result<Scheme, Failure>>, view: &View) -> Result<(), Failure> {
    let is_the_same = repeated.is_none_or(|scheme| scheme.is_ok_and(|scheme| scheme == begun));
    if turn.holds_for(view) && is_the_same { Ok(()) } else { Err(not_under_way()) }
}

/// Tables 355 and 356: an object that cannot be used so is Permission Denied.
fn must_be<V: Verb>(named: &Named<'_, V>, object_type: ObjectType, why: &'static str) -> Result<(), Failure> {
    if named.header.object_type == object_type { Ok(()) } else { Err(keys::Error::Denied { why }.into()) }
}

/// What a request brings to be signed.
enum Brought<'a> {
    Whole(Message<'a>),
    First(&'a [u8]),
    Next(Next<'a>),
}

impl<'a> Brought<'a> {
    fn of(indicators: &Indicators<'a>, data: Option<ByteString<'a>>, digested: Option<ByteString<'a>>) -> Result<Self, Failure> {
        match (indicators.part(digested.or(data))?, digested) {
            _ if digested.is_some() && data.is_some() => Err(Failure::field("Digested Data: send it, or Data, not both")),
            (Part::Whole(data), None) => Ok(Self::Whole(Message::Data(data))),
            (Part::First(data), None) => Ok(Self::First(data)),
            (Part::Next(next), None) => Ok(Self::Next(next)),
            (Part::Whole(digest), Some(_)) => Ok(Self::Whole(Message::Digest(digest))),
            (Part::First(_) | Part::Next(_), Some(_)) => Err(Failure::field("Digested Data: a digest has no parts, send it at once")),
        }
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

/// The same for what judges in parts.
fn judging_scheme(asked: Option<&CryptographicParameters<'_>>, view: &View) -> Result<Scheme, Failure> {
    scheme(asked, view)?.ok_or_else(|| Failure::unsupported("Hashing Algorithm: no signature with SHA-1 is valid any more"))
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
