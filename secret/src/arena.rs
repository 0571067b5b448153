//! The one arena of the process: a bitmap allocator of 32-byte blocks over locked pages.
//!
//! Memory is global by nature, so this is the one global of the crates below `daemon`. A process calls [`init`] once at its start; where nobody
//! did (a test, a small tool), the first secret makes an arena of the default size.

use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};

use crate::mapping::{Backing, Mapping, round_to_pages};

/// Size of the arena unless configured: 2 MiB, which fits the 8 MiB of locked memory that Debian gives every process.
pub const ARENA_BYTES_DEFAULT: usize = 2 * 1024 * 1024;
/// The smallest arena that holds a MasterKey job and a handful of keys.
pub const ARENA_BYTES_MIN: usize = 64 * 1024;

const BLOCK_BYTES: usize = 32;
const BLOCKS_PER_WORD: usize = 64;

/// How to make the arena.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Size in bytes, rounded up to whole pages; at least [`ARENA_BYTES_MIN`].
    pub arena_bytes: usize,
    /// Refuse to start on a kernel without `memfd_secret` instead of falling back to `mlock`.
    pub require_secretmem: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { arena_bytes: ARENA_BYTES_DEFAULT, require_secretmem: false }
    }
}

/// What [`init`] made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// What protects the pages.
    pub backing: Backing,
    /// Usable bytes.
    pub arena_bytes: usize,
}

/// Why there is no arena.
#[derive(Debug, thiserror::Error)]
pub enum ArenaError {
    /// The kernel would not lock that much memory.
    #[error(
        "cannot lock {asked_bytes} bytes of memory ({source}): RLIMIT_MEMLOCK is {limit_bytes} bytes; raise LimitMEMLOCK= of the unit (or `ulimit -l`) or lower memory.arena"
    )]
    Limit {
        /// What was asked for.
        asked_bytes: usize,
        /// The process's soft RLIMIT_MEMLOCK.
        limit_bytes: u64,
        /// What the kernel said.
        source: Errno,
    },
    /// `memory.require_secretmem` is set and the kernel has no `memfd_secret`.
    #[error(
        "this kernel offers no memfd_secret ({source}): boot with secretmem.enable=1, or set memory.require_secretmem: false to accept mlock"
    )]
    SecretmemMissing {
        /// What the kernel said.
        source: Errno,
    },
    /// Asked for less than [`ARENA_BYTES_MIN`].
    #[error("memory.arena of {asked_bytes} bytes is too small: the least is {ARENA_BYTES_MIN}")]
    TooSmall {
        /// What was asked for.
        asked_bytes: usize,
    },
    /// The arena exists already, made by an earlier call or by an earlier secret.
    #[error("the arena of this process exists already; call init before the first secret")]
    Twice,
}

impl ArenaError {
    pub(crate) fn limited(asked_bytes: usize, source: Errno) -> Self {
        let limit_bytes = getrlimit(Resource::RLIMIT_MEMLOCK).map_or(0, |(soft, _hard)| soft);
        Self::Limit { asked_bytes, limit_bytes, source }
    }
}

/// The arena has no room for another secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("locked memory is full: no room for {asked_bytes} more bytes; raise memory.arena")]
pub struct Exhausted {
    /// What was asked for.
    pub asked_bytes: usize,
}

pub(crate) struct Arena {
    start: NonNull<u8>,
    backing: Backing,
    blocks: usize,
    map: Mutex<BlockMap>,
}

// SAFETY: the pages are owned by the arena for the process's life; the allocation map is behind a mutex, and every block has one owner.
#[expect(unsafe_code, reason = "the raw pointer alone keeps the compiler from seeing this")]
unsafe impl Send for Arena {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "the raw pointer alone keeps the compiler from seeing this")]
unsafe impl Sync for Arena {}

static ARENA: OnceLock<Arena> = OnceLock::new();

/// Makes the arena of this process. Call once, before the first secret.
///
/// # Errors
/// [`ArenaError::Limit`] names the memory limit that is too small; the others name the setting to change.
pub fn init(settings: Settings) -> Result<Report, ArenaError> {
    let arena = Arena::new(settings)?;
    let report = arena.report();
    ARENA.set(arena).map_err(|_| ArenaError::Twice)?;
    Ok(report)
}

/// How many bytes of the arena hold secrets now, in whole blocks.
#[must_use]
pub fn used_bytes() -> usize {
    arena().map().taken() * BLOCK_BYTES
}

/// The arena in use, made with default settings if nobody called [`init`].
pub(crate) fn arena() -> &'static Arena {
    ARENA.get_or_init(|| Arena::new(Settings::default()).unwrap_or_else(|error| panic!("no memory for secrets: {error}")))
}

impl Arena {
    fn new(settings: Settings) -> Result<Self, ArenaError> {
        if settings.arena_bytes < ARENA_BYTES_MIN {
            return Err(ArenaError::TooSmall { asked_bytes: settings.arena_bytes });
        }
        let mapping = Mapping::new(round_to_pages(settings.arena_bytes), settings.require_secretmem)?;
        let blocks = mapping.len / BLOCK_BYTES;
        let map = Mutex::new(BlockMap::new(blocks));
        Ok(Self { start: mapping.start, backing: mapping.backing, blocks, map })
    }

    fn report(&self) -> Report {
        Report { backing: self.backing, arena_bytes: self.blocks * BLOCK_BYTES }
    }

    /// Takes `len` bytes (zeroed, 32-byte aligned) from the arena.
    pub(crate) fn take(&self, len: usize) -> Result<NonNull<u8>, Exhausted> {
        let first = self.map().take(blocks_for(len)).ok_or(Exhausted { asked_bytes: len })?;
        // SAFETY: the map hands out block numbers below `blocks`, so the offset stays inside the mapping.
        #[expect(unsafe_code, reason = "turns a block number into its address")]
        Ok(unsafe { self.start.add(first * BLOCK_BYTES) })
    }

    /// Gives back what [`Arena::take`] returned; the caller has wiped it.
    pub(crate) fn give_back(&self, at: NonNull<u8>, len: usize) {
        let first = (at.addr().get() - self.start.addr().get()) / BLOCK_BYTES;
        self.map().give_back(first, blocks_for(len));
    }

    fn map(&self) -> MutexGuard<'_, BlockMap> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn blocks_for(len: usize) -> usize {
    len.div_ceil(BLOCK_BYTES).max(1)
}

/// One bit a block, set when taken; next-fit, so that the common case looks at one word.
struct BlockMap {
    words: Vec<u64>,
    blocks: usize,
    next: usize,
}

impl BlockMap {
    fn new(blocks: usize) -> Self {
        Self { words: vec![0; blocks.div_ceil(BLOCKS_PER_WORD)], blocks, next: 0 }
    }

    fn take(&mut self, count: usize) -> Option<usize> {
        let first = self.find(self.next, self.blocks, count).or_else(|| self.find(0, self.blocks, count))?;
        for block in first..first + count {
            self.words[block / BLOCKS_PER_WORD] |= bit(block);
        }
        self.next = first + count;
        Some(first)
    }

    fn give_back(&mut self, first: usize, count: usize) {
        for block in first..first + count {
            assert!(self.is_taken(block), "a block is given back once");
            self.words[block / BLOCKS_PER_WORD] &= !bit(block);
        }
        self.next = self.next.min(first);
    }

    fn find(&self, from: usize, to: usize, count: usize) -> Option<usize> {
        let mut run = 0;
        let mut block = from;
        while block < to {
            if block.is_multiple_of(BLOCKS_PER_WORD) && self.words[block / BLOCKS_PER_WORD] == u64::MAX {
                run = 0;
                block += BLOCKS_PER_WORD;
                continue;
            }
            run = if self.is_taken(block) { 0 } else { run + 1 };
            block += 1;
            if run == count {
                return Some(block - count);
            }
        }
        None
    }

    fn taken(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    fn is_taken(&self, block: usize) -> bool {
        self.words[block / BLOCKS_PER_WORD] & bit(block) != 0
    }
}

fn bit(block: usize) -> u64 {
    1 << (block % BLOCKS_PER_WORD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_map_says_so_and_reuses_what_is_given_back() {
        let mut map = BlockMap::new(130);
        assert_eq!((map.take(64), map.take(64), map.take(2)), (Some(0), Some(64), Some(128)));
        assert_eq!(map.take(1), None);
        map.give_back(64, 64);
        assert_eq!(map.take(65), None);
        assert_eq!((map.take(3), map.take(61)), (Some(64), Some(67)));
    }

    #[test]
    fn what_is_taken_is_counted_until_it_is_given_back() {
        let mut map = BlockMap::new(130);
        assert_eq!(map.taken(), 0);
        let first = map.take(65).expect("an empty map has room");
        assert_eq!(map.taken(), 65);
        map.give_back(first, 65);
        assert_eq!(map.taken(), 0);
    }

    #[test]
    fn a_run_may_cross_words_but_not_the_end() {
        let mut map = BlockMap::new(100);
        assert_eq!(map.take(60), Some(0));
        assert_eq!(map.take(10), Some(60));
        assert_eq!(map.take(31), None);
        assert_eq!(map.take(30), Some(70));
    }

    #[test]
    #[should_panic(expected = "given back once")]
    fn giving_a_block_back_twice_is_a_bug_that_stops() {
        let mut map = BlockMap::new(64);
        let first = map.take(1).expect("an empty map has room");
        map.give_back(first, 1);
        map.give_back(first, 1);
    }
}
