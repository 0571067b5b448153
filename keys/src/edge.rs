//! An edge: its own roots, the objects that it makes, and what it does by itself to stay in step with its core.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cipher::aead::Aead;
use cipher::pair::PairKind;
use secret::{Bytes, Key};
use uuid::Uuid;

use crate::attributes::Attributes;
use crate::edges::OBJECT_KEY_BYTES;
use crate::entropy::Randomness;
use crate::envelope::{Envelope, ObjectKeyId};
use crate::error::Error;
use crate::hierarchy::{IntegrityKeys, random_key};
use crate::id::{ChainId, Generation, Layer, RowId, ScopeName, ServiceId, TenantId, Time};
use crate::lease::{Lease, LeasedService, LeasedTenant};
use crate::lifecycle::{Dates, Purpose, State};
use crate::object_keys::{ObjectKeys, all_wrapped, attribute_key_row, may_be_kept};
use crate::policy::{Action, Grants, NodeRole, Principal, Role};
use crate::port::{Change, Keystore, Upstream, UpstreamError};
use crate::record::{Outcome, Record};
use crate::references::References;
use crate::registry::Registry;
use crate::row::{Algorithm, Header, ObjectType, Owner, ParentRef, Row};
use crate::sweep::Finding;
use crate::tenancy::Service;
use crate::unit::{Unit, record_header};
use crate::vault::{NewKey, Vault, View, key_header};

/// Most bytes of one object's material.
pub const MATERIAL_BYTES_MAX: usize = 128 * 1024;
/// How many newer versions of an L3 an object is tried under that come while it is made.
const NEWER_PARENTS_MAX: usize = 4;
/// How often the first object of a service tries to be the one that makes the attribute key.
const ATTRIBUTE_KEY_ATTEMPTS_MAX: usize = 4;

/// A root key of an edge, made and wrapped.
pub struct EdgeRoot {
    /// The key.
    pub key: Key<OBJECT_KEY_BYTES>,
    /// As it is stored: nothing of it is secret, and only the core opens it, for this edge group.
    pub stored: Vec<u8>,
}

/// A new root key of an edge group: the seed of an edge's audit key, or its integrity key.
///
/// # Errors
/// The core's; no randomness, no locked memory.
pub async fn new_root(upstream: &dyn Upstream, lease: &Lease, randomness: &Randomness) -> Result<EdgeRoot, Error> {
    let key = random_key::<OBJECT_KEY_BYTES>(randomness)?;
    let bytes = key.expose(|key| Bytes::init_with(key.len(), |bytes| bytes.copy_from_slice(key)))?;
    let id = ObjectKeyId(randomness.array()?);
    let active = lease.group.versions.iter().rfind(|key| key.state == State::Active).ok_or_else(|| no_key(&lease.group))?;
    let wrapped = all_wrapped(upstream, active.id, &[(id, &bytes)]).await?.concat();
    let stored = [active.version.0.to_be_bytes().to_vec(), Envelope { id, wrapped: &wrapped, sealed: &[] }.encode()].concat();
    Ok(EdgeRoot { key, stored })
}

/// Has a root key of an edge group opened.
///
/// # Errors
/// [`Error::Corrupt`] if it is not one of this group's; the core's.
pub async fn open_root(upstream: &dyn Upstream, lease: &Lease, stored: &[u8]) -> Result<Key<OBJECT_KEY_BYTES>, Error> {
    let corrupt = |what: &str| Error::corrupt(what, "the edge's own key");
    let (version, envelope) = stored.split_first_chunk().ok_or_else(|| corrupt("it is cut"))?;
    let version = u32::from_be_bytes(*version);
    let envelope = Envelope::decode(envelope)?;
    let l3 = lease.group.versions.iter().find(|key| key.version.0 == version && key.state.allows(Purpose::Process));
    let l3 = l3.ok_or_else(|| no_key(&lease.group))?;
    let opened = upstream.unwrap(l3.id, envelope.id, envelope.wrapped).await?;
    opened.expose(|opened| match opened.try_into() {
        Ok(bytes) => Ok(Key::init_with(|key: &mut [u8; OBJECT_KEY_BYTES]| *key = bytes)?),
        Err(_) => Err(corrupt("it has another length")),
    })
}

fn no_key(service: &LeasedService) -> Error {
    Error::Withdrawn {
        why: format!("no version of the key of {} may wrap or open this now: see `strongroom key list` at the core", service.name),
    }
}

/// Where an edge group's integrity key is.
fn integrity_row(group: ServiceId) -> RowId {
    RowId::new(Layer::Integrity, Uuid::from_bytes(*group.as_bytes()))
}

/// The open roots of an edge group, from its store; or new ones, with the row that keeps them.
///
/// # Errors
/// [`Error::Corrupt`] if the stored one does not open or is not this group's; the core's; the store's.
pub async fn roots(
    store: &Arc<dyn Keystore>,
    upstream: &dyn Upstream,
    lease: &Lease,
    randomness: &Randomness,
) -> Result<(Registry, Option<Row>), Error> {
    let id = integrity_row(lease.group.id);
    let registry = |key: &Key<OBJECT_KEY_BYTES>| {
        let integrity = key.expose(|key| IntegrityKeys::new(lease.cluster, key))?;
        Ok::<_, Error>(Registry::of_edge(lease.cluster, ChainId::new(id.uuid), integrity))
    };
    if let Some(row) = store.retrieve(id).await? {
        let stored = row.material.as_deref().ok_or_else(|| Error::corrupt("it has no material", id))?;
        let registry = registry(&open_root(upstream, lease, stored).await?)?;
        registry.check_row(&row)?;
        return Ok((registry, None));
    }
    let EdgeRoot { key, stored } = new_root(upstream, lease, randomness).await?;
    let registry = registry(&key)?;
    let parent = lease.group.active().ok_or_else(|| no_key(&lease.group))?;
    let header = Header { algorithm: Algorithm::WRAPPING, bits: 256, ..record_header(id, parent, TenantId::SYSTEM) };
    let row = registry.seal_row(header, Some(stored), None, Vec::new());
    Ok((registry, Some(row)))
}

/// A key pair to be made at an edge, each half with an identifier of its own from [`Vault::new_object_id`].
#[derive(Debug)]
pub struct NewPair {
    /// What sort.
    pub kind: PairKind,
    /// What both halves are for.
    pub algorithm: Algorithm,
    /// The private half, and what the client said of it.
    pub private: (RowId, Attributes),
    /// The same of the public half.
    pub public: (RowId, Attributes),
}

/// An object to be made at an edge.
#[derive(Debug)]
pub struct NewObject {
    /// What it is.
    pub object_type: ObjectType,
    /// What it is for; [`Algorithm::NONE`] for what is no key.
    pub algorithm: Algorithm,
    /// Its size in bits.
    pub bits: u32,
    /// What the client said; dates decide the first state.
    pub attributes: Attributes,
    /// Its bytes; `None`: as many random ones as it has.
    pub material: Option<Bytes>,
}

/// What an edge's keeper has done.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Tended {
    /// How many objects were brought under a newer L3.
    pub rewrapped: usize,
    /// Objects that stay under an older one, because they do not verify, or nobody opens them any more.
    pub refused: Vec<Finding>,
}

/// What an edge keeps ready.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct EdgeFigures {
    /// Wrapped object keys that wait for objects.
    pub pooled: usize,
    /// Object keys that are open.
    pub opened: usize,
    /// How long ago the core renewed the lease.
    pub lease_age: Duration,
}

impl Vault {
    /// May this node serve now? A core always may.
    ///
    /// # Errors
    /// [`Error::NoLease`], [`Error::Denied`].
    pub fn check_lease(&self) -> Result<(), Error> {
        match &self.edge {
            Some(edge) => edge.leases.check(self.pace.now()),
            None => Ok(()),
        }
    }

    /// What an edge keeps ready; `None` on a core.
    #[must_use]
    pub fn edge_figures(&self) -> Option<EdgeFigures> {
        let edge = self.edge.as_ref()?;
        Some(EdgeFigures { pooled: edge.pooled(), opened: edge.opened(), lease_age: edge.leases.age(self.pace.now()) })
    }

    pub(crate) fn edge_keys(&self) -> Result<&Arc<ObjectKeys>, Error> {
        self.edge.as_ref().ok_or(Error::Denied { why: "L4 objects are held by an edge" })
    }

    /// What a principal may do at an edge: its names are looked up in the lease.
    pub(crate) fn edge_grants(&self, edge: &ObjectKeys, principal: &Principal) -> Result<Grants, Error> {
        let current = edge.leases.current();
        let tenant = principal.tenant.as_ref().filter(|_| matches!(principal.role, Role::Service | Role::TenantAdmin));
        let tenant = tenant.and_then(|name| current.tenant(name));
        if tenant.is_some_and(|tenant| tenant.is_disabled) {
            return Err(Error::tenant_disabled());
        }
        let named = tenant.zip(principal.service.as_ref());
        let service = named.and_then(|(tenant, name)| tenant.services.iter().find(|service| service.name == *name));
        Ok(Grants::new(NodeRole::Edge, principal.role, tenant.map(|tenant| tenant.id), service.map(|service| service.id)))
    }

    /// A service of the lease, as a core would describe it.
    pub(crate) fn leased_service(&self, edge: &ObjectKeys, id: ServiceId) -> Result<Service, Error> {
        let current = edge.leases.current();
        let (tenant, service) = current.service(id).ok_or(Error::NotFound)?;
        let active = service.versions.iter().rfind(|key| key.state == State::Active).ok_or_else(|| no_key(service))?;
        Ok(Service { id, tenant: tenant.id, name: service.name.clone(), default_key: active.id })
    }

    /// The same by its name.
    pub(crate) fn leased_service_by_name(&self, edge: &ObjectKeys, tenant: TenantId, name: &ScopeName) -> Option<Service> {
        let current = edge.leases.current();
        let (_, service) = current.services().find(|(owner, service)| owner.id == tenant && service.name == *name)?;
        self.leased_service(edge, service.id).ok()
    }

    /// The L3 that wraps for new objects of a service.
    pub(crate) fn leased_parent(&self, service: ServiceId) -> Result<ParentRef, Error> {
        let current = self.edge_keys()?.leases.current();
        let (_, service) = current.service(service).ok_or(Error::NotFound)?;
        service.active().ok_or_else(|| no_key(service))
    }

    /// The L3 that wraps for new objects of a service instead of `parent`, which was refused: the core has replaced it, and the lease is renewed if it
    /// does not know yet.
    pub(crate) async fn newer_parent(&self, refused: Error, service: Option<ServiceId>, parent: ParentRef) -> Result<ParentRef, Error> {
        let (Some(edge), Some(service)) = (&self.edge, service) else { return Err(refused) };
        // Whoever comes first renews it for all who wait.
        let _turn = edge.renewal.lock().await;
        if self.leased_parent(service)? == parent {
            self.renew_lease().await?;
        }
        let newer = self.leased_parent(service)?;
        if newer == parent { Err(refused) } else { Ok(newer) }
    }

    /// As [`Vault::seal_object`], of an object that is new: where its L3 was replaced, it lies under the newer version.
    pub(crate) async fn seal_new(&self, mut header: Header, attributes: &Attributes, material: &Bytes) -> Result<Row, Error> {
        for _ in 0..NEWER_PARENTS_MAX {
            match self.seal_object(header.clone(), attributes, material).await {
                Err(refused @ Error::Withdrawn { .. }) => {
                    header.parent = self.newer_parent(refused, header.owner.service, header.parent).await?;
                }
                sealed => return sealed,
            }
        }
        Err(Error::Unavailable { what: "the service's key is replaced again and again just now".to_owned() })
    }

    /// Stages a new object of the principal's service, Pre-Active unless its dates say otherwise.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::NameTaken`]; [`Error::Denied`] for who has no service; the core's and the store's.
    pub async fn create_object(&self, unit: &mut Unit, grants: &Grants, new: NewObject) -> Result<View, Error> {
        let id = self.new_object_id()?;
        self.create_object_as(unit, grants, id, new).await
    }

    /// A name for an object that is made next.
    ///
    /// # Errors
    /// No randomness.
    pub fn new_object_id(&self) -> Result<RowId, Error> {
        Ok(RowId::new(Layer::L4, self.new_uuid()?))
    }

    /// Stages both halves of a new key pair, as [`Vault::create_object`] stages one object; returns the private and the public one.
    ///
    /// # Errors
    /// [`Error::NotMade`]; as [`Vault::create_object`].
    pub async fn create_pair(&self, unit: &mut Unit, grants: &Grants, new: NewPair) -> Result<(View, View), Error> {
        let NewPair { kind, algorithm, private: (private_id, private), public: (public_id, public) } = new;
        let made = self.edge_keys()?.pairs.make(kind).await?;
        let half = |object_type, attributes, material| {
            let material = Some(material);
            NewObject { object_type, algorithm, bits: kind.bits(), attributes, material }
        };
        let private = half(ObjectType::PRIVATE_KEY, private, made.private);
        let private = self.create_object_as(unit, grants, private_id, private).await?;
        let public = half(ObjectType::PUBLIC_KEY, public, made.public);
        let public = self.create_object_as(unit, grants, public_id, public).await?;
        Ok((private, public))
    }

    async fn create_object_as(&self, unit: &mut Unit, grants: &Grants, id: RowId, new: NewObject) -> Result<View, Error> {
        let (Some(tenant), Some(service)) = (grants.tenant(), grants.service()) else {
            return Err(Error::Denied { why: "the service that the certificate names does not exist" });
        };
        let NewObject { object_type, algorithm, bits, mut attributes, material } = new;
        if material.as_ref().is_some_and(|material| material.len() > MATERIAL_BYTES_MAX) {
            return Err(Error::invalid("Key Material", format!("at most {MATERIAL_BYTES_MAX} bytes")));
        }
        let now = self.now();
        attributes.dates.initial = now;
        attributes.touch(now);
        if object_type != ObjectType::TEMPLATE {
            self.limit_life(&mut attributes.dates, now)?;
        }
        let state = attributes.dates.state_at(State::PreActive, now);
        let parent = self.ensure_attribute_key(tenant, service).await?;
        let owner = Owner { tenant, service: Some(service) };
        let header = key_header(id, ChainId::new(id.uuid), owner, parent, Aead::Aes256Gcm);
        let header = Header { object_type, algorithm, bits, state, expiry: attributes.dates.deactivation, ..header };
        let new = NewKey { header, attributes };
        match material {
            Some(material) => self.insert_material(unit, new, &material).await,
            None => self.insert_seen(unit, new).await,
        }
    }

    /// Ends a key in time that its client has set no end, if this edge is told to.
    pub(crate) fn limit_life(&self, dates: &mut Dates, now: Time) -> Result<(), Error> {
        if let Some(ttl) = self.edge_keys()?.l4_ttl
            && dates.deactivation.is_none()
        {
            let begins = dates.activation.map_or(now, |activation| activation.max(now));
            let millis = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
            dates.deactivation = Some(Time::from_millis(begins.millis().saturating_add(millis)));
        }
        Ok(())
    }

    /// May a client entrust this edge with something that it may have nowhere else?
    ///
    /// # Errors
    /// [`Error::Denied`] where nothing outlives the process.
    pub fn must_keep(&self) -> Result<(), Error> {
        if self.edge_keys()?.is_ephemeral {
            return Err(Error::Denied {
                why: "this edge keeps objects in memory only, and they are gone with it: register at one that keeps them",
            });
        }
        Ok(())
    }

    /// Sees to it that a service has an attribute key; returns the L3 that wraps for it now.
    pub(crate) async fn ensure_attribute_key(&self, tenant: TenantId, service: ServiceId) -> Result<ParentRef, Error> {
        let edge = self.edge_keys()?;
        let mut parent = self.leased_parent(service)?;
        if edge.known_attribute_key(service).is_some() {
            return Ok(parent);
        }
        let id = attribute_key_row(service);
        for _ in 0..ATTRIBUTE_KEY_ATTEMPTS_MAX {
            if self.shelf.row(id).await?.is_some() {
                return Ok(parent);
            }
            let header = Header { algorithm: Algorithm::WRAPPING, bits: 256, ..record_header(id, parent, tenant) };
            let material = match edge.new_attribute_key(service, &header).await {
                Err(refused @ Error::Withdrawn { .. }) => {
                    parent = self.newer_parent(refused, Some(service), parent).await?;
                    continue;
                }
                made => made?,
            };
            let row = self.shelf.registry.seal_row(header, Some(material), None, Vec::new());
            match self.commit_own(Action::MakeAttributeKey, vec![Change::Insert(row)]).await {
                Ok(()) => return Ok(parent),
                // Somebody else made it: theirs is the one.
                Err(Error::Raced) => edge.forget_attribute_key(service),
                Err(error) => return Err(error),
            }
        }
        Err(Error::Raced)
    }

    /// Commits what the node does by itself to rows of its own, one record a row.
    async fn commit_own(&self, action: Action, changes: Vec<Change>) -> Result<(), Error> {
        let mut unit = self.begin(self.system);
        for change in changes {
            let header = change.row().map(|row| &row.header);
            let (version, generation) = (header.map(|header| header.version), header.map(|header| header.generation));
            let (time, session, object) = (self.now(), self.system, Some(change.id()));
            unit.record(Record { time, session, action, object, version, generation, outcome: Outcome::Success });
            unit.stage(change);
        }
        let _receipt = unit.commit().await?;
        Ok(())
    }

    /// Asks the core what may be served, and lets go at once of what may not.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if no core answers: the lease before goes on until its time is over. [`Error::Withdrawn`] if the core refuses this edge.
    pub async fn renew_lease(&self) -> Result<(), Error> {
        let edge = self.edge_keys()?;
        let asked = self.pace.now();
        match edge.upstream.lease().await {
            Ok(lease) if lease.cluster != self.shelf.registry.cluster() => {
                self.withdraw(edge, asked);
                Err(Error::Withdrawn { why: format!("it is of another cluster, {}", lease.cluster) })
            }
            Ok(lease) => {
                let reports = lease.reports;
                if edge.leases.renew(lease, asked, self.now()) {
                    self.let_go(|edge| edge.purge(), edge);
                    // There may be another version to come under.
                    self.parents_epoch.fetch_add(1, Ordering::AcqRel);
                }
                if let Some(memory) = reports {
                    edge.report(memory).await;
                }
                Ok(())
            }
            Err(error @ UpstreamError::Refused { .. }) => {
                self.withdraw(edge, asked);
                Err(error.into())
            }
            Err(error) => {
                if edge.leases.check(self.pace.now()).is_err() {
                    self.let_go(|edge| edge.purge_all(), edge);
                }
                Err(error.into())
            }
        }
    }

    fn withdraw(&self, edge: &ObjectKeys, asked: Duration) {
        edge.leases.withdraw(asked);
        self.let_go(ObjectKeys::purge_all, edge);
    }

    /// The grants of all connections are looked up anew, and what is kept is let go of.
    fn let_go(&self, purge: impl FnOnce(&ObjectKeys), edge: &ObjectKeys) {
        self.policy_epoch.fetch_add(1, Ordering::AcqRel);
        purge(edge);
    }

    /// A name for what is forwarded next.
    ///
    /// # Errors
    /// No randomness.
    pub fn new_request(&self) -> Result<RowId, Error> {
        Ok(RowId::new(Layer::Request, self.new_uuid()?))
    }

    /// Has a client's message done by the core.
    ///
    /// # Errors
    /// [`Error::Denied`] on a core; the core's.
    pub async fn forward(&self, client: &[Vec<u8>], request: RowId, message: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(self.edge_keys()?.upstream.forward(client, request.uuid, message).await?)
    }

    /// Takes an object back out of the cache if its lease was over or its L3 replaced meanwhile: a lease changes first and lets go second, so one of us
    /// two does.
    pub(crate) fn keep_if_leased(&self, header: &Header) {
        if let Some(edge) = &self.edge
            && !may_be_kept(&edge.leases.current(), header.parent)
        {
            self.cache.purge(header.id);
        }
    }

    /// Waits until [`Vault::tend`] has something to do; on a core for ever.
    pub async fn due(&self) {
        match &self.edge {
            Some(edge) => edge.due().await,
            None => std::future::pending().await,
        }
    }

    /// Does what is due at an edge: a lease that the core has contradicted, pools that run low, objects under an older L3.
    ///
    /// # Errors
    /// The core's and the store's; what is left is due again.
    pub async fn tend(&self) -> Result<Tended, Error> {
        let edge = self.edge_keys()?;
        if edge.take_lease_is_old() {
            self.renew_lease().await?;
        }
        // Neither waits for the other: an L3 that makes no keys may still be left.
        let refilled = edge.refill().await;
        let rewrapped = self.rewrap(edge.take_stale()).await;
        refilled.and(rewrapped)
    }

    /// Brings rows under the L3 that wraps now, if they are still under another one. One that cannot be keeps no other back.
    pub(crate) async fn rewrap(&self, ids: Vec<RowId>) -> Result<Tended, Error> {
        let edge = self.edge_keys()?;
        let current = edge.leases.current();
        let (mut due, mut tended) = (BTreeMap::<ParentRef, Vec<Row>>::new(), Tended::default());
        for id in ids {
            let row = match self.shelf.row(id).await {
                Ok(row) => row,
                Err(Error::Corrupt { what, .. }) => {
                    tended.refused.push(Finding { row: id, what });
                    continue;
                }
                Err(error) => return Err(error),
            };
            let Some(row) = row.filter(|row| row.material.is_some()) else { continue };
            let active = current.chain(row.header.parent.chain).and_then(|(_, service)| service.active());
            if let Some(active) = active.filter(|active| *active != row.header.parent) {
                due.entry(active).or_default().push(row);
            }
        }
        for (active, rows) in due {
            let moved = match self.rewrap_rows(edge, &rows, active).await {
                // There is a newer version by now: they are noted again when they are used next.
                Err(Error::Raced) => continue,
                moved => moved?,
            };
            let mut changes = Vec::with_capacity(rows.len());
            for moved in moved {
                match moved {
                    Ok(change) => changes.push(change),
                    Err(finding) => tended.refused.push(finding),
                }
            }
            let count = changes.len();
            match self.commit_own(Action::Rewrap, changes).await {
                // So it is if somebody changed one of them meanwhile.
                Err(Error::Raced) => {}
                done => {
                    done?;
                    tended.rewrapped += count;
                }
            }
        }
        Ok(tended)
    }

    /// Is this an edge of which a core has said that a version is compromised which it has not left?
    #[must_use]
    pub fn flees(&self) -> bool {
        self.edge.as_ref().is_some_and(|edge| edge.flees())
    }

    /// Takes what a whole walk has found, to be told to the core with the next lease.
    pub fn note_references(&self, references: References) {
        if let Some(edge) = &self.edge {
            edge.note_references(references);
        }
    }

    /// Stages the first rows of an edge's store.
    pub fn stage_edge_roots(&self, unit: &mut Unit, row: Row) {
        debug_assert_eq!(row.header.generation, Generation::FIRST, "a new store's rows are new");
        unit.stage(Change::Insert(row));
    }
}

impl crate::lease::Current {
    /// All services, with their tenants.
    fn services(&self) -> impl Iterator<Item = (&LeasedTenant, &LeasedService)> {
        self.lease.tenants.iter().flat_map(|tenant| tenant.services.iter().map(move |service| (tenant, service)))
    }
}
