//! IPv6 (RFC 8200) and its extension headers.

use super::{MAX_HEADERS, u16_at, u32_at};
use crate::address::Address;
use crate::frame::Frame;
use crate::packet::{Fragment, Packet, TcpFields, protocol};
use crate::verdict::DropReason;

const HEADER: u32 = 40;
/// Extension headers before the transport header; RFC 8504 section 5.3 lets hosts bound them, real packets have 0 to 2.
const MAX_EXTENSIONS: u32 = 5;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;

/// The network part of an IPv6 packet whose header starts at `offset`.
#[inline(always)]
pub(super) fn packet<F: Frame>(frame: &F, offset: u32) -> Result<Packet, DropReason> {
    let header: [u8; HEADER as usize] = frame.load(offset)?;
    let payload = u32::from(u16_at(&header, 4));
    if header[0] >> 4 != 6 {
        return Err(DropReason::IpHeader);
    }
    if payload > frame.length().saturating_sub(offset + HEADER) {
        return Err(DropReason::Truncated);
    }
    let [
        ..,
        s0,
        s1,
        s2,
        s3,
        s4,
        s5,
        s6,
        s7,
        s8,
        s9,
        sa,
        sb,
        sc,
        sd,
        se,
        sf,
        d0,
        d1,
        d2,
        d3,
        d4,
        d5,
        d6,
        d7,
        d8,
        d9,
        da,
        db,
        dc,
        dd,
        de,
        df,
    ] = header;
    let mut packet = Packet {
        source: Address::from_v6([s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, sa, sb, sc, sd, se, sf]),
        destination: Address::from_v6([d0, d1, d2, d3, d4, d5, d6, d7, d8, d9, da, db, dc, dd, de, df]),
        source_port: 0,
        destination_port: 0,
        protocol: header[6],
        ttl: header[7],
        tcp_flags: 0,
        icmp_type: 0,
        icmp_code: 0,
        fragment: Fragment::Whole,
        fragment_id: 0,
        network_offset: offset,
        transport_offset: offset + HEADER,
        transport_length: payload,
        ip_length: HEADER + payload,
        tcp: TcpFields::default(),
    };
    // On the wire a mapped address is an attempt to pass for IPv4 (RFC 4942 section 2.2).
    if packet.source.is_v4() || packet.destination.is_v4() {
        return Err(DropReason::MartianSource);
    }
    extensions(frame, &mut packet)?;
    Ok(packet)
}

/// Moves `packet` behind its extension headers.
#[inline(always)]
fn extensions<F: Frame>(frame: &F, packet: &mut Packet) -> Result<(), DropReason> {
    let mut skipped = 0;
    let first = packet.transport_offset;
    let mut next = packet.protocol;
    for _ in 0..MAX_EXTENSIONS {
        if !is_extension(next) || matches!(packet.fragment, Fragment::Later) {
            break;
        }
        let header: [u8; 8] = frame.load(first + skipped)?;
        let length = match next {
            FRAGMENT => {
                packet.fragment = fragment(packet, &header)?;
                8
            }
            AUTHENTICATION => (u32::from(header[1]) + 2) * 4,
            // Segments left in any routing header is source routing (RFC 5095, RFC 7126's counterpart).
            ROUTING if header[3] != 0 => return Err(DropReason::Ipv6Extension),
            _ => (u32::from(header[1]) + 1) * 8,
        };
        skipped += length;
        if skipped > packet.transport_length || skipped >= MAX_HEADERS {
            return Err(DropReason::Ipv6Extension);
        }
        next = header[0];
    }
    if is_extension(next) && !matches!(packet.fragment, Fragment::Later) {
        return Err(DropReason::Ipv6Extension);
    }
    packet.protocol = next;
    packet.transport_offset = first + skipped;
    packet.transport_length -= skipped;
    Ok(())
}

#[inline(always)]
const fn is_extension(next: u8) -> bool {
    matches!(next, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION_OPTIONS)
}

/// RFC 8200 section 4.5. A header of an "atomic" fragment (RFC 6946) changes nothing.
#[inline(always)]
fn fragment(packet: &mut Packet, header: &[u8; 8]) -> Result<Fragment, DropReason> {
    let field = u16_at(header, 2);
    let (units, more) = (field >> 3, field & 1 != 0);
    if packet.fragment != Fragment::Whole {
        return Err(DropReason::Ipv6Extension);
    }
    if units == 0 && !more {
        return Ok(Fragment::Whole);
    }
    packet.fragment_id = u32_at(header, 4);
    match (units, header[0]) {
        (0, _) => Ok(Fragment::First),
        (1, protocol::TCP) => Err(DropReason::Fragment),
        _ => Ok(Fragment::Later),
    }
}
