//! ICMP errors to the sender of a dropped packet (RFC 1812 section 4.3, RFC 4443 section 2.4), rate-limited.

use std::net::IpAddr;

use etherparse::{IpNumber, Ipv4Header, PacketBuilder, VlanId};
use firewall_core::DropReason;
use firewall_core::tables::Zone;

/// Tokens per zone and second, and how many may gather: what Linux allows (`net.ipv4.icmp_msgs_per_sec` is 1,000 for
/// the host; a zone gets a part of it).
const RATE: u64 = 100;
const BURST: u64 = 50;

/// Limits how many errors one zone provokes.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    tokens: u64,
    filled: u64,
}

impl Bucket {
    /// A full bucket.
    pub const fn new() -> Self {
        Self { tokens: BURST, filled: 0 }
    }

    /// Takes a token at `now` nanoseconds, if there is one.
    pub fn take(&mut self, now: u64) -> bool {
        let earned = now.saturating_sub(self.filled) / (1_000_000_000 / RATE);
        if earned > 0 {
            self.tokens = (self.tokens + earned).min(BURST);
            self.filled = now;
        }
        let has = self.tokens > 0;
        self.tokens -= u64::from(has);
        has
    }
}

/// Bytes of the packet that an IPv4 error quotes: the error stays within 576 bytes (RFC 1812 section 4.3.2.3).
const QUOTE_V4: usize = 548;
/// An IPv6 error stays within the minimum MTU of 1280 bytes.
const QUOTE_V6: usize = 1232;

/// Builds the error about `frame` (as it came in, without a tag beside it), from the gateway address `source` of
/// `zone`. `mtu` is that of the egress zone. `None` when no error may be sent (RFC 1122 section 3.2.2).
pub fn icmp_error(zone: &Zone, source: IpAddr, frame: &[u8], reason: DropReason, mtu: u32) -> Option<Vec<u8>> {
    let back: [u8; 6] = frame.get(6..12)?.try_into().ok()?;
    let tagged = frame.get(12..14)? == [0x81, 0x00];
    let packet = frame.get(if tagged { 18 } else { 14 }..)?;
    let link = PacketBuilder::ethernet2(zone.mac, back);
    match source {
        IpAddr::V4(source) => {
            let (header, payload) = Ipv4Header::from_slice(packet).ok()?;
            let is_error = header.protocol == IpNumber::ICMP && !matches!(payload.first(), Some(0 | 8 | 13..=18));
            if is_error || header.fragment_offset.value() != 0 {
                return None;
            }
            let (kind, code, rest) = v4_message(reason, mtu)?;
            let quote = packet.get(..usize::from(header.total_len).min(QUOTE_V4).min(packet.len()))?;
            let (from, to) = (source.octets(), header.source);
            let network = match zone.tag() {
                Some(vlan) => link.single_vlan(VlanId::try_new(vlan).ok()?).ipv4(from, to, 64),
                None => link.ipv4(from, to, 64),
            };
            let mut error = Vec::with_capacity(quote.len() + 64);
            network.icmpv4_raw(kind, code, rest).write(&mut error, quote).ok()?;
            Some(error)
        }
        IpAddr::V6(source) => {
            let to: [u8; 16] = packet.get(8..24)?.try_into().ok()?;
            let is_error = packet.get(6) == Some(&58) && packet.get(40).is_some_and(|kind| *kind < 128);
            if is_error || to == [0; 16] {
                return None;
            }
            let (kind, code, rest) = v6_message(reason, mtu)?;
            let quote = packet.get(..packet.len().min(QUOTE_V6))?;
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

/// Source and destination of the packet in a frame.
pub fn addresses(frame: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let tagged = frame.get(12..14)? == [0x81, 0x00];
    let packet = frame.get(if tagged { 18 } else { 14 }..)?;
    if packet.first()? >> 4 == 4 {
        let source: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
        let destination: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
        return Some((source.into(), destination.into()));
    }
    let source: [u8; 16] = packet.get(8..24)?.try_into().ok()?;
    let destination: [u8; 16] = packet.get(24..40)?.try_into().ok()?;
    Some((source.into(), destination.into()))
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

    const ZONE: Zone = Zone { ifindex: 1, mtu: 1500, vlan: 0, flags: 0, mac: [2, 0, 0, 0, 0, 1], padding: 0 };

    fn udp() -> Vec<u8> {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([2, 0, 0, 0, 0, 7], ZONE.mac)
            .ipv4([10, 0, 10, 7], [10, 0, 20, 9], 1)
            .udp(1, 2)
            .write(&mut frame, &[0; 600])
            .expect("builds");
        frame
    }

    #[test]
    fn quotes_the_packet_to_its_sender() {
        let error = icmp_error(&ZONE, [10, 0, 10, 1].into(), &udp(), DropReason::TooBig, 1400).expect("an error");
        let sliced = SlicedPacket::from_ethernet(&error).expect("a packet");
        let Some(TransportSlice::Icmpv4(icmp)) = sliced.transport else { panic!("ICMP") };
        assert_eq!((icmp.type_u8(), icmp.code_u8(), icmp.bytes5to8()), (3, 4, [0, 0, 5, 0x78]));
        assert_eq!(icmp.payload(), &udp()[14..14 + QUOTE_V4]);
        assert_eq!(error[..6], [2, 0, 0, 0, 0, 7]);
    }

    #[test]
    fn no_error_about_an_error_or_a_policy_drop() {
        let error = icmp_error(&ZONE, [10, 0, 10, 1].into(), &udp(), DropReason::TtlExceeded, 0).expect("an error");
        assert!(icmp_error(&ZONE, [10, 0, 10, 1].into(), &error, DropReason::TtlExceeded, 0).is_none());
        assert!(icmp_error(&ZONE, [10, 0, 10, 1].into(), &udp(), DropReason::Policy, 0).is_none());
    }

    #[test]
    fn the_bucket_empties_and_refills() {
        let mut bucket = Bucket::new();
        assert_eq!((0..200).filter(|_| bucket.take(1)).count(), 50);
        assert!(bucket.take(1_000_000_000));
    }
}
