//! A core's `Parent`: the chain IVK, L2, L2.1, each link opened by the one above and kept extracted in locked memory.
//!
//! A key that still lies under a compromised version is brought under the Active one at its first use, by the same step as in
//! [re-encryption](crate::reencrypt): so its users need not wait for the walk, and nothing else opens a compromised version.

use std::sync::{Arc, OnceLock, Weak};

use async_trait::async_trait;
use cipher::aead::Aead;
use secret::{Bytes, scrubbed};

use crate::entropy::Randomness;
use crate::error::Error;
use crate::id::Layer;
use crate::lifecycle::{Purpose, State};
use crate::port::{Parent, Query};
use crate::registry::{must_allow, unusable};
use crate::row::{Header, ParentRef, Row};
use crate::shelf::Shelf;
use crate::vault::Vault;
use crate::wrap::{Binding, ParentKey, WrapError};

/// Most tenant parent keys kept extracted in locked memory, 160 bytes each.
pub const PARENT_KEYS_MAX: usize = 4096;

/// The chain above L3, on a core.
pub struct Chain {
    shelf: Shelf,
    randomness: Arc<Randomness>,
    links: quick_cache::sync::Cache<ParentRef, Arc<Link>>,
    /// Who moves a key.
    vault: Arc<OnceLock<Weak<Vault>>>,
}

/// One tenant key version, ready to wrap.
struct Link {
    key: ParentKey,
    state: State,
    /// The L2 through which an L2.1 was opened.
    through: Option<ParentRef>,
}

impl Chain {
    /// A chain that opens links as they are asked for.
    #[must_use]
    pub(crate) fn new(shelf: Shelf, randomness: Arc<Randomness>, vault: Arc<OnceLock<Weak<Vault>>>) -> Self {
        Self { shelf, randomness, links: quick_cache::sync::Cache::new(PARENT_KEYS_MAX), vault }
    }

    /// Runs `use_it` with the parent's key, which must be fit for `purpose`.
    async fn with<R>(
        &self,
        parent: ParentRef,
        purpose: Purpose,
        use_it: impl FnOnce(&ParentKey) -> Result<R, WrapError>,
    ) -> Result<R, WrapError> {
        if let Some(root) = self.shelf.registry.root(parent, purpose)? {
            return use_it(&root);
        }
        let link = match self.links.get(&parent) {
            Some(link) => link,
            None => self.open_link(parent).await?,
        };
        must_allow(parent, link.state, purpose)?;
        use_it(&link.key)
    }

    /// Opens blobs by the algorithms that they name, also from under a compromised version. For an explicit repair alone.
    ///
    /// # Errors
    /// What is wrong with the parent; what is wrong with the blobs is in the answer.
    pub(crate) async fn open_as_named(&self, parent: ParentRef, children: &[(Binding, &[u8])]) -> Result<OpenedAsNamed, WrapError> {
        let open = |key: &ParentKey| scrubbed(|| children.iter().map(|(binding, blob)| key.unwrap_as_named(binding, blob)).collect());
        self.with(parent, Purpose::Rewrap, |key| Ok(OpenedAsNamed { recorded: key.aead(), children: open(key) })).await
    }

    async fn open_link(&self, parent: ParentRef) -> Result<Arc<Link>, WrapError> {
        // L2 hangs under the IVK and L2.1 under L2, so a chain has at most two links to open.
        let mut row = self.usable_row(parent).await?;
        let (key, above) = match self.shelf.registry.root(row.header.parent, Purpose::Process)? {
            Some(root) => (self.open_row(&root, &row)?, None),
            None => {
                let above;
                (row, above) = self.with_one_above(row).await?;
                let root = self.shelf.registry.root(above.header.parent, Purpose::Process)?;
                let root = root.ok_or_else(|| unusable(parent, "its chain does not end in an IVK"))?;
                (self.open_row(&self.open_row(&root, &above)?, &row)?, Some(above.header))
            }
        };
        let link = Arc::new(Link { key, state: row.header.state, through: above.as_ref().map(version_of) });
        self.links.insert(parent, Arc::clone(&link));
        // Asked after the insert: a change marks the new generation first and forgets the link second, so one of us two drops it.
        if [Some(&row.header), above.as_ref()].into_iter().flatten().any(|header| !self.shelf.seen.is_current(header.id, header.generation))
        {
            self.links.remove(&parent);
        }
        Ok(link)
    }

    fn seal(&self, key: &ParentKey, children: &[(Binding, &Bytes)]) -> Result<Vec<Vec<u8>>, WrapError> {
        scrubbed(|| children.iter().map(|(binding, plain)| seal(key, &self.randomness, binding, plain)).collect())
    }

    fn open_row(&self, above: &ParentKey, row: &Row) -> Result<ParentKey, WrapError> {
        let parent = version_of(&row.header);
        let blob = row.material.as_deref().ok_or_else(|| unusable(parent, "its material is destroyed"))?;
        let key = above.unwrap(&self.shelf.registry.material_binding(&row.header), blob)?;
        Ok(key.expose(|bytes| ParentKey::new(self.shelf.registry.cluster(), bytes, row.header.aead))?)
    }

    /// An L2.1 and the L2 above it, moved from under a compromised one first.
    async fn with_one_above(&self, row: Row) -> Result<(Row, Row), WrapError> {
        let above = self.usable_row(row.header.parent).await?;
        let rescuer = self.vault.get().and_then(Weak::upgrade).filter(|_| above.header.state == State::Compromised);
        let Some(vault) = rescuer else {
            must_allow(row.header.parent, above.header.state, Purpose::Process)?;
            return Ok((row, above));
        };
        let row = vault.taken_out(&row.header).await.map_err(|error| WrapError::Above(Box::new(error)))?;
        let above = self.usable_row(row.header.parent).await?;
        must_allow(row.header.parent, above.header.state, Purpose::Process)?;
        Ok((row, above))
    }

    /// The row of a version, moved from under a compromised IVK first if it lies there.
    async fn usable_row(&self, parent: ParentRef) -> Result<Row, WrapError> {
        let row = self.find_row(parent).await?;
        let Some(vault) = self.vault.get().and_then(Weak::upgrade) else { return Ok(row) };
        let rescued = vault.rescued(&row.header).await.map_err(|error| WrapError::Above(Box::new(error)))?;
        Ok(rescued.unwrap_or(row))
    }

    async fn find_row(&self, parent: ParentRef) -> Result<Row, WrapError> {
        let term = self.shelf.registry.integrity().terms.version(parent);
        for layer in [Layer::L2, Layer::L21] {
            let query = Query { layer, terms: vec![term], before: None, limit: 1 };
            let found = self.shelf.newest(query).await.map_err(|error| match error {
                Error::Unavailable { .. } => WrapError::Above(Box::new(error)),
                damaged => unusable(parent, &damaged.to_string()),
            })?;
            if let Some(row) = found
                && (row.header.chain, row.header.version) == (parent.chain, parent.version)
            {
                return Ok(row);
            }
        }
        Err(unusable(parent, "the keystore does not hold it"))
    }
}

/// Wraps under an open parent key.
pub(crate) fn seal(key: &ParentKey, randomness: &Randomness, binding: &Binding, plain: &Bytes) -> Result<Vec<u8>, WrapError> {
    let salt = randomness.salt()?;
    scrubbed(|| {
        let blob = plain.expose(|plain| key.wrap(binding, plain, &salt))?;
        // C18: what is handed to the store is opened once more before anybody is told that it is safe.
        if key.unwrap(binding, &blob)?.ct_eq(plain) { Ok(blob) } else { Err(WrapError::Forged) }
    })
}

fn open(key: &ParentKey, children: &[(Binding, &[u8])]) -> Result<Vec<Bytes>, WrapError> {
    scrubbed(|| children.iter().map(|(binding, blob)| key.unwrap(binding, blob)).collect())
}

/// What opens by the algorithms that its blobs name.
pub(crate) struct OpenedAsNamed {
    /// What the parent's record names.
    pub(crate) recorded: Aead,
    /// Each child's bytes, and what its blob names.
    pub(crate) children: Result<Vec<(Bytes, Aead)>, WrapError>,
}

fn version_of(header: &Header) -> ParentRef {
    ParentRef { chain: header.chain, version: header.version }
}

#[async_trait]
impl Parent for Chain {
    async fn wrap(&self, parent: ParentRef, children: &[(Binding, &Bytes)]) -> Result<Vec<Vec<u8>>, WrapError> {
        self.with(parent, Purpose::Protect, |key| self.seal(key, children)).await
    }

    /// A parent that is only Deprecated may take its own rows' attributes back: their material lies under it anyway, so nothing comes to depend
    /// on it that did not before, and to move both under the Active version is re-encryption's work. Otherwise no key made before a rotation
    /// could be revoked before it is re-encrypted. The row's header, under its MAC, says which parent that is; new keys need an Active one.
    async fn reseal(&self, parent: ParentRef, children: &[(Binding, &Bytes)]) -> Result<Vec<Vec<u8>>, WrapError> {
        self.with(parent, Purpose::Process, |key| self.seal(key, children)).await
    }

    async fn unwrap(&self, parent: ParentRef, children: &[(Binding, &[u8])]) -> Result<Vec<Bytes>, WrapError> {
        self.with(parent, Purpose::Process, |key| open(key, children)).await
    }

    async fn unwrap_to_move(&self, parent: ParentRef, children: &[(Binding, &[u8])]) -> Result<Vec<Bytes>, WrapError> {
        self.with(parent, Purpose::Rewrap, |key| open(key, children)).await
    }

    async fn must_protect(&self, parent: ParentRef) -> Result<(), WrapError> {
        if self.shelf.registry.root(parent, Purpose::Protect)?.is_some() {
            return Ok(());
        }
        let state = match self.links.get(&parent) {
            Some(link) => link.state,
            None => self.find_row(parent).await?.header.state,
        };
        must_allow(parent, state, Purpose::Protect)
    }

    fn forget(&self, parent: ParentRef) {
        self.links.remove(&parent);
        self.links.retain(|_, link| link.through != Some(parent));
    }
}
