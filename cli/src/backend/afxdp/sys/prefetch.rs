//! Hints to the processor.

use std::ptr;

/// Bytes of a line of the cache.
const LINE: usize = 64;

/// Fetches a value into the cache: a hint, which changes nothing.
pub fn prefetch<T>(value: &T) {
    let start = ptr::from_ref(value).cast::<u8>();
    // From the start of its first line.
    let before = start.addr() % LINE;
    for offset in (0..before + size_of::<T>()).step_by(LINE) {
        line(start.wrapping_sub(before).wrapping_add(offset));
    }
}

/// Fetches the line of an address.
#[cfg(target_arch = "x86_64")]
pub(super) fn line(place: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: it reads nothing that the program could see, and faults at no address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(place.cast()) };
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn line(_place: *const u8) {}
