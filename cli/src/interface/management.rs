//! The interfaces that the machine itself needs: those by which its operator reaches it, and what carries them.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_packet_route::route::{RouteAttribute, RouteMessage, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::netlink::Netlink;
use super::{Interface, InterfaceError, list_links, refuse_addresses, refuse_controller};

/// Why each of `all` that vfw had better not take is the machine's own, by its index. `named` are those that the operator has named,
/// `session` is the address of this machine at which the operator is logged in, if that is known.
pub fn reserved(
    all: &[Interface],
    named: &[String],
    session: Option<IpAddr>,
) -> Result<BTreeMap<u32, String>, InterfaceError> {
    let default_routes = default_routes().map_err(InterfaceError::system("all interfaces", "list routes"))?;
    let links = list_links("all interfaces")?;
    let mut reasons = BTreeMap::new();
    for interface in all {
        let has = |address: IpAddr| interface.addresses.iter().any(|network| network.ip() == address);
        let reason = if named.contains(&interface.name) {
            Some("management, as you say".to_owned())
        } else if session.is_some_and(has) {
            Some("management: you are logged in there".to_owned())
        } else if default_routes.contains(&interface.index) {
            Some("management: the default route leads there".to_owned())
        } else {
            let refused = refuse_addresses(interface).and_then(|()| refuse_controller(interface));
            refused.err().map(|error| reason_of(&error))
        };
        if let Some(reason) = reason {
            for index in carriers(interface.index, &links) {
                reasons.entry(index).or_insert_with(|| format!("carries {}", interface.name));
            }
            reasons.insert(interface.index, reason);
        }
    }
    Ok(reasons)
}

fn reason_of(error: &InterfaceError) -> String {
    match error {
        InterfaceError::KernelAddresses { addresses, .. } => {
            let list: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            format!("the kernel has {} there", list.join(", "))
        }
        _ => "port of a bridge or bond".to_owned(),
    }
}

/// What is below an interface: the one that a VLAN device is on, the ports of a bond or bridge, and so on down.
fn carriers(index: u32, links: &[LinkMessage]) -> Vec<u32> {
    let mut found = vec![index];
    let mut at = 0;
    while let Some(&upper) = found.get(at) {
        let below = links.iter().filter(|link| is_below(link, upper, links)).map(|link| link.header.index);
        let new: Vec<u32> = below.filter(|index| !found.contains(index)).collect();
        found.extend(new);
        at += 1;
    }
    found.split_off(1)
}

fn is_below(link: &LinkMessage, upper: u32, links: &[LinkMessage]) -> bool {
    let is_port = link.attributes.contains(&LinkAttribute::Controller(upper));
    let upper = links.iter().find(|other| other.header.index == upper);
    is_port || upper.and_then(lower) == Some(link.header.index)
}

/// The interface of this namespace that one of the kernel's is on. The two ends of a veth pair name each other and carry nothing.
fn lower(link: &LinkMessage) -> Option<u32> {
    let mut found = None;
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::Link(index) => found = Some(*index),
            LinkAttribute::LinkNetNsId(_) => return None,
            LinkAttribute::LinkInfo(list) if super::kind(list).as_deref() == Some("veth") => return None,
            _ => {}
        }
    }
    found
}

/// Interfaces that default routes lead to, in any table.
fn default_routes() -> io::Result<Vec<u32>> {
    let mut netlink = Netlink::route()?;
    let mut found = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut request = RouteMessage::default();
        request.header.address_family = family;
        for answer in netlink.call(RouteNetlinkMessage::GetRoute(request), NLM_F_DUMP)? {
            if let RouteNetlinkMessage::NewRoute(route) = answer
                && route.header.destination_prefix_length == 0
                && route.header.kind == RouteType::Unicast
            {
                found.extend(outputs(&route));
            }
        }
    }
    Ok(found)
}

fn outputs(route: &RouteMessage) -> Vec<u32> {
    let of = |attribute: &RouteAttribute| match attribute {
        RouteAttribute::Oif(index) => vec![*index],
        RouteAttribute::MultiPath(hops) => hops.iter().map(|hop| hop.interface_index).collect(),
        _ => Vec::new(),
    };
    route.attributes.iter().flat_map(of).collect()
}
