//! An edge's `Parent`: each object lies under an object key of its own, which only the core can wrap and open; the attributes of a service's
//! objects lie under one attribute key, opened once.
//!
//! A new object takes its key from the pool; a key that was opened is kept under the cache key. So what is warm asks the core for nothing. What
//! a lease does not allow any more is let go of at once. Source: docs/SECURITY.md, C1, C2 and C6.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use cipher::aead::Aead;
use futures_channel::mpsc;
use futures_util::StreamExt;
use futures_util::lock::Mutex as TurnLock;
use secret::Bytes;
use uuid::Uuid;

use crate::cache::{Cache, Hidden};
use crate::chain::seal;
use crate::edges::OBJECT_KEY_BYTES;
use crate::entropy::Randomness;
use crate::envelope::{Envelope, ObjectKeyId};
use crate::error::Error;
use crate::id::{Layer, RowId, ServiceId};
use crate::lease::{Current, Leases};
use crate::lifecycle::{Purpose, State};
use crate::pool::{Pool, Ready};
use crate::port::{PairMaker, Parent, Stretcher, Upstream, UpstreamError, WRAPPED_KEYS_MAX};
use crate::references::References;
use crate::row::{Header, ObjectType, ParentRef, Row};
use crate::shelf::Shelf;
use crate::vault::EdgeParts;
use crate::wrap::{Binding, ParentKey, WrapError};

/// About what an opened object key takes in memory.
const OPENED_KEY_BYTES: usize = 224;
/// Most objects that wait to be brought under a newer L3; others are noted when they are used next.
const STALE_OBJECTS_MAX: usize = 4096;
/// So many openings of different keys go on at a time without waiting for each other.
const TURNS: usize = 64;
/// How the object keys of this release wrap.
const AEAD: Aead = Aead::Aes256Gcm;

/// What an edge wraps by, and what it knows of it.
pub(crate) struct ObjectKeys {
    shelf: Shelf,
    randomness: Arc<Randomness>,
    cache: Arc<Cache>,
    pub(crate) leases: Leases,
    pub(crate) upstream: Arc<dyn Upstream>,
    pub(crate) pairs: Arc<dyn PairMaker>,
    pub(crate) stretcher: Arc<dyn Stretcher>,
    pool: Pool,
    opened: quick_cache::sync::Cache<ObjectKeyId, Arc<Opened>>,
    turns: Vec<TurnLock<()>>,
    /// Held by whoever renews the lease because the core has contradicted it.
    pub(crate) renewal: TurnLock<()>,
    attribute_keys: Mutex<HashMap<ServiceId, Arc<AttributeKey>>>,
    stale: Mutex<BTreeSet<RowId>>,
    /// The core has refused what the lease allows: it is to be renewed at once.
    lease_is_old: AtomicBool,
    /// Which versions the edge has left, by its last whole walk.
    references: Mutex<References>,
    /// What the core was told of that last, and the memory in which it keeps it.
    told: Mutex<Option<(Uuid, References)>>,
    pub(crate) l4_ttl: Option<Duration>,
    pub(crate) is_ephemeral: bool,
    /// Never cloned: each clone of a sender has room for a message of its own.
    work: Mutex<mpsc::Sender<()>>,
    due: TurnLock<mpsc::Receiver<()>>,
}

/// An object key that was opened.
struct Opened {
    parent: ParentRef,
    key: Hidden,
}

/// The key that the attributes of a service's objects lie under.
pub(crate) struct AttributeKey {
    id: ObjectKeyId,
    key: ParentKey,
}

/// The row of a service's attribute key.
pub(crate) fn attribute_key_row(service: ServiceId) -> RowId {
    RowId::new(Layer::AttributeKey, Uuid::from_bytes(*service.as_bytes()))
}

fn withdrawn(parent: ParentRef) -> Error {
    Error::Withdrawn { why: format!("version {} of it is not in the edge's lease", parent.version.0) }
}

/// Has keys wrapped; as many blobs as keys, or none.
pub(crate) async fn all_wrapped(upstream: &dyn Upstream, l3: RowId, keys: &[(ObjectKeyId, &Bytes)]) -> Result<Vec<Vec<u8>>, UpstreamError> {
    let wrapped = upstream.wrap(l3, keys).await?;
    if wrapped.len() == keys.len() {
        return Ok(wrapped);
    }
    Err(UpstreamError::Unavailable { what: format!("it has answered {} keys with {} wrapped ones", keys.len(), wrapped.len()) })
}

/// May objects under `parent` be kept open? Those under an older L3 are opened anew at each use, by an object key that is at hand, so that each use
/// notes them: what is never noted is never brought under the newer one.
pub(crate) fn may_be_kept(current: &Current, parent: ParentRef) -> bool {
    current.key(parent, Purpose::Process).is_some() && !current.is_replaced(parent)
}

fn above(error: impl Into<Error>) -> WrapError {
    WrapError::Above(Box::new(error.into()))
}

impl ObjectKeys {
    pub(crate) fn new(shelf: Shelf, randomness: Arc<Randomness>, cache: Arc<Cache>, edge: EdgeParts) -> Self {
        let EdgeParts { leases, upstream, pairs, stretcher, pool_keys, cache_bytes, l4_ttl, is_ephemeral, shared_as: _ } = edge;
        let (work, due) = mpsc::channel(0);
        Self {
            shelf,
            randomness,
            cache,
            leases,
            upstream,
            pairs,
            stretcher,
            pool: Pool::new(pool_keys),
            opened: quick_cache::sync::Cache::new((cache_bytes / OPENED_KEY_BYTES).max(1)),
            turns: (0..TURNS).map(|_| TurnLock::new(())).collect(),
            renewal: TurnLock::new(()),
            attribute_keys: Mutex::default(),
            stale: Mutex::default(),
            lease_is_old: AtomicBool::new(false),
            references: Mutex::default(),
            told: Mutex::default(),
            l4_ttl,
            is_ephemeral,
            work: Mutex::new(work),
            due: TurnLock::new(due),
        }
    }

    /// Waits until there is something to do for whoever tends the edge.
    pub(crate) async fn due(&self) {
        let _work = self.due.lock().await.next().await;
    }

    /// Says that there is something to do.
    fn call(&self) {
        // Full: it has been said and not been heard yet.
        let _said_already = self.work.lock().unwrap_or_else(PoisonError::into_inner).try_send(());
    }

    /// Takes note of what the core says of the lease by refusing something.
    fn heed(&self, error: UpstreamError) -> WrapError {
        if matches!(error, UpstreamError::Refused { .. }) {
            self.lease_is_old.store(true, Ordering::Relaxed);
            self.call();
        }
        above(error)
    }

    /// Whether the lease is to be renewed before its time; asked once.
    pub(crate) fn take_lease_is_old(&self) -> bool {
        self.lease_is_old.swap(false, Ordering::Relaxed)
    }

    /// How many object keys wait for objects.
    pub(crate) fn pooled(&self) -> usize {
        self.pool.len()
    }

    /// How many opened object keys are kept.
    pub(crate) fn opened(&self) -> usize {
        self.opened.len()
    }

    /// Lets go of every key that the lease does not allow any more.
    pub(crate) fn purge(&self) {
        let current = self.leases.current();
        self.opened.retain(|_, opened| current.key(opened.parent, Purpose::Process).is_some());
        let mut attribute_keys = self.attribute_keys.lock().unwrap_or_else(PoisonError::into_inner);
        attribute_keys.retain(|service, _| current.service(*service).is_some());
        drop(attribute_keys);
        self.pool.keep(|service| current.service(service)?.1.active());
        self.cache.keep_those(|header| header.id.layer != Layer::L4 || may_be_kept(&current, header.parent));
    }

    /// Lets go of everything.
    pub(crate) fn purge_all(&self) {
        self.opened.clear();
        self.attribute_keys.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.pool.keep(|_| None);
        self.cache.keep_those(|header| header.id.layer != Layer::L4);
    }

    /// An object key for a new object of a service, wrapped under `parent`.
    async fn fresh(&self, service: ServiceId, parent: ParentRef) -> Result<Ready, WrapError> {
        loop {
            // What waits under another version would be dropped for it.
            if self.leases.current().service(service).and_then(|(_, service)| service.active()) != Some(parent) {
                return Err(above(withdrawn(parent)));
            }
            if let (Some(ready), is_low) = self.pool.take(service, parent) {
                if is_low {
                    self.call();
                }
                return Ok(ready);
            }
            // Whoever comes first fills the pool for all who wait.
            let _turn = self.turn(service.as_bytes()).lock().await;
            if let (Some(ready), _) = self.pool.take(service, parent) {
                return Ok(ready);
            }
            self.fill(service, parent, WRAPPED_KEYS_MAX).await?;
        }
    }

    /// Has object keys wrapped and puts them into the pool.
    async fn fill(&self, service: ServiceId, parent: ParentRef, keys: usize) -> Result<(), WrapError> {
        let l3 = self.leases.current().key(parent, Purpose::Protect).ok_or_else(|| above(withdrawn(parent)))?;
        let keys = (0..keys.min(WRAPPED_KEYS_MAX)).map(|_| self.random_key()).collect::<Result<Vec<_>, _>>()?;
        let named: Vec<(ObjectKeyId, &Bytes)> = keys.iter().map(|(id, key)| (*id, key)).collect();
        let wrapped = all_wrapped(&*self.upstream, l3.id, &named).await.map_err(|error| self.heed(error))?;
        let ready = keys.iter().zip(wrapped);
        let ready = ready.map(|((id, key), wrapped)| Ready { id: *id, wrapped, key: key.expose(|key| self.cache.conceal(key)) });
        self.pool.put(service, parent, ready.collect());
        Ok(())
    }

    /// Fills the pools of all services that make objects, whichever of them can be filled.
    ///
    /// # Errors
    /// The core's first.
    pub(crate) async fn refill(&self) -> Result<(), Error> {
        let mut outcome = Ok(());
        for (service, parent, lacking) in self.pool.lacking() {
            outcome = outcome.and(self.fill_up(service, parent, lacking).await);
        }
        Ok(outcome?)
    }

    async fn fill_up(&self, service: ServiceId, parent: ParentRef, mut lacking: usize) -> Result<(), WrapError> {
        while lacking > 0 {
            let keys = lacking.min(WRAPPED_KEYS_MAX);
            self.fill(service, parent, keys).await?;
            lacking -= keys;
        }
        Ok(())
    }

    fn random_key(&self) -> Result<(ObjectKeyId, Bytes), WrapError> {
        let key = Bytes::try_init_with(OBJECT_KEY_BYTES, |key| Ok::<_, WrapError>(self.randomness.fill(key)?))?;
        Ok((ObjectKeyId(self.randomness.array()?), key))
    }

    fn turn(&self, id: &[u8; 16]) -> &TurnLock<()> {
        &self.turns[usize::from(id[15]) % TURNS]
    }

    /// An object key, opened: by the core, unless it has been before.
    async fn open(&self, parent: ParentRef, envelope: &Envelope<'_>) -> Result<Bytes, WrapError> {
        let id = envelope.id;
        if let Some(opened) = self.opened.get(&id) {
            return self.reveal(&opened.key, id);
        }
        let _turn = self.turn(&id.0).lock().await;
        if let Some(opened) = self.opened.get(&id) {
            return self.reveal(&opened.key, id);
        }
        let l3 = self.leases.current().key(parent, Purpose::Process).ok_or_else(|| above(withdrawn(parent)))?;
        let key = match self.upstream.unwrap(l3.id, id, envelope.wrapped).await {
            Ok(key) if key.len() == OBJECT_KEY_BYTES => key,
            Ok(_) | Err(UpstreamError::Forged) => return Err(WrapError::Forged),
            Err(error) => return Err(self.heed(error)),
        };
        self.remember(id, parent, key.expose(|key| self.cache.conceal(key)));
        Ok(key)
    }

    fn reveal(&self, key: &Hidden, id: ObjectKeyId) -> Result<Bytes, WrapError> {
        let row = RowId::new(Layer::L4, Uuid::from_bytes(id.0));
        Bytes::try_init_with(OBJECT_KEY_BYTES, |plain| self.cache.uncover(key, plain, row)).map_err(above)
    }

    fn remember(&self, id: ObjectKeyId, parent: ParentRef, key: Hidden) {
        self.opened.insert(id, Arc::new(Opened { parent, key }));
        // Asked after the insert: a lease is changed first and what it forbids is let go of second, so one of us two removes it.
        if self.leases.current().key(parent, Purpose::Process).is_none() {
            self.opened.remove(&id);
        }
    }

    /// The attribute key of a service that has one.
    async fn attribute_key(&self, service: ServiceId) -> Result<Arc<AttributeKey>, WrapError> {
        if let Some(known) = self.known_attribute_key(service) {
            return Ok(known);
        }
        let row = self.shelf.existing(attribute_key_row(service)).await.map_err(above)?;
        let material = row.material.as_deref().ok_or_else(|| above(Error::corrupt("it has no key", row.header.id)))?;
        let envelope = Envelope::decode(material)?;
        let opened = self.open(row.header.parent, &envelope).await?;
        // What is written under a key that is not the stored one would be lost.
        self.unseal(&self.shelf.registry.material_binding(&row.header), &envelope, &opened)?;
        self.opened.remove(&envelope.id);
        self.take_attribute_key(service, envelope.id, &opened)
    }

    fn take_attribute_key(&self, service: ServiceId, id: ObjectKeyId, opened: &Bytes) -> Result<Arc<AttributeKey>, WrapError> {
        let key = opened.expose(|key| ParentKey::new(self.shelf.registry.cluster(), key, AEAD))?;
        let key = Arc::new(AttributeKey { id, key });
        self.attribute_keys.lock().unwrap_or_else(PoisonError::into_inner).insert(service, Arc::clone(&key));
        if self.leases.current().service(service).is_none() {
            self.attribute_keys.lock().unwrap_or_else(PoisonError::into_inner).remove(&service);
        }
        Ok(key)
    }

    /// The attribute key of a service, if it is open.
    pub(crate) fn known_attribute_key(&self, service: ServiceId) -> Option<Arc<AttributeKey>> {
        self.attribute_keys.lock().unwrap_or_else(PoisonError::into_inner).get(&service).cloned()
    }

    /// Forgets an attribute key that turned out not to be the stored one, or has been stored anew.
    pub(crate) fn forget_attribute_key(&self, service: ServiceId) {
        self.attribute_keys.lock().unwrap_or_else(PoisonError::into_inner).remove(&service);
    }

    /// A key that may become a service's attribute key: as it is to be stored by `header`, in an envelope with the service's id under it.
    pub(crate) async fn new_attribute_key(&self, service: ServiceId, header: &Header) -> Result<Vec<u8>, Error> {
        let Ready { id, wrapped, key } = self.fresh(service, header.parent).await?;
        let known = Bytes::init_with(service.as_bytes().len(), |known| known.copy_from_slice(service.as_bytes()))?;
        let sealed = self.seal_under(id, &key, &self.shelf.registry.material_binding(header), &known)?;
        // If it becomes the stored one, it is open already.
        self.remember(id, header.parent, key);
        Ok(Envelope { id, wrapped: &wrapped, sealed: &sealed }.encode())
    }

    /// Objects that were found under an older L3 than the one that wraps now; asked once.
    pub(crate) fn take_stale(&self) -> Vec<RowId> {
        let mut stale = self.stale.lock().unwrap_or_else(PoisonError::into_inner);
        let taken: Vec<RowId> = stale.iter().take(WRAPPED_KEYS_MAX).copied().collect();
        stale.retain(|id| !taken.contains(id));
        if !stale.is_empty() {
            self.call();
        }
        taken
    }

    /// Notes an object whose L3 has a successor.
    fn mark_stale(&self, current: &Current, id: RowId, parent: ParentRef) {
        if current.is_replaced(parent) {
            let mut stale = self.stale.lock().unwrap_or_else(PoisonError::into_inner);
            if stale.len() < STALE_OBJECTS_MAX && stale.insert(id) {
                drop(stale);
                self.call();
            }
        }
    }

    /// Has the object keys of rows wrapped anew, each under `to`, whose rows are now under others of the same chain; each with an outcome of its own, in
    /// order: what does not open stays where it is. Keys that were not open before are not kept.
    ///
    /// # Errors
    /// [`Error::Raced`] if `to` was replaced meanwhile; the core's: nothing can be said of any of them.
    pub(crate) async fn rewrap_each(&self, rows: &[Row], to: ParentRef) -> Result<Vec<Result<Vec<u8>, WrapError>>, Error> {
        let l3 = self.leases.current().key(to, Purpose::Protect).ok_or(Error::Raced)?;
        let mut keys = Vec::with_capacity(rows.len());
        for (row, opened) in rows.iter().zip(self.open_each(rows).await?) {
            let material = row.material.as_deref().unwrap_or_default();
            keys.push(opened.and_then(|(is_kept, key)| {
                let envelope = Envelope::decode(material)?;
                // C18: the old wrapping goes, so it has to be the key that protects the object.
                self.unseal(&self.shelf.registry.material_binding(&row.header), &envelope, &key)?;
                Ok((envelope.id, key, is_kept))
            }));
        }
        let named: Vec<(ObjectKeyId, &Bytes)> = keys.iter().flatten().map(|(id, key, _)| (*id, key)).collect();
        if named.is_empty() {
            return Ok(keys.into_iter().map(|key| key.map(|_| Vec::new())).collect());
        }
        let mut wrapped = all_wrapped(&*self.upstream, l3.id, &named).await.map_err(|error| self.heed(error))?.into_iter();
        let outcome = |key: Result<(ObjectKeyId, Bytes, bool), WrapError>| {
            let (id, key, is_kept) = key?;
            if is_kept {
                self.remember(id, to, key.expose(|key| self.cache.conceal(key)));
            }
            Ok(wrapped.next().expect("one for each that was sent"))
        };
        Ok(keys.into_iter().map(outcome).collect())
    }

    /// The object keys of rows, in order, and whether each was open before. What the lease, or the core, does not let open keeps no other shut.
    async fn open_each(&self, rows: &[Row]) -> Result<Vec<Result<(bool, Bytes), WrapError>>, Error> {
        let current = self.leases.current();
        let mut opened: Vec<Option<Result<(bool, Bytes), WrapError>>> = Vec::with_capacity(rows.len());
        let mut asked = Vec::new();
        for row in rows {
            let parent = row.header.parent;
            opened.push(match Envelope::decode(row.material.as_deref().unwrap_or_default()) {
                Err(error) => Some(Err(error)),
                Ok(Envelope { id, wrapped, .. }) => match (self.opened.get(&id), current.key(parent, Purpose::Rewrap)) {
                    (Some(kept), _) => Some(self.reveal(&kept.key, id).map(|key| (true, key))),
                    (None, Some(l3)) => {
                        asked.push((l3.id, id, wrapped));
                        None
                    }
                    (None, None) => Some(Err(above(withdrawn(parent)))),
                },
            });
        }
        if asked.is_empty() {
            return Ok(opened.into_iter().flatten().collect());
        }
        let answers = self.upstream.unwrap_each(&asked).await.map_err(|error| self.heed(error))?;
        if answers.len() != asked.len() {
            return Err(Error::Unavailable { what: format!("the core has answered {} keys with {}", asked.len(), answers.len()) });
        }
        let mut answers = answers.into_iter().map(|answer| match answer {
            Ok(key) if key.len() == OBJECT_KEY_BYTES => Ok(Ok((false, key))),
            Ok(_) | Err(UpstreamError::Forged) => Ok(Err(WrapError::Forged)),
            Err(error @ UpstreamError::Refused { .. }) => Ok(Err(self.heed(error))),
            Err(error @ UpstreamError::Unavailable { .. }) => Err(Error::from(error)),
        });
        let all = opened.into_iter().map(|known| known.map_or_else(|| answers.next().expect("as many as were asked for"), Ok));
        all.collect()
    }

    /// Takes what a whole walk has found, to be told with the next lease.
    pub(crate) fn note_references(&self, references: References) {
        *self.references.lock().unwrap_or_else(PoisonError::into_inner) = references;
    }

    /// Does the lease name a compromised version that this edge has not found itself to have left?
    pub(crate) fn flees(&self) -> bool {
        let current = self.leases.current();
        let references = self.references.lock().unwrap_or_else(PoisonError::into_inner);
        let mut versions = current.lease.tenants.iter().flat_map(|tenant| &tenant.services).flat_map(|service| &service.versions);
        versions.any(|key| key.state == State::Compromised && !references.left.contains(&key.id))
    }

    /// Tells the core which versions this edge has left, unless it knows. If it cannot be told now, it is with the next lease.
    ///
    /// - `memory`: in which the core keeps it, by the lease.
    pub(crate) async fn report(&self, memory: Uuid) {
        let references = self.references.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let report = Some((memory, references));
        if *self.told.lock().unwrap_or_else(PoisonError::into_inner) == report {
            return;
        }
        if let Some((_, references)) = &report
            && self.upstream.report(references).await.is_ok()
        {
            *self.told.lock().unwrap_or_else(PoisonError::into_inner) = report;
        }
    }

    async fn seal_child(&self, service: ServiceId, parent: ParentRef, binding: &Binding, plain: &Bytes) -> Result<Vec<u8>, WrapError> {
        if binding.object_type == ObjectType::ATTRIBUTES {
            let key = self.attribute_key(service).await?;
            return seal(&key.key, &self.randomness, &Binding { parent: key.id.parent(), ..*binding }, plain);
        }
        let Ready { id, wrapped, key } = self.fresh(service, parent).await?;
        let sealed = self.seal_under(id, &key, binding, plain)?;
        // Whoever has made an object will use it.
        self.remember(id, parent, key);
        Ok(Envelope { id, wrapped: &wrapped, sealed: &sealed }.encode())
    }

    fn seal_under(&self, id: ObjectKeyId, key: &Hidden, binding: &Binding, plain: &Bytes) -> Result<Vec<u8>, WrapError> {
        let key = self.reveal(key, id)?.expose(|key| ParentKey::new(self.shelf.registry.cluster(), key, AEAD))?;
        seal(&key, &self.randomness, &Binding { parent: id.parent(), ..*binding }, plain)
    }

    /// What lies under an object key. One that opens nothing is not kept: the next use asks again.
    fn unseal(&self, binding: &Binding, envelope: &Envelope<'_>, object_key: &Bytes) -> Result<Bytes, WrapError> {
        let object_key = object_key.expose(|key| ParentKey::new(self.shelf.registry.cluster(), key, AEAD))?;
        let opened = object_key.unwrap(&Binding { parent: envelope.id.parent(), ..*binding }, envelope.sealed);
        opened.inspect_err(|_| drop(self.opened.remove(&envelope.id)))
    }

    async fn open_child(&self, current: &Current, parent: ParentRef, binding: &Binding, blob: &[u8]) -> Result<Bytes, WrapError> {
        let (_, service) = current.chain(parent.chain).ok_or_else(|| above(withdrawn(parent)))?;
        if binding.object_type == ObjectType::ATTRIBUTES {
            let key = self.attribute_key(service.id).await?;
            let opened = key.key.unwrap(&Binding { parent: key.id.parent(), ..*binding }, blob);
            return opened.inspect_err(|_| self.forget_attribute_key(service.id));
        }
        let envelope = Envelope::decode(blob)?;
        let object_key = self.open(parent, &envelope).await?;
        let opened = self.unseal(binding, &envelope, &object_key)?;
        self.mark_stale(current, binding.id, parent);
        Ok(opened)
    }

    async fn seal_children(&self, parent: ParentRef, purpose: Purpose, children: &[(Binding, &Bytes)]) -> Result<Vec<Vec<u8>>, WrapError> {
        if let Some(root) = self.shelf.registry.root(parent, purpose)? {
            return children.iter().map(|(binding, plain)| seal(&root, &self.randomness, binding, plain)).collect();
        }
        let current = self.leases.current();
        let (_, service) = current.chain(parent.chain).ok_or_else(|| above(withdrawn(parent)))?;
        let mut blobs = Vec::with_capacity(children.len());
        for (binding, plain) in children {
            blobs.push(self.seal_child(service.id, parent, binding, plain).await?);
        }
        Ok(blobs)
    }
}

#[async_trait]
impl Parent for ObjectKeys {
    async fn wrap(&self, parent: ParentRef, children: &[(Binding, &Bytes)]) -> Result<Vec<Vec<u8>>, WrapError> {
        self.seal_children(parent, Purpose::Protect, children).await
    }

    async fn reseal(&self, parent: ParentRef, children: &[(Binding, &Bytes)]) -> Result<Vec<Vec<u8>>, WrapError> {
        self.seal_children(parent, Purpose::Process, children).await
    }

    async fn unwrap(&self, parent: ParentRef, children: &[(Binding, &[u8])]) -> Result<Vec<Bytes>, WrapError> {
        if let Some(root) = self.shelf.registry.root(parent, Purpose::Process)? {
            return children.iter().map(|(binding, blob)| root.unwrap(binding, blob)).collect();
        }
        let current = self.leases.current();
        let mut opened = Vec::with_capacity(children.len());
        for (binding, blob) in children {
            opened.push(self.open_child(&current, parent, binding, blob).await?);
        }
        Ok(opened)
    }

    /// An object is not opened to be moved: only what it lies under is wrapped anew.
    async fn unwrap_to_move(&self, parent: ParentRef, children: &[(Binding, &[u8])]) -> Result<Vec<Bytes>, WrapError> {
        self.unwrap(parent, children).await
    }

    /// By the lease as it is now: what an edge has said it has left it does not come back to.
    async fn must_protect(&self, parent: ParentRef) -> Result<(), WrapError> {
        match self.leases.current().key(parent, Purpose::Protect) {
            Some(_) => Ok(()),
            None => Err(WrapError::Replaced { chain: parent.chain.to_string(), version: parent.version.0 }),
        }
    }

    /// Nothing of an edge's rows is a parent.
    fn forget(&self, _parent: ParentRef) {}
}
