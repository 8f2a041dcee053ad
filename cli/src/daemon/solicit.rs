//! Questions to neighbours: ARP requests (RFC 826) and neighbour solicitations (RFC 4861 section 4.3). And what a gateway
//! says unasked when its MAC has changed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{ArpHardwareId, ArpOperation, ArpPacket, EtherType, PacketBuilder, VlanId};
use firewall_core::tables::Zone;

/// The frame that asks who has `target`, from the gateway address `source` of `zone`. `known` is the MAC that the
/// neighbour had, for a question to it alone. `None` when the families differ.
pub fn solicitation(zone: &Zone, source: IpAddr, target: IpAddr, known: Option<[u8; 6]>) -> Option<Vec<u8>> {
    match (source, target) {
        (IpAddr::V4(source), IpAddr::V4(target)) => arp_request(zone, source, target, known),
        (IpAddr::V6(source), IpAddr::V6(target)) => neighbour_solicitation(zone, source, target, known),
        _ => None,
    }
}

/// The frame that tells all hosts of `zone` the MAC of its gateway address: an ARP announcement (RFC 5227 section 3), or an
/// unsolicited neighbour advertisement (RFC 4861 section 7.2.6).
pub fn announcement(zone: &Zone, gateway: IpAddr) -> Option<Vec<u8>> {
    match gateway {
        IpAddr::V4(gateway) => arp_request(zone, gateway, gateway, None),
        IpAddr::V6(gateway) => neighbour_advertisement(zone, gateway),
    }
}

fn arp_request(zone: &Zone, source: Ipv4Addr, target: Ipv4Addr, known: Option<[u8; 6]>) -> Option<Vec<u8>> {
    let question = ArpPacket::new(
        ArpHardwareId::ETHERNET,
        EtherType::IPV4,
        ArpOperation::REQUEST,
        &zone.mac,
        &source.octets(),
        &[0; 6],
        &target.octets(),
    )
    .ok()?;
    let mut frame = Vec::with_capacity(64);
    let builder = PacketBuilder::ethernet2(zone.mac, known.unwrap_or([0xff; 6]));
    match zone.tag() {
        Some(vlan) => builder.single_vlan(VlanId::try_new(vlan).ok()?).arp(question).write(&mut frame).ok()?,
        None => builder.arp(question).write(&mut frame).ok()?,
    }
    Some(frame)
}

const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const SOURCE_LINK_ADDRESS: u8 = 1;
const TARGET_LINK_ADDRESS: u8 = 2;
/// It is a router; what it says replaces what was known.
const ROUTER_OVERRIDE: u8 = 0xa0;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];

fn neighbour_solicitation(zone: &Zone, source: Ipv6Addr, target: Ipv6Addr, known: Option<[u8; 6]>) -> Option<Vec<u8>> {
    let [.., a, b, c] = target.octets();
    // The solicited-node group (RFC 4291 section 2.7.1) and its MAC (RFC 2464 section 7).
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]));
    let (destination, mac) = match known {
        Some(mac) => (target, mac),
        None => (group, [0x33, 0x33, 0xff, a, b, c]),
    };
    let message = (SOLICITATION, 0, SOURCE_LINK_ADDRESS);
    neighbour_discovery(zone, message, target, (source, destination, mac))
}

fn neighbour_advertisement(zone: &Zone, gateway: Ipv6Addr) -> Option<Vec<u8>> {
    let message = (ADVERTISEMENT, ROUTER_OVERRIDE, TARGET_LINK_ADDRESS);
    neighbour_discovery(zone, message, gateway, (gateway, ALL_NODES, ALL_NODES_MAC))
}

/// A message about `target` with the zone's MAC in its one option. `message`: its type, flags, and the type of the option.
fn neighbour_discovery(
    zone: &Zone,
    message: (u8, u8, u8),
    target: Ipv6Addr,
    way: (Ipv6Addr, Ipv6Addr, [u8; 6]),
) -> Option<Vec<u8>> {
    let ((kind, flags, option), (source, destination, mac)) = (message, way);
    let mut body = Vec::with_capacity(24);
    body.extend_from_slice(&target.octets());
    body.extend_from_slice(&[option, 1]);
    body.extend_from_slice(&zone.mac);
    let mut frame = Vec::with_capacity(96);
    let builder = PacketBuilder::ethernet2(zone.mac, mac);
    let (source, destination, flags) = (source.octets(), destination.octets(), [flags, 0, 0, 0]);
    match zone.tag() {
        Some(vlan) => builder
            .single_vlan(VlanId::try_new(vlan).ok()?)
            .ipv6(source, destination, 255)
            .icmpv6_raw(kind, 0, flags)
            .write(&mut frame, &body)
            .ok()?,
        None => {
            builder.ipv6(source, destination, 255).icmpv6_raw(kind, 0, flags).write(&mut frame, &body).ok()?;
        }
    }
    Some(frame)
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::SlicedPacket;

    fn zone(vlan: u16) -> Zone {
        Zone { ifindex: 1, mtu: 1500, vlan, flags: 0, mac: [2, 0, 0, 0, 0, 1], port: 0 }
    }

    #[test]
    fn arp_asks_everyone_then_only_the_known() {
        let ask = |known| {
            let frame = solicitation(&zone(10), [10, 0, 10, 1].into(), [10, 0, 10, 7].into(), known).expect("IPv4");
            assert_eq!(frame[12..16], [0x81, 0, 0, 10]);
            assert_eq!(frame[16..18], [0x08, 0x06]);
            frame[..6].to_vec()
        };
        assert_eq!(ask(None), [0xff; 6]);
        assert_eq!(ask(Some([2, 0, 0, 0, 0, 7])), [2, 0, 0, 0, 0, 7]);
    }

    #[test]
    fn nd_goes_to_the_solicited_node_group_with_a_valid_checksum() {
        let (source, target): (Ipv6Addr, Ipv6Addr) =
            ("fd00:10::1".parse().expect("v6"), "fd00:10::abcd:ef12".parse().expect("v6"));
        let frame = solicitation(&zone(0), source.into(), target.into(), None).expect("IPv6");
        assert_eq!(frame[..6], [0x33, 0x33, 0xff, 0xcd, 0xef, 0x12]);
        let sliced = SlicedPacket::from_ethernet(&frame).expect("a packet");
        let Some(etherparse::TransportSlice::Icmpv6(icmp)) = sliced.transport else { panic!("ICMPv6") };
        let Some(etherparse::NetSlice::Ipv6(ip)) = sliced.net else { panic!("IPv6") };
        assert!(icmp.is_checksum_valid(ip.header().source(), ip.header().destination()));
        assert_eq!(ip.header().hop_limit(), 255);
    }

    #[test]
    fn a_gateway_announces_itself_to_all() {
        let frame = announcement(&zone(0), [10, 0, 10, 1].into()).expect("IPv4");
        assert_eq!((&frame[..6], &frame[6..12]), ([0xff; 6].as_slice(), zone(0).mac.as_slice()));
        assert_eq!((&frame[28..32], &frame[38..42]), ([10, 0, 10, 1].as_slice(), [10, 0, 10, 1].as_slice()));

        let gateway: Ipv6Addr = "fd00:10::1".parse().expect("v6");
        let frame = announcement(&zone(10), gateway.into()).expect("IPv6");
        assert_eq!((&frame[..6], &frame[12..16]), (ALL_NODES_MAC.as_slice(), [0x81, 0, 0, 10].as_slice()));
        let sliced = SlicedPacket::from_ethernet(&frame).expect("a packet");
        let Some(etherparse::TransportSlice::Icmpv6(icmp)) = sliced.transport else { panic!("ICMPv6") };
        assert!(icmp.is_checksum_valid(gateway.octets(), ALL_NODES.octets()));
        assert_eq!(icmp.slice()[..2], [136, 0]);
        assert_eq!(icmp.slice()[4], 0xa0, "a router, overriding, not solicited");
        assert_eq!((&icmp.slice()[8..24], &icmp.slice()[24..26]), (gateway.octets().as_slice(), [2, 1].as_slice()));
        assert_eq!(icmp.slice()[26..], zone(10).mac);
    }

    #[test]
    fn families_do_not_mix() {
        let v6: Ipv6Addr = "fd00::1".parse().expect("v6");
        assert!(solicitation(&zone(0), [10, 0, 0, 1].into(), v6.into(), None).is_none());
    }
}
