//! What the kernel tells of a link beyond what attaching needs: programs of others, flags, losses.

use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage, LinkXdp};
use serde::Serialize;

use super::netlink::Netlink;
use super::prepare::set_flags;
use super::{InterfaceError, index_of, link_name, list_links, not_found};

/// Where an XDP program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum XdpPlace {
    /// In the driver.
    Native,
    /// In the stack, on socket buffers: any driver, and slow.
    Generic,
    /// In the NIC.
    Hardware,
}

/// An XDP program on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct XdpAttachment {
    /// Where it runs.
    pub place: XdpPlace,
    /// The kernel's number for the program.
    pub program: u32,
}

/// Frames that an interface has lost since it exists.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Losses {
    /// Received by the hardware, and there was no room in a ring (`rx_missed_errors`, `rx_fifo_errors`).
    pub no_room: u64,
    /// Dropped on receipt by the kernel (`rx_dropped`).
    pub received: u64,
    /// Dropped before they were sent (`tx_dropped`).
    pub sent: u64,
}

/// What the kernel tells of a link.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LinkState {
    /// Takes frames for any address, because the administrator or a program said so.
    pub promiscuous: bool,
    /// XDP programs.
    pub xdp: Vec<XdpAttachment>,
    /// What it has lost.
    pub losses: Losses,
}

/// Asks for the state of the link `name`.
pub fn link_state(name: &str) -> Result<LinkState, InterfaceError> {
    let links = list_links(name)?;
    let link = links.iter().find(|link| link_name(link) == Some(name)).ok_or_else(|| not_found(name))?;
    Ok(read(link))
}

/// Has the interface take frames for any address, or no longer.
pub fn set_promiscuous(name: &str, on: bool) -> Result<(), InterfaceError> {
    let index = index_of(name)?;
    let flags = if on { LinkFlags::Promisc } else { LinkFlags::empty() };
    let set = || set_flags(&mut Netlink::route()?, index, flags, LinkFlags::Promisc);
    set().map_err(InterfaceError::system(name, "change what it receives"))
}

fn read(link: &LinkMessage) -> LinkState {
    let mut state = LinkState { promiscuous: link.header.flags.contains(LinkFlags::Promisc), ..LinkState::default() };
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::Xdp(told) => state.xdp = told.iter().filter_map(attachment).collect(),
            LinkAttribute::Promiscuity(count) => state.promiscuous |= *count > 0,
            LinkAttribute::Stats64(stats) => {
                state.losses = Losses {
                    no_room: stats.rx_missed_errors + stats.rx_fifo_errors,
                    received: stats.rx_dropped,
                    sent: stats.tx_dropped,
                };
            }
            _ => {}
        }
    }
    state
}

fn attachment(told: &LinkXdp) -> Option<XdpAttachment> {
    let (place, program) = match told {
        LinkXdp::DrvProgId(id) => (XdpPlace::Native, *id),
        LinkXdp::SkbProgId(id) => (XdpPlace::Generic, *id),
        LinkXdp::HwProgId(id) => (XdpPlace::Hardware, *id),
        _ => return None,
    };
    Some(XdpAttachment { place, program })
}
