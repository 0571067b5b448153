//! The re-key of the MasterKey: every root record wrapped anew under another one, in one unit (C8).
//!
//! A root record keeps its id, its key and its dates. Its material is wrapped under the next generation, with a new salt and the next `wrap_seq`; the
//! cluster record names the new generation. Whatever hangs below the roots stays as it is, to the byte: no tenant's row is read.
//!
//! Every record that still has material is wrapped anew, whatever its state. A Retired version of the IVK is not open and wraps nothing any more, but
//! left as it is, its key would be readable for whoever got hold of the old MasterKey, and unreadable for us, who may have to open what is found
//! under it. One that is destroyed has no material and stays as it is.
//!
//! What was stored before the switch (a copy of the keystore, freed pages of its file) opens under the old MasterKey for ever. A new IVK version and
//! re-encryption end what that is worth; this does not.

use crate::cluster::{Cluster, IVK_RECORDS_MAX, NODES_MAX, cluster_row, master_ref, open_root, read_cluster, rows_of, seal_cluster};
use crate::error::Error;
use crate::hierarchy::{MasterKey, MasterPurpose};
use crate::id::Layer;
use crate::policy::Action;
use crate::port::Change;
use crate::record::{Outcome, Record};
use crate::row::{Header, ParentRef, Row};
use crate::unit::Unit;
use crate::vault::Vault;

/// The root records below the MasterKey: layer, what wraps them, and the most that there are.
const ROOTS: [(Layer, MasterPurpose, usize); 3] = [
    // `cluster::load` opens the oldest one; there is no second.
    (Layer::Integrity, MasterPurpose::IntegrityWrap, 2),
    (Layer::Ivk, MasterPurpose::IvkWrap, IVK_RECORDS_MAX),
    (Layer::Audit, MasterPurpose::AuditWrap, NODES_MAX),
];

/// What a re-key has staged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rekeyed {
    /// The cluster record as it will be.
    pub cluster: Cluster,
    /// Integrity keys that were wrapped anew.
    pub integrity_keys: usize,
    /// IVK versions that were wrapped anew.
    pub ivks: usize,
    /// Audit keys that were wrapped anew.
    pub audit_keys: usize,
}

impl Vault {
    /// Stages every root record under `new`, as of the next generation, with the cluster record and the audit record of it. The unit's commit is the
    /// switch: until then `old` opens everything, and afterwards nothing.
    ///
    /// - `old`: the MasterKey in force.
    /// - `new`: one that is sealed in slots of the next generation already.
    /// - `roster_hash`: of the roster that those slots carry. If it is another than the record's, its custodians take the place of the others with the
    ///   switch, in the same unit and with an audit record of its own: no instant has the slots of one and the hash of the other.
    ///
    /// # Errors
    /// [`Error::Corrupt`] names the record that does not verify, does not open under `old` or is missing; [`Error::Invalid`] if the two are one key;
    /// the store's. The commit: [`Error::Raced`] if another change of the roots came first.
    pub async fn rekey_master(
        &self,
        unit: &mut Unit,
        (old, new): (&MasterKey, &MasterKey),
        roster_hash: [u8; 32],
    ) -> Result<Rekeyed, Error> {
        let registry = &self.shelf.registry;
        let cluster = registry.cluster();
        if cipher::mac::ct_eq(&old.check_value(cluster)?, &new.check_value(cluster)?) {
            return Err(Error::invalid("MasterKey", "the new one is the old one: make another"));
        }
        let row = self.shelf.existing(cluster_row()).await?;
        let record = read_cluster(registry, &row)?;
        let master_generation =
            record.master_generation.checked_add(1).ok_or_else(|| Error::corrupt("its MasterKey has no next generation", row.header.id))?;
        let is_roster_new = record.roster_hash != roster_hash;
        let record = Cluster { master_generation, roster_hash, fence: record.fence + 1, ..record };
        let now = self.now();
        unit.intend(now, Action::RekeyMaster, &row.header);

        let mut counts = [0; ROOTS.len()];
        for ((layer, purpose, most), count) in ROOTS.into_iter().zip(&mut counts) {
            for row in self.roots(layer, most).await? {
                unit.stage(self.rewrapped(row, purpose, (old, new), master_generation)?);
                *count += 1;
            }
        }
        let change = self.cluster_change(row, &record)?;
        let generation = change.row().map(|row| row.header.generation);
        unit.stage(change);
        let (session, object) = (unit.session(), Some(cluster_row()));
        for action in [Action::RekeyMaster].into_iter().chain(is_roster_new.then_some(Action::ChangeRoster)) {
            unit.record(Record { time: now, session, action, object, version: None, generation, outcome: Outcome::Success });
        }
        let [integrity_keys, ivks, audit_keys] = counts;
        Ok(Rekeyed { cluster: record, integrity_keys, ivks, audit_keys })
    }

    /// The root records of a layer that have material, each believed.
    async fn roots(&self, layer: Layer, most: usize) -> Result<Vec<Row>, Error> {
        let mut rows = Vec::new();
        for hint in rows_of(&self.shelf.store, layer, most).await? {
            rows.push(self.shelf.existing(hint.header.id).await?);
        }
        // A version that the store keeps back now could not be opened by anybody when the old MasterKey is gone.
        let open = if layer == Layer::Ivk { self.shelf.registry.open_ivks() } else { Vec::new() };
        if let Some(missing) = open.iter().find(|version| !rows.iter().any(|row| row.header.version == **version)) {
            return Err(Error::corrupt("the keystore has lost it", format!("IVK version {}", missing.0)));
        }
        rows.retain(|row| row.material.is_some());
        if rows.is_empty() {
            return Err(Error::corrupt("the keystore holds none", format!("{layer:?} key")));
        }
        Ok(rows)
    }

    /// A root record under the new MasterKey, opened once more before it counts (C18).
    fn rewrapped(&self, row: Row, purpose: MasterPurpose, (old, new): (&MasterKey, &MasterKey), generation: u32) -> Result<Change, Error> {
        let registry = &self.shelf.registry;
        let cluster = registry.cluster();
        let Row { header, attributes, terms, .. } = &row;
        let parent: ParentRef = master_ref(cluster, generation);
        if header.parent.chain != parent.chain || header.parent.version.next() != parent.version {
            return Err(Error::corrupt("it is wrapped under another generation of the MasterKey than the one in force", header.id));
        }
        let key = open_root(cluster, old, purpose, &row)?;
        let expected = header.generation;
        let header = Header { generation: expected.next(), parent, wrap_seq: header.wrap_seq + 1, ..header.clone() };
        let (wrapping, binding, salt) = (new.parent(cluster, purpose)?, registry.material_binding(&header), self.randomness.array()?);
        let material = key.expose(|key| wrapping.wrap(&binding, key, &salt))?;
        if !wrapping.unwrap(&binding, &material)?.ct_eq(&key) {
            return Err(Error::corrupt("a fresh wrap does not open", header.id));
        }
        // The dates are sealed under the integrity key and bound to no generation, so they stay.
        Ok(Change::Update { expected, row: registry.seal_row(header, Some(material), attributes.clone(), terms.clone()) })
    }

    /// The next generation of the cluster record.
    pub(crate) fn cluster_change(&self, row: Row, record: &Cluster) -> Result<Change, Error> {
        let registry = &self.shelf.registry;
        let expected = row.header.generation;
        let header = Header { generation: expected.next(), attributes_seq: row.header.attributes_seq + 1, ..row.header };
        let row = seal_cluster(registry, header, record, &self.randomness.array()?)?;
        if read_cluster(registry, &row)? != *record {
            return Err(Error::corrupt("a fresh wrap does not open", row.header.id));
        }
        Ok(Change::Update { expected, row })
    }
}
