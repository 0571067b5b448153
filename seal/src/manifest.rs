//! The manifest of a split: what was handed to whom, for the records of those who keep shards (C11).
//!
//! It is made from the slot alone, and the slot holds its SHA3-256, so a slot that opens has the manifest that it was made with.

use cipher::mac::sha3_256;
use data_encoding::HEXLOWER;
use serde::Serialize;

use crate::custodian::{CustodianKind, Guarded};
use crate::shamir::{Shard, Split};
use crate::slot::Header;
use crate::{Error, Recipient};

#[derive(Serialize)]
struct Manifest {
    format: u16,
    cluster: String,
    slot: String,
    label: String,
    masterkey_generation: u32,
    created_millis: i64,
    split: String,
    threshold: u8,
    shards: Vec<Part>,
}

#[derive(Serialize)]
struct Part {
    point: u8,
    keeper: String,
    region: Option<String>,
    kind: String,
    /// SHA-256 of what names the keeper's key: a card's public key (SubjectPublicKeyInfo), a recipient, or a token and its key.
    key_sha256: String,
    protected_sha3_256: String,
    plain_sha3_256: String,
}

/// The manifest as JSON, the same each time.
///
/// # Errors
/// `Corrupt`, if the slot's parameters are no split.
pub(crate) fn manifest(header: &Header, guarded: &Guarded) -> Result<String, Error> {
    let Split { id, threshold, shards } = Split::decode(guarded)?;
    let manifest = Manifest {
        format: 1,
        cluster: header.cluster.to_string(),
        slot: header.id.to_string(),
        label: header.label.to_string(),
        masterkey_generation: header.generation,
        created_millis: header.created.millis(),
        split: HEXLOWER.encode(&id),
        threshold,
        shards: shards.iter().map(part).collect(),
    };
    Ok(serde_json::to_string_pretty(&manifest).expect("text and numbers have a form in JSON"))
}

fn part(shard: &Shard) -> Part {
    Part {
        point: shard.x,
        keeper: shard.keeper.to_string(),
        region: shard.region.as_ref().map(ToString::to_string),
        kind: shard.kind.to_string(),
        key_sha256: HEXLOWER.encode(&key_sha256(shard)),
        protected_sha3_256: HEXLOWER.encode(&sha3_256(&shard.guarded.protected)),
        plain_sha3_256: HEXLOWER.encode(&shard.digest),
    }
}

/// Of a card the digest that everybody computes of a public key; whatever else names one is digested as it is stored.
fn key_sha256(shard: &Shard) -> [u8; 32] {
    match Recipient::from_parameters(shard.kind, &shard.guarded.parameters) {
        Ok(Some(Recipient::Card(key))) => key.fingerprint(),
        _ => cipher::mac::sha256(&[&shard.guarded.parameters]),
    }
}

/// What a slot stores of its manifest: zero if its key is not split.
///
/// # Errors
/// As [`manifest`].
pub(crate) fn hash(header: &Header, guarded: &Guarded) -> Result<[u8; 32], Error> {
    match header.kind {
        CustodianKind::Shamir => Ok(sha3_256(manifest(header, guarded)?.as_bytes())),
        _ => Ok([0; 32]),
    }
}
