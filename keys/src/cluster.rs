//! A cluster's root records: made once by `init`, opened with the MasterKey at every unseal.
//!
//! IVK versions, the integrity key and the nodes' audit keys are rows like any other, wrapped by keys derived from the MasterKey (`wrap_kid` is the
//! cluster id, `wrap_ver` the MasterKey's generation). The cluster record is sealed under the integrity key.

use std::collections::BTreeMap;
use std::sync::Arc;

use cipher::aead::Aead;
use secret::{Bytes, Key};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::attributes::{self, Attributes, Other};
use crate::entropy::Randomness;
use crate::error::Error;
use crate::hierarchy::{IntegrityKeys, MasterKey, MasterPurpose, ROOT_KEY_BYTES, random_key};
use crate::id::{ChainId, ClusterId, Generation, KeyVersion, Layer, RowId, TenantId, Time};
use crate::lifecycle::{Dates, State};
use crate::port::{Change, Keystore, Query};
use crate::registry::{Ivk, Registry};
use crate::row::{Algorithm, Header, ObjectType, ParentRef, Row};
use crate::unit::{Unit, record_header};
use crate::vault::Vault;
use crate::wrap::{Binding, ParentKey, SALT_BYTES};

/// Most IVK versions that have a key; Retired ones are destroyed long before.
pub(crate) const IVKS_MAX: usize = 4096;
/// Most that there ever are, with those that were destroyed.
pub(crate) const IVK_RECORDS_MAX: usize = 1 << 16;
/// Most nodes whose audit keys are pinned.
pub(crate) const NODES_MAX: usize = 1024;

/// The cluster record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// The cluster.
    pub id: ClusterId,
    /// Which MasterKey wraps the root records; grows with a re-key.
    pub master_generation: u32,
    /// The Active IVK.
    pub active_ivk: ParentRef,
    /// Grows with every write of a root; a writer with a lower one is out of date.
    pub fence: u64,
    /// Grows with every restore.
    pub epoch: u64,
    /// SHA-256 of the custodian roster.
    pub roster_hash: [u8; 32],
    /// Public halves of the nodes' audit signing keys.
    pub audit_keys: Vec<[u8; 32]>,
}

/// The roots of a new cluster, not stored yet.
pub struct Genesis {
    /// The open roots.
    pub registry: Registry,
    /// What is to be stored, in one unit.
    pub rows: Vec<Row>,
    /// This node's audit signing key.
    pub audit_seed: Key<32>,
    /// The record among the rows.
    pub cluster: Cluster,
}

/// The roots of an existing cluster.
pub struct Roots {
    /// The open roots.
    pub registry: Registry,
    /// The cluster record.
    pub cluster: Cluster,
    /// This node's audit signing key.
    pub audit_seed: Key<32>,
}

/// One IVK version as status shows it (IVK-15..IVK-19).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IvkStatus {
    /// Sequential number.
    pub version: KeyVersion,
    /// How it wraps.
    pub aead: Aead,
    /// Where it is in its life.
    pub state: State,
    /// When it was made.
    pub created: Time,
    /// Since when it wraps, or from when it did.
    pub activated: Option<Time>,
    /// When it was demoted, if it was.
    pub rotated: Option<Time>,
    /// When its key was destroyed, if it was.
    pub destroyed: Option<Time>,
}

/// Makes the roots of a new cluster: integrity key, IVK version 1, audit key, cluster record.
///
/// # Errors
/// No randomness, no locked memory.
pub fn found(cluster: ClusterId, master: &MasterKey, randomness: &Randomness, now: Time, roster_hash: [u8; 32]) -> Result<Genesis, Error> {
    let maker = RootMaker { cluster, generation: 1, master, randomness, now };
    let integrity_key = random_key::<ROOT_KEY_BYTES>(randomness)?;
    let integrity = integrity_key.expose(|key| IntegrityKeys::new(cluster, key))?;
    let integrity_header = maker.header(Layer::Integrity, Algorithm::WRAPPING)?;
    let ivk = random_key::<ROOT_KEY_BYTES>(randomness)?;
    let ivk_header = maker.header(Layer::Ivk, Algorithm::WRAPPING)?;
    let audit_seed = random_key::<ROOT_KEY_BYTES>(randomness)?;
    let audit_header = maker.header(Layer::Audit, Algorithm::ED25519)?;
    let audit_public =
        signing_key_pair(&audit_seed).ok_or_else(|| Error::corrupt("the new key pair is not consistent", audit_header.id))?;

    let ivk_open = Ivk { key: ivk.expose(|key| ParentKey::new(cluster, key, Aead::Aes256Gcm))?, state: State::Active };
    let registry =
        Registry::new(cluster, ivk_header.chain, BTreeMap::from([(KeyVersion::FIRST, ivk_open)]), integrity_header.chain, integrity)?;
    let record = Cluster {
        id: cluster,
        master_generation: 1,
        active_ivk: registry.active_ivk()?,
        fence: 1,
        epoch: 1,
        roster_hash,
        audit_keys: vec![audit_public],
    };
    let rows = vec![
        maker.row(&registry, integrity_header, MasterPurpose::IntegrityWrap, &integrity_key, Vec::new())?,
        maker.row(&registry, ivk_header, MasterPurpose::IvkWrap, &ivk, Vec::new())?,
        maker.row(&registry, audit_header, MasterPurpose::AuditWrap, &audit_seed, Vec::new())?,
        maker.cluster_row(&registry, &record)?,
    ];
    Ok(Genesis { registry, rows, audit_seed, cluster: record })
}

/// The public half of a new signing key, if what the one signs the other verifies (C17).
fn signing_key_pair(seed: &Key<ROOT_KEY_BYTES>) -> Option<[u8; 32]> {
    let public = seed.expose(cipher::sign::public_from_seed);
    let signature = seed.expose(|seed| cipher::sign::sign(seed, b"strongroom key pair consistency"));
    cipher::sign::verify(&public, b"strongroom key pair consistency", &signature).ok().map(|()| public)
}

/// Makes root records: keys that the MasterKey wraps.
pub(crate) struct RootMaker<'a> {
    pub(crate) cluster: ClusterId,
    /// Of the MasterKey.
    pub(crate) generation: u32,
    pub(crate) master: &'a MasterKey,
    pub(crate) randomness: &'a Randomness,
    pub(crate) now: Time,
}

impl RootMaker<'_> {
    /// Of version 1 of a chain of its own.
    pub(crate) fn header(&self, layer: Layer, algorithm: Algorithm) -> Result<Header, Error> {
        let millis = u64::try_from(self.now.millis()).unwrap_or(0);
        let uuid = uuid::Builder::from_unix_timestamp_millis(millis, &self.randomness.array()?).into_uuid();
        let header = record_header(RowId::new(layer, uuid), master_ref(self.cluster, self.generation), TenantId::SYSTEM);
        Ok(Header { object_type: ObjectType::SYMMETRIC_KEY, algorithm, bits: 256, wrap_seq: 1, ..header })
    }

    /// The record with its key, opened once more before it counts (C18). `others`: what is to be known of it besides its dates.
    pub(crate) fn row(
        &self,
        registry: &Registry,
        header: Header,
        purpose: MasterPurpose,
        key: &Key<ROOT_KEY_BYTES>,
        others: Vec<Other>,
    ) -> Result<Row, Error> {
        let parent = self.master.parent(self.cluster, purpose)?;
        let binding = registry.material_binding(&header);
        let material = key.expose(|key| parent.wrap(&binding, key, &self.salt()?).map_err(Error::from))?;
        if !parent.unwrap(&binding, &material)?.expose(|opened| key.expose(|key| cipher::mac::ct_eq(opened, key))) {
            return Err(Error::corrupt("a fresh wrap does not open", header.id));
        }
        let activation = (header.state != State::PreActive).then_some(self.now);
        let dates = Dates { initial: self.now, last_change: self.now, activation, ..Dates::default() };
        let content = Attributes { dates, others, ..Attributes::default() }.encode();
        let sealed = registry.integrity().records.wrap(&dates_binding(registry, &header), &content, &self.salt()?)?;
        Ok(registry.seal_row(header, Some(material), Some(sealed), Vec::new()))
    }

    fn cluster_row(&self, registry: &Registry, record: &Cluster) -> Result<Row, Error> {
        let header = record_header(cluster_row(), registry.records(), TenantId::SYSTEM);
        seal_cluster(registry, header, record, &self.salt()?)
    }

    fn salt(&self) -> Result<[u8; SALT_BYTES], Error> {
        Ok(self.randomness.salt()?)
    }
}

/// The row of a cluster record.
pub(crate) fn seal_cluster(registry: &Registry, header: Header, record: &Cluster, salt: &[u8; SALT_BYTES]) -> Result<Row, Error> {
    let sealed = registry.integrity().records.wrap(&registry.attributes_binding(&header), &attributes::encode(record), salt)?;
    Ok(registry.seal_row(header, None, Some(sealed), Vec::new()))
}

/// The row id of the cluster record: there is one a store.
#[must_use]
pub fn cluster_row() -> RowId {
    RowId::new(Layer::Cluster, Uuid::nil())
}

/// Opens the roots with the MasterKey.
///
/// # Errors
/// [`Error::NotFound`] if the store holds no cluster; [`Error::Corrupt`] names the record that does not open.
pub async fn load(store: &Arc<dyn Keystore>, cluster: ClusterId, master: &MasterKey) -> Result<Roots, Error> {
    let integrity_row = integrity_row(store).await?.ok_or(Error::NotFound)?;
    let integrity_key = open_root(cluster, master, MasterPurpose::IntegrityWrap, &integrity_row)?;
    let integrity = integrity_key.expose(|key| IntegrityKeys::new(cluster, key))?;
    let ivk_rows = rows_of(store, Layer::Ivk, IVK_RECORDS_MAX).await?;
    let ivk_chain = ivk_rows.first().ok_or_else(|| Error::corrupt("the keystore holds none", "IVK"))?.header.chain;
    let mut ivks = BTreeMap::new();
    for row in &ivk_rows {
        if row.header.chain != ivk_chain {
            return Err(Error::corrupt("it belongs to another chain", row.header.id));
        }
        if matches!(row.header.state, State::Active | State::Deprecated | State::Compromised) {
            let key = open_root(cluster, master, MasterPurpose::IvkWrap, row)?;
            let key = key.expose(|key| ParentKey::new(cluster, key, row.header.aead))?;
            ivks.insert(row.header.version, Ivk { key, state: row.header.state });
        }
    }
    let registry = Registry::new(cluster, ivk_chain, ivks, integrity_row.header.chain, integrity)?;
    for row in ivk_rows.iter().chain([&integrity_row]) {
        registry.check_row(row)?;
    }
    // Of those that are not open it is known why.
    ivk_rows.iter().for_each(|row| registry.settle(&row.header));
    let record = load_cluster(store, &registry).await?;
    if record.active_ivk != registry.active_ivk()? {
        return Err(Error::corrupt("it names another Active IVK than the IVK's own records", "cluster record"));
    }
    if integrity_row.header.parent != master_ref(cluster, record.master_generation) {
        return Err(Error::corrupt("it names another generation of the MasterKey than the root records", "cluster record"));
    }
    let audit_seed = load_audit_seed(store, &registry, master).await?;
    Ok(Roots { registry, cluster: record, audit_seed })
}

/// Which generation of the MasterKey opens the roots, as far as a store can tell of which nothing is believed yet; `None` if it holds no roots. What
/// it says decides which slots are tried, and a wrong answer opens nothing.
///
/// # Errors
/// The store's.
pub async fn master_generation(store: &Arc<dyn Keystore>) -> Result<Option<u32>, Error> {
    Ok(integrity_row(store).await?.map(|row| row.header.parent.version.0))
}

async fn integrity_row(store: &Arc<dyn Keystore>) -> Result<Option<Row>, Error> {
    Ok(rows_of(store, Layer::Integrity, 2).await?.pop())
}

async fn load_cluster(store: &Arc<dyn Keystore>, registry: &Registry) -> Result<Cluster, Error> {
    let row = store.retrieve(cluster_row()).await?.ok_or(Error::NotFound)?;
    registry.check_row(&row)?;
    read_cluster(registry, &row)
}

/// What a cluster record that was believed says.
pub(crate) fn read_cluster(registry: &Registry, row: &Row) -> Result<Cluster, Error> {
    let blob = row.attributes.as_deref().ok_or_else(|| Error::corrupt("it has no content", row.header.id))?;
    let content = registry.integrity().records.unwrap(&registry.attributes_binding(&row.header), blob)?;
    content.expose(attributes::decode).map_err(|error| Error::corrupt(&error.to_string(), row.header.id))
}

async fn load_audit_seed(store: &Arc<dyn Keystore>, registry: &Registry, master: &MasterKey) -> Result<Key<32>, Error> {
    let row = rows_of(store, Layer::Audit, NODES_MAX).await?.pop();
    let row = row.ok_or_else(|| Error::corrupt("the keystore holds none", "audit key"))?;
    registry.check_row(&row)?;
    let seed = open_root(registry.cluster(), master, MasterPurpose::AuditWrap, &row)?;
    let fits = |bytes: &[u8]| bytes.len() == ROOT_KEY_BYTES;
    if !seed.expose(fits) {
        return Err(Error::corrupt("its length is not that of a seed", row.header.id));
    }
    Ok(seed.expose(|bytes| Key::init_with(|seed| seed.copy_from_slice(bytes)))?)
}

pub(crate) async fn rows_of(store: &Arc<dyn Keystore>, layer: Layer, limit: usize) -> Result<Vec<Row>, Error> {
    Ok(store.find(&Query { layer, terms: Vec::new(), before: None, limit }).await?)
}

pub(crate) fn open_root(cluster: ClusterId, master: &MasterKey, purpose: MasterPurpose, row: &Row) -> Result<Bytes, Error> {
    let header = &row.header;
    let blob = row.material.as_deref().ok_or_else(|| Error::corrupt("it has no material", header.id))?;
    let binding = Binding {
        cluster,
        tenant: header.owner.tenant,
        id: header.id,
        version: header.version,
        parent: header.parent,
        object_type: header.object_type,
        algorithm: header.algorithm,
        bits: header.bits,
        wrap_seq: header.wrap_seq,
    };
    let parent = master.parent(cluster, purpose)?;
    parent.unwrap(&binding, blob).map_err(|error| Error::corrupt(&error.to_string(), header.id))
}

/// The MasterKey as a parent: its chain is the cluster, its version its generation.
pub(crate) fn master_ref(cluster: ClusterId, generation: u32) -> ParentRef {
    ParentRef { chain: ChainId::new(Uuid::from_bytes(*cluster.as_bytes())), version: KeyVersion(generation) }
}

/// Attributes of a root record are sealed under the integrity key, so that status can show them without the MasterKey.
pub(crate) fn dates_binding(registry: &Registry, header: &Header) -> Binding {
    Binding { parent: registry.records(), ..registry.attributes_binding(header) }
}

/// What is known of a root key, by its record.
pub(crate) fn read_attributes(registry: &Registry, row: &Row) -> Result<Attributes, Error> {
    let blob = row.attributes.as_deref().ok_or_else(|| Error::corrupt("it has no dates", row.header.id))?;
    let content = registry.integrity().records.unwrap(&dates_binding(registry, &row.header), blob)?;
    content.expose(Attributes::decode).map_err(|error| Error::corrupt(&error.to_string(), row.header.id))
}

impl Vault {
    /// Stages the rows of a new cluster.
    pub fn stage_genesis(&self, unit: &mut Unit, rows: Vec<Row>) {
        for row in rows {
            debug_assert_eq!(row.header.generation, Generation::FIRST, "a new cluster's rows are new");
            unit.stage(Change::Insert(row));
        }
    }

    /// The chain that every IVK version is of.
    ///
    /// # Errors
    /// [`Error::Denied`] on an edge.
    pub fn ivk_chain(&self) -> Result<ChainId, Error> {
        Ok(self.shelf.registry.active_ivk()?.chain)
    }

    /// Every IVK version, newest first.
    ///
    /// # Errors
    /// [`Error::Corrupt`] names the record that does not verify; the store's.
    pub async fn ivk_status(&self) -> Result<Vec<IvkStatus>, Error> {
        let mut all = Vec::new();
        for row in rows_of(&self.shelf.store, Layer::Ivk, IVK_RECORDS_MAX).await? {
            self.shelf.registry.check_row(&row)?;
            self.shelf.seen.check(&row)?;
            let Attributes { dates, .. } = read_attributes(&self.shelf.registry, &row)?;
            let Header { version, aead, state, .. } = row.header;
            all.push(IvkStatus {
                version,
                aead,
                state,
                created: dates.initial,
                activated: dates.activation,
                rotated: dates.deactivation,
                destroyed: dates.destroy,
            });
        }
        all.sort_by_key(|status| std::cmp::Reverse(status.version));
        Ok(all)
    }
}
