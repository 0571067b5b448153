//! What this process denies itself, and how it lives and dies with the daemon that started it.
#![expect(unsafe_code, reason = "_exit has no safe binding")]

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::unistd::{Pid, getppid};

/// The process that started this one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parent(Pid);

/// No core file, no ptrace or /proc/PID/mem by another process of the same user, and death with the parent.
pub(crate) fn harden() -> Result<Parent, Errno> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    prctl::set_dumpable(false)?;
    let parent = Parent(getppid());
    die_with(parent)?;
    Ok(parent)
}

/// Does `work` without being ended by the parent's death or by a request to stop, and yields to both afterwards.
///
/// Around a login: so short of kill -9 and a crash of the module, a login begun is a login whose verdict is written down.
pub(crate) fn undisturbed<R>(parent: Parent, work: impl FnOnce() -> R) -> Result<R, Errno> {
    prctl::set_pdeathsig(None)?;
    let stops = SigSet::from_iter([Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM]);
    let before = stops.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    let result = work();
    before.thread_set_mask()?;
    die_with(parent)?;
    Ok(result)
}

fn die_with(parent: Parent) -> Result<(), Errno> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if getppid() != parent.0 {
        // It died before the kernel knew that we care.
        leave(1);
    }
    Ok(())
}

/// Exits without running what a module registered for the exit: it was finalized, and its destructors are known to crash.
pub(crate) fn leave(code: i32) -> ! {
    // SAFETY: _exit takes any value, touches no memory of ours and does not return.
    unsafe { nix::libc::_exit(code) }
}
