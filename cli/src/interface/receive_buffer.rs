//! Room for what a socket receives, also where the system wide limit is small.

#![allow(unsafe_code, reason = "SO_RCVBUFFORCE has no wrapper in what vfw depends on")]

use std::io;
use std::mem::size_of;
use std::os::fd::AsRawFd;

/// Gives the socket room for `bytes`, past `net.core.rmem_max`. That takes `CAP_NET_ADMIN`, which attaching programs takes, too.
pub fn force(socket: &impl AsRawFd, bytes: libc::c_int) -> io::Result<()> {
    // SAFETY: the option is one integer, which lives during the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUFFORCE,
            (&raw const bytes).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
