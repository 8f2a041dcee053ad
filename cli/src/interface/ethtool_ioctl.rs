//! The questions of ethtool that an ioctl asks: the name of an interface's driver, which netlink does not give, its queues and
//! its rings.
#![allow(unsafe_code, reason = "SIOCETHTOOL exists only as an ioctl with a pointer inside its argument")]

use std::ffi::CStr;
use std::io;
use std::os::fd::AsRawFd;

use serde::Serialize;

use super::netlink::Netlink;

/// `ETHTOOL_GDRVINFO`
const GET_DRIVER_INFO: u32 = 3;
/// `ETHTOOL_GRINGPARAM`
const GET_RINGS: u32 = 0x10;
/// `ETHTOOL_GCHANNELS`
const GET_CHANNELS: u32 = 0x3c;

/// A structure of `linux/ethtool.h` that begins with its command, and that the command fills and nothing more.
///
/// # Safety
/// It is laid out as the kernel's, and as large.
unsafe trait Question {}

/// `struct ethtool_drvinfo`
#[repr(C)]
struct DriverInfo {
    command: u32,
    driver: [u8; 32],
    /// Versions, bus, reserved bytes and five counts.
    rest: [u8; 32 * 4 + 12 + 5 * 4],
}

const _: () = assert!(size_of::<DriverInfo>() == 196);
// SAFETY: the fields are those of the kernel, the size is asserted, and `command` is GDRVINFO.
unsafe impl Question for DriverInfo {}

/// `struct ethtool_channels`
#[repr(C)]
#[derive(Default)]
struct Channels {
    command: u32,
    most_receive: u32,
    most_send: u32,
    most_other: u32,
    most_combined: u32,
    receive: u32,
    send: u32,
    other: u32,
    combined: u32,
}

const _: () = assert!(size_of::<Channels>() == 36);
// SAFETY: the fields are those of the kernel, the size is asserted, and `command` is GCHANNELS.
unsafe impl Question for Channels {}

/// `struct ethtool_ringparam`
#[repr(C)]
#[derive(Default)]
struct Rings {
    command: u32,
    most_receive: u32,
    most_mini: u32,
    most_jumbo: u32,
    most_send: u32,
    receive: u32,
    mini: u32,
    jumbo: u32,
    send: u32,
}

const _: () = assert!(size_of::<Rings>() == 36);
// SAFETY: the fields are those of the kernel, the size is asserted, and `command` is GRINGPARAM.
unsafe impl Question for Rings {}

/// Something of which an interface has some for receiving and some for sending, and may have more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// For receiving.
    pub receive: u32,
    /// For sending.
    pub send: u32,
    /// Most for receiving.
    pub most_receive: u32,
    /// Most for sending.
    pub most_send: u32,
}

/// The driver of `name`; nothing when the interface has none to name.
pub(super) fn driver(name: &str) -> io::Result<Option<String>> {
    let question = DriverInfo { command: GET_DRIVER_INFO, driver: [0; 32], rest: [0; 160] };
    let Some(info) = ask(name, question)? else { return Ok(None) };
    let driver = CStr::from_bytes_until_nul(&info.driver)
        .map_or_else(|_| String::new(), |text| text.to_string_lossy().into_owned());
    Ok((!driver.is_empty()).then_some(driver))
}

/// The queues that receive; 1 for an interface that does not tell.
pub fn receive_queues(name: &str) -> io::Result<u32> {
    Ok(queue_counts(name)?.map_or(1, |counts| counts.receive.max(1)))
}

/// Queues of an interface; those that serve both ways count for both. Nothing when its driver does not tell.
pub fn queue_counts(name: &str) -> io::Result<Option<Counts>> {
    let channels = ask(name, Channels { command: GET_CHANNELS, ..Channels::default() })?;
    Ok(channels.map(|told| Counts {
        receive: told.combined + told.receive,
        send: told.combined + told.send,
        most_receive: told.most_combined.max(told.most_receive),
        most_send: told.most_combined.max(told.most_send),
    }))
}

/// Slots of each ring of an interface; nothing when its driver does not tell.
pub fn ring_sizes(name: &str) -> io::Result<Option<Counts>> {
    let rings = ask(name, Rings { command: GET_RINGS, ..Rings::default() })?;
    Ok(rings.map(|told| Counts {
        receive: told.receive,
        send: told.send,
        most_receive: told.most_receive,
        most_send: told.most_send,
    }))
}

/// What an interface answers; nothing when its driver does not know the question.
fn ask<T: Question>(name: &str, mut question: T) -> io::Result<Option<T>> {
    let socket = Netlink::generic()?;
    let mut interface_name = [0; libc::IFNAMSIZ];
    if name.len() >= interface_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, from) in interface_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    let mut request = libc::ifreq {
        ifr_name: interface_name,
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_data: (&raw mut question).cast() },
    };
    // SAFETY: `request` is a valid ifreq with a terminated name, and its data pointer leads to `question`, which lives past the
    // call and is what the kernel fills, as its type vouches.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    if result < 0 {
        let error = io::Error::last_os_error();
        return if error.raw_os_error() == Some(libc::EOPNOTSUPP) { Ok(None) } else { Err(error) };
    }
    Ok(Some(question))
}
