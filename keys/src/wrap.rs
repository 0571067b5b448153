//! The record blob: how every key and every sealed attribute set is wrapped, and what binds it to its place.
//!
//! ```text
//! blob  "SRK1" | fmt u8 = 1 | layer u8 | aead u16 | kdf u16 = 1 | wrap_kid 16 | wrap_ver u32 | salt 32 | commit 32 | ct_len u32 | ct | tag 16
//! AAD   blob up to commit | "strongroom/aad/1" | cluster 16 | tenant 16 | layer u8 | object 16 | object_version u32 | parent_kid 16 |
//!       parent_version u32 | object_type u32 | algorithm u32 | bits u32 | wrap_seq u64
//!       of an edge's object key: blob up to commit | "strongroom/aad/object-key/1" | cluster 16 | tenant 16 | service 16 | edge group 16 | object key 16
//! keys  K_rec 32 | commit 32 = HKDF-Expand(PRK of the parent version, "strongroom/wrap/1" | aead u16 | wrap_kid | wrap_ver | salt)
//! ```
//! All numbers are big-endian. A fresh random salt gives each blob a key of its own that seals one plaintext once, so the nonce is all zero, there
//! is no limit on the number of wraps, and the commitment comes for free. Source: SECURITY C1, C2, C4, C5; NIST SP 800-38D; RFC 5869.

use std::ops::Deref;

use cipher::aead::Aead;
use cipher::kdf::Expander;
use cipher::selftest::SelfTestFailed;
use secret::{Bytes, Exhausted, Key};
use uuid::Uuid;

use crate::envelope::ObjectKeyId;
use crate::id::{ChainId, ClusterId, KeyVersion, Layer, ROW_ID_BYTES, RowId, ServiceId, TenantId};
use crate::row::{Algorithm, ObjectType, ParentRef};

const MAGIC: &[u8; 4] = b"SRK1";
const FORMAT: u8 = 1;
const KDF_HKDF_SHA512: u16 = 1;
const AAD_LABEL: &[u8] = b"strongroom/aad/1";
const OBJECT_KEY_AAD_LABEL: &[u8] = b"strongroom/aad/object-key/1";
const WRAP_LABEL: &[u8] = b"strongroom/wrap/1";
/// Bytes of the random salt of a blob.
pub const SALT_BYTES: usize = 32;
const COMMIT_BYTES: usize = 32;
const TAG_BYTES: usize = 16;
const HEADER_BYTES: usize = 4 + 1 + 1 + 2 + 2 + 16 + 4 + SALT_BYTES + COMMIT_BYTES;
/// What a blob adds to its plaintext, in bytes.
pub const BLOB_OVERHEAD_BYTES: usize = HEADER_BYTES + 4 + TAG_BYTES;
/// The most facts that follow a header in an AAD: those of a row.
const AAD_BYTES_MAX: usize = HEADER_BYTES + AAD_LABEL.len() + 16 + 16 + ROW_ID_BYTES + 4 + 16 + 4 + 4 + 4 + 4 + 8;

/// What an operator does about blobs of another algorithm than their parent's record names.
pub const REPAIRED_BY: &str = "strongroom key repair";

/// The facts that a blob is bound to: none of them ever changes without a new blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding {
    /// The installation.
    pub cluster: ClusterId,
    /// The owner.
    pub tenant: TenantId,
    /// The row.
    pub id: RowId,
    /// The version of the row's chain.
    pub version: KeyVersion,
    /// What wraps it.
    pub parent: ParentRef,
    /// What is wrapped.
    pub object_type: ObjectType,
    /// What it is for.
    pub algorithm: Algorithm,
    /// Its size in bits.
    pub bits: u32,
    /// How often it has been wrapped.
    pub wrap_seq: u64,
}

/// What a blob can be bound to.
pub trait Place {
    /// What wraps it.
    fn parent(&self) -> ParentRef;

    /// The layer of what is wrapped.
    fn layer(&self) -> Layer;

    /// The AAD of a blob that begins with `header` (everything before the length of the ciphertext).
    fn aad(&self, header: &[u8]) -> Aad;
}

/// What a blob is bound to, as one run of bytes; on the stack, since a walk over a million keys makes four million.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aad {
    bytes: [u8; AAD_BYTES_MAX],
    length: usize,
}

impl Aad {
    fn of(parts: &[&[u8]]) -> Self {
        let mut aad = Self { bytes: [0; AAD_BYTES_MAX], length: 0 };
        for part in parts {
            let end = aad.length + part.len();
            aad.bytes[aad.length..end].copy_from_slice(part);
            aad.length = end;
        }
        aad
    }
}

impl Deref for Aad {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// The facts that an edge's object key is bound to: it stays where it is when the L3 above it gets a new version, and core keeps no row of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectKeyPlace {
    /// The installation.
    pub cluster: ClusterId,
    /// The owner.
    pub tenant: TenantId,
    /// Its service.
    pub service: ServiceId,
    /// The edges that keep it.
    pub group: ServiceId,
    /// The object key, by the identifier that the edge gave it.
    pub object_key: ObjectKeyId,
    /// What wraps it.
    pub parent: ParentRef,
}

/// One parent version, ready to wrap: what its extracted key makes of HMAC, in locked memory, and the algorithm of its own row.
///
/// The functions of `cipher` that are handed key bytes overwrite the stack that they used; here are references to locked memory only.
#[derive(Debug)]
pub struct ParentKey {
    expander: Expander,
    aead: Aead,
}

/// Why a blob was not made or not opened.
#[derive(Debug, thiserror::Error)]
pub enum WrapError {
    /// The bytes are no blob of a known format.
    #[error("not a record blob of a known format: {what}")]
    NotABlob {
        /// Which field is off.
        what: &'static str,
    },
    /// Blob and parent's registry entry name different algorithms (IVK-25).
    #[error("its blob says {found}, the record of what wraps it says {recorded}: refused until it is mended by `{}`", REPAIRED_BY)]
    OtherAlgorithm {
        /// In the blob: a name, or the number of none that is known.
        found: String,
        /// In the parent's record.
        recorded: &'static str,
    },
    /// The blob names another parent, or another layer.
    #[error("blob says {found}, its parent's record says {expected}: refused")]
    Mismatch {
        /// In the blob.
        found: String,
        /// In the parent's record.
        expected: String,
    },
    /// Commitment or tag do not verify: changed, moved, or wrapped by another key.
    #[error("the blob does not verify")]
    Forged,
    /// The parent version is not there or may not be used.
    #[error("parent key {chain}.{version} is not usable: {why}")]
    Parent {
        /// Chain, as text.
        chain: String,
        /// Version.
        version: u32,
        /// What is wrong with it.
        why: String,
    },
    /// A newer version has taken the parent's place since it was looked up.
    #[error("parent key {chain}.{version} was replaced meanwhile")]
    Replaced {
        /// Chain, as text.
        chain: String,
        /// Version.
        version: u32,
    },
    /// No locked memory left.
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
    /// The store that holds the parent did not answer.
    #[error(transparent)]
    Store(#[from] crate::port::StoreError),
    /// What stands above could not be had: an edge's core, or a record of the edge's own.
    #[error(transparent)]
    Above(Box<crate::Error>),
    /// No randomness for a salt.
    #[error(transparent)]
    Entropy(#[from] crate::port::EntropyError),
}

impl ParentKey {
    /// Extracts the wrapping secret of one parent version: PRK = HKDF-Extract(cluster id, key bytes).
    ///
    /// # Errors
    /// [`Exhausted`].
    pub fn new(cluster: ClusterId, key: &[u8], aead: Aead) -> Result<Self, Exhausted> {
        let prk = cipher::kdf::extract(cluster.as_bytes(), key)?;
        Ok(Self { expander: Expander::new(&prk)?, aead })
    }

    /// The algorithm of the parent's own row.
    #[must_use]
    pub fn aead(&self) -> Aead {
        self.aead
    }

    /// Derives a key for another purpose, told apart by `label`.
    ///
    /// # Errors
    /// [`Exhausted`].
    pub fn derive(&self, label: &[u8]) -> Result<Key<32>, Exhausted> {
        Key::init_with(|out| self.expand(&[label], out))
    }

    /// Wraps `plain` for the place that `binding` names. `salt` must be fresh random bytes.
    ///
    /// # Errors
    /// [`Exhausted`].
    pub fn wrap(&self, binding: &impl Place, plain: &[u8], salt: &[u8; SALT_BYTES]) -> Result<Vec<u8>, Exhausted> {
        let parent = binding.parent();
        let derived = self.record_key(self.aead, parent, salt)?;
        let mut blob = Vec::with_capacity(plain.len() + BLOB_OVERHEAD_BYTES);
        blob.extend_from_slice(MAGIC);
        blob.extend_from_slice(&[FORMAT, binding.layer() as u8]);
        blob.extend_from_slice(&(self.aead as u16).to_be_bytes());
        blob.extend_from_slice(&KDF_HKDF_SHA512.to_be_bytes());
        blob.extend_from_slice(parent.chain.as_bytes());
        blob.extend_from_slice(&parent.version.0.to_be_bytes());
        blob.extend_from_slice(salt);
        derived.expose(|derived| blob.extend_from_slice(&derived[32..]));
        let aad = binding.aad(&blob);
        blob.extend_from_slice(&u32::try_from(plain.len()).expect("a row is at most ROW_BYTES_MAX").to_be_bytes());
        let body = blob.len();
        // The plaintext passes through the blob's buffer, which is encrypted in place before anybody else sees it.
        blob.extend_from_slice(plain);
        let tag = derived
            .expose(|derived| self.aead.seal_once_in_place(first_half(derived), &aad, &mut blob[body..]))
            .expect("a row is far below every AEAD's length limit");
        blob.extend_from_slice(&tag);
        Ok(blob)
    }

    /// Opens a blob that must be bound to the place that `binding` names.
    ///
    /// # Errors
    /// [`WrapError::NotABlob`], [`WrapError::OtherAlgorithm`], [`WrapError::Mismatch`] or [`WrapError::Forged`]; nothing of the plaintext is released then.
    pub fn unwrap(&self, binding: &impl Place, blob: &[u8]) -> Result<Bytes, WrapError> {
        self.open(binding, &Parsed::read(blob)?, self.aead)
    }

    /// As [`ParentKey::unwrap`], by the algorithm that the blob names, whatever the parent's record says; tells which that is. For an explicit repair alone.
    ///
    /// The algorithm is part of what the blob's own key is derived from, so a blob whose number alone was changed opens by neither.
    pub(crate) fn unwrap_as_named(&self, binding: &impl Place, blob: &[u8]) -> Result<(Bytes, Aead), WrapError> {
        let parsed = Parsed::read(blob)?;
        let named = Aead::try_from(parsed.aead).map_err(|_| WrapError::NotABlob { what: "algorithm" })?;
        Ok((self.open(binding, &parsed, named)?, named))
    }

    fn open(&self, binding: &impl Place, parsed: &Parsed<'_>, aead: Aead) -> Result<Bytes, WrapError> {
        parsed.must_fit(binding, aead)?;
        let derived = self.record_key(aead, binding.parent(), parsed.salt)?;
        if !derived.expose(|derived| cipher::mac::ct_eq(&derived[32..], parsed.commit)) {
            return Err(WrapError::Forged);
        }
        let aad = binding.aad(parsed.header);
        Bytes::try_init_with(parsed.ciphertext.len(), |plain| {
            plain.copy_from_slice(parsed.ciphertext);
            derived.expose(|derived| aead.open_once_in_place(first_half(derived), &aad, plain, parsed.tag)).map_err(|_| WrapError::Forged)
        })
    }

    fn record_key(&self, aead: Aead, parent: ParentRef, salt: &[u8; SALT_BYTES]) -> Result<Key<64>, Exhausted> {
        let aead = (aead as u16).to_be_bytes();
        let version = parent.version.0.to_be_bytes();
        let info = [WRAP_LABEL, &aead, parent.chain.as_bytes(), &version, salt];
        Key::init_with(|out| self.expand(&info, out))
    }

    fn expand(&self, info: &[&[u8]], out: &mut [u8]) {
        self.expander.expand(info, out).expect("64 bytes are far below HKDF's limit");
    }
}

fn first_half(derived: &[u8; 64]) -> &[u8; 32] {
    derived.first_chunk().expect("64 is more than 32")
}

impl Place for Binding {
    fn parent(&self) -> ParentRef {
        self.parent
    }

    fn layer(&self) -> Layer {
        self.id.layer
    }

    /// The one encoder of C2 for rows.
    fn aad(&self, header: &[u8]) -> Aad {
        Aad::of(&[
            header,
            AAD_LABEL,
            self.cluster.as_bytes(),
            self.tenant.as_bytes(),
            &self.id.to_bytes(),
            &self.version.0.to_be_bytes(),
            self.parent.chain.as_bytes(),
            &self.parent.version.0.to_be_bytes(),
            &self.object_type.0.to_be_bytes(),
            &self.algorithm.0.to_be_bytes(),
            &self.bits.to_be_bytes(),
            &self.wrap_seq.to_be_bytes(),
        ])
    }
}

impl Place for ObjectKeyPlace {
    fn parent(&self) -> ParentRef {
        self.parent
    }

    fn layer(&self) -> Layer {
        Layer::L4
    }

    fn aad(&self, header: &[u8]) -> Aad {
        let Self { cluster, tenant, service, group, object_key, parent: _in_the_header } = self;
        let facts = [cluster.as_bytes(), tenant.as_bytes(), service.as_bytes(), group.as_bytes()];
        Aad::of(&[header, OBJECT_KEY_AAD_LABEL, facts[0], facts[1], facts[2], facts[3], &object_key.0])
    }
}

/// A blob cut into its fields; nothing in it is believed yet.
struct Parsed<'a> {
    header: &'a [u8],
    layer: u8,
    aead: u16,
    kid: &'a [u8; 16],
    version: u32,
    salt: &'a [u8; SALT_BYTES],
    commit: &'a [u8; COMMIT_BYTES],
    ciphertext: &'a [u8],
    tag: &'a [u8; TAG_BYTES],
}

impl<'a> Parsed<'a> {
    fn read(blob: &'a [u8]) -> Result<Self, WrapError> {
        let not = |what| WrapError::NotABlob { what };
        let (header, rest) = blob.split_at_checked(HEADER_BYTES).ok_or(not("length"))?;
        let mut fields = Fields(header);
        if fields.take::<4>() != MAGIC {
            return Err(not("magic"));
        }
        let [format, layer] = *fields.take();
        if format != FORMAT {
            return Err(not("format"));
        }
        let aead = u16::from_be_bytes(*fields.take());
        if u16::from_be_bytes(*fields.take()) != KDF_HKDF_SHA512 {
            return Err(not("kdf"));
        }
        let kid = fields.take();
        let version = u32::from_be_bytes(*fields.take());
        let salt = fields.take();
        let commit = fields.take();
        let (length, rest) = rest.split_first_chunk::<4>().ok_or(not("length"))?;
        let (ciphertext, tag) = rest.split_last_chunk::<TAG_BYTES>().ok_or(not("length"))?;
        if u32::try_from(ciphertext.len()) != Ok(u32::from_be_bytes(*length)) {
            return Err(not("length"));
        }
        Ok(Self { header, layer, aead, kid, version, salt, commit, ciphertext, tag })
    }

    fn must_fit(&self, binding: &impl Place, aead: Aead) -> Result<(), WrapError> {
        let mismatch = |found: String, expected: String| Err(WrapError::Mismatch { found, expected });
        if self.aead != aead as u16 {
            let named = Aead::try_from(self.aead).map(|named| named.name().to_owned());
            let found = named.unwrap_or_else(|_| format!("algorithm {}", self.aead));
            return Err(WrapError::OtherAlgorithm { found, recorded: aead.name() });
        }
        let (parent, layer) = (binding.parent(), binding.layer() as u8);
        if self.kid != parent.chain.as_bytes() || self.version != parent.version.0 {
            return mismatch(format!("parent version {}", self.version), format!("parent version {}", parent.version.0));
        }
        if self.layer != layer {
            return mismatch(format!("layer {}", self.layer), format!("layer {layer}"));
        }
        Ok(())
    }
}

/// What is left to read of a blob's header.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// The next `N` bytes of a header whose length was checked.
    fn take<const N: usize>(&mut self) -> &'a [u8; N] {
        let (field, rest) = self.0.split_first_chunk().expect("HEADER_BYTES is the sum of all fields");
        self.0 = rest;
        field
    }
}

/// Bytes computed by an independent implementation (`tests/golden/blob-v1.py`) from the layout in this file's first lines.
const GOLDEN: &str = include_str!("../tests/golden/blob-v1.txt");

/// Wraps a known plaintext with every AEAD and compares with golden bytes; part of the self-tests at start (C17).
///
/// # Errors
/// [`SelfTestFailed`]: this machine or build computes wrongly.
pub fn self_test() -> Result<(), SelfTestFailed> {
    compare(GOLDEN)
}

fn compare(golden: &str) -> Result<(), SelfTestFailed> {
    let failed = SelfTestFailed { what: "record blob v1" };
    let uuid = |byte| Uuid::from_bytes([byte; 16]);
    let binding = Binding {
        cluster: ClusterId::new(uuid(1)),
        tenant: TenantId::new(uuid(2)),
        id: RowId::new(Layer::L3, uuid(3)),
        version: KeyVersion(4),
        parent: ParentRef { chain: ChainId::new(uuid(5)), version: KeyVersion(6) },
        object_type: ObjectType::SYMMETRIC_KEY,
        algorithm: Algorithm::AES,
        bits: 256,
        wrap_seq: 7,
    };
    let object_key = ObjectKeyPlace {
        cluster: binding.cluster,
        tenant: binding.tenant,
        service: ServiceId::new(uuid(9)),
        group: ServiceId::new(uuid(10)),
        object_key: ObjectKeyId([11; 16]),
        parent: binding.parent,
    };
    let mut made = vec![binding.aad(&[0xAB; 3]).to_vec(), object_key.aad(&[0xAB; 3]).to_vec()];
    for aead in Aead::ALL {
        let parent = ParentKey::new(binding.cluster, &[0x42; 32], aead).map_err(|_| failed)?;
        let plain = b"thirty-two bytes of key material";
        made.push(parent.wrap(&binding, plain, &[8; SALT_BYTES]).map_err(|_| failed)?);
        made.push(parent.wrap(&object_key, plain, &[8; SALT_BYTES]).map_err(|_| failed)?);
    }
    let made = made.iter().map(|bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    if made.eq(golden.lines().filter(|line| !line.starts_with('#'))) { Ok(()) } else { Err(failed) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, proptest};

    fn binding() -> Binding {
        Binding {
            cluster: ClusterId::new(Uuid::from_bytes([1; 16])),
            tenant: TenantId::new(Uuid::from_bytes([2; 16])),
            id: RowId::new(Layer::L3, Uuid::from_bytes([3; 16])),
            version: KeyVersion(4),
            parent: ParentRef { chain: ChainId::new(Uuid::from_bytes([5; 16])), version: KeyVersion(6) },
            object_type: ObjectType::SYMMETRIC_KEY,
            algorithm: Algorithm::AES,
            bits: 256,
            wrap_seq: 7,
        }
    }

    fn parent(aead: Aead) -> ParentKey {
        ParentKey::new(binding().cluster, &[0x42; 32], aead).expect("the arena has room")
    }

    const AEADS: [Aead; 3] = [Aead::Aes256Gcm, Aead::XChaCha20Poly1305, Aead::Aes256GcmSiv];

    #[test]
    fn what_was_wrapped_comes_back_only_in_its_place() {
        for aead in AEADS {
            let parent = parent(aead);
            let blob = parent.wrap(&binding(), b"thirty-two bytes of key material", &[8; 32]).expect("the arena has room");
            assert_eq!(blob.len(), 32 + BLOB_OVERHEAD_BYTES);
            let plain = parent.unwrap(&binding(), &blob).expect("the blob is in its place");
            plain.expose(|plain| assert_eq!(plain, b"thirty-two bytes of key material"));
            for other in other_places() {
                assert!(parent.unwrap(&other, &blob).is_err(), "{other:?}");
            }
        }
    }

    /// One binding for each fact of C2, differing in that fact alone.
    fn other_places() -> Vec<Binding> {
        let it = binding();
        let uuid = Uuid::from_bytes([0xEE; 16]);
        vec![
            Binding { cluster: ClusterId::new(uuid), ..it },
            Binding { tenant: TenantId::new(uuid), ..it },
            Binding { id: RowId::new(Layer::L3, uuid), ..it },
            Binding { id: RowId::new(Layer::L4, it.id.uuid), ..it },
            Binding { version: KeyVersion(5), ..it },
            Binding { parent: ParentRef { chain: ChainId::new(uuid), ..it.parent }, ..it },
            Binding { parent: ParentRef { version: KeyVersion(7), ..it.parent }, ..it },
            Binding { object_type: ObjectType::ATTRIBUTES, ..it },
            Binding { algorithm: Algorithm(4), ..it },
            Binding { bits: 128, ..it },
            Binding { wrap_seq: 8, ..it },
        ]
    }

    proptest! {
        #[test]
        fn whatever_is_wrapped_comes_back_and_no_changed_byte_does(
            aead in 0..AEADS.len(),
            plain in proptest::collection::vec(any::<u8>(), 0..300),
            salt: [u8; SALT_BYTES],
            (kid, version, bits, seq) in any::<([u8; 16], u32, u32, u64)>(),
            (at, change) in (any::<proptest::sample::Index>(), 1..=255_u8),
        ) {
            let parent_ref = ParentRef { chain: ChainId::new(Uuid::from_bytes(kid)), version: KeyVersion(version) };
            let binding = Binding { parent: parent_ref, bits, wrap_seq: seq, ..binding() };
            let parent = parent(AEADS[aead]);
            let mut blob = parent.wrap(&binding, &plain, &salt).expect("the arena has room");
            let back = parent.unwrap(&binding, &blob).expect("the blob is in its place");
            back.expose(|back| assert_eq!(back, plain));
            let at = at.index(blob.len());
            blob[at] ^= change;
            assert!(parent.unwrap(&binding, &blob).is_err(), "byte {at}");
        }
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let parent = parent(Aead::Aes256Gcm);
        let blob = parent.wrap(&binding(), &[9; 16], &[8; 32]).expect("the arena has room");
        for bit in 0..blob.len() * 8 {
            let mut bad = blob.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(parent.unwrap(&binding(), &bad).is_err(), "bit {bit}");
        }
        for end in 0..blob.len() {
            assert!(parent.unwrap(&binding(), &blob[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn a_blob_of_another_algorithm_than_the_registry_names_fails_safe() {
        for (wrapped, registered) in [(0, 1), (1, 2), (2, 0)] {
            let blob = parent(AEADS[wrapped]).wrap(&binding(), &[9; 32], &[8; 32]).expect("the arena has room");
            let registered = parent(AEADS[registered]);
            let error = registered.unwrap(&binding(), &blob).expect_err("the algorithms differ");
            assert!(matches!(error, WrapError::OtherAlgorithm { .. }), "{error}");
            let (opened, named) = registered.unwrap_as_named(&binding(), &blob).expect("it is what it says");
            assert!(opened.expose(|opened| opened == [9; 32]) && named == AEADS[wrapped]);
        }
    }

    #[test]
    fn a_blob_whose_algorithm_alone_was_changed_opens_by_none() {
        for number in 0..=4 {
            let mut blob = parent(Aead::Aes256Gcm).wrap(&binding(), &[9; 32], &[8; 32]).expect("the arena has room");
            blob[6..8].copy_from_slice(&u16::to_be_bytes(number));
            for registered in AEADS {
                let opened = parent(registered).unwrap_as_named(&binding(), &blob);
                assert_eq!(opened.is_ok(), number == Aead::Aes256Gcm as u16, "{number} under {registered:?}: {opened:?}");
            }
        }
        let blob = parent(Aead::Aes256Gcm).wrap(&binding(), &[9; 32], &[8; 32]).expect("the arena has room");
        let elsewhere = Binding { wrap_seq: binding().wrap_seq + 1, ..binding() };
        assert!(matches!(parent(Aead::Aes256GcmSiv).unwrap_as_named(&elsewhere, &blob), Err(WrapError::Forged)));
    }

    #[test]
    fn another_parents_key_is_caught_by_the_commitment() {
        let blob = parent(Aead::Aes256Gcm).wrap(&binding(), &[9; 32], &[8; 32]).expect("the arena has room");
        let other = ParentKey::new(binding().cluster, &[0x43; 32], Aead::Aes256Gcm).expect("the arena has room");
        assert!(matches!(other.unwrap(&binding(), &blob), Err(WrapError::Forged)));
    }

    #[test]
    fn the_layout_is_frozen_by_golden_vectors() {
        assert_eq!(self_test(), Ok(()));
    }

    #[test]
    fn a_golden_vector_that_differs_is_noticed() {
        let golden = GOLDEN.replace('7', "8");
        assert_eq!(compare(&golden), Err(SelfTestFailed { what: "record blob v1" }));
        assert_eq!(compare(""), Err(SelfTestFailed { what: "record blob v1" }));
    }
}
