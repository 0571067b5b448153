//! Opened objects between uses: attributes in the clear, key bytes wrapped under an ephemeral key that never leaves locked memory.
//!
//! So the cache is bound neither by the memory lock limit nor readable in a dump; each use opens a key into the arena for as long as it lasts.
//!
//! **Two tiers.** Every object is kept packed, as one block of bytes; those used last are kept unpacked as well. Unpacked, an object takes three
//! times the memory, half of it for attributes that few keys have; unpacking at each use would be felt by every Encrypt.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cipher::aead::Aead;
use secret::{Bytes, Key};
use serde::{Deserialize, Serialize};

use crate::attributes::Attributes;
use crate::entropy::Randomness;
use crate::error::Error;
use crate::freshness::Seen;
use crate::hierarchy::{GenerateError, random_key};
use crate::id::RowId;
use crate::row::Header;
use crate::sharing::Hearing;

/// Most objects kept; about 330 bytes each.
pub const CACHED_OBJECTS_MAX: usize = 100_000;
/// Most of them kept unpacked; about 800 bytes each.
const UNPACKED_OBJECTS_MAX: usize = 4096;
const TAG_BYTES: usize = 16;
/// Most objects are not longer than so when they are packed.
const PACKED_BYTES: usize = 512;

/// One opened object.
#[derive(Debug)]
pub struct Entry {
    /// Its header.
    pub header: Header,
    /// Its attributes.
    pub attributes: Arc<Attributes>,
    material: Material,
}

/// The key bytes of an object.
#[derive(Debug, Serialize, Deserialize)]
enum Material {
    /// There are none any more.
    Gone,
    /// There are some that were not opened: who only looks at an object does not need them.
    Shut,
    /// Under the cache key.
    Hidden(Hidden),
}

/// Secret bytes under the cache key.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Hidden {
    nonce: u64,
    sealed: Box<[u8]>,
}

impl Hidden {
    /// Length of what is hidden in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.sealed.len() - TAG_BYTES
    }
}

/// What a cache has done since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheFigures {
    /// Objects in it now.
    pub entries: usize,
    /// Look-ups that found one.
    pub hits: u64,
    /// Look-ups that did not.
    pub misses: u64,
}

/// The bounded cache of opened objects.
#[derive(Debug)]
pub struct Cache {
    packed: quick_cache::sync::Cache<RowId, Arc<[u8]>>,
    unpacked: quick_cache::sync::Cache<RowId, Arc<Entry>>,
    seen: Arc<Seen>,
    /// Whether it may be used, if other nodes change rows too.
    hearing: Option<Arc<Hearing>>,
    key: Key<32>,
    nonces: AtomicU64,
}

impl Cache {
    /// An empty cache under a fresh key; it keeps nothing of which `seen` knows something newer, and gives nothing while `hearing` does not let it.
    ///
    /// # Errors
    /// No randomness or no locked memory.
    pub(crate) fn new(randomness: &Randomness, seen: Arc<Seen>, hearing: Option<Arc<Hearing>>) -> Result<Self, GenerateError> {
        let packed = quick_cache::sync::Cache::new(CACHED_OBJECTS_MAX);
        // Address space, not memory, until it is filled; a table that grows leaves holes as large as itself in the heap.
        packed.reserve(CACHED_OBJECTS_MAX);
        Ok(Self {
            packed,
            unpacked: quick_cache::sync::Cache::new(UNPACKED_OBJECTS_MAX),
            seen,
            hearing,
            key: random_key(randomness)?,
            nonces: AtomicU64::new(0),
        })
    }

    /// Looks an object up.
    pub fn get(&self, id: RowId) -> Option<Arc<Entry>> {
        if self.hearing.as_ref().is_some_and(|hearing| !hearing.is_fresh()) {
            return None;
        }
        let found = self.unpacked.get(&id).or_else(|| {
            let entry = Arc::new(Entry::unpack(id, &self.packed.get(&id)?));
            self.unpacked.insert(id, Arc::clone(&entry));
            self.is_still_current(&entry).then_some(entry)
        });
        // What another node has changed may have been seen before it was heard of.
        found.filter(|entry| self.hearing.is_none() || self.is_still_current(entry))
    }

    /// A moment to read a row after, and to keep it by.
    pub(crate) fn epoch(&self) -> u64 {
        self.hearing.as_ref().map_or(0, |hearing| hearing.epoch())
    }

    /// Keeps an object whose row was read after `epoch`, unless something newer has been seen of it meanwhile, or may have been heard of it.
    pub(crate) fn keep(&self, entry: &Arc<Entry>, epoch: u64) {
        let id = entry.header.id;
        self.packed.insert(id, entry.pack());
        self.unpacked.insert(id, Arc::clone(entry));
        if self.is_still_current(entry) && self.epoch() != epoch {
            self.purge(id);
        }
    }

    /// Asked after an insert, which it takes back: a change marks the new generation first and removes the entry second, so one of us two removes it.
    fn is_still_current(&self, entry: &Entry) -> bool {
        let Header { id, generation, .. } = entry.header;
        let is_current = self.seen.is_current(id, generation);
        if !is_current {
            self.purge(id);
        }
        is_current
    }

    /// Lets go of all objects but those that `keep` names.
    pub(crate) fn keep_those(&self, keep: impl Fn(&Header) -> bool) {
        self.packed.retain(|id, packed| keep(&Entry::unpack(*id, packed).header));
        self.unpacked.retain(|_, entry| keep(&entry.header));
    }

    /// How full it is, and how often it helped.
    #[must_use]
    pub fn figures(&self) -> CacheFigures {
        let hits = self.unpacked.hits() + self.packed.hits();
        CacheFigures { entries: self.packed.len(), hits, misses: self.packed.misses() }
    }

    /// Forgets an object: it has changed.
    pub fn purge(&self, id: RowId) {
        self.packed.remove(&id);
        self.unpacked.remove(&id);
    }

    /// Wraps an object's key bytes under the cache key.
    pub fn hide(&self, header: Header, attributes: Attributes, material: Option<&Bytes>) -> Entry {
        let material = material.map_or(Material::Gone, |bytes| Material::Hidden(bytes.expose(|bytes| self.conceal(bytes))));
        Entry { header, attributes: Arc::new(attributes), material }
    }

    /// Keeps an object to be looked at, whose key bytes stay where they are.
    pub(crate) fn shut(header: Header, attributes: Attributes) -> Entry {
        Entry { header, attributes: Arc::new(attributes), material: Material::Shut }
    }

    /// Opens an entry's key bytes into locked memory; `None` if it has none.
    ///
    /// # Errors
    /// No locked memory; or the entry was damaged in memory.
    pub fn reveal(&self, entry: &Entry) -> Result<Option<Bytes>, Error> {
        let Material::Hidden(hidden) = &entry.material else {
            return Ok(None);
        };
        Ok(Some(Bytes::try_init_with(hidden.bytes(), |plain| self.uncover(hidden, plain, entry.header.id))?))
    }

    /// Wraps bytes under the cache key.
    pub(crate) fn conceal(&self, plain: &[u8]) -> Hidden {
        let nonce = self.nonces.fetch_add(1, Ordering::Relaxed);
        let mut sealed = vec![0; plain.len() + TAG_BYTES];
        let (body, place_of_tag) = sealed.split_at_mut(plain.len());
        body.copy_from_slice(plain);
        let tag = self
            .key
            .expose(|key| Aead::Aes256Gcm.seal_in_place(key, &nonce_bytes(nonce), &[], body))
            .expect("a key is far below the AEAD's length limit");
        place_of_tag.copy_from_slice(&tag);
        Hidden { nonce, sealed: sealed.into() }
    }

    /// Opens what was wrapped into locked memory of the same length; `id` is named if it was damaged in memory.
    pub(crate) fn uncover(&self, hidden: &Hidden, plain: &mut [u8], id: RowId) -> Result<(), Error> {
        let (body, tag) = hidden.sealed.split_last_chunk::<TAG_BYTES>().expect("conceal appends a tag");
        plain.copy_from_slice(body);
        // The AEAD scrubs the stack itself.
        self.key
            .expose(|key| Aead::Aes256Gcm.open_in_place(key, &nonce_bytes(hidden.nonce), &[], plain, tag))
            .map_err(|_| Error::corrupt("its cached copy does not verify", id))
    }
}

impl Entry {
    /// Are there key bytes that were not opened?
    pub(crate) fn is_shut(&self) -> bool {
        matches!(self.material, Material::Shut)
    }

    /// All but the id, which a header begins with and which is known to whoever unpacks.
    fn pack(&self) -> Arc<[u8]> {
        let parts = (&self.header, &*self.attributes, &self.material);
        let whole = postcard::to_extend(&parts, Vec::with_capacity(PACKED_BYTES)).expect("an object is plain data and memory grows");
        whole[encoded(self.header.id).len()..].into()
    }

    fn unpack(id: RowId, packed: &[u8]) -> Self {
        let mut whole = encoded(id);
        whole.extend_from_slice(packed);
        let parts: (_, Attributes, _) = postcard::from_bytes(&whole).expect("it was packed by this very process");
        let (header, attributes, material) = parts;
        Self { header, attributes: Arc::new(attributes), material }
    }
}

fn encoded(id: RowId) -> Vec<u8> {
    postcard::to_extend(&id, Vec::with_capacity(PACKED_BYTES)).expect("an id is plain data and memory grows")
}

fn nonce_bytes(nonce: u64) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&nonce.to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::attributes::{Group, Links, Name, Other, Revocation};
    use crate::id::{ChainId, Generation, KeyVersion, Layer, TenantId, Time};
    use crate::port::{Entropy, EntropyError};
    use crate::row::{Owner, ParentRef, Row};
    use crate::vault::key_header;

    #[derive(Default)]
    struct Counting(AtomicU64);

    impl Entropy for Counting {
        fn fill(&self, buffer: &mut [u8]) -> Result<(), EntropyError> {
            buffer.fill_with(|| self.0.fetch_add(1, Ordering::Relaxed).to_le_bytes()[0]);
            Ok(())
        }
    }

    fn cache() -> Cache {
        Cache::new(&Randomness::new(Arc::new(Counting::default())), Arc::default(), None).expect("there is locked memory")
    }

    fn header(number: u128, generation: u64) -> Header {
        let (id, chain) = (RowId::new(Layer::L3, Uuid::from_u128(number)), ChainId::new(Uuid::from_u128(number)));
        let owner = Owner { tenant: TenantId::new(Uuid::max()), service: None };
        let header = key_header(id, chain, owner, ParentRef { chain, version: KeyVersion::FIRST }, Aead::Aes256GcmSiv);
        Header { generation: Generation(generation), ..header }
    }

    fn entry(cache: &Cache, header: Header) -> Arc<Entry> {
        let material = Bytes::init_with(16, |bytes| bytes.copy_from_slice(header.id.uuid.as_bytes())).expect("there is locked memory");
        Arc::new(cache.hide(header, Attributes::default(), Some(&material)))
    }

    /// Another one is there now.
    fn change(cache: &Cache, header: Header) {
        let row = Row { header, material: None, attributes: None, terms: Vec::new(), meta_mac: [0; 32] };
        cache.seen.check(&row).expect("it is newer");
    }

    #[test]
    fn an_object_with_one_of_everything_comes_back_as_it_was_packed() {
        let cache = cache();
        let attributes = Attributes {
            names: vec![Name { value: "invoices".to_owned(), kind: 1, index: 3 }],
            usage_mask: 0x0C,
            revocation: Some(Revocation { code: 4, message: Some("superseded".to_owned()) }),
            object_groups: vec![Group { value: "billing".to_owned(), index: 1 }],
            digest: Some([0xD1; 32]),
            sensitive: true,
            others: vec![Other { name: "x-tag".to_owned(), index: 0, value: vec![1, 2, 3] }],
            served: true,
            links: Links { replaced: Some(header(8, 1).id), replacement: None, replacement_index: 2 },
            ..Attributes::default()
        };
        let header = Header { expiry: Some(Time::from_seconds(-7)), ..header(1, 300) };
        let back = Entry::unpack(header.id, &cache.hide(header.clone(), attributes.clone(), None).pack());
        assert_eq!((back.header, &*back.attributes, matches!(back.material, Material::Gone)), (header, &attributes, true));
    }

    #[test]
    fn an_object_among_many_is_found_with_its_own_key() {
        let cache = cache();
        let many = 2 * UNPACKED_OBJECTS_MAX as u128;
        for number in 0..many {
            cache.keep(&entry(&cache, header(number, 1)), 0);
        }
        assert!(cache.unpacked.len() <= UNPACKED_OBJECTS_MAX, "{} are unpacked", cache.unpacked.len());
        for number in 0..many {
            let found = cache.get(header(number, 1).id).expect("all of them are kept");
            let material = cache.reveal(&found).expect("it is whole").expect("it has a key");
            assert!(material.expose(|bytes| bytes == number.to_be_bytes()), "{number}");
        }
    }

    #[test]
    fn an_object_that_was_let_go_of_is_in_neither_tier() {
        let cache = cache();
        let old = entry(&cache, header(1, 1));
        cache.keep(&old, 0);
        cache.purge(old.header.id);
        assert!(cache.get(old.header.id).is_none());
    }

    #[test]
    fn an_object_that_has_changed_is_not_kept() {
        let cache = cache();
        let old = entry(&cache, header(1, 1));
        change(&cache, header(1, 2));
        cache.keep(&old, 0);
        assert!(cache.get(old.header.id).is_none());
    }

    /// Between the look at the packed one and its place among the unpacked ones, a change may have let go of both.
    #[test]
    fn an_object_that_changes_while_it_is_unpacked_is_not_found() {
        let cache = cache();
        let old = entry(&cache, header(1, 1));
        cache.keep(&old, 0);
        cache.unpacked.remove(&old.header.id);
        change(&cache, header(1, 2));
        assert!(cache.get(old.header.id).is_none());
        assert_eq!((cache.packed.len(), cache.unpacked.len()), (0, 0));
    }
}
