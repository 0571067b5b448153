//! What lies where in a KV mount of version 2, and rows read from there.
//!
//! ```text
//! PREFIX/schema                              {"schema": 1}
//! PREFIX/rows/LAYER/ID                       {"row": base64 of Row::encode, "terms": [TERM.ADDED ...], "gone": [TERM.ADDED ...]}
//!                                            {"gone": [...]}: the row was deleted
//! PREFIX/terms/TERM/LAYER/ID.ADDED           {}
//! LAYER    two hex digits
//! ID       32 hex digits, the row's UUID with each bit turned over, so that the server lists the newest first
//! TERM     32 hex digits
//! ADDED    the version of the row's entry, as the server counts them, with which it got the term
//! ```
//! Nothing of this is believed: a row has to be the one of its place and carry the terms that it was found by, and its MAC covers it. The lists of terms
//! tell which entries to delete, and can name none but the row's own.
//!
//! The name of a term's entry is never used twice, because the number in it only grows. So a deletion that arrives late, when the row has the term again,
//! deletes nothing; OpenBao deletes without asking for a version.

use data_encoding::{BASE64, HEXLOWER};
use keys::id::{Layer, RowId};
use keys::port::StoreError;
use keys::row::{Row, Term};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The layout above; a place with another number is left untouched.
pub(super) const SCHEMA: u64 = 1;

/// A term of a row, and since when it has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Added {
    pub(super) term: Term,
    pub(super) version: u64,
}

/// What lies in a row's place.
pub(super) struct Entry {
    /// By which the next writer shows what he has read; 0 if there is nothing.
    pub(super) version: u64,
    /// None if it was deleted, or never there.
    pub(super) row: Option<Row>,
    pub(super) terms: Vec<Added>,
    pub(super) gone: Vec<Added>,
}

#[derive(Deserialize)]
struct Envelope {
    data: Versioned,
}

#[derive(Deserialize)]
struct Versioned {
    data: Stored,
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    version: u64,
}

#[derive(Default, Serialize, Deserialize)]
pub(super) struct Stored {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    row: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    terms: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    gone: Vec<String>,
}

/// Below the prefix.
pub(super) fn row_path(id: RowId) -> String {
    format!("rows/{}/{}", layer(id.layer), turned(id.uuid))
}

/// The folder of a layer's rows.
pub(super) fn rows_path(layer_of: Layer) -> String {
    format!("rows/{}/", layer(layer_of))
}

pub(super) fn term_path(id: RowId, added: Added) -> String {
    format!("{}{}.{}", terms_path(added.term, id.layer), turned(id.uuid), added.version)
}

/// The folder of what is found by a term.
pub(super) fn terms_path(term: Term, layer_of: Layer) -> String {
    format!("terms/{}/{}/", HEXLOWER.encode(&term.0), layer(layer_of))
}

fn layer(layer: Layer) -> String {
    HEXLOWER.encode(&[layer as u8])
}

/// The name behind which a list goes on: that of this row, with whatever follows it.
pub(super) fn after(uuid: Uuid) -> String {
    format!("{}~", turned(uuid))
}

fn turned(uuid: Uuid) -> String {
    HEXLOWER.encode(&uuid.into_bytes().map(|byte| !byte))
}

/// The row that a name in a list means.
pub(super) fn uuid_of(name: &str) -> Option<Uuid> {
    let id = name.split_once('.').map_or(name, |(id, _)| id);
    let bytes: [u8; 16] = HEXLOWER.decode(id.as_bytes()).ok()?.try_into().ok()?;
    Some(Uuid::from_bytes(bytes.map(|byte| !byte)))
}

fn text(added: &Added) -> String {
    format!("{}.{}", HEXLOWER.encode(&added.term.0), added.version)
}

fn added(text: &str) -> Option<Added> {
    let (term, version) = text.split_once('.')?;
    let term = Term(HEXLOWER.decode(term.as_bytes()).ok()?.try_into().ok()?);
    Some(Added { term, version: version.parse().ok()? })
}

/// What is written of a row.
pub(super) fn stored(row: Option<&Row>, terms: &[Added], gone: &[Added]) -> Stored {
    let row = row.map(|row| BASE64.encode(&row.encode()));
    Stored { row, terms: terms.iter().map(text).collect(), gone: gone.iter().map(text).collect() }
}

/// Reads the answer to a request for a row.
pub(super) fn read(id: RowId, body: &[u8]) -> Result<Entry, StoreError> {
    let corrupt = |what: &str| StoreError::Corrupt { what: what.to_owned(), at: id.to_string() };
    let Envelope { data: Versioned { data, metadata } } =
        serde_json::from_slice(body).map_err(|_| corrupt("it is no entry of a keystore"))?;
    let row = data.row.map(|row| {
        let bytes = BASE64.decode(row.as_bytes()).map_err(|_| corrupt("it is not base64"))?;
        let row = Row::decode(&bytes).map_err(|error| corrupt(&error.to_string()))?;
        if row.header.id == id { Ok(row) } else { Err(corrupt("another record lies in its place")) }
    });
    let list = |texts: &[String]| texts.iter().filter_map(|text| added(text)).collect();
    Ok(Entry { version: metadata.version, row: row.transpose()?, terms: list(&data.terms), gone: list(&data.gone) })
}

impl Entry {
    pub(super) fn absent() -> Self {
        Self { version: 0, row: None, terms: Vec::new(), gone: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_turn_the_order_round_and_are_read_back() {
        let uuids = [Uuid::nil(), Uuid::from_u128(1), Uuid::from_u128(1 << 100), Uuid::max()];
        assert!(uuids.windows(2).all(|pair| turned(pair[0]) > turned(pair[1])));
        for uuid in uuids {
            assert_eq!(uuid_of(&turned(uuid)), Some(uuid));
            assert_eq!(uuid_of(&format!("{}.17", turned(uuid))), Some(uuid));
            assert!(after(uuid) > format!("{}.17", turned(uuid)));
        }
        assert!(["", "00", "schema", &"g".repeat(32), &"0".repeat(34)].iter().all(|name| uuid_of(name).is_none()));
        let one = Added { term: Term([0xAB; 16]), version: 12 };
        assert_eq!(added(&text(&one)), Some(one));
        assert!(["", "ab.1", "../../schema.1", &text(&one).replace("12", "-1")].iter().all(|text| added(text).is_none()));
    }
}
