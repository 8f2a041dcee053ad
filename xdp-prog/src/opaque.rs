//! Values that the compiler must not look through.
//!
//! The verifier follows one register: when the compiler computes a checked pointer or length a second time instead of
//! keeping it, the check is lost. A register move that the compiler cannot see through keeps value and check together.

use firewall_core::DropReason;
use firewall_core::parse::MAX_HEADERS;

/// The same pointer.
#[inline(always)]
pub fn pointer<T>(mut value: *mut T) -> *mut T {
    // SAFETY: moves a register to itself.
    unsafe { core::arch::asm!("{0} = {0}", inout(reg) value, options(pure, nomem, nostack)) };
    value
}

/// The same number.
#[inline(always)]
pub fn number(mut value: u64) -> u64 {
    // SAFETY: moves a register to itself.
    unsafe { core::arch::asm!("{0} = {0}", inout(reg) value, options(pure, nomem, nostack)) };
    value
}

/// The number with these bits only. The compiler forgets what it has read from memory before: it could but keep it on the
/// stack.
#[inline(always)]
pub fn masked(mut value: u64, mask: u64) -> u64 {
    // SAFETY: changes a register; memory may have changed, for all that the compiler knows.
    unsafe { core::arch::asm!("{0} &= {1}", inout(reg) value, in(reg) mask, options(nostack)) };
    value
}

/// Has everything that was written to `value` in memory: somebody reads it there by another way.
#[inline(always)]
pub fn settle<T>(value: &T) {
    // SAFETY: moves a register to itself; memory is an input, for all that the compiler knows.
    unsafe { core::arch::asm!("{0} = {0}", inout(reg) (&raw const *value) => _, options(nostack)) };
}

/// A packet pointer out of the program's context, at `OFFSET` of its structure.
///
/// The field has 32 bits in the structure, and the kernel makes it a 64-bit pointer: a compiler that widens it later
/// would cut the pointer.
///
/// # Safety
/// `context` is the program's context and `OFFSET` that of a packet pointer.
#[inline(always)]
pub unsafe fn packet_pointer<const OFFSET: usize, T>(context: *mut T) -> *mut u8 {
    let value: *mut u8;
    // SAFETY: a load from the context, as the caller promises. Not pure: helpers that move the packet change it.
    unsafe {
        core::arch::asm!("{0} = *(u32 *)({1} + {2})", out(reg) value, in(reg) context, const OFFSET, options(nostack));
    }
    value
}

/// Start of `N` bytes at `offset` from `data`, if they lie before `end`.
#[inline(always)]
pub fn checked<const N: usize>(data: *mut u8, end: *mut u8, offset: u32) -> Result<*mut [u8; N], DropReason> {
    // The verifier wants a small bound on variable offsets.
    let offset = number(u64::from(offset));
    if offset > u64::from(MAX_HEADERS) {
        return Err(DropReason::Truncated);
    }
    let bytes = pointer(data.wrapping_add(offset as usize));
    if bytes.wrapping_add(N) > end {
        return Err(DropReason::Truncated);
    }
    Ok(bytes.cast())
}
