//! Taking an interface over from the kernel's IP stack, and giving it back.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;

use ipnetwork::IpNetwork;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkFlags, LinkMessage};

use super::netlink::Netlink;
use super::{Interface, InterfaceError, inspect};

/// Readies the interface `name` for vfw: the kernel's stack emits nothing there, neighbour discovery is received, the link is up.
///
/// IPv6 is disabled first, so that the link comes up without the kernel announcing itself. All multicast is received,
/// because the groups of the gateway addresses are joined by no one once IPv6 is off.
/// An interface on which the kernel has addresses of its own is refused: it may be the way by which the operator is logged in.
pub fn prepare(name: &str) -> Result<Guard, InterfaceError> {
    let interface = inspect(name)?;
    refuse_addresses(&interface)?;
    let netlink = Netlink::route().map_err(InterfaceError::system(name, "open netlink"))?;
    let mut guard = Guard { index: interface.index, netlink, ipv6: None, flags: LinkFlags::empty() };
    guard.disable_ipv6(name)?;
    guard.raise(&interface)?;
    Ok(guard)
}

/// Refuses an interface on which the kernel has addresses of its own. For callers that attach before they [`prepare`].
pub fn refuse_addresses(interface: &Interface) -> Result<(), InterfaceError> {
    let addresses: Vec<IpNetwork> =
        interface.addresses.iter().filter(|network| !is_link_local(network)).copied().collect();
    if addresses.is_empty() {
        return Ok(());
    }
    Err(InterfaceError::KernelAddresses { name: interface.name.clone(), addresses })
}

/// Refuses a port of a bridge or bond: when vfw ends, its controller would carry the frames that vfw had filtered.
pub fn refuse_controller(interface: &Interface) -> Result<(), InterfaceError> {
    match interface.controller {
        None => Ok(()),
        Some(index) => Err(InterfaceError::Controlled { name: interface.name.clone(), index }),
    }
}

/// Undoes on drop what [`prepare`] changed. It remembers the namespace by its open files, so any thread may drop it.
#[must_use = "dropping the guard gives the interface back to the kernel"]
pub struct Guard {
    index: u32,
    netlink: Netlink,
    /// The setting that was changed; it is written through this handle because a path would lead to the dropping thread's namespace.
    ipv6: Option<File>,
    /// Flags that were set and were not before.
    flags: LinkFlags,
}

impl Guard {
    /// Leaves the interface as it is now: for one that is gone, whose number may mean another by now.
    pub fn keep(mut self) {
        self.ipv6 = None;
        self.flags = LinkFlags::empty();
    }

    fn disable_ipv6(&mut self, name: &str) -> Result<(), InterfaceError> {
        let path = format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6");
        let failed = |source| InterfaceError::Sysctl { name: name.to_owned(), path: path.clone(), value: "1", source };
        match fs::read_to_string(&path) {
            Ok(value) if value.trim() == "1" => Ok(()),
            Ok(_) => {
                let file = OpenOptions::new().write(true).open(&path).map_err(failed)?;
                file.write_all_at(b"1", 0).map_err(failed)?;
                self.ipv6 = Some(file);
                Ok(())
            }
            // A kernel without IPv6 says nothing in it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }

    fn raise(&mut self, interface: &Interface) -> Result<(), InterfaceError> {
        let before = flags(&mut self.netlink, interface.index)
            .map_err(InterfaceError::system(&interface.name, "read the flags of the link"))?;
        let wanted = LinkFlags::Up | LinkFlags::Allmulti;
        let missing = wanted.difference(before);
        set_flags(&mut self.netlink, interface.index, missing, missing)
            .map_err(InterfaceError::system(&interface.name, "set the link up"))?;
        self.flags = missing;
        Ok(())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // The link goes down before IPv6 comes back, or the kernel would announce itself. A failure here has no one to go to:
        // the usual one is that the interface has gone, and then there is nothing left to restore.
        if let Err(error) = set_flags(&mut self.netlink, self.index, LinkFlags::empty(), self.flags) {
            tracing::debug!(index = self.index, %error, "interface not set back");
        }
        if let Some(Err(error)) = self.ipv6.as_mut().map(|file| file.write_all_at(b"0", 0)) {
            tracing::debug!(index = self.index, %error, "IPv6 not enabled again");
        }
    }
}

fn is_link_local(network: &IpNetwork) -> bool {
    match network {
        IpNetwork::V6(network) => network.ip().is_unicast_link_local(),
        IpNetwork::V4(network) => network.ip().is_link_local(),
    }
}

/// The flags that the administrator has set. `IFF_ALLMULTI` is reported only when it was asked for by flag, not by sockets.
fn flags(netlink: &mut Netlink, index: u32) -> io::Result<LinkFlags> {
    let mut request = LinkMessage::default();
    request.header.index = index;
    let answers = netlink.call(RouteNetlinkMessage::GetLink(request), 0)?;
    answers
        .iter()
        .find_map(|answer| match answer {
            RouteNetlinkMessage::NewLink(link) => Some(link.header.flags),
            _ => None,
        })
        .ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))
}

fn set_flags(netlink: &mut Netlink, index: u32, flags: LinkFlags, mask: LinkFlags) -> io::Result<()> {
    if mask.is_empty() {
        return Ok(());
    }
    let mut request = LinkMessage::default();
    request.header.index = index;
    request.header.flags = flags;
    request.header.change_mask = mask;
    netlink.call(RouteNetlinkMessage::SetLink(request), 0).map(drop)
}
