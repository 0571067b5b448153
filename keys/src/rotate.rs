//! Rotation of the IVK: version n + 1, the demotion of version n, and the cluster record that fences both, in one unit.
//!
//! Until the unit's commit n wraps; from then on n + 1 does, and n only opens what is under it until [re-encryption](crate::reencrypt) has moved that.
//! A version may be generated before it is rotated to: it is stored Pre-Active, wraps nothing and is opened by nobody, and the next rotation makes it the
//! Active one instead of a new one; unless that is for a compromise, of which a version that has lain there may be a part.
//! Another rotation, and a re-key of the MasterKey, change the same cluster record, so one of two that race wins and no number is skipped. What was
//! wrapped under n for a unit that comes later is refused by the writer and done again: after the commit nothing new lies under n.

use cipher::aead::Aead;

use crate::attributes::{Attributes, Other};
use crate::cluster::{
    Cluster, IVK_RECORDS_MAX, IVKS_MAX, RootMaker, cluster_row, dates_binding, open_root, read_attributes, read_cluster, rows_of,
};
use crate::error::Error;
use crate::hierarchy::{MasterKey, MasterPurpose, ROOT_KEY_BYTES, random_key};
use crate::id::{KeyVersion, Layer, TenantId, Time};
use crate::lifecycle::{Event, State};
use crate::policy::Action;
use crate::port::Change;
use crate::record::{Outcome, Record, Subject};
use crate::registry::Registry;
use crate::retire::retired;
use crate::row::{Algorithm, Header, Row};
use crate::tenancy::tenant_row;
use crate::unit::Unit;
use crate::uses::Unused;
use crate::vault::Vault;
use crate::wrap::ParentKey;

/// Under which name a version's record keeps the request that made it the Active one.
const REQUEST: &str = "Idempotency-Key";
/// The same, for the request that generated it before.
const GENERATED: &str = "Idempotency-Key of generate";

/// How the IVK is to go on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NewIvk {
    /// How the new version wraps; `None`: as the one before.
    pub aead: Option<Aead>,
    /// The versions so far may be known to others: nothing but re-encryption opens them any more.
    pub is_compromised: bool,
    /// Everything below gets new material too, which is ordered with the rotation and done by the node.
    pub renews: bool,
    /// The tenant that has left, which is why; the record of the rotation is followed by one that names it.
    pub off_boarded: Option<TenantId>,
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

/// What a generation has staged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GeneratedIvk {
    /// The version that waits.
    pub version: KeyVersion,
    /// How it will wrap.
    pub aead: Aead,
    /// The request was done before, so nothing is staged.
    pub is_repeated: bool,
}

fn is_request(other: &Other, kind: &str, name: Option<[u8; 32]>) -> bool {
    other.name == kind && name.is_some_and(|name| other.value == name)
}

fn request(kind: &str, name: Option<[u8; 32]>) -> Option<Other> {
    name.map(|name| Other { name: kind.to_owned(), index: 0, value: name.to_vec() })
}

/// The version that a request has made, if it was there before.
fn requested(registry: &Registry, rows: &[Row], kind: &str, name: Option<[u8; 32]>) -> Result<Option<KeyVersion>, Error> {
    for row in rows.iter().filter(|_| name.is_some()) {
        if read_attributes(registry, row)?.others.iter().any(|other| is_request(other, kind, name)) {
            return Ok(Some(row.header.version));
        }
    }
    Ok(None)
}

/// The IVK as it is stored.
struct Ivks {
    cluster_row: Row,
    record: Cluster,
    /// Every version's.
    rows: Vec<Row>,
}

impl Vault {
    /// Stages the next version of the IVK with its audit record: the one that waits, or a new one. The unit's commit is the rotation.
    ///
    /// - `master`: the MasterKey in force.
    ///
    /// # Errors
    /// [`Error::Corrupt`] names the root record that does not verify, or is missing; [`Error::Denied`] on an edge, and when there are too many versions;
    /// the store's. The commit: [`Error::Raced`] if another change of the roots came first.
    pub async fn rotate_ivk(&self, unit: &mut Unit, master: &MasterKey, new: NewIvk) -> Result<RotatedIvk, Error> {
        let registry = &self.shelf.registry;
        let Ivks { cluster_row, record, rows } = self.ivks().await?;
        if let Some(version) = requested(registry, &rows, REQUEST, new.request)? {
            let replaced = rows.iter().map(|row| row.header.version).filter(|older| *older < version).max().unwrap_or(version);
            return Ok(RotatedIvk { cluster: record, version, replaced, is_repeated: true });
        }
        let active = record.active_ivk;
        let replaced = active.version;
        let waiting = rows.iter().find(|row| row.header.state == State::PreActive && !new.is_compromised).cloned();
        let now = self.now();
        let (next, key) = match waiting {
            Some(row) => self.activated(row, master, new, now)?,
            None => {
                let (row, key) = self.made(&record, &rows, State::Active, master, new)?;
                (Change::Insert(row), key)
            }
        };
        unit.hold(registry.announce(next.id(), key));
        for row in rows.into_iter().filter(|row| matches!(row.header.state, State::PreActive | State::Active | State::Deprecated)) {
            if row.header.version == replaced || new.is_compromised {
                unit.stage(self.demoted(row, new.is_compromised, now)?);
            }
        }
        let subject = next.row().map(|row| Subject::from(&row.header)).unwrap_or_default();
        let version = next.row().map_or(replaced, |row| row.header.version);
        unit.stage(next);

        let record = Cluster { active_ivk: crate::row::ParentRef { version, ..active }, fence: record.fence + 1, ..record };
        unit.stage(self.cluster_change(cluster_row, &record)?);
        let Subject { object, version: named, generation } = subject;
        let (session, action, outcome) = (unit.session(), Action::RotateIvk, Outcome::Success);
        unit.record(Record { time: now, session, action, object, version: named, generation, outcome });
        if let Some(tenant) = new.off_boarded {
            let (action, object) = (Action::OffBoardTenant, Some(tenant_row(tenant)));
            unit.record_also(Record { time: now, session, action, object, version: named, generation: None, outcome });
        }
        if new.renews {
            self.order(unit, None).await?;
        }
        Ok(RotatedIvk { cluster: record, version, replaced, is_repeated: false })
    }

    /// Stages a version of the IVK that waits, Pre-Active, until the next rotation makes it the Active one, with its audit record.
    ///
    /// - `new`: a compromise is none of its business.
    ///
    /// # Errors
    /// [`Error::WrongState`] if one waits already; as [`Vault::rotate_ivk`].
    pub async fn generate_ivk(&self, unit: &mut Unit, master: &MasterKey, new: NewIvk) -> Result<GeneratedIvk, Error> {
        let registry = &self.shelf.registry;
        let Ivks { cluster_row, record, rows } = self.ivks().await?;
        if let Some(version) = requested(registry, &rows, GENERATED, new.request)? {
            let aead = rows.iter().find(|row| row.header.version == version).map_or(Aead::Aes256Gcm, |row| row.header.aead);
            return Ok(GeneratedIvk { version, aead, is_repeated: true });
        }
        if rows.iter().any(|row| row.header.state == State::PreActive) {
            let wants = "no version of the IVK that waits: rotate to it first, by `strongroom ivk rotate`";
            return Err(Error::WrongState { is: State::PreActive, wants });
        }
        let (row, _key) = self.made(&record, &rows, State::PreActive, master, new)?;
        let Header { version, aead, .. } = row.header;
        let Subject { object, version: named, generation } = Subject::from(&row.header);
        unit.stage(Change::Insert(row));
        // The record changes with it, so that of two that race for one number one wins.
        let record = Cluster { fence: record.fence + 1, ..record };
        unit.stage(self.cluster_change(cluster_row, &record)?);
        let (time, session, action) = (self.now(), unit.session(), Action::GenerateIvk);
        unit.record(Record { time, session, action, object, version: named, generation, outcome: Outcome::Success });
        Ok(GeneratedIvk { version, aead, is_repeated: false })
    }

    /// Opens a version from its stored record, so that nobody relies on one that is not there (C18).
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it does not open; the store's.
    pub async fn read_back_ivk(&self, master: &MasterKey, version: KeyVersion) -> Result<(), Error> {
        let row = self.ivk_rows().await?.into_iter().find(|row| row.header.version == version).ok_or(Error::NotFound)?;
        open_root(self.shelf.registry.cluster(), master, MasterPurpose::IvkWrap, &row).map(drop)
    }

    /// The IVK as it is stored, if nobody is changing it.
    async fn ivks(&self) -> Result<Ivks, Error> {
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
        Ok(Ivks { cluster_row, record, rows })
    }

    /// A version with the next number, and its key.
    fn made(&self, record: &Cluster, rows: &[Row], state: State, master: &MasterKey, new: NewIvk) -> Result<(Row, ParentKey), Error> {
        let active = record.active_ivk;
        let aead = new.aead.or_else(|| rows.iter().find(|row| row.header.version == active.version).map(|row| row.header.aead));
        let aead = aead.ok_or_else(|| Error::corrupt("the keystore has lost it", format!("IVK version {}", active.version.0)))?;
        let version = rows.iter().map(|row| row.header.version).max().unwrap_or(active.version).next();
        let (generation, randomness, now) = (record.master_generation, &*self.randomness, self.now());
        let maker = RootMaker { cluster: record.id, generation, master, randomness, now };
        let header = maker.header(Layer::Ivk, Algorithm::WRAPPING)?;
        let header = Header { chain: active.chain, version, aead, state, ..header };
        let key = random_key::<ROOT_KEY_BYTES>(&self.randomness)?;
        let kind = if state == State::PreActive { GENERATED } else { REQUEST };
        let others = request(kind, new.request).into_iter().collect();
        let row = maker.row(&self.shelf.registry, header, MasterPurpose::IvkWrap, &key, others)?;
        Ok((row, key.expose(|key| ParentKey::new(record.id, key, aead))?))
    }

    /// A version that has waited as the Active one, and its key.
    fn activated(&self, row: Row, master: &MasterKey, new: NewIvk, now: Time) -> Result<(Change, ParentKey), Error> {
        let registry = &self.shelf.registry;
        let Header { version, aead, state, .. } = row.header;
        if new.aead.is_some_and(|wanted| wanted != aead) {
            let KeyVersion(version) = version;
            let why = format!("version {version} waits and wraps by {}: rotate to it without an algorithm first", aead.name());
            return Err(Error::invalid("algorithm", why));
        }
        let cluster = registry.cluster();
        let key = open_root(cluster, master, MasterPurpose::IvkWrap, &row)?;
        let mut attributes = read_attributes(registry, &row)?;
        attributes.dates.last_change = now;
        attributes.dates.activation = Some(now);
        attributes.others.extend(request(REQUEST, new.request));
        let change = self.ivk_change(row, state.next(Layer::Ivk, Event::Activate)?, &attributes)?;
        Ok((change, key.expose(|key| ParentKey::new(cluster, key, aead))?))
    }

    /// May this version be archived, if no key lies under it?
    ///
    /// # Errors
    /// [`Error::NotFound`] without such a version; [`Error::WrongState`] unless it is Deprecated; the store's.
    pub async fn must_be_retirable(&self, version: KeyVersion) -> Result<(), Error> {
        retired(self.ivk_row(version).await?.header.state, Layer::Ivk).map(drop)
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
        let state = retired(row.header.state, Layer::Ivk)?;
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
