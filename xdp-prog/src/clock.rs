//! The pipeline's clock.

use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;

/// Nanoseconds of the monotonic clock, as of the last timer tick: timeouts are seconds, and reading the exact clock
/// costs more than a flow look-up.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_coarse_ns() }
}
