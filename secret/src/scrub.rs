//! Overwrites the stack that a computation with key bytes has used.

use zeroize::Zeroize;

/// How much of the stack below the caller is overwritten: more than the key set-up of any cipher here uses.
const SCRUB_BYTES: usize = 8 * 1024;

/// Runs `compute`, then overwrites the stack below the caller, where key schedules and spilled registers may lie.
///
/// Costs about 0.1 us. Call it around key set-up, not around bulk work.
#[inline(never)]
pub fn scrubbed<R>(compute: impl FnOnce() -> R) -> R {
    let result = run(compute);
    overwrite();
    result
}

#[inline(never)]
fn run<R>(compute: impl FnOnce() -> R) -> R {
    compute()
}

#[inline(never)]
fn overwrite() {
    let mut area = [0_u8; SCRUB_BYTES];
    area.zeroize();
    std::hint::black_box(&area);
}
