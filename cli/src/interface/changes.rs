//! What vfw has changed on an interface, and giving it back.
//!
//! Plain data: it outlives the process that made the changes, and whoever ends forwarding undoes them.

use std::fs;
use std::io;

use netlink_packet_route::link::LinkFlags;
use serde::{Deserialize, Serialize};

use super::ethtool::write_features;
use super::netlink::Netlink;
use super::offload::RX_VLAN;
use super::prepare::{self, set_flags};
use super::{Interface, InterfaceError, link_name, list_links, read_features};

/// What vfw has changed on an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(clippy::struct_excessive_bools, reason = "independent changes")]
pub struct Changes {
    /// The kernel's IPv6 was disabled.
    pub ipv6: bool,
    /// The link was set up.
    pub up: bool,
    /// All multicast was asked for.
    pub all_multicast: bool,
    /// Frames for any address were asked for.
    #[serde(default)]
    pub promiscuous: bool,
    /// Offloads that were turned off, by the kernel's names.
    pub offloads: Vec<String>,
}

impl Changes {
    /// What taking an interface will change, so that it can be written down before. `offloads`: also the stripping of VLAN tags.
    pub fn planned(interface: &Interface, offloads: bool) -> Result<Self, InterfaceError> {
        let Interface { name, index, .. } = interface;
        let mut changes = Self { ipv6: prepare::has_ipv6(name), ..Self::default() };
        let read = || prepare::missing_flags(&mut Netlink::route()?, interface);
        changes.add_flags(read().map_err(InterfaceError::system(name, "read the flags of the link"))?);
        if offloads {
            let sets = read_features(name, *index)?;
            let on = RX_VLAN.into_iter().filter(|feature| sets.state(feature).is_on());
            changes.offloads.extend(on.map(ToOwned::to_owned));
        }
        Ok(changes)
    }

    /// Undoes them on the interface with this number in the calling thread's network namespace. A failure has no one to go to:
    /// the usual one is that the interface has gone, and then there is nothing left to restore.
    pub fn give_back(&self, index: u32) {
        let undone = [("the link", self.restore_link(index)), ("offloads", self.restore_offloads(index))];
        for (what, result) in undone {
            if let Err(error) = result {
                tracing::debug!(index, %error, "{what} not set back");
            }
        }
    }

    /// The link goes down before IPv6 comes back, or the kernel would announce itself.
    fn restore_link(&self, index: u32) -> io::Result<()> {
        let flags = self.flags();
        if !flags.is_empty() {
            set_flags(&mut Netlink::route()?, index, LinkFlags::empty(), flags)?;
        }
        if !self.ipv6 {
            return Ok(());
        }
        // The setting goes by the name, which may be another than at the start.
        let links = list_links("all interfaces").map_err(io::Error::other)?;
        let link = links.iter().find(|link| link.header.index == index).and_then(link_name);
        let name = link.ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))?;
        fs::write(prepare::ipv6_setting(name), "0")
    }

    fn restore_offloads(&self, index: u32) -> io::Result<()> {
        let turned_off: Vec<&str> =
            RX_VLAN.into_iter().filter(|feature| self.offloads.iter().any(|known| known == feature)).collect();
        if turned_off.is_empty() {
            return Ok(());
        }
        write_features(&mut Netlink::generic()?, index, &turned_off, true)
    }

    fn flags(&self) -> LinkFlags {
        let mut flags = LinkFlags::empty();
        flags.set(LinkFlags::Up, self.up);
        flags.set(LinkFlags::Allmulti, self.all_multicast);
        flags.set(LinkFlags::Promisc, self.promiscuous);
        flags
    }

    /// Adds the flags that were set.
    pub(super) fn add_flags(&mut self, flags: LinkFlags) {
        self.up |= flags.contains(LinkFlags::Up);
        self.all_multicast |= flags.contains(LinkFlags::Allmulti);
        self.promiscuous |= flags.contains(LinkFlags::Promisc);
    }
}
