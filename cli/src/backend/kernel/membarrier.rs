//! Waiting for programs that run.

#![allow(unsafe_code, reason = "a system call without a wrapper")]

use std::io;

/// Returns when every program that ran at the time of the call has ended: `membarrier(MEMBARRIER_CMD_GLOBAL)` waits for a grace
/// period of RCU, under which the kernel runs programs (`kernel/sched/membarrier.c`).
pub fn wait_for_readers() -> io::Result<()> {
    // SAFETY: a system call without memory arguments.
    match unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
