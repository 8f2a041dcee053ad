//! Echo (RFC 792, RFC 4443 section 4) for the gateway addresses: the only service that vfw offers to its zones.

use crate::frame::{Frame, Link};
use crate::packet::{Ethernet, Fragment, Packet};
use crate::rewrite::checksum;
use crate::verdict::{DropReason, Egress, Verdict};
use crate::zone::Ingress;

/// TTL of answers, as Linux uses.
const TTL: u8 = 64;

/// Turns an echo request into its reply. Swapping the addresses leaves every checksum as it was.
#[inline(always)]
pub fn echo<F: Frame, T>(
    frame: &mut F,
    ingress: &Ingress<T>,
    ethernet: &Ethernet,
    packet: &Packet,
) -> Result<Verdict, DropReason> {
    if !packet.is_echo_request() || packet.fragment != Fragment::Whole {
        return Err(DropReason::LocalService);
    }
    let base = packet.network_offset;
    let reply_type = if packet.is_v4() {
        let [_, next, high, low] = frame.load::<4>(base + 8)?;
        let old = u16::from_be_bytes([packet.ttl, next]);
        let new = u16::from_be_bytes([TTL, next]);
        let [high, low] = checksum::update(u16::from_be_bytes([high, low]), old, new).to_be_bytes();
        frame.store(base + 8, [TTL, next, high, low])?;
        frame.store(base + 12, packet.destination.v4_bytes())?;
        frame.store(base + 16, packet.source.v4_bytes())?;
        0
    } else {
        frame.store(base + 7, [TTL])?;
        frame.store(base + 8, packet.destination.bytes())?;
        frame.store(base + 24, packet.source.bytes())?;
        129
    };
    let [code, high, low] = frame.load::<3>(packet.transport_offset + 1)?;
    let old = u16::from_be_bytes([packet.icmp_type, code]);
    let new = u16::from_be_bytes([reply_type, code]);
    let [high, low] = checksum::update(u16::from_be_bytes([high, low]), old, new).to_be_bytes();
    frame.store(packet.transport_offset, [reply_type, code, high, low])?;
    let link = Link {
        destination: ethernet.source,
        source: ingress.zone.mac,
        vlan: ingress.zone.tag(),
        ether_type: ethernet.ether_type,
    };
    frame.set_link(ethernet.length, &link)?;
    Ok(Verdict::Transmit(Egress { zone: ingress.id, reply: true }))
}
