//! bpf(2), for what aya does not do.

#![allow(unsafe_code, reason = "a system call without a wrapper")]

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};

/// Calls bpf(2).
///
/// # Safety
/// `request` has the layout of `union bpf_attr` that `command` reads, and its pointers lead to memory that lives during the call
/// and that the kernel may write where the command says so.
pub(super) unsafe fn bpf<T>(command: libc::c_long, request: &mut T) -> io::Result<i32> {
    // SAFETY: the request is of that size, and the caller vouches for the rest.
    match unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *request, size_of::<T>()) } {
        result if result < 0 => Err(io::Error::last_os_error()),
        result => Ok(result as i32),
    }
}

/// The same for a command that opens something.
///
/// # Safety
/// As for [`bpf`], and the command's answer is a new descriptor.
pub(super) unsafe fn open<T>(command: libc::c_long, request: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: the caller vouches for the request; a new descriptor is known to nobody else.
    unsafe { bpf(command, request).map(|fd| OwnedFd::from_raw_fd(fd)) }
}
