//! Interfaces that are down or away: what the rules say does not depend on them, what becomes of a packet does.

use firewall_core::tables::zone_flag;
use serde::{Deserialize, Serialize};

use crate::compile::{Image, Link};
use crate::lang::Policy;

/// An interface on a packet's way that nothing crosses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosedInterface {
    /// Its name.
    pub interface: String,
    /// The zone on it.
    pub zone: String,
    /// `down` or `away`.
    pub state: String,
    /// Whether the packet comes in through it; else it is to leave there.
    pub is_ingress: bool,
}

impl ClosedInterface {
    /// The interface of a zone (an index into [`Policy::zones`]), if it is closed.
    pub(super) fn of(policy: &Policy, image: &Image, zone: usize, is_ingress: bool) -> Option<Self> {
        let zone = policy.zones.get(zone)?;
        let record = image.zones.get(usize::from(zone.id))?;
        let state = match (record.ifindex, record.flags & zone_flag::DOWN) {
            (0, _) => "away",
            (_, 0) => return None,
            _ => "down",
        };
        let (interface, zone) = (zone.interface.clone(), zone.name.clone());
        Some(Self { interface, zone, state: state.to_owned(), is_ingress })
    }
}

/// Numbers of made-up interfaces: the kernel counts from 1.
const MADE_UP: u32 = 1 << 30;
/// MTU of an interface that is away.
const ETHERNET_MTU: u32 = 1500;

/// The same policy with every interface there and up, so that the rules are asked.
pub(super) fn opened(policy: &Policy, image: &Image) -> Image {
    let link = |(number, zone): (usize, &crate::lang::Zone)| {
        let record = image.zones.get(usize::from(zone.id))?;
        let is_away = record.ifindex == 0;
        Some(Link {
            name: zone.interface.clone(),
            ifindex: if is_away { MADE_UP + number as u32 } else { record.ifindex },
            mac: record.mac,
            mtu: if is_away { ETHERNET_MTU } else { record.mtu },
            partial_checksums: record.flags & zone_flag::PARTIAL_CHECKSUMS != 0,
            peer: record.flags & zone_flag::PEER != 0,
            up: true,
            port: None,
            kernel_zones: Vec::new(),
        })
    };
    let links: Vec<Link> = policy.zones.iter().enumerate().filter_map(link).collect();
    let mut opened = image.clone();
    // Without room in the index of VLANs the zones stay closed, which the answer says.
    let _ = opened.move_zones(policy, &links);
    opened
}
