//! Material that leaves: only of an Extractable key, and at a core only wrapped under a key that is for wrapping and nothing else.
//!
//! What leaves wrapped is seen by no closure of a caller: what stands before and after it in the wrapped text is the caller's, and the verb puts
//! the three together in locked memory. An L4 belongs to its service, which may have it in the clear unless it is Sensitive. Source: KMIP 1.4 §4.11, §4.40, §2.1.6; docs/SECURITY.md, "Keys that leave".

use std::sync::Arc;

use cipher::keywrap::{KEY_WRAP_OVERHEAD_BYTES, KeyWrap};
use secret::Bytes;

use crate::attributes::MASK_KEYS;
use crate::cache::Entry;
use crate::error::Error;
use crate::id::{Layer, RowId};
use crate::lifecycle::State;
use crate::policy::Authorized;
use crate::policy::verb::{Exports, WrapWith};
use crate::row::{Algorithm, ObjectType};
use crate::unit::Unit;
use crate::usage::Protected;
use crate::vault::{Vault, View, Want};

/// What is wrapped together with the material. Both empty: the bare key bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frame {
    /// Goes before the material.
    pub before: Vec<u8>,
    /// Goes after it.
    pub after: Vec<u8>,
}

/// An object that may leave.
#[derive(Debug, Clone)]
pub struct Exported {
    /// Frame and material, wrapped.
    pub wrapped: Vec<u8>,
    /// The object, which is not Fresh any more.
    pub view: View,
}

impl Vault {
    /// Wraps an object's material under another key of the same tenant, and stages that it is not Fresh any more (3.34).
    ///
    /// - `frame` gets the object, material bits in its header, and says what goes around the material.
    ///
    /// # Errors
    /// [`Error::NotExtractable`]; [`Error::WrongState`] of either key; [`Error::Denied`] for a wrapping key that is not for wrapping alone or is shorter;
    /// [`Error::Invalid`] for a length that the way of wrapping does not take; [`Error::Raced`]; what `frame` returns.
    pub async fn export<V: Exports, E: From<Error>>(
        &self,
        unit: &mut Unit,
        object: Authorized<V>,
        with: Authorized<WrapWith>,
        how: KeyWrap,
        frame: impl FnOnce(&View) -> Result<Frame, E>,
    ) -> Result<Exported, E> {
        let (entry, wrapper, view) = self.leaving(unit, &object, &with).await?;
        let frame = frame(&view)?;
        let (plain, bytes) = self.framed(&entry, &frame)?;
        Ok(self.wrap_up(unit, object, view, (&wrapper, how), (&plain, bytes)).await?)
    }

    /// As [`Vault::export`], of an L4 in the form that `shape` gives it: what its service may have in the clear it may have in any form.
    ///
    /// - `shape` gets the material, and returns what is to be wrapped.
    ///
    /// # Errors
    /// As [`Vault::export`]; [`Error::Denied`] for keys of a core; what `shape` returns.
    pub async fn export_shaped<V: Exports, E: From<Error>>(
        &self,
        unit: &mut Unit,
        object: Authorized<V>,
        with: Authorized<WrapWith>,
        how: KeyWrap,
        shape: impl FnOnce(&[u8], &View) -> Result<Bytes, E>,
    ) -> Result<Exported, E> {
        let (entry, wrapper, view) = self.leaving(unit, &object, &with).await?;
        if view.header.id.layer != Layer::L4 {
            return Err(Error::Denied { why: "the keys of a core leave as they are stored" }.into());
        }
        let material = self.revealed(&entry)?;
        let plain = material.expose(|bytes| shape(bytes, &view))?;
        Ok(self.wrap_up(unit, object, view, (&wrapper, how), (&plain, material.len())).await?)
    }

    /// The object and the key that it is to leave under, if both may.
    async fn leaving<V: Exports>(
        &self,
        unit: &Unit,
        object: &Authorized<V>,
        with: &Authorized<WrapWith>,
    ) -> Result<(Arc<Entry>, Arc<Entry>, View), Error> {
        let entry = self.entry(unit, object, Want::Material).await?;
        let view = self.view(&entry);
        may_leave(&view)?;
        let wrapper = self.entry(unit, with, Want::Material).await?;
        self.may_wrap(&self.view(&wrapper), &view)?;
        Ok((entry, wrapper, view))
    }

    /// Wraps what `material_bytes` of the object became.
    async fn wrap_up<V: Exports>(
        &self,
        unit: &mut Unit,
        object: Authorized<V>,
        view: View,
        (wrapper, how): (&Entry, KeyWrap),
        (plain, material_bytes): (&Bytes, usize),
    ) -> Result<Exported, Error> {
        let bytes = how.wrapped_bytes(plain.len()).map_err(|error| Error::invalid("Key Value", error.to_string()))?;
        if let Some(limits) = &wrapper.attributes.usage_limits {
            self.spend(&wrapper.header, limits, Protected::object(material_bytes)).await?;
        }
        let wrapped = wrap(&self.revealed(wrapper)?, plain, bytes, how, wrapper.header.id)?;
        let view = if view.attributes.served { view } else { self.stage_served(unit, &object).await? };
        Ok(Exported { wrapped, view })
    }

    /// Lends an L4's material to `use_it`, which hands it to its owner, with the object as it will be: not Fresh any more.
    ///
    /// # Errors
    /// [`Error::NotExtractable`], [`Error::Sensitive`]; [`Error::WrongState`] of a destroyed or archived object; [`Error::Denied`] for keys of a core;
    /// [`Error::Raced`]; what `use_it` returns.
    pub async fn reveal<V: Exports, R>(
        &self,
        unit: &mut Unit,
        object: Authorized<V>,
        use_it: impl FnOnce(&[u8], &View) -> R,
    ) -> Result<(R, View), Error> {
        let entry = self.entry(unit, &object, Want::Material).await?;
        let view = self.view(&entry);
        may_leave(&view)?;
        if view.header.id.layer != Layer::L4 {
            return Err(Error::Denied { why: "the keys of a core leave wrapped only" });
        }
        if view.attributes.sensitive {
            return Err(Error::Sensitive);
        }
        let view = if view.attributes.served { view } else { self.stage_served(unit, &object).await? };
        let revealed = self.revealed(&entry)?.expose(|bytes| use_it(bytes, &view));
        Ok((revealed, view))
    }

    fn may_wrap(&self, wrapper: &View, object: &View) -> Result<(), Error> {
        let is_other = wrapper.header.id != object.header.id && wrapper.header.owner.tenant == object.header.owner.tenant;
        let is_at_hand = wrapper.header.id.layer == object.header.id.layer && matches!(wrapper.header.id.layer, Layer::L3 | Layer::L4);
        if !is_other || !is_at_hand {
            return Err(Error::Denied { why: "the wrapping key must be another key of the same tenant" });
        }
        if (wrapper.header.object_type, wrapper.header.algorithm) != (ObjectType::SYMMETRIC_KEY, Algorithm::AES) {
            return Err(Error::Denied { why: "the wrapping key must be an AES key" });
        }
        if wrapper.header.id.layer == Layer::L4 {
            must_be_for_keys_alone(wrapper)?;
            return self.must_allow::<WrapWith>(wrapper);
        }
        if wrapper.attributes.usage_mask != MASK_KEYS {
            return Err(Error::Denied { why: "the Cryptographic Usage Mask of the wrapping key must be exactly Wrap Key and Unwrap Key" });
        }
        if wrapper.header.bits < object.header.bits {
            return Err(Error::Denied { why: "the wrapping key must be as long as the key that it wraps, or longer" });
        }
        self.must_allow::<WrapWith>(wrapper)
    }

    /// The material in its frame, and how long it is itself.
    fn framed(&self, entry: &Entry, Frame { before, after }: &Frame) -> Result<(Bytes, usize), Error> {
        let material = self.revealed(entry)?;
        let plain = material.expose(|material| {
            Bytes::init_with(before.len() + material.len() + after.len(), |plain| {
                let (head, rest) = plain.split_at_mut(before.len());
                let (body, tail) = rest.split_at_mut(material.len());
                head.copy_from_slice(before);
                body.copy_from_slice(material);
                tail.copy_from_slice(after);
            })
        })?;
        Ok((plain, material.len()))
    }

    pub(crate) fn revealed(&self, entry: &Entry) -> Result<Bytes, Error> {
        self.cache.reveal(entry)?.ok_or_else(|| Error::corrupt("it has no material", entry.header.id))
    }

    async fn stage_served<V: Exports>(&self, unit: &mut Unit, object: &Authorized<V>) -> Result<View, Error> {
        let (row, view) = self.row_to_change(unit, object).await?;
        let mut attributes = (*view.attributes).clone();
        attributes.served = true;
        attributes.touch(self.now());
        self.stage_change(unit, row, view.state, attributes).await
    }
}

/// An L4 wraps and unwraps only if it does nothing else.
///
/// # Errors
/// [`Error::Denied`].
pub(crate) fn must_be_for_keys_alone(wrapper: &View) -> Result<(), Error> {
    if wrapper.attributes.is_for_keys_alone() {
        return Ok(());
    }
    Err(Error::Denied {
        why: "the Cryptographic Usage Mask of a wrapping key has nothing but Wrap Key, Unwrap Key and Export: use a key for that alone",
    })
}

/// A Compromised key of a core is for re-encryption alone, and a Retired one only to be looked at; a Pre-Active one is of no cryptographic use here, and
/// moving it is none. A Compromised L4 is its owner's to clean up after.
fn may_leave(view: &View) -> Result<(), Error> {
    if !view.attributes.extractable {
        return Err(Error::NotExtractable);
    }
    match view.state {
        State::PreActive | State::Active | State::Deprecated => Ok(()),
        State::Compromised if view.header.id.layer == Layer::L4 => Ok(()),
        State::Retired | State::Compromised | State::Destroyed | State::DestroyedCompromised => {
            Err(Error::WrongState { is: view.state, wants: "Pre-Active, Active or Deactivated" })
        }
    }
}

/// Wraps, and opens once more before anybody relies on it (C18).
fn wrap(key: &Bytes, plain: &Bytes, bytes: usize, how: KeyWrap, wrapper: RowId) -> Result<Vec<u8>, Error> {
    let unfit = |error: cipher::Error| Error::corrupt(&error.to_string(), wrapper);
    let wrapped = Bytes::try_init_with(bytes, |out| key.expose(|key| plain.expose(|plain| how.wrap(key, plain, out))).map_err(unfit))?;
    let again = Bytes::try_init_with(bytes - KEY_WRAP_OVERHEAD_BYTES, |out| {
        key.expose(|key| wrapped.expose(|wrapped| how.unwrap(key, wrapped, out))).map(|_| ()).map_err(unfit)
    })?;
    let is_same =
        again.expose(|again| plain.expose(|plain| again.get(..plain.len()).is_some_and(|again| cipher::mac::ct_eq(again, plain))));
    if is_same { Ok(wrapped.expose(<[u8]>::to_vec)) } else { Err(Error::corrupt("what it wraps does not open again", wrapper)) }
}
