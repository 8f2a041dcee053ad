//! TCP (RFC 9293), UDP (RFC 768), ICMP (RFC 792) and `ICMPv6` (RFC 4443) headers.

use super::{u16_at, u32_at};
use crate::frame::Frame;
use crate::packet::{Fragment, Packet, TcpFields, protocol, tcp_flag};
use crate::verdict::DropReason;

/// Fills in ports, flags and ICMP fields. A later fragment has none; other protocols have no ports.
#[inline(always)]
pub(super) fn fill<F: Frame>(frame: &F, packet: &mut Packet) -> Result<(), DropReason> {
    if matches!(packet.fragment, Fragment::Later) {
        return Ok(());
    }
    match packet.protocol {
        protocol::TCP => tcp(frame, packet),
        protocol::UDP => udp(frame, packet),
        protocol::ICMP if packet.is_v4() => icmp(frame, packet),
        protocol::ICMP6 if !packet.is_v4() => icmp(frame, packet),
        // ICMP of the other family is nothing that a host would answer.
        protocol::ICMP | protocol::ICMP6 => Err(DropReason::TransportHeader),
        _ => Ok(()),
    }
}

#[inline(always)]
fn tcp<F: Frame>(frame: &F, packet: &mut Packet) -> Result<(), DropReason> {
    let header: [u8; 20] = frame.load(packet.transport_offset)?;
    let header_length = (header[12] >> 4) * 4;
    if header_length < 20 || u32::from(header_length) > packet.transport_length {
        return Err(DropReason::TransportHeader);
    }
    packet.has_transport = true;
    packet.source_port = u16_at(&header, 0);
    packet.destination_port = u16_at(&header, 2);
    packet.tcp_flags = header[13];
    packet.tcp = TcpFields {
        sequence: u32_at(&header, 4),
        acknowledgement: u32_at(&header, 8),
        window: u16_at(&header, 14),
        header_length,
    };
    if is_possible(packet.tcp_flags) { Ok(()) } else { Err(DropReason::TcpFlags) }
}

/// SYN and RST stand for themselves; everything else acknowledges (RFC 9293 section 3.10.7).
#[inline(always)]
const fn is_possible(flags: u8) -> bool {
    match flags & (tcp_flag::SYN | tcp_flag::RST | tcp_flag::FIN) {
        tcp_flag::SYN | tcp_flag::RST => true,
        tcp_flag::FIN | 0 => flags & tcp_flag::ACK != 0,
        _ => false,
    }
}

#[inline(always)]
fn udp<F: Frame>(frame: &F, packet: &mut Packet) -> Result<(), DropReason> {
    let header: [u8; 8] = frame.load(packet.transport_offset)?;
    let length = u32::from(u16_at(&header, 4));
    // The length of a GSO super-packet's first header and of a first fragment differs from the packet's.
    let whole = matches!(packet.fragment, Fragment::Whole) && frame.gso_size() == 0;
    if packet.transport_length < 8 || length < 8 || (whole && length > packet.transport_length) {
        return Err(DropReason::TransportHeader);
    }
    packet.has_transport = true;
    packet.source_port = u16_at(&header, 0);
    packet.destination_port = u16_at(&header, 2);
    Ok(())
}

#[inline(always)]
fn icmp<F: Frame>(frame: &F, packet: &mut Packet) -> Result<(), DropReason> {
    if packet.transport_length < 8 {
        return Err(DropReason::TransportHeader);
    }
    let header: [u8; 8] = frame.load(packet.transport_offset)?;
    packet.has_transport = true;
    packet.icmp_type = header[0];
    packet.icmp_code = header[1];
    if packet.is_echo() {
        let identifier = u16_at(&header, 4);
        packet.source_port = identifier;
        packet.destination_port = identifier;
    }
    Ok(())
}
