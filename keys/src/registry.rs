//! The open root keys of an unsealed node: every IVK version neither Retired nor destroyed, and what the integrity key yields.
//!
//! The registry exists from unseal to seal; dropping it wipes it. It also makes and checks the MAC of every row.
//!
//! IVK versions come, change their state and go while it is open. A new one is announced (`Registry::announce`) before its record is stored, and does
//! nothing until the writer, which has just made the record durable, settles (`Registry::settle`) what it says: so what wraps here is never ahead of
//! what is stored, and nothing is answered in between.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, PoisonError, RwLock};

use crate::error::Error;
use crate::hierarchy::IntegrityKeys;
use crate::id::{ChainId, ClusterId, KeyVersion, RowId};
use crate::lifecycle::{Purpose, State};
use crate::row::{Header, ParentRef, Row, Term};
use crate::wrap::{Binding, ParentKey, WrapError};

/// One open IVK version.
#[derive(Debug)]
pub struct Ivk {
    /// Ready to wrap and unwrap.
    pub key: ParentKey,
    /// What its record says (IVK-17).
    pub state: State,
}

/// The open roots of one cluster, or of one edge group in it.
#[derive(Debug)]
pub struct Registry {
    cluster: ClusterId,
    /// An edge has none.
    ivks: Option<Ivks>,
    integrity_chain: ChainId,
    integrity: IntegrityKeys,
}

/// The chain of the IVK.
#[derive(Debug)]
struct Ivks {
    chain: ChainId,
    open: RwLock<OpenIvks>,
}

/// The versions of the IVK that are open.
#[derive(Debug)]
struct OpenIvks {
    versions: BTreeMap<KeyVersion, OpenIvk>,
    /// What has become of the others.
    closed: BTreeMap<KeyVersion, State>,
    active: KeyVersion,
    /// Versions whose records are about to be stored, each by its record: of two that race for one number only one is stored.
    announced: BTreeMap<RowId, Arc<ParentKey>>,
}

/// One of them; whoever works with the key keeps it open.
#[derive(Debug, Clone)]
struct OpenIvk {
    key: Arc<ParentKey>,
    state: State,
}

impl Ivks {
    fn with<R>(&self, look: impl FnOnce(&OpenIvks) -> R) -> R {
        look(&self.open.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change<R>(&self, change: impl FnOnce(&mut OpenIvks) -> R) -> R {
        change(&mut self.open.write().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Whoever announces a version holds this until its record is stored, or is not: then the key is taken back.
#[derive(Debug)]
pub(crate) struct Announced {
    registry: Arc<Registry>,
    record: RowId,
    key: Arc<ParentKey>,
}

impl Drop for Announced {
    fn drop(&mut self) {
        self.registry.take_back(self.record, &self.key);
    }
}

/// A root parent key in use; it stays open for as long as this lives.
#[derive(Debug)]
pub enum Root<'r> {
    /// Of records that belong to no tenant key.
    Records(&'r ParentKey),
    /// A version of the IVK.
    Ivk(Arc<ParentKey>),
}

impl Deref for Root<'_> {
    type Target = ParentKey;

    fn deref(&self) -> &ParentKey {
        match self {
            Self::Records(key) => key,
            Self::Ivk(key) => key,
        }
    }
}

impl Registry {
    /// Puts the opened roots together.
    ///
    /// # Errors
    /// [`Error::Corrupt`] unless exactly one IVK version is Active.
    pub fn new(
        cluster: ClusterId,
        ivk_chain: ChainId,
        ivks: BTreeMap<KeyVersion, Ivk>,
        integrity_chain: ChainId,
        integrity: IntegrityKeys,
    ) -> Result<Self, Error> {
        let mut actives = ivks.iter().filter(|(_, ivk)| ivk.state == State::Active).map(|(version, _)| *version);
        match (actives.next(), actives.next()) {
            (Some(active), None) => {
                let versions =
                    ivks.into_iter().map(|(version, Ivk { key, state })| (version, OpenIvk { key: Arc::new(key), state })).collect();
                let open = OpenIvks { versions, closed: BTreeMap::new(), active, announced: BTreeMap::new() };
                let ivks = Some(Ivks { chain: ivk_chain, open: RwLock::new(open) });
                Ok(Self { cluster, ivks, integrity_chain, integrity })
            }
            (None, _) => Err(Error::corrupt("no Active version", "IVK")),
            (Some(_), Some(_)) => Err(Error::corrupt("more than one Active version", "IVK")),
        }
    }

    /// The roots of an edge group: what its integrity key yields. Everything else is wrapped at its core.
    #[must_use]
    pub fn of_edge(cluster: ClusterId, integrity_chain: ChainId, integrity: IntegrityKeys) -> Self {
        Self { cluster, ivks: None, integrity_chain, integrity }
    }

    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// The IVK version that wraps.
    ///
    /// # Errors
    /// [`Error::Denied`] on an edge.
    pub fn active_ivk(&self) -> Result<ParentRef, Error> {
        let ivks = self.ivks.as_ref().ok_or(Error::Denied { why: "an edge has no Internal Versioned Key: ask its core" })?;
        Ok(ParentRef { chain: ivks.chain, version: ivks.with(|open| open.active) })
    }

    /// The IVK versions that are open, oldest first; an edge has none.
    pub(crate) fn open_ivks(&self) -> Vec<KeyVersion> {
        self.ivks.as_ref().map_or_else(Vec::new, |ivks| ivks.with(|open| open.versions.keys().copied().collect()))
    }

    /// Keeps the key of a version whose record is about to be stored. It wraps and unwraps nothing before [`Registry::settle`].
    pub(crate) fn announce(self: &Arc<Self>, record: RowId, key: ParentKey) -> Announced {
        let key = Arc::new(key);
        if let Some(ivks) = &self.ivks {
            ivks.change(|open| open.announced.insert(record, Arc::clone(&key)));
        }
        Announced { registry: Arc::clone(self), record, key }
    }

    /// Lets go of a key that was announced, unless its record was stored, or its version was announced again.
    fn take_back(&self, record: RowId, key: &Arc<ParentKey>) {
        if let Some(ivks) = &self.ivks {
            ivks.change(|open| open.announced.retain(|of, announced| *of != record || !Arc::ptr_eq(announced, key)));
        }
    }

    /// What the record of a version says now that it is stored. The key of one that is archived or destroyed is wiped, as soon as nobody works with it.
    pub(crate) fn settle(&self, header: &Header) {
        let Some(ivks) = self.ivks.as_ref().filter(|ivks| ivks.chain == header.chain) else { return };
        let Header { id, version, state, .. } = *header;
        ivks.change(|open| {
            if let Some(key) = open.announced.remove(&id) {
                // Whoever raced for the same number has lost.
                open.announced.clear();
                open.versions.insert(version, OpenIvk { key, state });
            }
            if !state.allows(Purpose::Rewrap) {
                open.versions.remove(&version);
                open.closed.insert(version, state);
            } else if let Some(ivk) = open.versions.get_mut(&version) {
                ivk.state = state;
            }
            if state == State::Active {
                open.active = version;
            }
        });
    }

    /// The parent of records that belong to no tenant key.
    #[must_use]
    pub fn records(&self) -> ParentRef {
        ParentRef { chain: self.integrity_chain, version: KeyVersion::FIRST }
    }

    /// What the integrity key yields.
    #[must_use]
    pub fn integrity(&self) -> &IntegrityKeys {
        &self.integrity
    }

    /// A root parent key for `purpose`, or `None` if `parent` names no root.
    ///
    /// # Errors
    /// [`WrapError::Parent`] if the version is unknown or its state forbids the purpose.
    pub fn root(&self, parent: ParentRef, purpose: Purpose) -> Result<Option<Root<'_>>, WrapError> {
        if parent == self.records() {
            return Ok(Some(Root::Records(&self.integrity.records)));
        }
        let Some(ivks) = self.ivks.as_ref().filter(|ivks| ivks.chain == parent.chain) else { return Ok(None) };
        let (ivk, closed) = ivks.with(|open| (open.versions.get(&parent.version).cloned(), open.closed.get(&parent.version).copied()));
        let ivk = ivk.ok_or_else(|| unusable(parent, &closed_because(parent.version, closed)))?;
        must_allow(parent, ivk.state, purpose)?;
        Ok(Some(Root::Ivk(ivk.key)))
    }

    /// Completes a row: terms sorted by the caller, MAC by the integrity key.
    #[must_use]
    pub fn seal_row(&self, header: Header, material: Option<Vec<u8>>, attributes: Option<Vec<u8>>, terms: Vec<Term>) -> Row {
        let mut row = Row { header, material, attributes, terms, meta_mac: [0; 32] };
        row.meta_mac = self.integrity.meta_mac(&row.mac_input());
        row
    }

    /// Checks a row that came from a store.
    ///
    /// # Errors
    /// [`Error::Corrupt`] names the row if its MAC does not verify.
    pub fn check_row(&self, row: &Row) -> Result<(), Error> {
        if cipher::mac::ct_eq(&self.integrity.meta_mac(&row.mac_input()), &row.meta_mac) {
            return Ok(());
        }
        Err(Error::corrupt("its MAC does not verify", row.header.id))
    }

    /// The facts that bind a row's material.
    #[must_use]
    pub fn material_binding(&self, header: &Header) -> Binding {
        Binding {
            cluster: self.cluster,
            tenant: header.owner.tenant,
            id: header.id,
            version: header.version,
            parent: header.parent,
            object_type: header.object_type,
            algorithm: header.algorithm,
            bits: header.bits,
            wrap_seq: header.wrap_seq,
        }
    }

    /// The facts that bind a row's attributes.
    #[must_use]
    pub fn attributes_binding(&self, header: &Header) -> Binding {
        Binding { object_type: crate::row::ObjectType::ATTRIBUTES, wrap_seq: header.attributes_seq, ..self.material_binding(header) }
    }
}

/// May a version in this state be put to `purpose`?
pub(crate) fn must_allow(parent: ParentRef, state: State, purpose: Purpose) -> Result<(), WrapError> {
    match purpose {
        _ if state.allows(purpose) => Ok(()),
        // It protected when it was looked up.
        Purpose::Protect if state.allows(Purpose::Rewrap) => Err(replaced(parent)),
        // Whoever comes again finds its key moved from under it.
        Purpose::Process if state == State::Compromised => Err(replaced(parent)),
        _ => Err(unusable(parent, &format!("it is {state:?}"))),
    }
}

/// Why a version of the IVK is not open.
fn closed_because(version: KeyVersion, state: Option<State>) -> String {
    match state {
        Some(state) if state.is_destroyed() => format!("IVK version {} is destroyed", version.0),
        Some(state) => format!("IVK version {} is {state:?}", version.0),
        None => format!("there is no IVK version {}", version.0),
    }
}

fn replaced(parent: ParentRef) -> WrapError {
    WrapError::Replaced { chain: parent.chain.to_string(), version: parent.version.0 }
}

pub(crate) fn unusable(parent: ParentRef, why: &str) -> WrapError {
    WrapError::Parent { chain: parent.chain.to_string(), version: parent.version.0, why: why.to_owned() }
}
