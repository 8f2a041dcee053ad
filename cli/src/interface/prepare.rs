//! Taking an interface over from the kernel's IP stack.

use std::fs;
use std::io;

use ipnetwork::IpNetwork;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkFlags, LinkMessage};

use super::netlink::Netlink;
use super::{Changes, Interface, InterfaceError, inspect};

/// Readies the interface `name` for vfw: the kernel's stack emits nothing there, neighbour discovery is received, the link is up.
/// What was changed is added to `changes`, also when a later step fails.
///
/// IPv6 is disabled first, so that the link comes up without the kernel announcing itself. All multicast is received,
/// because the groups of the gateway addresses are joined by no one once IPv6 is off; a NIC that filters VLANs is made to
/// take frames for any address, and vfw drops what is for others.
/// An interface on which the kernel has addresses of its own is refused: it may be the way by which the operator is logged in.
pub fn prepare(name: &str, changes: &mut Changes) -> Result<(), InterfaceError> {
    let interface = inspect(name)?;
    refuse_addresses(&interface)?;
    disable_ipv6(name, changes)?;
    raise(&interface, changes)
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

/// The kernel's switch for IPv6 on the interface `name`.
pub(super) fn ipv6_setting(name: &str) -> String {
    format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6")
}

/// Whether the kernel's IPv6 is on there.
pub(super) fn has_ipv6(name: &str) -> bool {
    fs::read_to_string(ipv6_setting(name)).is_ok_and(|value| value.trim() != "1")
}

/// The flags that an interface of vfw has and this one lacks.
pub(super) fn missing_flags(netlink: &mut Netlink, interface: &Interface) -> io::Result<LinkFlags> {
    Ok(wanted_flags(interface).difference(flags(netlink, interface.index)?))
}

/// A NIC that filters VLANs does not know those of vfw, nor would it be told of zones that come later. It lets all of them
/// through while it takes frames for any address (measured with virtio-net and vmxnet3 in QEMU, which drop them otherwise).
pub(super) fn wanted_flags(interface: &Interface) -> LinkFlags {
    let filters = interface.features.rx_vlan_filter.is_on();
    let any_address = if filters { LinkFlags::Promisc } else { LinkFlags::empty() };
    LinkFlags::Up | LinkFlags::Allmulti | any_address
}

fn disable_ipv6(name: &str, changes: &mut Changes) -> Result<(), InterfaceError> {
    let path = ipv6_setting(name);
    let failed = |source| InterfaceError::Sysctl { name: name.to_owned(), path: path.clone(), value: "1", source };
    match fs::read_to_string(&path) {
        Ok(value) if value.trim() == "1" => Ok(()),
        Ok(_) => {
            fs::write(&path, "1").map_err(failed)?;
            changes.ipv6 = true;
            Ok(())
        }
        // A kernel without IPv6 says nothing in it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

fn raise(interface: &Interface, changes: &mut Changes) -> Result<(), InterfaceError> {
    let raised = || {
        let mut netlink = Netlink::route()?;
        let missing = missing_flags(&mut netlink, interface)?;
        set_flags(&mut netlink, interface.index, missing, missing)?;
        Ok(missing)
    };
    let missing = raised().map_err(InterfaceError::system(&interface.name, "set the link up"))?;
    changes.add_flags(missing);
    Ok(())
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

pub(super) fn set_flags(netlink: &mut Netlink, index: u32, flags: LinkFlags, mask: LinkFlags) -> io::Result<()> {
    if mask.is_empty() {
        return Ok(());
    }
    let mut request = LinkMessage::default();
    request.header.index = index;
    request.header.flags = flags;
    request.header.change_mask = mask;
    netlink.call(RouteNetlinkMessage::SetLink(request), 0).map(drop)
}
