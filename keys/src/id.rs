//! The one registry of identities: every id that crosses a function border is a type of this file.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Milliseconds since 1970-01-01 UTC; dates of KMIP have whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Time(i64);

impl Time {
    /// From milliseconds since the epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// From whole seconds since the epoch, as KMIP's Date-Time has them; out-of-range values saturate.
    #[must_use]
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }
}

/// One installation: all nodes that share one MasterKey.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClusterId(Uuid);

/// A customer of the installation; nil for the appliance's own records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TenantId(Uuid);

/// One service of a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServiceId(Uuid);

/// A chain of versions of one key; the `wrap_kid` of what its versions wrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChainId(Uuid);

impl ClusterId {
    /// Wraps a UUID.
    #[must_use]
    pub const fn new(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// The 16 bytes that go into key derivation and AADs.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl TenantId {
    /// The owner of the appliance's own records.
    pub const SYSTEM: Self = Self(Uuid::nil());

    /// Wraps a UUID.
    #[must_use]
    pub const fn new(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// The 16 bytes that go into AADs and terms.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl ServiceId {
    /// Wraps a UUID.
    #[must_use]
    pub const fn new(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// The 16 bytes that go into terms.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl ChainId {
    /// Wraps a UUID.
    #[must_use]
    pub const fn new(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// The 16 bytes of `wrap_kid`.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ServiceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which version of a chain; sequential from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyVersion(pub u32);

impl KeyVersion {
    /// The first version of every chain.
    pub const FIRST: Self = Self(1);

    /// The version after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Counts the changes of one row; grows by one with each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Generation(pub u64);

impl Generation {
    /// The generation of a row that was just inserted.
    pub const FIRST: Self = Self(1);

    /// The generation after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// What kind of record a row is; its number is stored and never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Layer {
    /// The cluster record.
    Cluster = 0,
    /// A version of the Internal Versioned Key.
    Ivk = 1,
    /// The integrity key.
    Integrity = 2,
    /// A node's audit signing key.
    Audit = 3,
    /// A tenant's record.
    Tenant = 4,
    /// A service's record.
    Service = 5,
    /// An edge group's record.
    EdgeGroup = 6,
    /// The key under which an edge keeps the attributes of a service's objects.
    AttributeKey = 7,
    /// A version of a tenant key.
    L2 = 8,
    /// A version of a tenant's key per resource or version.
    L21 = 9,
    /// A version of a service key.
    L3 = 10,
    /// An object held by an edge.
    L4 = 11,
    /// A claim on a name that must be unique.
    Name = 16,
    /// How many random IVs a key version has used.
    IvBudget = 17,
    /// The digest of one 4,096th of all rows.
    Bucket = 18,
    /// What a core has answered to an edge's client.
    Answer = 19,
    /// A record of what a tenant keeps keys for under an L2.1.
    Resource = 20,
    /// How much of a key's Usage Limits was given away.
    UsageBudget = 21,
    /// What an edge forwarded for a client, in the audit logs of both nodes: no row.
    Request = 32,
}

impl TryFrom<u8> for Layer {
    type Error = u8;

    fn try_from(number: u8) -> Result<Self, u8> {
        let all = [
            Self::Cluster,
            Self::Ivk,
            Self::Integrity,
            Self::Audit,
            Self::Tenant,
            Self::Service,
            Self::EdgeGroup,
            Self::AttributeKey,
            Self::L2,
            Self::L21,
            Self::L3,
            Self::L4,
            Self::Name,
            Self::IvBudget,
            Self::Bucket,
            Self::Answer,
            Self::Resource,
            Self::UsageBudget,
            Self::Request,
        ];
        all.into_iter().find(|layer| *layer as u8 == number).ok_or(number)
    }
}

/// The primary key of a row: 17 bytes, layer then UUID, so that rows of one layer lie together in order of creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RowId {
    /// What kind of record.
    pub layer: Layer,
    /// Which one.
    pub uuid: Uuid,
}

/// Length of [`RowId::to_bytes`].
pub const ROW_ID_BYTES: usize = 17;

impl RowId {
    /// Joins a layer and a UUID.
    #[must_use]
    pub const fn new(layer: Layer, uuid: Uuid) -> Self {
        Self { layer, uuid }
    }

    /// `layer u8 | uuid 16`.
    #[must_use]
    pub fn to_bytes(self) -> [u8; ROW_ID_BYTES] {
        let mut bytes = [0; ROW_ID_BYTES];
        bytes[0] = self.layer as u8;
        bytes[1..].copy_from_slice(self.uuid.as_bytes());
        bytes
    }

    /// The inverse of [`RowId::to_bytes`]; `None` for another length or an unknown layer.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (layer, uuid) = bytes.split_first()?;
        Some(Self { layer: Layer::try_from(*layer).ok()?, uuid: Uuid::from_slice(uuid).ok()? })
    }
}

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for RowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.layer {
            Layer::L2 => write!(f, "L2-{}", self.uuid),
            Layer::L21 => write!(f, "L21-{}", self.uuid),
            Layer::L3 => write!(f, "L3-{}", self.uuid),
            Layer::L4 => write!(f, "{}", self.uuid),
            other => write!(f, "{other:?}-{}", self.uuid),
        }
    }
}

/// A Unique Identifier that is not one of ours, by its syntax alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAKeyId;

/// Parses what a KMIP client may name: `L2-`, `L21-`, `L3-` + lower-case UUID, or a bare one for L4.
impl FromStr for RowId {
    type Err = NotAKeyId;

    fn from_str(text: &str) -> Result<Self, NotAKeyId> {
        let (layer, rest) = match text {
            _ if text.starts_with("L2-") => (Layer::L2, &text[3..]),
            _ if text.starts_with("L21-") => (Layer::L21, &text[4..]),
            _ if text.starts_with("L3-") => (Layer::L3, &text[3..]),
            bare => (Layer::L4, bare),
        };
        let uuid = Uuid::try_parse(rest).map_err(|_| NotAKeyId)?;
        // Only the one spelling that Display prints is an identifier: no upper case, braces or missing hyphens.
        let mut buffer = Uuid::encode_buffer();
        if uuid.hyphenated().encode_lower(&mut buffer) == rest { Ok(Self { layer, uuid }) } else { Err(NotAKeyId) }
    }
}

/// One connection or job in the audit log; unique per node and start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionId(pub u64);

/// Position of a record in the transactional outbox; grows by one, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OutboxSeq(pub u64);

/// A tenant's or service's name: 1 to 63 of `a-z 0-9 -`, beginning and ending with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ScopeName(String);

/// Longest tenant or service name, in bytes: a DNS label.
pub const SCOPE_NAME_BYTES_MAX: usize = 63;

/// Why a text is not a tenant's or service's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a name: use 1 to {SCOPE_NAME_BYTES_MAX} of a-z, 0-9 and -, beginning and ending with a letter or digit")]
pub struct NotAName {
    text: String,
}

/// Name of the reserved tenant.
const SYSTEM: &str = "system";

impl ScopeName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The reserved tenant, whose services are the edge groups.
    #[must_use]
    pub fn system() -> Self {
        Self(SYSTEM.to_owned())
    }

    /// Is it the reserved tenant's?
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.0 == SYSTEM
    }
}

impl FromStr for ScopeName {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        let edge = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        let bytes = text.as_bytes();
        let inner = bytes.iter().all(|byte| edge(Some(byte)) || *byte == b'-');
        if bytes.len() <= SCOPE_NAME_BYTES_MAX && edge(bytes.first()) && edge(bytes.last()) && inner {
            return Ok(Self(text.to_owned()));
        }
        Err(NotAName { text: text.chars().take(SCOPE_NAME_BYTES_MAX + 1).filter(|c| !c.is_control()).collect() })
    }
}

impl fmt::Display for ScopeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

    #[test]
    fn an_identifier_reads_as_it_prints() {
        for text in [format!("L2-{UUID}"), format!("L21-{UUID}"), format!("L3-{UUID}"), UUID.to_owned()] {
            let id: RowId = text.parse().expect("the text is an identifier");
            assert_eq!(id.to_string(), text);
            assert_eq!(RowId::from_bytes(&id.to_bytes()), Some(id));
        }
    }

    #[test]
    fn other_spellings_of_a_uuid_are_not_identifiers() {
        let upper = UUID.to_uppercase();
        let simple = UUID.replace('-', "");
        let braced = format!("{{{UUID}}}");
        let urn = format!("urn:uuid:{UUID}");
        for text in ["", "L3-", "L4-x", "1", &upper, &simple, &braced, &urn, &format!("l3-{UUID}"), &format!("L3-{UUID} ")] {
            assert_eq!(text.parse::<RowId>(), Err(NotAKeyId), "{text}");
        }
    }

    #[test]
    fn an_unknown_layer_is_not_a_row() {
        assert_eq!(RowId::from_bytes(&[200; ROW_ID_BYTES]), None);
        assert_eq!(RowId::from_bytes(&[8; 3]), None);
    }

    #[test]
    fn names_are_dns_labels() {
        for good in ["a", "acme", "acme-2", &"x".repeat(63)] {
            assert_eq!(good.parse::<ScopeName>().map(|name| name.to_string()).as_deref(), Ok(good));
        }
        for bad in ["", "-a", "a-", "Acme", "a_b", "a b", "ä", "a/b", "a\0", &"x".repeat(64)] {
            assert!(bad.parse::<ScopeName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn seconds_round_towards_the_past() {
        assert_eq!(Time::from_millis(-1).seconds(), -1);
        assert_eq!(Time::from_seconds(7).millis(), 7000);
    }
}
