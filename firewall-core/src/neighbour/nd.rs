//! Neighbour discovery (RFC 4861) for the gateway's IPv6 addresses, and the defence of those addresses against
//! duplicate address detection (RFC 4862 section 5.4.3).

use super::{is_gateway, learn};
use crate::address::Address;
use crate::frame::{Frame, Link};
use crate::packet::{Ethernet, Fragment, Packet, ether_type, protocol};
use crate::rewrite::checksum;
use crate::tables::Tables;
use crate::verdict::{DropReason, Egress, Verdict};
use crate::zone::Ingress;

const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// Type, code, checksum, flags, target.
const MESSAGE: u32 = 24;
const SOURCE_LINK_ADDRESS: u8 = 1;
const TARGET_LINK_ADDRESS: u8 = 2;
/// Router, solicited, override.
const FLAG_ROUTER: u8 = 0x80;
const FLAG_SOLICITED: u8 = 0x40;
const FLAG_OVERRIDE: u8 = 0x20;
/// `ff02::1` and its MAC (RFC 2464 section 7).
const ALL_NODES: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
/// IPv6 header, advertisement, target link-layer address option.
const ANSWER: u32 = 72;

/// Answers a solicitation for a gateway address; learns from advertisements and from solicitations' options.
#[inline(always)]
pub fn answer<F: Frame, T: Tables>(
    frame: &mut F,
    ingress: &Ingress<T>,
    ethernet: &Ethernet,
    packet: &Packet,
) -> Result<Verdict, DropReason> {
    // Routers and those who look for one: vfw does not advertise itself.
    if matches!(packet.icmp_type, ROUTER_SOLICITATION | ROUTER_ADVERTISEMENT) {
        return Ok(Verdict::Consume);
    }
    // RFC 4861 section 7.1: hop limit 255 proves that the sender is on the link.
    if packet.ttl != 255
        || packet.icmp_code != 0
        || packet.transport_length < MESSAGE
        || packet.fragment != Fragment::Whole
    {
        return Err(DropReason::Neighbour);
    }
    check_sum(frame, packet)?;
    let target = Address::from_v6(frame.load(packet.transport_offset + 8)?);
    match packet.icmp_type {
        SOLICITATION => {
            let is_probe = packet.source.is_unspecified();
            if !is_gateway(ingress, &target) {
                return Ok(Verdict::Consume);
            }
            if !is_probe && let Some(mac) = link_address(frame, packet, SOURCE_LINK_ADDRESS) {
                learn(ingress, &packet.source, mac, false);
            }
            advertise(frame, ingress, ethernet, packet, &target)
        }
        ADVERTISEMENT => {
            let is_answer = !packet.destination.is_multicast();
            let mac = link_address(frame, packet, TARGET_LINK_ADDRESS).unwrap_or(ethernet.source);
            learn(ingress, &target, mac, is_answer);
            Ok(Verdict::Consume)
        }
        _ => Ok(Verdict::Consume),
    }
}

#[inline(always)]
fn check_sum<F: Frame>(frame: &F, packet: &Packet) -> Result<(), DropReason> {
    let sum = checksum::word(u32::from(frame.sum(packet.transport_offset, packet.transport_length)?))
        + checksum::sum_words(&packet.source.bytes())
        + checksum::sum_words(&packet.destination.bytes())
        + checksum::word(packet.transport_length)
        + checksum::word(u32::from(protocol::ICMP6));
    if checksum::fold(sum) == 0xffff { Ok(()) } else { Err(DropReason::Neighbour) }
}

/// The link-layer address in the first option, where every stack puts it.
#[inline(always)]
fn link_address<F: Frame>(frame: &F, packet: &Packet, option: u8) -> Option<[u8; 6]> {
    if packet.transport_length < MESSAGE + 8 {
        return None;
    }
    let [kind, length, a, b, c, d, e, f] = frame.load::<8>(packet.transport_offset + MESSAGE).ok()?;
    (kind == option && length == 1).then_some([a, b, c, d, e, f])
}

/// Turns a solicitation into the advertisement that answers it: to the asker, or to all nodes when the asker has no
/// address yet (RFC 4861 section 7.2.4).
#[inline(always)]
fn advertise<F: Frame, T>(
    frame: &mut F,
    ingress: &Ingress<T>,
    ethernet: &Ethernet,
    packet: &Packet,
    target: &Address,
) -> Result<Verdict, DropReason> {
    let is_probe = packet.source.is_unspecified();
    let (destination, destination_mac, flags) = if is_probe {
        (ALL_NODES, ALL_NODES_MAC, FLAG_ROUTER | FLAG_OVERRIDE)
    } else {
        (packet.source.bytes(), ethernet.source, FLAG_ROUTER | FLAG_SOLICITED | FLAG_OVERRIDE)
    };
    let [g0, g1, g2, g3, g4, g5] = ingress.zone.mac;
    let option = [TARGET_LINK_ADDRESS, 1, g0, g1, g2, g3, g4, g5];
    let payload = ANSWER - 40;
    let sum = checksum::sum_words(&target.bytes()) * 2
        + checksum::sum_words(&destination)
        + checksum::sum_words(&option)
        + checksum::word(payload)
        + checksum::word(u32::from(protocol::ICMP6))
        + checksum::word(u32::from(ADVERTISEMENT) << 8)
        + checksum::word(u32::from(flags) << 8);
    let [c0, c1] = (!checksum::fold(sum)).to_be_bytes();
    let base = packet.network_offset;
    frame.resize(base + ANSWER)?;
    frame.store(base, [0x60, 0, 0, 0, 0, payload as u8, protocol::ICMP6, 255])?;
    frame.store(base + 8, target.bytes())?;
    frame.store(base + 24, destination)?;
    frame.store(base + 40, [ADVERTISEMENT, 0, c0, c1, flags, 0, 0, 0])?;
    frame.store(base + 48, target.bytes())?;
    frame.store(base + 64, option)?;
    let link = Link {
        destination: destination_mac,
        source: ingress.zone.mac,
        vlan: ingress.zone.tag(),
        ether_type: ether_type::IPV6,
    };
    frame.set_link(ethernet.length, &link)?;
    Ok(Verdict::Transmit(Egress { zone: ingress.id, reply: true }))
}
