//! Opened objects between uses: attributes in the clear, key bytes wrapped under an ephemeral key that never leaves locked memory.
//!
//! So the cache is bound neither by the memory lock limit nor readable in a dump; each use opens a key into the arena for as long as it lasts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cipher::aead::Aead;
use secret::{Bytes, Key};

use crate::attributes::Attributes;
use crate::entropy::Randomness;
use crate::error::Error;
use crate::freshness::Seen;
use crate::hierarchy::{GenerateError, random_key};
use crate::id::RowId;
use crate::row::Header;

/// Most objects kept open; about 600 bytes each.
pub const CACHED_OBJECTS_MAX: usize = 100_000;
const TAG_BYTES: usize = 16;

/// One opened object.
#[derive(Debug)]
pub struct Entry {
    /// Its header.
    pub header: Header,
    /// Its attributes.
    pub attributes: Arc<Attributes>,
    material: Option<Hidden>,
}

/// Secret bytes under the cache key.
#[derive(Debug)]
pub(crate) struct Hidden {
    nonce: u64,
    sealed: Box<[u8]>,
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
    entries: quick_cache::sync::Cache<RowId, Arc<Entry>>,
    key: Key<32>,
    nonces: AtomicU64,
}

impl Cache {
    /// An empty cache under a fresh key.
    ///
    /// # Errors
    /// No randomness or no locked memory.
    pub fn new(randomness: &Randomness) -> Result<Self, GenerateError> {
        Ok(Self { entries: quick_cache::sync::Cache::new(CACHED_OBJECTS_MAX), key: random_key(randomness)?, nonces: AtomicU64::new(0) })
    }

    /// Looks an object up.
    pub fn get(&self, id: RowId) -> Option<Arc<Entry>> {
        self.entries.get(&id)
    }

    /// Keeps an object, unless something newer has been seen of it meanwhile.
    pub fn keep(&self, entry: &Arc<Entry>, seen: &Seen) {
        let Header { id, generation, .. } = entry.header;
        self.entries.insert(id, Arc::clone(entry));
        // Asked after the insert: a change marks the new generation first and removes the entry second, so one of us two removes it.
        if !seen.is_current(id, generation) {
            self.entries.remove(&id);
        }
    }

    /// How full it is, and how often it helped.
    #[must_use]
    pub fn figures(&self) -> CacheFigures {
        CacheFigures { entries: self.entries.len(), hits: self.entries.hits(), misses: self.entries.misses() }
    }

    /// Forgets an object: it has changed.
    pub fn purge(&self, id: RowId) {
        self.entries.remove(&id);
    }

    /// Wraps an object's key bytes under the cache key.
    pub fn hide(&self, header: Header, attributes: Attributes, material: Option<&Bytes>) -> Entry {
        let material = material.map(|bytes| bytes.expose(|bytes| self.conceal(bytes)));
        Entry { header, attributes: Arc::new(attributes), material }
    }

    /// Opens an entry's key bytes into locked memory; `None` if it has none.
    ///
    /// # Errors
    /// No locked memory; or the entry was damaged in memory.
    pub fn reveal(&self, entry: &Entry) -> Result<Option<Bytes>, Error> {
        let Some(hidden) = &entry.material else {
            return Ok(None);
        };
        let bytes = hidden.sealed.len() - TAG_BYTES;
        Ok(Some(Bytes::try_init_with(bytes, |plain| self.uncover(hidden, plain, entry.header.id))?))
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

fn nonce_bytes(nonce: u64) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&nonce.to_be_bytes());
    bytes
}
