//! Ethernet II and one 802.1Q tag (IEEE 802.1Q-2022 section 9.6), in the frame or beside it.

use super::u16_at;
use crate::frame::{ETHERNET, Frame, TAGGED_ETHERNET};
use crate::packet::{Ethernet, Packet, ether_type};
use crate::verdict::DropReason;

/// The VLAN identifier in tag control information.
const VID: u16 = 0x0fff;

/// The link-layer header. A tag with VLAN 0 carries only a priority: the frame counts as untagged. A group address is no
/// sender (IEEE 802.3 section 3.2.3): an answer to it would go to everybody. `packet` notes what was found, also of a frame
/// that is refused.
#[inline(always)]
pub fn ethernet<F: Frame>(frame: &F, packet: &mut Packet) -> Result<Ethernet, DropReason> {
    let header: [u8; ETHERNET as usize] = frame.load(0)?;
    let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, ..] = header;
    let mut ethernet = Ethernet {
        destination: [d0, d1, d2, d3, d4, d5],
        source: [s0, s1, s2, s3, s4, s5],
        vlan: 0,
        ether_type: u16_at(&header, 12),
        length: ETHERNET,
    };
    packet.note_link(&ethernet);
    if let Some(tag) = frame.stripped_tag()? {
        ethernet.vlan = tag & VID;
    } else if ethernet.ether_type == ether_type::VLAN {
        let tag: [u8; 4] = frame.load(ETHERNET)?;
        ethernet.vlan = u16_at(&tag, 0) & VID;
        ethernet.ether_type = u16_at(&tag, 2);
        ethernet.length = TAGGED_ETHERNET;
    }
    packet.vlan = ethernet.vlan;
    packet.ether_type = ethernet.ether_type;
    if s0 & 1 != 0 {
        return Err(DropReason::Multicast);
    }
    match ethernet.ether_type {
        ether_type::VLAN | ether_type::PROVIDER_VLAN | ether_type::OLD_PROVIDER_VLAN => Err(DropReason::DoubleTag),
        _ => Ok(ethernet),
    }
}
