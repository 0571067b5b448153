//! MAC and MAC Verify, 4.33 and 4.34: an authentication code of data under a key of the client's service, whole or in parts.

use cipher::mac::ct_eq;
use cipher::{Hash, Mac};
use keys::id::RowId;
use keys::policy::verb::{self, UsesMaterial};
use keys::policy::{Authorized, Principal};
use keys::row::Algorithm;
use keys::stream::{Hashing, Kind, Progress};
use keys::usage::Protected;
use keys::vault::{Vault, View};
use secret::Bytes;

use crate::context::{Context, Named};
use crate::enums::{BlockCipherMode, CryptographicAlgorithm as A, ObjectType, ResultReason, ValidityIndicator};
use crate::failure::Failure;
use crate::object::CryptographicParameters;
use crate::op::hash;
use crate::part::{Indicators, Next, Part, not_under_way};
use crate::payload::{MacRequest, MacResponse, MacVerifyRequest, MacVerifyResponse};
use crate::schema::Encode;
use crate::scheme::first_parameters;
use crate::tag::Tag;
use crate::ttlv::{ByteString, Writer};

/// What a request brings, whichever of the two it is.
struct Job<'a> {
    parameters: Option<&'a CryptographicParameters<'a>>,
    part: Part<'a>,
    /// What the code is to be.
    claimed: Option<&'a [u8]>,
    /// The kind of stream that the operation has.
    kind: fn(Mac) -> Kind,
}

/// How far it came.
enum Step {
    /// The code, and what it is to be.
    Done { mac: Vec<u8>, claimed: Option<Vec<u8>> },
    /// More parts follow, with this Correlation Value.
    GoesOn(Vec<u8>),
}

pub(super) async fn generate(context: &mut Context<'_>, request: MacRequest<'_>, out: &mut Writer<'_>) -> Result<(), Failure> {
    let Named { header, authorized, text } = context.object::<verb::Mac>(request.unique_identifier).await?;
    let indicators =
        Indicators { correlation_value: request.correlation_value, init: request.init_indicator, last: request.final_indicator };
    let parameters = request.cryptographic_parameters.as_ref();
    let job = Job { parameters, part: indicators.part(request.data)?, claimed: None, kind: Kind::Mac };
    let step = job.run(context, header.id, authorized).await?;
    let (mac_data, correlation_value) = match &step {
        Step::Done { mac, .. } => (Some(ByteString(mac)), None),
        Step::GoesOn(value) => (None, Some(ByteString(value))),
    };
    MacResponse { unique_identifier: &text, mac_data, correlation_value }.encode(Tag::RESPONSE_PAYLOAD, out);
    Ok(())
}

pub(super) async fn verify(context: &mut Context<'_>, request: MacVerifyRequest<'_>, out: &mut Writer<'_>) -> Result<(), Failure> {
    let Named { header, authorized, text } = context.object::<verb::MacVerify>(request.unique_identifier).await?;
    let indicators =
        Indicators { correlation_value: request.correlation_value, init: request.init_indicator, last: request.final_indicator };
    let (parameters, claimed) = (request.cryptographic_parameters.as_ref(), request.mac_data.map(|mac| mac.0));
    let job = Job { parameters, part: indicators.part(request.data)?, claimed, kind: Kind::MacVerify };
    let step = job.run(context, header.id, authorized).await?;
    let (validity_indicator, correlation_value) = match &step {
        Step::Done { mac, claimed: Some(claimed) } if ct_eq(mac, claimed) => (ValidityIndicator::Valid, None),
        Step::Done { claimed: Some(_), .. } => (ValidityIndicator::Invalid, None),
        Step::Done { claimed: None, .. } => return Err(Failure::missing("MAC Data is missing: what is the code to be?")),
        // Nobody knows before the last part.
        Step::GoesOn(value) => (ValidityIndicator::Unknown, Some(ByteString(value))),
    };
    MacVerifyResponse { unique_identifier: &text, validity_indicator, correlation_value }.encode(Tag::RESPONSE_PAYLOAD, out);
    Ok(())
}

impl Job<'_> {
    async fn run<V: UsesMaterial>(&self, context: &mut Context<'_>, id: RowId, authorized: Authorized<V>) -> Result<Step, Failure> {
        match self.part {
            Part::Whole(data) => self.whole(context, authorized, data).await,
            Part::First(data) => self.first(context, authorized, data).await,
            Part::Next(next) => self.go_on(context, id, authorized, next).await,
        }
    }

    async fn whole<V: UsesMaterial>(&self, context: &Context<'_>, authorized: Authorized<V>, data: &[u8]) -> Result<Step, Failure> {
        let mac = |key: &[u8], view: &View| {
            let algorithm = algorithm(self.parameters, view)?;
            let mut mac = vec![0; algorithm.bytes()];
            algorithm.whole(key, &[data], &mut mac).map_err(failed)?;
            Ok::<_, Failure>(mac)
        };
        let mac = context.vault.protect(context.unit, authorized, Protected::object(data.len()), mac).await?;
        Ok(Step::Done { mac, claimed: self.claimed.map(<[u8]>::to_vec) })
    }

    async fn first<V: UsesMaterial>(&self, context: &mut Context<'_>, authorized: Authorized<V>, data: &[u8]) -> Result<Step, Failure> {
        let (vault, principal) = (context.vault, context.principal);
        let begin = |key: &[u8], view: &View| self.begin(vault, principal, key, view, data);
        let (turn, hashing) = vault.protect(context.unit, authorized, Protected::object(data.len()), begin).await?;
        let value = turn.value().to_vec();
        vault.keep_stream(context.unit, turn, Progress::Hashing(hashing))?;
        Ok(Step::GoesOn(value))
    }

    fn begin(
        &self,
        vault: &Vault,
        principal: &Principal,
        key: &[u8],
        view: &View,
        data: &[u8],
    ) -> Result<(keys::stream::Turn, Hashing), Failure> {
        let algorithm = algorithm(self.parameters, view)?;
        // It is kept until the last part, so what can never be right is not taken in.
        if self.claimed.is_some_and(|claimed| claimed.len() > algorithm.bytes()) {
            return Err(Failure::field("MAC Data: it is longer than the code of this algorithm"));
        }
        let turn = vault.begin_stream(principal, view, (self.kind)(algorithm))?;
        let state = Bytes::try_init_with(algorithm.state_bytes(), |state| algorithm.begin(key, state).map_err(failed))?;
        let state = after(algorithm, key, &state, data)?;
        Ok((turn, Hashing { state, claimed: self.claimed.map(<[u8]>::to_vec) }))
    }

    async fn go_on<V: UsesMaterial>(
        &self,
        context: &mut Context<'_>,
        id: RowId,
        authorized: Authorized<V>,
        next: Next<'_>,
    ) -> Result<Step, Failure> {
        let vault = context.vault;
        let fits = |kind: Kind| of_kind(kind).is_some_and(|algorithm| (self.kind)(algorithm) == kind);
        let turn = vault.next_turn(context.unit, context.principal, id, next.value, fits)?;
        let Some((turn, Progress::Hashing(Hashing { state, claimed }))) = turn else { return Err(not_under_way()) };
        let algorithm = of_kind(turn.kind()).ok_or_else(not_under_way)?;
        let claimed = match (claimed, self.claimed) {
            (Some(_), Some(_)) => return Err(Failure::field("MAC Data: it came with an earlier part already")),
            (early, late) => early.or_else(|| late.map(<[u8]>::to_vec)),
        };
        if claimed.as_ref().is_some_and(|claimed| claimed.len() > algorithm.bytes()) {
            return Err(Failure::field("MAC Data: it is longer than the code of this algorithm"));
        }
        let more = |key: &[u8], view: &View| {
            if !turn.holds_for(view) || self.asks_for_another(algorithm, view) {
                Err(not_under_way())
            } else if next.is_last {
                let mut mac = vec![0; algorithm.bytes()];
                state.expose(|state| algorithm.last(key, state, next.data, &mut mac)).map_err(failed).map(|()| Err(mac))
            } else {
                after(algorithm, key, &state, next.data).map(Ok)
            }
        };
        match vault.protect(context.unit, authorized, Protected::part(next.data.len()), more).await? {
            Err(mac) => Ok(Step::Done { mac, claimed }),
            Ok(state) => {
                let value = turn.value().to_vec();
                vault.keep_stream(context.unit, turn, Progress::Hashing(Hashing { state, claimed }))?;
                Ok(Step::GoesOn(value))
            }
        }
    }

    /// A later part may repeat the parameters, and no others.
    fn asks_for_another(&self, algorithm: Mac, view: &View) -> bool {
        self.parameters.is_some_and(|parameters| asked(parameters, view).ok() != Some(algorithm))
    }
}

fn of_kind(kind: Kind) -> Option<Mac> {
    match kind {
        Kind::Mac(algorithm) | Kind::MacVerify(algorithm) => Some(algorithm),
        Kind::Encrypt(_)
        | Kind::EncryptGcm { .. }
        | Kind::Decrypt(_)
        | Kind::DecryptGcm { .. }
        | Kind::Sign(_)
        | Kind::SignatureVerify(_)
        | Kind::Hash(_) => None,
    }
}

/// The state after a part.
fn after(algorithm: Mac, key: &[u8], before: &Bytes, data: &[u8]) -> Result<Bytes, Failure> {
    Bytes::try_init_with(before.len(), |after| before.expose(|before| algorithm.part(key, before, data, after)).map_err(failed))
}

fn failed(error: cipher::Error) -> Failure {
    Failure::invalid(ResultReason::CryptographicFailure, error.to_string())
}

/// What the request's parameters ask for; without any, what the key's first ones do; without those, what the key is made for.
pub(super) fn algorithm(request: Option<&CryptographicParameters<'_>>, key: &View) -> Result<Mac, Failure> {
    let object_type = ObjectType::of(key.header.object_type.0);
    if !matches!(object_type, Some(ObjectType::SymmetricKey | ObjectType::SecretData)) {
        return Err(keys::Error::Denied { why: "a message authentication code needs a symmetric key or secret data" }.into());
    }
    match request {
        Some(parameters) => asked(parameters, key),
        None => match first_parameters(&key.attributes) {
            Some(parameters) => asked(&parameters, key),
            None => own(key).ok_or_else(|| {
                Failure::field("Cryptographic Parameters: name a Cryptographic Algorithm, like HMAC-SHA256, or AES for CMAC")
            }),
        },
    }
}

/// What these parameters ask for.
fn asked(parameters: &CryptographicParameters<'_>, key: &View) -> Result<Mac, Failure> {
    let of_hash = parameters.hashing_algorithm.map(hash::function).transpose()?.map(Mac::Hmac);
    let named = match parameters.cryptographic_algorithm {
        Some(A::Aes) => Some(Mac::Cmac),
        Some(named) => Some(hmac(named).ok_or_else(not_offered)?),
        None if parameters.block_cipher_mode == Some(BlockCipherMode::Cmac) => Some(Mac::Cmac),
        None => of_hash.or_else(|| own(key)),
    };
    let wanted = named.ok_or_else(not_offered)?;
    let fits_mode = parameters.block_cipher_mode.is_none_or(|mode| mode == BlockCipherMode::Cmac && wanted == Mac::Cmac);
    let fits_hash = of_hash.is_none_or(|of_hash| of_hash == wanted);
    if !fits_mode || !fits_hash {
        return Err(not_offered());
    }
    let is_made_for_another = own(key).is_some_and(|own| own != wanted);
    let is_no_aes = wanted == Mac::Cmac && key.header.algorithm != Algorithm::AES;
    if is_made_for_another || is_no_aes {
        return Err(Failure::field("Cryptographic Algorithm: the key is made for another one"));
    }
    Ok(wanted)
}

fn not_offered() -> Failure {
    Failure::unsupported("Cryptographic Parameters: an edge offers HMAC with SHA-1, SHA-2 and SHA-3, and CMAC with AES")
}

/// The HMAC that a key is made for, if it is.
pub(super) fn own(key: &View) -> Option<Mac> {
    A::of(key.header.algorithm.0).and_then(hmac)
}

pub(super) fn hmac(algorithm: A) -> Option<Mac> {
    let hash = match algorithm {
        A::HmacSha1 => Hash::Sha1,
        A::HmacSha224 => Hash::Sha224,
        A::HmacSha256 => Hash::Sha256,
        A::HmacSha384 => Hash::Sha384,
        A::HmacSha512 => Hash::Sha512,
        A::HmacSha3_224 => Hash::Sha3_224,
        A::HmacSha3_256 => Hash::Sha3_256,
        A::HmacSha3_384 => Hash::Sha3_384,
        A::HmacSha3_512 => Hash::Sha3_512,
        _ => return None,
    };
    Some(Mac::Hmac(hash))
}
