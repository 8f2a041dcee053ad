//! ICMP errors to the sender of a dropped packet (RFC 1812 section 4.3, RFC 4443 section 2.4), rate-limited.

use std::collections::HashMap;
use std::net::IpAddr;

use etherparse::{IpNumber, Ipv4Header, Ipv6ExtensionSlice, Ipv6ExtensionsSlice, PacketBuilder, VlanId};
use firewall_core::limit::{Bucket, Rate};
use firewall_core::rewrite::checksum;
use firewall_core::tables::Zone;
use firewall_core::{DropReason, PuntTask};

use crate::backend::kernel::PuntedFrame;

/// Limits the errors that each zone provokes.
pub struct ErrorLimit {
    rate: Rate,
    /// By zone.
    buckets: HashMap<u16, Bucket>,
}

impl ErrorLimit {
    /// So many for each zone.
    pub fn new(rate: Rate) -> Self {
        Self { rate, buckets: HashMap::new() }
    }

    /// Whether one more may be sent to a zone at `now` (nanoseconds).
    pub fn admits(&mut self, zone: u16, now: u64) -> bool {
        self.buckets.entry(zone).or_default().take(&self.rate, 1, now)
    }
}

/// A packet as vfw received it, or the beginning of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The MAC that sent it.
    sender: [u8; 6],
    /// From the IP header on.
    packet: Vec<u8>,
}

impl Received {
    /// The packet in a punted frame. One that was to go on has lost a TTL and its link header, which comes back.
    pub fn of(frame: &PuntedFrame) -> Option<Self> {
        let bytes = &frame.bytes;
        let tagged = bytes.get(12..14)? == [0x81, 0x00];
        let mut packet = bytes.get(if tagged { 18 } else { 14 }..)?.to_vec();
        if frame.header.task == PuntTask::Report as u8 {
            return Some(Self { sender: bytes.get(6..12)?.try_into().ok()?, packet });
        }
        if packet.first()? >> 4 == 4 {
            let [ttl, protocol, high, low] = packet.get_mut(8..12)? else { return None };
            let (left, came) = ([*ttl, *protocol], [ttl.wrapping_add(1), *protocol]);
            let sum = u16::from_be_bytes([*high, *low]);
            *ttl = came[0];
            [*high, *low] = checksum::update(sum, u16::from_be_bytes(left), u16::from_be_bytes(came)).to_be_bytes();
        } else {
            let hop_limit = packet.get_mut(7)?;
            *hop_limit = hop_limit.wrapping_add(1);
        }
        Some(Self { sender: frame.header.sender, packet })
    }

    /// Source and destination.
    pub fn addresses(&self) -> Option<(IpAddr, IpAddr)> {
        let address = |at: usize| -> Option<IpAddr> {
            if self.packet.first()? >> 4 == 4 {
                let bytes: [u8; 4] = self.packet.get(12 + 4 * at..)?.get(..4)?.try_into().ok()?;
                return Some(bytes.into());
            }
            let bytes: [u8; 16] = self.packet.get(8 + 16 * at..)?.get(..16)?.try_into().ok()?;
            Some(bytes.into())
        };
        Some((address(0)?, address(1)?))
    }
}

/// Bytes of the packet that an IPv4 error quotes: the error stays within 576 bytes (RFC 1812 section 4.3.2.3).
const QUOTE_V4: usize = 548;
/// An IPv6 error stays within the minimum MTU of 1280 bytes.
const QUOTE_V6: usize = 1232;

/// Builds the error about a packet that came from `zone`, whose gateway address `source` sends it. `mtu` is that of the
/// egress zone. `None` when no error may be sent (RFC 1122 section 3.2.2, RFC 4443 section 2.4 e).
pub fn icmp_error(zone: &Zone, source: IpAddr, received: &Received, reason: DropReason, mtu: u32) -> Option<Vec<u8>> {
    // No station sends from a group address (IEEE 802.3 section 3.2.3); an error to one would go to the whole zone.
    if received.sender[0] & 1 != 0 {
        return None;
    }
    let link = PacketBuilder::ethernet2(zone.mac, received.sender);
    match source {
        IpAddr::V4(source) => {
            let (to, quote) = quote_v4(&received.packet)?;
            let (kind, code, rest) = v4_message(reason, mtu)?;
            let from = source.octets();
            let network = match zone.tag() {
                Some(vlan) => link.single_vlan(VlanId::try_new(vlan).ok()?).ipv4(from, to, 64),
                None => link.ipv4(from, to, 64),
            };
            let mut error = Vec::with_capacity(quote.len() + 64);
            network.icmpv4_raw(kind, code, rest).write(&mut error, quote).ok()?;
            Some(error)
        }
        IpAddr::V6(source) => {
            let (to, quote) = quote_v6(&received.packet)?;
            let (kind, code, rest) = v6_message(reason, mtu)?;
            let from = source.octets();
            let network = match zone.tag() {
                Some(vlan) => link.single_vlan(VlanId::try_new(vlan).ok()?).ipv6(from, to, 64),
                None => link.ipv6(from, to, 64),
            };
            let mut error = Vec::with_capacity(quote.len() + 80);
            network.icmpv6_raw(kind, code, rest).write(&mut error, quote).ok()?;
            Some(error)
        }
    }
}

/// The sender of a packet and what an error quotes of it; `None` for errors and later fragments.
fn quote_v4(packet: &[u8]) -> Option<([u8; 4], &[u8])> {
    let (header, payload) = Ipv4Header::from_slice(packet).ok()?;
    let is_error = header.protocol == IpNumber::ICMP && !matches!(payload.first(), Some(0 | 8 | 13..=18));
    if is_error || header.fragment_offset.value() != 0 {
        return None;
    }
    Some((header.source, packet.get(..usize::from(header.total_len).min(QUOTE_V4).min(packet.len()))?))
}

/// Likewise; extension headers may stand before an error.
fn quote_v6(packet: &[u8]) -> Option<([u8; 16], &[u8])> {
    let to: [u8; 16] = packet.get(8..24)?.try_into().ok()?;
    let length = 40 + usize::from(u16::from_be_bytes(packet.get(4..6)?.try_into().ok()?));
    let (extensions, protocol, payload, failed) =
        Ipv6ExtensionsSlice::from_slice_lax(IpNumber(*packet.get(6)?), packet.get(40..)?);
    let is_later = |extension| matches!(extension, Ipv6ExtensionSlice::Fragment(f) if f.fragment_offset().value() != 0);
    let is_error = protocol == IpNumber::IPV6_ICMP && payload.first().is_none_or(|kind| *kind < 128);
    if failed.is_some() || is_error || to == [0; 16] || extensions.into_iter().any(is_later) {
        return None;
    }
    Some((to, packet.get(..length.min(QUOTE_V6).min(packet.len()))?))
}

/// Type, code and the four bytes that follow.
fn v4_message(reason: DropReason, mtu: u32) -> Option<(u8, u8, [u8; 4])> {
    let [_, _, high, low] = mtu.min(0xffff).to_be_bytes();
    match reason {
        DropReason::TtlExceeded => Some((11, 0, [0; 4])),
        DropReason::NoRoute => Some((3, 0, [0; 4])),
        DropReason::Unreachable => Some((3, 1, [0; 4])),
        // RFC 1191: the next hop's MTU.
        DropReason::TooBig => Some((3, 4, [0, 0, high, low])),
        _ => None,
    }
}

fn v6_message(reason: DropReason, mtu: u32) -> Option<(u8, u8, [u8; 4])> {
    match reason {
        DropReason::TtlExceeded => Some((3, 0, [0; 4])),
        DropReason::NoRoute => Some((1, 0, [0; 4])),
        DropReason::Unreachable => Some((1, 3, [0; 4])),
        DropReason::TooBig => Some((2, 0, mtu.to_be_bytes())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{SlicedPacket, TransportSlice};
    use firewall_core::Punt;
    use firewall_core::event::PuntHeader;
    use firewall_core::packet::{Mac, Packet};

    const SENDER: [u8; 6] = [2, 0, 0, 0, 0, 7];
    const ZONE: Zone = Zone { ifindex: 1, mtu: 1500, vlan: 0, flags: 0, mac: [2, 0, 0, 0, 0, 1], port: 0 };

    /// The frame of the packet that `build` makes, as the hook hands it over.
    fn punted(task: PuntTask, bytes: Vec<u8>) -> PuntedFrame {
        let punt = Punt { task, reason: DropReason::Unreachable, from: 0, to: 0 };
        let packet = Packet { sender: Mac::new(SENDER), ..Packet::EMPTY };
        PuntedFrame { header: PuntHeader::new(&punt, &packet, bytes.len() as u32, 0), bytes }
    }

    fn received(bytes: Vec<u8>) -> Received {
        Received::of(&punted(PuntTask::Report, bytes)).expect("a packet")
    }

    fn udp(ttl: u8) -> Vec<u8> {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2(SENDER, ZONE.mac)
            .ipv4([10, 0, 10, 7], [10, 0, 20, 9], ttl)
            .udp(1, 2)
            .write(&mut frame, &[0; 600])
            .expect("builds");
        frame
    }

    fn error(received: &Received, reason: DropReason) -> Option<Vec<u8>> {
        icmp_error(&ZONE, [10, 0, 10, 1].into(), received, reason, 1400)
    }

    fn error6(bytes: Vec<u8>) -> Option<Vec<u8>> {
        let gateway: [u8; 16] = "fd00:10::1".parse::<std::net::Ipv6Addr>().expect("an address").octets();
        icmp_error(&ZONE, gateway.into(), &received(bytes), DropReason::Unreachable, 1400)
    }

    /// An IPv6 packet with this first header and payload, behind an Ethernet header.
    fn ipv6(next_header: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = [[0; 6], SENDER].concat();
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, payload.len() as u8, next_header, 7]);
        frame.extend([[0xfd; 16], [0xfe; 16]].concat());
        frame.extend(payload);
        frame
    }

    #[test]
    fn quotes_the_packet_to_its_sender() {
        let error = error(&received(udp(1)), DropReason::TooBig).expect("an error");
        let sliced = SlicedPacket::from_ethernet(&error).expect("a packet");
        let Some(TransportSlice::Icmpv4(icmp)) = sliced.transport else { panic!("ICMP") };
        assert_eq!((icmp.type_u8(), icmp.code_u8(), icmp.bytes5to8()), (3, 4, [0, 0, 5, 0x78]));
        assert_eq!(icmp.payload(), &udp(1)[14..14 + QUOTE_V4]);
        assert_eq!(error[..6], SENDER);
    }

    #[test]
    fn a_frame_that_was_to_go_on_is_quoted_as_it_came() {
        let came = received(udp(64));
        // The link header is that of the egress side, with a tag.
        let mut left = udp(63);
        left.splice(..12, [0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 2, 0x81, 0, 0, 20]);
        assert_eq!(Received::of(&punted(PuntTask::Resolve, left)), Some(came.clone()));
        assert_eq!(came.addresses(), Some(([10, 0, 10, 7].into(), [10, 0, 20, 9].into())));
        let came = ipv6(17, &[0; 8]);
        let mut left = came.clone();
        left[14 + 7] -= 1;
        assert_eq!(Received::of(&punted(PuntTask::Resolve, left)), Some(received(came)));
    }

    #[test]
    fn no_error_about_an_error_or_a_policy_drop() {
        let first = error(&received(udp(1)), DropReason::TtlExceeded).expect("an error");
        assert!(error(&received(first), DropReason::TtlExceeded).is_none());
        assert!(error(&received(udp(1)), DropReason::Policy).is_none());
    }

    #[test]
    fn no_error_to_a_group() {
        let mut frame = udp(1);
        frame[6..12].fill(0xff);
        assert!(error(&received(frame), DropReason::TtlExceeded).is_none());
    }

    #[test]
    fn no_error_about_a_later_fragment() {
        let mut frame = udp(64);
        frame[14 + 7] = 1;
        assert!(error(&received(frame), DropReason::Unreachable).is_none());
        let fragment = |offset: u8| [&[17, 0, 0, offset, 0, 0, 0, 1][..], &[0; 16]].concat();
        assert!(error6(ipv6(44, &fragment(1))).is_some(), "the first");
        assert!(error6(ipv6(44, &fragment(9))).is_none());
    }

    #[test]
    fn errors_are_known_behind_extension_headers() {
        let options = |kind: u8| [&[58, 0, 1, 4, 0, 0, 0, 0][..], &[kind, 0, 0, 0, 0, 0, 0, 0]].concat();
        assert!(error6(ipv6(60, &options(128))).is_some(), "an echo request");
        assert!(error6(ipv6(60, &options(1))).is_none());
        assert!(error6(ipv6(58, &[3, 0, 0, 0])).is_none());
        assert!(error6(ipv6(60, &options(1)[..8])).is_none(), "who knows what it is");
    }

    #[test]
    fn bytes_behind_the_packet_are_not_quoted() {
        let mut frame = ipv6(17, &[0; 8]);
        frame.extend([0xaa; 12]);
        let error = error6(frame).expect("an error");
        assert_eq!(error.len(), 14 + 40 + 8 + 48);
    }

    #[test]
    fn each_zone_has_its_own_limit() {
        let mut limit = ErrorLimit::new(Rate::new(100, 50));
        assert_eq!((0..200).filter(|_| limit.admits(1, 1)).count(), 50);
        assert!(limit.admits(2, 1));
        assert!(limit.admits(1, 1_000_000_000));
    }
}
