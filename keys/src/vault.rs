//! The few verbs that every operation is composed of: grants, header, insert, open, change, destroy, attributes, find.
//!
//! A verb that touches an object consumes an [`Authorized`] for it, so authorization cannot be forgotten, and checks that the object is still the
//! one that was authorized. Changes are staged in the message's [`Unit`] and become real when that is committed.

mod change;
mod making;
mod names;
mod search;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use secret::{Bytes, scrubbed};
use uuid::Uuid;

use crate::attributes::{ATTRIBUTES_BYTES_MAX, Attributes};
use crate::budget::Budgets;
use crate::cache::{Cache, CacheFigures, Entry};
use crate::chain::Chain;
use crate::clock::SteadyClock;
use crate::doubt::Doubt;
use crate::entropy::Randomness;
use crate::error::Error;
use crate::id::{Generation, KeyVersion, Layer, OutboxSeq, RowId, SessionId, TenantId, Time};
use crate::lease::Leases;
use crate::lifecycle::State;
use crate::object_keys::ObjectKeys;
use crate::policy::verb::UsesMaterial;
use crate::policy::{Authorized, Grants, NodeRole, Verb};
use crate::port::{AuditSink, Clock, Entropy, Keystore, Pace, PairMaker, Parent, Query, Scope, Stretcher, Upstream};
use crate::references::Reported;
use crate::registry::Registry;
use crate::row::{Algorithm, Header, ObjectType, Owner, ParentRef, Row};
use crate::scopes::Scopes;
use crate::sharing::{NodeTag, Sharing};
use crate::shelf::Shelf;
use crate::stream::Streams;
use crate::unit::{Unit, UnitSender, Writer, WriterParts, record_header, writer};
use crate::usage::Shares;

pub(crate) use change::next_header;
pub use search::SEARCHED_ROWS_MAX;

/// About the size of a key's blobs.
const DECOY_BLOB_BYTES: usize = 200;
/// A refusal that must not tell whether there is such an object leaves so long after the search began, or a multiple of it: longer than a store
/// takes to find a row.
const REFUSAL_STEP: Duration = Duration::from_millis(2);

/// What a node's vault is made of.
pub struct Parts {
    /// The open roots.
    pub registry: Registry,
    /// Where rows live.
    pub store: Arc<dyn Keystore>,
    /// Where records go.
    pub audit: Arc<dyn AuditSink>,
    /// Time of day.
    pub clock: Arc<dyn Clock>,
    /// When refusals leave.
    pub pace: Arc<dyn Pace>,
    /// The system's randomness.
    pub entropy: Arc<dyn Entropy>,
    /// The appliance's own session in the audit log.
    pub system: SessionId,
    /// The first outbox number that was never used.
    pub next_outbox: OutboxSeq,
    /// No time of day before this one is believed: the last one in the audit log.
    pub not_before: Time,
}

/// What the vault of an edge is made of besides.
pub struct EdgeParts {
    /// What it may serve for now.
    pub leases: Leases,
    /// Its core.
    pub upstream: Arc<dyn Upstream>,
    /// Where key pairs come from.
    pub pairs: Arc<dyn PairMaker>,
    /// Where keys are derived from passwords.
    pub stretcher: Arc<dyn Stretcher>,
    /// Most wrapped object keys that wait for new objects of each service.
    pub pool_keys: usize,
    /// About how much memory opened object keys may take.
    pub cache_bytes: usize,
    /// An object without a Deactivation Date gets one so long after its activation.
    pub l4_ttl: Option<Duration>,
    /// The store is gone with the process.
    pub is_ephemeral: bool,
    /// Others use the store too, and this node is known there by this tag.
    pub shared_as: Option<NodeTag>,
}

/// How much of an object is to be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// What is known of it.
    Attributes,
    /// Its key bytes too.
    Material,
}

/// The open domain of an unsealed node; dropping it (and the writer) wipes every key.
pub struct Vault {
    pub(crate) shelf: Shelf,
    pub(crate) parent: Arc<dyn Parent>,
    /// The parent once more, on a core.
    pub(crate) chain: Option<Arc<Chain>>,
    /// The same, on an edge.
    pub(crate) edge: Option<Arc<ObjectKeys>>,
    audit: Arc<dyn AuditSink>,
    pub(crate) clock: SteadyClock,
    pub(crate) pace: Arc<dyn Pace>,
    pub(crate) randomness: Arc<Randomness>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) budgets: Budgets,
    pub(crate) shares: Shares,
    pub(crate) streams: Arc<Streams>,
    pub(crate) scopes: Scopes,
    pub(crate) system: SessionId,
    pub(crate) units: UnitSender,
    pub(crate) policy_epoch: Arc<AtomicU64>,
    pub(crate) lease_epoch: Arc<AtomicU64>,
    doubt: Arc<Doubt>,
    pub(crate) parents_epoch: Arc<AtomicU64>,
    /// What a core's edges have told it.
    pub(crate) reported: Reported,
    /// A row that is no row of the store, as one would be stored.
    decoy: Vec<u8>,
}

/// What opens keys: a core's chain, or an edge's object keys.
enum Opener {
    Core(Arc<Chain>),
    Edge(Arc<ObjectKeys>),
}

/// A key to be made.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// Header of the new row; `generation`, `wrap_seq` and `attributes_seq` are set by the verb.
    pub header: Header,
    /// Its attributes; names are claimed.
    pub attributes: Attributes,
}

/// An object as its owner may see it.
#[derive(Debug, Clone)]
pub struct View {
    /// Visible header.
    pub header: Header,
    /// State now, by the dates.
    pub state: State,
    /// The rest.
    pub attributes: Arc<Attributes>,
}

impl Vault {
    /// Builds the vault of a core, and the writer whose `run` the caller must drive.
    ///
    /// # Errors
    /// No randomness or no locked memory.
    pub fn core(parts: Parts) -> Result<(Arc<Self>, Writer), Error> {
        let place = Arc::new(OnceLock::new());
        let chains = Arc::clone(&place);
        let (vault, writer) =
            Self::build(parts, None, |shelf, randomness, _cache| Opener::Core(Arc::new(Chain::new(shelf, randomness, chains))))?;
        let _first = place.set(Arc::downgrade(&vault));
        Ok((vault, writer))
    }

    /// As [`Vault::core`], of an edge.
    ///
    /// # Errors
    /// As [`Vault::core`].
    pub fn edge(parts: Parts, edge: EdgeParts) -> Result<(Arc<Self>, Writer), Error> {
        let shared_as = edge.shared_as;
        Self::build(parts, shared_as, |shelf, randomness, cache| Opener::Edge(Arc::new(ObjectKeys::new(shelf, randomness, cache, edge))))
    }

    fn build(
        parts: Parts,
        shared_as: Option<NodeTag>,
        opener: impl FnOnce(Shelf, Arc<Randomness>, Arc<Cache>) -> Opener,
    ) -> Result<(Arc<Self>, Writer), Error> {
        let randomness = Arc::new(Randomness::new(parts.entropy));
        let sharing = shared_as.map(|own| Arc::new(Sharing::new(own, Arc::clone(&parts.pace))));
        let hearing = sharing.as_ref().map(|sharing| Arc::clone(&sharing.hearing));
        let shelf = Shelf { store: parts.store, registry: Arc::new(parts.registry), seen: Arc::default(), sharing };
        let cache = Arc::new(Cache::new(&randomness, Arc::clone(&shelf.seen), hearing)?);
        let (parent, chain, edge): (Arc<dyn Parent>, _, _) = match opener(shelf.clone(), Arc::clone(&randomness), Arc::clone(&cache)) {
            Opener::Core(chain) => (Arc::<Chain>::clone(&chain), Some(chain), None),
            Opener::Edge(keys) => (Arc::<ObjectKeys>::clone(&keys), None, Some(keys)),
        };
        // Begins anywhere, so that grants of the time before a seal are never taken for current ones.
        let policy_epoch = Arc::new(AtomicU64::new(u64::from_be_bytes(randomness.array()?)));
        let lease_epoch = Arc::new(AtomicU64::new(0));
        let doubt = Arc::new(Doubt::default());
        let parents_epoch = Arc::new(AtomicU64::new(0));
        let (units, writer) = writer(WriterParts {
            shelf: shelf.clone(),
            audit: Arc::clone(&parts.audit),
            randomness: Arc::clone(&randomness),
            cache: Arc::clone(&cache),
            parent: Arc::clone(&parent),
            policy_epoch: Arc::clone(&policy_epoch),
            lease_epoch: Arc::clone(&lease_epoch),
            doubt: Arc::clone(&doubt),
            parents_epoch: Arc::clone(&parents_epoch),
            next: parts.next_outbox,
        });
        let reported = Reported::new(Uuid::from_u64_pair(0, policy_epoch.load(Ordering::Relaxed)));
        let decoy = record_header(RowId::new(Layer::L3, Uuid::nil()), shelf.registry.records(), TenantId::SYSTEM);
        let decoy = shelf.registry.seal_row(decoy, Some(vec![0; DECOY_BLOB_BYTES]), Some(vec![0; DECOY_BLOB_BYTES]), Vec::new());
        let vault = Self {
            shelf,
            parent,
            chain,
            edge,
            audit: parts.audit,
            clock: SteadyClock::new(parts.clock, Arc::clone(&parts.pace), parts.not_before),
            pace: parts.pace,
            randomness,
            cache,
            budgets: Budgets::default(),
            shares: Shares::default(),
            streams: Arc::default(),
            scopes: Scopes::default(),
            system: parts.system,
            units,
            policy_epoch,
            lease_epoch,
            doubt,
            parents_epoch,
            reported,
            decoy: decoy.encode(),
        };
        Ok((Arc::new(vault), writer))
    }

    /// How full the cache of opened keys is, and how often it helped since the unseal.
    #[must_use]
    pub fn cache_figures(&self) -> CacheFigures {
        self.cache.figures()
    }

    /// Where this process stands.
    #[must_use]
    pub fn node(&self) -> NodeRole {
        if self.edge.is_some() { NodeRole::Edge } else { NodeRole::Core }
    }

    /// The open roots.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.shelf.registry
    }

    /// Begins the unit of one message.
    #[must_use]
    pub fn begin(&self, session: SessionId) -> Unit {
        Unit::new(session, Arc::clone(&self.audit), Some(self.units.clone()))
    }

    /// The time that lifecycle rules go by: the clock's, but never earlier than it once was (F13).
    pub fn now(&self) -> Time {
        self.clock.now()
    }

    /// Moves whenever grants that were resolved earlier may have changed.
    #[must_use]
    pub fn policy_epoch(&self) -> u64 {
        self.policy_epoch.load(Ordering::Acquire)
    }

    /// After a change whose end the store did not tell: has grants or leases that follow from it resolved anew once it answers. Else it does nothing.
    pub async fn end_doubt(&self) {
        if !self.doubt.is_any() {
            return;
        }
        let query = Query { layer: Layer::Integrity, terms: Vec::new(), before: None, limit: 1 };
        if self.shelf.store.find(&query).await.is_ok() {
            self.doubt.end(&self.policy_epoch, &self.lease_epoch);
        }
    }

    /// Moves whenever a version above other keys is no longer what they are to lie under: then a walk has work.
    #[must_use]
    pub fn parents_epoch(&self) -> u64 {
        self.parents_epoch.load(Ordering::Acquire)
    }

    /// A fresh time-ordered identifier (UUIDv7, RFC 9562).
    ///
    /// # Errors
    /// No randomness.
    pub fn new_uuid(&self) -> Result<Uuid, Error> {
        let millis = u64::try_from(self.now().millis()).unwrap_or(0);
        Ok(uuid::Builder::from_unix_timestamp_millis(millis, &self.randomness.array()?).into_uuid())
    }

    /// Fills `bytes` with random ones, for a client.
    ///
    /// # Errors
    /// No randomness.
    pub fn random(&self, bytes: &mut [u8]) -> Result<(), Error> {
        Ok(self.randomness.fill(bytes)?)
    }

    /// Random bytes for a padding that is filled with them (ISO 10126).
    ///
    /// # Errors
    /// No randomness.
    pub fn filling(&self) -> Result<[u8; 15], Error> {
        Ok(self.randomness.array()?)
    }

    /// A random initialization vector or first counter block that needs no budget: CBC's, or CTR's.
    ///
    /// # Errors
    /// No randomness.
    pub fn cbc_iv(&self) -> Result<[u8; 16], Error> {
        Ok(self.randomness.array()?)
    }

    /// The header of an object, as this unit sees it; checked against its MAC and its past.
    ///
    /// To whom the object does not belong, it does not exist, also when it does not verify; and it takes as long to say so.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Corrupt`].
    pub async fn header(&self, unit: &Unit, grants: &Grants, id: RowId) -> Result<Header, Error> {
        self.header_for(unit, grants, id, |owner| grants.owns(owner)).await
    }

    /// As [`Vault::header`], for everybody of the object's tenant.
    ///
    /// # Errors
    /// As [`Vault::header`].
    pub async fn header_in_tenant(&self, unit: &Unit, grants: &Grants, id: RowId) -> Result<Header, Error> {
        self.header_for(unit, grants, id, |owner| grants.tenant() == Some(owner.tenant)).await
    }

    pub(crate) async fn header_for(
        &self,
        unit: &Unit,
        grants: &Grants,
        id: RowId,
        may_know: impl Fn(&Owner) -> bool,
    ) -> Result<Header, Error> {
        if let Some(change) = unit.staged(id) {
            return change.row().map(|row| row.header.clone()).ok_or(Error::NotFound);
        }
        let began = self.pace.now();
        if let Some(entry) = self.cache.get(id).filter(|entry| may_know(&entry.header.owner)) {
            return Ok(entry.header.clone());
        }
        Ok(self.row_for(id, grants, may_know, began).await?.header)
    }

    /// The row of an object, for those whom its owner lets pass `may_know`; to others it does not exist, and neither what they are told nor when tells
    /// it from one that is not there.
    ///
    /// - `began`: when the object was first looked for.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Corrupt`] if it is lost or does not verify, to those whom the owner that it was seen with lets pass, or, if it
    /// was not seen yet, the one that it claims.
    pub(crate) async fn row_for(
        &self,
        id: RowId,
        grants: &Grants,
        may_know: impl Fn(&Owner) -> bool,
        began: Duration,
    ) -> Result<Row, Error> {
        let found = self.known_row(id, grants, may_know).await;
        if matches!(found, Err(Error::NotFound)) {
            self.pace.reach(refusal_at(began, self.pace.now())).await;
        }
        found
    }

    async fn known_row(&self, id: RowId, grants: &Grants, may_know: impl Fn(&Owner) -> bool) -> Result<Row, Error> {
        let scope = grants.scope();
        match self.shelf.row_for(scope, id).await {
            Ok(Some(row)) if may_know(&row.header.owner) => Ok(row),
            Ok(Some(_)) => Err(Error::NotFound),
            Ok(None) => {
                // What is found is decoded and has its MAC checked, and what is not, a decoy: code that has just run makes what follows the wait quicker.
                let _verdict = Row::decode(&self.decoy).map(|decoy| self.shelf.registry.check_row(&decoy));
                Err(Error::NotFound)
            }
            Err(error @ Error::Corrupt { .. }) => {
                let claimed = self.shelf.store.retrieve_for(scope, id).await.ok().flatten().map(|row| row.header.owner);
                let owner = self.shelf.seen.owner(id).map(|tag| tag.seen_by(grants)).or(claimed);
                Err(if owner.is_none_or(|owner| may_know(&owner)) { error } else { Error::NotFound })
            }
            Err(error) => Err(error),
        }
    }

    /// The attributes and present state of an object.
    ///
    /// # Errors
    /// [`Error::Raced`] if the object changed since it was authorized.
    pub async fn attributes<V: Verb>(&self, unit: &Unit, authorized: Authorized<V>) -> Result<View, Error> {
        let entry = self.entry(unit, &authorized, Want::Attributes).await?;
        Ok(self.view(&entry))
    }

    /// Lends an object's key bytes and attributes to `use_it`, if state, dates and usage mask allow the verb.
    ///
    /// # Errors
    /// [`Error::WrongState`], [`Error::Denied`] (the mask lacks the bit), [`Error::Raced`]; what `use_it` returns.
    pub async fn open<V: UsesMaterial, R>(
        &self,
        unit: &Unit,
        authorized: Authorized<V>,
        use_it: impl FnOnce(&[u8], &View) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let (entry, view) = self.ready::<V>(unit, &authorized).await?;
        self.lend(unit, &entry, |bytes| use_it(bytes, &view))?
    }

    /// An object that may be put to `V` now.
    pub(crate) async fn ready<V: UsesMaterial>(&self, unit: &Unit, authorized: &Authorized<V>) -> Result<(Arc<Entry>, View), Error> {
        let entry = self.entry(unit, authorized, Want::Material).await?;
        let view = self.view(&entry);
        self.must_allow::<V>(&view)?;
        Ok((entry, view))
    }

    /// Lends the key bytes of an object that is ready.
    pub(crate) fn lend<R>(&self, unit: &Unit, entry: &Entry, use_it: impl FnOnce(&[u8]) -> R) -> Result<R, Error> {
        let Header { id, generation, .. } = entry.header;
        let reveal = || self.cache.reveal(entry)?.ok_or_else(|| Error::corrupt("it has no material", id));
        scrubbed(|| unit.with_opened((id, generation), reveal, use_it))
    }

    /// Would state, dates and usage mask allow `V` now? For what must be decided before anything is spent on the operation.
    pub(crate) fn must_allow<V: UsesMaterial>(&self, view: &View) -> Result<(), Error> {
        self.must_allow_by_time(view, V::PURPOSE)?;
        if view.attributes.usage_mask & V::MASK == 0 {
            return Err(Error::Denied { why: "the Cryptographic Usage Mask of the key does not allow this operation" });
        }
        Ok(())
    }

    /// Would state and dates allow `purpose` now?
    pub(crate) fn must_allow_by_time(&self, view: &View, purpose: crate::lifecycle::Purpose) -> Result<(), Error> {
        let now = self.now();
        if !view.state.allows(purpose) {
            let wants = match purpose {
                crate::lifecycle::Purpose::Protect => "Active",
                crate::lifecycle::Purpose::Process | crate::lifecycle::Purpose::Rewrap => "Active or Deactivated",
            };
            return Err(Error::WrongState { is: view.state, wants });
        }
        if !view.attributes.dates.window_allows(purpose, now) {
            return Err(Error::WrongState { is: view.state, wants: "a time between Process Start Date and Protect Stop Date" });
        }
        Ok(())
    }

    /// The key version that wraps an object; `None` if that is an IVK.
    ///
    /// # Errors
    /// The store's.
    pub async fn parent_of(&self, header: &Header) -> Result<Option<RowId>, Error> {
        if let Some(edge) = &self.edge {
            return Ok(edge.leases.current().version(header.parent).map(|key| key.id));
        }
        let term = self.shelf.registry.integrity().terms.version(header.parent);
        for layer in [Layer::L2, Layer::L21] {
            let found = self.shelf.newest(Query { layer, terms: vec![term], before: None, limit: 1 }).await?;
            let is_parent = |row: &Row| (row.header.chain, row.header.version) == (header.parent.chain, header.parent.version);
            if let Some(row) = found.filter(is_parent) {
                return Ok(Some(row.header.id));
            }
        }
        Ok(None)
    }

    pub(crate) fn view(&self, entry: &Entry) -> View {
        let state = entry.attributes.dates.state_at(entry.header.state, self.now());
        View { header: entry.header.clone(), state, attributes: Arc::clone(&entry.attributes) }
    }

    pub(crate) fn seen_as(&self, header: Header, attributes: Attributes) -> View {
        let state = attributes.dates.state_at(header.state, self.now());
        View { header, state, attributes: Arc::new(attributes) }
    }

    pub(crate) async fn entry<V: Verb>(&self, unit: &Unit, authorized: &Authorized<V>, want: Want) -> Result<Arc<Entry>, Error> {
        let id = authorized.id();
        let entry = match unit.staged(id) {
            Some(change) => Arc::new(self.open_row(change.row().ok_or(Error::NotFound)?, want).await?),
            None => match self.cache.get(id).filter(|entry| has(entry, want)) {
                Some(entry) => entry,
                None => {
                    let epoch = self.cache.epoch();
                    self.entry_of_row(&self.shelf.existing_for(authorized.scope(), id).await?, want, epoch).await?
                }
            },
        };
        if entry.header.generation != authorized.generation() {
            return Err(Error::Raced);
        }
        if entry.attributes.archived.is_some() { Err(Error::Archived) } else { Ok(entry) }
    }

    /// The entry of a checked row, which was read after `epoch` of the cache: the cached one, or opened and kept.
    async fn entry_of_row(&self, row: &Row, want: Want, epoch: u64) -> Result<Arc<Entry>, Error> {
        let is_it = |entry: &Arc<Entry>| entry.header.generation == row.header.generation && has(entry, want);
        if let Some(entry) = self.cache.get(row.header.id).filter(is_it) {
            return Ok(entry);
        }
        let entry = Arc::new(self.open_row(row, want).await?);
        self.cache.keep(&entry, epoch);
        self.keep_if_leased(&entry.header);
        Ok(entry)
    }

    /// Opens a row, which is moved from under a compromised version first if it lies there.
    pub(crate) async fn open_row(&self, row: &Row, want: Want) -> Result<Entry, Error> {
        let rescued = match &self.edge {
            Some(edge) => self.rescued_object(edge, &row.header, want).await?,
            None => self.rescued(&row.header).await?,
        };
        let row = rescued.as_ref().unwrap_or(row);
        match self.open_in_place(row, want).await {
            Err(Error::Raced) if matches!(row.header.id.layer, Layer::L21 | Layer::L3) => match self.taken_out(&row.header).await {
                // Not what wraps it but what wraps that was replaced just then, and that is over.
                Err(stays @ Error::Corrupt { .. }) => {
                    self.open_in_place(row, want).await.map_err(|error| if matches!(error, Error::Raced) { stays } else { error })
                }
                moved => self.open_in_place(&moved?, want).await,
            },
            opened => opened,
        }
    }

    /// On a core both parts lie under one key, so whoever opens the one has the other for little.
    async fn open_in_place(&self, row: &Row, want: Want) -> Result<Entry, Error> {
        let header = &row.header;
        let sealed = row.attributes.as_deref().ok_or_else(|| Error::corrupt("it has no attributes", header.id))?;
        let mut children = vec![(self.shelf.registry.attributes_binding(header), sealed)];
        let stays_shut = self.edge.is_some() && want == Want::Attributes && row.material.is_some();
        let material = row.material.as_deref().filter(|_| !stays_shut);
        children.extend(material.map(|blob| (self.shelf.registry.material_binding(header), blob)));
        let mut opened = self.parent.unwrap(header.parent, &children).await.map_err(|error| at(error, header.id))?.into_iter();
        let attributes = opened.next().expect("one answer a blob");
        let attributes = attributes.expose(Attributes::decode).map_err(|error| Error::corrupt(&error.to_string(), header.id))?;
        if stays_shut {
            return Ok(Cache::shut(header.clone(), attributes));
        }
        Ok(self.cache.hide(header.clone(), attributes, opened.next().as_ref()))
    }

    /// A row as this unit sees it.
    pub(crate) async fn row_in(&self, unit: &Unit, id: RowId) -> Result<Row, Error> {
        self.row_in_scope(unit, Scope::Node, id).await
    }

    /// As [`Vault::row_in`], of what lies in `scope`.
    pub(crate) async fn row_in_scope(&self, unit: &Unit, scope: Scope, id: RowId) -> Result<Row, Error> {
        match unit.staged(id) {
            Some(change) => change.row().cloned().ok_or(Error::NotFound),
            None => self.shelf.existing_for(scope, id).await,
        }
    }

    /// What a row's attributes say. Its material stays shut: a key whose material is damaged can still be looked at, revoked and destroyed.
    pub(crate) async fn view_of_row(&self, row: &Row) -> Result<View, Error> {
        Ok(self.view(&self.open_row(&Row { material: None, ..row.clone() }, Want::Attributes).await?))
    }
}

fn has(entry: &Entry, want: Want) -> bool {
    want == Want::Attributes || !entry.is_shut()
}

fn encode_attributes(header: &Header, attributes: &Attributes) -> Result<Bytes, Error> {
    attributes.must_fit(header)?;
    let content = attributes.encode();
    if content.len() > ATTRIBUTES_BYTES_MAX {
        return Err(Error::invalid("Attribute", format!("all attributes of a key together take at most {ATTRIBUTES_BYTES_MAX} bytes")));
    }
    Ok(Bytes::init_with(content.len(), |bytes| bytes.copy_from_slice(&content))?)
}

/// When a refusal leaves whose search began at `began` and has just ended.
fn refusal_at(began: Duration, now: Duration) -> Duration {
    let steps = now.saturating_sub(began).as_nanos() / REFUSAL_STEP.as_nanos() + 1;
    began + REFUSAL_STEP * u32::try_from(steps).unwrap_or(u32::MAX)
}

/// Names the row in an error of its blobs.
pub(crate) fn at(error: crate::wrap::WrapError, id: RowId) -> Error {
    match Error::from(error) {
        Error::Corrupt { what, .. } => Error::corrupt(&what, id),
        other => other,
    }
}

/// The header of a new tenant key version.
pub(crate) fn key_header(id: RowId, chain: crate::id::ChainId, owner: Owner, parent: ParentRef, aead: cipher::aead::Aead) -> Header {
    Header {
        id,
        chain,
        version: KeyVersion::FIRST,
        object_type: ObjectType::SYMMETRIC_KEY,
        algorithm: Algorithm::AES,
        bits: 256,
        aead,
        state: State::Active,
        expiry: None,
        owner,
        generation: Generation::FIRST,
        parent,
        wrap_seq: 1,
        attributes_seq: 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(searched_micros: u64, expected_micros: u64) {
        let began = Duration::from_secs(7);
        let left = refusal_at(began, began + Duration::from_micros(searched_micros));
        assert_eq!(left - began, Duration::from_micros(expected_micros), "{searched_micros} us");
    }

    #[test]
    fn a_refusal_leaves_at_whole_steps_after_the_search_began() {
        check(0, 2_000);
        check(30, 2_000);
        check(1_999, 2_000);
        check(2_000, 4_000);
        check(7_500, 8_000);
    }
}
