//! The packet that an ICMP error quotes (RFC 792, RFC 4443 section 2.4 c): its addresses and the first eight
//! bytes of its transport header, enough to find its flow.

use super::{four_at, u16_at};
use crate::address::Address;
use crate::frame::Frame;
use crate::packet::{Packet, protocol};
use crate::verdict::DropReason;

/// What identifies the flow of a quoted packet. Fields as in [`Packet`].
#[derive(Clone, Copy, Debug)]
pub struct Quoted {
    /// Source of the quoted packet.
    pub source: Address,
    /// Destination of the quoted packet.
    pub destination: Address,
    /// Its source port or echo identifier, host order.
    pub source_port: u16,
    /// Its destination port or echo identifier, host order.
    pub destination_port: u16,
    /// Its transport protocol.
    pub protocol: u8,
    /// Its ICMP type, or 0.
    pub icmp_type: u8,
}

/// Bytes of an ICMP error before the packet that it quotes.
const ICMP_HEADER: u32 = 8;

/// The packet quoted by the ICMP error `packet`.
#[inline(always)]
pub fn quoted<F: Frame>(frame: &F, packet: &Packet) -> Result<Quoted, DropReason> {
    let offset = packet.transport_offset + ICMP_HEADER;
    let (mut quoted, transport) = if packet.is_v4() { ipv4(frame, offset)? } else { ipv6(frame, offset)? };
    if !matches!(quoted.protocol, protocol::TCP | protocol::UDP | protocol::ICMP | protocol::ICMP6) {
        return Ok(quoted);
    }
    let bytes: [u8; 8] = frame.load(transport)?;
    if matches!(quoted.protocol, protocol::TCP | protocol::UDP) {
        quoted.source_port = u16_at(&bytes, 0);
        quoted.destination_port = u16_at(&bytes, 2);
    } else {
        quoted.icmp_type = bytes[0];
        quoted.source_port = u16_at(&bytes, 4);
        quoted.destination_port = quoted.source_port;
    }
    Ok(quoted)
}

#[inline(always)]
fn ipv4<F: Frame>(frame: &F, offset: u32) -> Result<(Quoted, u32), DropReason> {
    let header: [u8; 20] = frame.load(offset)?;
    let header_length = u32::from(header[0] & 0x0f) * 4;
    let is_later_fragment = u16_at(&header, 6) & 0x1fff != 0;
    if header[0] >> 4 != 4 || header_length < 20 || is_later_fragment {
        return Err(DropReason::NoFlow);
    }
    let quoted = Quoted {
        source: Address::from_v4(four_at(&header, 12)),
        destination: Address::from_v4(four_at(&header, 16)),
        source_port: 0,
        destination_port: 0,
        protocol: header[9],
        icmp_type: 0,
    };
    Ok((quoted, offset + header_length))
}

/// Extension headers other than one fragment header are not walked: such an error is related to nothing.
#[inline(always)]
fn ipv6<F: Frame>(frame: &F, offset: u32) -> Result<(Quoted, u32), DropReason> {
    let header: [u8; 8] = frame.load(offset)?;
    if header[0] >> 4 != 6 {
        return Err(DropReason::NoFlow);
    }
    let mut next = header[6];
    let mut transport = offset + 40;
    if next == 44 {
        let fragment: [u8; 8] = frame.load(transport)?;
        if u16_at(&fragment, 2) >> 3 != 0 {
            return Err(DropReason::NoFlow);
        }
        next = fragment[0];
        transport += 8;
    }
    let quoted = Quoted {
        source: Address::from_v6(frame.load(offset + 8)?),
        destination: Address::from_v6(frame.load(offset + 24)?),
        source_port: 0,
        destination_port: 0,
        protocol: next,
        icmp_type: 0,
    };
    Ok((quoted, transport))
}
