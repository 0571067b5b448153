//! The two types that hold secret bytes: a fixed-length [`Key`] and a run-time-length [`Bytes`].
#![expect(unsafe_code, reason = "views of arena blocks; every block says why it is sound")]

use std::fmt;
use std::ptr::NonNull;

use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::arena::{Exhausted, arena};

/// `N` secret bytes in locked memory, for example a 256-bit key as `Key<32>`.
pub struct Key<const N: usize> {
    inner: Bytes,
}

impl<const N: usize> Key<N> {
    /// Makes a key by filling its place in locked memory; the place starts zeroed.
    ///
    /// # Errors
    /// [`Exhausted`] if the arena is full.
    pub fn init_with(fill: impl FnOnce(&mut [u8; N])) -> Result<Self, Exhausted> {
        Self::try_init_with(|bytes| {
            fill(bytes);
            Ok(())
        })
    }

    /// As [`Key::init_with`], with a filler that may fail; on failure the place is wiped.
    ///
    /// # Errors
    /// What `fill` returns, or [`Exhausted`].
    pub fn try_init_with<E: From<Exhausted>>(fill: impl FnOnce(&mut [u8; N]) -> Result<(), E>) -> Result<Self, E> {
        let inner = Bytes::try_init_with(N, |bytes| fill(bytes.try_into().expect("the block has N bytes")))?;
        Ok(Self { inner })
    }

    /// Lends the bytes to `use_it`. Do not copy them out of locked memory.
    pub fn expose<R>(&self, use_it: impl FnOnce(&[u8; N]) -> R) -> R {
        self.inner.expose(|bytes| use_it(bytes.try_into().expect("the block has N bytes")))
    }

    /// Compares in constant time.
    #[must_use]
    pub fn ct_eq(&self, other: &Self) -> bool {
        self.inner.ct_eq(&other.inner)
    }
}

impl<const N: usize> fmt::Debug for Key<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key<{N}>([redacted])")
    }
}

/// Secret bytes of a length known at run time: a PIN, a share, key material on its way in or out.
pub struct Bytes {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: a value owns its blocks alone; shared references only read.
unsafe impl Send for Bytes {}
// SAFETY: as above.
unsafe impl Sync for Bytes {}

impl Bytes {
    /// Makes a value of `len` bytes by filling its place in locked memory; the place starts zeroed.
    ///
    /// # Errors
    /// [`Exhausted`] if the arena is full.
    pub fn init_with(len: usize, fill: impl FnOnce(&mut [u8])) -> Result<Self, Exhausted> {
        Self::try_init_with(len, |bytes| {
            fill(bytes);
            Ok(())
        })
    }

    /// As [`Bytes::init_with`], with a filler that may fail; on failure the place is wiped.
    ///
    /// # Errors
    /// What `fill` returns, or [`Exhausted`].
    pub fn try_init_with<E: From<Exhausted>>(len: usize, fill: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<Self, E> {
        let mut value = Self { start: arena().take(len)?, len };
        fill(value.as_mut_slice())?;
        Ok(value)
    }

    /// Lends the bytes to `use_it`. Do not copy them out of locked memory.
    pub fn expose<R>(&self, use_it: impl FnOnce(&[u8]) -> R) -> R {
        // SAFETY: `start` points to `len` initialised bytes that this value owns until it is dropped.
        use_it(unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) })
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when there is no byte in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Compares in constant time; values of different length differ at once.
    #[must_use]
    pub fn ct_eq(&self, other: &Self) -> bool {
        self.expose(|mine| other.expose(|theirs| mine.ct_eq(theirs).into()))
    }

    fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as in `expose`, and `&mut self` makes this the only view.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        self.as_mut_slice().zeroize();
        arena().give_back(self.start, self.len);
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({} bytes, [redacted])", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_holds_what_it_was_filled_with_and_never_prints_it() {
        let key = Key::<32>::init_with(|bytes| bytes.fill(0xA5)).expect("the arena has room");
        assert!(key.expose(|bytes| bytes.iter().all(|byte| *byte == 0xA5)));
        assert_eq!(format!("{key:?}"), "Key<32>([redacted])");
    }

    #[test]
    fn a_dropped_secret_is_wiped_in_place() {
        let key = Key::<64>::init_with(|bytes| bytes.fill(0x5A)).expect("the arena has room");
        let at = key.inner.start;
        drop(key);
        // SAFETY: the arena is never unmapped, so the address stays readable after the block is given back.
        let left = unsafe { std::slice::from_raw_parts(at.as_ptr(), 64) };
        // Another test may have taken the block meanwhile; it never holds this pattern.
        assert!(!left.contains(&0x5A));
    }

    #[test]
    fn a_failed_fill_leaves_nothing_behind() {
        let refused = Bytes::try_init_with(16, |bytes| {
            bytes.fill(0x77);
            Err(Exhausted { asked_bytes: 1 })
        });
        assert!(refused.is_err());
        let fresh = Bytes::init_with(16, |bytes| assert!(bytes.iter().all(|byte| *byte == 0))).expect("the arena has room");
        assert_eq!((fresh.len(), fresh.is_empty()), (16, false));
    }

    #[test]
    fn a_panic_while_filling_leaves_nothing_behind() {
        let mut at = 0;
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            Bytes::init_with(96, |bytes| {
                bytes.fill(0x3B);
                at = bytes.as_ptr().expose_provenance();
                assert!(bytes.is_empty(), "they are not, so this panics");
            })
        }));
        assert!(panicked.is_err() && at != 0);
        // SAFETY: the arena is never unmapped, so the address stays readable after the block is given back.
        let left = unsafe { std::slice::from_raw_parts(std::ptr::with_exposed_provenance::<u8>(at), 96) };
        // Another test may have taken the block meanwhile; it never holds this pattern.
        assert!(!left.contains(&0x3B));
    }

    #[test]
    fn equality_is_by_content_and_length() {
        let make = |len: usize, byte: u8| Bytes::init_with(len, |bytes| bytes.fill(byte)).expect("the arena has room");
        assert!(make(8, 1).ct_eq(&make(8, 1)));
        assert!(!make(8, 1).ct_eq(&make(8, 2)));
        assert!(!make(8, 1).ct_eq(&make(9, 1)));
    }

    #[test]
    fn more_than_the_arena_is_refused_by_size() {
        let asked_bytes = 1 << 30;
        assert_eq!(Bytes::init_with(asked_bytes, |_| ()).map(|_| ()), Err(Exhausted { asked_bytes }));
    }
}
