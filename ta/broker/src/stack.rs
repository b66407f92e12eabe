//! Wiping what a command leaves on the stack.

use core::{arch::asm, mem::MaybeUninit};

/// What a command leaves, in words of 8 octets: the TA's stack of 64 KiB but for 8 KiB, of which the
/// frames above a command's take less than 2. There is no guard page below.
pub const COMMAND: usize = 7 * 1024;

/// What an operation with a private key leaves, in words: more than P-256 takes.
pub const KEY_OPERATION: usize = 3 * 512;

/// Overwrites so many words of the stack below the caller's frame.
///
/// A word that is zero stays so, and any other becomes 1: how deep the stack has been used can still
/// be seen, and nothing else.
#[inline(never)]
pub fn wipe<const WORDS: usize>() {
    let mut below = MaybeUninit::<[u64; WORDS]>::uninit();
    let start = below.as_mut_ptr();
    let end = start.wrapping_add(1);
    // SAFETY: reads and writes aligned words of `below` alone. What is read was never initialized in
    // the eyes of the compiler, which is why it is not read in Rust.
    unsafe {
        asm!(
            "2: ldr {word}, [{at}]",
            "cbz {word}, 3f",
            "str {one}, [{at}]",
            "3: add {at}, {at}, #8",
            "cmp {at}, {end}",
            "b.lo 2b",
            at = inout(reg) start => _,
            end = in(reg) end,
            one = in(reg) 1_u64,
            word = out(reg) _,
            options(nostack),
        );
    }
}
