//! Keys that come wrapped: opened by an L4 of the principal's own service, and lent to whoever makes an object of them.
//!
//! A key that unwraps does nothing else with its bytes, by the rule that holds for one that wraps. What it opens is as well kept as itself: else who may not have a
//! key in the clear would wrap it, and bring it back as one that may be had so. Source: KMIP 1.4 §2.1.5; docs/SECURITY.md, "Keys that come".

use cipher::keywrap::{KEY_WRAP_BYTES_MAX, KEY_WRAP_OVERHEAD_BYTES, KeyWrap};
use secret::Bytes;

use crate::error::Error;
use crate::export::must_be_for_keys_alone;
use crate::id::Layer;
use crate::policy::Authorized;
use crate::policy::verb::UnwrapWith;
use crate::row::{Algorithm, ObjectType};
use crate::unit::Unit;
use crate::vault::{Vault, View};

/// What was opened.
#[derive(Debug)]
pub struct Unwrapped<R> {
    /// What was made of it.
    pub read: R,
    /// The wrapping key is not to be had in the clear, so what it has wrapped is not either.
    pub is_sheltered: bool,
}

impl Vault {
    /// Opens `wrapped` in locked memory and lends the bytes to `read`.
    ///
    /// # Errors
    /// [`Error::NotUnwrapped`], which does not tell a wrong key from changed bytes; [`Error::Denied`] for a key that is not for this alone;
    /// [`Error::WrongState`]; [`Error::Raced`]; what `read` returns.
    pub async fn unwrap<R, E: From<Error>>(
        &self,
        unit: &Unit,
        with: Authorized<UnwrapWith>,
        how: KeyWrap,
        wrapped: &[u8],
        read: impl FnOnce(&[u8]) -> Result<R, E>,
    ) -> Result<Unwrapped<R>, E> {
        let (entry, view) = self.ready::<UnwrapWith>(unit, &with).await?;
        must_be_wrapping_key(&view)?;
        let room = wrapped.len().checked_sub(KEY_WRAP_OVERHEAD_BYTES);
        let room = room.filter(|room| (1..=KEY_WRAP_BYTES_MAX).contains(room)).ok_or(Error::NotUnwrapped)?;
        let key = self.revealed(&entry)?;
        let mut bytes = 0;
        let plain = Bytes::try_init_with(room, |out| {
            bytes = key.expose(|key| how.unwrap(key, wrapped, out)).map_err(|_| Error::NotUnwrapped)?;
            Ok::<_, Error>(())
        })?;
        let is_sheltered = view.attributes.sensitive || !view.attributes.extractable;
        Ok(Unwrapped { read: plain.expose(|plain| read(&plain[..bytes]))?, is_sheltered })
    }
}

fn must_be_wrapping_key(view: &View) -> Result<(), Error> {
    let is_aes = (view.header.object_type, view.header.algorithm) == (ObjectType::SYMMETRIC_KEY, Algorithm::AES);
    if view.header.id.layer != Layer::L4 || !is_aes {
        return Err(Error::Denied { why: "the wrapping key must be an AES key of the service" });
    }
    must_be_for_keys_alone(view)
}
