//! The keys above the tenants, one type per role: MasterKey, integrity key, IVK, and what may be derived from each.
//!
//! Source: SECURITY C6, C7. A role is a type, so that no key can serve two purposes by accident.

use cipher::aead::Aead;
use cipher::mac::HmacKey;
use secret::{Exhausted, Key};

use crate::entropy::Randomness;
use crate::id::ClusterId;
use crate::port::EntropyError;
use crate::terms::TermMaker;
use crate::wrap::ParentKey;

/// Bytes of every key above the tenants.
pub const ROOT_KEY_BYTES: usize = 32;

/// Why a key could not be made.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// No locked memory.
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
    /// No randomness.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

/// Makes `N` random bytes in locked memory.
pub(crate) fn random_key<const N: usize>(randomness: &Randomness) -> Result<Key<N>, GenerateError> {
    Key::try_init_with(|bytes| Ok(randomness.fill(bytes)?))
}

/// The MasterKey: 256 bits that only ever feed HKDF.
#[derive(Debug)]
pub struct MasterKey(Key<ROOT_KEY_BYTES>);

/// What the MasterKey's derived keys are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MasterPurpose {
    /// Wraps IVK versions.
    IvkWrap,
    /// Wraps the integrity key.
    IntegrityWrap,
    /// Wraps the nodes' audit signing keys.
    AuditWrap,
}

impl MasterPurpose {
    fn label(self) -> &'static [u8] {
        match self {
            Self::IvkWrap => b"strongroom/mk/ivk-wrap/1",
            Self::IntegrityWrap => b"strongroom/mk/integrity-wrap/1",
            Self::AuditWrap => b"strongroom/mk/audit-wrap/1",
        }
    }
}

impl MasterKey {
    /// Makes a new one.
    ///
    /// # Errors
    /// No randomness or no locked memory.
    pub fn generate(randomness: &Randomness) -> Result<Self, GenerateError> {
        Ok(Self(random_key(randomness)?))
    }

    /// Takes over bytes that a seal slot gave back; compare [`MasterKey::check_value`] before use.
    #[must_use]
    pub fn from_key(key: Key<ROOT_KEY_BYTES>) -> Self {
        Self(key)
    }

    /// Lends the bytes to the seal.
    pub fn expose<R>(&self, use_it: impl FnOnce(&[u8; ROOT_KEY_BYTES]) -> R) -> R {
        self.0.expose(use_it)
    }

    /// 32 bytes by which a slot recognises its MasterKey, and which tell nothing else about it (C7).
    ///
    /// # Errors
    /// [`Exhausted`].
    pub fn check_value(&self, cluster: ClusterId) -> Result<[u8; 32], Exhausted> {
        Ok(self.derive(cluster, b"strongroom/mk/kcv/1")?.expose(|bytes| *bytes))
    }

    /// The parent key of one kind of root record.
    ///
    /// # Errors
    /// [`Exhausted`].
    pub fn parent(&self, cluster: ClusterId, purpose: MasterPurpose) -> Result<ParentKey, Exhausted> {
        let derived = self.derive(cluster, purpose.label())?;
        derived.expose(|bytes| ParentKey::new(cluster, bytes, Aead::Aes256Gcm))
    }

    fn derive(&self, cluster: ClusterId, label: &[u8]) -> Result<Key<32>, Exhausted> {
        self.0.expose(|bytes| ParentKey::new(cluster, bytes, Aead::Aes256Gcm))?.derive(label)
    }
}

/// What the integrity key yields: the row MAC, the bucket registry, the blind index, and the wrapping of records without a tenant key.
#[derive(Debug)]
pub struct IntegrityKeys {
    meta: HmacKey,
    registry: HmacKey,
    slots: HmacKey,
    /// Makes blind search terms.
    pub terms: TermMaker,
    /// Wraps the content of tenant, service, budget and bucket records.
    pub records: ParentKey,
}

impl IntegrityKeys {
    /// Derives everything from the integrity key's bytes.
    ///
    /// # Errors
    /// [`Exhausted`].
    pub fn new(cluster: ClusterId, integrity_key: &[u8]) -> Result<Self, Exhausted> {
        let root = ParentKey::new(cluster, integrity_key, Aead::Aes256Gcm)?;
        let records = root.derive(b"strongroom/ik/records/1")?;
        Ok(Self {
            meta: HmacKey::new(&root.derive(b"strongroom/ik/meta/1")?)?,
            registry: HmacKey::new(&root.derive(b"strongroom/ik/registry/1")?)?,
            slots: HmacKey::new(&root.derive(b"strongroom/ik/slots/1")?)?,
            terms: TermMaker::new(HmacKey::new(&root.derive(b"strongroom/ik/index/1")?)?),
            records: records.expose(|bytes| ParentKey::new(cluster, bytes, Aead::Aes256Gcm))?,
        })
    }

    /// `meta_mac` of a row.
    #[must_use]
    pub(crate) fn meta_mac(&self, canonical: &[u8]) -> [u8; 32] {
        self.meta.mac(&[canonical])
    }

    /// A MAC of the bucket registry.
    #[must_use]
    pub(crate) fn registry_mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        self.registry.mac(parts)
    }

    /// The MAC over the table of seal slots.
    #[must_use]
    pub fn slot_table_mac(&self, table: &[u8]) -> [u8; 32] {
        self.slots.mac(&[table])
    }
}
