//! The only stage that changes a frame on its way: TTL, link header, and checksums that a sender left unfinished.

pub mod checksum;

use crate::frame::{Frame, Link};
use crate::packet::{Ethernet, Fragment, Packet, protocol};
use crate::tables::Zone;
use crate::verdict::DropReason;

/// Makes the frame ready to leave through `zone` for the neighbour `mac`.
#[inline(always)]
pub fn forward<F: Frame>(
    frame: &mut F,
    ethernet: &Ethernet,
    packet: &Packet,
    zone: &Zone,
    mac: [u8; 6],
) -> Result<(), DropReason> {
    decrement_ttl(frame, packet)?;
    let link = Link { destination: mac, source: zone.mac, vlan: zone.tag(), ether_type: ethernet.ether_type };
    frame.set_link(ethernet.length, &link)
}

/// One less TTL (RFC 1812 section 5.3.1) or hop limit.
#[inline(always)]
fn decrement_ttl<F: Frame>(frame: &mut F, packet: &Packet) -> Result<(), DropReason> {
    let ttl = packet.ttl.wrapping_sub(1);
    if !packet.is_v4() {
        let [next, _] = frame.load::<2>(packet.network_offset + 6)?;
        frame.store(packet.network_offset + 6, [next, ttl])?;
        frame.word_changed([next, packet.ttl], [next, ttl]);
        return Ok(());
    }
    let [_, next, high, low] = frame.load::<4>(packet.network_offset + 8)?;
    let old = u16::from_be_bytes([packet.ttl, next]);
    let new = u16::from_be_bytes([ttl, next]);
    let [high, low] = checksum::update(u16::from_be_bytes([high, low]), old, new).to_be_bytes();
    frame.store(packet.network_offset + 8, [ttl, next, high, low])
}

/// Completes the transport checksum of a frame whose sender left it to hardware. A finished checksum that looks like an
/// unfinished one by chance comes out unchanged.
#[inline(always)]
pub fn complete_checksum<F: Frame>(frame: &mut F, packet: &Packet) -> Result<(), DropReason> {
    if !is_unfinished(frame, packet)? {
        return Ok(());
    }
    let sum = frame.sum(packet.transport_offset, packet.transport_length)?;
    let complete = match (!sum, packet.protocol) {
        // RFC 768: a computed zero is sent as all ones.
        (0, protocol::UDP) => 0xffff,
        (complete, _) => complete,
    };
    frame.store(checksum_offset(packet), complete.to_be_bytes())
}

/// Whether the sender left the transport checksum to hardware: the field then holds the folded sum of the
/// pseudo-header alone (`CHECKSUM_PARTIAL`, Linux `include/linux/skbuff.h`).
#[inline(always)]
pub fn is_unfinished<F: Frame>(frame: &F, packet: &Packet) -> Result<bool, DropReason> {
    if !matches!(packet.protocol, protocol::TCP | protocol::UDP) || packet.fragment != Fragment::Whole {
        return Ok(false);
    }
    Ok(u16::from_be_bytes(frame.load(checksum_offset(packet))?) == pseudo_header(packet))
}

#[inline(always)]
const fn checksum_offset(packet: &Packet) -> u32 {
    packet.transport_offset + if packet.protocol == protocol::TCP { 16 } else { 6 }
}

/// Folded sum of the pseudo-header (RFC 9293 section 3.1, RFC 8200 section 8.1).
#[inline(always)]
fn pseudo_header(packet: &Packet) -> u16 {
    let words = |address: &crate::address::Address| {
        if packet.is_v4() { checksum::sum_words(&address.v4_bytes()) } else { checksum::sum_words(&address.bytes()) }
    };
    let rest = checksum::word(u32::from(packet.protocol)) + checksum::word(packet.transport_length);
    checksum::fold(words(&packet.source) + words(&packet.destination) + rest)
}
