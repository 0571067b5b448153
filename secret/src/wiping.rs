//! A heap that wipes what is given back, for programs through whose ordinary buffers secrets pass.
#![expect(unsafe_code, reason = "an allocator is unsafe by its nature; every block says why it is sound")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;

/// The system's allocator, but every block is overwritten before it is free: buffers of HTTP and TLS, vectors that grew, futures that were cut.
///
/// A growing block always moves, and the old one is wiped. Costs one memset a block. It does not see what C libraries allocate.
#[derive(Debug, Clone, Copy, Default)]
pub struct WipingHeap;

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
