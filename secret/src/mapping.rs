//! The pages under the arena: one mapping between two guard pages, from `memfd_secret` or else `mlock`.
#![expect(unsafe_code, reason = "maps and locks memory; every block says why it is sound")]

use std::num::NonZeroUsize;
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr::NonNull;

use nix::errno::Errno;
use nix::libc;
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags};
use nix::sys::mman::{madvise, mmap, mmap_anonymous};

use crate::arena::ArenaError;

/// What keeps the arena's pages from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backing {
    /// `memfd_secret(2)`: unreadable even for root's `/proc/PID/mem`, never in swap or a core dump.
    Secretmem,
    /// `mlock(2)` with `MADV_DONTDUMP`: never in swap or a core dump, but root can read it while the process runs.
    Mlock,
}

/// A readable and writable region of whole pages that lives as long as the process.
pub(crate) struct Mapping {
    pub(crate) start: NonNull<u8>,
    pub(crate) len: usize,
    pub(crate) backing: Backing,
}

impl Mapping {
    /// Maps and locks `len` bytes (a multiple of the page size), all zero. A limit shows here and not later.
    ///
    /// Pages of `memfd_secret` count against the limit from the start but are only taken when first used, and then stay. To touch all of them here
    /// would hold up every start: for each page the kernel interrupts every processor (512 of them took 28 to 600 ms on two busy ones).
    pub(crate) fn new(len: usize, require_secretmem: bool) -> Result<Self, ArenaError> {
        let window = reserve(len)?;
        match map_secretmem(window, len) {
            Ok(()) => return Ok(Self { start: window, len, backing: Backing::Secretmem }),
            Err(Errno::ENOSYS | Errno::EPERM | Errno::EOPNOTSUPP) if !require_secretmem => {}
            Err(errno @ (Errno::ENOSYS | Errno::EPERM | Errno::EOPNOTSUPP)) => return Err(ArenaError::SecretmemMissing { source: errno }),
            Err(errno) => return Err(ArenaError::limited(len, errno)),
        }
        map_locked(window, len)?;
        Ok(Self { start: window, len, backing: Backing::Mlock })
    }
}

fn page_bytes() -> usize {
    // SAFETY: sysconf reads a constant of the system and touches no memory of ours.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(page).expect("the page size is a small positive number")
}

pub(crate) fn round_to_pages(len: usize) -> usize {
    len.next_multiple_of(page_bytes())
}

/// Reserves `len` bytes of address space with an inaccessible page before and after; returns where the usable part begins.
fn reserve(len: usize) -> Result<NonNull<u8>, ArenaError> {
    let page = page_bytes();
    let total = NonZeroUsize::new(len + 2 * page).expect("two pages are more than nothing");
    // SAFETY: a fresh anonymous mapping at an address of the kernel's choice overlaps nothing.
    let base = unsafe { mmap_anonymous(None, total, ProtFlags::PROT_NONE, MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE) }
        .map_err(|errno| ArenaError::limited(len, errno))?;
    // SAFETY: `page` lies inside the mapping of `len + 2 * page` bytes.
    Ok(unsafe { base.cast::<u8>().add(page) })
}

fn window_flags() -> (ProtFlags, MapFlags) {
    (ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_FIXED)
}

fn map_secretmem(window: NonNull<u8>, len: usize) -> Result<(), Errno> {
    // SAFETY: the system call takes one flag word and returns a new descriptor or -1.
    let fd = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
    let fd = i32::try_from(Errno::result(fd)?).expect("a descriptor is a small number");
    // SAFETY: the descriptor is new and ours alone; it closes at the end of this function, the mapping stays.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    nix::unistd::ftruncate(&fd, i64::try_from(len).map_err(|_| Errno::ENOMEM)?)?;
    let (protection, fixed) = window_flags();
    let length = NonZeroUsize::new(len).ok_or(Errno::EINVAL)?;
    // SAFETY: MAP_FIXED replaces exactly the window that `reserve` set aside and that nobody uses yet.
    unsafe { mmap(Some(address(window)), length, protection, MapFlags::MAP_SHARED | fixed, &fd, 0) }?;
    keep_to_this_process(window, len)
}

fn map_locked(window: NonNull<u8>, len: usize) -> Result<(), ArenaError> {
    let (protection, fixed) = window_flags();
    let length = NonZeroUsize::new(len).expect("the arena has at least one page");
    // SAFETY: as in `map_secretmem`.
    unsafe { mmap_anonymous(Some(address(window)), length, protection, MapFlags::MAP_PRIVATE | fixed) }
        .map_err(|errno| ArenaError::limited(len, errno))?;
    keep_to_this_process(window, len).map_err(|errno| ArenaError::limited(len, errno))?;
    // memsec's allocator ignores a failed lock; its `mlock` itself (lock and MADV_DONTDUMP in one) tells, and we listen.
    // SAFETY: the window is mapped, `len` bytes long and never unmapped.
    if unsafe { memsec::mlock(window.as_ptr(), len) } {
        return Ok(());
    }
    Err(ArenaError::limited(len, Errno::last()))
}

/// No copy in a forked child, none in a core dump.
fn keep_to_this_process(window: NonNull<u8>, len: usize) -> Result<(), Errno> {
    // SAFETY: both advices change what fork and dumps copy, not the contents or the addresses.
    unsafe {
        madvise(window.cast(), len, MmapAdvise::MADV_DONTFORK)?;
        madvise(window.cast(), len, MmapAdvise::MADV_DONTDUMP)
    }
}

fn address(window: NonNull<u8>) -> NonZeroUsize {
    window.addr()
}
