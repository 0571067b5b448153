//! A piece of a segment's file in memory: what is copied into it is in the page cache, as after a write(2), without a system call.
//!
//! This is half of what an edge spends on a record, and a record is written for every request (measured: 0.6 us by write(2) in a tight loop, 2 us on a
//! busy edge; 0.07 us by copying). The price is the one unsafe line of this crate.

use std::fs::File;
use std::io;
use std::sync::atomic::{Ordering, compiler_fence};

use memmap2::{Advice, MmapMut, MmapOptions};

/// What a window begins and grows by, in bytes.
pub(crate) const PAGE_BYTES: u64 = 4096;
/// How much of a file is mapped at a time, in bytes.
const WINDOW_BYTES: u64 = 64 << 10;

/// A writable window.
#[derive(Debug)]
pub(crate) struct Window {
    map: MmapMut,
    /// Offset of its first byte in the file.
    start: u64,
}

impl Window {
    /// Makes the file long enough for, and maps, what lies around `from`, up to behind `to`, as far as disk space is `allocated`.
    ///
    /// Every page is made writable now, so that an error of the file system is this function's and not a signal's at the write.
    ///
    /// # Errors
    /// The kernel's; `EINVAL` if it cannot make pages writable beforehand.
    pub(crate) fn open(file: &File, from: u64, to: u64, allocated: u64) -> io::Result<Self> {
        let start = from / PAGE_BYTES * PAGE_BYTES;
        let end = (start + WINDOW_BYTES).max((to + 1).next_multiple_of(PAGE_BYTES)).min(allocated);
        file.set_len(end)?;
        let bytes = usize::try_from(end - start).expect("a window is smaller than memory");
        // SAFETY: nothing is read through the map, so it does not matter what another process does to the bytes. If root makes the file
        // shorter under us, a write ends the process by SIGBUS: nothing goes on unrecorded. The directory is ours alone and locked.
        #[expect(unsafe_code, reason = "mapping a file that others could change is unsafe by nature")]
        let map = unsafe { MmapOptions::new().offset(start).len(bytes).map_mut(file)? };
        // Else the kernel reads around each page that it makes writable, though nothing is there yet: 97 us a window, and 21 us so.
        map.advise(Advice::Random)?;
        map.advise(Advice::PopulateWrite)?;
        Ok(Self { map, start })
    }

    /// Behind its last byte, as an offset of the file.
    pub(crate) fn end(&self) -> u64 {
        self.start + self.map.len() as u64
    }

    /// Writes at `offset`, the first byte last: a process killed meanwhile leaves a zero where a line would begin, and zeroes behind what it wrote.
    ///
    /// # Panics
    /// If the bytes do not lie within the window.
    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) {
        let Some((first, rest)) = bytes.split_first() else { return };
        let at = usize::try_from(offset - self.start).expect("a window is smaller than memory");
        self.map[at + 1..][..rest.len()].copy_from_slice(rest);
        compiler_fence(Ordering::SeqCst);
        self.map[at] = *first;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use nix::fcntl::{FallocateFlags, fallocate};

    use super::*;

    #[test]
    fn what_is_written_is_in_the_file_and_zeroes_are_behind_it() {
        let mut file = tempfile::tempfile().expect("there is a temporary directory");
        fallocate(&file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, 1 << 20).expect("the file system sets space aside");
        let mut window = Window::open(&file, 0, 10, 1 << 20).expect("it maps");
        window.write(0, b"one");
        window.write(3, b"two");
        assert_eq!(window.end(), WINDOW_BYTES);
        let mut window = Window::open(&file, 5000, 5000 + WINDOW_BYTES, 1 << 20).expect("it maps");
        assert_eq!((window.start, window.end()), (4096, 4096 + WINDOW_BYTES + 4096));
        window.write(5000, b"three");
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).expect("it reads");
        assert!(bytes.starts_with(b"onetwo\0") && bytes[5000..].starts_with(b"three\0"));
        assert_eq!(bytes.len() as u64, 4096 + WINDOW_BYTES + 4096);
    }

    #[test]
    fn a_write_beyond_the_window_is_a_fault_of_the_caller_and_not_of_memory() {
        let file = tempfile::tempfile().expect("there is a temporary directory");
        let mut window = Window::open(&file, 0, 10, 4096).expect("it maps");
        let beyond = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| window.write(4090, b"too long")));
        assert!(beyond.is_err());
    }
}
