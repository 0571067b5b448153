//! A heap that wipes what is given back, for programs through whose ordinary buffers secrets pass.
#![expect(unsafe_code, reason = "an allocator is unsafe by its nature; every block says why it is sound")]

use std::alloc::{GlobalAlloc, Layout, System};
#[cfg(target_env = "gnu")]
use std::ffi::c_int;
use std::hint::black_box;

#[cfg(target_env = "gnu")]
use nix::libc;

/// The system's allocator, but every block is overwritten before it is free: buffers of HTTP and TLS, vectors that grew, futures that were cut.
///
/// A growing block always moves, and the old one is wiped. Costs one memset a block. It does not see what C libraries allocate.
#[derive(Debug, Clone, Copy, Default)]
pub struct WipingHeap;

impl WipingHeap {
    /// Lets the process have no more than so many pools of memory, which its threads then share. Call it before threads are started.
    ///
    /// Else glibc gives almost every thread a pool, and what one thread frees lies idle there while others take more from the system: that was a fifth
    /// of what a core with 100,000 keys used. Other C libraries have one pool anyway. Returns false if the library does not take the number.
    #[cfg_attr(not(target_env = "gnu"), expect(clippy::unused_self, reason = "there is nothing to set"))]
    pub fn share_pools(self, pools: u8) -> bool {
        #[cfg(target_env = "gnu")]
        // SAFETY: sets a number inside the C library, under its own lock.
        return unsafe { libc::mallopt(libc::M_ARENA_MAX, c_int::from(pools)) == 1 };
        #[cfg(not(target_env = "gnu"))]
        return pools > 0;
    }

    /// Gives the system back what was freed and lies idle in the pools: after work that took much memory once, such as a start. Blocks those who allocate
    /// meanwhile, for about a millisecond with a heap of 10 MB. Returns whether there was anything; other C libraries than glibc are not asked.
    #[cfg_attr(not(target_env = "gnu"), expect(clippy::unused_self, reason = "there is nobody to ask"))]
    pub fn give_back(self) -> bool {
        #[cfg(target_env = "gnu")]
        // SAFETY: touches free blocks alone, under the C library's own locks.
        return unsafe { libc::malloc_trim(0) == 1 };
        #[cfg(not(target_env = "gnu"))]
        return false;
    }
}

/// Overwrites what a buffer holds that goes on being used.
pub fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    // The compiler has to believe that somebody reads the zeros.
    black_box(bytes);
}

// SAFETY: memory comes from `System` under the same layout with which it goes back; `realloc` is the trait's own, made of `alloc` and `dealloc`.
unsafe impl GlobalAlloc for WipingHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller owns the whole block until this call ends. The compiler has to believe that somebody reads the zeros.
        unsafe { black_box(block).write_bytes(0, layout.size()) };
        let block = black_box(block);
        // SAFETY: as above; the block came from `System`.
        unsafe { System.dealloc(block, layout) };
    }
}
