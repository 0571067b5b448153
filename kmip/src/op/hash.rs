//! Hash, 4.37: the hash of a client's data, whole or in parts; no key is in it.

use cipher::Hash;
use keys::policy::Action;
use keys::stream::{Hashing, Kind, Progress};
use secret::Bytes;

use crate::context::Context;
use crate::enums::HashingAlgorithm as H;
use crate::failure::Failure;
use crate::part::{Indicators, Part, not_under_way};
use crate::payload::{HashRequest, HashResponse};
use crate::schema::Encode;
use crate::tag::Tag;
use crate::ttlv::{ByteString, Writer};

pub(super) fn run(context: &mut Context<'_>, request: HashRequest<'_>, out: &mut Writer<'_>) -> Result<(), Failure> {
    context.grants.check_plain(Action::Hash, None)?;
    let asked = request.cryptographic_parameters.hashing_algorithm;
    let hash = function(asked.ok_or_else(|| Failure::missing("Hashing Algorithm is missing in Cryptographic Parameters"))?)?;
    let indicators =
        Indicators { correlation_value: request.correlation_value, init: request.init_indicator, last: request.final_indicator };
    let mut hashed = vec![0; hash.bytes()];
    let begun = match indicators.part(request.data)? {
        Part::Whole(data) => {
            hash.whole(&[data], &mut hashed);
            None
        }
        Part::First(data) => {
            let turn = context.vault.begin_keyless_stream(context.principal, Kind::Hash(hash))?;
            let state = Bytes::init_with(hash.state_bytes(), |state| hash.begin(state))?;
            Some((turn, after(hash, &state, data)?))
        }
        Part::Next(next) => {
            let turn = context.vault.next_turn(context.unit, context.principal, None, next.value, |kind| kind == Kind::Hash(hash))?;
            let Some((turn, Progress::Hashing(Hashing { state, .. }))) = turn else { return Err(not_under_way()) };
            if next.is_last {
                state.expose(|state| hash.last(state, next.data, &mut hashed));
                None
            } else {
                Some((turn, after(hash, &state, next.data)?))
            }
        }
    };
    let Some((turn, state)) = begun else {
        HashResponse { data: Some(ByteString(&hashed)), correlation_value: None }.encode(Tag::RESPONSE_PAYLOAD, out);
        return Ok(());
    };
    HashResponse { data: None, correlation_value: Some(ByteString(turn.value())) }.encode(Tag::RESPONSE_PAYLOAD, out);
    Ok(context.vault.keep_stream(context.unit, turn, Progress::Hashing(Hashing { state, claimed: None }))?)
}

/// The state after a part.
fn after(hash: Hash, before: &Bytes, data: &[u8]) -> Result<Bytes, Failure> {
    Ok(Bytes::init_with(before.len(), |after| before.expose(|before| hash.part(before, data, after)))?)
}

/// The hash function of this name.
pub(super) fn function(asked: H) -> Result<Hash, Failure> {
    match asked {
        H::Md2 => Ok(Hash::Md2),
        H::Md4 => Ok(Hash::Md4),
        H::Md5 => Ok(Hash::Md5),
        H::Sha1 => Ok(Hash::Sha1),
        H::Sha224 => Ok(Hash::Sha224),
        H::Sha256 => Ok(Hash::Sha256),
        H::Sha384 => Ok(Hash::Sha384),
        H::Sha512 => Ok(Hash::Sha512),
        H::Ripemd160 => Ok(Hash::Ripemd160),
        H::Tiger => Ok(Hash::Tiger),
        H::Whirlpool => Ok(Hash::Whirlpool),
        H::Sha512_224 => Ok(Hash::Sha512_224),
        H::Sha512_256 => Ok(Hash::Sha512_256),
        H::Sha3_224 => Ok(Hash::Sha3_224),
        H::Sha3_256 => Ok(Hash::Sha3_256),
        H::Sha3_384 => Ok(Hash::Sha3_384),
        H::Sha3_512 => Ok(Hash::Sha3_512),
        H::Extension(_) => Err(Failure::unsupported("Hashing Algorithm: those of the standard are offered, and no others")),
    }
}
