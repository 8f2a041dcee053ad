//! IPv6 (RFC 8200) and its extension headers.

use super::{MAX_HEADERS, u16_at, u32_at};
use crate::address::Address;
use crate::frame::Frame;
use crate::packet::{Fragment, Packet, protocol};
use crate::verdict::DropReason;

const HEADER: u32 = 40;
/// Extension headers before the transport header; RFC 8504 section 5.3 lets hosts bound them, real packets have 0 to 2.
const MAX_EXTENSIONS: u32 = 5;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;

/// The network part of an IPv6 packet whose header starts at `offset`.
#[inline(always)]
pub(super) fn fill<F: Frame>(frame: &F, offset: u32, packet: &mut Packet) -> Result<(), DropReason> {
    let header: [u8; 8] = frame.load(offset)?;
    let payload = u32::from(u16_at(&header, 4));
    if header[0] >> 4 != 6 {
        return Err(DropReason::IpHeader);
    }
    if payload > frame.length().saturating_sub(offset + HEADER) {
        return Err(DropReason::Truncated);
    }
    packet.source = Address::from_v6(frame.load(offset + 8)?);
    packet.destination = Address::from_v6(frame.load(offset + 24)?);
    packet.protocol = header[6];
    packet.ttl = header[7];
    packet.network_offset = offset;
    packet.transport_offset = offset + HEADER;
    packet.transport_length = payload;
    packet.ip_length = HEADER + payload;
    // On the wire a mapped address is an attempt to pass for IPv4 (RFC 4942 section 2.2).
    if packet.source.is_v4() || packet.destination.is_v4() {
        return Err(DropReason::MartianSource);
    }
    extensions(frame, packet)
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
            // Segments left in any routing header is source routing (RFC 5095, RFC 7126's counterpart).
            ROUTING if header[3] != 0 => return Err(DropReason::Ipv6Extension),
            _ => (u32::from(header[1]) + 1) * 8,
        };
        skipped += length;
        if skipped > packet.transport_length || skipped >= MAX_HEADERS {
            return Err(DropReason::Ipv6Extension);
        }
        next = header[0];
        // Headers between the fragment header and the transport header would let a later fragment of a small offset
        // lie over ports and flags that were judged (RFC 7112 puts the whole chain into the first fragment).
        if packet.fragment == Fragment::First && is_extension(next) {
            return Err(DropReason::Fragment);
        }
    }
    if is_extension(next) && !matches!(packet.fragment, Fragment::Later) {
        return Err(DropReason::Ipv6Extension);
    }
    packet.protocol = next;
    packet.transport_offset = first + skipped;
    packet.transport_length -= skipped;
    Ok(())
}

/// The authentication header (51), which RFC 7045 counts among them, is a protocol here as it is in IPv4: rules match it by its
/// own name, and what it protects is the business of those who hold the keys.
#[inline(always)]
const fn is_extension(next: u8) -> bool {
    matches!(next, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS)
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
    packet.fragment_offset = u32::from(units) * 8;
    match (units, header[0]) {
        (0, _) => Ok(Fragment::First),
        (1, protocol::TCP) => Err(DropReason::Fragment),
        _ => Ok(Fragment::Later),
    }
}
