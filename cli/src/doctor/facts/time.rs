//! Whether the machine's clock follows a server.

#![allow(unsafe_code, reason = "adjtimex(2) has no wrapper in what vfw depends on")]

/// Whether the kernel is told by a time server that its clock is right; nothing when it does not answer.
pub(super) fn clock_follows() -> Option<bool> {
    // SAFETY: all fields are integers, for which zeroes are values; zero modes ask and change nothing.
    let mut state: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer leads to a timex that lives past the call.
    let answer = unsafe { libc::adjtimex(&raw mut state) };
    (answer >= 0).then_some(state.status & libc::STA_UNSYNC == 0)
}
