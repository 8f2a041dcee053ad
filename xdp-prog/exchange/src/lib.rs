//! The atomic compare-and-exchange of the BPF machine (`BPF_ATOMIC | BPF_CMPXCHG`, RFC 9669 section 5.3; Linux 5.12), which
//! Rust's BPF target does not offer. A crate of its own, so that the pipeline has no unsafe code.

#![no_std]
#![cfg(target_arch = "bpf")]
#![feature(asm_experimental_arch)]
#![allow(unsafe_code, reason = "one instruction; the block states its invariant")]

use core::arch::asm;
use core::cell::Cell;

/// Stores `new` if the word still holds `known`; returns what it held.
#[expect(clippy::inline_always, reason = "one instruction")]
#[inline(always)]
#[must_use]
pub fn exchange(word: &Cell<u64>, known: u64, new: u64) -> u64 {
    let found;
    // SAFETY: a cell may be written through a shared reference; it is there, and lies at a multiple of eight.
    unsafe {
        asm!(
            "r0 = cmpxchg_64({word} + 0, r0, {new})",
            word = in(reg) word.as_ptr(),
            new = in(reg) new,
            inout("r0") known => found,
        );
    }
    found
}
