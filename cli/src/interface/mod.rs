//! Data interfaces: what vfw must know about one before it attaches, which hook fits, and what it changes on it.
//!
//! Everything here asks the kernel in the network namespace of the calling thread and blocks until the answer is there.
//! `/sys/class/net` shows the namespace of the mount, not of the thread: it is read in [`sysfs`] alone.

mod changes;
mod choose;
mod clsact;
mod error;
mod ethtool;
mod ethtool_ioctl;
mod link_state;
mod management;
pub(crate) mod netlink;
mod offload;
mod peer;
mod prepare;
mod receive_buffer;
pub(crate) mod sysfs;
mod watch;

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use serde::Serialize;

pub use changes::Changes;
pub use choose::{EngineOrder, Hook, HookChoice, HookError, ZoneTags, choose_hook, hazard, runs_native_xdp};
pub use clsact::{Filter, add_clsact, ingress_filters, remove_empty_clsact};
pub use error::InterfaceError;
pub use ethtool::{Feature, Features, XdpFeatures};
pub use ethtool_ioctl::{Counts, queue_counts, receive_queues, ring_sizes};
pub use link_state::{LinkState, Losses, XdpAttachment, XdpPlace, link_state, set_promiscuous};
pub use management::reserved;
pub use offload::turn_off_rx_vlan_offload;
pub use peer::{Peer, peer};
pub use prepare::{prepare, refuse_addresses, refuse_controller};
pub use sysfs::send_queues;
pub use watch::{LinkChanges, Notices};

use ethtool::FeatureSets;
use netlink::Netlink;

/// What is known about an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Interface {
    /// Its name in this namespace.
    pub name: String,
    /// Its number in this namespace.
    pub index: u32,
    /// Its Ethernet address; zero for interfaces that have none.
    pub mac: [u8; 6],
    /// Largest packet without the Ethernet header.
    pub mtu: u32,
    /// Set up by the administrator (there may still be no carrier).
    pub up: bool,
    /// Has a carrier.
    pub carrier: bool,
    /// The driver as ethtool names it (`veth`, `tun`, `virtio_net`, `ixgbe`), else the kind of link, else empty.
    pub driver: String,
    /// Index of the other end of a veth pair, in the namespace of that end.
    pub peer_index: Option<u32>,
    /// For a veth: the other end lives in another network namespace. Only then the kernel lets frames enter it directly
    /// (`skb_do_redirect` in `net/core/filter.c` drops them otherwise).
    pub peer_is_elsewhere: bool,
    /// Index of the bridge or bond that this interface belongs to.
    pub controller: Option<u32>,
    /// Addresses that the kernel's own stack has here.
    pub addresses: Vec<IpNetwork>,
    /// Offloads.
    pub features: Features,
    /// XDP abilities; nothing on kernels before 6.3.
    pub xdp: Option<XdpFeatures>,
}

impl Interface {
    /// Whether the driver loses frames that came without being copied when a program in the kernel sends them: it wants room
    /// before them, and they have none (`virtnet_xdp_xmit` in `drivers/net/virtio_net.c`, `xdp_convert_zc_to_xdp_frame` in
    /// `net/core/xdp.c`, Linux 7.3).
    pub fn loses_uncopied(&self) -> bool {
        self.driver == "virtio_net"
    }

    /// Whether this is one end of a veth pair.
    pub fn is_veth(&self) -> bool {
        self.driver == "veth"
    }

    /// Whether frames come straight from another stack on this host or a guest, which leaves work to the "hardware".
    pub fn is_virtual(&self) -> bool {
        matches!(
            self.driver.as_str(),
            "veth"
                | "tun"
                | "virtio_net"
                | "bridge"
                | "macvlan"
                | "macvtap"
                | "ipvlan"
                | "ipvtap"
                | "netkit"
                | "dummy"
                | "xen_netfront"
        )
    }

    /// Whether received frames may lack their final checksum (`CHECKSUM_PARTIAL`), because the sender relied on an offload.
    ///
    /// A guest's NIC may also be handed frames of a neighbour on the same host unfinished; where that is not known for sure, the
    /// answer is yes, because finishing a checksum that is right changes nothing.
    pub fn may_carry_partial_checksum(&self) -> bool {
        self.is_virtual() || matches!(self.driver.as_str(), "vmxnet3" | "hv_netvsc")
    }

    /// Whether programs behind the stack may see frames above the MTU: from the sender's segmentation offload, or merged on receipt.
    pub fn carries_super_packets(&self) -> bool {
        self.is_virtual() || self.features.gro.is_on() || self.features.lro.is_on()
    }
}

/// Looks at the interface `name`.
pub fn inspect(name: &str) -> Result<Interface, InterfaceError> {
    list_links(name)?
        .into_iter()
        .find(|link| link_name(link) == Some(name))
        .map_or_else(|| Err(not_found(name)), |link| complete(name, &link))
}

/// Looks at every interface, in the order of their indices.
pub fn list() -> Result<Vec<Interface>, InterfaceError> {
    let mut links = list_links("all interfaces")?;
    links.sort_by_key(|link| link.header.index);
    links
        .iter()
        .filter_map(|link| Some(complete(link_name(link)?, link)))
        .filter(|found| !found.as_ref().is_err_and(InterfaceError::is_gone))
        .collect()
}

/// The states of `features`, by the kernel's names for them (`ethtool -k`).
pub fn feature_states(
    name: &str,
    features: &[&'static str],
) -> Result<BTreeMap<&'static str, Feature>, InterfaceError> {
    let sets = read_features(name, index_of(name)?)?;
    Ok(features.iter().map(|feature| (*feature, sets.state(feature))).collect())
}

/// Turns one feature, by the kernel's name for it (`ethtool -k`), on or off, and makes sure that the driver has done it.
pub fn set_feature(name: &str, feature: &'static str, on: bool) -> Result<(), InterfaceError> {
    let index = index_of(name)?;
    let before = read_features(name, index)?.state(feature);
    if before.is_on() == on {
        return Ok(());
    }
    let state = if on { "off" } else { "on" };
    if before.is_fixed() {
        return Err(InterfaceError::FeatureFixed { name: name.to_owned(), feature, state });
    }
    Netlink::generic()
        .and_then(|mut netlink| ethtool::write_features(&mut netlink, index, &[feature], on))
        .map_err(InterfaceError::system(name, "change offloads"))?;
    if read_features(name, index)?.state(feature).is_on() == on {
        Ok(())
    } else {
        Err(InterfaceError::FeatureRefused { name: name.to_owned(), feature, state })
    }
}

fn read_features(name: &str, index: u32) -> Result<FeatureSets, InterfaceError> {
    FeatureSets::read(index).map_err(InterfaceError::system(name, "read offloads"))
}

fn index_of(name: &str) -> Result<u32, InterfaceError> {
    list_links(name)?
        .iter()
        .find(|link| link_name(link) == Some(name))
        .map(|link| link.header.index)
        .ok_or_else(|| not_found(name))
}

fn not_found(name: &str) -> InterfaceError {
    let known = list_links(name)
        .unwrap_or_default()
        .iter()
        .filter_map(link_name)
        .filter(|known| *known != "lo")
        .map(ToOwned::to_owned)
        .collect();
    InterfaceError::NotFound { name: name.to_owned(), known }
}

fn list_links(what: &str) -> Result<Vec<LinkMessage>, InterfaceError> {
    let answers = Netlink::route()
        .and_then(|mut netlink| netlink.call(RouteNetlinkMessage::GetLink(LinkMessage::default()), NLM_F_DUMP))
        .map_err(InterfaceError::system(what, "list links"))?;
    Ok(answers
        .into_iter()
        .filter_map(|answer| match answer {
            RouteNetlinkMessage::NewLink(link) => Some(link),
            _ => None,
        })
        .collect())
}

fn link_name(link: &LinkMessage) -> Option<&str> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.as_str()),
        _ => None,
    })
}

/// Adds to the kernel's description of a link what has to be asked for apart.
fn complete(name: &str, link: &LinkMessage) -> Result<Interface, InterfaceError> {
    let index = link.header.index;
    let mut interface = Interface {
        name: name.to_owned(),
        index,
        mac: [0; 6],
        mtu: 0,
        up: link.header.flags.contains(LinkFlags::Up),
        carrier: link.header.flags.contains(LinkFlags::LowerUp),
        driver: String::new(),
        peer_index: None,
        peer_is_elsewhere: false,
        controller: None,
        addresses: addresses(name, index)?,
        features: read_features(name, index)?.summary(),
        xdp: ethtool::xdp_features(index).map_err(InterfaceError::system(name, "read XDP abilities"))?,
    };
    let mut lower = None;
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::Address(mac) => {
                interface.mac = mac.as_slice().try_into().unwrap_or_default();
            }
            LinkAttribute::Mtu(mtu) => interface.mtu = *mtu,
            LinkAttribute::Link(index) => lower = Some(*index),
            LinkAttribute::LinkNetNsId(_) => interface.peer_is_elsewhere = true,
            LinkAttribute::Controller(index) => interface.controller = Some(*index),
            LinkAttribute::LinkInfo(list) => interface.driver = kind(list).unwrap_or_default(),
            _ => {}
        }
    }
    if let Some(driver) = ethtool_ioctl::driver(name).map_err(InterfaceError::system(name, "ask for the driver"))? {
        interface.driver = driver;
    }
    interface.peer_index = lower.filter(|_| interface.is_veth());
    interface.peer_is_elsewhere &= interface.is_veth();
    Ok(interface)
}

fn kind(list: &[LinkInfo]) -> Option<String> {
    list.iter().find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(kind.to_string()),
        _ => None,
    })
}

fn addresses(name: &str, index: u32) -> Result<Vec<IpNetwork>, InterfaceError> {
    let answers = Netlink::route()
        .and_then(|mut netlink| netlink.call(RouteNetlinkMessage::GetAddress(AddressMessage::default()), NLM_F_DUMP))
        .map_err(InterfaceError::system(name, "list addresses"))?;
    Ok(answers
        .into_iter()
        .filter_map(|answer| match answer {
            RouteNetlinkMessage::NewAddress(message) if message.header.index == index => network(&message),
            _ => None,
        })
        .collect())
}

/// The interface's own address: `IFA_LOCAL` where there is one (point to point links), else `IFA_ADDRESS`.
fn network(message: &AddressMessage) -> Option<IpNetwork> {
    let mut found: Option<IpAddr> = None;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => found = Some(*address),
            AddressAttribute::Address(address) => found = found.or(Some(*address)),
            _ => {}
        }
    }
    IpNetwork::new(found?, message.header.prefix_len).ok()
}

#[cfg(test)]
pub(crate) mod tests;
