//! Rotation of the IVK: version n + 1, the demotion of version n, and the cluster record that fences both, in one unit.
//!
//! Until the unit's commit n wraps; from then on n + 1 does, and n only opens what is under it until [re-encryption](crate::reencrypt) has moved that.
//! Another rotation, and a re-key of the MasterKey, change the same cluster record, so one of two that race wins and no number is skipped. What was
//! wrapped under n for a unit that comes later is refused by the writer and done again: after the commit nothing new lies under n.

use cipher::aead::Aead;

use crate::attributes::{Attributes, Other};
use crate::cluster::{Cluster, IVK_RECORDS_MAX, IVKS_MAX, RootMaker, cluster_row, dates_binding, read_attributes, read_cluster, rows_of};
use crate::error::Error;
use crate::hierarchy::{MasterKey, MasterPurpose, ROOT_KEY_BYTES, random_key};
use crate::id::{KeyVersion, Layer, Time};
use crate::lifecycle::{Event, State};
use crate::policy::Action;
use crate::port::Change;
use crate::record::{Outcome, Record, Subject};
use crate::registry::Registry;
use crate::row::{Algorithm, Header, Row};
use crate::unit::Unit;
use crate::uses::Unused;
use crate::vault::Vault;
use crate::wrap::ParentKey;

/// Under which name a version's record keeps the request that made it.
const REQUEST: &str = "Idempotency-Key";

/// How the IVK is to go on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NewIvk {
    /// How the new version wraps; `None`: as the one before.
    pub aead: Option<Aead>,
    /// The versions so far may be known to others: nothing but re-encryption opens them any more.
    pub is_compromised: bool,
    /// Everything below gets new material too, which is ordered with the rotation and done by the node.
    pub renews: bool,
    /// SHA-256 of what names the request: one that comes again is told what it has done.
    pub request: Option<[u8; 32]>,
}

/// What a rotation has staged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RotatedIvk {
    /// The cluster record as it will be.
    pub cluster: Cluster,
    /// The version that will be Active.
    pub version: KeyVersion,
    /// The one that was.
    pub replaced: KeyVersion,
    /// The request was done before, so nothing is staged.
    pub is_repeated: bool,
}

fn is_request(other: &Other, name: Option<[u8; 32]>) -> bool {
    other.name == REQUEST && name.is_some_and(|name| other.value == name)
}

impl Vault {
    /// Stages the next version of the IVK with its audit record. The unit's commit is the rotation.
    ///
    /// - `master`: the MasterKey in force.
    ///
    /// # Errors
    /// [`Error::Corrupt`] names the root record that does not verify, or is missing; [`Error::Denied`] on an edge, and when there are too many versions;
    /// the store's. The commit: [`Error::Raced`] if another change of the roots came first.
    pub async fn rotate_ivk(&self, unit: &mut Unit, master: &MasterKey, new: NewIvk) -> Result<RotatedIvk, Error> {
        let registry = &self.shelf.registry;
        let active = registry.active_ivk()?;
        let cluster_row = self.shelf.existing(cluster_row()).await?;
        let record = read_cluster(registry, &cluster_row)?;
        if record.active_ivk != active {
            return Err(Error::Raced);
        }
        let rows = self.ivk_rows().await?;
        if rows.iter().filter(|row| row.material.is_some()).count() >= IVKS_MAX {
            return Err(Error::Denied { why: "there are 4096 versions of the IVK: destroy Retired ones first" });
        }
        if rows.len() >= IVK_RECORDS_MAX {
            return Err(Error::Denied { why: "there have been 65536 versions of the IVK, more than a cluster has: begin another cluster" });
        }
        for row in rows.iter().filter(|_| new.request.is_some()) {
            if read_attributes(registry, row)?.others.iter().any(|other| is_request(other, new.request)) {
                let version = row.header.version;
                let replaced = rows.iter().map(|row| row.header.version).filter(|older| *older < version).max().unwrap_or(version);
                return Ok(RotatedIvk { cluster: record, version, replaced, is_repeated: true });
            }
        }
        let aead = new.aead.or_else(|| rows.iter().find(|row| row.header.version == active.version).map(|row| row.header.aead));
        let aead = aead.ok_or_else(|| Error::corrupt("the keystore has lost it", format!("IVK version {}", active.version.0)))?;
        let newest = rows.iter().map(|row| row.header.version).max().unwrap_or(active.version);
        let now = self.now();
        let replaced = active.version;
        let version = newest.next();
        for row in rows.into_iter().filter(|row| matches!(row.header.state, State::Active | State::Deprecated)) {
            if row.header.version == replaced || new.is_compromised {
                unit.stage(self.demoted(row, new.is_compromised, now)?);
            }
        }

        let maker = RootMaker { cluster: record.id, generation: record.master_generation, master, randomness: &self.randomness, now };
        let header = maker.header(Layer::Ivk, Algorithm::WRAPPING)?;
        let header = Header { chain: active.chain, version, aead, ..header };
        let subject = Subject::from(&header);
        let key = random_key::<ROOT_KEY_BYTES>(&self.randomness)?;
        let request = new.request.map(|name| Other { name: REQUEST.to_owned(), index: 0, value: name.to_vec() });
        let row = maker.row(registry, header, MasterPurpose::IvkWrap, &key, request.into_iter().collect())?;
        registry.announce(row.header.id, key.expose(|key| ParentKey::new(record.id, key, aead))?);
        unit.stage(Change::Insert(row));

        let record = Cluster { active_ivk: crate::row::ParentRef { version, ..active }, fence: record.fence + 1, ..record };
        unit.stage(self.cluster_change(cluster_row, &record)?);
        let Subject { object, version: named, generation } = subject;
        let (session, action) = (unit.session(), Action::RotateIvk);
        unit.record(Record { time: now, session, action, object, version: named, generation, outcome: Outcome::Success });
        if new.renews {
            self.order(unit, None).await?;
        }
        Ok(RotatedIvk { cluster: record, version, replaced, is_repeated: false })
    }

    /// Stages that a Deprecated version is archived: it is opened no more.
    ///
    /// - `unused`: no key lies under it.
    ///
    /// # Errors
    /// [`Error::NotFound`] without such a version; [`Error::WrongState`] unless it is Deprecated; [`Error::Raced`] if it has changed since the look;
    /// the store's.
    pub async fn retire_ivk(&self, unit: &mut Unit, version: KeyVersion, unused: Unused) -> Result<(), Error> {
        let row = self.ivk_row(version).await?;
        let (is, wants) = (row.header.state, "a Deprecated version, which another one has replaced");
        let state = is.next(Layer::Ivk, Event::Retire).map_err(|_| Error::WrongState { is, wants })?;
        unused.must_be_of(&row.header)?;
        let mut attributes = read_attributes(&self.shelf.registry, &row)?;
        let now = self.now();
        attributes.dates.last_change = now;
        self.stage_ivk(unit, row, state, &attributes, Action::RetireIvk)
    }

    /// Stages the end of a version: its wrapped key is removed, a tombstone with its dates stays, and no version has its number again. The cluster record is
    /// fenced with it. Once that is durable, the open key is wiped.
    ///
    /// - `unused`: no key lies under it. With one that did, that key would be lost.
    ///
    /// Returns the cluster record as it will be: whose word the destruction needs is for whoever calls to compare with it.
    ///
    /// # Errors
    /// [`Error::NotFound`] without such a version; [`Error::WrongState`] if it is Active or destroyed; [`Error::Raced`] if it has changed since the look;
    /// the store's. The commit: [`Error::Raced`] if another change of the roots came first.
    pub async fn destroy_ivk(&self, unit: &mut Unit, version: KeyVersion, unused: Unused) -> Result<Cluster, Error> {
        let registry = &self.shelf.registry;
        let row = self.ivk_row(version).await?;
        let (is, wants) = (row.header.state, "a version that was replaced, and has its key still");
        let state = is.next(Layer::Ivk, Event::Destroy).map_err(|_| Error::WrongState { is, wants })?;
        unused.must_be_of(&row.header)?;
        let cluster_row = self.shelf.existing(cluster_row()).await?;
        let record = read_cluster(registry, &cluster_row)?;
        if record.active_ivk != registry.active_ivk()? || record.active_ivk.version == version {
            return Err(Error::Raced);
        }
        let mut attributes = read_attributes(registry, &row)?;
        let now = self.now();
        attributes.dates.last_change = now;
        attributes.dates.destroy = Some(now);
        unit.intend(now, Action::DestroyIvk, &row.header);
        self.stage_ivk(unit, Row { material: None, ..row }, state, &attributes, Action::DestroyIvk)?;
        let record = Cluster { fence: record.fence + 1, ..record };
        unit.stage(self.cluster_change(cluster_row, &record)?);
        Ok(record)
    }

    async fn ivk_row(&self, version: KeyVersion) -> Result<Row, Error> {
        self.ivk_rows().await?.into_iter().find(|row| row.header.version == version).ok_or(Error::NotFound)
    }

    /// Stages what becomes of a version, with the record of it.
    fn stage_ivk(&self, unit: &mut Unit, row: Row, state: State, attributes: &Attributes, action: Action) -> Result<(), Error> {
        let Subject { object, version, .. } = Subject::from(&row.header);
        let change = self.ivk_change(row, state, attributes)?;
        let generation = change.row().map(|row| row.header.generation);
        unit.stage(change);
        let (time, session) = (attributes.dates.last_change, unit.session());
        unit.record(Record { time, session, action, object, version, generation, outcome: Outcome::Success });
        Ok(())
    }

    /// Every version's record, each believed.
    pub(crate) async fn ivk_rows(&self) -> Result<Vec<Row>, Error> {
        let mut rows = Vec::new();
        for hint in rows_of(&self.shelf.store, Layer::Ivk, IVK_RECORDS_MAX).await? {
            rows.push(self.shelf.existing(hint.header.id).await?);
        }
        Ok(rows)
    }

    /// A version's record with what has become of it; its key lies as it did.
    fn demoted(&self, row: Row, is_compromised: bool, now: Time) -> Result<Change, Error> {
        let mut state = row.header.state;
        let mut attributes = read_attributes(&self.shelf.registry, &row)?;
        let dates = &mut attributes.dates;
        dates.last_change = now;
        if state == State::Active {
            state = state.next(Layer::Ivk, Event::Deprecate)?;
            dates.deactivation = Some(now);
        }
        if is_compromised {
            state = state.next(Layer::Ivk, Event::Compromise)?;
            dates.compromise = Some(now);
        }
        self.ivk_change(row, state, &attributes)
    }

    /// The next generation of a version's record.
    pub(crate) fn ivk_change(&self, row: Row, state: State, attributes: &Attributes) -> Result<Change, Error> {
        let registry: &Registry = &self.shelf.registry;
        let expected = row.header.generation;
        let header = Header { state, generation: expected.next(), attributes_seq: row.header.attributes_seq + 1, ..row.header };
        let (binding, salt) = (dates_binding(registry, &header), self.randomness.array()?);
        let sealed = registry.integrity().records.wrap(&binding, &attributes.encode(), &salt)?;
        let row = registry.seal_row(header, row.material, Some(sealed), row.terms);
        if read_attributes(registry, &row)? != *attributes {
            return Err(Error::corrupt("a fresh wrap does not open", row.header.id));
        }
        Ok(Change::Update { expected, row })
    }
}
