//! Secrets in locked memory: the process's one arena, and the only two types that may hold key bytes.
//!
//! [`Key`] and [`Bytes`] live in pages that the kernel hides from other processes, swap and core dumps (`memfd_secret`), or, where the kernel
//! has no such pages, in `mlock`ed ones. Both are filled in place, wiped on drop, and cannot be printed, cloned, compared by `==` or serialized.
//! The only way to the bytes is `expose`.
//!
//! ```compile_fail,E0599
//! let key = secret::Key::<32>::init_with(|_| ()).unwrap();
//! let copy = key.clone();
//! ```
//! ```compile_fail,E0369
//! let bytes = secret::Bytes::init_with(32, |_| ()).unwrap();
//! let same = bytes == bytes;
//! ```

pub mod arena;
mod mapping;
mod scrub;
mod value;
mod wiping;

pub use arena::{ArenaError, Exhausted, Report, Settings};
pub use mapping::Backing;
pub use scrub::{scrubbed, scrubbed_polls};
pub use value::{Bytes, Key};
pub use wiping::{WipingHeap, wipe};
