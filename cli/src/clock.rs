//! The clock that the kernel programs read: `CLOCK_MONOTONIC`.

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds of the monotonic clock.
pub fn now() -> u64 {
    // CLOCK_MONOTONIC exists on every Linux; a time before zero does not.
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map_or(0, |time| time.tv_sec().cast_unsigned() * 1_000_000_000 + time.tv_nsec().cast_unsigned())
}
