//! How many queues an interface has, as `ethtool -l` shows it.
#![allow(unsafe_code, reason = "SIOCETHTOOL exists only as an ioctl with a pointer inside its argument")]

use std::io;
use std::os::fd::AsRawFd;

use super::netlink::Netlink;

/// `ETHTOOL_GCHANNELS`
const GET_CHANNELS: u32 = 0x3c;

/// `struct ethtool_channels`
#[repr(C)]
#[derive(Default)]
struct Channels {
    command: u32,
    most: [u32; 4],
    receive: u32,
    send: u32,
    other: u32,
    combined: u32,
}

const _: () = assert!(size_of::<Channels>() == 36);

/// The queues that receive or send, whichever are more; 1 for an interface that does not tell.
pub fn queues(name: &str) -> io::Result<u32> {
    let socket = Netlink::generic()?;
    let mut channels = Channels { command: GET_CHANNELS, ..Channels::default() };
    let mut interface_name = [0; libc::IFNAMSIZ];
    if name.len() >= interface_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, from) in interface_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    let mut request = libc::ifreq {
        ifr_name: interface_name,
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_data: (&raw mut channels).cast() },
    };
    // SAFETY: `request` is a valid ifreq with a terminated name, and its data pointer leads to `channels`, which lives past the
    // call and is as large as the kernel's ethtool_channels (asserted above), which is all that GCHANNELS writes.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    if result < 0 {
        let error = io::Error::last_os_error();
        return if error.raw_os_error() == Some(libc::EOPNOTSUPP) { Ok(1) } else { Err(error) };
    }
    Ok((channels.combined + channels.receive.max(channels.send)).max(1))
}
