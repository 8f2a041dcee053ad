//! The name of an interface's driver: the one answer of ethtool that netlink does not give.
#![allow(unsafe_code, reason = "SIOCETHTOOL exists only as an ioctl with a pointer inside its argument")]

use std::ffi::CStr;
use std::io;
use std::os::fd::AsRawFd;

use super::netlink::Netlink;

/// `ETHTOOL_GDRVINFO`
const GET_DRIVER_INFO: u32 = 3;

/// `struct ethtool_drvinfo`
#[repr(C)]
struct DriverInfo {
    command: u32,
    driver: [u8; 32],
    /// Versions, bus, reserved bytes and five counts.
    rest: [u8; 32 * 4 + 12 + 5 * 4],
}

const _: () = assert!(size_of::<DriverInfo>() == 196);

/// The driver of `name`; nothing when the interface has none to name.
pub(super) fn driver(name: &str) -> io::Result<Option<String>> {
    let socket = Netlink::generic()?;
    let mut info = DriverInfo { command: GET_DRIVER_INFO, driver: [0; 32], rest: [0; 160] };
    let mut interface_name = [0; libc::IFNAMSIZ];
    if name.len() >= interface_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, from) in interface_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    let mut request = libc::ifreq {
        ifr_name: interface_name,
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_data: (&raw mut info).cast() },
    };
    // SAFETY: `request` is a valid ifreq with a terminated name, and its data pointer leads to `info`, which lives past the call
    // and is as large as the kernel's ethtool_drvinfo (asserted above), which is all that GDRVINFO writes.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    if result < 0 {
        let error = io::Error::last_os_error();
        return if error.raw_os_error() == Some(libc::EOPNOTSUPP) { Ok(None) } else { Err(error) };
    }
    let driver = CStr::from_bytes_until_nul(&info.driver)
        .map_or_else(|_| String::new(), |text| text.to_string_lossy().into_owned());
    Ok((!driver.is_empty()).then_some(driver))
}
