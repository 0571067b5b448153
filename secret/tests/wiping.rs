//! The wiping heap as a program uses it: what was freed, or left behind by growth, is not in the process's memory any more.

use std::fs::{self, File};
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::task::{Context, Waker};

use secret::WipingHeap;

#[global_allocator]
static HEAP: WipingHeap = WipingHeap;

/// The pattern that is searched for, inverted, so that the program's own image does not hold it.
const INVERTED: [u8; 16] = [0x3c, 0x91, 0x5e, 0xd7, 0x08, 0xa2, 0x6f, 0xbb, 0x14, 0xe9, 0x42, 0x87, 0xfd, 0x30, 0xc6, 0x7a];

/// In one test, because the pattern of one would be found by the search of another.
#[test]
fn freed_blocks_and_those_that_growth_leaves_are_wiped() {
    assert_eq!(places(), 0);
    let mut one = filled(16);
    assert_eq!(places(), 1, "the search finds what lies open");
    for length in [64, 1024, 64 * 1024, 1024 * 1024] {
        one.reserve_exact(length);
        black_box(&one);
        assert_eq!(places(), 1, "growing to {length} bytes left a copy behind");
    }
    drop(one);
    assert_eq!(places(), 0, "a freed block was not wiped");

    let many: Vec<Vec<u8>> = (0..100).map(|_| filled(48)).collect();
    assert_eq!(places(), 300);
    drop(black_box(many));
    assert_eq!(places(), 0);
    drop(vec![filled(4096); 2].concat().into_boxed_slice());
    assert_eq!(places(), 0);

    let mut cut = Box::pin(wait_with(filled(16)));
    assert!(cut.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert_eq!(places(), 2, "the vector's copy and the future's");
    drop(cut);
    assert_eq!(places(), 0, "a future that was cut left what it held");
}

/// Waits for ever, with a copy of its own across the wait.
async fn wait_with(bytes: Vec<u8>) {
    let copy: [u8; 16] = bytes[..].try_into().expect("sixteen bytes");
    std::future::pending::<()>().await;
    assert_ne!(black_box(copy), [0; 16]);
    drop(bytes);
}

#[test]
fn zeroed_blocks_are_zero_although_others_held_them_before() {
    let mut used_again = 0;
    for length in (2048..32768).step_by(1024) {
        let block = black_box(vec![0xA5_u8; length]);
        // Behind it, so that the freed block stays one of its own.
        let _behind = black_box(vec![0xA5_u8; length]);
        let place = block.as_ptr();
        // What is wiped does not stay zero: the heap below keeps its lists in the blocks that are free.
        drop(block);
        let block = black_box(vec![0_u8; length]);
        used_again += usize::from(block.as_ptr() == place);
        assert!(block.iter().all(|byte| *byte == 0), "{length} bytes");
    }
    assert!(used_again > 0, "no block was one that had been freed");
}

fn filled(length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length);
    bytes.extend(INVERTED.iter().cycle().take(length).map(|byte| !byte));
    black_box(bytes)
}

/// How often the pattern is in memory that this process may write.
fn places() -> usize {
    let memory = File::open("/proc/self/mem").expect("Linux shows a process its memory");
    let maps = fs::read_to_string("/proc/self/maps").expect("Linux shows a process its mappings");
    let mut page = vec![0; 4096 + INVERTED.len() - 1];
    let own = page.as_ptr() as u64;
    let mut places = 0;
    for line in maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|rights| rights.starts_with("rw"))) {
        let (start, end) = line.split(' ').next().and_then(|range| range.split_once('-')).expect("a mapping starts with its range");
        let address = |text| u64::from_str_radix(text, 16).expect("addresses are hexadecimal");
        for at in (address(start)..address(end)).step_by(4096) {
            let Ok(read) = memory.read_at(&mut page, at) else { break };
            let matches = |(_, window): &(u64, &[u8])| window.iter().zip(INVERTED).all(|(byte, inverted)| *byte == !inverted);
            let is_own = |(place, _): &(u64, &[u8])| (own..own + 8192).contains(place);
            let starts = (at..).zip(page[..read].windows(INVERTED.len())).take(4096);
            places += starts.filter(|window| matches(window) && !is_own(window)).count();
        }
        page.fill(0);
    }
    places
}
