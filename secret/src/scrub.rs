//! Overwrites the stack and the vector registers that a computation with key bytes has used.
#![expect(unsafe_code, reason = "registers have no safe name; every block says why it is sound")]

use std::arch::asm;
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;

/// How much of the stack below a computation is overwritten: more than the key set-up of any cipher here uses.
const SCRUB_BYTES: usize = 8 * 1024;

thread_local! {
    /// A caller further up will overwrite the stack, to below this address: that of the deepest computation so far.
    static OWED: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Runs `compute`, then overwrites the stack below the caller, where key schedules and spilled registers may lie, and the vector registers.
///
/// Ciphers work in vector registers, and a thread that then waits keeps them as they were: a core image shows them. Costs about 0.1 us. Call it
/// around key set-up, not around bulk work; of nested calls only the outermost overwrites, down to below the deepest of them, so that an operation of several
/// steps pays once.
#[inline(never)]
pub fn scrubbed<R>(compute: impl FnOnce() -> R) -> R {
    let _also_after_a_panic = Scrub::owe();
    run(compute)
}

/// As [`scrubbed`], of work on many keys in a row: each time that it waits for something, and at its end, the stack below it is overwritten once.
///
/// What the last of the keys has left stays until then, as what one leaves stays while it is computed.
pub async fn scrubbed_polls<F: Future>(work: F) -> F::Output {
    let mut work = pin!(work);
    poll_fn(|context| {
        let _also_after_a_panic = Scrub::owe();
        run(|| work.as_mut().poll(context))
    })
    .await
}

struct Scrub;

impl Scrub {
    /// Whoever is the outermost gets one.
    #[inline(never)]
    fn owe() -> Option<Self> {
        let here = 0_u8;
        let here = std::ptr::from_ref(std::hint::black_box(&here)).addr();
        let owed = OWED.get();
        OWED.set(Some(owed.map_or(here, |deepest| deepest.min(here))));
        // Made by none but the outermost: one that is made and dropped would overwrite.
        owed.is_none().then(|| Self)
    }
}

impl Drop for Scrub {
    #[inline(never)]
    fn drop(&mut self) {
        let deepest = OWED.take().expect("it was owed");
        overwrite(deepest - SCRUB_BYTES);
        clear_vectors();
    }
}

#[inline(never)]
fn run<R>(compute: impl FnOnce() -> R) -> R {
    compute()
}

/// Overwrites the stack from here down to an address.
///
/// The array is handed out, so it has to be there with its zeroes: one block fill, where volatile stores byte by byte took ten times as long and
/// were a twentieth of an Encrypt. `cipher/tests/residue.rs` would find what it left.
#[inline(never)]
fn overwrite(until: usize) {
    let area = [0_u8; SCRUB_BYTES];
    if area.as_ptr().addr() > until {
        overwrite(until);
    }
    // Behind the call, so that each has a place of its own.
    std::hint::black_box(&area);
}

/// No caller keeps anything in a vector register across a call (System V ABI for x86-64, section 3.2.1), so all of them may be cleared.
#[cfg(target_arch = "x86_64")]
#[inline(never)]
fn clear_vectors() {
    if !std::arch::is_x86_feature_detected!("avx") {
        // SAFETY: SSE2 is part of x86-64; the registers are named as overwritten, and nothing else is touched.
        unsafe {
            asm!(
                "pxor xmm0, xmm0", "pxor xmm1, xmm1", "pxor xmm2, xmm2", "pxor xmm3, xmm3", "pxor xmm4, xmm4", "pxor xmm5, xmm5",
                "pxor xmm6, xmm6", "pxor xmm7, xmm7", "pxor xmm8, xmm8", "pxor xmm9, xmm9", "pxor xmm10, xmm10", "pxor xmm11, xmm11",
                "pxor xmm12, xmm12", "pxor xmm13, xmm13", "pxor xmm14, xmm14", "pxor xmm15, xmm15",
                out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _, out("xmm6") _, out("xmm7") _,
                out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _, out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
                options(nomem, nostack, preserves_flags)
            );
        }
        return;
    }
    // SAFETY: the processor has AVX, as was just asked; the rest as above. It clears the registers in their whole width.
    unsafe {
        asm!(
            "vzeroall",
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _, out("xmm6") _, out("xmm7") _,
            out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _, out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
            options(nomem, nostack, preserves_flags)
        );
    }
    if std::arch::is_x86_feature_detected!("avx512f") {
        // SAFETY: the processor has AVX-512, as was just asked. This function is compiled without it, so the compiler keeps nothing in these.
        unsafe {
            asm!(
                "vpxord zmm16, zmm16, zmm16",
                "vpxord zmm17, zmm17, zmm17",
                "vpxord zmm18, zmm18, zmm18",
                "vpxord zmm19, zmm19, zmm19",
                "vpxord zmm20, zmm20, zmm20",
                "vpxord zmm21, zmm21, zmm21",
                "vpxord zmm22, zmm22, zmm22",
                "vpxord zmm23, zmm23, zmm23",
                "vpxord zmm24, zmm24, zmm24",
                "vpxord zmm25, zmm25, zmm25",
                "vpxord zmm26, zmm26, zmm26",
                "vpxord zmm27, zmm27, zmm27",
                "vpxord zmm28, zmm28, zmm28",
                "vpxord zmm29, zmm29, zmm29",
                "vpxord zmm30, zmm30, zmm30",
                "vpxord zmm31, zmm31, zmm31",
                options(nomem, nostack, preserves_flags)
            );
        }
    }
}

/// The lower halves of v8 to v15 are the caller's (AAPCS64, section 6.1.2), and whoever used them has put them back; all else is nobody's.
#[cfg(target_arch = "aarch64")]
#[inline(never)]
fn clear_vectors() {
    // SAFETY: Advanced SIMD is part of the base; the registers are named as overwritten, and nothing else is touched.
    unsafe {
        asm!(
            "movi v0.2d, #0", "movi v1.2d, #0", "movi v2.2d, #0", "movi v3.2d, #0", "movi v4.2d, #0", "movi v5.2d, #0",
            "movi v6.2d, #0", "movi v7.2d, #0", "movi v16.2d, #0", "movi v17.2d, #0", "movi v18.2d, #0", "movi v19.2d, #0",
            "ins v8.d[1], xzr", "ins v9.d[1], xzr", "ins v10.d[1], xzr", "ins v11.d[1], xzr", "ins v12.d[1], xzr", "ins v13.d[1], xzr",
            "ins v14.d[1], xzr", "ins v15.d[1], xzr",
            "movi v20.2d, #0", "movi v21.2d, #0", "movi v22.2d, #0", "movi v23.2d, #0", "movi v24.2d, #0", "movi v25.2d, #0",
            "movi v26.2d, #0", "movi v27.2d, #0", "movi v28.2d, #0", "movi v29.2d, #0", "movi v30.2d, #0", "movi v31.2d, #0",
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _, out("v22") _, out("v23") _,
            out("v24") _, out("v25") _, out("v26") _, out("v27") _, out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(nomem, nostack, preserves_flags)
        );
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    const PATTERN: [u8; 16] = [0xA5; 16];

    #[inline(never)]
    fn use_registers() {
        // SAFETY: SSE2 is part of x86-64; reads sixteen bytes that are there.
        unsafe { asm!("movdqu xmm7, [{from}]", "movdqa xmm13, xmm7", from = in(reg) &PATTERN, out("xmm7") _, out("xmm13") _) };
        if std::arch::is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has AVX-512, as was just asked.
            unsafe { asm!("vbroadcasti32x4 zmm21, [{from}]", from = in(reg) &PATTERN) };
        }
    }

    #[inline(never)]
    fn left() -> [[u8; 16]; 3] {
        let mut left = [[0; 16]; 3];
        // SAFETY: SSE2 is part of x86-64; writes 32 bytes of the 48 that are ours.
        unsafe { asm!("movdqu [{to}], xmm7", "movdqu [{to} + 16], xmm13", to = in(reg) &mut left) };
        if std::arch::is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has AVX-512, as was just asked; writes the last sixteen bytes.
            unsafe { asm!("vextracti32x4 [{to} + 32], zmm21, 3", to = in(reg) &mut left) };
        }
        left
    }

    /// A thread that opened a seal slot and then waited for its next job still had a round key of the slot in its registers.
    #[test]
    fn no_vector_register_keeps_what_was_computed() {
        use_registers();
        assert!(left()[..2].contains(&PATTERN), "the registers can be read at all");
        scrubbed(use_registers);
        assert!(!left().contains(&PATTERN));
    }

    #[test]
    fn the_outermost_of_nested_calls_clears_what_all_of_them_left_also_after_a_panic() {
        scrubbed(|| scrubbed(use_registers));
        assert!(!left().contains(&PATTERN));
        let panicked = std::panic::catch_unwind(|| {
            scrubbed(|| {
                scrubbed(use_registers);
                assert!(!left().contains(&PATTERN), "they are there still, so this panics");
            });
        });
        assert!(panicked.is_err() && !left().contains(&PATTERN));
        scrubbed(use_registers);
        assert!(!left().contains(&PATTERN), "the next call clears again");
    }

    #[test]
    fn nested_calls_leave_it_to_the_outermost() {
        scrubbed(|| {
            use_registers();
            scrubbed(|| assert!(left()[..2].contains(&PATTERN), "nothing is cleared when it begins"));
            assert!(left()[..2].contains(&PATTERN) && OWED.get().is_some(), "nor when it ends");
        });
        assert!(!left().contains(&PATTERN) && OWED.get().is_none());
    }

    /// As deep as `levels` frames of a kilobyte each; what the last of them leaves there, and where.
    #[inline(never)]
    fn leave_in_the_deep(levels: usize) -> usize {
        let mut frame = [0_u8; 1024];
        let left = match levels {
            0 => scrubbed(|| {
                frame.fill(0xA5);
                std::hint::black_box(&frame).as_ptr().addr()
            }),
            _ => leave_in_the_deep(levels - 1),
        };
        std::hint::black_box(&frame);
        left
    }

    #[test]
    fn the_stack_is_overwritten_down_to_the_deepest_computation() {
        let left = scrubbed(|| leave_in_the_deep(40));
        let here = 0_u8;
        assert!(std::ptr::from_ref(&here).addr() - left > 40 * 1024, "it was deep");
        // SAFETY: the stack of this thread is mapped down to there, because it was in use; the bytes are initialized, and nobody changes them.
        let found = unsafe { std::ptr::with_exposed_provenance::<[u8; 1024]>(left).read_volatile() };
        assert!(found.iter().all(|byte| *byte == 0), "{found:?}");
    }

    #[test]
    fn work_that_waits_leaves_nothing_while_it_waits_and_nothing_at_its_end() {
        let mut has_waited = false;
        let mut work = pin!(scrubbed_polls(poll_fn(|_| {
            scrubbed(use_registers);
            assert!(left()[..2].contains(&PATTERN), "what computes on is not held up");
            if std::mem::replace(&mut has_waited, true) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        for is_done in [false, true] {
            assert_eq!(work.as_mut().poll(&mut context).is_ready(), is_done);
            assert!(!left().contains(&PATTERN));
        }
    }
}
