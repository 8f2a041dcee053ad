//! Values that the compiler must not look through.
//!
//! The verifier follows one register: when the compiler computes a checked pointer or length a second time instead of
//! keeping it, the check is lost. A register move that the compiler cannot see through keeps value and check together.

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
