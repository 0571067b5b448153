//! The tables of the PostgreSQL store, and rows read from them.
//!
//! ```text
//! records          layer, id -> the visible header in columns (KS-6..KS-11), and `stored`: Row::encode. Of an IVK version without its material
//! terms            term, layer, id: by what a record is found; tenant: whose that is, for the policies
//! kek_storage      ivk_version -> kek_encrypted: the material of an IVK version, a C1 blob; empty once it is destroyed
//! encryption_keys  id: a generation of the MasterKey; it holds no key
//! outbox           node, seq -> postcard(Record)
//! nodes            node -> how many commits it has made
//! roles            as whom requests and the node's own work look at all of these
//! ```
//! What is in columns is there for whoever looks at the tables, and to be searched. It is read from `stored`, which a MAC covers; a row of which the two
//! differ was changed by SQL, and is refused.

use keys::id::{Layer, OutboxSeq, RowId};
use keys::lifecycle::State;
use keys::port::{OutboxEntry, StoreError};
use keys::record::Record;
use keys::row::{Header, Row};
use uuid::Uuid;

/// Outbox records of one node after a number.
pub(super) const OUTBOX: &str = "select seq, record from strongroom.outbox where node = $1 and seq > $2 order by seq limit $3";

/// The columns of a record; those of an IVK version's material stand empty for other layers.
macro_rules! select {
    (plain, $($rest:literal),+) => {
        concat!(
            "select r.id, r.stored, r.chain, r.version, r.object_type, r.algorithm, r.bits, r.state, r.expiry, r.tenant, r.service, r.generation, ",
            "r.parent, r.parent_version from strongroom.records r ",
            $($rest),+
        )
    };
    (ivk, $($rest:literal),+) => {
        concat!(
            "select r.id, r.stored, r.chain, r.version, r.object_type, r.algorithm, r.bits, r.state, r.expiry, r.tenant, r.service, r.generation, ",
            "r.parent, r.parent_version, k.kek_encrypted, k.encryption_key_id, k.status from strongroom.records r ",
            "left join strongroom.kek_storage k on k.ivk_version = r.version ",
            $($rest),+
        )
    };
}

/// The statement for one record: layer, id.
pub(super) fn retrieving(layer: Layer) -> &'static str {
    match layer {
        Layer::Ivk => select!(ivk, "where r.layer = $1 and r.id = $2"),
        _ => select!(plain, "where r.layer = $1 and r.id = $2"),
    }
}

/// The statement for records of a layer, newest first: layer, upper id, how many.
pub(super) fn listing(layer: Layer, is_upper_wanted: bool) -> &'static str {
    match (layer, is_upper_wanted) {
        (Layer::Ivk, true) => select!(ivk, "where r.layer = $1 and r.id <= $2 order by r.id desc limit $3"),
        (Layer::Ivk, false) => select!(ivk, "where r.layer = $1 and r.id < $2 order by r.id desc limit $3"),
        (_, true) => select!(plain, "where r.layer = $1 and r.id <= $2 order by r.id desc limit $3"),
        (_, false) => select!(plain, "where r.layer = $1 and r.id < $2 order by r.id desc limit $3"),
    }
}

/// The statement for records that carry terms, newest first: layer, upper id, how many, the first term, the others.
pub(super) fn finding(layer: Layer, is_upper_wanted: bool) -> &'static str {
    macro_rules! with_terms {
        ($kind:ident, $bound:literal) => {
            select!(
                $kind,
                "join strongroom.terms t on t.layer = r.layer and t.id = r.id and t.tenant = r.tenant where t.term = $4 and t.layer = $1 and t.id ",
                $bound,
                " $2 and not exists (select 1 from unnest($5::bytea[]) as other(term) where not exists ",
                "(select 1 from strongroom.terms o where o.term = other.term and o.layer = t.layer and o.id = t.id and o.tenant = t.tenant)) ",
                "order by t.id desc limit $3"
            )
        };
    }
    match (layer, is_upper_wanted) {
        (Layer::Ivk, true) => with_terms!(ivk, "<="),
        (Layer::Ivk, false) => with_terms!(ivk, "<"),
        (_, true) => with_terms!(plain, "<="),
        (_, false) => with_terms!(plain, "<"),
    }
}

/// A layer as its column has it.
pub(super) fn layer(layer: Layer) -> i16 {
    i16::from(layer as u8)
}

/// A state as the columns have it.
pub(super) fn status(state: State) -> &'static str {
    match state {
        State::PreActive => "pre-active",
        State::Active => "active",
        State::Deprecated => "deprecated",
        State::Retired => "retired",
        State::Compromised => "compromised",
        State::Destroyed => "destroyed",
        State::DestroyedCompromised => "destroyed-compromised",
    }
}

/// The visible header as columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Columns {
    pub(super) chain: Uuid,
    pub(super) version: i64,
    pub(super) object_type: i64,
    pub(super) algorithm: i64,
    pub(super) bits: i64,
    pub(super) state: String,
    /// Milliseconds since 1970.
    pub(super) expiry: Option<i64>,
    pub(super) tenant: Uuid,
    pub(super) service: Option<Uuid>,
    pub(super) generation: i64,
    pub(super) parent: Uuid,
    pub(super) parent_version: i64,
}

impl Columns {
    /// Of a header; `None` if its generation has more than 63 bits, which no row of ours reaches.
    pub(super) fn of(header: &Header) -> Option<Self> {
        Some(Self {
            chain: Uuid::from_bytes(*header.chain.as_bytes()),
            version: header.version.0.into(),
            object_type: header.object_type.0.into(),
            algorithm: header.algorithm.0.into(),
            bits: header.bits.into(),
            state: status(header.state).to_owned(),
            expiry: header.expiry.map(keys::id::Time::millis),
            tenant: Uuid::from_bytes(*header.owner.tenant.as_bytes()),
            service: header.owner.service.map(|service| Uuid::from_bytes(*service.as_bytes())),
            generation: i64::try_from(header.generation.0).ok()?,
            parent: Uuid::from_bytes(*header.parent.chain.as_bytes()),
            parent_version: header.parent.version.0.into(),
        })
    }

    fn read(row: &tokio_postgres::Row) -> Result<Self, tokio_postgres::Error> {
        Ok(Self {
            chain: row.try_get("chain")?,
            version: row.try_get("version")?,
            object_type: row.try_get("object_type")?,
            algorithm: row.try_get("algorithm")?,
            bits: row.try_get("bits")?,
            state: row.try_get("state")?,
            expiry: row.try_get("expiry")?,
            tenant: row.try_get("tenant")?,
            service: row.try_get("service")?,
            generation: row.try_get("generation")?,
            parent: row.try_get("parent")?,
            parent_version: row.try_get("parent_version")?,
        })
    }
}

/// What a search came upon.
pub(super) struct Found {
    /// To go on from there.
    pub(super) uuid: Uuid,
    /// `None` if it cannot be read as that row.
    pub(super) row: Option<Row>,
}

/// A row of a page. One that cannot be read does not hide the others.
pub(super) fn found(layer: Layer, found: &tokio_postgres::Row) -> Result<Found, StoreError> {
    let uuid: Uuid = found.try_get("id").map_err(|_| corrupt(RowId::new(layer, Uuid::nil()), "its id is none"))?;
    Ok(Found { uuid, row: row(RowId::new(layer, uuid), found).ok() })
}

/// The row of an id.
pub(super) fn row(id: RowId, found: &tokio_postgres::Row) -> Result<Row, StoreError> {
    let stored: &[u8] = found.try_get("stored").map_err(|error| corrupt(id, &error.to_string()))?;
    let mut row = Row::decode(stored).map_err(|error| corrupt(id, &error.to_string()))?;
    if row.header.id != id {
        return Err(corrupt(id, "another record lies in its place"));
    }
    let columns = Columns::read(found).map_err(|error| corrupt(id, &error.to_string()))?;
    if Columns::of(&row.header) != Some(columns) {
        return Err(corrupt(id, "its columns were changed by hand; they have to say what `stored` says"));
    }
    if id.layer == Layer::Ivk {
        row.material = material(&row.header, found)?;
    }
    Ok(row)
}

/// What `kek_storage` holds of an IVK version.
fn material(header: &Header, found: &tokio_postgres::Row) -> Result<Option<Vec<u8>>, StoreError> {
    let damaged = |error: tokio_postgres::Error| corrupt(header.id, &error.to_string());
    let Some(kek): Option<Vec<u8>> = found.try_get("kek_encrypted").map_err(damaged)? else {
        return Err(corrupt(header.id, "kek_storage has no row of its version"));
    };
    let generation: i64 = found.try_get("encryption_key_id").map_err(damaged)?;
    let state: &str = found.try_get("status").map_err(damaged)?;
    if generation != i64::from(header.parent.version.0) || state != status(header.state) {
        return Err(corrupt(header.id, "kek_storage says something else of it than its record; it was changed by hand"));
    }
    Ok((!kek.is_empty()).then_some(kek))
}

/// A record of the outbox.
pub(super) fn entry(found: &tokio_postgres::Row) -> Result<OutboxEntry, StoreError> {
    let damaged = |what: String, at: i64| StoreError::Corrupt { what, at: format!("{at} of the outbox") };
    let seq: i64 = found.try_get("seq").map_err(|error| damaged(error.to_string(), 0))?;
    let bytes: &[u8] = found.try_get("record").map_err(|error| damaged(error.to_string(), seq))?;
    let record: Record = postcard::from_bytes(bytes).map_err(|error| damaged(error.to_string(), seq))?;
    let number = u64::try_from(seq).map_err(|error| damaged(error.to_string(), seq))?;
    Ok(OutboxEntry { seq: OutboxSeq(number), record })
}

fn corrupt(id: RowId, what: &str) -> StoreError {
    StoreError::Corrupt { what: what.to_owned(), at: id.to_string() }
}
