//! Threads of a program on the wiping heap share as many pools as it says.

use std::collections::BTreeSet;
use std::sync::Barrier;
use std::thread;

use secret::WipingHeap;

#[global_allocator]
static HEAP: WipingHeap = WipingHeap;

/// glibc aligns every pool but the first one to so many bytes, as a power of two.
const POOL_BITS: u32 = 26;
/// The main thread's and this test's, which are there already.
const POOLS: u8 = 2;

#[test]
fn many_threads_take_from_no_more_pools_than_they_may() {
    assert!(HEAP.share_pools(POOLS), "the C library takes the number");
    let all_are_there = Barrier::new(16);
    let pool = || {
        let block = vec![1_u8; 2048];
        all_are_there.wait();
        block.as_ptr().addr() >> POOL_BITS
    };
    let pools: BTreeSet<usize> = thread::scope(|scope| {
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(pool)).collect();
        threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect()
    });
    assert!(pools.len() <= usize::from(POOLS), "{pools:x?}");
}
